//! Sums of products whose chains stay in registers: a few rows of factors times eight-lane registers side by side.

use super::assemble::Code;
use super::vex::{
    ADDPS, BROADCASTSS, FMADD231PS, Gpr, If, MOVAPS, MOVUPS, Mem, PERMPS, PMOVZXBD, Rm, Text, XORPS, Ymm,
};

const FRAME: Gpr = Gpr(7);
const COUNT: Gpr = Gpr(6);
/// Registers for pointers and what a table says; the caller does not expect the first ones back.
const POOL: [Gpr; 12] =
    [Gpr(9), Gpr(10), Gpr(11), Gpr(8), Gpr(1), Gpr(2), Gpr(0), Gpr(3), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
const FREE: usize = 7;
const REGISTERS: usize = 16;
/// Bytes of a register.
const REGISTER: i32 = 32;
/// Links that are written out one after the other.
const UNROLL: i32 = 4;
/// Registers of chains from which on a link takes longer than what is done around it.
const LONG: usize = 8;
/// Furthest that a pointer may move in the links that are written out.
const MAX_MOVE: i32 = 1 << 18;

/// The element type of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    I64,
    U32,
    U16,
}

/// One number per link, which places of operands depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    pub unit: Unit,
    pub pointer: u8,
    pub displacement: i32,
}

/// Where an operand lies: at a pointer plus a displacement, plus what the table says times `factor` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Operand {
    pub pointer: u8,
    pub displacement: i32,
    pub factor: i32,
}

/// Where the chains of a row start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// At +0.
    Zero,
    /// As those of another row.
    Like(usize),
    /// Where the frame has their place.
    Frame,
    /// Where these are, lanes side by side.
    Memory(Operand),
}

/// What the lanes of a row take in a link: one each of eight elements side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pick {
    /// Says where the eight are.
    pub table: Table,
    /// Bytes below eight: which of them each lane takes.
    pub places: Operand,
    /// The eight, if the table says 0.
    pub inputs: Operand,
    /// What each lane multiplies them by.
    pub weights: Operand,
}

/// Chains of so many rows and eight-lane registers. Link k adds to every chain the product of its register of `lanes` and
/// the factor of its row, rounded once; or its register alone.
///
/// The code is a function of a frame and the number of links, which may be below one. The frame holds the pointers, then
/// the registers of the first row, of the second, and so on: before it the starts, on return the sums.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Chains {
    /// Bytes that each pointer moves with a link, none of them negative.
    pub moves: Vec<i32>,
    pub table: Option<Table>,
    /// The lanes of the first register; those of the others follow.
    pub lanes: Operand,
    /// Registers of a row.
    pub width: usize,
    /// One for each row.
    pub factors: Vec<Option<Operand>>,
    /// One for each row, of one register each; then what is said above of lanes, factors and the table counts for nothing.
    pub picks: Vec<Pick>,
    /// One for each row.
    pub starts: Vec<Start>,
    /// Where the sums of each row go, with +0 added that makes -0 one too; if there are none, they go into the frame.
    pub ends: Vec<Operand>,
}

impl Chains {
    /// Registers side by side for so many rows and registers: the fewest with which there are as few passes as there can be,
    /// or a power of two where their number is not known; 0 if there are too many rows, or no registers.
    pub fn widest(rows: usize, registers: Option<usize>) -> usize {
        let Some(all) = registers else {
            return [8, 4, 2, 1].into_iter().find(|w| Chains::fits(rows, *w)).unwrap_or(0);
        };
        let most = (1..REGISTERS).rev().find(|w| Chains::fits(rows, *w)).unwrap_or(0);
        if most == 0 || all == 0 { 0 } else { all.div_ceil(all.div_ceil(most)) }
    }

    /// One row leaves its lanes in memory; of more, either the factors or the lanes stay in registers during a link.
    fn fits(rows: usize, width: usize) -> bool {
        let held = if rows == 1 { 0 } else { rows.min(width) };
        rows > 0 && rows * width + held < REGISTERS
    }

    /// Where the frame has the place of a row's register.
    pub fn place(&self, row: usize, register: usize) -> i32 {
        let first = (8 * self.moves.len() as i32 + REGISTER - 1) / REGISTER * REGISTER;
        first + REGISTER * (row * self.width + register) as i32
    }

    /// `None` if there are more values than registers.
    pub fn assemble(&self) -> Option<Code> {
        let rows = self.starts.len();
        let far = self.moves.iter().any(|m| *m < 0 || *m > MAX_MOVE);
        let ended = self.ends.is_empty() || self.ends.len() == rows;
        let picked = self.picks.len() == rows && self.width == 1;
        let whole = if self.picks.is_empty() { self.factors.len() == rows } else { picked };
        if !Chains::fits(rows, self.width) || !whole || !ended || far {
            return None;
        }
        let mut a = Assembler { c: self, text: Text::default(), scaled: Vec::new() };
        a.scaled = a.factors_of_the_table();
        let said = self.table.is_some() || !self.picks.is_empty();
        let used = self.moves.len() + usize::from(said) + a.scaled.len();
        let saved = POOL.get(..used)?.get(FREE..).unwrap_or_default();
        a.function(saved);
        let (bytes, listing) = a.text.finish(&[]);
        Some(Code { bytes, listing, frame: self.place(rows, 0) as u32 })
    }
}

struct Assembler<'a> {
    c: &'a Chains,
    text: Text,
    /// Factors that an address cannot multiply by itself, each with a register of its own.
    scaled: Vec<i32>,
}

impl Assembler<'_> {
    fn factors_of_the_table(&self) -> Vec<i32> {
        let mut all: Vec<i32> = Vec::new();
        for o in self.c.factors.iter().flatten().chain([&self.c.lanes]).filter(|_| self.c.picks.is_empty()) {
            if !matches!(o.factor, 0 | 1 | 2 | 4 | 8) && !all.contains(&o.factor) {
                all.push(o.factor);
            }
        }
        all
    }

    fn pointer(&self, n: u8) -> Gpr {
        POOL[n as usize]
    }

    /// The register of what the table says, times nothing or times factor n.
    fn said(&self, scaled: Option<usize>) -> Gpr {
        POOL[self.c.moves.len() + scaled.map_or(0, |n| n + 1)]
    }

    fn sum(&self, row: usize, register: usize) -> Ymm {
        Ymm((row * self.c.width + register) as u8)
    }

    fn function(&mut self, saved: &[Gpr]) {
        let c = self.c;
        for r in saved {
            self.text.push(*r);
        }
        for (n, r) in POOL.iter().take(c.moves.len()).enumerate() {
            self.text.load64(*r, Mem::At(FRAME, 8 * n as i32));
        }
        for (row, start) in c.starts.iter().enumerate() {
            for n in 0..c.width {
                let (sum, at) = (self.sum(row, n), c.place(row, n));
                match *start {
                    Start::Zero => self.text.binary(XORPS, sum, sum, Rm::Reg(sum), None),
                    Start::Like(other) => self.text.unary(MOVAPS, sum, Rm::Reg(self.sum(other, n)), None),
                    Start::Memory(o) => {
                        let m = Mem::At(self.pointer(o.pointer), o.displacement + REGISTER * n as i32);
                        self.text.unary(MOVUPS, sum, Rm::Mem(m), None);
                    }
                    Start::Frame => self.text.load_halves(sum, Mem::At(FRAME, at), Mem::At(FRAME, at + REGISTER / 2)),
                }
            }
        }
        let [many, rest, one, end] = [(); 4].map(|()| self.text.label());
        let unroll = self.unroll();
        if unroll > 1 {
            self.text.compare_constant(COUNT, unroll);
            self.text.jump(If::Less, rest);
            self.text.bind(many);
            for k in 0..unroll {
                self.link(k);
            }
            self.advance(unroll);
            self.text.compare_constant(COUNT, unroll);
            self.text.jump(If::NotLess, many);
        }
        self.text.bind(rest);
        self.text.compare_constant(COUNT, 0);
        self.text.jump(If::NotGreater, end);
        self.text.bind(one);
        self.link(0);
        self.advance(1);
        self.text.jump(If::NotZero, one);
        self.text.bind(end);
        let zero = Ymm((c.starts.len() * c.width) as u8);
        if !c.ends.is_empty() {
            self.text.binary(XORPS, zero, zero, Rm::Reg(zero), None);
        }
        for row in 0..c.starts.len() {
            for n in 0..c.width {
                let sum = self.sum(row, n);
                let to = match c.ends.get(row) {
                    None => Mem::At(FRAME, c.place(row, n)),
                    Some(o) => {
                        self.text.binary(ADDPS, sum, sum, Rm::Reg(zero), None);
                        Mem::At(self.pointer(o.pointer), o.displacement + REGISTER * n as i32)
                    }
                };
                self.text.store(to, sum);
            }
        }
        self.text.vzeroupper();
        for r in saved.iter().rev() {
            self.text.pop(*r);
        }
        self.text.ret();
    }

    /// Links that are written out one after the other. Where a list says which there are, their number differs from call to
    /// call, and the end of a loop is not foreseen: long links have one such end, not two.
    fn unroll(&self) -> i32 {
        let c = self.c;
        match () {
            () if !c.picks.is_empty() => UNROLL / 2,
            () if c.table.is_some() && c.starts.len() * c.width >= LONG => 1,
            () => UNROLL,
        }
    }

    /// Moves on by so many links; then the flags say whether any is left.
    fn advance(&mut self, links: i32) {
        for (n, m) in self.c.moves.iter().enumerate() {
            if *m != 0 {
                self.text.advance(POOL[n], m * links);
            }
        }
        self.text.subtract(COUNT, links);
    }

    /// An operand of link k after the pointers, `by` bytes on.
    fn at(&self, o: &Operand, k: i32, by: i32) -> Mem {
        let displacement = o.displacement + k * self.c.moves[o.pointer as usize] + by;
        let p = self.pointer(o.pointer);
        match (o.factor, self.scaled.iter().position(|f| *f == o.factor)) {
            (0, _) => Mem::At(p, displacement),
            (_, Some(n)) => Mem::Row(p, self.said(Some(n)), 0, displacement),
            (f, None) => Mem::Row(p, self.said(None), f.trailing_zeros() as u8, displacement),
        }
    }

    fn link(&mut self, k: i32) {
        let c = self.c;
        if !c.picks.is_empty() {
            return self.picked(k);
        }
        if let Some(t) = &c.table {
            self.look_up(t, k);
            for n in 0..self.scaled.len() {
                self.text.multiply(self.said(Some(n)), self.said(None), self.scaled[n]);
            }
        }
        let lanes = |a: &Self, n: usize| a.at(&c.lanes, k, REGISTER * n as i32);
        let rows = c.factors.len();
        let first = rows * c.width;
        let held = |n: usize| Ymm((first + n) as u8);
        if rows == 1 {
            self.factor(0, k, held(0));
            for n in 0..c.width {
                let m = lanes(self, n);
                self.add(0, n, held(0), Rm::Mem(m));
            }
        } else if c.width <= rows {
            for n in 0..c.width {
                let m = lanes(self, n);
                self.text.unary(MOVUPS, held(n), Rm::Mem(m), None);
            }
            for row in 0..rows {
                self.factor(row, k, held(c.width));
                for n in 0..c.width {
                    self.add(row, n, held(c.width), Rm::Reg(held(n)));
                }
            }
        } else {
            for row in 0..rows {
                self.factor(row, k, held(row));
            }
            for n in 0..c.width {
                let m = lanes(self, n);
                self.text.unary(MOVUPS, held(rows), Rm::Mem(m), None);
                for row in 0..rows {
                    self.add(row, n, held(row), Rm::Reg(held(rows)));
                }
            }
        }
    }

    /// Loads what a table says about link k.
    fn look_up(&mut self, t: &Table, k: i32) {
        let at = Mem::At(self.pointer(t.pointer), t.displacement + k * self.c.moves[t.pointer as usize]);
        let said = self.said(None);
        match t.unit {
            Unit::I64 => self.text.load64(said, at),
            Unit::U32 => self.text.load32(said, at),
            Unit::U16 => self.text.load16(said, at),
        }
    }

    fn picked(&mut self, k: i32) {
        let rows = self.c.picks.len();
        for (row, p) in self.c.picks.iter().enumerate() {
            self.look_up(&p.table, k);
            let x = Ymm((rows + row % (REGISTERS - rows)) as u8);
            let [places, inputs, weights] = [&p.places, &p.inputs, &p.weights].map(|o| Rm::Mem(self.at(o, k, 0)));
            self.text.unary(PMOVZXBD, x, places, None);
            self.text.binary(PERMPS, x, x, inputs, None);
            self.text.binary(FMADD231PS, self.sum(row, 0), x, weights, None);
        }
    }

    /// Brings the factor of a row into all lanes of a register.
    fn factor(&mut self, row: usize, k: i32, to: Ymm) {
        if let Some(o) = &self.c.factors[row] {
            let m = self.at(o, k, 0);
            self.text.unary(BROADCASTSS, to, Rm::Mem(m), None);
        }
    }

    fn add(&mut self, row: usize, n: usize, factor: Ymm, lanes: Rm) {
        let sum = self.sum(row, n);
        match self.c.factors[row] {
            Some(_) => self.text.binary(FMADD231PS, sum, factor, lanes, None),
            None => self.text.binary(ADDPS, sum, sum, lanes, None),
        }
    }
}
