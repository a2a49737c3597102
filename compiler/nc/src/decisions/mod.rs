//! `nc explain MODEL`: what the passes decided, from what, and what it takes.

mod report;

use crate::args::{ExplainArgs, ModelArgs, Target};
use crate::cache::CodeCache;
use crate::check::{bytes, products};
use crate::gpu::Wanted;
use crate::machine::{self, face_of, watched};
use crate::render::{Reporter, Sources};
use crate::run::inputs::Inputs;
use crate::{Outcome, Stop, driver, print, wishes};
use nc_compiler::saturate::{Region, rules};
use nc_compiler::{Compiled, Level, compile};
use nc_ir::{Diagnostic, Tensor};
use nc_runtime::atomic::AtomicFile;
use nc_runtime::run::{Face, Frames, Machine, Port, Source};
use std::cell::RefCell;
use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Times that a model is run to measure its kernels.
const RUNS: usize = 5;

/// Runs the command on a model.
///
/// # Errors
/// What is wrong with the model or its input, what the passes or the target refuse.
pub fn explain(model: &str, args: &ExplainArgs, reporter: &mut Reporter) -> Outcome {
    let mut model = ModelArgs { model: PathBuf::from(model), load: args.load.clone() };
    model.load.arrays.clone_from(&args.input);
    let loaded = driver::load(&model, &[], reporter)?;
    let mut options = args.passes.options(Target::Cpu, model.max_memory);
    options.proofs = true;
    options.wishes = wishes::of(&args.wishes, Target::Cpu, &model.model, &loaded.fingerprint, reporter)?;
    let face = face_of(&loaded.module)?;
    let compiled = compile(loaded.module.clone(), &options)?;
    let mut out = String::new();
    let level = match options.level {
        Level::O0 => "-O0",
        Level::O1 => "-O1",
        Level::O2 => "-O2",
    };
    let _ = writeln!(out, "{}: {level}, costs of {}", compiled.module.name, options.wishes.costs.machine);
    for region in &compiled.saturation {
        saturation(&mut out, region);
    }
    products(&mut out, &compiled.products);
    let (arena, consts) = (bytes(compiled.layout.arena_bytes), bytes(compiled.layout.const_bytes));
    let kernels = compiled.program.kernels().count();
    let _ = writeln!(out, "\n{kernels} kernels, {arena} of state and temporaries, {consts} of constants");
    for line in &compiled.report {
        let _ = writeln!(out, "  {line}");
    }
    if args.input.is_some() {
        let memory = model.max_memory;
        let mut inputs =
            Inputs::open(args.input.as_deref(), &face.inputs, &loaded.form, loaded.kind, memory, reporter)?;
        let clock = (loaded.module.name.as_str(), loaded.module.dt.map(|d| d.0));
        let ticks = crate::run::ticks((args.steps, None), clock, &loaded.form, inputs.extent.ticks)?;
        let (inputs, results) = measured(&mut out, &compiled, &face, ticks, &mut inputs, memory)?;
        if !model.prune.is_empty() {
            let mut whole = model.clone();
            whole.load.prune.clear();
            let whole = driver::lower(&whole, &[], &mut Sources::default())?.module.ok_or(Stop::Said)?;
            let ready = machine::build(
                whole,
                Target::Cpu,
                &options,
                &Wanted::default(),
                &mut CodeCache::default(),
                &mut Vec::new(),
            )?;
            pruned(&mut out, ready.machine, ticks, &inputs, &results)?;
        }
    }
    if let Some(path) = &args.report {
        let before = nc_compiler::prepare(loaded.module.clone(), &nc_compiler::Options::reference(), &mut Vec::new())?;
        let page = report::page(&compiled.module.name, &out, &before, &compiled.module);
        let mut file = AtomicFile::create(path)?;
        let failed = |e| Diagnostic::error_nowhere("E0630", format!("{} cannot be written: {e}", path.display()));
        file.write_all(page.as_bytes()).map_err(failed)?;
        file.commit()?;
    }
    print(&out)
}

/// What saturation did to a graph, and by which rules.
fn saturation(out: &mut String, r: &Region) {
    let place = if r.place.is_empty() { "step function".to_owned() } else { format!("body of {}", r.place) };
    let us = |ns: f64| ns * 1e-3;
    let _ = writeln!(
        out,
        "\n{place}: {} classes with {} terms; predicted {:.3} us, {:.3} us as it was written",
        r.classes,
        r.terms,
        us(r.after),
        us(r.before)
    );
    if r.pieces > 1 {
        let _ = writeln!(out, "  {} stretches, {} of them different", r.pieces, r.different);
    }
    for (rule, times) in &r.rules {
        let reason = rules::all().find(|x| x.name == rule).map_or("", |x| x.reason);
        let taken = if r.taken.contains(rule) { "*" } else { " " };
        let _ = writeln!(out, "{taken} {rule} ({times}): {reason}");
    }
}

/// What was seen of kernels.
struct Seen {
    /// When the kernel that runs was begun.
    begun: Option<Instant>,
    /// For each kernel how often it ran, and how long in all.
    kernels: Vec<(u64, Duration)>,
}

thread_local! {
    static WATCH: RefCell<Seen> = const { RefCell::new(Seen { begun: None, kernels: Vec::new() }) };
}

/// Called by compiled code around every kernel.
extern "C" fn note(kernel: i64) {
    let now = Instant::now();
    WATCH.with_borrow_mut(|seen| match usize::try_from(kernel) {
        Err(_) => seen.begun = Some(Instant::now()),
        Ok(k) => {
            if let (Some(begun), Some(sum)) = (seen.begun.take(), seen.kernels.get_mut(k)) {
                *sum = (sum.0 + 1, sum.1 + (now - begun));
            }
        }
    });
}

/// Runs a sample a few times and shows how long each kernel took, beside what was predicted for its product.
fn measured(
    out: &mut String,
    compiled: &Compiled,
    face: &Face,
    ticks: u64,
    source: &mut dyn Source,
    max_memory: u64,
) -> Outcome<(Vec<Frames>, Vec<Frames>)> {
    let mut machine = watched(compiled, face.clone(), note, max_memory)?;
    let mut inputs = Vec::with_capacity(face.inputs.len());
    for p in &face.inputs {
        let size = p.frame_bytes().saturating_mul(ticks);
        if size > max_memory {
            let text = format!("the frames of {ticks} ticks do not fit in memory");
            return Err(Diagnostic::error_nowhere("E0650", text).with_hint("measure fewer --steps").into());
        }
        inputs.push(Frames::zeros(size, &p.name)?);
    }
    source.fill(ticks, &mut inputs)?;
    let mut results = Vec::new();
    for p in face.results() {
        results.push(Frames::zeros(0, &p.name)?);
    }
    let kernels = compiled.program.kernels().count();
    let mut best: Vec<(u64, Duration)> = Vec::new();
    for run in 0..=RUNS {
        WATCH.with_borrow_mut(|w| *w = Seen { begun: None, kernels: vec![(0, Duration::ZERO); kernels] });
        machine.reset();
        machine.run(ticks, &inputs, &mut results)?;
        let times = WATCH.with_borrow(|w| w.kernels.clone());
        // The first run finds nothing in the caches.
        if run == 1 {
            best = times;
        } else if run > 1 {
            best.iter_mut().zip(times).for_each(|(b, t)| b.1 = b.1.min(t.1));
        }
    }
    let total: Duration = best.iter().map(|b| b.1).sum();
    let _ = writeln!(
        out,
        "\nkernels over {ticks} ticks, the fastest of {RUNS} runs (with about 25 ns to look at the clock)"
    );
    for (kernel, (times, sum)) in compiled.program.kernels().zip(&best) {
        let each = sum.as_secs_f64() * 1e6 / (*times).max(1) as f64;
        let part = 100.0 * sum.as_secs_f64() / total.as_secs_f64().max(1e-12);
        let name = kernel.name.split_once(' ').map_or("", |(_, name)| name);
        let predicted = compiled.products.iter().find(|c| c.name == name);
        let predicted = predicted.and_then(|c| c.alternatives.iter().find(|a| a.repr == c.chosen));
        let predicted = predicted.map_or(String::new(), |a| format!(", predicted {:.3} us", a.ns * 1e-3));
        let _ = writeln!(out, "  {each:9.3} us x {times:<8} {part:5.1} %  {}{predicted}", kernel.name);
    }
    Ok((inputs, results))
}

/// What pruning does to the outputs: their differences from those of the whole model.
fn pruned(
    out: &mut String,
    mut whole: Box<dyn Machine>,
    ticks: u64,
    inputs: &[Frames],
    results: &[Frames],
) -> Outcome<()> {
    let ports: Vec<Port> = whole.face().results().cloned().collect();
    let mut expected = Vec::new();
    for p in &ports {
        expected.push(Frames::zeros(0, &p.name)?);
    }
    whole.run(ticks, inputs, &mut expected)?;
    let _ = writeln!(out, "\noutputs of the pruned model, against those of the whole one");
    for ((p, got), want) in ports.iter().zip(results).zip(&expected) {
        let numbers = |f: &Frames| {
            let n = f.bytes().len() / p.dtype.size();
            Tensor::from_bytes(p.dtype, vec![n], f.bytes()).map(|t| (0..n).map(|k| t.get_f64(k)).collect::<Vec<f64>>())
        };
        let (Some(got), Some(want)) = (numbers(got), numbers(want)) else { continue };
        let n = want.len().max(1) as f64;
        let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let differ = got.iter().zip(&want).filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count();
        let errors = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
        let (sum, most) = errors.fold((0.0, 0.0f64), |(s, m), e| (s + e, m.max(e)));
        let _ = writeln!(
            out,
            "  {}: {differ} of {} differ, by {:.4} on average and {most:.4} at most; the largest is {largest:.4}",
            p.name,
            want.len(),
            sum / n
        );
    }
    Ok(())
}
