//! Normalisations: mean and variance along axes, then an affine map.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::DType;
use nc_ir::graph::{Op, PoolKind, ReduceKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("BatchNormalization", &[1, 6, 7, 9, 14, 15], Types::Float, "`spatial` of 0", batch),
    row("InstanceNormalization", &[1, 6, 22], Types::Float, "", instance),
    row("GroupNormalization", &[18, 21], Types::Float, "", group),
    row("LayerNormalization", &[17], Types::Float, "", layer),
    row("RMSNormalization", &[23], Types::Float, "", rms),
    row("LRN", &[1, 13], Types::Float, "", lrn),
    row("LpNormalization", &[1, 22], Types::Float, "norms other than 1 and 2", lp),
    row("MeanVarianceNormalization", &[9, 13], Types::Float, "", mean_variance),
];

/// The type that statistics of a type are computed in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Mean and variance (of the population) along axes, with extents of 1 in their place.
fn moments(c: &mut Call<'_, '_>, x: &Value, axes: &[usize]) -> Result<(Value, Value), Fault> {
    let mean = c.reduce(ReduceKind::Mean, x, axes, true)?;
    let off = c.sub(x, &mean)?;
    let square = c.mul(&off, &off)?;
    Ok((mean, c.reduce(ReduceKind::Mean, &square, axes, true)?))
}

/// `1 / sqrt(variance + epsilon)`.
fn inverse_deviation(c: &mut Call<'_, '_>, variance: &Value, epsilon: f32) -> Result<Value, Fault> {
    let dtype = c.dtype(variance);
    let epsilon = c.scalar(dtype, f64::from(epsilon));
    let sum = c.add(variance, &epsilon)?;
    let root = c.unary(Op::Sqrt, &sum)?;
    let one = c.scalar(dtype, 1.0);
    c.div(&one, &root)
}

/// A vector `[channels]` with axes for broadcasting along axis 1 of a value of `rank` dimensions.
fn per_channel(c: &mut Call<'_, '_>, v: &Value, rank: usize) -> Result<Value, Fault> {
    let n = c.shape(v).iter().product();
    let mut shape = vec![1; rank.max(2) - 1];
    shape[0] = n;
    c.reshape(v, &shape)
}

fn batch(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (scale, bias, mean, variance) = (c.operand(1)?, c.operand(2)?, c.operand(3)?, c.operand(4)?);
    let (epsilon, momentum) = (c.float("epsilon", 1e-5)?, c.float("momentum", 0.9)?);
    if c.opset < 9 && c.int("spatial", 1)? == 0 {
        return unsupported("a mean for each activation (`spatial` of 0)");
    }
    c.has("consumed_inputs");
    if c.opset < 7 && !c.flag("is_test", false)? {
        return unsupported("training (`is_test` of 0)");
    }
    let training = c.opset >= 14 && c.flag("training_mode", false)?;
    let (dtype, rank) = (c.dtype(&x), c.rank(&x));
    if rank < 2 {
        return invalid(format!("its operand has {rank} dimensions, at least 2 were expected"));
    }
    let kind = wide(dtype);
    let mut fitted = Vec::with_capacity(4);
    for v in [&scale, &bias, &mean, &variance] {
        let v = c.cast(v, kind)?;
        fitted.push(per_channel(c, &v, rank)?);
    }
    let wide_x = c.cast(&x, kind)?;
    let mut results = Vec::new();
    let (mean_now, variance_now) = if training {
        let axes: Vec<usize> = (0..rank).filter(|a| *a != 1).collect();
        let (m, v) = moments(c, &wide_x, &axes)?;
        let channels = c.shape(&x)[1];
        let keep = c.scalar(kind, f64::from(momentum));
        let take = c.scalar(kind, f64::from(1.0 - momentum));
        for (old, new, declared) in [(&fitted[2], &m, &mean), (&fitted[3], &v, &variance)] {
            let (old, new) = (c.reshape(old, &[channels])?, c.reshape(new, &[channels])?);
            let (old, new) = (c.mul(&old, &keep)?, c.mul(&new, &take)?);
            let sum = c.add(&old, &new)?;
            let to = c.dtype(declared);
            results.push(c.cast(&sum, to)?);
        }
        (m, v)
    } else {
        (fitted[2].clone(), fitted[3].clone())
    };
    let inverse = inverse_deviation(c, &variance_now, epsilon)?;
    let factor = c.mul(&fitted[0], &inverse)?;
    let off = c.sub(&wide_x, &mean_now)?;
    let y = c.mul(&off, &factor)?;
    let y = c.add(&y, &fitted[1])?;
    results.insert(0, c.cast(&y, dtype)?);
    Ok(results)
}

fn instance(c: &mut Call<'_, '_>) -> Results {
    let (x, scale, bias) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let epsilon = c.float("epsilon", 1e-5)?;
    c.has("consumed_inputs");
    let (dtype, rank) = (c.dtype(&x), c.rank(&x));
    if rank < 3 {
        return invalid(format!("its operand has {rank} dimensions, at least 3 were expected"));
    }
    let kind = wide(dtype);
    let wide_x = c.cast(&x, kind)?;
    let y = standardised(c, &wide_x, &(2..rank).collect::<Vec<_>>(), epsilon)?;
    let (scale, bias) = (c.cast(&scale, kind)?, c.cast(&bias, kind)?);
    let (scale, bias) = (per_channel(c, &scale, rank)?, per_channel(c, &bias, rank)?);
    let y = c.mul(&y, &scale)?;
    let y = c.add(&y, &bias)?;
    Ok(vec![c.cast(&y, dtype)?])
}

/// `(x - mean) / sqrt(variance + epsilon)` along axes.
fn standardised(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], epsilon: f32) -> Result<Value, Fault> {
    let (mean, variance) = moments(c, x, axes)?;
    let inverse = inverse_deviation(c, &variance, epsilon)?;
    let off = c.sub(x, &mean)?;
    c.mul(&off, &inverse)
}

fn group(c: &mut Call<'_, '_>) -> Results {
    let (x, scale, bias) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (epsilon, groups) = (c.float("epsilon", 1e-5)?, c.int("num_groups", 0)?);
    let stash = if c.opset >= 21 { c.int("stash_type", 1)? } else { 1 };
    let (dtype, shape) = (c.dtype(&x), c.shape(&x));
    let groups = usize::try_from(groups).unwrap_or(0);
    if shape.len() < 2 || groups == 0 || !shape[1].is_multiple_of(groups) {
        return invalid(format!("{groups} groups do not divide the channels of {shape:?}"));
    }
    let kind = stash_type(stash, dtype)?;
    let wide_x = c.cast(&x, kind)?;
    let rest: usize = shape[1..].iter().product::<usize>() / groups;
    let grouped = c.reshape(&wide_x, &[shape[0], groups, rest])?;
    let y = standardised(c, &grouped, &[2], epsilon)?;
    let mut y = c.reshape(&y, &shape)?;
    let (scale, bias) = (c.cast(&scale, kind)?, c.cast(&bias, kind)?);
    // Before version 21 there is one scale and bias for each group.
    for (v, op) in [(scale, Op::Mul), (bias, Op::Add)] {
        let per = c.shape(&v).iter().product::<usize>();
        let v = if per == groups && per != shape[1] {
            let column = c.reshape(&v, &[groups, 1])?;
            let all = c.broadcast(&column, &[groups, shape[1] / groups])?;
            c.reshape(&all, &[shape[1]])?
        } else {
            v
        };
        let v = per_channel(c, &v, shape.len())?;
        y = c.ew(op, &[&y, &v])?;
    }
    Ok(vec![c.cast(&y, dtype)?])
}

/// The element type that `stash_type` names, which statistics are computed in.
fn stash_type(code: i64, dtype: DType) -> Result<DType, Fault> {
    match code {
        1 => Ok(wide(dtype)),
        10 => Ok(DType::F16),
        11 => Ok(DType::F64),
        16 => Ok(DType::BF16),
        _ => unsupported(format!("the stash type {code}")),
    }
}

/// The axes from `axis` on.
fn from_axis(c: &mut Call<'_, '_>, rank: usize) -> Result<Vec<usize>, Fault> {
    let axis = c.int("axis", -1)?;
    Ok((c.axis(axis, rank)?..rank).collect())
}

fn layer(c: &mut Call<'_, '_>) -> Results {
    let (x, scale) = (c.operand(0)?, c.operand(1)?);
    let (epsilon, stash) = (c.float("epsilon", 1e-5)?, c.int("stash_type", 1)?);
    let (dtype, rank) = (c.dtype(&x), c.rank(&x));
    let axes = from_axis(c, rank)?;
    let kind = stash_type(stash, dtype)?;
    let wide_x = c.cast(&x, kind)?;
    let (mean, variance) = moments(c, &wide_x, &axes)?;
    let inverse = inverse_deviation(c, &variance, epsilon)?;
    let off = c.sub(&wide_x, &mean)?;
    let y = c.mul(&off, &inverse)?;
    let y = c.cast(&y, dtype)?;
    let mut y = c.mul(&y, &scale)?;
    if let Some(bias) = c.optional(2) {
        y = c.add(&y, &bias)?;
    }
    Ok(vec![y, mean, inverse])
}

fn rms(c: &mut Call<'_, '_>) -> Results {
    let (x, scale) = (c.operand(0)?, c.operand(1)?);
    let (epsilon, stash) = (c.float("epsilon", 1e-5)?, c.int("stash_type", 1)?);
    let (dtype, rank) = (c.dtype(&x), c.rank(&x));
    let axes = from_axis(c, rank)?;
    let kind = stash_type(stash, dtype)?;
    let wide_x = c.cast(&x, kind)?;
    let square = c.mul(&wide_x, &wide_x)?;
    let mean = c.reduce(ReduceKind::Mean, &square, &axes, true)?;
    let inverse = inverse_deviation(c, &mean, epsilon)?;
    let y = c.mul(&wide_x, &inverse)?;
    let to = c.dtype(&scale);
    let y = c.cast(&y, to)?;
    Ok(vec![c.mul(&y, &scale)?])
}

fn lrn(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    let size = c.int("size", 0)?;
    let (dtype, shape) = (c.dtype(&x), c.shape(&x));
    if size < 1 || shape.len() < 2 {
        return invalid(format!("a window of {size} channels over {shape:?}"));
    }
    // Sums of squares over a window of channels: a pool over axis 1 of [N, C, rest].
    let rest: usize = shape[2..].iter().product();
    let square = c.mul(&x, &x)?;
    let flat = c.reshape(&square, &[shape[0], shape[1], rest])?;
    let size = size as u64;
    let before = (size - 1) / 2;
    let sums = c.op(
        Op::Pool {
            kind: PoolKind::Sum,
            size: vec![size, 1],
            stride: vec![1, 1],
            pad: vec![before, 0, size - 1 - before, 0],
            dilation: vec![1, 1],
        },
        &[flat],
    )?;
    let sums = c.reshape(&sums, &shape)?;
    let factor = c.scalar(dtype, f64::from(alpha) / size as f64);
    let (bias, beta) = (c.scalar(dtype, f64::from(bias)), c.scalar(dtype, f64::from(beta)));
    let base = c.mul(&sums, &factor)?;
    let base = c.add(&base, &bias)?;
    let power = c.ew(Op::Pow, &[&base, &beta])?;
    Ok(vec![c.div(&x, &power)?])
}

fn lp(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (axis, p) = (c.int("axis", -1)?, c.int("p", 2)?);
    let axis = c.axis(axis, c.rank(&x))?;
    let norm = match p {
        1 => {
            let size = c.unary(Op::Abs, &x)?;
            c.reduce(ReduceKind::Sum, &size, &[axis], true)?
        }
        2 => {
            let square = c.mul(&x, &x)?;
            let sum = c.reduce(ReduceKind::Sum, &square, &[axis], true)?;
            c.unary(Op::Sqrt, &sum)?
        }
        p => return unsupported(format!("the norm of order {p}")),
    };
    // Where the norm is 0, so is every element, and the result is 0.
    let zero = c.scalar(c.dtype(&x), 0.0);
    let nothing = c.ew(Op::Eq, &[&norm, &zero])?;
    let y = c.div(&x, &norm)?;
    Ok(vec![c.select(&nothing, &zero, &y)?])
}

fn mean_variance(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let rank = c.rank(&x);
    let mut axes = Vec::new();
    for a in c.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]) {
        axes.push(c.axis(a, rank)?);
    }
    let (mean, variance) = moments(c, &x, &axes)?;
    let deviation = c.unary(Op::Sqrt, &variance)?;
    let epsilon = c.scalar(c.dtype(&x), 1e-9);
    let deviation = c.add(&deviation, &epsilon)?;
    let off = c.sub(&x, &mean)?;
    Ok(vec![c.div(&off, &deviation)?])
}
