//! Combining elements: `reduce`, `argmax` and `pool`.
//!
//! Sums follow the contract: element k of the reduced elements, in row-major order, goes to lane k mod 16; the lanes are
//! added pairwise, eight apart, then four, two and one.

use super::homes::{Memory, float};
use super::{Drive, Facts, Lowering, Source, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, PoolKind, ReduceKind};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, Scalar, ScalarOp, ScalarType, Val};
use nc_ir::types::DType;

/// Partial sums of a reduction.
const LANES: u64 = 16;

/// The reduced elements of one output: `count` of them, `stride` apart.
#[derive(Clone, Copy)]
struct Run {
    count: u64,
    stride: u64,
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
            let n = divide(&mut b, n, self.facts.count(x), DType::F32);
            b.store(out, Index::default(), n);
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// `reduce(x)` over axes that are adjacent.
    pub fn reduce(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Reduce { kind, axes, .. } = &node.op else {
            return Err(unsupported(&node.op));
        };
        if let Some(source) = counted(&self.facts, node) {
            return self.count(node, *kind, source);
        }
        let (x, y) = (node.args[0], node.results[0]);
        let extents = self.facts.extents(x);
        let mut axes = axes.clone();
        axes.sort_unstable();
        let (first, last) = match (axes.first(), axes.last()) {
            (Some(a), Some(b)) => (*a, *b),
            _ => (0, 0),
        };
        let adjacent = last + 1 - first == axes.len();
        let elem = self.elem(x);
        let nothing = matches!(kind, ReduceKind::Max | ReduceKind::Min) && extents.contains(&0);
        if nothing
            || !adjacent && !axes.is_empty()
            || !matches!(elem, DType::F32 | DType::F64 | DType::I64 | DType::I32)
        {
            return Err(Diagnostic::error_nowhere(
                "E0702",
                format!("`reduce` of {} over axes {axes:?} has no kernels in this build", self.facts.ty(x)),
            )
            .with_hint("reduce adjacent axes of f32, f64, i32 or i64; or use `--target interp`"));
        }
        let end = if axes.is_empty() { 0 } else { last + 1 };
        let run = Run { count: extents[first..end].iter().product(), stride: extents[end..].iter().product() };
        let outer: u64 = extents[..first].iter().product();
        let (source, out) = (self.memory(x)?, self.home(y)?);
        let name = self.facts.graph().name_of(y);
        let outputs = outer * run.stride;
        let parallel = (outputs > 1).then_some(Parallel { len: outputs, align: 1 });
        let mut b = KernelBuilder::new(format!("reduce {name}"), parallel, 1);
        let lanes = match kind {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Prod => {
                let n = LANES * u64::from(self.program.parts.max(1));
                Some(self.program.add_buffer(format!("{name}.lanes"), elem, n, Role::Temp))
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
                    if *kind == ReduceKind::Mean { divide(b, sum, run.count, elem) } else { sum }
                }
            };
            b.store(out, Index::var(o), value);
        };
        if parallel.is_some() {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, one);
        } else if outputs == 1 {
            let zero = b.index(0);
            one(&mut b, zero);
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// `argmax(x)` along one axis: the first largest element; the first NaN wins.
    pub fn argmax(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Argmax { axis, last: false, .. } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, y) = (node.args[0], node.results[0]);
        let extents = self.facts.extents(x);
        let elem = self.elem(x);
        if !matches!(elem, DType::F32 | DType::F64) {
            return Err(unsupported(&node.op));
        }
        let run = Run { count: extents[axis], stride: extents[axis + 1..].iter().product() };
        let outputs = extents[..axis].iter().product::<u64>() * run.stride;
        let (source, out) = (self.memory(x)?, self.home(y)?);
        let mut b = KernelBuilder::new(
            format!("argmax {}", self.facts.graph().name_of(y)),
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
                let greater = b.op(ScalarOp::FGt, &[v, best[0]]);
                let nan = b.op(ScalarOp::FUno, &[v, v]);
                let better = b.op(ScalarOp::Or, &[greater, nan]);
                let settled = b.op(ScalarOp::FUno, &[best[0], best[0]]);
                let open = b.op(ScalarOp::Not, &[settled]);
                let take = b.op(ScalarOp::And, &[better, open]);
                vec![b.op(ScalarOp::Select, &[take, v, best[0]]), b.op(ScalarOp::Select, &[take, i, best[1]])]
            });
            b.store(out, Index::var(o), best[1]);
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// `pool(x)` over one or two spatial axes.
    pub fn pool(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Pool { kind, size, stride, pad, dilation } = &node.op else {
            return Err(unsupported(&node.op));
        };
        let (x, y) = (node.args[0], node.results[0]);
        let (ex, ey) = (self.facts.extents(x), self.facts.extents(y));
        let elem = self.elem(x);
        let spatial = ex.len().saturating_sub(1);
        let plain = size.len() == spatial && dilation.iter().all(|d| *d == 1) && *kind != PoolKind::Mean;
        let inside = pad.iter().zip(size.iter().chain(size)).all(|(p, s)| p < s) && !ex.contains(&0);
        if !(1..=2).contains(&spatial) || !matches!(elem, DType::F32 | DType::F64) || !plain || !inside {
            return Err(unsupported(&node.op));
        }
        let lift = |v: &[u64], first: u64| if spatial == 1 { vec![first, v[0]] } else { v.to_vec() };
        let (size, stride, before) = (lift(size, 1), lift(stride, 1), lift(&pad[..spatial], 0));
        let (input, output) = (lift(&ex[1..], 1), lift(&ey[1..], 1));
        let (source, out) = (self.memory(x)?, self.home(y)?);
        let mut b = KernelBuilder::new(
            format!("pool {}", self.facts.graph().name_of(y)),
            Some(Parallel { len: ex[0], align: 1 }),
            1,
        );
        let (lo, hi) = (b.lo(), b.hi());
        // The part of a window that lies inside the input: positions max(0, before - o*stride) .. min(size, ..).
        let window = |b: &mut KernelBuilder, o: Val, d: usize| -> (Val, Val, Val) {
            let step = b.index(stride[d] as i64);
            let margin = b.index(before[d] as i64);
            let scaled = b.op(ScalarOp::IMul, &[o, step]);
            let origin = b.op(ScalarOp::ISub, &[scaled, margin]);
            let zero = b.index(0);
            let missing = b.op(ScalarOp::ISub, &[zero, origin]);
            let outside = b.op(ScalarOp::IGt, &[missing, zero]);
            let from = b.op(ScalarOp::Select, &[outside, missing, zero]);
            let extent = b.index(input[d] as i64);
            let left = b.op(ScalarOp::ISub, &[extent, origin]);
            let whole = b.index(size[d] as i64);
            let short = b.op(ScalarOp::ILt, &[left, whole]);
            (origin, from, b.op(ScalarOp::Select, &[short, left, whole]))
        };
        b.for_loop(lo, hi, false, |b, c| {
            b.for_count(output[0], false, |b, oy| {
                let (y0, ya, yb) = window(b, oy, 0);
                b.for_count(output[1], false, |b, ox| {
                    let (x0, xa, xb) = window(b, ox, 1);
                    let init = float(b, elem, if *kind == PoolKind::Max { f64::NEG_INFINITY } else { 0.0 });
                    let acc = b.for_carried(ya, yb, &[init], |b, ky, acc| {
                        b.for_carried(xa, xb, acc, |b, kx, acc| {
                            let at = Index::var(kx)
                                .plus(x0, 1)
                                .plus(ky, input[1] as i64)
                                .plus(y0, input[1] as i64)
                                .plus(c, (input[0] * input[1]) as i64);
                            let v = source.load(b, at);
                            vec![match kind {
                                PoolKind::Max => larger(b, acc[0], v, true),
                                PoolKind::Sum | PoolKind::Avg | PoolKind::Mean => b.op(ScalarOp::FAdd, &[acc[0], v]),
                            }]
                        })
                    });
                    let value = match kind {
                        PoolKind::Avg => divide(b, acc[0], size[0] * size[1], elem),
                        PoolKind::Max | PoolKind::Sum | PoolKind::Mean => acc[0],
                    };
                    let at = Index::var(ox).plus(oy, output[1] as i64).plus(c, (output[0] * output[1]) as i64);
                    b.store(out, at, value);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}

/// Index of the first reduced element of output `o`: outputs run over the outer axes, then the `stride` inner elements.
fn element(b: &mut KernelBuilder, o: Val, run: Run) -> Index {
    if run.stride == 1 {
        return Index::default().plus(o, run.count as i64);
    }
    let inner = b.index(run.stride as i64);
    let row = b.op(ScalarOp::IDiv, &[o, inner]);
    let col = b.op(ScalarOp::IRem, &[o, inner]);
    Index::var(col).plus(row, (run.count * run.stride) as i64)
}

/// Sum (or product) over 16 interleaved lanes, then the tree.
fn lane_sum(b: &mut KernelBuilder, source: Memory, base: &Index, run: Run, lanes: BufId, product: bool) -> Val {
    let elem = source.elem;
    let int = !elem.is_float();
    let combine = match (int, product) {
        (false, false) => ScalarOp::FAdd,
        (false, true) => ScalarOp::FMul,
        (true, false) => ScalarOp::IAdd,
        (true, true) => ScalarOp::IMul,
    };
    let identity = |b: &mut KernelBuilder| match nc_ir::kernel::loaded_type(elem) {
        ScalarType::F64 => b.constant(Scalar::F64(if product { 1.0 } else { 0.0 })),
        ScalarType::I64 => b.index(i64::from(product)),
        ScalarType::I32 => b.constant(Scalar::I32(i32::from(product))),
        ScalarType::F32 | ScalarType::Bool => b.constant(Scalar::F32(if product { 1.0 } else { 0.0 })),
    };
    let part = b.part();
    let lane = |l: Index| l.plus(part, LANES as i64);
    let (rounds, rest) = (run.count / LANES, run.count % LANES);
    let step = (LANES * run.stride) as i64;
    b.for_count(LANES, true, |b, l| {
        let init = identity(b);
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

fn divide(b: &mut KernelBuilder, sum: Val, count: u64, elem: DType) -> Val {
    match nc_ir::kernel::loaded_type(elem) {
        ScalarType::F32 | ScalarType::F64 | ScalarType::Bool => {
            let n = float(b, elem, count as f64);
            b.op(ScalarOp::FDiv, &[sum, n])
        }
        ScalarType::I64 => {
            let n = b.index(count as i64);
            b.op(ScalarOp::IDiv, &[sum, n])
        }
        ScalarType::I32 => {
            let n = b.constant(Scalar::I32(count as i32));
            b.op(ScalarOp::IDiv, &[sum, n])
        }
    }
}

/// Largest (or smallest) element, in order.
fn fold(b: &mut KernelBuilder, source: Memory, base: &Index, run: Run, max: bool) -> Val {
    let first = source.load(b, base.clone());
    let (from, to) = (b.index(1), b.index(run.count as i64));
    b.for_carried(from, to, &[first], |b, i, acc| {
        let v = source.load(b, base.clone().plus(i, run.stride as i64));
        vec![larger(b, acc[0], v, max)]
    })[0]
}

/// `select(a > b or isnan(a), a, b)`, or with `<`: the graph's `max` and `min`.
fn larger(b: &mut KernelBuilder, a: Val, v: Val, max: bool) -> Val {
    match b.type_of(a) {
        ScalarType::F32 | ScalarType::F64 => {
            let c = b.op(if max { ScalarOp::FGt } else { ScalarOp::FLt }, &[a, v]);
            let nan = b.op(ScalarOp::FUno, &[a, a]);
            let keep = b.op(ScalarOp::Or, &[c, nan]);
            b.op(ScalarOp::Select, &[keep, a, v])
        }
        ScalarType::I32 | ScalarType::I64 | ScalarType::Bool => {
            let c = b.op(if max { ScalarOp::IGt } else { ScalarOp::ILt }, &[a, v]);
            b.op(ScalarOp::Select, &[c, a, v])
        }
    }
}
