//! States that are neurons: what each becomes, and what a spike does to it.

use super::equation::{Row, rows};
use super::values::{Affine, Num, View};
use super::{Left, cannot};
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::{DType, Diagnostic};
use std::collections::HashSet;

/// What a spike does to the membrane.
#[derive(Clone, PartialEq, Debug)]
pub enum Jump {
    /// It becomes this.
    To(Num),
    /// The threshold is taken off.
    Less,
    /// The threshold is taken off before the next comparison.
    LessLate,
}

/// Spikes of a neuron.
#[derive(Clone, Debug)]
pub struct Fire {
    /// The spikes: truth values, or numbers if there can be several.
    pub spikes: ValueId,
    pub theta: Num,
    /// True for `v >= theta`.
    pub at_least: bool,
    pub jump: Jump,
    pub many: bool,
}

/// How a state is advanced.
#[derive(Clone, Debug)]
pub enum Law {
    /// In a tick, by an affine function.
    Step(Affine),
    /// By a differential equation of a system whose states are these, in order.
    Rate(Row, Vec<ValueId>),
}

/// A state that is a neuron's, or a neuron's current.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: String,
    pub read: ValueId,
    pub next: ValueId,
    pub law: Law,
    pub fire: Option<Fire>,
    /// Bounds of the membrane before it is compared.
    pub clamp: Option<(f32, f32)>,
}

/// A comparison with a constant: what is compared, the constant, and whether equality counts.
fn compared(view: &View<'_>, z: ValueId) -> Option<(ValueId, Num, bool)> {
    let node = view.node(z)?;
    let args = view.args(node);
    Some(match node.op {
        Op::Gt => (args[0], view.known(args[1])?, false),
        Op::Ge => (args[0], view.known(args[1])?, true),
        Op::Lt => (args[1], view.known(args[0])?, false),
        Op::Le => (args[1], view.known(args[0])?, true),
        _ => return None,
    })
}

/// A spike as a number.
fn spike(view: &View<'_>, v: ValueId) -> Option<ValueId> {
    let node = view.node(v)?;
    let z = view.canon(*node.args.first()?);
    (matches!(node.op, Op::Cast { to: DType::F32 }) && view.dtype(z) == DType::Bool).then_some(z)
}

fn binary<'a>(view: &View<'a>, v: ValueId, is: impl Fn(&Op) -> bool) -> Option<(&'a Node, ValueId, ValueId)> {
    let node = view.node(v).filter(|n| is(&n.op) && n.args.len() == 2)?;
    Some((node, view.canon(node.args[0]), view.canon(node.args[1])))
}

/// `theta x`, or `x` if theta is 1.
fn scaled(view: &View<'_>, v: ValueId, theta: &Num) -> Option<ValueId> {
    match binary(view, v, |op| *op == Op::Mul) {
        Some((_, a, b)) if view.known(a).as_ref() == Some(theta) => Some(b),
        Some((_, a, b)) if view.known(b).as_ref() == Some(theta) => Some(a),
        _ => theta.is(1.0).then_some(v),
    }
}

/// `floor(v / theta)`, at least 0: the membrane and the threshold.
fn several(view: &View<'_>, z: ValueId) -> Option<(ValueId, Num)> {
    let (_, whole, zero) = binary(view, z, |op| *op == Op::Max)?;
    let node = view.node(whole).filter(|n| n.op == Op::Floor && view.known(zero).is_some_and(|x| x.is(0.0)))?;
    let (_, v, theta) = binary(view, view.canon(node.args[0]), |op| *op == Op::Div)?;
    Some((v, view.known(theta)?))
}

/// Takes apart what a state becomes: the value before a spike, and the spike.
fn fired(view: &View<'_>, read: ValueId, next: ValueId, left: &mut Left) -> Option<(ValueId, Fire)> {
    let fire = |spikes, theta, at_least, jump| Fire { spikes, theta, at_least, jump, many: false };
    if let Some(Node { op: Op::Select, args, .. }) = view.node(next) {
        let (z, a, b) = (view.canon(args[0]), view.canon(args[1]), view.canon(args[2]));
        let (w, theta, at_least) = compared(view, unmasked(view, z, left))?;
        if w != b {
            return None;
        }
        let less = binary(view, a, |op| *op == Op::Sub)
            .is_some_and(|(_, x, y)| x == w && view.known(y) == Some(theta.clone()));
        let jump = if less { Jump::Less } else { Jump::To(view.known(a)?) };
        return Some((w, fire(z, theta, at_least, jump)));
    }
    if let Some((_, a, b)) = binary(view, next, |op| *op == Op::Mul) {
        // v (1 - s)
        for (v, rest) in [(a, b), (b, a)] {
            let Some((_, one, s)) = binary(view, rest, |op| *op == Op::Sub) else { continue };
            let Some(z) = spike(view, s).filter(|_| view.known(one).is_some_and(|x| x.is(1.0))) else { continue };
            let Some((w, theta, at_least)) = compared(view, unmasked(view, z, left)).filter(|c| c.0 == v) else {
                continue;
            };
            return Some((w, fire(z, theta, at_least, Jump::To(Num::One(0.0)))));
        }
    }
    let (_, v, off) = binary(view, next, |op| *op == Op::Sub)?;
    // A product with the threshold, unless that is 1.
    let factors = binary(view, off, |op| *op == Op::Mul).map(|(_, a, b)| [view.known(a), view.known(b)]);
    let theta = factors.and_then(|f| f.into_iter().flatten().next()).unwrap_or(Num::One(1.0));
    let x = scaled(view, off, &theta)?;
    if let Some((w, t)) = several(view, x).filter(|(w, t)| *w == v && *t == theta) {
        return Some((w, Fire { many: true, ..fire(x, t, false, Jump::Less) }));
    }
    if let Some(z) = spike(view, x) {
        let (w, t, at_least) = compared(view, unmasked(view, z, left))?;
        return (w == v && t == theta).then(|| (w, fire(z, theta, at_least, Jump::Less)));
    }
    // v1 - theta (s - q), where v1 = v - theta q and q is the spike of the membrane before.
    let (_, s, q) = binary(view, x, |op| *op == Op::Sub)?;
    let (z, before) = (spike(view, s)?, spike(view, q)?);
    let (w, t, at_least) = compared(view, z)?;
    let (old, t0, e0) = compared(view, before)?;
    let (_, u, off) = binary(view, unclamped(view, w).0, |op| *op == Op::Sub)?;
    let same = w == v && t == theta && t0 == theta && e0 == at_least && old == read && scaled(view, off, &theta)? == q;
    same.then_some((u, Fire { spikes: z, theta, at_least, jump: Jump::LessLate, many: false }))
}

/// Spikes without the mask of refractory ticks.
fn unmasked(view: &View<'_>, z: ValueId, left: &mut Left) -> ValueId {
    let Some((_, c, free)) = binary(view, z, |op| *op == Op::And) else { return z };
    let counts = |v: ValueId| {
        let not = view.node(v).filter(|n| n.op == Op::Not)?;
        let (_, counter, _) = binary(view, view.canon(not.args[0]), |op| *op == Op::Gt)?;
        view.m.states.iter().find(|s| s.read == counter && view.dtype(counter) != DType::F32)
    };
    match counts(free) {
        Some(s) => {
            left.want(format!("the refractory time `{}`", s.name), "NIR has no neuron with one");
            c
        }
        None => z,
    }
}

/// A value without the bounds `min(max(v, low), high)`.
fn unclamped(view: &View<'_>, v: ValueId) -> (ValueId, Option<(f32, f32)>) {
    let bounds = || {
        let (_, x, high) = binary(view, v, |op| *op == Op::Min)?;
        let (_, x, low) = binary(view, x, |op| *op == Op::Max)?;
        match (view.known(low)?, view.known(high)?) {
            (Num::One(low), Num::One(high)) => Some((x, Some((low as f32, high as f32)))),
            _ => None,
        }
    };
    bounds().unwrap_or((v, None))
}

/// Every state that is a neuron's. Others only hand a value to the next tick.
///
/// # Errors
/// E0947 for a neuron that NIR has no node for.
pub fn find(view: &View<'_>, left: &mut Left) -> Result<Vec<Cell>, Diagnostic> {
    let floats = || view.m.states.iter().filter(|s| view.dtype(s.read) == DType::F32);
    let mut stops: HashSet<ValueId> = floats().map(|s| view.canon(s.next)).collect();
    let mut parts = Vec::new();
    for s in floats() {
        let next = view.canon(s.next);
        // Between spikes a held state stays, whatever it would become.
        let held = match view.node(next) {
            Some(Node { op: Op::Select, args, .. })
                if view.canon(args[1]) == s.read
                    && compared(view, args[0]).is_some_and(|(c, ..)| view.dtype(c) != DType::F32) =>
            {
                Some(view.canon(args[2]))
            }
            _ => None,
        };
        let (mut update, fire) = match fired(view, s.read, held.unwrap_or(next), left) {
            Some((u, f)) => (u, Some(f)),
            None => (held.unwrap_or(next), None),
        };
        let mut clamp = None;
        if fire.is_some() {
            (update, clamp) = unclamped(view, update);
            // With a late reset the bounds stand around the difference.
            if let (Some(f), None) = (&fire, clamp)
                && let Some((w, ..)) = compared(view, f.spikes)
                && f.jump == Jump::LessLate
            {
                clamp = unclamped(view, w).1;
            }
            // A state that is held while refractory.
            if let Some(Node { op: Op::Select, args, .. }) = view.node(update)
                && view.canon(args[1]) == s.read
                && compared(view, args[0]).is_some_and(|(c, ..)| view.dtype(c) != DType::F32)
            {
                update = view.canon(args[2]);
            }
        }
        stops.insert(update);
        parts.push((s, next, update, fire, clamp));
    }
    let mut cells = Vec::new();
    for (s, next, update, fire, clamp) in parts {
        let law = match view.node(update) {
            Some(node @ Node { op: Op::Integrate { state_count, .. }, .. }) => {
                let rows = rows(view, node).ok_or_else(|| {
                    cannot(format!("the equation of `{}`, which is not linear", s.name), "NIR has linear neurons only")
                })?;
                let at = node.results.iter().position(|r| view.canon(*r) == update).unwrap_or(0);
                let states: Vec<ValueId> = node.args[..*state_count].iter().map(|v| view.canon(*v)).collect();
                if states[at] != s.read {
                    let what = format!("events that change `{}` at once", s.name);
                    return Err(cannot(what, "connect to an `input` of the neuron, whose weights become a `Linear`"));
                }
                Law::Rate(rows[at].clone(), states)
            }
            _ => {
                let a = view.affine(update, &stops);
                if a.of(s.read).is_none() {
                    // It only remembers.
                    continue;
                }
                Law::Step(a)
            }
        };
        cells.push(Cell { name: s.name.clone(), read: s.read, next, law, fire, clamp });
        let data = &view.m.consts[s.init.index()].data;
        if (0..data.len()).any(|k| data.get_f64(k) != 0.0) {
            left.want(format!("the initial value of `{}`", s.name), "neurons of NIR begin with zeros");
        }
    }
    Ok(cells)
}
