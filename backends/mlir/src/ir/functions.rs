//! Functions and calls.

use super::{Ir, V, Write};
use crate::error::Unsupported;
use melior::dialect::llvm;
use melior::ir::attribute::{DenseI32ArrayAttribute, FlatSymbolRefAttribute, StringAttribute, TypeAttribute};
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::FunctionType;
use melior::ir::{Attribute, BlockRef, OperationRef, Region, Type};

impl<'c> Ir<'c> {
    fn call_op(&mut self, name: &str, arguments: &[V<'c>], results: &[Type<'c>]) -> Option<OperationRef<'c, 'c>> {
        let callee = FlatSymbolRefAttribute::new(self.context, name).into();
        let call = if self.style.spirv.is_some() { "spirv.FunctionCall" } else { "func.call" };
        self.raw(call, arguments, results, &[("callee", callee)], Vec::new())
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

    /// The threads of a block of a graphics processor meet, and see what each other wrote.
    pub fn gpu_barrier(&mut self) {
        match self.style.spirv.is_some() {
            true => self.spirv_barrier(),
            false => drop(self.raw("gpu.barrier", &[], &[], &[], Vec::new())),
        }
    }

    /// A number that a thread of a graphics processor has along the first axis, as an `i64`.
    pub fn gpu_number(&mut self, name: &str) -> V<'c> {
        if self.style.spirv.is_some() {
            return self.spirv_number(name);
        }
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
        if self.style.spirv.is_some() {
            return self.spirv_entry(module, (name, arguments.len()), body);
        }
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

    /// Adds a function of its own, which gives nothing and stays one, to a module of a graphics processor.
    pub fn device_function(
        &mut self,
        module: BlockRef<'c, '_>,
        name: &str,
        arguments: &[Type<'c>],
        body: impl FnOnce(&mut Ir<'c>, &[V<'c>]) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        if self.style.spirv.is_some() {
            return self.spirv_function(module, name, (arguments, None), |ir, a| body(ir, a).map(|()| None));
        }
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
            // Threads meet inside: calls must not be put where only some threads come by.
            (self.id("convergent"), Attribute::unit(self.context)),
        ];
        let op = OperationBuilder::new("llvm.func", self.at).add_attributes(&attributes).add_regions([region]).build();
        module.append_operation(op.map_err(|e| Unsupported::failed("MLIR", e))?);
        Ok(())
    }

    /// Calls such a function.
    pub fn device_call(&mut self, name: &str, arguments: &[V<'c>]) {
        if self.style.spirv.is_some() {
            return self.call(name, arguments);
        }
        let callee = FlatSymbolRefAttribute::new(self.context, name).into();
        let segments = DenseI32ArrayAttribute::new(self.context, &[arguments.len() as i32, 0]).into();
        let bundles = DenseI32ArrayAttribute::new(self.context, &[]).into();
        let convergent = Attribute::unit(self.context);
        let attributes = [
            ("callee", callee),
            ("operandSegmentSizes", segments),
            ("op_bundle_sizes", bundles),
            ("convergent", convergent),
        ];
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
        if self.style.spirv.is_some() {
            return self.spirv_function(module, name, (arguments, result), body);
        }
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
