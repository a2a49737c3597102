//! RNN, GRU and LSTM: a product of the whole sequence with the input weights, then a scan over time.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::DType;
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("RNN", &[1, 7, 14, 22], Types::Float, "", |c| recurrent(c, Kind::Rnn)),
    row("GRU", &[1, 3, 7, 14, 22], Types::Float, "", |c| recurrent(c, Kind::Gru)),
    row("LSTM", &[1, 7, 14, 22], Types::Float, "", |c| recurrent(c, Kind::Lstm)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rnn,
    Gru,
    Lstm,
}

impl Kind {
    /// Number of gates, each with weights of its own.
    fn gates(self) -> usize {
        match self {
            Kind::Rnn => 1,
            Kind::Gru => 3,
            Kind::Lstm => 4,
        }
    }

    /// Activations of one direction if none are named.
    fn activations(self) -> &'static [&'static str] {
        match self {
            Kind::Rnn => &["Tanh"],
            Kind::Gru => &["Sigmoid", "Tanh"],
            Kind::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// An activation function with its two numbers.
#[derive(Clone)]
struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
}

/// The activations of every direction. `activation_alpha` and `activation_beta` are consumed by the functions that have such
/// a number, in order.
fn activations(c: &Call<'_, '_>, kind: Kind, directions: usize) -> Result<Vec<Activation>, Fault> {
    let names = c.texts("activations")?.filter(|n| !n.is_empty());
    let names = names.unwrap_or_else(|| kind.activations().repeat(directions).into_iter().map(str::to_owned).collect());
    if names.len() != kind.activations().len() * directions {
        return invalid(format!("{} activations for {directions} directions", names.len()));
    }
    let mut alphas = c.floats("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = c.floats("activation_beta")?.unwrap_or_default().into_iter();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let (alpha, beta) = match name.to_ascii_lowercase().as_str() {
            "relu" | "tanh" | "sigmoid" | "softsign" | "softplus" => (None, None),
            "affine" => (Some(1.0), Some(0.0)),
            "leakyrelu" => (Some(0.01), None),
            "thresholdedrelu" | "elu" => (Some(1.0), None),
            "scaledtanh" => (Some(1.0), Some(1.0)),
            "hardsigmoid" => (Some(0.2), Some(0.5)),
            _ => return unsupported(format!("the activation {name:?}")),
        };
        let alpha = alpha.map_or(0.0, |default| alphas.next().map_or(default, f64::from));
        let beta = beta.map_or(0.0, |default| betas.next().map_or(default, f64::from));
        out.push(Activation { name: name.to_ascii_lowercase(), alpha, beta });
    }
    Ok(out)
}

impl Activation {
    fn apply(&self, c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
        let dtype = c.dtype(x);
        let (alpha, beta) = (c.scalar(dtype, self.alpha), c.scalar(dtype, self.beta));
        let (zero, one) = (c.scalar(dtype, 0.0), c.scalar(dtype, 1.0));
        match self.name.as_str() {
            "relu" => c.ew(Op::Max, &[x, &zero]),
            "tanh" => c.unary(Op::Tanh, x),
            "sigmoid" => c.unary(Op::Sigmoid, x),
            "softsign" => {
                let size = c.unary(Op::Abs, x)?;
                let below = c.add(&size, &one)?;
                c.div(x, &below)
            }
            "softplus" => {
                // max(x, 0) + log(1 + exp(-|x|))
                let most = c.ew(Op::Max, &[x, &zero])?;
                let size = c.unary(Op::Abs, x)?;
                let e = c.unary(Op::Neg, &size)?;
                let e = c.unary(Op::Exp, &e)?;
                let e = c.add(&e, &one)?;
                let log = c.unary(Op::Log, &e)?;
                c.add(&most, &log)
            }
            "affine" => {
                let y = c.mul(x, &alpha)?;
                c.add(&y, &beta)
            }
            "leakyrelu" => {
                let y = c.mul(x, &alpha)?;
                let above = c.ew(Op::Ge, &[x, &zero])?;
                c.select(&above, x, &y)
            }
            "thresholdedrelu" => {
                let above = c.ew(Op::Gt, &[x, &alpha])?;
                c.select(&above, x, &zero)
            }
            "elu" => {
                let e = c.unary(Op::Exp, x)?;
                let e = c.sub(&e, &one)?;
                let e = c.mul(&e, &alpha)?;
                let above = c.ew(Op::Ge, &[x, &zero])?;
                c.select(&above, x, &e)
            }
            "scaledtanh" => {
                let y = c.mul(x, &beta)?;
                let y = c.unary(Op::Tanh, &y)?;
                c.mul(&y, &alpha)
            }
            _ => {
                // hardsigmoid
                let y = c.mul(x, &alpha)?;
                let y = c.add(&y, &beta)?;
                let y = c.ew(Op::Max, &[&y, &zero])?;
                c.ew(Op::Min, &[&y, &one])
            }
        }
    }
}

/// One direction of a layer.
struct Cell {
    kind: Kind,
    hidden: usize,
    /// `[gates * hidden, hidden]`.
    recurrent: Value,
    /// `[gates * hidden]`.
    recurrent_bias: Value,
    /// `[3 * hidden]`, in the order input, output, forget.
    peepholes: Option<Value>,
    activations: Vec<Activation>,
    clip: f32,
    /// LSTM: the forget gate is one less the input gate.
    coupled: bool,
    /// GRU: the reset gate is applied to the product, not to the state.
    late_reset: bool,
}

impl Cell {
    fn activate(&self, c: &mut Call<'_, '_>, which: usize, x: &Value) -> Result<Value, Fault> {
        let mut x = x.clone();
        if self.clip > 0.0 {
            let dtype = c.dtype(&x);
            let (low, high) = (c.scalar(dtype, f64::from(-self.clip)), c.scalar(dtype, f64::from(self.clip)));
            x = c.ew(Op::Max, &[&x, &low])?;
            x = c.ew(Op::Min, &[&x, &high])?;
        }
        self.activations[which].apply(c, &x)
    }

    /// The part of gate `k` of a value `[B, gates * hidden]` or `[gates * hidden]`.
    fn gate(&self, c: &mut Call<'_, '_>, x: &Value, k: usize) -> Result<Value, Fault> {
        let axis = c.rank(x) - 1;
        c.slice_axis(x, axis, k * self.hidden, (k + 1) * self.hidden, 1)
    }

    /// The new states from the projected input `x` of a tick and the old states.
    fn step(&self, c: &mut Call<'_, '_>, x: &Value, states: &[Value]) -> Results {
        let h = &states[0];
        match self.kind {
            Kind::Rnn => {
                let r = c.op(Op::Linear, &[h.clone(), self.recurrent.clone(), self.recurrent_bias.clone()])?;
                let sum = c.add(x, &r)?;
                Ok(vec![self.activate(c, 0, &sum)?])
            }
            Kind::Gru => Ok(vec![self.gru(c, x, h)?]),
            Kind::Lstm => self.lstm(c, x, h, &states[1]),
        }
    }

    fn gru(&self, c: &mut Call<'_, '_>, x: &Value, h: &Value) -> Result<Value, Fault> {
        let n = self.hidden;
        let product = |c: &mut Call<'_, '_>, h: &Value, from: usize, to: usize| {
            let w = c.slice_axis(&self.recurrent, 0, from * n, to * n, 1)?;
            let b = c.slice_axis(&self.recurrent_bias, 0, from * n, to * n, 1)?;
            c.op(Op::Linear, &[h.clone(), w, b])
        };
        let r = product(c, h, 0, if self.late_reset { 3 } else { 2 })?;
        let (xz, xr, xh) = (self.gate(c, x, 0)?, self.gate(c, x, 1)?, self.gate(c, x, 2)?);
        let (rz, rr) = (self.gate(c, &r, 0)?, self.gate(c, &r, 1)?);
        let (z, reset) = (c.add(&xz, &rz)?, c.add(&xr, &rr)?);
        let (z, reset) = (self.activate(c, 0, &z)?, self.activate(c, 0, &reset)?);
        let rh = if self.late_reset {
            let rh = self.gate(c, &r, 2)?;
            c.mul(&reset, &rh)?
        } else {
            let kept = c.mul(&reset, h)?;
            product(c, &kept, 2, 3)?
        };
        let candidate = c.add(&xh, &rh)?;
        let candidate = self.activate(c, 1, &candidate)?;
        let one = c.scalar(c.dtype(&z), 1.0);
        let less = c.sub(&one, &z)?;
        let (new, old) = (c.mul(&less, &candidate)?, c.mul(&z, h)?);
        c.add(&new, &old)
    }

    fn lstm(&self, c: &mut Call<'_, '_>, x: &Value, h: &Value, cell: &Value) -> Results {
        let r = c.op(Op::Linear, &[h.clone(), self.recurrent.clone(), self.recurrent_bias.clone()])?;
        let sum = c.add(x, &r)?;
        let (mut i, mut o) = (self.gate(c, &sum, 0)?, self.gate(c, &sum, 1)?);
        let (mut f, g) = (self.gate(c, &sum, 2)?, self.gate(c, &sum, 3)?);
        if let Some(p) = &self.peepholes {
            let (pi, pf) = (self.gate(c, p, 0)?, self.gate(c, p, 2)?);
            let (pi, pf) = (c.mul(&pi, cell)?, c.mul(&pf, cell)?);
            i = c.add(&i, &pi)?;
            f = c.add(&f, &pf)?;
        }
        let i = self.activate(c, 0, &i)?;
        let f = if self.coupled {
            let one = c.scalar(c.dtype(&i), 1.0);
            c.sub(&one, &i)?
        } else {
            self.activate(c, 0, &f)?
        };
        let g = self.activate(c, 1, &g)?;
        let (kept, new) = (c.mul(&f, cell)?, c.mul(&i, &g)?);
        let next = c.add(&kept, &new)?;
        if let Some(p) = &self.peepholes {
            let po = self.gate(c, p, 1)?;
            let po = c.mul(&po, &next)?;
            o = c.add(&o, &po)?;
        }
        let o = self.activate(c, 0, &o)?;
        let shown = self.activate(c, 2, &next)?;
        Ok(vec![c.mul(&o, &shown)?, next])
    }
}

fn recurrent(c: &mut Call<'_, '_>, kind: Kind) -> Results {
    let (x, w, r) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (bias, lengths, first_h) = (c.optional(3), c.optional(4), c.optional(5));
    let (first_c, peepholes) = match kind {
        Kind::Lstm => (c.optional(6), c.optional(7)),
        _ => (None, None),
    };
    let batch_first = c.opset >= 14 && c.flag("layout", false)?;
    // Of version 1: whether anybody wants the sequence, which the number of results says too.
    c.has("output_sequence");
    let direction = c.text("direction", "forward")?;
    let reversed: &[bool] = match direction.as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return invalid(format!("`direction` is {other:?}")),
    };
    let (gates, dirs) = (kind.gates(), reversed.len());
    let activations = activations(c, kind, dirs)?;
    let clip = c.float("clip", 0.0)?;
    let coupled = kind == Kind::Lstm && c.flag("input_forget", false)?;
    let late_reset = kind == Kind::Gru && c.flag("linear_before_reset", false)?;
    let (sw, sr) = (c.shape(&w), c.shape(&r));
    let &[_, rows, hidden] = &sr[..] else { return invalid(format!("the recurrent weights have the shape {sr:?}")) };
    if sw.len() != 3 || sw[0] != dirs || sr[0] != dirs || rows != gates * hidden || sw[1] != rows {
        return invalid(format!("weights of shapes {sw:?} and {sr:?} do not fit {gates} gates in {dirs} directions"));
    }
    if let Some(n) = c.int_opt("hidden_size")?
        && usize::try_from(n) != Ok(hidden)
    {
        return invalid(format!("`hidden_size` is {n}, but the weights are for {hidden}"));
    }
    let x = match (c.rank(&x), batch_first) {
        (3, true) => c.transpose(&x, &[1, 0, 2])?,
        (3, false) => x,
        (n, _) => return invalid(format!("its operand has {n} dimensions, 3 were expected")),
    };
    let (ticks, batch, dtype) = (c.shape(&x)[0], c.shape(&x)[1], c.dtype(&x));
    let state = if batch_first { [batch, dirs, hidden] } else { [dirs, batch, hidden] };
    let all: [(&str, &Option<Value>, &[usize]); 5] = [
        ("biases", &bias, &[dirs, 2 * rows]),
        ("lengths", &lengths, &[batch]),
        ("first states", &first_h, &state),
        ("first cells", &first_c, &state),
        ("peepholes", &peepholes, &[dirs, 3 * hidden]),
    ];
    for (what, given, shape) in all {
        if let Some(v) = given
            && c.shape(v) != shape
        {
            return invalid(format!("its {what} have the shape {:?}, {shape:?} was expected", c.shape(v)));
        }
    }
    let zero = c.scalar(dtype, 0.0);
    let bias = match bias {
        Some(b) => b,
        None => c.broadcast(&zero, &[dirs, 2 * rows])?,
    };
    // Where a sample has ended, its states stay and its outputs are 0.
    let valid = match &lengths {
        None => None,
        Some(n) => {
            let now: Vec<i64> = (0..ticks as i64).collect();
            let now = c.i64s(&now);
            let now = c.reshape(&now, &[ticks, 1, 1])?;
            let n = c.cast(n, DType::I64)?;
            let n = c.reshape(&n, &[1, batch, 1])?;
            Some(c.ew(Op::Lt, &[&now, &n])?)
        }
    };
    let one_direction = |c: &mut Call<'_, '_>, v: &Value, d: usize| -> Result<Value, Fault> {
        let part = c.slice_axis(v, 0, d, d + 1, 1)?;
        let shape = c.shape(&part)[1..].to_vec();
        c.reshape(&part, &shape)
    };
    let states_of = |c: &mut Call<'_, '_>, given: &Option<Value>, d: usize| -> Result<Value, Fault> {
        match given {
            None => c.broadcast(&zero, &[batch, hidden]),
            Some(v) => {
                let v = if batch_first { c.transpose(v, &[1, 0, 2])? } else { v.clone() };
                one_direction(c, &v, d)
            }
        }
    };
    let (mut ys, mut lasts): (Vec<Value>, Vec<Vec<Value>>) = (Vec::new(), Vec::new());
    let per_direction = kind.activations().len();
    for (d, reverse) in reversed.iter().enumerate() {
        let (wd, rd, bd) = (one_direction(c, &w, d)?, one_direction(c, &r, d)?, one_direction(c, &bias, d)?);
        let (wb, rb) = (c.slice_axis(&bd, 0, 0, rows, 1)?, c.slice_axis(&bd, 0, rows, 2 * rows, 1)?);
        let projected = c.op(Op::Linear, &[x.clone(), wd, wb])?;
        let mut states = vec![states_of(c, &first_h, d)?];
        if kind == Kind::Lstm {
            states.push(states_of(c, &first_c, d)?);
        }
        let peepholes = peepholes.as_ref().map(|p| one_direction(c, p, d)).transpose()?;
        let cell = Cell {
            kind,
            hidden,
            recurrent: rd,
            recurrent_bias: rb,
            peepholes,
            activations: activations[d * per_direction..(d + 1) * per_direction].to_vec(),
            clip,
            coupled,
            late_reset,
        };
        c.open();
        let names = ["h", "c"].into_iter().zip(&states);
        let inner: Vec<Value> = names.map(|(name, _)| c.parameter(dtype, &[batch, hidden], name)).collect();
        let row = c.parameter(dtype, &[batch, rows], "");
        let on = valid.as_ref().map(|_| c.parameter(DType::Bool, &[batch, 1], ""));
        let mut next = cell.step(c, &row, &inner)?;
        let mut y = next[0].clone();
        if let Some(on) = &on {
            let zero = c.scalar(dtype, 0.0);
            y = c.select(on, &y, &zero)?;
            for (n, old) in next.iter_mut().zip(&inner) {
                *n = c.select(on, n, old)?;
            }
        }
        next.push(y);
        let body = c.close(&next);
        let scanned: Vec<Value> = std::iter::once(projected).chain(valid.clone()).collect();
        let mut results = c.scan(&states, &scanned, *reverse, body)?;
        let Some(y) = results.pop() else { return invalid("a scan gives no result") };
        ys.push(c.unsqueeze(&y, &[1])?);
        lasts.push(results);
    }
    // Y: [T, dirs, B, H], or [B, T, dirs, H]; the last states: [dirs, B, H], or [B, dirs, H].
    let y = c.concat(&ys, 1)?;
    let mut results = vec![if batch_first { c.transpose(&y, &[2, 0, 1, 3])? } else { y }];
    for k in 0..lasts[0].len() {
        let mut all = Vec::with_capacity(dirs);
        for of in &lasts {
            all.push(c.unsqueeze(&of[k], &[0])?);
        }
        let last = c.concat(&all, 0)?;
        results.push(if batch_first { c.transpose(&last, &[1, 0, 2])? } else { last });
    }
    Ok(results)
}
