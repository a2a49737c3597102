use super::*;

fn product(outputs: u64, inputs: u64, rows: u64, nonzero: u64, activity: f64) -> Product {
    Product {
        outputs,
        inputs,
        rows,
        elem: 4,
        weights: known(nonzero, outputs * inputs),
        input: Input::Graded,
        activity,
        finite: false,
        window: None,
    }
}

/// So many weights of all, as they are spread: one in 32 outputs keeps an input.
fn known(nonzero: u64, all: u64) -> Weights {
    Weights::Known {
        nonzero,
        links: (nonzero < all).then_some([all / 16, all / 32]),
        steps: (2 * nonzero <= all).then_some(nonzero),
    }
}

fn best(p: &Product) -> Repr {
    alternatives(p, &Costs::cpu())[0].repr
}

#[test]
fn the_cheapest_is_what_has_the_least_to_do() {
    let all = 1 << 20;
    assert_eq!(best(&product(1024, 1024, 4, all, 1.0)), Repr::Dense);
    assert_eq!(best(&product(1024, 1024, 1, all, 0.02)), Repr::Events);
    assert_eq!(best(&product(1024, 1024, 1, all / 20, 1.0)), Repr::Sparse);
    assert_eq!(best(&product(1024, 1024, 1, all / 20, 0.05)), Repr::SparseEvents);
    assert_eq!(best(&product(256, 256, 32, 1 << 16, 0.05)), Repr::Events);
    // Eight blocks of 128 on the diagonal.
    let diagonal = Weights::Known { nonzero: all / 8, links: Some([all / 128, all / 256]), steps: None };
    for rows in [1, 32] {
        assert_eq!(best(&Product { weights: diagonal, ..product(1024, 1024, rows, all, 1.0) }), Repr::Blocks);
    }
    let window = Some(Window { positions: 1024, reach: 9.0, depth: 36, padded: false });
    let p = Product { window, ..product(16, 4096, 1, 576, 0.03) };
    assert_eq!(best(&p), Repr::Events);
    assert_eq!(best(&Product { activity: 1.0, ..p }), Repr::Dense);
}

#[test]
fn alternatives_are_those_that_give_the_same_bits() {
    let reprs = |p: &Product| {
        let mut r: Vec<Repr> = alternatives(p, &Costs::cpu()).iter().map(|a| a.repr).collect();
        r.sort();
        r
    };
    let p = product(64, 64, 1, 100, 0.5);
    assert_eq!(reprs(&p), Repr::ALL);
    assert_eq!(reprs(&Product { input: Input::Dense, ..p }), [Repr::Dense, Repr::Sparse, Repr::Blocks, Repr::Windows]);
    assert!(!reprs(&Product { rows: 4, ..p }).contains(&Repr::Windows));
    assert_eq!(reprs(&Product { weights: Weights::Any, ..p }), [Repr::Dense]);
    assert_eq!(reprs(&Product { weights: known(4096, 4096), ..p }), [Repr::Dense, Repr::Events]);
}

#[test]
fn predictions_are_finite_and_grow_with_what_is_to_be_done() {
    let costs = Costs::cpu();
    assert!(costs.is_sound());
    for (m, k, rows) in [(1, 1, 1), (10, 96, 64), (7, 3, 2), (1 << 20, 1 << 20, 1), (33, 1, 5)] {
        let p = product(m, k, rows, m * k / 2, 0.1);
        for a in alternatives(&p, &costs) {
            assert!(a.ns.is_finite() && a.ns > 0.0, "{a:?}");
            let more = Product { inputs: 2 * k, weights: known(m * k, 2 * m * k), ..p };
            let twice = alternatives(&more, &costs).into_iter().find(|b| b.repr == a.repr);
            assert!(twice.is_some_and(|b| b.ns > a.ns), "{a:?} {twice:?}");
        }
    }
}

#[test]
fn tables_are_read_by_name() {
    let mut costs = Costs::cpu();
    for (name, _) in Costs::cpu().times() {
        *costs.time_mut(name).expect("its own name") = 1.5;
    }
    assert!(costs.times().iter().all(|t| t.1 == 1.5) && costs.time_mut("nothing").is_none());
    costs.gather = f64::NAN;
    assert!(!costs.is_sound());
    assert_eq!(costs.stream(1e6, 1e12), 1e6 * costs.levels[2].ns_per_byte);
}
