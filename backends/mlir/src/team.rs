//! The entry point of a program that teams of blocks run: one launch for all ticks of all samples.

use crate::emit::scratch::{CLAIMS, GROUP, Scratch};
use crate::emit::threads::Meet;
use crate::emit::{Blocks, Emitted, Side};
use crate::gpu::Arithmetic;
use crate::ir::{Ir, V, Write};
use crate::run::{MeetAll, Team, team_ticks};
use melior::ir::BlockRef;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

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
    let mut ir = Ir::new(context, blocks.machine().style());
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    let types = [ptr, ptr, ptr, ptr, i64, i64, i64, i64];
    debug_assert_eq!(types.len(), ARGUMENTS);
    if !blocks.host() {
        return ir.gpu_function(module, symbol, (&types, blocks.threads), |ir, a| {
            let (id, block) = (ir.gpu_number("gpu.thread_id"), ir.gpu_number("gpu.block_id"));
            let (all, shared) = (ir.gpu_number("gpu.grid_dim"), ir.shared());
            let thread = Thread { id, block: (block, all), shared, meet: Meet::Gpu, all: None };
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

/// What a thread does in a launch.
fn run<'c>(
    ir: &mut Ir<'c>,
    (program, layout): (&Program, &Layout),
    kernels: &[String],
    blocks: Blocks,
    arguments: &[V<'c>],
    thread: Thread<'c>,
) -> Emitted<()> {
    let &[arena, consts, table, barriers, first, ticks, samples, stride] = arguments else {
        return Err(crate::Unsupported::malformed("a launch has eight arguments"));
    };
    ir.fault = (blocks.side == Side::Spirv(Arithmetic::Portable)).then_some(barriers);
    let scratch = Scratch::of(blocks.threads, program.parts);
    let bits = scratch.groups * GROUP;
    let tables = scratch.bits.iter().map(|at| (*at, bits, 0)).chain([(scratch.claims, CLAIMS.into(), -1)]);
    for (table, cells, first) in tables {
        let (end, first) = (ir.i64(cells), ir.int(ir.types.i32, first));
        ir.for_loop((thread.id, end, blocks.threads.into()), &[], |ir, n, _| {
            let at = ir.beyond(thread.shared, table);
            let at = ir.element(at, ir.types.i32, n);
            ir.store(at, first, 4);
            Ok(Vec::new())
        })?;
    }
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
        team_ticks(ir, (program, layout), kernels, (arena, consts, part), (first, ticks), || Team {
            table,
            samples: (samples, sample),
            id: thread.id,
            meet: (thread.meet, meet_all),
            last,
            since: Vec::new(),
        })?;
        Ok(Vec::new())
    })?;
    Ok(())
}
