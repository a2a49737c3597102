//! Operands: pairs of all that is special, cases that are hard for an operation, and random ones, always the same.

use super::widened;
use nc_ir::DType;
use nc_ir::kernel::{Scalar, ScalarType, loaded_type};

/// Operands of a formula.
pub(super) const LEN: usize = 6144;

/// What the columns of a type are called, in the order of operands.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Values of a type, one for each place.
pub(super) struct Column {
    /// The type and one of [`NAMES`].
    pub name: String,
    /// The type in memory.
    pub elem: DType,
    /// The values.
    pub bytes: Vec<u8>,
}

impl Column {
    /// What is loaded from a place.
    pub fn value(&self, k: usize) -> Scalar {
        widened(self.elem, &self.bytes[k * self.elem.size()..])
    }
}

/// Random numbers: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// All columns.
pub(super) fn columns() -> Vec<Column> {
    let mut random = Random(0x6e63);
    let mut all = Vec::new();
    for ty in ScalarType::ALL {
        let (elem, mut triples) = match ty {
            ScalarType::F32 => (DType::F32, floats(&SINGLE, &mut random)),
            ScalarType::F64 => (DType::F64, floats(&DOUBLE, &mut random)),
            ScalarType::I32 => (DType::I32, integers(32, &mut random)),
            ScalarType::I64 => (DType::I64, integers(64, &mut random)),
            ScalarType::Bool => (DType::Bool, (0..8).map(|k| [k & 1, k >> 1 & 1, k >> 2]).collect()),
        };
        while triples.len() < LEN {
            triples.push(match ty {
                ScalarType::F32 => any_floats(&SINGLE, &mut random),
                ScalarType::F64 => any_floats(&DOUBLE, &mut random),
                // Of any length.
                ScalarType::I32 | ScalarType::I64 => {
                    std::array::from_fn(|_| (random.next() as i64 >> random.below(64)) as u64)
                }
                ScalarType::Bool => std::array::from_fn(|_| random.next() & 1),
            });
        }
        for (n, name) in NAMES.iter().enumerate() {
            let bytes = triples[..LEN].iter().flat_map(|t| t[n].to_le_bytes().into_iter().take(elem.size()));
            all.push(Column { name: format!("{elem} {name}"), elem, bytes: bytes.collect() });
        }
    }
    for elem in DType::ALL.into_iter().filter(|e| !all.iter().any(|c| c.elem == *e)).collect::<Vec<_>>() {
        // Every value of the narrow ones, or random bits; ends and middles of the range come first.
        let top = 1u64 << (8 * elem.size() - 1);
        let ends = [0, 1, top - 1, top, top + 1, !0, !0 - 1, top / 2];
        let values = (0..LEN).map(|k| ends.get(k).copied().unwrap_or_else(|| random.next()));
        let bytes = values.flat_map(|v| v.to_le_bytes().into_iter().take(elem.size())).collect();
        debug_assert_ne!(loaded_type(elem), ScalarType::Bool);
        all.push(Column { name: format!("{elem} {}", NAMES[0]), elem, bytes });
    }
    all
}

/// A format of floats.
struct Format {
    /// Bits behind the point.
    fraction: u32,
    /// Bits of the exponent.
    exponent: u32,
    of: fn(f64) -> u64,
    value: fn(u64) -> f64,
    /// `a * b + c` with one rounding.
    fma: fn([u64; 3]) -> u64,
    sqrt: fn(u64) -> u64,
}

const SINGLE: Format = Format {
    fraction: 23,
    exponent: 8,
    of: |x| u64::from((x as f32).to_bits()),
    value: |b| f64::from(f32::from_bits(b as u32)),
    fma: |t| {
        let [a, b, c] = t.map(|x| f32::from_bits(x as u32));
        u64::from(a.mul_add(b, c).to_bits())
    },
    sqrt: |x| u64::from(f32::from_bits(x as u32).sqrt().to_bits()),
};

const DOUBLE: Format = Format {
    fraction: 52,
    exponent: 11,
    of: f64::to_bits,
    value: f64::from_bits,
    fma: |t| {
        let [a, b, c] = t.map(f64::from_bits);
        a.mul_add(b, c).to_bits()
    },
    sqrt: |x| f64::from_bits(x).sqrt().to_bits(),
};

impl Format {
    fn bias(&self) -> i64 {
        (1 << (self.exponent - 1)) - 1
    }

    fn sign(&self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    /// `1.fraction * 2^e`, of a normal number.
    fn number(&self, e: i64, fraction: u64) -> u64 {
        let e = (e + self.bias()).clamp(1, 2 * self.bias()) as u64;
        e << self.fraction | (fraction & ((1 << self.fraction) - 1))
    }

    /// Values that are special, most without a sign.
    fn special(&self) -> Vec<u64> {
        let (m, top) = (i64::from(self.fraction), self.bias());
        let ulp = |x: u64, n: i64| x.wrapping_add_signed(n);
        let one = self.number(0, 0);
        let infinity = self.number(top, !0) + 1;
        let mut all =
            vec![0, 1, ulp(self.number(1 - top, 0), -1), self.number(1 - top, 0), ulp(self.number(1 - top, 0), 1)];
        all.extend([
            self.sign(),
            infinity | self.sign(),
            one,
            ulp(one, -1),
            ulp(one, 1),
            infinity - 1,
            infinity,
            infinity + 1,
            infinity | 1 << (m - 1),
        ]);
        all.extend([0.5, 1.5, 2.0, 2.5, 3.0, 0.1, 1.0 / 3.0, 1e10].map(self.of));
        // Where integers end, and halves.
        for e in [m - 1, m, m + 1, 31, 32, 63] {
            let x = self.number(e, 0);
            all.extend([x, ulp(x, -1)]);
        }
        // Products at the edge of what is subnormal, and of what is finite.
        all.extend([self.number(-(top + m) / 2, 0), self.number((top + 1) / 2, 1)]);
        all
    }
}

/// Pairs of special values, and what is hard for fused products, quotients, roots and narrowing.
fn floats(f: &Format, random: &mut Random) -> Vec<[u64; 3]> {
    let special = f.special();
    let n = special.len();
    let mut all = Vec::new();
    for (i, a) in special.iter().enumerate() {
        for (j, b) in special.iter().enumerate() {
            let c = special[random.below(n)];
            let signs = random.next();
            let signed = |x: u64, k: u32| if signs >> k & 1 == 1 { x ^ f.sign() } else { x };
            // The same pair meets with equal and with other signs.
            let flip = if (i + j) % 2 == 0 { f.sign() } else { 0 };
            all.push([signed(*a, 0), signed(*b, 0) ^ flip, signed(c, 1)]);
        }
    }
    let (m, bits) = (f.fraction, |random: &mut Random| random.next());
    let near = |random: &mut Random| random.below(41) as i64 - 20;
    for _ in 0..400 {
        // What a product loses: not 0 if it is fused.
        let (e, g) = (near(random), near(random));
        let (a, b) = (f.number(e, bits(random)), f.number(g, bits(random)));
        let product = (f.fma)([a, b, 0]);
        all.push([a, b, product ^ f.sign()]);
        all.push([a, b, (product ^ f.sign()).wrapping_add_signed(random.below(5) as i64 - 2)]);
    }
    for _ in 0..100 {
        // A product half way between two numbers, and a third far below that decides: (1 + 2^-i) (1 + 2^-j) with
        // i + j = m + 1.
        let i = 1 + random.below(m as usize) as u32;
        let j = m + 1 - i;
        let (e, g) = (near(random), near(random));
        let (a, b) = (f.number(e, 1 << (m - i)), f.number(g, 1 << (m - j)));
        let small = f.number(e + g - i64::from(m) * 2 - random.below(40) as i64, bits(random));
        all.push([a, b, small | if random.next() & 1 == 1 { f.sign() } else { 0 }]);
    }
    let top = f.bias();
    for _ in 0..100 {
        // Too large but for what is taken off; and sums of products below what is normal.
        let e = random.below(top as usize) as i64;
        let (a, b) = (f.number(e, bits(random)), f.number(top - e, bits(random)));
        all.push([a, b, f.number(top, bits(random)) | f.sign()]);
        let c = bits(random) & ((1 << m) - 1);
        all.push([f.number(-e, bits(random)), f.number(e - top - random.below(30) as i64, bits(random)), c]);
    }
    for _ in 0..400 {
        // A quotient next to a number or half way between two: a = b q, or b (q + half a place).
        let (b, q) = (f.number(near(random), bits(random)), f.number(near(random), bits(random)));
        let half = (f.of)((f.value)(q.wrapping_add(1)) / 2.0 - (f.value)(q) / 2.0);
        let product = (f.fma)([b, q, 0]);
        let a = if random.next() & 1 == 1 { (f.fma)([b, half, product]) } else { product };
        all.push([a.wrapping_add_signed(random.below(3) as i64 - 1), b, q]);
        // The same below what is normal.
        let low = f.number(-top + 5 + near(random), bits(random));
        all.push([low, f.number(random.below(30) as i64, bits(random)), b]);
        // A root next to a number.
        let square = (f.fma)([q, q, 0]).wrapping_add_signed(random.below(5) as i64 - 2);
        all.push([square, (f.sqrt)(square), b]);
    }
    if m > 23 {
        for _ in 0..200 {
            // Half way between two numbers of fewer bits, and one place beside it.
            let fraction = bits(random) >> 29 << 29 | 1 << 28;
            let e = random.below(300) as i64 - 160;
            all.push([-1, 0, 1].map(|n| f.number(e, fraction).wrapping_add_signed(n)));
        }
    }
    all
}

/// Numbers of any exponent, of near ones, or small whole ones and halves.
fn any_floats(f: &Format, random: &mut Random) -> [u64; 3] {
    let kind = random.below(4);
    std::array::from_fn(|_| {
        let bits = random.next();
        let sign = if bits >> 63 == 1 { f.sign() } else { 0 };
        match kind {
            0 => bits & (f.sign() | (f.sign() - 1)),
            1 | 2 => f.number(random.below(24) as i64 - 12, bits) | sign,
            _ => (f.of)((bits % 2001) as f64 * 0.5 - 500.0),
        }
    })
}

/// Pairs of special values, and what is half way between two floats.
fn integers(width: u32, random: &mut Random) -> Vec<[u64; 3]> {
    let mut special: Vec<i64> = vec![0, 1, 2, 3, 5, 7, 8, 10, 15, 16, 31, 32, 33, 63, 64, 65];
    for e in [7, 8, 15, 16, 23, 24, 25, 31, 32, 52, 53, 54, 62] {
        special.extend([(1 << e) - 1, 1 << e, (1 << e) + 1]);
    }
    special.extend([i64::MAX, i64::MIN, i64::MIN + 1, i32::MAX.into(), i32::MIN.into(), 0x5555_5555_5555_5555]);
    let mut signed: Vec<i64> = special.clone();
    signed.extend(special.iter().map(|x| x.wrapping_neg()));
    // Those that are others in fewer bits stay: they are still operands.
    let n = signed.len();
    let mut all = Vec::new();
    for (i, a) in special.iter().enumerate() {
        for b in &special {
            let (a, b) = (
                if i % 2 == 0 { *a } else { a.wrapping_neg() },
                if random.next() & 1 == 0 { *b } else { b.wrapping_neg() },
            );
            all.push([a, b, signed[random.below(n)]].map(|x| x as u64));
        }
    }
    for _ in 0..300 {
        // 24 or 53 bits, then half of the last place and a little more or less.
        let length = if random.next() & 1 == 1 { 24 } else { 53 };
        let left = 1 + random.below(64 - 2 - length as usize);
        let left = left.min((width as usize - 1).saturating_sub(length as usize)).max(1);
        let head = (random.next() >> (64 - length) | 1 << (length - 1)) as i64;
        let half = (head << left | 1 << (left - 1)).wrapping_mul(if random.next() & 1 == 1 { 1 } else { -1 });
        all.push([-1, 0, 1].map(|d| half.wrapping_add(d) as u64));
        all.push([1, -1, 0].map(|d| half.wrapping_add(d) as u64));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_hold_what_is_hard() {
        let all = columns();
        assert!(all.iter().all(|c| c.bytes.len() == LEN * c.elem.size()));
        for elem in DType::ALL {
            assert!(all.iter().any(|c| c.elem == elem), "{elem}");
        }
        let values = |name: &str| -> Vec<Scalar> {
            let c = all.iter().find(|c| c.name == name).expect("a column");
            (0..LEN).map(|k| c.value(k)).collect()
        };
        let singles = |name: &str| -> Vec<f32> {
            values(name).into_iter().map(|x| if let Scalar::F32(x) = x { x } else { f32::NAN }).collect()
        };
        let (a, b, c) = (singles("f32 a"), singles("f32 b"), singles("f32 c"));
        let count = |f: &dyn Fn(f32, f32, f32) -> bool| (0..LEN).filter(|k| f(a[*k], b[*k], c[*k])).count();
        // Fused and unfused differ, in the last place and where the product is out of range.
        assert!(count(&|a, b, c| a.mul_add(b, c) != a * b + c) > 500);
        assert!(count(&|a, b, c| a.mul_add(b, c).is_finite() && (a * b + c).is_infinite()) > 20);
        // A fused product by doubles rounds twice.
        let twice = |a: f32, b: f32, c: f32| f64::from(a).mul_add(f64::from(b), f64::from(c)) as f32;
        assert!(count(&|a, b, c| a.mul_add(b, c) != twice(a, b, c) && !a.mul_add(b, c).is_nan()) > 5);
        // A quotient by the inverse is off.
        assert!(count(&|a, b, _| a / b != a * (1.0 / b) && (a / b).is_finite()) > 200);
        assert!(count(&|a, b, _| (a / b).is_subnormal()) > 100);
        assert!(count(&|a, b, _| (a * b).is_subnormal()) > 50);
        assert!(count(&|a, _, _| a.is_nan()) > 20 && count(&|a, b, _| a == 0.0 && b == 0.0) > 1);
        let doubles: Vec<f64> =
            values("f64 a").into_iter().map(|x| if let Scalar::F64(x) = x { x } else { 0.0 }).collect();
        assert!(doubles.iter().filter(|x| (**x as f32).is_finite() && f64::from(**x as f32) != **x).count() > 1000);
        let longs: Vec<i64> = values("i64 a").into_iter().map(|x| if let Scalar::I64(x) = x { x } else { 0 }).collect();
        assert!(longs.iter().filter(|x| **x as f32 != **x as f64 as f32).count() > 20, "by doubles they round twice");
    }
}
