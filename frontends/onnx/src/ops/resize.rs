//! Resize and Upsample: for each axis a known matrix of weights, or a known list of indices.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::graph::Op;
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Resize", &[10, 11, 13, 18, 19], Types::Number, "", resize),
    row("Upsample", &[1, 7, 9, 10], Types::Number, "", upsample),
];

/// How a position in the result becomes one in the operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Positions {
    HalfPixel,
    HalfPixelSymmetric,
    TorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelForNearest,
    CropAndResize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// With the coefficient of the kernel.
    Cubic(f64),
}

/// What is done along one axis.
struct Axis {
    input: usize,
    output: usize,
    scale: f64,
    /// Part of the axis that is taken, for [`Positions::CropAndResize`].
    roi: (f64, f64),
}

struct Plan {
    mode: Mode,
    positions: Positions,
    antialias: bool,
    exclude_outside: bool,
    /// Stands where a position lies outside, for [`Positions::CropAndResize`].
    outside: f32,
}

impl Plan {
    /// The position in the operand of element `x` of the result.
    fn position(&self, a: &Axis, x: usize) -> f64 {
        let (x, n) = (x as f64, a.input as f64);
        let length = a.scale * n;
        match self.positions {
            Positions::HalfPixel => (x + 0.5) / a.scale - 0.5,
            Positions::HalfPixelSymmetric => {
                let adjustment = a.output as f64 / length;
                n / 2.0 * (1.0 - adjustment) + (x + 0.5) / a.scale - 0.5
            }
            Positions::TorchHalfPixel if a.output <= 1 => 0.0,
            Positions::TorchHalfPixel => (x + 0.5) / a.scale - 0.5,
            // The length before it is rounded down to a number of elements.
            Positions::AlignCorners if length == 1.0 => 0.0,
            Positions::AlignCorners => x * (n - 1.0) / (length - 1.0),
            Positions::Asymmetric => x / a.scale,
            Positions::HalfPixelForNearest => (x + 0.5) / a.scale,
            Positions::CropAndResize if length == 1.0 => 0.5 * (a.roi.0 + a.roi.1) * (n - 1.0),
            Positions::CropAndResize => a.roi.0 * (n - 1.0) + x * (a.roi.1 - a.roi.0) * (n - 1.0) / (length - 1.0),
        }
    }

    /// Elements of the operand around a position, and their weights. Elements beyond an end are the ones at the end.
    fn taps(&self, a: &Axis, at: f64) -> Vec<(usize, f64)> {
        let floor = at.floor();
        let ratio = at - floor;
        let scale = if self.antialias { a.scale.min(1.0) } else { 1.0 };
        let (first, weights): (i64, Vec<f64>) = match self.mode {
            Mode::Linear => {
                let first = (-1.0 / scale).floor() as i64 + 1;
                let kernel = |k: i64| (1.0 - ((k as f64 - ratio) * scale).abs()).max(0.0);
                (first, (first..=1 - first).map(kernel).collect())
            }
            Mode::Cubic(c) => {
                let first = (-2.0 / scale).floor() as i64 + 1;
                let kernel = |k: i64| cubic(c, (k as f64 - ratio) * scale);
                (first, (first..=1 - first).map(kernel).collect())
            }
            Mode::Nearest(_) => (0, vec![1.0]),
        };
        let last = a.input as i64 - 1;
        let place = |k: usize| floor as i64 + first + k as i64;
        let kept = |k: usize| !self.exclude_outside || (0..=last).contains(&place(k));
        let weights: Vec<f64> = weights.iter().enumerate().map(|(k, w)| if kept(k) { *w } else { 0.0 }).collect();
        let sum: f64 = weights.iter().sum();
        let norm = if self.antialias || self.exclude_outside { sum } else { 1.0 };
        weights.iter().enumerate().map(|(k, w)| (place(k).clamp(0, last.max(0)) as usize, w / norm)).collect()
    }

    fn nearest(&self, rounding: Rounding, a: &Axis, at: f64) -> usize {
        let k = match rounding {
            Rounding::PreferFloor => (at - 0.5).ceil(),
            Rounding::PreferCeil => (at + 0.5).floor(),
            Rounding::Floor => at.floor(),
            Rounding::Ceil => at.ceil(),
        };
        k.clamp(0.0, a.input.saturating_sub(1) as f64) as usize
    }

    /// One axis of a value.
    fn along(&self, c: &mut Call<'_, '_>, x: &Value, axis: usize, a: &Axis) -> Result<Value, Fault> {
        if a.output > 0 && a.input == 0 {
            return invalid(format!("axis {axis} has no elements to resize"));
        }
        if let Mode::Nearest(rounding) = self.mode {
            let index: Vec<i64> =
                (0..a.output).map(|k| self.nearest(rounding, a, self.position(a, k)) as i64).collect();
            let index = c.i64s(&index);
            return c.gather(x, &index, axis);
        }
        if a.output.checked_mul(a.input).is_none_or(|n| n > 1 << 26) {
            return unsupported(format!("resizing an axis from {} to {} elements", a.input, a.output));
        }
        let mut weights = vec![0f64; a.output * a.input];
        for k in 0..a.output {
            for (place, w) in self.taps(a, self.position(a, k)) {
                weights[k * a.input + place] += w;
            }
        }
        let Some(w) = Tensor::from_vec(vec![a.output, a.input], weights) else {
            return invalid("weights of another size");
        };
        let dtype = c.dtype(x);
        let w = c.cast(&Value::known(w, ""), dtype)?;
        let rank = c.rank(x);
        let perm: Vec<usize> = (0..rank).filter(|k| *k != axis).chain([axis]).collect();
        let moved = c.transpose(x, &perm)?;
        let y = c.op(Op::Linear, &[moved, w])?;
        let back: Vec<usize> =
            (0..rank).map(|k| if k == axis { rank - 1 } else { k - usize::from(k > axis) }).collect();
        c.transpose(&y, &back)
    }

    /// True for the elements of an axis whose position lies in the operand.
    fn inside(&self, a: &Axis) -> Tensor {
        let last = a.input as f64 - 1.0;
        let bytes: Vec<u8> = (0..a.output).map(|k| u8::from((0.0..=last).contains(&self.position(a, k)))).collect();
        Tensor::from_bytes(DType::Bool, vec![a.output], &bytes).unwrap_or_else(|| Tensor::zeros(DType::Bool, vec![0]))
    }
}

/// The cubic convolution kernel (Keys, 1981) with coefficient `a`.
fn cubic(a: f64, x: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

fn resize(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (shape, rank) = (c.shape(&x), c.rank(&x));
    let mode = c.text("mode", "nearest")?;
    let old = c.opset < 11;
    let named = if old { "asymmetric".to_owned() } else { c.text("coordinate_transformation_mode", "half_pixel")? };
    let rounding = if old { "floor".to_owned() } else { c.text("nearest_mode", "round_prefer_floor")? };
    let coefficient = if old { -0.75 } else { c.float("cubic_coeff_a", -0.75)? };
    let exclude_outside = !old && c.flag("exclude_outside", false)?;
    let outside = if old { 0.0 } else { c.float("extrapolation_value", 0.0)? };
    let antialias = c.opset >= 18 && c.flag("antialias", false)?;
    let policy = if c.opset >= 18 { c.text("keep_aspect_ratio_policy", "stretch")? } else { "stretch".to_owned() };
    let mut axes = Vec::with_capacity(rank);
    match if c.opset >= 18 { c.ints("axes")? } else { None } {
        Some(list) => {
            for a in list {
                axes.push(c.axis(a, rank)?);
            }
        }
        None => axes.extend(0..rank),
    }
    let positions = match named.as_str() {
        "half_pixel" => Positions::HalfPixel,
        "half_pixel_symmetric" => Positions::HalfPixelSymmetric,
        "pytorch_half_pixel" => Positions::TorchHalfPixel,
        "align_corners" => Positions::AlignCorners,
        "asymmetric" => Positions::Asymmetric,
        "tf_half_pixel_for_nn" => Positions::HalfPixelForNearest,
        "tf_crop_and_resize" => Positions::CropAndResize,
        other => return invalid(format!("`coordinate_transformation_mode` is {other:?}")),
    };
    let rounding = match rounding.as_str() {
        "round_prefer_floor" | "simple" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return invalid(format!("`nearest_mode` is {other:?}")),
    };
    let mode = match mode.as_str() {
        "nearest" => Mode::Nearest(rounding),
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic(f64::from(coefficient)),
        other => return invalid(format!("`mode` is {other:?}")),
    };
    let given = |c: &Call<'_, '_>, k: usize| c.optional(k).filter(|v| c.shape(v) != [0]);
    let (roi, scales, sizes) = if old { (None, given(c, 1), None) } else { (given(c, 1), given(c, 2), given(c, 3)) };
    let mut lengths = Vec::with_capacity(axes.len());
    match (scales, sizes) {
        (Some(v), None) => {
            let t = c.known(&v, "the scales")?;
            for (k, a) in axes.iter().enumerate() {
                let s = if k < t.len() { t.get_f64(k) } else { 0.0 };
                // The length is rounded down from the product in f32.
                lengths.push((s, (s as f32 * shape[*a] as f32).floor() as usize));
            }
            if t.len() != axes.len() || lengths.iter().any(|(s, _)| *s <= 0.0 || !s.is_finite()) {
                return invalid(format!("{} scales for {} axes, or one that is not positive", t.len(), axes.len()));
            }
        }
        (None, Some(v)) => {
            let list = c.known_ints(&v, "the sizes")?;
            if list.len() != axes.len() || list.iter().any(|n| *n < 0 || *n > 1 << 24) {
                return invalid(format!("the sizes {list:?} for {} axes", axes.len()));
            }
            let ratios: Vec<f64> = list.iter().zip(&axes).map(|(n, a)| *n as f64 / shape[*a].max(1) as f64).collect();
            let common = match policy.as_str() {
                "stretch" => None,
                "not_larger" => ratios.iter().copied().reduce(f64::min),
                "not_smaller" => ratios.iter().copied().reduce(f64::max),
                other => return invalid(format!("`keep_aspect_ratio_policy` is {other:?}")),
            };
            for (k, a) in axes.iter().enumerate() {
                lengths.push(match common {
                    None => (ratios[k], list[k] as usize),
                    Some(s) => (s, (s * shape[*a] as f64 + 0.5).floor() as usize),
                });
            }
        }
        _ => return invalid("either scales or sizes must be given"),
    }
    let roi = match (positions, roi) {
        (Positions::CropAndResize, Some(v)) => {
            let t = c.known(&v, "the region")?;
            if t.len() != 2 * axes.len() {
                return invalid(format!("a region of {} numbers for {} axes", t.len(), axes.len()));
            }
            (0..axes.len()).map(|k| (t.get_f64(k), t.get_f64(axes.len() + k))).collect()
        }
        (Positions::CropAndResize, None) => return invalid("the region is missing"),
        _ => vec![(0.0, 1.0); axes.len()],
    };
    let plan = Plan { mode, positions, antialias, exclude_outside, outside };
    let all: Vec<(usize, Axis)> = (axes.iter().zip(lengths).zip(roi))
        .map(|((a, (scale, output)), roi)| (*a, Axis { input: shape[*a], output, scale, roi }))
        .collect();
    resized(c, &x, &plan, &all)
}

fn resized(c: &mut Call<'_, '_>, x: &Value, plan: &Plan, axes: &[(usize, Axis)]) -> Results {
    let mut y = x.clone();
    for (axis, a) in axes {
        let same = a.input == a.output && a.scale == 1.0 && plan.positions != Positions::CropAndResize;
        if !same {
            y = plan.along(c, &y, *axis, a)?;
        }
    }
    if plan.positions == Positions::CropAndResize {
        let outside = c.scalar(c.dtype(x), f64::from(plan.outside));
        for (axis, a) in axes {
            let mask = Value::known(plan.inside(a), "");
            let mut shape = vec![1; c.rank(x) - axis];
            shape[0] = a.output;
            let mask = c.reshape(&mask, &shape)?;
            y = c.select(&mask, &y, &outside)?;
        }
    }
    Ok(vec![y])
}

fn upsample(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let mode = match c.text("mode", "nearest")?.as_str() {
        "nearest" => Mode::Nearest(Rounding::Floor),
        "linear" | "bilinear" => Mode::Linear,
        other => return invalid(format!("`mode` is {other:?}")),
    };
    let scales: Vec<f64> = if c.opset < 7 {
        // Images alone.
        let (height, width) = (c.float("height_scale", 0.0)?, c.float("width_scale", 0.0)?);
        vec![1.0, 1.0, f64::from(height), f64::from(width)]
    } else if c.opset < 9 {
        c.floats("scales")?.unwrap_or_default().into_iter().map(f64::from).collect()
    } else {
        let v = c.operand(1)?;
        let t = c.known(&v, "the scales")?;
        (0..t.len()).map(|k| t.get_f64(k)).collect()
    };
    if scales.len() != shape.len() || scales.iter().any(|s| s.is_nan() || *s < 1.0 || *s > 65536.0) {
        return invalid(format!("the scales {scales:?} for an operand of shape {shape:?}"));
    }
    let plan = Plan { mode, positions: Positions::Asymmetric, antialias: false, exclude_outside: false, outside: 0.0 };
    let axis = |(a, s): (usize, &f64)| {
        let output = (*s as f32 * shape[a] as f32).floor() as usize;
        (a, Axis { input: shape[a], output, scale: *s, roi: (0.0, 1.0) })
    };
    let all: Vec<(usize, Axis)> = scales.iter().enumerate().map(axis).collect();
    resized(c, &x, &plan, &all)
}
