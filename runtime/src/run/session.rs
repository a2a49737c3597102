//! The machine for compiled code.

use super::frames::Frames;
use super::image::{Engine, Host, Image};
use super::machine::{Face, Machine, Saved};
use super::state;
use super::team::Team;
use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::{Code, RunContext};
use std::sync::Arc;

/// One sample of a compiled model: its arena, and the threads that work on it.
pub struct Session {
    image: Arc<Image>,
    code: Arc<dyn Code>,
    arena: Frames,
    tick: u64,
    team: Option<Team>,
}

impl Session {
    /// A session before its first tick, with a thread for each part of the program but the first, which the caller's
    /// thread runs.
    ///
    /// # Errors
    /// E0650, E0652; E0653 if the image is not one of code in this process.
    pub fn new(image: Arc<Image>) -> Result<Session, Diagnostic> {
        let Engine::Code(code) = image.engine.clone() else {
            return Err(Diagnostic::error_nowhere("E0653", "a session of a program without machine code"));
        };
        let arena = Frames::zeros(image.layout.arena_bytes, "state")?;
        let team = if image.parts() > 1 { Some(Team::start(image.parts())?) } else { None };
        let mut session = Session { image, code, arena, tick: 0, team };
        session.reset();
        Ok(session)
    }
}

impl Machine for Session {
    fn face(&self) -> &Face {
        &self.image.face
    }

    fn tick(&self) -> u64 {
        self.tick
    }

    fn reset(&mut self) {
        self.image.layout.reset(&self.image.program, self.arena.bytes_mut());
        self.tick = 0;
    }

    fn run(&mut self, ticks: u64, inputs: &[Frames], results: &mut [Frames]) -> Result<(), Diagnostic> {
        let image = self.image.clone();
        prepare(&image.face, self.tick, (ticks, 1), inputs, results)?;
        if ticks == 0 {
            return Ok(());
        }
        let host: Vec<*mut u8> = (image.host.iter())
            .map(|h| match h {
                Host::Input(k) => inputs[*k].as_ptr().cast_mut(),
                Host::Result(k) => results[*k].as_mut_ptr(),
            })
            .collect();
        let context = RunContext {
            arena: self.arena.as_mut_ptr(),
            consts: image.consts.as_ptr(),
            host: host.as_ptr(),
            first_tick: self.tick,
            ticks,
            barrier: None,
            barrier_arg: std::ptr::null_mut(),
            data: self.code.data(),
        };
        let entry = self.code.entry();
        match &mut self.team {
            // SAFETY: the code was made for this program and layout; arena, constants and host arrays have the sizes of
            // the layout and of `ticks` frames (checked above), with slack behind them, and outlive the call.
            Some(team) => unsafe { team.run(entry, context) },
            // SAFETY: as above, with one part or code that runs all of them.
            None => unsafe { entry(&raw const context, 0) },
        }
        if let Some(fault) = self.code.take_fault() {
            return Err(Diagnostic::error_nowhere("E0654", format!("the program broke its word: {fault}")));
        }
        self.tick += ticks;
        Ok(())
    }

    fn export(&self) -> Result<Saved, Diagnostic> {
        Ok(state::export(&self.image, self.arena.bytes(), self.tick))
    }

    fn import(&mut self, saved: &Saved) -> Result<(), Diagnostic> {
        self.reset();
        state::import(&self.image, self.arena.bytes_mut(), saved)?;
        self.tick = saved.tick;
        Ok(())
    }

    fn fork_bytes(&self) -> u64 {
        self.image.layout.arena_bytes
    }

    fn fork(&self) -> Result<Box<dyn Machine>, Diagnostic> {
        Ok(Box::new(Session::new(self.image.clone())?))
    }
}

/// Checks the arrays of a call for so many ticks of so many samples, and makes results zeros of their size.
///
/// # Errors
/// E0650, E0653.
pub(super) fn prepare(
    face: &Face,
    first: u64,
    (ticks, samples): (u64, u64),
    inputs: &[Frames],
    results: &mut [Frames],
) -> Result<(), Diagnostic> {
    if inputs.len() != face.inputs.len() || results.len() != face.outputs.len() + face.probes.len() {
        return Err(Diagnostic::error_nowhere("E0653", "another number of arrays than the model has"));
    }
    for (port, frames) in face.inputs.iter().zip(inputs) {
        let bytes = port.frame_bytes().checked_mul(ticks).and_then(|n| n.checked_mul(samples));
        if bytes != Some(frames.bytes().len() as u64) {
            let text = format!("{:?} has not the frames of {ticks} ticks", port.name);
            return Err(Diagnostic::error_nowhere("E0653", text));
        }
    }
    for (port, frames) in face.results().zip(results.iter_mut()) {
        let bytes = port.frame_bytes().saturating_mul(port.frames_in(first, ticks)).saturating_mul(samples);
        frames.set_zeros(bytes, &port.name)?;
    }
    Ok(())
}
