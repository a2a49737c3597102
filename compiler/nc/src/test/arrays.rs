//! Arrays of tests: from text, and back to it.

use super::spec::Value;
use nc_ir::{DType, Diagnostic, Tensor};
use nc_runtime::run::Port;

fn wrong(text: String) -> Diagnostic {
    Diagnostic::error_nowhere("E0842", text)
}

/// The array `[ticks, ..]` that a value says. Without `ticks` the value tells how many there are.
///
/// # Errors
/// E0842 if it does not fit the port.
pub fn array_of(port: &Port, value: &Value, ticks: Option<usize>) -> Result<Tensor, Diagnostic> {
    let cells: usize = port.shape.iter().product();
    let name = &port.name;
    let (length, numbers) = match value {
        Value::Raster(text) => {
            let rows: Vec<&[u8]> = text.split('|').map(str::as_bytes).collect();
            let length = rows.first().map_or(0, |r| r.len());
            if rows.len() != cells || rows.iter().any(|r| r.len() != length) {
                return Err(wrong(format!("the raster of {name:?} has not {cells} equally long rows")));
            }
            let numbers = (0..length).flat_map(|t| rows.iter().map(move |r| f64::from(u8::from(r[t] == b'1'))));
            (length, numbers.collect())
        }
        Value::List(list) => {
            let outer = list.as_array().map_or(&[][..], Vec::as_slice);
            let mut numbers = Vec::new();
            for frame in outer {
                flatten(frame, &port.shape, &mut numbers).ok_or_else(|| {
                    wrong(format!("an entry of the list of {name:?} has not the shape {:?}", port.shape))
                })?;
            }
            (outer.len(), numbers)
        }
        Value::Number(x) => {
            let n = ticks.ok_or_else(|| wrong(format!("{name:?} is one number: `steps` must say how many ticks")))?;
            (n, vec![*x; n * cells])
        }
        Value::Generator(kind, args) => {
            let n = ticks.ok_or_else(|| wrong(format!("{name:?} is generated: `steps` must say how many ticks")))?;
            (n, generate(name, kind, args, n * cells)?)
        }
        Value::Unknown => return Err(wrong(format!("{name:?} is `?`")).with_hint("--bless writes what comes out")),
    };
    if ticks.is_some_and(|t| t != length) {
        return Err(wrong(format!("{name:?} has {length} ticks, {} are run", ticks.unwrap_or(0))));
    }
    let mut shape = vec![length];
    shape.extend(&port.shape);
    let mut out = Tensor::zeros(port.dtype, shape);
    let size = port.dtype.size();
    for (x, cell) in numbers.iter().zip(out.bytes_mut().chunks_exact_mut(size)) {
        let x = *x;
        let bytes: [u8; 8] = match port.dtype {
            DType::F64 => x.to_le_bytes(),
            DType::F32 => pad((x as f32).to_le_bytes()),
            DType::F16 => pad(half::f16::from_f64(x).to_le_bytes()),
            DType::BF16 => pad(half::bf16::from_f64(x).to_le_bytes()),
            DType::Bool if x == 0.0 || x == 1.0 => pad([x as u8]),
            DType::Bool => return Err(wrong(format!("{name:?} is spikes, {x} is neither 0 nor 1"))),
            _ => {
                if x.fract() != 0.0 {
                    return Err(wrong(format!("{name:?} is {}, {x} is no whole number", port.dtype)));
                }
                let x = x as i128;
                if port.dtype.int_range().is_some_and(|(lo, hi)| x < lo || x > hi) {
                    return Err(wrong(format!("{name:?} is {}, which cannot hold {x}", port.dtype)));
                }
                (x as i64).to_le_bytes()
            }
        };
        cell.copy_from_slice(&bytes[..size]);
    }
    Ok(out)
}

fn pad<const N: usize>(bytes: [u8; N]) -> [u8; 8] {
    let mut out = [0; 8];
    out[..N].copy_from_slice(&bytes);
    out
}

/// Numbers of a nested list of this shape. Infinities and NaN are written as strings.
fn flatten(value: &serde_json::Value, shape: &[usize], out: &mut Vec<f64>) -> Option<()> {
    match (shape.split_first(), value) {
        (None, serde_json::Value::Number(n)) => out.push(n.as_f64()?),
        (None, serde_json::Value::Bool(b)) => out.push(f64::from(u8::from(*b))),
        (None, serde_json::Value::String(s)) => out.push(match s.as_str() {
            "nan" => f64::NAN,
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            _ => return None,
        }),
        (Some((n, rest)), serde_json::Value::Array(a)) if a.len() == *n => {
            a.iter().try_for_each(|v| flatten(v, rest, out))?;
        }
        _ => return None,
    }
    Some(())
}

/// The same numbers on every machine: a counter through a mixing function (SplitMix64).
fn generate(name: &str, kind: &str, args: &[(String, f64)], n: usize) -> Result<Vec<f64>, Diagnostic> {
    let get = |key: &str, default: Option<f64>| {
        args.iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| *v)
            .or(default)
            .ok_or_else(|| wrong(format!("{kind}(..) for {name:?} lacks `{key}`")))
    };
    let seed = get("seed", Some(0.0))? as u64;
    let unit = |k: usize| {
        let mut z =
            (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add((k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    match kind {
        "random" => {
            let p = get("p", None)?;
            Ok((0..n).map(|k| f64::from(u8::from(unit(k) < p))).collect())
        }
        "uniform" => {
            let (lo, hi) = (get("lo", None)?, get("hi", None)?);
            Ok((0..n).map(|k| lo + (hi - lo) * unit(k)).collect())
        }
        "whole" => {
            let (lo, hi) = (get("lo", None)?, get("hi", None)?);
            Ok((0..n).map(|k| (lo + (hi - lo + 1.0) * unit(k)).floor().min(hi)).collect())
        }
        other => Err(wrong(format!("`{other}` is not a generator"))
            .with_hint("random(p, seed) for spikes, uniform(lo, hi, seed), whole(lo, hi, seed) for integers")),
    }
}

/// An array as text: a raster for spikes, else a list. Reads back to the same bits (any NaN being the same).
pub fn text_of(t: &Tensor) -> String {
    let ticks = t.shape().first().copied().unwrap_or(0);
    let cells = t.len().checked_div(ticks).unwrap_or(0);
    if t.dtype() == DType::Bool {
        let row =
            |c: usize| (0..ticks).map(|k| if t.bytes()[k * cells + c] != 0 { '1' } else { '.' }).collect::<String>();
        let rows: Vec<String> = (0..cells).map(row).collect();
        return format!("\"{}\"", rows.join("|"));
    }
    let mut out = String::new();
    list(t, 0, 0, t.len(), &mut out);
    out
}

fn list(t: &Tensor, axis: usize, at: usize, len: usize, out: &mut String) {
    if axis == t.shape().len() {
        out.push_str(&element(t, at));
        return;
    }
    out.push('[');
    let (n, each) = (t.shape()[axis], len.checked_div(t.shape()[axis]).unwrap_or(0));
    for k in 0..n {
        if k > 0 {
            out.push_str(", ");
        }
        list(t, axis + 1, at + k * each, each, out);
    }
    out.push(']');
}

/// The shortest text that reads back to the element.
pub fn element(t: &Tensor, k: usize) -> String {
    if let (true, Some(x)) = (t.dtype().is_int(), t.get_int(k)) {
        return x.to_string();
    }
    let x = t.get_f64(k);
    match t.dtype() {
        _ if x.is_nan() => "\"nan\"".to_owned(),
        _ if x.is_infinite() => (if x > 0.0 { "\"inf\"" } else { "\"-inf\"" }).to_owned(),
        DType::F32 => format!("{:?}", x as f32),
        DType::F64 | DType::F16 | DType::BF16 => format!("{x:?}"),
        _ => format!("{x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(dtype: DType, shape: &[usize]) -> Port {
        Port { name: "y".to_owned(), dtype, shape: shape.to_vec(), every: 1 }
    }

    #[test]
    fn text_reads_back_to_the_same_bits() {
        let values = vec![0.1f32, -0.0, f32::MIN_POSITIVE / 4.0, f32::INFINITY, 16777217.0, f32::NAN];
        let t = Tensor::from_vec(vec![3, 2], values).unwrap();
        let list = Value::List(serde_json::from_str(&text_of(&t)).unwrap());
        let back = array_of(&port(DType::F32, &[2]), &list, None).unwrap();
        let bits = |t: &Tensor| {
            t.as_slice::<f32>().iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<_>>()
        };
        assert_eq!(bits(&back), bits(&t));
        let s = Tensor::from_bools(vec![3, 2], &[true, false, false, false, true, true]).unwrap();
        assert_eq!(text_of(&s), "\"1.1|..1\"");
        let back = array_of(&port(DType::Bool, &[2]), &Value::Raster("1.1|..1".to_owned()), Some(3)).unwrap();
        assert_eq!(back, s);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let p = port(DType::Bool, &[2]);
        for (value, ticks) in [
            (Value::Raster("1|".to_owned()), None),
            (Value::Raster("1|1".to_owned()), Some(2)),
            (Value::List(serde_json::json!([[1]])), None),
            (Value::List(serde_json::json!([[1, 2]])), None),
            (Value::Number(1.0), None),
            (Value::Generator("random".to_owned(), vec![]), Some(1)),
            (Value::Generator("noise".to_owned(), vec![]), Some(1)),
            (Value::Unknown, Some(1)),
        ] {
            assert_eq!(array_of(&p, &value, ticks).unwrap_err().code, "E0842", "{value:?}");
        }
    }

    #[test]
    fn generators_repeat_and_keep_their_bounds() {
        let g = Value::Generator("random".to_owned(), vec![("p".to_owned(), 0.25), ("seed".to_owned(), 7.0)]);
        let t = array_of(&port(DType::Bool, &[40]), &g, Some(100)).unwrap();
        assert_eq!(t, array_of(&port(DType::Bool, &[40]), &g, Some(100)).unwrap());
        let ones: usize = t.bytes().iter().map(|b| usize::from(*b)).sum();
        assert!((800..1200).contains(&ones), "{ones}");
    }
}
