use super::*;
use crate::kernel::program::{Block, Index, Kernel, Parallel, Role, Stmt, Val};
use crate::kernel::scalar::{Scalar, ScalarOp};
use crate::kernel::testing::Case;
use crate::kernel::verify::{MAX_DEPTH, MAX_STEP_DEPTH, verify};
use crate::tensor::Tensor;
use crate::types::DType;
use expect_test::expect;
use proptest::prelude::*;

const NET: &str = r#"program "net \"q\" \n" parts 2

buffer b0 "x" f32[8] input
buffer b1 "w" bf16[2, 4] temp
"#;

const FULL: &str = r#"program "full" parts 2

buffer b0 "x" f32[8] input
buffer b1 "w" f32[8] const f32[2, 4] { 1.0, -0.0, inf, 2.5, 1e-40, nan:0x7fc00001, 0.1, -inf }
buffer b2 "s" f16[8] state f16[1] { 0.099975586 }
buffer b3 "t" i64[8] temp
buffer b4 "y" bool[8] output
buffer b5 "p" f64[1] probe every 3
buffer b6 "z" i8[4] state i8[4] splat -128
list l0 "spikes" len 8 slots 3 align 4

kernel "all" parallel 8 align 4 every 2 vals 40 {
    v4 = const.i64 -9223372036854775808
    v5 = const.f64 nan:0x7ff0000000000001
    v6 = const.bool true
    v7 = const.i64 0
    clear l0[v7]
    v12 = for v8 in v2..v3 carry (v9 = v5) {
        v10 = load b0[v8*3 + v4*-1 - 9223372036854775808]
        v11 = f32_to_f64 v10
        store b3[5], v8
        yield v11
    }
    for.vector v13 in v2..v3 {
        push l0[v7], v13 if v6
    }
    events l0[v7] {
        wide (v14, v15) {
        }
        one (v16) {
            if v6 {
                v17 = iadd v16, v0
            } else {
                v18 = load b2[v16 + 7]
            }
        }
    }
}

loop b3[2] while b4[7] {
    loop 3 {
        kernel "inside" serial iterations (v4, v5) {
            v6 = iadd v4, v5
            store b3[v5], v6
        }
        if b4[0] {
        } else {
            kernel "otherwise" serial iterations (v4) vals 9 {
            }
        }
    }
    if b4[1] {
        kernel "then" serial {
        }
    }
}

kernel "none" serial {
}
"#;

#[test]
fn what_is_read_prints_the_same() {
    let p = parse(FULL).expect("a program");
    assert_eq!(print(&p), FULL);
    assert_eq!(parse(&print(&p)).expect("a program"), p);
}

#[test]
fn comments_and_space_do_not_matter() {
    let text = FULL.replace("serial {", "serial ; nothing\n {").replace("    ", " ");
    assert_eq!(parse(&text), parse(FULL));
}

#[test]
fn a_small_program_reads_well() {
    let mut p = Program::new("tiny", 1);
    p.add_buffer("v", DType::F32, 4, Role::State(Tensor::zeros(DType::F32, vec![4])));
    p.push(Kernel {
        name: "k".into(),
        parallel: Some(Parallel { len: 4, align: 1 }),
        every: 1,
        iterations: Vec::new(),
        vals: 6,
        body: Block {
            stmts: vec![
                Stmt::Const { dst: Val(4), value: Scalar::F32(0.1) },
                Stmt::Op { dst: Val(5), op: ScalarOp::FMul, args: vec![Val(4), Val(4)] },
                Stmt::Store { buf: crate::kernel::BufId(0), index: Index::var(Val(2)), value: Val(5) },
            ],
        },
    });
    expect![[r#"
        program "tiny" parts 1

        buffer b0 "v" f32[4] state f32[4] splat 0.0

        kernel "k" parallel 4 align 1 {
            v4 = const.f32 0.1
            v5 = fmul v4, v4
            store b0[v2], v5
        }
    "#]]
    .assert_eq(&print(&p));
}

fn error(text: &str) -> String {
    parse(text).expect_err("an error").to_string()
}

#[test]
fn errors_say_where_and_what() {
    expect!["1:1: expected `program`, found the end of the text"].assert_eq(&error(""));
    expect!["4:21: expected `]`, found `,`"].assert_eq(&error(NET));
    expect!["1:9: the string does not end on its line"].assert_eq(&error("program \"a"));
    expect!["1:10: an unknown escape"].assert_eq(&error("program \"\\q\""));
    expect!["1:10: an escape that names no character"].assert_eq(&error("program \"\\u{110000}\""));
    expect!["1:9: '#' begins nothing"].assert_eq(&error("program # \"a\""));
    expect!["1:19: `99999999999` is not a number of this kind"].assert_eq(&error("program \"a\" parts 99999999999"));
    expect!["2:1: expected `buffer`, `list`, `kernel`, `loop` or `if`, found `}`"]
        .assert_eq(&error("program \"a\" parts 1\n}"));
    expect!["2:8: expected `b0`, found `b1`"].assert_eq(&error("program \"a\" parts 1\nbuffer b1 \"x\" f32[1] temp"));
    let data = |d: &str| error(&format!("program \"a\" parts 1\nbuffer b0 \"x\" f32[2] const {d}"));
    expect!["2:28: 1 elements do not fill the shape"].assert_eq(&data("f32[2] { 1.0 }"));
    expect!["2:28: the size of the data overflows"].assert_eq(&data("f32[4294967296, 4294967296] splat 0.0"));
    expect!["2:28: 4000000000000 bytes of data are more than allowed"].assert_eq(&data("f32[1000000000000] splat 0.0"));
    expect!["2:37: `1e39` is not a float that fits"].assert_eq(&data("f32[2] { 1e39 }"));
    expect!["2:37: the float does not fit 16 bits"].assert_eq(&data("f16[1] { 65536.0 }"));
    expect!["2:41: these are not the bits of a NaN"].assert_eq(&data("f32[2] { nan:0x7f800000 }"));
    expect!["2:36: `256` is not an integer that fits"].assert_eq(&data("u8[1] { 256 }"));
    let body = |b: &str| error(&format!("program \"a\" parts 1\nkernel \"k\" serial {{\n{b}\n}}"));
    expect!["3:6: expected an operation, found `fadded`"].assert_eq(&body("v4 = fadded v1, v2"));
    expect!["3:1: only a loop defines several values"].assert_eq(&body("v4, v5 = fadd v1, v2"));
    expect!["3:6: the loop carries 0 values, yields 0 and defines 1"].assert_eq(&body("v4 = for v5 in v2..v3 { }"));
    expect!["3:38: expected `yield`, found `}`"].assert_eq(&body("v4 = for v5 in v2..v3 carry (v6=v0) {}"));
    expect!["3:1: expected a statement, found `yield`"].assert_eq(&body("yield v0"));
    expect!["3:7: expected a buffer, found `bx`"].assert_eq(&body("store bx[0], v0"));
}

#[test]
fn operands_stand_on_the_line_of_their_operation() {
    let p = parse("program \"a\" parts 1 kernel \"k\" serial {\nv4 = not\nv5 = not v0\n}").expect("a program");
    let args: Vec<usize> = p
        .kernels()
        .next()
        .expect("a kernel")
        .body
        .stmts
        .iter()
        .map(|s| if let Stmt::Op { args, .. } = s { args.len() } else { usize::MAX })
        .collect();
    assert_eq!(args, [0, 1]);
}

#[test]
fn nesting_is_bounded() {
    let nested = |n: usize| {
        let (open, close) = ("if v4 {\n".repeat(n), "}".repeat(n));
        format!("program \"a\" parts 1 kernel \"k\" serial {{ v4 = const.bool true\n{open}{close} }}")
    };
    let p = parse(&nested(MAX_DEPTH - 1)).expect("a program");
    assert_eq!(verify(&p), Ok(()));
    assert!(error(&nested(MAX_DEPTH)).ends_with("blocks nest more than 64 deep"));
    assert!(error(&nested(1_000_000)).ends_with("blocks nest more than 64 deep"));
    let loops = |n: usize| format!("program \"p\" parts 1\n{}{}", "loop 2 {".repeat(n), "}".repeat(n));
    let p = parse(&loops(MAX_STEP_DEPTH)).expect("a program");
    assert_eq!(verify(&p), Ok(()));
    assert!(error(&loops(1_000_000)).ends_with("steps nest more than 64 deep"));
}

#[test]
fn data_is_bounded_in_total() {
    let text = "program \"a\" parts 1
        buffer b0 \"x\" u8[8] const u8[8] splat 1
        buffer b1 \"y\" u8[8] const u8[8] splat 1";
    assert!(parse_with_limit(text, 16).is_ok());
    assert_eq!(parse_with_limit(text, 15).expect_err("too much").line, 3);
}

/// Every 16-bit float, and each kind of 32- and 64-bit float, reads back to its bits.
#[test]
fn floats_read_back_to_their_bits() {
    let mut p = Program::new("floats", 1);
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for elem in [DType::F16, DType::BF16] {
        let t = Tensor::from_bytes(elem, vec![65536], bytemuck::cast_slice(&all)).expect("every pattern");
        p.add_buffer("f", elem, 65536, Role::Const(t));
    }
    let back = parse(&print(&p)).expect("a program");
    assert!(back == p);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_read_back_equal(seed in any::<u64>()) {
        let p = Case::from_seed(seed).program;
        let text = print(&p);
        let back = parse(&text);
        prop_assert!(back.as_ref() == Ok(&p), "{text}\n{back:?}");
    }

    #[test]
    fn constants_read_back_equal(bits in any::<u64>()) {
        for ty in crate::kernel::ScalarType::ALL {
            let mut p = Program::new("c", 1);
            let stmts = vec![Stmt::Const { dst: Val(4), value: Scalar::from_bits(ty, bits) }];
            let body = Block { stmts };
            p.push(Kernel { name: "k".into(), parallel: None, every: 1, iterations: Vec::new(), vals: 5, body });
            prop_assert_eq!(parse(&print(&p)), Ok(p));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("program \"a\" parts 1 kernel \"k\" serial {{ {text} }}"));
    }

    #[test]
    fn damaged_programs_are_read_or_refused(seed in any::<u64>(), cuts in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..6)) {
        let mut bytes = print(&Case::from_seed(seed % 50).program).into_bytes();
        for (at, with) in cuts {
            let at = at as usize % bytes.len();
            if with < 128 { bytes[at] = with } else { bytes.drain(at..(at + with as usize % 9).min(bytes.len())); }
            if bytes.is_empty() { break }
        }
        if let Ok(p) = parse_with_limit(&String::from_utf8_lossy(&bytes), 1 << 20) {
            let _ = verify(&p);
            prop_assert_eq!(parse(&print(&p)), Ok(p));
        }
    }
}
