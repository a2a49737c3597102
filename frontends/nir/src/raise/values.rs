//! What the values of a model graph are made of: equal ones under one name, and affine functions as lists of terms.

use nc_ir::graph::{Class, Module, Node, Op, ValueId};
use nc_ir::{DType, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Deepest expression that is taken apart; what is deeper is one term.
const MAX_DEPTH: usize = 256;

/// A number for all elements, or one for each.
#[derive(Clone, PartialEq, Debug)]
pub enum Num {
    One(f64),
    Each(Arc<[f64]>),
}

impl Num {
    /// The number of element `k`.
    pub fn at(&self, k: usize) -> f64 {
        match self {
            Num::One(x) => *x,
            Num::Each(v) => v.get(k).copied().unwrap_or(f64::NAN),
        }
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Num {
        match self {
            Num::One(x) => Num::One(f(*x)),
            Num::Each(v) => Num::Each(v.iter().map(|x| f(*x)).collect()),
        }
    }

    pub fn zip(&self, o: &Num, f: impl Fn(f64, f64) -> f64) -> Num {
        match (self, o) {
            (Num::One(a), Num::One(b)) => Num::One(f(*a, *b)),
            (Num::Each(v), o) => Num::Each(v.iter().enumerate().map(|(k, a)| f(*a, o.at(k))).collect()),
            (a, Num::Each(v)) => Num::Each(v.iter().enumerate().map(|(k, b)| f(a.at(k), *b)).collect()),
        }
    }

    /// True if every element is `x`.
    pub fn is(&self, x: f64) -> bool {
        match self {
            Num::One(a) => *a == x,
            Num::Each(v) => v.iter().all(|a| *a == x),
        }
    }

    /// `count` elements.
    pub fn list(&self, count: usize) -> Vec<f64> {
        (0..count).map(|k| self.at(k)).collect()
    }
}

/// A sum of values, each times a number, and a number; terms in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Affine {
    pub terms: Vec<(ValueId, Num)>,
    pub constant: Num,
}

impl Affine {
    fn known(x: Num) -> Affine {
        Affine { terms: Vec::new(), constant: x }
    }

    fn times(&self, c: &Num) -> Affine {
        let by = |x: &Num| x.zip(c, |a, b| a * b);
        Affine { terms: self.terms.iter().map(|(v, x)| (*v, by(x))).collect(), constant: by(&self.constant) }
    }

    fn plus(mut self, o: Affine) -> Affine {
        for (v, x) in o.terms {
            match self.terms.iter_mut().find(|(w, _)| *w == v) {
                Some((_, y)) => *y = y.zip(&x, |a, b| a + b),
                None => self.terms.push((v, x)),
            }
        }
        self.constant = self.constant.zip(&o.constant, |a, b| a + b);
        self.terms.retain(|(_, x)| !x.is(0.0));
        self
    }

    /// The factor of a value.
    pub fn of(&self, v: ValueId) -> Option<&Num> {
        self.terms.iter().find(|(w, _)| *w == v).map(|(_, x)| x)
    }
}

/// A module with its definitions at hand.
pub struct View<'a> {
    pub m: &'a Module,
    canon: Vec<ValueId>,
    def: Vec<Option<usize>>,
}

impl<'a> View<'a> {
    pub fn new(m: &'a Module) -> View<'a> {
        let count = m.graph.values.len();
        let mut view = View { m, canon: (0..count).map(|k| ValueId(k as u32)).collect(), def: vec![None; count] };
        let mut seen: HashMap<(Op, Vec<ValueId>, Vec<u64>), ValueId> = HashMap::new();
        for (at, node) in m.graph.nodes.iter().enumerate() {
            for r in &node.results {
                view.def[r.index()] = Some(at);
            }
            let ([result], true) = (&node.results[..], node.regions.is_empty()) else { continue };
            let ty = m.graph.ty(*result);
            let mut args: Vec<ValueId> = node.args.iter().map(|a| view.canon(*a)).collect();
            let same = matches!(node.op, Op::Broadcast { .. } | Op::Reshape { .. } | Op::Cast { .. });
            if same && m.graph.ty(args[0]) == ty {
                view.canon[result.index()] = args[0];
                continue;
            }
            if node.op.info().class == Class::Elementwise {
                args.iter_mut().for_each(|a| *a = view.one(*a));
            }
            let key = (node.op.clone(), args, ty.extents().unwrap_or_default());
            view.canon[result.index()] = *seen.entry(key).or_insert(*result);
        }
        view
    }

    /// The first value that is equal to this one by its definition.
    pub fn canon(&self, v: ValueId) -> ValueId {
        self.canon[v.index()]
    }

    /// The scalar that a value repeats, or the value.
    fn one(&self, v: ValueId) -> ValueId {
        match self.node(v) {
            Some(Node { op: Op::Broadcast { .. }, args, .. }) if self.shape(args[0]).is_empty() => self.canon(args[0]),
            _ => v,
        }
    }

    pub fn node(&self, v: ValueId) -> Option<&'a Node> {
        self.def[self.canon(v).index()].map(|at| &self.m.graph.nodes[at])
    }

    pub fn args(&self, node: &Node) -> Vec<ValueId> {
        node.args.iter().map(|a| self.canon(*a)).collect()
    }

    pub fn dtype(&self, v: ValueId) -> DType {
        self.m.graph.ty(v).dtype
    }

    pub fn shape(&self, v: ValueId) -> Vec<u64> {
        self.m.graph.ty(v).extents().unwrap_or_default()
    }

    pub fn count(&self, v: ValueId) -> usize {
        self.shape(v).iter().product::<u64>() as usize
    }

    pub fn tensor(&self, v: ValueId) -> Option<&'a Tensor> {
        match self.node(v)?.op {
            Op::Const { id } => Some(&self.m.consts[id.index()].data),
            _ => None,
        }
    }

    /// The numbers of a constant, one if all are equal.
    pub fn known(&self, v: ValueId) -> Option<Num> {
        let t = self.tensor(self.one(self.canon(v)))?;
        if t.is_empty() || t.dtype() == DType::Bool {
            return None;
        }
        let first = t.get_f64(0);
        let all = (0..t.len()).all(|k| t.get_f64(k).to_bits() == first.to_bits());
        Some(if all { Num::One(first) } else { Num::Each((0..t.len()).map(|k| t.get_f64(k)).collect()) })
    }

    /// A value as an affine function of values that are none themselves, or that are among `stops`.
    pub fn affine(&self, v: ValueId, stops: &HashSet<ValueId>) -> Affine {
        let v = self.canon(v);
        self.sum(v, v, stops, &mut HashMap::new(), 0)
    }

    fn sum(
        &self,
        v: ValueId,
        root: ValueId,
        stops: &HashSet<ValueId>,
        memo: &mut HashMap<ValueId, Affine>,
        depth: usize,
    ) -> Affine {
        if let Some(a) = memo.get(&v) {
            return a.clone();
        }
        if let Some(x) = self.known(v) {
            return Affine::known(x);
        }
        let atom = || Affine { terms: vec![(v, Num::One(1.0))], constant: Num::One(0.0) };
        let node = match self.node(v) {
            Some(n) if self.dtype(v) == DType::F32 && depth < MAX_DEPTH && (v == root || !stops.contains(&v)) => n,
            _ => return atom(),
        };
        let args = self.args(node);
        let mut part = |k: usize| self.sum(args[k], root, stops, memo, depth + 1);
        let minus = Num::One(-1.0);
        let made = match node.op {
            Op::Add => part(0).plus(part(1)),
            Op::Sub => part(0).plus(part(1).times(&minus)),
            Op::Neg => part(0).times(&minus),
            Op::Mul => match (self.known(args[0]), self.known(args[1])) {
                (Some(c), _) => part(1).times(&c),
                (_, Some(c)) => part(0).times(&c),
                _ => atom(),
            },
            Op::Div => match self.known(args[1]) {
                Some(c) => part(0).times(&c.map(|x| 1.0 / x)),
                None => atom(),
            },
            Op::Broadcast { .. } if self.shape(args[0]).is_empty() => part(0),
            _ => atom(),
        };
        memo.insert(v, made.clone());
        made
    }
}
