//! Printing.

use crate::kernel::program::{
    Block, Carried, Element, EventBody, Index, Kernel, Program, Role, Step, Stmt, Trips, Val,
};
use crate::kernel::scalar::Scalar;
use crate::tensor::Tensor;
use crate::types::DType;
use half::{bf16, f16};
use std::fmt::{self, Write};

/// The text form of a program.
pub fn print(program: &Program) -> String {
    program.to_string()
}

/// The text form of a kernel.
pub fn print_kernel(kernel: &Kernel) -> String {
    kernel.to_string()
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {:?} parts {}", self.name, self.parts)?;
        if !self.buffers.is_empty() || !self.lists.is_empty() {
            f.write_char('\n')?;
        }
        for (k, b) in self.buffers.iter().enumerate() {
            write!(f, "buffer b{k} {:?} {}[{}] ", b.name, b.elem, b.len)?;
            match &b.role {
                Role::Const(t) => {
                    f.write_str("const ")?;
                    tensor(f, t)?;
                }
                Role::State(t) => {
                    f.write_str("state ")?;
                    tensor(f, t)?;
                }
                Role::Temp => f.write_str("temp")?,
                Role::Input => f.write_str("input")?,
                Role::Output => f.write_str("output")?,
                Role::Probe { every } => write!(f, "probe every {every}")?,
            }
            f.write_char('\n')?;
        }
        for (k, l) in self.lists.iter().enumerate() {
            writeln!(f, "list l{k} {:?} len {} slots {} align {}", l.name, l.len, l.slots, l.align)?;
        }
        self.steps.iter().try_for_each(|s| {
            f.write_char('\n')?;
            step(f, s, 0)
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.buf, self.at)
    }
}

fn step(f: &mut fmt::Formatter<'_>, s: &Step, depth: usize) -> fmt::Result {
    indent(f, depth)?;
    match s {
        Step::Kernel(k) => return kernel(f, k, depth),
        Step::Loop { trips, condition, body } => {
            match trips {
                Trips::Known(n) => write!(f, "loop {n} ")?,
                Trips::Read(e) => write!(f, "loop {e} ")?,
            }
            if let Some(e) = condition {
                write!(f, "while {e} ")?;
            }
            steps(f, body, depth)?;
        }
        Step::If { condition, then_steps, else_steps } => {
            write!(f, "if {condition} ")?;
            steps(f, then_steps, depth)?;
            if !else_steps.is_empty() {
                f.write_str(" else ")?;
                steps(f, else_steps, depth)?;
            }
        }
    }
    f.write_char('\n')
}

/// `{`, the steps, `}`.
fn steps(f: &mut fmt::Formatter<'_>, steps: &[Step], depth: usize) -> fmt::Result {
    f.write_str("{\n")?;
    steps.iter().try_for_each(|s| step(f, s, depth + 1))?;
    indent(f, depth)?;
    f.write_char('}')
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kernel(f, self, 0)
    }
}

fn kernel(f: &mut fmt::Formatter<'_>, k: &Kernel, depth: usize) -> fmt::Result {
    write!(f, "kernel {:?} ", k.name)?;
    match k.parallel {
        Some(p) => write!(f, "parallel {} align {} ", p.len, p.align)?,
        None => f.write_str("serial ")?,
    }
    if k.every != 1 {
        write!(f, "every {} ", k.every)?;
    }
    if !k.iterations.is_empty() {
        f.write_str("iterations (")?;
        comma(f, &k.iterations)?;
        f.write_str(") ")?;
    }
    if k.vals != implied_vals(&k.iterations, &k.body) {
        write!(f, "vals {} ", k.vals)?;
    }
    braced(f, &k.body, depth)?;
    f.write_char('\n')
}

/// One more than the highest value that a kernel defines.
pub(super) fn implied_vals(iterations: &[Val], body: &Block) -> u32 {
    fn highest(body: &Block, top: &mut u32) {
        let mut see = |v: Val| *top = (*top).max(v.0.saturating_add(1));
        for s in &body.stmts {
            match s {
                Stmt::Const { dst, .. } | Stmt::Op { dst, .. } | Stmt::Load { dst, .. } => see(*dst),
                Stmt::Store { .. } | Stmt::Clear { .. } | Stmt::Push { .. } | Stmt::Events { .. } | Stmt::If { .. } => {
                }
                Stmt::For { var, carried, .. } => {
                    see(*var);
                    carried.iter().flat_map(|c| [c.param, c.result]).for_each(&mut see);
                }
            }
        }
        for s in &body.stmts {
            match s {
                Stmt::For { body, .. } => highest(body, top),
                Stmt::Events { wide, one, .. } => {
                    for e in wide.iter().chain([one]) {
                        *top = e.vars.iter().fold(*top, |t, v| t.max(v.0.saturating_add(1)));
                        highest(&e.body, top);
                    }
                }
                Stmt::If { then_body, else_body, .. } => {
                    highest(then_body, top);
                    highest(else_body, top);
                }
                Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } | Stmt::Store { .. } => {}
                Stmt::Clear { .. } | Stmt::Push { .. } => {}
            }
        }
    }
    let mut top = iterations.iter().fold(Kernel::ENTRY_VALS, |t, v| t.max(v.0.saturating_add(1)));
    highest(body, &mut top);
    top
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("    "))
}

fn comma<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    items.into_iter().enumerate().try_for_each(|(k, x)| write!(f, "{}{x}", if k > 0 { ", " } else { "" }))
}

fn block(f: &mut fmt::Formatter<'_>, block: &Block, depth: usize) -> fmt::Result {
    block.stmts.iter().try_for_each(|s| stmt(f, s, depth))
}

/// `{`, the block, `}`.
fn braced(f: &mut fmt::Formatter<'_>, body: &Block, depth: usize) -> fmt::Result {
    f.write_str("{\n")?;
    block(f, body, depth + 1)?;
    indent(f, depth)?;
    f.write_char('}')
}

fn stmt(f: &mut fmt::Formatter<'_>, stmt: &Stmt, depth: usize) -> fmt::Result {
    indent(f, depth)?;
    match stmt {
        Stmt::Const { dst, value } => {
            write!(f, "{dst} = const.{} ", value.ty())?;
            scalar(f, *value)?;
        }
        Stmt::Op { dst, op, args } => {
            write!(f, "{dst} = {op}")?;
            if !args.is_empty() {
                f.write_char(' ')?;
            }
            comma(f, args)?;
        }
        Stmt::Load { dst, buf, index: at } => {
            write!(f, "{dst} = load {buf}[")?;
            index(f, at)?;
            f.write_char(']')?;
        }
        Stmt::Store { buf, index: at, value } => {
            write!(f, "store {buf}[")?;
            index(f, at)?;
            write!(f, "], {value}")?;
        }
        Stmt::For { var, lo, hi, vector, carried, body } => {
            if !carried.is_empty() {
                comma(f, carried.iter().map(|c| c.result))?;
                f.write_str(" = ")?;
            }
            write!(f, "for{} {var} in {lo}..{hi} ", if *vector { ".vector" } else { "" })?;
            for (k, Carried { param, init, .. }) in carried.iter().enumerate() {
                write!(f, "{}{param} = {init}", if k == 0 { "carry (" } else { ", " })?;
            }
            f.write_str(if carried.is_empty() { "{\n" } else { ") {\n" })?;
            block(f, body, depth + 1)?;
            if !carried.is_empty() {
                indent(f, depth + 1)?;
                f.write_str("yield ")?;
                comma(f, carried.iter().map(|c| c.next))?;
                f.write_char('\n')?;
            }
            indent(f, depth)?;
            f.write_char('}')?;
        }
        Stmt::Events { list, slot, wide, one } => {
            writeln!(f, "events {list}[{slot}] {{")?;
            for (name, EventBody { vars, body }) in wide.iter().map(|w| ("wide", w)).chain([("one", one)]) {
                indent(f, depth + 1)?;
                write!(f, "{name} (")?;
                comma(f, vars)?;
                f.write_str(") ")?;
                braced(f, body, depth + 1)?;
                f.write_char('\n')?;
            }
            indent(f, depth)?;
            f.write_char('}')?;
        }
        Stmt::Clear { list, slot } => write!(f, "clear {list}[{slot}]")?,
        Stmt::Push { list, slot, cond, index } => write!(f, "push {list}[{slot}], {index} if {cond}")?,
        Stmt::If { cond, then_body, else_body } => {
            write!(f, "if {cond} ")?;
            braced(f, then_body, depth)?;
            if !else_body.stmts.is_empty() {
                f.write_str(" else ")?;
                braced(f, else_body, depth)?;
            }
        }
    }
    f.write_char('\n')
}

fn index(f: &mut fmt::Formatter<'_>, at: &Index) -> fmt::Result {
    for (k, (v, c)) in at.terms.iter().enumerate() {
        f.write_str(if k > 0 { " + " } else { "" })?;
        write!(f, "{v}")?;
        if *c != 1 {
            write!(f, "*{c}")?;
        }
    }
    match (at.terms.is_empty(), at.offset) {
        (true, n) => write!(f, "{n}"),
        (false, 0) => Ok(()),
        (false, n) if n < 0 => write!(f, " - {}", n.unsigned_abs()),
        (false, n) => write!(f, " + {n}"),
    }
}

fn scalar(f: &mut fmt::Formatter<'_>, value: Scalar) -> fmt::Result {
    match value {
        Scalar::F32(x) if x.is_nan() => write!(f, "nan:{:#x}", x.to_bits()),
        Scalar::F64(x) if x.is_nan() => write!(f, "nan:{:#x}", x.to_bits()),
        Scalar::F32(x) => write!(f, "{x:?}"),
        Scalar::F64(x) => write!(f, "{x:?}"),
        Scalar::I32(x) => write!(f, "{x}"),
        Scalar::I64(x) => write!(f, "{x}"),
        Scalar::Bool(x) => write!(f, "{x}"),
    }
}

fn tensor(f: &mut fmt::Formatter<'_>, t: &Tensor) -> fmt::Result {
    write!(f, "{}[", t.dtype())?;
    comma(f, t.shape())?;
    f.write_char(']')?;
    let elements: Vec<&[u8]> = t.bytes().chunks_exact(t.dtype().size()).collect();
    if let ([first, rest @ ..], true) = (&elements[..], elements.len() > 1)
        && rest.iter().all(|e| e == first)
    {
        f.write_str(" splat ")?;
        return element(f, t.dtype(), first);
    }
    f.write_str(" {")?;
    for (k, bytes) in elements.iter().enumerate() {
        f.write_str(if k > 0 { ", " } else { " " })?;
        element(f, t.dtype(), bytes)?;
    }
    f.write_str(" }")
}

fn element(f: &mut fmt::Formatter<'_>, elem: DType, bytes: &[u8]) -> fmt::Result {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    let narrow = |x: f32, f: &mut fmt::Formatter<'_>| {
        if x.is_nan() { write!(f, "nan:{bits:#x}") } else { write!(f, "{x:?}") }
    };
    match elem {
        DType::F64 => scalar(f, Scalar::F64(f64::from_bits(bits))),
        DType::F32 => scalar(f, Scalar::F32(f32::from_bits(bits as u32))),
        DType::F16 => narrow(f16::from_bits(bits as u16).to_f32(), f),
        DType::BF16 => narrow(bf16::from_bits(bits as u16).to_f32(), f),
        DType::I64 => write!(f, "{}", bits as i64),
        DType::I32 => write!(f, "{}", bits as i32),
        DType::I16 => write!(f, "{}", bits as i16),
        DType::I8 => write!(f, "{}", bits as i8),
        DType::U64 => write!(f, "{bits}"),
        DType::U32 => write!(f, "{}", bits as u32),
        DType::U16 => write!(f, "{}", bits as u16),
        DType::U8 => write!(f, "{}", bits as u8),
        DType::Bool => write!(f, "{}", bits != 0),
    }
}
