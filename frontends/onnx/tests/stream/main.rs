//! Models of sequences that run one step at a time: after the last step every output has the bits of the whole run. Both
//! are run by the reference interpreter; nothing is expected but that they agree.

mod random;
mod refused;
#[path = "../ops/support.rs"]
#[allow(dead_code, reason = "shared with the tests of operators")]
mod support;

use nc_ir::interp::Interpreter;
use nc_ir::{DType, Tensor};
use nc_onnx::{Along, Streamed};
use std::sync::Arc;
use support::{Model, body, constant, f32s, float, graph, i64s, int, ints, node, text, texts};

/// Numbers from -1 to 1, the same in every run.
pub fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    f32s(shape, &(0..n).map(|_| next()).collect::<Vec<_>>())
}

/// Step `t` of an array, as a frame of this shape.
fn step_of(whole: &Tensor, along: &Along, t: usize, frame: &[usize]) -> Tensor {
    let n = along.steps(whole.shape()).expect("an array of sequences");
    let (sequences, elements) = along.blocks();
    let bytes = elements * whole.dtype().size();
    let block = |p: usize| &whole.bytes()[(p * n + t) * bytes..][..bytes];
    let data: Vec<u8> = (0..sequences).flat_map(block).copied().collect();
    Tensor::from_bytes(whole.dtype(), frame.to_vec(), &data).expect("a step has the size of a frame")
}

/// The outputs of the step function after all steps of the model's inputs, in the shapes of the whole run.
pub fn streamed(model: &Model, made: Streamed) -> Vec<Tensor> {
    let Streamed { module, inputs, outputs } = made;
    let whole: Vec<&Tensor> = (module.inputs.iter())
        .map(|p| &model.inputs.iter().find(|(n, _)| *n == p.name).expect("an input of the model").1)
        .collect();
    let steps = inputs[0].steps(whole[0].shape()).expect("an array of sequences");
    let shapes: Vec<Vec<usize>> = (module.inputs.iter())
        .map(|p| module.graph.ty(p.value).extents().expect("known").iter().map(|n| *n as usize).collect())
        .collect();
    let mut it = Interpreter::new(Arc::new(module)).expect("a module that can run");
    let mut frames: Vec<Vec<Tensor>> = vec![Vec::new(); outputs.len()];
    for t in 0..steps {
        let now: Vec<Tensor> =
            inputs.iter().zip(&whole).zip(&shapes).map(|((a, x), frame)| step_of(x, a, t, frame)).collect();
        let found = it.step(&now).expect("a run without faults").outputs;
        frames.iter_mut().zip(found).for_each(|(all, y)| all.push(y));
    }
    let mut results = Vec::new();
    for (along, frames) in outputs.iter().zip(frames) {
        let Some(along) = along else {
            results.push(frames.last().expect("a step").clone());
            continue;
        };
        let (sequences, elements) = along.blocks();
        let bytes = elements * frames[0].dtype().size();
        let blocks = (0..sequences).flat_map(|p| frames.iter().map(move |f| &f.bytes()[p * bytes..][..bytes]));
        let data: Vec<u8> = blocks.flatten().copied().collect();
        results.push(Tensor::from_bytes(frames[0].dtype(), along.shape(steps), &data).expect("all steps"));
    }
    results
}

/// Both ways agree to the bit.
#[track_caller]
pub fn agree(model: &Model) -> Vec<Tensor> {
    let whole = model.run();
    let made = model.import_steps().unwrap_or_else(|e| panic!("{e:?}"));
    let steps = streamed(model, made);
    for ((name, a), b) in model.outputs.iter().zip(&whole).zip(&steps) {
        assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{name}");
        assert_eq!(a.bytes(), b.bytes(), "{name}: {a:?} and {b:?}");
    }
    whole
}

/// `h` of an RNN over `x` of 20 steps, two samples, three numbers each.
fn layer() -> (Tensor, Vec<nc_onnx::proto::NodeProto>) {
    let nodes = vec![
        constant("w", &numbers(&[1, 4, 3], 2)),
        constant("r", &numbers(&[1, 4, 4], 3)),
        node("RNN", &["x", "w", "r"], &["h4", "last"], vec![int("hidden_size", 4)]),
        constant("one", &i64s(&[1], &[1])),
        node("Squeeze", &["h4", "one"], &["h"], vec![]),
    ];
    (numbers(&[20, 2, 3], 1), nodes)
}

/// As [`layer`], with more nodes.
fn with(more: Vec<nc_onnx::proto::NodeProto>, outputs: &[&'static str]) -> Model {
    let (x, mut nodes) = layer();
    nodes.extend(more);
    Model::of(vec![("x", x)], nodes, outputs)
}

#[test]
fn a_layer_alone() {
    let m = with(vec![], &["h", "last"]);
    agree(&m);
    let made = m.import_steps().expect("a step");
    assert_eq!(made.module.states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["h4.h"]);
    assert_eq!(made.module.graph.ty(made.module.inputs[0].value).to_string(), "f32[2, 3]");
    assert_eq!(made.inputs[0].shape(7), [7, 2, 3]);
    assert_eq!(made.outputs[1], None);
    let said: Vec<String> = made.module.choices.iter().map(|c| format!("{}: {}", c.subject, c.text)).collect();
    assert_eq!(
        said,
        [
            "x: a tick is one step along axis 0 of its array",
            "h: a tick is one step along axis 0 of its array",
            "last: what is known after the steps so far"
        ]
    );
}

#[test]
fn states_that_are_given_are_initial_values() {
    let nodes = vec![
        constant("w", &numbers(&[1, 8, 3], 2)),
        constant("r", &numbers(&[1, 8, 2], 3)),
        node("LSTM", &["x", "w", "r", "", "", "h0", "c0"], &["y", "h", "c"], vec![int("hidden_size", 2)]),
    ];
    let inputs = vec![("x", numbers(&[5, 2, 3], 1)), ("h0", numbers(&[1, 2, 2], 4)), ("c0", numbers(&[1, 2, 2], 5))];
    let m = Model { known: vec!["h0", "c0"], ..Model::of(inputs, nodes, &["y", "h", "c"]) };
    agree(&m);
    let made = m.import_steps().expect("a step");
    assert_eq!(made.module.states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["y.h", "y.c"]);
    // What is not known is asked for, by all its names.
    let open = Model { known: vec![], ..m };
    match open.import_steps() {
        Err(nc_onnx::Stop::Needs(n)) => {
            assert_eq!((n.inputs, n.node), (vec!["h0".to_owned()], "node of `y` (LSTM)".to_owned()))
        }
        other => panic!("{other:?}"),
    }
}

/// Sums and products over the steps are kept in 16 partial results, as the whole run adds them up; 20 steps fill each
/// once and some twice.
#[test]
fn reductions_along_the_steps_are_kept() {
    for op in ["ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSum"] {
        for keep in [0, 1] {
            let more = vec![
                constant("axes", &i64s(&[1], &[0])),
                node("Abs", &["h"], &["a"], vec![]),
                node(op, &["a", "axes"], &["z"], vec![int("keepdims", keep)]),
                node("Mul", &["z", "z"], &["y"], vec![]),
            ];
            agree(&with(more, &["y", "h"]));
        }
    }
    for (to, op) in [(10, "ReduceMean"), (16, "ReduceSum"), (11, "ReduceMean"), (7, "ReduceSum"), (3, "ReduceMax")] {
        let more = vec![
            constant("axes", &i64s(&[1], &[0])),
            constant("hundred", &f32s(&[], &[100.0])),
            node("Mul", &["h", "hundred"], &["big"], vec![]),
            node("Cast", &["big"], &["c"], vec![int("to", to)]),
            node(op, &["c", "axes"], &["y"], vec![]),
        ];
        agree(&with(more, &["y"]));
    }
}

#[test]
fn running_sums_go_on() {
    for (exclusive, op) in [(0, "CumSum"), (1, "CumSum"), (0, "CumProd")] {
        let more = vec![
            constant("axis", &Tensor::scalar_i64(0)),
            node(op, &["h", "axis"], &["y"], vec![int("exclusive", exclusive)]),
        ];
        let opset = if op == "CumProd" { 26 } else { 22 };
        agree(&Model { opset, ..with(more, &["y"]) });
    }
}

#[test]
fn the_last_step_is_what_is_known_so_far() {
    let slice = vec![
        constant("from", &i64s(&[1], &[-1])),
        constant("to", &i64s(&[1], &[i64::MAX])),
        constant("axis", &i64s(&[1], &[0])),
        node("Slice", &["h", "from", "to", "axis"], &["z"], vec![]),
        constant("head", &numbers(&[4, 3], 9)),
        node("MatMul", &["z", "head"], &["y"], vec![]),
    ];
    agree(&with(slice, &["y"]));
    for index in [Tensor::scalar_i64(-1), i64s(&[2], &[19, -1])] {
        let gather = vec![constant("k", &index), node("Gather", &["h", "k"], &["y"], vec![int("axis", 0)])];
        agree(&with(gather, &["y"]));
    }
}

/// Lengths of sequences that are all the whole length are no table.
#[test]
fn full_lengths_are_taken() {
    let (x, mut nodes) = layer();
    nodes[2] = node("RNN", &["x", "w", "r", "", "n"], &["h4", "last"], vec![int("hidden_size", 4)]);
    let n = Tensor::from_vec(vec![2], vec![20i32, 20]).expect("two lengths");
    agree(&Model { known: vec!["n"], ..Model::of(vec![("x", x), ("n", n)], nodes, &["h", "last"]) });
}

/// A scan along axis 1, whose body captures a value around it and holds a scan of its own.
#[test]
fn a_scan_with_a_body_of_its_own() {
    let inner = body(
        &["u", "row"],
        vec![node("Add", &["u", "row"], &["v"], vec![]), node("Identity", &["v"], &["shown"], vec![])],
        &["v", "shown"],
    );
    let step = body(
        &["s", "c", "xt"],
        vec![
            node("Mul", &["s", "k"], &["s1"], vec![]),
            node("Add", &["s1", "xt"], &["s2"], vec![]),
            node("Scan", &["z", "s2"], &["sum", "sums"], vec![int("num_scan_inputs", 1), graph("body", inner)]),
            node("Add", &["c", "sum"], &["c1"], vec![]),
            node("Mul", &["sums", "k"], &["out"], vec![]),
        ],
        &["s2", "c1", "out"],
    );
    let nodes = vec![
        constant("k", &f32s(&[], &[0.75])),
        constant("z", &f32s(&[], &[0.0])),
        node(
            "Scan",
            &["s0", "c0", "x"],
            &["s", "c", "y"],
            vec![
                int("num_scan_inputs", 1),
                ints("scan_input_axes", &[1]),
                ints("scan_output_axes", &[1]),
                graph("body", step),
            ],
        ),
    ];
    let inputs = vec![("s0", numbers(&[3], 1)), ("c0", f32s(&[], &[2.0])), ("x", numbers(&[3, 9], 2))];
    let m = Model { known: vec!["s0", "c0"], ..Model::of(inputs, nodes, &["s", "c", "y"]) };
    agree(&m);
    let made = m.import_steps().expect("a step");
    assert_eq!(made.module.states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["s.s", "s.c"]);
    assert_eq!(made.inputs[0].shape(4), [3, 4]);
}

/// Tokens are looked up step by step; steps may be merged with samples and taken apart again.
#[test]
fn embeddings_and_merged_axes() {
    let tokens = i64s(&[2, 6], &[3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0, 0]);
    let nodes = vec![
        constant("table", &numbers(&[7, 3], 1)),
        node("Gather", &["table", "x"], &["e"], vec![]),
        constant("flat", &i64s(&[2], &[12, 3])),
        node("Reshape", &["e", "flat"], &["f"], vec![]),
        constant("v", &numbers(&[3, 3], 4)),
        node("Gemm", &["f", "v"], &["g"], vec![]),
        constant("apart", &i64s(&[3], &[2, 6, 3])),
        node("Reshape", &["g", "apart"], &["p"], vec![]),
        constant("w", &numbers(&[1, 12, 3], 2)),
        constant("r", &numbers(&[1, 12, 4], 3)),
        node("GRU", &["p", "w", "r"], &["h4", "last"], vec![int("hidden_size", 4), int("layout", 1)]),
        constant("rows", &i64s(&[2], &[12, 4])),
        node("Reshape", &["h4", "rows"], &["y"], vec![]),
        node("Softmax", &["y"], &["q"], vec![int("axis", 1)]),
    ];
    let m = Model::of(vec![("x", tokens)], nodes, &["q", "last"]);
    agree(&m);
    // Samples times steps stand along one axis of the output.
    let made = m.import_steps().expect("a step");
    assert_eq!(made.outputs[0].as_ref().map(|a| (a.shape(9), a.blocks())), Some((vec![18, 4], (2, 4))));
}

/// A convolution that looks at one step only, and one over an image of each step.
#[test]
fn convolutions_within_a_step() {
    let nodes = vec![
        constant("k", &numbers(&[3, 2, 1], 1)),
        node("Conv", &["x", "k"], &["c"], vec![ints("kernel_shape", &[1])]),
        node("Transpose", &["c"], &["t"], vec![ints("perm", &[2, 0, 1])]),
        constant("w", &numbers(&[1, 4, 3], 2)),
        constant("r", &numbers(&[1, 4, 4], 3)),
        node("RNN", &["t", "w", "r"], &["h", "last"], vec![int("hidden_size", 4)]),
        constant("shape", &i64s(&[4], &[14, 1, 2, 2])),
        node("Reshape", &["h", "shape"], &["i"], vec![]),
        constant("k2", &numbers(&[2, 1, 2, 2], 5)),
        node("Conv", &["i", "k2"], &["y"], vec![ints("pads", &[1, 0, 0, 1])]),
        node("MaxPool", &["y"], &["p"], vec![ints("kernel_shape", &[2, 2])]),
    ];
    agree(&Model::of(vec![("x", numbers(&[2, 2, 7], 7))], nodes, &["y", "p"]));
}

/// Neurons in a Scan: what fires is a choice of the module, streamed or not.
#[test]
fn neurons_stay_neurons() {
    let step = body(
        &["v", "xt"],
        vec![
            node("Add", &["v", "xt"], &["m"], vec![]),
            node("Greater", &["m", "theta"], &["z"], vec![]),
            node("Cast", &["z"], &["s"], vec![int("to", 1)]),
            node("Sub", &["m", "s"], &["next"], vec![]),
        ],
        &["next", "s"],
    );
    let nodes = vec![
        constant("theta", &f32s(&[], &[1.0])),
        node("Scan", &["v0", "x"], &["v", "y"], vec![int("num_scan_inputs", 1), graph("body", step)]),
    ];
    let inputs = vec![("v0", f32s(&[3], &[0.5; 3])), ("x", numbers(&[9, 3], 1))];
    let m = Model { known: vec!["v0"], ..Model::of(inputs, nodes, &["v", "y"]) };
    agree(&m);
    let made = m.import_steps().expect("a step");
    let lifted = made.module.choices.iter().filter(|c| c.text.contains("spiking neuron")).count();
    assert_eq!(lifted, 1, "{:?}", made.module.choices);
    let made = m.import_steps().expect("a step");
    assert!(made.module.graph.nodes.iter().all(|n| n.regions.is_empty()));
}

/// Half precision inputs and bool tables; sums of the former are held in single precision.
#[test]
fn element_types_stay() {
    let nodes = vec![
        node("Cast", &["x"], &["x16"], vec![int("to", 10)]),
        node("Cast", &["w"], &["w16"], vec![int("to", 10)]),
        node("Cast", &["r"], &["r16"], vec![int("to", 10)]),
        node(
            "RNN",
            &["x16", "w16", "r16"],
            &["y", "h"],
            vec![
                int("hidden_size", 2),
                texts("activations", &["Softsign"]),
                float("clip", 0.5),
                text("direction", "forward"),
            ],
        ),
    ];
    let mut all = vec![constant("w", &numbers(&[1, 2, 2], 2)), constant("r", &numbers(&[1, 2, 2], 3))];
    all.extend(nodes);
    let whole = agree(&Model::of(vec![("x", numbers(&[4, 1, 2], 1))], all, &["y", "h"]));
    assert_eq!(whole[0].dtype(), DType::F16);
}
