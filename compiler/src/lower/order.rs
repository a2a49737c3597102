//! Ops that go through elements one after another: `scatter`, `cumulate` and `argsort`.

use super::reduction::{Run, element};
use super::{Lowering, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, ValueId, expand};
use nc_ir::kernel::{Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::types::DType;

impl Lowering<'_> {
    /// `scatter(x, index, updates)`: each part applies the updates of its own range, in their order.
    pub fn scatter_updates(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Scatter { kind } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, index, updates, y) = (node.args[0], node.args[1], node.args[2], node.results[0]);
        let (len, count) = (self.facts.count(x), self.facts.count(index));
        if len == 0 {
            return Ok(());
        }
        let elem = self.elem(x);
        let (source, picks, new, out) = (self.memory(x)?, self.memory(index)?, self.memory(updates)?, self.home(y)?);
        let name = format!("scatter {}", self.facts.graph().name_of(y));
        let mut b = KernelBuilder::new(name, Some(Parallel { len, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, true, |b, i| {
            let v = source.load(b, Index::var(i));
            b.store(out, Index::var(i), v);
        });
        b.for_count(count, false, |b, k| {
            let at = picks.load(b, Index::var(k));
            let (from, below) = (b.op(ScalarOp::IGe, &[at, lo]), b.op(ScalarOp::ILt, &[at, hi]));
            let inside = b.op(ScalarOp::And, &[from, below]);
            b.if_then(inside, |b| {
                let mut v = new.load(b, Index::var(k));
                if let Some(op) = kind.op() {
                    let old = b.load(out, elem, Index::var(at));
                    v = expand::elementwise(b, &op, &[old, v], &[elem; 2], elem);
                }
                b.store(out, Index::var(at), v);
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// The elements along an axis, and the number of lines along it.
    fn lines(&self, x: ValueId, axis: usize) -> (Run, u64) {
        let extents = self.facts.extents(x);
        let run = Run { count: extents[axis], stride: extents[axis + 1..].iter().product() };
        (run, extents[..axis].iter().product::<u64>() * run.stride)
    }

    /// `cumulate(x)`: a line at a time.
    pub fn cumulate(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Cumulate { kind, axis, exclusive, reverse } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, y) = (node.args[0], node.results[0]);
        let ((run, lines), elem) = (self.lines(x, axis), self.elem(x));
        if run.count * lines == 0 {
            return Ok(());
        }
        let (source, out) = (self.memory(x)?, self.home(y)?);
        let (op, start) = kind.op();
        let name = format!("cumulate {}", self.facts.graph().name_of(y));
        let mut b = KernelBuilder::new(name, Some(Parallel { len: lines, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, o| {
            let base = element(b, o, run);
            let start = b.constant(expand::number(elem, start));
            let (from, to, last) = (b.index(0), b.index(run.count as i64), b.index(run.count as i64 - 1));
            b.for_carried(from, to, &[start], |b, k, sum| {
                let k = if reverse { b.op(ScalarOp::ISub, &[last, k]) } else { k };
                let at = base.clone().plus(k, run.stride as i64);
                let v = source.load(b, at.clone());
                let next = expand::elementwise(b, &op, &[sum[0], v], &[elem; 2], elem);
                b.store(out, at, if exclusive { sum[0] } else { next });
                vec![next]
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// `argsort(x)`: each line by merging runs of 1, 2, 4, .. positions from the result into a buffer, and back.
    pub fn argsort(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Argsort { axis, descending } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, y) = (node.args[0], node.results[0]);
        let ((run, lines), elem) = (self.lines(x, axis), self.elem(x));
        if run.count * lines == 0 {
            return Ok(());
        }
        let (source, out) = (self.memory(x)?, self.home(y)?);
        let name = self.facts.graph().name_of(y);
        let merged = self.program.add_buffer(format!("{name}.merged"), DType::I64, run.count * lines, Role::Temp);
        let mut b = KernelBuilder::new(format!("argsort {name}"), Some(Parallel { len: lines, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        let passes = u64::from(run.count.next_power_of_two().trailing_zeros());
        b.for_loop(lo, hi, false, |b, o| {
            let base = element(b, o, run);
            let at = |k: Val| base.clone().plus(k, run.stride as i64);
            b.for_count(run.count, false, |b, k| b.store(out, at(k), k));
            b.for_count(passes, false, |b, pass| {
                let (zero, one, n) = (b.index(0), b.index(1), b.index(run.count as i64));
                let width = b.op(ScalarOp::Shl, &[one, pass]);
                let twice = b.op(ScalarOp::IAdd, &[width, width]);
                let log = b.op(ScalarOp::IAdd, &[pass, one]);
                let up = b.op(ScalarOp::IAdd, &[n, twice]);
                let up = b.op(ScalarOp::ISub, &[up, one]);
                let blocks = b.op(ScalarOp::ShrU, &[up, log]);
                b.for_loop(zero, blocks, false, |b, block| {
                    let first = b.op(ScalarOp::IMul, &[block, twice]);
                    let middle = b.op(ScalarOp::IAdd, &[first, width]);
                    let middle = at_most(b, middle, n);
                    let end = b.op(ScalarOp::IAdd, &[first, twice]);
                    let end = at_most(b, end, n);
                    let (last_left, last) = (b.op(ScalarOp::ISub, &[middle, one]), b.op(ScalarOp::ISub, &[end, one]));
                    b.for_carried(first, end, &[first, middle], |b, k, heads| {
                        // An exhausted run is read at its last place, and not taken.
                        let (i, j) = (at_most(b, heads[0], last_left), at_most(b, heads[1], last));
                        let (left, right) = (b.load(out, DType::I64, at(i)), b.load(out, DType::I64, at(j)));
                        let (u, v) = (source.load(b, at(left)), source.load(b, at(right)));
                        let earlier = before(b, elem, v, u, descending);
                        let there = b.op(ScalarOp::ILt, &[heads[1], end]);
                        let done = b.op(ScalarOp::IGe, &[heads[0], middle]);
                        let wanted = b.op(ScalarOp::Or, &[earlier, done]);
                        let take = b.op(ScalarOp::And, &[wanted, there]);
                        let position = b.op(ScalarOp::Select, &[take, right, left]);
                        b.store(merged, at(k), position);
                        let by = b.op(ScalarOp::Select, &[take, one, zero]);
                        let rest = b.op(ScalarOp::ISub, &[one, by]);
                        vec![b.op(ScalarOp::IAdd, &[heads[0], rest]), b.op(ScalarOp::IAdd, &[heads[1], by])]
                    });
                });
                b.for_count(run.count, false, |b, k| {
                    let position = b.load(merged, DType::I64, at(k));
                    b.store(out, at(k), position);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}

fn at_most(b: &mut KernelBuilder, x: Val, limit: Val) -> Val {
    let above = b.op(ScalarOp::IGt, &[x, limit]);
    b.op(ScalarOp::Select, &[above, limit, x])
}

/// Whether `u` must stand before `v`: strictly, NaN being greater than every number.
fn before(b: &mut KernelBuilder, elem: DType, u: Val, v: Val, descending: bool) -> Val {
    let (lesser, greater) = if descending { (v, u) } else { (u, v) };
    let less = expand::elementwise(b, &Op::Lt, &[lesser, greater], &[elem; 2], DType::Bool);
    if !elem.is_float() {
        return less;
    }
    let nan = b.op(ScalarOp::FUno, &[greater, greater]);
    let other = b.op(ScalarOp::FUno, &[lesser, lesser]);
    let number = b.op(ScalarOp::Not, &[other]);
    let above = b.op(ScalarOp::And, &[nan, number]);
    b.op(ScalarOp::Or, &[less, above])
}
