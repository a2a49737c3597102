//! Programs of every scalar operation on every type, and of every pattern of the 16-bit floats.

use nc_ir::kernel::testing::Choices;
use nc_ir::kernel::testing::values::{FLOATS, bytes, dtype, edge, random, signatures};
use nc_ir::kernel::{Emit, Index, KernelBuilder, Program, Role, Scalar, ScalarOp};
use nc_ir::{DType, Tensor};

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
