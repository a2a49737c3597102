//! Products whose weights are zero in blocks: a tile of outputs walks the inputs of which any of its outputs has a weight.
//!
//! Zeros among the weights of such an input are links like others. What is left out makes a difference where an input is
//! infinite or NaN: dense chains are NaN there. Unless inputs are known to be finite, a kernel looks at them, and where
//! one is not, outputs become NaN whose tile does not walk it.

use super::super::Lowering;
use super::choose::Matrix;
use super::conv::if_finite;
use super::sparse::counted;
use super::tile::{Grid, Panels, Product, Tile, register, widened, zero};
use super::{scaled, start};
use nc_ir::Diagnostic;
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, ScalarOp};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// Outputs of a tile of so many rows.
fn tile(rows: u64) -> Tile {
    let [many, few] = crate::cost::BLOCKS;
    Tile { rows: Tile::of(rows).rows, lanes: if rows < 4 { few } else { many } }
}

/// The inputs of each tile, and their weights: `[tile][input][lane]`, the lanes of the last tile filled up with zeros.
struct Blocks {
    /// Inputs before each tile's, and all of them.
    starts: Vec<i64>,
    inputs: Vec<u64>,
    weights: Vec<u8>,
}

impl Blocks {
    fn of(p: &Matrix<'_>, wide: &Tensor, lanes: u64) -> Blocks {
        let size = wide.dtype().size();
        let (zeros, bytes) = (super::sparse::zeros(wide), wide.bytes());
        let mut b = Blocks { starts: vec![0], inputs: Vec::new(), weights: Vec::new() };
        for first in (0..p.m).step_by(lanes as usize) {
            let outputs = first..(first + lanes).min(p.m);
            for i in (0..p.k).filter(|i| outputs.clone().any(|o| !zeros[p.weight(o, *i)])) {
                b.inputs.push(i);
                for o in outputs.clone() {
                    let at = p.weight(o, i) * size;
                    b.weights.extend_from_slice(&bytes[at..at + size]);
                }
                b.weights.resize(b.inputs.len() * lanes as usize * size, 0);
            }
            b.starts.push(b.inputs.len() as i64);
        }
        b
    }
}

impl Lowering<'_> {
    /// Every input of which a tile has weights, times these.
    pub fn blocks(&mut self, p: &Matrix<'_>, w: &Tensor) -> Result<(), Diagnostic> {
        let elem = register(self.elem(p.y));
        let name = self.facts.graph().name_of(p.y);
        let check = match elem.is_float() && !self.facts.is_known_finite(p.x) {
            true => Some(self.zero_if_finite(&name, p.x)?),
            false => None,
        };
        let tile = tile(p.rows);
        let blocks = Blocks::of(p, &widened(w), tile.lanes);
        let weights = self.sparse_weights(&name, elem, &blocks.weights)?;
        let inputs = self.indices(format!("{name}.inputs"), &blocks.inputs, p.k)?;
        let starts = self.table(format!("{name}.starts"), blocks.starts)?;
        let (out, input, m, k) = (self.home(p.y)?, self.wide(p.x)?, p.m, p.k);
        let bias = p.bias.map(|v| self.memory(v)).transpose()?;
        let panels = Panels { outputs: m, depth: 1, lanes: tile.lanes, filled: elem == DType::F32 };
        let spare = self.spare(&name, panels, tile);
        let grid = Grid { outer: 1, outputs: m, rows: p.rows, tile };
        let mut b = KernelBuilder::new(format!("blocks {name}"), Some(grid.parallel()), 1);
        let product = Product {
            depth: k,
            input: Some(input),
            out,
            stride: 1,
            spare,
            start: &|b, _, output| start(b, bias.as_ref(), elem, output),
            row: &|_, _, row| (scaled(&row, k), scaled(&row, m)),
            link: &|b, l| (Index::var(inputs.load(b, Index::var(l))), l),
            weight: &|b, _, j, l| b.load(weights, elem, Index::var(j).plus(l, tile.lanes as i64)),
        };
        grid.tiles(&mut b, &|_, _| Vec::new(), &|b, at| {
            let from = b.load(starts, DType::I64, Index::var(at.tile));
            let to = b.load(starts, DType::I64, Index::var(at.tile).offset(1));
            product.tile_of(b, at, (from, to));
        });
        self.program.push(b.finish());
        if let Some(check) = check {
            self.blocks_of_others(p, tile.lanes, (inputs, starts), out, check)?;
        }
        Ok(())
    }

    /// Where the input is not finite: outputs become NaN whose tile leaves out such an input.
    fn blocks_of_others(
        &mut self,
        p: &Matrix<'_>,
        lanes: u64,
        (inputs, starts): (super::sparse::Indices, BufId),
        out: BufId,
        check: BufId,
    ) -> Result<(), Diagnostic> {
        let (input, m, k, rows) = (self.wide(p.x)?, p.m, p.k, p.rows);
        let elem = register(self.elem(p.y));
        let name = self.facts.graph().name_of(p.y);
        let parallel = Parallel { len: m.div_ceil(lanes), align: 1 };
        let mut b = KernelBuilder::new(format!("careful {name}"), Some(parallel), 1);
        if_finite(&mut b, elem, Some(check), false, |b| {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_count(rows, false, |b, r| {
                let (none, end) = (b.index(0), b.index(k as i64));
                let total = b.for_carried(none, end, &[none], |b, i, n| {
                    let x = input.load(b, Index::var(i).plus(r, k as i64));
                    vec![counted(b, x, n[0])]
                });
                b.for_loop(lo, hi, false, |b, t| {
                    let from = b.load(starts, DType::I64, Index::var(t));
                    let to = b.load(starts, DType::I64, Index::var(t).offset(1));
                    let met = b.for_carried(from, to, &[none], |b, l, n| {
                        let i = inputs.load(b, Index::var(l));
                        let x = input.load(b, Index::var(i).plus(r, k as i64));
                        vec![counted(b, x, n[0])]
                    });
                    let fewer = b.op(ScalarOp::ILt, &[met[0], total[0]]);
                    b.if_then(fewer, |b| {
                        let zero = zero(b, elem);
                        let nan = b.op(ScalarOp::FDiv, &[zero, zero]);
                        let width = b.index(lanes as i64);
                        let first = b.op(ScalarOp::IMul, &[t, width]);
                        let (last, all) = (b.op(ScalarOp::IAdd, &[first, width]), b.index(m as i64));
                        let past = b.op(ScalarOp::IGt, &[last, all]);
                        let last = b.op(ScalarOp::Select, &[past, all, last]);
                        b.for_loop(first, last, true, |b, o| b.store(out, Index::var(o).plus(r, m as i64), nan));
                    });
                });
            });
        });
        self.program.push(b.finish());
        Ok(())
    }
}
