//! Kernels for graphics processors, run on this processor: the same MLIR, with each thread's numbers as arguments.

use crate::emit::Emitted;
use crate::error::Unsupported;
use crate::gpu::{Shape, launches};
use crate::ir::{Ir, V};
use crate::llvm::{Form, Linked, Llvm, Relocation, TargetMachine};
use crate::module::Session;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use melior::ir::block::BlockLike;
use melior::ir::operation::{OperationBuilder, OperationLike};
use melior::ir::{BlockRef, Module, Operation, OperationRef, RegionLike, Type, Value, ValueLike};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use std::ffi::c_void;

/// What every thread is told after the arguments of its kernel: its number in the block, the number of the block, threads
/// of a block, blocks, and function and argument of the barrier of its block.
const OWN: usize = 6;

/// Bytes of the stack of a thread.
const STACK: usize = 256 << 10;

/// A kernel of one thread, given an array of 64-bit words: the arguments of a launch, then [`OWN`] others.
type Entry = unsafe extern "C" fn(*const u64);

/// Kernels of a program as a graphics processor is given them, their threads run one after another on this processor.
///
/// A thread of a block whose threads meet runs until it waits for the others, then the next one does. In every second round
/// the last thread is the first, so that what depends on the order of threads between two meetings shows.
pub struct Kernels {
    _linked: Linked,
    entries: Vec<(Entry, Shape)>,
}

// SAFETY: the code is immutable, and what it writes it is given by address; the linker is not touched until it is dropped.
unsafe impl Send for Kernels {}
// SAFETY: as for `Send`.
unsafe impl Sync for Kernels {}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.entries.len())
    }
}

impl Kernels {
    /// Compiles the kernels of a verified program.
    ///
    /// # Errors
    /// [`Unsupported`] as for [`crate::compile`]; always without the feature `llvm`.
    pub fn compile(program: &Program, layout: &Layout) -> Result<Kernels, Unsupported> {
        let target = TargetMachine::host(Relocation::Pic)?;
        let session = Session::new();
        let mut module = session.gpu_module((program, layout), "nc")?;
        session.pass(&mut module, "builtin.module(canonicalize,cse)")?;
        let mut module = session.verified(serial(&session, &module)?)?;
        session.to_llvm(&mut module)?;
        let llvm = Llvm::of(&module, &target)?;
        llvm.mark(false, "nc_k");
        llvm.optimize(&target, "default<O2>")?;
        let linked = Linked::new(&llvm.emit(&target, Form::Object)?)?;
        let mut entries = Vec::new();
        for launch in launches(program, "nc") {
            let address = linked.address(&wrapper(&launch.symbol))?;
            if address == 0 {
                return Err(Unsupported::failed("LLVM's linker", "a kernel has no address"));
            }
            // SAFETY: `wrapped` gives the function this signature: a pointer, no result, C calling convention.
            entries.push((unsafe { std::mem::transmute::<usize, Entry>(address as usize) }, launch.shape));
        }
        Ok(Kernels { _linked: linked, entries })
    }

    /// Runs all threads of a launch of kernel `kernel`, a number in the order of [`launches`].
    ///
    /// # Safety
    /// `arguments` are those of the kernel (see [`crate::gpu`]), for the program and layout that this was compiled from, and
    /// nobody else touches the memory that they name.
    ///
    /// # Errors
    /// If there is no such kernel, no memory for stacks, or if threads of a block did not all meet.
    pub unsafe fn launch(&self, kernel: usize, (blocks, threads): (u32, u32), arguments: &[u64]) -> Result<(), String> {
        let (entry, shape) = *self.entries.get(kernel).ok_or_else(|| format!("there is no kernel {kernel}"))?;
        let mut words = arguments.to_vec();
        let own = words.len();
        words.resize(own + OWN, 0);
        (words[own + 2], words[own + 3]) = (threads.into(), blocks.into());
        for block in 0..blocks {
            words[own + 1] = block.into();
            if shape == Shape::Block {
                together(entry, threads, &words, own)?;
                continue;
            }
            for thread in 0..threads {
                words[own] = thread.into();
                // SAFETY: the caller's promise; threads of these shapes do not meet, and so call no barrier.
                unsafe { entry(words.as_ptr()) };
            }
        }
        Ok(())
    }
}

/// Called by a thread that waits for the others.
unsafe extern "C" fn meet(yielder: *mut c_void) {
    // SAFETY: `together` gives each thread its own, which lives as long as the thread.
    let yielder = unsafe { &*yielder.cast::<Yielder<(), ()>>() };
    yielder.suspend(());
}

/// Runs the threads of a block that meet.
fn together(entry: Entry, threads: u32, words: &[u64], own: usize) -> Result<(), String> {
    thread_local! {
        /// Stacks of threads that came to their ends.
        static STACKS: std::cell::RefCell<Vec<DefaultStack>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let mut running = Vec::with_capacity(threads as usize);
    for thread in 0..threads {
        let mut words = words.to_vec();
        words[own] = thread.into();
        words[own + 4] = meet as unsafe extern "C" fn(*mut c_void) as usize as u64;
        let stack = match STACKS.with_borrow_mut(Vec::pop) {
            Some(stack) => stack,
            None => DefaultStack::new(STACK).map_err(|e| format!("no memory for the stacks of threads: {e}"))?,
        };
        running.push(Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            words[own + 5] = std::ptr::from_ref(yielder) as u64;
            // SAFETY: the promise of `launch`; the barrier is of this thread.
            unsafe { entry(words.as_ptr()) };
        }));
    }
    let mut round = 0u64;
    loop {
        let mut waiting = 0;
        let mut go = |c: &mut Coroutine<(), (), (), DefaultStack>| {
            waiting += u32::from(matches!(c.resume(()), CoroutineResult::Yield(())));
        };
        match round % 2 {
            0 => running.iter_mut().for_each(&mut go),
            _ => running.iter_mut().rev().for_each(&mut go),
        }
        round += 1;
        if waiting == 0 {
            STACKS.with_borrow_mut(|all| all.extend(running.into_iter().map(Coroutine::into_stack)));
            return Ok(());
        }
        if waiting < threads {
            for mut c in running {
                // SAFETY: a suspended thread has words and compiled code on its stack, neither of which has to be dropped
                // for memory safety; the words are leaked.
                unsafe { c.force_reset() };
            }
            return Err(format!(
                "{waiting} of {threads} threads of a block wait for the others, which came to their ends"
            ));
        }
    }
}

/// The symbol of what calls a kernel with an array of words.
fn wrapper(symbol: &str) -> String {
    format!("thread_{symbol}")
}

/// A module in which every kernel of a module of a graphics processor is a function of one thread.
fn serial<'c>(session: &'c Session, from: &Module<'c>) -> Emitted<Module<'c>> {
    let mut ir = Ir::new(session.context(), false);
    let to = Module::new(ir.at);
    for container in operations(from.body()) {
        for f in regions(container).into_iter().flat_map(operations) {
            if name(f) == "gpu.func" {
                kernel(&mut ir, f, &to)?;
            }
        }
    }
    Ok(to)
}

fn name(op: OperationRef<'_, '_>) -> String {
    op.name().as_string_ref().as_str().unwrap_or_default().to_owned()
}

/// The operations of a block.
fn operations<'c, 'a>(block: BlockRef<'c, 'a>) -> Vec<OperationRef<'c, 'a>> {
    // SAFETY: an operation lives as long as its block.
    let stays = |o: OperationRef<'c, '_>| unsafe { OperationRef::<'c, 'a>::from_raw(o.to_raw()) };
    let mut all = Vec::new();
    let mut next = block.first_operation().map(stays);
    while let Some(op) = next {
        all.push(op);
        next = op.next_in_block().map(stays);
    }
    all
}

/// The blocks of the regions of an operation; structured control flow has one in each.
fn regions<'c, 'a>(op: OperationRef<'c, 'a>) -> Vec<BlockRef<'c, 'a>> {
    let mut all = Vec::new();
    for region in op.regions() {
        let mut next = region.first_block();
        while let Some(block) = next {
            // SAFETY: a block lives as long as its operation.
            all.push(unsafe { BlockRef::from_raw(block.to_raw()) });
            next = block.next_in_region();
        }
    }
    all
}

/// Makes a kernel a function, and adds what calls it.
fn kernel<'c>(ir: &mut Ir<'c>, f: OperationRef<'c, '_>, to: &Module<'c>) -> Emitted<()> {
    let lost = |what: &str| Unsupported::failed("a kernel for threads", format!("no {what}"));
    let context = ir.context;
    let symbol = f.attribute("sym_name").map_err(|_| lost("name"))?;
    let symbol_text = melior::ir::attribute::StringAttribute::try_from(symbol).map_err(|_| lost("name"))?;
    let symbol_text = symbol_text.value().to_owned();
    // SAFETY: the region of the copy is taken over into a region of ours before the copy is dropped.
    let body = unsafe {
        let copy = Operation::from_raw(mlir_sys::mlirOperationClone(f.to_raw()));
        let region = melior::ir::Region::new();
        mlir_sys::mlirRegionTakeBody(region.to_raw(), mlir_sys::mlirOperationGetRegion(copy.to_raw(), 0));
        region
    };
    let entry = body.first_block().ok_or_else(|| lost("body"))?;
    let mut types: Vec<Type<'c>> =
        (0..entry.argument_count()).filter_map(|k| entry.argument(k).ok()).map(|a| a.r#type()).collect();
    let given = types.len();
    let (index, ptr) = (Type::index(context), ir.types.ptr);
    types.extend([index, index, index, index, ptr, ptr]);
    let own: Vec<V<'c>> = types[given..]
        .iter()
        // SAFETY: the block stays in its region, which becomes part of the module.
        .map(|t| unsafe { Value::from_raw(entry.add_argument(*t, ir.at).to_raw()) })
        .collect();
    // SAFETY: as above.
    replace(ir, unsafe { BlockRef::from_raw(entry.to_raw()) }, &own)?;
    ir.add_function(to, &symbol_text, &types, body);
    let words = types.clone();
    ir.function(to, (&wrapper(&symbol_text), true), &[ptr], None, |ir, a| {
        let mut arguments = Vec::with_capacity(words.len());
        for (n, ty) in words.iter().enumerate() {
            let at = ir.beyond(a[0], 8 * n as i64);
            let is_index = *ty == Type::index(ir.context);
            let v = ir.load(at, if is_index { ir.types.i64 } else { *ty }, 8);
            arguments.push(if is_index { ir.op("arith.index_cast", &[v], *ty) } else { v });
        }
        ir.call(&symbol_text, &arguments);
        Ok(None)
    })
}

/// Puts what a thread is told in the place of what it would ask a graphics processor, from this block on inward.
fn replace<'c>(ir: &mut Ir<'c>, block: BlockRef<'c, '_>, own: &[V<'c>]) -> Emitted<()> {
    for op in operations(block) {
        for inner in regions(op) {
            replace(ir, inner, own)?;
        }
        let value = match name(op).as_str() {
            "gpu.thread_id" => own.first(),
            "gpu.block_id" => own.get(1),
            "gpu.block_dim" => own.get(2),
            "gpu.grid_dim" => own.get(3),
            "gpu.barrier" => {
                let call = ir.call_pointer_operation(own[4], &[own[5]])?;
                block.insert_operation_before(op, call);
                None
            }
            "gpu.return" => {
                let back = OperationBuilder::new("func.return", ir.at).build();
                block.insert_operation_before(op, back.map_err(|e| Unsupported::failed("MLIR", e))?);
                None
            }
            _ => continue,
        };
        if let (Some(v), Ok(result)) = (value, op.result(0)) {
            // SAFETY: both are values of the same type in the same function.
            unsafe { mlir_sys::mlirValueReplaceAllUsesOfWith(result.to_raw(), v.to_raw()) };
        }
        // SAFETY: nothing uses the operation any more, and `operations` was collected before.
        unsafe { mlir_sys::mlirOperationDestroy(op.to_raw()) };
    }
    Ok(())
}
