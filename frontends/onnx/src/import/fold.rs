//! Computing what is known, by the reference interpreter.

use super::call::Fault;
use super::emit::Value;
use super::{Importer, node_name};
use crate::proto::NodeProto;
use crate::{Needs, Stop};
use nc_ir::graph::{Class, Graph, Module, Node, Op, OpError, Port, ValueId};
use nc_ir::interp::Interpreter;
use nc_ir::{Tensor, TensorType};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A result up to this size is computed whatever its operands are; a larger one only if it is no larger than they are.
const SMALL: u64 = 1 << 20;
/// Most multiplications of a contraction that is computed.
const MULTIPLICATIONS: u64 = 1 << 22;

impl Importer<'_> {
    /// The results of an op on known tensors, or `None` if they are better left to the compiled model.
    pub(super) fn fold(&self, op: &Op, args: &[Tensor]) -> Result<Option<Vec<Value>>, Fault> {
        if !matches!(
            op.info().class,
            Class::Elementwise | Class::Data | Class::Contraction | Class::Reduction | Class::Sequential
        ) || matches!(op, Op::Random { .. } | Op::Tick | Op::Delayed { .. } | Op::Const { .. })
        {
            return Ok(None);
        }
        let mut module = Module { name: "known".to_owned(), ..Module::default() };
        let mut operands = Vec::with_capacity(args.len());
        for t in args {
            let id = module.add_const("", t.clone());
            operands.push(module.builder().constant(id)?);
        }
        let results = module.builder().push(op.clone(), operands, Vec::new())?;
        let bytes = |ty: &TensorType| ty.bytes().unwrap_or(u64::MAX);
        let most = args.iter().map(|t| t.bytes().len() as u64).fold(SMALL, u64::saturating_add);
        let size = results.iter().map(|r| bytes(module.graph.ty(*r))).fold(0, u64::saturating_add);
        if size > most || work(op, args, size) > MULTIPLICATIONS {
            return Ok(None);
        }
        for (k, value) in results.iter().enumerate() {
            module.outputs.push(Port { name: k.to_string(), value: *value });
        }
        Ok(Some(self.evaluate(module)?.into_iter().map(|t| Value::known(t, "")).collect()))
    }

    fn evaluate(&self, module: Module) -> Result<Vec<Tensor>, Fault> {
        let mut it = Interpreter::with_limit(Arc::new(module), self.options.max_memory).map_err(Stop::Wrong)?;
        Ok(it.step(&[]).map_err(Stop::Wrong)?.outputs)
    }

    /// The tensor of a value.
    ///
    /// # Errors
    /// [`Stop::Needs`] if it depends on inputs of the model, [`Fault::Unsupported`] if it changes in a loop.
    pub(super) fn demand(&self, v: &Value, node: &NodeProto, why: &str) -> Result<Tensor, Fault> {
        let (frame, id) = match v {
            Value::Known(_) => return v.tensor().cloned().ok_or_else(|| Fault::Invalid(why.to_owned())),
            Value::Graph { frame, id } => (*frame, *id),
        };
        let mut inputs = BTreeSet::new();
        if !self.sources(frame, id, &mut inputs) {
            let text = format!("{why} depends on a value that changes in a loop, which is not supported");
            return Err(Fault::Unsupported(text));
        }
        if inputs.is_empty() {
            return self.force(frame, id, why);
        }
        let needs = Needs { inputs: inputs.into_iter().collect(), node: node_name(node), why: why.to_owned() };
        Err(Fault::Stop(Box::new(Stop::Needs(needs))))
    }

    /// Collects the inputs of the model that a value depends on. False if it depends on what changes in a region.
    fn sources(&self, frame: usize, id: ValueId, inputs: &mut BTreeSet<String>) -> bool {
        let f = &self.frames[frame];
        let needed = slice(&f.graph, id);
        for p in f.graph.params.iter().filter(|p| needed.values.contains(p)) {
            if frame == 0 {
                inputs.extend(self.module.inputs.iter().filter(|i| i.value == *p).map(|i| i.name.clone()));
            } else {
                match f.captures.iter().find(|(_, inner)| inner == p) {
                    Some((outer, _)) if self.sources(frame - 1, *outer, inputs) => {}
                    _ => return false,
                }
            }
        }
        true
    }

    /// Computes a value that depends on no input, however large.
    fn force(&self, frame: usize, id: ValueId, why: &str) -> Result<Tensor, Fault> {
        let f = &self.frames[frame];
        let needed = slice(&f.graph, id);
        let mut module = Module { name: "known".to_owned(), consts: self.module.consts.clone(), ..Module::default() };
        let mut numbers: FxHashMap<ValueId, ValueId> = FxHashMap::default();
        for (outer, inner) in f.captures.iter().filter(|(_, inner)| needed.values.contains(inner)) {
            let known = self.force(frame - 1, *outer, why)?;
            let id = module.add_const("", known);
            numbers.insert(*inner, module.builder().constant(id)?);
        }
        let missing = || OpError { op: "constant".to_owned(), message: "an operand is not defined".to_owned() };
        for k in needed.nodes.iter().rev() {
            let node = &f.graph.nodes[*k];
            let args: Option<Vec<ValueId>> = node.args.iter().map(|a| numbers.get(a).copied()).collect();
            let results = module.builder().push(node.op.clone(), args.ok_or_else(missing)?, node.regions.clone())?;
            numbers.extend(node.results.iter().copied().zip(results));
        }
        let value = *numbers.get(&id).ok_or_else(missing)?;
        module.outputs.push(Port { name: "value".to_owned(), value });
        self.evaluate(module)?.pop().ok_or_else(|| Fault::Invalid(format!("{why} cannot be computed")))
    }
}

/// Multiplications of a contraction.
fn work(op: &Op, args: &[Tensor], result_bytes: u64) -> u64 {
    let (Some(x), Some(w)) = (args.first(), args.get(1)) else { return 0 };
    let results = result_bytes / x.dtype().size() as u64;
    let chain = match op {
        Op::Linear | Op::Matmul => x.shape().last().copied().unwrap_or(1),
        Op::Conv { .. } => w.len() / w.shape().first().copied().unwrap_or(1).max(1),
        _ => return 0,
    };
    results.saturating_mul(chain as u64)
}

/// What a value is computed from.
struct Needed {
    values: std::collections::HashSet<ValueId>,
    /// Nodes, the last first.
    nodes: Vec<usize>,
}

fn slice(graph: &Graph, id: ValueId) -> Needed {
    let mut needed = Needed { values: std::collections::HashSet::from([id]), nodes: Vec::new() };
    for (k, Node { args, results, .. }) in graph.nodes.iter().enumerate().rev() {
        if results.iter().any(|r| needed.values.contains(r)) {
            needed.values.extend(args);
            needed.nodes.push(k);
        }
    }
    needed
}
