//! Populations: one neuron's items over a shape, in the order of a tick.
//!
//! Deliver events; integrate equations and take `next` values from the same state; keep held states; threshold unless
//! refractory; reset where it fired; count down refractory time; outputs. Others read a state's value after all of this.
//! With `hold`, a state keeps its value over the tick; the other equations see it move as if it were free.

use super::Elab;
use super::actions::Writes;
use super::codes;
use super::emit::Capture;
use super::expr::Env;
use super::net::{Demand, Slot};
use super::ports::Feed;
use super::units::Dims;
use super::value::{Elem, Rt, Ty, Val};
use crate::ast::{self, Expr, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::graph::{Method, ValueId};
use nc_ir::{DType, Diagnostic, Span, Tensor};
use rustc_hash::FxHashMap;

/// A population.
pub(super) struct Pop<'a> {
    /// The net that declares it.
    pub inst: usize,
    /// Full name.
    pub name: String,
    pub span: Span,
    pub model: &'a ast::Body,
    /// The file that declares the neuron.
    pub file: usize,
    pub shape: Vec<u64>,
    pub entries: &'a [ast::Entry],
    /// What drives each port.
    pub feeds: FxHashMap<String, Vec<Feed<'a>>>,
    pub slot: Slot,
    /// Fields that others can read.
    pub values: FxHashMap<String, Val>,
    pub params_done: bool,
}

impl<'a> Pop<'a> {
    pub fn new(
        inst: usize,
        name: String,
        span: Span,
        model: &'a ast::Body,
        file: usize,
        shape: Vec<u64>,
        entries: &'a [ast::Entry],
    ) -> Pop<'a> {
        Pop {
            inst,
            name,
            span,
            model,
            file,
            shape,
            entries,
            feeds: FxHashMap::default(),
            slot: Slot::Todo,
            values: FxHashMap::default(),
            params_done: false,
        }
    }

    /// The connections that end here, in the order of statements.
    pub fn connections(&self) -> Vec<usize> {
        let feeds = self.feeds.values().flatten();
        let mut out: Vec<usize> =
            feeds.filter_map(|f| if let Feed::Connect(c) = f { Some(*c) } else { None }).collect();
        out.sort_unstable();
        out
    }

    /// Names of its ports.
    pub fn ports(&self) -> Vec<String> {
        let names = self.model.items.iter().filter_map(|i| match &i.kind {
            ItemKind::On { port, .. } => Some(port.name.clone()),
            ItemKind::Input { name, .. } => Some(name.name.clone()),
            _ => None,
        });
        names.collect()
    }
}

/// One state of a population while its tick is written.
pub(super) struct Cell<'a> {
    pub name: &'a str,
    full: String,
    pub ty: Ty,
    span: Span,
    pub held: bool,
    ode: Option<&'a Expr>,
    next: Option<&'a Expr>,
}

/// Refractory time.
struct Refractory {
    counter: ValueId,
    full: String,
    ticks: ValueId,
    /// True while refractory.
    held: Rt,
    span: Span,
}

impl<'a> Elab<'a> {
    /// Where expressions of a neuron stand, with its parameters.
    pub(super) fn pop_env(&self, p: usize) -> Env<'a> {
        let pop = &self.pops[p];
        let mut env = Env::file(pop.file);
        env.body = Some(pop.model);
        env.clock = self.insts.get(pop.inst).and_then(|i| i.clock);
        env.place = format!("{}.", pop.name);
        env.noise = Some(pop.shape.clone());
        env
    }

    /// Computes a population, once.
    pub(super) fn pop(&mut self, p: usize, span: Span) {
        let name = self.pops[p].name.clone();
        match self.pops[p].slot {
            Slot::Done(_) => return,
            Slot::Busy => {
                self.cycle(&name, span);
                return;
            }
            Slot::Todo => {}
        }
        if !self.enter(span) {
            return;
        }
        self.pops[p].slot = Slot::Busy;
        self.demands.push(Demand { name, span: self.pops[p].span });
        let regions = std::mem::take(&mut self.frames);
        self.check_body(self.pops[p].model, true);
        let done = self.build_pop(p);
        self.frames = regions;
        self.demands.pop();
        self.leave();
        self.pops[p].slot = Slot::Done(if done.is_some() { Val::Pop(p) } else { Val::Poison });
    }

    /// The element type of a field, without computing the population.
    pub(super) fn pop_field_type(&mut self, p: usize, field: &str) -> Option<Elem> {
        let model = self.pops[p].model;
        let mut env = self.pop_env(p);
        for item in &model.items {
            match &item.kind {
                ItemKind::Threshold(_) if field == "spike" => return Some(Elem::Bool),
                ItemKind::State { name, ty, .. } if name.name == field => {
                    return Some(self.declared(ty, &mut env)?.elem);
                }
                ItemKind::Output { name, ty: Some(ty), .. } if name.name == field => {
                    return Some(self.declared(ty, &mut env)?.elem);
                }
                _ => {}
            }
        }
        None
    }

    /// A field of a population: `spike`, a state, output, input or parameter.
    pub(super) fn pop_value(&mut self, p: usize, field: &str, span: Span) -> Val {
        self.pop(p, span);
        if let Some(v) = self.pops[p].values.get(field) {
            return v.clone();
        }
        if matches!(self.pops[p].slot, Slot::Done(Val::Poison) | Slot::Busy) {
            return Val::Poison;
        }
        let pop = &self.pops[p];
        let mut known: Vec<&str> = pop.values.keys().map(String::as_str).collect();
        known.sort_unstable();
        let model = &pop.model.name.name;
        let mut d = if field == "spike" {
            Diagnostic::error(codes::NO_SPIKES, span, format!("`{}` has no threshold and so no spikes", pop.name))
                .labelled("never fires")
                .with_label(pop.model.name.span, format!("`{model}` has no `threshold`"))
        } else {
            Diagnostic::error(codes::UNKNOWN_NAME, span, format!("`{model}` has no `{field}`"))
                .labelled("unknown field")
        };
        d.hint = Some(match nearest(field, known.iter().copied()) {
            Some(n) => format!("did you mean `{n}`?"),
            None => format!("it has {}", known.join(", ")),
        });
        self.report(d);
        Val::Poison
    }

    /// `base.name`.
    pub(super) fn field(&mut self, base: Val, base_span: Span, name: &'a ast::Ident, env: &mut Env<'a>) -> Val {
        match base {
            Val::Poison => Val::Poison,
            Val::Pop(p) => self.pop_value(p, &name.name, name.span),
            Val::Sub(s) => match self.net_name(s, name) {
                Some(v) => v,
                None => {
                    let i = &self.insts[s];
                    let known: Vec<&str> = i.entities.iter().map(|e| e.name.name.as_str()).collect();
                    let mut d = Diagnostic::error(
                        codes::UNKNOWN_NAME,
                        name.span,
                        format!("`{}` has no `{}`", i.net.name.name, name.name),
                    )
                    .labelled("unknown name");
                    d.hint = nearest(&name.name, known).map(|n| format!("did you mean `{n}`?"));
                    self.report(d);
                    Val::Poison
                }
            },
            Val::Side(post) => self.side_field(post, name, env),
            Val::Conn(c) => self.conn_field(c, name),
            other => {
                self.report(
                    Diagnostic::error(codes::UNKNOWN_NAME, base_span, format!("{} has no fields", other.describe()))
                        .labelled("no fields"),
                );
                Val::Poison
            }
        }
    }

    fn build_pop(&mut self, p: usize) -> Option<()> {
        let model = self.pops[p].model;
        let shape = self.pops[p].shape.clone();
        self.pop_params(p);
        let mut env = self.pop_env(p);
        for item in &model.items {
            if let ItemKind::Param { name, .. } = &item.kind {
                let v = self.pops[p].values.get(&name.name).cloned().unwrap_or(Val::Poison);
                env.bind(&name.name, v);
            }
        }
        for item in &model.items {
            if let ItemKind::Input { name, ty } = &item.kind {
                let full = format!("{}.{}", self.pops[p].name, name.name);
                let feeds = self.pops[p].feeds.get(&name.name).cloned().unwrap_or_default();
                let v = match self.cell_type(ty, &mut env) {
                    Some(t) => {
                        self.port_sum(&full, &feeds, t.elem, &shape, self.pops[p].span).map_or(Val::Poison, Val::Rt)
                    }
                    None => Val::Poison,
                };
                env.bind(&name.name, v.clone());
                self.pops[p].values.insert(name.name.clone(), v);
            }
        }
        let cells = self.cells(p, &mut env, &shape);
        let refractory = self.refractory(p, &mut env, &shape)?;
        let held = refractory.as_ref().map(|r| r.held.clone());
        self.deliver(p, &mut env, &cells, held.as_ref())?;
        self.check_handlers(p, &env, &cells, held.as_ref());
        self.dynamics(p, &mut env, &cells, held.as_ref(), &shape)?;
        let fired = self.fire(p, &mut env, &cells, refractory, &shape)?;
        self.commit(p, &mut env, &cells, fired, &shape)
    }

    /// Declares the states and binds their values before the tick.
    fn cells(&mut self, p: usize, env: &mut Env<'a>, shape: &[u64]) -> Vec<Cell<'a>> {
        let model = self.pops[p].model;
        let mut out = Vec::new();
        let initial = env.clone();
        for item in &model.items {
            let ItemKind::State { name, ty, init } = &item.kind else { continue };
            let full = format!("{}.{}", self.pops[p].name, name.name);
            let Some(t) = self.cell_type(ty, env) else {
                env.bind(&name.name, Val::Poison);
                continue;
            };
            let (e, at) = self.pop_entry(p, &name.name).unwrap_or((init, initial.clone()));
            let v = self.declare_state(&full, &t, shape, e, at, name.span).map_or(Val::Poison, Val::Rt);
            env.bind(&name.name, v);
            let find = |ode: bool| {
                model.items.iter().find_map(|i| match &i.kind {
                    ItemKind::Ode { name: n, value } if ode && n.name == name.name => Some(value),
                    ItemKind::Next { name: n, value } if !ode && n.name == name.name => Some(value),
                    _ => None,
                })
            };
            let held = model.items.iter().any(
                |i| matches!(&i.kind, ItemKind::Refractory { hold, .. } if hold.iter().any(|h| h.name == name.name)),
            );
            out.push(Cell { name: &name.name, full, ty: t, span: name.span, held, ode: find(true), next: find(false) });
        }
        out
    }

    /// The countdown of refractory ticks. `Some(None)` if there is none.
    #[allow(clippy::option_option)]
    fn refractory(&mut self, p: usize, env: &mut Env<'a>, shape: &[u64]) -> Option<Option<Refractory>> {
        let model = self.pops[p].model;
        let Some((duration, hold, span)) = model.items.iter().find_map(|i| match &i.kind {
            ItemKind::Refractory { duration, hold } => Some((duration, hold, i.span)),
            _ => None,
        }) else {
            return Some(None);
        };
        for h in hold {
            let states: Vec<&str> = model
                .items
                .iter()
                .filter_map(
                    |i| if let ItemKind::State { name, .. } = &i.kind { Some(name.name.as_str()) } else { None },
                )
                .collect();
            if !states.contains(&h.name.as_str()) {
                let mut d = Diagnostic::error(codes::UNKNOWN_NAME, h.span, format!("`{}` is not a state", h.name))
                    .labelled("cannot be held");
                d.hint = nearest(&h.name, states.iter().copied()).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
            }
        }
        let v = self.eval(duration, env);
        if v.is_poison() {
            return None;
        }
        if self.dry {
            if let Some((_, d)) = v.number()
                && d != Dims::TIME
                && !d.is_none()
            {
                self.wrong_type(&v, Elem::Real(Dims::TIME), duration.span, "a refractory period");
            }
            return Some(None);
        }
        let full = format!("{}.refractory", self.pops[p].name);
        let table = match &v {
            Val::Rt(r) if !r.shape.is_empty() && r.host.is_some() => {
                let host = r.host.clone()?;
                let mut ticks = Vec::with_capacity(host.len());
                for k in 0..host.len() {
                    let one = Val::Real(host.get_f64(k), r.elem.dims());
                    ticks.push(self.ticks(&one, duration.span, env.clock, "a refractory period")? as i32);
                }
                Tensor::from_vec(host.shape().to_vec(), ticks)?
            }
            _ => {
                let k = self.ticks(&v, duration.span, env.clock, "a refractory period")?;
                if k == 0 {
                    self.choice(full, "no refractory ticks");
                    return Some(None);
                }
                Tensor::from_vec(Vec::new(), vec![k as i32])?
            }
        };
        let counter = self.add_state(&full, Elem::Int, shape, DType::I32, None)?.id;
        let ticks = self.pool(table);
        let ticks = self.node(span, |g| g.constant(ticks))?;
        let zero = self.pool(Tensor::from_vec(Vec::new(), vec![0i32])?);
        let zero = self.node(span, |g| g.constant(zero))?;
        let held = self.node(span, |g| g.gt(counter, zero))?;
        let held = self.rt(held, Elem::Bool, shape.to_vec());
        Some(Some(Refractory { counter, full, ticks, held, span }))
    }

    /// Integrates all equations and takes all `next` values from the same state.
    fn dynamics(
        &mut self,
        p: usize,
        env: &mut Env<'a>,
        cells: &[Cell<'a>],
        held: Option<&Rt>,
        shape: &[u64],
    ) -> Option<()> {
        let model = self.pops[p].model;
        let mut new: Vec<(usize, Rt)> = Vec::new();
        let mut ok = true;
        for (k, c) in cells.iter().enumerate() {
            let Some(e) = c.next else { continue };
            let v = self.eval(e, env);
            let r = self.coerce_to(&v, c.ty.elem, shape, e.span, &format!("the next value of `{}`", c.name));
            match r.and_then(|r| self.widened(r, shape, e.span)) {
                Some(r) => new.push((k, r)),
                None => ok = false,
            }
        }
        let odes: Vec<usize> = (0..cells.len()).filter(|k| cells[*k].ode.is_some()).collect();
        let solve = model.items.iter().find_map(|i| if let ItemKind::Solve(c) = &i.kind { Some(c) } else { None });
        let (method, substeps) = match solve {
            Some(call) => self.method(call, env)?,
            None => (Method::Auto, 1),
        };
        if !odes.is_empty() {
            let span = cells[odes[0]].ode.map_or(Span::default(), |e| e.span);
            let dt = match env.clock {
                Some(dt) => dt,
                None if self.dry => 1.0,
                None => {
                    self.report(
                        Diagnostic::error(
                            codes::NO_CLOCK,
                            self.pops[p].span,
                            format!("`{}` has equations but the net has no clock", model.name.name),
                        )
                        .labelled("needs `clock`")
                        .with_label(span, "an equation")
                        .with_hint("add `clock 0.1 ms` to the net"),
                    );
                    return None;
                }
            };
            let stepped = self.integrate(env, cells, &odes, shape, (method, substeps, dt), span)?;
            new.extend(odes.iter().copied().zip(stepped));
        } else if let Some(call) = solve {
            self.report(
                Diagnostic::warning(codes::SOLVE_UNUSED, call.span, "there is nothing to solve")
                    .labelled("this neuron has no equations"),
            );
        }
        for (k, r) in new {
            let c = &cells[k];
            let r = match (held, c.held, env.get(c.name)) {
                (Some(h), true, Some(Val::Rt(old))) => {
                    let old = old.clone();
                    self.select(h, &old, &r, c.span)?
                }
                _ => r,
            };
            env.bind(c.name, Val::Rt(r));
        }
        ok.then_some(())
    }

    fn integrate(
        &mut self,
        env: &mut Env<'a>,
        cells: &[Cell<'a>],
        odes: &[usize],
        shape: &[u64],
        (method, substeps, dt): (Method, u32, f64),
        span: Span,
    ) -> Option<Vec<Rt>> {
        let mut states = Vec::new();
        for k in odes {
            let v = env.get(cells[*k].name).cloned().unwrap_or(Val::Poison);
            let r = self.lift(&v, cells[*k].span)?;
            states.push(self.widened(r, shape, cells[*k].span)?.id);
        }
        self.begin(Capture::Whole);
        let mut inner = env.clone();
        for k in odes {
            let r = self.region_param(cells[*k].ty.elem, shape, cells[*k].name);
            inner.bind(cells[*k].name, Val::Rt(r));
        }
        let mut results = Vec::new();
        let mut ok = true;
        for k in odes {
            let c = &cells[*k];
            let Some(e) = c.ode else { continue };
            let elem = c.ty.elem;
            let Some(rate) = elem.dims().over(Dims::TIME).filter(|_| matches!(elem, Elem::Real(_))) else {
                self.report(
                    Diagnostic::error(
                        codes::TYPE,
                        c.span,
                        format!("`{}` is not a real number and has no derivative", c.name),
                    )
                    .labelled("here"),
                );
                ok = false;
                continue;
            };
            let v = self.eval(e, &mut inner);
            let r = self.coerce_to(&v, Elem::Real(rate), shape, e.span, &format!("the derivative of `{}`", c.name));
            match r.and_then(|r| self.widened(r, shape, e.span)) {
                Some(r) => results.push(r.id),
                None => ok = false,
            }
        }
        let (rhs, captured) = self.end(results);
        if !ok {
            return None;
        }
        let mut reads = Vec::new();
        for c in &captured {
            reads.push(self.here(c, span)?.id);
        }
        let dt = Elab::dt_attr(dt);
        let count = states.len();
        let out = self.nodes(span, |g| g.integrate(&states, &reads, method, dt, substeps, count, rhs))?;
        Some(out.into_iter().zip(odes).map(|(id, k)| self.rt(id, cells[*k].ty.elem, shape.to_vec())).collect())
    }

    fn method(&mut self, call: &'a ast::Call, env: &mut Env<'a>) -> Option<(Method, u32)> {
        let name = call.name.name.as_str();
        let Some(method) = Method::ALL.iter().copied().find(|m| m.name() == name) else {
            let mut d = Diagnostic::error(codes::UNKNOWN_NAME, call.name.span, format!("there is no solver `{name}`"))
                .labelled("unknown solver");
            d.hint = Some(match nearest(name, Method::ALL.iter().map(|m| m.name())) {
                Some(n) => format!("did you mean `{n}`?"),
                None => "known are exact, exp_euler, euler, rk4 and auto".into(),
            });
            self.report(d);
            return None;
        };
        let mut substeps = 1;
        for a in &call.args {
            let named = a.name.as_ref().is_none_or(|n| n.name == "substeps");
            if !named || method != Method::Rk4 && method != Method::Euler {
                self.report(
                    Diagnostic::error(codes::ARGUMENTS, a.span, format!("`{name}` does not take this argument"))
                        .labelled("`rk4` and `euler` take `substeps`"),
                );
                return None;
            }
            let n = self.eval_int(&a.value, env, "`substeps`")?;
            match u32::try_from(n) {
                Ok(n) if (1..=1000).contains(&n) => substeps = n,
                _ => {
                    self.report(
                        Diagnostic::error(codes::ARGUMENTS, a.span, "`substeps` lies between 1 and 1000")
                            .labelled(format!("this is {n}")),
                    );
                    return None;
                }
            }
        }
        Some((method, substeps))
    }

    /// Threshold, reset and the refractory countdown. Gives the spikes.
    #[allow(clippy::option_option)]
    fn fire(
        &mut self,
        p: usize,
        env: &mut Env<'a>,
        cells: &[Cell<'a>],
        refractory: Option<Refractory>,
        shape: &[u64],
    ) -> Option<Option<Rt>> {
        let model = self.pops[p].model;
        let Some(cond) =
            model.items.iter().find_map(|i| if let ItemKind::Threshold(e) = &i.kind { Some(e) } else { None })
        else {
            return Some(None);
        };
        let v = self.eval(cond, env);
        let c = self.truth_value(&v, cond.span)?;
        let c = self.widened(c, shape, cond.span)?;
        let fired = match &refractory {
            None => c.id,
            Some(r) => {
                let free = self.node(cond.span, |g| g.not(r.held.id))?;
                self.node(cond.span, |g| g.and(c.id, free))?
            }
        };
        let name = format!("{}.spike", self.pops[p].name);
        self.name_value(fired, &name);
        let fired = self.rt(fired, Elem::Bool, shape.to_vec());
        if let Some(body) =
            model.items.iter().find_map(|i| if let ItemKind::Reset(b) = &i.kind { Some(b) } else { None })
        {
            let before = env.clone();
            let states: Vec<(String, Elem)> = cells.iter().map(|c| (c.name.to_string(), c.ty.elem)).collect();
            let mut w = Writes { states, emitted: None, place: "`reset`" };
            let ok = self.run_actions(body, env, &mut w);
            for n in super::actions::assigned(body) {
                if let (Some(Val::Rt(new)), Some(Val::Rt(old))) = (env.get(n).cloned(), before.get(n).cloned()) {
                    let r = self.select(&fired, &new, &old, cond.span)?;
                    env.bind(n, Val::Rt(r));
                }
            }
            if !ok {
                return None;
            }
        }
        if let Some(r) = refractory {
            // The counter is never below 0, so that taking 1 from where it is above 0 is the countdown.
            let running = self.node(r.span, |g| g.cast(r.held.id, DType::I32))?;
            let down = self.node(r.span, |g| g.sub(r.counter, running))?;
            let next = self.node(r.span, |g| g.select(fired.id, r.ticks, down))?;
            self.set_next(&r.full, next);
        }
        Some(Some(fired))
    }

    /// Stores the states, runs what learns from the spikes, and computes outputs.
    fn commit(
        &mut self,
        p: usize,
        env: &mut Env<'a>,
        cells: &[Cell<'a>],
        fired: Option<Rt>,
        shape: &[u64],
    ) -> Option<()> {
        let model = self.pops[p].model;
        let mut ok = true;
        for c in cells {
            let v = env.get(c.name).cloned().unwrap_or(Val::Poison);
            let done = self.lift(&v, c.span).and_then(|r| self.widened(r, shape, c.span)).and_then(|r| {
                let raw = self.restore(r, &c.ty, c.span)?;
                Some((raw.clone(), self.unstore(raw, &c.ty, c.span)?))
            });
            let Some((raw, read)) = done else {
                ok = false;
                env.bind(c.name, Val::Poison);
                self.pops[p].values.insert(c.name.to_string(), Val::Poison);
                continue;
            };
            self.set_next(&c.full, raw.id);
            self.name_value(read.id, &c.full);
            env.bind(c.name, Val::Rt(read.clone()));
            self.pops[p].values.insert(c.name.to_string(), Val::Rt(read));
        }
        if let Some(f) = &fired {
            self.pops[p].values.insert("spike".into(), Val::Rt(f.clone()));
            self.learn_post(p, f);
        } else {
            self.refuse_post(p);
        }
        for item in &model.items {
            if let ItemKind::Output { name, ty, value } = &item.kind {
                let v = self.eval(value, env);
                let what = format!("the output `{}`", name.name);
                let r = match ty {
                    Some(ty) => {
                        let t = self.cell_type(ty, env);
                        t.and_then(|t| self.coerce_to(&v, t.elem, shape, value.span, &what))
                    }
                    None => self.lift(&v, value.span),
                };
                let r = r.and_then(|r| self.widened(r, shape, value.span));
                let v = match r {
                    Some(r) => {
                        let full = format!("{}.{}", self.pops[p].name, name.name);
                        self.name_value(r.id, &full);
                        Val::Rt(r)
                    }
                    None => {
                        ok = false;
                        Val::Poison
                    }
                };
                self.pops[p].values.insert(name.name.clone(), v);
            }
        }
        ok.then_some(())
    }

    /// Checks what no net uses: neurons, synapses, and nets whose parameters have defaults. Files are not read for them.
    pub(super) fn check_unused(&mut self) {
        let used: Vec<(usize, *const ast::Body)> =
            self.pops.iter().map(|p| (p.file, std::ptr::from_ref(p.model))).collect();
        let sources = self.sources;
        let module = std::mem::take(&mut self.m);
        let lines = std::mem::take(&mut self.lines);
        let consts = std::mem::take(&mut self.step_consts);
        let literals = std::mem::take(&mut self.literals);
        self.dry = true;
        self.frames.clear();
        self.demands.clear();
        for (r, d) in sources.own(0) {
            match d {
                super::names::Decl::Neuron(b) if !used.contains(&(r.file, std::ptr::from_ref(b))) => {
                    let p = self.pops.len();
                    self.pops.push(Pop::new(usize::MAX, b.name.name.clone(), b.name.span, b, r.file, vec![1], &[]));
                    self.pop(p, b.name.span);
                }
                super::names::Decl::Synapse(b) => self.check_body(b, false),
                super::names::Decl::Net(n)
                    if !self.insts.iter().any(|i| std::ptr::eq(i.net, n))
                        && n.params.iter().all(|p| p.default.is_some()) =>
                {
                    let made = self.instantiate(n, r.file, String::new(), None, Vec::new(), &[], n.name.span);
                    if let Some(inst) = made {
                        self.elaborate(inst);
                    }
                }
                _ => {}
            }
        }
        self.dry = false;
        self.m = module;
        self.lines = lines;
        self.step_consts = consts;
        self.literals = literals;
    }
}

/// Names, types and whether they are held.
pub(super) fn cell_states(cells: &[Cell<'_>]) -> Vec<(String, Elem, bool)> {
    cells.iter().map(|c| (c.name.to_string(), c.ty.elem, c.held)).collect()
}
