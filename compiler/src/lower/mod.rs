//! Graph to kernels: every op of the solved graph becomes loops over typed buffers, once for all backends.
//!
//! Element-wise ops of one extent are fused into clusters (`pointwise`); every other op is an anchor with a kernel of
//! its own. `schedule` orders both, `homes` decides where values live and which states are updated in place, and the
//! emitters write the kernels. The order of arithmetic is that of the op definitions, whatever the fusion.

mod contraction;
mod data;
mod homes;
mod pointwise;
mod reduction;
mod schedule;
mod synapses;

use crate::Errors;
use crate::pipeline::{LineHome, Options, StateHome};
use crate::rebuild::constants_of;
use homes::Homes;
use nc_ir::Diagnostic;
use nc_ir::graph::connect::SynapseTable;
use nc_ir::graph::{Class, ConnId, Graph, LineId, Module, Node, Op, ValueId};
use nc_ir::kernel::{BufId, Program};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use rustc_hash::FxHashMap;
use schedule::{Item, Schedule};
use std::rc::Rc;

/// Part boundaries of element-wise kernels are multiples of this many elements.
pub(crate) const ALIGN: u64 = 16;

/// What the lowering gives back.
pub struct Lowered {
    /// The kernels.
    pub program: Program,
    /// Homes of the states.
    pub states: Vec<StateHome>,
    /// Homes of the delay lines.
    pub lines: Vec<LineHome>,
    /// Choices of representation.
    pub report: Vec<String>,
}

/// Lowers a solved, folded module whose dimensions are bound.
///
/// # Errors
/// `E0702` for an op without kernels; the errors of connectivity expansion.
pub fn lower(module: &Module, options: &Options) -> Result<Lowered, Errors> {
    let facts = Facts::of(module);
    let schedule = Schedule::of(&facts)?;
    let mut cx = Lowering {
        homes: Homes::default(),
        facts,
        program: Program::new(module.name.clone(), options.parts.max(1)),
        options,
        const_buffers: FxHashMap::default(),
        lists: schedule.list_of.clone(),
        tables: FxHashMap::default(),
        report: Vec::new(),
        errors: Vec::new(),
    };
    cx.allocate(&schedule);
    for item in &schedule.items {
        match item {
            Item::Cluster(cluster) => cx.cluster(cluster),
            Item::Anchor(node) => cx.anchor(&module.graph.nodes[*node]),
            Item::Scatter { events, target, every } => cx.scatter(*events, *target, *every),
        }
    }
    if !cx.errors.is_empty() {
        return Err(cx.errors);
    }
    let (states, lines) = (cx.state_homes(), cx.line_homes());
    Ok(Lowered { program: cx.program, states, lines, report: cx.report })
}

/// What the module says about each value, gathered once.
pub(crate) struct Facts<'a> {
    pub module: &'a Module,
    /// The constant that a value is.
    pub known: Vec<Option<&'a Tensor>>,
    /// The node that defines a value, by index.
    pub def: Vec<Option<usize>>,
    /// The nodes that use a value, by index.
    pub users: Vec<Vec<usize>>,
    /// The last node that uses a value, by index; roots count as after the last node.
    pub last_use: Vec<usize>,
    /// Constants that are the weights of products and finite throughout.
    pub finite: Vec<bool>,
    /// Values that are mostly zero at run time: products with a truth value, and states that hold such.
    pub sparse: Vec<bool>,
}

/// Another name for a stretch of a value's elements: reshapes, contiguous slices, and scalars that were broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct View {
    /// The value whose elements these are.
    pub base: ValueId,
    /// First element.
    pub offset: u64,
}

impl<'a> Facts<'a> {
    fn of(module: &'a Module) -> Facts<'a> {
        let graph = &module.graph;
        let mut def = vec![None; graph.values.len()];
        let mut last_use = vec![0; graph.values.len()];
        let mut users = vec![Vec::new(); graph.values.len()];
        for (k, node) in graph.nodes.iter().enumerate() {
            for r in &node.results {
                def[r.index()] = Some(k);
            }
            for a in &node.args {
                last_use[a.index()] = k;
                users[a.index()].push(k);
            }
        }
        for r in crate::rebuild::roots(module) {
            last_use[r.index()] = usize::MAX;
        }
        // A view keeps its base alive.
        for node in graph.nodes.iter().rev() {
            if matches!(node.op, Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. }) {
                let u = last_use[node.results[0].index()];
                let base = &mut last_use[node.args[0].index()];
                *base = (*base).max(u);
            }
        }
        let finite = vec![false; graph.values.len()];
        let mut facts = Facts {
            module,
            known: constants_of(graph, &module.consts),
            def,
            users,
            last_use,
            finite,
            sparse: Vec::new(),
        };
        for node in &graph.nodes {
            if let (Op::Linear | Op::Conv { .. }, [_, w, ..]) = (&node.op, node.args.as_slice()) {
                facts.finite[w.index()] = facts.known[w.index()].is_some_and(is_finite);
            }
        }
        facts.sparse = facts.find_sparse();
        facts
    }

    pub fn graph(&self) -> &'a Graph {
        &self.module.graph
    }

    pub fn node_of(&self, v: ValueId) -> Option<&'a Node> {
        self.def[v.index()].map(|k| &self.module.graph.nodes[k])
    }

    pub fn ty(&self, v: ValueId) -> &'a TensorType {
        self.module.graph.ty(v)
    }

    pub fn count(&self, v: ValueId) -> u64 {
        crate::rebuild::count(self.ty(v))
    }

    pub fn extents(&self, v: ValueId) -> Vec<u64> {
        self.ty(v).extents().unwrap_or_default()
    }

    /// The scalar constant that stands for every element of a value.
    pub fn splat(&self, v: ValueId) -> Option<nc_ir::kernel::Scalar> {
        let base = self.view(v).base;
        let t = self.known[base.index()].filter(|t| t.len() == 1)?;
        nc_ir::graph::expand::load(t, 0)
    }

    /// Follows reshapes, contiguous slices and broadcasts of scalars to the value that holds the elements.
    pub fn view(&self, v: ValueId) -> View {
        let mut view = View { base: v, offset: 0 };
        while let Some(node) = self.node_of(view.base) {
            let x = match node.args.first() {
                Some(x) => *x,
                None => break,
            };
            match &node.op {
                Op::Reshape { .. } => view.base = x,
                Op::Broadcast { .. } if self.count(x) == 1 || self.count(x) == self.count(view.base) => view.base = x,
                Op::Slice { start, stop, step } => match contiguous(&self.extents(x), start, stop, step) {
                    Some(offset) => view = View { base: x, offset: view.offset + offset },
                    None => break,
                },
                _ => break,
            }
        }
        view
    }

    /// True if the op only renames elements.
    pub fn is_view(&self, node: &Node) -> bool {
        node.results.len() == 1 && self.view(node.results[0]).base != node.results[0]
    }

    fn find_sparse(&self) -> Vec<bool> {
        let graph = self.graph();
        let mut sparse = vec![false; graph.values.len()];
        for name in &self.module.sparse {
            for p in self.module.inputs.iter().filter(|p| p.name == *name) {
                sparse[p.value.index()] = true;
            }
            for s in self.module.states.iter().filter(|s| s.name == *name) {
                sparse[s.read.index()] = true;
            }
        }
        // Twice, so that what a state's next value tells reaches the readers of the state.
        for _ in 0..2 {
            for node in &graph.nodes {
                let is = |v: &ValueId| sparse[v.index()] || self.is_truth(*v);
                let zero = |v: &ValueId| self.splat(*v).is_some_and(|s| s.bits() == 0);
                let found = match &node.op {
                    Op::Mul => self.ty(node.args[0]).dtype.is_float() && node.args.iter().any(is),
                    Op::Select => zero(&node.args[2]) || zero(&node.args[1]) && sparse[node.args[2].index()],
                    Op::Reshape { .. } | Op::Slice { .. } => sparse[node.args[0].index()],
                    _ => false,
                };
                if found {
                    sparse[node.results[0].index()] = true;
                }
            }
            for s in &self.module.states {
                if sparse[s.next.index()] {
                    sparse[s.read.index()] = true;
                }
            }
        }
        sparse
    }

    /// True for a truth value that was turned into a number: zeros and ones.
    fn is_truth(&self, v: ValueId) -> bool {
        self.node_of(v).is_some_and(|n| matches!(n.op, Op::Cast { .. }) && self.ty(n.args[0]).dtype == DType::Bool)
    }

    /// Whose events drive a product with `x`, if it is worth walking events: spikes, or a value that is mostly zero.
    pub fn drive(&self, x: ValueId) -> Drive {
        let view = self.view(x);
        if self.count(view.base) != self.count(x) {
            return Drive::Dense;
        }
        if let Some(node) = self.node_of(view.base)
            && matches!(node.op, Op::Cast { .. })
            && self.ty(node.args[0]).dtype == DType::Bool
        {
            let spikes = self.view(node.args[0]);
            if self.count(spikes.base) == self.count(x) {
                return Drive::Spikes(self.source(spikes.base));
            }
        }
        if self.sparse[view.base.index()] { Drive::Graded(view.base) } else { Drive::Dense }
    }

    /// Where the events of a spike value come from.
    pub fn source(&self, v: ValueId) -> Source {
        match self.node_of(v).map(|n| &n.op) {
            Some(Op::Delayed { line, ticks }) => Source::Line(*line, *ticks),
            _ => Source::Now(v),
        }
    }
}

/// How the input of a product arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drive {
    /// Every element is read.
    Dense,
    /// Ones at the events, zeros elsewhere.
    Spikes(Source),
    /// The value itself at its non-zero elements.
    Graded(ValueId),
}

/// A stream of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Source {
    /// The non-zero elements of a value of this tick.
    Now(ValueId),
    /// Those that a delay line remembers, so many ticks ago.
    Line(LineId, u32),
}

/// True if every element is a finite number.
fn is_finite(t: &Tensor) -> bool {
    match t.dtype() {
        DType::F32 => t.as_slice::<f32>().iter().all(|x| x.is_finite()),
        _ => (0..t.len()).all(|k| t.get_f64(k).is_finite()),
    }
}

/// The offset of a slice that keeps its elements adjacent, or `None`.
fn contiguous(extents: &[u64], start: &[u64], stop: &[u64], step: &[u64]) -> Option<u64> {
    if step.iter().any(|s| *s != 1) {
        return None;
    }
    // Adjacent if, after the first axis that is not taken whole, nothing but single elements came before it.
    let taken: Vec<u64> = start.iter().zip(stop).map(|(a, b)| b.saturating_sub(*a)).collect();
    let first_partial = (0..extents.len()).rev().find(|k| taken[*k] != extents[*k]).unwrap_or(0);
    if taken[..first_partial].iter().any(|n| *n != 1) {
        return None;
    }
    let mut stride = 1;
    let mut offset = 0;
    for k in (0..extents.len()).rev() {
        offset += start[k] * stride;
        stride *= extents[k];
    }
    Some(offset)
}

pub(crate) struct Lowering<'a> {
    pub facts: Facts<'a>,
    pub homes: Homes,
    pub program: Program,
    pub options: &'a Options,
    /// Constants of the model that are read as they stand.
    const_buffers: FxHashMap<ValueId, BufId>,
    /// The schedule's list of each source.
    pub lists: FxHashMap<Source, usize>,
    /// Connectivities that were expanded.
    pub tables: FxHashMap<ConnId, Rc<SynapseTable>>,
    pub report: Vec<String>,
    pub errors: Errors,
}

impl Lowering<'_> {
    fn anchor(&mut self, node: &Node) {
        let result = match &node.op {
            Op::Linear => self.linear(node),
            Op::Matmul => self.matmul(node),
            Op::Conv { .. } => self.conv(node),
            Op::Pool { .. } => self.pool(node),
            Op::Reduce { .. } => self.reduce(node),
            Op::Argmax { .. } => self.argmax(node),
            Op::Broadcast { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. } => self.copy(node),
            Op::Gather { .. } => self.gather(node),
            Op::Project { .. } => self.project(node),
            Op::PlasticPre { .. } => self.plastic_pre(node),
            Op::PlasticPost { .. } => self.plastic_post(node),
            op => Err(unsupported(op)),
        };
        if let Err(e) = result {
            self.errors.push(e);
        }
    }

    /// The message for something that the lowering itself got wrong.
    pub fn bug(&self, what: impl Into<String>) -> Diagnostic {
        Diagnostic::error_nowhere("E0799", format!("lowering {}: {}", self.facts.module.name, what.into()))
            .with_hint("this is a bug of nc: please report the model")
    }

    fn state_homes(&self) -> Vec<StateHome> {
        let module = self.facts.module;
        let home = |k: usize| StateHome {
            name: module.states[k].name.clone(),
            ty: self.facts.ty(module.states[k].read).clone(),
            buffer: self.homes.states[k],
        };
        (0..module.states.len()).map(home).collect()
    }

    fn line_homes(&self) -> Vec<LineHome> {
        let module = self.facts.module;
        let home = |k: usize| LineHome {
            name: module.lines[k].name.clone(),
            ty: module.lines[k].ty.clone(),
            depth: module.lines[k].depth,
            frames: self.homes.line_frames[k],
            events: self.homes.line_events[k],
        };
        (0..module.lines.len()).map(home).collect()
    }
}

/// An op that has no kernels.
pub(crate) fn unsupported(op: &Op) -> Diagnostic {
    Diagnostic::error_nowhere("E0702", format!("`{}` has no kernels in this build", op.info().name))
        .with_hint("the interpreter runs it: use `--target interp`")
}

/// True for ops that are computed element by element inside a cluster.
pub(crate) fn fusible(op: &Op) -> bool {
    op.info().class == Class::Elementwise || matches!(op, Op::Iota { .. } | Op::Tick | Op::Delayed { .. })
}
