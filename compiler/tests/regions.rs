//! Ops with regions over whole tensors agree with the interpreter to the bit, in 1, 2 and 3 parts.

mod agreement;

use agreement::disagreement;
use nc_ir::graph::{Graph, GraphBuilder, Module, OpError, Port, State, ValueId};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};

fn noise(seed: usize) -> f32 {
    let x = (seed.wrapping_mul(2654435761) >> 7) % 2001;
    x as f32 / 1000.0 - 1.0
}

fn f32s(shape: &[usize], seed: usize, scale: f32) -> Tensor {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|k| scale * noise(seed + 31 * k)).collect();
    Tensor::from_vec(shape.to_vec(), data).expect("as many as the shape says")
}

fn float(shape: &[u64]) -> TensorType {
    TensorType::new(DType::F32, shape.iter().copied())
}

fn constant(m: &mut Module, data: Tensor) -> ValueId {
    let id = m.add_const("", data);
    m.builder().constant(id).expect("a constant")
}

fn input(m: &mut Module, name: &str, ty: TensorType) -> ValueId {
    let value = m.graph.add_param(ty, name);
    m.inputs.push(Port { name: name.into(), value });
    value
}

fn output(m: &mut Module, name: &str, value: ValueId) {
    m.outputs.push(Port { name: name.into(), value });
}

/// A region with these parameters.
fn region(
    m: &Module,
    params: &[TensorType],
    build: impl FnOnce(&mut GraphBuilder<'_>, &[ValueId]) -> Result<Vec<ValueId>, OpError>,
) -> Graph {
    let mut g = Graph::default();
    let ids: Vec<ValueId> = params.iter().map(|t| g.add_param(t.clone(), "")).collect();
    let results = build(&mut GraphBuilder::new(&mut g, m.pools()), &ids).expect("a region");
    g.results = results;
    g
}

/// Both ways for a few ticks, with made-up inputs.
fn agrees(m: &Module, ticks: u64) {
    for parts in 1..=3 {
        let given = |t: u64, name: &str, ty: &TensorType| {
            let shape: Vec<usize> = ty.extents().expect("known").into_iter().map(|n| n as usize).collect();
            let n: usize = shape.iter().product();
            let seed = 1000 * t as usize + name.len();
            match ty.dtype {
                DType::Bool => {
                    let bits: Vec<bool> = (0..n).map(|k| noise(seed + 17 * k) > 0.2).collect();
                    Tensor::from_bools(shape, &bits)
                }
                DType::I64 => Tensor::from_vec(shape, (0..n).map(|k| (k as i64 + t as i64) % 5 - 1).collect()),
                _ => Some(f32s(&shape, seed, 1.0)),
            }
            .expect("as many as the shape says")
        };
        if let Err(e) = disagreement(m, parts, ticks, given) {
            panic!("{parts} parts: {e}");
        }
    }
}

/// One step of an LSTM: (h, c, x, w, u, b) to (h, c, h), gates in the order i, f, g, o (Hochreiter and Schmidhuber 1997,
/// with the forget gate of Gers, Schmidhuber and Cummins 2000).
fn lstm(m: &Module, inputs: u64, hidden: u64) -> Graph {
    let n = hidden;
    let params =
        [float(&[n]), float(&[n]), float(&[inputs]), float(&[4 * n, inputs]), float(&[4 * n, n]), float(&[4 * n])];
    region(m, &params, |b, p| {
        let x = b.linear(p[2], p[3], Some(p[5]))?;
        let h = b.linear(p[0], p[4], None)?;
        let gates = b.add(x, h)?;
        let gate = |b: &mut GraphBuilder<'_>, k: u64| b.slice(gates, vec![k * n], vec![(k + 1) * n], vec![1]);
        let (i, f, g, o) = (gate(b, 0)?, gate(b, 1)?, gate(b, 2)?, gate(b, 3)?);
        let (i, f, g, o) = (b.sigmoid(i)?, b.sigmoid(f)?, b.tanh(g)?, b.sigmoid(o)?);
        let (old, new) = (b.mul(f, p[1])?, b.mul(i, g)?);
        let c = b.add(old, new)?;
        let t = b.tanh(c)?;
        let h = b.mul(o, t)?;
        Ok(vec![h, c, h])
    })
}

fn lstm_over(rows: u64, inputs: u64, hidden: u64, reverse: bool) -> Module {
    let mut m = Module { name: "lstm".into(), ..Module::default() };
    let x = input(&mut m, "x", float(&[rows, inputs]));
    let [w, u, b] = [[4 * hidden, inputs], [4 * hidden, hidden], [4 * hidden, 0]].map(|[a, b]| {
        let shape = if b == 0 { vec![a as usize] } else { vec![a as usize, b as usize] };
        constant(&mut m, f32s(&shape, (a + b) as usize, 0.3))
    });
    let zero = constant(&mut m, f32s(&[hidden as usize], 5, 0.1));
    let body = lstm(&m, inputs, hidden);
    let out = m.builder().scan(&[zero, zero], &[x], &[w, u, b], 2, 1, reverse, body).expect("a scan");
    output(&mut m, "h", out[0]);
    output(&mut m, "c", out[1]);
    output(&mut m, "all", out[2]);
    m
}

#[test]
fn an_lstm_over_rows() {
    agrees(&lstm_over(7, 5, 19, false), 2);
    agrees(&lstm_over(7, 5, 40, true), 2);
    agrees(&lstm_over(1, 3, 4, false), 2);
    agrees(&lstm_over(0, 3, 4, false), 2);
}

#[test]
fn fibonacci_numbers_until_one_is_large() {
    let int = TensorType::scalar(DType::I64);
    let mut m = Module { name: "fibonacci".into(), ..Module::default() };
    let limit = input(&mut m, "limit", int.clone());
    let trips = input(&mut m, "trips!", int.clone());
    let (zero, one) = (constant(&mut m, Tensor::scalar_i64(0)), constant(&mut m, Tensor::scalar_i64(1)));
    let go = constant(&mut m, Tensor::from_bools(vec![], &[true]).expect("one"));
    let params = [int.clone(), int.clone(), int.clone(), int.clone(), int.clone()];
    let body = region(&m, &params, |b, p| {
        let sum = b.add(p[1], p[2])?;
        let count = b.add(p[0], p[3])?;
        let more = b.lt(sum, p[4])?;
        Ok(vec![more, p[2], sum, count])
    });
    let ten = constant(&mut m, Tensor::scalar_i64(10));
    let bound = m.builder().mul(limit, ten).expect("integers");
    let most = m.builder().add(trips, ten).expect("integers");
    let out = m.builder().repeat(most, go, &[zero, one, zero], &[bound], 3, body).expect("a repeat");
    for (k, v) in out.iter().enumerate() {
        output(&mut m, &format!("y{k}"), *v);
    }
    agrees(&m, 6);
}

#[test]
fn branches_with_captured_values() {
    let mut m = Module { name: "cond".into(), ..Module::default() };
    let c = input(&mut m, "c", TensorType::scalar(DType::Bool));
    let x = input(&mut m, "x", float(&[33]));
    let w = constant(&mut m, f32s(&[33, 33], 8, 0.5));
    let params = [float(&[33]), float(&[33, 33])];
    let a = region(&m, &params, |b, p| {
        let y = b.linear(p[0], p[1], None)?;
        let z = b.tanh(y)?;
        Ok(vec![y, z])
    });
    let e = region(&m, &params, |b, p| {
        let y = b.exp(p[0])?;
        Ok(vec![p[0], y])
    });
    let out = m.builder().cond(c, &[x, w], a, e).expect("a cond");
    output(&mut m, "y", out[0]);
    output(&mut m, "z", out[1]);
    agrees(&m, 6);
}

/// Leaky integrate-and-fire neurons inside a scan: spikes of the step before drive a product with known weights.
#[test]
fn spiking_neurons_in_a_scan() {
    let n = 50;
    let mut m = Module { name: "spiking".into(), ..Module::default() };
    let x = input(&mut m, "x", float(&[9, n]));
    let w = constant(&mut m, f32s(&[n as usize, n as usize], 3, 0.4));
    let v0 = constant(&mut m, f32s(&[n as usize], 4, 0.5));
    let s0 = constant(&mut m, Tensor::from_bools(vec![n as usize], &vec![false; n as usize]).expect("spikes"));
    let (decay, threshold, zero) = (
        m.add_const("", Tensor::scalar_f32(0.9)),
        m.add_const("", Tensor::scalar_f32(0.6)),
        m.add_const("", Tensor::scalar_f32(0.0)),
    );
    let spikes = TensorType::new(DType::Bool, [n]);
    let params = [float(&[n]), spikes.clone(), float(&[n]), float(&[n, n])];
    let body = region(&m, &params, |b, p| {
        let s = b.cast(p[1], DType::F32)?;
        let drive = b.linear(s, p[3], None)?;
        let decay = b.constant(decay)?;
        let v = b.mul(p[0], decay)?;
        let v = b.add(v, p[2])?;
        let v = b.add(v, drive)?;
        let threshold = b.constant(threshold)?;
        let fired = b.gt(v, threshold)?;
        let zero = b.constant(zero)?;
        let zero = b.broadcast(zero, vec![n])?;
        let v = b.select(fired, zero, v)?;
        Ok(vec![v, fired, fired])
    });
    let out = m.builder().scan(&[v0, s0], &[x], &[w], 2, 1, false, body).expect("a scan");
    output(&mut m, "v", out[0]);
    output(&mut m, "last", out[1]);
    output(&mut m, "all", out[2]);
    agrees(&m, 3);
    let compiled = nc_compiler::compile(m, &nc_compiler::Options::default()).expect("compiled");
    assert!(compiled.report.iter().any(|r| r.contains("event-driven (spikes)")), "{:?}", compiled.report);
}

#[test]
fn carried_values_that_trade_places() {
    let mut m = Module { name: "swap".into(), ..Module::default() };
    let (x, y) = (input(&mut m, "x", float(&[20])), input(&mut m, "yy", float(&[20])));
    let rows = input(&mut m, "rows", float(&[5, 20]));
    let params = [float(&[20]), float(&[20]), float(&[20]), float(&[20])];
    let body = region(&m, &params, |b, p| {
        let s = b.add(p[0], p[2])?;
        Ok(vec![p[1], s, p[3], p[0], p[2]])
    });
    let out = m.builder().scan(&[x, y, x], &[rows], &[], 3, 1, true, body);
    // The third carried value becomes the row, the outputs are an old carried value and another.
    let out = out.expect("a scan");
    for (k, v) in out.iter().enumerate() {
        output(&mut m, &format!("y{k}"), *v);
    }
    agrees(&m, 3);
}

/// A scan over the rows of each row, with a repeat inside that uses its iteration as an index.
#[test]
fn loops_in_loops() {
    let mut m = Module { name: "nested".into(), ..Module::default() };
    let x = input(&mut m, "x", float(&[4, 3, 18]));
    let state = m.graph.add_param(float(&[18]), "s");
    let init = m.add_const("", f32s(&[18], 9, 1.0));
    let table = constant(&mut m, f32s(&[4, 18], 10, 1.0));
    let (trips, go) =
        (m.add_const("", Tensor::scalar_i64(3)), m.add_const("", Tensor::from_bools(vec![], &[true]).expect("one")));
    let int = TensorType::scalar(DType::I64);
    let bool_ = TensorType::scalar(DType::Bool);
    let innermost = region(&m, &[int, float(&[18]), float(&[4, 18]), bool_], |b, p| {
        let row = b.gather(p[2], p[0], 0)?;
        let y = b.add(p[1], row)?;
        let y = b.tanh(y)?;
        Ok(vec![p[3], y])
    });
    let inner = region(&m, &[float(&[18]), float(&[18]), float(&[4, 18])], |b, p| {
        let (n, go) = (b.constant(trips)?, b.constant(go)?);
        let sum = b.add(p[0], p[1])?;
        let y = b.repeat(n, go, &[sum], &[p[2], go], 1, innermost)?;
        Ok(vec![y[0], sum])
    });
    let outer = region(&m, &[float(&[18]), float(&[3, 18]), float(&[4, 18])], |b, p| {
        let y = b.scan(&[p[0]], &[p[1]], &[p[2]], 1, 1, true, inner)?;
        Ok(vec![y[0], y[1]])
    });
    let out = m.builder().scan(&[state], &[x], &[table], 1, 1, false, outer).expect("a scan");
    m.states.push(State { name: "s".into(), read: state, next: out[0], init });
    output(&mut m, "all", out[1]);
    agrees(&m, 3);
}

/// Extents of 0 among what is carried, scanned, captured and given out.
#[test]
fn nothing_in_all_places() {
    let mut m = Module { name: "empty".into(), ..Module::default() };
    let none = input(&mut m, "none", float(&[0]));
    let rows = input(&mut m, "rows", float(&[3, 0]));
    let c = input(&mut m, "c", TensorType::scalar(DType::Bool));
    let body = region(&m, &[float(&[0]), float(&[0]), float(&[0])], |b, p| {
        let y = b.add(p[0], p[1])?;
        let z = b.mul(y, p[2])?;
        Ok(vec![z, y])
    });
    let out = m.builder().scan(&[none], &[rows], &[none], 1, 1, false, body).expect("a scan");
    let same = |m: &Module| region(m, &[float(&[0])], |_, p| Ok(vec![p[0]]));
    let (a, e) = (same(&m), same(&m));
    let chosen = m.builder().cond(c, &[out[0]], a, e).expect("a cond");
    output(&mut m, "y", chosen[0]);
    output(&mut m, "all", out[1]);
    agrees(&m, 2);
}

/// The solved module of a compiled one: what the passes left.
fn solved(m: &Module) -> Module {
    nc_compiler::prepare(m.clone(), &nc_compiler::Options::default(), &mut Vec::new()).expect("nothing to refuse")
}

fn ops(g: &Graph) -> Vec<&'static str> {
    g.nodes.iter().map(|n| n.op.info().name).collect()
}

#[test]
fn constants_move_into_bodies_and_row_products_out() {
    let m = solved(&lstm_over(7, 5, 19, false));
    let scan = m.graph.nodes.iter().find(|n| !n.regions.is_empty()).expect("the scan");
    assert!(ops(&m.graph).contains(&"linear"), "the product of all rows stands before the loop");
    let body = ops(&scan.regions[0]);
    assert_eq!(body.iter().filter(|o| **o == "linear").count(), 1, "{body:?}");
    // Carried h and c, the products of the rows; nothing is captured.
    assert_eq!(scan.args.len(), 3);
}

#[test]
fn what_does_not_change_leaves_the_loop_and_what_is_not_read_is_dropped() {
    let mut m = Module { name: "hoist".into(), ..Module::default() };
    let rows = input(&mut m, "rows", float(&[5, 20]));
    let (x, y) = (input(&mut m, "x", float(&[20])), input(&mut m, "yy", float(&[20])));
    let params = [float(&[20]), float(&[20]), float(&[20]), float(&[20]), float(&[20])];
    let body = region(&m, &params, |b, p| {
        let same = b.exp(p[4])?;
        let sum = b.mul(same, p[3])?;
        let next = b.add(p[0], sum)?;
        let unread = b.add(p[2], p[3])?;
        Ok(vec![next, p[1], unread, next, unread])
    });
    // Three carried values: one that changes, one that does not, one that nobody reads; two outputs, one of them unread.
    let out = m.builder().scan(&[x, x, x], &[rows], &[y], 3, 1, false, body).expect("a scan");
    output(&mut m, "last", out[0]);
    output(&mut m, "same", out[1]);
    output(&mut m, "all", out[3]);
    agrees(&m, 2);
    let m = solved(&m);
    let scan = m.graph.nodes.iter().find(|n| !n.regions.is_empty()).expect("the scan");
    assert!(ops(&m.graph).contains(&"exp"), "{:?}", ops(&m.graph));
    assert_eq!(ops(&scan.regions[0]), ["mul", "add"]);
    assert_eq!((scan.args.len(), scan.results.len()), (3, 2));
    assert_eq!(m.outputs[1].value, m.inputs[1].value, "what does not change is what the loop began with");
}

#[test]
fn ways_that_are_known_are_taken() {
    let mut m = Module { name: "known".into(), ..Module::default() };
    let x = input(&mut m, "x", float(&[20]));
    let rows = input(&mut m, "none", float(&[0, 20]));
    let yes = constant(&mut m, Tensor::from_bools(vec![], &[true]).expect("one"));
    let never = constant(&mut m, Tensor::scalar_i64(-2));
    let double = |m: &Module| region(m, &[float(&[20])], |b, p| Ok(vec![b.add(p[0], p[0])?]));
    let (a, e) = (double(&m), region(&m, &[float(&[20])], |b, p| Ok(vec![b.exp(p[0])?])));
    let y = m.builder().cond(yes, &[x], a, e).expect("a cond")[0];
    let int = TensorType::scalar(DType::I64);
    let body = region(&m, &[int, float(&[20]), TensorType::scalar(DType::Bool)], |b, p| Ok(vec![p[2], b.exp(p[1])?]));
    let z = m.builder().repeat(never, yes, &[y], &[yes], 1, body).expect("a repeat")[0];
    let body = region(&m, &[float(&[20]), float(&[20])], |b, p| Ok(vec![b.exp(p[0])?, p[1]]));
    let out = m.builder().scan(&[z], &[rows], &[], 1, 1, false, body).expect("a scan");
    output(&mut m, "y", out[0]);
    output(&mut m, "all", out[1]);
    agrees(&m, 2);
    assert_eq!(ops(&solved(&m).graph), ["constant", "add"]);
}

/// Two products of one input, the second after a loop that the first goes into: rules make them rows of one, whose weights
/// stand behind the loop. With `carried`, what the loop gives is the bias of the second, and they have to stay two.
fn products_around_a_loop(carried: bool) -> Module {
    let mut m = Module { name: "around".into(), ..Module::default() };
    let x = input(&mut m, "x", float(&[4, 1, 2]));
    let (w, b) = (constant(&mut m, f32s(&[3, 2], 1, 0.5)), constant(&mut m, f32s(&[3], 2, 0.5)));
    let before = m.builder().linear(x, w, Some(b)).expect("a product");
    let sum = |m: &Module| {
        region(m, &[float(&[1, 3]), float(&[1, 3])], |b, p| {
            let h = b.add(p[0], p[1])?;
            let h = b.tanh(h)?;
            Ok(vec![h, h])
        })
    };
    let zero = constant(&mut m, f32s(&[1, 3], 3, 0.1));
    let body = sum(&m);
    let first = m.builder().scan(&[zero], &[before], &[], 1, 1, false, body).expect("a scan");
    let (w, b) = (constant(&mut m, f32s(&[3, 2], 1, 0.5)), constant(&mut m, f32s(&[3], 2, 0.5)));
    let last = m.builder().reshape(first[0], vec![3]).expect("as many");
    let after = m.builder().linear(x, w, Some(if carried { last } else { b })).expect("a product");
    let body = sum(&m);
    let second = m.builder().scan(&[zero], &[after], &[], 1, 1, true, body).expect("a scan");
    output(&mut m, "first", first[1]);
    output(&mut m, "second", second[1]);
    m
}

#[test]
fn what_is_shared_does_not_come_before_what_it_is_made_of() {
    agrees(&products_around_a_loop(false), 1);
    agrees(&products_around_a_loop(true), 1);
}
