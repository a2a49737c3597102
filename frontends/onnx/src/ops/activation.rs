//! Activation functions. Those of several steps are computed in at least 32 bits.

use super::elementwise::{log1p, wide};
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Relu", &[1, 6, 13, 14], Types::Number, "", relu),
    row("LeakyRelu", &[1, 6, 16], Types::Float, "", leaky_relu),
    row("PRelu", &[1, 6, 7, 9, 16], Types::Number, "", prelu),
    row("ThresholdedRelu", &[10, 22], Types::Float, "", thresholded_relu),
    row("Elu", &[1, 6, 22], Types::Float, "", elu),
    row("Celu", &[12, 28], Types::Float, "", celu),
    row("Selu", &[1, 6, 22], Types::Float, "", selu),
    row("Gelu", &[20], Types::Float, "", gelu),
    row("HardSigmoid", &[1, 6, 22], Types::Float, "", hard_sigmoid),
    row("HardSwish", &[14, 22], Types::Float, "", hard_swish),
    row("Swish", &[24], Types::Float, "", swish),
    row("SwiGLU", &[28], Types::Float, "", swiglu),
    row("Softplus", &[1, 22], Types::Float, "", |c| wide(c, softplus)),
    row("Mish", &[18, 22], Types::Float, "", mish),
    row("Softsign", &[1, 22], Types::Float, "", softsign),
    row("Shrink", &[9], Types::Number, "", shrink),
];

fn relu(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let x = c.operand(0)?;
    let zero = c.scalar(c.dtype(&x), 0.0);
    Ok(vec![c.ew(Op::Max, &[&x, &zero])?])
}

/// `x` where it is below zero, mapped by `f`; else `x` itself.
fn below_zero(
    c: &mut Call<'_, '_>,
    x: &Value,
    f: impl FnOnce(&mut Call<'_, '_>, &Value) -> Result<Value, Fault>,
) -> Result<Value, Fault> {
    let zero = c.scalar(c.dtype(x), 0.0);
    let negative = c.ew(Op::Lt, &[x, &zero])?;
    let y = f(c, x)?;
    c.select(&negative, &y, x)
}

/// A constant of the element type of `x`.
fn like(c: &Call<'_, '_>, x: &Value, value: f32) -> Value {
    c.scalar(c.dtype(x), f64::from(value))
}

fn leaky_relu(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let alpha = c.float("alpha", 0.01)?;
    wide(c, |c, x| {
        let alpha = like(c, x, alpha);
        below_zero(c, x, |c, x| c.mul(x, &alpha))
    })
}

/// The slope broadcasts to `x`; before version 7 a vector has one entry for each channel, axis 1.
fn prelu(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let (x, mut slope) = (c.operand(0)?, c.operand(1)?);
    let (shape, own) = (c.shape(&x), c.shape(&slope));
    if c.opset < 7 && own.len() == 1 && own[0] != 1 && shape.len() > 2 {
        let mut spread = own.clone();
        spread.resize(shape.len() - 1, 1);
        slope = c.reshape(&slope, &spread)?;
    }
    let slope = c.broadcast(&slope, &shape)?;
    Ok(vec![below_zero(c, &x, |c, x| c.mul(x, &slope))?])
}

fn thresholded_relu(c: &mut Call<'_, '_>) -> Results {
    let alpha = c.float("alpha", 1.0)?;
    let x = c.operand(0)?;
    let (alpha, zero) = (like(c, &x, alpha), like(c, &x, 0.0));
    let above = c.ew(Op::Gt, &[&x, &alpha])?;
    Ok(vec![c.select(&above, &x, &zero)?])
}

/// `scale (exp(x) - 1)`
fn expm1(c: &mut Call<'_, '_>, x: &Value, scale: f32) -> Result<Value, Fault> {
    let (one, scale) = (like(c, x, 1.0), like(c, x, scale));
    let e = c.unary(Op::Exp, x)?;
    let y = c.sub(&e, &one)?;
    c.mul(&y, &scale)
}

fn elu(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let alpha = c.float("alpha", 1.0)?;
    wide(c, |c, x| below_zero(c, x, |c, x| expm1(c, x, alpha)))
}

fn celu(c: &mut Call<'_, '_>) -> Results {
    let alpha = c.float("alpha", 1.0)?;
    wide(c, |c, x| {
        let (zero, by) = (like(c, x, 0.0), like(c, x, alpha));
        let scaled = c.div(x, &by)?;
        let e = expm1(c, &scaled, alpha)?;
        let (up, down) = (c.ew(Op::Max, &[x, &zero])?, c.ew(Op::Min, &[&e, &zero])?);
        c.add(&up, &down)
    })
}

fn selu(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let first = c.opset < 6;
    let alpha = c.float("alpha", if first { 1.6732 } else { 1.673_263_2 })?;
    let gamma = c.float("gamma", if first { 1.0507 } else { 1.050_701 })?;
    wide(c, |c, x| {
        let y = below_zero(c, x, |c, x| expm1(c, x, alpha))?;
        let gamma = like(c, x, gamma);
        c.mul(&y, &gamma)
    })
}

fn gelu(c: &mut Call<'_, '_>) -> Results {
    let form = c.text("approximate", "none")?;
    wide(c, |c, x| {
        let dtype = c.dtype(x);
        let (half, one) = (c.scalar(dtype, 0.5), c.scalar(dtype, 1.0));
        let inner = match form.as_str() {
            "none" => {
                let root = c.scalar(dtype, std::f64::consts::FRAC_1_SQRT_2);
                let y = c.mul(x, &root)?;
                c.unary(Op::Erf, &y)?
            }
            "tanh" => {
                let (a, b) = (c.scalar(dtype, 0.044715), c.scalar(dtype, (2.0 / std::f64::consts::PI).sqrt()));
                let square = c.mul(x, x)?;
                let cube = c.mul(&square, x)?;
                let y = c.ew(Op::Fma, &[&a, &cube, x])?;
                let y = c.mul(&y, &b)?;
                c.unary(Op::Tanh, &y)?
            }
            other => return unsupported(format!("the approximation {other:?}")),
        };
        let sum = c.add(&inner, &one)?;
        let scaled = c.mul(x, &half)?;
        c.mul(&scaled, &sum)
    })
}

/// `max(0, min(1, a x + b))`
fn hard(c: &mut Call<'_, '_>, x: &Value, a: f64, b: f64) -> Result<Value, Fault> {
    let dtype = c.dtype(x);
    let (a, b, zero, one) = (c.scalar(dtype, a), c.scalar(dtype, b), c.scalar(dtype, 0.0), c.scalar(dtype, 1.0));
    let y = c.mul(x, &a)?;
    let y = c.add(&y, &b)?;
    let y = c.ew(Op::Min, &[&y, &one])?;
    c.ew(Op::Max, &[&y, &zero])
}

fn hard_sigmoid(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let (a, b) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
    wide(c, |c, x| hard(c, x, f64::from(a), f64::from(b)))
}

fn hard_swish(c: &mut Call<'_, '_>) -> Results {
    wide(c, |c, x| {
        let gate = hard(c, x, 1.0 / 6.0, 0.5)?;
        c.mul(x, &gate)
    })
}

/// `x sigmoid(alpha x)`
fn swished(c: &mut Call<'_, '_>, x: &Value, alpha: f32) -> Result<Value, Fault> {
    let alpha = like(c, x, alpha);
    let y = c.mul(x, &alpha)?;
    let gate = c.unary(Op::Sigmoid, &y)?;
    c.mul(x, &gate)
}

fn swish(c: &mut Call<'_, '_>) -> Results {
    let alpha = c.float("alpha", 1.0)?;
    wide(c, |c, x| swished(c, x, alpha))
}

fn swiglu(c: &mut Call<'_, '_>) -> Results {
    let alpha = c.float("alpha", 1.0)?;
    let b = c.operand(1)?;
    if c.shape(&c.operand(0)?) != c.shape(&b) {
        return invalid("its operands have different shapes");
    }
    wide(c, |c, x| {
        let b = c.cast(&b, c.dtype(x))?;
        let y = swished(c, x, alpha)?;
        c.mul(&y, &b)
    })
}

/// `log(1 + exp(x))`, as `max(x, 0) + log1p(exp(-|x|))`.
fn softplus(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let zero = like(c, x, 0.0);
    let size = c.unary(Op::Abs, x)?;
    let minus = c.unary(Op::Neg, &size)?;
    let e = c.unary(Op::Exp, &minus)?;
    let log = log1p(c, &e)?;
    let up = c.ew(Op::Max, &[x, &zero])?;
    c.add(&up, &log)
}

fn mish(c: &mut Call<'_, '_>) -> Results {
    wide(c, |c, x| {
        let y = softplus(c, x)?;
        let gate = c.unary(Op::Tanh, &y)?;
        c.mul(x, &gate)
    })
}

fn softsign(c: &mut Call<'_, '_>) -> Results {
    wide(c, |c, x| {
        let one = like(c, x, 1.0);
        let size = c.unary(Op::Abs, x)?;
        let below = c.add(&size, &one)?;
        c.div(x, &below)
    })
}

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0.
fn shrink(c: &mut Call<'_, '_>) -> Results {
    let (bias, bound) = (c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
    let x = c.operand(0)?;
    let dtype = c.dtype(&x);
    // Bounds are reals, whatever the element type is.
    let wider = if dtype.is_float() { dtype } else { nc_ir::DType::F64 };
    let y = c.cast(&x, wider)?;
    let (bias, up, down) = (like(c, &y, bias), like(c, &y, bound), like(c, &y, -bound));
    let (above, below) = (c.ew(Op::Gt, &[&y, &up])?, c.ew(Op::Lt, &[&y, &down])?);
    let (less, more) = (c.sub(&y, &bias)?, c.add(&y, &bias)?);
    let zero = like(c, &y, 0.0);
    let z = c.select(&below, &more, &zero)?;
    let z = c.select(&above, &less, &z)?;
    Ok(vec![c.cast(&z, dtype)?])
}
