//! From a model to a bundle: partition under the memory of a core, placement, keys, routes, images, slots.

use crate::bundle::{Bundle, Core, FORMAT, Manifest, Place, Port, Role, Slot, Source, VERSION};
use crate::elf::{self, Segment};
use crate::emulate::{Emulator, Executor, Service};
use crate::keys;
use crate::machine::Machine;
use crate::mapping;
use crate::memory::{Kernels, Map, tight};
use crate::place::{self, Placement};
use crate::plan::{self, Plan};
use crate::route::{self, Tables};
use crate::scheduler;
use crate::split::{Split, split_ordered};
use nc_ir::Diagnostic;
use nc_ir::graph::{Module, ValueId};
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::{Program, Role as BufferRole};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What this crate is lent: the passes and the code generator, which it does not know, and threads.
pub trait Toolchain: Sync {
    /// Kernels of a module.
    ///
    /// # Errors
    /// What the passes refuse.
    fn lower(&self, module: &Module) -> Result<Program, Vec<Diagnostic>>;

    /// A relocatable object for Arm with the symbol [`SYMBOL`].
    ///
    /// # Errors
    /// What the code generator refuses; E0850 if there is none.
    fn object(&self, program: &Program, layout: &Layout) -> Result<Vec<u8>, Diagnostic>;

    /// What `svc` does in the code of a piece, if [`Toolchain::object`] makes code with it.
    fn service(&self, program: &Arc<Program>) -> Option<Service> {
        let _ = program;
        None
    }

    /// Calls a function for each number, perhaps at once.
    fn execute(&self, n: usize, f: &(dyn Fn(usize) + Sync));
}

/// The function that [`Toolchain::object`] makes: given a context and, in the third and fourth register, part 0.
pub const SYMBOL: &str = "nc_run";

/// What the user may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine.
    pub machine: Machine,
    /// Number of its performance level; the last, which is the fastest, by default.
    pub level: Option<usize>,
    /// Cores that must not be used.
    pub dead: Vec<Place>,
    /// Split every layer into at least so many pieces, as far as it has targets.
    pub parts: u64,
    /// The most neurons of a piece, by the name of a population, a net or a value; whichever bound comes first counts.
    pub neurons: Vec<(String, u64)>,
    /// Rows of a population may be dealt out in another order, so that spikes go to fewer cores.
    pub arrange: bool,
    /// Orders of the rows of populations, by their numbers, if they are not to be found; see [`mapping::orderable`].
    pub orders: Vec<Option<Arc<Vec<u32>>>>,
    /// Seed of the placement.
    pub seed: u64,
    /// Moves of the placement.
    pub moves: u64,
    /// Share of the elements of spikes, and of other values that are mostly zero, that slots are sized for.
    pub activity: f64,
    /// Measured shares of elements that are not zero, by the name of a value. Slots are sized for [`MARGIN`] times as
    /// many.
    pub measured: BTreeMap<String, f64>,
    /// Seconds of a tick on the chip; as long as slots, host link and the model's clock ask for by default.
    pub tick: Option<f64>,
    /// The model is retimed, see [`crate::split::pipeline`]; whoever prepares the module does that.
    pub pipeline: bool,
    /// Most synapses to expand.
    pub max_synapses: u64,
}

impl Options {
    /// The usual choices for a machine.
    pub fn new(machine: Machine) -> Options {
        Options {
            machine,
            level: None,
            dead: Vec::new(),
            parts: 1,
            neurons: Vec::new(),
            arrange: false,
            orders: Vec::new(),
            seed: 1,
            moves: 20_000,
            activity: 1.0,
            measured: BTreeMap::new(),
            tick: None,
            pipeline: false,
            max_synapses: 1 << 28,
        }
    }
}

/// How many times as much as was measured on average slots are sized for.
pub const MARGIN: f64 = 4.0;

/// A piece's kernels.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The program.
    pub program: Arc<Program>,
    /// Its layout on a core.
    pub layout: Arc<Layout>,
}

/// A model mapped to a machine, without code.
pub struct Mapping {
    /// The pieces.
    pub split: Split,
    /// Kernels of the pieces.
    pub lowered: Vec<Lowered>,
    /// Tasks and streams; streams have their keys.
    pub plan: Plan,
    /// Memory of each task, without code.
    pub maps: Vec<Map>,
    /// Where tasks run.
    pub placement: Placement,
    /// Routing tables.
    pub tables: Tables,
}

/// Maps a solved module to a machine.
///
/// # Errors
/// E0851, E0852, E0853, E0855, E0864, and what the passes refuse.
pub fn map(module: &Module, options: &Options, tools: &dyn Toolchain) -> Result<Mapping, Vec<Diagnostic>> {
    let machine = &options.machine;
    let (split, lowered, mut plan, maps) = partition(module, options, tools)?;
    let there = machine.usable_cores().saturating_sub(options.dead.len() as u64);
    let placement = place::place(&plan, machine, &options.dead, options.seed, options.moves).ok_or_else(|| {
        let (needed, name) = (plan.tasks.len() as u64, &machine.name);
        let d = format!("the model needs {needed} cores, {name} has {there}: {} are missing", needed - there);
        vec![Diagnostic::error_nowhere("E0853", d).with_hint(larger(&plan, machine))]
    })?;
    keys::assign(&mut plan.streams, machine.router.key_bits.value).ok_or_else(|| {
        let bits = machine.router.key_bits.value;
        vec![
            Diagnostic::error_nowhere("E0855", format!("the model's values need more keys than {bits} bits give"))
                .with_hint("use a smaller model"),
        ]
    })?;
    let tables = route::tables(&plan, &placement.places, machine);
    let entries = u64::from(machine.router.entries.value);
    if let Some((chip, t)) = tables.tables.iter().enumerate().find(|(_, t)| t.len() as u64 > entries) {
        let d = format!("the routing table of chip {chip} has {} entries, a router holds {entries}", t.len());
        return Err(vec![Diagnostic::error_nowhere("E0855", d).with_hint("split layers into fewer pieces")]);
    }
    Ok(Mapping { split, lowered, plan, maps, placement, tables })
}

/// What would help a model that needs too many cores.
fn larger(plan: &Plan, machine: &Machine) -> String {
    let chips = (plan.tasks.len() as u64).div_ceil(u64::from(machine.core.usable.value).max(1));
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for t in &plan.tasks {
        *most.entry(t.name.as_str()).or_default() += 1;
    }
    let first = most.iter().max_by_key(|(_, n)| **n).map(|(name, n)| format!("; {name} alone takes {n}"));
    format!("{chips} chips would do{}", first.unwrap_or_default())
}

/// A result that some thread writes.
type Pending<T, E> = Mutex<Option<Result<T, E>>>;

type Parted = (Split, Vec<Lowered>, Plan, Vec<Map>);

/// Splits until every piece fits a core.
fn partition(module: &Module, options: &Options, tools: &dyn Toolchain) -> Result<Parted, Vec<Diagnostic>> {
    let machine = &options.machine;
    let room = machine.core.data_bytes.value;
    let mut first = true;
    let mut parts: Vec<u64> = Vec::new();
    let orders = match options.arrange {
        true => mapping::orders(module, options.seed, options.max_synapses).map_err(|e| vec![e.diagnostic()])?,
        false => options.orders.clone(),
    };
    // What a population needed with so many parts before.
    let mut before: FxHashMap<usize, (u64, u64)> = FxHashMap::default();
    loop {
        let mut asked = 0;
        let split = split_ordered(
            module,
            |p| {
                asked += 1;
                if parts.len() < asked {
                    let bound = |(name, n): &(String, u64)| p.row_of(name).map(|row| (n / row.max(1)).max(1));
                    let most = options.neurons.iter().find_map(bound);
                    let least = most.map_or(1, |rows| p.rows.div_ceil(rows));
                    parts.push(options.parts.max(least).clamp(1, p.rows));
                }
                parts[asked - 1]
            },
            &orders,
            options.max_synapses,
        )
        .map_err(|e| vec![e.diagnostic()])?;
        if std::mem::take(&mut first) {
            bounded(&split, &options.neurons)?;
        }
        let lowered = lower(&split, tools)?;
        let plan = plan::plan(&split, module, machine);
        let maps: Vec<Map> =
            (0..plan.tasks.len()).map(|k| Map::of(&plan, k, kernels(&plan, k, &split, &lowered), machine)).collect();
        // The piece of each population that needs most.
        let mut needs: BTreeMap<usize, u64> = BTreeMap::new();
        for (t, m) in plan.tasks.iter().zip(&maps) {
            let need = m.memory.data();
            match t.piece {
                Some(k) => {
                    let most = needs.entry(split.pieces[k].population).or_default();
                    *most = (*most).max(need);
                }
                None if need > room => return Err(vec![unfit(&t.name, need, room, "an input or output row")]),
                None => {}
            }
        }
        let mut grown = false;
        let number: Vec<usize> = {
            let mut n = 0;
            let count = |p: &crate::split::Population| {
                n += usize::from(p.divisible);
                n
            };
            split.populations.iter().map(count).collect()
        };
        for (p, need) in needs.into_iter().filter(|(_, need)| *need > room) {
            let population = &split.populations[p];
            if !population.divisible {
                return Err(vec![unfit(&population.name, need, room, "it is computed whole")]);
            }
            let k = number[p] - 1;
            let now = parts[k];
            // What does not depend on the number of targets.
            let fixed = match before.insert(p, (now, need)) {
                Some((n, x)) if now > n && x > need => {
                    let share = (x - need) as f64 / (1.0 / n as f64 - 1.0 / now as f64);
                    (need as f64 - share / now as f64).max(0.0)
                }
                _ => 0.0,
            };
            let share = (need as f64 - fixed) * now as f64;
            let free = room as f64 - fixed;
            let want = if free > 0.0 { (share / free * 1.02).ceil().min(1e9) as u64 } else { u64::MAX };
            if now >= population.rows || want > 4 * machine.usable_cores().max(64) {
                let why = "most of it does not depend on the number of targets";
                return Err(vec![unfit(&population.name, need, room, why)]);
            }
            parts[k] = want.clamp(now + 1, population.rows);
            grown = true;
        }
        if !grown {
            return Ok((split, lowered, plan, maps));
        }
    }
}

/// Refuses a bound on neurons that no population can keep.
fn bounded(split: &Split, neurons: &[(String, u64)]) -> Result<(), Vec<Diagnostic>> {
    let wrong = |(name, most): &(String, u64)| {
        let of = || split.populations.iter().filter_map(|p| p.row_of(name).map(|row| (p.divisible, row)));
        let why = match of().filter(|(divisible, _)| *divisible).map(|(_, row)| row).max() {
            Some(row) if row <= *most => return None,
            Some(row) => format!("it is split by rows, and one has {row} of them"),
            None if of().next().is_some() => "it is computed whole on one core".to_owned(),
            None => "the model has no such population or layer".to_owned(),
        };
        let mut names: Vec<&str> = split.populations.iter().filter(|p| p.divisible).map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        let text = format!("`{name}` cannot have at most {most} neurons on a core: {why}");
        let d = Diagnostic::error_nowhere("E0864", text);
        Some(match nc_ir::diag::nearest(name, names.iter().copied()) {
            Some(n) => d.with_hint(format!("did you mean `{n}`?")),
            None => d.with_hint("`--emit map` shows what is split"),
        })
    };
    match neurons.iter().find_map(wrong) {
        Some(d) => Err(vec![d]),
        None => Ok(()),
    }
}

fn unfit(name: &str, need: u64, room: u64, why: &str) -> Diagnostic {
    let d = format!(
        "`{name}` needs {need} bytes of data on a core, which has {room}: {} are missing",
        need.saturating_sub(room)
    );
    Diagnostic::error_nowhere("E0852", d)
        .with_hint(format!("{why}; make its inputs or its row smaller, or take weights of fewer bits"))
}

fn lower(split: &Split, tools: &dyn Toolchain) -> Result<Vec<Lowered>, Vec<Diagnostic>> {
    let made: Vec<Pending<Program, Vec<Diagnostic>>> = split.pieces.iter().map(|_| Mutex::new(None)).collect();
    tools.execute(split.pieces.len(), &|k| {
        *made[k].lock().unwrap_or_else(PoisonError::into_inner) = Some(tools.lower(&split.pieces[k].module));
    });
    made.into_iter()
        .zip(&split.pieces)
        .map(|(m, p)| {
            let missing = || vec![Diagnostic::error_nowhere("E0851", format!("`{}` was not lowered", p.module.name))];
            let program = m.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or_else(missing)??;
            let layout = tight(&program).ok_or_else(|| vec![unfit(&p.name, u64::MAX, 0, "it is too large")])?;
            Ok(Lowered { program: Arc::new(program), layout: Arc::new(layout) })
        })
        .collect()
}

fn kernels<'a>(plan: &Plan, task: usize, split: &'a Split, lowered: &'a [Lowered]) -> Option<Kernels<'a>> {
    let k = plan.tasks[task].piece?;
    Some(Kernels { program: &lowered[k].program, layout: &lowered[k].layout, gives: &split.pieces[k].gives })
}

/// Tells programs apart whose code may differ: everything but the values of constants and states.
fn code_key(l: &Lowered) -> String {
    use std::fmt::Write;
    let mut key = format!("{:?}{:?}{:?}", l.program.lists, l.program.steps, l.layout);
    for b in &l.program.buffers {
        let role = match b.role {
            BufferRole::Const(_) => 'c',
            BufferRole::State(_) => 's',
            BufferRole::Temp => 't',
            BufferRole::Input => 'i',
            BufferRole::Output => 'o',
            BufferRole::Probe { .. } => 'p',
        };
        let _ = write!(key, "{role}{}{:?}", b.len, b.elem);
    }
    key
}

/// Machine code of each piece, made once for pieces that differ only in their data.
fn objects(mapping: &Mapping, tools: &dyn Toolchain) -> Result<Vec<Arc<Vec<u8>>>, Vec<Diagnostic>> {
    let mut first: FxHashMap<String, usize> = FxHashMap::default();
    let mut different: Vec<usize> = Vec::new();
    let of: Vec<usize> = mapping
        .lowered
        .iter()
        .enumerate()
        .map(|(k, l)| {
            *first.entry(code_key(l)).or_insert_with(|| {
                different.push(k);
                different.len() - 1
            })
        })
        .collect();
    let made: Vec<Pending<Vec<u8>, Diagnostic>> = different.iter().map(|_| Mutex::new(None)).collect();
    tools.execute(different.len(), &|k| {
        let l = &mapping.lowered[different[k]];
        *made[k].lock().unwrap_or_else(PoisonError::into_inner) = Some(tools.object(&l.program, &l.layout));
    });
    let mut all = Vec::new();
    for m in made {
        let made = m.into_inner().unwrap_or_else(PoisonError::into_inner);
        let missing = || Diagnostic::error_nowhere("E0850", "a kernel was not compiled");
        all.push(Arc::new(made.ok_or_else(|| vec![missing()])?.map_err(|e| vec![e])?));
    }
    Ok(of.into_iter().map(|k| all[k].clone()).collect())
}

/// Makes a bundle from a mapping: code, images, slots.
///
/// # Errors
/// E0850, E0854, E0856 if a core stops on the way to a sleep, E0863.
pub fn build(
    module: &Module,
    mapping: &Mapping,
    options: &Options,
    tools: &dyn Toolchain,
) -> Result<Bundle, Vec<Diagnostic>> {
    let machine = &options.machine;
    let objects = objects(mapping, tools)?;
    let mut files = BTreeMap::new();
    let mut cores = Vec::new();
    let room = machine.core.code_bytes.value;
    for (k, task) in mapping.plan.tasks.iter().enumerate() {
        let map = &mapping.maps[k];
        let place = mapping.placement.places[k];
        let failed = |e: String| vec![Diagnostic::error_nowhere("E0850", format!("`{}`: {e}", task.name))];
        let top = machine.core.code_bytes.value + machine.core.data_bytes.value;
        let mut code = scheduler::program(room as u32, top as u32).map_err(|e| failed(e.to_string()))?;
        let mut entry = 0;
        if let Some(piece) = task.piece {
            code.resize(code.len().next_multiple_of(16), 0);
            let linked = elf::link(&objects[piece], code.len() as u32, SYMBOL).map_err(failed)?;
            entry = linked.1;
            code.extend(linked.0);
        }
        if code.len() as u64 > room {
            let need = code.len() as u64;
            let d = format!(
                "the code of `{}` takes {need} bytes, a core has {room}: {} are missing",
                task.name,
                need - room
            );
            return Err(vec![
                Diagnostic::error_nowhere("E0854", d)
                    .with_hint("split what it computes over several populations or layers"),
            ]);
        }
        let kernels = kernels(&mapping.plan, k, &mapping.split, &mapping.lowered);
        let data = map.image(&mapping.plan, k, kernels, entry, machine).map_err(failed)?;
        let memory = crate::bundle::Memory { code: code.len() as u64, ..map.memory };
        let name = format!("core-{}-{}", place.chip, place.core);
        let segments = [
            Segment { address: 0, bytes: code, code: true },
            Segment { address: room as u32, bytes: data, code: false },
        ];
        files.insert(format!("{name}.elf"), elf::write(&segments, scheduler::VECTORS | 1));
        let graph = task.piece.map(|p| {
            let text = nc_ir::graph::text::print(&mapping.split.pieces[p].module);
            files.insert(format!("{name}.graph"), text.into_bytes());
            format!("{name}.graph")
        });
        let (sends, receives) = map.interface(&mapping.plan, k);
        cores.push(Core {
            place,
            role: task.role,
            name: task.name.clone(),
            rows: task.rows,
            order: task.order.clone(),
            slot: task.slot,
            image: format!("{name}.elf"),
            graph,
            memory,
            sends,
            receives,
            fifo: map.fifo,
        });
    }
    let level = options.level.unwrap_or(machine.level.len() - 1).min(machine.level.len() - 1);
    let port = |name: &str, v: ValueId, every: u64, stream: Option<usize>| {
        let ty = module.graph.ty(v);
        let (name, dtype) = (name.to_owned(), ty.dtype.name().to_owned());
        Port { name, dtype, shape: ty.extents().unwrap_or_default(), every, latency: 0, stream }
    };
    let plan = &mapping.plan;
    let slots = plan::slots(&mapping.split);
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        activity: options.activity,
        pipeline: options.pipeline,
        model: module.name.clone(),
        dt: module.dt.map(|d| d.0),
        machine: machine.clone(),
        level,
        dead: options.dead.clone(),
        slots: (0..slots)
            .map(|k| Slot {
                name: if k == 0 { "inputs".to_owned() } else { format!("level {k}") },
                compute_cycles: 0,
                send_cycles: 0,
            })
            .collect(),
        tick_cycles: 0,
        inputs: module.inputs.iter().zip(&plan.inputs).map(|(p, s)| port(&p.name, p.value, 1, *s)).collect(),
        outputs: module.outputs.iter().zip(&plan.outputs).map(|(p, s)| port(&p.name, p.value, 1, Some(*s))).collect(),
        probes: module
            .probes
            .iter()
            .zip(&plan.probes)
            .map(|(p, s)| port(&p.name, p.value, p.every.max(1), Some(*s)))
            .collect(),
        streams: plan.streams.clone(),
        cores,
        tables: mapping.tables.tables.clone(),
    };
    let mut bundle = Bundle { manifest, files };
    let mut shares = Vec::new();
    for s in &mut bundle.manifest.streams {
        // At least one element, however seldom it was there.
        let of = |rate: f64| (MARGIN * rate).max(1.0 / (s.rows * s.row_elements).max(1) as f64).min(1.0);
        s.measured = options.measured.get(&s.name).map(|rate| of(*rate));
        let declared = if seldom(module, s.source) { options.activity } else { 1.0 };
        shares.push(s.measured.unwrap_or(declared));
    }
    size_slots(&mut bundle, mapping, options.tick, shares, tools)?;
    Ok(bundle)
}

/// Ticks of the run that sizes slots.
const WORST_TICKS: u64 = 2;

/// True for values that are mostly zero: spikes, what is declared so, and what is masked by a truth value.
fn seldom(module: &Module, source: Source) -> bool {
    let g = &module.graph;
    let defined = |v: ValueId| g.nodes.iter().find(|n| n.results.contains(&v));
    let is_bool = |v: ValueId| g.ty(v).dtype == nc_ir::DType::Bool;
    let declared = |name: &String| module.sparse.contains(name);
    let v = match source {
        Source::Input(k) => {
            return module.inputs.get(k).is_some_and(|p| is_bool(p.value) || declared(&p.name));
        }
        Source::Value(v) => ValueId(v),
    };
    let mask =
        |v: ValueId| defined(v).is_some_and(|n| matches!(n.op, nc_ir::graph::Op::Cast { .. }) && is_bool(n.args[0]));
    is_bool(v)
        || mask(v)
        || module.states.iter().any(|s| s.next == v && declared(&s.name))
        || defined(v).is_some_and(|n| matches!(n.op, nc_ir::graph::Op::Mul) && n.args.iter().any(|a| mask(*a)))
}

/// Sizes the slots of a tick: what the cores' own code takes when so many elements of each stream's values count, and a
/// quarter more.
fn size_slots(
    bundle: &mut Bundle,
    mapping: &Mapping,
    tick: Option<f64>,
    shares: Vec<f64>,
    tools: &dyn Toolchain,
) -> Result<(), Vec<Diagnostic>> {
    let wrong = |e: String| vec![Diagnostic::error_nowhere("E0856", e)];
    let mut emulator = Emulator::new(bundle).map_err(wrong)?;
    serve(&mut emulator, mapping, tools);
    let execute: Executor<'_> = &|n, f| tools.execute(n, f);
    let needed = emulator.worst_case(WORST_TICKS, shares, execute).map_err(|f| wrong(f.describe(&bundle.manifest)))?;
    let m = &mut bundle.manifest;
    let margin = |x: u64| (x + x / 4 + 64).next_multiple_of(16);
    for (slot, [compute, send]) in m.slots.iter_mut().zip(needed) {
        slot.compute_cycles = margin(compute);
        slot.send_cycles = margin(send);
    }
    let all: u64 = m.slots.iter().map(|s| s.compute_cycles + s.send_cycles).sum();
    let cycles = |seconds: f64| (seconds * m.clock_hz()).round() as u64;
    let least = all.max(host_cycles(m));
    m.tick_cycles = match tick.map(cycles) {
        Some(asked) if asked < least => {
            let ms = |x: u64| x as f64 / m.clock_hz() * 1e3;
            let what = if host_cycles(m) > all { "the host link takes" } else { "its slots take" };
            let text = format!("a tick is to last {:.4} ms, {what} {:.4} ms", ms(asked), ms(least));
            return Err(vec![
                Diagnostic::error_nowhere("E0863", text)
                    .with_hint("more pieces, a smaller --activity or a faster level make slots shorter"),
            ]);
        }
        Some(asked) => asked,
        None => least.max(m.dt.map_or(0, cycles)),
    };
    Ok(())
}

/// Gives the cores of an emulator the services of a toolchain.
pub fn serve(emulator: &mut Emulator, mapping: &Mapping, tools: &dyn Toolchain) {
    for (core, task) in mapping.plan.tasks.iter().enumerate() {
        if let Some(service) = task.piece.and_then(|k| tools.service(&mapping.lowered[k].program)) {
            emulator.serve(core, service);
        }
    }
}

/// Cycles of a core in which the host link brings the inputs of a tick and takes its outputs.
pub fn host_cycles(m: &Manifest) -> u64 {
    let bytes = |p: &Port| {
        let n: u64 = p.shape.iter().product();
        nc_ir::DType::from_name(&p.dtype).map_or(0, |d| n * d.size() as u64) as f64 / p.every.max(1) as f64
    };
    let all: f64 = m.inputs.iter().chain(&m.outputs).chain(&m.probes).map(bytes).sum();
    (all * 8.0 / m.machine.host.bits_per_second.value * m.clock_hz()).ceil() as u64
}

/// Maps and builds.
///
/// # Errors
/// As [`map`] and [`build`].
pub fn compile(module: &Module, options: &Options, tools: &dyn Toolchain) -> Result<Bundle, Vec<Diagnostic>> {
    let mapping = map(module, options, tools)?;
    build(module, &mapping, options, tools)
}

/// Number of cores by what they are for.
pub fn roles(m: &Manifest) -> [usize; 3] {
    [Role::Source, Role::Compute, Role::Sink].map(|r| m.cores.iter().filter(|c| c.role == r).count())
}
