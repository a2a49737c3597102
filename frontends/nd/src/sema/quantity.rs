//! Units and durations as written in a file.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::units::{self, Dims, Unit};
use super::value::Val;
use crate::ast;
use nc_ir::diag::nearest;
use nc_ir::{Diagnostic, Span};

/// The unit with this name.
///
/// # Errors
/// If there is none.
pub(super) fn unit_named(name: &ast::Ident) -> Result<Unit, Diagnostic> {
    units::parse(&name.name).ok_or_else(|| {
        let mut d = Diagnostic::error(codes::UNKNOWN_UNIT, name.span, format!("`{}` is not a unit", name.name))
            .labelled("unknown unit");
        d.hint = match nearest(&name.name, units::COMMON.iter().copied()) {
            Some(n) => Some(format!("did you mean `{n}`?")),
            None if name.name == "real" => Some("a plain number has no unit".into()),
            None => None,
        };
        d
    })
}

/// The unit of a type, which is not one of the words `real`, `int`, `bool`, `spike`.
///
/// # Errors
/// If a name is not a unit or the exponents are out of range.
pub(super) fn unit_of(u: &ast::Unit) -> Result<Unit, Diagnostic> {
    let mut out = Unit::ONE;
    for f in &u.factors {
        let base = match &f.base {
            ast::UnitBase::Name(n) => unit_named(n)?,
            ast::UnitBase::Int(k) if k.value == 1 => Unit::ONE,
            ast::UnitBase::Int(k) => {
                return Err(Diagnostic::error(codes::UNKNOWN_UNIT, k.span, "only the number 1 can stand in a unit")
                    .labelled("not 1"));
            }
        };
        let n = if f.divide { f.power.checked_neg() } else { Some(f.power) };
        let next = n.and_then(|n| {
            let power = i32::try_from(n).ok()?.checked_mul(base.power)?;
            let power = out.power.checked_add(power).filter(|p| p.abs() <= 300)?;
            let unit = Unit { dims: out.dims.times(base.dims.pow(n)?)?, power };
            // Powers of ten beyond this are not numbers any more.
            (unit.scale().abs() <= 300).then_some(unit)
        });
        out = next.ok_or_else(|| {
            Diagnostic::error(codes::UNIT, f.span, "the exponent of this unit is out of range").labelled("too large")
        })?;
    }
    Ok(out)
}

/// A duration in ticks of `dt` ms, if it is a whole number of them up to the rounding of `f32`.
fn whole_ticks(ms: f64, dt: f64) -> Option<f64> {
    let q = ms / dt;
    let k = q.round();
    ((q - k).abs() <= 1e-6f64.max(k.abs() * 1.3e-7)).then_some(k)
}

/// A number of milliseconds as people write it.
pub(super) fn show_ms(ms: f64) -> String {
    let short = format!("{:.6}", ms);
    let short = short.trim_end_matches('0').trim_end_matches('.');
    format!("{short} ms")
}

impl<'a> Elab<'a> {
    /// A duration known at compile time, in whole ticks. In a net without a clock, whole numbers count ticks.
    pub(super) fn ticks(&mut self, v: &Val, span: Span, clock: Option<f64>, what: &str) -> Option<u32> {
        if v.is_poison() {
            return None;
        }
        let Some((x, dims)) = v.number() else {
            self.report(
                Diagnostic::error(codes::NOT_CONST, span, format!("{what} must be known at compile time"))
                    .labelled(v.describe()),
            );
            return None;
        };
        let k = match clock {
            None => {
                if !dims.is_none() || x.fract() != 0.0 {
                    self.report(
                        Diagnostic::error(
                            codes::NO_CLOCK,
                            span,
                            format!("{what} needs a clock or a whole number of ticks"),
                        )
                        .labelled("this net counts ticks")
                        .with_hint("add `clock 1 ms` to the net, or write a whole number"),
                    );
                    return None;
                }
                x
            }
            Some(dt) => {
                if dims != Dims::TIME {
                    self.report(
                        Diagnostic::error(codes::UNIT, span, format!("{what} is a time"))
                            .labelled(format!("this is in {dims}"))
                            .with_hint("write for example `1 ms`"),
                    );
                    return None;
                }
                match whole_ticks(x, dt) {
                    Some(k) => k,
                    None => {
                        let below = (x / dt).floor();
                        self.report(
                            Diagnostic::error(
                                codes::OFF_GRID,
                                span,
                                format!("{what} of {} is not a multiple of the clock's {}", show_ms(x), show_ms(dt)),
                            )
                            .labelled("off the grid")
                            .with_hint(format!(
                                "the nearest choices are {} and {}",
                                show_ms(below * dt),
                                show_ms((below + 1.0) * dt)
                            )),
                        );
                        return None;
                    }
                }
            }
        };
        if !(0.0..=f64::from(i32::MAX)).contains(&k) {
            self.report(
                Diagnostic::error(codes::OFF_GRID, span, format!("{what} of {k} ticks is out of range"))
                    .labelled(format!("must lie between 0 and {} ticks", i32::MAX)),
            );
            return None;
        }
        Some(k as u32)
    }

    /// A time constant in ticks of the net's clock, as a real number; positive.
    pub(super) fn time_constant(&mut self, e: &'a ast::Expr, env: &mut Env<'a>, what: &str) -> Option<f64> {
        let v = self.eval(e, env);
        if v.is_poison() {
            return None;
        }
        let Some((x, dims)) = v.number() else {
            self.report(
                Diagnostic::error(codes::NOT_CONST, e.span, format!("{what} must be known at compile time"))
                    .labelled(v.describe()),
            );
            return None;
        };
        let ticks = match env.clock {
            Some(dt) if dims == Dims::TIME => x / dt,
            None if dims.is_none() => x,
            Some(_) => {
                self.report(
                    Diagnostic::error(codes::UNIT, e.span, format!("{what} is a time"))
                        .labelled(format!("this is in {dims}")),
                );
                return None;
            }
            None => {
                self.report(
                    Diagnostic::error(codes::NO_CLOCK, e.span, format!("{what} needs a clock"))
                        .labelled("a time, but the net has no `clock`")
                        .with_hint("add `clock 1 ms` to the net, or write the number of ticks"),
                );
                return None;
            }
        };
        if ticks > 0.0 {
            Some(ticks)
        } else {
            self.report(
                Diagnostic::error(codes::ARITHMETIC, e.span, format!("{what} must be positive"))
                    .labelled(format!("this is {x}")),
            );
            None
        }
    }
}
