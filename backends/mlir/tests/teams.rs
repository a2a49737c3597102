//! What blocks of threads do with events, held against the interpreter: targets that many sources share, learning, several
//! lists at once. The numbers are such that another order gives another sum.

#![cfg(feature = "llvm")]

mod common;

use common::{Blocks, run_blocks};
use nc_ir::kernel::interp::Options;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{
    BufId, Emit, Index, Kernel, KernelBuilder, ListId, Parallel, Program, Role, Scalar, ScalarOp, Val,
};
use nc_ir::{DType, Tensor};

const SOURCES: u64 = 90;
const TARGETS: u64 = 40;
const TICKS: u64 = 6;

/// A small generator of numbers, so that programs stay the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// Rows of synapses by part and source, as the compiler packs them: where rows begin, targets, numbers of synapses.
fn synapses(parts: u32, numbers: &mut Numbers) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
    let extent = Parallel { len: TARGETS, align: 16 };
    let (mut rows, mut targets, mut ids) = (vec![0], Vec::new(), Vec::new());
    for part in 0..parts {
        let (lo, hi) = extent.range(part, parts);
        for _ in 0..SOURCES {
            for _ in 0..if hi > lo { numbers.below(9) } else { 0 } {
                // A target may come twice in a row.
                targets.push((lo + numbers.below(hi - lo)) as i32);
                ids.push(ids.len() as i32);
            }
            rows.push(targets.len() as i32);
        }
    }
    let n = ids.len();
    for k in (1..n).rev() {
        ids.swap(k, numbers.below(k as u64 + 1) as usize);
    }
    (rows, targets, ids)
}

fn ints(p: &mut Program, name: &str, data: Vec<i32>) -> BufId {
    let len = data.len();
    let data = Tensor::from_vec(vec![len], data).expect("a table");
    p.add_buffer(name, DType::I32, len as u64, Role::Const(data))
}

fn state(p: &mut Program, name: &str, len: u64) -> BufId {
    p.add_buffer(name, DType::F32, len, Role::State(Tensor::from_vec(vec![1], vec![1.0f32]).expect("a number")))
}

/// A kernel that lists the sources that an input says fire, in two lists: all, and those with an even number.
fn listing(p: &mut Program, lists: [ListId; 2], fires: BufId) {
    let mut k = KernelBuilder::new("fire", Some(Parallel { len: SOURCES, align: 16 }), 1);
    let slot = k.index(0);
    lists.iter().for_each(|l| k.clear(*l, slot));
    k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
        let f = k.load(fires, DType::Bool, Index::var(i));
        k.push(lists[0], slot, f, i);
        let one = k.index(1);
        let odd = k.op(ScalarOp::And, &[i, one]);
        let zero = k.index(0);
        let even = k.op(ScalarOp::IEq, &[odd, zero]);
        let both = k.op(ScalarOp::And, &[even, f]);
        k.push(lists[1], slot, both, i);
    });
    p.push(k.finish());
}

/// For each event of a list, `body` for each of its synapses, on a condition if there is one.
fn deliver(
    p: &mut Program,
    (list, rows): (ListId, BufId),
    condition: Option<bool>,
    mut body: impl FnMut(&mut KernelBuilder, Val),
) {
    let mut k = KernelBuilder::new("deliver", Some(Parallel { len: TARGETS, align: 16 }), 1);
    let slot = k.index(0);
    let condition = condition.map(|c| k.constant(Scalar::Bool(c)));
    k.events(list, slot, 1, |k, e| {
        let mut synapses = |k: &mut KernelBuilder| {
            let at = |offset| Index::var(e[0]).plus(Kernel::PART, SOURCES as i64).offset(offset);
            let (lo, hi) = (k.load(rows, DType::I32, at(0)), k.load(rows, DType::I32, at(1)));
            let (lo, hi) = (k.op(ScalarOp::I32ToI64, &[lo]), k.op(ScalarOp::I32ToI64, &[hi]));
            k.for_loop(lo, hi, false, |k, s| body(k, s));
        };
        match condition {
            Some(c) => k.if_then(c, synapses),
            None => synapses(k),
        }
    });
    p.push(k.finish());
}

/// `x / 2 + y`: another order gives another number.
fn mix(k: &mut KernelBuilder, x: Val, y: Val) -> Val {
    let half = k.constant(Scalar::F32(0.5));
    k.op(ScalarOp::Fma, &[x, half, y])
}

fn program(parts: u32, seed: u64) -> Case {
    let mut numbers = Numbers(seed);
    let (rows, targets, ids) = synapses(parts, &mut numbers);
    let n = ids.len() as u64;
    let mut p = Program::new("synapses", parts);
    let fires = p.add_buffer("fires", DType::Bool, SOURCES, Role::Input);
    let lists = [p.add_list("all", SOURCES, 1, 16), p.add_list("even", SOURCES, 1, 16)];
    let (rows, targets, ids) = (ints(&mut p, "rows", rows), ints(&mut p, "targets", targets), ints(&mut p, "ids", ids));
    let w: Vec<f32> = (0..n).map(|_| numbers.below(1000) as f32 / 7.0).collect();
    let w = p.add_buffer("w", DType::F32, n, Role::Const(Tensor::from_vec(vec![n as usize], w).expect("weights")));
    let (sum, trace, learnt) = (state(&mut p, "sum", TARGETS), state(&mut p, "trace", n), state(&mut p, "learnt", n));
    listing(&mut p, lists, fires);
    let int = |k: &mut KernelBuilder, buf, s| {
        let x = k.load(buf, DType::I32, Index::var(s));
        k.op(ScalarOp::I32ToI64, &[x])
    };
    deliver(&mut p, (lists[0], rows), None, |k, s| {
        let j = int(k, targets, s);
        let y = k.load(w, DType::F32, Index::var(s));
        let x = k.load(sum, DType::F32, Index::var(j));
        let x = mix(k, x, y);
        k.store(sum, Index::var(j), x);
    });
    // Learning: what synapses have of their own changes with what they add.
    for (list, condition) in [(lists[1], None), (lists[0], Some(true)), (lists[1], Some(false))] {
        deliver(&mut p, (list, rows), condition, |k, s| {
            let j = int(k, targets, s);
            let id = int(k, ids, s);
            let (t, l) = (k.load(trace, DType::F32, Index::var(id)), k.load(learnt, DType::F32, Index::var(id)));
            let x = k.load(sum, DType::F32, Index::var(j));
            let (t, l) = (mix(k, t, x), mix(k, l, t));
            k.store(trace, Index::var(id), t);
            k.store(learnt, Index::var(id), l);
            let x = mix(k, x, l);
            k.store(sum, Index::var(j), x);
        });
    }
    let fires = (0..SOURCES * TICKS).map(|k| u8::from(numbers.below(1 + k / SOURCES * 3) == 0)).collect();
    Case { program: p, ticks: TICKS, host: vec![fires] }
}

#[test]
fn synapses_of_many_sources_add_up_in_order() {
    for seed in 0..24 {
        let case = program(1 + (seed % 3) as u32, seed);
        nc_ir::kernel::verify::verify(&case.program).expect("a program");
        let want = case.run(Options { check: true, ..Options::default() }).expect("a program that runs");
        let threads = [3, 16, 33, 128][seed as usize % 4];
        let way = Blocks { threads, samples: 1 + seed / 3 % 2, teams: 1, chunk: 4 };
        for got in run_blocks(&case, way) {
            if let Some(d) = want.difference(&got) {
                panic!("seed {seed}, {way:?}: {d}");
            }
        }
    }
}

/// The loops above are divided among threads, which claim what they write: one claim without learning, two with it.
#[test]
fn synapses_are_divided() {
    use nc_mlir::gpu::{Arch, Stage, text};
    let case = program(2, 1);
    let layout = nc_ir::kernel::abi::Layout::of(&case.program).expect("small");
    let ptx = text(&case.program, &layout, "m", Arch::Sm90, Stage::Ptx).expect("supported");
    assert_eq!(ptx.matches("atom.shared.min").count(), 1 + 3 * 2, "{ptx}");
}
