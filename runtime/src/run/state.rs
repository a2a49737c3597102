//! The state in an arena as tensors that do not depend on layout, parts or representation.

use super::image::{Image, LineHome};
use super::machine::Saved;
use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::Place;
use nc_ir::kernel::{BufId, ListId};
use nc_ir::tensor::Tensor;

/// All parts of the state of a sample before tick `tick`, named.
pub(super) fn export(image: &Image, arena: &[u8], tick: u64) -> Saved {
    let states = image.states.iter().map(|(name, home)| {
        let mut t = Tensor::zeros(home.dtype, home.shape.clone());
        let len = t.bytes().len();
        t.bytes_mut().copy_from_slice(&arena[at(image, home.buffer)..][..len]);
        (name.clone(), t)
    });
    let lines = image.lines.iter().filter(|(_, h)| h.frames.is_some() || h.events.is_some()).map(|(name, home)| {
        let mut t = Tensor::zeros(home.dtype, line_shape(home));
        let frame = t.bytes().len() / (home.depth as usize).max(1);
        for k in 1..=u64::from(home.depth).min(tick) {
            let slot = (tick - k) % (u64::from(home.depth) + 1);
            let to = &mut t.bytes_mut()[(k as usize - 1) * frame..][..frame];
            match (home.frames, home.events) {
                (Some(b), _) => {
                    let from = at(image, b) + slot as usize * frame;
                    to.copy_from_slice(&arena[from..from + frame]);
                }
                (None, Some(l)) => read_events((image, arena), l, slot, to),
                (None, None) => {}
            }
        }
        (name.clone(), t)
    });
    Saved { tick, entries: states.chain(lines).collect() }
}

/// Takes the parts of a state over into an arena that was reset.
///
/// # Errors
/// E0651.
pub(super) fn import(image: &Image, arena: &mut [u8], saved: &Saved) -> Result<(), Diagnostic> {
    let tick = saved.tick;
    for (name, home) in &image.states {
        let t = saved.expect(name, home.dtype, &home.shape)?;
        let start = at(image, home.buffer);
        arena[start..start + t.bytes().len()].copy_from_slice(t.bytes());
    }
    for (name, home) in image.lines.iter().filter(|(_, h)| h.frames.is_some() || h.events.is_some()) {
        let t = saved.expect(name, home.dtype, &line_shape(home))?;
        let frame = t.bytes().len() / (home.depth as usize).max(1);
        for k in 1..=u64::from(home.depth).min(tick) {
            let slot = (tick - k) % (u64::from(home.depth) + 1);
            let from = &t.bytes()[(k as usize - 1) * frame..][..frame];
            if let Some(b) = home.frames {
                let start = at(image, b) + slot as usize * frame;
                arena[start..start + frame].copy_from_slice(from);
            }
            if let Some(l) = home.events {
                write_events(image, arena, l, slot, from);
            }
        }
    }
    Ok(())
}

fn line_shape(home: &LineHome) -> Vec<usize> {
    std::iter::once(home.depth as usize).chain(home.shape.iter().copied()).collect()
}

/// Offset in the arena of a buffer that [`Image::new`] found there.
fn at(image: &Image, buffer: BufId) -> usize {
    match image.layout.buffers[buffer.index()] {
        Place::Arena(at) => at as usize,
        Place::Consts(_) | Place::Host(_) => unreachable!("checked when the image was made"),
    }
}

/// Places of part `part`'s chunk of a slot: the count, the first index, and the range of the part.
fn chunk(image: &Image, list: ListId, slot: u64, part: u32) -> (usize, usize, (u64, u64)) {
    let parts = image.parts();
    let place = image.layout.list(list);
    let range = image.program.lists[list.index()].extent().range(part, parts);
    let count = place.counts + 4 * (slot * u64::from(parts) + u64::from(part));
    let first = place.indices + slot * place.stride + 4 * range.0;
    (count as usize, first as usize, range)
}

fn read_events((image, arena): (&Image, &[u8]), list: ListId, slot: u64, to: &mut [u8]) {
    let word = |at: usize| arena[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    for part in 0..image.parts() {
        let (count, first, (lo, hi)) = chunk(image, list, slot, part);
        let most = (hi - lo) as usize;
        for k in 0..(word(count) as usize).min(most) {
            if let Some(cell) = to.get_mut(word(first + 4 * k) as usize) {
                *cell = 1;
            }
        }
    }
}

fn write_events(image: &Image, arena: &mut [u8], list: ListId, slot: u64, from: &[u8]) {
    for part in 0..image.parts() {
        let (count, first, (lo, hi)) = chunk(image, list, slot, part);
        let mut n = 0u32;
        for index in (lo..hi).filter(|k| from[*k as usize] != 0) {
            let at = first + 4 * n as usize;
            arena[at..at + 4].copy_from_slice(&(index as u32).to_le_bytes());
            n += 1;
        }
        arena[count..count + 4].copy_from_slice(&n.to_le_bytes());
    }
}
