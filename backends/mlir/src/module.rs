//! A program as a module of MLIR, and the passes that take it to LLVM's dialect.

use crate::emit::expand::Helper;
use crate::emit::{self, Blocks, Emitted, Machine, Side};
use crate::error::Unsupported;
use crate::{run, symbol, team};
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::block::BlockLike;
use melior::ir::operation::{OperationBuilder, OperationLike, OperationMutLike};
use melior::ir::{AttributeLike, Block, BlockRef, Identifier, Location, Module, Region, RegionLike};
use melior::pass::PassManager;
use melior::utility::{
    parse_pass_pipeline, register_all_dialects, register_all_llvm_translations, register_all_passes,
};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// From `func`, `scf`, `arith` and `math` to LLVM's dialect.
const TO_LLVM: &str = "builtin.module(canonicalize,cse,convert-scf-to-cf,convert-math-to-llvm,convert-arith-to-llvm,\
                       convert-cf-to-llvm,convert-func-to-llvm,reconcile-unrealized-casts)";

/// MLIR with what it said about what went wrong.
pub(crate) struct Session {
    context: Context,
    said: Arc<Mutex<Vec<String>>>,
}

impl Session {
    pub fn new() -> Session {
        static PASSES: Once = Once::new();
        PASSES.call_once(register_all_passes);
        let registry = DialectRegistry::new();
        register_all_dialects(&registry);
        let context = Context::new_with_registry(&registry, false);
        for dialect in ["func", "scf", "arith", "math", "llvm", "gpu", "nvvm", "spirv"] {
            context.get_or_load_dialect(dialect);
        }
        register_all_llvm_translations(&context);
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = said.clone();
        context.attach_diagnostic_handler(move |d| {
            hear.lock().unwrap_or_else(PoisonError::into_inner).push(d.to_string());
            true
        });
        Session { context, said }
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    /// A module if it is one by MLIR's rules.
    pub fn verified<'c>(&'c self, module: Module<'c>) -> Emitted<Module<'c>> {
        match module.as_operation().verify() {
            true => Ok(module),
            false => Err(self.failed("MLIR's verifier")),
        }
    }

    /// A failure at `at`, with what MLIR said.
    fn failed(&self, at: &str) -> Unsupported {
        let said = std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner));
        Unsupported::failed(at, said.first().map_or("no reason given", String::as_str))
    }

    /// The program in the dialects that it is written in: a function for each kernel and `<prefix>_run`.
    pub fn module(
        &self,
        (program, layout): (&Program, &Layout),
        prefix: &str,
        machine: Machine,
        pointer: u64,
    ) -> Emitted<Module<'_>> {
        check(program, layout)?;
        let context = &self.context;
        let module = Module::new(Location::unknown(context));
        let mut helpers = BTreeSet::new();
        let mut symbols = Vec::new();
        for (n, k) in program.kernels().enumerate() {
            let symbol = symbol::kernel(prefix, n, k);
            helpers.extend(emit::kernel(&module, context, &symbol, (program, layout), k, machine)?);
            symbols.push(symbol);
        }
        run::entry(&module, context, &format!("{prefix}_run"), (program, layout), &symbols, pointer)?;
        define(helpers, module.body(), context, machine.style(program.parts))?;
        self.verified(module)
    }

    /// A program whose parts are blocks of threads: in a module of a graphics processor, or as functions of one thread. The
    /// entry is `<prefix>_run`.
    pub fn team_module(&self, of: (&Program, &Layout), prefix: &str, blocks: Blocks) -> Emitted<Module<'_>> {
        check(of.0, of.1)?;
        let context = &self.context;
        let at = Location::unknown(context);
        let mut module = Module::new(at);
        if blocks.host() {
            functions(module.body(), context, of, prefix, blocks)?;
            return self.verified(module);
        }
        let container = melior::ir::Attribute::unit(context);
        module.as_operation_mut().set_attribute("gpu.container_module", container);
        let region = Region::new();
        let block = region.append_block(Block::new(&[]));
        functions(block, context, of, prefix, blocks)?;
        let name = melior::ir::attribute::StringAttribute::new(context, prefix).into();
        let op = OperationBuilder::new("gpu.module", at)
            .add_attributes(&[(Identifier::new(context, "sym_name"), name)])
            .add_regions([region])
            .build()
            .map_err(|e| Unsupported::failed("MLIR", e))?;
        module.body().append_operation(op);
        self.verified(module)
    }

    /// Runs a pipeline of passes.
    pub fn pass(&self, module: &mut Module<'_>, pipeline: &str) -> Emitted<()> {
        let passes = PassManager::new(&self.context);
        parse_pass_pipeline(passes.as_operation_pass_manager(), pipeline)
            .map_err(|e| Unsupported::failed("a pipeline of MLIR", e))?;
        passes.run(module).map_err(|_| self.failed("MLIR's passes"))
    }

    /// Takes a module to LLVM's dialect.
    pub fn to_llvm(&self, module: &mut Module<'_>) -> Emitted<()> {
        self.pass(module, TO_LLVM)
    }
}

/// Adds the functions that others call, and those that these call themselves.
fn define<'c>(
    mut helpers: BTreeSet<Helper>,
    to: BlockRef<'c, '_>,
    context: &'c Context,
    style: crate::ir::Style,
) -> Emitted<()> {
    let needed: Vec<_> = helpers.iter().filter_map(|h| h.needs()).collect();
    helpers.extend(needed);
    helpers.into_iter().try_for_each(|h| h.define(to, context, style))
}

/// Adds the functions of a program whose parts are blocks of threads.
fn functions<'c>(
    to: BlockRef<'c, '_>,
    context: &'c Context,
    of: (&Program, &Layout),
    prefix: &str,
    blocks: Blocks,
) -> Emitted<()> {
    let (mut symbols, mut helpers) = (Vec::new(), BTreeSet::new());
    if !blocks.host() {
        let bytes = crate::scratch::Scratch::of(blocks.threads, of.0.parts).bytes;
        crate::ir::Ir::new(context, blocks.machine().style(of.0.parts)).add_shared(to, bytes)?;
    }
    for (n, k) in of.0.kernels().enumerate() {
        let symbol = symbol::kernel(prefix, n, k);
        helpers.extend(emit::team_kernel(to, context, &symbol, of, k, blocks)?);
        symbols.push(symbol);
    }
    define(helpers, to, context, blocks.machine().style(of.0.parts))?;
    match blocks.side {
        Side::Spirv(how) if of.0.parts > 1 || crate::gpu::phased(of.0, how).is_some() => {
            team::phases(to, context, prefix, of, &symbols, blocks)
        }
        _ => team::entry(to, context, &format!("{prefix}_run"), of, &symbols, blocks),
    }
}

/// Checks that the layout is one of this program.
fn check(program: &Program, layout: &Layout) -> Emitted<()> {
    if layout.buffers.len() != program.buffers.len() || layout.lists.len() != program.lists.len() {
        return Err(Unsupported::malformed("the layout belongs to another program"));
    }
    if program.parts > 1 << 16 {
        return Err(Unsupported::new(format!("{} parts", program.parts), "use at most 65536 parts"));
    }
    Ok(())
}

/// The first binary of a module.
pub(crate) fn binary(module: &Module<'_>) -> Option<Vec<u8>> {
    let mut op = module.body().first_operation();
    while let Some(o) = op {
        if o.name().as_string_ref().as_str() == Ok("gpu.binary") {
            let objects = o.attribute("objects").ok()?;
            // SAFETY: `objects` is an array with an element, which is an object attribute; it outlives the copy.
            let bytes = unsafe {
                let raw = objects.to_raw();
                if !mlir_sys::mlirAttributeIsAArray(raw) || mlir_sys::mlirArrayAttrGetNumElements(raw) < 1 {
                    return None;
                }
                let first = mlir_sys::mlirArrayAttrGetElement(raw, 0);
                if !mlir_sys::mlirAttributeIsAGPUObjectAttr(first) {
                    return None;
                }
                let s = mlir_sys::mlirGPUObjectAttrGetObject(first);
                std::slice::from_raw_parts(s.data.cast::<u8>(), s.length).to_vec()
            };
            return Some(bytes);
        }
        op = o.next_in_block();
    }
    None
}
