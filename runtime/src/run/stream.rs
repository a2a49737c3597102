//! Driving machines over whole arrays in chunks of bounded size.

use super::frames::Frames;
use super::machine::{Face, Machine, Port, Saved};
use nc_ir::diag::Diagnostic;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where input frames come from.
pub trait Source {
    /// Fills each of `inputs` (in the order of [`Face::inputs`]), which hold zeros, with the frames of the next `ticks`
    /// ticks: `[ticks, samples, ..]`.
    ///
    /// # Errors
    /// Whatever is wrong with the input.
    fn fill(&mut self, ticks: u64, inputs: &mut [Frames]) -> Result<(), Diagnostic>;
}

/// Where result frames go.
pub trait Sink {
    /// Takes the frames of the `ticks` ticks from `first` on, for each of [`Face::results`]: `[frames, samples, ..]`.
    ///
    /// # Errors
    /// Whatever keeps them from being taken.
    fn take(&mut self, first: u64, ticks: u64, results: &[Frames]) -> Result<(), Diagnostic>;
}

/// What to run, and within which bounds.
pub struct Plan<'a> {
    /// How many ticks.
    pub ticks: u64,
    /// How many samples, at least 1.
    pub samples: usize,
    /// Most threads to spread samples over. (The threads of a machine are its own matter.)
    pub threads: usize,
    /// Bytes of frames in memory at a time. One tick is always taken, however large.
    pub frame_budget: u64,
    /// Bytes that machines beside the first may take.
    pub max_memory: u64,
    /// State to start from. Its tensors have a leading axis of samples if `stacked`.
    pub resume: Option<&'a Saved>,
    /// Whether saved state has a leading axis of samples.
    pub stacked: bool,
    /// Whether the state at the end is wanted.
    pub keep_state: bool,
    /// Counts sample ticks that are done.
    pub progress: &'a AtomicU64,
}

/// What a run leaves.
pub struct Finished {
    /// Number of the tick that would come next.
    pub tick: u64,
    /// The state, if it was asked for.
    pub state: Option<Saved>,
    /// Time of the first chunk: one tick of one sample unless there are several samples.
    pub first_chunk: Duration,
    /// Time inside the machines, without reading and writing frames.
    pub machine_time: Duration,
}

/// A chunk is made longer until it takes about this long, so that progress shows and calls cost nothing.
const CHUNK_TIME: Duration = Duration::from_millis(50);

/// Runs `plan` on `machine` or, for several samples, on one that runs all of them in a call, or on forks of it.
///
/// # Errors
/// E0650 if the plan does not fit its bounds, E0651 for state that does not fit, E0652, and what source, sink and
/// machine refuse.
pub fn stream(
    machine: Box<dyn Machine>,
    plan: &Plan<'_>,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
) -> Result<Finished, Diagnostic> {
    let face = machine.face().clone();
    let first = plan.resume.map_or(0, |s| s.tick);
    let begin = Beginnings::of(plan)?;
    let per_tick = tick_bytes(&face).saturating_mul(plan.samples as u64).max(1);
    let most = (plan.frame_budget / per_tick).max(1);
    let mut crew = Crew::gather(machine, plan, most >= plan.ticks)?;
    let mut inputs = empty(face.inputs.len());
    let mut results = empty(face.outputs.len() + face.probes.len());
    let (mut done, mut size) = (0, if plan.samples == 1 { 1 } else { most });
    let mut finished = Finished { tick: first, state: None, first_chunk: Duration::ZERO, machine_time: Duration::ZERO };
    if plan.ticks == 0 {
        crew.begin(plan, &begin)?;
    }
    while done < plan.ticks {
        let ticks = size.min(most).min(plan.ticks - done);
        for (port, frames) in face.inputs.iter().zip(&mut inputs) {
            frames.set_zeros(total(port, ticks, plan.samples), &port.name)?;
        }
        source.fill(ticks, &mut inputs)?;
        let start = Instant::now();
        crew.run(plan, &begin, first + done, ticks, &inputs, &mut results)?;
        let time = start.elapsed();
        sink.take(first + done, ticks, &results)?;
        if done == 0 {
            finished.first_chunk = time;
        }
        finished.machine_time += time;
        done += ticks;
        if time < CHUNK_TIME {
            size = ticks.saturating_mul(2);
        }
    }
    finished.tick = first + done;
    if plan.keep_state {
        finished.state = Some(crew.state(plan)?);
    }
    Ok(finished)
}

/// Bytes of the frames of one tick, probes as if they were recorded in every tick.
fn tick_bytes(face: &Face) -> u64 {
    face.inputs.iter().chain(face.results()).fold(0u64, |n, p| n.saturating_add(p.frame_bytes()))
}

fn total(port: &Port, frames: u64, samples: usize) -> u64 {
    port.frame_bytes().saturating_mul(frames).saturating_mul(samples as u64)
}

fn empty(n: usize) -> Vec<Frames> {
    (0..n).map(|_| Frames::default()).collect()
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machines of a run.
enum Crew {
    /// One sample, or all samples in each call, on one machine.
    Alone { machine: Box<dyn Machine>, begun: bool, samples: u64 },
    /// Each sample on a machine of its own, which keeps its state from chunk to chunk.
    Each { machines: Vec<Mutex<Box<dyn Machine>>>, threads: usize, begun: bool },
    /// The whole run is one chunk: a machine per thread takes one sample after another. The states at the end, if wanted.
    Shared { machines: Vec<Box<dyn Machine>>, states: Vec<Saved> },
}

impl Crew {
    fn gather(machine: Box<dyn Machine>, plan: &Plan<'_>, one_chunk: bool) -> Result<Crew, Diagnostic> {
        if plan.samples == 1 {
            return Ok(Crew::Alone { machine, begun: false, samples: 1 });
        }
        let together = plan.stacked && machine.batches();
        let threads = plan.threads.clamp(1, plan.samples.max(1));
        let count = if one_chunk && !together { threads } else { plan.samples };
        let need = machine.fork_bytes().saturating_mul(count.saturating_sub(1) as u64);
        if need > plan.max_memory {
            return Err(Diagnostic::error_nowhere(
                "E0650",
                format!("the state of {count} samples takes {need} bytes, {} are allowed", plan.max_memory),
            )
            .with_hint("raise --max-memory, or run fewer samples or ticks at a time"));
        }
        if together && let Some(machine) = machine.batch(plan.samples)? {
            return Ok(Crew::Alone { machine, begun: false, samples: plan.samples as u64 });
        }
        let mut machines = vec![machine];
        while machines.len() < count {
            machines.push(machines[0].fork()?);
        }
        Ok(if one_chunk {
            Crew::Shared { machines, states: Vec::new() }
        } else {
            Crew::Each { machines: machines.into_iter().map(Mutex::new).collect(), threads, begun: false }
        })
    }

    /// Puts every machine that keeps its state into the state the run starts from.
    fn begin(&mut self, plan: &Plan<'_>, begin: &Beginnings) -> Result<(), Diagnostic> {
        match self {
            Crew::Alone { machine, begun, samples } => {
                if !std::mem::replace(begun, true) {
                    match plan.resume {
                        Some(saved) if *samples > 1 => machine.import(saved)?,
                        _ => begin.start(machine.as_mut(), 0)?,
                    }
                }
            }
            Crew::Each { machines, begun, .. } => {
                if !std::mem::replace(begun, true) {
                    for (sample, machine) in machines.iter_mut().enumerate() {
                        begin.start(machine.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut(), sample)?;
                    }
                }
            }
            Crew::Shared { machines, states } => {
                // Reached for a run without ticks alone: the states at the end are those of the start.
                if plan.keep_state {
                    for sample in 0..plan.samples {
                        begin.start(machines[0].as_mut(), sample)?;
                        states.push(machines[0].export()?);
                    }
                }
            }
        }
        Ok(())
    }

    fn run(
        &mut self,
        plan: &Plan<'_>,
        begin: &Beginnings,
        first: u64,
        ticks: u64,
        inputs: &[Frames],
        results: &mut [Frames],
    ) -> Result<(), Diagnostic> {
        if let Crew::Alone { .. } | Crew::Each { .. } = self {
            self.begin(plan, begin)?;
        }
        match self {
            Crew::Alone { machine, samples, .. } => {
                machine.run(ticks, inputs, results)?;
                plan.progress.fetch_add(ticks * *samples, Ordering::Relaxed);
                Ok(())
            }
            Crew::Each { machines, threads, .. } => {
                let face = locked(&machines[0]).face().clone();
                let shared = Chunk::new(&face, plan, first, ticks, inputs, results)?;
                let machines = &*machines;
                shared.spread(*threads, |scratch, sample| {
                    let mut machine = locked(&machines[sample]);
                    shared.one(machine.as_mut(), sample, scratch)
                })
            }
            Crew::Shared { machines, states } => {
                let face = machines[0].face().clone();
                let shared = Chunk::new(&face, plan, first, ticks, inputs, results)?;
                let ends: Vec<Mutex<Option<Saved>>> = (0..plan.samples).map(|_| Mutex::new(None)).collect();
                let threads = machines.len();
                let free: Mutex<Vec<&mut Box<dyn Machine>>> = Mutex::new(machines.iter_mut().collect());
                shared.spread(threads, |scratch, sample| {
                    let Some(machine) = locked(&free).pop() else {
                        return Err(Diagnostic::error_nowhere("E0653", "more threads than machines"));
                    };
                    begin.start(machine.as_mut(), sample)?;
                    shared.one(machine.as_mut(), sample, scratch)?;
                    if plan.keep_state {
                        *locked(&ends[sample]) = Some(machine.export()?);
                    }
                    locked(&free).push(machine);
                    Ok(())
                })?;
                *states =
                    ends.into_iter().filter_map(|m| m.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
                Ok(())
            }
        }
    }

    /// The state of all samples.
    fn state(self, plan: &Plan<'_>) -> Result<Saved, Diagnostic> {
        let mut each = match self {
            Crew::Alone { machine, samples, .. } if samples > 1 => return machine.export(),
            Crew::Alone { machine, .. } => vec![machine.export()?],
            Crew::Each { machines, .. } => {
                machines.iter().map(|m| locked(m).export()).collect::<Result<Vec<_>, _>>()?
            }
            Crew::Shared { states, .. } => states,
        };
        Ok(if plan.stacked { Saved::stack(&each) } else { each.pop().unwrap_or_default() })
    }
}

/// The states that samples start from: none for the one before the first tick.
struct Beginnings(Vec<Saved>);

impl Beginnings {
    fn of(plan: &Plan<'_>) -> Result<Beginnings, Diagnostic> {
        Ok(Beginnings(match plan.resume {
            None => Vec::new(),
            Some(saved) if plan.stacked => saved.unstack(plan.samples)?,
            Some(saved) => vec![saved.clone()],
        }))
    }

    /// Puts a machine into the state that a sample starts from.
    fn start(&self, machine: &mut dyn Machine, sample: usize) -> Result<(), Diagnostic> {
        match self.0.get(sample) {
            None => {
                machine.reset();
                Ok(())
            }
            Some(saved) => machine.import(saved),
        }
    }
}

/// Frames of one sample.
struct Scratch {
    inputs: Vec<Frames>,
    results: Vec<Frames>,
}

/// The frames of all samples for a range of ticks.
struct Chunk<'a> {
    face: &'a Face,
    samples: usize,
    first: u64,
    ticks: u64,
    inputs: &'a [Frames],
    results: Mutex<&'a mut [Frames]>,
    progress: &'a AtomicU64,
}

impl<'a> Chunk<'a> {
    fn new(
        face: &'a Face,
        plan: &Plan<'a>,
        first: u64,
        ticks: u64,
        inputs: &'a [Frames],
        results: &'a mut [Frames],
    ) -> Result<Chunk<'a>, Diagnostic> {
        for (port, frames) in face.results().zip(results.iter_mut()) {
            frames.set_zeros(total(port, port.frames_in(first, ticks), plan.samples), &port.name)?;
        }
        let (samples, progress) = (plan.samples, plan.progress);
        Ok(Chunk { face, samples, first, ticks, inputs, results: Mutex::new(results), progress })
    }

    /// Calls `work` once for each sample on `threads` threads. The first failure stops the rest.
    fn spread(
        &self,
        threads: usize,
        work: impl Fn(&mut Scratch, usize) -> Result<(), Diagnostic> + Sync,
    ) -> Result<(), Diagnostic> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failure: Mutex<Option<(usize, Diagnostic)>> = Mutex::new(None);
        let take = || {
            let mut scratch = Scratch {
                inputs: empty(self.face.inputs.len()),
                results: empty(self.face.outputs.len() + self.face.probes.len()),
            };
            loop {
                let sample = next.fetch_add(1, Ordering::Relaxed);
                if sample >= self.samples || failed.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(d) = work(&mut scratch, sample) {
                    failed.store(true, Ordering::Relaxed);
                    let mut first = locked(&failure);
                    if first.as_ref().is_none_or(|(s, _)| sample < *s) {
                        *first = Some((sample, d));
                    }
                }
            }
        };
        let spawned: Result<(), std::io::Error> = std::thread::scope(|scope| {
            for _ in 1..threads {
                std::thread::Builder::new().name("nc-sample".to_owned()).spawn_scoped(scope, take)?;
            }
            take();
            Ok(())
        });
        spawned.map_err(|e| Diagnostic::error_nowhere("E0652", format!("a thread cannot start: {e}")))?;
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, d)) => Err(d),
            None => Ok(()),
        }
    }

    /// Runs one sample on a machine that is in its state.
    fn one(&self, machine: &mut dyn Machine, sample: usize, scratch: &mut Scratch) -> Result<(), Diagnostic> {
        for ((port, all), own) in self.face.inputs.iter().zip(self.inputs).zip(&mut scratch.inputs) {
            own.set_zeros(total(port, self.ticks, 1), &port.name)?;
            let frame = port.frame_bytes() as usize;
            for (t, to) in own.bytes_mut().chunks_exact_mut(frame.max(1)).enumerate() {
                to.copy_from_slice(&all.bytes()[(t * self.samples + sample) * frame..][..frame]);
            }
        }
        machine.run(self.ticks, &scratch.inputs, &mut scratch.results)?;
        self.progress.fetch_add(self.ticks, Ordering::Relaxed);
        let mut results = locked(&self.results);
        for ((port, all), own) in self.face.results().zip(results.iter_mut()).zip(&scratch.results) {
            let frame = port.frame_bytes() as usize;
            for (t, from) in own.bytes().chunks_exact(frame.max(1)).enumerate() {
                all.bytes_mut()[(t * self.samples + sample) * frame..][..frame].copy_from_slice(from);
            }
        }
        debug_assert_eq!(machine.tick(), self.first + self.ticks);
        Ok(())
    }
}
