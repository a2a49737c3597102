//! Operations on groups of lanes. What has no vector instruction is done lane by lane.

use super::cell::{Cell, Lin};
use super::ops::{bits, float_cc, int_cc};
use super::{Emitted, Emitter, is_wide, lane_type};
use crate::error::Unsupported;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value, types};
use nc_ir::kernel::{Scalar, ScalarOp, ScalarType};

/// Dwords 0 and 2 of two registers.
const EVEN: [u8; 4] = [0, 2, 4, 6];
/// Dwords 1 and 3 of two registers.
const ODD: [u8; 4] = [1, 3, 5, 7];
/// The lower halves of two registers.
const LOW: [u8; 4] = [0, 1, 4, 5];
/// The upper half of the first register, twice.
const HIGH: [u8; 4] = [2, 3, 2, 3];

impl Emitter<'_, '_> {
    /// Changes the type of a register, keeping its bits.
    pub(super) fn cast(&mut self, ty: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == ty { v } else { self.b.ins().bitcast(ty, bits(), v) }
    }

    /// A constant register.
    pub(super) fn vconst(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let c = self.b.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.b.ins().vconst(ty, c)
    }

    fn constant_lanes(&mut self, ty: ScalarType, lanes: [u64; 4], half: usize) -> Value {
        let mut bytes = [0u8; 16];
        if is_wide(ty) {
            for (n, b) in bytes.chunks_exact_mut(8).enumerate() {
                b.copy_from_slice(&lanes[2 * half + n].to_le_bytes());
            }
        } else {
            for (n, b) in bytes.chunks_exact_mut(4).enumerate() {
                b.copy_from_slice(&(lanes[n] as u32).to_le_bytes());
            }
        }
        self.vconst(lane_type(ty), bytes)
    }

    /// Dwords of two registers of the same type, as a register of type `ty`.
    fn dwords(&mut self, ty: Type, x: Value, y: Value, pick: [u8; 4]) -> Value {
        let (x, y) = (self.cast(types::I8X16, x), self.cast(types::I8X16, y));
        let mask: Vec<u8> = pick.iter().flat_map(|d| (0..4).map(move |k| d * 4 + k)).collect();
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(mask));
        let r = self.b.ins().shuffle(x, y, mask);
        self.cast(ty, r)
    }

    /// The registers of a cell: one for 32-bit lanes (a `bool` becoming a mask), two for 64-bit lanes.
    pub(super) fn vector(&mut self, c: &Cell) -> [Value; 2] {
        match c {
            Cell::V4(_, v) => [*v; 2],
            Cell::V22(_, v) => *v,
            Cell::Const(k) => {
                let ty = k.ty();
                let bits = match k {
                    Scalar::Bool(true) => u64::from(u32::MAX),
                    Scalar::Bool(false) => 0,
                    Scalar::F32(_) | Scalar::F64(_) | Scalar::I32(_) | Scalar::I64(_) => k.bits(),
                };
                [self.constant_lanes(ty, [bits; 4], 0); 2]
            }
            Cell::One(ScalarType::Bool, v) => {
                let m = self.b.ins().bmask(types::I32, *v);
                [self.b.ins().splat(types::I32X4, m); 2]
            }
            Cell::One(ty, v) => [self.b.ins().splat(lane_type(*ty), *v); 2],
            Cell::Lin(l) => {
                if let Some(k) = l.known() {
                    return [self.constant_lanes(ScalarType::I64, [k as u64; 4], 0); 2];
                }
                let base = self.int(l.base());
                let base = self.b.ins().splat(types::I64X2, base);
                let at = |n: i64| l.k.wrapping_add(l.lane.wrapping_mul(n)) as u64;
                let steps = [at(0), at(1), at(2), at(3)];
                let mut r = [base; 2];
                for (half, r) in r.iter_mut().enumerate() {
                    if steps[2 * half] != 0 || steps[2 * half + 1] != 0 {
                        let step = self.constant_lanes(ScalarType::I64, steps, half);
                        *r = self.b.ins().iadd(base, step);
                    }
                }
                r
            }
        }
    }

    /// The mask of a `bool` cell, as `i32x4`.
    pub(super) fn mask(&mut self, c: &Cell) -> Value {
        self.vector(c)[0]
    }

    /// The value in lane `l`.
    pub(super) fn lane(&mut self, c: &Cell, l: usize) -> Value {
        match c {
            Cell::Const(_) | Cell::One(..) => self.scalar(c),
            Cell::Lin(lin) => self.int(lin.at_lane(l)),
            Cell::V4(ScalarType::Bool, v) => {
                let m = self.b.ins().extractlane(*v, l as u8);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, m, 0)
            }
            Cell::V4(_, v) => self.b.ins().extractlane(*v, l as u8),
            Cell::V22(_, v) => self.b.ins().extractlane(v[l / 2], (l % 2) as u8),
        }
    }

    /// A cell of four scalars.
    pub(super) fn gathered(&mut self, ty: ScalarType, lanes: [Value; 4]) -> Cell {
        let lanes = if ty == ScalarType::Bool { lanes.map(|v| self.b.ins().bmask(types::I32, v)) } else { lanes };
        let t = lane_type(ty);
        if is_wide(ty) {
            let mut r = [lanes[0]; 2];
            for (half, r) in r.iter_mut().enumerate() {
                let v = self.b.ins().scalar_to_vector(t, lanes[2 * half]);
                *r = self.b.ins().insertlane(v, lanes[2 * half + 1], 1);
            }
            return Cell::V22(ty, r);
        }
        let mut v = self.b.ins().scalar_to_vector(t, lanes[0]);
        for (n, x) in lanes.iter().enumerate().skip(1) {
            v = self.b.ins().insertlane(v, *x, n as u8);
        }
        Cell::V4(ty, v)
    }

    /// Lane by lane.
    fn each_lane(&mut self, op: ScalarOp, ty: ScalarType, args: &[Cell]) -> Cell {
        let from = args[0].ty();
        let mut lanes = [Value::from_u32(0); 4];
        for (l, r) in lanes.iter_mut().enumerate() {
            let mut v = [Value::from_u32(0); 3];
            for (v, a) in v.iter_mut().zip(args) {
                *v = self.lane(a, l);
            }
            *r = self.scalar_op(op, from, &v[..args.len()]);
        }
        self.gathered(ty, lanes)
    }

    /// Register by register.
    fn each(&mut self, ty: ScalarType, args: &[Cell], f: impl Fn(&mut Self, &[Value]) -> Value) -> Cell {
        let mut v = [[Value::from_u32(0); 2]; 3];
        for (v, a) in v.iter_mut().zip(args) {
            *v = self.vector(a);
        }
        let n = args.len();
        let first = [v[0][0], v[1][0], v[2][0]];
        if !is_wide(ty) {
            return Cell::V4(ty, f(self, &first[..n]));
        }
        let second = [v[0][1], v[1][1], v[2][1]];
        Cell::V22(ty, [f(self, &first[..n]), f(self, &second[..n])])
    }

    /// The two masks of a comparison as one, if lanes are wide.
    fn compared(&mut self, args: &[Cell], f: impl Fn(&mut Self, &[Value]) -> Value) -> Cell {
        let m = match self.each(args[0].ty(), args, f) {
            Cell::V22(_, [lo, hi]) => self.dwords(types::I32X4, lo, hi, EVEN),
            Cell::V4(_, m) => m,
            c => self.mask(&c),
        };
        Cell::V4(ScalarType::Bool, m)
    }

    fn shift(&mut self, op: ScalarOp, args: &[Cell]) -> Cell {
        let ty = args[0].ty();
        if !args[1].is_uniform() {
            return self.each_lane(op, ty, args);
        }
        let by = self.scalar(&args[1]);
        self.each(ty, &args[..1], |e, v| match op {
            ScalarOp::Shl => e.b.ins().ishl(v[0], by),
            ScalarOp::ShrS => e.b.ins().sshr(v[0], by),
            _ => e.b.ins().ushr(v[0], by),
        })
    }

    /// Chooses by an `i32x4` or `i64x2` mask.
    fn choose(&mut self, mask: Value, x: Value, y: Value) -> Value {
        let ty = self.b.func.dfg.value_type(x);
        let m = self.b.func.dfg.value_type(mask);
        let (x, y) = (self.cast(m, x), self.cast(m, y));
        let r = if self.mode.blend { self.b.ins().blendv(mask, x, y) } else { self.b.ins().bitselect(mask, x, y) };
        self.cast(ty, r)
    }

    fn select(&mut self, ty: ScalarType, args: &[Cell]) -> Cell {
        let [c, x, y] = args else { return args[0] };
        if let Cell::One(_, c) = c {
            let c = *c;
            return self.each(ty, &args[1..], |e, v| e.b.ins().select(c, v[0], v[1]));
        }
        let m = self.mask(c);
        if is_wide(ty) {
            let masks = [self.b.ins().swiden_low(m), self.b.ins().swiden_high(m)];
            let (x, y) = (self.vector(x), self.vector(y));
            return Cell::V22(ty, [self.choose(masks[0], x[0], y[0]), self.choose(masks[1], x[1], y[1])]);
        }
        let is = |c: &Cell, bits: u64| matches!(c, Cell::Const(k) if k.bits() == bits);
        let t = lane_type(ty);
        let r = if is(y, 0) {
            let x = self.vector(x)[0];
            let x = self.cast(types::I32X4, x);
            self.b.ins().band(m, x)
        } else if is(x, 0) {
            let y = self.vector(y)[0];
            let y = self.cast(types::I32X4, y);
            self.b.ins().band_not(y, m)
        } else {
            let (x, y) = (self.vector(x)[0], self.vector(y)[0]);
            self.choose(m, x, y)
        };
        Cell::V4(ty, self.cast(t, r))
    }

    /// One operation with at least one operand whose lanes differ.
    pub(super) fn lanes_op(&mut self, op: ScalarOp, ty: ScalarType, args: &[Cell]) -> Emitted<Cell> {
        let from = args[0].ty();
        Ok(match op {
            ScalarOp::FAdd => self.each(ty, args, |e, v| e.b.ins().fadd(v[0], v[1])),
            ScalarOp::FSub => self.each(ty, args, |e, v| e.b.ins().fsub(v[0], v[1])),
            ScalarOp::FMul => self.each(ty, args, |e, v| e.b.ins().fmul(v[0], v[1])),
            ScalarOp::FDiv => self.each(ty, args, |e, v| e.b.ins().fdiv(v[0], v[1])),
            ScalarOp::Fma => self.each(ty, args, |e, v| e.b.ins().fma(v[0], v[1], v[2])),
            ScalarOp::FNeg => self.each(ty, args, |e, v| e.b.ins().fneg(v[0])),
            ScalarOp::FAbs => self.each(ty, args, |e, v| e.b.ins().fabs(v[0])),
            ScalarOp::FSqrt => self.each(ty, args, |e, v| e.b.ins().sqrt(v[0])),
            ScalarOp::Floor => self.each(ty, args, |e, v| e.b.ins().floor(v[0])),
            ScalarOp::Ceil => self.each(ty, args, |e, v| e.b.ins().ceil(v[0])),
            ScalarOp::Trunc => self.each(ty, args, |e, v| e.b.ins().trunc(v[0])),
            ScalarOp::Nearest => self.each(ty, args, |e, v| e.b.ins().nearest(v[0])),
            ScalarOp::FEq
            | ScalarOp::FNe
            | ScalarOp::FLt
            | ScalarOp::FLe
            | ScalarOp::FGt
            | ScalarOp::FGe
            | ScalarOp::FUno => {
                let cc = float_cc(op).ok_or_else(|| Unsupported::malformed(op))?;
                self.compared(args, |e, v| e.b.ins().fcmp(cc, v[0], v[1]))
            }
            ScalarOp::IAdd => self.each(ty, args, |e, v| e.b.ins().iadd(v[0], v[1])),
            ScalarOp::ISub => self.each(ty, args, |e, v| e.b.ins().isub(v[0], v[1])),
            ScalarOp::IMul => self.each(ty, args, |e, v| e.b.ins().imul(v[0], v[1])),
            ScalarOp::UMulHi if from == ScalarType::I32 => self.each(ty, args, |e, v| {
                let (a, b) = (e.b.ins().uwiden_low(v[0]), e.b.ins().uwiden_low(v[1]));
                let lo = e.b.ins().imul(a, b);
                let (a, b) = (e.b.ins().uwiden_high(v[0]), e.b.ins().uwiden_high(v[1]));
                let hi = e.b.ins().imul(a, b);
                e.dwords(types::I32X4, lo, hi, ODD)
            }),
            ScalarOp::UMulHi | ScalarOp::IDiv | ScalarOp::IRem => self.each_lane(op, ty, args),
            ScalarOp::Shl | ScalarOp::ShrS | ScalarOp::ShrU => self.shift(op, args),
            ScalarOp::ULt if from == ScalarType::I64 => {
                let flip = Cell::Lin(Lin::constant(i64::MIN));
                let x = self.lanes_op(ScalarOp::Xor, from, &[args[0], flip])?;
                let y = self.op(ScalarOp::Xor, &[args[1], flip])?;
                self.compared(&[x, y], |e, v| e.b.ins().icmp(IntCC::SignedLessThan, v[0], v[1]))
            }
            ScalarOp::IEq
            | ScalarOp::INe
            | ScalarOp::ILt
            | ScalarOp::ILe
            | ScalarOp::IGt
            | ScalarOp::IGe
            | ScalarOp::ULt => {
                let cc = int_cc(op).ok_or_else(|| Unsupported::malformed(op))?;
                self.compared(args, |e, v| e.b.ins().icmp(cc, v[0], v[1]))
            }
            ScalarOp::And => self.each(ty, args, |e, v| e.b.ins().band(v[0], v[1])),
            ScalarOp::Or => self.each(ty, args, |e, v| e.b.ins().bor(v[0], v[1])),
            ScalarOp::Xor => self.each(ty, args, |e, v| e.b.ins().bxor(v[0], v[1])),
            ScalarOp::Not => self.each(ty, args, |e, v| e.b.ins().bnot(v[0])),
            ScalarOp::Select => self.select(ty, args),
            ScalarOp::F32ToF64 => {
                let v = self.vector(&args[0])[0];
                let hi = self.dwords(types::F32X4, v, v, HIGH);
                Cell::V22(ty, [self.b.ins().fvpromote_low(v), self.b.ins().fvpromote_low(hi)])
            }
            ScalarOp::F64ToF32 => {
                let v = self.vector(&args[0]);
                let (lo, hi) = (self.b.ins().fvdemote(v[0]), self.b.ins().fvdemote(v[1]));
                Cell::V4(ty, self.dwords(types::F32X4, lo, hi, LOW))
            }
            ScalarOp::I32ToF32 => {
                let v = self.vector(&args[0])[0];
                Cell::V4(ty, self.b.ins().fcvt_from_sint(types::F32X4, v))
            }
            ScalarOp::I32ToF64 => {
                let v = self.vector(&args[0])[0];
                let high = self.dwords(types::I32X4, v, v, HIGH);
                let halves = [v, high].map(|v| {
                    let v = self.b.ins().swiden_low(v);
                    self.b.ins().fcvt_from_sint(types::F64X2, v)
                });
                Cell::V22(ty, halves)
            }
            ScalarOp::F32ToI32 => {
                let v = self.vector(&args[0])[0];
                Cell::V4(ty, self.b.ins().fcvt_to_sint_sat(types::I32X4, v))
            }
            ScalarOp::I64ToF32 | ScalarOp::I64ToF64 | ScalarOp::F32ToI64 | ScalarOp::F64ToI32 | ScalarOp::F64ToI64 => {
                self.each_lane(op, ty, args)
            }
            ScalarOp::I32ToI64 => {
                let v = self.vector(&args[0])[0];
                Cell::V22(ty, [self.b.ins().swiden_low(v), self.b.ins().swiden_high(v)])
            }
            ScalarOp::U32ToI64 => {
                let v = self.vector(&args[0])[0];
                Cell::V22(ty, [self.b.ins().uwiden_low(v), self.b.ins().uwiden_high(v)])
            }
            ScalarOp::I64ToI32 => match &args[0] {
                Cell::Lin(l) => {
                    let base = self.int(l.base());
                    let base = self.b.ins().ireduce(types::I32, base);
                    let base = self.b.ins().splat(types::I32X4, base);
                    let at = |n: i64| l.k.wrapping_add(l.lane.wrapping_mul(n)) as u64;
                    let steps = self.constant_lanes(ScalarType::I32, [at(0), at(1), at(2), at(3)], 0);
                    Cell::V4(ty, self.b.ins().iadd(base, steps))
                }
                c => {
                    let v = self.vector(c);
                    Cell::V4(ty, self.dwords(types::I32X4, v[0], v[1], EVEN))
                }
            },
            ScalarOp::F32Bits | ScalarOp::BitsF32 => {
                let v = self.vector(&args[0])[0];
                Cell::V4(ty, self.cast(lane_type(ty), v))
            }
            ScalarOp::F64Bits | ScalarOp::BitsF64 => {
                let v = self.vector(&args[0]);
                Cell::V22(ty, v.map(|v| self.cast(lane_type(ty), v)))
            }
            ScalarOp::BoolToI32 => {
                // A mask is -1 where true: negating it lets a subtraction of the number become an addition of the mask.
                let v = self.mask(&args[0]);
                Cell::V4(ty, self.b.ins().ineg(v))
            }
        })
    }
}
