//! The functions of a program in a Cranelift module: one per kernel and `run`, the loop over ticks and their steps.

use crate::emit::{self, KERNEL_PARAMS};
use crate::error::Unsupported;
use crate::target::{Mode, Watch};
use crate::wide::Code;
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, FuncRef, Function, InstBuilder, MemFlagsData, SigRef, Signature, StackSlotData, StackSlotKind,
    UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};
use nc_ir::DType;
use nc_ir::kernel::abi::{Layout, Place, RunContext};
use nc_ir::kernel::{Element, Kernel, Program, Role, Step, Trips};
use std::mem::offset_of;

/// Receives each function's symbol and text after it is compiled.
pub(crate) type Look<'a> = &'a mut dyn FnMut(&str, &str);

/// Alignment of functions whose constants lie behind them.
const CODE_ALIGN: u64 = 32;

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
    let mut kernels = Vec::with_capacity(program.steps.len());
    for (n, k) in program.kernels().enumerate() {
        let mut sig = module.make_signature();
        sig.params.extend(vec![AbiParam::new(types::I64); KERNEL_PARAMS + k.iterations.len()]);
        let symbol = kernel_symbol(prefix, n, k);
        let id = module
            .declare_function(&symbol, Linkage::Local, &sig)
            .map_err(|e| refused(&format!("declaring kernel `{}`", k.name), &e))?;
        start(&mut ctx, id, sig);
        let config = module.target_config();
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
        let params = open(&mut b);
        let mut loops = 0;
        let mut wide = |func: &mut Function, code: &Code| {
            loops += 1;
            define_wide(module, func, code, &format!("{symbol}_w{}", loops - 1), &mut look)
        };
        emit::kernel(&mut b, &params, program, layout, k, mode, &mut wide)?;
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
    run_body(&mut b, program, layout, &funcs, barrier, mode.watch)?;
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
        look(symbol, &ctx.func.display().to_string());
        return Ok(());
    }
    module.define_function(id, ctx).map_err(|e| refused(&format!("compiling `{symbol}`"), &e))?;
    if let Some((false, look)) = look {
        look(symbol, ctx.compiled_code().and_then(|c| c.vcode.as_deref()).unwrap_or_default());
    }
    Ok(())
}

/// Defines the function of a loop in eight lanes, for a call from `func`.
fn define_wide<M: Module>(
    module: &mut M,
    func: &mut Function,
    code: &Code,
    symbol: &str,
    look: &mut Option<(bool, Look<'_>)>,
) -> Result<FuncRef, Unsupported> {
    let mut sig = Signature::new(CallConv::SystemV);
    sig.params.extend([AbiParam::new(types::I64); 2]);
    let id = module
        .declare_function(symbol, Linkage::Local, &sig)
        .map_err(|e| refused(&format!("declaring `{symbol}`"), &e))?;
    module
        .define_function_bytes(id, CODE_ALIGN, &code.bytes, &[])
        .map_err(|e| refused(&format!("placing `{symbol}`"), &e))?;
    if let Some((_, look)) = look {
        look(symbol, &code.listing);
    }
    Ok(module.declare_func_in_func(id, func))
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
    watch: Option<Watch>,
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
    // Both take one integer and give nothing.
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
    let mut way = Way {
        program,
        layout,
        kernels: kernels.iter(),
        arena,
        consts,
        frames,
        tick,
        part,
        barrier: many.then_some((barrier, meet, meet_arg)),
        watch: watch.map(|f| (barrier, f as usize as i64)),
        number: 0,
        iterations: Vec::new(),
    };
    way.steps(b, &program.steps)?;
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

/// The way of one part through the steps of a tick.
struct Way<'a> {
    program: &'a Program,
    layout: &'a Layout,
    /// The functions of the kernels that are still to come.
    kernels: std::slice::Iter<'a, FuncRef>,
    arena: Value,
    consts: Value,
    /// The table of current host frames.
    frames: Value,
    tick: Value,
    part: Value,
    /// How to meet the other parts, if there are any: signature, function, argument.
    barrier: Option<(SigRef, Value, Value)>,
    /// What is called around every kernel: signature and address.
    watch: Option<(SigRef, i64)>,
    /// Place of the next kernel among those of the program.
    number: i64,
    /// Numbers of the current iterations of the open loops.
    iterations: Vec<Value>,
}

impl Way<'_> {
    fn steps(&mut self, b: &mut FunctionBuilder<'_>, steps: &[Step]) -> Result<(), Unsupported> {
        for step in steps {
            match step {
                Step::Kernel(k) => self.kernel(b, k)?,
                Step::Loop { trips, condition, body } => self.repeat(b, *trips, *condition, body)?,
                Step::If { condition, then_steps, else_steps } => {
                    let (then, otherwise, next) = (b.create_block(), b.create_block(), b.create_block());
                    let truth = self.read(b, *condition)?;
                    self.meet(b);
                    b.ins().brif(truth, then, &[], otherwise, &[]);
                    for (block, steps) in [(then, then_steps), (otherwise, else_steps)] {
                        b.switch_to_block(block);
                        self.steps(b, steps)?;
                        b.ins().jump(next, &[]);
                    }
                    b.switch_to_block(next);
                }
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        trips: Trips,
        condition: Option<Element>,
        steps: &[Step],
    ) -> Result<(), Unsupported> {
        let trips = match trips {
            Trips::Known(n) => b.ins().iconst(types::I64, n.min(i64::MAX as u64) as i64),
            Trips::Read(e) => {
                let n = self.read(b, e)?;
                self.meet(b);
                n
            }
        };
        let (header, body, exit) = (b.create_block(), b.create_block(), b.create_block());
        b.append_block_param(header, types::I64);
        let zero = b.ins().iconst(types::I64, 0);
        b.ins().jump(header, &[BlockArg::from(zero)]);
        b.switch_to_block(header);
        let iteration = b.block_params(header)[0];
        let more = b.ins().icmp(IntCC::SignedLessThan, iteration, trips);
        b.ins().brif(more, body, &[], exit, &[]);
        b.switch_to_block(body);
        if let Some(e) = condition {
            let go = b.create_block();
            let truth = self.read(b, e)?;
            self.meet(b);
            b.ins().brif(truth, go, &[], exit, &[]);
            b.switch_to_block(go);
        }
        self.iterations.push(iteration);
        self.steps(b, steps)?;
        self.iterations.pop();
        let next = b.ins().iadd_imm_s(iteration, 1);
        b.ins().jump(header, &[BlockArg::from(next)]);
        b.switch_to_block(exit);
        Ok(())
    }

    fn kernel(&mut self, b: &mut FunctionBuilder<'_>, k: &Kernel) -> Result<(), Unsupported> {
        let func = self.kernels.next().ok_or_else(|| Unsupported::malformed("a kernel without a function"))?;
        let next = b.create_block();
        if k.every > 1 {
            skip_unless_due(b, self.tick, k.every, next);
        }
        let meet = b.create_block();
        if self.barrier.is_some() && k.parallel.is_none() {
            let call = b.create_block();
            b.ins().brif(self.part, meet, &[], call, &[]);
            b.switch_to_block(call);
        }
        let mut args = vec![self.arena, self.consts, self.frames, self.tick, self.part];
        let iterations = self.iterations.get(..k.iterations.len());
        args.extend(iterations.ok_or_else(|| Unsupported::malformed("a kernel asks for loops that are not there"))?);
        self.watched(b, -1);
        b.ins().call(*func, &args);
        self.watched(b, self.number);
        self.number += 1;
        b.ins().jump(meet, &[]);
        b.switch_to_block(meet);
        self.meet(b);
        b.ins().jump(next, &[]);
        b.switch_to_block(next);
        Ok(())
    }

    /// Calls who watches, if somebody does.
    fn watched(&self, b: &mut FunctionBuilder<'_>, what: i64) {
        if let Some((signature, address)) = self.watch {
            let (function, what) = (b.ins().iconst(types::I64, address), b.ins().iconst(types::I64, what));
            b.ins().call_indirect(signature, function, &[what]);
        }
    }

    /// Waits for the other parts.
    fn meet(&self, b: &mut FunctionBuilder<'_>) {
        if let Some((signature, function, argument)) = self.barrier {
            b.ins().call_indirect(signature, function, &[argument]);
        }
    }

    /// Reads what decides a step: an `i64`, or a truth value in 8 bits.
    fn read(&self, b: &mut FunctionBuilder<'_>, e: Element) -> Result<Value, Unsupported> {
        let missing = || Unsupported::malformed(format!("no element {e} decides a step"));
        let buffer = self.program.buffers.get(e.buf.index()).ok_or_else(missing)?;
        let ty = if buffer.elem == DType::I64 { types::I64 } else { types::I8 };
        let at = e.at.checked_mul(buffer.elem.size() as u64).filter(|_| e.at < buffer.len).ok_or_else(missing)?;
        let flags = MemFlagsData::trusted();
        let (base, at) = match self.layout.buffers.get(e.buf.index()).ok_or_else(missing)? {
            Place::Arena(first) => (self.arena, first + at),
            Place::Consts(first) => (self.consts, first + at),
            Place::Host(n) => (b.ins().load(types::I64, flags, self.frames, 8 * *n as i32), at),
        };
        let p = b.ins().iadd_imm_s(base, at as i64);
        Ok(b.ins().load(ty, flags, p, 0))
    }
}

/// Goes to `next` unless the tick is a multiple of `every`.
fn skip_unless_due(b: &mut FunctionBuilder<'_>, tick: Value, every: u64, next: cranelift_codegen::ir::Block) {
    let every = b.ins().iconst(types::I64, every as i64);
    let rest = b.ins().urem(tick, every);
    let due = b.create_block();
    b.ins().brif(rest, next, &[], due, &[]);
    b.switch_to_block(due);
}
