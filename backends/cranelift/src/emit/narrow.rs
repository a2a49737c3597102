//! Element types that are narrower than a lane, written in terms of the scalar operations so that scalar and vector
//! code share them.

use super::cell::Cell;
use super::{Emitted, Emitter};
use nc_ir::kernel::{Scalar, ScalarOp};

fn int(k: u32) -> Cell {
    Cell::Const(Scalar::I32(k as i32))
}

fn float(bits: u32) -> Cell {
    Cell::Const(Scalar::F32(f32::from_bits(bits)))
}

impl Emitter<'_, '_> {
    /// binary16 (zero-extended to `i32`) to binary32: the exponent is moved by a multiplication with 2^112, which is
    /// exact and makes subnormals normal; exponents of all ones stay that way.
    pub(super) fn f16_to_f32(&mut self, h: Cell) -> Emitted<Cell> {
        let magnitude = self.op(ScalarOp::And, &[h, int(0x7fff)])?;
        let shifted = self.op(ScalarOp::Shl, &[magnitude, int(13)])?;
        let small = self.op(ScalarOp::BitsF32, &[shifted])?;
        let scaled = self.op(ScalarOp::FMul, &[small, float(0x7780_0000)])?;
        let scaled = self.op(ScalarOp::F32Bits, &[scaled])?;
        let special = self.op(ScalarOp::IGt, &[magnitude, int(0x7bff)])?;
        let ones = self.op(ScalarOp::Or, &[shifted, int(0x7f80_0000)])?;
        let bits = self.op(ScalarOp::Select, &[special, ones, scaled])?;
        let sign = self.op(ScalarOp::And, &[h, int(0x8000)])?;
        let sign = self.op(ScalarOp::Shl, &[sign, int(16)])?;
        let bits = self.op(ScalarOp::Or, &[bits, sign])?;
        self.op(ScalarOp::BitsF32, &[bits])
    }

    /// binary32 to binary16, rounded to nearest even, in the low half of an `i32` whose upper half is 0.
    ///
    /// Results that are subnormal come from adding 1/2, whose last place is that of the subnormals; normal ones from
    /// adding half of the last place less one, plus the last bit kept; from 2^16 on it is infinity, or a quiet NaN.
    pub(super) fn f32_to_f16(&mut self, x: Cell) -> Emitted<Cell> {
        let bits = self.op(ScalarOp::F32Bits, &[x])?;
        let a = self.op(ScalarOp::And, &[bits, int(0x7fff_ffff)])?;
        let magnitude = self.op(ScalarOp::BitsF32, &[a])?;
        let tiny = self.op(ScalarOp::FAdd, &[magnitude, float(0x3f00_0000)])?;
        let tiny = self.op(ScalarOp::F32Bits, &[tiny])?;
        let tiny = self.op(ScalarOp::ISub, &[tiny, int(0x3f00_0000)])?;
        let odd = self.op(ScalarOp::ShrU, &[a, int(13)])?;
        let odd = self.op(ScalarOp::And, &[odd, int(1)])?;
        let normal = self.op(ScalarOp::IAdd, &[a, int(0xc800_0fff)])?;
        let normal = self.op(ScalarOp::IAdd, &[normal, odd])?;
        let normal = self.op(ScalarOp::ShrU, &[normal, int(13)])?;
        let nan = self.op(ScalarOp::IGt, &[a, int(0x7f80_0000)])?;
        let large = self.op(ScalarOp::Select, &[nan, int(0x7e00), int(0x7c00)])?;
        let is_tiny = self.op(ScalarOp::ILt, &[a, int(0x3880_0000)])?;
        let r = self.op(ScalarOp::Select, &[is_tiny, tiny, normal])?;
        let is_large = self.op(ScalarOp::IGt, &[a, int(0x477f_ffff)])?;
        let r = self.op(ScalarOp::Select, &[is_large, large, r])?;
        let sign = self.op(ScalarOp::ShrU, &[bits, int(16)])?;
        let sign = self.op(ScalarOp::And, &[sign, int(0x8000)])?;
        self.op(ScalarOp::Or, &[r, sign])
    }

    /// bfloat16 (in the low half of an `i32`) to binary32.
    pub(super) fn bf16_to_f32(&mut self, h: Cell) -> Emitted<Cell> {
        let bits = self.op(ScalarOp::Shl, &[h, int(16)])?;
        self.op(ScalarOp::BitsF32, &[bits])
    }

    /// binary32 to bfloat16, rounded to nearest even, in the low half of an `i32` whose upper half is 0.
    pub(super) fn f32_to_bf16(&mut self, x: Cell) -> Emitted<Cell> {
        let bits = self.op(ScalarOp::F32Bits, &[x])?;
        let high = self.op(ScalarOp::ShrU, &[bits, int(16)])?;
        let odd = self.op(ScalarOp::And, &[high, int(1)])?;
        let sum = self.op(ScalarOp::IAdd, &[bits, int(0x7fff)])?;
        let sum = self.op(ScalarOp::IAdd, &[sum, odd])?;
        let rounded = self.op(ScalarOp::ShrU, &[sum, int(16)])?;
        let nan = self.op(ScalarOp::FUno, &[x, x])?;
        let quiet = self.op(ScalarOp::Or, &[high, int(0x40)])?;
        self.op(ScalarOp::Select, &[nan, quiet, rounded])
    }
}
