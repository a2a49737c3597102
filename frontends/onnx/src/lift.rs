//! Spiking neurons that are written out in plain operators.
//!
//! A training framework exports a spiking neuron as a comparison of a membrane with a threshold, a cast of it to a number
//! (or a `Where` of 1 and 0), and arithmetic that resets the membrane. Spikes that are the cast of a truth value drive
//! products by their events; this pass brings the other ways to write them into that form, and says what it found.
//!
//! Guarantee: every value keeps its bits.

use nc_ir::DType;
use nc_ir::graph::{Choice, Constant, Graph, Module, Node, Op, ValueId};
use std::collections::HashMap;

/// Brings spikes into one form, in the step and in the bodies of its loops and branches. Each neuron that is recognised by
/// its reset becomes a choice of the module, under the name of its spikes.
pub(crate) fn lift(module: &mut Module) {
    let Module { consts, graph, choices, .. } = module;
    lift_graph(graph, consts, choices);
}

fn lift_graph(graph: &mut Graph, consts: &[Constant], choices: &mut Vec<Choice>) {
    let known = numbers(graph, consts);
    for mut node in std::mem::take(&mut graph.nodes) {
        for region in &mut node.regions {
            lift_graph(region, consts, choices);
        }
        if let Some(inverted) = indicator(graph, &known, &node) {
            let mut condition = node.args[0];
            if inverted {
                let ty = graph.ty(condition).clone();
                let not = graph.add_value(ty, "");
                let args = vec![condition];
                graph.nodes.push(Node { op: Op::Not, args, regions: Vec::new(), results: vec![not] });
                condition = not;
            }
            let to = graph.ty(node.results[0]).dtype;
            (node.op, node.args) = (Op::Cast { to }, vec![condition]);
        }
        graph.nodes.push(node);
    }
    neurons(graph, &known, choices);
}

/// The one number that a value holds in all its elements, for values that are constant.
type Numbers = HashMap<ValueId, f64>;

fn numbers(graph: &Graph, consts: &[Constant]) -> Numbers {
    let mut known = Numbers::new();
    for node in &graph.nodes {
        let number = match &node.op {
            Op::Const { id } => {
                let data = &consts[id.index()].data;
                let first = (!data.is_empty()).then(|| data.get_f64(0));
                first.filter(|x| (1..data.len()).all(|k| data.get_f64(k).to_bits() == x.to_bits()))
            }
            Op::Broadcast { .. } | Op::Reshape { .. } => known.get(&node.args[0]).copied(),
            _ => None,
        };
        known.extend(number.map(|x| (node.results[0], x)));
    }
    known
}

/// For `select(c, 1, 0)`: false; for `select(c, 0, 1)`: true.
fn indicator(graph: &Graph, known: &Numbers, node: &Node) -> Option<bool> {
    let ([c, a, b], [y], Op::Select) = (&node.args[..], &node.results[..], &node.op) else { return None };
    let (condition, ty) = (graph.ty(*c), graph.ty(*y));
    if !ty.dtype.is_float() || condition.dtype != DType::Bool || condition.shape != ty.shape {
        return None;
    }
    let (one, zero) = (1f64.to_bits(), 0f64.to_bits());
    match (known.get(a)?.to_bits(), known.get(b)?.to_bits()) {
        bits if bits == (one, zero) => Some(false),
        bits if bits == (zero, one) => Some(true),
        _ => None,
    }
}

/// A membrane that is compared with a threshold.
struct Compared {
    membrane: ValueId,
    threshold: Option<f64>,
    or_equal: bool,
}

fn compared(known: &Numbers, differences: &HashMap<ValueId, &Node>, node: &Node) -> Option<Compared> {
    let (above, below, or_equal) = match node.op {
        Op::Gt => (node.args[0], node.args[1], false),
        Op::Ge => (node.args[0], node.args[1], true),
        Op::Lt => (node.args[1], node.args[0], false),
        Op::Le => (node.args[1], node.args[0], true),
        _ => return None,
    };
    let threshold = known.get(&below).copied();
    // Surrogate gradients are written around `v - threshold > 0`.
    let shifted = differences.get(&above).filter(|_| threshold == Some(0.0));
    Some(match shifted {
        Some(sub) => Compared { membrane: sub.args[0], threshold: known.get(&sub.args[1]).copied(), or_equal },
        None => Compared { membrane: above, threshold, or_equal },
    })
}

/// Says which values are spikes of neurons: those whose event resets what was compared.
fn neurons(graph: &Graph, known: &Numbers, choices: &mut Vec<Choice>) {
    let mut users: HashMap<ValueId, Vec<&Node>> = HashMap::new();
    for node in &graph.nodes {
        node.args.iter().for_each(|a| users.entry(*a).or_default().push(node));
    }
    let differences = graph.nodes.iter().filter(|n| n.op == Op::Sub).map(|n| (n.results[0], n)).collect();
    let used = |v: ValueId| users.get(&v).map_or(&[][..], Vec::as_slice);
    for node in &graph.nodes {
        let Some(c) = compared(known, &differences, node) else { continue };
        let event = node.results[0];
        let casts: Vec<ValueId> = (used(event).iter())
            .filter(|n| matches!(n.op, Op::Cast { to } if to.is_float()))
            .map(|n| n.results[0])
            .collect();
        let Some(spikes) = casts.first() else { continue };
        let reset = used(event)
            .iter()
            .find_map(|n| match n.op {
                Op::Select if n.args[0] == event && n.args[2] == c.membrane => {
                    Some(known.get(&n.args[1]).map_or("reset".to_owned(), |r| format!("reset to {r}")))
                }
                _ => None,
            })
            .or_else(|| casts.iter().find_map(|s| subtracted(known, used, *s, c.membrane)));
        let Some(reset) = reset else { continue };
        let threshold = c.threshold.map_or("its threshold".to_owned(), |t| t.to_string());
        let sign = if c.or_equal { "at or above" } else { "above" };
        choices.push(Choice {
            subject: graph.name_of(*spikes),
            text: format!(
                "lifted to a spiking neuron: spikes where `{}` is {sign} {threshold}, {reset}",
                graph.name_of(c.membrane)
            ),
        });
    }
}

/// How spikes that are numbers reset a membrane, if they do: `v - s theta`, `v - s v`, `v (1 - s)`.
fn subtracted<'g>(
    known: &Numbers,
    used: impl Fn(ValueId) -> &'g [&'g Node],
    spikes: ValueId,
    membrane: ValueId,
) -> Option<String> {
    for n in used(spikes) {
        match n.op {
            Op::Sub if n.args == [membrane, spikes] => return Some("reset by subtraction of 1".to_owned()),
            Op::Sub if n.args[1] == spikes && known.get(&n.args[0]) == Some(&1.0) => {
                let kept = n.results[0];
                if used(kept).iter().any(|m| m.op == Op::Mul && m.args.contains(&membrane)) {
                    return Some("reset to 0".to_owned());
                }
            }
            Op::Mul => {
                let other = if n.args[0] == spikes { n.args[1] } else { n.args[0] };
                let taken = n.results[0];
                if used(taken).iter().any(|m| m.op == Op::Sub && m.args == [membrane, taken]) {
                    return Some(match known.get(&other) {
                        Some(t) => format!("reset by subtraction of {t}"),
                        None if other == membrane => "reset to 0".to_owned(),
                        None => "reset by subtraction".to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
    None
}
