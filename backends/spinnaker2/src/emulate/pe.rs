//! One core of the emulator: our simulator of its instructions, and the registers around it.

use super::Packet;
use crate::bundle::{self, Manifest, Role};
use crate::machine::Machine;
use crate::registers as reg;
use crate::scheduler::Word;
use nc_armv7em::{Bus, Cpu, Stop, Write};
use std::sync::Arc;

/// Instructions after which a core that does not sleep is taken to hang.
const LIMIT: u64 = 2_000_000_000;

/// What the instruction `svc` of a core does, given the core's memory: what it writes, with addresses. It stands for kernels
/// where there is no code generator.
#[derive(Clone)]
pub struct Service(pub Arc<Answer>);

/// The function of a [`Service`].
pub type Answer = dyn Fn(&[u8]) -> Writes + Send + Sync;

/// What is written to a core's memory, with addresses.
pub type Writes = Vec<(u32, Vec<u8>)>;

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

#[derive(Clone, Debug, Default)]
struct Registers {
    phase: u32,
    waiting: u32,
    data: [u32; 2],
    sent: Vec<Packet>,
}

impl Bus for Registers {
    fn read(&mut self, address: u32, size: u8) -> Option<u32> {
        match (address.wrapping_sub(reg::BASE), size) {
            (reg::PHASE, 4) => Some(self.phase),
            (reg::RX_COUNT, 4) => Some(self.waiting),
            _ => None,
        }
    }

    fn write(&mut self, address: u32, size: u8, value: u32) -> Write {
        self.write_at(0, address, size, value)
    }

    fn write_at(&mut self, cycle: u64, address: u32, size: u8, value: u32) -> Write {
        if address == reg::CPACR {
            return Write::Done;
        }
        let words = match (address.wrapping_sub(reg::BASE), size) {
            (reg::RX_POP, 4) => {
                self.waiting = self.waiting.saturating_sub(1);
                return Write::Done;
            }
            (reg::TX_DATA0, 4) => {
                self.data[0] = value;
                return Write::Done;
            }
            (reg::TX_DATA1, 4) => {
                self.data[1] = value;
                return Write::Done;
            }
            (reg::TX_SEND, 4) => 0,
            (reg::TX_SEND32, 4) => 1,
            (reg::TX_SEND64, 4) => 2,
            _ => return Write::Refused,
        };
        self.sent.push(Packet { cycle, key: value, data: self.data, words });
        Write::Done
    }
}

/// A core that runs.
#[derive(Clone, Debug)]
pub struct Pe {
    /// Its entry in the manifest.
    pub core: bundle::Core,
    cpu: Cpu,
    bus: Registers,
    /// Entry of the ring that the next packet goes to.
    head: u32,
    table: u32,
    /// Packets of this slot with the time they arrive, in cycles since the slot began.
    pub arrivals: Vec<(f64, Packet)>,
    /// When it has finished what it does in this slot.
    pub free: f64,
    /// Packets that found the ring full, in this slot.
    pub lost: u64,
    /// Most packets that waited.
    pub most_waiting: u64,
    /// Cycles spent computing, sending, receiving.
    pub busy: [u64; 3],
    /// Packets sent and received.
    pub packets: [u64; 2],
    /// Why it cannot go on.
    pub stopped: Option<String>,
    /// What its `svc` does; without it, the core stops there.
    pub service: Option<Service>,
}

impl Pe {
    /// A core with its image.
    pub fn new(core: &bundle::Core, image: &[u8], machine: &Machine) -> Result<Pe, String> {
        let c = &machine.core;
        let code = c.code_bytes.value as usize;
        let mut cpu = Cpu::new(c.sram_bytes.value as usize, code);
        for s in crate::elf::read(image)? {
            if !cpu.load(s.address, &s.bytes) {
                return Err(format!("a segment at {:#x} does not fit the core's memory", s.address));
            }
        }
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|k| cpu.memory().get(at + k).copied().unwrap_or(0)));
        let (sp, pc) = (word(0), word(4));
        cpu.regs[13] = sp;
        cpu.set_pc(pc & !1);
        let mut pe = Pe {
            core: core.clone(),
            cpu,
            bus: Registers::default(),
            head: 0,
            table: code as u32,
            arrivals: Vec::new(),
            free: 0.0,
            lost: 0,
            most_waiting: 0,
            busy: [0; 3],
            packets: [0; 2],
            stopped: None,
            service: None,
        };
        // Start-up: until it sleeps for the first time.
        pe.run(reg::PACKETS);
        match pe.stopped.take() {
            Some(why) => Err(why),
            None => Ok(pe),
        }
    }

    /// Wakes the core and runs it until it sleeps; the cycles it took.
    fn run(&mut self, phase: u32) -> u64 {
        if self.stopped.is_some() {
            return 0;
        }
        self.bus.phase = phase;
        let before = self.cpu.cycles;
        loop {
            match (self.cpu.run(&mut self.bus, LIMIT), &self.service) {
                (Stop::Wait, _) => break,
                (Stop::Service(_), Some(service)) => {
                    let writes = (service.0)(self.cpu.memory());
                    writes.iter().for_each(|(address, bytes)| self.poke(*address, bytes));
                }
                (other, _) => self.stopped = Some(other.to_string()),
            }
            if self.stopped.is_some() {
                break;
            }
        }
        self.cpu.cycles - before
    }

    /// Cycles to compute in this slot.
    pub fn compute(&mut self) -> u64 {
        let used = self.run(reg::COMPUTE);
        self.busy[0] += used;
        used
    }

    /// Sends; packets with their cycles since sending began.
    pub fn send(&mut self) -> (u64, Vec<Packet>) {
        let before = self.cpu.cycles;
        let used = self.run(reg::SEND);
        self.busy[1] += used;
        let mut sent = std::mem::take(&mut self.bus.sent);
        sent.iter_mut().for_each(|p| p.cycle -= before);
        self.packets[0] += sent.len() as u64;
        (used, sent)
    }

    /// Takes the packets of this slot. The core wakes for the first, takes all that are there by then, and so on.
    pub fn receive(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
        let entries = u64::from(self.core.fifo.entries);
        // When the packets before were taken.
        let mut taken: Vec<f64> = Vec::with_capacity(arrivals.len());
        let (mut next, mut gone, mut came) = (0, 0usize, 0u64);
        while next < arrivals.len() && self.stopped.is_none() {
            let start = self.free.max(arrivals[next].0);
            let mut batch = 0u64;
            while let Some((at, packet)) = arrivals.get(next).filter(|(at, _)| *at <= start) {
                while gone < taken.len() && taken[gone] <= *at {
                    gone += 1;
                }
                let waiting = came - gone as u64;
                next += 1;
                if waiting >= entries {
                    self.lost += 1;
                    continue;
                }
                came += 1;
                self.most_waiting = self.most_waiting.max(waiting + 1);
                self.put(packet);
                batch += 1;
            }
            let used = self.run(reg::PACKETS);
            self.busy[2] += used;
            self.packets[1] += batch;
            taken.extend((1..=batch).map(|k| start + used as f64 * k as f64 / batch as f64));
            self.free = start + used as f64;
        }
    }

    fn put(&mut self, packet: &Packet) {
        let f = self.core.fifo;
        let mut entry = [0u8; 12];
        for (k, w) in [packet.key, packet.data[0], packet.data[1]].into_iter().enumerate() {
            entry[4 * k..4 * k + 4].copy_from_slice(&w.to_le_bytes());
        }
        let n = (f.entry_bytes as usize).min(entry.len());
        self.cpu.load(f.address + self.head * f.entry_bytes, &entry[..n]);
        self.head = (self.head + 1) % f.entries.max(1);
        self.bus.waiting += 1;
    }

    /// Memory of the core; short if it reaches beyond the end.
    pub fn memory(&self, address: u32, bytes: usize) -> &[u8] {
        let from = self.cpu.memory().get(address as usize..).unwrap_or_default();
        from.get(..bytes).unwrap_or(from)
    }

    /// Writes the core's memory.
    pub fn poke(&mut self, address: u32, bytes: &[u8]) {
        if !self.cpu.load(address, bytes) {
            self.stopped = Some(format!("the host wrote to {address:#x}, where no memory is"));
        }
    }

    /// Packets with keys that the core does not know, since the start.
    pub fn stray(&self) -> u64 {
        let b = self.memory(self.table + 4 * Word::Stray as u32, 4);
        b.try_into().map_or(0, |b| u64::from(u32::from_le_bytes(b)))
    }

    /// Makes a share of the elements that the core reads, or sends, such that count, by the number of their stream; of
    /// each frame at least one. With all of them, it is the most work that packets can make.
    pub fn fill(&mut self, manifest: &Manifest, shares: &[f64], outputs: bool) {
        let share = |stream: usize| shares.get(stream).copied().unwrap_or(1.0);
        let mut frames: Vec<(u32, u64, &str, f64)> = Vec::new();
        if outputs {
            frames.extend(self.core.sends.iter().map(|s| {
                let stream = &manifest.streams[s.stream];
                (s.address, stream.elements_of(s.part), stream.dtype.as_str(), share(s.stream))
            }));
        } else if self.core.role == Role::Compute {
            frames.extend(self.core.receives.iter().map(|r| {
                let stream = &manifest.streams[r.stream];
                let n = (r.rows[1] - r.rows[0]) * stream.row_elements;
                (r.address, n, stream.dtype.as_str(), share(r.stream))
            }));
        }
        for (address, n, dtype, share) in frames {
            let one: &[u8] = match dtype {
                "f32" => &[0, 0, 0x80, 0x3f],
                "f64" => &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
                "f16" => &[0, 0x3c],
                "bf16" => &[0x80, 0x3f],
                "i64" | "u64" => &[1, 0, 0, 0, 0, 0, 0, 0],
                "i32" | "u32" => &[1, 0, 0, 0],
                "i16" | "u16" => &[1, 0],
                _ => &[1],
            };
            // Spread evenly: one wherever the share reaches the next whole number.
            let none = vec![0; one.len()];
            let counts = |k: u64| k == 0 || ((k + 1) as f64 * share).floor() > (k as f64 * share).floor();
            let bytes: Vec<u8> = (0..n).flat_map(|k| if counts(k) { one } else { &none }).copied().collect();
            self.poke(address, &bytes);
        }
    }
}
