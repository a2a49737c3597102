//! The host's part of a run, with functions in the place of a driver's: what is asked of a driver, in which order, and what
//! comes of its failures. What a kernel computes is written here in Rust; no graphics processor takes part.

use nc_gpu::{Binary, Buffer, Cell, Cuda, Driver, Grid, Launcher, Plan, Role, Step, VERSION};
use nc_ir::kernel::abi::{Code as _, RunContext};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the driver was asked, and what it is to answer.
#[derive(Default)]
struct Fake {
    devices: c_int,
    capability: (c_int, c_int),
    /// The call that fails, if one is to.
    fails: &'static str,
    calls: Vec<String>,
    /// Addresses that are allocated, with their sizes.
    memory: Vec<(u64, usize)>,
}

static FAKE: Mutex<Option<Fake>> = Mutex::new(None);
/// One test at a time has the driver.
static TURN: Mutex<()> = Mutex::new(());

fn fake<T>(f: impl FnOnce(&mut Fake) -> T) -> T {
    f(FAKE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

fn answer(call: &'static str) -> c_int {
    fake(|f| if f.fails == call { 700 } else { 0 })
}

unsafe extern "C" fn init(_: c_uint) -> c_int {
    answer("init")
}

unsafe extern "C" fn count(n: *mut c_int) -> c_int {
    unsafe { *n = fake(|f| f.devices) };
    0
}

unsafe extern "C" fn device(d: *mut c_int, ordinal: c_int) -> c_int {
    unsafe { *d = 40 + ordinal };
    0
}

unsafe extern "C" fn name(to: *mut c_char, len: c_int, _: c_int) -> c_int {
    let text = c"Fake 100".to_bytes_with_nul();
    assert!(len as usize >= text.len());
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len()) };
    0
}

unsafe extern "C" fn attribute(to: *mut c_int, which: c_int, device: c_int) -> c_int {
    assert_eq!(device, 40);
    unsafe { *to = fake(|f| if which == 75 { f.capability.0 } else { f.capability.1 }) };
    0
}

unsafe extern "C" fn retain(to: *mut *mut c_void, _: c_int) -> c_int {
    unsafe { *to = 7 as *mut c_void };
    0
}

unsafe extern "C" fn let_go(_: c_int) -> c_int {
    fake(|f| f.calls.push("let go".to_owned()));
    0
}

unsafe extern "C" fn current(context: *mut c_void) -> c_int {
    assert_eq!(context as usize, 7);
    0
}

unsafe extern "C" fn load(
    module: *mut *mut c_void,
    image: *const c_void,
    n: c_uint,
    names: *mut c_int,
    values: *mut *mut c_void,
) -> c_int {
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy().into_owned();
    if text.contains("nonsense") {
        let (names, values) =
            unsafe { (std::slice::from_raw_parts(names, n as usize), std::slice::from_raw_parts(values, n as usize)) };
        // The names of the header: buffer and size of what the assembler says.
        assert_eq!((names, values[1] as usize), (&[5, 6][..], 4096));
        let said = c"line 1: nonsense".to_bytes_with_nul();
        unsafe { std::ptr::copy_nonoverlapping(said.as_ptr(), values[0].cast(), said.len()) };
        return 218;
    }
    fake(|f| f.calls.push(format!("load {text}")));
    unsafe { *module = 9 as *mut c_void };
    0
}

unsafe extern "C" fn unload(module: *mut c_void) -> c_int {
    assert_eq!(module as usize, 9);
    fake(|f| f.calls.push("unload".to_owned()));
    0
}

unsafe extern "C" fn function(to: *mut *mut c_void, module: *mut c_void, name: *const c_char) -> c_int {
    assert_eq!(module as usize, 9);
    let n = match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"add" => 1,
        b"count" => 2,
        _ => return 500,
    };
    unsafe { *to = n as *mut c_void };
    0
}

unsafe extern "C" fn allocate(to: *mut u64, bytes: usize) -> c_int {
    if answer("allocate") != 0 {
        return 2;
    }
    let room = vec![0x5au64; bytes.div_ceil(8)].into_boxed_slice();
    let at = Box::leak(room).as_mut_ptr() as u64;
    fake(|f| f.memory.push((at, bytes)));
    unsafe { *to = at };
    0
}

unsafe extern "C" fn free(at: u64) -> c_int {
    fake(|f| {
        let n = f.memory.iter().position(|(a, _)| *a == at).expect("memory that was allocated");
        let (_, bytes) = f.memory.remove(n);
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(at as *mut u64, bytes.div_ceil(8))) });
    });
    0
}

/// Whether all bytes are allocated.
fn inside(at: u64, bytes: usize) -> bool {
    fake(|f| f.memory.iter().any(|(a, n)| at >= *a && at + bytes as u64 <= *a + *n as u64))
}

unsafe extern "C" fn write(to: u64, from: *const c_void, bytes: usize) -> c_int {
    assert!(inside(to, bytes));
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), to as *mut u8, bytes) };
    0
}

unsafe extern "C" fn read(to: *mut c_void, from: u64, bytes: usize) -> c_int {
    assert!(inside(from, bytes));
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.cast::<u8>(), bytes) };
    answer("read")
}

unsafe extern "C" fn fill(to: u64, value: u8, bytes: usize) -> c_int {
    assert!(inside(to, bytes));
    unsafe { std::ptr::write_bytes(to as *mut u8, value, bytes) };
    0
}

/// `add`: state += weight * input, output = state, and in even ticks the probe has it. `count`: the third word of the state
/// counts the iterations of the loop, weighed by their numbers.
unsafe extern "C" fn launch(
    function: *mut c_void,
    blocks: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared: c_uint,
    stream: *mut c_void,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    assert_eq!([blocks_y, blocks_z, threads_y, threads_z, shared], [1, 1, 1, 1, 0]);
    assert!(stream.is_null() && extra.is_null());
    let word = |n: usize| unsafe { *(*arguments.add(n)).cast::<u64>() };
    let [arena, consts, table, tick] = [0, 1, 2, 3].map(word);
    let at = |base: u64, n: u64| (base + 4 * n) as *mut f32;
    let host = |n: u64, frame: u64, bytes: u64| {
        let base = unsafe { *((table + 8 * n) as *const u64) };
        base.wrapping_add(frame.wrapping_mul(bytes))
    };
    unsafe {
        match function as usize {
            1 => {
                for i in 0..2 {
                    let x = *at(host(0, tick, 8), i);
                    *at(arena, i) += *at(consts, i) * x;
                    *at(host(1, tick, 8), i) = *at(arena, i);
                    if tick % 2 == 0 {
                        *at(host(2, tick / 2, 8), i) = *at(arena, i);
                    }
                }
            }
            _ => *((arena + 64) as *mut i64) += word(4) as i64,
        }
    }
    fake(|f| f.calls.push(format!("launch {} {blocks}x{threads} tick {tick}", function as usize)));
    answer("launch")
}

unsafe extern "C" fn error(code: c_int, text: *mut *const c_char) -> c_int {
    let name = match code {
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        218 => c"CUDA_ERROR_INVALID_PTX",
        500 => c"CUDA_ERROR_NOT_FOUND",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        _ => return 1,
    };
    unsafe { *text = name.as_ptr() };
    0
}

fn driver(devices: c_int, capability: (c_int, c_int)) -> (Arc<Driver>, MutexGuard<'static, ()>) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    fake(|f| *f = Fake { devices, capability, ..Fake::default() });
    let library = None;
    let d = Driver {
        init,
        count,
        device,
        name,
        attribute,
        retain,
        let_go,
        current,
        load,
        unload,
        function,
        allocate,
        free,
        write,
        read,
        fill,
        launch,
        error,
        library,
    };
    (Arc::new(d), turn)
}

fn buffer(name: &str, elem: &str, len: u64, role: Role, at: u64) -> Buffer {
    Buffer { name: name.to_owned(), elem: elem.to_owned(), len, role, at }
}

fn kernel(symbol: &str, blocks: u32, iterations: usize, every: u64) -> Grid {
    Grid { symbol: symbol.to_owned(), shape: "grid".to_owned(), blocks, threads: 256, every, iterations }
}

/// State of two floats and of a count of iterations, which a loop of as many times as the state says adds to.
fn plan() -> Plan {
    Plan {
        version: VERSION,
        model: "M".to_owned(),
        dt: None,
        parts: 4,
        arena_bytes: 256,
        const_bytes: 128,
        inputs: Vec::new(),
        outputs: Vec::new(),
        probes: Vec::new(),
        buffers: vec![
            buffer("w", "f32", 2, Role::Const, 0),
            buffer("s", "f32", 2, Role::State, 0),
            buffer("n", "i64", 2, Role::State, 64),
            buffer("x", "f32", 2, Role::Input, 0),
            buffer("y", "f32", 2, Role::Output, 1),
            buffer("p", "f32", 2, Role::Probe(2), 2),
        ],
        lists: Vec::new(),
        states: Vec::new(),
        lines: Vec::new(),
        kernels: vec![kernel("add", 3, 0, 1), kernel("count", 1, 1, 2)],
        steps: vec![
            Step::Launch(0),
            Step::Loop {
                count: None,
                read: Some(Cell { buffer: 2, at: 1 }),
                condition: None,
                steps: vec![Step::Launch(1)],
            },
        ],
        binaries: vec![Binary { arch: "sm_80".to_owned(), file: "kernels.ptx".to_owned() }],
    }
}

/// Runs ticks `first..first + 4` on inputs 1, 2, 3, ...
fn run(launcher: &Launcher, arena: &mut [f32; 64], first: u64) -> (Vec<f32>, Vec<f32>) {
    let consts = [0.5f32, 2.0].into_iter().chain(std::iter::repeat_n(0.0, 30)).collect::<Vec<f32>>();
    let mut x: Vec<f32> = (1..=8).map(|k| k as f32).collect();
    let (mut y, mut p) = (vec![0.0f32; 8], vec![0.0f32; 4]);
    let host = [x.as_mut_ptr().cast::<u8>(), y.as_mut_ptr().cast(), p.as_mut_ptr().cast()];
    let context = RunContext {
        arena: arena.as_mut_ptr().cast(),
        consts: consts.as_ptr().cast(),
        host: host.as_ptr(),
        first_tick: first,
        ticks: 4,
        barrier: None,
        barrier_arg: std::ptr::null_mut(),
        data: launcher.data(),
    };
    // Only the first part does something.
    for part in [1, 0, 3] {
        unsafe { (launcher.entry())(&raw const context, part) };
    }
    (y, p)
}

fn arena() -> [f32; 64] {
    let mut all = [0.0f32; 64];
    // The second number of `n`, at byte 72, is how often the loop runs.
    all[18] = f32::from_bits(3);
    all
}

#[test]
fn ticks_frames_and_state_are_where_they_belong() {
    let (d, _turn) = driver(1, (8, 6));
    let mut cuda = Cuda::open(d).expect("a device");
    assert_eq!(cuda.choose(&["sm_80", "sm_90"]).expect("one of them"), "sm_80");
    cuda.take(&plan(), "ptx").expect("both kernels");
    let launcher = Launcher::new(plan(), Box::new(cuda)).expect("a plan");
    assert_eq!(launcher.device(), "Fake 100 (cuda, compute capability 8.6)");
    let mut state = arena();
    let (y, p) = run(&launcher, &mut state, 0);
    // Sums of 0.5 * (1, 3, 5, 7) and of 2 * (2, 4, 6, 8).
    assert_eq!(y, [0.5, 4.0, 2.0, 12.0, 4.5, 24.0, 8.0, 40.0]);
    assert_eq!(p, [0.5, 4.0, 4.5, 24.0]);
    assert_eq!((state[0], state[1]), (8.0, 40.0));
    // In ticks 0 and 2 the numbers 0 + 1 + 2 of the iterations.
    assert_eq!(state[16].to_bits(), 6);
    assert!(launcher.take_failure().is_none());
    // From an odd tick on, the probe's first frame is that of the next.
    let (y, p) = run(&launcher, &mut state, 5);
    assert_eq!((y[0], y[1]), (8.5, 44.0));
    assert_eq!(p, [10.0, 52.0, 16.0, 80.0]);
    drop(launcher);
    let calls = fake(|f| std::mem::take(&mut f.calls));
    assert_eq!(calls[..3], ["load ptx", "launch 1 3x256 tick 0", "launch 2 1x256 tick 0"]);
    assert_eq!(calls[calls.len() - 2..], ["unload", "let go"]);
    assert_eq!(calls.iter().filter(|c| c.starts_with("launch 1")).count(), 8);
    // Ticks 0, 2 and 6, 8, three times each.
    assert_eq!(calls.iter().filter(|c| c.starts_with("launch 2")).count(), 12);
    assert!(fake(|f| f.memory.is_empty()), "all memory is given back");
}

#[test]
fn devices_that_do_not_suit_are_named() {
    let (d, turn) = driver(0, (8, 0));
    let e = Cuda::open(d).err().expect("no device");
    assert_eq!((e.code, e.message.as_str()), ("E0870", "no graphics processor to run on: the driver has no device"));
    assert!(e.hint.is_some_and(|h| h.contains("--target cpu")));
    drop(turn);
    let (d, turn) = driver(1, (7, 5));
    let e = Cuda::open(d).expect("a device").choose(&["sm_80", "sm_90"]).expect_err("an old one");
    assert!(e.code == "E0870" && e.message.contains("7.5") && e.message.contains("sm_80, sm_90"), "{e:?}");
    drop(turn);
    let (d, turn) = driver(1, (9, 0));
    assert_eq!(Cuda::open(d).expect("a device").choose(&["sm_80", "sm_90"]).expect("both"), "sm_90");
    drop(turn);
    let (d, _turn) = driver(1, (8, 0));
    fake(|f| f.fails = "init");
    let e = Cuda::open(d).err().expect("a driver that fails");
    assert!(e.code == "E0870" && e.message.contains("cuInit: CUDA_ERROR_ILLEGAL_ADDRESS"), "{e:?}");
}

#[test]
fn failures_have_the_name_that_the_driver_gives_them() {
    let (d, turn) = driver(1, (8, 0));
    let mut cuda = Cuda::open(d.clone()).expect("a device");
    let e = cuda.take(&plan(), "nonsense").expect_err("no code");
    assert!(e.code == "E0871" && e.message.contains("CUDA_ERROR_INVALID_PTX: line 1: nonsense"), "{e:?}");
    let mut other = plan();
    other.kernels[0].symbol = "sub".to_owned();
    let e = Cuda::open(d).expect("a device").take(&other, "ptx").expect_err("no such kernel");
    assert!(e.message.contains("cuModuleGetFunction of sub: CUDA_ERROR_NOT_FOUND"), "{e:?}");
    drop(turn);
    for (call, text) in [
        ("allocate", "cuMemAlloc of 320 bytes: CUDA_ERROR_OUT_OF_MEMORY"),
        ("launch", "cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("read", "cuMemcpyDtoH: CUDA_ERROR_ILLEGAL_ADDRESS"),
    ] {
        let (d, _turn) = driver(1, (8, 0));
        let mut cuda = Cuda::open(d).expect("a device");
        cuda.take(&plan(), "ptx").expect("both kernels");
        let launcher = Launcher::new(plan(), Box::new(cuda)).expect("a plan");
        fake(|f| f.fails = call);
        run(&launcher, &mut arena(), 0);
        let e = launcher.take_failure().expect("a failure");
        assert_eq!(e.code, "E0871");
        assert!(e.message.contains(text), "{e:?}");
        assert!(launcher.take_failure().is_none(), "told once");
    }
}

#[test]
fn without_a_driver_there_is_a_name_and_a_hint() {
    match Driver::load() {
        Ok(_) => eprintln!("skipped: without_a_driver_there_is_a_name_and_a_hint: there is a driver"),
        Err(e) => {
            assert_eq!(e.code, "E0870");
            assert!(e.message.contains("there is no driver of NVIDIA"), "{e:?}");
            assert!(e.hint.is_some_and(|h| h.contains("gpu-host")));
        }
    }
}
