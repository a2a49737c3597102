//! What an expression can stand for while a model is elaborated.

use super::units::{Dims, Unit};
use nc_ir::graph::{ConstId, ValueId};
use nc_ir::{DType, Tensor};

/// Extent that stands for "as many candidates as the row has" in regions over (i, j).
pub const ROW: u64 = u64::MAX;

/// What the elements of a value are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elem {
    /// A real number with a dimension; `f32` at run time.
    Real(Dims),
    /// A whole number; `i64` at run time.
    Int,
    /// A truth value or spike.
    Bool,
}

impl Elem {
    /// A plain number.
    pub const NUMBER: Elem = Elem::Real(Dims::NONE);

    /// Element type at run time.
    pub fn dtype(self) -> DType {
        match self {
            Elem::Real(_) => DType::F32,
            Elem::Int => DType::I64,
            Elem::Bool => DType::Bool,
        }
    }

    /// Dimension; whole numbers and truth values have none.
    pub fn dims(self) -> Dims {
        match self {
            Elem::Real(d) => d,
            Elem::Int | Elem::Bool => Dims::NONE,
        }
    }
}

impl std::fmt::Display for Elem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Elem::Real(d) => d.fmt(f),
            Elem::Int => f.write_str("int"),
            Elem::Bool => f.write_str("bool"),
        }
    }
}

/// How a parameter or state is stored.
#[derive(Clone, PartialEq, Debug)]
pub enum Storage {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
    /// An integer times a scale.
    Int {
        /// Stored element type.
        dtype: DType,
        /// Smallest stored number.
        low: f64,
        /// Largest stored number.
        high: f64,
        /// One scale for each index of this axis; one for all if absent.
        axis: Option<usize>,
        /// The scale, if given; else the largest magnitude maps to `high`.
        scale: Option<f64>,
    },
}

/// A declared type.
#[derive(Clone, PartialEq, Debug)]
pub struct Ty {
    /// Elements.
    pub elem: Elem,
    /// The unit that numbers from files are in.
    pub unit: Unit,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// Storage.
    pub storage: Option<Storage>,
    /// `@sparse` was written.
    pub sparse: bool,
}

impl Ty {
    /// A type without storage.
    pub fn plain(elem: Elem, shape: Vec<u64>) -> Ty {
        Ty { elem, unit: Unit::ONE, shape, storage: None, sparse: false }
    }
}

/// Extents as written in messages.
pub fn show_shape(shape: &[u64]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| if *d == ROW { "n".to_string() } else { d.to_string() }).collect();
    format!("[{}]", dims.join(", "))
}

/// A type as written in messages.
pub fn show_type(elem: Elem, shape: &[u64]) -> String {
    if shape.is_empty() { elem.to_string() } else { format!("{elem}{}", show_shape(shape)) }
}

/// A value of a graph.
#[derive(Clone, Debug)]
pub struct Rt {
    /// The value.
    pub id: ValueId,
    /// Which graph it lives in.
    pub frame: u32,
    /// Its elements.
    pub elem: Elem,
    /// Its extents.
    pub shape: Vec<u64>,
    /// Set if the value is this constant of the pool.
    pub konst: Option<ConstId>,
    /// The data if it is known at compile time: what a program would read, after storage has rounded it.
    pub host: Option<Tensor>,
}

impl Rt {
    /// The number, if this is a scalar known at compile time.
    pub fn scalar(&self) -> Option<f64> {
        if !self.shape.is_empty() {
            return None;
        }
        self.host.as_ref().map(|t| t.get_f64(0))
    }
}

/// An array of a file, before a declaration says what its numbers are.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file as written.
    pub file: String,
    /// The array.
    pub name: String,
    /// The data.
    pub data: Tensor,
}

/// What an expression stands for.
#[derive(Clone, Debug)]
pub enum Val {
    /// Something is wrong with it and has been reported.
    Poison,
    /// A whole number known at compile time.
    Int(i64),
    /// A real number known at compile time, in the coherent system.
    Real(f64, Dims),
    /// A truth value known at compile time.
    Bool(bool),
    /// Text.
    Str(String),
    /// `[a, b]`.
    List(Vec<Val>),
    /// A value of the graph.
    Rt(Rt),
    /// Several values, from `split`.
    Tuple(Vec<Rt>),
    /// A declared file.
    File(String),
    /// An array of a file.
    Array(Loaded),
    /// A population.
    Pop(usize),
    /// An instance of a net.
    Sub(usize),
    /// `pre` (false) or `post` (true) inside `connect`.
    Side(bool),
    /// Positions of one side inside `connect`.
    Pos(bool),
    /// A named connection.
    Conn(usize),
}

impl Val {
    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Val::Poison => "something that is wrong".into(),
            Val::Int(i) => format!("the whole number {i}"),
            Val::Real(_, d) if d.is_none() => "a real number".into(),
            Val::Real(_, d) => format!("a quantity in {d}"),
            Val::Bool(_) => "a truth value".into(),
            Val::Str(_) => "a string".into(),
            Val::List(_) => "a list".into(),
            Val::Rt(r) => format!("a value of type {}", show_type(r.elem, &r.shape)),
            Val::Tuple(v) => format!("{} values", v.len()),
            Val::File(_) => "a file".into(),
            Val::Array(a) => format!("the array `{}` of {}", a.name, a.data.ty()),
            Val::Pop(_) => "a population".into(),
            Val::Sub(_) => "an instance of a net".into(),
            Val::Side(_) => "one side of a connection".into(),
            Val::Pos(_) => "a position".into(),
            Val::Conn(_) => "a connection".into(),
        }
    }

    /// True if there is nothing to say about it any more.
    pub fn is_poison(&self) -> bool {
        matches!(self, Val::Poison)
    }

    /// The number, if it is one known at compile time.
    pub fn number(&self) -> Option<(f64, Dims)> {
        match self {
            Val::Int(i) => Some((*i as f64, Dims::NONE)),
            Val::Real(x, d) => Some((*x, *d)),
            Val::Rt(r) if r.elem != Elem::Bool => r.scalar().map(|x| (x, r.elem.dims())),
            _ => None,
        }
    }
}
