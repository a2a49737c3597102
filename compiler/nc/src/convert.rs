//! `nc convert`: from one kind of file to another.

use crate::args::ConvertArgs;
use crate::driver::{self, ModelKind};
use crate::render::Reporter;
use crate::{Outcome, print};
use nc_ir::{Diagnostic, graph};
use nc_runtime::atomic::AtomicFile;
use std::io::Write;
use std::path::Path;

/// Runs the command. The file appears whole or not at all.
///
/// # Errors
/// E0946 for a pair of kinds that is not converted, and what is wrong with the model or the files.
pub fn convert(args: &ConvertArgs, reporter: &mut Reporter) -> Outcome {
    let (from, to) = (ModelKind::of(&args.model.model)?, ModelKind::of(&args.output)?);
    let bytes = match (from, to) {
        (ModelKind::Nir, ModelKind::Nir) => {
            let (file, _) = driver::read_nir(&args.model.model, args.model.max_memory)?;
            nc_nir::write(&file)?
        }
        (_, ModelKind::Graph) => {
            let loaded = driver::load(&args.model, &[], reporter)?;
            graph::text::print(&loaded.module).into_bytes()
        }
        (_, ModelKind::Nd | ModelKind::Nir | ModelKind::Onnx) => {
            let name = |path: &Path| path.display().to_string();
            let text = format!("{} cannot be made from {}", name(&args.output), name(&args.model.model));
            return Err(Diagnostic::error_nowhere("E0946", text)
                .with_hint("a .nir file is made from another one, a .graph file from every model")
                .into());
        }
    };
    let mut file = AtomicFile::create(&args.output)?;
    file.write_all(&bytes).map_err(|e| file.failure(&e))?;
    file.commit()?;
    print(&format!("{}: {} bytes\n", args.output.display(), bytes.len()))
}
