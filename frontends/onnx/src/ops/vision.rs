//! Images: blocks to channels, cropping, sampling at computed positions.

use super::conv::{per_axis, spatial};
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::graph::{Op, ReduceKind};
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("DepthToSpace", &[1, 11, 13, 28], Types::Any, "", depth_to_space),
    row("SpaceToDepth", &[1, 13, 28], Types::Any, "", space_to_depth),
    row("CenterCropPad", &[18], Types::Any, "", center_crop_pad),
    row("Col2Im", &[18], Types::Number, "", col2im),
    row("AffineGrid", &[20], Types::Float, "", affine_grid),
    row("GridSample", &[16, 20, 22], Types::Float, "", grid_sample),
    row("RoiAlign", &[10, 16, 22], Types::Float, "", roi_align),
    row("DeformConv", &[19, 22], Types::Float, "more than two spatial axes", deform_conv),
    row("NonMaxSuppression", &[10, 11], Types::Float, "", suppression),
];

/// The shape of an image `[N, C, H, W]` and the block's side.
fn blocks(c: &Call<'_, '_>, x: &Value) -> Result<([usize; 4], usize), Fault> {
    let side = usize::try_from(c.int("blocksize", 0)?).unwrap_or(0);
    match c.shape(x)[..] {
        [n, ch, h, w] if side >= 1 => Ok(([n, ch, h, w], side)),
        ref s => invalid(format!("blocks of {side} elements in an operand of shape {s:?}")),
    }
}

fn depth_to_space(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let ([n, ch, h, w], b) = blocks(c, &x)?;
    if !ch.is_multiple_of(b * b) {
        return invalid(format!("{ch} channels are no multiple of {b} by {b}"));
    }
    let deep = ch / (b * b);
    let y = match c.text("mode", "DCR")?.as_str() {
        "DCR" => {
            let split = c.reshape(&x, &[n, b, b, deep, h, w])?;
            c.transpose(&split, &[0, 3, 4, 1, 5, 2])?
        }
        "CRD" => {
            let split = c.reshape(&x, &[n, deep, b, b, h, w])?;
            c.transpose(&split, &[0, 1, 4, 2, 5, 3])?
        }
        other => return invalid(format!("`mode` is {other:?}")),
    };
    Ok(vec![c.reshape(&y, &[n, deep, h * b, w * b])?])
}

fn space_to_depth(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let ([n, ch, h, w], b) = blocks(c, &x)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return invalid(format!("blocks of {b} do not divide {h} by {w}"));
    }
    let split = c.reshape(&x, &[n, ch, h / b, b, w / b, b])?;
    let mode = if c.opset < 28 { "DCR".to_owned() } else { c.text("mode", "DCR")? };
    let order = match mode.as_str() {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return invalid(format!("`mode` is {other:?}")),
    };
    let y = c.transpose(&split, &order)?;
    Ok(vec![c.reshape(&y, &[n, ch * b * b, h / b, w / b])?])
}

fn center_crop_pad(c: &mut Call<'_, '_>) -> Results {
    let (x, v) = (c.operand(0)?, c.operand(1)?);
    let to = c.known_ints(&v, "the shape")?;
    let rank = c.rank(&x);
    let mut axes = Vec::with_capacity(rank);
    for a in c.ints("axes")?.unwrap_or_else(|| (0..rank as i64).collect()) {
        axes.push(c.axis(a, rank)?);
    }
    if axes.len() != to.len() {
        return invalid(format!("{} extents for {} axes", to.len(), axes.len()));
    }
    let mut y = x;
    for (axis, n) in axes.into_iter().zip(to) {
        let (own, n) = (c.shape(&y)[axis], usize::try_from(n).unwrap_or(0));
        if own >= n {
            let first = (own - n) / 2;
            y = c.slice_axis(&y, axis, first, first + n, 1)?;
        } else {
            let mut low = vec![0; rank];
            let mut high = vec![0; rank];
            low[axis] = ((n - own) / 2) as u64;
            high[axis] = (n - own) as u64 - low[axis];
            let zero = c.scalar(c.dtype(&y), 0.0);
            y = c.op(Op::Pad { low, high, interior: vec![0; rank] }, &[y, zero])?;
        }
    }
    Ok(vec![y])
}

/// Blocks back to an image: what the blocks have for each place is summed, kernel position after kernel position.
fn col2im(c: &mut Call<'_, '_>) -> Results {
    let (x, image, block) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (image, block) =
        (c.known_ints(&image, "the shape of the image")?, c.known_ints(&block, "the shape of a block")?);
    let n = image.len();
    let whole = |list: &[i64]| -> Option<Vec<u64>> {
        list.iter().map(|n| u64::try_from(*n).ok().filter(|n| (1..1 << 24).contains(n))).collect()
    };
    let (Some(image), Some(block)) = (whole(&image), whole(&block)) else {
        return invalid(format!("an image of {image:?} with blocks of {block:?}"));
    };
    if block.len() != n || n == 0 {
        return invalid(format!("an image of {image:?} with blocks of {block:?}"));
    }
    let stride = per_axis(c, "strides", n, 1, 1)?;
    let dilation = per_axis(c, "dilations", n, 1, 1)?;
    let pads = per_axis(c, "pads", 2 * n, 0, 0)?;
    let mut counts = Vec::with_capacity(n);
    for a in 0..n {
        let padded = image[a] + pads[a] + pads[n + a];
        let Some(room) = padded.checked_sub((block[a] - 1) * dilation[a] + 1) else {
            return invalid(format!("a block is longer than axis {a} of the image"));
        };
        counts.push(room / stride[a] + 1);
    }
    let (taps, places) = (block.iter().product::<u64>() as usize, counts.iter().product::<u64>() as usize);
    let shape = c.shape(&x);
    let &[batch, rows, columns] = &shape[..] else { return invalid(format!("its operand has the shape {shape:?}")) };
    if columns != places || !rows.is_multiple_of(taps) || taps > 1 << 16 {
        return invalid(format!("{places} blocks of {taps} elements do not fit an operand of shape {shape:?}"));
    }
    let channels = rows / taps;
    let split = c.reshape(&x, &[batch, channels, taps, places])?;
    let zero = c.scalar(c.dtype(&x), 0.0);
    let mut sum: Option<Value> = None;
    for k in 0..taps {
        let own = c.slice_axis(&split, 2, k, k + 1, 1)?;
        let grid: Vec<usize> = [batch, channels].into_iter().chain(counts.iter().map(|n| *n as usize)).collect();
        let own = c.reshape(&own, &grid)?;
        let (mut low, mut high, mut interior) = (vec![0; n + 2], vec![0; n + 2], vec![0; n + 2]);
        let mut rest = k as u64;
        for a in (0..n).rev() {
            low[a + 2] = rest % block[a] * dilation[a];
            rest /= block[a];
            interior[a + 2] = stride[a] - 1;
            let spread = (counts[a] - 1) * stride[a] + 1;
            high[a + 2] = image[a] + pads[a] + pads[n + a] - spread - low[a + 2];
        }
        let placed = c.op(Op::Pad { low, high, interior }, &[own, zero.clone()])?;
        sum = Some(match sum {
            None => placed,
            Some(s) => c.add(&s, &placed)?,
        });
    }
    let Some(mut y) = sum else { return invalid("a block has no elements") };
    for a in 0..n {
        y = c.slice_axis(&y, a + 2, pads[a] as usize, (pads[a] + image[a]) as usize, 1)?;
    }
    Ok(vec![y])
}

/// Evenly spaced positions from -1 to 1: at the corners, or at the centres of cells.
fn spaced(n: usize, corners: bool) -> Vec<f64> {
    let at = |k: usize| match (corners, n) {
        (true, 1) => 0.0,
        (true, _) => -1.0 + 2.0 * k as f64 / (n as f64 - 1.0),
        (false, _) => -1.0 + (2.0 * k as f64 + 1.0) / n as f64,
    };
    (0..n).map(at).collect()
}

fn affine_grid(c: &mut Call<'_, '_>) -> Results {
    let (theta, v) = (c.operand(0)?, c.operand(1)?);
    let corners = c.flag("align_corners", false)?;
    let size = c.known_ints(&v, "the size")?;
    let size: Option<Vec<usize>> = size.iter().map(|n| usize::try_from(*n).ok().filter(|n| *n < 1 << 20)).collect();
    let Some(size) = size.filter(|s| (4..=5).contains(&s.len())) else {
        return invalid("the size has no 4 or 5 extents");
    };
    let axes = &size[2..];
    let (n, points) = (axes.len(), axes.iter().product::<usize>());
    if c.shape(&theta) != [size[0], n, n + 1] {
        return invalid(format!("transforms of shape {:?} for a size of {size:?}", c.shape(&theta)));
    }
    // [points, n + 1]: positions with the fastest axis first, then 1.
    let lines: Vec<Vec<f64>> = axes.iter().map(|n| spaced(*n, corners)).collect();
    let mut data = Vec::with_capacity(points * (n + 1));
    for p in 0..points {
        let mut rest = p;
        for a in (0..n).rev() {
            data.push(lines[a][rest % axes[a]]);
            rest /= axes[a];
        }
        data.push(1.0);
    }
    let Some(t) = Tensor::from_vec(vec![points, n + 1], data) else { return invalid("positions of another number") };
    let dtype = c.dtype(&theta);
    let base = c.cast(&Value::known(t, ""), dtype)?;
    let by = c.transpose(&theta, &[0, 2, 1])?;
    let y = c.op(Op::Matmul, &[base, by])?;
    let shape: Vec<usize> = std::iter::once(size[0]).chain(axes.iter().copied()).chain([n]).collect();
    Ok(vec![c.reshape(&y, &shape)?])
}

/// What stands for elements outside of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sampling {
    Nearest,
    Linear,
    Cubic,
}

/// One element of an image along one axis: its index as `i64`, its weight if it has one, and whether it is inside.
struct Tap {
    index: Value,
    weight: Option<Value>,
    inside: Option<Value>,
}

/// Positions outside of `low..=high` folded back at both ends as often as needed.
fn reflected(c: &mut Call<'_, '_>, x: &Value, low: f64, high: f64) -> Result<Value, Fault> {
    let dtype = c.dtype(x);
    let width = high - low;
    if width <= 0.0 {
        let low = c.scalar(dtype, low);
        let same = c.mul(x, &c.scalar(dtype, 0.0))?;
        return c.add(&same, &low);
    }
    let (low, width, period) = (c.scalar(dtype, low), c.scalar(dtype, width), c.scalar(dtype, 2.0 * width));
    let off = c.sub(x, &low)?;
    let off = c.unary(Op::Abs, &off)?;
    let off = c.ew(Op::Rem, &[&off, &period])?;
    let back = c.sub(&period, &off)?;
    let first = c.ew(Op::Le, &[&off, &width])?;
    let off = c.select(&first, &off, &back)?;
    c.add(&off, &low)
}

/// The elements along one axis of `n` elements around positions.
fn taps(
    c: &mut Call<'_, '_>,
    at: &Value,
    n: usize,
    sampling: Sampling,
    outside: Outside,
    corners: bool,
) -> Result<Vec<Tap>, Fault> {
    let dtype = c.dtype(at);
    let last = n as f64 - 1.0;
    let (low, high) = if corners { (0.0, last) } else { (-0.5, last + 0.5) };
    let mut at = at.clone();
    if sampling == Sampling::Nearest {
        at = c.unary(Op::Round, &at)?;
    }
    let clamped = |c: &mut Call<'_, '_>, x: &Value, low: f64, high: f64| {
        let (low, high) = (c.scalar(dtype, low), c.scalar(dtype, high));
        let x = c.ew(Op::Max, &[x, &low])?;
        c.ew(Op::Min, &[&x, &high])
    };
    match outside {
        Outside::Zeros => {}
        Outside::Border => at = clamped(c, &at, 0.0, last)?,
        Outside::Reflection => at = reflected(c, &at, low, high)?,
    }
    let floor = match sampling {
        Sampling::Nearest => at.clone(),
        _ => c.unary(Op::Floor, &at)?,
    };
    let ratio = c.sub(&at, &floor)?;
    let one = c.scalar(dtype, 1.0);
    let weights: Vec<(f64, Option<Value>)> = match sampling {
        Sampling::Nearest => vec![(0.0, None)],
        Sampling::Linear => vec![(0.0, Some(c.sub(&one, &ratio)?)), (1.0, Some(ratio.clone()))],
        Sampling::Cubic => {
            let mut all = Vec::with_capacity(4);
            for k in [-1.0, 0.0, 1.0, 2.0] {
                let k_value = c.scalar(dtype, k);
                let off = c.sub(&ratio, &k_value)?;
                let off = c.unary(Op::Abs, &off)?;
                all.push((k, Some(cubic(c, &off, k == 0.0 || k == 1.0)?)));
            }
            all
        }
    };
    let mut out = Vec::with_capacity(weights.len());
    for (k, weight) in weights {
        let k = c.scalar(dtype, k);
        let place = c.add(&floor, &k)?;
        let (place, inside) = match outside {
            Outside::Zeros => {
                let (zero, end) = (c.scalar(dtype, 0.0), c.scalar(dtype, last));
                let (above, below) = (c.ew(Op::Ge, &[&place, &zero])?, c.ew(Op::Le, &[&place, &end])?);
                let inside = c.ew(Op::And, &[&above, &below])?;
                (clamped(c, &place, 0.0, last)?, Some(inside))
            }
            Outside::Border => (clamped(c, &place, 0.0, last)?, None),
            Outside::Reflection => {
                let place = reflected(c, &place, low, high)?;
                (clamped(c, &place, 0.0, last)?, None)
            }
        };
        out.push(Tap { index: c.cast(&place, DType::I64)?, weight, inside });
    }
    Ok(out)
}

/// The cubic kernel (Keys, 1981) with -0.75 at a distance below 1 (`near`) or from 1 to 2.
fn cubic(c: &mut Call<'_, '_>, x: &Value, near: bool) -> Result<Value, Fault> {
    const A: f64 = -0.75;
    let factors = if near { [A + 2.0, -(A + 3.0), 0.0, 1.0] } else { [A, -5.0 * A, 8.0 * A, -4.0 * A] };
    let dtype = c.dtype(x);
    let mut y = c.scalar(dtype, factors[0]);
    for f in &factors[1..] {
        let f = c.scalar(dtype, *f);
        y = c.mul(&y, x)?;
        y = c.add(&y, &f)?;
    }
    Ok(y)
}

/// Weighted sums of the elements around positions. `planes` has the shape `[N, C, area]`; the taps of each axis (slowest axis
/// first) have the shape `[N, 1, P]` or `[N, C, P]`. Result: `[N, C, P]`.
fn sampled(c: &mut Call<'_, '_>, planes: &Value, extents: &[usize], axes: &[Vec<Tap>]) -> Result<Value, Fault> {
    let &[n, channels, area] = &c.shape(planes)[..] else { return invalid("planes of another shape") };
    let dtype = c.dtype(planes);
    let flat = c.reshape(planes, &[n * channels * area])?;
    let base: Vec<i64> = (0..n * channels).map(|k| (k * area) as i64).collect();
    let base = c.i64s(&base);
    let base = c.reshape(&base, &[n, channels, 1])?;
    let count: usize = axes.iter().map(Vec::len).product();
    let zero = c.scalar(dtype, 0.0);
    let mut sum: Option<Value> = None;
    for mut k in 0..count {
        let mut index = base.clone();
        let (mut weight, mut inside): (Option<Value>, Option<Value>) = (None, None);
        let mut stride = area;
        for (a, of) in axes.iter().enumerate() {
            let tap = &of[k % of.len()];
            k /= of.len();
            stride /= extents[a].max(1);
            let by = c.scalar(DType::I64, stride as f64);
            let part = c.mul(&tap.index, &by)?;
            index = c.add(&index, &part)?;
            weight = match (weight, &tap.weight) {
                (Some(w), Some(more)) => Some(c.mul(&w, more)?),
                (w, more) => w.or_else(|| more.clone()),
            };
            inside = match (inside, &tap.inside) {
                (Some(i), Some(more)) => Some(c.ew(Op::And, &[&i, more])?),
                (i, more) => i.or_else(|| more.clone()),
            };
        }
        let mut x = c.gather(&flat, &index, 0)?;
        if let Some(w) = &weight {
            x = c.mul(&x, w)?;
        }
        if let Some(i) = &inside {
            x = c.select(i, &x, &zero)?;
        }
        sum = Some(match sum {
            None => x,
            Some(s) => c.add(&s, &x)?,
        });
    }
    match sum {
        Some(s) => Ok(s),
        None => invalid("an image without axes"),
    }
}

fn grid_sample(c: &mut Call<'_, '_>) -> Results {
    let (x, grid) = (c.operand(0)?, c.operand(1)?);
    let extents = spatial(c, &x)?;
    let (shape, gs) = (c.shape(&x), c.shape(&grid));
    let n = extents.len();
    let sampling = match c.text("mode", if c.opset < 20 { "bilinear" } else { "linear" })?.as_str() {
        "nearest" => Sampling::Nearest,
        "bilinear" | "linear" => Sampling::Linear,
        "bicubic" | "cubic" => Sampling::Cubic,
        other => return invalid(format!("`mode` is {other:?}")),
    };
    let outside = match c.text("padding_mode", "zeros")?.as_str() {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return invalid(format!("`padding_mode` is {other:?}")),
    };
    let corners = c.flag("align_corners", false)?;
    if gs.len() != n + 2 || gs[0] != shape[0] || gs[n + 1] != n {
        return invalid(format!("a grid of shape {gs:?} for an operand of shape {shape:?}"));
    }
    let points: usize = gs[1..=n].iter().product();
    let dtype = c.dtype(&x);
    let grid = c.cast(&grid, dtype)?;
    let grid = c.reshape(&grid, &[gs[0], points, n])?;
    let mut axes = Vec::with_capacity(n);
    for (a, extent) in extents.iter().enumerate() {
        // The grid names the fastest axis first.
        let own = c.slice_axis(&grid, 2, n - 1 - a, n - a, 1)?;
        let own = c.reshape(&own, &[gs[0], 1, points])?;
        let (one, half) = (c.scalar(dtype, 1.0), c.scalar(dtype, 0.5));
        let up = c.add(&own, &one)?;
        let at = if corners {
            let by = c.scalar(dtype, (*extent as f64 - 1.0) / 2.0);
            c.mul(&up, &by)?
        } else {
            let by = c.scalar(dtype, *extent as f64 / 2.0);
            let y = c.mul(&up, &by)?;
            c.sub(&y, &half)?
        };
        axes.push(taps(c, &at, *extent, sampling, outside, corners)?);
    }
    let planes = c.reshape(&x, &[shape[0], shape[1], extents.iter().product()])?;
    let y = sampled(c, &planes, &extents, &axes)?;
    let result: Vec<usize> = [&shape[..2], &gs[1..=n]].concat();
    Ok(vec![c.reshape(&y, &result)?])
}

/// Column `k` of `[R, 4]`.
fn column(c: &mut Call<'_, '_>, x: &Value, k: usize) -> Result<Value, Fault> {
    let own = c.slice_axis(x, 1, k, k + 1, 1)?;
    let n = c.shape(&own)[0];
    c.reshape(&own, &[n])
}

fn roi_align(c: &mut Call<'_, '_>) -> Results {
    let (x, rois, batch) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let shape = c.shape(&x);
    let &[_, channels, h, w] = &shape[..] else { return invalid(format!("its operand has the shape {shape:?}")) };
    let half = c.opset >= 16
        && match c.text("coordinate_transformation_mode", "half_pixel")?.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => return invalid(format!("`coordinate_transformation_mode` is {other:?}")),
        };
    let largest = match c.text("mode", "avg")?.as_str() {
        "avg" => false,
        "max" => true,
        other => return invalid(format!("`mode` is {other:?}")),
    };
    let (oh, ow) = (c.int("output_height", 1)?, c.int("output_width", 1)?);
    let (ratio, scale) = (c.int("sampling_ratio", 0)?, c.float("spatial_scale", 1.0)?);
    let (Ok(oh), Ok(ow), Ok(ratio)) = (usize::try_from(oh), usize::try_from(ow), usize::try_from(ratio)) else {
        return invalid(format!("{oh} by {ow} results with a sampling ratio of {ratio}"));
    };
    let count = c.shape(&rois).first().copied().unwrap_or(0);
    let dtype = c.dtype(&x);
    let all = RoiAlign { half, largest, oh, ow, scale: f64::from(scale), h, w, dtype };
    if ratio > 0 {
        return Ok(vec![all.align(c, &x, &rois, &batch, (ratio, ratio))?]);
    }
    // The number of samples depends on a region's size.
    let known = c.known(&rois, "the number of samples of a region")?;
    let mut parts = Vec::with_capacity(count);
    for r in 0..count {
        let side = |k: usize| (known.get_f64(r * 4 + k + 2) - known.get_f64(r * 4 + k)) * f64::from(scale);
        let least = if half { 0.0 } else { 1.0 };
        let samples = |side: f64, bins: usize| (side.max(least) / bins as f64).ceil().clamp(0.0, 4096.0) as usize;
        let own = c.slice_axis(&rois, 0, r, r + 1, 1)?;
        let index = c.slice_axis(&batch, 0, r, r + 1, 1)?;
        parts.push(all.align(c, &x, &own, &index, (samples(side(1), oh), samples(side(0), ow)))?);
    }
    if parts.is_empty() {
        let zero = c.scalar(dtype, 0.0);
        return Ok(vec![c.broadcast(&zero, &[0, channels, oh, ow])?]);
    }
    Ok(vec![c.concat(&parts, 0)?])
}

struct RoiAlign {
    half: bool,
    largest: bool,
    oh: usize,
    ow: usize,
    scale: f64,
    h: usize,
    w: usize,
    dtype: DType,
}

impl RoiAlign {
    /// Sample positions along one axis, `[R, bins * samples]`, from the two edges of the regions.
    fn positions(
        &self,
        c: &mut Call<'_, '_>,
        edges: (&Value, &Value),
        bins: usize,
        samples: usize,
    ) -> Result<Value, Fault> {
        let (scale, offset) =
            (c.scalar(self.dtype, self.scale), c.scalar(self.dtype, if self.half { 0.5 } else { 0.0 }));
        let first = c.mul(edges.0, &scale)?;
        let first = c.sub(&first, &offset)?;
        let end = c.mul(edges.1, &scale)?;
        let end = c.sub(&end, &offset)?;
        let mut side = c.sub(&end, &first)?;
        if !self.half {
            let one = c.scalar(self.dtype, 1.0);
            side = c.ew(Op::Max, &[&side, &one])?;
        }
        let part = |k: usize| (k as f64 / samples as f64 + 0.5 / samples as f64) / bins as f64;
        let parts: Vec<f64> = (0..bins * samples).map(part).collect();
        let Some(t) = Tensor::from_vec(vec![1, bins * samples], parts) else {
            return invalid("samples of another number");
        };
        let parts = c.cast(&Value::known(t, ""), self.dtype)?;
        let n = c.shape(&side)[0];
        let (side, first) = (c.reshape(&side, &[n, 1])?, c.reshape(&first, &[n, 1])?);
        let y = c.mul(&parts, &side)?;
        c.add(&y, &first)
    }

    /// The two elements along one axis around positions: outside of -1..=n nothing counts.
    fn taps(&self, c: &mut Call<'_, '_>, at: &Value, n: usize) -> Result<Vec<Tap>, Fault> {
        let scalar = |c: &Call<'_, '_>, x: f64| c.scalar(self.dtype, x);
        let (low, high) = (scalar(c, -1.0), scalar(c, n as f64));
        let (above, below) = (c.ew(Op::Ge, &[at, &low])?, c.ew(Op::Le, &[at, &high])?);
        let inside = c.ew(Op::And, &[&above, &below])?;
        let (zero, last) = (scalar(c, 0.0), scalar(c, n as f64 - 1.0));
        let at = c.ew(Op::Max, &[at, &zero])?;
        let at = c.ew(Op::Min, &[&at, &last])?;
        let floor = c.unary(Op::Floor, &at)?;
        let one = scalar(c, 1.0);
        let next = c.add(&floor, &one)?;
        let next = c.ew(Op::Min, &[&next, &last])?;
        let ratio = c.sub(&at, &floor)?;
        let rest = c.sub(&one, &ratio)?;
        let (first, second) = (c.cast(&floor, DType::I64)?, c.cast(&next, DType::I64)?);
        Ok(vec![
            Tap { index: first, weight: Some(rest), inside: Some(inside.clone()) },
            Tap { index: second, weight: Some(ratio), inside: Some(inside) },
        ])
    }

    fn align(
        &self,
        c: &mut Call<'_, '_>,
        x: &Value,
        rois: &Value,
        batch: &Value,
        (sy, sx): (usize, usize),
    ) -> Result<Value, Fault> {
        let (regions, channels) = (c.shape(rois)[0], c.shape(x)[1]);
        if sy == 0 || sx == 0 || regions == 0 {
            let zero = c.scalar(self.dtype, 0.0);
            return c.broadcast(&zero, &[regions, channels, self.oh, self.ow]);
        }
        let rois = c.cast(rois, self.dtype)?;
        let corners = (0..4).map(|k| column(c, &rois, k)).collect::<Result<Vec<_>, _>>()?;
        let ys = self.positions(c, (&corners[1], &corners[3]), self.oh, sy)?;
        let xs = self.positions(c, (&corners[0], &corners[2]), self.ow, sx)?;
        // [R, oh * sy] and [R, ow * sx] to [R, 1, P], P the rows times the columns.
        let (rows, columns) = (self.oh * sy, self.ow * sx);
        let ys = c.reshape(&ys, &[regions, rows, 1])?;
        let ys = c.broadcast(&ys, &[regions, rows, columns])?;
        let ys = c.reshape(&ys, &[regions, 1, rows * columns])?;
        let xs = c.reshape(&xs, &[regions, 1, columns])?;
        let xs = c.broadcast(&xs, &[regions, rows, columns])?;
        let xs = c.reshape(&xs, &[regions, 1, rows * columns])?;
        let own = c.gather(x, batch, 0)?;
        let planes = c.reshape(&own, &[regions, channels, self.h * self.w])?;
        let axes = [self.taps(c, &ys, self.h)?, self.taps(c, &xs, self.w)?];
        let y = if self.largest {
            // The largest of the weighted elements, over all samples.
            let mut most: Option<Value> = None;
            for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let pick = |of: &[Tap], k: usize| {
                    let t = &of[k];
                    vec![Tap { index: t.index.clone(), weight: t.weight.clone(), inside: t.inside.clone() }]
                };
                let one = sampled(c, &planes, &[self.h, self.w], &[pick(&axes[0], a), pick(&axes[1], b)])?;
                most = Some(match most {
                    None => one,
                    Some(m) => c.ew(Op::Max, &[&m, &one])?,
                });
            }
            most.unwrap_or_else(|| planes.clone())
        } else {
            sampled(c, &planes, &[self.h, self.w], &axes)?
        };
        let y = c.reshape(&y, &[regions, channels, self.oh, sy, self.ow, sx])?;
        let kind = if self.largest { ReduceKind::Max } else { ReduceKind::Mean };
        c.reduce(kind, &y, &[3, 5], false)
    }
}

/// A convolution whose kernel positions are moved by offsets, sampled linearly, with zeros outside.
fn deform_conv(c: &mut Call<'_, '_>) -> Results {
    let (x, w, offset) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (bias, mask) = (c.optional(3), c.optional(4));
    let (sx, sw) = (c.shape(&x), c.shape(&w));
    let (&[n, cin, h, width], &[cout, per_group, kh, kw]) = (&sx[..], &sw[..]) else {
        return unsupported(format!("an operand of shape {sx:?} with weights of shape {sw:?}"));
    };
    let declared = per_axis(c, "kernel_shape", 2, 1, 1)?;
    if c.has("kernel_shape") && declared != [kh as u64, kw as u64] {
        return invalid(format!("`kernel_shape` is {declared:?}, but the weights have the shape {sw:?}"));
    }
    let stride = per_axis(c, "strides", 2, 1, 1)?;
    let dilation = per_axis(c, "dilations", 2, 1, 1)?;
    let pads = per_axis(c, "pads", 4, 0, 0)?;
    let groups = usize::try_from(c.int("group", 1)?).unwrap_or(0);
    let moved = usize::try_from(c.int("offset_group", 1)?).unwrap_or(0);
    let so = c.shape(&offset);
    let taps_count = kh * kw;
    if groups == 0
        || moved == 0
        || cin != per_group * groups
        || !cin.is_multiple_of(moved)
        || !cout.is_multiple_of(groups)
    {
        return invalid(format!("{groups} groups and {moved} groups of offsets do not fit {sx:?} and {sw:?}"));
    }
    let &[_, _, oh, ow] = &so[..] else { return invalid(format!("offsets of shape {so:?}")) };
    let out = |size: usize, a: usize, k: usize| {
        let padded = size as u64 + pads[a] + pads[a + 2];
        padded.checked_sub((k as u64 - 1) * dilation[a] + 1).map(|room| (room / stride[a] + 1) as usize)
    };
    if so != [n, moved * taps_count * 2, oh, ow]
        || (out(h, 0, kh.max(1)), out(width, 1, kw.max(1))) != (Some(oh), Some(ow))
    {
        return invalid(format!("offsets of shape {so:?} do not fit {sx:?} and {sw:?}"));
    }
    let dtype = c.dtype(&x);
    let places = oh * ow;
    let total = taps_count * places;
    let offset = c.reshape(&offset, &[n, moved, taps_count, 2, places])?;
    let mut positions = Vec::with_capacity(2);
    for a in 0..2 {
        let own = c.slice_axis(&offset, 3, a, a + 1, 1)?;
        let own = c.reshape(&own, &[n, moved, total])?;
        // Where each tap of each place would be without offsets.
        let base: Vec<f64> = (0..taps_count)
            .flat_map(|k| (0..places).map(move |p| (k, p)))
            .map(|(k, p)| {
                let (tap, place) = if a == 0 { (k / kw, p / ow) } else { (k % kw, p % ow) };
                (place as u64 * stride[a] + tap as u64 * dilation[a]) as f64 - pads[a] as f64
            })
            .collect();
        let Some(t) = Tensor::from_vec(vec![total], base) else { return invalid("positions of another number") };
        let base = c.cast(&Value::known(t, ""), dtype)?;
        let at = c.add(&own, &base)?;
        // One set of offsets for several channels.
        let index: Vec<i64> = (0..cin).map(|ch| (ch / (cin / moved)) as i64).collect();
        let index = c.i64s(&index);
        positions.push(c.gather(&at, &index, 1)?);
    }
    let axes = [
        taps(c, &positions[0], h, Sampling::Linear, Outside::Zeros, true)?,
        taps(c, &positions[1], width, Sampling::Linear, Outside::Zeros, true)?,
    ];
    let planes = c.reshape(&x, &[n, cin, h * width])?;
    let mut y = sampled(c, &planes, &[h, width], &axes)?;
    if let Some(mask) = mask {
        let mask = c.reshape(&mask, &[n, moved, total])?;
        let index: Vec<i64> = (0..cin).map(|ch| (ch / (cin / moved)) as i64).collect();
        let index = c.i64s(&index);
        let mask = c.gather(&mask, &index, 1)?;
        y = c.mul(&y, &mask)?;
    }
    let columns = c.reshape(&y, &[n, groups, per_group * taps_count, places])?;
    let weights = c.reshape(&w, &[1, groups, cout / groups, per_group * taps_count])?;
    let y = c.op(Op::Matmul, &[weights, columns])?;
    let mut y = c.reshape(&y, &[n, cout, oh, ow])?;
    if let Some(bias) = bias {
        let bias = c.reshape(&bias, &[cout, 1, 1])?;
        y = c.add(&y, &bias)?;
    }
    Ok(vec![y])
}

/// A box as its lower and upper corners: `[y1, x1, y2, x2]` in either order, or `[x, y, width, height]` around a centre.
fn corners(b: [f64; 4], centred: bool) -> [f64; 4] {
    if centred {
        let [x, y, w, h] = b;
        return [y - h / 2.0, x - w / 2.0, y + h / 2.0, x + w / 2.0];
    }
    [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |k: usize| (a[k + 2].min(b[k + 2]) - a[k].max(b[k])).max(0.0);
    let area = |r: [f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let both = side(0) * side(1);
    let all = area(a) + area(b) - both;
    if all > 0.0 { both / all } else { 0.0 }
}

/// Greedy selection of boxes. Which are selected decides the shape of the result, so that boxes and scores must be known.
fn suppression(c: &mut Call<'_, '_>) -> Results {
    let (boxes, scores) = (c.operand(0)?, c.operand(1)?);
    let centred = c.flag("center_point_box", false)?;
    let why = "which boxes are selected";
    let mut numbers = [0.0, 0.0, f64::NEG_INFINITY];
    for (k, number) in numbers.iter_mut().enumerate() {
        if let Some(v) = c.optional(2 + k) {
            let t = c.known(&v, why)?;
            if t.len() != 1 {
                return invalid(format!("its operand {} is no scalar", 2 + k));
            }
            *number = t.get_f64(0);
        }
    }
    let [most, threshold, least] = numbers;
    let (boxes, scores) = (c.known(&boxes, why)?, c.known(&scores, why)?);
    let (sb, ss) = (boxes.shape().to_vec(), scores.shape().to_vec());
    let (&[batches, count, 4], &[_, classes, _]) = (&sb[..], &ss[..]) else {
        return invalid(format!("boxes of shape {sb:?} with scores of shape {ss:?}"));
    };
    if ss != [batches, classes, count] {
        return invalid(format!("boxes of shape {sb:?} with scores of shape {ss:?}"));
    }
    let mut out: Vec<i64> = Vec::new();
    for b in 0..batches {
        let of = |k: usize| corners(std::array::from_fn(|e| boxes.get_f64((b * count + k) * 4 + e)), centred);
        for class in 0..classes {
            let score = |k: usize| scores.get_f64((b * classes + class) * count + k);
            let mut order: Vec<usize> = (0..count).filter(|k| score(*k) > least).collect();
            order.sort_by(|x, y| score(*y).total_cmp(&score(*x)));
            let mut chosen: Vec<usize> = Vec::new();
            for k in order {
                if chosen.len() as f64 >= most {
                    break;
                }
                if chosen.iter().all(|other| overlap(of(k), of(*other)) <= threshold) {
                    chosen.push(k);
                    out.extend([b as i64, class as i64, k as i64]);
                }
            }
        }
    }
    let rows = out.len() / 3;
    let all = c.i64s(&out);
    Ok(vec![c.reshape(&all, &[rows, 3])?])
}
