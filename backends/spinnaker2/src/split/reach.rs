//! Which sources of a connection a piece needs: those that have a synapse with one of its targets.

use super::SplitError;
use super::build::{Builder, Writer, gathered, push, rows_of};
use super::facts::Kind;
use super::uses::extents;
use nc_ir::graph::{ConnId, LineId, Node, Op, ValueId};
use std::ops::Range;

/// Most ranges of sources that a piece receives apart from each other: each packet is looked up in all of them.
const RANGES: usize = 6;
/// Rows of an input that are taken to come together.
const BLOCK: u64 = 64;

/// The sources of a connection that a piece receives.
#[derive(Clone, Debug)]
pub(super) struct Picked {
    /// Them, one after the other.
    pub value: ValueId,
    /// Their numbers in the model, which ascend.
    pub sources: Vec<u64>,
    /// True if they are those of the tick before, which stand for this tick's.
    pub late: bool,
}

/// Few ascending ranges that hold all rows that are needed, from which the ends are cut off where nothing is. Of a part, given
/// by the first rows of all and their number, everything comes if anything does, so what lies between two rows of
/// neighbouring parts is taken along. `None` if that is nearly everything.
pub(super) fn rows_needed(needed: &[bool], bounds: &[u64]) -> Option<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut last = None;
    for (part, b) in bounds.windows(2).enumerate() {
        let rows = needed.get(b[0] as usize..b[1] as usize)?;
        let (Some(lo), Some(hi)) = (rows.iter().position(|x| *x), rows.iter().rposition(|x| *x)) else { continue };
        let (lo, hi) = (b[0] + lo as u64, b[0] + hi as u64 + 1);
        match ranges.last_mut() {
            Some(r) if last == Some(part.wrapping_sub(1)) => r.end = hi,
            _ => ranges.push(lo..hi),
        }
        last = Some(part);
    }
    if ranges.is_empty() {
        // A vector has at least one element.
        ranges.push(0..1);
    }
    while ranges.len() > RANGES {
        let gap = |k: &usize| ranges[k + 1].start - ranges[*k].end;
        let k = (0..ranges.len() - 1).min_by_key(gap)?;
        ranges[k].end = ranges[k + 1].end;
        ranges.remove(k + 1);
    }
    let taken: u64 = ranges.iter().map(|r| r.end - r.start).sum();
    (taken * 8 < needed.len() as u64 * 7).then_some(ranges)
}

impl Builder {
    /// What a node takes the events of: a value, and the line if it is that value's past.
    fn source(&self, node: &Node) -> Option<(ConnId, ValueId, Option<LineId>)> {
        let Op::Project { conn, line, now_count, .. } = node.op else { return None };
        match (now_count, line) {
            (1, _) => Some((conn, node.args[0], None)),
            (0, Some(l)) => Some((conn, self.facts.module.lines[l.index()].source, Some(l))),
            _ => None,
        }
    }

    /// What a piece of these nodes receives of the sources of a connection, if that is not all of them. It is the same for
    /// all its connections from one source.
    pub(super) fn picked(
        &mut self,
        w: &mut Writer,
        node: &Node,
        nodes: &[usize],
    ) -> Result<Option<Picked>, SplitError> {
        let Some((_, source, late)) = self.source(node) else { return Ok(None) };
        let key = (source, late.is_some());
        if let Some(known) = w.picked.get(&key) {
            return Ok(known.clone());
        }
        let alike = |k: &usize| self.source(&self.facts.module.graph.nodes[*k]);
        let of = nodes.iter().filter_map(alike).filter(|(_, s, l)| (*s, l.is_some()) == key);
        let conns: Vec<ConnId> = of.map(|(c, ..)| c).collect();
        let found = self.pick(w, source, late, &conns)?;
        w.picked.insert(key, found.clone());
        Ok(found)
    }

    fn pick(
        &mut self,
        w: &mut Writer,
        source: ValueId,
        late: Option<LineId>,
        conns: &[ConnId],
    ) -> Result<Option<Picked>, SplitError> {
        let Some(targets) = w.piece.rows.clone() else { return Ok(None) };
        let shape = extents(&self.facts.module.graph, source);
        let [n] = shape[..] else { return Ok(None) };
        let of = match self.facts.whole_kind(source) {
            _ if late.is_some() => Some(self.facts.population[source.index()]),
            Kind::Node(_) => Some(self.facts.population[source.index()]),
            Kind::State(s) => Some(self.facts.population[self.facts.module.states[s].next.index()]),
            Kind::Host(_) => None,
            _ => return Ok(None),
        };
        let parts = of.map_or(n.div_ceil(BLOCK), |p| self.parts[p]).max(1);
        let mut bounds: Vec<u64> = (0..parts).map(|k| rows_of(n, k, parts).map_or(0, |r| r.start)).collect();
        bounds.push(n);
        let mut needed = vec![false; n as usize];
        // The piece's targets, by their numbers in the model.
        let mut own = vec![false; self.facts.populations[w.population].rows as usize];
        match self.listed(w) {
            Some(list) => list.iter().for_each(|j| own[*j as usize] = true),
            None => own[targets.start as usize..targets.end as usize].fill(true),
        }
        for conn in conns {
            let table = self.table(*conn)?;
            let to = |s: usize| own.get(table.post[s] as usize).is_some_and(|x| *x);
            for (i, x) in needed.iter_mut().enumerate().take(table.pre_len()) {
                *x |= table.row(i).any(to);
            }
        }
        let order = self.order(source);
        if let Some(order) = &order {
            needed = order.iter().map(|row| needed[*row as usize]).collect();
        }
        let Some(ranges) = rows_needed(&needed, &bounds) else { return Ok(None) };
        let mut values = Vec::with_capacity(ranges.len());
        for r in &ranges {
            values.push(match late {
                Some(line) => self.late_source(w, line, Some(r.clone())),
                None => match self.fed_places(w, source, r.clone()) {
                    Some(v) => v,
                    None => return Ok(None),
                },
            });
        }
        let mut value = match values[..] {
            [one] => one,
            _ => push(&mut w.piece.module, Op::Concat { axis: 0 }, values, vec![])?[0],
        };
        let mut sources: Vec<u64> = ranges.iter().cloned().flatten().collect();
        if let Some(order) = &order {
            // The model's order, in which synapses are added up.
            let rows = sources.iter().map(|q| u64::from(order[*q as usize]));
            let mut by: Vec<(u64, i64)> =
                rows.zip(0..).filter(|(_, at)| needed[sources[*at as usize] as usize]).collect();
            if by.is_empty() {
                by.push((u64::from(order[sources[0] as usize]), 0));
            }
            by.sort_unstable();
            value = gathered(w, value, by.iter().map(|(_, at)| *at).collect())?;
            sources = by.into_iter().map(|(row, _)| row).collect();
        }
        Ok(Some(Picked { value, sources, late: late.is_some() }))
    }
}

#[cfg(test)]
mod tests {
    use super::rows_needed;
    use proptest::prelude::*;

    #[test]
    fn neighbouring_parts_are_one_range() {
        let mut needed = vec![false; 40];
        for k in [11, 12, 18, 31] {
            needed[k] = true;
        }
        assert_eq!(rows_needed(&needed, &[0, 10, 15, 20, 30, 40]), Some(vec![11..19, 31..32]));
        assert_eq!(rows_needed(&[false; 16], &[0, 8, 16]), Some(std::iter::once(0..1).collect()));
        assert_eq!(rows_needed(&[true; 16], &[0, 8, 16]), None);
    }

    proptest! {
        #[test]
        fn all_that_is_needed_is_there(needed in prop::collection::vec(prop::bool::weighted(0.1), 1..300), part in 1u64..20) {
            let n = needed.len() as u64;
            let mut bounds: Vec<u64> = (0..n).step_by(part as usize).collect();
            bounds.push(n);
            let Some(ranges) = rows_needed(&needed, &bounds) else { return Ok(()) };
            prop_assert!(ranges.len() <= super::RANGES);
            prop_assert!(ranges.windows(2).all(|r| r[0].end < r[1].start));
            prop_assert!(ranges.iter().all(|r| r.start < r.end && r.end <= n));
            for (k, x) in needed.iter().enumerate() {
                prop_assert!(!x || ranges.iter().any(|r| r.contains(&(k as u64))));
            }
        }
    }
}
