//! Holds the lowered program against the graph interpreter, bit for bit, on the checked kernel interpreter.

use nc_compiler::{Options, compile};
use nc_ir::graph::Module;
use nc_ir::graph::expand;
use nc_ir::interp::Interpreter;
use nc_ir::kernel::interp::{HostArray, Machine, Options as Checks};
use nc_ir::kernel::{Role, Scalar};
use nc_ir::tensor::Tensor;
use nc_ir::types::TensorType;

/// Runs `module` both ways for `ticks` and says where they first differ.
#[allow(dead_code, reason = "tests of representations have options of their own")]
pub fn disagreement(
    module: &Module,
    parts: u32,
    ticks: u64,
    input: impl FnMut(u64, &str, &TensorType) -> Tensor,
) -> Result<(), String> {
    disagreement_with(module, &Options { parts, ..Options::default() }, ticks, input)
}

/// The same with other options.
pub fn disagreement_with(
    module: &Module,
    options: &Options,
    ticks: u64,
    mut input: impl FnMut(u64, &str, &TensorType) -> Tensor,
) -> Result<(), String> {
    let compiled = compile(module.clone(), options).map_err(|e| format!("compile: {e:?}"))?;
    let mut reference = Interpreter::new(compiled.module.clone()).map_err(|e| format!("interpreter: {e}"))?;
    let checks = Checks { check: true, ..Checks::default() };
    let mut machine = Machine::new(&compiled.program, checks).map_err(|e| format!("machine: {e}"))?;
    let layout = compiled.layout.clone();
    let solved = compiled.module.clone();
    for t in 0..ticks {
        let inputs: Vec<Tensor> = solved.inputs.iter().map(|p| input(t, &p.name, solved.graph.ty(p.value))).collect();
        let want = reference.step(&inputs).map_err(|e| format!("tick {t}: {e}"))?;
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let mut n_in = 0;
        for b in &layout.host {
            let buffer = &compiled.program.buffers[b.index()];
            let bytes = buffer.len as usize * buffer.elem.size();
            frames.push(match buffer.role {
                Role::Input => {
                    n_in += 1;
                    inputs[n_in - 1].bytes().to_vec()
                }
                Role::Probe { every } if t % every != 0 => Vec::new(),
                _ => vec![0; bytes],
            });
        }
        let mut host: Vec<HostArray<'_>> = frames
            .iter_mut()
            .enumerate()
            .map(|(k, f)| match compiled.program.buffers[layout.host[k].index()].role {
                Role::Input => HostArray::In(f),
                _ => HostArray::Out(f),
            })
            .collect();
        machine.run(t, 1, &mut host).map_err(|f| format!("tick {t}: fault: {f}"))?;
        drop(host);
        let (mut n_out, mut n_probe) = (0, 0);
        for (k, b) in layout.host.iter().enumerate() {
            let buffer = &compiled.program.buffers[b.index()];
            let expected = match buffer.role {
                Role::Output => {
                    n_out += 1;
                    Some(&want.outputs[n_out - 1])
                }
                Role::Probe { .. } => {
                    n_probe += 1;
                    want.probes.iter().find(|p| p.0 == n_probe - 1).map(|p| &p.1)
                }
                _ => None,
            };
            if let Some(w) = expected {
                compare(t, &buffer.name, w, &frames[k])?;
            }
        }
        for (home, (name, w)) in compiled.states.iter().zip(reference.state()) {
            let nc_ir::kernel::abi::Place::Arena(at) = layout.buffers[home.buffer.index()] else {
                return Err(format!("state {name} is not in the arena"));
            };
            let bytes = &machine.arena()[at as usize..at as usize + w.bytes().len()];
            compare(t, name, w, bytes)?;
        }
    }
    Ok(())
}

fn compare(tick: u64, name: &str, want: &Tensor, got: &[u8]) -> Result<(), String> {
    let got = Tensor::from_bytes(want.dtype(), want.shape().to_vec(), got)
        .ok_or_else(|| format!("tick {tick}: {name} has {} bytes, not those of {}", got.len(), want.ty()))?;
    for k in 0..want.len() {
        let (w, g): (Option<Scalar>, Option<Scalar>) = (expand::load(want, k), expand::load(&got, k));
        if let (Some(w), Some(g)) = (w, g)
            && !w.same(g)
        {
            return Err(format!("tick {tick}: {name}[{k}] is {g:?}, the interpreter gives {w:?}"));
        }
    }
    Ok(())
}
