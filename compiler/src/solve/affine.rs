//! Reading a right-hand side as an affine function of the states: `x' = A x + b` with `A` known at compile time.

use crate::rebuild::Rebuild;
use nc_ir::Tensor;
use nc_ir::graph::{Graph, Op, OpError, ValueId};
use nc_ir::types::{DType, TensorType};
use std::rc::Rc;

/// A number known at compile time: one for the whole population, or one per neuron. Kept in `f64` until it is used.
#[derive(Clone, Debug, PartialEq)]
pub enum Num {
    /// The same for every element.
    One(f64),
    /// One per element.
    Each(Rc<Vec<f64>>),
}

impl Num {
    /// The elements of a floating-point constant.
    pub fn of(t: &Tensor) -> Num {
        if t.shape().is_empty() {
            Num::One(t.get_f64(0))
        } else {
            Num::Each(Rc::new((0..t.len()).map(|k| t.get_f64(k)).collect()))
        }
    }

    /// Element `k`.
    pub fn at(&self, k: usize) -> f64 {
        match self {
            Num::One(x) => *x,
            Num::Each(v) => v[k],
        }
    }

    /// Number of elements if there is one for each.
    pub fn len(&self) -> Option<usize> {
        match self {
            Num::One(_) => None,
            Num::Each(v) => Some(v.len()),
        }
    }

    /// True if it is zero everywhere.
    pub fn is_zero(&self) -> bool {
        match self {
            Num::One(x) => *x == 0.0,
            Num::Each(v) => v.iter().all(|x| *x == 0.0),
        }
    }

    /// Applies `f` to each element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Num {
        match self {
            Num::One(x) => Num::One(f(*x)),
            Num::Each(v) => Num::Each(Rc::new(v.iter().map(|x| f(*x)).collect())),
        }
    }

    /// Combines two element by element.
    pub fn zip(&self, o: &Num, f: impl Fn(f64, f64) -> f64) -> Num {
        match (self.len(), o.len()) {
            (None, None) => Num::One(f(self.at(0), o.at(0))),
            (n, m) => Num::Each(Rc::new((0..n.or(m).unwrap_or(0)).map(|k| f(self.at(k), o.at(k))).collect())),
        }
    }

    /// The number rounded once to the type of the states it multiplies.
    pub fn tensor(&self, ty: &TensorType) -> Option<Tensor> {
        let (shape, data): (Vec<usize>, Vec<f64>) = match self {
            Num::One(x) => (Vec::new(), vec![*x]),
            Num::Each(v) => (ty.extents()?.iter().map(|d| *d as usize).collect(), v.to_vec()),
        };
        match ty.dtype {
            DType::F64 => Tensor::from_vec(shape, data),
            _ => Tensor::from_vec(shape, data.iter().map(|x| *x as f32).collect::<Vec<f32>>()),
        }
    }
}

/// The part of an affine expression that does not depend on the states.
#[derive(Clone, Debug)]
pub enum Rest {
    /// Known at compile time.
    Known(Num),
    /// A value of the step function.
    Value(ValueId),
}

/// `sum_k coef[k] * state[k] + rest`; a missing coefficient is zero.
#[derive(Clone, Debug)]
pub struct Affine {
    /// One coefficient per state.
    pub coef: Vec<Option<Num>>,
    /// The remainder; `None` is zero.
    pub rest: Option<Rest>,
}

impl Affine {
    fn free(&self) -> bool {
        self.coef.iter().all(Option::is_none)
    }
}

/// The region's results as affine functions of the states with coefficients known at compile time, or `None` if it is
/// not of that form. State-independent parts that are not known are written to the new graph.
///
/// # Errors
/// Only if the region is ill-typed.
pub fn read(
    rb: &mut Rebuild,
    region: &Graph,
    known: &dyn Fn(ValueId) -> Option<Tensor>,
    states: usize,
    reads: &[ValueId],
    ty: &TensorType,
) -> Result<Option<Vec<Affine>>, OpError> {
    let mut values: Vec<Option<Affine>> = vec![None; region.values.len()];
    for (k, p) in region.params.iter().enumerate() {
        let mut a = Affine { coef: vec![None; states], rest: None };
        if k < states {
            a.coef[k] = Some(Num::One(1.0));
        } else {
            let read = reads[k - states];
            a.rest = Some(match known(read) {
                Some(t) if t.dtype().is_float() => Rest::Known(Num::of(&t)),
                _ => Rest::Value(read),
            });
        }
        values[p.index()] = Some(a);
    }
    for node in &region.nodes {
        let result = node.results[0];
        if let Op::Const { id } = node.op {
            let t = rb.module.consts[id.index()].data.clone();
            let rest =
                if t.dtype().is_float() { Rest::Known(Num::of(&t)) } else { Rest::Value(rb.op(node.op.clone(), &[])?) };
            values[result.index()] = Some(Affine { coef: vec![None; states], rest: Some(rest) });
            continue;
        }
        let args: Option<Vec<&Affine>> = node.args.iter().map(|a| values[a.index()].as_ref()).collect();
        let Some(args) = args else { continue };
        let args: Vec<Affine> = args.into_iter().cloned().collect();
        values[result.index()] = combine(rb, &node.op, &args, states, ty)?;
    }
    Ok(region.results.iter().map(|r| values[r.index()].clone()).collect())
}

fn combine(
    rb: &mut Rebuild,
    op: &Op,
    args: &[Affine],
    states: usize,
    ty: &TensorType,
) -> Result<Option<Affine>, OpError> {
    if args.iter().all(Affine::free) {
        let numbers: Option<Vec<Num>> = args
            .iter()
            .map(|a| match &a.rest {
                None => Some(Num::One(0.0)),
                Some(Rest::Known(n)) => Some(n.clone()),
                Some(Rest::Value(_)) => None,
            })
            .collect();
        if let Some(n) = numbers.and_then(|n| fold(op, &n)) {
            return Ok(Some(Affine { coef: vec![None; states], rest: Some(Rest::Known(n)) }));
        }
        let mut operands = Vec::with_capacity(args.len());
        for a in args {
            operands.push(materialise(rb, a.rest.as_ref(), ty)?);
        }
        let v = rb.op(op.clone(), &operands)?;
        return Ok(Some(Affine { coef: vec![None; states], rest: Some(Rest::Value(v)) }));
    }
    let known = |a: &Affine| match (&a.rest, a.free()) {
        (Some(Rest::Known(n)), true) => Some(n.clone()),
        (None, true) => Some(Num::One(0.0)),
        _ => None,
    };
    Ok(match op {
        Op::Add => Some(sum(rb, &args[0], &args[1], false, ty)?),
        Op::Sub => Some(sum(rb, &args[0], &args[1], true, ty)?),
        Op::Neg => Some(scale(rb, &args[0], &Num::One(-1.0), false, ty)?),
        Op::Mul => match (known(&args[0]), known(&args[1])) {
            (_, Some(k)) => Some(scale(rb, &args[0], &k, false, ty)?),
            (Some(k), _) => Some(scale(rb, &args[1], &k, false, ty)?),
            _ => None,
        },
        Op::Div => match known(&args[1]) {
            Some(k) => Some(scale(rb, &args[0], &k, true, ty)?),
            None => None,
        },
        Op::Fma => match (known(&args[0]), known(&args[1])) {
            (_, Some(k)) => {
                let product = scale(rb, &args[0], &k, false, ty)?;
                Some(sum(rb, &product, &args[2], false, ty)?)
            }
            (Some(k), _) => {
                let product = scale(rb, &args[1], &k, false, ty)?;
                Some(sum(rb, &product, &args[2], false, ty)?)
            }
            _ => None,
        },
        _ => None,
    })
}

/// The value of a state-independent part.
pub fn materialise(rb: &mut Rebuild, rest: Option<&Rest>, ty: &TensorType) -> Result<ValueId, OpError> {
    match rest {
        Some(Rest::Value(v)) => Ok(*v),
        Some(Rest::Known(n)) => number(rb, n, ty),
        None => number(rb, &Num::One(0.0), ty),
    }
}

/// A compile-time number as a constant value of the states' element type.
pub fn number(rb: &mut Rebuild, n: &Num, ty: &TensorType) -> Result<ValueId, OpError> {
    let data = n.tensor(ty).ok_or_else(|| OpError {
        op: "integrate".into(),
        message: format!("a coefficient for each element needs a shape of that many elements, found {ty}"),
    })?;
    rb.constant("", data)
}

fn sum(rb: &mut Rebuild, a: &Affine, b: &Affine, minus: bool, ty: &TensorType) -> Result<Affine, OpError> {
    let sign = if minus { -1.0 } else { 1.0 };
    let coef = a
        .coef
        .iter()
        .zip(&b.coef)
        .map(|(x, y)| match (x, y) {
            (None, None) => None,
            (Some(x), None) => Some(x.clone()),
            (None, Some(y)) => Some(y.map(|v| sign * v)),
            (Some(x), Some(y)) => Some(x.zip(y, |x, y| x + sign * y)),
        })
        .collect();
    let rest = match (&a.rest, &b.rest) {
        (None, None) => None,
        (Some(x), None) => Some(x.clone()),
        (None, Some(Rest::Known(y))) => Some(Rest::Known(y.map(|v| sign * v))),
        (None, Some(Rest::Value(y))) if minus => Some(Rest::Value(rb.op(Op::Neg, &[*y])?)),
        (None, Some(y)) => Some(y.clone()),
        (Some(Rest::Known(x)), Some(Rest::Known(y))) => Some(Rest::Known(x.zip(y, |x, y| x + sign * y))),
        (Some(x), Some(y)) => {
            let (x, y) = (materialise(rb, Some(x), ty)?, materialise(rb, Some(y), ty)?);
            Some(Rest::Value(rb.op(if minus { Op::Sub } else { Op::Add }, &[x, y])?))
        }
    };
    Ok(Affine { coef, rest })
}

fn scale(rb: &mut Rebuild, a: &Affine, k: &Num, divide: bool, ty: &TensorType) -> Result<Affine, OpError> {
    let f = |x: f64, k: f64| if divide { x / k } else { x * k };
    let coef = a.coef.iter().map(|c| c.as_ref().map(|c| c.zip(k, f))).collect();
    let rest = match &a.rest {
        None => None,
        Some(Rest::Known(n)) => Some(Rest::Known(n.zip(k, f))),
        Some(Rest::Value(v)) => {
            let factor = number(rb, k, ty)?;
            Some(Rest::Value(rb.op(if divide { Op::Div } else { Op::Mul }, &[*v, factor])?))
        }
    };
    Ok(Affine { coef, rest })
}

/// Coefficient arithmetic in `f64`; `None` for an op that has no coefficient rule.
fn fold(op: &Op, n: &[Num]) -> Option<Num> {
    Some(match (op, n) {
        (Op::Add, [a, b]) => a.zip(b, |a, b| a + b),
        (Op::Sub, [a, b]) => a.zip(b, |a, b| a - b),
        (Op::Mul, [a, b]) => a.zip(b, |a, b| a * b),
        (Op::Div, [a, b]) => a.zip(b, |a, b| a / b),
        (Op::Pow, [a, b]) => a.zip(b, f64::powf),
        (Op::Fma, [a, b, c]) => a.zip(b, |a, b| a * b).zip(c, |x, c| x + c),
        (Op::Neg, [a]) => a.map(|x| -x),
        (Op::Abs, [a]) => a.map(f64::abs),
        (Op::Sqrt, [a]) => a.map(f64::sqrt),
        (Op::Exp, [a]) => a.map(f64::exp),
        (Op::Log, [a]) => a.map(f64::ln),
        _ => return None,
    })
}

/// How a value depends on one state while the others are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dependence {
    /// Not at all.
    Free,
    /// As `a * x + b` with `a` and `b` free of it.
    Linear,
    /// In another way.
    Other,
}

/// How each result of the region depends on state `k`.
pub fn dependence(region: &Graph, k: usize) -> Vec<Dependence> {
    use Dependence::{Free, Linear, Other};
    let mut dep = vec![Free; region.values.len()];
    dep[region.params[k].index()] = Linear;
    for node in &region.nodes {
        let d: Vec<Dependence> = node.args.iter().map(|a| dep[a.index()]).collect();
        let worst = |d: &[Dependence]| {
            if d.contains(&Other) {
                Other
            } else if d.contains(&Linear) {
                Linear
            } else {
                Free
            }
        };
        let result = match (&node.op, d.as_slice()) {
            (_, d) if worst(d) == Free => Free,
            (Op::Add | Op::Sub | Op::Neg, d) => worst(d),
            (Op::Mul, [a, Free]) => *a,
            (Op::Mul, [Free, b]) => *b,
            (Op::Div, [a, Free]) => *a,
            (Op::Fma, [a, Free, c]) => worst(&[*a, *c]),
            (Op::Fma, [Free, b, c]) => worst(&[*b, *c]),
            (Op::Select, [Free, a, b]) => worst(&[*a, *b]),
            _ => Other,
        };
        for r in &node.results {
            dep[r.index()] = result;
        }
    }
    region.results.iter().map(|r| dep[r.index()]).collect()
}
