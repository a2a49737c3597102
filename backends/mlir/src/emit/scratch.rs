//! Memory that the threads of a block share.

use crate::ir::{Ir, V};

/// Cells of the table in which threads claim what they will write: a power of two.
pub(crate) const CLAIMS: u32 = 2048;

/// Most pushes of a vector loop that threads do together.
pub(super) const PUSHES: usize = 8;

/// Byte offsets. All numbers have 32 bits but `begins`, which has 64.
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// A table of `CLAIMS` numbers of threads; all bits set where there is no claim.
    pub claims: i64,
    /// Where sums end: two tables of as many numbers as there are parts or threads, and one more.
    pub ends: [i64; 2],
    /// Where parts of lists begin among all events: as many numbers as there are parts, and one more.
    pub parts: i64,
    /// Events, one for each thread.
    pub events: i64,
    /// Where what an event leads to begins, for each thread.
    pub begins: i64,
    /// A bit for each thread, [`PUSHES`] times.
    pub bits: i64,
    /// Words of 32 bits of each of these.
    pub words: i64,
    /// A flag.
    pub flag: i64,
    /// Bytes of all.
    pub bytes: u64,
}

impl Scratch {
    /// The scratch of a block of so many threads, of a program of so many parts.
    pub fn of(threads: u32, parts: u32) -> Scratch {
        let (threads, parts) = (i64::from(threads), i64::from(parts));
        let mut top = 0;
        let mut take = |bytes: i64| {
            let at = top;
            top += (bytes + 15) / 16 * 16;
            at
        };
        let words = (threads + 31) / 32;
        let begins = take(8 * threads);
        let claims = take(4 * i64::from(CLAIMS));
        let longest = threads.max(parts) + 1;
        let ends = [take(4 * longest), take(4 * longest)];
        let parts = take(4 * (parts + 1));
        let events = take(4 * threads);
        let bits = take(4 * words * PUSHES as i64);
        let flag = take(4);
        Scratch { claims, ends, parts, events, begins, bits, words, flag, bytes: top as u64 }
    }
}

/// Cell `index` of a table of 32-bit numbers at a byte offset.
pub(super) fn cell<'c>(ir: &mut Ir<'c>, base: V<'c>, table: i64, index: V<'c>) -> V<'c> {
    let at = ir.beyond(base, table);
    ir.element(at, ir.types.i32, index)
}
