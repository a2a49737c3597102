//! What each element-wise op is: a sequence of [`ScalarOp`]s, written once for the interpreter and for every backend.
//!
//! Values are held in the register type of their element type ([`crate::kernel::loaded_type`]) and are always in its
//! range: `i8` and `i16` sign-extended, `u8` zero-extended, `f16` and `bf16` as the `f32` of the same value. Arithmetic on
//! a narrow type is done in the register type and then brought back by [`narrow`]: integers wrap to their width, halves
//! round to nearest even.

use super::{Constant, Distribution, Graph, Op};
use crate::kernel::{Emit, Scalar, ScalarOp, ScalarType, loaded_type};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{math, random};

/// Writes one element-wise op.
///
/// `args` are held as `loaded_type` of their `dtypes`; so is the result, of element type `result`.
///
/// # Panics
/// If `op` is not of [`super::Class::Elementwise`], or the operands are not those that type inference accepts.
pub fn elementwise<E: Emit>(e: &mut E, op: &Op, args: &[E::Value], dtypes: &[DType], result: DType) -> E::Value {
    let dtype = dtypes.first().copied().unwrap_or(result);
    let x = &mut Expand { e, dtype };
    match op {
        Op::Add => x.arith(ScalarOp::FAdd, ScalarOp::IAdd, args),
        Op::Sub => x.arith(ScalarOp::FSub, ScalarOp::ISub, args),
        Op::Mul => x.arith(ScalarOp::FMul, ScalarOp::IMul, args),
        Op::Div => x.arith(ScalarOp::FDiv, ScalarOp::IDiv, args),
        Op::Rem => x.rem(args[0], args[1]),
        Op::Pow => {
            let y = math::pow(x.e, args[0], args[1]);
            narrow(x.e, y, dtype)
        }
        Op::Min => x.pick(ScalarOp::FLt, ScalarOp::ILt, args[0], args[1]),
        Op::Max => x.pick(ScalarOp::FGt, ScalarOp::IGt, args[0], args[1]),
        Op::Fma => {
            let y = x.e.op(ScalarOp::Fma, args);
            narrow(x.e, y, dtype)
        }
        Op::Neg => x.neg(args[0]),
        Op::Abs => x.abs(args[0]),
        Op::Sqrt => x.function(math::sqrt, args[0]),
        Op::Exp => x.function(math::exp, args[0]),
        Op::Log => x.function(math::log, args[0]),
        Op::Tanh => x.function(math::tanh, args[0]),
        Op::Sigmoid => x.function(math::sigmoid, args[0]),
        Op::Erf => x.function(math::erf, args[0]),
        Op::Sin => x.function(math::sin, args[0]),
        Op::Cos => x.function(math::cos, args[0]),
        // The integer part of a half is a half: nothing to round.
        Op::Floor => x.e.op(ScalarOp::Floor, args),
        Op::Ceil => x.e.op(ScalarOp::Ceil, args),
        Op::Round => x.e.op(ScalarOp::Nearest, args),
        Op::Trunc => x.e.op(ScalarOp::Trunc, args),
        Op::Eq => x.equal(args),
        Op::Ne => match dtype {
            DType::Bool => x.e.op(ScalarOp::Xor, args),
            _ => x.either(ScalarOp::FNe, ScalarOp::INe, args),
        },
        Op::Lt => x.either(ScalarOp::FLt, ScalarOp::ILt, args),
        Op::Le => x.either(ScalarOp::FLe, ScalarOp::ILe, args),
        Op::Gt => x.either(ScalarOp::FGt, ScalarOp::IGt, args),
        Op::Ge => x.either(ScalarOp::FGe, ScalarOp::IGe, args),
        Op::And => x.e.op(ScalarOp::And, args),
        Op::Or => x.e.op(ScalarOp::Or, args),
        Op::Xor => x.e.op(ScalarOp::Xor, args),
        Op::Not => {
            let y = x.e.op(ScalarOp::Not, args);
            narrow(x.e, y, dtype)
        }
        Op::Shl => {
            let by = x.shift_amount(args[1]);
            let y = x.e.op(ScalarOp::Shl, &[args[0], by]);
            narrow(x.e, y, dtype)
        }
        Op::Shr => {
            let by = x.shift_amount(args[1]);
            // A `u8` is held zero-extended, so that the arithmetic shift is the logical one.
            x.e.op(ScalarOp::ShrS, &[args[0], by])
        }
        Op::Select => x.e.op(ScalarOp::Select, args),
        Op::Cast { to } => cast(x.e, args[0], dtype, *to),
        Op::Random { law, stream } => match law {
            Distribution::Uniform => random::uniform(x.e, *stream, args[0], args[1]),
            Distribution::Normal => random::normal(x.e, *stream, args[0], args[1]),
        },
        Op::Const { .. }
        | Op::Tick
        | Op::Iota { .. }
        | Op::Delayed { .. }
        | Op::Broadcast { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::Pad { .. }
        | Op::Linear
        | Op::Matmul
        | Op::Conv { .. }
        | Op::Pool { .. }
        | Op::Reduce { .. }
        | Op::Argmax { .. }
        | Op::Argmin { .. }
        | Op::Project { .. }
        | Op::PlasticPre { .. }
        | Op::PlasticPost { .. }
        | Op::Integrate { .. }
        | Op::If
        | Op::Scan { .. }
        | Op::Loop { .. } => panic!("`{op}` is not element-wise"),
    }
}

/// Brings the result of arithmetic in a register back into the range of `dtype`: integers narrower than the register wrap,
/// halves round to nearest even, other types are unchanged. Chains and reductions in a narrow type run in the register
/// type and are narrowed once, when they are stored.
pub fn narrow<E: Emit>(e: &mut E, v: E::Value, dtype: DType) -> E::Value {
    match dtype {
        DType::F64 | DType::F32 | DType::I64 | DType::I32 | DType::Bool => v,
        DType::F16 => math::round_f16(e, v),
        DType::BF16 => math::round_bf16(e, v),
        DType::I16 => sign_extend(e, v, 16),
        DType::I8 => sign_extend(e, v, 24),
        DType::U8 => {
            let mask = e.constant(Scalar::I32(0xff));
            e.op(ScalarOp::And, &[v, mask])
        }
    }
}

fn sign_extend<E: Emit>(e: &mut E, v: E::Value, by: i32) -> E::Value {
    let by = e.constant(Scalar::I32(by));
    let up = e.op(ScalarOp::Shl, &[v, by]);
    e.op(ScalarOp::ShrS, &[up, by])
}

/// The number `x` as a register constant of element type `dtype`; wraps or rounds as a conversion from `i64` does.
pub fn number(dtype: DType, x: i64) -> Scalar {
    match loaded_type(dtype) {
        ScalarType::F32 => Scalar::F32(x as f32),
        ScalarType::F64 => Scalar::F64(x as f64),
        ScalarType::I32 => Scalar::I32(x as i32),
        ScalarType::I64 => Scalar::I64(x),
        ScalarType::Bool => Scalar::Bool(x != 0),
    }
}

/// The least value of an element type, minus infinity for floats: where `max` over elements starts.
pub fn least(dtype: DType) -> Scalar {
    match dtype {
        DType::F64 => Scalar::F64(f64::NEG_INFINITY),
        DType::F32 | DType::F16 | DType::BF16 => Scalar::F32(f32::NEG_INFINITY),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => number(dtype, i64::MIN >> (64 - 8 * dtype.size())),
        DType::U8 | DType::Bool => number(dtype, 0),
    }
}

/// The greatest value of an element type, infinity for floats: where `min` over elements starts.
pub fn greatest(dtype: DType) -> Scalar {
    match dtype {
        DType::F64 => Scalar::F64(f64::INFINITY),
        DType::F32 | DType::F16 | DType::BF16 => Scalar::F32(f32::INFINITY),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => number(dtype, i64::MAX >> (64 - 8 * dtype.size())),
        DType::U8 => number(dtype, 0xff),
        DType::Bool => number(dtype, 1),
    }
}

/// Element `k` of a tensor as it is held in a register, or `None` beyond its end.
pub fn load(t: &Tensor, k: usize) -> Option<Scalar> {
    Some(match t.dtype() {
        DType::F64 => Scalar::F64(*t.as_slice::<f64>().get(k)?),
        DType::F32 => Scalar::F32(*t.as_slice::<f32>().get(k)?),
        DType::F16 => Scalar::F32(t.as_slice::<half::f16>().get(k)?.to_f32()),
        DType::BF16 => Scalar::F32(t.as_slice::<half::bf16>().get(k)?.to_f32()),
        DType::I64 => Scalar::I64(*t.as_slice::<i64>().get(k)?),
        DType::I32 => Scalar::I32(*t.as_slice::<i32>().get(k)?),
        DType::I16 => Scalar::I32(i32::from(*t.as_slice::<i16>().get(k)?)),
        DType::I8 => Scalar::I32(i32::from(*t.as_slice::<i8>().get(k)?)),
        DType::U8 => Scalar::I32(i32::from(*t.as_slice::<u8>().get(k)?)),
        DType::Bool => Scalar::Bool(*t.bytes().get(k)? != 0),
    })
}

/// Writes an element-wise region (`deliver`, `pre`, `post`) in place: its parameters are `args`, `tick` is the number of
/// the current tick. Gives the values of its results.
///
/// # Errors
/// If the region contains something that is not element-wise, a scalar constant or the tick's number. The graph's
/// verifier rules that out.
pub fn inline<E: Emit>(
    e: &mut E,
    region: &Graph,
    consts: &[Constant],
    tick: E::Value,
    args: &[E::Value],
) -> Result<Vec<E::Value>, String> {
    let mut results = Vec::with_capacity(region.results.len());
    inline_with(e, region, consts, tick, args, &mut Vec::new(), &mut results)?;
    Ok(results)
}

/// As [`inline`], with memory that is kept between calls: `slots` for the region's values, `results` for its results,
/// which are replaced.
///
/// # Errors
/// As [`inline`].
pub fn inline_with<E: Emit>(
    e: &mut E,
    region: &Graph,
    consts: &[Constant],
    tick: E::Value,
    args: &[E::Value],
    slots: &mut Vec<Option<E::Value>>,
    results: &mut Vec<E::Value>,
) -> Result<(), String> {
    slots.clear();
    slots.resize(region.values.len(), None);
    let undefined = |v: super::ValueId| format!("{v} is not defined where it is used");
    if region.params.len() != args.len() {
        return Err(format!("the region takes {} values, given {}", region.params.len(), args.len()));
    }
    for (p, a) in region.params.iter().zip(args) {
        *slots.get_mut(p.index()).ok_or_else(|| undefined(*p))? = Some(*a);
    }
    for node in &region.nodes {
        let [result] = node.results[..] else {
            return Err(format!("`{}` is not element-wise", node.op));
        };
        let value = match &node.op {
            Op::Const { id } => {
                let scalar =
                    consts.get(id.index()).filter(|c| c.data.shape().is_empty()).and_then(|c| load(&c.data, 0));
                e.constant(scalar.ok_or_else(|| format!("{id} is not a scalar constant"))?)
            }
            Op::Tick => tick,
            op if op.info().class == super::Class::Elementwise => {
                let mut values = [tick; 3];
                let mut dtypes = [DType::Bool; 3];
                let n = node.args.len();
                if n > 3 {
                    return Err(format!("`{op}` has {n} operands"));
                }
                for (k, a) in node.args.iter().enumerate() {
                    values[k] = slots.get(a.index()).copied().flatten().ok_or_else(|| undefined(*a))?;
                    dtypes[k] = region.ty(*a).dtype;
                }
                let dtype = region.values.get(result.index()).ok_or_else(|| undefined(result))?.ty.dtype;
                elementwise(e, op, &values[..n], &dtypes[..n], dtype)
            }
            op => return Err(format!("`{op}` is not element-wise")),
        };
        *slots.get_mut(result.index()).ok_or_else(|| undefined(result))? = Some(value);
    }
    results.clear();
    for r in &region.results {
        results.push(slots.get(r.index()).copied().flatten().ok_or_else(|| undefined(*r))?);
    }
    Ok(())
}

struct Expand<'a, E: Emit> {
    e: &'a mut E,
    /// Element type of the first operand.
    dtype: DType,
}

impl<E: Emit> Expand<'_, E> {
    fn int(&mut self, x: i64) -> E::Value {
        self.e.constant(number(self.dtype, x))
    }

    fn either(&mut self, float: ScalarOp, int: ScalarOp, args: &[E::Value]) -> E::Value {
        self.e.op(if self.dtype.is_float() { float } else { int }, args)
    }

    fn arith(&mut self, float: ScalarOp, int: ScalarOp, args: &[E::Value]) -> E::Value {
        let y = self.either(float, int, args);
        narrow(self.e, y, self.dtype)
    }

    fn function(&mut self, f: impl Fn(&mut E, E::Value) -> E::Value, x: E::Value) -> E::Value {
        let y = f(self.e, x);
        narrow(self.e, y, self.dtype)
    }

    fn rem(&mut self, a: E::Value, b: E::Value) -> E::Value {
        if !self.dtype.is_float() {
            return self.e.op(ScalarOp::IRem, &[a, b]);
        }
        let q = self.e.op(ScalarOp::FDiv, &[a, b]);
        let q = self.e.op(ScalarOp::Trunc, &[q]);
        let p = self.e.op(ScalarOp::FMul, &[b, q]);
        let r = self.e.op(ScalarOp::FSub, &[a, p]);
        narrow(self.e, r, self.dtype)
    }

    /// `a` if the comparison holds or `a` is NaN, else `b`.
    fn pick(&mut self, float: ScalarOp, int: ScalarOp, a: E::Value, b: E::Value) -> E::Value {
        let mut first = self.either(float, int, &[a, b]);
        if self.dtype.is_float() {
            let nan = self.e.op(ScalarOp::FUno, &[a, a]);
            first = self.e.op(ScalarOp::Or, &[first, nan]);
        }
        self.e.op(ScalarOp::Select, &[first, a, b])
    }

    fn neg(&mut self, x: E::Value) -> E::Value {
        if self.dtype.is_float() {
            return self.e.op(ScalarOp::FNeg, &[x]);
        }
        let zero = self.int(0);
        let y = self.e.op(ScalarOp::ISub, &[zero, x]);
        narrow(self.e, y, self.dtype)
    }

    fn abs(&mut self, x: E::Value) -> E::Value {
        if self.dtype.is_float() {
            return self.e.op(ScalarOp::FAbs, &[x]);
        }
        let zero = self.int(0);
        let negative = self.e.op(ScalarOp::ILt, &[x, zero]);
        let flipped = self.neg(x);
        self.e.op(ScalarOp::Select, &[negative, flipped, x])
    }

    fn equal(&mut self, args: &[E::Value]) -> E::Value {
        if self.dtype != DType::Bool {
            return self.either(ScalarOp::FEq, ScalarOp::IEq, args);
        }
        let differ = self.e.op(ScalarOp::Xor, args);
        self.e.op(ScalarOp::Not, &[differ])
    }

    /// The amount modulo the width; the scalar shifts do that themselves for 32 and 64 bits.
    fn shift_amount(&mut self, by: E::Value) -> E::Value {
        match self.dtype.size() {
            4 | 8 => by,
            bytes => {
                let mask = self.int(8 * bytes as i64 - 1);
                self.e.op(ScalarOp::And, &[by, mask])
            }
        }
    }
}

/// Converts from element type `from` to element type `to`; see [`Op::Cast`].
pub fn cast<E: Emit>(e: &mut E, x: E::Value, from: DType, to: DType) -> E::Value {
    if from == to {
        return x;
    }
    let (held, wanted) = (loaded_type(from), loaded_type(to));
    match (from, to) {
        (_, DType::Bool) => {
            let zero = e.constant(number(from, 0));
            e.op(if from.is_float() { ScalarOp::FNe } else { ScalarOp::INe }, &[x, zero])
        }
        (DType::Bool, _) => {
            let (one, zero) = (e.constant(number(to, 1)), e.constant(number(to, 0)));
            e.op(ScalarOp::Select, &[x, one, zero])
        }
        _ if from.is_float() && to.is_float() => match (held, wanted) {
            (ScalarType::F32, ScalarType::F64) => e.op(ScalarOp::F32ToF64, &[x]),
            (ScalarType::F64, _) if to == DType::F32 => e.op(ScalarOp::F64ToF32, &[x]),
            (ScalarType::F64, _) => {
                let y = f32_rounded_to_odd(e, x);
                narrow(e, y, to)
            }
            _ => narrow(e, x, to),
        },
        _ if from.is_float() => {
            let op = match (held, wanted) {
                (ScalarType::F64, ScalarType::I64) => ScalarOp::F64ToI64,
                (ScalarType::F64, _) => ScalarOp::F64ToI32,
                (_, ScalarType::I64) => ScalarOp::F32ToI64,
                _ => ScalarOp::F32ToI32,
            };
            let y = e.op(op, &[x]);
            match to {
                DType::I16 => clamp(e, y, i32::from(i16::MIN), i32::from(i16::MAX)),
                DType::I8 => clamp(e, y, i32::from(i8::MIN), i32::from(i8::MAX)),
                DType::U8 => clamp(e, y, 0, i32::from(u8::MAX)),
                _ => y,
            }
        }
        (_, DType::F64) => e.op(if held == ScalarType::I64 { ScalarOp::I64ToF64 } else { ScalarOp::I32ToF64 }, &[x]),
        // An integer that a binary16 can hold is exact in an f32, so that rounding twice is rounding once.
        (_, DType::F32 | DType::F16) => {
            let y = e.op(if held == ScalarType::I64 { ScalarOp::I64ToF32 } else { ScalarOp::I32ToF32 }, &[x]);
            narrow(e, y, to)
        }
        (_, DType::BF16) => {
            let y = match held {
                ScalarType::I64 => f64_with_sticky_bit(e, x),
                _ => e.op(ScalarOp::I32ToF64, &[x]),
            };
            let y = f32_rounded_to_odd(e, y);
            narrow(e, y, to)
        }
        _ => {
            let y = match (held, wanted) {
                (ScalarType::I64, ScalarType::I32) => e.op(ScalarOp::I64ToI32, &[x]),
                (ScalarType::I32, ScalarType::I64) => e.op(ScalarOp::I32ToI64, &[x]),
                _ => x,
            };
            narrow(e, y, to)
        }
    }
}

fn clamp<E: Emit>(e: &mut E, x: E::Value, lo: i32, hi: i32) -> E::Value {
    let (lo, hi) = (e.constant(Scalar::I32(lo)), e.constant(Scalar::I32(hi)));
    let below = e.op(ScalarOp::ILt, &[x, lo]);
    let x = e.op(ScalarOp::Select, &[below, lo, x]);
    let above = e.op(ScalarOp::IGt, &[x, hi]);
    e.op(ScalarOp::Select, &[above, hi, x])
}

/// The f64 `x` as an f32, of whose two neighbours the one with an odd last bit is taken if `x` lies between: rounding that
/// to a format with at least two bits less is the same as rounding `x` (Boldo and Melquiond, *Emulation of a FMA and
/// correctly rounded sums: proved algorithms using rounding to odd*, 2008).
fn f32_rounded_to_odd<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let nearest = e.op(ScalarOp::F64ToF32, &[x]);
    let back = e.op(ScalarOp::F32ToF64, &[nearest]);
    let inexact = e.op(ScalarOp::FNe, &[back, x]);
    let bits = e.op(ScalarOp::F32Bits, &[nearest]);
    let (one, zero) = (e.constant(Scalar::I32(1)), e.constant(Scalar::I32(0)));
    let last = e.op(ScalarOp::And, &[bits, one]);
    let even = e.op(ScalarOp::IEq, &[last, zero]);
    let (size, true_size) = (e.op(ScalarOp::FAbs, &[back]), e.op(ScalarOp::FAbs, &[x]));
    let away = e.op(ScalarOp::FGt, &[size, true_size]);
    let (down, up) = (e.op(ScalarOp::ISub, &[bits, one]), e.op(ScalarOp::IAdd, &[bits, one]));
    let other = e.op(ScalarOp::Select, &[away, down, up]);
    let take = e.op(ScalarOp::And, &[inexact, even]);
    let odd = e.op(ScalarOp::Select, &[take, other, bits]);
    e.op(ScalarOp::BitsF32, &[odd])
}

/// The i64 `x` as an f64 that rounds to any format of at most 50 bits as `x` itself does: beyond 53 bits the last twelve
/// are replaced by one that says whether any was set.
fn f64_with_sticky_bit<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let mask = e.constant(Scalar::I64(0xfff));
    let (zero, half) = (e.constant(Scalar::I64(0)), e.constant(Scalar::I64(0x800)));
    let low = e.op(ScalarOp::And, &[x, mask]);
    let exact = e.op(ScalarOp::IEq, &[low, zero]);
    let sticky = e.op(ScalarOp::Select, &[exact, zero, half]);
    let high = e.op(ScalarOp::ISub, &[x, low]);
    let short = e.op(ScalarOp::IAdd, &[high, sticky]);
    let top = e.constant(Scalar::I64(53));
    let top = e.op(ScalarOp::ShrS, &[x, top]);
    let minus_one = e.constant(Scalar::I64(-1));
    let positive = e.op(ScalarOp::IEq, &[top, zero]);
    let negative = e.op(ScalarOp::IEq, &[top, minus_one]);
    let fits = e.op(ScalarOp::Or, &[positive, negative]);
    let y = e.op(ScalarOp::Select, &[fits, x, short]);
    e.op(ScalarOp::I64ToF64, &[y])
}
