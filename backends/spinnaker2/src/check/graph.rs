//! That what a core computes and sends is what the model says: its graph and the model's, operation by operation.
//!
//! A value of a piece is compared with a value of the model, each some ticks ago. What a piece receives stands for a stream,
//! one tick ago if it is `late`; what it keeps as a state stands for the state of that name, which is shown by its next
//! value; delay lines on both sides only move ticks. So all ways in which a piece may remember come down to the same
//! sums of ticks.

use crate::bundle::{Core, Manifest, Source};
use crate::split::{Use, axis_of, constant, for_rows, row_count, uses};
use nc_ir::graph::connect::{SynapseTable, expand};
use nc_ir::graph::{ConnId, ConstId, Graph, LineId, Module, Node, Op, ValueId};
use nc_ir::tensor::Tensor;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// What a late frame must hold before the first tick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Initial {
    /// The start of this state of the model.
    State(usize),
    /// Zeros.
    Zero,
}

/// The model, with what is looked up again and again.
pub struct Model<'a> {
    pub module: &'a Module,
    def: Vec<Option<usize>>,
    states: FxHashMap<ValueId, usize>,
    tables: FxHashMap<ConnId, SynapseTable>,
    max_synapses: u64,
}

fn definitions(g: &Graph) -> Vec<Option<usize>> {
    let mut def = vec![None; g.values.len()];
    for (k, n) in g.nodes.iter().enumerate() {
        for r in &n.results {
            def[r.index()] = Some(k);
        }
    }
    def
}

impl<'a> Model<'a> {
    pub fn new(module: &'a Module, max_synapses: u64) -> Model<'a> {
        Model {
            module,
            def: definitions(&module.graph),
            states: module.states.iter().enumerate().map(|(k, s)| (s.read, k)).collect(),
            tables: FxHashMap::default(),
            max_synapses,
        }
    }

    fn node(&self, v: ValueId) -> Option<&'a Node> {
        self.def.get(v.index()).copied().flatten().map(|k| &self.module.graph.nodes[k])
    }

    fn table(&mut self, conn: ConnId) -> Result<&SynapseTable, String> {
        if !self.tables.contains_key(&conn) {
            let c = &self.module.conns[conn.index()];
            let t = expand(c, self.module.pools(), self.max_synapses).map_err(|e| e.message)?;
            self.tables.insert(conn, t);
        }
        self.tables.get(&conn).ok_or_else(|| "a connection is missing".to_owned())
    }
}

/// A value some ticks ago.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct At {
    value: ValueId,
    age: u32,
}

struct Proof<'a, 'm> {
    model: &'m mut Model<'a>,
    piece: &'m Module,
    def: Vec<Option<usize>>,
    inputs: FxHashMap<ValueId, usize>,
    /// Reads of the piece's states, with the number of the model's.
    states: FxHashMap<ValueId, usize>,
    core: &'m Core,
    manifest: &'m Manifest,
    rows: Option<Range<u64>>,
    /// The model's rows that `rows` are, if these are places in another order.
    list: Option<Vec<u32>>,
    done: FxHashSet<(At, At, bool)>,
    initial: Vec<Option<Initial>>,
}

/// Shows that a core's piece computes its part of every stream that it sends. What its late frames must hold first.
pub fn prove(
    model: &mut Model<'_>,
    piece: &Module,
    core: &Core,
    manifest: &Manifest,
) -> Result<Vec<Option<Initial>>, String> {
    nc_ir::graph::verify::verify(piece).map_err(|e| e.to_string())?;
    if piece.inputs.len() != core.receives.len() || piece.outputs.len() != core.sends.len() {
        return Err("its graph has other inputs or outputs than the core receives or sends".into());
    }
    let mut states = FxHashMap::default();
    for s in &piece.states {
        let of = model.module.states.iter().position(|m| m.name == s.name);
        states.insert(s.read, of.ok_or_else(|| format!("the model has no state `{}`", s.name))?);
    }
    let rows = core.rows.map(|r| r[0]..r[1]);
    let list = core.order.clone();
    if list.as_ref().is_some_and(|l| rows.as_ref().is_none_or(|r| r.end.checked_sub(r.start) != Some(l.len() as u64))) {
        return Err("its rows are not as many as their order".into());
    }
    let mut p = Proof {
        list,
        def: definitions(&piece.graph),
        inputs: piece.inputs.iter().enumerate().map(|(k, p)| (p.value, k)).collect(),
        states,
        rows,
        done: FxHashSet::default(),
        initial: vec![None; core.receives.len()],
        model,
        piece,
        core,
        manifest,
    };
    for (out, send) in piece.outputs.iter().zip(&core.sends) {
        let s = &manifest.streams[send.stream];
        let Source::Value(v) = s.source else { return Err(format!("it sends the input {}", s.name)) };
        let own = s.row_of(send.part)..s.row_of(send.part + 1);
        if own != p.rows.clone().unwrap_or(0..s.rows) {
            return Err(format!("it sends rows {own:?} of {}, and computes others", s.name));
        }
        let sent = s.order.as_ref().map(|o| o.get(own.start as usize..own.end as usize));
        if p.rows.is_some() && sent != p.list.as_deref().map(Some) || p.rows.is_none() && sent.is_some() {
            return Err(format!("it sends {} in another order than it computes", s.name));
        }
        p.same(At { value: out.value, age: 0 }, At { value: ValueId(v), age: 0 }, true)?;
    }
    for s in &piece.states {
        let k = p.states[&s.read];
        let of = &p.model.module.states[k];
        let (ours, theirs) = (&piece.consts[s.init.index()].data, &p.model.module.consts[of.init.index()].data);
        if !p.constant(ours, theirs, true) {
            return Err(format!("state `{}` starts as something else", s.name));
        }
        let next = of.next;
        p.same(At { value: s.next, age: 0 }, At { value: next, age: 0 }, true)?;
    }
    Ok(p.initial)
}

fn shape(g: &Graph, v: ValueId) -> Vec<u64> {
    g.ty(v).extents().unwrap_or_default()
}

impl<'a> Proof<'a, '_> {
    fn node(&self, v: ValueId) -> Option<&Node> {
        self.def.get(v.index()).copied().flatten().map(|k| &self.piece.graph.nodes[k])
    }

    /// Shows that `p` is all of `m`, or the piece's rows of it.
    fn same(&mut self, p: At, m: At, rows: bool) -> Result<(), String> {
        let rows = rows && self.rows.is_some();
        if m.value.index() >= self.model.module.graph.values.len() {
            return Err(format!("the model has no value {}", m.value));
        }
        if !self.done.insert((p, m, rows)) {
            return Ok(());
        }
        if let Some(k) = self.inputs.get(&p.value) {
            let wanted = match &self.rows {
                Some(r) if rows => Some([r.start, r.end]),
                _ => None,
            };
            return self.received(*k, p.age, m, wanted);
        }
        if let Some(s) = self.states.get(&p.value) {
            let read = self.model.module.states[*s].read;
            return match read == m.value && p.age == m.age {
                true => Ok(()),
                false => Err(format!("the state `{}` stands for another value", self.model.module.states[*s].name)),
            };
        }
        let Some(node) = self.node(p.value).cloned() else {
            return Err(format!("{} comes from nowhere", p.value));
        };
        if let Op::Delayed { line, ticks } = node.op {
            let source = self.piece.lines[line.index()].source;
            return self.same(At { value: source, age: p.age + ticks }, m, rows);
        }
        let theirs = self.model.node(m.value);
        if matches!(node.op, Op::Gather { .. })
            && shape(&self.model.module.graph, m.value).len() == 1
            && !matches!(theirs.map(|n| &n.op), Some(Op::Gather { .. }))
        {
            // Elements put in another order: these must be all of the model's value, or the piece's rows.
            let found = self.elements(p, m)?;
            let n = shape(&self.model.module.graph, m.value)[0];
            let own = match (&self.list, &self.rows) {
                (Some(list), _) if rows => found.iter().copied().eq(list.iter().map(|i| u64::from(*i))),
                (None, Some(r)) if rows => found.iter().copied().eq(r.clone()),
                _ => found.iter().copied().eq(0..n),
            };
            let name = self.model.module.graph.name_of(m.value);
            return if own { Ok(()) } else { Err(format!("`{name}` is put in another order")) };
        }
        // A name of its own for a value that leaves the model.
        if matches!(node.op, Op::Reshape { .. })
            && shape(&self.piece.graph, node.args[0]) == shape(&self.piece.graph, p.value)
            && !matches!(theirs.map(|n| &n.op), Some(Op::Reshape { .. }))
        {
            return self.same(At { value: node.args[0], ..p }, m, rows);
        }
        if let (Op::Slice { start, stop, step }, Some(r), true, None) = (&node.op, &self.rows, rows, &self.list) {
            let whole = shape(&self.piece.graph, node.args[0]);
            let mut all = whole.clone();
            all.iter_mut().for_each(|n| *n = 0);
            let (mut from, mut to) = (all, whole.clone());
            let axis = axis_of(&whole);
            if let (Some(a), Some(b)) = (from.get_mut(axis), to.get_mut(axis)) {
                (*a, *b) = (r.start, r.end);
            }
            if *start == from
                && *stop == to
                && step.iter().all(|s| *s == 1)
                && whole == shape(&self.model.module.graph, m.value)
            {
                return self.same(At { value: node.args[0], ..p }, m, false);
            }
        }
        let Some(theirs) = theirs else { return self.elsewhere(p, m, rows) };
        if let Op::Delayed { line, ticks } = theirs.op {
            let source = self.model.module.lines[line.index()].source;
            return self.same(p, At { value: source, age: m.age + ticks }, rows);
        }
        self.operation(&node, p, theirs, m, rows)
    }

    /// The model's value is no node's: a state, whose last value a node of the piece may be.
    fn elsewhere(&mut self, p: At, m: At, rows: bool) -> Result<(), String> {
        match self.model.states.get(&m.value) {
            Some(s) if p.age > m.age => {
                let next = self.model.module.states[*s].next;
                self.same(p, At { value: next, age: m.age + 1 }, rows)
            }
            _ => Err(format!("`{}` is computed as something else", self.model.module.graph.name_of(m.value))),
        }
    }

    /// Input `k` of the piece, some ticks ago: the rows of `m` that are wanted, or all.
    fn received(&mut self, k: usize, age: u32, m: At, wanted: Option<[u64; 2]>) -> Result<(), String> {
        let r = self.core.receives[k];
        let s = &self.manifest.streams[r.stream];
        let ordered = match (wanted, &s.order) {
            // All rows, in the model's order.
            (None, order) => order.is_none(),
            // The piece's own rows, in its own order.
            (Some([a, b]), Some(o)) => self.list.as_deref() == o.get(a as usize..b as usize),
            (Some(_), None) => self.list.is_none(),
        };
        let wanted = wanted.unwrap_or([0, s.rows]);
        if r.rows != wanted || !ordered {
            return Err(format!("rows {:?} of {} are received, {wanted:?} are needed", r.rows, s.name));
        }
        self.sent_then(k, age, m)
    }

    /// Shows that what input `k` of the piece received some ticks ago is of `m`, whichever rows.
    fn sent_then(&mut self, k: usize, age: u32, m: At) -> Result<(), String> {
        let r = self.core.receives[k];
        let s = &self.manifest.streams[r.stream];
        let age = age + u32::from(r.late);
        let target = match s.source {
            Source::Value(v) => ValueId(v),
            Source::Input(i) => self.model.module.inputs[i].value,
        };
        let goal = At { value: target, age };
        let (mut at, mut initial) = (m, Initial::Zero);
        while at != goal && at.age <= age {
            if let Some(k) = self.model.states.get(&at.value) {
                initial = Initial::State(*k);
                at = At { value: self.model.module.states[*k].next, age: at.age + 1 };
            } else if let Some(Node { op: Op::Delayed { line, ticks }, .. }) = self.model.node(at.value) {
                initial = Initial::Zero;
                at = At { value: self.model.module.lines[line.index()].source, age: at.age + ticks };
            } else {
                break;
            }
        }
        if at != goal {
            let name = self.model.module.graph.name_of(m.value);
            let (from, to) = (&s.name, m.age);
            return Err(format!("{from} of {age} ticks ago is received for `{name}` of {to} ticks ago"));
        }
        if r.late {
            match &self.initial[k] {
                Some(other) if *other != initial => {
                    return Err(format!("{} is two values before the first tick", s.name));
                }
                _ => self.initial[k] = Some(initial),
            }
        }
        Ok(())
    }

    /// Shows that `p` is elements of the vector `m`; their numbers.
    fn elements(&mut self, p: At, m: At) -> Result<Vec<u64>, String> {
        let &[n] = &shape(&self.model.module.graph, m.value)[..] else { return Err("no vector".into()) };
        if let Some(k) = self.inputs.get(&p.value).copied() {
            let r = self.core.receives[k];
            let s = &self.manifest.streams[r.stream];
            if s.row_elements != 1 || s.rows != n {
                return Err(format!("{} is no vector of these elements", s.name));
            }
            self.sent_then(k, p.age, m)?;
            let places = r.rows[0]..r.rows[1];
            return Ok(match &s.order {
                None => places.collect(),
                Some(o) => places.filter_map(|q| o.get(q as usize).map(|i| u64::from(*i))).collect(),
            });
        }
        let node = self.node(p.value).cloned();
        match node.as_ref().map(|n| (&n.op, &n.args[..])) {
            Some((Op::Delayed { line, ticks }, _)) => {
                let source = self.piece.lines[line.index()].source;
                self.elements(At { value: source, age: p.age + ticks }, m)
            }
            Some((Op::Concat { axis: 0 }, args)) => {
                let mut all = Vec::new();
                for a in args {
                    all.extend(self.elements(At { value: *a, ..p }, m)?);
                }
                Ok(all)
            }
            Some((Op::Gather { axis: 0 }, [of, index])) => {
                let from = self.elements(At { value: *of, ..p }, m)?;
                let index = constant(self.piece, *index).map(|id| &self.piece.consts[id.index()].data);
                let index = index.filter(|t| t.dtype() == nc_ir::types::DType::I64 && t.shape().len() == 1);
                let index = index.ok_or("elements are picked by something that is no constant")?;
                let at = |k: &i64| usize::try_from(*k).ok().and_then(|k| from.get(k)).copied();
                let all: Option<Vec<u64>> = index.as_slice::<i64>().iter().map(at).collect();
                all.ok_or_else(|| "an element is picked that is not there".to_owned())
            }
            _ => self.same(p, m, false).map(|()| (0..n).collect()),
        }
    }

    /// True if a constant of the piece is the model's, or the piece's rows of it.
    fn constant(&self, ours: &Tensor, theirs: &Tensor, rows: bool) -> bool {
        match &self.rows {
            Some(_) if rows && self.list.is_some() && theirs.shape().len() == 1 => {
                let size = theirs.dtype().size();
                let list = self.list.as_deref().unwrap_or_default();
                let row = |k: &u32| theirs.bytes().get(*k as usize * size..(*k as usize + 1) * size);
                let same = |(k, x): (&u32, &[u8])| row(k) == Some(x);
                ours.dtype() == theirs.dtype()
                    && ours.shape() == [list.len()]
                    && list.iter().zip(ours.bytes().chunks_exact(size)).all(same)
            }
            Some(r) if rows && ours != theirs && self.list.is_none() => {
                let shape: Vec<u64> = theirs.shape().iter().map(|n| *n as u64).collect();
                let row = theirs.bytes().len() / row_count(&shape).unwrap_or(1).max(1) as usize;
                let (lo, hi) = (r.start as usize * row, r.end as usize * row);
                theirs.bytes().get(lo..hi) == Some(ours.bytes()) && ours.dtype() == theirs.dtype()
            }
            _ => ours == theirs,
        }
    }

    fn operation(&mut self, ours: &Node, p: At, theirs: &'a Node, m: At, rows: bool) -> Result<(), String> {
        let name = self.model.module.graph.name_of(m.value);
        let wrong = |what: &str| Err(format!("`{name}`: {what}"));
        let at = |n: &Node, v: ValueId| n.results.iter().position(|r| *r == v);
        if at(ours, p.value) != at(theirs, m.value) {
            return wrong("another result of the operation");
        }
        if matches!(ours.op, Op::Tick) && p.age != m.age {
            return wrong("the number of another tick");
        }
        if let (Op::Const { id: a }, Op::Const { id: b }) = (&ours.op, &theirs.op) {
            let (a, b) = (&self.piece.consts[a.index()].data, &self.model.module.consts[b.index()].data);
            return if self.constant(a, b, rows) { Ok(()) } else { wrong("another constant") };
        }
        if matches!((&ours.op, &theirs.op), (Op::Slice { .. }, Op::Slice { .. }))
            && let Some(done) = self.slice(ours, p, theirs, m, rows)
        {
            return done;
        }
        if !same_regions(self.piece, &ours.regions, self.model.module, &theirs.regions) {
            return wrong("another region");
        }
        match (&ours.op, &theirs.op) {
            (
                Op::Project { conn: a, line: la, now_count: na, state_count: sa },
                Op::Project { conn: b, line: lb, now_count: nb, state_count: sb },
            ) if sa == sb => return self.delivery((ours, *a, *la, *na), p, (theirs, *b, *lb, *nb), m, rows),
            (
                Op::PlasticPre { conn: a, line: la, now_count: na, state_count: sa, synapse_count: ya },
                Op::PlasticPre { conn: b, line: lb, now_count: nb, state_count: sb, synapse_count: yb },
            ) if (sa, ya) == (sb, yb) => {
                return self.delivery((ours, *a, *la, *na), p, (theirs, *b, *lb, *nb), m, rows);
            }
            (Op::PlasticPost { conn: a }, Op::PlasticPost { conn: b }) => self.synapses(*a, *b, 0, rows, None)?,
            (a, b) if !self.same_op(a, b, theirs, rows) => return wrong(&format!("{a:?} instead of {b:?}")),
            _ => {}
        }
        if ours.args.len() != theirs.args.len() {
            return wrong("another number of operands");
        }
        let by_row = if rows { uses(self.model.module, theirs) } else { Some(vec![Use::Full; theirs.args.len()]) };
        let Some(by_row) = by_row else { return wrong("it cannot be computed by rows") };
        for ((a, b), u) in ours.args.iter().zip(&theirs.args).zip(by_row) {
            if let (Use::Along(_), Some(_)) = (u, &self.list) {
                return wrong("columns in another order");
            }
            if let (Use::Along(axis), Some(r)) = (u, &self.rows) {
                let (mine, whole) = (constant(self.piece, *a), constant(self.model.module, *b));
                let data = |m: &'_ Module, id: Option<ConstId>| id.map(|id| m.consts[id.index()].data.clone());
                let is = match (data(self.piece, mine), data(self.model.module, whole)) {
                    (Some(a), Some(b)) => is_part(&a, &b, axis, r),
                    _ => false,
                };
                if !is {
                    return wrong("another constant");
                }
                continue;
            }
            self.same(At { value: *a, ..p }, At { value: *b, ..m }, rows && u == Use::Rows)?;
        }
        Ok(())
    }

    /// A slice of which only what it takes is received, or only the piece's rows are taken. `None` if it is neither.
    fn slice(&mut self, ours: &Node, p: At, theirs: &'a Node, m: At, rows: bool) -> Option<Result<(), String>> {
        let (Op::Slice { start, stop, step }, Op::Slice { start: from, stop: to, step: by }) = (&ours.op, &theirs.op)
        else {
            return None;
        };
        let whole = shape(&self.model.module.graph, theirs.args[0]);
        let axis = axis_of(&whole);
        let (mut lo, mut hi) = (*from.get(axis)?, *to.get(axis)?);
        if rows {
            let r = self.rows.as_ref()?;
            // By rows, but not the same rows of its operand.
            if uses(self.model.module, theirs)?.first() != Some(&Use::Shifted(lo)) {
                return None;
            }
            (lo, hi) = (lo + r.start, lo + r.end);
        }
        let others = |x: &[u64], y: &[u64]| x.len() == y.len() && (0..x.len()).all(|k| k == axis || x[k] == y[k]);
        if step != by || by[axis] != 1 || !others(start, from) || !others(stop, to) {
            return None;
        }
        let operand = At { value: theirs.args[0], ..m };
        let taken = (start[axis], stop[axis]);
        // What the piece remembers of what it receives.
        let (mut source, mut age) = (ours.args[0], p.age);
        while let Some(Node { op: Op::Delayed { line, ticks }, .. }) = self.node(source) {
            (source, age) = (self.piece.lines[line.index()].source, age + ticks);
        }
        match self.inputs.get(&source) {
            // Of a part that begins at the first row, all rows may be there as well.
            Some(k)
                if taken == (0, hi - lo)
                    && self.core.receives[*k].rows == [lo, hi]
                    && (0..axis).all(|k| (from[k], to[k]) == (0, 1)) =>
            {
                Some(self.received(*k, age, operand, Some([lo, hi])))
            }
            _ if rows && taken == (lo, hi) => Some(self.same(At { value: ours.args[0], ..p }, operand, false)),
            _ => None,
        }
    }

    /// Equal operations, but for the extents of the piece's rows.
    fn same_op(&self, ours: &Op, theirs: &Op, node: &Node, rows: bool) -> bool {
        let Some(r) = self.rows.as_ref().filter(|_| rows) else { return ours == theirs };
        let mut op = theirs.clone();
        if let Some(first) = node.results.first() {
            for_rows(&mut op, &shape(&self.model.module.graph, *first), r);
        }
        *ours == op
    }

    /// Synapses: the same sources, each synapse once, with its delay.
    fn delivery(
        &mut self,
        ours: (&Node, ConnId, Option<LineId>, usize),
        p: At,
        theirs: (&'a Node, ConnId, Option<LineId>, usize),
        m: At,
        rows: bool,
    ) -> Result<(), String> {
        let (a, conn_a, line_a, now_a) = ours;
        let (b, conn_b, line_b, now_b) = theirs;
        let name = self.model.module.conns[conn_b.index()].name.clone();
        let source = |args: &[ValueId], now: usize, line: Option<LineId>, m: &Module| match (now, line) {
            (0, Some(l)) => m.lines.get(l.index()).map(|l| l.source),
            _ => args.first().copied(),
        };
        let from = (source(&a.args, now_a, line_a, self.piece), source(&b.args, now_b, line_b, self.model.module));
        let (Some(ours), Some(theirs)) = from else { return Err(format!("`{name}` has no source")) };
        // A line and the value of this tick are of one source.
        if let (1, Some(l)) = (now_a, line_a)
            && self.piece.lines[l.index()].source != ours
        {
            return Err(format!("`{name}` takes events of two sources"));
        }
        // The piece may take for this tick's what the model takes from the line: then all its delays are one less.
        let earlier = u32::from(now_a == 1 && now_b == 0);
        let sources = self.sources(At { value: ours, ..p }, At { value: theirs, age: m.age + earlier })?;
        self.synapses(conn_a, conn_b, earlier, rows, sources)?;
        let (rest_a, rest_b) = (&a.args[now_a..], &b.args[now_b..]);
        if rest_a.len() != rest_b.len() {
            return Err(format!("`{name}` has another number of operands"));
        }
        for (x, y) in rest_a.iter().zip(rest_b) {
            let vector = !shape(&self.model.module.graph, *y).is_empty();
            self.same(At { value: *x, ..p }, At { value: *y, ..m }, rows && vector)?;
        }
        Ok(())
    }

    /// Shows that `p` is `m`, or elements of it: which ones, ascending.
    fn sources(&mut self, p: At, m: At) -> Result<Option<Vec<u64>>, String> {
        let picks = match self.node(p.value).map(|n| &n.op) {
            Some(Op::Concat { .. } | Op::Gather { .. }) => true,
            _ => self.inputs.contains_key(&p.value),
        };
        let moved = |n: &Node| matches!(n.op, Op::Concat { .. } | Op::Gather { .. });
        let theirs = self.model.node(m.value).is_some_and(moved);
        if self.rows.is_none() || !picks || theirs || shape(&self.model.module.graph, m.value).len() != 1 {
            return self.same(p, m, false).map(|()| None);
        }
        let found = self.elements(p, m)?;
        match found.windows(2).all(|k| k[0] < k[1]) {
            true => Ok(Some(found)),
            false => Err("sources do not ascend".into()),
        }
    }

    /// Shows that a connection of the piece is the model's, for the piece's targets. It has these of the sources, or all;
    /// the others have no synapse with a target.
    fn synapses(
        &mut self,
        ours: ConnId,
        theirs: ConnId,
        earlier: u32,
        rows: bool,
        sources: Option<Vec<u64>>,
    ) -> Result<(), String> {
        let c = &self.piece.conns[ours.index()];
        let a = expand(c, self.piece.pools(), self.model.max_synapses).map_err(|e| e.message)?;
        let posts = self.model.module.conns[theirs.index()].post_len;
        let targets = self.rows.clone().filter(|_| rows).unwrap_or(0..posts);
        let list = self.list.as_deref().filter(|_| rows);
        let mut place = vec![u32::MAX; if list.is_some() { posts as usize } else { 0 }];
        for (k, j) in list.into_iter().flatten().enumerate() {
            *place.get_mut(*j as usize).ok_or("a target that is not there")? = k as u32;
        }
        let local = |j: u32| match list {
            None => targets.contains(&u64::from(j)).then(|| (u64::from(j) - targets.start) as u32),
            Some(_) => place.get(j as usize).copied().filter(|k| *k != u32::MAX),
        };
        let name = self.model.module.conns[theirs.index()].name.clone();
        let b = self.model.table(theirs)?;
        let count = sources.as_ref().map_or(b.pre_len(), Vec::len);
        if a.pre_len() != count || c.post_len != targets.end - targets.start {
            return Err(format!("`{name}` has other sources or targets"));
        }
        let mut next = 0;
        for i in 0..b.pre_len() {
            let mut mine = 0..0;
            if sources.as_ref().is_none_or(|s| s.get(next) == Some(&(i as u64))) {
                mine = a.row(next);
                next += 1;
            }
            // Synapses of one pair keep their order.
            let mut theirs: Vec<(u32, usize)> = b.row(i).filter_map(|s| local(b.post[s]).map(|j| (j, s))).collect();
            theirs.sort_by_key(|(j, _)| *j);
            for (j, s) in theirs {
                let Some(k) = mine.next() else { return Err(format!("`{name}`: a synapse of source {i} is missing")) };
                let same = a.post[k] == j
                    && a.weight.at(k).to_bits() == b.weight.at(s).to_bits()
                    && a.delay.at(k) + earlier == b.delay.at(s);
                if !same {
                    return Err(format!("`{name}`: a synapse of source {i} is another"));
                }
            }
            if mine.next().is_some() {
                return Err(format!("`{name}`: source {i} has a synapse too many"));
            }
        }
        if next != count {
            return Err(format!("`{name}` has sources that are not there"));
        }
        Ok(())
    }
}

/// True if `ours` is the part `r` of `theirs` along an axis: element by element.
fn is_part(ours: &Tensor, theirs: &Tensor, axis: usize, r: &Range<u64>) -> bool {
    let size = theirs.dtype().size();
    let mut expected = theirs.shape().to_vec();
    let (Some(extent), Some(n)) = (expected.get(axis).copied(), r.end.checked_sub(r.start)) else { return false };
    expected[axis] = n as usize;
    if ours.shape() != expected || ours.dtype() != theirs.dtype() || r.end > extent as u64 || n == 0 {
        return false;
    }
    let inner: usize = expected[axis + 1..].iter().product();
    ours.bytes().chunks_exact(size).enumerate().all(|(k, x)| {
        let (place, rest) = (k / inner.max(1), k % inner.max(1));
        let (outer, row) = (place / n as usize, place % n as usize + r.start as usize);
        let at = ((outer * extent + row) * inner + rest) * size;
        theirs.bytes().get(at..at + size) == Some(x)
    })
}

/// Equal regions, whose constants are in the pools of two modules.
fn same_regions(ours: &Module, a: &[Graph], theirs: &Module, b: &[Graph]) -> bool {
    let constant = |x: ConstId, y: ConstId| {
        let (x, y) = (ours.consts.get(x.index()), theirs.consts.get(y.index()));
        matches!((x, y), (Some(x), Some(y)) if x.data == y.data)
    };
    let node = |x: &Node, y: &Node| {
        let op = match (&x.op, &y.op) {
            (Op::Const { id: x }, Op::Const { id: y }) => constant(*x, *y),
            (x, y) => x == y,
        };
        op && x.args == y.args && x.results == y.results && same_regions(ours, &x.regions, theirs, &y.regions)
    };
    let graph = |x: &Graph, y: &Graph| {
        let types = |g: &Graph| g.values.iter().map(|v| v.ty.clone()).collect::<Vec<_>>();
        x.params == y.params
            && x.results == y.results
            && x.nodes.len() == y.nodes.len()
            && types(x) == types(y)
            && x.nodes.iter().zip(&y.nodes).all(|(x, y)| node(x, y))
    };
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| graph(x, y))
}
