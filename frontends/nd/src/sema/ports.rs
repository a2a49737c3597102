//! What drives what: ports, sources of events, and delay lines.

use super::Elab;
use super::calls::Args;
use super::codes;
use super::connect::{Conn, Target};
use super::expr::Env;
use super::net::Kind;
use super::value::{Elem, Rt, Val};
use crate::ast::{self, Expr, ExprKind, Index, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::graph::{DelayLine, LineId, ValueId};
use nc_ir::{Diagnostic, Span};

/// One statement that drives a port, in the order of statements.
#[derive(Clone)]
pub(super) enum Feed<'a> {
    /// `port <- expr` in a net.
    Drive { value: &'a Expr, inst: usize },
    /// `connect`.
    Connect(usize),
}

/// Where a value that can be delayed comes from. Populations and outputs of nets are asked for their value only at the
/// end, so that a delay breaks a cycle.
#[derive(Clone)]
pub(super) enum Source {
    /// A field of a population.
    Pop(usize, String),
    /// A typed output of a net inside.
    Out(usize, usize),
    /// Anything else, already computed.
    Value(Rt),
}

impl Source {
    fn same(&self, o: &Source) -> bool {
        match (self, o) {
            (Source::Pop(p, f), Source::Pop(q, g)) => p == q && f == g,
            (Source::Out(i, k), Source::Out(j, l)) => i == j && k == l,
            (Source::Value(a), Source::Value(b)) => a.id == b.id,
            _ => false,
        }
    }
}

/// A delay line and what it remembers.
pub(super) struct Line {
    pub source: Source,
    pub id: LineId,
    pub elem: Elem,
    pub shape: Vec<u64>,
    pub span: Span,
}

/// The names and the index of `a.b[0:4].c`; one index at most.
pub(super) fn split_path(e: &Expr) -> Option<(Vec<&ast::Ident>, Option<&[Index]>)> {
    match &e.kind {
        ExprKind::Name(n) => Some((vec![n], None)),
        ExprKind::Field { base, name } => {
            let (mut parts, index) = split_path(base)?;
            parts.push(name);
            Some((parts, index))
        }
        ExprKind::Index { base, indices } => match split_path(base)? {
            (parts, None) => Some((parts, Some(indices))),
            _ => None,
        },
        _ => None,
    }
}

impl<'a> Elab<'a> {
    /// Notes every `<-` and `connect` of a net at the port that it drives.
    pub(super) fn register_feeds(&mut self, inst: usize) {
        let net = self.insts[inst].net;
        for item in &net.items {
            match &item.kind {
                ItemKind::Drive { port, value } => {
                    let parts: Vec<&'a ast::Ident> = port.parts.iter().collect();
                    let Some(target) = self.target_port(inst, &parts, port.span) else { continue };
                    if let Target::Event(p, name) = &target {
                        let what = &self.pops[*p].model.name.name;
                        self.report(
                            Diagnostic::error(codes::PORT, port.span, format!("`{name}` of `{what}` is an event port"))
                                .labelled("takes events, not a value")
                                .with_hint("use `connect .. -> ..` to deliver spikes"),
                        );
                        continue;
                    }
                    self.add_feed(&target, Feed::Drive { value, inst });
                }
                ItemKind::Connect { name, pre, post, entries } => {
                    let Some((parts, post_index)) = split_path(post) else {
                        self.report(
                            Diagnostic::error(codes::PORT, post.span, "a connection ends at a port")
                                .labelled("not a port")
                                .with_hint("write `P.port` or `P[0:10].port`"),
                        );
                        continue;
                    };
                    let c = self.conns.len();
                    let shown = match name {
                        Some(n) => n.name.clone(),
                        None => {
                            let pre = split_path(pre).map_or_else(String::new, |(p, _)| dotted(&p));
                            format!("{pre}->{}", dotted(&parts))
                        }
                    };
                    let full = format!("{}{shown}", self.insts[inst].prefix);
                    let same = self.stream_names.entry(format!("connect {full}")).or_insert(0);
                    *same += 1;
                    let unique = if *same == 1 { full.clone() } else { format!("{full}#{same}") };
                    let Some(target) = self.target_port(inst, &parts, post.span) else { continue };
                    self.conns.push(Conn::new(inst, unique, pre, post_index, target.clone(), entries, item.span));
                    if let Some(n) = name {
                        self.add_named_conn(inst, n, c);
                    }
                    self.add_feed(&target, Feed::Connect(c));
                }
                _ => {}
            }
        }
    }

    fn add_named_conn(&mut self, inst: usize, name: &'a ast::Ident, c: usize) {
        let i = &mut self.insts[inst];
        match i.names.get(&name.name) {
            Some(k) => {
                let first = i.entities[*k].name.span;
                self.report(super::names::twice(name, Some(first)));
            }
            None => {
                i.names.insert(name.name.clone(), i.entities.len());
                i.entities.push(super::net::Entity {
                    kind: Kind::Conn(c),
                    name,
                    slot: super::net::Slot::Done(Val::Conn(c)),
                });
            }
        }
    }

    fn add_feed(&mut self, target: &Target, feed: Feed<'a>) {
        match target {
            Target::Event(p, name) | Target::Input(p, name) => {
                self.pops[*p].feeds.entry(name.clone()).or_default().push(feed);
            }
            Target::Net(i, name) => {
                self.insts[*i].feeds.entry(name.clone()).or_default().push(feed);
            }
        }
    }

    /// The population or net that the leading names of a path stand for.
    fn walk(&mut self, inst: usize, parts: &[&'a ast::Ident]) -> Option<Val> {
        let mut at = inst;
        for (k, p) in parts.iter().enumerate() {
            let i = self.insts.get(at)?;
            let Some(e) = i.names.get(&p.name).and_then(|k| i.entities.get(*k)) else {
                let parts_of = i.entities.iter().filter(|e| matches!(e.kind, Kind::Pop(_) | Kind::Sub(_)));
                let names: Vec<String> = parts_of.map(|e| e.name.name.clone()).collect();
                let mut d = Diagnostic::error(codes::UNKNOWN_NAME, p.span, format!("`{}` is not declared", p.name))
                    .labelled("no population or net of this name");
                d.hint = nearest(&p.name, names.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
                return None;
            };
            match e.kind {
                Kind::Pop(pop) if k + 1 == parts.len() => return Some(Val::Pop(pop)),
                Kind::Sub(s) if k + 1 == parts.len() => return Some(Val::Sub(s)),
                Kind::Sub(s) => at = s,
                // A declaration that was refused has been reported.
                Kind::Dim => return None,
                _ => {
                    self.report(
                        Diagnostic::error(codes::PORT, p.span, format!("`{}` is not a population or net", p.name))
                            .labelled("has no ports")
                            .with_label(e.name.span, "declared here"),
                    );
                    return None;
                }
            }
        }
        None
    }

    /// The port that a path names.
    fn target_port(&mut self, inst: usize, parts: &[&'a ast::Ident], span: Span) -> Option<Target> {
        let (port, lead) = parts.split_last()?;
        if lead.is_empty() {
            let known = match self.insts[inst].names.get(&port.name).map(|k| self.insts[inst].entities[*k].kind) {
                Some(Kind::Pop(p)) => self.pops[p].ports().join(", "),
                Some(Kind::Sub(s)) => self.input_names(s).join(", "),
                Some(Kind::Dim) => return None,
                Some(_) => {
                    self.report(
                        Diagnostic::error(codes::PORT, span, format!("`{}` is not a port", port.name))
                            .labelled("only ports of populations and nets can be driven"),
                    );
                    return None;
                }
                None => {
                    self.walk(inst, parts);
                    return None;
                }
            };
            let mut d = Diagnostic::error(codes::PORT, span, format!("say which port of `{}`", port.name))
                .labelled("a port is missing");
            d.hint = Some(if known.is_empty() { "it has no ports".into() } else { format!("its ports are {known}") });
            self.report(d);
            return None;
        }
        match self.walk(inst, lead)? {
            Val::Pop(p) => {
                for item in &self.pops[p].model.items {
                    match &item.kind {
                        ItemKind::On { port: n, .. } if n.name == port.name => {
                            return Some(Target::Event(p, n.name.clone()));
                        }
                        ItemKind::Input { name: n, .. } if n.name == port.name => {
                            return Some(Target::Input(p, n.name.clone()));
                        }
                        _ => {}
                    }
                }
                let known = self.pops[p].ports();
                let model = self.pops[p].model.name.name.clone();
                self.no_port(port, &model, &known);
                None
            }
            Val::Sub(s) => {
                let known = self.input_names(s);
                if known.contains(&port.name) {
                    return Some(Target::Net(s, port.name.clone()));
                }
                let net = self.insts[s].net.name.name.clone();
                self.no_port(port, &net, &known);
                None
            }
            _ => None,
        }
    }

    fn no_port(&mut self, port: &ast::Ident, owner: &str, known: &[String]) {
        let mut d = Diagnostic::error(codes::PORT, port.span, format!("`{owner}` has no port `{}`", port.name))
            .labelled("unknown port");
        d.hint = Some(match nearest(&port.name, known.iter().map(String::as_str)) {
            Some(n) => format!("did you mean `{n}`?"),
            None if known.is_empty() => "it has no ports".into(),
            None => format!("its ports are {}", known.join(", ")),
        });
        self.report(d);
    }

    fn input_names(&self, inst: usize) -> Vec<String> {
        let i = &self.insts[inst];
        i.entities.iter().filter(|e| matches!(e.kind, Kind::Input(_))).map(|e| e.name.name.clone()).collect()
    }

    /// The sum of everything that drives a continuous port, in the order of statements; zero if nothing does.
    pub(super) fn port_sum(
        &mut self,
        full: &str,
        feeds: &[Feed<'a>],
        elem: Elem,
        shape: &[u64],
        span: Span,
    ) -> Option<Rt> {
        let what = format!("the drive of `{full}`");
        let mut acc: Option<Rt> = None;
        let mut ok = true;
        for feed in feeds {
            match feed {
                Feed::Drive { value, inst } => {
                    let mut env = self.net_env(*inst);
                    let v = self.eval(value, &mut env);
                    let Some(r) = self.coerce_to(&v, elem, shape, value.span, &what) else {
                        ok = false;
                        continue;
                    };
                    acc = match acc {
                        None => Some(r),
                        Some(_) if elem == Elem::Bool => {
                            self.report(
                                Diagnostic::error(
                                    codes::PORT,
                                    value.span,
                                    format!("`{full}` takes spikes from one place only"),
                                )
                                .labelled("driven a second time"),
                            );
                            return None;
                        }
                        Some(a) => {
                            let wide = if a.shape.is_empty() { r.shape.clone() } else { a.shape.clone() };
                            let id = self.node(value.span, |g| g.add(a.id, r.id))?;
                            Some(self.rt(id, elem, wide))
                        }
                    };
                }
                Feed::Connect(c) => match self.connect_continuous(*c, acc.clone(), elem, shape) {
                    Some(r) => acc = Some(r),
                    None => ok = false,
                },
            }
        }
        if !ok {
            return None;
        }
        let r = match acc {
            Some(r) => r,
            None => {
                // A neuron that is checked for itself has no net that could drive it.
                if !self.dry {
                    self.report(
                        Diagnostic::warning(codes::UNDRIVEN, span, format!("nothing drives `{full}`: it is zero"))
                            .labelled("an input without `<-` or `connect`"),
                    );
                }
                self.choice(full, "not driven: zero");
                if elem == Elem::Bool {
                    self.truth(false, span)?
                } else if elem == Elem::Int {
                    self.int(0, span)?
                } else {
                    self.real(0.0, elem.dims(), span)?
                }
            }
        };
        Some(r)
    }

    /// Where events or values come from: a path to a population, output or input, else any value.
    pub(super) fn source_of(
        &mut self,
        e: &'a Expr,
        parts: &[&'a ast::Ident],
        inst: usize,
        env: &mut Env<'a>,
    ) -> Option<(Source, Elem, Vec<u64>)> {
        let kind = |s: &Self, inst: usize, name: &str| {
            s.insts[inst].names.get(name).map(|k| (*k, s.insts[inst].entities[*k].kind))
        };
        let mut at = inst;
        let mut k = 0;
        while let Some(p) = parts.get(k) {
            match kind(self, at, &p.name) {
                Some((_, Kind::Sub(s))) if k + 1 < parts.len() => at = s,
                Some((_, Kind::Pop(pop))) => {
                    let field = match parts.get(k + 1..) {
                        Some([]) => "spike".to_string(),
                        Some([f]) => f.name.clone(),
                        _ => break,
                    };
                    if let Some(elem) = self.pop_field_type(pop, &field) {
                        let shape = self.pops[pop].shape.clone();
                        return Some((Source::Pop(pop, field), elem, shape));
                    }
                    if k + 1 == parts.len() {
                        let name = self.pops[pop].name.clone();
                        let span = self.pops[pop].model.name.span;
                        self.report(
                            Diagnostic::error(
                                codes::NO_SPIKES,
                                e.span,
                                format!("`{name}` has no threshold and so no spikes"),
                            )
                            .labelled("sends no events")
                            .with_label(span, "this neuron never fires"),
                        );
                        return None;
                    }
                    break;
                }
                Some((entity, Kind::Output(Some(ty), _))) if k + 1 == parts.len() && at != inst => {
                    let mut inner = self.net_env(at);
                    let t = self.declared(ty, &mut inner)?;
                    return Some((Source::Out(at, entity), t.elem, t.shape));
                }
                _ => break,
            }
            k += 1;
        }
        let v = self.eval(e, env);
        let r = self.lift(&v, e.span)?;
        let (elem, shape) = (r.elem, r.shape.clone());
        Some((Source::Value(r), elem, shape))
    }

    /// The value that a source has in this tick.
    pub(super) fn source_value(&mut self, s: &Source, span: Span) -> Option<Rt> {
        let v = match s {
            Source::Value(r) => return Some(r.clone()),
            Source::Pop(p, field) => {
                let field = field.clone();
                self.pop_value(*p, &field, span)
            }
            Source::Out(i, k) => self.entity(*i, *k, span),
        };
        self.lift(&v, span)
    }

    /// The delay line of a source, at least this deep.
    pub(super) fn line(&mut self, source: &Source, elem: Elem, shape: &[u64], depth: u32, span: Span) -> LineId {
        if let Some(l) = self.lines.iter().find(|l| l.source.same(source)) {
            let slot = &mut self.m.lines[l.id.index()].depth;
            *slot = (*slot).max(depth);
            return l.id;
        }
        let id = LineId(self.m.lines.len() as u32);
        let name = match source {
            Source::Pop(p, f) => format!("{}.{f}", self.pops[*p].name),
            Source::Out(i, k) => format!("{}{}", self.insts[*i].prefix, self.insts[*i].entities[*k].name.name),
            Source::Value(r) => self.m.graph.values.get(r.id.index()).map(|v| v.name.clone()).unwrap_or_default(),
        };
        let ty = super::emit::tensor_type(elem.dtype(), shape);
        self.m.lines.push(DelayLine { name, source: ValueId(0), ty, depth });
        self.lines.push(Line { source: source.clone(), id, elem, shape: shape.to_vec(), span });
        id
    }

    /// Fills in what each delay line remembers.
    pub(super) fn finish_lines(&mut self) {
        let mut k = 0;
        while k < self.lines.len() {
            let l = &self.lines[k];
            let (source, id, elem, shape, span) = (l.source.clone(), l.id, l.elem, l.shape.clone(), l.span);
            if let Some(r) = self.source_value(&source, span) {
                if r.elem == elem
                    && let Some(r) = self.widened(r.clone(), &shape, span)
                {
                    self.m.lines[id.index()].source = r.id;
                } else {
                    self.wrong_type(&Val::Rt(r), elem, span, "the delayed value");
                }
            }
            k += 1;
        }
    }

    /// `delay(x, d)`.
    pub(super) fn delay(&mut self, a: &Args<'a>, env: &mut Env<'a>) -> Option<Rt> {
        let (Some(inst), true, true) = (env.inst, env.ticks, self.frames.is_empty()) else { return self.net_only(a) };
        let d = a.expr("d")?;
        let v = self.eval(d, env);
        let ticks = self.ticks(&v, d.span, env.clock, "a delay")?;
        let x = a.expr("x")?;
        if ticks == 0 {
            let v = self.eval(x, env);
            return self.lift(&v, x.span);
        }
        let parts = match split_path(x) {
            Some((parts, None)) => parts,
            _ => Vec::new(),
        };
        let (source, elem, shape) = self.source_of(x, &parts, inst, env)?;
        let line = self.line(&source, elem, &shape, ticks, x.span);
        let id = self.node(a.span, |g| g.delayed(line, ticks))?;
        Some(self.rt(id, elem, shape))
    }
}

fn dotted(parts: &[&ast::Ident]) -> String {
    parts.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(".")
}
