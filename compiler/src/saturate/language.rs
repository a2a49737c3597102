//! The e-graph's language: the op table itself, with its attributes, over leaves that stand for everything else.

use egg::{FromOp, Id, Language};
use nc_ir::graph::{Op, ValueId};
use std::fmt;

/// A term of the step function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Term {
    /// A value that is taken as it is: an input, a state, a constant, or a result of an op with regions.
    Leaf(ValueId),
    /// An op of the table with one result and no regions.
    Apply(Op, Vec<Id>),
}

/// What tells two terms apart besides their children.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Head {
    /// The value of a leaf.
    Leaf(ValueId),
    /// The op with its attributes, and how many operands it has.
    Apply(Op, usize),
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        match self {
            Term::Leaf(v) => Head::Leaf(*v),
            Term::Apply(op, args) => Head::Apply(op.clone(), args.len()),
        }
    }

    fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Term::Leaf(a), Term::Leaf(b)) => a == b,
            (Term::Apply(a, x), Term::Apply(b, y)) => a == b && x.len() == y.len(),
            (Term::Leaf(_), Term::Apply(..)) | (Term::Apply(..), Term::Leaf(_)) => false,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            Term::Leaf(_) => &[],
            Term::Apply(_, args) => args,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Term::Leaf(_) => &mut [],
            Term::Apply(_, args) => args,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Leaf(v) => write!(f, "{v}"),
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
