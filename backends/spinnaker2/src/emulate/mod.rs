//! The emulator: runs a bundle's own code on all its cores, with routers, networks, slots and a host.
//!
//! In each slot the cores whose slot it is compute, then send; the networks lead the packets, and all cores take what came.
//! Cores only meet through packets, so those three steps are done for all cores at once, by whatever threads the caller
//! lends ([`Executor`]); results and times do not depend on how many there are. A core that neither computes nor gets a
//! packet costs nothing.
//!
//! Nothing synchronises cores but time. Work that is not done when its part of a slot ends is a [`Fault`], as are packets
//! that find a ring full, find no entry or come to a core that does not know their key: from there on results would not
//! be the model's.

mod network;
mod pe;

use crate::bundle::{Bundle, Manifest, Role};
use crate::machine::Level;
use network::Network;
pub use network::Traffic;
pub use pe::{Answer, Pe, Service, Writes};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs a function for each number below the first argument, in any order, perhaps at once.
pub type Executor<'a> = &'a (dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Sync);

/// One after the other.
pub fn serial(n: usize, f: &(dyn Fn(usize) + Sync)) {
    (0..n).for_each(f);
}

/// The traffic of a tick in which every element of every stream is sent.
pub fn worst_traffic(m: &Manifest) -> Traffic {
    let mut network = Network::new(m);
    let receivers = m.receivers();
    for c in &m.cores {
        for s in c.sends.iter().filter(|s| receivers.wants(s.stream, s.part)) {
            let Some(stream) = m.streams.get(s.stream) else { continue };
            network.weight = stream.elements_of(s.part);
            let words = (stream.packet_bits(&m.machine) - m.machine.router.packet_bits.value) / 32;
            let packet = Packet { cycle: 0, key: stream.key_of(s.part), data: [0; 2], words };
            network.quiet();
            network.lead(m, c.place, &packet, 0.0, |_, _| {});
        }
    }
    network.traffic
}

/// A packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// When it was sent, in cycles since sending began.
    pub cycle: u64,
    /// Its key.
    pub key: u32,
    /// Its payload.
    pub data: [u32; 2],
    /// Words of the payload.
    pub words: u32,
}

/// Something that must not happen.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A core needed more cycles than its slot has.
    Overrun {
        /// Tick.
        tick: u64,
        /// Number of the slot.
        slot: usize,
        /// Number of the core in the manifest.
        core: usize,
        /// What it did: `computing` or `receiving`.
        doing: &'static str,
        /// Cycles that it needed.
        needed: u64,
        /// Cycles that there are.
        there: u64,
    },
    /// Packets found the ring of a core full.
    Full {
        /// Tick.
        tick: u64,
        /// Number of the core in the manifest.
        core: usize,
        /// How many.
        packets: u64,
    },
    /// Packets that were sent to a core did not come, or came twice.
    Count {
        /// Tick.
        tick: u64,
        /// Number of the core in the manifest.
        core: usize,
        /// Packets that the core was to get in the slot.
        expected: u64,
        /// Packets that came.
        came: u64,
    },
    /// A packet that no entry of a table takes.
    Unrouted {
        /// Tick.
        tick: u64,
    },
    /// A packet whose key its receiver does not know.
    Stray {
        /// Tick.
        tick: u64,
        /// Number of the core in the manifest.
        core: usize,
    },
    /// A core stopped.
    Stopped {
        /// Tick.
        tick: u64,
        /// Number of the core in the manifest.
        core: usize,
        /// Why.
        why: String,
    },
}

/// Faults to inject, by the number of a packet since the start. For tests of what a run notices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Injection {
    /// Packets that are lost on their way to their last target.
    pub drop: Vec<u64>,
    /// Packets that come twice to their last target.
    pub double: Vec<u64>,
}

/// Time and energy of a run, as far as the machine's figures tell.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Statistics {
    /// Ticks that ran.
    pub ticks: u64,
    /// Cycles of all cores: computing, sending, receiving.
    pub busy: [u64; 3],
    /// Packets sent.
    pub packets: u64,
    /// Packets received, by all their receivers.
    pub received: u64,
    /// Most cycles of a core in the parts of each slot: computing; until all is received.
    pub slots: Vec<[u64; 2]>,
    /// Most packets that waited for a core.
    pub most_waiting: u64,
    /// Seconds that the ticks take on the chip.
    pub seconds: f64,
    /// Energy in joules: chips without their cores, cores asleep, cycles above that.
    pub joules: [f64; 3],
    /// The networks.
    pub traffic: Traffic,
}

impl Statistics {
    /// All energy, in joules.
    pub fn energy(&self) -> f64 {
        self.joules.iter().sum()
    }
}

/// A bundle that runs.
#[derive(Debug)]
pub struct Emulator {
    manifest: Arc<Manifest>,
    /// Images of the cores, from which they start anew.
    images: Vec<Arc<[u8]>>,
    pes: Vec<Mutex<Pe>>,
    network: Network,
    idle: Network,
    tick: u64,
    slots: Vec<[u64; 2]>,
    sent: u64,
    injection: Injection,
    /// Runs as if so many of the elements of each stream's frames counted, to find the most cycles.
    worst: Option<Vec<f64>>,
}

impl Clone for Emulator {
    fn clone(&self) -> Emulator {
        Emulator {
            manifest: self.manifest.clone(),
            images: self.images.clone(),
            pes: self.pes.iter().map(|p| Mutex::new(lock(p).clone())).collect(),
            network: self.network.clone(),
            idle: self.idle.clone(),
            tick: self.tick,
            slots: self.slots.clone(),
            sent: self.sent,
            injection: self.injection.clone(),
            worst: self.worst.clone(),
        }
    }
}

fn lock(pe: &Mutex<Pe>) -> MutexGuard<'_, Pe> {
    pe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Emulator {
    /// Loads a bundle. Every core runs its start-up.
    ///
    /// # Errors
    /// An image that is missing or no image, or whose start-up does not come to sleep; a manifest that names a table,
    /// a stream or a slot that it does not have.
    pub fn new(bundle: &Bundle) -> Result<Emulator, String> {
        let m = &bundle.manifest;
        if m.tables.len() as u64 != m.machine.chip_count() {
            return Err(format!("{} routing tables for {} chips", m.tables.len(), m.machine.chip_count()));
        }
        let (mut images, mut pes) = (Vec::with_capacity(m.cores.len()), Vec::with_capacity(m.cores.len()));
        for c in &m.cores {
            let streams = c.sends.iter().map(|s| s.stream).chain(c.receives.iter().map(|r| r.stream));
            if c.slot as usize >= m.slots.len() || streams.into_iter().any(|s| s >= m.streams.len()) {
                return Err(format!("{}: a slot or a stream that is not there", c.place));
            }
            let image = bundle.files.get(&c.image).ok_or_else(|| format!("{} is missing", c.image))?;
            pes.push(Mutex::new(Pe::new(c, image, &m.machine).map_err(|e| format!("{}: {e}", c.image))?));
            images.push(Arc::from(image.as_slice()));
        }
        let network = Network::new(m);
        Ok(Emulator {
            manifest: Arc::new(m.clone()),
            pes,
            images,
            idle: network.clone(),
            network,
            tick: 0,
            slots: vec![[0; 2]; m.slots.len()],
            sent: 0,
            injection: Injection::default(),
            worst: None,
        })
    }

    /// The state before the first tick.
    pub fn reset(&mut self) {
        let m = &self.manifest;
        for ((pe, c), image) in self.pes.iter().zip(&m.cores).zip(&self.images) {
            let mut pe = lock(pe);
            // The image came to sleep before, so it does again; otherwise the core says so in the next tick.
            match Pe::new(c, image, &m.machine) {
                Ok(mut new) => {
                    new.service = pe.service.take();
                    *pe = new;
                }
                Err(why) => pe.stopped = Some(why),
            }
        }
        self.network = self.idle.clone();
        (self.tick, self.sent) = (0, 0);
        self.slots.fill([0; 2]);
    }

    /// Says what `svc` does on a core, by its number in the manifest.
    pub fn serve(&mut self, core: usize, service: Service) {
        if let Some(pe) = self.pes.get(core) {
            lock(pe).service = Some(service);
        }
    }

    /// Injects faults.
    pub fn inject(&mut self, injection: Injection) {
        self.injection = injection;
    }

    /// The most cycles that each slot needs, as far as it depends on packets: runs ticks in which so many of the elements
    /// of each stream count, from 0 to 1.
    pub fn worst_case(&mut self, ticks: u64, shares: Vec<f64>, execute: Executor<'_>) -> Result<Vec<[u64; 2]>, Fault> {
        self.reset();
        self.worst = Some(shares);
        let none: Vec<Vec<u8>> = self.manifest.inputs.iter().map(|_| Vec::new()).collect();
        let mut stopped = None;
        for _ in 0..ticks {
            let faults = self.tick(&none, execute);
            stopped = stopped.or(faults.into_iter().find(|f| matches!(f, Fault::Stopped { .. })));
        }
        let found = self.slots.clone();
        self.worst = None;
        self.reset();
        match stopped {
            Some(f) => Err(f),
            None => Ok(found),
        }
    }

    /// Number of ticks that ran.
    pub fn ticks(&self) -> u64 {
        self.tick
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Runs a tick on the bytes of the inputs. What went wrong; results are the model's if nothing did.
    pub fn tick(&mut self, inputs: &[Vec<u8>], execute: Executor<'_>) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.host_writes(inputs);
        for slot in 0..self.manifest.slots.len() {
            self.slot(slot, execute, &mut faults);
        }
        for (core, pe) in self.pes.iter().enumerate() {
            if let Some(why) = &lock(pe).stopped {
                faults.push(Fault::Stopped { tick: self.tick, core, why: why.clone() });
            }
        }
        self.tick += 1;
        faults
    }

    fn host_writes(&mut self, inputs: &[Vec<u8>]) {
        for pe in &self.pes {
            let mut pe = lock(pe);
            if pe.core.role != Role::Source {
                continue;
            }
            for s in pe.core.sends.clone() {
                let stream = &self.manifest.streams[s.stream];
                let crate::bundle::Source::Input(k) = stream.source else { continue };
                let row = (stream.row_elements * stream.element_bytes()) as usize;
                let (lo, hi) = (stream.row_of(s.part) as usize * row, stream.row_of(s.part + 1) as usize * row);
                if let Some(bytes) = inputs.get(k).and_then(|b| b.get(lo..hi)) {
                    pe.poke(s.address, bytes);
                }
            }
        }
    }

    fn slot(&mut self, slot: usize, execute: Executor<'_>, faults: &mut Vec<Fault>) {
        let m = &self.manifest;
        let mine: Vec<usize> =
            m.cores.iter().enumerate().filter(|(_, c)| c.slot as usize == slot).map(|(k, _)| k).collect();
        let times = &m.slots[slot];
        let limit = times.compute_cycles;
        let ns = 1e9 / m.clock_hz();
        let work: Vec<Mutex<(u64, Vec<Packet>)>> = mine.iter().map(|_| Mutex::default()).collect();
        let (pes, shares) = (&self.pes, &self.worst);
        let worst = shares.is_some();
        execute(mine.len(), &|k| {
            let mut pe = lock(&pes[mine[k]]);
            if let Some(shares) = shares {
                pe.fill(m, shares, false);
            }
            let computed = pe.compute();
            if let Some(shares) = shares {
                pe.fill(m, shares, true);
            }
            let (sending, packets) = pe.send();
            // Sending begins at its time, or when the core is ready.
            pe.free = if worst { sending as f64 } else { limit.max(computed) as f64 + sending as f64 };
            *work[k].lock().unwrap_or_else(PoisonError::into_inner) = (computed, packets);
        });
        let mut packets: Vec<(f64, usize, Packet)> = Vec::new();
        for (k, w) in mine.iter().zip(work) {
            let (needed, sent) = w.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.slots[slot][0] = self.slots[slot][0].max(needed);
            if !worst && needed > limit {
                let (tick, there) = (self.tick, limit);
                faults.push(Fault::Overrun { tick, slot, core: *k, doing: "computing", needed, there });
            }
            let begin = if worst { 0 } else { limit.max(needed) };
            packets.extend(sent.into_iter().map(|p| ((begin + p.cycle) as f64 * ns, *k, p)));
        }
        packets.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.network.quiet();
        let before = self.network.traffic.unrouted;
        let mut expected: Vec<u64> = vec![0; self.pes.len()];
        let mut targets: Vec<(usize, f64)> = Vec::new();
        for (at, from, packet) in packets {
            targets.clear();
            self.network.lead(&self.manifest, self.manifest.cores[from].place, &packet, at, |core, at| {
                targets.push((core, at));
            });
            let last = targets.len().saturating_sub(1);
            for (k, (core, at)) in targets.iter().enumerate() {
                expected[*core] += 1;
                let copies = match k == last {
                    true if self.injection.drop.contains(&self.sent) => 0,
                    true if self.injection.double.contains(&self.sent) => 2,
                    _ => 1,
                };
                let arrivals = &mut lock(&self.pes[*core]).arrivals;
                arrivals.extend(std::iter::repeat_n((*at / ns, packet), copies));
            }
            self.sent += 1;
        }
        if self.network.traffic.unrouted > before {
            faults.push(Fault::Unrouted { tick: self.tick });
        }
        self.receive(slot, &expected, &mine, execute, faults);
    }

    fn receive(
        &mut self,
        slot: usize,
        expected: &[u64],
        mine: &[usize],
        execute: Executor<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let tick = self.tick;
        let mut busy: Vec<usize> = (0..self.pes.len()).filter(|k| !lock(&self.pes[*k]).arrivals.is_empty()).collect();
        let pes = &self.pes;
        let count = |k: &usize| {
            let pe = lock(&pes[*k]);
            (pe.arrivals.len() as u64, pe.stray())
        };
        let counted: Vec<(u64, u64)> = busy.iter().map(count).collect();
        execute(busy.len(), &|k| lock(&pes[busy[k]]).receive());
        for (k, (came, stray)) in busy.iter().zip(counted) {
            let mut pe = lock(&self.pes[*k]);
            let lost = std::mem::take(&mut pe.lost);
            if lost > 0 {
                faults.push(Fault::Full { tick, core: *k, packets: lost });
            }
            if pe.stray() > stray {
                faults.push(Fault::Stray { tick, core: *k });
            }
            if came != expected[*k] {
                faults.push(Fault::Count { tick, core: *k, expected: expected[*k], came });
            }
        }
        for (k, n) in expected.iter().enumerate().filter(|(k, n)| **n > 0 && !busy.contains(k)) {
            faults.push(Fault::Count { tick, core: k, expected: *n, came: 0 });
        }
        busy.extend(mine.iter().filter(|k| expected[**k] == 0));
        let s = &self.manifest.slots[slot];
        let there = s.compute_cycles + s.send_cycles;
        for k in busy {
            let mut pe = lock(&self.pes[k]);
            let needed = pe.free.ceil() as u64;
            pe.free = 0.0;
            let most = &mut self.slots[slot][1];
            *most = (*most).max(needed);
            if self.worst.is_none() && needed > there {
                faults.push(Fault::Overrun { tick, slot, core: k, doing: "receiving", needed, there });
            }
        }
    }

    /// The bytes of a stream as its sinks have it, after a tick.
    pub fn result(&self, stream: usize) -> Vec<u8> {
        let Some(s) = self.manifest.streams.get(stream) else { return Vec::new() };
        let row = (s.row_elements * s.element_bytes()) as usize;
        let mut out = vec![0; s.rows as usize * row];
        for pe in &self.pes {
            let pe = lock(pe);
            if pe.core.role != Role::Sink {
                continue;
            }
            for r in pe.core.receives.iter().filter(|r| r.stream == stream) {
                let (lo, hi) = (r.rows[0] as usize * row, r.rows[1] as usize * row);
                let bytes = pe.memory(r.address, hi.saturating_sub(lo));
                if let Some(order) = &s.order {
                    for (q, x) in (r.rows[0]..r.rows[1]).zip(bytes.chunks_exact(row.max(1))) {
                        let at = order.get(q as usize).map_or(usize::MAX, |i| *i as usize * row);
                        if let Some(to) = out.get_mut(at..at.saturating_add(row)) {
                            to.copy_from_slice(x);
                        }
                    }
                    continue;
                }
                if let Some(to) = out.get_mut(lo..lo + bytes.len()) {
                    to.copy_from_slice(bytes);
                }
            }
        }
        out
    }

    /// Cycles of each core: computing, sending, receiving.
    pub fn busy(&self) -> Vec<[u64; 3]> {
        self.pes.iter().map(|p| lock(p).busy).collect()
    }

    /// Time, energy and traffic since the start.
    pub fn statistics(&self) -> Statistics {
        let m = &self.manifest;
        let mut s = Statistics {
            ticks: self.tick,
            slots: self.slots.clone(),
            traffic: self.network.traffic.clone(),
            ..Statistics::default()
        };
        for pe in &self.pes {
            let pe = lock(pe);
            for (sum, x) in s.busy.iter_mut().zip(pe.busy) {
                *sum += x;
            }
            s.packets += pe.packets[0];
            s.received += pe.packets[1];
            s.most_waiting = s.most_waiting.max(pe.most_waiting);
        }
        s.seconds = self.tick as f64 * m.tick_cycles as f64 / m.clock_hz();
        let cycles: u64 = s.busy.iter().sum();
        if let Some(level) = m.level() {
            s.joules = [
                m.machine.power.idle_watts.value * m.machine.chip_count() as f64 * s.seconds,
                level.sleep_watts_per_core.value * m.cores.len() as f64 * s.seconds,
                level.joules_per_cycle.value * cycles as f64,
            ];
        }
        s
    }
}

impl Manifest {
    /// The performance level.
    pub fn level(&self) -> Option<&Level> {
        self.machine.level.get(self.level)
    }
}

impl Fault {
    /// A sentence for a user.
    pub fn describe(&self, manifest: &Manifest) -> String {
        let at =
            |core: &usize| manifest.cores.get(*core).map_or_else(String::new, |c| format!("{} ({})", c.place, c.name));
        match self {
            Fault::Overrun { tick, slot, core, doing, needed, there } => {
                let slot = manifest.slots.get(*slot).map_or("?", |s| s.name.as_str());
                format!(
                    "tick {tick}: {} is still {doing} when slot {slot} ends: {needed} cycles, there are {there}",
                    at(core)
                )
            }
            Fault::Full { tick, core, packets } => {
                format!("tick {tick}: {packets} packets find the ring of {} full", at(core))
            }
            Fault::Count { tick, core, expected, came } => {
                format!("tick {tick}: {expected} packets are sent to {}, {came} come", at(core))
            }
            Fault::Unrouted { tick } => format!("tick {tick}: a packet finds no entry in a routing table"),
            Fault::Stray { tick, core } => {
                format!("tick {tick}: {} gets a packet whose key it does not know", at(core))
            }
            Fault::Stopped { tick, core, why } => format!("tick {tick}: {} stops: {why}", at(core)),
        }
    }
}
