//! Loops that are written out compute what they compute, to the bit.

use nc_compiler::unroll;
use nc_ir::graph::testing::{Case, same};
use nc_ir::graph::{Module, Op, verify::verify};
use nc_ir::interp::Interpreter;
use std::sync::Arc;

fn cases() -> u64 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600)
}

fn loops(m: &Module) -> usize {
    m.graph.nodes.iter().filter(|n| matches!(n.op, Op::Scan { .. } | Op::Loop { .. })).count()
}

#[test]
fn random_models_compute_the_same() {
    let mut written = 0;
    for seed in 0..cases() {
        let case = Case::from_seed(seed);
        let mut m = case.module.clone();
        let n = unroll::run(&mut m, 10_000).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        verify(&m).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        written += n;
        let interpreter =
            |m: &Module| Interpreter::new(Arc::new(m.clone())).unwrap_or_else(|e| panic!("{}", e.message));
        let (mut as_it_is, mut long) = (interpreter(&case.module), interpreter(&m));
        for (t, inputs) in case.ticks.iter().enumerate() {
            let a = as_it_is.step(inputs).unwrap_or_else(|e| panic!("{}", e.message));
            let b = long.step(inputs).unwrap_or_else(|e| panic!("seed {seed}: {}", e.message));
            let equal = a.outputs.iter().zip(&b.outputs).all(|(x, y)| same(x, y))
                && a.probes.iter().zip(&b.probes).all(|(x, y)| same(&x.1, &y.1));
            assert!(equal, "seed {seed}, tick {t}");
        }
    }
    assert!(written as u64 > cases() / 20, "only {written} loops were written out: the test sees too little");
}

#[test]
fn what_is_too_long_stays_a_loop() {
    let long = |max: usize| {
        let mut m = nc_ir::graph::text::parse(COUNT).unwrap_or_else(|e| panic!("{e:?}"));
        let n = unroll::run(&mut m, max).expect("a valid module");
        let out = Interpreter::new(Arc::new(m.clone())).expect("a module").step(&[]).expect("no fault");
        assert_eq!(out.outputs[0].as_slice::<f32>(), [5.0]);
        (n, loops(&m))
    };
    assert_eq!((long(1000), long(10)), ((1, 0), (0, 1)));
}

/// 1 + 1 * 4.
const COUNT: &str = r#"
module "count" {
  seed = 0
  const c0: i64 = [4]
  const c1: bool = [true]
  const c2: f32 = [1.0]
  graph {
    %0: i64 = constant{id = c0}()
    %1: bool = constant{id = c1}()
    %2: f32 = constant{id = c2}()
    %3: f32 = repeat{carried_count = 1}(%0, %1, %2, %2) body {
      param %0 "iteration": i64
      param %1 "x": f32
      param %2 "by": f32
      %3: bool = constant{id = c1}()
      %4: f32 = add(%1, %2)
      give (%3, %4)
    }
  }
  output "x" = %3
}
"#;
