//! The calling convention between compiled code and whoever runs it, and the memory layout both agree on.

use super::program::{BufId, ListId, Program, Role};
use crate::diag::Diagnostic;
use crate::types::DType;
use std::ffi::c_void;

/// Alignment of every buffer, in bytes: one cache line.
pub const ALIGN: u64 = 64;

/// Bytes that may be read (never written) beyond the end of any buffer by vector code.
pub const SLACK: u64 = 64;

/// Where a buffer lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Byte offset in the arena: states, temporaries, event lists.
    Arena(u64),
    /// Byte offset in the constant pool.
    Consts(u64),
    /// Index into the table of host arrays (inputs, outputs, probes in buffer order).
    Host(u32),
}

/// Where an event list lies in the arena.
///
/// Slot s of a list starts at `indices + s * stride` with room for `len` indices (`u32`); part p's chunk of a slot begins
/// at the element whose number is the first index of p's range of [`super::EventList::extent`]. Counts are `u32`, at
/// `counts + 4 * (s * parts + p)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListPlace {
    /// Byte offset of slot 0's indices.
    pub indices: u64,
    /// Bytes from one slot to the next.
    pub stride: u64,
    /// Byte offset of the counts.
    pub counts: u64,
}

/// Byte offsets of everything a program touches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// One per buffer.
    pub buffers: Vec<Place>,
    /// One per list. Indices are `u32`.
    pub lists: Vec<ListPlace>,
    /// Size of the arena in bytes.
    pub arena_bytes: u64,
    /// Size of the constant pool in bytes.
    pub const_bytes: u64,
    /// The buffers behind the host table, in order.
    pub host: Vec<BufId>,
}

impl Layout {
    /// Lays a program out. `None` if a size overflows 64 bits.
    pub fn of(program: &Program) -> Option<Layout> {
        Layout::spaced(program, ALIGN, SLACK)
    }

    /// As [`Layout::of`], where buffers lie at multiples of `align` bytes, with so many bytes free behind each. Code in
    /// vectors needs [`ALIGN`] and [`SLACK`]. `None` also if `align` is 0.
    pub fn spaced(program: &Program, align: u64, slack: u64) -> Option<Layout> {
        if align == 0 {
            return None;
        }
        let (mut arena, mut consts) = (0u64, 0u64);
        let place = |top: &mut u64, bytes: u64| -> Option<u64> {
            let at = *top;
            *top = top.checked_add(bytes)?.checked_add(slack)?.checked_next_multiple_of(align)?;
            Some(at)
        };
        let mut buffers = Vec::with_capacity(program.buffers.len());
        let mut host = Vec::new();
        for (k, b) in program.buffers.iter().enumerate() {
            let bytes = b.len.checked_mul(b.elem.size() as u64)?;
            buffers.push(match b.role {
                Role::Const(_) => Place::Consts(place(&mut consts, bytes)?),
                Role::State(_) | Role::Temp => Place::Arena(place(&mut arena, bytes)?),
                Role::Input | Role::Output | Role::Probe { .. } => {
                    host.push(BufId(k as u32));
                    Place::Host(host.len() as u32 - 1)
                }
            });
        }
        let mut lists = Vec::with_capacity(program.lists.len());
        for l in &program.lists {
            let stride = l.len.checked_mul(4)?.checked_add(slack)?.checked_next_multiple_of(align)?;
            let indices = place(&mut arena, stride.checked_mul(u64::from(l.slots))?)?;
            let cells = u64::from(l.slots).checked_mul(u64::from(program.parts.max(1)))?;
            let counts = place(&mut arena, cells.checked_mul(4)?)?;
            lists.push(ListPlace { indices, stride, counts });
        }
        Some(Layout { buffers, lists, arena_bytes: arena, const_bytes: consts, host })
    }

    /// The constant pool's bytes.
    pub fn const_pool(&self, program: &Program) -> Vec<u8> {
        let mut pool = vec![0u8; self.const_bytes as usize];
        self.fill_consts(program, &mut pool);
        pool
    }

    /// Writes the constants into a pool of [`Layout::const_bytes`].
    pub fn fill_consts(&self, program: &Program, pool: &mut [u8]) {
        for (b, place) in program.buffers.iter().zip(&self.buffers) {
            if let (Role::Const(t), Place::Consts(at)) = (&b.role, place) {
                fill(&mut pool[*at as usize..], b.elem, b.len, t.bytes());
            }
        }
    }

    /// Writes the state before the first tick into an arena of [`Layout::arena_bytes`]; lists become empty.
    pub fn reset(&self, program: &Program, arena: &mut [u8]) {
        for (b, place) in program.buffers.iter().zip(&self.buffers) {
            if let (Role::State(t), Place::Arena(at)) = (&b.role, place) {
                fill(&mut arena[*at as usize..], b.elem, b.len, t.bytes());
            }
        }
        for (k, l) in program.lists.iter().enumerate() {
            let at = self.lists[k].counts as usize;
            let cells = l.slots as usize * program.parts.max(1) as usize;
            arena[at..at + 4 * cells].fill(0);
        }
    }

    /// The place of a list.
    pub fn list(&self, l: ListId) -> &ListPlace {
        &self.lists[l.index()]
    }
}

/// Copies `data` into `target`, or repeats its single element `len` times.
fn fill(target: &mut [u8], elem: DType, len: u64, data: &[u8]) {
    let (size, len) = (elem.size(), len as usize);
    if data.len() == size && len != 1 {
        for cell in target[..size * len].chunks_exact_mut(size) {
            cell.copy_from_slice(data);
        }
    } else {
        target[..data.len()].copy_from_slice(data);
    }
}

/// What compiled code is given.
#[repr(C)]
#[derive(Debug)]
pub struct RunContext {
    /// The arena, aligned to [`ALIGN`].
    pub arena: *mut u8,
    /// The constant pool, aligned to [`ALIGN`].
    pub consts: *const u8,
    /// One pointer per host array, to the frame of the first tick of this call (for a probe: to the frame of the first
    /// tick of this call that is a multiple of its `every`). Frames follow each other without gaps; output and probe
    /// frames must hold zeros.
    pub host: *const *mut u8,
    /// Number of the first tick.
    pub first_tick: u64,
    /// How many ticks to run.
    pub ticks: u64,
    /// Called by every part between kernels when there is more than one part.
    pub barrier: Option<unsafe extern "C" fn(*mut c_void)>,
    /// Given to `barrier`.
    pub barrier_arg: *mut c_void,
    /// What [`Code::data`] gave; compiled code does not read it.
    pub data: *const c_void,
}

/// Runs `ticks` ticks as part `part`. All parts must be called at the same time with the same context.
pub type EntryPoint = unsafe extern "C" fn(context: *const RunContext, part: u64);

/// Machine code for a program, ready to run, together with the memory it lives in.
pub trait Code: Send + Sync {
    /// The entry point; valid as long as `self` lives.
    fn entry(&self) -> EntryPoint;

    /// What the entry point finds in [`RunContext::data`]. Compiled code needs nothing there; the interpreter finds its
    /// program. Valid as long as `self` lives and stays where it is.
    fn data(&self) -> *const c_void {
        std::ptr::null()
    }

    /// What went wrong in a run since the last call, if this code can tell. Compiled code cannot.
    fn take_fault(&self) -> Option<String> {
        None
    }
}

/// A host array of a [`Batch`].
#[derive(Debug)]
pub enum Array<'a> {
    /// Frames of an input.
    Read(&'a [u8]),
    /// Frames of an output or probe, which hold zeros.
    Written(&'a mut [u8]),
}

/// What a [`Remote`] is to run: all samples of a run, for some ticks.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Tells those apart whose state a remote keeps. Not used again for another.
    pub owner: u64,
    /// Whether the arenas are to be taken from `arenas`: before the first call, and when they were written since the last.
    pub changed: bool,
    /// The arenas, sample s at `s * stride`.
    pub arenas: &'a [u8],
    /// Bytes from one sample's arena to the next, a multiple of [`ALIGN`].
    pub stride: u64,
    /// How many samples, at least 1.
    pub samples: u64,
    /// The constant pool, the same in all calls.
    pub consts: &'a [u8],
    /// The host arrays in the order of [`Layout::host`]: frames as [`RunContext::host`] has them, `[frame][sample]`.
    pub host: &'a mut [Array<'a>],
    /// Number of the first tick.
    pub first_tick: u64,
    /// How many ticks.
    pub ticks: u64,
}

/// A program on a machine with memory of its own, which runs many samples in a call and keeps their state from call to
/// call.
pub trait Remote: Send + Sync {
    /// Runs ticks of samples, whose state is then in the remote's memory.
    ///
    /// # Errors
    /// What the machine failed at, or that it cannot run so much. The state of these samples is lost.
    fn run(&self, batch: Batch<'_>) -> Result<(), Diagnostic>;

    /// Copies the state of an owner's samples out, as [`Batch::arenas`].
    ///
    /// # Errors
    /// If the machine failed or knows no state of this owner.
    fn fetch(&self, owner: u64, arenas: &mut [u8]) -> Result<(), Diagnostic>;

    /// Forgets the state of an owner.
    fn forget(&self, owner: u64);

    /// Seconds that the machine was at work in the last call, if it measures that.
    fn seconds(&self) -> Option<f64> {
        None
    }
}
