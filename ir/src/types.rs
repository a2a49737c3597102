//! Element types, dimensions and tensor types.
//!
//! Everything here is a plain value: equal types compare equal, print as the text format reads them, and know their
//! size in bytes without touching memory.

use std::fmt;

/// The type of one tensor element.
///
/// Arithmetic is IEEE-754 in the named type for floats, two's complement wrapping for integers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    /// IEEE binary64.
    F64,
    /// IEEE binary32, the default of `real`.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of binary32.
    BF16,
    /// Signed 64-bit integer, the type of `int`.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// Truth value or spike; one byte in memory, 0 or 1.
    Bool,
}

impl DType {
    /// Every element type, widest float first.
    pub const ALL: [DType; 13] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U64,
        DType::U32,
        DType::U16,
        DType::U8,
        DType::Bool,
    ];

    /// Bytes that one element takes in memory.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// True for the four floating-point types.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// True for the integer types, `bool` not among them.
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::I16 | DType::I8) || self.is_unsigned()
    }

    /// True for the integer types without a sign.
    pub const fn is_unsigned(self) -> bool {
        matches!(self, DType::U64 | DType::U32 | DType::U16 | DType::U8)
    }

    /// The smallest and the largest value of an integer type; `None` for floats and `bool`.
    pub const fn int_range(self) -> Option<(i128, i128)> {
        let bits = 8 * self.size();
        match (self.is_int(), self.is_unsigned()) {
            (false, _) => None,
            (true, true) => Some((0, (1 << bits) - 1)),
            (true, false) => Some((-1 << (bits - 1), (1 << (bits - 1)) - 1)),
        }
    }

    /// The name in the text format, for example `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U64 => "u64",
            DType::U32 => "u32",
            DType::U16 => "u16",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// The type with this name, or `None`.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension of a shape: a number, or a name that is bound before code generation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// A known extent.
    Const(u64),
    /// A named extent, bound by [`crate::graph::Module::bind_dims`].
    Sym(String),
}

impl Dim {
    /// The extent if it is known.
    pub fn known(&self) -> Option<u64> {
        match self {
            Dim::Const(n) => Some(*n),
            Dim::Sym(_) => None,
        }
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Self {
        Dim::Const(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Const(n) => write!(f, "{n}"),
            Dim::Sym(s) => write!(f, "{s}"),
        }
    }
}

/// Element type and shape of a value, row-major. A scalar has an empty shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A tensor with known extents.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = u64>) -> Self {
        TensorType { dtype, shape: shape.into_iter().map(Dim::Const).collect() }
    }

    /// A rank-0 value.
    pub fn scalar(dtype: DType) -> Self {
        TensorType { dtype, shape: Vec::new() }
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Known extents, or `None` if a dimension is still a name.
    pub fn extents(&self) -> Option<Vec<u64>> {
        self.shape.iter().map(Dim::known).collect()
    }

    /// Number of elements, or `None` if a dimension is unbound or the product overflows.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |n, d| n.checked_mul(d.known()?))
    }

    /// Bytes of the whole tensor, or `None` as for [`TensorType::elements`].
    pub fn bytes(&self) -> Option<u64> {
        self.elements()?.checked_mul(self.dtype.size() as u64)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype)?;
        if !self.shape.is_empty() {
            let dims: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
            write!(f, "[{}]", dims.join(", "))?;
        }
        Ok(())
    }
}
