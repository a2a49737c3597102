//! Texts by hand: what is printed, and what is refused where.

use super::*;
use crate::graph::{Constant, Module};
use crate::tensor::Tensor;
use crate::types::DType;
use expect_test::{Expect, expect};

const NET: &str = r#"module "net \"x\"" {
  dt = 0.001
  seed = 18446744073709551615
  const c0 "tau": f32 = [0.1]
  const c1: i64[2] = [0, -3]
  line line0 "P.spike": bool[4], source = %4, depth = 2
  conn conn0 "c" {
    pre = 0..4 of 4
    post = 1..4 of 4
    rule = random(p = 0.1, stream = 9223372036854775809)
    weight = region {
      param %0 "i": i64
      param %1 "j": i64[n]
      %2: f32[n] = random{law = uniform, stream = 18446744073709551615}(%0, %1)
      give (%2)
    }
    delay = ticks 1
  }
  graph {
    param %0 "P.v": f32[4]
    %1: f32 = constant{id = c0}()
    %2 "out": f32[4] = project{conn = conn0, line = line0, now_count = 0, state_count = 1}(%0) deliver {
      param %0: f32
      param %1: f32
      %2: f32 = add(%0, %1)
      give (%2)
    }
    %3: f32[4] = mul(%2, %1)
    %4: bool[4] = gt(%3, %1)
  }
  output "y" = %3
  state "P.v": read = %0, next = %3, init = c0
  probe "v" = %2 every 10
  sparse "P.v"
  choice "P: solver" "exact, as the system is linear"
}
"#;

#[test]
fn a_module_reads_back() {
    let m = parse(NET).expect("well-formed");
    assert_eq!(print(&m), NET);
    assert_eq!(m.graph.values[2].name, "out");
    crate::graph::verify::verify(&m).expect("valid");
}

#[test]
fn constants_of_every_type_read_back() {
    let mut m = Module { name: String::new(), ..Module::default() };
    let mut add =
        |data: Option<Tensor>| m.consts.push(Constant { name: "é\n\u{7}".into(), data: data.expect("count") });
    add(Tensor::from_vec(vec![5], vec![f32::MIN_POSITIVE / 2.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 16777217.0]));
    add(Tensor::from_vec(vec![2], vec![f64::from_bits(1), 0.1]));
    add(Tensor::from_vec(vec![1], vec![f32::from_bits(0xffc1_2345)]));
    add(Tensor::from_vec(vec![2], vec![half::f16::from_f32(1e-7), half::f16::MAX]));
    add(Tensor::from_vec(vec![2], vec![half::bf16::from_f32(3.3e38), half::bf16::from_f32(0.1)]));
    add(Tensor::from_vec(vec![2], vec![i64::MIN, i64::MAX]));
    add(Tensor::from_vec(vec![2], vec![i8::MIN, i8::MAX]));
    add(Tensor::from_vec(vec![0, 3], Vec::<u8>::new()));
    add(Tensor::from_bytes(DType::Bool, vec![2], &[0, 1]));
    add(Tensor::from_bytes(DType::Bool, vec![2], &[0, 2]));
    add(Tensor::from_vec(vec![10, 10], (0..100i32).collect()));
    let text = print(&m);
    assert_eq!(parse(&text).expect("well-formed"), m, "{text}");
    let elided = print_elided(&m);
    assert!(elided.contains("[0, 1, 2, 3, 4, 5, 6, 7, ...]"), "{elided}");
    let start = elided.find("  const c10").expect("the last constant");
    let short = format!("module \"m\" {{ {}", elided[start..].replace("c10", "c0"));
    let message = parse(&short).expect_err("elided").message;
    assert_eq!(message, "this text was printed without its long constants and cannot be read back");
}

fn refused(text: &str, expected: Expect) {
    expected.assert_eq(&parse(text).expect_err("malformed").to_string());
}

#[test]
fn errors_say_where() {
    refused("", expect!["1:1: found the end of the text, expected `module`"]);
    refused("module \"m\" {", expect!["1:13: found the end of the text, expected an item of a module or `}`"]);
    refused("module \"m\" {\n  seed = x }", expect!["2:10: found `x`, expected an integer"]);
    refused("module \"m\" {\n  seed = -1 }", expect!["2:10: -1 is out of range here"]);
    refused("module \"m\" { const c1: f32 = [1.0] }", expect!["1:20: found `c1`, expected `c0`"]);
    refused("module \"m\" { const c0: f31 = [1.0] }", expect!["1:24: `f31` is not an element type"]);
    refused("module \"m\" { const c0: i8[2] = [1] }", expect!["1:32: 1 elements do not fill i8[2]"]);
    refused("module \"m\" { const c0: i8 = [128] }", expect!["1:30: 128 is out of range here"]);
    refused(
        "module \"m\" { const c0: f32 = x\"123\" }",
        expect!["1:30: bytes are an even number of hexadecimal digits in quotes"],
    );
    refused("module \"m\" { graph { %0: f32 = nop() } }", expect!["1:32: no op is called `nop`"]);
    refused("module \"m\" { graph { %0: i64 = iota() } }", expect!["1:32: `iota` lacks the attribute `len`"]);
    refused(
        "module \"m\" { graph { %1: i64 = tick() } }",
        expect!["1:20: in the graph that begins here, %0 is not defined"],
    );
    refused(
        "module \"m\" { graph { param %0: i64\n %0: i64 = tick() } }",
        expect!["1:20: in the graph that begins here, %0 is defined twice"],
    );
    refused("module \"é", expect!["1:8: the closing quote is missing"]);
    refused("module \"é\" ; {", expect!["1:12: `;` cannot stand here"]);
    refused("module \"m\" { } }", expect!["1:16: found `}`, expected the end of the text"]);
    let d = crate::Diagnostic::from(parse("?").expect_err("malformed"));
    assert_eq!((d.code, d.span), ("E0520", Some(Span::new(0, 1))));
}

#[test]
fn nesting_is_bounded() {
    let mut text = String::from("module \"m\" { graph {");
    for _ in 0..100_000 {
        text.push_str(" cond() then_body {");
    }
    assert!(parse(&text).expect_err("too deep").message.contains("nest more than 32 deep"));
}
