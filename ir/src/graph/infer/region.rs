//! Rules of the ops with regions: synapses and control.

use super::{Cx, Types, shape_text};
use crate::graph::{ConnId, Connectivity, LineId, Rule, SynapseDelay};
use crate::types::{DType, Dim, TensorType};

fn scalars(types: &[TensorType]) -> Vec<TensorType> {
    types.iter().map(|t| TensorType::scalar(t.dtype)).collect()
}

fn list(types: &[TensorType]) -> String {
    let items: Vec<String> = types.iter().map(TensorType::to_string).collect();
    format!("({})", items.join(", "))
}

/// Number of synapses where it follows from the rule without looking at constants or drawing.
fn known_synapses(c: &Connectivity, cx: &Cx<'_>) -> Option<u64> {
    let (pre, post) = (c.pre.end.checked_sub(c.pre.start)?, c.post.end.checked_sub(c.post.start)?);
    match &c.rule {
        Rule::All => pre.checked_mul(post),
        Rule::OneToOne => Some(pre.min(post)),
        Rule::FixedIn { k, stream: _ } => post.checked_mul(*k),
        Rule::FixedOut { k, stream: _ } => pre.checked_mul(*k),
        Rule::Table { pre, post: _ } => cx.pools.consts.get(pre.index()).map(|c| c.data.len() as u64),
        Rule::Random { p: _, stream: _ } | Rule::Predicate(_) | Rule::Conv2d { .. } => None,
    }
}

impl Cx<'_> {
    /// Region `k` takes exactly `params`; the types of its results.
    fn region(&self, k: usize, params: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let (g, name) = (&self.regions[k], self.op.info().regions[k]);
        let types = |ids: &[crate::graph::ValueId]| -> Result<Vec<TensorType>, String> {
            ids.iter()
                .map(|v| match g.values.get(v.index()) {
                    Some(v) => Ok(v.ty.clone()),
                    None => Err(format!("region `{name}` names {v}, which it does not have")),
                })
                .collect()
        };
        let found = types(&g.params)?;
        if found != params {
            return Err(format!("region `{name}` takes {}, expected {}", list(&found), list(params)));
        }
        types(&g.results)
    }

    fn region_gives(&self, k: usize, params: &[TensorType], results: &[TensorType]) -> Result<(), String> {
        let found = self.region(k, params)?;
        match found == results {
            true => Ok(()),
            false => {
                let name = self.op.info().regions[k];
                Err(format!("region `{name}` gives {}, expected {}", list(&found), list(results)))
            }
        }
    }

    fn conn(&self, conn: ConnId) -> Result<&Connectivity, String> {
        self.pools.conns.get(conn.index()).ok_or_else(|| format!("there is no connectivity {conn}"))
    }

    fn expect_elements(&self, k: usize, n: u64, what: &str) -> Result<(), String> {
        match self.ty(k).elements() {
            Some(found) if found == n => Ok(()),
            _ => Err(format!(
                "{} has shape {}, expected as many elements as the {what} has ({n})",
                self.operand(k),
                shape_text(&self.ty(k).shape)
            )),
        }
    }

    /// Splits `many` operands: the ends of each group, the last of which takes what is left.
    fn groups(&self, counts: &[(&str, usize)]) -> Result<Vec<usize>, String> {
        let mut ends = Vec::with_capacity(counts.len());
        let mut at = 0usize;
        for (name, n) in counts {
            at = at.checked_add(*n).filter(|at| *at <= self.args.len()).ok_or_else(|| {
                format!("`{name}` is {n}, but only {} operands are left", self.args.len().saturating_sub(at))
            })?;
            ends.push(at);
        }
        Ok(ends)
    }

    /// The source of events: `now`, a delay line, or both, as the delays need.
    fn expect_source(&self, c: &Connectivity, line: Option<LineId>, now_count: usize) -> Result<(), String> {
        if now_count > 1 {
            return Err(format!("`now_count` is {now_count}, expected 0 or 1"));
        }
        if now_count == 1 {
            self.expect_dtype(0, DType::Bool)?;
            self.expect_elements(0, c.pre_len, "source")?;
        }
        let depth = match line {
            None => 0,
            Some(id) => {
                let line = self.pools.lines.get(id.index()).ok_or_else(|| format!("there is no delay line {id}"))?;
                if line.ty.dtype != DType::Bool || line.ty.elements() != Some(c.pre_len) {
                    return Err(format!("{id} holds {}, expected bool with {} elements", line.ty, c.pre_len));
                }
                line.depth
            }
        };
        if now_count == 0 && line.is_none() {
            return Err("has neither the source's spikes of this tick nor a delay line".to_string());
        }
        let (least, most) = match &c.delay {
            SynapseDelay::Ticks(d) => (*d, *d),
            SynapseDelay::Region { body: _, max } => (u32::from(depth > 0 && now_count == 0), *max),
            // Checked against the constant's values by the verifier.
            SynapseDelay::PerSynapse(_) | SynapseDelay::Kernel(_) => (u32::from(now_count == 0), depth),
        };
        if least == 0 && now_count == 0 {
            return Err("synapses of delay 0 need the source's spikes of this tick (`now`)".to_string());
        }
        if most > depth {
            return Err(format!("delays of up to {most} ticks need a delay line of that depth, found {depth}"));
        }
        Ok(())
    }

    /// Per-target states and reads of operands `from..states..reads`.
    fn expect_targets(&self, c: &Connectivity, states: std::ops::Range<usize>, reads: usize) -> Result<(), String> {
        for k in states.clone() {
            self.expect_elements(k, c.post_len, "target")?;
        }
        for k in states.end..reads {
            if self.ty(k).rank() > 0 {
                self.expect_elements(k, c.post_len, "target")?;
            }
        }
        Ok(())
    }

    pub(super) fn project(&self, conn: ConnId, line: Option<LineId>, now: usize, states: usize) -> Types {
        let c = self.conn(conn)?;
        let ends = self.groups(&[("now_count", now), ("state_count", states)])?;
        self.expect_source(c, line, now)?;
        self.expect_targets(c, ends[0]..ends[1], self.args.len())?;
        let state_types = self.types(ends[0]..ends[1]);
        let mut params = vec![TensorType::scalar(DType::F32)];
        params.extend(scalars(&self.types(ends[0]..self.args.len())));
        self.region_gives(0, &params, &scalars(&state_types))?;
        Ok(state_types)
    }

    /// Types of per-synapse operands `from..`: equal extents, the last one the ticks of the last events.
    fn synapses(&self, c: &Connectivity, from: usize) -> Result<Vec<TensorType>, String> {
        let end = self.args.len();
        if from >= end {
            return Err("has no synapse values, expected at least the ticks of the last events".to_string());
        }
        for k in from..end {
            let t = self.ty(k);
            if t.rank() != 1 || t.shape != self.ty(from).shape {
                return Err(format!(
                    "{} has shape {}, expected one dimension, as long as all synapse values",
                    self.operand(k),
                    shape_text(&t.shape)
                ));
            }
        }
        if let (Some(n), Some(found)) = (known_synapses(c, self), self.ty(from).elements())
            && n != found
        {
            return Err(format!("{} has {found} elements, but `{}` has {n} synapses", self.operand(from), c.name));
        }
        self.expect_dtype(end - 1, DType::I64)?;
        Ok(self.types(from..end))
    }

    pub(super) fn plastic_pre(
        &self,
        conn: ConnId,
        line: Option<LineId>,
        now: usize,
        states: usize,
        synapses: usize,
    ) -> Types {
        let c = self.conn(conn)?;
        let ends = self.groups(&[("now_count", now), ("state_count", states), ("synapse_count", synapses)])?;
        let reads = self.args.len() - synapses;
        self.expect_source(c, line, now)?;
        self.expect_targets(c, ends[0]..ends[1], reads)?;
        let synapse_types = self.synapses(c, reads)?;
        let values = scalars(&synapse_types[..synapse_types.len() - 1]);
        let mut params = vec![TensorType::scalar(DType::I64)];
        params.extend_from_slice(&values);
        let results = self.region(0, &params)?;
        let payload = match results.split_first() {
            Some((payload, rest)) if payload.rank() == 0 && rest == values => payload.clone(),
            _ => {
                return Err(format!(
                    "region `pre` gives {}, expected a scalar payload followed by {}",
                    list(&results),
                    list(&values)
                ));
            }
        };
        let state_types = self.types(ends[0]..ends[1]);
        let mut params = vec![payload];
        params.extend(scalars(&self.types(ends[0]..reads)));
        self.region_gives(1, &params, &scalars(&state_types))?;
        let mut all = state_types;
        all.extend(synapse_types);
        Ok(all)
    }

    pub(super) fn plastic_post(&self, conn: ConnId) -> Types {
        let c = self.conn(conn)?;
        self.expect_dtype(0, DType::Bool)?;
        self.expect_elements(0, c.post_len, "target")?;
        let types = self.synapses(c, 1)?;
        let values = scalars(&types[..types.len() - 1]);
        let mut params = vec![TensorType::scalar(DType::I64)];
        params.extend_from_slice(&values);
        self.region_gives(0, &params, &values)?;
        Ok(types)
    }

    pub(super) fn integrate(&self, dt: f64, substeps: u32, states: usize) -> Types {
        self.groups(&[("state_count", states)])?;
        if !(dt.is_finite() && dt > 0.0) {
            return Err(format!("`dt` is {dt}, expected a positive number of seconds"));
        }
        if substeps == 0 {
            return Err("`substeps` is 0, expected at least 1".to_string());
        }
        let types = self.types(0..states);
        for (k, t) in types.iter().enumerate() {
            if !t.dtype.is_float() {
                return Err(format!("{} is {}, expected a float type", self.operand(k), t.dtype));
            }
        }
        self.region_gives(0, &self.types(0..self.args.len()), &types)?;
        Ok(types)
    }

    pub(super) fn cond(&self) -> Types {
        self.expect_scalar(0, DType::Bool)?;
        let inputs = self.types(1..self.args.len());
        let results = self.region(0, &inputs)?;
        self.region_gives(1, &inputs, &results)?;
        Ok(results)
    }

    pub(super) fn scan(&self, carried: usize, scanned: usize) -> Types {
        let ends = self.groups(&[("carried_count", carried), ("scanned_count", scanned)])?;
        if scanned == 0 {
            return Err("`scanned_count` is 0: nothing says how many rows there are".to_string());
        }
        let mut length: Option<Dim> = None;
        let carried_types = self.types(0..carried);
        let mut params = carried_types.clone();
        for k in ends[0]..ends[1] {
            let t = self.ty(k);
            let Some((lead, row)) = t.shape.split_first() else {
                return Err(format!("{} is a scalar, expected a leading axis to scan", self.operand(k)));
            };
            match &length {
                None => length = Some(lead.clone()),
                Some(n) if n == lead => {}
                Some(n) => {
                    return Err(format!("{} has {lead} rows, but the first scanned operand has {n}", self.operand(k)));
                }
            }
            params.push(TensorType { dtype: t.dtype, shape: row.to_vec() });
        }
        params.extend(self.types(ends[1]..self.args.len()));
        let results = self.region(0, &params)?;
        if results.len() < carried || results[..carried] != carried_types {
            return Err(format!(
                "region `body` gives {}, expected it to begin with the carried {}",
                list(&results),
                list(&carried_types)
            ));
        }
        let mut all = carried_types;
        for t in &results[carried..] {
            let mut shape: Vec<Dim> = length.iter().cloned().collect();
            shape.extend_from_slice(&t.shape);
            all.push(TensorType { dtype: t.dtype, shape });
        }
        Ok(all)
    }

    pub(super) fn repeat(&self, carried: usize) -> Types {
        self.expect_scalar(0, DType::I64)?;
        self.expect_scalar(1, DType::Bool)?;
        let at = self.groups(&[("trips and condition", 2), ("carried_count", carried)])?[1];
        let types = self.types(2..at);
        let mut params = vec![TensorType::scalar(DType::I64)];
        params.extend(self.types(2..self.args.len()));
        let mut results = vec![TensorType::scalar(DType::Bool)];
        results.extend_from_slice(&types);
        self.region_gives(0, &params, &results)?;
        Ok(types)
    }
}
