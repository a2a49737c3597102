//! `target` blocks: settings for backends, checked against the keys that they understand.

use super::Elab;
use super::codes;
use super::print::print;
use super::units::Dims;
use crate::ast::{self, ExprKind};
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span};

/// A backend and the settings that it understands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetSpec {
    /// Its name in `target NAME { .. }`.
    pub name: String,
    /// Keys: a path such as `weights.memory`, or `*.key` for a key of anything that the net declares.
    pub keys: Vec<String>,
}

/// The value of a setting.
#[derive(Clone, PartialEq, Debug)]
pub enum SettingValue {
    /// A whole number.
    Int(i64),
    /// A plain number.
    Real(f64),
    /// A length of time in ms.
    Time(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// A word or a call such as `fix(16, 8)`, as written.
    Word(String),
}

/// One setting.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// `h1.neurons_per_core`.
    pub path: String,
    /// Its value.
    pub value: SettingValue,
    /// Where it is written.
    pub span: Span,
}

/// What the file asks of one backend.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetSettings {
    /// The backend.
    pub name: String,
    /// Settings in the order written.
    pub settings: Vec<Setting>,
    /// Where the block begins.
    pub span: Span,
}

impl Elab<'_> {
    /// Reads the `target` blocks of the main file. Blocks for backends that this build lacks are noted and skipped.
    pub(super) fn targets(&mut self) -> Vec<TargetSettings> {
        let sources = self.sources;
        let options = self.options;
        let mut out = Vec::new();
        for top in sources.files.first().map_or(&[][..], |f| &f.ast.tops) {
            let ast::TopKind::Target(t) = &top.kind else { continue };
            let Some(spec) = options.targets.iter().find(|s| s.name == t.name.name) else {
                let mut d = Diagnostic::note(
                    codes::NO_TARGET,
                    t.name.span,
                    format!("this build reads no settings for a backend `{}`", t.name.name),
                )
                .labelled("its settings are not checked");
                d.hint = nearest(&t.name.name, options.targets.iter().map(|s| s.name.as_str()))
                    .map(|n| format!("did you mean `{n}`?"));
                self.report(d);
                continue;
            };
            let mut settings = Vec::new();
            for e in &t.entries {
                if let Some(s) = self.setting(e, spec) {
                    settings.push(s);
                }
            }
            out.push(TargetSettings { name: spec.name.clone(), settings, span: t.name.span });
        }
        out
    }

    fn setting(&mut self, e: &ast::Entry, spec: &TargetSpec) -> Option<Setting> {
        let path = e.path.text();
        let (last, lead) = e.path.parts.split_last()?;
        let exact = spec.keys.contains(&path);
        let wild = !lead.is_empty() && spec.keys.iter().any(|k| k.strip_prefix("*.") == Some(last.name.as_str()));
        if !exact && !wild {
            let mut d =
                Diagnostic::error(codes::UNKNOWN_KEY, e.path.span, format!("`{}` has no setting `{path}`", spec.name))
                    .labelled("unknown setting");
            let tails = spec.keys.iter().map(|k| k.strip_prefix("*.").unwrap_or(k));
            d.hint = Some(
                match nearest(&path, spec.keys.iter().map(String::as_str).filter(|k| !k.starts_with("*.")))
                    .or(nearest(&last.name, tails))
                {
                    Some(n) => format!("did you mean `{n}`?"),
                    None => format!("it has {}", spec.keys.join(", ")),
                },
            );
            self.report(d);
            return None;
        }
        if !exact
            && let (Some(first), Some(main)) = (lead.first(), self.insts.first())
            && !main.names.contains_key(&first.name)
        {
            let known: Vec<String> = main.entities.iter().map(|e| e.name.name.clone()).collect();
            let net = main.net.name.name.clone();
            let mut d = Diagnostic::error(codes::UNKNOWN_NAME, first.span, format!("`{net}` has no `{}`", first.name))
                .labelled("not declared in the net");
            d.hint = nearest(&first.name, known.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
            self.report(d);
            return None;
        }
        let value = match &e.value.kind {
            ExprKind::Name(_) | ExprKind::Call { .. } => SettingValue::Word(print(&e.value)),
            _ => self.setting_value(e)?,
        };
        Some(Setting { path, value, span: e.span })
    }

    fn setting_value(&mut self, e: &ast::Entry) -> Option<SettingValue> {
        // Settings live in the main file, whose tree outlives the elaboration; only literals are read here.
        match literal(&e.value) {
            Some(v) => Some(v),
            None => {
                self.report(
                    Diagnostic::error(
                        codes::NOT_CONST,
                        e.value.span,
                        "a setting is a number, a length of time, a truth value, text or a word",
                    )
                    .labelled("none of these"),
                );
                None
            }
        }
    }
}

fn literal(e: &ast::Expr) -> Option<SettingValue> {
    Some(match &e.kind {
        ExprKind::Int(x) => SettingValue::Int(*x),
        ExprKind::Float(x) => SettingValue::Real(*x),
        ExprKind::Bool(b) => SettingValue::Bool(*b),
        ExprKind::Str(s) => SettingValue::Text(s.clone()),
        ExprKind::Quantity { value, unit } => {
            let unit = super::quantity::unit_named(unit).ok().filter(|u| u.dims == Dims::TIME)?;
            SettingValue::Time(unit.erase(value.as_f64()))
        }
        ExprKind::Unary { op: ast::UnaryOp::Neg, expr } => match literal(expr)? {
            SettingValue::Int(x) => SettingValue::Int(x.checked_neg()?),
            SettingValue::Real(x) => SettingValue::Real(-x),
            SettingValue::Time(x) => SettingValue::Time(-x),
            _ => return None,
        },
        _ => return None,
    })
}
