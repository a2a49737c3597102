//! Programs of every scalar operation on every type, and of every pattern of the 16-bit floats.

use nc_ir::kernel::testing::Choices;
use nc_ir::kernel::{Emit, Index, KernelBuilder, Program, Role, Scalar, ScalarOp, ScalarType, Signature};
use nc_ir::{DType, Tensor};

/// The element type that holds a scalar as it is.
pub fn dtype(ty: ScalarType) -> DType {
    match ty {
        ScalarType::F32 => DType::F32,
        ScalarType::F64 => DType::F64,
        ScalarType::I32 => DType::I32,
        ScalarType::I64 => DType::I64,
        ScalarType::Bool => DType::Bool,
    }
}

fn signatures(op: ScalarOp) -> Vec<Vec<ScalarType>> {
    use ScalarType::{Bool, F32, F64, I32, I64};
    let same = |n: u8, types: &[ScalarType]| types.iter().map(|t| vec![*t; n as usize]).collect();
    match op.signature() {
        Signature::Float(n) => same(n, &[F32, F64]),
        Signature::FloatCmp => same(2, &[F32, F64]),
        Signature::Int(n) => same(n, &[I32, I64]),
        Signature::IntCmp => same(2, &[I32, I64]),
        Signature::Logic(n) => same(n, &[Bool, I32, I64]),
        Signature::Select => ScalarType::ALL.iter().map(|t| vec![Bool, *t, *t]).collect(),
        Signature::Convert(from, _) => vec![vec![from]],
    }
}

const FLOATS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.7,
    -3.7,
    1e-40,
    -1e-310,
    5e-324,
    8388607.5,
    4503599627370495.5,
    2147483647.0,
    2147483648.0,
    -2147483648.0,
    -2147483904.0,
    9.3e18,
    -9.3e18,
    1e30,
    3.4e38,
    1.7e308,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    16777217.0,
    0.1,
];
const INTS: &[i64] = &[
    0,
    1,
    -1,
    2,
    -2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    65,
    100,
    -100,
    255,
    65535,
    65536,
    i32::MAX as i64,
    i32::MIN as i64,
    i32::MAX as i64 + 1,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
    16777217,
    9007199254740993,
    -9007199254740993,
    1 << 40,
];

fn edge(ty: ScalarType, k: usize) -> Scalar {
    let (f, i) = (FLOATS[k % FLOATS.len()], INTS[k % INTS.len()]);
    match ty {
        ScalarType::F32 => Scalar::F32(f as f32),
        ScalarType::F64 => Scalar::F64(f),
        ScalarType::I32 => Scalar::I32(i as i32),
        ScalarType::I64 => Scalar::I64(i),
        ScalarType::Bool => Scalar::Bool(k % 2 == 1),
    }
}

fn random(ty: ScalarType, c: &mut Choices) -> Scalar {
    if c.once_in(3) {
        return edge(ty, c.below(1000));
    }
    let bits = u64::from(c.draw()) << 32 | u64::from(c.draw());
    match ty {
        ScalarType::F32 | ScalarType::F64 if c.once_in(2) => {
            let x = (bits as i64 as f64) / 2f64.powi(32 + c.below(40) as i32);
            if ty == ScalarType::F32 { Scalar::F32(x as f32) } else { Scalar::F64(x) }
        }
        ScalarType::Bool => Scalar::Bool(bits & 1 == 1),
        _ => Scalar::from_bits(ty, bits),
    }
}

fn bytes(values: &[Scalar]) -> Vec<u8> {
    let size = dtype(values[0].ty()).size();
    values.iter().flat_map(|v| v.bits().to_le_bytes()[..size].to_vec()).collect()
}

/// A kernel for each operation and each choice of types: on every pair of special values, then on `more` random ones.
pub fn program(more: usize, c: &mut Choices) -> Program {
    let edges = FLOATS.len();
    let n = edges * edges + more;
    let mut p = Program::new("ops", 1);
    for &op in ScalarOp::ALL {
        for types in signatures(op) {
            let result = op.result_type(&types).expect("its signature");
            let values: Vec<Vec<Scalar>> = types
                .iter()
                .enumerate()
                .map(|(a, ty)| {
                    let item = |k: usize, c: &mut Choices| match (k < edges * edges, a) {
                        (true, 0) => edge(*ty, k / edges),
                        (true, 1) => edge(*ty, k % edges),
                        _ => random(*ty, c),
                    };
                    (0..n).map(|k| item(k, c)).collect()
                })
                .collect();
            let bufs: Vec<_> = values
                .iter()
                .zip(&types)
                .enumerate()
                .map(|(a, (v, ty))| {
                    let t = Tensor::from_bytes(dtype(*ty), vec![n], &bytes(v)).expect("n values");
                    p.add_buffer(format!("{op}_{a}"), dtype(*ty), n as u64, Role::Const(t))
                })
                .collect();
            // Operands from memory, and each of them in turn a constant.
            for constant in std::iter::once(None).chain((0..types.len()).map(Some)) {
                let k = c.below(n);
                let zero = Tensor::zeros(dtype(result), vec![1]);
                let name = format!("{op} {types:?} {constant:?}");
                let out = p.add_buffer(name, dtype(result), n as u64, Role::State(zero));
                let mut b = KernelBuilder::new(op.name(), None, 1);
                b.for_count(n as u64, true, |b, i| {
                    let args: Vec<_> = (0..types.len())
                        .map(|a| match constant == Some(a) {
                            true => b.constant(values[a][k]),
                            false => b.load(bufs[a], dtype(types[a]), Index::var(i)),
                        })
                        .collect();
                    let r = b.op(op, &args);
                    b.store(out, Index::var(i), r);
                });
                p.push(b.finish());
            }
        }
    }
    p
}

/// Every 16-bit pattern but NaN as `f16` and `bf16` to `f32`, and `f32` patterns at and around each back.
pub fn halves() -> Program {
    let mut p = Program::new("halves", 1);
    for (elem, infinity) in [(DType::F16, 0x7c00), (DType::BF16, 0x7f80)] {
        let all: Vec<u16> = (0..=u16::MAX).filter(|x| x & 0x7fff <= infinity).collect();
        let n = all.len() as u64;
        let all: Vec<u8> = all.into_iter().flat_map(u16::to_le_bytes).collect();
        let t = Tensor::from_bytes(elem, vec![n as usize], &all).expect("n elements");
        let from = p.add_buffer("patterns", elem, n, Role::Const(t));
        let wide = p.add_buffer("wide", DType::F32, n, Role::State(Tensor::zeros(DType::F32, vec![1])));
        let outs: Vec<_> = (0..4)
            .map(|k| p.add_buffer(format!("{elem} {k}"), elem, n, Role::State(Tensor::zeros(elem, vec![1]))))
            .collect();
        let mut b = KernelBuilder::new(elem.name(), None, 1);
        b.for_count(n, true, |b, i| {
            let x = b.load(from, elem, Index::var(i));
            b.store(wide, Index::var(i), x);
            let bits = b.op(ScalarOp::F32Bits, &[x]);
            // A little more, half a place of f16 and of bf16, the place below a tie.
            for (out, more) in outs.iter().zip([1, 0x1000, 0x8000, 0x0fff]) {
                let more = b.constant(Scalar::I32(more));
                let near = b.op(ScalarOp::IAdd, &[bits, more]);
                let near = b.op(ScalarOp::BitsF32, &[near]);
                b.store(*out, Index::var(i), near);
            }
        });
        p.push(b.finish());
    }
    p
}
