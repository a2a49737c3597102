//! The report of a bundle: one page, nothing from outside.

use super::{energy, grouped, limit, time};
use crate::bundle::{Core, Manifest, Memory, Role};
use crate::compile::{host_cycles, roles};
use crate::emulate::{Traffic, worst_traffic};
use crate::place::{node, router};
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1080px;padding:0 1rem;\
color:#1d2433;background:#fff}h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .6rem}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #e3e7ee}\
td:first-child,th:first-child{text-align:left}th{font-weight:600;color:#556}svg{max-width:100%;height:auto}\
.n{color:#667;font-size:.9em}.c{display:flex;flex-wrap:wrap;gap:1.6rem;margin:1rem 0}.c div{min-width:8rem}\
.c b{display:block;font-size:1.25rem}text{font:10px system-ui,sans-serif;fill:#445}";

/// Text that HTML shows as it is.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A colour from white over blue to dark, by a share of 0 to 1.
fn heat(x: f64) -> String {
    let x = x.clamp(0.0, 1.0);
    let mix = |from: f64, to: f64| (from + (to - from) * x.sqrt()).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(232.0, 18.0), mix(240.0, 52.0), mix(250.0, 120.0))
}

/// The page.
pub fn html(m: &Manifest) -> String {
    let mut out = String::new();
    let name = escaped(&m.model);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name} on {}</title>\
         <style>{STYLE}</style></head><body><h1>{name}</h1>",
        escaped(&m.machine.name)
    );
    head(m, &mut out);
    let traffic = worst_traffic(m);
    for chip in 0..m.machine.chip_count() as u32 {
        if m.cores.iter().any(|c| c.place.chip == chip) {
            chip_of(m, chip, &traffic, &mut out);
        }
    }
    slots(m, &mut out);
    layers(m, &mut out);
    figures(m, &mut out);
    out.push_str("</body></html>\n");
    out
}

fn head(m: &Manifest, out: &mut String) {
    let tick = m.tick_cycles as f64 / m.clock_hz();
    let data = m.cores.iter().map(|c| c.memory.data()).max().unwrap_or(0);
    let code = m.cores.iter().map(|c| c.memory.code).max().unwrap_or(0);
    let entries = m.tables.iter().map(Vec::len).max().unwrap_or(0);
    let [sources, pieces, sinks] = roles(m);
    let share = |x: u64, of: u64| 100.0 * x as f64 / of.max(1) as f64;
    let c = &m.machine.core;
    let usable = m.machine.usable_cores() - m.dead.len() as u64;
    let (low, high) = energies(m);
    let cards = [
        (format!("{} of {usable}", m.cores.len()), format!("cores: {sources} in, {pieces} compute, {sinks} out")),
        (format!("{:.0} %", share(data, c.data_bytes.value)), format!("data of the fullest: {} B", grouped(data))),
        (format!("{:.0} %", share(code, c.code_bytes.value)), format!("code of the largest: {} B", grouped(code))),
        (entries.to_string(), format!("routing entries of {}", grouped(u64::from(m.machine.router.entries.value)))),
        (time(tick), m.dt.map_or("a tick".to_owned(), |dt| format!("a tick; the model's is {}", time(dt)))),
        (format!("{} to {}", energy(low), energy(high)), "energy of a tick, asleep to busy".to_owned()),
    ];
    let _ = write!(out, "<p class=\"n\">on {}, what limits it: {}</p><div class=\"c\">", m.machine.name, limit(m));
    for (big, small) in cards {
        let _ = write!(out, "<div><b>{}</b><span class=\"n\">{}</span></div>", escaped(&big), escaped(&small));
    }
    out.push_str("</div>");
    if let Some(text) = super::latency(m) {
        let _ = write!(out, "<p>Pipeline: {}.</p>", escaped(&text));
    }
}

/// Energy of a tick with all cores asleep, and with each busy throughout its slot.
fn energies(m: &Manifest) -> (f64, f64) {
    let Some(level) = m.level() else { return (0.0, 0.0) };
    let tick = m.tick_cycles as f64 / m.clock_hz();
    let idle = m.machine.power.idle_watts.value * m.machine.chip_count() as f64;
    let low = tick * (idle + level.sleep_watts_per_core.value * m.cores.len() as f64);
    let busy: u64 =
        m.cores.iter().map(|c| m.slots.get(c.slot as usize).map_or(0, |s| s.compute_cycles + s.send_cycles)).sum();
    (low, low + busy as f64 * level.joules_per_cycle.value)
}

/// The chip: how full its cores are, and how many packets each link carries if everything is sent.
fn chip_of(m: &Manifest, chip: u32, traffic: &Traffic, out: &mut String) {
    let noc = &m.machine.noc;
    let (columns, rows) = (noc.columns.value, noc.rows.value);
    let (cell, gap) = (58.0, 26.0);
    let step = cell + gap;
    let (w, h) = (f64::from(columns) * step + gap, f64::from(rows) * step + gap + 16.0);
    let _ = write!(
        out,
        "<h2>Chip {chip}</h2><p class=\"n\">Squares are cores, darker the more of their data memory is taken; links are darker \
         the more packets they carry in a tick in which everything is sent. The ring is the router.</p>\
         <svg viewBox=\"0 0 {w} {h}\" width=\"{w}\" role=\"img\" aria-label=\"cores and links\">"
    );
    let by_core: BTreeMap<u32, &Core> =
        m.cores.iter().filter(|c| c.place.chip == chip).map(|c| (c.place.core, c)).collect();
    let at = |x: u32, y: u32| (gap + f64::from(x) * step, gap + f64::from(rows - 1 - y) * step);
    let nodes = (columns * rows) as usize;
    let mesh = &traffic.mesh[chip as usize * nodes * 4..(chip as usize + 1) * nodes * 4];
    let most = mesh.iter().copied().max().unwrap_or(0).max(1) as f64;
    for y in 0..rows {
        for x in 0..columns {
            let (px, py) = at(x, y);
            let link = |k: usize| mesh[(y * columns + x) as usize * 4 + k];
            let back = |x: u32, y: u32, k: usize| mesh[(y * columns + x) as usize * 4 + k];
            if x + 1 < columns {
                for (n, off) in [(link(0), 20.0), (back(x + 1, y, 1), 34.0)] {
                    let _ = write!(
                        out,
                        "<rect x=\"{}\" y=\"{}\" width=\"{gap}\" height=\"7\" fill=\"{}\"><title>{n} packets</title></rect>",
                        px + cell,
                        py + off,
                        heat(n as f64 / most)
                    );
                }
            }
            if y + 1 < rows {
                for (n, off) in [(link(2), 20.0), (back(x, y + 1, 3), 34.0)] {
                    let _ = write!(
                        out,
                        "<rect x=\"{}\" y=\"{}\" width=\"7\" height=\"{gap}\" fill=\"{}\"><title>{n} packets</title></rect>",
                        px + off,
                        py - gap,
                        heat(n as f64 / most)
                    );
                }
            }
        }
    }
    for core in 0..m.machine.core.count.value {
        let (x, y) = node(&m.machine, core);
        let (px, py) = at(x, y);
        let k = core % noc.cores_per_node.value.max(1);
        let (dx, dy) = (f64::from(k % 2) * 29.0, f64::from(k / 2) * 29.0);
        let (fill, title) = match by_core.get(&core) {
            Some(c) => {
                let share = c.memory.data() as f64 / m.machine.core.data_bytes.value as f64;
                let rows = c.rows.map_or_else(String::new, |r| format!("[{}..{}]", r[0], r[1]));
                let role = match c.role {
                    Role::Source => "sends ",
                    Role::Compute => "",
                    Role::Sink => "collects ",
                };
                (heat(share), format!("core {core}: {role}{}{rows}, {:.0} % of data", c.name, 100.0 * share))
            }
            None if m.dead.iter().any(|d| d.chip == chip && d.core == core) => {
                ("#e9b5ae".to_owned(), format!("core {core}: dead"))
            }
            None if core >= m.machine.core.usable.value => ("#d9d9d9".to_owned(), format!("core {core}: the system's")),
            None => ("#fff".to_owned(), format!("core {core}: off")),
        };
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"27\" height=\"27\" rx=\"3\" fill=\"{fill}\" stroke=\"#9aa5b8\">\
             <title>{}</title></rect>",
            px + dx,
            py + dy,
            escaped(&title)
        );
    }
    let (rx, ry) = router(&m.machine);
    let (px, py) = at(rx, ry);
    let _ = write!(
        out,
        "<circle cx=\"{}\" cy=\"{}\" r=\"37\" fill=\"none\" stroke=\"#c2554a\" stroke-width=\"2\"><title>router: {} packets\
         </title></circle><text x=\"{gap}\" y=\"{}\">busiest link: {} packets, router: {} packets in such a tick</text></svg>",
        px + 28.0,
        py + 28.0,
        traffic.routers[chip as usize],
        h - 4.0,
        grouped(most as u64),
        grouped(traffic.routers[chip as usize])
    );
}

fn slots(m: &Manifest, out: &mut String) {
    let (w, bar) = (1000.0, 26.0);
    let scale = w / m.tick_cycles.max(1) as f64;
    let _ = write!(
        out,
        "<h2>A tick</h2><p class=\"n\">Time slots on the length of a tick, {}: computing dark, sending and receiving light. \
         Slots are sized for ticks in which {}, and a quarter more.</p><svg viewBox=\"0 0 {w} {}\" width=\"{w}\">\
         <rect x=\"0\" y=\"4\" width=\"{w}\" height=\"{bar}\" fill=\"#f3f5f8\" stroke=\"#9aa5b8\"/>",
        time(m.tick_cycles as f64 / m.clock_hz()),
        super::sized_for(m),
        bar + 8.0
    );
    let mut at = 0.0;
    for s in &m.slots {
        for (cycles, fill, what) in [(s.compute_cycles, "#2c5aa0", "compute"), (s.send_cycles, "#a9c3ea", "send")] {
            let width = cycles as f64 * scale;
            let _ = write!(
                out,
                "<rect x=\"{at:.2}\" y=\"4\" width=\"{width:.2}\" height=\"{bar}\" fill=\"{fill}\">\
                 <title>{}: {what}, {} cycles</title></rect>",
                escaped(&s.name),
                grouped(cycles)
            );
            at += width;
        }
    }
    out.push_str(
        "</svg><table><tr><th>slot</th><th>compute, cycles</th><th>send and receive, cycles</th><th>time</th></tr>",
    );
    for s in &m.slots {
        let all = (s.compute_cycles + s.send_cycles) as f64 / m.clock_hz();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&s.name),
            grouped(s.compute_cycles),
            grouped(s.send_cycles),
            time(all)
        );
    }
    let _ = write!(
        out,
        "<tr><td>host link, beside the slots</td><td></td><td>{}</td><td>{}</td></tr></table>",
        grouped(host_cycles(m)),
        time(host_cycles(m) as f64 / m.clock_hz())
    );
}

fn layers(m: &Manifest, out: &mut String) {
    out.push_str(
        "<h2>Layers</h2><p class=\"n\">Bytes are those of the fullest core of a layer.</p><table><tr><th>layer</th><th>cores\
         </th><th>rows</th><th>slot</th><th>code</th><th>constants</th><th>state</th><th>frames</th><th>packets</th>\
         <th>data, all</th></tr>",
    );
    let mut by: BTreeMap<(u32, String, u8), Vec<&Core>> = BTreeMap::new();
    for c in &m.cores {
        by.entry((c.slot, c.name.clone(), c.role as u8)).or_default().push(c);
    }
    for ((slot, name, _), cores) in by {
        let most = |f: fn(&Memory) -> u64| grouped(cores.iter().map(|c| f(&c.memory)).max().unwrap_or(0));
        let rows = cores.iter().filter_map(|c| c.rows).map(|r| r[1] - r[0]).sum::<u64>();
        let rows = if rows > 0 { grouped(rows) } else { "all".to_owned() };
        let slot = m.slots.get(slot as usize).map_or("?", |s| s.name.as_str());
        let label = match cores.first().map(|c| c.role) {
            Some(Role::Source) => format!("{name} (input)"),
            Some(Role::Sink) => format!("{name} (output)"),
            _ => name,
        };
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{rows}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            escaped(&label),
            cores.len(),
            escaped(slot),
            most(|x| x.code),
            most(|x| x.constants),
            most(|x| x.arena),
            most(|x| x.frames),
            most(|x| x.fifo),
            most(Memory::data)
        );
    }
    out.push_str("</table>");
}

/// The machine's figures with their sources.
fn figures(m: &Manifest, out: &mut String) {
    let Some(level) = m.level() else { return };
    let c = &m.machine.core;
    let rows = [
        ("clock of a core", format!("{} MHz", level.clock_hz.value / 1e6), &level.clock_hz.source),
        ("code of a core", format!("{} B", grouped(c.code_bytes.value)), &c.code_bytes.source),
        ("data of a core", format!("{} B", grouped(c.data_bytes.value)), &c.data_bytes.source),
        (
            "a core asleep",
            format!("{:.2} mW", level.sleep_watts_per_core.value * 1e3),
            &level.sleep_watts_per_core.source,
        ),
        (
            "a cycle above that",
            format!("{:.1} pJ", level.joules_per_cycle.value * 1e12),
            &level.joules_per_cycle.source,
        ),
        (
            "a chip without its cores",
            format!("{:.1} mW", m.machine.power.idle_watts.value * 1e3),
            &m.machine.power.idle_watts.source,
        ),
        ("a hop", format!("{} cycles", m.machine.noc.cycles_per_hop.value), &m.machine.noc.cycles_per_hop.source),
    ];
    out.push_str(
        "<h2>Figures it rests on</h2><p class=\"n\">survey: read in a public survey; derived: our arithmetic on such figures; \
         ours: our own choice. Cycles are those of our simulator. Routers and links take no energy here.</p>\
         <table><tr><th>figure</th><th>value</th><th>source</th></tr>",
    );
    for (what, value, source) in rows {
        let _ = write!(out, "<tr><td>{what}</td><td>{}</td><td>{}</td></tr>", escaped(&value), escaped(source));
    }
    out.push_str("</table>");
}
