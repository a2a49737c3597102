//! Builds the tree for the grammar's actions and keeps its depth bounded.

use crate::ast::{Arg, BinaryOp, Expr, ExprKind, Ident, Index, IntLit, Number, StrLit, UnaryOp};
use crate::parse::MAX_DEPTH;
use crate::sink::{MAX_ERRORS, Sink};
use crate::token::{Kind, unescape};
use lalrpop_util::{ErrorRecovery, ParseError};
use nc_ir::Span;
use rustc_hash::FxHashMap;
use std::cell::Cell;

/// An expression and the depth of its tree.
#[derive(Debug)]
pub(crate) struct DeepExpr {
    pub(crate) expr: Expr,
    depth: usize,
}

/// An index before its depth is accounted for.
#[derive(Debug)]
pub(crate) enum DeepIndex {
    At(DeepExpr),
    Range(DeepExpr, DeepExpr),
}

/// An argument before its depth is accounted for.
#[derive(Debug)]
pub(crate) struct DeepArg {
    pub(crate) name: Option<Ident>,
    pub(crate) value: DeepExpr,
    pub(crate) span: Span,
}

/// What the grammar's actions work with.
pub(crate) struct Builder<'s> {
    src: &'s str,
    docs: FxHashMap<usize, String>,
    sink: &'s mut Sink,
    /// The last expression refused for its depth.
    refused: Option<Span>,
    /// Tells the token stream to end.
    stop: &'s Cell<bool>,
    /// What the parser did not expect, for [`crate::parse()`] to put into words.
    pub(crate) errors: Vec<ParseError<usize, Kind, ()>>,
}

impl<'s> Builder<'s> {
    pub(crate) fn new(
        src: &'s str,
        docs: FxHashMap<usize, String>,
        sink: &'s mut Sink,
        stop: &'s Cell<bool>,
    ) -> Builder<'s> {
        Builder { src, docs, sink, refused: None, stop, errors: Vec::new() }
    }

    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        self.sink.span(start, end.max(start))
    }

    fn text(&self, start: usize, end: usize) -> &'s str {
        self.src.get(start..end).unwrap_or("")
    }

    pub(crate) fn doc(&self, start: usize) -> Option<String> {
        self.docs.get(&start).cloned()
    }

    pub(crate) fn recover(&mut self, recovery: ErrorRecovery<usize, Kind, ()>) {
        self.errors.push(recovery.error);
        self.stop.set(self.errors.len() > MAX_ERRORS);
    }

    pub(crate) fn ident(&self, start: usize, end: usize) -> Ident {
        Ident::new(self.text(start, end).replace('\u{3bc}', "\u{b5}"), self.span(start, end))
    }

    pub(crate) fn string(&self, start: usize, end: usize) -> StrLit {
        StrLit { value: unescape(self.text(start, end)), span: self.span(start, end) }
    }

    pub(crate) fn int_literal(&mut self, start: usize, end: usize) -> IntLit {
        let text = self.text(start, end);
        let value = text.parse().unwrap_or_else(|_| {
            let message = format!("the whole number `{}` is too large", shorten(text));
            let hint = format!("at most {} fits; write a larger number with an exponent, as in `1e20`", i64::MAX);
            self.sink.error("E0004", start, end, message, "", Some(hint));
            0
        });
        IntLit { value, span: self.span(start, end) }
    }

    pub(crate) fn float(&mut self, start: usize, end: usize) -> f64 {
        let text = self.text(start, end);
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => value,
            Ok(_) => {
                let message = format!("the number `{}` is too large", shorten(text));
                self.sink.error("E0004", start, end, message, "", Some("the largest is about 1.8e308".into()));
                0.0
            }
            // The lexer has already said what is wrong with it.
            Err(_) => 0.0,
        }
    }

    /// A node above others, of which `below` is the greatest depth.
    fn node(&mut self, start: usize, kind: ExprKind, below: usize, end: usize) -> DeepExpr {
        let span = self.span(start, end);
        if below < MAX_DEPTH {
            return DeepExpr { expr: Expr::new(kind, span), depth: below + 1 };
        }
        match &mut self.refused {
            // A chain that goes on after it was refused is refused in silence.
            Some(last) if last.start <= span.end && span.start <= last.end => *last = last.to(span),
            refused => {
                *refused = Some(span);
                let message = format!("this expression has a chain of more than {MAX_DEPTH} operations");
                let hint = "name parts of it with `let`, or use `sum` over a tensor";
                self.sink.error("E0007", start, end, message, "", Some(hint.into()));
            }
        }
        DeepExpr { expr: Expr::new(ExprKind::Error, span), depth: 1 }
    }

    pub(crate) fn leaf(&mut self, start: usize, kind: ExprKind, end: usize) -> DeepExpr {
        self.node(start, kind, 0, end)
    }

    pub(crate) fn number(&mut self, start: usize, value: Number, end: usize) -> DeepExpr {
        let kind = match value {
            Number::Int(i) => ExprKind::Int(i),
            Number::Float(f) => ExprKind::Float(f),
        };
        self.leaf(start, kind, end)
    }

    pub(crate) fn parens(&self, start: usize, x: DeepExpr, end: usize) -> DeepExpr {
        DeepExpr { expr: Expr { span: self.span(start, end), ..x.expr }, depth: x.depth }
    }

    pub(crate) fn unary(&mut self, start: usize, op: UnaryOp, x: DeepExpr, end: usize) -> DeepExpr {
        self.node(start, ExprKind::Unary { op, expr: Box::new(x.expr) }, x.depth, end)
    }

    pub(crate) fn binary(&mut self, start: usize, x: DeepExpr, op: BinaryOp, y: DeepExpr, end: usize) -> DeepExpr {
        let below = x.depth.max(y.depth);
        self.node(start, ExprKind::Binary { op, lhs: Box::new(x.expr), rhs: Box::new(y.expr) }, below, end)
    }

    pub(crate) fn if_then(&mut self, start: usize, c: DeepExpr, t: DeepExpr, e: DeepExpr, end: usize) -> DeepExpr {
        let below = c.depth.max(t.depth).max(e.depth);
        let (cond, then, otherwise) = (Box::new(c.expr), Box::new(t.expr), Box::new(e.expr));
        self.node(start, ExprKind::If { cond, then, otherwise }, below, end)
    }

    pub(crate) fn field(&mut self, start: usize, x: DeepExpr, name: Ident, end: usize) -> DeepExpr {
        self.node(start, ExprKind::Field { base: Box::new(x.expr), name }, x.depth, end)
    }

    pub(crate) fn index(&mut self, start: usize, x: DeepExpr, indices: Vec<DeepIndex>, end: usize) -> DeepExpr {
        let mut below = x.depth;
        let indices = indices
            .into_iter()
            .map(|i| match i {
                DeepIndex::At(e) => {
                    below = below.max(e.depth);
                    Index::At(e.expr)
                }
                DeepIndex::Range(from, to) => {
                    below = below.max(from.depth).max(to.depth);
                    Index::Range(from.expr, to.expr)
                }
            })
            .collect();
        self.node(start, ExprKind::Index { base: Box::new(x.expr), indices }, below, end)
    }

    pub(crate) fn call(&mut self, start: usize, x: DeepExpr, args: Vec<DeepArg>, end: usize) -> DeepExpr {
        let below = args.iter().map(|a| a.value.depth).max().unwrap_or(0).max(x.depth);
        let args = self.args(args);
        self.node(start, ExprKind::Call { callee: Box::new(x.expr), args }, below, end)
    }

    pub(crate) fn list(&mut self, start: usize, items: Vec<DeepExpr>, end: usize) -> DeepExpr {
        let below = items.iter().map(|x| x.depth).max().unwrap_or(0);
        let items = self.exprs(items);
        self.node(start, ExprKind::List(items), below, end)
    }

    pub(crate) fn exprs(&self, items: Vec<DeepExpr>) -> Vec<Expr> {
        items.into_iter().map(|x| x.expr).collect()
    }

    pub(crate) fn args(&self, args: Vec<DeepArg>) -> Vec<Arg> {
        args.into_iter().map(|a| Arg { name: a.name, value: a.value.expr, span: a.span }).collect()
    }
}

/// The beginning of a long word.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(24) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or("")),
        None => text.to_string(),
    }
}
