//! One meaning: compiled code and the interpreter of kernels give the bits of the graph interpreter, for random modules,
//! as they are written and after all passes, split over one and two threads, in one call and in several. `NC_PROPTEST_CASES` says how many modules are tried.

use nc_compiler::cost::{Choice, Repr, Wishes};
use nc_compiler::{Compiled, Level, Options, compile, prepare};
use nc_ir::graph::Module;
use nc_ir::graph::testing::{Case, same};
use nc_ir::interp::Interpreter;
use nc_ir::kernel::abi::Code;
use nc_ir::kernel::interp::Interpreted;
use nc_ir::{Tensor, TensorType};
use nc_runtime::run::{Engine, Face, Frames, Image, LineHome, Machine, Parts, Port, Session, StateHome, entry_names};
use nc_tests::cases;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn extents(ty: &TensorType) -> Vec<usize> {
    ty.extents().expect("a generated module has known extents").into_iter().map(|n| n as usize).collect()
}

fn face_of(module: &Module) -> Face {
    let port = |name: &str, value, every| {
        let ty = module.graph.ty(value);
        Port { name: name.to_owned(), dtype: ty.dtype, shape: extents(ty), every }
    };
    Face {
        inputs: module.inputs.iter().map(|p| port(&p.name, p.value, 1)).collect(),
        outputs: module.outputs.iter().map(|p| port(&p.name, p.value, 1)).collect(),
        probes: module.probes.iter().map(|p| port(&p.name, p.value, p.every)).collect(),
    }
}

fn session(compiled: &Compiled, face: Face, code: Arc<dyn Code>) -> Session {
    let states = compiled.states.iter().map(|s| StateHome {
        name: s.name.clone(),
        dtype: s.ty.dtype,
        shape: extents(&s.ty),
        buffer: s.buffer,
    });
    let lines = compiled.lines.iter().map(|l| LineHome {
        name: l.name.clone(),
        dtype: l.ty.dtype,
        shape: extents(&l.ty),
        depth: l.depth,
        frames: l.frames,
        events: l.events,
    });
    let parts = Parts {
        face,
        program: compiled.program.clone(),
        layout: compiled.layout.clone(),
        engine: Engine::Code(code),
        states: states.collect(),
        lines: lines.collect(),
    };
    Session::new(Image::new(parts, 1 << 32).expect("parts of one model fit together")).expect("threads can be started")
}

/// What every tick gives: outputs, then the probes that are due.
type Trace = Vec<Vec<(String, Tensor)>>;

/// Outputs and final states of a module that no pass has touched but the solver.
fn interpret(module: Module, ticks: &[Vec<Tensor>]) -> (Trace, Vec<(String, Tensor)>) {
    let module = Arc::new(module);
    let mut interpreter = Interpreter::new(module.clone()).expect("a solved module can be interpreted");
    let mut trace = Trace::new();
    for inputs in ticks {
        let out = interpreter.step(inputs).expect("the inputs fit");
        let mut row: Vec<(String, Tensor)> = module.outputs.iter().map(|p| p.name.clone()).zip(out.outputs).collect();
        row.extend(out.probes.into_iter().map(|(k, t)| (module.probes[k].name.clone(), t)));
        trace.push(row);
    }
    let names: Vec<String> = module.states.iter().map(|s| s.name.clone()).collect();
    let entries = entry_names("state", names.iter().map(String::as_str));
    let states = entries.into_iter().zip(interpreter.state().into_iter().map(|(_, t)| t.clone())).collect();
    (trace, states)
}

/// Runs a machine in calls of `chunk` ticks.
fn run(machine: &mut dyn Machine, ticks: &[Vec<Tensor>], chunk: usize) -> Trace {
    let face = machine.face().clone();
    let mut trace = vec![Vec::new(); ticks.len()];
    let mut first = 0;
    for part in ticks.chunks(chunk) {
        let mut inputs = Vec::new();
        for (k, port) in face.inputs.iter().enumerate() {
            let mut frames = Frames::zeros(port.frame_bytes() * part.len() as u64, "inputs").expect("memory");
            let each = port.frame_bytes() as usize;
            for (t, row) in part.iter().enumerate() {
                frames.bytes_mut()[t * each..(t + 1) * each].copy_from_slice(row[k].bytes());
            }
            inputs.push(frames);
        }
        let mut results: Vec<Frames> = face.results().map(|_| Frames::default()).collect();
        machine.run(part.len() as u64, &inputs, &mut results).expect("a program keeps its word");
        for (port, frames) in face.results().zip(&results) {
            let each = port.frame_bytes() as usize;
            let due = (first..first + part.len()).filter(|t| (*t as u64).is_multiple_of(port.every.max(1)));
            for (n, t) in due.enumerate() {
                let bytes = &frames.bytes()[n * each..(n + 1) * each];
                let tensor = Tensor::from_bytes(port.dtype, port.shape.clone(), bytes).expect("a whole frame");
                trace[t].push((port.name.clone(), tensor));
            }
        }
        first += part.len();
    }
    trace
}

/// Says where two results part, if they do.
fn difference(what: &str, want: &[(String, Tensor)], got: &[(String, Tensor)]) -> Result<(), String> {
    if want.len() != got.len() {
        return Err(format!("{what}: {} arrays instead of {}", got.len(), want.len()));
    }
    for ((name, w), (other, g)) in want.iter().zip(got) {
        if name != other || !same(w, g) {
            return Err(format!("{what}, {name}: {g:?} instead of {w:?}"));
        }
    }
    Ok(())
}

/// Holds one machine against what the graph interpreter gave.
fn holds(
    compiled: &Compiled,
    name: &str,
    code: &Arc<dyn Code>,
    ticks: &[Vec<Tensor>],
    want: &Trace,
    states: &[(String, Tensor)],
) -> Result<(), String> {
    for chunk in [ticks.len().max(1), 2] {
        let mut session = session(compiled, face_of(&compiled.module), code.clone());
        let got = run(&mut session, ticks, chunk);
        for (t, (w, g)) in want.iter().zip(&got).enumerate() {
            difference(&format!("{name}, calls of {chunk}, tick {t}"), w, g)?;
        }
        let saved = session.export().map_err(|e| e.to_string())?;
        let of_states: Vec<(String, Tensor)> =
            states.iter().filter_map(|(n, _)| Some((n.clone(), saved.entries.get(n)?.clone()))).collect();
        // The last level may keep fewer states, but those that it keeps are what they are.
        let kept: Vec<(String, Tensor)> =
            states.iter().filter(|(n, _)| saved.entries.contains_key(n)).cloned().collect();
        difference(&format!("{name}, states at the end"), &kept, &of_states)?;
    }
    Ok(())
}

/// Holds both machines, at the first and the last level and with every representation of products, against the graph
/// interpreter. False if the module has an op that the lowering refuses by name.
pub fn agree(case: &Case, parts: u32) -> Result<bool, String> {
    let solved = prepare(case.module.clone(), &Options::reference(), &mut Vec::new()).map_err(|e| format!("{e:?}"))?;
    let (want, states) = interpret(solved, &case.ticks);
    let at = |options: &Options| agree_at(case, options, &want, &states);
    let options = Options { parts, keep_states: false, ..Options::default() };
    let first = at(&Options { level: Level::O0, ..options.clone() })?;
    let (Some(_), Some(products)) = (first, at(&options)?) else { return Ok(false) };
    // Two parts differ from three in nothing that a representation sees.
    for repr in Repr::ALL.into_iter().filter(|_| parts != 2) {
        let can = |c: &&Choice| c.alternatives.iter().any(|a| a.repr == repr);
        let force: BTreeMap<String, Repr> = products.iter().filter(can).map(|c| (c.name.clone(), repr)).collect();
        if products.iter().any(|c| c.chosen != repr && force.contains_key(&c.name)) {
            let wishes = Wishes { force, ..Wishes::default() };
            at(&Options { wishes, ..options.clone() }).map_err(|e| format!("products as {repr}: {e}"))?;
        }
    }
    Ok(true)
}

/// What was chosen for products; `None` if the module has an op that the lowering refuses by name.
fn agree_at(
    case: &Case,
    options: &Options,
    want: &Trace,
    states: &[(String, Tensor)],
) -> Result<Option<Vec<Choice>>, String> {
    let (parts, level) = (options.parts, options.level);
    let compiled = match compile(case.module.clone(), options) {
        Ok(compiled) => compiled,
        Err(errors) if errors.iter().all(|e| e.code == "E0702") => return Ok(None),
        Err(errors) => return Err(format!("not compiled: {errors:?}")),
    };
    let native = nc_cranelift::compile(&compiled.program, &compiled.layout, &nc_cranelift::Options::default())
        .map_err(|e| format!("refused: {e:?}"))?;
    let kernels = Interpreted::new(&compiled.program, nc_ir::kernel::interp::Options::default())
        .map_err(|e| format!("not valid: {e}"))?;
    let machines: [(&str, Arc<dyn Code>); 2] = [("compiled", Arc::new(native)), ("kernels", Arc::new(kernels))];
    // Both machines are run even if the first differs: whether one or both do tells the generator of code from the
    // lowering.
    let faults: Vec<String> = (machines.into_iter())
        .filter_map(|(name, code)| {
            let name = format!("{name}, {level:?}, {parts} parts");
            holds(&compiled, &name, &code, &case.ticks, want, states).err()
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    Ok(Some(compiled.products))
}

/// Modules from seeds, one after another, until as many as asked for were compiled.
#[test]
fn random_modules_from_seeds() {
    let wanted = cases(60);
    // `NC_SEED` begins elsewhere, to look at one module again.
    let from = std::env::var("NC_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let (mut compiled, mut seed) = (0, from);
    let mut wrong: Vec<String> = Vec::new();
    while compiled < wanted {
        assert!(
            seed - from < 100 * u64::from(wanted),
            "{compiled} of {seed} modules are compiled: the others are refused"
        );
        let case = Case::from_seed(seed);
        match [1, 2].into_iter().map(|parts| agree(&case, parts)).collect::<Result<Vec<bool>, String>>() {
            Ok(taken) => compiled += u32::from(taken.into_iter().all(|t| t)),
            Err(e) => {
                compiled += 1;
                // The first in full, of the others where to find them.
                let module = if wrong.is_empty() { nc_ir::graph::text::print(&case.module) } else { String::new() };
                wrong.push(format!("seed {seed}: {e}\n{module}"));
            }
        }
        seed += 1;
    }
    assert!(wrong.is_empty(), "{} of {compiled} modules:\n{}", wrong.len(), wrong.join("\n"));
    println!("{compiled} of {} random modules are compiled, the others refused by name", seed - from);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(30), failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_modules_from_choices(choices in proptest::collection::vec(any::<u32>(), 0..300)) {
        let case = Case::from_choices(&choices);
        if let Err(e) = agree(&case, 1) {
            return Err(TestCaseError::fail(format!("{e}\n{}", nc_ir::graph::text::print(&case.module))));
        }
    }
}
