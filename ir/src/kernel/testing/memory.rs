//! The memory of a random program: extents, buffers with data, lists.

use super::generate::{Generator, WIDTHS};
use crate::kernel::program::{BufId, Parallel, Role};
use crate::tensor::Tensor;
use crate::types::DType;

/// How the elements of a buffer belong to the items of extents.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// One element per item.
    Row { extent: usize },
    /// `width` elements per item, side by side or with the item running fastest.
    Matrix { extent: usize, width: u64, transposed: bool },
    /// One element per pair, the item of `to` running fastest.
    Cross { from: usize, to: usize },
    /// No items.
    Table,
}

pub(super) struct Buf {
    pub(super) id: BufId,
    pub(super) elem: DType,
    pub(super) len: u64,
    pub(super) shape: Shape,
    pub(super) role: Kind,
    /// False for a temporary that is not yet written in a tick.
    pub(super) ready: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Const,
    State,
    Temp,
    Input,
    Output,
    Probe(u64),
}

impl Generator {
    /// Chooses extents, buffers and lists.
    pub(super) fn memory(&mut self) {
        for _ in 0..1 + self.c.below(2) {
            let len = self.c.of(&[8, 1, 3, 7, 16, 17, 33, 40]);
            let align = self.c.of(&[1, 4, 8, 16, 3]);
            self.extents.push(Parallel { len, align });
        }
        for extent in 0..self.extents.len() {
            let len = self.extents[extent].len;
            for _ in 0..3 + self.c.below(4) {
                self.buffer(Shape::Row { extent }, len);
            }
            for _ in 0..self.c.below(3) {
                let (width, transposed) = (self.c.of(&WIDTHS), self.c.once_in(2));
                self.buffer(Shape::Matrix { extent, width, transposed }, len * width);
            }
            for _ in 0..self.c.below(3) {
                let slots = self.c.of(&[1, 3, 2, 1]);
                let Parallel { len, align } = self.extents[extent];
                let id = self.program.add_list(format!("list{}", self.lists.len()), len, slots, align);
                self.lists.push((id, extent));
            }
        }
        for _ in 0..self.c.below(3) {
            let (from, to) = (self.c.below(self.extents.len()), self.c.below(self.extents.len()));
            self.buffer(Shape::Cross { from, to }, self.extents[from].len * self.extents[to].len);
        }
        for _ in 0..self.c.below(2) {
            let len = 1 + self.c.below(20) as u64;
            self.buffer(Shape::Table, len);
        }
    }

    fn buffer(&mut self, shape: Shape, len: u64) {
        let elem = self.c.of(&[
            DType::F32,
            DType::F32,
            DType::F32,
            DType::Bool,
            DType::F64,
            DType::I32,
            DType::I64,
            DType::BF16,
            DType::F16,
            DType::I8,
            DType::U8,
            DType::I16,
            DType::U64,
            DType::U32,
            DType::U16,
        ]);
        let small = [Kind::State, Kind::Output, Kind::Input, Kind::Temp, Kind::Const, Kind::Probe(1), Kind::Probe(2)];
        let kind = match shape {
            Shape::Row { .. } => self.c.of(&small),
            Shape::Matrix { .. } => self.c.of(&[Kind::State, Kind::Temp, Kind::Const]),
            Shape::Cross { .. } | Shape::Table => self.c.of(&[Kind::Const, Kind::State]),
        };
        let role = match kind {
            Kind::Const => Role::Const(self.tensor(elem, len)),
            Kind::State => Role::State(self.tensor(elem, len)),
            Kind::Temp => Role::Temp,
            Kind::Input => Role::Input,
            Kind::Output => Role::Output,
            Kind::Probe(every) => Role::Probe { every },
        };
        let id = self.program.add_buffer(format!("buffer{}", self.bufs.len()), elem, len, role);
        self.bufs.push(Buf { id, elem, len, shape, role: kind, ready: kind != Kind::Temp });
    }

    /// The bytes of an element: round numbers, special values, or random bits.
    pub(super) fn element(&mut self, elem: DType) -> Vec<u8> {
        let kind = self.c.below(8);
        let bits = u64::from(self.c.draw()) << 32 | u64::from(self.c.draw());
        let small = (bits % 17) as f64 / 4.0 - 2.0;
        let float = match kind {
            0..=4 => small,
            5 => [0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 3e38][(bits % 8) as usize],
            _ => f64::from(f32::from_bits(bits as u32)),
        };
        let int = if kind < 6 { (bits % 17) as i64 - 8 } else { bits as i64 };
        match elem {
            DType::F64 => float.to_le_bytes().to_vec(),
            DType::F32 => (float as f32).to_le_bytes().to_vec(),
            DType::F16 => half::f16::from_f64(float).to_le_bytes().to_vec(),
            DType::BF16 => half::bf16::from_f64(float).to_le_bytes().to_vec(),
            DType::Bool => vec![(bits & 1) as u8],
            _ => int.to_le_bytes()[..elem.size()].to_vec(),
        }
    }

    fn tensor(&mut self, elem: DType, len: u64) -> Tensor {
        let n = if self.c.once_in(4) { 1 } else { len as usize };
        let bytes: Vec<u8> = (0..n).flat_map(|_| self.element(elem)).collect();
        Tensor::from_bytes(elem, vec![n], &bytes).unwrap_or_else(|| Tensor::zeros(elem, vec![n]))
    }
}
