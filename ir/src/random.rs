//! Counter-based random numbers: Philox 4x32-10 and the laws drawn from it.
//!
//! A draw is a pure function of a *stream* (which statement of which model draws) and of four coordinates: `i` and `j`
//! say for which element (as a rule the presynaptic and the postsynaptic index), `k` which of its draws. There is no
//! state to advance, so every backend, thread and partition sees the same numbers in any order of evaluation.
//!
//! The generator is that of Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3* (SC 2011).
//! [`philox`] is plain Rust; [`words`], [`uniform`] and [`normal`] write the same operations into an [`Emit`].

use crate::kernel::{Emit, Evaluate, Scalar, ScalarOp};
use crate::math;

/// Multipliers of the two halves of a round.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the two halves of the key grow by after each round.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
/// Rounds.
const ROUNDS: u32 = 10;

/// The block of Philox 4x32-10 at `counter` (least significant word first), under the key whose low half is the first
/// key word.
pub fn philox(key: u64, counter: [u32; 4]) -> [u32; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    let [mut a, mut b, mut c, mut d] = counter;
    for _ in 0..ROUNDS {
        let p = u64::from(MULTIPLIERS[0]) * u64::from(a);
        let q = u64::from(MULTIPLIERS[1]) * u64::from(c);
        (a, b, c, d) = ((q >> 32) as u32 ^ b ^ k0, q as u32, (p >> 32) as u32 ^ d ^ k1, p as u32);
        (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
    }
    [a, b, c, d]
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, *Fast splittable pseudorandom number generators*, 2014): a bijection
/// in which every input bit affects every output bit.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The stream of a statement: its name, hashed under the model's seed.
///
/// The hash is FNV-1a with 64 bits over the UTF-8 bytes, started from the mixed seed instead of the usual constant and
/// finished by mixing in the length.
pub fn stream(seed: u64, statement: &str) -> u64 {
    let start = mix(seed.wrapping_add(GOLDEN));
    let hash = statement.bytes().fold(start, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(hash.wrapping_add(GOLDEN.wrapping_mul(1 + statement.len() as u64)))
}

/// The key of the `k`-th draws of a stream: the stream itself for `k = 0`.
pub fn substream(stream: u64, k: u64) -> u64 {
    if k == 0 { stream } else { mix(stream.wrapping_add(GOLDEN.wrapping_mul(k))) }
}

/// The four random words at `(i, j, k)` of a stream.
pub fn words_at(stream: u64, i: u64, j: u64, k: u64) -> [u32; 4] {
    philox(substream(stream, k), [i as u32, (i >> 32) as u32, j as u32, (j >> 32) as u32])
}

/// Uniform on [0, 1): the upper 24 bits of a word, times 2^-24. Exact.
pub fn uniform01(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A draw uniform on [0, 1), from the first word.
pub fn uniform_at(stream: u64, i: u64, j: u64, k: u64) -> f32 {
    uniform01(words_at(stream, i, j, k)[0])
}

/// A standard normal draw, from the first two words.
pub fn normal_at(stream: u64, i: u64, j: u64, k: u64) -> f32 {
    let [a, b, ..] = words_at(stream, i, j, k);
    normal_from(a, b)
}

/// A standard normal number made of two random words.
fn normal_from(a: u32, b: u32) -> f32 {
    let word = |w: u32| Scalar::I32(w as i32);
    match normal01(&mut Evaluate, word(a), word(b)) {
        Scalar::F32(x) => x,
        Scalar::F64(_) | Scalar::I32(_) | Scalar::I64(_) | Scalar::Bool(_) => f32::NAN,
    }
}

/// Attempts of [`gamma_at`]; each fails with a probability below 0.05.
const ATTEMPTS: u64 = 100;

/// A gamma draw of the given shape and scale 1, at `(i, j)` of a stream; `None` if the shape is not finite and positive.
///
/// Marsaglia and Tsang, *A simple method for generating gamma variables* (2000), in binary64 with the functions of
/// [`crate::math`]. Attempt n takes the words at `k = n`, n from 1: two for a normal number, one to accept or reject, one
/// for the power that carries shapes below 1 to shapes above. The attempts are counted and bounded; should all fail
/// (probability below 10^-130), the result is the largest value that is always accepted, `shape - 1/3`.
pub fn gamma_at(stream: u64, i: u64, j: u64, shape: f32) -> Option<f32> {
    let shape = f64::from(shape);
    if !(shape.is_finite() && shape > 0.0) {
        return None;
    }
    let d = if shape < 1.0 { shape + 2.0 / 3.0 } else { shape - 1.0 / 3.0 };
    let c = 1.0 / (9.0 * d).sqrt();
    // In (0, 1]: a logarithm is taken.
    let unit = |w: u32| f64::from(1.0 - uniform01(w));
    let mut drawn = d;
    let mut boost = 1.0;
    for n in 1..=ATTEMPTS {
        let [a, b, accept, power] = words_at(stream, i, j, n);
        boost = unit(power);
        let x = f64::from(normal_from(a, b));
        let t = 1.0 + c * x;
        let v = t * t * t;
        if v > 0.0 && log(unit(accept)) < 0.5 * x * x + d * (1.0 - v + log(v)) {
            drawn = d * v;
            break;
        }
    }
    Some(if shape < 1.0 { drawn * pow(boost, 1.0 / shape) } else { drawn } as f32)
}

fn log(x: f64) -> f64 {
    double(math::log(&mut Evaluate, Scalar::F64(x)))
}

fn pow(x: f64, y: f64) -> f64 {
    double(math::pow(&mut Evaluate, Scalar::F64(x), Scalar::F64(y)))
}

fn double(x: Scalar) -> f64 {
    match x {
        Scalar::F64(x) => x,
        Scalar::F32(_) | Scalar::I32(_) | Scalar::I64(_) | Scalar::Bool(_) => f64::NAN,
    }
}

/// [`philox`] in operations: key and counter are i32.
pub fn philox_ops<E: Emit>(e: &mut E, key: [E::Value; 2], counter: [E::Value; 4]) -> [E::Value; 4] {
    let word = |w: u32| Scalar::I32(w as i32);
    let [m0, m1, w0, w1] = [MULTIPLIERS[0], MULTIPLIERS[1], WEYL[0], WEYL[1]].map(|w| e.constant(word(w)));
    let [mut k0, mut k1] = key;
    let [mut a, mut b, mut c, mut d] = counter;
    for round in 0..ROUNDS {
        let (p, ph) = (e.op(ScalarOp::IMul, &[m0, a]), e.op(ScalarOp::UMulHi, &[m0, a]));
        let (q, qh) = (e.op(ScalarOp::IMul, &[m1, c]), e.op(ScalarOp::UMulHi, &[m1, c]));
        let x = e.op(ScalarOp::Xor, &[b, k0]);
        let y = e.op(ScalarOp::Xor, &[d, k1]);
        (a, c) = (e.op(ScalarOp::Xor, &[x, qh]), e.op(ScalarOp::Xor, &[y, ph]));
        (b, d) = (q, p);
        if round + 1 < ROUNDS {
            k0 = e.op(ScalarOp::IAdd, &[k0, w0]);
            k1 = e.op(ScalarOp::IAdd, &[k1, w1]);
        }
    }
    [a, b, c, d]
}

/// [`words_at`] with `k = 0`, in operations: `i` and `j` are i64, the words i32. For another `k` give its [`substream`].
pub fn words<E: Emit>(e: &mut E, stream: u64, i: E::Value, j: E::Value) -> [E::Value; 4] {
    let key = [stream as u32, (stream >> 32) as u32].map(|w| e.constant(Scalar::I32(w as i32)));
    let half = e.constant(Scalar::I64(32));
    let mut split = |x: E::Value| {
        let upper = e.op(ScalarOp::ShrU, &[x, half]);
        [e.op(ScalarOp::I64ToI32, &[x]), e.op(ScalarOp::I64ToI32, &[upper])]
    };
    let ([i0, i1], [j0, j1]) = (split(i), split(j));
    philox_ops(e, key, [i0, i1, j0, j1])
}

/// [`uniform_at`] with `k = 0`, in operations: `i` and `j` are i64, the result f32.
pub fn uniform<E: Emit>(e: &mut E, stream: u64, i: E::Value, j: E::Value) -> E::Value {
    let [a, ..] = words(e, stream, i, j);
    uniform_ops(e, a)
}

/// [`normal_at`] with `k = 0`, in operations: `i` and `j` are i64, the result f32.
pub fn normal<E: Emit>(e: &mut E, stream: u64, i: E::Value, j: E::Value) -> E::Value {
    let [a, b, ..] = words(e, stream, i, j);
    normal01(e, a, b)
}

/// [`uniform01`] in operations: an i32 word to an f32.
fn uniform_ops<E: Emit>(e: &mut E, bits: E::Value) -> E::Value {
    let eight = e.constant(Scalar::I32(8));
    let unit = e.constant(Scalar::F32(1.0 / 16_777_216.0));
    let upper = e.op(ScalarOp::ShrU, &[bits, eight]);
    let upper = e.op(ScalarOp::I32ToF32, &[upper]);
    e.op(ScalarOp::FMul, &[upper, unit])
}

/// A standard normal f32 of two i32 words, by Box and Muller: `sqrt(-2 ln(1 - u)) cos(2 pi v)`. At most 5.77 in size.
fn normal01<E: Emit>(e: &mut E, a: E::Value, b: E::Value) -> E::Value {
    let (u, v) = (uniform_ops(e, a), uniform_ops(e, b));
    let one = e.constant(Scalar::F32(1.0));
    let two = e.constant(Scalar::F32(-2.0));
    let u = e.op(ScalarOp::FSub, &[one, u]);
    let r = math::log(e, u);
    let r = e.op(ScalarOp::FMul, &[r, two]);
    let r = math::sqrt(e, r);
    let c = math::cos_turns(e, v);
    e.op(ScalarOp::FMul, &[r, c])
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The known answers published with the generator's reference implementation.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox(0, [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let key = 0x299f_31d0_a409_3822;
        assert_eq!(philox(key, counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn operations_agree_with_plain_rust() {
        let e = &mut Evaluate;
        for n in 0..2000u64 {
            let (i, j, s) = (mix(n) >> (n % 64), mix(n + 5000), stream(n, "w"));
            let at = [Scalar::I64(i as i64), Scalar::I64(j as i64)];
            let plain = words_at(s, i, j, 0).map(|w| Scalar::I32(w as i32));
            assert_eq!(words(e, s, at[0], at[1]), plain);
            assert_eq!(uniform(e, s, at[0], at[1]), Scalar::F32(uniform_at(s, i, j, 0)));
            assert_eq!(normal(e, s, at[0], at[1]), Scalar::F32(normal_at(s, i, j, 0)));
            let sub = substream(s, n);
            assert_eq!(words(e, sub, at[0], at[1]), words_at(s, i, j, n).map(|w| Scalar::I32(w as i32)));
        }
    }

    #[test]
    fn uniform_is_exact_and_below_one() {
        assert_eq!(uniform01(0), 0.0);
        assert_eq!(uniform01(0xff), 0.0);
        assert_eq!(uniform01(0x100), 2f32.powi(-24));
        assert_eq!(uniform01(u32::MAX), 1.0 - 2f32.powi(-24));
    }

    /// The values are part of the contract: a change of any changes every network that is drawn.
    #[test]
    fn draws_are_pinned() {
        let s = stream(42, "exc");
        expect!["0d986ea0dc3be6e1 57e1faba65107204 60ef9f165b7cca1c"].assert_eq(&format!(
            "{s:016x} {:016x} {:016x}",
            stream(42, ""),
            substream(s, 1)
        ));
        let draws: Vec<_> = (0..3)
            .map(|j| (uniform_at(s, 7, j, 0), normal_at(s, 7, j, 0), gamma_at(s, 7, j, 2.0), gamma_at(s, 7, j, 0.3)))
            .collect();
        expect!["[(0.65590054, 0.029824901, Some(1.2684573), Some(0.010389224)), (0.49520433, 0.006766417, Some(2.575411), Some(0.5305856)), (0.27952528, 0.8084175, Some(1.2495617), Some(0.000115277726))]"].assert_eq(&format!("{draws:?}"));
    }

    #[test]
    fn streams_differ() {
        let mut all: Vec<u64> = Vec::new();
        for seed in 0..64 {
            for name in ["", "a", "b", "aa", "ab", "ba", "\0", "\0\0"] {
                let s = stream(seed, name);
                all.extend((0..8).map(|k| substream(s, k)));
            }
        }
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
    }

    /// Mean, variance, skewness and excess kurtosis.
    fn moments(draws: &[f64]) -> [f64; 4] {
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let central = |p: i32| draws.iter().map(|x| (x - mean).powi(p)).sum::<f64>() / n;
        let variance = central(2);
        [mean, variance, central(3) / variance.powf(1.5), central(4) / variance.powi(2) - 3.0]
    }

    /// Each moment is within about four standard errors of that of the law.
    #[test]
    fn moments_are_those_of_the_laws() {
        let n = 40_000u64;
        let at = |f: &dyn Fn(u64, u64) -> f32| -> Vec<f64> { (0..n).map(|k| f64::from(f(k % 200, k / 200))).collect() };
        let near = |name: &str, draws: &[f64], want: [f64; 4], tolerance: [f64; 4]| {
            let got = moments(draws);
            for ((got, want), tolerance) in got.into_iter().zip(want).zip(tolerance) {
                assert!((got - want).abs() < tolerance, "{name}: {got} for {want}");
            }
        };
        let s = stream(1, "moments");
        near("uniform", &at(&|i, j| uniform_at(s, i, j, 0)), [0.5, 1.0 / 12.0, 0.0, -1.2], [0.006, 0.002, 0.03, 0.03]);
        near("normal", &at(&|i, j| normal_at(s, i, j, 0)), [0.0, 1.0, 0.0, 0.0], [0.02, 0.03, 0.05, 0.1]);
        for shape in [0.3f32, 1.0, 2.5, 30.0] {
            let a = f64::from(shape);
            let draws = at(&|i, j| gamma_at(s, i, j, shape).expect("a positive shape"));
            assert!(draws.iter().all(|x| *x >= 0.0));
            let want = [a, a, 2.0 / a.sqrt(), 6.0 / a];
            near("gamma", &draws, want, [0.02 * a.sqrt(), 0.08 * a + 0.01, 0.1 + 0.3 / a, 0.3 + 2.0 / (a * a)]);
        }
    }

    /// Neighbouring coordinates and streams are uncorrelated.
    #[test]
    fn neighbours_are_uncorrelated() {
        let s = stream(3, "x");
        let n = 20_000u64;
        let correlation = |g: &dyn Fn(u64) -> f32| -> f64 {
            let sum: f64 = (0..n).map(|i| f64::from(uniform_at(s, i, 0, 0) - 0.5) * f64::from(g(i) - 0.5)).sum();
            sum / n as f64 * 12.0
        };
        let other = stream(3, "y");
        for (name, c) in [
            ("i", correlation(&|i| uniform_at(s, i + 1, 0, 0))),
            ("j", correlation(&|i| uniform_at(s, i, 1, 0))),
            ("k", correlation(&|i| uniform_at(s, i, 0, 1))),
            ("stream", correlation(&|i| uniform_at(other, i, 0, 0))),
        ] {
            assert!(c.abs() < 4.0 / (n as f64).sqrt(), "{name}: {c}");
        }
    }

    #[test]
    fn gamma_refuses_shapes_without_a_law() {
        for shape in [0.0, -1.0, f32::INFINITY, f32::NAN] {
            assert_eq!(gamma_at(1, 2, 3, shape), None);
        }
        assert!(gamma_at(1, 2, 3, 1e-30).is_some_and(|x| x >= 0.0));
        assert!(gamma_at(1, 2, 3, f32::MAX).is_some_and(|x| x > 3e38));
    }
}
