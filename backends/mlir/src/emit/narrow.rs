//! Element types that are narrower than a register, in terms of the scalar operations.

use super::{Cell, Emitter};
use nc_ir::kernel::{Emit, Scalar, ScalarOp};

impl<'c> Emitter<'c, '_> {
    fn bits(&mut self, k: u32) -> Cell<'c> {
        self.constant(Scalar::I32(k as i32))
    }

    fn float(&mut self, bits: u32) -> Cell<'c> {
        self.constant(Scalar::F32(f32::from_bits(bits)))
    }

    /// binary16 (zero-extended to `i32`) to binary32: the exponent is moved by a multiplication with 2^112, which is
    /// exact and makes subnormals normal; exponents of all ones stay that way.
    pub(super) fn f16_to_f32(&mut self, h: Cell<'c>) -> Cell<'c> {
        let k1 = self.bits(0x7fff);
        let magnitude = self.op(ScalarOp::And, &[h, k1]);
        let k2 = self.bits(13);
        let shifted = self.op(ScalarOp::Shl, &[magnitude, k2]);
        let small = self.op(ScalarOp::BitsF32, &[shifted]);
        let k3 = self.float(0x7780_0000);
        let scaled = self.op(ScalarOp::FMul, &[small, k3]);
        let scaled = self.op(ScalarOp::F32Bits, &[scaled]);
        let k4 = self.bits(0x7bff);
        let special = self.op(ScalarOp::IGt, &[magnitude, k4]);
        let k5 = self.bits(0x7f80_0000);
        let ones = self.op(ScalarOp::Or, &[shifted, k5]);
        let bits = self.op(ScalarOp::Select, &[special, ones, scaled]);
        let k6 = self.bits(0x8000);
        let sign = self.op(ScalarOp::And, &[h, k6]);
        let k7 = self.bits(16);
        let sign = self.op(ScalarOp::Shl, &[sign, k7]);
        let bits = self.op(ScalarOp::Or, &[bits, sign]);
        self.op(ScalarOp::BitsF32, &[bits])
    }

    /// binary32 to binary16, rounded to nearest even, in the low half of an `i32` whose upper half is 0.
    ///
    /// Results that are subnormal come from adding 1/2, whose last place is that of the subnormals; normal ones from
    /// adding half of the last place less one, plus the last bit kept; from 2^16 on it is infinity, or a quiet NaN.
    pub(super) fn f32_to_f16(&mut self, x: Cell<'c>) -> Cell<'c> {
        let bits = self.op(ScalarOp::F32Bits, &[x]);
        let k1 = self.bits(0x7fff_ffff);
        let a = self.op(ScalarOp::And, &[bits, k1]);
        let magnitude = self.op(ScalarOp::BitsF32, &[a]);
        let k2 = self.float(0x3f00_0000);
        let tiny = self.op(ScalarOp::FAdd, &[magnitude, k2]);
        let tiny = self.op(ScalarOp::F32Bits, &[tiny]);
        let k3 = self.bits(0x3f00_0000);
        let tiny = self.op(ScalarOp::ISub, &[tiny, k3]);
        let k4 = self.bits(13);
        let odd = self.op(ScalarOp::ShrU, &[a, k4]);
        let k5 = self.bits(1);
        let odd = self.op(ScalarOp::And, &[odd, k5]);
        let k6 = self.bits(0xc800_0fff);
        let normal = self.op(ScalarOp::IAdd, &[a, k6]);
        let normal = self.op(ScalarOp::IAdd, &[normal, odd]);
        let k7 = self.bits(13);
        let normal = self.op(ScalarOp::ShrU, &[normal, k7]);
        let k8 = self.bits(0x7f80_0000);
        let nan = self.op(ScalarOp::IGt, &[a, k8]);
        let k9 = self.bits(0x7e00);
        let k10 = self.bits(0x7c00);
        let large = self.op(ScalarOp::Select, &[nan, k9, k10]);
        let k11 = self.bits(0x3880_0000);
        let is_tiny = self.op(ScalarOp::ILt, &[a, k11]);
        let r = self.op(ScalarOp::Select, &[is_tiny, tiny, normal]);
        let k12 = self.bits(0x477f_ffff);
        let is_large = self.op(ScalarOp::IGt, &[a, k12]);
        let r = self.op(ScalarOp::Select, &[is_large, large, r]);
        let k13 = self.bits(16);
        let sign = self.op(ScalarOp::ShrU, &[bits, k13]);
        let k14 = self.bits(0x8000);
        let sign = self.op(ScalarOp::And, &[sign, k14]);
        self.op(ScalarOp::Or, &[r, sign])
    }

    /// bfloat16 (in the low half of an `i32`) to binary32.
    pub(super) fn bf16_to_f32(&mut self, h: Cell<'c>) -> Cell<'c> {
        let k1 = self.bits(16);
        let bits = self.op(ScalarOp::Shl, &[h, k1]);
        self.op(ScalarOp::BitsF32, &[bits])
    }

    /// binary32 to bfloat16, rounded to nearest even, in the low half of an `i32` whose upper half is 0.
    pub(super) fn f32_to_bf16(&mut self, x: Cell<'c>) -> Cell<'c> {
        let bits = self.op(ScalarOp::F32Bits, &[x]);
        let k1 = self.bits(16);
        let high = self.op(ScalarOp::ShrU, &[bits, k1]);
        let k2 = self.bits(1);
        let odd = self.op(ScalarOp::And, &[high, k2]);
        let k3 = self.bits(0x7fff);
        let sum = self.op(ScalarOp::IAdd, &[bits, k3]);
        let sum = self.op(ScalarOp::IAdd, &[sum, odd]);
        let k4 = self.bits(16);
        let rounded = self.op(ScalarOp::ShrU, &[sum, k4]);
        let nan = self.op(ScalarOp::FUno, &[x, x]);
        let k5 = self.bits(0x40);
        let quiet = self.op(ScalarOp::Or, &[high, k5]);
        self.op(ScalarOp::Select, &[nan, quiet, rounded])
    }
}
