//! Problems whose synapses are too many to hold: rows are made again whenever they are needed.
//!
//! A share of the sources, chosen by a hash, stands for all of them while clusters are formed and split. Then every vertex is
//! moved by all of its synapses, a range of vertices at a time: only the synapses of that range are held.

use super::bisect::clusters;
use super::hyper::{Hyper, Nets};
use super::kway::{self, Score, Touched, put, take};
use super::{Metric, Problem, Random};

/// Pins of a sample, about.
const SAMPLE_PINS: u64 = 12_000_000;
/// Pins that are held after clusters have been formed, about.
const COARSE_PINS: u64 = 4_000_000;
/// Synapses of a range of vertices, about.
const RANGE: u64 = 8_000_000;
/// Passes over all vertices.
const PASSES: u32 = 2;
/// Clusters in a part, about.
const GRAIN: u64 = 14;

/// A partition by a sample and passes over ranges of vertices.
pub fn partition(p: &Problem<'_>, parts: u32, metric: Metric, random: &mut Random) -> Vec<u32> {
    let pins = p.synapses();
    let sample = hypergraph(p, metric, pins.div_ceil(SAMPLE_PINS).max(1), random.next());
    let (of, n) = clusters(&sample, (p.capacity / GRAIN).max(1), random);
    let mut coarse = sample.contract(&of, n);
    drop(sample);
    thin(&mut coarse, COARSE_PINS, random);
    let mut part = kway::recursive(&coarse, parts, p.capacity, random);
    kway::refine(&coarse, &mut part, parts, p.capacity, 3, random);
    drop(coarse);
    let mut part: Vec<u32> = of.iter().map(|c| part[*c as usize]).collect();
    refine(p, &mut part, parts, metric, PASSES);
    part
}

/// One of `every` sources as a hypergraph.
pub fn hypergraph(p: &Problem<'_>, metric: Metric, every: u64, salt: u64) -> Hyper {
    let mut nets = Nets::new();
    let (mut row, mut pair) = (Vec::new(), Vec::new());
    for k in 0..p.spikes.sources() {
        let drawn = Random(salt ^ (k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).next();
        if every > 1 && !drawn.is_multiple_of(every) {
            continue;
        }
        row.clear();
        p.spikes.targets(k, &mut row);
        let own = p.spikes.vertex(k);
        match (metric, own) {
            (Metric::Connectivity, own) => {
                row.extend(own);
                nets.add(&mut row, p.spikes.rate(k));
            }
            (Metric::Edges, Some(own)) => {
                for t in &row {
                    pair.clear();
                    pair.extend([own, *t]);
                    nets.add(&mut pair, p.spikes.rate(k));
                }
            }
            (Metric::Edges, None) => {}
        }
    }
    nets.finish(p.weight.clone())
}

/// Leaves so many pins, about, by leaving nets out.
fn thin(h: &mut Hyper, most: u64, random: &mut Random) {
    let pins = h.pins.len() as u64;
    if pins <= most {
        return;
    }
    let mut nets = Nets::new();
    let mut row = Vec::new();
    for k in 0..h.cost.len() {
        if random.below(pins) < most {
            row.clear();
            row.extend_from_slice(h.pins_of(k));
            nets.add(&mut row, h.cost[k]);
        }
    }
    *h = nets.finish(std::mem::take(&mut h.weight));
}

/// Moves vertices by all of their synapses.
fn refine(p: &Problem<'_>, part: &mut [u32], parts: u32, metric: Metric, passes: u32) {
    let n = part.len();
    let mut load = vec![0u64; parts as usize];
    for (v, q) in part.iter().enumerate() {
        load[*q as usize] += u64::from(p.weight[v]);
    }
    let mut row = Vec::new();
    let mut touched: Vec<Touched> = Vec::new();
    // The source that a vertex is.
    let mut own = vec![u32::MAX; n];
    for k in 0..p.spikes.sources() {
        let mut t = Touched::new();
        if let Some(v) = p.spikes.vertex(k) {
            own[v as usize] = k as u32;
            put(&mut t, part[v as usize], 1);
        }
        if metric == Metric::Connectivity {
            row.clear();
            p.spikes.targets(k, &mut row);
            row.iter().for_each(|v| put(&mut t, part[*v as usize], 1));
            t.shrink_to_fit();
            touched.push(t);
        }
    }
    let ranges = p.synapses().div_ceil(RANGE).max(1) as usize;
    let step = n.div_ceil(ranges).max(1);
    let mut score = Score::new(parts);
    for _ in 0..passes {
        for from in (0..n).step_by(step) {
            let range = from..(from + step).min(n);
            let (ptr, sources) = incoming(p, &range);
            for v in range.clone() {
                let mine = &sources[ptr[v - from] as usize..ptr[v - from + 1] as usize];
                let at = part[v];
                let w = u64::from(p.weight[v]);
                score.clear();
                match metric {
                    Metric::Connectivity => {
                        runs(mine, own[v], |k, m| {
                            score.net(&touched[k as usize], at, m, i64::from(p.spikes.rate(k as usize)));
                        });
                    }
                    Metric::Edges => {
                        let mut edge = |u: u32, k: usize| {
                            if u as usize != v {
                                score.add(part[u as usize], i64::from(p.spikes.rate(k)));
                            }
                        };
                        for k in mine {
                            if let Some(u) = p.spikes.vertex(*k as usize) {
                                edge(u, *k as usize);
                            }
                        }
                        if own[v] != u32::MAX {
                            row.clear();
                            p.spikes.targets(own[v] as usize, &mut row);
                            row.iter().for_each(|u| edge(*u, own[v] as usize));
                        }
                        score.keep(at);
                    }
                }
                let crowded = load[at as usize] > p.capacity;
                let Some(to) = score.best(at, w, &load, p.capacity, crowded) else { continue };
                if metric == Metric::Connectivity {
                    runs(mine, own[v], |k, m| {
                        take(&mut touched[k as usize], at, m);
                        put(&mut touched[k as usize], to, m);
                    });
                }
                load[at as usize] -= w;
                load[to as usize] += w;
                part[v] = to;
            }
        }
    }
}

/// Different sources of a vertex, which ascend, with how many pins each gives it; its own net has one more.
fn runs(sources: &[u32], own: u32, mut f: impl FnMut(u32, u32)) {
    let mut at = 0;
    let mut done = own == u32::MAX;
    while at < sources.len() {
        let k = sources[at];
        let mut m = 0;
        while at < sources.len() && sources[at] == k {
            m += 1;
            at += 1;
        }
        if k == own {
            done = true;
            m += 1;
        }
        f(k, m);
    }
    if !done {
        f(own, 1);
    }
}

/// The sources of a range of vertices, ascending for each.
fn incoming(p: &Problem<'_>, range: &std::ops::Range<usize>) -> (Vec<u32>, Vec<u32>) {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut row = Vec::new();
    let mut ptr = vec![0u32; range.len() + 1];
    for k in 0..p.spikes.sources() {
        row.clear();
        p.spikes.targets(k, &mut row);
        for v in &row {
            if range.contains(&(*v as usize)) {
                let v = *v as usize - range.start;
                ptr[v + 1] += 1;
                pairs.push((v as u32, k as u32));
            }
        }
    }
    for v in 0..range.len() {
        ptr[v + 1] += ptr[v];
    }
    let mut at = ptr.clone();
    let mut sources = vec![0; pairs.len()];
    for (v, k) in pairs {
        sources[at[v as usize] as usize] = k;
        at[v as usize] += 1;
    }
    (ptr, sources)
}
