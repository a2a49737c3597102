//! A small program with every kind of state, run by the kernel interpreter behind the calling convention.

mod remote;

use super::*;
use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::interp::{Interpreted, Options};
use nc_ir::kernel::{Emit, Index, KernelBuilder, Parallel, Program, Role, Scalar, ScalarOp};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const N: u64 = 7;
const DEPTH: u32 = 3;

/// `s += x; y = s`; indices with `s > 1` are pushed to a ring and marked in another, `s -= 1` there; `late` counts what
/// happened `DEPTH` ticks ago by list, `seen` gives it by frame. `s` is also probed every 3 ticks.
fn image(parts: u32, with_lists: bool, max_memory: u64) -> Result<Arc<Image>, Diagnostic> {
    image_on(parts, with_lists, max_memory, |code| Engine::Code(Arc::new(code)))
}

fn image_on(
    parts: u32,
    with_lists: bool,
    max_memory: u64,
    engine: impl FnOnce(Interpreted) -> Engine,
) -> Result<Arc<Image>, Diagnostic> {
    let mut p = Program::new("small", parts);
    let over = Parallel { len: N, align: 1 };
    let s = p.add_buffer("s", DType::F32, N, Role::State(Tensor::scalar_f32(0.25)));
    let late = p.add_buffer("late", DType::I64, N, Role::State(Tensor::scalar_i64(0)));
    let ring = p.add_buffer("ring", DType::Bool, N * 4, Role::State(Tensor::from_bools(vec![], &[false]).unwrap()));
    let x = p.add_buffer("x", DType::F32, N, Role::Input);
    let y = p.add_buffer("y", DType::F32, N, Role::Output);
    let counted = p.add_buffer("late", DType::I64, N, Role::Output);
    let seen = p.add_buffer("seen", DType::Bool, N, Role::Output);
    let probe = p.add_buffer("s", DType::F32, N, Role::Probe { every: 3 });
    let list = p.add_list("spikes", N, DEPTH + 1, 1);

    let mut b = KernelBuilder::new("step", Some(over), 1);
    let (lo, hi, tick) = (b.lo(), b.hi(), b.tick());
    let four = b.index(4);
    let slot = b.op(ScalarOp::IRem, &[tick, four]);
    if with_lists {
        b.clear(list, slot);
    }
    b.for_loop(lo, hi, false, |b, i| {
        let (a, v) = (b.load(s, DType::F32, Index::var(i)), b.load(x, DType::F32, Index::var(i)));
        let sum = b.op(ScalarOp::FAdd, &[a, v]);
        let one = b.constant(Scalar::F32(1.0));
        let fire = b.op(ScalarOp::FGt, &[sum, one]);
        let less = b.op(ScalarOp::FSub, &[sum, one]);
        let next = b.op(ScalarOp::Select, &[fire, less, sum]);
        b.store(s, Index::var(i), next);
        b.store(y, Index::var(i), next);
        b.store(ring, Index::var(i).plus(slot, N as i64), fire);
        if with_lists {
            b.push(list, slot, fire, i);
        }
    });
    p.push(b.finish());

    let mut b = KernelBuilder::new("late", None, 1);
    let tick = b.tick();
    let (one, four, n) = (b.index(1), b.index(4), b.index(N as i64));
    let next = b.op(ScalarOp::IAdd, &[tick, one]);
    let slot = b.op(ScalarOp::IRem, &[next, four]);
    let zero = b.index(0);
    let after = b.index(DEPTH as i64);
    let due = b.op(ScalarOp::IGe, &[tick, after]);
    b.if_then(due, |b| {
        if with_lists {
            b.events(list, slot, 1, |b, v| {
                let k = b.load(late, DType::I64, Index::var(v[0]));
                let k = b.op(ScalarOp::IAdd, &[k, one]);
                b.store(late, Index::var(v[0]), k);
            });
        }
        b.for_loop(zero, n, false, |b, i| {
            let f = b.load(ring, DType::Bool, Index::var(i).plus(slot, N as i64));
            b.store(seen, Index::var(i), f);
        });
    });
    b.for_loop(zero, n, false, |b, i| {
        let k = b.load(late, DType::I64, Index::var(i));
        b.store(counted, Index::var(i), k);
    });
    p.push(b.finish());

    let mut b = KernelBuilder::new("probe", Some(over), 3);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, false, |b, i| {
        let v = b.load(s, DType::F32, Index::var(i));
        b.store(probe, Index::var(i), v);
    });
    p.push(b.finish());

    let layout = Layout::of(&p).expect("small");
    let code = Interpreted::new(&p, Options::default()).expect("a valid program");
    let port = |name: &str, dtype, every| Port { name: name.into(), dtype, shape: vec![N as usize], every };
    let face = Face {
        inputs: vec![port("x", DType::F32, 1)],
        outputs: vec![port("y", DType::F32, 1), port("late", DType::I64, 1), port("seen", DType::Bool, 1)],
        probes: vec![port("s", DType::F32, 3)],
    };
    let state = |name: &str, dtype, buffer| StateHome { name: name.into(), dtype, shape: vec![N as usize], buffer };
    let line = LineHome {
        name: "spikes".into(),
        dtype: DType::Bool,
        shape: vec![N as usize],
        depth: DEPTH,
        frames: Some(ring),
        events: with_lists.then_some(list),
    };
    let parts = Parts {
        face,
        program: Arc::new(p),
        layout: Arc::new(layout),
        engine: engine(code),
        states: vec![state("s", DType::F32, s), state("late", DType::I64, late)],
        lines: vec![line],
    };
    Image::new(parts, max_memory)
}

fn session(parts: u32) -> Session {
    Session::new(image(parts, true, 1 << 20).unwrap()).unwrap()
}

/// Input of any tick and sample.
fn x(t: u64, sample: usize, i: u64) -> f32 {
    ((t * 31 + i * 7 + sample as u64 * 13) % 16) as f32 / 16.0
}

struct Ramp {
    samples: usize,
    at: u64,
}

impl Source for Ramp {
    fn fill(&mut self, ticks: u64, inputs: &mut [Frames]) -> Result<(), Diagnostic> {
        let mut bytes = inputs[0].bytes_mut().chunks_exact_mut(4);
        for t in self.at..self.at + ticks {
            for b in 0..self.samples {
                for i in 0..N {
                    bytes.next().unwrap().copy_from_slice(&x(t, b, i).to_le_bytes());
                }
            }
        }
        self.at += ticks;
        Ok(())
    }
}

#[derive(Default, PartialEq, Eq, Debug, Clone)]
struct Keep(Vec<Vec<u8>>);

impl Sink for Keep {
    fn take(&mut self, _first: u64, _ticks: u64, results: &[Frames]) -> Result<(), Diagnostic> {
        self.0.resize(results.len(), Vec::new());
        for (all, r) in self.0.iter_mut().zip(results) {
            all.extend(r.bytes());
        }
        Ok(())
    }
}

fn drive(
    machine: Box<dyn Machine>,
    from: Option<&Saved>,
    ticks: u64,
    samples: usize,
    threads: usize,
    frame_budget: u64,
) -> (Keep, Saved) {
    let progress = AtomicU64::new(0);
    let plan = Plan {
        ticks,
        samples,
        threads,
        frame_budget,
        max_memory: 1 << 20,
        resume: from,
        stacked: samples > 1,
        keep_state: true,
        progress: &progress,
    };
    let mut keep = Keep::default();
    let mut ramp = Ramp { samples, at: from.map_or(0, |s| s.tick) };
    let finished = stream(machine, &plan, &mut ramp, &mut keep).unwrap();
    assert_eq!(progress.into_inner(), ticks * samples as u64);
    (keep, finished.state.unwrap())
}

/// The program as plain Rust.
fn model(ticks: u64, sample: usize) -> Vec<Vec<u8>> {
    let (mut s, mut late) = ([0.25f32; N as usize], [0i64; N as usize]);
    let mut fired: Vec<[bool; N as usize]> = Vec::new();
    let mut out = vec![Vec::new(); 4];
    for t in 0..ticks {
        let mut now = [false; N as usize];
        for i in 0..N as usize {
            s[i] += x(t, sample, i as u64);
            now[i] = s[i] > 1.0;
            if now[i] {
                s[i] -= 1.0;
            }
            out[0].extend(s[i].to_le_bytes());
        }
        fired.push(now);
        let old = t.checked_sub(u64::from(DEPTH)).map_or([false; N as usize], |k| fired[k as usize]);
        for i in 0..N as usize {
            late[i] += i64::from(old[i]);
            out[1].extend(late[i].to_le_bytes());
            out[2].push(u8::from(old[i]));
            if t % 3 == 0 {
                out[3].extend(s[i].to_le_bytes());
            }
        }
    }
    out
}

#[test]
fn results_are_those_of_the_model_at_any_parts_and_chunks() {
    for parts in [1, 2, 3, 9] {
        for budget in [1, 300, 1 << 20] {
            let (kept, _) = drive(Box::new(session(parts)), None, 50, 1, 1, budget);
            assert_eq!(kept.0, model(50, 0), "{parts} parts, {budget} bytes");
        }
    }
}

#[test]
fn samples_are_independent_on_any_number_of_threads() {
    for (threads, budget) in [(1, 1 << 20), (3, 1 << 20), (1, 700), (3, 700)] {
        let (kept, saved) = drive(Box::new(session(1)), None, 20, 5, threads, budget);
        for sample in 0..5 {
            let expected = model(20, sample);
            for (k, size) in [4, 8, 1, 4].into_iter().enumerate() {
                let frame = N as usize * size;
                let own: Vec<u8> = kept.0[k].chunks(frame).skip(sample).step_by(5).flatten().copied().collect();
                assert_eq!(own, expected[k], "result {k} of sample {sample}, {threads} threads, {budget} bytes");
            }
            let (_, alone) = {
                let mut s = session(1);
                let mut inputs = [Frames::default()];
                let mut results: Vec<Frames> = (0..4).map(|_| Frames::default()).collect();
                inputs[0].set_zeros(20 * N * 4, "x").unwrap();
                let values = (0..20).flat_map(|t| (0..N).flat_map(move |i| x(t, sample, i).to_le_bytes()));
                inputs[0].bytes_mut().iter_mut().zip(values).for_each(|(to, v)| *to = v);
                s.run(20, &inputs, &mut results).unwrap();
                (results, s.export().unwrap())
            };
            assert_eq!(saved.unstack(5).unwrap()[sample], alone);
        }
    }
}

#[test]
fn saved_state_moves_between_parts_and_representations() {
    let whole = model(40, 0);
    let (first, saved) = drive(Box::new(session(2)), None, 17, 1, 1, 1 << 20);
    for parts in [1, 3] {
        let (rest, end) = drive(Box::new(session(parts)), Some(&saved), 23, 1, 1, 200);
        for (k, all) in whole.iter().enumerate() {
            assert_eq!(&[first.0[k].clone(), rest.0[k].clone()].concat(), all);
        }
        assert_eq!(end.tick, 40);
    }
    // The ring has the past, the latest first.
    let ring = saved.expect("line/spikes", DType::Bool, &[3, N as usize]).unwrap();
    let seen = &model(20, 0)[2];
    for k in 1..=3 {
        let frame = &ring.bytes()[(k - 1) * N as usize..k * N as usize];
        let tick = 17 - k + DEPTH as usize;
        assert_eq!(frame, &seen[tick * N as usize..(tick + 1) * N as usize]);
    }
}

#[test]
fn a_resumed_batch_goes_on_where_it_stopped() {
    let (whole, end) = drive(Box::new(session(1)), None, 30, 4, 2, 1 << 20);
    for budget in [600, 1 << 20] {
        let (a, saved) = drive(Box::new(session(1)), None, 11, 4, 2, budget);
        let (b, again) = drive(Box::new(session(1)), Some(&saved), 19, 4, 1, budget);
        for k in 0..4 {
            assert_eq!([a.0[k].clone(), b.0[k].clone()].concat(), whole.0[k]);
        }
        assert_eq!(again, end);
    }
    let (_, none) = drive(Box::new(session(1)), Some(&end), 0, 4, 1, 1 << 20);
    assert_eq!(none, end);
}

#[test]
fn state_that_does_not_fit_is_refused_by_name() {
    let (_, saved) = drive(Box::new(session(1)), None, 5, 1, 1, 1 << 20);
    let mut missing = saved.clone();
    missing.entries.remove("state/late");
    let d = session(1).import(&missing).unwrap_err();
    assert_eq!((d.code, d.message.as_str()), ("E0651", "the saved state has no \"state/late\""));
    let mut other = saved.clone();
    other.entries.insert("state/s".into(), Tensor::zeros(DType::F32, vec![3]));
    let d = session(1).import(&other).unwrap_err();
    assert_eq!(
        (d.code, d.message.as_str()),
        ("E0651", "\"state/s\" is f32[3] in the saved state, the model has f32[7]")
    );
    assert_eq!(saved.unstack(2).unwrap_err().code, "E0651");
}

#[test]
fn memory_is_counted_before_it_is_taken() {
    assert_eq!(image(1, true, 100).err().unwrap().code, "E0650");
    assert_eq!(Frames::zeros(u64::MAX - 10, "x").unwrap_err().code, "E0650");
    assert_eq!(Frames::zeros(1 << 62, "x").unwrap_err().code, "E0650");
    let progress = AtomicU64::new(0);
    let plan = Plan {
        ticks: 1000,
        samples: 1000,
        threads: 1,
        frame_budget: 1 << 12,
        max_memory: 1 << 12,
        resume: None,
        stacked: true,
        keep_state: false,
        progress: &progress,
    };
    let d =
        stream(Box::new(session(1)), &plan, &mut Ramp { samples: 1000, at: 0 }, &mut Keep::default()).err().unwrap();
    assert_eq!(d.code, "E0650");
}

#[test]
fn names_of_entries_are_unique_and_fit_for_a_file() {
    let names = entry_names("state", ["v", "v", "", "a/b", "..", "v~1"]);
    assert_eq!(names, ["state/v", "state/v~1", "state/~2", "state/a_b", "state/~4", "state/v~1~5"]);
}

#[test]
fn decimated_frames_are_counted_by_absolute_tick() {
    let port = |every| Port { name: String::new(), dtype: DType::F32, shape: vec![], every };
    assert_eq!(port(3).frames_in(0, 1), 1);
    assert_eq!(port(3).frames_in(1, 2), 0);
    assert_eq!(port(3).frames_in(1, 3), 1);
    assert_eq!(port(1).frames_in(5, 4), 4);
    assert_eq!(port(10).frames_in(10, 0), 0);
}

#[test]
fn many_more_parts_than_cores_meet_at_every_barrier() {
    let (kept, _) = drive(Box::new(session(16)), None, 100, 1, 1, 1 << 20);
    assert_eq!(kept.0, model(100, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_of_a_run_gives_the_same(cuts in prop::collection::vec(0u64..12, 1..6), parts in 1u32..4) {
        let total: u64 = cuts.iter().sum();
        let mut all: Vec<Vec<u8>> = vec![Vec::new(); 4];
        let mut saved: Option<Saved> = None;
        for n in cuts {
            let (kept, end) = drive(Box::new(session(parts)), saved.as_ref(), n, 1, 1, 1 << 20);
            all.iter_mut().zip(kept.0).for_each(|(a, b)| a.extend(b));
            saved = Some(end);
        }
        prop_assert_eq!(all, model(total, 0));
    }
}
