//! Matrix products, normalisation, quantisation, losses.

use crate::support::*;
use nc_ir::{DType, Tensor};

fn einsum(equation: &str, inputs: Vec<(&'static str, Tensor)>) -> Tensor {
    let names: Vec<&str> = inputs.iter().map(|(n, _)| *n).collect();
    let nodes = vec![node("Einsum", &names, &["y"], vec![text("equation", equation)])];
    Model::of(inputs, nodes, &["y"]).run().remove(0)
}

#[test]
fn equations_contract_transpose_and_take_diagonals() {
    let (a, b) = (f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), f32s(&[2, 2], &[5.0, 6.0, 7.0, 8.0]));
    assert_eq!(
        einsum("ij, jk -> ik", vec![("a", a.clone()), ("b", b.clone())]),
        f32s(&[2, 2], &[19.0, 22.0, 43.0, 50.0])
    );
    assert_eq!(einsum("ij->ji", vec![("a", a.clone())]), f32s(&[2, 2], &[1.0, 3.0, 2.0, 4.0]));
    assert_eq!(einsum("ii->i", vec![("a", a.clone())]), f32s(&[2], &[1.0, 4.0]));
    assert_eq!(einsum("ii", vec![("a", a.clone())]), f32s(&[], &[5.0]));
    // Without an arrow the labels that occur once remain, in alphabetic order.
    assert_eq!(einsum("ba", vec![("a", a.clone())]), f32s(&[2, 2], &[1.0, 3.0, 2.0, 4.0]));
    assert_eq!(einsum("i,i", vec![("a", f32s(&[2], &[1.0, 2.0])), ("b", f32s(&[2], &[3.0, 4.0]))]), f32s(&[], &[11.0]));
    // An ellipsis broadcasts: [2, 1, 2] times [2, 2].
    let wide = f32s(&[2, 1, 2], &[1.0, 0.0, 0.0, 1.0]);
    assert_eq!(einsum("...ij,jk->...ik", vec![("a", wide), ("b", b)]), f32s(&[2, 1, 2], &[5.0, 6.0, 7.0, 8.0]));
    // Three operands: sum over i and j of a[i, j] x[i] y[j] = 1*1*3 + 2*1*4 + 3*2*3 + 4*2*4.
    let (x, y) = (f32s(&[2], &[1.0, 2.0]), f32s(&[2], &[3.0, 4.0]));
    assert_eq!(einsum("ij,i,j->", vec![("a", a), ("x", x), ("z", y)]), f32s(&[], &[61.0]));
}

#[test]
fn a_bias_of_a_general_product_starts_the_chains_or_is_added() {
    let (a, b) = (f32s(&[1, 2], &[1.0, 2.0]), f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
    let gemm = |bias: Tensor, attributes| {
        let nodes = vec![node("Gemm", &["a", "b", "c"], &["y"], attributes)];
        Model::of(vec![("a", a.clone()), ("b", b.clone()), ("c", bias)], nodes, &["y"]).run().remove(0)
    };
    assert_eq!(gemm(f32s(&[2], &[10.0, 20.0]), vec![]), f32s(&[1, 2], &[17.0, 30.0]));
    assert_eq!(gemm(f32s(&[], &[1.0]), vec![float("alpha", 2.0), float("beta", 3.0)]), f32s(&[1, 2], &[17.0, 23.0]));
    assert_eq!(gemm(f32s(&[1, 1], &[1.0]), vec![int("transB", 1)]), f32s(&[1, 2], &[6.0, 12.0]));
}

#[test]
fn norms_have_mean_zero_and_variance_one() {
    // 1, 3 has mean 2 and variance 1.
    let x = f32s(&[1, 2], &[1.0, 3.0]);
    let nodes = vec![node("LayerNormalization", &["x", "s", "b"], &["y", "m", "i"], vec![float("epsilon", 0.0)])];
    let inputs = vec![("x", x.clone()), ("s", f32s(&[2], &[2.0, 2.0])), ("b", f32s(&[2], &[1.0, 1.0]))];
    let out = Model::of(inputs, nodes, &["y", "m", "i"]).run();
    assert_eq!(out[0], f32s(&[1, 2], &[-1.0, 3.0]));
    assert_eq!((&out[1], &out[2]), (&f32s(&[1, 1], &[2.0]), &f32s(&[1, 1], &[1.0])));
    // Root of the mean square of 3, 4, 0, 0 is 2.5.
    let nodes = vec![node("RMSNormalization", &["x", "s"], &["y"], vec![float("epsilon", 0.0)])];
    let inputs = vec![("x", f32s(&[4], &[3.0, 4.0, 0.0, 0.0])), ("s", f32s(&[4], &[1.0; 4]))];
    let model = Model { opset: 23, ..Model::of(inputs, nodes, &["y"]) };
    close(&model.run()[0], &f32s(&[4], &[1.2, 1.6, 0.0, 0.0]));
}

#[test]
fn quantised_numbers_round_to_even_and_saturate() {
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], &["y"], vec![])];
    let zero = Tensor::from_bytes(DType::U8, vec![], &[128]).expect("one byte");
    let inputs = vec![("x", f32s(&[5], &[1.0, 3.0, -3.0, 1000.0, -1000.0])), ("s", f32s(&[], &[2.0])), ("z", zero)];
    let y = Model::of(inputs, nodes, &["y"]).run().remove(0);
    // 0.5 rounds to 0, 1.5 to 2, -1.5 to -2.
    assert_eq!(y.bytes(), [128, 130, 126, 255, 0]);
}

#[test]
fn blocks_of_scales_follow_their_axis() {
    let x = Tensor::from_bytes(DType::I8, vec![1, 5], &[1, 1, 1, 1, 1]).expect("five bytes");
    let nodes = vec![node("DequantizeLinear", &["x", "s"], &["y"], vec![int("block_size", 2), int("axis", 1)])];
    let inputs = vec![("x", x), ("s", f32s(&[1, 3], &[1.0, 2.0, 3.0]))];
    assert_eq!(Model::of(inputs, nodes, &["y"]).run()[0], f32s(&[1, 5], &[1.0, 1.0, 2.0, 2.0, 3.0]));
}

#[test]
fn an_ignored_target_counts_in_no_mean() {
    let nodes = vec![node("NegativeLogLikelihoodLoss", &["x", "t"], &["y"], vec![int("ignore_index", -1)])];
    let inputs =
        vec![("x", f32s(&[3, 2], &[-1.0, -2.0, -3.0, -4.0, f32::NAN, f32::NAN])), ("t", i64s(&[3], &[0, 1, -1]))];
    assert_eq!(Model::of(inputs, nodes, &["y"]).run()[0], f32s(&[], &[2.5]));
}
