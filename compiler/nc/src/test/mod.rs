//! `nc test`: models against what they are expected to compute. The format of tests is described in `docs/testing.md`.

mod arrays;
mod exec;
mod junit;
mod spec;

use crate::args::{ChipArgs, LoadArgs, ModelArgs, Target, TestArgs};
use crate::cache::CodeCache;
use crate::driver::{self, Lowered, read_text};
use crate::machine::face_of;
use crate::render::{Reporter, Sources};
use crate::{Errors, Outcome, Stop, print};
use arrays::{array_of, text_of};
use clap::ValueEnum;
use exec::{Job, Results, Tolerance, difference, execute, first_internal, mismatch, shown_index};
use nc_ir::graph::Module;
use nc_ir::{DType, Diagnostic, Tensor};
use nc_runtime::arrays::{ArrayFile, Limits, NpzOptions, NpzWriter};
use nc_runtime::atomic::AtomicFile;
use nc_runtime::run::Face;
use spec::{Spec, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What came of one test on one target.
pub struct Case {
    /// The file.
    pub file: String,
    /// The test and the target.
    pub name: String,
    /// What failed, if something did.
    pub failure: Option<String>,
    /// Seconds.
    pub time: f64,
}

/// Runs the command.
///
/// # Errors
/// Paths and tests that cannot be read; [`Stop::Said`] if a test failed.
pub fn test(args: &TestArgs, reporter: &mut Reporter) -> Outcome {
    let mut files = Vec::new();
    for path in &args.paths {
        find(path, true, 0, &mut files)?;
    }
    files.sort();
    files.dedup();
    let mut runner = Runner { args, cache: CodeCache::default(), cases: Vec::new(), blessed: Vec::new() };
    let mut any = false;
    for file in &files {
        let text = read_text(file)?;
        let specs = match spec::read(file, &text) {
            Ok(specs) => specs,
            Err(d) => {
                any = true;
                runner.close(&file.display().to_string(), "header", Some(d.to_string()), Instant::now())?;
                continue;
            }
        };
        any |= !specs.is_empty();
        for spec in &specs {
            runner.spec(spec)?;
        }
        if args.bless {
            runner.write_blessed(file, &text, reporter)?;
        }
    }
    if !any {
        let d = Diagnostic::error_nowhere("E0843", "there are no tests in what was given");
        return Err(d
            .with_hint("a test is a .test file, or begins with `# test` in the first comments of a model")
            .into());
    }
    if let Some(path) = &args.junit {
        let mut file = AtomicFile::create(path)?;
        file.write_all(junit::report(&runner.cases).as_bytes()).map_err(|e| file.failure(&e))?;
        file.commit()?;
    }
    let failed = runner.cases.iter().filter(|c| c.failure.is_some()).count();
    print(&format!("{} passed, {failed} failed\n", runner.cases.len() - failed))?;
    if failed > 0 { Err(Stop::Said) } else { Ok(()) }
}

/// Deepest nesting of folders that is searched.
const MAX_DEPTH: usize = 32;

/// Collects the files that may have tests.
fn find(path: &Path, named: bool, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), Diagnostic> {
    let unread =
        |e: std::io::Error| Diagnostic::error_nowhere("E0800", format!("{} cannot be read: {e}", path.display()));
    if std::fs::metadata(path).map_err(unread)?.is_dir() {
        if depth < MAX_DEPTH {
            for entry in std::fs::read_dir(path).map_err(unread)? {
                let entry = entry.map_err(unread)?;
                // A link could lead in a circle; folders are searched only where they really are.
                if !entry.file_type().map_err(unread)?.is_symlink() {
                    find(&entry.path(), false, depth + 1, out)?;
                }
            }
        }
    } else if named || path.extension().is_some_and(|e| e == "nd" || e == "test") {
        out.push(path.to_owned());
    }
    Ok(())
}

/// A new value for a place in a test's file.
struct Blessed {
    file: PathBuf,
    place: std::ops::Range<usize>,
    text: String,
}

struct Runner<'a> {
    args: &'a TestArgs,
    cache: CodeCache,
    cases: Vec<Case>,
    blessed: Vec<Blessed>,
}

impl Runner<'_> {
    /// Writes the line of a case and keeps it.
    fn close(&mut self, file: &str, name: &str, failure: Option<String>, start: Instant) -> Outcome {
        let verdict = if failure.is_some() { "FAILED" } else { "ok" };
        let mut text = format!("{verdict:6} {file}: {name}\n");
        for line in failure.iter().flat_map(|f| f.lines()) {
            text.push_str(&format!("       {line}\n"));
        }
        print(&text)?;
        let time = start.elapsed().as_secs_f64();
        self.cases.push(Case { file: file.to_owned(), name: name.to_owned(), failure, time });
        Ok(())
    }

    fn spec(&mut self, spec: &Spec) -> Outcome {
        let start = Instant::now();
        let file = spec.file.display().to_string();
        let title = if spec.name.is_empty() { "test" } else { &spec.name };
        let load = LoadArgs {
            dims: spec.dims.clone(),
            settings: Vec::new(),
            seed: None,
            net: spec.net.clone(),
            max_memory: self.args.max_memory,
            bind: None,
            arrays: None,
            dt: spec.dt,
            discretise: spec.discretise.clone(),
            repair: spec.repair,
            stream: spec.stream,
            prune: spec.prune.clone(),
        };
        let args = ModelArgs { model: spec.model.clone(), load };
        let mut sources = Sources::default();
        let (module, mut diagnostics, chip) = match driver::lower(&args, &spec.probes, &mut sources) {
            Ok(Lowered { module, diagnostics, chip, .. }) => (module, diagnostics, chip),
            Err(d) => (None, vec![d], ChipArgs::default()),
        };
        if !spec.expect.is_empty() {
            // What the passes behind the frontend refuse is expected in the same way.
            if let Some(Err(refused)) = module.map(|m| nc_compiler::compile(m, &nc_compiler::Options::default())) {
                diagnostics.extend(refused);
            }
            return self.close(&file, title, expectations(spec, &diagnostics, &sources), start);
        }
        let Some(module) = module else {
            return self.close(&file, title, Some(listed(&diagnostics, &sources)), start);
        };
        let mut targets = Vec::new();
        let mut names: Vec<&str> = match spec.targets.as_slice() {
            [] => vec!["interp", "cpu"],
            named => named.iter().map(String::as_str).collect(),
        };
        // Not part of every build, and so never a default.
        let also = [Target::Llvm, Target::Gpu, Target::GpuHost].into_iter().filter(|t| self.args.targets.contains(t));
        if names.contains(&"cpu") {
            for target in also {
                names.push(target.name());
            }
        }
        for name in names {
            match Target::from_str(name, false) {
                Ok(t) if self.args.targets.is_empty() || self.args.targets.contains(&t) => targets.push(t),
                Ok(_) => {}
                Err(_) => {
                    return self.close(&file, title, Some(format!("`{name}` is not a target of this build")), start);
                }
            }
        }
        let setup = match setup(spec, &module, self.args.max_memory) {
            // What is expected is what the model gives in its own ticks.
            Ok(setup) => Setup { chip: ChipArgs { pipeline: Some(false), ..chip }, ..setup },
            Err(Errors(list)) => return self.close(&file, title, Some(listed(&list, &sources)), start),
        };
        // The interpreter first: what it gives is what --bless writes, and what other targets are held against.
        targets.sort_by_key(|t| *t != Target::Interp);
        let mut blessed = false;
        for target in targets {
            let threads = match spec.threads.as_slice() {
                [] => vec![self.args.threads],
                list if target == Target::Interp => list[..1].to_vec(),
                list => list.to_vec(),
            };
            for threads in threads {
                let start = Instant::now();
                let name = match threads {
                    1 => format!("{title} [{}]", target.name()),
                    n => format!("{title} [{}, {n} threads]", target.name()),
                };
                let job = setup.job(target, threads, self.args);
                let failure = match execute(module.clone(), job, &mut self.cache) {
                    Err(Errors(list)) => Some(listed(&list, &sources)),
                    Ok(results) => {
                        let failure = self.judge(spec, &module, &setup, job, &results);
                        if self.args.bless && !blessed && failure.is_some() {
                            self.bless(spec, &setup, &results)?;
                        }
                        blessed = true;
                        failure
                    }
                };
                self.close(&file, &name, failure, start)?;
            }
        }
        Ok(())
    }

    /// What is wrong with the results, if anything.
    fn judge(
        &mut self,
        spec: &Spec,
        module: &Module,
        setup: &Setup,
        job: Job<'_>,
        results: &Results,
    ) -> Option<String> {
        let tolerance = Tolerance { rtol: spec.rtol, atol: spec.atol };
        let mut faults: Vec<(u64, String)> = Vec::new();
        let agreed;
        let against = if setup.expected.is_empty() && spec.outputs.is_empty() && job.target != Target::Interp {
            // Nothing is written down: the interpreter tells what is expected.
            let meant = Job { target: Target::Interp, threads: 1, ..job };
            agreed = match execute(module.clone(), meant, &mut self.cache) {
                Ok(r) => r.ports.iter().map(|p| p.name.clone()).zip(r.arrays).collect::<BTreeMap<_, _>>(),
                Err(Errors(list)) => return Some(listed(&list, &Sources::default())),
            };
            &agreed
        } else {
            &setup.expected
        };
        for named in spec.outputs.iter().filter(|n| n.value == Value::Unknown) {
            faults.push((0, format!("{}: nothing is expected yet; --bless writes what comes out", named.name)));
        }
        for (name, expected) in against {
            let Some(k) = results.ports.iter().position(|p| p.name == *name) else {
                faults.push((0, format!("{name}: the model has no such output or probe")));
                continue;
            };
            let (port, found) = (&results.ports[k], &results.arrays[k]);
            if let Some(text) = mismatch(expected, found) {
                faults.push((0, format!("{name}: {text}")));
                continue;
            }
            let same_type = match expected.dtype() == found.dtype() {
                true => Some(expected.clone()),
                false => Tensor::from_bytes(DType::Bool, expected.shape().to_vec(), expected.bytes()),
            };
            if let Some(d) = same_type.and_then(|e| difference(&e, found, tolerance)) {
                let step = d.frame as u64 * port.every;
                let more = match d.count {
                    1 => String::new(),
                    n => format!(" ({n} of {} elements differ, by up to {:e})", found.len(), d.most),
                };
                let index = shown_index(&d.index);
                faults.push((
                    step,
                    format!("step {step}, {name}{index}: expected {}, found {}{more}", d.expected, d.found),
                ));
            }
        }
        faults.sort_by_key(|f| f.0);
        let step = faults.first()?.0;
        let mut text: Vec<String> = faults.into_iter().map(|f| f.1).collect();
        if job.target != Target::Interp && job.samples.is_none() {
            text.extend(first_internal(module, (step + 1).min(job.ticks), job, &mut self.cache));
        }
        Some(text.join("\n"))
    }

    /// Keeps what came out as what is expected.
    fn bless(&mut self, spec: &Spec, setup: &Setup, results: &Results) -> Outcome {
        let found = |name: &str| results.ports.iter().position(|p| p.name == name).map(|k| &results.arrays[k]);
        for named in &spec.outputs {
            if let Some(array) = found(&named.name) {
                let (file, place) = (spec.file.clone(), named.place.clone());
                self.blessed.push(Blessed { file, place, text: text_of(array) });
            }
        }
        if let Some(path) = &spec.output_file {
            let mut writer = NpzWriter::create(path, NpzOptions { deflate: true })?;
            for (port, array) in results.ports.iter().zip(&results.arrays) {
                if !setup.in_file || setup.expected.contains_key(&port.name) {
                    writer.write(&port.name, array)?;
                }
            }
            writer.finish()?;
        }
        Ok(())
    }

    fn write_blessed(&mut self, file: &Path, text: &str, reporter: &mut Reporter) -> Outcome {
        let mut changes: Vec<Blessed> =
            std::mem::take(&mut self.blessed).into_iter().filter(|b| b.file == file).collect();
        if changes.is_empty() {
            return Ok(());
        }
        // From the end, so that places before stay what they are.
        changes.sort_by_key(|b| std::cmp::Reverse(b.place.start));
        let mut text = text.to_owned();
        for change in changes {
            text.replace_range(change.place, &change.text);
        }
        let mut out = AtomicFile::create(file)?;
        out.write_all(text.as_bytes()).map_err(|e| out.failure(&e))?;
        out.commit()?;
        reporter.info(&format!("blessed {}", file.display()));
        Ok(())
    }
}

/// Diagnostics, one per line.
fn listed(list: &[Diagnostic], sources: &Sources) -> String {
    let one = |d: &Diagnostic| match d.span.and_then(|s| sources.position(s)) {
        Some((file, p)) => format!("{file}:{}:{}: {d}", p.line, p.column),
        None => d.to_string(),
    };
    list.iter().filter(|d| d.is_error()).map(one).collect::<Vec<_>>().join("\n")
}

/// Compares the diagnostics of a model with the expected ones: every error must be expected, and all that is expected
/// must come.
fn expectations(spec: &Spec, diagnostics: &[Diagnostic], sources: &Sources) -> Option<String> {
    let at = |d: &Diagnostic| d.span.and_then(|s| sources.position(s)).map(|(_, p)| (p.line, p.column));
    let mut left: Vec<&Diagnostic> = diagnostics.iter().collect();
    let mut faults = Vec::new();
    for e in &spec.expect {
        let place = |at: Option<(usize, usize)>| at.map_or(String::new(), |(l, c)| format!(" at {l}:{c}"));
        match left.iter().position(|d| d.code == e.code && (e.at.is_none() || e.at == at(d))) {
            Some(k) => {
                left.remove(k);
            }
            None => faults.push(format!("expected {}{}, which did not come", e.code, place(e.at))),
        }
    }
    for d in left.into_iter().filter(|d| d.is_error()) {
        let place = at(d).map_or(String::new(), |(l, c)| format!(" at {l}:{c}"));
        faults.push(format!("not expected: {}{place}: {}", d.code, d.message));
    }
    (!faults.is_empty()).then(|| faults.join("\n"))
}

/// The arrays of a test.
struct Setup {
    inputs: Vec<Tensor>,
    expected: BTreeMap<String, Tensor>,
    /// Whether the expected file exists.
    in_file: bool,
    ticks: u64,
    samples: Option<usize>,
    /// What the model says about the chip.
    chip: ChipArgs,
}

impl Setup {
    fn job<'a>(&'a self, target: Target, threads: u32, args: &'a TestArgs) -> Job<'a> {
        Job {
            inputs: &self.inputs,
            ticks: self.ticks,
            samples: self.samples,
            target,
            threads,
            passes: args.passes,
            chip: &self.chip,
            gpu: &args.gpu,
            max_memory: args.max_memory,
        }
    }
}

/// Reads and makes the arrays of a test.
fn setup(spec: &Spec, module: &Module, max_memory: u64) -> Result<Setup, Errors> {
    let face: Face = face_of(module)?;
    let limits = Limits { max_bytes: max_memory, ..Limits::default() };
    let mut length = spec.steps.map(|n| n as usize);
    let mut from_file: BTreeMap<String, Tensor> = BTreeMap::new();
    let wrong = |text: String| Diagnostic::error_nowhere("E0842", text);
    if let Some(path) = &spec.input_file {
        from_file = ArrayFile::open(path, limits)?.read_all()?.into_iter().collect();
    }
    for named in &spec.inputs {
        if !face.inputs.iter().any(|p| p.name == named.name) {
            Err(wrong(format!("the model has no input {:?}", named.name)))?;
        }
    }
    let (mut inputs, mut samples) = (Vec::new(), None);
    for port in &face.inputs {
        let array = match (spec.inputs.iter().find(|n| n.name == port.name), from_file.remove(&port.name)) {
            (Some(named), _) => array_of(port, &named.value, length)?,
            (None, Some(t)) => cut(port, t, length)?,
            (None, None) => Err(wrong(format!("there is no input {:?}", port.name)))?,
        };
        let batch = (array.shape().len() == port.shape.len() + 2).then(|| array.shape()[1]);
        if !inputs.is_empty() && batch != samples {
            Err(wrong(format!("{:?} has another axis of samples than the inputs before", port.name)))?;
        }
        samples = batch;
        length = Some(array.shape()[0]);
        inputs.push(array);
    }
    if let Some(name) = from_file.keys().next() {
        Err(wrong(format!("{name:?} in the input file is not an input of the model")))?;
    }
    let Some(ticks) = length else {
        return Err(wrong("the model has no inputs: `steps` must say how many ticks".to_owned()).into());
    };
    let mut expected = BTreeMap::new();
    let in_file = spec.output_file.as_ref().is_some_and(|p| p.exists());
    if let (Some(path), true) = (&spec.output_file, in_file) {
        expected.extend(ArrayFile::open(path, limits)?.read_all()?);
    } else if let Some(path) = &spec.output_file {
        // --bless makes the file; until then the test has to fail.
        expected.insert(format!("(the file {} is missing; --bless makes it)", path.display()), Tensor::scalar_i64(0));
    }
    for named in spec.outputs.iter().filter(|n| n.value != Value::Unknown) {
        let Some(port) = face.results().find(|p| p.name == named.name) else {
            return Err(wrong(format!("the model has no output or probe {:?}", named.name)).into());
        };
        // A number or a generator fills the frames of the run; a list or a raster says itself how many it has.
        let frames = (ticks as u64).div_ceil(port.every.max(1)) as usize;
        let length = matches!(named.value, Value::Number(_) | Value::Generator(..)).then_some(frames);
        expected.insert(named.name.clone(), array_of(port, &named.value, length)?);
    }
    Ok(Setup { inputs, expected, in_file, ticks: ticks as u64, samples, chip: ChipArgs::default() })
}

/// The first `length` frames of an input from a file, as the input's type.
fn cut(port: &nc_runtime::run::Port, t: Tensor, length: Option<usize>) -> Result<Tensor, Diagnostic> {
    let wrong = |text: String| Err(Diagnostic::error_nowhere("E0842", text));
    let rank = port.shape.len();
    let fits = t.shape().len() > rank && t.shape().len() <= rank + 2 && t.shape().ends_with(&port.shape);
    if !fits || (t.dtype() != port.dtype && !(port.dtype == DType::Bool && t.dtype() == DType::U8)) {
        let (name, dtype, shape) = (&port.name, port.dtype, &port.shape);
        return wrong(format!(
            "the input {name:?} is {dtype}[T, ..{shape:?}], the file has {}{:?}",
            t.dtype(),
            t.shape()
        ));
    }
    if t.dtype() != port.dtype && t.bytes().iter().any(|b| *b > 1) {
        return wrong(format!("the input {:?} is spikes, the file has other bytes than 0 and 1", port.name));
    }
    let mut shape = t.shape().to_vec();
    let each = t.bytes().len().checked_div(shape[0]).unwrap_or(0);
    let n = length.unwrap_or(shape[0]);
    if n > shape[0] {
        return wrong(format!("{:?} has {} ticks, {n} are run", port.name, shape[0]));
    }
    shape[0] = n;
    Tensor::from_bytes(port.dtype, shape, &t.bytes()[..n * each])
        .ok_or_else(|| Diagnostic::error_nowhere("E0842", format!("{:?} cannot be cut", port.name)))
}
