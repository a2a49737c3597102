//! What the interpreter computes, and each way a program can break its word.

use super::*;
use crate::kernel::builder::KernelBuilder;
use crate::kernel::{BufId, Emit, Parallel, ScalarOp};
use crate::tensor::Tensor;
use crate::types::DType;

const CHECKED: Options = Options { check: true, wide: true, max_steps: Some(1_000_000) };

fn state_f32(m: &Machine, buf: BufId, len: usize) -> Vec<f32> {
    let super::super::abi::Place::Arena(at) = m.layout().buffers[buf.index()] else { panic!("not in the arena") };
    let at = at as usize;
    m.arena()[at..at + 4 * len].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}

fn zeros(dtype: DType, n: usize) -> Tensor {
    Tensor::zeros(dtype, vec![n])
}

/// Ten neurons add their input to a potential and fire at 1; each spike adds its row of 3 weights to `total` two ticks
/// later, through a ring of spikes.
fn network(parts: u32, group: usize) -> (Program, BufId, BufId) {
    let mut p = Program::new("net", parts);
    let x = p.add_buffer("x", DType::F32, 10, Role::Input);
    let out = p.add_buffer("spikes", DType::Bool, 10, Role::Output);
    let v = p.add_buffer("v", DType::F32, 10, Role::State(zeros(DType::F32, 10)));
    let total = p.add_buffer("total", DType::F32, 3, Role::State(zeros(DType::F32, 3)));
    let weights: Vec<f32> = (0..30).map(|k| k as f32).collect();
    let w = p.add_buffer("w", DType::F32, 30, Role::Const(Tensor::from_vec(vec![30], weights).expect("30")));
    let probe = p.add_buffer("sum", DType::F32, 1, Role::Probe { every: 2 });
    let ring = p.add_list("ring", 10, 3, 2);

    let mut b = KernelBuilder::new("fire", Some(Parallel { len: 10, align: 2 }), 1);
    let (tick, three) = (b.tick(), b.index(3));
    let slot = b.op(ScalarOp::IRem, &[tick, three]);
    b.clear(ring, slot);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, i| {
        let (a, c) = (b.load(v, DType::F32, Index::var(i)), b.load(x, DType::F32, Index::var(i)));
        let s = b.op(ScalarOp::FAdd, &[a, c]);
        let (one, zero) = (b.constant(Scalar::F32(1.0)), b.constant(Scalar::F32(0.0)));
        let fired = b.op(ScalarOp::FGe, &[s, one]);
        let next = b.op(ScalarOp::Select, &[fired, zero, s]);
        b.store(v, Index::var(i), next);
        b.store(out, Index::var(i), fired);
        b.push(ring, slot, fired, i);
    });
    p.push(b.finish());

    let mut b = KernelBuilder::new("deliver", Some(Parallel { len: 3, align: 1 }), 1);
    let (tick, one, three) = (b.tick(), b.index(1), b.index(3));
    let next = b.op(ScalarOp::IAdd, &[tick, one]);
    let slot = b.op(ScalarOp::IRem, &[next, three]);
    let (lo, hi) = (b.lo(), b.hi());
    b.events(ring, slot, group, |b, events| {
        b.for_loop(lo, hi, true, |b, o| {
            let mut acc = b.load(total, DType::F32, Index::var(o));
            for e in events {
                let weight = b.load(w, DType::F32, Index::var(o).plus(*e, 3));
                acc = b.op(ScalarOp::FAdd, &[acc, weight]);
            }
            b.store(total, Index::var(o), acc);
        });
    });
    p.push(b.finish());

    let mut b = KernelBuilder::new("measure", None, 2);
    let (lo, hi, zero) = (b.index(0), b.index(3), b.constant(Scalar::F32(0.0)));
    let sum = b.for_carried(lo, hi, &[zero], |b, i, acc| {
        let t = b.load(total, DType::F32, Index::var(i));
        vec![b.op(ScalarOp::FAdd, &[acc[0], t])]
    });
    b.store(probe, Index::at(0), sum[0]);
    p.push(b.finish());
    (p, v, total)
}

/// Inputs that make neurons 0, 1, 2, 5 and 9 fire in tick 0 and nothing else.
fn input(ticks: usize) -> Vec<u8> {
    let mut x = vec![0f32; 10 * ticks];
    for k in [0, 1, 2, 5, 9] {
        x[k] = 1.0;
    }
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn spikes_arrive_two_ticks_later_for_any_parts_and_groups() {
    for (parts, group) in [(1, 1), (1, 4), (2, 2), (3, 4)] {
        let (p, v, total) = network(parts, group);
        let mut m = Machine::new(&p, CHECKED).expect("valid");
        let x = input(4);
        let (mut spikes, mut sums) = (vec![0u8; 40], vec![0u8; 8]);
        let mut host = [HostArray::In(&x), HostArray::Out(&mut spikes), HostArray::Out(&mut sums)];
        m.run(0, 2, &mut host).expect("no fault");
        assert_eq!(state_f32(&m, total, 3), [0.0; 3]);
        m.run(2, 1, &mut [HostArray::In(&x[80..]), HostArray::Out(&mut spikes[20..]), HostArray::Out(&mut sums[4..])])
            .expect("no fault");
        // Rows 0, 1, 2, 5, 9 begin at 0, 3, 6, 15, 27.
        assert_eq!(state_f32(&m, total, 3), [51.0, 56.0, 61.0], "{parts} parts, groups of {group}");
        assert_eq!(state_f32(&m, v, 10), [0.0; 10]);
        assert_eq!(spikes[..10], [1, 1, 1, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(spikes[10..], [0; 30]);
        assert_eq!(sums[..4], 0f32.to_le_bytes());
        assert_eq!(sums[4..], 168f32.to_le_bytes());
    }
}

#[test]
fn narrow_elements_widen_and_narrow() {
    let mut p = Program::new("narrow", 1);
    let cases = [
        (DType::F16, Scalar::F32(1.0 + 1.0 / 2048.0), Scalar::F32(1.0)),
        (DType::BF16, Scalar::F32(1.0 + 3.0 / 256.0), Scalar::F32(1.015625)),
        (DType::I16, Scalar::I32(0x18000), Scalar::I32(-32768)),
        (DType::I8, Scalar::I32(0x1ff), Scalar::I32(-1)),
        (DType::U8, Scalar::I32(-1), Scalar::I32(255)),
        (DType::I64, Scalar::I64(i64::MIN), Scalar::I64(i64::MIN)),
        (DType::F64, Scalar::F64(0.1), Scalar::F64(0.1)),
        (DType::Bool, Scalar::Bool(true), Scalar::Bool(true)),
    ];
    let mut b = KernelBuilder::new("k", None, 1);
    let seen = p.add_buffer("seen", DType::Bool, 8, Role::State(zeros(DType::Bool, 8)));
    for (k, (elem, given, expected)) in cases.into_iter().enumerate() {
        let buf = p.add_buffer("t", elem, 1, Role::Temp);
        let v = b.constant(given);
        b.store(buf, Index::at(0), v);
        let (back, want) = (b.load(buf, elem, Index::at(0)), b.constant(expected));
        let same = match expected {
            Scalar::F32(_) | Scalar::F64(_) => b.op(ScalarOp::FEq, &[back, want]),
            Scalar::I32(_) | Scalar::I64(_) => b.op(ScalarOp::IEq, &[back, want]),
            Scalar::Bool(_) => back,
        };
        b.store(seen, Index::at(k as i64), same);
    }
    p.push(b.finish());
    let mut m = Machine::new(&p, CHECKED).expect("valid");
    m.run(0, 1, &mut []).expect("no fault");
    let super::super::abi::Place::Arena(at) = m.layout().buffers[seen.index()] else { panic!("not in the arena") };
    assert_eq!(m.arena()[at as usize..at as usize + 8], [1; 8]);
}

/// Runs one kernel over an extent of 8 in 2 parts, over b0 f32[8] state, b1 f32[8] temp, l0 one slot, l1 two slots.
fn fault(parallel: bool, write: impl FnOnce(&mut KernelBuilder)) -> String {
    let mut p = Program::new("p", 2);
    p.add_buffer("s", DType::F32, 8, Role::State(zeros(DType::F32, 8)));
    p.add_buffer("t", DType::F32, 8, Role::Temp);
    p.add_list("l", 8, 1, 1);
    p.add_list("ring", 8, 2, 1);
    let mut b = KernelBuilder::new("k", parallel.then_some(Parallel { len: 8, align: 1 }), 1);
    write(&mut b);
    p.push(b.finish());
    let mut m = Machine::new(&p, CHECKED).expect("valid");
    let f = m.run(0, 1, &mut []).expect_err("a fault");
    assert_eq!(f.kernel, Some(0));
    f.what
}

const S: BufId = BufId(0);
const T: BufId = BufId(1);
const L: ListId = ListId(0);
const RING: ListId = ListId(1);

#[test]
fn an_index_out_of_range_is_a_fault() {
    let what = fault(true, |b| {
        let hi = b.hi();
        b.load(S, DType::F32, Index::var(hi).offset(1));
        b.load(S, DType::F32, Index::var(hi).plus(hi, 1));
    });
    assert_eq!(what, "b0[8] is outside the 8 elements of `s`");
    let what = fault(false, |b| {
        let (t, x) = (b.tick(), b.constant(Scalar::F32(0.0)));
        b.store(S, Index::var(t).offset(-1), x);
    });
    assert_eq!(what, "b0[-1] is outside the 8 elements of `s`");
}

#[test]
fn pushes_ascend_inside_the_part() {
    let pushed = |indices: &'static [i64]| {
        fault(true, move |b| {
            let (slot, yes) = (b.index(0), b.constant(Scalar::Bool(true)));
            for k in indices {
                let k = b.index(*k);
                b.push(L, slot, yes, k);
            }
        })
    };
    assert_eq!(pushed(&[1, 1]), "index 1 pushed to l0 after 1");
    assert_eq!(pushed(&[2, 1]), "index 1 pushed to l0 after 2");
    assert_eq!(pushed(&[4]), "index 4 pushed to l0 by the part of 0..4");
    assert_eq!(pushed(&[-1]), "index -1 pushed to l0 by the part of 0..4");
}

#[test]
fn a_slot_out_of_range_is_a_fault() {
    let what = fault(true, |b| {
        let t = b.tick();
        let slot = b.op(ScalarOp::ISub, &[t, t]);
        let two = b.index(2);
        let slot = b.op(ScalarOp::IAdd, &[slot, two]);
        b.clear(RING, slot);
    });
    assert_eq!(what, "slot 2 of l1 `ring`, which has 2");
}

#[test]
fn parts_touch_nothing_that_another_writes() {
    let reads = fault(true, |b| {
        let (lo, x) = (b.lo(), b.constant(Scalar::F32(1.0)));
        b.store(S, Index::var(lo), x);
        b.load(S, DType::F32, Index::at(0));
    });
    assert_eq!(reads, "a part reads b0[0] that another part touches in the same kernel");
    let writes = fault(true, |b| {
        let (lo, x) = (b.lo(), b.constant(Scalar::F32(1.0)));
        b.load(S, DType::F32, Index::at(4));
        b.store(S, Index::var(lo), x);
    });
    assert_eq!(writes, "a part writes b0[4] that another part touches in the same kernel");
    let both = fault(true, |b| {
        let x = b.constant(Scalar::F32(1.0));
        b.store(S, Index::at(0), x);
    });
    assert_eq!(both, "a part writes b0[0] that another part touches in the same kernel");
    let lists = fault(true, |b| {
        let (zero, one) = (b.index(0), b.index(1));
        let (yes, lo) = (b.constant(Scalar::Bool(true)), b.lo());
        b.push(RING, one, yes, lo);
        b.events(RING, zero, 1, |_, _| ());
        b.events(RING, one, 1, |_, _| ());
    });
    assert_eq!(lists, "a part appends to slot 1 of l1, chunk 1, that another part touches in the same kernel");
}

#[test]
fn iterations_of_a_vector_loop_touch_nothing_that_another_writes() {
    let shifted = |by: i64, store_first: bool| {
        fault(false, move |b| {
            let (one, five, x) = (b.index(1), b.index(5), b.constant(Scalar::F32(1.0)));
            b.for_loop(one, five, true, |b, i| {
                if store_first {
                    b.store(S, Index::var(i), x);
                }
                b.load(S, DType::F32, Index::var(i).offset(by));
                if !store_first {
                    b.store(S, Index::var(i), x);
                }
            });
        })
    };
    let reads = "an iteration of a vector loop reads b0[1] that another iteration touches";
    let writes = "an iteration of a vector loop writes b0[2] that another iteration touches";
    assert_eq!(shifted(-1, true), reads);
    assert_eq!(shifted(-1, false), reads);
    assert_eq!(shifted(1, true), writes);
    assert_eq!(shifted(1, false), writes);
}

#[test]
fn temporaries_are_written_before_they_are_read() {
    let what = fault(false, |b| {
        let x = b.constant(Scalar::F32(1.0));
        b.store(T, Index::at(3), x);
        b.load(T, DType::F32, Index::at(3));
        b.load(T, DType::F32, Index::at(4));
    });
    assert_eq!(what, "b1[4] is read before it is written in this tick");
}

#[test]
fn a_list_is_not_written_while_it_is_read() {
    let mut p = Program::new("p", 1);
    let l = p.add_list("l", 8, 2, 1);
    let mut b = KernelBuilder::new("k", Some(Parallel { len: 8, align: 1 }), 1);
    let (slot, yes, three) = (b.index(0), b.constant(Scalar::Bool(true)), b.index(3));
    b.push(l, slot, yes, three);
    b.events(l, slot, 1, |b, _| b.clear(l, slot));
    p.push(b.finish());
    let f = Machine::new(&p, Options::default()).expect("valid").run(0, 1, &mut []).expect_err("a fault");
    assert_eq!(f.what, "slot 0 of l0 is written while its events are read");
}

#[test]
fn a_damaged_state_is_a_fault() {
    let (p, ..) = network(1, 2);
    let x = input(1);
    for (count, index, expected) in
        [(11u32, 0u32, "a chunk of l0 for 10 indices counts 11"), (1, 10, "l0 holds index 10 in a chunk of 0..10")]
    {
        let mut m = Machine::new(&p, CHECKED).expect("valid");
        let place = m.layout().lists[0];
        let (at, indices) = (place.counts as usize + 4, (place.indices + place.stride) as usize);
        m.arena_mut()[at..at + 4].copy_from_slice(&count.to_le_bytes());
        m.arena_mut()[indices..indices + 4].copy_from_slice(&index.to_le_bytes());
        let (mut spikes, mut sums) = (vec![0u8; 10], vec![0u8; 4]);
        let mut host = [HostArray::In(&x), HostArray::Out(&mut spikes), HostArray::Out(&mut sums)];
        assert_eq!(m.run(0, 1, &mut host).expect_err("a fault").what, expected);
    }
}

#[test]
fn host_arrays_are_measured() {
    let (p, ..) = network(1, 2);
    let mut m = Machine::new(&p, CHECKED).expect("valid");
    let x = input(1);
    let (mut spikes, mut sums) = (vec![0u8; 10], vec![0u8; 3]);
    let mut host = [HostArray::In(&x), HostArray::Out(&mut spikes), HostArray::Out(&mut sums)];
    let f = m.run(0, 1, &mut host).expect_err("a fault");
    assert_eq!((f.kernel, f.what.as_str()), (None, "the host array of `sum` has 3 bytes, too few"));
    assert!(m.run(0, 1, &mut []).is_err());
    let mut swapped = [HostArray::Out(&mut spikes), HostArray::In(&x), HostArray::Out(&mut sums)];
    assert_eq!(m.run(0, 1, &mut swapped).expect_err("a fault").what, "the host array of `x` is of the wrong kind");
}

#[test]
fn endless_work_is_cut_off() {
    let mut p = Program::new("p", 1);
    let mut b = KernelBuilder::new("k", None, 1);
    let (lo, hi) = (b.index(0), b.index(i64::MAX));
    b.for_loop(lo, hi, false, |_, _| ());
    p.push(b.finish());
    let f = Machine::new(&p, CHECKED).expect("valid").run(0, 1, &mut []).expect_err("a fault");
    assert_eq!(f.what, "more than 1000000 steps");
}

#[test]
fn too_much_memory_is_refused_before_it_is_taken() {
    let mut p = Program::new("p", 1);
    p.add_buffer("big", DType::F64, 1 << 40, Role::Temp);
    assert!(matches!(Machine::new(&p, CHECKED), Err(SetupError::TooLarge { .. })));
}

struct Threads(std::sync::Barrier);

unsafe extern "C" fn wait(arg: *mut c_void) {
    // SAFETY: the test gives a `Threads` that outlives the run.
    unsafe { &*arg.cast::<Threads>() }.0.wait();
}

#[derive(Clone, Copy)]
struct Shared(*const RunContext);
// SAFETY: parts share a context by the calling convention.
unsafe impl Send for Shared {}
impl Shared {
    fn get(&self) -> *const RunContext {
        self.0
    }
}

#[test]
fn it_stands_in_for_compiled_code() {
    let (p, ..) = network(3, 2);
    let ticks = 5u64;
    let x: Vec<u8> = (0..50).flat_map(|k| ((k * 7 % 11) as f32 / 8.0).to_le_bytes()).collect();
    let mut m = Machine::new(&p, CHECKED).expect("valid");
    let (mut spikes, mut sums) = (vec![0u8; 50], vec![0u8; 12]);
    m.run(0, ticks, &mut [HostArray::In(&x), HostArray::Out(&mut spikes), HostArray::Out(&mut sums)])
        .expect("no fault");

    let code = Interpreted::new(&p, Options::default()).expect("valid");
    let mut other = Machine::new(&p, Options::default()).expect("valid");
    let (mut x2, mut spikes2, mut sums2) = (x.clone(), vec![0u8; 50], vec![0u8; 12]);
    let host = [x2.as_mut_ptr(), spikes2.as_mut_ptr(), sums2.as_mut_ptr()];
    let threads = Threads(std::sync::Barrier::new(3));
    let context = RunContext {
        arena: other.arena_mut().as_mut_ptr(),
        consts: other.consts().as_ptr(),
        host: host.as_ptr(),
        first_tick: 0,
        ticks,
        barrier: Some(wait),
        barrier_arg: std::ptr::from_ref(&threads).cast_mut().cast(),
        data: code.data(),
    };
    let (entry, shared) = (code.entry(), Shared(&context));
    std::thread::scope(|s| {
        for part in 0..3 {
            // SAFETY: all three parts run at the same time with the same context.
            s.spawn(move || unsafe { entry(shared.get(), part) });
        }
    });
    assert_eq!(code.take_fault(), None);
    assert_eq!(m.arena(), other.arena());
    assert_eq!((spikes, sums), (spikes2, sums2));
}

/// Collatz steps from the input until 1, at most b1[0] of them: the number is halved if the condition b3[0] says so. The
/// numbers on the way are stored in place, b1 is overwritten on the way.
const COLLATZ: &str = r#"program "collatz" parts 2
buffer b0 "x" i64[1] input
buffer b1 "most" i64[1] state i64[1] { 9 }
buffer b2 "y" i64[1] temp
buffer b3 "even" bool[1] temp
buffer b4 "more" bool[1] temp
buffer b5 "way" i64[9] output
kernel "begin" serial {
    v4 = load b0[0]
    store b2[0], v4
    v5 = const.bool true
    store b4[0], v5
}
loop b1[0] while b4[0] {
    kernel "look" serial iterations (v4) {
        v5 = load b2[0]
        store b5[v4], v5
        v6 = const.i64 1
        v7 = and v5, v6
        v8 = const.i64 0
        v9 = ieq v7, v8
        store b3[0], v9
        store b1[0], v8
    }
    if b3[0] {
        kernel "halve" serial {
            v4 = load b2[0]
            v5 = const.i64 1
            v6 = shrs v4, v5
            store b2[0], v6
            v7 = ine v6, v5
            store b4[0], v7
        }
    } else {
        kernel "climb" serial {
            v4 = load b2[0]
            v5 = const.i64 3
            v6 = imul v4, v5
            v7 = const.i64 1
            v8 = iadd v6, v7
            store b2[0], v8
        }
    }
}
kernel "again" serial {
    v4 = const.i64 9
    store b1[0], v4
}
"#;

#[test]
fn loops_and_branches_of_steps_read_memory() {
    let p = crate::kernel::text::parse(COLLATZ).expect("a program");
    let mut m = Machine::new(&p, CHECKED).expect("valid");
    let x: Vec<u8> = [6i64, 1, 4, 27].iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut way = vec![0; 4 * 72];
    m.run(0, 4, &mut [HostArray::In(&x), HostArray::Out(&mut way)]).expect("no fault");
    let way: Vec<i64> = way.chunks(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes"))).collect();
    assert_eq!(way[..9], [6, 3, 10, 5, 16, 8, 4, 2, 0]);
    assert_eq!(way[9..18], [1, 4, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(way[18..27], [4, 2, 0, 0, 0, 0, 0, 0, 0]);
    // The last one is cut off by the number of trips.
    assert_eq!(way[27..], [27, 82, 41, 124, 62, 31, 94, 47, 142]);
}

#[test]
fn after_a_fault_all_parts_leave_a_loop_that_only_its_condition_ends() {
    let text = COLLATZ.replace("i64[1] { 9 }", "i64[1] { 4611686018427387904 }");
    let p = crate::kernel::text::parse(&text).expect("a program");
    let code = Interpreted::new(&p, Options::default()).expect("valid");
    let mut m = Machine::new(&p, Options::default()).expect("valid");
    let (mut x, mut way) = (27i64.to_le_bytes(), vec![0u8; 72]);
    let host = [x.as_mut_ptr(), way.as_mut_ptr()];
    let threads = Threads(std::sync::Barrier::new(2));
    let context = RunContext {
        arena: m.arena_mut().as_mut_ptr(),
        consts: m.consts().as_ptr(),
        host: host.as_ptr(),
        first_tick: 0,
        ticks: 1,
        barrier: Some(wait),
        barrier_arg: std::ptr::from_ref(&threads).cast_mut().cast(),
        data: code.data(),
    };
    let (entry, shared) = (code.entry(), Shared(&context));
    std::thread::scope(|s| {
        for part in 0..2 {
            // SAFETY: both parts run at the same time with the same context.
            s.spawn(move || unsafe { entry(shared.get(), part) });
        }
    });
    let fault = code.take_fault().expect("the tenth number has no place");
    assert_eq!(fault, "tick 0, kernel 1, part 0: b5[9] is outside the 9 elements of `way`");
}
