//! What an HDF5 file of the kind that NIR uses holds: groups of named arrays and texts.

use std::fmt;

/// Element types of stored arrays. Narrower than HDF5's: these are what NumPy writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Elem {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// One byte, 0 or 1.
    Bool,
}

impl Elem {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Elem::I8 | Elem::U8 | Elem::Bool => 1,
            Elem::F16 | Elem::I16 | Elem::U16 => 2,
            Elem::F32 | Elem::I32 | Elem::U32 => 4,
            Elem::F64 | Elem::I64 | Elem::U64 => 8,
        }
    }

    /// True for whole numbers, `bool` not among them.
    pub const fn is_int(self) -> bool {
        !matches!(self, Elem::F16 | Elem::F32 | Elem::F64 | Elem::Bool)
    }

    /// NumPy's name.
    pub const fn name(self) -> &'static str {
        match self {
            Elem::F16 => "float16",
            Elem::F32 => "float32",
            Elem::F64 => "float64",
            Elem::I8 => "int8",
            Elem::I16 => "int16",
            Elem::I32 => "int32",
            Elem::I64 => "int64",
            Elem::U8 => "uint8",
            Elem::U16 => "uint16",
            Elem::U32 => "uint32",
            Elem::U64 => "uint64",
            Elem::Bool => "bool",
        }
    }
}

/// A dense, row-major array. The number of bytes is that of the type and shape.
#[derive(Clone, PartialEq, Eq)]
pub struct Array {
    /// Element type.
    pub elem: Elem,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little-endian elements.
    pub bytes: Vec<u8>,
}

impl Array {
    /// An array of `float32`, or `None` if the count does not match the shape.
    pub fn from_f32(shape: Vec<usize>, data: &[f32]) -> Option<Array> {
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        (shape.iter().product::<usize>() == data.len()).then_some(Array { elem: Elem::F32, shape, bytes })
    }

    /// An array of `int64`, or `None` if the count does not match the shape.
    pub fn from_i64(shape: Vec<usize>, data: &[i64]) -> Option<Array> {
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        (shape.iter().product::<usize>() == data.len()).then_some(Array { elem: Elem::I64, shape, bytes })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.elem.size()
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Element `k` widened to `f64`; exact but for whole numbers beyond 2^53. `None` behind the end.
    pub fn get(&self, k: usize) -> Option<f64> {
        let size = self.elem.size();
        let b = self.bytes.get(k.checked_mul(size)?..k.checked_add(1)?.checked_mul(size)?)?;
        let mut wide = [0u8; 8];
        wide[..size].copy_from_slice(b);
        let raw = u64::from_le_bytes(wide);
        Some(match self.elem {
            Elem::F16 => half::f16::from_bits(raw as u16).to_f64(),
            Elem::F32 => f64::from(f32::from_bits(raw as u32)),
            Elem::F64 => f64::from_bits(raw),
            Elem::I8 => f64::from(raw as u8 as i8),
            Elem::I16 => f64::from(raw as u16 as i16),
            Elem::I32 => f64::from(raw as u32 as i32),
            Elem::I64 => raw as i64 as f64,
            Elem::U8 | Elem::U16 | Elem::U32 | Elem::U64 => raw as f64,
            Elem::Bool => f64::from(u8::from(raw != 0)),
        })
    }

    /// All elements widened to `f64`.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.len()).map(|k| self.get(k).unwrap_or(f64::NAN))
    }

    /// The elements as whole numbers, or `None` if one is none (`2.0` is one).
    pub fn ints(&self) -> Option<Vec<i64>> {
        self.values().map(|x| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64)).collect()
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.elem.name(), self.shape)
    }
}

/// Something under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// An array of numbers or truth values.
    Array(Array),
    /// One text.
    Text(String),
    /// Texts with the extents of their array.
    Texts(Vec<usize>, Vec<String>),
    /// More names.
    Group(Group),
}

/// Names and what they hold, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group(pub Vec<(String, Value)>);

impl Group {
    /// What stands under a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The text under a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(t)) => Some(t),
            // A text may stand in an array of one element.
            Some(Value::Texts(_, list)) if list.len() == 1 => Some(&list[0]),
            _ => None,
        }
    }

    /// Adds a name.
    pub fn put(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }
}
