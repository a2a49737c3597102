//! The instructions that wide loops are made of, as bytes and as text.

use std::fmt::Write;

/// A 64-bit register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gpr(pub u8);

/// A 256-bit register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ymm(pub u8);

const WIDE_NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const NAMES: [&str; 16] = [
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d",
    "r15d",
];

/// An operand in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mem {
    /// At a register plus a displacement.
    At(Gpr, i32),
    /// At `base + (index << shift) + displacement`.
    Row(Gpr, Gpr, u8, i32),
    /// Constant number n of the pool behind the code.
    Pool(u32),
}

/// The operand that an instruction can take from a register or from memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rm {
    Reg(Ymm),
    Mem(Mem),
}

/// A vector instruction with a VEX prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Op {
    name: &'static str,
    /// 1 for `0f`, 2 for `0f 38`, 3 for `0f 3a`.
    map: u8,
    /// 0 for none, 1 for `66`, 2 for `f3`.
    prefix: u8,
    code: u8,
}

const fn op(name: &'static str, map: u8, prefix: u8, code: u8) -> Op {
    Op { name, map, prefix, code }
}

macro_rules! ops {
    ($($id:ident = $map:literal $prefix:literal $code:literal $name:literal,)*) => {
        $(pub(crate) const $id: Op = op($name, $map, $prefix, $code);)*
    };
}

ops! {
    MOVUPS = 1 0 0x10 "vmovups",
    MOVUPS_STORE = 1 0 0x11 "vmovups",
    MOVAPS = 1 0 0x28 "vmovaps",
    SQRTPS = 1 0 0x51 "vsqrtps",
    ANDPS = 1 0 0x54 "vandps",
    ANDNPS = 1 0 0x55 "vandnps",
    ORPS = 1 0 0x56 "vorps",
    XORPS = 1 0 0x57 "vxorps",
    ADDPS = 1 0 0x58 "vaddps",
    MULPS = 1 0 0x59 "vmulps",
    SUBPS = 1 0 0x5c "vsubps",
    DIVPS = 1 0 0x5e "vdivps",
    CMPPS = 1 0 0xc2 "vcmpps",
    CVTDQ2PS = 1 0 0x5b "vcvtdq2ps",
    CVTTPS2DQ = 1 2 0x5b "vcvttps2dq",
    ROUNDPS = 3 1 0x08 "vroundps",
    PACKSSWB = 1 1 0x63 "vpacksswb",
    PCMPGTD = 1 1 0x66 "vpcmpgtd",
    PACKUSWB = 1 1 0x67 "vpackuswb",
    PACKSSDW = 1 1 0x6b "vpackssdw",
    PCMPEQD = 1 1 0x76 "vpcmpeqd",
    MOVQ_STORE = 1 1 0xd6 "vmovq",
    PMULUDQ = 1 1 0xf4 "vpmuludq",
    PSUBD = 1 1 0xfa "vpsubd",
    PADDD = 1 1 0xfe "vpaddd",
    PERMPS = 2 1 0x16 "vpermps",
    BROADCASTSS = 2 1 0x18 "vbroadcastss",
    PABSB = 2 1 0x1c "vpabsb",
    PMOVSXBD = 2 1 0x21 "vpmovsxbd",
    PMOVSXWD = 2 1 0x23 "vpmovsxwd",
    PACKUSDW = 2 1 0x2b "vpackusdw",
    PMOVZXBD = 2 1 0x31 "vpmovzxbd",
    PMOVZXWD = 2 1 0x33 "vpmovzxwd",
    PMULLD = 2 1 0x40 "vpmulld",
    PSRLVD = 2 1 0x45 "vpsrlvd",
    PSRAVD = 2 1 0x46 "vpsravd",
    PSLLVD = 2 1 0x47 "vpsllvd",
    PBROADCASTD = 2 1 0x58 "vpbroadcastd",
    FMADD132PS = 2 1 0x98 "vfmadd132ps",
    FMADD213PS = 2 1 0xa8 "vfmadd213ps",
    FMADD231PS = 2 1 0xb8 "vfmadd231ps",
    PBLENDD = 3 1 0x02 "vpblendd",
    INSERTF128 = 3 1 0x18 "vinsertf128",
    EXTRACTI128 = 3 1 0x39 "vextracti128",
    BLENDVPS = 3 1 0x4a "vblendvps",
}

/// A shift by a constant: the code of its group and the number in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shift {
    op: Op,
    group: u8,
}

pub(crate) const PSLLD: Shift = Shift { op: op("vpslld", 1, 1, 0x72), group: 6 };
pub(crate) const PSRAD: Shift = Shift { op: op("vpsrad", 1, 1, 0x72), group: 4 };
pub(crate) const PSRLD: Shift = Shift { op: op("vpsrld", 1, 1, 0x72), group: 2 };
pub(crate) const PSRLQ: Shift = Shift { op: op("vpsrlq", 1, 1, 0x73), group: 2 };

/// A place in the code that jumps lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label(usize);

/// What a jump depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum If {
    Always,
    NotZero,
    /// Unsigned.
    Below,
    /// Signed.
    Less,
    /// Signed.
    NotLess,
    /// Signed.
    NotGreater,
}

/// Width of a vector operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Xmm,
    Ymm,
}

/// Machine code that is being written.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    listing: String,
    labels: Vec<Option<usize>>,
    /// Where the four bytes of a jump's distance are, and where it leads.
    jumps: Vec<(usize, Label)>,
    /// Where the four bytes of a distance to a constant are, the end of the instruction, and the constant.
    constants: Vec<(usize, usize, u32)>,
}

impl Text {
    fn line(&mut self, name: &str, operands: &[String]) {
        let _ = writeln!(self.listing, "  {name:<12} {}", operands.join(", "));
    }

    /// The name of an operand in memory, as assemblers for Unix write it.
    fn place(m: Mem) -> String {
        let number = |d: i32| match d {
            0 => String::new(),
            d if d < 0 => format!("-{:#x}", d.unsigned_abs()),
            d => format!("{d:#x}"),
        };
        match m {
            Mem::At(b, d) => format!("{}(%{})", number(d), WIDE_NAMES[b.0 as usize]),
            Mem::Row(b, i, s, d) => {
                format!("{}(%{}, %{}, {})", number(d), WIDE_NAMES[b.0 as usize], WIDE_NAMES[i.0 as usize], 1 << s)
            }
            Mem::Pool(n) => format!("constant{n}(%rip)"),
        }
    }

    fn name(width: Width, r: u8) -> String {
        format!("%{}mm{r}", if width == Width::Xmm { 'x' } else { 'y' })
    }

    /// Bits 3 of the registers in a memory operand: of the index, of the base.
    fn high(m: Mem) -> (u8, u8) {
        match m {
            Mem::At(b, _) => (0, b.0 >> 3),
            Mem::Row(b, i, ..) => (i.0 >> 3, b.0 >> 3),
            Mem::Pool(_) => (0, 0),
        }
    }

    /// The bytes that name a memory operand beside register `reg`.
    fn address(&mut self, reg: u8, m: Mem) {
        let reg = (reg & 7) << 3;
        let (base, sib, disp) = match m {
            Mem::Pool(n) => {
                self.bytes.push(reg | 5);
                self.constants.push((self.bytes.len(), 0, n));
                self.bytes.extend([0; 4]);
                return;
            }
            // A stack pointer as base can only be said with an index byte, whose index 4 is none.
            Mem::At(b, d) => (b, (b.0 & 7 == 4).then_some(0x20 | (b.0 & 7)), d),
            Mem::Row(b, i, s, d) => (b, Some(s << 6 | (i.0 & 7) << 3 | (b.0 & 7)), d),
        };
        let rm = if sib.is_some() { 4 } else { base.0 & 7 };
        let short = i8::try_from(disp).ok();
        // Base 5 without a displacement would mean another mode.
        let mode = match short {
            Some(0) if base.0 & 7 != 5 => 0,
            Some(_) => 0x40,
            None => 0x80,
        };
        self.bytes.push(mode | reg | rm);
        self.bytes.extend(sib);
        match (mode, short) {
            (0, _) => {}
            (_, Some(d)) => self.bytes.push(d as u8),
            (_, None) => self.bytes.extend(disp.to_le_bytes()),
        }
    }

    fn operand(&mut self, reg: u8, rm: Rm) {
        match rm {
            Rm::Reg(r) => self.bytes.push(0xc0 | (reg & 7) << 3 | (r.0 & 7)),
            Rm::Mem(m) => self.address(reg, m),
        }
    }

    /// One vector instruction: the register that its `reg` field names, the one of its prefix, the third operand.
    fn vex(&mut self, width: Width, op: Op, reg: u8, second: u8, rm: Rm, immediate: Option<u8>) {
        let (x, b) = match rm {
            Rm::Reg(r) => (0, r.0 >> 3),
            Rm::Mem(m) => Text::high(m),
        };
        let length = u8::from(width == Width::Ymm) << 2;
        let last = (!second & 15) << 3 | length | op.prefix;
        if op.map == 1 && x == 0 && b == 0 {
            self.bytes.extend([0xc5, (!reg & 8) << 4 | last, op.code]);
        } else {
            self.bytes.extend([0xc4, (!reg & 8) << 4 | (1 - x) << 6 | (1 - b) << 5 | op.map, last, op.code]);
        }
        self.operand(reg, rm);
        self.bytes.extend(immediate);
        self.end_constants();
    }

    /// Lets distances to constants know where their instruction ends.
    fn end_constants(&mut self) {
        let end = self.bytes.len();
        for c in self.constants.iter_mut().rev().take_while(|c| c.1 == 0) {
            c.1 = end;
        }
    }

    fn rm_name(width: Width, rm: Rm) -> String {
        match rm {
            Rm::Reg(r) => Text::name(width, r.0),
            Rm::Mem(m) => Text::place(m),
        }
    }

    fn three(&mut self, width: Width, op: Op, dst: Ymm, x: Ymm, y: Rm, immediate: Option<u8>) {
        self.vex(width, op, dst.0, x.0, y, immediate);
        let mut names: Vec<String> = immediate.iter().map(|i| format!("${i:#x}")).collect();
        names.extend([Text::rm_name(width, y), Text::name(width, x.0), Text::name(width, dst.0)]);
        self.line(op.name, &names);
    }

    /// `dst = op(x, y)`; also `dst = op(dst, x, y)` for multiply-adds.
    pub fn binary(&mut self, op: Op, dst: Ymm, x: Ymm, y: Rm, immediate: Option<u8>) {
        self.three(Width::Ymm, op, dst, x, y, immediate);
    }

    /// The same on the lower halves; the upper half becomes 0.
    pub fn binary_low(&mut self, op: Op, dst: Ymm, x: Ymm, y: Ymm) {
        self.three(Width::Xmm, op, dst, x, Rm::Reg(y), None);
    }

    /// `dst = op(x)`.
    pub fn unary(&mut self, op: Op, dst: Ymm, x: Rm, immediate: Option<u8>) {
        self.vex(Width::Ymm, op, dst.0, 0, x, immediate);
        let mut names: Vec<String> = immediate.iter().map(|i| format!("${i:#x}")).collect();
        // What is widened or spread comes from a lower half.
        let from = if op.map == 2 { Width::Xmm } else { Width::Ymm };
        names.extend([Text::rm_name(from, x), Text::name(Width::Ymm, dst.0)]);
        self.line(op.name, &names);
    }

    /// `dst = op(x)` on the lower halves.
    pub fn unary_low(&mut self, op: Op, dst: Ymm, x: Ymm) {
        self.vex(Width::Xmm, op, dst.0, 0, Rm::Reg(x), None);
        self.line(op.name, &[Text::name(Width::Xmm, x.0), Text::name(Width::Xmm, dst.0)]);
    }

    /// Stores a register.
    pub fn store(&mut self, at: Mem, x: Ymm) {
        self.vex(Width::Ymm, MOVUPS_STORE, x.0, 0, Rm::Mem(at), None);
        self.line(MOVUPS_STORE.name, &[Text::name(Width::Ymm, x.0), Text::place(at)]);
    }

    /// Stores the lower half of a register, or the lower quarter with [`MOVQ_STORE`].
    pub fn store_low(&mut self, op: Op, at: Mem, x: Ymm) {
        self.vex(Width::Xmm, op, x.0, 0, Rm::Mem(at), None);
        self.line(op.name, &[Text::name(Width::Xmm, x.0), Text::place(at)]);
    }

    /// Two halves from memory, one after the other: what was stored in halves is there sooner than as a whole.
    pub fn load_halves(&mut self, dst: Ymm, low: Mem, high: Mem) {
        self.vex(Width::Xmm, MOVUPS, dst.0, 0, Rm::Mem(low), None);
        self.line(MOVUPS.name, &[Text::place(low), Text::name(Width::Xmm, dst.0)]);
        self.three(Width::Ymm, INSERTF128, dst, dst, Rm::Mem(high), Some(1));
    }

    /// The upper half of `x` as the lower half of `dst`.
    pub fn upper_half(&mut self, dst: Ymm, x: Ymm) {
        self.vex(Width::Ymm, EXTRACTI128, x.0, 0, Rm::Reg(dst), Some(1));
        let names = ["$0x1".to_owned(), Text::name(Width::Ymm, x.0), Text::name(Width::Xmm, dst.0)];
        self.line(EXTRACTI128.name, &names);
    }

    /// Shifts lanes by a constant.
    pub fn shift(&mut self, s: Shift, dst: Ymm, x: Ymm, by: u8) {
        self.vex(Width::Ymm, s.op, s.group, dst.0, Rm::Reg(x), Some(by));
        let names = [format!("${by:#x}"), Text::name(Width::Ymm, x.0), Text::name(Width::Ymm, dst.0)];
        self.line(s.op.name, &names);
    }

    /// `dst = if mask then x else y`, lane by lane, by the masks' sign bits.
    pub fn blend(&mut self, dst: Ymm, mask: Ymm, x: Rm, y: Ymm) {
        self.vex(Width::Ymm, BLENDVPS, dst.0, y.0, x, Some(mask.0 << 4));
        let y = Text::name(Width::Ymm, y.0);
        let names = [Text::name(Width::Ymm, mask.0), Text::rm_name(Width::Ymm, x), y, Text::name(Width::Ymm, dst.0)];
        self.line(BLENDVPS.name, &names);
    }

    /// The sign bits of the lanes.
    pub fn movmsk(&mut self, dst: Gpr, x: Ymm) {
        self.vex(Width::Ymm, op("vmovmskps", 1, 0, 0x50), dst.0, 0, Rm::Reg(x), None);
        self.line("vmovmskps", &[Text::name(Width::Ymm, x.0), format!("%{}", NAMES[dst.0 as usize])]);
    }

    /// The low 32 bits of `x` in lane 0 of `dst`, the other lanes 0.
    pub fn movd(&mut self, dst: Ymm, x: Gpr) {
        self.vex(Width::Xmm, op("vmovd", 1, 1, 0x6e), dst.0, 0, Rm::Reg(Ymm(x.0)), None);
        self.line("vmovd", &[format!("%{}", NAMES[x.0 as usize]), Text::name(Width::Xmm, dst.0)]);
    }

    /// Zeroes the upper halves, which code for lower halves expects.
    pub fn vzeroupper(&mut self) {
        self.bytes.extend([0xc5, 0xf8, 0x77]);
        self.line("vzeroupper", &[]);
    }

    /// An instruction on integer registers with an operand in memory.
    fn integer(&mut self, name: &str, wide: bool, code: u8, reg: Gpr, m: Mem, store: bool) {
        let (x, b) = Text::high(m);
        let rex = 0x40 | u8::from(wide) << 3 | (reg.0 >> 3) << 2 | x << 1 | b;
        if rex != 0x40 {
            self.bytes.push(rex);
        }
        self.bytes.push(code);
        self.address(reg.0, m);
        let r = format!("%{}", if wide { WIDE_NAMES } else { NAMES }[reg.0 as usize]);
        let m = Text::place(m);
        self.line(name, &if store { [r, m] } else { [m, r] });
    }

    /// Loads 64 bits.
    pub fn load64(&mut self, dst: Gpr, m: Mem) {
        self.integer("movq", true, 0x8b, dst, m, false);
    }

    /// Loads 32 bits, zero-extended.
    pub fn load32(&mut self, dst: Gpr, m: Mem) {
        self.integer("movl", false, 0x8b, dst, m, false);
    }

    /// Loads 16 bits, zero-extended.
    pub fn load16(&mut self, dst: Gpr, m: Mem) {
        let (x, b) = Text::high(m);
        let rex = 0x40 | (dst.0 >> 3) << 2 | x << 1 | b;
        self.bytes.extend((rex != 0x40).then_some(rex));
        self.bytes.extend([0x0f, 0xb7]);
        self.address(dst.0, m);
        self.line("movzwl", &[Text::place(m), format!("%{}", NAMES[dst.0 as usize])]);
    }

    /// Stores 32 bits.
    pub fn store32(&mut self, m: Mem, x: Gpr) {
        self.integer("movl", false, 0x89, x, m, true);
    }

    /// Stores 64 bits.
    pub fn store64(&mut self, m: Mem, x: Gpr) {
        self.integer("movq", true, 0x89, x, m, true);
    }

    /// The address of an operand in memory.
    pub fn address_of(&mut self, dst: Gpr, m: Mem) {
        self.integer("leaq", true, 0x8d, dst, m, false);
        self.end_constants();
    }

    /// Adds 32 bits from memory.
    pub fn add32(&mut self, dst: Gpr, m: Mem) {
        self.integer("addl", false, 0x03, dst, m, false);
    }

    /// An instruction on two integer registers: `reg` and `rm` of its bytes.
    fn registers(&mut self, name: &str, wide: bool, code: u8, reg: Gpr, rm: Gpr) {
        let rex = 0x40 | u8::from(wide) << 3 | (reg.0 >> 3) << 2 | rm.0 >> 3;
        if rex != 0x40 {
            self.bytes.push(rex);
        }
        self.bytes.extend([code, 0xc0 | (reg.0 & 7) << 3 | (rm.0 & 7)]);
        let names = if wide { WIDE_NAMES } else { NAMES };
        self.line(name, &[format!("%{}", names[reg.0 as usize]), format!("%{}", names[rm.0 as usize])]);
    }

    /// `dst += x`, 32 bits.
    pub fn add32_register(&mut self, dst: Gpr, x: Gpr) {
        self.registers("addl", false, 0x01, x, dst);
    }

    /// `dst += x`, 64 bits.
    pub fn add_register(&mut self, dst: Gpr, x: Gpr) {
        self.registers("addq", true, 0x01, x, dst);
    }

    /// `r = 0`.
    pub fn zero(&mut self, r: Gpr) {
        self.registers("xorl", false, 0x31, r, r);
    }

    /// Compares 64 bits for a jump on `x` below `y`.
    pub fn compare(&mut self, x: Gpr, y: Gpr) {
        self.registers("cmpq", true, 0x39, y, x);
    }

    /// Tests 32 bits for a jump on not zero.
    pub fn test(&mut self, x: Gpr) {
        self.registers("testl", false, 0x85, x, x);
    }

    /// `r += k`, 64 bits.
    pub fn add(&mut self, r: Gpr, k: i8) {
        self.bytes.extend([0x48 | r.0 >> 3, 0x83, 0xc0 | (r.0 & 7), k as u8]);
        self.line("addq", &[format!("${k:#x}"), format!("%{}", WIDE_NAMES[r.0 as usize])]);
    }

    /// An instruction on a 64-bit register and a constant.
    fn constant(&mut self, name: &str, group: u8, r: Gpr, k: i32) {
        let rex = 0x48 | r.0 >> 3;
        match i8::try_from(k) {
            Ok(k) => self.bytes.extend([rex, 0x83, 0xc0 | group << 3 | (r.0 & 7), k as u8]),
            Err(_) => {
                self.bytes.extend([rex, 0x81, 0xc0 | group << 3 | (r.0 & 7)]);
                self.bytes.extend(k.to_le_bytes());
            }
        }
        self.line(name, &[format!("${k:#x}"), format!("%{}", WIDE_NAMES[r.0 as usize])]);
    }

    /// `r += k`, 64 bits; `k` is not negative.
    pub fn advance(&mut self, r: Gpr, k: i32) {
        self.constant("addq", 0, r, k);
    }

    /// `r -= k`, 64 bits; `k` is not negative.
    pub fn subtract(&mut self, r: Gpr, k: i32) {
        self.constant("subq", 5, r, k);
    }

    /// Compares 64 bits with a constant that is not negative.
    pub fn compare_constant(&mut self, r: Gpr, k: i32) {
        self.constant("cmpq", 7, r, k);
    }

    /// `dst = x * k`, 64 bits; `k` is not negative.
    pub fn multiply(&mut self, dst: Gpr, x: Gpr, k: i32) {
        let rex = 0x48 | (dst.0 >> 3) << 2 | x.0 >> 3;
        self.bytes.extend([rex, 0x69, 0xc0 | (dst.0 & 7) << 3 | (x.0 & 7)]);
        self.bytes.extend(k.to_le_bytes());
        let names = [x, dst].map(|r| format!("%{}", WIDE_NAMES[r.0 as usize]));
        self.line("imulq", &[format!("${k:#x}"), names[0].clone(), names[1].clone()]);
    }

    /// An instruction that counts bits of 32.
    fn bits(&mut self, name: &str, code: u8, dst: Gpr, x: Gpr) {
        self.bytes.push(0xf3);
        let rex = 0x40 | (dst.0 >> 3) << 2 | x.0 >> 3;
        if rex != 0x40 {
            self.bytes.push(rex);
        }
        self.bytes.extend([0x0f, code, 0xc0 | (dst.0 & 7) << 3 | (x.0 & 7)]);
        self.line(name, &[format!("%{}", NAMES[x.0 as usize]), format!("%{}", NAMES[dst.0 as usize])]);
    }

    /// The number of the lowest bit that is set in 32 bits.
    pub fn lowest(&mut self, dst: Gpr, x: Gpr) {
        self.bits("tzcntl", 0xbc, dst, x);
    }

    /// How many of 32 bits are set.
    pub fn count_ones(&mut self, dst: Gpr, x: Gpr) {
        self.bits("popcntl", 0xb8, dst, x);
    }

    /// Clears the lowest bit that is set in 32 bits, for a jump on not zero.
    pub fn clear_lowest(&mut self, r: Gpr) {
        self.vex(Width::Xmm, op("blsrl", 2, 0, 0xf3), 1, r.0, Rm::Reg(Ymm(r.0)), None);
        let r = format!("%{}", NAMES[r.0 as usize]);
        self.line("blsrl", &[r.clone(), r]);
    }

    /// Saves a register on the stack.
    pub fn push(&mut self, r: Gpr) {
        self.bytes.extend((r.0 > 7).then_some(0x41));
        self.bytes.push(0x50 | (r.0 & 7));
        self.line("pushq", &[format!("%{}", WIDE_NAMES[r.0 as usize])]);
    }

    /// Restores a register from the stack.
    pub fn pop(&mut self, r: Gpr) {
        self.bytes.extend((r.0 > 7).then_some(0x41));
        self.bytes.push(0x58 | (r.0 & 7));
        self.line("popq", &[format!("%{}", WIDE_NAMES[r.0 as usize])]);
    }

    /// Returns.
    pub fn ret(&mut self) {
        self.bytes.push(0xc3);
        self.line("retq", &[]);
    }

    /// A place that is not bound yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Lets a label be here.
    pub fn bind(&mut self, l: Label) {
        self.labels[l.0] = Some(self.bytes.len());
        let _ = writeln!(self.listing, "label{}:", l.0);
    }

    /// Jumps.
    pub fn jump(&mut self, when: If, to: Label) {
        let (name, code): (_, &[u8]) = match when {
            If::Always => ("jmp", &[0xe9]),
            If::NotZero => ("jnz", &[0x0f, 0x85]),
            If::Below => ("jb", &[0x0f, 0x82]),
            If::Less => ("jl", &[0x0f, 0x8c]),
            If::NotLess => ("jge", &[0x0f, 0x8d]),
            If::NotGreater => ("jle", &[0x0f, 0x8e]),
        };
        self.bytes.extend(code);
        self.jumps.push((self.bytes.len(), to));
        self.bytes.extend([0; 4]);
        self.line(name, &[format!("label{}", to.0)]);
    }

    /// The code with its constants behind it, and its text. Labels that were jumped to have been bound.
    pub fn finish(mut self, pool: &[[u32; 8]]) -> (Vec<u8>, String) {
        for (at, to) in &self.jumps {
            let to = self.labels[to.0].unwrap_or(*at + 4);
            let distance = to as i32 - (*at as i32 + 4);
            self.bytes[*at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        if !pool.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(32), 0xcc);
        }
        let first = self.bytes.len();
        for (at, end, n) in &self.constants {
            let distance = (first + 32 * *n as usize) as i32 - *end as i32;
            self.bytes[*at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        for (n, lanes) in pool.iter().enumerate() {
            self.bytes.extend(lanes.iter().flat_map(|l| l.to_le_bytes()));
            let lanes: Vec<String> = lanes.iter().map(|l| format!("{l:#x}")).collect();
            let _ = writeln!(self.listing, "constant{n}: {}", lanes.join(", "));
        }
        (self.bytes, self.listing)
    }
}
