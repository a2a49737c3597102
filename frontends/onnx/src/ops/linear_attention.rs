//! Attention with a state instead of keys, and the convolution that goes with it.

use super::attention::{by_heads, joined, repeated};
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::DType;
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("LinearAttention", &[27], Types::Float, "", linear_attention),
    row("CausalConvWithState", &[27], Types::Float, "", causal_conv),
];

fn heads(c: &Call<'_, '_>, name: &str) -> Result<usize, Fault> {
    match usize::try_from(c.int(name, 0)?) {
        Ok(n) if n > 0 => Ok(n),
        _ => invalid(format!("`{name}` must be given, and be positive")),
    }
}

/// `[B, H, T, D]` with time in front, in f32.
fn over_time(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let x = c.cast(x, DType::F32)?;
    c.transpose(&x, &[2, 0, 1, 3])
}

/// `S = exp(g) S; v' = beta (v - k S); S += k v'; y = scale q S`, one row of time after the other, in f32.
fn linear_attention(c: &mut Call<'_, '_>) -> Results {
    let (q, k, v) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (past, decay, beta) = (c.optional(3), c.optional(4), c.optional(5));
    let (q_heads, kv_heads) = (heads(c, "q_num_heads")?, heads(c, "kv_num_heads")?);
    let rule = c.text("update_rule", "gated_delta")?;
    let scale = c.float("scale", 0.0)?;
    // A hint for the size of pieces, which changes no number.
    c.has("chunk_size");
    let (gated, corrected) = match rule.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return invalid(format!("`update_rule` is {other:?}")),
    };
    if gated != decay.is_some() || corrected != beta.is_some() {
        return invalid(format!("the rule {rule:?} and the operands `decay` and `beta` do not fit"));
    }
    for (name, x) in [("query", &q), ("key", &k), ("value", &v)].into_iter().chain(decay.iter().map(|d| ("decay", d))) {
        if c.rank(x) != 3 {
            return invalid(format!("`{name}` has the shape {:?}, [B, T, heads * size] was expected", c.shape(x)));
        }
    }
    let dtype = c.dtype(&q);
    let (batch, ticks) = (c.shape(&q)[0], c.shape(&q)[1]);
    let (q, k, v) = (by_heads(c, &q, q_heads)?, by_heads(c, &k, kv_heads)?, by_heads(c, &v, kv_heads)?);
    let (dk, dv) = (c.shape(&k)[3], c.shape(&v)[3]);
    let state_type = past.as_ref().map_or(dtype, |p| c.dtype(p));
    let state = match &past {
        Some(p) => c.cast(p, DType::F32)?,
        None => {
            let zero = c.scalar(DType::F32, 0.0);
            c.broadcast(&zero, &[batch, kv_heads, dk, dv])?
        }
    };
    let mut scanned = vec![over_time(c, &q)?, over_time(c, &k)?, over_time(c, &v)?];
    let mut gate_width = 0;
    if let Some(decay) = &decay {
        // One for each head, or for each element of the key.
        let gate = by_heads(c, decay, kv_heads)?;
        gate_width = c.shape(&gate)[3];
        if gate_width != 1 && gate_width != dk {
            return invalid(format!("`decay` has the shape {:?}", c.shape(decay)));
        }
        let gate = over_time(c, &gate)?;
        scanned.push(c.unary(Op::Exp, &gate)?);
    }
    let mut beta_heads = 0;
    if let Some(beta) = &beta {
        beta_heads = c.shape(beta).last().copied().unwrap_or(0);
        if beta_heads != 1 && beta_heads != kv_heads {
            return invalid(format!("`beta` has the shape {:?}", c.shape(beta)));
        }
        let rate = by_heads(c, beta, beta_heads)?;
        scanned.push(over_time(c, &rate)?);
    }
    let factor = if scale == 0.0 { 1.0 / (dk as f64).sqrt() } else { f64::from(scale) };
    c.open();
    let s = c.parameter(DType::F32, &[batch, kv_heads, dk, dv], "state");
    let q = c.parameter(DType::F32, &[batch, q_heads, dk], "query");
    let k = c.parameter(DType::F32, &[batch, kv_heads, dk], "key");
    let v = c.parameter(DType::F32, &[batch, kv_heads, dv], "value");
    let gate = gated.then(|| c.parameter(DType::F32, &[batch, kv_heads, gate_width], "gate"));
    let rate = corrected.then(|| c.parameter(DType::F32, &[batch, beta_heads, 1], "rate"));
    let mut s = s;
    if let Some(gate) = gate {
        let gate = c.unsqueeze(&gate, &[3])?;
        s = c.mul(&s, &gate)?;
    }
    let mut v = v;
    if let Some(rate) = rate {
        let row = c.unsqueeze(&k, &[2])?;
        let found = c.op(Op::Matmul, &[row, s.clone()])?;
        let found = c.reshape(&found, &[batch, kv_heads, dv])?;
        let off = c.sub(&v, &found)?;
        v = c.mul(&rate, &off)?;
    }
    let (column, row) = (c.unsqueeze(&k, &[3])?, c.unsqueeze(&v, &[2])?);
    let outer = c.mul(&column, &row)?;
    let next = c.add(&s, &outer)?;
    let read = repeated(c, &next, q_heads)?;
    let row = c.unsqueeze(&q, &[2])?;
    let y = c.op(Op::Matmul, &[row, read])?;
    let y = c.reshape(&y, &[batch, q_heads, dv])?;
    let factor = c.scalar(DType::F32, factor);
    let y = c.mul(&y, &factor)?;
    let body = c.close(&[next, y]);
    let results = c.scan(&[state], &scanned, false, body)?;
    let [present, y] = &results[..] else { return invalid("a scan of two results gives others") };
    debug_assert_eq!(c.shape(y), [ticks, batch, q_heads, dv]);
    // [T, B, H, D] to [B, H, T, D]
    let y = c.transpose(y, &[1, 2, 0, 3])?;
    let y = joined(c, &y)?;
    Ok(vec![c.cast(&y, dtype)?, c.cast(present, state_type)?])
}

/// A convolution over time for each channel, over the last inputs of the call before and those of this one.
fn causal_conv(c: &mut Call<'_, '_>) -> Results {
    let (x, w, bias, past) = (c.operand(0)?, c.operand(1)?, c.optional(2), c.optional(3));
    let activation = c.text("activation", "none")?;
    let (shape, kernel) = (c.shape(&x), c.shape(&w));
    let (&[batch, channels, _], &[_, 1, size]) = (&shape[..], &kernel[..]) else {
        return invalid(format!("operand and weights have the shapes {shape:?} and {kernel:?}"));
    };
    if size == 0 {
        return invalid("the weights cover no time");
    }
    let dtype = c.dtype(&x);
    let past = match past {
        Some(p) => p,
        None => {
            let zero = c.scalar(dtype, 0.0);
            c.broadcast(&zero, &[batch, channels, size - 1])?
        }
    };
    let all = c.concat(&[past, x], 2)?;
    let op = Op::Conv { stride: vec![1], pad: vec![0, 0], dilation: vec![1], groups: channels as u64 };
    let args: Vec<Value> = [all.clone(), w].into_iter().chain(bias).collect();
    let mut y = c.op(op, &args)?;
    match activation.as_str() {
        "none" => {}
        "silu" | "swish" => {
            let x = c.cast(&y, if dtype == DType::F64 { DType::F64 } else { DType::F32 })?;
            let s = c.unary(Op::Sigmoid, &x)?;
            let s = c.mul(&x, &s)?;
            y = c.cast(&s, dtype)?;
        }
        other => return invalid(format!("`activation` is {other:?}")),
    }
    let length = c.shape(&all)[2];
    let state = c.slice_axis(&all, 2, length + 1 - size, length, 1)?;
    Ok(vec![y, state])
}
