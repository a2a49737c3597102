//! Programs: by hand, and compiled by two compilers from `programs/neurons.c`.

use nc_armv7em::{Bus, Cpu, Flags, NoBus, Op, Stop, Write, decode_one};

const CODE: usize = 0x1000;

fn core(at: u32, code: &[u16]) -> Cpu {
    let mut cpu = Cpu::new(0x20000, CODE);
    let bytes: Vec<u8> = code.iter().flat_map(|h| h.to_le_bytes()).collect();
    assert!(cpu.load(at, &bytes));
    cpu.set_pc(at);
    cpu
}

fn run(code: &[u16]) -> (Cpu, Stop) {
    let mut cpu = core(0x100, code);
    let stop = cpu.run(&mut NoBus, 10_000);
    (cpu, stop)
}

fn image(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_loop_counts_and_stops_at_its_breakpoint() {
    // movs r0, #10; movs r1, #0; loop: adds r1, r1, r0; subs r0, #1; bne loop; bkpt #7
    let (cpu, stop) = run(&[0x200a, 0x2100, 0x1809, 0x3801, 0xd1fc, 0xbe07]);
    assert_eq!(stop, Stop::Breakpoint(7));
    assert_eq!((cpu.regs[0], cpu.regs[1], cpu.pc()), (0, 55, 0x10a));
    // Two moves, ten rounds of three, nine taken branches of two more, the breakpoint.
    assert_eq!((cpu.instructions, cpu.cycles), (33, 33 + 9 * 2));
}

#[test]
fn an_it_block_runs_what_its_conditions_say() {
    // cmp r0, #5; ite gt; movgt r1, #1; movle r1, #2; bkpt
    let code = [0x2805, 0xbfcc, 0x2101, 0x2102, 0xbe00];
    for (x, y) in [(9, 1), (5, 2), (0xffff_ffff, 2)] {
        let mut cpu = core(0x100, &code);
        cpu.regs[0] = x;
        assert_eq!(cpu.run(&mut NoBus, 100), Stop::Breakpoint(0));
        assert_eq!(cpu.regs[1], y, "{x:#x}");
    }
    // Moves in the block leave the flags alone.
    let mut cpu = core(0x100, &code);
    cpu.flags = Flags::from_bits(0);
    cpu.regs[0] = 4;
    cpu.run(&mut NoBus, 100);
    assert_eq!(cpu.flags.bits(), 0x8000_0000);
}

#[test]
fn a_product_is_added_with_one_rounding() {
    // vfma.f32 s0, s1, s2; vmla.f32 s3, s1, s2; bkpt
    let mut cpu = core(0x100, &[0xeea0, 0x0a81, 0xee40, 0x1a81, 0xbe00]);
    let (x, y, c) = (1.000_000_1f32, 1.000_000_1f32, -1.000_000_2f32);
    cpu.singles[1] = x.to_bits();
    cpu.singles[2] = y.to_bits();
    (cpu.singles[0], cpu.singles[3]) = (c.to_bits(), c.to_bits());
    assert_eq!(cpu.run(&mut NoBus, 100), Stop::Breakpoint(0));
    assert_eq!(cpu.singles[0], x.mul_add(y, c).to_bits());
    assert_eq!(cpu.singles[3], (x * y + c).to_bits());
    assert_ne!(cpu.singles[0], cpu.singles[3]);
    assert_eq!(cpu.fpscr & 0x9f, 16, "inexact");
}

#[test]
fn what_is_not_implemented_stops_with_address_and_name() {
    // ldrex r0, [r1]
    let (cpu, stop) = run(&[0xbf00, 0xe851, 0x0f00]);
    assert_eq!(stop, Stop::Unsupported { address: 0x102, encoding: (0xe851, 0x0f00), name: "an exclusive access" });
    assert_eq!(cpu.pc(), 0x102);
    assert_eq!(stop.to_string(), "an exclusive access (e851 0f00) at 0x102 is not implemented");
    // vadd.f64 d0, d0, d0
    let (_, stop) = run(&[0xee30, 0x0b00]);
    assert!(matches!(stop, Stop::Unsupported { name: "a double-precision instruction", .. }), "{stop}");
    // vmsr fpscr, r0 with another rounding mode
    let mut cpu = core(0x100, &[0xeee1, 0x0a10]);
    cpu.regs[0] = 3 << 22;
    let stop = cpu.run(&mut NoBus, 10);
    assert!(matches!(stop, Stop::Unsupported { address: 0x100, .. }), "{stop}");
}

#[test]
fn accesses_outside_memory_stop() {
    // ldr r0, [r1]
    for (at, what) in [(0x20000, "nothing is there"), (0x1ffff, "not aligned"), (0xffff_fffe, "not aligned")] {
        let mut cpu = core(0x100, &[0x6808]);
        cpu.regs[1] = at;
        assert_eq!(cpu.run(&mut NoBus, 10), Stop::Memory { address: 0x100, target: at, what });
    }
    // str r0, [r1] to code
    let mut cpu = core(0x100, &[0x6008]);
    cpu.regs[1] = 0x200;
    let stop = cpu.run(&mut NoBus, 10);
    assert_eq!(stop, Stop::Memory { address: 0x100, target: 0x200, what: "code cannot be written" });
    // Control that runs out of the code.
    let mut cpu = core(CODE as u32 - 2, &[0xbf00]);
    assert!(matches!(cpu.run(&mut NoBus, 10), Stop::Memory { what: "no code is there", .. }));
    // bx r1 to an even address
    let mut cpu = core(0x100, &[0x4708]);
    cpu.regs[1] = 0x200;
    assert!(matches!(cpu.run(&mut NoBus, 10), Stop::Memory { target: 0x200, .. }));
}

#[test]
fn a_bus_answers_where_memory_ends() {
    struct Registers(Vec<(u32, u32)>);
    impl Bus for Registers {
        fn read(&mut self, address: u32, size: u8) -> Option<u32> {
            (address == 0x4000_0000 && size == 4).then_some(41)
        }
        fn write(&mut self, address: u32, _: u8, value: u32) -> Write {
            self.0.push((address, value));
            if value == 42 { Write::Stop } else { Write::Done }
        }
    }
    // ldr r0, [r1]; str r0, [r1, #4]; adds r0, #1; str r0, [r1, #8]; b .
    let mut cpu = core(0x100, &[0x6808, 0x6048, 0x3001, 0x6088, 0xe7fe]);
    cpu.regs[1] = 0x4000_0000;
    let mut bus = Registers(Vec::new());
    assert_eq!(cpu.run(&mut bus, 100), Stop::Bus);
    assert_eq!(bus.0, [(0x4000_0004, 41), (0x4000_0008, 42)]);
    assert_eq!(cpu.pc(), 0x108);
}

/// The program of `neurons.c` in Rust.
fn neurons(n: u32, v: &mut [f32], input: &[f32]) -> [u32; 6] {
    let (mut spikes, mut hash, mut quotients, mut cases, mut sum) = (0u32, 1u32, 0u32, 1u32, 0i64);
    for _ in 0..50 {
        let mut spiked = vec![0u32; n as usize];
        for (k, s) in spiked.iter_mut().enumerate() {
            let x = v[k].mul_add(0.9375, input[k]);
            *s = u32::from(x >= 1.0);
            v[k] = if x >= 1.0 { x - 1.0 } else { x };
            spikes += *s;
        }
        for k in 0..n {
            hash = (hash ^ spiked[k as usize]).wrapping_mul(16_777_619);
            quotients = quotients.wrapping_add(hash / (k + 1)).wrapping_add((hash as i32 / (k as i32 + 2)) as u32);
            sum += i64::from(hash as i32) * i64::from(k);
            let (c, x) = (hash >> 5, cases.wrapping_add(k));
            cases = match c % 7 {
                0 => x.wrapping_add(3),
                1 => x.wrapping_mul(5),
                2 => x ^ 0x1234_5678,
                3 => x.rotate_right(3),
                4 => !x,
                5 => x & 0x00ff_00ff,
                _ => (x | 1).leading_zeros(),
            };
        }
    }
    [spikes, hash, quotients, sum as u32, (sum >> 32) as u32, cases]
}

#[test]
fn compiled_programs_compute_what_the_host_computes() {
    let n = 60u32;
    let mut v: Vec<f32> = (0..n).map(|k| k as f32 / 61.0).collect();
    let input: Vec<f32> = (0..n).map(|k| 0.05 + k as f32 * 0.013).collect();
    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let (v_before, input_bytes) = (bytes(&v), bytes(&input));
    let expected = neurons(n, &mut v, &input);
    for hex in [include_str!("programs/neurons.gcc.hex"), include_str!("programs/neurons.clang.hex")] {
        let mut cpu = Cpu::new(0x20000, CODE);
        assert!(cpu.load(0x100, &image(hex)) && cpu.load(0x8000, &v_before) && cpu.load(0x9000, &input_bytes));
        cpu.set_pc(0x100);
        cpu.regs[..4].copy_from_slice(&[n, 0x8000, 0x9000, 0xa000]);
        cpu.regs[13] = 0x20000;
        assert_eq!(cpu.run(&mut NoBus, 10_000_000), Stop::Breakpoint(1));
        let word = |k: usize| u32::from_le_bytes(cpu.memory()[0xa000 + 4 * k..][..4].try_into().unwrap());
        assert_eq!([0, 1, 2, 3, 4, 5].map(word), expected);
        assert_eq!(&cpu.memory()[0x8000..][..240], bytes(&v).as_slice());
        assert!(cpu.instructions > 50_000 && cpu.cycles > cpu.instructions && cpu.cycles < 4 * cpu.instructions);
    }
}

#[test]
fn decoding_takes_any_halfwords() {
    // No panic, and what is decoded says its true length.
    for first in 0..=u16::MAX {
        for second in [0, 0x8000, 0xf000, 0x0a10, 0xffff, first.rotate_left(7)] {
            let inst = decode_one(first, Some(second), 0x100);
            assert_eq!(inst.len, if first >= 0xe800 { 2 } else { 1 }, "{first:04x}");
            if inst.op == Op::Unsupported {
                let mut cpu = core(0x100, &[first, second]);
                assert!(matches!(cpu.run(&mut NoBus, 1), Stop::Unsupported { .. }), "{first:04x} {second:04x}");
            }
        }
    }
}
