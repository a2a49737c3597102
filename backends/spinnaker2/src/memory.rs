//! The memory map of a core and its data image.
//!
//! Code lies from address 0 on, data behind the machine's code memory, the stack at the end:
//! scheduler's tables, context of the kernels, constants, arena, frames, ring of packets, stack.

use crate::bundle::{self, Fifo, Memory, Receive, Send, Stream};
use crate::machine::Machine;
use crate::plan::{Plan, Task};
use crate::scheduler::{RECEIVE_FRAME, RECEIVE_WORDS, SEND_WORDS, Word};
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::{BufId, Program};
use nc_ir::tensor::Tensor;

/// Alignment of what lies in a core's memory, in bytes.
pub const ALIGN: u64 = 8;
/// Frames are cleared in quarters of this.
const FRAME: u64 = 16;
/// Words of the kernels' context: arena, constants, host table, padding, first tick, ticks, and three that nothing
/// reads.
const CONTEXT_WORDS: u64 = 12;
/// Byte offset of the tick's number in the context.
const TICK: u32 = 16;

/// Lays a program out without the gaps that vector code of other machines needs. `None` if a size overflows.
pub fn tight(program: &Program) -> Option<Layout> {
    Layout::spaced(program, ALIGN, 0)
}

/// Kernels with their layout.
#[derive(Clone, Copy)]
pub struct Kernels<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its layout, by [`tight`].
    pub layout: &'a Layout,
    /// The signals that the piece gives, which are in the names of its outputs.
    pub gives: &'a [usize],
}

/// Addresses in a core's memory.
#[derive(Clone, Debug)]
pub struct Map {
    sends: u32,
    receives: u32,
    clears: u32,
    sent: u32,
    swaps: u32,
    context: u32,
    host: u32,
    constants: u32,
    arena: u32,
    /// Frames of what is received: that of the first tick, and the second one.
    pub frames: Vec<(u32, Option<u32>)>,
    /// Frames of what is sent.
    pub out: Vec<u32>,
    /// The ring.
    pub fifo: Fifo,
    /// One past the last byte of data, without the stack.
    pub end: u64,
    /// Bytes by use; code is 0.
    pub memory: Memory,
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(FRAME).max(FRAME)
}

/// Bytes of the frame of some rows.
fn frame_bytes(s: &Stream, rows: u64) -> u64 {
    padded(rows * s.row_elements * s.element_bytes())
}

/// True if packets of this tick come before those of the tick before have been read.
fn crossed(plan: &Plan, task: &Task, k: usize) -> bool {
    let w = &task.receives[k];
    w.late && plan.streams[w.stream].slot < task.slot
}

impl Map {
    /// The map of a task. Addresses that do not fit the core are there as well: compare `end` and `memory`.
    pub fn of(plan: &Plan, task: usize, kernels: Option<Kernels<'_>>, machine: &Machine) -> Map {
        let t = &plan.tasks[task];
        let base = machine.core.code_bytes.value;
        let mut top = base;
        let mut take = |bytes: u64| {
            let at = top;
            top = (top + bytes).next_multiple_of(FRAME);
            at as u32
        };
        let _table = take(4 * Word::Count as u64);
        let sends = take(4 * u64::from(SEND_WORDS) * t.sends.len() as u64);
        let receives = take(4 * u64::from(RECEIVE_WORDS) * t.receives.len() as u64);
        let clears = take(8 * t.receives.len() as u64);
        let sent = take(8 * t.sends.len() as u64);
        let swaps = take(12 * t.receives.len() as u64);
        let context = take(if kernels.is_some() { 4 * CONTEXT_WORDS } else { 0 });
        let host = take(kernels.map_or(0, |k| 4 * k.layout.host.len() as u64));
        let stack = machine.core.stack_bytes.value;
        let mut memory = Memory { tables: u64::from(take(0)) - base, stack, ..Memory::default() };
        (memory.constants, memory.arena) = kernels.map_or((0, 0), |k| (k.layout.const_bytes, k.layout.arena_bytes));
        let constants = take(memory.constants);
        let arena = take(memory.arena);
        let from = take(0);
        let mut frames = Vec::new();
        for (k, w) in t.receives.iter().enumerate() {
            let bytes = frame_bytes(&plan.streams[w.stream], w.rows.end - w.rows.start);
            let at = take(bytes);
            frames.push((at, crossed(plan, t, k).then(|| take(bytes))));
        }
        let out: Vec<u32> = t
            .sends
            .iter()
            .map(|(s, p)| take(padded(plan.streams[*s].elements_of(*p) * plan.streams[*s].element_bytes())))
            .collect();
        memory.frames = u64::from(take(0) - from);
        let (entries, step) = plan.ring(task);
        let address = take(entries * step);
        memory.fifo = u64::from(take(0) - address);
        (memory.constants_at, memory.arena_at) = (constants, arena);
        let fifo = Fifo { address, entries: entries as u32, entry_bytes: step as u32 };
        let end = u64::from(take(0));
        // What rounding took.
        memory.tables = (end - base) - memory.constants - memory.arena - memory.frames - memory.fifo;
        Map { sends, receives, clears, sent, swaps, context, host, constants, arena, frames, out, fifo, end, memory }
    }

    /// What the manifest says of the frames.
    pub fn interface(&self, plan: &Plan, task: usize) -> (Vec<Send>, Vec<Receive>) {
        let t = &plan.tasks[task];
        let sends = t.sends.iter().zip(&self.out).map(|((stream, part), address)| Send {
            stream: *stream,
            part: *part,
            address: *address,
        });
        let receives = t.receives.iter().zip(&self.frames).map(|(w, (address, spare))| Receive {
            stream: w.stream,
            late: w.late,
            rows: [w.rows.start, w.rows.end],
            address: *address,
            spare: *spare,
        });
        (sends.collect(), receives.collect())
    }

    /// The data of a core from the start of its data memory on. `streams` have their keys; `entry` is the address of
    /// the kernels.
    ///
    /// # Errors
    /// If the kernels use an array that is neither received nor sent.
    pub fn image(
        &self,
        plan: &Plan,
        task: usize,
        kernels: Option<Kernels<'_>>,
        entry: u32,
        machine: &Machine,
    ) -> Result<Vec<u8>, String> {
        let t = &plan.tasks[task];
        let base = machine.core.code_bytes.value as u32;
        let mut image = Image { base, bytes: vec![0; (self.end - u64::from(base)) as usize] };
        let word = |w: Word| base + 4 * w as u32;
        if let Some(k) = kernels {
            image.word(word(Word::Entry), entry | 1);
            image.word(word(Word::Context), self.context);
            image.word(word(Word::Tick), self.context + TICK);
            for (n, x) in [(0, self.arena), (1, self.constants), (2, self.host), (6, 1)] {
                image.word(self.context + 4 * n, x);
            }
            for (n, buf) in k.layout.host.iter().enumerate() {
                let name = &k.program.buffers[buf.index()].name;
                let frame = port_of(name).and_then(|(input, at)| {
                    if input {
                        return self.frames.get(at).map(|f| f.0);
                    }
                    k.gives.iter().position(|s| *s == at).and_then(|n| self.out.get(n).copied())
                });
                // Without a frame they would write where code lies.
                let frame =
                    frame.ok_or_else(|| format!("its kernels use `{name}`, for which the core has no frame"))?;
                image.word(self.host + 4 * n as u32, frame);
            }
            let at = (self.constants - base) as usize;
            k.layout.fill_consts(k.program, &mut image.bytes[at..at + k.layout.const_bytes as usize]);
            let at = (self.arena - base) as usize;
            k.layout.reset(k.program, &mut image.bytes[at..at + k.layout.arena_bytes as usize]);
        }
        let mut sent = 0;
        for (k, (s, p)) in t.sends.iter().enumerate() {
            let stream = &plan.streams[*s];
            let count = stream.elements_of(*p);
            let kind = stream.kind();
            let count = if kind == 0 { count.div_ceil(4) } else { count };
            if plan.is_wanted(*s, *p) {
                let at = self.sends + 4 * SEND_WORDS * sent;
                image.words(at, &[self.out[k], count as u32, stream.key_of(*p), kind]);
                sent += 1;
            }
            let quarters = padded(stream.elements_of(*p) * stream.element_bytes()) / FRAME;
            image.words(self.sent + 8 * k as u32, &[self.out[k], quarters as u32]);
        }
        let (mut clears, mut swaps) = (0, 0);
        for (k, w) in t.receives.iter().enumerate() {
            let s = &plan.streams[w.stream];
            let at = self.receives + 4 * RECEIVE_WORDS * k as u32;
            let (address, spare) = self.frames[k];
            let row = s.row_elements;
            image.words(
                at,
                &[
                    s.key,
                    s.keys as u32,
                    s.shift,
                    s.part_stride(),
                    (s.rows % s.parts.max(1)) as u32,
                    row as u32,
                    (w.rows.start * row) as u32,
                    ((w.rows.end - w.rows.start) * row) as u32,
                    spare.unwrap_or(address),
                    s.kind(),
                ],
            );
            let quarters = (frame_bytes(s, w.rows.end - w.rows.start) / FRAME) as u32;
            match spare {
                None => {
                    image.words(self.clears + 8 * clears, &[address, quarters]);
                    clears += 1;
                }
                Some(_) => {
                    let pointer = self.host_slot(kernels, k);
                    image.words(self.swaps + 12 * swaps, &[pointer, at + 4 * RECEIVE_FRAME, quarters]);
                    swaps += 1;
                }
            }
            if let Some(init) = &w.init {
                image.fill(address, init, s, [w.rows.start, w.rows.end]);
            }
        }
        let end = self.fifo.address + self.fifo.entries * self.fifo.entry_bytes;
        for (w, x) in [
            (Word::SendCount, sent),
            (Word::Sends, self.sends),
            (Word::ReceiveCount, t.receives.len() as u32),
            (Word::Receives, self.receives),
            (Word::ClearCount, clears),
            (Word::Clears, self.clears),
            // A source's frames are the host's to fill.
            (Word::SentCount, if t.role == bundle::Role::Source { 0 } else { t.sends.len() as u32 }),
            (Word::Sent, self.sent),
            (Word::SwapCount, swaps),
            (Word::Swaps, self.swaps),
            (Word::FifoFirst, self.fifo.address),
            (Word::FifoEnd, end),
            (Word::FifoAt, self.fifo.address),
            (Word::FifoStep, self.fifo.entry_bytes),
        ] {
            image.word(word(w), x);
        }
        Ok(image.bytes)
    }

    /// Where the kernels find the address of the frame of input `k`.
    fn host_slot(&self, kernels: Option<Kernels<'_>>, k: usize) -> u32 {
        let slot = kernels.and_then(|x| {
            let is = |b: &BufId| port_of(&x.program.buffers[b.index()].name) == Some((true, k));
            x.layout.host.iter().position(is)
        });
        // An input that the program has no buffer for is not read: exchanging with an unused word does no harm.
        slot.map_or(self.context + 4 * (CONTEXT_WORDS as u32 - 1), |n| self.host + 4 * n as u32)
    }
}

/// True for an input, and its number.
fn port_of(name: &str) -> Option<(bool, usize)> {
    let number = |n: &str| n.parse().ok();
    match (name.strip_prefix("in"), name.strip_prefix("out")) {
        (Some(n), _) => number(n).map(|n| (true, n)),
        (_, Some(n)) => number(n).map(|n| (false, n)),
        _ => None,
    }
}

struct Image {
    base: u32,
    bytes: Vec<u8>,
}

impl Image {
    fn word(&mut self, address: u32, x: u32) {
        let at = (address - self.base) as usize;
        if let Some(to) = self.bytes.get_mut(at..at + 4) {
            to.copy_from_slice(&x.to_le_bytes());
        }
    }

    fn words(&mut self, address: u32, all: &[u32]) {
        for (k, x) in all.iter().enumerate() {
            self.word(address + 4 * k as u32, *x);
        }
    }

    /// Some rows of an initial value.
    fn fill(&mut self, address: u32, init: &Tensor, s: &Stream, rows: [u64; 2]) {
        let size = s.element_bytes() as usize;
        let row = s.row_elements as usize * size;
        let at = (address - self.base) as usize;
        let bytes = (rows[1] - rows[0]) as usize * row;
        let Some(to) = self.bytes.get_mut(at..at + bytes) else { return };
        let from = rows[0] as usize * row;
        match init.bytes().get(from..from + bytes) {
            Some(data) if init.len() as u64 == s.rows * s.row_elements => to.copy_from_slice(data),
            _ if init.bytes().len() == size => to.chunks_exact_mut(size).for_each(|c| c.copy_from_slice(init.bytes())),
            _ => {}
        }
    }
}
