//! From a file to a model: reads the model's text and the files it names.
//!
//! Paths in a model are relative to the folder of the model file (an imported file's imports: to its own folder); they
//! may be absolute and may lead upwards, since the author of the model wrote them and the user chose to run it.

use crate::args::ModelArgs;
use crate::cache::{Fingerprint, Summary};
use crate::render::{Reporter, Sources};
use crate::{Outcome, Stop};
use nc_ir::diag::nearest;
use nc_ir::graph::{Module, Probe, ValueId};
use nc_ir::{Diagnostic, Tensor, TensorType};
use nc_nd::sema::{Loader, Options, lower};
use nc_nd::token::{Kind, MAX_SOURCE};
use nc_runtime::arrays::{ArrayFile, Limits};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Times of passes in the order they ran.
pub type Times = Vec<(String, Duration)>;

/// A model that was read and checked.
pub struct Loaded {
    /// The graph.
    pub module: Module,
    /// Tells this model from any other that computes something else: its words (comments and spacing aside), the values
    /// of its dimensions, and every array it read.
    pub fingerprint: Fingerprint,
    /// Times of the passes so far.
    pub times: Times,
}

/// Reads a text file of bounded size.
///
/// # Errors
/// E0800 if it cannot be read or is too large, E0801 if it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let shown = path.display();
    let unread = |e: std::io::Error| {
        let d = Diagnostic::error_nowhere("E0800", format!("{shown} cannot be read: {e}"));
        match (e.kind(), path.extension()) {
            (std::io::ErrorKind::NotFound, None) => d.with_hint("the name of a model ends in .nd"),
            _ => d,
        }
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    // One byte more than a source may have, so that a larger one is refused as such.
    file.take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > MAX_SOURCE {
        return Err(Diagnostic::error_nowhere("E0800", format!("{shown} has more than {MAX_SOURCE} bytes"))
            .with_hint("keep large tables in a .npz or .safetensors file"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..at];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        Diagnostic::error_nowhere("E0801", format!("{shown} is not UTF-8: line {line}, byte {at}"))
            .with_hint("save the file as UTF-8")
    })
}

/// Reads, checks and lowers a model. Errors and warnings go to the reporter.
///
/// # Errors
/// [`Stop`] if there is an error.
pub fn load(args: &ModelArgs, probes: &[String], reporter: &mut Reporter) -> Outcome<Loaded> {
    let text = read_text(&args.model)?;
    load_text(args, &text, probes, reporter)
}

/// As [`load`], with the text of the model file given.
///
/// # Errors
/// As [`load`].
pub fn load_text(args: &ModelArgs, text: &str, probes: &[String], reporter: &mut Reporter) -> Outcome<Loaded> {
    let (module, fingerprint, times, diagnostics) = lower_text(args, text, probes, &mut reporter.sources)?;
    for d in &diagnostics {
        reporter.report(d);
    }
    match module {
        Some(module) => Ok(Loaded { module, fingerprint, times }),
        None => {
            reporter.summary();
            Err(Stop::Said)
        }
    }
}

/// What [`lower_text`] gives: the module unless there are errors, its fingerprint, times, and all diagnostics.
pub type LoweredText = (Option<Module>, Fingerprint, Times, Vec<Diagnostic>);

/// Checks and lowers the text of a model file without reporting.
///
/// # Errors
/// E0802 for a file that is no model.
pub fn lower_text(
    args: &ModelArgs,
    text: &str,
    probes: &[String],
    sources: &mut Sources,
) -> Result<LoweredText, Diagnostic> {
    if args.model.extension().is_some_and(|e| e == "graph") {
        return graph_text(args, text, probes, sources);
    }
    if args.model.extension().is_some_and(|e| e != "nd") {
        return Err(Diagnostic::error_nowhere("E0802", format!("{} is not a .nd model", args.model.display()))
            .with_hint("models are .nd files; arrays go in with --input"));
    }
    // Spans of the main file carry the number 0, whatever was read before.
    sources.0.clear();
    sources.add(args.model.display().to_string(), text);
    let mut times = Times::new();
    let start = Instant::now();
    let parsed = nc_nd::parse(text, 0);
    times.push(("parse".to_owned(), start.elapsed()));
    if !parsed.is_ok() {
        return Ok((None, [0; 32], times, parsed.diagnostics));
    }
    let mut files = Files::new(&args.model, sources, args.max_memory);
    files.digest(text, &parsed);
    let options =
        Options { net: args.net.clone(), dims: args.dims.clone(), probes: probes.to_vec(), ..Options::default() };
    let start = Instant::now();
    let lowered = lower(&parsed.file, &mut files, &options);
    times.push(("check and lower".to_owned(), start.elapsed()));
    times.push(("  of that, reading arrays".to_owned(), files.reading));
    let mut dims = args.dims.clone();
    dims.sort();
    let fingerprint = files.fingerprint(&dims, args.net.as_deref());
    let mut diagnostics = parsed.diagnostics;
    diagnostics.extend(lowered.diagnostics);
    let failed = diagnostics.iter().any(Diagnostic::is_error);
    Ok((lowered.module.filter(|_| !failed), fingerprint, times, diagnostics))
}

/// As [`lower_text`], for the text form of a graph.
fn graph_text(
    args: &ModelArgs,
    text: &str,
    probes: &[String],
    sources: &mut Sources,
) -> Result<LoweredText, Diagnostic> {
    sources.0.clear();
    sources.add(args.model.display().to_string(), text);
    let start = Instant::now();
    let mut module = nc_ir::graph::text::parse(text).map_err(|e| Diagnostic::error("E0804", e.span, e.message))?;
    let mut dims = BTreeMap::new();
    for (name, n) in &args.dims {
        let n = u64::try_from(*n)
            .map_err(|_| Diagnostic::error_nowhere("E0503", format!("the extent `{name}` cannot be {n}")))?;
        dims.insert(name.clone(), n);
    }
    module.bind_dims(&dims)?;
    for name in probes {
        if module.probes.iter().any(|p| p.name == *name) {
            continue;
        }
        let names = module.graph.values.iter().map(|v| v.name.as_str());
        let Some(at) = names.clone().position(|n| n == name) else {
            let d = Diagnostic::error_nowhere("E0805", format!("there is no value `{name}` to record"));
            return Err(match nearest(name, names.filter(|n| !n.is_empty())) {
                Some(n) => d.with_hint(format!("did you mean `{n}`?")),
                None => d,
            });
        };
        module.probes.push(Probe { name: name.clone(), value: ValueId(at as u32), every: 1 });
    }
    nc_ir::graph::verify::verify(&module)
        .map_err(|e| Diagnostic::error_nowhere("E0501", format!("the module is not valid: {e}")))?;
    let mut words = Summary::default();
    words.bytes(text.as_bytes());
    let _ = write!(words, "{dims:?}");
    let times = vec![("parse".to_owned(), start.elapsed())];
    Ok((Some(module), words.finish(), times, Vec::new()))
}

/// The files that a model names.
struct Files<'a> {
    sources: &'a mut Sources,
    /// Folder of each source.
    folders: Vec<PathBuf>,
    /// Number of each source by its real path.
    numbers: HashMap<PathBuf, u32>,
    arrays: HashMap<PathBuf, ArrayFile>,
    limits: Limits,
    reading: Duration,
    words: Summary,
    /// Fingerprints of what was read, by file and array as written.
    read: BTreeMap<(String, String), Fingerprint>,
}

impl<'a> Files<'a> {
    fn new(model: &Path, sources: &'a mut Sources, max_memory: u64) -> Files<'a> {
        let real = std::fs::canonicalize(model).unwrap_or_else(|_| model.to_owned());
        Files {
            sources,
            folders: vec![folder(model)],
            numbers: HashMap::from([(real, 0)]),
            arrays: HashMap::new(),
            limits: Limits { max_bytes: max_memory, ..Limits::default() },
            reading: Duration::ZERO,
            words: Summary::default(),
            read: BTreeMap::new(),
        }
    }

    /// Takes the words of a source into the fingerprint.
    fn digest(&mut self, text: &str, parsed: &nc_nd::Parsed) {
        for token in parsed.tokens.iter().filter(|t| !matches!(t.kind, Kind::Newline | Kind::Comment | Kind::Doc)) {
            self.words.bytes(text.get(token.start as usize..token.end as usize).unwrap_or_default().as_bytes());
        }
    }

    fn fingerprint(self, dims: &[(String, i64)], net: Option<&str>) -> Fingerprint {
        let mut s = self.words;
        // A summary takes any text.
        let _ = write!(s, "{dims:?} {net:?}");
        for ((file, name), sum) in &self.read {
            s.bytes(file.as_bytes());
            s.bytes(name.as_bytes());
            s.bytes(sum);
        }
        s.finish()
    }

    fn open(&mut self, file: &str) -> Result<&ArrayFile, Diagnostic> {
        let path = self.folders[0].join(file);
        if !self.arrays.contains_key(&path) {
            let opened = ArrayFile::open(&path, self.limits)?;
            self.arrays.insert(path.clone(), opened);
        }
        Ok(&self.arrays[&path])
    }
}

/// The folder of a file; `.` for a bare name.
fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(p) if p != Path::new("") => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Loader for Files<'_> {
    fn source(&mut self, path: &str, importing: u32) -> Result<(u32, String), Diagnostic> {
        let base = self.folders.get(importing as usize).unwrap_or(&self.folders[0]);
        let full = if base == Path::new(".") { PathBuf::from(path) } else { base.join(path) };
        let text = read_text(&full)?;
        let real = std::fs::canonicalize(&full).unwrap_or_else(|_| full.clone());
        if let Some(number) = self.numbers.get(&real) {
            return Ok((*number, text));
        }
        let number = self.sources.add(full.display().to_string(), &text);
        self.numbers.insert(real, number);
        self.folders.push(folder(&full));
        let parsed = nc_nd::parse(&text, number);
        self.digest(&text, &parsed);
        Ok((number, text))
    }

    fn array(&mut self, file: &str, name: &str) -> Result<Tensor, Diagnostic> {
        let start = Instant::now();
        let read = self.open(file).and_then(|f| f.read(name));
        self.reading += start.elapsed();
        let tensor = read?;
        let mut s = Summary::default();
        let _ = write!(s, "{}", tensor.ty());
        s.bytes(tensor.bytes());
        self.read.insert((file.to_owned(), name.to_owned()), s.finish());
        Ok(tensor)
    }

    fn list(&mut self, file: &str) -> Result<Vec<(String, TensorType)>, Diagnostic> {
        let file = self.open(file)?;
        let ty = |i: &nc_runtime::arrays::ArrayInfo| TensorType::new(i.dtype, i.shape.iter().map(|d| *d as u64));
        Ok(file.arrays().iter().map(|i| (i.name.clone(), ty(i))).collect())
    }
}
