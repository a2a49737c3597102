//! Contractions and reductions, in the order that the numeric contract fixes.

use super::data::strides;
use super::register::{Register, store, with_register};
use crate::graph::expand::{greatest, least};
use crate::graph::{PoolKind, ReduceKind};
use crate::tensor::Tensor;
use crate::types::DType;

/// Adds +0, which turns a final -0 into +0.
fn finish<R: Register>(acc: R) -> R {
    R::add(acc, R::ZERO)
}

pub(super) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Option<Tensor> {
    let (m, k) = (w.shape()[0], w.shape()[1]);
    let mut shape = x.shape().to_vec();
    *shape.last_mut()? = m;
    let rows: usize = shape[..shape.len() - 1].iter().product();
    with_register!(x.dtype(), R => {
        let (xs, ws, bs) = (R::read(x), R::read(w), bias.map(R::read));
        let mut out = Vec::with_capacity(rows * m);
        for row in 0..rows {
            let input = &xs[row * k..(row + 1) * k];
            for o in 0..m {
                let start = bs.as_ref().map_or(R::ZERO, |b| b[o]);
                let chain = ws[o * k..(o + 1) * k].iter().zip(input).fold(start, |acc, (w, x)| R::mul_add(*w, *x, acc));
                out.push(finish(chain));
            }
        }
        store(x.dtype(), shape, &out)
    })?
}

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let (ra, rb) = (a.shape().len(), b.shape().len());
    let (m, k, n) = (a.shape()[ra - 2], a.shape()[ra - 1], b.shape()[rb - 1]);
    let (lead_a, lead_b) = (&a.shape()[..ra - 2], &b.shape()[..rb - 2]);
    let rank = lead_a.len().max(lead_b.len());
    let extent = |lead: &[usize], a: usize| (a + lead.len()).checked_sub(rank).map_or(1, |i| lead[i]);
    let lead: Vec<usize> = (0..rank)
        .map(|i| match extent(lead_a, i) {
            1 => extent(lead_b, i),
            n => n,
        })
        .collect();
    let blocks: usize = lead.iter().product();
    let steps = strides(&lead);
    // The block of an operand that stands behind block `i` of the result.
    let block_of = |own: &[usize], i: usize| {
        (0..rank).fold(0, |at, axis| match extent(own, axis) {
            1 => at,
            n => at * n + i / steps[axis] % lead[axis],
        })
    };
    let shape = [&lead[..], &[m, n]].concat();
    with_register!(a.dtype(), R => {
        let (xs, ys) = (R::read(a), R::read(b));
        let mut out = Vec::with_capacity(blocks * m * n);
        for block in 0..blocks {
            let (xs, ys) = (&xs[block_of(lead_a, block) * m * k..], &ys[block_of(lead_b, block) * k * n..]);
            for i in 0..m {
                for j in 0..n {
                    out.push(finish((0..k).fold(R::ZERO, |acc, l| R::mul_add(xs[i * k + l], ys[l * n + j], acc))));
                }
            }
        }
        store(a.dtype(), shape, &out)
    })?
}

/// Geometry of windows that slide over the spatial axes.
struct Windows {
    /// Extents of the input's spatial axes.
    input: Vec<usize>,
    /// Number of window positions.
    output: Vec<usize>,
    /// Extents of the window.
    size: Vec<usize>,
    stride: Vec<usize>,
    /// Padding before each axis.
    before: Vec<usize>,
    dilation: Vec<usize>,
}

impl Windows {
    fn new(input: &[usize], size: Vec<usize>, stride: &[u64], pad: &[u64], dilation: &[u64]) -> Option<Windows> {
        let cast = |xs: &[u64]| xs.iter().map(|x| usize::try_from(*x).ok()).collect::<Option<Vec<usize>>>();
        let (stride, pad, dilation) = (cast(stride)?, cast(pad)?, cast(dilation)?);
        let n = input.len();
        let output = (0..n)
            .map(|a| {
                let padded = input[a].checked_add(pad[a])?.checked_add(pad[n + a])?;
                let window = (size[a] - 1).checked_mul(dilation[a])?.checked_add(1)?;
                Some(padded.checked_sub(window)? / stride[a] + 1)
            })
            .collect::<Option<Vec<usize>>>()?;
        Some(Windows { input: input.to_vec(), output, size, stride, before: pad[..n].to_vec(), dilation })
    }

    /// Calls `visit(kernel position, input position)`, both flat, for what the window at the flat position `at` covers, in
    /// row-major order; padding is skipped.
    fn cover(&self, at: usize, mut visit: impl FnMut(usize, usize)) {
        let n = self.input.len();
        let (steps, sizes) = (strides(&self.output), strides(&self.size));
        'positions: for k in 0..self.size.iter().product() {
            let mut flat = 0;
            for a in 0..n {
                let origin = at / steps[a] % self.output[a] * self.stride[a];
                let tap = k / sizes[a] % self.size[a] * self.dilation[a];
                match (origin + tap).checked_sub(self.before[a]) {
                    Some(p) if p < self.input[a] => flat = flat * self.input[a] + p,
                    _ => continue 'positions,
                }
            }
            visit(k, flat);
        }
    }
}

pub(super) fn conv(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: &[u64],
    pad: &[u64],
    dilation: &[u64],
    groups: u64,
) -> Option<Tensor> {
    let (shape, kernel) = (x.shape(), w.shape()[2..].to_vec());
    let (lead, shape) = shape.split_at(shape.len().checked_sub(kernel.len() + 1)?);
    let windows = Windows::new(&shape[1..], kernel, stride, pad, dilation)?;
    let (cin, cout, per_group) = (shape[0], w.shape()[0], w.shape()[1]);
    let group_out = cout / usize::try_from(groups).ok()?;
    let area: usize = windows.input.iter().product();
    let taps: usize = windows.size.iter().product();
    let positions: usize = windows.output.iter().product();
    let images: usize = lead.iter().product();
    let shape = [lead, &[cout], &windows.output[..]].concat();
    let mut covered: Vec<(usize, usize)> = Vec::with_capacity(taps);
    with_register!(x.dtype(), R => {
        let (xs, ws, bs) = (R::read(x), R::read(w), bias.map(R::read));
        let mut out = vec![R::ZERO; images * cout * positions];
        for at in 0..positions {
            covered.clear();
            windows.cover(at, |k, p| covered.push((k, p)));
            for image in 0..images {
                for o in 0..cout {
                    let mut acc = bs.as_ref().map_or(R::ZERO, |b| b[o]);
                    for c in 0..per_group {
                        let channel = image * cin + o / group_out * per_group + c;
                        for (k, p) in &covered {
                            acc = R::mul_add(ws[(o * per_group + c) * taps + k], xs[channel * area + p], acc);
                        }
                    }
                    out[(image * cout + o) * positions + at] = finish(acc);
                }
            }
        }
        store(x.dtype(), shape, &out)
    })?
}

/// The larger (`sign` true) or smaller of two; NaN if either is.
fn extreme<R: Register>(a: R, b: R, largest: bool) -> R {
    let first = if largest { R::less(b, a) } else { R::less(a, b) };
    if first || R::is_nan(a) { a } else { b }
}

pub(super) fn pool(
    x: &Tensor,
    kind: PoolKind,
    size: &[u64],
    stride: &[u64],
    pad: &[u64],
    dilation: &[u64],
) -> Option<Tensor> {
    let size = size.iter().map(|s| usize::try_from(*s).ok()).collect::<Option<Vec<usize>>>()?;
    let (lead, input) = x.shape().split_at(x.shape().len().checked_sub(size.len())?);
    let windows = Windows::new(input, size, stride, pad, dilation)?;
    let planes: usize = lead.iter().product();
    let area: usize = windows.input.iter().product();
    let count: usize = windows.size.iter().try_fold(1usize, |n, s| n.checked_mul(*s))?;
    let positions: usize = windows.output.iter().product();
    let shape = [lead, &windows.output[..]].concat();
    with_register!(x.dtype(), R => {
        let xs = R::read(x);
        let mut out = Vec::with_capacity(planes * positions);
        for plane in 0..planes {
            for at in 0..positions {
                let mut acc = if kind == PoolKind::Max { R::held(least(x.dtype())) } else { R::ZERO };
                let mut inside = 0;
                windows.cover(at, |_, p| {
                    let x = xs[plane * area + p];
                    acc = if kind == PoolKind::Max { extreme(acc, x, true) } else { R::add(acc, x) };
                    inside += 1;
                });
                out.push(match kind {
                    PoolKind::Sum | PoolKind::Max => acc,
                    PoolKind::Avg => R::div_count(acc, count),
                    PoolKind::Mean => R::div_count(acc, inside),
                });
            }
        }
        store(x.dtype(), shape, &out)
    })?
}

/// Splits the axes of `shape` in kept and reduced ones: flat offsets of all positions of each, row-major.
fn split(shape: &[usize], reduced: &[bool]) -> (Vec<usize>, Vec<usize>) {
    let own = strides(shape);
    if shape.contains(&0) {
        let kept = shape.iter().zip(reduced).filter(|(_, r)| !**r).map(|(n, _)| *n).product();
        return (vec![0; kept], Vec::new());
    }
    let offsets = |want: bool| {
        let mut all = vec![0usize];
        for a in (0..shape.len()).filter(|a| reduced[*a] == want) {
            all = all.iter().flat_map(|at| (0..shape[a]).map(|p| at + p * own[a]).collect::<Vec<_>>()).collect();
        }
        all
    };
    (offsets(false), offsets(true))
}

fn reduced_shape(shape: &[usize], reduced: &[bool], keep: bool) -> Vec<usize> {
    let axes = shape.iter().zip(reduced).filter(|(_, r)| keep || !**r);
    axes.map(|(n, r)| if *r { 1 } else { *n }).collect()
}

/// Number of interleaved partial results of a reduction.
pub const LANES: usize = 16;

pub(super) fn reduce(x: &Tensor, kind: ReduceKind, axes: &[usize], keep: bool) -> Option<Tensor> {
    let reduced: Vec<bool> = (0..x.shape().len()).map(|a| axes.contains(&a)).collect();
    let (kept, inner) = split(x.shape(), &reduced);
    let shape = reduced_shape(x.shape(), &reduced, keep);
    if x.dtype() == DType::Bool {
        // `max` is "any", `min` is "all".
        let any = kind == ReduceKind::Max;
        let hit = |at: &usize| inner.iter().any(|by| (x.bytes()[at + by] != 0) == any);
        let out: Vec<bool> = kept.iter().map(|at| hit(at) == any).collect();
        return Tensor::from_bools(shape, &out);
    }
    with_register!(x.dtype(), R => {
        let xs = R::read(x);
        let out: Vec<R> = kept
            .iter()
            .map(|at| {
                let elements = inner.iter().map(|by| xs[at + by]);
                match kind {
                    ReduceKind::Sum => lanes(elements, R::ZERO, R::add),
                    ReduceKind::Mean => R::div_count(lanes(elements, R::ZERO, R::add), inner.len()),
                    ReduceKind::Prod => lanes(elements, R::ONE, R::mul),
                    ReduceKind::Max => elements.fold(R::held(least(x.dtype())), |a, b| extreme(a, b, true)),
                    ReduceKind::Min => elements.fold(R::held(greatest(x.dtype())), |a, b| extreme(a, b, false)),
                }
            })
            .collect();
        store(x.dtype(), shape, &out)
    })?
}

/// Element k goes to partial result k mod 16; then halves are combined: 8, 4, 2, 1 apart.
fn lanes<R: Register>(elements: impl Iterator<Item = R>, start: R, combine: fn(R, R) -> R) -> R {
    let mut p = [start; LANES];
    for (k, x) in elements.enumerate() {
        p[k % LANES] = combine(p[k % LANES], x);
    }
    for by in [8, 4, 2, 1] {
        for l in 0..by {
            p[l] = combine(p[l], p[l + by]);
        }
    }
    p[0]
}

/// The index of the largest or smallest element; a NaN goes before every number.
pub(super) fn arg_extreme(x: &Tensor, axis: usize, keep: bool, last: bool, largest: bool) -> Option<Tensor> {
    let reduced: Vec<bool> = (0..x.shape().len()).map(|a| a == axis).collect();
    let (kept, inner) = split(x.shape(), &reduced);
    let out: Vec<i64> = with_register!(x.dtype(), R => {
        let xs = R::read(x);
        kept.iter()
            .map(|at| {
                let mut best = 0usize;
                for (k, by) in inner.iter().enumerate() {
                    let (a, b) = (xs[at + inner[best]], xs[at + by]);
                    let before = |a: R, b: R| {
                        !R::is_nan(a) && (R::is_nan(b) || if largest { R::less(a, b) } else { R::less(b, a) })
                    };
                    if before(a, b) || last && !before(b, a) {
                        best = k;
                    }
                }
                best as i64
            })
            .collect()
    })?;
    Tensor::from_vec(reduced_shape(x.shape(), &reduced, keep), out)
}
