//! Evaluating element-wise regions at compile time, by the same scalar operations that the model itself uses.

use super::Elab;
use super::codes;
use super::emit::Capture;
use super::expr::{Draw, Env};
use super::value::{Elem, Rt, Ty, Val};
use crate::ast::Expr;
use nc_ir::graph::expand::{inline_with, load};
use nc_ir::graph::{Graph, ValueId};
use nc_ir::kernel::{Evaluate, Scalar};
use nc_ir::{Diagnostic, Span, Tensor};

/// Element numbers that draws and captured tensors are taken at.
pub(super) enum Places<'p> {
    /// Element k of a tensor of this shape: (k, 0).
    Elements(&'p [u64]),
    /// Synapses: (pre, post), each a flat index. Captured tensors are not possible.
    Pairs(&'p [(u64, u64)]),
}

impl<'a> Elab<'a> {
    /// The data of an expression that is known when the network is built: a scalar if it is the same for all, else one
    /// value for each place. `ty` gives the elements and the unit of numbers from files.
    pub(super) fn fold(
        &mut self,
        e: &'a Expr,
        env: &mut Env<'a>,
        ty: &Ty,
        places: Places<'_>,
        what: &str,
    ) -> Option<Tensor> {
        let want = ty.elem;
        self.begin(Capture::Scalar);
        let i = self.region_param(Elem::Int, &[], "i");
        let j = self.region_param(Elem::Int, &[], "j");
        let (pi, pj) = (i.id, j.id);
        let outer = std::mem::replace(&mut env.draw, Draw::At { i, j });
        let v = self.eval(e, env);
        env.draw = outer;
        let rt = if matches!(v, Val::Array(_)) { None } else { self.coerce(&v, want, e.span, what) };
        let (graph, captured) = self.end(rt.iter().map(|r| r.id).collect());
        if let (Val::Array(a), Places::Elements(shape)) = (&v, &places) {
            // One number serves every element; an array of the shape has just the one.
            let own = a.data.shape().iter().map(|d| *d as u64).eq(shape.iter().copied());
            let shape = if a.data.len() == 1 && !own { Vec::new() } else { shape.to_vec() };
            return self.conform(a, &Ty { shape, ..ty.clone() }, e.span);
        }
        let rt = rt?;
        if !rt.shape.is_empty() {
            let want_shape = match &places {
                Places::Elements(s) => s.to_vec(),
                Places::Pairs(_) => Vec::new(),
            };
            self.wrong_shape(&rt.shape, &want_shape, e.span, what);
            return None;
        }
        let varies = !captured.is_empty() || uses(&graph, pi) || uses(&graph, pj);
        self.run_region(&graph, &captured, want, places, varies, e.span, what)
    }

    /// Runs a region of (i, j) and captured tensors at every place.
    #[allow(clippy::too_many_arguments)]
    fn run_region(
        &mut self,
        graph: &Graph,
        captured: &[Rt],
        want: Elem,
        places: Places<'_>,
        varies: bool,
        span: Span,
        what: &str,
    ) -> Option<Tensor> {
        let mut data: Vec<Tensor> = Vec::with_capacity(captured.len());
        for c in captured {
            let fits = match &places {
                Places::Elements(s) => c.shape == **s,
                Places::Pairs(_) => false,
            };
            match (&c.host, c.shape.is_empty() || fits) {
                (Some(t), true) => data.push(t.clone()),
                (Some(_), false) => {
                    let s = match &places {
                        Places::Elements(s) => s.to_vec(),
                        Places::Pairs(_) => Vec::new(),
                    };
                    self.wrong_shape(&c.shape, &s, span, what);
                    return None;
                }
                (None, _) => {
                    self.report(
                        Diagnostic::error(
                            codes::NOT_HERE,
                            span,
                            format!("{what} must be known when the network is built"),
                        )
                        .labelled("this changes while the model runs"),
                    );
                    return None;
                }
            }
        }
        let (shape, n): (Vec<usize>, usize) = match (&places, varies) {
            (_, false) => (Vec::new(), 1),
            (Places::Elements(s), true) => {
                let n = self.check_size(s, span)?;
                (s.iter().map(|d| *d as usize).collect(), n as usize)
            }
            (Places::Pairs(p), true) => (vec![p.len()], p.len()),
        };
        let (mut slots, mut results) = (Vec::new(), Vec::new());
        let mut args = Vec::with_capacity(2 + data.len());
        let mut out = Column::new(want, n);
        for k in 0..n {
            let (i, j) = match &places {
                Places::Elements(_) => (k as i64, 0),
                Places::Pairs(p) => p.get(k).map_or((0, 0), |(i, j)| (*i as i64, *j as i64)),
            };
            args.clear();
            args.extend([Scalar::I64(i), Scalar::I64(j)]);
            for t in &data {
                args.push(load(t, if t.shape().is_empty() { 0 } else { k })?);
            }
            let r = inline_with(&mut Evaluate, graph, &self.m.consts, Scalar::I64(0), &args, &mut slots, &mut results);
            match (r, results.first()) {
                (Ok(()), Some(x)) => {
                    if !out.push(*x) {
                        self.report(
                            Diagnostic::error(
                                codes::NOT_FINITE,
                                span,
                                format!("{what} is not a finite number everywhere"),
                            )
                            .labelled("gives an infinity or no number"),
                        );
                        return None;
                    }
                }
                (Err(message), _) => {
                    self.report(
                        Diagnostic::error(
                            codes::NOT_HERE,
                            span,
                            format!("{what} cannot be computed at compile time: {message}"),
                        )
                        .labelled("not element-wise"),
                    );
                    return None;
                }
                (Ok(()), None) => return None,
            }
        }
        out.tensor(shape)
    }
}

/// Elements of one type.
enum Column {
    Real(Vec<f32>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

impl Column {
    fn new(elem: Elem, n: usize) -> Column {
        match elem {
            Elem::Real(_) => Column::Real(Vec::with_capacity(n)),
            Elem::Int => Column::Int(Vec::with_capacity(n)),
            Elem::Bool => Column::Bool(Vec::with_capacity(n)),
        }
    }

    /// False for what is not a finite number of this type.
    fn push(&mut self, x: Scalar) -> bool {
        match (self, x) {
            (Column::Real(v), Scalar::F32(x)) if x.is_finite() => v.push(x),
            (Column::Int(v), Scalar::I64(x)) => v.push(x),
            (Column::Bool(v), Scalar::Bool(x)) => v.push(x),
            _ => return false,
        }
        true
    }

    fn tensor(self, shape: Vec<usize>) -> Option<Tensor> {
        match self {
            Column::Real(v) => Tensor::from_vec(shape, v),
            Column::Int(v) => Tensor::from_vec(shape, v),
            Column::Bool(v) => Tensor::from_bools(shape, &v),
        }
    }
}

/// True if a graph's results may depend on a value.
pub(super) fn uses(graph: &Graph, v: ValueId) -> bool {
    graph.results.contains(&v) || graph.nodes.iter().any(|n| n.args.contains(&v))
}
