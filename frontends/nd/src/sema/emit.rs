//! Writing graph nodes: the step function and the regions nested in it.
//!
//! A region sees only its own parameters. When an expression inside a region names a value of the graph around it, the
//! value is captured: scalar constants are repeated inside, everything else becomes one more parameter of the region, in
//! the order of first use.

use super::Elab;
use super::codes;
use super::units::Dims;
use super::value::{Elem, ROW, Rt, Val};
use nc_ir::graph::{ConstId, Graph, GraphBuilder, OpError, Pools, ValueId};
use nc_ir::{DType, Diagnostic, Dim, Span, Tensor, TensorType};
use rustc_hash::FxHashMap;

/// How a region takes values from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Capture {
    /// With their own type.
    Whole,
    /// One element each.
    Scalar,
    /// Not at all; constants only.
    Sealed,
}

/// A graph that is being written.
pub(super) struct Frame {
    pub id: u32,
    /// Empty for the step function, which lives in the module.
    pub graph: Graph,
    pub capture: Capture,
    /// Values of enclosing graphs that became parameters, in order, with what they are inside.
    pub captured: Vec<(Rt, Rt)>,
    consts: FxHashMap<ConstId, ValueId>,
}

impl Frame {
    pub fn new(id: u32, capture: Capture) -> Frame {
        Frame { id, graph: Graph::default(), capture, captured: Vec::new(), consts: FxHashMap::default() }
    }
}

/// A type as the graph has it.
pub(super) fn tensor_type(dtype: DType, shape: &[u64]) -> TensorType {
    let dim = |d: &u64| if *d == ROW { Dim::Sym("n".into()) } else { Dim::Const(*d) };
    TensorType { dtype, shape: shape.iter().map(dim).collect() }
}

impl Elab<'_> {
    /// The id of the graph that is being written.
    pub(super) fn frame_id(&self) -> u32 {
        self.frames.last().map_or(0, |f| f.id)
    }

    /// Begins a region.
    pub(super) fn begin(&mut self, capture: Capture) {
        self.frame_count += 1;
        self.frames.push(Frame::new(self.frame_count, capture));
    }

    /// Adds a parameter to the region that is being written.
    pub(super) fn region_param(&mut self, elem: Elem, shape: &[u64], name: &str) -> Rt {
        let ty = tensor_type(elem.dtype(), shape);
        let frame = self.frame_id();
        let id = match self.frames.last_mut() {
            Some(f) => f.graph.add_param(ty, name),
            None => self.m.graph.add_param(ty, name),
        };
        Rt { id, frame, elem, shape: shape.to_vec(), konst: None, host: None }
    }

    /// Ends a region: its graph with these results, and the values that it captured from the graph around it.
    pub(super) fn end(&mut self, results: Vec<ValueId>) -> (Graph, Vec<Rt>) {
        match self.frames.pop() {
            Some(mut f) => {
                f.graph.results = results;
                (f.graph, f.captured.into_iter().map(|(outer, _)| outer).collect())
            }
            None => (Graph::default(), Vec::new()),
        }
    }

    pub(super) fn builder(&mut self) -> GraphBuilder<'_> {
        let m = &mut self.m;
        let pools = Pools { consts: &m.consts, lines: &m.lines, conns: &m.conns };
        match self.frames.last_mut() {
            Some(f) => GraphBuilder::new(&mut f.graph, pools),
            None => GraphBuilder::new(&mut m.graph, pools),
        }
    }

    /// Appends a node with one result; an op that does not fit is reported.
    pub(super) fn node(
        &mut self,
        span: Span,
        f: impl FnOnce(&mut GraphBuilder<'_>) -> Result<ValueId, OpError>,
    ) -> Option<ValueId> {
        let r = f(&mut self.builder());
        self.fits(span, r)
    }

    /// Appends a node with any number of results.
    pub(super) fn nodes(
        &mut self,
        span: Span,
        f: impl FnOnce(&mut GraphBuilder<'_>) -> Result<Vec<ValueId>, OpError>,
    ) -> Option<Vec<ValueId>> {
        let r = f(&mut self.builder());
        self.fits(span, r)
    }

    fn fits<T>(&mut self, span: Span, r: Result<T, OpError>) -> Option<T> {
        match r {
            Ok(x) => Some(x),
            Err(e) => {
                self.report(Diagnostic::error(codes::OP, span, e.to_string()).labelled("does not fit"));
                None
            }
        }
    }

    /// A value that a node of the current graph defined.
    pub(super) fn rt(&self, id: ValueId, elem: Elem, shape: Vec<u64>) -> Rt {
        Rt { id, frame: self.frame_id(), elem, shape, konst: None, host: None }
    }

    /// Gives the current graph's value a name for messages and probes.
    pub(super) fn name_value(&mut self, id: ValueId, name: &str) {
        self.builder().name(id, name);
    }

    /// A constant of the pool as a value of the current graph.
    pub(super) fn constant(&mut self, id: ConstId, elem: Elem, span: Span) -> Option<Rt> {
        let data = self.m.consts.get(id.index())?.data.clone();
        let known = match self.frames.last() {
            Some(f) => f.consts.get(&id).copied(),
            None => self.step_consts.get(&id).copied(),
        };
        let value = match known {
            Some(v) => v,
            None => {
                let v = self.node(span, |b| b.constant(id))?;
                let name = self.m.consts[id.index()].name.clone();
                if !name.is_empty() {
                    self.name_value(v, &name);
                }
                match self.frames.last_mut() {
                    Some(f) => f.consts.insert(id, v),
                    None => self.step_consts.insert(id, v),
                };
                v
            }
        };
        let shape = data.shape().iter().map(|d| *d as u64).collect();
        Some(Rt { konst: Some(id), host: Some(data), ..self.rt(value, elem, shape) })
    }

    /// An unnamed constant; equal scalars share one place in the pool.
    pub(super) fn pool(&mut self, data: Tensor) -> ConstId {
        if data.shape().is_empty() {
            let mut bits = [0u8; 8];
            bits[..data.bytes().len().min(8)].copy_from_slice(&data.bytes()[..data.bytes().len().min(8)]);
            let key = (data.dtype(), u64::from_le_bytes(bits));
            if let Some(id) = self.literals.get(&key) {
                return *id;
            }
            let id = self.m.add_const("", data);
            self.literals.insert(key, id);
            return id;
        }
        self.m.add_const("", data)
    }

    /// A real number in the coherent system, rounded to `f32` here and only here.
    pub(super) fn real(&mut self, x: f64, dims: Dims, span: Span) -> Option<Rt> {
        if !(x as f32).is_finite() {
            self.report(
                Diagnostic::error(codes::NOT_FINITE, span, format!("{x:e} does not fit in 32 bits"))
                    .labelled("too large for a real number"),
            );
            return None;
        }
        let id = self.pool(Tensor::scalar_f32(x as f32));
        self.constant(id, Elem::Real(dims), span)
    }

    /// A whole number.
    pub(super) fn int(&mut self, x: i64, span: Span) -> Option<Rt> {
        let id = self.pool(Tensor::scalar_i64(x));
        self.constant(id, Elem::Int, span)
    }

    /// A truth value.
    pub(super) fn truth(&mut self, x: bool, span: Span) -> Option<Rt> {
        let id = self.pool(Tensor::from_bools(Vec::new(), &[x])?);
        self.constant(id, Elem::Bool, span)
    }

    /// The same value in the graph that is being written.
    pub(super) fn here(&mut self, rt: &Rt, span: Span) -> Option<Rt> {
        if rt.frame == self.frame_id() {
            return Some(rt.clone());
        }
        if let Some(c) = rt.konst
            && (rt.shape.is_empty() || self.frames.last().is_some_and(|f| f.capture == Capture::Sealed))
        {
            return self.constant(c, rt.elem, span);
        }
        let at = match rt.frame {
            0 => 0,
            id => self.frames.iter().position(|f| f.id == id)? + 1,
        };
        let mut now = rt.clone();
        for k in at..self.frames.len() {
            let f = &mut self.frames[k];
            if let Some((_, inside)) = f.captured.iter().find(|(o, _)| o.id == now.id && o.frame == now.frame) {
                now = inside.clone();
                continue;
            }
            let shape = match f.capture {
                Capture::Whole => now.shape.clone(),
                Capture::Scalar => Vec::new(),
                Capture::Sealed => {
                    self.report(
                        Diagnostic::error(codes::NOT_HERE, span, "this value changes while the model runs")
                            .labelled("must be known when the network is built"),
                    );
                    return None;
                }
            };
            let id = f.graph.add_param(tensor_type(now.elem.dtype(), &shape), "");
            let inside = Rt { id, frame: f.id, elem: now.elem, shape, konst: None, host: None };
            f.captured.push((now, inside.clone()));
            now = inside;
        }
        Some(now)
    }

    /// Any number or truth value as a value of the current graph.
    pub(super) fn lift(&mut self, v: &Val, span: Span) -> Option<Rt> {
        match v {
            Val::Int(x) => self.int(*x, span),
            Val::Real(x, d) => self.real(*x, *d, span),
            Val::Bool(x) => self.truth(*x, span),
            Val::Rt(r) => self.here(r, span),
            Val::Poison => None,
            other => {
                let what = other.describe();
                self.report(
                    Diagnostic::error(codes::NOT_A_VALUE, span, format!("{what} is not a value to compute with"))
                        .labelled("a number or tensor is expected here"),
                );
                None
            }
        }
    }

    /// As a real number: whole numbers and truth values are converted, constants exactly.
    pub(super) fn lift_real(&mut self, v: &Val, span: Span) -> Option<Rt> {
        match v {
            Val::Int(x) => self.real(*x as f64, Dims::NONE, span),
            Val::Bool(x) => self.real(f64::from(u8::from(*x)), Dims::NONE, span),
            other => {
                let r = self.lift(other, span)?;
                self.as_real(r, span)
            }
        }
    }

    /// Converts a value of the current graph to a real number.
    pub(super) fn as_real(&mut self, r: Rt, span: Span) -> Option<Rt> {
        match r.elem {
            Elem::Real(_) => Some(r),
            Elem::Int | Elem::Bool => {
                let id = self.node(span, |b| b.cast(r.id, DType::F32))?;
                Some(self.rt(id, Elem::NUMBER, r.shape))
            }
        }
    }

    /// Repeats a scalar to a shape; other shapes pass unchanged if equal.
    pub(super) fn widened(&mut self, r: Rt, shape: &[u64], span: Span) -> Option<Rt> {
        if r.shape == shape {
            return Some(r);
        }
        let id = self.node(span, |b| b.broadcast(r.id, shape.to_vec()))?;
        Some(self.rt(id, r.elem, shape.to_vec()))
    }
}
