//! What cannot be run one step at a time is refused with the node's name.

use super::support::{Model, constant, f32s, i64s, int, ints, node, text};
use super::{layer, numbers, with};
use nc_ir::Tensor;
use nc_onnx::Stop;
use nc_onnx::proto::NodeProto;

/// The sentence of the refusal.
fn refusal(m: &Model) -> String {
    match m.import_steps() {
        Ok(_) => panic!("the model is taken"),
        Err(Stop::Wrong(d)) => {
            assert_eq!(d.code, "E1011", "{d:?}");
            assert!(d.hint.is_some(), "{d:?}");
            d.message
        }
        Err(Stop::Needs(n)) => panic!("{n:?}"),
    }
}

/// `y` of a node called `n`.
fn called(op: &str, inputs: &[&str], attributes: Vec<nc_onnx::proto::AttributeProto>) -> NodeProto {
    NodeProto { name: Some("n".to_owned()), ..node(op, inputs, &["y"], attributes) }
}

const END: &str = ": the model cannot run one step at a time";

#[track_caller]
fn check(more: Vec<NodeProto>, what: &str) {
    assert_eq!(refusal(&with(more, &["y"])), format!("node `n` {what}{END}"));
}

#[test]
fn nodes_that_mix_steps() {
    check(
        vec![called("Softmax", &["h"], vec![int("axis", 0)])],
        "(Softmax) meets each step with what is known after the last one only",
    );
    check(
        vec![constant("axes", &i64s(&[2], &[0, 2])), called("ReduceSum", &["h", "axes"], vec![])],
        "(ReduceSum) combines several steps and another axis at once",
    );
    check(
        vec![constant("axis", &Tensor::scalar_i64(0)), called("CumSum", &["h", "axis"], vec![int("reverse", 1)])],
        "(CumSum) goes from the last step to the first",
    );
    check(
        vec![constant("k", &Tensor::scalar_i64(0)), called("Gather", &["h", "k"], vec![])],
        "(Gather) picks steps other than the last",
    );
    check(
        vec![
            constant("from", &i64s(&[1], &[0])),
            constant("to", &i64s(&[1], &[19])),
            called("Slice", &["h", "from", "to"], vec![]),
        ],
        "(Slice) picks steps other than the last",
    );
    check(vec![called("Concat", &["h", "h"], vec![int("axis", 0)])], "(Concat) joins values along the steps");
    check(
        vec![constant("pads", &i64s(&[6], &[1, 0, 0, 0, 0, 0])), called("Pad", &["h", "pads"], vec![])],
        "(Pad) pads the sequence",
    );
    check(vec![called("ArgMax", &["h"], vec![int("axis", 0)])], "(ArgMax) puts the steps in order");
    check(
        vec![
            node("Transpose", &["h"], &["t"], vec![ints("perm", &[1, 2, 0])]),
            constant("k", &numbers(&[5, 4, 3], 1)),
            called("Conv", &["t", "k"], vec![]),
        ],
        "(Conv) sums products over several steps",
    );
    check(
        vec![
            node("Transpose", &["h"], &["a"], vec![ints("perm", &[1, 0, 2])]),
            node("Transpose", &["h"], &["b"], vec![ints("perm", &[1, 2, 0])]),
            called("MatMul", &["a", "b"], vec![]),
        ],
        "(MatMul) sums products over several steps",
    );
    check(
        vec![constant("shape", &i64s(&[2], &[10, 16])), called("Reshape", &["h", "shape"], vec![])],
        "(Reshape) spreads the steps over other axes",
    );
}

/// As [`layer`], with another RNN.
fn other(op: NodeProto, more: Vec<NodeProto>, outputs: &[&'static str]) -> Model {
    let (x, mut nodes) = layer();
    nodes.truncate(2);
    nodes.push(op);
    nodes.extend(more);
    Model::of(vec![("x", x)], nodes, outputs)
}

#[test]
fn directions_and_lengths() {
    let reverse = called("RNN", &["x", "w", "r"], vec![int("hidden_size", 4), text("direction", "reverse")]);
    let m = other(reverse, vec![], &["y"]);
    assert_eq!(refusal(&m), format!("node `n` (RNN) goes from the last step to the first{END}"));
    let nodes = vec![
        constant("w", &numbers(&[2, 4, 3], 2)),
        constant("r", &numbers(&[2, 4, 4], 3)),
        called("RNN", &["x", "w", "r"], vec![int("hidden_size", 4), text("direction", "bidirectional")]),
    ];
    let m = Model::of(vec![("x", layer().0)], nodes, &["y"]);
    assert_eq!(refusal(&m), format!("node `n` (RNN) goes from the last step to the first{END}"));
    let n = constant("len", &Tensor::from_vec(vec![2], vec![20i32, 3]).expect("two lengths"));
    let rnn = called("RNN", &["x", "w", "r", "", "len"], vec![int("hidden_size", 4)]);
    let mut m = other(rnn, vec![], &["y"]);
    m.nodes.insert(0, n);
    assert_eq!(
        refusal(&m),
        format!("node `n` (RNN) takes a table along the steps (positions, or lengths of sequences){END}")
    );
}

#[test]
fn tables_of_positions() {
    check(
        vec![constant("p", &numbers(&[20, 1, 4], 1)), called("Add", &["h", "p"], vec![])],
        "(Add) takes a table along the steps (positions, or lengths of sequences)",
    );
}

/// The state of one layer is what the next begins with: the sequence is needed twice.
#[test]
fn an_encoder_and_a_decoder() {
    check(
        vec![
            constant("v", &numbers(&[1, 4, 4], 5)),
            called("RNN", &["h", "v", "r", "", "", "last"], vec![int("hidden_size", 4)]),
        ],
        "(RNN) begins with a state that depends on the sequence",
    );
    check(
        vec![called("Add", &["h", "last"], vec![])],
        "(Add) meets each step with what is known after the last one only",
    );
}

#[test]
fn models_without_a_sequence() {
    let m = Model::of(vec![("x", f32s(&[2], &[1.0, 2.0]))], vec![called("Relu", &["x"], vec![])], &["y"]);
    assert!(refusal(&m).contains("the model has no sequence"), "{}", refusal(&m));
    let mut m = with(vec![], &["h"]);
    m.inputs[0].1 = numbers(&[1, 2, 3], 1);
    assert_eq!(refusal(&m), "the sequence has 1 steps: which axis they stand along is known from 2 on");
}

/// A second layer along the axis of samples.
#[test]
fn scans_along_two_axes() {
    let m = with(
        vec![
            node("Transpose", &["h"], &["t"], vec![ints("perm", &[1, 0, 2])]),
            constant("v", &numbers(&[1, 4, 4], 5)),
            called("RNN", &["t", "v", "r"], vec![int("hidden_size", 4)]),
        ],
        &["y"],
    );
    assert_eq!(refusal(&m), format!("node `n` (RNN) goes along another axis than the one that holds the steps{END}"));
}
