use nc_nd::ast::ExprKind;
use nc_nd::{MAX_ERRORS, parse};
use std::time::{Duration, Instant};

fn codes(src: &str) -> Vec<&'static str> {
    let start = Instant::now();
    let codes = parse(src, 0).diagnostics.iter().map(|d| d.code).collect();
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
    codes
}

#[test]
fn nesting_is_refused_once() {
    const N: usize = 100_000;
    for opener in ["(", "[", "-", "not ", "x ^ ", "if a then b else ", "f(", "x[", "-(", "if ", "- not "] {
        assert_eq!(codes(&format!("const x = {}1", opener.repeat(N))), ["E0007"], "{opener}");
    }
    assert_eq!(codes(&format!("const x = {}1{}", "(".repeat(N), ")".repeat(N))), ["E0007"]);
    assert_eq!(codes(&"{".repeat(N)), ["E0007"]);
    assert_eq!(codes(&"neuron A {".repeat(N)), ["E0007"]);
}

#[test]
fn long_chains_are_refused_once() {
    for link in ["+ 1 ", ".a", "[1]", "(1)", "and a ", "* -1 ", "- 1 ", "- 1 * a "] {
        assert_eq!(codes(&format!("const x = a {}", link.repeat(10_000))), ["E0007"], "{link}");
    }
    assert_eq!(codes(&format!("const x = a {}\nconst y = a {0}", "+ 1 ".repeat(1000))), ["E0007", "E0007"]);
}

#[test]
fn the_limits_leave_room() {
    let wide = format!("const x = [{}]", "-1, ".repeat(20_000));
    let parsed = crate::parse_ok(&wide);
    let nc_nd::ast::TopKind::Const(c) = &parsed.file.tops[0].kind else { panic!("a constant") };
    assert!(matches!(&c.value.kind, ExprKind::List(l) if l.len() == 20_000));
    crate::parse_ok(&format!("const x = {}1{}", "(".repeat(100), ")".repeat(100)));
    crate::parse_ok(&format!("const x = a{}", " - -1".repeat(250)));
    crate::parse_ok(&format!("const x = {}c", "if a then b else ".repeat(100)));
    let many = format!("neuron A {{\n{}}}\n", "param x: real = -1\n".repeat(20_000));
    crate::parse_ok(&many);
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(codes(&"x".repeat((16 << 20) + 1)), ["E0006"]);
    assert_eq!(codes(&"a,".repeat(5 << 20)), ["E0006"]);
    assert_eq!(codes(&format!("const x = {}", "1 + ".repeat(100_000))), ["E0006"]);
    // One line of 10 MB, and one name of 10 MB.
    assert_eq!(codes(&format!("# {}", "x".repeat(10_000_000))), [""; 0]);
    assert_eq!(codes(&format!("const {} = 1", "x".repeat(10_000_000))), [""; 0]);
    assert_eq!(codes(&format!("import \"{}\"", "x".repeat(10_000_000))), [""; 0]);
    assert_eq!(codes(&"\n".repeat(10_000_000)), [""; 0]);
    assert_eq!(codes(&"#\n".repeat(1_000_000)), [""; 0]);
    assert_eq!(codes(&"$".repeat(10_000_000)), ["E0001"]);
}

#[test]
fn errors_are_counted_up_to_a_limit() {
    for line in ["import\n", "const x = $\n", "const x = 1 2\n", ")\n", "}\n", "\"\n", "const x = (\n", "neuron A {\n"]
    {
        let codes = codes(&line.repeat(5000));
        assert!(codes.len() <= MAX_ERRORS + 1, "{line}: {}", codes.len());
        if codes.len() > MAX_ERRORS {
            assert_eq!(codes.last(), Some(&"E0009"), "{line}");
        }
    }
}

#[test]
fn recovery_over_a_long_line_ends() {
    let line = format!("const x = {} {}\n", "(-".repeat(60), "a b ".repeat(16_000));
    assert!(codes(&line.repeat(20)).len() <= MAX_ERRORS + 1);
}
