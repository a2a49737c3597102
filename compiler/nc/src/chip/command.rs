//! `nc compile --target spinnaker2` and `nc view`.

use super::{Tools, bundle, fitted, folder, measured, options, prepare, timed};
use crate::args::{CompileArgs, Emit, Target, ViewArgs};
use crate::compile::{make_folder, write_all};
use crate::render::Reporter;
use crate::{Outcome, driver, print, wishes};
use nc_ir::{Diagnostic, graph};

/// Compiles a model into a bundle, or reports its mapping.
///
/// # Errors
/// What is wrong with the model, what the target refuses, files that cannot be written.
pub fn compile(args: &CompileArgs, reporter: &mut Reporter) -> Outcome {
    if let Some(e) = args.emit.iter().find(|e| !matches!(e, Emit::Graph | Emit::Solved | Emit::Map)) {
        let text = format!("--emit {} is not there for the target spinnaker2", format!("{e:?}").to_lowercase());
        return Err(Diagnostic::error_nowhere("E0861", text)
            .with_hint("it takes graph, solved and map; without --emit it writes a bundle")
            .into());
    }
    let loaded = driver::load(&args.model, &[], reporter)?;
    let chip = args.chip.over(&loaded.chip);
    timed(&chip, &loaded.form)?;
    let options = options(&chip)?;
    let stem = args.model.model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut passes = args.passes.options(Target::Spinnaker2, args.model.max_memory);
    passes.wishes = wishes::of(&args.wishes, Target::Spinnaker2, &args.model.model, &loaded.fingerprint, reporter)?;
    let options = measured(options, &chip, &passes);
    let mut tools = Tools { passes, threads: args.threads, lean: false };
    let module = loaded.module;
    if args.emit.is_empty() {
        let bundle = bundle(module, &options, &mut tools)?;
        make_folder(&args.output)?;
        let files = folder::files(&bundle)?;
        write_all(&args.output, &files)?;
        folder::tidy(&args.output, &files)?;
        return print(&nc_spinnaker2::report::summary(&bundle.manifest));
    }
    let solved = prepare(module.clone(), &options, &tools)?.module;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for e in &args.emit {
        match e {
            Emit::Graph => files.push((format!("{stem}.graph"), graph::text::print(&module).into_bytes())),
            Emit::Solved => files.push((format!("{stem}.solved.graph"), graph::text::print(&solved).into_bytes())),
            Emit::Map => {
                let mapping = fitted(&mut tools, |t| nc_spinnaker2::compile::map(&solved, &options, t))?;
                let text = nc_spinnaker2::report::map(&mapping, &options);
                files.push((format!("{stem}.map"), text.into_bytes()));
            }
            _ => {}
        }
    }
    make_folder(&args.output)?;
    Ok(write_all(&args.output, &files)?)
}

/// Writes the report of a bundle anew and says where it is.
///
/// # Errors
/// E0857 for what is no bundle, E0630 if the report cannot be written.
pub fn view(args: &ViewArgs) -> Outcome {
    let bundle = folder::read(&args.bundle)?;
    let html = nc_spinnaker2::report::html(&bundle.manifest).into_bytes();
    write_all(&args.bundle, &[("report.html".to_owned(), html)])?;
    print(&format!(
        "{}\nreport: {}\n",
        nc_spinnaker2::report::summary(&bundle.manifest),
        args.bundle.join("report.html").display()
    ))
}
