//! Many parts: recursive bisection, and moves of single vertices between all parts.

use super::Random;
use super::bisect::bisect;
use super::hyper::Hyper;

/// Parts that a net touches, with how many of its pins are there.
pub type Touched = Vec<(u32, u32)>;

/// Adds pins to a part of a net.
pub fn put(of: &mut Touched, part: u32, n: u32) {
    match of.iter_mut().find(|(p, _)| *p == part) {
        Some((_, c)) => *c += n,
        None => of.push((part, n)),
    }
}

/// Takes pins of a net out of a part.
pub fn take(of: &mut Touched, part: u32, n: u32) {
    if let Some(k) = of.iter().position(|(p, _)| *p == part) {
        of[k].1 = of[k].1.saturating_sub(n);
        if of[k].1 == 0 {
            of.swap_remove(k);
        }
    }
}

/// Splits into `parts` parts of at most `most` bytes by bisecting again and again. Numbers near each other are parts that
/// were separated late. A part can come out too heavy where there is little room to spare.
pub fn recursive(h: &Hyper, parts: u32, most: u64, random: &mut Random) -> Vec<u32> {
    let mut out = vec![0; h.len()];
    let all: Vec<u32> = (0..h.len() as u32).collect();
    // What is open: a hypergraph, which vertices it has, its first part and how many.
    let mut open: Vec<(Hyper, Vec<u32>, u32, u32)> = vec![(h.clone(), all, 0, parts.max(1))];
    while let Some((h, who, first, parts)) = open.pop() {
        if parts <= 1 {
            who.iter().for_each(|v| out[*v as usize] = first);
            continue;
        }
        let left = parts.div_ceil(2);
        let (a, b) = (u64::from(left), u64::from(parts - left));
        // Room to spare is given out evenly over the cuts that are to come.
        let depth = f64::from(u32::BITS - (parts - 1).leading_zeros());
        let spare = (most as f64 * f64::from(parts) / h.total().max(1) as f64).powf(1.0 / depth).max(1.0);
        let share = h.total() as f64 / f64::from(parts) * spare;
        let limit = |n: u64| ((share * n as f64).ceil() as u64).min(most * n);
        let side = bisect(&h, [limit(a), limit(b)], random);
        for (which, first, parts) in [(0, first, left), (1, first + left, parts - left)] {
            let (inner, whom) = h.side(&side, which);
            open.push((inner, whom.iter().map(|v| who[*v as usize]).collect(), first, parts));
        }
    }
    out
}

/// Moves vertices one at a time to the part where least is cut, as long as it helps, and out of parts that are too heavy.
/// The cost that is left: for each net its cost times the parts beyond the first.
pub fn refine(h: &Hyper, part: &mut [u32], parts: u32, most: u64, passes: u32, random: &mut Random) -> u64 {
    let mut touched: Vec<Touched> = vec![Vec::new(); h.cost.len()];
    for (k, t) in touched.iter_mut().enumerate() {
        h.pins_of(k).iter().for_each(|v| put(t, part[*v as usize], 1));
    }
    let mut load = vec![0u64; parts as usize];
    for (v, p) in part.iter().enumerate() {
        load[*p as usize] += u64::from(h.weight[v]);
    }
    let mut order: Vec<u32> = (0..h.len() as u32).collect();
    let mut score = Score::new(parts);
    for _ in 0..passes {
        random.shuffle(&mut order);
        let mut moved = false;
        for v in &order {
            let v = *v as usize;
            let from = part[v];
            let crowded = load[from as usize] > most;
            score.clear();
            for k in h.nets_of(v) {
                score.net(&touched[*k as usize], from, 1, i64::from(h.cost[*k as usize]));
            }
            let w = u64::from(h.weight[v]);
            let Some(to) = score.best(from, w, &load, most, crowded) else { continue };
            for k in h.nets_of(v) {
                let t = &mut touched[*k as usize];
                take(t, from, 1);
                put(t, to, 1);
            }
            load[from as usize] -= w;
            load[to as usize] += w;
            part[v] = to;
            moved = true;
        }
        if !moved {
            break;
        }
    }
    touched.iter().zip(&h.cost).map(|(t, c)| (t.len() as u64).saturating_sub(1) * u64::from(*c)).sum()
}

/// What a vertex would gain in each part.
pub struct Score {
    gain: Vec<i64>,
    seen: Vec<u32>,
    /// Costs of all its nets, and of those that leave its part with it.
    all: i64,
    freed: i64,
}

impl Score {
    pub fn new(parts: u32) -> Score {
        Score { gain: vec![0; parts as usize], seen: Vec::new(), all: 0, freed: 0 }
    }

    pub fn clear(&mut self) {
        for p in self.seen.drain(..) {
            self.gain[p as usize] = 0;
        }
        (self.all, self.freed) = (0, 0);
    }

    /// Adds to what a part gains.
    pub fn add(&mut self, part: u32, cost: i64) {
        if self.gain[part as usize] == 0 {
            self.seen.push(part);
        }
        self.gain[part as usize] += cost;
    }

    /// The own part competes by what was added to it.
    pub fn keep(&mut self, from: u32) {
        self.all = self.gain[from as usize];
    }

    /// A net of the vertex, which has `own` pins in it.
    pub fn net(&mut self, touched: &Touched, from: u32, own: u32, cost: i64) {
        self.all += cost;
        for (p, c) in touched {
            if *p != from {
                self.add(*p, cost);
            } else if *c == own {
                self.freed += cost;
            }
        }
    }

    /// The part to go to, if one is better, or as good and lighter, or the own is too heavy. What [`Score::net`] saw
    /// makes up gains, or [`Score::add`] with [`Score::keep`].
    pub fn best(&self, from: u32, weight: u64, load: &[u64], most: u64, crowded: bool) -> Option<u32> {
        let stay = self.all - self.freed;
        let mut best: Option<(i64, u64, u32)> = None;
        let fits = |p: u32| load[p as usize] + weight <= most;
        for p in self.seen.iter().copied().filter(|p| *p != from && fits(*p)) {
            let g = self.gain[p as usize] - stay;
            let there = load[p as usize];
            if best.is_none_or(|(b, l, q)| (g, std::cmp::Reverse((there, p))) > (b, std::cmp::Reverse((l, q)))) {
                best = Some((g, there, p));
            }
        }
        if crowded {
            // Any part with room will do.
            let free =
                (0..load.len() as u32).filter(|p| *p != from && fits(*p)).min_by_key(|p| (load[*p as usize], *p));
            return best.map(|b| b.2).or(free);
        }
        let (g, there, p) = best?;
        (g > 0 || g == 0 && there + weight < load[from as usize]).then_some(p)
    }
}
