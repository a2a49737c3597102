//! Products tile by tile: a few rows of inputs times a few outputs side by side, whose chains stay in registers from the
//! first link to the last. A weight that is loaded serves all rows of the tile, an input all its outputs. The order
//! along each chain is that of its links, whatever the tile.

use super::super::Lowering;
use super::super::homes::Memory;
use nc_ir::graph::expand;
use nc_ir::kernel::{
    BufId, Emit, Index, KernelBuilder, Parallel, Role, Scalar, ScalarOp, ScalarType, Val, loaded_type,
};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// The element type that holds what a register of `elem` holds.
pub(crate) fn register(elem: DType) -> DType {
    match loaded_type(elem) {
        ScalarType::F32 => DType::F32,
        ScalarType::F64 => DType::F64,
        ScalarType::I32 => DType::I32,
        ScalarType::I64 => DType::I64,
        ScalarType::Bool => DType::Bool,
    }
}

/// Zero of the register type of `elem`, +0 for floats: where a chain without bias starts.
pub(crate) fn zero(b: &mut KernelBuilder, elem: DType) -> Val {
    b.constant(expand::number(elem, 0))
}

/// A link of a chain: `acc + w x`, rounded once for floats, wrapping for integers.
pub(crate) fn link(b: &mut KernelBuilder, w: Val, x: Val, acc: Val) -> Val {
    match b.type_of(acc) {
        ScalarType::F32 | ScalarType::F64 => b.op(ScalarOp::Fma, &[w, x, acc]),
        ScalarType::I32 | ScalarType::I64 | ScalarType::Bool => {
            let p = b.op(ScalarOp::IMul, &[w, x]);
            b.op(ScalarOp::IAdd, &[acc, p])
        }
    }
}

/// The end of a chain: `acc + 0.0` for floats.
pub(crate) fn finish(b: &mut KernelBuilder, acc: Val) -> Val {
    match b.type_of(acc) {
        ScalarType::F32 | ScalarType::F64 => super::super::homes::plus_zero(b, acc),
        ScalarType::I32 | ScalarType::I64 | ScalarType::Bool => acc,
    }
}

/// The sum of two indices.
pub(crate) fn sum(mut a: Index, b: Index) -> Index {
    a.terms.extend(b.terms);
    a.offset += b.offset;
    a
}

/// Lanes of the widest register of chains.
const REGISTER: u64 = 8;

/// The lanes of a tile whose last register is filled up, where that takes less time than what is left one by one.
fn filled(lanes: u64) -> u64 {
    if lanes <= 1 { lanes } else { lanes.next_multiple_of(REGISTER) }
}

/// Where the chains of a filled tile stop over: lanes that are no outputs have no other place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spare {
    buf: BufId,
    tile: Tile,
}

impl Lowering<'_> {
    /// A place for tiles whose last register is filled up, one for each part; `None` if there are no such tiles.
    pub(crate) fn spare(&mut self, name: &str, panels: Panels, tile: Tile) -> Option<Spare> {
        let rest = panels.outputs % panels.lanes;
        if panels.width(rest) == rest {
            return None;
        }
        let len = tile.rows * tile.lanes * u64::from(self.program.parts.max(1));
        Some(Spare { buf: self.program.add_buffer(format!("{name}.spare"), DType::F32, len, Role::Temp), tile })
    }
}

/// How many rows and outputs a tile has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    pub rows: u64,
    pub lanes: u64,
}

impl Tile {
    /// The tile for products of so many rows. At least eight registers of eight lanes hold chains: a chain's next link
    /// waits four cycles for the last one, in which two links are begun each; the other registers hold inputs and
    /// weights. Where registers have four lanes, a tile is computed in two passes.
    pub fn of(rows: u64) -> Tile {
        match rows {
            0 | 1 => Tile { rows: 1, lanes: 64 },
            2 | 3 => Tile { rows, lanes: 32 },
            _ => Tile { rows: 4, lanes: 16 },
        }
    }
}

/// An extent cut in pieces of one width, and what is left.
#[derive(Clone, Copy, Debug)]
struct Cut {
    width: u64,
    whole: u64,
    rest: u64,
}

impl Cut {
    fn of(n: u64, width: u64) -> Cut {
        Cut { width, whole: n / width, rest: n % width }
    }

    fn pieces(&self) -> u64 {
        self.whole + u64::from(self.rest > 0)
    }
}

/// Where a tile stands.
pub(crate) struct At<'a> {
    /// What `Grid::outer` made of the number of the product.
    pub outer: &'a [Val],
    /// First output.
    pub output: Index,
    /// Number of the tile along the outputs.
    pub tile: Val,
    /// Outputs of the tile.
    pub lanes: u64,
    /// First row.
    pub row: Index,
    /// Rows of the tile.
    pub rows: u64,
}

/// `outer` products of `rows` times `outputs`, cut into tiles, which are what the parts of a kernel share.
pub(crate) struct Grid {
    pub outer: u64,
    pub outputs: u64,
    pub rows: u64,
    pub tile: Tile,
}

impl Grid {
    fn cuts(&self) -> (Cut, Cut) {
        (Cut::of(self.outputs, self.tile.lanes), Cut::of(self.rows, self.tile.rows))
    }

    /// The extent that a kernel over the grid is split over.
    pub fn parallel(&self) -> Parallel {
        let (outputs, rows) = self.cuts();
        Parallel { len: self.outer * outputs.pieces() * rows.pieces(), align: 1 }
    }

    /// Writes the loops over the tiles of the part. `outer` looks at the number of a product once; `body` is written for
    /// whole tiles and for those at the ends.
    pub fn tiles(
        &self,
        b: &mut KernelBuilder,
        outer: &dyn Fn(&mut KernelBuilder, Val) -> Vec<Val>,
        body: &dyn Fn(&mut KernelBuilder, &At<'_>),
    ) {
        let (outputs, rows) = self.cuts();
        let (lo, hi) = (b.lo(), b.hi());
        let n = b.index(rows.pieces() as i64);
        // Tiles that differ in the rows alone follow each other, so that their weights stay in the cache.
        let (first, end) = if rows.pieces() == 1 {
            (lo, hi)
        } else {
            let most = b.index(rows.pieces() as i64 - 1);
            let up = b.op(ScalarOp::IAdd, &[hi, most]);
            (b.op(ScalarOp::IDiv, &[lo, n]), b.op(ScalarOp::IDiv, &[up, n]))
        };
        b.for_loop(first, end, false, |b, column| {
            let zero = b.index(0);
            let begin = b.op(ScalarOp::IMul, &[column, n]);
            let from = b.op(ScalarOp::ISub, &[lo, begin]);
            let before = b.op(ScalarOp::ILt, &[from, zero]);
            let from = b.op(ScalarOp::Select, &[before, zero, from]);
            let to = b.op(ScalarOp::ISub, &[hi, begin]);
            let after = b.op(ScalarOp::IGt, &[to, n]);
            let to = b.op(ScalarOp::Select, &[after, n, to]);
            let pieces = b.index(outputs.pieces() as i64);
            let (product, tile) = if self.outer == 1 {
                (zero, column)
            } else {
                let product = b.op(ScalarOp::IDiv, &[column, pieces]);
                let past = b.op(ScalarOp::IMul, &[product, pieces]);
                (product, b.op(ScalarOp::ISub, &[column, past]))
            };
            let at = outer(b, product);
            let row_tiles = |b: &mut KernelBuilder, lanes: u64| {
                let output = Index::default().plus(tile, outputs.width as i64);
                let at = |row: Index, rows: u64| At { outer: &at, output: output.clone(), tile, lanes, row, rows };
                let whole = b.index(rows.whole as i64);
                if rows.whole > 0 {
                    let past = b.op(ScalarOp::IGt, &[to, whole]);
                    let to = b.op(ScalarOp::Select, &[past, whole, to]);
                    b.for_loop(from, to, false, |b, r| {
                        body(b, &at(Index::default().plus(r, rows.width as i64), rows.width));
                    });
                }
                if rows.rest > 0 {
                    let row = Index::at((rows.whole * rows.width) as i64);
                    let last = b.op(ScalarOp::IGt, &[to, whole]);
                    b.if_then(last, |b| body(b, &at(row, rows.rest)));
                }
            };
            match (outputs.whole, outputs.rest) {
                (_, 0) => row_tiles(b, outputs.width),
                (0, rest) => row_tiles(b, rest),
                (whole, rest) => {
                    let whole = b.index(whole as i64);
                    let full = b.op(ScalarOp::ILt, &[tile, whole]);
                    b.if_else(full, |b| row_tiles(b, outputs.width), |b| row_tiles(b, rest));
                }
            }
        });
    }
}

/// What the chains of a tile are made of.
pub(crate) struct Product<'a> {
    /// Links of a chain.
    pub depth: u64,
    /// Where inputs are; `None` where they are all 1.
    pub input: Option<Memory>,
    pub out: BufId,
    /// Elements from one output to the next in `out`.
    pub stride: u64,
    /// Where tiles stop over whose last register is filled up, as it is in the panels of the weights.
    pub spare: Option<Spare>,
    /// The start of the chain of an output.
    pub start: &'a dyn Fn(&mut KernelBuilder, &At<'_>, Index) -> Val,
    /// Where the inputs and the outputs of a row begin.
    pub row: &'a dyn Fn(&mut KernelBuilder, &At<'_>, Index) -> (Index, Index),
    /// Where the input of link k lies, from where those of the row begin, and which of the weights is its own.
    pub link: &'a dyn Fn(&mut KernelBuilder, Val) -> (Index, Val),
    /// That weight for output j of the tile.
    pub weight: &'a dyn Fn(&mut KernelBuilder, &At<'_>, Val, Val) -> Val,
}

impl Product<'_> {
    /// Writes one tile, with chains of all links.
    pub fn tile(&self, b: &mut KernelBuilder, at: &At<'_>) {
        let range = (b.index(0), b.index(self.depth as i64));
        self.tile_of(b, at, range);
    }

    /// Writes one tile, with chains of a range of links.
    pub fn tile_of(&self, b: &mut KernelBuilder, at: &At<'_>, range: (Val, Val)) {
        let rows: Vec<(Index, Index)> =
            (0..at.rows).map(|r| (self.row)(b, at, at.row.clone().offset(r as i64))).collect();
        let place = |row: usize, output: &Index| {
            let mut to = rows[row].1.clone();
            to.offset += output.offset * self.stride as i64;
            to.terms.extend(output.terms.iter().map(|(v, c)| (*v, c * self.stride as i64)));
            to
        };
        let Some(spare) = self.spare.filter(|_| filled(at.lanes) != at.lanes) else {
            let start = |b: &mut KernelBuilder, j: Val| (self.start)(b, at, at.output.clone().plus(j, 1));
            let end = |b: &mut KernelBuilder, row: usize, j: Val, y: Val| {
                b.store(self.out, place(row, &at.output.clone().plus(j, 1)), y);
            };
            return self.chains(b, at, range, &rows, &start, &end);
        };
        let part = b.part();
        let stop = |row: usize| {
            Index::at((row as u64 * spare.tile.lanes) as i64).plus(part, (spare.tile.rows * spare.tile.lanes) as i64)
        };
        let full = At { lanes: filled(at.lanes), output: at.output.clone(), row: at.row.clone(), ..*at };
        for j in 0..full.lanes {
            let v = match j < at.lanes {
                true => (self.start)(b, at, at.output.clone().offset(j as i64)),
                false => zero(b, DType::F32),
            };
            b.store(spare.buf, stop(0).offset(j as i64), v);
        }
        let start = |b: &mut KernelBuilder, j: Val| b.load(spare.buf, DType::F32, stop(0).plus(j, 1));
        let end = |b: &mut KernelBuilder, row: usize, j: Val, y: Val| b.store(spare.buf, stop(row).plus(j, 1), y);
        self.chains(b, &full, range, &rows, &start, &end);
        for row in 0..rows.len() {
            for j in 0..at.lanes {
                let y = b.load(spare.buf, DType::F32, stop(row).offset(j as i64));
                b.store(self.out, place(row, &at.output.clone().offset(j as i64)), y);
            }
        }
    }

    /// The chains of a tile, lane by lane.
    fn chains(
        &self,
        b: &mut KernelBuilder,
        at: &At<'_>,
        (from, to): (Val, Val),
        rows: &[(Index, Index)],
        start: &dyn Fn(&mut KernelBuilder, Val) -> Val,
        end: &dyn Fn(&mut KernelBuilder, usize, Val, Val),
    ) {
        b.for_count(at.lanes, true, |b, j| {
            let start = start(b, j);
            let acc = b.for_carried(from, to, &vec![start; rows.len()], |b, k, acc| {
                let (by, own) = (self.link)(b, k);
                let w = (self.weight)(b, at, j, own);
                let next = rows.iter().zip(acc).map(|((row, _), acc)| match &self.input {
                    Some(input) => {
                        let x = input.load(b, sum(row.clone(), by.clone()));
                        link(b, w, x, *acc)
                    }
                    None => b.op(ScalarOp::FAdd, &[*acc, w]),
                });
                next.collect()
            });
            for (row, acc) in acc.into_iter().enumerate() {
                let y = finish(b, acc);
                end(b, row, j, y);
            }
        });
    }
}

/// Weights in panels `[product][tile][link][lane]`; the last tile of a product is as wide as what is left, or a little
/// wider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels {
    pub outputs: u64,
    pub depth: u64,
    pub lanes: u64,
    /// The last register of the last tile is filled up.
    pub filled: bool,
}

impl Panels {
    /// Elements of one product's panels.
    pub fn len(&self) -> u64 {
        (self.outputs / self.lanes * self.lanes + self.width(self.outputs % self.lanes)) * self.depth
    }

    /// Elements of a link of a tile with so many outputs.
    fn width(&self, lanes: u64) -> u64 {
        if self.filled { filled(lanes) } else { lanes }
    }

    /// The element for lane j and link k of a tile, in the panels of the first product.
    pub fn index(&self, at: &At<'_>, j: Val, k: Val) -> Index {
        Index::var(j).plus(at.tile, (self.lanes * self.depth) as i64).plus(k, self.width(at.lanes) as i64)
    }

    /// Known weights in panels, in the register type. `element(product, output, link)` says where each weight stands.
    pub fn pack(&self, w: &Tensor, products: u64, element: impl Fn(u64, u64, u64) -> u64) -> Tensor {
        let wide = widened(w);
        let size = wide.dtype().size();
        let from = wide.bytes();
        let mut out = Vec::with_capacity((products * self.len()) as usize * size);
        for p in 0..products {
            let mut first = 0;
            while first < self.outputs {
                let width = self.lanes.min(self.outputs - first);
                for k in 0..self.depth {
                    for j in first..first + width {
                        let at = element(p, j, k) as usize * size;
                        out.extend_from_slice(&from[at..at + size]);
                    }
                    out.extend(std::iter::repeat_n(0, (self.width(width) - width) as usize * size));
                }
                first += width;
            }
        }
        let n = out.len() / size;
        Tensor::from_bytes(wide.dtype(), vec![n], &out).unwrap_or(wide)
    }
}

/// A tensor's elements in the type of their register.
pub(crate) fn widened(t: &Tensor) -> Tensor {
    let to = register(t.dtype());
    if to == t.dtype() {
        return t.clone();
    }
    let mut out = Vec::with_capacity(t.len() * to.size());
    for k in 0..t.len() {
        match expand::load(t, k) {
            Some(Scalar::F32(x)) => out.extend_from_slice(&x.to_ne_bytes()),
            Some(Scalar::F64(x)) => out.extend_from_slice(&x.to_ne_bytes()),
            Some(Scalar::I32(x)) => out.extend_from_slice(&x.to_ne_bytes()),
            Some(Scalar::I64(x)) => out.extend_from_slice(&x.to_ne_bytes()),
            Some(Scalar::Bool(x)) => out.push(u8::from(x)),
            None => {}
        }
    }
    Tensor::from_bytes(to, t.shape().to_vec(), &out).unwrap_or_else(|| t.clone())
}
