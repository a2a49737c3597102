//! The functions of the language and how they expand into graph ops.
//!
//! Formulas, all in `f32` with the order of operations as written:
//!
//! - `softmax(x, axis)`: `e = exp(x - max(x)); e / sum(e)`; `log_softmax`: `d = x - max(x); d - log(sum(exp(d)))`
//! - `layernorm(x, g, b, eps = 1e-5)` over the last axis: `d = x - mean(x); d / sqrt(mean(d * d) + eps) * g + b`
//! - `rmsnorm(x, g, eps = 1e-6)` over the last axis: `x / sqrt(mean(x * x) + eps) * g`
//! - `relu(x)`: `max(x, 0)`; `gelu(x)`: `x * 0.5 * (1 + erf(x * f32(1 / sqrt 2)))`; `step(x)`: `x > 0`
//! - `clip(x, lo, hi)`: `min(max(x, lo), hi)`
//! - `expscan(x, tau)`: `y' = fma(a, y, x)` with `a = f32(exp(-dt / tau))`, y starts at 0, the new y is the value
//! - `delay(x, d)`: the value of `d` ago, zeros before the first tick

use super::Elab;
use super::codes;
use super::expr::Env;
use super::names::Decl;
use super::value::{Elem, Rt, Val, show_shape};
use crate::ast::{self, Expr};
use nc_ir::diag::nearest;
use nc_ir::graph::{PoolKind, ReduceKind};
use nc_ir::{Diagnostic, Span};

/// Every function of the language and the names of its arguments; `?` marks one that can be left out.
pub const FUNCTIONS: &[(&str, &[&str])] = &[
    ("linear", &["x", "w", "b?"]),
    ("conv2d", &["x", "w", "b?", "stride?", "pad?", "dilation?", "groups?"]),
    ("sum_pool", &["x", "size", "stride?", "pad?"]),
    ("avg_pool", &["x", "size", "stride?", "pad?"]),
    ("max_pool", &["x", "size", "stride?", "pad?"]),
    ("embedding", &["token", "table"]),
    ("matmul", &["a", "b"]),
    ("layernorm", &["x", "g?", "b?", "eps?"]),
    ("rmsnorm", &["x", "g?", "eps?"]),
    ("softmax", &["x", "axis?"]),
    ("log_softmax", &["x", "axis?"]),
    ("sigmoid", &["x"]),
    ("tanh", &["x"]),
    ("relu", &["x"]),
    ("gelu", &["x"]),
    ("exp", &["x"]),
    ("log", &["x"]),
    ("sqrt", &["x"]),
    ("sin", &["x"]),
    ("cos", &["x"]),
    ("erf", &["x"]),
    ("pow", &["x", "y"]),
    ("floor", &["x"]),
    ("ceil", &["x"]),
    ("round", &["x"]),
    ("trunc", &["x"]),
    ("abs", &["x"]),
    ("min", &["x", "y?", "axes?"]),
    ("max", &["x", "y?", "axes?"]),
    ("clip", &["x", "lo", "hi"]),
    ("step", &["x"]),
    ("sum", &["x", "axes?"]),
    ("mean", &["x", "axes?"]),
    ("argmax", &["x", "axis?"]),
    ("flatten", &["x"]),
    ("reshape", &["x", "shape"]),
    ("transpose", &["x", "axes?"]),
    ("split", &["x", "n", "axis?"]),
    ("concat", &["xs", "axis?"]),
    ("expscan", &["x", "tau"]),
    ("delay", &["x", "d"]),
    ("noise", &["sigma", "shape?"]),
    ("uniform", &["lo", "hi"]),
    ("normal", &["mean", "sd"]),
    ("gamma", &["mean", "cv"]),
];

/// True for the name of a function of the language.
pub fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(n, _)| *n == name)
}

/// Arguments in the order of the function's row.
pub(super) struct Args<'a> {
    pub name: &'a str,
    pub span: Span,
    slots: Vec<Option<&'a Expr>>,
    names: &'static [&'static str],
}

impl<'a> Args<'a> {
    pub fn expr(&self, name: &str) -> Option<&'a Expr> {
        let k = self.names.iter().position(|n| n.trim_end_matches('?') == name)?;
        self.slots.get(k).copied().flatten()
    }

    pub fn span(&self, name: &str) -> Span {
        self.expr(name).map_or(self.span, |e| e.span)
    }
}

impl<'a> Elab<'a> {
    /// Sorts arguments into the places of a function's row.
    pub(super) fn arrange(
        &mut self,
        name: &'a str,
        names: &'static [&'static str],
        args: &'a [ast::Arg],
        span: Span,
    ) -> Option<Args<'a>> {
        let mut slots: Vec<Option<&'a Expr>> = vec![None; names.len()];
        let mut ok = true;
        for (k, a) in args.iter().enumerate() {
            let at = match &a.name {
                None => (k < names.len()).then_some(k),
                Some(n) => names.iter().position(|m| m.trim_end_matches('?') == n.name),
            };
            match (at, &a.name) {
                (Some(at), _) if slots[at].is_none() => slots[at] = Some(&a.value),
                (Some(_), _) => {
                    self.report(
                        Diagnostic::error(
                            codes::ARGUMENTS,
                            a.span,
                            format!("this argument of `{name}` is given twice"),
                        )
                        .labelled("given before"),
                    );
                    ok = false;
                }
                (None, Some(n)) => {
                    let known: Vec<&str> = names.iter().map(|m| m.trim_end_matches('?')).collect();
                    let mut d =
                        Diagnostic::error(codes::ARGUMENTS, n.span, format!("`{name}` has no argument `{}`", n.name))
                            .labelled("unknown argument");
                    d.hint = Some(match nearest(&n.name, known.iter().copied()) {
                        Some(m) => format!("did you mean `{m}`?"),
                        None => format!("it takes {}", known.join(", ")),
                    });
                    self.report(d);
                    ok = false;
                }
                (None, None) => {
                    self.report(
                        Diagnostic::error(
                            codes::ARGUMENTS,
                            a.span,
                            format!("`{name}` takes at most {} arguments", names.len()),
                        )
                        .labelled("one too many"),
                    );
                    return None;
                }
            }
        }
        for (n, s) in names.iter().zip(&slots) {
            if s.is_none() && !n.ends_with('?') && ok {
                self.report(
                    Diagnostic::error(codes::ARGUMENTS, span, format!("`{name}` needs the argument `{n}`"))
                        .labelled("an argument is missing")
                        .with_hint(format!(
                            "it takes {}",
                            names.iter().map(|m| m.trim_end_matches('?')).collect::<Vec<_>>().join(", ")
                        )),
                );
                ok = false;
            }
        }
        ok.then_some(Args { name, span, slots, names })
    }

    /// `f(args)`: a function of the file, else one of the language.
    pub(super) fn call(&mut self, f: &'a ast::Ident, args: &'a [ast::Arg], span: Span, env: &mut Env<'a>) -> Val {
        if let Some((r, Decl::Fn(func))) = self.sources.find(env.file, &f.name) {
            return self.call_user(func, r.file, args, span, env);
        }
        let Some((name, names)) = FUNCTIONS.iter().find(|(n, _)| *n == f.name) else {
            let mut known: Vec<&str> = FUNCTIONS.iter().map(|(n, _)| *n).collect();
            known.extend(self.sources.visible(env.file).filter(|(_, d)| matches!(d, Decl::Fn(_))).map(|(n, _)| n));
            let mut d = Diagnostic::error(codes::NOT_A_FUNCTION, f.span, format!("there is no function `{}`", f.name))
                .labelled("unknown function");
            d.hint = nearest(&f.name, known.iter().copied()).map(|n| format!("did you mean `{n}`?"));
            self.report(d);
            return Val::Poison;
        };
        if matches!(*name, "min" | "max" | "concat") {
            return self.variadic(name, args, span, env).unwrap_or(Val::Poison);
        }
        let Some(a) = self.arrange(name, names, args, span) else { return Val::Poison };
        self.builtin(&a, env).unwrap_or(Val::Poison)
    }

    fn call_user(
        &mut self,
        f: &'a ast::Function,
        file: usize,
        args: &'a [ast::Arg],
        span: Span,
        env: &mut Env<'a>,
    ) -> Val {
        let key = format!("fn {}", f.name.name);
        if self.calls.contains(&key) {
            self.report(
                Diagnostic::error(codes::CYCLE, span, format!("the function `{}` calls itself", f.name.name))
                    .labelled("functions cannot be recursive")
                    .with_label(f.name.span, "declared here"),
            );
            return Val::Poison;
        }
        let mut slots: Vec<Option<&'a Expr>> = vec![None; f.params.len()];
        for (k, a) in args.iter().enumerate() {
            let at = match &a.name {
                None => (k < slots.len()).then_some(k),
                Some(n) => f.params.iter().position(|p| p.name.name == n.name),
            };
            match at.and_then(|k| slots.get_mut(k)) {
                Some(slot @ None) => *slot = Some(&a.value),
                _ => {
                    let names: Vec<&str> = f.params.iter().map(|p| p.name.name.as_str()).collect();
                    self.report(
                        Diagnostic::error(
                            codes::ARGUMENTS,
                            a.span,
                            format!("`{}` does not take this argument", f.name.name),
                        )
                        .labelled("unknown, given twice, or one too many")
                        .with_label(f.name.span, format!("takes {}", names.join(", "))),
                    );
                    return Val::Poison;
                }
            }
        }
        let mut inner = Env::file(file);
        for (p, slot) in f.params.iter().zip(slots) {
            let Some(e) = slot else {
                self.report(
                    Diagnostic::error(
                        codes::ARGUMENTS,
                        span,
                        format!("`{}` needs the argument `{}`", f.name.name, p.name.name),
                    )
                    .labelled("an argument is missing")
                    .with_label(p.span, "declared here"),
                );
                return Val::Poison;
            };
            let v = self.eval(e, env);
            let Some(ty) = self.declared(&p.ty, &mut inner) else { return Val::Poison };
            let v = self.argument(v, &ty, e.span, &p.name.name);
            if v.is_poison() {
                return Val::Poison;
            }
            inner.vals.push((p.name.name.clone(), v));
        }
        self.calls.push(key);
        let v = self.eval(&f.body, &mut inner);
        self.calls.pop();
        match &f.ret {
            Some(ret) if !v.is_poison() => match self.declared(ret, &mut inner) {
                Some(ty) => self.argument(v, &ty, f.body.span, &format!("the result of {}", f.name.name)),
                None => Val::Poison,
            },
            _ => v,
        }
    }

    /// A value checked against a parameter's type; constants stay constants. A declared scalar takes any shape, since
    /// functions are element by element.
    fn argument(&mut self, v: Val, ty: &super::value::Ty, span: Span, name: &str) -> Val {
        let what = format!("`{name}`");
        let out = match (&v, ty.elem) {
            (Val::Poison, _) => return Val::Poison,
            (Val::Int(x), Elem::Real(d)) if d.is_none() => Val::Real(*x as f64, d),
            (Val::Real(_, e), Elem::Real(d)) if *e == d => v,
            (Val::Int(_), Elem::Int) | (Val::Bool(_), Elem::Bool) => v,
            (Val::Rt(r), want) if r.elem == want => v,
            (_, want) => match self.coerce(&v, want, span, &what) {
                Some(r) => Val::Rt(r),
                None => return Val::Poison,
            },
        };
        if !ty.shape.is_empty()
            && let Val::Rt(r) = &out
            && r.shape != ty.shape
        {
            let shape = r.shape.clone();
            self.wrong_shape(&shape, &ty.shape, span, &what);
            return Val::Poison;
        }
        out
    }

    /// `min`, `max`, `concat`: any number of operands.
    fn variadic(&mut self, name: &'static str, args: &'a [ast::Arg], span: Span, env: &mut Env<'a>) -> Option<Val> {
        let mut axes: Option<&'a Expr> = None;
        let mut xs: Vec<(Val, Span)> = Vec::new();
        for a in args {
            match a.name.as_ref().map(|n| n.name.as_str()) {
                None => {
                    let v = self.eval(&a.value, env);
                    match v {
                        Val::List(items) if name == "concat" => xs.extend(items.into_iter().map(|v| (v, a.span))),
                        Val::Tuple(items) => xs.extend(items.into_iter().map(|r| (Val::Rt(r), a.span))),
                        v => xs.push((v, a.span)),
                    }
                }
                Some("axes" | "axis") if axes.is_none() => axes = Some(&a.value),
                Some(other) => {
                    self.report(
                        Diagnostic::error(codes::ARGUMENTS, a.span, format!("`{name}` has no argument `{other}`"))
                            .labelled("unknown argument"),
                    );
                    return None;
                }
            }
        }
        if xs.iter().any(|(v, _)| v.is_poison()) {
            return None;
        }
        if name == "concat" {
            return self.concat(&xs, axes, span, env).map(Val::Rt);
        }
        match xs.as_slice() {
            [] => {
                self.report(
                    Diagnostic::error(codes::ARGUMENTS, span, format!("`{name}` needs an argument"))
                        .labelled("none given"),
                );
                None
            }
            [(v, s)] => {
                let kind = if name == "min" { ReduceKind::Min } else { ReduceKind::Max };
                let r = self.lift(v, *s)?;
                let r = if r.elem == Elem::Bool { self.as_real(r, *s)? } else { r };
                let axes = self.axes(axes, &r.shape, env)?;
                self.reduce(r, kind, &axes, false, span).map(Val::Rt)
            }
            [(first, s), rest @ ..] => {
                let mut acc = first.clone();
                for (v, sv) in rest {
                    acc = self.extremum(name == "min", acc, v, *s, *sv, span)?;
                }
                Some(acc)
            }
        }
    }

    /// The smaller or larger of two.
    fn extremum(&mut self, min: bool, a: Val, b: &Val, sa: Span, sb: Span, span: Span) -> Option<Val> {
        if let (Val::Int(x), Val::Int(y)) = (&a, b) {
            return Some(Val::Int(if min { *x.min(y) } else { *x.max(y) }));
        }
        if let (Val::Int(_) | Val::Real(..), Val::Int(_) | Val::Real(..)) = (&a, b)
            && let (Some((x, dx)), Some((y, dy))) = (a.number(), b.number())
            && dx == dy
        {
            return Some(Val::Real(if min { x.min(y) } else { x.max(y) }, dx));
        }
        let (x, y) = self.pair(&a, b, sa, sb, if min { "min" } else { "max" })?;
        let (x, y) = if x.elem == Elem::Bool { (self.as_real(x, sa)?, self.as_real(y, sb)?) } else { (x, y) };
        let shape = self.common_shape(&x, &y, sa, sb, span)?;
        let id = self.node(span, |g| if min { g.min(x.id, y.id) } else { g.max(x.id, y.id) })?;
        Some(Val::Rt(self.rt(id, x.elem, shape)))
    }

    fn concat(&mut self, xs: &[(Val, Span)], axis: Option<&'a Expr>, span: Span, env: &mut Env<'a>) -> Option<Rt> {
        let mut parts: Vec<Rt> = Vec::with_capacity(xs.len());
        for (v, s) in xs {
            let r = self.lift(v, *s)?;
            parts.push(r);
        }
        let Some(first) = parts.first().cloned() else {
            self.report(Diagnostic::error(codes::ARGUMENTS, span, "`concat` needs an argument").labelled("none given"));
            return None;
        };
        if parts.iter().any(|p| p.elem != first.elem) {
            for (p, (_, s)) in parts.iter_mut().zip(xs) {
                *p = self.as_real(p.clone(), *s)?;
            }
            if let Some(k) = parts.iter().position(|p| p.elem != parts[0].elem) {
                let (a, b) = (parts[0].elem.dims(), parts[k].elem.dims());
                self.unit_clash("concat", a, b, xs[0].1, xs[k].1, span);
                return None;
            }
        }
        let first = parts[0].clone();
        let axis = match axis {
            Some(e) => self.axis(e, first.shape.len(), env)?,
            None => 0,
        };
        let mut total = 0u64;
        for (p, (_, s)) in parts.iter().zip(xs) {
            let same = p.shape.len() == first.shape.len()
                && p.shape.iter().zip(&first.shape).enumerate().all(|(k, (a, b))| k == axis || a == b);
            if !same || p.shape.is_empty() {
                self.wrong_shape(&p.shape, &first.shape, *s, "a part of `concat`");
                return None;
            }
            total = total.saturating_add(p.shape[axis]);
        }
        let mut shape = first.shape.clone();
        shape[axis] = total;
        self.check_size(&shape, span)?;
        let ids: Vec<_> = parts.iter().map(|p| p.id).collect();
        let id = self.node(span, |g| g.concat(&ids, axis))?;
        Some(self.rt(id, first.elem, shape))
    }

    /// One axis; negative ones count from the end.
    pub(super) fn axis(&mut self, e: &'a Expr, rank: usize, env: &mut Env<'a>) -> Option<usize> {
        let k = self.eval_int(e, env, "an axis")?;
        self.axis_number(k, rank, e.span)
    }

    fn axis_number(&mut self, k: i64, rank: usize, span: Span) -> Option<usize> {
        let at = if k < 0 { k.checked_add(rank as i64) } else { Some(k) };
        match at.and_then(|k| usize::try_from(k).ok()).filter(|k| *k < rank) {
            Some(k) => Some(k),
            None => {
                self.report(
                    Diagnostic::error(codes::SHAPE, span, format!("there is no axis {k}"))
                        .labelled(format!("the value has {rank} axes, numbered from 0")),
                );
                None
            }
        }
    }

    /// A list of axes, or one, or all if absent; ascending, each once.
    pub(super) fn axes(&mut self, e: Option<&'a Expr>, shape: &[u64], env: &mut Env<'a>) -> Option<Vec<usize>> {
        let Some(e) = e else { return Some((0..shape.len()).collect()) };
        let mut out = Vec::new();
        for k in self.ints(e, env, "axes")? {
            out.push(self.axis_number(k, shape.len(), e.span)?);
        }
        out.sort_unstable();
        out.dedup();
        Some(out)
    }

    /// A list of whole numbers, or one.
    pub(super) fn ints(&mut self, e: &'a Expr, env: &mut Env<'a>, what: &str) -> Option<Vec<i64>> {
        let v = self.eval(e, env);
        let list = match v {
            Val::Int(k) => Some(vec![k]),
            Val::Poison => return None,
            Val::List(items) => items.iter().map(|v| if let Val::Int(k) = v { Some(*k) } else { None }).collect(),
            _ => None,
        };
        if list.is_none() {
            self.report(
                Diagnostic::error(codes::NOT_CONST, e.span, format!("{what} must be a list of whole numbers"))
                    .labelled("known at compile time, like `[1, 2]`"),
            );
        }
        list
    }

    /// Two numbers `[y, x]`, or one for both, each at least `least`.
    pub(super) fn two(
        &mut self,
        e: Option<&'a Expr>,
        default: u64,
        least: u64,
        env: &mut Env<'a>,
        what: &str,
    ) -> Option<[u64; 2]> {
        let Some(e) = e else { return Some([default, default]) };
        let v = self.ints(e, env, what)?;
        let n: Option<Vec<u64>> =
            v.iter().map(|x| u64::try_from(*x).ok().filter(|x| *x >= least && *x <= u64::from(u32::MAX))).collect();
        match n.as_deref() {
            Some([a]) => Some([*a, *a]),
            Some([a, b]) => Some([*a, *b]),
            _ => {
                self.report(
                    Diagnostic::error(
                        codes::SHAPE,
                        e.span,
                        format!("`{what}` is one number or two, each at least {least}"),
                    )
                    .labelled("here"),
                );
                None
            }
        }
    }

    pub(super) fn reduce(&mut self, r: Rt, kind: ReduceKind, axes: &[usize], keep: bool, span: Span) -> Option<Rt> {
        if r.shape.is_empty() || axes.is_empty() {
            return Some(r);
        }
        let shape: Vec<u64> = r
            .shape
            .iter()
            .enumerate()
            .filter_map(|(k, d)| match (axes.contains(&k), keep) {
                (true, true) => Some(1),
                (true, false) => None,
                (false, _) => Some(*d),
            })
            .collect();
        let id = self.node(span, |g| g.reduce(r.id, kind, axes.to_vec(), keep))?;
        Some(self.rt(id, r.elem, shape))
    }

    /// Reduces along one axis and repeats the result to the shape of `r` (a scalar if that is all there is).
    pub(super) fn reduce_along(&mut self, r: &Rt, kind: ReduceKind, axis: usize, span: Span) -> Option<Rt> {
        if r.shape.len() == 1 {
            return self.reduce(r.clone(), kind, &[0], false, span);
        }
        let m = self.reduce(r.clone(), kind, &[axis], true, span)?;
        let id = self.node(span, |g| g.broadcast(m.id, r.shape.clone()))?;
        Some(self.rt(id, r.elem, r.shape.clone()))
    }

    /// An operand that is a plain number or has any unit, of at least one axis.
    pub(super) fn tensor_arg(&mut self, a: &Args<'a>, name: &str, env: &mut Env<'a>) -> Option<Rt> {
        let e = a.expr(name)?;
        let v = self.eval(e, env);
        let r = self.lift_real(&v, e.span)?;
        if r.shape.is_empty() {
            self.report(
                Diagnostic::error(codes::SHAPE, e.span, format!("`{}` needs a tensor, not a scalar", a.name))
                    .labelled("a scalar"),
            );
            return None;
        }
        Some(r)
    }

    /// An operand without unit.
    pub(super) fn plain_arg(&mut self, a: &Args<'a>, name: &str, env: &mut Env<'a>) -> Option<Rt> {
        let e = a.expr(name)?;
        let v = self.eval(e, env);
        let r = self.lift_real(&v, e.span)?;
        if !r.elem.dims().is_none() {
            self.report(
                Diagnostic::error(codes::UNIT, e.span, format!("`{}` takes a plain number", a.name))
                    .labelled(format!("this is in {}", r.elem))
                    .with_hint(format!("divide by the unit: `/ (1 {})`", r.elem)),
            );
            return None;
        }
        Some(r)
    }

    pub(super) fn unary(&mut self, r: Rt, op: nc_ir::graph::Op, elem: Elem, span: Span) -> Option<Rt> {
        let id = self.nodes(span, |g| g.push(op, vec![r.id], Vec::new()))?.first().copied()?;
        Some(self.rt(id, elem, r.shape))
    }

    pub(super) fn window(&mut self, kind: PoolKind, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let x = self.tensor_arg(a, "x", env)?;
        let [c, h, w] = x.shape[..] else {
            self.report(
                Diagnostic::error(codes::SHAPE, a.span("x"), format!("`{}` takes [channels, height, width]", a.name))
                    .labelled(format!("this has shape {}", show_shape(&x.shape))),
            );
            return None;
        };
        let size = self.two(a.expr("size"), 1, 1, env, "size")?;
        let stride = match a.expr("stride") {
            Some(e) => self.two(Some(e), 1, 1, env, "stride")?,
            None => size,
        };
        let pad = self.two(a.expr("pad"), 0, 0, env, "pad")?;
        let mut shape = vec![c];
        for (n, k) in [h, w].into_iter().zip(0..2) {
            let Some(out) = (n + 2 * pad[k]).checked_sub(size[k]).map(|m| m / stride[k] + 1) else {
                self.report(
                    Diagnostic::error(codes::SHAPE, a.span, format!("a window of {} does not fit in {n}", size[k]))
                        .labelled("the window is larger than the input"),
                );
                return None;
            };
            shape.push(out);
        }
        let pads = vec![pad[0], pad[1], pad[0], pad[1]];
        let id = self.node(a.span, |g| g.pool(x.id, kind, size.to_vec(), stride.to_vec(), pads, vec![1; 2]))?;
        Some(self.rt(id, x.elem, shape))
    }

    pub(super) fn cast_bool_free(&mut self, r: Rt, span: Span) -> Option<Rt> {
        if r.elem == Elem::Bool { self.as_real(r, span) } else { Some(r) }
    }
}
