//! Which pairs a `connect` makes, and expressions over pairs.

use super::Elab;
use super::codes;
use super::connect::{Layout, Side};
use super::emit::Capture;
use super::expr::Env;
use super::value::{Elem, Loaded, ROW, Rt, Ty, Val, show_shape};
use crate::ast::{Arg, Expr, ExprKind};
use nc_ir::diag::nearest;
use nc_ir::graph::{ConstId, Distribution, Graph, Real, Rule};
use nc_ir::{Diagnostic, Span, Tensor};

/// Every rule and the names of its arguments.
pub const RULES: &[(&str, &[&str])] = &[
    ("all", &[]),
    ("one_to_one", &[]),
    ("random", &["p"]),
    ("where", &["cond"]),
    ("fixed_in", &["k"]),
    ("fixed_out", &["k"]),
    ("conv2d", &["size", "stride?", "pad?"]),
    ("table", &["t"]),
];

/// The extents of both ends and the flat ranges that take part.
pub(super) struct Shape2 {
    pub pre: Vec<u64>,
    pub post: Vec<u64>,
    pub pre_range: std::ops::Range<u64>,
    pub post_range: std::ops::Range<u64>,
    pub sliced: bool,
}

impl Shape2 {
    pub fn pre_len(&self) -> u64 {
        self.pre.iter().product()
    }

    pub fn post_len(&self) -> u64 {
        self.post.iter().product()
    }

    /// How a tensor of this shape is spread over the synapses of a rule. A square matrix is [post, pre].
    pub fn layout(&self, shape: &[u64], rule: &Rule, order: Option<&[usize]>) -> Layout {
        if let Rule::Conv2d { input, output, size, .. } = rule {
            return if shape == [output[0], input[0], size[0], size[1]] { Layout::Kernel } else { Layout::Wrong };
        }
        if let Some(order) = order {
            return if shape == [order.len() as u64] { Layout::PerSynapse } else { Layout::Wrong };
        }
        let n = self.pre_range.end - self.pre_range.start;
        if matches!(rule, Rule::OneToOne)
            && shape.iter().product::<u64>() == n
            && (shape == [n] || !self.sliced && shape == self.post)
        {
            return Layout::PerSynapse;
        }
        let both = |a: &[u64], b: &[u64]| [a, b].concat();
        if shape == [self.post_len(), self.pre_len()] || shape == both(&self.post, &self.pre) {
            return Layout::Matrix { pre_major: false };
        }
        if shape == [self.pre_len(), self.post_len()] || shape == both(&self.pre, &self.post) {
            return Layout::Matrix { pre_major: true };
        }
        Layout::Wrong
    }
}

/// An expression over pairs.
pub(super) enum PairValue {
    /// The same for all; the constant of the pool if it is one.
    Number(f64, Option<ConstId>),
    /// A tensor, to be laid out by its shape.
    Tensor(Tensor, Option<ConstId>),
    /// A region of `(i, j[n])` that gives one value per candidate.
    Region(Graph),
}

impl<'a> Elab<'a> {
    /// Evaluates an expression over pairs; `last` is applied to the value inside the region.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn pair_value(
        &mut self,
        e: &'a Expr,
        env: &mut Env<'a>,
        pre: &Side,
        post: &Side,
        ty: &Ty,
        what: &str,
        last: impl FnOnce(&mut Self, Rt) -> Option<Rt>,
    ) -> Option<PairValue> {
        self.begin(Capture::Sealed);
        let frame = self.frame_id();
        let i = self.region_param(Elem::Int, &[], "i");
        let j = self.region_param(Elem::Int, &[ROW], "j");
        let row = j.clone();
        Elab::pair_env(env, i, j, pre, post);
        let v = self.eval(e, env);
        env.sides = None;
        env.draw = super::expr::Draw::No;
        let done = self.pair_kind(&v, frame, &row, ty, e.span, what, last);
        let (graph, _) = self.end(match &done {
            Some(Err(r)) => vec![r.id],
            _ => Vec::new(),
        });
        Some(match done? {
            Ok(known) => known,
            Err(_) => PairValue::Region(graph),
        })
    }

    /// Either what is known without looking at pairs, or the value in the region.
    #[allow(clippy::too_many_arguments)]
    fn pair_kind(
        &mut self,
        v: &Val,
        frame: u32,
        row: &Rt,
        ty: &Ty,
        span: Span,
        what: &str,
        last: impl FnOnce(&mut Self, Rt) -> Option<Rt>,
    ) -> Option<Result<PairValue, Rt>> {
        if let Val::Array(a) = v {
            let shape = a.data.shape().iter().map(|d| *d as u64).collect();
            let data = self.conform(a, &Ty { shape, ..ty.clone() }, span)?;
            return Some(Ok(PairValue::Tensor(data, None)));
        }
        if let Val::Rt(r) = v
            && r.elem == ty.elem
            && let Some(host) = &r.host
            && (r.frame != frame || r.shape.is_empty() && r.konst.is_some())
        {
            return Some(Ok(if r.shape.is_empty() {
                PairValue::Number(host.get_f64(0), r.konst)
            } else {
                PairValue::Tensor(host.clone(), r.konst)
            }));
        }
        if let (Some((x, d)), Elem::Real(want)) = (v.number(), ty.elem)
            && d == want
            && !matches!(v, Val::Rt(_))
        {
            return Some(Ok(PairValue::Number(x, None)));
        }
        let r = self.coerce(v, ty.elem, span, what)?;
        if !r.shape.is_empty() && r.shape != [ROW] {
            self.wrong_shape(&r.shape, &[], span, what);
            return None;
        }
        let r = last(self, r)?;
        Some(Err(self.per_candidate(r, row, span)?))
    }

    /// One value for each candidate j, where it depended on i alone.
    fn per_candidate(&mut self, r: Rt, row: &Rt, span: Span) -> Option<Rt> {
        if r.shape == [ROW] {
            return Some(r);
        }
        let always = self.node(span, |g| g.eq(row.id, row.id))?;
        let id = self.node(span, |g| g.select(always, r.id, r.id))?;
        Some(self.rt(id, r.elem, vec![ROW]))
    }

    /// A rule, and for a table the order in which its rows become synapses.
    #[allow(clippy::type_complexity)]
    pub(super) fn rule(
        &mut self,
        e: &'a Expr,
        env: &mut Env<'a>,
        name: &str,
        pre: &Side,
        post: &Side,
        s: &Shape2,
    ) -> Option<(Rule, Option<Vec<usize>>)> {
        let (id, args): (_, &'a [Arg]) = match &e.kind {
            ExprKind::Name(n) => (n, &[]),
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(n) => (n, args),
                _ => return self.no_rule(e.span, None),
            },
            ExprKind::Error => return None,
            _ => return self.no_rule(e.span, None),
        };
        let Some((word, names)) = RULES.iter().find(|(n, _)| *n == id.name) else {
            return self.no_rule(id.span, Some(&id.name));
        };
        let a = self.arrange(word, names, args, e.span)?;
        let (n_pre, n_post) = (s.pre_range.end - s.pre_range.start, s.post_range.end - s.post_range.start);
        let rule = match *word {
            "all" => Rule::All,
            "one_to_one" => {
                if n_pre != n_post {
                    self.report(
                        Diagnostic::error(
                            codes::RULE,
                            e.span,
                            format!("`one_to_one` of {n_pre} sources and {n_post} targets"),
                        )
                        .labelled("the numbers differ"),
                    );
                    return None;
                }
                Rule::OneToOne
            }
            "random" => {
                let p = a.expr("p")?;
                let ty = Ty::plain(Elem::NUMBER, Vec::new());
                let stem = format!("{name}.rule");
                let value = self.pair_value(p, env, pre, post, &ty, "the probability", |s, r| {
                    let (i, j) = s.pair_params()?;
                    let stream = s.stream(&stem);
                    let u = s.node(p.span, |g| g.random(i, j, Distribution::Uniform, stream))?;
                    let hit = s.node(p.span, |g| g.lt(u, r.id))?;
                    Some(s.rt(hit, Elem::Bool, vec![ROW]))
                })?;
                match value {
                    PairValue::Number(x, _) if (0.0..=1.0).contains(&x) => {
                        Rule::Random { p: Real(x), stream: self.stream(name) }
                    }
                    PairValue::Number(x, _) => {
                        self.report(
                            Diagnostic::error(codes::RULE, p.span, "a probability lies between 0 and 1")
                                .labelled(format!("this is {x}")),
                        );
                        return None;
                    }
                    PairValue::Region(g) => Rule::Predicate(g),
                    PairValue::Tensor(t, _) => {
                        let shape: Vec<u64> = t.shape().iter().map(|d| *d as u64).collect();
                        self.wrong_shape(&shape, &[], p.span, "the probability");
                        return None;
                    }
                }
            }
            "where" => {
                let c = a.expr("cond")?;
                let ty = Ty::plain(Elem::Bool, Vec::new());
                self.begin(Capture::Sealed);
                let i = self.region_param(Elem::Int, &[], "i");
                let j = self.region_param(Elem::Int, &[ROW], "j");
                let row = j.clone();
                Elab::pair_env(env, i, j, pre, post);
                let v = self.eval(c, env);
                env.sides = None;
                env.draw = super::expr::Draw::No;
                let r = match &v {
                    Val::Bool(_) => None,
                    v => self
                        .coerce(v, ty.elem, c.span, "the condition")
                        .and_then(|r| self.per_candidate(r, &row, c.span)),
                };
                let (g, _) = self.end(r.iter().map(|r| r.id).collect());
                match v {
                    Val::Bool(true) => Rule::All,
                    Val::Bool(false) => Rule::Random { p: Real(0.0), stream: self.stream(name) },
                    _ => {
                        r?;
                        Rule::Predicate(g)
                    }
                }
            }
            "fixed_in" | "fixed_out" => {
                let k = a.expr("k")?;
                let n = self.eval_int(k, env, "`k`")?;
                let limit = if *word == "fixed_in" { n_pre } else { n_post };
                match u64::try_from(n) {
                    Ok(n) if n <= limit => {
                        let stream = self.stream(name);
                        if *word == "fixed_in" {
                            Rule::FixedIn { k: n, stream }
                        } else {
                            Rule::FixedOut { k: n, stream }
                        }
                    }
                    _ => {
                        let side = if *word == "fixed_in" { "sources" } else { "targets" };
                        self.report(
                            Diagnostic::error(codes::RULE, k.span, format!("`{word}` of {n} among {limit} {side}"))
                                .labelled(format!("must lie between 0 and {limit}")),
                        );
                        return None;
                    }
                }
            }
            "conv2d" => self.conv_rule(&a, env, s)?,
            _ => return self.table_rule(&a, env, s),
        };
        Some((rule, None))
    }

    /// The parameters (i, j) of the region that is being written.
    fn pair_params(&self) -> Option<(nc_ir::graph::ValueId, nc_ir::graph::ValueId)> {
        match self.frames.last()?.graph.params[..] {
            [i, j, ..] => Some((i, j)),
            _ => None,
        }
    }

    fn no_rule<T>(&mut self, span: Span, name: Option<&str>) -> Option<T> {
        let words: Vec<&str> = RULES.iter().map(|(n, _)| *n).collect();
        let mut d = match name {
            Some(n) => Diagnostic::error(codes::RULE, span, format!("there is no rule `{n}`")).labelled("unknown rule"),
            None => Diagnostic::error(codes::RULE, span, "a rule is expected here").labelled("not a rule"),
        };
        d.hint = Some(match name.and_then(|n| nearest(n, words.iter().copied())) {
            Some(n) => format!("did you mean `{n}`?"),
            None => format!("the rules are {}", words.join(", ")),
        });
        self.report(d);
        None
    }

    fn conv_rule(&mut self, a: &super::calls::Args<'a>, env: &mut Env<'a>, s: &Shape2) -> Option<Rule> {
        let (&[cin, h, w], &[cout, oh, ow]) = (&s.pre[..], &s.post[..]) else {
            self.report(
                Diagnostic::error(codes::RULE, a.span, "`conv2d` connects [channels, height, width] to the same")
                    .labelled(format!("{} to {}", show_shape(&s.pre), show_shape(&s.post))),
            );
            return None;
        };
        if s.sliced {
            self.report(
                Diagnostic::error(codes::RULE, a.span, "`conv2d` connects whole populations")
                    .labelled("one of them is sliced"),
            );
            return None;
        }
        let size = self.two(a.expr("size"), 1, 1, env, "size")?;
        let stride = self.two(a.expr("stride"), 1, 1, env, "stride")?;
        let pad = self.two(a.expr("pad"), 0, 0, env, "pad")?;
        let out = |n: u64, k: usize| (n + 2 * pad[k]).checked_sub(size[k]).map(|m| m / stride[k] + 1);
        match (out(h, 0), out(w, 1)) {
            (Some(y), Some(x)) if (y, x) == (oh, ow) => {}
            (y, x) => {
                let fit = match (y, x) {
                    (Some(y), Some(x)) => format!("[{cout}, {y}, {x}]"),
                    _ => "none: the kernel is larger than the source".into(),
                };
                self.report(
                    Diagnostic::error(
                        codes::RULE,
                        a.span,
                        format!("`conv2d` does not give the target's shape {}", show_shape(&s.post)),
                    )
                    .labelled(format!("the shape that fits is {fit}")),
                );
                return None;
            }
        }
        Some(Rule::Conv2d { input: [cin, h, w], output: [cout, oh, ow], size, stride, pad })
    }

    fn table_rule(
        &mut self,
        a: &super::calls::Args<'a>,
        env: &mut Env<'a>,
        s: &Shape2,
    ) -> Option<(Rule, Option<Vec<usize>>)> {
        let e = a.expr("t")?;
        let v = self.eval(e, env);
        let data = match &v {
            Val::Poison => return None,
            Val::Array(l) => {
                let shape = l.data.shape().iter().map(|d| *d as u64).collect();
                let l: &Loaded = l;
                self.conform(l, &Ty::plain(Elem::Int, shape), e.span)?
            }
            Val::Rt(r) if r.elem == Elem::Int && r.host.is_some() => r.host.clone()?,
            other => {
                let what = other.describe();
                self.report(
                    Diagnostic::error(codes::RULE, e.span, "a table is a tensor int[n, 2] of (source, target)")
                        .labelled(what),
                );
                return None;
            }
        };
        let &[n, 2] = data.shape() else {
            let shape: Vec<u64> = data.shape().iter().map(|d| *d as u64).collect();
            self.report(
                Diagnostic::error(
                    codes::SHAPE,
                    e.span,
                    format!("a table has shape [n, 2], not {}", show_shape(&shape)),
                )
                .labelled("one row (source, target) for each synapse"),
            );
            return None;
        };
        let x = data.as_slice::<i64>();
        let mut rows: Vec<(i64, i64, usize)> = Vec::with_capacity(n);
        for (k, pair) in x.chunks_exact(2).enumerate() {
            let (i, j) = (pair[0], pair[1]);
            let inside = |v: i64, r: &std::ops::Range<u64>| u64::try_from(v).is_ok_and(|v| r.contains(&v));
            if !inside(i, &s.pre_range) || !inside(j, &s.post_range) {
                self.report(
                    Diagnostic::error(codes::RULE, e.span, format!("row {k} of the table connects {i} to {j}"))
                        .labelled(format!(
                            "sources lie in {}..{}, targets in {}..{}",
                            s.pre_range.start, s.pre_range.end, s.post_range.start, s.post_range.end
                        )),
                );
                return None;
            }
            rows.push((i, j, k));
        }
        rows.sort_unstable();
        let order = rows.iter().map(|r| r.2).collect();
        let pre = self.pool(Tensor::from_vec(vec![n], rows.iter().map(|r| r.0).collect())?);
        let post = self.pool(Tensor::from_vec(vec![n], rows.iter().map(|r| r.1).collect())?);
        Some((Rule::Table { pre, post }, Some(order)))
    }
}
