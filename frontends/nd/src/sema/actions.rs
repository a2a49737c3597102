//! Statements of handlers and resets.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::value::{Elem, Rt, Val};
use crate::ast::{Action, ActionKind, AssignOp, BinaryOp};
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span};

/// What statements may write and what they have written.
pub(super) struct Writes {
    /// States, with their types.
    pub states: Vec<(String, Elem)>,
    /// What `emit` gave, in a synapse; `None` where `emit` is not allowed.
    pub emitted: Option<Vec<(Val, Span)>>,
    /// "a handler", for messages.
    pub place: &'static str,
}

/// The states that statements assign to, each once, in order of first assignment.
pub(super) fn assigned(body: &[Action]) -> Vec<&str> {
    let mut out: Vec<&str> = Vec::new();
    for a in body {
        if let ActionKind::Assign { path, .. } = &a.kind
            && let [one] = path.parts.as_slice()
            && !out.contains(&one.name.as_str())
        {
            out.push(&one.name);
        }
    }
    out
}

impl<'a> Elab<'a> {
    /// Runs statements one after the other; states are names bound in `env`, which holds the new values afterwards.
    pub(super) fn run_actions(&mut self, body: &'a [Action], env: &mut Env<'a>, w: &mut Writes) -> bool {
        let mut ok = true;
        for a in body {
            match &a.kind {
                ActionKind::Let { name, value } => {
                    let v = self.eval(value, env);
                    env.bind(&name.name, v);
                }
                ActionKind::Emit(value) => {
                    let v = self.eval(value, env);
                    match &mut w.emitted {
                        Some(list) => list.push((v, value.span)),
                        None => {
                            self.report(
                                Diagnostic::error(codes::MISPLACED, a.span, "`emit` belongs in `on pre` of a synapse")
                                    .labelled("not here"),
                            );
                            ok = false;
                        }
                    }
                }
                ActionKind::Assign { path, op, value } => {
                    let name = path.text();
                    let Some((_, elem)) = w.states.iter().find(|(n, _)| *n == name).cloned() else {
                        let mut d = if path.parts.len() == 1 && env.get(&name).is_some() {
                            Diagnostic::error(
                                codes::NOT_A_STATE,
                                path.span,
                                format!("`{name}` is not a state and cannot be assigned"),
                            )
                        } else {
                            Diagnostic::error(codes::UNKNOWN_NAME, path.span, format!("there is no state `{name}`"))
                        }
                        .labelled(format!("{} writes states only", w.place));
                        d.hint = nearest(&name, w.states.iter().map(|(n, _)| n.as_str()))
                            .map(|n| format!("did you mean `{n}`?"));
                        self.report(d);
                        ok = false;
                        continue;
                    };
                    let old = env.get(&name).cloned().unwrap_or(Val::Poison);
                    let v = self.eval(value, env);
                    let v = match op {
                        AssignOp::Set => v,
                        AssignOp::Add => self.binary(BinaryOp::Add, old, v, path.span, value.span, a.span),
                        AssignOp::Sub => self.binary(BinaryOp::Sub, old, v, path.span, value.span, a.span),
                        AssignOp::Mul => self.binary(BinaryOp::Mul, old, v, path.span, value.span, a.span),
                    };
                    match self.coerce(&v, elem, value.span, &format!("the new value of `{name}`")) {
                        Some(r) => env.bind(&name, Val::Rt(r)),
                        None => {
                            env.bind(&name, Val::Poison);
                            ok = false;
                        }
                    }
                }
            }
        }
        ok
    }

    /// `if c then a else b` on values of one type in the current graph.
    pub(super) fn select(&mut self, c: &Rt, a: &Rt, b: &Rt, span: Span) -> Option<Rt> {
        let c = self.here(c, span)?;
        let a = self.here(a, span)?;
        let b = self.here(b, span)?;
        let shape = [&a.shape, &b.shape, &c.shape].into_iter().find(|s| !s.is_empty()).cloned().unwrap_or_default();
        let id = self.node(span, |g| g.select(c.id, a.id, b.id))?;
        Some(self.rt(id, a.elem, shape))
    }
}
