//! NVIDIA's driver, loaded when it is asked for.

use crate::absent;
use crate::launch::{Device, Grid};
use crate::plan::Plan;
use libloading::Library;
use nc_ir::Diagnostic;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
const MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
const MINOR: c_int = 76;
/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
const MULTIPROCESSORS: c_int = 16;
/// `CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH`.
const COOPERATIVE: c_int = 95;
/// `CU_JIT_ERROR_LOG_BUFFER`.
const ERROR_LOG: c_int = 5;
/// `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
const ERROR_LOG_BYTES: c_int = 6;
/// Bytes of what the driver may say about code that it does not take.
const LOG: usize = 4096;

/// A pointer that only the driver looks behind.
type Handle = *mut c_void;
/// `CUresult`.
type Code = c_int;

macro_rules! driver {
    ($($(#[doc = $doc:literal])+ $field:ident = $symbol:literal: fn($($arg:ty),*);)+) => {
        /// The functions of the driver that are used, by their C declarations in `cuda.h`, version 12.
        pub struct Driver {
            $($(#[doc = $doc])+ pub $field: unsafe extern "C" fn($($arg),*) -> Code,)+
            /// What the functions lie in.
            pub library: Option<Library>,
        }

        impl Driver {
            /// Looks the functions up in a library.
            fn of(library: Library) -> Result<Driver, String> {
                $(
                    // SAFETY: the symbol has this declaration in every driver that has it.
                    let $field = unsafe {
                        library.get::<unsafe extern "C" fn($($arg),*) -> Code>($symbol)
                            .map(|s| *s)
                            .map_err(|e| format!("the driver is too old: {e}"))?
                    };
                )+
                Ok(Driver { $($field,)+ library: Some(library) })
            }
        }
    };
}

driver! {
    /// `cuInit(flags)`.
    init = b"cuInit\0": fn(c_uint);
    /// `cuDeviceGetCount(count)`.
    count = b"cuDeviceGetCount\0": fn(*mut c_int);
    /// `cuDeviceGet(device, ordinal)`.
    device = b"cuDeviceGet\0": fn(*mut c_int, c_int);
    /// `cuDeviceGetName(name, len, device)`.
    name = b"cuDeviceGetName\0": fn(*mut c_char, c_int, c_int);
    /// `cuDeviceGetAttribute(value, attribute, device)`.
    attribute = b"cuDeviceGetAttribute\0": fn(*mut c_int, c_int, c_int);
    /// `cuDevicePrimaryCtxRetain(context, device)`.
    retain = b"cuDevicePrimaryCtxRetain\0": fn(*mut Handle, c_int);
    /// `cuDevicePrimaryCtxRelease_v2(device)`.
    let_go = b"cuDevicePrimaryCtxRelease_v2\0": fn(c_int);
    /// `cuCtxSetCurrent(context)`.
    current = b"cuCtxSetCurrent\0": fn(Handle);
    /// `cuModuleLoadDataEx(module, image, options, names, values)`.
    load = b"cuModuleLoadDataEx\0": fn(*mut Handle, *const c_void, c_uint, *mut c_int, *mut *mut c_void);
    /// `cuModuleUnload(module)`.
    unload = b"cuModuleUnload\0": fn(Handle);
    /// `cuModuleGetFunction(function, module, name)`.
    function = b"cuModuleGetFunction\0": fn(*mut Handle, Handle, *const c_char);
    /// `cuMemAlloc_v2(address, bytes)`.
    allocate = b"cuMemAlloc_v2\0": fn(*mut u64, usize);
    /// `cuMemFree_v2(address)`.
    free = b"cuMemFree_v2\0": fn(u64);
    /// `cuMemcpyHtoD_v2(to, from, bytes)`.
    write = b"cuMemcpyHtoD_v2\0": fn(u64, *const c_void, usize);
    /// `cuMemcpyDtoH_v2(to, from, bytes)`: waits for what was launched before.
    read = b"cuMemcpyDtoH_v2\0": fn(*mut c_void, u64, usize);
    /// `cuMemsetD8_v2(to, value, bytes)`.
    fill = b"cuMemsetD8_v2\0": fn(u64, u8, usize);
    /// `cuLaunchKernel(function, blocks x 3, threads x 3, shared bytes, stream, arguments, extra)`.
    launch = b"cuLaunchKernel\0": fn(
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void
    );
    /// `cuLaunchCooperativeKernel(function, blocks x 3, threads x 3, shared bytes, stream, arguments)`: all blocks at once.
    launch_together = b"cuLaunchCooperativeKernel\0": fn(
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void
    );
    /// `cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared bytes)`.
    occupancy = b"cuOccupancyMaxActiveBlocksPerMultiprocessor\0": fn(*mut c_int, Handle, c_int, usize);
    /// `cuEventCreate(event, flags)`.
    event = b"cuEventCreate\0": fn(*mut Handle, c_uint);
    /// `cuEventDestroy_v2(event)`.
    event_free = b"cuEventDestroy_v2\0": fn(Handle);
    /// `cuEventRecord(event, stream)`.
    record = b"cuEventRecord\0": fn(Handle, Handle);
    /// `cuEventSynchronize(event)`.
    wait = b"cuEventSynchronize\0": fn(Handle);
    /// `cuEventElapsedTime(milliseconds, from, to)`.
    elapsed = b"cuEventElapsedTime\0": fn(*mut f32, Handle, Handle);
    /// `cuGetErrorName(code, text)`.
    error = b"cuGetErrorName\0": fn(Code, *mut *const c_char);
}

impl Driver {
    /// Loads the driver of this machine.
    ///
    /// # Errors
    /// E0870 if there is none.
    pub fn load() -> Result<Arc<Driver>, Diagnostic> {
        let names: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };
        let mut why = String::new();
        for name in names {
            // SAFETY: the driver's library has no constructors that other code could be harmed by.
            match unsafe { Library::new(name) } {
                Ok(library) => return Driver::of(library).map(Arc::new).map_err(|e| absent(&e)),
                Err(e) if why.is_empty() => why = e.to_string(),
                Err(_) => {}
            }
        }
        Err(absent(&format!("there is no driver of NVIDIA ({why})")))
    }

    /// An error if the driver gave one.
    fn check(&self, call: &str, code: Code) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: the text is the driver's own and stays.
        let name = unsafe {
            match (self.error)(code, &mut text) {
                0 if !text.is_null() => CStr::from_ptr(text).to_string_lossy().into_owned(),
                _ => format!("error {code}"),
            }
        };
        Err(format!("{call}: {name}"))
    }
}

/// A device of the driver, with the code of a plan once [`Cuda::take`] has loaded it.
pub struct Cuda {
    driver: Arc<Driver>,
    device: c_int,
    name: String,
    capability: (u32, u32),
    module: Handle,
    context: Handle,
    function: Handle,
    /// Recorded before and after a launch.
    events: [Handle; 2],
}

// SAFETY: handles of the driver may be used from any thread in which the context is current; every call sees to that.
unsafe impl Send for Cuda {}

impl Cuda {
    /// The first device whose name, as [`Device::name`] gives it, has this part, letters of either case being the same, or
    /// just the first; `CUDA_VISIBLE_DEVICES` says which there are.
    ///
    /// # Errors
    /// E0870 if there is none.
    pub fn open(driver: Arc<Driver>, wanted: Option<&str>) -> Result<Cuda, Diagnostic> {
        let d = &driver;
        let mut count = 0;
        // SAFETY: the result goes to a variable.
        unsafe {
            d.check("cuInit", (d.init)(0)).map_err(|e| absent(&e))?;
            d.check("cuDeviceGetCount", (d.count)(&mut count)).map_err(|e| absent(&e))?;
        }
        let mut names = Vec::new();
        for ordinal in 0..count {
            let (device, name, capability) = Cuda::look(d, ordinal).map_err(|e| absent(&e))?;
            let title = titled(&name, capability);
            if wanted.is_some_and(|part| !title.to_lowercase().contains(&part.to_lowercase())) {
                names.push(title);
                continue;
            }
            let mut context = null_mut();
            // SAFETY: the result goes to a variable.
            let code = unsafe { (d.retain)(&mut context, device) };
            d.check("cuDevicePrimaryCtxRetain", code).map_err(|e| absent(&e))?;
            let (module, function, events) = (null_mut(), null_mut(), [null_mut(); 2]);
            return Ok(Cuda { driver, device, name, capability, module, context, function, events });
        }
        Err(match wanted {
            Some(part) if !names.is_empty() => {
                absent(&format!("NVIDIA's driver has no device {part:?}, but {}", names.join(", ")))
            }
            _ => absent("the driver has no device"),
        })
    }

    /// Device, name and compute capability.
    fn look(d: &Driver, ordinal: c_int) -> Result<(c_int, String, (u32, u32)), String> {
        let (mut device, mut major, mut minor, mut text) = (0, 0, 0, [0 as c_char; 256]);
        // SAFETY: results go to variables of the types that the driver writes; the name ends in zero.
        let name = unsafe {
            d.check("cuDeviceGet", (d.device)(&mut device, ordinal))?;
            d.check("cuDeviceGetName", (d.name)(text.as_mut_ptr(), 255, device))?;
            for (attribute, to) in [(MAJOR, &mut major), (MINOR, &mut minor)] {
                d.check("cuDeviceGetAttribute", (d.attribute)(to, attribute, device))?;
            }
            CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
        };
        Ok((device, name, (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0))))
    }

    /// Which of these architectures (`sm_80` and the like) suits the device best: code for an older one runs too.
    ///
    /// # Errors
    /// E0870 if none does.
    pub fn choose<'a>(&self, arches: &[&'a str]) -> Result<&'a str, Diagnostic> {
        let (major, minor) = self.capability;
        let number = |a: &str| a.strip_prefix("sm_").and_then(|n| n.parse::<u32>().ok());
        let fits = arches.iter().filter_map(|a| Some((number(a)?, *a))).filter(|(n, _)| *n <= major * 10 + minor);
        fits.max().map(|(_, a)| a).ok_or_else(|| {
            absent(&format!(
                "{} has compute capability {major}.{minor}, kernels are for {}",
                self.name,
                arches.join(", ")
            ))
        })
    }

    /// Loads the code of a plan: text of PTX.
    ///
    /// # Errors
    /// E0871 for what is no text, and with what the driver says.
    pub fn take(&mut self, plan: &Plan, ptx: &[u8]) -> Result<(), Diagnostic> {
        self.load(plan, ptx).map_err(|e| Diagnostic::error_nowhere("E0871", format!("{}: {e}", self.name)))
    }

    fn load(&mut self, plan: &Plan, ptx: &[u8]) -> Result<(), String> {
        self.enter()?;
        let ptx = std::str::from_utf8(ptx).map_err(|_| "code that is no text".to_owned())?;
        let text = CString::new(ptx).map_err(|_| "code with a zero byte in it".to_owned())?;
        let mut log = vec![0u8; LOG];
        let mut names = [ERROR_LOG, ERROR_LOG_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG as *mut c_void];
        let d = &self.driver;
        // SAFETY: text and names end in zero; options have the lengths that they say; results go to variables.
        unsafe {
            let image = text.as_ptr().cast();
            let code = (d.load)(&mut self.module, image, 2, names.as_mut_ptr(), values.as_mut_ptr());
            d.check("cuModuleLoadDataEx", code).map_err(|e| {
                let said = log.split(|b| *b == 0).next().unwrap_or_default();
                format!("{e}: {}", String::from_utf8_lossy(said).trim())
            })?;
            let name = CString::new(plan.symbol.as_str()).map_err(|_| "a name with a zero byte".to_owned())?;
            let code = (d.function)(&mut self.function, self.module, name.as_ptr());
            d.check(&format!("cuModuleGetFunction of {}", plan.symbol), code)?;
            for event in &mut self.events {
                d.check("cuEventCreate", (d.event)(event, 0))?;
            }
        }
        Ok(())
    }

    /// An attribute of the device.
    fn attribute(&self, which: c_int) -> Result<u64, String> {
        let mut value = 0;
        // SAFETY: the result goes to a variable.
        let code = unsafe { (self.driver.attribute)(&mut value, which, self.device) };
        self.driver.check("cuDeviceGetAttribute", code).map(|()| u64::try_from(value).unwrap_or(0))
    }

    /// Makes the device the one of this thread.
    fn enter(&self) -> Result<(), String> {
        // SAFETY: the context is retained as long as `self` lives.
        let code = unsafe { (self.driver.current)(self.context) };
        self.driver.check("cuCtxSetCurrent", code)
    }
}

/// What a device is called.
fn titled(name: &str, (major, minor): (u32, u32)) -> String {
    format!("{name} (cuda, compute capability {major}.{minor})")
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // SAFETY: each is given back once; failures leave nothing to do.
        unsafe {
            for event in self.events.into_iter().filter(|e| !e.is_null()) {
                (self.driver.event_free)(event);
            }
            if !self.module.is_null() {
                (self.driver.unload)(self.module);
            }
            (self.driver.let_go)(self.device);
        }
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        titled(&self.name, self.capability)
    }

    fn resident(&mut self, threads: u32) -> Result<u64, String> {
        if self.function.is_null() {
            return Err("no code is loaded".to_owned());
        }
        self.enter()?;
        if self.attribute(COOPERATIVE)? == 0 {
            return Ok(0);
        }
        let mut blocks = 0;
        // SAFETY: the function is loaded; the result goes to a variable.
        let code = unsafe { (self.driver.occupancy)(&mut blocks, self.function, threads as c_int, 0) };
        self.driver.check("cuOccupancyMaxActiveBlocksPerMultiprocessor", code)?;
        Ok(u64::try_from(blocks).unwrap_or(0) * self.attribute(MULTIPROCESSORS)?)
    }

    fn allocate(&mut self, bytes: u64) -> Result<u64, String> {
        self.enter()?;
        let mut at = 0;
        // SAFETY: the result goes to a variable.
        let code = unsafe { (self.driver.allocate)(&mut at, bytes as usize) };
        self.driver.check(&format!("cuMemAlloc of {bytes} bytes"), code).map(|()| at)
    }

    fn release(&mut self, at: u64) {
        if self.enter().is_ok() {
            // SAFETY: the trait's promise that it was allocated here.
            unsafe { (self.driver.free)(at) };
        }
    }

    unsafe fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's promise.
        let code = unsafe { (self.driver.write)(at, bytes.as_ptr().cast(), bytes.len()) };
        self.driver.check("cuMemcpyHtoD", code)
    }

    unsafe fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's promise.
        let code = unsafe { (self.driver.read)(bytes.as_mut_ptr().cast(), at, bytes.len()) };
        self.driver.check("cuMemcpyDtoH", code)
    }

    unsafe fn zero(&mut self, at: u64, bytes: u64) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's promise.
        let code = unsafe { (self.driver.fill)(at, 0, bytes as usize) };
        self.driver.check("cuMemsetD8", code)
    }

    unsafe fn launch(&mut self, grid: Grid, words: &[u64]) -> Result<Option<f64>, String> {
        if self.function.is_null() {
            return Err("no code is loaded".to_owned());
        }
        self.enter()?;
        let mut words = words.to_vec();
        let mut arguments: Vec<*mut c_void> = words.iter_mut().map(|w| std::ptr::from_mut(w).cast()).collect();
        let arguments = arguments.as_mut_ptr();
        let (d, [begin, end], Grid { blocks, threads, .. }) = (&self.driver, self.events, grid);
        let (function, stream) = (self.function, null_mut());
        let mut milliseconds = 0.0;
        // SAFETY: the caller's promise: each argument is a 64-bit word, as the program takes them. Events are created with
        // the function, and the result goes to a variable.
        unsafe {
            d.check("cuEventRecord", (d.record)(begin, stream))?;
            if grid.cooperative {
                let code = (d.launch_together)(function, blocks, 1, 1, threads, 1, 1, 0, stream, arguments);
                d.check("cuLaunchCooperativeKernel", code)?;
            } else {
                let code = (d.launch)(function, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, null_mut());
                d.check("cuLaunchKernel", code)?;
            }
            d.check("cuEventRecord", (d.record)(end, stream))?;
            d.check("cuEventSynchronize", (d.wait)(end))?;
            d.check("cuEventElapsedTime", (d.elapsed)(&mut milliseconds, begin, end))?;
        }
        Ok(Some(f64::from(milliseconds) * 1e-3))
    }
}
