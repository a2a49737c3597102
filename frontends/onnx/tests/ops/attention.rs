//! Attention and its kin.

use crate::support::*;
use nc_ir::Tensor;

#[test]
fn a_query_that_may_see_one_key_gives_its_value() {
    // Causal, two queries: the first sees only key 0, the second both; equal scores give the mean.
    let zeros = f32s(&[1, 1, 2, 1], &[0.0, 0.0]);
    let v = f32s(&[1, 1, 2, 1], &[2.0, 4.0]);
    let nodes = vec![node("Attention", &["q", "k", "v"], &["y"], vec![int("is_causal", 1)])];
    let inputs = vec![("q", zeros.clone()), ("k", zeros.clone()), ("v", v.clone())];
    let model = Model { opset: 24, ..Model::of(inputs, nodes, &["y"]) };
    assert_eq!(model.run()[0], f32s(&[1, 1, 2, 1], &[2.0, 3.0]));
    // A mask that forbids everything gives zeros, not NaN.
    let mask = Tensor::from_bytes(nc_ir::DType::Bool, vec![2, 2], &[0, 0, 0, 1]).expect("four bytes");
    let nodes = vec![node("Attention", &["q", "k", "v", "m"], &["y"], vec![])];
    let inputs = vec![("q", zeros.clone()), ("k", zeros), ("v", v), ("m", mask)];
    let model = Model { opset: 24, ..Model::of(inputs, nodes, &["y"]) };
    assert_eq!(model.run()[0], f32s(&[1, 1, 2, 1], &[0.0, 4.0]));
}

#[test]
fn a_quarter_turn_of_pairs() {
    // cos 0, sin 1: (a, b) becomes (-b, a). Halves: elements 0, 2 and 1, 3 are pairs; interleaved: 0, 1 and 2, 3.
    let x = f32s(&[1, 1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let (cos, sin) = (f32s(&[1, 1, 2], &[0.0, 0.0]), f32s(&[1, 1, 2], &[1.0, 1.0]));
    let turn = |interleaved: i64| {
        let nodes = vec![node("RotaryEmbedding", &["x", "c", "s"], &["y"], vec![int("interleaved", interleaved)])];
        let inputs = vec![("x", x.clone()), ("c", cos.clone()), ("s", sin.clone())];
        Model { opset: 23, ..Model::of(inputs, nodes, &["y"]) }.run().remove(0)
    };
    assert_eq!(turn(0), f32s(&[1, 1, 1, 4], &[-3.0, -4.0, 1.0, 2.0]));
    assert_eq!(turn(1), f32s(&[1, 1, 1, 4], &[-2.0, 1.0, -4.0, 3.0]));
}

#[test]
fn a_state_remembers_keys_and_values() {
    // Rule `linear`: S += k v; y = q S. One head of size 1: S is 2 * 10, then 20 + 3 * 100.
    let of = |a: f32, b: f32| f32s(&[1, 2, 1], &[a, b]);
    let attributes =
        vec![int("q_num_heads", 1), int("kv_num_heads", 1), text("update_rule", "linear"), float("scale", 1.0)];
    let nodes = vec![node("LinearAttention", &["q", "k", "v"], &["y", "s"], attributes)];
    let inputs = vec![("q", of(1.0, 2.0)), ("k", of(2.0, 3.0)), ("v", of(10.0, 100.0))];
    let out = Model { opset: 27, ..Model::of(inputs, nodes, &["y", "s"]) }.run();
    assert_eq!(out[0], f32s(&[1, 2, 1], &[20.0, 640.0]));
    assert_eq!(out[1], f32s(&[1, 1, 1, 1], &[320.0]));
}

#[test]
fn a_causal_convolution_begins_with_the_past() {
    let nodes = vec![node("CausalConvWithState", &["x", "w", "", "p"], &["y", "s"], vec![])];
    let inputs = vec![
        ("x", f32s(&[1, 1, 2], &[1.0, 2.0])),
        ("w", f32s(&[1, 1, 3], &[100.0, 10.0, 1.0])),
        ("p", f32s(&[1, 1, 2], &[7.0, 8.0])),
    ];
    let out = Model { opset: 27, ..Model::of(inputs, nodes, &["y", "s"]) }.run();
    // 7 8 1 and 8 1 2 as digits.
    assert_eq!(out[0], f32s(&[1, 1, 2], &[781.0, 812.0]));
    assert_eq!(out[1], f32s(&[1, 1, 2], &[1.0, 2.0]));
}
