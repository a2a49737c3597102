//! What the command line says about representations: profiles of activity, tables of costs, and pins.

use crate::args::{Target, WishArgs};
use crate::cache::Fingerprint;
use crate::render::Reporter;
use nc_compiler::cost::{Cache, Costs, Repr, Wishes};
use nc_ir::{Diagnostic, Severity};
use nc_runtime::atomic::AtomicFile;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Largest file of JSON that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// What the first key of a profile says.
const PROFILE: &str = "nc-profile-1";
/// What the first key of a table of costs says.
const COSTS: &str = "nc-costs-1";

/// What was counted for a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Name of the product.
    pub product: String,
    /// Name of its input.
    pub input: String,
    /// Elements of the input that were not zero.
    pub nonzero: u64,
    /// All elements of the input.
    pub elements: u64,
}

/// Where the profile of a model lies if no other is named.
pub fn beside(model: &Path) -> PathBuf {
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".profile.json");
    model.with_file_name(name)
}

/// What the arguments say, with the profile beside the model unless there is another or none is wanted.
/// The table of costs is that of processors: what only they have is left out for other targets.
///
/// # Errors
/// E0825 for a file that was named and cannot be used, E0826 for a table of costs that is none.
pub fn of(
    args: &WishArgs,
    target: Target,
    model: &Path,
    fingerprint: &Fingerprint,
    reporter: &mut Reporter,
) -> Result<Wishes, Diagnostic> {
    let mut wishes = Wishes { force: args.force.iter().cloned().collect(), ..Wishes::default() };
    if let Some(path) = &args.costs {
        wishes.costs = read_costs(path)?;
    }
    match target {
        Target::Cpu | Target::Interp | Target::Kernels => {}
        Target::Llvm | Target::Gpu | Target::GpuHost | Target::Spinnaker2 => wishes.costs.window = 0.0,
    }
    let path = match &args.profile {
        Some(path) => path.clone(),
        None => beside(model),
    };
    if args.no_profile || args.profile.is_none() && !path.exists() {
        return Ok(wishes);
    }
    let shown = path.display();
    match read_profile(&path, fingerprint) {
        Ok(counted) => {
            reporter.info(&format!("activity of {} products from {shown}", counted.len()));
            for c in counted {
                let rate = c.nonzero as f64 / c.elements.max(1) as f64;
                // A value that several products take was counted for each of them.
                let of_input = wishes.values.entry(c.input).or_insert(rate);
                *of_input = of_input.max(rate);
                wishes.activity.insert(c.product, rate);
            }
        }
        // A profile that was asked for has to be one; one that lies there need not be.
        Err(d) if args.profile.is_some() && d.code == "E0825" => return Err(d),
        Err(d) => reporter.report(&Diagnostic {
            code: "W0827",
            severity: Severity::Warning,
            message: format!("{}; it is ignored", d.message),
            ..d
        }),
    }
    Ok(wishes)
}

fn read_json(path: &Path, code: &'static str, kind: &str) -> Result<Map<String, Value>, Diagnostic> {
    let shown = path.display();
    let unread = |e: &dyn std::fmt::Display| Diagnostic::error_nowhere(code, format!("{shown} cannot be read: {e}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| unread(&e))?;
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|e| unread(&e))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(o)) if o.get("format").and_then(Value::as_str) == Some(kind) => Ok(o),
        Ok(_) => Err(Diagnostic::error_nowhere(code, format!("{shown} is not of the format {kind}"))),
        Err(e) => Err(unread(&e)),
    }
}

fn hex(f: &Fingerprint) -> String {
    f.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads a profile.
///
/// # Errors
/// E0825 if it is none, W0827 if it is that of another model.
fn read_profile(path: &Path, fingerprint: &Fingerprint) -> Result<Vec<Counted>, Diagnostic> {
    let o = read_json(path, "E0825", PROFILE)?;
    let shown = path.display();
    if o.get("model").and_then(Value::as_str) != Some(&hex(fingerprint)) {
        return Err(Diagnostic::error_nowhere(
            "W0827",
            format!("{shown} was made for another model, or for an older text of it"),
        )
        .with_hint("make it anew with `nc profile`"));
    }
    let wrong = || Diagnostic::error_nowhere("E0825", format!("{shown} is damaged"));
    let products = o.get("products").and_then(Value::as_object).ok_or_else(wrong)?;
    let mut counted = Vec::with_capacity(products.len());
    for (name, c) in products {
        let number = |key: &str| c.get(key).and_then(Value::as_u64).ok_or_else(wrong);
        let (nonzero, elements) = (number("nonzero")?, number("elements")?);
        if nonzero > elements {
            return Err(wrong());
        }
        let input = c.get("input").and_then(Value::as_str).unwrap_or_default().to_owned();
        counted.push(Counted { product: name.clone(), input, nonzero, elements });
    }
    Ok(counted)
}

/// Writes a profile.
///
/// # Errors
/// What the disk refuses.
pub fn write_profile(path: &Path, fingerprint: &Fingerprint, counted: &[Counted]) -> Result<(), Diagnostic> {
    let products: Map<String, Value> = (counted.iter())
        .map(|c| {
            let rate = c.nonzero as f64 / c.elements.max(1) as f64;
            let row = json!({"input": c.input, "nonzero": c.nonzero, "elements": c.elements, "rate": rate});
            (c.product.clone(), row)
        })
        .collect();
    write_json(path, &json!({"format": PROFILE, "model": hex(fingerprint), "products": products}))
}

fn write_json(path: &Path, value: &Value) -> Result<(), Diagnostic> {
    let failed = |e: &dyn std::fmt::Display| {
        Diagnostic::error_nowhere("E0630", format!("{} cannot be written: {e}", path.display()))
    };
    let text = serde_json::to_string_pretty(value).map_err(|e| failed(&e))?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(|e| failed(&e))?;
    file.commit()
}

/// Reads a table of costs.
///
/// # Errors
/// E0826 if it is none, or has a time that is none or is missing.
pub fn read_costs(path: &Path) -> Result<Costs, Diagnostic> {
    let o = read_json(path, "E0826", COSTS)?;
    let shown = path.display();
    let wrong = |what: &str| {
        Diagnostic::error_nowhere("E0826", format!("{shown}: {what}"))
            .with_hint("`nc bench --calibrate` makes such a table")
    };
    let mut costs = Costs::cpu();
    costs.machine = o.get("machine").and_then(Value::as_str).unwrap_or("unnamed").to_owned();
    let times = o.get("ns").and_then(Value::as_object).ok_or_else(|| wrong("there are no times"))?;
    let names: Vec<&str> = costs.times().iter().map(|t| t.0).collect();
    for name in names {
        let Some(ns) = times.get(name).and_then(Value::as_f64) else {
            return Err(wrong(&format!("the time `{name}` is missing")));
        };
        if let Some(t) = costs.time_mut(name) {
            *t = ns;
        }
    }
    let levels = o.get("levels").and_then(Value::as_array).ok_or_else(|| wrong("there are no levels of memory"))?;
    let level = |v: &Value| {
        let number = |key: &str| v.get(key).and_then(Value::as_f64);
        Some(Cache { bytes: number("bytes").unwrap_or(f64::INFINITY), ns_per_byte: number("ns_per_byte")? })
    };
    let levels: Option<Vec<Cache>> = levels.iter().map(level).collect();
    costs.levels = levels.and_then(|l| l.try_into().ok()).ok_or_else(|| wrong("there are three levels of memory"))?;
    if !costs.is_sound() {
        return Err(wrong("a time is no number, or is negative"));
    }
    Ok(costs)
}

/// Writes a table of costs.
///
/// # Errors
/// What the disk refuses.
pub fn write_costs(path: &Path, costs: &Costs) -> Result<(), Diagnostic> {
    let times: BTreeMap<&str, f64> = costs.times().into_iter().collect();
    let levels: Vec<Value> = (costs.levels.iter())
        .map(|l| match l.bytes.is_finite() {
            true => json!({"bytes": l.bytes, "ns_per_byte": l.ns_per_byte}),
            false => json!({"ns_per_byte": l.ns_per_byte}),
        })
        .collect();
    write_json(path, &json!({"format": COSTS, "machine": costs.machine, "ns": times, "levels": levels}))
}

/// `NAME=REPR`.
pub fn pin(text: &str) -> Result<(String, Repr), String> {
    let (name, repr) = text.rsplit_once('=').ok_or("expected NAME=REPR, for example h=sparse")?;
    match Repr::from_name(repr) {
        Some(r) => Ok((name.to_owned(), r)),
        None => Err(format!("`{repr}` is none of {}", Repr::ALL.map(Repr::name).join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_profiles_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("costs.json");
        let mut costs = Costs::cpu();
        costs.machine = "a machine".to_owned();
        *costs.time_mut("gather").unwrap() = 0.125;
        costs.levels[1].ns_per_byte = 0.5;
        write_costs(&path, &costs).unwrap();
        assert_eq!(read_costs(&path).unwrap(), costs);
        std::fs::write(&path, r#"{"format": "nc-costs-1", "ns": {}, "levels": []}"#).unwrap();
        assert_eq!(read_costs(&path).unwrap_err().code, "E0826");
        let counted = vec![Counted { product: "y".into(), input: "x".into(), nonzero: 3, elements: 12 }];
        let path = dir.path().join("m.nd.profile.json");
        assert_eq!(beside(&dir.path().join("m.nd")), path);
        write_profile(&path, &[7; 32], &counted).unwrap();
        assert_eq!(read_profile(&path, &[7; 32]).unwrap(), counted);
        assert_eq!(read_profile(&path, &[8; 32]).unwrap_err().code, "W0827");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read_profile(&path, &[7; 32]).unwrap_err().code, "E0825");
    }

    #[test]
    fn pins_are_read() {
        assert_eq!(pin("a=b=sparse-events"), Ok(("a=b".to_owned(), Repr::SparseEvents)));
        assert!(pin("a").is_err() && pin("a=thick").is_err());
    }
}
