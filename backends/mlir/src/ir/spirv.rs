//! What memory, functions and the numbers of threads are in SPIR-V.
//!
//! Memory of the device is addressed by integers (`PhysicalStorageBuffer`). What the threads of a block share is an array of
//! words, and its addresses are byte offsets. Nothing that threads share is private to one of them: barriers make it visible,
//! by the memory model of Vulkan (SPIR-V 1.5, section 2.18.3).

use super::{Ir, V, Write};
use crate::error::Unsupported;
use crate::gpu::LOOPS;
use crate::team::ARGUMENTS;
use melior::ir::attribute::{FlatSymbolRefAttribute, StringAttribute, TypeAttribute};
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::FunctionType;
use melior::ir::{Attribute, BlockRef, Region, Type, ValueLike};

/// What the threads of a block share.
const SHARED: &str = "nc_shared";
/// The arguments of a launch.
const PUSHED: &str = "nc_arguments";
/// Numbers of threads, as `gpu` names them, and where SPIR-V has them.
const NUMBERS: [(&str, &str); 3] =
    [("gpu.thread_id", "LocalInvocationId"), ("gpu.block_id", "WorkgroupId"), ("gpu.grid_dim", "NumWorkgroups")];
/// The type of the variables of these.
const TRIPLE: &str = "!spirv.ptr<vector<3xi32>, Input>";

/// The type of the arguments of a launch, as many as any entry takes.
fn arguments_type() -> String {
    let fields: Vec<_> = (0..ARGUMENTS + LOOPS).map(|n| format!("i64 [{}]", 8 * n)).collect();
    format!("!spirv.ptr<!spirv.struct<({})>, PushConstant>", fields.join(", "))
}

/// All global variables, which an entry point has to name.
pub(crate) fn globals() -> impl Iterator<Item = &'static str> {
    [SHARED, PUSHED].into_iter().chain(NUMBERS.iter().map(|(_, name)| *name))
}

impl<'c> Ir<'c> {
    /// The type of what threads share.
    fn shared_type(&self) -> String {
        format!("!spirv.ptr<!spirv.array<{} x i32>, Workgroup>", self.style.spirv.unwrap_or(0) / 4)
    }

    /// A type by its text.
    fn type_of(&mut self, text: &str) -> Type<'c> {
        Type::parse(self.context, text).unwrap_or_else(|| {
            self.fail(Unsupported::failed("MLIR", format!("no type `{text}`")));
            self.types.i64
        })
    }

    /// Adds the global variables, with so many bytes that threads share.
    pub(super) fn spirv_globals(&mut self, module: BlockRef<'c, '_>, shared: u64) -> Result<(), Unsupported> {
        if self.style.spirv != Some(shared) {
            return Err(Unsupported::malformed("what the threads of a block share has an extent of its own"));
        }
        let plain = [(SHARED, self.shared_type()), (PUSHED, arguments_type())].map(|(n, t)| (n, t, None));
        let numbers = NUMBERS.map(|(_, name)| (name, TRIPLE.to_owned(), Some(name)));
        for (name, ty, builtin) in plain.into_iter().chain(numbers) {
            let ty = self.type_of(&ty);
            let mut attributes = vec![
                (self.id("type"), TypeAttribute::new(ty).into()),
                (self.id("sym_name"), StringAttribute::new(self.context, name).into()),
            ];
            if let Some(builtin) = builtin {
                attributes.push((self.id("built_in"), StringAttribute::new(self.context, builtin).into()));
            }
            let op = OperationBuilder::new("spirv.GlobalVariable", self.at).add_attributes(&attributes).build();
            module.append_operation(op.map_err(|e| Unsupported::failed("MLIR", e))?);
        }
        self.check()
    }

    /// The address of a global variable.
    fn global_variable(&mut self, name: &str, ty: Type<'c>) -> V<'c> {
        let variable = FlatSymbolRefAttribute::new(self.context, name).into();
        self.with("spirv.mlir.addressof", &[], ty, &[("variable", variable)])
    }

    /// Argument `n` of a launch.
    fn argument(&mut self, n: usize) -> V<'c> {
        let (all, one) = (self.type_of(&arguments_type()), self.type_of("!spirv.ptr<i64, PushConstant>"));
        let base = self.global_variable(PUSHED, all);
        let (i32, i64) = (self.types.i32, self.types.i64);
        let value = self.int_attribute(i32, n as i64);
        let n = self.with("spirv.Constant", &[], i32, &[("value", value)]);
        let at = self.op("spirv.AccessChain", &[base, n], one);
        self.op("spirv.Load", &[at], i64)
    }

    /// A number that a thread has along the first axis, as an `i64`.
    pub(super) fn spirv_number(&mut self, name: &str) -> V<'c> {
        let Some((_, variable)) = NUMBERS.iter().find(|(n, _)| *n == name) else {
            self.fail(Unsupported::failed("MLIR", format!("SPIR-V has no `{name}`")));
            return self.i64(0);
        };
        let (pointer, triple) = (self.type_of(TRIPLE), self.type_of("vector<3xi32>"));
        let at = self.global_variable(variable, pointer);
        let all = self.op("spirv.Load", &[at], triple);
        let first = self.attribute("[0 : i32]");
        let x = self.with("spirv.CompositeExtract", &[all], self.types.i32, &[("indices", first)]);
        self.op("arith.extui", &[x], self.types.i64)
    }

    /// The address of element `index` of a type from `base` on.
    pub(super) fn spirv_element(&mut self, base: V<'c>, elem: Type<'c>, index: V<'c>) -> V<'c> {
        let t = self.types;
        let bytes = match elem {
            e if e == t.i8 => 1,
            e if e == t.i16 => 2,
            e if e == t.i32 || e == t.f32 => 4,
            _ => 8,
        };
        let index = if base.r#type() == t.i32 { self.op("arith.trunci", &[index], t.i32) } else { index };
        let ahead = if bytes == 1 { index } else { self.by("arith.muli", index, bytes) };
        self.add(base, ahead)
    }

    /// A word that the threads of a block share, as an operand of SPIR-V.
    fn shared_word(&mut self, at: V<'c>) -> V<'c> {
        let array = self.type_of(&self.shared_type());
        let word = self.type_of("!spirv.ptr<i32, Workgroup>");
        let base = self.global_variable(SHARED, array);
        let n = self.by("arith.shrui", at, 2);
        self.op("spirv.AccessChain", &[base, n], word)
    }

    /// An address in the memory of the device, as an operand of SPIR-V.
    fn device_place(&mut self, at: V<'c>, ty: Type<'c>) -> V<'c> {
        let pointer = self.type_of(&format!("!spirv.ptr<{ty}, PhysicalStorageBuffer>"));
        self.op("spirv.ConvertUToPtr", &[at], pointer)
    }

    /// How memory of the device is accessed.
    fn access(&mut self, align: i64, constant: bool) -> [(&'static str, Attribute<'c>); 2] {
        let how = if constant { "Aligned" } else { "Aligned|NonPrivatePointer" };
        let how = self.attribute(&format!("#spirv.memory_access<{how}>"));
        [("memory_access", how), ("alignment", self.int_attribute(self.types.i32, align))]
    }

    /// How what threads share is accessed.
    fn shared_access(&mut self) -> [(&'static str, Attribute<'c>); 1] {
        [("memory_access", self.attribute("#spirv.memory_access<NonPrivatePointer>"))]
    }

    pub(super) fn spirv_load(&mut self, at: V<'c>, ty: Type<'c>, align: i64, constant: bool) -> V<'c> {
        let t = self.types;
        if at.r#type() != t.i32 {
            let p = self.device_place(at, ty);
            let access = self.access(align, constant);
            return self.with("spirv.Load", &[p], ty, &access);
        }
        let access = self.shared_access();
        let p = self.shared_word(at);
        let low = self.with("spirv.Load", &[p], t.i32, &access);
        if ty == t.i32 {
            return low;
        }
        let above = self.by("arith.addi", at, 4);
        let p = self.shared_word(above);
        let high = self.with("spirv.Load", &[p], t.i32, &access);
        let (low, high) = (self.op("arith.extui", &[low], t.i64), self.op("arith.extui", &[high], t.i64));
        let high = self.by("arith.shli", high, 32);
        self.bin("arith.ori", high, low)
    }

    pub(super) fn spirv_store(&mut self, at: V<'c>, x: V<'c>, align: i64) {
        let t = self.types;
        if at.r#type() != t.i32 {
            let p = self.device_place(at, x.r#type());
            let access = self.access(align, false);
            self.raw("spirv.Store", &[p, x], &[], &access, Vec::new());
            return;
        }
        let access = self.shared_access();
        let p = self.shared_word(at);
        if x.r#type() == t.i32 {
            self.raw("spirv.Store", &[p, x], &[], &access, Vec::new());
            return;
        }
        let high = self.by("arith.shrui", x, 32);
        let (low, high) = (self.op("arith.trunci", &[x], t.i32), self.op("arith.trunci", &[high], t.i32));
        self.raw("spirv.Store", &[p, low], &[], &access, Vec::new());
        let above = self.by("arith.addi", at, 4);
        let p = self.shared_word(above);
        self.raw("spirv.Store", &[p, high], &[], &access, Vec::new());
    }

    /// An atomic operation on a word that threads share.
    pub(super) fn spirv_atomic(&mut self, name: &str, at: V<'c>, x: V<'c>) {
        let p = self.shared_word(at);
        let scope = self.attribute("#spirv.scope<Workgroup>");
        let order = self.attribute("#spirv.memory_semantics<None>");
        self.with(name, &[p, x], self.types.i32, &[("memory_scope", scope), ("semantics", order)]);
    }

    /// The threads of a block meet, and see what each other wrote.
    pub(super) fn spirv_barrier(&mut self) {
        let scope = self.attribute("#spirv.scope<Workgroup>");
        let order = "AcquireRelease|UniformMemory|WorkgroupMemory|MakeAvailable|MakeVisible";
        let order = self.attribute(&format!("#spirv.memory_semantics<{order}>"));
        let attributes = [("execution_scope", scope), ("memory_scope", scope), ("memory_semantics", order)];
        self.raw("spirv.ControlBarrier", &[], &[], &attributes, Vec::new());
    }

    /// How many bits of an `i32` come before the first that is set.
    pub(super) fn leading_zeros_of_word(&mut self, x: V<'c>) -> V<'c> {
        // The place of the highest bit; -1 where none is set.
        let place = self.op("spirv.GL.FindUMsb", &[x], self.types.i32);
        let last = self.int(self.types.i32, 31);
        self.bin("arith.subi", last, place)
    }

    /// Adds a function.
    pub(super) fn spirv_function(
        &mut self,
        module: BlockRef<'c, '_>,
        name: &str,
        (arguments, result): (&[Type<'c>], Option<Type<'c>>),
        body: impl FnOnce(&mut Ir<'c>, &[V<'c>]) -> Result<Option<V<'c>>, Unsupported>,
    ) -> Result<(), Unsupported> {
        let region: Region<'c> = self.region(arguments, |ir, a| {
            match body(ir, a)? {
                Some(x) => ir.raw("spirv.ReturnValue", &[x], &[], &[], Vec::new()),
                None => ir.raw("spirv.Return", &[], &[], &[], Vec::new()),
            };
            Ok(())
        })?;
        self.check()?;
        let results: Vec<_> = result.into_iter().collect();
        let control = self.attribute("#spirv.function_control<None>");
        let attributes = [
            (self.id("sym_name"), StringAttribute::new(self.context, name).into()),
            (
                self.id("function_type"),
                TypeAttribute::new(FunctionType::new(self.context, arguments, &results).into()).into(),
            ),
            (self.id("function_control"), control),
        ];
        let op = OperationBuilder::new("spirv.func", self.at).add_attributes(&attributes).add_regions([region]).build();
        module.append_operation(op.map_err(|e| Unsupported::failed("MLIR", e))?);
        self.check()
    }

    /// Adds a function that is launched with so many arguments.
    pub(super) fn spirv_entry(
        &mut self,
        module: BlockRef<'c, '_>,
        (name, count): (&str, usize),
        body: impl FnOnce(&mut Ir<'c>, &[V<'c>]) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        self.spirv_function(module, name, (&[], None), |ir, _| {
            let arguments: Vec<_> = (0..count).map(|n| ir.argument(n)).collect();
            body(ir, &arguments).map(|()| None)
        })
    }
}
