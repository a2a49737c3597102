//! Random draws: `uniform`, `normal`, `gamma`.
//!
//! A draw is keyed by the stream of its place in the text and by (i, j): the synapse's ends, or (element, 0).
//!
//! `gamma(mean, cv)` has shape k = 1 / cv^2 and scale mean / k. It is drawn by the method of Marsaglia and Tsang, "A
//! simple method for generating gamma variables", 2000: with d = k' - 1/3, c = 1 / sqrt(9 d), x normal, u uniform and
//! v = (1 + c x)^3, the value d v is taken if v > 0 and log(u) < x^2 / 2 + d - d v + d log(v). Here k' = k for k >= 1, else
//! k + 1 and the value is multiplied by w^(1/k), w uniform. Eight tries are made; each is refused with a probability
//! below 0.05, so that fewer than one draw in 10^10 falls back to d, the mode.

use super::Elab;
use super::calls::Args;
use super::codes;
use super::expr::{Draw, Env};
use super::units::Dims;
use super::value::{Elem, Rt, Val};
use nc_ir::graph::{Distribution, Op};
use nc_ir::{Diagnostic, Span};

const GAMMA_TRIES: u32 = 8;

impl<'a> Elab<'a> {
    /// A key for the draws of one place; the same place of the same model always has the same.
    pub(super) fn stream(&mut self, name: &str) -> u64 {
        let count = self.stream_names.entry(name.to_string()).or_insert(0);
        *count += 1;
        let full = if *count == 1 { name.to_string() } else { format!("{name}#{count}") };
        nc_ir::random::stream(self.m.seed, &full)
    }

    /// A name that nothing else has: `stem0`, `stem1`, ..
    pub(super) fn fresh_name(&mut self, stem: &str) -> String {
        let count = self.stream_names.entry(format!("name {stem}")).or_insert(0);
        let name = format!("{stem}{count}");
        *count += 1;
        name
    }

    fn random(&mut self, i: &Rt, j: &Rt, law: Distribution, name: &str, span: Span) -> Option<Rt> {
        let stream = self.stream(name);
        let id = self.node(span, |g| g.random(i.id, j.id, law, stream))?;
        let shape = if j.shape.is_empty() { i.shape.clone() } else { j.shape.clone() };
        Some(self.rt(id, Elem::NUMBER, shape))
    }

    /// `uniform(lo, hi)`: `lo + (hi - lo) * u`; `normal(mean, sd)`: `mean + sd * n`; `gamma(mean, cv)`.
    pub(super) fn draw(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let Draw::At { i, j } = env.draw.clone() else {
            self.report(
                Diagnostic::error(codes::MISPLACED, a.span, format!("`{}` draws when the network is built", a.name))
                    .labelled("allowed in initial values, `weight`, `delay` and `rule`")
                    .with_hint("use `noise(sigma)` for noise in every tick"),
            );
            return None;
        };
        let (i, j) = (self.here(&i, a.span)?, self.here(&j, a.span)?);
        let place = format!("{}{}", env.place, a.name);
        let operand = |s: &mut Self, env: &mut Env<'a>, name: &str| {
            let e = a.expr(name)?;
            let v = s.eval(e, env);
            if v.is_poison() { None } else { Some((v, e.span)) }
        };
        match a.name {
            "uniform" => {
                let (lo, sl) = operand(self, env, "lo")?;
                let (hi, sh) = operand(self, env, "hi")?;
                let width = self.binary(crate::ast::BinaryOp::Sub, hi, lo.clone(), sh, sl, a.span);
                let u = self.random(&i, &j, Distribution::Uniform, &place, a.span)?;
                let scaled = self.binary(crate::ast::BinaryOp::Mul, width, Val::Rt(u), a.span, a.span, a.span);
                self.sum(lo, scaled, sl, a.span)
            }
            "normal" => {
                let (mean, sm) = operand(self, env, "mean")?;
                let (sd, ss) = operand(self, env, "sd")?;
                let n = self.random(&i, &j, Distribution::Normal, &place, a.span)?;
                let scaled = self.binary(crate::ast::BinaryOp::Mul, sd, Val::Rt(n), ss, a.span, a.span);
                self.sum(mean, scaled, sm, a.span)
            }
            _ => {
                let (mean, sm) = operand(self, env, "mean")?;
                let (cv, sc) = operand(self, env, "cv")?;
                self.gamma(mean, cv, [sm, sc], &i, &j, &place, a.span)
            }
        }
    }

    fn sum(&mut self, a: Val, b: Val, sa: Span, sb: Span) -> Option<Rt> {
        match self.binary(crate::ast::BinaryOp::Add, a, b, sa, sb, sb) {
            Val::Rt(r) => Some(r),
            _ => None,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn gamma(&mut self, mean: Val, cv: Val, spans: [Span; 2], i: &Rt, j: &Rt, place: &str, span: Span) -> Option<Rt> {
        let mean = self.lift_real(&mean, spans[0])?;
        let cv_rt = self.lift_real(&cv, spans[1])?;
        if !cv_rt.elem.dims().is_none() {
            self.wrong_type(&cv, Elem::NUMBER, spans[1], "`cv`");
            return None;
        }
        if let Some((x, _)) = cv.number()
            && x <= 0.0
        {
            self.report(
                Diagnostic::error(codes::ARITHMETIC, spans[1], "`cv` must be positive")
                    .labelled(format!("this is {x}")),
            );
            return None;
        }
        let mut t = Calc { e: self, span };
        let one = t.num(1.0)?;
        let half = t.num(0.5)?;
        let zero = t.num(0.0)?;
        let cv2 = t.op(Op::Mul, &[&cv_rt, &cv_rt])?;
        let k = t.op(Op::Div, &[&one, &cv2])?;
        let small = t.op(Op::Lt, &[&k, &one])?;
        let k1 = t.op(Op::Add, &[&k, &one])?;
        let kk = t.op(Op::Select, &[&small, &k1, &k])?;
        let third = t.num(1.0 / 3.0)?;
        let d = t.op(Op::Sub, &[&kk, &third])?;
        let nine = t.num(9.0)?;
        let d9 = t.op(Op::Mul, &[&d, &nine])?;
        let r9 = t.op(Op::Sqrt, &[&d9])?;
        let c = t.op(Op::Div, &[&one, &r9])?;
        let mut taken = one.clone();
        // The first accepted try wins: built from the last to the first.
        let mut tries = Vec::new();
        for n in 0..GAMMA_TRIES {
            let x = t.e.random(i, j, Distribution::Normal, &format!("{place}.normal{n}"), span)?;
            let u = t.e.random(i, j, Distribution::Uniform, &format!("{place}.uniform{n}"), span)?;
            tries.push((x, u));
        }
        for (x, u) in tries.into_iter().rev() {
            let cx = t.op(Op::Fma, &[&c, &x, &one])?;
            let cx2 = t.op(Op::Mul, &[&cx, &cx])?;
            let v = t.op(Op::Mul, &[&cx2, &cx])?;
            let positive = t.op(Op::Gt, &[&v, &zero])?;
            let xx = t.op(Op::Mul, &[&x, &x])?;
            let bound = t.op(Op::Mul, &[&xx, &half])?;
            let bound = t.op(Op::Add, &[&bound, &d])?;
            let dv = t.op(Op::Mul, &[&d, &v])?;
            let bound = t.op(Op::Sub, &[&bound, &dv])?;
            let lv = t.op(Op::Log, &[&v])?;
            let bound = t.op(Op::Fma, &[&d, &lv, &bound])?;
            let lu = t.op(Op::Log, &[&u])?;
            let below = t.op(Op::Lt, &[&lu, &bound])?;
            let good = t.op(Op::And, &[&positive, &below])?;
            taken = t.op(Op::Select, &[&good, &v, &taken])?;
        }
        let value = t.op(Op::Mul, &[&d, &taken])?;
        let w = t.e.random(i, j, Distribution::Uniform, &format!("{place}.boost"), span)?;
        let power = t.op(Op::Mul, &[&cv2, &one])?;
        let boost = t.op(Op::Pow, &[&w, &power])?;
        let boost = t.op(Op::Select, &[&small, &boost, &one])?;
        let value = t.op(Op::Mul, &[&value, &boost])?;
        let scale = t.op(Op::Div, &[&mean, &k])?;
        let mut out = t.op(Op::Mul, &[&scale, &value])?;
        out.elem = mean.elem;
        Some(out)
    }
}

/// Appends plain arithmetic.
struct Calc<'e, 'a> {
    e: &'e mut Elab<'a>,
    span: Span,
}

impl Calc<'_, '_> {
    fn num(&mut self, x: f64) -> Option<Rt> {
        self.e.real(x, Dims::NONE, self.span)
    }

    fn op(&mut self, op: Op, args: &[&Rt]) -> Option<Rt> {
        let elem = match op {
            Op::Lt | Op::Gt | Op::And => Elem::Bool,
            _ => Elem::NUMBER,
        };
        let ids = args.iter().map(|a| a.id).collect();
        let shape = args.iter().map(|a| &a.shape).find(|s| !s.is_empty()).cloned().unwrap_or_default();
        let id = self.e.nodes(self.span, |g| g.push(op, ids, Vec::new()))?.first().copied()?;
        Some(self.e.rt(id, elem, shape))
    }
}
