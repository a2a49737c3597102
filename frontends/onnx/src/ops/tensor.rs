//! Rarer ops on tensors.

use super::{Row, Types, row};
use crate::import::{Call, Results, Value, invalid, unsupported};
use nc_ir::graph::Op;
use nc_ir::{DType, Tensor};
use std::cmp::Ordering;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Det", &[11, 22], Types::Float, "more than 8 rows", det),
    row("ReverseSequence", &[10, 28], Types::Any, "", reverse_sequence),
    row("Unique", &[11, 28], Types::Any, "", unique),
];

/// Largest matrix whose determinant is expanded.
const MOST_ROWS: usize = 8;

/// The determinant, expanded along rows: that of the first k rows for each choice of k columns, from those of k - 1.
fn det(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let [outer @ .., m, n] = &shape[..] else { return invalid(format!("its operand has the shape {shape:?}")) };
    let (outer, n) = (outer.to_vec(), *n);
    if *m != n {
        return invalid(format!("the matrices are {m} by {n}"));
    }
    if n > MOST_ROWS {
        return unsupported(format!("the determinant of {n} by {n}"));
    }
    let batch: usize = outer.iter().product();
    let flat = c.reshape(&x, &[batch, n, n])?;
    let one = c.scalar(c.dtype(&x), 1.0);
    let one = c.broadcast(&one, &[batch])?;
    let mut minors: Vec<Option<Value>> = vec![None; 1 << n];
    minors[0] = Some(one);
    for chosen in 1usize..1 << n {
        let row = chosen.count_ones() as usize - 1;
        let mut sum: Option<Value> = None;
        let mut place = 0;
        for column in (0..n).filter(|k| chosen >> k & 1 == 1) {
            let Some(minor) = minors[chosen & !(1 << column)].clone() else { continue };
            let cell = c.slice_axis(&flat, 1, row, row + 1, 1)?;
            let cell = c.slice_axis(&cell, 2, column, column + 1, 1)?;
            let cell = c.reshape(&cell, &[batch])?;
            let term = c.mul(&cell, &minor)?;
            // The last row of the minor: the sign is that of (row + place).
            let negative = (row + place) % 2 == 1;
            sum = Some(match sum {
                None if negative => c.unary(Op::Neg, &term)?,
                None => term,
                Some(s) if negative => c.sub(&s, &term)?,
                Some(s) => c.add(&s, &term)?,
            });
            place += 1;
        }
        minors[chosen] = sum;
    }
    match minors.pop().flatten() {
        Some(y) => Ok(vec![c.reshape(&y, &outer)?]),
        None => invalid("the matrices have no columns"),
    }
}

fn reverse_sequence(c: &mut Call<'_, '_>) -> Results {
    let (x, lengths) = (c.operand(0)?, c.operand(1)?);
    let (batch_axis, time_axis) = (c.int("batch_axis", 1)?, c.int("time_axis", 0)?);
    let shape = c.shape(&x);
    let perm: Vec<usize> = match (time_axis, batch_axis) {
        (0, 1) => (0..shape.len()).collect(),
        (1, 0) => [1, 0].into_iter().chain(2..shape.len()).collect(),
        other => return invalid(format!("the axes of time and batch are {other:?}")),
    };
    if shape.len() < 2 {
        return invalid(format!("its operand has the shape {shape:?}"));
    }
    let moved = c.transpose(&x, &perm)?;
    let own = c.shape(&moved);
    let (ticks, batch) = (own[0], own[1]);
    if c.shape(&lengths) != [batch] {
        return invalid(format!("{:?} lengths for {batch} sequences", c.shape(&lengths)));
    }
    let (now, sample): (Vec<i64>, Vec<i64>) = ((0..ticks as i64).collect(), (0..batch as i64).collect());
    let (now, sample) = (c.i64s(&now), c.i64s(&sample));
    let now = c.reshape(&now, &[ticks, 1])?;
    let (one, by) = (c.scalar(DType::I64, 1.0), c.scalar(DType::I64, batch as f64));
    let lengths = c.cast(&lengths, DType::I64)?;
    let last = c.sub(&lengths, &one)?;
    let back = c.sub(&last, &now)?;
    let inside = c.ew(Op::Lt, &[&now, &lengths])?;
    let from = c.select(&inside, &back, &now)?;
    let from = c.mul(&from, &by)?;
    let from = c.add(&from, &sample)?;
    let rows: Vec<usize> = [&[ticks * batch], &own[2..]].concat();
    let flat = c.reshape(&moved, &rows)?;
    let y = c.gather(&flat, &from, 0)?;
    Ok(vec![c.transpose(&y, &perm)?])
}

/// Order of two elements: numbers by value with NaN last.
fn order(t: &Tensor, a: usize, b: usize) -> Ordering {
    match t.dtype() {
        DType::I64 => t.as_slice::<i64>()[a].cmp(&t.as_slice::<i64>()[b]),
        _ => {
            let (x, y) = (t.get_f64(a), t.get_f64(b));
            x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
        }
    }
}

/// The different slices along an axis. How many there are decides the shape of the result: the operand must be known.
fn unique(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let sorted = c.flag("sorted", true)?;
    let (shape, axis) = match c.int_opt("axis")? {
        Some(a) => (c.shape(&x), c.axis(a, c.rank(&x))?),
        None => (vec![c.shape(&x).iter().product()], 0),
    };
    let x = c.reshape(&x, &shape)?;
    // Slices as rows.
    let perm: Vec<usize> = std::iter::once(axis).chain((0..shape.len()).filter(|a| *a != axis)).collect();
    let rows = c.transpose(&x, &perm)?;
    let known = c.known(&rows, "which elements are different")?;
    let count = shape[axis];
    let width = known.len().checked_div(count).unwrap_or(0);
    let compare = |a: &usize, b: &usize| {
        (0..width).map(|k| order(&known, a * width + k, b * width + k)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut by_value: Vec<usize> = (0..count).collect();
    by_value.sort_by(compare);
    // Classes of equal slices: the first of each, in the order of values or of appearance.
    let mut class_of = vec![0usize; count];
    let mut firsts: Vec<usize> = Vec::new();
    let mut sizes: Vec<i64> = Vec::new();
    for (k, row) in by_value.iter().enumerate() {
        if k == 0 || compare(&by_value[k - 1], row).is_ne() {
            firsts.push(*row);
            sizes.push(0);
        }
        class_of[*row] = firsts.len() - 1;
        if let Some(n) = sizes.last_mut() {
            *n += 1;
        }
    }
    let mut classes: Vec<usize> = (0..firsts.len()).collect();
    if !sorted {
        classes.sort_by_key(|k| firsts[*k]);
    }
    let mut rank = vec![0i64; classes.len()];
    for (place, k) in classes.iter().enumerate() {
        rank[*k] = place as i64;
    }
    let index: Vec<i64> = classes.iter().map(|k| firsts[*k] as i64).collect();
    let inverse: Vec<i64> = class_of.iter().map(|k| rank[*k]).collect();
    let counts: Vec<i64> = classes.iter().map(|k| sizes[*k]).collect();
    let (index, inverse, counts) = (c.i64s(&index), c.i64s(&inverse), c.i64s(&counts));
    let y = c.gather(&x, &index, axis)?;
    Ok(vec![y, index, inverse, counts])
}
