//! What a value of the kernel IR is while code for it is being emitted.

use cranelift_codegen::ir::Value;
use nc_ir::kernel::{Scalar, ScalarType};

/// Most terms of a [`Lin`]; longer sums are computed into one value.
pub(crate) const MAX_TERMS: usize = 4;

/// An `i64` as a sum `terms + k + lane * l`, modulo 2^64, where l is the number of the vector lane. Nothing is emitted
/// until the sum is needed, so that constants end up in displacements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lin {
    len: u8,
    terms: [(Value, i64); MAX_TERMS],
    /// Constant part.
    pub k: i64,
    /// Difference between one lane and the next.
    pub lane: i64,
}

impl Lin {
    /// A constant.
    pub fn constant(k: i64) -> Lin {
        Lin { len: 0, terms: [(Value::from_u32(0), 0); MAX_TERMS], k, lane: 0 }
    }

    /// A value that is the same in all lanes.
    pub fn of(v: Value) -> Lin {
        let mut l = Lin::constant(0);
        l.terms[0] = (v, 1);
        l.len = 1;
        l
    }

    /// The values and their factors.
    pub fn terms(&self) -> &[(Value, i64)] {
        &self.terms[..self.len as usize]
    }

    /// The number, if it is one.
    pub fn known(&self) -> Option<i64> {
        (self.len == 0 && self.lane == 0).then_some(self.k)
    }

    /// This plus a constant.
    pub fn plus(mut self, k: i64) -> Lin {
        self.k = self.k.wrapping_add(k);
        self
    }

    /// This in the lanes of group `u`, four lanes to a group.
    pub fn group(self, u: usize) -> Lin {
        self.plus(self.lane.wrapping_mul(4 * u as i64))
    }

    /// This in lane `l`, the same in all lanes.
    pub fn at_lane(mut self, l: usize) -> Lin {
        self.k = self.k.wrapping_add(self.lane.wrapping_mul(l as i64));
        self.lane = 0;
        self
    }

    /// The terms alone.
    pub fn base(mut self) -> Lin {
        (self.k, self.lane) = (0, 0);
        self
    }

    /// This without what varies with the lane.
    pub fn uniform(mut self) -> Lin {
        self.lane = 0;
        self
    }

    /// This times a constant.
    pub fn times(mut self, c: i64) -> Lin {
        self.k = self.k.wrapping_mul(c);
        self.lane = self.lane.wrapping_mul(c);
        let mut len = 0;
        for n in 0..self.len as usize {
            let (v, f) = self.terms[n];
            let f = f.wrapping_mul(c);
            if f != 0 {
                self.terms[len] = (v, f);
                len += 1;
            }
        }
        self.len = len as u8;
        self
    }

    /// The sum, or `None` if it has too many terms.
    pub fn add(mut self, other: &Lin) -> Option<Lin> {
        self.k = self.k.wrapping_add(other.k);
        self.lane = self.lane.wrapping_add(other.lane);
        for &(v, f) in other.terms() {
            let len = self.len as usize;
            match self.terms[..len].iter().position(|t| t.0 == v) {
                Some(at) => {
                    let sum = self.terms[at].1.wrapping_add(f);
                    if sum == 0 {
                        self.terms[at] = self.terms[len - 1];
                        self.len -= 1;
                    } else {
                        self.terms[at].1 = sum;
                    }
                }
                None if len < MAX_TERMS => {
                    self.terms[len] = (v, f);
                    self.len += 1;
                }
                None => return None,
            }
        }
        Some(self)
    }
}

/// A value in the four lanes of one group, or in the one lane of scalar code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    /// A constant that is not `i64`.
    Const(Scalar),
    /// The same in all lanes; not `i64`. A `bool` is an `i8` of 0 or 1.
    One(ScalarType, Value),
    /// An `i64` that is linear in the lane.
    Lin(Lin),
    /// Four lanes of 32 bits; a `bool` is all ones or all zeros.
    V4(ScalarType, Value),
    /// Two times two lanes of 64 bits.
    V22(ScalarType, [Value; 2]),
}

impl Cell {
    /// The type of a lane.
    pub fn ty(&self) -> ScalarType {
        match self {
            Cell::Const(k) => k.ty(),
            Cell::One(ty, _) | Cell::V4(ty, _) | Cell::V22(ty, _) => *ty,
            Cell::Lin(_) => ScalarType::I64,
        }
    }

    /// True if all lanes are the same.
    pub fn is_uniform(&self) -> bool {
        match self {
            Cell::Const(_) | Cell::One(..) => true,
            Cell::Lin(l) => l.lane == 0,
            Cell::V4(..) | Cell::V22(..) => false,
        }
    }

    /// The number, if it is known.
    pub fn known(&self) -> Option<Scalar> {
        match self {
            Cell::Const(k) => Some(*k),
            Cell::Lin(l) => l.known().map(Scalar::I64),
            Cell::One(..) | Cell::V4(..) | Cell::V22(..) => None,
        }
    }

    /// A constant of any type.
    pub fn constant(k: Scalar) -> Cell {
        match k {
            Scalar::I64(k) => Cell::Lin(Lin::constant(k)),
            Scalar::F32(_) | Scalar::F64(_) | Scalar::I32(_) | Scalar::Bool(_) => Cell::Const(k),
        }
    }
}

/// A value of the kernel in all groups.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// Not defined here.
    Undefined,
    /// One cell for all groups; its lanes may still differ if it is linear.
    Same(Cell),
    /// One cell per group.
    Each(Vec<Cell>),
}
