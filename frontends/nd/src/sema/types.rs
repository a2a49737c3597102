//! Declared types, and whether a value has one.

use super::Elab;
use super::codes;
use super::expr::Env;
use super::quantity::unit_of;
use super::units::Unit;
use super::value::{Elem, Rt, Storage, Ty, Val, show_shape, show_type};
use crate::ast;
use nc_ir::diag::nearest;
use nc_ir::{DType, Diagnostic, Span};

const STORAGE: &[&str] = &["f16", "bf16", "f64", "i8", "u8", "i16", "fix", "sparse"];

impl<'a> Elab<'a> {
    /// What a type in a declaration means.
    pub(super) fn declared(&mut self, ty: &'a ast::Type, env: &mut Env<'a>) -> Option<Ty> {
        let (elem, unit) = match ty.unit.simple().map(|n| n.name.as_str()) {
            Some("real") => (Elem::NUMBER, Unit::ONE),
            Some("int") => (Elem::Int, Unit::ONE),
            Some("bool" | "spike") => (Elem::Bool, Unit::ONE),
            _ => match unit_of(&ty.unit) {
                Ok(u) => (Elem::Real(u.dims), u),
                Err(mut d) => {
                    if let Some(n) = ty.unit.simple()
                        && let Some(word) = nearest(&n.name, ["real", "int", "bool", "spike"])
                    {
                        d.hint = Some(format!("did you mean `{word}`?"));
                    }
                    self.report(d);
                    return None;
                }
            },
        };
        let shape = self.extents(&ty.shape, env)?;
        self.check_size(&shape, ty.span)?;
        let mut out = Ty { elem, unit, shape, storage: None, sparse: false };
        for call in &ty.storage {
            self.storage_word(call, &mut out, env)?;
        }
        Some(out)
    }

    /// Extents known at compile time, each at least 1.
    pub(super) fn extents(&mut self, dims: &'a [ast::Expr], env: &mut Env<'a>) -> Option<Vec<u64>> {
        let mut shape = Vec::with_capacity(dims.len());
        for e in dims {
            let n = self.eval_int(e, env, "an extent")?;
            match u64::try_from(n) {
                Ok(n) if n > 0 => shape.push(n),
                _ => {
                    self.report(
                        Diagnostic::error(codes::SHAPE, e.span, format!("an extent of {n}"))
                            .labelled("must be at least 1"),
                    );
                    return None;
                }
            }
        }
        Some(shape)
    }

    /// Refuses shapes beyond the limit.
    pub(super) fn check_size(&mut self, shape: &[u64], span: Span) -> Option<u64> {
        let n = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= self.options.max_elements);
        if n.is_none() {
            let max = self.options.max_elements;
            self.report(
                Diagnostic::error(
                    codes::TOO_LARGE,
                    span,
                    format!("a tensor of shape {} is too large", show_shape(shape)),
                )
                .labelled(format!("at most {max} elements are allowed")),
            );
        }
        n
    }

    fn storage_word(&mut self, call: &'a ast::Call, ty: &mut Ty, env: &mut Env<'a>) -> Option<()> {
        let (mut axis, mut scale, mut plain) = (None, None, Vec::new());
        for arg in &call.args {
            match arg.name.as_ref().map(|n| n.name.as_str()) {
                Some("axis") => {
                    let k = self.eval_int(&arg.value, env, "an axis")?;
                    match usize::try_from(k) {
                        Ok(k) if k < ty.shape.len() => axis = Some(k),
                        _ => {
                            self.report(
                                Diagnostic::error(codes::SHAPE, arg.span, format!("there is no axis {k}"))
                                    .labelled(format!("the shape is {}", show_shape(&ty.shape))),
                            );
                            return None;
                        }
                    }
                }
                Some("scale") => {
                    let v = self.eval(&arg.value, env);
                    if v.is_poison() {
                        return None;
                    }
                    match v.number() {
                        Some((x, d)) if x > 0.0 && (d == ty.elem.dims()) => scale = Some(x),
                        _ => {
                            self.report(
                                Diagnostic::error(
                                    codes::STORAGE,
                                    arg.span,
                                    format!("a scale is a positive constant in {}", ty.elem),
                                )
                                .labelled(v.describe()),
                            );
                            return None;
                        }
                    }
                }
                Some(other) => {
                    self.report(
                        Diagnostic::error(
                            codes::STORAGE,
                            arg.span,
                            format!("`@{}` has no argument `{other}`", call.name.name),
                        )
                        .labelled("unknown argument")
                        .with_hint("`axis` and `scale` are known"),
                    );
                    return None;
                }
                None => plain.push(self.eval_int(&arg.value, env, "a width")?),
            }
        }
        let name = call.name.name.as_str();
        let wrong = |s: &mut Self, text: String| {
            s.report(Diagnostic::error(codes::STORAGE, call.span, text).labelled("storage not possible"));
            None
        };
        if name != "fix" && !plain.is_empty() {
            return wrong(self, format!("`@{name}` takes no positional arguments"));
        }
        if !matches!(name, "i8" | "u8" | "i16") && (axis.is_some() || scale.is_some()) {
            return wrong(self, format!("`@{name}` takes neither `axis` nor `scale`"));
        }
        let int = |dtype, low, high| Storage::Int { dtype, low, high, axis, scale };
        let storage = match name {
            "sparse" => {
                ty.sparse = true;
                return Some(());
            }
            "f16" => Storage::F16,
            "bf16" => Storage::BF16,
            "i8" => int(DType::I8, -127.0, 127.0),
            "u8" => int(DType::U8, 0.0, 255.0),
            "i16" => int(DType::I16, -32767.0, 32767.0),
            "fix" => {
                let [total, frac] = plain.as_slice() else {
                    return wrong(self, "`@fix` takes two whole numbers: all bits, and bits after the point".into());
                };
                if !(2..=32).contains(total) || !(0..=30).contains(frac) {
                    return wrong(
                        self,
                        format!("`@fix({total}, {frac})` needs 2 to 32 bits and 0 to 30 after the point"),
                    );
                }
                let half = 2f64.powi(*total as i32 - 1);
                let dtype = match total {
                    ..=8 => DType::I8,
                    9..=16 => DType::I16,
                    _ => DType::I32,
                };
                Storage::Int {
                    dtype,
                    low: -half,
                    high: half - 1.0,
                    axis: None,
                    scale: Some(2f64.powi(-(*frac as i32))),
                }
            }
            "f64" => {
                return wrong(self, "`@f64` is not supported: `real` is computed in 32 bits".into());
            }
            _ => {
                let near = nearest(name, STORAGE.iter().copied());
                let mut d = Diagnostic::error(codes::STORAGE, call.span, format!("`@{name}` is not a storage"))
                    .labelled("unknown storage");
                d.hint = Some(match near {
                    Some(n) => format!("did you mean `@{n}`?"),
                    None => format!("known are {}", STORAGE.join(", ")),
                });
                self.report(d);
                return None;
            }
        };
        if !matches!(ty.elem, Elem::Real(_)) {
            return wrong(self, format!("`@{name}` stores real numbers, not {}", ty.elem));
        }
        if ty.storage.is_some() {
            return wrong(self, "a type has one storage".into());
        }
        ty.storage = Some(storage);
        Some(())
    }

    /// A constant checked against the type written beside it.
    pub(super) fn declared_const(&mut self, v: Val, ty: &'a ast::Type, span: Span, env: &mut Env<'a>) -> Val {
        if v.is_poison() {
            return v;
        }
        let Some(t) = self.declared(ty, env) else { return Val::Poison };
        if !t.shape.is_empty() {
            self.report(
                Diagnostic::error(codes::SHAPE, ty.span, "a constant is one number")
                    .labelled("has a shape")
                    .with_hint("use `param` for tensors"),
            );
            return Val::Poison;
        }
        match (t.elem, &v) {
            (Elem::Int, Val::Int(_)) | (Elem::Bool, Val::Bool(_)) => v,
            (Elem::Real(d), Val::Int(x)) if d.is_none() => Val::Real(*x as f64, d),
            (Elem::Real(d), Val::Real(_, e)) if d == *e => v,
            (Elem::Real(_) | Elem::Bool | Elem::Int, Val::Rt(r)) if r.elem == t.elem && r.shape.is_empty() => v,
            _ => {
                self.wrong_type(&v, t.elem, span, "this constant");
                Val::Poison
            }
        }
    }

    /// "a unit or type is not what is expected".
    pub(super) fn wrong_type(&mut self, v: &Val, want: Elem, span: Span, what: &str) {
        let have = match v {
            Val::Int(_) => "a whole number".to_string(),
            Val::Real(_, d) if d.is_none() => "a plain number".to_string(),
            Val::Real(_, d) => format!("in {d}"),
            Val::Rt(r) => show_type(r.elem, &r.shape),
            other => other.describe(),
        };
        let unit = v.number().is_some() && matches!(want, Elem::Real(_))
            || matches!((v, want), (Val::Rt(r), Elem::Real(_)) if matches!(r.elem, Elem::Real(_)));
        let code = if unit { codes::UNIT } else { codes::TYPE };
        let mut d = Diagnostic::error(code, span, format!("{what} should be {}", expected(want)))
            .labelled(format!("this is {have}"));
        if let (Some((x, d0)), Elem::Real(u)) = (v.number(), want)
            && d0.is_none()
            && !u.is_none()
        {
            d = d.with_hint(format!("write a unit: `{x} {u}`"));
        }
        self.report(d);
    }

    /// A value of the current graph of this element type; truth values and whole numbers become numbers where a plain
    /// number is wanted.
    pub(super) fn coerce(&mut self, v: &Val, want: Elem, span: Span, what: &str) -> Option<Rt> {
        match (want, v) {
            (_, Val::Poison) => None,
            (Elem::Real(d), Val::Int(_) | Val::Bool(_)) if d.is_none() => self.lift_real(v, span),
            (Elem::Real(d), Val::Real(_, e)) if d == *e => self.lift(v, span),
            (Elem::Int, Val::Int(_)) | (Elem::Bool, Val::Bool(_)) => self.lift(v, span),
            (_, Val::Rt(r)) if r.elem == want => self.here(r, span),
            (Elem::Real(d), Val::Rt(r)) if d.is_none() && !matches!(r.elem, Elem::Real(_)) => {
                let r = self.here(r, span)?;
                self.as_real(r, span)
            }
            (_, Val::Int(_) | Val::Real(..) | Val::Bool(_) | Val::Rt(_)) => {
                self.wrong_type(v, want, span, what);
                None
            }
            _ => {
                self.lift(v, span);
                None
            }
        }
    }

    /// As [`Elab::coerce`], and of this shape, or a scalar.
    pub(super) fn coerce_to(&mut self, v: &Val, want: Elem, shape: &[u64], span: Span, what: &str) -> Option<Rt> {
        let r = self.coerce(v, want, span, what)?;
        if r.shape.is_empty() || r.shape == shape {
            return Some(r);
        }
        self.wrong_shape(&r.shape, shape, span, what);
        None
    }

    pub(super) fn wrong_shape(&mut self, have: &[u64], want: &[u64], span: Span, what: &str) {
        let show = |s: &[u64]| if s.is_empty() { "a scalar".to_string() } else { show_shape(s) };
        let mut d = Diagnostic::error(
            codes::SHAPE,
            span,
            format!("{what} has shape {}, but {} is expected", show(have), show(want)),
        )
        .labelled(format!("{} here", show(have)));
        let count = |s: &[u64]| s.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        if count(have) == count(want) && have.len() != want.len() {
            d = d.with_hint(if want.len() == 1 {
                "`flatten(..)` would fit".into()
            } else {
                format!("`reshape(.., {})` would fit", show(want))
            });
        }
        self.report(d);
    }
}

fn expected(e: Elem) -> String {
    match e {
        Elem::Real(d) if d.is_none() => "a plain number".into(),
        Elem::Real(d) => format!("in {d}"),
        Elem::Int => "a whole number".into(),
        Elem::Bool => "a truth value or spike".into(),
    }
}
