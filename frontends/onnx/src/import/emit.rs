//! Values of an import, and the graphs that are written.
//!
//! A value is known (a tensor) or a value of a frame. Ops on known values are computed at once (see [`super::fold`]); a known
//! value becomes a constant of the graph where an op on an unknown one needs it. A value of an outer frame that is used in
//! a region becomes a parameter of the region and of those between, and an operand of the op that has the region.

use super::Importer;
use nc_ir::graph::{ConstId, Graph, GraphBuilder, Op, OpError, Pools, ValueId};
use nc_ir::{DType, Tensor, TensorType};
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::rc::Rc;

/// A value of an import.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor that is known.
    Known(Rc<Known>),
    /// A value that the model computes.
    Graph {
        /// The frame it belongs to: 0 is the step function, others are open regions.
        frame: usize,
        /// Its number there.
        id: ValueId,
    },
}

/// A known tensor.
#[derive(Debug)]
pub struct Known {
    tensor: Tensor,
    name: String,
    /// Its place in the constant pool, once it has one.
    slot: Cell<Option<ConstId>>,
}

impl Value {
    /// A known tensor, with the name it has in the model, if any.
    pub fn known(tensor: Tensor, name: &str) -> Value {
        Value::Known(Rc::new(Known { tensor, name: name.to_owned(), slot: Cell::new(None) }))
    }

    /// The tensor, if it is known.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Known(k) => Some(&k.tensor),
            Value::Graph { .. } => None,
        }
    }
}

/// A graph that is written.
#[derive(Default)]
pub(super) struct Frame {
    pub graph: Graph,
    /// Constants that have a value here.
    constants: FxHashMap<ConstId, ValueId>,
    /// Values of the frame around this one, and the parameters that stand for them.
    pub captures: Vec<(ValueId, ValueId)>,
}

impl Importer<'_> {
    pub(super) fn dtype_of(&self, v: &Value) -> DType {
        match v {
            Value::Known(k) => k.tensor.dtype(),
            Value::Graph { frame, id } => self.frames[*frame].graph.ty(*id).dtype,
        }
    }

    /// The extents of a value; all are known numbers.
    pub(super) fn shape_of(&self, v: &Value) -> Vec<usize> {
        match v {
            Value::Known(k) => k.tensor.shape().to_vec(),
            Value::Graph { frame, id } => {
                let extents = self.frames[*frame].graph.ty(*id).extents().unwrap_or_default();
                extents.into_iter().map(|n| n as usize).collect()
            }
        }
    }

    /// The value's number in the open frame.
    pub(super) fn materialise(&mut self, v: &Value) -> ValueId {
        match v {
            Value::Known(k) => self.constant(k),
            Value::Graph { frame, id } => {
                let mut id = *id;
                for f in frame + 1..self.frames.len() {
                    id = self.capture(f, id);
                }
                id
            }
        }
    }

    fn constant(&mut self, known: &Known) -> ValueId {
        let id = match known.slot.get() {
            Some(id) => id,
            None => {
                let id = self.module.add_const(known.name.clone(), known.tensor.clone());
                known.slot.set(Some(id));
                id
            }
        };
        let top = self.frames.len() - 1;
        if let Some(v) = self.frames[top].constants.get(&id) {
            return *v;
        }
        // A constant without operands has the type of its tensor: this cannot fail.
        let frame = &mut self.frames[top];
        let v = frame.graph.add_value(known.tensor.ty(), known.name.clone());
        let node = nc_ir::graph::Node { op: Op::Const { id }, args: Vec::new(), regions: Vec::new(), results: vec![v] };
        frame.graph.nodes.push(node);
        frame.constants.insert(id, v);
        v
    }

    /// The parameter of frame `f` that stands for a value of the frame around it.
    fn capture(&mut self, f: usize, outer: ValueId) -> ValueId {
        if let Some((_, inner)) = self.frames[f].captures.iter().find(|(o, _)| *o == outer) {
            return *inner;
        }
        let value = self.frames[f - 1].graph.values[outer.index()].clone();
        let inner = self.frames[f].graph.add_param(value.ty, value.name);
        self.frames[f].captures.push((outer, inner));
        inner
    }

    /// Appends an op to the open frame, without computing anything.
    pub(super) fn push(&mut self, op: Op, args: &[Value], regions: Vec<Graph>) -> Result<Vec<Value>, OpError> {
        let args = args.iter().map(|a| self.materialise(a)).collect();
        let Importer { frames, module, .. } = self;
        let frame = frames.len() - 1;
        let pools = Pools { consts: &module.consts, lines: &module.lines, conns: &module.conns };
        let results = GraphBuilder::new(&mut frames[frame].graph, pools).push(op, args, regions)?;
        Ok(results.into_iter().map(|id| Value::Graph { frame, id }).collect())
    }

    /// Gives a value of the open frame a name, unless it has one.
    pub(super) fn name_value(&mut self, v: &Value, name: &str) {
        if let Value::Graph { frame, id } = v
            && let Some(value) = self.frames[*frame].graph.values.get_mut(id.index())
            && value.name.is_empty()
        {
            value.name = name.to_owned();
        }
    }

    /// Opens a region.
    pub(super) fn open_frame(&mut self) {
        self.frames.push(Frame::default());
    }

    /// A parameter of the region that is open.
    pub(super) fn parameter(&mut self, ty: TensorType, name: &str) -> Value {
        let frame = self.frames.len() - 1;
        let id = self.frames[frame].graph.add_param(ty, name);
        Value::Graph { frame, id }
    }

    /// Closes the region that is open: its graph, and the captured values in the frame around it.
    pub(super) fn close_frame(&mut self, results: &[Value]) -> (Graph, Vec<(ValueId, ValueId)>) {
        let results: Vec<ValueId> = results.iter().map(|v| self.materialise(v)).collect();
        let Frame { mut graph, captures, .. } = self.frames.pop().unwrap_or_default();
        graph.results = results;
        (graph, captures)
    }
}
