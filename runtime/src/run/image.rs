//! What sessions of one compiled model share.

use super::frames::Frames;
use super::machine::{Face, Machine, Port, entry_names};
use super::remote::Away;
use super::session::Session;
use nc_ir::diag::Diagnostic;
use nc_ir::kernel::abi::{Code, Layout, Place, Remote};
use nc_ir::kernel::{BufId, ListId, Program, Role};
use nc_ir::types::DType;
use std::sync::Arc;

/// Where a state of the model lives in the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateHome {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// The buffer.
    pub buffer: BufId,
}

/// Where a delay line lives: a ring of `depth + 1` frames. The frame of tick t is number `t mod (depth + 1)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineHome {
    /// Name in the model.
    pub name: String,
    /// Element type of one frame.
    pub dtype: DType,
    /// Extents of one frame.
    pub shape: Vec<usize>,
    /// Past frames that can be read.
    pub depth: u32,
    /// The ring as dense frames, if the program has it.
    pub frames: Option<BufId>,
    /// The ring as event lists, if the program has it.
    pub events: Option<ListId>,
}

/// What runs a program.
#[derive(Clone)]
pub enum Engine {
    /// Machine code in this process.
    Code(Arc<dyn Code>),
    /// A machine with memory of its own.
    Remote(Arc<dyn Remote>),
}

/// What an [`Image`] is made of.
pub struct Parts {
    /// The arrays of the model.
    pub face: Face,
    /// The kernels.
    pub program: Arc<Program>,
    /// Their memory layout.
    pub layout: Arc<Layout>,
    /// What runs the program, in memory of the layout.
    pub engine: Engine,
    /// Homes of the states, in the model's order.
    pub states: Vec<StateHome>,
    /// Homes of the delay lines, in the model's order.
    pub lines: Vec<LineHome>,
}

/// A compiled model with its constants, ready for sessions.
pub struct Image {
    pub(super) face: Face,
    pub(super) program: Arc<Program>,
    pub(super) layout: Arc<Layout>,
    pub(super) engine: Engine,
    pub(super) states: Vec<(String, StateHome)>,
    pub(super) lines: Vec<(String, LineHome)>,
    pub(super) consts: Frames,
    pub(super) host: Vec<Host>,
}

/// What an entry of the table of host arrays is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Host {
    /// Index in [`Face::inputs`].
    Input(usize),
    /// Index in [`Face::results`].
    Result(usize),
}

impl Image {
    /// Checks the parts against each other and fills the constant pool.
    ///
    /// # Errors
    /// E0650 if constants and one arena take more than `max_memory` or cannot be allocated; E0653 if the parts do not
    /// belong together.
    pub fn new(parts: Parts, max_memory: u64) -> Result<Arc<Image>, Diagnostic> {
        let Parts { face, program, layout, engine, states, lines } = parts;
        let need = layout.arena_bytes.saturating_add(layout.const_bytes);
        if need > max_memory {
            return Err(Diagnostic::error_nowhere(
                "E0650",
                format!("the model takes {need} bytes of state and constants, {max_memory} are allowed"),
            )
            .with_hint("raise --max-memory"));
        }
        let host = layout.host.iter().map(|b| host_of(&face, &program, *b)).collect::<Result<Vec<_>, _>>()?;
        for (k, port) in face.results().enumerate() {
            if !host.contains(&Host::Result(k)) {
                return Err(disagree(format!("the program does not compute {:?}", port.name)));
            }
        }
        for s in &states {
            check_buffer(&program, &layout, &s.name, s.buffer, s.dtype, elements(&s.shape))?;
        }
        for l in &lines {
            let frames = elements(&l.shape);
            if let Some(b) = l.frames {
                let ring = frames.and_then(|n| n.checked_mul(u64::from(l.depth) + 1));
                check_buffer(&program, &layout, &l.name, b, l.dtype, ring)?;
            }
            if let Some(e) = l.events {
                let list = program.lists.get(e.index());
                let fits = list.is_some_and(|x| Some(x.len) == frames && u64::from(x.slots) == u64::from(l.depth) + 1);
                if !fits || l.dtype != DType::Bool || layout.lists.len() != program.lists.len() {
                    return Err(disagree(format!("the event ring of {:?} has another size", l.name)));
                }
            }
        }
        let mut consts = Frames::zeros(layout.const_bytes, "constants")?;
        layout.fill_consts(&program, consts.bytes_mut());
        let state_names = entry_names("state", states.iter().map(|s| s.name.as_str()));
        let line_names = entry_names("line", lines.iter().map(|l| l.name.as_str()));
        Ok(Arc::new(Image {
            face,
            program,
            layout,
            engine,
            states: state_names.into_iter().zip(states).collect(),
            lines: line_names.into_iter().zip(lines).collect(),
            consts,
            host,
        }))
    }

    /// A machine for one sample, before its first tick.
    ///
    /// # Errors
    /// E0650, E0652.
    pub fn machine(self: &Arc<Image>) -> Result<Box<dyn Machine>, Diagnostic> {
        Ok(match &self.engine {
            Engine::Code(_) => Box::new(Session::new(self.clone())?),
            Engine::Remote(remote) => Box::new(Away::new(self.clone(), remote.clone(), None)?),
        })
    }

    /// The arrays of the model.
    pub fn face(&self) -> &Face {
        &self.face
    }

    /// Number of parts, and so of threads, that the program was split into.
    pub fn parts(&self) -> u32 {
        self.program.parts.max(1)
    }
}

fn disagree(text: String) -> Diagnostic {
    Diagnostic::error_nowhere("E0653", text)
}

fn elements(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64))
}

fn check_buffer(
    program: &Program,
    layout: &Layout,
    name: &str,
    id: BufId,
    dtype: DType,
    len: Option<u64>,
) -> Result<(), Diagnostic> {
    let fits = program.buffers.get(id.index()).is_some_and(|b| b.elem == dtype && Some(b.len) == len);
    match (fits, layout.buffers.get(id.index())) {
        (true, Some(Place::Arena(_))) => Ok(()),
        _ => Err(disagree(format!("the buffer of {name:?} has another type or size"))),
    }
}

fn host_of(face: &Face, program: &Program, id: BufId) -> Result<Host, Diagnostic> {
    let Some(buffer) = program.buffers.get(id.index()) else {
        return Err(disagree(format!("there is no buffer {id}")));
    };
    let named = |ports: &[Port]| ports.iter().position(|p| p.name == buffer.name);
    let (found, ports) = match &buffer.role {
        Role::Input => (named(&face.inputs).map(|k| (k, Host::Input(k))), &face.inputs),
        Role::Output => (named(&face.outputs).map(|k| (k, Host::Result(k))), &face.outputs),
        Role::Probe { every } => {
            let k = named(&face.probes).filter(|k| face.probes[*k].every == *every);
            (k.map(|k| (k, Host::Result(face.outputs.len() + k))), &face.probes)
        }
        Role::Const(_) | Role::State(_) | Role::Temp => (None, &face.inputs),
    };
    match found {
        Some((k, host)) if ports[k].dtype == buffer.elem && elements(&ports[k].shape) == Some(buffer.len) => Ok(host),
        _ => Err(disagree(format!("the program's array {:?} is not one of the model", buffer.name))),
    }
}
