//! `nc bench --calibrate`: measures the times by which representations are chosen.
//!
//! Each figure is the time of a small program, or the difference between two, divided by what one has more than the
//! other of a thing; the rest of what they do is taken from figures that were measured before. Programs are timed in
//! rounds, of which the shortest counts, so that other programs on the machine disturb little.

use crate::args::{BenchArgs, Target};
use crate::cache::CodeCache;
use crate::gpu::Wanted;
use crate::machine;
use crate::render::Reporter;
use crate::wishes::write_costs;
use crate::{Outcome, Stop, print};
use nc_compiler::Options;
use nc_compiler::cost::{Costs, Repr, Weights};
use nc_ir::graph::{Module, OpError, Port, ValueId};
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use nc_runtime::run::Frames;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Least time of a round: short, so that some rounds are not interrupted on a busy machine.
const ROUND: Duration = Duration::from_micros(300);
/// Rounds.
const ROUNDS: usize = 60;

/// Runs the command.
///
/// # Errors
/// A file that cannot be written; E0829 if no folder for it is known.
pub fn bench(args: &BenchArgs, _reporter: &mut Reporter) -> Outcome {
    let path = match &args.output {
        Some(path) => path.clone(),
        None => cached()?,
    };
    let mut bounded = Vec::new();
    let costs = calibrate(&mut bounded)?;
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|e| Diagnostic::error_nowhere("E0630", format!("{} cannot be made: {e}", folder.display())))?;
    }
    write_costs(&path, &costs)?;
    let mut text = format!("{}\n", costs.machine);
    for (name, ns) in costs.times() {
        text.push_str(&format!("{name:>10} {ns:8.3} ns\n"));
    }
    for l in &costs.levels {
        text.push_str(&format!("{:>10.3} GB/s below {} KiB\n", 1.0 / l.ns_per_byte, (l.bytes / 1024.0).round()));
    }
    for b in &bounded {
        text.push_str(&format!("{b}\n"));
    }
    print(&format!("{text}written to {}\n", path.display()))
}

/// What was measured, or the nearest time that it can be; what was changed is said.
struct Bounds<'a>(&'a mut Vec<String>);

impl Bounds<'_> {
    fn within(&mut self, name: &str, ns: f64, least: f64, most: f64) -> f64 {
        let taken = ns.clamp(least, most);
        if taken != ns {
            self.0.push(format!(
                "{name} was measured as {ns:.3} ns, which is outside of what it can be: {taken} ns are taken"
            ));
        }
        taken
    }

    fn least(&mut self, name: &str, ns: f64, least: f64) -> f64 {
        self.within(name, ns, least, f64::INFINITY)
    }
}

/// Where the table lies if no other place is named.
fn cached() -> Result<PathBuf, Diagnostic> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CACHE_HOME").filter(|p| p.is_absolute()).or_else(|| set("HOME").map(|h| h.join(".cache")));
    match folder {
        Some(f) => Ok(f.join("nc").join("costs.json")),
        None => Err(Diagnostic::error_nowhere("E0829", "no folder for the table is known")
            .with_hint("name a file with --output, or set XDG_CACHE_HOME or HOME")),
    }
}

/// Numbers from 0 to 1.
struct Draws(u64);

impl Draws {
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Elements of which a part is not zero.
    fn numbers(&mut self, n: u64, density: f64) -> Vec<f32> {
        (0..n).map(|_| if f64::from(self.unit()) < density { self.unit() - 0.5 } else { 0.0 }).collect()
    }
}

/// A product to be timed.
struct Trial {
    rows: u64,
    inputs: u64,
    outputs: u64,
    /// Part of the weights that are not zero.
    density: f64,
    /// Part of the inputs that are not zero.
    activity: f64,
    repr: Repr,
    /// Set for a convolution with square windows: the side of the image, of the window, and the padding.
    window: Option<(u64, u64, u64)>,
}

impl Trial {
    fn module(&self, d: &mut Draws) -> Result<(Module, Tensor), OpError> {
        let mut m = Module { name: "trial".into(), ..Module::default() };
        let (shape, weights) = match self.window {
            None => (vec![self.rows, self.inputs], vec![self.outputs, self.inputs]),
            Some((side, taps, _)) => {
                (vec![self.rows, self.inputs, side, side], vec![self.outputs, self.inputs, taps, taps])
            }
        };
        let count = |shape: &[u64]| shape.iter().product::<u64>();
        let tensor = |shape: &[u64], data: Vec<f32>| {
            Tensor::from_vec(shape.iter().map(|n| *n as usize).collect(), data)
                .unwrap_or_else(|| Tensor::zeros(DType::F32, vec![0]))
        };
        let w = tensor(&weights, d.numbers(count(&weights), self.density));
        let input = tensor(&shape, d.numbers(count(&shape), self.activity));
        let shape = if self.rows == 1 { shape[1..].to_vec() } else { shape };
        let x = m.graph.add_param(TensorType::new(DType::F32, shape), "x");
        m.inputs.push(Port { name: "x".into(), value: x });
        let id = m.add_const("w", w);
        let mut b = m.builder();
        let w = b.constant(id)?;
        let y: ValueId = match self.window {
            None => b.linear(x, w, None)?,
            Some((_, _, pad)) => b.conv(x, w, None, vec![1; 2], vec![pad; 4], vec![1; 2], 1)?,
        };
        m.graph.values[y.index()].name = "y".into();
        m.outputs.push(Port { name: "y".into(), value: y });
        Ok((m, input))
    }

    /// The steps in which chains take the weights from windows of inputs.
    fn steps(&self) -> Result<f64, Stop> {
        let (m, _) = self.trial()?;
        let weights = m.consts.first().map(|c| nc_compiler::cost::weights(&c.data));
        match weights {
            Some(Weights::Known { steps: Some(steps), .. }) => Ok(steps as f64),
            _ => Err(Diagnostic::error_nowhere("E0653", "the weights of a trial are not sparse").into()),
        }
    }

    fn trial(&self) -> Result<(Module, Tensor), Stop> {
        let fault = |e: OpError| Diagnostic::error_nowhere("E0653", format!("a trial is ill-typed: {e:?}"));
        Ok(self.module(&mut Draws(7)).map_err(fault)?)
    }

    /// Nanoseconds of one tick.
    fn time(&self) -> Result<f64, Stop> {
        let (m, input) = self.trial()?;
        let mut options = Options::default();
        options.wishes.force.insert("y".into(), self.repr);
        let ready =
            machine::build(m, Target::Cpu, &options, &Wanted::default(), &mut CodeCache::default(), &mut Vec::new())?;
        let mut machine = ready.machine;
        let bytes = input.bytes().len();
        let mut ticks = 1u64;
        let mut best = f64::INFINITY;
        let mut round = 0;
        while round < ROUNDS {
            let mut frames = Frames::zeros(bytes as u64 * ticks, "x")?;
            for t in 0..ticks as usize {
                frames.bytes_mut()[t * bytes..(t + 1) * bytes].copy_from_slice(input.bytes());
            }
            let mut results = vec![Frames::default()];
            machine.reset();
            let start = Instant::now();
            machine.run(ticks, &[frames], &mut results)?;
            let took = start.elapsed();
            if took < ROUND && ticks < 1 << 16 {
                ticks *= 2;
                continue;
            }
            best = best.min(took.as_secs_f64() * 1e9 / ticks as f64);
            round += 1;
        }
        Ok(best)
    }
}

fn calibrate(bounded: &mut Vec<String>) -> Result<Costs, Stop> {
    let (mut c, mut bounds) = (Costs::cpu(), Bounds(bounded));
    c.machine = format!("this machine ({})", std::env::consts::ARCH);
    let row = |inputs: u64, outputs: u64| Trial {
        rows: 1,
        inputs,
        outputs,
        density: 1.0,
        activity: 1.0,
        repr: Repr::Dense,
        window: None,
    };
    let rows = |rows: u64, inputs: u64, outputs: u64| Trial { rows, ..row(inputs, outputs) };
    let sparse = |t: Trial, density: f64| Trial { density, repr: Repr::Sparse, ..t };
    let events = |t: Trial, activity: f64| Trial { activity, repr: Repr::Events, ..t };
    // A tick with next to nothing to do is what beginning a kernel costs, and copying a frame.
    let nothing = row(1, 8).time()?;
    c.kernel = nothing;
    let dense = rows(64, 256, 256).time()?;
    c.link = dense / (64.0 * 256.0 * 256.0 / 8.0);
    c.latency = (row(2048, 8).time()? - nothing) / 2048.0;
    let tiles = (rows(256, 8, 64).time()? - nothing) / (64.0 * 4.0);
    c.tile = bounds.least("tile", tiles - 8.0 * (8.0 * c.link).max(c.latency), 0.5);
    // Weights of 0.25, 4 and 64 MiB, each read once.
    for (level, side) in [256, 1024, 4096].into_iter().enumerate() {
        c.levels[level].ns_per_byte = (row(side, side).time()? - nothing) / (side * side * 4) as f64;
    }
    let (few, many) = (sparse(row(1024, 1024), 0.05), sparse(row(1024, 1024), 0.15));
    let (few, many) = (few.time()?, many.time()?);
    let step = 0.1 * 1024.0 * 1024.0;
    c.gather = (many - few) / step;
    let windows = |density: f64| Trial { density, repr: Repr::Windows, ..row(1024, 1024) };
    let (few_steps, many_steps) = (windows(0.05).steps()?, windows(0.15).steps()?);
    let ns = (windows(0.15).time()? - windows(0.05).time()?) / (many_steps - few_steps);
    c.window = bounds.least("window", ns, 0.01);
    c.look = (sparse(row(8192, 8), 0.001).time()? - nothing) / 8192.0;
    c.chain =
        bounds.least("chain", (few - 1024.0 * c.look - nothing - c.gather * 0.05 * 1024.0 * 1024.0) / 1024.0, 0.5);
    // No events: elements are looked at alone.
    c.scan = (events(row(1 << 15, 4), 0.0).time()? - nothing) / f64::from(1 << 15);
    let (none, some) = (events(row(8192, 4), 0.0).time()?, events(row(8192, 4), 0.1).time()?);
    let each = (some - none) / 819.2;
    let all = events(row(256, 256), 1.0).time()? - nothing - 256.0 * c.scan;
    c.add_row = bounds.least("add_row", (all / 256.0 - each) / 63.0, 0.01);
    c.event = bounds.least("event", (each - c.add_row) * 0.6, 0.1);
    c.push = bounds.least("push", (each - c.add_row) * 0.4, 0.1);
    let columns = |t: Trial, density: f64| Trial { density, repr: Repr::SparseEvents, ..t };
    let wide = |density: f64| columns(events(row(1024, 1024), 0.2), density).time();
    c.scatter = (wide(0.2)? - wide(0.1)?) / (0.2 * 0.1 * 1024.0 * 1024.0);
    let thin = |activity: f64| columns(events(row(8192, 8), activity), 0.02).time();
    c.walk = bounds.least("walk", (thin(0.1)? - thin(0.0)?) / 819.2 - c.push - c.event - 0.16 * c.scatter, 0.2);
    // Events of many rows are found at a price that does not depend on their number. The 32 registers of 256 outputs are
    // computed in three passes.
    c.list = bounds.least("list", (events(rows(16, 4096, 8), 0.0).time()? - 3.0 * nothing) / (16.0 * 4096.0), 0.01);
    let count = 0.2 * 32.0 * 256.0;
    let (less, more) = (events(rows(32, 256, 256), 0.1).time()?, events(rows(32, 256, 256), 0.3).time()?);
    c.index = bounds.least("index", (more - less) / (count * 3.0) - 32.0 / 3.0 * c.link, 0.0);
    let image = |outputs: u64, activity: f64, taps: u64, repr: Repr| Trial {
        rows: 4,
        inputs: 4,
        outputs,
        density: 1.0,
        activity,
        repr,
        window: Some((34, taps, 0)),
    };
    let silent = image(16, 0.0, 3, Repr::Events).time()?;
    let scanned = c.list * f64::from(4 * 4 * 34 * 34);
    c.settle = bounds.least("settle", (silent - scanned - 3.0 * nothing) / f64::from(4 * 16 * 32 * 32), 0.05);
    let (thin, thick) = (image(4, 0.2, 3, Repr::Events).time()?, image(32, 0.2, 3, Repr::Events).time()?);
    let reached = 0.2 * 4.0 * 4.0 * 32.0 * 32.0 * 9.0;
    let turned = c.settle * f64::from(4 * 28 * 32 * 32);
    c.add = bounds.least("add", (thick - thin - turned) / (reached * 7.0), 0.05);
    let rest = thin - image(4, 0.0, 3, Repr::Events).time()?;
    let events = 0.2 * 4.0 * 4.0 * 34.0 * 34.0;
    c.place = bounds.least("place", (rest - events * c.event) / reached - c.add, 0.2);
    // The same positions from an image with padding and from one that has it already.
    let bare = image(16, 1.0, 3, Repr::Dense).time()?;
    let framed = Trial { window: Some((32, 3, 1)), ..image(16, 1.0, 3, Repr::Dense) }.time()?;
    c.frame = bounds.within("frame", (framed - bare - nothing) / f64::from(4 * 4 * 32 * 32), 0.0, 4.0);
    let chains = f64::from(4 * 256) * (36.0 * 8.0 * c.link + c.tile);
    c.channel = bounds.within("channel", (bare - nothing - chains) / f64::from(4 * 16 * 32 * 32), 0.05, 2.0);
    // Rows that become lanes: what many of them take, but for looking and for the links.
    let turned = sparse(rows(32, 512, 8), 0.01).time()?;
    c.turn = bounds.within("turn", turned / f64::from(32 * 520) - c.look, 0.05, 2.0);
    Ok(c)
}
