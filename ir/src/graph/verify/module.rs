//! Rules on a module as a whole: ports, states, delay lines, probes, connectivities.

use super::{Kind, Rule, VerifierError, check_type, fail, graph};
use crate::graph::connect::{self, Connectivity, SynapseDelay, SynapseWeight, row_region};
use crate::graph::{ConstId, Graph, Module, Node, Op, Pools, ValueId};
use crate::types::{DType, TensorType};
use rustc_hash::FxHashSet;

pub(super) fn verify(m: &Module) -> Result<(), VerifierError> {
    let pools = m.pools();
    for (k, c) in m.consts.iter().enumerate() {
        check_type(&c.data.ty(), &format!("constant c{k}"))?;
    }
    for (k, c) in m.conns.iter().enumerate() {
        connectivity(c, pools, &format!("conn{k} (`{}`)", c.name))?;
    }
    for (k, l) in m.lines.iter().enumerate() {
        check_type(&l.ty, &format!("line{k}"))?;
    }
    graph(&m.graph, pools, Kind::Step, "the step function", 0)?;
    interface(m)?;
    for (k, node) in m.graph.nodes.iter().enumerate() {
        delays(m, node, &format!("the step function, node {k} `{}`", node.op.info().name))?;
    }
    Ok(())
}

/// Rules G010 to G017 and G022.
fn interface(m: &Module) -> Result<(), VerifierError> {
    let g = &m.graph;
    let place = "the module";
    let mut wanted: Vec<ValueId> = m.inputs.iter().map(|p| p.value).chain(m.states.iter().map(|s| s.read)).collect();
    let mut params = g.params.clone();
    wanted.sort_unstable();
    params.sort_unstable();
    if wanted != params {
        let text = |ids: &[ValueId]| ids.iter().map(ValueId::to_string).collect::<Vec<_>>().join(", ");
        let message = format!("the parameters are ({}), inputs and states name ({})", text(&params), text(&wanted));
        return fail(Rule::G010, place, message);
    }
    if !g.results.is_empty() {
        return fail(Rule::G011, place, "the step function has results");
    }
    let named = m.outputs.iter().map(|p| ("output", &p.name, p.value));
    let named = named.chain(m.probes.iter().map(|p| ("probe", &p.name, p.value)));
    let named = named.chain(m.states.iter().map(|s| ("state", &s.name, s.next)));
    for (kind, name, v) in named.chain(m.lines.iter().map(|l| ("delay line of", &l.name, l.source))) {
        if v.index() >= g.values.len() {
            return fail(Rule::G011, place, format!("{kind} `{name}` names {v}, which does not exist"));
        }
    }
    for s in &m.states {
        let (read, next) = (g.ty(s.read), g.ty(s.next));
        if read != next {
            return fail(Rule::G012, place, format!("state `{}` is {read}, its next value is {next}", s.name));
        }
        let Some(init) = m.consts.get(s.init.index()) else {
            return fail(Rule::G013, place, format!("state `{}` starts as {}, which does not exist", s.name, s.init));
        };
        // A named extent is not known yet: only a scalar is sure to fit.
        let ty = init.data.ty();
        if ty != *read && ty != TensorType::scalar(read.dtype) {
            return fail(Rule::G013, place, format!("state `{}` is {read}, its initial value is {ty}", s.name));
        }
    }
    for (k, l) in m.lines.iter().enumerate() {
        let ty = g.ty(l.source);
        if l.depth == 0 || *ty != l.ty {
            let message = format!("line{k} holds {} ticks of {}, its source is {ty}", l.depth, l.ty);
            return fail(Rule::G014, place, message);
        }
    }
    if let Some(p) = m.probes.iter().find(|p| p.every == 0) {
        return fail(Rule::G015, place, format!("probe `{}` is recorded every 0 ticks", p.name));
    }
    names("input", m.inputs.iter().map(|p| &p.name))?;
    names("output", m.outputs.iter().map(|p| &p.name))?;
    names("state", m.states.iter().map(|s| &s.name))?;
    names("probe", m.probes.iter().map(|p| &p.name))?;
    if let Some(dt) = m.dt
        && !(dt.0.is_finite() && dt.0 > 0.0)
    {
        return fail(Rule::G017, place, format!("the time step is {}", dt.0));
    }
    let known = |name: &String| m.inputs.iter().any(|p| p.name == *name) || m.states.iter().any(|s| s.name == *name);
    match m.sparse.iter().find(|name| !known(name)) {
        Some(name) => fail(Rule::G022, place, format!("`{name}` is neither an input nor a state")),
        None => Ok(()),
    }
}

fn names<'a>(kind: &str, names: impl Iterator<Item = &'a String>) -> Result<(), VerifierError> {
    let mut seen = FxHashSet::default();
    for name in names {
        if name.is_empty() || !seen.insert(name) {
            return fail(Rule::G016, "the module", format!("the name `{name}` of an {kind} is empty or used twice"));
        }
    }
    Ok(())
}

/// Rules G018 to G020.
fn connectivity(c: &Connectivity, pools: Pools<'_>, place: &str) -> Result<(), VerifierError> {
    for (range, len) in [(&c.pre, c.pre_len), (&c.post, c.post_len)] {
        if range.start > range.end || range.end > len || len > u64::from(u32::MAX) {
            let message = format!("the range {}..{} does not lie in {len} elements", range.start, range.end);
            return fail(Rule::G018, place, message);
        }
    }
    let (m, n) = (c.pre.end - c.pre.start, c.post.end - c.post.start);
    let constant = |id: ConstId, dtype: DType, shape: Option<Vec<u64>>| {
        let Some(found) = pools.consts.get(id.index()) else {
            return fail(Rule::G019, place, format!("there is no constant {id}"));
        };
        let ty = found.data.ty();
        let fits = match &shape {
            Some(shape) => ty == TensorType::new(dtype, shape.iter().copied()),
            None => ty.dtype == dtype && ty.rank() == 1,
        };
        match fits {
            true => Ok(()),
            false => fail(Rule::G019, place, format!("{id} is {ty}, expected {dtype} of shape {shape:?}")),
        }
    };
    let region = |g: &Graph, dtype: DType, name: &str| {
        let place = format!("{place}, region `{name}`");
        graph(g, pools, Kind::Body, &place, 1)?;
        row_region(g, dtype).or_else(|message| fail(Rule::G020, &place, message))
    };
    // The number of synapses where it does not take drawing to know it.
    let mut count = None;
    let mut kernel = None;
    match &c.rule {
        connect::Rule::All => count = m.checked_mul(n),
        connect::Rule::OneToOne => count = Some(m.min(n)),
        connect::Rule::Random { p: _, stream: _ } => {}
        connect::Rule::Predicate(g) => region(g, DType::Bool, "rule")?,
        connect::Rule::FixedIn { k, stream: _ } => count = n.checked_mul(*k),
        connect::Rule::FixedOut { k, stream: _ } => count = m.checked_mul(*k),
        connect::Rule::Conv2d { input, output, size, stride: _, pad: _ } => {
            kernel = Some(vec![output[0], input[0], size[0], size[1]]);
        }
        connect::Rule::Table { pre, post } => {
            constant(*pre, DType::I64, None)?;
            constant(*post, DType::I64, None)?;
            let len = |id: ConstId| pools.consts.get(id.index()).map(|c| c.data.len() as u64);
            count = len(*pre);
            if count != len(*post) {
                return fail(Rule::G019, place, format!("the columns {pre} and {post} differ in length"));
            }
        }
    }
    let per_synapse = |id: ConstId, dtype: DType| constant(id, dtype, count.map(|n| vec![n]));
    let per_tap = |id: ConstId, dtype: DType| match &kernel {
        Some(shape) => constant(id, dtype, Some(shape.clone())),
        None => fail(Rule::G019, place, format!("{id} is given per kernel element, but the rule is not conv2d")),
    };
    match &c.weight {
        SynapseWeight::Scalar(id) => constant(*id, DType::F32, Some(Vec::new()))?,
        SynapseWeight::PerSynapse(id) => per_synapse(*id, DType::F32)?,
        SynapseWeight::Kernel(id) => per_tap(*id, DType::F32)?,
        SynapseWeight::Region(g) => region(g, DType::F32, "weight")?,
        SynapseWeight::Matrix { data, pre_major } => {
            constant(*data, DType::F32, Some(if *pre_major { vec![m, n] } else { vec![n, m] }))?;
        }
    }
    match &c.delay {
        SynapseDelay::Ticks(_) => Ok(()),
        SynapseDelay::PerSynapse(id) => per_synapse(*id, DType::I64),
        SynapseDelay::Kernel(id) => per_tap(*id, DType::I64),
        SynapseDelay::Region { body, max: _ } => region(body, DType::I64, "delay"),
    }
}

/// Rule G021, for delays that are constants; others follow from the op's operands.
fn delays(m: &Module, node: &Node, place: &str) -> Result<(), VerifierError> {
    let (conn, line, now) = match &node.op {
        Op::Project { conn, line, now_count, .. } | Op::PlasticPre { conn, line, now_count, .. } => {
            (conn, line, *now_count)
        }
        _ => return Ok(()),
    };
    let Some(c) = m.conns.get(conn.index()) else { return Ok(()) };
    let (SynapseDelay::PerSynapse(id) | SynapseDelay::Kernel(id)) = &c.delay else { return Ok(()) };
    let Some(values) = m.consts.get(id.index()).filter(|c| c.data.dtype() == DType::I64) else { return Ok(()) };
    let depth = line.and_then(|l| m.lines.get(l.index())).map_or(0, |l| l.depth);
    let least = i64::from(now == 0);
    match values.data.as_slice::<i64>().iter().find(|d| **d < least || **d > i64::from(depth)) {
        Some(d) => fail(Rule::G021, place, format!("a delay of {d} ticks does not lie in {least} to {depth}")),
        None => Ok(()),
    }
}
