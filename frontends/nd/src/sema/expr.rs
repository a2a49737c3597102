//! Evaluating expressions: names, literals, operators, indexing.

use super::Elab;
use super::codes;
use super::names::Decl;
use super::quantity::unit_named;
use super::units::Dims;
use super::value::{Elem, ROW, Rt, Val, show_shape};
use crate::ast::{self, BinaryOp, Expr, ExprKind, Index, UnaryOp};
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span};
use rustc_hash::FxHashMap;

/// What random draws are keyed by.
#[derive(Clone)]
pub(super) enum Draw {
    /// Draws are not allowed here.
    No,
    /// One draw for each value of (i, j).
    At { i: Rt, j: Rt },
}

/// The two sides of a `connect`, inside its entries.
#[derive(Clone)]
pub(super) struct Sides {
    pub i: Rt,
    pub j: Rt,
    pub pre: super::connect::Side,
    pub post: super::connect::Side,
}

/// Where an expression stands: what its names mean.
#[derive(Clone)]
pub(super) struct Env<'a> {
    pub file: usize,
    /// The net instance whose names are visible.
    pub inst: Option<usize>,
    /// The neuron or synapse whose `const`s and `let`s are visible.
    pub body: Option<&'a ast::Body>,
    /// Names bound here; the last wins.
    pub vals: Vec<(String, Val)>,
    /// `let`s and `const`s of `body` that have been evaluated with the present `vals`.
    pub memo: FxHashMap<String, Val>,
    /// `let`s and `const`s of `body` that are being evaluated.
    pub busy: Vec<String>,
    pub draw: Draw,
    pub sides: Option<Sides>,
    /// Milliseconds per tick.
    pub clock: Option<f64>,
    /// Stem of the names of random streams and of anonymous states.
    pub place: String,
    /// The shape that `noise` takes; absent where it is not allowed.
    pub noise: Option<Vec<u64>>,
    /// True where `expscan` and `delay` may hold state: the body of a net.
    pub ticks: bool,
}

impl<'a> Env<'a> {
    pub fn file(file: usize) -> Env<'a> {
        Env {
            file,
            inst: None,
            body: None,
            vals: Vec::new(),
            memo: FxHashMap::default(),
            busy: Vec::new(),
            draw: Draw::No,
            sides: None,
            clock: None,
            place: String::new(),
            noise: None,
            ticks: false,
        }
    }

    /// Binds a name; what was evaluated before is forgotten.
    pub fn bind(&mut self, name: &str, v: Val) {
        self.memo.clear();
        match self.vals.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = v,
            None => self.vals.push((name.to_string(), v)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Val> {
        self.vals.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }
}

/// The `const`, or `let` of one name, that a body declares under this name.
fn body_item<'a>(body: &'a ast::Body, name: &str) -> Option<(&'a Expr, Option<&'a ast::Type>)> {
    body.items.iter().find_map(|item| match &item.kind {
        ast::ItemKind::Const(c) if c.name.name == name => Some((&c.value, c.ty.as_ref())),
        ast::ItemKind::Let { names, value } => match names.as_slice() {
            [one] if one.name == name => Some((value, None)),
            _ => None,
        },
        _ => None,
    })
}

impl<'a> Elab<'a> {
    /// The value of an expression; poison if it is wrong, after a report.
    pub(super) fn eval(&mut self, e: &'a Expr, env: &mut Env<'a>) -> Val {
        if !self.enter(e.span) {
            return Val::Poison;
        }
        let v = self.eval_kind(e, env);
        self.leave();
        v
    }

    fn eval_kind(&mut self, e: &'a Expr, env: &mut Env<'a>) -> Val {
        match &e.kind {
            ExprKind::Name(name) => self.lookup(name, env),
            ExprKind::Int(x) => Val::Int(*x),
            ExprKind::Float(x) => Val::Real(*x, Dims::NONE),
            ExprKind::Quantity { value, unit } => match unit_named(unit) {
                Ok(u) => Val::Real(u.erase(value.as_f64()), u.dims),
                Err(d) => {
                    self.report(d);
                    Val::Poison
                }
            },
            ExprKind::Str(s) => Val::Str(s.clone()),
            ExprKind::Bool(b) => Val::Bool(*b),
            ExprKind::List(items) => {
                let vals: Vec<Val> = items.iter().map(|x| self.eval(x, env)).collect();
                if vals.iter().any(Val::is_poison) { Val::Poison } else { Val::List(vals) }
            }
            ExprKind::Unary { op, expr } => {
                let v = self.eval(expr, env);
                match op {
                    UnaryOp::Neg => self.negate(v, expr.span),
                    UnaryOp::Not => self.complement(v, expr.span),
                }
            }
            ExprKind::Binary { op, lhs, rhs } => {
                let a = self.eval(lhs, env);
                if let (BinaryOp::And, Val::Bool(false)) | (BinaryOp::Or, Val::Bool(true)) = (op, &a) {
                    return a;
                }
                let b = self.eval(rhs, env);
                self.binary(*op, a, b, lhs.span, rhs.span, e.span)
            }
            ExprKind::If { cond, then, otherwise } => match self.eval(cond, env) {
                Val::Bool(true) => self.eval(then, env),
                Val::Bool(false) => self.eval(otherwise, env),
                c => {
                    let a = self.eval(then, env);
                    let b = self.eval(otherwise, env);
                    self.choose(c, a, b, cond.span, then.span, otherwise.span)
                }
            },
            ExprKind::Field { base, name } => {
                let b = self.eval(base, env);
                self.field(b, base.span, name, env)
            }
            ExprKind::Index { base, indices } => {
                let b = self.eval(base, env);
                self.index(b, base.span, indices, e.span, env)
            }
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(f) => self.call(f, args, e.span, env),
                _ => {
                    self.report(
                        Diagnostic::error(codes::NOT_A_FUNCTION, callee.span, "only a function's name can be called")
                            .labelled("not a function"),
                    );
                    Val::Poison
                }
            },
            ExprKind::Error => Val::Poison,
        }
    }

    /// What a name stands for.
    pub(super) fn lookup(&mut self, name: &'a ast::Ident, env: &mut Env<'a>) -> Val {
        if let Some(v) = env.get(&name.name) {
            return v.clone();
        }
        if let Some(s) = &env.sides {
            match name.name.as_str() {
                "i" => return Val::Rt(s.i.clone()),
                "j" => return Val::Rt(s.j.clone()),
                "pre" => return Val::Side(false),
                "post" => return Val::Side(true),
                "dist" => return self.distance(name.span, env),
                _ => {}
            }
        }
        if let Some(body) = env.body
            && let Some((value, ty)) = body_item(body, &name.name)
        {
            if let Some(v) = env.memo.get(&name.name) {
                return v.clone();
            }
            if env.busy.contains(&name.name) {
                self.report(
                    Diagnostic::error(codes::CYCLE, name.span, format!("`{}` is defined by itself", name.name))
                        .labelled(format!("{} -> {}", env.busy.join(" -> "), name.name)),
                );
                return Val::Poison;
            }
            env.busy.push(name.name.clone());
            let mut v = self.eval(value, env);
            env.busy.pop();
            if let Some(ty) = ty {
                v = self.declared_const(v, ty, value.span, env);
            }
            env.memo.insert(name.name.clone(), v.clone());
            return v;
        }
        if let Some(inst) = env.inst
            && let Some(v) = self.net_name(inst, name)
        {
            return v;
        }
        if let Some((_, decl)) = self.sources.find(env.file, &name.name) {
            return match decl {
                Decl::Const(c) => self.file_const(name, c, env.file),
                other => {
                    let kind = other.kind();
                    self.report(
                        Diagnostic::error(
                            codes::NOT_A_VALUE,
                            name.span,
                            format!("`{}` is a {kind}, not a value", name.name),
                        )
                        .labelled("a value is expected here")
                        .with_label(other.name().span, "declared here"),
                    );
                    Val::Poison
                }
            };
        }
        let candidates = self.candidates(env);
        let near = nearest(&name.name, candidates.iter().map(String::as_str)).map(str::to_string);
        let mut d = Diagnostic::error(codes::UNKNOWN_NAME, name.span, format!("`{}` is not declared", name.name))
            .labelled("not found in this scope");
        d.hint = near.map(|n| format!("did you mean `{n}`?"));
        self.report(d);
        Val::Poison
    }

    /// A constant of a file, evaluated in the file that declares it.
    fn file_const(&mut self, name: &ast::Ident, c: &'a ast::Const, from: usize) -> Val {
        let Some((r, _)) = self.sources.find(from, &name.name) else { return Val::Poison };
        if self.calls.contains(&format!("const {}", name.name)) {
            self.report(
                Diagnostic::error(codes::CYCLE, name.span, format!("`{}` is defined by itself", name.name))
                    .labelled("this needs its own value"),
            );
            return Val::Poison;
        }
        self.calls.push(format!("const {}", name.name));
        let mut env = Env::file(r.file);
        let v = self.eval(&c.value, &mut env);
        self.calls.pop();
        match &c.ty {
            Some(ty) => self.declared_const(v, ty, c.value.span, &mut env),
            None => v,
        }
    }

    /// Names that could have been meant.
    fn candidates(&self, env: &Env<'a>) -> Vec<String> {
        let mut out: Vec<String> = env.vals.iter().map(|(n, _)| n.clone()).collect();
        if env.sides.is_some() {
            out.extend(["i", "j", "pre", "post", "dist"].map(String::from));
        }
        if let Some(body) = env.body {
            for item in &body.items {
                match &item.kind {
                    ast::ItemKind::Const(c) => out.push(c.name.name.clone()),
                    ast::ItemKind::Let { names, .. } => out.extend(names.iter().map(|n| n.name.clone())),
                    _ => {}
                }
            }
        }
        if let Some(inst) = env.inst.and_then(|k| self.insts.get(k)) {
            out.extend(inst.names.keys().map(|n| n.to_string()));
        }
        out.extend(self.sources.visible(env.file).map(|(n, _)| n.to_string()));
        out.sort();
        out
    }

    fn index(&mut self, base: Val, base_span: Span, indices: &'a [Index], span: Span, env: &mut Env<'a>) -> Val {
        match base {
            Val::Poison => Val::Poison,
            Val::File(file) => {
                let [Index::At(e)] = indices else {
                    self.report(
                        Diagnostic::error(codes::INDEX, span, "a file is indexed by the name of one array")
                            .labelled("write `f[\"name\"]`"),
                    );
                    return Val::Poison;
                };
                match self.eval(e, env) {
                    Val::Str(name) => self.load(&file, &name, e.span),
                    Val::Poison => Val::Poison,
                    other => {
                        self.report(
                            Diagnostic::error(codes::INDEX, e.span, "an array is named by a string")
                                .labelled(other.describe()),
                        );
                        Val::Poison
                    }
                }
            }
            Val::List(items) => {
                let [Index::At(e)] = indices else {
                    self.report(Diagnostic::error(codes::INDEX, span, "a list takes one index").labelled("here"));
                    return Val::Poison;
                };
                let Some(k) = self.eval_int(e, env, "an index") else { return Val::Poison };
                match usize::try_from(k).ok().and_then(|k| items.get(k)) {
                    Some(v) => v.clone(),
                    None => {
                        self.out_of_range(e.span, k, items.len() as u64);
                        Val::Poison
                    }
                }
            }
            Val::Pos(post) => self.position(post, indices, span, env),
            Val::Rt(r) => self.slice(r, indices, span, env).map_or(Val::Poison, Val::Rt),
            Val::Array(a) => {
                self.report(
                    Diagnostic::error(codes::INDEX, span, format!("the array `{}` has no type yet", a.name))
                        .labelled("cannot be indexed here")
                        .with_hint("declare it first: `param W: real[..] = f[\"..\"]`, then index the parameter"),
                );
                Val::Poison
            }
            other => {
                self.report(
                    Diagnostic::error(codes::INDEX, base_span, format!("{} cannot be indexed", other.describe()))
                        .labelled("not a tensor"),
                );
                Val::Poison
            }
        }
    }

    fn out_of_range(&mut self, span: Span, k: i64, n: u64) {
        self.report(
            Diagnostic::error(codes::INDEX, span, format!("the index {k} is out of range"))
                .labelled(format!("there are {n} elements, numbered from 0")),
        );
    }

    /// `x[1, 2:4]`: leading axes; an axis that is picked disappears.
    fn slice(&mut self, r: Rt, indices: &'a [Index], span: Span, env: &mut Env<'a>) -> Option<Rt> {
        let r = self.here(&r, span)?;
        if indices.len() > r.shape.len() {
            self.report(
                Diagnostic::error(
                    codes::INDEX,
                    span,
                    format!("{} indices for a value of shape {}", indices.len(), show_shape(&r.shape)),
                )
                .labelled("too many indices"),
            );
            return None;
        }
        if let ([Index::At(e)], false) = (indices, r.shape.is_empty())
            && !matches!(e.kind, ExprKind::Int(_))
        {
            let v = self.eval(e, env);
            if let Val::Rt(k) = &v
                && k.elem == Elem::Int
                && k.host.is_none()
            {
                let k = self.here(k, e.span)?;
                let mut shape = k.shape.clone();
                shape.extend_from_slice(&r.shape[1..]);
                let id = self.node(span, |b| b.gather(r.id, k.id, 0))?;
                return Some(self.rt(id, r.elem, shape));
            }
        }
        let (mut start, mut stop, mut shape) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, n) in r.shape.iter().enumerate() {
            match indices.get(axis) {
                None => {
                    start.push(0);
                    stop.push(*n);
                    shape.push(*n);
                }
                Some(Index::At(e)) => {
                    let k = self.eval_int(e, env, "an index")?;
                    match u64::try_from(k) {
                        Ok(u) if u < *n && *n != ROW => {
                            start.push(u);
                            stop.push(u + 1);
                        }
                        _ => {
                            self.out_of_range(e.span, k, *n);
                            return None;
                        }
                    }
                }
                Some(Index::Range(a, b)) => {
                    let (lo, hi) = self.range(a, b, *n, env)?;
                    start.push(lo);
                    stop.push(hi);
                    shape.push(hi - lo);
                }
            }
        }
        let step = vec![1; start.len()];
        let id = self.node(span, |b| b.slice(r.id, start, stop, step))?;
        let id = if shape.len() == r.shape.len() { id } else { self.node(span, |b| b.reshape(id, shape.clone()))? };
        Some(self.rt(id, r.elem, shape))
    }

    /// `a:b` with 0 <= a < b <= n.
    pub(super) fn range(&mut self, a: &'a Expr, b: &'a Expr, n: u64, env: &mut Env<'a>) -> Option<(u64, u64)> {
        let lo = self.eval_int(a, env, "a bound")?;
        let hi = self.eval_int(b, env, "a bound")?;
        match (u64::try_from(lo), u64::try_from(hi)) {
            (Ok(lo), Ok(hi)) if lo < hi && hi <= n => Some((lo, hi)),
            _ => {
                self.report(
                    Diagnostic::error(codes::INDEX, a.span.to(b.span), format!("the range {lo}:{hi} does not fit"))
                        .labelled(format!("there are {n} elements; a range needs 0 <= from < to <= {n}")),
                );
                None
            }
        }
    }

    /// A whole number known at compile time.
    pub(super) fn eval_int(&mut self, e: &'a Expr, env: &mut Env<'a>, what: &str) -> Option<i64> {
        match self.eval(e, env) {
            Val::Int(k) => Some(k),
            Val::Poison => None,
            Val::Rt(r) if r.elem == Elem::Int && r.scalar().is_some() => r.scalar().map(|x| x as i64),
            other => {
                self.report(
                    Diagnostic::error(
                        codes::NOT_CONST,
                        e.span,
                        format!("{what} must be a whole number known at compile time"),
                    )
                    .labelled(other.describe()),
                );
                None
            }
        }
    }
}
