//! Parameters of populations and the entries that set them.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::fold::Places;
use super::value::{Rt, Ty, Val, show_shape};
use crate::ast::{self, Expr, ItemKind};
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span, Tensor};
use rustc_hash::FxHashMap;

impl<'a> Elab<'a> {
    /// Parameters of a population, as far as they can be computed; does not compute the population.
    pub(super) fn pop_params(&mut self, p: usize) {
        if std::mem::replace(&mut self.pops[p].params_done, true) {
            return;
        }
        let regions = std::mem::take(&mut self.frames);
        self.check_pop_entries(p);
        let model = self.pops[p].model;
        let mut env = self.pop_env(p);
        for item in &model.items {
            if let ItemKind::Param { name, ty, value } = &item.kind {
                let v = self.pop_param(p, name, ty, value.as_ref(), &mut env).map_or(Val::Poison, Val::Rt);
                env.bind(&name.name, v.clone());
                self.pops[p].values.insert(name.name.clone(), v);
            }
        }
        self.frames = regions;
    }

    fn check_pop_entries(&mut self, p: usize) {
        let pop = &self.pops[p];
        let names: Vec<&str> = pop
            .model
            .items
            .iter()
            .filter_map(|i| match &i.kind {
                ItemKind::Param { name, .. } | ItemKind::State { name, .. } => Some(name.name.as_str()),
                _ => None,
            })
            .collect();
        let mut found = Vec::new();
        let mut seen: FxHashMap<String, Span> = FxHashMap::default();
        for e in pop.entries {
            let text = e.path.text();
            if !names.contains(&text.as_str()) {
                let mut d = Diagnostic::error(
                    codes::UNKNOWN_KEY,
                    e.path.span,
                    format!("`{}` has no param or state `{text}`", pop.model.name.name),
                )
                .labelled("unknown key");
                d.hint = Some(match nearest(&text, names.iter().copied()) {
                    Some(n) => format!("did you mean `{n}`?"),
                    None => format!("it has {}", names.join(", ")),
                });
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

    /// The expression that an entry gives for a name, and where it stands.
    pub(super) fn pop_entry(&self, p: usize, name: &str) -> Option<(&'a Expr, Env<'a>)> {
        let pop = self.pops.get(p)?;
        let e = pop.entries.iter().find(|e| e.path.text() == name)?;
        Some((&e.value, self.net_env(pop.inst)))
    }

    /// A scalar type: neurons are element by element.
    pub(super) fn cell_type(&mut self, ty: &'a ast::Type, env: &mut Env<'a>) -> Option<Ty> {
        let t = self.declared(ty, env)?;
        if !t.shape.is_empty() {
            self.report(
                Diagnostic::error(codes::SHAPE, ty.span, "a neuron's items are scalars: the shape is on the `pop`")
                    .labelled(format!("has the shape {}", show_shape(&t.shape))),
            );
            return None;
        }
        Some(t)
    }

    fn pop_param(
        &mut self,
        p: usize,
        name: &'a ast::Ident,
        ty: &'a ast::Type,
        value: Option<&'a Expr>,
        env: &mut Env<'a>,
    ) -> Option<Rt> {
        let full = format!("{}.{}", self.pops[p].name, name.name);
        let shape = self.pops[p].shape.clone();
        let t = self.cell_type(ty, env)?;
        let data = if let Some(host) = self.host_value(&full) {
            let shape = if host.data.len() == 1 { Vec::new() } else { shape };
            self.conform(&host, &Ty { shape, ..t.clone() }, name.span)?
        } else {
            let (e, mut at) = match (self.pop_entry(p, &name.name), value) {
                (Some(given), _) => given,
                (None, Some(e)) => (e, env.clone()),
                (None, None) if self.dry => {
                    let zero = Tensor::zeros(t.elem.dtype(), Vec::new());
                    let id = self.m.add_const(full, zero);
                    return self.constant(id, t.elem, name.span);
                }
                (None, None) => {
                    self.report(
                        Diagnostic::error(
                            codes::NO_VALUE,
                            self.pops[p].span,
                            format!("the param `{full}` has no value"),
                        )
                        .labelled("not given here")
                        .with_label(name.span, "no default")
                        .with_hint(format!("write `pop .. {{ {} = .. }}`", name.name)),
                    );
                    return None;
                }
            };
            at.place = format!("{full}.");
            at.noise = None;
            at.ticks = false;
            self.fold(e, &mut at, &t, Places::Elements(&shape), &format!("`{full}`"))?
        };
        self.stored_param(&full, data, &t, name.span)
    }
}
