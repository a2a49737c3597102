//! Random instances of the left side of every rule.

use super::{Choices, DType, Module, Rule, Tensor, ValueId, Way, result_dtype, tensor};
use crate::saturate::Term;
use egg::{ENodeOrVar, Language, Pattern};
use nc_ir::graph::{Op, PoolKind, Port, ReduceKind};
use nc_ir::types::TensorType;
use std::collections::BTreeMap;

/// Writes a module without state whose output is an instance.
pub struct Maker {
    pub module: Module,
    pub choices: Choices,
    /// Infinities, NaN and the like are among the data.
    special: bool,
}

const NUMBERS: [DType; 6] = [DType::F32, DType::F64, DType::F16, DType::I32, DType::I8, DType::U8];

impl Maker {
    pub fn new(seed: u64, special: bool) -> Maker {
        Maker {
            module: Module { name: "rule".into(), ..Module::default() },
            choices: Choices::from_seed(seed),
            special,
        }
    }

    /// Inputs that fit the module.
    pub fn inputs(&mut self) -> Vec<Tensor> {
        let types: Vec<TensorType> = self.module.inputs.iter().map(|p| self.module.graph.ty(p.value).clone()).collect();
        types.iter().map(|t| self.data(t)).collect()
    }

    fn data(&mut self, ty: &TensorType) -> Tensor {
        if self.special || !ty.dtype.is_float() {
            return tensor(&mut self.choices, ty);
        }
        let n = ty.elements().unwrap_or(0) as usize;
        let data: Vec<f32> = (0..n).map(|_| self.choices.draw() as f32 / u32::MAX as f32 * 2.0 - 0.9).collect();
        let shape = ty.extents().unwrap_or_default().iter().map(|e| *e as usize).collect();
        Tensor::from_vec(shape, data).expect("as many elements as the shape has")
    }

    fn dtype(&mut self) -> DType {
        self.choices.of(&NUMBERS)
    }

    fn float(&mut self) -> DType {
        if self.special { self.choices.of(&[DType::F32, DType::F64]) } else { DType::F32 }
    }

    fn extent(&mut self) -> u64 {
        1 + self.choices.below(5) as u64
    }

    fn input(&mut self, dtype: DType, shape: &[u64]) -> ValueId {
        let name = format!("x{}", self.module.inputs.len());
        let value = self.module.graph.add_param(TensorType::new(dtype, shape.iter().copied()), name.clone());
        self.module.inputs.push(Port { name, value });
        value
    }

    fn constant(&mut self, data: Tensor) -> ValueId {
        let id = self.module.add_const("", data);
        self.module.builder().constant(id).expect("a constant has its type")
    }

    fn weights(&mut self, dtype: DType, shape: &[u64]) -> ValueId {
        let data = self.data(&TensorType::new(dtype, shape.iter().copied()));
        self.constant(data)
    }

    fn number(&mut self, dtype: DType, x: f64) -> ValueId {
        let mut t = Tensor::zeros(dtype, Vec::new());
        let x = match nc_ir::kernel::loaded_type(dtype) {
            nc_ir::kernel::ScalarType::F32 => nc_ir::kernel::Scalar::F32(x as f32),
            nc_ir::kernel::ScalarType::F64 => nc_ir::kernel::Scalar::F64(x),
            _ => nc_ir::graph::expand::number(dtype, x as i64),
        };
        crate::fold::store(t.bytes_mut(), dtype, x);
        self.constant(t)
    }

    fn op(&mut self, op: Op, args: &[ValueId]) -> Option<ValueId> {
        self.module.builder().push(op, args.to_vec(), Vec::new()).ok().map(|r| r[0])
    }

    fn output(&mut self, value: ValueId) {
        let name = format!("y{}", self.module.outputs.len());
        self.module.outputs.push(Port { name, value });
    }

    /// An instance of a rule as the output of the module; `None` if the types that were drawn do not fit its ops.
    pub fn instance(&mut self, rule: &Rule) -> Option<()> {
        match rule.way {
            Way::Pattern { from, of, .. } => {
                let dtype = self.choices.of(&[DType::Bool, DType::F32, DType::F64, DType::F16, DType::I32, DType::U8]);
                if !of.has(dtype) {
                    return None;
                }
                let mut bound = BTreeMap::new();
                let v = self.pattern(from, dtype, &mut bound)?;
                self.output(v);
            }
            Way::Built(_) => {
                for v in self.built(rule.name)? {
                    self.output(v);
                }
            }
        }
        Some(())
    }

    /// Both sides of a pattern as outputs of the module.
    pub fn both_sides(&mut self, rule: &Rule) -> Option<()> {
        let Way::Pattern { from, to, of } = rule.way else { return None };
        let dtype = self.choices.of(&[DType::F32, DType::Bool, DType::I32]);
        if !of.has(dtype) {
            return None;
        }
        let mut bound = BTreeMap::new();
        for side in [from, to] {
            let v = self.pattern(side, dtype, &mut bound)?;
            self.output(v);
        }
        Some(())
    }

    fn pattern(&mut self, side: &str, dtype: DType, bound: &mut BTreeMap<String, ValueId>) -> Option<ValueId> {
        let pattern: Pattern<Term> = side.parse().expect("a pattern");
        let shape = [2 + self.choices.below(3) as u64];
        let mut values: Vec<ValueId> = Vec::new();
        for node in pattern.ast.iter() {
            let v = match node {
                ENodeOrVar::Var(v) => {
                    let name = v.to_string();
                    let is_condition = name == "?c" && side.contains("select");
                    let dtype = if is_condition { DType::Bool } else { dtype };
                    match bound.get(&name) {
                        Some(v) => *v,
                        None => {
                            let scalar = self.choices.once_in(5);
                            let v = self.input(dtype, if scalar { &[] } else { &shape });
                            bound.insert(name, v);
                            v
                        }
                    }
                }
                ENodeOrVar::ENode(term @ Term::Apply(op, _)) => {
                    let args: Vec<ValueId> = term.children().iter().map(|c| values[usize::from(*c)]).collect();
                    let types: Vec<DType> = args.iter().map(|a| self.module.graph.ty(*a).dtype).collect();
                    let v = self.op(op.clone(), &args)?;
                    assert_eq!(self.module.graph.ty(v).dtype, result_dtype(op, &types));
                    v
                }
                ENodeOrVar::ENode(Term::Leaf(_) | Term::Number(..)) => return None,
            };
            values.push(v);
        }
        values.last().copied()
    }

    /// A spike train.
    fn spikes(&mut self, shape: &[u64]) -> ValueId {
        self.input(DType::Bool, shape)
    }

    fn shape(&mut self, rank: usize) -> Vec<u64> {
        (0..rank).map(|_| self.extent()).collect()
    }

    /// A slice of a value.
    fn slice(&mut self, x: ValueId, whole: bool) -> Option<ValueId> {
        let extents = self.module.graph.ty(x).extents()?;
        let (mut start, mut stop, mut step) = (Vec::new(), Vec::new(), Vec::new());
        for e in extents {
            let from = if whole { 0 } else { self.choices.below(e as usize) as u64 };
            let to = if whole { e } else { from + 1 + self.choices.below((e - from) as usize) as u64 };
            start.push(from);
            stop.push(to);
            step.push(if whole { 1 } else { 1 + self.choices.below(2) as u64 });
        }
        self.op(Op::Slice { start, stop, step }, &[x])
    }

    fn perm(&mut self, rank: usize) -> Vec<usize> {
        let mut perm: Vec<usize> = (0..rank).collect();
        for k in (1..rank).rev() {
            let other = self.choices.below(k + 1);
            perm.swap(k, other);
        }
        perm
    }

    fn linear(&mut self, x: ValueId, outputs: u64, bias: bool) -> Option<ValueId> {
        let ty = self.module.graph.ty(x).clone();
        let inputs = *ty.extents()?.last()?;
        let w = self.weights(ty.dtype, &[outputs, inputs]);
        let mut args = vec![x, w];
        if bias {
            args.push(self.weights(ty.dtype, &[outputs]));
        }
        self.op(Op::Linear, &args)
    }

    fn conv(&mut self, bias: bool) -> Option<ValueId> {
        let (channels, groups) = (self.extent() * 2, self.choices.of(&[1, 2]));
        let x = self.input(DType::F32, &[2 * groups, 5, 4]);
        let w = self.weights(DType::F32, &[channels, 2, 3, 2]);
        let mut args = vec![x, w];
        if bias {
            args.push(self.weights(DType::F32, &[channels]));
        }
        let pad = vec![self.choices.below(2) as u64; 4];
        self.op(Op::Conv { stride: vec![1, 2], pad, dilation: vec![1, 1], groups }, &args)
    }

    /// One number for each output along an axis, as an operand beside a value.
    fn per_output(&mut self, y: ValueId, axis: usize) -> Option<ValueId> {
        let ty = self.module.graph.ty(y).clone();
        let shape = ty.extents()?;
        if self.choices.once_in(3) {
            return Some(self.weights(ty.dtype, &[]));
        }
        let own: Vec<u64> = [shape[axis]].into_iter().chain(shape[axis + 1..].iter().map(|_| 1)).collect();
        let c = self.weights(ty.dtype, &own);
        if own == shape { Some(c) } else { self.op(Op::Broadcast { shape }, &[c]) }
    }

    fn unary(&mut self) -> Op {
        [Op::Neg, Op::Abs][self.choices.below(2)].clone()
    }

    /// Instances of the rules that are functions.
    fn built(&mut self, rule: &str) -> Option<Vec<ValueId>> {
        let rank = 1 + self.choices.below(3);
        let v = match rule {
            "div-power-of-two" => {
                let dtype = self.float();
                let x = self.input(dtype, &[8]);
                let by = self.choices.of(&[2.0, 0.5, -8.0, 1048576.0, 1e-3]);
                let c = self.number(dtype, by);
                self.op(Op::Div, &[x, c])?
            }
            "mul-minus-one" => {
                let dtype = self.float();
                let (x, c) = (self.input(dtype, &[8]), self.number(dtype, -1.0));
                self.op(Op::Mul, &[x, c])?
            }
            "select-numbers" => {
                let dtype = self.dtype();
                let (s, one, zero) = (self.spikes(&[5]), self.number(dtype, 1.0), self.number(dtype, 0.0));
                let args = if self.choices.once_in(2) { [s, one, zero] } else { [s, zero, one] };
                // One operand has to have the shape.
                self.op(Op::Select, &args)?
            }
            "select-truths" => {
                let (s, t) = (self.spikes(&[5]), self.spikes(&[5]));
                let known = self.choices.once_in(2);
                let c = self.number(DType::Bool, f64::from(u8::from(known)));
                self.op(Op::Select, &if known { [s, c, t] } else { [s, t, c] })?
            }
            "truth-again" => {
                let s = self.spikes(&[5]);
                let x = self.op(Op::Cast { to: DType::F32 }, &[s])?;
                if self.choices.once_in(4) {
                    return Some(vec![self.op(Op::Cast { to: DType::Bool }, &[x])?]);
                }
                let at = self.choices.of(&[0.0, 0.5, 1.0]);
                let bound = self.number(DType::F32, at);
                let op = [Op::Gt, Op::Ge, Op::Lt, Op::Le, Op::Eq, Op::Ne][self.choices.below(6)].clone();
                self.op(op, &[x, bound])?
            }
            "mul-truths" | "max-truths" => {
                let to = self.dtype();
                let (s, t) = (self.spikes(&[5]), self.spikes(&[5]));
                let (s, t) = (self.op(Op::Cast { to }, &[s])?, self.op(Op::Cast { to }, &[t])?);
                self.op(if rule == "mul-truths" { Op::Mul } else { Op::Max }, &[s, t])?
            }
            "one-minus-truth" => {
                let to = self.float();
                let s = self.spikes(&[5]);
                let (one, x) = (self.number(to, 1.0), self.op(Op::Cast { to }, &[s])?);
                self.op(Op::Sub, &[one, x])?
            }
            "subtract-where" => {
                let to = self.float();
                let (v, s) = (self.input(to, &[9]), self.spikes(&[9]));
                let by = self.choices.of(&[1.0, 0.0, 0.3, -0.0, -1.0]);
                let (x, c) = (self.op(Op::Cast { to }, &[s])?, self.number(to, by));
                let reset = self.op(Op::Mul, &[x, c])?;
                self.op(Op::Sub, &[v, reset])?
            }
            "cast-same" => {
                let to = self.dtype();
                let x = self.input(to, &[5]);
                self.op(Op::Cast { to }, &[x])?
            }
            _ => return self.moved(rule, rank).or_else(|| self.product(rule)),
        };
        Some(vec![v])
    }

    /// Instances of the rules about shapes.
    fn moved(&mut self, rule: &str, rank: usize) -> Option<Vec<ValueId>> {
        let (dtype, shape) = (self.dtype(), self.shape(rank));
        let n: u64 = shape.iter().product();
        let v = match rule {
            "reshape-reshape" => {
                let x = self.input(dtype, &shape);
                let flat = self.op(Op::Reshape { shape: vec![n] }, &[x])?;
                self.op(Op::Reshape { shape: vec![1, n] }, &[flat])?
            }
            "reshape-none" => {
                let x = self.input(dtype, &shape);
                self.op(Op::Reshape { shape }, &[x])?
            }
            "transpose-transpose" => {
                let x = self.input(dtype, &shape);
                let (perm, then) = (self.perm(rank), self.perm(rank));
                let y = self.op(Op::Transpose { perm }, &[x])?;
                self.op(Op::Transpose { perm: then }, &[y])?
            }
            "transpose-units" => {
                let x = self.input(dtype, &[1, shape[0], 1]);
                let perm = self.perm(3);
                self.op(Op::Transpose { perm }, &[x])?
            }
            "slice-slice" => {
                let x = self.input(dtype, &shape);
                let y = self.slice(x, false)?;
                self.slice(y, false)?
            }
            "slice-none" => {
                let x = self.input(dtype, &shape);
                self.slice(x, true)?
            }
            "slice-concat" => {
                let axis = self.choices.below(rank);
                let parts = [self.input(dtype, &shape), self.input(dtype, &shape)];
                let both = self.op(Op::Concat { axis }, &parts)?;
                self.slice(both, false)?
            }
            "concat-concat" => {
                let axis = self.choices.below(rank);
                let [a, b, c] = [0; 3].map(|_| self.input(dtype, &shape));
                let two = self.op(Op::Concat { axis }, &[a, b])?;
                let parts = if self.choices.once_in(2) { [two, c] } else { [c, two] };
                self.op(Op::Concat { axis }, &parts)?
            }
            "concat-one" => {
                let x = self.input(dtype, &shape);
                self.op(Op::Concat { axis: 0 }, &[x])?
            }
            "concat-slices" => {
                let x = self.input(dtype, &shape);
                let axis = self.choices.below(rank);
                let e = shape[axis];
                let cut = self.choices.below(e as usize) as u64;
                let whole = |from: u64, to: u64| super::super::products::along(&shape, axis, from, to);
                let (a, b) = (self.op(whole(0, cut), &[x])?, self.op(whole(cut, e), &[x])?);
                self.op(Op::Concat { axis }, &[a, b])?
            }
            "broadcast-broadcast" => {
                let x = self.input(dtype, &shape[1..].iter().map(|_| 1).collect::<Vec<u64>>());
                let y = self.op(Op::Broadcast { shape: shape.clone() }, &[x])?;
                self.op(Op::Broadcast { shape: [2].into_iter().chain(shape).collect() }, &[y])?
            }
            "broadcast-operand" => {
                let (x, s) = (self.input(dtype, &shape), self.input(dtype, &[]));
                let s = self.op(Op::Broadcast { shape }, &[s])?;
                let args = if self.choices.once_in(2) { [x, s] } else { [s, x] };
                self.op(Op::Max, &args)?
            }
            "slice-elementwise" => {
                let (x, y) = (self.input(dtype, &shape), self.input(dtype, &shape));
                let sum = self.op(Op::Add, &[x, y])?;
                self.slice(sum, false)?
            }
            "reshape-elementwise" | "transpose-elementwise" => {
                let (x, y) = (self.input(dtype, &shape), self.input(dtype, &shape));
                let op = if rule.starts_with('r') {
                    Op::Reshape { shape: vec![n] }
                } else {
                    Op::Transpose { perm: self.perm(rank) }
                };
                let (x, y) = (self.op(op.clone(), &[x])?, self.op(op, &[y])?);
                if self.choices.once_in(3) {
                    let op = self.unary();
                    self.op(op, &[x])?
                } else {
                    self.op(Op::Max, &[x, y])?
                }
            }
            _ => return None,
        };
        Some(vec![v])
    }

    /// Instances of the rules about products and pooling.
    fn product(&mut self, rule: &str) -> Option<Vec<ValueId>> {
        let dtype = self.float();
        let (k, m, rows) = (self.extent(), self.extent(), self.extent());
        let bias = self.choices.once_in(2);
        let v = match rule {
            "linear-shared" => {
                let x = self.input(dtype, &[k]);
                return (0..2 + self.choices.below(2))
                    .map(|_| {
                        let m = self.extent();
                        self.linear(x, m, bias)
                    })
                    .collect();
            }
            "linear-of-concat" => {
                // Part of the input is spikes, which a product of its own can walk.
                let (x, s) = (self.input(dtype, &[1, k]), self.spikes(&[1, 48]));
                let h = self.op(Op::Cast { to: dtype }, &[s])?;
                let parts = if self.choices.once_in(2) { [x, h] } else { [h, x] };
                let both = self.op(Op::Concat { axis: 1 }, &parts)?;
                self.linear(both, 8, bias)?
            }
            "linear-into-bias" => {
                let (x, h) = (self.input(dtype, &[k]), self.input(dtype, &[m]));
                let first = self.linear(x, rows, bias)?;
                let w = self.weights(dtype, &[rows, m]);
                self.op(Op::Linear, &[h, w, first])?
            }
            "linear-slice" => {
                let x = self.input(dtype, &[k]);
                let y = self.linear(x, m + 1, bias)?;
                self.slice(y, false)?
            }
            "linear-zero-bias" => {
                let x = self.input(dtype, &[k]);
                let (w, zero) = (self.weights(dtype, &[m, k]), self.number(dtype, 0.0));
                let bias = self.op(Op::Broadcast { shape: vec![m] }, &[zero])?;
                self.op(Op::Linear, &[x, w, bias])?
            }
            "matmul-weights" => {
                let x = self.input(dtype, &[2, rows, k]);
                let w = self.weights(dtype, &[k, m]);
                self.op(Op::Matmul, &[x, w])?
            }
            "pool-of-bounded" | "pool-one" => {
                let x = self.input(dtype, &[2, 5, 6]);
                let at = self.choices.of(&[0.0, -1.0]);
                let zero = self.number(dtype, at);
                let (x, n) = if rule == "pool-one" { (x, 1) } else { (self.op(Op::Max, &[x, zero])?, 2) };
                let pad = vec![if n == 1 { 0 } else { self.choices.below(2) as u64 }; 4];
                let (size, stride, dilation) = (vec![n, n], vec![n, n], vec![1, 1]);
                self.op(Op::Pool { kind: PoolKind::Max, size, stride, pad, dilation }, &[x])?
            }
            "reduce-of-bounded" => {
                let (x, zero) = (self.input(dtype, &[rows, k]), self.number(dtype, 0.0));
                let x = self.op(Op::Max, &[x, zero])?;
                self.op(Op::Reduce { kind: ReduceKind::Max, axes: vec![1], keep: bias }, &[x])?
            }
            "reduce-units" => {
                let x = self.input(dtype, &[rows, 1, k]);
                let kind = self.choices.of(&[ReduceKind::Max, ReduceKind::Min]);
                self.op(Op::Reduce { kind, axes: vec![1], keep: bias }, &[x])?
            }
            _ => return self.fast(rule),
        };
        Some(vec![v])
    }

    /// Instances of the rules that round differently.
    fn fast(&mut self, rule: &str) -> Option<Vec<ValueId>> {
        let (k, m, n) = (self.extent(), self.extent(), self.extent());
        let bias = self.choices.once_in(2);
        let x = self.input(DType::F32, &[k]);
        let v = match rule {
            "linear-linear" => {
                let y = self.linear(x, m, bias)?;
                let bias = self.choices.once_in(2);
                self.linear(y, n, bias)?
            }
            "scale-linear" | "bias-linear" => {
                let y = self.linear(x, m, bias)?;
                let c = self.per_output(y, 0)?;
                self.op(if rule.starts_with('s') { Op::Mul } else { Op::Add }, &[y, c])?
            }
            "scale-conv" | "bias-conv" => {
                let y = self.conv(bias)?;
                let c = self.per_output(y, 0)?;
                self.op(if rule.starts_with('s') { Op::Mul } else { Op::Add }, &[y, c])?
            }
            "mul-constants" | "add-constants" => {
                let op = if rule.starts_with('m') { Op::Mul } else { Op::Add };
                let (c, d) = (self.weights(DType::F32, &[]), self.weights(DType::F32, &[k]));
                let y = self.op(op.clone(), &[x, c])?;
                self.op(op, &[y, d])?
            }
            "div-constant" => {
                let c = self.number(DType::F32, 3.0);
                self.op(Op::Div, &[x, c])?
            }
            "distribute" => {
                let [a, b] = [0; 2].map(|_| self.input(DType::F32, &[k]));
                let (p, q) = (self.op(Op::Mul, &[a, x])?, self.op(Op::Mul, &[b, x])?);
                self.op(Op::Add, &[p, q])?
            }
            "mul-add" => {
                let [a, b] = [0; 2].map(|_| self.input(DType::F32, &[k]));
                let p = self.op(Op::Mul, &[a, x])?;
                self.op(Op::Add, &[p, b])?
            }
            "reset-by-product" => {
                let s = self.spikes(&[k]);
                let not = self.op(Op::Not, &[s])?;
                let keep = self.op(Op::Cast { to: DType::F32 }, &[not])?;
                self.op(Op::Mul, &[x, keep])?
            }
            _ => return None,
        };
        Some(vec![v])
    }
}
