//! What is known about every class: its type, whether it is a constant, and how much of it is not zero.

use super::Term;
use egg::{Analysis, DidMerge, EGraph, Id};
use nc_ir::graph::{Class, Op, infer};
use nc_ir::kernel::Scalar;
use nc_ir::types::{DType, TensorType};

/// Part of a spike train that is spikes in a tick, where nothing is known about it.
const SPIKES: f64 = crate::cost::SPIKES;

/// What is known about a value before it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its type.
    pub ty: TensorType,
    /// True if it is the same in every tick and known now.
    pub constant: bool,
    /// The number that all its elements are.
    pub uniform: Option<Scalar>,
    /// Part of its elements that are not zero, from 0 to 1; 1 where nothing is known.
    pub activity: f64,
    /// Rows of a loop's body that a product could take all at once, before the loop.
    pub scanned: bool,
}

impl Known {
    /// A value of which the type is known.
    pub fn of(ty: TensorType) -> Known {
        let activity = if ty.dtype == DType::Bool { SPIKES } else { 1.0 };
        Known { ty, constant: false, uniform: None, activity, scanned: false }
    }

    /// Its extents.
    pub fn extents(&self) -> Vec<u64> {
        self.ty.extents().unwrap_or_default()
    }

    /// Its number of elements.
    pub fn count(&self) -> u64 {
        self.ty.elements().unwrap_or(0)
    }
}

/// The facts of the leaves; from them those of all classes follow.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By the number of the value.
    pub leaves: Vec<Known>,
}

impl Analysis<Term> for Facts {
    /// `None` for terms that the op table does not admit.
    type Data = Option<Known>;

    fn make(egraph: &mut EGraph<Term, Self>, term: &Term, _id: Id) -> Self::Data {
        match term {
            Term::Leaf(v) => egraph.analysis.leaves.get(v.index()).cloned(),
            Term::Number(dtype, bits) => {
                let ty = TensorType::scalar(*dtype);
                let scalar = Scalar::from_bits(nc_ir::kernel::loaded_type(*dtype), *bits);
                let activity = if scalar.bits() == 0 { 0.0 } else { 1.0 };
                Some(Known { constant: true, uniform: Some(scalar), activity, ..Known::of(ty) })
            }
            Term::Apply(op, args) => {
                let args: Option<Vec<&Known>> = args.iter().map(|a| egraph[*a].data.as_ref()).collect();
                apply(op, &args?)
            }
        }
    }

    fn merge(&mut self, a: &mut Self::Data, b: Self::Data) -> DidMerge {
        match (a, b) {
            (_, None) => DidMerge(false, false),
            (a @ None, b) => {
                *a = b;
                DidMerge(true, false)
            }
            (Some(a), Some(b)) => {
                let before = a.clone();
                a.constant |= b.constant;
                a.scanned |= b.scanned;
                a.uniform = a.uniform.or(b.uniform);
                a.activity = a.activity.min(b.activity);
                DidMerge(*a != before, *a != b)
            }
        }
    }
}

/// What is known about the result of an op.
fn apply(op: &Op, args: &[&Known]) -> Option<Known> {
    let ty = type_of(op, args)?;
    let constant = !args.is_empty() && args.iter().all(|a| a.constant);
    let uniform = match op {
        Op::Broadcast { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Transpose { .. } => args[0].uniform,
        _ => None,
    };
    let zero = |k: &Known| k.uniform.is_some_and(|s| s.bits() == 0);
    let activity = match op {
        Op::Reshape { .. } | Op::Slice { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Cast { .. } => {
            args[0].activity
        }
        Op::Mul | Op::And => args[0].activity.min(args[1].activity),
        Op::Select if zero(args[2]) => args[0].activity.min(args[1].activity),
        _ if ty.dtype == DType::Bool => SPIKES,
        _ => 1.0,
    };
    let scanned = matches!(op, Op::Reshape { .. }) && args[0].scanned;
    Some(Known { ty, constant, uniform, activity, scanned })
}

/// The type of a result. Element-wise ops, of which there are most, go the short way.
fn type_of(op: &Op, args: &[&Known]) -> Option<TensorType> {
    let types: Vec<&TensorType> = args.iter().map(|a| &a.ty).collect();
    if op.info().class != Class::Elementwise {
        return infer::result_type(op, &types).ok();
    }
    let shape = types.iter().find(|t| t.rank() > 0).or(types.first())?.shape.clone();
    if types.iter().any(|t| t.rank() > 0 && t.shape != shape) {
        return None;
    }
    let dtypes: Vec<DType> = types.iter().map(|t| t.dtype).collect();
    Some(TensorType { dtype: result_dtype(op, &dtypes), shape })
}

/// Element type of an element-wise op's result.
pub(crate) fn result_dtype(op: &Op, args: &[DType]) -> DType {
    match op {
        Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => DType::Bool,
        Op::Cast { to } | Op::Bitcast { to } => *to,
        Op::Random { .. } => DType::F32,
        Op::Select => args.get(1).copied().unwrap_or(DType::F32),
        _ => args.first().copied().unwrap_or(DType::F32),
    }
}
