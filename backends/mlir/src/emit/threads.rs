//! Kernels that several threads run together: the threads of a block, or of a grid of blocks, see [`Shape`].
//!
//! Threads of a block meet before and after whatever writes, so that all read the same.

use super::{Emitted, Emitter};
use crate::gpu::{Shape, pushes};
use crate::ir::{Cmp, V, Write};
use nc_ir::kernel::{Block, Stmt, Val};

/// Which thread this is.
#[derive(Clone, Copy)]
pub(crate) struct Threads<'c> {
    /// Its number, an `i64`.
    pub id: V<'c>,
    /// How many there are.
    pub count: V<'c>,
    /// How they are arranged.
    pub shape: Shape,
    /// How the threads of a block meet.
    pub meet: Meet<'c>,
}

/// How threads meet.
#[derive(Clone, Copy)]
pub(crate) enum Meet<'c> {
    /// By an instruction of a graphics processor.
    Gpu,
    /// By a call: function and argument.
    Call(V<'c>, V<'c>),
}

/// Whether a block has a vector loop in it.
fn divides(block: &Block) -> bool {
    block.stmts.iter().any(|s| match s {
        Stmt::For { vector, body, .. } => *vector || divides(body),
        Stmt::Events { wide, one, .. } => divides(&one.body) || wide.as_ref().is_some_and(|w| divides(&w.body)),
        Stmt::If { then_body, else_body, .. } => divides(then_body) || divides(else_body),
        _ => false,
    })
}

impl<'c> Emitter<'c, '_> {
    fn meet(&mut self, threads: Threads<'c>) {
        match (threads.shape, threads.meet) {
            (Shape::Grid | Shape::Parts, _) => {}
            (Shape::Block, Meet::Gpu) => drop(self.ir.raw("gpu.barrier", &[], &[], &[], Vec::new())),
            (Shape::Block, Meet::Call(function, argument)) => self.ir.call_pointer(function, &[argument]),
        }
    }

    /// Has the first thread alone do something that writes.
    fn alone(&mut self, threads: Threads<'c>, body: impl FnOnce(&mut Self) -> Emitted<()>) -> Emitted<()> {
        self.meet(threads);
        let first = self.ir.cmp_k(Cmp::Eq, threads.id, 0);
        self.threads = None;
        let done = self.when(first, body);
        self.threads = Some(threads);
        self.meet(threads);
        done
    }

    /// Emits a statement that threads do together, if it is one that they do not all do alike. Inside what one thread does
    /// for itself, `self.threads` is absent.
    pub(super) fn together(&mut self, s: &Stmt) -> Emitted<bool> {
        let Some(threads) = self.threads else { return Ok(false) };
        match s {
            Stmt::Store { .. } | Stmt::Push { .. } | Stmt::Clear { .. } => self.alone(threads, |e| e.stmt(s))?,
            Stmt::For { vector: true, body, .. } if pushes(body) => self.alone(threads, |e| e.stmt(s))?,
            Stmt::For { var, lo, hi, vector: true, body, .. } => self.share(threads, *var, (*lo, *hi), body)?,
            // Nothing in it to divide, and nothing that later statements need.
            Stmt::For { carried, body, .. } if carried.is_empty() && !divides(body) => {
                self.alone(threads, |e| e.stmt(s))?;
            }
            Stmt::Events { wide, one, .. }
                if !divides(&one.body) && !wide.as_ref().is_some_and(|w| divides(&w.body)) =>
            {
                self.alone(threads, |e| e.stmt(s))?;
            }
            Stmt::If { then_body, else_body, .. } if !divides(then_body) && !divides(else_body) => {
                self.alone(threads, |e| e.stmt(s))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Divides the iterations of a vector loop among the threads.
    fn share(&mut self, threads: Threads<'c>, var: Val, (lo, hi): (Val, Val), body: &Block) -> Emitted<()> {
        let i64 = nc_ir::kernel::ScalarType::I64;
        let (lo, hi) = (self.typed(lo, i64)?, self.typed(hi, i64)?);
        self.meet(threads);
        let first = self.ir.add(lo, threads.id);
        self.threads = None;
        let done = self.for_steps((first, hi, threads.count), &[], |e, i, _| {
            e.index(var, i)?;
            e.block(body)?;
            Ok(Vec::new())
        });
        self.threads = Some(threads);
        self.meet(threads);
        done.map(drop)
    }
}
