//! The emulator as a machine that runs models.

use super::execute;
use nc_ir::{DType, Diagnostic};
use nc_runtime::run::{Face, Frames, Machine, Port, Saved};
use nc_spinnaker2::bundle::{self, Bundle, Manifest};
use nc_spinnaker2::emulate::{Emulator, Statistics};
use std::sync::{Arc, Mutex, PoisonError};

/// What runs on a chip leave behind: the numbers of each sample's run.
#[derive(Debug, Default)]
pub struct Numbers {
    /// The manifest of the bundle.
    pub manifest: Option<Manifest>,
    /// One for each sample that ran.
    pub runs: Vec<Statistics>,
}

/// An emulated chip.
pub struct Chip {
    emulator: Emulator,
    face: Face,
    threads: u32,
    bytes: u64,
    numbers: Arc<Mutex<Numbers>>,
}

/// The arrays of a bundle.
///
/// # Errors
/// E0857 for an element type that does not exist, or more elements than memory can have.
pub fn face_of_bundle(m: &Manifest) -> Result<Face, Diagnostic> {
    let port = |p: &bundle::Port| {
        let wrong = || Diagnostic::error_nowhere("E0857", format!("the array {:?} has no known type", p.name));
        let dtype = DType::from_name(&p.dtype).ok_or_else(wrong)?;
        let shape: Vec<usize> = p.shape.iter().map(|n| *n as usize).collect();
        Ok(Port { name: p.name.clone(), dtype, shape, every: p.every.max(1) })
    };
    let all = |list: &[bundle::Port]| list.iter().map(port).collect::<Result<Vec<_>, Diagnostic>>();
    Ok(Face { inputs: all(&m.inputs)?, outputs: all(&m.outputs)?, probes: all(&m.probes)? })
}

impl Chip {
    /// Loads a bundle into an emulated chip.
    ///
    /// # Errors
    /// E0857.
    pub fn new(bundle: &Bundle, threads: u32) -> Result<Chip, Diagnostic> {
        let face = face_of_bundle(&bundle.manifest)?;
        let emulator = Emulator::new(bundle).map_err(|e| Diagnostic::error_nowhere("E0857", e))?;
        let m = &bundle.manifest;
        let bytes = m.cores.len() as u64 * m.machine.core.sram_bytes.value * 4;
        let numbers = Numbers { manifest: Some(m.clone()), runs: Vec::new() };
        Ok(Chip { emulator, face, threads, bytes, numbers: Arc::new(Mutex::new(numbers)) })
    }

    /// Where the numbers of its runs appear when it and its forks are gone.
    pub fn numbers(&self) -> Arc<Mutex<Numbers>> {
        self.numbers.clone()
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        if self.emulator.ticks() > 0 {
            let mut n = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            n.runs.push(self.emulator.statistics());
        }
    }
}

fn stays() -> Diagnostic {
    Diagnostic::error_nowhere("E0860", "the state of a run on spinnaker2 can be neither saved nor resumed")
        .with_hint("use --target cpu, whose results are the same to the bit")
}

impl Machine for Chip {
    fn face(&self) -> &Face {
        &self.face
    }

    fn tick(&self) -> u64 {
        self.emulator.ticks()
    }

    fn reset(&mut self) {
        self.emulator.reset();
    }

    fn run(&mut self, ticks: u64, inputs: &[Frames], results: &mut [Frames]) -> Result<(), Diagnostic> {
        let first = self.tick();
        if inputs.len() != self.face.inputs.len() {
            return Err(Diagnostic::error_nowhere("E0653", "another number of arrays than the model has"));
        }
        for (port, frames) in self.face.results().zip(results.iter_mut()) {
            frames.set_zeros(port.frame_bytes().saturating_mul(port.frames_in(first, ticks)), &port.name)?;
        }
        let mut at = vec![0; results.len()];
        let threads = self.threads;
        for t in 0..ticks as usize {
            let mut frame = Vec::with_capacity(inputs.len());
            for (port, all) in self.face.inputs.iter().zip(inputs) {
                let bytes = port.frame_bytes() as usize;
                let one = all.bytes().get(t * bytes..(t + 1) * bytes).ok_or_else(|| {
                    Diagnostic::error_nowhere("E0653", format!("{:?} has not the frames of {ticks} ticks", port.name))
                })?;
                frame.push(one.to_vec());
            }
            let faults = self.emulator.tick(&frame, &|n, f| execute(threads, n, f));
            if let Some(f) = faults.first() {
                let mut d = Diagnostic::error_nowhere("E0856", f.describe(self.emulator.manifest()));
                if self.emulator.manifest().streams.iter().any(|s| s.measured.is_some()) {
                    d = d.with_hint("slots are sized by a profile: compile with --no-profile or --activity 1");
                } else if faults.len() > 1 {
                    d = d.with_hint(format!("{} more went wrong in this tick", faults.len() - 1));
                }
                return Err(d);
            }
            let m = self.emulator.manifest();
            for (k, port) in m.outputs.iter().chain(&m.probes).enumerate() {
                if !(first + t as u64).is_multiple_of(port.every.max(1)) {
                    continue;
                }
                let Some(stream) = port.stream else {
                    let text = format!("no core sends the output `{}` to a sink", port.name);
                    return Err(Diagnostic::error_nowhere("E0857", text).with_hint("compile the model anew"));
                };
                let bytes = self.emulator.result(stream);
                match results[k].bytes_mut().get_mut(at[k]..at[k] + bytes.len()) {
                    Some(to) => to.copy_from_slice(&bytes),
                    None => return Err(Diagnostic::error_nowhere("E0653", "a sink gave a frame of another size")),
                }
                at[k] += bytes.len();
            }
        }
        Ok(())
    }

    fn export(&self) -> Result<Saved, Diagnostic> {
        Err(stays())
    }

    fn import(&mut self, _: &Saved) -> Result<(), Diagnostic> {
        Err(stays())
    }

    fn fork_bytes(&self) -> u64 {
        self.bytes
    }

    fn fork(&self) -> Result<Box<dyn Machine>, Diagnostic> {
        let mut emulator = self.emulator.clone();
        emulator.reset();
        Ok(Box::new(Chip {
            emulator,
            face: self.face.clone(),
            threads: 1,
            bytes: self.bytes,
            numbers: self.numbers.clone(),
        }))
    }
}
