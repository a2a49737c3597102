//! Sums of products: `linear`, `matmul` and `conv`, one chain per output in the contract's order, vectorised over outputs.
//!
//! Weights that are known are packed: input-major for event-driven products, where an event adds one contiguous row, and
//! in panels `[tile][input][lane]` for dense ones, where a tile of outputs stays in registers along its chains.

use super::homes::{Memory, float, plus_zero};
use super::{ALIGN, Drive, Facts, Lowering, Source};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::kernel::{Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// Outputs of a dense product that are computed together.
const TILE: u64 = 32;
/// Event rows that are added in one pass over the outputs.
const ROWS: usize = 4;

/// How the input of a `linear` arrives. Events need one row of input and finite weights that are known.
pub(crate) fn drive_of(facts: &Facts<'_>, node: &Node) -> Drive {
    let (x, w) = (node.args[0], node.args[1]);
    let single_row = facts.ty(x).shape.last().and_then(|d| d.known()) == Some(facts.count(x));
    match facts.drive(x) {
        Drive::Dense => Drive::Dense,
        drive if single_row && facts.finite[w.index()] && facts.ty(x).dtype.is_float() => drive,
        _ => Drive::Dense,
    }
}

impl Lowering<'_> {
    /// `linear(x, w, bias)`.
    pub fn linear(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let (x, w, y) = (node.args[0], node.args[1], node.results[0]);
        if !matches!(self.elem(y), DType::F32 | DType::F64) {
            return Err(Diagnostic::error_nowhere(
                "E0702",
                format!("`linear` on {} has no kernels in this build", self.elem(y)),
            )
            .with_hint("use f32 values; storage types of weights are converted before the product"));
        }
        let extents = self.facts.extents(w);
        let (m, k) = (extents[0], extents[1]);
        match (drive_of(&self.facts, node), self.facts.known[w.index()]) {
            (Drive::Spikes(source), Some(t)) => {
                self.note(y, m, k, "event-driven (spikes)");
                self.linear_events(node, t, source, None, m, k)
            }
            (Drive::Graded(v), Some(t)) => {
                self.note(y, m, k, "event-driven (non-zero values)");
                self.linear_events(node, t, Source::Now(v), Some(x), m, k)
            }
            (_, Some(t)) => {
                self.note(y, m, k, "dense");
                self.linear_packed(node, t, m, k)
            }
            (_, None) => {
                self.note(y, m, k, "dense, weights computed at run time");
                self.linear_rows(node, m, k)
            }
        }
    }

    fn note(&mut self, y: ValueId, m: u64, k: u64, how: &str) {
        let name = self.facts.graph().name_of(y);
        self.report.push(format!("{name}: product {k} -> {m}, {how}"));
    }

    fn linear_events(
        &mut self,
        node: &Node,
        w: &Tensor,
        source: Source,
        graded: Option<ValueId>,
        m: u64,
        k: u64,
    ) -> Result<(), Diagnostic> {
        let y = node.results[0];
        let elem = self.elem(y);
        let out = self.home(y)?;
        self.homes.raw[y.index()] = true;
        let packed = transposed(w, m as usize, k as usize);
        let name = self.facts.graph().name_of(y);
        let weights = self.program.add_buffer(format!("{name}.weights"), w.dtype(), m * k, Role::Const(packed));
        let bias = node.args.get(2).copied();
        let bias = bias.map(|v| self.memory(v)).transpose()?;
        let values = graded.map(|v| self.memory(v)).transpose()?;
        let (list, back) = self.events_of(source)?;
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(Parallel { len: m, align: ALIGN }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, true, |b, o| {
            let init = match &bias {
                Some(bias) => bias.load(b, Index::var(o)),
                None => float(b, elem, 0.0),
            };
            b.store(out, Index::var(o), init);
        });
        let slot = self.slot(&mut b, list, back);
        b.events(list, slot, ROWS, |b, rows| {
            let factors: Option<Vec<Val>> =
                values.as_ref().map(|m| rows.iter().map(|r| m.load(b, Index::var(*r))).collect());
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, true, |b, o| {
                let mut acc = b.load(out, elem, Index::var(o));
                for (n, r) in rows.iter().enumerate() {
                    let w = b.load(weights, w.dtype(), Index::var(o).plus(*r, m as i64));
                    acc = match &factors {
                        Some(x) => b.op(ScalarOp::Fma, &[w, x[n], acc]),
                        None => b.op(ScalarOp::FAdd, &[acc, w]),
                    };
                }
                b.store(out, Index::var(o), acc);
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// The list that holds the events of a source, and how many ticks ago they were.
    pub fn events_of(&self, source: Source) -> Result<(nc_ir::kernel::ListId, u32), Diagnostic> {
        let missing = || self.bug("the events of a source are not collected");
        match source {
            Source::Now(_) => {
                let id = self.lists.get(&source).copied().ok_or_else(missing)?;
                Ok((self.homes.lists[id], 0))
            }
            Source::Line(l, ticks) => Ok((self.homes.line_events[l.index()].ok_or_else(missing)?, ticks)),
        }
    }

    fn linear_packed(&mut self, node: &Node, w: &Tensor, m: u64, k: u64) -> Result<(), Diagnostic> {
        let (x, y) = (node.args[0], node.results[0]);
        let elem = self.elem(y);
        let rows = self.facts.count(y).checked_div(m).unwrap_or(0);
        let (out, input) = (self.home(y)?, self.memory(x)?);
        let bias = node.args.get(2).copied().map(|v| self.memory(v)).transpose()?;
        let name = self.facts.graph().name_of(y);
        let (whole, rest) = (m / TILE, m % TILE);
        let packed = panels(w, m, k);
        let weights = self.program.add_buffer(format!("{name}.weights"), w.dtype(), m * k, Role::Const(packed));
        let tiles = whole + u64::from(rest > 0);
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(Parallel { len: tiles, align: 1 }), 1);
        let tile = |b: &mut KernelBuilder, t: Val, width: u64| {
            b.for_count(rows, false, |b, r| {
                b.for_count(width, true, |b, j| {
                    let output = Index::var(j).plus(t, TILE as i64);
                    let init = match &bias {
                        Some(bias) => bias.load(b, output.clone()),
                        None => float(b, elem, 0.0),
                    };
                    let (from, to) = (b.index(0), b.index(k as i64));
                    let acc = b.for_carried(from, to, &[init], |b, i, acc| {
                        let at = Index::var(j).plus(t, (TILE * k) as i64).plus(i, width as i64);
                        let w = b.load(weights, w.dtype(), at);
                        let x = input.load(b, Index::var(i).plus(r, k as i64));
                        vec![b.op(ScalarOp::Fma, &[w, x, acc[0]])]
                    });
                    let sum = plus_zero(b, acc[0]);
                    b.store(out, output.plus(r, m as i64), sum);
                });
            });
        };
        let full = b.index(whole as i64);
        let (lo, hi) = (b.lo(), b.hi());
        if rest == 0 {
            b.for_loop(lo, hi, false, |b, t| tile(b, t, TILE));
        } else {
            let past = b.op(ScalarOp::IGt, &[hi, full]);
            let end = b.op(ScalarOp::Select, &[past, full, hi]);
            b.for_loop(lo, end, false, |b, t| tile(b, t, TILE));
            // The narrow tile is the last one; later parts have nothing.
            let begun = b.op(ScalarOp::ILe, &[lo, full]);
            let own = b.op(ScalarOp::And, &[past, begun]);
            b.if_then(own, |b| tile(b, full, rest));
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// Weights `[m, k]` that are only known at run time.
    fn linear_rows(&mut self, node: &Node, m: u64, k: u64) -> Result<(), Diagnostic> {
        let y = node.results[0];
        let elem = self.elem(y);
        let rows = self.facts.count(y).checked_div(m).unwrap_or(0);
        let (out, input, weights) = (self.home(y)?, self.memory(node.args[0])?, self.memory(node.args[1])?);
        let bias = node.args.get(2).copied().map(|v| self.memory(v)).transpose()?;
        let name = self.facts.graph().name_of(y);
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(Parallel { len: m, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, o| {
            b.for_count(rows, false, |b, r| {
                let init = match &bias {
                    Some(bias) => bias.load(b, Index::var(o)),
                    None => float(b, elem, 0.0),
                };
                let (from, to) = (b.index(0), b.index(k as i64));
                let acc = b.for_carried(from, to, &[init], |b, i, acc| {
                    let w = weights.load(b, Index::var(i).plus(o, k as i64));
                    let x = input.load(b, Index::var(i).plus(r, k as i64));
                    vec![b.op(ScalarOp::Fma, &[w, x, acc[0]])]
                });
                let sum = plus_zero(b, acc[0]);
                b.store(out, Index::var(o).plus(r, m as i64), sum);
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// `matmul(a, b)`: vectorised over the columns of `b`.
    pub fn matmul(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let (a, w, y) = (node.args[0], node.args[1], node.results[0]);
        let (ea, ew, ey) = (self.facts.extents(a), self.facts.extents(w), self.facts.extents(y));
        let elem = self.elem(y);
        if ea.len() < 2 || ew.len() < 2 || !matches!(elem, DType::F32 | DType::F64) {
            return Err(Diagnostic::error_nowhere(
                "E0702",
                format!("`matmul` of {} and {} has no kernels in this build", self.facts.ty(a), self.facts.ty(w)),
            )
            .with_hint("the interpreter runs it: use `--target interp`"));
        }
        let (m, k, n) = (ea[ea.len() - 2], ea[ea.len() - 1], ew[ew.len() - 1]);
        let batch = &ey[..ey.len() - 2];
        let (out, left, right) = (self.home(y)?, self.memory(a)?, self.memory(w)?);
        let name = self.facts.graph().name_of(y);
        let mut b = KernelBuilder::new(format!("matmul {name}"), Some(Parallel { len: m, align: 1 }), 1);
        // A leading extent of 1, or a missing one, is repeated: its stride is 0.
        let strides = |e: &[u64], matrix: u64| -> Vec<i64> {
            let lead = &e[..e.len() - 2];
            let mut stride = matrix;
            let mut s = vec![0; batch.len()];
            for d in (0..lead.len()).rev() {
                s[batch.len() - lead.len() + d] = if lead[d] == 1 { 0 } else { stride as i64 };
                stride *= lead[d];
            }
            s
        };
        let (sa, sw, sy) = (strides(&ea, m * k), strides(&ew, k * n), strides(&ey, m * n));
        let (lo, hi) = (b.lo(), b.hi());
        super::data::nest(&mut b, batch, &mut Vec::new(), &mut |b, at| {
            let along = |mut index: Index, strides: &[i64]| {
                for (v, s) in at.iter().zip(strides) {
                    index = index.plus(*v, *s);
                }
                index
            };
            b.for_loop(lo, hi, false, |b, row| {
                b.for_count(n, true, |b, col| {
                    let (from, to, zero) = (b.index(0), b.index(k as i64), float(b, elem, 0.0));
                    let acc = b.for_carried(from, to, &[zero], |b, i, acc| {
                        let x = left.load(b, along(Index::var(i).plus(row, k as i64), &sa));
                        let w = right.load(b, along(Index::var(col).plus(i, n as i64), &sw));
                        vec![b.op(ScalarOp::Fma, &[w, x, acc[0]])]
                    });
                    let sum = plus_zero(b, acc[0]);
                    b.store(out, along(Index::var(col).plus(row, n as i64), &sy), sum);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// `conv(x, w, bias)` over one or two spatial axes: the input is copied into a frame with zero margins, so that every
    /// output's chain runs over the whole kernel; with finite weights the added zeros change nothing.
    pub fn conv(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Conv { stride, pad, dilation, groups } = &node.op else {
            return Err(self.bug("not a convolution"));
        };
        let (x, w, y) = (node.args[0], node.args[1], node.results[0]);
        let (ex, ew, ey) = (self.facts.extents(x), self.facts.extents(w), self.facts.extents(y));
        let elem = self.elem(y);
        let spatial = ex.len() - 1;
        let finite = self.facts.finite[w.index()];
        let padded = pad.iter().any(|p| *p > 0);
        if ew.len() != ex.len() + 1
            || !(1..=2).contains(&spatial)
            || !matches!(elem, DType::F32 | DType::F64)
            || (padded && !finite)
        {
            return Err(Diagnostic::error_nowhere(
                "E0702",
                format!("`conv` of {} with {} has no kernels in this build", self.facts.ty(x), self.facts.ty(w)),
            )
            .with_hint("one or two spatial axes of f32 and finite known weights; or `--target interp`"));
        }
        // One spatial axis is two with the first of extent 1.
        let lift = |v: &[u64], first: u64| if spatial == 1 { vec![first, v[0]] } else { v.to_vec() };
        let (stride, dilation) = (lift(stride, 1), lift(dilation, 1));
        let before = lift(&pad[..spatial], 0);
        let after = lift(&pad[spatial..], 0);
        let (size, input, output) = (lift(&ew[2..], 1), lift(&ex[1..], 1), lift(&ey[1..], 1));
        let (cin, cout, groups) = (ex[0], ey[0], (*groups).max(1));
        let name = self.facts.graph().name_of(y);
        let frame = [input[0] + before[0] + after[0], input[1] + before[1] + after[1]];
        let source = self.memory(x)?;
        let source = if padded {
            let margins = self.program.add_buffer(
                format!("{name}.padded"),
                elem,
                cin * frame[0] * frame[1],
                Role::State(Tensor::zeros(elem, Vec::new())),
            );
            let mut b = KernelBuilder::new(format!("pad {name}"), Some(Parallel { len: cin, align: 1 }), 1);
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, c| {
                b.for_count(input[0], false, |b, r| {
                    b.for_count(input[1], true, |b, q| {
                        let v = source
                            .load(b, Index::var(q).plus(r, input[1] as i64).plus(c, (input[0] * input[1]) as i64));
                        let at = Index::var(q)
                            .plus(r, frame[1] as i64)
                            .plus(c, (frame[0] * frame[1]) as i64)
                            .offset((before[0] * frame[1] + before[1]) as i64);
                        b.store(margins, at, v);
                    });
                });
            });
            self.program.push(b.finish());
            Memory::whole(margins, elem)
        } else {
            source
        };
        let weights = self.memory(w)?;
        let bias = node.args.get(2).copied().map(|v| self.memory(v)).transpose()?;
        let out = self.home(y)?;
        let (cin_group, cout_group) = (cin / groups, (cout / groups).max(1));
        let mut b = KernelBuilder::new(format!("conv {name}"), Some(Parallel { len: cout, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, co| {
            let per = b.index(cout_group as i64);
            let group = b.op(ScalarOp::IDiv, &[co, per]);
            b.for_count(output[0], false, |b, oy| {
                b.for_count(output[1], true, |b, ox| {
                    let init = match &bias {
                        Some(bias) => bias.load(b, Index::var(co)),
                        None => float(b, elem, 0.0),
                    };
                    let (zero, nc) = (b.index(0), b.index(cin_group as i64));
                    let (ny, nx) = (b.index(size[0] as i64), b.index(size[1] as i64));
                    let acc = b.for_carried(zero, nc, &[init], |b, ci, acc| {
                        b.for_carried(zero, ny, acc, |b, ky, acc| {
                            b.for_carried(zero, nx, acc, |b, kx, acc| {
                                let at = Index::var(kx)
                                    .plus(ky, size[1] as i64)
                                    .plus(ci, (size[0] * size[1]) as i64)
                                    .plus(co, (cin_group * size[0] * size[1]) as i64);
                                let w = weights.load(b, at);
                                let at = Index::default()
                                    .plus(ox, stride[1] as i64)
                                    .plus(kx, dilation[1] as i64)
                                    .plus(oy, (stride[0] * frame[1]) as i64)
                                    .plus(ky, (dilation[0] * frame[1]) as i64)
                                    .plus(ci, (frame[0] * frame[1]) as i64)
                                    .plus(group, (cin_group * frame[0] * frame[1]) as i64);
                                let x = source.load(b, at);
                                vec![b.op(ScalarOp::Fma, &[w, x, acc[0]])]
                            })
                        })
                    });
                    let sum = plus_zero(b, acc[0]);
                    let at = Index::var(ox).plus(oy, output[1] as i64).plus(co, (output[0] * output[1]) as i64);
                    b.store(out, at, sum);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}

/// Weights `[m, k]` as `[k, m]`, copied in squares that fit the cache.
fn transposed(w: &Tensor, m: usize, k: usize) -> Tensor {
    const SIDE: usize = 32;
    let size = w.dtype().size();
    let mut out = Tensor::zeros(w.dtype(), vec![k, m]);
    let (from, to) = (w.bytes(), out.bytes_mut());
    for o0 in (0..m).step_by(SIDE) {
        for i0 in (0..k).step_by(SIDE) {
            for o in o0..(o0 + SIDE).min(m) {
                for i in i0..(i0 + SIDE).min(k) {
                    let (a, b) = ((o * k + i) * size, (i * m + o) * size);
                    to[b..b + size].copy_from_slice(&from[a..a + size]);
                }
            }
        }
    }
    out
}

/// Weights `[m, k]` in panels of [`TILE`] outputs; the last panel is as wide as what is left.
fn panels(w: &Tensor, m: u64, k: u64) -> Tensor {
    let size = w.dtype().size();
    let from = w.bytes();
    let mut out = Vec::with_capacity(from.len());
    let mut first = 0;
    while first < m {
        let width = TILE.min(m - first);
        for i in 0..k {
            for j in first..first + width {
                let at = (j * k + i) as usize * size;
                out.extend_from_slice(&from[at..at + size]);
            }
        }
        first += width;
    }
    Tensor::from_bytes(w.dtype(), vec![(m * k) as usize], &out).unwrap_or_else(|| w.clone())
}
