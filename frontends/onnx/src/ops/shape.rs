//! Shapes: constants, conversions, and ops that move data.

use super::basic::broadcast_shape;
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use crate::tensor::element_type;
use nc_ir::graph::Op;
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25], Types::Any, "text, sparse tensors", constant),
    row("ConstantOfShape", &[9, 20, 21, 23, 24, 25], Types::Int, "", constant_of_shape),
    row("EyeLike", &[9, 22], Types::Any, "", eye_like),
    row("Range", &[11, 27], Types::Number, "", range),
    row("Identity", &[1, 13, 14, 16, 19, 21, 23, 24, 25], Types::Any, "", identity),
    row("Dropout", &[1, 6, 7, 10, 12, 13, 22], Types::Float, "training with a ratio that is not 0", dropout),
    row("Cast", &[1, 6, 9, 13, 19, 21, 23, 24, 25, 28], Types::Any, "types that nc has not", cast),
    row("BitCast", &[26], Types::Any, "types that nc has not, halves", bitcast),
    row("CastLike", &[15, 19, 21, 23, 24, 25], Types::Any, "types that nc has not", cast_like),
    row("Shape", &[1, 13, 15, 19, 21, 23, 24, 25], Types::Any, "", shape),
    row("Size", &[1, 13, 19, 21, 23, 24, 25], Types::Any, "", size),
    row("Reshape", &[1, 5, 13, 14, 19, 21, 23, 24, 25], Types::Any, "", reshape),
    row("Flatten", &[1, 9, 11, 13, 21, 23, 24, 25], Types::Any, "", flatten),
    row("Squeeze", &[1, 11, 13, 21, 23, 24, 25], Types::Any, "", squeeze),
    row("Unsqueeze", &[1, 11, 13, 21, 23, 24, 25], Types::Any, "", unsqueeze),
    row("Transpose", &[1, 13, 21, 23, 24, 25], Types::Any, "", transpose),
    row("Concat", &[1, 4, 11, 13], Types::Any, "", concat),
    row("Split", &[1, 2, 11, 13, 18], Types::Any, "", split),
    row("Slice", &[1, 10, 11, 13], Types::Any, "", slice),
    row("Pad", &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25], Types::Any, "", pad),
    row("Tile", &[1, 6, 13], Types::Any, "", tile),
    row("Expand", &[8, 13], Types::Any, "", expand),
    row("Trilu", &[14], Types::Any, "", trilu),
    row("OneHot", &[9, 11, 28], Types::Number, "", one_hot),
];

/// Longest axis for which indices are listed.
const LONGEST: i64 = 1 << 24;

fn constant(c: &mut Call<'_, '_>) -> Results {
    let mut found = c.tensor("value")?;
    let f32s = |v: Vec<f32>, shape: Vec<usize>| Tensor::from_vec(shape, v);
    let i64s = |v: Vec<i64>, shape: Vec<usize>| Tensor::from_vec(shape, v);
    if let Some(x) = c.float_opt("value_float")? {
        found = f32s(vec![x], Vec::new());
    }
    if let Some(v) = c.floats("value_floats")? {
        let n = v.len();
        found = f32s(v, vec![n]);
    }
    if let Some(x) = c.int_opt("value_int")? {
        found = i64s(vec![x], Vec::new());
    }
    if let Some(v) = c.ints("value_ints")? {
        let n = v.len();
        found = i64s(v, vec![n]);
    }
    match found {
        Some(t) => Ok(vec![Value::known(t, "")]),
        None if c.has("sparse_value") => unsupported("a sparse tensor"),
        None if c.has("value_string") || c.has("value_strings") => unsupported("text"),
        None => invalid("it has no value"),
    }
}

/// Extents from whole numbers that are known.
fn extents(list: &[i64]) -> Result<Vec<usize>, Fault> {
    let of =
        |n: &i64| usize::try_from(*n).map_err(|_| Fault::Invalid(format!("the shape {list:?} has the extent {n}")));
    list.iter().map(of).collect()
}

fn constant_of_shape(c: &mut Call<'_, '_>) -> Results {
    let shape = c.operand(0)?;
    let shape = extents(&c.known_ints(&shape, "the shape")?)?;
    let value = c.tensor("value")?.unwrap_or_else(|| Tensor::scalar_f32(0.0));
    let Some(value) = value.reshaped(Vec::new()) else { return invalid("its value has more than one element") };
    Ok(vec![c.broadcast(&Value::known(value, ""), &shape)?])
}

/// True where column minus row fulfils `f`.
fn diagonals(rows: usize, columns: usize, f: impl Fn(i64) -> bool) -> Value {
    let cell = |k: usize| f((k % columns.max(1)) as i64 - (k / columns.max(1)) as i64);
    let list: Vec<bool> = (0..rows * columns).map(cell).collect();
    let empty = || Tensor::zeros(DType::Bool, vec![rows, columns]);
    Value::known(Tensor::from_bools(vec![rows, columns], &list).unwrap_or_else(empty), "")
}

fn eye_like(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let k = c.int("k", 0)?;
    let dtype = dtype_attribute(c, "dtype")?.unwrap_or(c.dtype(&x));
    let [rows, columns] = c.shape(&x)[..] else { return invalid("its operand is no matrix") };
    Ok(vec![c.cast(&diagonals(rows, columns, |d| d == k), dtype)?])
}

/// An attribute that names an element type.
fn dtype_attribute(c: &Call<'_, '_>, name: &str) -> Result<Option<DType>, Fault> {
    let Some(n) = c.int_opt(name)? else { return Ok(None) };
    element_type(i32::try_from(n).unwrap_or(-1)).map(Some).map_err(Fault::Unsupported)
}

/// `start + k delta` for k from 0 on, while it is before `limit`. Narrow floats are computed in 32 bits.
fn range(c: &mut Call<'_, '_>) -> Results {
    c.has("stash_type");
    let (start, limit, delta) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let dtype = c.dtype(&start);
    let mut bounds = [0.0f64; 3];
    let mut exact = [0i64; 3];
    for (k, v) in [&start, &limit, &delta].into_iter().enumerate() {
        let t = c.known(v, "the number of elements")?;
        if t.len() != 1 {
            return invalid("an operand has not exactly one element");
        }
        bounds[k] = t.get_f64(0);
        exact[k] = if t.dtype() == DType::I64 { t.as_slice::<i64>()[0] } else { bounds[k] as i64 };
    }
    let n = if dtype.is_float() {
        let n = ((bounds[1] - bounds[0]) / bounds[2]).ceil();
        if !n.is_finite() {
            return invalid("the number of elements is not finite");
        }
        n.max(0.0) as u64
    } else {
        let (span, step) = (i128::from(exact[1]) - i128::from(exact[0]), i128::from(exact[2]));
        if step == 0 {
            return invalid("the step is 0");
        }
        let n = span.unsigned_abs().div_ceil(step.unsigned_abs());
        if (span > 0) == (step > 0) { u64::try_from(n).unwrap_or(u64::MAX) } else { 0 }
    };
    let wide = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let index = c.op(Op::Iota { len: n }, &[])?;
    let index = c.cast(&index, wide)?;
    let (start, delta) = (c.reshape(&start, &[])?, c.reshape(&delta, &[])?);
    let (start, delta) = (c.cast(&start, wide)?, c.cast(&delta, wide)?);
    let y = c.mul(&index, &delta)?;
    let y = c.add(&y, &start)?;
    Ok(vec![c.cast(&y, dtype)?])
}

fn identity(c: &mut Call<'_, '_>) -> Results {
    Ok(vec![c.operand(0)?])
}

/// Inference: nothing is dropped. The mask, if somebody wants it, is true everywhere.
fn dropout(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    c.has("seed");
    let x = c.operand(0)?;
    let mut ratio = c.float("ratio", 0.5)?;
    // Before version 7 an attribute told training from inference, since version 12 an operand does.
    let mut training = c.opset < 7 && !c.flag("is_test", false)?;
    if let Some(r) = c.optional(1) {
        ratio = c.known(&r, "the ratio").map_or(ratio, |t| t.get_f64(0) as f32);
    }
    if let Some(t) = c.optional(2) {
        training = c.known(&t, "the mode")?.get_f64(0) != 0.0;
    }
    if training && ratio != 0.0 {
        return unsupported("training");
    }
    let mut results = vec![x.clone()];
    if c.wants(1) {
        let dtype = if c.opset < 10 { c.dtype(&x) } else { DType::Bool };
        let one = c.scalar(dtype, 1.0);
        results.push(c.broadcast(&one, &c.shape(&x))?);
    }
    Ok(results)
}

/// These say how a conversion to 8-bit floats rounds, which are refused by their type.
fn pass_float8(c: &Call<'_, '_>) {
    c.has("saturate");
    c.has("round_mode");
}

fn cast(c: &mut Call<'_, '_>) -> Results {
    pass_float8(c);
    let x = c.operand(0)?;
    let to = if c.opset < 6 {
        let name = c.text("to", "")?;
        let code = match name.as_str() {
            "FLOAT" => 1,
            "UINT8" => 2,
            "INT8" => 3,
            "UINT16" => 4,
            "INT16" => 5,
            "INT32" => 6,
            "INT64" => 7,
            "BOOL" => 9,
            "FLOAT16" => 10,
            "DOUBLE" => 11,
            "UINT32" => 12,
            "UINT64" => 13,
            _ => return unsupported(format!("the element type {name}")),
        };
        element_type(code).map_err(Fault::Unsupported)?
    } else {
        match dtype_attribute(c, "to")? {
            Some(d) => d,
            None => return invalid("the attribute `to` is missing"),
        }
    };
    Ok(vec![c.cast(&x, to)?])
}

fn bitcast(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    match dtype_attribute(c, "to")? {
        Some(to) => Ok(vec![c.unary(Op::Bitcast { to }, &x)?]),
        None => invalid("the attribute `to` is missing"),
    }
}

fn cast_like(c: &mut Call<'_, '_>) -> Results {
    pass_float8(c);
    let (x, like) = (c.operand(0)?, c.operand(1)?);
    Ok(vec![c.cast(&x, c.dtype(&like))?])
}

fn shape(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let n = shape.len() as i64;
    let at = |k: i64| (if k < 0 { k.saturating_add(n) } else { k }).clamp(0, n) as usize;
    let (start, end) = match c.opset < 15 {
        true => (0, n as usize),
        false => (at(c.int("start", 0)?), at(c.int("end", n)?)),
    };
    let list: Vec<i64> = shape.get(start..end).unwrap_or(&[]).iter().map(|n| *n as i64).collect();
    Ok(vec![c.i64s(&list)])
}

fn size(c: &mut Call<'_, '_>) -> Results {
    let n: usize = c.shape(&c.operand(0)?).iter().product();
    Ok(vec![Value::known(Tensor::scalar_i64(n as i64), "")])
}

fn reshape(c: &mut Call<'_, '_>) -> Results {
    c.has("consumed_inputs");
    let x = c.operand(0)?;
    let to = if c.opset < 5 {
        c.ints("shape")?.unwrap_or_default()
    } else {
        let to = c.operand(1)?;
        c.known_ints(&to, "the shape")?
    };
    let zeros_stay = c.opset >= 14 && c.flag("allowzero", false)?;
    let own = c.shape(&x);
    let mut shape = Vec::with_capacity(to.len());
    let mut open = None;
    for (k, n) in to.iter().enumerate() {
        shape.push(match *n {
            -1 if open.is_none() => {
                open = Some(k);
                1
            }
            0 if !zeros_stay => match own.get(k) {
                Some(n) => *n,
                None => return invalid(format!("the shape {to:?} keeps axis {k} of {own:?}, which does not exist")),
            },
            n => match usize::try_from(n) {
                Ok(n) => n,
                Err(_) => return invalid(format!("the shape {to:?} has the extent {n}")),
            },
        });
    }
    if let Some(k) = open {
        let rest = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let count: usize = own.iter().product();
        match rest {
            Some(rest) if rest > 0 && count.is_multiple_of(rest) => shape[k] = count / rest,
            _ => return invalid(format!("{own:?} cannot be reshaped to {to:?}")),
        }
    }
    Ok(vec![c.reshape(&x, &shape)?])
}

fn flatten(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let axis = c.int("axis", 1)?;
    let axis = if axis == shape.len() as i64 { shape.len() } else { c.axis(axis, shape.len())? };
    let (before, after) = shape.split_at(axis);
    Ok(vec![c.reshape(&x, &[before.iter().product(), after.iter().product()])?])
}

/// Axes as an attribute before version 13, as an operand from it on. They count in a shape of `rank` dimensions.
fn axes(c: &mut Call<'_, '_>, rank: impl Fn(usize) -> usize) -> Result<Option<Vec<usize>>, Fault> {
    let given = if c.opset < 13 {
        c.ints("axes")?
    } else {
        match c.optional(1) {
            Some(v) => Some(c.known_ints(&v, "the axes")?),
            None => None,
        }
    };
    let Some(given) = given else { return Ok(None) };
    let rank = rank(given.len());
    let mut axes = Vec::with_capacity(given.len());
    for a in &given {
        let a = c.axis(*a, rank)?;
        if axes.contains(&a) {
            return invalid(format!("the axis {a} is listed twice"));
        }
        axes.push(a);
    }
    axes.sort_unstable();
    Ok(Some(axes))
}

fn squeeze(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let mut shape = c.shape(&x);
    let rank = shape.len();
    match axes(c, |_| rank)? {
        None => shape.retain(|n| *n != 1),
        Some(axes) => {
            for a in axes.into_iter().rev() {
                if shape[a] != 1 {
                    return invalid(format!("the axis {a} has the extent {}, not 1", shape[a]));
                }
                shape.remove(a);
            }
        }
    }
    Ok(vec![c.reshape(&x, &shape)?])
}

fn unsqueeze(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let rank = c.rank(&x);
    let Some(axes) = axes(c, |n| rank + n)? else { return invalid("it has no axes") };
    Ok(vec![c.unsqueeze(&x, &axes)?])
}

fn transpose(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let rank = c.rank(&x);
    let perm = match c.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(p) => p.into_iter().map(|a| c.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    Ok(vec![c.transpose(&x, &perm)?])
}

fn concat(c: &mut Call<'_, '_>) -> Results {
    let xs = c.operands()?;
    let Some(first) = xs.first() else { return invalid("it has no operands") };
    let axis = match c.int_opt("axis")? {
        Some(a) => a,
        None if c.opset < 4 => 1,
        None => return invalid("the attribute `axis` is missing"),
    };
    let rank = c.rank(first);
    let axis = c.axis(axis, rank)?;
    Ok(vec![c.concat(&xs, axis)?])
}

/// Sizes are an attribute or an operand, depending on the version; without them the parts are equal, the last one
/// possibly smaller.
fn split(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let axis = c.axis(c.int("axis", 0)?, shape.len())?;
    let n = shape[axis];
    let mut given = if c.opset < 13 { c.ints("split")? } else { None };
    if let Some(v) = c.optional(1) {
        given = Some(c.known_ints(&v, "the sizes of the parts")?);
    }
    let parts = c.result_count();
    if c.int_opt("num_outputs")?.is_some_and(|k| k != parts as i64) {
        return invalid(format!("the attribute `num_outputs` is not the number of its {parts} results"));
    }
    let sizes = match given {
        Some(list) => extents(&list)?,
        None if parts == 0 || parts > n.max(1) => {
            return invalid(format!("{n} elements do not split in {parts} parts"));
        }
        None => {
            let each = n.div_ceil(parts);
            (0..parts).map(|k| each.min(n.saturating_sub(k * each))).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |s, k| s.checked_add(*k)) != Some(n) || sizes.len() < c.result_count() {
        return invalid(format!("the parts {sizes:?} do not make up the {n} elements of axis {axis}"));
    }
    let mut at = 0;
    let mut results = Vec::with_capacity(sizes.len());
    for size in sizes {
        results.push(c.slice_axis(&x, axis, at, at + size, 1)?);
        at += size;
    }
    Ok(results)
}

/// The elements of one axis from `start` towards `end`, every `step`th, as numpy's slices take them.
fn slice_one(c: &mut Call<'_, '_>, x: &Value, axis: usize, start: i64, end: i64, step: i64) -> Result<Value, Fault> {
    let n = c.shape(x)[axis] as i64;
    let from_front = |k: i64| if k < 0 { k.saturating_add(n) } else { k };
    let (start, end) = (from_front(start), from_front(end));
    match step {
        0 => invalid("a step is 0"),
        1.. => {
            let (start, end) = (start.clamp(0, n), end.clamp(0, n));
            c.slice_axis(x, axis, start as usize, end.max(start) as usize, step.min(n.max(1)) as usize)
        }
        _ => {
            let (start, end) = (start.clamp(-1, n - 1), end.clamp(-1, n - 1));
            let mut index = Vec::new();
            let mut k = start;
            if start.saturating_sub(end) / step.saturating_neg() > LONGEST {
                return unsupported(format!("going backwards through {n} elements"));
            }
            while k > end {
                index.push(k);
                k = k.saturating_add(step);
            }
            let index = c.i64s(&index);
            c.gather(x, &index, axis)
        }
    }
}

fn slice(c: &mut Call<'_, '_>) -> Results {
    let mut x = c.operand(0)?;
    let rank = c.rank(&x);
    let (starts, ends, axes, steps);
    if c.opset < 10 {
        starts = c.ints("starts")?.unwrap_or_default();
        ends = c.ints("ends")?.unwrap_or_default();
        axes = c.ints("axes")?;
        steps = None;
    } else {
        let (s, e) = (c.operand(1)?, c.operand(2)?);
        starts = c.known_ints(&s, "the start")?;
        ends = c.known_ints(&e, "the end")?;
        axes = match c.optional(3) {
            Some(v) => Some(c.known_ints(&v, "the axes")?),
            None => None,
        };
        steps = match c.optional(4) {
            Some(v) => Some(c.known_ints(&v, "the steps")?),
            None => None,
        };
    }
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return invalid("starts, ends, axes and steps have not one length");
    }
    let mut seen = vec![false; rank];
    for (k, a) in axes.iter().enumerate() {
        let a = c.axis(*a, rank)?;
        if std::mem::replace(&mut seen[a], true) {
            return invalid(format!("the axis {a} is listed twice"));
        }
        x = slice_one(c, &x, a, starts[k], ends[k], steps[k])?;
    }
    Ok(vec![x])
}

/// Elements that are added (or taken away, where negative) before and after each axis.
fn paddings(c: &mut Call<'_, '_>, rank: usize) -> Result<Vec<(i64, i64)>, Fault> {
    let list = match c.opset {
        ..2 => c.ints("paddings")?.unwrap_or_default(),
        2..11 => c.ints("pads")?.unwrap_or_default(),
        _ => {
            let v = c.operand(1)?;
            c.known_ints(&v, "the padding")?
        }
    };
    let axes = match c.optional(3) {
        Some(v) => c.known_ints(&v, "the axes")?,
        None => (0..rank as i64).collect(),
    };
    if list.len() != 2 * axes.len() {
        return invalid(format!("{} numbers of padding are given, for {} axes", list.len(), axes.len()));
    }
    let mut out = vec![(0, 0); rank];
    for (k, a) in axes.iter().enumerate() {
        out[c.axis(*a, rank)?] = (list[k], list[axes.len() + k]);
    }
    Ok(out)
}

fn pad(c: &mut Call<'_, '_>) -> Results {
    let mut x = c.operand(0)?;
    let rank = c.rank(&x);
    let dtype = c.dtype(&x);
    let mode = c.text("mode", "constant")?;
    let paddings = paddings(c, rank)?;
    let value = match c.opset < 11 {
        true => c.scalar(dtype, f64::from(c.float("value", 0.0)?)),
        false => match c.optional(2) {
            Some(v) => c.reshape(&v, &[])?,
            None => c.scalar(dtype, 0.0),
        },
    };
    // What is taken away goes first.
    for (a, (before, after)) in paddings.iter().enumerate() {
        let n = c.shape(&x)[a] as i64;
        let (start, end) = (0i64.saturating_sub(*before).max(0), n.saturating_add((*after).min(0)));
        if start > end {
            return invalid(format!("the padding takes more than the {n} elements of axis {a} away"));
        }
        x = c.slice_axis(&x, a, start as usize, end as usize, 1)?;
    }
    let low: Vec<u64> = paddings.iter().map(|p| p.0.max(0) as u64).collect();
    let high: Vec<u64> = paddings.iter().map(|p| p.1.max(0) as u64).collect();
    if low.iter().chain(&high).all(|n| *n == 0) {
        return Ok(vec![x]);
    }
    if mode == "constant" {
        let op = Op::Pad { low, high, interior: vec![0; rank] };
        return Ok(vec![c.op(op, &[x, value])?]);
    }
    for (a, (before, after)) in low.iter().zip(&high).enumerate() {
        if *before == 0 && *after == 0 {
            continue;
        }
        let n = c.shape(&x)[a] as i64;
        let (before, after) = (*before as i64, *after as i64);
        if n == 0 || n.saturating_add(before).saturating_add(after) > LONGEST {
            return invalid(format!("axis {a} of {n} elements cannot be padded in the mode {mode:?}"));
        }
        let period = 2 * (n - 1);
        let at = |k: i64| match mode.as_str() {
            "edge" => k.clamp(0, n - 1),
            "wrap" => k.rem_euclid(n),
            // The edge itself is not repeated.
            _ if period == 0 => 0,
            _ => match k.rem_euclid(period) {
                k if k < n => k,
                k => period - k,
            },
        };
        if !matches!(mode.as_str(), "edge" | "wrap" | "reflect") {
            return unsupported(format!("the mode {mode:?}"));
        }
        let index: Vec<i64> = (-before..n + after).map(at).collect();
        let index = c.i64s(&index);
        x = c.gather(&x, &index, a)?;
    }
    Ok(vec![x])
}

/// Repeats each axis by a factor.
fn repeat(c: &mut Call<'_, '_>, x: &Value, factors: &[usize]) -> Result<Value, Fault> {
    let mut y = x.clone();
    for (a, r) in factors.iter().enumerate().filter(|(_, r)| **r != 1) {
        let shape = c.shape(&y);
        let (before, rest) = shape.split_at(a);
        let repeated = [before, &[*r], rest].concat();
        let Some(n) = shape[a].checked_mul(*r) else { return invalid("the result is larger than memory") };
        y = c.unsqueeze(&y, &[a])?;
        y = c.broadcast(&y, &repeated)?;
        y = c.reshape(&y, &[before, &[n], &shape[a + 1..]].concat())?;
    }
    Ok(y)
}

/// In version 1 an axis with its factor, then a factor for each axis.
fn tile(c: &mut Call<'_, '_>) -> Results {
    let (x, by) = (c.operand(0)?, c.operand(1)?);
    let rank = c.rank(&x);
    let list = extents(&c.known_ints(&by, "the repetitions")?)?;
    let factors = if c.opset < 6 {
        let axis = c.operand(2)?;
        let (&[n], &[a]) = (&list[..], &c.known_ints(&axis, "the axis")?[..]) else {
            return invalid("tiles and axis have not one element each");
        };
        let mut factors = vec![1; rank];
        factors[c.axis(a, rank)?] = n;
        factors
    } else {
        list
    };
    if factors.len() != rank {
        return invalid(format!("{} repetitions are given for {rank} axes", factors.len()));
    }
    Ok(vec![repeat(c, &x, &factors)?])
}

fn expand(c: &mut Call<'_, '_>) -> Results {
    let (x, to) = (c.operand(0)?, c.operand(1)?);
    let to = extents(&c.known_ints(&to, "the shape")?)?;
    let shape = broadcast_shape(&[c.shape(&x), to])?;
    Ok(vec![c.broadcast(&x, &shape)?])
}

fn trilu(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let upper = c.flag("upper", true)?;
    let k = match c.optional(1) {
        Some(v) => match c.known_ints(&v, "the diagonal")?[..] {
            [k] => k,
            _ => return invalid("the diagonal is not one number"),
        },
        None => 0,
    };
    let shape = c.shape(&x);
    let [.., rows, columns] = shape[..] else { return invalid("its operand has fewer than 2 dimensions") };
    if shape.contains(&0) {
        return Ok(vec![x]);
    }
    let mask = diagonals(rows, columns, |d| if upper { d >= k } else { d <= k });
    let zero = c.scalar(c.dtype(&x), 0.0);
    Ok(vec![c.select(&mask, &x, &zero)?])
}

fn one_hot(c: &mut Call<'_, '_>) -> Results {
    let (index, depth, values) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let depth = c.known(&depth, "the depth")?;
    if depth.len() != 1 || c.shape(&values) != [2] {
        return invalid("the depth is one number, the values are two");
    }
    let depth = depth.get_f64(0);
    if !(0.0..1e15).contains(&depth) {
        return invalid(format!("the depth cannot be {depth}"));
    }
    let n = depth as usize;
    let rank = c.rank(&index);
    let axis = c.axis(c.int("axis", -1)?, rank + 1)?;
    let index = c.cast(&index, DType::I64)?;
    let (zero, size) = (c.scalar(DType::I64, 0.0), c.scalar(DType::I64, n as f64));
    let negative = c.ew(Op::Lt, &[&index, &zero])?;
    let moved = c.add(&index, &size)?;
    let index = c.select(&negative, &moved, &index)?;
    let index = c.unsqueeze(&index, &[axis])?;
    let classes = c.op(Op::Iota { len: n as u64 }, &[])?;
    let mut along = vec![1; rank + 1 - axis];
    along[0] = n;
    let classes = c.reshape(&classes, &along)?;
    let hit = c.ew(Op::Eq, &[&index, &classes])?;
    let off = c.slice_axis(&values, 0, 0, 1, 1)?;
    let on = c.slice_axis(&values, 0, 1, 2, 1)?;
    let (off, on) = (c.reshape(&off, &[])?, c.reshape(&on, &[])?);
    Ok(vec![c.select(&hit, &on, &off)?])
}
