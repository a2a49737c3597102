//! Events of several rows: those of each row are found once, and serve every product and every convolution that reads the
//! value. A tile of outputs then walks the events of one row with its chains in registers.

use super::super::data::apart;
use super::super::homes::Memory;
use super::super::pointwise::is_event;
use super::super::{Drive, Lowering, Source};
use super::choose::{Chosen, Matrix};
use super::tile::{Grid, Panels, Product, Tile, register};
use super::{scaled, start};
use nc_ir::Diagnostic;
use nc_ir::graph::ValueId;
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Role, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// Places behind the events of each row, which are filled with zeros: room for registers whose last lanes are no events.
const BEHIND: u64 = 8;

/// Events in their rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByRow {
    /// The events' places in their rows, row after row.
    pub index: BufId,
    /// Where in `index` the events of rows begin and end.
    pub bounds: BufId,
    /// Elements of `bounds` from one row to the next.
    pub step: u64,
}

impl ByRow {
    /// The place of event `e` in its row.
    pub fn at(&self, b: &mut KernelBuilder, e: Val) -> Val {
        b.load(self.index, DType::U32, Index::var(e))
    }

    /// The events of a row: the first, and one past the last.
    pub fn range(&self, b: &mut KernelBuilder, row: &Index) -> (Val, Val) {
        let at = scaled(row, self.step);
        let from = b.load(self.bounds, DType::I64, at.clone());
        (from, b.load(self.bounds, DType::I64, at.offset(1)))
    }
}

impl Lowering<'_> {
    /// The events of what drives a product, as rows of `inputs` elements each.
    ///
    /// # Errors
    /// A bug of the lowering: the events are not collected.
    pub fn by_row(&mut self, chosen: &Chosen, inputs: u64) -> Result<ByRow, Diagnostic> {
        let source = self.source_of(chosen)?;
        if let Some(known) = self.by_row.get(&(source, inputs)) {
            return Ok(*known);
        }
        let made = match source {
            Source::Now(v) if chosen.rows => self.rows_of_value(v, inputs)?,
            _ => self.rows_of_list(source, inputs)?,
        };
        self.by_row.insert((source, inputs), made);
        Ok(made)
    }

    /// Looks through each row of a value for what is not zero. Each row has places of its own, so that rows are independent.
    ///
    /// Every element is written to the place of the next event, and moves that place on if it is one: without a branch, and a
    /// register of elements at a time where a processor can bring those together that are events.
    fn rows_of_value(&mut self, v: ValueId, inputs: u64) -> Result<ByRow, Diagnostic> {
        // The sign of a zero makes no difference here.
        let value = Memory { raw: false, ..self.memory(v)? };
        let name = self.facts.graph().name_of(v);
        let (rows, dtype) = (self.facts.count(v) / inputs, self.elem(v));
        let room = inputs + BEHIND;
        let index = self.program.add_buffer(format!("{name}.index"), DType::U32, rows * room, Role::Temp);
        let bounds = self.program.add_buffer(format!("{name}.bounds"), DType::I64, 2 * rows, Role::Temp);
        let mut b = KernelBuilder::new(format!("rows of {name}"), Some(Parallel { len: rows, align: 1 }), 1);
        let (lo, hi) = (b.lo(), b.hi());
        b.for_loop(lo, hi, false, |b, r| {
            let (none, one, end) = (b.index(0), b.index(1), b.index(inputs as i64));
            let n = b.for_carried(none, end, &[none], |b, i, n| {
                let x = value.load(b, Index::var(i).plus(r, inputs as i64));
                let is = is_event(b, x, dtype);
                b.store(index, Index::var(n[0]).plus(r, room as i64), i);
                let more = b.op(ScalarOp::IAdd, &[n[0], one]);
                vec![b.op(ScalarOp::Select, &[is, more, n[0]])]
            });
            b.for_count(BEHIND, true, |b, k| {
                b.store(index, Index::var(n[0]).plus(r, room as i64).plus(k, 1), none);
            });
            let place = b.index(room as i64);
            let first = b.op(ScalarOp::IMul, &[r, place]);
            let last = b.op(ScalarOp::IAdd, &[first, n[0]]);
            b.store(bounds, Index::default().plus(r, 2), first);
            b.store(bounds, Index::at(1).plus(r, 2), last);
        });
        self.program.push(b.finish());
        Ok(ByRow { index, bounds, step: 2 })
    }

    /// Sorts the one ascending list of a source into rows.
    fn rows_of_list(&mut self, source: Source, inputs: u64) -> Result<ByRow, Diagnostic> {
        let (list, back) = self.events_of(source)?;
        let (name, len) = (self.program.lists[list.index()].name.clone(), self.program.lists[list.index()].len);
        let rows = len / inputs;
        let index = self.program.add_buffer(format!("{name}.index"), DType::U32, len, Role::Temp);
        let ends = self.program.add_buffer(format!("{name}.ends"), DType::I64, rows + 1, Role::Temp);
        let count = self.program.add_buffer(format!("{name}.count"), DType::I64, 1, Role::Temp);
        let mut b = KernelBuilder::new(format!("rows of {name}"), None, 1);
        let (zero, one) = (b.index(0), b.index(1));
        b.store(count, Index::default(), zero);
        b.for_count(rows + 1, true, |b, r| {
            let zero = b.index(0);
            b.store(ends, Index::var(r), zero);
        });
        let slot = self.slot(&mut b, list, back);
        b.events(list, slot, 1, |b, events| {
            let at = apart(b, events[0], &[rows, inputs]);
            let n = b.load(count, DType::I64, Index::default());
            b.store(index, Index::var(n), at[1]);
            let n = b.op(ScalarOp::IAdd, &[n, one]);
            b.store(count, Index::default(), n);
            b.store(ends, Index::var(at[0]).offset(1), n);
        });
        // A row without events ends where the one before it ends.
        let last = b.index(rows as i64 + 1);
        b.for_carried(one, last, &[zero], |b, r, before| {
            let n = b.load(ends, DType::I64, Index::var(r));
            let less = b.op(ScalarOp::ILt, &[n, before[0]]);
            let n = b.op(ScalarOp::Select, &[less, before[0], n]);
            b.store(ends, Index::var(r), n);
            vec![n]
        });
        self.program.push(b.finish());
        Ok(ByRow { index, bounds: ends, step: 1 })
    }

    /// The source of a drive that walks events.
    pub fn source_of(&self, chosen: &Chosen) -> Result<Source, Diagnostic> {
        match chosen.drive {
            Drive::Spikes(source) => Ok(source),
            Drive::Graded(v) => Ok(Source::Now(v)),
            Drive::Dense => Err(self.bug("a product without events is to walk them")),
        }
    }

    /// Several rows, each of which walks its own events.
    pub fn rows_of_events(&mut self, p: &Matrix<'_>, w: &Tensor, chosen: &Chosen) -> Result<(), Diagnostic> {
        let elem = register(self.elem(p.y));
        let rows = self.by_row(chosen, p.k)?;
        let graded = matches!(chosen.drive, Drive::Graded(_));
        let input = if graded { Some(self.memory(p.x)?) } else { None };
        let name = self.facts.graph().name_of(p.y);
        let tile = Tile { rows: 1, lanes: crate::cost::row_of_events(p.m, elem.size() as u64) };
        let (out, m, k) = (self.home(p.y)?, p.m, p.k);
        let panels = Panels { outputs: m, depth: k, lanes: tile.lanes, filled: elem == DType::F32 };
        let packed = panels.pack(w, 1, |_, output, input| p.weight(output, input) as u64);
        let weights = self.program.add_buffer(format!("{name}.weights"), elem, panels.len(), Role::Const(packed));
        let bias = p.bias.map(|v| self.memory(v)).transpose()?;
        let grid = Grid { outer: 1, outputs: m, rows: p.rows, tile };
        let spare = self.spare(&name, panels, tile);
        let mut b = KernelBuilder::new(format!("events {name}"), Some(grid.parallel()), 1);
        let product = Product {
            depth: k,
            input,
            out,
            stride: 1,
            spare,
            start: &|b, _, output| start(b, bias.as_ref(), elem, output),
            row: &|_, _, row| (scaled(&row, k), scaled(&row, m)),
            link: &|b, e| {
                let i = rows.at(b, e);
                (Index::var(i), i)
            },
            weight: &|b, at, j, i| b.load(weights, elem, panels.index(at, j, i)),
        };
        grid.tiles(&mut b, &|_, _| Vec::new(), &|b, at| {
            let range = rows.range(b, &at.row);
            product.tile_of(b, at, range);
        });
        self.program.push(b.finish());
        Ok(())
    }
}
