//! What belongs in a neuron or synapse.

use super::Elab;
use super::codes;
use super::names::twice;
use crate::ast::{self, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span};
use rustc_hash::FxHashMap;

impl<'a> Elab<'a> {
    /// Items that do not belong in a neuron or synapse, names declared twice, equations for what is not a state.
    pub(super) fn check_body(&mut self, body: &'a ast::Body, neuron: bool) {
        let place = if neuron { "neuron" } else { "synapse" };
        let mut names: FxHashMap<&str, Span> = FxHashMap::default();
        let mut once: FxHashMap<&str, Span> = FxHashMap::default();
        let mut rules: FxHashMap<&str, Span> = FxHashMap::default();
        let states: Vec<&str> = body
            .items
            .iter()
            .filter_map(|i| if let ItemKind::State { name, .. } = &i.kind { Some(name.name.as_str()) } else { None })
            .collect();
        for item in &body.items {
            let mut declare = |s: &mut Self, n: &'a ast::Ident| {
                if let Some(first) = names.insert(&n.name, n.span) {
                    s.report(twice(n, Some(first)));
                }
            };
            let single = match &item.kind {
                ItemKind::Const(c) => {
                    declare(self, &c.name);
                    None
                }
                ItemKind::Param { name, .. } | ItemKind::State { name, .. } => {
                    declare(self, name);
                    None
                }
                ItemKind::Let { names, .. } => {
                    for n in names {
                        declare(self, n);
                    }
                    if names.len() > 1 {
                        self.misplaced(item.span, "a `let` of several names", "net", "write one `let` for each name");
                    }
                    None
                }
                ItemKind::Input { name, .. } | ItemKind::Output { name, .. } => {
                    if neuron {
                        declare(self, name);
                    } else {
                        self.misplaced(item.span, "`input` and `output`", "neuron or net", "");
                    }
                    None
                }
                ItemKind::On { port, .. } => {
                    declare(self, port);
                    None
                }
                ItemKind::Ode { name, .. } | ItemKind::Next { name, .. } => {
                    if !states.contains(&name.name.as_str()) {
                        let mut d = Diagnostic::error(
                            codes::UNKNOWN_NAME,
                            name.span,
                            format!("`{}` is not a state", name.name),
                        )
                        .labelled("unknown state");
                        d.hint = nearest(&name.name, states.iter().copied()).map(|n| format!("did you mean `{n}`?"));
                        self.report(d);
                    } else if let Some(first) = rules.insert(&name.name, item.span) {
                        self.report(
                            Diagnostic::error(codes::TWICE, item.span, format!("`{}` has two equations", name.name))
                                .labelled("the second")
                                .with_label(first, "the first"),
                        );
                    }
                    if !neuron && matches!(item.kind, ItemKind::Next { .. }) {
                        self.misplaced(
                            item.span,
                            "`next`",
                            "neuron or net",
                            "a synapse changes when events arrive; use `x' = -x / tau`",
                        );
                    }
                    None
                }
                ItemKind::Threshold(_) => Some("threshold"),
                ItemKind::Reset(_) => Some("reset"),
                ItemKind::Refractory { .. } => Some("refractory"),
                ItemKind::Solve(_) => Some("solve"),
                ItemKind::Pop { .. } => {
                    self.misplaced(item.span, "`pop`", "net", "");
                    None
                }
                ItemKind::Sub { .. } => {
                    self.misplaced(item.span, "`sub`", "net", "");
                    None
                }
                ItemKind::Connect { .. } => {
                    self.misplaced(item.span, "`connect`", "net", "");
                    None
                }
                ItemKind::Drive { .. } => {
                    self.misplaced(item.span, "`<-`", "net", "");
                    None
                }
                ItemKind::Probe { .. } => {
                    self.misplaced(item.span, "`probe`", "net", "");
                    None
                }
                ItemKind::Clock(_) => {
                    self.misplaced(item.span, "`clock`", "net", "");
                    None
                }
                ItemKind::Seed(_) => {
                    self.misplaced(item.span, "`seed`", "net", "");
                    None
                }
                ItemKind::File { .. } => {
                    self.misplaced(item.span, "`file`", "net", "give the value at the `pop`");
                    None
                }
                ItemKind::Error => None,
            };
            if let Some(word) = single {
                if !neuron {
                    self.misplaced(item.span, &format!("`{word}`"), "neuron", "");
                } else if let Some(first) = once.insert(word, item.span) {
                    self.report(
                        Diagnostic::error(codes::TWICE, item.span, format!("a {place} has one `{word}`"))
                            .labelled("the second")
                            .with_label(first, "the first"),
                    );
                }
            }
        }
        if neuron
            && let Some(span) = once.get("reset").or(once.get("refractory"))
            && !once.contains_key("threshold")
        {
            self.report(
                Diagnostic::error(codes::NO_SPIKES, *span, "`reset` and `refractory` need a `threshold`")
                    .labelled("without a threshold it never fires"),
            );
        }
    }
}
