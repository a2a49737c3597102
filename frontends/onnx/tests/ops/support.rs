//! Models of a few nodes, and their results.

use nc_ir::interp::Interpreter;
use nc_ir::{DType, Tensor};
use nc_onnx::proto::{
    AttributeProto, Dimension, Extent, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, type_proto,
};
use nc_onnx::{NoLoader, Options, Stop, Streamed, import, import_steps};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node. An empty operand name leaves the operand out.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    NodeProto {
        input: names(inputs),
        output: names(outputs),
        op_type: Some(op.to_owned()),
        attribute,
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind), ..AttributeProto::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attribute(name, attribute_type::INT) }
}

pub fn ints(name: &str, list: &[i64]) -> AttributeProto {
    AttributeProto { ints: list.to_vec(), ..attribute(name, attribute_type::INTS) }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attribute(name, attribute_type::FLOAT) }
}

pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Some(s.as_bytes().to_vec().into()), ..attribute(name, attribute_type::STRING) }
}

pub fn graph(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(g)), ..attribute(name, attribute_type::GRAPH) }
}

pub fn texts(name: &str, list: &[&str]) -> AttributeProto {
    let strings = list.iter().map(|s| s.as_bytes().to_vec().into()).collect();
    AttributeProto { strings, ..attribute(name, attribute_type::STRINGS) }
}

/// The number of an element type in the format.
fn number(dtype: DType) -> i32 {
    (1..32).find(|n| nc_onnx::tensor::element_type(*n) == Ok(dtype)).expect("the format has the type")
}

fn info(name: &str, ty: Option<(DType, Vec<usize>)>) -> ValueInfoProto {
    let ty = ty.map(|(dtype, shape)| TypeProto {
        value: Some(type_proto::Value::Tensor(type_proto::Tensor {
            elem_type: Some(number(dtype)),
            shape: Some(TensorShapeProto {
                dim: shape.iter().map(|n| Dimension { value: Some(Extent::Value(*n as i64)) }).collect(),
            }),
        })),
    });
    ValueInfoProto { name: Some(name.to_owned()), r#type: ty }
}

/// A node that gives a tensor.
pub fn constant(name: &str, value: &Tensor) -> NodeProto {
    let tensor = TensorProto {
        dims: value.shape().iter().map(|n| *n as i64).collect(),
        data_type: Some(number(value.dtype())),
        raw_data: Some(value.bytes().to_vec().into()),
        ..TensorProto::default()
    };
    let value = AttributeProto { t: Some(Box::new(tensor)), ..attribute("value", attribute_type::TENSOR) };
    node("Constant", &[], &[name], vec![value])
}

/// A nested graph whose inputs and outputs have no types.
pub fn body(inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto {
        node: nodes,
        name: Some("body".to_owned()),
        input: inputs.iter().map(|n| info(n, None)).collect(),
        output: outputs.iter().map(|n| info(n, None)).collect(),
        ..GraphProto::default()
    }
}

pub struct Model {
    pub opset: i64,
    pub domain: &'static str,
    pub inputs: Vec<(&'static str, Tensor)>,
    /// Inputs whose values are constants.
    pub known: Vec<&'static str>,
    pub nodes: Vec<NodeProto>,
    pub outputs: Vec<&'static str>,
}

impl Model {
    pub fn of(inputs: Vec<(&'static str, Tensor)>, nodes: Vec<NodeProto>, outputs: &[&'static str]) -> Model {
        Model { opset: 22, domain: "", inputs, known: Vec::new(), nodes, outputs: outputs.to_vec() }
    }

    pub fn import(&self) -> Result<nc_ir::graph::Module, Stop> {
        let (model, options) = self.model();
        import(&model, &options, &mut NoLoader)
    }

    /// The step function of a model of sequences.
    pub fn import_steps(&self) -> Result<Streamed, Stop> {
        let (model, options) = self.model();
        import_steps(&model, &options, &mut NoLoader)
    }

    fn model(&self) -> (ModelProto, Options) {
        let input = self.inputs.iter().map(|(n, t)| info(n, Some((t.dtype(), t.shape().to_vec())))).collect();
        let model = ModelProto {
            ir_version: Some(10),
            opset_import: vec![OperatorSetIdProto { domain: Some(self.domain.to_owned()), version: Some(self.opset) }],
            graph: Some(GraphProto {
                node: self.nodes.clone(),
                name: Some("g".to_owned()),
                input,
                output: self.outputs.iter().map(|n| info(n, None)).collect(),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        let values: BTreeMap<String, Tensor> = (self.inputs.iter())
            .filter(|(n, _)| self.known.contains(n))
            .map(|(n, t)| (n.to_string(), t.clone()))
            .collect();
        (model, Options { values, ..Options::default() })
    }

    /// The results, by the reference interpreter.
    pub fn run(&self) -> Vec<Tensor> {
        let module = self.import().unwrap_or_else(|e| panic!("{e:?}"));
        let operands: Vec<Tensor> = (module.inputs.iter())
            .map(|p| self.inputs.iter().find(|(n, _)| *n == p.name).expect("an input of the model").1.clone())
            .collect();
        let mut it = Interpreter::new(Arc::new(module)).expect("a module that can run");
        it.step(&operands).expect("a run without faults").outputs
    }

    /// The sentence of the refusal.
    pub fn refusal(&self) -> String {
        match self.import() {
            Ok(_) => panic!("the model is taken"),
            Err(Stop::Wrong(d)) => d.message,
            Err(Stop::Needs(n)) => n.refusal().message,
        }
    }
}

pub fn f32s(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), data.to_vec()).expect("as many elements as the shape has")
}

pub fn i64s(shape: &[usize], data: &[i64]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), data.to_vec()).expect("as many elements as the shape has")
}

/// 0, 1, 2, ..
pub fn counting(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    f32s(shape, &(0..n).map(|k| k as f32).collect::<Vec<_>>())
}

/// Equal but for rounding.
pub fn close(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape());
    for k in 0..expected.len() {
        let (x, y) = (found.get_f64(k), expected.get_f64(k));
        assert!((x - y).abs() <= 1e-5 * y.abs().max(1.0), "element {k} is {x}, expected {y} in {expected:?}");
    }
}
