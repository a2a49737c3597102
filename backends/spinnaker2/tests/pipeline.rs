//! Retimed models compute what the models compute, some ticks later, to the bit.

use nc_ir::graph::testing::{Case, same};
use nc_ir::graph::{Module, Op};
use nc_ir::interp::Interpreter;
use nc_ir::tensor::Tensor;
use nc_spinnaker2::flatten::flatten;
use nc_spinnaker2::split::{Board, Pipelined, pipeline, split};
use std::sync::Arc;

fn cases() -> u64 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600)
}

/// What a tick gives: outputs and probes, those that are not recorded in it left out.
type Given = (Vec<Tensor>, Vec<Option<Tensor>>);

fn run(module: &Module, ticks: &[Vec<Tensor>]) -> Vec<Given> {
    let mut m = Interpreter::new(Arc::new(module.clone())).unwrap_or_else(|e| panic!("{}", e.message));
    let step = |inputs: &Vec<Tensor>| {
        let out = m.step(inputs).unwrap_or_else(|e| panic!("{}", e.message));
        let mut probes = vec![None; module.probes.len()];
        out.probes.into_iter().for_each(|(k, t)| probes[k] = Some(t));
        (out.outputs, probes)
    };
    ticks.iter().map(step).collect()
}

/// Holds what comes late against what is meant; how many arrays were compared.
fn compare(name: &str, meant: &[Given], late: &[Given], p: &Pipelined) -> usize {
    let mut seen = 0;
    for (t, (outputs, probes)) in late.iter().enumerate() {
        let earlier = |by: u64| t.checked_sub(by as usize);
        for (k, got) in outputs.iter().enumerate() {
            match earlier(p.outputs[k]) {
                Some(then) => {
                    let expected = &meant[then].0[k];
                    assert!(same(expected, got), "{name}, tick {t}, output {k}: {expected:?} and {got:?}");
                    seen += 1;
                }
                None => assert!(got.bytes().iter().all(|b| *b == 0), "{name}, tick {t}, output {k}: {got:?}"),
            }
        }
        for (k, got) in probes.iter().enumerate() {
            let (Some(then), Some(got)) = (earlier(p.probes[k]), got) else { continue };
            let expected = meant[then].1[k].as_ref().unwrap_or_else(|| panic!("{name}: probe {k} of another tick"));
            assert!(same(expected, got), "{name}, tick {t}, probe {k}: {expected:?} and {got:?}");
        }
    }
    seen
}

/// The inputs of some ticks, over and over.
fn longer(ticks: &[Vec<Tensor>], n: usize) -> Vec<Vec<Tensor>> {
    ticks.iter().cycle().take(n).cloned().collect()
}

#[test]
fn random_models_compute_the_same_later() {
    let (mut late, mut deep, mut seen, mut refused) = (0, 0, 0, 0);
    for seed in 0..cases() {
        let case = Case::from_seed(seed);
        if case.ticks.is_empty() {
            continue;
        }
        let p = match pipeline(&flatten(&case.module).unwrap_or_else(|e| panic!("seed {seed}: {e}"))) {
            Ok(p) => p,
            Err(e) if e.to_string().ends_with("from two sources") => {
                refused += 1;
                continue;
            }
            Err(e) => panic!("seed {seed}: {e}"),
        };
        let latency = p.outputs.iter().chain(&p.probes).copied().max().unwrap_or(0);
        let ticks = longer(&case.ticks, case.ticks.len() + 2 * latency as usize);
        let meant = run(&case.module, &ticks);
        seen += compare(&format!("seed {seed}"), &meant, &run(&p.module, &ticks), &p);
        late += u64::from(latency > 0);
        deep = deep.max(latency);
        // In pieces as well.
        if seed % 4 == 0 {
            let pieces = split(&p.module, |x| x.rows.min(3), 1 << 20).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let mut board = Board::new(pieces).unwrap_or_else(|e| panic!("{}", e.message));
            let mut tick = 0;
            let given = ticks.iter().map(|i| {
                let (outputs, probes) = board.step(i).unwrap_or_else(|e| panic!("seed {seed}: {}", e.message));
                let there = |(k, t): (usize, Tensor)| (tick % case.module.probes[k].every == 0).then_some(t);
                let probes = probes.into_iter().enumerate().map(there).collect();
                tick += 1;
                (outputs, probes)
            });
            let given: Vec<Given> = given.collect();
            compare(&format!("seed {seed} in pieces"), &meant, &given, &p);
        }
    }
    let enough = late > cases() / 4 && deep > 2 && refused < cases() / 3 && seen > 1000;
    assert!(
        enough,
        "{late} are late, at most {deep} ticks, {seen} arrays, {refused} refused: the test sees too little"
    );
}

#[test]
fn plastic_synapses_stay_in_their_tick() {
    let text = include_str!("data/learn.graph");
    let module = nc_ir::graph::text::parse(text).expect("a graph");
    let flat = flatten(&module).expect("extents");
    let p = pipeline(&flat).expect("a retimed model");
    assert!(module.graph.nodes.iter().any(|n| matches!(n.op, Op::PlasticPre { .. })));
    // Their states are gated by nothing, so that no tick has to touch them all.
    let gates = |m: &Module| m.graph.nodes.iter().filter(|n| matches!(n.op, Op::Select | Op::Ge)).count();
    assert_eq!((gates(&p.module), &p.outputs), (gates(&flat), &vec![0; module.outputs.len()]));
}
