//! Every representation of a product gives the interpreter's bits: for random shapes, densities of weights and inputs, in
//! one and several parts, with inputs that are infinite or NaN, and for every element type that it takes.

mod agreement;

use agreement::disagreement_with;
use nc_compiler::cost::{Reason, Repr};
use nc_compiler::{Level, Math, Options, compile};
use nc_ir::graph::{Module, Port, ValueId};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use proptest::prelude::*;

/// A stream of numbers that a test can draw from.
#[derive(Clone, Copy, Debug)]
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Numbers of which a part is not zero; zeros of both signs, and with `odd` now and then one that is not finite.
fn numbers(d: &mut Draws, dtype: DType, shape: &[u64], density: f64, odd: bool) -> Tensor {
    let n: u64 = shape.iter().product();
    let values: Vec<f64> = (0..n)
        .map(|_| match d.unit() < density {
            false if d.below(5) == 0 => -0.0,
            false => 0.0,
            true if odd && d.below(40) == 0 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][d.below(3) as usize],
            true => d.unit() * 4.0 - 2.0,
        })
        .collect();
    let shape: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
    let t = match dtype {
        DType::F32 => Tensor::from_vec(shape, values.iter().map(|x| *x as f32).collect::<Vec<_>>()),
        DType::F64 => Tensor::from_vec(shape, values),
        DType::I32 => Tensor::from_vec(shape, values.iter().map(|x| (x * 1e9) as i32).collect::<Vec<_>>()),
        _ => Tensor::from_vec(shape, values.iter().map(|x| (x * 1e9) as i64).collect::<Vec<_>>()),
    };
    t.expect("as many as the shape says")
}

struct Model {
    m: Module,
}

impl Model {
    fn new() -> Model {
        Model { m: Module { name: "products".into(), ..Module::default() } }
    }

    fn input(&mut self, name: &str, dtype: DType, shape: &[u64]) -> ValueId {
        let value = self.m.graph.add_param(TensorType::new(dtype, shape.to_vec()), name);
        self.m.inputs.push(Port { name: name.into(), value });
        value
    }

    fn constant(&mut self, t: Tensor) -> ValueId {
        let id = self.m.add_const("", t);
        self.m.builder().constant(id).expect("a constant")
    }

    fn output(&mut self, value: ValueId) {
        self.m.outputs.push(Port { name: format!("y{}", self.m.outputs.len()), value });
    }
}

/// Holds a model against the interpreter with every representation of every product, and says which there were.
fn agree(m: &Module, draws: Draws, density: f64, odd: bool) -> Vec<Repr> {
    let options = Options::default();
    let products = compile(m.clone(), &options).expect("a good model").products;
    let mut seen = Vec::new();
    for p in &products {
        for a in &p.alternatives {
            for parts in [1, 3] {
                let mut options = Options { parts, ..Options::default() };
                options.wishes.force.insert(p.name.clone(), a.repr);
                let mut d = draws;
                let r = disagreement_with(m, &options, 3, |_, name, ty| match ty.dtype {
                    DType::Bool => {
                        let shape = ty.extents().expect("known").iter().map(|n| *n as usize).collect();
                        let n = ty.elements().expect("known");
                        let bits: Vec<bool> = (0..n).map(|_| d.unit() < density).collect();
                        Tensor::from_bools(shape, &bits).expect("as many as the shape says")
                    }
                    dtype => {
                        let odd = odd && name.starts_with("odd");
                        numbers(&mut d, dtype, &ty.extents().expect("known"), density, odd)
                    }
                });
                assert_eq!(r, Ok(()), "{} as {} in {parts} parts", p.what, a.repr);
            }
            seen.push(a.repr);
        }
    }
    seen
}

const ALL: [Repr; 6] = Repr::ALL;

/// How many cases of a property are tried.
fn cases(n: u32) -> ProptestConfig {
    let n = std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(n);
    ProptestConfig { cases: n, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn rows_times_known_weights(
        seed in any::<u64>(),
        rows in prop_oneof![Just(1u64), Just(2), 3u64..7],
        inputs in 1u64..40,
        outputs in 1u64..75,
        density in prop_oneof![Just(0.0), Just(0.02), Just(0.2), Just(1.0)],
        activity in prop_oneof![Just(0.0), Just(0.1), Just(0.9)],
        wide in any::<bool>(),
        biased in any::<bool>(),
    ) {
        let mut d = Draws(seed);
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let shape = if rows == 1 { vec![inputs] } else { vec![rows, inputs] };
        let mut m = Model::new();
        let x = m.input("odd", dtype, &shape);
        let spikes = m.input("s", DType::Bool, &shape);
        let spikes = m.m.builder().cast(spikes, dtype).expect("cast");
        let w = m.constant(numbers(&mut d, dtype, &[outputs, inputs], density, false));
        let bias = m.constant(numbers(&mut d, dtype, &[outputs], 0.7, true));
        for x in [x, spikes] {
            let y = m.m.builder().linear(x, w, biased.then_some(bias)).expect("linear");
            m.output(y);
        }
        let seen = agree(&m.m, d, activity, true);
        if density < 1.0 && (density > 0.0 || inputs * outputs > 200) {
            // Where weights are many, no input is one that all outputs of a block leave out; windows are for a few rows of
            // some 32-bit floats.
            let windows = |r: &Repr| *r == Repr::Windows && (wide || rows > 3 || inputs < 12 || density == 0.0);
            let there = |r: &Repr| seen.contains(r) || *r == Repr::Blocks && density > 0.02 || windows(r);
            prop_assert!(inputs * outputs < 200 || ALL.iter().all(there), "{seen:?}");
        }
    }

    #[test]
    fn matrices_on_the_right(
        seed in any::<u64>(),
        rows in 1u64..7,
        inputs in 1u64..30,
        outputs in 1u64..40,
        activity in prop_oneof![Just(0.1), Just(0.9)],
    ) {
        let mut d = Draws(seed);
        let mut m = Model::new();
        let x = m.input("odd", DType::F32, &[rows, inputs]);
        let w = m.constant(numbers(&mut d, DType::F32, &[inputs, outputs], 0.3, false));
        let y = m.m.builder().matmul(x, w).expect("matmul");
        m.output(y);
        agree(&m.m, d, activity, true);
    }

    #[test]
    fn integers_times_known_weights(
        seed in any::<u64>(),
        rows in 1u64..6,
        inputs in 1u64..30,
        outputs in 1u64..40,
        wide in any::<bool>(),
    ) {
        let mut d = Draws(seed);
        let dtype = if wide { DType::I64 } else { DType::I32 };
        let mut m = Model::new();
        let x = m.input("x", dtype, &[rows, inputs]);
        let w = m.constant(numbers(&mut d, dtype, &[outputs, inputs], 0.3, false));
        let y = m.m.builder().linear(x, w, None).expect("linear");
        m.output(y);
        agree(&m.m, d, 0.5, false);
    }

    #[test]
    fn windows_over_events(
        seed in any::<u64>(),
        images in 1u64..4,
        groups in 1u64..4,
        channels in 1u64..4,
        outputs in prop_oneof![1u64..8, 60u64..70],
        sizes in prop::collection::vec((1u64..8, 1u64..4, 1u64..4, 0u64..3, 1u64..3), 1..3),
        activity in prop_oneof![Just(0.0), Just(0.1), Just(0.7)],
        wide in any::<bool>(),
        biased in any::<bool>(),
    ) {
        let mut d = Draws(seed);
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let space: Vec<u64> = sizes.iter().map(|s| s.0 + (s.1 - 1) * s.4).collect();
        let kernel: Vec<u64> = sizes.iter().map(|s| s.1).collect();
        let (stride, dilation): (Vec<u64>, Vec<u64>) = sizes.iter().map(|s| (s.2, s.4)).unzip();
        let mut pad: Vec<u64> = sizes.iter().map(|s| s.3).collect();
        pad.extend(sizes.iter().map(|s| s.3 / 2));
        let mut m = Model::new();
        let mut shape = if images == 1 { vec![] } else { vec![images] };
        shape.push(groups * channels);
        shape.extend(&space);
        let x = m.input("odd", dtype, &shape);
        let spikes = m.input("s", DType::Bool, &shape);
        let spikes = m.m.builder().cast(spikes, dtype).expect("cast");
        let mut wanted = vec![groups * outputs, channels];
        wanted.extend(&kernel);
        let w = m.constant(numbers(&mut d, dtype, &wanted, 0.8, false));
        let bias = m.constant(numbers(&mut d, dtype, &[groups * outputs], 0.7, true));
        for x in [x, spikes] {
            let bias = biased.then_some(bias);
            let y = m.m.builder().conv(x, w, bias, stride.clone(), pad.clone(), dilation.clone(), groups);
            m.output(y.expect("conv"));
        }
        let seen = agree(&m.m, d, activity, true);
        prop_assert!(seen.contains(&Repr::Events), "{seen:?}");
    }
}

/// A model of one product with the given weights.
fn product(weights: Tensor, inputs: u64) -> Module {
    let mut m = Model::new();
    let x = m.input("x", DType::F32, &[inputs]);
    let w = m.constant(weights);
    let y = m.m.builder().linear(x, w, None).expect("linear");
    m.output(y);
    m.m.graph.values[y.index()].name = "y".into();
    m.m
}

#[test]
fn levels_and_wishes_decide() {
    let m = product(numbers(&mut Draws(1), DType::F32, &[256, 256], 0.05, false), 256);
    let of = |options: &Options| compile(m.clone(), options).expect("a good model").products.remove(0);
    let at = |level: Level| of(&Options { level, ..Options::default() });
    assert_eq!((at(Level::O0).chosen, at(Level::O0).reason), (Repr::Dense, Reason::Rule));
    assert_eq!((at(Level::O1).chosen, at(Level::O1).reason), (Repr::Dense, Reason::Rule));
    assert_eq!((at(Level::O2).chosen, at(Level::O2).reason), (Repr::Sparse, Reason::Cost));
    // Names of values do as well as those of products.
    for name in ["y", "x"] {
        let mut measured = Options::default();
        measured.wishes.activity.insert(name.into(), 0.1);
        assert_eq!(of(&measured).chosen, Repr::SparseEvents);
    }
    let mut forced = Options::default();
    forced.wishes.force.insert("y".into(), Repr::Events);
    assert_eq!((of(&forced).chosen, of(&forced).reason), (Repr::Events, Reason::Forced));
    let costs: Vec<f64> = of(&forced).alternatives.iter().map(|a| a.ns).collect();
    assert!(costs.len() == 6 && costs.is_sorted(), "{costs:?}");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut options = Options::default();
    options.wishes.force.insert("y".into(), Repr::Sparse);
    options.wishes.force.insert("z".into(), Repr::Dense);
    let full = product(numbers(&mut Draws(1), DType::F32, &[8, 8], 2.0, false), 8);
    let errors = compile(full, &options).expect_err("no zeros are left out, and there is no z");
    let said: Vec<(&str, &str)> = errors.iter().map(|e| (e.code, e.message.as_str())).collect();
    assert_eq!(
        said,
        [("E0705", "`y` cannot be sparse"), ("E0705", "`z` is to be dense, and is no product")],
        "{errors:?}"
    );
    // Weights that are not finite are never left out.
    options.wishes.force = [("y".to_owned(), Repr::Events)].into();
    let odd = Tensor::from_vec(vec![1, 2], vec![f32::INFINITY, 0.0]).expect("two");
    assert_eq!(compile(product(odd, 2), &options).expect_err("not finite")[0].code, "E0705");
}

#[test]
fn inputs_are_counted() {
    let m = product(numbers(&mut Draws(1), DType::F32, &[4, 10], 1.0, false), 10);
    let mut options = Options::default();
    options.wishes.count = true;
    let compiled = compile(m.clone(), &options).expect("a good model");
    let home = compiled.states.last().expect("a counter");
    assert_eq!(home.name, "profile:0");
    let checks = nc_ir::kernel::interp::Options { check: true, ..Default::default() };
    let mut machine = nc_ir::kernel::interp::Machine::new(&compiled.program, checks).expect("a valid program");
    let mut x = [0.0f32; 10];
    (x[3], x[7], x[9]) = (1.0, -0.0, f32::NAN);
    let frame: Vec<u8> = x.iter().flat_map(|x| x.to_ne_bytes()).collect();
    for t in 0..2 {
        let mut out = vec![0; 16];
        use nc_ir::kernel::interp::HostArray;
        machine.run(t, 1, &mut [HostArray::In(&frame), HostArray::Out(&mut out)]).expect("no fault");
    }
    let nc_ir::kernel::abi::Place::Arena(at) = compiled.layout.buffers[home.buffer.index()] else {
        panic!("a state is in the arena");
    };
    let bytes = &machine.arena()[at as usize..at as usize + 16];
    assert_eq!(bytes, [4i64.to_ne_bytes(), 20i64.to_ne_bytes()].concat());
}

/// The embedding of a token times weights is a row of a table; out of range, the token is clamped as before.
#[test]
fn rows_of_a_constant_table_are_multiplied_once() {
    let mut d = Draws(5);
    let mut m = Model::new();
    let token = m.input("t", DType::I64, &[3]);
    let table = m.constant(numbers(&mut d, DType::F32, &[6, 5], 0.8, false));
    let w = m.constant(numbers(&mut d, DType::F32, &[7, 5], 0.8, true));
    let right = m.constant(numbers(&mut d, DType::F32, &[5, 4], 0.8, false));
    let bias = m.constant(numbers(&mut d, DType::F32, &[7], 0.8, false));
    let x = m.m.builder().gather(table, token, 0).expect("gather");
    let y = m.m.builder().linear(x, w, Some(bias)).expect("linear");
    m.output(y);
    let y = m.m.builder().matmul(x, right).expect("matmul");
    m.output(y);
    let left =
        |level: Level| compile(m.m.clone(), &Options { level, ..Options::default() }).expect("good").products.len();
    assert_eq!((left(Level::O0), left(Level::O2)), (2, 0));
    for tokens in [vec![0i64, 5, 3], vec![-4, 9, 2]] {
        let given = Tensor::from_vec(vec![3], tokens).expect("three");
        let [want, got] = [Level::O0, Level::O2].map(|level| {
            let compiled = compile(m.m.clone(), &Options { level, ..Options::default() }).expect("good");
            let mut interpreter = nc_ir::interp::Interpreter::new(compiled.module).expect("a solved module");
            interpreter.step(std::slice::from_ref(&given)).expect("one input").outputs
        });
        assert!(want.iter().zip(&got).all(|(w, g)| nc_ir::graph::testing::same(w, g)), "{want:?}\n{got:?}");
    }
}

/// Weights of low rank that a model has as two factors stay two, under fast math too, where one product would cost more.
#[test]
fn factors_become_one_product_only_where_that_costs_less() {
    for (inputs, between, outputs, left) in [(256, 4, 256, 2), (4, 256, 4, 1)] {
        let mut d = Draws(11);
        let mut m = Model::new();
        let x = m.input("x", DType::F32, &[inputs]);
        let thin = m.constant(numbers(&mut d, DType::F32, &[between, inputs], 1.0, false));
        let wide = m.constant(numbers(&mut d, DType::F32, &[outputs, between], 1.0, false));
        let y = m.m.builder().linear(x, thin, None).expect("linear");
        let y = m.m.builder().linear(y, wide, None).expect("linear");
        m.output(y);
        let of = |math: Math| {
            let options = Options { math, ..Options::default() };
            compile(m.m.clone(), &options).expect("a good model").products.len()
        };
        assert_eq!((of(Math::Strict), of(Math::Fast)), (2, left), "{inputs} -> {between} -> {outputs}");
    }
}
