//! The host's part of a run: what is copied, what is launched.

use crate::plan::{BARRIER, Plan, Role, elem};
use nc_ir::Diagnostic;
use nc_ir::kernel::abi::{Array, Batch, Remote, SLACK};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most teams of a grid whose blocks need not run at the same time.
const MOST_TEAMS: u64 = 65535;

/// Blocks that run a program together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// How many.
    pub blocks: u32,
    /// Threads of each.
    pub threads: u32,
    /// Whether they wait for each other, so that all of them must run at the same time.
    pub cooperative: bool,
}

/// A machine with memory of its own that has the code of a program.
///
/// Errors say which call failed, and how.
pub trait Device: Send {
    /// What it is, for people.
    fn name(&self) -> String;

    /// How many blocks of so many threads of the program can run at the same time.
    ///
    /// # Errors
    /// If the device failed, or has no code.
    fn resident(&mut self, threads: u32) -> Result<u64, String>;

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

    /// Runs the program and waits for its end. Seconds that it took, if the device measures that.
    ///
    /// # Safety
    /// The arguments are what the program takes, and what they point to is allocated.
    ///
    /// # Errors
    /// If the device failed.
    unsafe fn launch(&mut self, grid: Grid, arguments: &[u64]) -> Result<Option<f64>, String>;
}

/// A plan on a device. Constants go there once, and so does the state of an owner, which stays there.
pub struct Launcher {
    plan: Plan,
    name: String,
    on: Mutex<On>,
    seconds: Mutex<Option<f64>>,
}

/// A device and what is allocated on it.
struct On {
    device: Box<dyn Device>,
    consts: Room,
    /// The constants are there.
    filled: bool,
    table: Room,
    barriers: Room,
    hosts: Vec<Room>,
    /// The arenas of each owner.
    arenas: BTreeMap<u64, Room>,
    /// Blocks that can run at the same time, once asked for.
    resident: Option<u64>,
}

/// Memory of a device; `bytes` is 0 before the first use.
#[derive(Clone, Copy, Default)]
struct Room {
    at: u64,
    bytes: u64,
}

impl Launcher {
    /// A launcher for a device that has the code of the plan.
    ///
    /// # Errors
    /// What [`Plan::check`] finds.
    pub fn new(plan: Plan, device: Box<dyn Device>) -> Result<Launcher, String> {
        plan.check()?;
        let name = device.name();
        let hosts = vec![Room::default(); plan.hosts().count()];
        let (consts, table, barriers) = Default::default();
        let (arenas, resident) = (BTreeMap::new(), None);
        let on = On { device, consts, filled: false, table, barriers, hosts, arenas, resident };
        Ok(Launcher { plan, name, on: Mutex::new(on), seconds: Mutex::new(None) })
    }

    /// What it runs on.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// Checks that the device can run a sample.
    ///
    /// # Errors
    /// E0873 if the blocks of a sample cannot run at the same time, E0871 if the device fails.
    pub fn fits(&self) -> Result<(), Diagnostic> {
        let refused = |e: Refused| self.told(e);
        lock(&self.on).grid(&self.plan, 1).map(|_| ()).map_err(refused)
    }

    fn told(&self, e: Refused) -> Diagnostic {
        match e {
            Refused::Failed(e) => Diagnostic::error_nowhere("E0871", format!("{}: {e}", self.name)),
            Refused::TooMany { resident } => {
                let Plan { parts, threads, .. } = &self.plan;
                let text = format!(
                    "a sample has {parts} blocks of {threads} threads, which wait for each other, and {} runs {resident} of \
                     these at a time",
                    self.name
                );
                Diagnostic::error_nowhere("E0873", text).with_hint(format!("compile with --blocks {}", resident.max(1)))
            }
        }
    }
}

impl std::fmt::Debug for Launcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launcher").field("model", &self.plan.model).field("device", &self.name).finish()
    }
}

impl Remote for Launcher {
    fn run(&self, mut batch: Batch<'_>) -> Result<(), Diagnostic> {
        let mut on = lock(&self.on);
        let done = on.run(&self.plan, &mut batch);
        if done.is_err() {
            on.forget(batch.owner);
        }
        *lock(&self.seconds) = done.map_err(|e| self.told(e))?;
        Ok(())
    }

    fn fetch(&self, owner: u64, arenas: &mut [u8]) -> Result<(), Diagnostic> {
        let mut on = lock(&self.on);
        let room = on.arenas.get(&owner).copied().filter(|r| arenas.len() as u64 + SLACK <= r.bytes);
        let room = room.ok_or_else(|| self.told(Refused::Failed("there is no such state".to_owned())))?;
        // SAFETY: the room has so many bytes.
        unsafe { on.device.read(room.at, arenas) }.map_err(|e| self.told(Refused::Failed(e)))
    }

    fn forget(&self, owner: u64) {
        lock(&self.on).forget(owner);
    }

    fn seconds(&self) -> Option<f64> {
        *lock(&self.seconds)
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for On {
    fn drop(&mut self) {
        let fixed = [self.consts, self.table, self.barriers];
        for room in fixed.iter().chain(&self.hosts).chain(self.arenas.values()).filter(|r| r.bytes > 0) {
            self.device.release(room.at);
        }
    }
}

/// Why something does not run.
enum Refused {
    /// A call of the device failed.
    Failed(String),
    /// The device runs too few blocks at a time.
    TooMany { resident: u64 },
}

impl From<String> for Refused {
    fn from(e: String) -> Refused {
        Refused::Failed(e)
    }
}

impl From<&str> for Refused {
    fn from(e: &str) -> Refused {
        Refused::Failed(e.to_owned())
    }
}

impl On {
    /// The blocks for so many samples.
    fn grid(&mut self, plan: &Plan, samples: u64) -> Result<Grid, Refused> {
        let parts = u64::from(plan.parts);
        let most = if parts > 1 {
            let resident = match self.resident {
                Some(n) => n,
                None => self.device.resident(plan.threads)?,
            };
            self.resident = Some(resident);
            resident.min(u32::MAX.into()) / parts
        } else {
            MOST_TEAMS
        };
        match samples.min(most) {
            0 => Err(Refused::TooMany { resident: self.resident.unwrap_or(0) }),
            teams => Ok(Grid { blocks: (teams * parts) as u32, threads: plan.threads, cooperative: parts > 1 }),
        }
    }

    /// Runs a batch; the seconds that the device measured.
    fn run(&mut self, plan: &Plan, batch: &mut Batch<'_>) -> Result<Option<f64>, Refused> {
        let (first, ticks, samples) = (batch.first_tick, batch.ticks, batch.samples);
        let wrong = "what is to be run does not fit the plan";
        let fits = batch.stride >= plan.arena_bytes
            && batch.stride.checked_mul(samples) == Some(batch.arenas.len() as u64)
            && batch.consts.len() as u64 == plan.const_bytes
            && batch.host.len() == self.hosts.len()
            && samples > 0;
        if !fits {
            return Err(wrong.into());
        }
        let grid = self.grid(plan, samples)?;
        if !self.filled {
            self.room(|on| &mut on.consts, plan.const_bytes)?;
            // SAFETY: there is room for them.
            unsafe { self.device.write(self.consts.at, batch.consts)? };
            self.filled = true;
        }
        let owner = batch.owner;
        let arenas = self.arenas.get(&owner).copied().unwrap_or_default();
        let enough = batch.arenas.len() as u64 + SLACK <= arenas.bytes;
        if !enough && !batch.changed {
            return Err("the state of these samples is not there".into());
        }
        if batch.changed {
            self.room(|on| on.arenas.entry(owner).or_default(), batch.arenas.len() as u64)?;
            // SAFETY: there is room for them.
            unsafe { self.device.write(self.arenas[&owner].at, batch.arenas)? };
        }
        let teams = u64::from(grid.blocks / plan.parts);
        if self.barriers.bytes < teams * BARRIER {
            self.room(|on| &mut on.barriers, teams * BARRIER)?;
            // SAFETY: there is room for them.
            unsafe { self.device.zero(self.barriers.at, teams * BARRIER)? };
        }
        let mut table = Vec::new();
        for (n, (b, array)) in plan.hosts().zip(batch.host.iter()).enumerate() {
            let every = if let Role::Probe(every) = b.role { every } else { 1 };
            let begin = first.div_ceil(every);
            let frames = first.saturating_add(ticks).div_ceil(every) - begin;
            let frame = (b.len * elem(&b.elem)?.size() as u64).checked_mul(samples);
            let frame = frame.ok_or("frames of more bytes than there are")?;
            let bytes = frame.checked_mul(frames).ok_or("frames of more bytes than there are")?;
            self.room(|on| &mut on.hosts[n], bytes)?;
            let at = self.hosts[n].at;
            // SAFETY: there is room for them.
            unsafe {
                match (b.role, array) {
                    (Role::Input, Array::Read(all)) if all.len() as u64 == bytes => self.device.write(at, all)?,
                    (Role::Output | Role::Probe(_), Array::Written(all)) if all.len() as u64 == bytes => {
                        self.device.zero(at, bytes)?;
                    }
                    _ => return Err(wrong.into()),
                }
            }
            table.extend(at.wrapping_sub(begin.wrapping_mul(frame)).to_le_bytes());
        }
        self.room(|on| &mut on.table, table.len() as u64)?;
        // SAFETY: there is room for it.
        unsafe { self.device.write(self.table.at, &table)? };
        let (arena, consts) = (self.arenas[&owner].at, self.consts.at);
        let arguments = [arena, consts, self.table.at, self.barriers.at, first, ticks, samples, batch.stride];
        // SAFETY: these are the arguments that the plan says, and all that they name is allocated.
        let seconds = unsafe { self.device.launch(grid, &arguments)? };
        for (room, array) in self.hosts.iter().zip(batch.host.iter_mut()) {
            if let Array::Written(all) = array {
                // SAFETY: there is room for them.
                unsafe { self.device.read(room.at, all)? };
            }
        }
        Ok(seconds)
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

    fn forget(&mut self, owner: u64) {
        if let Some(room) = self.arenas.remove(&owner).filter(|r| r.bytes > 0) {
            self.device.release(room.at);
        }
    }
}
