//! What each element-wise op is: a sequence of [`ScalarOp`]s, written once for the interpreter and for every backend.
//!
//! Values are held in the register type of their element type ([`crate::kernel::loaded_type`]) and are always in its
//! range: `i8` and `i16` sign-extended, `u8`, `u16` and `u32` zero-extended, `u64` as the `i64` with the same bits, `f16` and
//! `bf16` as the `f32` of the same value. Arithmetic on a narrow type is done in the register type and then brought back by
//! [`narrow`]: integers wrap to their width, halves round to nearest even. Only for `u64` do the operations themselves
//! differ from those on the register type.

mod cast;
#[cfg(test)]
mod tests;

pub use cast::{bitcast, cast};

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
        Op::Div if dtype == DType::U64 => x.div_rem_u64(args[0], args[1])[0],
        Op::Div => x.arith(ScalarOp::FDiv, ScalarOp::IDiv, args),
        Op::Rem => x.rem(args[0], args[1]),
        Op::Pow => {
            let y = math::pow(x.e, args[0], args[1]);
            narrow(x.e, y, dtype)
        }
        Op::Min => x.pick(Order::Less, args[0], args[1]),
        Op::Max => x.pick(Order::Greater, args[0], args[1]),
        Op::Fma => {
            let y = x.e.op(ScalarOp::Fma, args);
            narrow(x.e, y, dtype)
        }
        Op::Neg => x.neg(args[0]),
        Op::Abs => x.abs(args[0]),
        Op::Sqrt => x.function(math::sqrt, args[0]),
        Op::Exp => x.function(math::exp, args[0]),
        Op::Expm1 => x.function(math::expm1, args[0]),
        Op::Log1p => x.function(math::log1p, args[0]),
        Op::Tan => x.function(math::tan, args[0]),
        Op::Asin => x.function(math::asin, args[0]),
        Op::Acos => x.function(math::acos, args[0]),
        Op::Atan => x.function(math::atan, args[0]),
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
        Op::Lt => x.compare(Order::Less, args[0], args[1]),
        Op::Le => x.compare(Order::LessOrEqual, args[0], args[1]),
        Op::Gt => x.compare(Order::Greater, args[0], args[1]),
        Op::Ge => x.compare(Order::GreaterOrEqual, args[0], args[1]),
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
            // Narrower unsigned types are held zero-extended, so that the arithmetic shift is the logical one.
            x.e.op(if dtype == DType::U64 { ScalarOp::ShrU } else { ScalarOp::ShrS }, &[args[0], by])
        }
        Op::Select => x.e.op(ScalarOp::Select, args),
        Op::Cast { to } => cast(x.e, args[0], dtype, *to),
        Op::Bitcast { to } => bitcast(x.e, args[0], dtype, *to),
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
        | Op::Scatter { .. }
        | Op::Cumulate { .. }
        | Op::Argsort { .. }
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
        DType::F64 | DType::F32 | DType::I64 | DType::I32 | DType::U64 | DType::Bool => v,
        DType::F16 => math::round_f16(e, v),
        DType::BF16 => math::round_bf16(e, v),
        DType::I16 => sign_extend(e, v, 16),
        DType::I8 => sign_extend(e, v, 24),
        DType::U32 => mask(e, v, Scalar::I64(0xffff_ffff)),
        DType::U16 => mask(e, v, Scalar::I32(0xffff)),
        DType::U8 => mask(e, v, Scalar::I32(0xff)),
    }
}

fn mask<E: Emit>(e: &mut E, v: E::Value, bits: Scalar) -> E::Value {
    let bits = e.constant(bits);
    e.op(ScalarOp::And, &[v, bits])
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
    match (dtype, dtype.int_range()) {
        (_, Some((lo, _))) => number(dtype, lo as i64),
        (DType::F64, _) => Scalar::F64(f64::NEG_INFINITY),
        (DType::Bool, _) => Scalar::Bool(false),
        _ => Scalar::F32(f32::NEG_INFINITY),
    }
}

/// The greatest value of an element type, infinity for floats: where `min` over elements starts.
pub fn greatest(dtype: DType) -> Scalar {
    match (dtype, dtype.int_range()) {
        (_, Some((_, hi))) => number(dtype, hi as i64),
        (DType::F64, _) => Scalar::F64(f64::INFINITY),
        (DType::Bool, _) => Scalar::Bool(true),
        _ => Scalar::F32(f32::INFINITY),
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
        DType::U64 => Scalar::I64(*t.as_slice::<u64>().get(k)? as i64),
        DType::U32 => Scalar::I64(i64::from(*t.as_slice::<u32>().get(k)?)),
        DType::U16 => Scalar::I32(i32::from(*t.as_slice::<u16>().get(k)?)),
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

/// An order of two numbers; false if either is NaN.
#[derive(Clone, Copy)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
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

    fn compare(&mut self, order: Order, a: E::Value, b: E::Value) -> E::Value {
        if self.dtype == DType::U64 {
            return match order {
                Order::Less => self.e.op(ScalarOp::ULt, &[a, b]),
                Order::Greater => self.e.op(ScalarOp::ULt, &[b, a]),
                Order::LessOrEqual => {
                    let greater = self.e.op(ScalarOp::ULt, &[b, a]);
                    self.e.op(ScalarOp::Not, &[greater])
                }
                Order::GreaterOrEqual => {
                    let less = self.e.op(ScalarOp::ULt, &[a, b]);
                    self.e.op(ScalarOp::Not, &[less])
                }
            };
        }
        let (float, int) = match order {
            Order::Less => (ScalarOp::FLt, ScalarOp::ILt),
            Order::LessOrEqual => (ScalarOp::FLe, ScalarOp::ILe),
            Order::Greater => (ScalarOp::FGt, ScalarOp::IGt),
            Order::GreaterOrEqual => (ScalarOp::FGe, ScalarOp::IGe),
        };
        self.either(float, int, &[a, b])
    }

    /// Unsigned quotient and remainder, 0 by zero, from the signed quotient.
    ///
    /// For a divisor d below 2^63: twice the quotient of half the dividend is the quotient or one less, as the remainder
    /// tells. From 2^63 on the quotient is 0 or 1.
    fn div_rem_u64(&mut self, n: E::Value, d: E::Value) -> [E::Value; 2] {
        let (zero, one) = (self.int(0), self.int(1));
        let half = self.e.op(ScalarOp::ShrU, &[n, one]);
        let q = self.e.op(ScalarOp::IDiv, &[half, d]);
        let q = self.e.op(ScalarOp::Shl, &[q, one]);
        let large = self.e.op(ScalarOp::ILt, &[d, zero]);
        let q = self.e.op(ScalarOp::Select, &[large, zero, q]);
        let p = self.e.op(ScalarOp::IMul, &[q, d]);
        let r = self.e.op(ScalarOp::ISub, &[n, p]);
        let done = self.e.op(ScalarOp::ULt, &[r, d]);
        let by_zero = self.e.op(ScalarOp::IEq, &[d, zero]);
        let more = self.e.op(ScalarOp::IAdd, &[q, one]);
        let less = self.e.op(ScalarOp::ISub, &[r, d]);
        let q = self.e.op(ScalarOp::Select, &[done, q, more]);
        let r = self.e.op(ScalarOp::Select, &[done, r, less]);
        [q, r].map(|v| self.e.op(ScalarOp::Select, &[by_zero, zero, v]))
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
        if self.dtype == DType::U64 {
            return self.div_rem_u64(a, b)[1];
        }
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
    fn pick(&mut self, order: Order, a: E::Value, b: E::Value) -> E::Value {
        let mut first = self.compare(order, a, b);
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
        if self.dtype.is_unsigned() {
            return x;
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

    /// The amount modulo the width; the scalar shifts do that themselves for the width of the register.
    fn shift_amount(&mut self, by: E::Value) -> E::Value {
        match self.dtype {
            DType::I64 | DType::I32 | DType::U64 => by,
            narrow => {
                let mask = self.int(8 * narrow.size() as i64 - 1);
                self.e.op(ScalarOp::And, &[by, mask])
            }
        }
    }
}
