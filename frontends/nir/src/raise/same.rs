//! Whether a file, lowered, is the step that it was made from: both as terms over the same states, equal ones under one
//! number. Equal terms have equal bits; unequal ones may have them too.

use super::cells::Cell;
use super::values::View;
use crate::model::File;
use crate::preset::Discretisation;
use nc_ir::DType;
use nc_ir::graph::{Class, Module, Op, ValueId};
use std::collections::HashMap;

/// Deepest chain of states that only remember.
const MAX_DEPTH: usize = 1000;

/// A node and the cells that it was made of.
pub struct Label {
    pub node: String,
    pub cell: usize,
    pub current: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Term {
    State(String),
    /// What a node gave in an earlier tick.
    Past(String),
    Input(String),
    /// An array of one number, wherever it stands.
    Number(DType, u64),
    Array(DType, Vec<usize>, Vec<u8>),
    Late(u32, usize),
    Node(Op, Vec<usize>, Vec<u64>),
    /// Equal to nothing.
    Alone(usize),
}

#[derive(Default)]
struct Terms {
    list: Vec<Term>,
    of: HashMap<Term, usize>,
}

impl Terms {
    fn add(&mut self, t: Term) -> usize {
        if let Some(k) = self.of.get(&t) {
            return *k;
        }
        self.list.push(t.clone());
        self.of.insert(t, self.list.len() - 1);
        self.list.len() - 1
    }

    fn alone(&mut self) -> usize {
        self.add(Term::Alone(self.list.len()))
    }

    fn late(&mut self, ticks: u32, x: usize) -> usize {
        match self.list[x] {
            Term::Late(more, y) => self.add(Term::Late(ticks + more, y)),
            _ => self.add(Term::Late(ticks, x)),
        }
    }

    fn negative(&self, k: usize) -> Option<usize> {
        match &self.list[k] {
            Term::Node(Op::Neg, args, _) => args.first().copied(),
            _ => None,
        }
    }

    fn is(&self, k: usize, x: f64) -> bool {
        matches!(self.list[k], Term::Number(DType::F32, bits) if f64::from_bits(bits) == x)
    }
}

struct Reader<'a> {
    view: &'a View<'a>,
    states: HashMap<ValueId, String>,
    /// What nodes give: an earlier value of it is known by the node's name, since circles lead through it.
    gives: HashMap<ValueId, String>,
    done: HashMap<ValueId, usize>,
}

impl Reader<'_> {
    fn term(&mut self, v: ValueId, terms: &mut Terms, depth: usize) -> usize {
        let v = self.view.canon(v);
        if let Some(k) = self.done.get(&v) {
            return *k;
        }
        let k = self.make(v, terms, depth);
        self.done.insert(v, k);
        k
    }

    /// What is read in a later tick.
    fn past(&mut self, v: ValueId, terms: &mut Terms, depth: usize) -> usize {
        match self.gives.get(&self.view.canon(v)) {
            Some(name) => terms.add(Term::Past(name.clone())),
            None => self.term(v, terms, depth + 1),
        }
    }

    fn make(&mut self, v: ValueId, terms: &mut Terms, depth: usize) -> usize {
        let view = self.view;
        let m = view.m;
        if depth > MAX_DEPTH {
            return terms.alone();
        }
        // The state of a node that gives it is what the node gave.
        if let Some(s) = m.states.iter().find(|s| s.read == v && self.gives.contains_key(&view.canon(s.next))) {
            let x = self.past(s.next, terms, depth);
            return terms.late(1, x);
        }
        if let Some(name) = self.states.get(&v) {
            return terms.add(Term::State(name.clone()));
        }
        if let Some(i) = m.inputs.iter().find(|i| i.value == v) {
            return terms.add(Term::Input(i.name.clone()));
        }
        if let Some(s) = m.states.iter().find(|s| s.read == v) {
            let x = self.past(s.next, terms, depth);
            return terms.late(1, x);
        }
        let Some(node) = view.node(v).filter(|n| n.regions.is_empty()) else { return terms.alone() };
        if let Op::Const { id } = node.op {
            let t = &m.consts[id.index()].data;
            let first = if t.is_empty() { 0.0 } else { t.get_f64(0) };
            let one = !t.is_empty() && (0..t.len()).all(|k| t.get_f64(k).to_bits() == first.to_bits());
            return match one {
                true => terms.add(Term::Number(t.dtype(), first.to_bits())),
                false => terms.add(Term::Array(t.dtype(), t.shape().to_vec(), t.bytes().to_vec())),
            };
        }
        if let Op::Delayed { line, ticks } = node.op {
            let x = self.past(m.lines[line.index()].source, terms, depth);
            return terms.late(ticks, x);
        }
        let mut args: Vec<usize> = node.args.iter().map(|a| self.term(*a, terms, depth + 1)).collect();
        let mut shape = view.shape(v);
        match &node.op {
            Op::Broadcast { .. } if view.shape(node.args[0]).is_empty() => return args[0],
            Op::Mul if terms.is(args[0], 1.0) => return args[1],
            Op::Mul if terms.is(args[1], 1.0) => return args[0],
            // A sum with a negative is a difference.
            Op::Add if terms.negative(args[0]).is_some() => {
                args = vec![args[1], terms.negative(args[0]).unwrap_or(args[0])];
                return terms.add(Term::Node(Op::Sub, args, shape));
            }
            Op::Add if terms.negative(args[1]).is_some() => {
                args[1] = terms.negative(args[1]).unwrap_or(args[1]);
                return terms.add(Term::Node(Op::Sub, args, shape));
            }
            // Rounding does not depend on the order of two.
            Op::Add | Op::Mul => args.sort_unstable(),
            Op::Linear | Op::Conv { .. } if args.len() == 3 && terms.is(args[2], 0.0) => args.truncate(2),
            _ => {}
        }
        if node.op.info().class != Class::Elementwise {
            // Weights of one number are told apart by their extents.
            node.args.iter().for_each(|a| shape.extend(view.shape(*a)));
        }
        // What gives zeros for zeros may be late before or after.
        let moves = match node.op {
            Op::Cast { .. } | Op::Reshape { .. } => true,
            Op::Linear | Op::Conv { .. } => args.len() == 2,
            _ => false,
        };
        if let (true, Some(Term::Late(ticks, x))) = (moves, args.first().map(|k| terms.list[*k].clone())) {
            args[0] = x;
            let inner = terms.add(Term::Node(node.op.clone(), args, shape));
            return terms.late(ticks, inner);
        }
        terms.add(Term::Node(node.op.clone(), args, shape))
    }
}

/// True if the file gives the outputs and the states of the module, to the bit.
pub fn same(
    module: &Module,
    view: &View<'_>,
    cells: &[Cell],
    labels: &[Label],
    file: &File,
    d: &Discretisation,
    dt: Option<f64>,
) -> bool {
    let options = crate::Options { dt, discretisation: d.clone(), ..crate::Options::default() };
    let Ok((lowered, _)) = crate::lower(file, "same", &options) else { return false };
    let other = View::new(&lowered);
    let mut terms = Terms::default();
    let mut theirs = Reader { view: &other, states: HashMap::new(), gives: HashMap::new(), done: HashMap::new() };
    theirs.states = lowered.states.iter().map(|s| (s.read, s.name.clone())).collect();
    let mut ours = Reader { view, states: HashMap::new(), gives: HashMap::new(), done: HashMap::new() };
    let (mut pairs, mut given) = (Vec::new(), Vec::new());
    for l in labels {
        let value = lowered.graph.values.iter().position(|v| v.name == l.node).map(|k| other.canon(ValueId(k as u32)));
        let (Some(value), Some(cell)) = (value, cells.get(l.cell)) else { return false };
        let ours_gives = cell.fire.as_ref().map_or(cell.next, |f| f.spikes);
        ours.gives.insert(ours_gives, l.node.clone());
        theirs.gives.insert(value, l.node.clone());
        given.push((ours_gives, value));
    }
    for l in labels {
        for (cell, state) in [(Some(l.cell), "v"), (l.current, "i")] {
            let Some(c) = cell.map(|k| &cells[k]) else { continue };
            let name = format!("{}.{state}", l.node);
            ours.states.insert(c.read, name.clone());
            pairs.push((c.next, name));
        }
    }
    for o in &module.outputs {
        let Some(p) = lowered.outputs.iter().find(|p| p.name == o.name) else { return false };
        if ours.term(o.value, &mut terms, 0) != theirs.term(p.value, &mut terms, 0) {
            return false;
        }
    }
    let equal = given.iter().all(|(a, b)| ours.term(*a, &mut terms, 0) == theirs.term(*b, &mut terms, 0));
    equal
        && pairs.iter().all(|(next, name)| {
            let state = lowered.states.iter().find(|s| s.name == *name);
            state.is_some_and(|s| ours.term(*next, &mut terms, 0) == theirs.term(s.next, &mut terms, 0))
        })
}
