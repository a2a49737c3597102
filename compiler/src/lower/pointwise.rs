//! Clusters: one loop that computes element-wise ops, stores what others need and pushes events.

use super::homes::ring_slot;
use super::schedule::{Cluster, Dest};
use super::{ALIGN, Lowering};
use nc_ir::Diagnostic;
use nc_ir::graph::{Op, ValueId, expand};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, Parallel, Scalar, ScalarOp, ScalarType, Val};
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

impl Lowering<'_> {
    /// Writes the kernel of a cluster.
    pub fn cluster(&mut self, c: &Cluster) {
        if c.extent == 0 || c.nodes.is_empty() && c.stores.is_empty() && c.pushes.is_empty() {
            return;
        }
        if let Err(e) = self.try_cluster(c) {
            self.errors.push(e);
        }
    }

    fn try_cluster(&mut self, c: &Cluster) -> Result<(), Diagnostic> {
        let split = c.extent > 1 || !c.pushes.is_empty();
        let parallel = split.then_some(Parallel { len: c.extent, align: ALIGN });
        let mut b = KernelBuilder::new(self.cluster_name(c), parallel, c.every.max(1));
        let pushes: Vec<_> = c
            .pushes
            .iter()
            .map(|(v, id)| {
                let list = self.homes.lists[*id];
                let slot = self.slot(&mut b, list, 0);
                b.clear(list, slot);
                (*v, list, slot)
            })
            .collect();
        // Whatever is the same for all elements is loaded before the loop.
        let mut memo = FxHashMap::default();
        let operands: Vec<ValueId> = self.operands(c);
        for v in &operands {
            if let Some(k) = self.facts.splat(*v) {
                let k = b.constant(k);
                memo.insert(*v, k);
            } else if let Some(i) = self.iteration(&mut b, *v) {
                memo.insert(*v, i);
            } else if c.extent > 1 && (self.facts.count(*v) == 1 || self.facts.count(self.facts.view(*v).base) == 1) {
                let m = self.memory(*v)?;
                let x = m.load(&mut b, Index::default());
                memo.insert(*v, x);
            }
        }
        let mut frames = FxHashMap::default();
        for k in &c.nodes {
            if let Op::Delayed { line, ticks } = self.facts.graph().nodes[*k].op {
                let at = self.frame(&mut b, line.index(), ticks);
                frames.insert((line.index(), ticks), at);
            }
        }
        for (_, dest) in &c.stores {
            if let Dest::Ring(k) = dest {
                let at = self.frame(&mut b, *k, 0);
                frames.insert((*k, 0), at);
            }
        }
        let mut result = Ok(());
        if split {
            let (lo, hi) = (b.lo(), b.hi());
            b.for_loop(lo, hi, true, |b, i| result = self.element(b, c, i, &mut memo, &frames, &pushes));
        } else {
            let i = b.index(0);
            result = self.element(&mut b, c, i, &mut memo, &frames, &pushes);
        }
        result?;
        self.program.push(b.finish());
        Ok(())
    }

    /// First element of the frame of a line that is so many ticks old.
    fn frame(&self, b: &mut KernelBuilder, line: usize, back: u32) -> Val {
        let l = &self.facts.lines[line];
        let slot = ring_slot(b, i64::from(l.depth) + 1, i64::from(back));
        let n = b.index(l.ty.elements().unwrap_or(0) as i64);
        b.op(ScalarOp::IMul, &[slot, n])
    }

    fn cluster_name(&self, c: &Cluster) -> String {
        let graph = self.facts.graph();
        let named = |v: &ValueId| Some(graph.values[v.index()].name.clone()).filter(|n| !n.is_empty());
        let values = c.stores.iter().map(|s| &s.0).chain(c.pushes.iter().map(|p| &p.0));
        let made = c.nodes.iter().map(|k| &graph.nodes[*k].results[0]);
        values.chain(made).find_map(named).map_or_else(|| "pointwise".into(), |n| format!("pointwise {n}"))
    }

    /// Every value that the cluster uses, once.
    fn operands(&self, c: &Cluster) -> Vec<ValueId> {
        let nodes = &self.facts.graph().nodes;
        let mut all: Vec<ValueId> = c.nodes.iter().flat_map(|k| nodes[*k].args.iter().copied()).collect();
        all.extend(c.stores.iter().map(|s| s.0));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn element(
        &mut self,
        b: &mut KernelBuilder,
        c: &Cluster,
        i: Val,
        memo: &mut FxHashMap<ValueId, Val>,
        frames: &FxHashMap<(usize, u32), Val>,
        pushes: &[(ValueId, nc_ir::kernel::ListId, Val)],
    ) -> Result<(), Diagnostic> {
        let graph = self.facts.graph();
        for k in &c.nodes {
            let node = &graph.nodes[*k];
            let result = node.results[0];
            let value = match &node.op {
                Op::Tick => b.tick(),
                Op::Iota { .. } => i,
                Op::Delayed { line, ticks } => {
                    let buf = self.homes.line_frames[line.index()]
                        .ok_or_else(|| self.bug(format!("{} keeps no frames", graph.name_of(result))))?;
                    let at = frames[&(line.index(), *ticks)];
                    b.load(buf, self.elem(result), Index::var(i).plus(at, 1))
                }
                op => {
                    let mut args = Vec::with_capacity(3);
                    let mut dtypes = Vec::with_capacity(3);
                    for a in &node.args {
                        args.push(self.operand(b, *a, i, memo)?);
                        dtypes.push(self.elem(*a));
                    }
                    expand::elementwise(b, op, &args, &dtypes, self.elem(result))
                }
            };
            memo.insert(result, value);
        }
        // Stores stand after all loads, so that a state may be updated in place.
        let mut values = Vec::with_capacity(c.stores.len());
        for (v, dest) in &c.stores {
            values.push(match dest {
                Dest::FromShadow(k) => {
                    let buf = self.homes.shadows[*k].ok_or_else(|| self.bug("a state has no shadow"))?;
                    b.load(buf, self.elem(*v), Index::var(i))
                }
                _ => self.operand(b, *v, i, memo)?,
            });
        }
        let mut conditions = Vec::with_capacity(pushes.len());
        for (v, list, slot) in pushes {
            let x = self.operand(b, *v, i, memo)?;
            conditions.push((*list, *slot, is_event(b, x, self.elem(*v))));
        }
        for ((v, dest), x) in c.stores.iter().zip(values) {
            let (buf, index) = self.target(b, *v, *dest, i, frames)?;
            b.store(buf, index, x);
        }
        for (list, slot, cond) in conditions {
            b.push(list, slot, cond, i);
        }
        Ok(())
    }

    /// The number of a loop's iteration, if that is what a value is.
    pub fn iteration(&self, b: &mut KernelBuilder, v: ValueId) -> Option<Val> {
        let level = self.homes.iterations.get(&self.facts.view(v).base)?;
        Some(b.iteration(*level))
    }

    /// Element i of a value, computed in this loop or loaded.
    fn operand(
        &mut self,
        b: &mut KernelBuilder,
        v: ValueId,
        i: Val,
        memo: &mut FxHashMap<ValueId, Val>,
    ) -> Result<Val, Diagnostic> {
        if let Some(x) = memo.get(&v) {
            return Ok(*x);
        }
        let view = self.facts.view(v);
        if view.offset == 0
            && self.facts.count(view.base) == self.facts.count(v)
            && let Some(x) = memo.get(&view.base)
        {
            return Ok(*x);
        }
        let m = self.memory(v)?;
        let x = m.load(b, Index::var(i));
        memo.insert(v, x);
        Ok(x)
    }

    fn target(
        &self,
        b: &mut KernelBuilder,
        v: ValueId,
        dest: Dest,
        i: Val,
        frames: &FxHashMap<(usize, u32), Val>,
    ) -> Result<(BufId, Index), Diagnostic> {
        let missing = || self.bug("a store has no target");
        Ok(match dest {
            Dest::Temp => (self.home(v)?, Index::var(i)),
            Dest::Output(k) => {
                let target = self.homes.outputs[k];
                (target.buf, target.at(b, Index::var(i)))
            }
            Dest::Probe(k) => (self.homes.probes[k], Index::var(i)),
            Dest::State(k) | Dest::FromShadow(k) => (self.homes.states[k], Index::var(i)),
            Dest::Shadow(k) => (self.homes.shadows[k].ok_or_else(missing)?, Index::var(i)),
            Dest::Ring(k) => (self.homes.line_frames[k].ok_or_else(missing)?, Index::var(i).plus(frames[&(k, 0)], 1)),
        })
    }

    /// Writes the kernel that sets a frame's elements at the events of a list.
    pub fn scatter(&mut self, events: usize, target: Dest, every: u64) {
        let list = self.homes.lists[events];
        let buf = match target {
            Dest::Output(k) => self.homes.outputs[k].buf,
            Dest::Probe(k) => self.homes.probes[k],
            Dest::Temp | Dest::Ring(_) | Dest::Shadow(_) | Dest::State(_) | Dest::FromShadow(_) => {
                self.errors.push(self.bug("events are scattered into host frames only"));
                return;
            }
        };
        let name = format!("record {}", self.program.buffers[buf.index()].name);
        let mut b = KernelBuilder::new(name, None, every.max(1));
        let slot = self.slot(&mut b, list, 0);
        let one = b.constant(Scalar::Bool(true));
        b.events(list, slot, 1, |b, at| b.store(buf, Index::var(at[0]), one));
        self.program.push(b.finish());
    }
}

/// True if an element is an event: a spike, or not zero.
pub(crate) fn is_event(b: &mut KernelBuilder, x: Val, dtype: DType) -> Val {
    match b.type_of(x) {
        ScalarType::Bool => x,
        ScalarType::F32 | ScalarType::F64 => {
            let zero = super::homes::float(b, dtype, 0.0);
            b.op(ScalarOp::FNe, &[x, zero])
        }
        ScalarType::I32 => {
            let zero = b.constant(Scalar::I32(0));
            b.op(ScalarOp::INe, &[x, zero])
        }
        ScalarType::I64 => {
            let zero = b.index(0);
            b.op(ScalarOp::INe, &[x, zero])
        }
    }
}
