//! The model graph: a pure step function over tensors, with explicit state.
//!
//! Guarantees: nodes stand in an order in which every operand is defined before it is used; a region sees only its own
//! parameters; nothing but [`State`] and [`DelayLine`] carries a value from one tick to the next. The text form
//! ([`text`]) reads back to an equal module; [`verify`] checks the numbered constraints.

pub mod attr;
mod bind;
pub mod connect;
pub mod expand;
pub mod infer;
mod op;
pub mod testing;
pub mod text;
pub mod verify;

pub use attr::{AttrValue, CumulateKind, Distribution, Method, PoolKind, Real, ReduceKind, ScatterKind};
pub use connect::{Connectivity, Rule, SynapseDelay, SynapseWeight};
pub use infer::MAX_RANK;
pub use op::{Arity, Class, Op, OpInfo, TABLE};

use crate::tensor::Tensor;
use crate::types::TensorType;
use std::fmt;

entity! {
    /// A value of one graph; regions number their values anew.
    ValueId, "%"
}
entity! {
    /// A node of one graph, in program order.
    NodeId, "node"
}
entity! {
    /// A constant of the module.
    ConstId, "c"
}
entity! {
    /// A delay line of the module.
    LineId, "line"
}
entity! {
    /// A set of synapses of the module.
    ConnId, "conn"
}

/// A value: its type, and the name it had in the source, for messages, probes and partitioning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// Element type and shape.
    pub ty: TensorType,
    /// Name in the source, for example `P.v`; empty if it had none.
    pub name: String,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Operands, in the order of the op's table row.
    pub args: Vec<ValueId>,
    /// Regions, in the order of the op's table row.
    pub regions: Vec<Graph>,
    /// The values it defines.
    pub results: Vec<ValueId>,
}

/// A step function or the body of a region.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Every value; parameters and node results.
    pub values: Vec<Value>,
    /// Values that come from outside, in order.
    pub params: Vec<ValueId>,
    /// Nodes in program order.
    pub nodes: Vec<Node>,
    /// What a region gives back, in order; empty for a module's step function, whose results stand in [`Module`].
    pub results: Vec<ValueId>,
}

// Names are for people: two graphs that differ only in the names of values are equal.
impl PartialEq for Graph {
    fn eq(&self, o: &Graph) -> bool {
        let types = |g: &Graph| g.values.iter().map(|v| v.ty.clone()).collect::<Vec<_>>();
        self.params == o.params && self.nodes == o.nodes && self.results == o.results && types(self) == types(o)
    }
}

impl Eq for Graph {}

impl std::hash::Hash for Graph {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.params.hash(state);
        self.nodes.hash(state);
        self.results.hash(state);
        for v in &self.values {
            v.ty.hash(state);
        }
    }
}

impl Graph {
    /// The value's type.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        &self.values[v.index()].ty
    }

    /// The value's name in the source, or its number.
    pub fn name_of(&self, v: ValueId) -> String {
        match self.values[v.index()].name.as_str() {
            "" => v.to_string(),
            n => n.to_string(),
        }
    }

    /// Adds a value that comes from outside.
    pub fn add_param(&mut self, ty: TensorType, name: impl Into<String>) -> ValueId {
        let v = self.add_value(ty, name);
        self.params.push(v);
        v
    }

    /// Adds a value that a node will define.
    pub fn add_value(&mut self, ty: TensorType, name: impl Into<String>) -> ValueId {
        let v = ValueId(self.values.len() as u32);
        self.values.push(Value { ty, name: name.into() });
        v
    }
}

/// An op that does not fit its operands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpError {
    /// Mnemonic of the op.
    pub op: String,
    /// What does not fit.
    pub message: String,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.op, self.message)
    }
}

impl std::error::Error for OpError {}

/// The parts of a module that types depend on.
#[derive(Clone, Copy)]
pub struct Pools<'a> {
    /// Constants.
    pub consts: &'a [Constant],
    /// Delay lines.
    pub lines: &'a [DelayLine],
    /// Synapses.
    pub conns: &'a [Connectivity],
}

/// Appends typed nodes to a graph. Has one method for each op of the table.
pub struct GraphBuilder<'a> {
    /// The graph that is written.
    pub graph: &'a mut Graph,
    pools: Pools<'a>,
}

impl<'a> GraphBuilder<'a> {
    /// Writes to `graph`, which may be the step function or a region of the module that owns the pools.
    pub fn new(graph: &'a mut Graph, pools: Pools<'a>) -> Self {
        GraphBuilder { graph, pools }
    }

    /// Appends a node; its result types are inferred.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push(&mut self, op: Op, args: Vec<ValueId>, regions: Vec<Graph>) -> Result<Vec<ValueId>, OpError> {
        let types = infer::infer(&op, &args, &regions, self.graph, self.pools)
            .map_err(|message| OpError { op: op.info().name.to_string(), message })?;
        let results: Vec<ValueId> = types.into_iter().map(|t| self.graph.add_value(t, "")).collect();
        self.graph.nodes.push(Node { op, args, regions, results: results.clone() });
        Ok(results)
    }

    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.graph.ty(v)
    }

    /// Gives a value a name, unless it has one.
    pub fn name(&mut self, v: ValueId, name: &str) -> ValueId {
        let slot = &mut self.graph.values[v.index()].name;
        if slot.is_empty() {
            *slot = name.to_string();
        }
        v
    }
}

/// A tensor known at compile time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constant {
    /// Name in the source (a parameter that the host may replace), or empty.
    pub name: String,
    /// The data.
    pub data: Tensor,
}

/// An input or output of the step function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Name of the array.
    pub name: String,
    /// The value: a parameter of the graph for inputs.
    pub value: ValueId,
}

/// A value that a tick hands to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// Name in the source, for example `P.v`.
    pub name: String,
    /// The parameter of the graph that holds the value before the tick.
    pub read: ValueId,
    /// The value after the tick.
    pub next: ValueId,
    /// The value before the first tick: of the state's shape, or a scalar that serves every element.
    pub init: ConstId,
}

/// The recent past of a value: `depth` frames, all zeros before the first tick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelayLine {
    /// Name of the source, for messages.
    pub name: String,
    /// The value that is remembered; taken at the end of each tick.
    pub source: ValueId,
    /// Its type (kept here so that the line can be read before its source is defined).
    pub ty: TensorType,
    /// How many past frames can be read: ticks 1 to `depth` ago.
    pub depth: u32,
}

/// A value that is recorded on request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Name of the array.
    pub name: String,
    /// The value.
    pub value: ValueId,
    /// Recorded in ticks 0, `every`, 2 `every`, ..; at least 1.
    pub every: u64,
}

/// A choice that the compiler made and the user may want to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// What it is about, for example `P: solver`.
    pub subject: String,
    /// What was chosen and why.
    pub text: String,
}

/// A compiled model before code generation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Module {
    /// Name of the net.
    pub name: String,
    /// Seconds per tick; `None` for a net that counts frames or tokens.
    pub dt: Option<Real>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Constant pool.
    pub consts: Vec<Constant>,
    /// Delay lines.
    pub lines: Vec<DelayLine>,
    /// Synapses.
    pub conns: Vec<Connectivity>,
    /// The step function; its parameters are the inputs' and the states' values.
    pub graph: Graph,
    /// Inputs.
    pub inputs: Vec<Port>,
    /// Outputs.
    pub outputs: Vec<Port>,
    /// States.
    pub states: Vec<State>,
    /// Probes.
    pub probes: Vec<Probe>,
    /// Names of inputs and states that are mostly zero (`@sparse`): a hint for the choice of representation.
    pub sparse: Vec<String>,
    /// Choices made on the way, in order.
    pub choices: Vec<Choice>,
}

impl Module {
    /// A builder on the step function.
    pub fn builder(&mut self) -> GraphBuilder<'_> {
        let Module { graph, consts, lines, conns, .. } = self;
        GraphBuilder::new(graph, Pools { consts, lines, conns })
    }

    /// The pools that types depend on.
    pub fn pools(&self) -> Pools<'_> {
        Pools { consts: &self.consts, lines: &self.lines, conns: &self.conns }
    }

    /// Adds a constant to the pool.
    pub fn add_const(&mut self, name: impl Into<String>, data: Tensor) -> ConstId {
        let id = ConstId(self.consts.len() as u32);
        self.consts.push(Constant { name: name.into(), data });
        id
    }
}
