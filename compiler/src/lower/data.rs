//! Moving elements: `transpose`, strided `slice`, `broadcast`, `concat` and `gather`.

use super::{Lowering, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::kernel::{Emit, Index, KernelBuilder, Parallel, ScalarOp, Val};

/// Loops over `extents`, outermost first; `body` is given the loop variables.
pub(crate) fn nest(
    b: &mut KernelBuilder,
    extents: &[u64],
    vars: &mut Vec<Val>,
    body: &mut dyn FnMut(&mut KernelBuilder, &[Val]),
) {
    match extents.split_first() {
        None => body(b, vars),
        Some((n, rest)) => b.for_count(*n, false, |b, v| {
            vars.push(v);
            nest(b, rest, vars, body);
            vars.pop();
        }),
    }
}

fn row_major(extents: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; extents.len()];
    for k in (1..extents.len()).rev() {
        strides[k - 1] = strides[k] * extents[k];
    }
    strides
}

impl Lowering<'_> {
    /// Ops whose result is its operands' elements read with other strides.
    pub fn copy(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let y = node.results[0];
        let shape = self.facts.extents(y);
        let of = |x: ValueId| row_major(&self.facts.extents(x));
        match &node.op {
            Op::Transpose { perm } => {
                let strides = of(node.args[0]);
                let strides: Vec<u64> = perm.iter().map(|p| strides[*p]).collect();
                self.strided_copy(node, node.args[0], &shape, &strides, 0, 0)
            }
            Op::Slice { start, step, .. } => {
                let strides = of(node.args[0]);
                let first = start.iter().zip(&strides).map(|(a, s)| a * s).sum();
                let strides: Vec<u64> = strides.iter().zip(step).map(|(s, k)| s * k).collect();
                self.strided_copy(node, node.args[0], &shape, &strides, first, 0)
            }
            Op::Broadcast { .. } => {
                let (extents, strides) = (self.facts.extents(node.args[0]), of(node.args[0]));
                let missing = shape.len() - extents.len();
                let strides: Vec<u64> = (0..shape.len())
                    .map(|d| if d < missing || extents[d - missing] == 1 { 0 } else { strides[d - missing] })
                    .collect();
                self.strided_copy(node, node.args[0], &shape, &strides, 0, 0)
            }
            Op::Concat { axis } => {
                let to = row_major(&shape);
                let mut first = 0;
                for x in &node.args {
                    let extents = self.facts.extents(*x);
                    let strides = row_major(&extents);
                    self.strided_copy(node, *x, &extents, &strides, 0, first * to[*axis])?;
                    first += extents[*axis];
                }
                Ok(())
            }
            op => Err(unsupported(op)),
        }
    }

    /// Copies `extents` elements of `x`, read from `first` with `strides`, to the result from element `to`, which has the
    /// result's own strides.
    fn strided_copy(
        &mut self,
        node: &Node,
        x: ValueId,
        extents: &[u64],
        strides: &[u64],
        first: u64,
        to: u64,
    ) -> Result<(), Diagnostic> {
        let y = node.results[0];
        let targets = row_major(&self.facts.extents(y));
        let out = self.home(y)?;
        let splat = self.facts.splat(x);
        let source = if splat.is_some() { None } else { Some(self.memory(x)?) };
        let name = format!("{} {}", node.op.info().name, self.facts.graph().name_of(y));
        let (outer, inner) = match extents.split_last() {
            Some((n, rest)) => (rest, *n),
            None => (extents, 1),
        };
        // The outermost loop is the one that is split.
        let split = outer.first().copied();
        let mut b = KernelBuilder::new(name, split.map(|n| Parallel { len: n, align: 1 }), 1);
        let along = |vars: &[Val], last: Val, strides: &[u64], offset: u64| {
            let mut at = Index::at(offset as i64);
            for (v, s) in vars.iter().zip(strides) {
                at = at.plus(*v, *s as i64);
            }
            match strides.last() {
                Some(s) => at.plus(last, *s as i64),
                None => at,
            }
        };
        let mut row = |b: &mut KernelBuilder, vars: &[Val]| {
            b.for_count(inner, true, |b, i| {
                let v = match (&source, splat) {
                    (Some(m), _) => m.load(b, along(vars, i, strides, first)),
                    (None, Some(k)) => b.constant(k),
                    (None, None) => return,
                };
                b.store(out, along(vars, i, &targets, to), v);
            });
        };
        if split.is_some() {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, v| nest(b, &outer[1..], &mut vec![v], &mut row));
        } else {
            row(&mut b, &[]);
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// `gather(x, index)`: an index out of range is clamped.
    pub fn gather(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Gather { axis } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, index, y) = (node.args[0], node.args[1], node.results[0]);
        let extents = self.facts.extents(x);
        let outer: u64 = extents[..axis].iter().product();
        let inner: u64 = extents[axis + 1..].iter().product();
        let n = self.facts.count(index);
        let (source, picks, out) = (self.memory(x)?, self.memory(index)?, self.home(y)?);
        let mut b = KernelBuilder::new(format!("gather {}", self.facts.graph().name_of(y)), None, 1);
        let last = b.index(extents[axis] as i64 - 1);
        let zero = b.index(0);
        b.for_count(n, false, |b, k| {
            let at = picks.load(b, Index::var(k));
            let at = match b.type_of(at) {
                nc_ir::kernel::ScalarType::I32 => b.op(ScalarOp::I32ToI64, &[at]),
                _ => at,
            };
            let below = b.op(ScalarOp::ILt, &[at, zero]);
            let at = b.op(ScalarOp::Select, &[below, zero, at]);
            let above = b.op(ScalarOp::IGt, &[at, last]);
            let at = b.op(ScalarOp::Select, &[above, last, at]);
            b.for_count(outer, false, |b, o| {
                b.for_count(inner, true, |b, i| {
                    let from = Index::var(i).plus(at, inner as i64).plus(o, (inner * extents[axis]) as i64);
                    let v = source.load(b, from);
                    b.store(out, Index::var(i).plus(k, inner as i64).plus(o, (inner * n) as i64), v);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}
