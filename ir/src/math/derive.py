"""Derives the constants of the elementary functions and the reference values of their tests.

Prints `coefs.rs` (argument `coefs`): minimax polynomials found by the Remez exchange in 200-bit arithmetic, rounded to
binary32 and binary64, the split constants of the range reductions, and the bits of 2/pi. Prints `reference.txt`
(argument `reference`): stratified binary64 arguments with the true value of each function, as the nearest binary64 and
the distance to it in ulps. Needs mpmath (and is quick with gmpy2):

    python3 derive.py coefs | rustfmt --config max_width=120 > coefs.rs
    python3 derive.py reference > reference.txt
"""

import random
import struct
import sys

from mpmath import mp, mpf, matrix, lu_solve
import mpmath as m

mp.prec = 200


def round_to(x, bits):
    """The nearest value with this many significant bits (no subnormals: the constants are far from them)."""
    with mp.workprec(bits):
        return +mpf(x)


def remez(g, w, a, b, n):
    """Coefficients c[0..=n] that minimise max |w(x) (g(x) - sum c_k x^k)| on [a, b], and that maximum."""
    a, b = mpf(a), mpf(b)
    nodes = [(a + b) / 2 - (b - a) / 2 * m.cos(m.pi * (2 * i + 1) / (2 * (n + 2))) for i in range(n + 2)]
    grid = [(a + b) / 2 - (b - a) / 2 * m.cos(m.pi * i / (32 * (n + 2))) for i in range(32 * (n + 2) + 1)]
    gs = [(x, g(x), w(x)) for x in grid]
    best = None
    for _ in range(30):
        A, rhs = matrix(n + 2, n + 2), matrix(n + 2, 1)
        for i, x in enumerate(nodes):
            for k in range(n + 1):
                A[i, k] = x**k
            A[i, n + 1] = (-1) ** i / w(x)
            rhs[i] = g(x)
        sol = lu_solve(A, rhs)
        c = [sol[k] for k in range(n + 1)]
        err = [(x, ww * (gg - m.polyval(c[::-1], x))) for x, gg, ww in gs]
        top = max(abs(e) for _, e in err)
        if best is None or top < best[1]:
            best = (c, top)
        # One extremum for each run of equal sign, then the n + 2 neighbouring ones that hold the largest.
        runs = []
        for x, e in err:
            if runs and (runs[-1][1] > 0) == (e > 0):
                if abs(e) > abs(runs[-1][1]):
                    runs[-1] = (x, e)
            else:
                runs.append((x, e))
        while len(runs) > n + 2:
            runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
        if len(runs) < n + 2 or top - abs(sol[n + 1]) < abs(sol[n + 1]) * mpf("1e-3"):
            break
        nodes = [x for x, _ in runs]
    return best


def series(f, x0, n):
    """Taylor coefficients, to evaluate quotients near their removable singularities."""
    return m.taylor(f, x0, n)


def near(direct, taylor, eps=mpf("1e-4")):
    """`direct(x)`, or the Taylor polynomial near 0."""
    return lambda x: m.polyval(taylor[::-1], x) if abs(x) < eps else direct(x)


def expm1_over(r):
    return m.expm1(r) / r if r else mpf(1)


exp_q = near(lambda r: (m.expm1(r) - r) / r**2, [1 / m.factorial(k + 2) for k in range(20)])
log_r = near(lambda z: 2 * (m.atanh(m.sqrt(z)) / m.sqrt(z) - 1) / z, [mpf(2) / (2 * k + 3) for k in range(20)])
log_t = near(
    lambda z: ((m.atanh(m.sqrt(z)) / m.sqrt(z) - 1) / z - mpf(1) / 3) / z, [mpf(1) / (2 * k + 5) for k in range(20)]
)
erf_s = near(
    lambda z: m.erf(m.sqrt(z)) / m.sqrt(z) - 1,
    [(2 / m.sqrt(m.pi)) * (-1) ** k / m.factorial(k) / (2 * k + 1) - (1 if k == 0 else 0) for k in range(20)],
)
sin_q = near(lambda z: (m.sin(m.sqrt(z)) / m.sqrt(z) - 1) / z, [(-1) ** (k + 1) / m.factorial(2 * k + 3) for k in range(12)])
cos_q = near(lambda z: (m.cos(m.sqrt(z)) - 1 + z / 2) / z**2, [(-1) ** k / m.factorial(2 * k + 4) for k in range(12)])

tan_q = near(lambda z: (m.tan(m.sqrt(z)) / m.sqrt(z) - 1) / z, series(m.tan, 0, 39)[3::2])
atan_q = near(lambda z: (m.atan(m.sqrt(z)) / m.sqrt(z) - 1) / z, [mpf((-1) ** (k + 1)) / (2 * k + 3) for k in range(20)])
asin_q = near(lambda z: (m.asin(m.sqrt(z)) / m.sqrt(z) - 1) / z, series(m.asin, 0, 39)[3::2])

LN2H = m.log(2) / 2 * mpf("1.005")
Z_LOG = (3 - 2 * m.sqrt(2)) ** 2 * mpf("1.0001")
Z_TRIG = (m.pi / 4 * mpf("1.0001")) ** 2
Z_ATAN = (m.sqrt(2) - 1) ** 2 * mpf("1.0001")

# name, doc, function, weight, interval for f32, degree for f32, interval for f64, degree for f64
POLYS = [
    ("EXP", "`(exp(r) - 1 - r) / r^2` in r, for `|r| <= ln(2)/2`, for `exp`", exp_q, lambda r: max(r * r, mpf("1e-9")) / m.exp(r), (-LN2H, LN2H), 4, (-LN2H, LN2H), 9),
    ("EXPM1", "`(exp(r) - 1 - r) / r^2` in r, for `|r| <= ln(2)/2`, for `exp - 1`", exp_q, lambda r: max(abs(r), mpf("1e-9")) / expm1_over(r), (-LN2H, LN2H), 5, (-LN2H, LN2H), 10),
    ("LOG", "`(2 atanh(s)/s - 2) / s^2` in s^2, for `|s| <= 3 - 2 sqrt(2)`", log_r, lambda z: z / 2, (0, Z_LOG), 2, (0, Z_LOG), 6),
    ("LOG_TAIL", "`((atanh(s)/s - 1)/s^2 - 1/3) / s^2` in s^2, for `|s| <= 3 - 2 sqrt(2)`", log_t, lambda z: z * z, (0, Z_LOG), 2, (0, Z_LOG), 7),
    ("ERF_NEAR", "`erf(x)/x - 1` in x^2, for `|x| <= 1`", erf_s, lambda z: 1 / (1 + erf_s(z)), (0, 1), 6, (0, 1), 12),
    ("ERF_FAR", "`-ln(erfc(1 + u))` in u, to `u = 3` (f32), `u = 5` (f64)", lambda u: -m.log(m.erfc(1 + u)), lambda u: m.erfc(1 + u) / m.erf(1 + u), (0, 3), 6, (0, 5), 18),
    ("SIN", "`(sin(r)/r - 1) / r^2` in r^2, for `|r| <= pi/4`", sin_q, lambda z: z, (0, Z_TRIG), 2, (0, Z_TRIG), 5),
    ("COS", "`(cos(r) - 1 + r^2/2) / r^4` in r^2, for `|r| <= pi/4`", cos_q, lambda z: z * z, (0, Z_TRIG), 2, (0, Z_TRIG), 5),
    ("TAN", "`(tan(r)/r - 1) / r^2` in r^2, for `|r| <= pi/4`", tan_q, lambda z: z / (1 + z * tan_q(z)), (0, Z_TRIG), 6, (0, Z_TRIG), 14),
    ("ATAN", "`(atan(t)/t - 1) / t^2` in t^2, for `|t| <= tan(pi/8)`", atan_q, lambda z: z / (1 + z * atan_q(z)), (0, Z_ATAN), 4, (0, Z_ATAN), 10),
    ("ASIN", "`(asin(s)/s - 1) / s^2` in s^2, for `|s| <= 1/2`", asin_q, lambda z: z / (1 + z * asin_q(z)), (0, mpf("0.25")), 4, (0, mpf("0.25")), 12),
]

SPLITS = [
    ("LOG2_E", "`log2(e)`", 1 / m.log(2)),
    ("LN_2", "`ln(2)`", m.log(2)),
    ("TWO_OVER_LN2", "`2 / ln(2)`", 2 / m.log(2)),
    ("THIRD", "`1 / 3`", mpf(1) / 3),
    ("HALF_PI", "`pi / 2`", m.pi / 2),
    ("HALF_SQRT2", "`sqrt(1/2)`", m.sqrt(mpf(1) / 2)),
]


def literal(x, bits):
    """The shortest decimal that reads back as the binary32 or binary64 nearest to x."""
    v = round_to(x, bits)
    if bits == 53:
        return repr(float(v))
    for digits in range(1, 12):
        s = f"{float(v):.{digits - 1}e}"
        if struct.pack("f", float(s)) == struct.pack("f", float(v)):
            return s if "." in s else s.replace("e", ".0e")
    raise ValueError(x)


def coefs():
    print("//! Constants of the elementary functions, printed by `derive.py`.")
    print("#![allow(clippy::excessive_precision, clippy::approx_constant, clippy::unreadable_literal)]\n")
    print("use super::build::{Pair, Poly};\n")
    for name, doc, g, w, (a, b), n, (c, d), k in POLYS:
        c32, e32 = remez(g, w, a, b, n)
        c64, e64 = remez(g, w, c, d, k)
        e32, e64 = float(m.log(e32, 2)), float(m.log(e64, 2))
        print(f"/// {doc}; relative error of the result 2^{e32:.1f} (f32), 2^{e64:.1f} (f64).")
        print(f"pub(super) const {name}: Poly = Poly {{ f32: &[{', '.join(literal(x, 24) for x in c32)}],")
        print(f"f64: &[{', '.join(literal(x, 53) for x in c64)}] }};\n")
        print(name, e32, e64, file=sys.stderr)
    for name, doc, v in SPLITS:
        his = [round_to(v, p) for p in (24, 53)]
        los = [v - h for h in his]
        print(f"/// {doc} as an unevaluated sum of two floats.")
        print(f"pub(super) const {name}: Pair = Pair {{ hi: ({literal(his[0], 24)}, {literal(his[1], 53)}),")
        print(f"lo: ({literal(los[0], 24)}, {literal(los[1], 53)}) }};\n")
    with mp.workprec(2000):
        bits = int(m.floor(2 / m.pi * mpf(2) ** (64 * 20)))
    words = [(bits >> (64 * (19 - i))) & (2**64 - 1) for i in range(20)]
    print("/// The binary expansion of `2 / pi` after the point, in words of 64 bits, the first the most significant.")
    print(f"pub(super) const TWO_OVER_PI: [u64; 20] = [{', '.join(f'0x{x:016x}' for x in words)}];")


def f64(bits):
    return struct.unpack("d", struct.pack("Q", bits))[0]


def reference():
    rng = random.Random(1)

    def spread(lo, hi, n):
        """n values of either sign whose exponents are uniform in [lo, hi]."""
        return [rng.choice([-1, 1]) * (1 + rng.random()) * 2.0 ** rng.uniform(lo, hi) for _ in range(n)]

    def span(lo, hi, n):
        return [rng.uniform(lo, hi) for _ in range(n)]

    tiny = [f64(1), -f64(1), 2.0**-1022, 1e-310, 1e-300]
    unary = {
        "exp": (m.exp, span(-745.2, 709.7, 250) + span(-1, 1, 150) + spread(-60, 9, 60) + [-745.13, -744.0, -708.4, -740.0]),
        "expm1": (m.expm1, span(-45, 709.7, 150) + span(-1, 1, 150) + spread(-60, 9, 60)),
        "log": (m.log, [abs(x) for x in spread(-1073, 1022, 250)] + span(0.5, 2, 200) + [1 - 2.0**-k for k in range(2, 53)] + [1 + 2.0**-k for k in range(1, 53)]),
        "log1p": (m.log1p, [abs(x) for x in spread(-80, 1022, 150)] + span(-1, 2, 250) + spread(-60, -2, 100)),
        "tanh": (m.tanh, span(-20, 20, 250) + span(-1, 1, 200) + spread(-60, 4, 80)),
        "sigmoid": (lambda x: 1 / (1 + m.exp(-x)), span(-745, 40, 250) + span(-4, 4, 200) + spread(-60, 4, 60)),
        "erf": (m.erf, span(-6, 6, 300) + span(-1, 1, 200) + spread(-60, 2, 60)),
        "sin": (m.sin, span(-10, 10, 200) + spread(-30, 1023, 300) + [float(k * m.pi / 2) for k in range(1, 60)] + [6381956970095103.0 * 2.0**797]),
        "tan": (m.tan, span(-10, 10, 200) + spread(-30, 1023, 200) + [float(k * m.pi / 4) for k in range(1, 60)] + [6381956970095103.0 * 2.0**797]),
        "asin": (m.asin, span(-1, 1, 250) + spread(-60, -1, 60) + [1 - 2.0**-k for k in range(1, 53)]),
        "acos": (m.acos, span(-1, 1, 250) + spread(-60, -1, 60) + [s * (1 - 2.0**-k) for k in range(1, 53) for s in (1, -1)]),
        "atan": (m.atan, span(-4, 4, 250) + spread(-60, 60, 150) + spread(-3, 3, 60)),
        "cos": (m.cos, span(-10, 10, 200) + spread(-30, 1023, 300) + [float(k * m.pi / 2) for k in range(1, 60)] + [6381956970095103.0 * 2.0**797]),
    }

    def emit(name, args, v):
        hi = float(v)
        if abs(hi) == float("inf") or v == 0:
            return
        ulp = mpf(2) ** (max(m.frexp(mpf(hi))[1] if hi else -2000, -1021) - 53)
        words = " ".join(f"{struct.unpack('Q', struct.pack('d', a))[0]:016x}" for a in args + [hi])
        print(f"{name} {words} {float((v - mpf(hi)) / ulp):.4f}")

    for name, (f, xs) in unary.items():
        xs = xs + ([abs(x) for x in tiny] if name == "log" else tiny)
        for x in xs:
            # Working precision enough for the largest argument of a sine and the smallest difference of an expm1.
            with mp.workprec(2400 if name in ("sin", "cos", "tan") else 2200 if abs(x) < 1e-30 else 400):
                emit(name, [x], f(mpf(x)))
    for _ in range(700):
        x = (1 + rng.random()) * 2.0 ** rng.uniform(-1000, 1000) if rng.random() < 0.4 else rng.uniform(0.01, 4)
        y = rng.uniform(-1060, 1020) / float(m.log(x, 2)) if rng.random() < 0.8 else rng.uniform(-8, 8)
        if rng.random() < 0.15:
            x = 1 + rng.uniform(-1, 1) * 2.0 ** -rng.randint(2, 40)
            y = rng.uniform(-1000, 1000) / float(m.log(x, 2))
        emit("pow", [x, y], m.power(mpf(x), mpf(y)))


{"coefs": coefs, "reference": reference}[sys.argv[1]]()
