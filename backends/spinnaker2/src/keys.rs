//! Keys: each stream has a block of a power of two, and each of its parts a block in it.
//!
//! Blocks are given out by size, the largest first, so each begins at a multiple of its size and none is wasted between
//! them. What parts have in common in their routes, an entry of a routing table can then say with one mask.

use crate::bundle::Stream;

/// Gives every stream its first key. `None` if the keys do not fit `bits` bits.
pub fn assign(streams: &mut [Stream], bits: u32) -> Option<()> {
    let mut order: Vec<usize> = (0..streams.len()).collect();
    order.sort_by_key(|k| (std::cmp::Reverse(streams[*k].keys), *k));
    let end = 1u64 << bits.min(32);
    let mut at = 0u64;
    for k in order {
        let s = &mut streams[k];
        let next = at.checked_add(s.keys).filter(|n| *n <= end)?;
        s.key = at as u32;
        at = next;
    }
    Some(())
}
