//! Models on an emulated chip: partition, keys, routes, scheduler, networks and the checker, held against the interpreter.
//!
//! Machine code of kernels needs LLVM, which tests do without: here `svc` stands for the kernels of a core, and the
//! interpreter of kernels answers it from the core's frames. All else is what runs with machine code as well.

use nc_ir::Diagnostic;
use nc_ir::graph::Module;
use nc_ir::graph::testing::{Case, same};
use nc_ir::interp::Interpreter;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::interp::{HostArray, Machine as Kernels, Options as KernelOptions};
use nc_ir::kernel::{Program, Role};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use nc_spinnaker2::bundle::{Bundle, Manifest, Place};
use nc_spinnaker2::check::check;
use nc_spinnaker2::compile::{Mapping, Options, SYMBOL, Toolchain, build, map, serve};
use nc_spinnaker2::emulate::{Emulator, Fault, Injection, Service, serial};
use nc_spinnaker2::flatten::flatten;
use nc_spinnaker2::machine::Machine;
use nc_spinnaker2::mapping::{Partition, measure, neurons, orderable};
use nc_spinnaker2::scheduler::Word;
use std::sync::{Arc, Mutex};

pub struct Tools;

/// `svc #0; bx lr` as a relocatable object.
fn service_call() -> Vec<u8> {
    use object::write::{Object, Symbol, SymbolSection};
    let mut o = Object::new(object::BinaryFormat::Elf, object::Architecture::Arm, object::Endianness::Little);
    let text = o.section_id(object::write::StandardSection::Text);
    let at = o.append_section_data(text, &[0x00, 0xdf, 0x70, 0x47], 4);
    o.add_symbol(Symbol {
        name: SYMBOL.as_bytes().to_vec(),
        value: at | 1,
        size: 4,
        kind: object::SymbolKind::Text,
        scope: object::SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: object::SymbolFlags::None,
    });
    o.write().expect("an object")
}

fn word(memory: &[u8], at: u32) -> u32 {
    u32::from_le_bytes(memory[at as usize..at as usize + 4].try_into().expect("four bytes"))
}

impl Toolchain for Tools {
    fn lower(&self, module: &Module) -> Result<Program, Vec<Diagnostic>> {
        nc_compiler::compile(module.clone(), &nc_compiler::Options::default()).map(|c| (*c.program).clone())
    }

    fn object(&self, _: &Program, _: &Layout) -> Result<Vec<u8>, Diagnostic> {
        Ok(service_call())
    }

    fn service(&self, program: &Arc<Program>) -> Option<Service> {
        let program = program.clone();
        let kernels = Kernels::new(&program, KernelOptions::default()).expect("a valid program");
        // State lives here and not on the core: the tick tells when a run begins anew.
        let state = Mutex::new(kernels);
        Some(Service(Arc::new(move |memory| {
            let table = Machine::named("spinnaker2").expect("a machine").core.code_bytes.value as u32;
            let context = word(memory, table + 4 * Word::Context as u32);
            let (host, tick) = (word(memory, context + 8), word(memory, context + 16));
            let mut kernels = state.lock().expect("no panic before");
            if tick == 0 {
                *kernels = Kernels::new(&program, KernelOptions::default()).expect("a valid program");
            }
            let mut frames: Vec<(u32, bool, Vec<u8>)> = Vec::new();
            for b in &program.buffers {
                let written = match b.role {
                    Role::Input => false,
                    Role::Output | Role::Probe { .. } => true,
                    Role::Const(_) | Role::State(_) | Role::Temp => continue,
                };
                let at = word(memory, host + 4 * frames.len() as u32);
                let n = b.len as usize * b.elem.size();
                frames.push((at, written, memory[at as usize..at as usize + n].to_vec()));
            }
            let mut arrays: Vec<HostArray<'_>> = frames
                .iter_mut()
                .map(|(_, written, bytes)| if *written { HostArray::Out(bytes) } else { HostArray::In(bytes) })
                .collect();
            kernels.run(u64::from(tick), 1, &mut arrays).expect("no fault");
            drop(arrays);
            frames.into_iter().filter(|f| f.1).map(|(at, _, bytes)| (at, bytes)).collect()
        })))
    }

    fn execute(&self, n: usize, f: &(dyn Fn(usize) + Sync)) {
        serial(n, f);
    }
}

pub fn machine(name: &str) -> Machine {
    Machine::named(name).expect("a machine")
}

pub struct Built {
    pub mapping: Mapping,
    pub bundle: Bundle,
}

fn built(module: &Module, options: &Options) -> Result<Built, Vec<Diagnostic>> {
    let module = &flatten(module).map_err(|e| vec![e.diagnostic()])?;
    let mapping = map(module, options, &Tools)?;
    let bundle = build(module, &mapping, options, &Tools)?;
    check(&bundle, module, 1 << 24, &Tools)?;
    Ok(Built { mapping, bundle })
}

impl Built {
    pub fn emulator(&self) -> Emulator {
        let mut e = Emulator::new(&self.bundle).expect("a bundle");
        serve(&mut e, &self.mapping, &Tools);
        e
    }
}

pub fn bytes(inputs: &[Tensor]) -> Vec<Vec<u8>> {
    inputs.iter().map(|t| t.bytes().to_vec()).collect()
}

/// What the emulator has for an array after a tick.
pub fn result(e: &Emulator, stream: Option<usize>, like: &Tensor) -> Tensor {
    let bytes = e.result(stream.expect("a stream"));
    Tensor::from_bytes(like.dtype(), like.shape().to_vec(), &bytes).expect("of the array's size")
}

/// Runs a model on the chip and in the interpreter. Spikes and other results that are not zero, counted.
fn compare(name: &str, module: &Module, b: &Built, ticks: &[Vec<Tensor>]) -> usize {
    let mut whole = Interpreter::new(Arc::new(module.clone())).unwrap_or_else(|e| panic!("{name}: {}", e.message));
    let mut chip = b.emulator();
    let mut active = 0;
    for (t, inputs) in ticks.iter().enumerate() {
        let expected = whole.step(inputs).unwrap_or_else(|e| panic!("{name}: {}", e.message));
        let faults = chip.tick(&bytes(inputs), &serial);
        assert!(faults.is_empty(), "{name}, tick {t}: {}", faults[0].describe(&b.bundle.manifest));
        for (a, p) in expected.outputs.iter().zip(&b.bundle.manifest.outputs) {
            let got = result(&chip, p.stream, a);
            assert!(same(a, &got), "{name}, tick {t}, output {}: {a:?} and {got:?}", p.name);
            active += a.bytes().iter().filter(|x| **x != 0).count();
        }
        for (k, a) in &expected.probes {
            let p = &b.bundle.manifest.probes[*k];
            assert!(same(a, &result(&chip, p.stream, a)), "{name}, tick {t}, probe {}", p.name);
        }
    }
    active
}

fn cases() -> u64 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(120)
}

#[test]
fn random_models_on_the_chip_compute_the_models() {
    let (mut ran, mut refused, mut cores, mut ordered) = (0, 0, 0, 0);
    for seed in 0..cases() {
        let case = Case::from_seed(seed);
        let mut options = Options { parts: 1 + seed % 4, seed, moves: 300, ..Options::new(machine("spinnaker2")) };
        if seed % 3 == 1 {
            let flat = flatten(&case.module).expect("known extents");
            let mut r = seed;
            let mut shuffled = |n: u64| {
                let mut order: Vec<u32> = (0..n as u32).collect();
                (1..n as usize).rev().for_each(|k| order.swap(k, draw(&mut r) as usize % (k + 1)));
                Arc::new(order)
            };
            let free = orderable(&flat).expect("a solved module");
            options.orders = free.into_iter().map(|n| n.map(&mut shuffled)).collect();
        }
        match built(&case.module, &options) {
            Ok(b) => {
                compare(&format!("seed {seed}"), &case.module, &b, &case.ticks);
                cores = cores.max(b.bundle.manifest.cores.len());
                ordered += usize::from(b.bundle.manifest.streams.iter().any(|s| s.order.is_some()));
                ran += 1;
            }
            Err(e) if e[0].code == "E0851" && e[0].message.ends_with("from two sources") => refused += 1,
            Err(e) => panic!("seed {seed}: {} {}", e[0].code, e[0].message),
        }
    }
    assert!(
        ran > 3 * refused && cores > 8 && ordered > 0,
        "{ran} ran on at most {cores} cores, {ordered} in other orders, {refused} refused: the test sees too little"
    );
}

/// The next number of a linear congruential generator.
fn draw(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u32
}

fn random(ty: &TensorType, r: &mut u64) -> Tensor {
    let shape: Vec<usize> = ty.extents().expect("known extents").iter().map(|n| *n as usize).collect();
    let mut t = Tensor::zeros(ty.dtype, shape.clone());
    match ty.dtype {
        DType::Bool => {
            let x: Vec<bool> = (0..t.len()).map(|_| draw(r).is_multiple_of(8)).collect();
            Tensor::from_bools(shape, &x).expect("as many as the shape says")
        }
        DType::F32 => {
            t.as_mut_slice::<f32>().fill_with(|| (draw(r) % 3000) as f32 / 1000.0 - 1.0);
            t
        }
        _ => t,
    }
}

fn example(name: &str) -> Module {
    let path = nc_tests::root().join(format!("backends/spinnaker2/tests/data/{name}.graph"));
    let text = std::fs::read_to_string(&path).expect("a graph");
    nc_ir::graph::text::parse(&text).expect("a graph")
}

pub fn inputs(module: &Module, ticks: usize, seed: u64) -> Vec<Vec<Tensor>> {
    let mut r = seed;
    (0..ticks).map(|_| module.inputs.iter().map(|p| random(module.graph.ty(p.value), &mut r)).collect()).collect()
}

#[test]
fn examples_on_the_chip_compute_the_examples() {
    for (name, machine_name, parts) in
        [("cuba", "spinnaker2", 3), ("learn", "spinnaker2", 2), ("cuba", "spinnaker2-board48", 200)]
    {
        let module = example(name);
        let options = Options { parts, moves: 2000, ..Options::new(machine(machine_name)) };
        let b = built(&module, &options).unwrap_or_else(|e| panic!("{name}: {} {}", e[0].code, e[0].message));
        let chips: std::collections::BTreeSet<u32> = b.bundle.manifest.cores.iter().map(|c| c.place.chip).collect();
        assert!(parts < 100 || chips.len() > 1, "{name}: one chip is enough");
        let active = compare(name, &module, &b, &inputs(&module, 25, 7));
        assert!(active > 0, "{name} is silent: the test sees nothing");
    }
}

/// The network of `cuba` with other synapses: sixteen blocks of neurons, each connected with itself and the next, with
/// numbers one after the other or all over the place. The neurons block by block.
fn blocks(scattered: bool) -> (Module, Vec<u32>) {
    let mut m = example("cuba");
    m.probes.clear();
    let block = |i: u32| if scattered { i * 7919 % 4000 / 250 } else { i / 250 };
    let mut order: Vec<u32> = (0..4000).collect();
    order.sort_by_key(|i| (block(*i), *i));
    for (k, sources) in [(0, 0..3200u32), (1, 3200..4000)] {
        let mut pairs = Vec::new();
        for i in sources {
            for (d, n) in [0, 1].into_iter().flat_map(|d| (0..10).map(move |n| (d, n))) {
                let b = (block(i) + d) % 16;
                pairs.push((i64::from(i), i64::from(order[(b * 250 + (37 * n + i) % 250) as usize])));
            }
        }
        pairs.sort_unstable();
        let vector = |x: Vec<i64>| Tensor::from_vec(vec![x.len()], x).expect("a vector");
        let pre = m.add_const("", vector(pairs.iter().map(|p| p.0).collect()));
        let post = m.add_const("", vector(pairs.iter().map(|p| p.1).collect()));
        m.conns[k].rule = nc_ir::graph::Rule::Table { pre, post };
        m.conns[k].pre = 0..4000;
    }
    (m, order)
}

#[test]
fn a_spike_goes_to_the_cores_that_have_its_targets() {
    for scattered in [true, false] {
        let (module, order) = blocks(scattered);
        let flat = flatten(&module).expect("known extents");
        let ticks = inputs(&module, 25, 7);
        let n = neurons(&flat, |_| 1, 1 << 20).expect("neurons");
        let mut place = vec![0; 4000];
        order.iter().enumerate().for_each(|(q, row)| place[*row as usize] = q as u32 / 250);
        let copies = measure(&n.problem(1 << 20, true), &Partition { part: place, parts: 16 }).copies;
        let given = Partition { part: (0..4000).map(|i| i / 250).collect(), parts: 16 };
        let given = measure(&n.problem(1 << 20, true), &given).copies;
        assert_eq!((copies, given > 4000 * 8), (4000 * 2, scattered), "{given}");
        let mut options = Options { parts: 16, moves: 500, ..Options::new(machine("spinnaker2")) };
        if scattered {
            let of = |n: Option<u64>| n.filter(|n| *n == 4000).map(|_| Arc::new(order.clone()));
            options.orders = orderable(&flat).expect("a solved module").into_iter().map(of).collect();
        }
        let b = built(&module, &options).unwrap_or_else(|e| panic!("{} {}", e[0].code, e[0].message));
        let spikes = compare("blocks", &module, &b, &ticks) as u64;
        assert!(spikes > 50, "{spikes} spikes: the test sees too little");
        let mut chip = b.emulator();
        ticks.iter().for_each(|i| drop(chip.tick(&bytes(i), &serial)));
        // Each spike goes to the sink as well.
        let received = chip.statistics().received;
        assert_eq!(received, spikes * (copies / 4000 + 1), "scattered: {scattered}");
        // Another order is another model.
        let none = |o: &mut Option<Vec<u32>>| *o = None;
        let other = |o: &mut Option<Vec<u32>>| o.iter_mut().for_each(|o| o.swap(17, 118));
        for change in [none as fn(&mut Option<Vec<u32>>), other] {
            let mut bundle = b.bundle.clone();
            bundle.manifest.streams.iter_mut().for_each(|s| change(&mut s.order));
            assert_eq!(check(&bundle, &flat, 1 << 24, &Tools).is_err(), scattered);
            let mut bundle = b.bundle.clone();
            bundle.manifest.cores.iter_mut().for_each(|c| change(&mut c.order));
            assert_eq!(check(&bundle, &flat, 1 << 24, &Tools).is_err(), scattered);
        }
    }
}

fn small() -> (Module, Built) {
    let module = example("cuba");
    let b = built(&module, &Options { parts: 4, moves: 500, ..Options::new(machine("spinnaker2")) });
    (module, b.unwrap_or_else(|e| panic!("{} {}", e[0].code, e[0].message)))
}

#[test]
fn threads_change_nothing() {
    let (module, b) = small();
    let threads = |n: usize, f: &(dyn Fn(usize) + Sync)| {
        std::thread::scope(|s| {
            for k in 0..n {
                s.spawn(move || f(n - 1 - k));
            }
        });
    };
    let (mut one, mut many) = (b.emulator(), b.emulator());
    for i in inputs(&module, 5, 3) {
        assert_eq!(one.tick(&bytes(&i), &serial), many.tick(&bytes(&i), &threads));
    }
    assert_eq!(one.statistics(), many.statistics());
    assert!(one.statistics().packets > 0 && one.statistics().energy() > 0.0);
    // The same again from the start.
    let before = one.statistics();
    one.reset();
    for i in inputs(&module, 5, 3) {
        one.tick(&bytes(&i), &serial);
    }
    assert_eq!(one.statistics(), before);
}

/// Runs with a change to the bundle or the emulator; the faults of the first tick that has some.
fn faults(module: &Module, b: &Built, change: impl FnOnce(&mut Bundle), injection: Injection) -> Vec<Fault> {
    let mut bundle = b.bundle.clone();
    change(&mut bundle);
    let mut e = Emulator::new(&bundle).expect("a bundle");
    serve(&mut e, &b.mapping, &Tools);
    e.inject(injection);
    for i in inputs(module, 60, 3) {
        let f = e.tick(&bytes(&i), &serial);
        if !f.is_empty() {
            f.iter().for_each(|f| assert!(f.describe(&bundle.manifest).starts_with("tick ")));
            return f;
        }
    }
    Vec::new()
}

#[test]
fn what_goes_wrong_on_the_chip_is_noticed() {
    let (module, b) = small();
    let none = Injection::default;
    assert_eq!(faults(&module, &b, |_| {}, none()), []);
    let lost = faults(&module, &b, |_| {}, Injection { drop: vec![3], ..none() });
    assert!(matches!(lost[..], [Fault::Count { expected, came, .. }] if expected == came + 1), "{lost:?}");
    let twice = faults(&module, &b, |_| {}, Injection { double: vec![3], ..none() });
    assert!(matches!(twice[..], [Fault::Count { expected, came, .. }] if expected + 1 == came), "{twice:?}");
    let late = faults(&module, &b, |x| x.manifest.slots[1].compute_cycles = 3, none());
    assert!(late.iter().any(|f| matches!(f, Fault::Overrun { doing: "computing", .. })), "{late:?}");
    let late = faults(&module, &b, |x| x.manifest.slots[1].send_cycles = 3, none());
    assert!(late.iter().any(|f| matches!(f, Fault::Overrun { doing: "receiving", .. })), "{late:?}");
    let full = faults(
        &module,
        &b,
        |x| x.manifest.cores.iter_mut().for_each(|c| c.fifo.entries = c.fifo.entries.min(1)),
        none(),
    );
    assert!(full.iter().any(|f| matches!(f, Fault::Full { .. })), "{full:?}");
    let unrouted = faults(&module, &b, |x| x.manifest.tables[0].clear(), none());
    assert!(unrouted.iter().any(|f| matches!(f, Fault::Unrouted { .. })), "{unrouted:?}");
    let stray = faults(
        &module,
        &b,
        |x| {
            let all: Vec<u32> = x.manifest.cores.iter().map(|c| c.place.core).collect();
            x.manifest.tables[0].iter_mut().for_each(|e| e.cores = all.clone());
            x.manifest.cores.iter_mut().for_each(|c| c.fifo.entries = c.fifo.entries.max(1));
        },
        none(),
    );
    assert!(stray.iter().any(|f| matches!(f, Fault::Stray { .. })), "{stray:?}");
    // Without what stands for its kernels a core stops at `svc`.
    let mut bare = Emulator::new(&b.bundle).expect("a bundle");
    let stopped = bare.tick(&bytes(&inputs(&module, 1, 3)[0]), &serial);
    assert!(stopped.iter().any(|f| matches!(f, Fault::Stopped { why, .. } if why.starts_with("svc"))), "{stopped:?}");
}

#[test]
fn dead_cores_are_avoided() {
    let module = example("cuba");
    let (_, first) = small();
    let dead: Vec<Place> = first.bundle.manifest.cores.iter().map(|c| c.place).collect();
    let options = Options { parts: 4, moves: 500, dead: dead.clone(), ..Options::new(machine("spinnaker2")) };
    let b = built(&module, &options).unwrap_or_else(|e| panic!("{} {}", e[0].code, e[0].message));
    assert!(b.bundle.manifest.cores.iter().all(|c| !dead.contains(&c.place)));
    compare("cuba around dead cores", &module, &b, &inputs(&module, 5, 7));
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_missing() {
    let module = example("cuba");
    let refusal = |o: Options| match built(&module, &o) {
        Ok(_) => panic!("it fits"),
        Err(e) => (e[0].code, e[0].message.clone()),
    };
    let tiny = Options::new(machine("small"));
    let (code, message) = refusal(tiny);
    assert!(code == "E0852" || code == "E0853", "{code} {message}");
    assert!(message.contains("are missing"), "{message}");
    let mut few = Options { parts: 50, ..Options::new(machine("spinnaker2")) };
    few.machine.core.usable.value = 20;
    let (code, message) = refusal(few);
    assert_eq!(code, "E0853", "{message}");
    let mut keys = Options::new(machine("spinnaker2"));
    keys.machine.router.key_bits.value = 8;
    assert_eq!(refusal(keys).0, "E0855");
    let mut code_room = Options::new(machine("spinnaker2"));
    code_room.machine.core.code_bytes.value = 512;
    assert_eq!(refusal(code_room).0, "E0854");
    let mut unsolved = module.clone();
    unsolved.graph.values[0].ty.shape = vec![nc_ir::types::Dim::Sym("n".into())];
    let e = map(&unsolved, &Options::new(machine("spinnaker2")), &Tools).err().expect("extents are not known");
    assert_eq!(e[0].code, "E0851");
}

#[test]
fn a_tick_lasts_as_long_as_is_asked_and_not_less_than_its_slots() {
    let (module, b) = small();
    let m = &b.bundle.manifest;
    let least: u64 = m.slots.iter().map(|s| s.compute_cycles + s.send_cycles).sum();
    let of = |cycles: u64| {
        let options = Options::new(machine("spinnaker2"));
        built(&module, &Options { parts: 3, tick: Some(cycles as f64 / m.clock_hz()), ..options })
    };
    assert_eq!(of(3 * least).expect("a longer tick").bundle.manifest.tick_cycles, 3 * least);
    let refused = of(least / 2).err().expect("a tick that is too short");
    assert_eq!(refused[0].code, "E0863");
    assert!(refused[0].message.contains("its slots take"), "{}", refused[0].message);
}

#[test]
fn a_profile_sizes_slots_and_what_is_more_is_noticed() {
    let module = example("motion");
    let of = |rate: f64| {
        let measured = module.inputs.iter().map(|p| (p.name.clone(), rate)).collect();
        let options = Options { parts: 2, moves: 300, measured, ..Options::new(machine("spinnaker2")) };
        built(&module, &options).unwrap_or_else(|e| panic!("{} {}", e[0].code, e[0].message))
    };
    // An eighth of the pixels speaks in a tick, four times that is half of them.
    let (all, some, none) = (of(1.0), of(0.125), of(0.0));
    let shares = |b: &Built| b.bundle.manifest.streams.iter().filter_map(|s| s.measured).collect::<Vec<_>>();
    assert_eq!((shares(&all), shares(&some)), (vec![1.0], vec![0.5]));
    assert!(some.bundle.manifest.slots[0].send_cycles < all.bundle.manifest.slots[0].send_cycles);
    let ticks = inputs(&module, 12, 5);
    assert!(compare("motion", &module, &some, &ticks) > 0, "the model is silent: the test sees nothing");
    let mut e = none.emulator();
    let faults: Vec<Fault> = ticks.iter().flat_map(|i| e.tick(&bytes(i), &serial)).collect();
    assert!(faults.iter().any(|f| matches!(f, Fault::Overrun { slot: 0, .. })), "{faults:?}");
}

#[test]
fn kernels_with_an_array_that_has_no_frame_get_no_image() {
    let (_, b) = small();
    let (plan, split) = (&b.mapping.plan, &b.mapping.split);
    let (task, piece) = plan.tasks.iter().enumerate().find_map(|(k, t)| t.piece.map(|p| (k, p))).expect("a piece");
    let l = &b.mapping.lowered[piece];
    let image = |gives: &[usize]| {
        let kernels = nc_spinnaker2::memory::Kernels { program: &l.program, layout: &l.layout, gives };
        b.mapping.maps[task].image(plan, task, Some(kernels), 0x200, &machine("spinnaker2"))
    };
    assert!(image(&split.pieces[piece].gives).is_ok());
    let e = image(&[]).expect_err("an output without a frame");
    assert!(e.starts_with("its kernels use `out") && e.ends_with("for which the core has no frame"), "{e}");
}

#[test]
fn a_manifest_is_read_as_it_was_written() {
    let (_, b) = small();
    let text = b.bundle.manifest.text().expect("JSON");
    assert_eq!(Manifest::parse(&text).expect("a manifest"), b.bundle.manifest);
    assert!(
        Manifest::parse("{}").is_err() && Manifest::parse(&text.replace("\"version\": 4", "\"version\": 9")).is_err()
    );
    let html = nc_spinnaker2::report::html(&b.bundle.manifest);
    assert!(html.contains("<svg") && html.contains("Layers") && !html.contains("http"));
}

/// Changes one thing of a bundle; what it was. `None` if there is nothing of that kind.
fn corrupt(b: &mut Bundle, r: &mut u64) -> Option<&'static str> {
    let kind = draw(r) % 16;
    let m = &mut b.manifest;
    let (core, stream) = (draw(r) as usize % m.cores.len(), draw(r) as usize % m.streams.len());
    let c = &mut m.cores[core];
    let bit = 1u32 << (draw(r) % 12);
    match kind {
        0 => m.streams[stream].key ^= bit,
        1 => m.streams[stream].shift ^= 1,
        2 => m.streams[stream].parts += 1,
        3..=6 => {
            let tables = &mut m.tables[0];
            let n = draw(r) as usize % tables.len();
            let before = tables[n].clone();
            let e = &mut tables[n];
            match kind {
                3 => e.key ^= bit & e.mask,
                4 => e.mask ^= 1 << (draw(r) % 32),
                5 => drop(tables.remove(n)),
                _ if draw(r).is_multiple_of(2) && e.cores.len() > 1 => drop(e.cores.pop()),
                _ => e.cores.push(draw(r) % 148),
            }
            // A bit that decides about no key in use changes nothing.
            let after = tables.get(n).cloned();
            if let (3 | 4, Some(after)) = (kind, after) {
                let sent = m.streams.iter().enumerate().flat_map(|(k, s)| (0..s.parts).map(move |p| (k, s, p)));
                let receivers = m.receivers();
                let sent = sent.filter(|(k, _, p)| receivers.wants(*k, *p));
                let keys: Vec<(u32, u64)> = sent.map(|(_, s, p)| (s.key_of(p), s.elements_of(p))).collect();
                let both = |k: u32| before.takes(k) != after.takes(k);
                if !keys.into_iter().any(|(k, n)| (0..n as u32).any(|e| both(k + e))) {
                    return None;
                }
            }
        }
        7 | 8 => {
            // A byte of the constants, or of the tables, of a core's image.
            let (at, n) = match kind {
                7 => (c.memory.constants_at, c.memory.constants),
                _ => (32768, 4 * Word::Count as u64),
            };
            if n == 0 {
                return None;
            }
            let file = b.files.get_mut(&c.image)?;
            let segments = nc_spinnaker2::elf::read(file).ok()?;
            let offset = u64::from(at - segments[1].address) + u64::from(draw(r)) % n;
            let start = file.len() - segments[1].bytes.len();
            // Words that nobody reads: the entry's exact address, kernels of a core without, lists of nothing.
            let w = offset / 4;
            let count = start + 4 * w.saturating_sub(1) as usize;
            let none = file.get(count..count + 4) == Some(&[0; 4]);
            let kernels = [Word::Entry, Word::Context, Word::Tick].map(|w| w as u64).contains(&w);
            let lists = [Word::Sends, Word::Receives, Word::Clears, Word::Sent, Word::Swaps].map(|w| w as u64);
            if kind == 8 && (kernels && (c.graph.is_none() || w == 0) || lists.contains(&w) && none) {
                return None;
            }
            file[start + offset as usize] ^= 1 << (draw(r) % 8);
        }
        9 => {
            // A delay or a weight in the graph of a piece.
            let name = c.graph.clone()?;
            let text = String::from_utf8(b.files.get(&name)?.clone()).ok()?;
            let mut piece = nc_ir::graph::text::parse(&text).ok()?;
            let k = draw(r) as usize % piece.conns.len().max(1);
            let conn = piece.conns.get_mut(k)?;
            let ids = match (&mut conn.delay, &conn.weight) {
                (nc_ir::graph::SynapseDelay::Ticks(d), _) if draw(r).is_multiple_of(2) => {
                    *d += 1;
                    None
                }
                (_, nc_ir::graph::SynapseWeight::PerSynapse(w) | nc_ir::graph::SynapseWeight::Scalar(w)) => Some(*w),
                _ => return None,
            };
            if let Some(w) = ids {
                let t = &mut piece.consts[w.index()].data;
                let n = t.bytes().len();
                if n == 0 {
                    return None;
                }
                t.bytes_mut()[draw(r) as usize % n] ^= 1;
            }
            b.files.insert(name, nc_ir::graph::text::print(&piece).into_bytes());
        }
        10 => c.receives.get_mut(0)?.late ^= true,
        11 => c.receives.get_mut(0)?.rows[0] += 1,
        12 => match draw(r) % 4 {
            0 => c.memory.code += 1,
            1 => c.memory.constants += 8,
            2 => c.memory.stack = c.memory.stack.saturating_sub(64),
            _ => c.memory.arena += 1 << 17,
        },
        13 => match draw(r) % 2 {
            0 if c.fifo.entries > 0 => c.fifo.entries -= 1,
            _ => c.fifo.entry_bytes += 4,
        },
        14 => c.sends.get_mut(0)?.part += 1,
        _ => {
            let other = m.cores[(core + 1) % m.cores.len()].place;
            m.cores[core].place = other;
        }
    }
    Some(
        [
            "key",
            "shift",
            "parts",
            "entry key",
            "entry mask",
            "entry gone",
            "entry cores",
            "weight",
            "table",
            "graph",
            "late",
            "rows",
            "memory",
            "ring",
            "part",
            "place",
        ][kind as usize],
    )
}

#[test]
fn the_checker_finds_every_corruption() {
    let (module, b) = small();
    let random = Case::from_seed(11).module;
    let other = built(&random, &Options { parts: 3, moves: 100, ..Options::new(machine("spinnaker2")) });
    let subjects = [Some((module, b.bundle)), other.ok().map(|o| (random, o.bundle))];
    let (mut r, mut seen) = (5, std::collections::BTreeMap::new());
    let count = if cases() > 1000 { 10_000 } else { 1000 };
    let mut done = 0;
    while done < count {
        let Some((module, bundle)) = &subjects[usize::from(!draw(&mut r).is_multiple_of(4))] else { continue };
        let mut changed = bundle.clone();
        let Some(what) = corrupt(&mut changed, &mut r) else { continue };
        let found = check(&changed, module, 1 << 24, &Tools);
        match found {
            Ok(()) => panic!("a changed {what} is not found, the {done}th"),
            Err(e) => assert!(e.iter().all(|d| d.code == "E0858"), "{what}: {e:?}"),
        }
        *seen.entry(what).or_insert(0) += 1;
        done += 1;
    }
    assert!(seen.len() >= 14, "only {seen:?}");
}
