//! `nc run`: a model on arrays.

pub mod inputs;
pub mod outputs;
mod progress;
mod timed;

use crate::args::{ChipArgs, Duration, RunArgs, Target};
use crate::cache::{CodeCache, Fingerprint};
use crate::chip::{self, face_of_bundle};
use crate::driver::{self, Form, ModelKind, Times};
use crate::machine::{self, face_of};
use crate::plot::{self, Collector};
use crate::render::Reporter;
use crate::{Outcome, Stop, gpu, print, wishes};
use inputs::Inputs;
use nc_ir::graph::Module;
use nc_ir::{Diagnostic, Severity};
use nc_runtime::arrays::Limits;
use nc_runtime::atomic::AtomicFile;
use nc_runtime::checkpoint::Checkpoint;
use nc_runtime::run::{Face, Plan, Saved, stream};
use nc_spinnaker2::bundle::Bundle;
use outputs::Outputs;
use progress::Progress;
use std::sync::PoisonError;
use std::time::Instant;

/// Bytes of frames that are in memory at a time.
pub const FRAME_BUDGET: u64 = 64 << 20;

/// Runs the command.
///
/// # Errors
/// What is wrong with the model, its inputs or the files to write.
pub fn run(args: &RunArgs, reporter: &mut Reporter) -> Outcome {
    let begin = Instant::now();
    for path in args.plot.iter().chain(&args.checkpoint) {
        // What cannot be written is better known before a long run than after.
        drop(AtomicFile::create(path)?);
    }
    let plotted = args.plot.as_deref().map(plot::kind_of).transpose()?;
    let Subject { name, dt, face, form, kind, fingerprint, mut times, settings, model } = Subject::of(args, reporter)?;
    let mut inputs = Inputs::open(args.input.as_deref(), &face.inputs, &form, kind, args.model.max_memory, reporter)?;
    let asked = (args.steps, args.duration.as_ref());
    let ticks = ticks(asked, (&name, dt), &form, inputs.extent.ticks)?;
    let samples = inputs.extent.samples;
    let resumed = match &args.resume {
        None => None,
        Some(path) => {
            let limits = Limits { max_bytes: args.model.max_memory, ..Limits::default() };
            let c = Checkpoint::load(path, limits, Some(&fingerprint))?;
            Some(Saved { tick: c.tick, entries: c.entries.into_iter().collect() })
        }
    };
    let alone = samples.is_none_or(|n| n == 1);
    let parts = if alone && args.target != Target::Interp { args.threads } else { 1 };
    let mut cache = CodeCache::default();
    let mut options = nc_compiler::Options {
        parts,
        keep_states: args.checkpoint.is_some() || args.resume.is_some(),
        ..args.passes.options(args.target, args.model.max_memory)
    };
    let target = match model {
        Model::Bundle(_) => Target::Spinnaker2,
        Model::Kernels(_) => Target::Gpu,
        Model::Module(_) => args.target,
    };
    let mut ready = match model {
        Model::Bundle(bundle) => machine::of_bundle(&bundle, args.threads)?,
        Model::Kernels(bundle) => {
            machine::of_kernels(&bundle, args.model.max_memory, &gpu::Wanted::of(&args.gpu, None))?
        }
        Model::Module(module) => {
            if target != Target::Interp {
                options.wishes = wishes::of(&args.wishes, target, &args.model.model, &fingerprint, reporter)?;
            }
            match target {
                Target::Spinnaker2 => {
                    let own = args.chip.over(&settings);
                    chip::timed(&own, &form)?;
                    machine::on_chip(*module, &own, &options, &mut times)?
                }
                _ => {
                    let wanted = gpu::Wanted::of(&args.gpu, Some(samples.unwrap_or(1) as u64));
                    machine::build(*module, target, &options, &wanted, &mut cache, &mut times)?
                }
            }
        }
    };
    if let Some(device) = ready.device.as_ref().filter(|_| target == Target::Gpu) {
        reporter.info(&format!("running on {device}"));
    }
    if let Some(repeat) = args.repeat {
        let (count, max_memory) = (samples.unwrap_or(1) as u64, args.model.max_memory);
        let bytes = ready.machine.fork_bytes().saturating_mul(count);
        if !alone && ready.machine.batches() && bytes > max_memory {
            let text = format!("the state of {count} samples takes {bytes} bytes, {max_memory} are allowed");
            return Err(Diagnostic::error_nowhere("E0650", text).with_hint("raise --max-memory").into());
        }
        let together = if alone { None } else { ready.machine.batch(count as usize)? };
        if !alone && together.is_none() {
            return Err(Diagnostic::error_nowhere("E0821", "--repeat times one sample, and the input has several")
                .with_hint("give an input without a batch axis, or time it on a graphics processor")
                .into());
        }
        let begun = timed::Setup { ticks, samples: count, repeat, preparation: begin.elapsed(), max_memory };
        match together {
            Some(mut machine) => timed::run(&mut *machine, &begun, &mut inputs, args.timings)?,
            None => timed::run(&mut *ready.machine, &begun, &mut inputs, args.timings)?,
        }
        inputs = Inputs::open(args.input.as_deref(), &face.inputs, &form, kind, args.model.max_memory, reporter)?;
        ready.machine.reset();
        if args.output.is_none() && args.plot.is_none() && args.checkpoint.is_none() {
            return Ok(());
        }
    }
    let first = resumed.as_ref().map_or(0, |s| s.tick);
    let collector = plotted.map(|_| Collector::new(&face, first, ticks, samples.unwrap_or(1)));
    let mut outputs = Outputs::new(&face, &form, args.output.as_deref(), samples, args.compress, collector)?;
    let count = samples.unwrap_or(1);
    let progress = Progress::start(ticks.saturating_mul(count as u64), reporter.is_human());
    let plan = Plan {
        ticks,
        samples: count,
        threads: args.threads as usize,
        frame_budget: FRAME_BUDGET,
        max_memory: args.model.max_memory,
        resume: resumed.as_ref(),
        stacked: samples.is_some(),
        keep_state: args.checkpoint.is_some(),
        progress: &progress.done,
    };
    let running = Instant::now();
    let finished = stream(ready.machine, &plan, &mut inputs, &mut outputs)?;
    let ran = running.elapsed();
    drop(progress);
    outputs.finish()?;
    if let (Some(path), Some(state)) = (&args.checkpoint, finished.state) {
        Checkpoint { model_hash: fingerprint, tick: state.tick, entries: state.entries.into_iter().collect() }
            .save(path)?;
    }
    if let (Some(path), Some(kind), Some(collector)) = (&args.plot, plotted, &outputs.plot) {
        plot::draw(collector, kind, path, &name, dt)?;
        for name in collector.left_out() {
            reporter.report(&note("E0819", format!("{name} is not in the plot: only so many panels fit one figure")));
        }
    }
    if args.time_passes {
        times.push(("first step".to_owned(), finished.first_chunk));
        show_times(&times, reporter);
        reporter.info(&format!("{:>12.3} ms  everything", begin.elapsed().as_secs_f64() * 1e3));
    }
    if args.output.is_none() && args.plot.is_none() && args.checkpoint.is_none() {
        let seconds = ran.as_secs_f64();
        let mut text = format!("{name}: {ticks} ticks");
        if let Some(dt) = dt {
            text.push_str(&format!(" of {} ms, {} s in all", shown(dt * 1e3), shown(dt * ticks as f64)));
        }
        if let Some(n) = samples {
            text.push_str(&format!(", {n} samples"));
        }
        text.push('\n');
        text.push_str(&outputs.summary(dt));
        text.push_str(&format!("ran {seconds:.3} s on {}", target.name()));
        if let (Some(dt), true) = (dt, seconds > 0.0) {
            let factor = dt * ticks as f64 * count as f64 / seconds;
            text.push_str(&format!(", {factor:.3} times as fast as real time"));
        }
        text.push('\n');
        print(&text)?;
    }
    if let Some(numbers) = &ready.numbers {
        let n = numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(m) = &n.manifest {
            print(&nc_spinnaker2::report::run(m, &n.runs))?;
        }
    }
    Ok(())
}

/// What is run.
enum Model {
    /// A model.
    Module(Box<Module>),
    /// What was compiled for a chip.
    Bundle(Box<Bundle>),
    /// What was compiled for graphics processors.
    Kernels(Box<nc_gpu::bundle::Bundle>),
}

/// What a run needs to know about it.
struct Subject {
    name: String,
    dt: Option<f64>,
    face: Face,
    form: Form,
    kind: ModelKind,
    fingerprint: Fingerprint,
    times: Times,
    settings: ChipArgs,
    model: Model,
}

impl Subject {
    fn of(args: &RunArgs, reporter: &mut Reporter) -> Outcome<Subject> {
        if chip::is_bundle(&args.model.model) || gpu::is_bundle(&args.model.model) {
            return Subject::of_bundle(args);
        }
        let mut model = args.model.clone();
        model.load.arrays.clone_from(&args.input);
        let loaded = driver::load(&model, &args.probes, reporter)?;
        let mut module = loaded.module;
        if args.no_model_probes {
            module.probes.retain(|p| args.probes.contains(&p.name));
        }
        Ok(Subject {
            name: module.name.clone(),
            dt: module.dt.map(|dt| dt.0),
            face: face_of(&module)?,
            form: loaded.form,
            kind: loaded.kind,
            fingerprint: loaded.fingerprint,
            times: loaded.times,
            settings: loaded.chip,
            model: Model::Module(Box::new(module)),
        })
    }

    fn of_bundle(args: &RunArgs) -> Outcome<Subject> {
        let m = &args.model;
        let given = !(m.dims.is_empty() && m.settings.is_empty() && args.probes.is_empty())
            || m.seed.is_some()
            || m.net.is_some()
            || m.bind.is_some()
            || m.dt.is_some()
            || m.discretise.is_some()
            || m.repair
            || m.stream
            || args.no_model_probes;
        if given {
            let text = format!("{} is compiled: parameters and probes were chosen then", m.model.display());
            return Err(Diagnostic::error_nowhere("E0806", text)
                .with_hint("compile the model anew with these options")
                .into());
        }
        let compiled = |name, dt, face, model| Subject {
            name,
            dt,
            face,
            form: Form::Ticks,
            kind: ModelKind::Nd,
            fingerprint: Fingerprint::default(),
            times: Times::new(),
            settings: ChipArgs::default(),
            model,
        };
        if gpu::is_bundle(&m.model) {
            let bundle = gpu::read(&m.model, m.max_memory)?;
            let (name, dt, face) = (bundle.plan.model.clone(), bundle.plan.dt, gpu::face_of_bundle(&bundle.plan)?);
            return Ok(compiled(name, dt, face, Model::Kernels(Box::new(bundle))));
        }
        let bundle = chip::read(&m.model)?;
        let (name, dt, face) = (bundle.manifest.model.clone(), bundle.manifest.dt, face_of_bundle(&bundle.manifest)?);
        Ok(compiled(name, dt, face, Model::Bundle(Box::new(bundle))))
    }
}

/// A number without the noise of binary fractions.
fn shown(x: f64) -> String {
    let text = format!("{x:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn note(code: &'static str, text: String) -> Diagnostic {
    Diagnostic { severity: Severity::Note, ..Diagnostic::error_nowhere(code, text) }
}

/// Writes the times of passes.
pub fn show_times(times: &Times, reporter: &mut Reporter) {
    let mut sum = std::time::Duration::ZERO;
    for (pass, time) in times {
        if !pass.starts_with(' ') {
            sum += *time;
        }
        reporter.info(&format!("{:>12.3} ms  {pass}", time.as_secs_f64() * 1e3));
    }
    reporter.info(&format!("{:>12.3} ms  all passes", sum.as_secs_f64() * 1e3));
}

/// How many ticks to run: as many as are asked for, or as the input has. The model is told by its name and clock.
///
/// # Errors
/// E0817 if these contradict each other, or neither says.
pub fn ticks(
    (steps, duration): (Option<u64>, Option<&Duration>),
    (name, dt): (&str, Option<f64>),
    form: &Form,
    given: Option<u64>,
) -> Outcome<u64> {
    if matches!(form, Form::Once { .. }) {
        return match (steps, duration) {
            (None | Some(1), None) => Ok(1),
            _ => Err(Diagnostic::error_nowhere("E0817", format!("`{name}` has no ticks: a run is one inference"))
                .with_hint("run without --steps and --duration")
                .into()),
        };
    }
    let asked = match (steps, duration) {
        (Some(n), _) => Some(n),
        (None, Some(d)) => Some(whole_ticks(d, name, dt)?),
        (None, None) => None,
    };
    let wrong =
        |code, text: String, hint: &str| -> Stop { Diagnostic::error_nowhere(code, text).with_hint(hint).into() };
    match (asked, given) {
        (Some(n), Some(t)) if n > t => Err(wrong(
            "E0817",
            format!("{n} ticks are asked for, the input has {t}"),
            "run without --steps and --duration to take the whole input",
        )),
        (Some(n), _) | (None, Some(n)) => Ok(n),
        (None, None) => Err(wrong(
            "E0817",
            "the model has no input that says how long to run".to_owned(),
            "give --steps N, or --duration 1s for a model with a clock",
        )),
    }
}

/// A duration in ticks.
fn whole_ticks(duration: &Duration, name: &str, dt: Option<f64>) -> Outcome<u64> {
    let wrong =
        |text: String, hint: String| -> Stop { Diagnostic::error_nowhere("E0817", text).with_hint(hint).into() };
    let Some(dt) = dt else {
        return Err(wrong(
            format!("--duration {} needs a clock, and `{name}` has none", duration.text),
            "give --steps N".to_owned(),
        ));
    };
    let exact = duration.seconds / dt;
    let n = exact.round();
    if !(0.0..9e15).contains(&n) || (exact - n).abs() > 1e-6 * n.max(1.0) {
        return Err(wrong(
            format!("--duration {} is {} ticks of {} ms", duration.text, shown(exact), shown(dt * 1e3)),
            format!("the nearest are --steps {} and --steps {}", exact.floor(), exact.ceil()),
        ));
    }
    Ok(n as u64)
}
