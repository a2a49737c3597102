//! Watches the promises that a program makes and a backend relies on: parts of a kernel and iterations of a vector loop
//! do not touch what another of them writes, and temporaries are written before they are read in every tick.

use crate::kernel::program::{BufId, ListId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Something that is read or written as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    /// An element of a buffer.
    Element(BufId, i64),
    /// A part's chunk of a slot.
    Chunk(ListId, u64, u32),
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Element(b, at) => write!(f, "{b}[{at}]"),
            Cell::Chunk(l, slot, part) => write!(f, "slot {slot} of {l}, chunk {part},"),
        }
    }
}

/// How a cell is touched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read.
    Read,
    /// Written.
    Write,
    /// Appended to: the order among those who append is kept, so they do not disturb each other.
    Append,
}

/// Who of several that may run in any order touched a cell.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Who {
    #[default]
    Nobody,
    One(i64),
    Several,
}

impl Who {
    fn add(&mut self, who: i64) {
        *self = match *self {
            Who::Nobody => Who::One(who),
            Who::One(other) if other == who => Who::One(who),
            Who::One(_) | Who::Several => Who::Several,
        };
    }

    fn other_than(self, who: i64) -> bool {
        match self {
            Who::Nobody => false,
            Who::One(other) => other != who,
            Who::Several => true,
        }
    }
}

#[derive(Default)]
struct Touched {
    readers: Who,
    writers: Who,
}

/// The accesses of those who may run in any order: the parts of a kernel, or the iterations of a vector loop.
#[derive(Default)]
struct Ledger {
    cells: FxHashMap<Cell, Touched>,
    /// Whose turn it is.
    who: i64,
}

impl Ledger {
    fn touch(&mut self, cell: Cell, access: Access) -> bool {
        let (who, t) = (self.who, self.cells.entry(cell).or_default());
        match access {
            Access::Read => t.readers.add(who),
            Access::Write | Access::Append => t.writers.add(who),
        }
        match access {
            Access::Read => t.writers.other_than(who),
            Access::Write => t.writers.other_than(who) || t.readers.other_than(who),
            Access::Append => t.readers.other_than(who),
        }
    }
}

/// The promises of one run, kept up to date by the interpreter.
#[derive(Default)]
pub(super) struct Watch {
    parts: Ledger,
    loops: Vec<Ledger>,
    /// Elements of temporaries that were written in this tick.
    written: FxHashSet<(BufId, i64)>,
}

impl Watch {
    /// A tick begins.
    pub(super) fn tick(&mut self) {
        self.written.clear();
    }

    /// A kernel begins.
    pub(super) fn kernel(&mut self) {
        self.parts.cells.clear();
        self.loops.clear();
    }

    /// A part of the kernel begins.
    pub(super) fn part(&mut self, part: u32) {
        self.parts.who = i64::from(part);
        self.loops.clear();
    }

    /// A vector loop begins.
    pub(super) fn enter(&mut self) {
        self.loops.push(Ledger::default());
    }

    /// An iteration of the innermost vector loop begins.
    pub(super) fn iteration(&mut self, var: i64) {
        if let Some(l) = self.loops.last_mut() {
            l.who = var;
        }
    }

    /// The innermost vector loop ends.
    pub(super) fn leave(&mut self) {
        self.loops.pop();
    }

    /// Notes an access; an error if it breaks a promise.
    pub(super) fn touch(&mut self, cell: Cell, access: Access, temp: bool) -> Result<(), String> {
        let verb = match access {
            Access::Read => "reads",
            Access::Write => "writes",
            Access::Append => "appends to",
        };
        if let (Cell::Element(buf, at), true) = (cell, temp) {
            match access {
                Access::Read if !self.written.contains(&(buf, at)) => {
                    return Err(format!("{cell} is read before it is written in this tick"));
                }
                Access::Read => {}
                Access::Write | Access::Append => {
                    self.written.insert((buf, at));
                }
            }
        }
        if self.parts.touch(cell, access) {
            return Err(format!("a part {verb} {cell} that another part touches in the same kernel"));
        }
        if self.loops.iter_mut().any(|l| l.touch(cell, access)) {
            return Err(format!("an iteration of a vector loop {verb} {cell} that another iteration touches"));
        }
        Ok(())
    }
}
