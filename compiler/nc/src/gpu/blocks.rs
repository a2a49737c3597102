//! How many blocks of a graphics processor a sample gets.

use nc_ir::kernel::{Block, Kernel, Program, Role, Scalar, Step, Stmt, Trips, Val};
use std::collections::BTreeMap;

/// Bytes that a tick may touch before one block is too few: blocks that wait for each other take a microsecond and more
/// each time.
const ALONE: u64 = 1 << 20;
/// Bytes that a tick touches for each block beyond that.
const EACH: u64 = 32 << 10;
/// Most blocks of a sample: the multiprocessors of large devices, about. Threads of more blocks would wait longer for each
/// other than they take for their share.
const MOST: u64 = 128;
/// Most blocks of all samples together: one for each multiprocessor, about, since blocks that share one wait for it.
const TOTAL: u64 = MOST;
/// What share of the rows of an event-driven product a tick is taken to read: one in so many.
const ACTIVE: u64 = 10;

/// How many blocks a sample of a program gets, of so many samples where that is known. Results do not depend on it.
pub fn blocks(program: &Program, samples: Option<u64>) -> u32 {
    let bytes = touched(program);
    let wanted = if bytes < ALONE { 1 } else { bytes.div_ceil(EACH).min(MOST) };
    let most = samples.map_or(MOST, |n| TOTAL / n.max(1));
    wanted.min(most).max(1) as u32
}

/// Iterations of a tick, for each thread of a block, before one block of Vulkan is too few: about what a dispatch more costs.
const STEPS: u64 = 2048;
/// Iterations of a thread in one kernel that are too many for some devices, however many samples there are.
const TOO_MANY: u64 = 32768;
/// Most blocks of a sample, to stay below that.
const MOST_OF_VULKAN: u64 = 1024;
/// Iterations of a loop whose extent is not known.
const UNKNOWN: u64 = 16;

/// How many blocks a sample gets through Vulkan, whose blocks do not wait for each other: by what a tick touches or has to
/// compute.
pub fn blocks_of_vulkan(program: &Program, samples: Option<u64>) -> u32 {
    let threads = u64::from(nc_mlir::gpu::THREADS);
    let each = Count { parts: 1, threads: 1 }.of_steps(&program.steps, program) / threads;
    let most = samples.map_or(MOST, |n| TOTAL / n.max(1));
    let mut wanted = u64::from(blocks(program, samples)).max(each.div_ceil(STEPS).min(most)).max(1);
    let longest = |parts| {
        let count = Count { parts, threads };
        program.kernels().map(|k| count.of_kernel(k, program)).max().unwrap_or(0)
    };
    while wanted < MOST_OF_VULKAN && longest(wanted) > TOO_MANY && longest(MOST_OF_VULKAN) < longest(wanted) {
        wanted = (wanted * 2).min(MOST_OF_VULKAN);
    }
    wanted as u32
}

/// Iterations of loops, about, if kernels are split into so many parts and vector loops among so many threads; events as if
/// one in [`ACTIVE`] were there.
#[derive(Clone, Copy)]
struct Count {
    parts: u64,
    threads: u64,
}

impl Count {
    fn of_steps(self, steps: &[Step], program: &Program) -> u64 {
        steps.iter().fold(0, |sum: u64, s| {
            sum.saturating_add(match s {
                Step::Kernel(k) => self.of_kernel(k, program),
                Step::Loop { trips, body, .. } => {
                    let trips = if let Trips::Known(n) = trips { *n } else { UNKNOWN };
                    self.of_steps(body, program).saturating_mul(trips)
                }
                Step::If { then_steps, else_steps, .. } => {
                    self.of_steps(then_steps, program).max(self.of_steps(else_steps, program))
                }
            })
        })
    }

    fn of_kernel(self, k: &Kernel, program: &Program) -> u64 {
        let items = k.parallel.map_or(0, |p| p.len.div_ceil(self.parts));
        let mut known = BTreeMap::from([(Kernel::LO, 0), (Kernel::HI, i64::try_from(items).unwrap_or(i64::MAX))]);
        k.body.each(&mut |s| {
            if let Stmt::Const { dst, value: Scalar::I64(n) } = s {
                known.insert(*dst, *n);
            }
        });
        self.of_block(&k.body, program, &known)
    }

    fn of_block(self, block: &Block, program: &Program, known: &BTreeMap<Val, i64>) -> u64 {
        block.stmts.iter().fold(0, |sum: u64, s| {
            sum.saturating_add(match s {
                Stmt::For { lo, hi, vector, body, .. } => {
                    let trips = known.get(lo).zip(known.get(hi)).map(|(lo, hi)| hi.saturating_sub(*lo).max(0) as u64);
                    let trips = trips.unwrap_or(UNKNOWN).div_ceil(if *vector { self.threads } else { 1 });
                    trips.saturating_mul(1 + self.of_block(body, program, known))
                }
                Stmt::Events { list, one, .. } => {
                    let len = program.lists.get(list.index()).map_or(0, |l| l.len / ACTIVE);
                    len.saturating_mul(1 + self.of_block(&one.body, program, known))
                }
                Stmt::If { then_body, else_body, .. } => {
                    self.of_block(then_body, program, known).max(self.of_block(else_body, program, known))
                }
                _ => 0,
            })
        })
    }
}

/// Bytes that a tick reads and writes, about: all states, constants that are read for every event at a tenth, all others
/// whole.
fn touched(program: &Program) -> u64 {
    let mut reads = vec![Reads::default(); program.buffers.len()];
    for k in program.kernels() {
        of_block(&k.body, false, &mut reads);
    }
    (program.buffers.iter().zip(&reads)).fold(0u64, |sum, (b, r)| {
        let bytes = b.len.saturating_mul(b.elem.size() as u64);
        sum.saturating_add(match b.role {
            Role::State(_) => bytes,
            Role::Const(_) if r.always => bytes,
            Role::Const(_) if r.for_events => bytes / ACTIVE,
            _ => 0,
        })
    })
}

/// How a buffer is read.
#[derive(Clone, Copy, Default)]
struct Reads {
    always: bool,
    for_events: bool,
}

fn of_block(block: &Block, event: bool, reads: &mut [Reads]) {
    for s in &block.stmts {
        match s {
            Stmt::Load { buf, .. } => {
                if let Some(r) = reads.get_mut(buf.index()) {
                    r.for_events |= event;
                    r.always |= !event;
                }
            }
            Stmt::For { body, .. } => of_block(body, event, reads),
            Stmt::Events { wide, one, .. } => {
                of_block(&one.body, true, reads);
                wide.iter().for_each(|w| of_block(&w.body, true, reads));
            }
            Stmt::If { then_body, else_body, .. } => {
                of_block(then_body, event, reads);
                of_block(else_body, event, reads);
            }
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Store { .. } | Stmt::Clear { .. } | Stmt::Push { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::kernel::{Index, KernelBuilder};
    use nc_ir::{DType, Tensor};

    /// A program with so many numbers of state, of weights that every tick reads, and of weights that events read.
    fn program(state: u64, dense: u64, sparse: u64) -> Program {
        let mut p = Program::new("m", 1);
        let one = || Tensor::scalar_f32(0.0);
        let s = p.add_buffer("s", DType::F32, state, Role::State(one()));
        let d = p.add_buffer("d", DType::F32, dense, Role::Const(one()));
        let w = p.add_buffer("w", DType::F32, sparse, Role::Const(one()));
        let list = p.add_list("e", 4, 1, 1);
        let mut b = KernelBuilder::new("k", None, 1);
        let zero = b.index(0);
        let v = b.load(d, DType::F32, Index::at(0));
        b.store(s, Index::at(0), v);
        b.events(list, zero, 1, |b, _| {
            let v = b.load(w, DType::F32, Index::at(0));
            b.store(s, Index::at(1), v);
        });
        p.push(b.finish());
        p
    }

    #[test]
    fn blocks_follow_from_what_a_tick_touches() {
        const K: u64 = 256;
        // Numbers are thousands of bytes: 4 * 256 each.
        let of = |state, dense, sparse, samples| blocks(&program(state * K, dense * K, sparse * K), samples);
        assert_eq!(of(2, 2, 2, None), 1);
        assert_eq!(of(500, 523, 0, None), 1);
        assert_eq!(of(500, 524, 0, None), 32);
        assert_eq!(of(0, 1280, 0, None), 40);
        assert_eq!(of(0, 0, 12800, None), 40);
        assert_eq!(of(0, 0, 1 << 20, None), 128);
        // Many samples fill the device by themselves.
        assert_eq!([1, 4, 32, 512, 1024].map(|n| of(0, 1 << 20, 0, Some(n))), [128, 32, 4, 1, 1]);
        assert_eq!(of(2, 2, 2, Some(1000)), 1);
    }

    #[test]
    fn blocks_of_vulkan_follow_from_what_a_tick_computes() {
        // A product of so many rows and columns.
        let product = |rows: i64, columns: i64| {
            let mut p = Program::new("m", 1);
            let mut b = KernelBuilder::new("product", Some(nc_ir::kernel::Parallel { len: rows as u64, align: 1 }), 1);
            let (lo, hi, zero, end) = (b.lo(), b.hi(), b.index(0), b.index(columns));
            b.for_loop(lo, hi, true, |b, _| b.for_loop(zero, end, false, |_, _| {}));
            p.push(b.finish());
            p
        };
        let all = Count { parts: 1, threads: 1 };
        assert_eq!(all.of_steps(&product(1000, 1000).steps, &Program::default()), 1000 * 1001);
        let of = |rows, columns, samples| blocks_of_vulkan(&product(rows, columns), samples);
        assert_eq!(of(100, 1000, None), 1);
        assert_eq!(of(1000, 2000, None), 2);
        assert_eq!(of(1000, 64_000, None), 62);
        assert_eq!(of(100_000, 64_000, None), 256);
        // With many samples one block does, unless that is too much for it.
        assert_eq!([of(1000, 2000, Some(128)), of(1000, 64_000, Some(128))], [1, 2]);
        // Few long rows: a thread has no more than some devices run in a dispatch.
        let mut p = Program::new("m", 1);
        let mut b = KernelBuilder::new("product", Some(nc_ir::kernel::Parallel { len: 512, align: 1 }), 1);
        let (lo, hi, zero, end) = (b.lo(), b.hi(), b.index(0), b.index(18_432));
        b.for_loop(lo, hi, false, |b, _| b.for_loop(zero, end, false, |_, _| {}));
        p.push(b.finish());
        assert_eq!(blocks_of_vulkan(&p, Some(1)), 640);
    }
}
