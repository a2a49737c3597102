//! A cursor that writes operations of MLIR, in the words of the kernel IR.

use crate::error::Unsupported;
use melior::Context;
use melior::dialect::llvm;
use melior::ir::attribute::{
    DenseI32ArrayAttribute, FlatSymbolRefAttribute, FloatAttribute, IntegerAttribute, StringAttribute, TypeAttribute,
};
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::{FunctionType, IntegerType};
use melior::ir::{
    Attribute, Block, BlockRef, Identifier, Location, OperationRef, Region, RegionLike, Type, Value, ValueLike,
};
use nc_ir::kernel::{Buffer, Role, Scalar, ScalarType};

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

/// A value of the module that is being written. It is only used while its block is part of a region or operation that
/// the module, or a caller further up, holds.
pub(crate) type V<'c> = Value<'c, 'c>;

/// The types that occur.
#[derive(Clone, Copy)]
pub(crate) struct Types<'c> {
    pub i1: Type<'c>,
    pub i8: Type<'c>,
    pub i16: Type<'c>,
    pub i32: Type<'c>,
    pub i64: Type<'c>,
    pub f32: Type<'c>,
    pub f64: Type<'c>,
    pub ptr: Type<'c>,
}

/// Integer comparisons, with the numbers that `arith.cmpi` has for them.
#[derive(Clone, Copy)]
pub(crate) enum Cmp {
    Eq = 0,
    Ne = 1,
    Slt = 2,
    Sle = 3,
    Sgt = 4,
    Sge = 5,
    Ult = 6,
}

/// A cursor at the end of a block.
pub(crate) struct Ir<'c> {
    pub context: &'c Context,
    pub at: Location<'c>,
    pub types: Types<'c>,
    block: Option<BlockRef<'c, 'c>>,
    /// The first operation that could not be made. What is written after it is of no use.
    failure: Option<Unsupported>,
    /// A block whose argument stands for the result of an operation that could not be made.
    spare: Block<'c>,
    /// Whether `f64` is held as the `i64` with the same bits, for machines without it.
    soft: bool,
}

/// Who writes through a cursor.
pub(crate) trait Write<'c>: Sized {
    fn ir(&mut self) -> &mut Ir<'c>;

    /// A region of one block, written by `body`, which is given the block's arguments.
    fn region(
        &mut self,
        arguments: &[Type<'c>],
        body: impl FnOnce(&mut Self, &[V<'c>]) -> Result<(), Unsupported>,
    ) -> Result<Region<'c>, Unsupported> {
        let (region, outer, arguments) = self.ir().open(arguments);
        let done = body(self, &arguments);
        self.ir().block = outer;
        done.map(|()| region)
    }

    /// `for i in lo..hi` in steps, signed; the body is given i and what is carried, and gives what is carried on.
    fn for_loop(
        &mut self,
        (lo, hi, step): (V<'c>, V<'c>, i64),
        carried: &[V<'c>],
        body: impl FnOnce(&mut Self, V<'c>, &[V<'c>]) -> Result<Vec<V<'c>>, Unsupported>,
    ) -> Result<Vec<V<'c>>, Unsupported> {
        let step = self.ir().int(lo.r#type(), step);
        self.for_steps((lo, hi, step), carried, body)
    }

    /// The same with a step, more than 0, that is a value.
    fn for_steps(
        &mut self,
        (lo, hi, step): (V<'c>, V<'c>, V<'c>),
        carried: &[V<'c>],
        body: impl FnOnce(&mut Self, V<'c>, &[V<'c>]) -> Result<Vec<V<'c>>, Unsupported>,
    ) -> Result<Vec<V<'c>>, Unsupported> {
        let types: Vec<_> = carried.iter().map(|v| v.r#type()).collect();
        let arguments: Vec<_> = std::iter::once(lo.r#type()).chain(types.iter().copied()).collect();
        let region = self.region(&arguments, |w, a| {
            let next = body(w, a[0], &a[1..])?;
            w.ir().r#yield(&next);
            Ok(())
        })?;
        let operands: Vec<_> = [lo, hi, step].into_iter().chain(carried.iter().copied()).collect();
        let op = self.ir().raw("scf.for", &operands, &types, &[], vec![region]);
        Ok((0..types.len()).map(|k| self.ir().result(op, k)).collect())
    }

    /// Runs one of two bodies, which give values of these types.
    fn branch(
        &mut self,
        condition: V<'c>,
        types: &[Type<'c>],
        yes: impl FnOnce(&mut Self) -> Result<Vec<V<'c>>, Unsupported>,
        no: impl FnOnce(&mut Self) -> Result<Vec<V<'c>>, Unsupported>,
    ) -> Result<Vec<V<'c>>, Unsupported> {
        let yes = self.region(&[], |w, _| {
            let values = yes(w)?;
            w.ir().r#yield(&values);
            Ok(())
        })?;
        let no = self.region(&[], |w, _| {
            let values = no(w)?;
            w.ir().r#yield(&values);
            Ok(())
        })?;
        let op = self.ir().raw("scf.if", &[condition], types, &[], vec![yes, no]);
        Ok((0..types.len()).map(|k| self.ir().result(op, k)).collect())
    }

    /// Runs a body if the condition holds.
    fn when(
        &mut self,
        condition: V<'c>,
        body: impl FnOnce(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let yes = self.region(&[], |w, _| {
            body(w)?;
            w.ir().r#yield(&[]);
            Ok(())
        })?;
        self.ir().raw("scf.if", &[condition], &[], &[], vec![yes, Region::new()]);
        Ok(())
    }
}

impl<'c> Write<'c> for Ir<'c> {
    fn ir(&mut self) -> &mut Ir<'c> {
        self
    }
}

impl<'c> Ir<'c> {
    /// A cursor that is nowhere yet. With `soft`, values of `f64` are `i64` with the same bits.
    pub fn new(context: &'c Context, soft: bool) -> Ir<'c> {
        let int = |bits| IntegerType::new(context, bits).into();
        let types = Types {
            i1: int(1),
            i8: int(8),
            i16: int(16),
            i32: int(32),
            i64: int(64),
            f32: Type::float32(context),
            f64: Type::float64(context),
            ptr: llvm::r#type::pointer(context, 0),
        };
        let at = Location::unknown(context);
        Ir { context, at, types, block: None, failure: None, spare: Block::new(&[(types.i64, at)]), soft }
    }

    /// Another cursor at the same place.
    pub fn fork(&self) -> Ir<'c> {
        Ir { block: self.block, ..Ir::new(self.context, self.soft) }
    }

    /// What failed since the last call.
    pub fn check(&mut self) -> Result<(), Unsupported> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Notes a failure.
    pub fn fail(&mut self, e: Unsupported) {
        self.failure.get_or_insert(e);
    }

    /// The type of a scalar in a register.
    pub fn scalar(&self, ty: ScalarType) -> Type<'c> {
        match ty {
            ScalarType::F32 => self.types.f32,
            ScalarType::F64 if self.soft => self.types.i64,
            ScalarType::F64 => self.types.f64,
            ScalarType::I32 => self.types.i32,
            ScalarType::I64 => self.types.i64,
            ScalarType::Bool => self.types.i1,
        }
    }

    pub fn id(&self, name: &str) -> Identifier<'c> {
        Identifier::new(self.context, name)
    }

    pub fn int_attribute(&self, ty: Type<'c>, k: i64) -> Attribute<'c> {
        IntegerAttribute::new(ty, k).into()
    }

    /// Appends an operation.
    pub fn raw(
        &mut self,
        name: &str,
        operands: &[V<'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
        regions: Vec<Region<'c>>,
    ) -> Option<OperationRef<'c, 'c>> {
        let attributes: Vec<_> = attributes.iter().map(|(n, a)| (self.id(n), *a)).collect();
        let made = OperationBuilder::new(name, self.at)
            .add_operands(operands)
            .add_results(results)
            .add_attributes(&attributes)
            .add_regions_vec(regions)
            .build();
        match (made, &self.block) {
            (Ok(op), Some(block)) => Some(block.append_operation(op)),
            (Ok(_), None) => {
                self.failure.get_or_insert_with(|| Unsupported::failed("MLIR", format!("`{name}` outside a block")));
                None
            }
            (Err(e), _) => {
                self.failure.get_or_insert_with(|| Unsupported::failed("MLIR", format!("`{name}`: {e}")));
                None
            }
        }
    }

    /// Result `k` of an operation, for as long as the module is written.
    fn result(&mut self, op: Option<OperationRef<'c, 'c>>, k: usize) -> V<'c> {
        match op.and_then(|o| o.result(k).ok()) {
            // SAFETY: the operation lies in a block that stays.
            Some(r) => unsafe { Value::from_raw(r.to_raw()) },
            None => {
                self.failure.get_or_insert_with(|| Unsupported::failed("MLIR", "an operation has no result"));
                // A value to go on with: the failure is found before anything is done with the module.
                // SAFETY: the block has one argument and is as old as this cursor.
                unsafe { Value::from_raw(mlir_sys::mlirBlockGetArgument(self.spare.to_raw(), 0)) }
            }
        }
    }

    /// Appends an operation with one result.
    pub fn op(&mut self, name: &str, operands: &[V<'c>], ty: Type<'c>) -> V<'c> {
        self.with(name, operands, ty, &[])
    }

    /// Appends an operation with attributes and one result.
    pub fn with(
        &mut self,
        name: &str,
        operands: &[V<'c>],
        ty: Type<'c>,
        attributes: &[(&str, Attribute<'c>)],
    ) -> V<'c> {
        let op = self.raw(name, operands, &[ty], attributes, Vec::new());
        self.result(op, 0)
    }

    /// The upper half of an unsigned product.
    pub fn mul_high(&mut self, x: V<'c>, y: V<'c>, ty: Type<'c>) -> V<'c> {
        let op = self.raw("arith.mului_extended", &[x, y], &[ty, ty], &[], Vec::new());
        self.result(op, 1)
    }

    pub fn int(&mut self, ty: Type<'c>, k: i64) -> V<'c> {
        let value = self.int_attribute(ty, k);
        self.with("arith.constant", &[], ty, &[("value", value)])
    }

    pub fn i64(&mut self, k: i64) -> V<'c> {
        self.int(self.types.i64, k)
    }

    /// A constant.
    pub fn constant(&mut self, k: Scalar) -> V<'c> {
        let float = |ir: &Ir<'c>, ty, x| FloatAttribute::new(ir.context, ty, x).into();
        let (ty, value) = match k {
            Scalar::F32(x) => (self.types.f32, float(self, self.types.f32, f64::from(x))),
            Scalar::F64(x) if self.soft => (self.types.i64, self.int_attribute(self.types.i64, x.to_bits() as i64)),
            Scalar::F64(x) => (self.types.f64, float(self, self.types.f64, x)),
            Scalar::I32(x) => (self.types.i32, self.int_attribute(self.types.i32, x.into())),
            Scalar::I64(x) => (self.types.i64, self.int_attribute(self.types.i64, x)),
            Scalar::Bool(x) => (self.types.i1, self.int_attribute(self.types.i1, x.into())),
        };
        self.with("arith.constant", &[], ty, &[("value", value)])
    }

    /// Compares floats; the numbers are those of `arith.cmpf`.
    pub fn cmpf(&mut self, predicate: i64, x: V<'c>, y: V<'c>) -> V<'c> {
        let predicate = self.int_attribute(self.types.i64, predicate);
        self.with("arith.cmpf", &[x, y], self.types.i1, &[("predicate", predicate)])
    }

    pub fn cmp(&mut self, how: Cmp, x: V<'c>, y: V<'c>) -> V<'c> {
        let predicate = self.int_attribute(self.types.i64, how as i64);
        self.with("arith.cmpi", &[x, y], self.types.i1, &[("predicate", predicate)])
    }

    /// An operation of `arith` on two values of a type, which is also the result's.
    pub fn bin(&mut self, name: &str, x: V<'c>, y: V<'c>) -> V<'c> {
        self.op(name, &[x, y], x.r#type())
    }

    /// An operation of `arith` on a value and a constant of its type.
    pub fn by(&mut self, name: &str, x: V<'c>, k: i64) -> V<'c> {
        let k = self.int(x.r#type(), k);
        self.bin(name, x, k)
    }

    /// Compares with a constant.
    pub fn cmp_k(&mut self, how: Cmp, x: V<'c>, k: i64) -> V<'c> {
        let k = self.int(x.r#type(), k);
        self.cmp(how, x, k)
    }

    pub fn select(&mut self, condition: V<'c>, x: V<'c>, y: V<'c>) -> V<'c> {
        self.op("arith.select", &[condition, x, y], x.r#type())
    }

    pub fn add(&mut self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.op("arith.addi", &[x, y], x.r#type())
    }

    pub fn mul(&mut self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.op("arith.muli", &[x, y], x.r#type())
    }

    /// `x + k` for an `i64`.
    pub fn plus(&mut self, x: V<'c>, k: i64) -> V<'c> {
        if k == 0 {
            return x;
        }
        let k = self.i64(k);
        self.add(x, k)
    }

    /// `x * k` for an `i64`.
    pub fn times(&mut self, x: V<'c>, k: i64) -> V<'c> {
        if k == 1 {
            return x;
        }
        let k = self.i64(k);
        self.mul(x, k)
    }

    /// The address of element `index` (an `i64`) of type `elem` from `base` on.
    pub fn element(&mut self, base: V<'c>, elem: Type<'c>, index: V<'c>) -> V<'c> {
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
        let align = self.int_attribute(self.types.i64, align);
        self.with("llvm.load", &[at], ty, &[("alignment", align)])
    }

    /// Reads what nobody writes.
    pub fn load_constant(&mut self, at: V<'c>, ty: Type<'c>, align: i64) -> V<'c> {
        let align = self.int_attribute(self.types.i64, align);
        let attributes = [("alignment", align), ("invariant", Attribute::unit(self.context))];
        self.with("llvm.load", &[at], ty, &attributes)
    }

    /// Writes to an address that is a multiple of `align`.
    pub fn store(&mut self, at: V<'c>, x: V<'c>, align: i64) {
        let align = self.int_attribute(self.types.i64, align);
        self.raw("llvm.store", &[x, at], &[], &[("alignment", align)], Vec::new());
    }

    /// Starts a region of one block and moves there: the region, where the cursor was, the block's arguments.
    fn open(&mut self, arguments: &[Type<'c>]) -> (Region<'c>, Option<BlockRef<'c, 'c>>, Vec<V<'c>>) {
        let region = Region::new();
        let arguments: Vec<_> = arguments.iter().map(|t| (*t, self.at)).collect();
        let block = region.append_block(Block::new(&arguments));
        // SAFETY: the block belongs to the region, which the caller makes part of an operation.
        let block: BlockRef<'c, 'c> = unsafe { BlockRef::from_raw(block.to_raw()) };
        let values = (0..arguments.len())
            .filter_map(|k| block.argument(k).ok())
            // SAFETY: as for the block.
            .map(|a| unsafe { Value::from_raw(a.to_raw()) })
            .collect();
        (region, self.block.replace(block), values)
    }

    /// Ends a block of structured control flow.
    pub fn r#yield(&mut self, values: &[V<'c>]) {
        self.raw("scf.yield", values, &[], &[], Vec::new());
    }

    fn call_op(&mut self, name: &str, arguments: &[V<'c>], results: &[Type<'c>]) -> Option<OperationRef<'c, 'c>> {
        let callee = FlatSymbolRefAttribute::new(self.context, name).into();
        self.raw("func.call", arguments, results, &[("callee", callee)], Vec::new())
    }

    /// Calls a function of the module.
    pub fn call(&mut self, name: &str, arguments: &[V<'c>]) {
        self.call_op(name, arguments, &[]);
    }

    /// Calls a function of the module that gives a value.
    pub fn call_value(&mut self, name: &str, arguments: &[V<'c>], result: Type<'c>) -> V<'c> {
        let op = self.call_op(name, arguments, &[result]);
        self.result(op, 0)
    }

    /// Calls what a pointer points to, which takes pointers and gives nothing.
    pub fn call_pointer(&mut self, function: V<'c>, arguments: &[V<'c>]) {
        match (self.call_pointer_operation(function, arguments), &self.block) {
            (Ok(op), Some(block)) => drop(block.append_operation(op)),
            (Err(e), _) => drop(self.failure.get_or_insert(e)),
            (Ok(_), None) => {
                self.failure.get_or_insert_with(|| Unsupported::failed("MLIR", "a call outside a block"));
            }
        }
    }

    /// The same call, not in any block yet.
    pub fn call_pointer_operation(
        &self,
        function: V<'c>,
        arguments: &[V<'c>],
    ) -> Result<melior::ir::Operation<'c>, Unsupported> {
        let operands: Vec<_> = std::iter::once(function).chain(arguments.iter().copied()).collect();
        let segments = DenseI32ArrayAttribute::new(self.context, &[operands.len() as i32, 0]).into();
        let bundles = DenseI32ArrayAttribute::new(self.context, &[]).into();
        OperationBuilder::new("llvm.call", self.at)
            .add_operands(&operands)
            .add_attributes(&[(self.id("operandSegmentSizes"), segments), (self.id("op_bundle_sizes"), bundles)])
            .build()
            .map_err(|e| Unsupported::failed("MLIR", e))
    }

    /// Calls an intrinsic of LLVM.
    pub fn intrinsic(&mut self, name: &str, arguments: &[V<'c>], ty: Type<'c>) -> V<'c> {
        let intrin = StringAttribute::new(self.context, name).into();
        let segments = DenseI32ArrayAttribute::new(self.context, &[arguments.len() as i32, 0]).into();
        let bundles = DenseI32ArrayAttribute::new(self.context, &[]).into();
        let attributes = [("intrin", intrin), ("operandSegmentSizes", segments), ("op_bundle_sizes", bundles)];
        self.with("llvm.call_intrinsic", arguments, ty, &attributes)
    }

    /// A number that a thread of a graphics processor has along the first axis, as an `i64`.
    pub fn gpu_number(&mut self, name: &str) -> V<'c> {
        let index = Type::index(self.context);
        let Some(x) = Attribute::parse(self.context, "#gpu<dim x>") else {
            self.failure.get_or_insert_with(|| Unsupported::failed("MLIR", "no axes of graphics processors"));
            return self.i64(0);
        };
        let n = self.with(name, &[], index, &[("dimension", x)]);
        self.op("arith.index_cast", &[n], self.types.i64)
    }

    /// Adds a function that is launched to a module of a graphics processor.
    pub fn gpu_function(
        &mut self,
        module: BlockRef<'c, '_>,
        name: &str,
        (arguments, threads): (&[Type<'c>], u32),
        body: impl FnOnce(&mut Ir<'c>, &[V<'c>]) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let region = self.region(arguments, |ir, a| {
            body(ir, a)?;
            ir.raw("gpu.return", &[], &[], &[], Vec::new());
            Ok(())
        })?;
        self.check()?;
        let ty = TypeAttribute::new(FunctionType::new(self.context, arguments, &[]).into()).into();
        let name = StringAttribute::new(self.context, name).into();
        let attributes = [
            (self.id("sym_name"), name),
            (self.id("function_type"), ty),
            (self.id("gpu.kernel"), Attribute::unit(self.context)),
            (self.id("known_block_size"), DenseI32ArrayAttribute::new(self.context, &[threads as i32, 1, 1]).into()),
            (self.id("nvvm.minctasm"), self.int_attribute(self.types.i32, 1)),
        ];
        let op = OperationBuilder::new("gpu.func", self.at).add_attributes(&attributes).add_regions([region]).build();
        module.append_operation(op.map_err(|e| Unsupported::failed("MLIR", e))?);
        Ok(())
    }

    /// A pointer that is known to point to a graphics processor's own memory.
    pub fn global(&self) -> Type<'c> {
        llvm::r#type::pointer(self.context, GLOBAL)
    }

    /// The same address in another address space.
    pub fn cast(&mut self, p: V<'c>, ty: Type<'c>) -> V<'c> {
        if p.r#type() == ty { p } else { self.op("llvm.addrspacecast", &[p], ty) }
    }

    /// The address of what the threads of a block of a graphics processor share.
    pub fn shared(&mut self) -> V<'c> {
        let ty = llvm::r#type::pointer(self.context, SHARED);
        let name = FlatSymbolRefAttribute::new(self.context, SCRATCH).into();
        let p = self.with("llvm.mlir.addressof", &[], ty, &[("global_name", name)]);
        self.cast(p, self.types.ptr)
    }

    /// Adds what [`Ir::shared`] is the address of, of so many bytes, to a module of a graphics processor.
    pub fn add_shared(&self, module: BlockRef<'c, '_>, bytes: u64) -> Result<(), Unsupported> {
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
        let relaxed = self.int_attribute(self.types.i64, MONOTONIC);
        self.atomic(ATOMIC_OR, at, x, &[("ordering", relaxed)]);
    }

    /// Lowers an unsigned 32-bit number, which others change at the same time, to `x`.
    pub fn atomic_umin(&mut self, at: V<'c>, x: V<'c>) {
        let relaxed = self.int_attribute(self.types.i64, MONOTONIC);
        self.atomic(ATOMIC_UMIN, at, x, &[("ordering", relaxed)]);
    }

    /// Adds to a number that blocks change at the same time, after all that was done before; what it was.
    pub fn atomic_arrive(&mut self, at: V<'c>, x: V<'c>) -> V<'c> {
        let ordering = self.int_attribute(self.types.i64, ACQ_REL);
        let scope = StringAttribute::new(self.context, "device").into();
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

    /// Adds a function of its own, which gives nothing and stays one, to a module of a graphics processor.
    pub fn device_function(
        &mut self,
        module: BlockRef<'c, '_>,
        name: &str,
        arguments: &[Type<'c>],
        body: impl FnOnce(&mut Ir<'c>, &[V<'c>]) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let region = self.region(arguments, |ir, a| {
            body(ir, a)?;
            ir.raw("llvm.return", &[], &[], &[], Vec::new());
            Ok(())
        })?;
        self.check()?;
        let ty = llvm::r#type::function(llvm::r#type::void(self.context), arguments, false);
        let attributes = [
            (self.id("sym_name"), StringAttribute::new(self.context, name).into()),
            (self.id("function_type"), TypeAttribute::new(ty).into()),
            (self.id("linkage"), llvm::attributes::linkage(self.context, llvm::attributes::Linkage::Internal)),
            (self.id("no_inline"), Attribute::unit(self.context)),
        ];
        let op = OperationBuilder::new("llvm.func", self.at).add_attributes(&attributes).add_regions([region]).build();
        module.append_operation(op.map_err(|e| Unsupported::failed("MLIR", e))?);
        Ok(())
    }

    /// Calls such a function.
    pub fn device_call(&mut self, name: &str, arguments: &[V<'c>]) {
        let callee = FlatSymbolRefAttribute::new(self.context, name).into();
        let segments = DenseI32ArrayAttribute::new(self.context, &[arguments.len() as i32, 0]).into();
        let bundles = DenseI32ArrayAttribute::new(self.context, &[]).into();
        let attributes = [("callee", callee), ("operandSegmentSizes", segments), ("op_bundle_sizes", bundles)];
        self.raw("llvm.call", arguments, &[], &attributes, Vec::new());
    }

    /// Adds a function to a module. Its body is given the arguments and the value that it gives back is returned.
    pub fn function(
        &mut self,
        module: BlockRef<'c, '_>,
        (name, exported): (&str, bool),
        arguments: &[Type<'c>],
        result: Option<Type<'c>>,
        body: impl FnOnce(&mut Ir<'c>, &[V<'c>]) -> Result<Option<V<'c>>, Unsupported>,
    ) -> Result<(), Unsupported> {
        let region = self.region(arguments, |ir, a| {
            let back: Vec<V<'c>> = body(ir, a)?.into_iter().collect();
            ir.raw("func.return", &back, &[], &[], Vec::new());
            Ok(())
        })?;
        self.check()?;
        let results: Vec<_> = result.into_iter().collect();
        let ty = TypeAttribute::new(FunctionType::new(self.context, arguments, &results).into());
        self.append_function(module, (name, exported), ty, region);
        Ok(())
    }

    fn append_function(
        &self,
        module: BlockRef<'c, '_>,
        (name, exported): (&str, bool),
        ty: TypeAttribute<'c>,
        region: Region<'c>,
    ) {
        let name = StringAttribute::new(self.context, name);
        let linkage = llvm::attributes::linkage(self.context, llvm::attributes::Linkage::Internal);
        let private = StringAttribute::new(self.context, "private").into();
        let attributes = [(self.id("llvm.linkage"), linkage), (self.id("sym_visibility"), private)];
        let attributes = if exported { &[][..] } else { &attributes[..] };
        module.append_operation(melior::dialect::func::func(self.context, name, ty, region, attributes, self.at));
    }
}
