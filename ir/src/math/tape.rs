//! Straight-line scalar code as a list, and its evaluation for many arguments at once.

use rustc_hash::FxHashMap;

use crate::kernel::{Emit, Scalar, ScalarOp, ScalarType};

/// One operation of a [`Tape`]: its operands are earlier slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The operation.
    pub op: ScalarOp,
    /// The operands, of which the first [`ScalarOp::arity`] count.
    pub args: [u32; 3],
}

/// What a slot of a [`Tape`] holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Input,
    Constant(Scalar),
    Step(Step),
}

/// Recorded straight-line scalar code: the [`Emit`] that lists.
///
/// A value is the index of a slot. Equal constants share a slot.
#[derive(Clone, Default, Debug)]
pub struct Tape {
    slots: Vec<Slot>,
    types: Vec<ScalarType>,
    constants: FxHashMap<Scalar, u32>,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Tape {
        Tape::default()
    }

    /// A new input; all inputs have to come before anything else.
    pub fn input(&mut self, ty: ScalarType) -> u32 {
        self.push(Slot::Input, ty)
    }

    /// The operations in order, without inputs and constants.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.slots.iter().filter_map(|s| match s {
            Slot::Step(step) => Some(*step),
            Slot::Input | Slot::Constant(_) => None,
        })
    }

    /// The types of the slots, inputs and constants included.
    pub fn types(&self) -> &[ScalarType] {
        &self.types
    }

    fn push(&mut self, slot: Slot, ty: ScalarType) -> u32 {
        self.slots.push(slot);
        self.types.push(ty);
        self.slots.len() as u32 - 1
    }
}

impl Emit for Tape {
    type Value = u32;

    fn constant(&mut self, k: Scalar) -> u32 {
        if let Some(&slot) = self.constants.get(&k) {
            return slot;
        }
        let slot = self.push(Slot::Constant(k), k.ty());
        self.constants.insert(k, slot);
        slot
    }

    fn op(&mut self, op: ScalarOp, args: &[u32]) -> u32 {
        let mut types = [ScalarType::Bool; 3];
        let mut slots = [0; 3];
        for (i, &a) in args.iter().enumerate() {
            types[i] = self.types[a as usize];
            slots[i] = a;
        }
        let Some(ty) = op.result_type(&types[..args.len()]) else { panic!("{op} does not take {types:?}") };
        self.push(Slot::Step(Step { op, args: slots }), ty)
    }

    fn type_of(&self, v: u32) -> ScalarType {
        self.types[v as usize]
    }
}

/// Arguments that a [`Block`] evaluates at once.
pub const LANES: usize = 128;

/// Evaluates a [`Tape`] of 32-bit operations for [`LANES`] arguments at once, in loops that vectorise.
///
/// It serves exhaustive tests; [`crate::kernel::Evaluate`] is the definition.
#[derive(Clone, Debug)]
pub struct Block {
    steps: Vec<(u32, Step)>,
    lanes: Vec<[u32; LANES]>,
}

impl Block {
    /// Prepares a tape, or returns the first operation on another type than f32, i32 and bool.
    pub fn new(tape: &Tape) -> Result<Block, ScalarOp> {
        let mut block = Block { steps: Vec::new(), lanes: vec![[0; LANES]; tape.slots.len()] };
        for (i, slot) in tape.slots.iter().enumerate() {
            match *slot {
                Slot::Input => {}
                Slot::Constant(Scalar::Bool(k)) => block.lanes[i] = [truth(k); LANES],
                Slot::Constant(k) => block.lanes[i] = [k.bits() as u32; LANES],
                Slot::Step(step) => {
                    let narrow = |s: u32| match tape.types[s as usize] {
                        ScalarType::F32 | ScalarType::I32 | ScalarType::Bool => true,
                        ScalarType::F64 | ScalarType::I64 => false,
                    };
                    if !narrow(i as u32) || !step.args[..step.op.arity()].iter().all(|&a| narrow(a)) {
                        return Err(step.op);
                    }
                    block.steps.push((i as u32, step));
                }
            }
        }
        Ok(block)
    }

    /// The bits in a slot, one word per lane; truth values are 0 or all ones. An input's are to be set before [`Block::run`].
    pub fn lanes(&mut self, slot: u32) -> &mut [u32; LANES] {
        &mut self.lanes[slot as usize]
    }

    /// Computes every slot from the inputs.
    pub fn run(&mut self) {
        for &(at, Step { op, args: [a, b, c] }) in &self.steps {
            let (before, rest) = self.lanes.split_at_mut(at as usize);
            let (before, out) = (&*before, &mut rest[0]);
            let (a, b, c) = (&before[a as usize], &before[b as usize], &before[c as usize]);
            step(op, out, a, b, c);
        }
    }
}

/// A truth value in a lane.
fn truth(c: bool) -> u32 {
    u32::from(c).wrapping_neg()
}

fn step(op: ScalarOp, out: &mut [u32; LANES], a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) {
    macro_rules! each {
        (|$i:ident| $e:expr) => {
            for $i in 0..LANES {
                out[$i] = $e;
            }
        };
    }
    let f = f32::from_bits;
    match op {
        ScalarOp::FAdd => each!(|i| (f(a[i]) + f(b[i])).to_bits()),
        ScalarOp::FSub => each!(|i| (f(a[i]) - f(b[i])).to_bits()),
        ScalarOp::FMul => each!(|i| (f(a[i]) * f(b[i])).to_bits()),
        ScalarOp::FDiv => each!(|i| (f(a[i]) / f(b[i])).to_bits()),
        ScalarOp::Fma => each!(|i| f(a[i]).mul_add(f(b[i]), f(c[i])).to_bits()),
        ScalarOp::FNeg => each!(|i| a[i] ^ 0x8000_0000),
        ScalarOp::FAbs => each!(|i| a[i] & 0x7fff_ffff),
        ScalarOp::FSqrt => each!(|i| f(a[i]).sqrt().to_bits()),
        ScalarOp::Floor => each!(|i| f(a[i]).floor().to_bits()),
        ScalarOp::Ceil => each!(|i| f(a[i]).ceil().to_bits()),
        ScalarOp::Trunc => each!(|i| f(a[i]).trunc().to_bits()),
        ScalarOp::Nearest => each!(|i| f(a[i]).round_ties_even().to_bits()),
        ScalarOp::FEq => each!(|i| truth(f(a[i]) == f(b[i]))),
        ScalarOp::FNe => each!(|i| truth(f(a[i]) != f(b[i]))),
        ScalarOp::FLt => each!(|i| truth(f(a[i]) < f(b[i]))),
        ScalarOp::FLe => each!(|i| truth(f(a[i]) <= f(b[i]))),
        ScalarOp::FGt => each!(|i| truth(f(a[i]) > f(b[i]))),
        ScalarOp::FGe => each!(|i| truth(f(a[i]) >= f(b[i]))),
        ScalarOp::FUno => each!(|i| truth(f(a[i]).is_nan() | f(b[i]).is_nan())),
        ScalarOp::IAdd => each!(|i| a[i].wrapping_add(b[i])),
        ScalarOp::ISub => each!(|i| a[i].wrapping_sub(b[i])),
        ScalarOp::IMul => each!(|i| a[i].wrapping_mul(b[i])),
        ScalarOp::UMulHi => each!(|i| ((u64::from(a[i]) * u64::from(b[i])) >> 32) as u32),
        ScalarOp::IDiv => each!(|i| if b[i] == 0 { 0 } else { (a[i] as i32).wrapping_div(b[i] as i32) as u32 }),
        ScalarOp::IRem => each!(|i| if b[i] == 0 { 0 } else { (a[i] as i32).wrapping_rem(b[i] as i32) as u32 }),
        ScalarOp::Shl => each!(|i| a[i].wrapping_shl(b[i])),
        ScalarOp::ShrS => each!(|i| (a[i] as i32).wrapping_shr(b[i]) as u32),
        ScalarOp::ShrU => each!(|i| a[i].wrapping_shr(b[i])),
        ScalarOp::IEq => each!(|i| truth(a[i] == b[i])),
        ScalarOp::INe => each!(|i| truth(a[i] != b[i])),
        ScalarOp::ILt => each!(|i| truth((a[i] as i32) < b[i] as i32)),
        ScalarOp::ILe => each!(|i| truth(a[i] as i32 <= b[i] as i32)),
        ScalarOp::IGt => each!(|i| truth(a[i] as i32 > b[i] as i32)),
        ScalarOp::IGe => each!(|i| truth(a[i] as i32 >= b[i] as i32)),
        ScalarOp::ULt => each!(|i| truth(a[i] < b[i])),
        ScalarOp::And => each!(|i| a[i] & b[i]),
        ScalarOp::Or => each!(|i| a[i] | b[i]),
        ScalarOp::Xor => each!(|i| a[i] ^ b[i]),
        ScalarOp::Not => each!(|i| !a[i]),
        ScalarOp::Select => each!(|i| if a[i] != 0 { b[i] } else { c[i] }),
        ScalarOp::I32ToF32 => each!(|i| (a[i] as i32 as f32).to_bits()),
        ScalarOp::F32ToI32 => each!(|i| f(a[i]) as i32 as u32),
        ScalarOp::F32Bits | ScalarOp::BitsF32 => *out = *a,
        ScalarOp::BoolToI32 => each!(|i| a[i] & 1),
        ScalarOp::F32ToF64
        | ScalarOp::F64ToF32
        | ScalarOp::I32ToF64
        | ScalarOp::I64ToF32
        | ScalarOp::I64ToF64
        | ScalarOp::F32ToI64
        | ScalarOp::F64ToI32
        | ScalarOp::F64ToI64
        | ScalarOp::I32ToI64
        | ScalarOp::U32ToI64
        | ScalarOp::I64ToI32
        | ScalarOp::F64Bits
        | ScalarOp::BitsF64 => unreachable!("{op} is refused by Block::new"),
    }
}
