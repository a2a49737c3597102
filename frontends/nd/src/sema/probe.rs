//! Probes: what is recorded, under which name, and how often.

use super::Elab;
use super::codes;
use super::net::Kind;
use super::print::print;
use super::value::{Rt, Val};
use crate::ast::{Expr, ExprKind, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::graph::Probe;
use nc_ir::{Diagnostic, Span};

impl<'a> Elab<'a> {
    /// The probes of every net in the model, then those that the host asks for.
    pub(super) fn probes(&mut self) {
        for inst in 0..self.insts.len() {
            let net = self.insts[inst].net;
            for item in &net.items {
                if let ItemKind::Probe { what, every } = &item.kind {
                    self.probe(inst, what, every.as_ref(), item.span);
                }
            }
        }
        let options = self.options;
        for path in &options.probes {
            if self.m.probes.iter().any(|p| p.name == *path) {
                continue;
            }
            if let Some(r) = self.probe_path(path) {
                self.m.probes.push(Probe { name: path.clone(), value: r.id, every: 1 });
            }
        }
    }

    fn probe(&mut self, inst: usize, what: &'a Expr, every: Option<&'a Expr>, span: Span) {
        let mut env = self.net_env(inst);
        let every = match every {
            None => 1,
            Some(e) => {
                let v = self.eval(e, &mut env);
                match self.ticks(&v, e.span, env.clock, "the period of a probe") {
                    Some(0) => {
                        self.report(
                            Diagnostic::error(codes::OFF_GRID, e.span, "the period of a probe is at least one tick")
                                .labelled("this is 0"),
                        );
                        return;
                    }
                    Some(k) => u64::from(k),
                    None => return,
                }
            }
        };
        let v = self.eval(what, &mut env);
        let v = match v {
            Val::Pop(p) => self.pop_value(p, "spike", what.span),
            v => v,
        };
        let Some(r) = self.lift(&v, what.span) else { return };
        let named = match &what.kind {
            ExprKind::Index { base, .. } => print(base),
            _ => print(what),
        };
        let name = format!("{}{named}", self.insts[inst].prefix);
        if self.m.probes.iter().any(|p| p.name == name) {
            self.report(
                Diagnostic::error(codes::TWICE, span, format!("`{name}` is probed twice")).labelled("again here"),
            );
            return;
        }
        self.m.probes.push(Probe { name, value: r.id, every });
    }

    /// A probe named by the host: `P.v`, `l1.h`, `syn.w`.
    fn probe_path(&mut self, path: &str) -> Option<Rt> {
        let parts: Vec<&str> = path.split('.').collect();
        let mut at = 0usize;
        let nowhere = Span::default();
        for (k, part) in parts.iter().enumerate() {
            let rest = &parts[k + 1..];
            let i = self.insts.get(at)?;
            let Some(entity) = i.names.get(*part).copied() else {
                let known: Vec<String> = i.entities.iter().map(|e| e.name.name.clone()).collect();
                let mut d = Diagnostic::error_nowhere(
                    codes::UNKNOWN_NAME,
                    format!("there is nothing called `{part}` to probe in `{path}`"),
                );
                d.hint = nearest(part, known.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
                self.report(d);
                return None;
            };
            let v = match (i.entities[entity].kind, rest) {
                (Kind::Sub(s), [_, ..]) => {
                    at = s;
                    continue;
                }
                (Kind::Pop(p), [field]) => {
                    let before = self.diags.list.len();
                    let v = self.pop_value(p, field, nowhere);
                    self.placeless(before);
                    v
                }
                (Kind::Pop(p), []) => self.pop_value(p, "spike", nowhere),
                (Kind::Conn(c), [field]) => {
                    let before = self.diags.list.len();
                    let v = self.conn_value(c, field, nowhere);
                    self.placeless(before);
                    v
                }
                (_, []) => self.entity(at, entity, nowhere),
                _ => Val::Poison,
            };
            if let Val::Rt(r) = v {
                return Some(r);
            }
            if !v.is_poison() || self.diags.list.iter().all(|d| !d.is_error()) {
                self.report(Diagnostic::error_nowhere(
                    codes::NOT_A_VALUE,
                    format!("`{path}` is not a value that can be probed"),
                ));
            }
            return None;
        }
        self.report(Diagnostic::error_nowhere(
            codes::NOT_A_VALUE,
            format!("`{path}` is not a value that can be probed"),
        ));
        None
    }

    /// What was reported about a path of the command line has no place in the file.
    fn placeless(&mut self, from: usize) {
        for d in self.diags.list.iter_mut().skip(from) {
            if d.span == Some(Span::default()) {
                d.span = None;
            }
        }
    }
}
