//! Relocatable objects and texts.

use crate::error::Unsupported;
use crate::functions::{self, refused};
use crate::target::{self, Mode, Options};
use cranelift_module::{DataDescription, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::{ALIGN, Layout};
use std::fmt::Write;

/// Largest constant pool or arena that goes into an object.
const MAX_IMAGE: u64 = 1 << 31;

fn module(name: &str, options: &Options) -> Result<(ObjectModule, Mode), Unsupported> {
    let isa = target::host(options, true)?;
    // A function of this process means nothing to another.
    let mode = Mode { watch: None, ..Mode::of(&*isa, options) };
    let b = ObjectBuilder::new(isa, name, default_libcall_names()).map_err(|e| refused("an object file", &e))?;
    Ok((ObjectModule::new(b), mode))
}

/// A relocatable object for the host with these symbols:
/// - `<prefix>_run`: the [`nc_ir::kernel::abi::EntryPoint`];
/// - `<prefix>_consts`: the constant pool, aligned to 64 bytes, for `RunContext::consts`;
/// - `<prefix>_init`: the first bytes of an arena before the first tick (the rest is zero), and `<prefix>_init_bytes`,
///   an `uint64_t` that says how many; see [`Header`] for the other numbers.
///
/// # Errors
/// [`Unsupported`] as for [`crate::compile`], if the prefix is no C identifier, or if constants or states exceed 2 GiB.
pub fn compile_object(
    program: &Program,
    layout: &Layout,
    options: &Options,
    symbol_prefix: &str,
) -> Result<Vec<u8>, Unsupported> {
    let mut chars = symbol_prefix.chars();
    let head = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !head || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let what = format!("the symbol prefix `{symbol_prefix}`");
        return Err(Unsupported::new(what, "use letters, digits and `_`, no digit first"));
    }
    if layout.const_bytes > MAX_IMAGE || layout.arena_bytes > MAX_IMAGE {
        return Err(Unsupported::new("an object with more than 2 GiB of constants or states", "compile in memory"));
    }
    let (mut module, mode) = module(symbol_prefix, options)?;
    functions::define(&mut module, program, layout, symbol_prefix, mode, false, None)?;
    data(&mut module, &format!("{symbol_prefix}_consts"), layout.const_pool(program))?;
    let mut arena = vec![0u8; layout.arena_bytes as usize];
    layout.reset(program, &mut arena);
    let used = arena.iter().rposition(|b| *b != 0).map_or(0, |n| n + 1);
    arena.truncate(used);
    data(&mut module, &format!("{symbol_prefix}_init"), arena)?;
    data(&mut module, &format!("{symbol_prefix}_init_bytes"), (used as u64).to_le_bytes().to_vec())?;
    module.finish().emit().map_err(|e| refused("writing the object", &e))
}

fn data(module: &mut ObjectModule, name: &str, bytes: Vec<u8>) -> Result<(), Unsupported> {
    let id = module
        .declare_data(name, Linkage::Export, false, false)
        .map_err(|e| refused(&format!("declaring `{name}`"), &e))?;
    let mut d = DataDescription::new();
    // An empty section has no address of its own.
    d.define(if bytes.is_empty() { Box::new([0]) } else { bytes.into_boxed_slice() });
    d.set_align(ALIGN);
    module.define_data(id, &d).map_err(|e| refused(&format!("defining `{name}`"), &e))
}

/// The numbers and names that a C header for an object needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of an arena.
    pub arena_bytes: u64,
    /// Parts that run at the same time.
    pub parts: u32,
    /// Host arrays in the order of `RunContext::host`.
    pub arrays: Vec<HostArray>,
}

/// One host array of a [`Header`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostArray {
    /// Its name in the model.
    pub name: String,
    /// Its element type.
    pub elem: nc_ir::DType,
    /// Elements in a frame.
    pub len: u64,
    /// True if the host provides it.
    pub input: bool,
    /// Ticks between frames.
    pub every: u64,
}

/// What a C header for the object of a program says.
pub fn header(program: &Program, layout: &Layout) -> Header {
    let array = |b: &nc_ir::kernel::BufId| {
        let b = program.buffers.get(b.index())?;
        let (input, every) = match b.role {
            nc_ir::kernel::Role::Probe { every } => (false, every),
            nc_ir::kernel::Role::Input => (true, 1),
            nc_ir::kernel::Role::Output => (false, 1),
            nc_ir::kernel::Role::Const(_) | nc_ir::kernel::Role::State(_) | nc_ir::kernel::Role::Temp => return None,
        };
        Some(HostArray { name: b.name.clone(), elem: b.elem, len: b.len, input, every })
    };
    let arrays = layout.host.iter().filter_map(array).collect();
    Header { arena_bytes: layout.arena_bytes, parts: program.parts.max(1), arrays }
}

fn text(program: &Program, options: &Options, clif: bool) -> Result<String, Unsupported> {
    let layout = Layout::of(program).ok_or_else(|| Unsupported::malformed("its sizes overflow"))?;
    let (mut module, mode) = module("nc", options)?;
    let mut out = String::new();
    let mut look = |symbol: &str, code: &str| {
        let _ = writeln!(out, "; {symbol}\n{code}");
    };
    functions::define(&mut module, program, &layout, "nc", mode, !clif, Some((clif, &mut look)))?;
    Ok(out)
}

/// The program in Cranelift's text form, before optimisation.
///
/// # Errors
/// As for [`crate::compile`].
pub fn clif(program: &Program, options: &Options) -> Result<String, Unsupported> {
    text(program, options, true)
}

/// The program's machine code as text.
///
/// # Errors
/// As for [`crate::compile`].
pub fn asm(program: &Program, options: &Options) -> Result<String, Unsupported> {
    text(program, options, false)
}
