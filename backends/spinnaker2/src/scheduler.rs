//! The program of a core around its kernels: start-up, the tick, packets in, packets out.
//!
//! It is the same for all cores and reads tables ([`Word`]) that the image of the core holds. A core sleeps until it
//! is woken. When its slot begins it runs its kernels on frames, then clears the frames it has read; in the second
//! part of the slot it sends every element of its results that is not zero. At any other time it takes packets from
//! the ring into frames. The order of packets does not matter, since each has an element of its own.

use crate::registers as reg;
use nc_armv7em::assemble::{AssembleError, Assembler, Cond, LR, Label, R, Size};

/// Words of a core's first table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Word {
    /// Address of the kernels with bit 0 set, or 0.
    Entry,
    /// First argument of the kernels.
    Context,
    /// Address of the low word of the tick's number.
    Tick,
    /// Number of entries of `Sends`.
    SendCount,
    /// Address of what is sent: [`SEND_WORDS`] each.
    Sends,
    /// Number of entries of `Receives`.
    ReceiveCount,
    /// Address of what is received: [`RECEIVE_WORDS`] each.
    Receives,
    /// Number of entries of `Clears`.
    ClearCount,
    /// Address of frames to clear after the kernels: address and quarters of 16 bytes.
    Clears,
    /// Number of entries of `Sent`.
    SentCount,
    /// Address of frames to clear after sending.
    Sent,
    /// Number of entries of `Swaps`.
    SwapCount,
    /// Address of pairs of frames to exchange after the kernels: two addresses of pointers, and quarters to clear.
    Swaps,
    /// First entry of the ring.
    FifoFirst,
    /// One past its end.
    FifoEnd,
    /// The next entry to take.
    FifoAt,
    /// Bytes of an entry.
    FifoStep,
    /// Packets whose keys the core does not know.
    Stray,
    /// Words of this table.
    Count,
}

/// Frame, elements (of a `bool` frame: words), first key, kind.
pub const SEND_WORDS: u32 = 4;
/// First key, number of keys, shift, elements of the smaller parts less the keys of a part, number of larger parts,
/// elements of a row, first element of the frame, elements of the frame, frame, kind.
pub const RECEIVE_WORDS: u32 = 10;
/// Number of the frame's word in an entry of `Receives`.
pub const RECEIVE_FRAME: u32 = 8;
/// Bytes of the vector table before the program: stack pointer and start.
pub const VECTORS: u32 = 8;

const TABLE: R = R(4);
const REGS: R = R(5);

/// The program for a core whose first table stands at `table`, to lie at [`VECTORS`]; the vector table is before it.
///
/// # Errors
/// Never, as far as we know; what the assembler refuses.
pub fn program(table: u32, stack_top: u32) -> Result<Vec<u8>, AssembleError> {
    let mut a = Assembler::new();
    let word = |a: &mut Assembler, rt: R, w: Word| a.load(Size::Word, rt, TABLE, 4 * w as u32);
    // The floating-point unit is on.
    a.constant(R(0), reg::CPACR);
    a.constant(R(1), 0x00f0_0000);
    a.store(Size::Word, R(1), R(0), 0);
    a.constant(TABLE, table);
    a.constant(REGS, reg::BASE);
    let (compute, send) = (a.label(), a.label());
    let clear = a.label();
    let sleep = a.here();
    a.wfi();
    a.load(Size::Word, R(0), REGS, reg::PHASE);
    a.cmp_imm(R(0), reg::COMPUTE as u8);
    a.b_if(Cond::Eq, compute);
    a.cmp_imm(R(0), reg::SEND as u8);
    a.b_if(Cond::Eq, send);
    receive(&mut a, sleep);

    a.place(compute);
    let done = a.label();
    word(&mut a, R(12), Word::Entry);
    a.cmp_imm(R(12), 0);
    a.b_if(Cond::Eq, done);
    // The context, and part 0 in 64 bits.
    word(&mut a, R(0), Word::Context);
    a.constant(R(2), 0);
    a.constant(R(3), 0);
    a.blx(R(12));
    // The next tick.
    word(&mut a, R(0), Word::Tick);
    a.load(Size::Word, R(1), R(0), 0);
    a.add_imm(R(1), R(1), 1);
    a.store(Size::Word, R(1), R(0), 0);
    a.cmp_imm(R(1), 0);
    a.b_if(Cond::Ne, done);
    a.load(Size::Word, R(1), R(0), 4);
    a.add_imm(R(1), R(1), 1);
    a.store(Size::Word, R(1), R(0), 4);
    a.place(done);
    word(&mut a, R(6), Word::Clears);
    word(&mut a, R(7), Word::ClearCount);
    a.bl(clear);
    swap(&mut a, sleep);

    a.place(send);
    sends(&mut a);
    word(&mut a, R(6), Word::Sent);
    word(&mut a, R(7), Word::SentCount);
    a.bl(clear);
    a.b(sleep);

    // Clears the r7 frames of the list at r6.
    a.place(clear);
    let (next, fill, end) = (a.here(), a.label(), a.label());
    a.cmp_imm(R(7), 0);
    a.b_if(Cond::Eq, end);
    a.load(Size::Word, R(0), R(6), 0);
    a.load(Size::Word, R(1), R(6), 4);
    a.constant(R(2), 0);
    a.add_imm(R(6), R(6), 8);
    a.sub_imm(R(7), R(7), 1);
    a.place(fill);
    a.cmp_imm(R(1), 0);
    a.b_if(Cond::Eq, next);
    for k in 0..4 {
        a.store(Size::Word, R(2), R(0), 4 * k);
    }
    a.add_imm(R(0), R(0), 16);
    a.sub_imm(R(1), R(1), 1);
    a.b(fill);
    a.place(end);
    a.bx(LR);

    let code = a.finish()?;
    let mut out = Vec::with_capacity(code.len() + VECTORS as usize);
    out.extend(stack_top.to_le_bytes());
    out.extend((VECTORS | 1).to_le_bytes());
    out.extend(code);
    Ok(out)
}

/// Exchanges the frames that are read with those that were filled meanwhile.
fn swap(a: &mut Assembler, sleep: Label) {
    a.load(Size::Word, R(8), TABLE, 4 * Word::Swaps as u32);
    a.load(Size::Word, R(9), TABLE, 4 * Word::SwapCount as u32);
    let next = a.here();
    a.cmp_imm(R(9), 0);
    a.b_if(Cond::Eq, sleep);
    a.load(Size::Word, R(0), R(8), 0);
    a.load(Size::Word, R(1), R(8), 4);
    a.load(Size::Word, R(2), R(0), 0);
    a.load(Size::Word, R(3), R(1), 0);
    a.store(Size::Word, R(3), R(0), 0);
    a.store(Size::Word, R(2), R(1), 0);
    // What was read is cleared.
    a.load(Size::Word, R(1), R(8), 8);
    a.constant(R(3), 0);
    let (fill, filled) = (a.here(), a.label());
    a.cmp_imm(R(1), 0);
    a.b_if(Cond::Eq, filled);
    for k in 0..4 {
        a.store(Size::Word, R(3), R(2), 4 * k);
    }
    a.add_imm(R(2), R(2), 16);
    a.sub_imm(R(1), R(1), 1);
    a.b(fill);
    a.place(filled);
    a.add_imm(R(8), R(8), 12);
    a.sub_imm(R(9), R(9), 1);
    a.b(next);
}

fn sends(a: &mut Assembler) {
    let (frame, left, key) = (R(0), R(1), R(2));
    a.load(Size::Word, R(6), TABLE, 4 * Word::Sends as u32);
    a.load(Size::Word, R(7), TABLE, 4 * Word::SendCount as u32);
    let (end, bits) = (a.label(), a.label());
    let kinds = [a.label(), a.label(), a.label(), a.label()];
    let next = a.here();
    a.cmp_imm(R(7), 0);
    a.b_if(Cond::Eq, end);
    a.load(Size::Word, frame, R(6), 0);
    a.load(Size::Word, left, R(6), 4);
    a.load(Size::Word, key, R(6), 8);
    a.load(Size::Word, R(3), R(6), 12);
    a.add_imm(R(6), R(6), 4 * SEND_WORDS);
    a.sub_imm(R(7), R(7), 1);
    a.cmp_imm(R(3), 0);
    a.b_if(Cond::Eq, bits);
    for (k, l) in kinds.iter().enumerate() {
        a.cmp_imm(R(3), k as u8 + 1);
        a.b_if(Cond::Eq, *l);
    }
    a.b(next);

    // Four spikes at a time.
    a.place(bits);
    let (word, some) = (a.here(), a.label());
    a.cmp_imm(left, 0);
    a.b_if(Cond::Eq, next);
    a.load(Size::Word, R(8), frame, 0);
    a.add_imm(frame, frame, 4);
    a.sub_imm(left, left, 1);
    a.cmp_imm(R(8), 0);
    a.b_if(Cond::Ne, some);
    a.add_imm(key, key, 4);
    a.b(word);
    a.place(some);
    for k in 0..4u8 {
        let silent = a.label();
        a.lsl(R(9), R(8), 24 - 8 * k);
        a.lsr(R(9), R(9), 24);
        a.cmp_imm(R(9), 0);
        a.b_if(Cond::Eq, silent);
        a.store(Size::Word, key, REGS, reg::TX_SEND);
        a.place(silent);
        a.add_imm(key, key, 1);
    }
    a.b(word);

    for (k, l) in kinds.into_iter().enumerate() {
        a.place(l);
        let element = a.here();
        let zero = a.label();
        a.cmp_imm(left, 0);
        a.b_if(Cond::Eq, next);
        let size = [Size::Byte, Size::Half, Size::Word, Size::Word][k];
        a.load(size, R(8), frame, 0);
        if k == 3 {
            a.load(Size::Word, R(9), frame, 4);
            a.or(R(10), R(8), R(9));
            a.cmp_imm(R(10), 0);
        } else {
            a.cmp_imm(R(8), 0);
        }
        a.b_if(Cond::Eq, zero);
        a.store(Size::Word, R(8), REGS, reg::TX_DATA0);
        if k == 3 {
            a.store(Size::Word, R(9), REGS, reg::TX_DATA1);
        }
        a.store(Size::Word, key, REGS, if k == 3 { reg::TX_SEND64 } else { reg::TX_SEND32 });
        a.place(zero);
        a.add_imm(frame, frame, 1 << k);
        a.add_imm(key, key, 1);
        a.sub_imm(left, left, 1);
        a.b(element);
    }
    a.place(end);
}

/// Takes packets until none waits.
///
/// This is where a core spends its time when much is sent, so loads stand side by side, which the core pipelines.
fn receive(a: &mut Assembler, sleep: Label) {
    let (waiting, packet, key, entry, left, known) = (R(6), R(7), R(8), R(9), R(10), R(11));
    let (frame, at) = (R(1), R(0));
    let table = |w: Word| 4 * w as u32;
    let again = a.here();
    a.load(Size::Word, waiting, REGS, reg::RX_COUNT);
    a.load(Size::Word, packet, TABLE, table(Word::FifoAt));
    a.cmp_imm(waiting, 0);
    a.b_if(Cond::Eq, sleep);
    let next = a.here();
    a.load(Size::Word, key, packet, 0);
    a.load(Size::Word, entry, TABLE, table(Word::Receives));
    a.load(Size::Word, left, TABLE, table(Word::ReceiveCount));
    a.constant(known, 0);
    let (look, taken, other, elsewhere) = (a.label(), a.label(), a.label(), a.label());
    a.cmp_imm(left, 0);
    a.b_if(Cond::Eq, taken);
    a.place(look);
    a.load(Size::Word, at, entry, 0);
    a.load(Size::Word, R(1), entry, 4);
    a.load(Size::Word, R(2), entry, 8);
    a.load(Size::Word, R(3), entry, 12);
    a.sub(at, key, at);
    a.cmp(at, R(1));
    a.b_if(Cond::Hs, other);
    a.constant(known, 1);
    // The part; what the keys of the parts before it have more than their elements is taken off.
    a.lsr_by(R(12), at, R(2));
    a.mla(at, R(12), R(3), at);
    a.load(Size::Word, R(1), entry, 16);
    a.load(Size::Word, R(2), entry, 20);
    a.load(Size::Word, R(3), entry, 24);
    a.load(Size::Word, LR, entry, 28);
    let more = a.label();
    a.cmp(R(12), R(1));
    a.b_if(Cond::Hi, more);
    a.mov(R(1), R(12));
    a.place(more);
    a.mla(at, R(1), R(2), at);
    a.sub(at, at, R(3));
    a.cmp(at, LR);
    a.b_if(Cond::Hs, other);
    a.load(Size::Word, frame, entry, 4 * RECEIVE_FRAME);
    a.load(Size::Word, R(2), entry, 36);
    a.load(Size::Word, R(3), packet, 4);
    a.cmp_imm(R(2), 0);
    a.b_if(Cond::Ne, elsewhere);
    a.constant(R(3), 1);
    a.store_at(Size::Byte, R(3), frame, at, 0);
    a.place(other);
    a.add_imm(entry, entry, 4 * RECEIVE_WORDS);
    a.sub_imm(left, left, 1);
    a.cmp_imm(left, 0);
    a.b_if(Cond::Ne, look);
    a.place(taken);
    let (stray, expected, inside) = (a.label(), a.label(), a.label());
    a.cmp_imm(known, 0);
    a.b_if(Cond::Eq, stray);
    a.place(expected);
    a.load(Size::Word, R(1), TABLE, table(Word::FifoStep));
    a.load(Size::Word, R(2), TABLE, table(Word::FifoEnd));
    a.add(packet, packet, R(1));
    a.cmp(packet, R(2));
    a.b_if(Cond::Lo, inside);
    a.load(Size::Word, packet, TABLE, table(Word::FifoFirst));
    a.place(inside);
    a.store(Size::Word, packet, TABLE, table(Word::FifoAt));
    a.store(Size::Word, waiting, REGS, reg::RX_POP);
    a.sub_imm(waiting, waiting, 1);
    a.cmp_imm(waiting, 0);
    a.b_if(Cond::Ne, next);
    a.b(again);

    a.place(stray);
    a.load(Size::Word, R(0), TABLE, table(Word::Stray));
    a.add_imm(R(0), R(0), 1);
    a.store(Size::Word, R(0), TABLE, table(Word::Stray));
    a.b(expected);

    // Payloads; words first, which are most frequent.
    a.place(elsewhere);
    let kinds = [a.label(), a.label(), a.label(), a.label()];
    for k in [2, 3, 1, 0] {
        a.cmp_imm(R(2), k as u8 + 1);
        a.b_if(Cond::Eq, kinds[k]);
    }
    a.b(other);
    for (k, l) in kinds.into_iter().enumerate() {
        a.place(l);
        if k == 3 {
            a.lsl(at, at, 3);
            a.add(frame, frame, at);
            a.store(Size::Word, R(3), frame, 0);
            a.load(Size::Word, R(3), packet, 8);
            a.store(Size::Word, R(3), frame, 4);
        } else {
            let size = [Size::Byte, Size::Half, Size::Word][k];
            a.store_at(size, R(3), frame, at, k as u8);
        }
        a.b(other);
    }
}
