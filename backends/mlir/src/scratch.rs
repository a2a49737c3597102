//! Memory that the threads of a block share.

/// Cells of the table in which threads claim what they will write: a power of two.
pub(crate) const CLAIMS: u32 = 2048;

/// Most pushes of a vector loop that threads do together.
pub(crate) const PUSHES: usize = 4;

/// Iterations of a vector loop that pushes that each thread does before what is pushed is listed.
pub(crate) const ROUNDS: i64 = 16;

/// Words of bits that one thread counts.
pub(crate) const GROUP: i64 = 32;

// Without code that is written there is nobody to ask where anything lies, but for how much it is in all.
#[cfg_attr(not(feature = "llvm"), expect(dead_code, reason = "read where code is written"))]
/// Byte offsets. All numbers have 32 bits but `begins`, which has 64.
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// A table of `CLAIMS` numbers of threads; all bits set where there is no claim.
    pub claims: i64,
    /// Where sums end: as many numbers as there are parts or threads, and one more.
    pub ends: i64,
    /// Where parts of lists begin among all events: as many numbers as there are parts, and one more.
    pub parts: i64,
    /// Events, one for each thread.
    pub events: i64,
    /// Where what an event leads to begins, for each thread.
    pub begins: i64,
    /// A bit for each thread in each of [`ROUNDS`], for each push. No bit is set outside of loops that push.
    pub bits: [i64; PUSHES],
    /// Words of 32 bits of a round.
    pub words: i64,
    /// Groups of [`GROUP`] words.
    pub groups: i64,
    /// How many bits are set in each group, for each push.
    pub sums: [i64; PUSHES],
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
        let ends = take(4 * longest);
        let parts = take(4 * (parts + 1));
        let events = take(4 * threads);
        let groups = (words * ROUNDS + GROUP - 1) / GROUP;
        let bits = [0; PUSHES].map(|_| take(4 * groups * GROUP));
        let sums = [0; PUSHES].map(|_| take(4 * groups));
        let flag = take(4);
        Scratch { claims, ends, parts, events, begins, bits, words, groups, sums, flag, bytes: top as u64 }
    }
}
