//! Distributes the neurons of a model over cores, and says what they send: `benches/mapping.py` makes a table of it.
//!
//! `mapping MODEL METHOD [--cores N] [--seed N] [--moves N] [--apart]`, where MODEL is the text of a solved graph
//! (`nc compile --emit solved`) or `sheet:SIDE:SYNAPSES:RADIUS`, a square of neurons whose rows of synapses are made when
//! they are asked for, and METHOD is `sequential`, `edges` or `connectivity`. Prints a line of JSON.

use nc_spinnaker2::flatten::flatten;
use nc_spinnaker2::machine::Machine;
use nc_spinnaker2::mapping::{Method, NEURON_BYTES, Problem, SYNAPSE_BYTES, Spikes, measure, neurons, partition};
use nc_spinnaker2::place::place_ways;
use std::process::ExitCode;
use std::time::Instant;

/// Bytes of a core for neurons and synapses: what stack, frames and packets leave of its data.
const CAPACITY: u64 = 80 << 10;

/// Places of tasks that are looked at while they are placed, about.
const MOVE_LOOKS: u64 = 500_000_000;

/// Neurons on a torus, each with targets around it. A row of synapses is a function of its source.
struct Sheet {
    side: u32,
    synapses: u32,
    radius: u32,
}

/// The finaliser of splitmix64.
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Spikes for Sheet {
    fn sources(&self) -> usize {
        (self.side * self.side) as usize
    }

    fn vertex(&self, source: usize) -> Option<u32> {
        Some(source as u32)
    }

    fn rate(&self, _: usize) -> u32 {
        1
    }

    fn targets(&self, source: usize, out: &mut Vec<u32>) {
        let (side, radius) = (i64::from(self.side), u64::from(self.radius));
        let (x, y) = (source as i64 % side, source as i64 / side);
        // The sum of two even draws: near targets are more frequent.
        let offset = |a: u64, b: u64| (a % (2 * radius + 1) + b % (2 * radius + 1)) as i64 - 2 * radius as i64;
        for k in 0..u64::from(self.synapses) {
            let r = mix((source as u64) << 20 | k);
            let (dx, dy) = (offset(r & 0xffff, r >> 16 & 0xffff), offset(r >> 32 & 0xffff, r >> 48));
            out.push(((y + dy).rem_euclid(side) * side + (x + dx).rem_euclid(side)) as u32);
        }
    }
}

fn number(args: &[String], name: &str, default: u64) -> Result<u64, String> {
    match args.iter().position(|a| a == name) {
        None => Ok(default),
        Some(k) => {
            let text = args.get(k + 1).ok_or_else(|| format!("{name} takes a number"))?;
            text.parse().map_err(|e| format!("{name} {text}: {e}"))
        }
    }
}

fn run(args: &[String]) -> Result<String, String> {
    let [model, method, ..] = args else {
        return Err("mapping MODEL METHOD [--cores N] [--seed N] [--moves N] [--apart]".into());
    };
    let method = match method.as_str() {
        "sequential" => Method::Sequential,
        "edges" => Method::EdgeCut,
        "connectivity" => Method::Connectivity,
        other => return Err(format!("no method {other}: sequential, edges, connectivity")),
    };
    let (least, seed) = (number(args, "--cores", 8)?, number(args, "--seed", 1)?);
    let moves = number(args, "--moves", 200_000)?;
    let apart = args.iter().any(|a| a == "--apart");
    if let Some(shape) = model.strip_prefix("sheet:") {
        let n: Vec<u32> =
            shape.split(':').map(|x| x.parse().map_err(|e| format!("{x}: {e}"))).collect::<Result<_, _>>()?;
        let [side, synapses, radius] = n[..] else { return Err("sheet:SIDE:SYNAPSES:RADIUS".into()) };
        if side == 0 || side > 4096 || synapses >= 1 << 20 {
            return Err("a sheet has 1 to 4096 neurons on a side and fewer than 2^20 synapses of each".into());
        }
        let sheet = Sheet { side, synapses, radius };
        let mut weight = vec![NEURON_BYTES; sheet.sources()];
        let mut row = Vec::new();
        for k in 0..sheet.sources() {
            row.clear();
            sheet.targets(k, &mut row);
            row.iter().for_each(|t| weight[*t as usize] += SYNAPSE_BYTES);
        }
        let p = Problem { weight, kind: Vec::new(), capacity: CAPACITY, spikes: &sheet };
        return report(p, method, least, seed, moves);
    }
    let text = std::fs::read_to_string(model).map_err(|e| format!("{model}: {e}"))?;
    let module = nc_ir::graph::text::parse(&text).map_err(|e| format!("{model}: {e:?}"))?;
    drop(text);
    let module = flatten(&module).map_err(|e| format!("{model}: {e}"))?;
    let n = neurons(&module, |_| 1, 1 << 28).map_err(|e| format!("{model}: {e}"))?;
    drop(module);
    report(n.problem(CAPACITY, apart), method, least, seed, moves)
}

fn report(mut p: Problem<'_>, method: Method, least: u64, seed: u64, moves: u64) -> Result<String, String> {
    // Small networks are spread as well: no core holds more than its share of so many.
    let total: u64 = p.weight.iter().map(|w| u64::from(*w)).sum();
    let largest = p.weight.iter().copied().max().map_or(1, u64::from);
    p.capacity = p.capacity.min(total.div_ceil(least.max(1)) + largest);
    let start = Instant::now();
    let by = partition(&p, method, seed).ok_or("a neuron does not fit a core")?;
    let partitioned = start.elapsed().as_secs_f64();
    if !p.fits(&by) {
        return Err("the partition does not fit".into());
    }
    let mut t = measure(&p, &by);
    let chip = Machine::named("spinnaker2").map_err(|e| e.to_string())?;
    let board = Machine::named("spinnaker2-board48").map_err(|e| e.to_string())?;
    let machine = if u64::from(t.cores) <= chip.usable_cores() { chip } else { board };
    // Moves are bounded by what each of them looks at.
    let looks: u64 = t.ways.iter().map(|(_, to, _)| (to.len() as u64 + 1).pow(2)).sum();
    let moves = moves.min((MOVE_LOOKS * u64::from(t.cores) / looks.max(1)).max(1_000));
    let placed = place_ways(t.cores as usize, std::mem::take(&mut t.ways), &machine, &[], seed, moves)
        .ok_or_else(|| format!("{} cores are more than {} has", t.cores, machine.name))?;
    Ok(format!(
        "{{\"neurons\": {}, \"synapses\": {}, \"cores\": {}, \"inputs\": {}, \"packets\": {}, \"copies\": {}, \"edges\": {}, \"hops\": {}, \
         \"machine\": \"{}\", \"partition_s\": {partitioned:.2}, \"all_s\": {:.2}}}",
        p.weight.len(),
        p.synapses(),
        by.parts,
        t.cores - by.parts,
        t.packets,
        t.copies,
        t.edges,
        placed.cost,
        machine.name,
        start.elapsed().as_secs_f64(),
    ))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
