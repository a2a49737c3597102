//! Writing the step function.

use super::axes::{Place, backward, extents, inner};
use super::{Along, Analysis, Role, Streamed, Way, refuse};
use crate::Stop;
use nc_ir::graph::expand::{greatest, least};
use nc_ir::graph::{
    Choice, ConstId, Constant, Graph, GraphBuilder, Module, Node, Op, OpError, Pools, Port, ReduceKind, State, ValueId,
};
use nc_ir::interp::Interpreter;
use nc_ir::kernel::Scalar;
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Partial results of a reduction, as [`nc_ir::interp::LANES`] says.
const LANES: usize = nc_ir::interp::LANES;

struct Writer<'a> {
    it: &'a Analysis<'a>,
    new: Module,
    /// The new value of an old one.
    map: FxHashMap<ValueId, ValueId>,
    /// Values in one step of which an old value is that is the same for all steps.
    steps: FxHashMap<(ValueId, usize), ValueId>,
    /// The number of this step, once it is asked for.
    tick: Option<ValueId>,
}

fn faulty(e: OpError) -> Stop {
    Stop::Wrong(refuse(format!("the step function cannot be written: {e}")))
}

/// Writes the step function of a model that was checked.
pub(super) fn write(it: &Analysis<'_>) -> Result<Streamed, Stop> {
    let old = &it.traced.module;
    let new = Module {
        name: old.name.clone(),
        seed: old.seed,
        consts: old.consts.clone(),
        choices: old.choices.clone(),
        ..Module::default()
    };
    let mut w = Writer { it, new, map: FxHashMap::default(), steps: FxHashMap::default(), tick: None };
    let mut inputs = Vec::new();
    for port in &old.inputs {
        inputs.push(w.input(port)?);
    }
    for (k, node) in old.graph.nodes.iter().enumerate() {
        let varies = |v: &ValueId| matches!(it.role(*v), Role::Steps(_) | Role::Latest);
        if it.needed[k] && node.results.iter().any(varies) {
            w.node(node)?;
        }
    }
    let mut outputs = Vec::new();
    for port in &old.outputs {
        outputs.push(w.output(port)?);
    }
    w.say(&inputs, &outputs);
    let mut module = w.new;
    prune(&mut module);
    nc_ir::graph::verify::verify(&module)
        .map_err(|e| Diagnostic::error_nowhere("E0501", format!("the step function is not valid: {e}")))?;
    Ok(Streamed { module, inputs, outputs })
}

/// A scalar as a tensor of rank 0, which as an initial value serves every element of a state.
fn scalar(value: Scalar, dtype: DType) -> Tensor {
    let bytes = match (value, dtype) {
        (Scalar::F64(x), _) => x.to_le_bytes().to_vec(),
        (Scalar::F32(x), DType::F16) => half::f16::from_f32(x).to_le_bytes().to_vec(),
        (Scalar::F32(x), DType::BF16) => half::bf16::from_f32(x).to_le_bytes().to_vec(),
        (Scalar::F32(x), _) => x.to_le_bytes().to_vec(),
        (Scalar::I64(x), _) => x.to_le_bytes()[..dtype.size()].to_vec(),
        (Scalar::I32(x), _) => x.to_le_bytes()[..dtype.size().min(4)].to_vec(),
        (Scalar::Bool(x), _) => vec![u8::from(x)],
    };
    Tensor::from_bytes(dtype, Vec::new(), &bytes).unwrap_or_else(|| Tensor::zeros(dtype, Vec::new()))
}

impl<'a> Writer<'a> {
    fn push(&mut self, op: Op, args: Vec<ValueId>) -> Result<ValueId, Stop> {
        Ok(self.new.builder().push(op, args, Vec::new()).map_err(faulty)?[0])
    }

    fn constant(&mut self, t: Tensor) -> Result<ValueId, Stop> {
        let id = self.new.add_const("", t);
        self.push(Op::Const { id }, Vec::new())
    }

    fn reshape(&mut self, x: ValueId, shape: Vec<u64>) -> Result<ValueId, Stop> {
        if extents(&self.new.graph, x) == shape {
            return Ok(x);
        }
        self.push(Op::Reshape { shape }, vec![x])
    }

    /// Lets a new value stand for an old one and hands on its name.
    fn stands(&mut self, old: ValueId, new: ValueId) {
        let name = &self.it.graph().values[old.index()].name;
        let slot = &mut self.new.graph.values[new.index()].name;
        if slot.is_empty() {
            slot.clone_from(name);
        }
        self.map.insert(old, new);
    }

    /// The shape of one step of an old value.
    fn step_shape(&self, v: ValueId, place: Place) -> Result<Vec<u64>, Stop> {
        let shape = extents(self.it.graph(), v);
        place.step(&shape, self.it.steps).ok_or_else(|| refuse("an axis does not hold the steps").into())
    }

    /// Where the steps stand in the array of a port.
    fn along(&self, v: ValueId, place: Place) -> Along {
        let shape = extents(self.it.graph(), v).into_iter().map(|n| n as usize).collect();
        Along { shape, axis: place.axis, before: place.before as usize, after: place.after as usize }
    }

    /// The shape of a frame: of a step, without an axis that holds nothing else.
    fn frame(&self, v: ValueId, place: Place) -> Result<Vec<u64>, Stop> {
        let mut shape = self.step_shape(v, place)?;
        if place.is_whole() {
            shape.remove(place.axis);
        }
        Ok(shape)
    }

    fn input(&mut self, port: &Port) -> Result<Along, Stop> {
        let Some(place) = self.it.timed.get(&port.value).copied() else {
            return Err(refuse(format!("the input `{}` has no axis of steps", port.name)).into());
        };
        let ty = TensorType::new(self.it.graph().ty(port.value).dtype, self.frame(port.value, place)?);
        let param = self.new.graph.add_param(ty, port.name.clone());
        self.new.inputs.push(Port { name: port.name.clone(), value: param });
        let step = self.step_shape(port.value, place)?;
        let step = self.reshape(param, step)?;
        self.map.insert(port.value, step);
        Ok(self.along(port.value, place))
    }

    fn output(&mut self, port: &Port) -> Result<Option<Along>, Stop> {
        let (value, along) = match self.it.role(port.value) {
            Role::Steps(place) => {
                let (frame, step) = (self.frame(port.value, place)?, self.map.get(&port.value).copied());
                let step = step.ok_or_else(|| refuse(format!("the output `{}` is not written", port.name)))?;
                (self.reshape(step, frame)?, Some(self.along(port.value, place)))
            }
            Role::Latest => (self.operand(port.value)?, None),
            Role::Fixed | Role::Open => (self.unchanging(port.value)?, None),
        };
        self.new.outputs.push(Port { name: port.name.clone(), value });
        Ok(along)
    }

    /// The new value of one that has steps or depends on them.
    fn operand(&self, v: ValueId) -> Result<ValueId, Stop> {
        self.map.get(&v).copied().ok_or_else(|| refuse("a value is used before it is given").into())
    }

    /// The new value of one that is the same for all steps: what gives it is copied.
    fn unchanging(&mut self, v: ValueId) -> Result<ValueId, Stop> {
        for k in self.sources(v, |v| self.map.contains_key(&v)) {
            let node = &self.it.graph().nodes[k];
            let args = node.args.iter().map(|a| self.operand(*a)).collect::<Result<Vec<_>, _>>()?;
            self.copy(node, node.op.clone(), args)?;
        }
        self.operand(v)
    }

    /// The nodes that give a value, in order, but for those of values that are there.
    fn sources(&self, v: ValueId, there: impl Fn(ValueId) -> bool) -> Vec<usize> {
        let (mut nodes, mut todo) = (std::collections::BTreeSet::new(), vec![v]);
        while let Some(v) = todo.pop() {
            if let (false, Some(k)) = (there(v), self.it.made_by[v.index()])
                && nodes.insert(k)
            {
                todo.extend(&self.it.graph().nodes[k].args);
            }
        }
        nodes.into_iter().collect()
    }

    /// The tensor of a value that depends on no input.
    fn tensor(&self, v: ValueId) -> Result<Tensor, Stop> {
        let graph = self.it.graph();
        let consts = &self.it.traced.module.consts;
        if let Some(Op::Const { id }) = self.it.made_by[v.index()].map(|k| &graph.nodes[k].op) {
            return Ok(consts[id.index()].data.clone());
        }
        let mut module = Module { name: "known".to_owned(), consts: consts.clone(), ..Module::default() };
        let mut map: FxHashMap<ValueId, ValueId> = FxHashMap::default();
        let missing = || Stop::from(refuse("a value depends on an input"));
        for k in self.sources(v, |_| false) {
            let node = &graph.nodes[k];
            let args = node.args.iter().map(|a| map.get(a).copied()).collect::<Option<Vec<_>>>().ok_or_else(missing)?;
            let results = module.builder().push(node.op.clone(), args, node.regions.clone()).map_err(faulty)?;
            map.extend(node.results.iter().copied().zip(results));
        }
        let value = *map.get(&v).ok_or_else(missing)?;
        module.outputs.push(Port { name: "value".to_owned(), value });
        let mut run = Interpreter::with_limit(Arc::new(module), self.it.traced.max_memory)?;
        run.step(&[])?.outputs.pop().ok_or_else(missing)
    }

    /// The one step of a value that has the axis of steps but depends on no input. All its steps must be equal.
    fn equal_steps(&mut self, node: &Node, v: ValueId, place: Place) -> Result<ValueId, Stop> {
        if let Some(v) = self.steps.get(&(v, place.axis)) {
            return Ok(*v);
        }
        let whole = self.tensor(v)?;
        let shape = extents(self.it.graph(), v);
        let step = self.step_shape(v, place)?;
        // Bytes of a block of one step, and of all steps of a block.
        let block = inner(&shape, place.axis).saturating_mul(place.after) as usize * whole.dtype().size();
        let mut bytes = Vec::with_capacity(whole.bytes().len() / (self.it.steps as usize));
        for all in whole.bytes().chunks_exact((block * self.it.steps as usize).max(1)) {
            let mut blocks = all.chunks_exact(block);
            let Some(first) = blocks.next() else { continue };
            if blocks.any(|b| b != first) {
                let text = format!(
                    "{} takes a table along the steps (positions, or lengths of sequences): \
                     the model cannot run one step at a time",
                    self.it.origin(node)
                );
                return Err(refuse(text).with_hint("run it on whole sequences, without --stream").into());
            }
            bytes.extend_from_slice(first);
        }
        let shape = step.iter().map(|n| *n as usize).collect();
        let step = Tensor::from_bytes(whole.dtype(), shape, &bytes).ok_or_else(|| refuse("a table has no steps"))?;
        let value = self.constant(step)?;
        self.steps.insert((v, place.axis), value);
        Ok(value)
    }

    /// Appends a node whose results stand for those of an old one.
    fn copy(&mut self, node: &Node, op: Op, args: Vec<ValueId>) -> Result<(), Stop> {
        let results = self.new.builder().push(op, args, node.regions.clone()).map_err(faulty)?;
        for (old, new) in node.results.iter().zip(results) {
            self.stands(*old, new);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), Stop> {
        let way = self.it.way(node).map_err(refuse)?;
        match way {
            Way::Plain => {
                let args = self.plain(&node.args)?;
                self.copy(node, node.op.clone(), args)
            }
            Way::Each(place) => self.each(node, place),
            Way::Last => self.last(node),
            Way::Reduce => self.reduce(node),
            Way::Cumulate => self.cumulate(node),
            Way::Scan => self.scan(node),
        }
    }

    /// Operands that see no axis of steps.
    fn plain(&mut self, args: &[ValueId]) -> Result<Vec<ValueId>, Stop> {
        let one = |v: &ValueId| match self.it.role(*v) {
            Role::Fixed | Role::Open => self.unchanging(*v),
            Role::Steps(_) | Role::Latest => self.operand(*v),
        };
        args.iter().map(one).collect()
    }

    fn each(&mut self, node: &Node, place: Place) -> Result<(), Stop> {
        let mut args = Vec::with_capacity(node.args.len());
        for (k, v) in node.args.iter().enumerate() {
            let at = match self.it.role(*v) {
                Role::Fixed | Role::Open => backward(self.it.graph(), node, k, place, self.it.steps).flatten(),
                Role::Steps(_) | Role::Latest => None,
            };
            args.push(match at {
                Some(at) => self.equal_steps(node, *v, at)?,
                None => self.plain(&[*v])?[0],
            });
        }
        let one = self.step_shape(node.results[0], place)?;
        let op = match node.op.clone() {
            Op::Broadcast { .. } => Op::Broadcast { shape: one },
            Op::Reshape { .. } => Op::Reshape { shape: one },
            Op::Slice { start, mut stop, step } => {
                stop[place.axis] = one[place.axis];
                Op::Slice { start, stop, step }
            }
            op => op,
        };
        self.copy(node, op, args)
    }

    /// The axis of steps of the first operand.
    fn axis(&self, node: &Node) -> usize {
        match self.it.role(node.args[0]) {
            Role::Steps(place) => place.axis,
            _ => 0,
        }
    }

    fn last(&mut self, node: &Node) -> Result<(), Stop> {
        let (axis, x) = (self.axis(node), self.operand(node.args[0])?);
        match node.op.clone() {
            Op::Slice { mut start, mut stop, step } => {
                (start[axis], stop[axis]) = (0, 1);
                self.copy(node, Op::Slice { start, stop, step }, vec![x])
            }
            op => {
                let index = self.tensor(node.args[1])?;
                let first = self.constant(Tensor::zeros(index.dtype(), index.shape().to_vec()))?;
                self.copy(node, op, vec![x, first])
            }
        }
    }

    /// A state, which begins as `init`: its number, and its value before the tick.
    fn state(&mut self, name: String, ty: TensorType, init: Tensor) -> (usize, ValueId) {
        let mut unique = name.clone();
        let mut count = 1;
        while self.new.states.iter().any(|s| s.name == unique) {
            count += 1;
            unique = format!("{name}.{count}");
        }
        let read = self.new.graph.add_param(ty, unique.clone());
        let init = self.new.add_const("", init);
        self.new.states.push(State { name: unique, read, next: read, init });
        (self.new.states.len() - 1, read)
    }

    /// The number of this step.
    fn tick(&mut self) -> Result<ValueId, Stop> {
        if let Some(tick) = self.tick {
            return Ok(tick);
        }
        let tick = self.push(Op::Tick, Vec::new())?;
        self.tick = Some(tick);
        Ok(tick)
    }

    /// A reduction of the steps so far. Sums are kept as the contract orders them: step k adds to partial result k mod 16.
    fn reduce(&mut self, node: &Node) -> Result<(), Stop> {
        let Op::Reduce { kind, .. } = node.op else { return Err(refuse("no reduction").into()) };
        let result = node.results[0];
        let (dtype, shape) = (self.it.graph().ty(result).dtype, extents(self.it.graph(), result));
        let mut x = self.operand(node.args[0])?;
        // Narrow floats are summed in a register.
        let held = if dtype.is_float() && dtype != DType::F64 { DType::F32 } else { dtype };
        if held != dtype {
            x = self.push(Op::Cast { to: held }, vec![x])?;
        }
        let n = shape.iter().product::<u64>();
        let name = self.it.graph().name_of(result);
        let value = match kind {
            ReduceKind::Max | ReduceKind::Min => {
                let (op, start) = match (kind, held) {
                    (ReduceKind::Max, DType::Bool) => (Op::Or, least(held)),
                    (ReduceKind::Max, _) => (Op::Max, least(held)),
                    (_, DType::Bool) => (Op::And, greatest(held)),
                    _ => (Op::Min, greatest(held)),
                };
                let (at, read) = self.state(name, TensorType::new(held, vec![n]), scalar(start, held));
                let x = self.reshape(x, vec![n])?;
                let next = self.push(op, vec![read, x])?;
                self.new.states[at].next = next;
                next
            }
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Prod => {
                let (op, start) = if kind == ReduceKind::Prod { (Op::Mul, 1) } else { (Op::Add, 0) };
                let all = vec![LANES as u64, n];
                let start = nc_ir::graph::expand::number(held, start);
                let (at, read) = self.state(name, TensorType::new(held, all.clone()), scalar(start, held));
                let (tick, lanes) = (self.tick()?, self.constant(Tensor::scalar_i64(LANES as i64))?);
                let lane = self.push(Op::Rem, vec![tick, lanes])?;
                let lanes = self.push(Op::Iota { len: LANES as u64 }, Vec::new())?;
                let mine = self.push(Op::Eq, vec![lanes, lane])?;
                let mine = self.reshape(mine, vec![LANES as u64, 1])?;
                let mine = self.push(Op::Broadcast { shape: all.clone() }, vec![mine])?;
                let x = self.reshape(x, vec![1, n])?;
                let x = self.push(Op::Broadcast { shape: all }, vec![x])?;
                let sum = self.push(op, vec![read, x])?;
                let next = self.push(Op::Select, vec![mine, sum, read])?;
                self.new.states[at].next = next;
                let kind = if kind == ReduceKind::Prod { kind } else { ReduceKind::Sum };
                self.push(Op::Reduce { kind, axes: vec![0], keep: false }, vec![next])?
            }
        };
        let value = match kind {
            ReduceKind::Mean => {
                let (tick, one) = (self.tick()?, self.constant(Tensor::scalar_i64(1))?);
                let count = self.push(Op::Add, vec![tick, one])?;
                let count = self.push(Op::Cast { to: held }, vec![count])?;
                self.push(Op::Div, vec![value, count])?
            }
            _ => value,
        };
        let value = if held == dtype { value } else { self.push(Op::Cast { to: dtype }, vec![value])? };
        let value = self.reshape(value, shape)?;
        self.stands(result, value);
        Ok(())
    }

    /// A running sum or product.
    fn cumulate(&mut self, node: &Node) -> Result<(), Stop> {
        let Op::Cumulate { kind, exclusive, .. } = node.op else { return Err(refuse("no running sum").into()) };
        let x = self.operand(node.args[0])?;
        let ty = self.new.graph.ty(x).clone();
        let (op, start) = kind.op();
        let start = scalar(nc_ir::graph::expand::number(ty.dtype, start), ty.dtype);
        let (at, read) = self.state(self.it.graph().name_of(node.results[0]), ty, start);
        let next = self.push(op, vec![read, x])?;
        self.new.states[at].next = next;
        self.stands(node.results[0], if exclusive { read } else { next });
        Ok(())
    }

    /// A scan: what it carries are states, its body stands in the step.
    fn scan(&mut self, node: &Node) -> Result<(), Stop> {
        let (Op::Scan { carried_count, scanned_count, .. }, [body]) = (&node.op, &node.regions[..]) else {
            return Err(refuse("no scan").into());
        };
        let mut map: FxHashMap<ValueId, ValueId> = FxHashMap::default();
        let first = self.new.states.len();
        for (k, (param, arg)) in body.params.iter().zip(&node.args).enumerate() {
            let value = if k < *carried_count {
                let own = body.values[param.index()].name.as_str();
                let own = if own.is_empty() { k.to_string() } else { own.to_owned() };
                let init = self.tensor(*arg)?;
                let name = format!("{}.{own}", self.it.traced.short(node.results.first().copied()));
                self.state(name, init.ty(), init).1
            } else if k < carried_count + scanned_count {
                let row = match self.it.role(*arg) {
                    Role::Fixed | Role::Open => self.equal_steps(node, *arg, Place::whole(0))?,
                    Role::Steps(_) | Role::Latest => self.operand(*arg)?,
                };
                self.reshape(row, extents(body, *param))?
            } else {
                self.unchanging(*arg)?
            };
            map.insert(*param, value);
        }
        self.body(body, &mut map)?;
        for (k, (result, inner)) in node.results.iter().zip(&body.results).enumerate() {
            let value = map.get(inner).copied().ok_or_else(|| refuse("a result of a scan is not given"))?;
            if k < *carried_count {
                self.new.states[first + k].next = value;
                self.stands(*result, value);
            } else {
                let one = self.step_shape(*result, Place::whole(0))?;
                let row = self.reshape(value, one)?;
                self.stands(*result, row);
            }
        }
        Ok(())
    }

    /// Copies the nodes of a body.
    fn body(&mut self, body: &Graph, map: &mut FxHashMap<ValueId, ValueId>) -> Result<(), Stop> {
        for node in &body.nodes {
            let args = node.args.iter().map(|a| map.get(a).copied()).collect::<Option<Vec<_>>>();
            let args = args.ok_or_else(|| refuse("an operand in a scan is not given"))?;
            let Module { graph, consts, lines, conns, .. } = &mut self.new;
            let mut builder = GraphBuilder::new(graph, Pools { consts, lines, conns });
            let results = builder.push(node.op.clone(), args, node.regions.clone()).map_err(faulty)?;
            for (old, new) in node.results.iter().zip(results) {
                builder.name(new, &body.values[old.index()].name);
                map.insert(*old, new);
            }
        }
        Ok(())
    }

    /// Says what a tick is, for `nc check`.
    fn say(&mut self, inputs: &[Along], outputs: &[Option<Along>]) {
        let old = &self.it.traced.module;
        let axis = |a: &Along| format!("a tick is one step along axis {} of its array", a.axis);
        let mut say = |port: &Port, text: String| self.new.choices.push(Choice { subject: port.name.clone(), text });
        for (port, along) in old.inputs.iter().zip(inputs) {
            say(port, axis(along));
        }
        for (port, along) in old.outputs.iter().zip(outputs) {
            say(port, along.as_ref().map_or_else(|| "what is known after the steps so far".to_owned(), axis));
        }
    }
}

/// Leaves out constants that nothing names.
fn prune(module: &mut Module) {
    fn each(graph: &mut Graph, f: &mut impl FnMut(&mut ConstId)) {
        for node in &mut graph.nodes {
            if let Op::Const { id } = &mut node.op {
                f(id);
            }
            node.regions.iter_mut().for_each(|r| each(r, f));
        }
    }
    let mut used = vec![false; module.consts.len()];
    let mut mark = |id: &mut ConstId| used[id.index()] = true;
    each(&mut module.graph, &mut mark);
    module.states.iter_mut().for_each(|s| mark(&mut s.init));
    let mut at = Vec::with_capacity(used.len());
    let mut kept: Vec<Constant> = Vec::new();
    for (c, used) in std::mem::take(&mut module.consts).into_iter().zip(used) {
        at.push(ConstId(kept.len() as u32));
        kept.extend(used.then_some(c));
    }
    module.consts = kept;
    let mut renumber = |id: &mut ConstId| *id = at[id.index()];
    each(&mut module.graph, &mut renumber);
    module.states.iter_mut().for_each(|s| renumber(&mut s.init));
}
