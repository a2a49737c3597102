//! Addresses, loads, stores and atomic operations: of LLVM's dialect, or those of [`super::spirv`].

use super::{Ir, V};
use crate::error::Unsupported;
use melior::dialect::llvm;
use melior::ir::attribute::{DenseI32ArrayAttribute, FlatSymbolRefAttribute, StringAttribute, TypeAttribute};
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationBuilder;
use melior::ir::{Attribute, BlockRef, Region, Type, ValueLike};
use nc_ir::kernel::{Buffer, Role};

/// The address space of what the threads of a block share.
const SHARED: u32 = 3;

/// The address space of a graphics processor's own memory.
const GLOBAL: u32 = 1;

/// The name of what they share.
const SCRATCH: &str = "nc_shared";

// Numbers of LLVM's dialect.
const MONOTONIC: i64 = 2;
const ACQUIRE: i64 = 4;
const ACQ_REL: i64 = 6;
const ATOMIC_ADD: i64 = 1;
const ATOMIC_OR: i64 = 5;
const ATOMIC_UMIN: i64 = 10;

impl<'c> Ir<'c> {
    /// The address of element `index` (an `i64`) of type `elem` from `base` on.
    pub fn element(&mut self, base: V<'c>, elem: Type<'c>, index: V<'c>) -> V<'c> {
        if self.style.spirv.is_some() {
            return self.spirv_element(base, elem, index);
        }
        let dynamic = DenseI32ArrayAttribute::new(self.context, &[i32::MIN]).into();
        let elem = TypeAttribute::new(elem).into();
        let attributes = [("rawConstantIndices", dynamic), ("elem_type", elem)];
        self.with("llvm.getelementptr", &[base, index], self.types.ptr, &attributes)
    }

    /// The address `bytes` beyond `base`.
    pub fn beyond(&mut self, base: V<'c>, bytes: i64) -> V<'c> {
        if bytes == 0 {
            return base;
        }
        let index = self.i64(bytes);
        self.element(base, self.types.i8, index)
    }

    /// Entry `n` of a table of pointers that lie at multiples of `align`.
    pub fn frame(&mut self, frames: V<'c>, n: u32, align: i64) -> V<'c> {
        let n = self.i64(n.into());
        let at = self.element(frames, self.types.ptr, n);
        self.load(at, self.types.ptr, align)
    }

    /// Sets entry `n` of the table of current host frames.
    pub fn set_frame(&mut self, frames: V<'c>, n: u32, p: V<'c>) {
        let n = self.i64(n.into());
        let at = self.element(frames, self.types.ptr, n);
        self.store(at, p, 4);
    }

    /// Room for `n` pointers, as long as the function runs.
    pub fn pointers(&mut self, n: u32) -> V<'c> {
        let n = self.i64(n.into());
        let elem = TypeAttribute::new(self.types.ptr).into();
        let align = self.int_attribute(self.types.i64, 8);
        self.with("llvm.alloca", &[n], self.types.ptr, &[("elem_type", elem), ("alignment", align)])
    }

    /// Reads `ty` from an address that is a multiple of `align`.
    pub fn load(&mut self, at: V<'c>, ty: Type<'c>, align: i64) -> V<'c> {
        if self.style.spirv.is_some() {
            return self.spirv_load(at, ty, align, false);
        }
        let align = self.int_attribute(self.types.i64, align);
        self.with("llvm.load", &[at], ty, &[("alignment", align)])
    }

    /// Reads what nobody writes.
    pub fn load_constant(&mut self, at: V<'c>, ty: Type<'c>, align: i64) -> V<'c> {
        if self.style.spirv.is_some() {
            return self.spirv_load(at, ty, align, true);
        }
        let align = self.int_attribute(self.types.i64, align);
        let attributes = [("alignment", align), ("invariant", Attribute::unit(self.context))];
        self.with("llvm.load", &[at], ty, &attributes)
    }

    /// Writes to an address that is a multiple of `align`.
    pub fn store(&mut self, at: V<'c>, x: V<'c>, align: i64) {
        if self.style.spirv.is_some() {
            return self.spirv_store(at, x, align);
        }
        let align = self.int_attribute(self.types.i64, align);
        self.raw("llvm.store", &[x, at], &[], &[("alignment", align)], Vec::new());
    }

    /// A pointer that is known to point to a graphics processor's own memory.
    pub fn global(&self) -> Type<'c> {
        if self.style.spirv.is_some() { self.types.ptr } else { llvm::r#type::pointer(self.context, GLOBAL) }
    }

    /// The same address in another address space.
    pub fn cast(&mut self, p: V<'c>, ty: Type<'c>) -> V<'c> {
        if p.r#type() == ty { p } else { self.op("llvm.addrspacecast", &[p], ty) }
    }

    /// The address of what the threads of a block of a graphics processor share.
    pub fn shared(&mut self) -> V<'c> {
        if self.style.spirv.is_some() {
            return self.int(self.types.i32, 0);
        }
        let ty = llvm::r#type::pointer(self.context, SHARED);
        let name = FlatSymbolRefAttribute::new(self.context, SCRATCH).into();
        let p = self.with("llvm.mlir.addressof", &[], ty, &[("global_name", name)]);
        self.cast(p, self.types.ptr)
    }

    /// Adds what [`Ir::shared`] is the address of, of so many bytes, to a module of a graphics processor.
    pub fn add_shared(&mut self, module: BlockRef<'c, '_>, bytes: u64) -> Result<(), Unsupported> {
        if self.style.spirv.is_some() {
            return self.spirv_globals(module, bytes);
        }
        let bytes = u32::try_from(bytes).map_err(|e| Unsupported::failed("MLIR", e))?;
        let ty = TypeAttribute::new(llvm::r#type::array(self.types.i8, bytes)).into();
        let linkage = llvm::attributes::linkage(self.context, llvm::attributes::Linkage::Internal);
        let attributes = [
            (self.id("global_type"), ty),
            (self.id("sym_name"), StringAttribute::new(self.context, SCRATCH).into()),
            (self.id("linkage"), linkage),
            (self.id("addr_space"), self.int_attribute(self.types.i32, SHARED.into())),
            (self.id("alignment"), self.int_attribute(self.types.i64, 16)),
        ];
        let op = OperationBuilder::new("llvm.mlir.global", self.at)
            .add_attributes(&attributes)
            .add_regions([Region::new()])
            .build();
        module.append_operation(op.map_err(|e| Unsupported::failed("MLIR", e))?);
        Ok(())
    }

    /// Where the frame of a host array lies that belongs to a tick of a sample: frames are `[frame, sample]`, and the table
    /// says where frame 0 of sample 0 lies or would lie.
    pub fn team_frame(
        &mut self,
        table: V<'c>,
        (n, buffer): (u32, &Buffer),
        (tick, samples, sample): (V<'c>, V<'c>, V<'c>),
    ) -> V<'c> {
        let at = self.i64(n.into());
        let at = self.element(table, self.types.ptr, at);
        let base = self.load_constant(at, self.global(), 8);
        let base = self.cast(base, self.types.ptr);
        let frame = match buffer.role {
            Role::Probe { every } if every > 1 => self.by("arith.divui", tick, every as i64),
            _ => tick,
        };
        let bytes = buffer.len.saturating_mul(buffer.elem.size() as u64) as i64;
        let row = self.mul(frame, samples);
        let number = self.add(row, sample);
        let offset = self.times(number, bytes);
        self.element(base, self.types.i8, offset)
    }

    fn atomic(&mut self, what: i64, at: V<'c>, x: V<'c>, attributes: &[(&str, Attribute<'c>)]) -> V<'c> {
        let i64 = self.types.i64;
        let mut all = vec![("bin_op", self.int_attribute(i64, what))];
        all.extend_from_slice(attributes);
        self.with("llvm.atomicrmw", &[at, x], x.r#type(), &all)
    }

    /// Sets bits of a 32-bit number that others change at the same time.
    pub fn atomic_or(&mut self, at: V<'c>, x: V<'c>) {
        if self.style.spirv.is_some() {
            return self.spirv_atomic("spirv.AtomicOr", at, x);
        }
        let relaxed = self.int_attribute(self.types.i64, MONOTONIC);
        self.atomic(ATOMIC_OR, at, x, &[("ordering", relaxed)]);
    }

    /// Lowers an unsigned 32-bit number, which others change at the same time, to `x`.
    pub fn atomic_umin(&mut self, at: V<'c>, x: V<'c>) {
        if self.style.spirv.is_some() {
            return self.spirv_atomic("spirv.AtomicUMin", at, x);
        }
        let relaxed = self.int_attribute(self.types.i64, MONOTONIC);
        self.atomic(ATOMIC_UMIN, at, x, &[("ordering", relaxed)]);
    }

    /// Adds to a number that blocks change at the same time, after all that was done before; what it was.
    pub fn atomic_arrive(&mut self, at: V<'c>, x: V<'c>) -> V<'c> {
        let ordering = self.int_attribute(self.types.i64, ACQ_REL);
        let scope = StringAttribute::new(self.context, "device").into();
        // The code generator writes an addition without its order.
        self.raw("llvm.fence", &[], &[], &[("ordering", ordering), ("syncscope", scope)], Vec::new());
        self.atomic(ATOMIC_ADD, at, x, &[("ordering", ordering), ("syncscope", scope)])
    }

    /// Reads a 64-bit number that blocks change at the same time, before all that is done after.
    pub fn atomic_look(&mut self, at: V<'c>) -> V<'c> {
        let i64 = self.types.i64;
        let attributes = [
            ("alignment", self.int_attribute(i64, 8)),
            ("ordering", self.int_attribute(i64, ACQUIRE)),
            ("syncscope", StringAttribute::new(self.context, "device").into()),
        ];
        self.with("llvm.load", &[at], i64, &attributes)
    }
}
