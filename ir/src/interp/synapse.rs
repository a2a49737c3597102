//! Events through synapses, one at a time.

use super::broken;
use super::eval::{Context, integer};
use super::register::{put, scalars, zeros};
use crate::diag::Diagnostic;
use crate::graph::connect::SynapseTable;
use crate::graph::expand::inline_with;
use crate::graph::{Constant, Graph, LineId};
use crate::kernel::{Evaluate, Scalar};
use crate::tensor::Tensor;

/// Expanded synapses of one connectivity, and which delays occur among them.
pub(crate) struct Synapses {
    table: SynapseTable,
    /// Ascending, without repetition.
    delays: Vec<u32>,
}

/// A scalar region with the memory that its evaluation needs, so that an event allocates nothing.
struct Handler<'a> {
    region: &'a Graph,
    consts: &'a [Constant],
    tick: i64,
    args: Vec<Scalar>,
    slots: Vec<Option<Scalar>>,
    results: Vec<Scalar>,
}

impl<'a> Handler<'a> {
    fn new(region: &'a Graph, context: &Context<'a>) -> Handler<'a> {
        let Context { consts, tick, .. } = *context;
        Handler { region, consts, tick, args: Vec::new(), slots: Vec::new(), results: Vec::new() }
    }

    /// Runs the region on `args`.
    fn run(&mut self) -> Result<&[Scalar], Diagnostic> {
        let tick = Scalar::I64(self.tick);
        inline_with(&mut Evaluate, self.region, self.consts, tick, &self.args, &mut self.slots, &mut self.results)
            .map_err(broken)?;
        Ok(&self.results)
    }
}

/// Per-target values while events are delivered.
struct Targets {
    states: Vec<Vec<Scalar>>,
    reads: Vec<Vec<Scalar>>,
}

impl Targets {
    fn new(states: &[Tensor], reads: &[Tensor]) -> Targets {
        Targets { states: states.iter().map(scalars).collect(), reads: reads.iter().map(scalars).collect() }
    }

    /// Folds one event into target `post`.
    fn deliver(&mut self, handler: &mut Handler<'_>, payload: Scalar, post: usize) -> Result<(), Diagnostic> {
        handler.args.clear();
        handler.args.push(payload);
        for column in &self.states {
            handler.args.push(column[post]);
        }
        for column in &self.reads {
            // A scalar serves every target.
            handler.args.push(column[if column.len() == 1 { 0 } else { post }]);
        }
        let results = handler.run()?;
        for (column, x) in self.states.iter_mut().zip(results) {
            column[post] = *x;
        }
        Ok(())
    }
}

fn tensor(like: &Tensor, column: &[Scalar]) -> Result<Tensor, Diagnostic> {
    let mut t = zeros(like.dtype(), like.shape().to_vec()).ok_or_else(|| broken("a tensor is too large"))?;
    for (k, x) in column.iter().enumerate() {
        put(&mut t, k, *x);
    }
    Ok(t)
}

impl Synapses {
    pub fn new(table: SynapseTable) -> Synapses {
        let mut delays: Vec<u32> = match &table.delay {
            crate::graph::connect::Delays::Uniform(d) => vec![*d],
            crate::graph::connect::Delays::Per(v) => v.clone(),
        };
        delays.sort_unstable();
        delays.dedup();
        if table.is_empty() {
            delays.clear();
        }
        Synapses { table, delays }
    }

    /// Calls `event(synapse, pre, post)` for every event due now, in the order (source tick, presynaptic index, synapse).
    fn events(
        &self,
        context: &Context<'_>,
        now: Option<&Tensor>,
        line: Option<LineId>,
        mut event: impl FnMut(usize, usize) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        // The longest delay belongs to the earliest source tick.
        for delay in self.delays.iter().rev() {
            let spikes = match delay {
                0 => now,
                d => line.and_then(|l| context.past(l, *d)),
            };
            let spikes = spikes.ok_or_else(|| broken(format!("spikes of {delay} ticks ago are not at hand")))?;
            for pre in (0..self.table.pre_len()).filter(|pre| spikes.bytes().get(*pre) == Some(&1)) {
                for k in self.table.row(pre) {
                    if self.table.delay.at(k) == *delay {
                        event(k, self.table.post[k] as usize)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub fn project(
        &self,
        context: &Context<'_>,
        now: Option<&Tensor>,
        line: Option<LineId>,
        states: &[Tensor],
        reads: &[Tensor],
        deliver: &Graph,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let mut targets = Targets::new(states, reads);
        let mut handler = Handler::new(deliver, context);
        self.events(context, now, line, |k, post| {
            targets.deliver(&mut handler, Scalar::F32(self.table.weight.at(k)), post)
        })?;
        states.iter().zip(&targets.states).map(|(like, column)| tensor(like, column)).collect()
    }

    pub fn plastic_pre(
        &self,
        context: &Context<'_>,
        now: Option<&Tensor>,
        line: Option<LineId>,
        (states, reads, synapses): (&[Tensor], &[Tensor], &[Tensor]),
        regions: &[Graph],
    ) -> Result<Vec<Tensor>, Diagnostic> {
        self.expect_count(synapses)?;
        let mut targets = Targets::new(states, reads);
        let mut columns: Vec<Vec<Scalar>> = synapses.iter().map(scalars).collect();
        let (mut pre, mut deliver) = (Handler::new(&regions[0], context), Handler::new(&regions[1], context));
        self.events(context, now, line, |k, post| {
            let results = arrive(&mut pre, &mut columns, k)?;
            let payload = *results.first().ok_or_else(|| broken("region `pre` gives nothing"))?;
            let new = &results[1..];
            keep(&mut columns, new, k, context.tick);
            targets.deliver(&mut deliver, payload, post)
        })?;
        let all = states.iter().zip(&targets.states).chain(synapses.iter().zip(&columns));
        all.map(|(like, column)| tensor(like, column)).collect()
    }

    pub fn plastic_post(
        &self,
        context: &Context<'_>,
        spikes: &Tensor,
        synapses: &[Tensor],
        post: &Graph,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        self.expect_count(synapses)?;
        if !spikes.bytes().contains(&1) {
            return Ok(synapses.to_vec());
        }
        let mut columns: Vec<Vec<Scalar>> = synapses.iter().map(scalars).collect();
        let mut handler = Handler::new(post, context);
        // Synapses do not see each other, so that their order does not matter.
        for (k, target) in self.table.post.iter().enumerate() {
            if spikes.bytes().get(*target as usize) == Some(&1) {
                let results = arrive(&mut handler, &mut columns, k)?;
                keep(&mut columns, results, k, context.tick);
            }
        }
        synapses.iter().zip(&columns).map(|(like, column)| tensor(like, column)).collect()
    }

    fn expect_count(&self, synapses: &[Tensor]) -> Result<(), Diagnostic> {
        match synapses.iter().all(|t| t.len() == self.table.len()) {
            true => Ok(()),
            false => Err(Diagnostic::error_nowhere(
                "E0513",
                format!("values are given for another number of synapses than the {} there are", self.table.len()),
            )),
        }
    }
}

/// Runs a synapse's region on the ticks since its last event and its values.
fn arrive<'h>(handler: &'h mut Handler<'_>, columns: &mut [Vec<Scalar>], k: usize) -> Result<&'h [Scalar], Diagnostic> {
    let (last, values) = columns.split_last().ok_or_else(|| broken("a synapse has no values"))?;
    handler.args.clear();
    handler.args.push(Scalar::I64(handler.tick.wrapping_sub(integer(last[k]))));
    for column in values {
        handler.args.push(column[k]);
    }
    handler.run()
}

/// Stores a synapse's new values and the tick of its last event.
fn keep(columns: &mut [Vec<Scalar>], new: &[Scalar], k: usize, tick: i64) {
    if let Some((last, values)) = columns.split_last_mut() {
        for (column, x) in values.iter_mut().zip(new) {
            column[k] = *x;
        }
        last[k] = Scalar::I64(tick);
    }
}
