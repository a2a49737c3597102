//! The importer: what is known, what must be known, scopes of names, functions and branches; and the families of ops that
//! every model has. Expected values come from reasoning, stated beside them.

#[path = "ops/support.rs"]
#[allow(dead_code, reason = "shared with the tests of operators")]
mod support;

use nc_ir::{DType, Tensor};
use nc_onnx::proto::{
    AttributeProto, Dimension, Extent, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use nc_onnx::{NoLoader, Options, Stop, import};
use support::{Model, body, close, counting, f32s, float, graph, i64s, int, ints, node, text};

fn bools(list: &[bool]) -> Tensor {
    Tensor::from_bools(vec![list.len()], list).expect("a vector")
}

#[test]
fn arithmetic_on_shapes_leaves_nothing_behind() {
    // reshape(x, concat(shape(x)[0..1], [-1])): the rows of x, flattened.
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![int("start", 0), int("end", 1)]),
        node("Constant", &[], &["rest"], vec![ints("value_ints", &[-1])]),
        node("Concat", &["s", "rest"], &["to"], vec![int("axis", 0)]),
        node("Reshape", &["x", "to"], &["r"], vec![]),
    ];
    let m = Model::of(vec![("x", counting(&[2, 3, 2]))], nodes, &["r"]);
    assert_eq!(m.run()[0], counting(&[2, 6]));
    let module = m.import().expect("a model");
    assert_eq!(module.graph.nodes.len(), 1, "only the reshape is computed at run time");
}

#[test]
fn a_shape_that_depends_on_an_input_names_it() {
    let nodes = vec![node("Add", &["s", "s"], &["to"], vec![]), node("Reshape", &["x", "to"], &["r"], vec![])];
    let inputs = vec![("x", counting(&[6])), ("s", i64s(&[2], &[1, 2]))];
    let nodes_ = nodes.clone();
    let m = Model::of(inputs.clone(), nodes, &["r"]);
    match m.import() {
        Err(Stop::Needs(n)) => {
            assert_eq!((n.inputs.as_slice(), n.node.as_str()), (&["s".to_owned()][..], "node of `r` (Reshape)"));
            assert!(n.refusal().message.contains("cannot be compiled for every value of `s`"), "{}", n.refusal());
        }
        other => panic!("{other:?}"),
    }
    // [1, 2] + [1, 2] = [2, 4] has 8 elements, not 6.
    let bound = Model { known: vec!["s"], ..Model::of(inputs, nodes_.clone(), &["r"]) };
    assert!(bound.refusal().contains("`r` (Reshape)"), "{}", bound.refusal());
    let inputs = vec![("x", counting(&[8])), ("s", i64s(&[2], &[1, 2]))];
    assert_eq!(Model { known: vec!["s"], ..Model::of(inputs, nodes_, &["r"]) }.run()[0], counting(&[2, 4]));
}

fn constant(name: &str, x: f32) -> NodeProto {
    node("Constant", &[], &[name], vec![float("value_float", x)])
}

#[test]
fn branches_see_the_names_around_them() {
    let yes = body(&[], vec![node("Add", &["x", "y"], &["a"], vec![])], &["a"]);
    let no = body(&[], vec![constant("two", 2.0), node("Mul", &["x", "two"], &["b"], vec![])], &["b"]);
    let nodes = vec![
        node("Exp", &["z"], &["y"], vec![]),
        node("If", &["c"], &["r"], vec![graph("then_branch", yes), graph("else_branch", no)]),
    ];
    let run = |c: bool, known: Vec<&'static str>| {
        let inputs = vec![("c", bools(&[c])), ("x", f32s(&[2], &[3.0, 4.0])), ("z", f32s(&[2], &[0.0, 0.0]))];
        Model { known, ..Model::of(inputs, nodes.clone(), &["r"]) }.run().remove(0)
    };
    // exp(0) is 1.
    assert_eq!(run(true, vec![]), f32s(&[2], &[4.0, 5.0]));
    assert_eq!(run(false, vec![]), f32s(&[2], &[6.0, 8.0]));
    assert_eq!(run(true, vec!["c"]), f32s(&[2], &[4.0, 5.0]));
    assert_eq!(run(false, vec!["c"]), f32s(&[2], &[6.0, 8.0]));
}

#[test]
fn branches_of_different_types_are_refused() {
    let yes = body(&[], vec![node("Identity", &["x"], &["a"], vec![])], &["a"]);
    let no = body(&[], vec![node("Cast", &["x"], &["b"], vec![int("to", 7)])], &["b"]);
    let n = node("If", &["c"], &["r"], vec![graph("then_branch", yes), graph("else_branch", no)]);
    let m = Model::of(vec![("c", bools(&[true])), ("x", f32s(&[1], &[1.0]))], vec![n], &["r"]);
    assert!(m.refusal().contains("(If)"), "{}", m.refusal());
}

fn sets() -> Vec<OperatorSetIdProto> {
    vec![
        OperatorSetIdProto { domain: None, version: Some(22) },
        OperatorSetIdProto { domain: Some("own".to_owned()), version: Some(1) },
    ]
}

fn info(name: &str, dims: &[Extent]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| Dimension { value: Some(d.clone()) }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)) }),
    }
}

fn evaluate(model: &ModelProto, options: &Options, inputs: &[Tensor]) -> Vec<Tensor> {
    let module = import(model, options, &mut NoLoader).unwrap_or_else(|e| panic!("{e:?}"));
    let mut it = nc_ir::interp::Interpreter::new(std::sync::Arc::new(module)).expect("it runs");
    it.step(inputs).expect("a run without faults").outputs
}

/// `y = leaky(x) + bias`, where `leaky` takes its slope from the attribute `slope` of the call.
fn with_function(call: Vec<AttributeProto>, inner: &str) -> ModelProto {
    let slope = AttributeProto {
        name: Some("alpha".to_owned()),
        ref_attr_name: Some("slope".to_owned()),
        r#type: Some(1),
        ..AttributeProto::default()
    };
    let f = FunctionProto {
        name: Some("Leaky".to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["v".to_owned(), "bias".to_owned()],
        output: vec!["w".to_owned()],
        attribute_proto: vec![float("slope", 0.5)],
        node: vec![node("LeakyRelu", &["v"], &["l"], vec![slope]), node("Sum", &["l", inner], &["w"], vec![])],
        opset_import: sets(),
        ..FunctionProto::default()
    };
    let call = NodeProto { domain: Some("own".to_owned()), ..node("Leaky", &["x", "x"], &["r"], call) };
    ModelProto {
        ir_version: Some(10),
        opset_import: sets(),
        graph: Some(GraphProto { input: vec![info("x", &[Extent::Value(2)])], ..body(&[], vec![call], &["r"]) }),
        functions: vec![f],
        ..ModelProto::default()
    }
}

#[test]
fn functions_take_attributes_and_defaults() {
    let x = f32s(&[2], &[-2.0, 3.0]);
    let run = |a| evaluate(&with_function(a, "bias"), &Options::default(), std::slice::from_ref(&x)).remove(0);
    // slope * -2 + -2 and 3 + 3.
    assert_eq!(run(vec![]), f32s(&[2], &[-3.0, 6.0]));
    assert_eq!(run(vec![float("slope", 0.25)]), f32s(&[2], &[-2.5, 6.0]));
}

#[test]
fn functions_do_not_see_the_names_around_them() {
    match import(&with_function(vec![], "x"), &Options::default(), &mut NoLoader) {
        Err(Stop::Wrong(d)) => assert!(d.code == "E1005" && d.message.contains("`x`"), "{d}"),
        other => panic!("{other:?}"),
    }
    match import(&with_function(vec![int("depth", 1)], "bias"), &Options::default(), &mut NoLoader) {
        Err(Stop::Wrong(d)) => assert!(d.message.contains("`depth` is not supported"), "{d}"),
        other => panic!("{other:?}"),
    }
}

/// `r = x + w`, with the extents of both given, and a default of [1, 2] for `w`.
fn sum(x: &[Extent], w: &[Extent]) -> ModelProto {
    let mut g = body(&[], vec![node("Add", &["x", "w"], &["r"], vec![])], &["r"]);
    g.input = vec![info("x", x), info("w", w)];
    let default = TensorProto { dims: vec![2], data_type: Some(1), float_data: vec![1.0, 2.0], ..Default::default() };
    g.initializer = vec![TensorProto { name: Some("w".to_owned()), ..default }];
    ModelProto { ir_version: Some(10), opset_import: sets(), graph: Some(g), ..ModelProto::default() }
}

fn named(n: &str) -> Extent {
    Extent::Param(n.to_owned())
}

#[test]
fn inputs_with_defaults_may_be_left_out() {
    let m = sum(&[Extent::Value(2)], &[Extent::Value(2)]);
    let x = f32s(&[2], &[10.0, 20.0]);
    assert_eq!(evaluate(&m, &Options::default(), std::slice::from_ref(&x))[0], f32s(&[2], &[11.0, 22.0]));
    let mut options = Options::default();
    options.inputs.insert("w".to_owned(), (DType::F32, vec![2]));
    assert_eq!(evaluate(&m, &options, &[x.clone(), x])[0], f32s(&[2], &[20.0, 40.0]));
}

#[test]
fn extents_come_from_names_and_arrays() {
    let refusal = |m: &ModelProto, o: &Options| match import(m, o, &mut NoLoader) {
        Err(Stop::Wrong(d)) => format!("{d}"),
        other => panic!("{other:?}"),
    };
    let m = sum(&[named("n")], &[Extent::Value(2)]);
    assert!(refusal(&m, &Options::default()).contains("give it with --dim n=N"));
    let mut options = Options::default();
    options.dims.insert("n".to_owned(), 2);
    let module = import(&m, &options, &mut NoLoader).expect("n is bound");
    assert_eq!(module.graph.ty(module.inputs[0].value).to_string(), "f32[2]");
    options.dims.insert("m".to_owned(), 2);
    assert!(refusal(&m, &options).contains("no input of the model has an extent named `m`"));
    let mut options = Options::default();
    options.inputs.insert("x".to_owned(), (DType::F32, vec![2]));
    assert!(import(&m, &options, &mut NoLoader).is_ok());
    options.inputs.insert("x".to_owned(), (DType::F32, vec![2, 1]));
    assert!(refusal(&m, &options).contains("has 1 dimensions"));
    let mut options = Options::default();
    options.inputs.insert("x".to_owned(), (DType::F32, vec![2]));
    options.inputs.insert("w".to_owned(), (DType::F32, vec![1]));
    assert!(refusal(&sum(&[named("n")], &[named("n")]), &options).contains("`n`, which is 2; its array has 1"));
    assert!(refusal(&sum(&[Extent::Value(-1)], &[named("n")]), &Options::default()).contains("-1, which cannot be"));
}

#[test]
fn old_forms_of_operators() {
    let run = |opset, inputs: Vec<(&'static str, Tensor)>, n: NodeProto| {
        Model { opset, ..Model::of(inputs, vec![n], &["r"]) }.run().remove(0)
    };
    // Version 6: the second operand is aligned with axis 0.
    let (x, b) = (counting(&[2, 3]), f32s(&[2], &[10.0, 20.0]));
    let n = node("Add", &["x", "b"], &["r"], vec![int("broadcast", 1), int("axis", 0)]);
    let expected = f32s(&[2, 3], &[10.0, 11.0, 12.0, 23.0, 24.0, 25.0]);
    assert_eq!(run(6, vec![("x", x.clone()), ("b", b)], n), expected);
    let n = node("Clip", &["x"], &["r"], vec![float("min", 1.0), float("max", 3.0)]);
    assert_eq!(run(6, vec![("x", x.clone())], n), f32s(&[2, 3], &[1.0, 1.0, 2.0, 3.0, 3.0, 3.0]));
    let n = node("Slice", &["x"], &["r"], vec![ints("starts", &[1]), ints("ends", &[9]), ints("axes", &[1])]);
    assert_eq!(run(9, vec![("x", x.clone())], n), f32s(&[2, 2], &[1.0, 2.0, 4.0, 5.0]));
    let n = node("ReduceSum", &["x"], &["r"], vec![ints("axes", &[-1]), int("keepdims", 0)]);
    assert_eq!(run(11, vec![("x", x.clone())], n), f32s(&[2], &[3.0, 12.0]));
    let n = node("Pad", &["x"], &["r"], vec![ints("pads", &[0, 1, 0, 0]), float("value", 9.0)]);
    assert_eq!(run(2, vec![("x", x)], n), f32s(&[2, 4], &[9.0, 0.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0]));
    // Before version 13 softmax is over all axes from `axis` on: four equal numbers give a quarter each.
    let n = node("Softmax", &["x"], &["r"], vec![]);
    close(&run(11, vec![("x", f32s(&[1, 2, 2], &[1.0; 4]))], n), &f32s(&[1, 2, 2], &[0.25; 4]));
}

/// One node on inputs whose values from the second on are known.
fn run(op: &str, operands: Vec<Tensor>, attributes: Vec<AttributeProto>) -> Tensor {
    const NAMES: [&str; 4] = ["x", "p", "q", "s"];
    let names = &NAMES[..operands.len()];
    let inputs = names.iter().copied().zip(operands).collect();
    let n = node(op, names, &["r"], attributes);
    Model { opset: 28, known: names[1..].to_vec(), ..Model::of(inputs, vec![n], &["r"]) }.run().remove(0)
}

#[test]
fn running_sums_and_products() {
    let x = || f32s(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let axis = || i64s(&[1], &[0]);
    assert_eq!(run("CumSum", vec![x(), axis()], vec![]), f32s(&[4], &[1.0, 3.0, 6.0, 10.0]));
    let both = || vec![int("reverse", 1), int("exclusive", 1)];
    assert_eq!(run("CumSum", vec![x(), axis()], both()), f32s(&[4], &[9.0, 7.0, 4.0, 0.0]));
    assert_eq!(run("CumProd", vec![x(), axis()], both()), f32s(&[4], &[24.0, 12.0, 4.0, 1.0]));
}

#[test]
fn scattering_in_order() {
    let x = || f32s(&[3], &[1.0, 2.0, 3.0]);
    // The last of two updates of one place stays; a sum takes both.
    let operands = || vec![x(), i64s(&[3], &[2, 0, 2]), f32s(&[3], &[10.0, 20.0, 30.0])];
    assert_eq!(run("ScatterElements", operands(), vec![]), f32s(&[3], &[20.0, 2.0, 30.0]));
    let add = || vec![text("reduction", "add")];
    assert_eq!(run("ScatterElements", operands(), add()), f32s(&[3], &[21.0, 2.0, 43.0]));
    let rows = || vec![counting(&[2, 2]), i64s(&[1, 1], &[-1]), f32s(&[1, 2], &[5.0, 6.0])];
    assert_eq!(run("ScatterND", rows(), vec![]), f32s(&[2, 2], &[0.0, 1.0, 5.0, 6.0]));
    // Indices that are computed go through the scan.
    let inputs = vec![("x", x()), ("i", i64s(&[2], &[-1, 2])), ("u", f32s(&[2], &[7.0, 8.0]))];
    let n = node("ScatterElements", &["x", "i", "u"], &["r"], vec![]);
    assert_eq!(Model::of(inputs, vec![n], &["r"]).run()[0], f32s(&[3], &[1.0, 2.0, 8.0]));
}

#[test]
fn the_largest_elements_first_ones_first() {
    let n = node("TopK", &["x", "k"], &["v", "i"], vec![]);
    let inputs = vec![("x", f32s(&[5], &[2.0, f32::NEG_INFINITY, 5.0, 5.0, 1.0])), ("k", i64s(&[1], &[5]))];
    let out = Model { known: vec!["k"], ..Model::of(inputs, vec![n], &["v", "i"]) }.run();
    assert_eq!(out[0], f32s(&[5], &[5.0, 5.0, 2.0, 1.0, f32::NEG_INFINITY]));
    assert_eq!(out[1], i64s(&[5], &[2, 3, 0, 4, 1]));
}

#[test]
fn remainders_and_powers() {
    let (a, b) = (|| i64s(&[4], &[-7, 7, -7, 7]), || i64s(&[4], &[3, -3, -3, 3]));
    // Of a floored quotient: the sign of the divisor. Of a truncated one: that of the dividend.
    assert_eq!(run("Mod", vec![a(), b()], vec![]), i64s(&[4], &[2, -2, -1, 1]));
    assert_eq!(run("Mod", vec![a(), b()], vec![int("fmod", 1)]), i64s(&[4], &[-1, 1, -1, 1]));
    let (a, b) = (f32s(&[3], &[1.0, 5.0, -5.5]), f32s(&[3], &[0.1, f32::INFINITY, 2.0]));
    let r = run("Mod", vec![a, b], vec![int("fmod", 1)]);
    // 0.1 in 32 bits is above a tenth: 9 of them fit into 1, and 1 - 9 * 0.1f is left.
    close(&r, &f32s(&[3], &[1.0 - 9.0 * 0.1, 5.0, -1.5]));
    let (a, b) = (i64s(&[5], &[3, -2, -1, 2, 0]), i64s(&[5], &[39, 63, -3, -1, 0]));
    // 3^39 has no exact double; (-2)^63 is the least of 64 bits.
    let expected = i64s(&[5], &[4_052_555_153_018_976_267, i64::MIN, -1, 0, 1]);
    assert_eq!(run("Pow", vec![a, b], vec![]), expected);
}

#[test]
fn shifts_beyond_the_width() {
    let (x, by) = (|| i64s(&[3], &[-8, 8, 1]), || i64s(&[3], &[64, 100, -1]));
    assert_eq!(run("BitShift", vec![x(), by()], vec![text("direction", "RIGHT")]), i64s(&[3], &[-1, 0, 0]));
    assert_eq!(run("BitShift", vec![x(), by()], vec![text("direction", "LEFT")]), i64s(&[3], &[0, 0, 0]));
}

#[test]
fn functions_near_zero_keep_their_digits() {
    let x = || f32s(&[3], &[1e-6, -1e-6, 0.0]);
    for op in ["Sinh", "Asinh", "Atanh", "Tan"] {
        close(&run(op, vec![x()], vec![]), &x());
        let y = run(op, vec![x()], vec![]);
        assert!((y.get_f64(0) / 1e-6 - 1.0).abs() < 1e-6, "{op}: {y:?}");
    }
    // acosh(1 + t) is sqrt(2 t) for small t.
    let t = f32s(&[1], &[1.000_000_1]);
    let y = run("Acosh", vec![t.clone()], vec![]).get_f64(0);
    assert!((y / (2.0 * (t.get_f64(0) - 1.0)).sqrt() - 1.0).abs() < 1e-5, "{y}");
}

#[test]
fn padding_at_the_edges() {
    let x = || f32s(&[3], &[1.0, 2.0, 3.0]);
    let pad = |n: &[i64], mode: &str| run("Pad", vec![x(), i64s(&[2], n)], vec![text("mode", mode)]);
    assert_eq!(pad(&[2, 1], "reflect"), f32s(&[6], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]));
    assert_eq!(pad(&[2, 1], "edge"), f32s(&[6], &[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]));
    assert_eq!(pad(&[2, 1], "wrap"), f32s(&[6], &[2.0, 3.0, 1.0, 2.0, 3.0, 1.0]));
    assert_eq!(pad(&[-1, 1], "constant"), f32s(&[3], &[2.0, 3.0, 0.0]));
}

#[test]
fn nothing_is_a_size_too() {
    assert_eq!(
        run("ReduceMax", vec![f32s(&[0, 2], &[]), i64s(&[1], &[0])], vec![]),
        f32s(&[1, 2], &[f32::NEG_INFINITY; 2])
    );
    assert_eq!(run("ReduceSum", vec![f32s(&[0, 2], &[]), i64s(&[1], &[0])], vec![]), f32s(&[1, 2], &[0.0; 2]));
    assert_eq!(run("Softmax", vec![f32s(&[0, 2], &[])], vec![]).shape(), [0, 2]);
    assert_eq!(run("Hardmax", vec![f32s(&[2, 0], &[])], vec![]).shape(), [2, 0]);
    assert_eq!(run("Relu", vec![f32s(&[3, 0], &[])], vec![]).shape(), [3, 0]);
}

#[test]
fn an_output_that_is_declared_with_an_axis_of_extent_1_too_many() {
    let declared = |extents: &[i64]| {
        let dims = |list: &[i64]| list.iter().map(|n| Extent::Value(*n)).collect::<Vec<_>>();
        let graph = GraphProto {
            node: vec![node("Identity", &["x"], &["y"], vec![])],
            input: vec![info("x", &dims(&[1, 3]))],
            output: vec![info("y", &dims(extents))],
            ..GraphProto::default()
        };
        ModelProto { ir_version: Some(10), opset_import: sets(), graph: Some(graph), ..ModelProto::default() }
    };
    let x = counting(&[1, 3]);
    for extents in [&[1, 3][..], &[1, 1, 3], &[3]] {
        assert_eq!(
            evaluate(&declared(extents), &Options::default(), std::slice::from_ref(&x)),
            std::slice::from_ref(&x)
        );
    }
    for extents in [&[3, 1, 2][..], &[2, 1, 3], &[]] {
        match import(&declared(extents), &Options::default(), &mut NoLoader) {
            Err(Stop::Wrong(d)) => assert_eq!(d.code, "E1004", "{}", d.message),
            other => panic!("{extents:?}: {other:?}"),
        }
    }
}
