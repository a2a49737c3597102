//! Which task runs on which core: short ways for much traffic.
//!
//! Every packet passes the router of its chip, so what counts is how far a core is from its router, and how many
//! chips a tree crosses. A start that puts the busiest next to the routers is improved by annealing with a counted
//! number of moves; the result depends on the seed and nothing else.

use crate::bundle::Place;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::route::way;
use rustc_hash::FxHashMap;

/// Hops that a link between chips counts for.
const LINK: u64 = 40;

/// Column and row of a core's node in the mesh of its chip.
pub fn node(machine: &Machine, core: u32) -> (u32, u32) {
    let n = core / machine.noc.cores_per_node.value.max(1);
    let columns = machine.noc.columns.value.max(1);
    (n % columns, n / columns)
}

/// The node of a chip's router: in the middle of the mesh. Ours.
pub fn router(machine: &Machine) -> (u32, u32) {
    (machine.noc.columns.value / 2, machine.noc.rows.value / 2)
}

/// Hops from a core to its router.
pub fn distance(machine: &Machine, core: u32) -> u64 {
    let ((x, y), (rx, ry)) = (node(machine, core), router(machine));
    u64::from(x.abs_diff(rx) + y.abs_diff(ry))
}

/// Where tasks run, and what it costs.
#[derive(Clone, Debug)]
pub struct Placement {
    /// One for each task.
    pub places: Vec<Place>,
    /// Weighted hops of the constructive start.
    pub start: u64,
    /// Weighted hops.
    pub cost: u64,
    /// Moves that were tried.
    pub moves: u64,
}

/// A part of a stream: who sends it to whom, and how many packets at most.
struct Net {
    from: usize,
    to: Vec<usize>,
    weight: u64,
}

struct Placer<'a> {
    machine: &'a Machine,
    nets: Vec<Net>,
    /// The nets of each task.
    of: Vec<Vec<usize>>,
    distance: Vec<u64>,
    /// Links between chips by pair, for trees.
    ways: FxHashMap<(u32, u32), Vec<(u32, u32)>>,
}

/// Places the tasks of a plan on the cores that are not dead. `None` if there are fewer cores than tasks.
pub fn place(plan: &Plan, machine: &Machine, dead: &[Place], seed: u64, moves: u64) -> Option<Placement> {
    let mut cores: Vec<Place> = Vec::new();
    for chip in 0..machine.chip_count() as u32 {
        for core in 0..machine.core.usable.value {
            let p = Place { chip, core };
            if !dead.contains(&p) {
                cores.push(p);
            }
        }
    }
    if cores.len() < plan.tasks.len() {
        return None;
    }
    let mut p = Placer {
        machine,
        nets: Vec::new(),
        of: vec![Vec::new(); plan.tasks.len()],
        distance: (0..machine.core.usable.value).map(|c| distance(machine, c)).collect(),
        ways: FxHashMap::default(),
    };
    for (from, t) in plan.tasks.iter().enumerate() {
        for (s, part) in &t.sends {
            let to = plan.receivers(*s, *part);
            let n = p.nets.len();
            for k in to.iter().chain([&from]) {
                if p.of[*k].last() != Some(&n) {
                    p.of[*k].push(n);
                }
            }
            p.nets.push(Net { from, to, weight: plan.streams[*s].elements_of(*part).max(1) });
        }
    }
    // The busiest first; chips fill one after the other, each from its router outward.
    let mut tasks: Vec<usize> = (0..plan.tasks.len()).collect();
    let traffic = |k: &usize| p.of[*k].iter().map(|n| p.nets[*n].weight).sum::<u64>();
    let per_chip = cores.len().div_ceil(machine.chip_count() as usize).max(1);
    tasks.chunks_mut(per_chip).for_each(|c| c.sort_by_key(|k| (std::cmp::Reverse(traffic(k)), *k)));
    cores.sort_by_key(|c| (c.chip, p.distance[c.core as usize], c.core));
    let mut places = vec![cores[0]; plan.tasks.len()];
    for (task, core) in tasks.iter().zip(&cores) {
        places[*task] = *core;
    }
    let start = (0..p.nets.len()).map(|n| p.cost(n, &places)).sum::<u64>();
    let cost = p.anneal(&mut places, &cores, start, seed, moves);
    Some(Placement { places, start, cost, moves })
}

impl Placer<'_> {
    fn cost(&mut self, n: usize, places: &[Place]) -> u64 {
        let net = &self.nets[n];
        let from = places[net.from];
        let mut hops = self.distance[from.core as usize];
        let mut links: Vec<(u32, u32)> = Vec::new();
        for k in &net.to {
            let to = places[*k];
            hops += self.distance[to.core as usize];
            if to.chip != from.chip {
                let machine = self.machine;
                let way = self.ways.entry((from.chip, to.chip)).or_insert_with(|| way(machine, from.chip, to.chip));
                links.extend(way.iter());
            }
        }
        links.sort_unstable();
        links.dedup();
        net.weight * (hops + LINK * links.len() as u64)
    }

    fn anneal(&mut self, places: &mut [Place], cores: &[Place], start: u64, seed: u64, moves: u64) -> u64 {
        if places.len() < 2 || self.nets.is_empty() {
            return start;
        }
        let mut holder: FxHashMap<Place, usize> = places.iter().enumerate().map(|(k, p)| (*p, k)).collect();
        let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut cost = start as i64;
        let mut best = (cost, places.to_vec());
        let scale = start as f64 / self.nets.len() as f64;
        for step in 0..moves {
            let heat = scale * 0.2 * (1.0 - step as f64 / moves as f64).powi(2);
            let a = (random.next() % places.len() as u64) as usize;
            let to = cores[(random.next() % cores.len() as u64) as usize];
            let from = places[a];
            if to == from {
                continue;
            }
            let b = holder.get(&to).copied();
            let mut nets = self.of[a].clone();
            if let Some(b) = b {
                nets.extend(&self.of[b]);
                nets.sort_unstable();
                nets.dedup();
            }
            let before: u64 = nets.iter().map(|n| self.cost(*n, places)).sum();
            places[a] = to;
            if let Some(b) = b {
                places[b] = from;
            }
            let after: u64 = nets.iter().map(|n| self.cost(*n, places)).sum();
            let by = after as i64 - before as i64;
            let chance = random.next() as f64 / u64::MAX as f64;
            if by <= 0 || heat > 0.0 && chance < (-(by as f64) / heat).exp() {
                cost += by;
                holder.insert(to, a);
                match b {
                    Some(b) => drop(holder.insert(from, b)),
                    None => drop(holder.remove(&from)),
                }
                if cost < best.0 {
                    best = (cost, places.to_vec());
                }
            } else {
                places[a] = from;
                if let Some(b) = b {
                    places[b] = to;
                }
            }
        }
        places.copy_from_slice(&best.1);
        best.0 as u64
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
