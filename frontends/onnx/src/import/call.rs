//! What the function of an operator works with: operands, attributes, and the graph it writes.

use super::attribute::Attribute;
use super::emit::Value;
use super::{Importer, node_name};
use crate::ops::Types;
use crate::proto::{AttributeProto, GraphProto, NodeProto};
use crate::tensor::countable;
use crate::{Stop, codes};
use nc_ir::graph::{Graph, Op, OpError, ValueId};
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use std::cell::Cell;

/// Why a node is refused. The importer adds which node it is.
#[derive(Debug)]
pub enum Fault {
    /// Something that nc does not do; the sentence says so.
    Unsupported(String),
    /// Something that breaks a rule of the operator.
    Invalid(String),
    /// A refusal that is complete.
    Stop(Box<Stop>),
}

impl From<OpError> for Fault {
    fn from(e: OpError) -> Fault {
        Fault::Invalid(e.to_string())
    }
}

impl From<Stop> for Fault {
    fn from(s: Stop) -> Fault {
        Fault::Stop(Box::new(s))
    }
}

impl Fault {
    /// The refusal of a node.
    pub(super) fn stop(self, node: &NodeProto) -> Stop {
        let (code, text) = match self {
            Fault::Unsupported(text) => (codes::UNSUPPORTED, text),
            Fault::Invalid(text) => (codes::NODE, text),
            Fault::Stop(stop) => return *stop,
        };
        Stop::Wrong(Diagnostic::error_nowhere(code, format!("{}: {text}", node_name(node))))
    }
}

/// Something that nc does not do: `what` is followed by "is not supported".
pub(crate) fn unsupported<T>(what: impl std::fmt::Display) -> Result<T, Fault> {
    Err(Fault::Unsupported(format!("{what} is not supported")))
}

/// Something that breaks a rule of the operator.
pub(crate) fn invalid<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Invalid(what.into()))
}

/// What the function of an operator gives: its results in order. Those at the end may be missing if nobody asked for them.
pub type Results = Result<Vec<Value>, Fault>;

/// A region that was written: its graph, and what it captured of the frame around it.
pub struct Region {
    graph: Graph,
    /// Value around the region, parameter of the region.
    captures: Vec<(ValueId, ValueId)>,
    /// The frame around the region.
    frame: usize,
}

impl Region {
    /// The region with its first parameter after the `n` that follow it.
    pub fn rotated(mut self, n: usize) -> Region {
        if let Some(first) = self.graph.params.get_mut(..=n) {
            first.rotate_left(1);
        }
        self
    }
}

/// One node that is imported.
pub struct Call<'a, 'm> {
    pub(super) importer: &'a mut Importer<'m>,
    pub(super) node: &'m NodeProto,
    /// Version of the node's operator set.
    pub opset: i64,
    operands: Vec<Option<Value>>,
    pub(super) attributes: Vec<Attribute<'m>>,
}

impl<'a, 'm> Call<'a, 'm> {
    pub(super) fn new(
        importer: &'a mut Importer<'m>,
        node: &'m NodeProto,
        opset: i64,
        operands: Vec<Option<Value>>,
        attributes: Vec<(&'m str, &'m AttributeProto)>,
    ) -> Call<'a, 'm> {
        let attributes = attributes.into_iter().map(|(n, a)| (n, a, Cell::new(false))).collect();
        Call { importer, node, opset, operands, attributes }
    }

    /// The first operand is of a type that the operator's row lists.
    pub(super) fn check_first(&self, types: Types) -> Result<(), Fault> {
        match self.operands.first() {
            Some(Some(v)) if !types.has(self.dtype(v)) => unsupported(format!("the element type {}", self.dtype(v))),
            _ => Ok(()),
        }
    }

    /// Every attribute was read.
    pub(super) fn check_all_read(&self) -> Result<(), Fault> {
        match self.attributes.iter().find(|(_, _, read)| !read.get()) {
            Some((name, _, _)) => unsupported(format!("the attribute `{name}`")),
            None => Ok(()),
        }
    }

    /// The operator's name.
    pub fn op_type(&self) -> &'m str {
        self.node.op_type.as_deref().unwrap_or("")
    }

    /// Number of operands that are listed, the ones left out included.
    pub fn count(&self) -> usize {
        self.operands.len()
    }

    /// Operand `k`, which must be there.
    ///
    /// # Errors
    /// If it is missing.
    pub fn operand(&self, k: usize) -> Result<Value, Fault> {
        self.optional(k).ok_or_else(|| Fault::Invalid(format!("its operand {k} is missing")))
    }

    /// Operand `k`, if it is there.
    pub fn optional(&self, k: usize) -> Option<Value> {
        self.operands.get(k).cloned().flatten()
    }

    /// All operands, none of which may be left out.
    ///
    /// # Errors
    /// If one is missing.
    pub fn operands(&self) -> Result<Vec<Value>, Fault> {
        (0..self.operands.len()).map(|k| self.operand(k)).collect()
    }

    /// True if somebody uses result `k`.
    pub fn wants(&self, k: usize) -> bool {
        self.node.output.get(k).is_some_and(|n| !n.is_empty())
    }

    /// Number of results that are listed.
    pub fn result_count(&self) -> usize {
        self.node.output.len()
    }

    /// Element type of a value.
    pub fn dtype(&self, v: &Value) -> DType {
        self.importer.dtype_of(v)
    }

    /// Extents of a value, outermost first.
    pub fn shape(&self, v: &Value) -> Vec<usize> {
        self.importer.shape_of(v)
    }

    /// Number of dimensions of a value.
    pub fn rank(&self, v: &Value) -> usize {
        self.shape(v).len()
    }

    /// The tensor of a value that must be known at import, such as the shape of a Reshape. `why` says what of the node
    /// depends on it, for example `the shape`.
    ///
    /// # Errors
    /// The need for the values of inputs; a refusal if it changes in a loop.
    pub fn known(&self, v: &Value, why: &str) -> Result<Tensor, Fault> {
        self.importer.demand(v, self.node, why)
    }

    /// As [`Call::known`], for whole numbers of any integer type.
    ///
    /// # Errors
    /// As [`Call::known`]; if the value is no integer.
    pub fn known_ints(&self, v: &Value, why: &str) -> Result<Vec<i64>, Fault> {
        let t = self.known(v, why)?;
        match t.dtype() {
            DType::I64 => Ok(t.as_slice::<i64>().to_vec()),
            d if d.is_int() => Ok((0..t.len()).map(|k| t.get_f64(k) as i64).collect()),
            d => invalid(format!("{why} is {d}, integers were expected")),
        }
    }

    /// An axis counted from the front, for a value of `rank` dimensions.
    ///
    /// # Errors
    /// If there is no such axis.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Fault> {
        let n = rank as i64;
        match axis {
            a if a >= -n && a < n => Ok(if a < 0 { a + n } else { a } as usize),
            a => invalid(format!("the axis {a} does not exist: there are {rank} dimensions")),
        }
    }

    /// An op on values: computed at once if all are known and the result is not large, appended to the graph else.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn op(&mut self, op: Op, args: &[Value]) -> Result<Value, Fault> {
        let results = self.ops(op, args, Vec::new())?;
        results.into_iter().next().ok_or_else(|| Fault::Invalid("an op gives no result".to_owned()))
    }

    /// As [`Call::op`], for ops with several results, or with regions (which are never computed at once).
    ///
    /// # Errors
    /// As [`Call::op`].
    pub fn ops(&mut self, op: Op, args: &[Value], regions: Vec<Graph>) -> Results {
        let known: Option<Vec<Tensor>> = args.iter().map(|a| a.tensor().cloned()).collect();
        if let (Some(known), true) = (known, regions.is_empty())
            && let Some(values) = self.importer.fold(&op, &known)?
        {
            return Ok(values);
        }
        let values = self.importer.push(op, args, regions)?;
        for v in &values {
            let (shape, limit) = (self.shape(v), self.importer.options.max_memory);
            let bytes = shape.iter().map(|n| *n as u64).fold(self.dtype(v).size() as u64, u64::saturating_mul);
            if !countable(&shape) || bytes > limit {
                let text = format!("{}: a result of the shape {shape:?} cannot be held", node_name(self.node));
                let d = Diagnostic::error_nowhere(codes::BOUND, text);
                return Err(Stop::Wrong(d.with_hint(format!("{limit} bytes are allowed; raise --max-memory"))).into());
            }
        }
        Ok(values)
    }

    /// Opens a region: ops go to it until [`Call::close`]. Values from around it can be used in it; they are captured.
    pub fn open(&mut self) {
        self.importer.open_frame();
    }

    /// A parameter of the open region.
    pub fn parameter(&mut self, dtype: DType, shape: &[usize], name: &str) -> Value {
        let ty = TensorType::new(dtype, shape.iter().map(|n| *n as u64));
        self.importer.parameter(ty, name)
    }

    /// Closes the open region. Its parameters are those declared, then what it captured.
    pub fn close(&mut self, results: &[Value]) -> Region {
        let (graph, captures) = self.importer.close_frame(results);
        Region { graph, captures, frame: self.importer.frames.len() - 1 }
    }

    /// Imports a nested graph into the open region, or into the graph around the node if none is open. `inputs` are the
    /// values of the nested graph's inputs.
    ///
    /// # Errors
    /// Whatever is wrong with its nodes.
    pub fn body(&mut self, graph: &'m GraphProto, inputs: Vec<Value>) -> Results {
        Ok(self.importer.nested(graph, inputs)?)
    }

    /// The captured values of a region, in the order of its last parameters.
    fn captured(region: &Region) -> impl Iterator<Item = Value> {
        region.captures.iter().map(|(outer, _)| Value::Graph { frame: region.frame, id: *outer })
    }

    /// `cond`: one of two regions without parameters of their own.
    ///
    /// # Errors
    /// If their results have not the same types.
    pub fn cond(&mut self, c: &Value, mut yes: Region, mut no: Region) -> Results {
        let mut outer: Vec<ValueId> = Vec::new();
        for (o, _) in yes.captures.iter().chain(&no.captures) {
            if !outer.contains(o) {
                outer.push(*o);
            }
        }
        let frame = yes.frame;
        for region in [&mut yes, &mut no] {
            let mut params = Vec::with_capacity(outer.len());
            for o in &outer {
                params.push(match region.captures.iter().find(|(x, _)| x == o) {
                    Some((_, inner)) => *inner,
                    None => {
                        let ty = self.importer.frames[frame].graph.ty(*o).clone();
                        region.graph.add_value(ty, "")
                    }
                });
            }
            region.graph.params = params;
        }
        let mut args = vec![c.clone()];
        args.extend(outer.into_iter().map(|id| Value::Graph { frame, id }));
        self.ops(Op::If, &args, vec![yes.graph, no.graph])
    }

    /// `scan`: the region takes (carried.., one row of each scanned..) and gives (carried.., outputs..). Results: the last
    /// carried values, then the outputs stacked.
    ///
    /// # Errors
    /// If the region does not fit.
    pub fn scan(&mut self, carried: &[Value], scanned: &[Value], reverse: bool, body: Region) -> Results {
        let op = Op::Scan { carried_count: carried.len(), scanned_count: scanned.len(), reverse };
        let args: Vec<Value> = carried.iter().chain(scanned).cloned().chain(Self::captured(&body)).collect();
        self.ops(op, &args, vec![body.graph])
    }

    /// `repeat`: the region takes (iteration as i64, carried..) and gives (condition, carried..). Results: the last carried
    /// values.
    ///
    /// # Errors
    /// If the region does not fit.
    pub fn repeat(&mut self, trips: &Value, condition: &Value, carried: &[Value], body: Region) -> Results {
        let op = Op::Loop { carried_count: carried.len() };
        let mut args = vec![trips.clone(), condition.clone()];
        args.extend(carried.iter().cloned().chain(Self::captured(&body)));
        self.ops(op, &args, vec![body.graph])
    }
}
