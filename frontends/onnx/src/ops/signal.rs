//! Fourier transforms and windows.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use crate::tensor::element_type;
use nc_ir::graph::Op;
use nc_ir::{DType, Tensor};
use std::f64::consts::PI;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("DFT", &[17, 20], Types::Float, "", dft),
    row("STFT", &[17], Types::Float, "", stft),
    row("HannWindow", &[17], Types::Int, "", |c| window(c, &[0.5, 0.5])),
    row("HammingWindow", &[17], Types::Int, "", |c| window(c, &[25.0 / 46.0, 21.0 / 46.0])),
    row("BlackmanWindow", &[17], Types::Int, "", |c| window(c, &[0.42, 0.5, 0.08])),
    row("MelWeightMatrix", &[17], Types::Int, "", mel),
];

/// Most elements of a matrix of factors: a transform of some thousand points.
const MOST: usize = 1 << 26;

/// A number that must be known.
fn number(c: &Call<'_, '_>, k: usize, why: &str) -> Result<i64, Fault> {
    let v = c.operand(k)?;
    match c.known_ints(&v, why)?[..] {
        [n] => Ok(n),
        ref list => invalid(format!("{why} has {} elements", list.len())),
    }
}

fn size(n: i64, why: &str) -> Result<usize, Fault> {
    match usize::try_from(n) {
        Ok(n) if n <= 1 << 24 => Ok(n),
        _ => invalid(format!("{why} is {n}")),
    }
}

/// A known matrix, in an element type.
fn matrix(
    c: &mut Call<'_, '_>,
    shape: [usize; 2],
    dtype: DType,
    at: impl Fn(usize, usize) -> f64,
) -> Result<Value, Fault> {
    if shape[0].checked_mul(shape[1]).is_none_or(|n| n > MOST) {
        return unsupported(format!("a transform with {} by {} factors", shape[0], shape[1]));
    }
    let data: Vec<f64> =
        (0..shape[0]).flat_map(|i| (0..shape[1]).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect();
    let Some(t) = Tensor::from_vec(shape.to_vec(), data) else { return invalid("a matrix of another size") };
    let v = Value::known(t, "");
    c.cast(&v, dtype)
}

/// `e^(sign 2 pi i j k / n)`: cosines, sines.
fn factors(
    c: &mut Call<'_, '_>,
    outputs: usize,
    inputs: usize,
    n: usize,
    sign: f64,
    dtype: DType,
) -> Result<[Value; 2], Fault> {
    let angle = move |k: usize, j: usize| 2.0 * PI * ((k * j % n.max(1)) as f64) / n.max(1) as f64;
    let cosines = matrix(c, [outputs, inputs], dtype, |k, j| angle(k, j).cos())?;
    let sines = matrix(c, [outputs, inputs], dtype, |k, j| sign * angle(k, j).sin())?;
    Ok([cosines, sines])
}

/// The transform of the last axis: real and imaginary parts of `[.., outputs]`, from those of `[.., inputs]`.
fn transformed(
    c: &mut Call<'_, '_>,
    re: &Value,
    im: Option<&Value>,
    [cosines, sines]: &[Value; 2],
) -> Result<(Value, Value), Fault> {
    let product = |c: &mut Call<'_, '_>, x: &Value, w: &Value| c.op(Op::Linear, &[x.clone(), w.clone()]);
    let (mut a, mut b) = (product(c, re, cosines)?, product(c, re, sines)?);
    if let Some(im) = im {
        let (x, y) = (product(c, im, sines)?, product(c, im, cosines)?);
        a = c.sub(&a, &x)?;
        b = c.add(&b, &y)?;
    }
    Ok((a, b))
}

/// The real and, if there is one, the imaginary part of `[.., 1]` or `[.., 2]`.
fn parts(c: &mut Call<'_, '_>, x: &Value) -> Result<(Value, Option<Value>), Fault> {
    let shape = c.shape(x);
    let last = shape.len() - 1;
    let inner = &shape[..last];
    let re = c.slice_axis(x, last, 0, 1, 1)?;
    let re = c.reshape(&re, inner)?;
    if shape[last] == 1 {
        return Ok((re, None));
    }
    let im = c.slice_axis(x, last, 1, 2, 1)?;
    Ok((re, Some(c.reshape(&im, inner)?)))
}

/// Parts joined on a last axis.
fn complex(c: &mut Call<'_, '_>, re: &Value, im: &Value) -> Result<Value, Fault> {
    let n = c.rank(re);
    let (re, im) = (c.unsqueeze(re, &[n])?, c.unsqueeze(im, &[n])?);
    c.concat(&[re, im], n)
}

fn dft(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (rank, shape, dtype) = (c.rank(&x), c.shape(&x), c.dtype(&x));
    if rank < 2 || !(1..=2).contains(&shape[rank - 1]) {
        return invalid(format!("its operand has the shape {shape:?}, [.., 1] or [.., 2] was expected"));
    }
    let axis = match (c.opset < 20, c.optional(2)) {
        (true, _) => c.int("axis", 1)?,
        (false, Some(_)) => number(c, 2, "the axis")?,
        (false, None) => -2,
    };
    let axis = c.axis(axis, rank)?;
    if axis == rank - 1 {
        return invalid("the last axis holds real and imaginary parts and cannot be transformed");
    }
    let (inverse, onesided) = (c.flag("inverse", false)?, c.flag("onesided", false)?);
    let own = shape[axis];
    let n = match c.optional(1) {
        Some(_) => size(number(c, 1, "the length of the transform")?, "the length of the transform")?,
        // Half of a spectrum stands for a signal of even length.
        None if inverse && onesided => own.saturating_sub(1) * 2,
        None => own,
    };
    // The transformed axis last, parts apart.
    let (re, im) = parts(c, &x)?;
    let perm: Vec<usize> = (0..rank - 1).filter(|a| *a != axis).chain([axis]).collect();
    let re = c.transpose(&re, &perm)?;
    let im = im.map(|im| c.transpose(&im, &perm)).transpose()?;
    let spectrum = if inverse && onesided { n / 2 + 1 } else { n };
    let (re, im) = (fitted(c, &re, spectrum)?, im.map(|im| fitted(c, &im, spectrum)).transpose()?);
    let last = rank - 2;
    let (mut a, b) = if inverse && onesided {
        // The other half is conjugate: the result is real.
        let weight = |k: usize| if k == 0 || 2 * k == n { 1.0 } else { 2.0 };
        let angle = |j: usize, k: usize| 2.0 * PI * ((k * j % n.max(1)) as f64) / n.max(1) as f64;
        let cosines = matrix(c, [n, spectrum], dtype, |j, k| weight(k) * angle(j, k).cos())?;
        let sines = matrix(c, [n, spectrum], dtype, |j, k| -weight(k) * angle(j, k).sin())?;
        let mut y = c.op(Op::Linear, &[re, cosines])?;
        if let Some(im) = im {
            let more = c.op(Op::Linear, &[im, sines])?;
            y = c.add(&y, &more)?;
        }
        (y, None)
    } else {
        let outputs = if onesided { n / 2 + 1 } else { n };
        let factors = factors(c, outputs, n, n, if inverse { 1.0 } else { -1.0 }, dtype)?;
        let (a, b) = transformed(c, &re, im.as_ref(), &factors)?;
        (a, Some(b))
    };
    let mut b = b;
    if inverse {
        let by = c.scalar(dtype, n.max(1) as f64);
        a = c.div(&a, &by)?;
        b = b.map(|b| c.div(&b, &by)).transpose()?;
    }
    let back: Vec<usize> = (0..rank - 1)
        .map(|k| {
            if k == axis {
                last
            } else if k < axis {
                k
            } else {
                k - 1
            }
        })
        .collect();
    let a = c.transpose(&a, &back)?;
    let y = match b {
        Some(b) => {
            let b = c.transpose(&b, &back)?;
            complex(c, &a, &b)?
        }
        None => c.unsqueeze(&a, &[rank - 1])?,
    };
    Ok(vec![y])
}

/// The last axis cut, or extended by zeros, to `n` elements.
fn fitted(c: &mut Call<'_, '_>, x: &Value, n: usize) -> Result<Value, Fault> {
    let shape = c.shape(x);
    let last = shape.len() - 1;
    if shape[last] >= n {
        return c.slice_axis(x, last, 0, n, 1);
    }
    let mut high = vec![0; shape.len()];
    high[last] = (n - shape[last]) as u64;
    let zero = c.scalar(c.dtype(x), 0.0);
    let op = Op::Pad { low: vec![0; shape.len()], high, interior: vec![0; shape.len()] };
    c.op(op, &[x.clone(), zero])
}

fn stft(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (shape, dtype) = (c.shape(&x), c.dtype(&x));
    let step = size(number(c, 1, "the step between frames")?, "the step between frames")?;
    let window = c.optional(2);
    let onesided = c.flag("onesided", true)?;
    let &[batch, length, parts_count @ (1 | 2)] = &shape[..] else {
        return invalid(format!("the signal has the shape {shape:?}, [B, T, 1] or [B, T, 2] was expected"));
    };
    let n = match (&window, c.optional(3)) {
        (_, Some(_)) => size(number(c, 3, "the length of a frame")?, "the length of a frame")?,
        (Some(w), None) => c.shape(w).first().copied().unwrap_or(0),
        (None, None) => return invalid("neither a window nor the length of a frame is given"),
    };
    if step == 0 || n == 0 || n > length {
        return invalid(format!("frames of {n} elements, {step} apart, in a signal of {length}"));
    }
    let frames = (length - n) / step + 1;
    let index: Vec<i64> = (0..frames).flat_map(|f| (0..n).map(move |k| (f * step + k) as i64)).collect();
    let index = c.i64s(&index);
    let cut = c.gather(&x, &index, 1)?;
    let cut = c.reshape(&cut, &[batch, frames, n, parts_count])?;
    let (mut re, mut im) = parts(c, &cut)?;
    if let Some(w) = window {
        let w = c.cast(&w, dtype)?;
        re = c.mul(&re, &w)?;
        im = im.map(|im| c.mul(&im, &w)).transpose()?;
    }
    let outputs = if onesided { n / 2 + 1 } else { n };
    let factors = factors(c, outputs, n, n, -1.0, dtype)?;
    let (a, b) = transformed(c, &re, im.as_ref(), &factors)?;
    Ok(vec![complex(c, &a, &b)?])
}

fn output_type(c: &Call<'_, '_>) -> Result<DType, Fault> {
    let n = c.int("output_datatype", 1)?;
    match i32::try_from(n).map_err(|_| format!("the element type {n} is not supported")).and_then(element_type) {
        Ok(d) => Ok(d),
        Err(text) => Err(Fault::Unsupported(text)),
    }
}

/// A sum of cosines: `a0 - a1 cos(2 pi k / n) + a2 cos(4 pi k / n)`.
fn window(c: &mut Call<'_, '_>, coefficients: &[f64]) -> Results {
    let n = size(number(c, 0, "the length of the window")?, "the length of the window")?;
    let (periodic, to) = (c.flag("periodic", true)?, output_type(c)?);
    let period = if periodic { n } else { n.saturating_sub(1) }.max(1) as f64;
    let value = |k: usize| {
        let angle = 2.0 * PI * k as f64 / period;
        let terms = coefficients.iter().enumerate();
        terms
            .map(|(m, a)| if m % 2 == 0 { a * (m as f64 * angle).cos() } else { -a * (m as f64 * angle).cos() })
            .sum::<f64>()
    };
    let row = matrix(c, [1, n], DType::F64, |_, k| value(k))?;
    let row = c.reshape(&row, &[n])?;
    Ok(vec![c.cast(&row, to)?])
}

/// Triangles over a spectrum, evenly spaced on the mel scale.
fn mel(c: &mut Call<'_, '_>) -> Results {
    let bins = size(number(c, 0, "the number of bands")?, "the number of bands")?;
    let points = size(number(c, 1, "the length of the transform")?, "the length of the transform")?;
    let rate = number(c, 2, "the sample rate")? as f64;
    let mut edges = [0.0; 2];
    for (k, edge) in edges.iter_mut().enumerate() {
        let v = c.operand(3 + k)?;
        let t = c.known(&v, "an edge of the spectrum")?;
        if t.len() != 1 {
            return invalid("an edge of the spectrum is no scalar");
        }
        *edge = t.get_f64(0);
    }
    let to = output_type(c)?;
    let rows = points / 2 + 1;
    let mel_of = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let (low, high) = (mel_of(edges[0]), mel_of(edges[1]));
    let spacing = (high - low) / (bins + 2) as f64;
    let bin = |k: usize| {
        let hz = 700.0 * (10f64.powf((k as f64 * spacing + low) / 2595.0) - 1.0);
        ((points + 1) as f64 * hz / rate).floor() as i64
    };
    let weight = |row: usize, k: usize| {
        let (left, middle, right, at) = (bin(k), bin(k + 1), bin(k + 2), row as i64);
        if middle == left && at == middle {
            1.0
        } else if (left..=middle).contains(&at) && middle > left {
            (at - left) as f64 / (middle - left) as f64
        } else if (middle..right).contains(&at) {
            (right - at) as f64 / (right - middle) as f64
        } else {
            0.0
        }
    };
    let m = matrix(c, [rows, bins], DType::F64, weight)?;
    Ok(vec![c.cast(&m, to)?])
}
