//! `nc compile`: a model into files.

mod header;

use crate::args::{CompileArgs, CompileTarget, Emit, Target};
use crate::machine::{code_options, llvm_refused, unsupported};
use crate::render::Reporter;
use crate::run::show_times;
use crate::{Outcome, chip, driver, gpu, wishes};
use nc_compiler::{compile as lower, prepare};
use nc_ir::{Diagnostic, graph, kernel};
use nc_runtime::atomic::AtomicFile;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Runs the command: everything is made in memory first, so that a model that fails leaves older files as they were.
///
/// # Errors
/// What is wrong with the model, what the target refuses, files that cannot be written.
pub fn compile(args: &CompileArgs, reporter: &mut Reporter) -> Outcome {
    match args.target {
        CompileTarget::Spinnaker2 => return chip::compile(args, reporter),
        CompileTarget::Gpu => return gpu::compile(args, reporter),
        CompileTarget::Cpu | CompileTarget::Llvm => {}
    }
    let mut emit = asked(args)?;
    let loaded = driver::load(&args.model, &[], reporter)?;
    let (module, mut times) = (loaded.module, loaded.times);
    emit.sort();
    emit.dedup();
    let stem = args.model.model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = identifier(&stem);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    if emit.contains(&Emit::Graph) {
        files.push((format!("{stem}.graph"), graph::text::print(&module).into_bytes()));
    }
    if emit.contains(&Emit::Solved) {
        let solved = prepare(module.clone(), &nc_compiler::Options::reference(), &mut Vec::new())?;
        files.push((format!("{stem}.solved.graph"), graph::text::print(&solved).into_bytes()));
    }
    let mut options = args.passes.options(Target::Cpu, args.model.max_memory);
    options.wishes = wishes::of(&args.wishes, Target::Cpu, &args.model.model, &loaded.fingerprint, reporter)?;
    if emit.contains(&Emit::Saturated) {
        let mut passes = Vec::new();
        let saturated = prepare(module.clone(), &options, &mut passes)?;
        times.extend(passes.iter().map(|p| (p.pass.to_owned(), p.time)));
        files.push((format!("{stem}.saturated.graph"), graph::text::print(&saturated).into_bytes()));
    }
    let of_kernels = [Emit::Kernels, Emit::Clif, Emit::Mlir, Emit::Llvm, Emit::Asm, Emit::Obj];
    if emit.iter().any(|e| of_kernels.contains(e)) {
        let compiled = lower(module.clone(), &options)?;
        times.extend(compiled.times.iter().map(|p| (p.pass.to_owned(), p.time)));
        let program = &compiled.program;
        let code = code_options(compiled.level);
        for e in emit.iter().filter(|e| of_kernels.contains(e)) {
            let start = Instant::now();
            match e {
                Emit::Graph | Emit::Solved | Emit::Saturated | Emit::Map | Emit::Ptx | Emit::Spirv => {}
                Emit::Kernels => {
                    files.push((format!("{stem}.kernels"), kernel::text::print(program).into_bytes()));
                }
                Emit::Clif => {
                    files.push((
                        format!("{stem}.clif"),
                        nc_cranelift::clif(program, &code).map_err(unsupported)?.into_bytes(),
                    ));
                }
                Emit::Mlir => files.push((format!("{stem}.mlir"), stage(&compiled, nc_mlir::Stage::Mlir)?)),
                Emit::Llvm => files.push((format!("{stem}.ll"), stage(&compiled, nc_mlir::Stage::Llvm)?)),
                Emit::Asm if args.target == CompileTarget::Llvm => {
                    files.push((format!("{stem}.asm"), stage(&compiled, nc_mlir::Stage::Asm)?));
                }
                Emit::Asm => {
                    files.push((
                        format!("{stem}.asm"),
                        nc_cranelift::asm(program, &code).map_err(unsupported)?.into_bytes(),
                    ));
                }
                Emit::Obj => {
                    let object =
                        nc_cranelift::compile_object(program, &compiled.layout, &code, &name).map_err(unsupported)?;
                    files.push((format!("{stem}.o"), object));
                    files.push((format!("{stem}.h"), header::header(&name, &stem, &compiled, &module).into_bytes()));
                }
            }
            times.push((format!("emit {e:?}").to_lowercase(), start.elapsed()));
        }
    }
    make_folder(&args.output)?;
    write_all(&args.output, &files)?;
    if args.time_passes {
        show_times(&times, reporter);
    }
    Ok(())
}

/// What is to be written, if the target has it.
///
/// # Errors
/// E0861.
fn asked(args: &CompileArgs) -> Result<Vec<Emit>, Diagnostic> {
    let common = [Emit::Graph, Emit::Solved, Emit::Saturated, Emit::Kernels, Emit::Asm];
    let (target, own, usual) = match args.target {
        CompileTarget::Cpu => ("cpu", &[Emit::Clif, Emit::Obj][..], Emit::Obj),
        CompileTarget::Llvm => ("llvm", &[Emit::Mlir, Emit::Llvm][..], Emit::Llvm),
        CompileTarget::Gpu => ("gpu", &[Emit::Ptx][..], Emit::Ptx),
        CompileTarget::Spinnaker2 => ("spinnaker2", &[Emit::Map][..], Emit::Map),
    };
    if args.emit.is_empty() {
        return Ok(vec![usual]);
    }
    let name = |e: &Emit| format!("{e:?}").to_lowercase();
    if let Some(e) = args.emit.iter().find(|e| !common.contains(e) && !own.contains(e)) {
        let all: Vec<String> = common.iter().chain(own).map(name).collect();
        let text = format!("the target {target} has nothing that --emit {} would write", name(e));
        return Err(Diagnostic::error_nowhere("E0861", text).with_hint(format!("it has {}", all.join(", "))));
    }
    Ok(args.emit.clone())
}

/// The text of a stage on the way through LLVM.
fn stage(compiled: &nc_compiler::Compiled, stage: nc_mlir::Stage) -> Result<Vec<u8>, Diagnostic> {
    let text = nc_mlir::text(&compiled.program, &compiled.layout, stage).map_err(llvm_refused)?;
    Ok(text.into_bytes())
}

/// Makes a folder if it is not there.
///
/// # Errors
/// E0630.
pub fn make_folder(path: &Path) -> Result<(), Diagnostic> {
    std::fs::create_dir_all(path)
        .map_err(|e| Diagnostic::error_nowhere("E0630", format!("the folder {} cannot be made: {e}", path.display())))
}

/// Writes files so that each is whole, and none appears before all could be written.
///
/// # Errors
/// E0630 and its kin.
pub fn write_all(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Diagnostic> {
    let mut open = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        let mut file = AtomicFile::create(&dir.join(name))?;
        file.write_all(bytes).map_err(|e| file.failure(&e))?;
        open.push(file);
    }
    open.into_iter().try_for_each(AtomicFile::commit)
}

/// A C identifier made of a file's name.
fn identifier(stem: &str) -> String {
    let mut out: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !out.starts_with(|c: char| c.is_ascii_alphabetic()) {
        out.insert_str(0, "m_");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_name_gives_a_c_identifier() {
        assert_eq!(identifier("cuba"), "cuba");
        assert_eq!(identifier("1-cuba.v2"), "m_1_cuba_v2");
        assert_eq!(identifier(""), "m_");
        assert_eq!(identifier("é"), "m__");
    }
}
