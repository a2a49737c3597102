//! What products cost: predictions by which their representations are chosen.
//!
//! [`Costs`] is a table of measured times of one machine, plain data. [`alternatives`] lists for a [`Product`] every way to
//! compute it with the predicted time, cheapest first. Both are pure: the same table and the same product give the same
//! list everywhere, so that a model compiled with the built-in table is the same code on every machine. A prediction
//! never decides what is computed, only how: every representation gives the same bits.

mod counted;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod windows;

pub use counted::Counted;
pub use table::{Cache, Costs};

use nc_ir::Tensor;
use nc_ir::types::DType;
use std::collections::BTreeMap;

/// Part of the elements of a spike train that are spikes in a tick, where nothing is known about it.
pub const SPIKES: f64 = 0.05;

/// Part of the elements that are not zero of a value that is declared `@sparse`, or masked by spikes, where nothing else
/// is known about it.
pub const SPARSE: f64 = 0.1;

/// How a product is represented. The order is that of preference where costs are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Repr {
    /// Every weight times every input, in tiles that stay in registers.
    Dense,
    /// The inputs that are not zero, times all of their weights.
    Events,
    /// Every input, times the weights that are not zero: chains side by side, each with its list of links.
    Sparse,
    /// The inputs that are not zero, times those of their weights that are not zero.
    SparseEvents,
    /// For a few outputs side by side those inputs of which one of them has a weight that is not zero.
    Blocks,
    /// Every input, times the weights that are not zero: in each step chains side by side take what lies in a window of inputs.
    Windows,
}

impl Repr {
    /// Every representation.
    pub const ALL: [Repr; 6] =
        [Repr::Dense, Repr::Events, Repr::Sparse, Repr::SparseEvents, Repr::Blocks, Repr::Windows];

    /// The name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Repr::Dense => "dense",
            Repr::Events => "events",
            Repr::Sparse => "sparse",
            Repr::SparseEvents => "sparse-events",
            Repr::Blocks => "blocks",
            Repr::Windows => "windows",
        }
    }

    /// The representation of this name.
    pub fn from_name(name: &str) -> Option<Repr> {
        Repr::ALL.into_iter().find(|r| r.name() == name)
    }
}

impl std::fmt::Display for Repr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Outputs side by side that leave out an input together: of a product of many rows, and of a few.
pub const BLOCKS: [u64; 2] = [16, 32];

/// What is known about the weights of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weights {
    /// Nothing before the program runs, or they are not all finite: every link has to be computed.
    Any,
    /// All are finite, and so many are not zero.
    Known {
        /// Weights that are not zero.
        nonzero: u64,
        /// Inputs of which one of [`BLOCKS`] outputs side by side has a weight that is not zero, summed over these groups of
        /// outputs; `None` if none is left out, or if the weights are no matrix.
        links: Option<[u64; 2]>,
        /// Steps in which slices of chains take all of these weights from windows of inputs; `None` if most weights are not
        /// zero, if inputs are too few, or if the weights are no matrix of 32-bit floats.
        steps: Option<u64>,
    },
}

/// How the input of a product is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// Its events cannot be listed.
    Dense,
    /// Ones at the events, zeros elsewhere.
    Spikes,
    /// Any numbers, among them zeros.
    Graded,
}

/// The window of a convolution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Window {
    /// Positions of the output, for one image.
    pub positions: u64,
    /// Positions that an element of the input reaches, on average.
    pub reach: f64,
    /// Links of an output's chain.
    pub depth: u64,
    /// There is padding: the dense program copies the input into a frame.
    pub padded: bool,
}

/// A product as the predictions see it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Product {
    /// Outputs of one row; output channels of one group for a convolution.
    pub outputs: u64,
    /// Inputs of one row; elements of one image that one group reads for a convolution.
    pub inputs: u64,
    /// Rows that share the weights; images times groups for a convolution.
    pub rows: u64,
    /// Bytes of a weight in a register.
    pub elem: u64,
    /// The weights.
    pub weights: Weights,
    /// The input.
    pub input: Input,
    /// Part of the inputs that are not zero, from 0 to 1.
    pub activity: f64,
    /// The input is known to be finite before the program runs.
    pub finite: bool,
    /// Set for a convolution.
    pub window: Option<Window>,
}

/// A way to compute a product.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Alternative {
    /// How.
    pub repr: Repr,
    /// Predicted time of one product of all rows, in nanoseconds.
    pub ns: f64,
}

/// What was chosen for a product, and from what.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// Name of the product: that of its result, with a number if an earlier one has the same.
    pub name: String,
    /// Name of its input.
    pub input: String,
    /// What it is, for people.
    pub what: String,
    /// Part of its inputs that are taken to be not zero, and where that is from.
    pub activity: (f64, Origin),
    /// The weights.
    pub weights: Weights,
    /// What was chosen.
    pub chosen: Repr,
    /// Why.
    pub reason: Reason,
    /// Every way that there is, cheapest first.
    pub alternatives: Vec<Alternative>,
}

/// Where the activity of a value is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It was measured.
    Profile,
    /// The value is a spike train: [`SPIKES`].
    Spikes,
    /// The value is declared `@sparse` or masked by spikes: [`SPARSE`].
    Sparse,
    /// Nothing is known: all of it is taken to be not zero.
    Unknown,
}

/// Why a representation was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It is the cheapest.
    Cost,
    /// The level chooses by fixed rules.
    Rule,
    /// The caller asked for it.
    Forced,
}

/// What the caller says about representations.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Wishes {
    /// The table of the machine.
    pub costs: Costs,
    /// Measured activities, from 0 to 1, by the name of a product or of a value that is an input of products.
    pub activity: BTreeMap<String, f64>,
    /// Measured activities of values that products take, by the name of the value, for targets that send values.
    pub values: BTreeMap<String, f64>,
    /// Representations that products must have, by their names.
    pub force: BTreeMap<String, Repr>,
    /// Count, for every product, how many elements of its input are not zero. The counters are states of the program that
    /// the model does not have: `profile:N`, for product N of [`crate::Compiled::products`], two `i64` that start at zero,
    /// elements that were not zero so far and all of them. Every product is dense then.
    pub count: bool,
}

/// Elements of a register of outputs in memory.
const LANES: u64 = 4;
/// Nanoseconds that a byte of weights is worth not to have.
const SPACE: f64 = 1e-4;
/// Elements of a register of chains.
const CHAINS: u64 = 8;
/// Part of what it takes to find the operands of a link, where lists are constants and weights follow each other in memory.
const LISTED: f64 = 0.4;
/// Most registers of chains that one pass over the events of a row computes.
const REGISTERS: u64 = 12;

/// Outputs side by side whose chains one pass over the events of a row computes, of so many outputs: as few passes as there
/// can be, all about as wide.
pub(crate) fn row_of_events(outputs: u64, elem: u64) -> u64 {
    if elem != 4 {
        return 64;
    }
    let registers = outputs.div_ceil(CHAINS).max(1);
    CHAINS * registers.div_ceil(registers.div_ceil(REGISTERS))
}

/// Every way to compute a product with its predicted time, cheapest first.
pub fn alternatives(p: &Product, costs: &Costs) -> Vec<Alternative> {
    let mut all = vec![Alternative { repr: Repr::Dense, ns: dense(p, costs) }];
    if let Weights::Known { nonzero, links, steps } = p.weights {
        let listed = p.input != Input::Dense;
        let total = weight_count(p);
        if listed {
            all.push(Alternative { repr: Repr::Events, ns: events(p, costs) });
        }
        if nonzero < total && p.window.is_none() {
            all.push(Alternative { repr: Repr::Sparse, ns: sparse(p, nonzero, costs) });
            if listed {
                all.push(Alternative { repr: Repr::SparseEvents, ns: sparse_events(p, nonzero, costs) });
            }
            if let Some(links) = links {
                all.push(Alternative { repr: Repr::Blocks, ns: blocks(p, links, costs) });
            }
            if let Some(steps) = steps.filter(|_| p.rows < 4 && costs.window > 0.0) {
                all.push(Alternative { repr: Repr::Windows, ns: in_windows(p, steps, costs) });
            }
        }
    }
    all.sort_by(|a, b| a.ns.total_cmp(&b.ns).then(a.repr.cmp(&b.repr)));
    all
}

/// What is known about weights that are known, `[outputs, inputs]` if they are those of rows.
pub fn weights(t: &Tensor) -> Weights {
    counted::weights(t, false)
}

/// What is known about weights that are zero where it says so. For a matrix with so many outputs and inputs come the elements
/// from one to the next.
fn known(dtype: DType, zeros: &[bool], matrix: Option<([u64; 2], [u64; 2])>) -> Weights {
    let nonzero = zeros.iter().filter(|z| !**z).count() as u64;
    let Some(([outputs, inputs], [o, i])) = matrix.filter(|_| nonzero < zeros.len() as u64) else {
        return Weights::Known { nonzero, links: None, steps: None };
    };
    let [many, few] = BLOCKS;
    let mut links = [0, 0];
    let mut seen = [vec![false; inputs as usize], vec![false; inputs as usize]];
    for output in 0..outputs {
        for (k, width) in [many, few].into_iter().enumerate() {
            if output % width == 0 {
                seen[k].fill(false);
            }
        }
        for input in 0..inputs as usize {
            if !zeros[(output * o) as usize + input * i as usize] {
                for (seen, links) in seen.iter_mut().zip(&mut links) {
                    *links += u64::from(!std::mem::replace(&mut seen[input], true));
                }
            }
        }
    }
    let all = outputs.div_ceil(many) * inputs;
    let few = 2 * nonzero <= zeros.len() as u64 && dtype == DType::F32 && inputs <= u64::from(u32::MAX);
    let steps = few.then(|| {
        let taken = |at: u64| (0..inputs).filter(move |input| !zeros[(at + input * i) as usize]).map(|i| i as u32);
        let chains: Vec<Vec<u32>> = (0..outputs).map(|output| taken(output * o).collect()).collect();
        windows::count(&chains)
    });
    Weights::Known { nonzero, links: (links[0] < all).then_some(links), steps: steps.flatten() }
}

/// The weights of a product, zeros among them.
pub fn weight_count(p: &Product) -> u64 {
    p.outputs.saturating_mul(p.window.map_or(p.inputs, |w| w.depth))
}

/// Registers that hold so many elements.
fn registers(n: u64) -> f64 {
    n.div_ceil(LANES) as f64
}

/// A doubled element takes two registers.
fn width(p: &Product) -> f64 {
    if p.elem > 4 { 2.0 } else { 1.0 }
}

/// Registers that hold the chains of so many outputs; where they are not filled by the outputs, by others. Doubled elements
/// have registers of half the size, two lanes in each.
fn chains(p: &Product, outputs: u64) -> f64 {
    outputs.div_ceil(CHAINS) as f64 * if p.elem > 4 { 4.0 } else { 1.0 }
}

/// Tiles of chains: each takes as long as its links one after the other, or as all of their registers.
fn tiles(p: &Product, rows: u64, depth: f64, c: &Costs) -> f64 {
    let (tile_rows, lanes) = match rows {
        0 | 1 => (1, 64),
        2 | 3 => (rows, 32),
        _ => (4, 16),
    };
    let tile = |rows: u64, lanes: u64| {
        let links = depth * (rows as f64 * chains(p, lanes) * c.link).max(c.latency);
        // Sums of a tile that is filled up are brought to their places one by one.
        let brought = if lanes.is_multiple_of(CHAINS) { 0.0 } else { (rows * lanes) as f64 * c.copy };
        links + c.tile + brought
    };
    let column = |lanes: u64| {
        let (whole, rest) = (rows / tile_rows, rows % tile_rows);
        whole as f64 * tile(tile_rows, lanes) + if rest > 0 { tile(rest, lanes) } else { 0.0 }
    };
    let (whole, rest) = (p.outputs / lanes, p.outputs % lanes);
    whole as f64 * column(lanes) + if rest > 0 { column(rest) } else { 0.0 }
}

fn dense(p: &Product, c: &Costs) -> f64 {
    let bytes = weight_count(p) as f64 * p.elem as f64;
    match p.window {
        // Of two that take as long, the smaller one is better.
        None => c.kernel + tiles(p, p.rows, p.inputs as f64, c).max(c.stream(bytes, bytes)) + bytes * SPACE,
        Some(w) => {
            let rows = p.rows.saturating_mul(w.positions);
            let copied = if w.padded { c.kernel + c.frame * (p.rows * p.inputs) as f64 } else { 0.0 };
            let stored = c.channel * (rows * p.outputs) as f64;
            c.kernel + tiles(p, rows, w.depth as f64, c) + stored + copied
        }
    }
}

/// Events of all rows, and what it takes to list them.
fn listed(p: &Product, c: &Costs, by_row: bool) -> (f64, f64) {
    let elements = p.inputs as f64 * p.rows as f64;
    let events = elements * p.activity.clamp(0.0, 1.0);
    if by_row && p.rows > 1 {
        return (events, c.kernel + p.rows as f64 * c.tile + elements * c.list);
    }
    let sorted = if by_row { c.kernel + events * c.walk } else { 0.0 };
    (events, elements * c.scan + events * c.push + sorted)
}

fn events(p: &Product, c: &Costs) -> f64 {
    let (events, list) = listed(p, c, p.rows > 1 || p.window.is_some());
    let vectors = registers(p.outputs) * width(p);
    if let Some(w) = p.window {
        let outputs = (p.rows * p.outputs * w.positions) as f64;
        let reached = events * w.reach;
        let places = reached * (c.place + vectors * c.add);
        return list + c.kernel + events * c.event + places + outputs * c.settle;
    }
    let all = weight_count(p) as f64 * p.elem as f64;
    if p.rows == 1 {
        // Outputs are read and written once for a group of events.
        let compute = events * (c.event + vectors * c.add_row);
        return list
            + c.kernel
            + (compute + vectors * c.add).max(c.stream((events * all / p.inputs.max(1) as f64).min(all), all));
    }
    let lanes = row_of_events(p.outputs, p.elem);
    let panels = p.outputs.div_ceil(lanes) as f64;
    let per_event = |outputs: u64| match outputs {
        0 => 0.0,
        n => (chains(p, n) * c.link + c.index).max(c.latency),
    };
    let links = events * ((p.outputs / lanes) as f64 * per_event(lanes) + per_event(p.outputs % lanes));
    list + c.kernel
        + p.rows as f64 * panels * c.tile
        + links.max(c.stream((events * all / p.inputs.max(1) as f64).min(all), all))
}

/// Bytes of the index of one of `n`.
pub(crate) fn index_bytes(n: u64) -> u64 {
    if n <= 1 << 16 { 2 } else { 4 }
}

fn sparse(p: &Product, nonzero: u64, c: &Costs) -> f64 {
    let elements = p.inputs as f64 * p.rows as f64;
    let look = if p.finite { 0.0 } else { c.kernel + elements * c.look };
    let bytes = nonzero as f64 * (p.elem + index_bytes(p.inputs)) as f64;
    let ends = p.outputs as f64 * c.chain;
    if p.rows < 4 {
        let compute = p.rows as f64 * (nonzero as f64 * c.gather + ends);
        return look + c.kernel + compute.max(p.rows as f64 * c.stream(bytes, bytes));
    }
    // Rows are the lanes; inputs and outputs change places.
    // Chains are short, so that the next one begins before the last one ends.
    let passes = nonzero as f64 * (chains(p, p.rows) * c.link + LISTED * c.index).max(c.latency / 2.0);
    let turned = (elements + p.rows as f64 * p.outputs as f64) * c.turn;
    look + 2.0 * c.kernel + ends + turned + passes.max(c.stream(bytes, bytes))
}

fn in_windows(p: &Product, steps: u64, c: &Costs) -> f64 {
    let look = if p.finite { 0.0 } else { c.kernel + (p.inputs * p.rows) as f64 * c.look };
    let bytes = steps as f64 * (windows::WINDOW as u64 * (p.elem + 1) + index_bytes(p.inputs)) as f64;
    let groups = p.outputs.div_ceil(windows::TOGETHER as u64) as f64;
    let ends = groups * (c.tile + windows::TOGETHER as f64 * c.chain);
    look + c.kernel + p.rows as f64 * (ends + (steps as f64 * c.window).max(c.stream(bytes, bytes)))
}

fn blocks(p: &Product, links: [u64; 2], c: &Costs) -> f64 {
    let few = p.rows < 4;
    let (width, links) = if few { (BLOCKS[1], links[1] as f64) } else { (BLOCKS[0], links[0] as f64) };
    let elements = p.inputs as f64 * p.rows as f64;
    let look = if p.finite { 0.0 } else { c.kernel + elements * c.look };
    let per_tile = p.rows.min(4);
    let passes = p.rows.div_ceil(per_tile.max(1)) as f64;
    let link = (per_tile as f64 * chains(p, width.min(p.outputs)) * c.link + LISTED * c.index).max(c.latency);
    let bytes = links * (width * p.elem + index_bytes(p.inputs)) as f64;
    let tiles = passes * p.outputs.div_ceil(width) as f64 * c.tile;
    look + c.kernel + tiles + (passes * links * link).max(c.stream(bytes, bytes)) + bytes * SPACE
}

fn sparse_events(p: &Product, nonzero: u64, c: &Costs) -> f64 {
    let (events, list) = listed(p, c, true);
    let total = weight_count(p).max(1) as f64;
    let per_event = nonzero as f64 / p.inputs.max(1) as f64;
    let bytes = total.min(nonzero as f64) * (p.elem + index_bytes(p.outputs)) as f64;
    let touched = (events * per_event * (p.elem + index_bytes(p.outputs)) as f64).min(bytes * p.rows as f64);
    let compute = events * (c.event + per_event * c.scatter) + p.rows as f64 * registers(p.outputs) * c.add;
    list + c.kernel + compute.max(c.stream(touched, bytes))
}
