//! Computes what saturation left to do on constants: weights that were joined, cut, transposed or scaled.

use crate::control::{compact, needed};
use crate::rebuild::{Rebuild, count, roots};
use nc_ir::graph::{Class, Graph, Module, Node, Op, Port, ValueId};
use nc_ir::interp::Interpreter;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Results of more elements are left to run time.
pub const MAX_ELEMENTS: u64 = 1 << 28;

/// True for ops that are another name for their operand, and cost nothing where they stand.
fn is_name(op: &Op) -> bool {
    matches!(op, Op::Broadcast { .. } | Op::Reshape { .. })
}

/// Replaces values that follow from constants by what they are. Says which are computed in every tick all the same: results of
/// more than `most` elements, and all of them where the interpreter would need more memory than it may take.
///
/// # Errors
/// What the interpreter says of the graph of constants: a bug.
pub fn run(module: &mut Module, most: u64) -> Result<Vec<String>, String> {
    let graph = &module.graph;
    let mut left = Vec::new();
    let mut constant = vec![false; graph.values.len()];
    let mut made = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let pure = match node.op.info().class {
            Class::Elementwise | Class::Data | Class::Contraction | Class::Reduction => node.results.len() == 1,
            Class::Sequential | Class::Synaptic | Class::Control => false,
        };
        let is_const = matches!(node.op, Op::Const { .. });
        let from_constants = pure && !node.args.is_empty() && node.args.iter().all(|a| constant[a.index()]);
        if is_const || from_constants {
            let v = node.results[0];
            constant[v.index()] = is_const || count(graph.ty(v)) <= most;
            if !constant[v.index()] && !is_name(&node.op) {
                left.push(format!("{}: computed from constants in every tick, for its size", graph.name_of(v)));
            }
            made[v.index()] = constant[v.index()] && !is_const && !is_name(&node.op);
        }
    }
    // Those that something other than a constant reads, also by another name.
    let mut wanted: FxHashSet<ValueId> = roots(module).collect();
    for node in graph.nodes.iter().rev() {
        let v = node.results.first();
        let by_name = is_name(&node.op) && v.is_some_and(|v| constant[v.index()] && wanted.contains(v));
        if by_name || v.is_none_or(|v| !constant[v.index()]) {
            wanted.extend(&node.args);
        }
    }
    let targets: Vec<ValueId> = graph
        .nodes
        .iter()
        .flat_map(|n| &n.results)
        .copied()
        .filter(|v| made[v.index()] && wanted.contains(v))
        .collect();
    if targets.is_empty() {
        return Ok(left);
    }
    let tensors = match evaluate(module, &constant, &targets) {
        Ok(tensors) => tensors,
        Err(e) if e.code == MEMORY => {
            let name = |v: &ValueId| module.graph.name_of(*v);
            left.extend(targets.iter().map(|v| format!("{}: computed in every tick, since {}", name(v), e.message)));
            return Ok(left);
        }
        Err(e) => return Err(format!("constants cannot be computed: {}", e.message)),
    };
    let mut known: Vec<Option<nc_ir::Tensor>> = vec![None; module.graph.values.len()];
    for (v, t) in targets.iter().zip(tensors) {
        known[v.index()] = Some(t);
    }
    let mut rb = Rebuild::new(std::mem::take(module));
    for node in std::mem::take(&mut rb.old.nodes) {
        let data = node.results.first().and_then(|v| known[v.index()].take());
        match data {
            Some(data) => {
                let name = rb.old.values[node.results[0].index()].name.clone();
                let id = rb.module.add_const(name, data);
                rb.copy(&Node { op: Op::Const { id }, args: Vec::new(), regions: Vec::new(), results: node.results });
            }
            None => rb.copy(&node),
        }
    }
    *module = rb.finish();
    Ok(left)
}

/// The code of the interpreter's refusal to take so much memory.
const MEMORY: &str = "E0504";

/// The values of these constants, by the interpreter.
fn evaluate(
    module: &mut Module,
    constant: &[bool],
    targets: &[ValueId],
) -> Result<Vec<nc_ir::Tensor>, nc_ir::Diagnostic> {
    let nodes = module.graph.nodes.iter().filter(|n| n.results.first().is_some_and(|v| constant[v.index()]));
    let all = Graph {
        values: module.graph.values.clone(),
        nodes: nodes.cloned().collect(),
        params: Vec::new(),
        results: targets.to_vec(),
    };
    let mut graph = compact(&all, &needed(&all, targets));
    let results = std::mem::take(&mut graph.results);
    let alone = Module {
        name: "constants".to_owned(),
        consts: std::mem::take(&mut module.consts),
        graph,
        outputs: results.into_iter().enumerate().map(|(k, value)| Port { name: k.to_string(), value }).collect(),
        ..Module::default()
    };
    let alone = Arc::new(alone);
    let result = Interpreter::new(alone.clone()).and_then(|mut i| i.step(&[])).map(|out| out.outputs);
    // The interpreter is gone, and with it the other owner.
    module.consts = Arc::try_unwrap(alone).map(|m| m.consts).unwrap_or_else(|shared| shared.consts.clone());
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::Tensor;

    #[test]
    fn what_is_too_large_is_left_and_named() {
        let mut m = Module { name: "left".to_owned(), ..Module::default() };
        let id = m.add_const("w", Tensor::from_vec(vec![2, 3], vec![1.0f32; 6]).expect("six"));
        let mut b = m.builder();
        let w = b.constant(id).expect("a constant");
        let turned = b.transpose(w, vec![1, 0]).expect("a matrix");
        m.graph.values[turned.index()].name = "turned".to_owned();
        m.outputs.push(Port { name: "y".to_owned(), value: turned });
        let mut small = m.clone();
        assert_eq!(run(&mut small, 6), Ok(Vec::new()));
        assert!(small.graph.nodes.iter().all(|n| matches!(n.op, Op::Const { .. })));
        let left = run(&mut m, 5);
        assert_eq!(left, Ok(vec!["turned: computed from constants in every tick, for its size".to_owned()]));
        assert!(m.graph.nodes.iter().any(|n| matches!(n.op, Op::Transpose { .. })));
    }
}
