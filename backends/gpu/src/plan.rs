//! What a host knows about a program on a graphics processor; as JSON, the manifest of a bundle.

use nc_ir::kernel::abi::{Layout, ListPlace, Place};
use nc_ir::kernel::{self, BufId, EventList, Program};
use nc_ir::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Version of the format. A reader refuses others.
pub const VERSION: u32 = 3;

/// Everything a host needs beside the code and the first contents of memory.
///
/// The code has one entry, which runs many ticks of many samples. A *part* of the program is a block of threads, the blocks
/// of a sample are a *team*, and a grid has as many teams as there is room for: block b is part `b % parts` of team
/// `b / parts`, and team k runs samples k, k + teams, and so on. Arguments are 64-bit words:
///
/// 1. address of the arena of sample 0;
/// 2. address of the constant pool;
/// 3. address of a table whose entry n is the address where frame 0 of sample 0 of host array n lies or would lie. Frame f
///    of sample s lies at `entry + (f * samples + s) * bytes of a frame`; a probe's frames are numbered tick / `every`;
/// 4. address of 64-bit counters, zero before the first launch, for each team one, [`BARRIER`] bytes apart;
/// 5. the number of the first tick;
/// 6. how many ticks;
/// 7. how many samples;
/// 8. bytes from one sample's arena to the next.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the model.
    pub model: String,
    /// Seconds between ticks, of a model with a clock.
    pub dt: Option<f64>,
    /// How many blocks a sample has.
    pub parts: u32,
    /// Name of the entry.
    pub symbol: String,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of the arena: states, temporaries, event lists. Its first contents are a file of the bundle.
    pub arena_bytes: u64,
    /// Bytes of the constant pool, another file.
    pub const_bytes: u64,
    /// Inputs of the model.
    pub inputs: Vec<Port>,
    /// Outputs, one frame per tick.
    pub outputs: Vec<Port>,
    /// Probes.
    pub probes: Vec<Port>,
    /// Typed memory. Those with the roles input, output and probe are the host arrays, in the order of the table; each belongs to the input, output or probe of its name.
    pub buffers: Vec<Buffer>,
    /// Event lists.
    pub lists: Vec<List>,
    /// Where the states of the model live.
    pub states: Vec<State>,
    /// Where its delay lines live.
    pub lines: Vec<Line>,
    /// Names of the kernels in it, for people.
    pub kernels: Vec<String>,
    /// The code, for each architecture.
    pub binaries: Vec<Binary>,
    /// How Vulkan runs a tick: in phases where there are several parts, whose blocks cannot wait for each other there, or where
    /// a dispatch has to be short (the first of [`VULKAN`]).
    pub course: Option<Course>,
    /// What a device of Vulkan proves its arithmetic with, of a plan with code for Vulkan.
    pub proof: Option<ProofCode>,
}

/// An array that enters or leaves the model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Name of the array.
    pub name: String,
    /// Element type.
    pub elem: String,
    /// Extents of one frame.
    pub shape: Vec<usize>,
    /// Ticks between frames.
    pub every: u64,
}

/// A typed piece of memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Buffer {
    /// Name.
    pub name: String,
    /// Element type.
    pub elem: String,
    /// Elements, of one frame for a host array.
    pub len: u64,
    /// What it is for.
    pub role: Role,
    /// Byte offset in the constant pool for a constant, in the arena for a state or temporary; number of the entry in the
    /// table of host arrays for the others.
    pub at: u64,
}

/// What a buffer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Never written.
    Const,
    /// Lives from tick to tick.
    State,
    /// Unspecified at the start of a tick.
    Temp,
    /// One frame per tick, read.
    Input,
    /// One frame per tick, written.
    Output,
    /// One frame in each tick that is a multiple of the number.
    Probe(u64),
}

/// An event list, as [`kernel::EventList`] and [`ListPlace`] have it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct List {
    /// Name.
    pub name: String,
    /// Indices are below this.
    pub len: u64,
    /// Number of slots.
    pub slots: u32,
    /// Part boundaries are multiples of this.
    pub align: u64,
    /// Byte offset of the first slot's indices in the arena.
    pub indices: u64,
    /// Bytes from one slot to the next.
    pub stride: u64,
    /// Byte offset of the counts.
    pub counts: u64,
}

/// Where a state of the model lives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub elem: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Number of the buffer.
    pub buffer: u32,
}

/// Where a delay line lives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Name in the model.
    pub name: String,
    /// Element type of a frame.
    pub elem: String,
    /// Extents of a frame.
    pub shape: Vec<usize>,
    /// Past frames that can be read.
    pub depth: u32,
    /// Number of the buffer that holds it as frames.
    pub frames: Option<u32>,
    /// Number of the list that holds it as events.
    pub events: Option<u32>,
}

/// Code in a file of the bundle.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binary {
    /// The architecture that it is for at least, for example `sm_80`.
    pub arch: String,
    /// The file.
    pub file: String,
}

/// A tick as phases. Code for Vulkan that runs them has an entry for each instead of one for all, which is launched for one
/// tick and takes the iterations of the loops around it, the outermost first, after the arguments of a launch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Course {
    /// Names of the entries.
    pub entries: Vec<String>,
    /// The order.
    pub order: Vec<Turn>,
}

/// What is next in a tick.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// The entry with this number.
    Phase(usize),
    /// All of the body, so many times.
    Loop {
        /// How often.
        trips: u64,
        /// What an iteration is.
        body: Vec<Turn>,
    },
}

impl Course {
    /// The course of a program whose entries have names that end in their numbers.
    pub fn of(course: &kernel::phases::Course, entry: impl Fn(usize) -> String) -> Course {
        fn turns(all: &[kernel::phases::Turn]) -> Vec<Turn> {
            let turn = |t: &kernel::phases::Turn| match t {
                kernel::phases::Turn::Phase(n) => Turn::Phase(*n),
                kernel::phases::Turn::Loop { trips, body } => Turn::Loop { trips: *trips, body: turns(body) },
            };
            all.iter().map(turn).collect()
        }
        Course { entries: (0..course.phases.len()).map(entry).collect(), order: turns(&course.order) }
    }

    /// Checks that phases are there, and loops not too deep.
    fn check(&self) -> Result<(), String> {
        fn fits(all: &[Turn], entries: usize, depth: usize) -> bool {
            all.iter().all(|t| match t {
                Turn::Phase(n) => *n < entries,
                Turn::Loop { body, .. } => depth < LOOPS && fits(body, entries, depth + 1),
            })
        }
        if self.entries.iter().any(String::is_empty) || !fits(&self.order, self.entries.len(), 0) {
            return Err("its course is none".to_owned());
        }
        Ok(())
    }
}

/// Most loops around a phase.
pub const LOOPS: usize = 8;

/// Code of [`crate::proof::Proof`], launched as the code of the plan is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProofCode {
    /// [`crate::proof::Proof::summary`]: a reader with another proof cannot use this one.
    pub program: String,
    /// The code, for each of [`VULKAN`].
    pub binaries: Vec<Binary>,
}

/// The architectures of Vulkan: code that trusts a device only with what every device computes right, and code that trusts
/// it with quotients, roots and fused products as well. Which one a device gets is proven before.
pub const VULKAN: [&str; 2] = ["vulkan", "vulkan-fused"];

/// Bytes from one counter of a barrier to the next.
pub const BARRIER: u64 = 128;

/// Most threads of a block.
const MOST_THREADS: u32 = 1024;

impl Plan {
    /// The plan of a program whose entry has this name and runs in blocks of so many threads, without ports, states, lines
    /// and binaries.
    pub fn of(program: &Program, layout: &Layout, symbol: &str, threads: u32) -> Plan {
        let buffer = |(b, place): (&kernel::Buffer, &Place)| Buffer {
            name: b.name.clone(),
            elem: b.elem.name().to_owned(),
            len: b.len,
            role: match b.role {
                kernel::Role::Const(_) => Role::Const,
                kernel::Role::State(_) => Role::State,
                kernel::Role::Temp => Role::Temp,
                kernel::Role::Input => Role::Input,
                kernel::Role::Output => Role::Output,
                kernel::Role::Probe { every } => Role::Probe(every),
            },
            at: match *place {
                Place::Arena(at) | Place::Consts(at) => at,
                Place::Host(n) => n.into(),
            },
        };
        let list = |(l, p): (&EventList, &ListPlace)| List {
            name: l.name.clone(),
            len: l.len,
            slots: l.slots,
            align: l.align,
            indices: p.indices,
            stride: p.stride,
            counts: p.counts,
        };
        Plan {
            version: VERSION,
            model: program.name.clone(),
            dt: None,
            parts: program.parts.max(1),
            symbol: symbol.to_owned(),
            threads,
            arena_bytes: layout.arena_bytes,
            const_bytes: layout.const_bytes,
            inputs: Vec::new(),
            outputs: Vec::new(),
            probes: Vec::new(),
            buffers: program.buffers.iter().zip(&layout.buffers).map(buffer).collect(),
            lists: program.lists.iter().zip(&layout.lists).map(list).collect(),
            states: Vec::new(),
            lines: Vec::new(),
            kernels: program.kernels().map(|k| k.name.clone()).collect(),
            binaries: Vec::new(),
            course: None,
            proof: None,
        }
    }

    /// True if there is code for Vulkan.
    pub fn has_vulkan(&self) -> bool {
        self.binaries.iter().any(|b| VULKAN.contains(&b.arch.as_str()))
    }

    /// All code: that of the plan, then that of its proof.
    pub fn all_binaries(&self) -> impl Iterator<Item = &Binary> {
        self.binaries.iter().chain(self.proof.iter().flat_map(|p| &p.binaries))
    }

    /// Checks that files have names of their own, and that code for Vulkan is complete.
    fn check_binaries(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for b in self.all_binaries() {
            // Names only, so that a manifest cannot reach outside its folder.
            if b.file.is_empty() || b.file.contains(['/', '\\', '\0', ':']) || b.file.starts_with('.') {
                return Err(format!("{:?} is no name of a file", b.file));
            }
            if !names.insert(&b.file) {
                return Err(format!("{:?} is there twice", b.file));
            }
        }
        if !self.has_vulkan() && self.proof.is_none() {
            return Ok(());
        }
        match &self.course {
            Some(course) => course.check()?,
            None if self.parts == 1 => {}
            None => return Err(format!("code for Vulkan of {} parts without a course", self.parts)),
        }
        let all: &[Binary] = self.proof.as_ref().map_or(&[], |p| &p.binaries);
        for arch in VULKAN {
            let of = |all: &[Binary]| all.iter().filter(|b| b.arch == arch).count();
            if (of(&self.binaries), of(all)) != (1, 1) {
                return Err(format!("code for {arch} and its proof are not there once each"));
            }
        }
        Ok(())
    }

    /// The host arrays, in the order of their table.
    pub fn hosts(&self) -> impl Iterator<Item = &Buffer> {
        self.buffers.iter().filter(|b| matches!(b.role, Role::Input | Role::Output | Role::Probe(_)))
    }

    /// Checks that everything lies where there is room for it and that there is something to launch.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it has version {}, this nc reads version {VERSION}", self.version));
        }
        if self.parts == 0 || self.parts > 1 << 16 {
            return Err(format!("{} parts", self.parts));
        }
        let inside =
            |at: u64, bytes: Option<u64>, of: u64| bytes.and_then(|n| at.checked_add(n)).is_some_and(|end| end <= of);
        let mut hosts = 0;
        for (n, b) in self.buffers.iter().enumerate() {
            let bytes = b.len.checked_mul(elem(&b.elem)?.size() as u64);
            let fits = match b.role {
                Role::Const => inside(b.at, bytes, self.const_bytes),
                Role::State | Role::Temp => inside(b.at, bytes, self.arena_bytes),
                Role::Probe(0) => false,
                Role::Input | Role::Output | Role::Probe(_) => {
                    hosts += 1;
                    b.at + 1 == hosts && bytes.is_some()
                }
            };
            if !fits {
                return Err(format!("buffer {n} ({:?}) lies where there is no room for it", b.name));
            }
        }
        for (n, l) in self.lists.iter().enumerate() {
            let indices = l
                .stride
                .checked_mul(l.slots.into())
                .filter(|_| l.slots > 0 && l.align > 0 && l.len.checked_mul(4).is_some_and(|bytes| bytes <= l.stride));
            let counts = u64::from(l.slots).checked_mul(u64::from(self.parts) * 4);
            if !inside(l.indices, indices, self.arena_bytes) || !inside(l.counts, counts, self.arena_bytes) {
                return Err(format!("list {n} ({:?}) lies where there is no room for it", l.name));
            }
        }
        let port = |p: &Port| elem(&p.elem).map(|_| p.every > 0);
        for p in self.inputs.iter().chain(&self.outputs).chain(&self.probes) {
            if !port(p)? {
                return Err(format!("{:?} has no frames", p.name));
            }
        }
        if self.symbol.is_empty() || !(1..=MOST_THREADS).contains(&self.threads) {
            return Err(format!("{:?} in blocks of {} threads cannot be launched", self.symbol, self.threads));
        }
        self.check_binaries()
    }

    /// The memory of the program, without its kernels: constants and first states as in these bytes.
    ///
    /// # Errors
    /// As [`Plan::check`], or if the bytes have another size than the plan says.
    pub fn memory(&self, arena: &[u8], consts: &[u8]) -> Result<(Program, Layout), String> {
        self.check()?;
        if arena.len() as u64 != self.arena_bytes || consts.len() as u64 != self.const_bytes {
            return Err("its files of memory have other sizes than it says".to_owned());
        }
        let mut program = Program::new(&self.model, self.parts);
        let mut layout = Layout {
            buffers: Vec::new(),
            lists: Vec::new(),
            arena_bytes: self.arena_bytes,
            const_bytes: self.const_bytes,
            host: Vec::new(),
        };
        for (n, b) in self.buffers.iter().enumerate() {
            let elem = elem(&b.elem)?;
            let held = |memory: &[u8]| {
                let bytes = &memory[b.at as usize..][..b.len as usize * elem.size()];
                Tensor::from_bytes(elem, vec![b.len as usize], bytes)
                    .ok_or_else(|| format!("{:?} has no values", b.name))
            };
            let (role, place) = match b.role {
                Role::Const => (kernel::Role::Const(held(consts)?), Place::Consts(b.at)),
                Role::State => (kernel::Role::State(held(arena)?), Place::Arena(b.at)),
                Role::Temp => (kernel::Role::Temp, Place::Arena(b.at)),
                Role::Input => (kernel::Role::Input, Place::Host(b.at as u32)),
                Role::Output => (kernel::Role::Output, Place::Host(b.at as u32)),
                Role::Probe(every) => (kernel::Role::Probe { every }, Place::Host(b.at as u32)),
            };
            program.add_buffer(&b.name, elem, b.len, role);
            if let Place::Host(_) = place {
                layout.host.push(BufId(n as u32));
            }
            layout.buffers.push(place);
        }
        for l in &self.lists {
            program.add_list(&l.name, l.len, l.slots, l.align);
            layout.lists.push(ListPlace { indices: l.indices, stride: l.stride, counts: l.counts });
        }
        Ok((program, layout))
    }
}

/// The element type of a name.
///
/// # Errors
/// If there is none.
pub(crate) fn elem(name: &str) -> Result<DType, String> {
    DType::from_name(name).ok_or_else(|| format!("{name:?} is no element type"))
}
