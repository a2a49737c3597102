//! A program in the memory of one Arm core: its object linked, its data placed, its results read back.

use nc_ir::DType;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::{Case, Choices, Snapshot};
use nc_ir::kernel::{Program, Role};
use nc_mlir::arm::{Addresses, CONTEXT_BYTES, Options, context, object};
use object::read::elf::ElfFile32;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionKind};
use std::collections::BTreeMap;

/// Where code begins: behind an instruction that stops the core, to which the program returns.
const CODE: u32 = 16;
/// Bytes of the stack.
const STACK: u32 = 1 << 16;

/// The memory of a core before and after a run.
pub struct Image {
    /// From address 0 on.
    pub memory: Vec<u8>,
    /// Bytes at the start that hold code.
    pub code_bytes: u32,
    /// Address of the entry point.
    pub entry: u32,
    /// First value of the stack pointer.
    pub stack: u32,
    /// Address of the context, for `r0`.
    pub context: u32,
    arena: u32,
    host: Vec<u32>,
}

impl Image {
    /// Places a case; it has one part.
    pub fn of(case: &Case, layout: &Layout) -> Image {
        let options = Options { prefix: "m".to_owned(), ..Options::default() };
        let bytes = object(&case.program, layout, &options).expect("a supported program");
        Image::place(case, layout, &bytes)
    }

    fn place(case: &Case, layout: &Layout, object: &[u8]) -> Image {
        assert_eq!(case.program.parts, 1);
        // bkpt #0
        let mut memory = vec![0x00, 0xbe];
        memory.resize(CODE as usize, 0);
        let (code, entry) = link(object, CODE, "m_run");
        memory.extend(code);
        let code_bytes = (memory.len() as u32).next_multiple_of(64);
        memory.resize(code_bytes as usize, 0);
        memory.resize(memory.len() + STACK as usize, 0);
        let stack = memory.len() as u32;
        let mut put = |data: &[u8]| {
            let at = memory.len();
            memory.extend(data);
            memory.resize((at + data.len() + 64).next_multiple_of(64), 0);
            at as u32
        };
        let mut arena = vec![0xa5u8; layout.arena_bytes as usize];
        layout.reset(&case.program, &mut arena);
        let arena = put(&arena);
        let consts = put(&layout.const_pool(&case.program));
        let host: Vec<u32> = case.host.iter().map(|h| put(h)).collect();
        let table: Vec<u8> = host.iter().flat_map(|a| a.to_le_bytes()).collect();
        let table = put(&table);
        let at = Addresses { arena, consts, host: table, barrier: 0, barrier_arg: 0 };
        let bytes: [u8; CONTEXT_BYTES] = context(at, 0, case.ticks);
        let context = put(&bytes);
        Image { memory, code_bytes, entry, stack, context, arena, host }
    }

    /// What a run has left in memory.
    pub fn results(&self, memory: &[u8], case: &Case, layout: &Layout) -> Snapshot {
        let piece = |at: u32, n: usize| &memory[at as usize..at as usize + n];
        let host: Vec<Vec<u8>> = self.host.iter().zip(&case.host).map(|(at, h)| piece(*at, h.len()).to_vec()).collect();
        Snapshot::of(&case.program, layout, piece(self.arena, layout.arena_bytes as usize), &host)
    }
}

/// Links one object from `base` on; the address of a symbol.
fn link(bytes: &[u8], base: u32, symbol: &str) -> (Vec<u8>, u32) {
    let file = ElfFile32::<LittleEndian>::parse(bytes).expect("an object");
    let (mut out, mut at) = (Vec::new(), BTreeMap::new());
    for s in file.sections() {
        if matches!(s.kind(), SectionKind::Text | SectionKind::ReadOnlyData) && s.size() > 0 {
            while !(base as usize + out.len()).is_multiple_of(s.align().max(4) as usize) {
                out.push(0);
            }
            at.insert(s.index().0, base + out.len() as u32);
            out.extend(s.data().expect("its bytes"));
        }
    }
    let address = |s: &object::read::elf::ElfSymbol32<'_, '_, LittleEndian>| {
        let section = s.section_index().unwrap_or_else(|| panic!("{:?} is undefined", s.name()));
        at[&section.0].wrapping_add(s.address() as u32)
    };
    for s in file.sections() {
        let Some(from) = at.get(&s.index().0) else { continue };
        for (offset, r) in s.relocations() {
            let (RelocationTarget::Symbol(to), RelocationFlags::Elf { r_type }) = (r.target(), r.flags()) else {
                panic!("a relocation {r:?}");
            };
            let target = address(&file.symbol_by_index(to).expect("a symbol"));
            let place = from + offset as u32;
            let k = (place - base) as usize;
            let field: &mut [u8; 4] = (&mut out[k..k + 4]).try_into().expect("four bytes");
            relocate(r_type, field, place, target);
        }
    }
    let entry = file.symbols().find(|s| s.name() == Ok(symbol)).expect("the entry point");
    (out, address(&entry) & !1)
}

/// Fills in a relocation, by "ELF for the Arm Architecture" (2024Q3): the addend stands in the field.
fn relocate(kind: u32, field: &mut [u8; 4], place: u32, target: u32) {
    let (a, b) = (u16::from_le_bytes([field[0], field[1]]), u16::from_le_bytes([field[2], field[3]]));
    let (wide_a, wide_b) = (u32::from(a), u32::from(b));
    let (a, b) = match kind {
        // R_ARM_ABS32
        2 => {
            *field = u32::from_le_bytes(*field).wrapping_add(target).to_le_bytes();
            return;
        }
        // R_ARM_THM_CALL, R_ARM_THM_JUMP24
        10 | 30 => {
            let sign = wide_a >> 10 & 1;
            let (i1, i2) = (!(wide_b >> 13 & 1 ^ sign) & 1, !(wide_b >> 11 & 1 ^ sign) & 1);
            let addend = sign << 24 | i1 << 23 | i2 << 22 | (wide_a & 0x3ff) << 12 | (wide_b & 0x7ff) << 1;
            let addend = (addend << 7) as i32 >> 7;
            let to = (target & !1).wrapping_add(addend as u32).wrapping_sub(place);
            assert!((-(1 << 24)..1 << 24).contains(&(to as i32)), "a call too far");
            let sign = to >> 24 & 1;
            let (j1, j2) = (!(to >> 23 & 1) & 1 ^ sign, !(to >> 22 & 1) & 1 ^ sign);
            ((0xf000 | sign << 10 | to >> 12 & 0x3ff), (wide_b & 0xd000 | j1 << 13 | j2 << 11 | to >> 1 & 0x7ff))
        }
        // R_ARM_THM_MOVW_ABS_NC, R_ARM_THM_MOVT_ABS
        47 | 48 => {
            let addend = (wide_a & 0xf) << 12 | (wide_a >> 10 & 1) << 11 | (wide_b >> 12 & 7) << 8 | wide_b & 0xff;
            let x = target.wrapping_add((addend as u16 as i16) as u32);
            let x = if kind == 48 { x >> 16 } else { x & 0xffff };
            let low = wide_b & 0x8f00 | (x >> 8 & 7) << 12 | x & 0xff;
            (wide_a & 0xfbf0 | (x >> 11 & 1) << 10 | x >> 12, low)
        }
        other => panic!("a relocation of type {other}"),
    };
    field[..2].copy_from_slice(&(a as u16).to_le_bytes());
    field[2..].copy_from_slice(&(b as u16).to_le_bytes());
}

/// A program of one part with inputs drawn from a fixed seed: bits for truth values, small numbers otherwise.
#[allow(dead_code, reason = "not every test reads programs")]
pub fn on_random_inputs(program: Program, ticks: u64) -> Case {
    let mut c = Choices::from_seed(11);
    let layout = Layout::of(&program).expect("small");
    let host = layout.host.iter().map(|b| &program.buffers[b.index()]).map(|b| {
        let elements = b.len * ticks;
        match (&b.role, b.elem) {
            (Role::Input, DType::F32) => {
                (0..elements).flat_map(|_| (c.below(256) as f32 / 64.0).to_le_bytes()).collect()
            }
            (Role::Input, elem) => {
                (0..elements).flat_map(|_| (c.below(2) as u64).to_le_bytes()[..elem.size()].to_vec()).collect()
            }
            (Role::Probe { every }, elem) => vec![0; (b.len * ticks.div_ceil(*every)) as usize * elem.size()],
            (_, elem) => vec![0; elements as usize * elem.size()],
        }
    });
    let host = host.collect();
    Case { program, ticks, host }
}
