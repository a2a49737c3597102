//! The kernels that are timed.

use nc_ir::kernel::{BufId, Index, KernelBuilder, Parallel, Program, Role, Scalar, ScalarOp as Op};
use nc_ir::kernel::{Emit, Val};
use nc_ir::{DType, Tensor};

fn f32s(v: &[f32]) -> Tensor {
    Tensor::from_vec(vec![v.len()], v.to_vec()).expect("as long as its shape")
}

fn i32s(v: &[i32]) -> Tensor {
    Tensor::from_vec(vec![v.len()], v.to_vec()).expect("as long as its shape")
}

fn whole(len: u64) -> Option<Parallel> {
    Some(Parallel { len, align: 16 })
}

fn state(p: &mut Program, name: &str, elem: DType, len: u64) -> BufId {
    let zero = match elem {
        DType::I32 => i32s(&[0]),
        _ => f32s(&[0.0]),
    };
    p.add_buffer(name, elem, len, Role::State(zero))
}

/// Which neurons are active: one in twenty, spread out.
pub fn active(n: u64) -> Vec<u64> {
    (0..n / 20).map(|k| k * 20 + (k * 7) % 20).collect()
}

/// One program by its name on the command line.
pub fn by_name(name: &str) -> Option<Program> {
    match name {
        "lif" => Some(lif(4096)),
        "events" => Some(event_rows(512, 512)),
        "matvec" => Some(matvec(512, 512)),
        "scatter" => Some(scatter(4096, 100)),
        _ => None,
    }
}

fn lif_kernel(p: &mut Program, name: &str, n: u64) {
    let (v, ge, gi) = (state(p, "v", DType::F32, n), state(p, "ge", DType::F32, n), state(p, "gi", DType::F32, n));
    let refr = state(p, "refr", DType::I32, n);
    let list = p.add_list("spikes", n, 1, 16);
    let frame = p.add_buffer(format!("out_{name}"), DType::Bool, n, Role::Output);
    let mut b = KernelBuilder::new(name, whole(n), 1);
    let slot = b.index(0);
    b.clear(list, slot);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, i| {
        let f = |b: &mut KernelBuilder, x: f32| b.constant(Scalar::F32(x));
        let at = || Index::var(i);
        let (x, e, h) = (b.load(v, DType::F32, at()), b.load(ge, DType::F32, at()), b.load(gi, DType::F32, at()));
        let r = b.load(refr, DType::I32, at());
        let (dv, cee, cii) = (f(b, 0.995), f(b, 0.0049), f(b, -0.0049));
        let (de, di, bias) = (f(b, 0.98), f(b, 0.99), f(b, 0.07));
        let y = b.op(Op::Fma, &[x, dv, bias]);
        let y = b.op(Op::Fma, &[e, cee, y]);
        let y = b.op(Op::Fma, &[h, cii, y]);
        let zero = b.constant(Scalar::I32(0));
        let one = b.constant(Scalar::I32(1));
        let hold = b.constant(Scalar::I32(20));
        let idle = b.op(Op::IGt, &[r, zero]);
        let y = b.op(Op::Select, &[idle, x, y]);
        let theta = f(b, 10.0);
        let reset = f(b, 0.0);
        let over = b.op(Op::FGe, &[y, theta]);
        let y = b.op(Op::Select, &[over, reset, y]);
        let less = b.op(Op::ISub, &[r, one]);
        let r = b.op(Op::Select, &[idle, less, zero]);
        let r = b.op(Op::Select, &[over, hold, r]);
        let e = b.op(Op::FMul, &[e, de]);
        let h = b.op(Op::FMul, &[h, di]);
        b.store(v, at(), y);
        b.store(ge, at(), e);
        b.store(gi, at(), h);
        b.store(refr, at(), r);
        b.store(frame, at(), over);
        b.push(list, slot, over, i);
    });
    p.push(b.finish());
}

/// A population update: three states with a fused multiply-add each, a refractory counter, a spike frame and a list.
pub fn lif(n: u64) -> Program {
    let mut p = Program::new("lif", 1);
    lif_kernel(&mut p, "lif", n);
    p
}

/// Twenty kernels, for the time of compilation.
pub fn many() -> Program {
    let mut p = Program::new("many", 1);
    for k in 0..10 {
        lif_kernel(&mut p, &format!("lif{k}"), 1000);
        let weights: Vec<f32> = vec![0.5; 100 * 100];
        let (w, x, y) = (
            p.add_buffer(format!("w{k}"), DType::F32, 100 * 100, Role::Const(f32s(&weights))),
            state(&mut p, "x", DType::F32, 100),
            state(&mut p, "y", DType::F32, 100),
        );
        matvec_kernel(&mut p, w, x, y, 100, 100);
    }
    p
}

fn active_list(p: &mut Program, n: u64) -> nc_ir::kernel::ListId {
    let flags: Vec<f32> = {
        let mut f = vec![0.0; n as usize];
        active(n).iter().for_each(|i| f[*i as usize] = 1.0);
        f
    };
    let src = p.add_buffer("flags", DType::F32, n, Role::Const(f32s(&flags)));
    let list = p.add_list("active", n, 2, 16);
    let mut b = KernelBuilder::new("fill", whole(n), 1 << 20);
    let slot = b.index(0);
    b.clear(list, slot);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, i| {
        let x = b.load(src, DType::F32, Index::var(i));
        let zero = b.constant(Scalar::F32(0.0));
        let c = b.op(Op::FGt, &[x, zero]);
        b.push(list, slot, c, i);
    });
    p.push(b.finish());
    list
}

/// `y[o] += w[i][o]` for the active rows i, four at a time.
pub fn event_rows(rows: u64, cols: u64) -> Program {
    let mut p = Program::new("events", 1);
    let list = active_list(&mut p, rows);
    let weights: Vec<f32> = (0..rows * cols).map(|k| (k % 97) as f32 * 1e-3).collect();
    let w = p.add_buffer("w", DType::F32, rows * cols, Role::Const(f32s(&weights)));
    let y = state(&mut p, "y", DType::F32, cols);
    let mut b = KernelBuilder::new("rows", whole(cols), 1);
    let slot = b.index(0);
    let (lo, hi) = (b.lo(), b.hi());
    b.events(list, slot, 4, |b, events| {
        let events: Vec<Val> = events.to_vec();
        b.for_loop(lo, hi, true, |b, o| {
            let mut acc = b.load(y, DType::F32, Index::var(o));
            for e in &events {
                let x = b.load(w, DType::F32, Index::var(o).plus(*e, cols as i64));
                acc = b.op(Op::FAdd, &[acc, x]);
            }
            b.store(y, Index::var(o), acc);
        });
    });
    p.push(b.finish());
    p
}

fn matvec_kernel(p: &mut Program, w: BufId, x: BufId, y: BufId, rows: u64, cols: u64) {
    let mut b = KernelBuilder::new("matvec", whole(cols), 1);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, o| {
        let zero = b.constant(Scalar::F32(0.0));
        let (from, to) = (b.index(0), b.index(rows as i64));
        let acc = b.for_carried(from, to, &[zero], |b, k, acc| {
            let a = b.load(w, DType::F32, Index::var(o).plus(k, cols as i64));
            let c = b.load(x, DType::F32, Index::var(k));
            vec![b.op(Op::Fma, &[a, c, acc[0]])]
        });
        let s = b.op(Op::FAdd, &[acc[0], zero]);
        b.store(y, Index::var(o), s);
    });
    p.push(b.finish());
}

/// `y[o] = sum over k of w[k][o] x[k]`, one chain per output.
pub fn matvec(rows: u64, cols: u64) -> Program {
    let mut p = Program::new("matvec", 1);
    let weights: Vec<f32> = (0..rows * cols).map(|k| (k % 97) as f32 * 1e-3).collect();
    let w = p.add_buffer("w", DType::F32, rows * cols, Role::Const(f32s(&weights)));
    let (x, y) = (state(&mut p, "x", DType::F32, rows), state(&mut p, "y", DType::F32, cols));
    matvec_kernel(&mut p, w, x, y, rows, cols);
    p
}

/// Target of synapse s of neuron i.
pub fn target(i: u64, s: u64, n: u64) -> i32 {
    ((i * 7919 + s * 104_729 + (i * s) % 31) % n) as i32
}

/// `g[post[k]] += w[k]` for the rows of active neurons of a compressed sparse matrix.
pub fn scatter(n: u64, fan: u64) -> Program {
    let mut p = Program::new("scatter", 1);
    let list = active_list(&mut p, n);
    let offsets: Vec<i32> = (0..=n).map(|k| (k * fan) as i32).collect();
    let post: Vec<i32> = (0..n * fan).map(|k| target(k / fan, k % fan, n)).collect();
    let weights: Vec<f32> = (0..n * fan).map(|k| (k % 97) as f32 * 1e-3).collect();
    let offsets = p.add_buffer("offsets", DType::I32, n + 1, Role::Const(i32s(&offsets)));
    let post = p.add_buffer("post", DType::I32, n * fan, Role::Const(i32s(&post)));
    let w = p.add_buffer("w", DType::F32, n * fan, Role::Const(f32s(&weights)));
    let g = state(&mut p, "g", DType::F32, n);
    let mut b = KernelBuilder::new("scatter", None, 1);
    let slot = b.index(0);
    b.events(list, slot, 1, |b, e| {
        let lo = b.load(offsets, DType::I32, Index::var(e[0]));
        let hi = b.load(offsets, DType::I32, Index::var(e[0]).offset(1));
        let (lo, hi) = (b.op(Op::I32ToI64, &[lo]), b.op(Op::I32ToI64, &[hi]));
        b.for_loop(lo, hi, false, |b, k| {
            let t = b.load(post, DType::I32, Index::var(k));
            let t = b.op(Op::U32ToI64, &[t]);
            let x = b.load(w, DType::F32, Index::var(k));
            let y = b.load(g, DType::F32, Index::var(t));
            let s = b.op(Op::FAdd, &[y, x]);
            b.store(g, Index::var(t), s);
        });
    });
    p.push(b.finish());
    p
}
