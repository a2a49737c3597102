//! `nc profile`: how active the inputs of products are.

use crate::args::{ProfileArgs, Target};
use crate::cache::CodeCache;
use crate::gpu::Wanted;
use crate::machine::{self, face_of};
use crate::render::Reporter;
use crate::run::inputs::Inputs;
use crate::run::outputs::Outputs;
use crate::run::{FRAME_BUDGET, ticks};
use crate::wishes::{Counted, beside, write_profile};
use crate::{Outcome, driver, print};
use nc_ir::Diagnostic;
use nc_runtime::run::{Plan, stream};
use std::sync::atomic::AtomicU64;

/// Runs the command.
///
/// # Errors
/// What is wrong with the model, its inputs or the file to write; E0828 if the model has no products with weights.
pub fn profile(args: &ProfileArgs, reporter: &mut Reporter) -> Outcome {
    let mut model = args.model.clone();
    model.load.arrays.clone_from(&args.input);
    let loaded = driver::load(&model, &[], reporter)?;
    let (module, fingerprint, form) = (loaded.module, loaded.fingerprint, loaded.form);
    let (face, memory) = (face_of(&module)?, args.model.max_memory);
    let mut inputs = Inputs::open(args.input.as_deref(), &face.inputs, &form, loaded.kind, memory, reporter)?;
    let asked = (args.steps, args.duration.as_ref());
    let ticks = ticks(asked, (&module.name, module.dt.map(|d| d.0)), &form, inputs.extent.ticks)?;
    let samples = inputs.extent.samples;
    let mut options = args.passes.options(Target::Cpu, memory);
    options.wishes.count = true;
    let ready =
        machine::build(module, Target::Cpu, &options, &Wanted::default(), &mut CodeCache::default(), &mut Vec::new())?;
    if ready.products.is_empty() {
        let text = format!("`{}` has no products with weights to profile", ready.module.name);
        return Err(Diagnostic::error_nowhere("E0828", text).into());
    }
    let mut outputs = Outputs::new(&face, &form, None, samples, false, None)?;
    let plan = Plan {
        ticks,
        samples: samples.unwrap_or(1),
        threads: 1,
        frame_budget: FRAME_BUDGET,
        max_memory: memory,
        resume: None,
        stacked: samples.is_some(),
        keep_state: true,
        progress: &AtomicU64::new(0),
    };
    let finished = stream(ready.machine, &plan, &mut inputs, &mut outputs)?;
    let state = finished.state.unwrap_or_default();
    let mut counted = Vec::with_capacity(ready.products.len());
    for (n, c) in ready.products.iter().enumerate() {
        // What stands in a branch that is never taken has no counter.
        let Some(t) = state.entries.get(&format!("state/profile:{n}")) else { continue };
        // One pair for each sample.
        let pairs = t.as_slice::<i64>().chunks_exact(2);
        let (nonzero, elements) = pairs.fold((0, 0), |sum, p| (sum.0 + p[0] as u64, sum.1 + p[1] as u64));
        counted.push(Counted { product: c.name.clone(), input: c.input.clone(), nonzero, elements });
    }
    let path = args.output.clone().unwrap_or_else(|| beside(&args.model.model));
    write_profile(&path, &fingerprint, &counted)?;
    let mut text = String::new();
    for c in &counted {
        let rate = c.nonzero as f64 / c.elements.max(1) as f64 * 1e2;
        text.push_str(&format!("{}: {rate:.2} % of {} are not zero\n", c.product, c.input));
    }
    print(&format!("{text}written to {}\n", path.display()))
}
