//! Every element-wise op on every element type, at the edges of the type and on random bits: compiled code and the
//! interpreter of kernels against the graph interpreter.

use super::differential::agree;
use nc_ir::graph::testing::Case;
use nc_ir::graph::{Class, Module, Op, Port, TABLE, ValueId};
use nc_ir::{DType, Tensor, TensorType};
use std::collections::BTreeSet;

/// Every element-wise op that has no attributes, and `cast` to every type.
fn ops() -> Vec<Op> {
    let rows = TABLE.iter().filter(|row| row.class == Class::Elementwise && row.attrs.is_empty());
    let plain = rows.map(|row| Op::from_parts(row.name, &[]).expect("a row of the table"));
    plain.chain(DType::ALL.map(|to| Op::Cast { to })).collect()
}

/// Values that are edges of some op or type, as bytes.
fn edges(dtype: DType) -> Vec<Vec<u8>> {
    const FLOATS: [f64; 20] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -2.5,
        3.0,
        1e-7,
        -1e-320,
        1e-40,
        88.7,
        -104.0,
        710.0,
        65504.0,
        -2147483649.0,
        1.8446744073709552e19,
        3.4e38,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let floats = |f: fn(f64) -> Vec<u8>| FLOATS.iter().map(|x| f(*x)).collect();
    match dtype {
        DType::F64 => floats(|x| x.to_le_bytes().to_vec()),
        DType::F32 => floats(|x| (x as f32).to_le_bytes().to_vec()),
        DType::F16 => floats(|x| half::f16::from_f64(x).to_le_bytes().to_vec()),
        DType::BF16 => floats(|x| half::bf16::from_f64(x).to_le_bytes().to_vec()),
        DType::Bool => vec![vec![0], vec![1]],
        _ => {
            let (lo, hi) = dtype.int_range().expect("an integer type");
            let all = [lo, lo + 1, hi / 2, hi / 2 + 1, hi - 1, hi, 0, 1, 2, 3, -1, -2, 7, 10, 31, 33, 63, 100];
            all.iter().filter(|x| **x >= lo && **x <= hi).map(|x| x.to_le_bytes()[..dtype.size()].to_vec()).collect()
        }
    }
}

/// All pairs of edges in the first two operands, something else in the third.
fn operands(dtype: DType) -> [Tensor; 3] {
    let edges = edges(dtype);
    let n = edges.len() * edges.len();
    let pick = |f: &dyn Fn(usize) -> usize| -> Tensor {
        let bytes: Vec<u8> = (0..n).flat_map(|k| edges[f(k) % edges.len()].clone()).collect();
        Tensor::from_bytes(dtype, vec![n], &bytes).expect("n elements")
    };
    [pick(&|k| k / edges.len()), pick(&|k| k), pick(&|k| k * 7 + k / edges.len() + 3)]
}

/// Any bits at all, of as many elements.
fn noise(dtype: DType, n: usize, seed: u64) -> Tensor {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> =
        (0..n * dtype.size()).map(|_| if dtype == DType::Bool { byte() & 1 } else { byte() }).collect();
    Tensor::from_bytes(dtype, vec![n], &bytes).expect("n elements")
}

/// A module that applies every op that takes this type, and how many there are.
fn module(dtype: DType, n: usize, seen: &mut BTreeSet<&'static str>) -> Module {
    let mut m = Module { name: dtype.name().into(), ..Module::default() };
    let mut input = |name: &str, dtype| {
        let value = m.graph.add_param(TensorType::new(dtype, [n as u64]), name);
        m.inputs.push(Port { name: name.into(), value });
        value
    };
    let c = input("c", DType::Bool);
    let xs = ["x", "y", "z"].map(|name| input(name, dtype));
    for (k, op) in ops().into_iter().enumerate() {
        let mut args: Vec<ValueId> = xs[..op.info().operands.len()].to_vec();
        if op == Op::Select {
            args = vec![c, xs[0], xs[1]];
        }
        let name = op.info().name;
        if let Ok(results) = m.builder().push(op, args, Vec::new()) {
            m.outputs.push(Port { name: format!("{name}{k}"), value: results[0] });
            seen.insert(name);
        }
    }
    m
}

#[test]
fn every_op_on_every_type_is_the_same_compiled() {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for dtype in DType::ALL {
        let [x, y, z] = operands(dtype);
        let n = x.len();
        let random = |seed| vec![noise(DType::Bool, n, seed), noise(dtype, n, seed + 1), noise(dtype, n, seed + 2)];
        let mut ticks = vec![vec![noise(DType::Bool, n, 1), x, y, z]];
        for seed in [10, 20] {
            ticks.push([random(seed), vec![noise(dtype, n, seed + 3)]].concat());
        }
        let case = Case { module: module(dtype, n, &mut seen), ticks };
        match agree(&case, 1) {
            Ok(true) => {}
            Ok(false) => wrong.push(format!("{dtype}: refused")),
            Err(e) => wrong.push(format!("{dtype}: {e}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: BTreeSet<&str> = ops().iter().map(|op| op.info().name).collect();
    assert_eq!(seen, all, "an op that takes none of the types");
}
