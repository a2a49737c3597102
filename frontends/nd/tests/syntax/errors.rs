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
        expect![[r#"
            "const x = 1 $€ + 2"
              E0001 12..16: `$€` means nothing here [not part of the language]
                hint: remove it
            "const x = “a”"
              E0001 10..13: `“` means nothing here [not part of the language]
                hint: strings are written between straight quotes `"`
              E0001 14..17: `”` means nothing here [not part of the language]
                hint: strings are written between straight quotes `"`
            "import \"abc\nconst x = 1"
              E0002 7..11: this string has no closing quote [opened here]
                hint: a string ends on the line it begins
            "import \"a\\q\""
              E0003 9..11: `\q` is not an escape []
                hint: write `\\` for a backslash; the others are `\"`, `\n` and `\t`
            "const x = 99999999999999999999999999"
              E0004 10..36: the whole number `999999999999999999999999…` is too large []
                hint: at most 9223372036854775807 fits; write a larger number with an exponent, as in `1e20`
            "const x = 1e999"
              E0004 10..15: the number `1e999` is too large []
                hint: the largest is about 1.8e308
            "const x = 1_000 + .5 + 5."
              E0005 10..15: `1_000` is not a number [a number has digits on both sides of its point]
                hint: digits are not grouped: write `1000`
              E0005 18..20: `.5` is not a number [a number has digits on both sides of its point]
                hint: write `0.5`
              E0005 23..25: `5.` is not a number [a number has digits on both sides of its point]
                hint: write `5.0`
            "const x = a && b || !c ** 2 // why"
              E0008 12..14: there is no operator `&&` []
                hint: write `and`
              E0008 17..19: there is no operator `||` []
                hint: write `or`
              E0008 20..21: there is no operator `!` []
                hint: write `not`
              E0008 23..25: there is no operator `**` []
                hint: write `^`
              E0008 28..34: `//` does not begin a comment []
                hint: write `#`
            "neuron A { reset { v /= 2 } }"
              E0008 21..23: there is no operator `/=` []
                hint: write `x = x / y`
        "#]],
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
        expect![[r#"
            "hello world"
              E0101 0..5: expected a declaration such as `neuron`, `net` or `const`, found `hello` [a declaration such as `neuron`, `net` or `const` expected here]
            "nuron A {\n  param x: real\n}"
              E0101 0..5: expected a declaration such as `neuron`, `net` or `const`, found `nuron` [a declaration such as `neuron`, `net` or `const` expected here]
                hint: did you mean `neuron`?
            "neuron A {\n  foo\n}"
              E0101 16..16: expected `<-` or `'`, found the end of the line [`<-` or `'` expected here]
            "neuron A {\n  param x\n}"
              E0101 20..20: expected `:`, found the end of the line [`:` expected here]
            "neuron A {\n  seed x\n}"
              E0101 18..19: expected a whole number, found `x` [a whole number expected here]
            "neuron A {\n  file f = x\n}"
              E0101 22..23: expected a string in quotes, found `x` [a string in quotes expected here]
            "neuron A { on p { v + 1 } }"
              E0101 20..21: expected `=`, found `+` [`=` expected here]
            "net A { pop P: B[3] { v } }"
              E0101 24..25: expected `=`, found `}` [`=` expected here]
            "const x ="
              E0101 9..9: expected a value, found the end of the file [a value expected here]
            "const x = if a then b"
              E0101 21..21: expected `else`, found the end of the file [`else` expected here]
            "const x = a < b < c"
              E0101 16..17: expected the end of the line, found `<` [the end of the line expected here]
                hint: comparisons do not chain: write `a < b and b < c`
            "const x = * 2"
              E0101 10..11: expected a value, found `*` [a value expected here]
                hint: an operator stands between two values
            "const x = f(a b)"
              E0101 14..15: expected `,` or `)`, found `b` [`,` or `)` expected here]
                hint: two values need an operator between them; multiplication is written `*`
            "const x = 1;; const y = 2"
              E0101 12..12: expected a declaration such as `neuron`, `net` or `const`, found `;` [a declaration such as `neuron`, `net` or `const` expected here]
        "#]],
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
        expect![[r#"
            "const x == 1"
              E0107 8..10: `==` compares; to set a value write `=` [`=` expected here]
                hint: write `=`
            "neuron A { threshold v = 1 }"
              E0107 23..24: `=` sets a value; to compare write `==` [`==` expected here]
                hint: write `==`
            "neuron A { threshold v <- 1 }"
              E0101 23..25: `<-` drives a port and cannot stand inside an expression [not a comparison]
                hint: to compare with a negative value write `< -`, with a blank between
            "const state = 1"
              E0102 6..11: `state` is a keyword and cannot be a name [a name expected here]
                hint: choose another name, such as `state_`
            "neuron A { state next: real = 0 }"
              E0102 17..21: `next` is a keyword and cannot be a name [a name expected here]
                hint: choose another name, such as `next_`
            "const x = 5 mV ms"
              E0101 15..17: expected an operator or the end of the line, found `ms` [an operator or the end of the line expected here]
                hint: a compound quantity is arithmetic, as in `5 mV / 1 ms`: write `5 mV * 1 ms`
            "const x = 5 (a) b"
              E0101 16..17: expected an operator or the end of the line, found `b` [an operator or the end of the line expected here]
                hint: two values need an operator between them; multiplication is written `*`
            "const x = 2 x y"
              E0101 14..15: expected an operator or the end of the line, found `y` [an operator or the end of the line expected here]
                hint: a compound quantity is arithmetic, as in `5 mV / 1 ms`: write `2 x * 1 y`
            "const x = a\n  + b\nconst y = 2"
              E0106 14..15: a line cannot begin with `+` []
                hint: a newline ends an item; put `+` at the end of the line before
            "neuron A\n{\n  param x: real\n}"
              E0105 9..10: `{` stands on a line of its own []
                hint: a newline ends the line before; move the brace to its end
            "const x = if a then b\n  else c"
              E0106 24..28: a line cannot begin with `else` []
                hint: a newline ends an item; put `else` at the end of the line before
        "#]],
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
        expect![[r#"
            "const x = (1 + 2\nconst y = 3"
              E0103 10..11: this `(` is never closed [opened here]
                15..16: `)` expected after this
                hint: add `)`
            "net A {\n  let x = f(a,\n    b\n  y <- g(x)\n  seed 1\n}"
              E0103 19..20: this `(` is never closed [opened here]
                hint: add `)`
            "const x = f(a[1)"
              E0103 13..14: this `[` is never closed [opened here]
                14..15: `]` expected after this
                hint: add `]`
            "const x = (a]"
              E0104 12..13: `(` is closed by `]` []
                hint: write `)`
            "const x = a)"
              E0104 11..12: this `)` closes nothing []
                hint: remove it
            "net A {\n  pop P: B[3 { v = 1 }\n  seed 1\n}"
              E0103 18..19: this `[` is never closed [opened here]
                19..20: `]` expected after this
                hint: add `]`
            "neuron A {\n  on p { v = 1\n  param x: real\n}\nneuron B {\n}"
              E0103 18..19: this `{` is never closed [opened here]
                24..25: `}` expected after this
                hint: add `}`
            "neuron A {\n  param x: real\nneuron B {\n}"
              E0103 9..10: this `{` is never closed [opened here]
                hint: add `}`
            "neuron A {\n}\n}\nneuron B {\n}"
              E0104 13..14: this `}` closes nothing []
                hint: remove it, or look for a brace that was closed too early above
            "neuron A {"
              E0103 9..10: this `{` is never closed [opened here]
                9..10: `}` expected after this
                hint: add `}`
            "neuron A {\n  reset v = 0 }\n  param x: real\n}"
              E0101 19..20: expected `{`, found `v` [`{` expected here]
              E0101 29..34: expected a declaration such as `neuron`, `net` or `const`, found `param` [a declaration such as `neuron`, `net` or `const` expected here]
              E0104 43..44: this `}` closes nothing []
                hint: remove it, or look for a brace that was closed too early above
        "#]],
    );
}

#[test]
fn a_broken_header_does_not_lose_its_block() {
    let src = "neuron A {\n  onn exc(w mV) {\n    v += w\n  }\n  param x: real\n}\nnet B {\n  seed 1\n}\n";
    assert_eq!(places(src), ["E0101 2:7"]);
    let parsed = parse(src, 0);
    assert_eq!(parsed.file.tops.len(), 2);
}
