use crate::places;
use expect_test::{Expect, expect};
use nc_nd::ast::{ItemKind, TopKind};
use nc_nd::parse;

#[test]
fn four_broken_lines_give_four_errors_and_keep_the_rest() {
    let src = "\
neuron Lif {
  param tau: ms = 20 ms
  parm theta: real = 1.0
  input i: real
  state v: real =
  v' = (i - v / tau
  threshold v > theta
  reset { v -= theta }
}

net N {
  clock 1 ms
  pop P Lif[8] { tau = 10 ms }
  probe P.v
}
";
    assert_eq!(places(src), ["E0101 3:8", "E0101 5:18", "E0103 6:8", "E0101 13:9"]);
    let parsed = parse(src, 0);
    let [lif, net] = parsed.file.tops.as_slice() else { panic!("two declarations") };
    let TopKind::Neuron(lif) = &lif.kind else { panic!("a neuron") };
    let good = lif.items.iter().filter(|i| i.kind != ItemKind::Error).count();
    assert_eq!(good, 5, "{:#?}", lif.items);
    let TopKind::Net(net) = &net.kind else { panic!("a net") };
    assert!(matches!(
        net.items.iter().map(|i| &i.kind).collect::<Vec<_>>().as_slice(),
        [ItemKind::Clock(_), ItemKind::Error, ItemKind::Probe { .. }]
    ));
}

/// Checks code, columns, message, label and hint of the diagnostics of each text.
fn check(texts: &[&str], expected: Expect) {
    let mut out = String::new();
    for src in texts {
        out += &format!("{src:?}\n");
        for d in parse(src, 0).diagnostics {
            let (start, end) = d.span.map_or((0, 0), |s| (s.start, s.end));
            out += &format!("  {} {start}..{end}: {} [{}]\n", d.code, d.message, d.label);
            for l in d.labels {
                out += &format!("    {}..{}: {}\n", l.span.start, l.span.end, l.text);
            }
            if let Some(hint) = d.hint {
                out += &format!("    hint: {hint}\n");
            }
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn lexical_errors() {
    check(
        &[
            "const x = 1 $€ + 2",
            "const x = “a”",
            "import \"abc\nconst x = 1",
            "import \"a\\q\"",
            "const x = 99999999999999999999999999",
            "const x = 1e999",
            "const x = 1_000 + .5 + 5.",
            "const x = a && b || !c ** 2 // why",
            "neuron A { reset { v /= 2 } }",
        ],
        expect![""],
    );
}

#[test]
fn what_was_expected() {
    check(
        &[
            "hello world",
            "nuron A {\n  param x: real\n}",
            "neuron A {\n  foo\n}",
            "neuron A {\n  param x\n}",
            "neuron A {\n  seed x\n}",
            "neuron A {\n  file f = x\n}",
            "neuron A { on p { v + 1 } }",
            "net A { pop P: B[3] { v } }",
            "const x =",
            "const x = if a then b",
            "const x = a < b < c",
            "const x = * 2",
            "const x = f(a b)",
            "const x = 1;; const y = 2",
        ],
        expect![""],
    );
}

#[test]
fn usual_slips() {
    check(
        &[
            "const x == 1",
            "neuron A { threshold v = 1 }",
            "neuron A { threshold v <- 1 }",
            "const state = 1",
            "neuron A { state next: real = 0 }",
            "const x = 5 mV ms",
            "const x = 5 (a) b",
            "const x = 2 x y",
            "const x = a\n  + b\nconst y = 2",
            "neuron A\n{\n  param x: real\n}",
            "const x = if a then b\n  else c",
        ],
        expect![""],
    );
}

#[test]
fn missing_and_surplus_brackets() {
    check(
        &[
            "const x = (1 + 2\nconst y = 3",
            "net A {\n  let x = f(a,\n    b\n  y <- g(x)\n  seed 1\n}",
            "const x = f(a[1)",
            "const x = (a]",
            "const x = a)",
            "net A {\n  pop P: B[3 { v = 1 }\n  seed 1\n}",
            "neuron A {\n  on p { v = 1\n  param x: real\n}\nneuron B {\n}",
            "neuron A {\n  param x: real\nneuron B {\n}",
            "neuron A {\n}\n}\nneuron B {\n}",
            "neuron A {",
            "neuron A {\n  reset v = 0 }\n  param x: real\n}",
        ],
        expect![""],
    );
}

#[test]
fn a_broken_header_does_not_lose_its_block() {
    let src = "neuron A {\n  onn exc(w mV) {\n    v += w\n  }\n  param x: real\n}\nnet B {\n  seed 1\n}\n";
    assert_eq!(places(src), ["E0101 2:7"]);
    let parsed = parse(src, 0);
    assert_eq!(parsed.file.tops.len(), 2);
}
