//! From the numbers of a step, or of an equation, to the parameters of a neuron of NIR.

use super::cannot;
use super::cells::{Cell, Jump, Law};
use super::values::{Num, View};
use crate::preset::{Decay, Form, Gain, If, Knobs, Order, Reset, Spikes};
use crate::primitive::Kind;
use nc_ir::Diagnostic;
use nc_ir::graph::ValueId;

/// A neuron of NIR.
#[derive(Clone, Debug)]
pub struct Neuron {
    pub kind: Kind,
    /// Parameters, an element for each of the neuron's.
    pub params: Vec<(&'static str, Num)>,
    /// What comes in, each with the factor by which it differs from the first.
    pub inputs: Vec<(ValueId, Num)>,
    /// The cell that is its current.
    pub current: Option<usize>,
}

/// The shortest decimal number near `x` that `fits`, as `f32` if one does; `x` if none does.
fn shortest(x: f64, fits: impl Fn(f64) -> bool) -> f64 {
    for digits in 0..9 {
        let short: Option<f64> = format!("{x:.digits$e}").parse().ok().map(|y: f64| f64::from(y as f32));
        if let Some(y) = short.filter(|y| fits(*y)) {
            return y;
        }
    }
    let near = x as f32;
    let ulp = |n: i32| f64::from(f32::from_bits((near.to_bits() as i32 + n) as u32));
    if near.is_normal()
        && let Some(n) = [0, 1, -1, 2, -2, 3, -3, 4, -4].into_iter().find(|n| fits(ulp(*n)))
    {
        return ulp(n);
    }
    x
}

fn refit(x: &Num, fits: impl Fn(usize, f64) -> bool) -> Num {
    match x {
        Num::One(v) => Num::One(shortest(*v, |y| fits(0, y))),
        Num::Each(list) => Num::Each(list.iter().enumerate().map(|(k, v)| shortest(*v, |y| fits(k, y))).collect()),
    }
}

fn bits(x: f64) -> u32 {
    // Coefficients are stored as f32; +0 and -0 are the same factor.
    (x as f32 + 0.0).to_bits()
}

/// What a first-order state takes part with: `keep s + gain x + rest`.
struct Leaky {
    tau: Num,
    /// `None` for a gain that is not there.
    multiplier: Option<Num>,
    leak: Num,
}

/// Parameters that give this step with these knobs; see the module of the knobs for the formulas.
fn leaky(knobs: &Knobs, dt: f64, keep: &Num, gain: Option<&Num>, rest: &Num) -> Option<Leaky> {
    let share = |tau: f64| match knobs.decay {
        Decay::Euler => dt / tau,
        Decay::Exp => -(-dt / tau).exp_m1(),
    };
    let take = |tau: f64| match knobs.gain {
        Gain::DtOverTau => dt / tau,
        Gain::OneMinusExp => -(-dt / tau).exp_m1(),
        Gain::One => 1.0,
    };
    let same = matches!((knobs.decay, knobs.gain), (Decay::Euler, Gain::DtOverTau) | (Decay::Exp, Gain::OneMinusExp));
    let guess = keep.map(|k| match knobs.decay {
        Decay::Euler => dt / (1.0 - k),
        Decay::Exp => -dt / k.ln(),
    });
    let tau = refit(&guess, |k, tau| match (knobs.form, knobs.decay) {
        (Form::Decay, Decay::Euler) => bits(1.0 - dt / tau) == bits(keep.at(k)),
        (Form::Decay, Decay::Exp) => bits((-dt / tau).exp()) == bits(keep.at(k)),
        (Form::Divide, _) => bits(f64::from(tau as f32 / dt as f32)) == bits(1.0 / (1.0 - keep.at(k))),
        (Form::Increment, Decay::Euler) if same => bits(f64::from(dt as f32 / tau as f32)) == bits(1.0 - keep.at(k)),
        (Form::Increment, _) => bits(share(tau)) == bits(1.0 - keep.at(k)),
    });
    let whole = tau.zip(keep, |t, _| t);
    let positive = |n: &Num| match n {
        Num::One(x) => x.is_finite() && *x > 0.0,
        Num::Each(v) => v.iter().all(|x| x.is_finite() && *x > 0.0),
    };
    if !positive(&whole) {
        return None;
    }
    let apart = knobs.form == Form::Decay || knobs.form == Form::Increment && !same;
    let multiplier = gain.map(|g| match apart {
        true => refit(&g.zip(&tau, |g, t| g / take(t)), |k, r| bits(take(tau.at(k)) * r) == bits(g.at(k))),
        false => g.zip(keep, |g, k| f64::from((g / (1.0 - k)) as f32)),
    });
    let leak = match knobs.form == Form::Decay {
        true => refit(&rest.zip(&tau, |c, t| c / share(t)), |k, l| bits(share(tau.at(k)) * l) == bits(rest.at(k))),
        false => rest.zip(keep, |c, k| f64::from((c / (1.0 - k)) as f32)),
    };
    Some(Leaky { tau, multiplier, leak })
}

/// What a neuron of a cell is, with these knobs and this tick.
///
/// # Errors
/// E0947 for a rule that NIR has no node for.
pub fn neuron(view: &View<'_>, cells: &[Cell], at: usize, knobs: &Knobs, dt: f64) -> Result<Neuron, Diagnostic> {
    let cell = &cells[at];
    let none = |what: &str, hint: &str| cannot(format!("{what} of `{}`", cell.name), hint);
    let Fit { mut kind, mut params, inputs, current } = match &cell.law {
        Law::Rate(..) => rate(cells, at)?,
        Law::Step(_) => step(view, cells, at, knobs, dt)?,
    };
    if let Some(f) = &cell.fire {
        kind = match kind {
            Kind::LI => Kind::LIF,
            Kind::CubaLI => Kind::CubaLIF,
            _ => Kind::IF,
        };
        if f.at_least != (knobs.compare == crate::preset::Compare::AtLeast) {
            let (is, word) = if f.at_least { ("`>=`", ">=") } else { ("`>`", ">") };
            return Err(none(
                &format!("the comparison {is}"),
                &format!(
                    "a file says nothing of it: name a discretisation with compare={word}, which its readers take too"
                ),
            ));
        }
        if f.many != (knobs.spikes == Spikes::Many) {
            return Err(none("the number of spikes in a tick", "name a discretisation with the knob `spikes`"));
        }
        let to = match (&f.jump, knobs.reset) {
            (Jump::To(x), Reset::VReset) => x.clone(),
            (Jump::To(x), Reset::Zero) if x.is(0.0) => x.clone(),
            (Jump::Less, Reset::Subtract) | (Jump::LessLate, Reset::SubtractLate) => Num::One(0.0),
            (Jump::Less | Jump::LessLate, _) => {
                return Err(none(
                    "the reset by subtraction",
                    "a file says nothing of it: name a discretisation with reset=subtract, which its readers take too",
                ));
            }
            (Jump::To(_), _) => return Err(none("the reset to a value", "name a discretisation with reset=v_reset")),
        };
        if cell.clamp != knobs.clamp.0 {
            return Err(none("the bounds of the membrane", "name a discretisation with clamp=LOW:HIGH"));
        }
        params.extend([("v_threshold", f.theta.clone()), ("v_reset", to)]);
    }
    Ok(Neuron { kind, params, inputs, current })
}

struct Fit {
    kind: Kind,
    params: Vec<(&'static str, Num)>,
    inputs: Vec<(ValueId, Num)>,
    current: Option<usize>,
}

/// The factors of terms relative to the first one's, and that one's. The second value is `None` without terms.
fn shared(terms: &[(ValueId, Num)]) -> (Vec<(ValueId, Num)>, Option<Num>) {
    let Some((_, first)) = terms.first() else { return (Vec::new(), None) };
    let ratio = |x: &Num| x.zip(first, |a, b| if a == b { 1.0 } else { a / b });
    (terms.iter().map(|(v, x)| (*v, ratio(x))).collect(), Some(first.clone()))
}

/// As [`shared`] where all factors are one; else each in units of `unit`, so that none is rounded twice.
fn fitted(terms: &[(ValueId, Num)], unit: &Num) -> (Vec<(ValueId, Num)>, Option<Num>) {
    let (inputs, gain) = shared(terms);
    if inputs.iter().all(|(_, x)| x.is(1.0)) {
        return (inputs, gain);
    }
    let factor = |x: &Num| x.zip(unit, |x, u| f64::from((x / u) as f32));
    (terms.iter().map(|(v, x)| (*v, factor(x))).collect(), Some(unit.clone()))
}

fn rate(cells: &[Cell], at: usize) -> Result<Fit, Diagnostic> {
    let cell = &cells[at];
    let none = |what: &str, hint: &str| cannot(format!("{what} of `{}`", cell.name), hint);
    let Law::Rate(row, states) = &cell.law else { return Err(none("the equation", "it is none")) };
    let own = states.iter().position(|s| *s == cell.read).unwrap_or(0);
    let others: Vec<usize> = (0..states.len()).filter(|k| *k != own && !row.states[*k].is(0.0)).collect();
    let (mut inputs, gain) = shared(&row.reads);
    let rate = &row.states[own];
    if rate.is(0.0) && others.is_empty() {
        if !row.constant.is(0.0) {
            return Err(none("the constant drive", "NIR's integrators have none"));
        }
        // Milliseconds to seconds.
        let r = gain.unwrap_or(Num::One(0.0)).map(|g| g * 1e3);
        return Ok(Fit { kind: Kind::I, params: vec![("r", r)], inputs, current: None });
    }
    let tau = rate.map(|a| -1.0 / a);
    let falls = match &tau {
        Num::One(t) => *t > 0.0 && t.is_finite(),
        Num::Each(v) => v.iter().all(|t| *t > 0.0 && t.is_finite()),
    };
    if !falls {
        return Err(none("the equation, which does not decay,", "neurons of NIR lose a part of their state"));
    }
    let times = |x: &Num| x.zip(&tau, |a, t| a * t);
    let leak = times(&row.constant);
    let seconds = tau.map(|t| t * 1e-3);
    let [other] = others[..] else {
        if !others.is_empty() {
            return Err(none("the equation with several currents", "NIR has neurons with one"));
        }
        let r = gain.map_or(Num::One(1.0), |g| times(&g));
        let params = vec![("tau", seconds), ("r", r), ("v_leak", leak)];
        return Ok(Fit { kind: Kind::LI, params, inputs, current: None });
    };
    let current = cells.iter().position(|c| c.read == states[other]);
    let Some((i, Law::Rate(first, of))) = current.map(|k| (k, &cells[k].law)) else {
        return Err(none("the current", "it has an equation of its own in NIR"));
    };
    let (own_i, back) = (&first.states[other], (0..of.len()).any(|k| k != other && !first.states[k].is(0.0)));
    let tau_syn = own_i.map(|a| -1.0 / a);
    let plain = first.constant.is(0.0) && !back && cells[i].fire.is_none() && row.reads.is_empty();
    let falls = match &tau_syn {
        Num::One(t) => *t > 0.0 && t.is_finite(),
        Num::Each(v) => v.iter().all(|t| *t > 0.0 && t.is_finite()),
    };
    if !plain || !falls {
        return Err(none(
            "the current",
            "in NIR it follows tau_syn i' = w_in x - i, and nothing else drives the membrane",
        ));
    }
    let (list, gain) = shared(&first.reads);
    inputs = list;
    let w_in = gain.map_or(Num::One(1.0), |g| g.zip(&tau_syn, |a, t| a * t));
    let params = vec![
        ("tau_syn", tau_syn.map(|t| t * 1e-3)),
        ("tau_mem", seconds),
        ("r", times(&row.states[other])),
        ("v_leak", leak),
        ("w_in", w_in),
    ];
    Ok(Fit { kind: Kind::CubaLI, params, inputs, current: Some(i) })
}

fn step(view: &View<'_>, cells: &[Cell], at: usize, knobs: &Knobs, dt: f64) -> Result<Fit, Diagnostic> {
    let cell = &cells[at];
    let none = |what: &str, hint: &str| cannot(format!("{what} of `{}`", cell.name), hint);
    let Law::Step(a) = &cell.law else { return Err(none("the step", "it is none")) };
    let keep = a.of(cell.read).cloned().unwrap_or(Num::One(0.0));
    let terms: Vec<(ValueId, Num)> = a.terms.iter().filter(|(v, _)| *v != cell.read).cloned().collect();
    // The factor with which an input of factor 1 is taken.
    let unit = |keep: &Num| if knobs.form == Form::Decay { Num::One(1.0) } else { keep.map(|k| 1.0 - k) };
    if keep.is(1.0) {
        if !a.constant.is(0.0) {
            return Err(none("the constant drive", "NIR's integrators have none"));
        }
        let (inputs, gain) = fitted(&terms, &Num::One(1.0));
        let gain = gain.unwrap_or(Num::One(0.0));
        let per_tick = cell.fire.is_some() && knobs.if_step == If::Step;
        let r = match per_tick {
            true => gain,
            false => refit(&gain.map(|g| g / dt), |k, r| bits(f64::from(dt as f32 * r as f32)) == bits(gain.at(k))),
        };
        return Ok(Fit { kind: Kind::I, params: vec![("r", r)], inputs, current: None });
    }
    let decays = "what is kept of it in a tick lies between 0 and 1, or is all of it, in NIR";
    // A current: a cell that does not fire, has no leak, and is read as the order of the two says.
    let read_of = |c: &Cell| if knobs.order == Order::SynapseFirst { c.next } else { c.read };
    let current = cells.iter().enumerate().position(|(k, c)| {
        let plain = matches!(&c.law, Law::Step(i) if i.constant.is(0.0) && i.of(c.read).is_some_and(|x| !x.is(1.0)));
        let alone = knobs.order == Order::Joint || terms.len() == 1;
        k != at
            && plain
            && alone
            && c.fire.is_none()
            && view.shape(c.read) == view.shape(cell.read)
            && terms.iter().any(|(v, _)| *v == read_of(c))
    });
    let Some(i) = current else {
        let (inputs, gain) = fitted(&terms, &unit(&keep));
        let Some(l) = leaky(knobs, dt, &keep, gain.as_ref(), &a.constant) else { return Err(none("the step", decays)) };
        let r = l.multiplier.unwrap_or(Num::One(1.0));
        let params = vec![("tau", l.tau), ("r", r), ("v_leak", l.leak)];
        return Ok(Fit { kind: Kind::LI, params, inputs, current: None });
    };
    let Law::Step(law) = &cells[i].law else { return Err(none("the current", decays)) };
    let keep_i = law.of(cells[i].read).cloned().unwrap_or(Num::One(0.0));
    let into: Vec<(ValueId, Num)> = law.terms.iter().filter(|(v, _)| *v != cells[i].read).cloned().collect();
    let (inputs, gain_i) = fitted(&into, &unit(&keep_i));
    let Some(syn) = leaky(knobs, dt, &keep_i, gain_i.as_ref(), &Num::One(0.0)) else {
        return Err(none("the current", decays));
    };
    let from_i = terms.iter().find(|(v, _)| *v == read_of(&cells[i])).map(|(_, x)| x.clone());
    let Some(mut mem) = leaky(knobs, dt, &keep, from_i.as_ref(), &a.constant) else {
        return Err(none("the step", decays));
    };
    if knobs.order == Order::Joint {
        // v+ takes c of the old current; see `joint` of the lowering.
        let cross = |s: f64, m: f64| {
            let (es, em) = ((-dt / s).exp(), (-dt / m).exp());
            if ((s - m) / m).abs() < 1e-6 { em * dt / m } else { s * (es - em) / (s - m) }
        };
        let c = syn.tau.zip(&mem.tau, cross);
        let want = from_i.unwrap_or(Num::One(0.0));
        mem.multiplier = Some(refit(&want.zip(&c, |x, c| x / c), |k, r| bits(r * c.at(k)) == bits(want.at(k))));
    }
    let params = vec![
        ("tau_syn", syn.tau),
        ("tau_mem", mem.tau),
        ("r", mem.multiplier.unwrap_or(Num::One(1.0))),
        ("v_leak", mem.leak),
        ("w_in", syn.multiplier.unwrap_or(Num::One(1.0))),
    ];
    Ok(Fit { kind: Kind::CubaLI, params, inputs, current: Some(i) })
}
