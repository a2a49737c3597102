//! Measures the error of a binary32 elementary function of `nc_ir::math` over all 2^32 arguments.
//!
//! ```text
//! RUSTFLAGS="-C target-cpu=native" cargo run --release -p nc-ir --example ulp -- exp tanh [--stride N] [--threads N]
//! ```
//!
//! (Without hardware fused multiply-adds it is slow, and right.) The reference is the binary64 function of the platform's
//! C library, whose own error is below 2^-28 ulp of binary32. For each function a line says how large the error is, in
//! units in the last place of the true value, where, and for how many arguments it is above 1/2, 1 and 2. The exit
//! status is 1 if any is above 2, or if a special value or a sign is wrong.

use std::process::ExitCode;

use nc_ir::kernel::ScalarType;
use nc_ir::math::{self, Block, LANES, Tape};

unsafe extern "C" {
    /// The error function of C99, which the standard library does not have.
    safe fn erf(x: f64) -> f64;
}

type Recorded = fn(&mut Tape, u32) -> u32;

/// The functions that can be measured, with their references.
const FUNCTIONS: &[(&str, Recorded, fn(f64) -> f64)] = &[
    ("exp", math::exp, f64::exp),
    ("expm1", math::expm1, f64::exp_m1),
    ("log", math::log, f64::ln),
    ("log1p", math::log1p, f64::ln_1p),
    ("tanh", math::tanh, f64::tanh),
    ("sigmoid", math::sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    ("softplus", math::softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
    ("erf", math::erf, |x| erf(x)),
    ("sin", math::sin, f64::sin),
    ("cos", math::cos, f64::cos),
    ("sqrt", math::sqrt, f64::sqrt),
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

/// Every `stride`-th pattern from `first` on.
fn measure(f: Recorded, reference: fn(f64) -> f64, first: u64, stride: u64) -> Found {
    let mut tape = Tape::new();
    let x = tape.input(ScalarType::F32);
    let y = f(&mut tape, x);
    let mut found = Found::default();
    let Ok(mut block) = Block::new(&tape) else {
        found.wrong = 1;
        return found;
    };
    let mut next = first;
    while next < 1 << 32 {
        for (i, lane) in block.lanes(x).iter_mut().enumerate() {
            // Past the end the last pattern is repeated.
            *lane = (next + i as u64 * stride).min(u64::from(u32::MAX)) as u32;
        }
        block.run();
        let results = *block.lanes(y);
        for (i, (bits, got)) in block.lanes(x).iter().zip(results).enumerate() {
            if next + i as u64 * stride < 1 << 32 {
                let x = f32::from_bits(*bits);
                found.note(x, f32::from_bits(got), reference(f64::from(x)));
            }
        }
        next += LANES as u64 * stride;
    }
    found
}

fn main() -> ExitCode {
    let (mut names, mut stride, mut threads) = (Vec::new(), 1u64, 2u64);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match arg.as_str() {
            "--stride" | "--threads" => match number() {
                Some(n) if arg == "--stride" => stride = n,
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
        names = FUNCTIONS.iter().map(|f| f.0.to_string()).collect();
    }
    let mut fine = true;
    for name in &names {
        let Some(&(_, f, reference)) = FUNCTIONS.iter().find(|f| f.0 == name) else {
            let known: Vec<_> = FUNCTIONS.iter().map(|f| f.0).collect();
            eprintln!("no function {name}; there are {}", known.join(", "));
            return ExitCode::FAILURE;
        };
        let mut tape = Tape::new();
        let x = tape.input(ScalarType::F32);
        f(&mut tape, x);
        let mut found = Found::default();
        std::thread::scope(|s| {
            let workers: Vec<_> =
                (0..threads).map(|i| s.spawn(move || measure(f, reference, i * stride, stride * threads))).collect();
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
