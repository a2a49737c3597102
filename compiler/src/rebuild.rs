//! Rewriting the step function: a new graph is written node by node while an old one is read.

use crate::control::has_bodies;
use nc_ir::Tensor;
use nc_ir::graph::{Constant, DelayLine, Graph, GraphBuilder, Module, Node, Op, OpError, Port, Value, ValueId};
use nc_ir::types::TensorType;

/// A module whose step function is being written anew. Old values are mapped to new ones as nodes are copied.
pub struct Rebuild {
    /// The module; its graph is the new one.
    pub module: Module,
    /// The graph that is read.
    pub old: Graph,
    map: Vec<Option<ValueId>>,
}

impl Rebuild {
    /// Starts with the parameters in place and no nodes.
    pub fn new(mut module: Module) -> Rebuild {
        let old = std::mem::take(&mut module.graph);
        let mut map = vec![None; old.values.len()];
        for p in &old.params {
            let v = &old.values[p.index()];
            map[p.index()] = Some(module.graph.add_param(v.ty.clone(), v.name.clone()));
        }
        Rebuild { module, old, map }
    }

    /// The new value for an old one.
    ///
    /// # Panics
    /// If the old value is used before it is defined, which the verifier rules out.
    pub fn value(&self, old: ValueId) -> ValueId {
        self.map[old.index()].expect("operands are defined before use")
    }

    /// True if an old value has its new one.
    pub fn is_written(&self, old: ValueId) -> bool {
        self.map[old.index()].is_some()
    }

    /// The new values for old ones.
    pub fn values(&self, old: &[ValueId]) -> Vec<ValueId> {
        old.iter().map(|v| self.value(*v)).collect()
    }

    /// Lets a new value stand for an old one and hands on its name.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        let name = self.old.values[old.index()].name.clone();
        let slot = &mut self.module.graph.values[new.index()].name;
        if slot.is_empty() {
            *slot = name;
        }
        self.map[old.index()] = Some(new);
    }

    /// Lets a new value stand for an old one, which keeps its name.
    pub fn redirect(&mut self, old: ValueId, new: ValueId) {
        self.map[old.index()] = Some(new);
    }

    /// Copies a node with its operands mapped.
    pub fn copy(&mut self, node: &Node) {
        let args = self.values(&node.args);
        self.copy_with(node, args);
    }

    /// Copies a node with these new values as operands.
    pub fn copy_with(&mut self, node: &Node, args: Vec<ValueId>) {
        let results = node
            .results
            .iter()
            .map(|r| {
                let v = &self.old.values[r.index()];
                let new = self.module.graph.add_value(v.ty.clone(), v.name.clone());
                self.map[r.index()] = Some(new);
                new
            })
            .collect();
        self.module.graph.nodes.push(Node { op: node.op.clone(), args, regions: node.regions.clone(), results });
    }

    /// Appends an op without regions whose results are like these values; the new values.
    pub fn append<'v>(&mut self, op: Op, args: Vec<ValueId>, like: impl Iterator<Item = &'v Value>) -> Vec<ValueId> {
        let graph = &mut self.module.graph;
        let results: Vec<ValueId> = like.map(|v| graph.add_value(v.ty.clone(), v.name.clone())).collect();
        graph.nodes.push(Node { op, args, regions: Vec::new(), results: results.clone() });
        results
    }

    /// Writes the nodes of a region in place, its parameters being these new values; the new values of its results.
    pub fn inline(&mut self, region: &Graph, args: &[ValueId]) -> Vec<ValueId> {
        let mut map = vec![None; region.values.len()];
        for (p, a) in region.params.iter().zip(args) {
            map[p.index()] = Some(*a);
        }
        let at = |map: &[Option<ValueId>], v: &ValueId| map[v.index()].expect("operands are defined before use");
        for node in &region.nodes {
            let args = node.args.iter().map(|a| at(&map, a)).collect();
            let graph = &mut self.module.graph;
            for r in &node.results {
                let v = &region.values[r.index()];
                map[r.index()] = Some(graph.add_value(v.ty.clone(), v.name.clone()));
            }
            let results = node.results.iter().map(|r| at(&map, r)).collect();
            graph.nodes.push(Node { op: node.op.clone(), args, regions: node.regions.clone(), results });
        }
        region.results.iter().map(|r| at(&map, r)).collect()
    }

    /// A builder on the new graph.
    pub fn builder(&mut self) -> GraphBuilder<'_> {
        self.module.builder()
    }

    /// Appends an op without regions that has one result.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn op(&mut self, op: Op, args: &[ValueId]) -> Result<ValueId, OpError> {
        self.builder().push(op, args.to_vec(), Vec::new()).map(|r| r[0])
    }

    /// A constant as a value of the new graph.
    ///
    /// # Errors
    /// Never for a constant that was just added; the builder's type.
    pub fn constant(&mut self, name: &str, data: Tensor) -> Result<ValueId, OpError> {
        let id = self.module.add_const(name, data);
        self.op(Op::Const { id }, &[])
    }

    /// The module with its ports, states, lines and probes pointing at the new values.
    pub fn finish(mut self) -> Module {
        let map = &self.map;
        let new = |v: &mut ValueId| *v = map[v.index()].expect("every root is copied");
        for p in self.module.inputs.iter_mut().chain(&mut self.module.outputs) {
            new(&mut p.value);
        }
        for s in &mut self.module.states {
            new(&mut s.read);
            new(&mut s.next);
        }
        for l in &mut self.module.lines {
            new(&mut l.source);
        }
        for p in &mut self.module.probes {
            new(&mut p.value);
        }
        self.module
    }
}

/// Runs a pass on the bodies of `cond`, `scan` and `repeat` in a module's step function: each as the step function of a
/// module without state that has the same constants, and whose outputs are the body's results.
///
/// # Errors
/// The first error of the pass; the bodies after it are as before.
pub fn each_body<E>(module: &mut Module, pass: &mut dyn FnMut(&mut Module) -> Result<(), E>) -> Result<(), E> {
    each_body_of(module, &mut |body, _| pass(body))
}

/// As [`each_body`], for a pass that looks at the op around: a node without its regions.
///
/// # Errors
/// As [`each_body`].
pub fn each_body_of<E>(
    module: &mut Module,
    pass: &mut dyn FnMut(&mut Module, &Node) -> Result<(), E>,
) -> Result<(), E> {
    let mut result = Ok(());
    for k in 0..module.graph.nodes.len() {
        if !has_bodies(&module.graph.nodes[k].op) {
            continue;
        }
        let regions = std::mem::take(&mut module.graph.nodes[k].regions);
        let around = module.graph.nodes[k].clone();
        for mut body in regions {
            if result.is_ok() {
                let outputs = std::mem::take(&mut body.results).into_iter();
                let mut alone = Module {
                    outputs: outputs.map(|value| Port { name: String::new(), value }).collect(),
                    graph: body,
                    consts: std::mem::take(&mut module.consts),
                    ..Module::default()
                };
                result = pass(&mut alone, &around);
                module.consts = alone.consts;
                body = Graph { results: alone.outputs.iter().map(|p| p.value).collect(), ..alone.graph };
            }
            module.graph.nodes[k].regions.push(body);
        }
    }
    result
}

/// For each value of a graph, the constant it is, if it is one.
pub fn constants_of<'a>(graph: &Graph, consts: &'a [Constant]) -> Vec<Option<&'a Tensor>> {
    let mut known = vec![None; graph.values.len()];
    for node in &graph.nodes {
        if let Op::Const { id } = node.op {
            known[node.results[0].index()] = Some(&consts[id.index()].data);
        }
    }
    known
}

/// Everything of a module that its values must outlive: outputs, next states, line sources and probes.
pub fn roots(module: &Module) -> impl Iterator<Item = ValueId> + '_ {
    let lines = module.lines.iter().map(|l: &DelayLine| l.source);
    let states = module.states.iter().map(|s| s.next);
    module.outputs.iter().map(|p| p.value).chain(states).chain(lines).chain(module.probes.iter().map(|p| p.value))
}

/// Element count of a type whose extents are known.
///
/// # Panics
/// If a dimension is unbound; the pipeline binds all before it starts.
pub fn count(ty: &TensorType) -> u64 {
    ty.elements().expect("dimensions are bound")
}
