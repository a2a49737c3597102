//! A device of Vulkan in earnest: Mesa's software device where it is installed. The program is `add.comp`.

use nc_gpu::{Buffer, Device as _, Launcher, Plan, Role, VERSION, VULKAN, Vulkan, vulkan};
use nc_ir::kernel::abi::{Array, Batch, Remote as _};

const CODE: &[u8] = include_bytes!("add.spv");
const STRIDE: u64 = 320;

/// The device, or the reason for which a test is skipped.
fn device(test: &str) -> Option<Vulkan> {
    match Vulkan::open(Some("llvmpipe")) {
        Ok(v) => Some(v),
        Err(e) => {
            eprintln!("skipped: {test}: {}", e.message);
            assert_eq!(e.code, "E0870");
            None
        }
    }
}

fn plan() -> Plan {
    let buffer =
        |name: &str, elem: &str, role, at| Buffer { name: name.to_owned(), elem: elem.to_owned(), len: 2, role, at };
    Plan {
        version: VERSION,
        model: "M".to_owned(),
        dt: None,
        parts: 1,
        symbol: "main".to_owned(),
        threads: vulkan::THREADS,
        arena_bytes: 256,
        const_bytes: 128,
        inputs: Vec::new(),
        outputs: Vec::new(),
        probes: Vec::new(),
        buffers: vec![
            buffer("w", "f32", Role::Const, 0),
            buffer("s", "f32", Role::State, 0),
            buffer("n", "i64", Role::State, 64),
            buffer("x", "f32", Role::Input, 0),
            buffer("y", "f32", Role::Output, 1),
            buffer("p", "f32", Role::Probe(2), 2),
        ],
        lists: Vec::new(),
        states: Vec::new(),
        lines: Vec::new(),
        kernels: vec!["add to the state".to_owned()],
        binaries: Vec::new(),
        course: None,
        proof: None,
    }
}

fn bytes(all: &[f32]) -> Vec<u8> {
    all.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(all: &[u8]) -> Vec<f32> {
    let (each, _) = all.as_chunks::<4>();
    each.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Runs ticks on inputs that are the number of the tick plus 1 times that of the sample plus 1; from zeros if `changed`. Output
/// and probe.
fn run(launcher: &Launcher, changed: bool, samples: u64, first: u64, ticks: u64) -> (Vec<f32>, Vec<f32>) {
    let consts = bytes(&[&[0.5, 2.0][..], &[0.0; 30]].concat());
    let x: Vec<f32> = (first..first + ticks)
        .flat_map(|t| (0..2 * samples).map(move |k| (t + 1) as f32 * (k / 2 + 1) as f32))
        .collect();
    let frames = (first + ticks).div_ceil(2) - first.div_ceil(2);
    let (x, mut y, mut p) =
        (bytes(&x), vec![0; (8 * samples * ticks) as usize], vec![0; (8 * samples * frames) as usize]);
    let batch = Batch {
        owner: 1,
        changed,
        arenas: &vec![0; (STRIDE * samples) as usize],
        stride: STRIDE,
        samples,
        consts: &consts,
        host: &mut [Array::Read(&x), Array::Written(&mut y), Array::Written(&mut p)],
        first_tick: first,
        ticks,
    };
    launcher.run(batch).expect("no failure");
    (floats(&y), floats(&p))
}

/// What [`run`] is to give after all ticks before `first`.
fn expected(samples: u64, first: u64, ticks: u64) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut p) = (Vec::new(), Vec::new());
    for t in first..first + ticks {
        // Sums of whole numbers, exact in 24 bits.
        let sum = ((t + 1) * (t + 2) / 2) as f32;
        let frame = (0..samples).flat_map(|s| [0.5, 2.0].map(|w| w * sum * (s + 1) as f32));
        y.extend(frame.clone());
        if t % 2 == 0 {
            p.extend(frame);
        }
    }
    (y, p)
}

#[test]
fn launches_are_cut_into_pieces_and_give_the_same() {
    let Some(first) = device("launches_are_cut_into_pieces_and_give_the_same") else { return };
    // Code for a device that is trusted with less runs tick by tick.
    for (staged, arch) in [(false, VULKAN[0]), (false, VULKAN[1]), (true, VULKAN[1])] {
        let mut v = first.again().expect("the device once more");
        if staged {
            v.stage();
        }
        v.take(&plan(), arch, CODE).expect("code");
        assert!(v.name().starts_with("llvmpipe") && v.name().contains("(vulkan 1."), "{}", v.name());
        let launcher = Launcher::new(plan(), Box::new(v)).expect("a plan");
        launcher.fits().expect("one block");
        assert_eq!(run(&launcher, true, 5, 0, 100), expected(5, 0, 100), "staged: {staged}, {arch}");
        assert!(launcher.seconds().is_some_and(|s| s > 0.0));
        assert_eq!(run(&launcher, false, 5, 100, 41), expected(5, 100, 41));
        assert_eq!(run(&launcher, false, 5, 141, 1), expected(5, 141, 1));
        let mut state = vec![0; 5 * STRIDE as usize];
        launcher.fetch(1, &mut state).expect("state");
        let last = &state[4 * STRIDE as usize..];
        let sum = (142 * 143 / 2) as f32;
        assert_eq!((floats(&last[..8]), last[64]), (vec![2.5 * sum, 10.0 * sum], 142));
    }
}

#[test]
fn bytes_come_back_through_memory_of_either_kind() {
    let Some(mut v) = device("bytes_come_back_through_memory_of_either_kind") else { return };
    for staged in [false, true] {
        if staged {
            v.stage();
        }
        // Several pieces of what passes at a time, the last of them odd.
        let all: Vec<u8> = (0..(19u32 << 20) + 3).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let size = all.len() as u64;
        let at = v.allocate(size + 5).expect("memory");
        let mut back = vec![0; all.len()];
        // SAFETY: all is inside of what is allocated.
        unsafe {
            v.write(at + 5, &all).expect("a copy");
            v.read(at + 5, &mut back).expect("a copy");
            assert!(back == all, "staged: {staged}");
            for (begin, bytes) in [(1, 9), (4, 4), (3, 1), (8, 0), (5, 2), (100, 1 << 20)] {
                v.zero(at + 5 + begin, bytes).expect("zeros");
                v.read(at + 5, &mut back).expect("a copy");
                let end = begin + bytes;
                let zeros = &back[begin as usize..end as usize];
                assert!(zeros.iter().all(|b| *b == 0), "{begin} + {bytes}");
                assert_eq!(back[end as usize], all[end as usize], "{begin} + {bytes}");
                v.write(at + 5, &all).expect("a copy");
            }
            // Nothing outside of it.
            assert!(v.write(at + size, &[0; 9]).expect_err("outside").contains("not allocated"));
            v.release(at);
            assert!(v.read(at, &mut [0]).expect_err("released").contains("not allocated"));
        }
        let e = v.allocate(1 << 60).expect_err("more than there is");
        assert!(e.contains("can be allocated at once"), "{e}");
    }
}

#[test]
fn code_that_is_none_is_refused() {
    let Some(mut v) = device("code_that_is_none_is_refused") else { return };
    let mut swapped = CODE.to_vec();
    swapped[..4].reverse();
    for code in [&CODE[..CODE.len() - 1], &swapped, b"", b"\x03\x02", b".version 8.0\n"] {
        let e = v.take(&plan(), VULKAN[1], code).expect_err("no code");
        assert!(e.code == "E0871" && e.message.contains("not words of SPIR-V"), "{e:?}");
    }
    assert!(v.take(&plan(), "sm_80", CODE).expect_err("another's code").message.contains("code for sm_80"));
    let mut other = plan();
    other.threads = 1 << 20;
    assert!(v.take(&other, VULKAN[1], CODE).expect_err("too many threads").message.contains("1048576 threads"));
    other = plan();
    other.parts = 3;
    let e = v.take(&other, VULKAN[1], CODE).expect_err("blocks that wait");
    assert!(e.code == "E0873" && e.message.contains("3 blocks"), "{e:?}");
    assert!(e.hint.is_some_and(|h| h.contains("--blocks 1")));
    let empty = Launcher::new(plan(), Box::new(v)).expect("a plan");
    let batch = Batch {
        owner: 1,
        changed: true,
        arenas: &[0; 256],
        stride: 256,
        samples: 1,
        consts: &[0; 128],
        host: &mut [Array::Read(&[0; 8]), Array::Written(&mut [0; 8]), Array::Written(&mut [0; 8])],
        first_tick: 0,
        ticks: 1,
    };
    assert!(empty.run(batch).expect_err("no code").message.contains("no code is loaded"));
}

#[test]
fn devices_that_are_not_there_are_named() {
    let e = Vulkan::open(Some("no such device")).err().expect("no device");
    assert_eq!(e.code, "E0870");
    assert!(e.message.starts_with("no graphics processor to run on: "), "{e:?}");
    assert!(e.message.contains("loader of Vulkan") || e.message.contains("no device"), "{e:?}");
    if device("devices_that_are_not_there_are_named").is_some() {
        assert!(e.message.contains("\"no such device\"") && e.message.contains("llvmpipe"), "{e:?}");
    }
}
