//! Result types of the ops: the shape and type rule of each row of the op table.
//!
//! A rule either gives the types of all results or one sentence that names the operand, what was found and what was
//! expected. Named extents are equal only to themselves; an op that needs to compute with an extent refuses a named one.

mod data;
mod region;
mod tensor;

#[cfg(test)]
mod tests;

use super::{Arity, Graph, Op, Pools, ValueId};
use crate::types::{DType, Dim, TensorType};

/// Largest number of dimensions of a tensor.
pub const MAX_RANK: usize = 16;

/// The types of the results, or what does not fit.
pub(super) fn infer(
    op: &Op,
    args: &[ValueId],
    regions: &[Graph],
    graph: &Graph,
    pools: Pools<'_>,
) -> Result<Vec<TensorType>, String> {
    if let Some(v) = args.iter().find(|v| v.index() >= graph.values.len()) {
        return Err(format!("operand {v} is not a value of this graph"));
    }
    let cx = Cx { op, args, regions, graph, pools };
    cx.check_counts()?;
    let types = cx.infer()?;
    for t in &types {
        if t.rank() > MAX_RANK {
            return Err(format!("the result would have {} dimensions; at most {MAX_RANK} are allowed", t.rank()));
        }
        // The size in bytes must fit an `isize`, so that offsets can be computed without overflow checks later.
        if t.extents().is_some() && t.bytes().is_none_or(|n| n > isize::MAX as u64) {
            return Err(format!("the result `{t}` is larger than memory can be addressed"));
        }
    }
    Ok(types)
}

/// The type of the only result of an op without regions whose operands have these types.
///
/// # Errors
/// What does not fit; an op that refers to a pool of the module, or has several results.
pub fn result_type(op: &Op, operands: &[&TensorType]) -> Result<TensorType, String> {
    let mut graph = Graph::default();
    let args: Vec<ValueId> = operands.iter().map(|t| graph.add_value((*t).clone(), "")).collect();
    let pools = Pools { consts: &[], lines: &[], conns: &[] };
    match <[TensorType; 1]>::try_from(infer(op, &args, &[], &graph, pools)?) {
        Ok([only]) => Ok(only),
        Err(several) => Err(format!("has {} results", several.len())),
    }
}

/// What a rule may look at.
struct Cx<'a> {
    op: &'a Op,
    args: &'a [ValueId],
    regions: &'a [Graph],
    graph: &'a Graph,
    pools: Pools<'a>,
}

type Types = Result<Vec<TensorType>, String>;

fn one(t: TensorType) -> Types {
    Ok(vec![t])
}

impl<'a> Cx<'a> {
    fn ty(&self, k: usize) -> &'a TensorType {
        self.graph.ty(self.args[k])
    }

    fn types(&self, range: std::ops::Range<usize>) -> Vec<TensorType> {
        range.map(|k| self.ty(k).clone()).collect()
    }

    /// How a message calls operand `k`: by its place in the table row and its name in the source.
    fn operand(&self, k: usize) -> String {
        let row = self.op.info().operands;
        let place = row.get(k).filter(|_| row.iter().all(|(_, a)| *a != Arity::Many));
        let place = place.map_or_else(|| format!("operand {k}"), |(name, _)| format!("operand `{name}`"));
        match self.graph.values[self.args[k].index()].name.as_str() {
            "" => place,
            name => format!("{place} (`{name}`)"),
        }
    }

    /// Numbers of operands and regions against the table row; counts of `many` operands are checked by the rules.
    fn check_counts(&self) -> Result<(), String> {
        let info = self.op.info();
        let least = info.operands.iter().filter(|(_, a)| *a == Arity::One).count();
        let most = match info.operands.iter().any(|(_, a)| *a == Arity::Many) {
            true => usize::MAX,
            false => info.operands.len(),
        };
        let n = self.args.len();
        if n < least || n > most {
            let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let expected = if most == usize::MAX { format!("at least {least}") } else { expected };
            return Err(format!("has {n} operands, expected {expected}"));
        }
        if self.regions.len() != info.regions.len() {
            return Err(format!("has {} regions, expected {}", self.regions.len(), info.regions.len()));
        }
        Ok(())
    }

    fn infer(&self) -> Types {
        match self.op {
            Op::Const { id } => match self.pools.consts.get(id.index()) {
                Some(c) => one(c.data.ty()),
                None => Err(format!("there is no constant {id}")),
            },
            Op::Tick => one(TensorType::scalar(DType::I64)),
            Op::Iota { len } => one(TensorType::new(DType::I64, [*len])),
            Op::Delayed { line, ticks } => self.delayed(*line, *ticks),
            Op::Broadcast { shape } => self.broadcast(shape),
            Op::Reshape { shape } => self.reshape(shape),
            Op::Transpose { perm } => self.transpose(perm),
            Op::Slice { start, stop, step } => self.slice(start, stop, step),
            Op::Concat { axis } => self.concat(*axis),
            Op::Gather { axis } => self.gather(*axis),
            Op::Pad { low, high, interior } => self.pad(low, high, interior),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Rem | Op::Min | Op::Max => self.same(Kind::Number),
            Op::Pow | Op::Fma => self.same(Kind::Float),
            Op::Neg | Op::Abs => self.same(Kind::Number),
            Op::Sqrt | Op::Exp | Op::Expm1 | Op::Log | Op::Log1p | Op::Tanh | Op::Sigmoid | Op::Erf => {
                self.same(Kind::Float)
            }
            Op::Sin | Op::Cos | Op::Tan | Op::Asin | Op::Acos | Op::Atan => self.same(Kind::Float),
            Op::Floor | Op::Ceil | Op::Round | Op::Trunc => self.same(Kind::Float),
            Op::Eq | Op::Ne => self.compare(Kind::Any),
            Op::Lt | Op::Le | Op::Gt | Op::Ge => self.compare(Kind::Number),
            Op::And | Op::Or | Op::Xor | Op::Not => self.same(Kind::Logic),
            Op::Shl | Op::Shr => self.same(Kind::Int),
            Op::Select => self.select(),
            Op::Cast { to } => one(self.ty(0).with_dtype(*to)),
            Op::Bitcast { to } => self.bitcast(*to),
            Op::Random { law: _, stream: _ } => {
                self.expect_dtype(0, DType::I64)?;
                self.expect_dtype(1, DType::I64)?;
                one(TensorType { dtype: DType::F32, shape: self.common_shape()? })
            }
            Op::Linear => self.linear(),
            Op::Matmul => self.matmul(),
            Op::Conv { stride, pad, dilation, groups } => self.conv(stride, pad, dilation, *groups),
            Op::Pool { kind, size, stride, pad, dilation } => self.pool(*kind, size, stride, pad, dilation),
            Op::Reduce { kind, axes, keep } => self.reduce(*kind, axes, *keep),
            Op::Argmax { axis, keep, last: _ } => self.arg_extreme("largest", *axis, *keep),
            Op::Argmin { axis, keep, last: _ } => self.arg_extreme("smallest", *axis, *keep),
            Op::Scatter { kind } => self.scatter(*kind),
            Op::Cumulate { kind: _, axis, exclusive: _, reverse: _ } => self.along(*axis, None),
            Op::Argsort { axis, descending: _ } => self.along(*axis, Some(DType::I64)),
            Op::Project { conn, line, now_count, state_count } => self.project(*conn, *line, *now_count, *state_count),
            Op::PlasticPre { conn, line, now_count, state_count, synapse_count } => {
                self.plastic_pre(*conn, *line, *now_count, *state_count, *synapse_count)
            }
            Op::PlasticPost { conn } => self.plastic_post(*conn),
            Op::Integrate { method: _, dt, substeps, state_count } => self.integrate(dt.0, *substeps, *state_count),
            Op::If => self.cond(),
            Op::Scan { carried_count, scanned_count, reverse: _ } => self.scan(*carried_count, *scanned_count),
            Op::Loop { carried_count } => self.repeat(*carried_count),
        }
    }

    fn expect_dtype(&self, k: usize, dtype: DType) -> Result<(), String> {
        match self.ty(k).dtype {
            d if d == dtype => Ok(()),
            d => Err(format!("{} is {d}, expected {dtype}", self.operand(k))),
        }
    }

    fn expect_kind(&self, k: usize, kind: Kind) -> Result<(), String> {
        let d = self.ty(k).dtype;
        match kind.has(d) {
            true => Ok(()),
            false => Err(format!("{} is {d}, expected {}", self.operand(k), kind.words())),
        }
    }

    /// Element types of operands `range` are all that of the first.
    fn expect_same_dtype(&self, range: std::ops::Range<usize>) -> Result<(), String> {
        let first = range.start;
        for k in range {
            if self.ty(k).dtype != self.ty(first).dtype {
                return Err(format!(
                    "{} is {}, but {} is {}",
                    self.operand(k),
                    self.ty(k).dtype,
                    self.operand(first),
                    self.ty(first).dtype
                ));
            }
        }
        Ok(())
    }

    /// The one shape that all operands but the rank-0 ones have.
    fn common_shape(&self) -> Result<Vec<Dim>, String> {
        let mut shaped = (0..self.args.len()).filter(|k| self.ty(*k).rank() > 0);
        let Some(first) = shaped.next() else { return Ok(Vec::new()) };
        for k in shaped {
            if self.ty(k).shape != self.ty(first).shape {
                return Err(format!(
                    "{} has shape {}, but {} has shape {}; only scalars are repeated",
                    self.operand(k),
                    shape_text(&self.ty(k).shape),
                    self.operand(first),
                    shape_text(&self.ty(first).shape)
                ));
            }
        }
        Ok(self.ty(first).shape.clone())
    }

    fn same(&self, kind: Kind) -> Types {
        self.expect_kind(0, kind)?;
        self.expect_same_dtype(0..self.args.len())?;
        one(TensorType { dtype: self.ty(0).dtype, shape: self.common_shape()? })
    }

    fn compare(&self, kind: Kind) -> Types {
        self.expect_kind(0, kind)?;
        self.expect_same_dtype(0..2)?;
        one(TensorType { dtype: DType::Bool, shape: self.common_shape()? })
    }

    fn select(&self) -> Types {
        self.expect_dtype(0, DType::Bool)?;
        self.expect_same_dtype(1..3)?;
        one(TensorType { dtype: self.ty(1).dtype, shape: self.common_shape()? })
    }
}

/// A set of element types.
#[derive(Clone, Copy)]
enum Kind {
    Any,
    Number,
    Float,
    Int,
    Logic,
}

impl Kind {
    fn has(self, d: DType) -> bool {
        match self {
            Kind::Any => true,
            Kind::Number => d.is_float() || d.is_int(),
            Kind::Float => d.is_float(),
            Kind::Int => d.is_int(),
            Kind::Logic => d.is_int() || d == DType::Bool,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::Any => "any type",
            Kind::Number => "a float or integer type",
            Kind::Float => "a float type",
            Kind::Int => "an integer type",
            Kind::Logic => "bool or an integer type",
        }
    }
}

fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}
