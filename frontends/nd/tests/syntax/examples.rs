use crate::parse_ok;
use nc_nd::ast::{ExprKind, ItemKind, Number, TopKind};
use nc_nd::{format, parse};

const EXAMPLES: [&str; 6] = [
    include_str!("../data/1_cuba.nd"),
    include_str!("../data/2_classifier.nd"),
    include_str!("../data/3_egru.nd"),
    include_str!("../data/4_motion.nd"),
    include_str!("../data/5_lsm.nd"),
    include_str!("../data/6_stdp.nd"),
];

#[test]
fn examples_parse_and_reformat_to_a_fixed_point_with_the_same_tree() {
    for src in EXAMPLES {
        let parsed = parse_ok(src);
        let once = format(src).expect("no syntax errors");
        let again = parse_ok(&once);
        assert_eq!(parsed.file, again.file, "{once}");
        assert_eq!(format(&once).as_deref(), Ok(once.as_str()));
        let comments = |text: &str| text.matches('#').count();
        assert_eq!(comments(src), comments(&once));
    }
}

#[test]
fn formatted_examples_do_not_change() {
    // These two are written as the formatter writes them, but for alignment of `=` and of comments.
    for src in [EXAMPLES[2], EXAMPLES[4]] {
        let once = format(src).expect("no syntax errors");
        let bare =
            |text: &str| text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
        assert_eq!(bare(src), bare(&once));
    }
}

#[test]
fn the_tree_holds_values_not_text() {
    let parsed = parse_ok(EXAMPLES[0]);
    assert_eq!(parsed.file.tops.len(), 2);
    let TopKind::Neuron(cuba) = &parsed.file.tops[0].kind else { panic!("a neuron") };
    assert_eq!(cuba.name.name, "CubaExp");
    assert_eq!(cuba.items.len(), 19);
    let ItemKind::Param { name, ty, value: Some(value) } = &cuba.items[0].kind else { panic!("a parameter") };
    assert_eq!((name.name.as_str(), ty.unit.simple().map(|u| u.name.as_str())), ("tau_m", Some("ms")));
    let ExprKind::Quantity { value, unit } = &value.kind else { panic!("a quantity") };
    assert_eq!((*value, unit.name.as_str()), (Number::Int(20), "ms"));
    let span = cuba.items[0].span;
    assert_eq!(&EXAMPLES[0][span.start as usize..span.end as usize], "param tau_m: ms = 20 ms");
    assert!(parsed.tokens.iter().all(|t| !t.text(EXAMPLES[0]).is_empty()));
}

#[test]
fn net_parameters_have_defaults_and_docs_are_attached() {
    let src = "## A net.\n## Of any size.\nnet Cuba(n: int = 4000, m: int) { ## the big one\n  seed 42 ## lucky\n\n  ## lost\n\n  clock 0.1 ms\n}\n";
    let parsed = parse_ok(src);
    assert_eq!(parsed.file.tops[0].doc.as_deref(), Some("A net.\nOf any size.\nthe big one"));
    let TopKind::Net(net) = &parsed.file.tops[0].kind else { panic!("a net") };
    assert_eq!(net.params[0].default.as_ref().map(|d| &d.kind), Some(&ExprKind::Int(4000)));
    assert_eq!(net.params[1].default, None);
    assert_eq!(net.items.iter().map(|i| i.doc.as_deref()).collect::<Vec<_>>(), [Some("lucky"), None]);
}

#[test]
fn spans_carry_the_file_number() {
    let parsed = parse("const x = (1", 7);
    assert_eq!(parsed.file.span.file, 7);
    assert_eq!(parsed.diagnostics[0].span.map(|s| s.file), Some(7));
}
