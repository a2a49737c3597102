//! Operators: compile-time arithmetic on whole and real numbers, and nodes for everything else.

use super::Elab;
use super::codes;
use super::units::Dims;
use super::value::{Elem, Rt, Val, show_type};
use crate::ast::BinaryOp;
use nc_ir::{Diagnostic, Span};

/// `x % y` with the sign of the dividend, as [`nc_ir::graph::Op::Rem`].
fn rem(x: f64, y: f64) -> f64 {
    x - y * (x / y).trunc()
}

impl Elab<'_> {
    pub(super) fn negate(&mut self, v: Val, span: Span) -> Val {
        match v {
            Val::Int(x) => match x.checked_neg() {
                Some(x) => Val::Int(x),
                None => self.overflow(span),
            },
            Val::Real(x, d) => Val::Real(-x, d),
            Val::Poison => Val::Poison,
            other => self.negate_value(&other, span).map_or(Val::Poison, Val::Rt),
        }
    }

    fn negate_value(&mut self, v: &Val, span: Span) -> Option<Rt> {
        let r = self.lift(v, span)?;
        let r = if r.elem == Elem::Bool { self.as_real(r, span)? } else { r };
        let id = self.node(span, |b| b.neg(r.id))?;
        Some(self.rt(id, r.elem, r.shape))
    }

    pub(super) fn complement(&mut self, v: Val, span: Span) -> Val {
        match v {
            Val::Bool(x) => Val::Bool(!x),
            Val::Poison => Val::Poison,
            other => self.complement_value(&other, span).map_or(Val::Poison, Val::Rt),
        }
    }

    fn complement_value(&mut self, v: &Val, span: Span) -> Option<Rt> {
        let r = self.truth_value(v, span)?;
        let id = self.node(span, |b| b.not(r.id))?;
        Some(self.rt(id, Elem::Bool, r.shape))
    }

    /// A truth value of the current graph; anything else is an error.
    pub(super) fn truth_value(&mut self, v: &Val, span: Span) -> Option<Rt> {
        let r = self.lift(v, span)?;
        if r.elem != Elem::Bool {
            self.report(
                Diagnostic::error(codes::TYPE, span, "a truth value is expected here")
                    .labelled(format!("this is {}", show_type(r.elem, &r.shape)))
                    .with_hint("compare it with something: `x > 0`"),
            );
            return None;
        }
        Some(r)
    }

    fn overflow(&mut self, span: Span) -> Val {
        self.report(
            Diagnostic::error(codes::ARITHMETIC, span, "the whole number is too large")
                .labelled("does not fit in 64 bits"),
        );
        Val::Poison
    }

    /// `a op b`.
    pub(super) fn binary(&mut self, op: BinaryOp, a: Val, b: Val, sa: Span, sb: Span, span: Span) -> Val {
        match (&a, &b) {
            (Val::Poison, _) | (_, Val::Poison) => Val::Poison,
            (Val::Int(x), Val::Int(y)) => self.int_op(op, *x, *y, sb, span),
            (Val::Bool(x), Val::Bool(y))
                if matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Eq | BinaryOp::Ne) =>
            {
                Val::Bool(match op {
                    BinaryOp::And => *x && *y,
                    BinaryOp::Or => *x || *y,
                    BinaryOp::Eq => x == y,
                    _ => x != y,
                })
            }
            (Val::Str(x), Val::Str(y)) if matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                Val::Bool((x == y) == (op == BinaryOp::Eq))
            }
            (Val::Int(_) | Val::Real(..), Val::Int(_) | Val::Real(..)) => {
                let ((x, dx), (y, dy)) = (a.number().unwrap_or_default(), b.number().unwrap_or_default());
                self.real_op(op, (x, dx), (y, dy), &b, sa, sb, span)
            }
            _ => self.node_op(op, &a, &b, sa, sb, span).map_or(Val::Poison, Val::Rt),
        }
    }

    fn int_op(&mut self, op: BinaryOp, x: i64, y: i64, sb: Span, span: Span) -> Val {
        let zero = |s: &mut Self| {
            s.report(Diagnostic::error(codes::ARITHMETIC, sb, "division by zero").labelled("this is 0"));
            Val::Poison
        };
        let r = match op {
            BinaryOp::Add => x.checked_add(y),
            BinaryOp::Sub => x.checked_sub(y),
            BinaryOp::Mul => x.checked_mul(y),
            BinaryOp::Div => {
                if y == 0 {
                    return zero(self);
                }
                if x.checked_rem(y) != Some(0) {
                    self.report(
                        Diagnostic::error(codes::ARITHMETIC, span, format!("{x} / {y} is not a whole number"))
                            .labelled("whole numbers must divide exactly")
                            .with_hint(format!("write `{x}.0 / {y}` for a real quotient")),
                    );
                    return Val::Poison;
                }
                x.checked_div(y)
            }
            BinaryOp::Rem => {
                if y == 0 {
                    return zero(self);
                }
                x.checked_rem(y)
            }
            BinaryOp::Pow => match u32::try_from(y) {
                Ok(n) => x.checked_pow(n),
                Err(_) if y < 0 => return Val::Real((x as f64).powf(y as f64), Dims::NONE),
                Err(_) => None,
            },
            BinaryOp::Lt => return Val::Bool(x < y),
            BinaryOp::Le => return Val::Bool(x <= y),
            BinaryOp::Gt => return Val::Bool(x > y),
            BinaryOp::Ge => return Val::Bool(x >= y),
            BinaryOp::Eq => return Val::Bool(x == y),
            BinaryOp::Ne => return Val::Bool(x != y),
            BinaryOp::And | BinaryOp::Or => return self.not_truth(span),
        };
        match r {
            Some(x) => Val::Int(x),
            None => self.overflow(span),
        }
    }

    fn not_truth(&mut self, span: Span) -> Val {
        self.report(
            Diagnostic::error(codes::TYPE, span, "`and`, `or` and `not` take truth values")
                .labelled("these are numbers"),
        );
        Val::Poison
    }

    #[allow(clippy::too_many_arguments)]
    fn real_op(
        &mut self,
        op: BinaryOp,
        (x, dx): (f64, Dims),
        (y, dy): (f64, Dims),
        b: &Val,
        sa: Span,
        sb: Span,
        span: Span,
    ) -> Val {
        let dims = match op {
            BinaryOp::Mul => dx.times(dy),
            BinaryOp::Div => dx.over(dy),
            BinaryOp::Pow => match self.power_dims(dx, b, sb) {
                Some(d) => Some(d),
                None => return Val::Poison,
            },
            BinaryOp::And | BinaryOp::Or => return self.not_truth(span),
            _ => {
                if dx != dy {
                    self.unit_clash(op.text(), dx, dy, sa, sb, span);
                    return Val::Poison;
                }
                Some(dx)
            }
        };
        let Some(dims) = dims else { return self.huge_unit(span) };
        let r = match op {
            BinaryOp::Add => x + y,
            BinaryOp::Sub => x - y,
            BinaryOp::Mul => x * y,
            BinaryOp::Div if y == 0.0 => {
                self.report(Diagnostic::error(codes::ARITHMETIC, sb, "division by zero").labelled("this is 0"));
                return Val::Poison;
            }
            BinaryOp::Div => x / y,
            BinaryOp::Rem => rem(x, y),
            BinaryOp::Pow => x.powf(y),
            BinaryOp::Lt => return Val::Bool(x < y),
            BinaryOp::Le => return Val::Bool(x <= y),
            BinaryOp::Gt => return Val::Bool(x > y),
            BinaryOp::Ge => return Val::Bool(x >= y),
            BinaryOp::Eq => return Val::Bool(x == y),
            BinaryOp::Ne => return Val::Bool(x != y),
            BinaryOp::And | BinaryOp::Or => return self.not_truth(span),
        };
        if !r.is_finite() {
            self.report(
                Diagnostic::error(codes::ARITHMETIC, span, "the value of this constant is not a finite number")
                    .labelled(format!("{x} {} {y}", op.text())),
            );
            return Val::Poison;
        }
        Val::Real(r, dims)
    }

    fn huge_unit(&mut self, span: Span) -> Val {
        self.report(
            Diagnostic::error(codes::UNIT, span, "the unit of this expression is out of range").labelled("here"),
        );
        Val::Poison
    }

    /// The dimension of `x ^ b` for x of dimension `d`.
    fn power_dims(&mut self, d: Dims, b: &Val, sb: Span) -> Option<Dims> {
        let Some((y, dy)) = b.number() else {
            if d.is_none() {
                return Some(d);
            }
            self.report(
                Diagnostic::error(codes::UNIT, sb, format!("a quantity in {d} needs a constant exponent"))
                    .labelled("not known at compile time"),
            );
            return None;
        };
        if !dy.is_none() {
            self.report(
                Diagnostic::error(codes::UNIT, sb, "an exponent has no unit").labelled(format!("this is in {dy}")),
            );
            return None;
        }
        if d.is_none() {
            return Some(d);
        }
        let r = if y.fract() == 0.0 && y.abs() < 128.0 {
            d.pow(y as i64)
        } else if (y * 2.0).fract() == 0.0 && y.abs() < 64.0 {
            d.pow((y * 2.0) as i64).and_then(Dims::sqrt)
        } else {
            None
        };
        if r.is_none() {
            self.report(
                Diagnostic::error(codes::UNIT, sb, format!("a quantity in {d} cannot be raised to this power"))
                    .labelled("the unit would have a fractional exponent"),
            );
        }
        r
    }

    /// Two units that should be one.
    pub(super) fn unit_clash(&mut self, op: &str, a: Dims, b: Dims, sa: Span, sb: Span, span: Span) {
        let mut d = Diagnostic::error(codes::UNIT, span, format!("`{op}` of {a} and {b}"))
            .labelled("the units do not match")
            .with_label(sa, format!("in {a}"))
            .with_label(sb, format!("in {b}"));
        if a.is_none() != b.is_none() {
            let u = if a.is_none() { b } else { a };
            d = d.with_hint(format!("give the plain number a unit: `1 {u}`"));
        }
        self.report(d);
    }

    /// The common shape of two operands: equal, or one is a scalar.
    pub(super) fn common_shape(&mut self, a: &Rt, b: &Rt, sa: Span, sb: Span, span: Span) -> Option<Vec<u64>> {
        if a.shape == b.shape || b.shape.is_empty() {
            return Some(a.shape.clone());
        }
        if a.shape.is_empty() {
            return Some(b.shape.clone());
        }
        let (ta, tb) = (show_type(a.elem, &a.shape), show_type(b.elem, &b.shape));
        self.report(
            Diagnostic::error(codes::SHAPE, span, format!("the shapes of {ta} and {tb} differ"))
                .labelled("element by element needs equal shapes, or a scalar")
                .with_label(sa, ta)
                .with_label(sb, tb),
        );
        None
    }

    fn node_op(&mut self, op: BinaryOp, a: &Val, b: &Val, sa: Span, sb: Span, span: Span) -> Option<Rt> {
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            let x = self.truth_value(a, sa)?;
            let y = self.truth_value(b, sb)?;
            let shape = self.common_shape(&x, &y, sa, sb, span)?;
            let id = self.node(span, |g| if op == BinaryOp::And { g.and(x.id, y.id) } else { g.or(x.id, y.id) })?;
            return Some(self.rt(id, Elem::Bool, shape));
        }
        let whole = |v: &Val| matches!(v, Val::Int(_)) || matches!(v, Val::Rt(r) if r.elem == Elem::Int);
        let truth = |v: &Val| matches!(v, Val::Bool(_)) || matches!(v, Val::Rt(r) if r.elem == Elem::Bool);
        if truth(a) && truth(b) && matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            let x = self.lift(a, sa)?;
            let y = self.lift(b, sb)?;
            let shape = self.common_shape(&x, &y, sa, sb, span)?;
            let mut id = self.node(span, |g| g.xor(x.id, y.id))?;
            if op == BinaryOp::Eq {
                id = self.node(span, |g| g.not(id))?;
            }
            return Some(self.rt(id, Elem::Bool, shape));
        }
        if whole(a) && whole(b) && op != BinaryOp::Pow {
            let x = self.lift(a, sa)?;
            let y = self.lift(b, sb)?;
            if op == BinaryOp::Div {
                self.report(
                    Diagnostic::error(codes::ARITHMETIC, span, "whole numbers that are not constant cannot be divided")
                        .labelled("the quotient may not be whole")
                        .with_hint("multiply one by 1.0 for a real quotient"),
                );
                return None;
            }
            return self.apply(op, x, y, Elem::Int, sa, sb, span);
        }
        let x = self.lift_real(a, sa)?;
        let dx = x.elem.dims();
        if op == BinaryOp::Pow {
            let d = self.power_dims(dx, b, sb)?;
            return self.power(x, b, d, sa, sb, span);
        }
        let y = self.lift_real(b, sb)?;
        let dy = y.elem.dims();
        let dims = match op {
            BinaryOp::Mul => dx.times(dy),
            BinaryOp::Div => dx.over(dy),
            _ if dx != dy => {
                self.unit_clash(op.text(), dx, dy, sa, sb, span);
                return None;
            }
            _ => Some(dx),
        };
        let Some(dims) = dims else {
            self.huge_unit(span);
            return None;
        };
        self.apply(op, x, y, Elem::Real(dims), sa, sb, span)
    }

    /// The node of an arithmetic operator or comparison on operands of one element type.
    #[allow(clippy::too_many_arguments)]
    fn apply(&mut self, op: BinaryOp, x: Rt, y: Rt, elem: Elem, sa: Span, sb: Span, span: Span) -> Option<Rt> {
        let shape = self.common_shape(&x, &y, sa, sb, span)?;
        let (a, b) = (x.id, y.id);
        let id = self.node(span, |g| match op {
            BinaryOp::Add => g.add(a, b),
            BinaryOp::Sub => g.sub(a, b),
            BinaryOp::Mul => g.mul(a, b),
            BinaryOp::Div => g.div(a, b),
            BinaryOp::Rem => g.rem(a, b),
            BinaryOp::Pow => g.pow(a, b),
            BinaryOp::Lt => g.lt(a, b),
            BinaryOp::Le => g.le(a, b),
            BinaryOp::Gt => g.gt(a, b),
            BinaryOp::Ge => g.ge(a, b),
            BinaryOp::Eq => g.eq(a, b),
            BinaryOp::Ne => g.ne(a, b),
            BinaryOp::And => g.and(a, b),
            BinaryOp::Or => g.or(a, b),
        })?;
        let elem = match op {
            BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge | BinaryOp::Eq | BinaryOp::Ne => Elem::Bool,
            _ => elem,
        };
        Some(self.rt(id, elem, shape))
    }

    /// `x ^ b`: `x * x` for 2, `x * x * x` for 3, `sqrt(x)` for 0.5, `1 / x` for -1, else `pow`.
    fn power(&mut self, x: Rt, b: &Val, d: Dims, sa: Span, sb: Span, span: Span) -> Option<Rt> {
        let elem = Elem::Real(d);
        let shape = x.shape.clone();
        let constant = match b {
            Val::Int(k) => Some(*k as f64),
            Val::Real(y, _) => Some(*y),
            _ => None,
        };
        let id = match constant {
            Some(1.0) => x.id,
            Some(2.0) => self.node(span, |g| g.mul(x.id, x.id))?,
            Some(3.0) => {
                let s = self.node(span, |g| g.mul(x.id, x.id))?;
                self.node(span, |g| g.mul(s, x.id))?
            }
            Some(0.5) => self.node(span, |g| g.sqrt(x.id))?,
            Some(-1.0) => {
                let one = self.real(1.0, Dims::NONE, span)?;
                self.node(span, |g| g.div(one.id, x.id))?
            }
            _ => {
                let y = self.lift_real(b, sb)?;
                return self.apply(BinaryOp::Pow, x, y, elem, sa, sb, span);
            }
        };
        Some(self.rt(id, elem, shape))
    }

    /// `if c then a else b` for a condition that is not constant: both are computed, one is taken.
    pub(super) fn choose(&mut self, c: Val, a: Val, b: Val, sc: Span, sa: Span, sb: Span) -> Val {
        if c.is_poison() || a.is_poison() || b.is_poison() {
            return Val::Poison;
        }
        self.choose_value(&c, &a, &b, sc, sa, sb).map_or(Val::Poison, Val::Rt)
    }

    fn choose_value(&mut self, c: &Val, a: &Val, b: &Val, sc: Span, sa: Span, sb: Span) -> Option<Rt> {
        let c = self.truth_value(c, sc)?;
        let (x, y) = self.pair(a, b, sa, sb, "if")?;
        let shape = self.common_shape(&x, &y, sa, sb, sa.to(sb))?;
        let probe = Rt { shape: shape.clone(), ..x.clone() };
        let shape = self.common_shape(&c, &probe, sc, sa, sc.to(sb))?;
        let id = self.node(sc.to(sb), |g| g.select(c.id, x.id, y.id))?;
        let r = self.rt(id, x.elem, shape.clone());
        Some(r)
    }

    /// Two values of one element type and dimension.
    pub(super) fn pair(&mut self, a: &Val, b: &Val, sa: Span, sb: Span, what: &str) -> Option<(Rt, Rt)> {
        let elem = |v: &Val| match v {
            Val::Int(_) => Some(Elem::Int),
            Val::Bool(_) => Some(Elem::Bool),
            Val::Rt(r) => Some(r.elem),
            _ => None,
        };
        if let (Some(p), Some(q)) = (elem(a), elem(b))
            && p == q
        {
            return Some((self.lift(a, sa)?, self.lift(b, sb)?));
        }
        let x = self.lift_real(a, sa)?;
        let y = self.lift_real(b, sb)?;
        if x.elem != y.elem {
            self.unit_clash(what, x.elem.dims(), y.elem.dims(), sa, sb, sa.to(sb));
            return None;
        }
        Some((x, y))
    }
}
