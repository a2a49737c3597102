//! Unsigned numbers of 128 bits, as two `i64`.
//!
//! No shift is by as many bits as a half has, or by more: what that gives differs between machines.

use super::expand::mul_high;
use crate::ir::{Cmp, Ir, V};

/// A number of 128 bits.
#[derive(Clone, Copy)]
pub(super) struct Wide<'c> {
    pub high: V<'c>,
    pub low: V<'c>,
}

impl<'c> Wide<'c> {
    /// An `i64`, unsigned.
    pub fn of(ir: &mut Ir<'c>, low: V<'c>) -> Wide<'c> {
        Wide { high: ir.i64(0), low }
    }

    /// The product of two `i64`, unsigned.
    pub fn product(ir: &mut Ir<'c>, x: V<'c>, y: V<'c>) -> Wide<'c> {
        Wide { high: mul_high(ir, x, y), low: ir.mul(x, y) }
    }

    /// `self << by`, by 0 to 127 (an `i64`).
    pub fn left(self, ir: &mut Ir<'c>, by: V<'c>) -> Wide<'c> {
        let (far, m, rest) = Wide::amounts(ir, by);
        let (high, low) = (ir.bin("arith.shli", self.high, m), ir.bin("arith.shli", self.low, m));
        let over = ir.by("arith.shrui", self.low, 1);
        let over = ir.bin("arith.shrui", over, rest);
        let high = ir.bin("arith.ori", high, over);
        let none = ir.i64(0);
        Wide { high: ir.select(far, low, high), low: ir.select(far, none, low) }
    }

    /// `self >> by`, by 0 to 127 (an `i64`).
    pub fn right(self, ir: &mut Ir<'c>, by: V<'c>) -> Wide<'c> {
        let (far, m, rest) = Wide::amounts(ir, by);
        let (high, low) = (ir.bin("arith.shrui", self.high, m), ir.bin("arith.shrui", self.low, m));
        let over = ir.by("arith.shli", self.high, 1);
        let over = ir.bin("arith.shli", over, rest);
        let low = ir.bin("arith.ori", low, over);
        let none = ir.i64(0);
        Wide { high: ir.select(far, none, high), low: ir.select(far, high, low) }
    }

    /// Whether a shift goes from one half into the other as a whole, by how much it moves within a half, and 63 less that.
    fn amounts(ir: &mut Ir<'c>, by: V<'c>) -> (V<'c>, V<'c>, V<'c>) {
        let far = ir.cmp_k(Cmp::Sge, by, 64);
        let m = ir.by("arith.andi", by, 63);
        (far, m, ir.by("arith.xori", m, 63))
    }

    pub fn add(self, ir: &mut Ir<'c>, y: Wide<'c>) -> Wide<'c> {
        let low = ir.add(self.low, y.low);
        let carry = ir.cmp(Cmp::Ult, low, self.low);
        let carry = ir.op("arith.extui", &[carry], ir.types.i64);
        let high = ir.add(self.high, y.high);
        Wide { high: ir.add(high, carry), low }
    }

    pub fn sub(self, ir: &mut Ir<'c>, y: Wide<'c>) -> Wide<'c> {
        let low = ir.bin("arith.subi", self.low, y.low);
        let borrow = ir.cmp(Cmp::Ult, self.low, y.low);
        let borrow = ir.op("arith.extui", &[borrow], ir.types.i64);
        let high = ir.bin("arith.subi", self.high, y.high);
        Wide { high: ir.bin("arith.subi", high, borrow), low }
    }

    /// Whether this is below another.
    pub fn below(self, ir: &mut Ir<'c>, y: Wide<'c>) -> V<'c> {
        let (less, same) = (ir.cmp(Cmp::Ult, self.high, y.high), ir.cmp(Cmp::Eq, self.high, y.high));
        let low = ir.cmp(Cmp::Ult, self.low, y.low);
        let low = ir.bin("arith.andi", same, low);
        ir.bin("arith.ori", less, low)
    }

    /// Whether any bit is set.
    pub fn some(self, ir: &mut Ir<'c>) -> V<'c> {
        let all = ir.bin("arith.ori", self.high, self.low);
        ir.cmp_k(Cmp::Ne, all, 0)
    }

    /// How many bits, an `i64`, come before the first that is set.
    pub fn leading_zeros(self, ir: &mut Ir<'c>) -> V<'c> {
        let (of_high, of_low) = (ir.leading_zeros(self.high), ir.leading_zeros(self.low));
        let of_low = ir.by("arith.addi", of_low, 64);
        let none = ir.cmp_k(Cmp::Eq, self.high, 0);
        ir.select(none, of_low, of_high)
    }

    /// This if a condition holds, else another.
    pub fn select(self, ir: &mut Ir<'c>, condition: V<'c>, y: Wide<'c>) -> Wide<'c> {
        Wide { high: ir.select(condition, self.high, y.high), low: ir.select(condition, self.low, y.low) }
    }

    /// `self >> by` (an `i32`, not negative), the last bit set if others are lost.
    pub fn jam(self, ir: &mut Ir<'c>, by: V<'c>) -> Wide<'c> {
        let by = ir.by("arith.minsi", by, 127);
        let by = ir.op("arith.extui", &[by], ir.types.i64);
        let shifted = self.right(ir, by);
        let back = shifted.left(ir, by);
        let lost = self.sub(ir, back).some(ir);
        let lost = ir.op("arith.extui", &[lost], ir.types.i64);
        Wide { low: ir.bin("arith.ori", shifted.low, lost), ..shifted }
    }
}
