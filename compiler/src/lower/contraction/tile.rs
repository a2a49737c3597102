//! Products tile by tile: a few rows of inputs times a few outputs side by side, whose chains stay in registers from the
//! first link to the last. A weight that is loaded serves all rows of the tile, an input all its outputs. The order
//! along each chain is that of its links, whatever the tile.

use super::super::homes::Memory;
use nc_ir::graph::expand;
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Scalar, ScalarOp, ScalarType, Val, loaded_type};
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
    pub fn tile_of(&self, b: &mut KernelBuilder, at: &At<'_>, (from, to): (Val, Val)) {
        let rows: Vec<(Index, Index)> =
            (0..at.rows).map(|r| (self.row)(b, at, at.row.clone().offset(r as i64))).collect();
        b.for_count(at.lanes, true, |b, j| {
            let output = at.output.clone().plus(j, 1);
            let start = (self.start)(b, at, output.clone());
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
            for ((_, row), acc) in rows.iter().zip(acc) {
                let y = finish(b, acc);
                let mut to = row.clone();
                to.offset += output.offset * self.stride as i64;
                to.terms.extend(output.terms.iter().map(|(v, c)| (*v, c * self.stride as i64)));
                b.store(self.out, to, y);
            }
        });
    }
}

/// Weights in panels `[product][tile][link][lane]`; the last tile of a product is as wide as what is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels {
    pub outputs: u64,
    pub depth: u64,
    pub lanes: u64,
}

impl Panels {
    /// Elements of one product's panels.
    pub fn len(&self) -> u64 {
        self.outputs * self.depth
    }

    /// The element for lane j and link k of a tile, in the panels of the first product.
    pub fn index(&self, at: &At<'_>, j: Val, k: Val) -> Index {
        Index::var(j).plus(at.tile, (self.lanes * self.depth) as i64).plus(k, at.lanes as i64)
    }

    /// Known weights in panels, in the register type. `element(product, output, link)` says where each weight stands.
    pub fn pack(&self, w: &Tensor, products: u64, element: impl Fn(u64, u64, u64) -> u64) -> Tensor {
        let wide = widened(w);
        let size = wide.dtype().size();
        let from = wide.bytes();
        let mut out = Vec::with_capacity(from.len());
        for p in 0..products {
            let mut first = 0;
            while first < self.outputs {
                let width = self.lanes.min(self.outputs - first);
                for k in 0..self.depth {
                    for j in first..first + width {
                        let at = element(p, j, k) as usize * size;
                        out.extend_from_slice(&from[at..at + size]);
                    }
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
