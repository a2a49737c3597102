//! Hypergraphs in memory: vertices with weights, nets with costs, both ways of incidence.

use rustc_hash::FxHashMap;

/// A hypergraph. Offsets are 32 bits: it holds fewer than 2^32 pins.
#[derive(Clone, Debug, Default)]
pub struct Hyper {
    /// Bytes of each vertex.
    pub weight: Vec<u32>,
    /// Pins of net n: `pins[net_ptr[n]..net_ptr[n + 1]]`, ascending and different.
    pub net_ptr: Vec<u32>,
    /// Vertices of the nets.
    pub pins: Vec<u32>,
    /// What it costs to cut a net once.
    pub cost: Vec<u32>,
    /// Nets of vertex v: `nets[vertex_ptr[v]..vertex_ptr[v + 1]]`.
    pub vertex_ptr: Vec<u32>,
    /// Nets of the vertices.
    pub nets: Vec<u32>,
}

/// Collects nets; those with fewer than two pins are left out, as they cannot be cut.
pub struct Nets {
    ptr: Vec<u32>,
    pins: Vec<u32>,
    cost: Vec<u32>,
}

impl Nets {
    pub fn new() -> Nets {
        Nets { ptr: vec![0], pins: Vec::new(), cost: Vec::new() }
    }

    /// Adds a net, whose pins are put in order. What does not fit 32 bits of offsets is left out.
    pub fn add(&mut self, pins: &mut Vec<u32>, cost: u32) {
        pins.sort_unstable();
        pins.dedup();
        if pins.len() < 2 || cost == 0 || u32::try_from(self.pins.len() + pins.len()).is_err() {
            return;
        }
        self.pins.extend_from_slice(pins);
        self.ptr.push(self.pins.len() as u32);
        self.cost.push(cost);
    }

    /// The hypergraph; nets with the same pins become one.
    pub fn finish(self, weight: Vec<u32>) -> Hyper {
        let n = self.cost.len();
        let of = |k: u32| &self.pins[self.ptr[k as usize] as usize..self.ptr[k as usize + 1] as usize];
        // Nets by a hash of their pins; equal hashes are compared.
        let mut first: FxHashMap<u64, u32> = FxHashMap::default();
        let (mut ptr, mut pins, mut cost) = (vec![0u32], Vec::new(), Vec::<u32>::new());
        let mut kept: Vec<u32> = Vec::new();
        for k in 0..n as u32 {
            let mut hash = 0x9e37_79b9_7f4a_7c15u64;
            for v in of(k) {
                hash = (hash ^ u64::from(*v)).wrapping_mul(0xff51_afd7_ed55_8ccd);
                hash ^= hash >> 29;
            }
            let slot = first.entry(hash).or_insert(kept.len() as u32);
            match kept.get(*slot as usize) {
                Some(same) if of(*same) == of(k) => {
                    let sum = &mut cost[*slot as usize];
                    *sum = sum.saturating_add(self.cost[k as usize]);
                }
                _ => {
                    kept.push(k);
                    cost.push(self.cost[k as usize]);
                    pins.extend_from_slice(of(k));
                    ptr.push(pins.len() as u32);
                }
            }
        }
        pins.shrink_to_fit();
        Hyper::new(weight, ptr, pins, cost)
    }
}

impl Hyper {
    fn new(weight: Vec<u32>, net_ptr: Vec<u32>, pins: Vec<u32>, cost: Vec<u32>) -> Hyper {
        let mut vertex_ptr = vec![0u32; weight.len() + 1];
        for v in &pins {
            vertex_ptr[*v as usize + 1] += 1;
        }
        for v in 0..weight.len() {
            vertex_ptr[v + 1] += vertex_ptr[v];
        }
        let mut at = vertex_ptr.clone();
        let mut nets = vec![0u32; pins.len()];
        for n in 0..cost.len() {
            for v in &pins[net_ptr[n] as usize..net_ptr[n + 1] as usize] {
                nets[at[*v as usize] as usize] = n as u32;
                at[*v as usize] += 1;
            }
        }
        Hyper { weight, net_ptr, pins, cost, vertex_ptr, nets }
    }

    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.weight.len()
    }

    /// The pins of a net.
    pub fn pins_of(&self, net: usize) -> &[u32] {
        &self.pins[self.net_ptr[net] as usize..self.net_ptr[net + 1] as usize]
    }

    /// The nets of a vertex.
    pub fn nets_of(&self, v: usize) -> &[u32] {
        &self.nets[self.vertex_ptr[v] as usize..self.vertex_ptr[v + 1] as usize]
    }

    /// Bytes of all vertices.
    pub fn total(&self) -> u64 {
        self.weight.iter().map(|w| u64::from(*w)).sum()
    }

    /// Vertices with the same number in `of` become one of `n`.
    pub fn contract(&self, of: &[u32], n: usize) -> Hyper {
        let mut weight = vec![0u32; n];
        for (v, c) in of.iter().enumerate() {
            let w = &mut weight[*c as usize];
            *w = w.saturating_add(self.weight[v]);
        }
        let mut nets = Nets::new();
        let mut pins = Vec::new();
        for k in 0..self.cost.len() {
            pins.clear();
            pins.extend(self.pins_of(k).iter().map(|v| of[*v as usize]));
            nets.add(&mut pins, self.cost[k]);
        }
        nets.finish(weight)
    }

    /// The vertices of one side with their parts of the nets, and which they are.
    pub fn side(&self, side: &[u8], which: u8) -> (Hyper, Vec<u32>) {
        let mut number = vec![u32::MAX; self.len()];
        let mut all = Vec::new();
        for (v, s) in side.iter().enumerate() {
            if *s == which {
                number[v] = all.len() as u32;
                all.push(v as u32);
            }
        }
        let mut nets = Nets::new();
        let mut pins = Vec::new();
        for k in 0..self.cost.len() {
            pins.clear();
            pins.extend(self.pins_of(k).iter().map(|v| number[*v as usize]).filter(|v| *v != u32::MAX));
            nets.add(&mut pins, self.cost[k]);
        }
        let weight = all.iter().map(|v| self.weight[*v as usize]).collect();
        (nets.finish(weight), all)
    }
}
