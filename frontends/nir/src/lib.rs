//! NIR files: from bytes to a graph of neurons, and from there to the model graph, with the discretisation stated.
//!
//! - [`read`] and [`write`](fn@write) take and give the bytes of an HDF5 file; what is read is written again to the bit.
//! - [`primitive::TABLE`] lists the primitives and their parameters; reading, checking and documentation follow it.
//! - [`preset::PRESETS`] lists the sets of choices that turn equations into a step of a simulator.
//! - [`lower`](fn@lower) makes a [`Module`] of a file, with one [`Discretisation`].
//! - [`raise`](mod@raise) makes a file of a model graph.
//!
//! Reading does no IO. A hostile file costs bounded time, memory and recursion, and gives a [`Diagnostic`]; see [`Limits`]
//! and, for programs with a panic hook, [`is_reading`].

pub mod codes;
pub mod model;
pub mod preset;
pub mod primitive;
pub mod tree;

mod flat;
mod hdf;
mod lower;
mod neuron;
pub mod raise;
mod shape;

pub use hdf::is_guarded as is_reading;
pub use model::File;
pub use preset::Discretisation;

use model::Node;
use nc_ir::graph::Module;
use nc_ir::{Diagnostic, Severity};
use primitive::Kind;

/// The version of NIR that written files name if nothing else is known.
pub const VERSION: &str = "1.0.8";

/// What a file may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of memory for the file and all its arrays.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_bytes: 8 << 30 }
    }
}

/// How a file is lowered.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Seconds per tick.
    pub dt: Option<f64>,
    /// The choices of the step.
    pub discretisation: Discretisation,
    /// Mend what contradicts itself, and say so.
    pub repair: bool,
    /// Names of nodes, or of states such as `NODE.v`, to record.
    pub probes: Vec<String>,
    /// Limits on sizes.
    pub limits: Limits,
}

/// Reads a file.
///
/// # Errors
/// E0930 for what is no NIR file, E0931 beyond the limits, E0932 and E0933 for nodes that are not understood.
pub fn read(bytes: Vec<u8>, limits: Limits) -> Result<File, Diagnostic> {
    File::from_group(hdf::read(bytes, limits)?)
}

/// Writes a file.
///
/// # Errors
/// E0946 if it cannot be made.
pub fn write(file: &File) -> Result<Vec<u8>, Diagnostic> {
    hdf::write(&file.to_group())
}

/// Makes a model graph of a file. The second value holds warnings and notes.
///
/// # Errors
/// E0931 and E0933 to E0942: what is wrong with the graph, or missing for its discretisation.
pub fn lower(file: &File, name: &str, options: &Options) -> Result<(Module, Vec<Diagnostic>), Diagnostic> {
    let mut said = Vec::new();
    let graph = file.graph();
    let mut flat = flat::flatten(&graph, options.repair, &mut said)?;
    let dt = match options.dt {
        Some(dt) if dt.is_finite() && dt > 0.0 => Some(dt),
        Some(dt) => return Err(Diagnostic::error_nowhere("E0938", format!("--dt {dt} is not a length of time"))),
        None => {
            let d = &options.discretisation;
            let knobs = |kind: Kind| if kind.has_current() { &d.current_based } else { &d.knobs };
            let asks = flat.nodes.iter().find(|(_, n)| lower::needs_tick(n.kind, knobs(n.kind)));
            if let Some((name, node)) = asks {
                return Err(Diagnostic::error_nowhere(
                    "E0938",
                    format!("node `{name}` ({}) needs the length of a tick, which NIR files do not have", node.kind),
                )
                .with_hint("give it with --dt SECONDS, for example --dt 1e-4"));
            }
            None
        }
    };
    complete(&mut flat, &mut said);
    let order = flat::order(&flat)?;
    let shapes = shape::infer(&flat, options.repair, options.limits.max_bytes, &mut said)?;
    let mut l = lower::Lower::run(&flat, &shapes, &order, &options.discretisation, dt)?;
    for probe in &options.probes {
        l.probe(probe)?;
    }
    l.module.name = name.to_owned();
    if l.module.outputs.is_empty() {
        return Err(Diagnostic::error_nowhere("E0942", "the graph has no output"));
    }
    said.append(&mut l.said);
    Ok((l.module, said))
}

/// Adds inputs before nodes that nothing leads to, and outputs after those that lead nowhere.
fn complete(flat: &mut flat::Flat, said: &mut Vec<Diagnostic>) {
    let count = flat.nodes.len();
    let (mut fed, mut used) = (vec![false; count], vec![false; count]);
    for (a, b) in &flat.edges {
        (used[*a], fed[*b]) = (true, true);
    }
    let mut names: std::collections::HashSet<String> = flat.nodes.iter().map(|n| n.0.clone()).collect();
    for k in 0..count {
        let (name, node) = &flat.nodes[k];
        let mut free = |side: &str| {
            let mut full = format!("{side}_{name}");
            while !names.insert(full.clone()) {
                full.push('_');
            }
            full
        };
        let mut made = Vec::new();
        if !fed[k]
            && node.kind != Kind::Input
            && let Some(shape) = shape::declared(node)
        {
            let extents: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            let mut input = Node::new(Kind::Input);
            if let Some(a) = tree::Array::from_i64(vec![extents.len()], &extents) {
                input = input.with("shape", a);
            }
            made.push((free("input"), input));
        }
        if !used[k] && node.kind != Kind::Output {
            made.push((free("output"), Node::new(Kind::Output)));
        }
        for (full, new) in made {
            let what = if new.kind == Kind::Input { "nothing leads to" } else { "nothing follows" };
            let text = format!("{what} the node `{}`: `{full}` was added", flat.nodes[k].0);
            said.push(flat::remark(Severity::Note, "N0945", text));
            let at = flat.nodes.len();
            flat.edges.push(if new.kind == Kind::Input { (at, k) } else { (k, at) });
            flat.nodes.push((full, new));
            flat.outer.push(true);
        }
    }
}
