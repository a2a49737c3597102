//! Evaluation of one graph: the step function or a region.

use super::columns::{self, Columns};
use super::register::{put, scalars, zeros};
use super::synapse::Synapses;
use super::{broken, data, order, tensor_ops};
use crate::diag::Diagnostic;
use crate::graph::expand::{elementwise, load};
use crate::graph::{Class, ConnId, Constant, Graph, LineId, Node, Op, ValueId};
use crate::kernel::{Evaluate, Scalar};
use crate::tensor::Tensor;
use crate::types::DType;
use std::collections::VecDeque;

/// What a graph can see besides its own parameters.
pub(crate) struct Context<'a> {
    /// Constants of the module.
    pub consts: &'a [Constant],
    /// Past values of each delay line, the latest first; empty where lines cannot be read.
    pub lines: &'a [VecDeque<Tensor>],
    /// Expanded synapses of the module; empty where there can be none.
    pub synapses: &'a [Synapses],
    /// Number of the tick.
    pub tick: i64,
}

/// Deepest nesting of regions; the verifier has refused more.
const MAX_DEPTH: usize = crate::graph::verify::MAX_REGION_DEPTH + 2;

impl Context<'_> {
    /// All values of the graph, by number.
    pub fn evaluate(&self, graph: &Graph, params: &[Tensor], depth: usize) -> Result<Vec<Option<Tensor>>, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(broken("regions nest too deeply"));
        }
        let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
        if params.len() != graph.params.len() {
            return Err(broken("a graph is given another number of values than it takes"));
        }
        for (p, t) in graph.params.iter().zip(params) {
            *values.get_mut(p.index()).ok_or_else(|| broken("a parameter does not exist"))? = Some(t.clone());
        }
        self.fill(graph, &mut values, depth)?;
        Ok(values)
    }

    /// Evaluates the nodes whose results are not there yet.
    pub fn fill(&self, graph: &Graph, values: &mut [Option<Tensor>], depth: usize) -> Result<(), Diagnostic> {
        for node in &graph.nodes {
            if !known(&node.results, values) {
                let args = operands(node, values)
                    .ok_or_else(|| broken(format!("an operand of `{}` is not defined", node.op)))?;
                self.assign(graph, node, &args, values, depth)?;
            }
        }
        Ok(())
    }

    /// Evaluates the nodes that depend on nothing but the values that are there.
    pub fn fill_known(&self, graph: &Graph, values: &mut [Option<Tensor>], depth: usize) -> Result<(), Diagnostic> {
        for node in &graph.nodes {
            if let Some(args) = operands(node, values) {
                self.assign(graph, node, &args, values, depth)?;
            }
        }
        Ok(())
    }

    fn assign(
        &self,
        graph: &Graph,
        node: &Node,
        args: &[Tensor],
        values: &mut [Option<Tensor>],
        depth: usize,
    ) -> Result<(), Diagnostic> {
        let results = self.node(graph, node, args, depth)?;
        if results.len() != node.results.len() {
            return Err(broken(format!("`{}` gives {} results", node.op, results.len())));
        }
        for (r, t) in node.results.iter().zip(results) {
            *values.get_mut(r.index()).ok_or_else(|| broken("a result does not exist"))? = Some(t);
        }
        Ok(())
    }

    /// The results of a region.
    pub fn region(&self, graph: &Graph, params: &[Tensor], depth: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let values = self.evaluate(graph, params, depth)?;
        let results: Option<Vec<Tensor>> =
            graph.results.iter().map(|r| values.get(r.index()).cloned().flatten()).collect();
        results.ok_or_else(|| broken("a result of a region is not defined"))
    }

    fn node(&self, graph: &Graph, node: &Node, args: &[Tensor], depth: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let op = &node.op;
        if op.info().class == Class::Elementwise {
            let result = graph.values[node.results[0].index()].ty.dtype;
            return self::map(op, args, result).map(|t| vec![t]).ok_or_else(|| misfit(op));
        }
        let one = |t: Option<Tensor>| t.map(|t| vec![t]).ok_or_else(|| misfit(op));
        let extents = |shape: &[u64]| shape.iter().map(|n| usize::try_from(*n).ok()).collect::<Option<Vec<usize>>>();
        match op {
            Op::Const { id } => one(self.consts.get(id.index()).map(|c| c.data.clone())),
            Op::Tick => one(Some(Tensor::scalar_i64(self.tick))),
            Op::Iota { len } => one(i64::try_from(*len)
                .ok()
                .and_then(|n| Tensor::from_vec(vec![usize::try_from(n).ok()?], (0..n).collect()))),
            Op::Delayed { line, ticks } => one(self.past(*line, *ticks).cloned()),
            Op::Broadcast { shape } => one(extents(shape).and_then(|s| data::broadcast(&args[0], s))),
            Op::Reshape { shape } => one(extents(shape).and_then(|s| args[0].reshaped(s))),
            Op::Transpose { perm } => one(data::transpose(&args[0], perm)),
            Op::Slice { start, stop, step } => one(data::slice(&args[0], start, stop, step)),
            Op::Concat { axis } => one(data::concat(args, *axis)),
            Op::Gather { axis } => {
                let index: Vec<i64> = scalars(&args[1]).into_iter().map(integer).collect();
                one(data::gather(&args[0], *axis, &index, args[1].shape()))
            }
            Op::Pad { low, high, interior } => one(data::pad(&args[0], &args[1], low, high, interior)),
            Op::Linear => one(tensor_ops::linear(&args[0], &args[1], args.get(2))),
            Op::Matmul => one(tensor_ops::matmul(&args[0], &args[1])),
            Op::Conv { stride, pad, dilation, groups } => {
                one(tensor_ops::conv(&args[0], &args[1], args.get(2), stride, pad, dilation, *groups))
            }
            Op::Pool { kind, size, stride, pad, dilation } => {
                one(tensor_ops::pool(&args[0], *kind, size, stride, pad, dilation))
            }
            Op::Reduce { kind, axes, keep } => one(tensor_ops::reduce(&args[0], *kind, axes, *keep)),
            Op::Argmax { axis, keep, last } => one(tensor_ops::arg_extreme(&args[0], *axis, *keep, *last, true)),
            Op::Argmin { axis, keep, last } => one(tensor_ops::arg_extreme(&args[0], *axis, *keep, *last, false)),
            Op::Scatter { kind } => one(order::scatter(&args[0], &args[1], &args[2], *kind)),
            Op::Cumulate { kind, axis, exclusive, reverse } => {
                one(order::cumulate(&args[0], *kind, *axis, *exclusive, *reverse))
            }
            Op::Argsort { axis, descending } => one(order::argsort(&args[0], *axis, *descending)),
            Op::Project { conn, line, now_count, state_count } => {
                let (now, rest) = args.split_at(*now_count);
                let (states, reads) = rest.split_at(*state_count);
                self.synapses(*conn)?.project(self, now.first(), *line, states, reads, &node.regions[0])
            }
            Op::PlasticPre { conn, line, now_count, state_count, synapse_count } => {
                let (now, rest) = args.split_at(*now_count);
                let (states, rest) = rest.split_at(*state_count);
                let (reads, synapses) = rest.split_at(rest.len() - *synapse_count);
                let parts = (states, reads, synapses);
                self.synapses(*conn)?.plastic_pre(self, now.first(), *line, parts, &node.regions)
            }
            Op::PlasticPost { conn } => {
                self.synapses(*conn)?.plastic_post(self, &args[0], &args[1..], &node.regions[0])
            }
            Op::Integrate { .. } => Err(super::unsolved()),
            Op::If => {
                let taken = usize::from(args[0].bytes().first() == Some(&0));
                self.region(&node.regions[taken], &args[1..], depth + 1)
            }
            Op::Scan { carried_count, scanned_count, reverse } => {
                self.scan(graph, node, args, (*carried_count, *scanned_count, *reverse), depth)
            }
            Op::Loop { carried_count } => self.repeat(node, args, *carried_count, depth),
            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Rem
            | Op::Pow
            | Op::Min
            | Op::Max
            | Op::Fma
            | Op::Neg
            | Op::Abs
            | Op::Sqrt
            | Op::Exp
            | Op::Log
            | Op::Tanh
            | Op::Sigmoid
            | Op::Erf
            | Op::Sin
            | Op::Cos
            | Op::Expm1
            | Op::Log1p
            | Op::Tan
            | Op::Asin
            | Op::Acos
            | Op::Atan
            | Op::Floor
            | Op::Ceil
            | Op::Round
            | Op::Trunc
            | Op::Eq
            | Op::Ne
            | Op::Lt
            | Op::Le
            | Op::Gt
            | Op::Ge
            | Op::And
            | Op::Or
            | Op::Xor
            | Op::Not
            | Op::Shl
            | Op::Shr
            | Op::Select
            | Op::Cast { .. }
            | Op::Bitcast { .. }
            | Op::Random { .. } => Err(misfit(op)),
        }
    }

    /// The value that the source of a line had `ticks` ago.
    pub fn past(&self, line: LineId, ticks: u32) -> Option<&Tensor> {
        self.lines.get(line.index())?.get((ticks as usize).checked_sub(1)?)
    }

    fn synapses(&self, conn: ConnId) -> Result<&Synapses, Diagnostic> {
        self.synapses.get(conn.index()).ok_or_else(|| broken(format!("{conn} is not expanded")))
    }

    fn scan(
        &self,
        graph: &Graph,
        node: &Node,
        args: &[Tensor],
        (carried_count, scanned_count, reverse): (usize, usize, bool),
        depth: usize,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let (carried, rest) = args.split_at(carried_count);
        let (scanned, captured) = rest.split_at(scanned_count);
        let length = scanned[0].shape()[0];
        let mut carried = carried.to_vec();
        let output_count = node.results.len() - carried_count;
        let mut outputs: Vec<Vec<Tensor>> = vec![Vec::with_capacity(length); output_count];
        for step in 0..length {
            let k = if reverse { length - 1 - step } else { step };
            let mut params = carried;
            for x in scanned {
                params.push(data::row(x, k).ok_or_else(|| misfit(&node.op))?);
            }
            params.extend_from_slice(captured);
            let mut results = self.region(&node.regions[0], &params, depth + 1)?.into_iter();
            carried = results.by_ref().take(carried_count).collect();
            for (column, t) in outputs.iter_mut().zip(results) {
                column.push(t);
            }
        }
        for (k, mut column) in outputs.into_iter().enumerate() {
            if reverse {
                column.reverse();
            }
            let like = match column.first() {
                Some(t) => t.clone(),
                None => {
                    // Without rows there is no output to copy the shape of: take it from the type.
                    let ty = &graph.values[node.results[carried_count + k].index()].ty;
                    let shape: Option<Vec<usize>> =
                        ty.shape[1..].iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect();
                    shape.and_then(|s| zeros(ty.dtype, s)).ok_or_else(|| misfit(&node.op))?
                }
            };
            carried.push(data::stack(&column, &like).ok_or_else(|| misfit(&node.op))?);
        }
        Ok(carried)
    }

    fn repeat(
        &self,
        node: &Node,
        args: &[Tensor],
        carried_count: usize,
        depth: usize,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let trips = scalars(&args[0]).first().map_or(0, |s| integer(*s));
        let mut going = args[1].bytes().first() == Some(&1);
        let (carried, captured) = args[2..].split_at(carried_count);
        let mut carried = carried.to_vec();
        let mut trip = 0;
        while going && trip < trips {
            let params = [&[Tensor::scalar_i64(trip)], &carried[..], captured].concat();
            let mut results = self.region(&node.regions[0], &params, depth + 1)?.into_iter();
            going = results.next().is_some_and(|t| t.bytes().first() == Some(&1));
            carried = results.collect();
            trip += 1;
        }
        Ok(carried)
    }
}

fn known(ids: &[ValueId], values: &[Option<Tensor>]) -> bool {
    ids.iter().all(|v| values.get(v.index()).is_some_and(Option::is_some))
}

fn operands(node: &Node, values: &[Option<Tensor>]) -> Option<Vec<Tensor>> {
    node.args.iter().map(|a| values.get(a.index()).cloned().flatten()).collect()
}

fn misfit(op: &Op) -> Diagnostic {
    broken(format!("`{op}` does not fit its operands"))
}

/// An integer scalar as `i64`.
pub(super) fn integer(s: Scalar) -> i64 {
    match s {
        Scalar::I32(x) => i64::from(x),
        Scalar::I64(x) => x,
        Scalar::Bool(x) => i64::from(x),
        Scalar::F32(_) | Scalar::F64(_) => 0,
    }
}

/// Element by element; rank-0 operands serve every element.
fn map(op: &Op, args: &[Tensor], result: DType) -> Option<Tensor> {
    let shape = args.iter().map(Tensor::shape).find(|s| !s.is_empty()).unwrap_or(&[]).to_vec();
    let mut out = zeros(result, shape)?;
    let mut dtypes = [DType::Bool; 3];
    for (k, a) in args.iter().enumerate() {
        *dtypes.get_mut(k)? = a.dtype();
        if !a.shape().is_empty() && a.len() != out.len() {
            return None;
        }
    }
    let dtypes = &dtypes[..args.len()];
    if out.shape().is_empty() {
        let values = args.iter().map(|a| load(a, 0)).collect::<Option<Vec<Scalar>>>()?;
        put(&mut out, 0, elementwise(&mut Evaluate, op, &values, dtypes, result));
        return Some(out);
    }
    let mut columns = Columns::default();
    let mut values = [0u32; 3];
    for at in (0..out.len()).step_by(columns::LANES) {
        let n = columns::LANES.min(out.len() - at);
        columns.clear();
        for (value, a) in values.iter_mut().zip(args) {
            *value = if a.shape().is_empty() { columns.scalar(a)? } else { columns.read(a, at, n)? };
        }
        let y = elementwise(&mut columns, op, &values[..args.len()], dtypes, result);
        columns.write(y, &mut out, at, n)?;
    }
    Some(out)
}
