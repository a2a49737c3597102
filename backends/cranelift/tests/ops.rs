//! Every operation on every type equals its definition, in scalar code and in lanes, with operands that differ between
//! lanes, are the same in all of them, or are constants.

mod common;

use common::{Aligned, WAYS, Way, context};
use nc_cranelift::compile;
use nc_ir::Tensor;
use nc_ir::kernel::abi::{Code, Layout, Place};
use nc_ir::kernel::testing::Choices;
use nc_ir::kernel::testing::values::{FLOATS, bytes, dtype, edge, random, signatures};
use nc_ir::kernel::{Emit, Index, KernelBuilder, Program, Role, Scalar, ScalarOp, ScalarType};

/// How an operand gets its value.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Operand {
    /// From the element of the item.
    Own,
    /// From one element, for all items.
    Shared(usize),
    /// A constant: that element's value.
    Const(usize),
}

struct Test {
    op: ScalarOp,
    operands: Vec<Operand>,
    values: Vec<Vec<Scalar>>,
    place: Place,
}

fn tests(n: usize, c: &mut Choices) -> (Program, Vec<Test>) {
    let mut p = Program::new("ops", 1);
    let mut tests = Vec::new();
    for &op in ScalarOp::ALL {
        for types in signatures(op) {
            let result = op.result_type(&types).expect("its signature");
            let values: Vec<Vec<Scalar>> = types
                .iter()
                .enumerate()
                .map(|(a, ty)| {
                    let edges = FLOATS.len();
                    // All pairs of edges first, then anything.
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
            let arity = types.len();
            let mut kinds = vec![vec![Operand::Own; arity]];
            for shared in 0..arity {
                for _ in 0..3 {
                    let k = c.below(n);
                    let mut one = vec![Operand::Own; arity];
                    one[shared] = Operand::Shared(k);
                    kinds.push(one.clone());
                    one[shared] = Operand::Const(k);
                    kinds.push(one);
                    let mut others = vec![Operand::Shared(k); arity];
                    others[shared] = Operand::Own;
                    kinds.push(others);
                }
            }
            kinds.push(vec![Operand::Shared(c.below(n)); arity]);
            for operands in kinds {
                let zero = Tensor::zeros(dtype(result), vec![1]);
                let out = p.add_buffer("out", dtype(result), n as u64, Role::State(zero));
                let mut b = KernelBuilder::new(op.name(), None, 1);
                b.for_count(n as u64, true, |b, i| {
                    let args: Vec<_> = (0..arity)
                        .map(|a| match operands[a] {
                            Operand::Own => b.load(bufs[a], dtype(types[a]), Index::var(i)),
                            Operand::Shared(k) => b.load(bufs[a], dtype(types[a]), Index::at(k as i64)),
                            Operand::Const(k) => b.constant(values[a][k]),
                        })
                        .collect();
                    let r = b.op(op, &args);
                    b.store(out, Index::var(i), r);
                });
                p.push(b.finish());
                tests.push(Test { op, operands, values: values.clone(), place: Place::Arena(u64::from(out.0)) });
            }
        }
    }
    (p, tests)
}

fn run(way: Way) {
    let mut c = Choices::from_seed(7);
    let n = FLOATS.len() * FLOATS.len() + common::cases(200) as usize + 3;
    let (p, mut tests) = tests(n, &mut c);
    let layout = Layout::of(&p).expect("a small program");
    for t in &mut tests {
        if let Place::Arena(buf) = t.place {
            t.place = layout.buffers[buf as usize];
        }
    }
    let code = compile(&p, &layout, &way.options()).expect("supported");
    let mut arena = Aligned::zeroed(layout.arena_bytes as usize);
    layout.reset(&p, arena.bytes_mut());
    let mut consts = Aligned::zeroed(layout.const_bytes as usize);
    consts.bytes_mut().copy_from_slice(&layout.const_pool(&p));
    let ctx = context(&code, &mut arena, &consts, 0, 1);
    // SAFETY: the context is complete and the program has one part.
    unsafe { (code.entry())(&ctx, 0) };
    for t in &tests {
        let Place::Arena(at) = t.place else { panic!("a state lies in the arena") };
        for k in 0..n {
            let args: Vec<Scalar> = t
                .operands
                .iter()
                .zip(&t.values)
                .map(|(o, v)| match o {
                    Operand::Own => v[k],
                    Operand::Shared(k) | Operand::Const(k) => v[*k],
                })
                .collect();
            let want = t.op.eval(&args);
            let size = dtype(want.ty()).size();
            let mut word = [0u8; 8];
            word[..size].copy_from_slice(&arena.bytes()[at as usize + k * size..][..size]);
            let bits = u64::from_le_bytes(word);
            assert!(want.ty() != ScalarType::Bool || bits <= 1, "{}: a bool of {bits}", t.op);
            let got = Scalar::from_bits(want.ty(), bits);
            assert!(
                want.same(got),
                "{} {:?} item {k}, {way:?}: {args:?} gives {got:?}, not {want:?}",
                t.op,
                t.operands
            );
        }
    }
}

#[test]
fn in_every_way() {
    for way in WAYS {
        run(way);
    }
}
