//! The part of LLVM's C interface that is used, and safe types around it.

use crate::error::Unsupported;
use melior::ir::Module;
use mlir_sys::{LLVMContextRef, LLVMModuleRef};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::Once;

/// Types that LLVM keeps to itself.
type Opaque = *mut c_void;

// Declarations of llvm-c/{Analysis,BitReader,Core,Error,LLJIT,Target,TargetMachine}.h and llvm-c/Transforms/PassBuilder.h, LLVM 22.
unsafe extern "C" {
    fn LLVMContextCreate() -> LLVMContextRef;
    fn LLVMContextDispose(context: LLVMContextRef);
    fn LLVMDisposeModule(module: LLVMModuleRef);
    fn LLVMDisposeMessage(message: *mut c_char);
    fn LLVMSetTarget(module: LLVMModuleRef, triple: *const c_char);
    fn LLVMSetModuleDataLayout(module: LLVMModuleRef, layout: Opaque);
    fn LLVMPrintModuleToString(module: LLVMModuleRef) -> *mut c_char;
    fn LLVMVerifyModule(module: LLVMModuleRef, action: c_int, message: *mut *mut c_char) -> c_int;
    fn LLVMGetFirstFunction(module: LLVMModuleRef) -> Opaque;
    fn LLVMGetNextFunction(function: Opaque) -> Opaque;
    fn LLVMGetValueName2(value: Opaque, len: *mut usize) -> *const c_char;
    fn LLVMCreateStringAttribute(
        context: LLVMContextRef,
        name: *const c_char,
        name_len: c_uint,
        value: *const c_char,
        value_len: c_uint,
    ) -> Opaque;
    fn LLVMCreateEnumAttribute(context: LLVMContextRef, kind: c_uint, value: u64) -> Opaque;
    fn LLVMGetEnumAttributeKindForName(name: *const c_char, len: usize) -> c_uint;
    fn LLVMAddAttributeAtIndex(function: Opaque, index: c_uint, attribute: Opaque);
    fn LLVMGetErrorMessage(error: Opaque) -> *mut c_char;
    fn LLVMDisposeErrorMessage(message: *mut c_char);
    fn LLVMGetTargetFromTriple(triple: *const c_char, target: *mut Opaque, message: *mut *mut c_char) -> c_int;
    fn LLVMCreateTargetMachine(
        target: Opaque,
        triple: *const c_char,
        cpu: *const c_char,
        features: *const c_char,
        level: c_int,
        relocation: c_int,
        code_model: c_int,
    ) -> Opaque;
    fn LLVMDisposeTargetMachine(machine: Opaque);
    fn LLVMCreateTargetDataLayout(machine: Opaque) -> Opaque;
    fn LLVMDisposeTargetData(layout: Opaque);
    fn LLVMTargetMachineEmitToMemoryBuffer(
        machine: Opaque,
        module: LLVMModuleRef,
        kind: c_int,
        message: *mut *mut c_char,
        buffer: *mut Opaque,
    ) -> c_int;
    fn LLVMGetDefaultTargetTriple() -> *mut c_char;
    fn LLVMGetHostCPUName() -> *mut c_char;
    fn LLVMGetHostCPUFeatures() -> *mut c_char;
    fn LLVMGetBufferStart(buffer: Opaque) -> *const c_char;
    fn LLVMGetBufferSize(buffer: Opaque) -> usize;
    fn LLVMDisposeMemoryBuffer(buffer: Opaque);
    fn LLVMCreateMemoryBufferWithMemoryRangeCopy(data: *const c_char, len: usize, name: *const c_char) -> Opaque;
    fn LLVMParseBitcodeInContext2(context: LLVMContextRef, buffer: Opaque, module: *mut LLVMModuleRef) -> c_int;
    fn LLVMCreatePassBuilderOptions() -> Opaque;
    fn LLVMDisposePassBuilderOptions(options: Opaque);
    fn LLVMRunPasses(module: LLVMModuleRef, passes: *const c_char, machine: Opaque, options: Opaque) -> Opaque;
    fn LLVMOrcCreateLLJIT(jit: *mut Opaque, builder: Opaque) -> Opaque;
    fn LLVMOrcDisposeLLJIT(jit: Opaque) -> Opaque;
    fn LLVMOrcLLJITGetMainJITDylib(jit: Opaque) -> Opaque;
    fn LLVMOrcLLJITAddObjectFile(jit: Opaque, library: Opaque, object: Opaque) -> Opaque;
    fn LLVMOrcLLJITLookup(jit: Opaque, address: *mut u64, name: *const c_char) -> Opaque;
    fn LLVMInitializeARMTargetInfo();
    fn LLVMInitializeARMTarget();
    fn LLVMInitializeARMTargetMC();
    fn LLVMInitializeARMAsmPrinter();
    #[cfg(target_arch = "x86_64")]
    fn LLVMInitializeX86TargetInfo();
    #[cfg(target_arch = "x86_64")]
    fn LLVMInitializeX86Target();
    #[cfg(target_arch = "x86_64")]
    fn LLVMInitializeX86TargetMC();
    #[cfg(target_arch = "x86_64")]
    fn LLVMInitializeX86AsmPrinter();
    #[cfg(target_arch = "aarch64")]
    fn LLVMInitializeAArch64TargetInfo();
    #[cfg(target_arch = "aarch64")]
    fn LLVMInitializeAArch64Target();
    #[cfg(target_arch = "aarch64")]
    fn LLVMInitializeAArch64TargetMC();
    #[cfg(target_arch = "aarch64")]
    fn LLVMInitializeAArch64AsmPrinter();
}

/// `LLVMReturnStatusAction`.
const RETURN_STATUS: c_int = 2;
/// `LLVMAttributeFunctionIndex`.
const OF_FUNCTION: c_uint = c_uint::MAX;
/// `LLVMCodeGenLevelDefault`.
const LEVEL: c_int = 2;
/// `LLVMCodeModelDefault`.
const CODE_MODEL: c_int = 0;

fn initialize() {
    static ONCE: Once = Once::new();
    // SAFETY: these functions may be called at any time; once is enough.
    ONCE.call_once(|| unsafe {
        LLVMInitializeARMTargetInfo();
        LLVMInitializeARMTarget();
        LLVMInitializeARMTargetMC();
        LLVMInitializeARMAsmPrinter();
        #[cfg(target_arch = "x86_64")]
        {
            LLVMInitializeX86TargetInfo();
            LLVMInitializeX86Target();
            LLVMInitializeX86TargetMC();
            LLVMInitializeX86AsmPrinter();
        }
        #[cfg(target_arch = "aarch64")]
        {
            LLVMInitializeAArch64TargetInfo();
            LLVMInitializeAArch64Target();
            LLVMInitializeAArch64TargetMC();
            LLVMInitializeAArch64AsmPrinter();
        }
    });
}

/// Takes over a message of LLVM.
///
/// # Safety
/// `message` is null or a string that LLVM gave to be disposed of with `LLVMDisposeMessage`.
unsafe fn message(message: *mut c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: a string of LLVM's, disposed of once.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        LLVMDisposeMessage(message);
        text
    }
}

/// An error of LLVM as a result.
fn result(at: &str, error: Opaque) -> Result<(), Unsupported> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a pending error is consumed by asking for its message, which is disposed of once.
    let text = unsafe {
        let m = LLVMGetErrorMessage(error);
        let text = CStr::from_ptr(m).to_string_lossy().into_owned();
        LLVMDisposeErrorMessage(m);
        text
    };
    Err(Unsupported::failed(at, text))
}

fn c_string(s: &str) -> Result<CString, Unsupported> {
    CString::new(s).map_err(|_| Unsupported::new(format!("the name {s:?} with a zero byte"), "use another"))
}

/// How code refers to addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relocation {
    /// By numbers that the linker fills in.
    Static = 1,
    /// Relative to itself.
    Pic = 2,
}

/// What machine code is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Assembly language.
    Text = 0,
    /// A relocatable object.
    Object = 1,
}

/// A machine that LLVM generates code for.
pub(crate) struct TargetMachine {
    raw: Opaque,
    triple: CString,
}

impl TargetMachine {
    pub fn new(triple: &str, cpu: &str, features: &str, relocation: Relocation) -> Result<TargetMachine, Unsupported> {
        initialize();
        let (triple, cpu, features) = (c_string(triple)?, c_string(cpu)?, c_string(features)?);
        let (mut target, mut why) = (null_mut(), null_mut());
        // SAFETY: strings end in zero, results go to variables.
        let raw = unsafe {
            if LLVMGetTargetFromTriple(triple.as_ptr(), &mut target, &mut why) != 0 {
                return Err(Unsupported::failed("LLVM's targets", message(why)));
            }
            let (cpu, features) = (cpu.as_ptr(), features.as_ptr());
            LLVMCreateTargetMachine(target, triple.as_ptr(), cpu, features, LEVEL, relocation as c_int, CODE_MODEL)
        };
        if raw.is_null() {
            return Err(Unsupported::failed("LLVM's targets", "no machine"));
        }
        Ok(TargetMachine { raw, triple })
    }

    /// The processor that this runs on.
    ///
    /// # Errors
    /// If it has no fused multiply-add: a library's would be slow, and its rounding is not ours to vouch for.
    pub fn host(relocation: Relocation) -> Result<TargetMachine, Unsupported> {
        // SAFETY: LLVM gives strings that are ours to dispose of.
        let (triple, cpu, features) = unsafe {
            (message(LLVMGetDefaultTargetTriple()), message(LLVMGetHostCPUName()), message(LLVMGetHostCPUFeatures()))
        };
        let has = |name: &str| features.split(',').any(|f| f.strip_prefix('+') == Some(name));
        let interpreter = "use the reference interpreter";
        if cfg!(target_arch = "x86_64") {
            for (name, what) in [("fma", "FMA3"), ("avx", "AVX"), ("sse4.1", "SSE4.1")] {
                if !has(name) {
                    return Err(Unsupported::new(format!("x86-64 without {what}"), interpreter));
                }
            }
        } else if !cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            return Err(Unsupported::new(format!("the architecture {}", std::env::consts::ARCH), interpreter));
        }
        TargetMachine::new(&triple, &cpu, &features, relocation)
    }
}

impl Drop for TargetMachine {
    fn drop(&mut self) {
        // SAFETY: made by `LLVMCreateTargetMachine`, disposed of once.
        unsafe { LLVMDisposeTargetMachine(self.raw) }
    }
}

/// A module of LLVM with its context.
pub(crate) struct Llvm {
    context: LLVMContextRef,
    module: LLVMModuleRef,
}

impl Llvm {
    /// Translates a module of LLVM's dialect for a machine.
    pub fn of(module: &Module<'_>, machine: &TargetMachine) -> Result<Llvm, Unsupported> {
        // SAFETY: the context is new; the operation is a module; the result owns what it is given.
        unsafe {
            let context = LLVMContextCreate();
            let raw = mlir_sys::mlirTranslateModuleToLLVMIR(module.as_operation().to_raw(), context);
            let llvm = Llvm { context, module: raw };
            if raw.is_null() {
                return Err(Unsupported::failed("MLIR", "no translation to LLVM"));
            }
            LLVMSetTarget(raw, machine.triple.as_ptr());
            let layout = LLVMCreateTargetDataLayout(machine.raw);
            LLVMSetModuleDataLayout(raw, layout);
            LLVMDisposeTargetData(layout);
            Ok(llvm)
        }
    }

    /// Reads a module from LLVM's bitcode.
    pub fn parse(bitcode: &[u8]) -> Result<Llvm, Unsupported> {
        // SAFETY: the context is new; the buffer is a copy that is ours to dispose of; the result owns the module.
        unsafe {
            let mut llvm = Llvm { context: LLVMContextCreate(), module: null_mut() };
            let data = bitcode.as_ptr().cast();
            let buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(data, bitcode.len(), c"nc".as_ptr());
            let failed = LLVMParseBitcodeInContext2(llvm.context, buffer, &mut llvm.module) != 0;
            LLVMDisposeMemoryBuffer(buffer);
            match failed {
                true => Err(Unsupported::failed("LLVM", "bitcode that cannot be read")),
                false => Ok(llvm),
            }
        }
    }

    /// Marks every function as one that throws nothing, and, with `plain`, whose loops do not become calls of a library.
    /// Functions whose names begin with `apart` are not made part of others: the passes take more than linear time.
    pub fn mark(&self, plain: bool, apart: &str) {
        let (nounwind, noinline, no_builtins) = ("nounwind", "noinline", "no-builtins");
        // SAFETY: strings are given with their lengths; functions belong to the module.
        unsafe {
            let attribute = |name: &str| {
                let kind = LLVMGetEnumAttributeKindForName(name.as_ptr().cast(), name.len());
                LLVMCreateEnumAttribute(self.context, kind, 0)
            };
            let (nounwind, noinline) = (attribute(nounwind), attribute(noinline));
            let len = no_builtins.len() as c_uint;
            let text = no_builtins.as_ptr().cast();
            let no_builtins = LLVMCreateStringAttribute(self.context, text, len, text, 0);
            let mut f = LLVMGetFirstFunction(self.module);
            while !f.is_null() {
                LLVMAddAttributeAtIndex(f, OF_FUNCTION, nounwind);
                let mut len = 0;
                let name = LLVMGetValueName2(f, &mut len);
                if std::slice::from_raw_parts(name.cast::<u8>(), len).starts_with(apart.as_bytes()) {
                    LLVMAddAttributeAtIndex(f, OF_FUNCTION, noinline);
                }
                if plain {
                    LLVMAddAttributeAtIndex(f, OF_FUNCTION, no_builtins);
                }
                f = LLVMGetNextFunction(f);
            }
        }
    }

    /// Verifies the module and runs a pipeline of LLVM's passes.
    pub fn optimize(&self, machine: &TargetMachine, pipeline: &str) -> Result<(), Unsupported> {
        let pipeline = c_string(pipeline)?;
        let mut why = null_mut();
        // SAFETY: module and machine are live; the message is ours.
        unsafe {
            let bad = LLVMVerifyModule(self.module, RETURN_STATUS, &mut why) != 0;
            let why = message(why);
            if bad {
                return Err(Unsupported::failed("LLVM's verifier", why));
            }
            let options = LLVMCreatePassBuilderOptions();
            let error = LLVMRunPasses(self.module, pipeline.as_ptr(), machine.raw, options);
            LLVMDisposePassBuilderOptions(options);
            result("LLVM's passes", error)
        }
    }

    /// The module as text.
    pub fn text(&self) -> String {
        // SAFETY: the string is ours to dispose of.
        unsafe { message(LLVMPrintModuleToString(self.module)) }
    }

    /// Generates code.
    pub fn emit(&self, machine: &TargetMachine, form: Form) -> Result<Vec<u8>, Unsupported> {
        let (mut why, mut buffer) = (null_mut(), null_mut());
        // SAFETY: module and machine are live; message and buffer are ours, and the buffer has the size that it says.
        unsafe {
            let form = form as c_int;
            if LLVMTargetMachineEmitToMemoryBuffer(machine.raw, self.module, form, &mut why, &mut buffer) != 0 {
                return Err(Unsupported::failed("LLVM's code generator", message(why)));
            }
            let (start, size) = (LLVMGetBufferStart(buffer).cast::<u8>(), LLVMGetBufferSize(buffer));
            let bytes = std::slice::from_raw_parts(start, size).to_vec();
            LLVMDisposeMemoryBuffer(buffer);
            Ok(bytes)
        }
    }
}

impl Drop for Llvm {
    fn drop(&mut self) {
        // SAFETY: the module, if there is one, belongs to the context; both are disposed of once.
        unsafe {
            if !self.module.is_null() {
                LLVMDisposeModule(self.module);
            }
            LLVMContextDispose(self.context);
        }
    }
}

/// An object linked into this process. Its code is readable and executable, never writable at the same time.
pub(crate) struct Linked {
    jit: Opaque,
}

impl Linked {
    pub fn new(object: &[u8]) -> Result<Linked, Unsupported> {
        initialize();
        let mut jit = null_mut();
        // SAFETY: a null builder asks for the default; the buffer is a copy that passes to the linker.
        unsafe {
            result("LLVM's linker", LLVMOrcCreateLLJIT(&mut jit, null_mut()))?;
            let linked = Linked { jit };
            let data = object.as_ptr().cast();
            let buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(data, object.len(), c"nc".as_ptr());
            let library = LLVMOrcLLJITGetMainJITDylib(jit);
            result("LLVM's linker", LLVMOrcLLJITAddObjectFile(jit, library, buffer))?;
            Ok(linked)
        }
    }

    /// The address of a symbol, valid as long as `self` lives.
    pub fn address(&self, symbol: &str) -> Result<u64, Unsupported> {
        let symbol = c_string(symbol)?;
        let mut address = 0;
        // SAFETY: the linker is live.
        unsafe { result("LLVM's linker", LLVMOrcLLJITLookup(self.jit, &mut address, symbol.as_ptr()))? };
        Ok(address)
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // SAFETY: made by `LLVMOrcCreateLLJIT`, disposed of once. What goes wrong is only consumed: there is nobody to tell.
        unsafe { drop(result("LLVM's linker", LLVMOrcDisposeLLJIT(self.jit))) }
    }
}
