//! Writing arithmetic into an [`Emit`], for one of the two float types and the integer type of the same width.

use crate::kernel::{Emit, Scalar, ScalarOp, ScalarType};

/// A polynomial's coefficients, constant term first, for both float types.
pub(super) struct Poly {
    pub f32: &'static [f32],
    pub f64: &'static [f64],
}

/// A constant as the unevaluated sum of two floats, for both float types.
pub(super) struct Pair {
    pub hi: (f32, f64),
    pub lo: (f32, f64),
}

/// A writer of float operations of one type; "the integer type" is the one of the same width.
pub(super) struct Build<'a, E: Emit> {
    pub e: &'a mut E,
    /// True for binary64.
    pub wide: bool,
}

macro_rules! ops {
    ($($name:ident($($x:ident),+) = $op:ident;)*) => {
        $(pub fn $name(&mut self, $($x: E::Value),+) -> E::Value {
            self.e.op(ScalarOp::$op, &[$($x),+])
        })*
    };
}

impl<'a, E: Emit> Build<'a, E> {
    /// A writer for the type of `x`.
    pub fn new(e: &'a mut E, x: E::Value) -> Self {
        let wide = match e.type_of(x) {
            ScalarType::F32 => false,
            ScalarType::F64 => true,
            ty @ (ScalarType::I32 | ScalarType::I64 | ScalarType::Bool) => panic!("no elementary function of {ty}"),
        };
        Build { e, wide }
    }

    ops! {
        add(x, y) = FAdd; sub(x, y) = FSub; mul(x, y) = FMul; div(x, y) = FDiv; fma(x, y, z) = Fma;
        neg(x) = FNeg; abs(x) = FAbs;
        eq(x, y) = FEq; lt(x, y) = FLt; le(x, y) = FLe; gt(x, y) = FGt; ne(x, y) = FNe; uno(x, y) = FUno;
        floor(x) = Floor; trunc(x) = Trunc; nearest(x) = Nearest;
        iadd(x, y) = IAdd; isub(x, y) = ISub; imul(x, y) = IMul; umulhi(x, y) = UMulHi;
        shl(x, y) = Shl; shr(x, y) = ShrU; sar(x, y) = ShrS;
        and(x, y) = And; or(x, y) = Or; xor(x, y) = Xor; not(x) = Not;
        ine(x, y) = INe; ige(x, y) = IGe; igt(x, y) = IGt; ilt(x, y) = ILt; ult(x, y) = ULt;
        select(c, x, y) = Select;
    }

    /// Explicit bits of the significand.
    pub fn mantissa(&self) -> i64 {
        if self.wide { 52 } else { 23 }
    }

    /// The exponent bias.
    pub fn bias(&self) -> i64 {
        if self.wide { 1023 } else { 127 }
    }

    /// Bits of a value.
    pub fn width(&self) -> i64 {
        if self.wide { 64 } else { 32 }
    }

    /// A float constant, given for both types.
    pub fn pick(&mut self, k: (f32, f64)) -> E::Value {
        let k = if self.wide { Scalar::F64(k.1) } else { Scalar::F32(k.0) };
        self.e.constant(k)
    }

    /// A float constant that both types hold exactly.
    pub fn num(&mut self, k: f64) -> E::Value {
        self.pick((k as f32, k))
    }

    /// A constant of the integer type.
    pub fn int(&mut self, k: i64) -> E::Value {
        let k = if self.wide { Scalar::I64(k) } else { Scalar::I32(k as i32) };
        self.e.constant(k)
    }

    /// The bits of a float as an integer.
    pub fn bits(&mut self, x: E::Value) -> E::Value {
        self.e.op(if self.wide { ScalarOp::F64Bits } else { ScalarOp::F32Bits }, &[x])
    }

    /// The float with these bits.
    pub fn float(&mut self, x: E::Value) -> E::Value {
        self.e.op(if self.wide { ScalarOp::BitsF64 } else { ScalarOp::BitsF32 }, &[x])
    }

    /// An integer's value as a float, rounded.
    pub fn value_of(&mut self, x: E::Value) -> E::Value {
        self.e.op(if self.wide { ScalarOp::I64ToF64 } else { ScalarOp::I32ToF32 }, &[x])
    }

    /// A float's integer part as an integer, saturating.
    pub fn int_of(&mut self, x: E::Value) -> E::Value {
        self.e.op(if self.wide { ScalarOp::F64ToI64 } else { ScalarOp::F32ToI32 }, &[x])
    }

    /// `2^n` as bits: the exponent field of an integer `n` in the normal range.
    pub fn pow2(&mut self, n: E::Value) -> E::Value {
        let (s, one) = (self.mantissa(), self.bias() << self.mantissa());
        let (s, one) = (self.int(s), self.int(one));
        let field = self.shl(n, s);
        let bits = self.iadd(field, one);
        self.float(bits)
    }

    /// The polynomial at `x`, by Horner's rule with fused steps.
    pub fn poly(&mut self, p: &Poly, x: E::Value) -> E::Value {
        let n = if self.wide { p.f64.len() } else { p.f32.len() };
        let mut acc = None;
        for i in (0..n).rev() {
            let c = if self.wide { Scalar::F64(p.f64[i]) } else { Scalar::F32(p.f32[i]) };
            let c = self.e.constant(c);
            acc = Some(match acc {
                None => c,
                Some(acc) => self.fma(acc, x, c),
            });
        }
        acc.unwrap_or(x)
    }

    /// `x`, but at most `hi`; NaN stays NaN.
    pub fn at_most(&mut self, x: E::Value, hi: (f32, f64)) -> E::Value {
        let hi = self.pick(hi);
        let c = self.gt(x, hi);
        self.select(c, hi, x)
    }

    /// `x`, but at least `lo`; NaN stays NaN.
    pub fn at_least(&mut self, x: E::Value, lo: (f32, f64)) -> E::Value {
        let lo = self.pick(lo);
        let c = self.lt(x, lo);
        self.select(c, lo, x)
    }

    /// The sign bit of a float, in place.
    pub fn sign_bit(&mut self, x: E::Value) -> E::Value {
        let top = 1i64 << (self.width() - 1);
        let (bits, top) = (self.bits(x), self.int(top));
        self.and(bits, top)
    }

    /// `x` with its sign bit flipped where the mask (a sign bit in place, or 0) says so.
    pub fn flip(&mut self, x: E::Value, mask: E::Value) -> E::Value {
        let bits = self.bits(x);
        let bits = self.xor(bits, mask);
        self.float(bits)
    }
}
