//! The image of a core against the manifest and the core's graph.

use super::graph::Initial;
use crate::bundle::{Bundle, Core, Receivers, Role};
use crate::compile::Toolchain;
use crate::elf;
use crate::memory::tight;
use crate::scheduler::{self, RECEIVE_WORDS, SEND_WORDS, Word};
use nc_ir::graph::Module;

struct Data<'a> {
    base: u32,
    bytes: &'a [u8],
}

impl Data<'_> {
    fn word(&self, address: u32) -> Result<u32, String> {
        let at = address.wrapping_sub(self.base) as usize;
        let b = self.bytes.get(at..at.wrapping_add(4)).and_then(|b| b.try_into().ok());
        b.map(u32::from_le_bytes).ok_or_else(|| format!("a table reaches to {address:#x}, outside the image"))
    }

    fn words(&self, address: u32, n: u32) -> Result<Vec<u32>, String> {
        (0..n).map(|k| self.word(address.wrapping_add(4 * k))).collect()
    }

    fn bytes(&self, address: u32, n: u64) -> Result<&[u8], String> {
        let at = address.wrapping_sub(self.base) as usize;
        let found = self.bytes.get(at..).and_then(|b| b.get(..n as usize));
        found.ok_or_else(|| format!("{n} bytes at {address:#x} are not in the image"))
    }
}

pub fn check(
    bundle: &Bundle,
    c: &Core,
    piece: Option<&Module>,
    initial: &[Option<Initial>],
    model: &Module,
    tools: &dyn Toolchain,
    receivers: &Receivers<'_>,
) -> Result<(), String> {
    let m = &bundle.manifest;
    let core = &m.machine.core;
    let file = bundle.files.get(&c.image).ok_or_else(|| format!("{} is missing", c.image))?;
    let segments = elf::read(file)?;
    let [code, data] = segments.as_slice() else { return Err(format!("{} has not two segments", c.image)) };
    let base = core.code_bytes.value as u32;
    let top = core.code_bytes.value + core.data_bytes.value;
    let fits = code.address == 0
        && code.bytes.len() as u64 == c.memory.code
        && data.address == base
        && data.bytes.len() as u64 + c.memory.stack == c.memory.data();
    if !fits {
        return Err(format!("{} has not the size that the manifest says", c.image));
    }
    let expected = scheduler::program(base, top as u32).map_err(|e| e.to_string())?;
    if code.bytes.get(..expected.len()) != Some(&expected) {
        return Err("its scheduler is another".into());
    }
    let data = Data { base, bytes: &data.bytes };
    let word = |w: Word| data.word(base + 4 * w as u32);
    tables(bundle, c, &data, receivers)?;
    let entry = word(Word::Entry)?;
    match piece {
        None if entry != 0 => return Err("it has kernels but no graph".into()),
        None => {}
        Some(p) => {
            if entry & 1 == 0 || entry < expected.len() as u32 || entry as usize >= code.bytes.len() {
                return Err("its kernels begin outside its code".into());
            }
            kernels(p, c, &data, tools)?;
        }
    }
    // What late frames hold before the first tick.
    for (r, first) in c.receives.iter().zip(initial) {
        let s = &m.streams[r.stream];
        let size = s.element_bytes();
        let n = (r.rows[1] - r.rows[0]) * s.row_elements * size;
        let frame = data.bytes(r.address, n)?;
        let spare = r.spare.map(|a| data.bytes(a, n)).transpose()?.unwrap_or_default();
        let holds = match first {
            Some(Initial::State(k)) => {
                let init = &model.consts[model.states[*k].init.index()].data;
                let row = (s.row_elements * size) as usize;
                let place = |q: u64| s.order.as_ref().map_or(q, |o| o.get(q as usize).map_or(0, |i| u64::from(*i)));
                match init.bytes().len() as u64 == s.rows * s.row_elements * size {
                    true => (r.rows[0]..r.rows[1]).zip(frame.chunks_exact(row.max(1))).all(|(q, x)| {
                        let at = place(q) as usize * row;
                        init.bytes().get(at..at + row) == Some(x)
                    }),
                    false => frame.chunks(init.bytes().len().max(1)).all(|x| x == init.bytes()),
                }
            }
            // What the proof did not come across is not read.
            None if r.late => true,
            _ => frame.iter().all(|b| *b == 0),
        };
        if !holds || spare.iter().any(|b| *b != 0) {
            return Err(format!("the first frame of {} is not {first:?}", s.name));
        }
    }
    Ok(())
}

/// The tables of the scheduler.
fn tables(bundle: &Bundle, c: &Core, data: &Data<'_>, receivers: &Receivers<'_>) -> Result<(), String> {
    let m = &bundle.manifest;
    let word = |w: Word| data.word(data.base + 4 * w as u32);
    let quarters = |bytes: u64| (bytes.next_multiple_of(16).max(16) / 16) as u32;
    let same = |what: &str, found: Vec<u32>, expected: Vec<u32>| match found == expected {
        true => Ok(()),
        false => Err(format!("its table of {what} says {found:?}, not {expected:?}")),
    };
    let wanted = c.sends.iter().filter(|s| receivers.wants(s.stream, s.part)).count() as u32;
    let (sends, receives) = (c.sends.len() as u32, c.receives.len() as u32);
    let swapped = c.receives.iter().filter(|r| r.spare.is_some()).count() as u32;
    let sent = if c.role == Role::Source { 0 } else { sends };
    let end = c.fifo.address + c.fifo.entries * c.fifo.entry_bytes;
    for (w, x) in [
        (Word::SendCount, wanted),
        (Word::ReceiveCount, receives),
        (Word::ClearCount, receives - swapped),
        (Word::SentCount, sent),
        (Word::SwapCount, swapped),
        (Word::FifoFirst, c.fifo.address),
        (Word::FifoEnd, end),
        (Word::FifoAt, c.fifo.address),
        (Word::FifoStep, c.fifo.entry_bytes),
        (Word::Stray, 0),
    ] {
        same(&format!("{w:?}"), vec![word(w)?], vec![x])?;
    }
    let mut sending = 0;
    let (at_sends, at_sent) = (word(Word::Sends)?, word(Word::Sent)?);
    for (k, s) in c.sends.iter().enumerate() {
        let x = &m.streams[s.stream];
        let n = x.elements_of(s.part);
        let count = if x.kind() == 0 { n.div_ceil(4) } else { n } as u32;
        let k = k as u32;
        if receivers.wants(s.stream, s.part) {
            let expected = vec![s.address, count, x.key_of(s.part), x.kind()];
            same("packets to send", data.words(at_sends + 4 * SEND_WORDS * sending, SEND_WORDS)?, expected)?;
            sending += 1;
        }
        let expected = vec![s.address, quarters(n * x.element_bytes())];
        same("frames to clear", data.words(at_sent + 8 * k, 2)?, expected)?;
    }
    let (at, clears, swaps) = (word(Word::Receives)?, word(Word::Clears)?, word(Word::Swaps)?);
    let (mut cleared, mut exchanged) = (0, 0);
    for (k, r) in c.receives.iter().enumerate() {
        let x = &m.streams[r.stream];
        let at = at + 4 * RECEIVE_WORDS * k as u32;
        let row = x.row_elements;
        let n = (r.rows[1] - r.rows[0]) * row;
        let expected = vec![
            x.key,
            x.keys as u32,
            x.shift,
            ((x.rows / x.parts * row) as u32).wrapping_sub(1 << x.shift),
            (x.rows % x.parts) as u32,
            row as u32,
            (r.rows[0] * row) as u32,
            n as u32,
            r.spare.unwrap_or(r.address),
            x.kind(),
        ];
        same("packets to receive", data.words(at, RECEIVE_WORDS)?, expected)?;
        let quarters = quarters(n * x.element_bytes());
        if r.spare.is_some() {
            let found = data.words(swaps + 12 * exchanged, 3)?;
            let expected = vec![found[0], at + 4 * scheduler::RECEIVE_FRAME, quarters];
            // The pointer that the kernels read holds the first frame, unless they read none.
            let pointer = data.word(found[0])?;
            if pointer != r.address && pointer != 0 {
                return Err(format!("the kernels read {} elsewhere", x.name));
            }
            same("frames to exchange", found, expected)?;
            exchanged += 1;
        } else {
            same("frames to clear", data.words(clears + 8 * cleared, 2)?, vec![r.address, quarters])?;
            cleared += 1;
        }
    }
    Ok(())
}

/// Constants, first state and the context of the kernels.
fn kernels(piece: &Module, c: &Core, data: &Data<'_>, tools: &dyn Toolchain) -> Result<(), String> {
    let said = |e: Vec<nc_ir::Diagnostic>| e.first().map_or_else(String::new, |d| d.message.clone());
    let program = tools.lower(piece).map_err(said)?;
    let layout = tight(&program).ok_or("its graph is too large")?;
    if (layout.const_bytes, layout.arena_bytes) != (c.memory.constants, c.memory.arena) {
        return Err("its graph has other constants or another state than the manifest says".into());
    }
    if data.bytes(c.memory.constants_at, layout.const_bytes)? != layout.const_pool(&program) {
        return Err("its constants are not those of its graph".into());
    }
    let mut arena = vec![0; layout.arena_bytes as usize];
    layout.reset(&program, &mut arena);
    if data.bytes(c.memory.arena_at, layout.arena_bytes)? != arena {
        return Err("its first state is not that of its graph".into());
    }
    let context = data.words(data.word(data.base + 4 * Word::Context as u32)?, 8)?;
    let host = context[2];
    if (context[0], context[1], &context[4..]) != (c.memory.arena_at, c.memory.constants_at, &[0, 0, 1, 0][..]) {
        return Err("its kernels are given other memory".into());
    }
    if data.word(data.base + 4 * Word::Tick as u32)? != data.word(data.base + 4 * Word::Context as u32)? + 16 {
        return Err("it counts ticks elsewhere".into());
    }
    for (k, b) in layout.host.iter().enumerate() {
        let name = &program.buffers[b.index()].name;
        let input = piece.inputs.iter().position(|p| p.name == *name).and_then(|n| c.receives.get(n));
        let output = piece.outputs.iter().position(|p| p.name == *name).and_then(|n| c.sends.get(n));
        let expected = input.map(|r| r.address).or(output.map(|s| s.address));
        if Some(data.word(host + 4 * k as u32)?) != expected {
            return Err(format!("its kernels find `{name}` elsewhere"));
        }
    }
    Ok(())
}
