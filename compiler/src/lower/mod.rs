//! Graph to kernels: every op of the solved graph becomes loops over typed buffers, once for all backends.
//!
//! Element-wise ops of one extent are fused into clusters (`pointwise`); every other op is an anchor with a kernel of
//! its own. `schedule` orders both, `homes` decides where values live and which states are updated in place, and the
//! emitters write the kernels. The order of arithmetic is that of the op definitions, whatever the fusion.

mod contraction;
mod data;
mod homes;
mod order;
mod pointwise;
mod reduction;
mod region;
mod schedule;
mod synapses;

use crate::Errors;
use crate::cost::{Choice, Counted};
use crate::pipeline::{LineHome, Options, StateHome};
use crate::rebuild::constants_of;
use contraction::{ByRow, Chosen, Registry};
use homes::Homes;
use nc_ir::Diagnostic;
use nc_ir::graph::connect::SynapseTable;
use nc_ir::graph::{Class, ConnId, DelayLine, Graph, LineId, Module, Node, Op, ValueId};
use nc_ir::kernel::{BufId, Program, Scalar};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use rustc_hash::FxHashMap;
use schedule::{Item, Schedule};
use std::rc::Rc;
use std::time::Duration;

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
    /// Choices of representation, in words.
    pub report: Vec<String>,
    /// Choices of representation for products.
    pub products: Vec<Choice>,
    /// How long it took to bring weights into the order in which kernels read them.
    pub packing: Duration,
}

/// Lowers a solved, folded module whose dimensions are bound.
///
/// # Errors
/// `E0702` for an op without kernels; the errors of connectivity expansion.
pub fn lower(module: &Module, options: &Options, counted: Counted) -> Result<Lowered, Errors> {
    let (mut facts, mut products, mut errors) = (Facts::of(module), Registry::with(counted), Vec::new());
    facts.choose(options, &mut products, &mut errors);
    let schedule = Schedule::of(&facts)?;
    let mut cx = Lowering {
        homes: Homes::default(),
        facts,
        program: Program::new(module.name.clone(), options.parts.max(1)),
        options,
        loops: 0,
        const_buffers: FxHashMap::default(),
        lists: schedule.list_of.clone(),
        tables: FxHashMap::default(),
        by_row: FxHashMap::default(),
        report: Vec::new(),
        products,
        counters: Vec::new(),
        packing: Duration::ZERO,
        errors,
    };
    cx.allocate_interface();
    cx.allocate(&schedule);
    cx.items(&schedule);
    cx.products.unmet(options, &mut cx.errors);
    if !cx.errors.is_empty() {
        return Err(cx.errors);
    }
    let (mut states, lines) = (cx.state_homes(), cx.line_homes());
    states.extend(cx.counters.iter().map(|(n, buffer)| StateHome {
        name: format!("profile:{n}"),
        ty: TensorType::new(DType::I64, [2]),
        buffer: *buffer,
    }));
    let (products, packing) = (cx.products.choices, cx.packing);
    Ok(Lowered { program: cx.program, states, lines, report: cx.report, products, packing })
}

/// A value that a graph hands from one run to the next: a state, or what a loop carries.
pub(crate) struct Kept<'a> {
    /// For messages.
    pub name: &'a str,
    /// The parameter that holds it before.
    pub read: ValueId,
    /// What it is afterwards.
    pub next: ValueId,
}

/// What is known about the parameters of a region from the graph around it.
#[derive(Default)]
pub(crate) struct Given<'a> {
    /// Constants.
    pub known: Vec<(ValueId, &'a Tensor)>,
    /// Values all of whose elements are the same constant.
    pub uniform: Vec<(ValueId, Scalar)>,
    /// Values that are mostly zero.
    pub sparse: Vec<ValueId>,
}

/// What is known about each value of the graph that is lowered: the step function, or the body of a region. Gathered
/// once.
pub(crate) struct Facts<'a> {
    /// Owner of the constants and synapses.
    pub module: &'a Module,
    graph: &'a Graph,
    pub states: Vec<Kept<'a>>,
    /// Delay lines; a body has none.
    pub lines: &'a [DelayLine],
    pub outputs: Vec<ValueId>,
    /// Probes and how often they are recorded.
    pub probes: Vec<(ValueId, u64)>,
    /// True for the body of a region: its outputs go to memory that holds anything before.
    pub is_body: bool,
    /// The constant that a value is.
    pub known: Vec<Option<&'a Tensor>>,
    /// Parameters all of whose elements are the same constant.
    uniform: FxHashMap<ValueId, Scalar>,
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
    /// Representations of products, by the index of their node.
    pub chosen: FxHashMap<usize, Chosen>,
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
    /// The facts about a module's step function.
    fn of(module: &'a Module) -> Facts<'a> {
        let states = module.states.iter().map(|s| Kept { name: &s.name, read: s.read, next: s.next }).collect();
        let mut sparse = Vec::new();
        for name in &module.sparse {
            sparse.extend(module.inputs.iter().filter(|p| p.name == *name).map(|p| p.value));
            sparse.extend(module.states.iter().filter(|s| s.name == *name).map(|s| s.read));
        }
        let facts = Facts {
            lines: &module.lines,
            outputs: module.outputs.iter().map(|p| p.value).collect(),
            probes: module.probes.iter().map(|p| (p.value, p.every.max(1))).collect(),
            is_body: false,
            ..Facts::new(module, &module.graph, states)
        };
        facts.complete(Given { sparse, ..Given::default() })
    }

    /// The facts about the body of a region.
    pub fn of_body(
        module: &'a Module,
        graph: &'a Graph,
        states: Vec<Kept<'a>>,
        outputs: Vec<ValueId>,
        given: Given<'a>,
    ) -> Facts<'a> {
        Facts { outputs, ..Facts::new(module, graph, states) }.complete(given)
    }

    fn new(module: &'a Module, graph: &'a Graph, states: Vec<Kept<'a>>) -> Facts<'a> {
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
        Facts {
            module,
            graph,
            states,
            lines: &[],
            outputs: Vec::new(),
            probes: Vec::new(),
            is_body: true,
            known: constants_of(graph, &module.consts),
            uniform: FxHashMap::default(),
            def,
            users,
            last_use,
            finite: vec![false; graph.values.len()],
            sparse: vec![false; graph.values.len()],
            chosen: FxHashMap::default(),
        }
    }

    /// Adds what follows from where the values go and from what is given.
    fn complete(mut self, given: Given<'a>) -> Facts<'a> {
        let graph = self.graph;
        let roots = self.outputs.iter().chain(self.states.iter().map(|s| &s.next));
        for r in roots.chain(self.lines.iter().map(|l| &l.source)).chain(self.probes.iter().map(|p| &p.0)) {
            self.last_use[r.index()] = usize::MAX;
        }
        // A view keeps its base alive.
        for node in graph.nodes.iter().rev() {
            if matches!(node.op, Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. }) {
                let u = self.last_use[node.results[0].index()];
                let base = &mut self.last_use[node.args[0].index()];
                *base = (*base).max(u);
            }
        }
        for (v, t) in given.known {
            self.known[v.index()] = Some(t);
        }
        self.uniform.extend(given.uniform);
        for node in &graph.nodes {
            if let (Op::Linear | Op::Matmul | Op::Conv { .. }, [_, w, ..]) = (&node.op, node.args.as_slice()) {
                self.finite[w.index()] = self.known[w.index()].is_some_and(is_finite);
            }
        }
        for v in given.sparse {
            self.sparse[v.index()] = true;
        }
        self.find_sparse();
        self
    }

    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    pub fn node_of(&self, v: ValueId) -> Option<&'a Node> {
        self.def[v.index()].map(|k| &self.graph.nodes[k])
    }

    pub fn ty(&self, v: ValueId) -> &'a TensorType {
        self.graph.ty(v)
    }

    pub fn count(&self, v: ValueId) -> u64 {
        crate::rebuild::count(self.ty(v))
    }

    pub fn extents(&self, v: ValueId) -> Vec<u64> {
        self.ty(v).extents().unwrap_or_default()
    }

    /// The scalar constant that stands for every element of a value.
    pub fn splat(&self, v: ValueId) -> Option<Scalar> {
        let base = self.view(v).base;
        match self.known[base.index()].filter(|t| t.len() == 1) {
            Some(t) => nc_ir::graph::expand::load(t, 0),
            None => self.uniform.get(&base).copied(),
        }
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

    /// Finds what is mostly zero because its operands are.
    fn find_sparse(&mut self) {
        let mut sparse = std::mem::take(&mut self.sparse);
        // Twice, so that what a state's next value tells reaches the readers of the state.
        for _ in 0..2 {
            for node in &self.graph.nodes {
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
            for s in &self.states {
                if sparse[s.next.index()] {
                    sparse[s.read.index()] = true;
                }
            }
        }
        self.sparse = sparse;
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
    /// How many loops are open around what is lowered.
    pub loops: usize,
    /// Constants of the model that are read as they stand, by where they lie.
    const_buffers: FxHashMap<*const Tensor, BufId>,
    /// The schedule's list of each source.
    pub lists: FxHashMap<Source, usize>,
    /// Connectivities that were expanded.
    pub tables: FxHashMap<ConnId, Rc<SynapseTable>>,
    /// Events that were sorted into rows of so many elements, in the steps that are being written.
    pub by_row: FxHashMap<(Source, u64), ByRow>,
    pub report: Vec<String>,
    pub products: Registry,
    /// Numbers of products and the buffers that count their inputs.
    pub counters: Vec<(usize, BufId)>,
    /// See [`Lowered::packing`].
    pub packing: Duration,
    pub errors: Errors,
}

impl<'a> Lowering<'a> {
    /// Writes the kernels of the scheduled items.
    fn items(&mut self, schedule: &Schedule) {
        for item in &schedule.items {
            match item {
                Item::Cluster(cluster) => self.cluster(cluster),
                Item::Anchor(node) => self.anchor(&self.facts.graph.nodes[*node]),
                Item::Scatter { events, target, every } => self.scatter(*events, *target, *every),
            }
        }
    }

    fn anchor(&mut self, node: &'a Node) {
        let result = match &node.op {
            Op::Linear => self.linear(node),
            Op::Matmul => self.matmul(node),
            Op::Conv { .. } => self.conv(node),
            Op::Pool { .. } => self.pool(node),
            Op::Reduce { .. } => self.reduce(node),
            Op::Argmax { .. } | Op::Argmin { .. } => self.arg_extreme(node),
            Op::Broadcast { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. } => self.copy(node),
            Op::Pad { .. } => self.pad(node),
            Op::Gather { .. } => self.gather(node),
            Op::Scatter { .. } => self.scatter_updates(node),
            Op::Cumulate { .. } => self.cumulate(node),
            Op::Argsort { .. } => self.argsort(node),
            Op::Project { .. } => self.project(node),
            Op::PlasticPre { .. } => self.plastic_pre(node),
            Op::PlasticPost { .. } => self.plastic_post(node),
            Op::If => self.cond(node),
            Op::Scan { .. } => self.scan(node),
            Op::Loop { .. } => self.repeat(node),
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
