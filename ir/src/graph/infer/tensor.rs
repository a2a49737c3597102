//! Rules of contractions and reductions.

use super::{Cx, Kind, Types, one, shape_text};
use crate::graph::{PoolKind, ReduceKind, ScatterKind};
use crate::types::{DType, Dim, TensorType};

impl Cx<'_> {
    /// All operands are of one float or integer type.
    fn expect_one_number(&self) -> Result<DType, String> {
        self.expect_kind(0, Kind::Number)?;
        self.expect_same_dtype(0..self.args.len())?;
        Ok(self.ty(0).dtype)
    }

    fn expect_rank(&self, k: usize, least: usize, most: usize) -> Result<(), String> {
        let r = self.ty(k).rank();
        if (least..=most).contains(&r) {
            return Ok(());
        }
        let expected = match (least == most, most == usize::MAX) {
            (true, _) => least.to_string(),
            (false, true) => format!("at least {least}"),
            (false, false) => format!("{least} to {most}"),
        };
        Err(format!("{} has {r} dimensions, expected {expected}", self.operand(k)))
    }

    /// Axis `a` of operand `ka` is as long as axis `b` of operand `kb`.
    fn expect_equal_axes(&self, (ka, a): (usize, usize), (kb, b): (usize, usize)) -> Result<(), String> {
        let (da, db) = (&self.ty(ka).shape[a], &self.ty(kb).shape[b]);
        match da == db {
            true => Ok(()),
            false => Err(format!(
                "axis {a} of {} has extent {da}, but axis {b} of {} has extent {db}",
                self.operand(ka),
                self.operand(kb)
            )),
        }
    }

    fn expect_bias(&self, w: usize) -> Result<(), String> {
        if self.args.len() > 2 {
            self.expect_rank(2, 1, 1)?;
            self.expect_equal_axes((2, 0), (w, 0))?;
        }
        Ok(())
    }

    pub(super) fn linear(&self) -> Types {
        let dtype = self.expect_one_number()?;
        self.expect_rank(0, 1, usize::MAX)?;
        self.expect_rank(1, 2, 2)?;
        let (x, w) = (self.ty(0), self.ty(1));
        self.expect_equal_axes((1, 1), (0, x.rank() - 1))?;
        self.expect_bias(1)?;
        let mut shape = x.shape.clone();
        shape[x.rank() - 1] = w.shape[0].clone();
        one(TensorType { dtype, shape })
    }

    pub(super) fn matmul(&self) -> Types {
        let dtype = self.expect_one_number()?;
        self.expect_rank(0, 2, usize::MAX)?;
        self.expect_rank(1, 2, usize::MAX)?;
        let (a, b) = (self.ty(0), self.ty(1));
        self.expect_equal_axes((0, a.rank() - 1), (1, b.rank() - 2))?;
        let (lead_a, lead_b) = (&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2]);
        let rank = lead_a.len().max(lead_b.len());
        let mut shape = Vec::with_capacity(rank + 2);
        let unit = Dim::Const(1);
        for k in (1..=rank).rev() {
            let at = |lead: &[Dim]| lead.len().checked_sub(k).map_or(unit.clone(), |i| lead[i].clone());
            let (x, y) = (at(lead_a), at(lead_b));
            shape.push(match (x == unit, y == unit) {
                (_, true) => x,
                (true, _) => y,
                _ if x == y => x,
                _ => {
                    return Err(format!(
                        "leading extents {} of {} and {} of {} do not broadcast",
                        shape_text(lead_a),
                        self.operand(0),
                        shape_text(lead_b),
                        self.operand(1)
                    ));
                }
            });
        }
        shape.push(a.shape[a.rank() - 2].clone());
        shape.push(b.shape[b.rank() - 1].clone());
        one(TensorType { dtype, shape })
    }

    /// Number of window positions along one axis.
    fn windows(&self, axis: usize, n: u64, window: u64, pad: (u64, u64), stride: u64) -> Result<u64, String> {
        let padded = n.checked_add(pad.0).and_then(|n| n.checked_add(pad.1));
        let padded = padded.ok_or_else(|| format!("the padding of axis {axis} is too large"))?;
        match padded.checked_sub(window) {
            Some(room) => Ok(room / stride + 1),
            None => Err(format!(
                "the window covers {window} elements along spatial axis {axis}, but the padded {} has {padded}",
                self.operand(0)
            )),
        }
    }

    /// Each list has one entry (of at least `least`) per spatial axis.
    fn expect_list(&self, name: &str, list: &[u64], len: usize, least: u64) -> Result<(), String> {
        if list.len() != len {
            return Err(format!("`{name}` has {} entries, expected {len}", list.len()));
        }
        match list.iter().find(|x| **x < least) {
            Some(x) => Err(format!("`{name}` contains {x}, expected at least {least}")),
            None => Ok(()),
        }
    }

    pub(super) fn conv(&self, stride: &[u64], pad: &[u64], dilation: &[u64], groups: u64) -> Types {
        let dtype = self.expect_one_number()?;
        self.expect_rank(1, 3, usize::MAX)?;
        let n = self.ty(1).rank() - 2;
        self.expect_rank(0, n + 1, usize::MAX)?;
        let (x, w) = (self.extents(0)?, self.extents(1)?);
        self.expect_bias(1)?;
        // Leading extents, then channels and space.
        let (lead, x) = x.split_at(x.len() - n - 1);
        self.expect_list("stride", stride, n, 1)?;
        self.expect_list("pad", pad, 2 * n, 0)?;
        self.expect_list("dilation", dilation, n, 1)?;
        if groups == 0 || !x[0].is_multiple_of(groups) || !w[0].is_multiple_of(groups) {
            return Err(format!(
                "`groups` is {groups}, which does not divide both the {} input and the {} output channels",
                x[0], w[0]
            ));
        }
        if w[1] != x[0] / groups {
            return Err(format!(
                "{} has {} input channels per group, but {} has {} channels in {groups} groups",
                self.operand(1),
                w[1],
                self.operand(0),
                x[0]
            ));
        }
        let mut shape = [lead, &w[..1]].concat();
        for a in 0..n {
            let size = w[a + 2];
            if size == 0 {
                return Err(format!("axis {} of {} has extent 0, expected at least 1", a + 2, self.operand(1)));
            }
            let window = span(a, size, dilation[a])?;
            shape.push(self.windows(a, x[a + 1], window, (pad[a], pad[n + a]), stride[a])?);
        }
        one(TensorType::new(dtype, shape))
    }

    pub(super) fn pool(&self, kind: PoolKind, size: &[u64], stride: &[u64], pad: &[u64], dilation: &[u64]) -> Types {
        self.expect_kind(
            0,
            match kind {
                PoolKind::Avg | PoolKind::Mean => Kind::Float,
                PoolKind::Sum | PoolKind::Max => Kind::Number,
            },
        )?;
        let n = size.len();
        if n == 0 {
            return Err("`size` has no entries, expected one for each spatial axis".to_string());
        }
        self.expect_rank(0, n, usize::MAX)?;
        let x = self.extents(0)?;
        let (lead, x) = x.split_at(x.len() - n);
        self.expect_list("size", size, n, 1)?;
        self.expect_list("stride", stride, n, 1)?;
        self.expect_list("pad", pad, 2 * n, 0)?;
        self.expect_list("dilation", dilation, n, 1)?;
        let mut shape = lead.to_vec();
        for a in 0..n {
            let window = span(a, size[a], dilation[a])?;
            shape.push(self.windows(a, x[a], window, (pad[a], pad[n + a]), stride[a])?);
        }
        if size.iter().try_fold(1u64, |n, s| n.checked_mul(*s)).is_none_or(|n| n > 1 << 53) {
            return Err(format!("a window of {size:?} has too many elements"));
        }
        one(TensorType::new(self.ty(0).dtype, shape))
    }

    pub(super) fn reduce(&self, kind: ReduceKind, axes: &[usize], keep: bool) -> Types {
        self.expect_kind(
            0,
            match kind {
                ReduceKind::Mean => Kind::Float,
                ReduceKind::Sum | ReduceKind::Prod => Kind::Number,
                ReduceKind::Max | ReduceKind::Min => Kind::Any,
            },
        )?;
        let x = self.ty(0);
        let mut reduced = vec![false; x.rank()];
        for axis in axes {
            self.expect_axis(0, *axis)?;
            if std::mem::replace(&mut reduced[*axis], true) {
                return Err(format!("axis {axis} is listed twice"));
            }
        }
        one(TensorType { dtype: x.dtype, shape: reduced_shape(&x.shape, &reduced, keep) })
    }

    pub(super) fn arg_extreme(&self, what: &str, axis: usize, keep: bool) -> Types {
        self.expect_kind(0, Kind::Number)?;
        self.expect_axis(0, axis)?;
        let x = self.ty(0);
        if x.shape[axis] == Dim::Const(0) {
            return Err(format!("axis {axis} of {} has extent 0: there is no {what} of nothing", self.operand(0)));
        }
        let reduced: Vec<bool> = (0..x.rank()).map(|a| a == axis).collect();
        one(TensorType { dtype: DType::I64, shape: reduced_shape(&x.shape, &reduced, keep) })
    }

    pub(super) fn bitcast(&self, to: DType) -> Types {
        let from = self.ty(0).dtype;
        let integers = from.is_int() && to.is_int();
        if from.size() != to.size() || !integers && from.size() < 4 {
            return Err(format!("{} is {from}, whose bits cannot be taken for {to}", self.operand(0)));
        }
        one(self.ty(0).with_dtype(to))
    }

    pub(super) fn scatter(&self, kind: ScatterKind) -> Types {
        if kind != ScatterKind::Set {
            self.expect_kind(0, Kind::Number)?;
        }
        self.expect_dtype(1, DType::I64)?;
        self.expect_dtype(2, self.ty(0).dtype)?;
        if self.ty(1).shape != self.ty(2).shape {
            return Err(format!(
                "{} has shape {}, but {} has shape {}",
                self.operand(2),
                shape_text(&self.ty(2).shape),
                self.operand(1),
                shape_text(&self.ty(1).shape)
            ));
        }
        one(self.ty(0).clone())
    }

    /// A value for each number along an axis, of another element type or of the same.
    pub(super) fn along(&self, axis: usize, dtype: Option<DType>) -> Types {
        self.expect_kind(0, Kind::Number)?;
        self.expect_axis(0, axis)?;
        let x = self.ty(0);
        one(x.with_dtype(dtype.unwrap_or(x.dtype)))
    }
}

/// Elements from the first to the last that a window covers along a spatial axis.
fn span(axis: usize, size: u64, dilation: u64) -> Result<u64, String> {
    let span = (size - 1).checked_mul(dilation).and_then(|s| s.checked_add(1));
    span.ok_or_else(|| format!("the dilation of spatial axis {axis} is too large"))
}

fn reduced_shape(shape: &[Dim], reduced: &[bool], keep: bool) -> Vec<Dim> {
    let kept = shape.iter().zip(reduced).filter(|(_, r)| keep || !**r);
    kept.map(|(d, r)| if *r { Dim::Const(1) } else { d.clone() }).collect()
}
