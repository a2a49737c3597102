//! Addresses, loads and stores.
//!
//! An address is a base register plus a displacement, plus terms whose factor is 1, 2, 4 or 8 in the address mode, plus
//! counters that loops carry already multiplied. Nothing is checked: the verifier and the builder of the program have
//! seen to it that indices lie inside their buffers.

use super::cell::{Cell, Lin};
use super::{Emitted, Emitter, lane_type};
use crate::error::Unsupported;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use nc_ir::DType;
use nc_ir::kernel::{BufId, Index, Role, ScalarOp, ScalarType, Val, loaded_type};

/// Largest displacement from a base register; what is added for groups and lanes still fits 32 bits.
const MAX_DISPLACEMENT: i64 = i32::MAX as i64 - (1 << 20);

/// Where the lanes of a group are.
enum Place {
    /// All at one address.
    One(Value, i32),
    /// One after the other.
    Row(Value, i32),
    /// Anywhere.
    Lanes([(Value, i32); 4]),
}

impl Emitter<'_, '_> {
    /// A register and a displacement for `base + bytes + l`.
    pub(super) fn pointer(&mut self, base: Value, bytes: i64, l: Lin) -> (Value, i32) {
        let (terms, n) = self.sorted(&l);
        let mut p = base;
        let disp = bytes.wrapping_add(l.k);
        let near = disp.checked_abs().is_some_and(|d| d <= MAX_DISPLACEMENT);
        if !near {
            p = self.b.ins().iadd_imm_s(p, disp);
        }
        for &(v, c) in &terms[..n] {
            let t = self.scale(v, c);
            p = self.b.ins().iadd(p, t);
        }
        (p, if near { disp as i32 } else { 0 })
    }

    fn place(&mut self, buf: BufId, index: &Index, u: usize) -> Emitted<(DType, Place)> {
        let elem = self.buffer_elem(buf)?;
        let (base, at) = self.base(buf)?;
        let size = elem.size() as i64;
        let mut sum = Lin::constant(index.offset);
        let mut varying: Vec<([Value; 4], i64)> = Vec::new();
        for (v, c) in &index.terms {
            if let Some(lanes) = self.indices(*v, u)? {
                varying.push((lanes, *c));
                continue;
            }
            match self.cell(*v, u)? {
                Cell::Lin(l) => sum = self.sum(sum, l.times(*c)),
                cell @ Cell::V22(ScalarType::I64, _) => {
                    let lanes = [0, 1, 2, 3].map(|l| self.lane(&cell, l));
                    varying.push((lanes, *c));
                }
                c => return Err(Unsupported::malformed(format!("{v} is {}, not an index", c.ty()))),
            }
        }
        let bytes = sum.times(size);
        if varying.is_empty() {
            let step = bytes.lane;
            if step == 0 {
                let (p, d) = self.pointer(base, at, bytes);
                return Ok((elem, Place::One(p, d)));
            }
            if step == size {
                let (p, d) = self.pointer(base, at, bytes.uniform());
                return Ok((elem, Place::Row(p, d)));
            }
        }
        let mut lanes = [(base, 0); 4];
        for (l, lane) in lanes.iter_mut().enumerate() {
            let mut sum = bytes.at_lane(l);
            for (values, c) in &varying {
                let v = self.atom(values[l]);
                sum = self.sum(sum, v.times(c.wrapping_mul(size)));
            }
            *lane = self.pointer(base, at, sum);
        }
        Ok((elem, Place::Lanes(lanes)))
    }

    /// The address of lane 0 of a group whose elements lie side by side, and the flags of their loads.
    pub(super) fn row_of(&mut self, buf: BufId, index: &Index, u: usize) -> Emitted<((Value, i32), MemFlagsData)> {
        match self.place(buf, index, u)? {
            (_, Place::Row(p, d)) => Ok(((p, d), self.flags(buf))),
            _ => Err(Unsupported::malformed(format!("a row of {buf} that is none"))),
        }
    }

    pub(super) fn buffer_elem(&self, buf: BufId) -> Emitted<DType> {
        let b = self.program.buffers.get(buf.index());
        b.map(|b| b.elem).ok_or_else(|| Unsupported::malformed(format!("no buffer {buf}")))
    }

    fn flags(&self, buf: BufId) -> MemFlagsData {
        let flags = MemFlagsData::new().with_notrap();
        match self.program.buffers.get(buf.index()).map(|b| &b.role) {
            // Beside elements that are read by index, everything is read where it is used.
            Some(Role::Const(_)) if self.groups > 0 && !self.index_only.is_empty() => {
                flags.with_readonly().with_can_move()
            }
            Some(Role::Const(_)) => flags.with_readonly(),
            _ => flags,
        }
    }

    /// `buf[index]` in group `u`.
    pub(super) fn load(&mut self, buf: BufId, index: &Index, u: usize) -> Emitted<Cell> {
        let (elem, place) = self.place(buf, index, u)?;
        let flags = self.flags(buf);
        let ty = loaded_type(elem);
        let raw = match place {
            Place::One(p, d) if elem == DType::U32 => {
                let v = self.b.ins().uload32(flags, p, d);
                return Ok(self.uniform_cell(ty, v));
            }
            Place::One(p, d) => {
                let v = self.load_one(elem, flags, p, d);
                if elem == DType::Bool {
                    return Ok(Cell::One(ty, v));
                }
                let raw = raw_type(elem);
                self.uniform_cell(raw, v)
            }
            Place::Row(p, d) => self.load_row(elem, flags, p, d),
            Place::Lanes(lanes) => {
                let flags = if self.may_move(buf, index) { flags.with_readonly().with_can_move() } else { flags };
                let lanes = lanes.map(|(p, d)| self.load_one(elem, flags, p, d));
                self.gathered(raw_type(elem), lanes)
            }
        };
        match elem {
            DType::F16 => self.f16_to_f32(raw),
            DType::BF16 => self.bf16_to_f32(raw),
            DType::U32 => self.op(ScalarOp::U32ToI64, &[raw]),
            _ => Ok(raw),
        }
    }

    /// One element as it lies in memory, widened to 32 bits if it is narrower.
    fn load_one(&mut self, elem: DType, flags: MemFlagsData, p: Value, d: i32) -> Value {
        match elem {
            DType::F64 => self.b.ins().load(types::F64, flags, p, d),
            DType::F32 => self.b.ins().load(types::F32, flags, p, d),
            DType::I64 | DType::U64 => self.b.ins().load(types::I64, flags, p, d),
            DType::I32 | DType::U32 => self.b.ins().load(types::I32, flags, p, d),
            DType::F16 | DType::BF16 | DType::U16 => self.b.ins().uload16(types::I32, flags, p, d),
            DType::I16 => self.b.ins().sload16(types::I32, flags, p, d),
            DType::I8 => self.b.ins().sload8(types::I32, flags, p, d),
            DType::U8 => self.b.ins().uload8(types::I32, flags, p, d),
            DType::Bool => {
                let v = self.b.ins().load(types::I8, flags, p, d);
                self.b.ins().icmp_imm_s(IntCC::NotEqual, v, 0)
            }
        }
    }

    /// Four elements that follow each other, widened as by [`Emitter::load_one`]; a `bool` becomes a mask.
    fn load_row(&mut self, elem: DType, flags: MemFlagsData, p: Value, d: i32) -> Cell {
        let ty = raw_type(elem);
        match elem {
            DType::F32 | DType::I32 | DType::U32 => Cell::V4(ty, self.b.ins().load(lane_type(ty), flags, p, d)),
            DType::F64 | DType::I64 | DType::U64 => {
                let t = lane_type(ty);
                Cell::V22(ty, [self.b.ins().load(t, flags, p, d), self.b.ins().load(t, flags, p, d + 16)])
            }
            DType::F16 | DType::BF16 | DType::U16 => Cell::V4(ty, self.b.ins().uload16x4(flags, p, d)),
            DType::I16 => Cell::V4(ty, self.b.ins().sload16x4(flags, p, d)),
            DType::I8 | DType::U8 | DType::Bool => {
                let v = self.b.ins().load(types::I32, flags, p, d);
                let v = self.b.ins().scalar_to_vector(types::I32X4, v);
                let v = self.cast(types::I8X16, v);
                if elem == DType::U8 {
                    let v = self.b.ins().uwiden_low(v);
                    return Cell::V4(ty, self.b.ins().uwiden_low(v));
                }
                let v = self.b.ins().swiden_low(v);
                let v = self.b.ins().swiden_low(v);
                if elem == DType::Bool {
                    let zero = self.vconst(types::I32X4, [0; 16]);
                    let truth = self.b.ins().icmp(IntCC::NotEqual, v, zero);
                    return Cell::V4(ty, truth);
                }
                Cell::V4(ty, v)
            }
        }
    }

    /// The value to store as it lies in memory, in a lane.
    fn lowered(&mut self, elem: DType, cell: Cell) -> Emitted<Cell> {
        match elem {
            DType::F16 => self.f32_to_f16(cell),
            DType::BF16 => self.f32_to_bf16(cell),
            DType::U32 => self.op(ScalarOp::I64ToI32, &[cell]),
            _ => Ok(cell),
        }
    }

    fn store_one(&mut self, elem: DType, flags: MemFlagsData, v: Value, p: Value, d: i32) {
        match elem {
            DType::F64 | DType::F32 | DType::I64 | DType::U64 | DType::I32 | DType::U32 | DType::Bool => {
                self.b.ins().store(flags, v, p, d)
            }
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => self.b.ins().istore16(flags, v, p, d),
            DType::I8 | DType::U8 => self.b.ins().istore8(flags, v, p, d),
        };
    }

    /// `buf[index] = value` in group `u`.
    pub(super) fn store(&mut self, buf: BufId, index: &Index, value: Val, u: usize) -> Emitted<()> {
        let (elem, place) = self.place(buf, index, u)?;
        let cell = self.cell(value, u)?;
        let cell = self.lowered(elem, cell)?;
        let flags = self.flags(buf);
        match place {
            Place::One(p, d) => {
                let v = self.lane(&cell, if self.groups == 0 { 0 } else { 3 });
                self.store_one(elem, flags, v, p, d);
            }
            Place::Row(p, d) => self.store_row(elem, flags, &[cell], p, d),
            Place::Lanes(lanes) => {
                for (l, (p, d)) in lanes.into_iter().enumerate() {
                    let v = self.lane(&cell, l);
                    self.store_one(elem, flags, v, p, d);
                }
            }
        }
        Ok(())
    }

    /// `buf[index] = value` in all groups, those that lie side by side with one instruction.
    pub(super) fn store_groups(&mut self, buf: BufId, index: &Index, value: Val) -> Emitted<()> {
        let per_store = match self.buffer_elem(buf)?.size() {
            1 => 4,
            2 => 2,
            _ => 1,
        };
        let mut u = 0;
        while u < self.groups {
            let n = per_store.min(self.groups - u);
            let n = if n == 3 { 2 } else { n };
            match self.place(buf, index, u)? {
                (elem, Place::Row(p, d)) if n > 1 => {
                    let mut cells = Vec::with_capacity(n);
                    for g in u..u + n {
                        let cell = self.cell(value, g)?;
                        cells.push(self.lowered(elem, cell)?);
                    }
                    let flags = self.flags(buf);
                    self.store_row(elem, flags, &cells, p, d);
                }
                _ => {
                    for g in u..u + n {
                        self.store(buf, index, value, g)?;
                    }
                }
            }
            u += n;
        }
        Ok(())
    }

    /// Stores groups that follow each other; as many as fill a register, or fewer.
    fn store_row(&mut self, elem: DType, flags: MemFlagsData, cells: &[Cell], p: Value, d: i32) {
        let Some(first) = cells.first() else { return };
        match elem {
            DType::F32 | DType::I32 | DType::U32 => {
                let v = self.vector(first)[0];
                self.b.ins().store(flags, v, p, d);
            }
            DType::F64 | DType::I64 | DType::U64 => {
                let v = self.vector(first);
                self.b.ins().store(flags, v[0], p, d);
                self.b.ins().store(flags, v[1], p, d + 16);
            }
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => {
                let v: Vec<Value> = cells.iter().map(|c| self.low_bits(c, 0xffff)).collect();
                let last = v.get(1).copied().unwrap_or(v[0]);
                let packed = self.b.ins().unarrow(v[0], last);
                self.store_part(flags, packed, 8 * cells.len(), p, d);
            }
            DType::I8 | DType::U8 => {
                let v: Vec<Value> = cells.iter().map(|c| self.low_bits(c, 0xff)).collect();
                let at = |n: usize| v.get(n).copied().unwrap_or(v[0]);
                let lo = self.b.ins().unarrow(at(0), at(1));
                let hi = if cells.len() > 2 { self.b.ins().unarrow(at(2), at(3)) } else { lo };
                let packed = self.b.ins().unarrow(lo, hi);
                self.store_part(flags, packed, 4 * cells.len(), p, d);
            }
            DType::Bool => {
                let masks: Vec<Value> = cells.iter().map(|c| self.mask(c)).collect();
                let packed = self.packed_masks(&masks);
                let ones = self.vconst(types::I8X16, [1; 16]);
                let packed = self.b.ins().band(packed, ones);
                self.store_part(flags, packed, 4 * cells.len(), p, d);
            }
        }
    }

    /// Up to four masks as bytes of all ones or all zeros.
    pub(super) fn packed_masks(&mut self, masks: &[Value]) -> Value {
        let at = |n: usize| masks.get(n).copied().unwrap_or(masks[0]);
        let lo = self.b.ins().snarrow(at(0), at(1));
        let hi = if masks.len() > 2 { self.b.ins().snarrow(at(2), at(3)) } else { lo };
        self.b.ins().snarrow(lo, hi)
    }

    fn low_bits(&mut self, c: &Cell, mask: u32) -> Value {
        let v = self.vector(c)[0];
        let mut bytes = [0; 16];
        for b in bytes.chunks_exact_mut(4) {
            b.copy_from_slice(&mask.to_le_bytes());
        }
        let mask = self.vconst(types::I32X4, bytes);
        self.b.ins().band(v, mask)
    }

    /// Stores the first 4, 8 or 16 bytes of a register.
    fn store_part(&mut self, flags: MemFlagsData, v: Value, bytes: usize, p: Value, d: i32) {
        let part = match bytes {
            4 => {
                let v = self.cast(types::I32X4, v);
                self.b.ins().extractlane(v, 0)
            }
            8 => {
                let v = self.cast(types::I64X2, v);
                self.b.ins().extractlane(v, 0)
            }
            _ => v,
        };
        self.b.ins().store(flags, part, p, d);
    }
}

/// The type of an element's lane before conversion: that of the loaded value, or `i32` for the 16-bit floats and `u32`.
fn raw_type(elem: DType) -> ScalarType {
    match elem {
        DType::F16 | DType::BF16 | DType::U32 => ScalarType::I32,
        _ => loaded_type(elem),
    }
}
