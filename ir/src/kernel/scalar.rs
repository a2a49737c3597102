//! The scalar operations of the kernel IR: the whole arithmetic that a backend has to print.
//!
//! Guarantees: every operation is total (no trap, no undefined result); floats are IEEE-754 round-to-nearest-even with
//! subnormals kept; integers wrap; a NaN result has an unspecified payload and sign, everything else is exact to the bit.

use std::fmt;

/// The type of one scalar (or of one lane of a vector loop) in a register.
///
/// Memory may hold narrower types ([`crate::DType`]); loads widen and stores narrow, see [`crate::kernel::loaded_type`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum ScalarType {
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// 32-bit two's complement.
    I32,
    /// 64-bit two's complement; also the type of every index.
    I64,
    /// Truth value.
    Bool,
}

impl ScalarType {
    /// Every scalar type.
    pub const ALL: [ScalarType; 5] =
        [ScalarType::F32, ScalarType::F64, ScalarType::I32, ScalarType::I64, ScalarType::Bool];

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            ScalarType::F32 => "f32",
            ScalarType::F64 => "f64",
            ScalarType::I32 => "i32",
            ScalarType::I64 => "i64",
            ScalarType::Bool => "bool",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<ScalarType> {
        ScalarType::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A scalar value, as a constant of the kernel IR and in the interpreters. Equality is by bits.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// IEEE binary32.
    F32(f32),
    /// IEEE binary64.
    F64(f64),
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// Truth value.
    Bool(bool),
}

impl Scalar {
    /// The type of this value.
    pub const fn ty(self) -> ScalarType {
        match self {
            Scalar::F32(_) => ScalarType::F32,
            Scalar::F64(_) => ScalarType::F64,
            Scalar::I32(_) => ScalarType::I32,
            Scalar::I64(_) => ScalarType::I64,
            Scalar::Bool(_) => ScalarType::Bool,
        }
    }

    /// The bits, zero-extended; the basis of equality and hashing.
    pub fn bits(self) -> u64 {
        match self {
            Scalar::F32(x) => u64::from(x.to_bits()),
            Scalar::F64(x) => x.to_bits(),
            Scalar::I32(x) => u64::from(x as u32),
            Scalar::I64(x) => x as u64,
            Scalar::Bool(x) => u64::from(x),
        }
    }

    /// The value with these bits; `Bool` is true when any bit is set.
    pub fn from_bits(ty: ScalarType, bits: u64) -> Scalar {
        match ty {
            ScalarType::F32 => Scalar::F32(f32::from_bits(bits as u32)),
            ScalarType::F64 => Scalar::F64(f64::from_bits(bits)),
            ScalarType::I32 => Scalar::I32(bits as u32 as i32),
            ScalarType::I64 => Scalar::I64(bits as i64),
            ScalarType::Bool => Scalar::Bool(bits != 0),
        }
    }

    /// True if both are the same to the bit, any NaN being the same as any other NaN of its type.
    pub fn same(self, other: Scalar) -> bool {
        match (self, other) {
            (Scalar::F32(a), Scalar::F32(b)) if a.is_nan() => b.is_nan(),
            (Scalar::F64(a), Scalar::F64(b)) if a.is_nan() => b.is_nan(),
            (a, b) => a == b,
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Scalar) -> bool {
        self.ty() == other.ty() && self.bits() == other.bits()
    }
}

impl Eq for Scalar {}

impl std::hash::Hash for Scalar {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.ty().hash(state);
        self.bits().hash(state);
    }
}

/// What the operands and the result of a [`ScalarOp`] are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    /// `(T, ..) -> T` for T in f32, f64.
    Float(u8),
    /// `(T, T) -> bool` for T in f32, f64.
    FloatCmp,
    /// `(T, ..) -> T` for T in i32, i64.
    Int(u8),
    /// `(T, T) -> bool` for T in i32, i64.
    IntCmp,
    /// `(T, ..) -> T` for T in bool, i32, i64.
    Logic(u8),
    /// `(bool, T, T) -> T` for any T.
    Select,
    /// `(from) -> to`.
    Convert(ScalarType, ScalarType),
}

macro_rules! scalar_ops {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal : $sig:expr;)*) => {
        /// A scalar operation. Backends match on this without a wildcard, so that a new one cannot be forgotten.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum ScalarOp { $($(#[doc = $doc])+ $variant,)* }

        impl ScalarOp {
            /// Every operation, in the order of the table.
            pub const ALL: &[ScalarOp] = &[$(ScalarOp::$variant),*];

            /// The mnemonic in the text format.
            pub const fn name(self) -> &'static str {
                match self { $(ScalarOp::$variant => $name,)* }
            }

            /// The operation with this mnemonic.
            pub fn from_name(name: &str) -> Option<ScalarOp> {
                match name { $($name => Some(ScalarOp::$variant),)* _ => None }
            }

            /// Operand and result types.
            pub const fn signature(self) -> Signature {
                use ScalarType::*;
                use Signature::*;
                match self { $(ScalarOp::$variant => $sig,)* }
            }

            /// One line of documentation.
            pub const fn doc(self) -> &'static str {
                match self { $(ScalarOp::$variant => concat!($($doc),+),)* }
            }
        }
    };
}

scalar_ops! {
    /// Sum.
    FAdd = "fadd": Float(2);
    /// Difference.
    FSub = "fsub": Float(2);
    /// Product.
    FMul = "fmul": Float(2);
    /// Quotient.
    FDiv = "fdiv": Float(2);
    /// `a * b + c` with one rounding.
    Fma = "fma": Float(3);
    /// Flips the sign bit.
    FNeg = "fneg": Float(1);
    /// Clears the sign bit.
    FAbs = "fabs": Float(1);
    /// Square root, correctly rounded.
    FSqrt = "fsqrt": Float(1);
    /// Largest integer not above.
    Floor = "floor": Float(1);
    /// Smallest integer not below.
    Ceil = "ceil": Float(1);
    /// Integer part.
    Trunc = "trunc": Float(1);
    /// Nearest integer, ties to even.
    Nearest = "nearest": Float(1);
    /// Equal; false if either is NaN.
    FEq = "feq": FloatCmp;
    /// Not equal; true if either is NaN.
    FNe = "fne": FloatCmp;
    /// Less; false if either is NaN.
    FLt = "flt": FloatCmp;
    /// Less or equal; false if either is NaN.
    FLe = "fle": FloatCmp;
    /// Greater; false if either is NaN.
    FGt = "fgt": FloatCmp;
    /// Greater or equal; false if either is NaN.
    FGe = "fge": FloatCmp;
    /// Unordered: true if either is NaN.
    FUno = "funo": FloatCmp;
    /// Wrapping sum.
    IAdd = "iadd": Int(2);
    /// Wrapping difference.
    ISub = "isub": Int(2);
    /// Wrapping product.
    IMul = "imul": Int(2);
    /// Upper 32 (64) bits of the unsigned product.
    UMulHi = "umulhi": Int(2);
    /// Signed quotient toward zero; by zero gives 0, the smallest value by -1 wraps.
    IDiv = "idiv": Int(2);
    /// Signed remainder with the sign of the dividend; by zero or by -1 gives 0.
    IRem = "irem": Int(2);
    /// Shift left; the amount is taken modulo the width.
    Shl = "shl": Int(2);
    /// Arithmetic shift right; the amount is taken modulo the width.
    ShrS = "shrs": Int(2);
    /// Logical shift right; the amount is taken modulo the width.
    ShrU = "shru": Int(2);
    /// Equal.
    IEq = "ieq": IntCmp;
    /// Not equal.
    INe = "ine": IntCmp;
    /// Signed less.
    ILt = "ilt": IntCmp;
    /// Signed less or equal.
    ILe = "ile": IntCmp;
    /// Signed greater.
    IGt = "igt": IntCmp;
    /// Signed greater or equal.
    IGe = "ige": IntCmp;
    /// Unsigned less.
    ULt = "ult": IntCmp;
    /// Bitwise and.
    And = "and": Logic(2);
    /// Bitwise or.
    Or = "or": Logic(2);
    /// Bitwise exclusive or.
    Xor = "xor": Logic(2);
    /// Bitwise complement.
    Not = "not": Logic(1);
    /// `if a then b else c`; both are evaluated.
    Select = "select": Select;
    /// Widening, exact.
    F32ToF64 = "f32_to_f64": Convert(F32, F64);
    /// Narrowing, rounded to nearest even.
    F64ToF32 = "f64_to_f32": Convert(F64, F32);
    /// Rounded to nearest even.
    I32ToF32 = "i32_to_f32": Convert(I32, F32);
    /// Exact.
    I32ToF64 = "i32_to_f64": Convert(I32, F64);
    /// Rounded to nearest even.
    I64ToF32 = "i64_to_f32": Convert(I64, F32);
    /// Rounded to nearest even.
    I64ToF64 = "i64_to_f64": Convert(I64, F64);
    /// Toward zero, saturating; NaN gives 0.
    F32ToI32 = "f32_to_i32": Convert(F32, I32);
    /// Toward zero, saturating; NaN gives 0.
    F32ToI64 = "f32_to_i64": Convert(F32, I64);
    /// Toward zero, saturating; NaN gives 0.
    F64ToI32 = "f64_to_i32": Convert(F64, I32);
    /// Toward zero, saturating; NaN gives 0.
    F64ToI64 = "f64_to_i64": Convert(F64, I64);
    /// Sign-extended.
    I32ToI64 = "i32_to_i64": Convert(I32, I64);
    /// Zero-extended.
    U32ToI64 = "u32_to_i64": Convert(I32, I64);
    /// Low 32 bits.
    I64ToI32 = "i64_to_i32": Convert(I64, I32);
    /// The bits of a float as an integer.
    F32Bits = "f32_bits": Convert(F32, I32);
    /// The float with these bits.
    BitsF32 = "bits_f32": Convert(I32, F32);
    /// The bits of a float as an integer.
    F64Bits = "f64_bits": Convert(F64, I64);
    /// The float with these bits.
    BitsF64 = "bits_f64": Convert(I64, F64);
    /// 1 for true, 0 for false.
    BoolToI32 = "bool_to_i32": Convert(Bool, I32);
}

impl ScalarOp {
    /// Number of operands.
    pub const fn arity(self) -> usize {
        match self.signature() {
            Signature::Float(n) | Signature::Int(n) | Signature::Logic(n) => n as usize,
            Signature::FloatCmp | Signature::IntCmp => 2,
            Signature::Select => 3,
            Signature::Convert(..) => 1,
        }
    }

    /// The type of the result for operands of these types, or `None` if the operation does not take them.
    pub fn result_type(self, args: &[ScalarType]) -> Option<ScalarType> {
        use ScalarType::{Bool, F32, F64, I32, I64};
        if args.len() != self.arity() {
            return None;
        }
        let all =
            |set: &[ScalarType]| (set.contains(&args[0]) && args.iter().all(|t| *t == args[0])).then_some(args[0]);
        match self.signature() {
            Signature::Float(_) => all(&[F32, F64]),
            Signature::FloatCmp => all(&[F32, F64]).map(|_| Bool),
            Signature::Int(_) => all(&[I32, I64]),
            Signature::IntCmp => all(&[I32, I64]).map(|_| Bool),
            Signature::Logic(_) => all(&[Bool, I32, I64]),
            Signature::Select => (args[0] == Bool && args[1] == args[2]).then_some(args[1]),
            Signature::Convert(from, to) => (args[0] == from).then_some(to),
        }
    }

    /// Evaluates the operation: the definition that every backend is held against.
    ///
    /// # Panics
    /// If the operand types are not those of [`ScalarOp::signature`]; the verifier rules that out.
    pub fn eval(self, args: &[Scalar]) -> Scalar {
        use Scalar::{Bool, F32, F64, I32, I64};
        macro_rules! float {
            (|$($x:ident),+| $e:expr) => { match args {
                [$(F32($x)),+] => F32({ $(let $x = *$x;)+ $e }),
                [$(F64($x)),+] => F64({ $(let $x = *$x;)+ $e }),
                _ => self.mistyped(args),
            } };
        }
        macro_rules! fcmp {
            (|$x:ident, $y:ident| $e:expr) => {
                match args {
                    [F32($x), F32($y)] => Bool($e),
                    [F64($x), F64($y)] => Bool($e),
                    _ => self.mistyped(args),
                }
            };
        }
        macro_rules! int {
            (|$x:ident, $y:ident| $e:expr) => {
                match args {
                    [I32($x), I32($y)] => I32({
                        let ($x, $y) = (*$x, *$y);
                        $e
                    }),
                    [I64($x), I64($y)] => I64({
                        let ($x, $y) = (*$x, *$y);
                        $e
                    }),
                    _ => self.mistyped(args),
                }
            };
        }
        macro_rules! icmp {
            (|$x:ident, $y:ident| $e:expr) => {
                match args {
                    [I32($x), I32($y)] => Bool($e),
                    [I64($x), I64($y)] => Bool($e),
                    _ => self.mistyped(args),
                }
            };
        }
        macro_rules! logic {
            ($op:tt) => { match args {
                [I32(x), I32(y)] => I32(x $op y),
                [I64(x), I64(y)] => I64(x $op y),
                [Bool(x), Bool(y)] => Bool(x $op y),
                _ => self.mistyped(args),
            } };
        }
        macro_rules! convert {
            ($from:ident($x:ident) => $to:ident($e:expr)) => {
                match args {
                    [$from($x)] => $to({
                        let $x = *$x;
                        $e
                    }),
                    _ => self.mistyped(args),
                }
            };
        }
        match self {
            ScalarOp::FAdd => float!(|x, y| x + y),
            ScalarOp::FSub => float!(|x, y| x - y),
            ScalarOp::FMul => float!(|x, y| x * y),
            ScalarOp::FDiv => float!(|x, y| x / y),
            ScalarOp::Fma => float!(|x, y, z| x.mul_add(y, z)),
            ScalarOp::FNeg => float!(|x| -x),
            ScalarOp::FAbs => float!(|x| x.abs()),
            ScalarOp::FSqrt => float!(|x| x.sqrt()),
            ScalarOp::Floor => float!(|x| x.floor()),
            ScalarOp::Ceil => float!(|x| x.ceil()),
            ScalarOp::Trunc => float!(|x| x.trunc()),
            ScalarOp::Nearest => float!(|x| x.round_ties_even()),
            ScalarOp::FEq => fcmp!(|x, y| x == y),
            ScalarOp::FNe => fcmp!(|x, y| x != y),
            ScalarOp::FLt => fcmp!(|x, y| x < y),
            ScalarOp::FLe => fcmp!(|x, y| x <= y),
            ScalarOp::FGt => fcmp!(|x, y| x > y),
            ScalarOp::FGe => fcmp!(|x, y| x >= y),
            ScalarOp::FUno => fcmp!(|x, y| x.is_nan() || y.is_nan()),
            ScalarOp::IAdd => int!(|x, y| x.wrapping_add(y)),
            ScalarOp::ISub => int!(|x, y| x.wrapping_sub(y)),
            ScalarOp::IMul => int!(|x, y| x.wrapping_mul(y)),
            ScalarOp::UMulHi => match args {
                [I32(x), I32(y)] => I32(((u64::from(*x as u32) * u64::from(*y as u32)) >> 32) as u32 as i32),
                [I64(x), I64(y)] => I64(((u128::from(*x as u64) * u128::from(*y as u64)) >> 64) as u64 as i64),
                _ => self.mistyped(args),
            },
            ScalarOp::IDiv => int!(|x, y| if y == 0 { 0 } else { x.wrapping_div(y) }),
            ScalarOp::IRem => int!(|x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
            ScalarOp::Shl => int!(|x, y| x.wrapping_shl(y as u32)),
            ScalarOp::ShrS => int!(|x, y| x.wrapping_shr(y as u32)),
            ScalarOp::ShrU => match args {
                [I32(x), I32(y)] => I32((*x as u32).wrapping_shr(*y as u32) as i32),
                [I64(x), I64(y)] => I64((*x as u64).wrapping_shr(*y as u32) as i64),
                _ => self.mistyped(args),
            },
            ScalarOp::IEq => icmp!(|x, y| x == y),
            ScalarOp::INe => icmp!(|x, y| x != y),
            ScalarOp::ILt => icmp!(|x, y| x < y),
            ScalarOp::ILe => icmp!(|x, y| x <= y),
            ScalarOp::IGt => icmp!(|x, y| x > y),
            ScalarOp::IGe => icmp!(|x, y| x >= y),
            ScalarOp::ULt => match args {
                [I32(x), I32(y)] => Bool((*x as u32) < (*y as u32)),
                [I64(x), I64(y)] => Bool((*x as u64) < (*y as u64)),
                _ => self.mistyped(args),
            },
            ScalarOp::And => logic!(&),
            ScalarOp::Or => logic!(|),
            ScalarOp::Xor => logic!(^),
            ScalarOp::Not => match args {
                [I32(x)] => I32(!x),
                [I64(x)] => I64(!x),
                [Bool(x)] => Bool(!x),
                _ => self.mistyped(args),
            },
            ScalarOp::Select => match args {
                [Bool(c), x, y] if x.ty() == y.ty() => {
                    if *c {
                        *x
                    } else {
                        *y
                    }
                }
                _ => self.mistyped(args),
            },
            ScalarOp::F32ToF64 => convert!(F32(x) => F64(f64::from(x))),
            ScalarOp::F64ToF32 => convert!(F64(x) => F32(x as f32)),
            ScalarOp::I32ToF32 => convert!(I32(x) => F32(x as f32)),
            ScalarOp::I32ToF64 => convert!(I32(x) => F64(f64::from(x))),
            ScalarOp::I64ToF32 => convert!(I64(x) => F32(x as f32)),
            ScalarOp::I64ToF64 => convert!(I64(x) => F64(x as f64)),
            ScalarOp::F32ToI32 => convert!(F32(x) => I32(x as i32)),
            ScalarOp::F32ToI64 => convert!(F32(x) => I64(x as i64)),
            ScalarOp::F64ToI32 => convert!(F64(x) => I32(x as i32)),
            ScalarOp::F64ToI64 => convert!(F64(x) => I64(x as i64)),
            ScalarOp::I32ToI64 => convert!(I32(x) => I64(i64::from(x))),
            ScalarOp::U32ToI64 => convert!(I32(x) => I64(i64::from(x as u32))),
            ScalarOp::I64ToI32 => convert!(I64(x) => I32(x as i32)),
            ScalarOp::F32Bits => convert!(F32(x) => I32(x.to_bits() as i32)),
            ScalarOp::BitsF32 => convert!(I32(x) => F32(f32::from_bits(x as u32))),
            ScalarOp::F64Bits => convert!(F64(x) => I64(x.to_bits() as i64)),
            ScalarOp::BitsF64 => convert!(I64(x) => F64(f64::from_bits(x as u64))),
            ScalarOp::BoolToI32 => convert!(Bool(x) => I32(i32::from(x))),
        }
    }

    #[cold]
    fn mistyped(self, args: &[Scalar]) -> ! {
        panic!("{} does not take {:?}", self.name(), args)
    }
}

impl fmt::Display for ScalarOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that scalar code can be written into: evaluated at once by the interpreters, emitted by the lowering.
///
/// The elementary functions of [`crate::math`] and the element-wise ops of the graph are written once against this
/// trait, so that the interpreter and every backend perform the same sequence of operations.
pub trait Emit {
    /// A value in a register.
    type Value: Copy;

    /// A constant.
    fn constant(&mut self, k: Scalar) -> Self::Value;

    /// One operation; the operand types must be those of its signature.
    fn op(&mut self, op: ScalarOp, args: &[Self::Value]) -> Self::Value;

    /// The type of a value.
    fn type_of(&self, v: Self::Value) -> ScalarType;
}

/// The [`Emit`] that computes: values are scalars.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evaluate;

impl Emit for Evaluate {
    type Value = Scalar;

    #[inline]
    fn constant(&mut self, k: Scalar) -> Scalar {
        k
    }

    #[inline]
    fn op(&mut self, op: ScalarOp, args: &[Scalar]) -> Scalar {
        op.eval(args)
    }

    #[inline]
    fn type_of(&self, v: Scalar) -> ScalarType {
        v.ty()
    }
}
