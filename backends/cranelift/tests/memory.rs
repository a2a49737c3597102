//! Code in memory is never writable and executable at once, and goes away with its owner.

mod common;

use nc_cranelift::{Options, asm, clif, compile, compile_object};
use nc_ir::kernel::abi::{Code, Layout};
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Block, Index, Kernel, KernelBuilder, Program, Role, Scalar, Step, Stmt, Val};
use nc_ir::{DType, Tensor};

#[cfg(target_os = "linux")]
#[test]
fn no_mapping_is_writable_and_executable() {
    let case = Case::from_seed(11);
    let layout = Layout::of(&case.program).expect("small");
    let code = compile(&case.program, &layout, &Options::default()).expect("supported");
    let entry = code.entry() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the process's mappings");
    let mut found = false;
    for line in maps.lines() {
        let mut words = line.split(' ');
        let (range, rights) = (words.next().expect("a range"), words.next().expect("rights"));
        assert!(!(rights.contains('w') && rights.contains('x')), "{line}");
        let (lo, hi) = range.split_once('-').expect("two ends");
        let end = |s: &str| usize::from_str_radix(s, 16).expect("hexadecimal");
        if (end(lo)..end(hi)).contains(&entry) {
            assert!(rights.starts_with("r-x"), "{line}");
            found = true;
        }
    }
    assert!(found, "the entry point lies in no mapping");
}

#[test]
fn code_can_move_between_threads() {
    fn movable<T: Send + Sync>(_: &T) {}
    let case = Case::from_seed(5);
    let layout = Layout::of(&case.program).expect("small");
    movable(&compile(&case.program, &layout, &Options::default()).expect("supported"));
}

#[test]
fn texts_name_every_kernel() {
    let case = Case::from_seed(11);
    let plain = nc_cranelift::Options::default();
    for text in [clif(&case.program, &plain).expect("supported"), asm(&case.program, &plain).expect("supported")] {
        assert!(text.contains("nc_run"));
        for n in 0..case.program.kernels().count() {
            assert!(text.contains(&format!("nc_k{n}_")), "kernel {n}");
        }
    }
}

/// Nested deeper than allowed, built from the inside out.
fn nested(depth: usize) -> Program {
    let mut body = Block::default();
    for k in 0..depth {
        let var = Val(4 + k as u32);
        body = Block {
            stmts: vec![Stmt::For { var, lo: Kernel::LO, hi: Kernel::HI, vector: false, carried: Vec::new(), body }],
        };
    }
    let mut p = Program::new("nested", 1);
    p.push(Kernel {
        name: "deep".into(),
        parallel: None,
        every: 1,
        iterations: Vec::new(),
        vals: 4 + depth as u32,
        body,
    });
    p
}

#[test]
fn malformed_programs_are_refused() {
    let refused = |p: &Program| {
        let layout = Layout::of(p).expect("small");
        compile(p, &layout, &Options::default()).expect_err("malformed").what
    };
    assert!(refused(&nested(100)).contains("64 deep"));
    let mut p = Program::new("undefined", 1);
    let y = p.add_buffer("y", DType::F32, 1, Role::State(Tensor::zeros(DType::F32, vec![1])));
    let store = Stmt::Store { buf: y, index: Index::at(0), value: Val(9) };
    let body = Block { stmts: vec![store] };
    p.push(Kernel { name: "k".into(), parallel: None, every: 1, iterations: Vec::new(), vals: 10, body });
    assert!(refused(&p).contains("b0 holds no i64"), "{}", refused(&p));
    let Step::Kernel(kernel) = &mut p.steps[0] else { panic!("a kernel") };
    let Some(Stmt::Store { value, .. }) = kernel.body.stmts.first_mut() else { panic!("a store") };
    *value = Val(99);
    assert!(refused(&p).contains("no value v99"));
    let mut b = KernelBuilder::new("k", None, 1);
    let one = nc_ir::kernel::Emit::constant(&mut b, Scalar::F32(1.0));
    b.store(nc_ir::kernel::BufId(7), Index::at(0), one);
    p.steps[0] = Step::Kernel(b.finish());
    assert!(refused(&p).contains("no buffer b7"));
}

#[test]
fn objects_carry_code_and_data() {
    let case = Case::from_seed(11);
    let layout = Layout::of(&case.program).expect("small");
    let object = compile_object(&case.program, &layout, &Options::default(), "net").expect("supported");
    for name in ["net_run", "net_consts", "net_init", "net_init_bytes"] {
        assert!(object.windows(name.len()).any(|w| w == name.as_bytes()), "{name}");
    }
    let bad = compile_object(&case.program, &layout, &Options::default(), "1net").expect_err("no identifier");
    assert!(bad.what.contains("`1net`"));
}
