//! Runs whole programs on Unicorn (qemu's Cortex-M4) and on `nc-armv7em`: their objects by LLVM must leave what the
//! interpreter of kernels leaves, to the bit.
//!
//! `cargo run --release --features llvm --bin programs -- [CASES] [FIRST] [FILE..]` runs every operation, every pattern of
//! the 16-bit floats, so many random programs, and the programs in files that `nc compile --emit kernels` wrote. Where the
//! solved graph of a model lies beside its kernels (`--emit solved,kernels`), the interpreter of graphs runs it on the
//! same inputs, and its outputs must be those of the kernels as well. `models.sh` does that for the examples and file
//! tests.

#[path = "../../../backends/mlir/tests/core/mod.rs"]
mod core;
#[path = "../../../backends/mlir/tests/common/operations.rs"]
mod operations;

use core::Image;
use nc_armv7em::{Cpu, NoBus, Stop};
use nc_ir::Tensor;
use nc_ir::graph::Module;
use nc_ir::graph::testing::same as same_elements;
use nc_ir::interp::Interpreter;
use nc_ir::kernel::Role;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::interp;
use nc_ir::kernel::testing::{Case, Choices};
use std::path::Path;
use std::sync::Arc;
use unicorn_engine::unicorn_const::{Arch, Mode, Prot};
use unicorn_engine::{ArmCpuModel, RegisterARM, Unicorn};

/// Memory after a run on Unicorn.
fn emulated(image: &Image) -> Result<Vec<u8>, String> {
    let failed = |e| format!("unicorn: {e:?}");
    let mut uc = Unicorn::new(Arch::ARM, Mode::MCLASS | Mode::THUMB).map_err(failed)?;
    uc.ctl_set_cpu_model(ArmCpuModel::CORTEX_M4 as i32).map_err(failed)?;
    let size = image.memory.len().next_multiple_of(0x1000);
    uc.mem_map(0, size as u64, Prot::ALL).map_err(failed)?;
    // The first floating-point instruction makes a context and with it a new fpscr: vmov.f32 s0, s0.
    uc.mem_write(0, &0x0a40_eeb0u32.to_le_bytes()).map_err(failed)?;
    uc.emu_start(1, 4, 0, 1).map_err(failed)?;
    uc.mem_write(0, &image.memory).map_err(failed)?;
    uc.ctl_remove_cache(0, size as u64).map_err(failed)?;
    let registers = [
        (RegisterARM::R0, image.context),
        (RegisterARM::R2, 0),
        (RegisterARM::R3, 0),
        (RegisterARM::SP, image.stack),
        // Address 2 in Thumb state, where Unicorn is told to stop.
        (RegisterARM::LR, 3),
        (RegisterARM::FPSCR, 0),
    ];
    for (r, x) in registers {
        uc.reg_write(r, u64::from(x)).map_err(failed)?;
    }
    uc.emu_start(u64::from(image.entry) | 1, 2, 0, 0).map_err(failed)?;
    let pc = uc.reg_read(RegisterARM::PC).map_err(failed)?;
    if pc & !1 != 2 {
        return Err(format!("unicorn stopped at {pc:#x}"));
    }
    uc.mem_read_as_vec(0, image.memory.len()).map_err(failed)
}

/// Memory after a run on the simulator, and how many instructions it took.
fn simulated(image: &Image) -> Result<(Vec<u8>, u64), String> {
    let mut cpu = Cpu::new(image.memory.len(), image.code_bytes as usize);
    cpu.load(0, &image.memory);
    cpu.regs[0] = image.context;
    cpu.regs[13] = image.stack;
    cpu.regs[14] = 1;
    cpu.set_pc(image.entry);
    match cpu.run(&mut NoBus, u64::MAX >> 1) {
        Stop::Breakpoint(0) => Ok((cpu.memory().to_vec(), cpu.instructions)),
        other => Err(format!("the simulator: {other}")),
    }
}

/// Runs a case everywhere; instructions executed, or what is wrong.
fn same(case: &Case) -> Result<u64, String> {
    let want = case.run(interp::Options::default()).map_err(|e| e.to_string())?;
    let layout = Layout::of(&case.program).ok_or("too large")?;
    let image = Image::of(case, &layout);
    let (memory, instructions) = simulated(&image)?;
    for (who, memory) in [("unicorn", emulated(&image)?), ("the simulator", memory)] {
        if let Some(d) = want.difference(&image.results(&memory, case, &layout)) {
            return Err(format!("{who}: {d}"));
        }
    }
    Ok(instructions)
}

/// Ticks that a program from a file runs for.
const TICKS: u64 = 20;

/// A program from a file, on random inputs. It computes what its model does, if that is there.
fn from_file(path: &str) -> Result<Case, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let program = nc_ir::kernel::text::parse(&text).map_err(|e| format!("{path}: {e}"))?;
    let case = core::on_random_inputs(program, TICKS);
    if let Ok(text) = std::fs::read_to_string(Path::new(path).with_extension("solved.graph")) {
        let module = nc_ir::graph::text::parse(&text).map_err(|e| format!("the graph of {path}: {e:?}"))?;
        of_model(&case, &module)?;
    }
    Ok(case)
}

/// Holds the kernels of a case, in their interpreter, against the model's graph in that of graphs.
fn of_model(case: &Case, module: &Module) -> Result<(), String> {
    let layout = Layout::of(&case.program).ok_or("too large")?;
    let named = |name: &str| {
        let at = layout.host.iter().position(|b| case.program.buffers[b.index()].name == name);
        at.ok_or_else(|| format!("the kernels have no array `{name}`"))
    };
    let inputs = module.inputs.iter().map(|p| named(&p.name)).collect::<Result<Vec<_>, _>>()?;
    let mut graph = Interpreter::new(Arc::new(module.clone())).map_err(|e| e.message)?;
    let ports = module.outputs.iter().map(|p| &p.name).chain(module.probes.iter().map(|p| &p.name));
    let mut given: Vec<(&String, Vec<u8>)> = ports.map(|name| (name, Vec::new())).collect();
    for t in 0..case.ticks as usize {
        let frame = |(port, at): (&nc_ir::graph::Port, &usize)| {
            let ty = module.graph.ty(port.value);
            let shape: Vec<usize> = ty.extents().unwrap_or_default().iter().map(|n| *n as usize).collect();
            let bytes = shape.iter().product::<usize>() * ty.dtype.size();
            let all = &case.host[*at];
            let one = all.get(t * bytes..(t + 1) * bytes).and_then(|b| Tensor::from_bytes(ty.dtype, shape, b));
            one.ok_or_else(|| format!("`{}` has no frame {t}", port.name))
        };
        let frames = module.inputs.iter().zip(&inputs).map(frame).collect::<Result<Vec<_>, _>>()?;
        let step = graph.step(&frames).map_err(|e| e.message)?;
        step.outputs.iter().zip(&mut given).for_each(|(x, (_, all))| all.extend(x.bytes()));
        let outputs = module.outputs.len();
        step.probes.iter().for_each(|(k, x)| given[outputs + k].1.extend(x.bytes()));
    }
    let kernels = case.run(interp::Options::default()).map_err(|e| e.to_string())?;
    // A state can have the name of a probe.
    let lasts = |b: &&nc_ir::kernel::Buffer| matches!(b.role, Role::State(_) | Role::Output | Role::Probe { .. });
    let written: Vec<_> = case.program.buffers.iter().filter(lasts).collect();
    for (name, bytes) in given {
        let (_, elem, ours) = (written.iter().zip(&kernels.buffers))
            .find(|(b, _)| b.name == *name && !matches!(b.role, Role::State(_)))
            .map(|(_, x)| x)
            .ok_or_else(|| format!("no array `{name}` comes out"))?;
        let vector = |b: &[u8]| Tensor::from_bytes(*elem, vec![b.len() / elem.size()], b);
        match (vector(&bytes), vector(ours)) {
            (Some(a), Some(b)) if same_elements(&a, &b) => {}
            _ => return Err(format!("`{name}` of the kernels is not that of the graph")),
        }
    }
    Ok(())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| arguments.next().map_or(usual, |a| a.parse().expect("a number"));
    let (cases, first) = (number(200), number(0));
    let mut work: Vec<(String, Result<Case, String>)> = Vec::new();
    let alone = |program| Ok(Case { program, ticks: 1, host: Vec::new() });
    work.push(("every operation".into(), alone(operations::program(2000, &mut Choices::from_seed(7)))));
    work.push(("16-bit floats".into(), alone(operations::halves())));
    work.extend((first..first + cases).map(|s| (format!("seed {s}"), Ok(Case::from_seed(s).with_parts(1)))));
    work.extend(arguments.map(|path| (path.clone(), from_file(&path))));
    let (mut ran, mut instructions, mut bad) = (0, 0, 0);
    for (name, case) in work {
        match case.and_then(|c| same(&c)) {
            Ok(n) => {
                if !name.starts_with("seed") {
                    println!("{name}: equal, {n} instructions");
                }
                ran += 1;
                instructions += n;
            }
            Err(e) => {
                println!("{name}: {e}");
                bad += 1;
            }
        }
    }
    println!(
        "{ran} programs, {instructions} instructions, equal on Unicorn, the simulator and the interpreter; {bad} not"
    );
    std::process::exit(i32::from(bad > 0));
}
