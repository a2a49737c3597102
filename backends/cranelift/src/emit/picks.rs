//! Chains of products whose lanes pick their inputs: in each link every chain takes one of eight elements side by side, which
//! one instruction brings to it.
//!
//! Tables say where the eight lie and which of them each chain takes. All eight are read, so that this is done only where
//! tables are constants from which it follows that they are there.

use super::cell::Lin;
use super::chains::{Around, Base, Load};
use super::shape::Class;
use super::{Emitted, Emitter};
use crate::wide::{Chains, LANES, Pick};
use nc_ir::DType;
use nc_ir::kernel::{Block, BufId, Carried, Index, Role, ScalarOp, ScalarType, Stmt, Val};

/// A chain: what says where its eight elements are, which of them its lanes take, the elements, and the weights.
#[derive(Clone, Copy)]
pub(super) struct Picked<'k> {
    firsts: Load<'k>,
    places: Load<'k>,
    inputs: Load<'k>,
    weights: Load<'k>,
    /// The number that the place in the window is.
    place: Val,
}

impl Emitter<'_, '_> {
    /// What an inner loop in lanes is, if its carried values are chains that pick their inputs.
    pub(super) fn picks<'k>(&self, var: Val, carried: &[Carried], body: &'k Block) -> Option<Vec<Picked<'k>>> {
        if !self.mode.wide || carried.is_empty() {
            return None;
        }
        let mut loads: Vec<Load<'k>> = Vec::new();
        // Loaded numbers, as indices.
        let mut widened: Vec<(Val, Load<'k>)> = Vec::new();
        let mut picked: Vec<Option<Picked<'k>>> = vec![None; carried.len()];
        let elem = |l: &Load<'_>| self.program.buffers.get(l.buf.index()).map(|b| b.elem);
        for s in &body.stmts {
            match s {
                Stmt::Const { .. } => {}
                Stmt::Load { dst, buf, index } => {
                    let load = Load { dst: *dst, buf: *buf, index };
                    if elem(&load)? == DType::U32 {
                        widened.push((*dst, load));
                    }
                    loads.push(load);
                }
                Stmt::Op { dst, op: ScalarOp::U32ToI64, args } => {
                    let from = loads.iter().find(|l| args.as_slice() == [l.dst])?;
                    widened.push((*dst, *from));
                }
                Stmt::Op { dst, op: ScalarOp::Fma, args } => {
                    let [x, y, z] = args[..] else { return None };
                    let n = carried.iter().position(|c| c.next == *dst && c.param == z)?;
                    let load = |v: Val| loads.iter().find(|l| l.dst == v).copied();
                    let (x, y) = (load(x)?, load(y)?);
                    let beside = |l: &Load<'_>| self.moves(l.index) == Some(1);
                    let (weights, inputs) = if beside(&x) { (x, y) } else { (y, x) };
                    let mut numbers = widened.iter().filter(|(v, _)| inputs.index.terms.contains(&(*v, 1)));
                    let (a, b) = (numbers.next()?, numbers.next()?);
                    let (place, firsts) = if elem(&a.1)? == DType::U8 { (a, b) } else { (b, a) };
                    let made = Picked { firsts: firsts.1, places: place.1, inputs, weights, place: place.0 };
                    let types = [weights, inputs].iter().all(|l| elem(l) == Some(DType::F32));
                    let narrow = matches!(elem(&firsts.1)?, DType::U16 | DType::U32) && elem(&place.1)? == DType::U8;
                    let lanes = beside(&weights) && beside(&place.1) && self.moves(firsts.1.index) == Some(0);
                    let only = numbers.next().is_none();
                    if !types || !narrow || !lanes || !only || picked[n].replace(made).is_some() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        let picked = picked.into_iter().collect::<Option<Vec<_>>>()?;
        let varying = |c: &Carried| {
            let f32 = self.types.get(c.param.index()) == Some(&ScalarType::F32);
            f32 && self.classes.get(c.param).is_some_and(|c| c != Class::Uniform)
        };
        // Numbers of the loop have no other place in an address than where they are looked for.
        let defined: Vec<Val> = loads.iter().map(|l| l.dst).chain(widened.iter().map(|w| w.0)).collect();
        let plain = |i: &Index, known: &[Val]| i.terms.iter().all(|(v, _)| known.contains(v) || !defined.contains(v));
        let sound = |p: &Picked<'_>| {
            let first = |v: &Val| widened.iter().any(|(w, l)| w == v && l.dst == p.firsts.dst);
            let own: Vec<Val> =
                p.inputs.index.terms.iter().map(|t| t.0).filter(|v| first(v) || *v == p.place).collect();
            let still = p.inputs.index.terms.iter().all(|t| t.0 != var);
            let tables = plain(p.firsts.index, &[]) && plain(p.places.index, &[]) && plain(p.weights.index, &[]);
            own.len() == 2 && still && tables && plain(p.inputs.index, &own) && self.are_there(p)
        };
        (carried.iter().all(varying) && picked.iter().all(sound)).then_some(picked)
    }

    /// The bytes of a constant.
    fn table_bytes(&self, buf: BufId) -> Option<&[u8]> {
        match &self.program.buffers.get(buf.index())?.role {
            Role::Const(t) => Some(t.bytes()),
            _ => None,
        }
    }

    /// True if all elements of each window exist: some link takes the last element of the last window, and the program reads
    /// nothing that does not exist.
    fn are_there(&self, p: &Picked<'_>) -> bool {
        let (Some(firsts), Some(places)) = (self.table_bytes(p.firsts.buf), self.table_bytes(p.places.buf)) else {
            return false;
        };
        let firsts: Vec<u32> = match self.program.buffers.get(p.firsts.buf.index()).map(|b| b.elem) {
            Some(DType::U16) => firsts.chunks_exact(2).map(|b| u32::from(u16::from_ne_bytes([b[0], b[1]]))).collect(),
            Some(DType::U32) => firsts.chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect(),
            _ => return false,
        };
        // The places of a link lie where its window does.
        let lanes = |i: &Index| -> Vec<(Val, i64)> { i.terms.iter().map(|(v, c)| (*v, c * LANES)).collect() };
        let same = lanes(p.firsts.index).iter().all(|t| p.places.index.terms.contains(t));
        let parallel = same && p.firsts.index.offset * LANES == p.places.index.offset;
        let within = places.iter().all(|k| i64::from(*k) < LANES);
        let Some(last) = firsts.iter().max() else { return false };
        let ends = firsts.iter().zip(places.chunks_exact(LANES as usize));
        let reached = ends.map(|(f, k)| f + u32::from(k.iter().max().copied().unwrap_or(0))).max();
        let of_all = places.len() == LANES as usize * firsts.len();
        parallel && within && of_all && reached == Some(last + LANES as u32 - 1)
    }

    /// Runs an inner loop as chains that pick their inputs. False, with nothing emitted, if it is something else.
    pub(super) fn run_picks(
        &mut self,
        var: Val,
        (lo, hi): (Lin, Lin),
        carried: &[Carried],
        body: &Block,
        around: &Around<'_>,
    ) -> Emitted<bool> {
        if self.groups != 2 {
            return Ok(false);
        }
        let Some(picked) = self.picks(var, carried, body) else { return Ok(false) };
        for s in body.stmts.iter().filter(|s| matches!(s, Stmt::Const { .. })) {
            self.simple(s, 0)?;
        }
        let mut bases: Vec<Base> = Vec::new();
        let mut picks = Vec::with_capacity(picked.len());
        for p in &picked {
            let said = p.inputs.index.terms.iter().map(|t| t.0).find(|v| *v != p.place && self.is_first(p, *v, body));
            let mut alone = p.inputs.index.clone();
            alone.terms.retain(|t| t.0 != p.place);
            let inputs = Load { index: &alone, ..p.inputs };
            let table = self.table(&mut bases, &p.firsts, var, lo)?;
            let places = self.operand(&mut bases, &p.places, (var, None), lo)?;
            let inputs = self.operand(&mut bases, &inputs, (var, said), lo)?;
            let weights = self.operand(&mut bases, &p.weights, (var, None), lo)?;
            let (Some(table), Some(places), Some(inputs), Some(weights)) = (table, places, inputs, weights) else {
                return Ok(false);
            };
            picks.push(Pick { table, places, inputs, weights });
        }
        let chains = Chains { width: 1, picks, ..Chains::default() };
        self.call_chains(chains, bases, var, (lo, hi), carried, around)
    }

    /// True if a value is the number that says where a chain's window begins.
    fn is_first(&self, p: &Picked<'_>, v: Val, body: &Block) -> bool {
        let widens = |s: &Stmt| match s {
            Stmt::Op { dst, op: ScalarOp::U32ToI64, args } => *dst == v && args.as_slice() == [p.firsts.dst],
            _ => false,
        };
        v == p.firsts.dst || body.stmts.iter().any(widens)
    }
}
