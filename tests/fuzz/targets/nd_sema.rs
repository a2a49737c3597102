//! Checks and lowering of `.nd` without files: no panic, a refusal has a reason, and what is lowered is well formed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_ir::{Diagnostic, Tensor, TensorType};
use nc_nd::sema::{Loader, Options, lower};

/// A loader in a world without files.
struct Nothing;

fn absent(what: &str) -> Diagnostic {
    Diagnostic::error_nowhere("E0600", format!("there is no {what}"))
}

impl Loader for Nothing {
    fn source(&mut self, path: &str, _importing: u32) -> Result<(u32, String), Diagnostic> {
        Err(absent(path))
    }

    fn array(&mut self, file: &str, _name: &str) -> Result<Tensor, Diagnostic> {
        Err(absent(file))
    }

    fn list(&mut self, file: &str) -> Result<Vec<(String, TensorType)>, Diagnostic> {
        Err(absent(file))
    }
}

fuzz_target!(|text: &str| {
    let parsed = nc_nd::parse(text, 0);
    let options = Options { max_elements: 1 << 16, max_synapses: 1 << 14, ..Options::default() };
    let lowered = lower(&parsed.file, &mut Nothing, &options);
    match lowered.module {
        Some(module) if parsed.is_ok() => {
            if let Err(errors) = nc_ir::graph::verify::verify(&module) {
                panic!("a module that the verifier refuses: {errors:?}");
            }
        }
        Some(_) => {}
        None => assert!(lowered.diagnostics.iter().any(Diagnostic::is_error), "a refusal without a reason"),
    }
});
