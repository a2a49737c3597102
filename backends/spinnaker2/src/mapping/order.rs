//! The order in which the rows of populations are dealt out, so that a spike goes to few cores.

use super::model::neurons;
use super::{Method, Problem, partition};
use crate::split::SplitError;
use crate::split::facts::{Facts, Kind};
use crate::split::uses::{Use, extents, uses};
use nc_ir::graph::{Class, Module, Op, ValueId};
use std::sync::Arc;

/// Rows that stay together wherever a population is cut.
const GRAIN: u64 = 16;

/// An order for each population of a solved module, by its number, as [`crate::split::split_ordered`] takes it; `None` for
/// those that stay as they are.
///
/// # Errors
/// If extents are not known, equations are not solved, or there are more than `max_synapses`.
pub fn orders(module: &Module, seed: u64, max_synapses: u64) -> Result<Vec<Option<Arc<Vec<u32>>>>, SplitError> {
    let n = neurons(module, |_| 1, max_synapses)?;
    let free = orderable(module)?;
    let mut out = vec![None; free.len()];
    let alike = Problem { weight: vec![1; n.count as usize], kind: n.kind.clone(), capacity: GRAIN, spikes: &n.table };
    let Some(by) = partition(&alike, Method::Connectivity, seed) else { return Ok(out) };
    for (k, number) in n.numbers.iter().enumerate() {
        let first = n.populations[k].1;
        let end = n.populations.get(k + 1).map_or(n.count, |p| p.1);
        if free[*number] != Some(u64::from(end - first)) {
            continue;
        }
        let mut order: Vec<u32> = (0..end - first).collect();
        order.sort_by_key(|row| (by.part[(first + row) as usize], *row));
        if order.windows(2).any(|r| r[0] > r[1]) {
            out[*number] = Some(Arc::new(order));
        }
    }
    Ok(out)
}

/// The number of rows of each population, by its number, that may have another order: its rows are single elements, which only
/// element-wise operations and synapses compute. `None` for the others.
///
/// # Errors
/// If extents are not known or equations are not solved.
pub fn orderable(module: &Module) -> Result<Vec<Option<u64>>, SplitError> {
    let mut facts = Facts::new(module.clone())?;
    facts.order(&vec![true; facts.populations.len()]);
    let free = free(&facts);
    Ok(facts.populations.iter().zip(free).map(|(p, free)| free.then_some(p.rows)).collect())
}

/// The populations that may have another order.
fn free(facts: &Facts) -> Vec<bool> {
    let g = &facts.module.graph;
    let mut free: Vec<bool> = facts.populations.iter().map(|p| p.divisible).collect();
    let fits = |v: ValueId| extents(g, v) == [facts.populations[facts.population[v.index()]].rows];
    for (_, node) in g.nodes.iter().enumerate().filter(|(k, _)| facts.live[*k]) {
        let Some(first) = node.results.first() else { continue };
        if facts.kind(*first) == Kind::Anywhere || matches!(node.op, Op::Delayed { .. }) {
            continue;
        }
        let by_row = uses(&facts.module, node);
        let plain = node.op.info().class == Class::Elementwise
            || matches!(node.op, Op::Project { .. } | Op::Reshape { .. } | Op::Broadcast { .. });
        let known = by_row.as_ref().is_some_and(|u| u.iter().all(|x| matches!(x, Use::Rows | Use::Full)));
        // Rows of an operand are single elements as well.
        let single =
            by_row.is_some_and(|u| node.args.iter().zip(u).all(|(a, x)| x != Use::Rows || extents(g, *a).len() == 1));
        for r in &node.results {
            free[facts.population[r.index()]] &= plain && known && single && fits(*r);
        }
    }
    for s in &facts.module.states {
        free[facts.population[s.read.index()]] &= fits(s.read);
    }
    free
}
