//! What is computed: every operation by itself, chains that drivers like to change, every type in memory.

use super::operands::{Column, NAMES};
use nc_ir::DType;
use nc_ir::kernel::{Emit, Scalar, ScalarOp, ScalarType, Signature, loaded_type};
use std::collections::BTreeSet;

use ScalarOp::*;
use ScalarType::{Bool, F32, F64, I32, I64};

/// Operations over operands, one after another.
///
/// Values are numbered: operands first, then constants, then results of operations in their order. The last one is the
/// result of all.
pub(super) struct Formula {
    /// Types of the operands, as they are in memory.
    takes: Vec<DType>,
    constants: Vec<Scalar>,
    ops: Vec<(ScalarOp, Vec<usize>)>,
    /// The type of the result in memory.
    stored: DType,
}

/// The type in memory that holds a scalar as it is.
fn held(ty: ScalarType) -> DType {
    match ty {
        F32 => DType::F32,
        F64 => DType::F64,
        I32 => DType::I32,
        I64 => DType::I64,
        Bool => DType::Bool,
    }
}

impl Formula {
    /// Operations over operands of these types. None for types that an operation does not take.
    fn of(takes: &[ScalarType], constants: &[Scalar], ops: &[(ScalarOp, &[usize])]) -> Option<Formula> {
        let mut types: Vec<ScalarType> = takes.iter().copied().chain(constants.iter().map(|k| k.ty())).collect();
        for (op, args) in ops {
            let of: Option<Vec<ScalarType>> = args.iter().map(|n| types.get(*n).copied()).collect();
            types.push(op.result_type(&of?)?);
        }
        Some(Formula {
            takes: takes.iter().map(|t| held(*t)).collect(),
            constants: constants.to_vec(),
            ops: ops.iter().map(|(op, args)| (*op, args.to_vec())).collect(),
            stored: held(*types.last()?),
        })
    }

    /// An element that is read from one type in memory and written to another.
    fn copied(from: DType, to: DType) -> Formula {
        Formula { takes: vec![from], constants: Vec::new(), ops: Vec::new(), stored: to }
    }

    /// The type of the result in memory.
    pub fn stored(&self) -> DType {
        self.stored
    }

    /// The columns of its operands.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn args(&self, columns: &[Column]) -> Result<Vec<usize>, String> {
        let mut names = NAMES.iter();
        let mut column = |elem: &DType| {
            // The second operand is of the second column of its type, whatever the type of the first.
            let name = names.next()?;
            columns.iter().position(|c| c.elem == *elem && c.name.ends_with(name))
        };
        let found: Option<Vec<usize>> = self.takes.iter().map(&mut column).collect();
        found.ok_or_else(|| format!("no operands for {}", self.name()))
    }

    /// Writes the operations.
    pub fn write<E: Emit>(&self, e: &mut E, args: &[E::Value]) -> E::Value {
        let mut values = args.to_vec();
        values.extend(self.constants.iter().map(|k| e.constant(*k)));
        let mut last = values[0];
        for (op, args) in &self.ops {
            let args: Vec<E::Value> = args.iter().map(|n| values[*n]).collect();
            last = e.op(*op, &args);
            values.push(last);
        }
        last
    }

    /// Whether the result is not defined: the bits of a NaN.
    pub fn is_open(&self, operands: &[Scalar]) -> bool {
        let is_nan = match operands {
            [Scalar::F32(x)] => x.is_nan(),
            [Scalar::F64(x)] => x.is_nan(),
            _ => false,
        };
        is_nan && self.ops.iter().any(|(op, _)| matches!(op, F32Bits | F64Bits))
    }

    /// The formula in words, for example `fadd.f32(fmul.f32(a, b), c)`.
    pub fn name(&self) -> String {
        let of = self.takes.last().map_or("", |t| t.name());
        self.steps().pop().unwrap_or_else(|| format!("{of} to {}", self.stored.name()))
    }

    /// The operations in words, one after another.
    pub fn steps(&self) -> Vec<String> {
        let mut names: Vec<String> = NAMES.iter().take(self.takes.len()).map(|n| (*n).to_owned()).collect();
        for k in &self.constants {
            names.push(match k {
                Scalar::F32(x) => format!("{x:?}"),
                Scalar::F64(x) => format!("{x:?}"),
                Scalar::I32(x) => x.to_string(),
                Scalar::I64(x) => x.to_string(),
                Scalar::Bool(x) => x.to_string(),
            });
        }
        let given = names.len();
        let of = self.takes.last().map_or("", |t| t.name());
        for (op, args) in &self.ops {
            let args: Vec<&str> = args.iter().map(|n| names[*n].as_str()).collect();
            let ty = match op.signature() {
                Signature::Convert(..) => String::new(),
                _ => format!(".{of}"),
            };
            names.push(format!("{}{ty}({})", op.name(), args.join(", ")));
        }
        names.split_off(given)
    }
}

/// Formulas in loops, so that none computes what another in its loop computes: drivers do not change what several need.
pub(super) fn loops(formulas: Vec<Formula>) -> Vec<Vec<Formula>> {
    let mut all: Vec<(BTreeSet<String>, Vec<Formula>)> = Vec::new();
    for f in formulas {
        let steps: BTreeSet<String> = f.steps().into_iter().collect();
        match all.iter_mut().find(|(known, _)| known.is_disjoint(&steps)) {
            Some((known, own)) => {
                known.extend(steps);
                own.push(f);
            }
            None => all.push((steps, vec![f])),
        }
    }
    all.into_iter().map(|(_, own)| own).collect()
}

/// The formulas in groups, each of which becomes a kernel with this name.
pub(super) fn groups() -> Vec<(&'static str, Vec<Formula>)> {
    let alone = |ty: ScalarType| {
        let ops = ScalarOp::ALL.iter().filter_map(move |op| {
            let n = op.arity();
            let takes: Vec<ScalarType> = match op.signature() {
                Signature::Select => vec![Bool, ty, ty],
                _ => vec![ty; n],
            };
            let args: Vec<usize> = (0..n).collect();
            Formula::of(&takes, &[], &[(*op, &args)])
        });
        ops.collect::<Vec<Formula>>()
    };
    vec![
        ("f32", alone(F32)),
        ("f64", alone(F64)),
        ("i32", alone(I32)),
        ("i64", alone(I64)),
        ("bool", alone(Bool)),
        ("chains of f32", floats(F32)),
        ("chains of f64", floats(F64)),
        ("chains of i32", integers(I32)),
        ("chains of i64", integers(I64)),
        ("chains of both", mixed()),
        ("memory", memory()),
    ]
}

/// Chains that are not what they look like in arithmetic of floats.
fn floats(ty: ScalarType) -> Vec<Formula> {
    let k = |x: f64| if ty == F32 { Scalar::F32(x as f32) } else { Scalar::F64(x) };
    let (zero, minus, one, two, three, half) = (k(0.0), k(-0.0), k(1.0), k(2.0), k(3.0), k(0.5));
    let one_of = |constants: &[Scalar], ops: &[(ScalarOp, &[usize])]| Formula::of(&[ty], constants, ops);
    let two_of = |constants: &[Scalar], ops: &[(ScalarOp, &[usize])]| Formula::of(&[ty; 2], constants, ops);
    let three_of = |ops: &[(ScalarOp, &[usize])]| Formula::of(&[ty; 3], &[], ops);
    let all = [
        // Not fused.
        three_of(&[(FMul, &[0, 1]), (FAdd, &[3, 2])]),
        three_of(&[(FMul, &[0, 1]), (FAdd, &[2, 3])]),
        three_of(&[(FMul, &[0, 1]), (FSub, &[3, 2])]),
        three_of(&[(FMul, &[0, 1]), (FSub, &[2, 3])]),
        three_of(&[(FMul, &[0, 1]), (FNeg, &[3]), (FAdd, &[4, 2])]),
        two_of(&[], &[(FMul, &[0, 0]), (FMul, &[1, 1]), (FAdd, &[2, 3])]),
        // Not in another order.
        three_of(&[(FAdd, &[0, 1]), (FAdd, &[3, 2])]),
        three_of(&[(FMul, &[0, 1]), (FMul, &[3, 2])]),
        three_of(&[(FMul, &[0, 1]), (FMul, &[0, 2]), (FAdd, &[3, 4])]),
        two_of(&[], &[(FAdd, &[0, 1]), (FSub, &[2, 0])]),
        two_of(&[], &[(FSub, &[0, 1]), (FAdd, &[2, 1])]),
        two_of(&[], &[(FDiv, &[0, 1]), (FMul, &[2, 1])]),
        two_of(&[], &[(FMul, &[0, 1]), (FDiv, &[2, 1])]),
        two_of(&[one], &[(FDiv, &[2, 1]), (FMul, &[0, 3])]),
        two_of(&[], &[(FSub, &[0, 1]), (FNeg, &[2])]),
        // The fused one has one rounding, also with signs.
        three_of(&[(FNeg, &[0]), (Fma, &[3, 1, 2])]),
        three_of(&[(FNeg, &[2]), (Fma, &[0, 1, 3])]),
        // Not without zeros, signs of zeros, infinities and NaN.
        one_of(&[zero], &[(FAdd, &[0, 1])]),
        one_of(&[minus], &[(FAdd, &[0, 1])]),
        one_of(&[zero], &[(FSub, &[0, 1])]),
        one_of(&[zero], &[(FSub, &[1, 0])]),
        one_of(&[minus], &[(FSub, &[1, 0])]),
        one_of(&[zero], &[(FMul, &[0, 1])]),
        one_of(&[one], &[(FMul, &[0, 1])]),
        one_of(&[], &[(FSub, &[0, 0])]),
        one_of(&[], &[(FDiv, &[0, 0])]),
        one_of(&[], &[(FEq, &[0, 0])]),
        one_of(&[], &[(FNe, &[0, 0])]),
        one_of(&[], &[(FMul, &[0, 0]), (FSqrt, &[1])]),
        one_of(&[], &[(FAbs, &[0]), (FSqrt, &[1])]),
        // Exact scalings, and a quotient that is no product.
        one_of(&[two, half], &[(FMul, &[0, 1]), (FMul, &[3, 2])]),
        one_of(&[two], &[(FDiv, &[0, 1])]),
        one_of(&[three], &[(FDiv, &[0, 1])]),
        one_of(&[one], &[(FDiv, &[1, 0])]),
        one_of(&[one], &[(FSqrt, &[0]), (FDiv, &[1, 2])]),
        // Choices that are no minimum, maximum or absolute value, and what is not less and not more.
        two_of(&[], &[(FLt, &[0, 1]), (Select, &[2, 0, 1])]),
        two_of(&[], &[(FLt, &[0, 1]), (Select, &[2, 1, 0])]),
        two_of(&[], &[(FGt, &[0, 1]), (Select, &[2, 0, 1])]),
        two_of(&[], &[(FLe, &[0, 1]), (Select, &[2, 1, 0])]),
        two_of(&[], &[(FGe, &[0, 1]), (Select, &[2, 0, 1])]),
        one_of(&[zero], &[(FLt, &[0, 1]), (FNeg, &[0]), (Select, &[2, 3, 0])]),
        one_of(&[zero, one], &[(FLt, &[0, 1]), (Select, &[3, 1, 0]), (FLt, &[2, 4]), (Select, &[5, 2, 4])]),
        two_of(&[], &[(FLt, &[0, 1]), (Not, &[2])]),
        two_of(&[], &[(FGe, &[0, 1]), (Not, &[2])]),
        two_of(&[], &[(FLt, &[0, 1]), (FGt, &[0, 1]), (Or, &[2, 3])]),
        two_of(&[zero], &[(FSub, &[0, 1]), (FGt, &[3, 2])]),
        one_of(&[half], &[(FAdd, &[0, 1]), (Floor, &[2])]),
        one_of(&[], &[(Floor, &[0]), (FSub, &[0, 1])]),
    ];
    all.into_iter().flatten().collect()
}

/// Chains that are not what they look like in arithmetic that wraps.
fn integers(ty: ScalarType) -> Vec<Formula> {
    let k = |x: i64| if ty == I32 { Scalar::I32(x as i32) } else { Scalar::I64(x) };
    let of = |takes: usize, constants: &[i64], ops: &[(ScalarOp, &[usize])]| {
        let constants: Vec<Scalar> = constants.iter().map(|x| k(*x)).collect();
        Formula::of(&[ty; 3][..takes], &constants, ops)
    };
    let all = [
        of(2, &[0], &[(ISub, &[0, 1]), (ILt, &[3, 2])]),
        of(2, &[], &[(IAdd, &[0, 1]), (ILt, &[2, 0])]),
        of(2, &[], &[(IAdd, &[0, 1]), (ULt, &[2, 0])]),
        of(1, &[1], &[(IAdd, &[0, 1]), (IGt, &[2, 0])]),
        of(2, &[], &[(IMul, &[0, 1]), (IDiv, &[2, 1])]),
        of(3, &[], &[(IMul, &[0, 1]), (IAdd, &[3, 2])]),
        of(1, &[3], &[(IDiv, &[0, 1])]),
        of(1, &[3], &[(IRem, &[0, 1])]),
        of(1, &[-8], &[(IDiv, &[0, 1])]),
        of(1, &[-8], &[(IRem, &[0, 1])]),
        of(1, &[5], &[(Shl, &[0, 1]), (ShrS, &[2, 1])]),
        of(1, &[5], &[(Shl, &[0, 1]), (ShrU, &[2, 1])]),
        of(2, &[], &[(ILt, &[0, 1]), (Select, &[2, 0, 1])]),
        of(2, &[], &[(ULt, &[0, 1]), (Select, &[2, 1, 0])]),
    ];
    all.into_iter().flatten().collect()
}

/// Chains over several types.
fn mixed() -> Vec<Formula> {
    let all = [
        Formula::of(&[F32; 2], &[], &[(F32ToF64, &[0]), (F32ToF64, &[1]), (FMul, &[2, 3]), (F64ToF32, &[4])]),
        Formula::of(&[F32; 2], &[], &[(F32ToF64, &[0]), (F32ToF64, &[1]), (FAdd, &[2, 3]), (F64ToF32, &[4])]),
        Formula::of(&[F64], &[], &[(F64ToF32, &[0]), (F32ToF64, &[1])]),
        Formula::of(&[F32], &[], &[(F32ToI32, &[0]), (I32ToF32, &[1])]),
        Formula::of(&[F32], &[], &[(Trunc, &[0]), (F32ToI64, &[1])]),
        Formula::of(&[F64], &[], &[(Nearest, &[0]), (F64ToI64, &[1]), (I64ToF64, &[2])]),
        Formula::of(&[F64], &[], &[(F64ToI64, &[0]), (I64ToI32, &[1])]),
        Formula::of(&[I64], &[], &[(I64ToF64, &[0]), (F64ToF32, &[1])]),
        Formula::of(&[I32], &[], &[(I32ToF64, &[0]), (F64ToI32, &[1])]),
        Formula::of(&[I32], &[], &[(U32ToI64, &[0]), (I64ToF32, &[1])]),
        Formula::of(&[I32], &[], &[(BitsF32, &[0]), (F32ToF64, &[1])]),
        Formula::of(&[I64], &[], &[(BitsF64, &[0]), (F64ToF32, &[1])]),
        Formula::of(&[F32; 2], &[], &[(FLt, &[0, 1]), (BoolToI32, &[2]), (I32ToF32, &[3])]),
        Formula::of(&[F32; 2], &[], &[(FLt, &[0, 1]), (BoolToI32, &[2]), (I32ToF32, &[3]), (FMul, &[4, 0])]),
    ];
    all.into_iter().flatten().collect()
}

/// Every type in memory, read and written.
fn memory() -> Vec<Formula> {
    let wide = |t: DType| held(loaded_type(t));
    let narrow = DType::ALL.into_iter().filter(move |t| *t != wide(*t));
    let read = narrow.clone().map(move |t| Formula::copied(t, wide(t)));
    let written = narrow.map(move |t| Formula::copied(wide(t), t));
    let same = [DType::F32, DType::F64, DType::I32, DType::I64, DType::Bool].map(|t| Formula::copied(t, t));
    read.chain(written).chain(same).collect()
}
