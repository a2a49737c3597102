//! Scalar operations, in scalar code and lane by lane.

use super::cell::{Cell, Lin};
use super::{Emitted, Emitter, scalar_type};
use crate::error::Unsupported;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use nc_ir::kernel::{Scalar, ScalarOp, ScalarType};

/// Flags for a change of type that keeps the bits.
pub(super) fn bits() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}

/// The condition of a float comparison.
pub(super) fn float_cc(op: ScalarOp) -> Option<FloatCC> {
    match op {
        ScalarOp::FEq => Some(FloatCC::Equal),
        ScalarOp::FNe => Some(FloatCC::NotEqual),
        ScalarOp::FLt => Some(FloatCC::LessThan),
        ScalarOp::FLe => Some(FloatCC::LessThanOrEqual),
        ScalarOp::FGt => Some(FloatCC::GreaterThan),
        ScalarOp::FGe => Some(FloatCC::GreaterThanOrEqual),
        ScalarOp::FUno => Some(FloatCC::Unordered),
        _ => None,
    }
}

/// The condition of an integer comparison.
pub(super) fn int_cc(op: ScalarOp) -> Option<IntCC> {
    match op {
        ScalarOp::IEq => Some(IntCC::Equal),
        ScalarOp::INe => Some(IntCC::NotEqual),
        ScalarOp::ILt => Some(IntCC::SignedLessThan),
        ScalarOp::ILe => Some(IntCC::SignedLessThanOrEqual),
        ScalarOp::IGt => Some(IntCC::SignedGreaterThan),
        ScalarOp::IGe => Some(IntCC::SignedGreaterThanOrEqual),
        ScalarOp::ULt => Some(IntCC::UnsignedLessThan),
        _ => None,
    }
}

impl Emitter<'_, '_> {
    /// One operation on the cells of a group.
    pub(super) fn op(&mut self, op: ScalarOp, args: &[Cell]) -> Emitted<Cell> {
        let mut types = [ScalarType::I64; 3];
        for (t, a) in types.iter_mut().zip(args) {
            *t = a.ty();
        }
        let ty = op
            .result_type(&types[..args.len().min(3)])
            .ok_or_else(|| Unsupported::malformed(format!("{op} does not take {:?}", &types[..args.len().min(3)])))?;
        if let Some(c) = fold(op, args) {
            return Ok(c);
        }
        if let Some(l) = self.linear(op, args) {
            return Ok(Cell::Lin(l));
        }
        if args.iter().all(Cell::is_uniform) {
            let mut v = [Value::from_u32(0); 3];
            for (v, a) in v.iter_mut().zip(args) {
                *v = self.scalar(a);
            }
            let r = self.scalar_op(op, types[0], &v[..args.len()]);
            return Ok(self.uniform_cell(ty, r));
        }
        self.lanes_op(op, ty, args)
    }

    /// A value of scalar code as a cell.
    pub(super) fn uniform_cell(&mut self, ty: ScalarType, v: Value) -> Cell {
        match ty {
            ScalarType::I64 => Cell::Lin(self.atom(v)),
            ScalarType::F32 | ScalarType::F64 | ScalarType::I32 | ScalarType::Bool => Cell::One(ty, v),
        }
    }

    /// The value of a cell whose lanes are all the same (of lane 0 otherwise).
    pub(super) fn scalar(&mut self, c: &Cell) -> Value {
        match c {
            Cell::Const(k) => self.constant(*k),
            Cell::One(_, v) => *v,
            Cell::Lin(l) => self.int(*l),
            Cell::V4(..) | Cell::V22(..) => self.lane(c, 0),
        }
    }

    /// A constant in scalar code.
    pub(super) fn constant(&mut self, k: Scalar) -> Value {
        match k {
            Scalar::F32(x) => self.b.ins().f32const(x),
            Scalar::F64(x) => self.b.ins().f64const(x),
            Scalar::I32(x) => self.b.ins().iconst(types::I32, i64::from(x as u32)),
            Scalar::I64(x) => self.b.ins().iconst(types::I64, x),
            Scalar::Bool(x) => self.b.ins().iconst(types::I8, i64::from(x)),
        }
    }

    /// Operations on indices that stay sums.
    fn linear(&mut self, op: ScalarOp, args: &[Cell]) -> Option<Lin> {
        match (op, args) {
            (ScalarOp::IAdd, [Cell::Lin(x), Cell::Lin(y)]) => Some(self.sum(*x, *y)),
            (ScalarOp::ISub, [Cell::Lin(x), Cell::Lin(y)]) => Some(self.sum(*x, y.times(-1))),
            (ScalarOp::IMul, [Cell::Lin(x), Cell::Lin(y)]) => match (x.known(), y.known()) {
                (Some(c), _) => Some(y.times(c)),
                (_, Some(c)) => Some(x.times(c)),
                (None, None) => None,
            },
            (ScalarOp::Shl, [Cell::Lin(x), Cell::Lin(y)]) => y.known().map(|c| x.times(1i64.wrapping_shl(c as u32))),
            _ => None,
        }
    }

    /// One operation in scalar code; `ty` is the type of the first operand.
    pub(super) fn scalar_op(&mut self, op: ScalarOp, ty: ScalarType, v: &[Value]) -> Value {
        let a = |n: usize| v.get(n).copied().unwrap_or_else(|| v[0]);
        let (x, y, z) = (a(0), a(1), a(2));
        let int = scalar_type(ty);
        match op {
            ScalarOp::FAdd => self.b.ins().fadd(x, y),
            ScalarOp::FSub => self.b.ins().fsub(x, y),
            ScalarOp::FMul => self.b.ins().fmul(x, y),
            ScalarOp::FDiv => self.b.ins().fdiv(x, y),
            ScalarOp::Fma => self.b.ins().fma(x, y, z),
            ScalarOp::FNeg => self.b.ins().fneg(x),
            ScalarOp::FAbs => self.b.ins().fabs(x),
            ScalarOp::FSqrt => self.b.ins().sqrt(x),
            ScalarOp::Floor => self.b.ins().floor(x),
            ScalarOp::Ceil => self.b.ins().ceil(x),
            ScalarOp::Trunc => self.b.ins().trunc(x),
            ScalarOp::Nearest => self.b.ins().nearest(x),
            ScalarOp::FEq => self.b.ins().fcmp(FloatCC::Equal, x, y),
            ScalarOp::FNe => self.b.ins().fcmp(FloatCC::NotEqual, x, y),
            ScalarOp::FLt => self.b.ins().fcmp(FloatCC::LessThan, x, y),
            ScalarOp::FLe => self.b.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
            ScalarOp::FGt => self.b.ins().fcmp(FloatCC::GreaterThan, x, y),
            ScalarOp::FGe => self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, x, y),
            ScalarOp::FUno => self.b.ins().fcmp(FloatCC::Unordered, x, y),
            ScalarOp::IAdd => self.b.ins().iadd(x, y),
            ScalarOp::ISub => self.b.ins().isub(x, y),
            ScalarOp::IMul => self.b.ins().imul(x, y),
            ScalarOp::UMulHi => self.b.ins().umulhi(x, y),
            ScalarOp::IDiv => {
                let (zero, minus, safe) = self.divisor(int, y);
                let q = self.b.ins().sdiv(x, safe);
                let n = self.b.ins().ineg(x);
                let q = self.b.ins().select(minus, n, q);
                let none = self.b.ins().iconst(int, 0);
                self.b.ins().select(zero, none, q)
            }
            ScalarOp::IRem => {
                let (_, _, safe) = self.divisor(int, y);
                self.b.ins().srem(x, safe)
            }
            ScalarOp::Shl => self.b.ins().ishl(x, y),
            ScalarOp::ShrS => self.b.ins().sshr(x, y),
            ScalarOp::ShrU => self.b.ins().ushr(x, y),
            ScalarOp::IEq => self.b.ins().icmp(IntCC::Equal, x, y),
            ScalarOp::INe => self.b.ins().icmp(IntCC::NotEqual, x, y),
            ScalarOp::ILt => self.b.ins().icmp(IntCC::SignedLessThan, x, y),
            ScalarOp::ILe => self.b.ins().icmp(IntCC::SignedLessThanOrEqual, x, y),
            ScalarOp::IGt => self.b.ins().icmp(IntCC::SignedGreaterThan, x, y),
            ScalarOp::IGe => self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, x, y),
            ScalarOp::ULt => self.b.ins().icmp(IntCC::UnsignedLessThan, x, y),
            ScalarOp::And => self.b.ins().band(x, y),
            ScalarOp::Or => self.b.ins().bor(x, y),
            ScalarOp::Xor => self.b.ins().bxor(x, y),
            ScalarOp::Not => match ty {
                ScalarType::Bool => self.b.ins().bxor_imm_u(x, 1),
                ScalarType::F32 | ScalarType::F64 | ScalarType::I32 | ScalarType::I64 => self.b.ins().bnot(x),
            },
            ScalarOp::Select => self.b.ins().select(x, y, z),
            ScalarOp::F32ToF64 => self.b.ins().fpromote(types::F64, x),
            ScalarOp::F64ToF32 => self.b.ins().fdemote(types::F32, x),
            ScalarOp::I32ToF32 | ScalarOp::I64ToF32 => self.b.ins().fcvt_from_sint(types::F32, x),
            ScalarOp::I32ToF64 | ScalarOp::I64ToF64 => self.b.ins().fcvt_from_sint(types::F64, x),
            ScalarOp::F32ToI32 | ScalarOp::F64ToI32 => self.b.ins().fcvt_to_sint_sat(types::I32, x),
            ScalarOp::F32ToI64 | ScalarOp::F64ToI64 => self.b.ins().fcvt_to_sint_sat(types::I64, x),
            ScalarOp::I32ToI64 => self.b.ins().sextend(types::I64, x),
            ScalarOp::U32ToI64 => self.b.ins().uextend(types::I64, x),
            ScalarOp::I64ToI32 => self.b.ins().ireduce(types::I32, x),
            ScalarOp::F32Bits => self.b.ins().bitcast(types::I32, bits(), x),
            ScalarOp::BitsF32 => self.b.ins().bitcast(types::F32, bits(), x),
            ScalarOp::F64Bits => self.b.ins().bitcast(types::I64, bits(), x),
            ScalarOp::BitsF64 => self.b.ins().bitcast(types::F64, bits(), x),
            ScalarOp::BoolToI32 => self.b.ins().uextend(types::I32, x),
        }
    }

    /// For a division by `y`: whether it is 0, whether it is -1, and a divisor that never traps (1 in both cases).
    fn divisor(&mut self, int: cranelift_codegen::ir::Type, y: Value) -> (Value, Value, Value) {
        let zero = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
        let minus = self.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let special = self.b.ins().bor(zero, minus);
        let one = self.b.ins().iconst(int, 1);
        (zero, minus, self.b.ins().select(special, one, y))
    }
}

/// Computes what is constant and simplifies what is an identity to the bit.
fn fold(op: ScalarOp, args: &[Cell]) -> Option<Cell> {
    if op == ScalarOp::Select
        && let Some(Scalar::Bool(c)) = args.first()?.known()
    {
        return args.get(if c { 1 } else { 2 }).copied();
    }
    let mut known = [Scalar::Bool(false); 3];
    for (k, a) in known.iter_mut().zip(args) {
        *k = a.known()?;
    }
    Some(Cell::constant(op.eval(&known[..args.len()])))
}

impl Emitter<'_, '_> {
    /// A sum's value in scalar code, for tests of bounds.
    pub(super) fn bound(&mut self, l: Lin) -> Value {
        self.int(l)
    }
}
