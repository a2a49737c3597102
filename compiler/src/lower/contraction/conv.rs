//! Convolutions with any number of spatial axes.
//!
//! The input stands in a frame with zero margins, so that the chain of every output has the same links: with finite weights
//! the added zeros change nothing. Where weights are not finite, or may not be, chains run over the kernel positions
//! inside the input alone. Output channels are the lanes of a tile and positions its rows; where a group has but a few
//! output channels, as in depthwise convolutions, positions along the last axis are the lanes.

use super::super::data::{Fill, Frame, apart, divided, remainder, row_major};
use super::super::homes::Memory;
use super::choose::chosen;
use super::tile::{At, Grid, Panels, Product, Tile, finish, link, register, zero};
use super::{Lowering, start};
use crate::cost::Repr;
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, ValueId, expand};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// Output channels of a group from which on they are lanes.
const CHANNELS_AS_LANES: u64 = 4;
/// Links of a chain that are written out one after the other, their weights kept in registers.
const UNROLL: u64 = 32;

/// What a convolution is about.
pub(super) struct Shape {
    /// Element type of registers.
    pub elem: DType,
    pub images: u64,
    pub groups: u64,
    /// Input channels of a group.
    pub inputs: u64,
    /// Output channels of a group.
    pub outputs: u64,
    /// The spatial axes of the input as it is read: with margins if it is framed.
    pub space: Vec<u64>,
    pub positions: Vec<u64>,
    pub kernel: Vec<u64>,
    pub stride: Vec<u64>,
    pub dilation: Vec<u64>,
}

impl Shape {
    /// Links of a chain.
    fn depth(&self) -> u64 {
        self.inputs * self.taps()
    }

    pub fn taps(&self) -> u64 {
        self.kernel.iter().product()
    }

    /// Elements of one input channel.
    pub fn area(&self) -> u64 {
        self.space.iter().product()
    }

    pub fn count(&self) -> u64 {
        self.positions.iter().product()
    }

    /// Where the input of each link lies, from where the window begins in the group's first channel.
    fn links(&self) -> Vec<u64> {
        let (steps, sizes) = (row_major(&self.space), row_major(&self.kernel));
        (0..self.depth())
            .map(|k| {
                let (channel, tap) = (k / self.taps(), k % self.taps());
                let within = |a: usize| tap / sizes[a] % self.kernel[a] * self.dilation[a] * steps[a];
                channel * self.area() + (0..self.kernel.len()).map(within).sum::<u64>()
            })
            .collect()
    }
}

/// The operands where they are.
struct Operands {
    input: Memory,
    bias: Option<Memory>,
    out: BufId,
    name: String,
}

impl Lowering<'_> {
    /// `conv(x, w, bias)`.
    pub fn conv(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Conv { stride, pad, dilation, groups } = &node.op else {
            return Err(self.bug("not a convolution"));
        };
        let (x, w, y) = (node.args[0], node.args[1], node.results[0]);
        if self.facts.count(y) == 0 {
            return Ok(());
        }
        let (ex, ew) = (self.facts.extents(x), self.facts.extents(w));
        let n = ew.len() - 2;
        let lead = ex.len() - n - 1;
        let (elem, groups) = (register(self.elem(y)), (*groups).max(1));
        let mut shape = Shape {
            elem,
            images: ex[..lead].iter().product(),
            groups,
            inputs: ew[1],
            outputs: ew[0] / groups,
            space: ex[lead + 1..].to_vec(),
            positions: self.facts.extents(y)[lead + 1..].to_vec(),
            kernel: ew[2..].to_vec(),
            stride: stride.clone(),
            dilation: dilation.clone(),
        };
        if let Some(c) = chosen(&self.facts, node) {
            self.counter(x, &c)?;
            self.note(&c);
            if c.repr == Repr::Events {
                return self.conv_events(&shape, pad, (x, w, y), node.args.get(2).copied(), &c);
            }
        }
        let mut operands = Operands {
            input: self.wide(x)?,
            bias: node.args.get(2).copied().map(|v| self.memory(v)).transpose()?,
            out: self.home(y)?,
            name: self.facts.graph().name_of(y),
        };
        let padded = pad.iter().any(|p| *p > 0);
        // Integers are finite, and so are weights that were looked at. Others decide in each tick.
        let finite = !elem.is_float() || self.facts.finite[w.index()];
        let mut check = None;
        if padded && !finite {
            let known = self.facts.known[w.index()].is_some();
            if !known {
                check = Some(self.zero_if_finite(&operands.name, w)?);
            }
            self.conv_inside(&shape, pad, &operands, w, check)?;
            if known {
                return Ok(());
            }
        }
        if padded {
            let rank = vec![0; n];
            let planes = shape.images * ex[lead];
            let frame = Frame { planes, extents: &shape.space, low: &pad[..n], high: &pad[n..], interior: &rank };
            let margins = self.program.add_buffer(
                format!("{}.padded", operands.name),
                elem,
                frame.elements(&node.op)?,
                Role::Temp,
            );
            self.framed(
                format!("pad {}", operands.name),
                &frame,
                operands.input,
                Fill::Known(expand::number(elem, 0)),
                margins,
            );
            operands.input = Memory::whole(margins, elem);
            for a in 0..n {
                shape.space[a] += pad[a] + pad[n + a];
            }
        }
        match shape.outputs >= CHANNELS_AS_LANES {
            true => self.conv_channels(&shape, &operands, (y, w), check),
            false => self.conv_columns(&shape, &operands, w, check),
        }
    }

    /// The distance between the links of a chain, or a table where their inputs lie.
    fn links(&mut self, shape: &Shape, name: &str) -> Result<Links, Diagnostic> {
        let links: Vec<i64> = shape.links().into_iter().map(|k| k as i64).collect();
        let step = links.get(1).map_or(1, |second| second - links[0]);
        if links.windows(2).all(|p| p[1] - p[0] == step) {
            return Ok(Links::Even(step));
        }
        let n = links.len();
        let t = Tensor::from_vec(vec![n], links).ok_or_else(|| self.bug("a table of links has another length"))?;
        Ok(Links::Table(self.program.add_buffer(format!("{name}.links"), DType::I64, n as u64, Role::Const(t))))
    }

    /// Output channels in lanes, positions in rows.
    fn conv_channels(
        &mut self,
        shape: &Shape,
        operands: &Operands,
        (y, w): (ValueId, ValueId),
        check: Option<BufId>,
    ) -> Result<(), Diagnostic> {
        let (elem, depth, count) = (shape.elem, shape.depth(), shape.count());
        let tile = Tile::of(count);
        let grid = Grid { outer: shape.images * shape.groups, outputs: shape.outputs, rows: count, tile };
        let filled = self.fillable(w);
        let panels = Panels { outputs: shape.outputs, depth, lanes: tile.lanes, filled };
        let weights = self.panels(y, w, panels, shape.groups, [shape.outputs * depth, depth, 1])?;
        let spare = self.spare(&operands.name, panels, tile);
        let links = self.links(shape, &operands.name)?;
        let steps = row_major(&shape.space);
        let group = |at: &At<'_>| at.outer[1];
        let product = Product {
            depth,
            input: Some(operands.input),
            out: operands.out,
            stride: count,
            spare,
            start: &|b, at, output| {
                start(b, operands.bias.as_ref(), elem, output.plus(group(at), shape.outputs as i64))
            },
            row: &|b, at, row| {
                let position = value(b, &row);
                let mut from = Index::default().plus(at.outer[0], (shape.inputs * shape.area()) as i64);
                for (a, p) in apart(b, position, &shape.positions).into_iter().enumerate() {
                    from = from.plus(p, (shape.stride[a] * steps[a]) as i64);
                }
                (from, row.plus(at.outer[0], (shape.outputs * count) as i64))
            },
            link: &|b, k| (links.at(b, k), k),
            weight: &|b, at, j, k| b.load(weights, elem, panels.index(at, j, k).plus(group(at), panels.len() as i64)),
        };
        let mut b = KernelBuilder::new(format!("conv {}", operands.name), Some(grid.parallel()), 1);
        let outer = |b: &mut KernelBuilder, product: Val| vec![product, remainder(b, product, shape.groups)];
        if_finite(&mut b, elem, check, true, |b| grid.tiles(b, &outer, &|b, at| product.tile(b, at)));
        self.program.push(b.finish());
        Ok(())
    }

    /// Positions along the last axis in lanes; the few output channels of a group share what is read.
    fn conv_columns(
        &mut self,
        shape: &Shape,
        operands: &Operands,
        w: ValueId,
        check: Option<BufId>,
    ) -> Result<(), Diagnostic> {
        let (elem, depth, count) = (shape.elem, shape.depth(), shape.count());
        let (outer, columns) = match shape.positions.split_last() {
            Some((columns, outer)) => (outer, *columns),
            None => return Err(self.bug("a convolution without spatial axes")),
        };
        let unrolled = depth * shape.outputs <= UNROLL;
        let places = shape.links();
        let links = if unrolled { Links::Even(0) } else { self.links(shape, &operands.name)? };
        let weights = self.memory(w)?;
        let (steps, rows) = (row_major(&shape.space), outer.iter().product::<u64>());
        let step = shape.stride[shape.stride.len() - 1] as i64;
        let parallel = Parallel { len: shape.images * shape.groups * rows, align: 1 };
        let mut b = KernelBuilder::new(format!("conv {}", operands.name), Some(parallel), 1);
        if_finite(&mut b, elem, check, true, |b| {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, item| {
                let (product, row) = divided(b, item, rows);
                let group = remainder(b, product, shape.groups);
                let mut from = Index::default().plus(product, (shape.inputs * shape.area()) as i64);
                for (a, p) in apart(b, row, outer).into_iter().enumerate() {
                    from = from.plus(p, (shape.stride[a] * steps[a]) as i64);
                }
                let channel = |c: u64| Index::at(c as i64).plus(group, shape.outputs as i64);
                let starts: Vec<Val> =
                    (0..shape.outputs).map(|c| start(b, operands.bias.as_ref(), elem, channel(c))).collect();
                let weight = |b: &mut KernelBuilder, c: u64, k: Index| {
                    let first = Index::at((c * depth) as i64).plus(group, (shape.outputs * depth) as i64);
                    weights.load(b, super::tile::sum(first, k))
                };
                let held: Vec<Vec<Val>> = (0..if unrolled { shape.outputs } else { 0 })
                    .map(|c| (0..depth).map(|k| weight(b, c, Index::at(k as i64))).collect())
                    .collect();
                b.for_count(columns, true, |b, column| {
                    let from = from.clone().plus(column, step);
                    let acc = if unrolled {
                        let mut acc = starts.clone();
                        for (k, place) in places.iter().enumerate() {
                            let x = operands.input.load(b, from.clone().offset(*place as i64));
                            for (acc, held) in acc.iter_mut().zip(&held) {
                                *acc = link(b, held[k], x, *acc);
                            }
                        }
                        acc
                    } else {
                        let (zero, end) = (b.index(0), b.index(depth as i64));
                        b.for_carried(zero, end, &starts, |b, k, acc| {
                            let by = links.at(b, k);
                            let x = operands.input.load(b, super::tile::sum(from.clone(), by));
                            let next = acc.iter().enumerate().map(|(c, acc)| {
                                let w = weight(b, c as u64, Index::var(k));
                                link(b, w, x, *acc)
                            });
                            next.collect()
                        })
                    };
                    for (c, acc) in acc.into_iter().enumerate() {
                        let y = finish(b, acc);
                        let to = Index::var(column)
                            .plus(row, columns as i64)
                            .plus(product, (shape.outputs * count) as i64)
                            .offset((c as u64 * count) as i64);
                        b.store(operands.out, to, y);
                    }
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// Chains over the kernel positions inside the input alone; if `check` tells, only where weights are not finite.
    fn conv_inside(
        &mut self,
        shape: &Shape,
        pad: &[u64],
        operands: &Operands,
        w: ValueId,
        check: Option<BufId>,
    ) -> Result<(), Diagnostic> {
        let (elem, depth, count) = (shape.elem, shape.depth(), shape.count());
        let channels = shape.groups * shape.outputs;
        let weights = self.memory(w)?;
        let parallel = Parallel { len: shape.images * channels, align: 1 };
        let mut b = KernelBuilder::new(format!("conv {}", operands.name), Some(parallel), 1);
        if_finite(&mut b, elem, check, false, |b| {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, false, |b, plane| {
                let channel = remainder(b, plane, channels);
                let (product, _) = divided(b, plane, shape.outputs);
                let init = start(b, operands.bias.as_ref(), elem, Index::var(channel));
                b.for_count(count, false, |b, position| {
                    let windows: Vec<[Val; 3]> = apart(b, position, &shape.positions)
                        .into_iter()
                        .enumerate()
                        .map(|(a, p)| window(b, shape, a, pad[a], p))
                        .collect();
                    let input = Index::default().plus(product, (shape.inputs * shape.area()) as i64);
                    let weight = Index::default().plus(channel, depth as i64);
                    let (zero, end) = (b.index(0), b.index(shape.inputs as i64));
                    let acc = b.for_carried(zero, end, &[init], |b, c, acc| {
                        let input = input.clone().plus(c, shape.area() as i64);
                        let weight = weight.clone().plus(c, shape.taps() as i64);
                        vec![covered(b, shape, &windows, acc[0], (input, weight), &|b, input, weight, acc| {
                            let x = operands.input.load(b, input);
                            let w = weights.load(b, weight);
                            link(b, w, x, acc)
                        })]
                    });
                    let y = finish(b, acc[0]);
                    b.store(operands.out, Index::var(position).plus(plane, count as i64), y);
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }

    /// A buffer of one element that is 0 if all of `w` are finite, and NaN otherwise.
    pub fn zero_if_finite(&mut self, name: &str, w: ValueId) -> Result<BufId, Diagnostic> {
        /// Sums side by side.
        const SUMS: u64 = 16;
        let (elem, weights, n) = (register(self.elem(w)), self.memory(w)?, self.facts.count(w));
        let sums = self.program.add_buffer(format!("{name}.sums"), elem, SUMS, Role::Temp);
        let out = self.program.add_buffer(format!("{name}.check"), elem, 1, Role::Temp);
        let mut b = KernelBuilder::new(format!("check {name}"), None, 1);
        let none = zero(&mut b, elem);
        let rounds = n / SUMS;
        b.for_count(SUMS, true, |b, s| {
            let (from, to) = (b.index(0), b.index(rounds as i64));
            let acc = b.for_carried(from, to, &[none], |b, k, acc| {
                let w = weights.load(b, Index::var(s).plus(k, SUMS as i64));
                vec![link(b, w, none, acc[0])]
            });
            b.store(sums, Index::var(s), acc[0]);
        });
        let (from, to) = (b.index((rounds * SUMS) as i64), b.index(n as i64));
        let rest = b.for_carried(from, to, &[none], |b, k, acc| {
            let w = weights.load(b, Index::var(k));
            vec![link(b, w, none, acc[0])]
        });
        let (from, to) = (b.index(0), b.index(SUMS as i64));
        let all = b.for_carried(from, to, &rest, |b, s, acc| {
            let sum = b.load(sums, elem, Index::var(s));
            vec![b.op(ScalarOp::FAdd, &[acc[0], sum])]
        });
        b.store(out, Index::default(), all[0]);
        self.program.push(b.finish());
        Ok(out)
    }
}

/// Where the inputs of the links of a chain lie.
enum Links {
    /// So many elements apart.
    Even(i64),
    /// As a buffer says.
    Table(BufId),
}

impl Links {
    fn at(&self, b: &mut KernelBuilder, k: Val) -> Index {
        match self {
            Links::Even(step) => Index::default().plus(k, *step),
            Links::Table(t) => Index::var(b.load(*t, DType::I64, Index::var(k))),
        }
    }
}

/// Writes `body`, guarded by what a kernel found about the weights, if there is one that looked.
pub(super) fn if_finite(
    b: &mut KernelBuilder,
    elem: DType,
    check: Option<BufId>,
    finite: bool,
    body: impl FnOnce(&mut KernelBuilder),
) {
    match check {
        None => body(b),
        Some(check) => {
            let sum = b.load(check, elem, Index::default());
            let nan = b.op(ScalarOp::FUno, &[sum, sum]);
            let run = if finite { b.op(ScalarOp::Not, &[nan]) } else { nan };
            b.if_then(run, body);
        }
    }
}

/// An index as a value.
fn value(b: &mut KernelBuilder, index: &Index) -> Val {
    index.terms.iter().fold(b.index(index.offset), |sum, (v, c)| {
        let c = b.index(*c);
        let t = b.op(ScalarOp::IMul, &[*v, c]);
        b.op(ScalarOp::IAdd, &[sum, t])
    })
}

/// Along axis `a`, with `before` elements of padding: where the window of position `p` begins, which may be before the input,
/// its first kernel position inside, and one past the last.
fn window(b: &mut KernelBuilder, shape: &Shape, a: usize, before: u64, p: Val) -> [Val; 3] {
    let zero = b.index(0);
    let (stride, before) = (b.index(shape.stride[a] as i64), b.index(before as i64));
    let origin = b.op(ScalarOp::IMul, &[p, stride]);
    let origin = b.op(ScalarOp::ISub, &[origin, before]);
    // The number of kernel positions before an element: rounded up, none if the element is before the window.
    let until = |b: &mut KernelBuilder, element: Val| {
        let (dilation, up) = (b.index(shape.dilation[a] as i64), b.index(shape.dilation[a] as i64 - 1));
        let d = b.op(ScalarOp::ISub, &[element, origin]);
        let d = b.op(ScalarOp::IAdd, &[d, up]);
        let n = b.op(ScalarOp::IDiv, &[d, dilation]);
        let none = b.op(ScalarOp::ILt, &[n, zero]);
        let n = b.op(ScalarOp::Select, &[none, zero, n]);
        let size = b.index(shape.kernel[a] as i64);
        let all = b.op(ScalarOp::IGt, &[n, size]);
        b.op(ScalarOp::Select, &[all, size, n])
    };
    let from = until(b, zero);
    let end = b.index(shape.space[a] as i64);
    [origin, from, until(b, end)]
}

/// Loops over the kernel positions inside the input, row-major, carrying a chain.
fn covered(
    b: &mut KernelBuilder,
    shape: &Shape,
    windows: &[[Val; 3]],
    acc: Val,
    (input, weight): (Index, Index),
    link: &dyn Fn(&mut KernelBuilder, Index, Index, Val) -> Val,
) -> Val {
    let a = shape.kernel.len() - windows.len();
    match windows.split_first() {
        None => link(b, input, weight, acc),
        Some(([origin, from, to], rest)) => {
            let (step, size) = (row_major(&shape.space)[a] as i64, row_major(&shape.kernel)[a] as i64);
            b.for_carried(*from, *to, &[acc], |b, k, acc| {
                let input = input.clone().plus(*origin, step).plus(k, step * shape.dilation[a] as i64);
                vec![covered(b, shape, rest, acc[0], (input, weight.clone().plus(k, size)), link)]
            })[0]
        }
    }
}
