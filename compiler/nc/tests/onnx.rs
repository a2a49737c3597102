//! `.onnx` models on the command line: arrays without an axis of ticks, values that shapes depend on, external data.

mod common;

use common::Place;
use nc_ir::{DType, Tensor};
use nc_onnx::proto::{
    Dimension, Extent, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
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
