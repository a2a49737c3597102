//! `nc check`: what a model is, and what was chosen for it.

use crate::args::{CheckArgs, Target};
use crate::machine::face_of;
use crate::render::Reporter;
use crate::{Outcome, driver, print, wishes};
use nc_compiler::cost::{Choice, Origin, Reason};
use nc_compiler::{Compiled, compile, prepare};
use nc_ir::graph::Module;
use nc_ir::graph::connect::expand;
use nc_ir::{Diagnostic, Severity};
use nc_runtime::run::{Face, Port};
use std::fmt::Write;

/// Most synapses of one `connect` that are drawn to be counted.
const COUNTED: u64 = 1 << 24;

/// Runs the command.
///
/// # Errors
/// What is wrong with the model.
pub fn check(args: &CheckArgs, reporter: &mut Reporter) -> Outcome {
    let loaded = driver::load(&args.model, &args.probes, reporter)?;
    let module = loaded.module;
    let face = face_of(&module)?;
    let solved = prepare(module.clone(), &nc_compiler::Options::reference(), &mut Vec::new())?;
    let mut options = args.passes.options(Target::Cpu, args.model.max_memory);
    options.wishes = wishes::of(&args.wishes, Target::Cpu, &args.model.model, &loaded.fingerprint, reporter)?;
    let compiled = match compile(module.clone(), &options) {
        Ok(compiled) => Some(compiled),
        Err(list) => {
            // The model is right all the same: it runs on the interpreter.
            for d in list {
                let message = format!("not for the target cpu: {}", d.message);
                reporter.report(&Diagnostic { severity: Severity::Warning, message, ..d });
            }
            None
        }
    };
    print(&describe(&module, &solved, &face, compiled.as_ref()))
}

fn describe(module: &Module, solved: &Module, face: &Face, compiled: Option<&Compiled>) -> String {
    let mut out = String::new();
    let clock = module.dt.map_or_else(|| "no clock".to_owned(), |dt| format!("clock {} ms", tidy(dt.0 * 1e3)));
    let _ = writeln!(out, "{}: {clock}, seed {}", module.name, module.seed);
    if !solved.choices.is_empty() {
        let width = solved.choices.iter().map(|c| c.subject.chars().count()).max().unwrap_or(0);
        out.push_str("\nchoices\n");
        for c in &solved.choices {
            let _ = writeln!(out, "  {:width$}  {}", c.subject, c.text);
        }
    }
    out.push_str("\narrays\n");
    for (kind, ports) in [("input", &face.inputs), ("output", &face.outputs), ("probe", &face.probes)] {
        for p in ports {
            let every = if p.every > 1 { format!(", every {} ticks", p.every) } else { String::new() };
            let _ = writeln!(out, "  {kind:6}  {}: {}{every}", p.name, type_of(p));
        }
    }
    let mut rows = Vec::new();
    for s in &module.states {
        let ty = module.graph.ty(s.read);
        rows.push((s.name.clone(), ty.to_string(), ty.bytes().unwrap_or(0)));
    }
    table(&mut out, "state", &rows);
    let rows: Vec<_> = (module.lines.iter())
        .map(|l| {
            let bytes = l.ty.bytes().unwrap_or(0).saturating_mul(u64::from(l.depth));
            (l.name.clone(), format!("{}, {} ticks", l.ty, l.depth), bytes)
        })
        .collect();
    table(&mut out, "delay lines", &rows);
    // Unnamed constants are the compiler's own; a scalar has no size worth a line.
    let rows: Vec<_> = (module.consts.iter())
        .filter(|c| !c.name.is_empty() && !c.data.shape().is_empty())
        .map(|c| (c.name.clone(), c.data.ty().to_string(), c.data.bytes().len() as u64))
        .collect();
    table(&mut out, "weights", &rows);
    if !module.conns.is_empty() {
        out.push_str("\nsynapses\n");
        let mut total = 0;
        for (k, c) in module.conns.iter().enumerate() {
            let name = if c.name.is_empty() { format!("conn{k}") } else { c.name.clone() };
            match expand(c, module.pools(), COUNTED) {
                Ok(table) => {
                    total += table.len() as u64;
                    let _ = writeln!(out, "  {name}: {}", table.len());
                }
                Err(d) => {
                    let _ = writeln!(out, "  {name}: not counted ({})", d.message);
                }
            }
        }
        let _ = writeln!(out, "  in all: {total}");
    }
    if let Some(c) = compiled {
        let (arena, consts) = (bytes(c.layout.arena_bytes), bytes(c.layout.const_bytes));
        let _ = writeln!(
            out,
            "\ncompiled for cpu\n  {} kernels, {arena} of state and temporaries, {consts} of constants",
            c.program.kernels().count()
        );
        for line in &c.report {
            let _ = writeln!(out, "  {line}");
        }
        products(&mut out, &c.products);
    }
    out
}

/// Appends how products are represented, with what else they could be and what that would cost.
pub fn products(out: &mut String, choices: &[Choice]) {
    if choices.iter().all(|c| c.alternatives.len() < 2) {
        return;
    }
    out.push_str("\nproducts, with predicted times\n");
    for c in choices.iter().filter(|c| c.alternatives.len() > 1) {
        let (rate, origin) = c.activity;
        let origin = match origin {
            Origin::Profile => "measured",
            Origin::Spikes => "the default for spikes",
            Origin::Sparse => "the default for what is mostly zero",
            Origin::Unknown => "nothing known",
        };
        let why = match c.reason {
            Reason::Cost => "",
            Reason::Rule => " by rule",
            Reason::Forced => " as asked for",
        };
        let _ = writeln!(out, "  {}: {}{why}; activity of {} {:.1} %, {origin}", c.name, c.chosen, c.input, rate * 1e2);
        let ways = c.alternatives.iter().map(|a| format!("{} {:.2} us", a.repr, a.ns * 1e-3));
        let _ = writeln!(out, "    {}", ways.collect::<Vec<_>>().join(", "));
    }
}

fn type_of(p: &Port) -> String {
    if p.shape.is_empty() { p.dtype.to_string() } else { format!("{}{:?}", p.dtype, p.shape) }
}

fn table(out: &mut String, title: &str, rows: &[(String, String, u64)]) {
    if rows.is_empty() {
        return;
    }
    let total: u64 = rows.iter().map(|r| r.2).sum();
    let _ = writeln!(out, "\n{title}: {}", bytes(total));
    let name = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or(0);
    let ty = rows.iter().map(|r| r.1.chars().count()).max().unwrap_or(0);
    for (n, t, b) in rows {
        let _ = writeln!(out, "  {n:name$}  {t:ty$}  {:>10}", bytes(*b));
    }
}

/// A number of bytes for people.
pub fn bytes(n: u64) -> String {
    let mut x = n as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if x < 1024.0 {
            return if unit == "bytes" { format!("{n} bytes") } else { format!("{x:.1} {unit}") };
        }
        x /= 1024.0;
    }
    format!("{x:.1} TiB")
}

fn tidy(x: f64) -> String {
    let text = format!("{x:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
