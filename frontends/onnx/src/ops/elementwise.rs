//! Element by element: arithmetic, comparisons, logic.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::DType;
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Add", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Add)),
    row("Sub", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Sub)),
    row("Mul", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Mul)),
    row("Div", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Div)),
    row("Mod", &[10, 13, 28], Types::Number, "", modulo),
    row("Pow", &[1, 7, 12, 13, 15], Types::Number, "", power),
    row("Max", &[1, 6, 8, 12, 13], Types::Number, "", |c| fold(c, Op::Max)),
    row("Min", &[1, 6, 8, 12, 13], Types::Number, "", |c| fold(c, Op::Min)),
    row("Sum", &[1, 6, 8, 13], Types::Float, "", |c| fold(c, Op::Add)),
    row("Mean", &[1, 6, 8, 13], Types::Float, "", mean),
    row("Clip", &[1, 6, 11, 12, 13], Types::Number, "", clip),
    row("Neg", &[1, 6, 13], Types::Number, "", |c| unary(c, Op::Neg)),
    row("Abs", &[1, 6, 13], Types::Number, "", |c| unary(c, Op::Abs)),
    row("Sign", &[9, 13], Types::Number, "", sign),
    row("Reciprocal", &[1, 6, 13], Types::Float, "", reciprocal),
    row("Sqrt", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Sqrt)),
    row("Exp", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Exp)),
    row("Log", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Log)),
    row("Erf", &[9, 13], Types::Float, "", |c| unary(c, Op::Erf)),
    row("Sin", &[7, 22], Types::Float, "", |c| unary(c, Op::Sin)),
    row("Cos", &[7, 22], Types::Float, "", |c| unary(c, Op::Cos)),
    row("Tan", &[7, 22], Types::Float, "", |c| unary(c, Op::Tan)),
    row("Asin", &[7, 22], Types::Float, "", |c| unary(c, Op::Asin)),
    row("Acos", &[7, 22], Types::Float, "", |c| unary(c, Op::Acos)),
    row("Atan", &[7, 22], Types::Float, "", |c| unary(c, Op::Atan)),
    row("Sinh", &[9, 22], Types::Float, "", |c| hyperbolic(c, Op::Sub)),
    row("Cosh", &[9, 22], Types::Float, "", |c| hyperbolic(c, Op::Add)),
    row("Tanh", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Tanh)),
    row("Asinh", &[9, 22], Types::Float, "", asinh),
    row("Acosh", &[9, 22], Types::Float, "", acosh),
    row("Atanh", &[9, 22], Types::Float, "", atanh),
    row("Sigmoid", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Sigmoid)),
    row("Floor", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Floor)),
    row("Ceil", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Ceil)),
    row("Round", &[11, 22], Types::Float, "", |c| unary(c, Op::Round)),
    row("IsNaN", &[9, 13, 20], Types::Float, "", is_nan),
    row("IsInf", &[10, 20], Types::Float, "", is_inf),
    row("Equal", &[1, 7, 11, 13, 19], Types::Any, "text", |c| binary(c, Op::Eq)),
    row("Greater", &[1, 7, 9, 13], Types::Number, "", |c| binary(c, Op::Gt)),
    row("GreaterOrEqual", &[12, 16], Types::Number, "", |c| binary(c, Op::Ge)),
    row("Less", &[1, 7, 9, 13], Types::Number, "", |c| binary(c, Op::Lt)),
    row("LessOrEqual", &[12, 16], Types::Number, "", |c| binary(c, Op::Le)),
    row("And", &[1, 7], Types::Bool, "", |c| binary(c, Op::And)),
    row("Or", &[1, 7], Types::Bool, "", |c| binary(c, Op::Or)),
    row("Xor", &[1, 7], Types::Bool, "", |c| binary(c, Op::Xor)),
    row("Not", &[1], Types::Bool, "", |c| unary(c, Op::Not)),
    row("BitwiseAnd", &[18], Types::Int, "", |c| binary(c, Op::And)),
    row("BitwiseOr", &[18], Types::Int, "", |c| binary(c, Op::Or)),
    row("BitwiseXor", &[18], Types::Int, "", |c| binary(c, Op::Xor)),
    row("BitwiseNot", &[18], Types::Int, "", |c| unary(c, Op::Not)),
    row("BitShift", &[11, 28], Types::Int, "", shift),
    row("Where", &[9, 16], Types::Bool, "text", choose),
];

/// Two operands that fit each other. Before version 7 the second is repeated only if `broadcast` is set, and is aligned with
/// the axes from `axis` on (the last ones without it).
fn operands(c: &mut Call<'_, '_>) -> Result<(Value, Value), Fault> {
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    if c.opset >= 7 {
        return Ok((a, b));
    }
    // Of version 1: which result may share memory with an operand. It changes no number.
    c.has("consumed_inputs");
    let spread = c.flag("broadcast", false)?;
    let axis = c.int_opt("axis")?;
    let (rank, own) = (c.rank(&a), c.shape(&b));
    match (spread, axis) {
        (false, _) if c.shape(&a) != own => invalid("its operands have different shapes"),
        (true, Some(axis)) => {
            let first = c.axis(axis, rank)?;
            if first + own.len() > rank {
                return invalid(format!("{own:?} does not fit {:?} from axis {axis} on", c.shape(&a)));
            }
            let mut shape = own;
            shape.resize(rank - first, 1);
            let b = c.reshape(&b, &shape)?;
            Ok((a, b))
        }
        _ => Ok((a, b)),
    }
}

fn binary(c: &mut Call<'_, '_>, op: Op) -> Results {
    let (a, b) = operands(c)?;
    Ok(vec![c.ew(op, &[&a, &b])?])
}

fn unary(c: &mut Call<'_, '_>, op: Op) -> Results {
    c.has("consumed_inputs");
    let x = c.operand(0)?;
    Ok(vec![c.unary(op, &x)?])
}

/// Any number of operands, from the left.
fn fold(c: &mut Call<'_, '_>, op: Op) -> Results {
    c.has("consumed_inputs");
    let xs = c.operands()?;
    let Some((first, rest)) = xs.split_first() else { return invalid("it has no operands") };
    let mut sum = first.clone();
    for x in rest {
        sum = c.ew(op.clone(), &[&sum, x])?;
    }
    Ok(vec![sum])
}

fn mean(c: &mut Call<'_, '_>) -> Results {
    let sum = fold(c, Op::Add)?.remove(0);
    let n = c.scalar(c.dtype(&sum), c.count() as f64);
    Ok(vec![c.div(&sum, &n)?])
}

/// `A - floor(A / B) * B`, or with `fmod` `A - trunc(A / B) * B`.
fn modulo(c: &mut Call<'_, '_>) -> Results {
    let truncated = c.flag("fmod", false)?;
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    let dtype = c.dtype(&a);
    if dtype.is_float() {
        if !truncated && c.opset < 28 {
            return invalid("floats need the attribute `fmod` = 1");
        }
        let r = float_remainder(c, &a, &b)?;
        if truncated {
            return Ok(vec![r]);
        }
        // A remainder of zero has the sign of the divisor.
        let r = floored(c, &r, &b)?;
        let (zero, minus) = (c.scalar(dtype, 0.0), c.scalar(dtype, -0.0));
        let negative = c.ew(Op::Lt, &[&b, &zero])?;
        let signed = c.select(&negative, &minus, &zero)?;
        let none = c.ew(Op::Eq, &[&r, &zero])?;
        return Ok(vec![c.select(&none, &signed, &r)?]);
    }
    let r = c.ew(Op::Rem, &[&a, &b])?;
    Ok(vec![if truncated { r } else { floored(c, &r, &b)? }])
}

/// From the remainder of a truncated quotient to that of a floored one.
fn floored(c: &mut Call<'_, '_>, r: &Value, b: &Value) -> Result<Value, Fault> {
    let zero = c.scalar(c.dtype(r), 0.0);
    let there = c.ew(Op::Ne, &[r, &zero])?;
    let below = c.ew(Op::Lt, &[r, &zero])?;
    let sign = c.ew(Op::Lt, &[b, &zero])?;
    let differ = c.ew(Op::Xor, &[&below, &sign])?;
    let off = c.ew(Op::And, &[&there, &differ])?;
    let moved = c.add(r, b)?;
    c.select(&off, &moved, r)
}

/// The remainder of a truncated quotient. Computed in 64 bits: the quotient of two narrower floats then truncates rightly,
/// unless it has more than 29 bits.
fn float_remainder(c: &mut Call<'_, '_>, a: &Value, b: &Value) -> Result<Value, Fault> {
    let dtype = c.dtype(a);
    let (x, y) = (c.cast(a, DType::F64)?, c.cast(b, DType::F64)?);
    let q = c.div(&x, &y)?;
    let q = c.unary(Op::Trunc, &q)?;
    let minus = c.unary(Op::Neg, &y)?;
    let r = c.ew(Op::Fma, &[&minus, &q, &x])?;
    // A finite number modulo an infinite one is itself.
    let infinity = c.scalar(DType::F64, f64::INFINITY);
    let (size, own) = (c.unary(Op::Abs, &y)?, c.unary(Op::Abs, &x)?);
    let endless = c.ew(Op::Eq, &[&size, &infinity])?;
    let finite = c.ew(Op::Lt, &[&own, &infinity])?;
    let itself = c.ew(Op::And, &[&endless, &finite])?;
    let r = c.select(&itself, &x, &r)?;
    c.cast(&r, dtype)
}

fn power(c: &mut Call<'_, '_>) -> Results {
    let (a, b) = operands(c)?;
    let (base, exponent) = (c.dtype(&a), c.dtype(&b));
    if base.is_float() {
        let b = c.cast(&b, base)?;
        return Ok(vec![c.ew(Op::Pow, &[&a, &b])?]);
    }
    if exponent.is_float() {
        let (x, y) = (c.cast(&a, DType::F64)?, c.cast(&b, DType::F64)?);
        let p = c.ew(Op::Pow, &[&x, &y])?;
        return Ok(vec![c.cast(&p, base)?]);
    }
    // By squaring, exact and wrapping as products of integers do.
    let b = c.cast(&b, DType::I64)?;
    let (zero, one) = (c.scalar(DType::I64, 0.0), c.scalar(DType::I64, 1.0));
    let bits = match b.tensor() {
        Some(t) => 64 - t.as_slice::<i64>().iter().map(|n| n.max(&0).leading_zeros()).min().unwrap_or(64),
        None => 63,
    };
    let unit = c.scalar(base, 1.0);
    let mut result = unit.clone();
    let (mut square, mut rest) = (a.clone(), b.clone());
    for _ in 0..bits {
        let low = c.ew(Op::And, &[&rest, &one])?;
        let odd = c.ew(Op::Ne, &[&low, &zero])?;
        let times = c.mul(&result, &square)?;
        result = c.select(&odd, &times, &result)?;
        square = c.mul(&square, &square)?;
        rest = c.ew(Op::Shr, &[&rest, &one])?;
    }
    // A negative power of an integer is 1 / a^n without its fraction: of 1 and -1 their own power, else 0.
    let negative = c.ew(Op::Lt, &[&b, &zero])?;
    let low = c.ew(Op::And, &[&b, &one])?;
    let even = c.ew(Op::Eq, &[&low, &zero])?;
    let signed = c.select(&even, &unit, &a)?;
    let size = c.unary(Op::Abs, &a)?;
    let is_unit = c.ew(Op::Eq, &[&size, &unit])?;
    let nothing = c.scalar(base, 0.0);
    let inverse = c.select(&is_unit, &signed, &nothing)?;
    let shape = [c.shape(&a), c.shape(&b)];
    let result = c.select(&negative, &inverse, &result)?;
    let result = c.broadcast(&result, &super::basic::broadcast_shape(&shape)?)?;
    Ok(vec![result])
}

/// Bounds are attributes before version 11, operands from it on.
fn clip(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let mut x = c.operand(0)?;
    let dtype = c.dtype(&x);
    let (low, high) = match c.opset < 11 {
        true => {
            let bound = |v: Option<f32>| v.map(|v| c.scalar(dtype, f64::from(v)));
            (bound(c.float_opt("min")?), bound(c.float_opt("max")?))
        }
        false => (c.optional(1), c.optional(2)),
    };
    for (op, bound) in [(Op::Max, low), (Op::Min, high)] {
        if let Some(bound) = bound {
            if c.shape(&bound).iter().any(|n| *n != 1) {
                return invalid(format!("a bound has the shape {:?}, a scalar was expected", c.shape(&bound)));
            }
            let bound = c.reshape(&bound, &[])?;
            x = c.ew(op, &[&x, &bound])?;
        }
    }
    Ok(vec![x])
}

fn sign(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let dtype = c.dtype(&x);
    let (zero, one) = (c.scalar(dtype, 0.0), c.scalar(dtype, 1.0));
    let minus = c.unary(Op::Neg, &one)?;
    let (above, below) = (c.ew(Op::Gt, &[&x, &zero])?, c.ew(Op::Lt, &[&x, &zero])?);
    // Zero and NaN stay what they are.
    let y = c.select(&below, &minus, &x)?;
    Ok(vec![c.select(&above, &one, &y)?])
}

fn reciprocal(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let x = c.operand(0)?;
    let one = c.scalar(c.dtype(&x), 1.0);
    Ok(vec![c.div(&one, &x)?])
}

/// Runs `f` on the first operand in at least 32 bits, and brings its result back.
pub(super) fn wide(c: &mut Call<'_, '_>, f: impl FnOnce(&mut Call<'_, '_>, &Value) -> Result<Value, Fault>) -> Results {
    let x = c.operand(0)?;
    let dtype = c.dtype(&x);
    let wider = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let x = c.cast(&x, wider)?;
    let y = f(c, &x)?;
    Ok(vec![c.cast(&y, dtype)?])
}

/// `(e^x + e^-x) / 2`, or the difference. The halves of the exponent keep results finite that are.
fn hyperbolic(c: &mut Call<'_, '_>, op: Op) -> Results {
    wide(c, |c, x| {
        let dtype = c.dtype(x);
        let half = c.scalar(dtype, 0.5);
        let h = c.mul(x, &half)?;
        let e = c.unary(Op::Exp, &h)?;
        let m = c.unary(Op::Neg, &h)?;
        let f = c.unary(Op::Exp, &m)?;
        let (u, v) = (c.mul(&e, &half)?, c.mul(&f, &half)?);
        let (up, down) = (c.mul(&u, &e)?, c.mul(&v, &f)?);
        let far = c.ew(op.clone(), &[&up, &down])?;
        if op == Op::Add {
            return Ok(far);
        }
        // Near zero the difference cancels: there the series up to x^9 is exact to the last bit of 32.
        let q = c.mul(x, x)?;
        let mut p = c.scalar(dtype, 1.0 / 362_880.0);
        for k in [5040.0, 120.0, 6.0] {
            let next = c.scalar(dtype, 1.0 / k);
            p = c.ew(Op::Fma, &[&p, &q, &next])?;
        }
        let cube = c.mul(&q, x)?;
        let near = c.ew(Op::Fma, &[&p, &cube, x])?;
        let one = c.scalar(dtype, if dtype == DType::F64 { 1e-2 } else { 1.0 });
        let size = c.unary(Op::Abs, x)?;
        let small = c.ew(Op::Lt, &[&size, &one])?;
        c.select(&small, &near, &far)
    })
}

/// `log(1 + x)` that is right for small x: the error of `1 + x` cancels in `log(w) / (w - 1)`.
pub(super) fn log1p(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let one = c.scalar(c.dtype(x), 1.0);
    let w = c.add(x, &one)?;
    let log = c.unary(Op::Log, &w)?;
    let d = c.sub(&w, &one)?;
    let ratio = c.div(x, &d)?;
    let y = c.mul(&log, &ratio)?;
    let tiny = c.ew(Op::Eq, &[&w, &one])?;
    let y = c.select(&tiny, x, &y)?;
    // Infinity divided by itself is no number, but its logarithm is infinite.
    let infinity = c.scalar(c.dtype(x), f64::INFINITY);
    let endless = c.ew(Op::Eq, &[x, &infinity])?;
    c.select(&endless, x, &y)
}

/// `sign(x) log(|x| + sqrt(x^2 + 1))`, as `log1p(|x| + x^2 / (1 + sqrt(x^2 + 1)))`.
fn asinh(c: &mut Call<'_, '_>) -> Results {
    wide(c, |c, x| {
        let dtype = c.dtype(x);
        let (zero, one) = (c.scalar(dtype, 0.0), c.scalar(dtype, 1.0));
        let size = c.unary(Op::Abs, x)?;
        let square = c.mul(x, x)?;
        let root = c.add(&square, &one)?;
        let root = c.unary(Op::Sqrt, &root)?;
        let below = c.add(&root, &one)?;
        let part = c.div(&square, &below)?;
        let sum = c.add(&size, &part)?;
        let near = log1p(c, &sum)?;
        // The square of a large number is infinite; there the logarithm of twice the number is right.
        let log = c.unary(Op::Log, &size)?;
        let two = c.scalar(dtype, std::f64::consts::LN_2);
        let far = c.add(&log, &two)?;
        let bound = c.scalar(dtype, 1e8);
        let large = c.ew(Op::Gt, &[&size, &bound])?;
        let y = c.select(&large, &far, &near)?;
        let minus = c.unary(Op::Neg, &y)?;
        let negative = c.ew(Op::Lt, &[x, &zero])?;
        let signed = c.select(&negative, &minus, &y)?;
        let none = c.ew(Op::Eq, &[x, &zero])?;
        c.select(&none, x, &signed)
    })
}

/// `log(x + sqrt(x^2 - 1))`, as `log1p(t + sqrt(2 t + t^2))` with t = x - 1.
fn acosh(c: &mut Call<'_, '_>) -> Results {
    wide(c, |c, x| {
        let dtype = c.dtype(x);
        let (one, two) = (c.scalar(dtype, 1.0), c.scalar(dtype, 2.0));
        let t = c.sub(x, &one)?;
        let twice = c.add(&t, &two)?;
        let square = c.mul(&t, &twice)?;
        let root = c.unary(Op::Sqrt, &square)?;
        let sum = c.add(&t, &root)?;
        let near = log1p(c, &sum)?;
        let log = c.unary(Op::Log, x)?;
        let ln2 = c.scalar(dtype, std::f64::consts::LN_2);
        let far = c.add(&log, &ln2)?;
        let bound = c.scalar(dtype, 1e8);
        let large = c.ew(Op::Gt, &[x, &bound])?;
        c.select(&large, &far, &near)
    })
}

/// `log((1 + x) / (1 - x)) / 2`, as `log1p(2 x / (1 - x)) / 2`.
fn atanh(c: &mut Call<'_, '_>) -> Results {
    wide(c, |c, x| {
        let dtype = c.dtype(x);
        let (half, one, zero) = (c.scalar(dtype, 0.5), c.scalar(dtype, 1.0), c.scalar(dtype, 0.0));
        // On the magnitude, since the logarithm loses digits where its argument is near zero.
        let size = c.unary(Op::Abs, x)?;
        let below = c.sub(&one, &size)?;
        let twice = c.add(&size, &size)?;
        let ratio = c.div(&twice, &below)?;
        let log = log1p(c, &ratio)?;
        let y = c.mul(&log, &half)?;
        let minus = c.unary(Op::Neg, &y)?;
        let negative = c.ew(Op::Lt, &[x, &zero])?;
        c.select(&negative, &minus, &y)
    })
}

fn is_nan(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    Ok(vec![c.ew(Op::Ne, &[&x, &x])?])
}

fn is_inf(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let (positive, negative) = (c.flag("detect_positive", true)?, c.flag("detect_negative", true)?);
    let at = |c: &mut Call<'_, '_>, bound: f64| {
        let infinity = c.scalar(c.dtype(&x), bound);
        c.ew(Op::Eq, &[&x, &infinity])
    };
    let up = at(c, if positive { f64::INFINITY } else { f64::NAN })?;
    let down = at(c, if negative { f64::NEG_INFINITY } else { f64::NAN })?;
    Ok(vec![c.ew(Op::Or, &[&up, &down])?])
}

/// A shift by no less than the width, or by a negative amount, leaves nothing but the sign.
fn shift(c: &mut Call<'_, '_>) -> Results {
    let (x, by) = (c.operand(0)?, c.operand(1)?);
    let dtype = c.dtype(&x);
    let width = 8 * dtype.size();
    let (zero, most) = (c.scalar(dtype, 0.0), c.scalar(dtype, width as f64 - 1.0));
    let low = c.ew(Op::Lt, &[&by, &zero])?;
    let high = c.ew(Op::Gt, &[&by, &most])?;
    let out = c.ew(Op::Or, &[&low, &high])?;
    match c.text("direction", "")?.as_str() {
        "LEFT" => {
            let y = c.ew(Op::Shl, &[&x, &by])?;
            Ok(vec![c.select(&out, &zero, &y)?])
        }
        "RIGHT" => {
            let by = c.select(&out, &most, &by)?;
            let y = c.ew(Op::Shr, &[&x, &by])?;
            if Types::These(&[DType::I8, DType::I16, DType::I32, DType::I64]).has(dtype) {
                return Ok(vec![y]);
            }
            Ok(vec![c.select(&out, &zero, &y)?])
        }
        other => unsupported(format!("the direction {other:?}")),
    }
}

fn choose(c: &mut Call<'_, '_>) -> Results {
    let (condition, a, b) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    Ok(vec![c.select(&condition, &a, &b)?])
}
