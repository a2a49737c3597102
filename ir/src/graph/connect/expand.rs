//! Expansion of a rule to its synapses.

use super::gaps::Gaps;
use super::{Connectivity, Delays, Rule, SynapseDelay, SynapseTable, SynapseWeight, Weights};
use crate::diag::Diagnostic;
use crate::graph::{ConstId, Graph, Pools};
use crate::interp::eval::Context;
use crate::interp::pointwise::Pointwise;
use crate::random;
use crate::tensor::Tensor;
use crate::types::{DType, Dim, TensorType};
use rustc_hash::FxHashSet;

/// Candidates that a region is given at once.
const PIECE: usize = 4096;

/// Rows of fewer candidates are put together, where the region allows it; in longer ones, what does not depend on the
/// source is computed once for all of them.
const SHORT: usize = 256;

/// Largest row of candidates for which values that do not depend on the source are kept.
const SHARED: usize = 1 << 20;

/// Makes the synapses of a connectivity.
///
/// # Errors
/// If there are more than `max_synapses` (`E0510`); a weight is NaN (`E0511`); a delay is negative or above its bound
/// (`E0512`); a table has the wrong type or size (`E0513`) or is not sorted or out of range (`E0514`); the rule does
/// not fit its source and target (`E0515`); a region is not one of a row of synapses (`E0516`).
pub fn expand(c: &Connectivity, pools: Pools<'_>, max_synapses: u64) -> Result<SynapseTable, Diagnostic> {
    let x = Expansion { c, pools, max: max_synapses };
    x.check_ranges()?;
    let (pre_ptr, post, taps) = x.pairs()?;
    let mut table = SynapseTable { pre_ptr, post, weight: Weights::Scalar(0.0), delay: Delays::Uniform(0) };
    table.weight = x.weights(&table, &taps)?;
    table.delay = x.delays(&table, &taps)?;
    Ok(table)
}

struct Expansion<'a> {
    c: &'a Connectivity,
    pools: Pools<'a>,
    max: u64,
}

/// Row starts, targets, and for a convolution the flat kernel index of each synapse.
type Pairs = (Vec<u64>, Vec<u32>, Vec<u32>);

impl Expansion<'_> {
    fn fail(&self, code: &'static str, what: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::error_nowhere(code, format!("connect `{}`: {what}", self.c.name))
    }

    fn check_ranges(&self) -> Result<(), Diagnostic> {
        let c = self.c;
        for (range, len, side) in [(&c.pre, c.pre_len, "source"), (&c.post, c.post_len, "target")] {
            if range.start > range.end || range.end > len {
                let what =
                    format!("the range {}..{} does not lie in the {side}'s {len} elements", range.start, range.end);
                return Err(self.fail("E0515", what));
            }
            // A row start takes half the memory of a synapse; sources and targets are numbered in 32 bits.
            if len > u64::from(u32::MAX) || len / 2 > self.max.max(1 << 20) {
                return Err(self.too_many(format!("a {side} of {len} elements")));
            }
        }
        Ok(())
    }

    fn too_many(&self, what: impl std::fmt::Display) -> Diagnostic {
        self.fail("E0510", format!("{what} is more than the limit of {} synapses allows", self.max))
            .with_hint("raise the memory limit or connect more sparsely")
    }

    fn check_count(&self, n: Option<u64>) -> Result<usize, Diagnostic> {
        match n {
            Some(n) if n <= self.max => usize::try_from(n).map_err(|_| self.too_many(n)),
            Some(n) => Err(self.too_many(format!("{n} synapses"))),
            None => Err(self.too_many("a number of synapses beyond 64 bits")),
        }
    }

    /// Checks that another synapse may be added to a list of `n`.
    fn room(&self, n: usize) -> Result<(), Diagnostic> {
        if n as u64 >= self.max {
            return Err(self.too_many(format!("{} synapses", self.max.saturating_add(1))));
        }
        Ok(())
    }

    fn sources(&self) -> u64 {
        self.c.pre.end - self.c.pre.start
    }

    fn targets(&self) -> u64 {
        self.c.post.end - self.c.post.start
    }

    fn pairs(&self) -> Result<Pairs, Diagnostic> {
        let (post_lo, post_hi) = (self.c.post.start as u32, self.c.post.end as u32);
        match &self.c.rule {
            Rule::All => {
                let n = self.check_count(self.sources().checked_mul(self.targets()))?;
                self.by_rows(n, |_, row| {
                    row.extend(post_lo..post_hi);
                    Ok(())
                })
            }
            Rule::OneToOne => {
                if self.sources() != self.targets() {
                    let what = format!("one_to_one from {} sources to {} targets", self.sources(), self.targets());
                    return Err(self.fail("E0515", what));
                }
                let n = self.check_count(Some(self.sources()))?;
                self.by_rows(n, |i, row| {
                    row.push((i - self.c.pre.start + self.c.post.start) as u32);
                    Ok(())
                })
            }
            Rule::Random { p, stream } => self.random(p.0, *stream),
            Rule::Predicate(g) => self.predicate(g),
            Rule::FixedIn { k, stream } => self.fixed_in(*k, *stream),
            Rule::FixedOut { k, stream } => {
                self.check_choice(*k, self.targets(), "target")?;
                let n = self.check_count(self.sources().checked_mul(*k))?;
                let mut drawn = FxHashSet::default();
                self.by_rows(n, |i, row| {
                    let start = row.len();
                    choose(*stream, i, *k, self.targets(), &mut drawn, |j| row.push(post_lo + j as u32));
                    row[start..].sort_unstable();
                    Ok(())
                })
            }
            Rule::Conv2d { input, output, size, stride, pad } => self.conv2d(*input, *output, *size, *stride, *pad),
            Rule::Table { pre, post } => self.table(*pre, *post),
        }
    }

    /// Calls `row` for every source that takes part, with the list that its targets are to be appended to, ascending.
    fn by_rows(
        &self,
        expected: usize,
        mut row: impl FnMut(u64, &mut Vec<u32>) -> Result<(), Diagnostic>,
    ) -> Result<Pairs, Diagnostic> {
        let mut post = Vec::with_capacity(expected);
        let mut pre_ptr = Vec::with_capacity(self.c.pre_len as usize + 1);
        pre_ptr.push(0);
        for i in 0..self.c.pre_len {
            if self.c.pre.contains(&i) {
                row(i, &mut post)?;
            }
            pre_ptr.push(post.len() as u64);
        }
        Ok((pre_ptr, post, Vec::new()))
    }

    fn random(&self, p: f64, stream: u64) -> Result<Pairs, Diagnostic> {
        if !(0.0..=1.0).contains(&p) {
            return Err(self.fail("E0515", format!("the probability {p} does not lie between 0 and 1")));
        }
        if p == 0.0 {
            return self.by_rows(0, |_, _| Ok(()));
        }
        let log_q = Gaps::log_q(p);
        let expected = (self.sources() as f64 * self.targets() as f64 * p * 1.05) as u64;
        self.by_rows(expected.min(self.max) as usize, |i, row| {
            let mut gaps = Gaps::new(stream, i, log_q);
            let mut at = self.c.post.start;
            while at < self.c.post.end {
                // With p = 1 the quotient is 0 / -inf or finite / -inf: no gap.
                let skip = gaps.skip();
                if skip >= (self.c.post.end - at) as f64 {
                    break;
                }
                at += skip as u64;
                self.room(row.len())?;
                row.push(at as u32);
                at += 1;
            }
            Ok(())
        })
    }

    fn predicate(&self, g: &Graph) -> Result<Pairs, Diagnostic> {
        self.check_region(g, DType::Bool, "rule")?;
        let all: Vec<u32> = (self.c.post.start as u32..self.c.post.end as u32).collect();
        if (1..SHORT).contains(&all.len())
            && let Some(region) = Pointwise::of(g, self.pools.consts)
        {
            return self.short_rows(region, &all);
        }
        // What does not depend on the source is computed once, as long as it does not take much memory.
        let shared: Vec<_> = match all.len() <= SHARED {
            true => all.chunks(PIECE).map(|piece| self.shared(g, piece)).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        self.by_rows(0, |i, row| {
            for (k, piece) in all.chunks(PIECE).enumerate() {
                let hits = match shared.get(k) {
                    Some(values) => self.finish(g, i, values.clone(), piece.len())?,
                    None => self.region(g, i, piece)?,
                };
                for (j, hit) in piece.iter().zip(hits.bytes()) {
                    if *hit != 0 {
                        self.room(row.len())?;
                        row.push(*j);
                    }
                }
            }
            Ok(())
        })
    }

    /// The pairs that satisfy a predicate, many rows of candidates at a time.
    fn short_rows(&self, mut region: Pointwise<'_>, candidates: &[u32]) -> Result<Pairs, Diagnostic> {
        let n = candidates.len();
        let rows = PIECE / n;
        let end = self.c.pre.end;
        let mut hits: Option<Tensor> = None;
        self.by_rows(0, |i, row| {
            let k = (i - self.c.pre.start) as usize % rows;
            if k == 0 {
                let sources = i..end.min(i + rows as u64);
                let pairs = sources.flat_map(|i| candidates.iter().map(move |j| (i as i64, i64::from(*j))));
                let (is, js): (Vec<i64>, Vec<i64>) = pairs.unzip();
                hits = Some(self.together(&mut region, is, js)?);
            }
            let hits = hits.iter().flat_map(|t| t.bytes().iter().skip(k * n));
            for (j, hit) in candidates.iter().zip(hits) {
                if *hit != 0 {
                    self.room(row.len())?;
                    row.push(*j);
                }
            }
            Ok(())
        })
    }

    /// A region's results for pairs of any rows.
    fn together(&self, region: &mut Pointwise<'_>, is: Vec<i64>, js: Vec<i64>) -> Result<Tensor, Diagnostic> {
        let n = is.len();
        let vector = |v: Vec<i64>| Tensor::from_vec(vec![n], v);
        match (vector(is), vector(js)) {
            (Some(is), Some(js)) => region.run(&[&is, &js], n),
            _ => Err(self.fail("E0516", "a region is given another number of sources than of targets")),
        }
    }

    fn check_choice(&self, k: u64, n: u64, side: &str) -> Result<(), Diagnostic> {
        match k <= n {
            true => Ok(()),
            false => Err(self.fail("E0515", format!("{k} distinct {side}s cannot be chosen from {n}"))),
        }
    }

    fn fixed_in(&self, k: u64, stream: u64) -> Result<Pairs, Diagnostic> {
        self.check_choice(k, self.sources(), "source")?;
        let n = self.check_count(self.targets().checked_mul(k))?;
        // Column by column, then sorted into rows by counting; columns ascend, so that rows do.
        let mut sources: Vec<u32> = Vec::with_capacity(n);
        let mut drawn = FxHashSet::default();
        for j in self.c.post.clone() {
            choose(stream, j, k, self.sources(), &mut drawn, |i| sources.push((self.c.pre.start + i) as u32));
        }
        let mut pre_ptr = vec![0u64; self.c.pre_len as usize + 1];
        for i in &sources {
            pre_ptr[*i as usize + 1] += 1;
        }
        for i in 0..self.c.pre_len as usize {
            pre_ptr[i + 1] += pre_ptr[i];
        }
        let mut next = pre_ptr.clone();
        let mut post = vec![0u32; n];
        for (at, i) in sources.iter().enumerate() {
            let slot = &mut next[*i as usize];
            post[*slot as usize] = (self.c.post.start + at as u64 / k) as u32;
            *slot += 1;
        }
        Ok((pre_ptr, post, Vec::new()))
    }

    fn conv2d(
        &self,
        input: [u64; 3],
        output: [u64; 3],
        size: [u64; 2],
        stride: [u64; 2],
        pad: [u64; 2],
    ) -> Result<Pairs, Diagnostic> {
        let product = |e: [u64; 3]| e.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        if product(input) != Some(self.sources()) || product(output) != Some(self.targets()) {
            let (m, n) = (self.sources(), self.targets());
            return Err(
                self.fail("E0515", format!("conv2d from {input:?} to {output:?}, but there are {m} and {n} elements"))
            );
        }
        for a in 0..2 {
            let padded = pad[a].checked_mul(2).and_then(|p| p.checked_add(input[a + 1]));
            let room = padded.and_then(|n| n.checked_sub(size[a]));
            let fits = size[a] > 0 && stride[a] > 0 && room.is_some_and(|r| r / stride[a] + 1 == output[a + 1]);
            if !fits {
                let what = format!(
                    "a kernel of {size:?} with stride {stride:?} and padding {pad:?} over {input:?} does not give {output:?}"
                );
                return Err(self.fail("E0515", what));
            }
        }
        if [input[0], output[0], size[0], size[1]]
            .iter()
            .try_fold(1u64, |n, d| n.checked_mul(*d))
            .is_none_or(|n| n > 1 << 32)
        {
            return Err(self.too_many("a kernel of more than 2^32 elements"));
        }
        let [cin, h, w] = input;
        let [cout, oh, ow] = output;
        // The outputs whose window covers position x of an axis: those o with 0 <= x + pad - o * stride < size.
        let cover = |x: u64, a: usize, count: u64| {
            let top = x + pad[a];
            let first = (top + 1).saturating_sub(size[a]).div_ceil(stride[a]);
            first..(top / stride[a] + 1).min(count).max(first)
        };
        let mut taps: Vec<u32> = Vec::new();
        let (pre_ptr, post, _) = self.by_rows(0, |i, row| {
            let local = i - self.c.pre.start;
            let (c, y, x) = (local / (h * w), local / w % h, local % w);
            for co in 0..cout {
                for oy in cover(y, 0, oh) {
                    for ox in cover(x, 1, ow) {
                        let (ky, kx) = (y + pad[0] - oy * stride[0], x + pad[1] - ox * stride[1]);
                        self.room(row.len())?;
                        row.push((self.c.post.start + (co * oh + oy) * ow + ox) as u32);
                        taps.push((((co * cin + c) * size[0] + ky) * size[1] + kx) as u32);
                    }
                }
            }
            Ok(())
        })?;
        Ok((pre_ptr, post, taps))
    }

    fn table(&self, pre: ConstId, post: ConstId) -> Result<Pairs, Diagnostic> {
        let (sources, targets) = (self.constant(pre, DType::I64)?, self.constant(post, DType::I64)?);
        if sources.shape().len() != 1 || sources.shape() != targets.shape() {
            let what = format!("the table's columns are {} and {}, expected two lists", sources.ty(), targets.ty());
            return Err(self.fail("E0513", what));
        }
        self.check_count(Some(sources.len() as u64))?;
        let pairs = || sources.as_slice::<i64>().iter().zip(targets.as_slice::<i64>());
        let inside = |x: i64, range: &std::ops::Range<u64>| u64::try_from(x).is_ok_and(|x| range.contains(&x));
        for (k, (i, j)) in pairs().enumerate() {
            if !inside(*i, &self.c.pre) || !inside(*j, &self.c.post) {
                return Err(self.fail(
                    "E0514",
                    format!("entry {k} of the table names the pair ({i}, {j}), which is out of range"),
                ));
            }
        }
        if let Some(k) = pairs().zip(pairs().skip(1)).position(|(a, b)| a > b) {
            let what = format!("entry {} of the table comes before entry {k} in the order of (source, target)", k + 1);
            return Err(self.fail("E0514", what).with_hint("sort the table by source, then by target"));
        }
        let mut left = pairs().peekable();
        self.by_rows(sources.len(), |i, row| {
            while let Some((_, j)) = left.next_if(|(k, _)| **k as u64 == i) {
                row.push(*j as u32);
            }
            Ok(())
        })
    }

    fn constant(&self, id: ConstId, dtype: DType) -> Result<&Tensor, Diagnostic> {
        let data = self.pools.consts.get(id.index()).map(|c| &c.data);
        let data = data.ok_or_else(|| self.fail("E0513", format!("there is no constant {id}")))?;
        match data.dtype() == dtype {
            true => Ok(data),
            false => Err(self.fail("E0513", format!("{id} is {}, expected {dtype}", data.ty()))),
        }
    }

    fn shaped(&self, id: ConstId, dtype: DType, shape: &[u64]) -> Result<&Tensor, Diagnostic> {
        let data = self.constant(id, dtype)?;
        let expected = TensorType::new(dtype, shape.iter().copied());
        match data.ty() == expected {
            true => Ok(data),
            false => Err(self.fail("E0513", format!("{id} is {}, expected {expected}", data.ty()))),
        }
    }

    fn kernel_shape(&self) -> Result<[u64; 4], Diagnostic> {
        match &self.c.rule {
            Rule::Conv2d { input, output, size, stride: _, pad: _ } => Ok([output[0], input[0], size[0], size[1]]),
            _ => Err(self.fail("E0513", "values of a kernel's shape need the rule conv2d")),
        }
    }

    fn weights(&self, table: &SynapseTable, taps: &[u32]) -> Result<Weights, Diagnostic> {
        let weights = match &self.c.weight {
            SynapseWeight::Scalar(id) => {
                let one = self.shaped(*id, DType::F32, &[])?;
                Weights::Scalar(one.as_slice::<f32>()[0])
            }
            SynapseWeight::PerSynapse(id) => {
                Weights::Per(self.shaped(*id, DType::F32, &[table.len() as u64])?.as_slice::<f32>().to_vec())
            }
            SynapseWeight::Kernel(id) => {
                let kernel = self.shaped(*id, DType::F32, &self.kernel_shape()?)?.as_slice::<f32>();
                Weights::Per(taps.iter().map(|t| kernel[*t as usize]).collect())
            }
            SynapseWeight::Region(g) => {
                self.check_region(g, DType::F32, "weight")?;
                let mut all = Vec::with_capacity(table.len());
                self.each_row(table, g, |t| all.extend_from_slice(t.as_slice::<f32>()))?;
                Weights::Per(all)
            }
            SynapseWeight::Matrix { data, pre_major } => {
                let (m, n) = (self.sources(), self.targets());
                let matrix =
                    self.shaped(*data, DType::F32, &if *pre_major { [m, n] } else { [n, m] })?.as_slice::<f32>();
                let mut all = Vec::with_capacity(table.len());
                for i in self.c.pre.clone() {
                    let i_local = i - self.c.pre.start;
                    for j in &table.post[table.row(i as usize)] {
                        let j_local = u64::from(*j) - self.c.post.start;
                        let at = if *pre_major { i_local * n + j_local } else { j_local * m + i_local };
                        all.push(matrix[at as usize]);
                    }
                }
                Weights::Per(all)
            }
        };
        let bad = match &weights {
            Weights::Scalar(w) => w.is_nan().then_some(0),
            Weights::Per(all) => all.iter().position(|w| w.is_nan()),
        };
        match bad {
            None => Ok(weights),
            Some(k) => Err(self.fail("E0511", format!("the weight of synapse {k} is not a number"))),
        }
    }

    fn delays(&self, table: &SynapseTable, taps: &[u32]) -> Result<Delays, Diagnostic> {
        let in_range = |k: usize, d: i64, max: u32| match u32::try_from(d) {
            Ok(d) if d <= max => Ok(d),
            _ => Err(self.fail("E0512", format!("the delay of synapse {k} is {d} ticks, expected 0 to {max}"))),
        };
        let listed = |all: &mut dyn Iterator<Item = i64>| -> Result<Delays, Diagnostic> {
            all.enumerate().map(|(k, d)| in_range(k, d, u32::MAX)).collect::<Result<_, _>>().map(Delays::Per)
        };
        match &self.c.delay {
            SynapseDelay::Ticks(d) => Ok(Delays::Uniform(*d)),
            SynapseDelay::PerSynapse(id) => {
                let all = self.shaped(*id, DType::I64, &[table.len() as u64])?.as_slice::<i64>();
                listed(&mut all.iter().copied())
            }
            SynapseDelay::Kernel(id) => {
                let kernel = self.shaped(*id, DType::I64, &self.kernel_shape()?)?.as_slice::<i64>();
                listed(&mut taps.iter().map(|t| kernel[*t as usize]))
            }
            SynapseDelay::Region { body, max } => {
                self.check_region(body, DType::I64, "delay")?;
                let mut all: Vec<u32> = Vec::with_capacity(table.len());
                let mut bad = None;
                self.each_row(table, body, |t| {
                    for d in t.as_slice::<i64>() {
                        match in_range(all.len(), *d, *max) {
                            Ok(d) => all.push(d),
                            Err(e) => bad = bad.take().or(Some(e)),
                        }
                    }
                })?;
                bad.map_or(Ok(Delays::Per(all)), Err)
            }
        }
    }

    /// Evaluates a region on the synapses of every row, in order.
    fn each_row(&self, table: &SynapseTable, g: &Graph, mut take: impl FnMut(&Tensor)) -> Result<(), Diagnostic> {
        if let Some(mut region) = Pointwise::of(g, self.pools.consts) {
            let mut sources = self.c.pre.clone().flat_map(|i| table.row(i as usize).map(move |_| i as i64));
            for targets in table.post.chunks(PIECE) {
                let is: Vec<i64> = sources.by_ref().take(targets.len()).collect();
                let js = targets.iter().map(|j| i64::from(*j)).collect();
                take(&self.together(&mut region, is, js)?);
            }
            return Ok(());
        }
        for i in self.c.pre.clone() {
            for piece in table.post[table.row(i as usize)].chunks(PIECE) {
                take(&self.region(g, i, piece)?);
            }
        }
        Ok(())
    }

    /// The region's type must be `(i64, i64[n])` to `result[n]` for a named n.
    fn check_region(&self, g: &Graph, result: DType, what: &str) -> Result<(), Diagnostic> {
        row_region(g, result).map_err(|e| self.fail("E0516", format!("the {what}'s region {e}")))
    }

    fn region(&self, g: &Graph, i: u64, js: &[u32]) -> Result<Tensor, Diagnostic> {
        let values = self.shared(g, js)?;
        self.finish(g, i, values, js.len())
    }

    fn context(&self) -> Context<'_> {
        Context { consts: self.pools.consts, lines: &[], synapses: &[], tick: 0 }
    }

    /// The values of a region that do not depend on the source.
    fn shared(&self, g: &Graph, js: &[u32]) -> Result<Vec<Option<Tensor>>, Diagnostic> {
        let js = Tensor::from_vec(vec![js.len()], js.iter().map(|j| i64::from(*j)).collect::<Vec<i64>>());
        let mut values = vec![None; g.values.len()];
        self.set(g, 1, &mut values, js)?;
        self.context().fill_known(g, &mut values, 0)?;
        Ok(values)
    }

    /// The result of a region for a source, given the values that do not depend on it.
    fn finish(&self, g: &Graph, i: u64, mut values: Vec<Option<Tensor>>, n: usize) -> Result<Tensor, Diagnostic> {
        self.set(g, 0, &mut values, Some(Tensor::scalar_i64(i as i64)))?;
        self.context().fill(g, &mut values, 0)?;
        let result = g.results.first().and_then(|r| values.get_mut(r.index())).and_then(Option::take);
        match result {
            Some(t) if t.shape() == [n] => Ok(t),
            _ => Err(self.fail("E0516", "a region gives another number of values than it is given targets")),
        }
    }

    fn set(&self, g: &Graph, k: usize, values: &mut [Option<Tensor>], t: Option<Tensor>) -> Result<(), Diagnostic> {
        match g.params.get(k).and_then(|p| values.get_mut(p.index())) {
            Some(slot) if t.is_some() => {
                *slot = t;
                Ok(())
            }
            _ => Err(self.fail("E0516", "a region does not take a source and a row of targets")),
        }
    }
}

/// Checks that a region takes (i: `i64`, j: `i64[n]`) and gives one `result[n]`, where n is a name.
pub(crate) fn row_region(g: &Graph, result: DType) -> Result<(), String> {
    let ty = |v: &crate::graph::ValueId| g.values.get(v.index()).map(|v| &v.ty);
    let [Some(i), Some(j)] = g.params.iter().map(ty).collect::<Vec<_>>()[..] else {
        return Err("does not take a source and a row of targets".to_string());
    };
    let [Dim::Sym(_)] = &j.shape[..] else {
        return Err(format!("takes targets as {j}, expected i64[n] with a named n"));
    };
    if *i != TensorType::scalar(DType::I64) || j.dtype != DType::I64 {
        return Err(format!("takes ({i}, {j}), expected (i64, i64[n])"));
    }
    let wanted = j.with_dtype(result);
    match g.results.iter().map(ty).collect::<Vec<_>>()[..] {
        [Some(found)] if *found == wanted => Ok(()),
        [Some(found)] => Err(format!("gives {found}, expected {wanted}")),
        _ => Err(format!("gives {} values, expected one", g.results.len())),
    }
}

/// Draws `k` distinct numbers below `n` (Floyd's method: Bentley and Floyd, *A sample of brilliance*, 1987). Draw d
/// of row `row` takes the first two words at `(stream, row, d)` as a 64-bit fraction of its range.
fn choose(stream: u64, row: u64, k: u64, n: u64, drawn: &mut FxHashSet<u64>, mut take: impl FnMut(u64)) {
    drawn.clear();
    for (d, top) in (n - k..n).enumerate() {
        let [lo, hi, ..] = random::words_at(stream, row, d as u64, 0);
        let bits = (u64::from(hi) << 32) | u64::from(lo);
        let pick = ((u128::from(bits) * (u128::from(top) + 1)) >> 64) as u64;
        let x = if drawn.insert(pick) { pick } else { top };
        drawn.insert(x);
        take(x);
    }
}
