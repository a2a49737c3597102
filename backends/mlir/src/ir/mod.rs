//! A cursor that writes operations of MLIR, in the words of the kernel IR.
//!
//! Arithmetic and control flow are here; [`memory`] has addresses, loads and stores, [`functions`] functions and calls,
//! [`spirv`] what both are in SPIR-V.

mod functions;
mod memory;
mod spirv;

pub(crate) use spirv::globals as spirv_globals;

use crate::error::Unsupported;
use melior::Context;
use melior::dialect::llvm;
use melior::ir::attribute::{FloatAttribute, IntegerAttribute};
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::IntegerType;
use melior::ir::{
    Attribute, Block, BlockRef, Identifier, Location, OperationRef, Region, RegionLike, Type, Value, ValueLike,
};
use nc_ir::kernel::{Scalar, ScalarType};

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

/// Most loops and branches inside of each other in a function of SPIR-V. Mesa's software device takes 80 in all, and more
/// than that for what they are not.
const DEEPEST: usize = 60;

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
    pub style: Style,
    /// Where to write that a loop did not run to its end, on devices that may end loops early.
    pub fault: Option<V<'c>>,
    /// An `i64` that is 0 without looking like it, for devices that take a sum with 0.0 for its other term and a product with
    /// it for 0.0.
    pub zero: Option<V<'c>>,
    /// How deep regions nest here.
    depth: usize,
}

/// How a module is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Style {
    /// Whether `f64` is held as the `i64` with the same bits, for machines without it.
    pub soft: bool,
    /// Whether memory and functions are those of SPIR-V. Addresses then are integers, `i64` in the memory of the device and
    /// `i32` in what the threads of a block share, which has so many bytes.
    pub spirv: Option<u64>,
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
        self.ir().depth += 1;
        let deep = self.ir().style.spirv.is_some() && self.ir().depth > DEEPEST;
        let done = match deep {
            true => Err(Unsupported::new(format!("loops and branches more than {DEEPEST} deep"), "take --target cpu")),
            false => body(self, &arguments),
        };
        self.ir().depth -= 1;
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
        if self.ir().style.spirv.is_some() {
            // The conversion of `scf.for` loses what is carried where no iteration runs.
            let first: Vec<_> = std::iter::once(lo).chain(carried.iter().copied()).collect();
            let more = |ir: &mut Ir<'c>, a: &[V<'c>]| ir.cmp(Cmp::Slt, a[0], hi);
            let last = self.while_loop(&first, more, |w, a| {
                let next = body(w, a[0], &a[1..])?;
                let i = w.ir().add(a[0], step);
                Ok(std::iter::once(i).chain(next).collect())
            })?;
            return Ok(last[1..].to_vec());
        }
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

    /// Runs a body while a condition holds of what is carried, which the body gives anew; what is carried at the end. Where
    /// loops may end early, it is noted that one did.
    fn while_loop(
        &mut self,
        first: &[V<'c>],
        more: impl Fn(&mut Ir<'c>, &[V<'c>]) -> V<'c>,
        body: impl FnOnce(&mut Self, &[V<'c>]) -> Result<Vec<V<'c>>, Unsupported>,
    ) -> Result<Vec<V<'c>>, Unsupported> {
        let types: Vec<_> = first.iter().map(|v| v.r#type()).collect();
        let before = self.region(&types, |w, a| {
            let go = more(w.ir(), a);
            let operands: Vec<_> = std::iter::once(go).chain(a.iter().copied()).collect();
            w.ir().raw("scf.condition", &operands, &[], &[], Vec::new());
            Ok(())
        })?;
        let after = self.region(&types, |w, a| {
            let next = body(w, a)?;
            w.ir().r#yield(&next);
            Ok(())
        })?;
        let op = self.ir().raw("scf.while", first, &types, &[], vec![before, after]);
        let last: Vec<_> = (0..types.len()).map(|k| self.ir().result(op, k)).collect();
        if let Some(fault) = self.ir().fault {
            let still = more(self.ir(), &last);
            self.when(still, |w| {
                let ir = w.ir();
                let one = ir.int(ir.types.i32, 1);
                ir.store(fault, one, 4);
                Ok(())
            })?;
        }
        Ok(last)
    }

    /// Runs a body so many times on what is carried; the same code again and again where loops may end early.
    fn repeat(
        &mut self,
        times: i64,
        first: &[V<'c>],
        mut body: impl FnMut(&mut Self, &[V<'c>]) -> Result<Vec<V<'c>>, Unsupported>,
    ) -> Result<Vec<V<'c>>, Unsupported> {
        if self.ir().style.spirv.is_some() {
            return (0..times).try_fold(first.to_vec(), |now, _| body(self, &now));
        }
        let t = self.ir().types.i32;
        let (lo, hi) = (self.ir().int(t, 0), self.ir().int(t, times));
        self.for_loop((lo, hi, 1), first, |w, _, now| body(w, now))
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
    /// A cursor that is nowhere yet.
    pub fn new(context: &'c Context, style: Style) -> Ir<'c> {
        let int = |bits| IntegerType::new(context, bits).into();
        let types = Types {
            i1: int(1),
            i8: int(8),
            i16: int(16),
            i32: int(32),
            i64: int(64),
            f32: Type::float32(context),
            f64: Type::float64(context),
            ptr: if style.spirv.is_some() { int(64) } else { llvm::r#type::pointer(context, 0) },
        };
        let at = Location::unknown(context);
        Ir {
            context,
            at,
            types,
            block: None,
            failure: None,
            spare: Block::new(&[(types.i64, at)]),
            style,
            fault: None,
            zero: None,
            depth: 0,
        }
    }

    /// Another cursor at the same place.
    pub fn fork(&self) -> Ir<'c> {
        Ir {
            block: self.block,
            fault: self.fault,
            zero: self.zero,
            depth: self.depth,
            ..Ir::new(self.context, self.style)
        }
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
            ScalarType::F64 if self.style.soft => self.types.i64,
            ScalarType::F64 => self.types.f64,
            ScalarType::I32 => self.types.i32,
            ScalarType::I64 => self.types.i64,
            ScalarType::Bool => self.types.i1,
        }
    }

    pub fn id(&self, name: &str) -> Identifier<'c> {
        Identifier::new(self.context, name)
    }

    /// An attribute by its text.
    fn attribute(&mut self, text: &str) -> Attribute<'c> {
        Attribute::parse(self.context, text).unwrap_or_else(|| {
            self.fail(Unsupported::failed("MLIR", format!("no attribute `{text}`")));
            Attribute::unit(self.context)
        })
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

    /// How many bits of an `i32` or `i64` come before the first that is set.
    pub fn leading_zeros(&mut self, x: V<'c>) -> V<'c> {
        let ty = x.r#type();
        if self.style.spirv.is_none() {
            return self.op("math.ctlz", &[x], ty);
        }
        if ty == self.types.i32 {
            return self.leading_zeros_of_word(x);
        }
        // By halves, since SPIR-V looks for bits of 32 only.
        let half = self.types.i32;
        let high = self.by("arith.shrui", x, 32);
        let (high, low) = (self.op("arith.trunci", &[high], half), self.op("arith.trunci", &[x], half));
        let none = self.cmp_k(Cmp::Eq, high, 0);
        let (of_high, of_low) = (self.leading_zeros_of_word(high), self.leading_zeros_of_word(low));
        let of_low = self.by("arith.addi", of_low, 32);
        let zeros = self.select(none, of_low, of_high);
        self.op("arith.extui", &[zeros], ty)
    }

    /// How many bits of an `i32` are set.
    pub fn bits_set(&mut self, x: V<'c>) -> V<'c> {
        match self.style.spirv.is_some() {
            true => self.op("spirv.BitCount", &[x], self.types.i32),
            false => self.intrinsic("llvm.ctpop", &[x], self.types.i32),
        }
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
        if let (Some(zero), Scalar::F32(_) | Scalar::F64(_)) = (self.zero, k)
            && k.bits() == 0
        {
            let (zero, ty) = match k {
                Scalar::F32(_) => (self.op("arith.trunci", &[zero], self.types.i32), self.types.f32),
                _ => (zero, self.types.f64),
            };
            return self.op("arith.bitcast", &[zero], ty);
        }
        let float = |ir: &Ir<'c>, ty, x| FloatAttribute::new(ir.context, ty, x).into();
        let (ty, value) = match k {
            Scalar::F32(x) => (self.types.f32, float(self, self.types.f32, f64::from(x))),
            Scalar::F64(x) if self.style.soft => {
                (self.types.i64, self.int_attribute(self.types.i64, x.to_bits() as i64))
            }
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
}
