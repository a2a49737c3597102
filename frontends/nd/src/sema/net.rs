//! Instances of nets: what their names stand for, and the order in which they are computed.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::fold::Places;
use super::names::{Decl, twice};
use super::ports::Feed;
use super::value::{Elem, Loaded, Rt, Ty, Val};
use crate::ast::{self, Expr, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::graph::{ConstId, State, ValueId};
use nc_ir::{DType, Diagnostic, Span, Tensor};
use rustc_hash::FxHashMap;

/// What a name of a net stands for.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// A parameter in parentheses; its value is in the slot from the start.
    Dim,
    Const(&'a ast::Const),
    Param(&'a ast::Type, Option<&'a Expr>),
    State(&'a ast::Type, &'a Expr),
    Input(&'a ast::Type),
    Output(Option<&'a ast::Type>, &'a Expr),
    /// The k-th name of a `let`.
    Let(&'a [ast::Ident], &'a Expr, usize),
    File(&'a str),
    Pop(usize),
    Sub(usize),
    Conn(usize),
}

/// How far a definition has been computed.
#[derive(Clone)]
pub(super) enum Slot {
    Todo,
    Busy,
    Done(Val),
}

/// A name of a net.
pub(super) struct Entity<'a> {
    pub kind: Kind<'a>,
    pub name: &'a ast::Ident,
    pub slot: Slot,
}

/// One instance of a net.
pub(super) struct Inst<'a> {
    /// What names begin with: empty, or `l1.`.
    pub prefix: String,
    pub net: &'a ast::Net,
    pub file: usize,
    /// Milliseconds per tick.
    pub clock: Option<f64>,
    pub names: FxHashMap<String, usize>,
    pub entities: Vec<Entity<'a>>,
    /// What drives each input.
    pub feeds: FxHashMap<String, Vec<Feed<'a>>>,
    /// Values of parameters and states, given where the net is instantiated.
    pub entries: &'a [ast::Entry],
    pub parent: Option<usize>,
    pub depth: usize,
}

/// A definition that waits for another.
pub(super) struct Demand {
    pub name: String,
    pub span: Span,
}

impl<'a> Elab<'a> {
    /// Checks the file and writes the model.
    pub(super) fn run(&mut self) {
        let Some((file, net)) = self.main_net() else {
            self.check_unused();
            return;
        };
        self.m.name = net.name.name.clone();
        let dims: Vec<(String, Val, Span)> =
            self.options.dims.iter().map(|(n, v)| (n.clone(), Val::Int(*v), Span::default())).collect();
        if let Some(inst) = self.instantiate(net, file, String::new(), None, dims, &[], net.name.span) {
            for (name, _) in &self.options.dims {
                if !self.used_dims.contains(name) {
                    let known: Vec<&str> = net.params.iter().map(|p| p.name.name.as_str()).collect();
                    let mut d = Diagnostic::error_nowhere(
                        codes::NO_DIM,
                        format!("`{}` has no parameter `{name}`", net.name.name),
                    );
                    d.hint = nearest(name, known.iter().copied()).map(|n| format!("did you mean `--dim {n}=..`?"));
                    self.report(d);
                }
            }
            self.elaborate(inst);
            self.finish(inst);
        }
        self.check_unused();
    }

    /// The net to compile: the one asked for, or the last of the main file that no other net of it instantiates.
    fn main_net(&mut self) -> Option<(usize, &'a ast::Net)> {
        let sources = self.sources;
        let nets: Vec<&'a ast::Net> =
            sources.own(0).filter_map(|(_, d)| if let Decl::Net(n) = d { Some(n) } else { None }).collect();
        if let Some(want) = &self.options.net {
            if let Some((r, Decl::Net(n))) = sources.find(0, want) {
                return Some((r.file, n));
            }
            let near = nearest(want, nets.iter().map(|n| n.name.name.as_str()));
            let mut d = Diagnostic::error_nowhere(codes::NO_NET, format!("there is no net `{want}`"));
            d.hint = near.map(|n| format!("did you mean `{n}`?"));
            self.report(d);
            return None;
        }
        let used: Vec<&str> = nets
            .iter()
            .flat_map(|n| &n.items)
            .filter_map(|i| if let ItemKind::Sub { net, .. } = &i.kind { Some(net.name.name.as_str()) } else { None })
            .collect();
        let main = nets.iter().rev().find(|n| !used.contains(&n.name.name.as_str())).or(nets.last()).copied();
        if main.is_none() {
            let span = self.sources.files.first().map_or(Span::default(), |f| f.ast.span);
            let at = Span { end: span.start, ..span };
            self.report(
                Diagnostic::error(codes::NO_NET, at, "this file has no net to compile")
                    .with_hint("write `net Name { .. }`, or compile the file that imports this one"),
            );
        }
        main.map(|n| (0, n))
    }

    /// Where expressions of a net's body stand.
    pub(super) fn net_env(&self, inst: usize) -> Env<'a> {
        let mut env = Env::file(self.insts.get(inst).map_or(0, |i| i.file));
        env.inst = Some(inst);
        env.ticks = true;
        env.noise = Some(Vec::new());
        if let Some(i) = self.insts.get(inst) {
            env.clock = i.clock;
            env.place.clone_from(&i.prefix);
        }
        env
    }

    /// What a name of a net stands for, or `None` if it has no such name.
    pub(super) fn net_name(&mut self, inst: usize, name: &ast::Ident) -> Option<Val> {
        let k = *self.insts.get(inst)?.names.get(&name.name)?;
        Some(self.entity(inst, k, name.span))
    }

    /// The value of a definition, computed now if need be.
    pub(super) fn entity(&mut self, inst: usize, k: usize, span: Span) -> Val {
        let Some(e) = self.insts.get(inst).and_then(|i| i.entities.get(k)) else { return Val::Poison };
        let (kind, name) = (e.kind, e.name);
        let full = format!("{}{}", self.insts[inst].prefix, name.name);
        match &e.slot {
            Slot::Done(v) => return v.clone(),
            Slot::Busy => {
                self.cycle(&full, span);
                return Val::Poison;
            }
            Slot::Todo => {}
        }
        if !self.enter(span) {
            return Val::Poison;
        }
        self.insts[inst].entities[k].slot = Slot::Busy;
        if let Kind::Let(names, ..) = kind {
            for n in names {
                let i = &mut self.insts[inst];
                if let Some(e) = i.names.get(&n.name).and_then(|k| i.entities.get_mut(*k))
                    && matches!(e.slot, Slot::Todo)
                {
                    e.slot = Slot::Busy;
                }
            }
        }
        self.demands.push(Demand { name: full.clone(), span: name.span });
        let regions = std::mem::take(&mut self.frames);
        let v = self.compute(inst, kind, name, &full);
        self.frames = regions;
        self.demands.pop();
        self.leave();
        if let Kind::Let(names, _, at) = kind
            && names.len() > 1
        {
            return self.spread(inst, names, at, v);
        }
        self.insts[inst].entities[k].slot = Slot::Done(v.clone());
        v
    }

    /// Gives each name of a `let a, b = ..` its part.
    fn spread(&mut self, inst: usize, names: &'a [ast::Ident], at: usize, v: Val) -> Val {
        let parts: Vec<Val> = match v {
            Val::Tuple(parts) if parts.len() == names.len() => parts.into_iter().map(Val::Rt).collect(),
            Val::List(parts) if parts.len() == names.len() => parts,
            Val::Poison => vec![Val::Poison; names.len()],
            other => {
                let span = names.first().map_or(Span::default(), |n| n.span);
                self.report(
                    Diagnostic::error(
                        codes::ARGUMENTS,
                        span,
                        format!("{} names for {}", names.len(), other.describe()),
                    )
                    .labelled("the numbers differ"),
                );
                vec![Val::Poison; names.len()]
            }
        };
        let mut out = Val::Poison;
        for (k, (n, part)) in names.iter().zip(parts).enumerate() {
            if k == at {
                out = part.clone();
            }
            if let Some(e) = self.insts[inst].names.get(&n.name).copied() {
                let slot = &mut self.insts[inst].entities[e].slot;
                if !matches!(slot, Slot::Done(_)) {
                    *slot = Slot::Done(part);
                }
            }
        }
        out
    }

    /// Reports a cycle of definitions that closes at `name`, in the direction in which values flow.
    pub(super) fn cycle(&mut self, name: &str, span: Span) {
        let from = self.demands.iter().position(|d| d.name == name).unwrap_or(0);
        let mut path: Vec<&str> = self.demands[from..].iter().map(|d| d.name.as_str()).collect();
        path.reverse();
        let mut text = vec![name];
        text.extend(path);
        let mut d =
            Diagnostic::error(codes::ZERO_DELAY_CYCLE, span, format!("a cycle without delay: {}", text.join(" -> ")))
                .labelled("this needs its own result of the same tick")
                .with_hint("give one connection on the cycle a delay of at least one tick, or read a `state`");
        for step in &self.demands[from..] {
            d = d.with_label(step.span, format!("`{}` is part of the cycle", step.name));
        }
        self.report(d);
    }

    fn compute(&mut self, inst: usize, kind: Kind<'a>, name: &'a ast::Ident, full: &str) -> Val {
        let mut env = self.net_env(inst);
        match kind {
            Kind::Dim | Kind::Pop(_) | Kind::Sub(_) => Val::Poison,
            Kind::Conn(c) => Val::Conn(c),
            Kind::File(path) => Val::File(path.to_string()),
            Kind::Const(c) => {
                env.ticks = false;
                env.noise = None;
                let v = self.eval(&c.value, &mut env);
                let v = match &c.ty {
                    Some(ty) => self.declared_const(v, ty, c.value.span, &mut env),
                    None => v,
                };
                match v {
                    Val::Rt(_) | Val::Array(_) | Val::Tuple(_) => {
                        self.report(
                            Diagnostic::error(
                                codes::NOT_CONST,
                                c.value.span,
                                format!("the constant `{}` is not known at compile time", c.name.name),
                            )
                            .labelled(v.describe())
                            .with_hint("use `let` or `param`"),
                        );
                        Val::Poison
                    }
                    v => v,
                }
            }
            Kind::Param(ty, value) => self.net_param(inst, name, ty, value, full).map_or(Val::Poison, Val::Rt),
            Kind::State(ty, init) => self.net_state(inst, name, ty, init, full).map_or(Val::Poison, Val::Rt),
            Kind::Input(ty) => self.net_input(inst, name, ty, full).map_or(Val::Poison, Val::Rt),
            Kind::Output(ty, value) => self.net_output(inst, name, ty, value, full).map_or(Val::Poison, Val::Rt),
            Kind::Let(names, value, _) => {
                let v = self.eval(value, &mut env);
                match &v {
                    Val::Rt(r) if names.len() == 1 => {
                        let id = r.id;
                        self.name_value(id, full);
                    }
                    Val::Tuple(parts) if parts.len() == names.len() => {
                        let prefix = self.insts[inst].prefix.clone();
                        for (p, n) in parts.clone().iter().zip(names) {
                            self.name_value(p.id, &format!("{prefix}{}", n.name));
                        }
                    }
                    _ => {}
                }
                v
            }
        }
    }

    /// The expression that an instance's entries give for a name, and where it stands.
    fn entry(&self, inst: usize, name: &str) -> Option<(&'a Expr, Env<'a>)> {
        let i = self.insts.get(inst)?;
        let e = i.entries.iter().find(|e| e.path.text() == name)?;
        Some((&e.value, self.net_env(i.parent?)))
    }

    /// A value that the host sets, as an array.
    pub(super) fn host_value(&mut self, full: &str) -> Option<Loaded> {
        let (_, data) = self.options.params.iter().find(|(n, _)| n == full)?;
        self.used_params.insert(full.to_string());
        Some(Loaded { file: "the host".into(), name: full.to_string(), data: data.clone() })
    }

    fn net_param(
        &mut self,
        inst: usize,
        name: &'a ast::Ident,
        ty: &'a ast::Type,
        value: Option<&'a Expr>,
        full: &str,
    ) -> Option<Rt> {
        let mut env = self.net_env(inst);
        let t = self.declared(ty, &mut env)?;
        let data = if let Some(host) = self.host_value(full) {
            self.conform(&host, &t, name.span)?
        } else {
            let (e, mut env) = match (self.entry(inst, &name.name), value) {
                (Some(given), _) => given,
                (None, Some(e)) => (e, env),
                (None, None) if self.dry => {
                    let zero = Tensor::zeros(t.elem.dtype(), Vec::new());
                    let id = self.m.add_const(full, zero);
                    let rt = self.constant(id, t.elem, name.span)?;
                    return self.widened(rt, &t.shape, name.span);
                }
                (None, None) => {
                    let main = self.insts[inst].parent.is_none();
                    let d = Diagnostic::error(codes::NO_VALUE, name.span, format!("the param `{full}` has no value"))
                        .labelled("no default");
                    self.report(d.with_hint(if main {
                        "write `= f[\"array\"]`, or let the host set it"
                    } else {
                        "give it where the net is instantiated: `sub .. { name = value }`"
                    }));
                    return None;
                }
            };
            env.place = format!("{full}.");
            env.noise = None;
            env.ticks = false;
            self.fold(e, &mut env, &t, Places::Elements(&t.shape), &format!("`{full}`"))?
        };
        let scalar = data.shape().is_empty() && !t.shape.is_empty();
        let rt = self.stored_param(full, data, &t, name.span)?;
        if !scalar {
            return Some(rt);
        }
        let host = rt.scalar().and_then(|x| {
            let n: u64 = t.shape.iter().product();
            // Beyond this size the repeated value is not worth keeping at compile time.
            (matches!(t.elem, Elem::Real(_)) && n <= 1 << 24).then(|| vec![x as f32; n as usize])
        });
        let wide = self.widened(rt, &t.shape, name.span)?;
        let shape = t.shape.iter().map(|d| *d as usize).collect();
        Some(Rt { host: host.and_then(|h| Tensor::from_vec(shape, h)), ..wide })
    }

    fn net_state(
        &mut self,
        inst: usize,
        name: &'a ast::Ident,
        ty: &'a ast::Type,
        init: &'a Expr,
        full: &str,
    ) -> Option<Rt> {
        let mut env = self.net_env(inst);
        let t = self.declared(ty, &mut env)?;
        let (e, env) = self.entry(inst, &name.name).unwrap_or((init, env));
        self.declare_state(full, &t, &t.shape.clone(), e, env, name.span)
    }

    /// Declares a state of a net or neuron: its value before the tick.
    pub(super) fn declare_state(
        &mut self,
        full: &str,
        t: &Ty,
        shape: &[u64],
        init: &'a Expr,
        mut env: Env<'a>,
        span: Span,
    ) -> Option<Rt> {
        self.check_state_storage(t, span)?;
        env.place = format!("{full}.");
        env.noise = None;
        env.ticks = false;
        let data = self.fold(init, &mut env, t, Places::Elements(shape), &format!("the initial value of `{full}`"))?;
        let data = Elab::stored_init(&data, t)?;
        let init = self.pool(data);
        let raw = self.add_state(full, t.elem, shape, Elab::state_dtype(t), Some(init))?;
        if t.sparse {
            self.m.sparse.push(full.to_string());
        }
        if t.storage.is_some() {
            self.choice(full, format!("kept as {}", Elab::state_dtype(t)));
        }
        self.unstore(raw, t, span)
    }

    /// Adds a state to the module; it keeps its value until [`Elab::set_next`].
    pub(super) fn add_state(
        &mut self,
        full: &str,
        elem: Elem,
        shape: &[u64],
        dtype: DType,
        init: Option<ConstId>,
    ) -> Option<Rt> {
        let init = match init {
            Some(c) => c,
            None => self.pool(Tensor::zeros(dtype, Vec::new())),
        };
        let ty = super::emit::tensor_type(dtype, shape);
        let id = self.m.graph.add_param(ty, full);
        self.states.insert(full.to_string(), self.m.states.len());
        self.m.states.push(State { name: full.to_string(), read: id, next: id, init });
        Some(Rt { id, frame: 0, elem, shape: shape.to_vec(), konst: None, host: None })
    }

    /// The value of a state after the tick.
    pub(super) fn set_next(&mut self, full: &str, next: ValueId) {
        if let Some(s) = self.states.get(full).and_then(|k| self.m.states.get_mut(*k)) {
            s.next = next;
        }
    }

    fn net_input(&mut self, inst: usize, name: &'a ast::Ident, ty: &'a ast::Type, full: &str) -> Option<Rt> {
        let mut env = self.net_env(inst);
        let t = self.declared(ty, &mut env)?;
        if t.storage.is_some() {
            self.report(
                Diagnostic::error(codes::STORAGE, ty.span, "an input has no storage of its own")
                    .labelled("storage belongs to params and states"),
            );
            return None;
        }
        if self.insts[inst].parent.is_none() {
            let ty = super::emit::tensor_type(t.elem.dtype(), &t.shape);
            let id = self.m.graph.add_param(ty, full);
            self.m.inputs.push(nc_ir::graph::Port { name: full.to_string(), value: id });
            if t.sparse {
                self.m.sparse.push(full.to_string());
            }
            return Some(Rt { id, frame: 0, elem: t.elem, shape: t.shape, konst: None, host: None });
        }
        let feeds = self.insts[inst].feeds.get(&name.name).cloned().unwrap_or_default();
        self.port_sum(full, &feeds, t.elem, &t.shape, name.span)
    }

    fn net_output(
        &mut self,
        inst: usize,
        name: &'a ast::Ident,
        ty: Option<&'a ast::Type>,
        value: &'a Expr,
        full: &str,
    ) -> Option<Rt> {
        let mut env = self.net_env(inst);
        let v = self.eval(value, &mut env);
        let r = match ty {
            None => self.lift(&v, value.span)?,
            Some(ty) => {
                let t = self.declared(ty, &mut env)?;
                if t.storage.is_some() {
                    self.report(
                        Diagnostic::error(codes::STORAGE, ty.span, "an output has no storage of its own")
                            .labelled("storage belongs to params and states"),
                    );
                }
                if v.is_poison() {
                    return None;
                }
                let what = format!("the output `{}`", name.name);
                let r = self.coerce_to(&v, t.elem, &t.shape, value.span, &what)?;
                if t.sparse {
                    self.choice(full, "declared sparse: mostly zero");
                }
                self.widened(r, &t.shape, value.span)?
            }
        };
        self.name_value(r.id, full);
        Some(r)
    }

    /// Computes everything that an instance declares, in the order written.
    pub(super) fn elaborate(&mut self, inst: usize) {
        let net = self.insts[inst].net;
        let mut nexts: FxHashMap<&str, Span> = FxHashMap::default();
        for item in &net.items {
            match &item.kind {
                ItemKind::Const(ast::Const { name, .. })
                | ItemKind::Param { name, .. }
                | ItemKind::State { name, .. }
                | ItemKind::Input { name, .. }
                | ItemKind::Output { name, .. } => {
                    self.net_name(inst, name);
                }
                ItemKind::Let { names, .. } => {
                    if let Some(n) = names.first() {
                        self.net_name(inst, n);
                    }
                }
                ItemKind::Pop { name, .. } => {
                    if let Some(Val::Pop(p)) = self.net_name(inst, name) {
                        self.pop(p, name.span);
                    }
                }
                ItemKind::Sub { name, .. } => {
                    if let Some(Val::Sub(s)) = self.net_name(inst, name) {
                        self.elaborate(s);
                    }
                }
                ItemKind::Next { name, .. } => {
                    if let Some(first) = nexts.insert(&name.name, name.span) {
                        self.report(twice(name, Some(first)));
                    }
                }
                _ => {}
            }
        }
        for item in &net.items {
            if let ItemKind::Next { name, value } = &item.kind {
                self.net_next(inst, name, value);
            }
            if let ItemKind::State { name, .. } = &item.kind
                && !nexts.contains_key(name.name.as_str())
            {
                self.report(
                    Diagnostic::warning(
                        codes::STATE_UNUSED,
                        name.span,
                        format!("the state `{}` never changes", name.name),
                    )
                    .labelled(format!("there is no `next {} = ..`", name.name)),
                );
            }
        }
    }

    fn net_next(&mut self, inst: usize, name: &'a ast::Ident, value: &'a Expr) {
        let found = self.insts[inst].names.get(&name.name).copied();
        let ty = match found.map(|k| self.insts[inst].entities[k].kind) {
            Some(Kind::State(ty, _)) => ty,
            _ => {
                let i = &self.insts[inst];
                let known =
                    i.entities.iter().filter(|e| matches!(e.kind, Kind::State(..))).map(|e| e.name.name.as_str());
                let mut d =
                    Diagnostic::error(codes::UNKNOWN_NAME, name.span, format!("`{}` is not a state", name.name))
                        .labelled("unknown state");
                d.hint = nearest(&name.name, known).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
                return;
            }
        };
        let full = format!("{}{}", self.insts[inst].prefix, name.name);
        let mut env = self.net_env(inst);
        let Some(t) = self.declared(ty, &mut env) else { return };
        let v = self.eval(value, &mut env);
        let what = format!("the next value of `{}`", name.name);
        let next = self
            .coerce_to(&v, t.elem, &t.shape, value.span, &what)
            .and_then(|r| self.widened(r, &t.shape, value.span))
            .and_then(|r| self.restore(r, &t, value.span));
        if let Some(next) = next {
            self.set_next(&full, next.id);
        }
    }

    /// Outputs, probes, delay lines; then the order of the graph's parameters.
    fn finish(&mut self, inst: usize) {
        let net = self.insts[inst].net;
        for item in &net.items {
            if let ItemKind::Output { name, .. } = &item.kind
                && let Some(Val::Rt(r)) = self.net_name(inst, name)
            {
                self.m.outputs.push(nc_ir::graph::Port { name: name.name.clone(), value: r.id });
            }
        }
        self.probes();
        self.finish_lines();
        let mut params: Vec<ValueId> = self.m.inputs.iter().map(|p| p.value).collect();
        params.extend(self.m.states.iter().map(|s| s.read));
        self.m.graph.params = params;
        let options = self.options;
        for (name, _) in &options.params {
            if !self.used_params.contains(name) {
                let names: Vec<String> =
                    self.m.consts.iter().map(|c| c.name.clone()).filter(|n| !n.is_empty()).collect();
                let mut d = Diagnostic::error_nowhere(codes::UNKNOWN_KEY, format!("the model has no param `{name}`"));
                d.hint = nearest(name, names.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
            }
        }
    }
}
