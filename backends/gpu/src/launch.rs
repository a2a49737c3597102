//! The host's part of a run: what is copied, what is launched, in which order.

use crate::plan::{Cell, Plan, Role, Step, elem};
use nc_ir::Diagnostic;
use nc_ir::kernel::abi::{Code, EntryPoint, RunContext, SLACK};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A machine with memory of its own that runs launches in the order in which they are asked for.
///
/// Errors say which call failed, and how.
pub trait Device: Send {
    /// What it is, for people.
    fn name(&self) -> String;

    /// The address of so many bytes, more than 0.
    ///
    /// # Errors
    /// If there is no memory.
    fn allocate(&mut self, bytes: u64) -> Result<u64, String>;

    /// Gives memory back that [`Device::allocate`] gave.
    fn release(&mut self, at: u64);

    /// Copies to the device.
    ///
    /// # Safety
    /// The bytes from `at` on lie in memory that is allocated.
    ///
    /// # Errors
    /// If the device failed.
    unsafe fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String>;

    /// Copies from the device, after all launches so far.
    ///
    /// # Safety
    /// As [`Device::write`].
    ///
    /// # Errors
    /// If the device or a launch failed.
    unsafe fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String>;

    /// Writes zeros.
    ///
    /// # Safety
    /// As [`Device::write`].
    ///
    /// # Errors
    /// If the device failed.
    unsafe fn zero(&mut self, at: u64, bytes: u64) -> Result<(), String>;

    /// Has a kernel run by so many blocks of so many threads.
    ///
    /// # Safety
    /// The arguments are what the kernel takes, and what they point to is allocated.
    ///
    /// # Errors
    /// If there is no such kernel or the device failed.
    unsafe fn launch(&mut self, kernel: usize, grid: (u32, u32), arguments: &[u64]) -> Result<(), String>;
}

/// A plan on a device, as [`Code`]: state goes to the device when a call begins, stays there for all its ticks and comes
/// back when it ends.
pub struct Launcher {
    inner: Box<Inner>,
}

struct Inner {
    plan: Plan,
    name: String,
    on: Mutex<On>,
    failure: Mutex<Option<String>>,
}

/// A device and what is allocated on it.
struct On {
    device: Box<dyn Device>,
    arena: Room,
    consts: Room,
    /// The constants are there.
    filled: bool,
    table: Room,
    hosts: Vec<Room>,
}

/// Memory of a device; `bytes` is 0 before the first use.
#[derive(Clone, Copy, Default)]
struct Room {
    at: u64,
    bytes: u64,
}

impl Launcher {
    /// A launcher for a device that has the kernels of the plan.
    ///
    /// # Errors
    /// What [`Plan::check`] finds.
    pub fn new(plan: Plan, device: Box<dyn Device>) -> Result<Launcher, String> {
        plan.check()?;
        let name = device.name();
        let hosts = vec![Room::default(); plan.hosts().count()];
        let (arena, consts, table) = Default::default();
        let on = On { device, arena, consts, filled: false, table, hosts };
        Ok(Launcher { inner: Box::new(Inner { plan, name, on: Mutex::new(on), failure: Mutex::new(None) }) })
    }

    /// What it runs on.
    pub fn device(&self) -> &str {
        &self.inner.name
    }
}

impl std::fmt::Debug for Launcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launcher").field("model", &self.inner.plan.model).field("device", &self.inner.name).finish()
    }
}

impl Code for Launcher {
    fn entry(&self) -> EntryPoint {
        enter
    }

    fn data(&self) -> *const c_void {
        std::ptr::from_ref::<Inner>(&self.inner).cast()
    }

    fn runs_all_parts(&self) -> bool {
        true
    }

    fn take_failure(&self) -> Option<Diagnostic> {
        let failure = lock(&self.inner.failure).take()?;
        Some(Diagnostic::error_nowhere("E0871", format!("{}: {failure}", self.inner.name)))
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Inner {
    fn drop(&mut self) {
        let on = self.on.get_mut().unwrap_or_else(PoisonError::into_inner);
        for room in [on.arena, on.consts, on.table].iter().chain(&on.hosts).filter(|r| r.bytes > 0) {
            on.device.release(room.at);
        }
    }
}

/// The entry point of [`Launcher`].
unsafe extern "C" fn enter(context: *const RunContext, part: u64) {
    if part != 0 {
        return;
    }
    // SAFETY: the caller of an entry point gives a valid context whose `data` is what `Launcher::data` gave.
    let (context, inner) = unsafe { (&*context, &*(*context).data.cast::<Inner>()) };
    let mut on = lock(&inner.on);
    // SAFETY: the context is valid for the program of the plan.
    if let Err(e) = unsafe { on.run(&inner.plan, context) } {
        lock(&inner.failure).get_or_insert(e);
    }
}

/// A host array in a call.
struct Host {
    /// Bytes of a frame.
    frame: u64,
    /// Ticks between frames.
    every: u64,
    /// Frames of the call.
    frames: u64,
    /// Where frame 0 lies or would lie.
    base: u64,
}

impl On {
    /// Runs the ticks of a call.
    ///
    /// # Safety
    /// The context is one for the program of the plan.
    unsafe fn run(&mut self, plan: &Plan, context: &RunContext) -> Result<(), String> {
        let (first, ticks) = (context.first_tick, context.ticks);
        self.room(|on| &mut on.arena, plan.arena_bytes)?;
        self.room(|on| &mut on.consts, plan.const_bytes)?;
        // SAFETY: the calling convention gives arena and constants of these sizes; there is room for them.
        unsafe {
            let arena = std::slice::from_raw_parts(context.arena, plan.arena_bytes as usize);
            self.device.write(self.arena.at, arena)?;
            if !self.filled {
                let consts = std::slice::from_raw_parts(context.consts, plan.const_bytes as usize);
                self.device.write(self.consts.at, consts)?;
                self.filled = true;
            }
        }
        let mut hosts = Vec::new();
        for (n, b) in plan.hosts().enumerate() {
            let every = if let Role::Probe(every) = b.role { every } else { 1 };
            let frame = b.len * elem(&b.elem)?.size() as u64;
            let begin = first.div_ceil(every);
            let frames = first.saturating_add(ticks).div_ceil(every) - begin;
            let bytes = frame.checked_mul(frames).ok_or("frames of more bytes than there are")?;
            self.room(|on| &mut on.hosts[n], bytes)?;
            let at = self.hosts[n].at;
            // SAFETY: the context has a pointer for each host array, to the frames of these ticks.
            unsafe {
                let memory = *context.host.add(n);
                match b.role {
                    Role::Input => self.device.write(at, std::slice::from_raw_parts(memory, bytes as usize))?,
                    _ => self.device.zero(at, bytes)?,
                }
            }
            hosts.push(Host { frame, every, frames, base: at.wrapping_sub(begin.wrapping_mul(frame)) });
        }
        let table: Vec<u8> = hosts.iter().flat_map(|h| h.base.to_le_bytes()).collect();
        self.room(|on| &mut on.table, table.len() as u64)?;
        // SAFETY: there is room for it.
        unsafe { self.device.write(self.table.at, &table)? };
        for tick in first..first.saturating_add(ticks) {
            let mut way = Way { on: self, plan, hosts: &hosts, tick, iterations: Vec::new() };
            way.steps(&plan.steps)?;
        }
        // SAFETY: as above; outputs and probes are the caller's to be written.
        unsafe {
            let arena = std::slice::from_raw_parts_mut(context.arena, plan.arena_bytes as usize);
            self.device.read(self.arena.at, arena)?;
            for (n, (_, h)) in plan.hosts().zip(&hosts).enumerate().filter(|(_, (b, _))| b.role != Role::Input) {
                let frames = std::slice::from_raw_parts_mut(*context.host.add(n), (h.frame * h.frames) as usize);
                self.device.read(self.hosts[n].at, frames)?;
            }
        }
        Ok(())
    }

    /// Sees to it that there is room for so many bytes.
    fn room(&mut self, which: impl Fn(&mut On) -> &mut Room, bytes: u64) -> Result<(), String> {
        let old = *which(self);
        // Kernels may read a little beyond the end.
        let bytes = bytes.checked_add(SLACK).ok_or("more memory than there is")?;
        if bytes <= old.bytes {
            return Ok(());
        }
        if old.bytes > 0 {
            self.device.release(old.at);
            *which(self) = Room::default();
        }
        let at = self.device.allocate(bytes)?;
        *which(self) = Room { at, bytes };
        Ok(())
    }
}

/// The way through the steps of a tick.
struct Way<'a> {
    on: &'a mut On,
    plan: &'a Plan,
    hosts: &'a [Host],
    tick: u64,
    /// The current iterations of the loops around the step, the outermost first.
    iterations: Vec<u64>,
}

impl Way<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        for s in steps {
            match s {
                Step::Launch(n) => self.launch(*n)?,
                Step::Loop { count, read, condition, steps } => {
                    let trips = match read {
                        Some(cell) => {
                            let mut bytes = [0; 8];
                            self.read(*cell, &mut bytes)?;
                            u64::try_from(i64::from_le_bytes(bytes)).unwrap_or(0)
                        }
                        None => count.unwrap_or(0),
                    };
                    for i in 0..trips {
                        if let Some(c) = condition
                            && !self.truth(*c)?
                        {
                            break;
                        }
                        self.iterations.push(i);
                        self.steps(steps)?;
                        self.iterations.pop();
                    }
                }
                Step::If { condition, then, otherwise } => match self.truth(*condition)? {
                    true => self.steps(then)?,
                    false => self.steps(otherwise)?,
                },
            }
        }
        Ok(())
    }

    fn launch(&mut self, n: usize) -> Result<(), String> {
        let k = &self.plan.kernels[n];
        if !self.tick.is_multiple_of(k.every) {
            return Ok(());
        }
        let mut arguments = vec![self.on.arena.at, self.on.consts.at, self.on.table.at, self.tick];
        arguments.extend(&self.iterations[..k.iterations]);
        // SAFETY: these are the arguments of kernels of the plan, and all of it is allocated.
        unsafe { self.on.device.launch(n, (k.blocks, k.threads), &arguments) }
    }

    fn truth(&mut self, c: Cell) -> Result<bool, String> {
        let mut byte = [0];
        self.read(c, &mut byte)?;
        Ok(byte[0] != 0)
    }

    fn read(&mut self, c: Cell, bytes: &mut [u8]) -> Result<(), String> {
        let b = &self.plan.buffers[c.buffer as usize];
        let base = match b.role {
            Role::Const => self.on.consts.at + b.at,
            Role::State | Role::Temp => self.on.arena.at + b.at,
            Role::Input | Role::Output | Role::Probe(_) => {
                let h = &self.hosts[b.at as usize];
                h.base.wrapping_add((self.tick / h.every).wrapping_mul(h.frame))
            }
        };
        // SAFETY: `Plan::check` found the element inside its buffer.
        unsafe { self.on.device.read(base + c.at * bytes.len() as u64, bytes) }
    }
}
