//! Scalar operations.

use super::expand::Helper;
use super::{Emitter, Machine, Side, double};
use crate::ir::{Cmp, V};
use nc_ir::kernel::{Scalar, ScalarOp, ScalarType};

/// Numbers of the comparisons of `arith.cmpf`; those with NaN are false except for `UNE` and `UNO`.
pub(super) mod float {
    pub const OEQ: i64 = 1;
    pub const OGT: i64 = 2;
    pub const OGE: i64 = 3;
    pub const OLT: i64 = 4;
    pub const OLE: i64 = 5;
    pub const UNE: i64 = 13;
    pub const UNO: i64 = 14;
}

impl<'c> Emitter<'c, '_> {
    /// One operation; `ty` is the type of the first operand.
    pub(super) fn scalar_op(&mut self, op: ScalarOp, ty: ScalarType, v: [Option<V<'c>>; 3]) -> V<'c> {
        let [Some(x), y, z] = v else {
            // The caller has checked the operands; a value keeps this total.
            return self.ir.constant(Scalar::Bool(false));
        };
        let (y, z) = (y.unwrap_or(x), z.unwrap_or(x));
        let written = match self.machine {
            Machine::Cpu { small: true } => self.expanded(op, ty, x, y, z),
            Machine::Gpu(Side::Spirv(how)) => self.portable(how, (op, ty), (x, y, z)),
            _ => None,
        };
        if let Some(r) = written {
            return r;
        }
        let own = self.ir.scalar(ty);
        let t = self.ir.types;
        let ptx = self.machine == Machine::Gpu(Side::Ptx);
        let i = &mut self.ir;
        match op {
            ScalarOp::FAdd => i.bin("arith.addf", x, y),
            ScalarOp::FSub => i.bin("arith.subf", x, y),
            ScalarOp::FMul => i.bin("arith.mulf", x, y),
            ScalarOp::FDiv => i.bin("arith.divf", x, y),
            ScalarOp::Fma => self.math(("math.fma", "llvm.fma"), &[x, y, z], own),
            ScalarOp::FNeg => i.op("arith.negf", &[x], own),
            ScalarOp::FAbs => self.math(("math.absf", "llvm.fabs"), &[x], own),
            ScalarOp::FSqrt => self.math(("math.sqrt", "llvm.sqrt"), &[x], own),
            ScalarOp::Floor => self.math(("math.floor", "llvm.floor"), &[x], own),
            ScalarOp::Ceil => self.math(("math.ceil", "llvm.ceil"), &[x], own),
            ScalarOp::Trunc => self.math(("math.trunc", "llvm.trunc"), &[x], own),
            ScalarOp::Nearest => self.math(("math.roundeven", "llvm.roundeven"), &[x], own),
            ScalarOp::FEq => i.cmpf(float::OEQ, x, y),
            ScalarOp::FNe => i.cmpf(float::UNE, x, y),
            ScalarOp::FLt => i.cmpf(float::OLT, x, y),
            ScalarOp::FLe => i.cmpf(float::OLE, x, y),
            ScalarOp::FGt => i.cmpf(float::OGT, x, y),
            ScalarOp::FGe => i.cmpf(float::OGE, x, y),
            ScalarOp::FUno => i.cmpf(float::UNO, x, y),
            ScalarOp::IAdd => i.bin("arith.addi", x, y),
            ScalarOp::ISub => i.bin("arith.subi", x, y),
            ScalarOp::IMul => i.bin("arith.muli", x, y),
            // The code generator of PTX has no products of 128 bits for some that have a constant in them.
            ScalarOp::UMulHi if ptx && own == t.i64 => i.intrinsic("llvm.nvvm.mulhi.ull", &[x, y], own),
            ScalarOp::UMulHi => i.mul_high(x, y, own),
            ScalarOp::IDiv => {
                let (zero, minus, safe) = self.divisor(y);
                let i = &mut self.ir;
                let q = i.bin("arith.divsi", x, safe);
                let none = i.int(own, 0);
                let n = i.bin("arith.subi", none, x);
                let q = i.select(minus, n, q);
                i.select(zero, none, q)
            }
            ScalarOp::IRem => {
                let (_, _, safe) = self.divisor(y);
                self.ir.bin("arith.remsi", x, safe)
            }
            ScalarOp::Shl => self.shift("arith.shli", ty, x, y),
            ScalarOp::ShrS => self.shift("arith.shrsi", ty, x, y),
            ScalarOp::ShrU => self.shift("arith.shrui", ty, x, y),
            ScalarOp::IEq => i.cmp(Cmp::Eq, x, y),
            ScalarOp::INe => i.cmp(Cmp::Ne, x, y),
            ScalarOp::ILt => i.cmp(Cmp::Slt, x, y),
            ScalarOp::ILe => i.cmp(Cmp::Sle, x, y),
            ScalarOp::IGt => i.cmp(Cmp::Sgt, x, y),
            ScalarOp::IGe => i.cmp(Cmp::Sge, x, y),
            ScalarOp::ULt => i.cmp(Cmp::Ult, x, y),
            ScalarOp::And => i.bin("arith.andi", x, y),
            ScalarOp::Or => i.bin("arith.ori", x, y),
            ScalarOp::Xor => i.bin("arith.xori", x, y),
            ScalarOp::Not => i.by("arith.xori", x, -1),
            ScalarOp::Select => i.select(x, y, z),
            ScalarOp::F32ToF64 => i.op("arith.extf", &[x], t.f64),
            ScalarOp::F64ToF32 => i.op("arith.truncf", &[x], t.f32),
            ScalarOp::I32ToF32 | ScalarOp::I64ToF32 => i.op("arith.sitofp", &[x], t.f32),
            ScalarOp::I32ToF64 | ScalarOp::I64ToF64 => i.op("arith.sitofp", &[x], t.f64),
            ScalarOp::F32ToI32 | ScalarOp::F64ToI32 => i.intrinsic("llvm.fptosi.sat", &[x], t.i32),
            ScalarOp::F32ToI64 | ScalarOp::F64ToI64 => i.intrinsic("llvm.fptosi.sat", &[x], t.i64),
            ScalarOp::I32ToI64 => i.op("arith.extsi", &[x], t.i64),
            ScalarOp::U32ToI64 => i.op("arith.extui", &[x], t.i64),
            ScalarOp::I64ToI32 => i.op("arith.trunci", &[x], t.i32),
            ScalarOp::F32Bits => i.op("arith.bitcast", &[x], t.i32),
            ScalarOp::BitsF32 => i.op("arith.bitcast", &[x], t.f32),
            ScalarOp::F64Bits => i.op("arith.bitcast", &[x], t.i64),
            ScalarOp::BitsF64 => i.op("arith.bitcast", &[x], t.f64),
            ScalarOp::BoolToI32 => i.op("arith.extui", &[x], t.i32),
        }
    }

    /// An operation of `math`. The passes for graphics processors make library calls of these, so there it is LLVM's own.
    fn math(&mut self, (name, intrinsic): (&str, &str), x: &[V<'c>], ty: melior::ir::Type<'c>) -> V<'c> {
        match self.machine {
            Machine::Gpu(_) => self.ir.intrinsic(intrinsic, x, ty),
            Machine::Cpu { .. } => self.ir.op(name, x, ty),
        }
    }

    /// A shift by an amount modulo the width.
    fn shift(&mut self, name: &str, ty: ScalarType, x: V<'c>, by: V<'c>) -> V<'c> {
        let by = self.ir.by("arith.andi", by, if ty == ScalarType::I64 { 63 } else { 31 });
        self.ir.bin(name, x, by)
    }

    /// For a division by `y`: whether it is 0, whether it is -1, and a divisor that is defined for all dividends (1 in
    /// both cases).
    pub(super) fn divisor(&mut self, y: V<'c>) -> (V<'c>, V<'c>, V<'c>) {
        let i = &mut self.ir;
        let zero = i.cmp_k(Cmp::Eq, y, 0);
        let minus = i.cmp_k(Cmp::Eq, y, -1);
        let special = i.bin("arith.ori", zero, minus);
        let one = i.int(melior::ir::ValueLike::r#type(&y), 1);
        (zero, minus, i.select(special, one, y))
    }

    /// What a machine does that has 32-bit arithmetic only; `None` for what it has, or LLVM writes out for it.
    fn expanded(&mut self, op: ScalarOp, ty: ScalarType, x: V<'c>, y: V<'c>, z: V<'c>) -> Option<V<'c>> {
        use ScalarType::{F64, I64};
        let i = &mut self.ir;
        Some(match (op, ty) {
            (ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc | ScalarOp::Nearest, F64) => double::integer(i, op, x),
            (ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc | ScalarOp::Nearest, _) => {
                super::expand::round(i, op, x)
            }
            (ScalarOp::UMulHi, I64) => super::expand::mul_high(i, x, y),
            (ScalarOp::IDiv, I64) => self.help(Helper::Divide, &[x, y]),
            (ScalarOp::IRem, I64) => self.help(Helper::Remainder, &[x, y]),
            (ScalarOp::I64ToF32, _) => self.help(Helper::I64ToF32, &[x]),
            (ScalarOp::F32ToI64, _) => self.help(Helper::F32ToI64, &[x]),
            (ScalarOp::FAdd, F64) => {
                let one = i.constant(Scalar::F64(1.0));
                self.help(Helper::Fma, &[x, one, y])
            }
            (ScalarOp::FSub, F64) => {
                let minus = i.constant(Scalar::F64(-1.0));
                self.help(Helper::Fma, &[y, minus, x])
            }
            (ScalarOp::FMul, F64) => {
                // Minus zero is what may be added without changing the sign of a zero; the sign of a product is its own.
                let none = i.constant(Scalar::F64(-0.0));
                self.help(Helper::Fma, &[x, y, none])
            }
            (ScalarOp::Fma, F64) => self.help(Helper::Fma, &[x, y, z]),
            (ScalarOp::FDiv, F64) => self.help(Helper::FDiv, &[x, y]),
            (ScalarOp::FSqrt, F64) => self.help(Helper::FSqrt, &[x]),
            (ScalarOp::FNeg, F64) => i.by("arith.xori", x, i64::MIN),
            (ScalarOp::FAbs, F64) => i.by("arith.andi", x, i64::MAX),
            (
                ScalarOp::FEq
                | ScalarOp::FNe
                | ScalarOp::FLt
                | ScalarOp::FLe
                | ScalarOp::FGt
                | ScalarOp::FGe
                | ScalarOp::FUno,
                F64,
            ) => double::compare(i, op, x, y),
            (ScalarOp::F64Bits | ScalarOp::BitsF64, _) => x,
            (ScalarOp::F32ToF64, _) => self.help(Helper::F32ToF64, &[x]),
            (ScalarOp::F64ToF32, _) => self.help(Helper::F64ToF32, &[x]),
            (ScalarOp::I64ToF64, _) => self.help(Helper::I64ToF64, &[x]),
            (ScalarOp::I32ToF64, _) => {
                let x = i.op("arith.extsi", &[x], i.types.i64);
                self.help(Helper::I64ToF64, &[x])
            }
            (ScalarOp::F64ToI64, _) => self.help(Helper::F64ToI64, &[x]),
            (ScalarOp::F64ToI32, _) => {
                self.helpers.insert(Helper::F64ToI64);
                double::to_i32(&mut self.ir, x)
            }
            _ => return None,
        })
    }

    pub(super) fn help(&mut self, helper: Helper, arguments: &[V<'c>]) -> V<'c> {
        self.helpers.insert(helper);
        helper.call(&mut self.ir, arguments)
    }
}
