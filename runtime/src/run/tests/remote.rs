//! A machine elsewhere that runs all samples of a call: the kernel interpreter, with memory of its own.

use super::*;
use nc_ir::kernel::abi::{ALIGN, Array, Batch, Code as _, Remote, RunContext};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Bytes of a frame of each host array, and ticks between frames, in the order of the program.
const HOST: [(usize, u64); 5] = [(28, 1), (28, 1), (56, 1), (7, 1), (28, 3)];

#[derive(Default)]
struct Notes {
    /// State, by owner.
    kept: BTreeMap<u64, Vec<u8>>,
    calls: Vec<String>,
    /// Calls that succeed before one fails.
    left: Option<usize>,
}

struct Mock {
    code: Interpreted,
    notes: Arc<Mutex<Notes>>,
}

impl Remote for Mock {
    fn run(&self, batch: Batch<'_>) -> Result<(), Diagnostic> {
        let mut notes = self.notes.lock().unwrap();
        let (samples, ticks) = (batch.samples as usize, batch.ticks);
        notes.calls.push(format!(
            "{samples} samples, ticks {} + {ticks}{}",
            batch.first_tick,
            if batch.changed { ", new state" } else { "" }
        ));
        if let Some(left) = &mut notes.left {
            *left = left.checked_sub(1).ok_or_else(|| Diagnostic::error_nowhere("E0871", "it broke"))?;
        }
        assert_eq!(batch.stride % ALIGN, 0);
        assert_eq!(batch.arenas.len() as u64, batch.stride * batch.samples);
        if batch.changed {
            notes.kept.insert(batch.owner, batch.arenas.to_vec());
        }
        let kept = notes.kept.get_mut(&batch.owner).expect("state that was given");
        for sample in 0..samples {
            let mut own: Vec<Frames> = Vec::new();
            for (array, (frame, every)) in batch.host.iter().zip(HOST) {
                let frames = (batch.first_tick + ticks).div_ceil(every) - batch.first_tick.div_ceil(every);
                let mut f = Frames::zeros(frames * frame as u64, "test").unwrap();
                match array {
                    Array::Read(all) => {
                        for (k, to) in f.bytes_mut().chunks_exact_mut(frame).enumerate() {
                            to.copy_from_slice(&all[(k * samples + sample) * frame..][..frame]);
                        }
                    }
                    Array::Written(all) => {
                        assert_eq!(all.len(), frames as usize * frame * samples);
                        assert!(sample > 0 || all.iter().all(|b| *b == 0), "results hold zeros");
                    }
                }
                own.push(f);
            }
            let at = sample * batch.stride as usize;
            let mut arena = Frames::zeros(batch.stride, "test").unwrap();
            arena.bytes_mut().copy_from_slice(&kept[at..at + batch.stride as usize]);
            let host: Vec<*mut u8> = own.iter_mut().map(Frames::as_mut_ptr).collect();
            let context = RunContext {
                arena: arena.as_mut_ptr(),
                consts: batch.consts.as_ptr(),
                host: host.as_ptr(),
                first_tick: batch.first_tick,
                ticks,
                barrier: None,
                barrier_arg: std::ptr::null_mut(),
                data: self.code.data(),
            };
            // SAFETY: the context is complete and the program has one part.
            unsafe { (self.code.entry())(&raw const context, 0) };
            kept[at..at + batch.stride as usize].copy_from_slice(arena.bytes());
            for ((array, f), (frame, _)) in batch.host.iter_mut().zip(&own).zip(HOST) {
                if let Array::Written(all) = array {
                    for (k, from) in f.bytes().chunks_exact(frame).enumerate() {
                        all[(k * samples + sample) * frame..][..frame].copy_from_slice(from);
                    }
                }
            }
        }
        Ok(())
    }

    fn fetch(&self, owner: u64, arenas: &mut [u8]) -> Result<(), Diagnostic> {
        let mut notes = self.notes.lock().unwrap();
        notes.calls.push("fetch".to_owned());
        arenas.copy_from_slice(&notes.kept[&owner]);
        Ok(())
    }

    fn forget(&self, owner: u64) {
        self.notes.lock().unwrap().kept.remove(&owner);
    }

    fn seconds(&self) -> Option<f64> {
        Some(0.5)
    }
}

fn away() -> (Box<dyn Machine>, Arc<Mutex<Notes>>) {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let mock = notes.clone();
    let engine = move |code| Engine::Remote(Arc::new(Mock { code, notes: mock }));
    (image_on(1, true, 1 << 20, engine).unwrap().machine().unwrap(), notes)
}

#[test]
fn one_sample_runs_elsewhere_as_it_does_here() {
    for budget in [1, 300, 1 << 20] {
        let (machine, notes) = away();
        let (kept, saved) = drive(machine, None, 50, 1, 1, budget);
        assert_eq!(kept.0, model(50, 0));
        assert_eq!(saved, drive(Box::new(session(1)), None, 50, 1, 1, budget).1);
        let notes = notes.lock().unwrap();
        // State goes there once and comes back once.
        assert_eq!(notes.calls.iter().filter(|c| c.contains("new state")).count(), 1, "{:?}", notes.calls);
        assert_eq!(notes.calls.iter().filter(|c| *c == "fetch").count(), 1);
        assert!(notes.kept.is_empty(), "all state is forgotten");
    }
}

#[test]
fn samples_run_in_one_call_and_stay_apart() {
    for (ticks, budget) in [(20, 1 << 20), (20, 700), (20, 1)] {
        let (machine, notes) = away();
        let (kept, saved) = drive(machine, None, ticks, 5, 3, budget);
        assert_eq!((kept, saved.clone()), drive(Box::new(session(1)), None, ticks, 5, 3, budget));
        let calls = std::mem::take(&mut notes.lock().unwrap().calls);
        assert!(calls.iter().all(|c| c.starts_with("5 samples") || c == "fetch"), "{calls:?}");
        // From the state of the samples on, elsewhere or here.
        let (machine, _) = away();
        let there = drive(machine, Some(&saved), 9, 5, 1, budget);
        assert_eq!(there, drive(Box::new(session(1)), Some(&saved), 9, 5, 1, budget));
        let (machine, notes) = away();
        assert_eq!(drive(machine, Some(&saved), 0, 5, 1, budget).1, saved);
        assert!(notes.lock().unwrap().calls.is_empty(), "nothing ran");
    }
}

#[test]
fn machines_elsewhere_keep_their_own_state() {
    let (one, notes) = away();
    let mut two = one.fork().unwrap();
    let mut one = one;
    let mut inputs = [Frames::zeros(4 * N * 4, "x").unwrap()];
    inputs[0].bytes_mut().copy_from_slice(&[1.0f32.to_le_bytes(); 28].concat());
    let mut results: Vec<Frames> = (0..4).map(|_| Frames::default()).collect();
    one.run(4, &inputs, &mut results).unwrap();
    let before = one.export().unwrap();
    two.run(4, &inputs, &mut results).unwrap();
    two.run(4, &inputs, &mut results).unwrap();
    assert_eq!(one.export().unwrap(), before);
    assert_ne!(two.export().unwrap().entries, before.entries);
    assert_eq!(two.device_seconds(), Some(0.5));
    one.reset();
    assert_eq!(one.export().unwrap().tick, 0);
    assert!(one.run(3, &inputs, &mut results).is_err_and(|d| d.code == "E0653"));
    notes.lock().unwrap().left = Some(0);
    assert!(one.run(4, &inputs, &mut results).is_err_and(|d| d.code == "E0871"));
}

#[test]
fn state_of_all_samples_is_counted_before_it_is_taken() {
    let progress = AtomicU64::new(0);
    let plan = Plan {
        ticks: 1,
        samples: 1000,
        threads: 1,
        frame_budget: 1 << 20,
        max_memory: 1 << 12,
        resume: None,
        stacked: true,
        keep_state: false,
        progress: &progress,
    };
    let d = stream(away().0, &plan, &mut Ramp { samples: 1000, at: 0 }, &mut Keep::default()).err().unwrap();
    assert!(d.code == "E0650" && d.message.contains("1000 samples"), "{d:?}");
}
