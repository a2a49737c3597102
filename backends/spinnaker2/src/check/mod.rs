//! The checker: reads a bundle and the model's graph, and nothing of the mapper.
//!
//! It shows that
//!
//! - every core is there, is not dead, and holds what it is given: code, data, frames that do not overlap, a ring for all
//!   packets of a slot;
//! - keys do not collide, every packet is led to exactly the cores that need it, once, and tables fit their routers;
//! - what a core computes and sends is the model's (`graph`): every synapse of a target stands in one piece, with the
//!   weight and, over all that packets and rings delay, with the delay of the model;
//! - the tables of its scheduler say what the manifest says, and its constants and first state are those of its graph.
//!
//! The last step needs the lowering, which puts constants in order; it is lent as a [`Toolchain`]. Machine code is compared
//! as far as it is the scheduler's; the kernels' is held against the interpreter by runs.

mod graph;
mod image;

use crate::bundle::{Bundle, Core, Manifest, Place, Role, Source, Stream};
use crate::compile::Toolchain;
use crate::route::neighbour;
use crate::split::row_count;
use nc_ir::Diagnostic;
use nc_ir::graph::{Module, ValueId};
use nc_ir::types::TensorType;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Mutex, PoisonError};

/// Shows that a bundle is the model `module`, whose equations are solved.
///
/// # Errors
/// E0858 with the first thing that is wrong on each core.
pub fn check(
    bundle: &Bundle,
    module: &Module,
    max_synapses: u64,
    tools: &dyn Toolchain,
) -> Result<(), Vec<Diagnostic>> {
    let one = |e: String| vec![wrong(e)];
    let m = &bundle.manifest;
    streams(m, module).map_err(one)?;
    cores(m).map_err(one)?;
    interface(m, module).map_err(one)?;
    routes(m).map_err(one)?;
    let mut model = graph::Model::new(module, max_synapses);
    let mut initial = Vec::new();
    let mut errors = Vec::new();
    // Graphs are read twice, not kept: together they take more memory than the model.
    for c in &m.cores {
        let proved = match piece(bundle, c).map_err(one)? {
            Some(p) => graph::prove(&mut model, &p, c, m),
            None => Ok(vec![None; c.receives.len()]),
        };
        match proved {
            Ok(i) => initial.push(i),
            Err(e) => errors.push(wrong(format!("{} ({}): {e}", c.place, c.name))),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let receivers = m.receivers();
    let found: Vec<Mutex<Option<String>>> = m.cores.iter().map(|_| Mutex::new(None)).collect();
    tools.execute(m.cores.len(), &|k| {
        let c = &m.cores[k];
        let read = piece(bundle, c);
        let checked = read.and_then(|p| image::check(bundle, c, p.as_ref(), &initial[k], module, tools, &receivers));
        if let Err(e) = checked {
            *found[k].lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{} ({}): {e}", c.place, c.name));
        }
    });
    let errors: Vec<Diagnostic> =
        found.into_iter().filter_map(|e| e.into_inner().unwrap_or_else(PoisonError::into_inner)).map(wrong).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn wrong(e: String) -> Diagnostic {
    Diagnostic::error_nowhere("E0858", format!("the bundle is not the model: {e}"))
        .with_hint("a bundle that was changed is written anew by `nc compile`; otherwise this is a fault of nc")
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// The graph of a core's piece.
fn piece(bundle: &Bundle, c: &Core) -> Result<Option<Module>, String> {
    let Some(name) = &c.graph else {
        ensure(c.role != Role::Compute, || format!("{} computes, but has no graph", c.place))?;
        return Ok(None);
    };
    let bytes = bundle.files.get(name).ok_or_else(|| format!("{name} is missing"))?;
    let text = std::str::from_utf8(bytes).map_err(|e| format!("{name}: {e}"))?;
    let module = nc_ir::graph::text::parse(text).map_err(|e| format!("{name}: {e:?}"))?;
    Ok(Some(module))
}

/// Streams are values of the model, with keys of their own.
fn streams(m: &Manifest, module: &Module) -> Result<(), String> {
    let bits = m.machine.router.key_bits.value;
    let mut blocks = Vec::new();
    for s in &m.streams {
        let ty: &TensorType = match s.source {
            Source::Input(k) => {
                let port = module.inputs.get(k).ok_or_else(|| format!("{}: the model has no input {k}", s.name))?;
                module.graph.ty(port.value)
            }
            Source::Value(v) => {
                let value = module.graph.values.get(v as usize);
                &value.ok_or_else(|| format!("{}: the model has no value {v}", s.name))?.ty
            }
        };
        let shape = ty.extents().unwrap_or_default();
        let elements: u64 = shape.iter().product();
        let fits = s.dtype == ty.dtype.name()
            && s.rows == row_count(&shape).unwrap_or(1)
            && s.rows.checked_mul(s.row_elements) == Some(elements);
        ensure(fits, || format!("{} has not the type of the model's value", s.name))?;
        if let Some(order) = &s.order {
            let mut seen = vec![false; s.rows as usize];
            let each = |i: &u32| seen.get_mut(*i as usize).is_some_and(|x| !std::mem::replace(x, true));
            let all = order.len() as u64 == s.rows && s.row_elements == 1 && order.iter().all(each);
            ensure(all && matches!(s.source, Source::Value(_)), || format!("the order of {} is none", s.name))?;
        }
        let parts = s.parts >= 1 && s.parts <= s.rows.max(1);
        ensure(parts && (s.slot as usize) < m.slots.len(), || format!("{} has no parts or no slot", s.name))?;
        let block = s.keys.is_power_of_two() && u64::from(s.key).is_multiple_of(s.keys) && s.shift < 32;
        let room = block && s.elements_of(0) <= 1 << s.shift && (s.parts << s.shift) <= s.keys;
        let end = u64::from(s.key) + s.keys;
        ensure(room && end <= 1 << bits, || format!("the keys of {} are no block that holds its parts", s.name))?;
        blocks.push((s.key, end, &s.name));
    }
    blocks.sort_unstable();
    for pair in blocks.windows(2) {
        let apart = pair[0].1 <= u64::from(pair[1].0);
        ensure(apart, || format!("the keys of {} and {} collide", pair[0].2, pair[1].2))?;
    }
    Ok(())
}

/// Cores are there, and everything lies in their memory without overlap.
fn cores(m: &Manifest) -> Result<(), String> {
    let c = &m.machine.core;
    let mut used: FxHashSet<Place> = FxHashSet::default();
    for k in &m.cores {
        let at = &k.place;
        let there = u64::from(at.chip) < m.machine.chip_count() && at.core < c.usable.value;
        ensure(there && !m.dead.contains(at), || format!("{at} is not there or dead"))?;
        ensure(used.insert(*at), || format!("{at} is used twice"))?;
        ensure((k.slot as usize) < m.slots.len(), || format!("{at} runs in a slot that is not there"))?;
        let streams = k.sends.iter().map(|s| s.stream).chain(k.receives.iter().map(|r| r.stream));
        ensure(streams.into_iter().all(|s| s < m.streams.len()), || format!("{at}: a stream that is not there"))?;
        ensure(k.memory.code <= c.code_bytes.value, || format!("the code of {at} does not fit"))?;
        let data = k.memory.data();
        ensure(data <= c.data_bytes.value, || {
            format!("the data of {at} takes {data} bytes, there are {}", c.data_bytes.value)
        })?;
        ensure(k.memory.stack >= c.stack_bytes.value, || format!("{at} has too little stack"))?;
        let mut ranges: Vec<(u64, u64)> = vec![
            (u64::from(k.memory.constants_at), k.memory.constants),
            (u64::from(k.memory.arena_at), k.memory.arena),
            (u64::from(k.fifo.address), u64::from(k.fifo.entries) * u64::from(k.fifo.entry_bytes)),
        ];
        for s in &k.sends {
            let x = &m.streams[s.stream];
            ensure(s.part < x.parts, || format!("{at} sends a part of {} that is not there", x.name))?;
            ranges.push((u64::from(s.address), x.elements_of(s.part) * x.element_bytes()));
        }
        for r in &k.receives {
            let x = &m.streams[r.stream];
            let fits = r.rows[0] < r.rows[1] && r.rows[1] <= x.rows;
            ensure(fits, || format!("{at} receives rows of {} that are not there", x.name))?;
            let bytes = (r.rows[1] - r.rows[0]) * x.row_elements * x.element_bytes();
            ranges.extend(std::iter::once(r.address).chain(r.spare).map(|a| (u64::from(a), bytes)));
        }
        let (low, high) = (c.code_bytes.value, c.code_bytes.value + c.data_bytes.value - k.memory.stack);
        ranges.retain(|(_, n)| *n > 0);
        ranges.sort_unstable();
        let inside = ranges.iter().all(|(a, n)| *a >= low && a + n <= high && a.is_multiple_of(8));
        ensure(inside, || format!("something on {at} lies outside its data"))?;
        let apart = ranges.windows(2).all(|p| p[0].0 + p[0].1 <= p[1].0);
        ensure(apart, || format!("two things on {at} overlap"))?;
    }
    Ok(())
}

/// Every part is sent once, in its slot, and read no sooner than it can be there; outputs are complete.
fn interface(m: &Manifest, module: &Module) -> Result<(), String> {
    let mut senders: FxHashMap<(usize, u64), usize> = FxHashMap::default();
    for (k, c) in m.cores.iter().enumerate() {
        for s in &c.sends {
            let x = &m.streams[s.stream];
            let input = matches!(x.source, Source::Input(_));
            ensure(input == (c.role == Role::Source), || format!("{} sends what it does not have", c.place))?;
            ensure(c.slot == x.slot, || format!("{} sends {} in another slot than it should", c.place, x.name))?;
            ensure(senders.insert((s.stream, s.part), k).is_none(), || format!("a part of {} is sent twice", x.name))?;
        }
        for r in &c.receives {
            let x = &m.streams[r.stream];
            let wrong = || format!("{} reads {} before it is there", c.place, x.name);
            match c.role {
                Role::Sink => ensure(!r.late && r.spare.is_none() && c.slot == 0 && x.slot > 0, wrong)?,
                _ if r.late => ensure(r.spare.is_some() == (x.slot < c.slot), wrong)?,
                _ => ensure(x.slot < c.slot && r.spare.is_none(), wrong)?,
            }
        }
    }
    for (k, s) in m.streams.iter().enumerate() {
        for p in 0..s.parts {
            ensure(senders.contains_key(&(k, p)), || format!("nobody sends part {p} of {}", s.name))?;
        }
    }
    let ports = |list: &[crate::bundle::Port], values: Vec<(String, ValueId, u64)>| -> Result<(), String> {
        ensure(list.len() == values.len(), || "the bundle has other outputs than the model".into())?;
        for (p, (name, v, every)) in list.iter().zip(values) {
            let found = p.stream.and_then(|s| m.streams.get(s));
            let is = found.is_some_and(|s| s.source == Source::Value(v.0)) && p.name == name && p.every == every;
            ensure(is, || format!("the output `{name}` is another value"))?;
            let id = p.stream.unwrap_or_default();
            let sinks = m.cores.iter().filter(|c| c.role == Role::Sink).flat_map(|c| &c.receives);
            let mut rows: Vec<[u64; 2]> = sinks.filter(|r| r.stream == id).map(|r| r.rows).collect();
            rows.sort_unstable();
            let mut at = 0;
            for r in rows {
                ensure(r[0] == at, || format!("rows of the output `{name}` are collected twice or not at all"))?;
                at = r[1];
            }
            ensure(Some(at) == found.map(|s| s.rows), || format!("rows of the output `{name}` are not collected"))?;
        }
        Ok(())
    };
    ports(&m.outputs, module.outputs.iter().map(|p| (p.name.clone(), p.value, 1)).collect())?;
    ports(&m.probes, module.probes.iter().map(|p| (p.name.clone(), p.value, p.every.max(1))).collect())
}

/// The keys of a part.
fn block(s: &Stream, part: u64) -> (u32, u32) {
    (s.key_of(part), ((1u64 << s.shift) - 1) as u32)
}

/// Every packet comes to the cores that need it, once, and to no other; rings hold what comes in a slot.
fn routes(m: &Manifest) -> Result<(), String> {
    let chips = m.machine.chip_count();
    ensure(m.tables.len() as u64 == chips, || format!("{} routing tables for {chips} chips", m.tables.len()))?;
    for (chip, t) in m.tables.iter().enumerate() {
        let (n, most) = (t.len() as u64, u64::from(m.machine.router.entries.value));
        ensure(n <= most, || format!("the table of chip {chip} has {n} entries, its router holds {most}"))?;
    }
    let of: FxHashMap<Place, usize> = m.cores.iter().enumerate().map(|(k, c)| (c.place, k)).collect();
    let mut load: FxHashMap<(usize, u32), u64> = FxHashMap::default();
    let receivers = m.receivers();
    for (sender, c) in m.cores.iter().enumerate() {
        for s in c.sends.iter().filter(|s| receivers.wants(s.stream, s.part)) {
            let x = &m.streams[s.stream];
            let (key, low) = block(x, s.part);
            let name = || format!("part {} of {}", s.part, x.name);
            let mut reached: FxHashSet<usize> = FxHashSet::default();
            let mut open = vec![c.place.chip];
            let mut passed: FxHashSet<u32> = FxHashSet::default();
            while let Some(chip) = open.pop() {
                ensure(passed.insert(chip), || format!("{} comes to chip {chip} twice", name()))?;
                let mut takes = m.tables[chip as usize].iter().filter(|e| (e.key ^ key) & e.mask & !low == 0);
                let Some(e) = takes.next() else { return Err(format!("{} finds no entry on chip {chip}", name())) };
                ensure(takes.next().is_none(), || format!("{} finds two entries on chip {chip}", name()))?;
                ensure(e.mask & low == 0, || format!("an entry on chip {chip} takes only some of {}", name()))?;
                for core in &e.cores {
                    let at = Place { chip, core: *core };
                    let to = of.get(&at).ok_or_else(|| format!("{} is sent to {at}, which is off", name()))?;
                    ensure(reached.insert(*to), || format!("{} comes to {at} twice", name()))?;
                }
                for link in &e.links {
                    let next = neighbour(&m.machine, chip, *link);
                    open.push(next.ok_or_else(|| format!("chip {chip} has nothing on link {link}"))?);
                }
            }
            let need: FxHashSet<usize> = receivers.cores(s.stream, s.part).collect();
            if let Some(k) = need.iter().find(|k| !reached.contains(k)) {
                return Err(format!("{} is not sent to {}, which needs it", name(), m.cores[*k].place));
            }
            if let Some(k) = reached.iter().find(|k| !need.contains(k)) {
                return Err(format!("{} is sent to {}, which does not need it", name(), m.cores[*k].place));
            }
            for k in reached {
                *load.entry((k, m.cores[sender].slot)).or_default() += x.elements_of(s.part);
            }
        }
    }
    for ((k, _), packets) in load {
        let c = &m.cores[k];
        ensure(packets <= u64::from(c.fifo.entries), || {
            format!("{packets} packets can come to {} in a slot, its ring holds {}", c.place, c.fifo.entries)
        })?;
    }
    Ok(())
}
