//! Addresses, loads and stores.

use super::{Cell, Emitted, Emitter, Machine};
use crate::error::Unsupported;
use crate::ir::{Cmp, V};
use melior::ir::Type;
use nc_ir::DType;
use nc_ir::kernel::abi::Place;
use nc_ir::kernel::{BufId, Buffer, Index, ScalarType, loaded_type};

/// Whether memory of this element type holds all that a register does.
pub(super) fn lossless(elem: DType) -> bool {
    matches!(elem, DType::F64 | DType::F32 | DType::I64 | DType::U64 | DType::I32 | DType::Bool)
}

impl<'c> Emitter<'c, '_> {
    pub(super) fn buffer(&self, buf: BufId) -> Emitted<&Buffer> {
        self.program.buffers.get(buf.index()).ok_or_else(|| Unsupported::malformed(format!("no buffer {buf}")))
    }

    /// The type of an element in memory.
    fn stored(&self, elem: DType) -> Type<'c> {
        let t = &self.ir.types;
        match elem {
            DType::F64 => self.ir.scalar(ScalarType::F64),
            DType::F32 => t.f32,
            DType::I64 | DType::U64 => t.i64,
            DType::I32 | DType::U32 => t.i32,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => t.i16,
            DType::I8 | DType::U8 | DType::Bool => t.i8,
        }
    }

    /// The address of an element.
    fn address(&mut self, buf: BufId, index: &Index) -> Emitted<(V<'c>, DType)> {
        let elem = self.buffer(buf)?.elem;
        let place = self.layout.buffers.get(buf.index());
        let missing = || Unsupported::malformed(format!("{buf} has no place"));
        let (base, start) = match place.ok_or_else(missing)? {
            Place::Arena(at) => (self.arena, *at as i64),
            Place::Consts(at) => (self.consts, *at as i64),
            Place::Host(n) => (*self.hosts.get(n).ok_or_else(missing)?, 0),
        };
        let start = start.wrapping_add(index.offset.wrapping_mul(elem.size() as i64));
        let base = self.ir.beyond(base, start);
        let mut sum: Option<V<'c>> = None;
        for (v, k) in &index.terms {
            let v = self.typed(*v, ScalarType::I64)?;
            let term = self.ir.times(v, *k);
            sum = Some(match sum {
                None => term,
                Some(s) => self.ir.add(s, term),
            });
        }
        let ty = self.stored(elem);
        let at = match sum {
            None => base,
            Some(s) => self.ir.element(base, ty, s),
        };
        Ok((at, elem))
    }

    /// The number of an element of a buffer.
    pub(super) fn element_number(&mut self, index: &Index) -> Emitted<V<'c>> {
        let mut sum = self.ir.i64(index.offset);
        for (v, k) in &index.terms {
            let v = self.typed(*v, ScalarType::I64)?;
            let term = self.ir.times(v, *k);
            sum = self.ir.add(sum, term);
        }
        Ok(sum)
    }

    pub(super) fn load(&mut self, buf: BufId, index: &Index) -> Emitted<Cell<'c>> {
        if let Some((held, x)) = self.register
            && held == buf
        {
            return Ok(x);
        }
        let (at, elem) = self.address(buf, index)?;
        let ty = self.stored(elem);
        let constant = matches!(self.layout.buffers.get(buf.index()), Some(Place::Consts(_)));
        let raw = match constant && matches!(self.machine, Machine::Gpu(_)) {
            true => self.ir.load_constant(at, ty, elem.size() as i64),
            false => self.ir.load(at, ty, elem.size() as i64),
        };
        let (i32, i64) = (self.ir.types.i32, self.ir.types.i64);
        let v = match elem {
            DType::F64 | DType::F32 | DType::I64 | DType::U64 | DType::I32 => raw,
            DType::I16 | DType::I8 => self.ir.op("arith.extsi", &[raw], i32),
            DType::U16 | DType::U8 => self.ir.op("arith.extui", &[raw], i32),
            DType::U32 => self.ir.op("arith.extui", &[raw], i64),
            DType::F16 | DType::BF16 => {
                let bits = Cell { v: self.ir.op("arith.extui", &[raw], i32), ty: ScalarType::I32 };
                return Ok(if elem == DType::F16 { self.f16_to_f32(bits) } else { self.bf16_to_f32(bits) });
            }
            DType::Bool => {
                let zero = self.ir.int(ty, 0);
                self.ir.cmp(Cmp::Ne, raw, zero)
            }
        };
        Ok(Cell { v, ty: loaded_type(elem) })
    }

    pub(super) fn store(&mut self, buf: BufId, index: &Index, x: Cell<'c>) -> Emitted<()> {
        if let Some((held, there)) = &mut self.register
            && *held == buf
        {
            *there = x;
            return Ok(());
        }
        let (at, elem) = self.address(buf, index)?;
        let ty = self.stored(elem);
        let v = match elem {
            DType::F64 | DType::F32 | DType::I64 | DType::U64 | DType::I32 => x.v,
            DType::I16 | DType::I8 | DType::U16 | DType::U8 | DType::U32 => self.ir.op("arith.trunci", &[x.v], ty),
            DType::F16 | DType::BF16 => {
                let bits = if elem == DType::F16 { self.f32_to_f16(x) } else { self.f32_to_bf16(x) };
                self.ir.op("arith.trunci", &[bits.v], ty)
            }
            DType::Bool => self.ir.op("arith.extui", &[x.v], ty),
        };
        self.ir.store(at, v, elem.size() as i64);
        Ok(())
    }
}
