//! The reference interpreter: what a model graph means, written for reading.
//!
//! Every backend is held against it: outputs, states and probes must be the same to the bit (any NaN being the same as any
//! other). It verifies the module first, allocates no more than it was allowed to, and never panics on a module or on
//! inputs.

mod columns;
mod data;
pub(crate) mod eval;
mod order;
pub(crate) mod pointwise;
pub(crate) mod register;
mod synapse;
mod tensor_ops;

#[cfg(test)]
mod tests;

pub use tensor_ops::LANES;

use crate::diag::Diagnostic;
use crate::graph::connect::expand;
use crate::graph::verify::verify;
use crate::graph::{Graph, Module, Op};
use crate::tensor::Tensor;
use crate::types::TensorType;
use eval::Context;
use std::collections::VecDeque;
use std::sync::Arc;
use synapse::Synapses;

/// Bytes that an interpreter may hold unless told otherwise.
pub const DEFAULT_LIMIT: u64 = 8 << 30;

/// A violation of what the verifier guarantees, met during evaluation.
pub(crate) fn broken(what: impl Into<String>) -> Diagnostic {
    Diagnostic::error_nowhere("E0599", what.into())
}

fn unsolved() -> Diagnostic {
    Diagnostic::error_nowhere("E0502", "the model holds differential equations that no solver was chosen for")
        .with_hint("run the solve pass before the model is evaluated")
}

/// What one tick gives.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StepOutput {
    /// One per output of the module.
    pub outputs: Vec<Tensor>,
    /// The probes that are due in this tick: index into [`Module::probes`], value.
    pub probes: Vec<(usize, Tensor)>,
}

/// Runs a module tick by tick.
pub struct Interpreter {
    module: Arc<Module>,
    synapses: Vec<Synapses>,
    /// Past values of each delay line, the latest first.
    lines: Vec<VecDeque<Tensor>>,
    states: Vec<Tensor>,
    tick: u64,
}

impl Interpreter {
    /// Verifies a module, expands its synapses and sets its state as before the first tick.
    ///
    /// # Errors
    /// If the module is not valid (`E0501`), holds unsolved equations (`E0502`) or unbound extents (`E0503`), needs more
    /// than [`DEFAULT_LIMIT`] bytes (`E0504`), or its synapses cannot be expanded (`E051x`).
    pub fn new(module: Arc<Module>) -> Result<Interpreter, Diagnostic> {
        Interpreter::with_limit(module, DEFAULT_LIMIT)
    }

    /// As [`Interpreter::new`], with a limit on the bytes that values, delay lines and synapses take.
    ///
    /// # Errors
    /// As [`Interpreter::new`].
    pub fn with_limit(module: Arc<Module>, limit: u64) -> Result<Interpreter, Diagnostic> {
        verify(&module).map_err(|e| Diagnostic::error_nowhere("E0501", format!("the module is not valid: {e}")))?;
        if module.graph.nodes.iter().any(|n| matches!(n.op, Op::Integrate { .. })) {
            return Err(unsolved());
        }
        let needed = memory(&module)?;
        if needed > limit {
            return Err(Diagnostic::error_nowhere(
                "E0504",
                format!("the model needs {needed} bytes, more than the limit of {limit}"),
            )
            .with_hint("raise the memory limit or make the model smaller"));
        }
        let mut left = (limit - needed) / BYTES_PER_SYNAPSE;
        let mut synapses = Vec::with_capacity(module.conns.len());
        for c in &module.conns {
            let table = expand(c, module.pools(), left)?;
            left = left.saturating_sub(table.len() as u64);
            synapses.push(Synapses::new(table));
        }
        let mut it = Interpreter { module, synapses, lines: Vec::new(), states: Vec::new(), tick: 0 };
        it.reset();
        Ok(it)
    }

    /// The module that is run.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Number of the tick that [`Interpreter::step`] runs next; 0 at first.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// Back to before the first tick.
    pub fn reset(&mut self) {
        self.tick = 0;
        let shape_of = |ty: &TensorType| -> Vec<usize> {
            ty.extents().unwrap_or_default().into_iter().map(|n| n as usize).collect()
        };
        let module = &self.module;
        self.states = module
            .states
            .iter()
            .map(|s| {
                let (shape, init) = (shape_of(module.graph.ty(s.read)), &module.consts[s.init.index()].data);
                // The verifier has checked that the initial value has the state's shape or is a scalar.
                data::broadcast(init, shape).unwrap_or_else(|| init.clone())
            })
            .collect();
        self.lines = module
            .lines
            .iter()
            .map(|l| {
                let frame = Tensor::zeros(l.ty.dtype, shape_of(&l.ty));
                std::iter::repeat_n(frame, l.depth as usize).collect()
            })
            .collect();
    }

    /// Runs one tick. One tensor per input of the module.
    ///
    /// # Errors
    /// If the number, element type or shape of the inputs differs from what the module takes (`E0505`). The state is then
    /// as before.
    pub fn step(&mut self, inputs: &[Tensor]) -> Result<StepOutput, Diagnostic> {
        let module = self.module.clone();
        let graph = &module.graph;
        if inputs.len() != module.inputs.len() {
            return Err(Diagnostic::error_nowhere(
                "E0505",
                format!("{} inputs are given, `{}` takes {}", inputs.len(), module.name, module.inputs.len()),
            ));
        }
        let mut params: Vec<Option<Tensor>> = vec![None; graph.params.len()];
        let mut set = |value, t: &Tensor| {
            if let Some(k) = graph.params.iter().position(|p| *p == value) {
                params[k] = Some(t.clone());
            }
        };
        for (port, t) in module.inputs.iter().zip(inputs) {
            let expected = graph.ty(port.value);
            if t.ty() != *expected {
                return Err(Diagnostic::error_nowhere(
                    "E0505",
                    format!("input `{}` is {}, expected {expected}", port.name, t.ty()),
                ));
            }
            set(port.value, t);
        }
        for (state, t) in module.states.iter().zip(&self.states) {
            set(state.read, t);
        }
        let params: Option<Vec<Tensor>> = params.into_iter().collect();
        let params = params.ok_or_else(|| broken("a parameter is neither an input nor a state"))?;
        let context = Context {
            consts: &module.consts,
            lines: &self.lines,
            synapses: &self.synapses,
            tick: i64::try_from(self.tick).unwrap_or(i64::MAX),
        };
        let values = context.evaluate(graph, &params, 0)?;
        let value = |v: crate::graph::ValueId| {
            values.get(v.index()).cloned().flatten().ok_or_else(|| broken(format!("{v} is not defined")))
        };
        let outputs = module.outputs.iter().map(|p| value(p.value)).collect::<Result<_, _>>()?;
        let mut probes = Vec::new();
        for (k, p) in module.probes.iter().enumerate() {
            if self.tick.is_multiple_of(p.every.max(1)) {
                probes.push((k, value(p.value)?));
            }
        }
        let next = module.states.iter().map(|s| value(s.next)).collect::<Result<Vec<_>, _>>()?;
        let frames = module.lines.iter().map(|l| value(l.source)).collect::<Result<Vec<_>, _>>()?;
        self.states = next;
        for (line, frame) in self.lines.iter_mut().zip(frames) {
            if line.pop_back().is_some() {
                line.push_front(frame);
            }
        }
        self.tick += 1;
        Ok(StepOutput { outputs, probes })
    }

    /// The states before the next tick: name and value, in the module's order.
    pub fn state(&self) -> Vec<(&str, &Tensor)> {
        self.module.states.iter().map(|s| s.name.as_str()).zip(&self.states).collect()
    }

    /// Replaces the value of a state.
    ///
    /// # Errors
    /// If there is no state of this name, or the value has another type (`E0506`).
    pub fn set_state(&mut self, name: &str, value: Tensor) -> Result<(), Diagnostic> {
        let states = &self.module.states;
        let Some(k) = states.iter().position(|s| s.name == name) else {
            let near = crate::diag::nearest(name, states.iter().map(|s| s.name.as_str()));
            let d = Diagnostic::error_nowhere("E0506", format!("there is no state `{name}`"));
            return Err(match near {
                Some(near) => d.with_hint(format!("did you mean `{near}`?")),
                None => d,
            });
        };
        let expected = self.module.graph.ty(states[k].read);
        if value.ty() != *expected {
            let message = format!("state `{name}` is {expected}, given {}", value.ty());
            return Err(Diagnostic::error_nowhere("E0506", message));
        }
        self.states[k] = value;
        Ok(())
    }

    /// Replaces the past of the delay lines and the number of the next tick. One list per line, the latest frame first.
    ///
    /// # Errors
    /// If the number of lines or frames, or the type of a frame, is another than the module's (`E0506`). The lines are
    /// then as before.
    pub fn restore_lines(&mut self, tick: u64, past: Vec<Vec<Tensor>>) -> Result<(), Diagnostic> {
        let lines = &self.module.lines;
        let fits = |(line, frames): (&crate::graph::DelayLine, &Vec<Tensor>)| {
            frames.len() == line.depth as usize && frames.iter().all(|f| f.ty() == line.ty)
        };
        if past.len() != lines.len() || !lines.iter().zip(&past).all(fits) {
            return Err(Diagnostic::error_nowhere("E0506", "the past of a delay line has another type or length"));
        }
        self.lines = past.into_iter().map(VecDeque::from).collect();
        self.tick = tick;
        Ok(())
    }

    /// The value of a delay line's source `ticks` (1 or more) ticks ago, or `None` beyond its depth.
    pub fn past(&self, line: usize, ticks: usize) -> Option<&Tensor> {
        self.lines.get(line)?.get(ticks.checked_sub(1)?)
    }
}

/// An estimate of what an expanded synapse and its bookkeeping take.
const BYTES_PER_SYNAPSE: u64 = 16;

/// Bytes of all values and delay lines; an element in evaluation can take a scalar per operand besides.
fn memory(module: &Module) -> Result<u64, Diagnostic> {
    let unbound = |ty: &TensorType, name: &str| {
        Diagnostic::error_nowhere("E0503", format!("`{name}` has type {ty}, whose named extents are not bound"))
            .with_hint("give every named extent a value")
    };
    let mut total = 0u64;
    let mut work = vec![&module.graph];
    while let Some(g) = work.pop() {
        let Graph { values, nodes, .. } = g;
        for v in values {
            if v.ty.extents().is_none() {
                return Err(unbound(&v.ty, if v.name.is_empty() { "a value" } else { &v.name }));
            }
            total = total.saturating_add(v.ty.bytes().unwrap_or(u64::MAX));
        }
        work.extend(nodes.iter().flat_map(|n| &n.regions));
    }
    for l in &module.lines {
        if l.ty.extents().is_none() {
            return Err(unbound(&l.ty, &l.name));
        }
        // Frames are shared until they differ, but each will be a value of its own.
        total = total.saturating_add(l.ty.bytes().unwrap_or(u64::MAX).max(64).saturating_mul(u64::from(l.depth)));
    }
    Ok(total)
}
