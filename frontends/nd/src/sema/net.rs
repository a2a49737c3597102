//! Instances of nets: what their names stand for, and the order in which they are computed.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::fold::Places;
use super::names::{Decl, twice};
use super::neuron::Pop;
use super::ports::Feed;
use super::quantity::show_ms;
use super::units::Dims;
use super::value::{Elem, Loaded, Rt, Ty, Val};
use crate::ast::{self, Expr, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::graph::{ConstId, State, ValueId};
use nc_ir::{DType, Diagnostic, Span, Tensor};
use rustc_hash::FxHashMap;

/// The greatest number of instances of nets in one model.
const MAX_INSTANCES: usize = 10_000;

/// The greatest depth of nets inside nets.
const MAX_DEPTH: usize = 64;

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
                    let mut d = Diagnostic::error_nowhere(codes::NO_DIM, format!("`{}` has no parameter `{name}`", net.name.name));
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

    /// Declares an instance of a net with everything inside it; nothing is computed yet.
    #[allow(clippy::too_many_arguments)]
    fn instantiate(
        &mut self,
        net: &'a ast::Net,
        file: usize,
        prefix: String,
        parent: Option<usize>,
        args: Vec<(String, Val, Span)>,
        entries: &'a [ast::Entry],
        span: Span,
    ) -> Option<usize> {
        let depth = parent.and_then(|p| self.insts.get(p)).map_or(0, |p| p.depth + 1);
        if self.insts.len() >= MAX_INSTANCES || depth > MAX_DEPTH {
            self.report(
                Diagnostic::error(codes::TOO_LARGE, span, "too many nets inside nets")
                    .labelled(format!("`{}` here", net.name.name))
                    .with_hint("a net cannot contain itself"),
            );
            return None;
        }
        let inherited = parent.and_then(|p| self.insts.get(p)).and_then(|p| p.clock);
        let at = self.insts.len();
        self.insts.push(Inst {
            prefix,
            net,
            file,
            clock: inherited,
            names: FxHashMap::default(),
            entities: Vec::new(),
            feeds: FxHashMap::default(),
            entries,
            parent,
            depth,
        });
        self.bind_dims(at, args, span)?;
        self.declare_names(at);
        self.clock_and_seed(at);
        self.declare_parts(at);
        self.register_feeds(at);
        self.check_entries(at);
        Some(at)
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

    fn add_entity(&mut self, inst: usize, name: &'a ast::Ident, kind: Kind<'a>, slot: Slot) {
        let i = &mut self.insts[inst];
        match i.names.get(&name.name) {
            Some(k) => {
                let first = i.entities[*k].name.span;
                self.report(twice(name, Some(first)));
            }
            None => {
                i.names.insert(name.name.clone(), i.entities.len());
                i.entities.push(Entity { kind, name, slot });
            }
        }
    }

    fn bind_dims(&mut self, inst: usize, args: Vec<(String, Val, Span)>, span: Span) -> Option<()> {
        let net = self.insts[inst].net;
        let file = self.insts[inst].file;
        let main = self.insts[inst].parent.is_none();
        for (name, _, at) in &args {
            if !main && !net.params.iter().any(|p| p.name.name == *name) {
                let known = net.params.iter().map(|p| p.name.name.as_str());
                let mut d = Diagnostic::error(codes::ARGUMENTS, *at, format!("`{}` has no parameter `{name}`", net.name.name))
                    .labelled("unknown parameter")
                    .with_label(net.name.span, "declared here");
                d.hint = nearest(name, known).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
                return None;
            }
        }
        for p in &net.params {
            let mut env = Env::file(file);
            env.inst = Some(inst);
            let given = args.iter().find(|(n, ..)| *n == p.name.name);
            let (v, at) = match (given, &p.default) {
                (Some((n, v, at)), _) => {
                    self.used_dims.insert(n.clone());
                    (v.clone(), if main { p.span } else { *at })
                }
                (None, Some(e)) => (self.eval(e, &mut env), e.span),
                (None, None) => {
                    let d = Diagnostic::error(
                        codes::NO_DIM,
                        if main { p.span } else { span },
                        format!("the parameter `{}` of `{}` has no value", p.name.name, net.name.name),
                    );
                    self.report(if main {
                        d.labelled("no default").with_hint(format!("give it on the command line: `--dim {}=N`", p.name.name))
                    } else {
                        d.labelled("an argument is missing").with_label(p.span, "declared here")
                    });
                    return None;
                }
            };
            let v = self.declared_const(v, &p.ty, at, &mut env);
            if v.is_poison() {
                return None;
            }
            self.add_entity(inst, &p.name, Kind::Dim, Slot::Done(v));
        }
        Some(())
    }

    fn declare_names(&mut self, inst: usize) {
        let net = self.insts[inst].net;
        for item in &net.items {
            let (name, kind) = match &item.kind {
                ItemKind::Const(c) => (&c.name, Kind::Const(c)),
                ItemKind::Param { name, ty, value } => (name, Kind::Param(ty, value.as_ref())),
                ItemKind::State { name, ty, init } => (name, Kind::State(ty, init)),
                ItemKind::Input { name, ty } => (name, Kind::Input(ty)),
                ItemKind::Output { name, ty, value } => (name, Kind::Output(ty.as_ref(), value)),
                ItemKind::File { name, path } => (name, Kind::File(&path.value)),
                ItemKind::Let { names, value } => {
                    for (k, n) in names.iter().enumerate() {
                        self.add_entity(inst, n, Kind::Let(names, value, k), Slot::Todo);
                    }
                    continue;
                }
                ItemKind::Ode { name, .. } => {
                    self.misplaced(item.span, "an equation", "neuron", &format!("write `next {} = ..` in a net", name.name));
                    continue;
                }
                ItemKind::On { .. } => {
                    self.misplaced(item.span, "`on`", "neuron or synapse", "");
                    continue;
                }
                ItemKind::Threshold(_) => {
                    self.misplaced(item.span, "`threshold`", "neuron", "");
                    continue;
                }
                ItemKind::Reset(_) => {
                    self.misplaced(item.span, "`reset`", "neuron", "");
                    continue;
                }
                ItemKind::Refractory { .. } => {
                    self.misplaced(item.span, "`refractory`", "neuron", "");
                    continue;
                }
                ItemKind::Solve(_) => {
                    self.misplaced(item.span, "`solve`", "neuron", "");
                    continue;
                }
                ItemKind::Next { .. }
                | ItemKind::Pop { .. }
                | ItemKind::Sub { .. }
                | ItemKind::Connect { .. }
                | ItemKind::Drive { .. }
                | ItemKind::Probe { .. }
                | ItemKind::Clock(_)
                | ItemKind::Seed(_)
                | ItemKind::Error => continue,
            };
            self.add_entity(inst, name, kind, Slot::Todo);
        }
    }

    pub(super) fn misplaced(&mut self, span: Span, what: &str, place: &str, hint: &str) {
        let mut d = Diagnostic::error(codes::MISPLACED, span, format!("{what} belongs in a {place}")).labelled("not here");
        if !hint.is_empty() {
            d = d.with_hint(hint);
        }
        self.report(d);
    }

    fn clock_and_seed(&mut self, inst: usize) {
        let net = self.insts[inst].net;
        let inherited = self.insts[inst].clock;
        let main = self.insts[inst].parent.is_none();
        let (mut clock, mut seed): (Option<Span>, Option<Span>) = (None, None);
        for item in &net.items {
            match &item.kind {
                ItemKind::Clock(e) => {
                    if clock.replace(item.span).is_some() {
                        self.report(Diagnostic::error(codes::TWICE, item.span, "a net has one clock").labelled("given again"));
                        continue;
                    }
                    let mut env = self.net_env(inst);
                    let v = self.eval(e, &mut env);
                    let dt = match v.number() {
                        Some((x, Dims::TIME)) if x > 0.0 && x.is_finite() => x,
                        _ if v.is_poison() => continue,
                        _ => {
                            self.report(
                                Diagnostic::error(codes::UNIT, e.span, "a clock is a positive time")
                                    .labelled(v.describe())
                                    .with_hint("write for example `clock 0.1 ms`"),
                            );
                            continue;
                        }
                    };
                    if !main && inherited.is_some_and(|d| d != dt) {
                        let have = inherited.unwrap_or_default();
                        self.report(
                            Diagnostic::error(codes::CLOCKS, item.span, "a net inside another runs on the same clock")
                                .labelled(format!("{} here, {} outside", show_ms(dt), show_ms(have))),
                        );
                        continue;
                    }
                    if !main && inherited.is_none() {
                        self.report(
                            Diagnostic::error(codes::CLOCKS, item.span, "the net outside has no clock")
                                .labelled("needs a clock outside too"),
                        );
                        continue;
                    }
                    self.insts[inst].clock = Some(dt);
                    if main {
                        self.m.dt = Some(nc_ir::graph::Real(dt / 1000.0));
                    }
                }
                ItemKind::Seed(k) => {
                    if seed.replace(item.span).is_some() {
                        self.report(Diagnostic::error(codes::TWICE, item.span, "a net has one seed").labelled("given again"));
                    } else if main {
                        self.m.seed = k.value as u64;
                    } else {
                        self.report(
                            Diagnostic::warning(codes::SEED_UNUSED, item.span, "the seed of a net inside another is not used")
                                .labelled("the outermost net's seed counts"),
                        );
                    }
                }
                _ => {}
            }
        }
    }

    /// Populations, subnets and named connections.
    fn declare_parts(&mut self, inst: usize) {
        let net = self.insts[inst].net;
        for item in &net.items {
            match &item.kind {
                ItemKind::Pop { name, model, shape, entries } => {
                    let file = self.insts[inst].file;
                    let (model_ref, body) = match self.sources.find(file, &model.name) {
                        Some((r, Decl::Neuron(b))) => (r.file, b),
                        found => {
                            self.not_a(model, found.map(|f| f.1), "neuron", file);
                            self.add_entity(inst, name, Kind::Dim, Slot::Done(Val::Poison));
                            continue;
                        }
                    };
                    let mut env = self.net_env(inst);
                    let dims = self.extents(shape, &mut env);
                    let size = dims.as_ref().and_then(|d| self.check_size(d, item.span));
                    let (Some(dims), Some(_)) = (dims, size) else {
                        self.add_entity(inst, name, Kind::Dim, Slot::Done(Val::Poison));
                        continue;
                    };
                    let full = format!("{}{}", self.insts[inst].prefix, name.name);
                    let p = self.pops.len();
                    self.pops.push(Pop::new(inst, full, name.span, body, model_ref, dims, entries));
                    self.add_entity(inst, name, Kind::Pop(p), Slot::Done(Val::Pop(p)));
                }
                ItemKind::Sub { name, net: call, entries } => {
                    let file = self.insts[inst].file;
                    let (f, inner) = match self.sources.find(file, &call.name.name) {
                        Some((r, Decl::Net(n))) => (r.file, n),
                        found => {
                            self.not_a(&call.name, found.map(|f| f.1), "net", file);
                            self.add_entity(inst, name, Kind::Dim, Slot::Done(Val::Poison));
                            continue;
                        }
                    };
                    let made = self.sub_args(inst, call, inner).and_then(|args| {
                        let prefix = format!("{}{}.", self.insts[inst].prefix, name.name);
                        self.instantiate(inner, f, prefix, Some(inst), args, entries, call.span)
                    });
                    let v = made.map_or(Val::Poison, Val::Sub);
                    self.add_entity(inst, name, made.map_or(Kind::Dim, Kind::Sub), Slot::Done(v));
                }
                _ => {}
            }
        }
    }

    fn sub_args(&mut self, inst: usize, call: &'a ast::Call, net: &'a ast::Net) -> Option<Vec<(String, Val, Span)>> {
        let mut env = self.net_env(inst);
        let mut out: Vec<(String, Val, Span)> = Vec::new();
        for (k, a) in call.args.iter().enumerate() {
            let name = match &a.name {
                Some(n) => n.name.clone(),
                None => match net.params.get(k) {
                    Some(p) => p.name.name.clone(),
                    None => {
                        self.report(
                            Diagnostic::error(codes::ARGUMENTS, a.span, format!("`{}` takes {} parameters", net.name.name, net.params.len()))
                                .labelled("one too many")
                                .with_label(net.name.span, "declared here"),
                        );
                        return None;
                    }
                },
            };
            let v = self.eval(&a.value, &mut env);
            if v.is_poison() {
                return None;
            }
            if out.iter().any(|(n, ..)| *n == name) {
                self.report(Diagnostic::error(codes::ARGUMENTS, a.span, format!("`{name}` is given twice")).labelled("again here"));
                return None;
            }
            out.push((name, v, a.span));
        }
        Some(out)
    }

    /// "there is no neuron X".
    pub(super) fn not_a(&mut self, name: &ast::Ident, found: Option<Decl<'a>>, what: &str, file: usize) {
        let mut d = match found {
            Some(other) => Diagnostic::error(codes::UNKNOWN_NAME, name.span, format!("`{}` is a {}, not a {what}", name.name, other.kind()))
                .labelled(format!("a {what} is expected here"))
                .with_label(other.name().span, "declared here"),
            None => Diagnostic::error(codes::UNKNOWN_NAME, name.span, format!("there is no {what} `{}`", name.name))
                .labelled(format!("unknown {what}")),
        };
        let near = nearest(&name.name, self.sources.visible(file).filter(|(_, d)| d.kind() == what).map(|(n, _)| n));
        d.hint = near.map(|n| format!("did you mean `{n}`?"));
        self.report(d);
    }

    /// Entries of a `sub` must name its parameters or states.
    fn check_entries(&mut self, inst: usize) {
        let i = &self.insts[inst];
        let mut found = Vec::new();
        let mut seen: FxHashMap<String, Span> = FxHashMap::default();
        for e in i.entries {
            let text = e.path.text();
            let ok = i.names.get(&text).and_then(|k| i.entities.get(*k)).is_some_and(|e| matches!(e.kind, Kind::Param(..) | Kind::State(..)));
            if !ok {
                let known = i.entities.iter().filter(|e| matches!(e.kind, Kind::Param(..) | Kind::State(..))).map(|e| e.name.name.as_str());
                let mut d = Diagnostic::error(codes::UNKNOWN_KEY, e.path.span, format!("`{}` has no param or state `{text}`", i.net.name.name))
                    .labelled("unknown key");
                d.hint = nearest(&text, known).map(|n| format!("did you mean `{n}`?"));
                found.push(d);
            } else if let Some(first) = seen.insert(text.clone(), e.path.span) {
                found.push(
                    Diagnostic::error(codes::TWICE, e.path.span, format!("`{text}` is given twice")).labelled("again here").with_label(first, "first here"),
                );
            }
        }
        for d in found {
            self.report(d);
        }
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
                    Diagnostic::error(codes::ARGUMENTS, span, format!("{} names for {}", names.len(), other.describe()))
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
        let mut d = Diagnostic::error(codes::ZERO_DELAY_CYCLE, span, format!("a cycle without delay: {}", text.join(" -> ")))
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
                            Diagnostic::error(codes::NOT_CONST, c.value.span, format!("the constant `{}` is not known at compile time", c.name.name))
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

    fn net_param(&mut self, inst: usize, name: &'a ast::Ident, ty: &'a ast::Type, value: Option<&'a Expr>, full: &str) -> Option<Rt> {
        let mut env = self.net_env(inst);
        let t = self.declared(ty, &mut env)?;
        let data = if let Some(host) = self.host_value(full) {
            self.conform(&host, &t, name.span)?
        } else {
            let (e, mut env) = match (self.entry(inst, &name.name), value) {
                (Some(given), _) => given,
                (None, Some(e)) => (e, env),
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
            matches!(t.elem, Elem::Real(_)).then(|| vec![x as f32; n as usize])
        });
        let wide = self.to_shape(rt, &t.shape, name.span)?;
        let shape = t.shape.iter().map(|d| *d as usize).collect();
        Some(Rt { host: host.and_then(|h| Tensor::from_vec(shape, h)), ..wide })
    }

    fn net_state(&mut self, inst: usize, name: &'a ast::Ident, ty: &'a ast::Type, init: &'a Expr, full: &str) -> Option<Rt> {
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
    pub(super) fn add_state(&mut self, full: &str, elem: Elem, shape: &[u64], dtype: DType, init: Option<ConstId>) -> Option<Rt> {
        let init = match init {
            Some(c) => c,
            None => self.pool(Tensor::zeros(dtype, Vec::new())),
        };
        let ty = super::emit::tensor_type(dtype, shape);
        let id = self.m.graph.add_param(ty, full);
        self.m.states.push(State { name: full.to_string(), read: id, next: id, init });
        Some(Rt { id, frame: 0, elem, shape: shape.to_vec(), konst: None, host: None })
    }

    /// The value of a state after the tick.
    pub(super) fn set_next(&mut self, full: &str, next: ValueId) {
        if let Some(s) = self.m.states.iter_mut().rev().find(|s| s.name == full) {
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

    fn net_output(&mut self, inst: usize, name: &'a ast::Ident, ty: Option<&'a ast::Type>, value: &'a Expr, full: &str) -> Option<Rt> {
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
                    self.m.sparse.push(full.to_string());
                }
                self.to_shape(r, &t.shape, value.span)?
            }
        };
        self.name_value(r.id, full);
        Some(r)
    }

    /// Computes everything that an instance declares, in the order written.
    fn elaborate(&mut self, inst: usize) {
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
                    Diagnostic::warning(codes::STATE_UNUSED, name.span, format!("the state `{}` never changes", name.name))
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
                let known = i.entities.iter().filter(|e| matches!(e.kind, Kind::State(..))).map(|e| e.name.name.as_str());
                let mut d = Diagnostic::error(codes::UNKNOWN_NAME, name.span, format!("`{}` is not a state", name.name)).labelled("unknown state");
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
            .and_then(|r| self.to_shape(r, &t.shape, value.span))
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
                let names: Vec<String> = self.m.consts.iter().map(|c| c.name.clone()).filter(|n| !n.is_empty()).collect();
                let mut d = Diagnostic::error_nowhere(codes::UNKNOWN_KEY, format!("the model has no param `{name}`"));
                d.hint = nearest(name, names.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
            }
        }
    }
}
