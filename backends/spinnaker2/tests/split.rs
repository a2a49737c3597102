//! Random models, split in many ways, compute what they compute whole, to the bit.

use nc_ir::graph::testing::{Case, same};
use nc_ir::interp::Interpreter;
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use nc_spinnaker2::flatten::flatten;
use nc_spinnaker2::mapping::orderable;
use nc_spinnaker2::split::{Board, Split, split, split_ordered};
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
    let module = match way {
        3 | 4 => flatten(&case.module).unwrap_or_else(|e| panic!("seed {seed}: {e}")),
        _ => case.module.clone(),
    };
    nc_ir::graph::verify::verify(&module).unwrap_or_else(|e| panic!("seed {seed}, flat: {e}"));
    // The last way deals rows out in some other order.
    let mut r = seed;
    let mut shuffled = |n: u64| {
        let mut order: Vec<u32> = (0..n as u32).collect();
        (1..n as usize).rev().for_each(|k| order.swap(k, draw(&mut r) as usize % (k + 1)));
        Arc::new(order)
    };
    let orders: Vec<Option<Arc<Vec<u32>>>> = match way {
        4 => orderable(&module).expect("a solved module").into_iter().map(|n| n.map(&mut shuffled)).collect(),
        _ => Vec::new(),
    };
    let pieces = match split_ordered(&module, parts, &orders, 1 << 20) {
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
    let (mut split, mut levels, mut refused, mut ordered) = (0, 0, 0, 0);
    for seed in 0..cases() {
        for way in 0..5 {
            let Some(s) = check(seed, way) else {
                refused += 1;
                continue;
            };
            split += usize::from(s.pieces.iter().any(|p| p.rows.is_some()));
            levels = levels.max(s.levels);
            ordered += usize::from(s.signals.iter().any(|s| s.order.is_some()));
        }
    }
    let enough = split as u64 > cases() / 2 && levels > 2 && refused < cases() / 3;
    let enough = enough && ordered as u64 > cases() / 8;
    assert!(enough, "{split} splits, {ordered} in other orders, {levels} levels, {refused} refused: too little");
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
            let flat = flatten(&module).unwrap_or_else(|e| panic!("{name}: {e}"));
            let pieces = split(&flat, |_| parts, 1 << 24).unwrap_or_else(|e| panic!("{name}: {e}"));
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

/// One sample of a batch: rows lie along the second axis. Gates side by side, tables, a convolution, a softmax.
const BATCH_OF_ONE: &str = r#"
module "batch" {
  seed = 0
  const c0: f32[5, 12] = TABLE
  const c1: f32[12, 4] = GATES
  const c2: f32[4, 6] = RIGHT
  const c3: f32[1, 4] = [0.5, -0.25, 0.125, 1.5]
  const c4: f32[3, 2, 3, 3] = KERNEL
  const c5: f32[3] = [0.5, -0.5, 0.25]
  const c6: f32 = [0.0]
  graph {
    param %0 "token": i64[1]
    param %1 "h": f32[1, 4]
    param %2 "image": f32[1, 2, 5, 5]
    param %3 "map": f32[3, 3, 3]
    %4: f32[5, 12] = constant{id = c0}()
    %5: f32[12, 4] = constant{id = c1}()
    %6: f32[4, 6] = constant{id = c2}()
    %7: f32[1, 4] = constant{id = c3}()
    %8: f32[3, 2, 3, 3] = constant{id = c4}()
    %9: f32[3] = constant{id = c5}()
    %10: f32[1, 12] = gather{axis = 0}(%4, %0)
    %11: f32[1, 12] = linear(%1, %5)
    %12: f32[1, 12] = add(%10, %11)
    %13: f32[1, 4] = slice{start = [0, 0], stop = [1, 4], step = [1, 1]}(%12)
    %14: f32[1, 4] = slice{start = [0, 4], stop = [1, 8], step = [1, 1]}(%12)
    %15: f32[1, 4] = slice{start = [0, 8], stop = [1, 12], step = [1, 1]}(%12)
    %16: f32[1, 4] = sigmoid(%13)
    %17: f32[1, 4] = tanh(%14)
    %18: f32[1, 4] = mul(%16, %17)
    %19: f32[1, 4] = mul(%15, %7)
    %20: f32[1, 4] = add(%18, %19)
    %21: f32[1, 6] = matmul(%20, %6)
    %22: f32[1, 1] = reduce{kind = max, axes = [1], keep = true}(%21)
    %23: f32[1, 6] = broadcast{shape = [1, 6]}(%22)
    %24: f32[1, 6] = sub(%21, %23)
    %25: f32[1, 6] = exp(%24)
    %26: f32[1, 3, 3, 3] = conv{stride = [1, 1], pad = [0, 0, 0, 0], dilation = [1, 1], groups = 1}(%2, %8, %9)
    %27: f32[3, 3, 3] = reshape{shape = [3, 3, 3]}(%26)
    %28: f32[3, 3, 3] = add(%27, %3)
    %29: f32[9, 3] = reshape{shape = [9, 3]}(%28)
    %30: f32[9, 3] = tanh(%29)
    %31: f32[9] = reduce{kind = sum, axes = [1], keep = false}(%30)
    %32: f32[6, 1] = transpose{perm = [1, 0]}(%25)
  }
  input "token" = %0
  input "image" = %2
  output "p" = %25
  output "rows" = %31
  output "column" = %32
  state "h": read = %1, next = %20, init = c3
  state "map": read = %3, next = %28, init = c6
}
"#;

#[test]
fn one_sample_is_split_by_its_features() {
    let mut r = 3;
    let mut fill = |n: usize| {
        let x: Vec<String> = (0..n).map(|_| format!("{:?}", (draw(&mut r) % 2000) as f32 / 1000.0 - 1.0)).collect();
        format!("[{}]", x.join(", "))
    };
    let text = BATCH_OF_ONE.replace("TABLE", &fill(60)).replace("GATES", &fill(48));
    let text = text.replace("RIGHT", &fill(24)).replace("KERNEL", &fill(54));
    let module = nc_ir::graph::text::parse(&text).unwrap_or_else(|e| panic!("{e:?}"));
    for parts in 1..=5 {
        let pieces = split(&module, |_| parts, 1 << 20).unwrap_or_else(|e| panic!("{e}"));
        // The table, the gates, the cells, the softmax's exponents, the maps, and what follows them are all split.
        let cut = pieces.pieces.iter().filter(|p| p.rows.is_some()).count() as u64;
        assert!(parts == 1 || cut >= 5 * parts.min(3), "{cut} pieces in {parts} parts");
        let mut whole = Interpreter::new(Arc::new(module.clone())).unwrap_or_else(|e| panic!("{}", e.message));
        let mut board = Board::new(pieces).unwrap_or_else(|e| panic!("{}", e.message));
        for tick in 0..4 {
            let token = Tensor::from_vec(vec![1], vec![i64::from(draw(&mut r) % 5)]).expect("one");
            let image = random(module.graph.ty(module.inputs[1].value), &mut r);
            let inputs = [token, image];
            let expected = whole.step(&inputs).unwrap_or_else(|e| panic!("{}", e.message));
            let (outputs, _) = board.step(&inputs).unwrap_or_else(|e| panic!("{}", e.message));
            for (k, (a, b)) in expected.outputs.iter().zip(&outputs).enumerate() {
                assert!(same(a, b), "{parts} parts, tick {tick}, output {k}: {a:?} and {b:?}");
            }
        }
    }
}

#[test]
fn populations_of_several_axes_are_split_by_single_targets() {
    let module = nc_ir::graph::text::parse(EXAMPLES[1].1).expect("a graph");
    // Four directions of 400 neurons each; without flattening only the two polarities of the input are rows.
    let most = |m: &nc_ir::graph::Module| {
        let s = split(m, |p| p.rows, 1 << 24).expect("a split");
        s.populations.iter().filter(|p| p.divisible).map(|p| p.rows).max()
    };
    assert_eq!((most(&module), most(&flatten(&module).expect("extents"))), (Some(2), Some(1600)));
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
