//! Routing tables: the tree of each stream part, and entries that several parts share.
//!
//! A router stands in the middle of its chip. A packet goes from its core to the router, which sends it to cores of its
//! chip and over links to other chips, where the same key is looked up again. Between chips a tree goes along the row
//! first, then along columns.

use crate::bundle::{Entry, Place};
use crate::machine::Machine;
use crate::plan::Plan;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Links of a chip: east, north-east, north, west, south-west, south, as columns and rows to the next chip.
pub const LINKS: [(i64, i64); 6] = [(1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1)];

/// The chip at the other end of a link; `None` at the edge of the board, which does not wrap around.
pub fn neighbour(machine: &Machine, chip: u32, link: u32) -> Option<u32> {
    let (dx, dy) = *LINKS.get(link as usize).filter(|_| link < machine.links.per_chip.value)?;
    let (columns, rows) = (i64::from(machine.chips[0]), i64::from(machine.chips[1]));
    let (x, y) = (i64::from(chip) % columns + dx, i64::from(chip) / columns + dy);
    let inside = (0..columns).contains(&x) && (0..rows).contains(&y);
    inside.then(|| (y * columns + x) as u32)
}

/// The links of a way from one chip to another: along the row, then along the column.
pub fn way(machine: &Machine, from: u32, to: u32) -> Vec<(u32, u32)> {
    let columns = machine.chips[0];
    let mut at = from;
    let mut links = Vec::new();
    while at != to {
        let (x, tx) = (at % columns, to % columns);
        let link = match x.cmp(&tx) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => 3,
            std::cmp::Ordering::Equal if at < to => 2,
            std::cmp::Ordering::Equal => 5,
        };
        links.push((at, link));
        let Some(next) = neighbour(machine, at, link) else { break };
        at = next;
    }
    links
}

/// A way to deliver a packet on one chip: cores and links.
type Route = (Vec<u32>, Vec<u32>);

/// The routes of one part by chip.
pub fn tree(machine: &Machine, from: Place, to: &[Place]) -> BTreeMap<u32, Route> {
    let mut routes: BTreeMap<u32, Route> = BTreeMap::new();
    for p in to {
        for (chip, link) in way(machine, from.chip, p.chip) {
            let links = &mut routes.entry(chip).or_default().1;
            if !links.contains(&link) {
                links.push(link);
            }
        }
        routes.entry(p.chip).or_default().0.push(p.core);
    }
    for (cores, links) in routes.values_mut() {
        cores.sort_unstable();
        cores.dedup();
        links.sort_unstable();
    }
    routes
}

/// Tables before they are made smaller, and after.
pub struct Tables {
    /// Entries of each chip if every part had one of its own.
    pub raw: Vec<usize>,
    /// The tables.
    pub tables: Vec<Vec<Entry>>,
}

/// The tables of all chips for a plan whose streams have their keys. `places` are those of the tasks.
pub fn tables(plan: &Plan, places: &[Place], machine: &Machine) -> Tables {
    let chips = machine.chip_count() as usize;
    let mut raw = vec![0; chips];
    let mut tables: Vec<Vec<Entry>> = vec![Vec::new(); chips];
    let mut sender: FxHashMap<(usize, u64), usize> = FxHashMap::default();
    for (k, t) in plan.tasks.iter().enumerate() {
        for s in &t.sends {
            sender.insert(*s, k);
        }
    }
    for (s, stream) in plan.streams.iter().enumerate() {
        let mut by_chip: BTreeMap<u32, Vec<(u64, Route)>> = BTreeMap::new();
        for part in 0..stream.parts {
            let Some(from) = sender.get(&(s, part)) else { continue };
            let to: Vec<Place> = plan.receivers(s, part).into_iter().map(|k| places[k]).collect();
            for (chip, route) in tree(machine, places[*from], &to) {
                by_chip.entry(chip).or_default().push((part, route));
            }
        }
        for (chip, parts) in by_chip {
            raw[chip as usize] += parts.len();
            let keys = Block { key: stream.key, shift: stream.shift, parts: stream.keys >> stream.shift };
            keys.entries(&parts, &mut tables[chip as usize]);
        }
    }
    tables.iter_mut().for_each(|t| {
        t.sort();
        merge(t);
    });
    Tables { raw, tables }
}

/// The keys of a stream.
struct Block {
    key: u32,
    shift: u32,
    /// Parts that there are keys for, a power of two.
    parts: u64,
}

impl Block {
    /// Covers the parts, which ascend, with as few aligned blocks as can be: a block serves if the parts in it that
    /// come to this chip all have the same route. Keys that nobody sends with on this chip may go anywhere.
    ///
    /// A part that does not pass this chip sends nothing here, so its keys are free as well.
    fn entries(&self, parts: &[(u64, Route)], out: &mut Vec<Entry>) {
        self.cover(0, self.parts, parts, out);
    }

    fn cover(&self, first: u64, count: u64, parts: &[(u64, Route)], out: &mut Vec<Entry>) {
        let Some((_, route)) = parts.first() else { return };
        if parts.iter().all(|(_, r)| r == route) {
            // The smallest block that holds them.
            let (mut first, mut count) = (first, count);
            let (low, high) = (parts[0].0, parts[parts.len() - 1].0);
            while count > 1 {
                let half = count / 2;
                if high < first + half {
                    count = half;
                } else if low >= first + half {
                    (first, count) = (first + half, half);
                } else {
                    break;
                }
            }
            let mask = !((count << self.shift).wrapping_sub(1)) as u32;
            let key = self.key.wrapping_add((first << self.shift) as u32);
            out.push(Entry { key, mask, cores: route.0.clone(), links: route.1.clone() });
            return;
        }
        let half = count / 2;
        let at = parts.partition_point(|(p, _)| *p < first + half);
        self.cover(first, half, &parts[..at], out);
        self.cover(first + half, half, &parts[at..], out);
    }
}

/// What entries have in common that can be merged: mask, cores, links.
type Alike<'a> = (u32, &'a [u32], &'a [u32]);

/// Takes an entry of several whose route is the same and which differ in one bit of their keys, until there are none.
pub fn merge(table: &mut Vec<Entry>) {
    loop {
        let mut by: FxHashMap<Alike<'_>, FxHashMap<u32, usize>> = FxHashMap::default();
        for (k, e) in table.iter().enumerate() {
            by.entry((e.mask, &e.cores, &e.links)).or_default().insert(e.key, k);
        }
        let mut merged = vec![false; table.len()];
        let mut new = Vec::new();
        for (k, e) in table.iter().enumerate() {
            if merged[k] {
                continue;
            }
            let mates = &by[&(e.mask, e.cores.as_slice(), e.links.as_slice())];
            let free = (0..32).map(|b| 1u32 << b).filter(|b| e.mask & b != 0);
            let mate = free.filter_map(|b| mates.get(&(e.key ^ b)).map(|m| (b, *m))).find(|(_, m)| !merged[*m]);
            if let Some((bit, m)) = mate {
                (merged[k], merged[m]) = (true, true);
                new.push(Entry { key: e.key & !bit, mask: e.mask & !bit, ..e.clone() });
            }
        }
        if new.is_empty() {
            break;
        }
        let mut k = 0;
        table.retain(|_| {
            k += 1;
            !merged[k - 1]
        });
        table.extend(new);
        table.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(n: u32) -> Route {
        (vec![n], Vec::new())
    }

    proptest! {
        #[test]
        fn every_part_takes_its_route_and_one_entry(routes in prop::collection::vec(prop::option::of(0u32..3), 1..70)) {
            let parts: Vec<(u64, Route)> =
                routes.iter().enumerate().filter_map(|(k, r)| r.map(|r| (k as u64, route(r)))).collect();
            let block = Block { key: 0x4000, shift: 3, parts: (routes.len() as u64).next_power_of_two() };
            let mut table = Vec::new();
            block.entries(&parts, &mut table);
            let before = table.len();
            merge(&mut table);
            prop_assert!(table.len() <= before && before <= parts.len());
            for (p, r) in &parts {
                for e in [0, 7] {
                    let key = 0x4000 + (*p << 3) as u32 + e;
                    let hits: Vec<&Entry> = table.iter().filter(|x| x.takes(key)).collect();
                    prop_assert_eq!(hits.len(), 1);
                    prop_assert_eq!(&hits[0].cores, &r.0);
                }
            }
            for e in &table {
                prop_assert!(!e.takes(0x3fff) && !e.takes(0x4000 + (block.parts << 3) as u32));
            }
        }
    }

    #[test]
    fn parts_with_one_route_share_an_entry() {
        let parts: Vec<(u64, Route)> = (0..5).map(|p| (p, route(7))).collect();
        let mut table = Vec::new();
        Block { key: 0x100, shift: 2, parts: 8 }.entries(&parts, &mut table);
        assert_eq!(table, [Entry { key: 0x100, mask: !31, cores: vec![7], links: vec![] }]);
    }

    #[test]
    fn ways_end_where_they_should() {
        let m = Machine::named("spinnaker2-board48").expect("a machine");
        for from in 0..48 {
            for to in 0..48 {
                let mut at = from;
                for (chip, link) in way(&m, from, to) {
                    assert_eq!(chip, at);
                    at = neighbour(&m, at, link).expect("a chip");
                }
                assert_eq!(at, to);
            }
        }
        assert_eq!(neighbour(&m, 0, 3), None);
    }
}
