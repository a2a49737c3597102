//! Loops in eight lanes: what only they do, on programs that are known to have them.

mod common;

use common::check;
use nc_ir::kernel::{Emit, Index, KernelBuilder, Parallel, Program, Role, Scalar, ScalarOp as Op, Val};
use nc_ir::{DType, Tensor};

fn zeros(elem: DType) -> Role {
    Role::State(Tensor::zeros(elem, vec![1]))
}

fn ramp(n: u64, f: impl Fn(u64) -> f32) -> Role {
    Role::State(Tensor::from_vec(vec![n as usize], (0..n).map(f).collect()).expect("n values"))
}

/// True if this processor has registers for eight lanes.
fn has_eight() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi1");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The text of a program's code, checked to have as many loops in eight lanes. Processors without them have none.
fn wide_loops(p: &Program, n: usize) -> String {
    let text = nc_cranelift::asm(p, &Default::default()).expect("a supported program");
    let found = text.lines().filter(|l| l.starts_with("; ") && l.contains("_w")).count();
    assert_eq!(found, if has_eight() { n } else { 0 }, "{text}");
    text
}

/// A neuron whose reset is a selection by what it pushes: the selections move to where a lane fires. With `seen`, one
/// of the values is stored before the reset too, and one is used after it.
fn neurons(n: u64, seen: bool) -> Program {
    let mut p = Program::new(format!("{n} neurons, seen {seen}"), 1);
    let v = p.add_buffer("v", DType::F32, n, ramp(n, |k| k as f32 % 7.0 - 3.0));
    let r = p.add_buffer("r", DType::I32, n, zeros(DType::I32));
    let before = p.add_buffer("before", DType::F32, n, zeros(DType::F32));
    let after = p.add_buffer("after", DType::F32, n, zeros(DType::F32));
    let spikes = p.add_list("spikes", n, 2, 16);
    let mut b = KernelBuilder::new("neurons", Some(Parallel { len: n, align: 16 }), 1);
    let two = b.index(2);
    let tick = b.tick();
    let slot = b.op(Op::IRem, &[tick, two]);
    b.clear(spikes, slot);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, true, |b, i| {
        let constant = |b: &mut KernelBuilder, x: f32| b.constant(Scalar::F32(x));
        let (one, limit, rest) = (constant(b, 1.25), constant(b, 2.0), constant(b, -3.5));
        let (zero, five, unit) = (b.constant(Scalar::I32(0)), b.constant(Scalar::I32(5)), b.constant(Scalar::I32(1)));
        let x = b.load(v, DType::F32, Index::var(i));
        let left = b.load(r, DType::I32, Index::var(i));
        let held = b.op(Op::IGt, &[left, zero]);
        let free = b.op(Op::Not, &[held]);
        let moved = b.op(Op::FAdd, &[x, one]);
        let x = b.op(Op::Select, &[held, x, moved]);
        let above = b.op(Op::FGe, &[x, limit]);
        let fires = b.op(Op::And, &[above, free]);
        let reset = b.op(Op::Select, &[fires, rest, x]);
        let step = b.op(Op::Select, &[held, unit, zero]);
        let left = b.op(Op::ISub, &[left, step]);
        let left = b.op(Op::Select, &[fires, five, left]);
        if seen {
            b.store(before, Index::var(i), x);
            let twice = b.op(Op::FAdd, &[reset, reset]);
            b.store(after, Index::var(i), twice);
        }
        b.store(v, Index::var(i), reset);
        b.store(r, Index::var(i), left);
        b.push(spikes, slot, fires, i);
    });
    p.push(b.finish());
    p
}

#[test]
fn pushes_make_the_selections_of_a_reset() {
    for n in [8, 16, 40, 129, 1000] {
        for seen in [false, true] {
            let s = check(&neurons(n, seen), 13, Vec::new());
            assert!(s.lists[0].1.iter().any(|l| !l.is_empty()), "no spikes");
        }
    }
    let text = wide_loops(&neurons(1000, false), 1);
    if has_eight() {
        // The one selection that is made for every lane is that of held values.
        let hot = text.split("retq").next().unwrap_or_default();
        assert_eq!(hot.matches("vblendvps").count(), 1, "{text}");
    }
}

/// More values alive at once than registers, of constants and of intermediate results.
#[test]
fn values_beyond_the_registers() {
    for live in [3usize, 14, 17, 40] {
        let n = 72;
        let mut p = Program::new(format!("{live} values"), 1);
        let x = p.add_buffer("x", DType::F32, n, ramp(n, |k| k as f32 / 3.0 - 9.0));
        let y = p.add_buffer("y", DType::F32, n, zeros(DType::F32));
        let one = p.add_buffer("one", DType::F32, 1, ramp(1, |_| 1.5));
        let mut b = KernelBuilder::new("values", None, 1);
        b.for_count(n, true, |b, i| {
            let at = b.load(x, DType::F32, Index::var(i));
            let scale = b.load(one, DType::F32, Index::at(0));
            let mut values: Vec<Val> = Vec::new();
            for k in 0..live {
                let c = b.constant(Scalar::F32(k as f32 * 0.37 + 1.0));
                values.push(b.op(Op::Fma, &[at, c, scale]));
            }
            let mut sum = scale;
            for k in 0..live {
                let d = b.op(Op::FSub, &[values[k], values[live - 1 - k]]);
                sum = b.op(Op::Fma, &[d, values[(k * 5) % live], sum]);
            }
            b.store(y, Index::var(i), sum);
        });
        p.push(b.finish());
        check(&p, 1, Vec::new());
        wide_loops(&p, 1);
    }
}

/// Every way in which the operands of a multiply-add can be needed again, be constants, or lie in memory.
#[test]
fn operands_of_multiply_adds() {
    let n = 64;
    let mut p = Program::new("multiply-adds", 1);
    let bufs: Vec<_> =
        (0..3).map(|k| p.add_buffer("x", DType::F32, n, ramp(n, |j| j as f32 * 0.3 - k as f32 * 7.0))).collect();
    let mut loops = 0;
    for code in 0..64usize {
        let kinds = [code % 4, code / 4 % 4, code / 16];
        let y = p.add_buffer("y", DType::F32, n, zeros(DType::F32));
        let z = p.add_buffer("z", DType::F32, n, zeros(DType::F32));
        let mut b = KernelBuilder::new("fma", None, 1);
        b.for_count(n, true, |b, i| {
            let args: Vec<Val> = (0..3)
                .map(|k| match kinds[k] {
                    0 => b.constant(Scalar::F32(k as f32 + 0.7)),
                    1 => b.load(bufs[k], DType::F32, Index::at(k as i64)),
                    _ => b.load(bufs[k], DType::F32, Index::var(i)),
                })
                .collect();
            let r = b.op(Op::Fma, &args);
            b.store(y, Index::var(i), r);
            let mut again = r;
            for op in [Op::FAbs, Op::FSqrt, Op::FNeg, Op::Floor, Op::FAbs] {
                again = b.op(op, &[again]);
            }
            for (a, kind) in args.iter().zip(kinds) {
                if kind == 3 {
                    again = b.op(Op::FAdd, &[again, *a]);
                }
            }
            b.store(z, Index::var(i), again);
        });
        loops += usize::from(kinds.iter().any(|k| *k > 1));
        p.push(b.finish());
    }
    check(&p, 1, Vec::new());
    let text = nc_cranelift::asm(&p, &Default::default()).expect("supported");
    let found = text.lines().filter(|l| l.starts_with("; ") && l.contains("_w")).count();
    assert!(found >= if has_eight() { loops } else { 0 }, "{found} loops");
}

/// A loop over more arrays than there are registers for their addresses runs in four lanes.
#[test]
fn more_rows_than_pointers() {
    for rows in [6i64, 9, 30] {
        let n = 40;
        let mut p = Program::new(format!("{rows} rows"), 1);
        let x = p.add_buffer("x", DType::F32, n * rows as u64, ramp(n * rows as u64, |k| (k * k % 17) as f32));
        let y = p.add_buffer("y", DType::F32, n, zeros(DType::F32));
        let starts: Vec<i64> = (0..rows).map(|k| (k * 7) % rows).collect();
        let starts = Role::Const(Tensor::from_vec(vec![rows as usize], starts).expect("rows"));
        let starts = p.add_buffer("starts", DType::I64, rows as u64, starts);
        let mut b = KernelBuilder::new("rows", None, 1);
        let row: Vec<Val> = (0..rows).map(|k| b.load(starts, DType::I64, Index::at(k))).collect();
        b.for_count(n, true, |b, i| {
            let mut acc = b.load(y, DType::F32, Index::var(i));
            for r in &row {
                let a = b.load(x, DType::F32, Index::var(i).plus(*r, n as i64));
                let a = b.op(Op::FSqrt, &[a]);
                acc = b.op(Op::FSub, &[a, acc]);
            }
            b.store(y, Index::var(i), acc);
        });
        p.push(b.finish());
        check(&p, 2, Vec::new());
        wide_loops(&p, usize::from(rows < 8));
    }
}

/// A value that is read where it is used, after a store that comes between: it is the one from before.
#[test]
fn stores_do_not_overtake_loads() {
    let n = 48;
    let mut p = Program::new("overtaking", 1);
    let x = p.add_buffer("x", DType::F32, n, ramp(n, |k| k as f32));
    let y = p.add_buffer("y", DType::F32, n, ramp(n, |k| 100.0 - k as f32));
    let z = p.add_buffer("z", DType::F32, n, zeros(DType::F32));
    for twice in [false, true] {
        let mut b = KernelBuilder::new("overtaking", None, 1);
        b.for_count(n, true, |b, i| {
            let old = b.load(x, DType::F32, Index::var(i));
            let other = b.load(y, DType::F32, Index::var(i));
            b.store(x, Index::var(i), other);
            if twice {
                let new = b.load(x, DType::F32, Index::var(i));
                let sum = b.op(Op::FMul, &[new, other]);
                b.store(x, Index::var(i), sum);
            }
            let mut sum = b.op(Op::FSub, &[other, old]);
            for _ in 0..5 {
                sum = b.op(Op::Fma, &[sum, other, old]);
            }
            b.store(z, Index::var(i), sum);
        });
        p.push(b.finish());
    }
    check(&p, 2, Vec::new());
    wide_loops(&p, 2);
}

/// A loop that waits for memory stays in the kernel: a call for each event would cost more than it gains.
#[test]
fn loops_that_wait_for_memory_are_not_called() {
    let n = 64;
    let mut p = Program::new("sums", 1);
    let x = p.add_buffer("x", DType::F32, n, ramp(n, |k| k as f32));
    let y = p.add_buffer("y", DType::F32, n, zeros(DType::F32));
    let mut b = KernelBuilder::new("sums", None, 1);
    b.for_count(n, true, |b, i| {
        let (a, c) = (b.load(x, DType::F32, Index::var(i)), b.load(y, DType::F32, Index::var(i)));
        let sum = b.op(Op::FAdd, &[a, c]);
        b.store(y, Index::var(i), sum);
    });
    p.push(b.finish());
    check(&p, 2, Vec::new());
    wide_loops(&p, 0);
}

/// How the links of a tile find their operands.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Links {
    /// One after the other, from a range that is only known at run time.
    Range,
    /// Inputs where a table of 64-bit numbers says.
    Table,
    /// Weights and inputs of the events that a list of 32-bit numbers names.
    Events,
    /// Weights of these events alone.
    Spikes,
    /// Weights and inputs of the events that a list of 16-bit numbers names.
    Narrow,
}

/// A tile of `rows` times `lanes` chains of up to 37 links; `ended` adds +0 to each sum, as products do.
fn tile(rows: u64, lanes: u64, from: i64, to: i64, links: Links, ended: bool) -> Program {
    const DEPTH: u64 = 37;
    let mut p = Program::new(format!("{rows} x {lanes}, {from} to {to}, {links:?}"), 1);
    let x = p.add_buffer("x", DType::F32, rows * 3 * DEPTH, ramp(rows * 3 * DEPTH, |k| (k % 11) as f32 * 0.37 - 1.9));
    let w = p.add_buffer("w", DType::F32, lanes * DEPTH, ramp(lanes * DEPTH, |k| 1.0 / (k as f32 - 20.5)));
    let bias = p.add_buffer("bias", DType::F32, lanes, ramp(lanes, |k| k as f32 * 0.125));
    let wide: Vec<i64> = (0..DEPTH as i64).map(|k| k * 29 % (2 * DEPTH as i64)).collect();
    let wide = Tensor::from_vec(vec![DEPTH as usize], wide).expect("a table");
    let wide = p.add_buffer("table", DType::I64, DEPTH, Role::Const(wide));
    let list: Vec<u32> = (0..DEPTH as u32).map(|k| k * 5 % DEPTH as u32).collect();
    let list = Tensor::from_vec(vec![DEPTH as usize], list).expect("a list");
    let list = p.add_buffer("list", DType::U32, DEPTH, Role::Const(list));
    let short: Vec<u16> = (0..DEPTH as u16).map(|k| k * 7 % DEPTH as u16).collect();
    let short = Tensor::from_vec(vec![DEPTH as usize], short).expect("a list");
    let short = p.add_buffer("short", DType::U16, DEPTH, Role::Const(short));
    let range =
        p.add_buffer("range", DType::I64, 2, Role::State(Tensor::from_vec(vec![2], vec![from, to]).expect("two")));
    let y = p.add_buffer("y", DType::F32, rows * lanes, zeros(DType::F32));
    let mut b = KernelBuilder::new("tile", None, 1);
    let lo = b.load(range, DType::I64, Index::at(0));
    let hi = b.load(range, DType::I64, Index::at(1));
    b.for_count(lanes, true, |b, j| {
        let zero = b.constant(Scalar::F32(0.0));
        let bias = b.load(bias, DType::F32, Index::var(j));
        let init: Vec<Val> = (0..rows).map(|r| if r == 1 { zero } else { bias }).collect();
        let sums = b.for_carried(lo, hi, &init, |b, k, acc| {
            let (at, own) = match links {
                Links::Range => (Index::var(k), k),
                Links::Table => (Index::var(b.load(wide, DType::I64, Index::var(k))), k),
                Links::Events | Links::Spikes => {
                    let e = b.load(list, DType::U32, Index::var(k));
                    (Index::var(e), e)
                }
                Links::Narrow => {
                    let e = b.load(short, DType::U16, Index::var(k));
                    let e = b.op(Op::U32ToI64, &[e]);
                    (Index::var(e), e)
                }
            };
            let w = b.load(w, DType::F32, Index::var(j).plus(own, lanes as i64));
            let next = (0..rows).map(|r| {
                if links == Links::Spikes {
                    return b.op(Op::FAdd, &[acc[r as usize], w]);
                }
                let mut at = at.clone();
                at.offset += (r * 3 * DEPTH) as i64;
                let x = b.load(x, DType::F32, at);
                b.op(Op::Fma, &[w, x, acc[r as usize]])
            });
            next.collect()
        });
        for (r, s) in sums.into_iter().enumerate() {
            let s = if ended { b.op(Op::FAdd, &[s, zero]) } else { s };
            b.store(y, Index::var(j).plus(j, 0).offset((r as u64 * lanes) as i64), s);
        }
    });
    p.push(b.finish());
    p
}

#[test]
fn chains_of_products_stay_in_registers() {
    for links in [Links::Range, Links::Table, Links::Events, Links::Spikes, Links::Narrow] {
        for rows in [1, 2, 3, 4, 5, 7, 12, 16] {
            for lanes in [8, 10, 16, 24, 32, 64, 75, 96, 136] {
                for (from, to) in [(0, 37), (3, 8), (0, 4), (5, 5), (9, 2)] {
                    for ended in [false, true] {
                        check(&tile(rows, lanes, from, to, links, ended), 1, Vec::new());
                    }
                }
            }
        }
        // One call for the tile, and one for what is left of it.
        wide_loops(&tile(4, 16, 0, 37, links, true), 1);
        wide_loops(&tile(4, 24, 0, 37, links, false), 1);
        wide_loops(&tile(7, 16, 0, 37, links, false), 1);
        wide_loops(&tile(4, 40, 0, 37, links, false), 2);
        wide_loops(&tile(1, 64, 0, 37, links, true), 1);
        wide_loops(&tile(1, 96, 0, 37, links, true), 1);
    }
}

/// How the loop that lists what is not zero in each row differs from one that runs eight elements at a time.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lists {
    Good,
    /// What is behind the last event stays what it was.
    Uncleared,
    /// Fewer places are cleared than a register has lanes.
    Short,
    /// Places go up by two.
    Apart,
}

/// Lists the places of what is not zero in rows of `n` elements.
fn lists(n: u64, bits: bool, how: Lists) -> Program {
    const ROWS: u64 = 5;
    let mut p = Program::new(format!("lists of {n}, bits {bits}, {how:?}"), 1);
    let numbers = |k: u64| match (k * 37 + k / 9) % 7 {
        0 | 3 => 0.0,
        1 => -0.0,
        2 => f32::NAN,
        4 if k > 2 * n => 0.0,
        x => x as f32 - 4.5,
    };
    let x = if bits {
        let bits: Vec<bool> = (0..ROWS * n).map(|k| k / n != 1 && (k * k + k / 5) % 3 == 0).collect();
        let bits = Tensor::from_bools(vec![bits.len()], &bits).expect("as many");
        p.add_buffer("x", DType::Bool, ROWS * n, Role::State(bits))
    } else {
        p.add_buffer("x", DType::F32, ROWS * n, ramp(ROWS * n, numbers))
    };
    let room = 2 * n + 8;
    let index = p.add_buffer("index", DType::U32, ROWS * room, zeros(DType::U32));
    let counts = p.add_buffer("counts", DType::I64, ROWS, zeros(DType::I64));
    let mut b = KernelBuilder::new("rows", Some(Parallel { len: ROWS, align: 1 }), 1);
    let (lo, hi) = (b.lo(), b.hi());
    b.for_loop(lo, hi, false, |b, r| {
        let (none, one, end) = (b.index(0), b.index(if how == Lists::Apart { 2 } else { 1 }), b.index(n as i64));
        let last = b.for_carried(none, end, &[none], |b, i, n| {
            let is = if bits {
                b.load(x, DType::Bool, Index::var(i).plus(r, end_of(end, b)))
            } else {
                let x = b.load(x, DType::F32, Index::var(i).plus(r, end_of(end, b)));
                let zero = b.constant(Scalar::F32(0.0));
                b.op(Op::FNe, &[x, zero])
            };
            b.store(index, Index::var(n[0]).plus(r, room as i64), i);
            let more = b.op(Op::IAdd, &[n[0], one]);
            vec![b.op(Op::Select, &[is, more, n[0]])]
        });
        if how != Lists::Uncleared {
            b.for_count(if how == Lists::Short { 7 } else { 8 }, true, |b, k| {
                b.store(index, Index::var(last[0]).plus(r, room as i64).plus(k, 1), none);
            });
        }
        b.store(counts, Index::var(r), last[0]);
    });
    p.push(b.finish());
    p
}

/// The number that a constant is.
fn end_of(v: Val, b: &KernelBuilder) -> i64 {
    match b.known(v) {
        Some(Scalar::I64(k)) => k,
        _ => 0,
    }
}

#[test]
fn what_is_not_zero_is_listed_eight_at_a_time() {
    for bits in [false, true] {
        for n in [1, 7, 8, 15, 16, 17, 24, 31, 64, 100] {
            for how in [Lists::Good, Lists::Uncleared, Lists::Short, Lists::Apart] {
                check(&lists(n, bits, how), 2, Vec::new());
            }
        }
        wide_loops(&lists(64, bits, Lists::Good), 1);
        for how in [Lists::Uncleared, Lists::Short, Lists::Apart] {
            wide_loops(&lists(64, bits, how), 0);
        }
    }
}

/// Whether the tables of chains that pick their inputs say that all of a window is there.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Tables {
    Good,
    /// No link takes the last element of the last window.
    Open,
    /// A link takes an element outside its window.
    Outside,
    /// They may change.
    Unknown,
}

/// Chains that pick their inputs from windows: `rows` of eight chains each, `narrow` tables or wide ones.
fn picks(rows: u64, narrow: bool, tables: Tables, ended: bool) -> Program {
    const DEPTH: u64 = 19;
    const INPUTS: u64 = 50;
    let n = rows * DEPTH;
    let mut p = Program::new(format!("{rows} rows of picks, narrow {narrow}, {tables:?}, ended {ended}"), 1);
    let x = p.add_buffer("x", DType::F32, INPUTS, ramp(INPUTS, |k| (k % 11) as f32 * 0.37 - 1.9));
    let w = p.add_buffer("w", DType::F32, n * 8, ramp(n * 8, |k| 1.0 / (k as f32 - 20.5)));
    let first = |k: u64| if k == n - 1 { INPUTS - 8 } else { k * 13 % (INPUTS - 9) };
    let place = |k: u64| match (k / 8, tables) {
        (l, Tables::Good | Tables::Unknown) if l == n - 1 => 7,
        (l, Tables::Open | Tables::Outside) if l == n - 1 => 6 * (k % 2),
        (2, Tables::Outside) => 8,
        _ => k * 5 % 8,
    };
    let role = |t: Tensor| if tables == Tables::Unknown { Role::State(t) } else { Role::Const(t) };
    let (elem, firsts) = match narrow {
        true => (DType::U16, Tensor::from_vec(vec![n as usize], (0..n).map(|k| first(k) as u16).collect())),
        false => (DType::U32, Tensor::from_vec(vec![n as usize], (0..n).map(|k| first(k) as u32).collect())),
    };
    let firsts = p.add_buffer("firsts", elem, n, role(firsts.expect("as many")));
    let places = Tensor::from_vec(vec![8 * n as usize], (0..8 * n).map(|k| place(k) as u8).collect()).expect("as many");
    let places = p.add_buffer("places", DType::U8, 8 * n, role(places));
    let range = Tensor::from_vec(vec![2], vec![0, DEPTH as i64]).expect("two");
    let range = p.add_buffer("range", DType::I64, 2, Role::State(range));
    let bias = p.add_buffer("bias", DType::F32, 8, ramp(8, |k| k as f32 * 0.125));
    let y = p.add_buffer("y", DType::F32, rows * 8, zeros(DType::F32));
    let mut b = KernelBuilder::new("picks", None, 1);
    let (lo, hi) = (b.load(range, DType::I64, Index::at(0)), b.load(range, DType::I64, Index::at(1)));
    b.for_count(8, true, |b, c| {
        let zero = b.constant(Scalar::F32(0.0));
        let bias = b.load(bias, DType::F32, Index::var(c));
        let init: Vec<Val> = (0..rows).map(|r| if r % 3 == 1 { zero } else { bias }).collect();
        let sums = b.for_carried(lo, hi, &init, |b, l, acc| {
            let mut next = Vec::new();
            for (r, acc) in acc.iter().enumerate() {
                let first = b.load(firsts, elem, Index::at(r as i64).plus(l, rows as i64));
                let first = if narrow { b.op(Op::U32ToI64, &[first]) } else { first };
                let at = Index::at(8 * r as i64).plus(l, 8 * rows as i64).plus(c, 1);
                let place = b.load(places, DType::U8, at.clone());
                let place = b.op(Op::U32ToI64, &[place]);
                let x = b.load(x, DType::F32, Index::var(first).plus(place, 1));
                let w = b.load(w, DType::F32, at);
                next.push(b.op(Op::Fma, &[w, x, *acc]));
            }
            next
        });
        for (r, s) in sums.into_iter().enumerate() {
            let s = if ended { b.op(Op::FAdd, &[s, zero]) } else { s };
            b.store(y, Index::var(c).offset(8 * r as i64), s);
        }
    });
    p.push(b.finish());
    p
}

#[test]
fn chains_pick_their_inputs_from_windows_that_are_there() {
    for rows in [1, 2, 4, 7] {
        for narrow in [false, true] {
            for tables in [Tables::Good, Tables::Open, Tables::Outside, Tables::Unknown] {
                for ended in [false, true] {
                    let p = picks(rows, narrow, tables, ended);
                    check(&p, 2, Vec::new());
                    wide_loops(&p, usize::from(tables == Tables::Good && ended));
                }
            }
        }
    }
}
