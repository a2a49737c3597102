//! Ops that go through elements one after another.

use super::register::{put, scalars, zeros};
use crate::graph::expand::{elementwise, load, number};
use crate::graph::{CumulateKind, Op, ScatterKind};
use crate::kernel::{Evaluate, Scalar};
use crate::tensor::Tensor;
use crate::types::DType;

/// The op on two operands of one element type.
fn combined(op: &Op, a: Scalar, b: Scalar, dtype: DType) -> Scalar {
    elementwise(&mut Evaluate, op, &[a, b], &[dtype; 2], dtype)
}

pub(super) fn scatter(x: &Tensor, index: &Tensor, updates: &Tensor, kind: ScatterKind) -> Option<Tensor> {
    let mut out = x.clone();
    for (at, new) in index.as_slice::<i64>().iter().zip(scalars(updates)) {
        let Some(at) = usize::try_from(*at).ok().filter(|at| *at < x.len()) else { continue };
        let value = match kind.op() {
            None => new,
            Some(op) => combined(&op, load(&out, at)?, new, x.dtype()),
        };
        put(&mut out, at, value);
    }
    Some(out)
}

/// First element of each line along an axis, and the distance between its elements.
fn lines(shape: &[usize], axis: usize) -> (Vec<usize>, usize) {
    let stride: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let first = (0..outer).flat_map(|o| (0..stride).map(move |i| o * shape[axis] * stride + i));
    (first.collect(), stride)
}

pub(super) fn cumulate(x: &Tensor, kind: CumulateKind, axis: usize, exclusive: bool, reverse: bool) -> Option<Tensor> {
    let mut out = zeros(x.dtype(), x.shape().to_vec())?;
    let (first, stride) = lines(x.shape(), axis);
    let (op, start) = kind.op();
    let n = x.shape()[axis];
    for at in first {
        let mut sum = number(x.dtype(), start);
        for step in 0..n {
            let k = at + stride * if reverse { n - 1 - step } else { step };
            let next = combined(&op, sum, load(x, k)?, x.dtype());
            put(&mut out, k, if exclusive { sum } else { next });
            sum = next;
        }
    }
    Some(out)
}

pub(super) fn argsort(x: &Tensor, axis: usize, descending: bool) -> Option<Tensor> {
    let mut out = vec![0i64; x.len()];
    let values = scalars(x);
    let (first, stride) = lines(x.shape(), axis);
    let nan = |s: Scalar| matches!(s, Scalar::F32(x) if x.is_nan()) || matches!(s, Scalar::F64(x) if x.is_nan());
    let less = |a: Scalar, b: Scalar| {
        let lt = elementwise(&mut Evaluate, &Op::Lt, &[a, b], &[x.dtype(); 2], DType::Bool);
        lt == Scalar::Bool(true) || nan(b) && !nan(a)
    };
    for at in first {
        let value = |k: usize| values[at + k * stride];
        let mut order: Vec<usize> = (0..x.shape()[axis]).collect();
        order.sort_by(|a, b| {
            let (a, b) = if descending { (value(*b), value(*a)) } else { (value(*a), value(*b)) };
            match (less(a, b), less(b, a)) {
                (true, _) => std::cmp::Ordering::Less,
                (_, true) => std::cmp::Ordering::Greater,
                _ => std::cmp::Ordering::Equal,
            }
        });
        for (k, position) in order.into_iter().enumerate() {
            out[at + k * stride] = position as i64;
        }
    }
    Tensor::from_vec(x.shape().to_vec(), out)
}
