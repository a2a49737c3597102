//! Neurons in a tick: the knobs put into practice.
//!
//! `f32` operations stand in the order that [`Form`] names, since a membrane that comes close to the threshold is decided
//! by their rounding. Coefficients are computed in `f64` and rounded once, but for `form=increment` and `form=divide`, which
//! divide `f32` by `f32` as the reference does.

use crate::lower::Lower;
use crate::preset::{Arithmetic, Bias, Compare, Decay, Form, Gain, If, Knobs, Order, Reset, Spikes};
use crate::primitive::Kind;
use nc_ir::graph::ValueId;
use nc_ir::{DType, Diagnostic, Severity, Tensor};

/// One of the things that come into a neuron in a tick.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its value, as `f32`.
    pub value: ValueId,
    /// A bias that is not in the value.
    pub bias: Option<ValueId>,
    /// True if it is part of a circle.
    pub recurrent: bool,
}

/// A first-order equation `tau s' = leak - s + m x`.
#[derive(Clone, Copy)]
struct Equation {
    tau: &'static str,
    multiplier: &'static str,
    leak: Option<&'static str>,
}

const MEMBRANE: Equation = Equation { tau: "tau_mem", multiplier: "r", leak: Some("v_leak") };
const CURRENT: Equation = Equation { tau: "tau_syn", multiplier: "w_in", leak: None };
const LEAKY: Equation = Equation { tau: "tau", multiplier: "r", leak: Some("v_leak") };

type Made = Result<ValueId, Diagnostic>;

impl Lower<'_> {
    /// The output of a neuron. All parts, biases among them, were scaled by `scale`, and so are its constants.
    ///
    /// # Errors
    /// E0933 for parameters without meaning, E0937 for what integers cannot do.
    pub(crate) fn neuron(&mut self, k: usize, parts: &[Part], scale: f32) -> Made {
        let kind = self.flat.nodes[k].1.kind;
        let knobs = *self.knobs(kind);
        self.check(k, &knobs)?;
        if knobs.arithmetic != Arithmetic::Float {
            return self.integers(k, parts, &knobs);
        }
        let ty = self.type_of(&self.shapes.takes[k], DType::F32);
        let name = self.flat.nodes[k].0.clone();
        let v = self.state(format!("{name}.v"), ty.clone());
        let all: Vec<ValueId> = parts.iter().flat_map(|p| [Some(p.value), p.bias]).flatten().collect();
        let updated = match kind {
            Kind::LIF | Kind::LI => self.advance(k, LEAKY, v, &all, &knobs, scale)?,
            Kind::IF | Kind::I => {
                let dt = if kind == Kind::I || knobs.if_step == If::Dt { self.dt } else { 1.0 };
                let gain = self.coefficient(k, &["r"], |p| f64::from(dt as f32 * p[0] as f32))?;
                let terms = if knobs.form == Form::Decay { all } else { vec![self.total(&all)?] };
                let mut y = v;
                for t in terms {
                    let x = self.times(gain, t)?;
                    y = self.op(|b| b.add(y, x))?;
                }
                y
            }
            _ => {
                let i = self.state(format!("{name}.i"), ty);
                let (into, past): (Vec<ValueId>, Vec<ValueId>) = match knobs.bias {
                    Bias::Current => (all, Vec::new()),
                    Bias::Membrane => {
                        (parts.iter().map(|p| p.value).collect(), parts.iter().filter_map(|p| p.bias).collect())
                    }
                };
                let (current, updated) = match knobs.order {
                    Order::Joint => self.joint(k, i, v, &into, &past, scale)?,
                    order => {
                        let current = self.advance(k, CURRENT, i, &into, &knobs, 1.0)?;
                        let mut terms = vec![if order == Order::SynapseFirst { current } else { i }];
                        terms.extend(self.weighed(k, &past)?);
                        (current, self.advance(k, MEMBRANE, v, &terms, &knobs, scale)?)
                    }
                };
                self.becomes(i, current);
                self.inner.insert(format!("{name}.i"), current);
                updated
            }
        };
        let (z, after) = match kind.fires() {
            true => self.fire(k, v, updated, &knobs, scale)?,
            false => (updated, updated),
        };
        self.becomes(v, after);
        self.inner.insert(format!("{name}.v"), after);
        if kind.fires() || scale == 1.0 {
            return Ok(z);
        }
        // What is not spikes is handed on in the units of the file.
        let s = self.scalar(scale)?;
        self.op(|b| b.div(z, s))
    }

    /// Parameters that have no meaning, and those that are not used.
    fn check(&mut self, k: usize, knobs: &Knobs) -> Result<(), Diagnostic> {
        let node = &self.flat.nodes[k].1;
        for p in node.kind.row().params {
            let values = || node.array(p.name).into_iter().flat_map(|a| a.values());
            if values().any(|x| !(x as f32).is_finite()) {
                return Err(self.fault(k, &format!("`{}` is not finite everywhere", p.name)));
            }
            if p.name.starts_with("tau") && values().any(|x| x as f32 <= 0.0) {
                return Err(self.fault(k, &format!("`{}` is not positive everywhere", p.name)));
            }
            if p.name == "v_threshold" && knobs.spikes == Spikes::Many && values().any(|x| x as f32 <= 0.0) {
                return Err(self.fault(k, "`spikes=many` needs positive thresholds"));
            }
        }
        let reset = node.array("v_reset").is_some_and(|a| a.values().any(|x| x != 0.0));
        if node.kind.fires() && reset && knobs.reset != Reset::VReset {
            let text = format!(
                "node `{}`: `v_reset` is not used, since the reset is `{}`",
                self.flat.nodes[k].0,
                knobs.reset.word()
            );
            self.said.push(crate::flat::remark(Severity::Warning, "W0944", text));
        }
        Ok(())
    }

    /// `c x`, or `x` if `c` is 1.
    fn times(&mut self, c: ValueId, x: ValueId) -> Made {
        match self.known(c) {
            Some(1.0) => Ok(x),
            _ => self.op(|b| b.mul(c, x)),
        }
    }

    /// The value of a scalar constant.
    fn known(&self, v: ValueId) -> Option<f32> {
        let node = self.module.graph.nodes.iter().rev().find(|n| n.results == [v])?;
        let nc_ir::graph::Op::Const { id } = node.op else { return None };
        let data = &self.module.consts[id.index()].data;
        (data.shape().is_empty() && data.dtype() == DType::F32).then(|| data.as_slice::<f32>()[0])
    }

    /// The sum, from the first on.
    fn total(&mut self, terms: &[ValueId]) -> Made {
        let Some((first, rest)) = terms.split_first() else { return self.scalar(0.0) };
        let mut sum = *first;
        for t in rest {
            sum = self.op(|b| b.add(sum, *t))?;
        }
        Ok(sum)
    }

    /// `w_in b` for each bias that goes past the current.
    fn weighed(&mut self, k: usize, biases: &[ValueId]) -> Result<Vec<ValueId>, Diagnostic> {
        if biases.is_empty() {
            return Ok(Vec::new());
        }
        let w = self.parameter(k, "w_in", 1.0)?;
        biases.iter().map(|b| self.times(w, *b)).collect()
    }

    /// A parameter as a constant, times a factor; `w_in` is 1 where a file has none, every other one 0.
    fn parameter(&mut self, k: usize, name: &str, scale: f32) -> Made {
        match self.flat.nodes[k].1.array(name) {
            None => self.scalar(if name == "w_in" { 1.0 } else { 0.0 }),
            Some(_) => self.coefficient(k, &[name], |p| f64::from(p[0] as f32 * scale)),
        }
    }

    /// One tick of an equation whose input is the sum of `terms`.
    fn advance(&mut self, k: usize, eq: Equation, s: ValueId, terms: &[ValueId], knobs: &Knobs, scale: f32) -> Made {
        let dt = self.dt;
        let has_w = self.flat.nodes[k].1.array(eq.multiplier).is_some();
        let m = move |x: f64| if has_w { x } else { 1.0 };
        let leak = eq.leak.unwrap_or("");
        let leaks =
            eq.leak.is_some_and(|l| self.flat.nodes[k].1.array(l).is_some_and(|a| a.values().any(|x| x != 0.0)));
        let share = move |decay: Decay, tau: f64| match decay {
            Decay::Euler => dt / tau,
            Decay::Exp => -(-dt / tau).exp_m1(),
        };
        let gain = move |tau: f64| match knobs.gain {
            Gain::DtOverTau => dt / tau,
            Gain::OneMinusExp => -(-dt / tau).exp_m1(),
            Gain::One => 1.0,
        };
        let decay = knobs.decay;
        if knobs.form == Form::Decay {
            let keep = self.coefficient(k, &[eq.tau], |p| match decay {
                Decay::Euler => 1.0 - dt / p[0],
                Decay::Exp => (-dt / p[0]).exp(),
            })?;
            let take = self.coefficient(k, &[eq.tau, eq.multiplier], |p| gain(p[0]) * m(p[1]))?;
            let mut y = self.op(|b| b.mul(keep, s))?;
            for t in terms {
                let x = self.times(take, *t)?;
                y = self.op(|b| b.add(y, x))?;
            }
            if leaks {
                let rest = self.coefficient(k, &[eq.tau, leak], |p| share(decay, p[0]) * p[1] * f64::from(scale))?;
                y = self.op(|b| b.add(y, rest))?;
            }
            return Ok(y);
        }
        let x = self.total(terms)?;
        let to_leak = match leaks {
            true => {
                let leak = self.parameter(k, leak, scale)?;
                self.op(|b| b.sub(leak, s))?
            }
            false => self.op(|b| b.neg(s))?,
        };
        let same = matches!((decay, knobs.gain), (Decay::Euler, Gain::DtOverTau) | (Decay::Exp, Gain::OneMinusExp));
        let step = match (knobs.form, same) {
            (Form::Divide, _) => {
                let multiplier = self.parameter(k, eq.multiplier, 1.0)?;
                let x = self.times(multiplier, x)?;
                let sum = self.op(|b| b.add(to_leak, x))?;
                let ticks = self.coefficient(k, &[eq.tau], |p| f64::from(p[0] as f32 / dt as f32))?;
                self.op(|b| b.div(sum, ticks))?
            }
            (_, true) => {
                let multiplier = self.parameter(k, eq.multiplier, 1.0)?;
                let x = self.times(multiplier, x)?;
                let sum = self.op(|b| b.add(to_leak, x))?;
                let part = self.coefficient(k, &[eq.tau], |p| match decay {
                    Decay::Euler => f64::from(dt as f32 / p[0] as f32),
                    Decay::Exp => share(decay, p[0]),
                })?;
                self.op(|b| b.mul(part, sum))?
            }
            (_, false) => {
                let part = self.coefficient(k, &[eq.tau], |p| share(decay, p[0]))?;
                let lost = self.op(|b| b.mul(part, to_leak))?;
                let take = self.coefficient(k, &[eq.tau, eq.multiplier], |p| gain(p[0]) * m(p[1]))?;
                let x = self.times(take, x)?;
                self.op(|b| b.add(lost, x))?
            }
        };
        self.op(|b| b.add(s, step))
    }

    /// Current and membrane after a tick of constant input: with `s = exp(-dt / tau_syn)`, `m = exp(-dt / tau_mem)` and
    /// `c = tau_syn (s - m) / (tau_syn - tau_mem)`, which is `m dt / tau_mem` for equal time constants:
    /// `i+ = s i + (1 - s) w x`, `v+ = m v + r c i + r (1 - m - c) w x + (1 - m) leak`.
    fn joint(
        &mut self,
        k: usize,
        i: ValueId,
        v: ValueId,
        into: &[ValueId],
        past: &[ValueId],
        scale: f32,
    ) -> Result<(ValueId, ValueId), Diagnostic> {
        let dt = self.dt;
        let cross = move |syn: f64, mem: f64| {
            let (s, m) = ((-dt / syn).exp(), (-dt / mem).exp());
            if ((syn - mem) / mem).abs() < 1e-6 { m * dt / mem } else { syn * (s - m) / (syn - mem) }
        };
        let w = self.parameter(k, "w_in", 1.0)?;
        let x = self.total(into)?;
        let x = self.times(w, x)?;
        let keep = self.coefficient(k, &["tau_syn"], |p| (-dt / p[0]).exp())?;
        let take = self.coefficient(k, &["tau_syn"], |p| -(-dt / p[0]).exp_m1())?;
        let kept = self.op(|b| b.mul(keep, i))?;
        let taken = self.times(take, x)?;
        let current = self.op(|b| b.add(kept, taken))?;
        let keep = self.coefficient(k, &["tau_mem"], |p| (-dt / p[0]).exp())?;
        let from_i = self.coefficient(k, &["tau_syn", "tau_mem", "r"], |p| p[2] * cross(p[0], p[1]))?;
        let from_x =
            self.coefficient(k, &["tau_syn", "tau_mem", "r"], |p| p[2] * (-(-dt / p[1]).exp_m1() - cross(p[0], p[1])))?;
        let mut y = self.op(|b| b.mul(keep, v))?;
        for (c, t) in [(from_i, i), (from_x, x)] {
            let term = self.times(c, t)?;
            y = self.op(|b| b.add(y, term))?;
        }
        let gain = self.coefficient(k, &["tau_mem", "r"], |p| p[1] * -(-dt / p[0]).exp_m1())?;
        for b in self.weighed(k, past)? {
            let term = self.times(gain, b)?;
            y = self.op(|b| b.add(y, term))?;
        }
        let rest = self.coefficient(k, &["tau_mem", "v_leak"], |p| -(-dt / p[0]).exp_m1() * p[1] * f64::from(scale))?;
        if self.known(rest) != Some(0.0) {
            y = self.op(|b| b.add(y, rest))?;
        }
        Ok((current, y))
    }

    fn compared(&mut self, v: ValueId, threshold: ValueId, knobs: &Knobs) -> Made {
        self.op(|b| match knobs.compare {
            Compare::Above => b.gt(v, threshold),
            Compare::AtLeast => b.ge(v, threshold),
        })
    }

    /// Spikes, and the membrane after them.
    fn fire(
        &mut self,
        k: usize,
        before: ValueId,
        v: ValueId,
        knobs: &Knobs,
        scale: f32,
    ) -> Result<(ValueId, ValueId), Diagnostic> {
        let threshold = self.parameter(k, "v_threshold", scale)?;
        let mut v = v;
        if knobs.reset == Reset::SubtractLate {
            let q = self.compared(before, threshold, knobs)?;
            let q = self.number(q)?;
            let off = self.times(threshold, q)?;
            v = self.op(|b| b.sub(v, off))?;
            v = self.clamped(v, knobs)?;
            let z = self.compared(v, threshold, knobs)?;
            let number = self.number(z)?;
            let change = self.op(|b| b.sub(number, q))?;
            let off = self.times(threshold, change)?;
            return Ok((z, self.op(|b| b.sub(v, off))?));
        }
        v = self.clamped(v, knobs)?;
        let (z, any) = match knobs.spikes {
            Spikes::One => {
                let z = self.compared(v, threshold, knobs)?;
                (z, z)
            }
            Spikes::Many => {
                let ratio = self.op(|b| b.div(v, threshold))?;
                let whole = self.op(|b| b.floor(ratio))?;
                let zero = self.scalar(0.0)?;
                let n = self.op(|b| b.max(whole, zero))?;
                (n, self.op(|b| b.gt(n, zero))?)
            }
        };
        let after = match (knobs.reset, knobs.spikes) {
            (Reset::Zero, _) => {
                let zero = self.scalar(0.0)?;
                self.op(|b| b.select(any, zero, v))?
            }
            (Reset::VReset, _) => {
                let to = self.parameter(k, "v_reset", scale)?;
                self.op(|b| b.select(any, to, v))?
            }
            (_, Spikes::One) => {
                let less = self.op(|b| b.sub(v, threshold))?;
                self.op(|b| b.select(any, less, v))?
            }
            (_, Spikes::Many) => {
                let off = self.op(|b| b.mul(threshold, z))?;
                self.op(|b| b.sub(v, off))?
            }
        };
        Ok((z, after))
    }

    fn clamped(&mut self, v: ValueId, knobs: &Knobs) -> Made {
        let Some((low, high)) = knobs.clamp.0 else { return Ok(v) };
        let (low, high) = (self.scalar(low)?, self.scalar(high)?);
        let v = self.op(|b| b.max(v, low))?;
        self.op(|b| b.min(v, high))
    }

    /// A neuron in the integers of Loihi.
    fn integers(&mut self, k: usize, parts: &[Part], knobs: &Knobs) -> Made {
        let (name, node) = (self.flat.nodes[k].0.clone(), &self.flat.nodes[k].1);
        let kind = node.kind;
        if node.array("v_leak").is_some_and(|a| a.values().any(|x| x != 0.0)) {
            return Err(Diagnostic::error_nowhere(
                "E0937",
                format!("node `{name}`: a leak potential is not supported by arithmetic={}", knobs.arithmetic.word()),
            )
            .with_hint("take lava-float, or another preset"));
        }
        if knobs.bias == Bias::Membrane {
            return Err(Diagnostic::error_nowhere(
                "E0937",
                format!("node `{name}`: bias=membrane is not supported by arithmetic={}", knobs.arithmetic.word()),
            ));
        }
        let ty = self.type_of(&self.shapes.takes[k], DType::I64);
        let v = self.state(format!("{name}.v"), ty.clone());
        let all: Vec<ValueId> = parts.iter().flat_map(|p| [Some(p.value), p.bias]).flatten().collect();
        let x = self.total(&all)?;
        let dt = self.dt;
        let updated = match kind {
            Kind::CubaLIF | Kind::CubaLI => {
                let i = self.state(format!("{name}.i"), ty);
                let has_w = self.flat.nodes[k].1.array("w_in").is_some();
                let gain = self.coefficient(k, &["tau_syn", "w_in"], |p| dt / p[0] * if has_w { p[1] } else { 1.0 })?;
                let x = self.times(gain, x)?;
                let input = self.whole(x, knobs)?;
                let kept = self.decayed(k, i, Some("tau_syn"), knobs)?;
                let current = self.op(|b| b.add(kept, input))?;
                self.becomes(i, current);
                self.inner.insert(format!("{name}.i"), current);
                let gain = self.coefficient(k, &["tau_mem", "r"], |p| dt / p[0] * p[1])?;
                let given = match self.known(gain) {
                    Some(1.0) => current,
                    _ => {
                        let x = self.op(|b| b.cast(current, DType::F32))?;
                        let x = self.op(|b| b.mul(gain, x))?;
                        self.op(|b| b.cast(x, DType::I64))?
                    }
                };
                let kept = self.decayed(k, v, Some("tau_mem"), knobs)?;
                self.op(|b| b.add(kept, given))?
            }
            _ => {
                let tau = matches!(kind, Kind::LIF | Kind::LI).then_some("tau");
                let gain = match tau {
                    Some(tau) => self.coefficient(k, &[tau, "r"], |p| dt / p[0] * p[1])?,
                    None => {
                        let dt = if kind == Kind::I || knobs.if_step == If::Dt { dt } else { 1.0 };
                        self.coefficient(k, &["r"], |p| dt * p[0])?
                    }
                };
                let x = self.times(gain, x)?;
                let input = self.whole(x, knobs)?;
                let kept = self.decayed(k, v, tau, knobs)?;
                self.op(|b| b.add(kept, input))?
            }
        };
        let unit = if knobs.arithmetic == Arithmetic::Lava { 256.0 * 64.0 } else { 4096.0 };
        if !kind.fires() {
            self.becomes(v, updated);
            self.inner.insert(format!("{name}.v"), updated);
            let y = self.op(|b| b.cast(updated, DType::F32))?;
            let unit = self.scalar(unit)?;
            return self.op(|b| b.div(y, unit));
        }
        let arithmetic = knobs.arithmetic;
        let threshold = self.whole_coefficient(k, "v_threshold", |t| match arithmetic {
            Arithmetic::Lava => (256.0 * t).trunc() * 64.0,
            _ => (4096.0 * t).round(),
        })?;
        let z = self.compared(updated, threshold, knobs)?;
        let after = match knobs.reset {
            Reset::Subtract => {
                let less = self.op(|b| b.sub(updated, threshold))?;
                self.op(|b| b.select(z, less, updated))?
            }
            _ => {
                let zero = self.constant("", Tensor::scalar_i64(0))?;
                self.op(|b| b.select(z, zero, updated))?
            }
        };
        self.becomes(v, after);
        self.inner.insert(format!("{name}.v"), after);
        Ok(z)
    }

    /// An input in integers.
    fn whole(&mut self, x: ValueId, knobs: &Knobs) -> Made {
        let lava = knobs.arithmetic == Arithmetic::Lava;
        let unit = self.scalar(if lava { 256.0 } else { 4096.0 })?;
        let scaled = self.op(|b| b.mul(unit, x))?;
        // A cast truncates.
        let whole = self.op(|b| b.cast(scaled, DType::I64))?;
        if !lava {
            return Ok(whole);
        }
        let units = self.constant("", Tensor::scalar_i64(64))?;
        self.op(|b| b.mul(units, whole))
    }

    /// `x (4096 - d) / 4096`, rounded toward zero by a shift of the magnitude.
    fn decayed(&mut self, k: usize, x: ValueId, tau: Option<&'static str>, knobs: &Knobs) -> Made {
        let Some(tau) = tau else { return Ok(x) };
        let (dt, lava) = (self.dt, knobs.arithmetic == Arithmetic::Lava);
        let keep = self.whole_coefficient(k, tau, |tau| {
            let d = 4096.0 * dt / tau;
            (4096.0 - if lava { d.trunc() } else { d.round_ties_even() }).max(0.0)
        })?;
        let bits = self.constant("", Tensor::scalar_i64(12))?;
        let zero = self.constant("", Tensor::scalar_i64(0))?;
        let size = self.op(|b| b.abs(x))?;
        let product = self.op(|b| b.mul(size, keep))?;
        let less = self.op(|b| b.shr(product, bits))?;
        let negative = self.op(|b| b.neg(less))?;
        let below = self.op(|b| b.lt(x, zero))?;
        self.op(|b| b.select(below, negative, less))
    }

    /// A whole number computed from a parameter for each element.
    fn whole_coefficient(&mut self, k: usize, name: &str, f: impl Fn(f64) -> f64) -> Made {
        let data: Vec<i64> = self.elements(k, &[name], |p| f(p[0])).into_iter().map(|x| x as i64).collect();
        if data.iter().all(|x| *x == data[0]) {
            return self.constant("", Tensor::scalar_i64(data[0]));
        }
        match Tensor::from_vec(self.shapes.takes[k].clone(), data) {
            Some(t) => self.constant("", t),
            None => Err(self.fault(k, "a parameter is of another shape")),
        }
    }
}
