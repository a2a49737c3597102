//! The places of what is not zero in a row, eight elements at a time: a table says for each set of lanes how they are
//! brought together, so that nothing depends on how many there are but where the next ones go.

use super::assemble::Code;
use super::vex::{CMPPS, Gpr, If, Mem, PADDD, PCMPGTD, PMOVZXBD, Rm, Text, XORPS, Ymm};
use super::{Elem, LANES};

const FRAME: Gpr = Gpr(7);
const END: Gpr = Gpr(6);
const COUNTER: Gpr = Gpr(0);
const MASK: Gpr = Gpr(1);
const SET: Gpr = Gpr(2);
const COUNT: Gpr = Gpr(8);
const FROM: Gpr = Gpr(9);
const TO: Gpr = Gpr(10);
const TABLE: Gpr = Gpr(11);

/// Byte offsets in the frame: where the elements are, where their places go, how many there are, first before the call and
/// then after it.
pub(crate) const FRAME_FROM: i32 = 0;
pub(crate) const FRAME_TO: i32 = 8;
pub(crate) const FRAME_COUNT: i32 = 16;
const FRAME_BYTES: u32 = 24;

/// For each set of lanes those that are in it, one after the other, as bytes; then zeros.
fn table() -> Vec<[u32; 8]> {
    let mut bytes = Vec::with_capacity(256 * LANES as usize);
    for set in 0..256u32 {
        let first = bytes.len();
        bytes.extend((0..8u8).filter(|lane| set >> lane & 1 == 1));
        bytes.resize(first + LANES as usize, 0);
    }
    let word = |b: &[u8]| b.iter().rev().fold(0, |w, x| w << 8 | u32::from(*x));
    let row = |b: &[u8]| {
        let mut words = [0; 8];
        for (w, b) in words.iter_mut().zip(b.chunks_exact(4)) {
            *w = word(b);
        }
        words
    };
    bytes.chunks_exact(32).map(row).collect()
}

/// A function of a frame and the number of elements, a positive multiple of eight. It writes the places of those that are
/// not zero as 32-bit numbers one behind the other, and up to eight that say nothing behind the last.
pub(crate) fn listing(elem: Elem) -> Option<Code> {
    let mut pool = table();
    let eights = pool.len() as u32;
    pool.push([LANES as u32; 8]);
    // The number of the first of the eight in all lanes of one register.
    let (x, places, first, zero) = (Ymm(0), Ymm(1), Ymm(2), Ymm(3));
    let mut t = Text::default();
    t.load64(FROM, Mem::At(FRAME, FRAME_FROM));
    t.load64(TO, Mem::At(FRAME, FRAME_TO));
    t.load64(COUNT, Mem::At(FRAME, FRAME_COUNT));
    t.address_of(TABLE, Mem::Pool(0));
    t.binary(XORPS, first, first, Rm::Reg(first), None);
    t.binary(XORPS, zero, zero, Rm::Reg(zero), None);
    t.zero(COUNTER);
    let top = t.label();
    t.bind(top);
    let elements = Rm::Mem(Mem::Row(FROM, COUNTER, elem.shift(), 0));
    match elem {
        // Not equal, or not comparable.
        Elem::Word => t.binary(CMPPS, x, zero, elements, Some(4)),
        Elem::Bool => {
            t.unary(PMOVZXBD, x, elements, None);
            t.binary(PCMPGTD, x, x, Rm::Reg(zero), None);
        }
        Elem::I16 | Elem::U16 | Elem::I8 | Elem::U8 => return None,
    }
    t.movmsk(MASK, x);
    t.count_ones(SET, MASK);
    t.unary(PMOVZXBD, places, Rm::Mem(Mem::Row(TABLE, MASK, 3, 0)), None);
    t.binary(PADDD, places, places, Rm::Reg(first), None);
    t.binary(PADDD, first, first, Rm::Mem(Mem::Pool(eights)), None);
    t.store(Mem::Row(TO, COUNT, 2, 0), places);
    t.add_register(COUNT, SET);
    t.add(COUNTER, LANES as i8);
    t.compare(COUNTER, END);
    t.jump(If::Below, top);
    t.store64(Mem::At(FRAME, FRAME_COUNT), COUNT);
    t.vzeroupper();
    t.ret();
    let (bytes, listing) = t.finish(&pool);
    Some(Code { bytes, listing, frame: FRAME_BYTES })
}
