//! Attention, and the rotation of embeddings that goes with it.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use crate::tensor::element_type;
use nc_ir::DType;
use nc_ir::graph::{Op, ReduceKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Attention", &[23, 24, 25], Types::Float, "", attention),
    row("RotaryEmbedding", &[23], Types::Float, "", rotary),
    Row { domain: "ai.onnx.preview", ..row("FlexAttention", &[1], Types::Float, "", flexible) },
];

/// `[B, T, heads * size]` as `[B, heads, T, size]`; a value of four axes stays as it is.
pub(super) fn by_heads(c: &mut Call<'_, '_>, x: &Value, heads: usize) -> Result<Value, Fault> {
    let shape = c.shape(x);
    match shape[..] {
        [_, _, _, _] => Ok(x.clone()),
        [b, t, n] if heads > 0 && n.is_multiple_of(heads) => {
            let split = c.reshape(x, &[b, t, heads, n / heads])?;
            c.transpose(&split, &[0, 2, 1, 3])
        }
        _ => invalid(format!("{heads} heads do not divide the last axis of {shape:?}")),
    }
}

/// `[B, heads, T, size]` as `[B, T, heads * size]`.
pub(super) fn joined(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let moved = c.transpose(x, &[0, 2, 1, 3])?;
    let s = c.shape(&moved);
    c.reshape(&moved, &[s[0], s[1], s[2] * s[3]])
}

/// Each head of `[B, H, ..]` so often that there are `heads`: h0, h0, .., h1, h1, ..
pub(super) fn repeated(c: &mut Call<'_, '_>, x: &Value, heads: usize) -> Result<Value, Fault> {
    let shape = c.shape(x);
    if shape[1] == heads {
        return Ok(x.clone());
    }
    if shape[1] == 0 || !heads.is_multiple_of(shape[1]) {
        return invalid(format!("{heads} heads of the query are no multiple of {} heads of the key", shape[1]));
    }
    let index: Vec<i64> = (0..heads).map(|h| (h / (heads / shape[1])) as i64).collect();
    let index = c.i64s(&index);
    c.gather(x, &index, 1)
}

fn heads(c: &Call<'_, '_>, name: &str) -> Result<usize, Fault> {
    match usize::try_from(c.int(name, 0)?) {
        Ok(n) => Ok(n),
        Err(_) => invalid(format!("`{name}` is negative")),
    }
}

/// The element type that `softmax_precision` names, or a default.
fn precision(c: &Call<'_, '_>, default: DType) -> Result<DType, Fault> {
    match c.int_opt("softmax_precision")? {
        None => Ok(default),
        Some(n) => {
            match i32::try_from(n).map_err(|_| format!("the element type {n} is not supported")).and_then(element_type)
            {
                Ok(d) if d.is_float() => Ok(d),
                Ok(d) => invalid(format!("`softmax_precision` is {d}")),
                Err(text) => Err(Fault::Unsupported(text)),
            }
        }
    }
}

/// Query times key, both scaled by the root of `scale`.
fn scores(c: &mut Call<'_, '_>, q: &Value, k: &Value, scale: Option<f32>) -> Result<Value, Fault> {
    let dtype = c.dtype(q);
    let size = c.shape(q)[3];
    let root = match scale {
        Some(s) => f64::from(s).sqrt(),
        None => (1.0 / (size as f64).sqrt()).sqrt(),
    };
    let root = c.scalar(dtype, root);
    let q = c.mul(q, &root)?;
    let k = c.mul(k, &root)?;
    let k = c.transpose(&k, &[0, 1, 3, 2])?;
    c.op(Op::Matmul, &[q, k])
}

/// `exp(x - max) / sum` along the last axis; 0 along rows without a finite element.
fn softmax(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let (dtype, last) = (c.dtype(x), c.rank(x) - 1);
    if c.shape(x).contains(&0) {
        return Ok(x.clone());
    }
    let (zero, one) = (c.scalar(dtype, 0.0), c.scalar(dtype, 1.0));
    let lowest = c.scalar(dtype, f64::NEG_INFINITY);
    let most = c.reduce(ReduceKind::Max, x, &[last], true)?;
    let masked = c.ew(Op::Eq, &[&most, &lowest])?;
    let most = c.select(&masked, &zero, &most)?;
    let off = c.sub(x, &most)?;
    let e = c.unary(Op::Exp, &off)?;
    let sum = super::softmax::denominator(c, &e, &[last])?;
    let nothing = c.ew(Op::Eq, &[&sum, &zero])?;
    let sum = c.select(&nothing, &one, &sum)?;
    c.div(&e, &sum)
}

/// What is added to the scores: 0 where a query may look at a key, minus infinity where not, and a mask's numbers.
struct Bias {
    /// Broadcasts to `[B, heads, Tq, Tk]`; `None` if everything is allowed.
    value: Option<Value>,
    dtype: DType,
}

impl Bias {
    fn add(&mut self, c: &mut Call<'_, '_>, more: &Value) -> Result<(), Fault> {
        self.value = Some(match &self.value {
            None => more.clone(),
            Some(v) => c.add(v, more)?,
        });
        Ok(())
    }

    /// Forbids what is false.
    fn allow(&mut self, c: &mut Call<'_, '_>, allowed: &Value) -> Result<(), Fault> {
        let (zero, lowest) = (c.scalar(self.dtype, 0.0), c.scalar(self.dtype, f64::NEG_INFINITY));
        let bias = c.select(allowed, &zero, &lowest)?;
        self.add(c, &bias)
    }
}

/// Positions of keys less positions of queries, `[Tq, Tk]` or, where the first query of each sample has its own position,
/// `[B, 1, Tq, Tk]`.
fn distances(c: &mut Call<'_, '_>, tq: usize, tk: usize, first: &Value) -> Result<Value, Fault> {
    let queries: Vec<i64> = (0..tq as i64).collect();
    let keys: Vec<i64> = (0..tk as i64).collect();
    let (queries, keys) = (c.i64s(&queries), c.i64s(&keys));
    let queries = c.reshape(&queries, &[tq, 1])?;
    let at = c.add(&queries, first)?;
    c.sub(&keys, &at)
}

fn attention(c: &mut Call<'_, '_>) -> Results {
    let (q, k, v) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (mask, past_key, past_value) = (c.optional(3), c.optional(4), c.optional(5));
    let lengths = if c.opset >= 24 { c.optional(6) } else { None };
    let (q_heads, k_heads) = (heads(c, "q_num_heads")?, heads(c, "kv_num_heads")?);
    let (scale, softcap) = (c.float_opt("scale")?, c.float("softcap", 0.0)?);
    let causal = c.flag("is_causal", false)?;
    let mode = c.int("qk_matmul_output_mode", 0)?;
    let (left, right) = match c.opset >= 25 {
        true => (c.int("left_window_size", -1)?, c.int("right_window_size", -1)?),
        false => (-1, -1),
    };
    let dtype = c.dtype(&q);
    let inner = precision(c, dtype)?;
    let flat = c.rank(&q) == 3;
    let q = by_heads(c, &q, q_heads)?;
    let (mut k, mut v) = (by_heads(c, &k, k_heads)?, by_heads(c, &v, k_heads)?);
    match (&past_key, &past_value) {
        (Some(pk), Some(pv)) => {
            k = c.concat(&[pk.clone(), k], 2)?;
            v = c.concat(&[pv.clone(), v], 2)?;
        }
        (None, None) => {}
        _ => return invalid("past keys and past values must be given together"),
    }
    if lengths.is_some() && past_key.is_some() {
        return invalid("the lengths of keys cannot be given together with past keys");
    }
    let (present_key, present_value) = (k.clone(), v.clone());
    let (sq, sk) = (c.shape(&q), c.shape(&k));
    if sq.len() != 4 || sk.len() != 4 {
        return invalid(format!("query and key have the shapes {sq:?} and {sk:?}"));
    }
    let (tq, tk) = (sq[2], sk[2]);
    let mut bias = Bias { value: None, dtype };
    if let Some(mask) = &mask {
        let mask = widened(c, mask, tk)?;
        match c.dtype(&mask) {
            DType::Bool => bias.allow(c, &mask)?,
            _ => bias.add(c, &mask)?,
        }
    }
    // Where the first query stands among the keys.
    let first = match (&past_key, &lengths) {
        (Some(pk), _) => c.scalar(DType::I64, c.shape(pk)[2] as f64),
        (None, Some(n)) => {
            let own = c.scalar(DType::I64, tq as f64);
            let n = c.cast(n, DType::I64)?;
            let first = c.sub(&n, &own)?;
            c.reshape(&first, &[sq[0], 1, 1, 1])?
        }
        (None, None) => c.scalar(DType::I64, 0.0),
    };
    if causal || left >= 0 || right >= 0 {
        let ahead = distances(c, tq, tk, &first)?;
        let most = match (causal, right >= 0) {
            (true, true) => Some(0.min(right)),
            (true, false) => Some(0),
            (false, true) => Some(right),
            (false, false) => None,
        };
        if let Some(most) = most {
            let most = c.scalar(DType::I64, most as f64);
            let allowed = c.ew(Op::Le, &[&ahead, &most])?;
            bias.allow(c, &allowed)?;
        }
        if left >= 0 {
            let least = c.scalar(DType::I64, -(left as f64));
            let allowed = c.ew(Op::Ge, &[&ahead, &least])?;
            bias.allow(c, &allowed)?;
        }
    }
    if let Some(n) = &lengths {
        let keys: Vec<i64> = (0..tk as i64).collect();
        let keys = c.i64s(&keys);
        let n = c.cast(n, DType::I64)?;
        let n = c.reshape(&n, &[sq[0], 1, 1, 1])?;
        let allowed = c.ew(Op::Lt, &[&keys, &n])?;
        bias.allow(c, &allowed)?;
    }
    let (k, v) = (repeated(c, &k, sq[1])?, repeated(c, &v, sq[1])?);
    let raw = scores(c, &q, &k, scale)?;
    let mut capped = raw.clone();
    if softcap > 0.0 {
        let cap = c.scalar(dtype, f64::from(softcap));
        let x = c.div(&raw, &cap)?;
        let x = c.unary(Op::Tanh, &x)?;
        capped = c.mul(&x, &cap)?;
    }
    let biased = match &bias.value {
        None => capped.clone(),
        Some(b) => c.add(&capped, b)?,
    };
    let x = c.cast(&biased, inner)?;
    let mut p = softmax(c, &x)?;
    if let Some(b) = &bias.value
        && !c.shape(b).contains(&0)
    {
        // A query that may look at nothing gives zeros, whatever its scores are.
        let last = c.rank(b) - 1;
        let most = c.reduce(ReduceKind::Max, b, &[last], true)?;
        let lowest = c.scalar(dtype, f64::NEG_INFINITY);
        let masked = c.ew(Op::Eq, &[&most, &lowest])?;
        let zero = c.scalar(inner, 0.0);
        p = c.select(&masked, &zero, &p)?;
    }
    let shown = match mode {
        0 => raw,
        1 => capped,
        2 => biased,
        3 => p.clone(),
        other => return invalid(format!("`qk_matmul_output_mode` is {other}")),
    };
    let shown = c.cast(&shown, dtype)?;
    let p = c.cast(&p, dtype)?;
    let v = c.cast(&v, dtype)?;
    let y = c.op(Op::Matmul, &[p, v])?;
    let y = if flat { joined(c, &y)? } else { y };
    Ok(vec![y, present_key, present_value, shown])
}

/// A mask whose last axis is shorter than the keys, extended by what forbids.
fn widened(c: &mut Call<'_, '_>, mask: &Value, keys: usize) -> Result<Value, Fault> {
    let (shape, dtype) = (c.shape(mask), c.dtype(mask));
    let n = shape.len();
    match shape.last() {
        Some(k) if *k < keys && *k != 1 => {
            let mut high = vec![0; n];
            high[n - 1] = (keys - k) as u64;
            let fill = c.scalar(dtype, if dtype == DType::Bool { 0.0 } else { f64::NEG_INFINITY });
            let op = Op::Pad { low: vec![0; n], high, interior: vec![0; n] };
            c.op(op, &[mask.clone(), fill])
        }
        Some(_) => Ok(mask.clone()),
        None => invalid("the mask is a scalar"),
    }
}

fn rotary(c: &mut Call<'_, '_>) -> Results {
    let (x, cosines, sines, positions) = (c.operand(0)?, c.operand(1)?, c.operand(2)?, c.optional(3));
    let interleaved = c.flag("interleaved", false)?;
    let (heads, part) = (heads(c, "num_heads")?, heads(c, "rotary_embedding_dim")?);
    let own = c.shape(&x);
    let x = match own.len() {
        3 | 4 => by_heads(c, &x, heads)?,
        n => return invalid(format!("its operand has {n} dimensions, 3 or 4 were expected")),
    };
    let size = c.shape(&x)[3];
    let part = if part == 0 { size } else { part };
    if part > size || !part.is_multiple_of(2) {
        return invalid(format!("{part} of {size} elements cannot be rotated in pairs"));
    }
    // [B, 1, T, part / 2]
    let mut caches = Vec::with_capacity(2);
    for cache in [cosines, sines] {
        let cache = match &positions {
            Some(p) => c.gather(&cache, p, 0)?,
            None => cache,
        };
        if c.rank(&cache) != 3 || c.shape(&cache)[2] != part / 2 {
            return invalid(format!("a cache of shape {:?} does not fit {part} rotated elements", c.shape(&cache)));
        }
        caches.push(c.unsqueeze(&cache, &[1])?);
    }
    let turned = c.slice_axis(&x, 3, 0, part, 1)?;
    let (a, b) = match interleaved {
        true => (c.slice_axis(&turned, 3, 0, part, 2)?, c.slice_axis(&turned, 3, 1, part, 2)?),
        false => (c.slice_axis(&turned, 3, 0, part / 2, 1)?, c.slice_axis(&turned, 3, part / 2, part, 1)?),
    };
    let (ca, sb) = (c.mul(&caches[0], &a)?, c.mul(&caches[1], &b)?);
    let (sa, cb) = (c.mul(&caches[1], &a)?, c.mul(&caches[0], &b)?);
    let (re, im) = (c.sub(&ca, &sb)?, c.add(&sa, &cb)?);
    let turned = match interleaved {
        true => {
            let (re, im) = (c.unsqueeze(&re, &[4])?, c.unsqueeze(&im, &[4])?);
            let pairs = c.concat(&[re, im], 4)?;
            let shape = c.shape(&turned);
            c.reshape(&pairs, &shape)?
        }
        false => c.concat(&[re, im], 3)?,
    };
    let y = match part == size {
        true => turned,
        false => {
            let rest = c.slice_axis(&x, 3, part, size, 1)?;
            c.concat(&[turned, rest], 3)?
        }
    };
    Ok(vec![if own.len() == 3 { joined(c, &y)? } else { y }])
}

/// Attention whose scores and probabilities pass through graphs of the model.
fn flexible(c: &mut Call<'_, '_>) -> Results {
    let (q, k, v) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let scale = c.float_opt("scale")?;
    let (sq, sk, sv) = (c.shape(&q), c.shape(&k), c.shape(&v));
    if sq.len() != 4 || sk.len() != 4 || sv.len() != 4 || sk[1] != sv[1] || sk[2] != sv[2] || sq[3] != sk[3] {
        return invalid(format!("query, key and value have the shapes {sq:?}, {sk:?} and {sv:?}"));
    }
    let dtype = c.dtype(&q);
    let inner = precision(c, if dtype == DType::F64 { DType::F64 } else { DType::F32 })?;
    let (k, v) = (repeated(c, &k, sq[1])?, repeated(c, &v, sq[1])?);
    let x = scores(c, &q, &k, scale)?;
    let mut x = c.cast(&x, inner)?;
    if c.has("score_mod") {
        x = changed(c, "score_mod", x)?;
    }
    let mut p = softmax(c, &x)?;
    if c.has("prob_mod") {
        p = changed(c, "prob_mod", p)?;
    }
    let to = c.dtype(&v);
    let v = c.cast(&v, inner)?;
    let y = c.op(Op::Matmul, &[p, v])?;
    Ok(vec![c.cast(&y, to)?])
}

/// What a graph of one operand and one result makes of a value.
fn changed(c: &mut Call<'_, '_>, attribute: &str, x: Value) -> Result<Value, Fault> {
    let graph = c.graph(attribute)?;
    let mut results = c.body(graph, vec![x])?;
    match (results.pop(), results.is_empty()) {
        (Some(y), true) => Ok(y),
        _ => invalid(format!("the graph `{attribute}` must have one result")),
    }
}
