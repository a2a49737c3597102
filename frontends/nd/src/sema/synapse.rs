//! Synapse models: per-synapse state that is brought up to date only when an event needs it.
//!
//! A synapse's equations are linear with constant coefficients, each in its own state: `x' = k x + b`. After `n` ticks
//! without events, with `f = exp(n * f32(k dt))`, the state is `x f` if b is zero, else `r + (x - r) f` with `r = -b / k`, or
//! `x + n * f32(b dt)` if k is zero. All in `f32`.

use super::Elab;
use super::actions::Writes;
use super::codes;
use super::connect::{Made, Target};
use super::emit::Capture;
use super::expr::Env;
use super::fold::Places;
use super::names::Decl;
use super::units::Dims;
use super::value::{Elem, Rt, Ty, Val, show_shape};
use crate::ast::{self, Action, Arg, Expr, ExprKind, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::graph::{ConnId, Graph, ValueId};
use nc_ir::{DType, Diagnostic, Span};

/// One state of a synapse.
#[derive(Clone)]
struct Trace {
    name: String,
    full: String,
    elem: Elem,
    /// `x' = k x + b`, per ms.
    law: Option<(f64, f64)>,
    /// Its present value, one per synapse.
    now: Rt,
}

/// What a handler emitted, and the values after it.
type Ran = (Vec<(Val, Span)>, Vec<Rt>);

/// A synapse model laid out over the synapses of a connection.
pub(super) struct Plastic<'a> {
    conn: ConnId,
    body: &'a ast::Body,
    env: Env<'a>,
    traces: Vec<Trace>,
    last: Rt,
    last_name: String,
    span: Span,
}

impl<'a> Elab<'a> {
    /// Events through plastic synapses: lays the model out, then delivers. Gives the new target states.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn plastic_pre(
        &mut self,
        c: usize,
        made: &Made,
        states: &[ValueId],
        reads: &[ValueId],
        deliver: Graph,
        model: &'a Expr,
        payload: Option<Elem>,
    ) -> Option<Vec<ValueId>> {
        let (id, args): (&'a ast::Ident, &'a [Arg]) = match &model.kind {
            ExprKind::Name(n) => (n, &[]),
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(n) => (n, args),
                _ => return self.no_model(model.span),
            },
            _ => return self.no_model(model.span),
        };
        let file = self.insts[self.conns[c].inst].file;
        let (at, body) = match self.sources.find(file, &id.name) {
            Some((r, Decl::Synapse(b))) => (r.file, b),
            found => {
                self.not_a(id, found.map(|f| f.1), "synapse", file);
                return None;
            }
        };
        self.check_body(body, false);
        let mut p = self.lay_out(c, made, at, body, args, model.span)?;
        let pre = self.pre_region(&p, payload.unwrap_or(Elem::NUMBER))?;
        let mut synapses: Vec<ValueId> = p.traces.iter().map(|t| t.now.id).collect();
        synapses.push(p.last.id);
        let now: Vec<ValueId> = made.now.into_iter().collect();
        let (conn, line, n, s, k) = (made.conn, made.line, now.len(), states.len(), synapses.len());
        let out = self
            .nodes(model.span, |g| g.plastic_pre(&now, states, reads, &synapses, conn, line, n, s, k, pre, deliver))?;
        self.take(&mut p, out.get(s..)?);
        self.conns[c].plastic = Some(p);
        // A port of a net has no spikes of its own, and so no `on post`.
        if let Target::Net(..) = self.conns[c].target {
            self.without_post(c);
        }
        out.get(..s).map(<[ValueId]>::to_vec)
    }

    fn no_model<T>(&mut self, span: Span) -> Option<T> {
        self.report(
            Diagnostic::error(codes::RULE, span, "a synapse model is expected here")
                .labelled("not a model")
                .with_hint("write `model = Stdp` or `model = Stdp(a_plus = 0.01)`"),
        );
        None
    }

    /// New values of the traces and of the tick of the last event.
    fn take(&mut self, p: &mut Plastic<'a>, values: &[ValueId]) {
        for (t, v) in p.traces.iter_mut().zip(values) {
            t.now = self.rt(*v, t.elem, t.now.shape.clone());
        }
        if let Some(v) = values.get(p.traces.len()) {
            p.last = self.rt(*v, Elem::Int, p.last.shape.clone());
        }
    }

    fn lay_out(
        &mut self,
        c: usize,
        made: &Made,
        file: usize,
        body: &'a ast::Body,
        args: &'a [Arg],
        span: Span,
    ) -> Option<Plastic<'a>> {
        let name = self.conns[c].name.clone();
        let inst = self.conns[c].inst;
        let table = self.expanded(made.conn, span)?;
        let nnz = table.len() as u64;
        if nnz == 0 {
            self.report(
                Diagnostic::error(codes::RULE, span, format!("`{name}` makes no synapses to put a model on"))
                    .labelled("no pair is connected"),
            );
            return None;
        }
        let mut pairs: Vec<(u64, u64)> = Vec::with_capacity(table.len());
        for i in 0..table.pre_len() {
            for k in table.row(i) {
                pairs.push((i as u64, u64::from(table.post.get(k).copied().unwrap_or(0))));
            }
        }
        let mut env = Env::file(file);
        env.body = Some(body);
        env.clock = self.insts[inst].clock;
        env.place = format!("{name}.");
        let known: Vec<&str> = body
            .items
            .iter()
            .filter_map(|i| match &i.kind {
                ItemKind::Param { name, .. } | ItemKind::State { name, .. } => Some(name.name.as_str()),
                _ => None,
            })
            .collect();
        for a in args {
            let found = a.name.as_ref().is_some_and(|n| known.contains(&n.name.as_str()));
            if !found {
                let text = a.name.as_ref().map_or("", |n| n.name.as_str());
                let mut d = Diagnostic::error(
                    codes::UNKNOWN_KEY,
                    a.span,
                    format!("`{}` has no param or state `{text}`", body.name.name),
                )
                .labelled("params and states are given by name");
                d.hint = nearest(text, known.iter().copied()).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
                return None;
            }
        }
        let given = |n: &str| args.iter().find(|a| a.name.as_ref().is_some_and(|m| m.name == n)).map(|a| &a.value);
        let mut traces = Vec::new();
        for item in &body.items {
            match &item.kind {
                ItemKind::Param { name: n, ty, value } => {
                    let full = format!("{name}.{}", n.name);
                    let t = self.scalar_type(ty, &mut env)?;
                    let (e, mut at) = match (given(&n.name), value) {
                        (Some(e), _) => (e, self.net_env(inst)),
                        (None, Some(e)) => (e, env.clone()),
                        (None, None) => {
                            self.report(
                                Diagnostic::error(
                                    codes::NO_VALUE,
                                    span,
                                    format!("the param `{}` of `{}` has no value", n.name, body.name.name),
                                )
                                .labelled("not given here")
                                .with_label(n.span, "no default"),
                            );
                            return None;
                        }
                    };
                    at.place = format!("{full}.");
                    at.noise = None;
                    at.ticks = false;
                    let data = match self.host_value(&full) {
                        Some(h) => self.conform(&h, &t, span)?,
                        None => self.fold(e, &mut at, &t, Places::Elements(&[]), &format!("`{full}`"))?,
                    };
                    let rt = self.stored_param(&full, data, &t, span)?;
                    env.bind(&n.name, Val::Rt(rt));
                }
                ItemKind::State { name: n, ty, init } => {
                    let full = format!("{name}.{}", n.name);
                    let t = self.scalar_type(ty, &mut env)?;
                    if t.storage.is_some() {
                        self.report(
                            Diagnostic::error(codes::STORAGE, ty.span, "a synapse's state has no storage of its own")
                                .labelled("not supported here"),
                        );
                        return None;
                    }
                    let (e, mut at) = match given(&n.name) {
                        Some(e) => (e, self.net_env(inst)),
                        None => (init, env.clone()),
                    };
                    at.place = format!("{full}.");
                    at.noise = None;
                    at.ticks = false;
                    let data =
                        self.fold(e, &mut at, &t, Places::Pairs(&pairs), &format!("the initial value of `{full}`"))?;
                    let init = self.pool(data);
                    let now = self.add_state(&full, t.elem, &[nnz], t.elem.dtype(), Some(init))?;
                    traces.push(Trace { name: n.name.clone(), full, elem: t.elem, law: None, now });
                }
                _ => {}
            }
        }
        for k in 0..traces.len() {
            traces[k].law = self.law(body, &traces, k, &env)?;
        }
        let last_name = format!("{name}.last");
        let last = self.add_state(&last_name, Elem::Int, &[nnz], DType::I64, None)?;
        self.choice(name, format!("{nnz} synapses of `{}`, brought up to date at events", body.name.name));
        Some(Plastic { conn: made.conn, body, env, traces, last, last_name, span })
    }

    fn scalar_type(&mut self, ty: &'a ast::Type, env: &mut Env<'a>) -> Option<Ty> {
        let t = self.declared(ty, env)?;
        if t.shape.is_empty() {
            return Some(t);
        }
        self.report(
            Diagnostic::error(codes::SHAPE, ty.span, "a synapse's items are scalars")
                .labelled(format!("has the shape {}", show_shape(&t.shape))),
        );
        None
    }

    /// The coefficients of a state's equation, found by evaluating it at several values; `Some(None)` if it has none.
    #[allow(clippy::option_option)]
    fn law(&mut self, body: &'a ast::Body, traces: &[Trace], k: usize, env: &Env<'a>) -> Option<Option<(f64, f64)>> {
        let t = &traces[k];
        let Some(e) = body.items.iter().find_map(|i| match &i.kind {
            ItemKind::Ode { name, value } if name.name == t.name => Some(value),
            _ => None,
        }) else {
            return Some(None);
        };
        if let Some(other) = traces.iter().find(|o| o.name != t.name && mentions(e, &o.name)) {
            self.not_lazy(e.span, &t.name, &format!("it depends on `{}`", other.name));
            return None;
        }
        let dims = t.elem.dims();
        let rate = dims.over(Dims::TIME)?;
        let at = |s: &mut Self, x: f64| {
            let mut inner = env.clone();
            inner.memo.clear();
            for (_, v) in &mut inner.vals {
                if let Some((x, d)) = v.number() {
                    *v = Val::Real(x, d);
                }
            }
            inner.bind(&t.name, Val::Real(x, dims));
            match s.eval(e, &mut inner) {
                Val::Poison => None,
                v => match v.number() {
                    Some((y, d)) if d == rate || y == 0.0 && d.is_none() => Some(y),
                    Some(_) => {
                        let text = format!("the derivative of `{}` should be in {rate}", t.name);
                        s.report(Diagnostic::error(codes::UNIT, e.span, text).labelled(v.describe()));
                        None
                    }
                    None => {
                        s.not_lazy(e.span, &t.name, "its rate is not a constant");
                        None
                    }
                },
            }
        };
        let b = at(self, 0.0)?;
        let slope = at(self, 1.0)? - b;
        for x in [-3.0, 0.37, 2.0] {
            let want = slope * x + b;
            if (at(self, x)? - want).abs() > 1e-9 * (want.abs() + slope.abs() + b.abs()) {
                self.not_lazy(e.span, &t.name, "it is not linear");
                return None;
            }
        }
        Some(Some((slope, b)))
    }

    fn not_lazy(&mut self, span: Span, name: &str, why: &str) {
        self.report(
            Diagnostic::error(
                codes::NOT_LAZY,
                span,
                format!("`{name}` of a synapse cannot be brought up to date at events: {why}"),
            )
            .labelled("only `x' = -x / tau`, with a constant term if need be")
            .with_hint("move other dynamics into the neuron"),
        );
    }

    /// Binds the values after `elapsed` ticks without events.
    fn bring_up(&mut self, p: &Plastic<'a>, elapsed: &Rt, env: &mut Env<'a>, values: &[Rt]) -> Option<()> {
        let span = p.span;
        let dt = env.clock.unwrap_or(1.0);
        let mut n: Option<Rt> = None;
        for (t, x) in p.traces.iter().zip(values) {
            let Some((k, b)) = t.law else {
                env.bind(&t.name, Val::Rt(x.clone()));
                continue;
            };
            let ticks = match &n {
                Some(r) => r.clone(),
                None => {
                    let r = self.as_real(elapsed.clone(), span)?;
                    n = Some(r.clone());
                    r
                }
            };
            let id = if k == 0.0 {
                let step = self.real(b * dt, t.elem.dims(), span)?;
                self.node(span, |g| g.fma(ticks.id, step.id, x.id))?
            } else {
                let rate = self.real(k * dt, Dims::NONE, span)?;
                let e = self.node(span, |g| g.mul(ticks.id, rate.id))?;
                let f = self.node(span, |g| g.exp(e))?;
                if b == 0.0 {
                    self.node(span, |g| g.mul(x.id, f))?
                } else {
                    let rest = self.real(-b / k, t.elem.dims(), span)?;
                    let d = self.node(span, |g| g.sub(x.id, rest.id))?;
                    let d = self.node(span, |g| g.mul(d, f))?;
                    self.node(span, |g| g.add(rest.id, d))?
                }
            };
            let r = self.rt(id, t.elem, Vec::new());
            env.bind(&t.name, Val::Rt(r));
        }
        Some(())
    }

    /// Runs one handler of a synapse in a region of (elapsed, values..); gives what it emitted and the new values.
    fn synapse_region(&mut self, p: &Plastic<'a>, body: &'a [Action], emits: bool) -> Option<Ran> {
        let elapsed = self.region_param(Elem::Int, &[], "elapsed");
        let values: Vec<Rt> = p.traces.iter().map(|t| self.region_param(t.elem, &[], &t.name)).collect();
        let mut env = p.env.clone();
        self.bring_up(p, &elapsed, &mut env, &values)?;
        let mut w = Writes {
            states: p.traces.iter().map(|t| (t.name.clone(), t.elem)).collect(),
            emitted: emits.then(Vec::new),
            place: "a synapse",
        };
        if !self.run_actions(body, &mut env, &mut w) {
            return None;
        }
        let mut out = Vec::new();
        for t in &p.traces {
            let v = env.get(&t.name).cloned().unwrap_or(Val::Poison);
            out.push(self.lift(&v, p.span)?);
        }
        Some((w.emitted.unwrap_or_default(), out))
    }

    fn pre_region(&mut self, p: &Plastic<'a>, payload: Elem) -> Option<Graph> {
        let body = p.body;
        let on = body.items.iter().find_map(|i| match &i.kind {
            ItemKind::On { port, body, .. } if port.name == "pre" => Some(body),
            _ => None,
        });
        for item in &body.items {
            if let ItemKind::On { port, payload, .. } = &item.kind
                && (!matches!(port.name.as_str(), "pre" | "post") || payload.is_some())
            {
                self.report(
                    Diagnostic::error(codes::PORT, port.span, "a synapse has `on pre` and `on post`, without payload")
                        .labelled("not one of them"),
                );
                return None;
            }
        }
        let Some(on) = on else {
            self.report(
                Diagnostic::error(codes::NO_EMIT, body.name.span, format!("`{}` has no `on pre`", body.name.name))
                    .labelled("nothing is ever emitted")
                    .with_hint("write `on pre { emit w }`"),
            );
            return None;
        };
        self.begin(Capture::Sealed);
        let done = self.synapse_region(p, on, true).and_then(|(emitted, values)| {
            let [(v, span)] = emitted.as_slice() else {
                self.report(
                    Diagnostic::error(
                        codes::NO_EMIT,
                        body.name.span,
                        format!("`on pre` of `{}` emits {} values", body.name.name, emitted.len()),
                    )
                    .labelled("emit exactly one"),
                );
                return None;
            };
            let w = self.coerce(v, payload, *span, "what the synapse emits")?;
            let mut ids = vec![w.id];
            ids.extend(values.iter().map(|r| r.id));
            Some(ids)
        });
        let (g, _) = self.end(done.clone().unwrap_or_default());
        done.map(|_| g)
    }

    /// Learning at the spikes of a population, for every plastic connection that ends there.
    pub(super) fn learn_post(&mut self, p: usize, fired: &Rt) {
        for c in self.pops[p].connections() {
            let Some(mut plastic) = self.conns[c].plastic.take() else { continue };
            if let Some(body) = post_handler(plastic.body) {
                self.begin(Capture::Sealed);
                let done = self.synapse_region(&plastic, body, false);
                let (g, _) = self.end(done.iter().flat_map(|(_, v)| v).map(|r| r.id).collect());
                if done.is_some() {
                    let mut synapses: Vec<ValueId> = plastic.traces.iter().map(|t| t.now.id).collect();
                    synapses.push(plastic.last.id);
                    let conn = plastic.conn;
                    let (fired, span) = (fired.id, plastic.span);
                    if let Some(out) = self.nodes(span, |b| b.plastic_post(fired, &synapses, conn, g)) {
                        self.take(&mut plastic, &out);
                    }
                }
            }
            self.keep(c, plastic);
        }
    }

    /// A population that never fires: synapses that learn at its spikes are refused.
    pub(super) fn refuse_post(&mut self, p: usize) {
        for c in self.pops[p].connections() {
            self.without_post(c);
        }
    }

    fn without_post(&mut self, c: usize) {
        let Some(plastic) = self.conns[c].plastic.take() else { return };
        if post_handler(plastic.body).is_some() {
            self.report(
                Diagnostic::error(
                    codes::NO_SPIKES,
                    self.conns[c].span,
                    "the target never fires, so `on post` never runs",
                )
                .labelled("ends at something without spikes")
                .with_label(plastic.body.name.span, "this model has `on post`"),
            );
        }
        self.keep(c, plastic);
    }

    fn keep(&mut self, c: usize, plastic: Plastic<'a>) {
        for t in &plastic.traces {
            self.set_next(&t.full, t.now.id);
        }
        self.set_next(&plastic.last_name, plastic.last.id);
        self.conns[c].plastic = Some(plastic);
    }

    /// `syn.w`: a state of a named connection's synapses after the tick, as of its last event.
    pub(super) fn conn_value(&mut self, c: usize, name: &str, span: Span) -> Val {
        match self.conns[c].target.clone() {
            Target::Event(p, _) | Target::Input(p, _) => self.pop(p, span),
            Target::Net(i, n) => {
                if let Some(k) = self.insts[i].names.get(&n).copied() {
                    self.entity(i, k, span);
                }
            }
        }
        let Some(plastic) = &self.conns[c].plastic else {
            if self.conns[c].entries.iter().all(|e| e.path.text() != "model") {
                let d = Diagnostic::error(codes::UNKNOWN_NAME, span, "this connection has no synapse model")
                    .labelled("only models have states");
                self.report(d);
            }
            return Val::Poison;
        };
        if let Some(t) = plastic.traces.iter().find(|t| t.name == name) {
            return Val::Rt(t.now.clone());
        }
        let known = plastic.traces.iter().map(|t| t.name.as_str());
        let mut d =
            Diagnostic::error(codes::UNKNOWN_NAME, span, format!("`{}` has no state `{name}`", plastic.body.name.name))
                .labelled("unknown state");
        d.hint = nearest(name, known).map(|n| format!("did you mean `{n}`?"));
        self.report(d);
        Val::Poison
    }

    pub(super) fn conn_field(&mut self, c: usize, name: &ast::Ident) -> Val {
        self.conn_value(c, &name.name, name.span)
    }
}

fn post_handler(body: &ast::Body) -> Option<&Vec<Action>> {
    body.items.iter().find_map(|i| match &i.kind {
        ItemKind::On { port, body, .. } if port.name == "post" => Some(body),
        _ => None,
    })
}

/// True if an expression names something.
fn mentions(e: &Expr, name: &str) -> bool {
    match &e.kind {
        ExprKind::Name(n) => n.name == name,
        ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Quantity { .. }
        | ExprKind::Str(_)
        | ExprKind::Bool(_)
        | ExprKind::Error => false,
        ExprKind::List(v) => v.iter().any(|e| mentions(e, name)),
        ExprKind::Unary { expr, .. } => mentions(expr, name),
        ExprKind::Binary { lhs, rhs, .. } => mentions(lhs, name) || mentions(rhs, name),
        ExprKind::If { cond, then, otherwise } => {
            mentions(cond, name) || mentions(then, name) || mentions(otherwise, name)
        }
        ExprKind::Field { base, .. } | ExprKind::Index { base, .. } => mentions(base, name),
        ExprKind::Call { args, .. } => args.iter().any(|a| mentions(&a.value, name)),
    }
}
