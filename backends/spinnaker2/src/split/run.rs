//! Runs the pieces with the interpreter of the graph: the reference for what they compute together.

use super::build::rows;
use super::{Feed, Split, SplitError};
use nc_ir::Diagnostic;
use nc_ir::interp::Interpreter;
use nc_ir::tensor::Tensor;
use nc_ir::types::TensorType;
use std::sync::Arc;

/// The pieces of a split, each with its interpreter, and the signals between them.
pub struct Board {
    split: Split,
    pieces: Vec<Interpreter>,
    /// Signals of this tick, as far as they are there, and of the tick before.
    now: Vec<Option<Tensor>>,
    before: Vec<Option<Tensor>>,
}

fn shape(ty: &TensorType) -> Vec<usize> {
    ty.extents().unwrap_or_default().iter().map(|n| *n as usize).collect()
}

impl Board {
    /// Sets the pieces up.
    ///
    /// # Errors
    /// If a piece is not valid.
    pub fn new(split: Split) -> Result<Board, Diagnostic> {
        let pieces =
            split.pieces.iter().map(|p| Interpreter::new(Arc::new(p.module.clone()))).collect::<Result<Vec<_>, _>>()?;
        let none = vec![None; split.signals.len()];
        Ok(Board { split, pieces, now: none.clone(), before: none })
    }

    /// Runs one tick; the model's outputs and all its probes.
    ///
    /// # Errors
    /// What the interpreters report; a piece that reads a signal of this tick which no piece of a lower level gave.
    pub fn step(&mut self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>), Diagnostic> {
        self.now = vec![None; self.split.signals.len()];
        let mut level = 0;
        let mut given: Vec<(usize, usize, Tensor)> = Vec::new();
        for k in 0..self.pieces.len() {
            let p = &self.split.pieces[k];
            if p.level != level {
                level = p.level;
                self.deliver(std::mem::take(&mut given));
            }
            let p = &self.split.pieces[k];
            let fed = p.feeds.iter().map(|f| self.fed(f, inputs)).collect::<Result<Vec<_>, _>>();
            let fed = fed.map_err(|e| Diagnostic::error_nowhere("E0599", format!("{}: {e}", p.module.name)))?;
            let out = self.pieces[k].step(&fed)?;
            given.extend(p.gives.iter().zip(out.outputs).map(|(s, t)| (k, *s, t)));
        }
        self.deliver(given);
        let get = |s: &usize| -> Result<Tensor, Diagnostic> {
            let missing =
                || Diagnostic::error_nowhere("E0599", format!("no piece gave `{}`", self.split.signals[*s].name));
            let t = self.now[*s].clone().ok_or_else(missing)?;
            let Some(order) = &self.split.signals[*s].order else { return Ok(t) };
            let (mut whole, size) = (t.clone(), t.dtype().size());
            for (row, x) in order.iter().zip(t.bytes().chunks_exact(size)) {
                let at = *row as usize * size;
                whole.bytes_mut()[at..at + size].copy_from_slice(x);
            }
            Ok(whole)
        };
        let outputs = self.split.outputs.iter().map(get).collect::<Result<_, _>>()?;
        let probes = self.split.probes.iter().map(get).collect::<Result<_, _>>()?;
        std::mem::swap(&mut self.now, &mut self.before);
        Ok((outputs, probes))
    }

    /// Hands on what the pieces of a level gave. What is read is there only after its level.
    fn deliver(&mut self, given: Vec<(usize, usize, Tensor)>) {
        for (k, s, t) in given {
            let ty = &self.split.signals[s].ty;
            let whole = self.now[s].get_or_insert_with(|| Tensor::zeros(ty.dtype, shape(ty)));
            let at = self.split.pieces[k].rows.as_ref().map_or(0, |r| {
                let row = t.bytes().len() / (r.end - r.start).max(1) as usize;
                r.start as usize * row
            });
            whole.bytes_mut()[at..at + t.bytes().len()].copy_from_slice(t.bytes());
        }
    }

    fn fed(&self, feed: &Feed, inputs: &[Tensor]) -> Result<Tensor, SplitError> {
        let cut = |t: &Tensor, r: &Option<std::ops::Range<u64>>| r.as_ref().map_or_else(|| t.clone(), |r| rows(t, r));
        match feed {
            Feed::Host { input, rows } => match inputs.get(*input) {
                Some(t) => Ok(cut(t, rows)),
                None => Err(SplitError(format!("input {input} is not given"))),
            },
            Feed::Now { signal, rows } => match &self.now[*signal] {
                Some(t) => Ok(cut(t, rows)),
                None => Err(SplitError(format!("`{}` is not there yet", self.split.signals[*signal].name))),
            },
            Feed::Late { signal, rows, init } => {
                let ty = &self.split.signals[*signal].ty;
                let t = match &self.before[*signal] {
                    Some(t) => t.clone(),
                    None if init.shape() == shape(ty) => init.clone(),
                    None => {
                        let n = ty.elements().unwrap_or(0) as usize;
                        let bytes = init.bytes().repeat(n);
                        let bad = || SplitError("an initial value of the wrong size".into());
                        Tensor::from_bytes(ty.dtype, shape(ty), &bytes).ok_or_else(bad)?
                    }
                };
                Ok(cut(&t, rows))
            }
        }
    }
}
