//! What the iterations of loops share.

use nc_ir::kernel::{Block, BufId, EventBody, Index, Stmt, Val};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a statement of a block is one of these.
fn any(block: &Block, is: impl Fn(&Stmt) -> bool) -> bool {
    let mut found = false;
    block.each(&mut |s| found |= is(s));
    found
}

/// Whether a statement computes, reads or writes, and nothing else.
pub(super) fn plain(s: &Stmt) -> bool {
    matches!(s, Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } | Stmt::Store { .. })
}

/// Whether a block changes a list.
pub(crate) fn pushes(block: &Block) -> bool {
    any(block, |s| matches!(s, Stmt::Push { .. } | Stmt::Clear { .. }))
}

/// Whether a block has something in it that threads divide: a vector loop, or events.
pub(super) fn divides(block: &Block) -> bool {
    any(block, |s| matches!(s, Stmt::For { vector: true, .. } | Stmt::Events { .. }))
}

/// Whether a block reads a value.
pub(super) fn mentions(block: &Block, v: Val) -> bool {
    let indexed = |i: &Index| i.terms.iter().any(|(t, _)| *t == v);
    any(block, |s| match s {
        Stmt::Const { .. } => false,
        Stmt::Op { args, .. } => args.contains(&v),
        Stmt::Load { index, .. } => indexed(index),
        Stmt::Store { index, value, .. } => indexed(index) || *value == v,
        Stmt::For { lo, hi, carried, .. } => *lo == v || *hi == v || carried.iter().any(|c| c.init == v || c.next == v),
        Stmt::Events { slot, .. } | Stmt::Clear { slot, .. } => *slot == v,
        Stmt::Push { slot, cond, index, .. } => [slot, cond, index].contains(&&v),
        Stmt::If { cond, .. } => *cond == v,
    })
}

/// The buffers that a block writes.
pub(crate) fn stored(block: &Block) -> BTreeSet<BufId> {
    let mut found = BTreeSet::new();
    block.each(&mut |s| {
        if let Stmt::Store { buf, .. } = s {
            found.insert(*buf);
        }
    });
    found
}

/// The values that a block defines, inside of it and beyond.
pub(super) fn defined(block: &Block) -> BTreeSet<Val> {
    let mut found = BTreeSet::new();
    block.each(&mut |s| match s {
        Stmt::Const { dst, .. } | Stmt::Op { dst, .. } | Stmt::Load { dst, .. } => drop(found.insert(*dst)),
        Stmt::For { var, carried, .. } => {
            found.insert(*var);
            found.extend(carried.iter().flat_map(|c| [c.param, c.result]));
        }
        Stmt::Events { wide, one, .. } => {
            found.extend(&one.vars);
            found.extend(wide.iter().flat_map(|w| &w.vars));
        }
        Stmt::Store { .. } | Stmt::Clear { .. } | Stmt::Push { .. } | Stmt::If { .. } => {}
    });
    found
}

/// An index without what a value adds to it: its coefficient, and the rest in order.
fn split(index: &Index, vars: &BTreeSet<Val>) -> (i64, Index) {
    let mut terms = BTreeMap::new();
    let mut own = 0i64;
    for (v, k) in &index.terms {
        match vars.contains(v) {
            true => own = own.wrapping_add(*k),
            false => {
                let sum: &mut i64 = terms.entry(*v).or_default();
                *sum = sum.wrapping_add(*k);
            }
        }
    }
    (own, Index { terms: terms.into_iter().filter(|(_, k)| *k != 0).collect(), offset: index.offset })
}

/// Whether everything that the blocks write is written and read at one place for each number that `vars` (only one of
/// which has a value at a time) may have: iterations over them do then not touch what others write. No list is changed.
pub(super) fn apart(blocks: &[&Block], vars: &BTreeSet<Val>) -> bool {
    if blocks.iter().any(|b| pushes(b)) {
        return false;
    }
    let written: BTreeSet<BufId> = blocks.iter().flat_map(|b| stored(b)).collect();
    let inside: BTreeSet<Val> = blocks.iter().flat_map(|b| defined(b)).collect();
    let mut places: BTreeMap<BufId, (i64, Index)> = BTreeMap::new();
    let mut good = true;
    for b in blocks {
        b.each(&mut |s| {
            let (Stmt::Load { buf, index, .. } | Stmt::Store { buf, index, .. }) = s else { return };
            if !written.contains(buf) {
                return;
            }
            let place = split(index, vars);
            good &= place.0 != 0 && place.1.terms.iter().all(|(v, _)| !inside.contains(v));
            good &= *places.entry(*buf).or_insert_with(|| place.clone()) == place;
        });
    }
    good
}

/// Whether iterations over `var` touch ranges of their own of what they write: everything is read and written at a multiple
/// of `var`, the same everywhere, plus less than that multiple, by loops inside whose bounds are `known`. No list is changed.
pub(super) fn ranges_apart(body: &Block, var: Val, known: &BTreeMap<Val, i64>) -> bool {
    if pushes(body) {
        return false;
    }
    let (written, inside, own) = (stored(body), defined(body), BTreeSet::from([var]));
    // What the loops inside count, least and most.
    let mut counts: BTreeMap<Val, (i64, i64)> = BTreeMap::new();
    body.each(&mut |s| {
        if let Stmt::For { var, lo, hi, .. } = s
            && let (Some(lo), Some(hi)) = (known.get(lo), known.get(hi))
            && lo < hi
        {
            counts.insert(*var, (*lo, hi - 1));
        }
    });
    /// The multiple, terms from outside, and the range of the rest, of all places in a buffer.
    struct Places {
        multiple: i64,
        outside: Vec<(Val, i64)>,
        range: (i128, i128),
    }
    let mut places: BTreeMap<BufId, Places> = BTreeMap::new();
    let mut good = true;
    body.each(&mut |s| {
        let (Stmt::Load { buf, index, .. } | Stmt::Store { buf, index, .. }) = s else { return };
        if !written.contains(buf) {
            return;
        }
        let (multiple, rest) = split(index, &own);
        let (inner, outside): (Vec<_>, Vec<_>) = rest.terms.into_iter().partition(|(v, _)| inside.contains(v));
        let mut range = (i128::from(rest.offset), i128::from(rest.offset));
        for (v, k) in inner {
            let Some((least, most)) = counts.get(&v) else {
                good = false;
                return;
            };
            let ends = [*least, *most].map(|n| i128::from(k) * i128::from(n));
            range = (range.0 + ends[0].min(ends[1]), range.1 + ends[0].max(ends[1]));
        }
        match places.entry(*buf) {
            Entry::Vacant(e) => drop(e.insert(Places { multiple, outside, range })),
            Entry::Occupied(mut e) => {
                let p = e.get_mut();
                good &= p.multiple == multiple && p.outside == outside;
                p.range = (p.range.0.min(range.0), p.range.1.max(range.1));
            }
        }
    });
    good && places.values().all(|p| p.range.1 - p.range.0 < i128::from(p.multiple).abs())
}

/// A loop that runs others over the same numbers again and again: the vector loops in it, of which each iteration touches
/// only what is its own, so that nobody has to wait for others between them.
pub(super) fn repeats(blocks: &[&Block]) -> bool {
    let mut vars = BTreeSet::new();
    let mut bounds = BTreeSet::new();
    let mut outside = true;
    fn loops(b: &Block, vars: &mut BTreeSet<Val>, bounds: &mut BTreeSet<(Val, Val)>, outside: &mut bool) {
        for s in &b.stmts {
            match s {
                Stmt::For { vector: true, var, lo, hi, .. } => {
                    vars.insert(*var);
                    bounds.insert((*lo, *hi));
                }
                Stmt::For { body, .. } => loops(body, vars, bounds, outside),
                Stmt::Events { wide, one, .. } => {
                    wide.iter().for_each(|w| loops(&w.body, vars, bounds, outside));
                    loops(&one.body, vars, bounds, outside);
                }
                Stmt::If { then_body, else_body, .. } => {
                    loops(then_body, vars, bounds, outside);
                    loops(else_body, vars, bounds, outside);
                }
                Stmt::Store { .. } | Stmt::Push { .. } | Stmt::Clear { .. } => *outside = false,
                Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } => {}
            }
        }
    }
    blocks.iter().for_each(|b| loops(b, &mut vars, &mut bounds, &mut outside));
    let inside: BTreeSet<Val> = blocks.iter().flat_map(|b| defined(b)).collect();
    outside
        && bounds.len() == 1
        && bounds.iter().all(|(lo, hi)| !inside.contains(lo) && !inside.contains(hi))
        && apart(blocks, &vars)
}

/// A body that ends in a loop and does nothing else that is seen.
#[derive(Clone, Copy)]
pub(super) struct Inner<'a> {
    /// What is before the loop; if there is a condition, before that.
    pub outer: &'a [Stmt],
    /// Whether what follows is done at all.
    pub condition: Option<Val>,
    /// What is between condition and loop.
    pub before: &'a [Stmt],
    pub var: Val,
    pub lo: Val,
    pub hi: Val,
    pub vector: bool,
    pub body: &'a Block,
}

/// The loop that a body ends in, perhaps on a condition, if before it, and in it, are no loops, branches or pushes.
pub(super) fn inner(block: &Block) -> Option<Inner<'_>> {
    let (last, outer) = block.stmts.split_last()?;
    let pure = |s: &Stmt| plain(s) && !matches!(s, Stmt::Store { .. });
    let (condition, before, last) = match last {
        Stmt::If { cond, then_body, else_body } if else_body.stmts.is_empty() => {
            let (last, before) = then_body.stmts.split_last()?;
            (Some(*cond), before, last)
        }
        last => (None, &[][..], last),
    };
    let Stmt::For { var, lo, hi, vector, carried, body } = last else { return None };
    if !carried.is_empty() || !outer.iter().chain(before).all(pure) || !body.stmts.iter().all(plain) {
        return None;
    }
    Some(Inner { outer, condition, before, var: *var, lo: *lo, hi: *hi, vector: *vector, body })
}

/// How many numbers at most an iteration may touch that others do, too.
const MOST_TOUCHED: usize = 4;

/// What the body of a loop touches of the buffers that it writes.
pub(super) struct Touches<'a> {
    /// How many statements come before the first that touches anything.
    pub before: usize,
    /// The places, each once. All are known before anything is touched.
    pub places: Vec<&'a Index>,
}

/// What the body of a loop of plain statements touches, if all places are known before and there are few.
pub(super) fn touches(block: &Block) -> Option<Touches<'_>> {
    let written = stored(block);
    let mut places: Vec<&Index> = Vec::new();
    let mut first = None;
    for (n, s) in block.stmts.iter().enumerate() {
        let (Stmt::Load { buf, index, .. } | Stmt::Store { buf, index, .. }) = s else { continue };
        if written.contains(buf) {
            first = first.or(Some(n));
            if !places.contains(&index) {
                places.push(index);
            }
        }
    }
    let before = first?;
    let mut later = BTreeSet::new();
    for s in &block.stmts[before..] {
        if let Stmt::Const { dst, .. } | Stmt::Op { dst, .. } | Stmt::Load { dst, .. } = s {
            later.insert(*dst);
        }
    }
    let known = places.iter().all(|i| i.terms.iter().all(|(v, _)| !later.contains(v)));
    (known && places.len() <= MOST_TOUCHED).then_some(Touches { before, places })
}

/// The one buffer that a block writes, and where.
pub(super) fn target(block: &Block) -> Option<(BufId, &Index)> {
    let mut found = None;
    for s in &block.stmts {
        if let Stmt::Store { buf, index, .. } = s {
            if found.is_some() {
                return None;
            }
            found = Some((*buf, index));
        }
    }
    found
}

/// Where in the body of a loop the one buffer that it writes, nowhere else and once, is first read; all reads are at the
/// place of the write.
pub(super) fn reads_and_writes(block: &Block) -> Option<(usize, BufId, &Index)> {
    let (buf, index) = target(block)?;
    let mut first = None;
    for (n, s) in block.stmts.iter().enumerate() {
        match s {
            Stmt::Load { buf: b, index: i, .. } if *b == buf => {
                if i != index {
                    return None;
                }
                first = first.or(Some(n));
            }
            Stmt::Store { .. } if first.is_none() => return None,
            _ => {}
        }
    }
    first.map(|n| (n, buf, index))
}

/// The bodies of an event loop.
pub(super) fn bodies<'a>(wide: Option<&'a EventBody>, one: &'a EventBody) -> Vec<&'a Block> {
    wide.iter().map(|w| &w.body).chain([&one.body]).collect()
}

#[cfg(test)]
mod tests {
    use super::ranges_apart;
    use nc_ir::kernel::{Scalar, Stmt, text};
    use std::collections::BTreeMap;

    /// Whether the outer loop of a kernel with this body in it touches ranges of its own.
    fn apart(body: &str) -> bool {
        let text = format!(
            "program \"p\" parts 1\n\nbuffer b0 \"a\" f32[100] temp\nbuffer b1 \"b\" f32[100] temp\n\n\
             kernel \"k\" serial {{\nv4 = const.i64 0\nv5 = const.i64 10\nv6 = const.i64 4\nv7 = const.f32 1.0\n\
             for v8 in v4..v5 {{\n{body}\n}}\n}}\n"
        );
        let program = text::parse(&text).expect("a program");
        let kernel = program.kernels().next().expect("a kernel");
        let mut known = BTreeMap::new();
        kernel.body.each(&mut |s| {
            if let Stmt::Const { dst, value: Scalar::I64(k) } = s {
                known.insert(*dst, *k);
            }
        });
        let Some(Stmt::For { var, body, .. }) = kernel.body.stmts.last() else { panic!("a loop") };
        ranges_apart(body, *var, &known)
    }

    #[test]
    fn ranges_that_do_not_meet_are_apart() {
        assert!(apart("for v9 in v4..v6 {\nstore b0[v8*4 + v9], v7\n}"));
        assert!(apart("for v9 in v4..v6 {\nfor v10 in v4..v6 {\nstore b0[v8*16 + v9*4 + v10], v7\n}\n}"));
        // Reading what is written is part of it, what is only read is not.
        assert!(apart("for v9 in v4..v6 {\nv10 = load b0[v8*4 + 3]\nv11 = load b1[v9]\nstore b0[v8*4 + v9], v11\n}"));
        assert!(apart("for v9 in v4..v6 {\nstore b0[v8*-4 + v9 + 50], v7\n}"));
        for touching in [
            "for v9 in v4..v5 {\nstore b0[v8*4 + v9], v7\n}",
            "for v9 in v4..v6 {\nstore b0[v8*4 + v9], v7\n}\nstore b0[v8*4 + 4], v7",
            "for v9 in v4..v6 {\nv10 = load b0[v9]\nstore b0[v8*4 + v9], v10\n}",
            "for v9 in v4..v8 {\nstore b0[v8*100 + v9], v7\n}",
            "for v9 in v4..v6 {\nstore b0[v9], v7\n}",
        ] {
            assert!(!apart(touching), "{touching}");
        }
    }
}
