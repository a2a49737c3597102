//! Products of matrices.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::DType;
use nc_ir::graph::{Op, ReduceKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("MatMul", &[1, 9, 13], Types::Number, "", matmul),
    row("Gemm", &[1, 6, 7, 9, 11, 13], Types::Number, "", gemm),
    row("Einsum", &[12, 28], Types::Number, "", einsum),
    row("MatMulInteger", &[10], Types::Int, "", matmul_integer),
];

impl Call<'_, '_> {
    /// The product of numpy's `matmul`: a vector on the left is a row, on the right a column, and their axis is removed from
    /// the result; leading axes are broadcast. A right side of two axes that is known becomes weights of a `linear`, which
    /// are packed once.
    ///
    /// # Errors
    /// If a factor is a scalar, or the shapes do not fit.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Result<Value, Fault> {
        let (ra, rb) = (self.rank(a), self.rank(b));
        if ra == 0 || rb == 0 {
            return invalid("a factor of a matrix product is a scalar");
        }
        if rb == 2 && b.tensor().is_some() {
            let w = self.transpose(b, &[1, 0])?;
            return self.op(Op::Linear, &[a.clone(), w]);
        }
        let (left, right) = (self.shape(a), self.shape(b));
        let left = if ra == 1 { self.reshape(a, &[1, left[0]])? } else { a.clone() };
        let right = if rb == 1 { self.reshape(b, &[right[0], 1])? } else { b.clone() };
        let y = self.op(Op::Matmul, &[left, right])?;
        let mut shape = self.shape(&y);
        let n = shape.len();
        if rb == 1 {
            shape.remove(n - 1);
        }
        if ra == 1 {
            shape.remove(n - 2);
        }
        self.reshape(&y, &shape)
    }
}

fn matmul(c: &mut Call<'_, '_>) -> Results {
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    Ok(vec![c.matmul(&a, &b)?])
}

fn gemm(c: &mut Call<'_, '_>) -> Results {
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    if c.opset < 7 {
        // The bias is broadcast whether or not this is set: shapes that need it have no other meaning.
        c.flag("broadcast", false)?;
    }
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    let (ta, tb) = (c.flag("transA", false)?, c.flag("transB", false)?);
    if c.rank(&a) != 2 || c.rank(&b) != 2 {
        return invalid(format!(
            "the factors have shapes {:?} and {:?}, matrices were expected",
            c.shape(&a),
            c.shape(&b)
        ));
    }
    let dtype = c.dtype(&a);
    let a = if ta { c.transpose(&a, &[1, 0])? } else { a };
    let w = if tb { b } else { c.transpose(&b, &[1, 0])? };
    let bias = match c.optional(2) {
        Some(bias) if beta != 0.0 => Some(scaled(c, &bias, dtype, beta)?),
        _ => None,
    };
    // A vector of one element per column is the start of the chains; any other bias is added to what they give.
    let columns = c.shape(&w)[0];
    let start = match &bias {
        Some(b) if alpha == 1.0 && matches!(c.shape(b)[..], [n] | [1, n] if n == columns) => {
            Some(c.reshape(b, &[columns])?)
        }
        _ => None,
    };
    if let Some(start) = start {
        return Ok(vec![c.op(Op::Linear, &[a, w, start])?]);
    }
    let y = c.op(Op::Linear, &[a, w])?;
    let y = scaled(c, &y, dtype, alpha)?;
    Ok(vec![match bias {
        Some(b) => c.add(&y, &b)?,
        None => y,
    }])
}

fn scaled(c: &mut Call<'_, '_>, x: &Value, dtype: DType, by: f32) -> Result<Value, Fault> {
    if by == 1.0 {
        return Ok(x.clone());
    }
    if dtype.is_int() && by.fract() != 0.0 {
        return invalid(format!("the factor {by} is no integer, but the matrices are {dtype}"));
    }
    let by = c.scalar(dtype, f64::from(by));
    c.mul(x, &by)
}

fn matmul_integer(c: &mut Call<'_, '_>) -> Results {
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    let (za, zb) = (c.optional(2), c.optional(3));
    let a = c.centred(&a, za.as_ref(), Side::Rows)?;
    let b = c.centred(&b, zb.as_ref(), Side::Columns)?;
    Ok(vec![c.matmul(&a, &b)?])
}

/// Along which axis of a matrix a vector of zero points runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// One for each row: the second last axis.
    Rows,
    /// One for each column: the last axis.
    Columns,
}

impl Call<'_, '_> {
    /// `x - zero` as `i32`, for a zero point that is a scalar, a vector along one axis of matrices, or of `x`'s rank.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub(super) fn centred(&mut self, x: &Value, zero: Option<&Value>, side: Side) -> Result<Value, Fault> {
        let wide = self.cast(x, DType::I32)?;
        let Some(zero) = zero else { return Ok(wide) };
        let mut zero = self.cast(zero, DType::I32)?;
        if side == Side::Rows && self.rank(&zero) == 1 && self.shape(&zero) != [1] {
            zero = self.unsqueeze(&zero, &[1])?;
        }
        self.sub(&wide, &zero)
    }
}

/// The letters of a term of an equation; `None` stands for the axes of an ellipsis.
type Term = Vec<Option<char>>;

fn term(text: &str) -> Result<Term, Fault> {
    let mut out = Term::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if out.contains(&None) {
                return invalid(format!("the term {text:?} has two ellipses"));
            }
            out.push(None);
            rest = after;
        } else if first.is_ascii_alphabetic() {
            out.push(Some(first));
            rest = &rest[1..];
        } else {
            return invalid(format!("the term {text:?} of the equation has a {first:?}"));
        }
    }
    Ok(out)
}

/// A value whose axes have labels. Labels of letters are positive; the axes of an ellipsis are -1, -2, .. from the right.
struct Labelled {
    value: Value,
    labels: Vec<i32>,
}

fn einsum(c: &mut Call<'_, '_>) -> Results {
    let equation: String = c.text("equation", "")?.split_whitespace().collect();
    let xs = c.operands()?;
    let (inputs, output) = match equation.split_once("->") {
        Some((i, o)) => (i, Some(o)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<Term> = inputs.split(',').map(term).collect::<Result<_, _>>()?;
    if terms.len() != xs.len() {
        return invalid(format!("the equation {equation:?} has {} terms for {} operands", terms.len(), xs.len()));
    }
    let mut labelled = Vec::with_capacity(xs.len());
    for (x, t) in xs.iter().zip(&terms) {
        let labels = labels(t, c.rank(x))?;
        labelled.push(diagonal(c, Labelled { value: x.clone(), labels })?);
    }
    let widest = labelled.iter().flat_map(|l| &l.labels).copied().min().unwrap_or(0).min(0);
    let ellipsis: Vec<i32> = (widest..0).collect();
    let wanted: Vec<i32> = match output {
        Some(o) => term(o)?.iter().flat_map(|l| l.map_or(ellipsis.clone(), |c| vec![c as i32])).collect(),
        None => {
            // Labels that occur once, in alphabetic order, after the ellipsis.
            let all: Vec<i32> = terms.iter().flatten().flatten().map(|c| *c as i32).collect();
            let mut once: Vec<i32> =
                all.iter().copied().filter(|l| all.iter().filter(|m| *m == l).count() == 1).collect();
            once.sort_unstable();
            ellipsis.iter().copied().chain(once).collect()
        }
    };
    for (k, l) in wanted.iter().enumerate() {
        if wanted[..k].contains(l) || !labelled.iter().any(|x| x.labels.contains(l)) {
            return invalid(format!(
                "the result of the equation {equation:?} repeats a label, or has one of no operand"
            ));
        }
    }
    let mut rest = labelled.into_iter();
    let Some(mut so_far) = rest.next() else { return invalid("it has no operands") };
    let mut rest: Vec<Labelled> = rest.collect();
    rest.reverse();
    while let Some(next) = rest.pop() {
        let later = |l: &i32| wanted.contains(l) || rest.iter().any(|r| r.labels.contains(l));
        so_far = contract(c, so_far, next, &later)?;
    }
    let last = sum_out(c, so_far, &|l| wanted.contains(l))?;
    let perm: Vec<usize> = wanted.iter().filter_map(|l| last.labels.iter().position(|m| m == l)).collect();
    Ok(vec![c.transpose(&last.value, &perm)?])
}

fn labels(t: &Term, rank: usize) -> Result<Vec<i32>, Fault> {
    let letters = t.iter().flatten().count();
    let hidden = rank.checked_sub(letters).filter(|h| *h == 0 || t.contains(&None));
    let Some(hidden) = hidden else {
        return invalid(format!("an operand of {rank} dimensions does not fit a term of {letters} letters"));
    };
    let ellipsis = (1..=hidden as i32).rev().map(|k| -k);
    Ok(t.iter().flat_map(|l| l.map_or(ellipsis.clone().collect(), |c| vec![c as i32])).collect())
}

/// Takes the diagonal of axes that have the same label.
fn diagonal(c: &mut Call<'_, '_>, x: Labelled) -> Result<Labelled, Fault> {
    let Labelled { mut value, mut labels } = x;
    while let Some((a, b)) = twice(&labels) {
        // Axes a and b to the front, joined; every (n + 1)th element is on the diagonal.
        let shape = c.shape(&value);
        if shape[a] != shape[b] {
            return invalid(format!("a label stands for the extents {} and {}", shape[a], shape[b]));
        }
        let n = shape[a];
        let others: Vec<usize> = (0..shape.len()).filter(|k| *k != a && *k != b).collect();
        let perm: Vec<usize> = [a, b].into_iter().chain(others.iter().copied()).collect();
        let moved = c.transpose(&value, &perm)?;
        let kept: Vec<usize> = others.iter().map(|k| shape[*k]).collect();
        let flat: Vec<usize> = std::iter::once(n * n).chain(kept).collect();
        let moved = c.reshape(&moved, &flat)?;
        value = c.slice_axis(&moved, 0, 0, n * n, n + 1)?;
        labels = std::iter::once(labels[a]).chain(others.iter().map(|k| labels[*k])).collect();
    }
    Ok(Labelled { value, labels })
}

fn twice(labels: &[i32]) -> Option<(usize, usize)> {
    labels.iter().enumerate().find_map(|(b, l)| labels[..b].iter().position(|m| m == l).map(|a| (a, b)))
}

/// Sums over the axes whose labels nobody needs.
fn sum_out(c: &mut Call<'_, '_>, x: Labelled, needed: &dyn Fn(&i32) -> bool) -> Result<Labelled, Fault> {
    let axes: Vec<usize> = (0..x.labels.len()).filter(|k| !needed(&x.labels[*k])).collect();
    let value = c.reduce(ReduceKind::Sum, &x.value, &axes, false)?;
    Ok(Labelled { value, labels: x.labels.into_iter().filter(|l| needed(l)).collect() })
}

/// The product of two values, summed over the labels that both have and nobody needs later: one batched matrix product.
fn contract(c: &mut Call<'_, '_>, a: Labelled, b: Labelled, later: &dyn Fn(&i32) -> bool) -> Result<Labelled, Fault> {
    let (in_a, in_b) = (a.labels.clone(), b.labels.clone());
    let a = sum_out(c, a, &|l| later(l) || in_b.contains(l))?;
    let b = sum_out(c, b, &|l| later(l) || in_a.contains(l))?;
    let pick =
        |of: &Labelled, keep: &dyn Fn(&i32) -> bool| of.labels.iter().copied().filter(|l| keep(l)).collect::<Vec<_>>();
    let batch = pick(&a, &|l| b.labels.contains(l) && later(l));
    let summed = pick(&a, &|l| b.labels.contains(l) && !later(l));
    let rows = pick(&a, &|l| !b.labels.contains(l));
    let columns = pick(&b, &|l| !a.labels.contains(l));
    // The axes of an ellipsis broadcast against each other, and so does an extent of 1.
    let extent = |c: &Call<'_, '_>, l: &i32| -> usize {
        let of = |x: &Labelled| x.labels.iter().position(|m| m == l).map_or(1, |k| c.shape(&x.value)[k]);
        let (m, n) = (of(&a), of(&b));
        if m == 1 { n } else { m }
    };
    let size = |c: &Call<'_, '_>, list: &[i32]| list.iter().map(|l| extent(c, l)).product::<usize>();
    let (nb, ns, nr, nc) = (size(c, &batch), size(c, &summed), size(c, &rows), size(c, &columns));
    let left = arranged(c, &a, &[&batch, &rows, &summed], &extent, [nb, nr, ns])?;
    let right = arranged(c, &b, &[&batch, &summed, &columns], &extent, [nb, ns, nc])?;
    let y = c.op(Op::Matmul, &[left, right])?;
    let labels: Vec<i32> = batch.into_iter().chain(rows).chain(columns).collect();
    let shape: Vec<usize> = labels.iter().map(|l| extent(c, l)).collect();
    Ok(Labelled { value: c.reshape(&y, &shape)?, labels })
}

/// A value with its axes in the order of three groups of labels, each group one axis of the result.
fn arranged(
    c: &mut Call<'_, '_>,
    x: &Labelled,
    groups: &[&Vec<i32>; 3],
    extent: &dyn Fn(&Call<'_, '_>, &i32) -> usize,
    sizes: [usize; 3],
) -> Result<Value, Fault> {
    let order: Vec<i32> = groups.iter().flat_map(|g| g.iter().copied()).collect();
    let perm: Vec<usize> = order.iter().filter_map(|l| x.labels.iter().position(|m| m == l)).collect();
    let moved = c.transpose(&x.value, &perm)?;
    let full: Vec<usize> = order.iter().map(|l| extent(c, l)).collect();
    let moved = c.broadcast(&moved, &full)?;
    c.reshape(&moved, &sizes)
}
