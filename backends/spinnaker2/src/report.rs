//! What people read about a mapping, a bundle and its runs.

mod html;

pub use html::html;

use crate::bundle::{Manifest, Memory, Role};
use crate::compile::{MARGIN, Mapping, Options, host_cycles, roles};
use crate::emulate::Statistics;
use std::fmt::Write;

/// A number with its thousands apart.
pub(crate) fn grouped(x: u64) -> String {
    let digits = x.to_string();
    let mut out = String::new();
    for (k, c) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// A time in a unit that suits it.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.3} s"),
        s if s >= 1e-3 => format!("{:.3} ms", s * 1e3),
        s => format!("{:.2} us", s * 1e6),
    }
}

/// An energy in a unit that suits it.
pub(crate) fn energy(joules: f64) -> String {
    match joules {
        j if j >= 1.0 => format!("{j:.3} J"),
        j if j >= 1e-3 => format!("{:.3} mJ", j * 1e3),
        j => format!("{:.3} uJ", j * 1e6),
    }
}

/// What limits a tick: its longest part, in words.
pub fn limit(m: &Manifest) -> String {
    let all: u64 = m.slots.iter().map(|s| s.compute_cycles + s.send_cycles).sum();
    let parts = m.slots.iter().flat_map(|s| [(s.compute_cycles, s, "computing in"), (s.send_cycles, s, "packets of")]);
    let Some((cycles, slot, what)) = parts.max_by_key(|(c, ..)| *c) else { return "nothing".to_owned() };
    if host_cycles(m) > all {
        return "the host link".to_owned();
    }
    format!("{what} slot {} ({:.0} % of all slots)", slot.name, 100.0 * cycles as f64 / all.max(1) as f64)
}

/// A bundle in a few lines.
pub fn summary(m: &Manifest) -> String {
    let mut out = String::new();
    let [sources, pieces, sinks] = roles(m);
    let usable = m.machine.usable_cores().saturating_sub(m.dead.len() as u64);
    let _ = writeln!(
        out,
        "{}: {} cores of {usable} on {} ({sources} for inputs, {pieces} compute, {sinks} for outputs)",
        m.model,
        m.cores.len(),
        m.machine.name
    );
    let most = |f: fn(&Memory) -> u64| m.cores.iter().map(|c| f(&c.memory)).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "memory    at most {} of {} bytes of code and {} of {} bytes of data on a core",
        grouped(most(|x| x.code)),
        grouped(m.machine.core.code_bytes.value),
        grouped(most(Memory::data)),
        grouped(m.machine.core.data_bytes.value)
    );
    let entries = m.tables.iter().map(Vec::len).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "routing   {} streams, at most {entries} of {} entries on a chip",
        m.streams.len(),
        grouped(u64::from(m.machine.router.entries.value))
    );
    let tick = m.tick_cycles as f64 / m.clock_hz();
    let slots: u64 = m.slots.iter().map(|s| s.compute_cycles + s.send_cycles).sum();
    let _ = write!(
        out,
        "tick      {} in {} slots that take {} when {}",
        time(tick),
        m.slots.len(),
        time(slots as f64 / m.clock_hz()),
        sized_for(m)
    );
    match m.dt {
        Some(dt) if tick > dt * 1.0001 => {
            let _ = writeln!(out, "; {:.2} times as long as the model's {}", tick / dt, time(dt));
        }
        Some(dt) => {
            let _ = writeln!(out, "; the model's is {}", time(dt));
        }
        None => out.push('\n'),
    }
    let _ = writeln!(out, "limit     {}", limit(m));
    if let Some(text) = latency(m) {
        let _ = writeln!(out, "pipeline  {text}");
    }
    out
}

/// How much later outputs and probes of a retimed model come; `None` if it is not retimed.
pub fn latency(m: &Manifest) -> Option<String> {
    if !m.pipeline {
        return None;
    }
    let ports = || m.outputs.iter().chain(&m.probes);
    if ports().all(|p| p.latency == 0) {
        return Some(
            "every output comes in its own tick: no part of the model feeds another within a tick, or all \
                     depend on each other"
                .to_owned(),
        );
    }
    let ms = |ticks: u64| match m.dt {
        Some(dt) => format!(" ({})", time(ticks as f64 * dt)),
        None => String::new(),
    };
    let one = |p: &crate::bundle::Port| {
        let ticks = if p.latency == 1 { "tick" } else { "ticks" };
        format!("{} by {} {ticks}{}", p.name, p.latency, ms(p.latency))
    };
    let late: Vec<String> = ports().filter(|p| p.latency > 0).take(12).map(one).collect();
    let more = match ports().filter(|p| p.latency > 0).count() {
        n if n > late.len() => format!(" and {} more", n - late.len()),
        _ => String::new(),
    };
    Some(format!("later than in the model, and zero before: {}{more}", late.join(", ")))
}

/// What a run on the emulated chip took: a line for time, energy and packets each. Of several samples the mean.
pub fn run(m: &Manifest, runs: &[Statistics]) -> String {
    let ticks: u64 = runs.iter().map(|r| r.ticks).sum();
    if ticks == 0 {
        return String::new();
    }
    let n = ticks as f64;
    let seconds: f64 = runs.iter().map(|r| r.seconds).sum();
    let joules: f64 = runs.iter().map(Statistics::energy).sum();
    let part = |k: usize| energy(runs.iter().map(|r| r.joules[k]).sum::<f64>() / n);
    let mut out = String::new();
    let level = m.level().map_or("?", |l| l.name.as_str());
    let _ = writeln!(
        out,
        "on the chip (estimated, level {level}): {} and {} per tick, {:.3} W",
        time(seconds / n),
        energy(joules / n),
        joules / seconds
    );
    if let Some(text) = latency(m) {
        let _ = writeln!(out, "  pipeline: {text}");
    }
    let _ = writeln!(
        out,
        "  energy per tick: {} for chips, {} for sleeping cores, {} for cycles; routers and links are not counted",
        part(0),
        part(1),
        part(2)
    );
    let packets: u64 = runs.iter().map(|r| r.packets).sum();
    let received: u64 = runs.iter().map(|r| r.received).sum();
    let waiting = runs.iter().map(|r| r.most_waiting).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "  packets per tick: {:.1} sent, {:.1} received; at most {waiting} waited for a core",
        packets as f64 / n,
        received as f64 / n
    );
    for (k, s) in m.slots.iter().enumerate() {
        let most = |p: usize| runs.iter().filter_map(|r| r.slots.get(k)).map(|x| x[p]).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "  slot {}: computing {} of {} cycles, done after {} of {}",
            s.name,
            grouped(most(0)),
            grouped(s.compute_cycles),
            grouped(most(1)),
            grouped(s.compute_cycles + s.send_cycles)
        );
    }
    out
}

/// A mapping without code, as text.
pub fn map(mapping: &Mapping, options: &Options) -> String {
    let machine = &options.machine;
    let mut out = String::new();
    let p = &mapping.placement;
    let _ = writeln!(out, "machine {}: {} cores", machine.name, machine.usable_cores());
    let _ = writeln!(
        out,
        "placement: {} weighted hops at the start, {} after {} moves",
        grouped(p.start),
        grouped(p.cost),
        grouped(p.moves)
    );
    for (chip, (raw, table)) in mapping.tables.raw.iter().zip(&mapping.tables.tables).enumerate() {
        if !table.is_empty() {
            let _ = writeln!(out, "chip {chip}: {raw} routes in {} entries", table.len());
        }
    }
    out.push_str("\nstreams\n");
    for s in &mapping.plan.streams {
        let _ = writeln!(
            out,
            "  {}: {} x {} {}, {} parts, keys {:#010x} to {:#010x}, slot {}",
            s.name,
            s.rows,
            s.row_elements,
            s.dtype,
            s.parts,
            s.key,
            u64::from(s.key) + s.keys - 1,
            s.slot
        );
    }
    out.push_str("\ncores\n");
    let room = machine.core.data_bytes.value;
    for ((t, m), place) in mapping.plan.tasks.iter().zip(&mapping.maps).zip(&p.places) {
        let rows = t.rows.map_or_else(String::new, |r| format!("[{}..{}]", r[0], r[1]));
        let x = &m.memory;
        let _ = writeln!(
            out,
            "  {}:{} slot {} {}{rows}: {} of {room} bytes of data ({} constants, {} state, {} frames, {} packets, \
             {} tables, {} stack)",
            place.chip,
            place.core,
            t.slot,
            t.name,
            x.data(),
            x.constants,
            x.arena,
            x.frames,
            x.fifo,
            x.tables,
            x.stack
        );
    }
    out
}

/// What a loader is told: which cores run, which file each loads, where the host writes inputs and reads outputs. The
/// names of the first level are those that the vendor's loader is publicly known to use; the rest is ours.
///
/// # Errors
/// What JSON cannot hold.
pub fn load_spec(m: &Manifest) -> Result<String, String> {
    let name = |p: &crate::bundle::Place| format!("{}:{}", p.chip, p.core);
    let regions = |role: Role| -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        for c in m.cores.iter().filter(|c| c.role == role) {
            let sent = c.sends.iter().map(|s| {
                let x = &m.streams[s.stream];
                (s.stream, s.address, [x.row_of(s.part), x.row_of(s.part + 1)])
            });
            let received = c.receives.iter().map(|r| (r.stream, r.address, r.rows));
            let list: Vec<_> = if role == Role::Source { sent.collect() } else { received.collect() };
            for (stream, address, rows) in list {
                let s = &m.streams[stream];
                let bytes = (rows[1] - rows[0]) * s.row_elements * s.element_bytes();
                let mut region = serde_json::json!({
                    "pe": name(&c.place), "array": s.name, "rows": rows, "address": address, "bytes": bytes,
                });
                // Which rows of the model these are.
                let order = s.order.as_ref().and_then(|o| o.get(rows[0] as usize..rows[1] as usize));
                if let (Some(order), Some(region)) = (order, region.as_object_mut()) {
                    region.insert("order".to_owned(), serde_json::json!(order));
                }
                all.push(region);
            }
        }
        all
    };
    let spec = serde_json::json!({
        "active_pes": m.cores.iter().map(|c| name(&c.place)).collect::<Vec<_>>(),
        "mem_files": m.cores.iter().map(|c| serde_json::json!({ "pe": name(&c.place), "file": c.image })).collect::<Vec<_>>(),
        "routing_files": (0..m.tables.len()).map(|k| format!("routes-{k}.bin")).collect::<Vec<_>>(),
        "duration_in_s": m.tick_cycles as f64 / m.clock_hz(),
        "mem_data_to_send": regions(Role::Source),
        "mem_regions_to_read": regions(Role::Sink),
    });
    serde_json::to_string_pretty(&spec).map_err(|e| e.to_string())
}

/// What slots are sized for.
pub(crate) fn sized_for(m: &Manifest) -> String {
    let rest = match m.activity {
        a if a >= 1.0 => "everything is active".to_owned(),
        a => format!("{}% of what is mostly zero is active", (a * 1e4).round() / 1e2),
    };
    match m.streams.iter().filter(|s| s.measured.is_some()).count() {
        0 => rest,
        n => format!("{rest}, of {n} values that a profile knows {MARGIN} times as much as measured"),
    }
}
