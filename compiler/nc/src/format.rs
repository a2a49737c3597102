//! `nc fmt`: model files in their one shape.

use crate::args::FmtArgs;
use crate::driver::read_text;
use crate::render::Reporter;
use crate::{Outcome, Stop};
use nc_ir::Diagnostic;
use nc_runtime::atomic::AtomicFile;
use std::io::Write;

/// Runs the command. A file with syntax errors is left as it is; the others are still done.
///
/// # Errors
/// Syntax errors, files that cannot be read or written, E0844 if `--check` finds something to do.
pub fn format(args: &FmtArgs, reporter: &mut Reporter) -> Outcome {
    let (mut failed, mut unformatted) = (false, Vec::new());
    for path in &args.files {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(d) => {
                reporter.report(&d);
                failed = true;
                continue;
            }
        };
        reporter.sources.0.clear();
        reporter.sources.add(path.display().to_string(), &text);
        match nc_nd::format(&text) {
            Ok(formatted) if formatted == text => {}
            Ok(_) if args.check => unformatted.push(path.display().to_string()),
            Ok(formatted) => {
                let mut file = AtomicFile::create(path)?;
                file.write_all(formatted.as_bytes()).map_err(|e| file.failure(&e))?;
                file.commit()?;
            }
            Err(list) => {
                list.iter().for_each(|d| reporter.report(d));
                failed = true;
            }
        }
    }
    for name in &unformatted {
        reporter
            .report(&Diagnostic::error_nowhere("E0844", format!("{name} is not formatted")).with_hint("run nc fmt"));
    }
    if failed || !unformatted.is_empty() {
        reporter.summary();
        return Err(Stop::Said);
    }
    Ok(())
}
