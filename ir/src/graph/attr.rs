//! Attribute values of graph ops: the small constants written in braces after an op's name.

use super::{ConnId, ConstId, LineId};
use crate::types::DType;
use std::fmt;

/// An `f64` compared and hashed by its bits, so that ops can be keys.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Real) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Real) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Real) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The value of an attribute as the text format writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttrValue {
    /// `3`, `-1`; wide enough for every `i64` and `u64`.
    Int(i128),
    /// `0.5`; printed so that it reads back to the same bits.
    Real(Real),
    /// `true`, `false`.
    Bool(bool),
    /// `[1, 2]`.
    Ints(Vec<i128>),
    /// A bare word: an element type or a named choice.
    Word(String),
    /// `c3`.
    Const(ConstId),
    /// `conn0`.
    Conn(ConnId),
    /// `line0`.
    Line(LineId),
    /// `none`.
    None,
}

impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrValue::Int(x) => write!(f, "{x}"),
            AttrValue::Real(Real(x)) if x.is_nan() => write!(f, "nan({:#x})", x.to_bits()),
            // `{:?}` of a float is the shortest text that reads back to the same value and always has a '.' or 'e'.
            AttrValue::Real(Real(x)) => write!(f, "{x:?}"),
            AttrValue::Bool(x) => write!(f, "{x}"),
            AttrValue::Ints(v) => {
                let items: Vec<String> = v.iter().map(i128::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            AttrValue::Word(w) => f.write_str(w),
            AttrValue::Const(c) => write!(f, "{c}"),
            AttrValue::Conn(c) => write!(f, "{c}"),
            AttrValue::Line(l) => write!(f, "{l}"),
            AttrValue::None => f.write_str("none"),
        }
    }
}

/// A Rust type that can stand as an attribute.
pub trait Attr: Sized {
    /// For the printer.
    fn to_value(&self) -> AttrValue;
    /// For the parser; `None` if the value has another form.
    fn from_value(v: &AttrValue) -> Option<Self>;
}

macro_rules! int_attr {
    ($($t:ty),*) => { $(impl Attr for $t {
        fn to_value(&self) -> AttrValue {
            AttrValue::Int(*self as i128)
        }
        fn from_value(v: &AttrValue) -> Option<Self> {
            match v {
                AttrValue::Int(x) => <$t>::try_from(*x).ok(),
                _ => None,
            }
        }
    })* };
}
int_attr!(i64, usize, u32, u64);

impl Attr for bool {
    fn to_value(&self) -> AttrValue {
        AttrValue::Bool(*self)
    }
    fn from_value(v: &AttrValue) -> Option<Self> {
        match v {
            AttrValue::Bool(x) => Some(*x),
            _ => None,
        }
    }
}

impl Attr for Real {
    fn to_value(&self) -> AttrValue {
        AttrValue::Real(*self)
    }
    fn from_value(v: &AttrValue) -> Option<Self> {
        match v {
            AttrValue::Real(x) => Some(*x),
            _ => None,
        }
    }
}

macro_rules! list_attr {
    ($($t:ty),*) => { $(impl Attr for Vec<$t> {
        fn to_value(&self) -> AttrValue {
            AttrValue::Ints(self.iter().map(|x| *x as i128).collect())
        }
        fn from_value(v: &AttrValue) -> Option<Self> {
            match v {
                AttrValue::Ints(xs) => xs.iter().map(|x| <$t>::try_from(*x).ok()).collect(),
                _ => None,
            }
        }
    })* };
}
list_attr!(usize, u64, i64);

impl Attr for DType {
    fn to_value(&self) -> AttrValue {
        AttrValue::Word(self.name().to_string())
    }
    fn from_value(v: &AttrValue) -> Option<Self> {
        match v {
            AttrValue::Word(w) => DType::from_name(w),
            _ => None,
        }
    }
}

macro_rules! id_attr {
    ($($t:ident => $variant:ident),*) => { $(
        impl Attr for $t {
            fn to_value(&self) -> AttrValue {
                AttrValue::$variant(*self)
            }
            fn from_value(v: &AttrValue) -> Option<Self> {
                match v {
                    AttrValue::$variant(x) => Some(*x),
                    _ => None,
                }
            }
        }
        impl Attr for Option<$t> {
            fn to_value(&self) -> AttrValue {
                self.map_or(AttrValue::None, AttrValue::$variant)
            }
            fn from_value(v: &AttrValue) -> Option<Self> {
                match v {
                    AttrValue::None => Some(None),
                    AttrValue::$variant(x) => Some(Some(*x)),
                    _ => None,
                }
            }
        }
    )* };
}
id_attr!(ConstId => Const, ConnId => Conn, LineId => Line);

/// Declares a closed set of named choices that can stand as an attribute.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $doc])+ $variant),* }

        impl $name {
            /// Every choice.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The word in the text format.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }

        impl Attr for $name {
            fn to_value(&self) -> AttrValue {
                AttrValue::Word(self.name().to_string())
            }
            fn from_value(v: &AttrValue) -> Option<Self> {
                match v {
                    AttrValue::Word(w) => $name::ALL.iter().copied().find(|x| x.name() == w),
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// How [`crate::graph::Op::Reduce`] combines elements.
    ReduceKind {
        /// Sum over 16 interleaved partial sums, then a fixed tree; +0 of nothing.
        Sum = "sum",
        /// The sum, divided by the count; NaN of nothing.
        Mean = "mean",
        /// Product, in the order of the sum; 1 of nothing.
        Prod = "prod",
        /// Largest, folded in row-major order as `max(so far, next)` from the least value of the type; NaN if any is NaN.
        Max = "max",
        /// Smallest, folded in row-major order as `min(so far, next)` from the greatest value of the type; NaN if any is
        /// NaN.
        Min = "min",
    }
}

choice! {
    /// How [`crate::graph::Op::Scatter`] combines an element with an update.
    ScatterKind {
        /// The update takes the element's place: of several the last stays.
        Set = "set",
        /// Their sum.
        Add = "add",
        /// Their product.
        Mul = "mul",
        /// The larger; NaN if either is NaN.
        Max = "max",
        /// The smaller; NaN if either is NaN.
        Min = "min",
    }
}

impl ScatterKind {
    /// The element-wise op of (element, update); `None` for [`ScatterKind::Set`].
    pub fn op(self) -> Option<crate::graph::Op> {
        match self {
            ScatterKind::Set => None,
            ScatterKind::Add => Some(crate::graph::Op::Add),
            ScatterKind::Mul => Some(crate::graph::Op::Mul),
            ScatterKind::Max => Some(crate::graph::Op::Max),
            ScatterKind::Min => Some(crate::graph::Op::Min),
        }
    }
}

choice! {
    /// What [`crate::graph::Op::Cumulate`] keeps along its axis.
    CumulateKind {
        /// The sum, from +0.
        Sum = "sum",
        /// The product, from 1.
        Prod = "prod",
    }
}

impl CumulateKind {
    /// The element-wise op of (so far, next), and the number that it starts from.
    pub fn op(self) -> (crate::graph::Op, i64) {
        match self {
            CumulateKind::Sum => (crate::graph::Op::Add, 0),
            CumulateKind::Prod => (crate::graph::Op::Mul, 1),
        }
    }
}

choice! {
    /// How [`crate::graph::Op::Pool`] combines a window.
    PoolKind {
        /// Sum of the window, in row-major order, from +0.
        Sum = "sum",
        /// The sum, divided by the window's size (padding counted); floats only.
        Avg = "avg",
        /// The sum, divided by the number of elements inside the input; NaN if there are none; floats only.
        Mean = "mean",
        /// Largest of the window, folded as `max(so far, next)` from the least value of the type (minus infinity for
        /// floats); NaN if any is NaN. Padding never wins.
        Max = "max",
    }
}

choice! {
    /// How an ODE system is advanced by one tick.
    Method {
        /// Exact if linear, else exponential Euler if conditionally linear, else RK4.
        Auto = "auto",
        /// Matrix exponential of the augmented system; linear systems with constant coefficients only.
        Exact = "exact",
        /// Exponential Euler: each variable exactly, the others held; conditionally linear systems only.
        ExpEuler = "exp_euler",
        /// Forward Euler.
        Euler = "euler",
        /// Classical fourth-order Runge-Kutta.
        Rk4 = "rk4",
    }
}

choice! {
    /// The law of [`crate::graph::Op::Random`].
    Distribution {
        /// Uniform on [0, 1): 24 random bits times 2^-24.
        Uniform = "uniform",
        /// Standard normal.
        Normal = "normal",
    }
}
