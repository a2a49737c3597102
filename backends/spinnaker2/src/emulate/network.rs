//! The networks between cores: the mesh of each chip, its router, links between chips.
//!
//! A packet is one flit. It goes along its row, then along its column to the router, which takes one packet in each of its
//! cycles, and from there to every core of its route, row first, once over each link of that tree. A link takes one flit in
//! a cycle and a hop takes the machine's cycles; who comes to a link that is busy waits. Packets are led through in the
//! order in which they were sent, so one that was sent later never delays one that was sent before.

use super::Packet;
use crate::bundle::{Manifest, Place};
use crate::machine::Machine;
use crate::place::{node, router};
use crate::route::neighbour;
use rustc_hash::FxHashMap;

/// A hop of a tree: over a link, after another hop.
#[derive(Clone, Copy, Debug)]
struct Hop {
    link: usize,
    after: Option<usize>,
}

/// What happens to a packet that takes an entry.
#[derive(Clone, Debug, Default)]
struct Fan {
    hops: Vec<Hop>,
    /// Cores by their number in the manifest, and the hop that ends at their node.
    cores: Vec<(usize, Option<usize>)>,
    links: Vec<u32>,
}

/// What packets met on their way.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Traffic {
    /// Packets over each mesh link: of each chip, of each node the links east, west, north, south.
    pub mesh: Vec<u64>,
    /// Packets over each link between chips, six of each.
    pub links: Vec<u64>,
    /// Packets through each router.
    pub routers: Vec<u64>,
    /// Packets that no entry took.
    pub unrouted: u64,
    /// Longest way, in nanoseconds.
    pub longest: f64,
}

/// The networks of a machine with the tables of a bundle.
#[derive(Clone, Debug)]
pub struct Network {
    /// Fans of each chip's entries.
    fans: Vec<Vec<Fan>>,
    found: Vec<FxHashMap<u32, Option<usize>>>,
    /// When each link is free, in nanoseconds since the slot began.
    mesh: Vec<f64>,
    links: Vec<f64>,
    routers: Vec<f64>,
    /// What was counted.
    pub traffic: Traffic,
    nodes: usize,
    /// What a packet counts for.
    pub weight: u64,
}

const EAST: usize = 0;
const WEST: usize = 1;
const NORTH: usize = 2;
const SOUTH: usize = 3;

/// The links of the way from a node to another, row first: node and direction.
fn way(from: (u32, u32), to: (u32, u32), columns: u32) -> Vec<usize> {
    let (mut x, mut y) = from;
    let mut out = Vec::new();
    let at = |x: u32, y: u32| (y * columns + x) as usize * 4;
    while x != to.0 {
        out.push(at(x, y) + if x < to.0 { EAST } else { WEST });
        x = if x < to.0 { x + 1 } else { x - 1 };
    }
    while y != to.1 {
        out.push(at(x, y) + if y < to.1 { NORTH } else { SOUTH });
        y = if y < to.1 { y + 1 } else { y - 1 };
    }
    out
}

impl Network {
    /// The networks, idle.
    pub fn new(manifest: &Manifest) -> Network {
        let m = &manifest.machine;
        let chips = m.chip_count() as usize;
        let nodes = (m.noc.columns.value * m.noc.rows.value) as usize;
        let of: FxHashMap<Place, usize> = manifest.cores.iter().enumerate().map(|(k, c)| (c.place, k)).collect();
        let fans = manifest.tables.iter().enumerate().map(|(chip, table)| {
            let fan = |e: &crate::bundle::Entry| {
                let mut fan = Fan { links: e.links.clone(), ..Fan::default() };
                let mut hop_to: FxHashMap<usize, usize> = FxHashMap::default();
                for core in &e.cores {
                    // A core that is off takes nothing.
                    let Some(k) = of.get(&Place { chip: chip as u32, core: *core }) else { continue };
                    let mut after = None;
                    for link in way(router(m), node(m, *core), m.noc.columns.value) {
                        after = Some(*hop_to.entry(link).or_insert_with(|| {
                            fan.hops.push(Hop { link: chip * nodes * 4 + link, after });
                            fan.hops.len() - 1
                        }));
                    }
                    fan.cores.push((*k, after));
                }
                fan
            };
            table.iter().map(fan).collect()
        });
        Network {
            fans: fans.collect(),
            found: vec![FxHashMap::default(); chips],
            mesh: vec![0.0; chips * nodes * 4],
            links: vec![0.0; chips * 6],
            routers: vec![0.0; chips],
            traffic: Traffic {
                mesh: vec![0; chips * nodes * 4],
                links: vec![0; chips * 6],
                routers: vec![0; chips],
                ..Traffic::default()
            },
            nodes,
            weight: 1,
        }
    }

    /// A slot begins: nothing is under way.
    pub fn quiet(&mut self) {
        self.mesh.fill(0.0);
        self.links.fill(0.0);
        self.routers.fill(0.0);
    }

    /// Leads a packet, sent at `now` nanoseconds by a core, to all its targets: calls `arrive` with the number of each in
    /// the manifest and the time.
    pub fn lead(
        &mut self,
        manifest: &Manifest,
        from: Place,
        packet: &Packet,
        now: f64,
        mut arrive: impl FnMut(usize, f64),
    ) {
        let m = &manifest.machine;
        let (hop, flit) = hop_times(m);
        let mut t = now;
        for link in way(node(m, from.core), router(m), m.noc.columns.value) {
            let link = from.chip as usize * self.nodes * 4 + link;
            t = self.cross(link, t, flit) + hop;
        }
        let bits = f64::from(m.router.packet_bits.value + 32 * packet.words);
        let mut open = vec![(from.chip, t, 0u64)];
        while let Some((chip, t, crossed)) = open.pop() {
            let chip = chip as usize;
            let cycle = 1e9 / m.router.clock_hz.value;
            let start = self.routers[chip].max(t);
            self.routers[chip] = start + cycle;
            self.traffic.routers[chip] += self.weight;
            let table = &manifest.tables[chip];
            let entry =
                *self.found[chip].entry(packet.key).or_insert_with(|| table.iter().position(|e| e.takes(packet.key)));
            let Some(entry) = entry else {
                self.traffic.unrouted += 1;
                continue;
            };
            let fan = std::mem::take(&mut self.fans[chip][entry]);
            let mut times: Vec<f64> = Vec::with_capacity(fan.hops.len());
            for h in &fan.hops {
                let at = h.after.map_or(start + cycle, |k| times[k]);
                let at = self.cross(h.link, at, flit) + hop;
                times.push(at);
            }
            for (core, after) in &fan.cores {
                let at = after.map_or(start + cycle, |k| times[k]);
                self.traffic.longest = self.traffic.longest.max(at - now);
                arrive(*core, at);
            }
            for link in &fan.links {
                let Some(next) = neighbour(m, chip as u32, *link) else {
                    self.traffic.unrouted += 1;
                    continue;
                };
                let k = chip * 6 + *link as usize;
                let begin = self.links[k].max(start + cycle);
                self.links[k] = begin + bits / m.links.bits_per_second.value * 1e9;
                self.traffic.links[k] += self.weight;
                // A table that leads in circles ends here.
                if crossed <= m.chip_count() {
                    open.push((next, self.links[k] + m.links.latency_seconds.value * 1e9, crossed + 1));
                } else {
                    self.traffic.unrouted += 1;
                }
            }
            self.fans[chip][entry] = fan;
        }
    }

    fn cross(&mut self, link: usize, t: f64, flit: f64) -> f64 {
        let start = self.mesh[link].max(t);
        self.mesh[link] = start + flit;
        self.traffic.mesh[link] += self.weight;
        start
    }
}

/// Nanoseconds of a hop and of a flit.
fn hop_times(m: &Machine) -> (f64, f64) {
    let cycle = 1e9 / m.noc.clock_hz.value;
    (cycle * f64::from(m.noc.cycles_per_hop.value), cycle)
}
