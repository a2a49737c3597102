//! Input arrays: matched against the model's inputs, then read frame by frame.

use crate::driver::{Form, ModelKind};
use crate::render::Reporter;
use nc_ir::diag::nearest;
use nc_ir::{DType, Diagnostic, Tensor};
use nc_onnx::Along;
use nc_runtime::arrays::{ArrayFile, ArrayInfo, FrameReader, Limits};
use nc_runtime::run::{Frames, Port, Source};
use std::path::Path;

/// What the input arrays agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Length of the leading axis; `None` if the model has no inputs.
    pub ticks: Option<u64>,
    /// Length of the axis of samples, if there is one.
    pub samples: Option<usize>,
}

/// Where the frames of an input come from.
enum Reader {
    /// Along the leading axis.
    Frames(Box<FrameReader>),
    /// The array as it is: there is one tick.
    Whole(ArrayFile),
    /// Steps of sequences, which the array holds as a whole.
    Steps(Tensor, Along),
}

/// The open input arrays of a model.
pub struct Inputs {
    readers: Vec<(Port, Reader)>,
    file: String,
    /// Ticks that were read.
    at: usize,
    /// What they agree on.
    pub extent: Extent,
}

impl Inputs {
    /// Opens the arrays of a model's inputs.
    ///
    /// Models of neural networks come with files that hold more than inputs, and with spikes stored as small integers: a
    /// `.nir` model leaves other arrays out with a warning (without one if their name begins with `_`), and takes whole
    /// numbers for real ones if they are exact.
    ///
    /// # Errors
    /// E0810 without an array for an input, E0811 for an array that is no input, E0812 and E0813 for one of another type
    /// or shape, E0814 if they disagree on ticks or samples, and what is wrong with the file.
    pub fn open(
        path: Option<&Path>,
        ports: &[Port],
        form: &Form,
        kind: ModelKind,
        max_memory: u64,
        reporter: &mut Reporter,
    ) -> Result<Inputs, Vec<Diagnostic>> {
        let none = Extent { ticks: None, samples: None };
        let Some(path) = path else {
            return match ports {
                [] => Ok(Inputs { readers: Vec::new(), file: String::new(), at: 0, extent: none }),
                [first, ..] => Err(vec![
                    Diagnostic::error_nowhere(
                        "E0810",
                        format!("the model has the input {:?}, but there is no --input", first.name),
                    )
                    .with_hint(format!("give an .npz file with {}", listing(ports, form))),
                ]),
            };
        };
        let limits = Limits { max_bytes: max_memory, ..Limits::default() };
        let file = ArrayFile::open(path, limits).map_err(|d| vec![d])?;
        let shown = path.display().to_string();
        let mut errors = Vec::new();
        let taken = |name: &String| ports.iter().any(|p| p.name == *name) || form.bound().contains(name);
        for info in file.arrays().iter().filter(|i| !taken(&i.name)) {
            let refused = stray(&shown, info, ports, form);
            match kind {
                ModelKind::Nir if info.name.starts_with('_') => {}
                ModelKind::Nir => reporter.report(&Diagnostic {
                    code: "W0824",
                    severity: nc_ir::Severity::Warning,
                    message: format!("{}; it is left out", refused.message),
                    ..refused
                }),
                ModelKind::Nd | ModelKind::Graph | ModelKind::Onnx => errors.push(refused),
            }
        }
        let mut found: Vec<(&Port, &ArrayInfo, Option<usize>)> = Vec::new();
        for (k, port) in ports.iter().enumerate() {
            match file.find(&port.name) {
                None => match file.refused().find(|(n, _)| *n == port.name) {
                    Some((_, d)) => errors.push(d.clone()),
                    None => errors.push(missing(&shown, port, form, &file)),
                },
                Some(info) => match check(&shown, (k, port), form, info, kind == ModelKind::Nir) {
                    Ok(samples) => found.push((port, info, samples)),
                    Err(d) => errors.push(d),
                },
            }
        }
        if let (Some((first, a, samples)), Form::Ticks) = (found.first(), form) {
            for (port, b, other) in &found[1..] {
                if a.shape[0] != b.shape[0] || samples != other {
                    let lead =
                        |s: &[usize], batch: &Option<usize>| format!("{:?}", &s[..1 + usize::from(batch.is_some())]);
                    errors.push(
                        Diagnostic::error_nowhere(
                            "E0814",
                            format!(
                                "{shown}: {:?} has the leading axes {}, {:?} has {}",
                                first.name,
                                lead(&a.shape, samples),
                                port.name,
                                lead(&b.shape, other)
                            ),
                        )
                        .with_hint("all inputs have the same number of ticks, and of samples"),
                    );
                }
            }
        }
        let mut steps = None;
        if let Form::Sequence { inputs, .. } = form {
            for ((port, info, _), along) in found.iter().zip(inputs) {
                let own = along.steps(&info.shape);
                if steps.is_some() && steps != own {
                    let (first, name) = (&found[0].0.name, &port.name);
                    let (n, own) = (steps.unwrap_or(0), own.unwrap_or(0));
                    let text = format!("{shown}: {first:?} has {n} steps, {name:?} has {own}");
                    errors.push(
                        Diagnostic::error_nowhere("E0814", text).with_hint("all inputs have the same number of steps"),
                    );
                }
                steps = steps.or(own);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let extent = match form {
            Form::Once { .. } => Extent { ticks: Some(1), samples: None },
            Form::Sequence { .. } => Extent { ticks: steps.map(|n| n as u64), samples: None },
            Form::Ticks => {
                found.first().map_or(none, |(_, i, s)| Extent { ticks: Some(i.shape[0] as u64), samples: *s })
            }
        };
        let mut readers = Vec::new();
        for (k, (port, info, _)) in found.iter().enumerate() {
            if port.dtype.is_float() && info.dtype == DType::F64 && port.dtype != DType::F64 {
                let text = format!("{shown}: {:?} is float64 and is rounded to {}", port.name, port.dtype);
                reporter.report(&note("E0818", text));
            }
            let reader = match form {
                Form::Once { .. } => Reader::Whole(file.clone()),
                Form::Sequence { inputs, .. } => {
                    Reader::Steps(file.read(&port.name).map_err(|d| vec![d])?, inputs[k].clone())
                }
                Form::Ticks => Reader::Frames(Box::new(file.frames(&port.name).map_err(|d| vec![d])?)),
            };
            readers.push(((*port).clone(), reader));
        }
        Ok(Inputs { readers, file: shown, at: 0, extent })
    }
}

fn note(code: &'static str, text: String) -> Diagnostic {
    Diagnostic { severity: nc_ir::Severity::Note, ..Diagnostic::error_nowhere(code, text) }
}

/// `"x" bool[T, 3]`, for each port.
fn listing(ports: &[Port], form: &Form) -> String {
    let one = |p: &Port| format!("{:?} {}", p.name, expected(p, form));
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Type of the array of a port, with its leading axis if it has one.
fn expected(port: &Port, form: &Form) -> String {
    let mut dims = if matches!(form, Form::Once { .. }) { Vec::new() } else { vec!["T".to_owned()] };
    dims.extend(port.shape.iter().map(usize::to_string));
    format!("{}[{}]", port.dtype, dims.join(", "))
}

fn stray(file: &str, info: &ArrayInfo, ports: &[Port], form: &Form) -> Diagnostic {
    let d = Diagnostic::error_nowhere("E0811", format!("{file}: {:?} is not an input of the model", info.name));
    match nearest(&info.name, ports.iter().map(|p| p.name.as_str())) {
        Some(n) => d.with_hint(format!("did you mean {n:?}?")),
        None if ports.is_empty() => d.with_hint("the model has no inputs"),
        None => d.with_hint(format!("the model has {}", listing(ports, form))),
    }
}

fn missing(file: &str, port: &Port, form: &Form, found: &ArrayFile) -> Diagnostic {
    let names: Vec<&str> = found.arrays().iter().map(|i| i.name.as_str()).collect();
    let text = format!("{file}: there is no array for the input {:?} {}", port.name, expected(port, form));
    let d = Diagnostic::error_nowhere("E0810", text);
    match nearest(&port.name, names.iter().copied()) {
        Some(n) => d.with_hint(format!("is it the array {n:?}?")),
        None => d.with_hint(format!("the file has {names:?}")),
    }
}

/// Checks one array and gives the length of its axis of samples.
fn check(
    file: &str,
    (at, port): (usize, &Port),
    form: &Form,
    info: &ArrayInfo,
    whole: bool,
) -> Result<Option<usize>, Diagnostic> {
    let takes = match port.dtype {
        DType::Bool => true,
        // numpy has no bfloat16: where arrays are as the model's inputs, they may hold its bits.
        DType::BF16 if *form != Form::Ticks && info.dtype == DType::U16 => true,
        d if d.is_float() && whole && !info.dtype.is_float() => true,
        d if d.is_float() => info.dtype.is_float() && (info.dtype.size() <= d.size() || info.dtype == DType::F64),
        _ => info.dtype.is_int(),
    };
    let name = &port.name;
    if !takes {
        let d = Diagnostic::error_nowhere(
            "E0812",
            format!("{file}: the input {name:?} is {}, the array is {}", port.dtype, info.dtype),
        );
        return Err(d.with_hint(match port.dtype {
            d if d.is_float() => "convert it with .astype(numpy.float32)",
            _ => "convert it with .astype(numpy.int64)",
        }));
    }
    let rank = port.shape.len();
    let wrong_shape = |hint: &str| {
        let (has, expected) = (&info.shape, expected(port, form));
        let text = format!("{file}: the input {name:?} is {expected}, the array has the shape {has:?}");
        Err(Diagnostic::error_nowhere("E0813", text).with_hint(hint))
    };
    if let Form::Sequence { inputs, .. } = form {
        return match inputs[at].steps(&info.shape) {
            Some(_) => Ok(None),
            None => {
                let (mut shape, has) = (inputs[at].shape(1), &info.shape);
                shape.remove(inputs[at].axis);
                let mut shape: Vec<String> = shape.iter().map(usize::to_string).collect();
                shape.insert(inputs[at].axis, "T".to_owned());
                let text = format!(
                    "{file}: the input {name:?} is {}[{}], the array has the shape {has:?}",
                    port.dtype,
                    shape.join(", ")
                );
                Err(Diagnostic::error_nowhere("E0813", text).with_hint("arrays hold whole sequences, of T steps"))
            }
        };
    }
    if *form != Form::Ticks {
        return match info.shape == port.shape {
            true => Ok(None),
            false => wrong_shape("arrays have just the shapes of the model's inputs"),
        };
    }
    let samples = match info.shape.len() {
        n if n == rank + 1 && info.shape[1..] == port.shape => None,
        n if n == rank + 2 && info.shape[2..] == port.shape => Some(info.shape[1]),
        _ => return wrong_shape("the leading axis counts ticks; an axis of samples may follow it"),
    };
    match samples {
        Some(0) => Err(Diagnostic::error_nowhere("E0813", format!("{file}: {name:?} has an axis of 0 samples"))),
        s => Ok(s),
    }
}

impl Source for Inputs {
    fn fill(&mut self, ticks: u64, inputs: &mut [Frames]) -> Result<(), Diagnostic> {
        for ((port, reader), to) in self.readers.iter_mut().zip(inputs) {
            let (block, leading) = match reader {
                Reader::Whole(file) => {
                    let block = file.read(&port.name)?;
                    if (port.dtype, block.dtype()) == (DType::BF16, DType::U16) {
                        to.bytes_mut().copy_from_slice(block.bytes());
                        continue;
                    }
                    (block, None)
                }
                Reader::Steps(whole, along) => {
                    let block = steps_of(whole, along, self.at, ticks as usize, &port.shape)?;
                    if (port.dtype, block.dtype()) == (DType::BF16, DType::U16) {
                        to.bytes_mut().copy_from_slice(block.bytes());
                        continue;
                    }
                    (block, Some(self.at))
                }
                Reader::Frames(reader) => match reader.next(ticks as usize)? {
                    Some(block) => (block, Some(self.at)),
                    None => continue,
                },
            };
            convert(&block, port.dtype, to.bytes_mut()).map_err(|fault| {
                let at = fault.at();
                let (mut rest, mut index) = (at, Vec::new());
                for d in block.shape().iter().rev() {
                    index.push(rest.checked_rem(*d).unwrap_or(0));
                    rest = rest.checked_div(*d).unwrap_or(0);
                }
                index.reverse();
                if let (Some(first), Some(tick)) = (leading, index.first_mut()) {
                    *tick += first;
                }
                fault.diagnostic(&self.file, port, &index, block.get_f64(at))
            })?;
        }
        self.at += ticks as usize;
        Ok(())
    }
}

/// The frames of some steps of sequences.
fn steps_of(whole: &Tensor, along: &Along, first: usize, ticks: usize, frame: &[usize]) -> Result<Tensor, Diagnostic> {
    let all = along.steps(whole.shape()).unwrap_or(0);
    let (sequences, elements) = along.blocks();
    let bytes = elements * whole.dtype().size();
    let mut data = Vec::with_capacity(ticks.saturating_mul(sequences).saturating_mul(bytes));
    for t in first..first + ticks {
        for p in 0..sequences {
            let block = whole.bytes().get((p * all + t) * bytes..(p * all + t + 1) * bytes);
            data.extend_from_slice(block.ok_or_else(|| {
                Diagnostic::error_nowhere("E0653", format!("the sequence has {all} steps, step {t} is asked for"))
            })?);
        }
    }
    let shape = std::iter::once(ticks).chain(frame.iter().copied()).collect();
    Tensor::from_bytes(whole.dtype(), shape, &data)
        .ok_or_else(|| Diagnostic::error_nowhere("E0653", "a step of a sequence came in another size"))
}

/// An element that the model's type cannot hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Neither 0 nor 1.
    Spike(usize),
    /// Beyond the integer type.
    Range(usize),
}

impl Fault {
    fn at(self) -> usize {
        match self {
            Fault::Spike(k) | Fault::Range(k) => k,
        }
    }

    fn diagnostic(self, file: &str, port: &Port, index: &[usize], value: f64) -> Diagnostic {
        let name = &port.name;
        match self {
            Fault::Spike(_) => {
                Diagnostic::error_nowhere("E0815", format!("{file}: {name:?}{index:?} is {value}: a spike is 0 or 1"))
            }
            Fault::Range(_) => Diagnostic::error_nowhere(
                "E0816",
                format!("{file}: {name:?}{index:?} is {value}, which {} cannot hold", port.dtype),
            ),
        }
    }
}

/// Writes the elements of a block as another type.
fn convert(from: &Tensor, to: DType, out: &mut [u8]) -> Result<(), Fault> {
    if from.dtype() == to {
        out.copy_from_slice(from.bytes());
        return Ok(());
    }
    let size = to.size();
    for (k, cell) in out.chunks_exact_mut(size).enumerate() {
        match to {
            DType::Bool => {
                let x = from.get_f64(k);
                if x != 0.0 && x != 1.0 {
                    return Err(Fault::Spike(k));
                }
                cell[0] = u8::from(x == 1.0);
            }
            DType::F64 => cell.copy_from_slice(&from.get_f64(k).to_le_bytes()),
            DType::F32 => {
                let x = from.get_f64(k);
                if !from.dtype().is_float() && f64::from(x as f32) != x {
                    return Err(Fault::Range(k));
                }
                cell.copy_from_slice(&(x as f32).to_le_bytes());
            }
            DType::F16 => cell.copy_from_slice(&half::f16::from_f64(from.get_f64(k)).to_le_bytes()),
            DType::BF16 => cell.copy_from_slice(&half::bf16::from_f64(from.get_f64(k)).to_le_bytes()),
            _ => {
                let x = from.get_int(k).unwrap_or(from.get_f64(k) as i128);
                if to.int_range().is_some_and(|(lo, hi)| x < lo || x > hi) {
                    return Err(Fault::Range(k));
                }
                cell.copy_from_slice(&x.to_le_bytes()[..size]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(t: &Tensor, to: DType) -> Result<Vec<u8>, Fault> {
        let mut out = vec![0; t.len() * to.size()];
        convert(t, to, &mut out).map(|()| out)
    }

    #[test]
    fn spikes_are_exactly_zero_or_one() {
        let t = |v: Vec<f64>| Tensor::from_vec(vec![v.len()], v).unwrap();
        assert_eq!(converted(&t(vec![0.0, 1.0, -0.0]), DType::Bool), Ok(vec![0, 1, 0]));
        assert_eq!(converted(&t(vec![0.0, 0.5]), DType::Bool), Err(Fault::Spike(1)));
        assert_eq!(converted(&t(vec![f64::NAN]), DType::Bool), Err(Fault::Spike(0)));
        let ints = Tensor::from_vec(vec![2], vec![1i16, 2]).unwrap();
        assert_eq!(converted(&ints, DType::Bool), Err(Fault::Spike(1)));
    }

    #[test]
    fn integers_keep_every_bit_or_are_refused() {
        let big = Tensor::from_vec(vec![2], vec![i64::MAX, 127]).unwrap();
        assert_eq!(converted(&big, DType::I8), Err(Fault::Range(0)));
        let small = Tensor::from_vec(vec![2], vec![-128i32, 127]).unwrap();
        assert_eq!(converted(&small, DType::I8), Ok(vec![0x80, 0x7f]));
        let wide = converted(&Tensor::from_vec(vec![1], vec![255u8]).unwrap(), DType::I64);
        assert_eq!(wide, Ok(255i64.to_le_bytes().to_vec()));
        let huge = Tensor::from_vec(vec![2], vec![u64::MAX - 1, 0]).unwrap();
        assert_eq!(converted(&huge, DType::U64), Ok([(u64::MAX - 1).to_le_bytes(), [0; 8]].concat()));
        assert_eq!(converted(&huge, DType::I64), Err(Fault::Range(0)));
        let low = Tensor::from_vec(vec![2], vec![i64::MIN, -1]).unwrap();
        assert_eq!(converted(&low, DType::U64), Err(Fault::Range(0)));
        let edge = Tensor::from_vec(vec![2], vec![u32::MAX, 65_535]).unwrap();
        assert_eq!(converted(&edge, DType::U32), Ok(edge.bytes().to_vec()));
        assert_eq!(converted(&edge, DType::U16), Err(Fault::Range(0)));
    }

    #[test]
    fn whole_numbers_are_exact_as_real_ones_or_refused() {
        let t = Tensor::from_vec(vec![2], vec![3i64, (1 << 24) + 1]).unwrap();
        assert_eq!(converted(&t, DType::F32), Err(Fault::Range(1)));
        let t = Tensor::from_vec(vec![1], vec![7u8]).unwrap();
        assert_eq!(converted(&t, DType::F32), Ok(7f32.to_le_bytes().to_vec()));
    }

    #[test]
    fn doubles_round_to_nearest() {
        let t = Tensor::from_vec(vec![1], vec![0.1f64]).unwrap();
        assert_eq!(converted(&t, DType::F32), Ok(0.1f32.to_le_bytes().to_vec()));
    }
}
