//! Convolutions that walk the events of their input: each adds its weights to the outputs that it reaches.
//!
//! The flat order of the input is that of the links of every chain (channel, then kernel position), so that each output
//! gets its links in order; a kernel position outside the input never comes up. Sums of one image and one group of output
//! channels lie channels innermost, in a piece of memory of each part, and are brought to their places at the end.

use super::super::data::{apart, divided};
use super::super::homes::plus_zero;
use super::super::{Drive, Lowering};
use super::choose::Chosen;
use super::conv::Shape;
use super::start;
use super::tile::{link, register, widened};
use nc_ir::Diagnostic;
use nc_ir::graph::ValueId;
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::time::Instant;

/// Most output channels that one pass over the events adds to.
const CHANNELS: u64 = 64;

/// Along one axis, the positions that each element reaches: pairs of a position and the kernel position that reaches it.
struct Axis {
    /// Pairs before those of each element, and in all.
    starts: Vec<i64>,
    positions: Vec<i64>,
    taps: Vec<i64>,
}

impl Axis {
    fn of(shape: &Shape, a: usize, before: u64) -> Axis {
        let mut axis = Axis { starts: vec![0], positions: Vec::new(), taps: Vec::new() };
        for element in 0..shape.space[a] {
            // Later kernel positions reach earlier positions.
            for tap in (0..shape.kernel[a]).rev() {
                let Some(origin) = (element + before).checked_sub(tap * shape.dilation[a]) else { continue };
                if origin % shape.stride[a] == 0 && origin / shape.stride[a] < shape.positions[a] {
                    axis.positions.push((origin / shape.stride[a]) as i64);
                    axis.taps.push(tap as i64);
                }
            }
            axis.starts.push(axis.positions.len() as i64);
        }
        axis
    }
}

/// The tables of an axis, multiplied by what a step along it is in the sums and in the weights.
struct Tables {
    starts: BufId,
    sums: BufId,
    weights: BufId,
}

impl Lowering<'_> {
    fn i64s(&mut self, name: String, values: Vec<i64>) -> Result<BufId, Diagnostic> {
        let n = values.len();
        let t = Tensor::from_vec(vec![n], values).ok_or_else(|| self.bug("a table has another length"))?;
        Ok(self.program.add_buffer(name, DType::I64, n as u64, Role::Const(t)))
    }

    /// `conv(x, w, bias)` with known, finite weights. `shape` is that of the input without margins.
    pub(super) fn conv_events(
        &mut self,
        shape: &Shape,
        pad: &[u64],
        (x, w, y): (ValueId, ValueId, ValueId),
        bias: Option<ValueId>,
        chosen: &Chosen,
    ) -> Result<(), Diagnostic> {
        let Some(known) = self.facts.known[w.index()] else {
            return Err(self.bug("the weights of events are not known"));
        };
        let elem = register(self.elem(y));
        let (n, count, taps) = (shape.kernel.len(), shape.count(), shape.taps());
        let channels = shape.groups * shape.inputs;
        let lanes = shape.outputs.min(CHANNELS);
        let tiles = shape.outputs.div_ceil(lanes);
        let rows = self.by_row(chosen, channels * shape.area())?;
        let graded = matches!(chosen.drive, Drive::Graded(_));
        let input = if graded { Some(self.memory(x)?) } else { None };
        let bias = bias.map(|v| self.memory(v)).transpose()?;
        let out = self.home(y)?;
        let name = self.facts.graph().name_of(y);
        let begun = Instant::now();
        let packed = packed(shape, &widened(known), lanes, tiles);
        self.packing += begun.elapsed();
        let len = packed.len() as u64;
        let weights = self.program.add_buffer(format!("{name}.weights"), elem, len, Role::Const(packed));
        let mut axes = Vec::with_capacity(n);
        for (a, before) in pad.iter().take(n).enumerate() {
            let axis = Axis::of(shape, a, *before);
            let sums = lanes * shape.positions[a + 1..].iter().product::<u64>();
            let step = lanes * shape.kernel[a + 1..].iter().product::<u64>();
            let scaled = |v: &[i64], by: u64| v.iter().map(|x| x * by as i64).collect();
            axes.push(Tables {
                sums: self.i64s(format!("{name}.reached{a}"), scaled(&axis.positions, sums))?,
                weights: self.i64s(format!("{name}.taps{a}"), scaled(&axis.taps, step))?,
                starts: self.i64s(format!("{name}.starts{a}"), axis.starts)?,
            });
        }
        // Where the weights of an input channel begin, and its group: tables, so that nothing is divided in inner loops.
        let step = taps * lanes;
        let begins = (0..channels).map(|c| (c % shape.inputs * step) as i64).collect();
        let begins = self.i64s(format!("{name}.channels"), begins)?;
        let owners = match shape.groups {
            1 => None,
            _ => {
                let owners = (0..channels).map(|c| (c / shape.inputs) as i64).collect();
                Some(self.i64s(format!("{name}.groups"), owners)?)
            }
        };
        let own = count * lanes;
        let sums =
            self.program.add_buffer(format!("{name}.sums"), elem, own * u64::from(self.program.parts), Role::Temp);
        let parallel = Parallel { len: shape.images * shape.groups * tiles, align: 1 };
        let mut b = KernelBuilder::new(format!("events {name}"), Some(parallel), 1);
        let (lo, hi, part) = (b.lo(), b.hi(), b.part());
        let mut extents = vec![channels];
        extents.extend(&shape.space);
        b.for_loop(lo, hi, false, |b, item| {
            let (plane, tile) = divided(b, item, tiles);
            let (image, group) = divided(b, plane, shape.groups);
            // Output channels of the last tile that do not exist are computed from weights of zero, and not stored.
            let first = Index::default().plus(group, shape.outputs as i64).plus(tile, lanes as i64);
            let place = |p: Val| Index::default().plus(part, own as i64).plus(p, lanes as i64);
            let whole = shape.outputs.is_multiple_of(lanes);
            let limit = b.index(shape.outputs as i64);
            let most = b.index(lanes as i64);
            let before = b.op(ScalarOp::IMul, &[tile, most]);
            let left = b.op(ScalarOp::ISub, &[limit, before]);
            let short = b.op(ScalarOp::ILt, &[left, most]);
            let there = if whole { most } else { b.op(ScalarOp::Select, &[short, left, most]) };
            b.for_count(count, false, |b, p| {
                let zero = b.index(0);
                if !whole {
                    b.for_count(lanes, true, |b, c| {
                        let none = super::tile::zero(b, elem);
                        b.store(sums, place(p).plus(c, 1), none);
                    });
                }
                b.for_loop(zero, there, true, |b, c| {
                    let v = start(b, bias.as_ref(), elem, first.clone().plus(c, 1));
                    b.store(sums, place(p).plus(c, 1), v);
                });
            });
            let (from, to) = rows.range(b, &Index::var(image));
            b.for_loop(from, to, false, |b, e| {
                let i = rows.at(b, e);
                let at = apart(b, i, &extents);
                let value = input.map(|m| m.load(b, Index::var(i).plus(image, (channels * shape.area()) as i64)));
                let body = |b: &mut KernelBuilder| {
                    let begin = b.load(begins, DType::I64, Index::var(at[0]));
                    let from = Index::var(begin).plus(plane_of(b, group, tile, tiles), (shape.inputs * step) as i64);
                    let to = Index::default().plus(part, own as i64);
                    reach(b, &axes, &at[1..], (to, from), &|b, to, from| {
                        b.for_count(lanes, true, |b, c| {
                            let acc = b.load(sums, elem, to.clone().plus(c, 1));
                            let w = b.load(weights, elem, from.clone().plus(c, 1));
                            let acc = match value {
                                Some(x) => link(b, w, x, acc),
                                None => b.op(ScalarOp::FAdd, &[acc, w]),
                            };
                            b.store(sums, to.clone().plus(c, 1), acc);
                        });
                    });
                };
                match owners {
                    None => body(b),
                    Some(owners) => {
                        let owner = b.load(owners, DType::I64, Index::var(at[0]));
                        let mine = b.op(ScalarOp::IEq, &[owner, group]);
                        b.if_then(mine, body);
                    }
                }
            });
            let zero = b.index(0);
            b.for_loop(zero, there, false, |b, c| {
                b.for_count(count, true, |b, p| {
                    let v = b.load(sums, elem, place(p).plus(c, 1));
                    let v = plus_zero(b, v);
                    let to = Index::var(p)
                        .plus(image, (shape.groups * shape.outputs * count) as i64)
                        .plus(group, (shape.outputs * count) as i64)
                        .plus(tile, (lanes * count) as i64)
                        .plus(c, count as i64);
                    b.store(out, to, v);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}

/// The number of a tile of output channels among those of all groups.
fn plane_of(b: &mut KernelBuilder, group: Val, tile: Val, tiles: u64) -> Val {
    let n = b.index(tiles as i64);
    let first = b.op(ScalarOp::IMul, &[group, n]);
    b.op(ScalarOp::IAdd, &[first, tile])
}

/// Loops over the positions that an element reaches, axis by axis.
fn reach(
    b: &mut KernelBuilder,
    axes: &[Tables],
    at: &[Val],
    (to, from): (Index, Index),
    each: &dyn Fn(&mut KernelBuilder, Index, Index),
) {
    let (Some((axis, axes)), Some((v, at))) = (axes.split_first(), at.split_first()) else {
        return each(b, to, from);
    };
    let q = b.load(axis.starts, DType::I64, Index::var(*v));
    let end = b.load(axis.starts, DType::I64, Index::var(*v).offset(1));
    b.for_loop(q, end, false, |b, q| {
        let sums = b.load(axis.sums, DType::I64, Index::var(q));
        let weights = b.load(axis.weights, DType::I64, Index::var(q));
        reach(b, axes, at, (to.clone().plus(sums, 1), from.clone().plus(weights, 1)), each);
    });
}

/// Weights as `[group][tile][input channel][kernel position][output channel]`, the last tile filled up with zeros.
fn packed(shape: &Shape, wide: &Tensor, lanes: u64, tiles: u64) -> Tensor {
    let (size, taps) = (wide.dtype().size(), shape.taps());
    let n = shape.groups * tiles * shape.inputs * taps * lanes;
    let mut out = vec![0; n as usize * size];
    let mut to = 0;
    for g in 0..shape.groups {
        for t in 0..tiles {
            for i in 0..shape.inputs {
                for tap in 0..taps {
                    for j in t * lanes..(t + 1) * lanes {
                        if j < shape.outputs {
                            let at = (((g * shape.outputs + j) * shape.inputs + i) * taps + tap) as usize * size;
                            out[to..to + size].copy_from_slice(&wide.bytes()[at..at + size]);
                        }
                        to += size;
                    }
                }
            }
        }
    }
    Tensor::from_bytes(wide.dtype(), vec![n as usize], &out).unwrap_or_else(|| wide.clone())
}
