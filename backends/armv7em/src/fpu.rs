//! Single-precision arithmetic as the floating-point unit does it: rounding to nearest even, subnormals kept, NaNs
//! propagated, cumulative exceptions. Values are bits.
//!
//! Results come from the host's arithmetic; whether they are exact is decided in double precision, where a product of
//! singles is exact and the error of a sum can be computed exactly.

/// Invalid operation.
pub const IOC: u32 = 1;
/// Division by zero.
pub const DZC: u32 = 2;
/// Overflow.
pub const OFC: u32 = 4;
/// Underflow: the exact result was below the smallest normal number, and inexact.
pub const UFC: u32 = 8;
/// Inexact.
pub const IXC: u32 = 16;

const DEFAULT_NAN: u32 = 0x7fc0_0000;
const QUIET: u32 = 0x0040_0000;

fn f(x: u32) -> f32 {
    f32::from_bits(x)
}

/// True for any NaN.
#[inline(always)]
pub fn is_nan(x: u32) -> bool {
    x & 0x7fff_ffff > 0x7f80_0000
}

fn is_signalling(x: u32) -> bool {
    is_nan(x) && x & QUIET == 0
}

fn is_inf(x: u32) -> bool {
    x & 0x7fff_ffff == 0x7f80_0000
}

fn is_zero(x: u32) -> bool {
    x & 0x7fff_ffff == 0
}

/// The NaN that an operation gives for operands of which one is a NaN.
#[cold]
fn propagate(operands: &[u32], flags: &mut u32) -> u32 {
    if let Some(x) = operands.iter().find(|x| is_signalling(**x)) {
        *flags |= IOC;
        return x | QUIET;
    }
    operands.iter().copied().find(|x| is_nan(*x)).unwrap_or(DEFAULT_NAN)
}

#[cold]
fn invalid(flags: &mut u32) -> u32 {
    *flags |= IOC;
    DEFAULT_NAN
}

/// Sets the flags for a finite exact result that was rounded to `r`: `error` is true if they differ, `tiny` if the
/// exact one lies below the smallest normal number.
#[inline(always)]
fn rounded(r: f32, error: bool, tiny: bool, flags: &mut u32) -> u32 {
    if r.is_infinite() {
        *flags |= OFC | IXC;
    } else if error {
        *flags |= if tiny { UFC | IXC } else { IXC };
    }
    r.to_bits()
}

/// True if the result needs no flag but perhaps the one for inexact, which is already set.
#[inline(always)]
fn plain(r: f32, flags: u32) -> bool {
    flags & IXC != 0 && (r.to_bits() >> 23 & 0xff).wrapping_sub(2) < 0xfd
}

const TINY: f64 = f32::MIN_POSITIVE as f64;

/// The rounding error of `a + b`, exactly; both finite.
fn sum_error(a: f64, b: f64, s: f64) -> f64 {
    let bb = s - a;
    (a - (s - bb)) + (b - bb)
}

/// Sum.
#[inline]
pub fn add(a: u32, b: u32, flags: &mut u32) -> u32 {
    let r = f(a) + f(b);
    if plain(r, *flags) {
        return r.to_bits();
    }
    if r.is_nan() {
        return if is_nan(a) || is_nan(b) { propagate(&[a, b], flags) } else { invalid(flags) };
    }
    if is_inf(a) || is_inf(b) {
        return r.to_bits();
    }
    // A sum of singles that is tiny is exact.
    let (x, y) = (f64::from(f(a)), f64::from(f(b)));
    let s = x + y;
    rounded(r, sum_error(x, y, s) != 0.0 || s != f64::from(r), false, flags)
}

/// Difference. The sign of a NaN operand is kept.
#[inline]
pub fn sub(a: u32, b: u32, flags: &mut u32) -> u32 {
    if is_nan(a) || is_nan(b) {
        return propagate(&[a, b], flags);
    }
    add(a, b ^ 1 << 31, flags)
}

/// Product.
#[inline]
pub fn mul(a: u32, b: u32, flags: &mut u32) -> u32 {
    let r = f(a) * f(b);
    if plain(r, *flags) {
        return r.to_bits();
    }
    if r.is_nan() {
        return if is_nan(a) || is_nan(b) { propagate(&[a, b], flags) } else { invalid(flags) };
    }
    if is_inf(a) || is_inf(b) {
        return r.to_bits();
    }
    let exact = f64::from(f(a)) * f64::from(f(b));
    rounded(r, exact != f64::from(r), exact.abs() < TINY, flags)
}

/// Quotient.
pub fn div(a: u32, b: u32, flags: &mut u32) -> u32 {
    if is_nan(a) || is_nan(b) {
        return propagate(&[a, b], flags);
    }
    if (is_inf(a) && is_inf(b)) || (is_zero(a) && is_zero(b)) {
        return invalid(flags);
    }
    let r = f(a) / f(b);
    if is_inf(a) || is_inf(b) {
        return r.to_bits();
    }
    if is_zero(b) {
        *flags |= DZC;
        return r.to_bits();
    }
    // `r * b` is exact in double precision, also for subnormal `r`. The quotient of two singles is never so near to the
    // smallest normal number that double precision takes it for that number unless it is.
    let error = r.is_infinite() || f64::from(r) * f64::from(f(b)) != f64::from(f(a));
    let tiny = (f64::from(f(a)) / f64::from(f(b))).abs() < TINY;
    rounded(r, error, tiny, flags)
}

/// Square root.
pub fn sqrt(a: u32, flags: &mut u32) -> u32 {
    if is_nan(a) {
        return propagate(&[a], flags);
    }
    if is_zero(a) || a == 0x7f80_0000 {
        return a;
    }
    if a >> 31 != 0 {
        return invalid(flags);
    }
    let r = f(a).sqrt();
    rounded(r, f64::from(r) * f64::from(r) != f64::from(f(a)), false, flags)
}

/// `a * b + c` with one rounding.
#[inline]
pub fn fma(c: u32, a: u32, b: u32, flags: &mut u32) -> u32 {
    let r = f(a).mul_add(f(b), f(c));
    if plain(r, *flags) {
        return r.to_bits();
    }
    fma_slow(r, c, a, b, flags)
}

#[cold]
fn fma_slow(r: f32, c: u32, a: u32, b: u32, flags: &mut u32) -> u32 {
    let undefined = (is_inf(a) && is_zero(b)) || (is_zero(a) && is_inf(b));
    if is_nan(a) || is_nan(b) || is_nan(c) {
        let nan = propagate(&[c, a, b], flags);
        return if undefined && is_nan(c) && !is_signalling(c) { invalid(flags) } else { nan };
    }
    if r.is_nan() {
        return invalid(flags);
    }
    if is_inf(a) || is_inf(b) || is_inf(c) {
        return r.to_bits();
    }
    let (p, c) = (f64::from(f(a)) * f64::from(f(b)), f64::from(f(c)));
    let s = p + c;
    let low = sum_error(p, c, s);
    let error = low != 0.0 || s != f64::from(r);
    let tiny = s.abs() < TINY || (s.abs() == TINY && low != 0.0 && (low < 0.0) == (s > 0.0));
    rounded(r, error, tiny, flags)
}

/// Flags N, Z, C, V (bits 31..28) of a comparison. `signal`: quiet NaNs are invalid, too.
pub fn compare(a: u32, b: u32, signal: bool, flags: &mut u32) -> u32 {
    if is_nan(a) || is_nan(b) {
        if signal || is_signalling(a) || is_signalling(b) {
            *flags |= IOC;
        }
        return 0x3000_0000;
    }
    match f(a).partial_cmp(&f(b)) {
        Some(std::cmp::Ordering::Less) => 0x8000_0000,
        Some(std::cmp::Ordering::Equal) => 0x6000_0000,
        _ => 0x2000_0000,
    }
}

/// To an integer of `bits` bits after multiplication by 2 to the power `fraction`; saturates.
pub fn to_int(a: u32, signed: bool, bits: u32, fraction: u32, nearest: bool, flags: &mut u32) -> u32 {
    if is_nan(a) {
        *flags |= IOC;
        return 0;
    }
    let x = f64::from(f(a)) * (1u64 << fraction) as f64;
    let y = if nearest { x.round_ties_even() } else { x.trunc() };
    let (low, high) = if signed {
        (-((1u64 << (bits - 1)) as f64), ((1u64 << (bits - 1)) - 1) as f64)
    } else {
        (0.0, ((1u64 << bits) - 1) as f64)
    };
    if y < low || y > high {
        *flags |= IOC;
        return if y < low { low as i64 as u32 } else { high as i64 as u32 };
    }
    if y != x {
        *flags |= IXC;
    }
    y as i64 as u32
}

/// From an integer, divided by 2 to the power `fraction`.
pub fn from_int(x: i64, fraction: u32, flags: &mut u32) -> u32 {
    let exact = x as f64 / (1u64 << fraction) as f64;
    let r = exact as f32;
    if f64::from(r) != exact {
        *flags |= IXC;
    }
    r.to_bits()
}

/// From half precision.
pub fn from_half(h: u16, flags: &mut u32) -> u32 {
    let (sign, e, m) = (u32::from(h >> 15) << 31, u32::from(h >> 10 & 31), u32::from(h & 0x3ff));
    match (e, m) {
        (0, 0) => sign,
        (0, _) => sign | (m as f32 / (1 << 24) as f32).to_bits(),
        (31, 0) => sign | 0x7f80_0000,
        (31, _) => {
            if m & 0x200 == 0 {
                *flags |= IOC;
            }
            sign | 0x7fc0_0000 | m << 13
        }
        _ => sign | (e + 112) << 23 | m << 13,
    }
}

/// To half precision.
pub fn to_half(a: u32, flags: &mut u32) -> u16 {
    let sign = (a >> 16 & 0x8000) as u16;
    if is_nan(a) {
        if is_signalling(a) {
            *flags |= IOC;
        }
        return sign | 0x7e00 | (a >> 13 & 0x3ff) as u16;
    }
    let mag = a & 0x7fff_ffff;
    if mag >= 0x7f80_0000 {
        return sign | 0x7c00;
    }
    let x = f64::from(f(mag));
    let unit = if mag < 0x3880_0000 { 2f64.powi(-24) } else { 2f64.powi((mag >> 23) as i32 - 127 - 10) };
    let r = (x / unit).round_ties_even() * unit;
    if r >= 65536.0 {
        *flags |= OFC | IXC;
        return sign | 0x7c00;
    }
    if r != x {
        *flags |= if mag < 0x3880_0000 { UFC | IXC } else { IXC };
    }
    let bits = (r as f32).to_bits();
    let half = if r < 2f64.powi(-14) { (r * 2f64.powi(24)) as u32 } else { (bits >> 13) - (112 << 10) };
    sign | half as u16
}
