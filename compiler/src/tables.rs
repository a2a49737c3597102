//! Products of rows that are taken from a constant table, such as the embeddings of tokens: the rows of the table are
//! multiplied once, before the program runs, and products are taken from the result.
//!
//! This is exact: each row's outputs are chains of their own, whatever the other rows are. A table is made only where it
//! takes no more than twice the memory of what it is made from.

use crate::Errors;
use crate::rebuild::{self, Rebuild, constants_of};
use nc_ir::graph::{Module, Node, Op, Port, ValueId};
use nc_ir::interp::Interpreter;
use nc_ir::tensor::Tensor;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Most multiply-adds that one table is worth.
const MAX_LINKS: u64 = 1 << 26;

/// Makes the tables, in bodies too.
///
/// # Errors
/// None of its own; those of passes over bodies.
pub fn run(module: &mut Module) -> Result<(), Errors> {
    rebuild::each_body(module, &mut run)?;
    let known = constants_of(&module.graph, &module.consts);
    let mut gathers: FxHashMap<ValueId, &Node> = FxHashMap::default();
    for n in module.graph.nodes.iter().filter(|n| n.op == Op::Gather { axis: 0 }) {
        gathers.extend(n.results.first().map(|r| (*r, n)));
    }
    let tables: Vec<Option<(Tensor, ValueId)>> = (module.graph.nodes.iter())
        .map(|n| {
            let from = gathers.get(n.args.first()?)?;
            Some((table(&known, from, n)?, *from.args.get(1)?))
        })
        .collect();
    if tables.iter().all(Option::is_none) {
        return Ok(());
    }
    let mut rb = Rebuild::new(std::mem::take(module));
    for (node, table) in std::mem::take(&mut rb.old.nodes).into_iter().zip(tables) {
        let taken = table.and_then(|(t, index)| {
            let index = rb.value(index);
            let name = rb.old.values[node.results[0].index()].name.clone();
            let t = rb.constant(&name, t).ok()?;
            let y = rb.op(Op::Gather { axis: 0 }, &[t, index]).ok()?;
            (rb.module.graph.ty(y) == rb.old.ty(node.results[0])).then_some(y)
        });
        match taken {
            Some(y) => rb.replace(node.results[0], y),
            None => rb.copy(&node),
        }
    }
    *module = rb.finish();
    Ok(())
}

/// The product of all rows of a table with the weights of a node, if that is worth it.
fn table(known: &[Option<&Tensor>], from: &Node, node: &Node) -> Option<Tensor> {
    if !matches!(node.op, Op::Linear | Op::Matmul) {
        return None;
    }
    let rows = known[from.args.first()?.index()]?;
    let weights: Option<Vec<&Tensor>> = node.args[1..].iter().map(|a| known[a.index()]).collect();
    let weights = weights?;
    let (&[n, k], &[a, b]) = (rows.shape(), weights.first()?.shape()) else { return None };
    let (n, k, m) = (n as u64, k as u64, if node.op == Op::Linear { a } else { b } as u64);
    let size = n.checked_mul(m)?;
    if size > 2 * (n * k + m * k) || size.checked_mul(k)? > MAX_LINKS {
        return None;
    }
    let mut m = Module { name: "table".into(), ..Module::default() };
    let mut args = Vec::with_capacity(node.args.len());
    for t in std::iter::once(rows).chain(weights) {
        let id = m.add_const("", t.clone());
        args.push(m.builder().constant(id).ok()?);
    }
    let mut b = m.builder();
    let y = match (&node.op, &args[..]) {
        (Op::Linear, [x, w, bias @ ..]) => b.linear(*x, *w, bias.first().copied()).ok()?,
        (_, [x, w]) => b.matmul(*x, *w).ok()?,
        _ => return None,
    };
    m.outputs.push(Port { name: "y".into(), value: y });
    let mut outputs = Interpreter::new(Arc::new(m)).ok()?.step(&[]).ok()?.outputs;
    outputs.pop()
}
