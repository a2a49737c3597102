//! The entry points of programs that teams of blocks run: one for all ticks of all samples, or one for each phase of a tick.

use crate::emit::threads::Meet;
use crate::emit::{Blocks, Emitted, Side};
use crate::error::Unsupported;
use crate::gpu::Arithmetic;
use crate::ir::{Ir, V, Write};
use crate::run::{MeetAll, Team, team_phase, team_ticks};
use crate::scratch::{CLAIMS, GROUP, Scratch};
use melior::ir::BlockRef;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::{Kernel, Program, Stmt};

/// Words of the arguments of a launch, see [`crate::gpu`].
pub(crate) const ARGUMENTS: usize = 8;

/// Bytes from the counter of one team to the next: their cache lines are apart.
const COUNTER: i64 = 128;

/// What a thread is told beside the arguments of the launch.
struct Thread<'c> {
    /// Its number in the block.
    id: V<'c>,
    /// The number of the block, and how many there are.
    block: (V<'c>, V<'c>),
    /// What the threads of the block share.
    shared: V<'c>,
    meet: Meet<'c>,
    /// How all blocks of a team meet, by calls.
    all: Option<(V<'c>, V<'c>)>,
}

/// Words that a thread on this processor is told after the arguments of the launch: its number, the number of its block,
/// blocks; the address of what its block shares; the functions that its block and its team meet by, and their argument.
pub(crate) const OWN: usize = 7;

/// Adds the entry point. On this processor it is given the address of words: the arguments of the launch, and [`OWN`] more.
pub(crate) fn entry<'c>(
    module: BlockRef<'c, '_>,
    context: &'c melior::Context,
    symbol: &str,
    of: (&Program, &Layout),
    kernels: &[String],
    blocks: Blocks,
) -> Emitted<()> {
    let mut ir = Ir::new(context, blocks.machine().style(of.0.parts));
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    let types = [ptr, ptr, ptr, ptr, i64, i64, i64, i64];
    debug_assert_eq!(types.len(), ARGUMENTS);
    if !blocks.host() {
        return ir.gpu_function(module, symbol, (&types, blocks.threads), |ir, a| {
            let thread = Thread::of(ir);
            run(ir, of, kernels, blocks, a, thread)
        });
    }
    ir.function(module, (symbol, true), &[ptr], None, |ir, a| {
        let mut all = types.to_vec();
        all.extend([i64, i64, i64, ptr, ptr, ptr, ptr]);
        let mut words = Vec::with_capacity(all.len());
        for (n, ty) in all.iter().enumerate() {
            let at = ir.beyond(a[0], 8 * n as i64);
            words.push(ir.load(at, *ty, 8));
        }
        let (arguments, own) = words.split_at(ARGUMENTS);
        let meet = Meet::Call(own[4], own[6]);
        let thread = Thread { id: own[0], block: (own[1], own[2]), shared: own[3], meet, all: Some((own[5], own[6])) };
        run(ir, of, kernels, blocks, arguments, thread)?;
        Ok(None)
    })
}

/// Adds an entry point for each phase of a program. It is told the iterations of the loops around the phase after the
/// arguments of a launch, and runs one tick.
pub(crate) fn phases<'c>(
    module: BlockRef<'c, '_>,
    context: &'c melior::Context,
    prefix: &str,
    of: (&Program, &Layout),
    kernels: &[String],
    blocks: Blocks,
) -> Emitted<()> {
    let course = crate::gpu::course(of.0).ok_or_else(|| {
        Unsupported::new("several blocks to a sample where values decide what runs", "compile with --blocks 1")
    })?;
    let all: Vec<&Kernel> = of.0.kernels().collect();
    for (n, (phase, loops)) in course.phases.iter().zip(&course.loops).enumerate() {
        let (Some(own), Some(symbols)) = (all.get(phase.clone()), kernels.get(phase.clone())) else {
            return Err(Unsupported::malformed("a phase of other kernels"));
        };
        let mut ir = Ir::new(context, blocks.machine().style(of.0.parts));
        let (ptr, i64) = (ir.types.ptr, ir.types.i64);
        let mut types = vec![ptr, ptr, ptr, ptr, i64, i64, i64, i64];
        types.resize(ARGUMENTS + loops, i64);
        ir.gpu_function(module, &crate::gpu::phase(prefix, n), (&types, blocks.threads), |ir, a| {
            let thread = Thread::of(ir);
            let (a, iterations) = a.split_at(ARGUMENTS);
            launched(ir, (own, of), blocks, a, thread, |ir, [arena, consts, part], [tick, _], team| {
                team_phase(ir, of, (own, symbols), (arena, consts, part), (tick, iterations), team)
            })
        })?;
    }
    Ok(())
}

impl<'c> Thread<'c> {
    /// A thread of a graphics processor.
    fn of(ir: &mut Ir<'c>) -> Thread<'c> {
        let (id, block) = (ir.gpu_number("gpu.thread_id"), ir.gpu_number("gpu.block_id"));
        let (all, shared) = (ir.gpu_number("gpu.grid_dim"), ir.shared());
        Thread { id, block: (block, all), shared, meet: Meet::Gpu, all: None }
    }
}

/// What a thread does in a launch.
fn run<'c>(
    ir: &mut Ir<'c>,
    of: (&Program, &Layout),
    kernels: &[String],
    blocks: Blocks,
    arguments: &[V<'c>],
    thread: Thread<'c>,
) -> Emitted<()> {
    let all: Vec<&Kernel> = of.0.kernels().collect();
    launched(ir, (&all, of), blocks, arguments, thread, |ir, memory, ticks, team| {
        team_ticks(ir, of, kernels, memory.into(), ticks.into(), team)
    })
}

/// Makes a thread ready for some kernels, then goes through the samples of its team: `body` is given the arena, constants
/// and part, the first tick and how many, and the team.
fn launched<'c>(
    ir: &mut Ir<'c>,
    (kernels, (program, _)): (&[&Kernel], (&Program, &Layout)),
    blocks: Blocks,
    arguments: &[V<'c>],
    thread: Thread<'c>,
    body: impl FnOnce(&mut Ir<'c>, [V<'c>; 3], [V<'c>; 2], Team<'c>) -> Emitted<()>,
) -> Emitted<()> {
    let &[arena, consts, table, barriers, first, ticks, samples, stride] = arguments else {
        return Err(Unsupported::malformed("a launch has eight arguments"));
    };
    ir.fault = (blocks.side == Side::Spirv(Arithmetic::Portable)).then_some(barriers);
    let scratch = Scratch::of(blocks.threads, program.parts);
    clear(ir, &thread, (scratch, blocks.threads), kernels)?;
    thread.meet.write(ir);
    let parts = i64::from(program.parts.max(1));
    let (block, all) = thread.block;
    let (team, part) = (ir.by("arith.divui", block, parts), ir.by("arith.remui", block, parts));
    let teams = ir.by("arith.divui", all, parts);
    let meet_all = match thread.all {
        Some((function, argument)) => MeetAll::Call(function, argument),
        None => {
            let at = ir.times(team, COUNTER);
            MeetAll::Gpu(ir.element(barriers, ir.types.i8, at))
        }
    };
    let last = match (thread.meet, blocks.host()) {
        (Meet::Call(function, argument), true) => vec![thread.shared, function, argument],
        _ => ir.fault.into_iter().collect(),
    };
    ir.for_steps((team, samples, teams), &[], |ir, sample, _| {
        let at = ir.mul(sample, stride);
        let arena = ir.element(arena, ir.types.i8, at);
        let team = Team {
            table,
            samples: (samples, sample),
            id: thread.id,
            meet: (thread.meet, meet_all),
            last,
            since: Vec::new(),
        };
        body(ir, [arena, consts, part], [first, ticks], team)?;
        Ok(Vec::new())
    })?;
    Ok(())
}

/// Makes the tables that threads share ready for the kernels that use them.
fn clear<'c>(
    ir: &mut Ir<'c>,
    thread: &Thread<'c>,
    (scratch, threads): (Scratch, u32),
    kernels: &[&Kernel],
) -> Emitted<()> {
    let (mut pushes, mut events) = (false, false);
    for k in kernels {
        k.body.each(&mut |s| {
            pushes |= matches!(s, Stmt::Push { .. });
            events |= matches!(s, Stmt::Events { .. });
        });
    }
    let bits = scratch.bits.iter().filter(|_| pushes).map(|at| (*at, scratch.groups * GROUP, 0));
    let claims = events.then_some((scratch.claims, i64::from(CLAIMS), -1));
    for (table, cells, first) in bits.chain(claims) {
        let (end, first) = (ir.i64(cells), ir.int(ir.types.i32, first));
        ir.for_loop((thread.id, end, threads.into()), &[], |ir, n, _| {
            let at = ir.beyond(thread.shared, table);
            let at = ir.element(at, ir.types.i32, n);
            ir.store(at, first, 4);
            Ok(Vec::new())
        })?;
    }
    Ok(())
}
