//! Event handlers of neurons as regions of one target.

use super::Elab;
use super::actions::Writes;
use super::codes;
use super::emit::Capture;
use super::expr::Env;
use super::neuron::{Cell, cell_states};
use super::ports::Feed;
use super::value::{Elem, Rt, Val};
use crate::ast::{self, ItemKind};
use nc_ir::Diagnostic;

impl<'a> Elab<'a> {
    /// Events that arrive in this tick, in the order of `connect` statements.
    pub(super) fn deliver(&mut self, p: usize, env: &mut Env<'a>, cells: &[Cell<'a>], held: Option<&Rt>) -> Option<()> {
        let mut conns: Vec<usize> = Vec::new();
        for item in &self.pops[p].model.items {
            if let ItemKind::On { port, .. } = &item.kind
                && let Some(feeds) = self.pops[p].feeds.get(&port.name)
            {
                conns.extend(feeds.iter().filter_map(|f| if let Feed::Connect(c) = f { Some(*c) } else { None }));
            }
        }
        conns.sort_unstable();
        let mut ok = true;
        for c in conns {
            ok &= self.connect_events(c, p, env, &cell_states(cells), held).is_some();
        }
        ok.then_some(())
    }

    /// The body of an event handler as a region of one target: (payload, written states.., reads..) to the written
    /// states. Gives the names of the written states and what the region reads.
    pub(super) fn handler(
        &mut self,
        model: &'a ast::Body,
        port: &str,
        env: &Env<'a>,
        states: &[(String, Elem, bool)],
        held: Option<&Rt>,
    ) -> Option<(nc_ir::graph::Graph, Vec<String>, Vec<Rt>)> {
        let (payload, body) = model.items.iter().find_map(|i| match &i.kind {
            ItemKind::On { port: n, payload, body } if n.name == port => Some((payload, body)),
            _ => None,
        })?;
        let elem = match payload {
            Some(f) => self.payload_type(f, model, env)?,
            None => Elem::NUMBER,
        };
        let names: Vec<String> = super::actions::assigned(body).into_iter().map(String::from).collect();
        let written: Vec<(String, Elem, bool)> =
            names.iter().filter_map(|n| states.iter().find(|(s, ..)| s == n).cloned()).collect();
        self.begin(Capture::Scalar);
        let mut inner = env.clone();
        inner.noise = None;
        let w = self.region_param(elem, &[], "w");
        let mut before = Vec::new();
        for (n, e, _) in &written {
            let r = self.region_param(*e, &[], n);
            inner.bind(n, Val::Rt(r.clone()));
            before.push(r);
        }
        if let Some(f) = payload {
            inner.bind(&f.name.name, Val::Rt(w));
        }
        let mut writes = Writes {
            states: states.iter().map(|(n, e, _)| (n.clone(), *e)).collect(),
            emitted: None,
            place: "a handler",
        };
        let mut ok = self.run_actions(body, &mut inner, &mut writes);
        let mut results = Vec::new();
        for ((n, _, hold), old) in written.iter().zip(&before) {
            let span = model.name.span;
            let new = inner.get(n).cloned().unwrap_or(Val::Poison);
            let new = self.lift(&new, span);
            let new = match (new, hold, held) {
                (Some(new), true, Some(h)) => self.select(h, old, &new, span),
                (new, ..) => new,
            };
            match new {
                Some(r) => results.push(r.id),
                None => ok = false,
            }
        }
        let (graph, reads) = self.end(results);
        ok.then(|| (graph, written.into_iter().map(|(n, ..)| n).collect(), reads))
    }

    /// The declared type of what an event carries.
    pub(super) fn payload_type(&mut self, f: &'a ast::Field, model: &'a ast::Body, env: &Env<'a>) -> Option<Elem> {
        let mut env = env.clone();
        env.body = Some(model);
        let t = self.declared(&f.ty, &mut env)?;
        match t.elem {
            Elem::Real(_) if t.shape.is_empty() => Some(t.elem),
            _ => {
                self.report(
                    Diagnostic::error(codes::TYPE, f.ty.span, "an event carries one number or quantity")
                        .labelled(format!("this is {}", super::value::show_type(t.elem, &t.shape))),
                );
                None
            }
        }
    }

    /// Checks handlers that nothing connects to.
    pub(super) fn check_handlers(&mut self, p: usize, env: &Env<'a>, cells: &[Cell<'a>], held: Option<&Rt>) {
        let model = self.pops[p].model;
        let states = cell_states(cells);
        for item in &model.items {
            if let ItemKind::On { port, .. } = &item.kind
                && !self.pops[p].feeds.contains_key(&port.name)
            {
                self.handler(model, &port.name, env, &states, held);
            }
        }
    }
}
