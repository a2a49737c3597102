//! Expressions as text, for the names of probes and for settings of backends.

use crate::ast::{Expr, ExprKind, Index, Number};

/// An expression on one line, with the parentheses that its meaning needs.
pub(super) fn print(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Name(n) => n.name.clone(),
        ExprKind::Int(x) => x.to_string(),
        ExprKind::Float(x) => x.to_string(),
        ExprKind::Quantity { value, unit } => match value {
            Number::Int(x) => format!("{x} {}", unit.name),
            Number::Float(x) => format!("{x} {}", unit.name),
        },
        ExprKind::Str(s) => format!("{s:?}"),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::List(v) => format!("[{}]", list(v.iter().map(print))),
        ExprKind::Unary { op, expr } => match op {
            crate::ast::UnaryOp::Neg => format!("-{}", inner(expr)),
            crate::ast::UnaryOp::Not => format!("not {}", inner(expr)),
        },
        ExprKind::Binary { op, lhs, rhs } => format!("{} {} {}", inner(lhs), op.text(), inner(rhs)),
        ExprKind::If { cond, then, otherwise } => {
            format!("if {} then {} else {}", print(cond), print(then), print(otherwise))
        }
        ExprKind::Field { base, name } => format!("{}.{}", inner(base), name.name),
        ExprKind::Index { base, indices } => {
            let items = indices.iter().map(|i| match i {
                Index::At(e) => print(e),
                Index::Range(a, b) => format!("{}:{}", print(a), print(b)),
            });
            format!("{}[{}]", inner(base), list(items))
        }
        ExprKind::Call { callee, args } => {
            let items = args.iter().map(|a| match &a.name {
                Some(n) => format!("{} = {}", n.name, print(&a.value)),
                None => print(&a.value),
            });
            format!("{}({})", inner(callee), list(items))
        }
        ExprKind::Error => "?".into(),
    }
}

fn inner(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Binary { .. } | ExprKind::If { .. } | ExprKind::Unary { .. } => format!("({})", print(e)),
        _ => print(e),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
