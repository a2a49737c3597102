//! Physical dimensions and unit names.
//!
//! Values are kept in one coherent system, the usual one of cell physiology: ms, mV, pA, nS, pF, kHz, µm, mM. Every
//! unit of the language is a power of ten of it, so that erasing a unit multiplies or divides by an exact power of ten.

use std::fmt;

/// Exponents of second, ampere, kilogram, metre, mole and kelvin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Dims(pub [i8; 6]);

/// Power of ten, relative to the SI unit, of the coherent base unit of each dimension: ms, pA, 1e-12 kg, µm, 1e-18 mol, K.
/// With these mV, nS, pF, kHz and mM come out with a factor of one.
const BASE: [i32; 6] = [-3, -12, -12, -6, -18, 0];

const SYMBOLS: [&str; 6] = ["s", "A", "kg", "m", "mol", "K"];

impl Dims {
    /// No dimension.
    pub const NONE: Dims = Dims([0; 6]);
    /// Time.
    pub const TIME: Dims = Dims([1, 0, 0, 0, 0, 0]);

    /// True for plain numbers.
    pub fn is_none(self) -> bool {
        self == Dims::NONE
    }

    /// The dimension of a product, or `None` if an exponent leaves its range.
    pub fn times(self, o: Dims) -> Option<Dims> {
        self.zip(o, i8::checked_add)
    }

    /// The dimension of a quotient.
    pub fn over(self, o: Dims) -> Option<Dims> {
        self.zip(o, i8::checked_sub)
    }

    /// The dimension of a power.
    pub fn pow(self, n: i64) -> Option<Dims> {
        let mut out = [0i8; 6];
        for (o, e) in out.iter_mut().zip(self.0) {
            *o = i8::try_from(i64::from(e).checked_mul(n)?).ok()?;
        }
        Some(Dims(out))
    }

    /// The dimension of a square root, or `None` if an exponent is odd.
    pub fn sqrt(self) -> Option<Dims> {
        let mut out = [0i8; 6];
        for (o, e) in out.iter_mut().zip(self.0) {
            if e % 2 != 0 {
                return None;
            }
            *o = e / 2;
        }
        Some(Dims(out))
    }

    fn zip(self, o: Dims, f: impl Fn(i8, i8) -> Option<i8>) -> Option<Dims> {
        let mut out = [0i8; 6];
        for (k, r) in out.iter_mut().enumerate() {
            *r = f(self.0[k], o.0[k])?;
        }
        Some(Dims(out))
    }

    /// Power of ten of the coherent unit of this dimension, relative to SI.
    fn base_power(self) -> i32 {
        self.0.iter().zip(BASE).map(|(e, b)| i32::from(*e) * b).sum()
    }
}

impl fmt::Display for Dims {
    /// The name of the coherent unit if it has one, else a product of SI units.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("real");
        }
        for name in
            ["ms", "mV", "pA", "nS", "pF", "kHz", "µm", "mM", "Gohm", "fC", "mV/ms", "pA/ms", "nS/ms", "pA/mV", "K"]
        {
            if parse_compound(name).is_some_and(|u| u.dims == *self && u.scale() == 0) {
                return f.write_str(name);
            }
        }
        let mut first = true;
        for (e, s) in self.0.iter().zip(SYMBOLS) {
            if *e == 0 {
                continue;
            }
            if !first {
                f.write_str("*")?;
            }
            first = false;
            f.write_str(s)?;
            if *e != 1 {
                write!(f, "^{e}")?;
            }
        }
        Ok(())
    }
}

/// A unit: its dimension and its size as a power of ten of the SI unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Dimension.
    pub dims: Dims,
    /// Power of ten relative to SI.
    pub power: i32,
}

impl Unit {
    /// The plain number one.
    pub const ONE: Unit = Unit { dims: Dims::NONE, power: 0 };

    /// Power of ten that takes a number in this unit to the coherent system.
    pub fn scale(self) -> i32 {
        self.power - self.dims.base_power()
    }

    /// A number in this unit, in the coherent system: one correctly rounded f64 operation for scales up to 10^22.
    pub fn erase(self, x: f64) -> f64 {
        scale_by_power(x, self.scale())
    }
}

/// `x * 10^power`, dividing for negative powers so that the power itself is exact.
fn scale_by_power(x: f64, power: i32) -> f64 {
    let p = 10f64.powi(power.unsigned_abs().min(400) as i32);
    if power >= 0 { x * p } else { x / p }
}

const fn dims(s: i8, a: i8, kg: i8, m: i8, mol: i8, k: i8) -> Dims {
    Dims([s, a, kg, m, mol, k])
}

/// Base names: dimension and power of ten relative to SI.
const NAMES: &[(&str, Dims, i32)] = &[
    ("s", dims(1, 0, 0, 0, 0, 0), 0),
    ("A", dims(0, 1, 0, 0, 0, 0), 0),
    ("g", dims(0, 0, 1, 0, 0, 0), -3),
    ("m", dims(0, 0, 0, 1, 0, 0), 0),
    ("mol", dims(0, 0, 0, 0, 1, 0), 0),
    ("K", dims(0, 0, 0, 0, 0, 1), 0),
    ("V", dims(-3, -1, 1, 2, 0, 0), 0),
    ("S", dims(3, 2, -1, -2, 0, 0), 0),
    ("ohm", dims(-3, -2, 1, 2, 0, 0), 0),
    ("Ohm", dims(-3, -2, 1, 2, 0, 0), 0),
    ("F", dims(4, 2, -1, -2, 0, 0), 0),
    ("Hz", dims(-1, 0, 0, 0, 0, 0), 0),
    ("C", dims(1, 1, 0, 0, 0, 0), 0),
    ("W", dims(-3, 0, 1, 2, 0, 0), 0),
    ("J", dims(-2, 0, 1, 2, 0, 0), 0),
    ("N", dims(-2, 0, 1, 1, 0, 0), 0),
    ("Pa", dims(-2, 0, 1, -1, 0, 0), 0),
    ("H", dims(-2, -2, 1, 2, 0, 0), 0),
    ("M", dims(0, 0, 0, -3, 1, 0), 3),
    ("L", dims(0, 0, 0, 3, 0, 0), -3),
    ("l", dims(0, 0, 0, 3, 0, 0), -3),
];

const PREFIXES: &[(&str, i32)] = &[
    ("a", -18),
    ("f", -15),
    ("p", -12),
    ("n", -9),
    ("u", -6),
    ("µ", -6),
    ("m", -3),
    ("c", -2),
    ("d", -1),
    ("h", 2),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
];

/// Units that are offered when a name is not known.
pub const COMMON: &[&str] = &[
    "s", "ms", "us", "µs", "ns", "V", "mV", "uV", "µV", "A", "mA", "uA", "µA", "nA", "pA", "S", "mS", "uS", "µS", "nS",
    "pS", "ohm", "kohm", "Mohm", "Gohm", "F", "uF", "µF", "nF", "pF", "Hz", "kHz", "m", "cm", "mm", "um", "µm", "nm",
    "M", "mM", "uM", "µM", "nM", "mol", "C", "pC", "fC", "K", "W", "J", "N", "Pa", "g", "kg", "L",
];

/// The unit with this name: a base name, or a prefix before one.
pub fn parse(name: &str) -> Option<Unit> {
    let base =
        |n: &str| NAMES.iter().find(|(b, ..)| *b == n).map(|(_, dims, power)| Unit { dims: *dims, power: *power });
    base(name).or_else(|| {
        PREFIXES.iter().find_map(|(p, k)| {
            let u = base(name.strip_prefix(p)?)?;
            Some(Unit { dims: u.dims, power: u.power + k })
        })
    })
}

/// `a/b` of two unit names.
fn parse_compound(text: &str) -> Option<Unit> {
    match text.split_once('/') {
        None => parse(text),
        Some((a, b)) => {
            let (a, b) = (parse(a)?, parse(b)?);
            Some(Unit { dims: a.dims.over(b.dims)?, power: a.power - b.power })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coherent_system_has_factor_one() {
        for name in ["ms", "mV", "pA", "nS", "pF", "kHz", "µm", "um", "mM", "Gohm", "fC"] {
            assert_eq!(parse(name).map(Unit::scale), Some(0), "{name}");
        }
    }

    #[test]
    fn literals_erase_with_one_rounding() {
        let erase = |x: f64, u: &str| parse(u).map(|u| u.erase(x));
        assert_eq!(erase(20.0, "ms"), Some(20.0));
        assert_eq!(erase(1.0, "s"), Some(1000.0));
        assert_eq!(erase(5.0, "Hz"), Some(0.005));
        assert_eq!(erase(-49.0, "mV"), Some(-49.0));
        assert_eq!(erase(0.1, "ms"), Some(0.1));
        assert_eq!(erase(1.0, "V"), Some(1000.0));
        assert_eq!(erase(1.0, "nA"), Some(1000.0));
        assert_eq!(erase(1.0, "Mohm"), Some(0.001));
        assert_eq!(erase(1.0, "M"), Some(1000.0));
    }

    #[test]
    fn ohms_law_and_capacitors_agree() {
        let d = |u: &str| parse(u).map(|u| u.dims).unwrap_or_default();
        assert_eq!(d("nS").times(d("mV")), Some(d("pA")));
        assert_eq!(d("pF").times(d("mV")).and_then(|x| x.over(d("ms"))), Some(d("pA")));
        assert_eq!(d("ohm").times(d("S")), Some(Dims::NONE));
        assert_eq!(d("Hz").times(d("s")), Some(Dims::NONE));
        assert_eq!(d("W").times(d("s")), Some(d("J")));
    }

    #[test]
    fn strangers_are_not_units() {
        for name in ["", "mx", "vm", "msec", "kk", "µ"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn dimensions_print_as_coherent_units() {
        let show = |u: &str| parse(u).map(|u| u.dims.to_string());
        assert_eq!(show("s").as_deref(), Some("ms"));
        assert_eq!(show("V").as_deref(), Some("mV"));
        assert_eq!(show("A").as_deref(), Some("pA"));
        assert_eq!(Dims([0, 0, 0, -2, 0, 0]).to_string(), "m^-2");
    }
}
