//! Storage of parameters and states: what is kept in memory, and how it becomes a number again.
//!
//! A parameter with `@f16` or `@bf16` is rounded to nearest even when it is loaded. With an integer storage it becomes
//! `q = clamp(round(x / scale), low, high)`, ties to even, computed in f64; the program reads `f32(q) * f32(scale)`.
//! Without `scale` the scale is `max |x| / high`, one for each index of `axis` or one for all (1 where all are zero).

use super::Elab;
use super::codes;
use super::units::Dims;
use super::value::{Elem, Rt, Storage, Ty};
use nc_ir::{DType, Diagnostic, Span, Tensor};

/// An integer tensor with its scales.
struct Quantised {
    data: Tensor,
    scales: Vec<f32>,
    values: Vec<f32>,
}

fn int_tensor(dtype: DType, shape: Vec<usize>, q: &[f64]) -> Option<Tensor> {
    match dtype {
        DType::I8 => Tensor::from_vec(shape, q.iter().map(|x| *x as i8).collect::<Vec<_>>()),
        DType::U8 => Tensor::from_vec(shape, q.iter().map(|x| *x as u8).collect::<Vec<_>>()),
        DType::I16 => Tensor::from_vec(shape, q.iter().map(|x| *x as i16).collect::<Vec<_>>()),
        DType::I32 => Tensor::from_vec(shape, q.iter().map(|x| *x as i32).collect::<Vec<_>>()),
        _ => None,
    }
}

fn quantise(
    data: &Tensor,
    dtype: DType,
    low: f64,
    high: f64,
    axis: Option<usize>,
    scale: Option<f64>,
) -> Option<Quantised> {
    let x = data.as_slice::<f32>();
    let shape = data.shape();
    let (groups, stride) = match axis {
        Some(a) => (*shape.get(a)?, shape[a + 1..].iter().product::<usize>().max(1)),
        None => (1, x.len().max(1)),
    };
    let group = |k: usize| (k / stride) % groups.max(1);
    let mut largest = vec![0f64; groups];
    for (k, v) in x.iter().enumerate() {
        let m = &mut largest[group(k)];
        *m = m.max(f64::from(v.abs()));
    }
    let scales: Vec<f32> = largest
        .iter()
        .map(|m| match scale {
            Some(s) => s as f32,
            None if *m > 0.0 => (*m / high) as f32,
            None => 1.0,
        })
        .map(|s| if s > 0.0 { s } else { f32::MIN_POSITIVE })
        .collect();
    let mut q = Vec::with_capacity(x.len());
    let mut values = Vec::with_capacity(x.len());
    for (k, v) in x.iter().enumerate() {
        let s = scales[group(k)];
        let n = (f64::from(*v) / f64::from(s)).round_ties_even().clamp(low, high);
        q.push(n);
        values.push(n as f32 * s);
    }
    Some(Quantised { data: int_tensor(dtype, shape.to_vec(), &q)?, scales, values })
}

impl Elab<'_> {
    /// A parameter: `data` is f32, i64 or bool in the coherent system. Gives the value that the model computes with.
    pub(super) fn stored_param(&mut self, name: &str, data: Tensor, ty: &Ty, span: Span) -> Option<Rt> {
        let shape: Vec<u64> = data.shape().iter().map(|d| *d as u64).collect();
        let rt = match &ty.storage {
            None => {
                let id = self.m.add_const(name, data);
                self.constant(id, ty.elem, span)?
            }
            Some(storage @ (Storage::F16 | Storage::BF16)) => {
                let x = data.as_slice::<f32>();
                let (stored, values) = match storage {
                    Storage::F16 => {
                        let h: Vec<half::f16> = x.iter().map(|v| half::f16::from_f32(*v)).collect();
                        let back: Vec<f32> = h.iter().map(|v| v.to_f32()).collect();
                        (Tensor::from_vec(data.shape().to_vec(), h)?, back)
                    }
                    _ => {
                        let h: Vec<half::bf16> = x.iter().map(|v| half::bf16::from_f32(*v)).collect();
                        let back: Vec<f32> = h.iter().map(|v| v.to_f32()).collect();
                        (Tensor::from_vec(data.shape().to_vec(), h)?, back)
                    }
                };
                if let Some(k) = values.iter().position(|v| !v.is_finite()) {
                    self.report(
                        Diagnostic::error(codes::NOT_FINITE, span, format!("{} does not fit in 16 bits", x[k]))
                            .labelled("too large for this storage"),
                    );
                    return None;
                }
                let dtype = stored.dtype();
                let id = self.m.add_const(name, stored);
                let c = self.constant(id, ty.elem, span)?;
                let v = self.node(span, |b| b.cast(c.id, DType::F32))?;
                let host = Tensor::from_vec(data.shape().to_vec(), values);
                self.choice(name, format!("stored as {dtype}"));
                Rt { host, ..self.rt(v, ty.elem, shape.clone()) }
            }
            Some(Storage::Int { dtype, low, high, axis, scale }) => {
                let q = quantise(&data, *dtype, *low, *high, *axis, *scale)?;
                let worst = data
                    .as_slice::<f32>()
                    .iter()
                    .zip(&q.values)
                    .fold(0f64, |w, (a, b)| w.max((f64::from(*a) - f64::from(*b)).abs()));
                self.choice(
                    name,
                    format!(
                        "stored as {dtype} with {}; off by at most {worst:.3e}",
                        match axis {
                            Some(a) => format!("one scale for each index of axis {a}"),
                            None => format!("scale {}", q.scales.first().copied().unwrap_or(1.0)),
                        }
                    ),
                );
                let id = self.m.add_const(name, q.data);
                let c = self.constant(id, ty.elem, span)?;
                let x = self.node(span, |b| b.cast(c.id, DType::F32))?;
                let scale_name = format!("{name}.scale");
                let s = match axis {
                    None => {
                        let t = Tensor::scalar_f32(q.scales.first().copied().unwrap_or(1.0));
                        let id = self.m.add_const(scale_name, t);
                        self.constant(id, Elem::Real(Dims::NONE), span)?.id
                    }
                    Some(a) => {
                        let n = q.scales.len();
                        let id = self.m.add_const(scale_name, Tensor::from_vec(vec![n], q.scales)?);
                        let c = self.constant(id, Elem::Real(Dims::NONE), span)?;
                        let mut along = vec![1u64; shape.len()];
                        along[*a] = n as u64;
                        let r = self.node(span, |b| b.reshape(c.id, along))?;
                        self.node(span, |b| b.broadcast(r, shape.clone()))?
                    }
                };
                let v = self.node(span, |b| b.mul(x, s))?;
                let host = Tensor::from_vec(data.shape().to_vec(), q.values);
                Rt { host, ..self.rt(v, ty.elem, shape.clone()) }
            }
        };
        if ty.sparse {
            self.choice(name, "declared sparse: mostly zero");
        }
        Some(rt)
    }

    /// The value of a state before the first tick, as it is stored.
    pub(super) fn stored_init(data: &Tensor, ty: &Ty) -> Option<Tensor> {
        let shape = data.shape().to_vec();
        match &ty.storage {
            None => Some(data.clone()),
            Some(Storage::F16) => {
                Tensor::from_vec(shape, data.as_slice::<f32>().iter().map(|x| half::f16::from_f32(*x)).collect())
            }
            Some(Storage::BF16) => {
                Tensor::from_vec(shape, data.as_slice::<f32>().iter().map(|x| half::bf16::from_f32(*x)).collect())
            }
            Some(Storage::Int { dtype, low, high, axis: _, scale }) => {
                Some(quantise(data, *dtype, *low, *high, None, *scale)?.data)
            }
        }
    }

    /// Element type in which a state is kept.
    pub(super) fn state_dtype(ty: &Ty) -> DType {
        match &ty.storage {
            None => ty.elem.dtype(),
            Some(Storage::F16) => DType::F16,
            Some(Storage::BF16) => DType::BF16,
            Some(Storage::Int { dtype, .. }) => *dtype,
        }
    }

    /// The number that a stored state stands for.
    pub(super) fn unstore(&mut self, raw: Rt, ty: &Ty, span: Span) -> Option<Rt> {
        let id = match &ty.storage {
            None => return Some(raw),
            Some(Storage::F16 | Storage::BF16) => self.node(span, |b| b.cast(raw.id, DType::F32))?,
            Some(Storage::Int { scale, .. }) => {
                let x = self.node(span, |b| b.cast(raw.id, DType::F32))?;
                let s = self.real(scale.unwrap_or(1.0), Dims::NONE, span)?;
                self.node(span, |b| b.mul(x, s.id))?
            }
        };
        Some(self.rt(id, ty.elem, raw.shape))
    }

    /// What is stored for a number: `cast(clamp(round(x / scale)))`, ties to even.
    pub(super) fn restore(&mut self, x: Rt, ty: &Ty, span: Span) -> Option<Rt> {
        let id = match &ty.storage {
            None => return Some(x),
            Some(Storage::F16) => self.node(span, |b| b.cast(x.id, DType::F16))?,
            Some(Storage::BF16) => self.node(span, |b| b.cast(x.id, DType::BF16))?,
            Some(Storage::Int { dtype, low, high, scale, .. }) => {
                let s = self.real(scale.unwrap_or(1.0), Dims::NONE, span)?;
                let q = self.node(span, |b| b.div(x.id, s.id))?;
                let q = self.node(span, |b| b.round(q))?;
                let low = self.real(*low, Dims::NONE, span)?;
                let q = self.node(span, |b| b.max(q, low.id))?;
                let high = self.real(*high, Dims::NONE, span)?;
                let q = self.node(span, |b| b.min(q, high.id))?;
                self.node(span, |b| b.cast(q, *dtype))?
            }
        };
        Some(self.rt(id, ty.elem, x.shape))
    }

    /// A state's storage must not depend on data that only exists while the model runs.
    pub(super) fn check_state_storage(&mut self, ty: &Ty, span: Span) -> Option<()> {
        if let Some(Storage::Int { axis, scale, .. }) = &ty.storage
            && (scale.is_none() || axis.is_some())
        {
            self.report(
                Diagnostic::error(codes::STORAGE, span, "the integer storage of a state needs one scale")
                    .labelled("a state has no largest value known at compile time")
                    .with_hint("write `@i8(scale = 0.01)` or `@fix(16, 8)`"),
            );
            return None;
        }
        Some(())
    }
}
