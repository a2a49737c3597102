//! What is handed to a loader, the checker and the emulator: a manifest, an image for each core, routing tables.
//!
//! The manifest is the only description of a bundle; its fields are documented here and in `docs/spinnaker2.md`. The
//! loader's own schema is not public, so this one is ours.

use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What [`Manifest::format`] says.
pub const FORMAT: &str = "nc-spinnaker2";
/// What [`Manifest::version`] says.
pub const VERSION: u32 = 4;
/// Name of the manifest in a bundle.
pub const MANIFEST: &str = "manifest.json";

/// A bundle in memory: files by name.
#[derive(Clone, PartialEq, Debug)]
pub struct Bundle {
    /// The manifest.
    pub manifest: Manifest,
    /// Images (`core-0-12.elf`: chip and core) and graphs (`core-0-12.graph`), by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a bundle holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Share of the elements of values that are mostly zero that slots are sized for, from 0 to 1.
    pub activity: f64,
    /// The model is retimed: each port says by how much.
    pub pipeline: bool,
    /// Name of the model.
    pub model: String,
    /// Seconds of the model's clock, if it has one.
    pub dt: Option<f64>,
    /// The machine it was made for.
    pub machine: Machine,
    /// Number of the performance level in `machine.level`.
    pub level: usize,
    /// Cores that must not be used.
    pub dead: Vec<Place>,
    /// Time slots of a tick, in order: the first brings the inputs, then one for each level of the model.
    pub slots: Vec<Slot>,
    /// Cycles of a core from one tick to the next.
    pub tick_cycles: u64,
    /// Inputs of the model.
    pub inputs: Vec<Port>,
    /// Outputs of the model.
    pub outputs: Vec<Port>,
    /// Probes of the model.
    pub probes: Vec<Port>,
    /// What passes between cores.
    pub streams: Vec<Stream>,
    /// The cores that run.
    pub cores: Vec<Core>,
    /// The routing table of each chip, in the order of chips.
    pub tables: Vec<Vec<Entry>>,
}

/// A core of a chip.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Number of the chip, row by row.
    pub chip: u32,
    /// Number of the core on its chip.
    pub core: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "chip {} core {}", self.chip, self.core)
    }
}

/// A time slot. First the cores of the slot compute, then they send and all others receive; there is no barrier, so
/// both parts have a fixed length.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// For people.
    pub name: String,
    /// Cycles to compute in.
    pub compute_cycles: u64,
    /// Cycles to send and receive in.
    pub send_cycles: u64,
}

/// An array of the model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type by name, for example `f32`.
    pub dtype: String,
    /// Extents.
    pub shape: Vec<u64>,
    /// It is there in ticks that are multiples of this.
    pub every: u64,
    /// Ticks that an output or a probe comes later than in the model, which is retimed. Before, it is zero.
    pub latency: u64,
    /// The stream that carries it; `None` for an input that nothing reads.
    pub stream: Option<usize>,
}

/// A value that passes between cores, element by element. An element that is zero in all its bits is not sent.
///
/// The rows of a stream are dealt out to `parts` producers in nearly equal, contiguous shares: part p begins at row
/// `rows / parts * p + min(p, rows % parts)`. Element e of part p has the key `key + (p << shift) + e`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Name in the model.
    pub name: String,
    /// Number of the model's input, or of the value in the model's graph.
    pub source: Source,
    /// Element type by name. A `bool` goes without payload, another type with one of 32 or 64 bits.
    pub dtype: String,
    /// Rows.
    pub rows: u64,
    /// Elements of a row.
    pub row_elements: u64,
    /// Row `order[q]` of the value is row q of the stream; the same rows if it is `None`.
    pub order: Option<Vec<u32>>,
    /// Producers.
    pub parts: u64,
    /// First key. A multiple of `keys`.
    pub key: u32,
    /// Size of the block of keys, a power of two.
    pub keys: u64,
    /// Binary logarithm of the keys of a part.
    pub shift: u32,
    /// The slot at whose end it is sent.
    pub slot: u32,
    /// Share of its elements that slots are sized for by a profile; without, `activity` is for what is mostly zero.
    pub measured: Option<f64>,
}

/// Where a stream comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An input of the model.
    Input(usize),
    /// A value of the model's graph.
    Value(u32),
}

impl Stream {
    /// First row of a part; of `parts`, one past the last row.
    pub fn row_of(&self, part: u64) -> u64 {
        let parts = self.parts.max(1);
        self.rows / parts * part + part.min(self.rows % parts)
    }

    /// The part that holds a row.
    pub fn part_of(&self, row: u64) -> u64 {
        let parts = self.parts.max(1);
        let (small, large) = (self.rows / parts, self.rows % parts);
        match large * (small + 1) {
            end if row < end => row / (small + 1),
            end => (large + (row - end) / small.max(1)).min(parts - 1),
        }
    }

    /// Elements of a part.
    pub fn elements_of(&self, part: u64) -> u64 {
        (self.row_of(part + 1) - self.row_of(part)) * self.row_elements
    }

    /// First key of a part.
    pub fn key_of(&self, part: u64) -> u32 {
        self.key.wrapping_add((part << self.shift) as u32)
    }

    /// Elements of the smaller parts less the keys of a part, modulo 2^32: what a core adds for each part before an
    /// element.
    pub fn part_stride(&self) -> u32 {
        ((self.rows / self.parts.max(1) * self.row_elements) as u32).wrapping_sub(1u32.wrapping_shl(self.shift))
    }

    /// Bytes of an element; 0 for an unknown type.
    pub fn element_bytes(&self) -> u64 {
        nc_ir::DType::from_name(&self.dtype).map_or(0, |d| d.size() as u64)
    }

    /// How elements travel, see [`kind`].
    pub fn kind(&self) -> u32 {
        kind(&self.dtype)
    }

    /// Bits of a packet of this stream, the payload included.
    pub fn packet_bits(&self, machine: &Machine) -> u32 {
        let payload = match self.kind() {
            0 => 0,
            4 => 64,
            _ => 32,
        };
        machine.router.packet_bits.value + payload
    }
}

/// How an element travels: 0 without payload (`bool`), else 1 plus the binary logarithm of its bytes.
pub fn kind(dtype: &str) -> u32 {
    match nc_ir::DType::from_name(dtype) {
        None | Some(nc_ir::DType::Bool) => 0,
        Some(d) => 1 + d.size().trailing_zeros(),
    }
}

/// What a core is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sends inputs that the host wrote into its memory.
    Source,
    /// Computes a piece of the model.
    Compute,
    /// Collects outputs, which the host reads from its memory.
    Sink,
}

/// A core that runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// Where.
    pub place: Place,
    /// What for.
    pub role: Role,
    /// For people: the population, or the inputs or outputs.
    pub name: String,
    /// Rows of the population; `None` for all.
    pub rows: Option<[u64; 2]>,
    /// The model's rows that these are, if they are dealt out in another order; then what it sends has the same order.
    pub order: Option<Vec<u32>>,
    /// The slot in which it computes and sends.
    pub slot: u32,
    /// Its image.
    pub image: String,
    /// The graph of its piece, if it computes one.
    pub graph: Option<String>,
    /// Memory that it takes.
    pub memory: Memory,
    /// What it sends.
    pub sends: Vec<Send>,
    /// What it receives.
    pub receives: Vec<Receive>,
    /// Where packets wait.
    pub fifo: Fifo,
}

/// Memory of a core, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Code: start-up, scheduler and kernels.
    pub code: u64,
    /// Weights, synapses and other constants.
    pub constants: u64,
    /// Address of the constants.
    pub constants_at: u32,
    /// State, delay rings, event lists and temporary values.
    pub arena: u64,
    /// Address of the arena.
    pub arena_at: u32,
    /// Frames of what is received and sent.
    pub frames: u64,
    /// Packets that wait.
    pub fifo: u64,
    /// The scheduler's tables.
    pub tables: u64,
    /// Stack.
    pub stack: u64,
}

impl Memory {
    /// All but code.
    pub fn data(&self) -> u64 {
        self.constants + self.arena + self.frames + self.fifo + self.tables + self.stack
    }
}

/// A part of a stream that a core has, and sends if some core receives rows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Number of the stream.
    pub stream: usize,
    /// Which part of it.
    pub part: u64,
    /// Address of the frame.
    pub address: u32,
}

/// Rows of a stream that a core receives into a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receive {
    /// Number of the stream.
    pub stream: usize,
    /// True if it is read one tick later than it was sent.
    pub late: bool,
    /// Rows.
    pub rows: [u64; 2],
    /// Address of the frame that is read in the first tick.
    pub address: u32,
    /// Address of a second frame, where packets of this tick arrive before those of the tick before have been read.
    pub spare: Option<u32>,
}

/// The ring of packets that wait for a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fifo {
    /// Its address.
    pub address: u32,
    /// Packets that it holds: as many as can come in one slot.
    pub entries: u32,
    /// Bytes of one: the key and the payload.
    pub entry_bytes: u32,
}

/// An entry of a routing table: a packet whose key agrees with `key` in the bits of `mask` goes to all of these.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Value.
    pub key: u32,
    /// Bits that count.
    pub mask: u32,
    /// Cores of this chip.
    pub cores: Vec<u32>,
    /// Links to other chips, see [`crate::route::LINKS`].
    pub links: Vec<u32>,
}

impl Entry {
    /// True if a packet with this key takes this entry.
    pub fn takes(&self, key: u32) -> bool {
        key & self.mask == self.key
    }
}

impl Manifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// Text that is not JSON, a field that is missing or unknown, another format or version.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let m: Manifest = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if m.format != FORMAT || m.version != VERSION {
            return Err(format!("format {:?} version {}, expected {FORMAT:?} version {VERSION}", m.format, m.version));
        }
        if m.level >= m.machine.level.len() {
            return Err(format!("the machine has no performance level {}", m.level));
        }
        m.machine.check().map_err(|e| e.0)?;
        Ok(m)
    }

    /// The text of the manifest.
    ///
    /// # Errors
    /// What JSON cannot hold.
    pub fn text(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|e| e.to_string())
    }

    /// Who receives what.
    pub fn receivers(&self) -> Receivers<'_> {
        let mut of: Vec<Vec<(usize, [u64; 2])>> = vec![Vec::new(); self.streams.len()];
        for (k, c) in self.cores.iter().enumerate() {
            for r in &c.receives {
                if let Some(of) = of.get_mut(r.stream) {
                    of.push((k, r.rows));
                }
            }
        }
        Receivers { streams: &self.streams, of }
    }

    /// Cycles of a core per second.
    pub fn clock_hz(&self) -> f64 {
        self.machine.level.get(self.level).map_or(1.0, |l| l.clock_hz.value)
    }
}

/// A routing table in bytes: for each entry key, mask, a word of links, and words of cores, the lowest numbers first,
/// all of 32 bits, little-endian. The layout is ours; the router's own is not public.
pub fn table_bytes(table: &[Entry], cores: u32) -> Vec<u8> {
    let words = cores.div_ceil(32) as usize;
    let mut out = Vec::with_capacity(table.len() * (12 + 4 * words));
    for e in table {
        out.extend(e.key.to_le_bytes());
        out.extend(e.mask.to_le_bytes());
        let links = e.links.iter().fold(0u32, |b, l| b | 1u32.checked_shl(*l).unwrap_or(0));
        out.extend(links.to_le_bytes());
        let mut bits = vec![0u32; words];
        for c in &e.cores {
            if let Some(w) = bits.get_mut(*c as usize / 32) {
                *w |= 1 << (c % 32);
            }
        }
        out.extend(bits.iter().flat_map(|w| w.to_le_bytes()));
    }
    out
}

/// A routing table as text: key, mask, cores and links of an entry on a line.
pub fn table_text(table: &[Entry]) -> String {
    let mut out = String::from("# key      mask       cores; links\n");
    for e in table {
        let list = |x: &[u32]| x.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        out.push_str(&format!("{:#010x} {:#010x} {}; {}\n", e.key, e.mask, list(&e.cores), list(&e.links)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_the_rows_that_they_begin_with() {
        for (rows, parts) in [(1, 1), (10, 3), (12, 4), (7, 7), (4000, 31)] {
            let s = Stream {
                name: String::new(),
                source: Source::Input(0),
                dtype: "f32".into(),
                rows,
                row_elements: 2,
                order: None,
                parts,
                key: 0,
                keys: 8192,
                shift: 0,
                slot: 0,
                measured: None,
            };
            for p in 0..parts {
                assert!((s.row_of(p)..s.row_of(p + 1)).all(|r| s.part_of(r) == p));
                assert_eq!(s.elements_of(p), 2 * (s.row_of(p + 1) - s.row_of(p)));
            }
            assert_eq!((s.row_of(0), s.row_of(parts)), (0, rows));
        }
    }
}

/// Which cores, by their number in the manifest, receive rows of each stream.
#[derive(Clone, Debug)]
pub struct Receivers<'a> {
    streams: &'a [Stream],
    of: Vec<Vec<(usize, [u64; 2])>>,
}

impl Receivers<'_> {
    /// The cores that receive rows of a part, one after the other; a core with several frames more than once.
    pub fn cores(&self, stream: usize, part: u64) -> impl Iterator<Item = usize> {
        let rows = self.streams.get(stream).map_or([0; 2], |s| [s.row_of(part), s.row_of(part + 1)]);
        let of = self.of.get(stream).into_iter().flatten();
        of.filter(move |(_, r)| r[0] < rows[1] && rows[0] < r[1]).map(|(core, _)| *core)
    }

    /// True if some core receives rows of a part; what nobody receives is not sent.
    pub fn wants(&self, stream: usize, part: u64) -> bool {
        self.cores(stream, part).next().is_some()
    }
}
