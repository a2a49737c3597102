//! Programs for graphics processors, run on this processor: the same MLIR, with each thread's numbers as arguments.

use crate::emit::{Blocks, Side};
use crate::error::Unsupported;
use crate::llvm::{Form, Linked, Llvm, Relocation, TargetMachine};
use crate::module::Session;
use crate::scratch::Scratch;
use crate::team::{ARGUMENTS, OWN};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use std::ffi::c_void;

/// Bytes of the stack of a thread.
const STACK: usize = 256 << 10;

/// The program as one thread runs it, given an array of 64-bit words: the arguments of a launch, then [`OWN`] others.
type Entry = unsafe extern "C" fn(*const u64);

/// A program as a graphics processor is given it, its threads run one after another on this processor.
///
/// A thread runs until it waits for others, then the next one does. In every second round the last thread is the first, so
/// that what depends on the order of threads between two meetings shows.
pub struct Kernels {
    _linked: Linked,
    entry: Entry,
    parts: u32,
    threads: u32,
    shared: u64,
}

// SAFETY: the code is immutable, and what it writes it is given by address; the linker is not touched until it is dropped.
unsafe impl Send for Kernels {}
// SAFETY: as for `Send`.
unsafe impl Sync for Kernels {}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({} parts, {} threads)", self.parts, self.threads)
    }
}

/// Whom a thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// The threads of its block.
    Block,
    /// Those of all blocks of its team.
    Team,
}

impl Kernels {
    /// Compiles a verified program for blocks of so many threads, at least 1.
    ///
    /// # Errors
    /// [`Unsupported`] as for [`crate::compile`]; always without the feature `llvm`.
    pub fn compile(program: &Program, layout: &Layout, threads: u32) -> Result<Kernels, Unsupported> {
        let target = TargetMachine::host(Relocation::Pic)?;
        let session = Session::new();
        let threads = threads.max(1);
        let mut module = session.team_module((program, layout), "nc", Blocks { threads, side: Side::Host })?;
        session.to_llvm(&mut module)?;
        let llvm = Llvm::of(&module, &target)?;
        llvm.mark(false, "nc_k");
        llvm.optimize(&target, "default<O2>")?;
        let linked = Linked::new(&llvm.emit(&target, Form::Object)?)?;
        let address = linked.address("nc_run")?;
        if address == 0 {
            return Err(Unsupported::failed("LLVM's linker", "the entry point has no address"));
        }
        // SAFETY: `team::entry` gives the function this signature: a pointer, no result, C calling convention.
        let entry = unsafe { std::mem::transmute::<usize, Entry>(address as usize) };
        let (parts, shared) = (program.parts.max(1), Scratch::of(threads, program.parts).bytes);
        Ok(Kernels { _linked: linked, entry, parts, threads, shared })
    }

    /// Runs all threads of a launch with arguments as [`crate::gpu`] says, one team after another.
    ///
    /// # Safety
    /// The arguments are of the program and layout that this was compiled from, and nobody else touches the memory that
    /// they name.
    ///
    /// # Errors
    /// If blocks or threads are not those of the program, if there is no memory for stacks, or if threads that wait for each
    /// other did not all come.
    pub unsafe fn launch(&self, (blocks, threads): (u32, u32), arguments: &[u64]) -> Result<(), String> {
        if threads != self.threads || !blocks.is_multiple_of(self.parts) || arguments.len() != ARGUMENTS {
            return Err(format!("{blocks} blocks of {threads} threads with {} arguments", arguments.len()));
        }
        let mut words = arguments.to_vec();
        words.resize(ARGUMENTS + OWN, 0);
        words[ARGUMENTS + 2] = blocks.into();
        for team in 0..blocks / self.parts {
            self.team(team, &words)?;
        }
        Ok(())
    }

    /// Runs the threads of a team.
    fn team(&self, team: u32, words: &[u64]) -> Result<(), String> {
        thread_local! {
            /// Stacks of threads that came to their ends.
            static STACKS: std::cell::RefCell<Vec<DefaultStack>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        let mut shared: Vec<Vec<u128>> = (0..self.parts).map(|_| vec![0; self.shared.div_ceil(16) as usize]).collect();
        let mut running = Vec::new();
        for (part, shared) in (0..self.parts).zip(&mut shared) {
            for thread in 0..self.threads {
                let mut words = words.to_vec();
                let own = &mut words[ARGUMENTS..];
                own[0] = thread.into();
                own[1] = u64::from(team) * u64::from(self.parts) + u64::from(part);
                own[3] = shared.as_mut_ptr() as u64;
                own[4] = meet_block as unsafe extern "C" fn(*mut c_void) as usize as u64;
                own[5] = meet_team as unsafe extern "C" fn(*mut c_void) as usize as u64;
                let stack = match STACKS.with_borrow_mut(Vec::pop) {
                    Some(stack) => stack,
                    None => {
                        DefaultStack::new(STACK).map_err(|e| format!("no memory for the stacks of threads: {e}"))?
                    }
                };
                let entry = self.entry;
                running.push(Coroutine::with_stack(stack, move |yielder: &Yielder<(), Wait>, ()| {
                    words[ARGUMENTS + 6] = std::ptr::from_ref(yielder) as u64;
                    // SAFETY: the promise of `launch`; the argument of the barriers is of this thread.
                    unsafe { entry(words.as_ptr()) };
                }));
            }
        }
        let done = rounds(&mut running, self.threads as usize);
        for mut c in running {
            if done.is_err() {
                // SAFETY: a suspended thread has words and compiled code on its stack, neither of which has to be dropped
                // for memory safety; the words are leaked.
                unsafe { c.force_reset() };
            } else {
                STACKS.with_borrow_mut(|all| all.push(c.into_stack()));
            }
        }
        done
    }
}

/// Called by a thread that waits for the others of its block.
unsafe extern "C" fn meet_block(yielder: *mut c_void) {
    // SAFETY: `team` gives each thread its own, which lives as long as the thread.
    unsafe { &*yielder.cast::<Yielder<(), Wait>>() }.suspend(Wait::Block);
}

/// Called by a thread that waits for the others of its team.
unsafe extern "C" fn meet_team(yielder: *mut c_void) {
    // SAFETY: as for `meet_block`.
    unsafe { &*yielder.cast::<Yielder<(), Wait>>() }.suspend(Wait::Team);
}

/// Runs threads, in blocks of so many, until all have come to their ends.
fn rounds(running: &mut [Coroutine<(), Wait, (), DefaultStack>], threads: usize) -> Result<(), String> {
    /// Where the threads of a block are.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum At {
        Ready,
        Waits(Wait),
        End,
    }
    let mut at = vec![At::Ready; running.len().div_ceil(threads)];
    let mut round = 0u64;
    loop {
        let mut went = false;
        for (block, threads) in running.chunks_mut(threads).enumerate() {
            if at[block] != At::Ready && at[block] != At::Waits(Wait::Block) {
                continue;
            }
            went = true;
            let mut first = None;
            let mut same = true;
            let mut go = |c: &mut Coroutine<(), Wait, (), DefaultStack>| {
                let now = match c.resume(()) {
                    CoroutineResult::Yield(w) => At::Waits(w),
                    CoroutineResult::Return(()) => At::End,
                };
                same &= *first.get_or_insert(now) == now;
            };
            match round % 2 {
                0 => threads.iter_mut().for_each(&mut go),
                _ => threads.iter_mut().rev().for_each(&mut go),
            }
            match first {
                Some(now) if same => at[block] = now,
                _ => return Err("threads of a block do not wait for the same".to_owned()),
            }
        }
        round += 1;
        if went {
            continue;
        }
        if at.iter().all(|a| *a == At::End) {
            return Ok(());
        }
        if at.iter().any(|a| *a != At::Waits(Wait::Team)) {
            return Err("blocks of a team wait for others that came to their ends".to_owned());
        }
        at.fill(At::Ready);
    }
}
