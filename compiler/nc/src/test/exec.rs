//! Running a model for a test, and finding where two runs part.

use super::arrays::element;
use crate::Errors;
use crate::args::{ChipArgs, GpuArgs, PassArgs, Target};
use crate::cache::CodeCache;
use crate::gpu::Wanted;
use crate::machine::{self, face_of};
use nc_ir::graph::{Module, Probe};
use nc_ir::{DType, Diagnostic, Tensor};
use nc_runtime::run::{Face, Frames, Plan, Port, Sink, Source, stream};
use std::collections::HashSet;
use std::sync::atomic::AtomicU64;

/// The results of a run, in the order of the face.
pub struct Results {
    /// Their ports.
    pub ports: Vec<Port>,
    /// Their frames.
    pub arrays: Vec<Tensor>,
}

struct Given<'a> {
    arrays: &'a [Tensor],
    samples: usize,
    at: usize,
}

impl Source for Given<'_> {
    fn fill(&mut self, ticks: u64, inputs: &mut [Frames]) -> Result<(), Diagnostic> {
        for (t, to) in self.arrays.iter().zip(inputs) {
            let each = t.bytes().len().checked_div(t.shape()[0]).unwrap_or(0);
            let from = &t.bytes()[self.at * each..][..ticks as usize * each];
            to.bytes_mut().copy_from_slice(from);
        }
        self.at += ticks as usize;
        debug_assert!(self.samples > 0);
        Ok(())
    }
}

#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

impl Sink for Kept {
    fn take(&mut self, _first: u64, _ticks: u64, results: &[Frames]) -> Result<(), Diagnostic> {
        self.0.resize(results.len(), Vec::new());
        self.0.iter_mut().zip(results).for_each(|(all, r)| all.extend(r.bytes()));
        Ok(())
    }
}

/// What a run is made of.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Input arrays in the order of the face, `[ticks, ..]` or `[ticks, samples, ..]`.
    pub inputs: &'a [Tensor],
    /// How many ticks.
    pub ticks: u64,
    /// Length of the axis of samples, if there is one.
    pub samples: Option<usize>,
    /// What to run on.
    pub target: Target,
    /// How many threads.
    pub threads: u32,
    /// What the passes may do.
    pub passes: PassArgs,
    /// What the model says about the chip.
    pub chip: &'a ChipArgs,
    /// What is wanted of a graphics processor.
    pub gpu: &'a GpuArgs,
    /// Bytes that may be taken.
    pub max_memory: u64,
}

/// Runs a module and keeps all results.
///
/// # Errors
/// What the passes, the target and the run refuse.
pub fn execute(module: Module, job: Job<'_>, cache: &mut CodeCache) -> Result<Results, Errors> {
    let face: Face = face_of(&module)?;
    let parts = if job.samples.is_none_or(|n| n == 1) { job.threads } else { 1 };
    let options = nc_compiler::Options { parts, ..job.passes.options(job.target, job.max_memory) };
    let wanted = Wanted::of(job.gpu, Some(job.samples.unwrap_or(1) as u64));
    let ready = match job.target {
        Target::Spinnaker2 => machine::on_chip(module, job.chip, &options, &mut Vec::new())?,
        target => machine::build(module, target, &options, &wanted, cache, &mut Vec::new())?,
    };
    let progress = AtomicU64::new(0);
    let samples = job.samples.unwrap_or(1);
    let plan = Plan {
        ticks: job.ticks,
        samples,
        threads: job.threads as usize,
        frame_budget: 16 << 20,
        max_memory: job.max_memory,
        resume: None,
        stacked: job.samples.is_some(),
        keep_state: false,
        progress: &progress,
    };
    let mut kept = Kept::default();
    stream(ready.machine, &plan, &mut Given { arrays: job.inputs, samples, at: 0 }, &mut kept)?;
    let ports: Vec<Port> = face.results().cloned().collect();
    kept.0.resize(ports.len(), Vec::new());
    let tensor = |(port, bytes): (&Port, &Vec<u8>)| {
        let mut shape = vec![port.frames_in(0, job.ticks) as usize];
        shape.extend(job.samples);
        shape.extend(&port.shape);
        Tensor::from_bytes(port.dtype, shape, bytes).ok_or_else(|| {
            Diagnostic::error_nowhere("E0653", format!("{:?} has another size than expected", port.name))
        })
    };
    let arrays = ports.iter().zip(&kept.0).map(tensor).collect::<Result<Vec<_>, Diagnostic>>()?;
    Ok(Results { ports, arrays })
}

/// How close numbers must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// In proportion to the expected value.
    pub rtol: f64,
    /// Whatever the expected value.
    pub atol: f64,
}

impl Tolerance {
    /// Equal to the bit; any NaN equals any other.
    pub const EXACT: Tolerance = Tolerance { rtol: 0.0, atol: 0.0 };

    fn accepts(self, expected: &Tensor, found: &Tensor, k: usize) -> bool {
        let size = expected.dtype().size();
        if expected.bytes()[k * size..(k + 1) * size] == found.bytes()[k * size..(k + 1) * size] {
            return true;
        }
        let (a, b) = (expected.get_f64(k), found.get_f64(k));
        if a.is_nan() && b.is_nan() {
            return true;
        }
        (self.rtol > 0.0 || self.atol > 0.0) && a.is_finite() && (a - b).abs() <= self.atol + self.rtol * a.abs()
    }
}

/// The first difference between two arrays.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The frame along the leading axis.
    pub frame: usize,
    /// Index within the frame.
    pub index: Vec<usize>,
    /// The expected value.
    pub expected: String,
    /// The value found.
    pub found: String,
    /// How many elements differ in all.
    pub count: usize,
    /// Largest distance between finite numbers.
    pub most: f64,
}

/// Compares two arrays of one type.
pub fn difference(expected: &Tensor, found: &Tensor, tolerance: Tolerance) -> Option<Difference> {
    let frame: usize = expected.shape().iter().skip(1).product();
    let mut first: Option<Difference> = None;
    for k in 0..expected.len().min(found.len()) {
        if tolerance.accepts(expected, found, k) {
            continue;
        }
        let d = first.get_or_insert_with(|| {
            let (mut rest, mut index) = (k % frame.max(1), Vec::new());
            for d in expected.shape().iter().skip(1).rev() {
                index.push(rest % d);
                rest /= d;
            }
            index.reverse();
            Difference {
                frame: k / frame.max(1),
                index,
                expected: element(expected, k),
                found: element(found, k),
                count: 0,
                most: 0.0,
            }
        });
        d.count += 1;
        let distance = (expected.get_f64(k) - found.get_f64(k)).abs();
        if distance.is_finite() {
            d.most = d.most.max(distance);
        }
    }
    first
}

/// Bytes of internal values that are kept to find where two targets part.
const INTERNAL: u64 = 256 << 20;

/// The first named value inside the model that differs between a target and the interpreter, in words.
pub fn first_internal(module: &Module, until: u64, job: Job<'_>, cache: &mut CodeCache) -> Option<String> {
    let mut module = module.clone();
    let outputs: HashSet<_> = module.outputs.iter().map(|p| p.value).collect();
    let mut seen = HashSet::new();
    let named = |m: &Module| -> Vec<Probe> {
        (m.graph.nodes.iter().flat_map(|n| &n.results))
            .filter(|v| !outputs.contains(v))
            .map(|v| (*v, m.graph.values[v.index()].name.clone()))
            .chain(m.states.iter().map(|s| (s.next, s.name.clone())))
            .filter(|(_, n)| !n.is_empty())
            .map(|(value, name)| Probe { name, value, every: 1 })
            .collect()
    };
    let mut probes = named(&module);
    probes.retain(|p| seen.insert((p.value, p.name.clone())));
    for (k, p) in probes.iter_mut().enumerate() {
        // Names may repeat in a graph; arrays of a program have each their own.
        p.name = format!("{}\u{0}{k}", p.name);
    }
    let per_tick: u64 = probes.iter().filter_map(|p| module.graph.ty(p.value).bytes()).sum();
    if probes.is_empty() || per_tick.saturating_mul(until) > INTERNAL {
        return None;
    }
    module.probes = probes;
    let short = Job { ticks: until, ..job };
    let interp = Job { target: Target::Interp, threads: 1, ..short };
    let meant = execute(module.clone(), interp, cache).ok()?;
    let found = execute(module, short, cache).ok()?;
    let firsts = meant.arrays.iter().zip(&found.arrays).zip(&meant.ports).enumerate();
    let (_, _, port, d) = firsts
        .filter_map(|(k, ((a, b), port))| {
            let d = difference(a, b, Tolerance::EXACT)?;
            Some((d.frame, k, port, d))
        })
        .min_by_key(|(frame, k, ..)| (*frame, *k))?;
    let name = port.name.split('\u{0}').next().unwrap_or_default();
    Some(format!(
        "the first value inside that differs: step {}, {name}{} is {} on {}, {} in the interpreter",
        d.frame,
        shown_index(&d.index),
        d.found,
        job.target.name(),
        d.expected
    ))
}

/// `[1, 2]`, or nothing for a scalar.
pub fn shown_index(index: &[usize]) -> String {
    if index.is_empty() { String::new() } else { format!("{index:?}") }
}

/// Whether an array has another type or shape than expected, in words.
pub fn mismatch(expected: &Tensor, found: &Tensor) -> Option<String> {
    let differs = expected.dtype() != found.dtype() || expected.shape() != found.shape();
    let shown = |t: &Tensor| format!("{}{:?}", t.dtype(), t.shape());
    // What a reader of an expected file gave as bytes can be meant as spikes.
    (differs && !(found.dtype() == DType::Bool && expected.dtype() == DType::U8 && expected.shape() == found.shape()))
        .then(|| format!("expected {}, found {}", shown(expected), shown(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(v: Vec<f32>) -> Tensor {
        Tensor::from_vec(vec![v.len() / 2, 2], v).unwrap()
    }

    #[test]
    fn the_first_difference_is_told_with_its_place() {
        let d = difference(&t(vec![1.0, 2.0, 3.0, 4.0]), &t(vec![1.0, 2.0, 3.5, 5.0]), Tolerance::EXACT).unwrap();
        assert_eq!((d.frame, d.index, d.count, d.most), (1, vec![0], 2, 1.0));
        assert_eq!((d.expected.as_str(), d.found.as_str()), ("3.0", "3.5"));
    }

    #[test]
    fn tolerance_is_zero_unless_asked_for() {
        let (a, b) = (t(vec![0.0, 1.0]), t(vec![-0.0, 1.0 + f32::EPSILON]));
        assert_eq!(difference(&a, &b, Tolerance::EXACT).unwrap().count, 2);
        assert_eq!(difference(&a, &b, Tolerance { rtol: 1e-6, atol: 0.0 }), None);
        let (a, b) = (t(vec![f32::NAN, f32::INFINITY]), t(vec![f32::from_bits(0x7fc0_0001), 1.0]));
        assert_eq!(difference(&a, &b, Tolerance { rtol: 1e9, atol: 1e9 }).unwrap().count, 1);
    }
}
