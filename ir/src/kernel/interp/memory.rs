//! Typed access to the memory that a program runs on, by the offsets of a [`Layout`].
//!
//! All pointer arithmetic of the interpreter is here. Every access is checked against the program's declarations first,
//! so that whoever upholds [`Memory::new`] needs nothing further.

use crate::kernel::abi::{Layout, Place};
use crate::kernel::program::{ListId, Program, Role};
use crate::kernel::scalar::Scalar;
use crate::kernel::{BufId, Parallel};
use crate::types::DType;
use half::{bf16, f16};

/// The memory of one tick.
pub(super) struct Memory<'a> {
    program: &'a Program,
    layout: &'a Layout,
    arena: *mut u8,
    consts: *const u8,
    host: Vec<*mut u8>,
    first_tick: u64,
    /// Start of each buffer in the current tick; null for a probe that is not sampled.
    bases: Vec<*mut u8>,
}

impl<'a> Memory<'a> {
    /// Memory for ticks from `first_tick` on.
    ///
    /// # Safety
    /// `layout` is that of `program`. As long as the result lives, `arena` and `consts` are valid for the layout's sizes
    /// and `host` has a pointer for each of its host arrays, to the frames of every tick that [`Memory::seek`] is called
    /// with, as [`crate::kernel::abi::RunContext::host`] says. Nobody else writes what this memory reads or writes,
    /// except parts of the same run that keep the promises of the program.
    pub(super) unsafe fn new(
        program: &'a Program,
        layout: &'a Layout,
        arena: *mut u8,
        consts: *const u8,
        host: Vec<*mut u8>,
        first_tick: u64,
    ) -> Memory<'a> {
        let bases = vec![std::ptr::null_mut(); program.buffers.len()];
        Memory { program, layout, arena, consts, host, first_tick, bases }
    }

    /// Moves to a tick: `first_tick` or later.
    pub(super) fn seek(&mut self, tick: u64) {
        for ((b, place), base) in self.program.buffers.iter().zip(&self.layout.buffers).zip(&mut self.bases) {
            let frame_bytes = b.len as usize * b.elem.size();
            *base = match *place {
                // SAFETY: offsets of the layout lie inside the arena and the pool.
                Place::Arena(at) => unsafe { self.arena.add(at as usize) },
                Place::Consts(at) => unsafe { self.consts.add(at as usize).cast_mut() },
                Place::Host(k) => match frame(&b.role, self.first_tick, tick) {
                    // SAFETY: the host array holds the frames of this run's ticks.
                    Some(f) => unsafe { self.host[k as usize].add(f as usize * frame_bytes) },
                    None => std::ptr::null_mut(),
                },
            };
        }
    }

    /// Reads an element, or says why it cannot.
    pub(super) fn load(&self, buf: BufId, at: i64) -> Result<Scalar, String> {
        let (p, elem) = self.element(buf, at)?;
        // SAFETY: `element` gives a pointer to `elem.size()` valid bytes.
        unsafe {
            Ok(match elem {
                DType::F64 => Scalar::F64(p.cast::<f64>().read_unaligned()),
                DType::F32 => Scalar::F32(p.cast::<f32>().read_unaligned()),
                DType::F16 => Scalar::F32(p.cast::<f16>().read_unaligned().to_f32()),
                DType::BF16 => Scalar::F32(p.cast::<bf16>().read_unaligned().to_f32()),
                DType::I64 => Scalar::I64(p.cast::<i64>().read_unaligned()),
                DType::I32 => Scalar::I32(p.cast::<i32>().read_unaligned()),
                DType::I16 => Scalar::I32(p.cast::<i16>().read_unaligned().into()),
                DType::I8 => Scalar::I32(p.cast::<i8>().read_unaligned().into()),
                DType::U64 => Scalar::I64(p.cast::<u64>().read_unaligned() as i64),
                DType::U32 => Scalar::I64(p.cast::<u32>().read_unaligned().into()),
                DType::U16 => Scalar::I32(p.cast::<u16>().read_unaligned().into()),
                DType::U8 => Scalar::I32(p.read().into()),
                DType::Bool => Scalar::Bool(p.read() != 0),
            })
        }
    }

    /// Writes an element, or says why it cannot.
    pub(super) fn store(&mut self, buf: BufId, at: i64, value: Scalar) -> Result<(), String> {
        let (p, elem) = self.element(buf, at)?;
        // SAFETY: as in `load`; the verifier lets no store through to a constant or an input.
        unsafe {
            match (elem, value) {
                (DType::F64, Scalar::F64(x)) => p.cast::<f64>().write_unaligned(x),
                (DType::F32, Scalar::F32(x)) => p.cast::<f32>().write_unaligned(x),
                (DType::F16, Scalar::F32(x)) => p.cast::<f16>().write_unaligned(f16::from_f32(x)),
                (DType::BF16, Scalar::F32(x)) => p.cast::<bf16>().write_unaligned(bf16::from_f32(x)),
                (DType::I64 | DType::U64, Scalar::I64(x)) => p.cast::<i64>().write_unaligned(x),
                (DType::I32, Scalar::I32(x)) => p.cast::<i32>().write_unaligned(x),
                (DType::U32, Scalar::I64(x)) => p.cast::<u32>().write_unaligned(x as u32),
                (DType::I16 | DType::U16, Scalar::I32(x)) => p.cast::<i16>().write_unaligned(x as i16),
                (DType::I8 | DType::U8, Scalar::I32(x)) => p.write(x as u8),
                (DType::Bool, Scalar::Bool(x)) => p.write(u8::from(x)),
                (elem, value) => return Err(format!("store of {} to {elem}", value.ty())),
            }
        }
        Ok(())
    }

    fn element(&self, buf: BufId, at: i64) -> Result<(*mut u8, DType), String> {
        let b = &self.program.buffers[buf.index()];
        let k = u64::try_from(at).ok().filter(|k| *k < b.len);
        let k = k.ok_or_else(|| format!("{buf}[{at}] is outside the {} elements of `{}`", b.len, b.name))?;
        let base = self.bases[buf.index()];
        if base.is_null() {
            return Err(format!("{buf} `{}` is not sampled in this tick", b.name));
        }
        // SAFETY: a buffer holds `len` elements from its base on.
        Ok((unsafe { base.add(k as usize * b.elem.size()) }, b.elem))
    }

    /// The slot as a number in range.
    pub(super) fn slot(&self, list: ListId, slot: i64) -> Result<u64, String> {
        let l = &self.program.lists[list.index()];
        u64::try_from(slot)
            .ok()
            .filter(|s| *s < u64::from(l.slots))
            .ok_or_else(|| format!("slot {slot} of {list} `{}`, which has {}", l.name, l.slots))
    }

    /// How many indices part `part`'s chunk of a slot holds. `slot` is from [`Memory::slot`], `part` below the parts.
    pub(super) fn count(&self, list: ListId, slot: u64, part: u32) -> Result<u32, String> {
        let (lo, hi) = self.chunk(list, part);
        // SAFETY: as in `counter`.
        let n = unsafe { self.counter(list, slot, part).read_unaligned() };
        if u64::from(n) > hi - lo {
            return Err(format!("a chunk of {list} for {} indices counts {n}", hi - lo));
        }
        Ok(n)
    }

    /// Sets the count of a chunk to 0.
    pub(super) fn clear(&mut self, list: ListId, slot: u64, part: u32) {
        // SAFETY: as in `counter`.
        unsafe { self.counter(list, slot, part).write_unaligned(0) }
    }

    /// Index `k` of a chunk, `k` below its count.
    pub(super) fn event(&self, list: ListId, slot: u64, part: u32, k: u32) -> Result<i64, String> {
        let (lo, hi) = self.chunk(list, part);
        // SAFETY: `k` is below a count that fits the chunk.
        let index = u64::from(unsafe { self.indices(list, slot, lo + u64::from(k)).read_unaligned() });
        if !(lo..hi).contains(&index) {
            return Err(format!("{list} holds index {index} in a chunk of {lo}..{hi}"));
        }
        Ok(index as i64)
    }

    /// Appends to a chunk: `index` is in the part's range and above the last.
    pub(super) fn append(&mut self, list: ListId, slot: u64, part: u32, index: i64) -> Result<(), String> {
        let (lo, hi) = self.chunk(list, part);
        if !(lo as i64..hi as i64).contains(&index) {
            return Err(format!("index {index} pushed to {list} by the part of {lo}..{hi}"));
        }
        let n = self.count(list, slot, part)?;
        if n > 0 {
            let last = self.event(list, slot, part, n - 1)?;
            if index <= last {
                return Err(format!("index {index} pushed to {list} after {last}"));
            }
        }
        // SAFETY: indices ascend inside `lo..hi`, so that fewer than `hi - lo` are there already.
        unsafe {
            self.indices(list, slot, lo + u64::from(n)).write_unaligned(index as u32);
            self.counter(list, slot, part).write_unaligned(n + 1);
        }
        Ok(())
    }

    fn chunk(&self, list: ListId, part: u32) -> (u64, u64) {
        let Parallel { len, align } = self.program.lists[list.index()].extent();
        Parallel { len, align }.range(part, self.program.parts)
    }

    /// The count of a chunk. Valid: `slot` and `part` are in range, so the layout holds it.
    fn counter(&self, list: ListId, slot: u64, part: u32) -> *mut u32 {
        let at = self.layout.list(list).counts + 4 * (slot * u64::from(self.program.parts) + u64::from(part));
        // SAFETY: the arena has the layout's size.
        unsafe { self.arena.add(at as usize).cast() }
    }

    /// Place `k` of a slot's indices. Valid for `k` below the list's length.
    fn indices(&self, list: ListId, slot: u64, k: u64) -> *mut u32 {
        let place = self.layout.list(list);
        let at = place.indices + slot * place.stride + 4 * k;
        // SAFETY: the arena has the layout's size.
        unsafe { self.arena.add(at as usize).cast() }
    }
}

/// Which frame of a host array belongs to a tick, counted from `first_tick`; `None` in ticks without one.
pub(super) fn frame(role: &Role, first_tick: u64, tick: u64) -> Option<u64> {
    match role {
        Role::Probe { every } => {
            let every = (*every).max(1);
            tick.is_multiple_of(every).then(|| tick / every - first_tick.div_ceil(every))
        }
        Role::Const(_) | Role::State(_) | Role::Temp | Role::Input | Role::Output => Some(tick - first_tick),
    }
}

/// How many frames a host array has for a run of `ticks` ticks; `None` if the end of the run overflows.
pub(super) fn frames(role: &Role, first_tick: u64, ticks: u64) -> Option<u64> {
    match role {
        Role::Probe { every } => {
            let every = (*every).max(1);
            Some(first_tick.checked_add(ticks)?.div_ceil(every) - first_tick.div_ceil(every))
        }
        Role::Const(_) | Role::State(_) | Role::Temp | Role::Input | Role::Output => Some(ticks),
    }
}
