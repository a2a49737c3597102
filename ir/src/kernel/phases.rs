//! What kernels touch, and which of them parts may run one after another without waiting for each other.

use super::program::{Block, BufId, Kernel, ListId, Program, Step, Stmt, Trips};
use std::collections::BTreeSet;
use std::ops::Range;

/// What a kernel reads and writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Part 0 alone runs it.
    pub serial: bool,
    /// What it reads.
    pub reads: BTreeSet<Home>,
    /// What it writes.
    pub writes: BTreeSet<Home>,
}

/// Something that kernels read and write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Home {
    /// A buffer.
    Buffer(BufId),
    /// An event list.
    List(ListId),
}

impl Access {
    /// Of a kernel.
    pub fn of(kernel: &Kernel) -> Access {
        let mut a = Access { serial: kernel.parallel.is_none(), ..Access::default() };
        kernel.body.each(&mut |s| match s {
            Stmt::Load { buf, .. } => drop(a.reads.insert(Home::Buffer(*buf))),
            Stmt::Store { buf, .. } => drop(a.writes.insert(Home::Buffer(*buf))),
            Stmt::Events { list, .. } => drop(a.reads.insert(Home::List(*list))),
            Stmt::Push { list, .. } | Stmt::Clear { list, .. } => drop(a.writes.insert(Home::List(*list))),
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::For { .. } | Stmt::If { .. } => {}
        });
        a
    }

    /// Whether parts have to meet between this and what comes later.
    pub fn meets(&self, later: &Access) -> bool {
        let both_serial = self.serial && later.serial;
        !both_serial
            && (!self.writes.is_disjoint(&later.reads)
                || !self.writes.is_disjoint(&later.writes)
                || !self.reads.is_disjoint(&later.writes))
    }
}

impl Block {
    /// Calls `f` for each statement and for those in it, outer ones first.
    pub fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Stmt)) {
        for s in &self.stmts {
            f(s);
            match s {
                Stmt::For { body, .. } => body.each(f),
                Stmt::Events { wide, one, .. } => {
                    wide.iter().for_each(|w| w.body.each(f));
                    one.body.each(f);
                }
                Stmt::If { then_body, else_body, .. } => {
                    then_body.each(f);
                    else_body.each(f);
                }
                _ => {}
            }
        }
    }
}

/// A tick as phases in an order that does not depend on values. Parts run a phase without waiting for each other, and meet
/// after it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Course {
    /// Which kernels each phase runs, by their numbers in [`Program::kernels`].
    pub phases: Vec<Range<usize>>,
    /// How many loops are open around each.
    pub loops: Vec<usize>,
    /// The order.
    pub order: Vec<Turn>,
}

/// What is next in a tick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    /// The phase with this number.
    Phase(usize),
    /// All of the body, so many times.
    Loop {
        /// How often.
        trips: u64,
        /// What an iteration is.
        body: Vec<Turn>,
    },
}

impl Course {
    /// The course of a program; `None` if the way through its steps depends on values, or for loops more than `deepest` deep.
    pub fn of(program: &Program, deepest: usize) -> Option<Course> {
        let mut course = Course::default();
        let mut kernels = 0;
        course.order = course.steps(&program.steps, (0, deepest), &mut kernels)?;
        Some(course)
    }

    fn steps(&mut self, steps: &[Step], (loops, deepest): (usize, usize), kernels: &mut usize) -> Option<Vec<Turn>> {
        let mut order = Vec::new();
        // What the open phase touches; empty where none is open.
        let mut open: Vec<Access> = Vec::new();
        for s in steps {
            match s {
                Step::Kernel(k) => {
                    let access = Access::of(k);
                    match self.phases.last_mut() {
                        Some(phase) if !open.is_empty() && !open.iter().any(|a| a.meets(&access)) => phase.end += 1,
                        _ => {
                            open.clear();
                            order.push(Turn::Phase(self.phases.len()));
                            self.phases.push(*kernels..*kernels + 1);
                            self.loops.push(loops);
                        }
                    }
                    open.push(access);
                    *kernels += 1;
                }
                Step::Loop { trips: Trips::Known(trips), condition: None, body } if loops < deepest => {
                    open.clear();
                    let body = self.steps(body, (loops + 1, deepest), kernels)?;
                    order.push(Turn::Loop { trips: *trips, body });
                }
                Step::Loop { .. } | Step::If { .. } => return None,
            }
        }
        Some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::text;

    fn course(steps: &str) -> Option<Course> {
        let head = "program \"p\" parts 2\n\nbuffer b0 \"a\" f32[8] state f32[1] { 0.0 }\nbuffer b1 \"b\" f32[8] temp\n\
                    buffer b2 \"c\" bool[8] temp\n\n";
        let program = text::parse(&format!("{head}{steps}")).expect("a program");
        Course::of(&program, 2)
    }

    /// A kernel that copies one buffer to another.
    fn copy(from: &str, to: &str) -> String {
        let body = format!("for.vector v4 in v2..v3 {{\n v5 = load {from}[v4]\n store {to}[v4], v5\n }}");
        format!("kernel \"{from} to {to}\" parallel 8 align 1 {{\n {body}\n}}\n")
    }

    #[test]
    fn kernels_that_touch_nothing_in_common_are_one_phase() {
        let there = copy("b0", "b1");
        let found = course(&format!("{there}{}", copy("b1", "b0"))).expect("no values decide");
        assert_eq!(found.phases, [0..1, 1..2]);
        // Reading the same is nothing in common.
        let reads = "kernel \"reads\" parallel 8 align 1 {\n v5 = load b0[v2]\n}\n";
        let found = course(&format!("{reads}{reads}{there}{reads}")).expect("no values decide");
        assert_eq!((found.phases.len(), &found.phases[0]), (1, &(0..4)));
        assert_eq!(found.order, [Turn::Phase(0)]);
    }

    #[test]
    fn loops_end_phases() {
        let reads = "kernel \"reads\" parallel 8 align 1 {\n v5 = load b0[v2]\n}\n";
        let found = course(&format!("{reads}loop 3 {{\n{reads}{reads}}}\n{reads}")).expect("no values decide");
        assert_eq!(found.phases, [0..1, 1..3, 3..4]);
        assert_eq!(found.loops, [0, 1, 0]);
        let body = vec![Turn::Phase(1)];
        assert_eq!(found.order, [Turn::Phase(0), Turn::Loop { trips: 3, body }, Turn::Phase(2)]);
        assert_eq!(course(&format!("loop 2 {{\nloop 2 {{\nloop 2 {{\n{reads}}}\n}}\n}}\n")), None, "too deep");
        assert_eq!(course(&format!("if b2[0] {{\n{reads}}}\n")), None);
    }
}
