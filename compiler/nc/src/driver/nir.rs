//! `.nir` models.

use super::Lowered;
use crate::args::ModelArgs;
use crate::cache::Summary;
use crate::render::Sources;
use nc_ir::Diagnostic;
use nc_nir::{Discretisation, File, Limits, Options};
use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// The frontend of `.nir` files.
///
/// # Errors
/// E0800 for a file that cannot be read, E0930 to E0942 for what is wrong with it or with its discretisation.
pub fn lower(args: &ModelArgs, probes: &[String], sources: &mut Sources) -> Result<Lowered, Diagnostic> {
    sources.0.clear();
    let start = Instant::now();
    let (file, mut words) = read(&args.model, args.max_memory)?;
    let read = start.elapsed();
    let start = Instant::now();
    let discretisation = match &args.discretise {
        Some(text) => Discretisation::parse(text)?,
        None => Discretisation::default(),
    };
    // A summary takes any text.
    let _ = write!(words, "{:?} {:?} {}", args.dt, discretisation, args.repair);
    let options = Options {
        dt: args.dt,
        discretisation,
        repair: args.repair,
        probes: probes.to_vec(),
        limits: Limits { max_bytes: args.max_memory },
    };
    let name = args.model.file_stem().map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned());
    let (module, diagnostics) = nc_nir::lower(&file, &name, &options)?;
    let times = vec![("read".to_owned(), read), ("check and lower".to_owned(), start.elapsed())];
    let fingerprint = words.finish();
    Ok(Lowered { module: Some(module), fingerprint, times, diagnostics, ..Lowered::default() })
}

/// Reads a file of bounded size. The second value has taken in its bytes.
///
/// # Errors
/// E0800 for a file that cannot be read, E0930 to E0933 for what is wrong with it.
pub fn read(path: &Path, max_memory: u64) -> Result<(File, Summary), Diagnostic> {
    let shown = path.display();
    let unread = |e: std::io::Error| Diagnostic::error_nowhere("E0800", format!("{shown} cannot be read: {e}"));
    let file = std::fs::File::open(path).map_err(unread)?;
    let size = file.metadata().map_err(unread)?.len();
    if size > max_memory {
        return Err(Diagnostic::error_nowhere(
            "E0931",
            format!("{shown} has {size} bytes, more than the memory limit of {max_memory}"),
        )
        .with_hint("raise --max-memory"));
    }
    let mut bytes = Vec::new();
    file.take(max_memory).read_to_end(&mut bytes).map_err(unread)?;
    let mut words = Summary::default();
    words.bytes(&bytes);
    let read = nc_nir::read(bytes, Limits { max_bytes: max_memory });
    read.map(|f| (f, words)).map_err(|d| Diagnostic { message: format!("{shown}: {}", d.message), ..d })
}
