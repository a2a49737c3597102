//! The text form of a model graph as a model.

use super::{Lowered, read_text};
use crate::args::ModelArgs;
use crate::cache::Summary;
use crate::render::Sources;
use nc_ir::Diagnostic;
use nc_ir::diag::nearest;
use nc_ir::graph::{Module, Probe, ValueId};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

/// The frontend of `.graph` files.
///
/// # Errors
/// E0804 for text that is no graph, E0805 for a probe of nothing, E0501 for an invalid module, and what cannot be read.
pub fn lower(args: &ModelArgs, probes: &[String], sources: &mut Sources) -> Result<Lowered, Diagnostic> {
    let text = read_text(&args.model)?;
    sources.0.clear();
    sources.add(args.model.display().to_string(), &text);
    let start = Instant::now();
    let mut module = nc_ir::graph::text::parse(&text).map_err(|e| Diagnostic::error("E0804", e.span, e.message))?;
    let mut dims = BTreeMap::new();
    for (name, n) in &args.dims {
        let n = u64::try_from(*n)
            .map_err(|_| Diagnostic::error_nowhere("E0503", format!("the extent `{name}` cannot be {n}")))?;
        dims.insert(name.clone(), n);
    }
    module.bind_dims(&dims)?;
    for name in probes {
        probe(&mut module, name)?;
    }
    nc_ir::graph::verify::verify(&module)
        .map_err(|e| Diagnostic::error_nowhere("E0501", format!("the module is not valid: {e}")))?;
    let mut words = Summary::default();
    words.bytes(text.as_bytes());
    let _ = write!(words, "{dims:?}");
    let times = vec![("parse".to_owned(), start.elapsed())];
    Ok(Lowered { module: Some(module), fingerprint: words.finish(), times, ..Lowered::default() })
}

/// Records the value of this name.
///
/// # Errors
/// E0805 if there is none.
pub fn probe(module: &mut Module, name: &str) -> Result<(), Diagnostic> {
    if module.probes.iter().any(|p| p.name == name) {
        return Ok(());
    }
    let names = module.graph.values.iter().map(|v| v.name.as_str());
    let Some(at) = names.clone().position(|n| n == name) else {
        let d = Diagnostic::error_nowhere("E0805", format!("there is no value `{name}` to record"));
        return Err(match nearest(name, names.filter(|n| !n.is_empty())) {
            Some(n) => d.with_hint(format!("did you mean `{n}`?")),
            None => d,
        });
    };
    module.probes.push(Probe { name: name.to_owned(), value: ValueId(at as u32), every: 1 });
    Ok(())
}
