//! Combining elements: `reduce`, `argmax`, `argmin` and `pool`.
//!
//! Sums follow the contract: element k of the reduced elements, in row-major order, goes to lane k mod 16; the lanes are
//! added pairwise, eight apart, then four, two and one.

use super::contraction::tile::register;
use super::data::{Fill, Frame, apart, divided, row_major};
use super::homes::{Memory, float};
use super::{Drive, Facts, Lowering, Source, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, PoolKind, ReduceKind, expand};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, Scalar, ScalarOp, ScalarType, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// Partial sums of a reduction.
const LANES: u64 = 16;
/// Outputs side by side from which on they are computed side by side.
const COLUMNS: u64 = 4;
/// Outputs side by side that a part takes at once.
const CHUNK: u64 = 64;
/// Elements of a window that are written out one after the other.
const UNROLL: u64 = 32;
/// Elements of a sum of columns that are written out one after the other.
const UNROLL_TREE: u64 = 128;

/// The reduced elements of one output: `count` of them, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub count: u64,
    pub stride: u64,
}

/// The events that a sum counts: all elements of a truth value turned into numbers, few enough that every partial sum is
/// exact, so that the order of the sum does not matter.
pub(crate) fn counted(facts: &Facts<'_>, node: &Node) -> Option<Source> {
    let Op::Reduce { kind: ReduceKind::Sum | ReduceKind::Mean, axes, .. } = &node.op else {
        return None;
    };
    let x = node.args[0];
    let whole = axes.len() == facts.ty(x).rank() && (1..=1 << 24).contains(&facts.count(x));
    match facts.drive(x) {
        Drive::Spikes(source) if whole && facts.ty(x).dtype == DType::F32 => Some(source),
        _ => None,
    }
}

impl Lowering<'_> {
    /// The sum (or mean) of spikes: their number.
    fn count(&mut self, node: &Node, kind: ReduceKind, source: Source) -> Result<(), Diagnostic> {
        let (x, y) = (node.args[0], node.results[0]);
        let (list, back) = self.events_of(source)?;
        let out = self.home(y)?;
        let mut b = KernelBuilder::new(format!("count {}", self.facts.graph().name_of(y)), None, 1);
        let (zero, one) = (float(&mut b, DType::F32, 0.0), float(&mut b, DType::F32, 1.0));
        b.store(out, Index::default(), zero);
        let slot = self.slot(&mut b, list, back);
        b.events(list, slot, 1, |b, _| {
            let n = b.load(out, DType::F32, Index::default());
            let n = b.op(ScalarOp::FAdd, &[n, one]);
            b.store(out, Index::default(), n);
        });
        if kind == ReduceKind::Mean {
            let n = b.load(out, DType::F32, Index::default());
            let n = divide(&mut b, n, self.facts.count(x));
            b.store(out, Index::default(), n);
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// `reduce(x)`.
    pub fn reduce(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Reduce { kind, axes, .. } = &node.op else {
            return Err(unsupported(&node.op));
        };
        if let Some(source) = counted(&self.facts, node) {
            return self.count(node, *kind, source);
        }
        let (x, y) = (node.args[0], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        let mut extents = self.facts.extents(x);
        let mut axes = axes.clone();
        axes.sort_unstable();
        let mut source = self.memory(x)?;
        let adjacent = axes.windows(2).all(|p| p[0] + 1 == p[1]);
        if !adjacent {
            // The reduced axes go last.
            let mut perm: Vec<usize> = (0..extents.len()).filter(|a| !axes.contains(a)).collect();
            perm.extend(&axes);
            source = self.permuted(x, source, &perm)?;
            extents = perm.iter().map(|a| extents[*a]).collect();
            axes = (extents.len() - axes.len()..extents.len()).collect();
        }
        let (first, end) = match (axes.first(), axes.last()) {
            (Some(a), Some(b)) => (*a, *b + 1),
            _ => (0, 0),
        };
        let run = Run { count: extents[first..end].iter().product(), stride: extents[end..].iter().product() };
        let outer: u64 = extents[..first].iter().product();
        let (elem, out) = (self.elem(x), self.home(y)?);
        if run.stride >= COLUMNS {
            self.reduce_columns(*kind, (source, out), outer, run, self.facts.graph().name_of(y));
            return Ok(());
        }
        let name = self.facts.graph().name_of(y);
        let outputs = outer * run.stride;
        let parallel = (outputs > 1).then_some(Parallel { len: outputs, align: 1 });
        let mut b = KernelBuilder::new(format!("reduce {name}"), parallel, 1);
        let lanes = match kind {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Prod => {
                let n = LANES * u64::from(self.program.parts.max(1));
                Some(self.program.add_buffer(format!("{name}.lanes"), register(elem), n, Role::Temp))
            }
            ReduceKind::Max | ReduceKind::Min => None,
        };
        let one = |b: &mut KernelBuilder, o: Val| {
            let base = element(b, o, run);
            let value = match (kind, lanes) {
                (ReduceKind::Max | ReduceKind::Min, _) | (_, None) => {
                    fold(b, source, &base, run, *kind == ReduceKind::Max)
                }
                (kind, Some(lanes)) => {
                    let sum = lane_sum(b, source, &base, run, lanes, *kind == ReduceKind::Prod);
                    if *kind == ReduceKind::Mean { divide(b, sum, run.count) } else { sum }
                }
            };
            b.store(out, Index::var(o), value);
        };
        if parallel.is_some() {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, one);
        } else {
            let zero = b.index(0);
            one(&mut b, zero);
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// A reduction whose outputs lie side by side, as its inputs do.
    fn reduce_columns(&mut self, kind: ReduceKind, (source, out): (Memory, BufId), outer: u64, run: Run, name: String) {
        let chunks = run.stride.div_ceil(CHUNK);
        let parallel = Parallel { len: outer * chunks, align: 1 };
        let mut b = KernelBuilder::new(format!("reduce {name}"), Some(parallel), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, item| {
            let (row, chunk) = divided(b, item, chunks);
            let size = b.index(CHUNK as i64);
            let from = b.op(ScalarOp::IMul, &[chunk, size]);
            let (to, end) = (b.op(ScalarOp::IAdd, &[from, size]), b.index(run.stride as i64));
            let past = b.op(ScalarOp::IGt, &[to, end]);
            let to = b.op(ScalarOp::Select, &[past, end, to]);
            b.for_loop(from, to, true, |b, column| {
                let base = Index::var(column).plus(row, (run.count * run.stride) as i64);
                let value = match kind {
                    ReduceKind::Max | ReduceKind::Min => fold(b, source, &base, run, kind == ReduceKind::Max),
                    ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Prod => {
                        let sum = tree_sum(b, source, &base, run, (0, 1), kind == ReduceKind::Prod);
                        if kind == ReduceKind::Mean { divide(b, sum, run.count) } else { sum }
                    }
                };
                b.store(out, Index::var(column).plus(row, run.stride as i64), value);
            });
        });
        self.program.push(b.finish());
    }

    /// `argmax(x)` and `argmin(x)` along one axis.
    pub fn arg_extreme(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let (axis, last, better) = match node.op {
            Op::Argmax { axis, last, .. } => (axis, last, Op::Gt),
            Op::Argmin { axis, last, .. } => (axis, last, Op::Lt),
            _ => return Err(unsupported(&node.op)),
        };
        let (x, y) = (node.args[0], node.results[0]);
        let outputs = self.facts.count(y);
        if outputs == 0 {
            return Ok(());
        }
        let extents = self.facts.extents(x);
        let elem = self.elem(x);
        let run = Run { count: extents[axis], stride: extents[axis + 1..].iter().product() };
        let (source, out) = (self.memory(x)?, self.home(y)?);
        let mut b = KernelBuilder::new(
            format!("{} {}", node.op.info().name, self.facts.graph().name_of(y)),
            Some(Parallel { len: outputs, align: 1 }),
            1,
        );
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, o| {
            let base = element(b, o, run);
            let first = source.load(b, base.clone());
            let (from, to, zero) = (b.index(1), b.index(run.count as i64), b.index(0));
            let best = b.for_carried(from, to, &[first, zero], |b, i, best| {
                let v = source.load(b, base.clone().plus(i, run.stride as i64));
                // With `last`, what is as good as the best so far takes its place.
                let take = if last {
                    let worse = before(b, &better, elem, best[0], v);
                    b.op(ScalarOp::Not, &[worse])
                } else {
                    before(b, &better, elem, v, best[0])
                };
                vec![b.op(ScalarOp::Select, &[take, v, best[0]]), b.op(ScalarOp::Select, &[take, i, best[1]])]
            });
            b.store(out, Index::var(o), best[1]);
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// `pool(x)`: rows of windows, vectorised along the last axis. The input stands in a frame of values that change
    /// nothing, +0 for sums and the least value for `max`.
    pub fn pool(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Pool { kind, size, stride, pad, dilation } = &node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, y) = (node.args[0], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        let (ex, ey) = (self.facts.extents(x), self.facts.extents(y));
        let (n, elem) = (size.len(), self.elem(x));
        let (lead, space) = ex.split_at(ex.len() - n);
        let (planes, positions) = (lead.iter().product::<u64>(), &ey[ex.len() - n..]);
        let (mut source, out) = (self.memory(x)?, self.home(y)?);
        let name = self.facts.graph().name_of(y);
        let mut framed = space.to_vec();
        let nothing = if *kind == PoolKind::Max { expand::least(elem) } else { expand::number(elem, 0) };
        if pad.iter().any(|p| *p > 0) {
            let none = vec![0; n];
            let frame = Frame { planes, extents: space, low: &pad[..n], high: &pad[n..], interior: &none };
            let margins =
                self.program.add_buffer(format!("{name}.padded"), elem, frame.elements(&node.op)?, Role::Temp);
            self.framed(format!("pad {name}"), &frame, source, Fill::Known(nothing), margins);
            source = Memory::whole(margins, elem);
            for a in 0..n {
                framed[a] += pad[a] + pad[n + a];
            }
        }
        let counts = match kind {
            PoolKind::Mean => self.counts_inside(&name, node)?,
            PoolKind::Sum | PoolKind::Avg | PoolKind::Max => Vec::new(),
        };
        let (steps, sizes) = (row_major(&framed), row_major(size));
        let taps: u64 = size.iter().product();
        let place = |tap: u64| -> u64 { (0..n).map(|a| tap / sizes[a] % size[a] * dilation[a] * steps[a]).sum() };
        let columns = positions[n - 1];
        let rows: u64 = positions[..n - 1].iter().product();
        let mut b = KernelBuilder::new(format!("pool {name}"), Some(Parallel { len: planes * rows, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, item| {
            let (plane, row) = divided(b, item, rows);
            let outer = apart(b, row, &positions[..n - 1]);
            let mut from = Index::default().plus(plane, framed.iter().product::<u64>() as i64);
            for (a, p) in outer.iter().enumerate() {
                from = from.plus(*p, (stride[a] * steps[a]) as i64);
            }
            let along = outer.iter().zip(&counts).map(|(p, c)| b.load(*c, register(elem), Index::var(*p)));
            let along: Vec<Val> = along.collect();
            b.for_count(columns, true, |b, column| {
                let from = from.clone().plus(column, stride[n - 1] as i64);
                let take = |b: &mut KernelBuilder, at: Index, acc: Val| {
                    let v = source.load(b, at);
                    match kind {
                        PoolKind::Max => larger(b, elem, acc, v, true),
                        PoolKind::Sum | PoolKind::Avg | PoolKind::Mean => add(b, acc, v),
                    }
                };
                let init = b.constant(nothing);
                let acc = if taps <= UNROLL {
                    (0..taps).fold(init, |acc, tap| take(b, from.clone().offset(place(tap) as i64), acc))
                } else {
                    over(b, size, &steps, dilation, from, init, &take)
                };
                let value = match kind {
                    PoolKind::Max | PoolKind::Sum => acc,
                    PoolKind::Avg => divide(b, acc, taps),
                    PoolKind::Mean => {
                        let last = b.load(counts[n - 1], register(elem), Index::var(column));
                        let n = along.iter().fold(last, |n, c| b.op(ScalarOp::FMul, &[n, *c]));
                        b.op(ScalarOp::FDiv, &[acc, n])
                    }
                };
                b.store(out, Index::var(column).plus(item, columns as i64), value);
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// For each spatial axis of a pool and each position along it, how many elements of the window lie inside the input.
    fn counts_inside(&mut self, name: &str, node: &Node) -> Result<Vec<BufId>, Diagnostic> {
        let Op::Pool { size, stride, pad, dilation, .. } = &node.op else {
            return Err(unsupported(&node.op));
        };
        let (ex, ey) = (self.facts.extents(node.args[0]), self.facts.extents(node.results[0]));
        let first = ex.len() - size.len();
        let elem = register(self.elem(node.results[0]));
        let mut out = Vec::new();
        for a in 0..size.len() {
            let (n, positions) = (ex[first + a], ey[first + a]);
            let inside = |p: u64| {
                let taps = (0..size[a]).filter(|k| {
                    let at = (p * stride[a] + k * dilation[a]).checked_sub(pad[a]);
                    at.is_some_and(|at| at < n)
                });
                taps.count() as f64
            };
            let shape = vec![positions as usize];
            let counts = (0..positions).map(inside);
            let t = match elem {
                DType::F64 => Tensor::from_vec(shape, counts.collect::<Vec<f64>>()),
                _ => Tensor::from_vec(shape, counts.map(|n| n as f32).collect::<Vec<f32>>()),
            };
            let t = t.ok_or_else(|| self.bug("a table of counts has another length"))?;
            out.push(self.program.add_buffer(format!("{name}.counts{a}"), elem, positions, Role::Const(t)));
        }
        Ok(out)
    }
}

/// Index of the first reduced element of output `o`: outputs run over the outer axes, then the `stride` inner elements.
pub(super) fn element(b: &mut KernelBuilder, o: Val, run: Run) -> Index {
    if run.stride == 1 {
        return Index::default().plus(o, run.count as i64);
    }
    let inner = b.index(run.stride as i64);
    let row = b.op(ScalarOp::IDiv, &[o, inner]);
    let col = b.op(ScalarOp::IRem, &[o, inner]);
    Index::var(col).plus(row, (run.count * run.stride) as i64)
}

/// `a + b` in a register type.
fn add(b: &mut KernelBuilder, x: Val, y: Val) -> Val {
    match b.type_of(x) {
        ScalarType::F32 | ScalarType::F64 => b.op(ScalarOp::FAdd, &[x, y]),
        ScalarType::I32 | ScalarType::I64 | ScalarType::Bool => b.op(ScalarOp::IAdd, &[x, y]),
    }
}

/// Loops over the elements of a window, row-major, carrying one value.
fn over(
    b: &mut KernelBuilder,
    size: &[u64],
    steps: &[u64],
    dilation: &[u64],
    from: Index,
    acc: Val,
    take: &dyn Fn(&mut KernelBuilder, Index, Val) -> Val,
) -> Val {
    match size.split_first() {
        None => take(b, from, acc),
        Some((n, rest)) => {
            let (zero, end) = (b.index(0), b.index(*n as i64));
            b.for_carried(zero, end, &[acc], |b, k, acc| {
                let from = from.clone().plus(k, (dilation[0] * steps[0]) as i64);
                vec![over(b, rest, &steps[1..], &dilation[1..], from, acc[0], take)]
            })[0]
        }
    }
}

/// What a sum (or product) of this type is made with.
fn combination(elem: DType, product: bool) -> ScalarOp {
    match (elem.is_float(), product) {
        (true, false) => ScalarOp::FAdd,
        (true, true) => ScalarOp::FMul,
        (false, false) => ScalarOp::IAdd,
        (false, true) => ScalarOp::IMul,
    }
}

/// The sum (or product) of every `apart`th of the 16 interleaved lanes from lane `first` on: the tree depth first, so that
/// few values are alive at once.
fn tree_sum(
    b: &mut KernelBuilder,
    source: Memory,
    base: &Index,
    run: Run,
    (first, apart): (u64, u64),
    product: bool,
) -> Val {
    let elem = register(source.elem);
    let combine = combination(elem, product);
    if apart < LANES {
        let x = tree_sum(b, source, base, run, (first, 2 * apart), product);
        let y = tree_sum(b, source, base, run, (first + apart, 2 * apart), product);
        return b.op(combine, &[x, y]);
    }
    let init = b.constant(expand::number(elem, i64::from(product)));
    let terms = run.count.saturating_sub(first).div_ceil(LANES);
    let at = |k: Index| {
        let mut from = base.clone().offset((first * run.stride) as i64);
        from.terms.extend(k.terms);
        from.offset += k.offset;
        from
    };
    let step = (LANES * run.stride) as i64;
    if run.count <= UNROLL_TREE {
        return (0..terms).fold(init, |acc, k| {
            let v = source.load(b, at(Index::at(k as i64 * step)));
            b.op(combine, &[acc, v])
        });
    }
    let (zero, end) = (b.index(0), b.index(terms as i64));
    b.for_carried(zero, end, &[init], |b, k, acc| {
        let v = source.load(b, at(Index::default().plus(k, step)));
        vec![b.op(combine, &[acc[0], v])]
    })[0]
}

/// Sum (or product) over 16 interleaved lanes, then the tree.
fn lane_sum(b: &mut KernelBuilder, source: Memory, base: &Index, run: Run, lanes: BufId, product: bool) -> Val {
    let elem = register(source.elem);
    let combine = combination(elem, product);
    let part = b.part();
    let lane = |l: Index| l.plus(part, LANES as i64);
    let (rounds, rest) = (run.count / LANES, run.count % LANES);
    let step = (LANES * run.stride) as i64;
    b.for_count(LANES, true, |b, l| {
        let init = b.constant(expand::number(elem, i64::from(product)));
        let (from, to) = (b.index(0), b.index(rounds as i64));
        let acc = b.for_carried(from, to, &[init], |b, c, acc| {
            let v = source.load(b, base.clone().plus(c, step).plus(l, run.stride as i64));
            vec![b.op(combine, &[acc[0], v])]
        });
        b.store(lanes, lane(Index::var(l)), acc[0]);
    });
    if rest > 0 {
        b.for_count(rest, true, |b, l| {
            let acc = b.load(lanes, elem, lane(Index::var(l)));
            let v = source.load(b, base.clone().plus(l, run.stride as i64).offset(rounds as i64 * step));
            let sum = b.op(combine, &[acc, v]);
            b.store(lanes, lane(Index::var(l)), sum);
        });
    }
    let mut values: Vec<Val> = (0..LANES).map(|l| b.load(lanes, elem, lane(Index::at(l as i64)))).collect();
    while values.len() > 1 {
        let half = values.len() / 2;
        values = (0..half).map(|l| b.op(combine, &[values[l], values[l + half]])).collect();
    }
    values[0]
}

/// A float divided by a count.
fn divide(b: &mut KernelBuilder, sum: Val, count: u64) -> Val {
    let n = match b.type_of(sum) {
        ScalarType::F64 => Scalar::F64(count as f64),
        _ => Scalar::F32(count as f32),
    };
    let n = b.constant(n);
    b.op(ScalarOp::FDiv, &[sum, n])
}

/// Largest (or smallest) element, in order.
fn fold(b: &mut KernelBuilder, source: Memory, base: &Index, run: Run, max: bool) -> Val {
    let elem = source.elem;
    let start = b.constant(if max { expand::least(elem) } else { expand::greatest(elem) });
    let (from, to) = (b.index(0), b.index(run.count as i64));
    b.for_carried(from, to, &[start], |b, i, acc| {
        let v = source.load(b, base.clone().plus(i, run.stride as i64));
        vec![larger(b, elem, acc[0], v, max)]
    })[0]
}

/// The graph's `max` and `min`; of truth values, whether either is true, or both are.
fn larger(b: &mut KernelBuilder, elem: DType, a: Val, v: Val, max: bool) -> Val {
    let op = match (elem, max) {
        (DType::Bool, true) => Op::Or,
        (DType::Bool, false) => Op::And,
        (_, true) => Op::Max,
        (_, false) => Op::Min,
    };
    expand::elementwise(b, &op, &[a, v], &[elem, elem], elem)
}

/// Whether `x` goes before `y` where one of them is looked for: it is better, or the only NaN.
fn before(b: &mut KernelBuilder, better: &Op, elem: DType, x: Val, y: Val) -> Val {
    let first = expand::elementwise(b, better, &[x, y], &[elem, elem], DType::Bool);
    if !elem.is_float() {
        return first;
    }
    let (x_nan, y_nan) = (b.op(ScalarOp::FUno, &[x, x]), b.op(ScalarOp::FUno, &[y, y]));
    let first = b.op(ScalarOp::Or, &[first, x_nan]);
    let open = b.op(ScalarOp::Not, &[y_nan]);
    b.op(ScalarOp::And, &[first, open])
}
