//! What each function of the language expands to; formulas stand in [`super::calls`].

use super::Elab;
use super::calls::Args;
use super::codes;
use super::expr::Env;
use super::units::Dims;
use super::value::{Elem, Rt, Val, show_shape};
use nc_ir::graph::{Op, PoolKind, Real, ReduceKind};
use nc_ir::{Diagnostic, Span};

impl<'a> Elab<'a> {
    pub(super) fn builtin(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Val> {
        let span = a.span;
        if let Some(folded) = self.fold_math(a, env)? {
            return Some(folded);
        }
        let rt = match a.name {
            "linear" => self.linear(a, env)?,
            "conv2d" => self.conv2d(a, env)?,
            "sum_pool" => self.window(PoolKind::Sum, a, env)?,
            "avg_pool" => self.window(PoolKind::Avg, a, env)?,
            "max_pool" => self.window(PoolKind::Max, a, env)?,
            "embedding" => self.embedding(a, env)?,
            "matmul" => self.matmul(a, env)?,
            "layernorm" => self.layernorm(a, env)?,
            "rmsnorm" => self.rmsnorm(a, env)?,
            "softmax" | "log_softmax" => self.softmax(a, env)?,
            "sigmoid" => self.math(a, Op::Sigmoid, env)?,
            "tanh" => self.math(a, Op::Tanh, env)?,
            "exp" => self.math(a, Op::Exp, env)?,
            "log" => self.math(a, Op::Log, env)?,
            "sin" => self.math(a, Op::Sin, env)?,
            "cos" => self.math(a, Op::Cos, env)?,
            "erf" => self.math(a, Op::Erf, env)?,
            "floor" => self.math(a, Op::Floor, env)?,
            "ceil" => self.math(a, Op::Ceil, env)?,
            "round" => self.math(a, Op::Round, env)?,
            "trunc" => self.math(a, Op::Trunc, env)?,
            "relu" => {
                let x = self.any_arg(a, "x", env)?;
                let zero = self.real(0.0, x.elem.dims(), span)?;
                let id = self.node(span, |g| g.max(x.id, zero.id))?;
                self.rt(id, x.elem, x.shape)
            }
            "gelu" => self.gelu(a, env)?,
            "sqrt" => {
                let x = self.any_arg(a, "x", env)?;
                let Some(d) = x.elem.dims().sqrt() else {
                    self.report(
                        Diagnostic::error(codes::UNIT, a.span("x"), format!("{} has no square root", x.elem))
                            .labelled("the unit would have a fractional exponent"),
                    );
                    return None;
                };
                self.unary(x, Op::Sqrt, Elem::Real(d), span)?
            }
            "abs" => {
                let e = a.expr("x")?;
                let v = self.eval(e, env);
                let x = self.lift(&v, e.span)?;
                let x = self.cast_bool_free(x, e.span)?;
                let elem = x.elem;
                self.unary(x, Op::Abs, elem, span)?
            }
            "pow" => {
                let (Some(x), Some(y)) = (a.expr("x"), a.expr("y")) else { return None };
                let (v, w) = (self.eval(x, env), self.eval(y, env));
                return Some(self.binary(crate::ast::BinaryOp::Pow, v, w, x.span, y.span, span));
            }
            "clip" => {
                let (Some(x), Some(lo), Some(hi)) = (a.expr("x"), a.expr("lo"), a.expr("hi")) else { return None };
                let v = self.eval(x, env);
                let (l, h) = (self.eval(lo, env), self.eval(hi, env));
                if v.is_poison() || l.is_poison() || h.is_poison() {
                    return None;
                }
                let (x1, l) = self.pair(&v, &l, x.span, lo.span, "clip")?;
                let (x1, l) = (self.cast_bool_free(x1, x.span)?, self.cast_bool_free(l, lo.span)?);
                let shape = self.common_shape(&x1, &l, x.span, lo.span, span)?;
                let id = self.node(span, |g| g.max(x1.id, l.id))?;
                let m = self.rt(id, x1.elem, shape);
                let (m, h) = self.pair(&Val::Rt(m), &h, x.span, hi.span, "clip")?;
                let shape = self.common_shape(&m, &h, x.span, hi.span, span)?;
                let id = self.node(span, |g| g.min(m.id, h.id))?;
                self.rt(id, m.elem, shape)
            }
            "step" => {
                let x = self.any_arg(a, "x", env)?;
                let zero = self.real(0.0, x.elem.dims(), span)?;
                let id = self.node(span, |g| g.gt(x.id, zero.id))?;
                self.rt(id, Elem::Bool, x.shape)
            }
            "sum" | "mean" => {
                let x = self.any_arg(a, "x", env)?;
                let axes = self.axes(a.expr("axes"), &x.shape, env)?;
                let kind = if a.name == "sum" { ReduceKind::Sum } else { ReduceKind::Mean };
                self.reduce(x, kind, &axes, false, span)?
            }
            "argmax" => {
                let x = self.tensor_arg(a, "x", env)?;
                let axis = self.axis_or_last(a, &x, env)?;
                let mut shape = x.shape.clone();
                shape.remove(axis);
                let id = self.node(span, |g| g.argmax(x.id, axis, false, false))?;
                self.rt(id, Elem::Int, shape)
            }
            "flatten" => {
                let x = self.value_arg(a, "x", env)?;
                let n = self.check_size(&x.shape, span)?;
                self.reshape_to(x, vec![n], span)?
            }
            "reshape" => {
                let x = self.value_arg(a, "x", env)?;
                let e = a.expr("shape")?;
                let want = self.ints(e, env, "a shape")?;
                let shape: Option<Vec<u64>> = want.iter().map(|d| u64::try_from(*d).ok().filter(|d| *d > 0)).collect();
                let count = |s: &[u64]| s.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
                match shape {
                    Some(s) if count(&s) == count(&x.shape) => self.reshape_to(x, s, span)?,
                    _ => {
                        self.report(
                            Diagnostic::error(
                                codes::SHAPE,
                                e.span,
                                format!("{} cannot be reshaped to {want:?}", show_shape(&x.shape)),
                            )
                            .labelled("the numbers of elements differ"),
                        );
                        return None;
                    }
                }
            }
            "transpose" => self.transpose(a, env)?,
            "split" => return self.split(a, env),
            "expscan" => self.expscan(a, env)?,
            "delay" => self.delay(a, env)?,
            "noise" => self.noise(a, env)?,
            "uniform" | "normal" | "gamma" => self.draw(a, env)?,
            other => {
                self.report(
                    Diagnostic::error(codes::NOT_A_FUNCTION, span, format!("`{other}` is not a function here"))
                        .labelled("here"),
                );
                return None;
            }
        };
        Some(Val::Rt(rt))
    }

    /// Functions of constants, in f64. `None` after a report, `Some(None)` if an operand is not constant.
    #[allow(clippy::option_option)]
    fn fold_math(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Option<Val>> {
        let f: fn(f64) -> f64 = match a.name {
            "exp" => f64::exp,
            "log" => f64::ln,
            "sin" => f64::sin,
            "cos" => f64::cos,
            "tanh" => f64::tanh,
            "floor" => f64::floor,
            "ceil" => f64::ceil,
            "round" => f64::round_ties_even,
            "trunc" => f64::trunc,
            "sqrt" => f64::sqrt,
            "abs" => f64::abs,
            _ => return Some(None),
        };
        let e = a.expr("x")?;
        if !constant_form(e) {
            return Some(None);
        }
        let v = self.eval(e, env);
        let (x, d) = match v {
            Val::Int(x) if a.name == "abs" => return Some(x.checked_abs().map(Val::Int)),
            Val::Int(x) => (x as f64, Dims::NONE),
            Val::Real(x, d) => (x, d),
            Val::Poison => return None,
            _ => return Some(None),
        };
        let dims = match a.name {
            "abs" => Some(d),
            "sqrt" => d.sqrt(),
            _ => d.is_none().then_some(d),
        };
        let y = f(x);
        match dims {
            Some(d) if y.is_finite() => Some(Some(Val::Real(y, d))),
            Some(_) => {
                self.report(
                    Diagnostic::error(codes::ARITHMETIC, a.span, format!("`{}` of {x} is not a finite number", a.name))
                        .labelled("not a number"),
                );
                None
            }
            None => {
                self.report(
                    Diagnostic::error(codes::UNIT, e.span, format!("`{}` takes a plain number", a.name))
                        .labelled(format!("this is in {d}")),
                );
                None
            }
        }
    }

    /// An operand of any unit and shape, as a real number.
    fn any_arg(&mut self, a: &Args<'a>, name: &str, env: &mut Env<'a>) -> Option<Rt> {
        let e = a.expr(name)?;
        let v = self.eval(e, env);
        self.lift_real(&v, e.span)
    }

    /// An operand of any type.
    fn value_arg(&mut self, a: &Args<'a>, name: &str, env: &mut Env<'a>) -> Option<Rt> {
        let e = a.expr(name)?;
        let v = self.eval(e, env);
        self.lift(&v, e.span)
    }

    fn math(&mut self, a: &Args<'a>, op: Op, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.plain_arg(a, "x", env)?;
        self.unary(x, op, Elem::NUMBER, a.span)
    }

    fn axis_or_last(&mut self, a: &Args<'a>, x: &Rt, env: &mut Env<'a>) -> Option<usize> {
        match a.expr("axis") {
            Some(e) => self.axis(e, x.shape.len(), env),
            None => x.shape.len().checked_sub(1),
        }
    }

    pub(super) fn reshape_to(&mut self, x: Rt, shape: Vec<u64>, span: Span) -> Option<Rt> {
        if x.shape == shape {
            return Some(x);
        }
        let id = self.node(span, |g| g.reshape(x.id, shape.clone()))?;
        let host = x.host.as_ref().and_then(|t| t.reshaped(shape.iter().map(|d| *d as usize).collect()));
        Some(Rt { host, ..self.rt(id, x.elem, shape) })
    }

    /// The unit of a product of two operands.
    fn product(&mut self, x: &Rt, w: &Rt, span: Span) -> Option<Elem> {
        match x.elem.dims().times(w.elem.dims()) {
            Some(d) => Some(Elem::Real(d)),
            None => {
                self.report(
                    Diagnostic::error(codes::UNIT, span, "the unit of this product is out of range").labelled("here"),
                );
                None
            }
        }
    }

    /// A bias `[n]` in the unit of the result; a scalar is repeated.
    fn bias(&mut self, a: &Args<'a>, n: u64, elem: Elem, env: &mut Env<'a>) -> Option<Option<Rt>> {
        let Some(e) = a.expr("b") else { return Some(None) };
        let v = self.eval(e, env);
        let b = self.coerce_to(&v, elem, &[n], e.span, &format!("the bias of `{}`", a.name))?;
        Some(Some(self.widened(b, &[n], e.span)?))
    }

    fn linear(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "x", env)?;
        let w = self.tensor_arg(a, "w", env)?;
        let [m, k] = w.shape[..] else {
            self.report(
                Diagnostic::error(codes::SHAPE, a.span("w"), "the weights of `linear` have shape [out, in]")
                    .labelled(format!("this has shape {}", show_shape(&w.shape))),
            );
            return None;
        };
        let last = x.shape.last().copied().unwrap_or(0);
        if last != k {
            let total: Option<u64> = x.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
            let mut d = Diagnostic::error(
                codes::SHAPE,
                a.span("x"),
                format!("`linear` takes {k} inputs, but {last} are given"),
            )
            .labelled(format!("shape {}", show_shape(&x.shape)))
            .with_label(a.span("w"), format!("weights [out, in] = {}", show_shape(&w.shape)));
            if total == Some(k) {
                d = d.with_hint("`flatten(..)` the input first");
            } else if m == last {
                d = d.with_hint("the weights are [out, in]; `transpose(..)` them");
            }
            self.report(d);
            return None;
        }
        let elem = self.product(&x, &w, a.span)?;
        let b = self.bias(a, m, elem, env)?;
        let mut shape = x.shape.clone();
        if let Some(s) = shape.last_mut() {
            *s = m;
        }
        let id = self.node(a.span, |g| g.linear(x.id, w.id, b.map(|b| b.id)))?;
        Some(self.rt(id, elem, shape))
    }

    fn conv2d(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "x", env)?;
        let w = self.tensor_arg(a, "w", env)?;
        let ([cin, h, wd], [cout, ci, kh, kw]) = (&x.shape[..], &w.shape[..]) else {
            self.report(
                Diagnostic::error(
                    codes::SHAPE,
                    a.span,
                    "`conv2d` takes [channels, height, width] and weights [out, in, ky, kx]",
                )
                .labelled(format!("got {} and {}", show_shape(&x.shape), show_shape(&w.shape))),
            );
            return None;
        };
        let (cin, h, wd, cout, ci, kh, kw) = (*cin, *h, *wd, *cout, *ci, *kh, *kw);
        let stride = self.two(a.expr("stride"), 1, 1, env, "stride")?;
        let pad = self.two(a.expr("pad"), 0, 0, env, "pad")?;
        let dilation = self.two(a.expr("dilation"), 1, 1, env, "dilation")?;
        let groups = match a.expr("groups") {
            Some(e) => {
                let g = self.eval_int(e, env, "`groups`")?;
                u64::try_from(g).ok().filter(|g| *g > 0 && cin % g == 0 && cout % g == 0)
            }
            None => Some(1),
        };
        let Some(groups) = groups else {
            self.report(
                Diagnostic::error(
                    codes::SHAPE,
                    a.span("groups"),
                    "`groups` must divide the channels of input and output",
                )
                .labelled(format!("there are {cin} input and {cout} output channels")),
            );
            return None;
        };
        if ci.checked_mul(groups) != Some(cin) {
            self.report(
                Diagnostic::error(
                    codes::SHAPE,
                    a.span("w"),
                    format!("the weights take {ci} channels, but the input has {cin}"),
                )
                .labelled(format!("weights {}", show_shape(&w.shape)))
                .with_label(a.span("x"), format!("input {}", show_shape(&x.shape))),
            );
            return None;
        }
        let mut shape = vec![cout];
        for (axis, (n, k)) in [(h, kh), (wd, kw)].into_iter().enumerate() {
            let reach = (k - 1).checked_mul(dilation[axis]).and_then(|r| r.checked_add(1));
            let out = reach.and_then(|r| (n + 2 * pad[axis]).checked_sub(r)).map(|m| m / stride[axis] + 1);
            let Some(out) = out else {
                self.report(
                    Diagnostic::error(codes::SHAPE, a.span, format!("a kernel of {k} does not fit in {n}"))
                        .labelled("the kernel is larger than the input"),
                );
                return None;
            };
            shape.push(out);
        }
        self.check_size(&shape, a.span)?;
        let elem = self.product(&x, &w, a.span)?;
        let b = self.bias(a, cout, elem, env)?;
        let pads = vec![pad[0], pad[1], pad[0], pad[1]];
        let id = self
            .node(a.span, |g| g.conv(x.id, w.id, b.map(|b| b.id), stride.to_vec(), pads, dilation.to_vec(), groups))?;
        Some(self.rt(id, elem, shape))
    }

    fn embedding(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let t = self.value_arg(a, "token", env)?;
        if t.elem != Elem::Int {
            self.report(
                Diagnostic::error(codes::TYPE, a.span("token"), "`embedding` takes whole numbers")
                    .labelled(format!("this is {}", t.elem)),
            );
            return None;
        }
        let table = self.tensor_arg(a, "table", env)?;
        let mut shape = t.shape.clone();
        shape.extend_from_slice(&table.shape[1..]);
        self.check_size(&shape, a.span)?;
        let id = self.node(a.span, |g| g.gather(table.id, t.id, 0))?;
        Some(self.rt(id, table.elem, shape))
    }

    /// `matmul(a, b)`: a matrix times a vector, a vector times a matrix, or matrices with leading axes.
    fn matmul(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "a", env)?;
        let y = self.tensor_arg(a, "b", env)?;
        let elem = self.product(&x, &y, a.span)?;
        let inner = if y.shape.len() == 1 { y.shape[0] } else { y.shape[y.shape.len() - 2] };
        if x.shape.last().copied() != Some(inner) {
            self.report(
                Diagnostic::error(
                    codes::SHAPE,
                    a.span,
                    format!("`matmul` of {} and {}", show_shape(&x.shape), show_shape(&y.shape)),
                )
                .labelled("the inner extents differ")
                .with_label(a.span("a"), show_shape(&x.shape))
                .with_label(a.span("b"), show_shape(&y.shape)),
            );
            return None;
        }
        match (x.shape.len(), y.shape.len()) {
            (1, 1) => {
                let row = self.reshape_to(x, vec![1, inner], a.span)?;
                let id = self.node(a.span, |g| g.linear(y.id, row.id, None))?;
                let r = self.rt(id, elem, vec![1]);
                self.reshape_to(r, Vec::new(), a.span)
            }
            (2, 1) => {
                let id = self.node(a.span, |g| g.linear(y.id, x.id, None))?;
                Some(self.rt(id, elem, vec![x.shape[0]]))
            }
            (1, 2) => {
                let n = y.shape[1];
                let row = self.reshape_to(x, vec![1, inner], a.span)?;
                let id = self.node(a.span, |g| g.matmul(row.id, y.id))?;
                let r = self.rt(id, elem, vec![1, n]);
                self.reshape_to(r, vec![n], a.span)
            }
            (p, q) if p >= 2 && q >= 2 => {
                let id = self.node(a.span, |g| g.matmul(x.id, y.id))?;
                // Leading extents of 1 are repeated, on either side.
                let shape = self.builder().ty(id).extents().unwrap_or_default();
                Some(self.rt(id, elem, shape))
            }
            _ => {
                self.report(
                    Diagnostic::error(codes::SHAPE, a.span, "`matmul` of a vector and a stack of matrices")
                        .labelled("reshape one of them"),
                );
                None
            }
        }
    }

    /// A scale or shift `[n]` of a norm, repeated to the shape of `x`.
    fn along_last(&mut self, a: &Args<'a>, name: &str, x: &Rt, elem: Elem, env: &mut Env<'a>) -> Option<Option<Rt>> {
        let Some(e) = a.expr(name) else { return Some(None) };
        let n = x.shape.last().copied().unwrap_or(1);
        let v = self.eval(e, env);
        let r = self.coerce_to(&v, elem, &[n], e.span, &format!("`{name}` of `{}`", a.name))?;
        if r.shape.is_empty() || x.shape.len() == 1 {
            return Some(Some(r));
        }
        Some(Some(self.widened(r, &x.shape.clone(), e.span)?))
    }

    fn constant_arg(&mut self, a: &Args<'a>, name: &str, default: f64, env: &mut Env<'a>) -> Option<f64> {
        let Some(e) = a.expr(name) else { return Some(default) };
        let v = self.eval(e, env);
        match v.number() {
            Some((x, d)) if d.is_none() => Some(x),
            _ if v.is_poison() => None,
            _ => {
                self.report(
                    Diagnostic::error(
                        codes::NOT_CONST,
                        e.span,
                        format!("`{name}` must be a plain number known at compile time"),
                    )
                    .labelled(v.describe()),
                );
                None
            }
        }
    }

    fn two_op(&mut self, span: Span, x: &Rt, y: &Rt, elem: Elem, op: Op) -> Option<Rt> {
        let id = self.nodes(span, |g| g.push(op, vec![x.id, y.id], Vec::new()))?.first().copied()?;
        let shape = if x.shape.is_empty() { y.shape.clone() } else { x.shape.clone() };
        Some(self.rt(id, elem, shape))
    }

    fn layernorm(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "x", env)?;
        let eps = self.constant_arg(a, "eps", 1e-5, env)?;
        let (last, s, n) = (x.shape.len() - 1, a.span, Elem::NUMBER);
        let m = self.reduce_along(&x, ReduceKind::Mean, last, s)?;
        let d = self.two_op(s, &x, &m, x.elem, Op::Sub)?;
        let q = self.two_op(s, &d, &d, n, Op::Mul)?;
        let v = self.reduce_along(&q, ReduceKind::Mean, last, s)?;
        let eps = self.real(eps, Dims::NONE, s)?;
        let v = self.two_op(s, &v, &eps, n, Op::Add)?;
        let r = self.unary(v, Op::Sqrt, n, s)?;
        let y = self.two_op(s, &d, &r, n, Op::Div)?;
        let y = match self.along_last(a, "g", &y, n, env)? {
            Some(g) => self.two_op(s, &y, &g, n, Op::Mul)?,
            None => y,
        };
        match self.along_last(a, "b", &y, n, env)? {
            Some(b) => self.two_op(s, &y, &b, n, Op::Add),
            None => Some(y),
        }
    }

    fn rmsnorm(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "x", env)?;
        let eps = self.constant_arg(a, "eps", 1e-6, env)?;
        let (last, s, n) = (x.shape.len() - 1, a.span, Elem::NUMBER);
        let q = self.two_op(s, &x, &x, n, Op::Mul)?;
        let m = self.reduce_along(&q, ReduceKind::Mean, last, s)?;
        let eps = self.real(eps, Dims::NONE, s)?;
        let m = self.two_op(s, &m, &eps, n, Op::Add)?;
        let r = self.unary(m, Op::Sqrt, n, s)?;
        let y = self.two_op(s, &x, &r, n, Op::Div)?;
        match self.along_last(a, "g", &y, n, env)? {
            Some(g) => self.two_op(s, &y, &g, n, Op::Mul),
            None => Some(y),
        }
    }

    fn softmax(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "x", env)?;
        if !x.elem.dims().is_none() {
            return self.plain_arg(a, "x", env);
        }
        let axis = self.axis_or_last(a, &x, env)?;
        let (s, n) = (a.span, Elem::NUMBER);
        let m = self.reduce_along(&x, ReduceKind::Max, axis, s)?;
        let d = self.two_op(s, &x, &m, n, Op::Sub)?;
        let e = self.unary(d.clone(), Op::Exp, n, s)?;
        let t = self.reduce_along(&e, ReduceKind::Sum, axis, s)?;
        if a.name == "softmax" {
            return self.two_op(s, &e, &t, n, Op::Div);
        }
        let l = self.unary(t, Op::Log, n, s)?;
        self.two_op(s, &d, &l, n, Op::Sub)
    }

    fn gelu(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.plain_arg(a, "x", env)?;
        let (s, n) = (a.span, Elem::NUMBER);
        let r = self.real(std::f64::consts::FRAC_1_SQRT_2, Dims::NONE, s)?;
        let u = self.two_op(s, &x, &r, n, Op::Mul)?;
        let e = self.unary(u, Op::Erf, n, s)?;
        let one = self.real(1.0, Dims::NONE, s)?;
        let e = self.two_op(s, &e, &one, n, Op::Add)?;
        let half = self.real(0.5, Dims::NONE, s)?;
        let h = self.two_op(s, &x, &half, n, Op::Mul)?;
        self.two_op(s, &h, &e, n, Op::Mul)
    }

    fn transpose(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.value_arg(a, "x", env)?;
        let rank = x.shape.len();
        let perm: Vec<usize> = match a.expr("axes") {
            None => (0..rank).rev().collect(),
            Some(e) => {
                let list = self.ints(e, env, "axes")?;
                let perm: Vec<usize> = list.iter().filter_map(|k| usize::try_from(*k).ok()).collect();
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                if sorted != (0..rank).collect::<Vec<_>>() || list.len() != rank {
                    self.report(
                        Diagnostic::error(
                            codes::SHAPE,
                            e.span,
                            format!("the axes {list:?} are not an order of {rank} axes"),
                        )
                        .labelled("each axis must appear once"),
                    );
                    return None;
                }
                perm
            }
        };
        let shape: Vec<u64> = perm.iter().map(|k| x.shape[*k]).collect();
        let id = self.node(a.span, |g| g.transpose(x.id, perm))?;
        Some(self.rt(id, x.elem, shape))
    }

    fn split(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Val> {
        let e = a.expr("x")?;
        let v = self.eval(e, env);
        let x = self.lift(&v, e.span)?;
        let axis = match a.expr("axis") {
            Some(e) => self.axis(e, x.shape.len(), env)?,
            None => 0,
        };
        let count = a.expr("n")?;
        let n = self.eval_int(count, env, "the number of parts")?;
        let extent = x.shape.get(axis).copied().unwrap_or(0);
        let n = match u64::try_from(n) {
            Ok(n) if n > 0 && n <= 1024 && extent > 0 && extent % n == 0 => n,
            _ => {
                self.report(
                    Diagnostic::error(
                        codes::SHAPE,
                        count.span,
                        format!("an extent of {extent} cannot be split into {n} equal parts"),
                    )
                    .labelled(format!("the value has shape {}", show_shape(&x.shape))),
                );
                return None;
            }
        };
        let part = extent / n;
        let mut parts = Vec::new();
        for k in 0..n {
            let mut start = vec![0; x.shape.len()];
            let mut stop = x.shape.clone();
            start[axis] = k * part;
            stop[axis] = (k + 1) * part;
            let mut shape = x.shape.clone();
            shape[axis] = part;
            let step = vec![1; shape.len()];
            let id = self.node(a.span, |g| g.slice(x.id, start, stop, step))?;
            parts.push(self.rt(id, x.elem, shape));
        }
        Some(Val::Tuple(parts))
    }

    /// Nodes below stand in the step function even when a region is being written: they hold state.
    fn expscan(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        if !env.ticks || !self.frames.is_empty() {
            return self.net_only(a);
        }
        let x = self.any_arg(a, "x", env)?;
        let e = a.expr("tau")?;
        let tau = self.time_constant(e, env, "the time constant of `expscan`")?;
        let name = self.fresh_name(&format!("{}expscan", env.place));
        let y = self.add_state(&name, x.elem, &x.shape, x.elem.dtype(), None)?;
        let decay = self.real((-1.0 / tau).exp(), Dims::NONE, a.span)?;
        let id = self.node(a.span, |g| g.fma(decay.id, y.id, x.id))?;
        let next = self.rt(id, x.elem, x.shape);
        self.set_next(&name, id);
        Some(next)
    }

    pub(super) fn net_only(&mut self, a: &Args<'a>) -> Option<Rt> {
        self.report(
            Diagnostic::error(codes::MISPLACED, a.span, format!("`{}` belongs in the body of a net", a.name))
                .labelled("it remembers something from tick to tick"),
        );
        None
    }

    /// Normal noise, drawn anew for each element in each tick.
    fn noise(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let shape = match (a.expr("shape"), &env.noise) {
            (Some(e), Some(_)) => {
                let v = self.ints(e, env, "a shape")?;
                let s: Option<Vec<u64>> = v.iter().map(|d| u64::try_from(*d).ok().filter(|d| *d > 0)).collect();
                match s {
                    Some(s) => s,
                    None => {
                        self.report(
                            Diagnostic::error(codes::SHAPE, e.span, "an extent is at least 1").labelled("here"),
                        );
                        return None;
                    }
                }
            }
            (None, Some(s)) => s.clone(),
            (_, None) => {
                self.report(
                    Diagnostic::error(codes::MISPLACED, a.span, "`noise` belongs in equations that run in every tick")
                        .labelled("not here")
                        .with_hint("use `normal(mean, sd)` for a draw that is made once"),
                );
                return None;
            }
        };
        let stream = self.stream(&format!("{}noise", env.place));
        // Drawn in the step function, once per tick; a region sees it as one more value.
        let regions = std::mem::take(&mut self.frames);
        let drawn = self.noise_value(&shape, stream, a.span);
        self.frames = regions;
        let drawn = self.here(&drawn?, a.span)?;
        let e = a.expr("sigma")?;
        let v = self.eval(e, env);
        let sigma = self.lift_real(&v, e.span)?;
        let shape = self.common_shape(&sigma, &drawn, e.span, a.span, a.span)?;
        let id = self.node(a.span, |g| g.mul(sigma.id, drawn.id))?;
        Some(self.rt(id, sigma.elem, shape))
    }

    fn noise_value(&mut self, shape: &[u64], stream: u64, span: Span) -> Option<Rt> {
        let n = self.check_size(shape, span)?;
        let i = if shape.is_empty() {
            self.int(0, span)?.id
        } else {
            let i = self.node(span, |g| g.iota(n))?;
            if shape.len() == 1 { i } else { self.node(span, |g| g.reshape(i, shape.to_vec()))? }
        };
        let tick = self.node(span, |g| g.tick())?;
        let id = self.node(span, |g| g.random(i, tick, nc_ir::graph::Distribution::Normal, stream))?;
        Some(self.rt(id, Elem::NUMBER, shape.to_vec()))
    }

    /// The clock as the attribute of `Integrate`.
    pub(super) fn dt_attr(ms: f64) -> Real {
        Real(ms)
    }
}

/// True if an expression can be a constant: it is cheap to evaluate twice and reads nothing but literals and names.
fn constant_form(e: &crate::ast::Expr) -> bool {
    use crate::ast::ExprKind as K;
    match &e.kind {
        K::Int(_) | K::Float(_) | K::Quantity { .. } | K::Name(_) => true,
        K::Unary { expr, .. } => constant_form(expr),
        K::Binary { lhs, rhs, .. } => constant_form(lhs) && constant_form(rhs),
        _ => false,
    }
}
