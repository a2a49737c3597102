//! Programs written by hand for each statement and each kind of memory access, compared with the interpreter.

use crate::common::{WAYS, check, run_case};
use nc_ir::kernel::interp;
use nc_ir::kernel::testing::{Case, Choices};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Program, Role, Scalar, ScalarOp as Op, ScalarType};
use nc_ir::kernel::{Val, loaded_type};
use nc_ir::{DType, Tensor};

fn random_bytes(n: usize, c: &mut Choices) -> Vec<u8> {
    (0..n).map(|_| c.draw() as u8).collect()
}

fn tensor(elem: DType, n: usize, c: &mut Choices) -> Tensor {
    let mut bytes = random_bytes(n * elem.size(), c);
    if elem == DType::Bool {
        bytes.iter_mut().for_each(|b| *b &= 1);
    }
    Tensor::from_bytes(elem, vec![n], &bytes).expect("n elements")
}

fn zeros(elem: DType, n: u64) -> Role {
    Role::State(Tensor::zeros(elem, vec![n as usize]))
}

fn parallel(len: u64) -> Option<Parallel> {
    Some(Parallel { len, align: 16 })
}

/// Every element type, read and written in a row, with gaps, backwards, by an index from memory.
#[test]
fn memory_of_every_type() {
    let mut c = Choices::from_seed(1);
    for n in [0u64, 1, 3, 4, 5, 8, 15, 16, 17, 31, 33, 64, 100] {
        let mut p = Program::new(format!("memory of {n}"), 1);
        let order: Vec<i32> = (0..n as i32).map(|k| (k * 7 + 3) % n.max(1) as i32).collect();
        let coprime = n % 7 != 0;
        let order = Tensor::from_vec(vec![n as usize], order).expect("n");
        let order = p.add_buffer("order", DType::I32, n, Role::Const(order));
        for elem in DType::ALL {
            let src = p.add_buffer("src", elem, 3 * n + 4, Role::Const(tensor(elem, 3 * n as usize + 4, &mut c)));
            let input = p.add_buffer("input", elem, n, Role::Input);
            let dst: Vec<BufId> =
                (0..6).map(|_| p.add_buffer("dst", elem, 3 * n + 4, zeros(elem, 3 * n + 4))).collect();
            let out = p.add_buffer("out", elem, n, Role::Output);
            let mut b = KernelBuilder::new(elem.name(), None, 1);
            b.for_count(n, true, |b, i| {
                let row = b.load(src, elem, Index::var(i).offset(3));
                b.store(dst[0], Index::var(i).offset(1), row);
                let gaps = b.load(src, elem, Index::at(1).plus(i, 3));
                b.store(dst[1], Index::at(2).plus(i, 3), gaps);
                let back = b.load(src, elem, Index::at(n as i64).plus(i, -1));
                b.store(dst[2], Index::at(n as i64 + 1).plus(i, -1), back);
                let x = b.load(input, elem, Index::var(i));
                b.store(out, Index::var(i), x);
                let j = b.load(order, DType::I32, Index::var(i));
                let j = b.op(Op::U32ToI64, &[j]);
                let far = b.load(src, elem, Index::var(j));
                b.store(dst[3], Index::var(i), far);
                if coprime {
                    b.store(dst[4], Index::var(j), far);
                }
                let one = b.load(src, elem, Index::at(n as i64));
                b.store(dst[5], Index::var(i), one);
            });
            p.push(b.finish());
        }
        let layout = nc_ir::kernel::abi::Layout::of(&p).expect("small");
        let host = layout
            .host
            .iter()
            .map(|b| {
                let b = &p.buffers[b.index()];
                let bytes = 2 * n as usize * b.elem.size();
                match b.role {
                    Role::Input if b.elem == DType::Bool => (0..bytes).map(|_| (c.draw() & 1) as u8).collect(),
                    Role::Input => random_bytes(bytes, &mut c),
                    _ => vec![0; bytes],
                }
            })
            .collect();
        check(&p, 2, host);
    }
}

/// All values of the 16-bit floats widen exactly, and floats around all of them round to nearest even.
#[test]
fn half_precision() {
    for elem in [DType::F16, DType::BF16] {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(|k| k.to_le_bytes()).collect();
        let n = 1u64 << 16;
        let mut p = Program::new(format!("all {elem}"), 1);
        let src = Tensor::from_bytes(elem, vec![n as usize], &all).expect("65536 elements");
        let src = p.add_buffer("src", elem, n, Role::Const(src));
        let wide = p.add_buffer("wide", DType::F32, n, zeros(DType::F32, n));
        let near: Vec<BufId> = (0..5).map(|_| p.add_buffer("near", elem, n, zeros(elem, n))).collect();
        let mut b = KernelBuilder::new("widen", None, 1);
        let half = if elem == DType::F16 { 1 << 12 } else { 1 << 15 };
        b.for_count(n, true, |b, i| {
            let x = b.load(src, elem, Index::var(i));
            b.store(wide, Index::var(i), x);
            let bits = b.op(Op::F32Bits, &[x]);
            let nan = b.op(Op::FUno, &[x, x]);
            let zero = b.constant(Scalar::I32(0));
            let bits = b.op(Op::Select, &[nan, zero, bits]);
            for (n, by) in near.iter().zip([0, half - 1, half, half + 1, -half]) {
                let by = b.constant(Scalar::I32(by));
                let y = b.op(Op::IAdd, &[bits, by]);
                let y = b.op(Op::BitsF32, &[y]);
                b.store(*n, Index::var(i), y);
            }
        });
        p.push(b.finish());
        let s = check(&p, 1, Vec::new());
        assert_eq!(s.buffers[0].2[4..8], if elem == DType::F16 { [0, 0, 128, 51] } else { [0, 0, 1, 0] });
    }
}

/// Chains that a loop inside a vector loop carries, with counts around every group size.
#[test]
fn carried_in_lanes() {
    let mut c = Choices::from_seed(2);
    for (rows, cols) in [(0u64, 5u64), (1, 4), (2, 16), (3, 37), (7, 32), (8, 100), (33, 10)] {
        let mut p = Program::new(format!("{rows} by {cols}"), 1);
        let w =
            p.add_buffer("w", DType::F32, rows * cols, Role::Const(tensor(DType::F32, (rows * cols) as usize, &mut c)));
        let x = p.add_buffer("x", DType::F64, rows, Role::Const(tensor(DType::F64, rows as usize, &mut c)));
        let y = p.add_buffer("y", DType::F32, cols, zeros(DType::F32, cols));
        let z = p.add_buffer("z", DType::F64, cols, zeros(DType::F64, cols));
        let m = p.add_buffer("m", DType::I64, cols, zeros(DType::I64, cols));
        let mut b = KernelBuilder::new("chains", None, 1);
        b.for_count(cols, true, |b, o| {
            let (f, d) = (b.constant(Scalar::F32(0.0)), b.constant(Scalar::F64(1.0)));
            let (from, to) = (b.index(0), b.index(rows as i64));
            let none = b.constant(Scalar::Bool(false));
            let r = b.for_carried(from, to, &[f, d, none, from, o], |b, k, v| {
                let a = b.load(w, DType::F32, Index::var(o).plus(k, cols as i64));
                let s = b.load(x, DType::F64, Index::var(k));
                let s32 = b.op(Op::F64ToF32, &[s]);
                let acc = b.op(Op::Fma, &[a, s32, v[0]]);
                let wide = b.op(Op::F32ToF64, &[a]);
                let acc2 = b.op(Op::Fma, &[wide, s, v[1]]);
                let big = b.op(Op::FGt, &[a, s32]);
                let any = b.op(Op::Xor, &[v[2], big]);
                let sum = b.op(Op::IAdd, &[v[3], k]);
                let mix = b.op(Op::IMul, &[v[4], v[3]]);
                let mix = b.op(Op::IAdd, &[mix, o]);
                vec![acc, acc2, any, sum, mix]
            });
            b.store(y, Index::var(o), r[0]);
            let neg = b.op(Op::FNeg, &[r[1]]);
            let s = b.op(Op::Select, &[r[2], neg, r[1]]);
            b.store(z, Index::var(o), s);
            let s = b.op(Op::IAdd, &[r[3], r[4]]);
            b.store(m, Index::var(o), s);
        });
        p.push(b.finish());
        check(&p, 1, Vec::new());
    }
}

/// A ring of spikes that is filled by a vector loop and read by groups, with branches and a kernel that runs rarely.
fn ring(n: u64, parts: u32) -> Program {
    let mut c = Choices::from_seed(3);
    let mut p = Program::new(format!("ring of {n} in {parts}"), parts);
    let ring = p.add_list("ring", n, 3, 16);
    let noise = p.add_buffer("noise", DType::I32, n, Role::State(tensor(DType::I32, n as usize, &mut c)));
    let frame = p.add_buffer("spikes", DType::Bool, n, Role::Output);
    let w = p.add_buffer(
        "w",
        DType::F32,
        n * 24,
        Role::Const({
            let v: Vec<f32> = (0..n * 24).map(|k| ((k * 37) % 101) as f32 * 0.25).collect();
            Tensor::from_vec(vec![(n * 24) as usize], v).expect("n rows")
        }),
    );
    let y = p.add_buffer("y", DType::F32, 24, zeros(DType::F32, 24));
    let count = p.add_buffer("count", DType::I64, 1, zeros(DType::I64, 1));
    let probe = p.add_buffer("probe", DType::F32, 24, Role::Probe { every: 3 });
    let slot = |b: &mut KernelBuilder, ago: i64| {
        let (t, three, back) = (b.tick(), b.index(3), b.index(3 - ago));
        let t = b.op(Op::IAdd, &[t, back]);
        b.op(Op::IRem, &[t, three])
    };
    let mut b = KernelBuilder::new("fire", parallel(n), 1);
    let now = slot(&mut b, 0);
    b.clear(ring, now);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, i| {
        let s = b.load(noise, DType::I32, Index::var(i));
        let (a, k) = (b.constant(Scalar::I32(1_664_525)), b.constant(Scalar::I32(1_013_904_223)));
        let s = b.op(Op::IMul, &[s, a]);
        let s = b.op(Op::IAdd, &[s, k]);
        b.store(noise, Index::var(i), s);
        let at = b.constant(Scalar::I32(1_200_000_000));
        let fires = b.op(Op::IGt, &[s, at]);
        b.store(frame, Index::var(i), fires);
        b.push(ring, now, fires, i);
    });
    p.push(b.finish());
    let mut b = KernelBuilder::new("deliver", parallel(24), 1);
    let before = slot(&mut b, 2);
    let (lo, hi) = (b.lo(), b.hi());
    b.events(ring, before, 3, |b, e| {
        let e: Vec<Val> = e.to_vec();
        b.for_loop(lo, hi, true, |b, o| {
            let mut acc = b.load(y, DType::F32, Index::var(o));
            for e in &e {
                let x = b.load(w, DType::F32, Index::var(o).plus(*e, 24));
                acc = b.op(Op::FAdd, &[acc, x]);
            }
            b.store(y, Index::var(o), acc);
        });
    });
    p.push(b.finish());
    let mut b = KernelBuilder::new("count", None, 2);
    let now = slot(&mut b, 0);
    b.events(ring, now, 1, |b, e| {
        let (seven, zero) = (b.index(7), b.index(0));
        let r = b.op(Op::IRem, &[e[0], seven]);
        let skip = b.op(Op::IEq, &[r, zero]);
        let x = b.load(count, DType::I64, Index::at(0));
        b.if_else(
            skip,
            |b| {
                let x = b.op(Op::ISub, &[x, e[0]]);
                b.store(count, Index::at(0), x);
            },
            |b| {
                let x = b.op(Op::IAdd, &[x, e[0]]);
                b.store(count, Index::at(0), x);
            },
        );
    });
    p.push(b.finish());
    let mut b = KernelBuilder::new("probe", parallel(24), 3);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, o| {
        let x = b.load(y, DType::F32, Index::var(o));
        b.store(probe, Index::var(o), x);
    });
    p.push(b.finish());
    p
}

fn ring_host(n: u64, ticks: u64) -> Vec<Vec<u8>> {
    vec![vec![0; (n * ticks) as usize], vec![0; (24 * 4 * ticks.div_ceil(3)) as usize]]
}

#[test]
fn events_pushes_branches_and_probes() {
    for n in [1, 15, 16, 50, 200] {
        let s = check(&ring(n, 1), 17, ring_host(n, 17));
        assert!(n < 50 || s.lists[0].1.iter().any(|l| !l.is_empty()), "no spikes in {n}");
    }
}

#[test]
fn three_parts_on_threads_equal_one() {
    for n in [16u64, 100, 333] {
        let one = Case { program: ring(n, 1), ticks: 25, host: ring_host(n, 25) };
        let want = one.run(interp::Options::default()).expect("runs");
        for way in WAYS {
            for chunk in [u64::MAX, 4] {
                let got = run_case(&one.with_parts(3), chunk, way);
                assert_eq!(want.difference(&got), None, "{n} neurons, {way:?}, calls of {chunk} ticks");
            }
        }
    }
}

/// Scalar loops that are copied: counts around the number of copies, and a chain through memory.
#[test]
fn copied_scalar_loops() {
    for n in [0i64, 1, 3, 4, 5, 7, 8, 9, 12, 13, 40] {
        let mut p = Program::new(format!("chain of {n}"), 1);
        let len = n as u64 + 2;
        let x = p.add_buffer("x", DType::I64, len, zeros(DType::I64, len));
        let count = Tensor::from_vec(vec![1], vec![n]).expect("one");
        let count = p.add_buffer("n", DType::I64, 1, Role::Const(count));
        for known in [true, false] {
            let mut b = KernelBuilder::new("chain", None, 1);
            let zero = b.index(0);
            let hi = if known { b.index(n) } else { b.load(count, DType::I64, Index::at(0)) };
            let r = b.for_carried(zero, hi, &[zero], |b, k, v| {
                let a = b.load(x, DType::I64, Index::var(k));
                let three = b.index(3);
                let a = b.op(Op::IMul, &[a, three]);
                let a = b.op(Op::IAdd, &[a, k]);
                b.store(x, Index::var(k).offset(1), a);
                vec![b.op(Op::Xor, &[v[0], a])]
            });
            b.store(x, Index::at(n + 1), r[0]);
            p.push(b.finish());
        }
        check(&p, 3, Vec::new());
    }
}

/// Loops that run backwards, from behind their end, and far from zero.
#[test]
fn unusual_bounds() {
    let mut p = Program::new("bounds", 1);
    let x = p.add_buffer("x", DType::I32, 64, zeros(DType::I32, 64));
    let bounds =
        [(5i64, 5i64), (7, 3), (i64::MAX, i64::MIN), (i64::MAX - 9, i64::MAX), (i64::MIN, i64::MIN + 21), (-9, 9)];
    let lows: Vec<i64> = bounds.iter().flat_map(|b| [b.0, b.1]).collect();
    let table = p.add_buffer("b", DType::I64, 12, Role::Const(Tensor::from_vec(vec![12], lows).expect("12")));
    for (k, (lo, hi)) in bounds.into_iter().enumerate() {
        for vector in [true, false] {
            for known in [true, false] {
                let mut b = KernelBuilder::new("count", None, 1);
                let (l, h) = if known {
                    (b.index(lo), b.index(hi))
                } else {
                    let at = |n: usize| Index::at((2 * k + n) as i64);
                    (b.load(table, DType::I64, at(0)), b.load(table, DType::I64, at(1)))
                };
                b.for_loop(l, h, vector, |b, i| {
                    let first = b.op(Op::ISub, &[i, l]);
                    let v = b.load(x, DType::I32, Index::var(first).offset(k as i64));
                    let one = b.constant(Scalar::I32(1));
                    let v = b.op(Op::IAdd, &[v, one]);
                    b.store(x, Index::var(first).offset(k as i64), v);
                });
                p.push(b.finish());
            }
        }
    }
    check(&p, 1, Vec::new());
}

/// A vector loop that stays scalar around one that runs in lanes: its variable is then the same in all lanes.
#[test]
fn lanes_inside_a_scalar_vector_loop() {
    let mut p = Program::new("inside", 1);
    let y = p.add_buffer("y", DType::Bool, 12 * 20, zeros(DType::Bool, 12 * 20));
    let mut b = KernelBuilder::new("inside", None, 1);
    b.for_count(12, true, |b, i| {
        b.for_count(20, true, |b, j| {
            let apart = b.op(Op::ISub, &[i, j]);
            let none = b.constant(Scalar::Bool(false));
            let (from, to) = (b.index(0), b.index(3));
            let r = b.for_carried(from, to, &[none], |b, k, _| vec![b.op(Op::IGt, &[apart, k])]);
            b.store(y, Index::var(j).plus(i, 20), r[0]);
        });
    });
    p.push(b.finish());
    check(&p, 1, Vec::new());
}

/// Two stores that reach the same element from different iterations are not mixed up.
#[test]
fn interleaved_stores() {
    let mut p = Program::new("pairs", 1);
    let x = p.add_buffer("x", DType::F32, 40, zeros(DType::F32, 40));
    let mut b = KernelBuilder::new("pairs", None, 1);
    b.for_count(20, true, |b, i| {
        let k = b.op(Op::I64ToF32, &[i]);
        b.store(x, Index::at(0).plus(i, 2), k);
        let n = b.op(Op::FNeg, &[k]);
        b.store(x, Index::at(1).plus(i, 2), n);
    });
    p.push(b.finish());
    assert_eq!(loaded_type(DType::F32), ScalarType::F32);
    check(&p, 1, Vec::new());
}
