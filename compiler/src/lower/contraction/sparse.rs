//! Products with the zeros of their weights left out.
//!
//! A weight of zero changes no chain whose inputs are finite: it adds a zero, of either sign, and the stored `acc + 0.0`
//! takes the sign of a zero sum away. Times an infinite or NaN input it makes NaN. Unless the input is known to be
//! finite, a kernel looks at it first, and where it is not, chains are taken link by link: an output is NaN if one of the
//! inputs that are not finite is not among its links.

use super::super::homes::Memory;
use super::super::{Drive, Lowering};
use super::choose::{Chosen, Matrix};
use super::conv::if_finite;
use super::start;
use super::tile::{finish, link, register, widened, zero};
use nc_ir::Diagnostic;
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::time::Instant;

/// Chains side by side, four to a register.
const WIDTH: u64 = 16;

/// Rows from which on they are the lanes.
pub(super) const ROWS_AS_LANES: u64 = 4;

/// The weights that are not zero, in slices of chains side by side: link by link, and in a link chain by chain. Chains
/// are ordered by length, so that those of a slice are about as long; shorter ones end in links with a weight of zero.
struct Slices {
    width: u64,
    /// Elements before each slice, and in all.
    starts: Vec<i64>,
    /// The output of each chain.
    outputs: Vec<i64>,
    lengths: Vec<i64>,
    inputs: Vec<u64>,
    /// In the register type.
    weights: Vec<u8>,
}

/// Whether each weight is zero, output by output.
pub(super) fn zeros(wide: &Tensor) -> Vec<bool> {
    match wide.dtype() {
        DType::F32 => wide.as_slice::<f32>().iter().map(|x| *x == 0.0).collect(),
        DType::F64 => wide.as_slice::<f64>().iter().map(|x| *x == 0.0).collect(),
        _ => wide.bytes().chunks_exact(wide.dtype().size()).map(|b| b.iter().all(|x| *x == 0)).collect(),
    }
}

impl Slices {
    fn of(p: &Matrix<'_>, wide: &Tensor, width: u64) -> Slices {
        let (zero, size) = (zeros(wide), wide.dtype().size());
        let links: Vec<Vec<u64>> = (0..p.m).map(|o| (0..p.k).filter(|i| !zero[p.weight(o, *i)]).collect()).collect();
        let mut order: Vec<u64> = (0..p.m).collect();
        if width > 1 {
            order.sort_by_key(|o| std::cmp::Reverse(links[*o as usize].len()));
        }
        let mut s = Slices {
            width,
            starts: vec![0],
            outputs: order.iter().map(|o| *o as i64).collect(),
            lengths: order.iter().map(|o| links[*o as usize].len() as i64).collect(),
            inputs: Vec::new(),
            weights: Vec::new(),
        };
        for slice in order.chunks(width as usize) {
            let longest = slice.iter().map(|o| links[*o as usize].len()).max().unwrap_or(0);
            for l in 0..longest {
                for o in slice {
                    match links[*o as usize].get(l) {
                        Some(i) => {
                            let at = p.weight(*o, *i) * size;
                            s.inputs.push(*i);
                            s.weights.extend_from_slice(&wide.bytes()[at..at + size]);
                        }
                        None => {
                            s.inputs.push(0);
                            s.weights.extend(std::iter::repeat_n(0, size));
                        }
                    }
                }
            }
            s.starts.push(s.inputs.len() as i64);
        }
        s
    }
}

/// Slices in buffers.
struct Placed {
    width: u64,
    chains: u64,
    starts: BufId,
    outputs: BufId,
    lengths: Option<BufId>,
    inputs: Indices,
    weights: BufId,
    elem: DType,
}

/// A buffer of indices.
#[derive(Clone, Copy)]
pub(super) struct Indices {
    buf: BufId,
    elem: DType,
}

impl Indices {
    pub fn load(&self, b: &mut KernelBuilder, at: Index) -> Val {
        let i = b.load(self.buf, self.elem, at);
        if matches!(self.elem, DType::U16 | DType::U8) { b.op(ScalarOp::U32ToI64, &[i]) } else { i }
    }
}

impl Placed {
    fn slices(&self) -> u64 {
        self.chains.div_ceil(self.width)
    }
}

impl Lowering<'_> {
    pub(super) fn table(&mut self, name: String, values: Vec<i64>) -> Result<BufId, Diagnostic> {
        let n = values.len();
        let t = Tensor::from_vec(vec![n], values).ok_or_else(|| self.bug("a table has another length"))?;
        Ok(self.program.add_buffer(name, DType::I64, n as u64, Role::Const(t)))
    }

    /// Indices below `limit`, as narrow as they can be.
    pub(super) fn indices(&mut self, name: String, values: &[u64], limit: u64) -> Result<Indices, Diagnostic> {
        let elem = if crate::cost::index_bytes(limit) == 2 { DType::U16 } else { DType::U32 };
        let mut bytes = Vec::with_capacity(values.len() * elem.size());
        for v in values {
            match elem {
                DType::U16 => bytes.extend_from_slice(&(*v as u16).to_ne_bytes()),
                _ => bytes.extend_from_slice(&(*v as u32).to_ne_bytes()),
            }
        }
        let n = values.len();
        let t = Tensor::from_bytes(elem, vec![n], &bytes).ok_or_else(|| self.bug("indices have another length"))?;
        Ok(Indices { buf: self.program.add_buffer(name, elem, n as u64, Role::Const(t)), elem })
    }

    /// Indices of a byte each.
    pub(super) fn bytes(&mut self, name: String, values: Vec<u8>) -> Result<Indices, Diagnostic> {
        let n = values.len();
        let t = Tensor::from_vec(vec![n], values).ok_or_else(|| self.bug("indices have another length"))?;
        Ok(Indices { buf: self.program.add_buffer(name, DType::U8, n as u64, Role::Const(t)), elem: DType::U8 })
    }

    pub(super) fn sparse_weights(&mut self, name: &str, elem: DType, bytes: &[u8]) -> Result<BufId, Diagnostic> {
        let n = bytes.len() / elem.size();
        let t = Tensor::from_bytes(elem, vec![n], bytes).ok_or_else(|| self.bug("weights have another length"))?;
        Ok(self.program.add_buffer(format!("{name}.weights"), elem, n as u64, Role::Const(t)))
    }

    fn place(&mut self, p: &Matrix<'_>, s: Slices, elem: DType, lengths: bool) -> Result<Placed, Diagnostic> {
        let name = self.facts.graph().name_of(p.y);
        let weights = self.sparse_weights(&name, elem, &s.weights)?;
        let inputs = self.indices(format!("{name}.inputs"), &s.inputs, p.k)?;
        let starts = self.table(format!("{name}.starts"), s.starts)?;
        let outputs = self.table(format!("{name}.outputs"), s.outputs)?;
        let lengths = if lengths { Some(self.table(format!("{name}.lengths"), s.lengths)?) } else { None };
        Ok(Placed { width: s.width, chains: p.m, starts, outputs, lengths, inputs, weights, elem })
    }

    /// Every input, times the weights that are not zero.
    pub fn sparse(&mut self, p: &Matrix<'_>, w: &Tensor) -> Result<(), Diagnostic> {
        let elem = register(self.elem(p.y));
        let turned = p.rows >= ROWS_AS_LANES;
        let check = if elem.is_float() && !self.facts.is_known_finite(p.x) {
            let name = self.facts.graph().name_of(p.y);
            Some(self.zero_if_finite(&name, p.x)?)
        } else {
            None
        };
        let begun = Instant::now();
        let slices = Slices::of(p, &widened(w), if turned { 1 } else { WIDTH });
        self.packing += begun.elapsed();
        let placed = self.place(p, slices, elem, check.is_some())?;
        let input = self.wide(p.x)?;
        let bias = p.bias.map(|v| self.memory(v)).transpose()?;
        if turned {
            self.sparse_turned(p, &placed, (input, bias), check)?;
        } else {
            self.sparse_slices(p, &placed, (input, bias), check)?;
        }
        match check {
            Some(check) => self.sparse_link_by_link(p, &placed, (input, bias), check),
            None => Ok(()),
        }
    }

    /// A few rows: the chains of a slice side by side.
    fn sparse_slices(
        &mut self,
        p: &Matrix<'_>,
        s: &Placed,
        (input, bias): (Memory, Option<Memory>),
        check: Option<BufId>,
    ) -> Result<(), Diagnostic> {
        let (out, m, k, elem) = (self.home(p.y)?, p.m, p.k, s.elem);
        let name = self.facts.graph().name_of(p.y);
        let parallel = Parallel { len: s.slices(), align: 1 };
        let mut b = KernelBuilder::new(format!("sparse {name}"), Some(parallel), 1);
        let (whole, rest) = (m / s.width, m % s.width);
        let chains = |b: &mut KernelBuilder, slice: Val, width: u64| {
            let from = b.load(s.starts, DType::I64, Index::var(slice));
            let to = b.load(s.starts, DType::I64, Index::var(slice).offset(1));
            let n = b.op(ScalarOp::ISub, &[to, from]);
            let by = b.index(width as i64);
            let links = b.op(ScalarOp::IDiv, &[n, by]);
            let none = b.index(0);
            b.for_count(p.rows, false, |b, r| {
                b.for_count(width, true, |b, c| {
                    let o = b.load(s.outputs, DType::I64, Index::var(c).plus(slice, s.width as i64));
                    let init = start(b, bias.as_ref(), elem, Index::var(o));
                    let acc = b.for_carried(none, links, &[init], |b, l, acc| {
                        let at = Index::var(from).plus(l, width as i64).plus(c, 1);
                        let i = s.inputs.load(b, at.clone());
                        let x = input.load(b, Index::var(i).plus(r, k as i64));
                        let w = b.load(s.weights, elem, at);
                        vec![link(b, w, x, acc[0])]
                    });
                    let y = finish(b, acc[0]);
                    b.store(out, Index::var(o).plus(r, m as i64), y);
                });
            });
        };
        if_finite(&mut b, elem, check, true, |b| {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, slice| match (whole, rest) {
                (_, 0) => chains(b, slice, s.width),
                (0, rest) => chains(b, slice, rest),
                (whole, rest) => {
                    let whole = b.index(whole as i64);
                    let full = b.op(ScalarOp::ILt, &[slice, whole]);
                    b.if_else(full, |b| chains(b, slice, s.width), |b| chains(b, slice, rest));
                }
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// Many rows: they are the lanes, once inputs lie beside each other row by row.
    fn sparse_turned(
        &mut self,
        p: &Matrix<'_>,
        s: &Placed,
        (input, bias): (Memory, Option<Memory>),
        check: Option<BufId>,
    ) -> Result<(), Diagnostic> {
        let (out, m, k, rows, elem) = (self.home(p.y)?, p.m, p.k, p.rows, s.elem);
        let name = self.facts.graph().name_of(p.y);
        let turned = self.program.add_buffer(format!("{name}.turned"), elem, k * rows, Role::Temp);
        let mut b = KernelBuilder::new(format!("turn {name}"), Some(Parallel { len: k, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, i| {
            b.for_count(rows, true, |b, r| {
                let x = input.load(b, Index::var(i).plus(r, k as i64));
                b.store(turned, Index::var(r).plus(i, rows as i64), x);
            });
        });
        self.program.push(b.finish());
        let mut b = KernelBuilder::new(format!("sparse {name}"), Some(Parallel { len: m, align: 1 }), 1);
        if_finite(&mut b, elem, check, true, |b| {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, o| {
                let from = b.load(s.starts, DType::I64, Index::var(o));
                let to = b.load(s.starts, DType::I64, Index::var(o).offset(1));
                let init = start(b, bias.as_ref(), elem, Index::var(o));
                b.for_count(rows, true, |b, r| {
                    let acc = b.for_carried(from, to, &[init], |b, l, acc| {
                        let i = s.inputs.load(b, Index::var(l));
                        let w = b.load(s.weights, elem, Index::var(l));
                        let x = b.load(turned, elem, Index::var(r).plus(i, rows as i64));
                        vec![link(b, w, x, acc[0])]
                    });
                    let y = finish(b, acc[0]);
                    b.store(out, Index::var(o).plus(r, m as i64), y);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// Where the input is not finite.
    fn sparse_link_by_link(
        &mut self,
        p: &Matrix<'_>,
        s: &Placed,
        (input, bias): (Memory, Option<Memory>),
        check: BufId,
    ) -> Result<(), Diagnostic> {
        let (out, m, k, elem) = (self.home(p.y)?, p.m, p.k, s.elem);
        let lengths = s.lengths.ok_or_else(|| self.bug("sparse chains without lengths"))?;
        let name = self.facts.graph().name_of(p.y);
        let mut b = KernelBuilder::new(format!("careful {name}"), Some(Parallel { len: m, align: 1 }), 1);
        if_finite(&mut b, elem, Some(check), false, |b| {
            let (lo, hi, none) = (b.lo(), b.hi(), b.index(0));
            b.for_count(p.rows, false, |b, r| {
                let end = b.index(k as i64);
                let total = b.for_carried(none, end, &[none], |b, i, n| {
                    let x = input.load(b, Index::var(i).plus(r, k as i64));
                    vec![counted(b, x, n[0])]
                });
                b.for_loop(lo, hi, false, |b, chain| {
                    let by = b.index(s.width as i64);
                    let slice = b.op(ScalarOp::IDiv, &[chain, by]);
                    let first = b.op(ScalarOp::IMul, &[slice, by]);
                    let c = b.op(ScalarOp::ISub, &[chain, first]);
                    let left = b.index(m as i64);
                    let left = b.op(ScalarOp::ISub, &[left, first]);
                    let short = b.op(ScalarOp::ILt, &[left, by]);
                    let width = b.op(ScalarOp::Select, &[short, left, by]);
                    let from = b.load(s.starts, DType::I64, Index::var(slice));
                    let o = b.load(s.outputs, DType::I64, Index::var(chain));
                    let n = b.load(lengths, DType::I64, Index::var(chain));
                    let init = start(b, bias.as_ref(), elem, Index::var(o));
                    let chain = b.for_carried(none, n, &[init, none], |b, l, acc| {
                        let at = b.op(ScalarOp::IMul, &[l, width]);
                        let at = Index::var(at).plus(from, 1).plus(c, 1);
                        let i = s.inputs.load(b, at.clone());
                        let w = b.load(s.weights, elem, at);
                        let x = input.load(b, Index::var(i).plus(r, k as i64));
                        vec![link(b, w, x, acc[0]), counted(b, x, acc[1])]
                    });
                    let y = finish(b, chain[0]);
                    let y = spoiled(b, elem, y, (chain[1], total[0]));
                    b.store(out, Index::var(o).plus(r, m as i64), y);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// The inputs that are not zero, times those of their weights that are not zero. Each part adds to outputs of its own.
    pub fn sparse_events(&mut self, p: &Matrix<'_>, w: &Tensor, chosen: &Chosen) -> Result<(), Diagnostic> {
        let elem = register(self.elem(p.y));
        let graded = matches!(chosen.drive, Drive::Graded(_));
        let rows = self.by_row(chosen, p.k)?;
        let input = if graded { Some(self.memory(p.x)?) } else { None };
        let guarded = graded && !self.facts.is_known_finite(p.x);
        let bias = p.bias.map(|v| self.memory(v)).transpose()?;
        let name = self.facts.graph().name_of(p.y);
        let blocks = if p.rows >= u64::from(self.program.parts) { 1 } else { u64::from(self.program.parts).min(p.m) };
        let bounds: Vec<u64> = (0..=blocks).map(|c| p.m * c / blocks).collect();
        let begun = Instant::now();
        let columns = Columns::of(p, &widened(w), &bounds);
        self.packing += begun.elapsed();
        let weights = self.sparse_weights(&name, elem, &columns.weights)?;
        let outputs = self.indices(format!("{name}.outputs"), &columns.outputs, p.m)?;
        let starts = self.table(format!("{name}.starts"), columns.starts)?;
        let ends = self.table(format!("{name}.blocks"), bounds.iter().map(|x| *x as i64).collect())?;
        let (out, m, k) = (self.home(p.y)?, p.m, p.k);
        self.homes.raw[p.y.index()] = true;
        let hits = guarded.then(|| self.program.add_buffer(format!("{name}.hits"), DType::I64, p.rows * m, Role::Temp));
        let parallel = Parallel { len: p.rows * blocks, align: 1 };
        let mut b = KernelBuilder::new(format!("sparse {name}"), Some(parallel), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, item| {
            let (row, block) = super::super::data::divided(b, item, blocks);
            let first = b.load(ends, DType::I64, Index::var(block));
            let last = b.load(ends, DType::I64, Index::var(block).offset(1));
            b.for_loop(first, last, true, |b, o| {
                let init = start(b, bias.as_ref(), elem, Index::var(o));
                b.store(out, Index::var(o).plus(row, m as i64), init);
            });
            let (from, to) = rows.range(b, &Index::var(row));
            let column = |b: &mut KernelBuilder, i: Val, each: &dyn Fn(&mut KernelBuilder, Val, Index)| {
                let at = Index::var(i).plus(block, k as i64 + 1);
                let (q, end) = (b.load(starts, DType::I64, at.clone()), b.load(starts, DType::I64, at.offset(1)));
                b.for_loop(q, end, false, |b, q| {
                    let o = outputs.load(b, Index::var(q));
                    each(b, q, Index::var(o).plus(row, m as i64));
                });
            };
            let value = |b: &mut KernelBuilder, i: Val| input.map(|m| m.load(b, Index::var(i).plus(row, k as i64)));
            let none = zero(b, elem);
            let looked = b.for_carried(from, to, &vec![none; usize::from(guarded)], |b, e, looked| {
                let i = rows.at(b, e);
                let x = value(b, i);
                column(b, i, &|b, q, to| {
                    let w = b.load(weights, elem, Index::var(q));
                    let acc = b.load(out, elem, to.clone());
                    let acc = match x {
                        Some(x) => link(b, w, x, acc),
                        None => b.op(ScalarOp::FAdd, &[acc, w]),
                    };
                    b.store(out, to, acc);
                });
                looked.iter().zip(x).map(|(sum, x)| link(b, x, none, *sum)).collect()
            });
            let (Some(hits), [looked]) = (hits, &looked[..]) else { return };
            let bad = b.op(ScalarOp::FUno, &[*looked, *looked]);
            b.if_then(bad, |b| {
                b.for_loop(first, last, true, |b, o| {
                    let none = b.index(0);
                    b.store(hits, Index::var(o).plus(row, m as i64), none);
                });
                let none = b.index(0);
                let total = b.for_carried(from, to, &[none], |b, e, total| {
                    let i = rows.at(b, e);
                    let Some(x) = value(b, i) else { return total.to_vec() };
                    let next = counted(b, x, total[0]);
                    let more = b.op(ScalarOp::INe, &[next, total[0]]);
                    b.if_then(more, |b| {
                        column(b, i, &|b, _, to| {
                            let (one, n) = (b.index(1), b.load(hits, DType::I64, to.clone()));
                            let n = b.op(ScalarOp::IAdd, &[n, one]);
                            b.store(hits, to, n);
                        });
                    });
                    vec![next]
                });
                b.for_loop(first, last, false, |b, o| {
                    let at = Index::var(o).plus(row, m as i64);
                    let (y, n) = (b.load(out, elem, at.clone()), b.load(hits, DType::I64, at.clone()));
                    let y = spoiled(b, elem, y, (n, total[0]));
                    b.store(out, at, y);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}

/// `n`, or one more if `x` is not finite.
pub(super) fn counted(b: &mut KernelBuilder, x: Val, n: Val) -> Val {
    let none = b.op(ScalarOp::FSub, &[x, x]);
    let bad = b.op(ScalarOp::FUno, &[none, none]);
    let one = b.index(1);
    let more = b.op(ScalarOp::IAdd, &[n, one]);
    b.op(ScalarOp::Select, &[bad, more, n])
}

/// `y`, or NaN if a chain met fewer inputs that are not finite than there are.
pub(super) fn spoiled(b: &mut KernelBuilder, elem: DType, y: Val, (met, total): (Val, Val)) -> Val {
    let none = zero(b, elem);
    let nan = b.op(ScalarOp::FDiv, &[none, none]);
    let fewer = b.op(ScalarOp::ILt, &[met, total]);
    b.op(ScalarOp::Select, &[fewer, nan, y])
}

/// The weights that are not zero, input by input, for each block of outputs.
struct Columns {
    /// Elements before each input's, block by block, with the end after each block's last.
    starts: Vec<i64>,
    outputs: Vec<u64>,
    weights: Vec<u8>,
}

impl Columns {
    fn of(p: &Matrix<'_>, wide: &Tensor, bounds: &[u64]) -> Columns {
        let (zero, size) = (zeros(wide), wide.dtype().size());
        let blocks = bounds.len() - 1;
        // Where the next weight of each input goes, block by block: first their numbers, then the sums of these.
        let mut next = vec![0; blocks * p.k as usize];
        let each = |f: &mut dyn FnMut(usize, u64, usize)| {
            for c in 0..blocks {
                for o in bounds[c]..bounds[c + 1] {
                    for i in 0..p.k {
                        let at = p.weight(o, i);
                        if !zero[at] {
                            f(c * p.k as usize + i as usize, o, at * size);
                        }
                    }
                }
            }
        };
        each(&mut |column, _, _| next[column] += 1);
        let (mut starts, mut sum) = (Vec::with_capacity(next.len() + blocks), 0usize);
        for (n, first) in next.iter_mut().enumerate() {
            starts.push(sum as i64);
            sum += std::mem::replace(first, sum);
            if (n + 1).is_multiple_of(p.k as usize) {
                starts.push(sum as i64);
            }
        }
        let (mut outputs, mut weights) = (vec![0; sum], vec![0; sum * size]);
        each(&mut |column, o, at| {
            let q = next[column];
            next[column] += 1;
            outputs[q] = o;
            weights[q * size..(q + 1) * size].copy_from_slice(&wide.bytes()[at..at + size]);
        });
        Columns { starts, outputs, weights }
    }
}
