use super::*;
use crate::kernel::program::{Block, Step, Stmt, Trips};
use crate::kernel::scalar::{ScalarOp, ScalarType};
use crate::kernel::verify::verify;
use proptest::prelude::*;
use std::collections::BTreeSet;

const CHECKED: Options = Options { check: true, wide: true, max_steps: Some(20_000_000) };

/// Everything that the module promises about a case.
fn keeps_its_promises(case: &Case) {
    if let Err(errors) = verify(&case.program) {
        panic!("{errors:?}\n{:#?}", case.program);
    }
    let run = |case: &Case, options| match case.run(options) {
        Ok(s) => s,
        Err(f) => panic!("{f}\n{:#?}", case.program),
    };
    let one = run(&case.with_parts(1), CHECKED);
    for (parts, wide) in [(case.program.parts, false), (3, true)] {
        let other = run(&case.with_parts(parts), Options { wide, ..CHECKED });
        assert_eq!(one.difference(&other), None, "{parts} parts");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn drawn_cases_keep_their_promises(choices in proptest::collection::vec(any::<u32>(), 0..500)) {
        keeps_its_promises(&Case::from_choices(&choices));
    }
}

#[test]
fn seeded_cases_keep_their_promises() {
    let cases = std::env::var("NC_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    for seed in 0..cases {
        keeps_its_promises(&Case::from_seed(seed));
    }
}

/// Runs a case in chunks of `chunk` ticks, each with its own slices of the host arrays.
fn in_chunks(case: &Case, chunk: u64) -> Snapshot {
    let mut machine = Machine::new(&case.program, CHECKED).expect("a valid program");
    let mut host = case.host.clone();
    let mut at = vec![0usize; host.len()];
    let mut tick = 0;
    while tick < case.ticks {
        let n = chunk.min(case.ticks - tick);
        let sizes: Vec<usize> =
            (0..host.len()).map(|k| machine.host_bytes(k, tick, n).expect("a size") as usize).collect();
        let mut arrays = Vec::new();
        for (k, bytes) in host.iter_mut().enumerate() {
            let part = &mut bytes[at[k]..at[k] + sizes[k]];
            at[k] += sizes[k];
            let role = &case.program.buffers[machine.layout().host[k].index()].role;
            arrays.push(if *role == Role::Input { HostArray::In(part) } else { HostArray::Out(part) });
        }
        machine.run(tick, n, &mut arrays).expect("no fault");
        tick += n;
    }
    assert!(at.iter().zip(&host).all(|(at, bytes)| *at == bytes.len()), "every frame belongs to one chunk");
    Snapshot::of(&case.program, machine.layout(), machine.arena(), &host)
}

#[test]
fn chunks_of_a_run_compute_what_the_whole_does() {
    for seed in 0..60 {
        let case = Case::from_seed(seed);
        let whole = case.run(CHECKED).expect("no fault");
        for chunk in [1, 2, 3] {
            assert_eq!(whole.difference(&in_chunks(&case, chunk)), None, "seed {seed}, chunks of {chunk}");
        }
    }
}

/// Notes what a block contains.
fn collect(program: &Program, block: &Block, vector: bool, seen: &mut BTreeSet<String>) {
    for s in &block.stmts {
        match s {
            Stmt::Const { .. } => {}
            Stmt::Op { op, .. } => {
                seen.insert(format!("{op} {}", if vector { "in vector" } else { "in serial" }));
            }
            Stmt::Load { buf, .. } => {
                seen.insert(format!("load {} {vector}", program.elem(*buf)));
            }
            Stmt::Store { buf, .. } => {
                seen.insert(format!("store {} {vector}", program.elem(*buf)));
            }
            Stmt::For { vector: v, carried, body, .. } => {
                seen.insert(format!("for {v} in {vector}, carries {}", !carried.is_empty()));
                collect(program, body, vector || *v, seen);
            }
            Stmt::Events { wide, one, list, .. } => {
                let ring = program.lists[list.index()].slots > 1;
                seen.insert(format!("events in {vector}, wide {}, ring {ring}", wide.is_some()));
                wide.iter().chain([one]).for_each(|e| collect(program, &e.body, vector, seen));
            }
            Stmt::Clear { .. } => {
                seen.insert("clear".to_string());
            }
            Stmt::Push { .. } => {
                seen.insert(format!("push {vector}"));
            }
            Stmt::If { then_body, else_body, .. } => {
                seen.insert(format!("if {vector}, else {}", !else_body.stmts.is_empty()));
                collect(program, then_body, vector, seen);
                collect(program, else_body, vector, seen);
            }
        }
    }
}

/// Notes which steps there are and how deep they stand.
fn collect_steps(steps: &[Step], depth: usize, seen: &mut BTreeSet<String>) {
    for s in steps {
        match s {
            Step::Kernel(k) => {
                seen.insert(format!("kernel at {depth}, iterations {}", k.iterations.len()));
            }
            Step::Loop { trips, condition, body } => {
                let known = matches!(trips, Trips::Known(_));
                seen.insert(format!("loop at {depth}, known {known}, while {}", condition.is_some()));
                collect_steps(body, depth + 1, seen);
            }
            Step::If { then_steps, else_steps, .. } => {
                seen.insert(format!("if at {depth}, else {}", !else_steps.is_empty()));
                collect_steps(then_steps, depth + 1, seen);
                collect_steps(else_steps, depth + 1, seen);
            }
        }
    }
}

#[test]
fn cases_contain_everything() {
    let mut seen = BTreeSet::new();
    let mut events = 0;
    for seed in 0..400 {
        let case = Case::from_seed(seed);
        collect_steps(&case.program.steps, 0, &mut seen);
        for k in case.program.kernels() {
            collect(&case.program, &k.body, false, &mut seen);
        }
        if seed < 60 {
            let s = case.run(Options::default()).expect("no fault");
            events += s.lists.iter().flat_map(|l| &l.1).map(Vec::len).sum::<usize>();
        }
    }
    let mut missing: Vec<String> = Vec::new();
    for v in ["in vector", "in serial"] {
        missing.extend(ScalarOp::ALL.iter().map(|op| format!("{op} {v}")));
    }
    for v in [true, false] {
        missing.extend(DType::ALL.iter().flat_map(|d| [format!("load {d} {v}"), format!("store {d} {v}")]));
        missing.extend([format!("push {v}"), format!("if {v}, else true"), format!("if {v}, else false")]);
        missing.extend([format!("for true in {v}, carries false"), format!("for false in {v}, carries true")]);
        missing.extend([true, false].map(|w| format!("events in {v}, wide {w}, ring {w}")));
    }
    for depth in [0, 1] {
        missing.extend([true, false].map(|e| format!("if at {depth}, else {e}")));
        for known in [true, false] {
            missing.extend([true, false].map(|w| format!("loop at {depth}, known {known}, while {w}")));
        }
    }
    missing.extend(
        ["kernel at 2, iterations 2", "kernel at 2, iterations 1", "kernel at 1, iterations 0"].map(String::from),
    );
    missing.retain(|m| !seen.contains(m));
    assert_eq!(missing, Vec::<String>::new());
    assert!(events > 100, "{events} events in lists");
    assert!(ScalarType::ALL.len() == 5);
}

#[test]
fn a_difference_is_found_but_not_between_nans() {
    let nan = |payload: u32| Snapshot {
        buffers: vec![("x".into(), DType::F32, (f32::NAN.to_bits() | payload).to_le_bytes().to_vec())],
        lists: vec![("l".into(), vec![vec![1, 2]])],
    };
    assert_eq!(nan(0).difference(&nan(5)), None);
    let mut other = nan(0);
    other.buffers[0].2 = 1f32.to_le_bytes().to_vec();
    assert_eq!(nan(0).difference(&other).as_deref(), Some("`x`, f32, element 0: NaN against 1.0"));
    let mut other = nan(0);
    other.lists[0].1[0].pop();
    assert_eq!(nan(0).difference(&other).as_deref(), Some("list `l`: [[1, 2]] against [[1]]"));
}
