//! Files that mean harm, or are broken: refused with a code, in little time and memory, and never a panic.

#[path = "ops/support.rs"]
#[allow(dead_code, reason = "shared with the tests of operators")]
mod support;

use nc_ir::Tensor;
use nc_onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorProto, attribute_type,
};
use nc_onnx::{NoLoader, Options, Stop, import, read};
use proptest::prelude::*;
use prost::Message;
use support::{Model, body, f32s, graph, i64s, int, ints, node, text};

/// A model of nodes without inputs; `r` is its output.
fn model(nodes: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(22) }],
        graph: Some(body(&[], nodes, &["r"])),
        ..ModelProto::default()
    }
}

fn with_tensor(t: TensorProto) -> ModelProto {
    let mut m = model(vec![node("Identity", &["t"], &["r"], vec![])]);
    if let Some(g) = &mut m.graph {
        g.initializer.push(TensorProto { name: Some("t".to_owned()), ..t });
    }
    m
}

/// Reads and imports the bytes of a model with at most 16 MiB: the code and sentence of the refusal.
fn refused(m: &ModelProto) -> (&'static str, String) {
    let options = Options { max_memory: 16 << 20, ..Options::default() };
    let stop = read(m.encode_to_vec(), 16 << 20).map_err(Stop::Wrong).and_then(|m| import(&m, &options, &mut NoLoader));
    match stop {
        Ok(_) => panic!("the model is taken"),
        Err(Stop::Wrong(d)) => (d.code, d.message),
        Err(Stop::Needs(n)) => ("needs", n.why),
    }
}

#[track_caller]
fn expect(m: &ModelProto, code: &str, words: &str) {
    let (found, message) = refused(m);
    assert!(found == code && message.contains(words), "{found}: {message}");
}

fn small() -> Vec<u8> {
    with_tensor(TensorProto { dims: vec![2], data_type: Some(1), float_data: vec![1.0, 2.0], ..TensorProto::default() })
        .encode_to_vec()
}

#[test]
fn a_model_cut_short_anywhere() {
    let whole = small();
    assert!(read(whole.clone(), 1 << 20).is_ok());
    for n in 0..whole.len() {
        // A cut between two fields leaves a smaller model, which must do no harm either.
        if let Ok(m) = read(whole[..n].to_vec(), 1 << 20) {
            let _ = import(&m, &Options::default(), &mut NoLoader);
        }
    }
    assert_eq!(read(Vec::new(), 1 << 20).expect_err("empty").code, "E1001");
    assert_eq!(read(b"module \"x\" {}".to_vec(), 1 << 20).expect_err("text").code, "E1001");
}

/// A field of so many bytes.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut n = content.len();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend(content);
    out
}

#[test]
fn many_messages_of_two_bytes_are_counted_before_they_are_made() {
    // 16 MiB of empty nodes would take more than a gigabyte; so do empty names of operands, and values that nest.
    let graphs = [
        [0x0a, 0].repeat(8 << 20),
        field(1, &[0x0a, 0].repeat(8 << 20)),
        field(1, &field(5, &field(6, &[0x0a, 0].repeat(8 << 20)))),
        field(12, &field(2, &field(1, &field(2, &[0x0a, 0].repeat(16 << 20))))),
    ];
    for graph in graphs {
        let d = read([vec![8, 10], field(7, &graph)].concat(), 8 << 30).expect_err("too many messages");
        assert!(d.code == "E1009" && d.message.contains("MiB"), "{}: {}", d.code, d.message);
    }
}

#[test]
fn packed_numbers_are_counted_before_they_are_made() {
    let tensor = field(7, &vec![1; 1 << 20]);
    let bytes = [vec![8, 10], field(7, &field(5, &tensor))].concat();
    let d = read(bytes.clone(), 8 << 20).expect_err("numbers beyond the limit");
    assert!(d.code == "E1009" && d.message.contains("numbers"), "{}: {}", d.code, d.message);
    assert!(read(bytes, 32 << 20).is_ok());
}

proptest! {
    #[test]
    fn bytes_of_any_kind(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(m) = read(bytes, 1 << 20) {
            let _ = import(&m, &Options { max_memory: 1 << 20, ..Options::default() }, &mut NoLoader);
        }
    }

    #[test]
    fn a_model_with_bytes_changed(at in any::<prop::sample::Index>(), to in any::<u8>(), and in any::<u8>()) {
        let mut bytes = small();
        let k = at.index(bytes.len());
        bytes[k] = to;
        let next = (k + 1) % bytes.len();
        bytes[next] = and;
        if let Ok(m) = read(bytes, 1 << 20) {
            let _ = import(&m, &Options { max_memory: 1 << 20, ..Options::default() }, &mut NoLoader);
        }
    }
}

#[test]
fn versions_that_do_not_exist() {
    let of = |ir, opset| ModelProto {
        ir_version: ir,
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(opset) }],
        ..model(vec![])
    };
    expect(&of(None, 22), "E1001", "no IR version");
    expect(&of(Some(99), 22), "E1002", "IR version 99 is not supported");
    expect(&of(Some(10), 99), "E1002", "operator set 99");
    expect(&of(Some(10), 0), "E1002", "operator set 0");
    expect(&ModelProto { graph: None, ..model(vec![]) }, "E1001", "no graph");
}

#[test]
fn tensors_whose_data_do_not_add_up() {
    let raw = |dims: &[i64], data_type, n: usize| {
        with_tensor(TensorProto {
            dims: dims.to_vec(),
            data_type: Some(data_type),
            raw_data: Some(vec![7u8; n].into()),
            ..TensorProto::default()
        })
    };
    expect(&raw(&[3], 1, 8), "E1006", "8 bytes of data do not fit f32[3]");
    expect(&raw(&[-1], 1, 4), "E1006", "the extent -1 cannot be");
    expect(&raw(&[i64::MIN], 1, 4), "E1006", "cannot be");
    expect(&raw(&[1 << 40, 1 << 40], 1, 4), "E1006", "cannot be held");
    expect(&raw(&[0, 1 << 40, 1 << 40], 1, 0), "E1006", "cannot be held");
    expect(&raw(&[1 << 30], 1, 4), "E1009", "take 4294967296 bytes");
    expect(&raw(&[1; 17], 1, 4), "E1006", "17 dimensions");
    expect(&raw(&[2], 9, 2), "E1006", "neither 0 nor 1");
    expect(&raw(&[2], 8, 2), "E1006", "element type string is not supported");
    expect(&raw(&[2], 17, 2), "E1006", "float8e4m3fn is not supported");
    expect(&raw(&[2], 77, 2), "E1006", "77 is not supported");
    let listed = |data_type, list: Vec<i32>| {
        let dims = vec![2];
        with_tensor(TensorProto { dims, data_type: Some(data_type), int32_data: list, ..TensorProto::default() })
    };
    expect(&listed(3, vec![1, 200]), "E1006", "200 is no i8");
    expect(&listed(9, vec![1, 2]), "E1006", "2 is no bool");
    expect(&listed(6, vec![1]), "E1006", "1 elements do not fit i32[2]");
}

#[test]
fn external_data_without_a_loader_and_with_a_false_length() {
    let entry = |k: &str, v: &str| StringStringEntryProto { key: Some(k.to_owned()), value: Some(v.to_owned()) };
    let of = |entries: Vec<StringStringEntryProto>| {
        with_tensor(TensorProto {
            dims: vec![4],
            data_type: Some(1),
            data_location: Some(1),
            external_data: entries,
            ..TensorProto::default()
        })
    };
    expect(&of(vec![]), "E1006", "no location");
    expect(&of(vec![entry("location", "w.bin"), entry("length", "15")]), "E1006", "have 15 bytes");
    expect(&of(vec![entry("location", "w.bin"), entry("offset", "-1")]), "E1006", "offset");
    expect(&of(vec![entry("location", "w.bin")]), "E1007", "cannot be read here");
}

#[test]
fn graphs_that_nest_without_end() {
    let mut inner = body(&[], vec![node("Constant", &[], &["r"], vec![int("value_int", 1)])], &["r"]);
    for _ in 0..40 {
        let condition = TensorProto { data_type: Some(9), int32_data: vec![1], ..TensorProto::default() };
        let value = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(attribute_type::TENSOR),
            t: Some(Box::new(condition)),
            ..AttributeProto::default()
        };
        let nodes = vec![
            node("Constant", &[], &["c"], vec![value]),
            node(
                "If",
                &["c"],
                &["r"],
                vec![graph("then_branch", inner.clone()), graph("else_branch", GraphProto::default())],
            ),
        ];
        inner = body(&[], nodes, &["r"]);
    }
    let m = ModelProto { graph: Some(inner), ..model(vec![]) };
    // Deep nesting is stopped by the decoder, whose limit is on messages in messages, or by the importer.
    let (code, message) = refused(&m);
    assert!(["E1001", "E1009"].contains(&code), "{code}: {message}");
}

fn function(name: &str, calls: &[&str]) -> FunctionProto {
    let calls = calls.iter().map(|f| NodeProto { domain: Some("f".to_owned()), ..node(f, &["x"], &[""], vec![]) });
    let mut nodes: Vec<NodeProto> = calls.collect();
    nodes.push(node("Identity", &["x"], &["y"], vec![]));
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("f".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        node: nodes,
        opset_import: vec![
            OperatorSetIdProto { domain: None, version: Some(22) },
            OperatorSetIdProto { domain: Some("f".to_owned()), version: Some(1) },
        ],
        ..FunctionProto::default()
    }
}

fn calling(functions: Vec<FunctionProto>) -> ModelProto {
    let first = functions[0].name.clone().expect("a name");
    let call = NodeProto { domain: Some("f".to_owned()), ..node(&first, &["t"], &["r"], vec![]) };
    let mut m = with_tensor(TensorProto { data_type: Some(1), float_data: vec![1.0], ..TensorProto::default() });
    m.functions = functions;
    if let Some(g) = &mut m.graph {
        g.node = vec![call];
    }
    m
}

#[test]
fn functions_that_call_themselves_or_each_other() {
    expect(&calling(vec![function("a", &["a"])]), "E1005", "the function a cannot call itself");
    expect(&calling(vec![function("a", &["b"]), function("b", &["a"])]), "E1005", "cannot call itself");
    expect(&calling(vec![function("a", &[]), function("a", &[])]), "E1005", "given twice");
}

#[test]
fn functions_that_grow_without_end() {
    // Each calls the next twice: 2^40 nodes.
    let names: Vec<String> = (0..41).map(|k| format!("g{k}")).collect();
    let functions = (0..41)
        .map(|k| match names.get(k + 1) {
            Some(next) => function(&names[k], &[next, next]),
            None => function(&names[k], &[]),
        })
        .collect();
    expect(&calling(functions), "E1009", "more than 262144 nodes");
    let long: Vec<String> = (0..80).map(|k| format!("g{k}")).collect();
    let functions = (0..80).map(|k| match long.get(k + 1) {
        Some(next) => function(&long[k], &[next]),
        None => function(&long[k], &[]),
    });
    expect(&calling(functions.collect()), "E1009", "more than 64 deep");
}

#[test]
fn names_that_do_not_add_up() {
    let one = |out: &str| node("Constant", &[], &[out], vec![int("value_int", 1)]);
    expect(&model(vec![one("r"), one("r")]), "E1005", "`r` is given twice");
    expect(&model(vec![one("x")]), "E1005", "`r` is never given");
    let cycle = vec![node("Identity", &["b"], &["a"], vec![]), node("Identity", &["a"], &["b"], vec![])];
    expect(&model(cycle), "E1005", "node of `a` (Identity): its operand `b` is not given a value before");
    let unsorted = vec![node("Identity", &["a"], &["r"], vec![]), one("a")];
    expect(&model(unsorted), "E1005", "`a` is not given a value before");
    let mut m = model(vec![one("r")]);
    m.graph.as_mut().expect("a graph").output.clear();
    expect(&m, "E1005", "no outputs");
}

#[test]
fn operators_and_attributes_that_are_not_known() {
    let one = node("Constant", &[], &["x"], vec![int("value_int", 1)]);
    let of = |n: NodeProto| model(vec![one.clone(), n]);
    expect(
        &of(node("Idnetity", &["x"], &["r"], vec![])),
        "E1003",
        "the operator Idnetity of ai.onnx 22 is not supported",
    );
    let foreign = NodeProto { domain: Some("com.example".to_owned()), ..node("Relu", &["x"], &["r"], vec![]) };
    expect(&of(foreign), "E1003", "`com.example` is not supported");
    expect(
        &of(node("Identity", &["x"], &["r"], vec![int("zeal", 1)])),
        "E1003",
        "the attribute `zeal` is not supported",
    );
    expect(&of(node("Transpose", &["x"], &["r"], vec![int("perm", 1)])), "E1004", "`perm` is a whole number");
    expect(&of(node("Identity", &["x"], &["r", "s"], vec![])), "E1003", "its result 1, `s`, is not supported");
    expect(&of(node("Identity", &[""], &["r"], vec![])), "E1004", "operand 0 is missing");
    expect(&of(node("Exp", &["x"], &["r"], vec![])), "E1003", "the element type i64 is not supported");
}

#[test]
fn sparse_tensors() {
    let mut m = model(vec![]);
    let values = TensorProto { name: Some("s".to_owned()), ..TensorProto::default() };
    m.graph.as_mut().expect("a graph").sparse_initializer.push(SparseTensorProto { values: Some(values) });
    expect(&m, "E1003", "initializer `s`: sparse tensors are not supported");
}

/// One node on known operands, with at most 16 MiB.
fn on_known(op: &str, operands: &[Tensor], attributes: Vec<AttributeProto>) -> (&'static str, String) {
    let names: Vec<String> = (0..operands.len()).map(|k| format!("i{k}")).collect();
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut m = model(vec![node(op, &inputs, &["r"], attributes)]);
    let g = m.graph.as_mut().expect("a graph");
    for (name, t) in names.iter().zip(operands) {
        g.initializer.push(TensorProto {
            name: Some(name.clone()),
            dims: t.shape().iter().map(|n| *n as i64).collect(),
            data_type: Some(if t.dtype() == nc_ir::DType::F32 { 1 } else { 7 }),
            raw_data: Some(t.bytes().to_vec().into()),
            ..TensorProto::default()
        });
    }
    refused(&m)
}

#[test]
fn results_larger_than_memory() {
    let x = f32s(&[2], &[1.0, 2.0]);
    let huge = i64s(&[2], &[1 << 40, 1 << 40]);
    let many = i64s(&[1], &[1 << 40]);
    let code = |op: &str, operands: &[Tensor]| on_known(op, operands, vec![]).0;
    for (op, operands) in [
        ("ConstantOfShape", vec![huge.clone()]),
        ("ConstantOfShape", vec![many.clone()]),
        ("Expand", vec![x.clone(), i64s(&[2], &[1 << 40, 2])]),
        ("Tile", vec![x.clone(), many.clone()]),
        ("Tile", vec![x.clone(), i64s(&[1], &[i64::MAX])]),
        ("Range", vec![Tensor::scalar_i64(0), Tensor::scalar_i64(i64::MAX), Tensor::scalar_i64(1)]),
        ("Range", vec![Tensor::scalar_i64(i64::MIN), Tensor::scalar_i64(i64::MAX), Tensor::scalar_i64(1)]),
        ("Pad", vec![x.clone(), i64s(&[2], &[1 << 50, 1 << 50])]),
        ("OneHot", vec![i64s(&[1], &[0]), Tensor::scalar_i64(1 << 49), x.clone()]),
    ] {
        let found = code(op, &operands);
        assert!(["E1004", "E1009"].contains(&found), "{op}: {found}");
    }
    let (found, _) = on_known("Pad", &[x, i64s(&[2], &[1 << 50, 0])], vec![text("mode", "edge")]);
    assert_eq!(found, "E1004");
}

#[test]
fn numbers_at_the_edge_of_their_range() {
    let x = f32s(&[2], &[1.0, 2.0]);
    let at = |k: i64| i64s(&[1], &[k]);
    let code = |op: &str, operands: &[Tensor], a: Vec<AttributeProto>| on_known(op, operands, a).0;
    assert_eq!(code("Reshape", &[x.clone(), i64s(&[2], &[-1, -1])], vec![]), "E1004");
    assert_eq!(code("Reshape", &[x.clone(), at(i64::MIN)], vec![]), "E1004");
    assert_eq!(code("Reshape", &[x.clone(), i64s(&[3], &[0, 0, -1])], vec![]), "E1004");
    assert_eq!(code("Gather", &[x.clone(), at(2)], vec![]), "E1004");
    assert_eq!(code("Gather", &[x.clone(), at(i64::MIN)], vec![]), "E1004");
    assert_eq!(code("Transpose", std::slice::from_ref(&x), vec![ints("perm", &[i64::MIN])]), "E1004");
    assert_eq!(code("Transpose", std::slice::from_ref(&x), vec![ints("perm", &[0, 0])]), "E1004");
    assert_eq!(code("Slice", &[x.clone(), at(0), at(1), at(0), at(0)], vec![]), "E1004");
    assert_eq!(code("Slice", &[x.clone(), at(0), at(1), at(i64::MAX), at(1)], vec![]), "E1004");
    assert_eq!(code("Unsqueeze", &[x.clone(), at(i64::MAX)], vec![]), "E1004");
    assert_eq!(code("Split", &[x.clone(), i64s(&[2], &[i64::MAX, 3])], vec![]), "E1004");
    assert_eq!(code("Concat", &[], vec![int("axis", 0)]), "E1004");
    assert_eq!(code("TopK", &[x.clone(), at(3)], vec![]), "E1004");
    assert_eq!(code("Pad", &[x, i64s(&[2], &[-9, i64::MIN])], vec![]), "E1004");
    assert_eq!(code("Range", &[f32s(&[], &[0.0]), f32s(&[], &[1.0]), f32s(&[], &[0.0])], vec![]), "E1004");
}

#[test]
fn steps_of_any_size_go_through_an_axis() {
    let x = f32s(&[3], &[1.0, 2.0, 3.0]);
    let m = |step: i64| {
        let at = |k: i64| i64s(&[1], &[k]);
        let inputs = vec![("x", x.clone()), ("s", at(-1)), ("e", at(i64::MIN)), ("a", at(0)), ("t", at(step))];
        let n = node("Slice", &["x", "s", "e", "a", "t"], &["r"], vec![]);
        Model { known: vec!["s", "e", "a", "t"], ..Model::of(inputs, vec![n], &["r"]) }
    };
    assert_eq!(m(-1).run()[0], f32s(&[3], &[3.0, 2.0, 1.0]));
    assert_eq!(m(i64::MIN).run()[0], f32s(&[1], &[3.0]));
    assert_eq!(m(i64::MAX).run()[0], f32s(&[0], &[]));
}
