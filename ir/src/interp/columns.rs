//! Scalar code on many elements at once: the [`Emit`] that computes columns.

use crate::graph::expand::load;
use crate::kernel::{Emit, Scalar, ScalarOp, ScalarType, loaded_type};
use crate::tensor::Tensor;
use crate::types::DType;

/// Elements per column.
pub(super) const LANES: usize = 256;

/// One value for each lane. Lanes beyond the last element hold the leavings of earlier columns.
#[derive(Clone)]
enum Column {
    F32(Box<[f32; LANES]>),
    F64(Box<[f64; LANES]>),
    I32(Box<[i32; LANES]>),
    I64(Box<[i64; LANES]>),
    Bool(Box<[bool; LANES]>),
}

macro_rules! spare {
    ($name:ident, $t:ty, $zero:expr) => {
        fn $name(&mut self) -> Box<[$t; LANES]> {
            self.free.$name.pop().unwrap_or_else(|| Box::new([$zero; LANES]))
        }
    };
}

/// Memory of columns that are no longer needed.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "columns come and go without their lanes being copied")]
struct Free {
    f32s: Vec<Box<[f32; LANES]>>,
    f64s: Vec<Box<[f64; LANES]>>,
    i32s: Vec<Box<[i32; LANES]>>,
    i64s: Vec<Box<[i64; LANES]>>,
    bools: Vec<Box<[bool; LANES]>>,
}

/// Columns in the order they were computed; values are their numbers.
#[derive(Default)]
pub(super) struct Columns {
    columns: Vec<Column>,
    free: Free,
}

impl Columns {
    spare!(f32s, f32, 0.0);
    spare!(f64s, f64, 0.0);
    spare!(i32s, i32, 0);
    spare!(i64s, i64, 0);
    spare!(bools, bool, false);

    fn push(&mut self, c: Column) -> u32 {
        self.columns.push(c);
        self.columns.len() as u32 - 1
    }

    /// Forgets all columns but keeps their memory.
    pub fn clear(&mut self) {
        for c in self.columns.drain(..) {
            match c {
                Column::F32(b) => self.free.f32s.push(b),
                Column::F64(b) => self.free.f64s.push(b),
                Column::I32(b) => self.free.i32s.push(b),
                Column::I64(b) => self.free.i64s.push(b),
                Column::Bool(b) => self.free.bools.push(b),
            }
        }
    }

    /// Elements `at..at + n` of a tensor; `n` is at most [`LANES`]. `None` beyond its end.
    pub fn read(&mut self, t: &Tensor, at: usize, n: usize) -> Option<u32> {
        macro_rules! copy {
            ($spare:ident, $variant:ident, $t:ty, |$x:ident| $e:expr) => {{
                let from = t.as_slice::<$t>().get(at..at + n)?;
                let mut to = self.$spare();
                to.iter_mut().zip(from).for_each(|(to, $x)| *to = $e);
                Column::$variant(to)
            }};
        }
        let column = match t.dtype() {
            DType::F64 => copy!(f64s, F64, f64, |x| *x),
            DType::F32 => copy!(f32s, F32, f32, |x| *x),
            DType::F16 => copy!(f32s, F32, half::f16, |x| x.to_f32()),
            DType::BF16 => copy!(f32s, F32, half::bf16, |x| x.to_f32()),
            DType::I64 => copy!(i64s, I64, i64, |x| *x),
            DType::I32 => copy!(i32s, I32, i32, |x| *x),
            DType::I16 => copy!(i32s, I32, i16, |x| i32::from(*x)),
            DType::I8 => copy!(i32s, I32, i8, |x| i32::from(*x)),
            DType::U64 => copy!(i64s, I64, u64, |x| *x as i64),
            DType::U32 => copy!(i64s, I64, u32, |x| i64::from(*x)),
            DType::U16 => copy!(i32s, I32, u16, |x| i32::from(*x)),
            DType::U8 => copy!(i32s, I32, u8, |x| i32::from(*x)),
            DType::Bool => {
                let from = t.bytes().get(at..at + n)?;
                let mut to = self.bools();
                to.iter_mut().zip(from).for_each(|(to, x)| *to = *x != 0);
                Column::Bool(to)
            }
        };
        Some(self.push(column))
    }

    /// The only element of a rank-0 tensor in every lane.
    pub fn scalar(&mut self, t: &Tensor) -> Option<u32> {
        load(t, 0).map(|k| self.constant(k))
    }

    /// Writes the first `n` lanes of a column, which are in the range of the tensor's element type, to `at..at + n`.
    pub fn write(&self, v: u32, t: &mut Tensor, at: usize, n: usize) -> Option<()> {
        macro_rules! copy {
            ($from:ident, $t:ty, |$x:ident| $e:expr) => {
                t.as_mut_slice::<$t>().get_mut(at..at + n)?.iter_mut().zip($from.iter()).for_each(|(to, $x)| *to = $e)
            };
        }
        match (t.dtype(), self.columns.get(v as usize)?) {
            (DType::F64, Column::F64(c)) => copy!(c, f64, |x| *x),
            (DType::F32, Column::F32(c)) => copy!(c, f32, |x| *x),
            (DType::F16, Column::F32(c)) => copy!(c, half::f16, |x| half::f16::from_f32(*x)),
            (DType::BF16, Column::F32(c)) => copy!(c, half::bf16, |x| half::bf16::from_f32(*x)),
            (DType::I64, Column::I64(c)) => copy!(c, i64, |x| *x),
            (DType::I32, Column::I32(c)) => copy!(c, i32, |x| *x),
            (DType::I16, Column::I32(c)) => copy!(c, i16, |x| *x as i16),
            (DType::I8, Column::I32(c)) => copy!(c, i8, |x| *x as i8),
            (DType::U64, Column::I64(c)) => copy!(c, u64, |x| *x as u64),
            (DType::U32, Column::I64(c)) => copy!(c, u32, |x| *x as u32),
            (DType::U16, Column::I32(c)) => copy!(c, u16, |x| *x as u16),
            (DType::U8, Column::I32(c)) => copy!(c, u8, |x| *x as u8),
            (DType::Bool, Column::Bool(c)) => {
                t.bytes_mut().get_mut(at..at + n)?.iter_mut().zip(c.iter()).for_each(|(to, x)| *to = u8::from(*x));
            }
            (dtype, _) => {
                debug_assert!(false, "a column is not held as {:?}", loaded_type(dtype));
                return None;
            }
        }
        Some(())
    }
}

impl Emit for Columns {
    type Value = u32;

    fn constant(&mut self, k: Scalar) -> u32 {
        macro_rules! all {
            ($spare:ident, $variant:ident, $x:expr) => {{
                let mut c = self.$spare();
                c.fill($x);
                Column::$variant(c)
            }};
        }
        let column = match k {
            Scalar::F32(x) => all!(f32s, F32, x),
            Scalar::F64(x) => all!(f64s, F64, x),
            Scalar::I32(x) => all!(i32s, I32, x),
            Scalar::I64(x) => all!(i64s, I64, x),
            Scalar::Bool(x) => all!(bools, Bool, x),
        };
        self.push(column)
    }

    fn type_of(&self, v: u32) -> ScalarType {
        match &self.columns[v as usize] {
            Column::F32(_) => ScalarType::F32,
            Column::F64(_) => ScalarType::F64,
            Column::I32(_) => ScalarType::I32,
            Column::I64(_) => ScalarType::I64,
            Column::Bool(_) => ScalarType::Bool,
        }
    }

    /// The loops below are [`ScalarOp::eval`] for the operations that fill time; the others call it lane by lane. A test
    /// holds each against the definition.
    fn op(&mut self, op: ScalarOp, args: &[u32]) -> u32 {
        // The result's memory is taken out first, so that the operands can be borrowed beside it.
        let types = args.iter().map(|a| self.type_of(*a));
        let mut operand_types = [ScalarType::Bool; 3];
        operand_types.iter_mut().zip(types).for_each(|(slot, t)| *slot = t);
        let Some(ty) = op.result_type(&operand_types[..args.len()]) else {
            panic!("{op} does not take {:?}", &operand_types[..args.len()]);
        };
        let mut out = match ty {
            ScalarType::F32 => Column::F32(self.f32s()),
            ScalarType::F64 => Column::F64(self.f64s()),
            ScalarType::I32 => Column::I32(self.i32s()),
            ScalarType::I64 => Column::I64(self.i64s()),
            ScalarType::Bool => Column::Bool(self.bools()),
        };
        let arg = |k: usize| &self.columns[args[k] as usize];
        let unary = (arg(0), &mut out);
        macro_rules! lanes {
            ($out:ident, |$x:ident = $a:ident| $e:expr) => {
                for k in 0..LANES {
                    let $x = $a[k];
                    $out[k] = $e;
                }
            };
            ($out:ident, |$x:ident = $a:ident, $y:ident = $b:ident| $e:expr) => {
                for k in 0..LANES {
                    let ($x, $y) = ($a[k], $b[k]);
                    $out[k] = $e;
                }
            };
        }
        macro_rules! two {
            ([$($variant:ident),*], |$x:ident, $y:ident| $e:expr) => {
                match (arg(0), arg(1), &mut out) {
                    $((Column::$variant(a), Column::$variant(b), Column::$variant(o)) => {
                        lanes!(o, |$x = a, $y = b| $e);
                        true
                    })*
                    _ => false,
                }
            };
        }
        macro_rules! compare {
            ([$($variant:ident),*], |$x:ident, $y:ident| $e:expr) => {
                match (arg(0), arg(1), &mut out) {
                    $((Column::$variant(a), Column::$variant(b), Column::Bool(o)) => {
                        lanes!(o, |$x = a, $y = b| $e);
                        true
                    })*
                    _ => false,
                }
            };
        }
        macro_rules! one {
            ($from:ident => $to:ident, |$x:ident| $e:expr) => {
                match unary {
                    (Column::$from(a), Column::$to(o)) => {
                        lanes!(o, |$x = a| $e);
                        true
                    }
                    _ => false,
                }
            };
        }
        let done = match op {
            ScalarOp::FAdd => two!([F32, F64], |x, y| x + y),
            ScalarOp::FSub => two!([F32, F64], |x, y| x - y),
            ScalarOp::FMul => two!([F32, F64], |x, y| x * y),
            ScalarOp::FDiv => two!([F32, F64], |x, y| x / y),
            ScalarOp::IAdd => two!([I32, I64], |x, y| x.wrapping_add(y)),
            ScalarOp::ISub => two!([I32, I64], |x, y| x.wrapping_sub(y)),
            ScalarOp::IMul => two!([I32, I64], |x, y| x.wrapping_mul(y)),
            ScalarOp::IDiv => two!([I32, I64], |x, y| if y == 0 { 0 } else { x.wrapping_div(y) }),
            ScalarOp::IRem => two!([I32, I64], |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
            ScalarOp::Shl => two!([I32, I64], |x, y| x.wrapping_shl(y as u32)),
            ScalarOp::ShrS => two!([I32, I64], |x, y| x.wrapping_shr(y as u32)),
            ScalarOp::And => two!([Bool, I32, I64], |x, y| x & y),
            ScalarOp::Or => two!([Bool, I32, I64], |x, y| x | y),
            ScalarOp::Xor => two!([Bool, I32, I64], |x, y| x ^ y),
            ScalarOp::FEq => compare!([F32, F64], |x, y| x == y),
            ScalarOp::FNe => compare!([F32, F64], |x, y| x != y),
            ScalarOp::FLt => compare!([F32, F64], |x, y| x < y),
            ScalarOp::FLe => compare!([F32, F64], |x, y| x <= y),
            ScalarOp::FGt => compare!([F32, F64], |x, y| x > y),
            ScalarOp::FGe => compare!([F32, F64], |x, y| x >= y),
            ScalarOp::FUno => compare!([F32, F64], |x, y| x.is_nan() | y.is_nan()),
            ScalarOp::IEq => compare!([I32, I64], |x, y| x == y),
            ScalarOp::INe => compare!([I32, I64], |x, y| x != y),
            ScalarOp::ILt => compare!([I32, I64], |x, y| x < y),
            ScalarOp::ILe => compare!([I32, I64], |x, y| x <= y),
            ScalarOp::IGt => compare!([I32, I64], |x, y| x > y),
            ScalarOp::IGe => compare!([I32, I64], |x, y| x >= y),
            ScalarOp::Not => one!(Bool => Bool, |x| !x),
            ScalarOp::UMulHi => match (arg(0), arg(1), &mut out) {
                (Column::I32(a), Column::I32(b), Column::I32(o)) => {
                    lanes!(o, |x = a, y = b| ((u64::from(x as u32) * u64::from(y as u32)) >> 32) as u32 as i32);
                    true
                }
                _ => false,
            },
            ScalarOp::ShrU => match (arg(0), arg(1), &mut out) {
                (Column::I32(a), Column::I32(b), Column::I32(o)) => {
                    lanes!(o, |x = a, y = b| (x as u32).wrapping_shr(y as u32) as i32);
                    true
                }
                (Column::I64(a), Column::I64(b), Column::I64(o)) => {
                    lanes!(o, |x = a, y = b| (x as u64).wrapping_shr(y as u32) as i64);
                    true
                }
                _ => false,
            },
            ScalarOp::Fma => match (arg(0), arg(1), arg(2), &mut out) {
                (Column::F32(a), Column::F32(b), Column::F32(c), Column::F32(o)) => {
                    for k in 0..LANES {
                        o[k] = a[k].mul_add(b[k], c[k]);
                    }
                    true
                }
                _ => false,
            },
            ScalarOp::Select => {
                macro_rules! select {
                    ($($variant:ident),*) => {
                        match (arg(0), arg(1), arg(2), &mut out) {
                            $((Column::Bool(c), Column::$variant(a), Column::$variant(b), Column::$variant(o)) => {
                                for k in 0..LANES {
                                    o[k] = if c[k] { a[k] } else { b[k] };
                                }
                                true
                            })*
                            _ => false,
                        }
                    };
                }
                select!(F32, F64, I32, I64, Bool)
            }
            ScalarOp::I64ToI32 => one!(I64 => I32, |x| x as i32),
            ScalarOp::I32ToI64 => one!(I32 => I64, |x| i64::from(x)),
            ScalarOp::I32ToF32 => one!(I32 => F32, |x| x as f32),
            ScalarOp::I64ToF32 => one!(I64 => F32, |x| x as f32),
            ScalarOp::F32Bits => one!(F32 => I32, |x| x.to_bits() as i32),
            ScalarOp::BitsF32 => one!(I32 => F32, |x| f32::from_bits(x as u32)),
            ScalarOp::FNeg
            | ScalarOp::FAbs
            | ScalarOp::FSqrt
            | ScalarOp::Floor
            | ScalarOp::Ceil
            | ScalarOp::Trunc
            | ScalarOp::Nearest
            | ScalarOp::ULt
            | ScalarOp::F32ToF64
            | ScalarOp::F64ToF32
            | ScalarOp::I32ToF64
            | ScalarOp::I64ToF64
            | ScalarOp::F32ToI32
            | ScalarOp::F32ToI64
            | ScalarOp::F64ToI32
            | ScalarOp::F64ToI64
            | ScalarOp::U32ToI64
            | ScalarOp::F64Bits
            | ScalarOp::BitsF64
            | ScalarOp::BoolToI32 => false,
        };
        if !done {
            for k in 0..LANES {
                let mut scalars = [Scalar::Bool(false); 3];
                scalars.iter_mut().zip(args).for_each(|(s, a)| *s = lane(&self.columns[*a as usize], k));
                set_lane(&mut out, k, op.eval(&scalars[..args.len()]));
            }
        }
        self.push(out)
    }
}

fn lane(c: &Column, k: usize) -> Scalar {
    match c {
        Column::F32(c) => Scalar::F32(c[k]),
        Column::F64(c) => Scalar::F64(c[k]),
        Column::I32(c) => Scalar::I32(c[k]),
        Column::I64(c) => Scalar::I64(c[k]),
        Column::Bool(c) => Scalar::Bool(c[k]),
    }
}

fn set_lane(c: &mut Column, k: usize, x: Scalar) {
    match (c, x) {
        (Column::F32(c), Scalar::F32(x)) => c[k] = x,
        (Column::F64(c), Scalar::F64(x)) => c[k] = x,
        (Column::I32(c), Scalar::I32(x)) => c[k] = x,
        (Column::I64(c), Scalar::I64(x)) => c[k] = x,
        (Column::Bool(c), Scalar::Bool(x)) => c[k] = x,
        (_, x) => debug_assert!(false, "a lane is not of type {}", x.ty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOATS: [f64; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        2.5,
        1e-310,
        1e-40,
        3e38,
        -3e38,
        1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        0.1,
        -7.25,
        65520.0,
    ];
    const INTS: [i64; 16] =
        [0, 1, -1, 2, -7, 31, 32, 63, 64, 255, -256, i64::MAX, i64::MIN, 1 << 31, -(1 << 31), 0x1234_5678_9abc_def0];

    /// All pairs of interesting values in the lanes of two columns, and a third beside them.
    fn operand(ty: ScalarType, which: usize, k: usize) -> Scalar {
        let at = [k % 16, k / 16, (k * 7 + k / 16) % 16][which];
        match ty {
            ScalarType::F32 => Scalar::F32(FLOATS[at] as f32),
            ScalarType::F64 => Scalar::F64(FLOATS[at]),
            ScalarType::I32 => Scalar::I32(INTS[at] as i32),
            ScalarType::I64 => Scalar::I64(INTS[at]),
            ScalarType::Bool => Scalar::Bool(at % 2 == 1),
        }
    }

    #[test]
    fn every_operation_is_the_definition_in_each_lane() {
        let mut tried = 0;
        for op in ScalarOp::ALL {
            for a in ScalarType::ALL {
                for b in ScalarType::ALL {
                    let types = [a, b, b];
                    let types = &types[..op.arity()];
                    if op.result_type(types).is_none() {
                        continue;
                    }
                    tried += 1;
                    let mut columns = Columns::default();
                    let args: Vec<u32> = types
                        .iter()
                        .enumerate()
                        .map(|(which, ty)| {
                            let v = columns.constant(operand(*ty, which, 0));
                            (0..LANES)
                                .for_each(|k| set_lane(&mut columns.columns[v as usize], k, operand(*ty, which, k)));
                            v
                        })
                        .collect();
                    let v = columns.op(*op, &args);
                    for k in 0..LANES {
                        let scalars: Vec<Scalar> =
                            types.iter().enumerate().map(|(which, ty)| operand(*ty, which, k)).collect();
                        let (found, expected) = (lane(&columns.columns[v as usize], k), op.eval(&scalars));
                        assert!(found.same(expected), "{op} {scalars:?}: {found:?}, expected {expected:?}");
                    }
                }
            }
        }
        assert!(tried >= ScalarOp::ALL.len());
    }
}
