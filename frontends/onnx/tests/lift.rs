//! Spiking neurons that are written out in plain operators. What they compute is what the operators say; that they were
//! recognised stands in the choices of the module, and that what follows is driven by events in the form of their spikes.

#[path = "ops/support.rs"]
#[allow(dead_code, reason = "shared with the tests of operators")]
mod support;

use nc_ir::graph::{Module, Op};
use nc_ir::{DType, Tensor};
use nc_onnx::proto::NodeProto;
use support::{Model, f32s, float, int, node};

fn constant(name: &str, x: f32) -> NodeProto {
    node("Constant", &[], &[name], vec![float("value_float", x)])
}

fn cast(x: &str, y: &str) -> NodeProto {
    node("Cast", &[x], &[y], vec![int("to", 1)])
}

/// A membrane `v + x` with the threshold 1.5, then `spike` (which makes `s` of `m`) and `reset` (which makes `next`), then a
/// product with weights that are all 2.
fn neuron(spike: Vec<NodeProto>, reset: Vec<NodeProto>) -> Model {
    let mut nodes = vec![constant("theta", 1.5), constant("zero", 0.0), constant("one", 1.0)];
    nodes.push(node("Add", &["v", "x"], &["m"], vec![]));
    nodes.extend(spike);
    nodes.extend(reset);
    nodes.push(node("MatMul", &["s", "w"], &["y"], vec![]));
    let inputs = vec![
        ("v", f32s(&[1, 4], &[0.5, 1.0, 1.0, 2.0])),
        ("x", f32s(&[1, 4], &[0.5, 0.5, 1.0, 0.0])),
        ("w", f32s(&[4, 2], &[2.0; 8])),
    ];
    Model { known: vec!["w"], ..Model::of(inputs, nodes, &["s", "next", "y"]) }
}

/// The text of the one neuron that was found.
fn found(m: &Model) -> String {
    let module = m.import().expect("a model");
    let list: Vec<_> = module.choices.iter().map(|c| (c.subject.clone(), c.text.clone())).collect();
    match &list[..] {
        [(subject, text)] if subject == "s" => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// True if the product is driven by the cast of a truth value.
fn driven_by_events(module: &Module) -> bool {
    let made_by = |v| module.graph.nodes.iter().find(|n| n.results.contains(&v));
    let product = module.graph.nodes.iter().find(|n| matches!(n.op, Op::Linear | Op::Matmul)).expect("a product");
    let cast = made_by(product.args[0]).expect("a node");
    matches!(cast.op, Op::Cast { to: DType::F32 }) && module.graph.ty(cast.args[0]).dtype == DType::Bool
}

fn greater() -> Vec<NodeProto> {
    vec![node("Greater", &["m", "theta"], &["z"], vec![]), cast("z", "s")]
}

/// `m` is 1, 1.5, 2, 2: the last two are above the threshold.
fn check(m: &Model, next: &[f32], text: &str) {
    let out: Vec<Tensor> = m.run();
    assert_eq!(out[0], f32s(&[1, 4], &[0.0, 0.0, 1.0, 1.0]));
    assert_eq!(out[1], f32s(&[1, 4], next));
    assert_eq!(out[2], f32s(&[1, 2], &[4.0, 4.0]));
    assert!(driven_by_events(&m.import().expect("a model")));
    assert_eq!(found(m), text);
}

#[test]
fn a_reset_by_subtraction() {
    let reset = vec![node("Mul", &["s", "theta"], &["off"], vec![]), node("Sub", &["m", "off"], &["next"], vec![])];
    let text = "lifted to a spiking neuron: spikes where `m` is above 1.5, reset by subtraction of 1.5";
    check(&neuron(greater(), reset.clone()), &[1.0, 1.5, 0.5, 0.5], text);
    // As surrogate gradients are written.
    let shifted = vec![
        node("Sub", &["m", "theta"], &["over"], vec![]),
        node("Greater", &["over", "zero"], &["z"], vec![]),
        cast("z", "s"),
    ];
    check(&neuron(shifted, reset.clone()), &[1.0, 1.5, 0.5, 0.5], text);
    // With `Where` instead of a cast, and the comparison turned around.
    let chosen =
        vec![node("Less", &["theta", "m"], &["z"], vec![]), node("Where", &["z", "one", "zero"], &["s"], vec![])];
    check(&neuron(chosen, reset.clone()), &[1.0, 1.5, 0.5, 0.5], text);
    // Where it is not above.
    let inverted = vec![
        node("Greater", &["m", "theta"], &["z"], vec![]),
        node("Not", &["z"], &["silent"], vec![]),
        node("Where", &["silent", "zero", "one"], &["s"], vec![]),
    ];
    let m = neuron(inverted, reset);
    assert!(driven_by_events(&m.import().expect("a model")));
    assert_eq!(m.run()[2], f32s(&[1, 2], &[4.0, 4.0]));
}

#[test]
fn a_reset_to_a_number() {
    let kept = vec![node("Sub", &["one", "s"], &["rest"], vec![]), node("Mul", &["m", "rest"], &["next"], vec![])];
    let zero = "lifted to a spiking neuron: spikes where `m` is above 1.5, reset to 0";
    check(&neuron(greater(), kept), &[1.0, 1.5, 0.0, 0.0], zero);
    let chosen = vec![constant("rest", 0.25), node("Where", &["z", "rest", "m"], &["next"], vec![])];
    let text = "lifted to a spiking neuron: spikes where `m` is above 1.5, reset to 0.25";
    check(&neuron(greater(), chosen), &[1.0, 1.5, 0.25, 0.25], text);
}

#[test]
fn a_comparison_that_resets_nothing_is_no_neuron() {
    let m = neuron(greater(), vec![node("Identity", &["m"], &["next"], vec![])]);
    let module = m.import().expect("a model");
    assert!(module.choices.is_empty(), "{:?}", module.choices);
    assert!(driven_by_events(&module));
}
