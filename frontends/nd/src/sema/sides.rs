//! What `pre`, `post`, `dist` and positions stand for inside a `connect`.

use super::Elab;
use super::codes;
use super::connect::Side;
use super::expr::{Draw, Env, Sides};
use super::value::{Elem, Rt, Val, show_shape};
use crate::ast::{self, Index};
use nc_ir::diag::nearest;
use nc_ir::graph::ValueId;
use nc_ir::{DType, Diagnostic, Span};

impl<'a> Elab<'a> {
    /// `pre.x`, `post.x`: a parameter at the synapse's end, or `pos`.
    pub(super) fn side_field(&mut self, post: bool, name: &'a ast::Ident, env: &mut Env<'a>) -> Val {
        if name.name == "pos" {
            return Val::Pos(post);
        }
        let Some(sides) = env.sides.clone() else { return Val::Poison };
        let (side, at) = if post { (&sides.post, &sides.j) } else { (&sides.pre, &sides.i) };
        let word = if post { "post" } else { "pre" };
        let Some(p) = side.pop else {
            self.report(
                Diagnostic::error(
                    codes::UNKNOWN_NAME,
                    name.span,
                    format!("`{word}` is not a population and has no `{}`", name.name),
                )
                .labelled("only `pos` is known"),
            );
            return Val::Poison;
        };
        self.pop_params(p);
        let model = self.pops[p].model;
        let params: Vec<&str> = model
            .items
            .iter()
            .filter_map(
                |i| if let ast::ItemKind::Param { name, .. } = &i.kind { Some(name.name.as_str()) } else { None },
            )
            .collect();
        if !params.contains(&name.name.as_str()) {
            let mut d = Diagnostic::error(
                codes::UNKNOWN_NAME,
                name.span,
                format!("`{}` has no param `{}`", model.name.name, name.name),
            )
            .labelled("only params and `pos` are known when the network is built");
            d.hint = nearest(&name.name, params.iter().copied()).map(|n| format!("did you mean `{n}`?"));
            self.report(d);
            return Val::Poison;
        }
        match self.pops[p].values.get(&name.name).cloned() {
            Some(Val::Rt(r)) => self.gather_param(&r, &at.clone(), name.span).map_or(Val::Poison, Val::Rt),
            _ => Val::Poison,
        }
    }

    fn gather_param(&mut self, r: &Rt, at: &Rt, span: Span) -> Option<Rt> {
        let host = r.host.clone()?;
        if r.shape.is_empty() {
            let id = r.konst.unwrap_or_else(|| self.pool(host));
            return self.constant(id, r.elem, span);
        }
        let n = host.len();
        let flat = self.pool(host.reshaped(vec![n])?);
        let c = self.constant(flat, r.elem, span)?;
        let at = self.here(at, span)?;
        let id = self.node(span, |g| g.gather(c.id, at.id, 0))?;
        Some(self.rt(id, r.elem, at.shape))
    }

    /// `pre.pos[k]`: a coordinate in the grid that the shape makes.
    pub(super) fn position(&mut self, post: bool, indices: &'a [Index], span: Span, env: &mut Env<'a>) -> Val {
        let Some(s) = env.sides.clone() else { return Val::Poison };
        let (side, at) = if post { (&s.post, &s.j) } else { (&s.pre, &s.i) };
        let [Index::At(e)] = indices else {
            self.report(
                Diagnostic::error(codes::INDEX, span, "a position takes one index").labelled("write `pre.pos[0]`"),
            );
            return Val::Poison;
        };
        let Some(k) = self.axis(e, side.shape.len(), env) else { return Val::Poison };
        self.coordinate(side, at, k, span).map_or(Val::Poison, Val::Rt)
    }

    fn coordinate(&mut self, side: &Side, at: &Rt, k: usize, span: Span) -> Option<Rt> {
        let at = self.here(at, span)?;
        let stride: u64 = side.shape[k + 1..].iter().product();
        let mut id = at.id;
        if stride > 1 {
            let s = self.int(i64::try_from(stride).ok()?, span)?;
            id = self.node(span, |g| g.div(id, s.id))?;
        }
        if k > 0 {
            let n = self.int(i64::try_from(side.shape[k]).ok()?, span)?;
            id = self.node(span, |g| g.rem(id, n.id))?;
        }
        Some(self.rt(id, Elem::Int, at.shape))
    }

    /// `dist`: the Euclidean distance of the two positions.
    pub(super) fn distance(&mut self, span: Span, env: &mut Env<'a>) -> Val {
        let Some(s) = env.sides.clone() else { return Val::Poison };
        if s.pre.shape.len() != s.post.shape.len() {
            self.report(
                Diagnostic::error(codes::SHAPE, span, "`dist` needs two grids of the same number of axes")
                    .labelled(format!("{} and {}", show_shape(&s.pre.shape), show_shape(&s.post.shape))),
            );
            return Val::Poison;
        }
        self.distance_value(&s, span).map_or(Val::Poison, Val::Rt)
    }

    fn distance_value(&mut self, s: &Sides, span: Span) -> Option<Rt> {
        let mut sum: Option<ValueId> = None;
        for k in 0..s.pre.shape.len() {
            let a = self.coordinate(&s.pre, &s.i, k, span)?;
            let b = self.coordinate(&s.post, &s.j, k, span)?;
            let d = self.node(span, |g| g.sub(a.id, b.id))?;
            let q = self.node(span, |g| g.mul(d, d))?;
            sum = Some(match sum {
                None => q,
                Some(t) => self.node(span, |g| g.add(t, q))?,
            });
        }
        let sum = sum?;
        let x = self.node(span, |g| g.cast(sum, DType::F32))?;
        let r = self.node(span, |g| g.sqrt(x))?;
        Some(self.rt(r, Elem::NUMBER, s.j.shape.clone()))
    }

    /// Keys draws of an environment by a synapse's ends.
    pub(super) fn pair_env(env: &mut Env<'a>, i: Rt, j: Rt, pre: &Side, post: &Side) {
        env.draw = Draw::At { i: i.clone(), j: j.clone() };
        env.sides = Some(Sides { i, j, pre: pre.clone(), post: post.clone() });
    }
}
