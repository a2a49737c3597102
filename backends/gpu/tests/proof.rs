//! The proof of a device's arithmetic, with the interpreter of kernels in the place of devices: one that is right, and ones
//! that are wrong in one operation.

use nc_gpu::proof::{Proof, Wrong};
use nc_gpu::{Host, Launcher};
use nc_ir::kernel::abi::{Code as _, Place, RunContext};
use nc_ir::kernel::interp::{Interpreted, Options};
use nc_ir::kernel::verify::verify;
use nc_ir::kernel::{Scalar, ScalarOp};

/// What a device makes of its memory after it ran the proof: nothing if it is right.
type Spoil = Box<dyn Fn(&mut dyn FnMut(&str, &dyn Fn(usize, &mut [u8]))) + Send>;

/// Runs the proof on an interpreter that spoils buffers: it is given names of formulas, and what becomes of each element.
fn run(spoil: Spoil) -> Option<Wrong> {
    let proof = Proof::new().expect("a program");
    let plan = proof.plan("nc_run", 512);
    let (program, layout) = (proof.program.clone(), proof.layout.clone());
    let code = Interpreted::new(&program, Options::default()).expect("a program that holds");
    let launch = move |_: (u32, u32), words: &[u64]| {
        let arena = words[0] as *mut u8;
        let stride = words[7] as usize;
        for sample in 0..words[6] as usize {
            // SAFETY: the arenas lie side by side.
            let arena = unsafe { arena.add(sample * stride) };
            let context = RunContext {
                arena,
                consts: words[1] as *const u8,
                host: std::ptr::null(),
                first_tick: words[4],
                ticks: words[5],
                barrier: None,
                barrier_arg: std::ptr::null_mut(),
                data: code.data(),
            };
            // SAFETY: the launcher names memory of the program, which has no arrays of the host.
            unsafe { code.entry()(&context, 0) };
            if let Some(e) = code.take_fault() {
                return Err(e);
            }
            spoil(&mut |name, change| {
                let n = program.buffers.iter().position(|b| b.name == name).expect("a formula of this name");
                let (b, Place::Arena(at)) = (&program.buffers[n], layout.buffers[n]) else { panic!("{name}") };
                for k in 0..b.len as usize {
                    let size = b.elem.size();
                    // SAFETY: the buffer lies there.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(arena.add(at as usize + k * size), size) };
                    change(sample * b.len as usize + k, bytes);
                }
            });
        }
        Ok(())
    };
    // SAFETY: the interpreter keeps to the memory of the program.
    let host = unsafe { Host::new(1, launch) };
    proof.check(&Launcher::new(plan, Box::new(host)).expect("a plan"), false).expect("no failure")
}

#[test]
fn the_interpreter_proves_itself() {
    let proof = Proof::new().expect("a program");
    assert_eq!(verify(&proof.program), Ok(()));
    assert_eq!(proof.summary(), Proof::new().expect("the same").summary());
    assert_eq!(run(Box::new(|_| ())), None);
}

#[test]
fn every_operation_is_in_it() {
    let text = nc_ir::kernel::text::print(&Proof::new().expect("a program").program);
    for op in ScalarOp::ALL {
        assert!(text.contains(&format!("= {} ", op.name())), "{op}");
    }
}

#[test]
fn one_wrong_result_is_found_and_named() {
    // Subnormals become zeros of their sign.
    let flush = |bytes: &mut [u8]| {
        let x = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        if x.is_subnormal() {
            bytes.copy_from_slice(&(0.0f32.copysign(x)).to_le_bytes());
        }
    };
    let wrong = run(Box::new(move |at| at("fmul.f32(a, b)", &|_, bytes| flush(bytes)))).expect("found");
    assert_eq!(wrong.what, "fmul.f32(a, b)");
    let (Scalar::F32(got), Scalar::F32(want)) = (wrong.got, wrong.want) else { panic!("{wrong:?}") };
    assert!(got == 0.0 && want.is_subnormal(), "{wrong:?}");
    let [Scalar::F32(a), Scalar::F32(b)] = wrong.operands[..] else { panic!("{wrong:?}") };
    assert_eq!(a * b, want);
    let e = wrong.refused("Some device");
    assert_eq!(e.code, "E0876");
    let text = format!("Some device computes wrong: fmul.f32(a, b) of {a:e} ({:#010x}), {b:e}", a.to_bits());
    assert!(e.message.starts_with(&text) && e.message.contains(&format!("gave {got:e}")), "{e:?}");
    assert!(e.hint.is_some_and(|h| h.contains("--device")));
    // The last place of one element, a comparison that is true for one NaN, an integer.
    for (name, at, bit) in [
        ("fdiv.f64(a, b)", 6143, 0),
        ("fadd.f32(fmul.f32(a, b), c)", 2000, 0),
        ("fne.f32(a, a)", 1, 0),
        ("f32 to f16", 3000, 0),
        ("i64_to_f32(a)", 6000, 0),
    ] {
        let spoil: Spoil = Box::new(move |f| {
            f(name, &|k, bytes| {
                if k == at {
                    bytes[0] ^= 1 << bit;
                }
            });
        });
        let wrong = run(spoil).unwrap_or_else(|| panic!("{name} is spoilt"));
        assert_eq!(wrong.what, name);
        assert!(!wrong.got.same(wrong.want));
    }
    // A loop that ended early.
    let spoil: Spoil = Box::new(|f| f("counts", &|k, bytes| bytes[0] -= u8::from(k == 5)));
    let wrong = run(spoil).expect("found");
    assert_eq!((wrong.what.as_str(), wrong.want), ("a sum in a loop", Scalar::I64(6)));
}
