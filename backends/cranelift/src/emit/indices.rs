//! Indices that are read from memory for nothing but addresses: in lanes they never become a vector, whose lanes would have
//! to be taken out again one by one, but are read as whole words that are taken apart.

use super::{Emitted, Emitter};
use crate::error::Unsupported;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use nc_ir::DType;
use nc_ir::kernel::{Block, BufId, Index, Program, ScalarOp, Stmt, Val};
use rustc_hash::{FxHashMap, FxHashSet};

/// What a block tells about values.
#[derive(Default)]
struct Uses {
    /// Loads of unsigned integers, and what they become when widened.
    indices: FxHashSet<Val>,
    /// Used other than in an element index or to be widened.
    otherwise: FxHashSet<Val>,
    /// A widened value, and what it was before.
    widened: Vec<(Val, Val)>,
    stored: FxHashSet<BufId>,
}

impl Uses {
    fn block(&mut self, program: &Program, block: &Block) {
        for s in &block.stmts {
            match s {
                Stmt::Const { .. } => {}
                Stmt::Op { dst, op: ScalarOp::U32ToI64, args } => self.widened.extend(args.first().map(|a| (*dst, *a))),
                Stmt::Op { args, .. } => self.otherwise.extend(args),
                Stmt::Load { dst, buf, .. } => {
                    let elem = program.buffers.get(buf.index()).map(|b| b.elem);
                    if matches!(elem, Some(DType::U16 | DType::U32)) {
                        self.indices.insert(*dst);
                    }
                }
                Stmt::Store { buf, value, .. } => {
                    self.stored.insert(*buf);
                    self.otherwise.insert(*value);
                }
                Stmt::For { lo, hi, carried, body, .. } => {
                    self.otherwise.extend([*lo, *hi]);
                    self.otherwise.extend(carried.iter().flat_map(|c| [c.init, c.next]));
                    self.block(program, body);
                }
                Stmt::Events { slot, wide, one, .. } => {
                    self.otherwise.insert(*slot);
                    for e in wide.iter().chain([one]) {
                        self.block(program, &e.body);
                    }
                }
                Stmt::Clear { slot, .. } => drop(self.otherwise.insert(*slot)),
                Stmt::Push { slot, cond, index, .. } => self.otherwise.extend([*slot, *cond, *index]),
                Stmt::If { cond, then_body, else_body } => {
                    self.otherwise.insert(*cond);
                    self.block(program, then_body);
                    self.block(program, else_body);
                }
            }
        }
    }
}

/// Values of a kernel that are read from memory and used in element indices alone, and the buffers that it stores to.
pub(super) fn index_only(program: &Program, body: &Block) -> (FxHashSet<Val>, FxHashSet<BufId>) {
    let mut uses = Uses::default();
    uses.block(program, body);
    // In the order of the text, so that what is widened twice is seen.
    for (dst, from) in &uses.widened {
        if uses.indices.contains(from) {
            uses.indices.insert(*dst);
        }
    }
    for (dst, from) in uses.widened.iter().rev() {
        if uses.otherwise.contains(dst) || !uses.indices.contains(dst) {
            uses.otherwise.insert(*from);
        }
    }
    uses.indices.retain(|v| !uses.otherwise.contains(v));
    (uses.indices, uses.stored)
}

/// Where the indices of a loop's lanes lie.
#[derive(Default)]
pub(super) struct Rows(FxHashMap<Val, (BufId, Index)>);

impl Emitter<'_, '_> {
    /// True if a statement only says where indices lie: they are read where an address needs them.
    pub(super) fn is_row_of_indices(&mut self, s: &Stmt) -> bool {
        if self.groups == 0 {
            return false;
        }
        let row = match s {
            Stmt::Load { dst, buf, index } if self.index_only.contains(dst) && self.moves(index) == Some(1) => {
                Some((*dst, (*buf, index.clone())))
            }
            Stmt::Op { dst, op: ScalarOp::U32ToI64, args } => {
                args.first().and_then(|a| self.rows.0.get(a)).cloned().map(|row| (*dst, row))
            }
            _ => None,
        };
        match row {
            Some((dst, row)) => {
                self.rows.0.insert(dst, row);
                true
            }
            None => false,
        }
    }

    /// True if elements of `buf` are read at such indices, and nothing in this kernel writes there: their loads may move
    /// to where they are used, so that few of them are in registers at once.
    pub(super) fn may_move(&self, buf: BufId, index: &Index) -> bool {
        let by_index = |t: &(Val, i64)| self.rows.0.contains_key(&t.0);
        self.groups > 0 && !self.stored.contains(&buf) && index.terms.iter().any(by_index)
    }

    /// True if a block reads elements at such indices: copies of it would keep too many of them at once.
    pub(super) fn reads_by_index(&self, block: &Block) -> bool {
        let by_index = |s: &Stmt| match s {
            Stmt::Load { index, .. } => index.terms.iter().any(|t| self.index_only.contains(&t.0)),
            _ => false,
        };
        block.stmts.iter().any(by_index)
    }

    /// The indices of the lanes of group `u`, if that is what a value is.
    pub(super) fn indices(&mut self, v: Val, u: usize) -> Emitted<Option<[Value; 4]>> {
        let known = if self.groups > 0 { self.rows.0.get(&v).cloned() } else { None };
        let Some((buf, index)) = known else { return Ok(None) };
        let elem = self.buffer_elem(buf)?;
        let ((p, d), flags) = self.row_of(buf, &index, u)?;
        let mut words = Vec::with_capacity(2);
        for k in 0..elem.size() as i32 / 2 {
            words.push(self.b.ins().load(types::I64, flags, p, d + 8 * k));
        }
        let lanes = match (elem, &words[..]) {
            (DType::U16, [w]) => {
                // One after the other, so that each shift can take the register of the one before.
                let mut rest = *w;
                let mut lanes = [*w; 4];
                for lane in &mut lanes[..3] {
                    *lane = self.low(types::I16, rest);
                    rest = self.b.ins().ushr_imm_u(rest, 16);
                }
                lanes[3] = rest;
                lanes
            }
            (DType::U32, [lo, hi]) => {
                let halves = [*lo, *hi].map(|w| [self.low(types::I32, w), self.b.ins().ushr_imm_u(w, 32)]);
                [halves[0][0], halves[0][1], halves[1][0], halves[1][1]]
            }
            _ => return Err(Unsupported::malformed(format!("{v} is no row of indices"))),
        };
        Ok(Some(lanes))
    }

    fn low(&mut self, ty: types::Type, w: Value) -> Value {
        let low = self.b.ins().ireduce(ty, w);
        self.b.ins().uextend(types::I64, low)
    }
}
