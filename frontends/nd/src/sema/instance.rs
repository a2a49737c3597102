//! Instances of nets: their parameters, names, clock, populations and nets inside.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::names::{Decl, twice};
use super::net::{Entity, Inst, Kind, Slot};
use super::neuron::Pop;
use super::quantity::show_ms;
use super::units::Dims;
use super::value::Val;
use crate::ast::{self, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span};
use rustc_hash::FxHashMap;

/// The greatest number of instances of nets in one model.
const MAX_INSTANCES: usize = 10_000;

/// The greatest depth of nets inside nets.
const MAX_DEPTH: usize = 64;

impl<'a> Elab<'a> {
    /// Declares an instance of a net with everything inside it; nothing is computed yet.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn instantiate(
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
        let mut ancestor = parent;
        while let Some(a) = ancestor.and_then(|a| self.insts.get(a)) {
            if std::ptr::eq(a.net, net) {
                // There is no condition that could end it.
                self.report(
                    Diagnostic::error(codes::TOO_LARGE, span, format!("the net `{}` contains itself", net.name.name))
                        .labelled("here again")
                        .with_label(net.name.span, "declared here")
                        .with_hint("a net cannot contain itself"),
                );
                return None;
            }
            ancestor = a.parent;
        }
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
                let mut d =
                    Diagnostic::error(codes::ARGUMENTS, *at, format!("`{}` has no parameter `{name}`", net.name.name))
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
                        d.labelled("no default")
                            .with_hint(format!("give it on the command line: `--dim {}=N`", p.name.name))
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
                    self.misplaced(
                        item.span,
                        "an equation",
                        "neuron",
                        &format!("write `next {} = ..` in a net", name.name),
                    );
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
        let mut d =
            Diagnostic::error(codes::MISPLACED, span, format!("{what} belongs in a {place}")).labelled("not here");
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
                        self.report(
                            Diagnostic::error(codes::TWICE, item.span, "a net has one clock").labelled("given again"),
                        );
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
                        self.report(
                            Diagnostic::error(codes::TWICE, item.span, "a net has one seed").labelled("given again"),
                        );
                    } else if main {
                        self.m.seed = k.value as u64;
                    } else {
                        self.report(
                            Diagnostic::warning(
                                codes::SEED_UNUSED,
                                item.span,
                                "the seed of a net inside another is not used",
                            )
                            .labelled("the outermost net's seed counts"),
                        );
                    }
                }
                _ => {}
            }
        }
        if let (true, Some(seed)) = (main, self.options.seed) {
            self.m.seed = seed;
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
                            Diagnostic::error(
                                codes::ARGUMENTS,
                                a.span,
                                format!("`{}` takes {} parameters", net.name.name, net.params.len()),
                            )
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
                self.report(
                    Diagnostic::error(codes::ARGUMENTS, a.span, format!("`{name}` is given twice"))
                        .labelled("again here"),
                );
                return None;
            }
            out.push((name, v, a.span));
        }
        Some(out)
    }

    /// "there is no neuron X".
    pub(super) fn not_a(&mut self, name: &ast::Ident, found: Option<Decl<'a>>, what: &str, file: usize) {
        let mut d = match found {
            Some(other) => Diagnostic::error(
                codes::UNKNOWN_NAME,
                name.span,
                format!("`{}` is a {}, not a {what}", name.name, other.kind()),
            )
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
            let ok = i
                .names
                .get(&text)
                .and_then(|k| i.entities.get(*k))
                .is_some_and(|e| matches!(e.kind, Kind::Param(..) | Kind::State(..)));
            if !ok {
                let known = i
                    .entities
                    .iter()
                    .filter(|e| matches!(e.kind, Kind::Param(..) | Kind::State(..)))
                    .map(|e| e.name.name.as_str());
                let mut d = Diagnostic::error(
                    codes::UNKNOWN_KEY,
                    e.path.span,
                    format!("`{}` has no param or state `{text}`", i.net.name.name),
                )
                .labelled("unknown key");
                d.hint = nearest(&text, known).map(|n| format!("did you mean `{n}`?"));
                found.push(d);
            } else if let Some(first) = seen.insert(text.clone(), e.path.span) {
                found.push(
                    Diagnostic::error(codes::TWICE, e.path.span, format!("`{text}` is given twice"))
                        .labelled("again here")
                        .with_label(first, "first here"),
                );
            }
        }
        for d in found {
            self.report(d);
        }
    }
}
