//! Which task runs on which core: short ways for much traffic.
//!
//! Every packet passes the router of its chip, so what counts is how far a core is from its router, and how many
//! chips a tree crosses. A start that puts the busiest next to the routers is improved by annealing with a counted
//! number of moves; the result depends on the seed and nothing else.

use crate::bundle::Place;
use crate::machine::Machine;
use crate::mapping::Random;
use crate::plan::Plan;
use crate::route::way;
use rustc_hash::FxHashMap;

/// Hops that a link between chips counts for.
const LINK: u64 = 40;
/// Chips from which on they are exchanged as wholes first, and how many exchanges are tried.
const MANY: u32 = 4;
const SWAPS: u32 = 3_000;

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
    from: u32,
    to: Vec<u32>,
    weight: u64,
}

struct Placer<'a> {
    machine: &'a Machine,
    nets: Vec<Net>,
    /// The nets of each task.
    of: Vec<Vec<u32>>,
    distance: Vec<u64>,
    /// Links between chips by pair, for trees.
    ways: FxHashMap<(u32, u32), Vec<(u32, u32)>>,
}

/// Places the tasks of a plan on the cores that are not dead. `None` if there are fewer cores than tasks.
pub fn place(plan: &Plan, machine: &Machine, dead: &[Place], seed: u64, moves: u64) -> Option<Placement> {
    let mut ways = Vec::new();
    for (from, t) in plan.tasks.iter().enumerate() {
        for (s, part) in &t.sends {
            let weight = plan.streams[*s].elements_of(*part).max(1);
            ways.push((from as u32, plan.receivers(*s, *part).into_iter().map(|k| k as u32).collect(), weight));
        }
    }
    place_ways(plan.tasks.len(), ways, machine, dead, seed, moves)
}

/// Places so many tasks by what passes between them: from which task to which others, and how many packets.
pub fn place_ways(
    tasks: usize,
    ways: Vec<(u32, Vec<u32>, u64)>,
    machine: &Machine,
    dead: &[Place],
    seed: u64,
    moves: u64,
) -> Option<Placement> {
    let mut cores: Vec<Place> = Vec::new();
    for chip in 0..machine.chip_count() as u32 {
        for core in 0..machine.core.usable.value {
            let p = Place { chip, core };
            if !dead.contains(&p) {
                cores.push(p);
            }
        }
    }
    if cores.len() < tasks {
        return None;
    }
    let mut p = Placer {
        machine,
        nets: Vec::with_capacity(ways.len()),
        of: vec![Vec::new(); tasks],
        distance: (0..machine.core.usable.value).map(|c| distance(machine, c)).collect(),
        ways: FxHashMap::default(),
    };
    for (from, to, weight) in ways {
        let n = p.nets.len() as u32;
        for k in to.iter().chain([&from]) {
            if p.of[*k as usize].last() != Some(&n) {
                p.of[*k as usize].push(n);
            }
        }
        p.nets.push(Net { from, to, weight });
    }
    // The busiest first; chips fill one after the other, each from its router outward.
    let mut order: Vec<usize> = (0..tasks).collect();
    let traffic: Vec<u64> = p.of.iter().map(|of| of.iter().map(|n| p.nets[*n as usize].weight).sum::<u64>()).collect();
    let per_chip = cores.len().div_ceil(machine.chip_count() as usize).max(1);
    order.chunks_mut(per_chip).for_each(|c| c.sort_by_key(|k| (std::cmp::Reverse(traffic[*k]), *k)));
    cores.sort_by_key(|c| (c.chip, p.distance[c.core as usize], c.core));
    let mut places = vec![*cores.first()?; tasks];
    for (task, core) in order.iter().zip(&cores) {
        places[*task] = *core;
    }
    p.settle(&mut places, &cores, seed);
    let start = (0..p.nets.len() as u32).map(|n| p.cost(n, &places)).sum::<u64>();
    let cost = p.anneal(&mut places, &cores, start, seed, moves);
    Some(Placement { places, start, cost, moves })
}

impl Placer<'_> {
    fn cost(&mut self, n: u32, places: &[Place]) -> u64 {
        let net = &self.nets[n as usize];
        let from = places[net.from as usize];
        let mut hops = self.distance[from.core as usize];
        let mut links: Vec<(u32, u32)> = Vec::new();
        for k in &net.to {
            let to = places[*k as usize];
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

    /// Exchanges whole chips, where there are many: what was put on one chip stays together.
    fn settle(&mut self, places: &mut [Place], cores: &[Place], seed: u64) {
        let chips = places.iter().map(|p| p.chip + 1).max().unwrap_or(0);
        let alike = |c: u32| cores.iter().filter(|p| p.chip == c).count();
        if chips < MANY || (1..self.machine.chip_count() as u32).any(|c| alike(c) != alike(0)) {
            return;
        }
        // What passes between chips: the same ways are one.
        let mut between: FxHashMap<(u32, Vec<u32>), u64> = FxHashMap::default();
        for n in &self.nets {
            let from = places[n.from as usize].chip;
            let mut to: Vec<u32> = n.to.iter().map(|k| places[*k as usize].chip).filter(|c| *c != from).collect();
            to.sort_unstable();
            to.dedup();
            if !to.is_empty() {
                *between.entry((from, to)).or_default() += n.weight;
            }
        }
        let mut between: Vec<(u32, Vec<u32>, u64)> = between.into_iter().map(|((f, t), w)| (f, t, w)).collect();
        between.sort_unstable();
        let all = self.machine.chip_count() as usize;
        let mut of: Vec<Vec<usize>> = vec![Vec::new(); all];
        for (n, (from, to, _)) in between.iter().enumerate() {
            to.iter().chain([from]).for_each(|c| of[*c as usize].push(n));
        }
        let machine = self.machine;
        let mut at: Vec<u32> = (0..all as u32).collect();
        let mut links: Vec<(u32, u32)> = Vec::new();
        let mut cost = |n: usize, at: &[u32]| {
            let (from, to, weight) = &between[n];
            links.clear();
            for t in to {
                links.extend(way(machine, at[*from as usize], at[*t as usize]));
            }
            links.sort_unstable();
            links.dedup();
            weight * links.len() as u64
        };
        let mut random = Random::new(seed);
        let whole: u64 = (0..between.len()).map(|n| cost(n, &at)).sum();
        let heat = whole as f64 / all as f64 * 0.2;
        let (mut now, mut best) = (whole as i64, (whole as i64, at.clone()));
        for step in 0..SWAPS {
            let (a, b) = (random.below(all as u64) as usize, random.below(all as u64) as usize);
            if a == b {
                continue;
            }
            let mut nets: Vec<usize> = of[a].iter().chain(&of[b]).copied().collect();
            nets.sort_unstable();
            nets.dedup();
            let before: u64 = nets.iter().map(|n| cost(*n, &at)).sum();
            at.swap(a, b);
            let by = nets.iter().map(|n| cost(*n, &at)).sum::<u64>() as i64 - before as i64;
            let heat = heat * (1.0 - f64::from(step) / f64::from(SWAPS)).powi(2);
            let chance = random.next() as f64 / u64::MAX as f64;
            if by <= 0 || heat > 0.0 && chance < (-(by as f64) / heat).exp() {
                now += by;
                if now < best.0 {
                    best = (now, at.clone());
                }
            } else {
                at.swap(a, b);
            }
        }
        places.iter_mut().for_each(|p| p.chip = best.1[p.chip as usize]);
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
