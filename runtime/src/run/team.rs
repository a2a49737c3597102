//! Threads that run the parts of a program together.

use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::{EntryPoint, RunContext};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a waiting part looks again before it lets other threads run.
const SPINS: u32 = 2000;

/// Where all parts meet. Waiting parts spin for a moment, then give their time slice away, so that parts make progress
/// on fewer cores than parts.
struct Barrier {
    parts: u32,
    arrived: AtomicU32,
    generation: AtomicU32,
}

impl Barrier {
    fn wait(&self) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.parts {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.generation.load(Ordering::Acquire) == generation {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// The function that compiled code calls between kernels.
unsafe extern "C" fn meet(barrier: *mut c_void) {
    // SAFETY: `Team::run` gives the address of its barrier, which outlives the call.
    unsafe { &*barrier.cast::<Barrier>() }.wait();
}

#[derive(Clone, Copy)]
struct Work {
    entry: EntryPoint,
    context: *const RunContext,
}

// SAFETY: the context is only read, and lives until every part has returned.
unsafe impl Send for Work {}

#[derive(Default)]
struct Board {
    round: u64,
    work: Option<Work>,
    running: u32,
    stop: bool,
}

struct Shared {
    board: Mutex<Board>,
    start: Condvar,
    done: Condvar,
    barrier: Barrier,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `parts - 1` threads that wait for work, besides the one that calls.
pub(crate) struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Team {
    /// Starts the threads.
    ///
    /// # Errors
    /// E0652; threads that were started are ended.
    pub fn start(parts: u32) -> Result<Team, Diagnostic> {
        let barrier = Barrier { parts, arrived: AtomicU32::new(0), generation: AtomicU32::new(0) };
        let shared = Arc::new(Shared { board: Mutex::default(), start: Condvar::new(), done: Condvar::new(), barrier });
        let mut team = Team { shared, threads: Vec::new() };
        for part in 1..parts {
            let shared = team.shared.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("nc-part-{part}"))
                .stack_size(1 << 20)
                .spawn(move || worker(&shared, part));
            match spawned {
                Ok(handle) => team.threads.push(handle),
                Err(e) => {
                    return Err(Diagnostic::error_nowhere(
                        "E0652",
                        format!("thread {part} of {parts} cannot start: {e}"),
                    )
                    .with_hint("run with fewer threads"));
                }
            }
        }
        Ok(team)
    }

    /// Runs every part once and returns when all have returned.
    ///
    /// # Safety
    /// `entry` must be callable with the context, whose barrier fields are filled in here, for `parts` parts.
    pub unsafe fn run(&mut self, entry: EntryPoint, mut context: RunContext) {
        context.barrier = Some(meet);
        context.barrier_arg = (&raw const self.shared.barrier).cast_mut().cast();
        let context: *const RunContext = &raw const context;
        let mut board = self.shared.board();
        board.work = Some(Work { entry, context });
        board.running = self.threads.len() as u32;
        board.round += 1;
        drop(board);
        self.shared.start.notify_all();
        // SAFETY: the caller's promise; the other parts are called by the workers.
        unsafe { entry(context, 0) };
        let mut board = self.shared.board();
        while board.running > 0 {
            board = self.shared.done.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        board.work = None;
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.board().stop = true;
        self.shared.start.notify_all();
        for thread in self.threads.drain(..) {
            // A worker runs only code that cannot unwind; its result says nothing.
            let _ = thread.join();
        }
    }
}

fn worker(shared: &Shared, part: u32) {
    let mut round = 0;
    loop {
        let mut board = shared.board();
        while !board.stop && board.round == round {
            board = shared.start.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        if board.stop {
            return;
        }
        round = board.round;
        let Some(work) = board.work else { continue };
        drop(board);
        // SAFETY: the promise of `Team::run`, which does not return before `running` is 0.
        unsafe { (work.entry)(work.context, u64::from(part)) };
        let mut board = shared.board();
        board.running -= 1;
        if board.running == 0 {
            shared.done.notify_one();
        }
    }
}
