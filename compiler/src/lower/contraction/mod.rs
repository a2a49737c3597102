//! Sums of products: `linear`, `matmul` and `conv`, one chain per output in the contract's order, vectorised over outputs.
//!
//! Weights are packed, at compile time if they are known, else in each tick if enough rows use them: input-major for
//! event-driven products, where an event adds one contiguous row, and in panels for dense ones, whose tiles of outputs
//! stay in registers along their chains ([`tile`]). Types narrower than a register are widened before the product.

mod conv;
pub(crate) mod tile;

use super::homes::{Memory, float};
use super::{ALIGN, Drive, Facts, Lowering, Source};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, ValueId};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use tile::{Grid, Panels, Product, Tile, finish, link, register, zero};

/// Event rows that are added in one pass over the outputs.
const ROWS: usize = 4;
/// Chains of a product with weights that are not packed that are computed side by side.
const CHAINS: u64 = 8;
/// Rows from which on it is worth packing weights in each tick.
const ROWS_TO_PACK: u64 = 8;

/// How the input of a `linear` arrives. Events need finite weights that are known, and outputs that hold a whole register.
pub(crate) fn drive_of(facts: &Facts<'_>, node: &Node) -> Drive {
    let (x, w) = (node.args[0], node.args[1]);
    match facts.drive(x) {
        Drive::Dense => Drive::Dense,
        drive if facts.finite[w.index()] && matches!(facts.ty(x).dtype, DType::F32 | DType::F64) => drive,
        _ => Drive::Dense,
    }
}

impl Lowering<'_> {
    /// `linear(x, w, bias)`.
    pub fn linear(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let (w, y) = (node.args[1], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
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
                self.linear_events(node, t, Source::Now(v), Some(node.args[0]), m, k)
            }
            (_, Some(_)) => {
                self.note(y, m, k, "dense");
                self.linear_packed(node, m, k)
            }
            (_, None) => {
                self.note(y, m, k, "dense, weights computed at run time");
                if self.facts.count(y) / m < ROWS_TO_PACK {
                    self.linear_rows(node, m, k)
                } else {
                    self.linear_packed(node, m, k)
                }
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
        let rows = self.facts.count(y) / m;
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(Parallel { len: m, align: ALIGN }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_count(rows, false, |b, r| {
            b.for_loop(lo, hi, true, |b, o| {
                let init = match &bias {
                    Some(bias) => bias.load(b, Index::var(o)),
                    None => float(b, elem, 0.0),
                };
                b.store(out, Index::var(o).plus(r, m as i64), init);
            });
        });
        let slot = self.slot(&mut b, list, back);
        // The events of a group add to the same outputs; those of several rows may not.
        let group = if rows == 1 { ROWS } else { 1 };
        b.events(list, slot, group, |b, events| {
            let factors: Option<Vec<Val>> =
                values.as_ref().map(|m| events.iter().map(|e| m.load(b, Index::var(*e))).collect());
            let row = (rows > 1).then(|| {
                let inputs = b.index(k as i64);
                b.op(ScalarOp::IDiv, &[events[0], inputs])
            });
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, true, |b, o| {
                let to = row.map_or(Index::var(o), |r| Index::var(o).plus(r, m as i64));
                let mut acc = b.load(out, elem, to.clone());
                for (n, e) in events.iter().enumerate() {
                    let at = Index::var(o).plus(*e, m as i64);
                    let at = row.map_or(at.clone(), |r| at.plus(r, -((m * k) as i64)));
                    let w = b.load(weights, w.dtype(), at);
                    acc = match &factors {
                        Some(x) => b.op(ScalarOp::Fma, &[w, x[n], acc]),
                        None => b.op(ScalarOp::FAdd, &[acc, w]),
                    };
                }
                b.store(out, to, acc);
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

    /// Dense rows with weights in panels.
    fn linear_packed(&mut self, node: &Node, m: u64, k: u64) -> Result<(), Diagnostic> {
        let (w, y) = (node.args[1], node.results[0]);
        let elem = register(self.elem(y));
        let rows = self.facts.count(y) / m;
        let tile = Tile::of(rows);
        let panels = Panels { outputs: m, depth: k, lanes: tile.lanes };
        let weights = self.panels(y, w, panels, 1, [0, k, 1])?;
        let (out, input) = (self.home(y)?, self.wide(node.args[0])?);
        let bias = node.args.get(2).copied().map(|v| self.memory(v)).transpose()?;
        let grid = Grid { outer: 1, outputs: m, rows, tile };
        let name = self.facts.graph().name_of(y);
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(grid.parallel()), 1);
        let product = Product {
            depth: k,
            input,
            out,
            stride: 1,
            start: &|b, _, output| start(b, bias.as_ref(), elem, output),
            row: &|_, _, row| (scaled(&row, k), scaled(&row, m)),
            link: &|_, k| Index::var(k),
            weight: &|b, at, j, k| b.load(weights, elem, panels.index(at, j, k)),
        };
        grid.tiles(&mut b, &|_, _| Vec::new(), &|b, at| product.tile(b, at));
        self.program.push(b.finish());
        Ok(())
    }

    /// A few rows with weights `[m, k]` that are only known at run time: several chains side by side.
    fn linear_rows(&mut self, node: &Node, m: u64, k: u64) -> Result<(), Diagnostic> {
        let y = node.results[0];
        let elem = register(self.elem(y));
        let rows = self.facts.count(y) / m;
        let (out, input, weights) = (self.home(y)?, self.wide(node.args[0])?, self.memory(node.args[1])?);
        let bias = node.args.get(2).copied().map(|v| self.memory(v)).transpose()?;
        let name = self.facts.graph().name_of(y);
        let grid = Grid { outer: 1, outputs: 1, rows: m, tile: Tile { rows: CHAINS, lanes: 1 } };
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(grid.parallel()), 1);
        // The rows of the grid are outputs.
        grid.tiles(&mut b, &|_, _| Vec::new(), &|b, at| {
            b.for_count(rows, false, |b, r| {
                let outputs: Vec<Index> = (0..at.rows).map(|o| at.row.clone().offset(o as i64)).collect();
                let init: Vec<Val> = outputs.iter().map(|o| start(b, bias.as_ref(), elem, o.clone())).collect();
                let (from, to) = (b.index(0), b.index(k as i64));
                let acc = b.for_carried(from, to, &init, |b, i, acc| {
                    let x = input.load(b, Index::var(i).plus(r, k as i64));
                    let next = outputs.iter().zip(acc).map(|(o, acc)| {
                        let w = weights.load(b, scaled(o, k).plus(i, 1));
                        link(b, w, x, *acc)
                    });
                    next.collect()
                });
                for (o, acc) in outputs.into_iter().zip(acc) {
                    let sum = finish(b, acc);
                    b.store(out, o.plus(r, m as i64), sum);
                }
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// `matmul(a, b)`: `b` in panels if it is known, or if many rows use it.
    pub fn matmul(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let (a, w, y) = (node.args[0], node.args[1], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        let (ea, ew, ey) = (self.facts.extents(a), self.facts.extents(w), self.facts.extents(y));
        let elem = register(self.elem(y));
        let (m, k, n) = (ea[ea.len() - 2], ea[ea.len() - 1], ew[ew.len() - 1]);
        let batch = ey[..ey.len() - 2].to_vec();
        // A leading extent of 1, or a missing one, is repeated: its stride is 0.
        let strides = |e: &[u64]| -> Vec<i64> {
            let lead = &e[..e.len() - 2];
            let mut stride = 1;
            let mut s = vec![0; batch.len()];
            for d in (0..lead.len()).rev() {
                s[batch.len() - lead.len() + d] = if lead[d] == 1 { 0 } else { stride as i64 };
                stride *= lead[d];
            }
            s
        };
        let (sa, sw) = (strides(&ea), strides(&ew));
        let matrices: u64 = ew[..ew.len() - 2].iter().product();
        let outer: u64 = batch.iter().product();
        // One matrix on the right serves the rows of all those on the left.
        let (outer, m) = if matrices == 1 && ea.len() == ey.len() { (1, outer * m) } else { (outer, m) };
        let tile = Tile::of(m);
        let grid = Grid { outer, outputs: n, rows: m, tile };
        let panels = Panels { outputs: n, depth: k, lanes: tile.lanes };
        let known = self.facts.known[self.facts.view(w).base.index()].is_some();
        let packed = match known || m >= ROWS_TO_PACK {
            true => Some(self.panels(y, w, panels, matrices, [k * n, 1, n])?),
            false => None,
        };
        let (out, input, right) = (self.home(y)?, self.wide(a)?, self.memory(w)?);
        let name = self.facts.graph().name_of(y);
        let mut b = KernelBuilder::new(format!("matmul {name}"), Some(grid.parallel()), 1);
        let product = Product {
            depth: k,
            input,
            out,
            stride: 1,
            start: &|b, _, _| zero(b, elem),
            row: &|_, at, row| {
                let from = scaled(&row, k).plus(at.outer[0], (m * k) as i64);
                (from, scaled(&row, n).plus(at.outer[2], (m * n) as i64))
            },
            link: &|_, k| Index::var(k),
            weight: &|b, at, j, k| {
                let matrix = at.outer[1];
                match packed {
                    Some(buf) => b.load(buf, elem, panels.index(at, j, k).plus(matrix, panels.len() as i64)),
                    None => {
                        right.load(b, at.output.clone().plus(j, 1).plus(k, n as i64).plus(matrix, panels.len() as i64))
                    }
                }
            },
        };
        // The numbers of the matrices on the left, on the right, and of the result.
        let matrices = |b: &mut KernelBuilder, product: Val| {
            let (mut left, mut right, mut rest) = (b.index(0), b.index(0), product);
            if outer > 1 {
                for (d, extent) in batch.iter().enumerate().rev() {
                    let extent = b.index(*extent as i64);
                    let at = b.op(ScalarOp::IRem, &[rest, extent]);
                    rest = b.op(ScalarOp::IDiv, &[rest, extent]);
                    for (sum, stride) in [(&mut left, sa[d]), (&mut right, sw[d])] {
                        let stride = b.index(stride);
                        let by = b.op(ScalarOp::IMul, &[at, stride]);
                        *sum = b.op(ScalarOp::IAdd, &[*sum, by]);
                    }
                }
            }
            vec![left, right, product]
        };
        grid.tiles(&mut b, &matrices, &|b, at| product.tile(b, at));
        self.program.push(b.finish());
        Ok(())
    }

    /// The weights `w` of so many products in panels: a constant if they are known, else a buffer that a kernel fills.
    /// `strides` are the elements from one product, output and link to the next.
    fn panels(
        &mut self,
        y: ValueId,
        w: ValueId,
        panels: Panels,
        products: u64,
        strides: [u64; 3],
    ) -> Result<BufId, Diagnostic> {
        let name = format!("{}.weights", self.facts.graph().name_of(y));
        let elem = register(self.elem(w));
        let len = panels.len() * products;
        let view = self.facts.view(w);
        if let Some(t) = self.facts.known[view.base.index()]
            && self.facts.count(w) == len
            && t.len() as u64 >= view.offset + len
        {
            let [p, o, l] = strides;
            let packed = panels.pack(t, products, |product, output, k| view.offset + product * p + output * o + k * l);
            return Ok(self.program.add_buffer(name, elem, len, Role::Const(packed)));
        }
        let source = self.memory(w)?;
        let out = self.program.add_buffer(name.clone(), elem, len, Role::Temp);
        let grid =
            Grid { outer: products, outputs: panels.outputs, rows: 1, tile: Tile { rows: 1, lanes: panels.lanes } };
        let mut b = KernelBuilder::new(format!("pack {name}"), Some(grid.parallel()), 1);
        let [p, o, l] = strides.map(|s| s as i64);
        grid.tiles(&mut b, &|_, product| vec![product], &|b, at| {
            b.for_count(panels.depth, false, |b, k| {
                b.for_count(at.lanes, true, |b, j| {
                    let from = scaled(&at.output, o as u64).plus(j, o).plus(k, l).plus(at.outer[0], p);
                    let v = source.load(b, from);
                    b.store(out, panels.index(at, j, k).plus(at.outer[0], panels.len() as i64), v);
                });
            });
        });
        self.program.push(b.finish());
        Ok(out)
    }
}

/// The start of an output's chain: its bias, or zero.
fn start(b: &mut KernelBuilder, bias: Option<&Memory>, elem: DType, output: Index) -> Val {
    match bias {
        Some(bias) => bias.load(b, output),
        None => zero(b, elem),
    }
}

/// An index times a constant.
fn scaled(index: &Index, by: u64) -> Index {
    let by = by as i64;
    Index { terms: index.terms.iter().map(|(v, c)| (*v, c * by)).collect(), offset: index.offset * by }
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
