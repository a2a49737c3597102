//! Which neurons share a core: the mapping problem by itself, without code.
//!
//! A spike goes once to every core that has a target of it, and serves all its targets there. So a source with its targets is
//! a net of a hypergraph, and a partition of the neurons costs, for each spike, the cores beyond its own that it goes to:
//! the connectivity less one. Bounds are the bytes of a core.
//!
//! [`Method::Connectivity`] takes that for what it is: multilevel recursive bisection, then moves between all parts.
//! [`Method::Sequential`] fills one core after the other, and [`Method::EdgeCut`] counts synapses that leave a core, as
//! partitioners of graphs do, by the same steps; both are there to be compared with. Problems with more synapses than
//! [`HELD`] are solved without holding them (`stream`). Results depend on the problem and the seed.

mod bisect;
mod hyper;
mod kway;
mod measure;
mod model;
mod order;
mod stream;
#[cfg(test)]
mod tests;

pub use measure::{Traffic, measure};
pub use model::{NEURON_BYTES, Neurons, SYNAPSE_BYTES, neurons, weights};
pub use order::{orderable, orders};

/// Synapses that are held at once; problems with more are streamed.
pub const HELD: u64 = 24_000_000;
/// Room beyond what is needed that parts are given, so that neurons can move between them.
const SPARE: f64 = 1.03;
/// With fewer synapses than this, more starts are tried.
const SMALL: u64 = 400_000;

/// Who spikes, how often, and where to.
pub trait Spikes: Sync {
    /// Number of sources.
    fn sources(&self) -> usize;
    /// The neuron that a source is; `None` for an input.
    fn vertex(&self, source: usize) -> Option<u32>;
    /// Spikes in some time, at least 1, the same unit for all.
    fn rate(&self, source: usize) -> u32;
    /// Adds the targets of a source, always the same ones; each stands once or more.
    fn targets(&self, source: usize, out: &mut Vec<u32>);
}

/// Neurons that want cores.
pub struct Problem<'a> {
    /// Bytes of each neuron with its synapses.
    pub weight: Vec<u32>,
    /// Neurons of different kinds do not share a core; one for each neuron, or none if all are alike.
    pub kind: Vec<u32>,
    /// Bytes of a core.
    pub capacity: u64,
    /// The traffic.
    pub spikes: &'a dyn Spikes,
}

/// How cores are filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// One after the other, in the order of the neurons.
    Sequential,
    /// With few synapses between cores.
    EdgeCut,
    /// With few cores for each spike.
    Connectivity,
}

/// What a partition costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Metric {
    Edges,
    Connectivity,
}

/// Neurons on cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// The core of each neuron.
    pub part: Vec<u32>,
    /// Number of cores.
    pub parts: u32,
}

/// Spikes with their targets, held in memory.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Targets of source k: `targets[ptr[k]..ptr[k + 1]]`.
    pub ptr: Vec<u64>,
    /// The targets.
    pub targets: Vec<u32>,
    /// The neuron of each source.
    pub vertex: Vec<Option<u32>>,
    /// Spikes of each source.
    pub rate: Vec<u32>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Table {
        Table { ptr: vec![0], ..Table::default() }
    }

    /// Adds a source.
    pub fn add(&mut self, vertex: Option<u32>, rate: u32, targets: impl IntoIterator<Item = u32>) {
        self.targets.extend(targets);
        self.ptr.push(self.targets.len() as u64);
        self.vertex.push(vertex);
        self.rate.push(rate);
    }
}

impl Spikes for Table {
    fn sources(&self) -> usize {
        self.vertex.len()
    }

    fn vertex(&self, source: usize) -> Option<u32> {
        self.vertex[source]
    }

    fn rate(&self, source: usize) -> u32 {
        self.rate[source]
    }

    fn targets(&self, source: usize, out: &mut Vec<u32>) {
        out.extend_from_slice(&self.targets[self.ptr[source] as usize..self.ptr[source + 1] as usize]);
    }
}

impl Problem<'_> {
    /// Number of synapses.
    pub fn synapses(&self) -> u64 {
        let mut row = Vec::new();
        let mut n = 0;
        for k in 0..self.spikes.sources() {
            row.clear();
            self.spikes.targets(k, &mut row);
            n += row.len() as u64;
        }
        n
    }

    fn kind_of(&self, v: usize) -> u32 {
        self.kind.get(v).copied().unwrap_or(0)
    }

    /// True if every core holds one kind and no more than it has room for.
    pub fn fits(&self, p: &Partition) -> bool {
        let mut load = vec![0u64; p.parts as usize];
        let mut kind = vec![None; p.parts as usize];
        p.part.len() == self.weight.len()
            && p.part.iter().enumerate().all(|(v, q)| {
                let Some(l) = load.get_mut(*q as usize) else { return false };
                *l += u64::from(self.weight[v]);
                *l <= self.capacity && *kind[*q as usize].get_or_insert(self.kind_of(v)) == self.kind_of(v)
            })
    }
}

/// Distributes neurons over cores. `None` if one of them does not fit a core.
pub fn partition(p: &Problem<'_>, method: Method, seed: u64) -> Option<Partition> {
    if p.weight.iter().any(|w| u64::from(*w) > p.capacity) {
        return None;
    }
    let plain = sequential(p);
    let metric = match method {
        Method::Sequential => return Some(plain),
        Method::EdgeCut => Metric::Edges,
        Method::Connectivity => Metric::Connectivity,
    };
    let mut kinds: Vec<u32> = (0..p.weight.len()).map(|v| p.kind_of(v)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut out = Partition { part: vec![0; p.weight.len()], parts: 0 };
    for kind in kinds {
        let who: Vec<u32> = (0..p.weight.len() as u32).filter(|v| p.kind_of(*v as usize) == kind).collect();
        let mut number = vec![u32::MAX; p.weight.len()];
        who.iter().enumerate().for_each(|(k, v)| number[*v as usize] = k as u32);
        let weight = who.iter().map(|v| p.weight[*v as usize]).collect();
        let inner = Restricted { spikes: p.spikes, number: &number };
        let part = Problem { weight, kind: Vec::new(), capacity: p.capacity, spikes: &inner };
        let found = alike(&part, metric, seed);
        who.iter().zip(&found.part).for_each(|(v, q)| out.part[*v as usize] = out.parts + q);
        out.parts += found.parts;
    }
    Some(out)
}

/// The spikes to some of the neurons, which have new numbers.
struct Restricted<'a> {
    spikes: &'a dyn Spikes,
    number: &'a [u32],
}

impl Spikes for Restricted<'_> {
    fn sources(&self) -> usize {
        self.spikes.sources()
    }

    fn vertex(&self, source: usize) -> Option<u32> {
        self.spikes.vertex(source).map(|v| self.number[v as usize]).filter(|v| *v != u32::MAX)
    }

    fn rate(&self, source: usize) -> u32 {
        self.spikes.rate(source)
    }

    fn targets(&self, source: usize, out: &mut Vec<u32>) {
        let from = out.len();
        self.spikes.targets(source, out);
        let mut to = from;
        for k in from..out.len() {
            let v = self.number[out[k] as usize];
            if v != u32::MAX {
                out[to] = v;
                to += 1;
            }
        }
        out.truncate(to);
    }
}

/// Fills one core after the other.
fn sequential(p: &Problem<'_>) -> Partition {
    let mut part = Vec::with_capacity(p.weight.len());
    let (mut at, mut load, mut last) = (0u32, 0u64, None);
    for (v, w) in p.weight.iter().enumerate() {
        let kind = p.kind_of(v);
        if last.is_some_and(|k| k != kind) || load + u64::from(*w) > p.capacity {
            at += u32::from(last.is_some());
            load = 0;
        }
        last = Some(kind);
        load += u64::from(*w);
        part.push(at);
    }
    let parts = if last.is_some() { at + 1 } else { 0 };
    Partition { part, parts }
}

/// Distributes neurons of one kind.
fn alike(p: &Problem<'_>, metric: Metric, seed: u64) -> Partition {
    let plain = sequential(p);
    if plain.parts <= 1 {
        return plain;
    }
    let total: u64 = p.weight.iter().map(|w| u64::from(*w)).sum();
    let roomy = (total as f64 * SPARE / p.capacity as f64).ceil().max(1.0) as u32;
    let mut random = Random::new(seed);
    let synapses = p.synapses();
    if synapses > HELD {
        let parts = roomy.max(plain.parts);
        let part = stream::partition(p, parts, metric, &mut random);
        let found = Partition { part, parts };
        return if p.fits(&found) { found } else { plain };
    }
    let h = stream::hypergraph(p, metric, 1, 0);
    let mut counts = vec![plain.parts, roomy];
    counts.sort_unstable();
    counts.dedup();
    let starts = if synapses < SMALL { 3 } else { 1 };
    let mut best: Option<(u64, Partition)> = None;
    let mut consider = |mut part: Vec<u32>, parts: u32, random: &mut Random| {
        let cost = kway::refine(&h, &mut part, parts, p.capacity, 12, random);
        let found = Partition { part, parts };
        if p.fits(&found) && best.as_ref().is_none_or(|(b, _)| cost < *b) {
            best = Some((cost, found));
        }
    };
    for parts in counts {
        for _ in 0..starts {
            let part = kway::recursive(&h, parts, p.capacity, &mut random);
            consider(part, parts, &mut random);
        }
    }
    if metric == Metric::Connectivity {
        // Few synapses between cores are often a good start.
        let edges = stream::hypergraph(p, Metric::Edges, 1, 0);
        let part = kway::recursive(&edges, roomy, p.capacity, &mut random);
        consider(part, roomy, &mut random);
    }
    // The plain order, made better: never worse than it.
    consider(plain.part.clone(), plain.parts, &mut random);
    best.map_or(plain, |b| b.1)
}

/// xorshift64*.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub fn shuffle(&mut self, all: &mut [u32]) {
        for k in (1..all.len()).rev() {
            all.swap(k, self.below(k as u64 + 1) as usize);
        }
    }
}
