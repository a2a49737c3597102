//! Convolutions, and the arithmetic of windows that pooling shares.

use super::matmul::Side;
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::DType;
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Conv", &[1, 11, 22], Types::Number, "", conv),
    row("ConvInteger", &[10], Types::These(&[DType::I8, DType::U8]), "", conv_integer),
    row("ConvTranspose", &[1, 11, 22], Types::Float, "", conv_transpose),
];

/// Windows along each spatial axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Windows {
    /// Elements of a window.
    pub size: Vec<u64>,
    /// From one window to the next.
    pub stride: Vec<u64>,
    /// From one element of a window to the next.
    pub dilation: Vec<u64>,
    /// What windows may reach beyond the start of an axis.
    pub before: Vec<u64>,
    /// What windows may reach beyond the end of an axis, as declared.
    pub after: Vec<u64>,
    /// Beyond that, so that the last window that begins inside is whole (`ceil_mode`).
    pub extra: Vec<u64>,
}

impl Windows {
    /// The `pad` of nc's ops.
    pub fn pad(&self) -> Vec<u64> {
        self.before.iter().copied().chain(self.after.iter().zip(&self.extra).map(|(a, e)| a + e)).collect()
    }

    /// Number of windows along an axis of `n` elements.
    pub fn count(&self, axis: usize, n: u64) -> u64 {
        let reach = (self.size[axis] - 1) * self.dilation[axis] + 1;
        let padded = n + self.before[axis] + self.after[axis] + self.extra[axis];
        padded.checked_sub(reach).map_or(0, |room| room / self.stride[axis] + 1)
    }
}

/// A list of whole numbers, one for each spatial axis; `default` for each if it is not given.
pub(super) fn per_axis(c: &Call<'_, '_>, name: &str, n: usize, default: u64, least: i64) -> Result<Vec<u64>, Fault> {
    const MOST: i64 = 1 << 31;
    match c.ints(name)? {
        None => Ok(vec![default; n]),
        Some(list) if list.len() != n => invalid(format!("`{name}` has {} numbers for {n} spatial axes", list.len())),
        Some(list) => match list.iter().find(|x| **x < least || **x > MOST) {
            Some(x) => invalid(format!("`{name}` contains {x}, expected {least} or more")),
            None => Ok(list.into_iter().map(|x| x as u64).collect()),
        },
    }
}

/// Reads `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode` for windows of a size over `spatial` axes.
pub(super) fn windows(c: &Call<'_, '_>, size: Vec<u64>, spatial: &[usize]) -> Result<Windows, Fault> {
    let n = spatial.len();
    let stride = per_axis(c, "strides", n, 1, 1)?;
    let dilation = per_axis(c, "dilations", n, 1, 1)?;
    if let Some(k) = size.iter().position(|s| *s == 0 || *s > 1 << 31) {
        return invalid(format!("the window has {} elements along spatial axis {k}", size[k]));
    }
    let reach: Vec<u64> = (0..n).map(|a| (size[a] - 1).saturating_mul(dilation[a]).saturating_add(1)).collect();
    let auto = c.text("auto_pad", "NOTSET")?;
    let pads = per_axis(c, "pads", 2 * n, 0, 0)?;
    let (mut before, mut after) = (pads[..n].to_vec(), pads[n..].to_vec());
    match auto.as_str() {
        "NOTSET" | "" => {}
        "VALID" => (before, after) = (vec![0; n], vec![0; n]),
        "SAME_UPPER" | "SAME_LOWER" => {
            for a in 0..n {
                let input = spatial[a] as u64;
                let windows = input.div_ceil(stride[a]);
                let needed = (windows.saturating_sub(1) * stride[a]).saturating_add(reach[a]).saturating_sub(input);
                let less = needed / 2;
                (before[a], after[a]) =
                    if auto == "SAME_UPPER" { (less, needed - less) } else { (needed - less, less) };
            }
        }
        other => return invalid(format!("`auto_pad` is {other:?}")),
    }
    let mut extra = vec![0; n];
    if c.flag("ceil_mode", false)? {
        for a in 0..n {
            let padded = spatial[a] as u64 + before[a] + after[a];
            let Some(room) = padded.checked_sub(reach[a]) else { continue };
            let begins_inside = |window: u64| window * stride[a] < spatial[a] as u64 + before[a];
            let last = room.div_ceil(stride[a]);
            if last > room / stride[a] && begins_inside(last) {
                extra[a] = last * stride[a] - room;
            }
        }
    }
    Ok(Windows { size, stride, dilation, before, after, extra })
}

/// The spatial extents of an operand `[N, C, ..]`, of which there must be one at least.
pub(super) fn spatial(c: &Call<'_, '_>, x: &Value) -> Result<Vec<usize>, Fault> {
    match c.shape(x) {
        s if s.len() >= 3 => Ok(s[2..].to_vec()),
        s => invalid(format!("its operand has the shape {s:?}, [N, C, ..] with a spatial axis was expected")),
    }
}

/// The window of a convolution is that of its weights; `kernel_shape` may repeat it.
fn kernel_windows(c: &Call<'_, '_>, x: &Value, w: &Value) -> Result<Windows, Fault> {
    let extents = spatial(c, x)?;
    let kernel = c.shape(w);
    if kernel.len() != extents.len() + 2 {
        return invalid(format!("weights of shape {kernel:?} do not fit an operand of shape {:?}", c.shape(x)));
    }
    let size: Vec<u64> = kernel[2..].iter().map(|n| *n as u64).collect();
    let declared = per_axis(c, "kernel_shape", extents.len(), 1, 1)?;
    if c.has("kernel_shape") && declared != size {
        return invalid(format!("`kernel_shape` is {declared:?}, but the weights have the shape {kernel:?}"));
    }
    windows(c, size, &extents)
}

fn groups(c: &Call<'_, '_>) -> Result<u64, Fault> {
    match c.int("group", 1)? {
        g if g >= 1 => Ok(g as u64),
        g => invalid(format!("`group` is {g}")),
    }
}

fn conv(c: &mut Call<'_, '_>) -> Results {
    let (x, w) = (c.operand(0)?, c.operand(1)?);
    let at = kernel_windows(c, &x, &w)?;
    let op = Op::Conv { pad: at.pad(), stride: at.stride, dilation: at.dilation, groups: groups(c)? };
    let args: Vec<Value> = [x, w].into_iter().chain(c.optional(2)).collect();
    Ok(vec![c.op(op, &args)?])
}

fn conv_integer(c: &mut Call<'_, '_>) -> Results {
    let (x, w) = (c.operand(0)?, c.operand(1)?);
    let (x_zero, w_zero) = (c.optional(2), c.optional(3));
    Ok(vec![integer(c, &x, &w, x_zero.as_ref(), w_zero.as_ref(), None)?])
}

/// A convolution of integers less their zero points, in `i32`. Padding stands for the zero point of the operand.
pub(super) fn integer(
    c: &mut Call<'_, '_>,
    x: &Value,
    w: &Value,
    x_zero: Option<&Value>,
    w_zero: Option<&Value>,
    bias: Option<Value>,
) -> Result<Value, Fault> {
    let at = kernel_windows(c, x, w)?;
    let x = c.centred(x, x_zero, Side::Columns)?;
    let w_zero = match w_zero {
        // One zero point for each output channel.
        Some(z) if c.shape(z).iter().product::<usize>() > 1 => {
            let mut shape = vec![1; c.rank(w)];
            shape[0] = c.shape(z)[0];
            Some(c.reshape(z, &shape)?)
        }
        z => z.cloned(),
    };
    let w = c.centred(w, w_zero.as_ref(), Side::Columns)?;
    let op = Op::Conv { pad: at.pad(), stride: at.stride, dilation: at.dilation, groups: groups(c)? };
    let args: Vec<Value> = [x, w].into_iter().chain(bias).collect();
    c.op(op, &args)
}

/// A convolution of the operand spread by its stride, with the kernel turned around.
fn conv_transpose(c: &mut Call<'_, '_>) -> Results {
    let (x, w) = (c.operand(0)?, c.operand(1)?);
    let extents = spatial(c, &x)?;
    let (shape, kernel) = (c.shape(&x), c.shape(&w));
    let n = extents.len();
    let groups = groups(c)? as usize;
    if kernel.len() != n + 2 || kernel[0] != shape[1] || !kernel[0].is_multiple_of(groups) {
        return invalid(format!(
            "weights of shape {kernel:?} in {groups} groups do not fit an operand of shape {shape:?}"
        ));
    }
    let size: Vec<u64> = kernel[2..].iter().map(|n| *n as u64).collect();
    let declared = per_axis(c, "kernel_shape", n, 1, 1)?;
    if c.has("kernel_shape") && declared != size {
        return invalid(format!("`kernel_shape` is {declared:?}, but the weights have the shape {kernel:?}"));
    }
    let stride = per_axis(c, "strides", n, 1, 1)?;
    let dilation = per_axis(c, "dilations", n, 1, 1)?;
    let more = per_axis(c, "output_padding", n, 0, 0)?;
    let pads = per_axis(c, "pads", 2 * n, 0, 0)?;
    let auto = c.text("auto_pad", "NOTSET")?;
    let target = match c.ints("output_shape")? {
        // Some files list the batch and the channels too.
        Some(list) if list.len() == n + 2 => Some(list[2..].to_vec()),
        Some(list) if list.len() == n => Some(list),
        Some(list) => return invalid(format!("`output_shape` has {} numbers for {n} spatial axes", list.len())),
        None => None,
    };
    let (mut low, mut high, mut crop_low, mut crop_high) = (vec![0; n], vec![0; n], vec![0; n], vec![0; n]);
    for a in 0..n {
        if size[a] == 0 || extents[a] == 0 {
            return invalid(format!("spatial axis {a} has no elements"));
        }
        let reach = (size[a] - 1).saturating_mul(dilation[a]);
        let spread = (extents[a] as u64 - 1).saturating_mul(stride[a]);
        let full = spread.saturating_add(reach).saturating_add(1);
        let wanted = match (&target, auto.as_str()) {
            (Some(t), _) => Some(u64::try_from(t[a]).ok().filter(|t| *t < 1 << 31)),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(Some(extents[a] as u64 * stride[a])),
            (None, "NOTSET" | "VALID" | "") => None,
            (None, other) => return invalid(format!("`auto_pad` is {other:?}")),
        };
        // What is cut off the full result in front, and the length of what is kept.
        let (front, length) = match wanted {
            Some(None) => return invalid(format!("`output_shape` contains {}", target.map_or(0, |t| t[a]))),
            Some(Some(wanted)) => {
                let cut = (full + more[a]).saturating_sub(wanted);
                let front = if auto == "SAME_UPPER" { cut / 2 } else { cut - cut / 2 };
                (front, wanted)
            }
            None => {
                let (b, e) = if auto == "VALID" { (0, 0) } else { (pads[a], pads[n + a]) };
                let length = (full + more[a]).checked_sub(b).and_then(|l| l.checked_sub(e));
                match length {
                    Some(length) => (b, length),
                    None => return invalid(format!("the padding of spatial axis {a} is larger than the result")),
                }
            }
        };
        // The spread operand is padded by the kernel's reach on both sides; cutting the result is padding less.
        let back = i128::from(front) + i128::from(length) - i128::from(full);
        let (b, e) = (i128::from(reach) - i128::from(front), i128::from(reach) + back);
        low[a] = b.max(0) as u64;
        crop_low[a] = (-b).max(0) as u64;
        high[a] = e.max(0) as u64;
        crop_high[a] = (-e).max(0) as u64;
    }
    let zero = c.scalar(c.dtype(&x), 0.0);
    let spread = Op::Pad {
        low: [vec![0, 0], low].concat(),
        high: [vec![0, 0], high].concat(),
        interior: [vec![0, 0], stride.iter().map(|s| s - 1).collect()].concat(),
    };
    let mut x = c.op(spread, &[x, zero])?;
    for a in 0..n {
        let extent = c.shape(&x)[a + 2];
        let (from, to) = (crop_low[a] as usize, extent.saturating_sub(crop_high[a] as usize));
        x = c.slice_axis(&x, a + 2, from.min(to), to, 1)?;
    }
    let w = turned(c, &w, groups)?;
    let op = Op::Conv { stride: vec![1; n], pad: vec![0; 2 * n], dilation, groups: groups as u64 };
    let args: Vec<Value> = [x, w].into_iter().chain(c.optional(2)).collect();
    Ok(vec![c.op(op, &args)?])
}

/// Weights `[Cin, Cout / g, k..]` of a transposed convolution as `[Cout, Cin / g, k..]`, turned around in every spatial axis.
fn turned(c: &mut Call<'_, '_>, w: &Value, groups: usize) -> Result<Value, Fault> {
    let kernel = c.shape(w);
    let split: Vec<usize> = [&[groups, kernel[0] / groups, kernel[1]], &kernel[2..]].concat();
    let w = c.reshape(w, &split)?;
    let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..split.len()).collect();
    let w = c.transpose(&w, &perm)?;
    let joined: Vec<usize> = [&[groups * kernel[1], kernel[0] / groups], &kernel[2..]].concat();
    let mut w = c.reshape(&w, &joined)?;
    for (a, n) in kernel.iter().enumerate().skip(2).filter(|(_, n)| **n > 1) {
        let back: Vec<i64> = (0..*n as i64).rev().collect();
        let back = c.i64s(&back);
        w = c.gather(&w, &back, a)?;
    }
    Ok(w)
}
