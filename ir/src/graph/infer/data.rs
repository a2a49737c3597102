//! Rules of the ops that move data.

use super::{Cx, Types, one, shape_text};
use crate::graph::LineId;
use crate::types::{DType, Dim, TensorType};

impl Cx<'_> {
    /// The known extents of operand `k`.
    pub(super) fn extents(&self, k: usize) -> Result<Vec<u64>, String> {
        let t = self.ty(k);
        t.extents().ok_or_else(|| {
            format!("{} has shape {}; its named extents must be bound first", self.operand(k), shape_text(&t.shape))
        })
    }

    /// The known extent of one axis of operand `k`.
    fn extent(&self, k: usize, axis: usize) -> Result<u64, String> {
        match &self.ty(k).shape[axis] {
            Dim::Const(n) => Ok(*n),
            Dim::Sym(s) => {
                Err(format!("axis {axis} of {} has the named extent `{s}`, which must be bound first", self.operand(k)))
            }
        }
    }

    pub(super) fn expect_axis(&self, k: usize, axis: usize) -> Result<(), String> {
        match self.ty(k).rank() {
            r if axis < r => Ok(()),
            r => Err(format!("axis {axis} is out of range: {} has {r} dimensions", self.operand(k))),
        }
    }

    pub(super) fn delayed(&self, line: LineId, ticks: u32) -> Types {
        let Some(l) = self.pools.lines.get(line.index()) else {
            return Err(format!("there is no delay line {line}"));
        };
        if ticks == 0 || ticks > l.depth {
            return Err(format!("reads {ticks} ticks back, but {line} holds 1 to {} ticks", l.depth));
        }
        one(l.ty.clone())
    }

    pub(super) fn broadcast(&self, shape: &[u64]) -> Types {
        let x = self.ty(0);
        let from = self.extents(0)?;
        let fits = from.len() <= shape.len()
            && from.iter().rev().zip(shape.iter().rev()).all(|(have, want)| have == want || *have == 1);
        match fits {
            true => one(TensorType::new(x.dtype, shape.iter().copied())),
            false => Err(format!(
                "{} has shape {}, which does not repeat to {shape:?}",
                self.operand(0),
                shape_text(&x.shape)
            )),
        }
    }

    pub(super) fn reshape(&self, shape: &[u64]) -> Types {
        let x = self.ty(0);
        self.extents(0)?;
        let to = TensorType::new(x.dtype, shape.iter().copied());
        match (x.elements(), to.elements()) {
            (Some(a), Some(b)) if a == b => one(to),
            (a, b) => Err(format!(
                "{} has {} elements, but shape {shape:?} has {}",
                self.operand(0),
                a.map_or("too many".to_string(), |n| n.to_string()),
                b.map_or("too many".to_string(), |n| n.to_string())
            )),
        }
    }

    pub(super) fn transpose(&self, perm: &[usize]) -> Types {
        let x = self.ty(0);
        let mut seen = vec![false; x.rank()];
        let valid = perm.len() == x.rank()
            && perm.iter().all(|p| seen.get_mut(*p).is_some_and(|slot| !std::mem::replace(slot, true)));
        if !valid {
            return Err(format!("perm {perm:?} is not a permutation of the {} axes of {}", x.rank(), self.operand(0)));
        }
        one(TensorType { dtype: x.dtype, shape: perm.iter().map(|p| x.shape[*p].clone()).collect() })
    }

    pub(super) fn slice(&self, start: &[u64], stop: &[u64], step: &[u64]) -> Types {
        let x = self.ty(0);
        if [start.len(), stop.len(), step.len()].iter().any(|n| *n != x.rank()) {
            return Err(format!(
                "start, stop and step have {}, {} and {} entries, but {} has {} dimensions",
                start.len(),
                stop.len(),
                step.len(),
                self.operand(0),
                x.rank()
            ));
        }
        let mut shape = Vec::with_capacity(x.rank());
        for axis in 0..x.rank() {
            let (n, lo, hi, by) = (self.extent(0, axis)?, start[axis], stop[axis], step[axis]);
            if by == 0 {
                return Err(format!("the step along axis {axis} is 0, expected at least 1"));
            }
            if lo > hi || hi > n {
                return Err(format!(
                    "the range {lo}..{hi} along axis {axis} does not lie in 0..{n} of {}",
                    self.operand(0)
                ));
            }
            shape.push((hi - lo).div_ceil(by));
        }
        one(TensorType::new(x.dtype, shape))
    }

    pub(super) fn concat(&self, axis: usize) -> Types {
        if self.args.is_empty() {
            return Err("has no operand, expected at least one".to_string());
        }
        self.expect_axis(0, axis)?;
        self.expect_same_dtype(0..self.args.len())?;
        if let [_] = self.args {
            return one(self.ty(0).clone());
        }
        let first = self.ty(0);
        let mut total = 0u64;
        for k in 0..self.args.len() {
            let t = self.ty(k);
            let alike = t.rank() == first.rank() && (0..t.rank()).all(|a| a == axis || t.shape[a] == first.shape[a]);
            if !alike {
                return Err(format!(
                    "{} has shape {}, which differs from {} of {} elsewhere than on axis {axis}",
                    self.operand(k),
                    shape_text(&t.shape),
                    shape_text(&first.shape),
                    self.operand(0)
                ));
            }
            total = total
                .checked_add(self.extent(k, axis)?)
                .ok_or_else(|| format!("the extents along axis {axis} add up to more than 64 bits hold"))?;
        }
        let mut shape = first.shape.clone();
        shape[axis] = Dim::Const(total);
        one(TensorType { dtype: first.dtype, shape })
    }

    pub(super) fn gather(&self, axis: usize) -> Types {
        let (x, index) = (self.ty(0), self.ty(1));
        self.expect_axis(0, axis)?;
        if !index.dtype.is_int() {
            return Err(format!("{} is {}, expected an integer type", self.operand(1), index.dtype));
        }
        // Indices are compared as `i64`, which holds every other integer type.
        if index.dtype == DType::U64 {
            return Err(format!("{} is u64, expected an integer type that an i64 holds", self.operand(1)));
        }
        // Clamping needs at least one slice to clamp to.
        if x.shape[axis] == Dim::Const(0) && index.elements() != Some(0) {
            return Err(format!("axis {axis} of {} has extent 0: there is nothing to take", self.operand(0)));
        }
        let mut shape = x.shape[..axis].to_vec();
        shape.extend_from_slice(&index.shape);
        shape.extend_from_slice(&x.shape[axis + 1..]);
        one(TensorType { dtype: x.dtype, shape })
    }

    pub(super) fn pad(&self, low: &[u64], high: &[u64], interior: &[u64]) -> Types {
        let x = self.ty(0);
        self.expect_scalar(1, x.dtype)?;
        for (name, list) in [("low", low), ("high", high), ("interior", interior)] {
            if list.len() != x.rank() {
                return Err(format!(
                    "`{name}` has {} entries, but {} has {} dimensions",
                    list.len(),
                    self.operand(0),
                    x.rank()
                ));
            }
        }
        let mut shape = Vec::with_capacity(x.rank());
        for (axis, n) in self.extents(0)?.into_iter().enumerate() {
            let between = n.saturating_sub(1).checked_mul(interior[axis]);
            let sum = between.and_then(|k| k.checked_add(n)?.checked_add(low[axis])?.checked_add(high[axis]));
            shape.push(sum.ok_or_else(|| format!("the padding of axis {axis} is too large"))?);
        }
        one(TensorType::new(x.dtype, shape))
    }

    pub(super) fn expect_scalar(&self, k: usize, dtype: DType) -> Result<(), String> {
        self.expect_dtype(k, dtype)?;
        match self.ty(k).rank() {
            0 => Ok(()),
            _ => Err(format!("{} has shape {}, expected a scalar", self.operand(k), shape_text(&self.ty(k).shape))),
        }
    }
}
