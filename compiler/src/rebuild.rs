//! Rewriting the step function: a new graph is written node by node while an old one is read.

use nc_ir::Tensor;
use nc_ir::graph::{Constant, DelayLine, Graph, GraphBuilder, Module, Node, Op, OpError, ValueId};
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

    /// Copies a node with its operands mapped.
    pub fn copy(&mut self, node: &Node) {
        let args = self.values(&node.args);
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
