//! How many instructions a second the simulator executes, counting cycles: the program of `tests/programs/neurons.c`.

use nc_armv7em::{Cpu, NoBus, Stop};
use std::time::Instant;

fn main() {
    for (name, hex) in [
        ("gcc", include_str!("../tests/programs/neurons.gcc.hex")),
        ("clang", include_str!("../tests/programs/neurons.clang.hex")),
    ] {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let image: Vec<u8> = digits
            .chunks(2)
            .filter_map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap_or_default(), 16).ok())
            .collect();
        let mut cpu = Cpu::new(0x20000, 0x1000);
        cpu.load(0x100, &image);
        let start = Instant::now();
        for _ in 0..500 {
            cpu.set_pc(0x100);
            cpu.regs[..4].copy_from_slice(&[60, 0x8000, 0x9000, 0xa000]);
            cpu.regs[13] = 0x20000;
            assert_eq!(cpu.run(&mut NoBus, 1 << 40), Stop::Breakpoint(1));
        }
        let s = start.elapsed().as_secs_f64();
        println!(
            "{name}: {:.0} M instructions in {s:.2} s, {:.0} M/s, {:.2} cycles each",
            cpu.instructions as f64 / 1e6,
            cpu.instructions as f64 / s / 1e6,
            cpu.cycles as f64 / cpu.instructions as f64
        );
    }
}
