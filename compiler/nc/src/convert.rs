//! `nc convert`: from one kind of file to another.

use crate::args::{ConvertArgs, LoadArgs, ModelArgs};
use crate::driver::{self, ModelKind};
use crate::render::Reporter;
use crate::{Outcome, print};
use nc_ir::graph::Module;
use nc_ir::{Diagnostic, Severity, graph};
use nc_nd::token::is_keyword;
use nc_nir::{Discretisation, raise};
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
    if args.lossy && !(matches!(from, ModelKind::Nd | ModelKind::Graph) && to == ModelKind::Nir) {
        let text = "--lossy is for what becomes a .nir file of a .nd or .graph file";
        return Err(Diagnostic::error_nowhere("E0806", text).with_hint("other conversions leave nothing out").into());
    }
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
        (ModelKind::Nd | ModelKind::Graph, ModelKind::Nir) => neurons(args, from, reporter)?,
        (_, ModelKind::Nd | ModelKind::Nir | ModelKind::Onnx) => {
            let name = |path: &Path| path.display().to_string();
            let text = format!("{} cannot be made from {}", name(&args.output), name(&args.model.model));
            let hint = match (from, to) {
                (ModelKind::Nd, ModelKind::Nd) => "`nc fmt` brings a .nd file into its one shape",
                (_, ModelKind::Onnx) => "ONNX files are read, and not written",
                _ => "a .nir file is made from a .nir, .nd or .graph file, a .graph file from every model",
            };
            return Err(Diagnostic::error_nowhere("E0946", text).with_hint(hint).into());
        }
    };
    let mut file = AtomicFile::create(&args.output)?;
    file.write_all(&bytes).map_err(|e| file.failure(&e))?;
    file.commit()?;
    print(&format!("{}: {} bytes\n", args.output.display(), bytes.len()))
}

/// A NIR file of a model, and how it is to be read.
fn neurons(args: &ConvertArgs, from: ModelKind, reporter: &mut Reporter) -> Outcome<Vec<u8>> {
    // These say how the file is read, and nothing of the model.
    let load = LoadArgs { dt: None, discretise: None, ..args.model.load.clone() };
    let model = ModelArgs { load, ..args.model.clone() };
    let mut module = driver::load(&model, &[], reporter)?.module;
    if let (Some(dt), Some(clock)) = (args.model.dt, module.dt)
        && dt != clock.0
    {
        let text = format!("--dt {dt} is not the clock of the model, {} s", clock.0);
        return Err(Diagnostic::error_nowhere("E0806", text).with_hint("leave --dt out").into());
    }
    nc_compiler::fold::run(&mut module);
    let discretisation = args.model.discretise.as_deref().map(Discretisation::parse).transpose()?;
    let options = raise::Options { dt: args.model.dt, discretisation, lossy: args.lossy };
    let mut made = raise::raise(&module, &options)?;
    if from == ModelKind::Nd {
        made.file.rename(|name| name.strip_suffix('_').filter(|n| is_keyword(n)).map(str::to_owned));
    }
    let mut say = |severity, code, message: String| {
        reporter.report(&Diagnostic { severity, ..Diagnostic::error_nowhere(code, message) });
    };
    for what in &made.left_out {
        say(Severity::Warning, "W0948", format!("{what} was left out"));
    }
    let dt = made.dt.map_or_else(String::new, |dt| format!("--dt {dt} "));
    let how = if made.same { "to the bit" } else { "up to rounding and the method of the solver" };
    let text =
        format!("with {dt}--discretise {}, the file computes what the model does, {how}", made.discretisation.text);
    say(Severity::Note, "N0949", text);
    Ok(nc_nir::write(&made.file)?)
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
