//! Models of sequences, one step at a time.
//!
//! A sequence operator is a `scan` whose body is a step function. This pass turns the model around it into a step function
//! too: what a scan carries becomes a state of the module, and everything that has an axis of steps has the one step of a
//! tick there. It begins at the scans, whose rows are the steps, and follows the axis of steps to the model's inputs and
//! outputs ([`axes`] has the rules). Sums, means, extremes and running sums along the axis are kept in states of their own.
//!
//! Guarantees: after as many ticks as a sequence has steps, every output has the bits that the model gives for the whole
//! sequence. What would need steps that have not come yet, or steps again that are gone, is refused with the node's name.

mod axes;
mod write;

use crate::import::Traced;
use crate::{Needs, Stop, codes};
use axes::{Place, backward, deed, extents, forward};
use nc_ir::Diagnostic;
use nc_ir::graph::{Graph, Module, Node, Op, ValueId};
use std::collections::BTreeMap;

/// A model that runs one step of a sequence a tick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Streamed {
    /// The step function. An input or output with an axis of steps has the shape of one step, without that axis if it holds
    /// nothing else.
    pub module: Module,
    /// Where the steps stand in the array of each input, in order.
    pub inputs: Vec<Along>,
    /// Where the steps stand in the array of each output, in order; `None` for one that holds what the model gives after the
    /// steps so far.
    pub outputs: Vec<Option<Along>>,
}

/// Where the steps of a sequence stand in an array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Along {
    /// Shape of the array, but for the axis of steps.
    shape: Vec<usize>,
    /// The axis of steps.
    pub axis: usize,
    before: usize,
    after: usize,
}

impl Along {
    /// The shape of an array of so many steps.
    pub fn shape(&self, steps: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape[self.axis] = self.before.saturating_mul(steps).saturating_mul(self.after);
        shape
    }

    /// The number of steps of an array, if it has this shape but for the number of steps.
    pub fn steps(&self, shape: &[usize]) -> Option<usize> {
        let one = (self.before * self.after).max(1);
        let steps = shape.get(self.axis)? / one;
        (self.shape(steps) == shape).then_some(steps)
    }

    /// The array as blocks of one step each: how many times the sequence stands in it, and elements of a block. Block
    /// (p, t) of `steps` steps is number `p * steps + t`.
    pub fn blocks(&self) -> (usize, usize) {
        let product = |part: &[usize]| part.iter().product::<usize>();
        (product(&self.shape[..self.axis]) * self.before, self.after * product(&self.shape[self.axis + 1..]))
    }
}

/// How a value depends on the steps of the sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// On no input.
    Fixed,
    /// On inputs that are the same for all steps.
    Open,
    /// It holds the steps, each depending on this step and those before it.
    Steps(Place),
    /// On the steps so far.
    Latest,
}

/// How a node is brought into the step function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// As it is: it sees no axis of steps.
    Plain,
    /// Step by step; where the steps stand in its result.
    Each(Place),
    /// The last step, of a slice or a gather along the axis of steps.
    Last,
    /// A reduction along the axis of steps.
    Reduce,
    /// A running sum or product along the axis of steps.
    Cumulate,
    /// A scan along the steps.
    Scan,
}

/// The model and what is found out about it.
struct Analysis<'a> {
    traced: &'a Traced,
    /// The node that gives a value.
    made_by: Vec<Option<usize>>,
    /// Nodes that an output depends on.
    needed: Vec<bool>,
    /// How many steps the sequence has that the model was imported for.
    steps: u64,
    /// Inputs with an axis of steps.
    timed: BTreeMap<ValueId, Place>,
    roles: Vec<Role>,
}

/// Turns a model of sequences into a step function.
///
/// # Errors
/// E1011 for what cannot be run step by step; the need for inputs that are the same for all steps.
pub(crate) fn stream(traced: &Traced) -> Result<Streamed, Stop> {
    let mut it = Analysis::new(traced)?;
    it.find_inputs();
    it.give_roles();
    it.check()?;
    it.needs()?;
    write::write(&it)
}

/// A refusal.
fn refuse(text: impl Into<String>) -> Diagnostic {
    Diagnostic::error_nowhere(codes::STREAM, text)
}

impl<'a> Analysis<'a> {
    fn graph(&self) -> &'a Graph {
        &self.traced.module.graph
    }

    fn new(traced: &'a Traced) -> Result<Analysis<'a>, Diagnostic> {
        let graph = &traced.module.graph;
        let mut made_by = vec![None; graph.values.len()];
        for (k, node) in graph.nodes.iter().enumerate() {
            node.results.iter().for_each(|r| made_by[r.index()] = Some(k));
        }
        let mut used = vec![false; graph.values.len()];
        traced.module.outputs.iter().for_each(|p| used[p.value.index()] = true);
        let mut needed = vec![false; graph.nodes.len()];
        for (k, node) in graph.nodes.iter().enumerate().rev() {
            needed[k] = node.results.iter().any(|r| used[r.index()]);
            if needed[k] {
                node.args.iter().for_each(|a| used[a.index()] = true);
            }
        }
        let roles = vec![Role::Open; graph.values.len()];
        let mut it = Analysis { traced, made_by, needed, steps: 0, timed: BTreeMap::new(), roles };
        it.give_roles();
        let length = |v: &&ValueId| it.role(**v) == Role::Open;
        let scanned = it.scans().flat_map(|(_, rows)| rows.iter()).find(length);
        let Some(first) = scanned else {
            let text = "the model has no sequence to run step by step: no RNN, GRU, LSTM or Scan goes along an input";
            return Err(refuse(text).with_hint("run it without --stream"));
        };
        it.steps = extents(graph, *first).first().copied().unwrap_or(0);
        match it.steps {
            0 | 1 => Err(refuse(format!(
                "the sequence has {} steps: which axis they stand along is known from 2 on",
                it.steps
            ))
            .with_hint("the step function is the same for every length: give a longer one, for example with --dim")),
            _ => Ok(it),
        }
    }

    /// The scans that are needed, with what they scan.
    fn scans(&self) -> impl Iterator<Item = (&'a Node, &'a [ValueId])> {
        let needed = self.graph().nodes.iter().enumerate().filter(|(k, _)| self.needed[*k]);
        needed.filter_map(|(_, n)| match n.op {
            Op::Scan { carried_count: c, scanned_count: s, .. } => Some((n, &n.args[c..c + s])),
            _ => None,
        })
    }

    fn role(&self, v: ValueId) -> Role {
        self.roles[v.index()]
    }

    /// Finds the inputs with an axis of steps: those that scans go along, and those that meet a value with steps where it
    /// has that axis.
    fn find_inputs(&mut self) {
        let mut seen = vec![false; self.graph().values.len()];
        let rows: Vec<ValueId> = self.scans().flat_map(|(_, rows)| rows.iter().copied()).collect();
        for v in rows {
            if extents(self.graph(), v).first() == Some(&self.steps) {
                self.follow(v, Place::whole(0), &mut seen);
            }
        }
        loop {
            self.give_roles();
            let before = self.timed.len();
            for node in &self.graph().nodes {
                let Some(Role::Steps(place)) = node.results.first().map(|r| self.role(*r)) else { continue };
                for (k, arg) in node.args.iter().enumerate() {
                    if self.role(*arg) != Role::Open {
                        continue;
                    }
                    if let Some(at) = backward(self.graph(), node, k, place, self.steps).flatten() {
                        self.follow(*arg, at, &mut seen);
                    }
                }
            }
            if self.timed.len() == before {
                return;
            }
        }
    }

    /// Follows an axis of steps from a value back to inputs.
    fn follow(&mut self, v: ValueId, place: Place, seen: &mut [bool]) {
        let mut todo = vec![(v, place)];
        while let Some((v, place)) = todo.pop() {
            if self.role(v) == Role::Fixed || std::mem::replace(&mut seen[v.index()], true) {
                continue;
            }
            let Some(k) = self.made_by[v.index()] else {
                self.timed.insert(v, place);
                continue;
            };
            let node = &self.graph().nodes[k];
            if let Op::Cumulate { axis, reverse: false, .. } = node.op
                && axis == place.axis
            {
                todo.push((node.args[0], place));
                continue;
            }
            for (k, arg) in node.args.iter().enumerate() {
                if let Some(Some(at)) = backward(self.graph(), node, k, place, self.steps) {
                    todo.push((*arg, at));
                }
            }
        }
    }

    /// Gives every value its role, what is refused aside.
    fn give_roles(&mut self) {
        for p in &self.graph().params {
            self.roles[p.index()] = self.timed.get(p).map_or(Role::Open, |place| Role::Steps(*place));
        }
        for node in &self.graph().nodes {
            let role = match self.way(node) {
                Ok(Way::Plain) => node.args.iter().fold(Role::Fixed, |role, a| match (role, self.role(*a)) {
                    (Role::Latest, _) | (_, Role::Latest) => Role::Latest,
                    (Role::Open, _) | (_, Role::Open) => Role::Open,
                    _ => Role::Fixed,
                }),
                Ok(Way::Each(place)) => Role::Steps(place),
                Ok(Way::Cumulate) => self.role(node.args[0]),
                Ok(Way::Last | Way::Reduce | Way::Scan) | Err(_) => Role::Latest,
            };
            let carried = match node.op {
                Op::Scan { carried_count, .. } => carried_count,
                _ => 0,
            };
            let stacked = matches!(node.op, Op::Scan { .. }) && matches!(self.way(node), Ok(Way::Scan));
            for (k, r) in node.results.iter().enumerate() {
                let row = stacked && k >= carried;
                self.roles[r.index()] = if row { Role::Steps(Place::whole(0)) } else { role };
            }
        }
    }

    /// How a node is brought into the step function, or what it does that cannot be.
    fn way(&self, node: &Node) -> Result<Way, &'static str> {
        let mut places = node.args.iter().enumerate().filter_map(|(k, a)| match self.role(*a) {
            Role::Steps(place) => Some((k, place)),
            _ => None,
        });
        let Some((k, place)) = places.next() else { return Ok(Way::Plain) };
        let latest = node.args.iter().any(|a| self.role(*a) == Role::Latest);
        if let Op::Scan { carried_count, scanned_count, reverse } = &node.op {
            return self.scan(node, *carried_count, *scanned_count, *reverse);
        }
        if latest {
            return Err("meets each step with what is known after the last one only");
        }
        let along = place.is_whole() && k == 0;
        match &node.op {
            Op::Slice { start, stop, .. } if along && self.is_last(start[place.axis], stop[place.axis]) => {
                return Ok(Way::Last);
            }
            Op::Gather { axis } if along && *axis == place.axis && self.gathers_last(node) => return Ok(Way::Last),
            Op::Reduce { axes, .. } if along && axes.contains(&place.axis) => {
                let shape = extents(self.graph(), node.args[0]);
                let others = axes.iter().any(|a| *a != place.axis && shape[*a] != 1);
                return if others { Err("combines several steps and another axis at once") } else { Ok(Way::Reduce) };
            }
            Op::Cumulate { axis, reverse: false, .. } if along && *axis == place.axis => return Ok(Way::Cumulate),
            _ => {}
        }
        let mixes = || deed(&node.op);
        let to = forward(self.graph(), node, k, place, self.steps).ok_or_else(mixes)?;
        for (k, arg) in node.args.iter().enumerate() {
            let at = backward(self.graph(), node, k, to, self.steps).ok_or_else(mixes)?;
            let fits = match self.role(*arg) {
                Role::Steps(own) => at == Some(own),
                _ => true,
            };
            if !fits {
                return Err(mixes());
            }
        }
        Ok(Way::Each(to))
    }

    /// True for the part of the axis of steps that is the last step.
    fn is_last(&self, start: u64, stop: u64) -> bool {
        start + 1 == self.steps && stop == self.steps
    }

    /// True if a gather takes the last step, maybe several times.
    fn gathers_last(&self, node: &Node) -> bool {
        let Some(Op::Const { id }) = self.made_by[node.args[1].index()].map(|k| &self.graph().nodes[k].op) else {
            return false;
        };
        let index = &self.traced.module.consts[id.index()].data;
        !index.is_empty() && (0..index.len()).all(|k| index.get_int(k) == Some(i128::from(self.steps) - 1))
    }

    fn scan(&self, node: &Node, carried: usize, scanned: usize, reverse: bool) -> Result<Way, &'static str> {
        let roles: Vec<Role> = node.args.iter().map(|a| self.role(*a)).collect();
        let (first, rest) = roles.split_at(carried);
        let (rows, captured) = rest.split_at(scanned);
        if reverse {
            return Err("goes from the last step to the first");
        }
        let known = |r: &Role| matches!(r, Role::Fixed | Role::Open);
        if !first.iter().all(known) {
            return Err("begins with a state that depends on the sequence");
        }
        if !captured.iter().all(known) {
            return Err("reads the whole sequence, or what is known after its last step, in every step");
        }
        let steps = |r: &Role| *r == Role::Steps(Place::whole(0)) || known(r);
        match rows.iter().all(steps) {
            true => Ok(Way::Scan),
            false => Err("goes along another axis than the one that holds the steps"),
        }
    }

    /// The ONNX node that a node came from, for messages.
    fn origin(&self, node: &Node) -> String {
        self.traced.origin(node.results.first().copied())
    }

    /// Refuses what cannot be run step by step.
    fn check(&self) -> Result<(), Diagnostic> {
        for (_, node) in self.graph().nodes.iter().enumerate().filter(|(k, _)| self.needed[*k]) {
            if let Err(what) = self.way(node) {
                let text = format!("{} {what}: the model cannot run one step at a time", self.origin(node));
                return Err(refuse(text).with_hint("run it on whole sequences, without --stream"));
            }
        }
        match self.timed.values().all(|p| p.is_whole()) {
            true if !self.timed.is_empty() => Ok(()),
            _ => Err(refuse("no input of the model has an axis of its own for the steps")),
        }
    }

    /// Asks for the inputs that are the same for all steps: initial states and settings become constants.
    fn needs(&self) -> Result<(), Stop> {
        let open = |v: &ValueId| self.made_by[v.index()].is_none() && self.role(*v) == Role::Open;
        let nodes = self.graph().nodes.iter().enumerate().filter(|(k, _)| self.needed[*k]).map(|(_, n)| n);
        let mut users = nodes.filter(|n| n.args.iter().any(open));
        let (node, values) = match users.next() {
            Some(node) => (self.origin(node), &node.args),
            None => ("the model".to_owned(), &self.graph().params),
        };
        let ports = &self.traced.module.inputs;
        let inputs: Vec<String> =
            ports.iter().filter(|p| values.contains(&p.value) && open(&p.value)).map(|p| p.name.clone()).collect();
        match inputs.is_empty() {
            true => Ok(()),
            false => Err(Stop::Needs(Needs { inputs, node, why: "a first state or setting".to_owned() })),
        }
    }
}
