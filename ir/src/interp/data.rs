//! Data movement: every op of this kind is a copy along strides.

use super::register::zeros;
use crate::tensor::Tensor;

/// Distance in elements between neighbours along each axis of a row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1usize; shape.len()];
    for a in (1..shape.len()).rev() {
        out[a - 1] = out[a].saturating_mul(shape[a]);
    }
    out
}

/// The tensor of `shape` whose element at position p is element `offset + sum(p[a] * strides[a])` of `x`.
pub(super) fn strided(x: &Tensor, shape: Vec<usize>, strides: &[usize], offset: usize) -> Option<Tensor> {
    let size = x.dtype().size();
    let mut out = zeros(x.dtype(), shape.clone())?;
    if out.is_empty() {
        return Some(out);
    }
    let from = x.bytes();
    let mut position = vec![0usize; shape.len()];
    let mut at = offset;
    for cell in out.bytes_mut().chunks_exact_mut(size) {
        cell.copy_from_slice(from.get(at * size..(at + 1) * size)?);
        for a in (0..shape.len()).rev() {
            position[a] += 1;
            at += strides[a];
            if position[a] < shape[a] {
                break;
            }
            at -= strides[a] * shape[a];
            position[a] = 0;
        }
    }
    Some(out)
}

pub(super) fn broadcast(x: &Tensor, shape: Vec<usize>) -> Option<Tensor> {
    let missing = shape.len().checked_sub(x.shape().len())?;
    let own = strides(x.shape());
    let by: Vec<usize> = (0..shape.len())
        .map(|a| match a.checked_sub(missing) {
            Some(k) if x.shape()[k] != 1 => own[k],
            _ => 0,
        })
        .collect();
    strided(x, shape, &by, 0)
}

pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Option<Tensor> {
    let own = strides(x.shape());
    let shape = perm.iter().map(|p| x.shape()[*p]).collect();
    strided(x, shape, &perm.iter().map(|p| own[*p]).collect::<Vec<_>>(), 0)
}

pub(super) fn slice(x: &Tensor, start: &[u64], stop: &[u64], step: &[u64]) -> Option<Tensor> {
    let own = strides(x.shape());
    let mut shape = Vec::with_capacity(own.len());
    let mut by = Vec::with_capacity(own.len());
    let mut offset = 0usize;
    for a in 0..own.len() {
        let n = usize::try_from(stop[a].checked_sub(start[a])?.div_ceil(step[a])).ok()?;
        shape.push(n);
        // With fewer than two elements the stride is not used; it may be too large for an index.
        by.push(if n > 1 { own[a].checked_mul(usize::try_from(step[a]).ok()?)? } else { 0 });
        offset = offset.checked_add(own[a].checked_mul(usize::try_from(start[a]).ok()?)?)?;
    }
    strided(x, shape, &by, offset)
}

pub(super) fn concat(xs: &[Tensor], axis: usize) -> Option<Tensor> {
    let first = xs.first()?;
    let mut shape = first.shape().to_vec();
    shape[axis] = xs.iter().try_fold(0usize, |n, x| n.checked_add(x.shape()[axis]))?;
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product::<usize>() * first.dtype().size();
    let mut out = zeros(first.dtype(), shape)?;
    let mut rest = out.bytes_mut();
    for block in 0..outer {
        for x in xs {
            let n = x.shape()[axis] * inner;
            let (to, after) = std::mem::take(&mut rest).split_at_mut_checked(n)?;
            to.copy_from_slice(x.bytes().get(block * n..(block + 1) * n)?);
            rest = after;
        }
    }
    Some(out)
}

/// `x` among copies of the scalar `value`.
pub(super) fn pad(x: &Tensor, value: &Tensor, low: &[u64], high: &[u64], interior: &[u64]) -> Option<Tensor> {
    let size = x.dtype().size();
    let cast = |xs: &[u64]| xs.iter().map(|n| usize::try_from(*n).ok()).collect::<Option<Vec<usize>>>();
    let (low, high) = (cast(low)?, cast(high)?);
    let rank = x.shape().len();
    let (mut shape, mut by) = (Vec::with_capacity(rank), vec![0usize; rank]);
    for (a, n) in x.shape().iter().enumerate() {
        // With fewer than two elements the interior is not used; it may be too large for an index.
        by[a] = if *n > 1 { usize::try_from(interior[a]).ok()?.checked_add(1)? } else { 1 };
        let span = n.saturating_sub(1).checked_mul(by[a])?.checked_add(usize::from(*n > 0))?;
        shape.push(span.checked_add(low[a])?.checked_add(high[a])?);
    }
    let mut out = zeros(x.dtype(), shape)?;
    for cell in out.bytes_mut().chunks_exact_mut(size) {
        cell.copy_from_slice(value.bytes().get(..size)?);
    }
    let (own, to) = (strides(x.shape()), strides(out.shape()));
    for (k, cell) in x.bytes().chunks_exact(size).enumerate() {
        let at: usize = (0..rank).map(|a| (k / own[a] % x.shape()[a] * by[a] + low[a]) * to[a]).sum();
        out.bytes_mut().get_mut(at * size..(at + 1) * size)?.copy_from_slice(cell);
    }
    Some(out)
}

/// Slices of `x` along `axis` named by integers, each clamped to the axis.
pub(super) fn gather(x: &Tensor, axis: usize, index: &[i64], index_shape: &[usize]) -> Option<Tensor> {
    let n = x.shape()[axis];
    let outer: usize = x.shape()[..axis].iter().product();
    let inner: usize = x.shape()[axis + 1..].iter().product::<usize>() * x.dtype().size();
    let shape = [&x.shape()[..axis], index_shape, &x.shape()[axis + 1..]].concat();
    let mut out = zeros(x.dtype(), shape)?;
    if out.is_empty() {
        return Some(out);
    }
    let last = i64::try_from(n).ok()?.checked_sub(1).filter(|last| *last >= 0)?;
    let mut cells = out.bytes_mut().chunks_exact_mut(inner);
    for block in 0..outer {
        for k in index {
            let at = (block * n + (*k).clamp(0, last) as usize) * inner;
            cells.next()?.copy_from_slice(x.bytes().get(at..at + inner)?);
        }
    }
    Some(out)
}

/// Tensors of one type on a new leading axis.
pub(super) fn stack(rows: &[Tensor], like: &Tensor) -> Option<Tensor> {
    let shape = [&[rows.len()], like.shape()].concat();
    let mut out = zeros(like.dtype(), shape)?;
    let n = like.bytes().len();
    if n > 0 {
        for (to, row) in out.bytes_mut().chunks_exact_mut(n).zip(rows) {
            to.copy_from_slice(row.bytes());
        }
    }
    Some(out)
}

/// Row `k` of the leading axis.
pub(super) fn row(x: &Tensor, k: usize) -> Option<Tensor> {
    let shape = x.shape().get(1..)?.to_vec();
    let n = shape.iter().product::<usize>() * x.dtype().size();
    Tensor::from_bytes(x.dtype(), shape, x.bytes().get(k * n..(k + 1) * n)?)
}
