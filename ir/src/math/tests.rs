//! Accuracy, special values, and agreement of the ways to evaluate.

use std::fmt::Write as _;

use expect_test::expect;

use super::*;
use crate::kernel::{Evaluate, Scalar, ScalarType};

/// A function of one argument: its name, its recording, its evaluation.
type Unary = (&'static str, fn(&mut Tape, u32) -> u32, fn(&mut Evaluate, Scalar) -> Scalar);

macro_rules! unary {
    ($($f:ident),*) => { [$((stringify!($f), $f::<Tape>, $f::<Evaluate>)),*] };
}

const UNARY: [Unary; 19] = unary![
    exp, expm1, log, log1p, tanh, sigmoid, softplus, erf, gelu, sin, cos, tan, asin, acos, atan, sin_turns, cos_turns,
    round_f16, round_bf16
];

fn eval(name: &str) -> fn(&mut Evaluate, Scalar) -> Scalar {
    UNARY.iter().find(|f| f.0 == name).map(|f| f.2).expect("a function in the table")
}

fn f32_of(f: fn(&mut Evaluate, Scalar) -> Scalar, x: f32) -> f32 {
    match f(&mut Evaluate, Scalar::F32(x)) {
        Scalar::F32(y) => y,
        other => panic!("{other:?}"),
    }
}

fn f64_of(f: fn(&mut Evaluate, Scalar) -> Scalar, x: f64) -> f64 {
    match f(&mut Evaluate, Scalar::F64(x)) {
        Scalar::F64(y) => y,
        other => panic!("{other:?}"),
    }
}

fn pow32(x: f32, y: f32) -> f32 {
    match pow(&mut Evaluate, Scalar::F32(x), Scalar::F32(y)) {
        Scalar::F32(z) => z,
        other => panic!("{other:?}"),
    }
}

fn pow64(x: f64, y: f64) -> f64 {
    match pow(&mut Evaluate, Scalar::F64(x), Scalar::F64(y)) {
        Scalar::F64(z) => z,
        other => panic!("{other:?}"),
    }
}

/// The error in units in the last place of the true value; infinite if one is NaN or the signs differ.
fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got.is_sign_negative() != want.is_sign_negative() {
        return f64::INFINITY;
    }
    let limit = 128f64.exp2();
    let (got, want) = (f64::from(got).clamp(-limit, limit), want.clamp(-limit, limit));
    let exponent = ((want.to_bits() >> 52) & 0x7ff).clamp(1023 - 126, 1023 + 127);
    (got - want).abs() * f64::from_bits((2 * 1023 + 23 - exponent) << 52)
}

/// A small generator of bits for samples (SplitMix64).
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Patterns of every sign and exponent with significands at the edges and between, small integers, and random ones.
fn sample() -> Vec<u32> {
    let mut bits = Bits(7);
    let mut all = Vec::new();
    for top in 0..512u32 {
        for low in [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x7f_fffe, 0x7f_ffff, 0x35_04f3, 0x35_04f2, 0x49_0fdb] {
            all.push(top << 23 | low);
        }
        // Exponents where the functions have their shape are sampled more densely.
        let dense = (0x70..0x8a).contains(&(top & 0xff));
        for _ in 0..if dense { 2000 } else { 60 } {
            all.push(top << 23 | (bits.next() as u32 & 0x7f_ffff));
        }
    }
    all.extend((-200..200).map(|i| (i as f32).to_bits()));
    all.extend((0..2000).map(|i| (i as f32 * std::f32::consts::FRAC_PI_2).to_bits()));
    all
}

fn reference(name: &str) -> fn(f64) -> f64 {
    match name {
        "exp" => f64::exp,
        "expm1" => f64::exp_m1,
        "log" => f64::ln,
        "log1p" => f64::ln_1p,
        "tanh" => f64::tanh,
        "sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "softplus" => |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        // The binary64 function, which is tested against true values below.
        "erf" => |x| f64_of(erf::<Evaluate>, x),
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        other => panic!("{other}"),
    }
}

/// The worst error of each binary32 function over the sample, by the block evaluator.
#[test]
fn binary32_is_within_two_ulp() {
    let sample = sample();
    let mut report = String::new();
    for name in [
        "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "sin", "cos", "tan", "asin", "acos",
        "atan",
    ] {
        let (f, reference) = (UNARY.iter().find(|f| f.0 == name).expect("listed").1, reference(name));
        let mut tape = Tape::new();
        let x = tape.input(ScalarType::F32);
        let y = f(&mut tape, x);
        let mut block = Block::new(&tape).expect("32-bit operations only");
        let mut worst = (0.0, 0.0);
        for part in sample.chunks(LANES) {
            block.lanes(x)[..part.len()].copy_from_slice(part);
            block.run();
            for (x, y) in part.iter().zip(*block.lanes(y)) {
                let x = f32::from_bits(*x);
                let error = ulps(f32::from_bits(y), reference(f64::from(x)));
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        assert!(worst.0 <= 2.0, "{name}({:?}) is {} ulp off", worst.1, worst.0);
        let _ = writeln!(report, "{name}: {:.1}", worst.0);
    }
    expect![[r#"
        exp: 1.0
        expm1: 1.2
        log: 0.7
        log1p: 1.3
        tanh: 1.6
        sigmoid: 1.6
        softplus: 1.5
        erf: 0.9
        sin: 1.0
        cos: 1.1
        tan: 1.1
        asin: 1.6
        acos: 1.0
        atan: 1.6
    "#]]
    .assert_eq(&report);
}

/// The block evaluator and the interpreter give the same bits.
#[test]
fn block_agrees_with_evaluate() {
    let sample: Vec<u32> = sample().into_iter().step_by(29).collect();
    for (name, record, evaluate) in UNARY {
        let mut tape = Tape::new();
        let x = tape.input(ScalarType::F32);
        let y = record(&mut tape, x);
        let mut block = Block::new(&tape).expect("32-bit operations only");
        for part in sample.chunks(LANES) {
            block.lanes(x)[..part.len()].copy_from_slice(part);
            block.run();
            for (x, y) in part.iter().zip(*block.lanes(y)) {
                let x = Scalar::F32(f32::from_bits(*x));
                let want = evaluate(&mut Evaluate, x);
                assert!(want.same(Scalar::F32(f32::from_bits(y))), "{name} of {x:?}: {want:?}");
            }
        }
    }
}

/// True values from `derive.py`: name, arguments and nearest result as bits, distance of the result in ulps.
#[test]
fn binary64_is_within_two_ulp() {
    let mut worst: Vec<(&str, f64)> = Vec::new();
    for line in include_str!("reference.txt").lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a word");
        let name = word();
        let mut float = || f64::from_bits(u64::from_str_radix(word(), 16).expect("hexadecimal"));
        let got = if name == "pow" { pow64(float(), float()) } else { f64_of(eval(name), float()) };
        let want = float();
        let rest: f64 = word().parse().expect("a number");
        let apart = got.to_bits().wrapping_sub(want.to_bits()) as i64 as f64;
        let error = (apart - if want < 0.0 { -rest } else { rest }).abs();
        assert!(error <= 2.0, "{line}: got {got:?} instead of {want:?}");
        match worst.iter_mut().find(|w| w.0 == name) {
            Some(w) => w.1 = w.1.max(error),
            None => worst.push((name, error)),
        }
    }
    let mut report = String::new();
    for (name, error) in worst {
        let _ = writeln!(report, "{name}: {error:.1}");
    }
    expect![[r#"
        exp: 0.8
        expm1: 1.5
        log: 0.7
        log1p: 0.7
        tanh: 1.4
        sigmoid: 1.3
        erf: 0.7
        sin: 0.7
        tan: 0.8
        asin: 1.3
        acos: 0.9
        atan: 0.8
        cos: 0.9
        pow: 0.9
    "#]]
    .assert_eq(&report);
}

/// Powers over the whole range of results, against the binary64 power of the standard library.
#[test]
fn pow32_is_within_two_ulp() {
    let mut bits = Bits(3);
    let mut worst = (0.0, 0.0, 0.0);
    for i in 0..60_000u64 {
        let (u, v) = (bits.next(), bits.next());
        let x = match i % 4 {
            0 => f32::from_bits(u as u32 & 0x7fff_ffff),
            1 => 1.0 + (u as u32 as i32 as f32) * 2f32.powi(-32 - (u >> 40) as i32 % 20),
            _ => (u >> 40) as f32 * 2f32.powi(-20),
        };
        let exponent = (v as u32 as f64 / 2f64.powi(32) * 280.0 - 151.0) / f64::from(x).log2();
        let y = match i % 3 {
            0 => exponent.round() as f32,
            _ => exponent as f32,
        };
        let want = f64::from(x).powf(f64::from(y));
        let error = ulps(pow32(x, y), want);
        if error > worst.0 {
            worst = (error, x, y);
        }
    }
    assert!(worst.0 <= 2.0, "{worst:?}");
    expect!["1.0"].assert_eq(&format!("{:.1}", worst.0));
}

/// Every pair of unusual arguments has the result of the standard library, in both types.
#[test]
fn pow_of_special_values() {
    let big = 3e38f32;
    let set = [
        0.0,
        1.0,
        0.5,
        1.5,
        2.0,
        3.0,
        4.0,
        7.0,
        1e-45,
        1e-38,
        16_777_215.0,
        16_777_216.0,
        33_554_434.0,
        8_388_607.5,
        big,
        f32::INFINITY,
    ];
    let set: Vec<f32> = set.iter().flat_map(|&x| [x, -x]).chain([f32::NAN]).collect();
    for &x in &set {
        for &y in &set {
            let (got, want) = (pow32(x, y), f64::from(x).powf(f64::from(y)));
            assert!(ulps(got, want) <= 1.0, "{x:?} ^ {y:?} = {got:?}, not {want:?}");
            let got = pow64(f64::from(x), f64::from(y));
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            let close = got.signum() == want.signum() && (got - want).abs() <= want.abs() * 4e-16;
            assert!(same || close, "{x:?} ^ {y:?} = {got:?}, not {want:?}");
        }
    }
}

/// The values at infinities, zeros, NaN and the ends of the domains, in both types.
#[test]
fn special_values() {
    let (inf, nan, pi) = (f64::INFINITY, f64::NAN, std::f64::consts::PI);
    let table: &[(&str, &[(f64, f64)])] = &[
        ("exp", &[(inf, inf), (-inf, 0.0), (0.0, 1.0), (-0.0, 1.0), (1e30, inf), (-1e30, 0.0)]),
        ("expm1", &[(inf, inf), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e30, inf), (-1e30, -1.0)]),
        ("log", &[(inf, inf), (-inf, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (-1.0, nan)]),
        ("log1p", &[(inf, inf), (-inf, nan), (0.0, 0.0), (-0.0, -0.0), (-1.0, -inf), (-2.0, nan)]),
        ("tanh", &[(inf, 1.0), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (30.0, 1.0), (-30.0, -1.0)]),
        ("sigmoid", &[(inf, 1.0), (-inf, 0.0), (0.0, 0.5), (-0.0, 0.5), (1e30, 1.0), (-1e30, 0.0)]),
        ("softplus", &[(inf, inf), (-inf, 0.0), (1e30, 1e30), (-1e30, 0.0)]),
        ("erf", &[(inf, 1.0), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (7.0, 1.0), (-7.0, -1.0)]),
        ("gelu", &[(inf, inf), (0.0, 0.0), (-0.0, -0.0), (1e30, 1e30), (-1e30, -0.0)]),
        ("sin", &[(inf, nan), (-inf, nan), (0.0, 0.0), (-0.0, -0.0)]),
        ("cos", &[(inf, nan), (-inf, nan), (0.0, 1.0), (-0.0, 1.0)]),
        ("tan", &[(inf, nan), (-inf, nan), (0.0, 0.0), (-0.0, -0.0)]),
        ("asin", &[(inf, nan), (1.5, nan), (-1.5, nan), (0.0, 0.0), (-0.0, -0.0), (1.0, pi / 2.0), (-1.0, -pi / 2.0)]),
        ("acos", &[(inf, nan), (1.5, nan), (-1.5, nan), (0.0, pi / 2.0), (-0.0, pi / 2.0), (1.0, 0.0), (-1.0, pi)]),
        ("atan", &[(inf, pi / 2.0), (-inf, -pi / 2.0), (0.0, 0.0), (-0.0, -0.0)]),
        ("sin_turns", &[(0.0, 0.0), (0.25, 1.0), (0.75, -1.0), (-0.25, -1.0)]),
        ("cos_turns", &[(0.0, 1.0), (0.5, -1.0), (1.0, 1.0), (-3.5, -1.0)]),
    ];
    for (name, rows) in table {
        for &(x, want) in rows.iter().chain(&[(nan, nan)]) {
            let got = Scalar::F64(f64_of(eval(name), x));
            assert!(got.same(Scalar::F64(want)), "{name}({x:?}) = {got:?}, not {want:?}");
            let got = Scalar::F32(f32_of(eval(name), x as f32));
            assert!(got.same(Scalar::F32(want as f32)), "f32 {name}({x:?}) = {got:?}, not {want:?}");
        }
    }
}

/// The functions that saturate stay in their range, rise wherever neighbours are apart, and reach their ends.
#[test]
fn saturating_functions_stay_in_range() {
    for (name, low, high) in [("tanh", -1.0, 1.0), ("sigmoid", 0.0, 1.0), ("erf", -1.0, 1.0)] {
        let f = eval(name);
        let mut last = low;
        for i in -30_000..30_000 {
            let x = i as f32 * 0.004;
            let y = f32_of(f, x);
            assert!((low..=high).contains(&y), "{name}({x}) = {y}");
            assert!(y >= last, "{name} falls at {x}: {last} then {y}");
            last = y;
        }
        assert_eq!(last, high, "{name}");
    }
}

/// All 65536 patterns of both formats, to f32 and back, are those of the `half` crate (but a bfloat16 NaN is not quieted).
#[test]
fn half_formats_decode_as_the_half_crate() {
    for h in 0..=u16::MAX {
        let word = Scalar::I32(i32::from(h));
        let f16 = decode_f16(&mut Evaluate, word);
        assert_eq!(f16, Scalar::F32(half::f16::from_bits(h).to_f32()), "{h:04x}");
        let bf16 = decode_bf16(&mut Evaluate, word);
        assert!(bf16.same(Scalar::F32(half::bf16::from_bits(h).to_f32())), "{h:04x}");
        for (value, encode, round) in [
            (
                f16,
                encode_f16::<Evaluate> as fn(&mut Evaluate, Scalar) -> Scalar,
                round_f16::<Evaluate> as fn(&mut Evaluate, Scalar) -> Scalar,
            ),
            (bf16, encode_bf16::<Evaluate>, round_bf16::<Evaluate>),
        ] {
            assert!(round(&mut Evaluate, value).same(value), "{h:04x}");
            if let Scalar::F32(x) = value
                && !x.is_nan()
            {
                assert_eq!(encode(&mut Evaluate, value), word, "{h:04x}");
            }
        }
    }
}

/// Narrowing is that of the `half` crate: at every boundary between two results, beside it, and at random.
#[test]
fn half_formats_encode_as_the_half_crate() {
    let mut bits = Bits(5);
    let mut all = sample();
    for h in (0..=u16::MAX).step_by(3) {
        let x = half::f16::from_bits(h).to_f32().to_bits();
        // Where neighbours of a binary16 value round to it or away: half of a last place, for normals and subnormals.
        all.extend([x.wrapping_sub(1), x, x.wrapping_add(1), x ^ 0x1000, x ^ 0x0fff, x ^ 0x1001, bits.next() as u32]);
        let y = u32::from(h) << 16;
        all.extend([y | 0x7fff, y | 0x8000, y | 0x8001]);
    }
    all.extend((0..4096).map(|i| (i as f32 * 2f32.powi(-25)).to_bits()));
    for x in all {
        let value = f32::from_bits(x);
        let word = Scalar::F32(value);
        let want = half::f16::from_f32(value);
        assert_eq!(encode_f16(&mut Evaluate, word), Scalar::I32(i32::from(want.to_bits())), "f16 of {x:08x}");
        assert!(round_f16(&mut Evaluate, word).same(Scalar::F32(want.to_f32())), "f16 of {x:08x}");
        let want = half::bf16::from_f32(value);
        assert_eq!(encode_bf16(&mut Evaluate, word), Scalar::I32(i32::from(want.to_bits())), "bf16 of {x:08x}");
        assert!(round_bf16(&mut Evaluate, word).same(Scalar::F32(want.to_f32())), "bf16 of {x:08x}");
    }
}

/// The cost of each function, and that the binary32 ones keep to 32-bit types.
#[test]
fn operation_counts() {
    let mut report = String::new();
    for (name, record, _) in UNARY {
        let counts = [ScalarType::F32, ScalarType::F64].map(|ty| {
            let mut tape = Tape::new();
            let x = tape.input(ty);
            // Narrowing takes f32 only.
            if ty == ScalarType::F32 || !name.starts_with("round") {
                record(&mut tape, x);
            }
            if ty == ScalarType::F32 {
                assert!(Block::new(&tape).is_ok(), "{name} leaves the 32-bit types");
            }
            tape.steps().count()
        });
        let _ = writeln!(report, "{name}: {} f32, {} f64", counts[0], counts[1]);
    }
    let counts = [ScalarType::F32, ScalarType::F64].map(|ty| {
        let mut tape = Tape::new();
        let (x, y) = (tape.input(ty), tape.input(ty));
        pow(&mut tape, x, y);
        tape.steps().count()
    });
    let _ = writeln!(report, "pow: {} f32, {} f64", counts[0], counts[1]);
    expect![[r#"
        exp: 26 f32, 31 f64
        expm1: 26 f32, 31 f64
        log: 32 f32, 36 f64
        log1p: 39 f32, 43 f64
        tanh: 34 f32, 39 f64
        sigmoid: 32 f32, 37 f64
        softplus: 53 f32, 62 f64
        erf: 43 f32, 66 f64
        gelu: 47 f32, 70 f64
        sin: 99 f32, 127 f64
        cos: 98 f32, 126 f64
        tan: 103 f32, 133 f64
        asin: 26 f32, 34 f64
        acos: 33 f32, 41 f64
        atan: 27 f32, 33 f64
        sin_turns: 28 f32, 34 f64
        cos_turns: 28 f32, 34 f64
        round_f16: 21 f32, 0 f64
        round_bf16: 10 f32, 0 f64
        pow: 122 f32, 132 f64
    "#]]
    .assert_eq(&report);
}

#[test]
fn block_refuses_wide_operations() {
    let mut tape = Tape::new();
    let x = tape.input(ScalarType::F64);
    exp(&mut tape, x);
    assert_eq!(Block::new(&tape).err().map(|op| op.name()), Some("fgt"));
}
