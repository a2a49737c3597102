//! The entry point of a program: the loop over ticks and the way through their steps.

use crate::emit::Emitted;
use crate::error::Unsupported;
use crate::ir::{Cmp, Ir, V, Write};
use melior::ir::{Module, Type};
use nc_ir::DType;
use nc_ir::kernel::abi::{Layout, Place};
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
    (pointer, threads): (u64, u32),
) -> Emitted<()> {
    let mut ir = Ir::new(context, false);
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    ir.function(module, (symbol, true), &[ptr, i64], None, |ir, a| {
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
        let barrier = (program.parts > 1 || threads > 0)
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
                frames,
                tick,
                part,
                barrier,
                threads,
                iterations: Vec::new(),
            };
            way.steps(&program.steps)?;
            way.advance()?;
            way.ir.check()?;
            Ok(Vec::new())
        })?;
        Ok(None)
    })
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
    /// The table of current host frames.
    frames: V<'c>,
    tick: V<'c>,
    part: V<'c>,
    /// How to meet the other parts, if there are any: function and argument.
    barrier: Option<(V<'c>, V<'c>)>,
    /// How many threads run each kernel together, each as a part; 0 if parts do not work together.
    threads: u32,
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
                Step::Loop { trips, condition, body } => self.repeat(*trips, *condition, body)?,
                Step::If { condition, then_steps, else_steps } => {
                    let truth = self.truth(*condition)?;
                    self.branch(
                        truth,
                        &[],
                        |w| w.steps(then_steps).map(|()| Vec::new()),
                        |w| w.steps(else_steps).map(|()| Vec::new()),
                    )?;
                }
            }
        }
        Ok(())
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
                w.steps(steps)?;
                w.iterations.pop();
                Ok(Vec::new())
            })?;
            return Ok(());
        };
        let i1 = self.ir.types.i1;
        let before = self.region(&[i64], |w, a| {
            let more = w.ir.cmp(Cmp::Slt, a[0], trips);
            let go = w.branch(more, &[i1], |w| Ok(vec![w.truth(condition)?]), |w| Ok(vec![w.ir.int(i1, 0)]))?;
            w.ir.raw("scf.condition", &[go[0], a[0]], &[], &[], Vec::new());
            Ok(())
        })?;
        let after = self.region(&[i64], |w, a| {
            w.iterations.push(a[0]);
            w.steps(steps)?;
            w.iterations.pop();
            let next = w.ir.plus(a[0], 1);
            w.ir.r#yield(&[next]);
            Ok(())
        })?;
        self.ir.raw("scf.while", &[zero], &[i64], &[], vec![before, after]);
        Ok(())
    }

    fn kernel(&mut self, k: &Kernel) -> Emitted<()> {
        let symbol = self.kernels.next().ok_or_else(|| Unsupported::malformed("a kernel without a function"))?;
        let mut arguments = vec![self.arena, self.consts, self.frames, self.tick, self.part];
        let iterations = self.iterations.get(..k.iterations.len());
        arguments
            .extend(iterations.ok_or_else(|| Unsupported::malformed("a kernel asks for loops that are not there"))?);
        if self.threads > 0
            && let Some((function, argument)) = self.barrier
        {
            let count = self.ir.i64(self.threads.into());
            arguments.extend([function, argument, count]);
        }
        let run = |w: &mut Self| {
            if w.threads == 0 && w.barrier.is_some() && k.parallel.is_none() {
                let first = w.ir.cmp_k(Cmp::Eq, w.part, 0);
                w.when(first, |w| {
                    w.ir.call(symbol, &arguments);
                    Ok(())
                })?;
            } else {
                w.ir.call(symbol, &arguments);
            }
            w.meet();
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
        if let Some((function, argument)) = self.barrier {
            self.ir.call_pointer(function, &[argument]);
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
            Place::Host(n) => (self.ir.frame(self.frames, *n, 4), at),
        };
        let p = self.ir.beyond(base, at as i64);
        Ok(self.ir.load(p, ty, buffer.elem.size() as i64))
    }

    /// Moves the host frames that this tick has used on to the next.
    fn advance(&mut self) -> Emitted<()> {
        for (k, buf) in self.layout.host.iter().enumerate() {
            let b = self.program.buffers.get(buf.index()).ok_or_else(|| Unsupported::malformed("a host array"))?;
            let bytes = b.len.saturating_mul(b.elem.size() as u64) as i64;
            let next = |w: &mut Self| {
                let p = w.ir.frame(w.frames, k as u32, 4);
                let p = w.ir.beyond(p, bytes);
                w.ir.set_frame(w.frames, k as u32, p);
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
