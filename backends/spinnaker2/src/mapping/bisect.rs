//! A hypergraph in two: coarsening by connectivity, a start on the coarsest, refinement by Fiduccia and Mattheyses's moves.

use super::Random;
use super::hyper::Hyper;
use std::collections::BinaryHeap;

/// Coarsening ends at so many vertices.
const COARSE: usize = 150;
/// Of nets with more pins, so many are looked at for a match.
const SAMPLE: usize = 48;
/// Nets with more pins do not tell their pins that gains changed; a pin's gain is found anew when its turn comes.
const LARGE: usize = 400;
/// Starts that are tried on the coarsest.
const STARTS: usize = 8;
/// Passes of refinement at each level.
const PASSES: usize = 4;

/// Clusters of vertices that share nets: the number of each vertex's cluster, and of clusters. No cluster is heavier than
/// `most` unless one vertex is.
pub fn clusters(h: &Hyper, most: u64, random: &mut Random) -> (Vec<u32>, usize) {
    let n = h.len();
    let mut order: Vec<u32> = (0..n as u32).collect();
    random.shuffle(&mut order);
    let mut of = vec![u32::MAX; n];
    let mut load: Vec<u64> = Vec::new();
    let mut score = vec![0f32; n];
    let mut touched: Vec<u32> = Vec::new();
    for v in order {
        if of[v as usize] != u32::MAX {
            continue;
        }
        for k in h.nets_of(v as usize) {
            let pins = h.pins_of(*k as usize);
            let gain = h.cost[*k as usize] as f32 / (pins.len() - 1) as f32;
            let (from, step) = match pins.len() > SAMPLE {
                true => (random.below(pins.len() as u64) as usize, pins.len() / SAMPLE),
                false => (0, 1),
            };
            let looked = pins.len().min(SAMPLE);
            for j in 0..looked {
                let u = pins[(from + j * step) % pins.len()];
                if score[u as usize] == 0.0 {
                    touched.push(u);
                }
                score[u as usize] += gain;
            }
        }
        let own = u64::from(h.weight[v as usize]);
        let mut best: Option<(f32, u32)> = None;
        for u in touched.drain(..) {
            let s = std::mem::take(&mut score[u as usize]);
            if u == v {
                continue;
            }
            let c = of[u as usize];
            let there = if c == u32::MAX { u64::from(h.weight[u as usize]) } else { load[c as usize] };
            // Of equal connections, the lighter cluster.
            let s = s / (1.0 + there as f32 / most.max(1) as f32);
            if there + own <= most && best.is_none_or(|(b, w)| s > b || s == b && u < w) {
                best = Some((s, u));
            }
        }
        match best {
            Some((_, u)) if of[u as usize] != u32::MAX => {
                of[v as usize] = of[u as usize];
                load[of[u as usize] as usize] += own;
            }
            other => {
                of[v as usize] = load.len() as u32;
                load.push(own);
                if let Some((_, u)) = other {
                    of[u as usize] = of[v as usize];
                    load[of[v as usize] as usize] += u64::from(h.weight[u as usize]);
                }
            }
        }
    }
    (of, load.len())
}

/// Sides 0 and 1 for all vertices, of at most `most` bytes each where that is possible, with few cut nets.
pub fn bisect(h: &Hyper, most: [u64; 2], random: &mut Random) -> Vec<u8> {
    let total = h.total();
    let mut levels: Vec<(Hyper, Vec<u32>)> = Vec::new();
    let limit = (total / 40).max(1);
    loop {
        let top = levels.last().map_or(h, |l| &l.0);
        if top.len() <= COARSE {
            break;
        }
        let (of, n) = clusters(top, limit, random);
        if n as f64 > top.len() as f64 * 0.95 {
            break;
        }
        let next = top.contract(&of, n);
        levels.push((next, of));
    }
    let top = levels.last().map_or(h, |l| &l.0);
    let mut best: Option<((u64, u64), Vec<u8>)> = None;
    for k in 0..STARTS {
        let mut side = start(top, most, k, random);
        let found = refine(top, &mut side, most, random);
        if best.as_ref().is_none_or(|(b, _)| found < *b) {
            best = Some((found, side));
        }
    }
    let mut side = best.map_or_else(Vec::new, |b| b.1);
    while let Some((_, of)) = levels.pop() {
        let lower = levels.last().map_or(h, |l| &l.0);
        side = of.iter().map(|c| side[*c as usize]).collect();
        refine(lower, &mut side, most, random);
    }
    side
}

/// A start: side 0 grows from a vertex over nets until it has its share, or takes vertices in order.
fn start(h: &Hyper, most: [u64; 2], turn: usize, random: &mut Random) -> Vec<u8> {
    let n = h.len();
    let goal = (h.total() as f64 * most[0] as f64 / (most[0] + most[1]).max(1) as f64) as u64;
    let mut side = vec![1u8; n];
    let mut load = 0u64;
    if turn == 0 {
        for (s, w) in side.iter_mut().zip(&h.weight) {
            if load < goal {
                *s = 0;
                load += u64::from(*w);
            }
        }
        return side;
    }
    let mut score = vec![0f64; n];
    let mut next = Some(random.below(n.max(1) as u64) as usize);
    while let Some(v) = next.filter(|_| load < goal) {
        side[v] = 0;
        load += u64::from(h.weight[v]);
        for k in h.nets_of(v) {
            let pins = h.pins_of(*k as usize);
            let gain = f64::from(h.cost[*k as usize]) / (pins.len() - 1) as f64;
            for u in pins {
                score[*u as usize] += gain;
            }
        }
        let rest = (0..n).filter(|u| side[*u] == 1);
        next = rest.max_by(|a, b| score[*a].total_cmp(&score[*b]).then(b.cmp(a)));
    }
    side
}

/// Two sides under change.
struct Sides<'a> {
    h: &'a Hyper,
    side: &'a mut [u8],
    counts: Vec<[u32; 2]>,
    load: [u64; 2],
    cut: u64,
}

impl Sides<'_> {
    fn gain(&self, v: usize) -> i64 {
        let (from, to) = (self.side[v] as usize, 1 - self.side[v] as usize);
        let mut gain = 0;
        for k in self.h.nets_of(v) {
            let c = self.counts[*k as usize];
            let cost = i64::from(self.h.cost[*k as usize]);
            if c[from] == 1 {
                gain += cost;
            }
            if c[to] == 0 {
                gain -= cost;
            }
        }
        gain
    }

    /// Moves a vertex. Nets that change the gains of others are told, with the pins that the new side had before and the
    /// old one has after.
    fn shift(&mut self, v: usize, mut tell: impl FnMut(u32, [u32; 2])) {
        let (from, to) = (self.side[v] as usize, 1 - self.side[v] as usize);
        for k in self.h.nets_of(v) {
            let c = &mut self.counts[*k as usize];
            let before = *c;
            c[from] -= 1;
            c[to] += 1;
            let cost = u64::from(self.h.cost[*k as usize]);
            match (before[to] == 0, c[from] == 0) {
                (true, false) => self.cut += cost,
                (false, true) => self.cut -= cost,
                _ => {}
            }
            if before[to] <= 1 || c[from] <= 1 {
                tell(*k, [before[to], c[from]]);
            }
        }
        let w = u64::from(self.h.weight[v]);
        self.load[from] -= w;
        self.load[to] += w;
        self.side[v] = to as u8;
    }

    fn over(&self, most: [u64; 2]) -> u64 {
        self.load[0].saturating_sub(most[0]) + self.load[1].saturating_sub(most[1])
    }
}

/// Moves vertices, the best first, also those that make it worse for a while; keeps the best that was seen. What is
/// too much on the sides, and the cut.
pub fn refine(h: &Hyper, side: &mut [u8], most: [u64; 2], random: &mut Random) -> (u64, u64) {
    let mut s = Sides { h, side, counts: vec![[0; 2]; h.cost.len()], load: [0; 2], cut: 0 };
    for (v, w) in h.weight.iter().enumerate() {
        s.load[s.side[v] as usize] += u64::from(*w);
    }
    for k in 0..h.cost.len() {
        for v in h.pins_of(k) {
            s.counts[k][s.side[*v as usize] as usize] += 1;
        }
        if s.counts[k].iter().all(|c| *c > 0) {
            s.cut += u64::from(h.cost[k]);
        }
    }
    let patience = 60 + h.len() / 40;
    for _ in 0..PASSES {
        let before = (s.over(most), s.cut);
        pass(&mut s, most, patience, random);
        if (s.over(most), s.cut) >= before {
            break;
        }
    }
    (s.over(most), s.cut)
}

fn pass(s: &mut Sides<'_>, most: [u64; 2], patience: usize, random: &mut Random) {
    let h = s.h;
    let n = h.len();
    let salt = random.next() as u32;
    // Of equal gains a random one first, the same for a seed.
    let mix = |v: usize| (v as u32 ^ salt).wrapping_mul(0x9e37_79b1);
    let mut heaps = [BinaryHeap::<(i64, u32, u32)>::new(), BinaryHeap::new()];
    let crowded = s.over(most) > 0;
    let mut gains: Vec<i64> = (0..n).map(|v| s.gain(v)).collect();
    for v in 0..n {
        let edge = crowded || h.nets_of(v).iter().any(|k| s.counts[*k as usize].iter().all(|c| *c > 0));
        if edge {
            heaps[s.side[v] as usize].push((gains[v], mix(v), v as u32));
        }
    }
    let mut locked = vec![false; n];
    let mut moved: Vec<u32> = Vec::new();
    let mut best = ((s.over(most), s.cut), 0usize);
    let mut told: Vec<(u32, [u32; 2])> = Vec::new();
    while moved.len() - best.1 < patience {
        // From a side that is too heavy, else the better of both whose other side has room.
        let over = [s.load[0] > most[0], s.load[1] > most[1]];
        let top = |k: usize| heaps[k].peek().copied();
        let room =
            |k: usize| top(k).filter(|t| over[k] || s.load[1 - k] + u64::from(h.weight[t.2 as usize]) <= most[1 - k]);
        let from = match (room(0), room(1)) {
            _ if over[0] && top(0).is_some() => 0,
            _ if over[1] && top(1).is_some() => 1,
            (Some(a), Some(b)) => usize::from(b > a),
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            // Neither has room: what stands in the way does not move in this pass.
            (None, None) => match (top(0), top(1)) {
                (Some(a), Some(b)) => {
                    heaps[usize::from(b > a)].pop();
                    continue;
                }
                (Some(_), None) => {
                    heaps[0].pop();
                    continue;
                }
                (None, Some(_)) => {
                    heaps[1].pop();
                    continue;
                }
                _ => break,
            },
        };
        let Some((gain, _, v)) = heaps[from].pop() else { break };
        let v = v as usize;
        if locked[v] || s.side[v] as usize != from {
            continue;
        }
        if gain != gains[v] {
            continue;
        }
        // Large nets did not tell.
        let now = s.gain(v);
        if now != gain {
            gains[v] = now;
            heaps[from].push((now, mix(v), v as u32));
            continue;
        }
        locked[v] = true;
        told.clear();
        s.shift(v, |k, counts| told.push((k, counts)));
        moved.push(v as u32);
        for (k, [there, left]) in &told {
            let pins = h.pins_of(*k as usize);
            if pins.len() > LARGE {
                continue;
            }
            let cost = i64::from(h.cost[*k as usize]);
            for u in pins.iter().map(|u| *u as usize).filter(|u| !locked[*u]) {
                let stayed = s.side[u] as usize == from;
                let mut by = 0;
                by += if *there == 0 { cost } else { 0 };
                by -= if *there == 1 && !stayed { cost } else { 0 };
                by -= if *left == 0 { cost } else { 0 };
                by += if *left == 1 && stayed { cost } else { 0 };
                if by != 0 {
                    gains[u] += by;
                    heaps[s.side[u] as usize].push((gains[u], mix(u), u as u32));
                }
            }
        }
        let found = (s.over(most), s.cut);
        if found < best.0 {
            best = (found, moved.len());
        }
    }
    for v in moved[best.1..].iter().rev() {
        s.shift(*v as usize, |_, _| {});
    }
}
