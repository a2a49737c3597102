//! Ops with regions: `cond` becomes a branch of steps, `scan` and `repeat` become loops.
//!
//! A body is lowered like the step function, by the same code. What a loop carries is to its body what states are to a
//! module; it lives where the node's results live, so that these are there when the loop ends. Captured values are read
//! where they are. Rows of scanned values are read in place, and outputs are stored in place, at an offset that moves
//! with the iteration.

use super::homes::{Homes, Memory, Rows, Target};
use super::schedule::Schedule;
use super::{ALIGN, Facts, Given, Kept, Lowering, fusible, unsupported};
use nc_ir::Diagnostic;
use nc_ir::graph::{Constant, Graph, Node, Op, ValueId, expand};
use nc_ir::kernel::{BufId, Element, Emit, Index, KernelBuilder, Parallel, Role, Scalar, Step, Trips, Val};
use nc_ir::types::DType;

/// What a region's parameters and results are tied to.
#[derive(Default)]
struct Ties<'a> {
    given: Given<'a>,
    homes: Homes,
    /// Carried values, each with the buffer it lives in.
    kept: Vec<Kept<'a>>,
    outputs: Vec<ValueId>,
}

impl<'a> Ties<'a> {
    fn carry(&mut self, region: &'a Graph, read: ValueId, next: ValueId, buf: BufId) {
        self.kept.push(Kept { name: &region.values[read.index()].name, read, next });
        self.homes.states.push(buf);
    }

    fn output(&mut self, v: ValueId, to: Target) {
        self.outputs.push(v);
        self.homes.outputs.push(to);
    }
}

impl<'a> Lowering<'a> {
    /// `cond(c, inputs)`.
    pub fn cond(&mut self, node: &'a Node) -> Result<(), Diagnostic> {
        let taken = match self.facts.splat(node.args[0]) {
            Some(Scalar::Bool(c)) => Some(c),
            _ => None,
        };
        let mut branches = Vec::new();
        for (region, when) in node.regions.iter().zip([true, false]) {
            if taken.is_some_and(|c| c != when) {
                branches.push(Vec::new());
                continue;
            }
            let mut ties = Ties::default();
            for (p, x) in region.params.iter().zip(&node.args[1..]) {
                self.capture(&mut ties, *p, *x)?;
            }
            for (v, r) in region.results.iter().zip(&node.results) {
                ties.output(*v, Target::whole(self.home(*r)?));
            }
            branches.push(self.body(region, ties)?);
        }
        let (else_steps, then_steps) = (branches.pop().unwrap_or_default(), branches.pop().unwrap_or_default());
        match taken {
            Some(_) => self.program.steps.extend(then_steps.into_iter().chain(else_steps)),
            None => {
                let condition = self.decider(node.args[0])?;
                self.program.steps.push(Step::If { condition, then_steps, else_steps });
            }
        }
        Ok(())
    }

    /// `scan(carried, scanned, captured)`.
    pub fn scan(&mut self, node: &'a Node) -> Result<(), Diagnostic> {
        let Op::Scan { carried_count, scanned_count, reverse } = node.op else {
            return Err(unsupported(&node.op));
        };
        let region = &node.regions[0];
        let (carried, rest) = node.args.split_at(carried_count);
        let (scanned, captured) = rest.split_at(scanned_count);
        let length = scanned.first().and_then(|x| self.facts.extents(*x).first().copied()).unwrap_or(0);
        self.begin(node, carried)?;
        if length == 0 {
            return Ok(());
        }
        // Where row k of a value with rows of `n` elements begins: the first element of row 0, and the way to the next.
        let row = |n: u64| if reverse { ((length - 1) as i64 * n as i64, -(n as i64)) } else { (0, n as i64) };
        let mut ties = Ties::default();
        let (carries, others) = region.params.split_at(carried_count);
        let (rows, captures) = others.split_at(scanned_count);
        for (k, p) in carries.iter().enumerate() {
            ties.carry(region, *p, region.results[k], self.home(node.results[k])?);
        }
        for (p, x) in rows.iter().zip(scanned) {
            if let Some(k) = self.facts.splat(*x) {
                ties.given.uniform.push((*p, k));
            }
            if self.facts.sparse[self.facts.view(*x).base.index()] {
                ties.given.sparse.push(*p);
            }
            let (first, stride) = row(crate::rebuild::count(region.ty(*p)));
            let mut m = self.memory(*x)?;
            if !m.single {
                m.offset += first;
                m.rows = match m.rows.and(self.loops, stride) {
                    Some(rows) => rows,
                    None => {
                        let copy = Memory::whole(self.copied(*x)?, m.elem);
                        let rows = Rows::default().and(self.loops, stride).unwrap_or_default();
                        m = Memory { offset: first, ..copy };
                        rows
                    }
                };
            }
            ties.homes.bound.insert(*p, m);
        }
        for (p, x) in captures.iter().zip(captured) {
            self.capture(&mut ties, *p, *x)?;
        }
        for (v, r) in region.results.iter().zip(&node.results).skip(carried_count) {
            let (offset, stride) = row(crate::rebuild::count(region.ty(*v)));
            let rows = Rows::default().and(self.loops, stride).unwrap_or_default();
            ties.output(*v, Target { buf: self.home(*r)?, offset, rows });
        }
        self.loops += 1;
        let body = self.body(region, ties);
        self.loops -= 1;
        self.program.steps.push(Step::Loop { trips: Trips::Known(length), condition: None, body: body? });
        Ok(())
    }

    /// `repeat(trips, condition, carried, captured)`.
    pub fn repeat(&mut self, node: &'a Node) -> Result<(), Diagnostic> {
        let Op::Loop { carried_count } = node.op else {
            return Err(unsupported(&node.op));
        };
        let region = &node.regions[0];
        let (carried, captured) = node.args[2..].split_at(carried_count);
        self.begin(node, carried)?;
        let trips = match self.facts.splat(node.args[0]) {
            Some(k) => Trips::Known((k.bits() as i64).max(0) as u64),
            None => Trips::Read(self.decider(node.args[0])?),
        };
        let mut ties = Ties::default();
        let (carries, captures) = region.params[1..].split_at(carried_count);
        ties.homes.iterations.insert(region.params[0], self.loops);
        for (k, p) in carries.iter().enumerate() {
            ties.carry(region, *p, region.results[k + 1], self.home(node.results[k])?);
        }
        for (p, x) in captures.iter().zip(captured) {
            self.capture(&mut ties, *p, *x)?;
        }
        let always = Some(Scalar::Bool(true));
        let goes_on = region.results[0];
        let goes_on_always = constant(&self.facts.module.consts, region, goes_on) == always;
        let condition = if self.facts.splat(node.args[1]) == always && goes_on_always {
            None
        } else {
            let buf = self.copied(node.args[1])?;
            if !goes_on_always {
                ties.output(goes_on, Target::whole(buf));
            }
            Some(Element { buf, at: 0 })
        };
        self.loops += 1;
        let body = self.body(region, ties);
        self.loops -= 1;
        self.program.steps.push(Step::Loop { trips, condition, body: body? });
        Ok(())
    }

    /// Ties a parameter to a value of the graph around.
    fn capture(&mut self, ties: &mut Ties<'a>, p: ValueId, x: ValueId) -> Result<(), Diagnostic> {
        let view = self.facts.view(x);
        if let (Some(level), 1) = (self.homes.iterations.get(&view.base), self.facts.count(x)) {
            ties.homes.iterations.insert(p, *level);
            return Ok(());
        }
        if let Some(k) = self.facts.splat(x) {
            ties.given.uniform.push((p, k));
        }
        let whole = view.offset == 0 && self.facts.count(view.base) == self.facts.count(x);
        if let (Some(t), true) = (self.facts.known[view.base.index()], whole) {
            ties.given.known.push((p, t));
        }
        if self.facts.sparse[view.base.index()] {
            ties.given.sparse.push(p);
        }
        let m = self.memory(x)?;
        ties.homes.bound.insert(p, m);
        Ok(())
    }

    /// The steps of a region.
    fn body(&mut self, region: &'a Graph, ties: Ties<'a>) -> Result<Vec<Step>, Diagnostic> {
        let mut facts = Facts::of_body(self.facts.module, region, ties.kept, ties.outputs, ties.given);
        facts.choose(self.options, &mut self.products, &mut self.errors);
        let schedule = match Schedule::of(&facts) {
            Ok(schedule) => schedule,
            Err(errors) => {
                self.errors.extend(errors);
                return Ok(Vec::new());
            }
        };
        let facts = std::mem::replace(&mut self.facts, facts);
        let homes = std::mem::replace(&mut self.homes, ties.homes);
        let lists = std::mem::replace(&mut self.lists, schedule.list_of.clone());
        let by_row = std::mem::take(&mut self.by_row);
        let steps = std::mem::take(&mut self.program.steps);
        self.keep_iterations();
        self.allocate(&schedule);
        self.items(&schedule);
        self.facts = facts;
        self.homes = homes;
        self.lists = lists;
        self.by_row = by_row;
        Ok(std::mem::replace(&mut self.program.steps, steps))
    }

    /// Stores the number of an iteration if it is read other than by clusters, which know it.
    fn keep_iterations(&mut self) {
        let nodes = &self.facts.graph().nodes;
        let mut wanted: Vec<(ValueId, usize)> = self.homes.iterations.iter().map(|(v, level)| (*v, *level)).collect();
        wanted.sort_unstable();
        wanted.retain(|(v, _)| {
            let mut readers = nodes.iter().filter(|n| !fusible(&n.op) && !self.facts.is_view(n));
            readers.any(|n| n.args.iter().any(|a| self.facts.view(*a).base == *v))
        });
        for (v, level) in wanted {
            let buf = self.program.add_buffer(self.facts.graph().name_of(v), DType::I64, 1, Role::Temp);
            let mut b = KernelBuilder::new("iteration", None, 1);
            let i = b.iteration(level);
            b.store(buf, Index::at(0), i);
            self.program.push(b.finish());
            self.homes.bound.insert(v, Memory::whole(buf, DType::I64));
        }
    }

    /// Puts the initial values of what a loop carries to where it lives.
    fn begin(&mut self, node: &Node, carried: &[ValueId]) -> Result<(), Diagnostic> {
        // Values of one extent share a kernel.
        let mut extents: Vec<u64> = carried.iter().map(|v| self.facts.count(*v)).collect();
        extents.sort_unstable();
        extents.dedup();
        for n in extents {
            let pairs = carried.iter().zip(&node.results).filter(|(x, _)| self.facts.count(**x) == n);
            let pairs: Vec<(ValueId, ValueId)> = pairs.map(|(x, r)| (*x, *r)).collect();
            let moves =
                pairs.into_iter().map(|(x, r)| Ok((x, self.home(r)?))).collect::<Result<Vec<_>, Diagnostic>>()?;
            self.copy_values(&format!("begin {}", self.facts.graph().name_of(node.results[0])), n, &moves)?;
        }
        Ok(())
    }

    /// A new buffer with the elements of a value.
    fn copied(&mut self, x: ValueId) -> Result<BufId, Diagnostic> {
        let (name, n) = (self.facts.graph().name_of(x), self.facts.count(x));
        let buf = self.program.add_buffer(format!("{name}.copy"), self.elem(x), n, Role::Temp);
        self.copy_values(&format!("copy {name}"), n, &[(x, buf)])?;
        Ok(buf)
    }

    /// Writes a kernel that stores values of `n` elements to buffers.
    fn copy_values(&mut self, name: &str, n: u64, moves: &[(ValueId, BufId)]) -> Result<(), Diagnostic> {
        if n == 0 {
            return Ok(());
        }
        let mut b = KernelBuilder::new(name, (n > 1).then_some(Parallel { len: n, align: ALIGN }), 1);
        let mut sources = Vec::with_capacity(moves.len());
        for (x, buf) in moves {
            let fixed = match self.facts.splat(*x) {
                Some(k) => Some(b.constant(k)),
                None => self.iteration(&mut b, *x),
            };
            let memory = if fixed.is_none() { Some(self.memory(*x)?) } else { None };
            sources.push((*buf, fixed, memory));
        }
        let each = |b: &mut KernelBuilder, i: Val| {
            for (buf, fixed, memory) in &sources {
                let v = match (fixed, memory) {
                    (Some(v), _) => *v,
                    (None, Some(m)) => m.load(b, Index::var(i)),
                    (None, None) => continue,
                };
                b.store(*buf, Index::var(i), v);
            }
        };
        if n > 1 {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, true, each);
        } else {
            let zero = b.index(0);
            each(&mut b, zero);
        }
        self.program.push(b.finish());
        Ok(())
    }

    /// The element of memory that a scalar is, at a place that does not move.
    fn decider(&mut self, x: ValueId) -> Result<Element, Diagnostic> {
        let fixed = match self.iteration(&mut KernelBuilder::new("", None, 1), x) {
            Some(_) => None,
            None => Some(self.memory(x)?).filter(|m| m.rows.are_fixed()),
        };
        match fixed {
            Some(m) => Ok(Element { buf: m.buf, at: m.offset as u64 }),
            None => Ok(Element { buf: self.copied(x)?, at: 0 }),
        }
    }
}

/// The scalar constant that a value of a region is.
fn constant(consts: &[Constant], region: &Graph, v: ValueId) -> Option<Scalar> {
    let node = region.nodes.iter().find(|n| n.results.contains(&v))?;
    match node.op {
        Op::Const { id } => consts.get(id.index()).and_then(|c| expand::load(&c.data, 0)),
        _ => None,
    }
}
