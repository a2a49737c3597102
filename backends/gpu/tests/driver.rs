//! The host's part of a run, with functions in the place of a driver's: what is asked of a driver, in which order, and what
//! comes of its failures. What a kernel computes is written here in Rust; no graphics processor takes part.

use nc_gpu::{BARRIER, Binary, Buffer, Cuda, Driver, Launcher, Plan, Role, VERSION};
use nc_ir::Diagnostic;
use nc_ir::kernel::abi::{Array, Batch, Remote as _};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the driver was asked, and what it is to answer.
#[derive(Default)]
struct Fake {
    devices: c_int,
    capability: (c_int, c_int),
    /// Blocks that a multiprocessor runs at a time, of two multiprocessors.
    resident: c_int,
    /// The call that fails, if one is to.
    fails: &'static str,
    calls: Vec<String>,
    /// Parts of the program.
    parts: u64,
    /// Events that were made and not given back.
    events: usize,
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
    let value = fake(|f| match which {
        75 => f.capability.0,
        76 => f.capability.1,
        16 => 2,
        95 => 1,
        _ => panic!("attribute {which}"),
    });
    unsafe { *to = value };
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
    fake(|f| f.calls.push(format!("write {bytes}")));
    0
}

unsafe extern "C" fn read(to: *mut c_void, from: u64, bytes: usize) -> c_int {
    assert!(inside(from, bytes));
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.cast::<u8>(), bytes) };
    fake(|f| f.calls.push(format!("read {bytes}")));
    answer("read")
}

unsafe extern "C" fn fill(to: u64, value: u8, bytes: usize) -> c_int {
    assert!(inside(to, bytes));
    unsafe { std::ptr::write_bytes(to as *mut u8, value, bytes) };
    fake(|f| f.calls.push(format!("fill {bytes}")));
    0
}

/// In each tick: state += weight * input, output = state, and in even ticks the probe has it; element i by part i. The
/// first word of `n` counts ticks.
unsafe fn program(blocks: u64, words: [u64; 8]) {
    let [arena, consts, table, barriers, first, ticks, samples, stride] = words;
    let parts = fake(|f| f.parts);
    let teams = blocks / parts;
    assert_eq!((blocks % parts, barriers % 8, teams > 0), (0, 0, true));
    let at = |base: u64, n: u64| (base + 4 * n) as *mut f32;
    let host = |n: u64, frame: u64, sample: u64| unsafe {
        (*((table + 8 * n) as *const u64))
            .wrapping_add((frame.wrapping_mul(samples).wrapping_add(sample)).wrapping_mul(8))
    };
    for team in 0..teams {
        let counter = (barriers + team * BARRIER) as *mut u64;
        assert!(inside(counter as u64, 8));
        unsafe {
            // Zero at first; it only grows.
            assert_eq!(*counter % parts, 0);
            *counter += parts * ticks;
        }
        for sample in (team..samples).step_by(teams as usize) {
            let arena = arena + sample * stride;
            for tick in first..first + ticks {
                for i in 0..2 {
                    unsafe {
                        *at(arena, i) += *at(consts, i) * *at(host(0, tick, sample), i);
                        assert_eq!(*at(host(1, tick, sample), i), 0.0, "results are zeros before");
                        *at(host(1, tick, sample), i) = *at(arena, i);
                        if tick % 2 == 0 {
                            *at(host(2, tick / 2, sample), i) = *at(arena, i);
                        }
                    }
                }
                unsafe { *((arena + 64) as *mut i64) += 1 };
            }
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the driver's declaration")]
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
    assert!(stream.is_null() && extra.is_null() && function as usize == 1);
    let words = std::array::from_fn(|n| unsafe { *(*arguments.add(n)).cast::<u64>() });
    unsafe { program(blocks.into(), words) };
    fake(|f| f.calls.push(format!("launch {blocks}x{threads} ticks {} + {}", words[4], words[5])));
    answer("launch")
}

#[allow(clippy::too_many_arguments, reason = "the driver's declaration")]
unsafe extern "C" fn launch_together(
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
) -> c_int {
    assert!(fake(|f| blocks as c_int <= 2 * f.resident), "all blocks run at the same time");
    fake(|f| f.calls.push("together".to_owned()));
    let (none, y, z) = (std::ptr::null_mut(), (blocks_y, threads_y), (blocks_z, threads_z));
    unsafe { launch(function, blocks, y.0, z.0, threads, y.1, z.1, shared, stream, arguments, none) }
}

unsafe extern "C" fn occupancy(to: *mut c_int, function: *mut c_void, threads: c_int, shared: usize) -> c_int {
    assert_eq!((function as usize, threads, shared), (1, 256, 0));
    unsafe { *to = fake(|f| f.resident) };
    0
}

unsafe extern "C" fn event(to: *mut *mut c_void, flags: c_uint) -> c_int {
    assert_eq!(flags, 0);
    fake(|f| {
        f.events += 1;
        unsafe { *to = (100 + f.events) as *mut c_void };
    });
    0
}

unsafe extern "C" fn event_free(event: *mut c_void) -> c_int {
    assert!(event as usize > 100);
    fake(|f| f.events -= 1);
    0
}

unsafe extern "C" fn record(event: *mut c_void, stream: *mut c_void) -> c_int {
    assert!(event as usize > 100 && stream.is_null());
    fake(|f| f.calls.push(format!("record {}", event as usize - 100)));
    0
}

unsafe extern "C" fn wait(event: *mut c_void) -> c_int {
    assert_eq!(event as usize, 102);
    answer("wait")
}

unsafe extern "C" fn elapsed(to: *mut f32, from: *mut c_void, until: *mut c_void) -> c_int {
    assert_eq!((from as usize, until as usize), (101, 102));
    unsafe { *to = 2.5 };
    0
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
    fake(|f| *f = Fake { devices, capability, parts: 1, resident: 3, ..Fake::default() });
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
        launch_together,
        occupancy,
        event,
        event_free,
        record,
        wait,
        elapsed,
        error,
        library,
    };
    (Arc::new(d), turn)
}

fn buffer(name: &str, elem: &str, len: u64, role: Role, at: u64) -> Buffer {
    Buffer { name: name.to_owned(), elem: elem.to_owned(), len, role, at }
}

/// State of two floats and of a count of ticks.
fn plan(parts: u32) -> Plan {
    fake(|f| f.parts = parts.into());
    Plan {
        version: VERSION,
        model: "M".to_owned(),
        dt: None,
        parts,
        symbol: "add".to_owned(),
        threads: 256,
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
        kernels: vec!["add to the state".to_owned()],
        binaries: vec![Binary { arch: "sm_80".to_owned(), file: "kernels.ptx".to_owned() }],
        course: None,
        proof: None,
    }
}

fn launcher(d: &Arc<Driver>, plan: Plan) -> Launcher {
    let mut cuda = Cuda::open(d.clone(), None).expect("a device");
    cuda.take(&plan, b"ptx").expect("the program");
    Launcher::new(plan, Box::new(cuda)).expect("a plan")
}

const STRIDE: u64 = 320;

/// Runs ticks `first..first + 4` of samples on inputs 1, 2, 3, ..., times the sample's number plus 1; from zeros if `changed`.
/// Output and probe.
fn run(
    launcher: &Launcher,
    (owner, changed): (u64, bool),
    samples: usize,
    first: u64,
) -> Result<(Vec<f32>, Vec<f32>), Diagnostic> {
    let bytes = |all: &[f32]| all.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let floats = |all: &[u8]| {
        let (each, _) = all.as_chunks::<4>();
        each.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>()
    };
    let consts = bytes(&[&[0.5, 2.0][..], &[0.0; 30]].concat());
    let x: Vec<f32> =
        (0..4 * samples * 2).map(|k| ((k / (2 * samples) * 2 + k % 2 + 1) * (k / 2 % samples + 1)) as f32).collect();
    let (x, mut y, mut p) = (bytes(&x), vec![0; 32 * samples], vec![0; 16 * samples]);
    launcher.run(Batch {
        owner,
        changed,
        arenas: &vec![0; STRIDE as usize * samples],
        stride: STRIDE,
        samples: samples as u64,
        consts: &consts,
        host: &mut [Array::Read(&x), Array::Written(&mut y), Array::Written(&mut p)],
        first_tick: first,
        ticks: 4,
    })?;
    Ok((floats(&y), floats(&p)))
}

/// The first two floats and the count of ticks of each sample.
fn state(launcher: &Launcher, owner: u64, samples: usize) -> Vec<(f32, f32, u8)> {
    let mut all = vec![0; STRIDE as usize * samples];
    launcher.fetch(owner, &mut all).expect("state");
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    all.chunks(STRIDE as usize).map(|a| (float(a), float(&a[4..]), a[64])).collect()
}

fn calls() -> Vec<String> {
    fake(|f| std::mem::take(&mut f.calls))
}

#[test]
fn ticks_frames_and_state_are_where_they_belong() {
    let (d, _turn) = driver(1, (8, 6));
    let launcher = launcher(&d, plan(1));
    assert_eq!(launcher.device(), "Fake 100 (cuda, compute capability 8.6)");
    let (y, p) = run(&launcher, (7, true), 1, 0).expect("no failure");
    // Sums of 0.5 * (1, 3, 5, 7) and of 2 * (2, 4, 6, 8).
    assert_eq!(y, [0.5, 4.0, 2.0, 12.0, 4.5, 24.0, 8.0, 40.0]);
    assert_eq!(p, [0.5, 4.0, 4.5, 24.0]);
    assert_eq!(launcher.seconds(), Some(2.5e-3));
    // Constants, state, zero counters, input, zero results, the table; one launch for all ticks; results. No state.
    let want = ["write 128", "write 320", "fill 128", "write 32", "fill 32", "fill 16", "write 24", "record 1"];
    let rest = ["launch 1x256 ticks 0 + 4", "record 2", "read 32", "read 16"];
    assert_eq!(calls(), [&["load ptx"], &want[..], &rest[..]].concat());
    assert_eq!(state(&launcher, 7, 1), [(8.0, 40.0, 4)]);
    calls();
    // From an odd tick on, the probe's first frame is that of the next. The state is there already.
    let (y, p) = run(&launcher, (7, false), 1, 5).expect("no failure");
    assert_eq!((y[0], y[1]), (8.5, 44.0));
    assert_eq!(p, [10.0, 52.0, 16.0, 80.0]);
    assert_eq!(calls()[..4], ["write 32", "fill 32", "fill 16", "write 24"]);
    assert_eq!(state(&launcher, 7, 1), [(16.0, 80.0, 8)]);
    drop(launcher);
    let all = calls();
    assert_eq!(all[all.len() - 2..], ["unload", "let go"]);
    assert!(fake(|f| f.memory.is_empty() && f.events == 0), "all is given back");
}

#[test]
fn samples_run_in_one_launch_and_owners_keep_their_state() {
    for (parts, teams, blocks) in [(1, 5, 5), (2, 3, 6), (4, 1, 4)] {
        let (d, turn) = driver(1, (8, 6));
        let launcher = launcher(&d, plan(parts));
        launcher.fits().expect("six blocks run at a time");
        let (y, p) = run(&launcher, (1, true), 5, 0).expect("no failure");
        for s in 0..5 {
            // As of one sample, times its number plus 1; frames are [tick][sample].
            let own = |all: &[f32]| -> Vec<f32> {
                all.chunks(10).flat_map(|f| &f[2 * s..2 * s + 2]).map(|v| v / (s + 1) as f32).collect()
            };
            assert_eq!(own(&y), [0.5, 4.0, 2.0, 12.0, 4.5, 24.0, 8.0, 40.0]);
            assert_eq!(own(&p), [0.5, 4.0, 4.5, 24.0]);
        }
        let all = calls();
        assert!(all.contains(&format!("launch {blocks}x256 ticks 0 + 4")), "{all:?}");
        assert_eq!(all.contains(&"together".to_owned()), parts > 1);
        assert!(all.contains(&format!("fill {}", 128 * teams)), "a counter for each team: {all:?}");
        // Another owner's state is another.
        run(&launcher, (2, true), 1, 0).expect("no failure");
        run(&launcher, (1, false), 5, 4).expect("no failure");
        assert_eq!(state(&launcher, 2, 1), [(8.0, 40.0, 4)]);
        assert_eq!(state(&launcher, 1, 5)[4], (80.0, 400.0, 8));
        assert!(!calls().contains(&"write 128".to_owned()), "constants are there already");
        launcher.forget(1);
        let mut room = vec![0; STRIDE as usize];
        assert_eq!(launcher.fetch(1, &mut room).expect_err("forgotten").code, "E0871");
        assert!(run(&launcher, (1, false), 5, 8).expect_err("forgotten").message.contains("not there"));
        drop(launcher);
        assert!(fake(|f| f.memory.is_empty() && f.events == 0), "all is given back");
        drop(turn);
    }
}

#[test]
fn blocks_that_cannot_run_at_the_same_time_are_refused() {
    let (d, _turn) = driver(1, (9, 0));
    let launcher = launcher(&d, plan(7));
    for e in [launcher.fits().expect_err("too many"), run(&launcher, (1, true), 1, 0).expect_err("too many")] {
        assert_eq!(e.code, "E0873");
        assert!(e.message.contains("7 blocks of 256 threads") && e.message.contains("6 of these"), "{e:?}");
        assert!(e.hint.is_some_and(|h| h.contains("--blocks 6")));
    }
}

#[test]
fn what_does_not_fit_the_plan_is_refused() {
    let (d, _turn) = driver(1, (9, 0));
    let launcher = launcher(&d, plan(1));
    let refuses = |stride: u64, consts: usize, host: &[(bool, usize)]| {
        let (arenas, consts) = (vec![0; stride as usize], vec![0; consts]);
        let mut all: Vec<(bool, Vec<u8>)> = host.iter().map(|(read, n)| (*read, vec![0; *n])).collect();
        let mut host: Vec<Array<'_>> = Vec::new();
        for (read, all) in &mut all {
            host.push(if *read { Array::Read(all) } else { Array::Written(all) });
        }
        let (owner, changed, samples, first_tick, ticks) = (1, true, 1, 0, 1);
        let (arenas, consts, host) = (&arenas[..], &consts[..], &mut host[..]);
        let batch = Batch { owner, changed, arenas, stride, samples, consts, host, first_tick, ticks };
        let e = launcher.run(batch).expect_err("refused");
        assert!(e.code == "E0871" && e.message.contains("does not fit the plan"), "{e:?}");
    };
    let (read, written) = ((true, 8), (false, 8));
    refuses(192, 128, &[read, written, written]);
    refuses(256, 64, &[read, written, written]);
    refuses(256, 128, &[read, written]);
    refuses(256, 128, &[read, written, (false, 4)]);
    refuses(256, 128, &[written, written, written]);
    refuses(256, 128, &[(true, 4), written, written]);
    assert!(!calls().iter().any(|c| c.starts_with("launch")));
}

#[test]
fn devices_that_do_not_suit_are_named() {
    let (d, turn) = driver(0, (8, 0));
    let e = Cuda::open(d, None).err().expect("no device");
    assert_eq!((e.code, e.message.as_str()), ("E0870", "no graphics processor to run on: the driver has no device"));
    assert!(e.hint.is_some_and(|h| h.contains("--target cpu")));
    drop(turn);
    let (d, turn) = driver(1, (8, 0));
    drop(Cuda::open(d.clone(), Some("fake")).expect("a device of this name"));
    drop(Cuda::open(d.clone(), Some("CUDA")).expect("a device of this kind"));
    let e = Cuda::open(d, Some("Real")).err().expect("no device");
    assert!(e.code == "E0870" && e.message.contains("\"Real\", but Fake 100 (cuda"), "{e:?}");
    drop(turn);
    let (d, turn) = driver(1, (7, 5));
    let e = Cuda::open(d, None).expect("a device").choose(&["sm_80", "sm_90"]).expect_err("an old one");
    assert!(e.code == "E0870" && e.message.contains("7.5") && e.message.contains("sm_80, sm_90"), "{e:?}");
    drop(turn);
    let (d, turn) = driver(1, (9, 0));
    assert_eq!(Cuda::open(d, None).expect("a device").choose(&["sm_80", "sm_90"]).expect("both"), "sm_90");
    drop(turn);
    let (d, _turn) = driver(1, (8, 0));
    fake(|f| f.fails = "init");
    let e = Cuda::open(d, None).err().expect("a driver that fails");
    assert!(e.code == "E0870" && e.message.contains("cuInit: CUDA_ERROR_ILLEGAL_ADDRESS"), "{e:?}");
}

#[test]
fn failures_have_the_name_that_the_driver_gives_them() {
    let (d, turn) = driver(1, (8, 0));
    let mut cuda = Cuda::open(d.clone(), None).expect("a device");
    let e = cuda.take(&plan(1), b"nonsense").expect_err("no code");
    assert!(e.code == "E0871" && e.message.contains("CUDA_ERROR_INVALID_PTX: line 1: nonsense"), "{e:?}");
    for code in [b"\xff\xfe", b"p\0"] {
        assert_eq!(cuda.take(&plan(1), code).expect_err("no text").code, "E0871");
    }
    let mut other = plan(1);
    other.symbol = "sub".to_owned();
    let e = Cuda::open(d.clone(), None).expect("a device").take(&other, b"ptx").expect_err("no such program");
    assert!(e.message.contains("cuModuleGetFunction of sub: CUDA_ERROR_NOT_FOUND"), "{e:?}");
    let empty = Launcher::new(plan(1), Box::new(Cuda::open(d, None).expect("a device"))).expect("a plan");
    assert!(run(&empty, (1, true), 1, 0).expect_err("no code").message.contains("no code is loaded"));
    drop((empty, cuda, turn));
    for (call, text) in [
        ("allocate", "cuMemAlloc of 192 bytes: CUDA_ERROR_OUT_OF_MEMORY"),
        ("launch", "cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("wait", "cuEventSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("read", "cuMemcpyDtoH: CUDA_ERROR_ILLEGAL_ADDRESS"),
    ] {
        let (d, _turn) = driver(1, (8, 0));
        let launcher = launcher(&d, plan(1));
        fake(|f| f.fails = call);
        let e = run(&launcher, (1, true), 1, 0).expect_err("a failure");
        assert_eq!(e.code, "E0871");
        assert!(e.message.contains(text), "{e:?}");
        // What is then in memory is nobody's state.
        fake(|f| f.fails = "");
        assert!(run(&launcher, (1, false), 1, 4).expect_err("no state").message.contains("not there"));
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
