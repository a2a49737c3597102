//! Every rule, every way to give weights and delays, every refusal.

use super::*;
use crate::graph::{Constant, Distribution, GraphBuilder, Module, OpError, Pools, Real, ValueId};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, TensorType};

fn base(rule: Rule, pre: u64, post: u64) -> Connectivity {
    Connectivity {
        name: "c".into(),
        pre_len: pre,
        post_len: post,
        pre: 0..pre,
        post: 0..post,
        rule,
        weight: SynapseWeight::Scalar(ConstId(0)),
        delay: SynapseDelay::Ticks(1),
    }
}

fn constant(data: Tensor) -> Constant {
    Constant { name: String::new(), data }
}

/// Constant 0 is the weight 0.5; `more` follow.
fn consts(more: Vec<Tensor>) -> Vec<Constant> {
    std::iter::once(Tensor::scalar_f32(0.5)).chain(more).map(constant).collect()
}

fn grow(c: &Connectivity, consts: &[Constant]) -> Result<SynapseTable, crate::Diagnostic> {
    expand(c, Pools { consts, lines: &[], conns: &[] }, 1 << 24)
}

fn pairs(t: &SynapseTable) -> Vec<(usize, u32)> {
    (0..t.pre_len()).flat_map(|i| t.post[t.row(i)].iter().map(move |j| (i, *j))).collect()
}

fn code(c: &Connectivity, consts: &[Constant]) -> &'static str {
    grow(c, consts).expect_err("refused").code
}

/// A region of i and a row of j.
fn rows(
    build: impl FnOnce(&mut GraphBuilder<'_>, &[ValueId]) -> Result<ValueId, OpError>,
    consts: &[Constant],
) -> Graph {
    let mut g = Graph::default();
    let i = g.add_param(TensorType::scalar(DType::I64), "i");
    let j = g.add_param(TensorType { dtype: DType::I64, shape: vec![Dim::Sym("n".into())] }, "j");
    let pools = Pools { consts, lines: &[], conns: &[] };
    let result = build(&mut GraphBuilder::new(&mut g, pools), &[i, j]).expect("types fit");
    g.results = vec![result];
    g
}

#[test]
fn simple_rules() {
    let k = consts(vec![]);
    let t = grow(&base(Rule::All, 2, 3), &k).expect("valid");
    assert_eq!(pairs(&t), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    assert_eq!((t.weight.at(4), t.max_delay(), t.min_delay()), (0.5, 1, 1));
    let c = Connectivity { pre: 1..3, post: 2..4, ..base(Rule::OneToOne, 4, 4) };
    assert_eq!(pairs(&grow(&c, &k).expect("valid")), [(1, 2), (2, 3)]);
    assert_eq!(code(&base(Rule::OneToOne, 4, 5), &k), "E0515");
    assert_eq!(code(&Connectivity { pre: 1..5, ..base(Rule::All, 4, 4) }, &k), "E0515");
    assert_eq!(code(&base(Rule::All, 10_000, 10_000), &k), "E0510");
    assert_eq!(code(&base(Rule::All, 1 << 40, 1 << 40), &k), "E0510");
}

#[test]
fn random_rows_have_the_right_density_and_do_not_depend_on_the_rest() {
    let k = consts(vec![]);
    let c = base(Rule::Random { p: Real(0.1), stream: 7 }, 300, 1000);
    let t = grow(&c, &k).expect("valid");
    // 30,000 expected, standard deviation 164.
    assert!((29_200..30_800).contains(&t.len()), "{}", t.len());
    assert!((0..300).all(|i| t.post[t.row(i)].windows(2).all(|w| w[0] < w[1])));
    let part = grow(&Connectivity { pre: 17..18, ..c.clone() }, &k).expect("valid");
    assert_eq!(part.post, t.post[t.row(17)]);
    // Each target is hit about equally often: the mean of the indices is that of a uniform draw.
    let mean = t.post.iter().map(|j| f64::from(*j)).sum::<f64>() / t.len() as f64;
    assert!((mean - 499.5).abs() < 7.0, "{mean}");
    let with = |p: f64| grow(&base(Rule::Random { p: Real(p), stream: 7 }, 30, 40), &k);
    assert_eq!(with(0.0).expect("valid").len(), 0);
    assert_eq!(with(1.0).expect("valid").len(), 1200);
    assert_eq!(with(1e-300).expect("valid").len(), 0);
    for p in [-0.1, 1.1, f64::NAN] {
        assert_eq!(with(p).expect_err("no probability").code, "E0515");
    }
    let few = expand(&c, Pools { consts: &k, lines: &[], conns: &[] }, 1000);
    assert_eq!(few.expect_err("too many").code, "E0510");
}

#[test]
fn fixed_numbers_of_partners_are_distinct() {
    let k = consts(vec![]);
    let t = grow(&base(Rule::FixedIn { k: 3, stream: 1 }, 10, 40), &k).expect("valid");
    let mut per_target = vec![0; 40];
    pairs(&t).iter().for_each(|(_, j)| per_target[*j as usize] += 1);
    assert_eq!(per_target, [3; 40]);
    assert!((0..10).all(|i| t.post[t.row(i)].windows(2).all(|w| w[0] < w[1])));
    let t = grow(&base(Rule::FixedOut { k: 9, stream: 1 }, 20, 10), &k).expect("valid");
    assert!((0..20).all(|i| t.row(i).len() == 9 && t.post[t.row(i)].windows(2).all(|w| w[0] < w[1])));
    assert_eq!(code(&base(Rule::FixedIn { k: 11, stream: 1 }, 10, 40), &k), "E0515");
    assert_eq!(code(&base(Rule::FixedOut { k: 11, stream: 1 }, 40, 10), &k), "E0515");
}

#[test]
fn regions_decide_pairs_weights_and_delays() {
    let k = consts(vec![Tensor::scalar_i64(1)]);
    let mut c = base(Rule::Predicate(rows(|b, p| b.lt(p[0], p[1]), &k)), 3, 4);
    c.weight = SynapseWeight::Region(rows(
        |b, p| {
            let s = b.add(p[0], p[1])?;
            b.cast(s, DType::F32)
        },
        &k,
    ));
    c.delay = SynapseDelay::Region { body: rows(|b, p| b.sub(p[1], p[0]), &k), max: 3 };
    let t = grow(&c, &k).expect("valid");
    assert_eq!(pairs(&t), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
    assert_eq!(t.weight, Weights::Per(vec![1.0, 2.0, 3.0, 3.0, 4.0, 5.0]));
    assert_eq!(t.delay, Delays::Per(vec![1, 2, 3, 1, 2, 1]));
    assert_eq!((t.min_delay(), t.max_delay()), (1, 3));
    let too_long = SynapseDelay::Region { body: rows(|b, p| b.sub(p[1], p[0]), &k), max: 2 };
    assert_eq!(code(&Connectivity { delay: too_long, ..c.clone() }, &k), "E0512");
    let negative = SynapseDelay::Region { body: rows(|b, p| b.sub(p[0], p[1]), &k), max: 9 };
    assert_eq!(code(&Connectivity { delay: negative, ..c.clone() }, &k), "E0512");
    let nan = rows(
        |b, p| {
            let zero = b.sub(p[1], p[1])?;
            let zero = b.cast(zero, DType::F32)?;
            b.div(zero, zero)
        },
        &k,
    );
    assert_eq!(code(&Connectivity { weight: SynapseWeight::Region(nan), ..c.clone() }, &k), "E0511");
    let ill_typed = rows(|b, p| b.add(p[0], p[1]), &k);
    assert_eq!(code(&Connectivity { weight: SynapseWeight::Region(ill_typed), ..c }, &k), "E0516");
}

#[test]
fn rows_longer_than_a_piece_are_whole() {
    let k = consts(vec![]);
    let even = rows(
        |b, p| {
            let half = b.shr(p[1], p[0])?;
            let back = b.shl(half, p[0])?;
            b.eq(back, p[1])
        },
        &k,
    );
    let c = Connectivity { pre: 1..2, ..base(Rule::Predicate(even), 2, 10_001) };
    let t = grow(&c, &k).expect("valid");
    assert_eq!(t.post, (0..=10_000).step_by(2).collect::<Vec<u32>>());
}

/// Rows are evaluated many at a time or one by one; either way each pair has what its region gives for it alone.
#[test]
fn regions_give_a_pair_the_same_beside_any_others() {
    use crate::graph::expand::inline;
    use crate::kernel::{Evaluate, Scalar};
    let k = consts(vec![Tensor::scalar_f32(0.4), Tensor::scalar_f32(9.5)]);
    let chosen = rows(
        |b, p| {
            let (u, near) = (b.random(p[0], p[1], Distribution::Uniform, 1)?, b.constant(ConstId(1))?);
            let (below, later) = (b.lt(u, near)?, b.lt(p[0], p[1])?);
            b.xor(below, later)
        },
        &k,
    );
    let weight = rows(
        |b, p| {
            let n = b.random(p[0], p[1], Distribution::Normal, 2)?;
            let u = b.random(p[0], p[1], Distribution::Uniform, 3)?;
            let log = b.log(u)?;
            let half = b.mul(n, log)?;
            let half = b.cast(half, DType::F16)?;
            let half = b.exp(half)?;
            let half = b.cast(half, DType::F32)?;
            let power = b.pow(u, half)?;
            let byte = b.cast(p[1], DType::I8)?;
            let byte = b.mul(byte, byte)?;
            let byte = b.cast(byte, DType::F32)?;
            let source = b.cast(p[0], DType::F32)?;
            let (source, positive) = (b.sin(source)?, b.gt(n, log)?);
            let other = b.fma(source, power, byte)?;
            b.select(positive, power, other)
        },
        &k,
    );
    let delay = rows(
        |b, p| {
            let (u, top) = (b.random(p[0], p[1], Distribution::Uniform, 4)?, b.constant(ConstId(2))?);
            let ticks = b.mul(u, top)?;
            b.cast(ticks, DType::I64)
        },
        &k,
    );
    let alone = |g: &Graph, i: i64, j: i64| {
        inline(&mut Evaluate, g, &k, Scalar::I64(0), &[Scalar::I64(i), Scalar::I64(j)]).expect("element-wise")[0]
    };
    // Several pieces of short rows, one candidate for each source, rows of several columns.
    for (pre, post) in [(2..500, 3..40), (0..9000, 7..8), (1..4, 0..700), (0..3, 5..5)] {
        let mut c = base(Rule::Predicate(chosen.clone()), 9000, 700);
        (c.pre, c.post) = (pre.clone(), post.clone());
        c.weight = SynapseWeight::Region(weight.clone());
        c.delay = SynapseDelay::Region { body: delay.clone(), max: 9 };
        let t = grow(&c, &k).expect("valid");
        let mut at = 0;
        for i in pre {
            for j in post.clone() {
                let (i, j) = (i as i64, j as i64);
                if alone(&chosen, i, j) == Scalar::Bool(true) {
                    assert!(t.row(i as usize).contains(&at) && i64::from(t.post[at]) == j, "synapse {at}: {i}, {j}");
                    assert!(Scalar::F32(t.weight.at(at)).same(alone(&weight, i, j)), "the weight of {i}, {j}");
                    assert_eq!(Scalar::I64(i64::from(t.delay.at(at))), alone(&delay, i, j), "the delay of {i}, {j}");
                    at += 1;
                }
            }
        }
        assert_eq!(t.len(), at);
        assert!(post.is_empty() || at > 300, "{at} synapses");
    }
}

#[test]
fn convolutions_share_their_kernel() {
    let kernel = Tensor::from_vec(vec![1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).expect("count");
    let delays = Tensor::from_vec(vec![1, 1, 2, 2], vec![0i64, 1, 2, 3]).expect("count");
    let k = consts(vec![kernel, delays]);
    let rule = Rule::Conv2d { input: [1, 2, 3], output: [1, 1, 2], size: [2, 2], stride: [1, 1], pad: [0, 0] };
    let mut c = base(rule, 6, 2);
    c.weight = SynapseWeight::Kernel(ConstId(1));
    c.delay = SynapseDelay::Kernel(ConstId(2));
    let t = grow(&c, &k).expect("valid");
    assert_eq!(pairs(&t), [(0, 0), (1, 0), (1, 1), (2, 1), (3, 0), (4, 0), (4, 1), (5, 1)]);
    assert_eq!(t.weight, Weights::Per(vec![1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]));
    assert_eq!(t.delay, Delays::Per(vec![0, 1, 0, 1, 2, 3, 2, 3]));
    let bad = Rule::Conv2d { input: [1, 2, 3], output: [1, 2, 1], size: [2, 2], stride: [1, 1], pad: [0, 0] };
    assert_eq!(code(&Connectivity { rule: bad, ..c.clone() }, &k), "E0515");
    assert_eq!(code(&Connectivity { rule: Rule::All, ..c }, &k), "E0513");
}

#[test]
fn padded_and_strided_convolutions_agree_with_the_op() {
    use crate::graph::Port;
    let (size, stride, pad) = ([3u64, 2], [2u64, 3], [1u64, 1]);
    let (input, output) = ([2u64, 5, 7], [3u64, 3, 3]);
    let n: usize = 3 * 2 * 3 * 2;
    let kernel =
        Tensor::from_vec(vec![3, 2, 3, 2], (0..n).map(|k| k as f32 + 1.0).collect::<Vec<f32>>()).expect("count");
    let k = consts(vec![kernel.clone()]);
    let mut c = base(Rule::Conv2d { input, output, size, stride, pad }, 70, 27);
    c.weight = SynapseWeight::Kernel(ConstId(1));
    let t = grow(&c, &k).expect("valid");
    let mut m = Module { name: "m".into(), ..Module::default() };
    let x = m.graph.add_param(TensorType::new(DType::F32, input), "x");
    m.inputs.push(Port { name: "x".into(), value: x });
    let w = m.add_const("", kernel);
    let w = m.builder().constant(w).expect("exists");
    let y = m.builder().conv(x, w, None, stride.to_vec(), vec![1; 4], vec![1, 1], 1).expect("fits");
    m.outputs.push(Port { name: "y".into(), value: y });
    let mut it = crate::interp::Interpreter::new(std::sync::Arc::new(m)).expect("valid");
    for i in 0..70 {
        let mut frame = vec![0f32; 70];
        frame[i] = 1.0;
        let frame = Tensor::from_vec(vec![2, 5, 7], frame).expect("count");
        let dense = it.step(&[frame]).expect("fits").outputs[0].clone();
        let mut sparse = vec![0f32; 27];
        for s in t.row(i) {
            sparse[t.post[s] as usize] = t.weight.at(s);
        }
        assert_eq!(dense.as_slice::<f32>(), sparse, "source {i}");
    }
}

#[test]
fn tables_and_lists_are_checked() {
    let list = |v: &[i64]| Tensor::from_vec(vec![v.len()], v.to_vec()).expect("count");
    let table = || Rule::Table { pre: ConstId(1), post: ConstId(2) };
    let k = consts(vec![list(&[0, 2, 2]), list(&[1, 0, 0]), list(&[3, 2, 1])]);
    let mut c = base(table(), 3, 2);
    c.delay = SynapseDelay::PerSynapse(ConstId(3));
    let t = grow(&c, &k).expect("valid");
    assert_eq!(pairs(&t), [(0, 1), (2, 0), (2, 0)]);
    assert_eq!(t.delay, Delays::Per(vec![3, 2, 1]));
    assert_eq!(code(&base(table(), 3, 2), &consts(vec![list(&[0, 3]), list(&[0, 0])])), "E0514");
    assert_eq!(code(&base(table(), 3, 2), &consts(vec![list(&[0, -1]), list(&[0, 0])])), "E0514");
    assert_eq!(code(&base(table(), 3, 2), &consts(vec![list(&[1, 0]), list(&[0, 0])])), "E0514");
    assert_eq!(code(&base(table(), 3, 2), &consts(vec![list(&[1, 1]), list(&[0])])), "E0513");
    let k = consts(vec![list(&[1]), Tensor::scalar_f32(f32::NAN)]);
    c = base(Rule::All, 1, 1);
    c.delay = SynapseDelay::PerSynapse(ConstId(9));
    assert_eq!(code(&c, &k), "E0513");
    c.delay = SynapseDelay::Ticks(0);
    c.weight = SynapseWeight::Scalar(ConstId(2));
    assert_eq!(code(&c, &k), "E0511");
    c.weight = SynapseWeight::Scalar(ConstId(1));
    assert_eq!(code(&c, &k), "E0513");
}

#[test]
fn matrices_are_read_either_way() {
    let data = Tensor::from_vec(vec![2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("count");
    let k = consts(vec![data]);
    let mut c = Connectivity { pre: 1..3, post: 1..4, ..base(Rule::All, 3, 4) };
    c.weight = SynapseWeight::Matrix { data: ConstId(1), pre_major: true };
    assert_eq!(grow(&c, &k).expect("valid").weight, Weights::Per(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    c.weight = SynapseWeight::Matrix { data: ConstId(1), pre_major: false };
    assert_eq!(code(&c, &k), "E0513");
    let c = Connectivity { pre: 0..3, post: 1..3, ..c };
    assert_eq!(grow(&c, &k).expect("valid").weight, Weights::Per(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
}

#[test]
fn joined_rows_give_what_single_rows_give() {
    let k = consts(vec![]);
    let connectivity = |joined: bool| {
        // An op that is not element-wise keeps the rows apart.
        let apart = |b: &mut GraphBuilder<'_>| if joined { Ok(()) } else { b.iota(1).map(|_| ()) };
        let draw = |b: &mut GraphBuilder<'_>, p: &[ValueId]| {
            apart(b)?;
            b.random(p[0], p[1], Distribution::Uniform, 9)
        };
        // Every second pair, so that rows differ in length.
        let rule = rows(
            |b, p| {
                apart(b)?;
                let (x, y) =
                    (b.random(p[0], p[1], Distribution::Uniform, 1)?, b.random(p[0], p[1], Distribution::Uniform, 2)?);
                b.lt(x, y)
            },
            &k,
        );
        let c = base(Rule::Predicate(rule), 700, 90);
        let c = Connectivity { pre: 3..690, post: 5..88, ..c };
        Connectivity { weight: SynapseWeight::Region(rows(draw, &k)), ..c }
    };
    let (joined, apart) =
        (grow(&connectivity(true), &k).expect("valid"), grow(&connectivity(false), &k).expect("valid"));
    assert!((10_000..50_000).contains(&joined.len()), "{} synapses", joined.len());
    assert_eq!(joined.pre_ptr, apart.pre_ptr);
    assert_eq!(joined.post, apart.post);
    assert_eq!(joined.weight, apart.weight);
}
