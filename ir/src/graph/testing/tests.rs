//! The generator keeps its promises, and what every module must go through holds for random ones.

use super::*;
use crate::graph::text;
use crate::graph::verify::verify;
use crate::graph::{Class, Graph, TABLE};
use crate::interp::Interpreter;
use proptest::prelude::*;
use std::sync::Arc;

/// Verifies, prints and reads back, runs twice.
fn check(case: &Case) {
    let m = &case.module;
    verify(m).unwrap_or_else(|e| panic!("{e}\n{}", text::print(m)));
    assert!(m.graph.values.iter().all(|v| v.ty.elements().is_some_and(|n| n <= MAX_ELEMENTS)));
    let printed = text::print(m);
    let back = text::parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(back, *m, "{printed}");
    assert_eq!(text::print(&back), printed);
    let start = |m: &Module| Interpreter::new(Arc::new(m.clone())).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    let (mut a, mut b) = (start(m), start(&back));
    for inputs in &case.ticks {
        let (x, y) = (a.step(inputs), b.step(inputs));
        let (x, y) = (x.unwrap_or_else(|e| panic!("{e}\n{printed}")), y.expect("as the first"));
        assert!(x.outputs.iter().zip(&y.outputs).all(|(x, y)| same(x, y)));
        for (port, t) in m.outputs.iter().zip(&x.outputs) {
            assert_eq!(t.ty(), *m.graph.ty(port.value));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_modules_hold(choices in proptest::collection::vec(any::<u32>(), 0..600)) {
        check(&Case::from_choices(&choices));
    }

    #[test]
    fn no_text_makes_the_reader_panic(seed in any::<u64>(), cuts in proptest::collection::vec(any::<(u16, u8)>(), 1..8)) {
        let mut bytes = text::print(&Case::from_seed(seed).module).into_bytes();
        for (at, b) in cuts {
            let k = at as usize % bytes.len();
            match b % 4 {
                0 => bytes.truncate(k.max(1)),
                1 => { bytes.remove(k); }
                2 => bytes.insert(k, b"{}()[],:=%\"x.-19#einf"[b as usize / 4 % 21]),
                _ => bytes[k] = b,
            }
            if bytes.is_empty() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(m) = text::parse(&text)
            && verify(&m).is_ok()
            && let Ok(mut it) = Interpreter::with_limit(Arc::new(m.clone()), 1 << 20)
        {
            let inputs: Vec<_> = m.inputs.iter().map(|p| {
                let ty = m.graph.ty(p.value);
                Tensor::zeros(ty.dtype, ty.extents().unwrap_or_default().into_iter().map(|n| n as usize).collect())
            }).collect();
            // A changed number can ask for endless trips; those are not run.
            let endless = text.contains("repeat{");
            if !endless {
                let _ = it.step(&inputs);
            }
        }
    }
}

#[test]
fn seeds_cover_every_op() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let case = Case::from_seed(seed);
        seen.extend(case.module.graph.nodes.iter().map(|n| n.op.info().name));
        if seed < 150 {
            check(&case);
        }
    }
    let missing: Vec<&str> = TABLE
        .iter()
        .filter(|row| row.class != Class::Control || row.name != "integrate")
        .map(|row| row.name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

/// Names of the ops inside bodies of `cond`, `scan` and `repeat`, with how deep they stand.
fn inside(graph: &Graph, depth: usize, seen: &mut std::collections::BTreeSet<(usize, &'static str)>) {
    for node in &graph.nodes {
        let info = node.op.info();
        if depth > 0 {
            seen.insert((depth, info.name));
        }
        if info.class == Class::Control {
            node.regions.iter().for_each(|r| inside(r, depth + 1, seen));
        }
    }
}

#[test]
fn bodies_hold_products_reductions_and_bodies() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..1500 {
        inside(&Case::from_seed(seed).module.graph, 0, &mut seen);
    }
    let ops = ["cond", "scan", "repeat", "linear", "matmul", "conv", "pool", "reduce", "gather", "concat", "slice"];
    let missing: Vec<&str> = ops.into_iter().filter(|op| !seen.contains(&(1, *op))).collect();
    assert_eq!(missing, [""; 0]);
    assert!(seen.contains(&(2, "linear")) && seen.contains(&(2, "reduce")), "{seen:?}");
}
