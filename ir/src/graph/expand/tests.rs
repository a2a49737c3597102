//! Every integer type against arithmetic in 128 bits, at its edges; conversions against exact rounding.

use super::{elementwise, load};
use crate::graph::Op;
use crate::interp::register::put;
use crate::kernel::{Evaluate, Scalar};
use crate::tensor::Tensor;
use crate::types::DType;

const INTS: [DType; 8] = [DType::I64, DType::I32, DType::I16, DType::I8, DType::U64, DType::U32, DType::U16, DType::U8];

/// The register that holds an integer of a type, by way of memory.
fn held(dtype: DType, x: i128) -> Scalar {
    let t = Tensor::from_bytes(dtype, vec![], &x.to_le_bytes()[..dtype.size()]).expect("one element");
    load(&t, 0).expect("one element")
}

/// The integer that a register of this type holds; the register must be in the range of the type.
fn value(dtype: DType, x: Scalar) -> i128 {
    let mut t = Tensor::zeros(dtype, vec![]);
    put(&mut t, 0, x);
    assert!(load(&t, 0) == Some(x), "{x:?} is out of the range of {dtype}");
    t.get_int(0).expect("an integer or a truth value")
}

fn wrapped(dtype: DType, x: i128) -> i128 {
    value(dtype, held(dtype, x))
}

fn run(op: &Op, args: &[Scalar], dtype: DType, result: DType) -> Scalar {
    elementwise(&mut Evaluate, op, args, &vec![dtype; args.len()], result)
}

/// Ends of the type and of the narrower types, and what lies beside them.
fn edges(dtype: DType) -> Vec<i128> {
    let (lo, hi) = dtype.int_range().expect("an integer type");
    let mut all = vec![lo, lo + 1, lo / 2, hi / 2, hi / 2 + 1, hi - 1, hi];
    all.extend([-129, -128, -7, -2, -1, 0, 1, 2, 3, 7, 8, 10, 31, 32, 63, 64, 100, 127, 128, 255, 256, 65535, 65536]);
    all.extend([31, 32, 63].iter().flat_map(|k| [(1 << k) - 1, 1 << k, (1i128 << k) + 1]));
    all.retain(|x| *x >= lo && *x <= hi);
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn arithmetic_of_every_integer_type_wraps_and_never_traps() {
    type Reference = fn(i128, i128, u32) -> i128;
    let table: [(Op, Reference); 12] = [
        (Op::Add, |a, b, _| a + b),
        (Op::Sub, |a, b, _| a - b),
        (Op::Mul, |a, b, _| a.wrapping_mul(b)),
        (Op::Div, |a, b, _| if b == 0 { 0 } else { a / b }),
        (Op::Rem, |a, b, _| if b == 0 { 0 } else { a % b }),
        (Op::Min, |a, b, _| a.min(b)),
        (Op::Max, |a, b, _| a.max(b)),
        (Op::And, |a, b, _| a & b),
        (Op::Or, |a, b, _| a | b),
        (Op::Xor, |a, b, _| a ^ b),
        (Op::Shl, |a, b, w| a.wrapping_shl(b.rem_euclid(i128::from(w)) as u32)),
        (Op::Shr, |a, b, w| a >> b.rem_euclid(i128::from(w))),
    ];
    for dtype in INTS {
        let width = 8 * dtype.size() as u32;
        for (op, reference) in &table {
            for a in edges(dtype) {
                for b in edges(dtype) {
                    let got = value(dtype, run(op, &[held(dtype, a), held(dtype, b)], dtype, dtype));
                    let want = wrapped(dtype, reference(a, b, width));
                    assert_eq!(got, want, "{dtype} {} of {a} and {b}", op.info().name);
                }
            }
        }
    }
}

#[test]
fn comparisons_and_unary_ops_of_every_integer_type() {
    type Relation = fn(&i128, &i128) -> bool;
    type Function = fn(i128) -> i128;
    let compare: [(Op, Relation); 6] = [
        (Op::Eq, i128::eq),
        (Op::Ne, i128::ne),
        (Op::Lt, i128::lt),
        (Op::Le, i128::le),
        (Op::Gt, i128::gt),
        (Op::Ge, i128::ge),
    ];
    let unary: [(Op, Function); 3] = [(Op::Neg, |x| -x), (Op::Abs, i128::abs), (Op::Not, |x| !x)];
    for dtype in INTS {
        for a in edges(dtype) {
            for b in edges(dtype) {
                for (op, reference) in &compare {
                    let got = run(op, &[held(dtype, a), held(dtype, b)], dtype, DType::Bool);
                    assert_eq!(got, Scalar::Bool(reference(&a, &b)), "{dtype} {} of {a} and {b}", op.info().name);
                }
            }
            for (op, reference) in &unary {
                let got = value(dtype, run(op, &[held(dtype, a)], dtype, dtype));
                assert_eq!(got, wrapped(dtype, reference(a)), "{dtype} {} of {a}", op.info().name);
            }
        }
    }
}

/// An integer rounded to nearest even in a format with `precision` bits and no value from `infinity` on.
fn rounded(x: i128, precision: u32, infinity: f64) -> f64 {
    let n = x.unsigned_abs();
    let drop = (128 - n.leading_zeros()).saturating_sub(precision);
    let (kept, rest) = (n >> drop, n & ((1 << drop) - 1));
    let half = if drop == 0 { 1 } else { 1 << (drop - 1) };
    let up = rest > half || rest == half && kept & 1 == 1;
    let y = (kept + u128::from(up)) as f64 * 2f64.powi(drop as i32);
    let y = if y >= infinity { f64::INFINITY } else { y };
    if x < 0 { -y } else { y }
}

fn as_f64(dtype: DType, x: Scalar) -> f64 {
    let mut t = Tensor::zeros(dtype, vec![]);
    put(&mut t, 0, x);
    assert!(load(&t, 0).is_some_and(|y| y.same(x)), "{x:?} is no {dtype}");
    t.get_f64(0)
}

#[test]
fn integers_become_floats_with_one_rounding() {
    let formats = [
        (DType::F64, 53, f64::INFINITY),
        (DType::F32, 24, 2f64.powi(128)),
        (DType::BF16, 8, 2f64.powi(128)),
        (DType::F16, 11, 65536.0),
    ];
    for dtype in INTS {
        let (lo, hi) = dtype.int_range().expect("an integer type");
        let mut all = edges(dtype);
        // Half-way cases of every format at every exponent, with an even and an odd last place, and their neighbours.
        for k in 0..64u32 {
            for precision in [8, 11, 24, 53] {
                let place = |n: u32| (k + n).checked_sub(precision).map_or(0, |at| 1i128 << at);
                for tie in [(1 << k) + place(0), (1 << k) + place(0) + place(1), (1 << k) + place(0) + place(2)] {
                    all.extend([-tie - 1, -tie, 1 - tie, tie - 1, tie, tie + 1]);
                }
            }
        }
        all.extend([65503, 65504, 65519, 65520, 65521]);
        all.retain(|x| *x >= lo && *x <= hi);
        for x in all {
            for (to, precision, infinity) in formats {
                let got = as_f64(to, run(&Op::Cast { to }, &[held(dtype, x)], dtype, to));
                assert_eq!(got, rounded(x, precision, infinity), "{dtype} {x} as {to}");
            }
        }
    }
}

#[test]
fn floats_become_integers_toward_zero_and_saturate() {
    let mut all: Vec<f64> =
        vec![0.0, -0.0, 0.5, 0.999, -0.999, -1.0, 1.5, 2.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    all.extend([1e-320, 1e300, -1e300, 65504.0, 3e38]);
    for k in [7, 8, 15, 16, 31, 32, 52, 53, 62, 63, 64] {
        let edge = 2f64.powi(k);
        let beside = [f64::from_bits(edge.to_bits() - 1), edge, f64::from_bits(edge.to_bits() + 1)];
        let narrow = f32::from_bits((edge as f32).to_bits() - 1);
        all.extend(beside.into_iter().chain([edge - 0.5, edge + 0.5, f64::from(narrow)]).flat_map(|x| [x, -x]));
    }
    for from in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        for x in &all {
            let x = run(&Op::Cast { to: from }, &[Scalar::F64(*x)], DType::F64, from);
            let exact = as_f64(from, x);
            for dtype in INTS {
                let (lo, hi) = dtype.int_range().expect("an integer type");
                let got = value(dtype, run(&Op::Cast { to: dtype }, &[x], from, dtype));
                assert_eq!(got, (exact as i128).clamp(lo, hi), "{from} {exact:?} as {dtype}");
            }
        }
    }
}

#[test]
fn bits_are_kept_between_types_of_one_width() {
    let pairs = [
        (Scalar::F32(-1.5), DType::F32, DType::I32, 0xbfc0_0000u32 as i32 as i128),
        (Scalar::F32(-1.5), DType::F32, DType::U32, 0xbfc0_0000),
        (Scalar::F64(-2.0), DType::F64, DType::I64, i128::from(0xc000_0000_0000_0000u64 as i64)),
        (Scalar::F64(-2.0), DType::F64, DType::U64, 0xc000_0000_0000_0000),
        (held(DType::I8, -1), DType::I8, DType::U8, 255),
        (held(DType::U16, 0x8001), DType::U16, DType::I16, -0x7fff),
    ];
    for (x, from, to, bits) in pairs {
        let y = run(&Op::Bitcast { to }, &[x], from, to);
        assert_eq!(value(to, y), bits, "{from} as {to}");
        assert_eq!(run(&Op::Bitcast { to: from }, &[y], to, from), x, "{to} as {from}");
    }
}

#[test]
fn integers_and_truth_values_convert_into_each_other() {
    for from in INTS {
        for x in edges(from) {
            for to in INTS {
                let got = value(to, run(&Op::Cast { to }, &[held(from, x)], from, to));
                assert_eq!(got, wrapped(to, x), "{from} {x} as {to}");
            }
            let truth = run(&Op::Cast { to: DType::Bool }, &[held(from, x)], from, DType::Bool);
            assert_eq!(truth, Scalar::Bool(x != 0), "{from} {x}");
        }
        for x in [false, true] {
            let got = run(&Op::Cast { to: from }, &[Scalar::Bool(x)], DType::Bool, from);
            assert_eq!(value(from, got), i128::from(x));
        }
    }
}
