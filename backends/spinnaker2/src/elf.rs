//! Images of cores as ELF files, and the linking of relocatable objects.
//!
//! An image has two segments: code at address 0, data behind the machine's code memory.

use nc_armv7em::assemble::{branch, call, wide_immediate};
use object::read::elf::ElfFile32;
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionKind, elf};
use rustc_hash::FxHashMap;

/// A segment of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it lies.
    pub address: u32,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// True for code.
    pub code: bool,
}

const HEADER: u32 = 52;
const PROGRAM_HEADER: u32 = 32;

/// An executable for an Arm core.
pub fn write(segments: &[Segment], entry: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let half = |out: &mut Vec<u8>, x: u16| out.extend(x.to_le_bytes());
    let word = |out: &mut Vec<u8>, x: u32| out.extend(x.to_le_bytes());
    // 32 bits, little-endian, version 1, no particular system.
    out.extend([0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    half(&mut out, elf::ET_EXEC);
    half(&mut out, elf::EM_ARM);
    word(&mut out, 1);
    word(&mut out, entry);
    word(&mut out, HEADER);
    word(&mut out, 0);
    // EABI version 5, floating-point arguments in registers.
    word(&mut out, 0x0500_0400);
    half(&mut out, HEADER as u16);
    half(&mut out, PROGRAM_HEADER as u16);
    half(&mut out, segments.len() as u16);
    for x in [0, 0, 0] {
        half(&mut out, x);
    }
    let mut at = HEADER + PROGRAM_HEADER * segments.len() as u32;
    for s in segments {
        at = at.next_multiple_of(16);
        let n = s.bytes.len() as u32;
        for x in [elf::PT_LOAD, at, s.address, s.address, n, n, if s.code { 5 } else { 6 }, 16] {
            word(&mut out, x);
        }
        at += n;
    }
    for s in segments {
        out.resize(out.len().next_multiple_of(16), 0);
        out.extend(&s.bytes);
    }
    out
}

/// Reads the segments of an image.
///
/// # Errors
/// If it is no executable of this kind.
pub fn read(bytes: &[u8]) -> Result<Vec<Segment>, String> {
    let half = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let wrong = |what: &str| format!("not an image of a core: {what}");
    if bytes.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 1, 1]) || half(16) != Some(elf::ET_EXEC) {
        return Err(wrong("no 32-bit executable"));
    }
    if half(18) != Some(elf::EM_ARM) {
        return Err(wrong("not for Arm"));
    }
    let (at, size, count) = (word(28), half(42), half(44));
    let (Some(at), Some(32), Some(count)) = (at, size, count) else { return Err(wrong("no segments")) };
    let mut out = Vec::new();
    for k in 0..usize::from(count) {
        let h = at as usize + k * PROGRAM_HEADER as usize;
        let (Some(from), Some(address), Some(n), Some(flags)) = (word(h + 4), word(h + 8), word(h + 16), word(h + 24))
        else {
            return Err(wrong("a segment's header is missing"));
        };
        let data = bytes.get(from as usize..).and_then(|b| b.get(..n as usize));
        let data = data.ok_or_else(|| wrong("a segment reaches beyond the file"))?;
        out.push(Segment { address, bytes: data.to_vec(), code: flags & 1 != 0 });
    }
    Ok(out)
}

/// Links one object so that it lies from `base` on: its code and constants, and the address of a symbol.
///
/// # Errors
/// An object that is not for Arm, a symbol that is missing, a relocation that is not implemented: each by name.
pub fn link(bytes: &[u8], base: u32, symbol: &str) -> Result<(Vec<u8>, u32), String> {
    let file = ElfFile32::<object::LittleEndian>::parse(bytes).map_err(|e| e.to_string())?;
    if file.architecture() != object::Architecture::Arm {
        return Err("the object is not for Arm".into());
    }
    let mut out = Vec::new();
    let mut at: FxHashMap<usize, u32> = FxHashMap::default();
    for s in file.sections() {
        match s.kind() {
            SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString if s.size() > 0 => {
                let align = s.align().clamp(4, 64) as usize;
                while !(base as usize + out.len()).is_multiple_of(align) {
                    out.push(0);
                }
                at.insert(s.index().0, base + out.len() as u32);
                out.extend(s.data().map_err(|e| e.to_string())?);
            }
            SectionKind::Data | SectionKind::UninitializedData | SectionKind::Tls if s.size() > 0 => {
                return Err(format!("the object has data in section {}", s.name().unwrap_or("?")));
            }
            _ => {}
        }
    }
    let address = |index: object::SymbolIndex| -> Result<u32, String> {
        let s = file.symbol_by_index(index).map_err(|e| e.to_string())?;
        let name = s.name().unwrap_or("?");
        let section = s.section_index().ok_or_else(|| format!("the object needs {name}, which nothing gives"))?;
        let from = at.get(&section.0).ok_or_else(|| format!("{name} lies in a section that is not linked"))?;
        Ok(from.wrapping_add(s.address() as u32))
    };
    for s in file.sections() {
        let Some(from) = at.get(&s.index().0) else { continue };
        for (offset, r) in s.relocations() {
            let RelocationTarget::Symbol(index) = r.target() else { continue };
            let RelocationFlags::Elf { r_type } = r.flags() else { continue };
            let place = from + offset as u32;
            let target = address(index)?;
            let bytes = (place - base) as usize;
            let field = out.get_mut(bytes..bytes + 4).ok_or("a relocation lies outside its section")?;
            relocate(r_type, field, place, target, (!r.has_implicit_addend()).then(|| r.addend() as u32))?;
        }
    }
    let found = file.symbols().find(|s| s.name() == Ok(symbol)).ok_or_else(|| format!("the object has no {symbol}"))?;
    let entry = address(found.index())?;
    Ok((out, entry & !1))
}

/// Writes one relocation. Addends of Arm stand in the field itself.
fn relocate(kind: u32, field: &mut [u8], place: u32, target: u32, addend: Option<u32>) -> Result<(), String> {
    let word = u32::from_le_bytes([field[0], field[1], field[2], field[3]]);
    let halves = [word as u16, (word >> 16) as u16];
    let addend_of = |implicit: u32| addend.unwrap_or(implicit);
    let mut put = |x: [u16; 2]| {
        field[..2].copy_from_slice(&x[0].to_le_bytes());
        field[2..4].copy_from_slice(&x[1].to_le_bytes());
    };
    let split = |x: u32| [x as u16, (x >> 16) as u16];
    let immediate = || {
        let (a, b) = (u32::from(halves[0]), u32::from(halves[1]));
        let x = (a & 15) << 12 | (a >> 10 & 1) << 11 | (b >> 12 & 7) << 8 | b & 0xff;
        i32::from(x as u16 as i16) as u32
    };
    let with = |x: u16| {
        let [a, b] = wide_immediate(x);
        [halves[0] & !0x040f | a, halves[1] & !0x70ff | b]
    };
    match kind {
        elf::R_ARM_NONE | elf::R_ARM_V4BX => {}
        elf::R_ARM_ABS32 | elf::R_ARM_TARGET1 => put(split(target.wrapping_add(addend_of(word)))),
        elf::R_ARM_REL32 => put(split(target.wrapping_add(addend_of(word)).wrapping_sub(place))),
        elf::R_ARM_THM_PC22 | elf::R_ARM_THM_JUMP24 => {
            let to = target & !1;
            let made = if kind == elf::R_ARM_THM_JUMP24 { branch(place, to) } else { call(place, to) };
            put(made.ok_or("a call is too far")?);
        }
        elf::R_ARM_THM_MOVW_ABS_NC => put(with(target.wrapping_add(addend_of(immediate())) as u16)),
        elf::R_ARM_THM_MOVT_ABS => put(with((target.wrapping_add(addend_of(immediate())) >> 16) as u16)),
        other => return Err(format!("relocation {other} is not implemented")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_as_it_was_written() {
        let segments = [
            Segment { address: 0, bytes: vec![1, 2, 3, 4, 5], code: true },
            Segment { address: 0x8000, bytes: (0..100).collect(), code: false },
        ];
        let bytes = write(&segments, 9);
        assert_eq!(read(&bytes).expect("an image"), segments);
        let file = ElfFile32::<object::LittleEndian>::parse(bytes.as_slice()).expect("an ELF file");
        assert_eq!((file.entry(), file.architecture()), (9, object::Architecture::Arm));
        for n in 0..bytes.len() {
            let _ = read(&bytes[..n]);
        }
        assert!(read(&bytes[..60]).is_err() && link(&bytes[..60], 0, "x").is_err());
    }

    #[test]
    fn relocations_write_what_the_core_reads() {
        // movw r0, #0; movt r0, #0
        let mut code = [0xf240u16, 0, 0xf2c0, 0].map(u16::to_le_bytes).concat();
        relocate(elf::R_ARM_THM_MOVW_ABS_NC, &mut code[0..4], 0, 0x1234_fedc, None).expect("movw");
        relocate(elf::R_ARM_THM_MOVT_ABS, &mut code[4..8], 4, 0x1234_fedc, None).expect("movt");
        code.extend(0xbe00u16.to_le_bytes());
        let mut cpu = nc_armv7em::Cpu::new(0x100, 0x80);
        assert!(cpu.load(0, &code));
        cpu.run(&mut nc_armv7em::NoBus, 10);
        assert_eq!(cpu.regs[0], 0x1234_fedc);
        assert!(relocate(elf::R_ARM_TLS_LE32, &mut [0; 4], 0, 0, None).is_err());
    }
}
