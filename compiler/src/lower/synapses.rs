//! Events through synapses: `project`, `plastic_pre` and `plastic_post`.
//!
//! Synapses are packed by (part of the target, delay descending, source, target), so that walking the delays, the
//! events of each and the rows of each event delivers in the order (source tick, source) that the op defines, and
//! every part writes only its own targets.

use super::schedule::{event_value, updated};
use super::{ALIGN, Lowering, Source, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::connect::{self, SynapseTable, Weights};
use nc_ir::graph::{ConnId, Graph, LineId, Node, Op, ValueId, expand};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, ListId, Parallel, Role, Scalar, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::rc::Rc;

/// Targets are stored as 16-bit offsets from this when they fit.
const BIAS: i64 = 32768;

/// A packed table in constant buffers.
struct Packed {
    /// Delays in ticks, descending; one group of rows each.
    delays: Vec<u32>,
    /// First entry of row (part, group, source): `[parts][groups][sources + 1]`.
    rows: BufId,
    sources: u64,
    /// Target of each entry, less [`BIAS`] if `narrow`.
    targets: BufId,
    narrow: bool,
    /// Weight of each entry, if they differ.
    weights: Option<BufId>,
    weight: f32,
    /// Number of each entry in the order (source, target), for synapses with state.
    ids: Option<BufId>,
}

/// The parts of a delivering node's operand list.
struct Delivery<'n> {
    conn: ConnId,
    line: Option<LineId>,
    now: &'n [ValueId],
    states: &'n [ValueId],
    reads: &'n [ValueId],
    deliver: &'n Graph,
    pre: Option<&'n Graph>,
}

impl Lowering<'_> {
    /// `project`: static synapses.
    pub fn project(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::Project { conn, line, now_count, state_count } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (now, rest) = node.args.split_at(now_count);
        let (states, reads) = rest.split_at(state_count);
        let deliver = &node.regions[0];
        self.delivery(node, &Delivery { conn, line, now, states, reads, deliver, pre: None })
    }

    /// `plastic_pre`: synapses with state, on arrival.
    pub fn plastic_pre(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::PlasticPre { conn, line, now_count, state_count, synapse_count } = node.op else {
            return Err(unsupported(&node.op));
        };
        let (now, rest) = node.args.split_at(now_count);
        let (states, rest) = rest.split_at(state_count);
        let reads = &rest[..rest.len() - synapse_count];
        let (pre, deliver) = (Some(&node.regions[0]), &node.regions[1]);
        self.delivery(node, &Delivery { conn, line, now, states, reads, deliver, pre })
    }

    fn expanded(&mut self, conn: ConnId) -> Result<Rc<SynapseTable>, Diagnostic> {
        if let Some(t) = self.tables.get(&conn) {
            return Ok(t.clone());
        }
        let c = &self.facts.module.conns[conn.index()];
        let table = connect::expand(c, self.facts.module.pools(), self.options.max_synapses)?;
        if table.len() > i32::MAX as usize {
            return Err(Diagnostic::error_nowhere(
                "E0703",
                format!("`{}` makes {} synapses; one statement can have {}", c.name, table.len(), i32::MAX),
            )
            .with_hint("split the statement over several populations"));
        }
        let table = Rc::new(table);
        self.tables.insert(conn, table.clone());
        Ok(table)
    }

    fn delivery(&mut self, node: &Node, d: &Delivery<'_>) -> Result<(), Diagnostic> {
        self.copy_in(node)?;
        let c = &self.facts.module.conns[d.conn.index()];
        let (name, post_len) = (c.name.clone(), c.post_len);
        let table = self.expanded(d.conn)?;
        if table.is_empty() {
            self.report.push(format!("{name}: no synapses"));
            return Ok(());
        }
        let packed = self.pack(&name, &table, post_len, d.pre.is_some());
        self.report.push(format!(
            "{name}: {} synapses, {}, delays of {}",
            table.len(),
            if packed.weights.is_some() { "a weight each" } else { "one weight" },
            match packed.delays.as_slice() {
                [one] => format!("{one} ticks"),
                all => {
                    let (least, most) = (all.last().copied().unwrap_or(0), all.first().copied().unwrap_or(0));
                    format!("{least} to {most} ticks ({} different)", all.len())
                }
            }
        ));
        let now_list = match d.now.first() {
            Some(v) => {
                let source = Source::Now(event_value(&self.facts, *v));
                let id = self.lists.get(&source).ok_or_else(|| self.bug("events are not collected"))?;
                Some(self.homes.lists[*id])
            }
            None => None,
        };
        let line_list = d.line.and_then(|l| self.homes.line_events[l.index()]);
        // States are read and written where the node's results live.
        let mut states = Vec::new();
        let mut synapses = Vec::new();
        for (k, v) in node.results.iter().enumerate() {
            let place = (self.home(*v)?, self.elem(*v));
            if k < d.states.len() { states.push(place) } else { synapses.push(place) }
        }
        let reads = d.reads.iter().map(|v| self.read(*v)).collect::<Result<Vec<_>, _>>()?;

        let mut b = KernelBuilder::new(format!("deliver {name}"), Some(Parallel { len: post_len, align: ALIGN }), 1);
        let invariant: Vec<Option<Val>> = reads
            .iter()
            .map(|r| match r {
                Read::Known(k) => Some(b.constant(*k)),
                Read::Memory(m) => m.single.then(|| m.load(&mut b, Index::default())),
            })
            .collect();
        let weight = b.constant(Scalar::F32(packed.weight));
        let groups = packed.delays.len() as i64;
        let row_len = packed.sources as i64 + 1;
        let part = b.part();
        let consts = &self.facts.module.consts;
        let mut failure = None;
        let mut synapse = |b: &mut KernelBuilder, k: Val| {
            let target = b.load(packed.targets, if packed.narrow { DType::I16 } else { DType::I32 }, Index::var(k));
            let j = b.op(ScalarOp::I32ToI64, &[target]);
            let at = Index::var(j).offset(if packed.narrow { BIAS } else { 0 });
            let tick = b.tick();
            let mut payload = match packed.weights {
                Some(w) => b.load(w, DType::F32, Index::var(k)),
                None => weight,
            };
            if let (Some(pre), Some(ids)) = (d.pre, packed.ids) {
                let id = b.load(ids, DType::I32, Index::var(k));
                let id = b.op(ScalarOp::I32ToI64, &[id]);
                match synapse_event(b, pre, consts, &synapses, id) {
                    Ok(p) => payload = p.unwrap_or(payload),
                    Err(e) => failure = Some(e),
                }
            }
            let mut args = vec![payload];
            args.extend(states.iter().map(|(buf, elem)| b.load(*buf, *elem, at.clone())));
            for (read, fixed) in reads.iter().zip(&invariant) {
                args.push(match (fixed, read) {
                    (Some(v), _) => *v,
                    (None, Read::Memory(m)) => m.load(b, at.clone()),
                    (None, Read::Known(k)) => b.constant(*k),
                });
            }
            match expand::inline(b, d.deliver, consts, tick, &args) {
                Ok(next) => {
                    for ((buf, _), v) in states.iter().zip(next) {
                        b.store(*buf, at.clone(), v);
                    }
                }
                Err(e) => failure = Some(e),
            }
        };
        let mut walk = |b: &mut KernelBuilder, list: ListId, slot: Val, group: Index| {
            b.events(list, slot, 1, |b, i| {
                let row = group.clone().plus(part, groups * row_len).plus(i[0], 1);
                let from = b.load(packed.rows, DType::I32, row.clone());
                let to = b.load(packed.rows, DType::I32, row.offset(1));
                let (from, to) = (b.op(ScalarOp::I32ToI64, &[from]), b.op(ScalarOp::I32ToI64, &[to]));
                b.for_loop(from, to, false, |b, k| synapse(b, k));
            });
        };
        let delayed = packed.delays.iter().filter(|d| **d > 0).count();
        if delayed > 0 {
            let list =
                line_list.ok_or_else(|| self.bug(format!("`{name}` has delays but its source keeps no line")))?;
            if delayed <= 2 {
                for (g, ticks) in packed.delays[..delayed].iter().enumerate() {
                    let slot = self.slot(&mut b, list, *ticks);
                    walk(&mut b, list, slot, Index::at(g as i64 * row_len));
                }
            } else {
                let slots = i64::from(self.program.lists[list.index()].slots);
                let ticks: Vec<i64> = packed.delays[..delayed].iter().map(|d| i64::from(*d)).collect();
                let ticks = Tensor::from_vec(vec![delayed], ticks).ok_or_else(|| self.bug("delays"))?;
                let ticks =
                    self.program.add_buffer(format!("{name}.delays"), DType::I64, delayed as u64, Role::Const(ticks));
                b.for_count(delayed as u64, false, |b, g| {
                    let back = b.load(ticks, DType::I64, Index::var(g));
                    let (tick, n) = (b.tick(), b.index(slots));
                    let at = b.op(ScalarOp::IAdd, &[tick, n]);
                    let at = b.op(ScalarOp::ISub, &[at, back]);
                    let slot = b.op(ScalarOp::IRem, &[at, n]);
                    walk(b, list, slot, Index::default().plus(g, row_len));
                });
            }
        }
        if delayed < packed.delays.len() {
            let list = now_list.ok_or_else(|| self.bug(format!("`{name}` acts in the same tick but has no source")))?;
            let slot = self.slot(&mut b, list, 0);
            walk(&mut b, list, slot, Index::at(delayed as i64 * row_len));
        }
        if let Some(e) = failure {
            return Err(self.bug(e));
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// `plastic_post`: synapses with state, when their target spikes.
    pub fn plastic_post(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let Op::PlasticPost { conn } = node.op else {
            return Err(unsupported(&node.op));
        };
        self.copy_in(node)?;
        let c = &self.facts.module.conns[conn.index()];
        let (name, post_len) = (c.name.clone(), c.post_len);
        let table = self.expanded(conn)?;
        if table.is_empty() {
            return Ok(());
        }
        let mut rows = vec![0i32; post_len as usize + 1];
        for j in &table.post {
            rows[*j as usize + 1] += 1;
        }
        for k in 0..post_len as usize {
            rows[k + 1] += rows[k];
        }
        let mut next = rows.clone();
        let mut ids = vec![0i32; table.len()];
        for (s, j) in table.post.iter().enumerate() {
            let at = &mut next[*j as usize];
            ids[*at as usize] = s as i32;
            *at += 1;
        }
        let rows = self.int_buffer(format!("{name}.columns"), rows);
        let ids = self.int_buffer(format!("{name}.column_ids"), ids);
        let source = Source::Now(event_value(&self.facts, node.args[0]));
        let id = self.lists.get(&source).ok_or_else(|| self.bug("events are not collected"))?;
        let list = self.homes.lists[*id];
        let mut synapses = Vec::new();
        for v in &node.results {
            synapses.push((self.home(*v)?, self.elem(*v)));
        }
        let mut b = KernelBuilder::new(format!("learn {name}"), Some(Parallel { len: post_len, align: ALIGN }), 1);
        let slot = self.slot(&mut b, list, 0);
        let consts = &self.facts.module.consts;
        let mut failure = None;
        b.events(list, slot, 1, |b, j| {
            let (lo, hi) = (b.lo(), b.hi());
            let below = b.op(ScalarOp::ILt, &[j[0], hi]);
            let above = b.op(ScalarOp::IGe, &[j[0], lo]);
            let own = b.op(ScalarOp::And, &[below, above]);
            b.if_then(own, |b| {
                let from = b.load(rows, DType::I32, Index::var(j[0]));
                let to = b.load(rows, DType::I32, Index::var(j[0]).offset(1));
                let (from, to) = (b.op(ScalarOp::I32ToI64, &[from]), b.op(ScalarOp::I32ToI64, &[to]));
                b.for_loop(from, to, false, |b, k| {
                    let id = b.load(ids, DType::I32, Index::var(k));
                    let id = b.op(ScalarOp::I32ToI64, &[id]);
                    if let Err(e) = synapse_event(b, &node.regions[0], consts, &synapses, id) {
                        failure = Some(e);
                    }
                });
            });
        });
        if let Some(e) = failure {
            return Err(self.bug(e));
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// Copies operands that are not updated in place to where the results live.
    fn copy_in(&mut self, node: &Node) -> Result<(), Diagnostic> {
        for (result, operand) in updated(node) {
            let (from, to) = (node.args[operand], node.results[result]);
            let target = self.home(to)?;
            let view = self.facts.view(from);
            if self.facts.splat(from).is_none() && self.homes.value[view.base.index()] == Some(target) {
                continue;
            }
            let source = self.read(from)?;
            let len = self.facts.count(to);
            let name = format!("copy {}", self.facts.graph().name_of(to));
            let mut b = KernelBuilder::new(name, Some(Parallel { len, align: ALIGN }), 1);
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, true, |b, i| {
                let v = match &source {
                    Read::Known(k) => b.constant(*k),
                    Read::Memory(m) => m.load(b, Index::var(i)),
                };
                b.store(target, Index::var(i), v);
            });
            self.program.push(b.finish());
        }
        Ok(())
    }

    fn read(&mut self, v: ValueId) -> Result<Read, Diagnostic> {
        match self.facts.splat(v) {
            Some(k) => Ok(Read::Known(k)),
            None => self.memory(v).map(Read::Memory),
        }
    }

    fn int_buffer(&mut self, name: String, data: Vec<i32>) -> BufId {
        let len = data.len();
        let data = Tensor::from_vec(vec![len], data).unwrap_or_else(|| Tensor::zeros(DType::I32, vec![len]));
        self.program.add_buffer(name, DType::I32, len as u64, Role::Const(data))
    }

    fn pack(&mut self, name: &str, table: &SynapseTable, post_len: u64, with_ids: bool) -> Packed {
        let parts = self.program.parts.max(1);
        let extent = Parallel { len: post_len, align: ALIGN };
        let ends: Vec<u64> = (0..parts).map(|p| extent.range(p, parts).1).collect();
        let part_of = |j: u32| ends.partition_point(|end| *end <= u64::from(j));
        let mut delays: Vec<u32> = match &table.delay {
            connect::Delays::Uniform(d) => vec![*d],
            connect::Delays::Per(v) => v.clone(),
        };
        delays.sort_unstable_by(|a, b| b.cmp(a));
        delays.dedup();
        let group_of = |s: usize| {
            let d = table.delay.at(s);
            delays.partition_point(|x| *x > d)
        };
        let sources = table.pre_len();
        let (groups, row_len) = (delays.len(), sources + 1);
        // Counting sort by (part, group, source); within a row the targets are already in order.
        let mut rows = vec![0i32; parts as usize * groups * row_len + 1];
        let row = |s: usize, i: usize| (part_of(table.post[s]) * groups + group_of(s)) * row_len + i;
        for i in 0..sources {
            for s in table.row(i) {
                rows[row(s, i) + 1] += 1;
            }
        }
        for k in 1..rows.len() {
            rows[k] += rows[k - 1];
        }
        let mut next = rows.clone();
        let mut order = vec![0u32; table.len()];
        for i in 0..sources {
            for s in table.row(i) {
                let at = &mut next[row(s, i)];
                order[*at as usize] = s as u32;
                *at += 1;
            }
        }
        let narrow = post_len <= 65536;
        let targets = order.iter().map(|s| table.post[*s as usize]);
        let (elem, targets) = if narrow {
            let v: Vec<i16> = targets.map(|j| (i64::from(j) - BIAS) as i16).collect();
            (DType::I16, Tensor::from_vec(vec![v.len()], v))
        } else {
            let v: Vec<i32> = targets.map(|j| j as i32).collect();
            (DType::I32, Tensor::from_vec(vec![v.len()], v))
        };
        let n = order.len() as u64;
        let targets = targets.unwrap_or_else(|| Tensor::zeros(elem, vec![order.len()]));
        let targets = self.program.add_buffer(format!("{name}.targets"), elem, n, Role::Const(targets));
        let (weight, weights) = match &table.weight {
            Weights::Scalar(w) => (*w, None),
            Weights::Per(w) => {
                let v: Vec<f32> = order.iter().map(|s| w[*s as usize]).collect();
                let data =
                    Tensor::from_vec(vec![v.len()], v).unwrap_or_else(|| Tensor::zeros(DType::F32, vec![order.len()]));
                (0.0, Some(self.program.add_buffer(format!("{name}.weights"), DType::F32, n, Role::Const(data))))
            }
        };
        let ids = with_ids.then(|| self.int_buffer(format!("{name}.ids"), order.iter().map(|s| *s as i32).collect()));
        let rows = self.int_buffer(format!("{name}.rows"), rows);
        Packed { delays, rows, sources: sources as u64, targets, narrow, weights, weight, ids }
    }
}

/// A value that is the same for all, or one per target.
enum Read {
    Known(Scalar),
    Memory(super::homes::Memory),
}

/// Runs a synapse region on synapse `id`: `(elapsed, values..)` to `([payload,] values..)`, and notes the tick. Gives
/// the payload if the region has one result more than there are values.
fn synapse_event(
    b: &mut KernelBuilder,
    region: &Graph,
    consts: &[nc_ir::graph::Constant],
    synapses: &[(BufId, DType)],
    id: Val,
) -> Result<Option<Val>, String> {
    let Some(((last, _), values)) = synapses.split_last() else {
        return Err("a synapse has no tick of its last event".into());
    };
    let tick = b.tick();
    let since = b.load(*last, DType::I64, Index::var(id));
    let elapsed = b.op(ScalarOp::ISub, &[tick, since]);
    let mut args = vec![elapsed];
    args.extend(values.iter().map(|(buf, elem)| b.load(*buf, *elem, Index::var(id))));
    let results = expand::inline(b, region, consts, tick, &args)?;
    let (payload, next) = match results.len().checked_sub(values.len()) {
        Some(0) => (None, &results[..]),
        Some(1) => (Some(results[0]), &results[1..]),
        _ => return Err(format!("a synapse region gives {} values", results.len())),
    };
    for ((buf, _), v) in values.iter().zip(next) {
        b.store(*buf, Index::var(id), *v);
    }
    b.store(*last, Index::var(id), tick);
    Ok(payload)
}
