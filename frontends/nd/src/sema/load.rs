//! Arrays of files and values set by the host: existence, shape, finiteness, units.

use super::Elab;
use super::codes;
use super::units::Unit;
use super::value::{Elem, Loaded, Ty, Val, show_shape};
use nc_ir::diag::nearest;
use nc_ir::{DType, Diagnostic, Span, Tensor};

impl Elab<'_> {
    /// `f["name"]`.
    pub(super) fn load(&mut self, file: &str, name: &str, span: Span) -> Val {
        if self.dry {
            return Val::Poison;
        }
        if !self.lists.contains_key(file) {
            let list = match self.loader.list(file) {
                Ok(l) => Some(l),
                Err(mut d) => {
                    d.span = d.span.or(Some(span));
                    self.report(d);
                    None
                }
            };
            self.lists.insert(file.to_string(), list);
        }
        let Some(Some(list)) = self.lists.get(file) else { return Val::Poison };
        let Some((_, ty)) = list.iter().find(|(n, _)| n == name) else {
            let near = nearest(name, list.iter().map(|(n, _)| n.as_str())).map(str::to_string);
            let names: Vec<&str> = list.iter().map(|(n, _)| n.as_str()).take(12).collect();
            let mut d = Diagnostic::error(codes::NO_ARRAY, span, format!("`{file}` has no array `{name}`"))
                .labelled("no such array");
            d.hint = Some(match near {
                Some(n) => format!("did you mean `{n}`?"),
                None if names.is_empty() => "the file has no arrays".into(),
                None => format!("the file has {}{}", names.join(", "), if list.len() > 12 { ", .." } else { "" }),
            });
            self.report(d);
            return Val::Poison;
        };
        if ty.elements().is_none_or(|n| n > self.options.max_elements) {
            let max = self.options.max_elements;
            self.report(
                Diagnostic::error(codes::TOO_LARGE, span, format!("the array `{name}` of {ty} is too large"))
                    .labelled(format!("at most {max} elements are allowed")),
            );
            return Val::Poison;
        }
        match self.loader.array(file, name) {
            Ok(data) => Val::Array(Loaded { file: file.to_string(), name: name.to_string(), data }),
            Err(mut d) => {
                d.span = d.span.or(Some(span));
                self.report(d);
                Val::Poison
            }
        }
    }

    /// The data of a file or the host as a tensor of a declared type: `f32`, `i64` or `bool`, in the coherent system.
    pub(super) fn conform(&mut self, a: &Loaded, ty: &Ty, span: Span) -> Option<Tensor> {
        let have: Vec<u64> = a.data.shape().iter().map(|d| *d as u64).collect();
        let scalar = ty.shape.is_empty() && have == [1];
        if have != ty.shape && !scalar {
            let (h, w) = (show_shape(&have), show_shape(&ty.shape));
            let mut d = Diagnostic::error(
                codes::SHAPE,
                span,
                format!("the array `{}` of {} has shape {h}, but {w} is declared", a.name, a.file),
            )
            .labelled(format!("{h} here, {w} declared"));
            if have.len() == 2 && ty.shape.len() == 2 && have[0] == ty.shape[1] && have[1] == ty.shape[0] {
                d = d.with_hint("the array is stored the other way round: transpose it when it is written");
            }
            self.report(d);
            return None;
        }
        let shape: Vec<usize> = if scalar { Vec::new() } else { a.data.shape().to_vec() };
        let dtype = a.data.dtype();
        let n = a.data.len();
        match ty.elem {
            // Coherent f32 data is taken as it is, without a copy.
            Elem::Real(_)
                if dtype == DType::F32
                    && ty.unit.scale() == 0
                    && a.data.as_slice::<f32>().iter().all(|x| x.is_finite()) =>
            {
                a.data.reshaped(shape)
            }
            Elem::Real(_) => {
                let mut out = Vec::with_capacity(n);
                for k in 0..n {
                    let x = a.data.get_f64(k);
                    let y = erase(x, ty.unit);
                    if !y.is_finite() {
                        let at = show_index(k, &have);
                        self.report(
                            Diagnostic::error(
                                codes::NOT_FINITE,
                                span,
                                format!("the array `{}` of {} holds {x} at {at}", a.name, a.file),
                            )
                            .labelled("weights must be finite"),
                        );
                        return None;
                    }
                    out.push(y);
                }
                Tensor::from_vec(shape, out)
            }
            Elem::Int if dtype.is_int() || dtype == DType::Bool => {
                let mut out = Vec::with_capacity(n);
                for x in (0..n).map(|k| a.data.get_int(k).unwrap_or(0)) {
                    let Ok(y) = i64::try_from(x) else {
                        let text = format!("the array `{}` of {} holds {x}, above the largest `int`", a.name, a.file);
                        self.report(
                            Diagnostic::error(codes::TYPE, span, text).labelled("does not fit 64 bits with a sign"),
                        );
                        return None;
                    };
                    out.push(y);
                }
                Tensor::from_vec(shape, out)
            }
            Elem::Bool if dtype == DType::Bool || (0..n).all(|k| matches!(a.data.get_f64(k), 0.0 | 1.0)) => {
                let out: Vec<bool> = (0..n).map(|k| a.data.get_f64(k) != 0.0).collect();
                Tensor::from_bools(shape, &out)
            }
            Elem::Int | Elem::Bool => {
                self.report(
                    Diagnostic::error(
                        codes::TYPE,
                        span,
                        format!("the array `{}` of {} is {}, but {} is declared", a.name, a.file, a.data.ty(), ty.elem),
                    )
                    .labelled("wrong element type"),
                );
                None
            }
        }
    }
}

/// A number of a file in the coherent system; `f32` data in coherent units stays bit for bit what it is.
fn erase(x: f64, unit: Unit) -> f32 {
    if unit.scale() == 0 { x as f32 } else { unit.erase(x) as f32 }
}

/// A flat index as a row-major one.
pub(super) fn show_index(k: usize, shape: &[u64]) -> String {
    let mut rest = k as u64;
    let mut at: Vec<u64> = shape
        .iter()
        .rev()
        .map(|d| {
            let r = rest % (*d).max(1);
            rest /= (*d).max(1);
            r
        })
        .collect();
    at.reverse();
    show_shape(&at)
}
