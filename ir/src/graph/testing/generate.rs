//! How the choices make a module.
//!
//! An op that turns out not to fit its operands is left out: the builder refuses it without a trace.

use super::{Case, Choices, MAX_ELEMENTS, data};
use crate::graph::{
    ConnId, Connectivity, CumulateKind, DelayLine, Distribution, Graph, GraphBuilder, LineId, Module, Op, OpError,
    PoolKind, Pools, Port, Probe, Real, ReduceKind, Rule, ScatterKind, State, SynapseDelay, SynapseWeight, ValueId,
};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, TensorType};

const EXTENTS: [u64; 10] = [1, 2, 3, 4, 5, 8, 16, 17, 33, 0];

/// Deepest nesting of bodies.
const MAX_BODIES: usize = 2;

struct Gen {
    /// Its graph is the one that is written: the step function, or a body while that is made.
    m: Module,
    c: Choices,
    /// Bodies that are open.
    bodies: usize,
}

pub(super) fn case(choices: Choices) -> Case {
    let mut g = Gen { m: Module { name: "random".into(), ..Module::default() }, c: choices, bodies: 0 };
    g.m.seed = u64::from(g.c.draw());
    g.m.dt = g.c.once_in(2).then_some(Real(1e-3));
    g.interface();
    for _ in 0..2 + g.c.below(14) {
        // What does not fit is left out.
        let _ = g.node();
    }
    g.close();
    let ticks = (0..1 + g.c.below(5))
        .map(|_| {
            let types: Vec<TensorType> = g.m.inputs.iter().map(|p| g.m.graph.ty(p.value).clone()).collect();
            types.iter().map(|ty| data::tensor(&mut g.c, ty)).collect()
        })
        .collect();
    Case { module: g.m, ticks }
}

impl Gen {
    fn b(&mut self) -> GraphBuilder<'_> {
        self.m.builder()
    }

    fn ty(&self, v: ValueId) -> TensorType {
        self.m.graph.ty(v).clone()
    }

    fn dtype(&mut self) -> DType {
        // f32 and bool are what models are made of.
        match self.c.below(20) {
            k @ 0..13 => DType::ALL[k],
            13..18 => DType::F32,
            _ => DType::Bool,
        }
    }

    fn extent(&mut self) -> u64 {
        // An extent of 0 is rare.
        let n = EXTENTS.len() - usize::from(!self.c.once_in(16));
        EXTENTS[self.c.below(n)]
    }

    fn shape(&mut self) -> Vec<u64> {
        let rank = [0, 1, 1, 1, 2, 2, 3][self.c.below(7)];
        let mut shape: Vec<u64> = (0..rank).map(|_| self.extent()).collect();
        while shape.iter().product::<u64>() > 600 {
            shape.pop();
        }
        shape
    }

    fn new_type(&mut self) -> TensorType {
        let dtype = self.dtype();
        TensorType::new(dtype, self.shape())
    }

    fn interface(&mut self) {
        for k in 0..1 + self.c.below(3) {
            let ty = self.new_type();
            let value = self.m.graph.add_param(ty, format!("x{k}"));
            self.m.inputs.push(Port { name: format!("x{k}"), value });
        }
        for k in 0..self.c.below(4) {
            let ty = self.new_type();
            let scalar = self.c.once_in(2);
            let init = data::tensor(&mut self.c, &if scalar { TensorType::scalar(ty.dtype) } else { ty.clone() });
            let init = self.m.add_const("", init);
            let read = self.m.graph.add_param(ty, format!("s{k}"));
            self.m.states.push(State { name: format!("s{k}"), read, next: read, init });
        }
        for k in 0..self.c.below(3) {
            let params = self.m.graph.params.clone();
            let source = params[self.c.below(params.len())];
            let (ty, depth) = (self.ty(source), 1 + self.c.below(4) as u32);
            self.m.lines.push(DelayLine { name: format!("d{k}"), source, ty, depth });
        }
    }

    /// A value that fits, late ones more often.
    fn find(&mut self, fits: impl Fn(&TensorType) -> bool) -> Option<ValueId> {
        let all: Vec<u32> =
            (0..self.m.graph.values.len() as u32).filter(|v| fits(self.m.graph.ty(ValueId(*v)))).collect();
        let (a, b) = (self.c.below(all.len()), self.c.below(all.len()));
        all.get(a.max(b)).map(|v| ValueId(*v))
    }

    fn constant(&mut self, ty: &TensorType) -> Result<ValueId, OpError> {
        let t = data::tensor(&mut self.c, ty);
        self.given(t)
    }

    fn given(&mut self, t: Tensor) -> Result<ValueId, OpError> {
        let id = self.m.add_const("", t);
        self.b().constant(id)
    }

    /// A value of this type: one that is there, or a new constant.
    fn of_type(&mut self, ty: &TensorType) -> Result<ValueId, OpError> {
        match self.find(|t| t == ty) {
            Some(v) if !self.c.once_in(4) => Ok(v),
            _ => self.constant(ty),
        }
    }

    /// A second operand for an element-wise op: of the same shape, or a scalar.
    fn beside(&mut self, x: ValueId) -> Result<ValueId, OpError> {
        let ty = self.ty(x);
        let scalar = self.c.once_in(3);
        self.of_type(&if scalar { TensorType::scalar(ty.dtype) } else { ty })
    }

    fn node(&mut self) -> Result<(), OpError> {
        match self.c.below(16) {
            0..5 => self.elementwise(),
            5..8 => self.movement(),
            8 => self.linear(),
            9 => self.conv_or_pool(),
            10 => self.reduction(),
            // Synapses stand in the step function only.
            11..13 if self.bodies == 0 => self.projection(),
            11 => self.elementwise(),
            12 => self.reduction(),
            13 if self.bodies < MAX_BODIES => self.control(),
            14 if self.bodies == 0 => self.plastic(),
            _ => self.source(),
        }
    }

    fn elementwise(&mut self) -> Result<(), OpError> {
        let Some(x) = self.find(|_| true) else { return Ok(()) };
        let dtype = self.ty(x).dtype;
        let op = self.scalar_op(dtype);
        let n = op.info().operands.len();
        let mut args = vec![x];
        while args.len() < n {
            let v = self.beside(x)?;
            args.push(v);
        }
        if op == Op::Select {
            let condition = self.ty(x).with_dtype(DType::Bool);
            args[0] = self.of_type(&condition)?;
            args[1] = x;
        }
        self.b().push(op, args, Vec::new()).map(|_| ())
    }

    /// An op that takes operands of this type.
    fn scalar_op(&mut self, dtype: DType) -> Op {
        let numbers = [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Rem, Op::Min, Op::Max, Op::Neg, Op::Abs];
        let compare = [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge];
        let floats = [
            Op::Fma,
            Op::Pow,
            Op::Sqrt,
            Op::Exp,
            Op::Log,
            Op::Tanh,
            Op::Sigmoid,
            Op::Erf,
            Op::Sin,
            Op::Cos,
            Op::Expm1,
            Op::Log1p,
            Op::Tan,
            Op::Asin,
            Op::Acos,
            Op::Atan,
            Op::Floor,
            Op::Ceil,
            Op::Round,
            Op::Trunc,
        ];
        let logic = [Op::And, Op::Or, Op::Xor, Op::Not];
        let shifts = [Op::Shl, Op::Shr];
        let pick = |c: &mut Choices, set: &[Op]| set[c.below(set.len())].clone();
        match self.c.below(8) {
            0 if dtype.is_int() && self.c.once_in(4) => {
                let same = DType::ALL.into_iter().filter(|to| to.size() == dtype.size());
                let same: Vec<DType> = same.filter(|to| to.is_int() || dtype.size() >= 4).collect();
                return Op::Bitcast { to: same[self.c.below(same.len())] };
            }
            0 => return Op::Cast { to: self.dtype() },
            1 => return Op::Select,
            2 if dtype == DType::Bool => return pick(&mut self.c, &compare[..2]),
            2 => return pick(&mut self.c, &compare),
            3 if dtype == DType::I64 => {
                let law = [Distribution::Uniform, Distribution::Normal][self.c.below(2)];
                return Op::Random { law, stream: u64::from(self.c.draw()) << 33 };
            }
            _ => {}
        }
        match (dtype.is_float(), dtype.is_int(), self.c.below(2)) {
            (true, _, 0) => pick(&mut self.c, &floats),
            (_, true, 0) if self.c.once_in(2) => pick(&mut self.c, &shifts),
            (_, true, 0) | (false, false, _) => pick(&mut self.c, &logic),
            _ => pick(&mut self.c, &numbers),
        }
    }

    fn movement(&mut self) -> Result<(), OpError> {
        let small = |t: &TensorType| t.elements().is_some_and(|n| n <= 300);
        let Some(x) = self.find(small) else { return Ok(()) };
        let ty = self.ty(x);
        let shape = ty.extents().unwrap_or_default();
        let rank = shape.len();
        let axis = self.c.below(rank);
        match self.c.below(7) {
            0 => {
                let mut to: Vec<u64> =
                    shape.iter().map(|n| if *n == 1 && self.c.once_in(2) { 4 } else { *n }).collect();
                if self.c.once_in(2) && rank < 4 {
                    to.insert(0, 1 + self.c.below(3) as u64);
                }
                if to.iter().product::<u64>() <= MAX_ELEMENTS {
                    self.b().broadcast(x, to)?;
                }
            }
            1 => {
                let n: u64 = shape.iter().product();
                let d = 1 + self.c.below(4) as u64;
                let to = if n.is_multiple_of(d) && self.c.once_in(2) { vec![d, n / d] } else { vec![n] };
                self.b().reshape(x, to)?;
            }
            2 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                for k in (1..rank).rev() {
                    perm.swap(k, self.c.below(k + 1));
                }
                self.b().transpose(x, perm)?;
            }
            3 => {
                let start: Vec<u64> = shape.iter().map(|n| self.c.below(*n as usize) as u64).collect();
                let stop: Vec<u64> =
                    shape.iter().zip(&start).map(|(n, s)| s + self.c.below((n - s) as usize + 1) as u64).collect();
                let step: Vec<u64> = shape.iter().map(|_| 1 + self.c.below(3) as u64).collect();
                self.b().slice(x, start, stop, step)?;
            }
            4 => {
                let y = self.of_type(&ty)?;
                let n = 1 + self.c.below(3);
                self.b().concat(&[x, y, x][..n], axis)?;
            }
            5 => {
                let mut list = |below: usize| -> Vec<u64> { (0..rank).map(|_| self.c.below(below) as u64).collect() };
                let (low, high, interior) = (list(3), list(3), list(3));
                let grown = (0..rank).map(|a| shape[a] * (1 + interior[a]) + low[a] + high[a]);
                if grown.product::<u64>() > MAX_ELEMENTS {
                    return Ok(());
                }
                let value = self.of_type(&TensorType::scalar(ty.dtype))?;
                self.b().pad(x, value, low, high, interior)?;
            }
            _ => {
                let dtype = [DType::I64, DType::I32, DType::U8, DType::I8, DType::U32, DType::U16][self.c.below(6)];
                let n = 1 + self.c.below(5) as u64;
                let index = TensorType::new(dtype, if self.c.once_in(2) { vec![n] } else { vec![] });
                let index = self.of_type(&index)?;
                self.b().gather(x, index, axis)?;
            }
        }
        Ok(())
    }

    fn source(&mut self) -> Result<(), OpError> {
        let n = if self.bodies == 0 { self.m.lines.len() } else { 0 };
        match self.c.below(4) {
            0 => self.b().tick().map(|_| ()),
            1 => {
                let len = self.extent();
                self.b().iota(len).map(|_| ())
            }
            2 => {
                let ty = self.new_type();
                self.constant(&ty).map(|_| ())
            }
            _ if n > 0 => {
                let k = self.c.below(n);
                let ticks = 1 + self.c.below(self.m.lines[k].depth as usize) as u32;
                self.b().delayed(LineId(k as u32), ticks).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    fn linear(&mut self) -> Result<(), OpError> {
        let number = |t: &TensorType| t.dtype != DType::Bool && t.rank() > 0 && t.elements().is_some_and(|n| n <= 200);
        // Spikes that become numbers are what event-driven products are made for.
        let spikes = match self.c.once_in(2) {
            true => self.find(|t| t.dtype == DType::Bool && t.rank() > 0 && t.elements().is_some_and(|n| n <= 200)),
            false => None,
        };
        let x = match spikes {
            Some(s) => self.b().cast(s, DType::F32)?,
            None => match self.find(number) {
                Some(x) => x,
                None => return Ok(()),
            },
        };
        let ty = self.ty(x);
        let shape = ty.extents().unwrap_or_default();
        let k = shape[shape.len() - 1];
        let m = 1 + self.c.below(9) as u64;
        if shape.len() >= 2 && self.c.once_in(3) {
            let lead = if self.c.once_in(2) { vec![2] } else { vec![] };
            let b = self.constant(&TensorType::new(ty.dtype, [lead, vec![k, m]].concat()))?;
            return self.b().matmul(x, b).map(|_| ());
        }
        let w = self.constant(&TensorType::new(ty.dtype, [m, k]))?;
        let bias = match self.c.once_in(2) {
            true => Some(self.of_type(&TensorType::new(ty.dtype, [m]))?),
            false => None,
        };
        self.b().linear(x, w, bias).map(|_| ())
    }

    fn conv_or_pool(&mut self) -> Result<(), OpError> {
        let fits = |t: &TensorType| {
            t.dtype != DType::Bool && (1..6).contains(&t.rank()) && t.elements().is_some_and(|n| n <= 300)
        };
        let Some(mut x) = self.find(fits) else { return Ok(()) };
        if self.ty(x).rank() < 4 && self.c.once_in(2) {
            // More axes than values commonly have: images, channels, up to three spatial axes.
            let shape = self.ty(x).extents().unwrap_or_default();
            let n: u64 = shape.iter().product();
            let to = [vec![1, 1, 1, n], vec![n, 1, 1], vec![1, 1, n], vec![2, 1, n / 2], vec![1, 2, 2, n / 4, 1]];
            let to = to[self.c.below(to.len())].clone();
            x = if to.iter().product::<u64>() == n { self.b().reshape(x, to)? } else { x };
        }
        let ty = self.ty(x);
        let shape = ty.extents().unwrap_or_default();
        let is_pool = self.c.once_in(2);
        let lead = self.c.below(2).min(shape.len().saturating_sub(if is_pool { 1 } else { 2 }));
        let spatial = (shape.len() - lead).saturating_sub(usize::from(!is_pool));
        if spatial == 0 {
            return Ok(());
        }
        let channels = shape[lead];
        let mut list = |least: usize, below: usize, n: usize| -> Vec<u64> {
            (0..n).map(|_| (least + self.c.below(below)) as u64).collect()
        };
        let (size, stride) = (list(1, 3, spatial), list(1, 3, spatial));
        let (pad, dilation) = (list(0, 3, 2 * spatial), list(1, 2, spatial));
        let grown: u64 = (0..spatial)
            .map(|a| (shape[shape.len() - spatial + a] + pad[a] + pad[spatial + a]) / stride[a] + 1)
            .product();
        let planes: u64 = shape[..shape.len() - spatial].iter().product();
        if is_pool {
            if planes * grown > MAX_ELEMENTS {
                return Ok(());
            }
            let kind = PoolKind::ALL[self.c.below(PoolKind::ALL.len())];
            return self.b().pool(x, kind, size, stride, pad, dilation).map(|_| ());
        }
        let groups = if self.c.once_in(3) { channels.max(1) } else { 1 };
        let cout = groups * [1, 2, 3, 5, 8, 11][self.c.below(6)];
        if cout > 40 || shape[..lead].iter().product::<u64>() * cout * grown > MAX_ELEMENTS {
            return Ok(());
        }
        // Weights are known, or come from anywhere.
        let w = TensorType::new(ty.dtype, [vec![cout, channels / groups], size].concat());
        if w.elements().is_none_or(|n| n > MAX_ELEMENTS) {
            return Ok(());
        }
        let w = if self.c.once_in(4) { self.of_type(&w)? } else { self.constant(&w)? };
        let bias = match self.c.once_in(2) {
            true => Some(self.of_type(&TensorType::new(ty.dtype, [cout]))?),
            false => None,
        };
        self.b().conv(x, w, bias, stride, pad, dilation, groups).map(|_| ())
    }

    fn reduction(&mut self) -> Result<(), OpError> {
        let Some(x) = self.find(|t| t.rank() > 0) else { return Ok(()) };
        if self.c.once_in(3) {
            return self.sequential(x);
        }
        let (rank, dtype) = (self.ty(x).rank(), self.ty(x).dtype);
        let keep = self.c.once_in(2);
        if self.c.once_in(4) {
            let (axis, last) = (self.c.below(rank), self.c.once_in(2));
            let smallest = self.c.once_in(2);
            let b = &mut self.b();
            return if smallest { b.argmin(x, axis, keep, last) } else { b.argmax(x, axis, keep, last) }.map(|_| ());
        }
        let axes: Vec<usize> = (0..rank).filter(|_| !self.c.once_in(3)).collect();
        let kinds: &[ReduceKind] =
            if dtype == DType::Bool { &[ReduceKind::Max, ReduceKind::Min] } else { ReduceKind::ALL };
        let kind = kinds[self.c.below(kinds.len())];
        self.b().reduce(x, kind, axes, keep).map(|_| ())
    }

    fn sequential(&mut self, x: ValueId) -> Result<(), OpError> {
        let (axis, dtype) = (self.c.below(self.ty(x).rank()), self.ty(x).dtype);
        let (one, other) = (self.c.once_in(2), self.c.once_in(2));
        match self.c.below(3) {
            0 => self.b().argsort(x, axis, one).map(|_| ()),
            1 => {
                let kind = CumulateKind::ALL[self.c.below(CumulateKind::ALL.len())];
                self.b().cumulate(x, kind, axis, one, other).map(|_| ())
            }
            _ => {
                let shape = vec![1 + self.c.below(9) as u64];
                let index = self.of_type(&TensorType::new(DType::I64, shape.clone()))?;
                let updates = self.of_type(&TensorType::new(dtype, shape))?;
                let kinds = if dtype == DType::Bool { &[ScatterKind::Set][..] } else { ScatterKind::ALL };
                let kind = kinds[self.c.below(kinds.len())];
                self.b().scatter(x, index, updates, kind).map(|_| ())
            }
        }
    }

    /// A region that computes something of each result type from its parameters.
    fn region(&mut self, params: &[TensorType], results: &[TensorType], size: usize) -> Result<Graph, OpError> {
        let mut g = Graph::default();
        for ty in params {
            g.add_param(ty.clone(), "");
        }
        for _ in 0..size {
            let n = g.values.len();
            if n == 0 {
                break;
            }
            let x = ValueId(self.c.below(n) as u32);
            let ty = g.ty(x).clone();
            let op = self.scalar_op(ty.dtype);
            let alike: Vec<ValueId> = (0..n as u32).map(ValueId).filter(|v| *g.ty(*v) == ty).collect();
            let mut args = vec![x];
            while args.len() < op.info().operands.len() {
                args.push(alike[self.c.below(alike.len())]);
            }
            if op == Op::Select {
                match (0..n as u32).map(ValueId).find(|v| *g.ty(*v) == ty.with_dtype(DType::Bool)) {
                    Some(c) => args[0] = c,
                    None => continue,
                }
            }
            let _ = GraphBuilder::new(&mut g, self.m.pools()).push(op, args, Vec::new());
        }
        for ty in results {
            let found = (0..g.values.len() as u32).map(ValueId).rev().find(|v| g.ty(*v) == ty);
            let value = match found {
                Some(v) => v,
                None => {
                    let t = data::tensor(&mut self.c, ty);
                    let id = self.m.add_const("", t);
                    GraphBuilder::new(&mut g, self.m.pools()).constant(id)?
                }
            };
            g.results.push(value);
        }
        Ok(g)
    }

    /// Synapses from `pre` to `post` elements with delays of at most `depth` and at least `least`.
    fn connectivity(&mut self, pre: u64, post: u64, least: u32, depth: u32) -> ConnId {
        let part = |c: &mut Choices, n: u64| match c.once_in(3) {
            true => c.below(n as usize) as u64..n,
            false => 0..n,
        };
        let (pres, posts) = (part(&mut self.c, pre), part(&mut self.c, post));
        let (m, n) = (pres.end - pres.start, posts.end - posts.start);
        let stream = (u64::from(self.c.draw()) << 32) | u64::from(self.c.draw());
        let rule = match self.c.below(7) {
            0 => Rule::All,
            1 if m == n => Rule::OneToOne,
            2 => Rule::FixedIn { k: m.min(2), stream },
            3 => Rule::FixedOut { k: n.min(3), stream },
            4 => Rule::Predicate(self.row_region(|b, p| b.gt(p[1], p[0]))),
            5 => self.table(pres.clone(), posts.clone()),
            _ => Rule::Random { p: Real([0.1, 0.5, 1.0, 0.0][self.c.below(4)]), stream },
        };
        let per_pair = matches!(rule, Rule::All).then_some(m * n);
        let weight = match (self.c.below(4), per_pair) {
            (0, Some(count)) => SynapseWeight::PerSynapse(self.weights(&[count])),
            (1, _) => SynapseWeight::Matrix { data: self.weights(&[m, n]), pre_major: true },
            (2, _) => {
                SynapseWeight::Region(self.row_region(|b, p| b.random(p[0], p[1], Distribution::Uniform, stream ^ 1)))
            }
            _ => SynapseWeight::Scalar(self.weights(&[])),
        };
        let span = depth - least + 1;
        let delay = match (self.c.below(3), per_pair) {
            (0, Some(count)) => {
                let all: Vec<i64> = (0..count).map(|_| i64::from(least + self.c.draw() % span)).collect();
                let data = Tensor::from_vec(vec![all.len()], all).unwrap_or_else(|| Tensor::scalar_i64(0));
                SynapseDelay::PerSynapse(self.m.add_const("", data))
            }
            // The bound of a region says nothing about its least value: only where delay 0 is served.
            (1, _) if least == 0 => {
                let bound = self.m.add_const("", Tensor::scalar_i64(i64::from(span)));
                let body = self.row_region(|b, p| {
                    let k = b.constant(bound)?;
                    let sum = b.add(p[0], p[1])?;
                    b.rem(sum, k)
                });
                SynapseDelay::Region { body, max: depth }
            }
            _ => SynapseDelay::Ticks(least + self.c.draw() % span),
        };
        let name = format!("k{}", self.m.conns.len());
        self.m.conns.push(Connectivity {
            name,
            pre_len: pre,
            post_len: post,
            pre: pres,
            post: posts,
            rule,
            weight,
            delay,
        });
        ConnId(self.m.conns.len() as u32 - 1)
    }

    fn row_region(&self, build: impl FnOnce(&mut GraphBuilder<'_>, [ValueId; 2]) -> Result<ValueId, OpError>) -> Graph {
        let mut g = Graph::default();
        let i = g.add_param(TensorType::scalar(DType::I64), "i");
        let j = g.add_param(TensorType { dtype: DType::I64, shape: vec![Dim::Sym("n".into())] }, "j");
        let Pools { consts, .. } = self.m.pools();
        let result = build(&mut GraphBuilder::new(&mut g, Pools { consts, lines: &[], conns: &[] }), [i, j]);
        g.results = result.into_iter().collect();
        g
    }

    fn table(&mut self, pre: std::ops::Range<u64>, post: std::ops::Range<u64>) -> Rule {
        let count = if pre.is_empty() || post.is_empty() { 0 } else { self.c.below(20) };
        let mut pairs: Vec<(i64, i64)> = (0..count)
            .map(|_| {
                let i = pre.start + u64::from(self.c.draw()) % (pre.end - pre.start);
                let j = post.start + u64::from(self.c.draw()) % (post.end - post.start);
                (i as i64, j as i64)
            })
            .collect();
        pairs.sort_unstable();
        let (is, js): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
        let list = |v: Vec<i64>| Tensor::from_vec(vec![v.len()], v).unwrap_or_else(|| Tensor::scalar_i64(0));
        Rule::Table { pre: self.m.add_const("", list(is)), post: self.m.add_const("", list(js)) }
    }

    /// Weights are numbers: NaN is refused when synapses are made.
    fn weights(&mut self, shape: &[u64]) -> crate::graph::ConstId {
        let ty = TensorType::new(DType::F32, shape.iter().copied());
        let t = data::tensor(&mut self.c, &ty);
        let all: Vec<f32> = t.as_slice::<f32>().iter().map(|w| if w.is_nan() { 0.25 } else { *w }).collect();
        let t = Tensor::from_vec(t.shape().to_vec(), all).unwrap_or(t);
        self.m.add_const("", t)
    }

    /// Spikes, their delay line if there is one, and how far back it goes.
    fn spikes(&mut self) -> Option<(ValueId, Option<LineId>, u32)> {
        let line = (0..self.m.lines.len()).find(|k| self.m.lines[*k].ty.dtype == DType::Bool);
        match line {
            Some(k) if !self.c.once_in(4) => {
                let ty = self.m.lines[k].ty.clone();
                let now = self.find(|t| *t == ty)?;
                Some((now, Some(LineId(k as u32)), self.m.lines[k].depth))
            }
            _ => Some((self.find(|t| t.dtype == DType::Bool && t.elements().is_some_and(|n| n <= 64))?, None, 0)),
        }
    }

    /// One or two per-target values and some values that are only read.
    fn targets(&mut self) -> Option<(u64, Vec<ValueId>, Vec<ValueId>)> {
        let first = self.find(|t| t.elements().is_some_and(|n| n <= 64))?;
        let post = self.ty(first).elements()?;
        let mut states = vec![first];
        if self.c.once_in(2) {
            states.extend(self.find(|t| t.elements() == Some(post)));
        }
        let mut reads = Vec::new();
        for _ in 0..self.c.below(3) {
            reads.extend(self.find(|t| t.rank() == 0 || t.elements() == Some(post)));
        }
        Some((post, states, reads))
    }

    fn scalars(&self, values: &[ValueId]) -> Vec<TensorType> {
        values.iter().map(|v| TensorType::scalar(self.ty(*v).dtype)).collect()
    }

    fn projection(&mut self) -> Result<(), OpError> {
        let (Some((spikes, line, depth)), Some((post, states, reads))) = (self.spikes(), self.targets()) else {
            return Ok(());
        };
        let pre = self.ty(spikes).elements().unwrap_or(0);
        let only_past = line.is_some() && self.c.once_in(3);
        let conn = self.connectivity(pre, post, u32::from(only_past), depth);
        let now: &[ValueId] = if only_past { &[] } else { &[spikes] };
        let mut params = vec![TensorType::scalar(DType::F32)];
        params.extend(self.scalars(&states));
        let results = params[1..].to_vec();
        params.extend(self.scalars(&reads));
        let size = 1 + self.c.below(4);
        let deliver = self.region(&params, &results, size)?;
        let (now_count, state_count) = (now.len(), states.len());
        self.b().project(now, &states, &reads, conn, line, now_count, state_count, deliver).map(|_| ())
    }

    fn plastic(&mut self) -> Result<(), OpError> {
        let (Some((spikes, line, depth)), Some((post, states, reads))) = (self.spikes(), self.targets()) else {
            return Ok(());
        };
        let pre = self.ty(spikes).elements().unwrap_or(0);
        let conn = self.connectivity(pre, post, 0, depth);
        // Synapse values need the number of synapses, which is known without drawing for a full rule only.
        self.m.conns[conn.index()].rule = Rule::All;
        let c = &self.m.conns[conn.index()];
        let count = (c.pre.end - c.pre.start) * (c.post.end - c.post.start);
        if count > 600 || matches!(c.weight, SynapseWeight::PerSynapse(_)) {
            return Ok(());
        }
        let dtype = self.dtype();
        let value = TensorType::new(dtype, [count]);
        let last = self.given(Tensor::zeros(DType::I64, vec![count as usize]))?;
        let synapses = [self.of_type(&value)?, last];
        let (int, own) = (TensorType::scalar(DType::I64), TensorType::scalar(dtype));
        let payload = TensorType::scalar(DType::F32);
        let pre_region = self.region(&[int.clone(), own.clone()], &[payload.clone(), own.clone()], 3)?;
        let mut params = vec![payload];
        params.extend(self.scalars(&states));
        let results = params[1..].to_vec();
        params.extend(self.scalars(&reads));
        let deliver = self.region(&params, &results, 2)?;
        let n = states.len();
        let out =
            self.b().plastic_pre(&[spikes], &states, &reads, &synapses, conn, line, 1, n, 2, pre_region, deliver)?;
        let fired = self.of_type(&TensorType::new(DType::Bool, [post]))?;
        let region = self.region(&[int, own.clone()], &[own], 2)?;
        self.b().plastic_post(fired, &out[n..], conn, region).map(|_| ())
    }

    /// A body over these parameters, of everything that the step function can hold but synapses and delay lines.
    fn body(
        &mut self,
        params: &[TensorType],
        results: impl FnOnce(&mut Gen) -> Result<Vec<ValueId>, OpError>,
    ) -> Result<Graph, OpError> {
        let outer = std::mem::take(&mut self.m.graph);
        self.bodies += 1;
        for ty in params {
            self.m.graph.add_param(ty.clone(), "");
        }
        for _ in 0..self.c.below(6) {
            // What does not fit is left out.
            let _ = self.node();
        }
        let results = results(self);
        self.bodies -= 1;
        let mut body = std::mem::replace(&mut self.m.graph, outer);
        body.results = results?;
        Ok(body)
    }

    /// Up to so many values, any.
    fn some(&mut self, most: usize) -> Vec<ValueId> {
        (0..self.c.below(most + 1)).filter_map(|_| self.find(|_| true)).collect()
    }

    fn types(&self, values: &[ValueId]) -> Vec<TensorType> {
        values.iter().map(|v| self.ty(*v)).collect()
    }

    /// A value of each type.
    fn of_types(&mut self, types: &[TensorType]) -> Result<Vec<ValueId>, OpError> {
        types.iter().map(|ty| self.of_type(ty)).collect()
    }

    fn control(&mut self) -> Result<(), OpError> {
        match self.c.below(3) {
            0 => self.cond(),
            1 => self.scan(),
            _ => self.repeat(),
        }
    }

    fn cond(&mut self) -> Result<(), OpError> {
        let c = self.of_type(&TensorType::scalar(DType::Bool))?;
        let inputs = self.some(4);
        let params = self.types(&inputs);
        let then_body = self.body(&params, |g| Ok(g.some(3)))?;
        let results: Vec<TensorType> = then_body.results.iter().map(|v| then_body.ty(*v).clone()).collect();
        let else_body = self.body(&params, |g| g.of_types(&results))?;
        self.b().cond(c, &inputs, then_body, else_body).map(|_| ())
    }

    fn scan(&mut self) -> Result<(), OpError> {
        let most = if self.bodies == 0 { 33 } else { 5 };
        let small = |t: &TensorType| t.elements().is_some_and(|n| n <= 300);
        let fits = |t: &TensorType| t.rank() > 0 && small(t) && t.extents().is_some_and(|e| e[0] <= most);
        let Some(first) = self.find(fits) else { return Ok(()) };
        let length = self.ty(first).extents().map_or(0, |e| e[0]);
        let mut scanned = vec![first];
        if self.c.once_in(2) {
            scanned.extend(self.find(|t| fits(t) && t.extents().is_some_and(|e| e[0] == length)));
        }
        let (carried, captured) = (self.some(2), self.some(3));
        let carries = self.types(&carried);
        let mut params = carries.clone();
        params.extend(scanned.iter().map(|v| {
            let ty = self.ty(*v);
            TensorType { dtype: ty.dtype, shape: ty.shape[1..].to_vec() }
        }));
        params.extend(self.types(&captured));
        let body = self.body(&params, |g| {
            let mut results = g.of_types(&carries)?;
            for _ in 0..g.c.below(3) {
                let small = |t: &TensorType| t.elements().is_some_and(|n| n * length <= MAX_ELEMENTS);
                results.extend(g.find(small));
            }
            Ok(results)
        })?;
        let reverse = self.c.once_in(2);
        let (carried_count, scanned_count) = (carried.len(), scanned.len());
        self.b().scan(&carried, &scanned, &captured, carried_count, scanned_count, reverse, body).map(|_| ())
    }

    fn repeat(&mut self) -> Result<(), OpError> {
        let int = TensorType::scalar(DType::I64);
        let trips = if self.c.once_in(2) {
            // A number that is computed, from -3 to 3.
            let (x, four) = (self.of_type(&int)?, self.given(Tensor::scalar_i64(4))?);
            self.b().rem(x, four)?
        } else {
            let trips = self.c.below(5) as i64 - 1;
            self.given(Tensor::scalar_i64(trips))?
        };
        let bool = TensorType::scalar(DType::Bool);
        let condition = if self.c.once_in(2) { self.of_type(&bool)? } else { self.truth()? };
        let (carried, captured) = (self.some(2), self.some(3));
        let carries = self.types(&carried);
        let params = [vec![int], carries.clone(), self.types(&captured)].concat();
        let body = self.body(&params, |g| {
            let goes_on = if g.c.once_in(2) { g.of_type(&bool)? } else { g.truth()? };
            Ok([vec![goes_on], g.of_types(&carries)?].concat())
        })?;
        let carried_count = carried.len();
        self.b().repeat(trips, condition, &carried, &captured, carried_count, body).map(|_| ())
    }

    fn truth(&mut self) -> Result<ValueId, OpError> {
        self.given(Tensor::from_bools(vec![], &[true]).unwrap_or_else(|| Tensor::zeros(DType::Bool, Vec::new())))
    }

    fn close(&mut self) {
        for k in 0..self.m.states.len() {
            let ty = self.ty(self.m.states[k].read);
            if let Some(v) = self.find(|t| *t == ty) {
                self.m.states[k].next = v;
            }
        }
        for k in 0..self.m.lines.len() {
            let ty = self.m.lines[k].ty.clone();
            if let Some(v) = self.find(|t| *t == ty) {
                self.m.lines[k].source = v;
            }
        }
        for k in 0..1 + self.c.below(4) {
            if let Some(value) = self.find(|_| true) {
                self.m.outputs.push(Port { name: format!("y{k}"), value });
            }
        }
        if self.c.once_in(2)
            && let Some(value) = self.find(|_| true)
        {
            let every = 1 + self.c.below(3) as u64;
            self.m.probes.push(Probe { name: "p".into(), value, every });
        }
        let large = |n: &&crate::graph::Node| {
            n.results.iter().any(|v| self.m.graph.ty(*v).elements().is_none_or(|n| n > MAX_ELEMENTS))
        };
        let large = self.m.graph.nodes.iter().find(large);
        debug_assert!(large.is_none(), "{large:?}");
    }
}
