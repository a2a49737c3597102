//! Measures the error of a binary32 elementary function of `nc_ir::math` over all 2^32 arguments.
//!
//! ```text
//! RUSTFLAGS="-C target-cpu=native" cargo run --release -p nc-ir --example ulp -- exp tanh [--stride N] [--threads N]
//! ... -- pow [--samples N]
//! ```
//!
//! (Without hardware fused multiply-adds it is slow, and right.) The reference is the binary64 function of the platform's
//! C library, whose own error is below 2^-28 ulp of binary32. For each function a line says how large the error is, in
//! units in the last place of the true value, where, and for how many arguments it is above 1/2, 1 and 2. The exit
//! status is 1 if any is above 2, or if a special value or a sign is wrong. For `pow`, random pairs of arguments are
//! measured instead: of any positive base, of bases near 1, and of whole exponents, with results over the whole range.

use std::process::ExitCode;

use nc_ir::kernel::ScalarType;
use nc_ir::math::{self, Block, LANES, Tape};
use nc_ir::random;

unsafe extern "C" {
    /// The error function of C99, which the standard library does not have.
    safe fn erf(x: f64) -> f64;
}

/// What `f(-x)` is.
#[derive(Clone, Copy, PartialEq)]
enum Mirror {
    Odd,
    Even,
    Neither,
}

/// A function that can be measured.
struct Function {
    name: &'static str,
    record: fn(&mut Tape, u32) -> u32,
    reference: fn(f64) -> f64,
    /// The reference is computed once for both signs where this allows it; the function is tested for both.
    mirror: Mirror,
}

const fn function(
    name: &'static str,
    record: fn(&mut Tape, u32) -> u32,
    reference: fn(f64) -> f64,
    mirror: Mirror,
) -> Function {
    Function { name, record, reference, mirror }
}

const FUNCTIONS: &[Function] = &[
    function("exp", math::exp, f64::exp, Mirror::Neither),
    function("expm1", math::expm1, f64::exp_m1, Mirror::Neither),
    function("log", math::log, f64::ln, Mirror::Neither),
    function("log1p", math::log1p, f64::ln_1p, Mirror::Neither),
    function("tanh", math::tanh, f64::tanh, Mirror::Odd),
    function("sigmoid", math::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), Mirror::Neither),
    function("softplus", math::softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), Mirror::Neither),
    function("erf", math::erf, |x| erf(x), Mirror::Odd),
    function("sin", math::sin, f64::sin, Mirror::Odd),
    function("cos", math::cos, f64::cos, Mirror::Even),
    function("tan", math::tan, f64::tan, Mirror::Odd),
    function("asin", math::asin, f64::asin, Mirror::Odd),
    function("acos", math::acos, f64::acos, Mirror::Neither),
    function("atan", math::atan, f64::atan, Mirror::Odd),
    function("sqrt", math::sqrt, f64::sqrt, Mirror::Neither),
];

/// What was found over some arguments.
#[derive(Clone, Copy, Default)]
struct Found {
    worst: f64,
    at: f32,
    over: [u64; 3],
    wrong: u64,
    wrong_at: f32,
}

impl Found {
    fn note(&mut self, x: f32, got: f32, want: f64) {
        let bad = if want.is_nan() {
            !got.is_nan()
        } else {
            got.is_nan() || got.is_sign_negative() != want.is_sign_negative()
        };
        if bad {
            self.wrong += 1;
            self.wrong_at = x;
            return;
        }
        if want.is_nan() || f64::from(got) == want {
            return;
        }
        // An infinity counts as the number that would follow the largest one.
        let limit = 128f64.exp2();
        let got = f64::from(got).clamp(-limit, limit);
        let want = want.clamp(-limit, limit);
        let exponent = ((want.to_bits() >> 52) & 0x7ff).clamp(1023 - 126, 1023 + 127);
        let per_ulp = f64::from_bits((2 * 1023 + 23 - exponent) << 52);
        let error = (got - want).abs() * per_ulp;
        for (n, limit) in self.over.iter_mut().zip([0.5, 1.0, 2.0]) {
            *n += u64::from(error > limit);
        }
        if error > self.worst {
            self.worst = error;
            self.at = x;
        }
    }

    fn merge(&mut self, other: Found) {
        if other.worst > self.worst {
            (self.worst, self.at) = (other.worst, other.at);
        }
        for (n, m) in self.over.iter_mut().zip(other.over) {
            *n += m;
        }
        if other.wrong > 0 {
            self.wrong += other.wrong;
            self.wrong_at = other.wrong_at;
        }
    }
}

/// Every `stride`-th pattern from `first` on (with a mirror: of the patterns without a sign, and each with it).
fn measure(f: &Function, first: u64, stride: u64) -> Found {
    let mut tape = Tape::new();
    let x = tape.input(ScalarType::F32);
    let y = (f.record)(&mut tape, x);
    let mut found = Found::default();
    let Ok(mut block) = Block::new(&tape) else {
        found.wrong = 1;
        return found;
    };
    let end = if f.mirror == Mirror::Neither { 1u64 << 32 } else { 1 << 31 };
    let mut next = first;
    while next < end {
        // Past the end the last pattern is repeated, and not counted.
        let xs: [u32; LANES] = std::array::from_fn(|i| (next + i as u64 * stride).min(end - 1) as u32);
        let count = (end - next).div_ceil(stride).min(LANES as u64) as usize;
        *block.lanes(x) = xs;
        block.run();
        let wants = xs.map(|x| (f.reference)(f64::from(f32::from_bits(x))));
        for ((x, y), want) in xs.iter().zip(block.lanes(y)).zip(wants).take(count) {
            found.note(f32::from_bits(*x), f32::from_bits(*y), want);
        }
        if f.mirror != Mirror::Neither {
            let xs = xs.map(|x| x | 1 << 31);
            *block.lanes(x) = xs;
            block.run();
            for ((x, y), want) in xs.iter().zip(block.lanes(y)).zip(wants).take(count) {
                let want = if f.mirror == Mirror::Odd { -want } else { want };
                found.note(f32::from_bits(*x), f32::from_bits(*y), want);
            }
        }
        next += LANES as u64 * stride;
    }
    found
}

/// `pow` over pairs of arguments, every `step`-th from `first` on; the place of the worst is that of the base.
fn measure_pow(samples: u64, first: u64, step: u64) -> Found {
    let mut tape = Tape::new();
    let (x, y) = (tape.input(ScalarType::F32), tape.input(ScalarType::F32));
    let z = math::pow(&mut tape, x, y);
    let mut found = Found::default();
    let Ok(mut block) = Block::new(&tape) else {
        found.wrong = 1;
        return found;
    };
    for n in (first..samples.div_ceil(LANES as u64)).step_by(step as usize) {
        let pairs: [(f32, f32); LANES] = std::array::from_fn(|i| {
            let [a, b, c, _] = random::words_at(1, n, i as u64, 0);
            let base = match c & 3 {
                0 => 1.0 + a as i32 as f32 * (-32.0 - (c >> 27) as f32 * 0.75).exp2(),
                1 => (a >> 8) as f32 * (-20f32).exp2(),
                _ => f32::from_bits(a & 0x7fff_ffff),
            };
            let exponent = (random::uniform01(b) * 281.0 - 151.5) / base.log2();
            if c & 4 == 0 { (base, exponent) } else { (if c & 8 == 0 { base } else { -base }, exponent.round()) }
        });
        *block.lanes(x) = pairs.map(|p| p.0.to_bits());
        *block.lanes(y) = pairs.map(|p| p.1.to_bits());
        block.run();
        for ((x, y), got) in pairs.into_iter().zip(*block.lanes(z)) {
            found.note(x, f32::from_bits(got), f64::from(x).powf(f64::from(y)));
        }
    }
    found
}

fn main() -> ExitCode {
    let (mut names, mut stride, mut threads, mut samples) = (Vec::new(), 1u64, 2u64, 1u64 << 26);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match arg.as_str() {
            "--stride" | "--threads" | "--samples" => match number() {
                Some(n) if arg == "--stride" => stride = n,
                Some(n) if arg == "--samples" => samples = n,
                Some(n) => threads = n,
                None => {
                    eprintln!("{arg} needs a positive number");
                    return ExitCode::FAILURE;
                }
            },
            _ => names.push(arg),
        }
    }
    if names.is_empty() {
        names = FUNCTIONS.iter().map(|f| f.name.to_string()).collect();
    }
    let mut fine = true;
    for name in &names {
        let f = FUNCTIONS.iter().find(|f| f.name == name);
        if f.is_none() && name != "pow" {
            let known: Vec<_> = FUNCTIONS.iter().map(|f| f.name).collect();
            eprintln!("no function {name}; there are {}, pow", known.join(", "));
            return ExitCode::FAILURE;
        }
        let mut tape = Tape::new();
        let x = tape.input(ScalarType::F32);
        match f {
            Some(f) => (f.record)(&mut tape, x),
            None => math::pow(&mut tape, x, x),
        };
        let mut found = Found::default();
        std::thread::scope(|s| {
            let work = move |i: u64| match f {
                Some(f) => measure(f, i * stride, stride * threads),
                None => measure_pow(samples, i, threads),
            };
            let workers: Vec<_> = (0..threads).map(|i| s.spawn(move || work(i))).collect();
            for w in workers {
                match w.join() {
                    Ok(part) => found.merge(part),
                    Err(_) => found.wrong += 1,
                }
            }
        });
        let [half, one, two] = found.over;
        println!(
            "{name:9} {:3} ops  worst {:.4} ulp at {:?} ({:08x})  over 1/2: {half}  over 1: {one}  over 2: {two}  wrong: {}{}",
            tape.steps().count(),
            found.worst,
            found.at,
            found.at.to_bits(),
            found.wrong,
            if found.wrong > 0 {
                format!(" (at {:?}, {:08x})", found.wrong_at, found.wrong_at.to_bits())
            } else {
                String::new()
            },
        );
        fine &= two == 0 && found.wrong == 0;
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
