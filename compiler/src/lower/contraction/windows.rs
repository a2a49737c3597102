//! Products with sparse weights whose chains walk windows of inputs ([`crate::cost::windows`]): what a chain takes in a step
//! is one of eight inputs side by side, so that one instruction picks those of eight chains out of one register.
//!
//! A chain that takes nothing in a step has a weight of zero there, which changes nothing where inputs are finite. As for
//! other sparse products a kernel looks at that first, and where one is not, another takes the links one by one.

use super::super::Lowering;
use super::super::homes::Memory;
use super::choose::Matrix;
use super::conv::if_finite;
use super::sparse::{Indices, counted, spoiled, zeros};
use super::start;
use super::tile::{finish, link, register, widened, zero};
use crate::cost::windows::{SLICES, TOGETHER, WINDOW, end, order, steps};
use nc_ir::Diagnostic;
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::time::Instant;

/// The links of all chains, step by step: `[together][step][slice][chain]`.
struct Packed {
    /// Steps before those of each group of slices, and in all.
    starts: Vec<i64>,
    /// The output of each chain; the last ones again where there are fewer than chains.
    outputs: Vec<i64>,
    /// The first input of each window.
    firsts: Vec<u64>,
    /// Which input of the window a chain takes.
    places: Vec<u8>,
    weights: Vec<u8>,
}

/// The first input of a step's window, and for each chain that takes one the place of its input there and where its weight is.
type Step = (u32, Vec<Option<(u32, usize)>>);

impl Packed {
    /// `None` where inputs are too few for a window.
    fn of(p: &Matrix<'_>, wide: &Tensor) -> Option<Packed> {
        let (zero, size, bytes) = (zeros(wide), wide.dtype().size(), wide.bytes());
        let taken = |o: u64| (0..p.k).filter(|i| !zero[p.weight(o, *i)]).map(|i| i as u32).collect();
        let links: Vec<Vec<u32>> = (0..p.m).map(taken).collect();
        let (end, order) = (end(&links)?, order(&links));
        let mut packed = Packed {
            starts: vec![0],
            outputs: Vec::new(),
            firsts: Vec::new(),
            places: Vec::new(),
            weights: Vec::new(),
        };
        for together in order.chunks(TOGETHER) {
            let last = *together.last()?;
            let mut outputs = together.to_vec();
            outputs.resize(TOGETHER, last);
            packed.outputs.extend(outputs.iter().map(|o| *o as i64));
            let mut all: Vec<Vec<Step>> = Vec::with_capacity(SLICES);
            for slice in outputs.chunks(WINDOW) {
                let chains: Vec<&[u32]> = slice.iter().map(|o| links[*o].as_slice()).collect();
                let mut own = Vec::new();
                steps(&chains, end, |first, taken| {
                    let link = |(c, n): (usize, &Option<usize>)| {
                        n.map(|n| (chains[c][n] - first, p.weight(slice[c] as u64, u64::from(chains[c][n])) * size))
                    };
                    own.push((first, taken.iter().enumerate().map(link).collect()));
                });
                all.push(own);
            }
            let longest = all.iter().map(Vec::len).max().unwrap_or(0);
            for n in 0..longest {
                for own in &all {
                    let (first, chains) = own.get(n).map_or((0, &[][..]), |(first, chains)| (*first, &chains[..]));
                    packed.firsts.push(u64::from(first));
                    for c in 0..WINDOW {
                        let (place, weight) = match chains.get(c).copied().flatten() {
                            Some((place, at)) => (place as u8, Some(&bytes[at..at + size])),
                            None => (0, None),
                        };
                        packed.places.push(place);
                        packed.weights.extend_from_slice(weight.unwrap_or(&[0; 8][..size]));
                    }
                }
            }
            packed.starts.push((packed.firsts.len() / SLICES) as i64);
        }
        Some(packed)
    }
}

/// The same in buffers.
struct Placed {
    groups: u64,
    starts: BufId,
    outputs: BufId,
    firsts: Indices,
    places: Indices,
    weights: BufId,
    elem: DType,
}

impl Lowering<'_> {
    /// Every window of inputs, times the weights that are not zero. False where inputs are too few for a window.
    pub fn windows(&mut self, p: &Matrix<'_>, w: &Tensor) -> Result<bool, Diagnostic> {
        let elem = register(self.elem(p.y));
        let begun = Instant::now();
        let packed = Packed::of(p, &widened(w));
        self.packing += begun.elapsed();
        let Some(packed) = packed else { return Ok(false) };
        let name = self.facts.graph().name_of(p.y);
        let check = match elem.is_float() && !self.facts.is_known_finite(p.x) {
            true => Some(self.zero_if_finite(&name, p.x)?),
            false => None,
        };
        let groups = packed.starts.len() as u64 - 1;
        let placed = Placed {
            groups,
            starts: self.table(format!("{name}.starts"), packed.starts)?,
            outputs: self.table(format!("{name}.outputs"), packed.outputs)?,
            firsts: self.indices(format!("{name}.firsts"), &packed.firsts, p.k)?,
            places: self.bytes(format!("{name}.places"), packed.places)?,
            weights: self.sparse_weights(&name, elem, &packed.weights)?,
            elem,
        };
        let input = self.wide(p.x)?;
        let bias = p.bias.map(|v| self.memory(v)).transpose()?;
        self.windows_step_by_step(p, &placed, (input, bias), check)?;
        if let Some(check) = check {
            self.windows_link_by_link(p, &placed, (input, bias), check)?;
        }
        Ok(true)
    }

    fn windows_step_by_step(
        &mut self,
        p: &Matrix<'_>,
        s: &Placed,
        (input, bias): (Memory, Option<Memory>),
        check: Option<BufId>,
    ) -> Result<(), Diagnostic> {
        let (out, m, k, elem) = (self.home(p.y)?, p.m, p.k, s.elem);
        let name = self.facts.graph().name_of(p.y);
        let together = TOGETHER as i64;
        // Outputs lie apart: their sums are brought to them from here.
        let sums = TOGETHER as u64 * u64::from(self.program.parts.max(1));
        let sums = self.program.add_buffer(format!("{name}.sums"), elem, sums, Role::Temp);
        let parallel = Parallel { len: s.groups, align: 1 };
        let mut b = KernelBuilder::new(format!("windows {name}"), Some(parallel), 1);
        if_finite(&mut b, elem, check, true, |b| {
            let (lo, hi, part) = (b.lo(), b.hi(), b.part());
            let sum = |c: nc_ir::kernel::Val| Index::var(c).plus(part, together);
            b.for_loop(lo, hi, false, |b, group| {
                let from = b.load(s.starts, DType::I64, Index::var(group));
                let to = b.load(s.starts, DType::I64, Index::var(group).offset(1));
                b.for_count(p.rows, false, |b, r| {
                    if bias.is_some() {
                        b.for_count(TOGETHER as u64, false, |b, c| {
                            let o = b.load(s.outputs, DType::I64, Index::var(c).plus(group, together));
                            let v = start(b, bias.as_ref(), elem, Index::var(o));
                            b.store(sums, sum(c), v);
                        });
                    }
                    b.for_count(WINDOW as u64, true, |b, c| {
                        let own = |n: usize| sum(c).offset((n * WINDOW) as i64);
                        let init: Vec<_> = (0..SLICES)
                            .map(|n| if bias.is_some() { b.load(sums, elem, own(n)) } else { zero(b, elem) })
                            .collect();
                        let acc = b.for_carried(from, to, &init, |b, l, acc| {
                            let mut next = Vec::with_capacity(SLICES);
                            for (n, acc) in acc.iter().enumerate() {
                                let first = s.firsts.load(b, Index::at(n as i64).plus(l, SLICES as i64));
                                let at = Index::at((n * WINDOW) as i64).plus(l, together).plus(c, 1);
                                let place = s.places.load(b, at.clone());
                                let x = input.load(b, Index::var(first).plus(place, 1).plus(r, k as i64));
                                let w = b.load(s.weights, elem, at);
                                next.push(link(b, w, x, *acc));
                            }
                            next
                        });
                        for (n, acc) in acc.into_iter().enumerate() {
                            let y = finish(b, acc);
                            b.store(sums, own(n), y);
                        }
                    });
                    b.for_count(TOGETHER as u64, false, |b, c| {
                        let o = b.load(s.outputs, DType::I64, Index::var(c).plus(group, together));
                        let y = b.load(sums, elem, sum(c));
                        b.store(out, Index::var(o).plus(r, m as i64), y);
                    });
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// Where the input is not finite.
    fn windows_link_by_link(
        &mut self,
        p: &Matrix<'_>,
        s: &Placed,
        (input, bias): (Memory, Option<Memory>),
        check: BufId,
    ) -> Result<(), Diagnostic> {
        let (out, m, k, elem) = (self.home(p.y)?, p.m, p.k, s.elem);
        let name = self.facts.graph().name_of(p.y);
        let together = TOGETHER as i64;
        let mut b = KernelBuilder::new(format!("careful {name}"), Some(Parallel { len: s.groups, align: 1 }), 1);
        if_finite(&mut b, elem, Some(check), false, |b| {
            let (lo, hi, none) = (b.lo(), b.hi(), b.index(0));
            b.for_count(p.rows, false, |b, r| {
                let end = b.index(k as i64);
                let total = b.for_carried(none, end, &[none], |b, i, n| {
                    let x = input.load(b, Index::var(i).plus(r, k as i64));
                    vec![counted(b, x, n[0])]
                });
                b.for_loop(lo, hi, false, |b, group| {
                    let from = b.load(s.starts, DType::I64, Index::var(group));
                    let to = b.load(s.starts, DType::I64, Index::var(group).offset(1));
                    b.for_count(TOGETHER as u64, false, |b, c| {
                        let width = b.index(WINDOW as i64);
                        let slice = b.op(ScalarOp::IDiv, &[c, width]);
                        let o = b.load(s.outputs, DType::I64, Index::var(c).plus(group, together));
                        let init = start(b, bias.as_ref(), elem, Index::var(o));
                        let chain = b.for_carried(from, to, &[init, none], |b, l, acc| {
                            let at = Index::var(c).plus(l, together);
                            let w = b.load(s.weights, elem, at.clone());
                            let nothing = zero(b, elem);
                            let is = b.op(ScalarOp::FNe, &[w, nothing]);
                            let first = s.firsts.load(b, Index::var(slice).plus(l, SLICES as i64));
                            let place = s.places.load(b, at);
                            let x = input.load(b, Index::var(first).plus(place, 1).plus(r, k as i64));
                            let (sum, met) = (link(b, w, x, acc[0]), counted(b, x, acc[1]));
                            let taken = [(sum, acc[0]), (met, acc[1])];
                            taken.map(|(next, last)| b.op(ScalarOp::Select, &[is, next, last])).to_vec()
                        });
                        let y = finish(b, chain[0]);
                        let y = spoiled(b, elem, y, (chain[1], total[0]));
                        b.store(out, Index::var(o).plus(r, m as i64), y);
                    });
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}
