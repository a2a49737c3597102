//! Nodes and edges of a NIR graph, made from the values that the outputs of a model need.

use super::cells::Cell;
use super::params::{self, Neuron};
use super::values::{Num, View};
use super::{Left, cannot};
use crate::model::Node;
use crate::preset::Discretisation;
use crate::primitive::Kind;
use crate::tree::Array;
use nc_ir::graph::connect::{self, Delays};
use nc_ir::graph::{self, Op, PoolKind, ValueId};
use nc_ir::{DType, Diagnostic, Tensor};
use std::collections::{BTreeSet, HashMap};

/// Deepest chain of sums, states and delays between two nodes.
const MAX_DEPTH: usize = 512;
/// Most elements of a matrix that is made of synapses, and most synapses.
const MAX_MATRIX: u64 = 1 << 26;

/// An edge with the ticks that a value takes along it.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub late: u32,
}

/// Writes nodes.
pub struct Nodes<'a> {
    view: &'a View<'a>,
    cells: &'a [Cell],
    knobs: &'a Discretisation,
    dt: Option<f64>,
    pub left: &'a mut Left,
    pub nodes: Vec<(String, Node)>,
    pub edges: Vec<Edge>,
    /// Nodes by the value that they give.
    made: HashMap<ValueId, usize>,
    names: BTreeSet<String>,
    /// Node and current by cell.
    pub neurons: HashMap<usize, (usize, Option<usize>)>,
}

impl<'a> Nodes<'a> {
    pub fn new(
        view: &'a View<'a>,
        cells: &'a [Cell],
        knobs: &'a Discretisation,
        dt: Option<f64>,
        left: &'a mut Left,
    ) -> Nodes<'a> {
        let (nodes, edges, made) = (Vec::new(), Vec::new(), HashMap::new());
        let names = BTreeSet::new();
        Nodes { view, cells, knobs, dt, left, nodes, edges, made, names, neurons: HashMap::new() }
    }

    /// Ports first, so that they keep their names; then everything that the outputs need.
    ///
    /// # Errors
    /// E0947 for what NIR has no node for.
    pub fn run(&mut self) -> Result<(), Diagnostic> {
        let m = self.view.m;
        for i in &m.inputs {
            let shape = self.extents(i.value);
            let node = Node::new(Kind::Input).with("shape", ints(&shape)?);
            let at = self.add(&i.name, node);
            self.made.insert(i.value, at);
        }
        for o in &m.outputs {
            let node = Node::new(Kind::Output).with("shape", ints(&self.extents(o.value))?);
            // An output that has an input's name is that of an input that is handed through.
            let at = self.add(&o.name, node);
            if let Err(d) = self.into(o.value, at) {
                match membrane(&d) {
                    true => {
                        self.left.want(format!("the output `{}`", o.name), "spiking neurons of NIR give spikes alone");
                        self.nodes[at].0.clear();
                    }
                    false => return Err(d),
                }
            }
        }
        let used: BTreeSet<usize> = self.edges.iter().map(|e| e.from).collect();
        for k in 0..m.inputs.len() {
            if !used.contains(&k) {
                self.left.want(format!("the input `{}`", m.inputs[k].name), "nothing that NIR can hold reads it");
                self.nodes[k].0.clear();
            }
        }
        Ok(())
    }

    fn extents(&self, v: ValueId) -> Vec<i64> {
        self.view.shape(v).iter().map(|n| *n as i64).collect()
    }

    fn add(&mut self, name: &str, node: Node) -> usize {
        let base = match name.replace('/', "_") {
            n if n.is_empty() => node.kind.row().name.to_lowercase(),
            n => n,
        };
        let mut name = base.clone();
        let mut k = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{k}");
            k += 1;
        }
        self.nodes.push((name, node));
        self.nodes.len() - 1
    }

    /// Leads a value into a node.
    fn into(&mut self, v: ValueId, to: usize) -> Result<(), Diagnostic> {
        let mut found = Vec::new();
        self.feeds(v, 0, 0, &mut found)?;
        for (from, late) in found {
            self.edges.push(Edge { from, to, late });
        }
        Ok(())
    }

    /// The nodes whose sum a value is, with the ticks that they are late.
    fn feeds(&mut self, v: ValueId, late: u32, depth: usize, out: &mut Vec<(usize, u32)>) -> Result<(), Diagnostic> {
        let v = self.view.canon(v);
        let name = self.view.m.graph.name_of(v);
        if depth > MAX_DEPTH {
            return Err(cannot(
                format!("`{name}`, which depends on itself as no neuron does"),
                "LI and LIF decay linearly",
            ));
        }
        if let Some(at) = self.made.get(&v) {
            out.push((*at, late));
            return Ok(());
        }
        if let Some(k) = self.cells.iter().position(|c| gives(c) == v) {
            out.push((self.neuron(k)?, late));
            return Ok(());
        }
        if let Some(k) = self.cells.iter().position(|c| c.read == v || c.next == v) {
            let c = &self.cells[k];
            if c.fire.is_some() {
                return Err(membrane_of(&c.name));
            }
            // Only a state before the tick is left.
            out.push((self.neuron(k)?, late + 1));
            return Ok(());
        }
        if let Some(s) = self.view.m.states.iter().find(|s| s.read == v) {
            let data = &self.view.m.consts[s.init.index()].data;
            if (0..data.len()).any(|k| data.get_f64(k) != 0.0) {
                self.left
                    .want(format!("the initial value of `{}`", s.name), "values from before the first tick are zeros");
            }
            return self.feeds(s.next, late + 1, depth + 1, out);
        }
        let Some(node) = self.view.node(v) else {
            return Err(cannot(format!("the value `{name}`"), "it comes from nowhere"));
        };
        let args = self.view.args(node);
        match &node.op {
            Op::Add if self.view.dtype(v) == DType::F32 && args.iter().all(|a| self.view.known(*a).is_none()) => {
                self.feeds(args[0], late, depth + 1, out)?;
                self.feeds(args[1], late, depth + 1, out)
            }
            Op::Cast { to: DType::F32 } if self.view.dtype(args[0]) == DType::Bool => {
                self.feeds(args[0], late, depth + 1, out)
            }
            Op::Delayed { line, ticks } => {
                self.feeds(self.view.m.lines[line.index()].source, late + ticks, depth + 1, out)
            }
            Op::Project { conn, line, now_count, state_count: 1, .. } => {
                let acc = args[*now_count];
                if !self.view.known(acc).is_some_and(|x| x.is(0.0)) {
                    self.feeds(acc, late, depth + 1, out)?;
                }
                let source = match line {
                    Some(l) => self.view.m.lines[l.index()].source,
                    None => args[0],
                };
                out.push((self.synapses(v, node, conn.index(), source)?, late));
                Ok(())
            }
            _ => {
                out.push((self.operation(v, node, &args)?, late));
                Ok(())
            }
        }
    }

    fn neuron(&mut self, k: usize) -> Result<usize, Diagnostic> {
        if let Some((at, _)) = self.neurons.get(&k) {
            return Ok(*at);
        }
        let cell = &self.cells[k];
        let Some(dt) = self.dt else {
            return Err(Diagnostic::error_nowhere("E0938", format!("`{}` needs the length of a tick", cell.name))
                .with_hint("the net has no clock: give it with --dt SECONDS, for example --dt 1e-3"));
        };
        // Which knobs there are depends on the kind, which depends on them only where both say the same.
        let mut n = params::neuron(self.view, self.cells, k, &self.knobs.knobs, dt)?;
        if n.kind.has_current() {
            n = params::neuron(self.view, self.cells, k, &self.knobs.current_based, dt)?;
        }
        let Neuron { kind, params, inputs, current } = n;
        let count = self.view.count(cell.read);
        let shape: Vec<usize> = self.view.shape(cell.read).iter().map(|n| *n as usize).collect();
        let mut node = Node::new(kind);
        for (name, x) in params {
            node = node.with(name, reals(&shape, &x.list(count)));
        }
        let stem = cell.name.strip_suffix(".v").or(cell.name.strip_suffix("_v")).unwrap_or(&cell.name);
        let at = self.add(stem, node);
        self.neurons.insert(k, (at, current));
        for (v, factor) in inputs {
            match factor.is(1.0) {
                true => self.into(v, at)?,
                false => {
                    let scale = self.scale(&factor, v)?;
                    self.edges.push(Edge { from: scale, to: at, late: 0 });
                }
            }
        }
        Ok(at)
    }

    fn scale(&mut self, factor: &Num, v: ValueId) -> Result<usize, Diagnostic> {
        let shape: Vec<usize> = self.view.shape(v).iter().map(|n| *n as usize).collect();
        let node = Node::new(Kind::Scale).with("scale", reals(&shape, &factor.list(self.view.count(v))));
        let at = self.add("", node);
        self.into(v, at)?;
        Ok(at)
    }

    /// A matrix of the synapses of a `connect` into an input.
    fn synapses(&mut self, v: ValueId, node: &graph::Node, conn: usize, source: ValueId) -> Result<usize, Diagnostic> {
        let c = &self.view.m.conns[conn];
        let body = &node.regions[0];
        let adds = matches!(&body.nodes[..], [n] if n.op == Op::Add && n.results[..] == body.results[..]
            && n.args.iter().all(|a| body.params.contains(a)) && n.args[0] != n.args[1] && body.params.len() == 2);
        if !adds {
            return Err(cannot(
                format!("the events of `{}`, which change a state at once", c.name),
                "connect to an `input` of the neuron, whose weights become a `Linear`",
            ));
        }
        let (rows, columns) = (c.post_len, c.pre_len);
        let small = rows.checked_mul(columns).is_some_and(|n| n <= MAX_MATRIX);
        let flat = self.view.shape(v).len() == 1 && self.view.shape(source).len() == 1;
        if !small || !flat {
            let what = format!("the connection `{}`, which is no matrix between two lists of cells", c.name);
            return Err(cannot(what, "use `linear` or `conv2d` of the language"));
        }
        let table = connect::expand(c, self.view.m.pools(), MAX_MATRIX)?;
        let late = match &table.delay {
            Delays::Uniform(d) => *d,
            Delays::Per(list) if list.iter().all(|d| *d == list[0]) => list.first().copied().unwrap_or(0),
            Delays::Per(_) => {
                return Err(cannot(
                    format!("the different delays of `{}`", c.name),
                    "NIR delays whole values; use one delay",
                ));
            }
        };
        let mut w = vec![0f32; (rows * columns) as usize];
        for pre in 0..table.pre_len() {
            for s in table.row(pre) {
                let slot = &mut w[table.post[s] as usize * columns as usize + pre];
                if *slot != 0.0 {
                    let what = format!("two synapses of `{}` between the same two cells", c.name);
                    return Err(cannot(what, "add up their weights"));
                }
                *slot = table.weight.at(s);
            }
        }
        let weight = Array::from_f32(vec![rows as usize, columns as usize], &w)
            .ok_or_else(|| cannot(format!("the connection `{}`", c.name), "its table has other extents"))?;
        let at = self.add(&c.name.replace("->", "_to_"), Node::new(Kind::Linear).with("weight", weight));
        self.made.insert(v, at);
        let mut found = Vec::new();
        self.feeds(source, late, 0, &mut found)?;
        for (from, late) in found {
            self.edges.push(Edge { from, to: at, late });
        }
        Ok(at)
    }

    /// The node of an operation.
    fn operation(&mut self, v: ValueId, node: &graph::Node, args: &[ValueId]) -> Result<usize, Diagnostic> {
        let view = self.view;
        let label = |k: usize| match view.node(args[k]).map(|n| &n.op) {
            Some(Op::Const { id }) => stem(&view.m.consts[id.index()].name).to_owned(),
            _ => String::new(),
        };
        let shape = |v: ValueId| view.shape(v).iter().map(|n| *n as usize).collect::<Vec<usize>>();
        let refuse = || {
            let name = &view.m.graph.values[v.index()].name;
            let named = if name.is_empty() { String::new() } else { format!(" (`{name}`)") };
            let hint = "NIR has Linear, Affine, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten, Scale, Threshold and Delay \
                        between its neurons";
            cannot(format!("the op `{}`{named}", node.op.info().name), hint)
        };
        let weights = |k: usize| view.tensor(args[k]).ok_or_else(refuse);
        let (name, new, x) = match &node.op {
            Op::Linear => {
                let w = array(weights(1)?);
                let new = match args.len() {
                    2 => Node::new(Kind::Linear).with("weight", w),
                    _ => Node::new(Kind::Affine).with("weight", w).with("bias", array(weights(2)?)),
                };
                (label(1), new, args[0])
            }
            Op::Add | Op::Sub if view.known(args[1]).is_some() => {
                // A bias that is not one number for each row.
                let inner =
                    view.node(args[0]).filter(|n| n.op == Op::Linear && n.args.len() == 2).ok_or_else(refuse)?;
                let sign = if node.op == Op::Sub { -1.0 } else { 1.0 };
                let bias = view.known(args[1]).ok_or_else(refuse)?.map(|x| sign * x);
                let w = view.tensor(view.canon(inner.args[1])).ok_or_else(refuse)?;
                let bias = reals(&shape(v), &bias.list(view.count(v)));
                let new = Node::new(Kind::Affine).with("weight", array(w)).with("bias", bias);
                (String::new(), new, view.canon(inner.args[0]))
            }
            Op::Conv { stride, pad, dilation, groups } => {
                let w = weights(1)?;
                if let Some(pool) = self.pool(v, args[0], node, 1.0)? {
                    return Ok(pool);
                }
                let bias = match args.len() {
                    2 => reals(&[w.shape()[0]], &vec![0.0; w.shape()[0]]),
                    _ => array(weights(2)?),
                };
                let geometry = Window { stride, pad, dilation, groups: *groups };
                let input: Vec<u64> = view.shape(args[0]).into_iter().skip(1).collect();
                let new = geometry.conv(array(w), bias, &input).ok_or_else(refuse)?;
                (label(1), new, args[0])
            }
            // A convolution over one axis as the language writes it.
            Op::Reshape { .. } if self.line(args[0], v).is_some() => {
                let (conv, x) = self.line(args[0], v).ok_or_else(refuse)?;
                let Op::Conv { stride, pad, dilation, groups } = &conv.op else { return Err(refuse()) };
                let w = view.node(view.canon(conv.args[1])).ok_or_else(refuse)?;
                let w = match w.op {
                    Op::Reshape { .. } => view.tensor(view.canon(w.args[0])).ok_or_else(refuse)?,
                    _ => view.tensor(view.canon(conv.args[1])).ok_or_else(refuse)?,
                };
                let bias = match conv.args.get(2) {
                    Some(b) => array(view.tensor(view.canon(*b)).ok_or_else(refuse)?),
                    None => reals(&[w.shape()[0]], &vec![0.0; w.shape()[0]]),
                };
                let mut w = array(w);
                w.shape.retain(|_| true);
                if w.shape.len() == 4 {
                    w.shape.remove(2);
                }
                let pad = [pad[1], pad[3]];
                let geometry = Window { stride: &stride[1..], pad: &pad, dilation: &dilation[1..], groups: *groups };
                let input: Vec<u64> = view.shape(x).into_iter().skip(1).collect();
                (String::new(), geometry.conv(w, bias, &input).ok_or_else(refuse)?, x)
            }
            Op::Reshape { .. } => {
                let (before, after) = (self.extents(args[0]), self.extents(v));
                let start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
                let tail = before.len().checked_sub(after.len()).ok_or_else(refuse)?;
                let merged =
                    before.get(start..=start + tail).is_some_and(|m| m.iter().product::<i64>() == after[start])
                        && before[start + tail + 1..] == after[start + 1..];
                if !merged {
                    return Err(refuse());
                }
                let new = (Node::new(Kind::Flatten).with("input_type", ints(&before)?))
                    .with("start_dim", number(start as i64)?)
                    .with("end_dim", number((start + tail) as i64)?);
                (String::new(), new, args[0])
            }
            Op::Pool { kind, size, stride, pad, .. } if matches!(kind, PoolKind::Sum | PoolKind::Avg) => {
                let kind = if *kind == PoolKind::Sum { Kind::SumPool2d } else { Kind::AvgPool2d };
                let (before, after) = pad.split_at(pad.len() / 2);
                if size.len() != 2 || before != after || view.shape(args[0]).len() != 3 {
                    return Err(refuse());
                }
                (String::new(), window(kind, size, stride, before)?, args[0])
            }
            Op::Div => {
                // The mean of a window: its sum, divided by the number of elements.
                let by = view.known(args[1]).ok_or_else(refuse)?;
                if let (Num::One(n), Some(inner)) = (&by, view.node(args[0]))
                    && let Op::Conv { .. } = inner.op
                    && let Some(pool) = self.pool(v, view.canon(inner.args[0]), inner, *n)?
                {
                    return Ok(pool);
                }
                let exact = |x: &f64| x.to_bits() << 12 == 0;
                let powers = match &by {
                    Num::One(x) => exact(x),
                    Num::Each(list) => list.iter().all(exact),
                };
                if !powers {
                    return Err(refuse());
                }
                let scale = reals(&shape(v), &by.map(|x| 1.0 / x).list(view.count(v)));
                (String::new(), Node::new(Kind::Scale).with("scale", scale), args[0])
            }
            Op::Mul => {
                let (c, x) = match (view.known(args[0]), view.known(args[1])) {
                    (Some(c), _) => (c, args[1]),
                    (_, Some(c)) => (c, args[0]),
                    _ => return Err(refuse()),
                };
                (String::new(), Node::new(Kind::Scale).with("scale", reals(&shape(v), &c.list(view.count(v)))), x)
            }
            Op::Gt | Op::Lt => {
                let (x, c) = if node.op == Op::Gt { (args[0], args[1]) } else { (args[1], args[0]) };
                let c = view.known(c).filter(|_| view.dtype(x) == DType::F32).ok_or_else(refuse)?;
                (
                    String::new(),
                    Node::new(Kind::Threshold).with("threshold", reals(&shape(v), &c.list(view.count(v)))),
                    x,
                )
            }
            Op::PlasticPre { conn, .. } => {
                let what = format!("the plastic synapses of `{}`", view.m.conns[conn.index()].name);
                return Err(cannot(what, "NIR holds weights that do not change"));
            }
            _ => return Err(refuse()),
        };
        let at = self.add(&name, new);
        self.made.insert(v, at);
        self.into(x, at)?;
        Ok(at)
    }

    /// A convolution of each channel with ones, divided by `n`, as a pool.
    fn pool(&mut self, v: ValueId, x: ValueId, conv: &graph::Node, n: f64) -> Result<Option<usize>, Diagnostic> {
        let Op::Conv { stride, pad, dilation, groups } = &conv.op else { return Ok(None) };
        let Some(w) = self.view.tensor(self.view.canon(conv.args[1])) else { return Ok(None) };
        let (before, after) = pad.split_at(pad.len() / 2);
        let size: Vec<u64> = w.shape()[2..].iter().map(|n| *n as u64).collect();
        let elements = size.iter().product::<u64>();
        let ones = w.shape()[1] == 1 && *groups == w.shape()[0] as u64 && (0..w.len()).all(|k| w.get_f64(k) == 1.0);
        let plain = conv.args.len() == 2 && size.len() == 2 && before == after && dilation.iter().all(|d| *d == 1);
        if !ones || !plain || !(n == 1.0 || n == elements as f64) {
            return Ok(None);
        }
        let kind = if n == 1.0 { Kind::SumPool2d } else { Kind::AvgPool2d };
        let at = self.add("", window(kind, &size, stride, before)?);
        self.made.insert(v, at);
        self.into(x, at)?;
        Ok(Some(at))
    }

    /// The convolution over `[c, 1, n]` that `reshape(conv(reshape(x)))` is, and x.
    fn line(&self, conv: ValueId, result: ValueId) -> Option<(&'a graph::Node, ValueId)> {
        let node = self.view.node(conv).filter(|n| matches!(n.op, Op::Conv { .. }))?;
        let inner = self.view.node(node.args[0]).filter(|n| matches!(n.op, Op::Reshape { .. }))?;
        let x = self.view.canon(inner.args[0]);
        let (from, over) = (self.view.shape(x), self.view.shape(node.args[0]));
        let (out, to) = (self.view.shape(conv), self.view.shape(result));
        let one = |long: &[u64], short: &[u64]| matches!((long, short), ([a, 1, b], [c, d]) if a == c && b == d);
        let Op::Conv { pad, .. } = &node.op else { return None };
        (one(&over, &from) && one(&out, &to) && pad.len() == 4 && pad[0] == 0 && pad[2] == 0).then_some((node, x))
    }
}

/// Geometry of a convolution.
struct Window<'a> {
    stride: &'a [u64],
    pad: &'a [u64],
    dilation: &'a [u64],
    groups: u64,
}

impl Window<'_> {
    fn conv(&self, weight: Array, bias: Array, input: &[u64]) -> Option<Node> {
        let (before, after) = self.pad.split_at(self.pad.len() / 2);
        let kind = match (self.stride.len(), input.len()) {
            (1, 1) => Kind::Conv1d,
            (2, 2) => Kind::Conv2d,
            _ => return None,
        };
        // Python's nir takes plain numbers where there is one axis.
        let list = |v: &[u64]| match v {
            [one] => number(*one as i64).ok(),
            v => ints(&v.iter().map(|n| *n as i64).collect::<Vec<_>>()).ok(),
        };
        if before != after || weight.shape.len() != input.len() + 2 {
            return None;
        }
        let node = Node::new(kind).with("weight", weight).with("bias", bias);
        let node = node.with("input_shape", list(input)?).with("stride", list(self.stride)?);
        let node = node.with("padding", list(before)?).with("dilation", list(self.dilation)?);
        Some(node.with("groups", number(self.groups as i64).ok()?))
    }
}

fn window(kind: Kind, size: &[u64], stride: &[u64], pad: &[u64]) -> Result<Node, Diagnostic> {
    let list = |v: &[u64]| ints(&v.iter().map(|n| *n as i64).collect::<Vec<_>>());
    let node = Node::new(kind).with("kernel_size", list(size)?);
    Ok(node.with("stride", list(stride)?).with("padding", list(pad)?))
}

/// What others see of a cell.
fn gives(c: &Cell) -> ValueId {
    c.fire.as_ref().map_or(c.next, |f| f.spikes)
}

/// The name of a layer: that of its weights without what follows the last dot or underscore.
fn stem(name: &str) -> &str {
    [".weight", "_weight"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name)
}

const MEMBRANE: &str = "the membrane of";

fn membrane_of(name: &str) -> Diagnostic {
    cannot(format!("{MEMBRANE} `{name}`, which something reads"), "spiking neurons of NIR give spikes alone")
}

fn membrane(d: &Diagnostic) -> bool {
    d.message.contains(MEMBRANE)
}

pub fn reals(shape: &[usize], list: &[f64]) -> Array {
    let narrow = list.iter().all(|x| f64::from(*x as f32) == *x);
    let (elem, bytes) = match narrow {
        true => (crate::tree::Elem::F32, list.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect()),
        false => (crate::tree::Elem::F64, list.iter().flat_map(|x| x.to_le_bytes()).collect()),
    };
    Array { elem, shape: shape.to_vec(), bytes }
}

fn array(t: &Tensor) -> Array {
    reals(t.shape(), &(0..t.len()).map(|k| t.get_f64(k)).collect::<Vec<_>>())
}

fn ints(v: &[i64]) -> Result<Array, Diagnostic> {
    Array::from_i64(vec![v.len()], v).ok_or_else(|| cannot("a list".to_owned(), "it has other extents"))
}

fn number(x: i64) -> Result<Array, Diagnostic> {
    Array::from_i64(Vec::new(), &[x]).ok_or_else(|| cannot("a number".to_owned(), "it has extents"))
}
