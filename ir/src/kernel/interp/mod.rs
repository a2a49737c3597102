//! The reference interpreter of kernel programs: the meaning that every backend is held against.
//!
//! It runs on the memory layout of [`super::abi`], so that the bytes of states, lists and frames compare with those of
//! compiled code. Every access is checked; a program that breaks its word ends in a [`Fault`], never in a panic.
//!
//! [`Machine`] owns its memory and runs the parts of each kernel one after another; it can also check the promises that
//! backends rely on ([`Options::check`]). [`Interpreted`] is the interpreter behind the call of compiled code.

mod memory;
mod watch;

use super::abi::{ALIGN, Code, EntryPoint, Layout, RunContext};
use super::program::{Block, Element, Index, Kernel, Kernels, ListId, Program, Role, Step, Stmt, Trips, Val};
use super::scalar::Scalar;
use super::verify::{VerifierError, verify};
use memory::{Memory, frames};
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use watch::{Access, Cell, Watch};

/// Memory that [`Machine::new`] takes at most.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 32;

/// What a program did that it must not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// In which tick.
    pub tick: u64,
    /// In which kernel, by its place in the program; `None` before the first.
    pub kernel: Option<usize>,
    /// In which part.
    pub part: u32,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}", self.tick)?;
        if let Some(k) = self.kernel {
            write!(f, ", kernel {k}, part {}", self.part)?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for Fault {}

/// Why a [`Machine`] cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetupError {
    /// The program does not keep the constraints.
    Invalid(Vec<VerifierError>),
    /// The program needs more memory than allowed, or more than 64 bits count.
    TooLarge {
        /// Bytes it needs, if they can be counted.
        bytes: Option<u64>,
        /// Bytes allowed.
        limit: u64,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Invalid(errors) => {
                let lines: Vec<String> = errors.iter().map(VerifierError::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            SetupError::TooLarge { bytes: Some(n), limit } => write!(f, "{n} bytes needed, {limit} allowed"),
            SetupError::TooLarge { bytes: None, .. } => f.write_str("the memory needed cannot be counted"),
        }
    }
}

impl std::error::Error for SetupError {}

/// How a [`Machine`] runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Check the promises that backends rely on: no part of a kernel and no iteration of a vector loop touches what
    /// another of them writes; temporaries are written before they are read in each tick; a list is not written while
    /// its events are read. Breaking one is a [`Fault`].
    pub check: bool,
    /// Run whole groups of events through the wide body. Off, every event goes through the single one.
    pub wide: bool,
    /// A [`Fault`] after this many statements of one [`Machine::run`].
    pub max_steps: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options { check: false, wide: true, max_steps: None }
    }
}

/// Consecutive frames of one host array.
#[derive(Debug)]
pub enum HostArray<'a> {
    /// Frames of an input.
    In(&'a [u8]),
    /// Frames of an output or probe; they must hold zeros.
    Out(&'a mut [u8]),
}

/// One cache line, for alignment.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; ALIGN as usize]);

fn lines(bytes: u64) -> Vec<Line> {
    vec![Line([0; ALIGN as usize]); bytes.div_ceil(ALIGN) as usize]
}

/// A program with memory of its own.
pub struct Machine {
    program: Program,
    layout: Layout,
    arena: Vec<Line>,
    consts: Vec<Line>,
    options: Options,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("program", &self.program.name).finish_non_exhaustive()
    }
}

impl Machine {
    /// A machine in the state before the first tick, with [`DEFAULT_MAX_BYTES`].
    ///
    /// # Errors
    /// If the program is not valid or too large.
    pub fn new(program: &Program, options: Options) -> Result<Machine, SetupError> {
        Machine::with_limit(program, options, DEFAULT_MAX_BYTES)
    }

    /// A machine in the state before the first tick, of at most `limit` bytes.
    ///
    /// # Errors
    /// If the program is not valid or too large.
    pub fn with_limit(program: &Program, options: Options, limit: u64) -> Result<Machine, SetupError> {
        verify(program).map_err(SetupError::Invalid)?;
        let layout = Layout::of(program).ok_or(SetupError::TooLarge { bytes: None, limit })?;
        let bytes = layout.arena_bytes.checked_add(layout.const_bytes);
        if bytes.is_none_or(|b| b > limit) {
            return Err(SetupError::TooLarge { bytes, limit });
        }
        let mut consts = lines(layout.const_bytes);
        let pool = layout.const_pool(program);
        bytemuck::cast_slice_mut::<Line, u8>(&mut consts)[..pool.len()].copy_from_slice(&pool);
        let mut machine =
            Machine { program: program.clone(), arena: lines(layout.arena_bytes), layout, consts, options };
        machine.reset();
        Ok(machine)
    }

    /// Back to the state before the first tick.
    pub fn reset(&mut self) {
        self.layout.reset(&self.program, bytemuck::cast_slice_mut(&mut self.arena));
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The layout of its memory.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The arena: states, temporaries and lists.
    pub fn arena(&self) -> &[u8] {
        bytemuck::cast_slice(&self.arena)
    }

    /// The arena to write into, for example to restore a state.
    pub fn arena_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.arena)
    }

    /// The constant pool.
    pub fn consts(&self) -> &[u8] {
        bytemuck::cast_slice(&self.consts)
    }

    /// Bytes of the host array `k` (in the order of [`Layout::host`]) for a run of `ticks` ticks from `first_tick` on;
    /// `None` if there is no such array or the size overflows.
    pub fn host_bytes(&self, k: usize, first_tick: u64, ticks: u64) -> Option<u64> {
        let b = &self.program.buffers[self.layout.host.get(k)?.index()];
        b.len.checked_mul(b.elem.size() as u64)?.checked_mul(frames(&b.role, first_tick, ticks)?)
    }

    /// Runs `ticks` ticks. `host` has the host arrays in the order of [`Layout::host`], each beginning with its first
    /// frame of this run.
    ///
    /// # Errors
    /// If a host array is missing, of the wrong kind or too short, or the program does what it must not. Memory is then
    /// as far as it was written.
    pub fn run(&mut self, first_tick: u64, ticks: u64, host: &mut [HostArray<'_>]) -> Result<(), Fault> {
        let early = |what| Fault { tick: first_tick, kernel: None, part: 0, what };
        if first_tick.checked_add(ticks).is_none_or(|end| end > i64::MAX as u64) {
            return Err(early("ticks beyond 63 bits".to_string()));
        }
        if host.len() != self.layout.host.len() {
            return Err(early(format!("{} host arrays given, {} needed", host.len(), self.layout.host.len())));
        }
        let mut pointers = Vec::with_capacity(host.len());
        for (k, array) in host.iter_mut().enumerate() {
            let b = &self.program.buffers[self.layout.host[k].index()];
            let needed = self.host_bytes(k, first_tick, ticks);
            let (pointer, given) = match (array, &b.role) {
                (HostArray::In(x), Role::Input) => (x.as_ptr().cast_mut(), x.len()),
                (HostArray::Out(x), Role::Output | Role::Probe { .. }) => (x.as_mut_ptr(), x.len()),
                (HostArray::In(_) | HostArray::Out(_), _) => {
                    return Err(early(format!("the host array of `{}` is of the wrong kind", b.name)));
                }
            };
            if needed.is_none_or(|n| n > given as u64) {
                return Err(early(format!("the host array of `{}` has {given} bytes, too few", b.name)));
            }
            pointers.push(pointer);
        }
        let (program, layout) = (&self.program, &self.layout);
        let arena = self.arena.as_mut_ptr().cast::<u8>();
        let consts = self.consts.as_ptr().cast::<u8>();
        // SAFETY: arena and pool have the layout's sizes, the host arrays were just measured, and all are borrowed for
        // the whole run. The verifier lets no store through to a constant or an input.
        let memory = unsafe { Memory::new(program, layout, arena, consts, pointers, first_tick) };
        let mut run = Run::new(program, memory, self.options);
        for tick in first_tick..first_tick + ticks {
            run.seek(tick);
            run.steps(&program.steps, 0, &mut InTurn)?;
        }
        Ok(())
    }
}

/// Who goes through the steps of a program: all parts in turn, or one of several that run at the same time.
trait Walker {
    /// Runs a kernel and meets the other parts.
    fn kernel(&mut self, run: &mut Run<'_>, number: usize, kernel: &Kernel) -> Result<(), Fault>;

    /// Reads what decides a step, the same for all parts, before any goes on.
    fn read(&mut self, run: &mut Run<'_>, element: Element) -> Result<Scalar, Fault>;

    /// An iteration of a loop begins.
    fn iteration(&mut self, run: &mut Run<'_>) -> Result<(), Fault>;
}

/// All parts, one after another.
struct InTurn;

impl Walker for InTurn {
    fn kernel(&mut self, run: &mut Run<'_>, number: usize, kernel: &Kernel) -> Result<(), Fault> {
        if let Some(w) = &mut run.watch {
            w.kernel();
        }
        (0..run.program.parts).try_for_each(|part| run.kernel(number, kernel, part))
    }

    fn read(&mut self, run: &mut Run<'_>, element: Element) -> Result<Scalar, Fault> {
        run.read(element)
    }

    fn iteration(&mut self, run: &mut Run<'_>) -> Result<(), Fault> {
        let tick = run.tick;
        run.step().map_err(|what| Fault { tick, kernel: None, part: 0, what })
    }
}

/// The interpreter as [`Code`]: it can stand in for compiled code wherever that runs.
///
/// It keeps the calling convention: every part runs its share of each kernel and calls the barrier in between. After a
/// fault no part runs any further kernel, and [`Code::take_fault`] tells it.
#[derive(Debug)]
pub struct Interpreted {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: Program,
    layout: Layout,
    options: Options,
    failed: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

impl Interpreted {
    /// The interpreter of a program. `options.check` is not available to parts that run at the same time and ignored.
    ///
    /// # Errors
    /// If the program is not valid or cannot be laid out.
    pub fn new(program: &Program, options: Options) -> Result<Interpreted, SetupError> {
        verify(program).map_err(SetupError::Invalid)?;
        let layout = Layout::of(program).ok_or(SetupError::TooLarge { bytes: None, limit: u64::MAX })?;
        let options = Options { check: false, ..options };
        let inner = Inner {
            program: program.clone(),
            layout,
            options,
            failed: AtomicBool::new(false),
            fault: Mutex::new(None),
        };
        Ok(Interpreted { inner: Box::new(inner) })
    }
}

impl Code for Interpreted {
    fn entry(&self) -> EntryPoint {
        interpret
    }

    fn data(&self) -> *const c_void {
        std::ptr::from_ref::<Inner>(&self.inner).cast()
    }

    fn take_fault(&self) -> Option<String> {
        let fault = self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.failed.store(false, Ordering::Relaxed);
        fault.map(|f| f.to_string())
    }
}

/// The entry point of [`Interpreted`].
unsafe extern "C" fn interpret(context: *const RunContext, part: u64) {
    // SAFETY: the caller of an entry point gives a valid context whose `data` is what `Interpreted::data` gave.
    let (context, inner) = unsafe { (&*context, &*(*context).data.cast::<Inner>()) };
    let (program, layout) = (&inner.program, &inner.layout);
    let Some(part) = u32::try_from(part).ok().filter(|p| *p < program.parts) else { return };
    let host = match layout.host.len() {
        0 => Vec::new(),
        // SAFETY: the context has a pointer for each host array.
        n => unsafe { std::slice::from_raw_parts(context.host, n).to_vec() },
    };
    // SAFETY: the rest of the calling convention; parts keep the promises of the program.
    let memory = unsafe { Memory::new(program, layout, context.arena, context.consts, host, context.first_tick) };
    let mut run = Run::new(program, memory, inner.options);
    for tick in context.first_tick..context.first_tick.saturating_add(context.ticks) {
        run.seek(tick);
        // Faults of kernels are kept in `inner`, and there are no others: the verifier has looked at what decides.
        let _ = run.steps(&program.steps, 0, &mut AsPart { part, inner, context });
    }
}

/// One part of several; the others run at the same time.
struct AsPart<'a> {
    part: u32,
    inner: &'a Inner,
    context: &'a RunContext,
}

impl AsPart<'_> {
    fn meet(&self) {
        if let Some(barrier) = self.context.barrier
            && self.inner.program.parts > 1
        {
            // SAFETY: the calling convention.
            unsafe { barrier(self.context.barrier_arg) };
        }
    }

    fn failed(&self) -> bool {
        self.inner.failed.load(Ordering::Relaxed)
    }
}

impl Walker for AsPart<'_> {
    fn kernel(&mut self, run: &mut Run<'_>, number: usize, kernel: &Kernel) -> Result<(), Fault> {
        if !self.failed()
            && let Err(fault) = run.kernel(number, kernel, self.part)
        {
            self.inner.failed.store(true, Ordering::Relaxed);
            self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        }
        self.meet();
        Ok(())
    }

    fn read(&mut self, run: &mut Run<'_>, element: Element) -> Result<Scalar, Fault> {
        // After a fault nothing moves the condition of a loop: all parts leave, as all of them know of the fault here.
        let value = if self.failed() { Ok(Scalar::Bool(false)) } else { run.read(element) };
        self.meet();
        value
    }

    fn iteration(&mut self, _: &mut Run<'_>) -> Result<(), Fault> {
        // Parts count different steps, so that here one would leave and the others stay.
        Ok(())
    }
}

/// Execution of a program's kernels.
struct Run<'a> {
    program: &'a Program,
    memory: Memory<'a>,
    options: Options,
    steps: u64,
    watch: Option<Watch>,
    /// Values of the kernel that runs. The verifier sees to it that each is assigned before it is read.
    values: Vec<Scalar>,
    /// Slots whose events are being read.
    reading: Vec<(ListId, u64)>,
    /// The current iterations of the loops that the step stands in, the outermost first.
    iterations: Vec<u64>,
    tick: u64,
    part: u32,
}

impl<'a> Run<'a> {
    fn new(program: &'a Program, memory: Memory<'a>, options: Options) -> Run<'a> {
        let vals = program.kernels().map(|k| k.vals as usize).max().unwrap_or(0);
        Run {
            program,
            memory,
            options,
            steps: 0,
            watch: options.check.then(Watch::default),
            values: vec![Scalar::Bool(false); vals],
            reading: Vec::new(),
            iterations: Vec::new(),
            tick: 0,
            part: 0,
        }
    }

    fn seek(&mut self, tick: u64) {
        self.tick = tick;
        self.memory.seek(tick);
        if let Some(w) = &mut self.watch {
            w.tick();
        }
    }

    /// Runs steps, whose first kernel has number `first`.
    fn steps<W: Walker>(&mut self, steps: &[Step], first: usize, walker: &mut W) -> Result<(), Fault> {
        let count = |steps: &[Step]| Kernels { open: vec![steps.iter()] }.count();
        let mut number = first;
        for step in steps {
            match step {
                Step::Kernel(kernel) => {
                    walker.kernel(self, number, kernel)?;
                    number += 1;
                }
                Step::Loop { trips, condition, body } => {
                    let trips = match trips {
                        Trips::Known(n) => *n,
                        Trips::Read(e) => match walker.read(self, *e)? {
                            Scalar::I64(n) => u64::try_from(n).unwrap_or(0),
                            _ => 0,
                        },
                    };
                    for i in 0..trips {
                        walker.iteration(self)?;
                        if let Some(e) = condition
                            && walker.read(self, *e)? != Scalar::Bool(true)
                        {
                            break;
                        }
                        self.iterations.push(i);
                        self.steps(body, number, walker)?;
                        self.iterations.pop();
                    }
                    number += count(body);
                }
                Step::If { condition, then_steps, else_steps } => {
                    let otherwise = number + count(then_steps);
                    match walker.read(self, *condition)? == Scalar::Bool(true) {
                        true => self.steps(then_steps, number, walker)?,
                        false => self.steps(else_steps, otherwise, walker)?,
                    }
                    number = otherwise + count(else_steps);
                }
            }
        }
        Ok(())
    }

    /// What an element holds that decides a step.
    fn read(&mut self, e: Element) -> Result<Scalar, Fault> {
        let fault = |run: &Self, what| Fault { tick: run.tick, kernel: None, part: run.part, what };
        let at = i64::try_from(e.at).unwrap_or(i64::MAX);
        let x = self.memory.load(e.buf, at).map_err(|what| fault(self, what))?;
        if let Some(w) = &mut self.watch {
            w.kernel();
        }
        self.touch(Cell::Element(e.buf, at), Access::Read).map_err(|what| fault(self, what))?;
        Ok(x)
    }

    /// Runs a part of a kernel, if the tick and the part are among its own.
    fn kernel(&mut self, number: usize, kernel: &Kernel, part: u32) -> Result<(), Fault> {
        if !self.tick.is_multiple_of(kernel.every) || (kernel.parallel.is_none() && part != 0) {
            return Ok(());
        }
        let (lo, hi) = kernel.parallel.map_or((0, 0), |p| p.range(part, self.program.parts));
        self.part = part;
        self.reading.clear();
        if let Some(w) = &mut self.watch {
            w.part(part);
        }
        self.set(Kernel::TICK, Scalar::I64(self.tick as i64));
        self.set(Kernel::PART, Scalar::I64(part.into()));
        self.set(Kernel::LO, Scalar::I64(lo as i64));
        self.set(Kernel::HI, Scalar::I64(hi as i64));
        for (v, i) in kernel.iterations.iter().zip(self.iterations.clone()) {
            self.set(*v, Scalar::I64(i as i64));
        }
        let tick = self.tick;
        self.block(&kernel.body).map_err(|what| Fault { tick, kernel: Some(number), part, what })
    }

    fn set(&mut self, v: Val, x: Scalar) {
        self.values[v.index()] = x;
    }

    fn get(&self, v: Val) -> Scalar {
        self.values[v.index()]
    }

    fn int(&self, v: Val) -> i64 {
        match self.get(v) {
            Scalar::I64(x) => x,
            other => other.bits() as i64,
        }
    }

    fn truth(&self, v: Val) -> bool {
        self.get(v) == Scalar::Bool(true)
    }

    fn place(&self, index: &Index) -> i64 {
        index.terms.iter().fold(index.offset, |at, (v, c)| at.wrapping_add(self.int(*v).wrapping_mul(*c)))
    }

    fn touch(&mut self, cell: Cell, access: Access) -> Result<(), String> {
        let Some(w) = &mut self.watch else { return Ok(()) };
        let temp = match cell {
            Cell::Element(b, _) => matches!(self.program.buffers[b.index()].role, Role::Temp),
            Cell::Chunk(..) => false,
        };
        w.touch(cell, access, temp)
    }

    fn block(&mut self, block: &Block) -> Result<(), String> {
        block.stmts.iter().try_for_each(|s| self.stmt(s))
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        match self.options.max_steps {
            Some(max) if self.steps > max => Err(format!("more than {max} steps")),
            Some(_) | None => Ok(()),
        }
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), String> {
        self.step()?;
        match stmt {
            Stmt::Const { dst, value } => self.set(*dst, *value),
            Stmt::Op { dst, op, args } => {
                let mut operands = [Scalar::Bool(false); 3];
                for (x, v) in operands.iter_mut().zip(args) {
                    *x = self.get(*v);
                }
                self.set(*dst, op.eval(&operands[..args.len()]));
            }
            Stmt::Load { dst, buf, index } => {
                let at = self.place(index);
                let x = self.memory.load(*buf, at)?;
                self.touch(Cell::Element(*buf, at), Access::Read)?;
                self.set(*dst, x);
            }
            Stmt::Store { buf, index, value } => {
                let at = self.place(index);
                self.memory.store(*buf, at, self.get(*value))?;
                self.touch(Cell::Element(*buf, at), Access::Write)?;
            }
            Stmt::For { var, lo, hi, vector, carried, body } => {
                let (lo, hi) = (self.int(*lo), self.int(*hi));
                let mut state: Vec<Scalar> = carried.iter().map(|c| self.get(c.init)).collect();
                if let (Some(w), true) = (&mut self.watch, *vector) {
                    w.enter();
                }
                for i in lo..hi {
                    self.step()?;
                    if let (Some(w), true) = (&mut self.watch, *vector) {
                        w.iteration(i);
                    }
                    self.set(*var, Scalar::I64(i));
                    for (c, x) in carried.iter().zip(&state) {
                        self.set(c.param, *x);
                    }
                    self.block(body)?;
                    for (c, x) in carried.iter().zip(&mut state) {
                        *x = self.get(c.next);
                    }
                }
                if let (Some(w), true) = (&mut self.watch, *vector) {
                    w.leave();
                }
                for (c, x) in carried.iter().zip(&state) {
                    self.set(c.result, *x);
                }
            }
            Stmt::Events { list, slot, wide, one } => {
                let slot = self.memory.slot(*list, self.int(*slot))?;
                self.reading.push((*list, slot));
                for part in 0..self.program.parts {
                    self.touch(Cell::Chunk(*list, slot, part), Access::Read)?;
                    let count = self.memory.count(*list, slot, part)?;
                    let mut k = 0;
                    while k < count {
                        let body = match wide {
                            Some(w) if self.options.wide && (count - k) as usize >= w.vars.len() => w,
                            Some(_) | None => one,
                        };
                        for (n, v) in body.vars.iter().enumerate() {
                            let index = self.memory.event(*list, slot, part, k + n as u32)?;
                            self.set(*v, Scalar::I64(index));
                        }
                        k += body.vars.len() as u32;
                        self.step()?;
                        self.block(&body.body)?;
                    }
                }
                self.reading.pop();
            }
            Stmt::Clear { list, slot } => {
                let slot = self.written_slot(*list, *slot)?;
                self.touch(Cell::Chunk(*list, slot, self.part), Access::Write)?;
                self.memory.clear(*list, slot, self.part);
            }
            Stmt::Push { list, slot, cond, index } => {
                let slot = self.written_slot(*list, *slot)?;
                if self.truth(*cond) {
                    self.touch(Cell::Chunk(*list, slot, self.part), Access::Append)?;
                    self.memory.append(*list, slot, self.part, self.int(*index))?;
                }
            }
            Stmt::If { cond, then_body, else_body } => {
                self.block(if self.truth(*cond) { then_body } else { else_body })?;
            }
        }
        Ok(())
    }

    /// The slot that is about to be written, which must not be one whose events are being read.
    fn written_slot(&self, list: ListId, slot: Val) -> Result<u64, String> {
        let slot = self.memory.slot(list, self.int(slot))?;
        if self.reading.contains(&(list, slot)) {
            return Err(format!("slot {slot} of {list} is written while its events are read"));
        }
        Ok(slot)
    }
}

#[cfg(test)]
mod tests;
