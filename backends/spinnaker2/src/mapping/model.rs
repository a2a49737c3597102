//! The mapping problem of a model: its neurons, and who spikes to whom.
//!
//! A neuron is an element of a population ([`crate::split`]): what is computed element by element together. Synapses are those
//! of connections, and what contractions read: a layer's inputs, the window of a convolution. Element-wise operations and
//! movements of data between a population and its readers are looked through.

use super::{Problem, Table};
use crate::split::SplitError;
use crate::split::facts::{Facts, Kind};
use crate::split::uses::{Use, extents, uses};
use nc_ir::graph::connect::expand;
use nc_ir::graph::{Class, Module, Node, Op, ValueId};
use rustc_hash::FxHashMap;

/// Bytes of a neuron: states, a share of frames and tables. An estimate, the same for all ways of filling cores.
pub const NEURON_BYTES: u32 = 40;
/// Bytes of a synapse: half for its source, half for its weight.
pub const SYNAPSE_BYTES: u32 = 4;

/// Neurons with their synapses.
#[derive(Clone, Debug, Default)]
pub struct Neurons {
    /// Names of populations, each with its first neuron.
    pub populations: Vec<(String, u32)>,
    /// The number of each as the splitter counts them.
    pub numbers: Vec<usize>,
    /// Number of neurons.
    pub count: u32,
    /// Population of each neuron.
    pub kind: Vec<u32>,
    /// The synapses.
    pub table: Table,
}

/// Where the elements of a value come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Origin {
    Input(usize),
    Population(usize),
}

/// Takes a solved module with known extents apart. Each neuron and each element of an input is a source that spikes as
/// often as `rate` says of its population or input, by name.
///
/// # Errors
/// If extents are not known, equations are not solved, or there are more than `max_synapses`.
pub fn neurons(module: &Module, rate: impl Fn(&str) -> u32, max_synapses: u64) -> Result<Neurons, SplitError> {
    let mut facts = Facts::new(module.clone())?;
    facts.order(&vec![true; facts.populations.len()]);
    let mut r = Reader { facts, sizes: Vec::new(), to: FxHashMap::default(), left: max_synapses };
    r.sizes = r.sizes();
    for k in 0..r.facts.module.graph.nodes.len() {
        if r.facts.live[k] {
            let node = r.facts.module.graph.nodes[k].clone();
            r.node(&node)?;
        }
    }
    Ok(r.finish(rate))
}

/// Bytes of each neuron by what it receives.
pub fn weights(table: &Table, neurons: u32) -> Vec<u32> {
    let mut weight = vec![NEURON_BYTES; neurons as usize];
    for t in &table.targets {
        let w = &mut weight[*t as usize];
        *w = w.saturating_add(SYNAPSE_BYTES);
    }
    weight
}

impl Neurons {
    /// The problem of distributing them over cores with this many bytes. If `apart`, populations do not share cores.
    pub fn problem(&self, capacity: u64, apart: bool) -> Problem<'_> {
        let weight = weights(&self.table, self.count);
        Problem { weight, kind: if apart { self.kind.clone() } else { Vec::new() }, capacity, spikes: &self.table }
    }
}

struct Reader {
    facts: Facts,
    /// Elements of each population; 0 for those that nothing is a neuron of.
    sizes: Vec<u64>,
    /// Targets, as population and element, of each source.
    to: FxHashMap<(Origin, u64), Vec<(usize, u32)>>,
    left: u64,
}

impl Reader {
    fn elements(&self, v: ValueId) -> u64 {
        extents(&self.facts.module.graph, v).iter().product()
    }

    /// The largest value of each population that is computed.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; self.facts.populations.len()];
        for (k, node) in self.facts.module.graph.nodes.iter().enumerate() {
            for v in node.results.iter().filter(|_| self.facts.live[k]) {
                if matches!(self.facts.kind(*v), Kind::Node(_)) && !self.moved(node) {
                    let s = &mut sizes[self.facts.population[v.index()]];
                    *s = (*s).max(self.elements(*v));
                }
            }
        }
        sizes
    }

    /// True for what only hands on elements as they are.
    fn moved(&self, node: &Node) -> bool {
        matches!(node.op, Op::Reshape { .. } | Op::Cast { .. })
            || matches!(node.op, Op::Broadcast { .. }) && self.elements(node.args[0]) == self.elements(node.results[0])
    }

    /// The population or input whose element k the element k of a value is, if it is computed.
    fn origin(&self, mut v: ValueId) -> Option<Origin> {
        for _ in 0..self.facts.module.graph.values.len() + self.facts.module.states.len() {
            match self.facts.kind(v) {
                Kind::Host(k) => return Some(Origin::Input(k)),
                Kind::State(s) => v = self.facts.module.states[s].next,
                Kind::Past(line, _) => v = self.facts.module.lines[line.index()].source,
                Kind::Node(k) | Kind::Moved(k) => {
                    let node = &self.facts.module.graph.nodes[k];
                    let p = self.facts.population[v.index()];
                    if !self.moved(node) && self.sizes[p] == self.elements(v) {
                        return Some(Origin::Population(p));
                    }
                    // One operand with as many elements: it is looked through.
                    let whole: Vec<ValueId> = node
                        .args
                        .iter()
                        .copied()
                        .filter(|a| self.elements(*a) == self.elements(v) && self.facts.kind(*a) != Kind::Anywhere)
                        .collect();
                    match (whole.as_slice(), node.op.info().class) {
                        ([a], Class::Elementwise) => v = *a,
                        ([a], _) if self.moved(node) => v = *a,
                        _ => return None,
                    }
                }
                Kind::Anywhere => return None,
            }
        }
        None
    }

    fn node(&mut self, node: &Node) -> Result<(), SplitError> {
        let Some(result) = node.results.first().copied() else { return Ok(()) };
        if self.moved(node) || !matches!(self.facts.kind(result), Kind::Node(_)) {
            return Ok(());
        }
        let p = self.facts.population[result.index()];
        match &node.op {
            Op::Project { conn, line, now_count, .. } => {
                let c = &self.facts.module.conns[conn.index()];
                let table =
                    expand(c, self.facts.module.pools(), self.left).map_err(|e| SplitError(e.message.clone()))?;
                self.left = self.left.saturating_sub(table.len() as u64);
                let past = line.map(|l| self.facts.module.lines[l.index()].source);
                let Some(from) = node.args.first().filter(|_| *now_count > 0).copied().or(past) else { return Ok(()) };
                let Some(from) = self.origin(from) else { return Ok(()) };
                for i in 0..table.pre_len() {
                    let row = table.row(i);
                    if !row.is_empty() {
                        let to = self.to.entry((from, i as u64)).or_default();
                        to.extend(row.map(|s| (p, table.post[s])));
                    }
                }
                return Ok(());
            }
            Op::Conv { stride, pad, dilation, groups } => {
                let g = &self.facts.module.graph;
                let (x, w, o) = (extents(g, node.args[0]), extents(g, node.args[1]), extents(g, result));
                let n = w.len() - 2;
                let (input, output, size) = (&x[x.len() - n..], &o[o.len() - n..], &w[2..]);
                let shape = Windows { input, output, size, stride, pad, dilation, groups: *groups };
                if let Some(from) = self.origin(node.args[0]) {
                    return self.conv(node, from, p, &shape);
                }
            }
            Op::Pool { size, stride, pad, dilation, .. } => {
                let g = &self.facts.module.graph;
                let (x, o) = (extents(g, node.args[0]), extents(g, result));
                let n = size.len();
                let (input, output) = (&x[x.len() - n..], &o[o.len() - n..]);
                let groups = x.len().checked_sub(n + 1).map_or(1, |k| x[k]);
                let shape = Windows { input, output, size, stride, pad, dilation, groups };
                if let Some(from) = self.origin(node.args[0]) {
                    return self.conv(node, from, p, &shape);
                }
            }
            _ => {}
        }
        if matches!(node.op.info().class, Class::Data) {
            return Ok(());
        }
        // What is read as a whole goes to every element.
        let uses = uses(&self.facts.module, node);
        for (j, a) in node.args.iter().enumerate() {
            if uses.as_ref().is_none_or(|u| u[j] == Use::Rows) && node.op.info().class == Class::Elementwise {
                continue;
            }
            // Within a population only contractions read other elements.
            let within = node.op.info().class == Class::Contraction;
            let Some(from) = self.origin(*a).filter(|o| within || *o != Origin::Population(p)) else { continue };
            let (n, m) = (self.elements(*a), self.elements(result));
            self.take(n.saturating_mul(m))?;
            for i in 0..n {
                self.to.entry((from, i)).or_default().extend((0..m as u32).map(|t| (p, t)));
            }
        }
        Ok(())
    }

    fn take(&mut self, n: u64) -> Result<(), SplitError> {
        let left = self.left.checked_sub(n);
        self.left = left.ok_or_else(|| SplitError(format!("{n} synapses are more than the limit allows")))?;
        Ok(())
    }

    /// The synapses of a convolution, or of a pool, which goes from channel to channel.
    fn conv(&mut self, node: &Node, from: Origin, p: usize, shape: &Windows<'_>) -> Result<(), SplitError> {
        let g = &self.facts.module.graph;
        let (x, out) = (extents(g, node.args[0]), extents(g, node.results[0]));
        let (area, oarea): (u64, u64) = (shape.input.iter().product(), shape.output.iter().product());
        let channels = |s: &[u64], space: usize| {
            s.len().checked_sub(space + 1).map_or((1, 1), |k| (s[..k].iter().product(), s[k]))
        };
        let space = shape.input.len();
        let ((batch, cin), (_, cout)): ((u64, u64), (u64, u64)) = (channels(&x, space), channels(&out, space));
        let (each_in, each_out) = (cin / shape.groups.max(1), cout / shape.groups.max(1));
        let windows = shape.windows();
        let taps: u64 = windows.iter().map(|w| w.len() as u64).sum();
        self.take(taps * batch * cout * each_in)?;
        for b in 0..batch {
            for i in 0..cin {
                let group = i / each_in.max(1);
                for o in group * each_out..(group + 1) * each_out {
                    for (place, window) in windows.iter().enumerate() {
                        for at in window {
                            let source = (b * cin + i) * area + at;
                            let target = (b * cout + o) * oarea + place as u64;
                            self.to.entry((from, source)).or_default().push((p, target as u32));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, rate: impl Fn(&str) -> u32) -> Neurons {
        // Populations that receive, and those that send, have neurons.
        let mut used = vec![false; self.sizes.len()];
        for ((from, _), to) in &self.to {
            if let Origin::Population(p) = from {
                used[*p] = true;
            }
            to.iter().for_each(|(p, _)| used[*p] = true);
        }
        let mut out = Neurons { table: Table::new(), ..Neurons::default() };
        let mut base = vec![0; used.len()];
        for (p, size) in self.sizes.iter().enumerate().filter(|(p, _)| used[*p]) {
            base[p] = out.count;
            let kind = out.populations.len() as u32;
            out.populations.push((self.facts.populations[p].name.clone(), out.count));
            out.numbers.push(p);
            out.count += *size as u32;
            out.kind.extend(std::iter::repeat_n(kind, *size as usize));
        }
        let mut add = |from: Origin, vertex: Option<u32>, rate: u32| {
            let k = match from {
                Origin::Population(p) => (from, u64::from(vertex.unwrap_or(0) - base[p])),
                Origin::Input(_) => (from, u64::from(vertex.unwrap_or(0))),
            };
            let mut to = self.to.remove(&k).unwrap_or_default();
            to.sort_unstable();
            let own = vertex.filter(|_| matches!(from, Origin::Population(_)));
            out.table.add(own, rate.max(1), to.iter().map(|(p, t)| base[*p] + t));
        };
        for (k, port) in self.facts.module.inputs.iter().enumerate() {
            let n: u64 = extents(&self.facts.module.graph, port.value).iter().product();
            (0..n as u32).for_each(|i| add(Origin::Input(k), Some(i), rate(&port.name)));
        }
        for (p, size) in self.sizes.iter().enumerate().filter(|(p, _)| used[*p]) {
            let rate = rate(&self.facts.populations[p].name);
            (0..*size as u32).for_each(|i| add(Origin::Population(p), Some(base[p] + i), rate));
        }
        out
    }
}

/// Windows that slide over the last axes.
struct Windows<'a> {
    input: &'a [u64],
    output: &'a [u64],
    size: &'a [u64],
    stride: &'a [u64],
    pad: &'a [u64],
    dilation: &'a [u64],
    groups: u64,
}

impl Windows<'_> {
    /// The places of the input that each place of the output sees, both row-major.
    fn windows(&self) -> Vec<Vec<u64>> {
        let (places, taps): (u64, u64) = (self.output.iter().product(), self.size.iter().product());
        let seen = |place: u64, tap: u64| {
            let (mut place, mut tap, mut at, mut scale) = (place, tap, 0, 1);
            for k in (0..self.input.len()).rev() {
                let (o, t) = (place % self.output[k], tap % self.size[k]);
                (place, tap) = (place / self.output[k], tap / self.size[k]);
                let x = (o * self.stride[k] + t * self.dilation[k]).checked_sub(self.pad[k])?;
                if x >= self.input[k] {
                    return None;
                }
                at += x * scale;
                scale *= self.input[k];
            }
            Some(at)
        };
        (0..places).map(|p| (0..taps).filter_map(|t| seen(p, t)).collect()).collect()
    }
}
