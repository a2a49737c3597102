//! Recurrent layers: one unit whose numbers can be followed by hand.

use crate::support::*;
use nc_ir::Tensor;
use nc_onnx::proto::AttributeProto;

/// A cell with the activation `Affine(1, 0)`, which changes nothing: the layer is linear.
fn identity(per: usize) -> AttributeProto {
    let mut a = text("activations", "");
    a.s = None;
    a.r#type = Some(nc_onnx::proto::attribute_type::STRINGS);
    a.strings = (0..per).map(|_| b"Affine".to_vec().into()).collect();
    a
}

fn run(
    op: &str,
    inputs: Vec<(&'static str, Tensor)>,
    attributes: Vec<AttributeProto>,
    results: &[&'static str],
) -> Vec<Tensor> {
    let names: Vec<&str> = ["x", "w", "r", "b", "n", "h", "c", "p"]
        .iter()
        .map(|n| if inputs.iter().any(|(m, _)| m == n) { *n } else { "" })
        .collect();
    let used = names.iter().rposition(|n| !n.is_empty()).map_or(0, |k| k + 1);
    let nodes = vec![node(op, &names[..used], results, attributes)];
    Model::of(inputs, nodes, results).run()
}

#[test]
fn a_sum_over_time_forward_and_backward() {
    // h = x + h: sums so far. The backward direction sums from the end; outputs stand at their own tick.
    let x = f32s(&[3, 1, 1], &[1.0, 2.0, 4.0]);
    let one = |d: usize| f32s(&[d, 1, 1], &vec![1.0; d]);
    let both = vec![text("direction", "bidirectional"), identity(2)];
    let out = run("RNN", vec![("x", x.clone()), ("w", one(2)), ("r", one(2))], both, &["y", "l"]);
    assert_eq!(out[0], f32s(&[3, 2, 1, 1], &[1.0, 7.0, 3.0, 6.0, 7.0, 4.0]));
    assert_eq!(out[1], f32s(&[2, 1, 1], &[7.0, 7.0]));
    // Both biases and a first state: h = x + h + 0.5 + 0.25 from 10.
    let inputs = vec![
        ("x", x),
        ("w", one(1)),
        ("r", one(1)),
        ("b", f32s(&[1, 2], &[0.5, 0.25])),
        ("h", f32s(&[1, 1, 1], &[10.0])),
    ];
    let out = run("RNN", inputs, vec![identity(1), int("hidden_size", 1)], &["y"]);
    assert_eq!(out[0], f32s(&[3, 1, 1, 1], &[11.75, 14.5, 19.25]));
}

/// Operands of other shapes are refused by what they are.
#[test]
fn operands_of_other_shapes() {
    let x = f32s(&[3, 1, 1], &[1.0, 2.0, 4.0]);
    let cases: [(&'static str, Tensor, &str); 5] = [
        ("b", f32s(&[2], &[0.0; 2]), "biases have the shape [2], [1, 8] was expected"),
        ("n", Tensor::from_vec(vec![2], vec![3i32, 1]).expect("two"), "lengths have the shape [2], [1] was expected"),
        ("h", f32s(&[], &[0.0]), "first states have the shape [], [1, 1, 1] was expected"),
        ("c", f32s(&[1, 1], &[0.0]), "first cells have the shape [1, 1], [1, 1, 1] was expected"),
        ("p", f32s(&[3], &[0.0; 3]), "peepholes have the shape [3], [1, 3] was expected"),
    ];
    let four = f32s(&[1, 4, 1], &[1.0; 4]);
    for (name, value, text) in cases {
        let names: Vec<&str> = ["x", "w", "r", "b", "n", "h", "c", "p"]
            .into_iter()
            .map(|n| if "xwr".contains(n) || n == name { n } else { "" })
            .collect();
        let inputs = vec![("x", x.clone()), ("w", four.clone()), ("r", four.clone()), (name, value)];
        let m = Model::of(inputs, vec![node("LSTM", &names, &["y"], vec![])], &["y"]);
        assert!(m.refusal().contains(text), "{}", m.refusal());
    }
}

#[test]
fn samples_end_at_their_own_length() {
    let x = f32s(&[3, 2, 1], &[1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
    let n = Tensor::from_vec(vec![2], vec![3i32, 1]).expect("two lengths");
    let one = f32s(&[1, 1, 1], &[1.0]);
    let inputs = || vec![("x", x.clone()), ("w", one.clone()), ("r", one.clone()), ("n", n.clone())];
    let out = run("RNN", inputs(), vec![identity(1)], &["y", "l"]);
    assert_eq!(out[0], f32s(&[3, 1, 2, 1], &[1.0, 10.0, 3.0, 0.0, 7.0, 0.0]));
    assert_eq!(out[1], f32s(&[1, 2, 1], &[7.0, 10.0]));
    let out = run("RNN", inputs(), vec![identity(1), text("direction", "reverse")], &["y", "l"]);
    assert_eq!(out[0], f32s(&[3, 1, 2, 1], &[7.0, 10.0, 6.0, 0.0, 4.0, 0.0]));
    assert_eq!(out[1], f32s(&[1, 2, 1], &[7.0, 10.0]));
}

#[test]
fn the_reset_gate_stands_before_or_after_the_product() {
    // Gates z, r, h with weights 0, 0, 1 and biases: z = 0 (update all), r = 2; recurrent h weight 1, recurrent bias 1.
    let x = f32s(&[1, 1, 1], &[3.0]);
    let w = f32s(&[1, 3, 1], &[0.0, 0.0, 1.0]);
    let r = f32s(&[1, 3, 1], &[0.0, 0.0, 1.0]);
    let b = f32s(&[1, 6], &[0.0, 2.0, 0.0, 0.0, 0.0, 1.0]);
    let h = f32s(&[1, 1, 1], &[5.0]);
    let gru = |late: i64| {
        let inputs = vec![("x", x.clone()), ("w", w.clone()), ("r", r.clone()), ("b", b.clone()), ("h", h.clone())];
        run("GRU", inputs, vec![identity(2), int("linear_before_reset", late)], &["y"]).remove(0)
    };
    // 3 + (2 * 5) + 1, and 3 + 2 * (5 + 1).
    assert_eq!(gru(0), f32s(&[1, 1, 1, 1], &[14.0]));
    assert_eq!(gru(1), f32s(&[1, 1, 1, 1], &[15.0]));
}

#[test]
fn gates_of_an_lstm_in_their_order() {
    // Constant gates from the biases: i = 2, o = 3, f = 5, g = 7; c = f c + i g, h = o c.
    let inputs = vec![
        ("x", f32s(&[2, 1, 1], &[0.0, 0.0])),
        ("w", f32s(&[1, 4, 1], &[0.0; 4])),
        ("r", f32s(&[1, 4, 1], &[0.0; 4])),
        ("b", f32s(&[1, 8], &[2.0, 3.0, 5.0, 7.0, 0.0, 0.0, 0.0, 0.0])),
        ("c", f32s(&[1, 1, 1], &[1.0])),
    ];
    let out = run("LSTM", inputs.clone(), vec![identity(3)], &["y", "h1", "c1"]);
    // c: 5 + 14 = 19, then 95 + 14 = 109.
    assert_eq!(out[0], f32s(&[2, 1, 1, 1], &[57.0, 327.0]));
    assert_eq!((&out[1], &out[2]), (&f32s(&[1, 1, 1], &[327.0]), &f32s(&[1, 1, 1], &[109.0])));
    // Peepholes add p * c to a gate: input and forget see the old cell, output the new one.
    let mut seen = inputs.clone();
    seen[0].1 = f32s(&[1, 1, 1], &[0.0]);
    seen.push(("p", f32s(&[1, 3], &[1.0, 0.0, 1.0])));
    // i = 3, f = 6: c = 6 + 21 = 27, o = 3.
    assert_eq!(run("LSTM", seen, vec![identity(3)], &["y"])[0], f32s(&[1, 1, 1, 1], &[81.0]));
    // Coupled: f = 1 - i = -1: c = -1 + 14 = 13.
    let mut one = inputs;
    one[0].1 = f32s(&[1, 1, 1], &[0.0]);
    let out = run("LSTM", one, vec![identity(3), int("input_forget", 1)], &["y"]);
    assert_eq!(out[0], f32s(&[1, 1, 1, 1], &[39.0]));
}
