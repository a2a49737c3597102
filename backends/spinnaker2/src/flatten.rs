//! Populations of more than one axis as vectors, so that they are split by single targets.
//!
//! A synapse counts its target in row-major order, whatever axes the population has. What belongs to such a population,
//! the operands and results of its synapses, its states, and all that is computed element by element from them, is given
//! one axis here; where something else reads or makes it, a reshape stands between. No number is computed otherwise. The
//! result is the model that is split, and that bundles are checked against.

use crate::split::SplitError;
use nc_ir::graph::{Class, Graph, Module, Node, Op, ValueId};
use nc_ir::tensor::Tensor;
use nc_ir::types::TensorType;
use rustc_hash::FxHashMap;

/// The module with vectors for the populations that synapses reach.
///
/// # Errors
/// If extents are not known.
pub fn flatten(module: &Module) -> Result<Module, SplitError> {
    let flat = members(module)?;
    if !flat.contains(&true) {
        return Ok(module.clone());
    }
    Rewriter::new(module, flat).run()
}

fn shape(g: &Graph, v: ValueId) -> Vec<u64> {
    g.ty(v).extents().unwrap_or_default()
}

/// The states that a projection adds to, and its results.
fn projected(node: &Node) -> Vec<ValueId> {
    match node.op {
        Op::Project { now_count, .. } => node.args.iter().skip(now_count).chain(&node.results).copied().collect(),
        _ => Vec::new(),
    }
}

/// The values that become vectors.
fn members(module: &Module) -> Result<Vec<bool>, SplitError> {
    let g = &module.graph;
    if let Some(v) = g.values.iter().find(|v| v.ty.extents().is_none()) {
        return Err(SplitError(format!("the extents of `{}` are not known", v.name)));
    }
    let wide = |v: &ValueId| shape(g, *v).len() > 1;
    let mut grows = vec![false; g.values.len()];
    let mut lines: FxHashMap<ValueId, Vec<ValueId>> = FxHashMap::default();
    for n in &g.nodes {
        let inner = n.op.info().class == Class::Elementwise || matches!(n.op, Op::Project { .. });
        n.results.iter().for_each(|r| grows[r.index()] = inner);
        if let Op::Delayed { line, .. } = n.op {
            lines.entry(module.lines[line.index()].source).or_default().extend(&n.results);
        }
    }
    module.states.iter().for_each(|s| grows[s.read.index()] = true);
    let mut flat = vec![false; g.values.len()];
    let mut open: Vec<ValueId> = g.nodes.iter().flat_map(projected).filter(wide).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); g.values.len()];
    let mut def: Vec<Option<usize>> = vec![None; g.values.len()];
    for (k, n) in g.nodes.iter().enumerate() {
        n.args.iter().for_each(|a| users[a.index()].push(k));
        n.results.iter().for_each(|r| def[r.index()] = Some(k));
    }
    while let Some(v) = open.pop() {
        if flat[v.index()] || !wide(&v) || !grows[v.index()] {
            continue;
        }
        flat[v.index()] = true;
        for k in def[v.index()].into_iter().chain(users[v.index()].iter().copied()) {
            let n = &g.nodes[k];
            match n.op {
                Op::Project { .. } if projected(n).contains(&v) => open.extend(projected(n)),
                _ if n.op.info().class == Class::Elementwise => open.extend(n.args.iter().chain(&n.results)),
                _ => {}
            }
        }
        for past in lines.get(&v).into_iter().flatten() {
            grows[past.index()] = true;
            open.push(*past);
        }
        for s in module.states.iter().filter(|s| s.read == v || s.next == v) {
            open.extend([s.read, s.next]);
        }
    }
    Ok(flat)
}

struct Rewriter<'a> {
    old: &'a Module,
    new: Module,
    flat: Vec<bool>,
    /// New values by old ones: as the model has them, and as vectors.
    own: FxHashMap<ValueId, ValueId>,
    vectors: FxHashMap<ValueId, ValueId>,
}

impl<'a> Rewriter<'a> {
    fn new(old: &'a Module, flat: Vec<bool>) -> Rewriter<'a> {
        let mut new = old.clone();
        new.graph = Graph::default();
        Rewriter { old, new, flat, own: FxHashMap::default(), vectors: FxHashMap::default() }
    }

    fn push(&mut self, op: Op, args: Vec<ValueId>, regions: Vec<Graph>) -> Result<Vec<ValueId>, SplitError> {
        self.new.builder().push(op, args, regions).map_err(|e| SplitError(e.to_string()))
    }

    fn reshaped(&mut self, v: ValueId, shape: Vec<u64>) -> Result<ValueId, SplitError> {
        self.push(Op::Reshape { shape }, vec![v], vec![]).map(|r| r[0])
    }

    /// The value as the model has it.
    fn own(&mut self, v: ValueId) -> Result<ValueId, SplitError> {
        if let Some(v) = self.own.get(&v) {
            return Ok(*v);
        }
        let vector = self.vectors.get(&v).copied().ok_or_else(|| SplitError(format!("`{v}` has no source")))?;
        let new = self.reshaped(vector, shape(&self.old.graph, v))?;
        self.own.insert(v, new);
        Ok(new)
    }

    /// The value as a vector; a scalar as it is.
    fn vector(&mut self, v: ValueId) -> Result<ValueId, SplitError> {
        let shape = shape(&self.old.graph, v);
        if shape.len() < 2 {
            return self.own(v);
        }
        if let Some(v) = self.vectors.get(&v) {
            return Ok(*v);
        }
        let n = shape.iter().product();
        let constant = self.old.graph.nodes.iter().find(|x| x.results.contains(&v)).map(|x| &x.op);
        let new = match constant {
            Some(Op::Const { id }) => {
                let data = vector_of(&self.old.consts[id.index()].data);
                let id = self.new.add_const("", data);
                self.push(Op::Const { id }, vec![], vec![])?[0]
            }
            _ => {
                let own = self.own(v)?;
                self.reshaped(own, vec![n])?
            }
        };
        self.vectors.insert(v, new);
        Ok(new)
    }

    /// The value in the form that it is computed in.
    fn made(&mut self, v: ValueId) -> Result<ValueId, SplitError> {
        if self.flat[v.index()] { self.vector(v) } else { self.own(v) }
    }

    fn run(mut self) -> Result<Module, SplitError> {
        for p in self.old.graph.params.clone() {
            let mut ty = self.old.graph.ty(p).clone();
            if self.flat[p.index()] {
                let n = shape(&self.old.graph, p).iter().product();
                ty = TensorType::new(ty.dtype, vec![n]);
            }
            let v = self.new.graph.add_param(ty, self.old.graph.values[p.index()].name.clone());
            if self.flat[p.index()] {
                self.vectors.insert(p, v)
            } else {
                self.own.insert(p, v)
            };
        }
        for (k, line) in self.old.lines.iter().enumerate() {
            if self.flat[line.source.index()] {
                let n = shape(&self.old.graph, line.source).iter().product();
                self.new.lines[k].ty = TensorType::new(line.ty.dtype, vec![n]);
            }
        }
        for node in &self.old.graph.nodes {
            self.node(node)?;
        }
        for k in 0..self.old.states.len() {
            let s = self.old.states[k].clone();
            let vector = self.flat[s.read.index()];
            self.new.states[k].read = self.made(s.read)?;
            self.new.states[k].next = if vector { self.vector(s.next)? } else { self.own(s.next)? };
            let init = &self.old.consts[s.init.index()].data;
            if vector && !init.shape().is_empty() {
                self.new.states[k].init = self.new.add_const("", vector_of(init));
            }
        }
        for k in 0..self.old.lines.len() {
            self.new.lines[k].source = self.made(self.old.lines[k].source)?;
        }
        for k in 0..self.old.inputs.len() {
            self.new.inputs[k].value = self.own(self.old.inputs[k].value)?;
        }
        for k in 0..self.old.outputs.len() {
            self.new.outputs[k].value = self.own(self.old.outputs[k].value)?;
        }
        for k in 0..self.old.probes.len() {
            self.new.probes[k].value = self.own(self.old.probes[k].value)?;
        }
        Ok(self.new)
    }

    fn node(&mut self, node: &Node) -> Result<(), SplitError> {
        let vector = node.results.iter().any(|r| self.flat[r.index()]);
        let events = match node.op {
            Op::Project { now_count, .. } => now_count,
            _ => 0,
        };
        let mut args = Vec::with_capacity(node.args.len());
        for (j, a) in node.args.iter().enumerate() {
            args.push(match (j < events, vector) {
                (true, _) => self.made(*a)?,
                (_, true) => self.vector(*a)?,
                _ => self.own(*a)?,
            });
        }
        let results = self.push(node.op.clone(), args, node.regions.clone())?;
        for (old, new) in node.results.iter().zip(results) {
            let name = self.old.graph.values[old.index()].name.clone();
            self.new.builder().name(new, &name);
            let of = if vector && shape(&self.old.graph, *old).len() > 1 { &mut self.vectors } else { &mut self.own };
            of.insert(*old, new);
        }
        Ok(())
    }
}

fn vector_of(t: &Tensor) -> Tensor {
    Tensor::from_bytes(t.dtype(), vec![t.len()], t.bytes()).unwrap_or_else(|| t.clone())
}
