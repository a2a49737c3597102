//! The bytes of every instruction mean what its text says, to a decoder that is not ours.

use super::vex::*;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};

/// What a decoder makes of code, one line per instruction.
fn decoded(bytes: &[u8]) -> Vec<(Instruction, String)> {
    let mut formatter = GasFormatter::new();
    let o = formatter.options_mut();
    o.set_uppercase_hex(false);
    o.set_small_hex_numbers_in_decimal(false);
    o.set_always_show_scale(true);
    let mut out = Vec::new();
    for i in Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE) {
        let mut text = String::new();
        formatter.format(&i, &mut text);
        out.push((i, text));
    }
    out
}

/// Without spaces, and without the suffixes of integer instructions, which the decoder leaves out.
fn normal(line: &str) -> String {
    let (name, operands) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let bare = match name {
        "movq" | "movl" | "movzwl" | "addq" | "addl" | "subq" | "cmpq" | "imulq" | "testl" | "xorl" | "pushq"
        | "popq" | "retq" | "tzcntl" | "blsrl" | "popcntl" | "leaq" => &name[..name.len() - 1],
        name => name,
    };
    format!("{bare} {}", operands.replace(' ', "").replace(",)", ")"))
}

fn check(write: impl FnOnce(&mut Text)) -> usize {
    let mut t = Text::default();
    write(&mut t);
    let (bytes, listing) = t.finish(&[]);
    let got: Vec<String> = decoded(&bytes).iter().map(|(_, l)| normal(l)).collect();
    let want: Vec<String> = listing.lines().map(normal).collect();
    for (g, w) in got.iter().zip(&want) {
        assert_eq!(g, w);
    }
    assert_eq!(got.len(), want.len());
    got.len()
}

fn places() -> Vec<Mem> {
    let mut all = Vec::new();
    for d in [0, 1, -1, 64, 127, 128, -128, -129, 0x1234_5678] {
        for b in (0..16).filter(|b| *b != 4) {
            all.push(Mem::At(Gpr(b), d));
            all.push(Mem::Row(Gpr(b), Gpr(0), 2, d));
            all.push(Mem::Row(Gpr(b), Gpr(8), b & 3, d));
        }
        all.push(Mem::At(Gpr(4), d));
        all.push(Mem::At(Gpr(12), d));
    }
    all
}

const BINARY: &[Op] = &[
    ANDPS, ANDNPS, ORPS, XORPS, ADDPS, MULPS, SUBPS, DIVPS, PACKSSWB, PCMPGTD, PACKUSWB, PACKSSDW, PCMPEQD, PMULUDQ,
    PSUBD, PADDD, PACKUSDW, PMULLD, PSRLVD, PSRAVD, PSLLVD, PERMPS, FMADD132PS, FMADD213PS, FMADD231PS,
];

#[test]
fn vector_instructions() {
    let registers = [0u8, 3, 7, 8, 12, 15].map(Ymm);
    let n = check(|t| {
        for (k, op) in BINARY.iter().enumerate() {
            for (n, a) in registers.iter().enumerate() {
                let (b, c) = (registers[(n + k) % 6], registers[(n + 2 * k + 1) % 6]);
                t.binary(*op, *a, b, Rm::Reg(c), None);
            }
            for m in places() {
                t.binary(*op, Ymm((k % 16) as u8), Ymm((k * 7 % 16) as u8), Rm::Mem(m), None);
            }
        }
        for a in registers {
            for b in registers {
                t.binary(PBLENDD, a, b, Rm::Reg(Ymm(9)), Some(0xaa));
                t.binary_low(PACKSSDW, a, b, a);
                t.unary(MOVAPS, a, Rm::Reg(b), None);
                t.unary(SQRTPS, a, Rm::Reg(b), None);
                t.unary(ROUNDPS, a, Rm::Reg(b), Some(11));
                t.unary(CVTDQ2PS, a, Rm::Reg(b), None);
                t.unary(CVTTPS2DQ, a, Rm::Reg(b), None);
                t.unary(PBROADCASTD, a, Rm::Reg(b), None);
                t.unary_low(PABSB, a, b);
                t.upper_half(a, b);
                for s in [PSLLD, PSRAD, PSRLD, PSRLQ] {
                    t.shift(s, a, b, 31);
                }
                for c in registers {
                    t.blend(a, b, Rm::Reg(c), Ymm(5));
                }
            }
        }
        for m in places() {
            for op in [MOVUPS, BROADCASTSS, PMOVSXBD, PMOVSXWD, PMOVZXBD, PMOVZXWD] {
                t.unary(op, Ymm(9), Rm::Mem(m), None);
            }
            t.blend(Ymm(1), Ymm(14), Rm::Mem(m), Ymm(10));
            t.store(m, Ymm(12));
            t.store_low(MOVQ_STORE, m, Ymm(3));
            t.store_low(MOVUPS_STORE, m, Ymm(13));
            t.load_halves(Ymm(6), m, m);
            t.load_halves(Ymm(11), m, m);
        }
        t.vzeroupper();
    });
    assert!(n > 10_000);
}

/// The decoder has names of their own for comparisons.
#[test]
fn comparisons() {
    let names = [(0x00, "vcmpeqps"), (0x04, "vcmpneqps"), (0x11, "vcmplt_oqps"), (0x12, "vcmple_oqps")];
    let more = [(0x1e, "vcmpgt_oqps"), (0x1d, "vcmpge_oqps"), (0x03, "vcmpunordps"), (0x07, "vcmpordps")];
    for (k, name) in names.into_iter().chain(more) {
        let mut t = Text::default();
        t.binary(CMPPS, Ymm(1), Ymm(2), Rm::Reg(Ymm(3)), Some(k));
        let (bytes, _) = t.finish(&[]);
        assert_eq!(normal(&decoded(&bytes)[0].1), format!("{name} %ymm3,%ymm2,%ymm1"));
    }
}

#[test]
fn integer_instructions() {
    check(|t| {
        for m in places() {
            for r in [0, 1, 8, 15].map(Gpr) {
                t.load64(r, m);
                t.load32(r, m);
                t.load16(r, m);
                t.store32(m, r);
                t.store64(m, r);
                t.address_of(r, m);
                t.add32(r, m);
            }
        }
        for a in (0..16).map(Gpr) {
            t.push(a);
            t.pop(a);
            t.zero(a);
            t.test(a);
            t.add(a, 8);
            for k in [1, 127, 128, 0x1234_5678] {
                t.advance(a, k);
                t.subtract(a, k);
                t.compare_constant(a, k);
                t.multiply(Gpr(15 - a.0), a, k);
            }
            t.clear_lowest(a);
            t.movd(Ymm(a.0), Gpr(15 - a.0));
            t.movmsk(a, Ymm(15 - a.0));
            for b in (0..16).map(Gpr) {
                t.add32_register(a, b);
                t.add_register(a, b);
                t.count_ones(a, b);
                t.compare(a, b);
                t.lowest(a, b);
            }
        }
        t.ret();
    });
}

#[test]
fn jumps_and_constants_lead_where_they_should() {
    let mut t = Text::default();
    let (before, behind) = (t.label(), t.label());
    t.bind(before);
    t.jump(If::NotZero, behind);
    t.unary(MOVUPS, Ymm(9), Rm::Mem(Mem::Pool(1)), None);
    t.binary(CMPPS, Ymm(1), Ymm(2), Rm::Mem(Mem::Pool(0)), Some(17));
    t.jump(If::Below, before);
    t.jump(If::Always, before);
    t.bind(behind);
    t.ret();
    let (bytes, _) = t.finish(&[[7; 8], [9; 8]]);
    let all = decoded(&bytes);
    let at = |n: usize| all[n].0;
    assert_eq!((at(0).near_branch_target(), at(0).mnemonic()), (at(5).ip(), iced_x86::Mnemonic::Jne));
    assert_eq!((at(3).near_branch_target(), at(3).mnemonic()), (0, iced_x86::Mnemonic::Jb));
    assert_eq!((at(4).near_branch_target(), at(4).mnemonic()), (0, iced_x86::Mnemonic::Jmp));
    for (n, value) in [(1, 9), (2, 7)] {
        let to = at(n).ip_rel_memory_address() as usize;
        assert_eq!((to % 32, bytes[to]), (0, value));
    }
}
