//! What folding does at the borders of `cond`, `scan` and `repeat`: constants move into their bodies, what does not
//! change is captured instead of carried, and what nobody reads is neither captured, carried nor given out.

use crate::rebuild::{Rebuild, constants_of, roots};
use nc_ir::Tensor;
use nc_ir::graph::{Graph, Module, Node, Op, ValueId};
use rustc_hash::FxHashSet;

/// True for the ops whose bodies take whole tensors.
pub fn has_bodies(op: &Op) -> bool {
    matches!(op, Op::If | Op::Scan { .. } | Op::Loop { .. })
}

/// Captured constants become constants of the bodies.
pub fn push_constants(module: &mut Module) {
    let mut consts = vec![None; module.graph.values.len()];
    for node in &module.graph.nodes {
        if let Op::Const { id } = node.op {
            consts[node.results[0].index()] = Some(id);
        }
    }
    for node in &mut module.graph.nodes {
        // The first captured operand, and how far its parameter is from it.
        let (first, before) = match node.op {
            Op::If => (1, 1),
            Op::Scan { carried_count, scanned_count, reverse: _ } => (carried_count + scanned_count, 0),
            Op::Loop { carried_count } => (2 + carried_count, 1),
            _ => continue,
        };
        for k in (first..node.args.len()).rev() {
            let Some(id) = consts[node.args[k].index()] else { continue };
            node.args.remove(k);
            for region in &mut node.regions {
                let p = region.params.remove(k - before);
                let constant = Node { op: Op::Const { id }, args: Vec::new(), regions: Vec::new(), results: vec![p] };
                region.nodes.insert(0, constant);
            }
        }
    }
}

/// Takes out what the bodies show to be superfluous, and ops whose way is known.
pub fn tidy(module: &mut Module) {
    if !module.graph.nodes.iter().any(|n| has_bodies(&n.op)) {
        return;
    }
    let mut used: FxHashSet<ValueId> = roots(module).collect();
    used.extend(module.graph.nodes.iter().flat_map(|n| n.args.iter().copied()));
    let known: Vec<Option<Tensor>> =
        constants_of(&module.graph, &module.consts).into_iter().map(|t| t.filter(|t| t.len() == 1).cloned()).collect();
    let mut rb = Rebuild::new(std::mem::take(module));
    for node in std::mem::take(&mut rb.old.nodes) {
        let known = |v: ValueId| known[v.index()].as_ref();
        match node.op {
            Op::If => match known(node.args[0]).map(|t| t.bytes()[0] != 0) {
                Some(taken) => {
                    let region = &node.regions[usize::from(!taken)];
                    let args = rb.values(&node.args[1..]);
                    let results = rb.inline(region, &args);
                    for (old, new) in node.results.iter().zip(results) {
                        rb.replace(*old, new);
                    }
                }
                None => rb.copy(&branch(node, &used)),
            },
            Op::Scan { .. } | Op::Loop { .. } => {
                let mut l = Loop::of(node);
                if l.runs_never(&rb, known) {
                    l.replace_results(&mut rb);
                    continue;
                }
                for (result, arg) in l.release() {
                    let new = rb.value(arg);
                    rb.replace(result, new);
                }
                l.drop_dead(&used);
                rb.copy(&l.into_node());
            }
            _ => rb.copy(&node),
        }
    }
    *module = rb.finish();
}

/// A `cond` without the results that nobody uses and the operands that no branch reads.
fn branch(mut node: Node, used: &FxHashSet<ValueId>) -> Node {
    for k in (0..node.results.len()).rev() {
        if !used.contains(&node.results[k]) {
            node.results.remove(k);
            for region in &mut node.regions {
                region.results.remove(k);
            }
        }
    }
    let needed: Vec<FxHashSet<ValueId>> = node.regions.iter().map(|r| needed(r, &r.results)).collect();
    for k in (1..node.args.len()).rev() {
        let read = |(r, n): (&Graph, &FxHashSet<ValueId>)| n.contains(&r.params[k - 1]);
        if !node.regions.iter().zip(&needed).any(read) {
            node.args.remove(k);
            for region in &mut node.regions {
                region.params.remove(k - 1);
            }
        }
    }
    for (region, needed) in node.regions.iter_mut().zip(&needed) {
        *region = compact(region, needed);
    }
    node
}

/// The values of a region that these need.
pub fn needed(region: &Graph, of: &[ValueId]) -> FxHashSet<ValueId> {
    let mut live: FxHashSet<ValueId> = of.iter().copied().collect();
    for node in region.nodes.iter().rev() {
        if node.results.iter().any(|r| live.contains(r)) {
            live.extend(&node.args);
        }
    }
    live
}

/// A region with the nodes that make what is needed, and no values besides.
pub fn compact(region: &Graph, needed: &FxHashSet<ValueId>) -> Graph {
    let mut out = Graph::default();
    let mut map = vec![ValueId(0); region.values.len()];
    for p in &region.params {
        let v = &region.values[p.index()];
        map[p.index()] = out.add_param(v.ty.clone(), v.name.clone());
    }
    for node in &region.nodes {
        if !node.results.iter().any(|r| needed.contains(r)) {
            continue;
        }
        for r in &node.results {
            let v = &region.values[r.index()];
            map[r.index()] = out.add_value(v.ty.clone(), v.name.clone());
        }
        let of = |ids: &[ValueId]| ids.iter().map(|v| map[v.index()]).collect::<Vec<ValueId>>();
        let (args, results) = (of(&node.args), of(&node.results));
        out.nodes.push(Node { op: node.op.clone(), args, regions: node.regions.clone(), results });
    }
    out.results = region.results.iter().map(|v| map[v.index()]).collect();
    out
}

/// What a loop hands from one iteration to the next.
struct Carry {
    arg: ValueId,
    param: ValueId,
    next: ValueId,
    result: ValueId,
}

/// A `scan` or a `repeat` in pieces.
struct Loop {
    op: Op,
    /// Trips and condition of a `repeat`.
    head: Vec<ValueId>,
    /// The iteration of a `repeat`.
    iteration: Option<ValueId>,
    /// Whether a `repeat` goes on.
    goes_on: Option<ValueId>,
    carries: Vec<Carry>,
    /// Operand and parameter.
    scanned: Vec<(ValueId, ValueId)>,
    captured: Vec<(ValueId, ValueId)>,
    /// Value of the body and result.
    outputs: Vec<(ValueId, ValueId)>,
    body: Graph,
}

impl Loop {
    fn of(mut node: Node) -> Loop {
        let body = node.regions.pop().unwrap_or_default();
        let (heads, carried, scans) = match node.op {
            Op::Scan { carried_count, scanned_count, reverse: _ } => (0, carried_count, scanned_count),
            Op::Loop { carried_count } => (2, carried_count, 0),
            _ => (0, 0, 0),
        };
        let is_repeat = heads > 0;
        let (head, args) = node.args.split_at(heads);
        let params = &body.params[usize::from(is_repeat)..];
        let results = &body.results[usize::from(is_repeat)..];
        let carries = (0..carried)
            .map(|k| Carry { arg: args[k], param: params[k], next: results[k], result: node.results[k] })
            .collect();
        let pairs: Vec<(ValueId, ValueId)> = args.iter().copied().zip(params.iter().copied()).skip(carried).collect();
        let (scanned, captured) = pairs.split_at(scans);
        Loop {
            head: head.to_vec(),
            iteration: is_repeat.then(|| body.params[0]),
            goes_on: is_repeat.then(|| body.results[0]),
            carries,
            scanned: scanned.to_vec(),
            captured: captured.to_vec(),
            outputs: results.iter().copied().zip(node.results.iter().copied()).skip(carried).collect(),
            op: node.op,
            body,
        }
    }

    /// True if there is no iteration.
    fn runs_never<'k>(&self, rb: &Rebuild, known: impl Fn(ValueId) -> Option<&'k Tensor>) -> bool {
        match self.head.as_slice() {
            [trips, condition] => {
                known(*trips).is_some_and(|t| t.as_slice::<i64>()[0] <= 0)
                    || known(*condition).is_some_and(|t| t.bytes()[0] == 0)
            }
            _ => self.scanned.first().is_some_and(|(x, _)| rb.old.ty(*x).extents().is_some_and(|e| e[0] == 0)),
        }
    }

    /// The results of a loop without iterations: what it begins with, and outputs without rows.
    fn replace_results(&self, rb: &mut Rebuild) {
        for c in &self.carries {
            let new = rb.value(c.arg);
            rb.replace(c.result, new);
        }
        for (_, result) in &self.outputs {
            let ty = rb.old.ty(*result).clone();
            let shape = ty.extents().unwrap_or_default().into_iter().map(|n| n as usize).collect();
            let new = rb.constant("", Tensor::zeros(ty.dtype, shape)).expect("a constant has the type of its data");
            rb.replace(*result, new);
        }
    }

    /// Captures what was carried and does not change; gives the results and the operands that they equal.
    fn release(&mut self) -> Vec<(ValueId, ValueId)> {
        let (same, others) = std::mem::take(&mut self.carries).into_iter().partition(|c| c.next == c.param);
        self.carries = others;
        let same: Vec<Carry> = same;
        self.captured.extend(same.iter().map(|c| (c.arg, c.param)));
        same.iter().map(|c| (c.result, c.arg)).collect()
    }

    /// Drops what nobody reads, inside or outside.
    fn drop_dead(&mut self, used: &FxHashSet<ValueId>) {
        self.outputs.retain(|(_, result)| used.contains(result));
        let mut live: Vec<bool> = self.carries.iter().map(|c| used.contains(&c.result)).collect();
        let read = loop {
            let mut ends: Vec<ValueId> = self.outputs.iter().map(|o| o.0).chain(self.goes_on).collect();
            ends.extend(self.carries.iter().zip(&live).filter(|(_, live)| **live).map(|(c, _)| c.next));
            let read = needed(&self.body, &ends);
            let before = live.clone();
            for (c, live) in self.carries.iter().zip(&mut live) {
                *live |= read.contains(&c.param);
            }
            if live == before {
                break read;
            }
        };
        let mut live = live.into_iter();
        self.carries.retain(|_| live.next().unwrap_or(true));
        self.captured.retain(|(_, p)| read.contains(p));
        // Something has to say how many rows there are.
        let first = self.scanned.first().copied();
        self.scanned.retain(|(_, p)| read.contains(p));
        if self.scanned.is_empty() {
            self.scanned.extend(first);
        }
    }

    fn into_node(self) -> Node {
        let Loop { op, head, iteration, goes_on, carries, scanned, captured, outputs, mut body } = self;
        let op = match op {
            Op::Scan { reverse, .. } => {
                Op::Scan { carried_count: carries.len(), scanned_count: scanned.len(), reverse }
            }
            Op::Loop { .. } => Op::Loop { carried_count: carries.len() },
            op => op,
        };
        let others = || scanned.iter().chain(&captured);
        let args = head.into_iter().chain(carries.iter().map(|c| c.arg)).chain(others().map(|x| x.0)).collect();
        let results = carries.iter().map(|c| c.result).chain(outputs.iter().map(|o| o.1)).collect();
        body.params =
            iteration.into_iter().chain(carries.iter().map(|c| c.param)).chain(others().map(|x| x.1)).collect();
        body.results =
            goes_on.into_iter().chain(carries.iter().map(|c| c.next)).chain(outputs.iter().map(|o| o.0)).collect();
        let read = needed(&body, &body.results);
        Node { op, args, regions: vec![compact(&body, &read)], results }
    }
}
