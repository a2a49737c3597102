//! The entry point of a program: the loop over ticks and the way through their steps.

use crate::emit::Emitted;
use crate::emit::threads::Meet;
use crate::error::Unsupported;
use crate::ir::{Cmp, Ir, Style, V, Write};
use melior::ir::{Module, Type};
use nc_ir::DType;
use nc_ir::kernel::abi::{Layout, Place};
use nc_ir::kernel::phases::Access;
use nc_ir::kernel::{Element, Kernel, Program, Role, Step, Trips};

/// Byte offsets of the fields of [`nc_ir::kernel::abi::RunContext`] for pointers of a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fields {
    pub arena: u64,
    pub consts: u64,
    pub host: u64,
    pub first_tick: u64,
    pub ticks: u64,
    pub barrier: u64,
    pub barrier_arg: u64,
    pub bytes: u64,
}

impl Fields {
    /// As C lays the struct out, with 64-bit numbers aligned to 8 bytes.
    pub const fn of(pointer: u64) -> Fields {
        let first_tick = (3 * pointer).next_multiple_of(8);
        let barrier = first_tick + 16;
        Fields {
            arena: 0,
            consts: pointer,
            host: 2 * pointer,
            first_tick,
            ticks: first_tick + 8,
            barrier,
            barrier_arg: barrier + pointer,
            bytes: (barrier + 3 * pointer).next_multiple_of(8),
        }
    }
}

/// Adds the entry point to the module; `kernels` are the symbols of the program's kernels.
pub(crate) fn entry<'c>(
    module: &Module<'c>,
    context: &'c melior::Context,
    symbol: &str,
    (program, layout): (&Program, &Layout),
    kernels: &[String],
    pointer: u64,
) -> Emitted<()> {
    let mut ir = Ir::new(context, Style::default());
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    ir.function(module.body(), (symbol, true), &[ptr, i64], None, |ir, a| {
        let fields = Fields::of(pointer);
        let (ctx, part) = (a[0], a[1]);
        let field = |ir: &mut Ir<'c>, at: u64, ty: Type<'c>, align| {
            let at = ir.beyond(ctx, at as i64);
            ir.load(at, ty, align)
        };
        let word = pointer as i64;
        let arena = field(ir, fields.arena, ptr, word);
        let consts = field(ir, fields.consts, ptr, word);
        let host = field(ir, fields.host, ptr, word);
        let first = field(ir, fields.first_tick, i64, 8);
        let ticks = field(ir, fields.ticks, i64, 8);
        let barrier = (program.parts > 1)
            .then(|| (field(ir, fields.barrier, ptr, word), field(ir, fields.barrier_arg, ptr, word)));
        let n = u32::try_from(layout.host.len()).ok().filter(|n| *n < 1 << 16);
        let n = n.ok_or_else(|| Unsupported::new("more than 65535 host arrays", "join arrays"))?;
        let frames = ir.pointers(n.max(1));
        for k in 0..n {
            let p = ir.frame(host, k, 4);
            ir.set_frame(frames, k, p);
        }
        let end = ir.add(first, ticks);
        ir.fork().for_loop((first, end, 1), &[], |ir, tick, _| {
            let ir = ir.fork();
            let mut way = Way {
                ir,
                program,
                layout,
                kernels: kernels.iter(),
                arena,
                consts,
                tick,
                part,
                who: Who::Parts { frames, barrier },
                iterations: Vec::new(),
            };
            way.steps(&program.steps)?;
            way.advance(frames)?;
            way.ir.check()?;
            Ok(Vec::new())
        })?;
        Ok(None)
    })
}

/// A team of blocks in its way through the steps.
pub(crate) struct Team<'c> {
    /// The table of host arrays.
    pub table: V<'c>,
    /// Number of samples, and of the one that is run.
    pub samples: (V<'c>, V<'c>),
    /// Number of the thread in its block.
    pub id: V<'c>,
    /// How the threads of a block meet, and the blocks of the team.
    pub meet: (Meet<'c>, MeetAll<'c>),
    /// What kernel functions are given at their ends.
    pub last: Vec<V<'c>>,
    /// What was done since the blocks met.
    pub since: Vec<Access>,
}

/// How the blocks of a team meet.
#[derive(Clone, Copy)]
pub(crate) enum MeetAll<'c> {
    /// By a counter at this address.
    Gpu(V<'c>),
    /// By a call: function and argument.
    Call(V<'c>, V<'c>),
}

/// What is done after the last meeting of the blocks in a tick that begins with what was done since one; `None` if it is
/// not known, since steps are not kernels alone.
pub(crate) fn trailing(steps: &[Step], mut since: Vec<Access>) -> Option<Vec<Access>> {
    for s in steps {
        let Step::Kernel(k) = s else { return None };
        let access = Access::of(k);
        if since.iter().any(|a| a.meets(&access)) {
            since.clear();
        }
        since.push(access);
    }
    Some(since)
}

/// Writes the ticks of a sample as a team of blocks runs them.
pub(crate) fn team_ticks<'c>(
    ir: &mut Ir<'c>,
    (program, layout): (&Program, &Layout),
    kernels: &[String],
    (arena, consts, part): (V<'c>, V<'c>, V<'c>),
    (first, ticks): (V<'c>, V<'c>),
    mut team: Team<'c>,
) -> Emitted<()> {
    let end = ir.add(first, ticks);
    ir.fork().for_loop((first, end, 1), &[], |ir, tick, _| {
        let ir = ir.fork();
        // A tick may begin without a meeting if it would meet what the one before did last.
        let once = trailing(&program.steps, Vec::new());
        let twice = once.clone().and_then(|since| trailing(&program.steps, since));
        let (once, twice) = (once.unwrap_or_default(), twice.unwrap_or_default());
        let same = |a: &[Access], b: &[Access]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (&a.reads, &a.writes) == (&b.reads, &b.writes))
        };
        let carried = program.parts > 1 && !once.is_empty() && same(&once, &twice);
        team.since = if carried { once } else { Vec::new() };
        let mut way = Way {
            ir,
            program,
            layout,
            kernels: kernels.iter(),
            arena,
            consts,
            tick,
            part,
            who: Who::Team(team),
            iterations: Vec::new(),
        };
        way.steps(&program.steps)?;
        if !carried {
            way.meet();
        }
        way.ir.check()?;
        Ok(Vec::new())
    })?;
    Ok(())
}

/// Writes kernels that a team runs one after another, its blocks without waiting for each other.
pub(crate) fn team_phase<'c>(
    ir: &mut Ir<'c>,
    (program, layout): (&Program, &Layout),
    (kernels, symbols): (&[&Kernel], &[String]),
    (arena, consts, part): (V<'c>, V<'c>, V<'c>),
    (tick, iterations): (V<'c>, &[V<'c>]),
    team: Team<'c>,
) -> Emitted<()> {
    let mut way = Way {
        ir: ir.fork(),
        program,
        layout,
        kernels: symbols.iter(),
        arena,
        consts,
        tick,
        part,
        who: Who::Team(team),
        iterations: iterations.to_vec(),
    };
    kernels.iter().try_for_each(|k| way.kernel(k))?;
    way.ir.check()
}

/// Who goes through the steps.
enum Who<'c> {
    /// One of parts that run on their own: the table of current host frames; how to meet the other parts, if there are any:
    /// function and argument.
    Parts { frames: V<'c>, barrier: Option<(V<'c>, V<'c>)> },
    /// One of the blocks of a team, each of which is a part.
    Team(Team<'c>),
}

/// The way of one part through the steps of a tick.
struct Way<'c, 'p> {
    ir: Ir<'c>,
    program: &'p Program,
    layout: &'p Layout,
    /// The functions of the kernels that are still to come.
    kernels: std::slice::Iter<'p, String>,
    arena: V<'c>,
    consts: V<'c>,
    tick: V<'c>,
    part: V<'c>,
    who: Who<'c>,
    /// Numbers of the current iterations of the open loops.
    iterations: Vec<V<'c>>,
}

impl<'c> Write<'c> for Way<'c, '_> {
    fn ir(&mut self) -> &mut Ir<'c> {
        &mut self.ir
    }
}

impl<'c> Way<'c, '_> {
    fn steps(&mut self, steps: &[Step]) -> Emitted<()> {
        for step in steps {
            match step {
                Step::Kernel(k) => self.kernel(k)?,
                Step::Loop { trips, condition, body } => {
                    self.meet_team();
                    self.repeat(*trips, *condition, body)?;
                }
                Step::If { condition, then_steps, else_steps } => {
                    self.meet_team();
                    let truth = self.truth(*condition)?;
                    self.branch(
                        truth,
                        &[],
                        |w| w.way(then_steps).map(|()| Vec::new()),
                        |w| w.way(else_steps).map(|()| Vec::new()),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Steps inside of a loop or branch, after which a team has met.
    fn way(&mut self, steps: &[Step]) -> Emitted<()> {
        self.steps(steps)?;
        self.meet_team();
        Ok(())
    }

    /// The blocks of a team meet, and their threads. Parts that run on their own met after their last kernel.
    fn meet_team(&mut self) {
        if let Who::Team(_) = self.who {
            self.meet();
        }
    }

    fn repeat(&mut self, trips: Trips, condition: Option<Element>, steps: &[Step]) -> Emitted<()> {
        let i64 = self.ir.types.i64;
        let trips = match trips {
            Trips::Known(n) => self.ir.i64(n.min(i64::MAX as u64) as i64),
            Trips::Read(e) => {
                let n = self.read(e, i64)?;
                self.meet();
                n
            }
        };
        let zero = self.ir.i64(0);
        let Some(condition) = condition else {
            self.for_loop((zero, trips, 1), &[], |w, i, _| {
                w.iterations.push(i);
                w.way(steps)?;
                w.iterations.pop();
                Ok(Vec::new())
            })?;
            return Ok(());
        };
        let i1 = self.ir.types.i1;
        // Whether there is one more is found before the loop and at its end: what a loop of SPIR-V begins with has no
        // branches in it.
        let goes_on = |w: &mut Self, i: V<'c>| {
            let more = w.ir.cmp(Cmp::Slt, i, trips);
            w.branch(more, &[i1], |w| Ok(vec![w.truth(condition)?]), |w| Ok(vec![w.ir.int(i1, 0)]))
        };
        let go = goes_on(self, zero)?;
        self.while_loop(
            &[zero, go[0]],
            |_, a| a[1],
            |w, a| {
                w.iterations.push(a[0]);
                w.way(steps)?;
                w.iterations.pop();
                let next = w.ir.plus(a[0], 1);
                let go = goes_on(w, next)?;
                Ok(vec![next, go[0]])
            },
        )?;
        Ok(())
    }

    fn kernel(&mut self, k: &Kernel) -> Emitted<()> {
        let symbol = self.kernels.next().ok_or_else(|| Unsupported::malformed("a kernel without a function"))?;
        let iterations = self.iterations.get(..k.iterations.len());
        let iterations =
            iterations.ok_or_else(|| Unsupported::malformed("a kernel asks for loops that are not there"))?;
        let mut arguments = vec![self.arena, self.consts];
        let alone = k.parallel.is_none() && self.program.parts > 1;
        let mut first = false;
        match &mut self.who {
            Who::Parts { frames, .. } => {
                arguments.extend([*frames, self.tick, self.part]);
                arguments.extend(iterations);
            }
            Who::Team(team) => {
                let access = Access::of(k);
                first = team.since.iter().any(|a| a.meets(&access));
                arguments.extend([team.table, self.tick, self.part, team.id, team.samples.0, team.samples.1]);
                arguments.extend(iterations);
                arguments.extend(&team.last);
                if !first {
                    team.since.push(access);
                }
            }
        }
        if first {
            self.meet();
            if let Who::Team(team) = &mut self.who {
                team.since.push(Access::of(k));
            }
        }
        let call = |w: &mut Self| match &w.who {
            Who::Team(team) if team.last.is_empty() => {
                let mut arguments = arguments.clone();
                for p in [0, 1, 2] {
                    arguments[p] = w.ir.cast(arguments[p], w.ir.global());
                }
                w.ir.device_call(symbol, &arguments);
            }
            _ => w.ir.call(symbol, &arguments),
        };
        let run = |w: &mut Self| {
            if alone {
                let first = w.ir.cmp_k(Cmp::Eq, w.part, 0);
                w.when(first, |w| {
                    call(w);
                    Ok(())
                })?;
            } else {
                call(w);
            }
            match &w.who {
                Who::Parts { .. } => w.meet(),
                Who::Team(team) => team.meet.0.write(&mut w.ir),
            }
            Ok(())
        };
        if k.every > 1 {
            let due = self.due(k.every);
            return self.when(due, run);
        }
        run(self)
    }

    /// Whether the tick is a multiple of `every`.
    fn due(&mut self, every: u64) -> V<'c> {
        let rest = self.ir.by("arith.remui", self.tick, every as i64);
        self.ir.cmp_k(Cmp::Eq, rest, 0)
    }

    /// Waits for the other parts.
    fn meet(&mut self) {
        match &mut self.who {
            Who::Parts { barrier: Some((function, argument)), .. } => self.ir.call_pointer(*function, &[*argument]),
            Who::Parts { barrier: None, .. } => {}
            Who::Team(team) => {
                team.since.clear();
                let (block, all, id) = (team.meet.0, team.meet.1, team.id);
                match (self.program.parts, all) {
                    (0 | 1, _) => block.write(&mut self.ir),
                    (_, MeetAll::Call(function, argument)) => self.ir.call_pointer(function, &[argument]),
                    (parts, MeetAll::Gpu(counter)) => {
                        block.write(&mut self.ir);
                        arrive(&mut self.ir, counter, parts.into(), id);
                        block.write(&mut self.ir);
                    }
                }
            }
        }
    }

    /// Reads a condition and waits until all have.
    fn truth(&mut self, e: Element) -> Emitted<V<'c>> {
        let i8 = self.ir.types.i8;
        let x = self.read(e, i8)?;
        let truth = self.ir.cmp_k(Cmp::Ne, x, 0);
        self.meet();
        Ok(truth)
    }

    /// Reads what decides a step.
    fn read(&mut self, e: Element, ty: Type<'c>) -> Emitted<V<'c>> {
        let missing = || Unsupported::malformed(format!("{} has no element {}", e.buf, e.at));
        let buffer = self.program.buffers.get(e.buf.index()).ok_or_else(missing)?;
        let at = e.at.checked_mul(buffer.elem.size() as u64).filter(|_| e.at < buffer.len).ok_or_else(missing)?;
        let wanted = if ty == self.ir.types.i8 { DType::Bool } else { DType::I64 };
        if buffer.elem != wanted {
            return Err(Unsupported::malformed(format!("{} decides a step and holds {}", e.buf, buffer.elem)));
        }
        let (base, at) = match self.layout.buffers.get(e.buf.index()).ok_or_else(missing)? {
            Place::Arena(first) => (self.arena, first + at),
            Place::Consts(first) => (self.consts, first + at),
            Place::Host(n) => (
                match &self.who {
                    Who::Parts { frames, .. } => self.ir.frame(*frames, *n, 4),
                    Who::Team(t) => {
                        let (samples, sample) = t.samples;
                        self.ir.team_frame(t.table, (*n, buffer), (self.tick, samples, sample))
                    }
                },
                at,
            ),
        };
        let p = self.ir.beyond(base, at as i64);
        Ok(self.ir.load(p, ty, buffer.elem.size() as i64))
    }

    /// Moves the host frames that this tick has used on to the next.
    fn advance(&mut self, frames: V<'c>) -> Emitted<()> {
        for (k, buf) in self.layout.host.iter().enumerate() {
            let b = self.program.buffers.get(buf.index()).ok_or_else(|| Unsupported::malformed("a host array"))?;
            let bytes = b.len.saturating_mul(b.elem.size() as u64) as i64;
            let next = |w: &mut Self| {
                let p = w.ir.frame(frames, k as u32, 4);
                let p = w.ir.beyond(p, bytes);
                w.ir.set_frame(frames, k as u32, p);
                Ok(())
            };
            match b.role {
                Role::Probe { every } if every > 1 => {
                    let due = self.due(every);
                    self.when(due, next)?;
                }
                _ => next(self)?,
            }
        }
        Ok(())
    }
}

/// The first thread of a block tells that it came, and waits for the other blocks of its team. The counter only grows.
fn arrive<'c>(ir: &mut Ir<'c>, counter: V<'c>, parts: i64, id: V<'c>) {
    let first = ir.cmp_k(Cmp::Eq, id, 0);
    let done = ir.when(first, |ir| {
        let one = ir.i64(1);
        let came = ir.atomic_arrive(counter, one);
        let round = ir.by("arith.divui", came, parts);
        let round = ir.plus(round, 1);
        let wanted = ir.times(round, parts);
        let before = ir.region(&[], |ir, _| {
            let came = ir.atomic_look(counter);
            let wait = ir.cmp(Cmp::Ult, came, wanted);
            ir.raw("scf.condition", &[wait], &[], &[], Vec::new());
            Ok(())
        })?;
        let after = ir.region(&[], |ir, _| {
            ir.r#yield(&[]);
            Ok(())
        })?;
        ir.raw("scf.while", &[], &[], &[], vec![before, after]);
        Ok(())
    });
    if let Err(e) = done {
        ir.fail(e);
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;
    use nc_ir::kernel::abi::RunContext;
    use std::mem::{offset_of, size_of};

    #[test]
    fn fields_lie_where_this_machine_has_them() {
        let f = Fields::of(size_of::<usize>() as u64);
        let got = [f.arena, f.consts, f.host, f.first_tick, f.ticks, f.barrier, f.barrier_arg, f.bytes];
        let want = [
            offset_of!(RunContext, arena),
            offset_of!(RunContext, consts),
            offset_of!(RunContext, host),
            offset_of!(RunContext, first_tick),
            offset_of!(RunContext, ticks),
            offset_of!(RunContext, barrier),
            offset_of!(RunContext, barrier_arg),
            size_of::<RunContext>(),
        ];
        assert_eq!(got.map(|x| x as usize), want);
    }
}
