//! `connect`: from a statement to synapses and the op that delivers their events.

use super::Elab;
use super::codes;
use super::emit::Capture;
use super::expr::Env;
use super::ports::{Source, split_path};
use super::quantity::show_ms;
use super::rules::{PairValue, Shape2};
use super::synapse::Plastic;
use super::units::Dims;
use super::value::{Elem, ROW, Rt, Ty, Val, show_shape, show_type};
use crate::ast::{self, Expr, Index};
use nc_ir::diag::nearest;
use nc_ir::graph::connect::{SynapseTable, expand};
use nc_ir::graph::{ConnId, Connectivity, LineId, Rule, SynapseDelay, SynapseWeight, ValueId};
use nc_ir::{DType, Diagnostic, Span, Tensor};

/// The port at the end of a connection.
#[derive(Clone)]
pub(super) enum Target {
    /// `on` of a population.
    Event(usize, String),
    /// `input` of a population.
    Input(usize, String),
    /// `input` of a net inside.
    Net(usize, String),
}

/// One end of a connection.
#[derive(Clone)]
pub(super) struct Side {
    /// The population, if it is one; its parameters can be named.
    pub pop: Option<usize>,
    pub shape: Vec<u64>,
}

/// One `connect` statement.
pub(super) struct Conn<'a> {
    /// The net that it stands in.
    pub inst: usize,
    /// A name that no other has.
    pub name: String,
    pub pre: &'a Expr,
    pub post_index: Option<&'a [Index]>,
    pub target: Target,
    pub entries: &'a [ast::Entry],
    pub span: Span,
    /// Set once a synapse model has been laid out.
    pub plastic: Option<Plastic<'a>>,
}

impl<'a> Conn<'a> {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        inst: usize,
        name: String,
        pre: &'a Expr,
        post_index: Option<&'a [Index]>,
        target: Target,
        entries: &'a [ast::Entry],
        span: Span,
    ) -> Conn<'a> {
        Conn { inst, name, pre, post_index, target, entries, span, plastic: None }
    }
}

/// Synapses and where their events come from.
pub(super) struct Made {
    pub conn: ConnId,
    pub now: Option<ValueId>,
    pub line: Option<LineId>,
}

const KEYS: &[&str] = &["rule", "weight", "delay", "model"];

/// The entries of a `connect`.
pub(super) struct Entries<'a> {
    pub rule: &'a Expr,
    pub weight: Option<&'a Expr>,
    pub delay: Option<&'a Expr>,
    pub model: Option<&'a Expr>,
}

impl<'a> Elab<'a> {
    fn entries(&mut self, c: usize) -> Option<Entries<'a>> {
        let conn = &self.conns[c];
        let (entries, span) = (conn.entries, conn.span);
        let mut found: [Option<&'a ast::Entry>; 4] = [None; 4];
        let mut ok = true;
        for e in entries {
            let key = e.path.text();
            match KEYS.iter().position(|k| *k == key) {
                Some(k) => {
                    if let Some(first) = found[k].replace(e) {
                        self.report(
                            Diagnostic::error(codes::TWICE, e.path.span, format!("`{key}` is given twice"))
                                .labelled("again here")
                                .with_label(first.path.span, "first here"),
                        );
                        ok = false;
                    }
                }
                None => {
                    let mut d =
                        Diagnostic::error(codes::UNKNOWN_KEY, e.path.span, format!("`connect` has no key `{key}`"))
                            .labelled("unknown key");
                    d.hint = Some(match nearest(&key, KEYS.iter().copied()) {
                        Some(n) => format!("did you mean `{n}`?"),
                        None => format!("the keys are {}", KEYS.join(", ")),
                    });
                    self.report(d);
                    ok = false;
                }
            }
        }
        let Some(rule) = found[0] else {
            if ok {
                self.report(
                    Diagnostic::error(codes::NO_RULE, span, "this connection has no `rule`")
                        .labelled("which pairs are connected?")
                        .with_hint("write for example `rule = all()` or `rule = random(p = 0.1)`"),
                );
            }
            return None;
        };
        let value = |k: usize| found[k].map(|e| &e.value);
        ok.then_some(Entries { rule: &rule.value, weight: value(1), delay: value(2), model: value(3) })
    }

    /// The flat range that an index names.
    fn flat_range(
        &mut self,
        index: Option<&'a [Index]>,
        n: u64,
        span: Span,
        env: &mut Env<'a>,
    ) -> Option<std::ops::Range<u64>> {
        match index {
            None => Some(0..n),
            Some([Index::Range(a, b)]) => {
                let (lo, hi) = self.range(a, b, n, env)?;
                Some(lo..hi)
            }
            Some([Index::At(e)]) => {
                let k = self.eval_int(e, env, "an index")?;
                match u64::try_from(k) {
                    Ok(k) if k < n => Some(k..k + 1),
                    _ => {
                        self.report(
                            Diagnostic::error(codes::INDEX, e.span, format!("the index {k} is out of range"))
                                .labelled(format!("there are {n} elements, numbered from 0")),
                        );
                        None
                    }
                }
            }
            Some(_) => {
                self.report(
                    Diagnostic::error(codes::INDEX, span, "a population is sliced by one range of flat indices")
                        .labelled("one range only")
                        .with_hint("use `rule = where(..)` with `pre.pos` and `post.pos` to pick by position"),
                );
                None
            }
        }
    }

    /// The shape of the population or port at the end, and the population.
    fn target_side(&mut self, c: usize) -> Option<Side> {
        match self.conns[c].target.clone() {
            Target::Event(p, _) | Target::Input(p, _) => Some(Side { pop: Some(p), shape: self.pops[p].shape.clone() }),
            Target::Net(i, name) => {
                let at = *self.insts[i].names.get(&name)?;
                let super::net::Kind::Input(ty) = self.insts[i].entities[at].kind else { return None };
                let mut env = self.net_env(i);
                Some(Side { pop: None, shape: self.declared(ty, &mut env)?.shape })
            }
        }
    }

    /// Makes the synapses of a statement. `payload` is what an event carries; `None` if the port takes none.
    pub(super) fn synapses(&mut self, c: usize, payload: Option<Elem>) -> Option<(Made, Entries<'a>)> {
        let e = self.entries(c)?;
        let conn = &self.conns[c];
        let (inst, span, name, pre_expr, post_index) =
            (conn.inst, conn.span, conn.name.clone(), conn.pre, conn.post_index);
        let mut env = self.net_env(inst);
        let (parts, pre_index) = split_path(pre_expr).unwrap_or_default();
        // A slice stands on the connection, not on the value: take the value of the path without it.
        let whole = match &pre_expr.kind {
            ast::ExprKind::Index { base, .. } if pre_index.is_some() => base,
            _ => pre_expr,
        };
        let (source, elem, shape) = self.source_of(whole, &parts, inst, &mut env)?;
        if elem != Elem::Bool {
            self.report(
                Diagnostic::error(codes::NO_SPIKES, pre_expr.span, "a connection carries spikes")
                    .labelled(format!("this is {}", show_type(elem, &shape)))
                    .with_hint("drive a port with a value by `port <- value`"),
            );
            return None;
        }
        let pre_pop = if let Source::Pop(p, _) = &source { Some(*p) } else { None };
        let pre = Side { pop: pre_pop, shape };
        let post = self.target_side(c)?;
        let pre_len = self.check_size(&pre.shape, pre_expr.span)?;
        let post_len = self.check_size(&post.shape, span)?;
        let pre_range = self.flat_range(pre_index, pre_len, pre_expr.span, &mut env)?;
        let post_range = self.flat_range(post_index, post_len, span, &mut env)?;
        env.place = format!("{name}.");
        env.noise = None;
        env.ticks = false;
        let sliced = pre_range != (0..pre_len) || post_range != (0..post_len);
        let shape2 = Shape2 { pre: pre.shape.clone(), post: post.shape.clone(), pre_range, post_range, sliced };
        let (rule, order) = self.rule(e.rule, &mut env, &name, &pre, &post, &shape2)?;
        let weight = self.weight(c, &e, payload, &mut env, &pre, &post, &shape2, &rule, order.as_deref())?;
        let (delay, expression) = self.delays(&e, &mut env, &pre, &post, &shape2, &rule, order.as_deref())?;
        let id = ConnId(self.m.conns.len() as u32);
        self.m.conns.push(Connectivity {
            name: name.clone(),
            pre_len,
            post_len,
            pre: shape2.pre_range.clone(),
            post: shape2.post_range.clone(),
            rule,
            weight,
            delay,
        });
        let (least, most) = self.delay_bounds(id, expression, e.delay.map_or(span, |d| d.span))?;
        let line = (most > 0).then(|| self.line(&source, Elem::Bool, &pre.shape, most, pre_expr.span));
        let now = match least {
            0 => Some(self.source_value(&source, pre_expr.span)?),
            _ => None,
        };
        let now = match now {
            Some(r) => Some(self.widened(r, &pre.shape, span)?.id),
            None => None,
        };
        Some((Made { conn: id, now, line }, e))
    }

    /// The shortest and longest delay in ticks.
    fn delay_bounds(&mut self, id: ConnId, expression: bool, span: Span) -> Option<(u32, u32)> {
        let conn = &self.m.conns[id.index()];
        let bounds = |t: &Tensor| {
            let v = t.as_slice::<i64>();
            let most = v.iter().copied().max().unwrap_or(0);
            let least = v.iter().copied().min().unwrap_or(0);
            Some((u32::try_from(least).ok()?, u32::try_from(most).ok()?))
        };
        match &conn.delay {
            SynapseDelay::Ticks(d) => Some((*d, *d)),
            SynapseDelay::PerSynapse(k) | SynapseDelay::Kernel(k) => bounds(&self.m.consts.get(k.index())?.data),
            SynapseDelay::Region { .. } if !expression => None,
            SynapseDelay::Region { .. } => {
                let table = self.expanded(id, span)?;
                let (least, most) = (table.min_delay(), table.max_delay());
                if let SynapseDelay::Region { max, .. } = &mut self.m.conns[id.index()].delay {
                    *max = most;
                }
                Some((least, most))
            }
        }
    }

    /// The synapses themselves, without their weights.
    pub(super) fn expanded(&mut self, id: ConnId, span: Span) -> Option<SynapseTable> {
        let unit = self.pool(Tensor::scalar_f32(1.0));
        let conn = Connectivity { weight: SynapseWeight::Scalar(unit), ..self.m.conns.get(id.index())?.clone() };
        match expand(&conn, self.m.pools(), self.options.max_synapses) {
            Ok(t) => Some(t),
            Err(mut d) => {
                d.span = d.span.or(Some(span));
                self.report(d);
                None
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn weight(
        &mut self,
        c: usize,
        e: &Entries<'a>,
        payload: Option<Elem>,
        env: &mut Env<'a>,
        pre: &Side,
        post: &Side,
        s: &Shape2,
        rule: &Rule,
        order: Option<&[usize]>,
    ) -> Option<SynapseWeight> {
        let span = self.conns[c].span;
        let one = |s: &mut Self| SynapseWeight::Scalar(s.pool(Tensor::scalar_f32(1.0)));
        if let Some(model) = e.model {
            if let Some(w) = e.weight {
                self.report(
                    Diagnostic::error(codes::WEIGHT, w.span, "with a synapse model the weight is what it emits")
                        .labelled("`weight` has no meaning here")
                        .with_label(model.span, "the model"),
                );
                return None;
            }
            return Some(one(self));
        }
        let (want, w) = match (payload, e.weight) {
            (Some(want), Some(w)) => (want, w),
            (None, None) => return Some(one(self)),
            (None, Some(w)) => {
                self.report(
                    Diagnostic::error(codes::WEIGHT, w.span, "this port takes no payload")
                        .labelled("a weight has nowhere to go")
                        .with_hint("declare the port as `on port(w: mV) { .. }`"),
                );
                return None;
            }
            (Some(want), None) => {
                self.report(
                    Diagnostic::error(codes::WEIGHT, span, "this connection has no `weight`")
                        .labelled("what does an event carry?")
                        .with_hint(format!("write for example `weight = 1 {want}`")),
                );
                return None;
            }
        };
        let ty = Ty::plain(want, Vec::new());
        Some(match self.pair_value(w, env, pre, post, &ty, "the weight", |_, r| Some(r))? {
            PairValue::Number(x, konst) => match konst {
                Some(k) => SynapseWeight::Scalar(k),
                None => SynapseWeight::Scalar(self.pool(Tensor::scalar_f32(x as f32))),
            },
            PairValue::Region(g) => {
                if matches!(rule, Rule::Conv2d { .. }) {
                    self.conv_needs_kernel(w.span, "weight");
                    return None;
                }
                SynapseWeight::Region(g)
            }
            PairValue::Tensor(data, konst) => self.weight_tensor(data, konst, rule, s, order, w.span)?,
        })
    }

    fn conv_needs_kernel(&mut self, span: Span, what: &str) {
        self.report(
            Diagnostic::error(codes::WEIGHT, span, format!("with `conv2d` the {what} is one number or a kernel"))
                .labelled("differs from synapse to synapse")
                .with_hint("give a tensor [out, in, ky, kx]"),
        );
    }

    fn weight_tensor(
        &mut self,
        data: Tensor,
        konst: Option<nc_ir::graph::ConstId>,
        rule: &Rule,
        s: &Shape2,
        order: Option<&[usize]>,
        span: Span,
    ) -> Option<SynapseWeight> {
        let shape: Vec<u64> = data.shape().iter().map(|d| *d as u64).collect();
        match s.layout(&shape, rule, order) {
            Layout::Kernel => {
                let id = konst.unwrap_or_else(|| self.pool(data));
                Some(SynapseWeight::Kernel(id))
            }
            Layout::PerSynapse => {
                let id = match order {
                    None => konst.unwrap_or_else(|| self.pool(data)),
                    Some(order) => {
                        let x = data.as_slice::<f32>();
                        let v: Vec<f32> = order.iter().map(|k| x.get(*k).copied().unwrap_or(0.0)).collect();
                        self.pool(Tensor::from_vec(vec![v.len()], v)?)
                    }
                };
                Some(SynapseWeight::PerSynapse(id))
            }
            Layout::Matrix { pre_major } => {
                let (p, q) = (s.pre_len() as usize, s.post_len() as usize);
                let two = if pre_major { vec![p, q] } else { vec![q, p] };
                let id = match konst {
                    Some(k) if data.shape() == two && !s.sliced => k,
                    _ if s.sliced => {
                        // The matrix is over whole populations; the connection takes its part of it.
                        let (rows, columns, width) =
                            if pre_major { (&s.pre_range, &s.post_range, q) } else { (&s.post_range, &s.pre_range, p) };
                        let x = data.as_slice::<f32>();
                        let mut part = Vec::new();
                        for r in rows.clone() {
                            let at = r as usize * width;
                            part.extend_from_slice(x.get(at + columns.start as usize..at + columns.end as usize)?);
                        }
                        let extents = [rows, columns].map(|r| (r.end - r.start) as usize);
                        self.pool(Tensor::from_vec(extents.to_vec(), part)?)
                    }
                    _ => {
                        let t = data.reshaped(two)?;
                        self.pool(t)
                    }
                };
                Some(SynapseWeight::Matrix { data: id, pre_major })
            }
            Layout::Wrong => {
                self.wrong_layout("weight", &shape, rule, s, span);
                None
            }
        }
    }

    fn wrong_layout(&mut self, what: &str, shape: &[u64], rule: &Rule, s: &Shape2, span: Span) {
        let want = match rule {
            Rule::Conv2d { input, output, size, .. } => show_shape(&[output[0], input[0], size[0], size[1]]),
            Rule::Table { .. } | Rule::OneToOne => "one number for each synapse".into(),
            _ => format!("[post, pre] = [{}, {}]", s.post_len(), s.pre_len()),
        };
        self.report(
            Diagnostic::error(
                codes::SHAPE,
                span,
                format!("the {what} has shape {}, but {want} is expected", show_shape(shape)),
            )
            .labelled(format!("shape {}", show_shape(shape))),
        );
    }

    /// Delays in ticks; true if they are an expression whose bounds are not known yet.
    #[allow(clippy::too_many_arguments)]
    fn delays(
        &mut self,
        e: &Entries<'a>,
        env: &mut Env<'a>,
        pre: &Side,
        post: &Side,
        s: &Shape2,
        rule: &Rule,
        order: Option<&[usize]>,
    ) -> Option<(SynapseDelay, bool)> {
        let Some(d) = e.delay else { return Some((SynapseDelay::Ticks(0), false)) };
        let clock = env.clock;
        let want = match clock {
            Some(_) => Elem::Real(Dims::TIME),
            None => Elem::NUMBER,
        };
        // Whole numbers count ticks where there is no clock; a bare number where there is one is a unit error.
        let ty = Ty::plain(want, Vec::new());
        let tick = clock.unwrap_or(1.0);
        let value = self.pair_value(d, env, pre, post, &ty, "the delay", |s, r| {
            let dt = s.real(tick, Dims::TIME, d.span)?;
            let q = s.node(d.span, |g| g.div(r.id, dt.id))?;
            let q = s.node(d.span, |g| g.round(q))?;
            let k = s.node(d.span, |g| g.cast(q, DType::I64))?;
            Some(s.rt(k, Elem::Int, r.shape))
        })?;
        match value {
            PairValue::Number(x, _) => {
                let v = if clock.is_some() { Val::Real(x, Dims::TIME) } else { Val::Real(x, Dims::NONE) };
                Some((SynapseDelay::Ticks(self.ticks(&v, d.span, clock, "a delay")?), false))
            }
            PairValue::Region(g) => {
                if matches!(rule, Rule::Conv2d { .. }) {
                    self.conv_needs_kernel(d.span, "delay");
                    return None;
                }
                if clock.is_some() {
                    self.rounded(&env.place, d.span, tick / 2.0, tick, "up to ");
                }
                Some((SynapseDelay::Region { body: g, max: u32::MAX }, true))
            }
            PairValue::Tensor(data, _) => self.delay_tensor(&data, rule, s, order, d.span, tick, &env.place),
        }
    }

    fn rounded(&mut self, place: &str, span: Span, worst: f64, tick: f64, bound: &str) {
        let subject = format!("{}: delay", place.trim_end_matches('.'));
        let text = format!("rounded to the grid of {}, by {bound}{}", show_ms(tick), show_ms(worst));
        self.report(
            Diagnostic::note(codes::ROUNDED, span, format!("delays are {text}")).labelled("rounded to whole ticks"),
        );
        self.choice(subject, text);
    }

    #[allow(clippy::too_many_arguments)]
    fn delay_tensor(
        &mut self,
        data: &Tensor,
        rule: &Rule,
        s: &Shape2,
        order: Option<&[usize]>,
        span: Span,
        tick: f64,
        place: &str,
    ) -> Option<(SynapseDelay, bool)> {
        let x = data.as_slice::<f32>();
        let mut worst = 0f64;
        let mut ticks = Vec::with_capacity(x.len());
        for v in x {
            let q = f64::from(*v) / tick;
            let k = q.round_ties_even();
            worst = worst.max((q - k).abs() * tick);
            if !(0.0..=f64::from(u32::MAX / 2)).contains(&k) {
                self.report(
                    Diagnostic::error(codes::OFF_GRID, span, format!("a delay of {v} is out of range"))
                        .labelled("delays are zero or more"),
                );
                return None;
            }
            ticks.push(k as i64);
        }
        if worst > tick * 1e-5 {
            self.rounded(place, span, worst, tick, "at most ");
        }
        let shape: Vec<u64> = data.shape().iter().map(|d| *d as u64).collect();
        match s.layout(&shape, rule, order) {
            Layout::Kernel => {
                let t = Tensor::from_vec(data.shape().to_vec(), ticks)?;
                Some((SynapseDelay::Kernel(self.pool(t)), false))
            }
            Layout::PerSynapse => {
                let v: Vec<i64> = match order {
                    None => ticks,
                    Some(order) => order.iter().map(|k| ticks.get(*k).copied().unwrap_or(0)).collect(),
                };
                Some((SynapseDelay::PerSynapse(self.pool(Tensor::from_vec(vec![v.len()], v)?)), false))
            }
            Layout::Matrix { pre_major } => {
                // Picked by the pair: element [post, pre] or [pre, post] of the flat table.
                let n = ticks.len();
                let table = self.pool(Tensor::from_vec(vec![n], ticks)?);
                self.begin(Capture::Sealed);
                let i = self.region_param(Elem::Int, &[], "i");
                let j = self.region_param(Elem::Int, &[ROW], "j");
                let picked = self.pick(table, &i, &j, s, pre_major, span);
                let (g, _) = self.end(picked.iter().map(|r| r.id).collect());
                picked?;
                Some((SynapseDelay::Region { body: g, max: u32::MAX }, true))
            }
            Layout::Wrong => {
                self.wrong_layout("delay", &shape, rule, s, span);
                None
            }
        }
    }

    fn pick(
        &mut self,
        table: nc_ir::graph::ConstId,
        i: &Rt,
        j: &Rt,
        s: &Shape2,
        pre_major: bool,
        span: Span,
    ) -> Option<Rt> {
        let t = self.constant(table, Elem::Int, span)?;
        let (major, minor, stride) = if pre_major { (i, j, s.post_len()) } else { (j, i, s.pre_len()) };
        let stride = self.int(i64::try_from(stride).ok()?, span)?;
        let row = self.node(span, |g| g.mul(major.id, stride.id))?;
        let at = self.node(span, |g| g.add(row, minor.id))?;
        let v = self.node(span, |g| g.gather(t.id, at, 0))?;
        Some(self.rt(v, Elem::Int, vec![ROW]))
    }

    /// Delivers the events of a statement to a population's handler.
    pub(super) fn connect_events(
        &mut self,
        c: usize,
        p: usize,
        env: &mut Env<'a>,
        states: &[(String, Elem, bool)],
        held: Option<&Rt>,
    ) -> Option<()> {
        let model = self.pops[p].model;
        let Target::Event(_, port) = self.conns[c].target.clone() else { return None };
        let payload = model.items.iter().find_map(|i| match &i.kind {
            ast::ItemKind::On { port: n, payload, .. } if n.name == port => Some(payload.as_ref()),
            _ => None,
        })?;
        let elem = match payload {
            Some(f) => Some(self.payload_type(f, model, env)?),
            None => None,
        };
        let made = self.synapses(c, elem);
        let handler = self.handler(model, &port, env, states, held);
        let (made, entries) = made?;
        let (deliver, written, reads) = handler?;
        let span = self.conns[c].span;
        if written.is_empty() {
            self.report(
                Diagnostic::warning(
                    codes::NO_EFFECT,
                    span,
                    format!("`on {port}` of `{}` writes nothing", model.name.name),
                )
                .labelled("events have no effect"),
            );
            return Some(());
        }
        let mut ids = Vec::new();
        let mut kept = Vec::new();
        let shape = self.pops[p].shape.clone();
        for n in &written {
            let v = env.get(n).cloned().unwrap_or(Val::Poison);
            let r = self.lift(&v, span)?;
            let r = self.widened(r, &shape, span)?;
            ids.push(r.id);
            kept.push(r);
        }
        let mut read_ids = Vec::new();
        for r in &reads {
            read_ids.push(self.here(r, span)?.id);
        }
        let out = match entries.model {
            None => self.project(&made, &ids, &read_ids, deliver, span)?,
            Some(m) => self.plastic_pre(c, &made, &ids, &read_ids, deliver, m, elem)?,
        };
        for ((n, old), id) in written.iter().zip(&kept).zip(out) {
            let r = self.rt(id, old.elem, shape.clone());
            env.bind(n, Val::Rt(r));
        }
        Some(())
    }

    fn project(
        &mut self,
        made: &Made,
        states: &[ValueId],
        reads: &[ValueId],
        deliver: nc_ir::graph::Graph,
        span: Span,
    ) -> Option<Vec<ValueId>> {
        let now: Vec<ValueId> = made.now.into_iter().collect();
        let (conn, line, n, s) = (made.conn, made.line, now.len(), states.len());
        self.nodes(span, |g| g.project(&now, states, reads, conn, line, n, s, deliver))
    }

    /// Events that add their weights to a continuous port.
    pub(super) fn connect_continuous(&mut self, c: usize, acc: Option<Rt>, elem: Elem, shape: &[u64]) -> Option<Rt> {
        let span = self.conns[c].span;
        if !matches!(elem, Elem::Real(_)) {
            self.report(
                Diagnostic::error(codes::PORT, span, "a connection adds weights to a port of real numbers")
                    .labelled(format!("this port is {elem}")),
            );
            return None;
        }
        let (made, entries) = self.synapses(c, Some(elem))?;
        let acc = match acc {
            Some(a) => a,
            None => self.real(0.0, elem.dims(), span)?,
        };
        let acc = self.widened(acc, shape, span)?;
        self.begin(Capture::Scalar);
        let w = self.region_param(elem, &[], "w");
        let s = self.region_param(elem, &[], "s");
        let sum = self.node(span, |g| g.add(s.id, w.id));
        let (deliver, _) = self.end(sum.into_iter().collect());
        sum?;
        let out = match entries.model {
            None => self.project(&made, &[acc.id], &[], deliver, span)?,
            Some(m) => self.plastic_pre(c, &made, &[acc.id], &[], deliver, m, Some(elem))?,
        };
        let id = out.first().copied()?;
        Some(self.rt(id, elem, shape.to_vec()))
    }
}

/// How a tensor of weights or delays is spread over synapses.
pub(super) enum Layout {
    Kernel,
    PerSynapse,
    Matrix { pre_major: bool },
    Wrong,
}
