//! Algebra of element-wise ops that rounding leaves alone.

use super::{Cx, Domain, Rule, Way, one};
use egg::Id;
use nc_ir::graph::Op;
use nc_ir::kernel::Scalar;

macro_rules! patterns {
    ($family:literal; $($name:literal: $from:literal => $to:literal, $reason:literal $(, $of:ident)?;)*) => {
        [$(Rule {
            name: $name,
            family: $family,
            exact: true,
            reason: $reason,
            way: Way::Pattern { from: $from, to: $to, of: domain!($($of)?) },
        }),*]
    };
}
macro_rules! domain {
    () => {
        Domain::Any
    };
    ($of:ident) => {
        Domain::$of
    };
}
pub(super) use {domain, patterns};

const PATTERNS: [Rule; 15] = patterns! { "algebra";
    "neg-neg": "(neg (neg ?x))" => "?x", "the sign is flipped twice";
    "abs-neg": "(abs (neg ?x))" => "(abs ?x)", "the sign is dropped", Signed;
    "abs-abs": "(abs (abs ?x))" => "(abs ?x)", "the sign is dropped already";
    "sub-neg": "(sub ?a (neg ?b))" => "(add ?a ?b)", "subtraction adds the number of the other sign";
    "add-neg": "(add ?a (neg ?b))" => "(sub ?a ?b)", "subtraction adds the number of the other sign";
    "mul-neg": "(mul (neg ?a) ?b)" => "(neg (mul ?a ?b))", "rounding is symmetric";
    "div-neg": "(div (neg ?a) ?b)" => "(neg (div ?a ?b))", "rounding is symmetric", Floats;
    "div-by-neg": "(div ?a (neg ?b))" => "(neg (div ?a ?b))", "rounding is symmetric", Floats;
    "fma-neg-neg": "(fma (neg ?a) (neg ?b) ?c)" => "(fma ?a ?b ?c)", "two signs cancel in the exact product";
    "add-commutes": "(add ?a ?b)" => "(add ?b ?a)", "addition commutes";
    "mul-commutes": "(mul ?a ?b)" => "(mul ?b ?a)", "multiplication commutes";
    "max-same": "(max ?x ?x)" => "?x", "either operand";
    "min-same": "(min ?x ?x)" => "?x", "either operand";
    "max-max": "(max (max ?x ?a) ?a)" => "(max ?x ?a)", "it is not below the bound already";
    "min-min": "(min (min ?x ?a) ?a)" => "(min ?x ?a)", "it is not above the bound already";
};

const BUILT: [Rule; 2] = [
    Rule {
        name: "div-power-of-two",
        family: "algebra",
        exact: true,
        reason: "a quotient by a power of two is the product with its inverse: both round the same number",
        way: Way::Built(div_power_of_two),
    },
    Rule {
        name: "mul-minus-one",
        family: "algebra",
        exact: true,
        reason: "the product with -1 is the number of the other sign",
        way: Way::Built(mul_minus_one),
    },
];

/// The rules of this family.
pub(super) const RULES: &[Rule] = &super::joined::<15, 2, 17>(PATTERNS, BUILT);

fn div_power_of_two(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Div, Some(dtype)) = (op, args.first().and_then(|a| cx.dtype(*a))) else { return Vec::new() };
    let inverse = match cx.number(args[1]) {
        Some(Scalar::F32(x)) if is_power_of_two(x.to_bits().into(), 23) && (1.0 / x).is_normal() => {
            Scalar::F32(1.0 / x)
        }
        Some(Scalar::F64(x)) if is_power_of_two(x.to_bits(), 52) && (1.0 / x).is_normal() => Scalar::F64(1.0 / x),
        _ => return Vec::new(),
    };
    // In the narrow types the inverse may not be a number of the type, or a subnormal.
    if !matches!(dtype, nc_ir::types::DType::F32 | nc_ir::types::DType::F64) {
        return Vec::new();
    }
    let inverse = cx.scalar(dtype, inverse);
    vec![cx.add(Op::Mul, &[args[0], inverse])]
}

/// True for a normal number without a fraction.
fn is_power_of_two(bits: u64, fraction: u32) -> bool {
    let exponent = if fraction == 23 { bits >> 23 & 0xff } else { bits >> 52 & 0x7ff };
    let largest = if fraction == 23 { 0xff } else { 0x7ff };
    bits & ((1 << fraction) - 1) == 0 && exponent != 0 && exponent != largest
}

fn mul_minus_one(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op != Op::Mul || cx.float(args[1]) != Some(-1.0) {
        return Vec::new();
    }
    one(Some(cx.add(Op::Neg, &[args[0]])))
}
