//! Scan and Loop.

use super::{Row, Types, row};
use crate::Stop;
use crate::codes::{NODE, UNSUPPORTED};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use crate::proto::GraphProto;
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Scan", &[8, 9, 11, 16, 19, 21, 23, 24, 25], Types::Any, "`sequence_lens` of version 8", scan),
    row("Loop", &[1, 11, 13, 16, 19, 21, 23, 24, 25], Types::Any, "", repeat),
];

/// Most iterations of a loop that are written out one after another, where that is the only way.
const MOST_WRITTEN_OUT: usize = 1 << 12;

/// A list of axes or directions, one for each of `n` values; `default` for each if it is not given.
fn list(c: &Call<'_, '_>, name: &str, n: usize, default: i64) -> Result<Vec<i64>, Fault> {
    match c.ints(name)? {
        None => Ok(vec![default; n]),
        Some(v) if v.len() == n => Ok(v),
        Some(v) => invalid(format!("`{name}` has {} numbers for {n} values", v.len())),
    }
}

/// The rows along axis 0 in reverse.
fn turned(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let index: Vec<i64> = (0..c.shape(x)[0] as i64).rev().collect();
    let index = c.i64s(&index);
    c.gather(x, &index, 0)
}

/// Axis `axis` to the front.
fn to_front(c: &mut Call<'_, '_>, x: &Value, axis: usize) -> Result<Value, Fault> {
    let perm: Vec<usize> = std::iter::once(axis).chain((0..c.rank(x)).filter(|a| *a != axis)).collect();
    c.transpose(x, &perm)
}

/// The first axis to `axis`.
fn from_front(c: &mut Call<'_, '_>, x: &Value, axis: usize) -> Result<Value, Fault> {
    let rank = c.rank(x);
    let perm: Vec<usize> = (0..rank)
        .map(|a| {
            if a == axis {
                0
            } else if a < axis {
                a + 1
            } else {
                a
            }
        })
        .collect();
    c.transpose(x, &perm)
}

fn scan(c: &mut Call<'_, '_>) -> Results {
    let body = c.graph("body")?;
    let count = match usize::try_from(c.int("num_scan_inputs", 0)?) {
        Ok(n) if n >= 1 => n,
        _ => return invalid("`num_scan_inputs` must be given, and be positive"),
    };
    if c.opset == 8 {
        return scan_of_batches(c, body, count);
    }
    let operands = c.operands()?;
    let Some(states) = operands.len().checked_sub(count) else {
        return invalid(format!("{} operands, of which {count} are scanned", operands.len()));
    };
    let (states, scanned) = operands.split_at(states);
    let Some(outputs) = body.output.len().checked_sub(states.len()) else {
        return invalid(format!("the body has {} results for {} states", body.output.len(), states.len()));
    };
    let axes = list(c, "scan_input_axes", count, 0)?;
    let directions = list(c, "scan_input_directions", count, 0)?;
    let out_axes = list(c, "scan_output_axes", outputs, 0)?;
    let out_directions = list(c, "scan_output_directions", outputs, 0)?;
    let mut rows = Vec::with_capacity(count);
    for (x, axis) in scanned.iter().zip(&axes) {
        let axis = c.axis(*axis, c.rank(x))?;
        rows.push(to_front(c, x, axis)?);
    }
    let results = scan_rows(c, body, states, &rows, &directions, &out_directions)?;
    let mut out = Vec::with_capacity(results.len());
    for (k, v) in results.into_iter().enumerate() {
        out.push(match k.checked_sub(states.len()) {
            None => v,
            Some(k) => {
                let axis = c.axis(out_axes[k], c.rank(&v))?;
                from_front(c, &v, axis)?
            }
        });
    }
    Ok(out)
}

/// Scans rows along axis 0; a direction of 1 takes, or gives, the last row first.
fn scan_rows<'m>(
    c: &mut Call<'_, 'm>,
    body: &'m GraphProto,
    states: &[Value],
    rows: &[Value],
    directions: &[i64],
    out_directions: &[i64],
) -> Results {
    // With everything backwards the whole scan is; else single values are turned around.
    let backwards = directions.iter().chain(out_directions).all(|d| *d == 1);
    let mut scanned = Vec::with_capacity(rows.len());
    for (x, d) in rows.iter().zip(directions) {
        scanned.push(if *d == 1 && !backwards { turned(c, x)? } else { x.clone() });
    }
    let length = c.shape(&scanned[0])[0];
    if let Some(other) = scanned.iter().find(|x| c.shape(x)[0] != length) {
        return invalid(format!("scanned values have {length} and {} rows", c.shape(other)[0]));
    }
    c.open();
    let mut inner = Vec::with_capacity(states.len() + rows.len());
    for x in states {
        let (dtype, shape) = (c.dtype(x), c.shape(x));
        inner.push(c.parameter(dtype, &shape, ""));
    }
    for x in &scanned {
        let (dtype, shape) = (c.dtype(x), c.shape(x));
        inner.push(c.parameter(dtype, &shape[1..], ""));
    }
    let results = c.body(body, inner)?;
    for (old, new) in states.iter().zip(&results) {
        if (c.dtype(old), c.shape(old)) != (c.dtype(new), c.shape(new)) {
            let (from, to) = (c.shape(old), c.shape(new));
            return unsupported(format!("a state that changes its type or shape (from {from:?} to {to:?})"));
        }
    }
    let region = c.close(&results);
    let mut results = c.scan(states, &scanned, backwards, region)?;
    for (y, d) in results.iter_mut().skip(states.len()).zip(out_directions) {
        if *d == 1 && !backwards {
            *y = turned(c, y)?;
        }
    }
    Ok(results)
}

/// Version 8: an optional list of lengths comes first, and every value has a leading axis of samples.
fn scan_of_batches<'m>(c: &mut Call<'_, 'm>, body: &'m GraphProto, count: usize) -> Results {
    if c.optional(0).is_some() {
        return unsupported("`sequence_lens`");
    }
    let operands = (1..c.count()).map(|k| c.operand(k)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = operands.len().checked_sub(count) else {
        return invalid(format!("{} operands, of which {count} are scanned", operands.len()));
    };
    let directions = list(c, "directions", count, 0)?;
    let samples = c.shape(&operands[0]).first().copied().unwrap_or(0);
    let outputs = body.output.len().saturating_sub(first);
    let mut all: Vec<Vec<Value>> = vec![Vec::with_capacity(samples); body.output.len()];
    for b in 0..samples {
        let mut own = Vec::with_capacity(operands.len());
        for x in &operands {
            let shape = c.shape(x);
            if shape.first() != Some(&samples) {
                return invalid(format!("an operand of shape {shape:?} has not {samples} samples"));
            }
            let part = c.slice_axis(x, 0, b, b + 1, 1)?;
            own.push(c.reshape(&part, &shape[1..])?);
        }
        let (states, rows) = own.split_at(first);
        let results = scan_rows(c, body, states, rows, &directions, &vec![0; outputs])?;
        for (of, y) in all.iter_mut().zip(results) {
            of.push(c.unsqueeze(&y, &[0])?);
        }
    }
    if samples == 0 {
        return unsupported("a batch of no samples");
    }
    all.iter().map(|of| c.concat(of, 0)).collect()
}

fn repeat(c: &mut Call<'_, '_>) -> Results {
    let body = c.graph("body")?;
    let (trips, condition) = (c.optional(0), c.optional(1));
    let carried = (2..c.count()).map(|k| c.operand(k)).collect::<Result<Vec<_>, _>>()?;
    let Some(outputs) = body.output.len().checked_sub(carried.len() + 1) else {
        return invalid(format!("the body has {} results for {} carried values", body.output.len(), carried.len()));
    };
    let trips = trips.map(|t| c.reshape(&t, &[])).transpose()?;
    let condition = condition.map(|t| c.reshape(&t, &[])).transpose()?;
    let it = Loop { body, trips, condition, outputs };
    match it.region(c, &carried)? {
        Some(results) => Ok(results),
        None => it.written_out(c, carried),
    }
}

struct Loop<'m> {
    body: &'m GraphProto,
    /// Most iterations; none for no bound.
    trips: Option<Value>,
    /// Whether to begin; none for yes.
    condition: Option<Value>,
    /// Results of the body that are stacked.
    outputs: usize,
}

/// A scalar truth value.
fn truth(x: bool) -> Value {
    let mut t = Tensor::zeros(DType::Bool, Vec::new());
    t.bytes_mut()[0] = u8::from(x);
    Value::known(t, "")
}

impl<'m> Loop<'m> {
    /// The loop as a region, or `None` if only writing out its iterations does: a carried value changes its shape, or the
    /// condition decides how long a stacked result is.
    fn region(&self, c: &mut Call<'_, 'm>, carried: &[Value]) -> Result<Option<Vec<Value>>, Fault> {
        c.open();
        let iteration = c.parameter(DType::I64, &[], "iteration");
        let mut inner = Vec::with_capacity(carried.len());
        for x in carried {
            let (dtype, shape) = (c.dtype(x), c.shape(x));
            inner.push(c.parameter(dtype, &shape, ""));
        }
        // An iteration runs only if the condition before it held.
        let operands = [iteration, truth(true)].into_iter().chain(inner).collect();
        let results = c.body(self.body, operands);
        let results = match results {
            Ok(results) => results,
            // What depends on a value that changes in the loop may be known when its iterations are written out.
            Err(Fault::Stop(stop)) if matches!(&*stop, Stop::Wrong(d) if [UNSUPPORTED, NODE].contains(&d.code)) => {
                c.close(&[]);
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let going = c.reshape(&results[0], &[])?;
        let always = going.tensor().is_some_and(|t| t.bytes() == [1]);
        let stays = |c: &Call<'_, 'm>, (old, new): (&Value, &Value)| {
            (c.dtype(old), c.shape(old)) == (c.dtype(new), c.shape(new))
        };
        let fits = carried.iter().zip(&results[1..]).all(|pair| stays(c, pair));
        if !fits || self.outputs > 0 && !always {
            c.close(&[]);
            return Ok(None);
        }
        if self.outputs == 0 {
            let values: Vec<Value> = std::iter::once(going).chain(results[1..].iter().cloned()).collect();
            let region = c.close(&values);
            let trips = match &self.trips {
                Some(t) => t.clone(),
                None => Value::known(Tensor::scalar_i64(i64::MAX), ""),
            };
            let condition = self.condition.clone().unwrap_or_else(|| truth(true));
            return c.repeat(&trips, &condition, carried, region).map(Some);
        }
        let region = c.close(&results[1..]);
        let n = match self.known_trips(c)? {
            Some(n) => n,
            None => return invalid("a loop without end has stacked results"),
        };
        let rows: Vec<i64> = (0..n as i64).collect();
        let rows = c.i64s(&rows);
        // The region's first parameter is the iteration; a scan takes its carried values first.
        let region = region.rotated(carried.len());
        c.scan(carried, &[rows], false, region).map(Some)
    }

    /// The number of iterations, 0 if the condition is false before the first; `None` for no bound.
    fn known_trips(&self, c: &mut Call<'_, 'm>) -> Result<Option<usize>, Fault> {
        if let Some(v) = &self.condition
            && c.known(v, "the condition before the first iteration")?.bytes() == [0]
        {
            return Ok(Some(0));
        }
        let Some(v) = &self.trips else { return Ok(None) };
        let n = c.known_ints(v, "the number of iterations")?;
        Ok(Some(n.first().map_or(0, |n| usize::try_from(*n).unwrap_or(0))))
    }

    /// One iteration after another, until the condition is known to be false.
    fn written_out(&self, c: &mut Call<'_, 'm>, mut carried: Vec<Value>) -> Results {
        let trips = self.known_trips(c)?.unwrap_or(usize::MAX);
        let mut stacked: Vec<Vec<Value>> = vec![Vec::new(); self.outputs];
        let mut iteration = 0usize;
        while iteration < trips {
            if iteration >= MOST_WRITTEN_OUT {
                return unsupported(format!("a loop of more than {MOST_WRITTEN_OUT} iterations whose shapes change"));
            }
            let now = Value::known(Tensor::scalar_i64(iteration as i64), "");
            let operands = [now, truth(true)].into_iter().chain(carried).collect();
            let mut results = c.body(self.body, operands)?.into_iter();
            let going = results.next();
            carried = results.by_ref().take(self.body.output.len() - 1 - self.outputs).collect();
            for (of, y) in stacked.iter_mut().zip(results) {
                of.push(c.unsqueeze(&y, &[0])?);
            }
            iteration += 1;
            let Some(going) = going else { return invalid("the body gives no condition") };
            if iteration < trips && c.known(&going, "the condition of the loop")?.bytes() == [0] {
                break;
            }
        }
        for of in &stacked {
            if of.is_empty() {
                return unsupported("a stacked result of a loop that never runs, whose shape nobody knows");
            }
            carried.push(c.concat(of, 0)?);
        }
        Ok(carried)
    }
}
