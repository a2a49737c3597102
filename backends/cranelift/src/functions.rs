//! The functions of a program in a Cranelift module: one per kernel and `run`, the loop over ticks.

use crate::emit::{self, KERNEL_PARAMS};
use crate::error::Unsupported;
use crate::target::Mode;
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, FuncRef, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, UserFuncName,
    Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};
use nc_ir::kernel::abi::{Layout, RunContext};
use nc_ir::kernel::{Kernel, Program, Role};
use std::mem::offset_of;

/// Receives each function after it is compiled.
pub(crate) type Look<'a> = &'a mut dyn FnMut(&str, &Context);

/// What a module failed at, in words.
pub(crate) fn refused(what: &str, e: &dyn std::fmt::Display) -> Unsupported {
    Unsupported::new(format!("{what}: {e}"), "split the kernel or use the reference interpreter")
}

/// The symbol of kernel `n`.
pub(crate) fn kernel_symbol(prefix: &str, n: usize, kernel: &Kernel) -> String {
    let name: String = kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(40).collect();
    format!("{prefix}_k{n}_{name}")
}

/// Checks that the layout is one of this program.
fn check(program: &Program, layout: &Layout) -> Result<(), Unsupported> {
    if layout.buffers.len() != program.buffers.len() || layout.lists.len() != program.lists.len() {
        return Err(Unsupported::malformed("the layout belongs to another program"));
    }
    if program.parts > 1 << 16 {
        return Err(Unsupported::new(format!("{} parts", program.parts), "use at most 65536 parts"));
    }
    Ok(())
}

/// Defines every function of the program; the id of `<prefix>_run`. With `keep` set, unoptimised code is left as it is
/// emitted and nothing is compiled.
pub(crate) fn define<M: Module>(
    module: &mut M,
    program: &Program,
    layout: &Layout,
    prefix: &str,
    mode: Mode,
    disassemble: bool,
    mut look: Option<(bool, Look<'_>)>,
) -> Result<FuncId, Unsupported> {
    check(program, layout)?;
    let mut ctx = module.make_context();
    let mut fctx = FunctionBuilderContext::new();
    let mut kernels = Vec::with_capacity(program.kernels.len());
    for (n, k) in program.kernels.iter().enumerate() {
        let mut sig = module.make_signature();
        sig.params.extend([AbiParam::new(types::I64); KERNEL_PARAMS]);
        let symbol = kernel_symbol(prefix, n, k);
        let id = module
            .declare_function(&symbol, Linkage::Local, &sig)
            .map_err(|e| refused(&format!("declaring kernel `{}`", k.name), &e))?;
        start(&mut ctx, id, sig);
        let config = module.target_config();
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
        let params = open(&mut b);
        emit::kernel(&mut b, &params, program, layout, k, mode)?;
        b.ins().return_(&[]);
        b.seal_all_blocks();
        b.finalize(config);
        finish(module, &mut ctx, id, &symbol, disassemble, &mut look)?;
        kernels.push(id);
    }
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(types::I64); 2]);
    let symbol = format!("{prefix}_run");
    let run = module
        .declare_function(&symbol, Linkage::Export, &sig)
        .map_err(|e| refused("declaring the entry point", &e))?;
    start(&mut ctx, run, sig);
    let mut barrier = module.make_signature();
    barrier.params.push(AbiParam::new(types::I64));
    let funcs: Vec<FuncRef> = kernels.iter().map(|k| module.declare_func_in_func(*k, &mut ctx.func)).collect();
    let config = module.target_config();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
    run_body(&mut b, program, layout, &funcs, barrier)?;
    b.seal_all_blocks();
    b.finalize(config);
    finish(module, &mut ctx, run, &symbol, disassemble, &mut look)?;
    Ok(run)
}

/// Readies the context for a new function.
pub(crate) fn start(ctx: &mut Context, id: FuncId, sig: Signature) {
    ctx.clear();
    ctx.func.signature = sig;
    ctx.func.name = UserFuncName::user(0, id.as_u32());
}

/// Opens the entry block; the function's parameters.
pub(crate) fn open(b: &mut FunctionBuilder<'_>) -> Vec<Value> {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.block_params(entry).to_vec()
}

fn finish<M: Module>(
    module: &mut M,
    ctx: &mut Context,
    id: FuncId,
    symbol: &str,
    disassemble: bool,
    look: &mut Option<(bool, Look<'_>)>,
) -> Result<(), Unsupported> {
    ctx.set_disasm(disassemble);
    if let Some((true, look)) = look {
        look(symbol, ctx);
        return Ok(());
    }
    module.define_function(id, ctx).map_err(|e| refused(&format!("compiling `{symbol}`"), &e))?;
    if let Some((false, look)) = look {
        look(symbol, ctx);
    }
    Ok(())
}

fn at(field: usize) -> i32 {
    field as i32
}

/// The loop over ticks, see [`RunContext`].
fn run_body(
    b: &mut FunctionBuilder<'_>,
    program: &Program,
    layout: &Layout,
    kernels: &[FuncRef],
    barrier: Signature,
) -> Result<(), Unsupported> {
    let params = open(b);
    let (ctx, part) = (params[0], params[1]);
    let flags = MemFlagsData::trusted();
    let field = |b: &mut FunctionBuilder<'_>, o: usize| b.ins().load(types::I64, flags, ctx, at(o));
    let arena = field(b, offset_of!(RunContext, arena));
    let consts = field(b, offset_of!(RunContext, consts));
    let host = field(b, offset_of!(RunContext, host));
    let first = field(b, offset_of!(RunContext, first_tick));
    let ticks = field(b, offset_of!(RunContext, ticks));
    let meet = field(b, offset_of!(RunContext, barrier));
    let meet_arg = field(b, offset_of!(RunContext, barrier_arg));
    let barrier = b.import_signature(barrier);
    let many = program.parts > 1;
    let n = u32::try_from(layout.host.len()).ok().filter(|n| *n < 1 << 16);
    let n = n.ok_or_else(|| Unsupported::new("more than 65535 host arrays", "join arrays"))?;
    let frames = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * n.max(1), 3));
    let frames = b.ins().stack_addr(types::I64, frames, 0);
    for k in 0..n as i32 {
        let p = b.ins().load(types::I64, flags, host, 8 * k);
        b.ins().store(flags, p, frames, 8 * k);
    }
    let (header, body, exit) = (b.create_block(), b.create_block(), b.create_block());
    b.append_block_param(header, types::I64);
    let end = b.ins().iadd(first, ticks);
    b.ins().jump(header, &[BlockArg::from(first)]);
    b.switch_to_block(header);
    let tick = b.block_params(header)[0];
    let more = b.ins().icmp(IntCC::UnsignedLessThan, tick, end);
    b.ins().brif(more, body, &[], exit, &[]);
    b.switch_to_block(body);
    for (k, func) in program.kernels.iter().zip(kernels) {
        let next = b.create_block();
        if k.every > 1 {
            skip_unless_due(b, tick, k.every, next);
        }
        let meet_block = b.create_block();
        if many && k.parallel.is_none() {
            let call = b.create_block();
            b.ins().brif(part, meet_block, &[], call, &[]);
            b.switch_to_block(call);
        }
        b.ins().call(*func, &[arena, consts, frames, tick, part]);
        b.ins().jump(meet_block, &[]);
        b.switch_to_block(meet_block);
        if many {
            b.ins().call_indirect(barrier, meet, &[meet_arg]);
        }
        b.ins().jump(next, &[]);
        b.switch_to_block(next);
    }
    for (k, buf) in layout.host.iter().enumerate() {
        let buffer = program.buffers.get(buf.index()).ok_or_else(|| Unsupported::malformed("a host array"))?;
        let bytes = buffer.len.saturating_mul(buffer.elem.size() as u64);
        let next = b.create_block();
        if let Role::Probe { every } = buffer.role
            && every > 1
        {
            skip_unless_due(b, tick, every, next);
        }
        let p = b.ins().load(types::I64, flags, frames, 8 * k as i32);
        let p = b.ins().iadd_imm_s(p, bytes as i64);
        b.ins().store(flags, p, frames, 8 * k as i32);
        b.ins().jump(next, &[]);
        b.switch_to_block(next);
    }
    let tick = b.ins().iadd_imm_s(tick, 1);
    b.ins().jump(header, &[BlockArg::from(tick)]);
    b.switch_to_block(exit);
    b.ins().return_(&[]);
    Ok(())
}

/// Goes to `next` unless the tick is a multiple of `every`.
fn skip_unless_due(b: &mut FunctionBuilder<'_>, tick: Value, every: u64, next: cranelift_codegen::ir::Block) {
    let every = b.ins().iconst(types::I64, every as i64);
    let rest = b.ins().urem(tick, every);
    let due = b.create_block();
    b.ins().brif(rest, next, &[], due, &[]);
    b.switch_to_block(due);
}
