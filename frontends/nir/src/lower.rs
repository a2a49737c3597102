//! From a flat graph with shapes to a model graph.
//!
//! Nodes become ordinary ops, states of neurons become [`State`]s, edges that carry an earlier value read [`DelayLine`]s.
//! Spikes are `bool` and are cast where numbers are needed, so that products with them follow the events.

use crate::flat::{Flat, Order};
use crate::model::Node;
use crate::neuron::Part;
use crate::preset::{Bias, Discretisation, Form, Knobs, RecurrentBias, Spikes, Weights};
use crate::primitive::Kind;
use crate::shape::{Shape, Shapes, flat_axes, window};
use crate::tree::Array;
use nc_ir::graph::{Choice, DelayLine, GraphBuilder, LineId, Module, OpError, Port, Probe, Real, State, ValueId};
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// Longest delay in ticks.
const MAX_TICKS: f64 = 1e6;
/// Most different delays in a node.
const MAX_DELAYS: usize = 4096;

/// The value of a node.
#[derive(Clone, Copy, Debug)]
struct Wire {
    /// `bool` for spikes, else `f32`.
    value: ValueId,
    /// For nodes with weights: what they are applied to.
    operand: Option<ValueId>,
}

/// Writes the module.
pub struct Lower<'a> {
    pub(crate) flat: &'a Flat,
    pub(crate) shapes: &'a Shapes,
    order: &'a Order,
    discretisation: &'a Discretisation,
    /// Seconds per tick; 1 where no node asks.
    pub(crate) dt: f64,
    pub(crate) module: Module,
    wires: Vec<Option<Wire>>,
    /// Edges into each node, in the order of the file.
    into: Vec<Vec<usize>>,
    /// The knobs that belong to no single node.
    global: &'a Knobs,
    /// Delay lines by node.
    lines: BTreeMap<usize, LineId>,
    pub(crate) said: Vec<Diagnostic>,
    /// Values that can be recorded, beside nodes.
    pub(crate) inner: BTreeMap<String, ValueId>,
}

/// True if what the node computes depends on the length of a tick.
pub fn needs_tick(kind: Kind, knobs: &Knobs) -> bool {
    match kind {
        Kind::IF => knobs.if_step == crate::preset::If::Dt,
        Kind::Delay => true,
        kind => kind.is_neuron(),
    }
}

impl<'a> Lower<'a> {
    /// Lowers everything.
    ///
    /// # Errors
    /// E0937 for what the discretisation has no place for, E0933 for values without meaning.
    pub fn run(
        flat: &'a Flat,
        shapes: &'a Shapes,
        order: &'a Order,
        discretisation: &'a Discretisation,
        dt: Option<f64>,
    ) -> Result<Lower<'a>, Diagnostic> {
        let module = Module { dt: dt.map(Real), ..Module::default() };
        let wires = vec![None; flat.nodes.len()];
        let (lines, inner) = (BTreeMap::new(), BTreeMap::new());
        let dt = dt.unwrap_or(1.0);
        let mut into = vec![Vec::new(); flat.nodes.len()];
        for (e, (_, b)) in flat.edges.iter().enumerate() {
            into[*b].push(e);
        }
        let global = match flat.nodes.iter().any(|(_, n)| n.kind.has_current()) {
            true => &discretisation.current_based,
            false => &discretisation.knobs,
        };
        let said = Vec::new();
        let mut l = Lower { flat, shapes, order, discretisation, dt, module, wires, into, global, lines, said, inner };
        l.choices();
        l.inputs()?;
        l.declare_lines()?;
        for k in &order.nodes {
            if l.wires[*k].is_none() {
                let wire = l.node(*k)?;
                let name = flat.nodes[*k].0.clone();
                l.module.builder().name(wire.value, &name);
                l.wires[*k] = Some(wire);
            }
        }
        for (k, line) in &l.lines {
            if let Some(w) = l.wires[*k] {
                l.module.lines[line.index()].source = w.value;
            }
        }
        for (k, (name, node)) in flat.nodes.iter().enumerate() {
            if node.kind == Kind::Output && flat.outer[k] {
                let value = l.wire(k)?.value;
                l.module.outputs.push(Port { name: name.clone(), value });
            }
        }
        Ok(l)
    }

    /// Records a node's output, or a state such as `NODE.v`.
    ///
    /// # Errors
    /// E0940 for a name that is neither.
    pub fn probe(&mut self, name: &str) -> Result<(), Diagnostic> {
        let node = self.flat.nodes.iter().position(|(n, _)| n == name);
        let value = match node {
            Some(k) => Some(self.wire(k)?.value),
            None => self.inner.get(name).copied(),
        };
        let Some(value) = value else {
            let d = Diagnostic::error_nowhere("E0940", format!("there is no node `{name}` to record"));
            let names = self.flat.nodes.iter().map(|n| n.0.as_str()).chain(self.inner.keys().map(String::as_str));
            return Err(match nc_ir::diag::nearest(name, names) {
                Some(n) => d.with_hint(format!("did you mean `{n}`?")),
                None => d.with_hint("nodes of nested graphs are named OUTER.INNER, states NODE.v and NODE.i"),
            });
        };
        // An output of the same name is the same array.
        if !self.module.outputs.iter().any(|o| o.name == name) && !self.module.probes.iter().any(|p| p.name == name) {
            self.module.probes.push(Probe { name: name.to_owned(), value, every: 1 });
        }
        Ok(())
    }

    pub(crate) fn knobs(&self, kind: Kind) -> &'a Knobs {
        match kind.has_current() {
            true => &self.discretisation.current_based,
            false => &self.discretisation.knobs,
        }
    }

    fn choices(&mut self) {
        let mut seen = BTreeSet::new();
        for (_, node) in &self.flat.nodes {
            let kind = node.kind;
            if (kind.is_neuron() || kind == Kind::Delay) && seen.insert(kind) {
                let text = match kind {
                    Kind::Delay => "whole ticks, round(delay / dt)".to_owned(),
                    _ => {
                        let used = |name: &str| match name {
                            "order" | "bias" => kind.has_current(),
                            "reset" | "compare" | "spikes" => kind.fires(),
                            "decay" | "gain" => !matches!(kind, Kind::I | Kind::IF),
                            "if" => kind == Kind::IF,
                            "input_delay" | "recurrent_delay" => false,
                            _ => true,
                        };
                        let list: Vec<String> = (self.knobs(kind).list().into_iter())
                            .filter(|(n, _)| used(n))
                            .map(|(n, v)| format!("{n}={v}"))
                            .collect();
                        format!("{}: {}", self.discretisation.text, list.join(" "))
                    }
                };
                self.module.choices.push(Choice { subject: kind.to_string(), text });
            }
        }
        let global = self.global;
        let text = format!(
            "inputs come {} ticks late, edges that close a circle take {}",
            global.input_delay, global.recurrent_delay
        );
        self.module.choices.push(Choice { subject: "edges".to_owned(), text });
    }

    fn inputs(&mut self) -> Result<(), Diagnostic> {
        for (k, (name, node)) in self.flat.nodes.iter().enumerate() {
            if node.kind == Kind::Input && self.flat.outer[k] {
                let ty = self.type_of(&self.shapes.gives[k], DType::F32);
                let value = self.module.graph.add_param(ty, name.clone());
                self.module.inputs.push(Port { name: name.clone(), value });
                self.wires[k] = Some(Wire { value, operand: None });
            }
        }
        Ok(())
    }

    /// Delay lines of nodes whose earlier values are read.
    fn declare_lines(&mut self) -> Result<(), Diagnostic> {
        let global = self.global;
        let mut depth: BTreeMap<usize, u32> = BTreeMap::new();
        for (e, (a, _)) in self.flat.edges.iter().enumerate() {
            let ticks = self.late(e, global);
            if ticks > 0 {
                let d = depth.entry(*a).or_default();
                *d = ticks.max(*d);
            }
        }
        for (k, depth) in depth {
            let dtype = if self.spikes(k, 0) { DType::Bool } else { DType::F32 };
            let ty = self.type_of(&self.shapes.gives[k], dtype);
            // The source is filled in when it is computed.
            let line = self.add_line(&self.flat.nodes[k].0.clone(), ValueId(0), ty, depth);
            self.lines.insert(k, line);
        }
        Ok(())
    }

    /// Ticks by which the value of an edge is late.
    fn late(&self, e: usize, global: &Knobs) -> u32 {
        let from = self.flat.edges[e].0;
        match () {
            () if self.order.cut[e] => global.recurrent_delay,
            () if self.flat.nodes[from].1.kind == Kind::Input && self.flat.outer[from] => global.input_delay,
            () => 0,
        }
    }

    fn add_line(&mut self, name: &str, source: ValueId, ty: TensorType, depth: u32) -> LineId {
        let id = LineId(self.module.lines.len() as u32);
        self.module.lines.push(DelayLine { name: name.to_owned(), source, ty, depth });
        id
    }

    /// True if the node gives spikes, which are `bool`.
    fn spikes(&self, k: usize, depth: usize) -> bool {
        let node = &self.flat.nodes[k].1;
        match node.kind {
            Kind::Threshold => true,
            kind if kind.fires() => self.knobs(kind).spikes == Spikes::One,
            Kind::Delay | Kind::Flatten | Kind::Output | Kind::Input
                if !(node.kind == Kind::Input && self.flat.outer[k]) =>
            {
                match self.into[k][..] {
                    [e] => depth < 1000 && self.spikes(self.flat.edges[e].0, depth + 1),
                    _ => false,
                }
            }
            _ => false,
        }
    }

    pub(crate) fn type_of(&self, shape: &[usize], dtype: DType) -> TensorType {
        TensorType::new(dtype, shape.iter().map(|n| *n as u64))
    }

    fn wire(&self, k: usize) -> Result<Wire, Diagnostic> {
        self.wires[k].ok_or_else(|| {
            Diagnostic::error_nowhere("E0936", format!("node `{}` needs its own value", self.flat.nodes[k].0))
        })
    }

    /// Appends an op.
    pub(crate) fn op(
        &mut self,
        f: impl FnOnce(&mut GraphBuilder<'_>) -> Result<ValueId, OpError>,
    ) -> Result<ValueId, Diagnostic> {
        f(&mut self.module.builder()).map_err(|e| Diagnostic::error_nowhere("E0935", format!("{e}")))
    }

    pub(crate) fn constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, Diagnostic> {
        let id = self.module.add_const(name, tensor);
        self.op(|b| b.constant(id))
    }

    pub(crate) fn scalar(&mut self, x: f32) -> Result<ValueId, Diagnostic> {
        self.constant("", Tensor::scalar_f32(x))
    }

    pub(crate) fn dtype(&self, v: ValueId) -> DType {
        self.module.graph.ty(v).dtype
    }

    /// Spikes as numbers.
    pub(crate) fn number(&mut self, v: ValueId) -> Result<ValueId, Diagnostic> {
        match self.dtype(v) {
            DType::F32 => Ok(v),
            _ => self.op(|b| b.cast(v, DType::F32)),
        }
    }

    /// A state that begins with zeros.
    pub(crate) fn state(&mut self, name: String, ty: TensorType) -> ValueId {
        let zero = if ty.dtype == DType::F32 { Tensor::scalar_f32(0.0) } else { Tensor::zeros(ty.dtype, Vec::new()) };
        let init = self.module.add_const("", zero);
        let read = self.module.graph.add_param(ty, name.clone());
        self.module.states.push(State { name, read, next: read, init });
        read
    }

    /// Says what a state becomes.
    pub(crate) fn becomes(&mut self, read: ValueId, next: ValueId) {
        if let Some(s) = self.module.states.iter_mut().rev().find(|s| s.read == read) {
            s.next = next;
        }
    }

    /// What comes along an edge: its value, in the shape that the target takes.
    fn along(&mut self, e: usize) -> Result<Wire, Diagnostic> {
        let (a, b) = self.flat.edges[e];
        let global = self.global;
        let late = self.late(e, global);
        let mut wire = match (late, self.lines.get(&a).copied()) {
            (1.., Some(line)) => Wire { value: self.op(|g| g.delayed(line, late))?, operand: None },
            _ => self.wire(a)?,
        };
        let want = &self.shapes.takes[b];
        if self.shapes.gives[a] != *want {
            let shape: Vec<u64> = want.iter().map(|n| *n as u64).collect();
            wire = Wire { value: self.op(|g| g.reshape(wire.value, shape))?, operand: None };
        }
        Ok(wire)
    }

    /// The sum of what comes in; spikes stay spikes if there is one edge.
    fn sum(&mut self, k: usize) -> Result<ValueId, Diagnostic> {
        let edges = self.into[k].clone();
        if let [e] = edges[..] {
            return Ok(self.along(e)?.value);
        }
        let mut sum = None;
        for e in edges {
            let v = self.along(e)?.value;
            let v = self.number(v)?;
            sum = Some(match sum {
                None => v,
                Some(s) => self.op(|b| b.add(s, v))?,
            });
        }
        match sum {
            Some(s) => Ok(s),
            None => {
                let zeros = self.scalar(0.0)?;
                let shape = self.shapes.takes[k].iter().map(|n| *n as u64).collect();
                self.op(|b| b.broadcast(zeros, shape))
            }
        }
    }

    fn node(&mut self, k: usize) -> Result<Wire, Diagnostic> {
        let flat = self.flat;
        let node = &flat.nodes[k].1;
        let plain = |value| Ok(Wire { value, operand: None });
        match node.kind {
            Kind::Input | Kind::Output | Kind::NIRGraph => plain(self.sum(k)?),
            kind if kind.is_neuron() => {
                let (parts, scale) = self.parts(k)?;
                plain(self.neuron(k, &parts, scale)?)
            }
            Kind::Delay => plain(self.delay(k)?),
            Kind::Flatten => {
                let x = self.sum(k)?;
                let shape: Vec<u64> = self.shapes.gives[k].iter().map(|n| *n as u64).collect();
                debug_assert!(flat_axes(node, self.shapes.takes[k].len()).is_some());
                plain(self.op(|b| b.reshape(x, shape))?)
            }
            Kind::Threshold => {
                let x = self.sum(k)?;
                let x = self.number(x)?;
                let th = self.coefficient(k, &["threshold"], |v| v[0])?;
                plain(self.op(|b| b.gt(x, th))?)
            }
            Kind::Scale => {
                let x = self.sum(k)?;
                let x = self.number(x)?;
                let s = self.coefficient(k, &["scale"], |v| v[0])?;
                plain(self.op(|b| b.mul(x, s))?)
            }
            _ => {
                let x = self.sum(k)?;
                let x = self.number(x)?;
                let bias = node.array("bias").cloned();
                let value = self.weighted(k, x, &|w| w, bias.as_ref())?;
                let operand =
                    matches!(node.kind, Kind::Affine | Kind::Linear | Kind::Conv1d | Kind::Conv2d).then_some(x);
                Ok(Wire { value, operand })
            }
        }
    }

    /// Products of a node's weights, each passed through `quantise`, with `x`.
    fn weighted(
        &mut self,
        k: usize,
        x: ValueId,
        quantise: &dyn Fn(f32) -> f32,
        bias: Option<&Array>,
    ) -> Result<ValueId, Diagnostic> {
        let flat = self.flat;
        let (name, node) = (&flat.nodes[k].0, &flat.nodes[k].1);
        let takes = self.shapes.takes[k].clone();
        let gives: Vec<u64> = self.shapes.gives[k].iter().map(|n| *n as u64).collect();
        match node.kind {
            Kind::Affine | Kind::Linear => {
                let w = self.tensor(node, "weight", quantise)?;
                let batch = w.shape().len() - 2;
                let rows = w.shape()[batch];
                let w = self.constant(&format!("{name}.weight"), w)?;
                let full = bias.is_none_or(|b| b.shape == [rows] || b.len() == 1);
                let plain = batch == 0 && full;
                let y = match plain {
                    true => {
                        let bias = match bias {
                            Some(b) => Some(self.bias(name, b, rows)?),
                            None => None,
                        };
                        return self.op(|g| g.linear(x, w, bias));
                    }
                    false if batch == 0 => self.op(|g| g.linear(x, w, None))?,
                    false => {
                        let column: Vec<u64> = takes.iter().map(|n| *n as u64).chain([1]).collect();
                        let x = self.op(|g| g.reshape(x, column))?;
                        let y = self.op(|g| g.matmul(w, x))?;
                        let gives = gives.clone();
                        self.op(|g| g.reshape(y, gives))?
                    }
                };
                match bias {
                    None => Ok(y),
                    Some(b) => {
                        let tensor = self.array_tensor(b, &|b| b)?;
                        let b = self.constant(&format!("{name}.bias"), tensor)?;
                        let b = self.op(|g| g.broadcast(b, gives))?;
                        self.op(|g| g.add(y, b))
                    }
                }
            }
            Kind::Conv1d | Kind::Conv2d => {
                let win = self.geometry(k)?;
                let w = self.tensor(node, "weight", quantise)?;
                let channels = w.shape()[0];
                let w = self.constant(&format!("{name}.weight"), w)?;
                let bias = match bias {
                    Some(b) => Some(self.bias(name, b, channels)?),
                    None => None,
                };
                self.op(|g| g.conv(x, w, bias, win.stride, win.pad, win.dilation, win.groups))
            }
            _ => {
                // A pool is a convolution of each channel with ones: the same sums in the same order.
                let win = self.geometry(k)?;
                let size: Vec<usize> = win.size.iter().map(|n| *n as usize).collect();
                let elements: usize = size.iter().product();
                let shape: Vec<usize> = [takes[0], 1].into_iter().chain(size).collect();
                let ones = vec![1f32; takes[0].saturating_mul(elements)];
                let ones = Tensor::from_vec(shape, ones).ok_or_else(|| self.fault(k, "the window is too large"))?;
                let ones = self.constant("", ones)?;
                let groups = takes[0] as u64;
                let sum = self.op(|g| g.conv(x, ones, None, win.stride, win.pad, win.dilation, groups))?;
                if node.kind == Kind::SumPool2d {
                    return Ok(sum);
                }
                let n = self.scalar(elements as f32)?;
                self.op(|g| g.div(sum, n))
            }
        }
    }

    fn geometry(&self, k: usize) -> Result<crate::shape::Window, Diagnostic> {
        let (name, node) = &self.flat.nodes[k];
        let w = window(node, &self.shapes.takes[k])
            .map_err(|(code, what)| Diagnostic::error_nowhere(code, format!("node `{name}`: {what}")))?;
        let elements = w.size.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        // The window fits into the padded input; with a padding beyond reason it could still be of any size.
        match elements.and_then(|n| n.checked_mul(self.shapes.takes[k][0] as u64)) {
            Some(n) if n < 1 << 28 => Ok(w),
            _ => Err(Diagnostic::error_nowhere("E0941", format!("node `{name}`: the window is too large"))),
        }
    }

    pub(crate) fn fault(&self, k: usize, what: &str) -> Diagnostic {
        Diagnostic::error_nowhere("E0933", format!("node `{}`: {what}", self.flat.nodes[k].0))
    }

    /// A parameter as `f32`, each element passed through `f`.
    fn tensor(&self, node: &Node, name: &str, f: &dyn Fn(f32) -> f32) -> Result<Tensor, Diagnostic> {
        match node.array(name) {
            Some(a) => self.array_tensor(a, f),
            None => Err(Diagnostic::error_nowhere("E0933", format!("a {} has no `{name}`", node.kind))),
        }
    }

    fn array_tensor(&self, a: &Array, f: &dyn Fn(f32) -> f32) -> Result<Tensor, Diagnostic> {
        let data: Vec<f32> = a.values().map(|x| f(x as f32)).collect();
        Tensor::from_vec(a.shape.clone(), data)
            .ok_or_else(|| Diagnostic::error_nowhere("E0933", format!("an array of {:?} has other elements", a.shape)))
    }

    fn bias(&mut self, name: &str, bias: &Array, rows: usize) -> Result<ValueId, Diagnostic> {
        let mut data: Vec<f32> = bias.values().map(|x| x as f32).collect();
        if data.len() == 1 {
            data = vec![data[0]; rows];
        }
        match Tensor::from_vec(vec![rows], data) {
            Some(t) => self.constant(&format!("{name}.bias"), t),
            None => Err(Diagnostic::error_nowhere("E0933", format!("node `{name}`: the bias is of another shape"))),
        }
    }

    fn delay(&mut self, k: usize) -> Result<ValueId, Diagnostic> {
        let x = self.sum(k)?;
        let shape = self.shapes.takes[k].clone();
        let dt = self.dt;
        let ticks = self.elements(k, &["delay"], |v| (v[0] / dt).round_ties_even());
        if ticks.iter().any(|t| !(0.0..=MAX_TICKS).contains(t)) {
            return Err(self.fault(k, "a delay is negative, not finite, or longer than 1,000,000 ticks"));
        }
        let different: BTreeSet<u32> = ticks.iter().map(|t| *t as u32).collect();
        if different.len() > MAX_DELAYS {
            return Err(self.fault(k, "it has more than 4096 different delays"));
        }
        let longest = different.last().copied().unwrap_or(0);
        if longest == 0 {
            return Ok(x);
        }
        let ty = self.type_of(&shape, self.dtype(x));
        let name = format!("{}.past", self.flat.nodes[k].0);
        let line = self.add_line(&name, x, ty, longest);
        let mut y: Option<ValueId> = None;
        for t in different {
            let at = if t == 0 { x } else { self.op(|b| b.delayed(line, t))? };
            y = Some(match y {
                None => at,
                Some(y) => {
                    let mask: Vec<bool> = ticks.iter().map(|d| *d as u32 == t).collect();
                    let mask = Tensor::from_bools(shape.clone(), &mask)
                        .ok_or_else(|| self.fault(k, "the delays are of another shape"))?;
                    let mask = self.constant("", mask)?;
                    self.op(|b| b.select(mask, at, y))?
                }
            });
        }
        y.ok_or_else(|| self.fault(k, "it has no delays"))
    }

    /// A number computed from parameters for each element of a node; a list of one if it is the same for all.
    pub(crate) fn elements(&self, k: usize, names: &[&str], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let shape = &self.shapes.takes[k];
        let node = &self.flat.nodes[k].1;
        let arrays: Vec<Option<&Array>> = names.iter().map(|n| node.array(n)).collect();
        let count: usize = shape.iter().product();
        // Elements that share one value of a parameter, which stands for the axes it does not have.
        let repeat: Vec<usize> = arrays.iter().map(|a| a.map_or(count, |a| count / a.len().max(1)).max(1)).collect();
        let wide = arrays.iter().flatten().any(|a| a.len() > 1);
        (0..if wide { count } else { 1 })
            .map(|i| {
                let values: Vec<f64> = (arrays.iter().zip(&repeat))
                    .map(|(a, r)| a.map_or(0.0, |a| a.get(if a.len() == 1 { 0 } else { i / r }).unwrap_or(f64::NAN)))
                    .collect();
                f(&values)
            })
            .collect()
    }

    /// As [`Lower::elements`], as a constant: a scalar if all are equal.
    pub(crate) fn coefficient(
        &mut self,
        k: usize,
        names: &[&str],
        f: impl Fn(&[f64]) -> f64,
    ) -> Result<ValueId, Diagnostic> {
        let data: Vec<f32> = self.elements(k, names, f).into_iter().map(|x| x as f32).collect();
        self.floats(k, data)
    }

    pub(crate) fn floats(&mut self, k: usize, data: Vec<f32>) -> Result<ValueId, Diagnostic> {
        if data.iter().all(|x| x.to_bits() == data[0].to_bits()) {
            return self.scalar(data[0]);
        }
        let shape: Shape = self.shapes.takes[k].clone();
        match Tensor::from_vec(shape, data) {
            Some(t) => {
                let v = self.constant("", t)?;
                Ok(v)
            }
            None => Err(self.fault(k, "a parameter is of another shape")),
        }
    }

    /// What comes into a neuron, piece by piece, and the factor that all of it was scaled by.
    fn parts(&mut self, k: usize) -> Result<(Vec<Part>, f32), Diagnostic> {
        let flat = self.flat;
        let knobs = *self.knobs(flat.nodes[k].1.kind);
        let edges = self.into[k].clone();
        let source = |e: usize| &flat.nodes[flat.edges[e].0].1;
        let has_weights =
            |e: usize| matches!(source(e).kind, Kind::Affine | Kind::Linear | Kind::Conv1d | Kind::Conv2d);
        let (mut scale, mut largest) = (1f32, 127f32);
        if knobs.weights == Weights::Trunc8 {
            let weights = edges.iter().filter(|e| has_weights(**e)).filter_map(|e| source(*e).array("weight"));
            let most = weights.flat_map(Array::values).fold(0f32, |m, w| m.max((w as f32).abs()));
            if most > 0.0 && most.is_finite() {
                (scale, largest) = (127.0 / most, most);
            }
        }
        let mut parts = Vec::new();
        for e in edges {
            let recurrent = self.order.circular[e];
            let wire = self.along(e)?;
            let by_itself = knobs.weights == Weights::Trunc8
                || (knobs.bias == Bias::Membrane && flat.nodes[k].1.kind.has_current())
                || (recurrent && knobs.recurrent_bias != RecurrentBias::Always);
            let part = match (wire.operand.filter(|_| by_itself), flat.edges[e].0) {
                (Some(x), from) => {
                    let quantise =
                        |w: f32| if knobs.weights == Weights::Trunc8 { (w * 127.0 / largest).trunc() } else { w };
                    let value = match knobs.weights == Weights::Float && source(e).array("bias").is_none() {
                        true => wire.value,
                        false => self.weighted(from, x, &quantise, None)?,
                    };
                    let bias = match source(e).array("bias") {
                        Some(b) => self.late_bias(from, b, scale, recurrent, &knobs)?,
                        None => None,
                    };
                    Part { value, bias, recurrent }
                }
                (None, _) => {
                    let mut value = self.number(wire.value)?;
                    if scale != 1.0 {
                        let s = self.scalar(scale)?;
                        value = self.op(|b| b.mul(value, s))?;
                    }
                    Part { value, bias: None, recurrent }
                }
            };
            parts.push(part);
        }
        // What is part of a circle is added last, as simulators do.
        parts.sort_by_key(|p: &Part| p.recurrent && knobs.form == Form::Decay);
        Ok((parts, scale))
    }

    /// A bias as a value of its own, of the shape of the result; `None` if it is left out.
    fn late_bias(
        &mut self,
        from: usize,
        bias: &Array,
        scale: f32,
        recurrent: bool,
        knobs: &Knobs,
    ) -> Result<Option<ValueId>, Diagnostic> {
        if recurrent && knobs.recurrent_bias == RecurrentBias::Never {
            return Ok(None);
        }
        let gives: Vec<u64> = self.shapes.gives[from].iter().map(|n| *n as u64).collect();
        let mut tensor = self.array_tensor(bias, &|b| b * scale)?;
        if matches!(self.flat.nodes[from].1.kind, Kind::Conv1d | Kind::Conv2d) && tensor.len() > 1 {
            // One number per channel: the first axis.
            let shape = [tensor.len()].into_iter().chain(vec![1; gives.len() - 1]).collect();
            tensor = tensor.reshaped(shape).unwrap_or(tensor);
        }
        let b = self.constant(&format!("{}.bias", self.flat.nodes[from].0), tensor)?;
        let mut b = self.op(|g| g.broadcast(b, gives))?;
        if recurrent && knobs.recurrent_bias == RecurrentBias::AfterFirst {
            let tick = self.op(|g| g.tick())?;
            let zero = self.constant("", Tensor::scalar_i64(0))?;
            let first = self.op(|g| g.eq(tick, zero))?;
            let none = self.scalar(0.0)?;
            b = self.op(|g| g.select(first, none, b))?;
        }
        Ok(Some(b))
    }
}
