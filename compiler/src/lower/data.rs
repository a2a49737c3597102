//! Moving elements: `transpose`, strided `slice`, `broadcast`, `concat`, `pad` and `gather`.

use super::contraction::tile::register;
use super::homes::Memory;
use super::{ALIGN, Lowering, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, Scalar, ScalarOp, Val};

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

/// Elements from one step along each axis of a row-major tensor to the next.
pub(crate) fn row_major(extents: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; extents.len()];
    for k in (1..extents.len()).rev() {
        strides[k - 1] = strides[k] * extents[k];
    }
    strides
}

/// Quotient and remainder of `v`, which is not negative, by a constant.
pub(crate) fn divided(b: &mut KernelBuilder, v: Val, by: u64) -> (Val, Val) {
    if by <= 1 {
        return (v, b.index(0));
    }
    let n = b.index(by as i64);
    let q = b.op(ScalarOp::IDiv, &[v, n]);
    let past = b.op(ScalarOp::IMul, &[q, n]);
    (q, b.op(ScalarOp::ISub, &[v, past]))
}

/// The remainder of `v`, which is not negative, by a constant.
pub(crate) fn remainder(b: &mut KernelBuilder, v: Val, by: u64) -> Val {
    divided(b, v, by).1
}

/// The coordinates of a flat position. While the product of all extents is below 2^32, a quotient by n is the upper half of
/// a product with `floor(2^64 / n) + 1`.
pub(crate) fn apart(b: &mut KernelBuilder, position: Val, extents: &[u64]) -> Vec<Val> {
    let small = extents.iter().try_fold(1u64, |n, e| n.checked_mul(*e)).is_some_and(|n| n < 1 << 32);
    let mut rest = position;
    let mut out: Vec<Val> = Vec::with_capacity(extents.len());
    for (a, n) in extents.iter().enumerate().rev() {
        if a == 0 {
            out.push(rest);
        } else if !small || *n <= 1 {
            let (q, r) = divided(b, rest, *n);
            out.push(r);
            rest = q;
        } else {
            let inverse = b.index((u64::MAX / n + 1) as i64);
            let size = b.index(*n as i64);
            let q = b.op(ScalarOp::UMulHi, &[rest, inverse]);
            let past = b.op(ScalarOp::IMul, &[q, size]);
            out.push(b.op(ScalarOp::ISub, &[rest, past]));
            rest = q;
        }
    }
    out.reverse();
    out
}

/// What padding is filled with.
#[derive(Clone, Copy)]
pub(crate) enum Fill {
    /// A constant of the register type.
    Known(Scalar),
    /// The first element of a value.
    Read(Memory),
}

/// `planes` tensors of `extents`, each with padding around and between its elements.
pub(crate) struct Frame<'a> {
    pub planes: u64,
    pub extents: &'a [u64],
    pub low: &'a [u64],
    pub high: &'a [u64],
    pub interior: &'a [u64],
}

impl Frame<'_> {
    /// The padded extents.
    fn outer(&self) -> Vec<u64> {
        (0..self.extents.len()).map(|a| self.low[a] + self.span(a) + self.high[a]).collect()
    }

    /// Elements from the first of an axis to the last.
    fn span(&self, a: usize) -> u64 {
        self.extents[a] + self.extents[a].saturating_sub(1) * self.interior[a]
    }

    /// Elements of all planes with their padding.
    ///
    /// # Errors
    /// `E0702` if a program cannot address as many.
    pub fn elements(&self, op: &Op) -> Result<u64, Diagnostic> {
        let n = self.outer().iter().try_fold(self.planes, |n, e| n.checked_mul(*e));
        n.filter(|n| *n < 1 << 48).ok_or_else(|| {
            Diagnostic::error_nowhere("E0702", format!("`{}` has more padding than memory can hold", op.info().name))
                .with_hint("the interpreter runs it: use `--target interp`")
        })
    }

    /// The first axis from which on nothing is padded.
    fn plain_from(&self) -> usize {
        (0..self.extents.len()).rev().find(|a| self.pads(*a)).map_or(0, |a| a + 1)
    }

    /// True if axis `a` is padded.
    fn pads(&self, a: usize) -> bool {
        self.low[a] > 0 || self.high[a] > 0 || self.interior[a] > 0
    }
}

/// Writes a frame: what it is made of and where.
struct Framing<'a> {
    frame: &'a Frame<'a>,
    input: Memory,
    value: Val,
    out: BufId,
    /// Elements from one step along each axis to the next, of the input and of the output.
    steps: (Vec<u64>, Vec<u64>),
}

impl Framing<'_> {
    fn fill(&self, b: &mut KernelBuilder, to: &Index, count: u64) {
        if count > 0 {
            b.for_count(count, true, |b, j| b.store(self.out, to.clone().plus(j, 1), self.value));
        }
    }

    /// Axes `a` and up of the block that is read from `from` and written to `to`.
    fn block(&self, b: &mut KernelBuilder, a: usize, from: Index, to: Index) {
        let (f, (read, written)) = (self.frame, &self.steps);
        if a == f.plain_from() {
            let n: u64 = f.extents[a..].iter().product();
            if n > 0 {
                b.for_count(n, true, |b, j| {
                    let v = self.input.load(b, from.clone().plus(j, 1));
                    b.store(self.out, to.clone().plus(j, 1), v);
                });
            }
            return;
        }
        let n = f.extents[a];
        // Without neighbours the interior is not used; it may be too large for an index.
        let step = if n > 1 { written[a] * (1 + f.interior[a]) } else { 0 };
        self.fill(b, &to, f.low[a] * written[a]);
        let first = to.clone().offset((f.low[a] * written[a]) as i64);
        if n > 0 {
            b.for_count(n, false, |b, i| {
                self.block(b, a + 1, from.clone().plus(i, read[a] as i64), first.clone().plus(i, step as i64));
            });
        }
        if n > 1 && f.interior[a] > 0 {
            b.for_count(n - 1, false, |b, i| {
                let gap = first.clone().plus(i, step as i64).offset(written[a] as i64);
                self.fill(b, &gap, f.interior[a] * written[a]);
            });
        }
        let last = first.offset((f.span(a) * written[a]) as i64);
        self.fill(b, &last, f.high[a] * written[a]);
    }
}

impl Lowering<'_> {
    /// `pad(x, value)`.
    pub fn pad(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Pad { low, high, interior } = &node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, value, y) = (node.args[0], node.args[1], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        let extents = self.facts.extents(x);
        let frame = Frame { planes: 1, extents: &extents, low, high, interior };
        // The parts share what stands before the first padded axis.
        let plain = (0..extents.len()).take_while(|a| !frame.pads(*a)).count();
        let frame = Frame {
            planes: extents[..plain].iter().product(),
            extents: &extents[plain..],
            low: &low[plain..],
            high: &high[plain..],
            interior: &interior[plain..],
        };
        let (input, value, out) = (self.memory(x)?, self.memory(value)?, self.home(y)?);
        self.framed(format!("pad {}", self.facts.graph().name_of(y)), &frame, input, Fill::Read(value), out);
        Ok(())
    }

    /// Writes the kernel that copies `input` into a frame whose padding is `value`.
    pub fn framed(&mut self, name: String, frame: &Frame<'_>, input: Memory, value: Fill, out: BufId) {
        let parallel = (frame.planes > 1).then_some(Parallel { len: frame.planes, align: 1 });
        let mut b = KernelBuilder::new(name, parallel, 1);
        let value = match value {
            Fill::Read(m) => m.load(&mut b, Index::default()),
            Fill::Known(k) => b.constant(k),
        };
        let outer = frame.outer();
        let framing = Framing { frame, input, value, out, steps: (row_major(frame.extents), row_major(&outer)) };
        let (read, written) = (frame.extents.iter().product::<u64>(), outer.iter().product::<u64>());
        if parallel.is_some() {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, plane| {
                let from = Index::default().plus(plane, read as i64);
                framing.block(b, 0, from, Index::default().plus(plane, written as i64));
            });
        } else if frame.planes == 1 {
            framing.block(&mut b, 0, Index::default(), Index::default());
        }
        self.program.push(b.finish());
    }

    /// The elements of a value in the type of their register: where they are, or in a copy.
    ///
    /// # Errors
    /// As [`Lowering::home`].
    pub fn wide(&mut self, x: ValueId) -> Result<Memory, Diagnostic> {
        let input = self.memory(x)?;
        let elem = register(input.elem);
        if elem == input.elem {
            return Ok(input);
        }
        let (name, n) = (self.facts.graph().name_of(x), self.facts.count(x));
        let out = self.program.add_buffer(format!("{name}.wide"), elem, n, Role::Temp);
        let mut b = KernelBuilder::new(format!("widen {name}"), Some(Parallel { len: n, align: ALIGN }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, true, |b, i| {
            let v = input.load(b, Index::var(i));
            b.store(out, Index::var(i), v);
        });
        self.program.push(b.finish());
        Ok(Memory::whole(out, elem))
    }

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
        let from = match self.facts.splat(x) {
            Some(k) => Fill::Known(k),
            None => Fill::Read(self.memory(x)?),
        };
        let name = format!("{} {}", node.op.info().name, self.facts.graph().name_of(y));
        self.strided(name, extents, (from, strides, first), (out, &targets, to));
        Ok(())
    }

    /// A copy of `x`, whose elements are at `source`, with its axes permuted.
    pub fn permuted(&mut self, x: ValueId, source: Memory, perm: &[usize]) -> Result<Memory, Diagnostic> {
        let (extents, name) = (self.facts.extents(x), self.facts.graph().name_of(x));
        let strides = row_major(&extents);
        let (extents, strides): (Vec<u64>, Vec<u64>) = perm.iter().map(|a| (extents[*a], strides[*a])).unzip();
        let out = self.program.add_buffer(format!("{name}.permuted"), source.elem, self.facts.count(x), Role::Temp);
        let to = row_major(&extents);
        self.strided(format!("permute {name}"), &extents, (Fill::Read(source), &strides, 0), (out, &to, 0));
        Ok(Memory::whole(out, source.elem))
    }

    /// Writes the kernel that copies `extents` elements from one place with its strides and first element to another.
    fn strided(
        &mut self,
        name: String,
        extents: &[u64],
        (source, strides, first): (Fill, &[u64], u64),
        (out, targets, to): (BufId, &[u64], u64),
    ) {
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
                let v = match source {
                    Fill::Read(m) => m.load(b, along(vars, i, strides, first)),
                    Fill::Known(k) => b.constant(k),
                };
                b.store(out, along(vars, i, targets, to), v);
            });
        };
        if split.is_some() {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, v| nest(b, &outer[1..], &mut vec![v], &mut row));
        } else {
            row(&mut b, &[]);
        }
        self.program.push(b.finish());
    }

    /// `gather(x, index)`: an index out of range is clamped.
    pub fn gather(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Gather { axis } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, index, y) = (node.args[0], node.args[1], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        let extents = self.facts.extents(x);
        let inner: u64 = extents[axis + 1..].iter().product();
        let n = self.facts.count(index);
        let slices = self.facts.count(y) / inner;
        let (source, picks, out) = (self.memory(x)?, self.memory(index)?, self.home(y)?);
        let parallel = (slices > 1).then_some(Parallel { len: slices, align: if inner == 1 { ALIGN } else { 1 } });
        let mut b = KernelBuilder::new(format!("gather {}", self.facts.graph().name_of(y)), parallel, 1);
        let slice = |b: &mut KernelBuilder, s: Val| {
            let (block, k) = if slices == n { (b.index(0), s) } else { divided(b, s, n) };
            let last = b.index(extents[axis] as i64 - 1);
            let zero = b.index(0);
            let at = picks.load(b, Index::var(k));
            let at = match b.type_of(at) {
                nc_ir::kernel::ScalarType::I32 => b.op(ScalarOp::I32ToI64, &[at]),
                _ => at,
            };
            let below = b.op(ScalarOp::ILt, &[at, zero]);
            let at = b.op(ScalarOp::Select, &[below, zero, at]);
            let above = b.op(ScalarOp::IGt, &[at, last]);
            let at = b.op(ScalarOp::Select, &[above, last, at]);
            b.for_count(inner, true, |b, i| {
                let from = Index::var(i).plus(at, inner as i64).plus(block, (inner * extents[axis]) as i64);
                let v = source.load(b, from);
                b.store(out, Index::var(i).plus(s, inner as i64), v);
            });
        };
        if parallel.is_some() {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, slice);
        } else {
            let zero = b.index(0);
            slice(&mut b, zero);
        }
        self.program.push(b.finish());
        Ok(())
    }
}
