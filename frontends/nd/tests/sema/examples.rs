//! The six examples of the language, lowered and verified.

use crate::support::{Memory, f32s, module_with, run};
use expect_test::expect;
use nc_ir::graph::{Op, Rule, SynapseDelay, SynapseWeight};
use nc_ir::{DType, Tensor};
use nc_nd::sema::Options;

fn ops(m: &nc_ir::graph::Module) -> Vec<&'static str> {
    m.graph.nodes.iter().map(|n| n.op.info().name).collect()
}

fn dim(name: &str, n: i64) -> Options {
    Options { dims: vec![(name.into(), n)], ..Options::default() }
}

#[test]
fn cuba() {
    let m = module_with(include_str!("../data/1_cuba.nd"), &mut Memory::default(), &dim("n", 100));
    assert_eq!(m.name, "Cuba");
    assert_eq!(m.seed, 42);
    assert_eq!(m.dt.map(|d| d.0), Some(0.0001));
    let states: Vec<String> = m
        .states
        .iter()
        .map(|s| format!("{}: {} = {:?}", s.name, m.graph.ty(s.read), m.consts[s.init.index()].data.ty().to_string()))
        .collect();
    expect![[r#"
        P.v: f32[100] = "f32[100]"
        P.ge: f32[100] = "f32"
        P.gi: f32[100] = "f32"
        P.refractory: i32[100] = "i32""#]]
    .assert_eq(&states.join("\n"));
    let v = m.consts[m.states[0].init.index()].data.as_slice::<f32>().to_vec();
    assert!(v.iter().all(|x| (-60.0..-50.0).contains(x)));
    assert_eq!(m.conns.len(), 2);
    assert_eq!((m.conns[0].pre.clone(), m.conns[1].pre.clone()), (0..80, 80..100));
    assert!(matches!(&m.conns[0].rule, Rule::Random { p, .. } if p.0 == 0.02));
    let weight = |k: usize| match &m.conns[k].weight {
        SynapseWeight::Scalar(c) => m.consts[c.index()].data.as_slice::<f32>()[0],
        other => panic!("{other:?}"),
    };
    assert_eq!((weight(0), weight(1)), (1.62, -9.0));
    assert_eq!(m.conns[0].delay, SynapseDelay::Ticks(1));
    assert_eq!(m.lines.len(), 1, "both connections read one delay line");
    assert_eq!(ops(&m).iter().filter(|o| **o == "project").count(), 2);
    assert_eq!(ops(&m).iter().filter(|o| **o == "integrate").count(), 1);
    let named = |n: &str| m.consts.iter().find(|c| c.name == n).map(|c| c.data.as_slice::<f32>().to_vec());
    assert_eq!(named("P.tau_m"), Some(vec![20.0]));
    assert_eq!(named("P.V_th"), Some(vec![-50.0]));
    assert_eq!((m.probes[0].name.as_str(), m.probes[0].every), ("P.v", 10));
    assert_eq!(m.graph.ty(m.probes[0].value).to_string(), "f32[5]");
    assert_eq!(m.graph.ty(m.outputs[0].value).to_string(), "bool[100]");
}

fn classifier() -> Memory {
    Memory::default()
        .weights("nmnist_cnn.safetensors", "conv1.weight", &[8, 2, 5, 5])
        .weights("nmnist_cnn.safetensors", "conv1.bias", &[8])
        .weights("nmnist_cnn.safetensors", "fc1.weight", &[128, 1800])
        .weights("nmnist_cnn.safetensors", "fc1.bias", &[128])
        .weights("nmnist_cnn.safetensors", "fc2.weight", &[10, 128])
        .weights("nmnist_cnn.safetensors", "fc2.bias", &[10])
}

#[test]
fn the_classifier_runs() {
    let m = module_with(include_str!("../data/2_classifier.nd"), &mut classifier(), &Options::default());
    assert_eq!(m.dt, None);
    let k1 = m.consts.iter().find(|c| c.name == "K1").unwrap();
    assert_eq!(k1.data.dtype(), DType::I8);
    assert_eq!(m.graph.ty(m.inputs[0].value).to_string(), "bool[2, 34, 34]");
    let spikes: Vec<bool> = (0..2 * 34 * 34).map(|k| k % 3 == 0).collect();
    let out = run(m, 3, |_| vec![Tensor::from_bools(vec![2, 34, 34], &spikes).unwrap()]);
    assert_eq!(out[2].shape(), [10]);
    assert!((0..10).any(|k| out[2].get_f64(k) != 0.0));
}

#[test]
fn the_language_model_runs() {
    let text =
        include_str!("../data/3_egru.nd").replace("10000", "20").replace("int = 400", "int = 6").replace("1350", "8");
    let f = "egru_ptb.safetensors";
    let mut memory = Memory::default().weights(f, "embed.weight", &[20, 6]).weights(f, "norm.weight", &[6]).weights(
        f,
        "norm.bias",
        &[6],
    );
    for (k, (n_in, n)) in [(6, 8), (8, 6)].into_iter().enumerate() {
        memory = memory
            .weights(f, &format!("rnn.{k}.w_ih"), &[3 * n, n_in])
            .weights(f, &format!("rnn.{k}.w_hh"), &[3 * n, n])
            .weights(f, &format!("rnn.{k}.b"), &[3 * n])
            .array(f, &format!("rnn.{k}.theta"), f32s(&[n], &vec![0.01; n]));
    }
    let m = module_with(&text, &mut memory, &Options::default());
    assert_eq!(m.name, "EgruLm");
    assert_eq!(m.sparse, ["l1.y", "l2.y"].map(String::from));
    assert_eq!(m.probes[0].name, "mean(step(abs(l1.h)))");
    let names: Vec<&str> = m.states.iter().map(|s| s.name.as_str()).collect();
    expect![[r#"["l1.c", "l1.y", "l2.c", "l2.y"]"#]].assert_eq(&format!("{names:?}"));
    let out = run(m, 4, |t| vec![Tensor::scalar_i64(t as i64)]);
    let sum: f64 = (0..20).map(|k| out[3].get_f64(k)).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn motion() {
    let delays: Vec<u8> = (0..4 * 2 * 5 * 5).map(|k| (k % 4) as u8).collect();
    let mut memory = Memory::default().weights("motion.npz", "kernel", &[4, 2, 5, 5]).array(
        "motion.npz",
        "delay",
        Tensor::from_vec(vec![4, 2, 5, 5], delays).unwrap(),
    );
    let m = module_with(include_str!("../data/4_motion.nd"), &mut memory, &Options::default());
    let SynapseDelay::Kernel(k) = m.conns[0].delay else { panic!("{:?}", m.conns[0].delay) };
    let ticks = m.consts[k.index()].data.as_slice::<i64>();
    assert_eq!(&ticks[..6], [0, 1, 2, 3, 0, 1]);
    assert!(matches!(m.conns[1].rule, Rule::Predicate(_)));
    assert!(m.states.iter().any(|s| s.name == "expscan0"));
}

#[test]
fn liquid() {
    let mut memory = Memory::default()
        .source("1_cuba.nd", include_str!("../data/1_cuba.nd"))
        .weights("lsm_readout.npz", "W", &[10, 135])
        .weights("lsm_readout.npz", "b", &[10]);
    let m = module_with(include_str!("../data/5_lsm.nd"), &mut memory, &Options::default());
    assert_eq!(m.name, "Lsm");
    assert!(matches!(&m.conns[0].weight, SynapseWeight::Region(_)));
    assert!(matches!(&m.conns[1].delay, SynapseDelay::Region { max: 4, .. }), "{:?}", m.conns[1].delay);
    let table = nc_ir::graph::connect::expand(&m.conns[0], m.pools(), 1 << 20).unwrap();
    let w: Vec<f64> = (0..table.len()).map(|k| f64::from(table.weight.at(k))).collect();
    let mean = w.iter().sum::<f64>() / w.len() as f64;
    assert_eq!(w.len(), 96);
    assert!(w.iter().all(|w| *w > 0.0) && (30.0..50.0).contains(&mean), "{mean}");
}

#[test]
fn plasticity() {
    let mut memory = Memory::default().source("1_cuba.nd", include_str!("../data/1_cuba.nd"));
    let m = module_with(include_str!("../data/6_stdp.nd"), &mut memory, &Options::default());
    let names: Vec<&str> = m.states.iter().map(|s| s.name.as_str()).collect();
    expect![[r#"["N.v", "N.ge", "N.gi", "N.refractory", "syn.w", "syn.x", "syn.y", "syn.last"]"#]]
        .assert_eq(&format!("{names:?}"));
    assert!(m.graph.nodes.iter().any(|n| matches!(n.op, Op::PlasticPre { .. })));
    assert!(m.graph.nodes.iter().any(|n| matches!(n.op, Op::PlasticPost { .. })));
    assert_eq!((m.probes[0].name.as_str(), m.probes[0].every), ("syn.w", 1000));
    let w = m.consts[m.states[4].init.index()].data.as_slice::<f32>();
    assert_eq!(w.len(), 1000);
    assert!(w.iter().all(|w| (0.0..1.0).contains(w)) && w[0] != w[1]);
}
