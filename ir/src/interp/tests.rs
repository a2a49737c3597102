//! Hand-computed cases, one or more per kind of op.

use super::*;
use crate::graph::{
    Connectivity, CumulateKind, DelayLine, GraphBuilder, Method, OpError, PoolKind, Pools, Port, Probe, Real,
    ReduceKind, Rule, ScatterKind, State, SynapseDelay, SynapseWeight, ValueId,
};
use crate::types::DType;

fn f32s(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), data.to_vec()).expect("count fits")
}

fn i64s(shape: &[usize], data: &[i64]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), data.to_vec()).expect("count fits")
}

fn bools(shape: &[usize], data: &[u8]) -> Tensor {
    Tensor::from_bytes(DType::Bool, shape.to_vec(), data).expect("count fits")
}

/// A module that applies `build` to inputs of the types of `inputs` and gives what it returns.
fn module(
    inputs: &[Tensor],
    build: impl FnOnce(&mut GraphBuilder<'_>, &[ValueId]) -> Result<Vec<ValueId>, OpError>,
) -> Module {
    let mut m = Module { name: "test".into(), ..Module::default() };
    for (k, t) in inputs.iter().enumerate() {
        let value = m.graph.add_param(t.ty(), "");
        m.inputs.push(Port { name: format!("x{k}"), value });
    }
    let params = m.graph.params.clone();
    let results = build(&mut m.builder(), &params).expect("types fit");
    for (k, value) in results.into_iter().enumerate() {
        m.outputs.push(Port { name: format!("y{k}"), value });
    }
    m
}

fn run(
    inputs: &[Tensor],
    build: impl FnOnce(&mut GraphBuilder<'_>, &[ValueId]) -> Result<Vec<ValueId>, OpError>,
) -> Vec<Tensor> {
    let mut it = Interpreter::new(Arc::new(module(inputs, build))).expect("valid");
    it.step(inputs).expect("inputs fit").outputs
}

#[test]
fn scalars_serve_every_element() {
    let out = run(&[f32s(&[3], &[1.0, 2.0, 3.0]), f32s(&[], &[10.0])], |b, x| {
        let sum = b.add(x[0], x[1])?;
        let more = b.gt(sum, x[1])?;
        Ok(vec![sum, b.select(more, x[1], x[0])?])
    });
    assert_eq!(out, [f32s(&[3], &[11.0, 12.0, 13.0]), f32s(&[3], &[10.0; 3])]);
}

#[test]
fn narrow_integers_wrap_and_shift_within_their_width() {
    let a = Tensor::from_vec(vec![3], vec![i8::MIN, 127, -7]).expect("count");
    let b = Tensor::from_vec(vec![3], vec![-1i8, 1, 9]).expect("count");
    let out = run(&[a, b], |g, x| {
        Ok(vec![g.add(x[0], x[1])?, g.div(x[0], x[1])?, g.neg(x[0])?, g.shl(x[0], x[1])?, g.shr(x[0], x[1])?])
    });
    let i8s = |v: [i8; 3]| Tensor::from_vec(vec![3], v.to_vec()).expect("count");
    assert_eq!(out[0], i8s([127, -128, 2]));
    assert_eq!(out[1], i8s([-128, 127, 0]));
    assert_eq!(out[2], i8s([-128, -127, 7]));
    assert_eq!(out[3], i8s([0, -2, -14]));
    assert_eq!(out[4], i8s([-1, 63, -4]));
}

#[test]
fn reductions_of_unsigned_types_compare_as_such() {
    let x = Tensor::from_vec(vec![3], vec![1u64 << 63, 5, u64::MAX - 1]).expect("count");
    let out = run(&[x], |g, x| {
        let mut all = Vec::new();
        for kind in [ReduceKind::Max, ReduceKind::Min, ReduceKind::Sum] {
            all.push(g.reduce(x[0], kind, vec![0], false)?);
        }
        Ok(all)
    });
    let found: Vec<u64> = out.iter().map(|t| t.as_slice::<u64>()[0]).collect();
    assert_eq!(found, [u64::MAX - 1, 5, (1 << 63) + 3]);
    let x = Tensor::from_vec(vec![2], vec![u32::MAX, 1]).expect("count");
    let out = run(&[x], |g, x| {
        let largest = g.reduce(x[0], ReduceKind::Max, vec![0], false)?;
        Ok(vec![largest, g.reduce(x[0], ReduceKind::Sum, vec![0], false)?])
    });
    assert_eq!((out[0].as_slice::<u32>(), out[1].as_slice::<u32>()), (&[u32::MAX][..], &[0][..]));
}

#[test]
fn updates_are_scattered_in_their_order_and_dropped_outside() {
    let x = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let (index, updates) = (i64s(&[6], &[3, 0, 3, -1, 4, i64::MAX]), f32s(&[6], &[0.5, 9.0, 8.0, 7.0, 6.0, 5.0]));
    let out = run(&[x, index, updates], |g, x| {
        ScatterKind::ALL.iter().map(|kind| g.scatter(x[0], x[1], x[2], *kind)).collect()
    });
    assert_eq!(out[0], f32s(&[2, 2], &[9.0, 2.0, 3.0, 8.0]));
    assert_eq!(out[1], f32s(&[2, 2], &[10.0, 2.0, 3.0, 12.5]));
    assert_eq!(out[2], f32s(&[2, 2], &[9.0, 2.0, 3.0, 16.0]));
    assert_eq!(out[3], f32s(&[2, 2], &[9.0, 2.0, 3.0, 8.0]));
    assert_eq!(out[4], f32s(&[2, 2], &[1.0, 2.0, 3.0, 0.5]));
    // Each step is rounded: 1 + 2^24 loses the 1, in this order.
    let out = run(&[f32s(&[1], &[1.0]), i64s(&[2], &[0, 0]), f32s(&[2], &[16_777_216.0, -16_777_216.0])], |g, x| {
        Ok(vec![g.scatter(x[0], x[1], x[2], ScatterKind::Add)?])
    });
    assert_eq!(out[0], f32s(&[1], &[0.0]));
}

#[test]
fn sums_and_products_so_far() {
    let x = i64s(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let out = run(&[x, Tensor::from_vec(vec![3], vec![200u8, 100, 3]).expect("count")], |g, x| {
        Ok(vec![
            g.cumulate(x[0], CumulateKind::Sum, 1, false, false)?,
            g.cumulate(x[0], CumulateKind::Sum, 1, true, true)?,
            g.cumulate(x[0], CumulateKind::Prod, 0, false, false)?,
            g.cumulate(x[0], CumulateKind::Prod, 1, true, false)?,
            g.cumulate(x[1], CumulateKind::Sum, 0, false, false)?,
        ])
    });
    assert_eq!(out[0].as_slice::<i64>(), [1, 3, 6, 4, 9, 15]);
    assert_eq!(out[1].as_slice::<i64>(), [5, 3, 0, 11, 6, 0]);
    assert_eq!(out[2].as_slice::<i64>(), [1, 2, 3, 4, 10, 18]);
    assert_eq!(out[3].as_slice::<i64>(), [1, 1, 2, 1, 4, 20]);
    assert_eq!(out[4].as_slice::<u8>(), [200, 44, 47]);
}

#[test]
fn sorting_is_stable_and_puts_nan_above_every_number() {
    let x = f32s(&[8], &[0.0, f32::NAN, -1.0, -0.0, f32::INFINITY, 3.0, f32::NAN, 3.0]);
    let u = Tensor::from_vec(vec![2, 2], vec![u64::MAX, 1, 7, 1 << 63]).expect("count");
    let out = run(&[x, u], |g, x| {
        Ok(vec![
            g.argsort(x[0], 0, false)?,
            g.argsort(x[0], 0, true)?,
            g.argsort(x[1], 1, false)?,
            g.argsort(x[1], 0, true)?,
        ])
    });
    assert_eq!(out[0].as_slice::<i64>(), [2, 0, 3, 5, 7, 4, 1, 6]);
    assert_eq!(out[1].as_slice::<i64>(), [1, 6, 4, 5, 7, 0, 3, 2]);
    assert_eq!(out[2].as_slice::<i64>(), [1, 0, 0, 1]);
    assert_eq!(out[3].as_slice::<i64>(), [0, 1, 1, 0]);
}

#[test]
fn minimum_and_maximum_give_nan_if_either_is() {
    let (a, b) = (f32s(&[4], &[1.0, f32::NAN, 3.0, -0.0]), f32s(&[4], &[f32::NAN, 2.0, 2.0, 0.0]));
    let out = run(&[a, b], |g, x| Ok(vec![g.min(x[0], x[1])?, g.max(x[0], x[1])?]));
    let (lo, hi) = (out[0].as_slice::<f32>(), out[1].as_slice::<f32>());
    assert!(lo[0].is_nan() && lo[1].is_nan() && hi[0].is_nan() && hi[1].is_nan());
    assert_eq!((lo[2], hi[2]), (2.0, 3.0));
    // Of equal operands the second is taken.
    assert_eq!((lo[3].to_bits(), hi[3].to_bits()), (0, 0));
}

#[test]
fn conversions_round_once_and_saturate() {
    // Halfway between two bf16 values but for the last bit: rounding by way of f32 would go down.
    let tie = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
    let out = run(&[Tensor::from_vec(vec![3], vec![tie, 1e300, -300.7]).expect("count")], |g, x| {
        let half = g.cast(x[0], DType::BF16)?;
        Ok(vec![
            g.cast(half, DType::F64)?,
            g.cast(x[0], DType::I8)?,
            g.cast(x[0], DType::U8)?,
            g.cast(x[0], DType::Bool)?,
        ])
    });
    assert_eq!(out[0].as_slice::<f64>()[0], 1.0 + 2f64.powi(-7));
    assert_eq!(out[1].as_slice::<i8>(), [1, 127, -128]);
    assert_eq!(out[2].as_slice::<u8>(), [1, 255, 0]);
    assert_eq!(out[3].bytes(), [1, 1, 1]);
    let big = (1i64 << 40) + (1 << 32) + 1;
    let out = run(&[i64s(&[2], &[big, -big])], |g, x| {
        let half = g.cast(x[0], DType::BF16)?;
        Ok(vec![g.cast(half, DType::I64)?, g.cast(x[0], DType::I32)?, g.cast(x[0], DType::U8)?])
    });
    assert_eq!(out[0].as_slice::<i64>(), [(1 << 40) + (1 << 33), -(1 << 40) - (1 << 33)]);
    assert_eq!(out[1].as_slice::<i32>(), [1, -1]);
    assert_eq!(out[2].as_slice::<u8>(), [1, 255]);
}

#[test]
fn every_conversion_from_f64_to_halves_rounds_as_the_half_crate_does() {
    let xs: Vec<f64> = (0..4000u64)
        .map(|k| {
            let w = crate::random::words_at(3, k, 0, 0);
            let e = (w[0] % 60) as i32 - 40;
            (1.0 + f64::from(w[1]) / 2f64.powi(32)) * 2f64.powi(e) * if w[2] & 1 == 0 { 1.0 } else { -1.0 }
        })
        .collect();
    let out = run(&[Tensor::from_vec(vec![xs.len()], xs.clone()).expect("count")], |g, x| {
        Ok(vec![g.cast(x[0], DType::F16)?, g.cast(x[0], DType::BF16)?])
    });
    for (k, x) in xs.iter().enumerate() {
        assert_eq!(out[0].as_slice::<half::f16>()[k].to_bits(), half::f16::from_f64(*x).to_bits(), "{x}");
        assert_eq!(out[1].as_slice::<half::bf16>()[k].to_bits(), half::bf16::from_f64(*x).to_bits(), "{x}");
    }
}

#[test]
fn data_moves() {
    let x = i64s(&[2, 3], &[0, 1, 2, 3, 4, 5]);
    let out = run(std::slice::from_ref(&x), |b, x| {
        let x = x[0];
        let iota = b.iota(2)?;
        Ok(vec![
            b.transpose(x, vec![1, 0])?,
            b.slice(x, vec![0, 1], vec![2, 3], vec![1, 2])?,
            b.concat(&[x, x], 1)?,
            b.gather(x, iota, 1)?,
            b.broadcast(iota, vec![3, 2])?,
            b.reshape(x, vec![3, 2])?,
        ])
    });
    assert_eq!(out[0], i64s(&[3, 2], &[0, 3, 1, 4, 2, 5]));
    assert_eq!(out[1], i64s(&[2, 1], &[1, 4]));
    assert_eq!(out[2], i64s(&[2, 6], &[0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]));
    assert_eq!(out[3], i64s(&[2, 2], &[0, 1, 3, 4]));
    assert_eq!(out[4], i64s(&[3, 2], &[0, 1, 0, 1, 0, 1]));
    assert_eq!(out[5], i64s(&[3, 2], &[0, 1, 2, 3, 4, 5]));
    let out = run(&[x, i64s(&[3], &[-5, 1, 9])], |b, x| Ok(vec![b.gather(x[0], x[1], 0)?]));
    assert_eq!(out[0], i64s(&[3, 3], &[0, 1, 2, 3, 4, 5, 3, 4, 5]));
}

#[test]
fn chains_are_fused_and_end_without_negative_zero() {
    let eps = f32::EPSILON;
    // Fused: (1 + eps)(1 - eps) - 1 = -eps^2; with a rounded product it would be 0.
    let out = run(&[f32s(&[2], &[1.0, 1.0 - eps]), f32s(&[1, 2], &[-1.0, 1.0 + eps]), f32s(&[1], &[-0.0])], |b, x| {
        Ok(vec![b.linear(x[0], x[1], Some(x[2]))?])
    });
    assert_eq!(out[0].as_slice::<f32>(), [-eps * eps]);
    let out = run(&[f32s(&[1], &[0.0]), f32s(&[1, 1], &[1.0]), f32s(&[1], &[-0.0])], |b, x| {
        let minus = b.neg(x[0])?;
        Ok(vec![b.linear(minus, x[1], Some(x[2]))?])
    });
    assert_eq!(out[0].as_slice::<f32>()[0].to_bits(), 0);
}

#[test]
fn matrix_products_broadcast_leading_axes() {
    let a = i64s(&[2, 1, 2], &[1, 2, 3, 4]);
    let b = i64s(&[2, 2], &[1, 10, 100, 1000]);
    let out = run(&[a, b], |g, x| Ok(vec![g.matmul(x[0], x[1])?]));
    assert_eq!(out[0], i64s(&[2, 1, 2], &[201, 2010, 403, 4030]));
}

#[test]
fn convolutions_and_pools_skip_padding() {
    let x = f32s(&[1, 3], &[1.0, 2.0, 3.0]);
    let w = f32s(&[2, 1, 2], &[1.0, 10.0, -1.0, 0.5]);
    let out = run(&[x, w], |b, x| {
        Ok(vec![
            b.conv(x[0], x[1], None, vec![1], vec![1, 0], vec![1], 1)?,
            b.conv(x[0], x[1], None, vec![1], vec![0, 0], vec![2], 1)?,
            b.pool(x[0], PoolKind::Avg, vec![2], vec![2], vec![1, 0], vec![1])?,
            b.pool(x[0], PoolKind::Max, vec![2], vec![2], vec![1, 0], vec![1])?,
            b.pool(x[0], PoolKind::Sum, vec![3], vec![1], vec![0, 0], vec![1])?,
        ])
    });
    assert_eq!(out[0], f32s(&[2, 3], &[10.0, 21.0, 32.0, 0.5, 0.0, -0.5]));
    assert_eq!(out[1], f32s(&[2, 1], &[31.0, 0.5]));
    assert_eq!(out[2], f32s(&[1, 2], &[0.5, 2.5]));
    assert_eq!(out[3], f32s(&[1, 2], &[1.0, 3.0]));
    assert_eq!(out[4], f32s(&[1, 1], &[6.0]));
}

#[test]
fn a_kernel_reaches_beyond_an_input_without_weighing_it() {
    // Padding is no link of the chain: an infinite weight beside it gives no NaN.
    let x = f32s(&[1, 2], &[1.0, 2.0]);
    let w = f32s(&[1, 1, 3], &[f32::INFINITY, 1.0, f32::NEG_INFINITY]);
    let out = run(&[x, w, f32s(&[1], &[-0.0])], |b, x| {
        Ok(vec![
            b.conv(x[0], x[1], None, vec![2], vec![1, 1], vec![1], 1)?,
            // Windows that lie wholly in the padding give the bias, and +0 for -0.
            b.conv(x[0], x[1], Some(x[2]), vec![4], vec![3, 4], vec![1], 1)?,
        ])
    });
    assert_eq!(out[0], f32s(&[1, 1], &[f32::NEG_INFINITY]));
    assert_eq!(out[1].as_slice::<f32>()[0].to_bits(), 0);
    assert_eq!(out[1].as_slice::<f32>()[1].to_bits(), f32::INFINITY.to_bits());
}

#[test]
fn leading_extents_are_images_of_their_own() {
    let x = i64s(&[2, 1, 2, 1, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    // Channels [2], space [1, 2]: a 1 x 2 kernel.
    let w = i64s(&[1, 2, 1, 2], &[1, 10, 100, 1000]);
    let out = run(&[x, w], |b, x| {
        Ok(vec![
            b.conv(x[0], x[1], None, vec![1, 1], vec![0; 4], vec![1, 1], 1)?,
            b.pool(x[0], PoolKind::Sum, vec![2, 1, 2], vec![1; 3], vec![0; 6], vec![1; 3])?,
            b.pool(x[0], PoolKind::Max, vec![1], vec![1], vec![0, 1], vec![1])?,
        ])
    });
    assert_eq!(out[0], i64s(&[2, 1, 1, 1, 1], &[4321, 8765]));
    assert_eq!(out[1], i64s(&[2, 1, 1, 1, 1], &[10, 26]));
    let least = i64::MIN;
    assert_eq!(out[2], i64s(&[2, 1, 2, 1, 3], &[1, 2, least, 3, 4, least, 5, 6, least, 7, 8, least]));
}

#[test]
fn pools_dilate_and_count() {
    let x = f32s(&[4], &[1.0, 2.0, 4.0, 8.0]);
    let out = run(&[x], |b, x| {
        let pad = vec![2, 1];
        Ok(vec![
            b.pool(x[0], PoolKind::Sum, vec![2], vec![2], pad.clone(), vec![2])?,
            b.pool(x[0], PoolKind::Avg, vec![2], vec![2], pad.clone(), vec![2])?,
            b.pool(x[0], PoolKind::Mean, vec![2], vec![2], pad.clone(), vec![2])?,
            b.pool(x[0], PoolKind::Max, vec![2], vec![2], pad.clone(), vec![2])?,
            // Positions -2, 1 and 4: two windows lie wholly in the padding.
            b.pool(x[0], PoolKind::Mean, vec![1], vec![3], pad.clone(), vec![1])?,
            b.pool(x[0], PoolKind::Max, vec![1], vec![3], pad, vec![1])?,
        ])
    });
    // Windows cover positions (-2, 0), (0, 2), (2, 4).
    assert_eq!(out[0], f32s(&[3], &[1.0, 5.0, 4.0]));
    assert_eq!(out[1], f32s(&[3], &[0.5, 2.5, 2.0]));
    assert_eq!(out[2], f32s(&[3], &[1.0, 2.5, 4.0]));
    assert_eq!(out[3], f32s(&[3], &[1.0, 4.0, 4.0]));
    let means = out[4].as_slice::<f32>();
    assert!(means[0].is_nan() && means[1] == 2.0 && means[2].is_nan());
    assert_eq!(out[5], f32s(&[3], &[f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY]));
}

#[test]
fn groups_split_the_channels() {
    let x = f32s(&[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let w = f32s(&[2, 1, 2, 2], &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 2.0]);
    let out = run(&[x, w, f32s(&[2], &[100.0, 200.0])], |b, x| {
        Ok(vec![b.conv(x[0], x[1], Some(x[2]), vec![1, 1], vec![0; 4], vec![1, 1], 2)?])
    });
    assert_eq!(out[0], f32s(&[2, 1, 1], &[110.0, 216.0]));
}

#[test]
fn sums_go_to_sixteen_lanes_and_a_tree() {
    let xs: Vec<f32> = (0..40).map(|k| 1.0 / (k as f32 + 1.0)).collect();
    let mut p = [0f32; 16];
    for (k, x) in xs.iter().enumerate() {
        p[k % 16] += x;
    }
    let q: Vec<f32> = (0..8).map(|l| p[l] + p[l + 8]).collect();
    let r: Vec<f32> = (0..4).map(|l| q[l] + q[l + 4]).collect();
    let expected = (r[0] + r[2]) + (r[1] + r[3]);
    let out = run(&[f32s(&[40], &xs)], |b, x| {
        Ok(vec![b.reduce(x[0], ReduceKind::Sum, vec![0], false)?, b.reduce(x[0], ReduceKind::Mean, vec![0], true)?])
    });
    assert_eq!(out[0], f32s(&[], &[expected]));
    assert_eq!(out[1], f32s(&[1], &[expected / 40.0]));
    let out = run(&[i64s(&[2, 3], &[1, 2, 3, 4, 5, 6])], |b, x| {
        Ok(vec![
            b.reduce(x[0], ReduceKind::Prod, vec![1], false)?,
            b.reduce(x[0], ReduceKind::Max, vec![0], true)?,
            b.reduce(x[0], ReduceKind::Min, vec![1, 0], false)?,
        ])
    });
    assert_eq!(out, [i64s(&[2], &[6, 120]), i64s(&[1, 3], &[4, 5, 6]), i64s(&[], &[1])]);
}

#[test]
fn the_first_largest_or_nan_is_found() {
    let out = run(&[f32s(&[3, 3], &[1.0, 3.0, 3.0, f32::NAN, 9.0, f32::NAN, -1.0, -2.0, -0.5])], |b, x| {
        Ok(vec![b.argmax(x[0], 1, false, false)?])
    });
    assert_eq!(out[0], i64s(&[3], &[1, 0, 2]));
}

#[test]
fn smallest_and_last_are_found_as_well() {
    let x = f32s(&[3, 3], &[1.0, 3.0, 3.0, f32::NAN, 9.0, f32::NAN, -1.0, -2.0, -2.0]);
    let out = run(&[x, i64s(&[3], &[i64::MIN, 5, i64::MIN])], |b, x| {
        Ok(vec![
            b.argmax(x[0], 1, false, true)?,
            b.argmin(x[0], 1, true, false)?,
            b.argmin(x[0], 1, false, true)?,
            b.argmin(x[1], 0, false, false)?,
            b.argmin(x[1], 0, true, true)?,
        ])
    });
    assert_eq!(out[0], i64s(&[3], &[2, 2, 0]));
    assert_eq!(out[1], i64s(&[3, 1], &[0, 0, 1]));
    assert_eq!(out[2], i64s(&[3], &[0, 2, 2]));
    assert_eq!((&out[3], &out[4]), (&i64s(&[], &[0]), &i64s(&[1], &[2])));
}

#[test]
fn reductions_of_nothing_and_of_truth_values() {
    let none = f32s(&[2, 0], &[]);
    let truth = bools(&[2, 2], &[0, 1, 1, 1]);
    let small = Tensor::from_vec(vec![0], Vec::<i8>::new()).expect("count");
    let out = run(&[none, truth, small], |b, x| {
        let none = b.slice(x[1], vec![0, 0], vec![2, 0], vec![1, 1])?;
        Ok(vec![
            b.reduce(x[0], ReduceKind::Sum, vec![1], false)?,
            b.reduce(x[0], ReduceKind::Prod, vec![1], false)?,
            b.reduce(x[0], ReduceKind::Max, vec![1], true)?,
            b.reduce(x[0], ReduceKind::Min, vec![0, 1], false)?,
            b.reduce(x[0], ReduceKind::Mean, vec![0, 1], false)?,
            b.reduce(x[2], ReduceKind::Max, vec![0], false)?,
            b.reduce(x[2], ReduceKind::Min, vec![0], false)?,
            b.reduce(x[1], ReduceKind::Max, vec![0], false)?,
            b.reduce(x[1], ReduceKind::Min, vec![1], true)?,
            b.reduce(none, ReduceKind::Max, vec![1], false)?,
            b.reduce(none, ReduceKind::Min, vec![1], false)?,
        ])
    });
    let i8s = |x: i8| Tensor::from_vec(vec![], vec![x]).expect("count");
    let inf = f32::INFINITY;
    assert_eq!(out[..2], [f32s(&[2], &[0.0; 2]), f32s(&[2], &[1.0; 2])]);
    assert_eq!(out[2..4], [f32s(&[2, 1], &[-inf; 2]), f32s(&[], &[inf])]);
    assert!(out[4].as_slice::<f32>()[0].is_nan());
    assert_eq!(out[5..7], [i8s(i8::MIN), i8s(i8::MAX)]);
    assert_eq!(out[7..9], [bools(&[2], &[1, 1]), bools(&[2, 1], &[0, 1])]);
    assert_eq!(out[9..], [bools(&[2], &[0, 0]), bools(&[2], &[1, 1])]);
}

#[test]
fn padding_stands_around_and_between() {
    let x = i64s(&[2, 2], &[1, 2, 3, 4]);
    let out = run(&[x, i64s(&[], &[7]), i64s(&[0], &[])], |b, x| {
        Ok(vec![
            b.pad(x[0], x[1], vec![1, 0], vec![0, 2], vec![0, 1])?,
            b.pad(x[2], x[1], vec![1], vec![2], vec![u64::MAX])?,
            b.pad(x[1], x[1], vec![], vec![], vec![])?,
        ])
    });
    assert_eq!(out[0], i64s(&[3, 5], &[7, 7, 7, 7, 7, 1, 7, 2, 7, 7, 3, 7, 4, 7, 7]));
    assert_eq!(out[1], i64s(&[3], &[7, 7, 7]));
    assert_eq!(out[2], i64s(&[], &[7]));
}

/// A region with scalar or tensor parameters.
fn region(
    pools: Pools<'_>,
    params: &[TensorType],
    build: impl FnOnce(&mut GraphBuilder<'_>, &[ValueId]) -> Result<Vec<ValueId>, OpError>,
) -> Graph {
    let mut g = Graph::default();
    for ty in params {
        g.add_param(ty.clone(), "");
    }
    let params = g.params.clone();
    g.results = build(&mut GraphBuilder::new(&mut g, pools), &params).expect("types fit");
    g
}

const NO_POOLS: Pools<'static> = Pools { consts: &[], lines: &[], conns: &[] };

#[test]
fn control_runs_its_regions() {
    let scalar = TensorType::scalar(DType::I64);
    let sum = || {
        region(NO_POOLS, &[scalar.clone(), scalar.clone()], |b, p| {
            let s = b.add(p[0], p[1])?;
            Ok(vec![s, s])
        })
    };
    let x = i64s(&[4], &[1, 2, 3, 4]);
    let out = run(&[x.clone(), i64s(&[], &[10])], |b, x| {
        let mut all = b.scan(&[x[1]], &[x[0]], &[], 1, 1, false, sum())?;
        all.extend(b.scan(&[x[1]], &[x[0]], &[], 1, 1, true, sum())?);
        Ok(all)
    });
    assert_eq!(out[0], i64s(&[], &[20]));
    assert_eq!(out[1], i64s(&[4], &[11, 13, 16, 20]));
    assert_eq!(out[3], i64s(&[4], &[20, 19, 17, 14]));
    let out = run(&[i64s(&[], &[7]), bools(&[], &[1]), i64s(&[], &[100])], |b, x| {
        let body = region(NO_POOLS, &[scalar.clone(), scalar.clone(), scalar.clone()], |b, p| {
            let next = b.add(p[1], p[0])?;
            let next = b.add(next, p[2])?;
            Ok(vec![b.lt(next, p[2])?, next])
        });
        // 1 + ..: the condition is false after the first trip, as next >= captured.
        let mut out = b.repeat(x[0], x[1], &[x[0]], &[x[2]], 1, body)?;
        let then_body = region(NO_POOLS, std::slice::from_ref(&scalar), |b, p| Ok(vec![b.neg(p[0])?]));
        let else_body = region(NO_POOLS, std::slice::from_ref(&scalar), |_, p| Ok(vec![p[0]]));
        out.extend(b.cond(x[1], &[x[0]], then_body, else_body)?);
        Ok(out)
    });
    assert_eq!(out, [i64s(&[], &[107]), i64s(&[], &[-7])]);
}

/// Four sources, three targets; v of target j takes w of every event, and the order is kept by doubling first.
fn projection(delay: SynapseDelay, depth: u32) -> Module {
    let mut m = Module { name: "net".into(), ..Module::default() };
    let pre = m.add_const("", i64s(&[4], &[0, 1, 1, 3]));
    let post = m.add_const("", i64s(&[4], &[2, 0, 2, 2]));
    let weight = m.add_const("", f32s(&[4], &[1.0, 2.0, 4.0, 8.0]));
    m.add_const("", i64s(&[4], &[2, 1, 1, 0]));
    let zero = m.add_const("", f32s(&[], &[0.0]));
    m.conns.push(Connectivity {
        name: "c".into(),
        pre_len: 4,
        post_len: 3,
        pre: 0..4,
        post: 0..3,
        rule: Rule::Table { pre, post },
        weight: SynapseWeight::PerSynapse(weight),
        delay,
    });
    let s = m.graph.add_param(TensorType::new(DType::Bool, [4]), "s");
    let v = m.graph.add_param(TensorType::new(DType::F32, [3]), "v");
    m.inputs.push(Port { name: "s".into(), value: s });
    m.lines.push(DelayLine { name: "s".into(), source: s, ty: TensorType::new(DType::Bool, [4]), depth });
    let real = TensorType::scalar(DType::F32);
    let deliver = region(m.pools(), &[real.clone(), real], |b, p| {
        let twice = b.add(p[1], p[1])?;
        Ok(vec![b.add(twice, p[0])?])
    });
    let line = Some(crate::graph::LineId(0));
    let next =
        m.builder().project(&[s], &[v], &[], crate::graph::ConnId(0), line, 1, 1, deliver).expect("types fit")[0];
    m.states.push(State { name: "v".into(), read: v, next, init: zero });
    m.outputs.push(Port { name: "v".into(), value: next });
    m.probes.push(Probe { name: "v".into(), value: next, every: 2 });
    m
}

#[test]
fn events_arrive_after_their_delays_in_order() {
    let m = projection(SynapseDelay::PerSynapse(crate::graph::ConstId(3)), 2);
    let mut it = Interpreter::new(Arc::new(m)).expect("valid");
    let mut step = |spikes: [u8; 4]| it.step(&[bools(&[4], &spikes)]).expect("fits");
    let v = |o: &StepOutput| o.outputs[0].as_slice::<f32>().to_vec();
    let out = step([1, 0, 0, 0]);
    assert_eq!((v(&out), out.probes.len()), (vec![0.0, 0.0, 0.0], 1));
    let out = step([0, 1, 0, 0]);
    assert_eq!((v(&out), out.probes.len()), (vec![0.0, 0.0, 0.0], 0));
    // Target 2 hears source 0 (two ticks ago), then 1 (one ago), then 3 (now): ((1) * 2 + 4) * 2 + 8.
    assert_eq!(v(&step([0, 0, 0, 1])), [2.0, 0.0, 20.0]);
    assert_eq!(v(&step([0, 0, 0, 0])), [2.0, 0.0, 20.0]);
    assert_eq!(it.tick(), 4);
    assert_eq!(it.state()[0].1.as_slice::<f32>(), [2.0, 0.0, 20.0]);
    it.set_state("v", f32s(&[3], &[0.0; 3])).expect("fits");
    assert_eq!(it.set_state("w", f32s(&[], &[0.0])).expect_err("unknown").code, "E0506");
    it.reset();
    assert_eq!(it.tick(), 0);
    assert_eq!(it.past(0, 1).expect("one tick").bytes(), [0; 4]);
}

#[test]
fn plastic_synapses_keep_their_own_time() {
    let mut m = projection(SynapseDelay::Ticks(0), 1);
    let n = TensorType::new(DType::F32, [4]);
    let ticks = TensorType::new(DType::I64, [4]);
    let (w, last) = (m.graph.add_param(n, "w"), m.graph.add_param(ticks, "last"));
    let (one, none) = (m.add_const("", f32s(&[], &[1.0])), m.add_const("", i64s(&[], &[0])));
    let (real, int) = (TensorType::scalar(DType::F32), TensorType::scalar(DType::I64));
    let pre = region(m.pools(), &[int.clone(), real.clone()], |b, p| {
        let elapsed = b.cast(p[0], DType::F32)?;
        Ok(vec![p[1], b.add(p[1], elapsed)?])
    });
    let deliver = region(m.pools(), &[real.clone(), real.clone()], |b, p| Ok(vec![b.add(p[0], p[1])?]));
    let post = region(m.pools(), &[int, real], |b, p| Ok(vec![b.neg(p[1])?]));
    let (s, v) = (m.inputs[0].value, m.states[0].read);
    let out = m
        .builder()
        .plastic_pre(&[s], &[v], &[], &[w, last], crate::graph::ConnId(0), None, 1, 1, 2, pre, deliver)
        .expect("types fit");
    let fired = m.builder().slice(s, vec![0], vec![3], vec![1]).expect("types fit");
    let back = m.builder().plastic_post(fired, &[out[1], out[2]], crate::graph::ConnId(0), post).expect("types fit");
    m.states[0].next = out[0];
    m.states.push(State { name: "w".into(), read: w, next: back[0], init: one });
    m.states.push(State { name: "last".into(), read: last, next: back[1], init: none });
    let mut it = Interpreter::new(Arc::new(m)).expect("valid");
    it.step(&[bools(&[4], &[0, 0, 0, 0])]).expect("fits");
    it.step(&[bools(&[4], &[0, 1, 0, 0])]).expect("fits");
    it.step(&[bools(&[4], &[0, 0, 0, 0])]).expect("fits");
    it.step(&[bools(&[4], &[1, 1, 0, 0])]).expect("fits");
    let state = it.state();
    // Synapses (0,2) (1,0) (1,2) (3,2). Tick 1: source 1 adds 1 to both of its; nobody in column 1. Tick 3: source 0 adds
    // 3, source 1 adds 2, then target 0 flips synapse (1,0).
    assert_eq!(state[0].1.as_slice::<f32>(), [1.0 + 2.0, 0.0, 1.0 + 1.0 + 2.0]);
    assert_eq!(state[1].1.as_slice::<f32>(), [4.0, -4.0, 4.0, 1.0]);
    assert_eq!(state[2].1.as_slice::<i64>(), [3, 3, 3, 0]);
}

#[test]
fn delayed_values_start_as_zeros() {
    let mut m = Module { name: "m".into(), ..Module::default() };
    let ty = TensorType::scalar(DType::F32);
    let x = m.graph.add_param(ty.clone(), "x");
    m.inputs.push(Port { name: "x".into(), value: x });
    m.lines.push(DelayLine { name: "x".into(), source: x, ty, depth: 2 });
    let y = m.builder().delayed(crate::graph::LineId(0), 2).expect("in depth");
    let t = m.builder().tick().expect("always");
    m.outputs.push(Port { name: "y".into(), value: y });
    m.outputs.push(Port { name: "t".into(), value: t });
    let mut it = Interpreter::new(Arc::new(m)).expect("valid");
    let seen: Vec<(f32, i64)> = (1..5)
        .map(|k| {
            let out = it.step(&[Tensor::scalar_f32(k as f32)]).expect("fits").outputs;
            (out[0].as_slice::<f32>()[0], out[1].as_slice::<i64>()[0])
        })
        .collect();
    assert_eq!(seen, [(0.0, 0), (0.0, 1), (1.0, 2), (2.0, 3)]);
}

#[test]
fn draws_are_those_of_the_generator() {
    let out = run(&[i64s(&[], &[3]), i64s(&[2], &[0, 5_000_000_000])], |b, x| {
        let uniform = b.random(x[0], x[1], crate::graph::Distribution::Uniform, 99)?;
        Ok(vec![uniform, b.random(x[0], x[1], crate::graph::Distribution::Normal, 99)?])
    });
    for (k, j) in [0, 5_000_000_000].into_iter().enumerate() {
        assert_eq!(out[0].as_slice::<f32>()[k], crate::random::uniform_at(99, 3, j, 0));
        assert_eq!(out[1].as_slice::<f32>()[k], crate::random::normal_at(99, 3, j, 0));
    }
}

#[test]
fn what_cannot_run_is_refused() {
    let code = |r: Result<Interpreter, Diagnostic>| r.err().map(|d| d.code);
    let x = f32s(&[2], &[0.0; 2]);
    let rhs = region(NO_POOLS, &[x.ty()], |_, p| Ok(vec![p[0]]));
    let m = module(std::slice::from_ref(&x), |b, x| b.integrate(&[x[0]], &[], Method::Auto, Real(1e-3), 1, 1, rhs));
    assert_eq!(code(Interpreter::new(Arc::new(m))), Some("E0502"));
    let mut m = module(std::slice::from_ref(&x), |b, x| Ok(vec![b.neg(x[0])?]));
    assert_eq!(code(Interpreter::with_limit(Arc::new(m.clone()), 15)), Some("E0504"));
    let mut it = Interpreter::with_limit(Arc::new(m.clone()), 16).expect("fits");
    assert_eq!(it.step(&[]).expect_err("none given").code, "E0505");
    let e = it.step(&[f32s(&[3], &[0.0; 3])]).expect_err("too long");
    assert_eq!(e.to_string(), "error[E0505]: input `x0` is f32[3], expected f32[2]");
    m.inputs.clear();
    assert_eq!(code(Interpreter::new(Arc::new(m))), Some("E0501"));
    let mut m = Module { name: "m".into(), ..Module::default() };
    let ty = TensorType { dtype: DType::F32, shape: vec![crate::Dim::Sym("n".into())] };
    let value = m.graph.add_param(ty, "x");
    m.inputs.push(Port { name: "x".into(), value });
    assert_eq!(code(Interpreter::new(Arc::new(m))), Some("E0503"));
}
