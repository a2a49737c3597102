//! Random models, split in many ways, compute what they compute whole, to the bit.

use nc_ir::graph::testing::{Case, same};
use nc_ir::interp::Interpreter;
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use nc_spinnaker2::split::{Board, Split, split};
use std::sync::Arc;

fn cases() -> u64 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

/// Runs a case whole and in pieces; the split, or `None` if it is refused.
fn check(seed: u64, way: u64) -> Option<Split> {
    let case = Case::from_seed(seed);
    let mut k = way;
    let parts = |p: &nc_spinnaker2::split::Population| match way {
        0 => 1,
        1 => p.rows,
        _ => {
            k = k.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1 + (k >> 33) % 5
        }
    };
    let pieces = match split(&case.module, parts, 1 << 20) {
        Ok(pieces) => pieces,
        Err(e) if e.to_string().ends_with("from two sources") => return None,
        Err(e) => panic!("seed {seed}: {e}"),
    };
    for p in &pieces.pieces {
        nc_ir::graph::verify::verify(&p.module).unwrap_or_else(|e| panic!("seed {seed}, {}: {e}", p.module.name));
    }
    let mut whole = Interpreter::new(Arc::new(case.module.clone())).unwrap_or_else(|e| panic!("{}", e.message));
    let mut board = Board::new(pieces.clone()).unwrap_or_else(|e| panic!("seed {seed}: {}", e.message));
    for (t, inputs) in case.ticks.iter().enumerate() {
        let expected = whole.step(inputs).unwrap_or_else(|e| panic!("{}", e.message));
        let (outputs, probes) = board.step(inputs).unwrap_or_else(|e| panic!("seed {seed}: {}", e.message));
        for (k, (a, b)) in expected.outputs.iter().zip(&outputs).enumerate() {
            assert!(same(a, b), "seed {seed}, way {way}, tick {t}, output {k}: {a:?} and {b:?}");
        }
        for (k, a) in &expected.probes {
            assert!(same(a, &probes[*k]), "seed {seed}, way {way}, tick {t}, probe {k}");
        }
    }
    Some(pieces)
}

#[test]
fn pieces_of_random_models_compute_the_model() {
    let (mut split, mut levels, mut refused) = (0, 0, 0);
    for seed in 0..cases() {
        for way in 0..3 {
            let Some(s) = check(seed, way) else {
                refused += 1;
                continue;
            };
            split += usize::from(s.pieces.iter().any(|p| p.rows.is_some()));
            levels = levels.max(s.levels);
        }
    }
    let enough = split as u64 > cases() / 2 && levels > 2 && refused < cases() / 4;
    assert!(enough, "{split} splits, {levels} levels, {refused} refused: the test sees too little");
}

/// The next number of a linear congruential generator.
fn draw(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u32
}

/// Spikes, or numbers from -1 to 2.
fn random(ty: &TensorType, r: &mut u64) -> Tensor {
    let shape: Vec<usize> = ty.extents().expect("known extents").iter().map(|n| *n as usize).collect();
    let mut t = Tensor::zeros(ty.dtype, shape.clone());
    match ty.dtype {
        DType::Bool => {
            let x: Vec<bool> = (0..t.len()).map(|_| draw(r).is_multiple_of(8)).collect();
            Tensor::from_bools(shape, &x).expect("as many as the shape says")
        }
        DType::F32 => {
            t.as_mut_slice::<f32>().fill_with(|| (draw(r) % 3000) as f32 / 1000.0 - 1.0);
            t
        }
        _ => t,
    }
}

/// The solved graphs of `examples/{cuba,motion,learn}.nd`, as `nc compile --emit solved` writes them.
const EXAMPLES: [(&str, &str); 3] = [
    ("cuba", include_str!("data/cuba.graph")),
    ("motion", include_str!("data/motion.graph")),
    ("learn", include_str!("data/learn.graph")),
];

#[test]
fn pieces_of_examples_compute_the_examples() {
    for (name, text) in EXAMPLES {
        let module = nc_ir::graph::text::parse(text).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        for parts in [3, 40] {
            let pieces = split(&module, |_| parts, 1 << 24).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(pieces.pieces.len() > 3, "{name}");
            let mut whole = Interpreter::new(Arc::new(module.clone())).unwrap_or_else(|e| panic!("{}", e.message));
            let mut board = Board::new(pieces).unwrap_or_else(|e| panic!("{name}: {}", e.message));
            let (mut r, mut spikes) = (7, 0);
            for tick in 0..40 {
                let inputs: Vec<Tensor> =
                    module.inputs.iter().map(|p| random(module.graph.ty(p.value), &mut r)).collect();
                let expected = whole.step(&inputs).unwrap_or_else(|e| panic!("{name}: {}", e.message));
                let (outputs, probes) = board.step(&inputs).unwrap_or_else(|e| panic!("{name}: {}", e.message));
                for (a, b) in expected.outputs.iter().zip(&outputs) {
                    assert!(same(a, b), "{name} in {parts} parts, tick {tick}");
                    spikes += b.bytes().iter().filter(|x| **x != 0).count();
                }
                for (k, a) in &expected.probes {
                    assert!(same(a, &probes[*k]), "{name} in {parts} parts, tick {tick}, probe {k}");
                }
            }
            assert!(spikes > 0, "{name} is silent: the test sees nothing");
        }
    }
}

#[test]
fn no_piece_holds_rows_of_another() {
    let module = nc_ir::graph::text::parse(EXAMPLES[0].1).expect("a graph");
    let whole = split(&module, |_| 1, 1 << 24).expect("in one part");
    let cut = split(&module, |_| 10, 1 << 24).expect("in ten parts");
    let bytes = |s: &Split| {
        let of = |p: &nc_spinnaker2::split::Piece| p.module.consts.iter().map(|c| c.data.bytes().len()).sum::<usize>();
        (s.pieces.iter().map(of).sum::<usize>(), s.pieces.iter().map(of).max().unwrap_or(0))
    };
    let ((all, one), (sum, most)) = (bytes(&whole), bytes(&cut));
    assert!(all > 100_000 && one > all / 2, "{all} bytes, {one} in the largest piece");
    // Weights are shared out, not copied; what every piece needs is small.
    assert!(sum < all + all / 10, "{sum} bytes in ten parts, {all} in one");
    assert!(most < one / 5, "{most} bytes in the largest of ten pieces, {one} in one");
}

#[test]
fn what_cannot_be_split_is_refused() {
    let module = nc_ir::graph::text::parse(EXAMPLES[0].1).expect("a graph");
    let e = split(&module, |_| 2, 10).expect_err("ten synapses are not enough");
    assert!(!e.to_string().is_empty());
}
