//! The e-graph's language: the op table itself, with its attributes, over leaves that stand for everything else.

use egg::{FromOp, Id, Language};
use nc_ir::graph::{Op, ValueId};
use nc_ir::types::DType;
use std::fmt;

/// A term of the step function, or of a body.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Term {
    /// A value that is taken as it is, by its number among the leaves: an input, a state, a constant, a result of an op with
    /// regions, or one that another stretch of the graph makes.
    Leaf(ValueId),
    /// A scalar constant that a rule brought in, by the bits of its register.
    Number(DType, u64),
    /// An op of the table with one result and no regions.
    Apply(Op, Vec<Id>),
}

/// What tells two terms apart besides their children.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Head {
    /// The value of a leaf.
    Leaf(ValueId),
    /// A number.
    Number(DType, u64),
    /// The op with its attributes, and how many operands it has.
    Apply(Op, usize),
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        match self {
            Term::Leaf(v) => Head::Leaf(*v),
            Term::Number(dtype, bits) => Head::Number(*dtype, *bits),
            Term::Apply(op, args) => Head::Apply(op.clone(), args.len()),
        }
    }

    fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Term::Leaf(a), Term::Leaf(b)) => a == b,
            (Term::Number(a, x), Term::Number(b, y)) => a == b && x == y,
            (Term::Apply(a, x), Term::Apply(b, y)) => a == b && x.len() == y.len(),
            (Term::Leaf(_) | Term::Number(..) | Term::Apply(..), _) => false,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            Term::Leaf(_) | Term::Number(..) => &[],
            Term::Apply(_, args) => args,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Term::Leaf(_) | Term::Number(..) => &mut [],
            Term::Apply(_, args) => args,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Leaf(v) => write!(f, "{v}"),
            Term::Number(dtype, bits) => {
                write!(f, "{:?}", nc_ir::kernel::Scalar::from_bits(nc_ir::kernel::loaded_type(*dtype), *bits))
            }
            Term::Apply(op, _) => write!(f, "{op}"),
        }
    }
}

/// For the patterns of rules: ops without attributes, by mnemonic.
impl FromOp for Term {
    type Error = String;

    fn from_op(op: &str, children: Vec<Id>) -> Result<Self, String> {
        Op::from_parts(op, &[]).map(|op| Term::Apply(op, children))
    }
}
