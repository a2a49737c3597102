//! Random stacks of layers, both ways.

use super::support::{Model, body, constant, f32s, float, graph, i64s, int, ints, node, text, texts};
use super::{agree, numbers};
use nc_ir::Tensor;
use nc_onnx::proto::NodeProto;
use proptest::prelude::*;

/// A layer of a stack.
#[derive(Clone, Debug)]
enum Layer {
    /// RNN, GRU or LSTM with so many units, variants, and whether its first state is given.
    Recurrent { kind: u8, hidden: usize, variant: u8, given: bool },
    /// A Scan: a leaky sum with a factor, whose output is squashed.
    Scan { factor: f32, given: bool },
    /// A product with weights, with a bias or not.
    Linear { width: usize, bias: bool },
    /// As rows of samples times steps, a product, and back.
    Merged { width: usize },
    /// Element by element.
    Pointwise(u8),
    /// Along the features.
    Norm(u8),
    /// The two leading axes change places.
    Turn,
    /// A second input of the shape is added.
    Second,
    /// A running sum.
    Running,
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        4 => (0..3u8, 1..5usize, 0..8u8, any::<bool>())
            .prop_map(|(kind, hidden, variant, given)| Layer::Recurrent { kind, hidden, variant, given }),
        2 => (-1f32..1.0, any::<bool>()).prop_map(|(factor, given)| Layer::Scan { factor, given }),
        2 => (1..6usize, any::<bool>()).prop_map(|(width, bias)| Layer::Linear { width, bias }),
        1 => (1..6usize).prop_map(|width| Layer::Merged { width }),
        2 => (0..5u8).prop_map(Layer::Pointwise),
        1 => (0..3u8).prop_map(Layer::Norm),
        2 => Just(Layer::Turn),
        1 => Just(Layer::Second),
        1 => Just(Layer::Running),
    ]
}

/// How the stack ends.
#[derive(Clone, Copy, Debug)]
enum End {
    All,
    Last,
    Mean,
    Sum,
}

/// Names of first states and second inputs.
const NAMES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// Writes a stack.
struct Stack {
    nodes: Vec<NodeProto>,
    inputs: Vec<(&'static str, Tensor)>,
    known: Vec<&'static str>,
    /// Values made so far, for names.
    count: usize,
    /// Extents of the value that was made last: steps first, or samples first.
    shape: [usize; 3],
    samples_first: bool,
    seed: u64,
}

impl Stack {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }

    fn weights(&mut self, shape: &[usize]) -> String {
        let name = self.name();
        self.seed += 1;
        self.nodes.push(constant(&name, &numbers(shape, self.seed)));
        name
    }

    fn list(&mut self, list: &[i64]) -> String {
        let name = self.name();
        self.nodes.push(constant(&name, &i64s(&[list.len()], list)));
        name
    }

    fn op(&mut self, op: &str, inputs: &[&str], attributes: Vec<nc_onnx::proto::AttributeProto>) -> String {
        let name = self.name();
        self.nodes.push(node(op, inputs, &[&name], attributes));
        name
    }

    fn input(&mut self, shape: &[usize], known: bool) -> Option<&'static str> {
        let name = NAMES.get(self.inputs.len() - 1)?;
        self.seed += 1;
        self.inputs.push((name, numbers(shape, self.seed)));
        if known {
            self.known.push(name);
        }
        Some(name)
    }

    fn time(&self) -> usize {
        usize::from(self.samples_first)
    }

    fn recurrent(&mut self, x: &str, kind: u8, hidden: usize, variant: u8, given: bool) -> String {
        let (gates, op) = [(1, "RNN"), (3, "GRU"), (4, "LSTM")][usize::from(kind)];
        let [a, b, width] = self.shape;
        let samples = if self.samples_first { a } else { b };
        let w = self.weights(&[1, gates * hidden, width]);
        let r = self.weights(&[1, gates * hidden, hidden]);
        let bias = if variant & 1 == 1 { self.weights(&[1, 2 * gates * hidden]) } else { String::new() };
        let state = if self.samples_first { [samples, 1, hidden] } else { [1, samples, hidden] };
        let first = if given { self.input(&state, true).unwrap_or("") } else { "" };
        let mut attributes = vec![int("hidden_size", hidden as i64), int("layout", i64::from(self.samples_first))];
        if variant & 2 == 2 {
            attributes.push(float("clip", 0.75));
        }
        let mut inputs = vec![x.to_owned(), w, r, bias, String::new(), first.to_owned()];
        match (op, variant & 4 == 4) {
            ("RNN", true) => attributes.push(texts("activations", &["Relu"])),
            ("GRU", true) => attributes.push(int("linear_before_reset", 1)),
            ("LSTM", true) => {
                attributes.push(int("input_forget", 1));
                let peepholes = self.weights(&[1, 3 * hidden]);
                inputs.extend([String::new(), peepholes]);
            }
            _ => {}
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = self.op(op, &inputs, attributes);
        let axis = self.list(&[if self.samples_first { 2 } else { 1 }]);
        self.shape[2] = hidden;
        self.op("Squeeze", &[&y, &axis], vec![])
    }

    fn scan(&mut self, x: &str, factor: f32, given: bool) -> String {
        let [a, b, width] = self.shape;
        let row = [if self.samples_first { a } else { b }, width];
        let first = match given {
            true => self.input(&row, true).map(str::to_owned),
            false => None,
        };
        let first = match first {
            Some(name) => name,
            None => self.weights(&row),
        };
        let k = self.name();
        self.nodes.push(constant(&k, &f32s(&[], &[factor])));
        let step = body(
            &["s", "xt"],
            vec![
                node("Mul", &["s", &k], &["kept"], vec![]),
                node("Add", &["kept", "xt"], &["next"], vec![]),
                node("Sigmoid", &["next"], &["out"], vec![]),
            ],
            &["next", "out"],
        );
        let axis = [self.time() as i64];
        let (last, y) = (self.name(), self.name());
        self.nodes.push(node(
            "Scan",
            &[&first, x],
            &[&last, &y],
            vec![
                int("num_scan_inputs", 1),
                ints("scan_input_axes", &axis),
                ints("scan_output_axes", &axis),
                graph("body", step),
            ],
        ));
        y
    }

    fn layer(&mut self, x: String, layer: &Layer) -> String {
        let [a, b, width] = self.shape;
        match layer {
            Layer::Recurrent { kind, hidden, variant, given } => self.recurrent(&x, *kind, *hidden, *variant, *given),
            Layer::Scan { factor, given } => self.scan(&x, *factor, *given),
            Layer::Linear { width: to, bias } => {
                let w = self.weights(&[width, *to]);
                self.shape[2] = *to;
                let y = self.op("MatMul", &[&x, &w], vec![]);
                if !bias {
                    return y;
                }
                let bias = self.weights(&[*to]);
                self.op("Add", &[&y, &bias], vec![])
            }
            Layer::Merged { width: to } => {
                let rows = self.list(&[(a * b) as i64, width as i64]);
                let flat = self.op("Reshape", &[&x, &rows], vec![]);
                let (w, bias) = (self.weights(&[*to, width]), self.weights(&[*to]));
                let y = self.op("Gemm", &[&flat, &w, &bias], vec![int("transB", 1)]);
                self.shape[2] = *to;
                let apart = self.list(&[a as i64, b as i64, *to as i64]);
                self.op("Reshape", &[&y, &apart], vec![])
            }
            Layer::Pointwise(which) => {
                let op = ["Tanh", "Relu", "Gelu", "Mish", "HardSwish"][usize::from(*which)];
                let y = self.op(op, &[&x], vec![]);
                if *which == 0 { self.op("Mul", &[&y, &x], vec![]) } else { y }
            }
            Layer::Norm(which) => match which {
                0 => {
                    let scale = self.weights(&[width]);
                    self.op("LayerNormalization", &[&x, &scale], vec![int("axis", -1)])
                }
                1 => self.op("Softmax", &[&x], vec![int("axis", 2)]),
                _ => {
                    let axes = self.list(&[2]);
                    let most = self.op("ReduceMax", &[&x, &axes], vec![int("keepdims", 1)]);
                    self.op("Sub", &[&x, &most], vec![])
                }
            },
            Layer::Turn => {
                self.samples_first = !self.samples_first;
                self.shape.swap(0, 1);
                self.op("Transpose", &[&x], vec![ints("perm", &[1, 0, 2])])
            }
            Layer::Second => match self.input(&[a, b, width], false) {
                Some(second) => self.op("Add", &[&x, second], vec![]),
                None => x,
            },
            Layer::Running => {
                let axis = self.name();
                self.nodes.push(constant(&axis, &Tensor::scalar_i64(self.time() as i64)));
                self.op("CumSum", &[&x, &axis], vec![])
            }
        }
    }
}

/// The model of a stack. It has at least one layer that carries a state.
fn model(shape: [usize; 3], samples_first: bool, layers: &[Layer], end: End, seed: u64) -> Model {
    let mut s = Stack {
        nodes: Vec::new(),
        inputs: vec![("x", numbers(&shape, seed))],
        known: Vec::new(),
        count: 0,
        shape,
        samples_first,
        seed: seed.wrapping_mul(1000),
    };
    let mut x = "x".to_owned();
    for l in layers {
        x = s.layer(x, l);
    }
    let time = s.time() as i64;
    let y = match end {
        End::All => s.op("Identity", &[&x], vec![]),
        End::Last => {
            let k = s.list(&[-1]);
            s.op("Gather", &[&x, &k], vec![int("axis", time)])
        }
        End::Mean | End::Sum => {
            let axes = s.list(&[time]);
            let op = if matches!(end, End::Mean) { "ReduceMean" } else { "ReduceSum" };
            s.op(op, &[&x, &axes], vec![int("keepdims", 0)])
        }
    };
    s.nodes.push(node("Neg", &[&y], &["y"], vec![]));
    s.nodes.push(node("Neg", &[&x], &["all"], vec![]));
    Model { known: s.known, ..Model::of(s.inputs, s.nodes, &["y", "all"]) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn stacks_run_step_by_step(
        steps in 2..21usize,
        samples in 1..4usize,
        width in 1..5usize,
        samples_first in any::<bool>(),
        before in prop::collection::vec(layer(), 0..3),
        first in layer().prop_filter("a layer with a state", |l| matches!(l, Layer::Recurrent { .. } | Layer::Scan { .. })),
        after in prop::collection::vec(layer(), 0..4),
        end in prop_oneof![Just(End::All), Just(End::Last), Just(End::Mean), Just(End::Sum)],
        seed in 0..1000u64,
    ) {
        let shape = if samples_first { [samples, steps, width] } else { [steps, samples, width] };
        let layers: Vec<Layer> = before.into_iter().chain([first]).chain(after).collect();
        agree(&model(shape, samples_first, &layers, end, seed));
    }
}

/// The direction is named by every exporter.
#[test]
fn a_forward_direction_is_no_obstacle() {
    let mut m =
        model([4, 2, 3], false, &[Layer::Recurrent { kind: 2, hidden: 3, variant: 7, given: true }], End::All, 1);
    for n in m.nodes.iter_mut().filter(|n| n.op_type.as_deref() == Some("LSTM")) {
        n.attribute.push(text("direction", "forward"));
    }
    agree(&m);
}
