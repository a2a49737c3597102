//! Random programs for tests of everything that reads kernel IR: backends, the text form, passes.
//!
//! A [`Case`] is a program, the number of ticks to run it and the frames of its inputs. It is made from a sequence of
//! choices ([`Case::from_choices`]) that a property test can draw and shrink, or from a seed ([`Case::from_seed`]).
//!
//! Guarantees, for every sequence of choices: the program keeps all constraints of [`super::verify`], runs without a
//! fault and keeps the promises that [`super::interp::Options::check`] checks; what it computes depends neither on the
//! number of parts nor on the grouping of events nor on the payload or sign of a NaN. Results compare with
//! [`Snapshot::difference`].

mod generate;
mod memory;
pub mod values;

use super::abi::{Layout, Place};
use super::interp::{Fault, HostArray, Machine, Options};
use super::program::{Program, Role};
use crate::types::DType;
use half::{bf16, f16};

/// The source of random decisions.
#[derive(Clone, Debug)]
pub struct Choices {
    drawn: Vec<u32>,
    at: usize,
    /// State of the generator behind the drawn choices; without one, further choices are 0.
    seed: Option<u64>,
}

impl Choices {
    /// Takes the given choices in order, then 0 forever. The simplest case has none.
    pub fn new(drawn: &[u32]) -> Choices {
        Choices { drawn: drawn.to_vec(), at: 0, seed: None }
    }

    /// Endless choices that depend on the seed only.
    pub fn from_seed(seed: u64) -> Choices {
        Choices { drawn: Vec::new(), at: 0, seed: Some(seed) }
    }

    /// The next choice.
    pub fn draw(&mut self) -> u32 {
        let k = self.at;
        self.at += 1;
        match (self.drawn.get(k), self.seed) {
            (Some(x), _) => *x,
            (None, None) => 0,
            // Splitmix64 (Steele, Lea and Flood 2014) at position k.
            (None, Some(seed)) => {
                let mut z = seed.wrapping_add((k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((z ^ (z >> 31)) >> 32) as u32
            }
        }
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.draw() as usize % n.max(1)
    }

    /// One of the given.
    ///
    /// # Panics
    /// If there is none.
    pub fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// How many choices were taken.
    fn position(&self) -> usize {
        self.at
    }

    /// Back to an earlier position.
    fn rewind(&mut self, position: usize) {
        self.at = position;
    }
}

/// A program and what to run it on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The program.
    pub program: Program,
    /// Number of ticks, starting with tick 0.
    pub ticks: u64,
    /// One array per entry of [`Layout::host`]: the frames of inputs for all ticks, zeros for outputs and probes.
    pub host: Vec<Vec<u8>>,
}

impl Case {
    /// The case that the choices make.
    pub fn from_choices(drawn: &[u32]) -> Case {
        generate::case(Choices::new(drawn))
    }

    /// The case that a seed makes.
    pub fn from_seed(seed: u64) -> Case {
        generate::case(Choices::from_seed(seed))
    }

    /// The same case split into another number of parts. It computes the same.
    pub fn with_parts(&self, parts: u32) -> Case {
        let mut other = self.clone();
        other.program.parts = parts;
        other
    }

    /// Runs it on the reference interpreter.
    ///
    /// # Errors
    /// Never for a generated case; for one that a test has changed, what it did.
    ///
    /// # Panics
    /// If the program is not valid: a mistake of the test.
    pub fn run(&self, options: Options) -> Result<Snapshot, Fault> {
        let mut machine = Machine::new(&self.program, options).expect("a valid program");
        let mut host = self.host.clone();
        let mut arrays: Vec<HostArray<'_>> = host
            .iter_mut()
            .zip(&machine.layout().host)
            .map(|(bytes, b)| match self.program.buffers[b.index()].role {
                Role::Input => HostArray::In(bytes),
                Role::Const(_) | Role::State(_) | Role::Temp | Role::Output | Role::Probe { .. } => {
                    HostArray::Out(bytes)
                }
            })
            .collect();
        machine.run(0, self.ticks, &mut arrays)?;
        Ok(Snapshot::of(&self.program, machine.layout(), machine.arena(), &host))
    }
}

/// Everything a run leaves behind that has one right value: states, lists, outputs and probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Name, element type and bytes of each state, output and probe, in buffer order.
    pub buffers: Vec<(String, DType, Vec<u8>)>,
    /// Name and, for each slot, the indices of each list.
    pub lists: Vec<(String, Vec<Vec<u32>>)>,
}

impl Snapshot {
    /// Reads it from memory: an arena of `layout` and the host arrays.
    ///
    /// # Panics
    /// If the memory is smaller than the layout says, or damaged.
    pub fn of(program: &Program, layout: &Layout, arena: &[u8], host: &[Vec<u8>]) -> Snapshot {
        let mut buffers = Vec::new();
        for (b, place) in program.buffers.iter().zip(&layout.buffers) {
            let bytes = match (&b.role, place) {
                (Role::State(_), Place::Arena(at)) => &arena[*at as usize..][..b.len as usize * b.elem.size()],
                (Role::Output | Role::Probe { .. }, Place::Host(k)) => &host[*k as usize][..],
                _ => continue,
            };
            buffers.push((b.name.clone(), b.elem, bytes.to_vec()));
        }
        let word = |at: u64| {
            let at = at as usize;
            u32::from_le_bytes([arena[at], arena[at + 1], arena[at + 2], arena[at + 3]])
        };
        let mut lists = Vec::new();
        for (l, place) in program.lists.iter().zip(&layout.lists) {
            let slot = |s: u64| {
                let mut events = Vec::new();
                for part in 0..program.parts {
                    let first = l.extent().range(part, program.parts).0;
                    let count = word(place.counts + 4 * (s * u64::from(program.parts) + u64::from(part)));
                    events.extend(
                        (0..u64::from(count)).map(|k| word(place.indices + s * place.stride + 4 * (first + k))),
                    );
                }
                events
            };
            lists.push((l.name.clone(), (0..u64::from(l.slots)).map(slot).collect()));
        }
        Snapshot { buffers, lists }
    }

    /// The first difference, any NaN being the same as any other; `None` if there is none.
    pub fn difference(&self, other: &Snapshot) -> Option<String> {
        if self.buffers.len() != other.buffers.len() {
            return Some(format!("{} buffers against {}", self.buffers.len(), other.buffers.len()));
        }
        for ((name, elem, a), (_, _, b)) in self.buffers.iter().zip(&other.buffers) {
            if a.len() != b.len() {
                return Some(format!("`{name}`: {} bytes against {}", a.len(), b.len()));
            }
            let size = elem.size();
            for (k, (x, y)) in a.chunks(size).zip(b.chunks(size)).enumerate() {
                if x != y && !(is_nan(*elem, x) && is_nan(*elem, y)) {
                    return Some(format!(
                        "`{name}`, {elem}, element {k}: {} against {}",
                        shown(*elem, x),
                        shown(*elem, y)
                    ));
                }
            }
        }
        self.lists
            .iter()
            .zip(&other.lists)
            .find(|(a, b)| a != b)
            .map(|((name, a), (_, b))| format!("list `{name}`: {a:?} against {b:?}"))
    }
}

fn is_nan(elem: DType, bytes: &[u8]) -> bool {
    match (elem, bytes) {
        (DType::F64, _) => bytes.try_into().is_ok_and(|b| f64::from_le_bytes(b).is_nan()),
        (DType::F32, _) => bytes.try_into().is_ok_and(|b| f32::from_le_bytes(b).is_nan()),
        (DType::F16, _) => bytes.try_into().is_ok_and(|b| f16::from_le_bytes(b).is_nan()),
        (DType::BF16, _) => bytes.try_into().is_ok_and(|b| bf16::from_le_bytes(b).is_nan()),
        _ => false,
    }
}

fn shown(elem: DType, bytes: &[u8]) -> String {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    match elem {
        DType::F64 => format!("{:?}", f64::from_bits(bits)),
        DType::F32 => format!("{:?}", f32::from_bits(bits as u32)),
        DType::F16 => format!("{:?}", f16::from_bits(bits as u16)),
        DType::BF16 => format!("{:?}", bf16::from_bits(bits as u16)),
        _ => format!("{bits:#x}"),
    }
}

#[cfg(test)]
mod tests;
