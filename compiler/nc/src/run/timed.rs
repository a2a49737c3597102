//! Timing the ticks alone: everything is in memory before the clock starts.

use crate::args::Timings;
use crate::{Outcome, print};
use nc_ir::Diagnostic;
use nc_runtime::run::{Frames, Machine, Source};
use std::time::{Duration, Instant};

/// What to time.
pub struct Setup {
    /// Ticks of a run.
    pub ticks: u64,
    /// Samples that the machine runs together.
    pub samples: u64,
    /// Timed runs; one more goes before them.
    pub repeat: u32,
    /// Time from the start of the program until the code was ready.
    pub preparation: Duration,
    /// Most memory to take for frames, in bytes.
    pub max_memory: u64,
}

/// Runs from the start again and again, and prints how long the ticks took.
///
/// # Errors
/// E0650 if the frames of all ticks do not fit the memory limit; what the machine refuses.
pub fn run(machine: &mut dyn Machine, setup: &Setup, source: &mut dyn Source, timings: Timings) -> Outcome {
    let face = machine.face().clone();
    let frames =
        |bytes: u64, every: u64| bytes.saturating_mul(setup.ticks.div_ceil(every.max(1))).saturating_mul(setup.samples);
    let all = face.inputs.iter().chain(face.results()).map(|p| frames(p.frame_bytes(), p.every));
    if all.fold(0u64, u64::saturating_add) > setup.max_memory {
        return Err(Diagnostic::error_nowhere(
            "E0650",
            format!("the frames of {} ticks do not fit in memory", setup.ticks),
        )
        .with_hint("time fewer ticks, or raise --max-memory")
        .into());
    }
    let mut inputs = Vec::with_capacity(face.inputs.len());
    for p in &face.inputs {
        inputs.push(Frames::zeros(frames(p.frame_bytes(), 1), &p.name)?);
    }
    source.fill(setup.ticks, &mut inputs)?;
    let mut results = Vec::new();
    for p in face.results() {
        results.push(Frames::zeros(0, &p.name)?);
    }
    let (mut seconds, mut device) = (Vec::with_capacity(setup.repeat as usize), Vec::new());
    for round in 0..=setup.repeat {
        machine.reset();
        let start = Instant::now();
        machine.run(setup.ticks, &inputs, &mut results)?;
        if round > 0 {
            seconds.push(start.elapsed().as_secs_f64());
            device.extend(machine.device_seconds());
        }
    }
    print(&match timings {
        Timings::Json => {
            let mut told = serde_json::json!({
                "seconds": seconds,
                "ticks": setup.ticks,
                "samples": setup.samples,
                "compile_seconds": setup.preparation.as_secs_f64(),
            });
            if !device.is_empty() {
                told["device_seconds"] = device.into();
            }
            format!("{told}\n")
        }
        Timings::Human => {
            seconds.sort_by(f64::total_cmp);
            device.sort_by(f64::total_cmp);
            let on_device = match device.get(device.len() / 2) {
                Some(median) => format!(", {:.3} ms on the device", median * 1e3),
                None => String::new(),
            };
            let ms = |k: usize| seconds[k.min(seconds.len() - 1)] * 1e3;
            let (least, median, most) = (ms(0), ms(seconds.len() / 2), ms(seconds.len()));
            format!(
                "{} ticks: {median:.3} ms, {least:.3} to {most:.3} in {} runs{on_device}\n",
                setup.ticks,
                seconds.len()
            )
        }
    })
}
