//! What a partition sends: packets, and who sends to whom.

use super::{Partition, Problem};
use rustc_hash::FxHashMap;

/// Sources of the host on one core.
const INPUTS: usize = 4096;

/// What passes between cores when every source spikes as often as its rate says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Copies of spikes that come to a core other than the one where they arose.
    pub packets: u64,
    /// Copies that come to a core, its own included.
    pub copies: u64,
    /// Synapses, weighted by rate, whose ends lie on different cores.
    pub edges: u64,
    /// Cores, those that send inputs of the host included; they come last.
    pub cores: u32,
    /// From which core to which cores, and how many spikes: the same ways are one.
    pub ways: Vec<(u32, Vec<u32>, u64)>,
}

/// Counts what a partition sends.
pub fn measure(p: &Problem<'_>, by: &Partition) -> Traffic {
    let mut t = Traffic { cores: by.parts, ..Traffic::default() };
    let mut ways: FxHashMap<(u32, Vec<u32>), u64> = FxHashMap::default();
    let (mut row, mut to) = (Vec::new(), Vec::<u32>::new());
    let mut stamp = vec![u32::MAX; by.parts as usize];
    let mut inputs = 0;
    for k in 0..p.spikes.sources() {
        let rate = u64::from(p.spikes.rate(k));
        let from = match p.spikes.vertex(k) {
            Some(v) => by.part[v as usize],
            None => {
                inputs += 1;
                by.parts + ((inputs - 1) / INPUTS) as u32
            }
        };
        t.cores = t.cores.max(from + 1);
        row.clear();
        p.spikes.targets(k, &mut row);
        to.clear();
        for v in &row {
            let q = by.part[*v as usize];
            t.edges += if q == from { 0 } else { rate };
            if stamp[q as usize] != k as u32 {
                stamp[q as usize] = k as u32;
                to.push(q);
            }
        }
        t.copies += rate * to.len() as u64;
        t.packets += rate * to.iter().filter(|q| **q != from).count() as u64;
        if !to.is_empty() {
            to.sort_unstable();
            match ways.get_mut(&(from, to.clone())) {
                Some(n) => *n += rate,
                None => drop(ways.insert((from, to.clone()), rate)),
            }
        }
    }
    t.ways = ways.into_iter().map(|((from, to), n)| (from, to, n)).collect();
    t.ways.sort_unstable();
    t
}
