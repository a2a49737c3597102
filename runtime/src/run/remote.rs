//! The machine for programs that run elsewhere, many samples at once.

use super::frames::Frames;
use super::image::{Host, Image};
use super::machine::{Face, Machine, Saved};
use super::session::prepare;
use super::state;
use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::{ALIGN, Array, Batch, Remote};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of owners that were given away.
static OWNERS: AtomicU64 = AtomicU64::new(1);

/// Samples of a model whose state lies with a [`Remote`]: this process has it before the first call and when it is asked
/// for.
pub(super) struct Away {
    image: Arc<Image>,
    remote: Arc<dyn Remote>,
    owner: u64,
    /// A number of samples if states have a leading axis of them.
    axis: Option<usize>,
    arenas: Frames,
    /// Bytes from one arena to the next.
    stride: u64,
    /// The arenas here are later than the remote's.
    changed: bool,
    tick: u64,
}

impl Away {
    /// A machine before its first tick.
    ///
    /// # Errors
    /// E0650.
    pub fn new(image: Arc<Image>, remote: Arc<dyn Remote>, axis: Option<usize>) -> Result<Away, Diagnostic> {
        let stride = stride(&image);
        let bytes = stride.saturating_mul(axis.unwrap_or(1) as u64);
        let arenas = Frames::zeros(bytes, "state")?;
        let owner = OWNERS.fetch_add(1, Ordering::Relaxed);
        let mut away = Away { image, remote, owner, axis, arenas, stride, changed: true, tick: 0 };
        away.reset();
        Ok(away)
    }

    fn samples(&self) -> usize {
        self.axis.unwrap_or(1)
    }
}

/// Bytes from one arena to the next.
fn stride(image: &Image) -> u64 {
    image.layout.arena_bytes.max(1).next_multiple_of(ALIGN)
}

impl Drop for Away {
    fn drop(&mut self) {
        self.remote.forget(self.owner);
    }
}

impl Machine for Away {
    fn face(&self) -> &Face {
        &self.image.face
    }

    fn tick(&self) -> u64 {
        self.tick
    }

    fn reset(&mut self) {
        let (own, stride) = (self.image.layout.arena_bytes as usize, self.stride as usize);
        let mut each = self.arenas.bytes_mut().chunks_exact_mut(stride);
        if let Some(first) = each.next() {
            self.image.layout.reset(&self.image.program, &mut first[..own]);
            each.for_each(|arena| arena.copy_from_slice(first));
        }
        (self.tick, self.changed) = (0, true);
    }

    fn run(&mut self, ticks: u64, inputs: &[Frames], results: &mut [Frames]) -> Result<(), Diagnostic> {
        let image = self.image.clone();
        let samples = self.samples() as u64;
        prepare(&image.face, self.tick, (ticks, samples), inputs, results)?;
        if ticks == 0 {
            return Ok(());
        }
        let mut written: Vec<Option<&mut Frames>> = results.iter_mut().map(Some).collect();
        let mut host = Vec::with_capacity(image.host.len());
        for h in &image.host {
            host.push(match h {
                Host::Input(k) => Array::Read(inputs[*k].bytes()),
                Host::Result(k) => match written[*k].take() {
                    Some(frames) => Array::Written(frames.bytes_mut()),
                    None => return Err(Diagnostic::error_nowhere("E0653", "a result that is written twice")),
                },
            });
        }
        self.remote.run(Batch {
            owner: self.owner,
            changed: self.changed,
            arenas: self.arenas.bytes(),
            stride: self.stride,
            samples,
            consts: image.consts.bytes(),
            host: &mut host,
            first_tick: self.tick,
            ticks,
        })?;
        self.changed = false;
        self.tick += ticks;
        Ok(())
    }

    fn export(&self) -> Result<Saved, Diagnostic> {
        let mut fetched = Frames::default();
        let arenas = if self.changed {
            self.arenas.bytes()
        } else {
            fetched.set_zeros(self.arenas.bytes().len() as u64, "state")?;
            self.remote.fetch(self.owner, fetched.bytes_mut())?;
            fetched.bytes()
        };
        let mut each: Vec<Saved> =
            arenas.chunks_exact(self.stride as usize).map(|a| state::export(&self.image, a, self.tick)).collect();
        Ok(match self.axis {
            Some(_) => Saved::stack(&each),
            None => each.pop().unwrap_or_default(),
        })
    }

    fn import(&mut self, saved: &Saved) -> Result<(), Diagnostic> {
        self.reset();
        let each = match self.axis {
            Some(samples) => saved.unstack(samples)?,
            None => vec![saved.clone()],
        };
        for (arena, saved) in self.arenas.bytes_mut().chunks_exact_mut(self.stride as usize).zip(&each) {
            state::import(&self.image, arena, saved)?;
        }
        self.tick = saved.tick;
        Ok(())
    }

    fn fork_bytes(&self) -> u64 {
        self.stride
    }

    fn fork(&self) -> Result<Box<dyn Machine>, Diagnostic> {
        Ok(Box::new(Away::new(self.image.clone(), self.remote.clone(), self.axis)?))
    }

    fn batch(&self, samples: usize) -> Result<Option<Box<dyn Machine>>, Diagnostic> {
        Ok(Some(Box::new(Away::new(self.image.clone(), self.remote.clone(), Some(samples))?)))
    }

    fn batches(&self) -> bool {
        true
    }

    fn device_seconds(&self) -> Option<f64> {
        self.remote.seconds()
    }
}
