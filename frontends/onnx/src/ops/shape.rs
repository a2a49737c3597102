//! Shapes: constants, and ops that move data.

use super::{Row, Types, row};
use crate::import::{Call, Results, Value, invalid, unsupported};
use nc_ir::Tensor;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25], Types::Any, "text, sparse tensors", constant),
    row("Identity", &[1, 13, 14, 16, 19, 21, 23, 24, 25], Types::Any, "", identity),
    row("Shape", &[1, 13, 15, 19, 21, 23, 24, 25], Types::Any, "", shape),
    row("Reshape", &[5, 13, 14, 19, 21, 23, 24, 25], Types::Any, "", reshape),
    row("Concat", &[1, 4, 11, 13], Types::Any, "", concat),
];

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

fn identity(c: &mut Call<'_, '_>) -> Results {
    Ok(vec![c.operand(0)?])
}

fn shape(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let n = shape.len() as i64;
    let at = |k: i64| (if k < 0 { k + n } else { k }).clamp(0, n) as usize;
    let (start, end) = match c.opset < 15 {
        true => (0, n as usize),
        false => (at(c.int("start", 0)?), at(c.int("end", n)?)),
    };
    let list: Vec<i64> = shape.get(start..end).unwrap_or(&[]).iter().map(|n| *n as i64).collect();
    Ok(vec![c.i64s(&list)])
}

fn reshape(c: &mut Call<'_, '_>) -> Results {
    let (x, to) = (c.operand(0)?, c.operand(1)?);
    let to = c.known_ints(&to, "the shape")?;
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
