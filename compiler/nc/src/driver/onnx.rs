//! `.onnx` models.
//!
//! The arrays of a run decide the extents that a model leaves open. Where a shape depends on the values of inputs, the
//! model is imported once more with these values as constants; with --stream, so is what is the same for all steps.
//! External data are files in the model's folder or below.

use super::{Form, Lowered, Times};
use crate::args::ModelArgs;
use crate::cache::Summary;
use crate::render::Sources;
use nc_ir::diag::nearest;
use nc_ir::graph::{Choice, Module, Port};
use nc_ir::{Diagnostic, Severity};
use nc_onnx::codes::EXTERNAL;
use nc_onnx::proto::ModelProto;
use nc_onnx::{Loader, Needs, Options, Stop, Streamed};
use nc_runtime::arrays::{ArrayFile, Limits};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// The frontend of `.onnx` files.
///
/// # Errors
/// E0800 for a file that cannot be read, E0805 for a probe of nothing, and what nc-onnx refuses.
pub fn lower(args: &ModelArgs, probes: &[String], _: &mut Sources) -> Result<Lowered, Diagnostic> {
    let mut times = Times::new();
    let start = Instant::now();
    let bytes = read_file(&args.model, args.max_memory)?;
    let mut words = Summary::default();
    words.bytes(&bytes);
    times.push(("read".to_owned(), start.elapsed()));
    let start = Instant::now();
    let named = |d: Diagnostic| Diagnostic { message: format!("{}: {}", args.model.display(), d.message), ..d };
    let model = nc_onnx::read(bytes, args.max_memory).map_err(named)?;
    times.push(("decode".to_owned(), start.elapsed()));
    let start = Instant::now();
    let mut folder = Folder { path: folder_of(&args.model), real: None, reading: Duration::ZERO };
    let mut options = options(args, &mut words)?;
    if let Some(path) = &args.arrays {
        missing(path, &model, &options)?;
    }
    let (made, notes) = import(args, &model, &mut options, &mut folder)?;
    times.push(("import".to_owned(), start.elapsed()));
    times.push(("  of that, reading arrays".to_owned(), folder.reading));
    let mut bound = Vec::new();
    for (name, tensor) in &options.values {
        words.bytes(name.as_bytes());
        words.bytes(tensor.bytes());
        bound.push(name.clone());
    }
    let (mut module, form) = match made {
        Made::Whole(module) => {
            let _ = write!(words, "{:?} {:?}", options.dims, options.inputs);
            (module, Form::Once { bound })
        }
        Made::Steps(Streamed { module, inputs, outputs }) => {
            // The step is the same for sequences of every length.
            let types = |p: &Port| module.graph.ty(p.value).to_string();
            let all: Vec<String> = module.inputs.iter().chain(&module.outputs).map(types).collect();
            let _ = write!(words, "one step {all:?}");
            (module, Form::Sequence { bound, inputs, outputs })
        }
    };
    for name in probes {
        super::graph::probe(&mut module, name)?;
    }
    let mut diagnostics = Vec::new();
    for (subject, text) in notes {
        let message = format!("`{subject}` {text}");
        diagnostics.push(Diagnostic { severity: Severity::Note, ..Diagnostic::error_nowhere("E0822", message) });
        module.choices.push(Choice { subject, text });
    }
    Ok(Lowered { module: Some(module), fingerprint: words.finish(), times, diagnostics, form, ..Lowered::default() })
}

/// What an import makes.
enum Made {
    /// A model whose tick is one inference.
    Whole(Module),
    /// A model whose tick is a step of a sequence.
    Steps(Streamed),
}

/// An input without an array is told before its extents, which the array would decide.
fn missing(path: &Path, model: &ModelProto, options: &Options) -> Result<(), Diagnostic> {
    let Some(graph) = &model.graph else { return Ok(()) };
    let given = |name: &str| {
        let default = graph.initializer.iter().any(|t| t.name.as_deref() == Some(name));
        default || options.inputs.contains_key(name) || options.values.contains_key(name)
    };
    match graph.input.iter().filter_map(|i| i.name.as_deref()).find(|n| !given(n)) {
        None => Ok(()),
        Some(name) => {
            let text = format!("{}: there is no array for the input {name:?}", path.display());
            let d = Diagnostic::error_nowhere("E0810", text);
            let names: Vec<&str> = options.inputs.keys().map(String::as_str).collect();
            Err(match nearest(name, names.iter().copied()) {
                Some(n) => d.with_hint(format!("is it the array {n:?}?")),
                None => d.with_hint(format!("the file has {names:?}")),
            })
        }
    }
}

/// Imports, again with the values that are missing where there are some.
fn import(
    args: &ModelArgs,
    model: &ModelProto,
    options: &mut Options,
    folder: &mut Folder,
) -> Result<(Made, Vec<(String, String)>), Diagnostic> {
    let mut notes = Vec::new();
    loop {
        let made = match args.stream {
            false => nc_onnx::import(model, options, folder).map(Made::Whole),
            true => nc_onnx::import_steps(model, options, folder).map(Made::Steps),
        };
        let needs = match made {
            Ok(made) => return Ok((made, notes)),
            Err(Stop::Wrong(d)) => return Err(d),
            Err(Stop::Needs(needs)) => needs,
        };
        // Every round binds an input more, and there are only so many.
        if !bind(args, options, &needs)? {
            return Err(needs.refusal());
        }
        for name in &needs.inputs {
            let text = format!("is taken as a constant: {} of {} depends on it", needs.why, needs.node);
            notes.push((name.clone(), text));
        }
    }
}

/// Takes the values that are needed from the arrays of the run. False if one is not there, or was bound before.
fn bind(args: &ModelArgs, options: &mut Options, needs: &Needs) -> Result<bool, Diagnostic> {
    let Some(path) = &args.arrays else { return Ok(false) };
    let file = ArrayFile::open(path, limits(args))?;
    for name in &needs.inputs {
        if file.find(name).is_none() || options.values.contains_key(name) {
            return Ok(false);
        }
        options.values.insert(name.clone(), file.read(name)?);
    }
    Ok(!needs.inputs.is_empty())
}

fn limits(args: &ModelArgs) -> Limits {
    Limits { max_bytes: args.max_memory, ..Limits::default() }
}

/// What the command line and the arrays say of the model's inputs.
fn options(args: &ModelArgs, words: &mut Summary) -> Result<Options, Diagnostic> {
    let mut dims = BTreeMap::new();
    for (name, n) in &args.dims {
        let n = u64::try_from(*n)
            .map_err(|_| Diagnostic::error_nowhere("E0503", format!("the extent `{name}` cannot be {n}")))?;
        dims.insert(name.clone(), n);
    }
    let name = args.model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut options = Options { name, dims, max_memory: args.max_memory, ..Options::default() };
    if let Some(path) = &args.arrays {
        for info in ArrayFile::open(path, limits(args))?.arrays() {
            options.inputs.insert(info.name.clone(), (info.dtype, info.shape.clone()));
        }
    }
    if let Some(path) = &args.bind {
        options.values = ArrayFile::open(path, limits(args))?.read_all()?.into_iter().collect();
    }
    let _ = write!(words, "{:?}", options.values.keys());
    Ok(options)
}

/// Reads a file of bounded size.
fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, Diagnostic> {
    let shown = path.display();
    let unread = |e: std::io::Error| Diagnostic::error_nowhere("E0800", format!("{shown} cannot be read: {e}"));
    let file = File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    match bytes.len() as u64 > most {
        true => Err(Diagnostic::error_nowhere("E0800", format!("{shown} has more than {most} bytes"))
            .with_hint("raise --max-memory")),
        false => Ok(bytes),
    }
}

/// The folder of a model, from which external data are read.
struct Folder {
    path: PathBuf,
    /// The folder without links, once it is needed.
    real: Option<PathBuf>,
    reading: Duration,
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(p) if p != Path::new("") => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Folder {
    /// The real path of a file that lies in the folder or below.
    fn confined(&mut self, what: &str, location: &str) -> Result<PathBuf, Diagnostic> {
        let refuse = |why: &str| {
            let text = format!("{what}: the external data {location:?} are refused: {why}");
            Diagnostic::error_nowhere(EXTERNAL, text).with_hint("external data lie in the model's folder or below")
        };
        let path = Path::new(location);
        if location.is_empty() || !path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(refuse("the path is absolute, or leads upwards"));
        }
        let unread = |e: std::io::Error| {
            Diagnostic::error_nowhere("E0800", format!("{what}: the external data {location:?} cannot be read: {e}"))
        };
        let real = match &self.real {
            Some(real) => real.clone(),
            None => std::fs::canonicalize(&self.path).map_err(unread)?,
        };
        self.real = Some(real.clone());
        let file = std::fs::canonicalize(self.path.join(path)).map_err(unread)?;
        match file.starts_with(&real) && file.is_file() {
            true => Ok(file),
            false => Err(refuse("a link leads out of the folder, or it is no file")),
        }
    }
}

impl Loader for Folder {
    fn external(&mut self, what: &str, location: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, Diagnostic> {
        let start = Instant::now();
        let path = self.confined(what, location)?;
        let unread = |e: std::io::Error| {
            Diagnostic::error_nowhere("E0800", format!("{what}: the external data {location:?} cannot be read: {e}"))
        };
        let mut file = File::open(path).map_err(unread)?;
        let length = file.metadata().map_err(unread)?.len();
        // Before anything of the size is taken.
        if offset.checked_add(bytes).is_none_or(|end| end > length) {
            return Err(Diagnostic::error_nowhere(
                EXTERNAL,
                format!("{what}: {bytes} bytes from byte {offset} on cannot be read: {location:?} has {length}"),
            ));
        }
        file.seek(SeekFrom::Start(offset)).map_err(unread)?;
        let mut data = vec![0; bytes as usize];
        file.read_exact(&mut data).map_err(unread)?;
        self.reading += start.elapsed();
        Ok(data)
    }
}
