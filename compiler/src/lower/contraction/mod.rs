//! Sums of products: `linear`, `matmul` and `conv`, one chain per output in the contract's order, vectorised over outputs.
//!
//! Weights are packed, at compile time if they are known, else in each tick if enough rows use them: input-major for
//! event-driven products, where an event adds one contiguous row, and in panels for dense ones, whose tiles of outputs
//! stay in registers along their chains ([`tile`]). Types narrower than a register are widened before the product.

mod blocks;
mod choose;
mod conv;
mod conv_events;
mod rows;
mod sparse;
pub(crate) mod tile;
mod windows;

pub(crate) use choose::{Chosen, Registry, drive_of, looked_through, now_of};
pub(crate) use rows::ByRow;

use super::homes::{Memory, float};
use super::{ALIGN, Drive, Lowering, Source};
use crate::cost::Repr;
use choose::{Matrix, chosen};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, ValueId};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::time::Instant;
use tile::{Grid, Panels, Product, Tile, finish, link, register, zero};

/// Event rows that are added in one pass over the outputs.
const ROWS: usize = 4;
/// Chains of a product with weights that are not packed that are computed side by side.
const CHAINS: u64 = 8;
/// Rows from which on it is worth packing weights in each tick.
const ROWS_TO_PACK: u64 = 8;

impl Lowering<'_> {
    /// `linear(x, w, bias)`.
    pub fn linear(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let (w, y) = (node.args[1], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        if self.represented(node)? {
            return Ok(());
        }
        let extents = self.facts.extents(w);
        let (m, k) = (extents[0], extents[1]);
        if self.facts.known[w.index()].is_none() && self.facts.count(y) / m < ROWS_TO_PACK {
            self.linear_rows(node, m, k)
        } else {
            self.linear_packed(node, m, k)
        }
    }

    /// Writes a product with one matrix in the representation that was chosen for it. False if that is the dense one.
    fn represented(&mut self, node: &Node) -> Result<bool, Diagnostic> {
        let (Some(c), Some(p)) = (chosen(&self.facts, node), Matrix::of(&self.facts, node)) else { return Ok(false) };
        self.counter(node.args[0], &c)?;
        self.note(&c);
        let (Some(w), true) = (p.known, c.repr != Repr::Dense) else { return Ok(false) };
        match c.repr {
            Repr::Events if p.rows == 1 => self.one_row_of_events(&p, w, &c)?,
            Repr::Events => self.rows_of_events(&p, w, &c)?,
            Repr::Sparse => self.sparse(&p, w)?,
            Repr::SparseEvents => self.sparse_events(&p, w, &c)?,
            Repr::Blocks => self.blocks(&p, w)?,
            Repr::Windows => return self.windows(&p, w),
            Repr::Dense => return Ok(false),
        }
        Ok(true)
    }

    /// Reports a choice.
    fn note(&mut self, c: &Chosen) {
        let choice = &self.products.choices[c.number];
        let known = choice.weights != crate::cost::Weights::Any;
        let how = match (c.repr, c.drive) {
            (Repr::Dense, _) if known => "dense",
            (Repr::Dense, _) => "dense, weights not looked at",
            (Repr::Events, Drive::Spikes(_)) => "event-driven (spikes)",
            (Repr::Events, _) => "event-driven (non-zero values)",
            (Repr::Sparse, _) => "sparse weights",
            (Repr::Blocks, _) => "blocks of weights",
            (Repr::Windows, _) => "sparse weights in windows of inputs",
            (Repr::SparseEvents, Drive::Spikes(_)) => "event-driven (spikes), sparse weights",
            (Repr::SparseEvents, _) => "event-driven (non-zero values), sparse weights",
        };
        self.report.push(format!("{}: {}, {how}", choice.name, choice.what));
    }

    /// Counts the elements of a product's input that are not zero, if that is asked for.
    fn counter(&mut self, x: ValueId, c: &Chosen) -> Result<(), Diagnostic> {
        if !self.options.wishes.count {
            return Ok(());
        }
        let (name, n) = (self.products.choices[c.number].name.clone(), self.facts.count(x));
        let input = self.memory(x)?;
        let elem = register(self.elem(x));
        let initial = Tensor::zeros(DType::I64, vec![2]);
        let buf = self.program.add_buffer(format!("profile:{name}"), DType::I64, 2, Role::State(initial));
        let mut b = KernelBuilder::new(format!("count {name}"), None, 1);
        let (from, to, one) = (b.index(0), b.index(n as i64), b.index(1));
        let before = b.load(buf, DType::I64, Index::at(0));
        let none = zero(&mut b, elem);
        let sum = b.for_carried(from, to, &[before], |b, i, sum| {
            let v = input.load(b, Index::var(i));
            let is = b.op(if elem.is_float() { ScalarOp::FNe } else { ScalarOp::INe }, &[v, none]);
            let more = b.op(ScalarOp::IAdd, &[sum[0], one]);
            vec![b.op(ScalarOp::Select, &[is, more, sum[0]])]
        });
        b.store(buf, Index::at(0), sum[0]);
        let seen = b.load(buf, DType::I64, Index::at(1));
        let seen = b.op(ScalarOp::IAdd, &[seen, to]);
        b.store(buf, Index::at(1), seen);
        self.program.push(b.finish());
        self.counters.push((c.number, buf));
        Ok(())
    }

    /// One row that walks events: each adds its weights to the outputs in memory, a few events in one pass.
    fn one_row_of_events(&mut self, p: &Matrix<'_>, w: &Tensor, c: &Chosen) -> Result<(), Diagnostic> {
        let (y, m, k) = (p.y, p.m, p.k);
        let elem = self.elem(y);
        let out = self.home(y)?;
        self.homes.raw[y.index()] = true;
        let begun = Instant::now();
        let packed = if p.strides[0] == 1 { w.clone() } else { transposed(w, m as usize, k as usize) };
        self.packing += begun.elapsed();
        let name = self.facts.graph().name_of(y);
        let weights = self.program.add_buffer(format!("{name}.weights"), w.dtype(), m * k, Role::Const(packed));
        let bias = p.bias.map(|v| self.memory(v)).transpose()?;
        let values = matches!(c.drive, Drive::Graded(_)).then(|| self.memory(p.x)).transpose()?;
        let (list, back) = self.events_of(self.source_of(c)?)?;
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
        b.events(list, slot, ROWS, |b, events| {
            let factors: Option<Vec<Val>> =
                values.as_ref().map(|m| events.iter().map(|e| m.load(b, Index::var(*e))).collect());
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, true, |b, o| {
                let mut acc = b.load(out, elem, Index::var(o));
                for (n, e) in events.iter().enumerate() {
                    let w = b.load(weights, w.dtype(), Index::var(o).plus(*e, m as i64));
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

    /// Dense rows with weights in panels.
    fn linear_packed(&mut self, node: &Node, m: u64, k: u64) -> Result<(), Diagnostic> {
        let (w, y) = (node.args[1], node.results[0]);
        let elem = register(self.elem(y));
        let rows = self.facts.count(y) / m;
        let tile = Tile::of(rows);
        let panels = Panels { outputs: m, depth: k, lanes: tile.lanes, filled: self.fillable(w) };
        let weights = self.panels(y, w, panels, 1, [0, k, 1])?;
        let (out, input) = (self.home(y)?, self.wide(node.args[0])?);
        let bias = node.args.get(2).copied().map(|v| self.memory(v)).transpose()?;
        let grid = Grid { outer: 1, outputs: m, rows, tile };
        let name = self.facts.graph().name_of(y);
        let spare = self.spare(&name, panels, tile);
        let mut b = KernelBuilder::new(format!("linear {name}"), Some(grid.parallel()), 1);
        let product = Product {
            depth: k,
            input: Some(input),
            out,
            stride: 1,
            spare,
            start: &|b, _, output| start(b, bias.as_ref(), elem, output),
            row: &|_, _, row| (scaled(&row, k), scaled(&row, m)),
            link: &|_, k| (Index::var(k), k),
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
        if self.facts.count(y) == 0 || self.represented(node)? {
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
        let known = self.facts.known[self.facts.view(w).base.index()].is_some();
        let pack = known || m >= ROWS_TO_PACK;
        let panels = Panels { outputs: n, depth: k, lanes: tile.lanes, filled: self.fillable(w) };
        let packed = match pack {
            true => Some(self.panels(y, w, panels, matrices, [k * n, 1, n])?),
            false => None,
        };
        let (out, input, right) = (self.home(y)?, self.wide(a)?, self.memory(w)?);
        let name = self.facts.graph().name_of(y);
        let spare = self.spare(&name, panels, tile);
        let mut b = KernelBuilder::new(format!("matmul {name}"), Some(grid.parallel()), 1);
        let product = Product {
            depth: k,
            input: Some(input),
            out,
            stride: 1,
            spare,
            start: &|b, _, _| zero(b, elem),
            row: &|_, at, row| {
                let from = scaled(&row, k).plus(at.outer[0], (m * k) as i64);
                (from, scaled(&row, n).plus(at.outer[2], (m * n) as i64))
            },
            link: &|_, k| (Index::var(k), k),
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

    /// True if the panels of weights can have more lanes than there are outputs: they are packed before the program runs,
    /// and lanes are floats of which registers hold eight.
    fn fillable(&self, w: ValueId) -> bool {
        let view = self.facts.view(w);
        let known = self.facts.known[view.base.index()];
        known.is_some_and(|t| t.len() as u64 >= view.offset + self.facts.count(w))
            && register(self.elem(w)) == DType::F32
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
            && t.len() as u64 >= view.offset + self.facts.count(w)
            && self.facts.count(w) == panels.outputs * panels.depth * products
        {
            let [p, o, l] = strides;
            let begun = Instant::now();
            let packed = panels.pack(t, products, |product, output, k| view.offset + product * p + output * o + k * l);
            self.packing += begun.elapsed();
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
