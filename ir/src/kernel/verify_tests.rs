//! One program for each constraint that violates it and nothing else.

use super::*;
use crate::kernel::ScalarOp;
use crate::tensor::Tensor;

/// Buffers: b0 f32[8] state, b1 i8[8] input, b2 f32[8] probe every 2, b3 f32[8] const. Lists: l0 len 8, one slot; l1 len
/// 8, three slots. One parallel kernel over both lists' extent with `vals` 32 and the given body.
fn program(stmts: Vec<Stmt>) -> Program {
    let mut p = Program::new("p", 2);
    p.add_buffer("s", DType::F32, 8, Role::State(Tensor::scalar_f32(0.0)));
    p.add_buffer("x", DType::I8, 8, Role::Input);
    p.add_buffer("r", DType::F32, 8, Role::Probe { every: 2 });
    p.add_buffer("c", DType::F32, 8, Role::Const(Tensor::zeros(DType::F32, vec![8])));
    p.add_list("e", 8, 1, 4);
    p.add_list("ring", 8, 3, 4);
    let parallel = Some(Parallel { len: 8, align: 4 });
    p.push(Kernel { name: "k".into(), parallel, every: 1, iterations: Vec::new(), vals: 32, body: Block { stmts } });
    p
}

/// The kernel of [`program`].
fn kernel(p: &mut Program) -> &mut Kernel {
    match &mut p.steps[0] {
        Step::Kernel(k) => k,
        Step::Loop { .. } | Step::If { .. } => panic!("a kernel"),
    }
}

fn f32c(dst: u32, x: f32) -> Stmt {
    Stmt::Const { dst: Val(dst), value: Scalar::F32(x) }
}

fn i64c(dst: u32, x: i64) -> Stmt {
    Stmt::Const { dst: Val(dst), value: Scalar::I64(x) }
}

fn boolc(dst: u32) -> Stmt {
    Stmt::Const { dst: Val(dst), value: Scalar::Bool(true) }
}

fn for_loop(var: u32, vector: bool, stmts: Vec<Stmt>) -> Stmt {
    let body = Block { stmts };
    Stmt::For { var: Val(var), lo: Kernel::LO, hi: Kernel::HI, vector, carried: Vec::new(), body }
}

fn one(var: u32) -> EventBody {
    EventBody { vars: vec![Val(var)], body: Block::default() }
}

fn push(list: u32, slot: u32, cond: u32, index: u32) -> Stmt {
    Stmt::Push { list: ListId(list), slot: Val(slot), cond: Val(cond), index: Val(index) }
}

fn violates(p: &Program, constraint: Constraint) {
    let found: Vec<Constraint> = verify(p).err().unwrap_or_default().iter().map(|e| e.constraint).collect();
    assert_eq!(found, [constraint], "{:?}", verify(p));
}

fn body_violates(stmts: Vec<Stmt>, constraint: Constraint) {
    violates(&program(stmts), constraint);
}

#[test]
fn a_program_that_keeps_everything_is_accepted() {
    let p = program(vec![
        i64c(4, 0),
        boolc(5),
        Stmt::Clear { list: ListId(0), slot: Val(4) },
        for_loop(6, true, vec![push(0, 4, 5, 6), push(1, 4, 5, 6)]),
        Stmt::Events { list: ListId(1), slot: Val(4), wide: None, one: one(7) },
    ]);
    assert_eq!(verify(&p), Ok(()));
}

#[test]
fn numbers_follow_the_order_of_the_table() {
    for (k, c) in Constraint::ALL.iter().enumerate() {
        assert_eq!(c.code(), format!("K{:03}", k + 1));
    }
}

#[test]
fn k001_parts() {
    let mut p = program(Vec::new());
    p.parts = 0;
    violates(&p, Constraint::Parts);
    p.parts = MAX_PARTS + 1;
    violates(&p, Constraint::Parts);
}

#[test]
fn k002_size() {
    let mut p = program(Vec::new());
    p.add_buffer("big", DType::F64, MAX_LEN + 1, Role::Temp);
    violates(&p, Constraint::Size);
    let mut p = program(Vec::new());
    p.add_list("big", 1 << 32, 1, 1);
    violates(&p, Constraint::Size);
    let mut p = program(Vec::new());
    kernel(&mut p).every = u64::MAX;
    violates(&p, Constraint::Size);
    let mut p = program(Vec::new());
    kernel(&mut p).parallel = Some(Parallel { len: u64::MAX, align: 1 });
    violates(&p, Constraint::Size);
    let mut p = program(Vec::new());
    p.add_list("ring", u64::from(u32::MAX), u32::MAX, 1);
    violates(&p, Constraint::Size);
}

#[test]
fn k003_positive() {
    let mut p = program(Vec::new());
    p.lists[0].slots = 0;
    violates(&p, Constraint::Positive);
    let mut p = program(Vec::new());
    kernel(&mut p).every = 0;
    violates(&p, Constraint::Positive);
    let mut p = program(Vec::new());
    kernel(&mut p).parallel = Some(Parallel { len: 8, align: 0 });
    violates(&p, Constraint::Positive);
    let mut p = program(Vec::new());
    p.buffers[2].role = Role::Probe { every: 0 };
    violates(&p, Constraint::Positive);
}

#[test]
fn k004_data() {
    let mut p = program(Vec::new());
    p.buffers[3].role = Role::Const(Tensor::zeros(DType::F32, vec![7]));
    violates(&p, Constraint::Data);
    p.buffers[3].role = Role::Const(Tensor::zeros(DType::I32, vec![8]));
    violates(&p, Constraint::Data);
    let mut p = program(Vec::new());
    let two = Tensor::from_bytes(DType::Bool, vec![1], &[2]).expect("one byte");
    p.add_buffer("b", DType::Bool, 1, Role::State(two));
    violates(&p, Constraint::Data);
}

#[test]
fn k005_value_number() {
    body_violates(vec![f32c(32, 0.0)], Constraint::ValueNumber);
    let mut p = program(Vec::new());
    kernel(&mut p).vals = 3;
    violates(&p, Constraint::ValueNumber);
}

#[test]
fn k006_single_assignment() {
    body_violates(vec![f32c(4, 0.0), f32c(4, 1.0)], Constraint::SingleAssignment);
    body_violates(vec![i64c(0, 0)], Constraint::SingleAssignment);
    body_violates(vec![for_loop(4, false, vec![i64c(5, 0)]), i64c(5, 0)], Constraint::SingleAssignment);
}

#[test]
fn k007_scope() {
    let add = |dst, a, b| Stmt::Op { dst: Val(dst), op: ScalarOp::IAdd, args: vec![Val(a), Val(b)] };
    body_violates(vec![add(4, 0, 5), i64c(5, 1)], Constraint::Scope);
    body_violates(vec![add(4, 0, 4)], Constraint::Scope);
    body_violates(vec![for_loop(4, false, vec![i64c(5, 0)]), add(6, 0, 5)], Constraint::Scope);
    let branch = Stmt::If {
        cond: Val(4),
        then_body: Block { stmts: vec![i64c(5, 0)] },
        else_body: Block { stmts: vec![add(6, 0, 5)] },
    };
    body_violates(vec![boolc(4), branch], Constraint::Scope);
    // The next value is read inside the body, the result outside.
    let carried = vec![Carried { param: Val(6), init: Val(4), next: Val(7), result: Val(7) }];
    let stmt = Stmt::For { var: Val(5), lo: Val(2), hi: Val(3), vector: false, carried, body: Block::default() };
    body_violates(vec![i64c(4, 0), stmt], Constraint::Scope);
}

#[test]
fn k008_op_type() {
    let op = |op, args: &[u32]| Stmt::Op { dst: Val(9), op, args: args.iter().map(|v| Val(*v)).collect() };
    body_violates(vec![f32c(4, 0.0), op(ScalarOp::FAdd, &[4, 0])], Constraint::OpType);
    body_violates(vec![f32c(4, 0.0), op(ScalarOp::FAdd, &[4])], Constraint::OpType);
    body_violates(vec![op(ScalarOp::FAdd, &[])], Constraint::OpType);
}

#[test]
fn k009_operand_type() {
    let looped = Stmt::For {
        var: Val(5),
        lo: Val(4),
        hi: Kernel::HI,
        vector: false,
        carried: Vec::new(),
        body: Block::default(),
    };
    body_violates(vec![f32c(4, 0.0), looped], Constraint::OperandType);
    let branch = Stmt::If { cond: Kernel::LO, then_body: Block::default(), else_body: Block::default() };
    body_violates(vec![branch], Constraint::OperandType);
    let carried = vec![Carried { param: Val(6), init: Val(4), next: Kernel::TICK, result: Val(7) }];
    let stmt = Stmt::For { var: Val(5), lo: Val(2), hi: Val(3), vector: false, carried, body: Block::default() };
    body_violates(vec![f32c(4, 0.0), stmt], Constraint::OperandType);
    body_violates(vec![boolc(4), push(1, 4, 4, 0)], Constraint::OperandType);
}

#[test]
fn k010_index_type() {
    let load = Stmt::Load { dst: Val(5), buf: BufId(0), index: Index::var(Val(4)) };
    body_violates(vec![f32c(4, 0.0), load], Constraint::IndexType);
}

#[test]
fn k011_known() {
    body_violates(vec![Stmt::Load { dst: Val(5), buf: BufId(9), index: Index::at(0) }], Constraint::Known);
    let events = Stmt::Events { list: ListId(9), slot: Val(0), wide: None, one: one(4) };
    body_violates(vec![events], Constraint::Known);
}

#[test]
fn k012_read_only() {
    body_violates(
        vec![f32c(4, 0.0), Stmt::Store { buf: BufId(3), index: Index::at(0), value: Val(4) }],
        Constraint::ReadOnly,
    );
}

#[test]
fn k013_store_type() {
    let store = Stmt::Store { buf: BufId(0), index: Index::at(0), value: Kernel::TICK };
    body_violates(vec![store], Constraint::StoreType);
}

#[test]
fn k014_index_range() {
    body_violates(vec![Stmt::Load { dst: Val(5), buf: BufId(0), index: Index::at(8) }], Constraint::IndexRange);
    body_violates(vec![Stmt::Load { dst: Val(5), buf: BufId(0), index: Index::at(-1) }], Constraint::IndexRange);
    let load = Stmt::Load { dst: Val(5), buf: BufId(0), index: Index::at(1).plus(Val(4), 7) };
    body_violates(vec![i64c(4, 1), load], Constraint::IndexRange);
}

#[test]
fn k015_vector_carries() {
    let carried = vec![Carried { param: Val(6), init: Val(4), next: Val(6), result: Val(7) }];
    let stmt = Stmt::For { var: Val(5), lo: Val(2), hi: Val(3), vector: true, carried, body: Block::default() };
    body_violates(vec![i64c(4, 0), stmt], Constraint::VectorCarries);
}

#[test]
fn k016_vector_lists() {
    let head = || vec![i64c(4, 0), boolc(5)];
    let with = |stmts| head().into_iter().chain([for_loop(6, true, stmts)]).collect();
    body_violates(with(vec![Stmt::Clear { list: ListId(0), slot: Val(4) }]), Constraint::VectorLists);
    body_violates(with(vec![push(0, 4, 5, 6), push(0, 4, 5, 6)]), Constraint::VectorLists);
    body_violates(with(vec![for_loop(7, false, vec![push(0, 4, 5, 6)])]), Constraint::VectorLists);
}

#[test]
fn k017_list_writer() {
    let mut p = program(vec![i64c(4, 0), Stmt::Clear { list: ListId(0), slot: Val(4) }]);
    kernel(&mut p).parallel = None;
    violates(&p, Constraint::ListWriter);
    kernel(&mut p).parallel = Some(Parallel { len: 8, align: 8 });
    violates(&p, Constraint::ListWriter);
}

#[test]
fn k018_list_reader() {
    let events = Stmt::Events { list: ListId(0), slot: Val(4), wide: None, one: one(5) };
    body_violates(vec![i64c(4, 0), Stmt::Clear { list: ListId(0), slot: Val(4) }, events], Constraint::ListReader);
}

#[test]
fn k019_slot_range() {
    for slot in [-1, 3] {
        let events = Stmt::Events { list: ListId(1), slot: Val(4), wide: None, one: one(5) };
        body_violates(vec![i64c(4, slot), events], Constraint::SlotRange);
    }
}

#[test]
fn k020_event_vars() {
    let wide = Some(EventBody { vars: vec![Val(6)], body: Block::default() });
    let events = Stmt::Events { list: ListId(0), slot: Val(4), wide, one: one(5) };
    body_violates(vec![i64c(4, 0), events], Constraint::EventVars);
    let two = EventBody { vars: vec![Val(5), Val(6)], body: Block::default() };
    let events = Stmt::Events { list: ListId(0), slot: Val(4), wide: None, one: two };
    body_violates(vec![i64c(4, 0), events], Constraint::EventVars);
}

#[test]
fn k021_probe_every() {
    let store = Stmt::Store { buf: BufId(2), index: Index::at(0), value: Val(4) };
    body_violates(vec![f32c(4, 0.0), store], Constraint::ProbeEvery);
}

#[test]
fn k022_depth() {
    let nested = |depth: usize| {
        (0..depth).fold(Vec::new(), |stmts, _| {
            vec![Stmt::If { cond: Val(4), then_body: Block { stmts }, else_body: Block::default() }]
        })
    };
    let with = |depth| [boolc(4)].into_iter().chain(nested(depth)).collect::<Vec<Stmt>>();
    assert_eq!(verify(&program(with(MAX_DEPTH - 1))), Ok(()));
    let p = program(with(MAX_DEPTH));
    let found = verify(&p).expect_err("too deep");
    assert!(found.iter().all(|e| e.constraint == Constraint::Depth), "{found:?}");
}

#[test]
fn k023_step_element() {
    let with = |step: Step| {
        let mut p = program(Vec::new());
        p.add_buffer("n", DType::I64, 2, Role::Temp);
        p.add_buffer("c", DType::Bool, 2, Role::Temp);
        p.add_buffer("d", DType::Bool, 2, Role::Probe { every: 1 });
        p.steps.push(step);
        p
    };
    let element = |buf: u32, at: u64| Element { buf: BufId(buf), at };
    let repeat = |trips, condition| with(Step::Loop { trips, condition, body: Vec::new() });
    let branch = |condition| with(Step::If { condition, then_steps: Vec::new(), else_steps: Vec::new() });
    assert_eq!(verify(&repeat(Trips::Read(element(4, 1)), Some(element(5, 0)))), Ok(()));
    assert_eq!(verify(&branch(element(5, 1))), Ok(()));
    for e in [element(4, 2), element(5, 0), element(0, 0), element(9, 0)] {
        violates(&repeat(Trips::Read(e), None), Constraint::StepElement);
    }
    for e in [element(5, 2), element(4, 0), element(6, 0), element(9, 0)] {
        violates(&repeat(Trips::Known(3), Some(e)), Constraint::StepElement);
        violates(&branch(e), Constraint::StepElement);
    }
}

#[test]
fn k024_step_depth() {
    let nested = |depth: usize| {
        let mut p = Program::new("p", 1);
        p.steps =
            (0..depth).fold(Vec::new(), |body, _| vec![Step::Loop { trips: Trips::Known(1), condition: None, body }]);
        p
    };
    assert_eq!(verify(&nested(MAX_STEP_DEPTH)), Ok(()));
    violates(&nested(MAX_STEP_DEPTH + 1), Constraint::StepDepth);
}

#[test]
fn k025_iterations() {
    let mut p = program(Vec::new());
    kernel(&mut p).iterations = vec![Val(9)];
    violates(&p, Constraint::Iterations);
    p.steps = vec![Step::Loop { trips: Trips::Known(2), condition: None, body: p.steps }];
    assert_eq!(verify(&p), Ok(()));
}
