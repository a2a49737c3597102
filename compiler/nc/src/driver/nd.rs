//! `.nd` models and the files they name.
//!
//! Paths in a model are relative to the folder of the model file (an imported file's imports: to its own folder); they
//! may be absolute and may lead upwards, since the author of the model wrote them and the user chose to run it.

use super::{Lowered, Times, read_text};
use crate::args::{ModelArgs, Setting};
use crate::cache::{Fingerprint, Summary};
use crate::chip::settings;
use crate::render::Sources;
use nc_ir::{Diagnostic, Tensor, TensorType};
use nc_nd::sema::{Loader, Options};
use nc_nd::token::Kind;
use nc_runtime::arrays::{ArrayFile, Limits};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The frontend of `.nd` files.
///
/// # Errors
/// E0800 and E0801 for a file that cannot be read; what is wrong with the model stands in the result.
pub fn lower(args: &ModelArgs, probes: &[String], sources: &mut Sources) -> Result<Lowered, Diagnostic> {
    let text = read_text(&args.model)?;
    // Spans of the main file carry the number 0, whatever was read before.
    sources.0.clear();
    sources.add(args.model.display().to_string(), &text);
    let mut times = Times::new();
    let start = Instant::now();
    let parsed = nc_nd::parse(&text, 0);
    times.push(("parse".to_owned(), start.elapsed()));
    if !parsed.is_ok() {
        return Ok(Lowered { times, diagnostics: parsed.diagnostics, ..Lowered::default() });
    }
    let mut files = Files::new(&args.model, sources, args.max_memory);
    files.digest(&text, &parsed);
    let params = args.settings.iter().map(|(name, value)| (name.clone(), scalar(*value))).collect();
    let options = Options {
        net: args.net.clone(),
        dims: args.dims.clone(),
        params,
        seed: args.seed,
        probes: probes.to_vec(),
        targets: vec![settings::spec()],
        ..Options::default()
    };
    let start = Instant::now();
    let lowered = nc_nd::sema::lower(&parsed.file, &mut files, &options);
    times.push(("check and lower".to_owned(), start.elapsed()));
    times.push(("  of that, reading arrays".to_owned(), files.reading));
    let fingerprint = files.fingerprint(args);
    let mut diagnostics = parsed.diagnostics;
    diagnostics.extend(lowered.diagnostics);
    let chip = settings::read(&lowered.target_settings, &folder(&args.model), &mut diagnostics);
    let failed = diagnostics.iter().any(Diagnostic::is_error);
    let module = lowered.module.filter(|_| !failed);
    Ok(Lowered { module, fingerprint, times, diagnostics, chip, ..Lowered::default() })
}

/// A value of the command line, for the frontend to bring into the declared type.
fn scalar(value: Setting) -> Tensor {
    let of = |t: Option<Tensor>| t.unwrap_or_else(|| Tensor::scalar_f32(f32::NAN));
    match value {
        Setting::Int(n) => Tensor::scalar_i64(n),
        Setting::Real(x) => of(Tensor::from_vec(Vec::new(), vec![x])),
        Setting::Bool(b) => of(Tensor::from_bools(Vec::new(), &[b])),
    }
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

    fn fingerprint(self, args: &ModelArgs) -> Fingerprint {
        let mut s = self.words;
        let (mut dims, net, seed) = (args.dims.clone(), args.net.as_deref(), args.seed);
        dims.sort();
        // A summary takes any text.
        let _ = write!(s, "{dims:?} {net:?}");
        // Of two values for one name the first counts.
        let mut settings = args.settings.clone();
        settings.sort_by(|a, b| a.0.cmp(&b.0));
        settings.dedup_by(|b, a| a.0 == b.0);
        if seed.is_some() || !settings.is_empty() {
            let _ = write!(s, "{seed:?} {settings:?}");
        }
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
