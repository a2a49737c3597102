//! `nc convert`: from one kind of file to another.

use crate::args::ConvertArgs;
use crate::driver::{self, ModelKind};
use crate::render::Reporter;
use crate::{Outcome, print};
use nc_ir::graph::Module;
use nc_ir::{Diagnostic, Severity, graph};
use nc_runtime::arrays::{NpzOptions, NpzWriter};
use nc_runtime::atomic::AtomicFile;
use std::io::Write;
use std::path::Path;

/// Runs the command. Each file appears whole or not at all, the arrays of a text before the text.
///
/// # Errors
/// E0946 for a pair of kinds that is not converted, E0550 for what the language cannot say, and what is wrong with the model
/// or the files.
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
        (ModelKind::Nir | ModelKind::Onnx | ModelKind::Graph, ModelKind::Nd) => {
            let loaded = driver::load(&args.model, &[], reporter)?;
            text(&loaded.module, &args.output, reporter)?.into_bytes()
        }
        (_, ModelKind::Nd | ModelKind::Nir | ModelKind::Onnx) => {
            let name = |path: &Path| path.display().to_string();
            let text = format!("{} cannot be made from {}", name(&args.output), name(&args.model.model));
            let hint = match (from, to) {
                (ModelKind::Nd, ModelKind::Nd) => "`nc fmt` brings a .nd file into its one shape",
                (_, ModelKind::Onnx) => "ONNX files are read, and not written",
                _ => "a .nir file is made from another one, a .graph file from every model",
            };
            return Err(Diagnostic::error_nowhere("E0946", text).with_hint(hint).into());
        }
    };
    let mut file = AtomicFile::create(&args.output)?;
    file.write_all(&bytes).map_err(|e| file.failure(&e))?;
    file.commit()?;
    print(&format!("{}: {} bytes\n", args.output.display(), bytes.len()))
}

/// The text of a model, whose arrays are written beside it.
fn text(module: &Module, output: &Path, reporter: &mut Reporter) -> Outcome<String> {
    // Not NAME.npz, which is what people call the inputs of a model.
    let arrays = output.with_extension("weights.npz");
    let file = arrays.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
        Diagnostic::error_nowhere("E0946", format!("{} has a name that no text can hold", output.display()))
            .with_hint("take a name in UTF-8")
    })?;
    let made = nc_nd::export(module, file)?;
    if !made.arrays.is_empty() {
        let mut writer = NpzWriter::create(&arrays, NpzOptions::default())?;
        for (name, array) in &made.arrays {
            writer.write(name, array)?;
        }
        writer.finish()?;
        print(&format!("{}: {} arrays\n", arrays.display(), made.arrays.len()))?;
    }
    for (before, after) in &made.renamed {
        let text = format!("`{before}` is called `{after}`, since the language has no such name");
        reporter.report(&Diagnostic { severity: Severity::Note, ..Diagnostic::error_nowhere("N0550", text) });
    }
    Ok(made.text)
}
