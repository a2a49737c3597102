//! `.onnx` models on the command line: arrays without an axis of ticks, values that shapes depend on, external data.

mod common;

use common::Place;
use nc_ir::{DType, Tensor};
use nc_onnx::proto::{
    AttributeProto, Dimension, Extent, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, type_proto,
};
use prost::Message;
use std::fs;

fn info(name: &str, elem_type: i32, dims: &[Extent]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| Dimension { value: Some(d.clone()) }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)) }),
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(op.to_owned()),
        ..NodeProto::default()
    }
}

/// `y` of the nodes; inputs are given with their types.
fn model(input: Vec<ValueInfoProto>, nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    let output = vec![ValueInfoProto { name: Some("y".to_owned()), r#type: None }];
    let graph = GraphProto { node: nodes, input, output, initializer, ..GraphProto::default() };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(22) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

fn named(n: &str) -> Extent {
    Extent::Param(n.to_owned())
}

fn place(bytes: &[u8]) -> Place {
    let p = Place::new();
    fs::write(p.dir.path().join("m.onnx"), bytes).expect("a model is written");
    p
}

fn f32s(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), data.to_vec()).expect("as many as the shape says")
}

/// `y = x + x`, with an extent that a run decides.
fn double() -> Place {
    place(&model(vec![info("x", 1, &[named("n"), Extent::Value(2)])], vec![node("Add", &["x", "x"], "y")], vec![]))
}

const RUN: [&str; 6] = ["run", "m.onnx", "--input", "in.npz", "--output", "out.npz"];

#[test]
fn arrays_are_as_the_inputs_and_outputs() {
    let p = double();
    p.npz("in.npz", &[("x", f32s(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))]);
    for target in ["cpu", "interp", "kernels"] {
        p.nc(&[&RUN[..], &["--target", target]].concat()).ok();
        assert_eq!(p.array("out.npz", "y"), f32s(&[3, 2], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]), "{target}");
    }
    p.nc(&["check", "m.onnx"]).fails("E1008");
    let out = p.nc(&["check", "m.onnx", "--dim", "n=7"]).ok().out;
    assert!(out.contains("x: f32[7, 2]") && out.contains("y: f32[7, 2]"), "{out}");
    p.nc(&[&RUN[..], &["--steps", "2"]].concat()).fails("E0817");
    p.nc(&[&RUN[..], &["--dim", "n=4"]].concat()).fails("E1008");
}

#[test]
fn arrays_that_do_not_fit_leave_no_file() {
    let p = double();
    let x = |shape: &[usize]| f32s(shape, &vec![1.0; shape.iter().product()]);
    p.npz("in.npz", &[("z", x(&[3, 2]))]);
    p.nc(&RUN).fails("E0810");
    p.npz("in.npz", &[("x", x(&[3, 2])), ("xx", x(&[1]))]);
    p.nc(&RUN).fails("E0811");
    p.npz("in.npz", &[("x", x(&[3, 4]))]);
    p.nc(&RUN).fails("E0813");
    p.npz("in.npz", &[("x", x(&[3]))]);
    p.nc(&RUN).fails("E1008");
    p.npz("in.npz", &[("x", Tensor::zeros(DType::I64, vec![3, 2]))]);
    p.nc(&RUN).fails("E0812");
    assert!(!p.dir.path().join("out.npz").exists());
}

#[test]
fn a_value_that_a_shape_depends_on_is_taken_and_said() {
    let input = vec![info("x", 1, &[Extent::Value(4)]), info("shape", 7, &[Extent::Value(2)])];
    let p = place(&model(input, vec![node("Reshape", &["x", "shape"], "y")], vec![]));
    let shape = Tensor::from_vec(vec![2], vec![2i64, 2]).expect("two");
    p.npz("in.npz", &[("x", f32s(&[4], &[1.0, 2.0, 3.0, 4.0])), ("shape", shape.clone())]);
    let err = p.nc(&RUN).ok().err;
    assert!(err.contains("E0822") && err.contains("`shape` is taken as a constant: the shape of node of `y`"), "{err}");
    assert_eq!(p.array("out.npz", "y").shape(), [2, 2]);
    for command in [&["check", "m.onnx"][..], &["compile", "m.onnx", "-o", "o"]] {
        let ran = p.nc(command).fails("E1010");
        assert!(ran.err.contains("--bind"), "{}", ran.err);
    }
    p.npz("bind.npz", &[("shape", shape)]);
    let out = p.nc(&["check", "m.onnx", "--bind", "bind.npz"]).ok().out;
    assert!(out.contains("y: f32[2, 2]"), "{out}");
    p.nc(&["compile", "m.onnx", "-o", "o", "--bind", "bind.npz"]).ok();
    assert!(p.dir.path().join("o/m.o").is_file());
}

#[test]
fn bfloat16_stands_in_arrays_as_its_bits() {
    let p = place(&model(vec![info("x", 16, &[Extent::Value(2)])], vec![node("Add", &["x", "x"], "y")], vec![]));
    // 1 and -2; doubled 2 and -4.
    p.npz("in.npz", &[("x", Tensor::from_vec(vec![2], vec![0x3f80u16, 0xc000]).expect("two"))]);
    p.nc(&RUN).ok();
    assert_eq!(p.array("out.npz", "y"), Tensor::from_vec(vec![2], vec![0x4000u16, 0xc080]).expect("two"));
}

/// `y` is a tensor of 2 floats in another file.
fn external(location: &str, offset: &str) -> Vec<u8> {
    let entry = |k: &str, v: &str| StringStringEntryProto { key: Some(k.to_owned()), value: Some(v.to_owned()) };
    let w = TensorProto {
        name: Some("w".to_owned()),
        dims: vec![2],
        data_type: Some(1),
        data_location: Some(1),
        external_data: vec![entry("location", location), entry("offset", offset)],
        ..TensorProto::default()
    };
    model(vec![], vec![node("Identity", &["w"], "y")], vec![w])
}

#[test]
fn external_data_stay_in_the_folder_of_the_model() {
    let p = Place::new();
    let inner = p.dir.path().join("inner");
    fs::create_dir_all(inner.join("deep")).expect("a folder");
    let data: Vec<u8> = [9.0f32, 1.5, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(inner.join("deep/w.bin"), &data).expect("data are written");
    fs::write(p.dir.path().join("outside.bin"), &data).expect("data are written");
    let run = |location: &str, offset: &str| {
        fs::write(inner.join("m.onnx"), external(location, offset)).expect("a model is written");
        p.nc(&["run", "inner/m.onnx", "--output", "out.npz"])
    };
    run("deep/w.bin", "4").ok();
    assert_eq!(p.array("out.npz", "y"), f32s(&[2], &[1.5, -2.5]));
    let absolute = p.dir.path().join("outside.bin").display().to_string();
    for location in ["../outside.bin", "deep/../../outside.bin", &absolute, "", "deep"] {
        run(location, "0").fails("E1007");
    }
    for offset in ["8", "18446744073709551615"] {
        let ran = run("deep/w.bin", offset).fails("E1007");
        assert!(ran.err.contains("cannot be read"), "{}", ran.err);
    }
    run("none.bin", "0").fails("E0800");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../outside.bin", inner.join("link.bin")).expect("a link");
        run("link.bin", "0").fails("E1007");
        std::os::unix::fs::symlink("deep/w.bin", inner.join("near.bin")).expect("a link");
        run("near.bin", "4").ok();
    }
}

#[test]
fn what_is_not_known_is_refused_before_anything_runs() {
    let p = place(&model(vec![info("x", 1, &[Extent::Value(2)])], vec![node("Rellu", &["x"], "y")], vec![]));
    p.npz("in.npz", &[("x", f32s(&[2], &[1.0, 2.0]))]);
    let ran = p.nc(&RUN).fails("E1003");
    assert!(
        ran.err.contains("Rellu of ai.onnx 22 is not supported") && ran.err.contains("is Relu meant?"),
        "{}",
        ran.err
    );
    fs::write(p.dir.path().join("m.onnx"), b"\x08\x0a\x3a\xff").expect("written");
    p.nc(&RUN).fails("E1001");
}

/// A GRU with its batch axis first over `x`, the mean of its outputs, and a first state that is an input.
fn sequence() -> Place {
    let numbers = |n: usize, seed: usize| (0..n).map(|k| ((k * 7 + seed * 5) % 13) as f32 / 13.0 - 0.5).collect();
    let tensor = |name: &str, dims: &[i64], seed: usize| TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(1),
        float_data: numbers(dims.iter().product::<i64>() as usize, seed),
        ..TensorProto::default()
    };
    let axes = |name: &str, axis: i64| TensorProto {
        name: Some(name.to_owned()),
        dims: vec![1],
        data_type: Some(7),
        int64_data: vec![axis],
        ..TensorProto::default()
    };
    let int = |name: &str, i: i64| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_type::INT),
        i: Some(i),
        ..AttributeProto::default()
    };
    let gru = NodeProto {
        name: Some("cell".to_owned()),
        output: vec!["h4".to_owned(), "hn".to_owned()],
        attribute: vec![int("hidden_size", 3), int("layout", 1)],
        ..node("GRU", &["x", "w", "r", "", "", "h0"], "")
    };
    let mean = NodeProto { attribute: vec![int("keepdims", 0)], ..node("ReduceMean", &["h", "one"], "mean") };
    let nodes = vec![gru, node("Squeeze", &["h4", "two"], "h"), mean, node("Tanh", &["h"], "y")];
    let input = vec![
        info("x", 1, &[Extent::Value(2), named("t"), Extent::Value(4)]),
        info("h0", 1, &[Extent::Value(2), Extent::Value(1), Extent::Value(3)]),
    ];
    let output = ["y", "mean", "hn"].map(|n| ValueInfoProto { name: Some(n.to_owned()), r#type: None }).to_vec();
    let initializer = vec![tensor("w", &[1, 9, 4], 1), tensor("r", &[1, 9, 3], 2), axes("one", 1), axes("two", 2)];
    let graph = GraphProto { node: nodes, input, output, initializer, ..GraphProto::default() };
    let p = place(
        &ModelProto {
            ir_version: Some(10),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(22) }],
            graph: Some(graph),
            ..ModelProto::default()
        }
        .encode_to_vec(),
    );
    p.npz("in.npz", &[("x", x_of(0, 9)), ("h0", f32s(&[2, 1, 3], &[0.5, -0.25, 0.0, 1.0, 0.125, -1.0]))]);
    p
}

/// Steps of the two sequences of [`sequence`].
fn x_of(first: usize, last: usize) -> Tensor {
    let row = |b: usize, t: usize| (0..4).map(move |k| ((b * 31 + t * 4 + k) * 3 % 17) as f32 / 17.0 - 0.5);
    let data: Vec<f32> = (0..2).flat_map(|b| (first..last).flat_map(move |t| row(b, t))).collect();
    f32s(&[2, last - first, 4], &data)
}

#[test]
fn a_sequence_runs_step_by_step_as_a_whole() {
    let p = sequence();
    p.nc(&RUN).ok();
    let whole: Vec<Tensor> = ["y", "mean", "hn"].map(|n| p.array("out.npz", n)).to_vec();
    assert_eq!(whole[0].shape(), [2, 9, 3]);
    for target in ["cpu", "interp", "kernels"] {
        for level in ["-O0", "-O1", "-O2"] {
            let ran = p.nc(&[&RUN[..], &["--stream", "--target", target, level]].concat()).ok();
            assert!(
                ran.err.contains("`h0` is taken as a constant: a first state or setting of node `cell` (GRU)"),
                "{}",
                ran.err
            );
            let found: Vec<Tensor> = ["y", "mean", "hn"].map(|n| p.array("out.npz", n)).to_vec();
            assert_eq!(found, whole, "{target} {level}");
        }
    }
    // In two parts, with the state in a file between them.
    p.npz("first.npz", &[("x", x_of(0, 4)), ("h0", f32s(&[2, 1, 3], &[0.5, -0.25, 0.0, 1.0, 0.125, -1.0]))]);
    p.npz("second.npz", &[("x", x_of(4, 9)), ("h0", f32s(&[2, 1, 3], &[0.5, -0.25, 0.0, 1.0, 0.125, -1.0]))]);
    let part = |input: &str, more: &[&str]| {
        p.nc(&[&["run", "m.onnx", "--stream", "--input", input, "--output", "part.npz"], more].concat()).ok();
        ["y", "mean", "hn"].map(|n| p.array("part.npz", n))
    };
    let [y, ..] = part("first.npz", &["--checkpoint", "state"]);
    assert_eq!(y.shape(), [2, 4, 3]);
    let [y, mean, hn] = part("second.npz", &["--resume", "state"]);
    assert_eq!((&mean, &hn), (&whole[1], &whole[2]));
    let rows = |t: &Tensor, b: usize, first: usize| t.bytes()[(b * t.shape()[1] + first) * 12..][..5 * 12].to_vec();
    for b in 0..2 {
        assert_eq!(rows(&y, b, 0), rows(&whole[0], b, 4));
    }
    // Fewer steps, and values inside.
    p.nc(&[&RUN[..], &["--stream", "--steps", "3", "--probe", "h"]].concat()).ok();
    assert_eq!(p.array("out.npz", "y").shape(), [2, 3, 3]);
    assert_eq!(p.array("out.npz", "h").shape(), [3, 2, 1, 3]);
}

#[test]
fn a_step_is_checked_compiled_and_converted() {
    let p = sequence();
    let stream = ["--stream", "--dim", "t=5"];
    let ran = p.nc(&[&["check", "m.onnx"], &stream[..]].concat()).fails("E1010");
    assert!(
        ran.err.contains("node `cell` (GRU)") && ran.err.contains("`h0`") && ran.err.contains("--bind"),
        "{}",
        ran.err
    );
    p.npz("bind.npz", &[("h0", f32s(&[2, 1, 3], &[0.0; 6]))]);
    let bound = [&stream[..], &["--bind", "bind.npz"]].concat();
    let out = p.nc(&[&["check", "m.onnx"], &bound[..]].concat()).ok().out;
    for line in [
        "x     a tick is one step along axis 1 of its array",
        "hn    what is known after the steps so far",
        "input   x: f32[2, 4]",
        "output  y: f32[2, 3]",
        "cell.h  f32[2, 3]",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }
    p.nc(&[&["compile", "m.onnx", "-o", "o"], &bound[..]].concat()).ok();
    let header = fs::read_to_string(p.path("o/m.h")).expect("a header");
    assert!(header.contains("M_X_LEN 8") && header.contains("M_STATE_CELL_H"), "{header}");
    // The step as a graph is a model of its own: frames along a leading axis.
    p.nc(&[&["convert", "m.onnx", "step.graph"], &bound[..]].concat()).ok();
    let x = x_of(0, 9);
    let frame = |t: usize| (0..2).flat_map(move |b| (0..4).map(move |k| (b * 9 + t) * 4 + k));
    let frames: Vec<f32> = (0..9).flat_map(frame).map(|k| x.get_f64(k) as f32).collect();
    p.npz("frames.npz", &[("x", f32s(&[9, 2, 4], &frames))]);
    p.nc(&["run", "step.graph", "--input", "frames.npz", "--output", "frames_out.npz"]).ok();
    p.npz("in.npz", &[("x", x), ("h0", f32s(&[2, 1, 3], &[0.0; 6]))]);
    p.nc(&RUN).ok();
    let (y, frames) = (p.array("out.npz", "y"), p.array("frames_out.npz", "y"));
    for (b, t) in (0..2).flat_map(|b| (0..9).map(move |t| (b, t))) {
        assert_eq!(y.bytes()[(b * 9 + t) * 12..][..12], frames.bytes()[(t * 2 + b) * 12..][..12], "{b} {t}");
    }
    let last = &p.array("frames_out.npz", "mean");
    assert_eq!(p.array("out.npz", "mean").bytes(), &last.bytes()[8 * 24..]);
}

#[test]
fn what_does_not_fit_a_sequence_is_refused() {
    let p = sequence();
    let run = [&RUN[..], &["--stream"]].concat();
    let h0 = || f32s(&[2, 1, 3], &[0.0; 6]);
    p.npz("in.npz", &[("x", x_of(0, 9))]);
    p.nc(&run).fails("E0810");
    p.npz("in.npz", &[("x", x_of(0, 9)), ("h0", h0()), ("z", h0())]);
    p.nc(&run).fails("E0811");
    p.npz("in.npz", &[("x", x_of(0, 1)), ("h0", h0())]);
    p.nc(&run).fails("E1011");
    p.npz("in.npz", &[("x", x_of(0, 9)), ("h0", h0())]);
    p.nc(&[&run[..], &["--steps", "10"]].concat()).fails("E0817");
    let ran = p.nc(&[&run[..], &["--duration", "1s"]].concat()).fails("E0817");
    assert!(ran.err.contains("needs a clock"), "{}", ran.err);
    fs::write(p.path("m.nd"), common::LIF).expect("written");
    let ran = p.nc(&["check", "m.nd", "--dim", "n=2", "--stream"]).fails("E0806");
    assert!(ran.err.contains("--stream is for .onnx models"), "{}", ran.err);
    // A model whose sequence has a fixed length takes longer ones, and refuses other shapes.
    let fixed = vec![info("x", 1, &[Extent::Value(3), Extent::Value(1), Extent::Value(1)])];
    let one = |name: &str| TensorProto {
        name: Some(name.to_owned()),
        dims: vec![1, 1, 1],
        data_type: Some(1),
        float_data: vec![0.5],
        ..TensorProto::default()
    };
    let p = place(&model(fixed, vec![node("RNN", &["x", "w", "r"], "y")], vec![one("w"), one("r")]));
    p.npz("in.npz", &[("x", f32s(&[5, 1, 1], &[1.0, 2.0, 3.0, 4.0, 5.0]))]);
    p.nc(&run).ok();
    assert_eq!(p.array("out.npz", "y").shape(), [5, 1, 1, 1]);
    p.npz("in.npz", &[("x", f32s(&[5, 1, 2], &[1.0; 10]))]);
    let ran = p.nc(&run).fails("E0813");
    assert!(ran.err.contains("f32[T, 1, 1]"), "{}", ran.err);
    let plain = vec![info("x", 1, &[Extent::Value(2)])];
    let p = place(&model(plain, vec![node("Relu", &["x"], "y")], vec![]));
    p.npz("in.npz", &[("x", f32s(&[2], &[1.0, 2.0]))]);
    p.nc(&run).fails("E1011");
}

#[test]
fn what_has_no_ticks_is_not_retimed() {
    let p = double();
    let map = ["compile", "m.onnx", "--dim", "n=7", "--target", "spinnaker2", "--emit", "map", "--output", "o"];
    p.nc(&[&map[..], &["--pipeline=false"]].concat()).ok();
    let e = p.nc(&[&map[..], &["--pipeline"]].concat()).fails("E0865").err;
    assert!(e.contains("a run of the model is one inference"), "{e}");
}
