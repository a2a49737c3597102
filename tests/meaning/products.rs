//! Products, windows and reductions of every element type and shape of operand: compiled code and the interpreter of
//! kernels give the bits of the graph interpreter, in one, two and three parts.

use super::differential::agree;
use nc_ir::graph::testing::Case;
use nc_ir::graph::{GraphBuilder, Module, OpError, PoolKind, Port, ReduceKind, ValueId};
use nc_ir::{DType, Tensor};

const NUMBERS: [DType; 12] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::I16,
    DType::I8,
    DType::U64,
    DType::U32,
    DType::U16,
    DType::U8,
];

/// Values with zeros of both signs among them; integers large enough to wrap.
fn tensor(dtype: DType, shape: &[u64], seed: u64) -> Tensor {
    let shape: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
    let mut t = Tensor::zeros(dtype, shape);
    let size = dtype.size();
    for k in 0..t.len() {
        let h =
            (k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let h = (h ^ (h >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = ((h >> 40) as f64 / f64::from(1 << 24) - 0.5) * 4.0;
        let x = match h % 11 {
            0 => 0.0,
            1 => -0.0,
            _ => x,
        };
        let bytes = match dtype {
            DType::F64 => x.to_ne_bytes().to_vec(),
            DType::F32 => (x as f32).to_ne_bytes().to_vec(),
            // Of a half, the upper bits of sign, exponent and fraction are those of a small number.
            DType::F16 => ((h as u16 & 0x83ff) | 0x3800).to_ne_bytes().to_vec(),
            DType::BF16 => (((x as f32).to_bits() >> 16) as u16).to_ne_bytes().to_vec(),
            _ => h.to_ne_bytes()[..size].to_vec(),
        };
        t.bytes_mut()[k * size..(k + 1) * size].copy_from_slice(&bytes);
    }
    t
}

/// A module under construction with what it is given.
struct Model {
    m: Module,
    given: Vec<Tensor>,
}

impl Model {
    fn new() -> Model {
        Model { m: Module { name: "products".into(), ..Module::default() }, given: Vec::new() }
    }

    fn input(&mut self, dtype: DType, shape: &[u64]) -> ValueId {
        let t = tensor(dtype, shape, self.given.len() as u64 + 5);
        self.given_input(t)
    }

    fn given_input(&mut self, t: Tensor) -> ValueId {
        let v = self.m.graph.add_param(t.ty(), "");
        self.m.inputs.push(Port { name: format!("x{}", self.given.len()), value: v });
        self.given.push(t);
        v
    }

    fn known(&mut self, dtype: DType, shape: &[u64]) -> ValueId {
        let t = tensor(dtype, shape, self.m.consts.len() as u64 + 77);
        self.known_tensor(t)
    }

    fn known_tensor(&mut self, t: Tensor) -> ValueId {
        let id = self.m.add_const("", t);
        self.m.builder().constant(id).expect("a constant that was just added")
    }

    fn output(&mut self, build: impl FnOnce(&mut GraphBuilder<'_>) -> Result<ValueId, OpError>) {
        let value = build(&mut self.m.builder()).expect("operands fit");
        self.m.outputs.push(Port { name: format!("y{}", self.m.outputs.len()), value });
    }

    fn check(self, what: &str) {
        let case = Case { module: self.m, ticks: vec![self.given.clone(), self.given] };
        for parts in [1, 2, 3] {
            match agree(&case, parts) {
                Ok(compiled) => assert!(compiled, "{what}: refused"),
                Err(e) => panic!("{what}: {e}"),
            }
        }
    }
}

#[test]
fn rows_of_every_type_are_multiplied() {
    for dtype in NUMBERS {
        let mut m = Model::new();
        // Rows that fill tiles and rows that do not, outputs likewise, and no links at all.
        for (rows, k, n) in [(1, 9, 70), (2, 5, 17), (5, 7, 9), (13, 3, 11), (49, 4, 8), (3, 0, 5)] {
            let x = m.input(dtype, &[rows, k]);
            let (w, bias) = (m.known(dtype, &[n, k]), m.known(dtype, &[n]));
            m.output(|b| b.linear(x, w, Some(bias)));
            let w = m.input(dtype, &[n, k]);
            m.output(|b| b.linear(x, w, None));
            let (right, known) = (m.input(dtype, &[k, n]), m.known(dtype, &[k, n]));
            m.output(|b| b.matmul(x, right));
            m.output(|b| b.matmul(x, known));
        }
        let (a, right) = (m.input(dtype, &[3, 1, 9, 4]), m.input(dtype, &[2, 4, 5]));
        m.output(|b| b.matmul(a, right));
        let (a, right) = (m.input(dtype, &[2, 3, 2]), m.known(dtype, &[2, 2, 9]));
        m.output(|b| b.slice(right, vec![1, 0, 0], vec![2, 2, 9], vec![1; 3]).and_then(|right| b.matmul(a, right)));
        m.check(dtype.name());
    }
}

#[test]
fn convolutions_of_every_type_have_any_number_of_axes() {
    for dtype in NUMBERS {
        let mut m = Model::new();
        let conv = |m: &mut Model, x: &[u64], w: &[u64], window: [u64; 4], groups: u64| {
            let n = w.len() - 2;
            let [stride, low, high, dilation] = window;
            let x = m.input(dtype, x);
            let bias = m.known(dtype, &w[..1]);
            for w in [m.known(dtype, w), m.input(dtype, w)] {
                let pad = [vec![low; n], vec![high; n]].concat();
                m.output(|b| b.conv(x, w, Some(bias), vec![stride; n], pad, vec![dilation; n], groups));
            }
        };
        conv(&mut m, &[3, 20], &[5, 3, 3], [1, 1, 1, 1], 1);
        conv(&mut m, &[2, 2, 9], &[13, 2, 1], [2, 0, 0, 1], 1);
        conv(&mut m, &[2, 1, 2, 7, 6], &[9, 2, 3, 3], [1, 1, 1, 1], 1);
        conv(&mut m, &[4, 8, 7], &[8, 2, 3, 3], [2, 1, 0, 2], 2);
        conv(&mut m, &[2, 3, 9, 11], &[3, 1, 3, 3], [1, 1, 1, 1], 3);
        conv(&mut m, &[3, 9, 17], &[6, 1, 3, 3], [2, 2, 1, 1], 3);
        conv(&mut m, &[5, 6, 9], &[2, 5, 3, 3], [1, 0, 1, 1], 1);
        conv(&mut m, &[2, 4, 5, 3], &[4, 2, 2, 3, 1], [1, 1, 1, 1], 1);
        conv(&mut m, &[1, 2, 3, 3, 4, 2], &[2, 1, 1, 2, 2, 1], [1, 0, 0, 1], 2);
        conv(&mut m, &[0, 5], &[4, 0, 3], [1, 1, 1, 1], 1);
        conv(&mut m, &[2, 0], &[4, 2, 1], [1, 2, 1, 1], 1);
        conv(&mut m, &[0, 2, 5], &[4, 2, 1], [1, 0, 0, 1], 1);
        m.check(dtype.name());
    }
}

/// Weights that are not finite meet the elements of the input only, never the padding, known or not.
#[test]
fn padding_is_no_link_of_a_chain() {
    for (dtype, shape) in [(DType::F32, [6u64, 2, 3, 3]), (DType::F64, [2, 2, 3, 3]), (DType::F16, [5, 2, 3, 3])] {
        for place in 0..3 {
            let mut w = tensor(dtype, &shape, 3);
            let odd = [f64::INFINITY, f64::NAN, f64::NEG_INFINITY];
            for (k, x) in odd.into_iter().enumerate().take(place) {
                let (at, size) = (7 + 18 * k, dtype.size());
                let bytes = match dtype {
                    DType::F64 => x.to_ne_bytes().to_vec(),
                    DType::F32 => (x as f32).to_ne_bytes().to_vec(),
                    _ => [0x7c00u16, 0x7e00, 0xfc00][k].to_ne_bytes().to_vec(),
                };
                w.bytes_mut()[at * size..(at + 1) * size].copy_from_slice(&bytes);
            }
            let mut m = Model::new();
            let x = m.input(dtype, &[2, 2, 4, 5]);
            for w in [m.known_tensor(w.clone()), m.given_input(w)] {
                let (pad, ones) = (vec![1, 2, 1, 0], vec![1, 1]);
                m.output(|b| b.conv(x, w, None, vec![1, 2], pad.clone(), ones.clone(), 1));
                m.output(|b| b.conv(x, w, None, ones.clone(), vec![0; 4], ones, 1));
            }
            m.check(&format!("{dtype}, {place} weights that are not finite"));
        }
    }
}

#[test]
fn windows_of_every_type_are_pooled() {
    for dtype in NUMBERS {
        let mut m = Model::new();
        for kind in PoolKind::ALL {
            if matches!(kind, PoolKind::Avg | PoolKind::Mean) && !dtype.is_float() {
                continue;
            }
            let x = m.input(dtype, &[2, 3, 9, 7]);
            m.output(|b| b.pool(x, *kind, vec![2, 2], vec![2, 2], vec![0; 4], vec![1, 1]));
            m.output(|b| b.pool(x, *kind, vec![3, 3], vec![2, 1], vec![1, 1, 1, 3], vec![1, 2]));
            m.output(|b| b.pool(x, *kind, vec![2, 3, 2], vec![1, 3, 1], vec![1; 6], vec![2, 1, 1]));
            // Windows that lie in the padding alone, and one of many elements.
            m.output(|b| b.pool(x, *kind, vec![2], vec![1], vec![4, 5], vec![3]));
            m.output(|b| b.pool(x, *kind, vec![9, 7], vec![1, 1], vec![1, 0, 0, 1], vec![1, 1]));
            let row = m.input(dtype, &[5]);
            m.output(|b| b.pool(row, *kind, vec![3], vec![1], vec![1, 1], vec![1]));
            let none = m.input(dtype, &[2, 0]);
            m.output(|b| b.pool(none, *kind, vec![3], vec![1], vec![2, 2], vec![1]));
        }
        m.check(dtype.name());
    }
}

#[test]
fn every_type_is_reduced_along_any_axes() {
    for dtype in NUMBERS.into_iter().chain([DType::Bool]) {
        let mut m = Model::new();
        let x = if dtype == DType::Bool {
            let bits = tensor(DType::U8, &[3, 5, 4, 6], 4);
            let bits: Vec<bool> = bits.bytes().iter().map(|b| *b > 60).collect();
            m.given_input(Tensor::from_bools(vec![3, 5, 4, 6], &bits).expect("as many"))
        } else {
            m.input(dtype, &[3, 5, 4, 6])
        };
        let none = m.known_tensor(Tensor::zeros(dtype, vec![2, 0, 3]));
        for kind in ReduceKind::ALL {
            let taken = match kind {
                ReduceKind::Mean => dtype.is_float(),
                ReduceKind::Sum | ReduceKind::Prod => dtype != DType::Bool,
                ReduceKind::Max | ReduceKind::Min => true,
            };
            if !taken {
                continue;
            }
            for axes in [vec![], vec![3], vec![0], vec![1, 2], vec![0, 2], vec![3, 1], vec![0, 1, 2, 3]] {
                m.output(|b| b.reduce(x, *kind, axes, kind == &ReduceKind::Max));
            }
            // Longer than what is written out, beside whole registers and a part of one.
            let long = m.input(dtype, &[2, 150, 21]);
            if dtype != DType::Bool {
                m.output(|b| b.reduce(long, *kind, vec![1], false));
            }
            m.output(|b| b.reduce(none, *kind, vec![1], false));
            m.output(|b| b.reduce(none, *kind, vec![0, 2], true));
            m.output(|b| b.reduce(none, *kind, vec![0, 1, 2], true));
        }
        if dtype != DType::Bool {
            for last in [false, true] {
                m.output(|b| b.argmax(x, 1, last, last));
                m.output(|b| b.argmin(x, 3, !last, last));
                m.output(|b| b.argmin(none, 0, false, last));
            }
            if dtype.is_float() {
                let zero = m.known_tensor(Tensor::zeros(dtype, Vec::new()));
                let nan = m.m.builder().div(x, zero).expect("operands fit");
                for last in [false, true] {
                    m.output(|b| b.argmax(nan, 3, false, last));
                    m.output(|b| b.argmin(nan, 0, false, last));
                }
            }
        }
        m.check(dtype.name());
    }
}

#[test]
fn padding_of_every_type_stands_around_and_between() {
    for dtype in NUMBERS {
        let mut m = Model::new();
        let (x, value) = (m.input(dtype, &[2, 3, 4]), m.input(dtype, &[]));
        m.output(|b| b.pad(x, value, vec![0, 1, 2], vec![0, 0, 1], vec![0; 3]));
        m.output(|b| b.pad(x, value, vec![1, 0, 0], vec![2, 0, 0], vec![0, 1, 2]));
        m.output(|b| b.pad(x, value, vec![0; 3], vec![0; 3], vec![1, 0, 0]));
        m.output(|b| b.pad(x, value, vec![0; 3], vec![0; 3], vec![0; 3]));
        m.output(|b| b.pad(value, value, vec![], vec![], vec![]));
        let none = m.input(dtype, &[2, 0]);
        m.output(|b| b.pad(none, value, vec![0, 1], vec![1, 2], vec![3, u64::MAX]));
        let index = m.given_input(Tensor::from_vec(vec![5], vec![-3i64, 1, 0, 9, 2]).expect("as many"));
        m.output(|b| b.gather(x, index, 1));
        m.output(|b| b.gather(x, index, 2));
        m.check(dtype.name());
    }
}

/// Rows of spikes are walked event by event as one row is.
#[test]
fn rows_of_spikes_drive_products() {
    let mut m = Model::new();
    let bits = tensor(DType::U8, &[4, 37], 9);
    let bits: Vec<bool> = bits.bytes().iter().map(|b| *b > 200).collect();
    let spikes = m.given_input(Tensor::from_bools(vec![4, 37], &bits).expect("as many"));
    let (w, bias) = (m.known(DType::F32, &[21, 37]), m.known(DType::F32, &[21]));
    m.output(|b| {
        let x = b.cast(spikes, DType::F32)?;
        b.linear(x, w, Some(bias))
    });
    let current = m.input(DType::F32, &[4, 37]);
    let w = m.known(DType::F32, &[19, 37]);
    m.output(|b| {
        let x = b.cast(spikes, DType::F32)?;
        let x = b.mul(x, current)?;
        b.linear(x, w, None)
    });
    m.check("spikes");
}

/// Sparse weights times few and many rows, and rows of which few elements are not zero, in sizes that fill registers and
/// windows of inputs and in such that do not; with inputs that are infinite or NaN.
#[test]
fn sparse_weights_and_sparse_rows() {
    let thin = |t: &mut Tensor, one_in: u64, seed: u64| {
        for (k, x) in t.bytes_mut().chunks_exact_mut(4).enumerate() {
            if (k as u64 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0xffff >= 0x10000 / one_in {
                x.copy_from_slice(&[0; 4]);
            }
        }
    };
    for (rows, k, n, one_in) in [(1, 70, 33, 9), (1, 8, 5, 3), (2, 300, 100, 12), (3, 40, 64, 3), (9, 101, 97, 4)] {
        for odd in [false, true] {
            let mut m = Model::new();
            let mut x = tensor(DType::F32, &[rows, k], 4);
            thin(&mut x, if rows > 3 { 4 } else { 1 }, 1);
            if odd {
                x.bytes_mut()[4 * 5..4 * 7]
                    .copy_from_slice(&[f32::INFINITY.to_ne_bytes(), f32::NAN.to_ne_bytes()].concat());
            }
            let x = m.given_input(x);
            let mut w = tensor(DType::F32, &[n, k], 8);
            thin(&mut w, one_in, 2);
            let (w, bias) = (m.known_tensor(w), m.known(DType::F32, &[n]));
            m.output(|b| b.linear(x, w, Some(bias)));
            m.output(|b| b.linear(x, w, None));
            m.check(&format!("{rows} rows {k} -> {n}, one of {one_in}, odd {odd}"));
        }
    }
}
