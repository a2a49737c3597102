//! Constant folding, exact identities, sharing of equal nodes and removal of dead ones, in one sweep each.
//!
//! Nothing here changes a bit of any result: folding evaluates the op's own definition, and an identity is used only if
//! it holds for every input (`x * 1`, `x / 1`, `x - 0`, `select` with a known condition; not `x + 0`, which turns -0 into +0).

use crate::control;
use crate::rebuild::{self, Rebuild, roots};
use nc_ir::graph::{Class, Module, Node, Op, ValueId, expand};
use nc_ir::kernel::{Evaluate, Scalar};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use rustc_hash::{FxHashMap, FxHashSet};
use std::convert::Infallible;

/// Folds, shares and removes, in the step function and in the bodies of its `cond`, `scan` and `repeat`.
pub fn run(module: &mut Module) {
    sweep(module);
    control::push_constants(module);
    let folded: Result<(), Infallible> = rebuild::each_body(module, &mut |body| {
        run(body);
        Ok(())
    });
    match folded {
        Ok(()) => {}
        Err(never) => match never {},
    }
    control::tidy(module);
    remove_dead(module);
}

fn sweep(module: &mut Module) {
    let mut rb = Rebuild::new(std::mem::take(module));
    let mut known: FxHashMap<ValueId, Tensor> = FxHashMap::default();
    let mut seen: FxHashMap<(Op, Vec<ValueId>), Vec<ValueId>> = FxHashMap::default();
    let mut scalars: FxHashMap<(DType, Vec<u8>), ValueId> = FxHashMap::default();
    for node in std::mem::take(&mut rb.old.nodes) {
        let args = rb.values(&node.args);
        if let Op::Const { id } = node.op {
            let data = rb.module.consts[id.index()].data.clone();
            share_constant(&mut rb, &mut scalars, &mut known, &node, data);
            continue;
        }
        if !node.regions.is_empty() || node.results.len() != 1 {
            rb.copy(&node);
            continue;
        }
        if let Some(same) = identity(&node.op, &args, &known)
            && rb.module.graph.ty(same) == rb.old.ty(node.results[0])
        {
            rb.replace(node.results[0], same);
            continue;
        }
        let operands: Option<Vec<&Tensor>> = args.iter().map(|a| known.get(a)).collect();
        if let Some(data) = operands.and_then(|t| evaluate(&node.op, &t, rb.old.ty(node.results[0]))) {
            let name = rb.old.values[node.results[0].index()].name.clone();
            let id = rb.module.add_const(name, data.clone());
            let constant = Node { op: Op::Const { id }, args: Vec::new(), regions: Vec::new(), ..node };
            share_constant(&mut rb, &mut scalars, &mut known, &constant, data);
            continue;
        }
        let key = (node.op.clone(), args);
        if let Some(same) = seen.get(&key) {
            rb.replace(node.results[0], same[0]);
            continue;
        }
        rb.copy(&node);
        seen.insert(key, rb.values(&node.results));
    }
    *module = rb.finish();
}

fn share_constant(
    rb: &mut Rebuild,
    scalars: &mut FxHashMap<(DType, Vec<u8>), ValueId>,
    known: &mut FxHashMap<ValueId, Tensor>,
    node: &Node,
    data: Tensor,
) {
    let key = data.shape().is_empty().then(|| (data.dtype(), data.bytes().to_vec()));
    if let Some(same) = key.as_ref().and_then(|k| scalars.get(k)) {
        rb.replace(node.results[0], *same);
        return;
    }
    rb.copy(node);
    let new = rb.value(node.results[0]);
    if let Some(k) = key {
        scalars.insert(k, new);
    }
    known.insert(new, data);
}

/// The operand that the result equals whatever its value.
fn identity(op: &Op, args: &[ValueId], known: &FxHashMap<ValueId, Tensor>) -> Option<ValueId> {
    let is = |v: ValueId, x: f64| {
        known.get(&v).is_some_and(|t| {
            t.shape().is_empty() && t.dtype().is_float() && t.get_f64(0) == x && t.get_f64(0).is_sign_positive()
        })
    };
    match op {
        Op::Mul if is(args[1], 1.0) => Some(args[0]),
        Op::Mul if is(args[0], 1.0) => Some(args[1]),
        Op::Div if is(args[1], 1.0) => Some(args[0]),
        Op::Sub if is(args[1], 0.0) => Some(args[0]),
        Op::Select => {
            let c = known.get(&args[0])?;
            let taken = c.shape().is_empty().then(|| c.bytes()[0] != 0)?;
            Some(if taken { args[1] } else { args[2] })
        }
        Op::Reshape { .. } | Op::Broadcast { .. } | Op::Slice { .. } => Some(args[0]),
        _ => None,
    }
}

/// The value of an op on constants; `None` for ops that are left to run time.
fn evaluate(op: &Op, args: &[&Tensor], ty: &TensorType) -> Option<Tensor> {
    let shape: Vec<usize> = ty.extents()?.iter().map(|d| *d as usize).collect();
    match op {
        Op::Reshape { .. } => args[0].reshaped(shape),
        Op::Transpose { perm } => {
            Some(strided(args[0], &shape, |strides| perm.iter().map(|p| strides[*p]).collect(), 0))
        }
        Op::Slice { start, step, .. } => {
            let strides = row_major(args[0].shape());
            let first = start.iter().zip(&strides).map(|(s, d)| *s as usize * d).sum();
            Some(strided(args[0], &shape, |st| st.iter().zip(step).map(|(d, s)| d * *s as usize).collect(), first))
        }
        _ if op.info().class == Class::Elementwise && !matches!(op, Op::Random { .. }) => {
            elementwise(op, args, ty, shape)
        }
        _ => None,
    }
}

fn elementwise(op: &Op, args: &[&Tensor], ty: &TensorType, shape: Vec<usize>) -> Option<Tensor> {
    let dtypes: Vec<DType> = args.iter().map(|t| t.dtype()).collect();
    let mut out = Tensor::zeros(ty.dtype, shape);
    let mut operands = vec![Scalar::Bool(false); args.len()];
    let size = ty.dtype.size();
    let n = out.len();
    let bytes = out.bytes_mut();
    for k in 0..n {
        for (to, t) in operands.iter_mut().zip(args) {
            *to = expand::load(t, if t.shape().is_empty() { 0 } else { k })?;
        }
        let value = expand::elementwise(&mut Evaluate, op, &operands, &dtypes, ty.dtype);
        store(&mut bytes[k * size..(k + 1) * size], ty.dtype, value);
    }
    Some(out)
}

/// Writes a register value as one element of a tensor.
pub fn store(cell: &mut [u8], dtype: DType, value: Scalar) {
    match (dtype, value) {
        (DType::F16, Scalar::F32(x)) => cell.copy_from_slice(&half::f16::from_f32(x).to_le_bytes()),
        (DType::BF16, Scalar::F32(x)) => cell.copy_from_slice(&half::bf16::from_f32(x).to_le_bytes()),
        (_, v) => cell.copy_from_slice(&v.bits().to_le_bytes()[..cell.len()]),
    }
}

/// Element strides of a row-major tensor.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for k in (1..shape.len()).rev() {
        strides[k - 1] = strides[k] * shape[k];
    }
    strides
}

/// A copy of `t` read with other strides from element `first`.
pub fn strided(t: &Tensor, shape: &[usize], f: impl FnOnce(&[usize]) -> Vec<usize>, first: usize) -> Tensor {
    let strides = f(&row_major(t.shape()));
    let mut out = Tensor::zeros(t.dtype(), shape.to_vec());
    let size = t.dtype().size();
    let (n, from) = (out.len(), t.bytes());
    let to = out.bytes_mut();
    let mut at = vec![0usize; shape.len()];
    let mut source = first;
    for k in 0..n {
        to[k * size..(k + 1) * size].copy_from_slice(&from[source * size..(source + 1) * size]);
        for d in (0..shape.len()).rev() {
            at[d] += 1;
            source += strides[d];
            if at[d] < shape[d] {
                break;
            }
            source -= strides[d] * shape[d];
            at[d] = 0;
        }
    }
    out
}

/// Drops nodes that no output, state, delay line or probe depends on.
pub(crate) fn remove_dead(module: &mut Module) {
    let mut live: FxHashSet<ValueId> = roots(module).collect();
    let mut keep = vec![false; module.graph.nodes.len()];
    for (k, node) in module.graph.nodes.iter().enumerate().rev() {
        if node.results.iter().any(|r| live.contains(r)) {
            keep[k] = true;
            live.extend(&node.args);
        }
    }
    if keep.iter().all(|k| *k) {
        return;
    }
    let mut rb = Rebuild::new(std::mem::take(module));
    for (node, keep) in std::mem::take(&mut rb.old.nodes).iter().zip(keep) {
        if keep {
            rb.copy(node);
        }
    }
    *module = rb.finish();
}
