//! One module per rule that breaks this rule and nothing else.

use super::*;
use crate::graph::connect;
use crate::graph::text::parse;
use crate::types::Dim;

/// A valid module with something of everything.
const NET: &str = r#"module "net" {
  dt = 0.001
  seed = 1
  const c0: f32 = [0.5]
  const c1: i64[4] = [0, 1, 2, 2]
  const c2: f32[2] = [1.0, 2.0]
  line line0 "s": bool[2], source = %1, depth = 2
  conn conn0 "c" {
    pre = 0..2 of 2
    post = 0..2 of 2
    rule = all
    weight = region {
      param %0: i64
      param %1: i64[n]
      %2: f32[n] = cast{to = f32}(%1)
      give (%2)
    }
    delay = per_synapse c1
  }
  graph {
    param %0 "v": f32[2]
    param %1 "x": bool[2]
    %2: f32[2] = project{conn = conn0, line = line0, now_count = 1, state_count = 1}(%1, %0) deliver {
      param %0: f32
      param %1: f32
      %2: f32 = add(%0, %1)
      give (%2)
    }
    %3: f32[2] = neg(%2)
    %4: bool = constant{id = c3}()
    %5: f32[2] = cond(%4, %3) then_body {
      param %0: f32[2]
      give (%0)
    } else_body {
      param %0: f32[2]
      %1: f32[2] = abs(%0)
      give (%1)
    }
  }
  input "x" = %1
  output "y" = %5
  output "z" = %3
  state "v": read = %0, next = %3, init = c0
  probe "v" = %2 every 1
  sparse "x"
}
"#;

fn net() -> Module {
    let text = NET.replace("  line line0", "  const c3: bool = [true]\n  line line0");
    parse(&text).expect("well-formed")
}

#[test]
fn the_whole_is_valid() {
    verify(&net()).expect("valid");
}

/// The rule that a change breaks.
fn broken(change: impl FnOnce(&mut Module)) -> Rule {
    let mut m = net();
    change(&mut m);
    let e = verify(&m).expect_err("a broken rule");
    assert!(e.to_string().starts_with(e.rule.name()) && !e.rule.doc().is_empty());
    e.rule
}

/// As [`broken`], by replacing a piece of the text.
fn rewritten(from: &str, to: &str) -> Rule {
    assert!(NET.contains(from), "{from}");
    broken(|m| {
        let text = NET.replace("  line line0", "  const c3: bool = [true]\n  line line0").replacen(from, to, 1);
        *m = parse(&text).expect("well-formed");
    })
}

#[test]
fn every_rule_is_seen() {
    let g1 = broken(|m| m.graph.nodes[1].args[0] = ValueId(99));
    let g2 = broken(|m| m.graph.nodes.swap(0, 1));
    let g3 = broken(|m| {
        m.graph.add_value(TensorType::scalar(crate::DType::F32), "");
    });
    let g4 = rewritten("neg(%2)", "neg(%1)");
    let g5 = rewritten("%3: f32[2] = neg", "%3: f32[3] = neg");
    let g6 = broken(|m| m.graph.values[3].ty.shape = vec![Dim::Const(u64::MAX)]);
    let g7 = broken(|m| nest(m, 40));
    let g8 = rewritten("%2: f32 = add(%0, %1)", "%3: i64[2] = iota{len = 2}()\n      %2: f32 = add(%0, %1)");
    let g9 = rewritten(
        "%1: f32[2] = abs(%0)\n      give (%1)",
        "%1: bool[2] = delayed{line = line0, ticks = 1}()\n      give (%0)",
    );
    let g10 = broken(|m| m.inputs.clear());
    let g11 = broken(|m| m.outputs[0].value = ValueId(77));
    let g12 = rewritten("next = %3", "next = %1");
    let g13 = rewritten("init = c0", "init = c1");
    let g14 = rewritten("source = %1", "source = %3");
    let g15 = rewritten("every 1", "every 0");
    let g16 = rewritten("output \"z\"", "output \"y\"");
    let g17 = rewritten("dt = 0.001", "dt = -0.001");
    let g18 = rewritten("pre = 0..2 of 2", "pre = 1..3 of 2");
    let g19 = rewritten("delay = per_synapse c1", "delay = per_synapse c2");
    let g20 = rewritten("param %1: i64[n]\n      %2: f32[n]", "param %1: i64[2]\n      %2: f32[2]");
    let g21 = rewritten("[0, 1, 2, 2]", "[0, 1, 2, 3]");
    let g22 = rewritten("sparse \"x\"", "sparse \"y\"");
    let seen = [g1, g2, g3, g4, g5, g6, g7, g8, g9, g10, g11, g12, g13, g14, g15, g16, g17, g18, g19, g20, g21, g22];
    assert_eq!(seen, Rule::ALL);
}

/// Puts the `then_body` of the last node into itself, `depth` deep.
fn nest(m: &mut Module, depth: usize) {
    let Some(last) = m.graph.nodes.last_mut() else { return };
    let mut body = last.regions[0].clone();
    for _ in 0..depth {
        let mut outer = Graph::default();
        let ty = body.values[0].ty.clone();
        let x = outer.add_param(ty.clone(), "");
        let c = outer.add_value(TensorType::scalar(crate::DType::Bool), "");
        let y = outer.add_value(ty, "");
        let id = crate::graph::ConstId(3);
        let constant = crate::graph::Node { op: Op::Const { id }, args: vec![], regions: vec![], results: vec![c] };
        let regions = vec![body, last.regions[1].clone()];
        let nested = crate::graph::Node { op: Op::If, args: vec![c, x], regions, results: vec![y] };
        outer.nodes = vec![constant, nested];
        outer.results = vec![y];
        body = outer;
    }
    last.regions[0] = body;
}

#[test]
fn other_ways_to_break_a_rule() {
    assert_eq!(rewritten("depth = 2", "depth = 1"), Rule::G021);
    assert_eq!(rewritten("now_count = 1, state_count = 1}(%1, %0)", "now_count = 0, state_count = 1}(%0)"), Rule::G021);
    assert_eq!(rewritten("init = c0", "init = c9"), Rule::G013);
    assert_eq!(rewritten("weight = region {", "weight = region {\n      param %3: i64"), Rule::G020);
    assert_eq!(broken(|m| m.conns[0].rule = connect::Rule::OneToOne), Rule::G019);
    assert_eq!(broken(|m| m.graph.results = vec![ValueId(0)]), Rule::G011);
    assert_eq!(broken(|m| m.graph.params.push(ValueId(0))), Rule::G003);
    assert_eq!(broken(|m| m.graph.nodes[3].results.push(ValueId(3))), Rule::G003);
    assert_eq!(broken(|m| m.graph.nodes[3].regions[0].results = vec![ValueId(5)]), Rule::G004);
}
