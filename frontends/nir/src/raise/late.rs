//! Ticks that values are late: along edges that close a circle, from inputs, or through `Delay` nodes.

use super::cannot;
use super::nodes::{Edge, reals};
use crate::flat::components;
use crate::model::Node;
use crate::preset::Discretisation;
use crate::primitive::Kind;
use nc_ir::Diagnostic;

type Settled = (Vec<(String, Node)>, Vec<(usize, usize)>);

/// Adds `Delay` nodes until every value comes when it should.
///
/// # Errors
/// E0936 for a circle that NIR closes later than the model does, E0947 for a value that comes earlier than inputs do.
pub fn settle(
    mut nodes: Vec<(String, Node)>,
    mut edges: Vec<Edge>,
    d: &Discretisation,
    dt: Option<f64>,
) -> Result<Settled, Diagnostic> {
    let global = match nodes.iter().any(|(_, n)| n.kind.has_current()) {
        true => &d.current_based,
        false => &d.knobs,
    };
    let count = nodes.len();
    let pairs: Vec<(usize, usize)> = edges.iter().map(|e| (e.from, e.to)).collect();
    let mut next = vec![Vec::new(); count];
    pairs.iter().enumerate().for_each(|(e, (a, _))| next[*a].push(e));
    let component = components(count, &next, &pairs);
    // A node without memory or bias gives zeros for zeros: what is late behind it may as well be late before it.
    for k in 0..count {
        let plain =
            matches!(nodes[k].1.kind, Kind::Linear | Kind::Scale | Kind::Flatten | Kind::SumPool2d | Kind::AvgPool2d);
        let behind = edges.iter().filter(|e| e.from == k).map(|e| e.late).min().unwrap_or(0);
        let circular = edges.iter().any(|e| e.from == k && component[e.to] == component[k]);
        if plain && circular && behind > 0 {
            for e in &mut edges {
                e.late = if e.from == k { e.late - behind } else { e.late } + if e.to == k { behind } else { 0 };
            }
        }
    }
    let mut out = Vec::new();
    for e in edges {
        let (from, to) = (&nodes[e.from], &nodes[e.to]);
        let circular = component[e.from] == component[e.to];
        let cut = circular && (from.1.kind.is_neuron() || from.1.kind == Kind::Delay);
        let own = match () {
            () if cut => global.recurrent_delay,
            () if from.1.kind == Kind::Input => global.input_delay,
            () => 0,
        };
        if e.late == own {
            out.push((e.from, e.to));
            continue;
        }
        // A delay inside a circle hands its value to the next tick, as the neurons there do.
        let with = own + if circular { global.recurrent_delay } else { 0 };
        let Some(ticks) = e.late.checked_sub(with) else {
            let what = format!("`{}` reaches `{}` {} ticks late", from.0, to.0, e.late);
            return Err(match circular {
                true => Diagnostic::error_nowhere("E0936", format!("{what}, in a circle that takes {with} there"))
                    .with_hint("in NIR every edge that leaves a neuron in a circle takes a tick"),
                false => {
                    cannot(format!("a value in its own tick: {what}"), "take a discretisation without input_delay")
                }
            });
        };
        let Some(dt) = dt else {
            return Err(Diagnostic::error_nowhere(
                "E0938",
                format!("the delay of `{}` needs the length of a tick", from.0),
            )
            .with_hint("the net has no clock: give it with --dt SECONDS, for example --dt 1e-3"));
        };
        let shape = shape_of(&nodes, &out, e.to, e.from)
            .ok_or_else(|| cannot(format!("the delay of `{}`", from.0), "its shape is not known"))?;
        let delay = f64::from((f64::from(ticks) * dt) as f32);
        let values = vec![delay; shape.iter().product()];
        let node = Node::new(Kind::Delay).with("delay", reals(&shape, &values));
        let mut name = format!("{}_late", from.0);
        while nodes.iter().any(|(n, _)| *n == name) {
            name.push('_');
        }
        let at = nodes.len();
        nodes.push((name, node));
        out.push((e.from, at));
        out.push((at, e.to));
    }
    Ok((nodes, out))
}

/// The shape of what goes along an edge, as one of its ends says it.
fn shape_of(nodes: &[(String, Node)], _: &[(usize, usize)], to: usize, from: usize) -> Option<Vec<usize>> {
    let gives = |n: &Node| match n.kind {
        Kind::Input | Kind::Delay | Kind::Scale | Kind::Threshold => crate::shape::declared(n),
        k if k.is_neuron() => crate::shape::declared(n),
        _ => None,
    };
    gives(&nodes[from].1).or_else(|| crate::shape::declared(&nodes[to].1))
}
