//! ODEs become discrete updates: every `integrate` of the step function is replaced by plain arithmetic, and the choice
//! of solver is recorded in [`Module::choices`].
//!
//! With h the step and all right-hand sides taken at the old state:
//!
//! | method | update |
//! |---|---|
//! | exact | `x' = A x + b`: `x+ = P x + Q b`, `P = exp(A h)`, `Q` its integral over the step ([`expm`]); a chain of fused multiply-adds from the constant part, in the order of the states, then of the inputs |
//! | exp_euler | each `x' = a x + b` with a, b at the old state: `x+ = fma(e, x, b * phi)`, `e = exp(a h)`, `phi = (e - 1) / a`, or h where a is 0 (Hochbruck and Ostermann, "Exponential integrators", 2010) |
//! | euler | `x+ = fma(h, f(x), x)`, `substeps` times with h / substeps |
//! | rk4 | the classical Runge-Kutta step, `substeps` times with h / substeps |

mod affine;
pub mod expm;

use crate::Errors;
use crate::rebuild::{Rebuild, constants_of, count};
use affine::{Affine, Dependence, Num, Rest};
use nc_ir::graph::{Choice, Graph, Method, Module, Node, Op, OpError, ValueId};
use nc_ir::types::TensorType;
use nc_ir::{Diagnostic, Tensor};

/// Replaces every `integrate` of the step function.
///
/// # Errors
/// `E0701`: a system that the solver asked for cannot take.
pub fn run(module: &mut Module) -> Result<(), Errors> {
    if !module.graph.nodes.iter().any(|n| matches!(n.op, Op::Integrate { .. })) {
        return Ok(());
    }
    let known: Vec<Option<Tensor>> =
        constants_of(&module.graph, &module.consts).into_iter().map(|t| t.cloned()).collect();
    let carries = carriers(module);
    let mut rb = Rebuild::new(std::mem::take(module));
    let mut errors = Errors::new();
    for node in std::mem::take(&mut rb.old.nodes) {
        if let Op::Integrate { method, dt, substeps, state_count } = node.op {
            let system = System {
                node: &node,
                known: &known,
                carries: &carries,
                h: dt.0,
                substeps: substeps.max(1),
                states: state_count,
            };
            match system.solve(&mut rb, method) {
                Ok(next) => {
                    for (old, new) in node.results.iter().zip(next) {
                        rb.replace(*old, new);
                    }
                }
                Err(e) => {
                    errors.push(e);
                    rb.copy(&node);
                }
            }
        } else {
            rb.copy(&node);
        }
    }
    *module = rb.finish();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

struct System<'a> {
    node: &'a Node,
    /// Constants by value of the old graph.
    known: &'a [Option<Tensor>],
    /// As [`carriers`] gives them.
    carries: &'a [ValueId],
    h: f64,
    substeps: u32,
    states: usize,
}

fn bug(e: OpError) -> Diagnostic {
    Diagnostic::error_nowhere("E0799", format!("the solver wrote an ill-typed op: {e}"))
        .with_hint("this is a bug of nc: please report the model")
}

/// For each value the one that it continues: a state to which events were delivered is still that state.
fn carriers(module: &Module) -> Vec<ValueId> {
    let mut carries: Vec<ValueId> = (0..module.graph.values.len()).map(|k| ValueId(k as u32)).collect();
    for node in &module.graph.nodes {
        if let Op::Project { now_count, state_count, .. } | Op::PlasticPre { now_count, state_count, .. } = node.op {
            for (result, operand) in node.results.iter().zip(&node.args[now_count..now_count + state_count]) {
                carries[result.index()] = carries[operand.index()];
            }
        }
    }
    carries
}

impl System<'_> {
    fn region(&self) -> &Graph {
        &self.node.regions[0]
    }

    /// What the system is called in messages: the common prefix of its states, or their names.
    fn subject(&self, rb: &Rebuild) -> String {
        let state = |v: &ValueId| rb.old.name_of(self.carries[v.index()]);
        let names: Vec<String> = self.node.args[..self.states].iter().map(state).collect();
        match names.first().and_then(|n| n.rsplit_once('.')) {
            Some((population, _)) if names.iter().all(|n| n.starts_with(&format!("{population}."))) => {
                population.to_string()
            }
            _ => names.join(", "),
        }
    }

    fn solve(&self, rb: &mut Rebuild, method: Method) -> Result<Vec<ValueId>, Diagnostic> {
        let subject = self.subject(rb);
        let args = rb.values(&self.node.args);
        let (states, reads) = args.split_at(self.states);
        let ty = rb.module.graph.ty(states[0]).clone();
        let conditionally = (0..self.states).all(|k| affine::dependence(self.region(), k)[k] != Dependence::Other);
        let affine = |rb: &mut Rebuild| -> Result<Option<Vec<Affine>>, Diagnostic> {
            let old_reads = &self.node.args[self.states..];
            let known = |new: ValueId| {
                let at = reads.iter().position(|r| *r == new)?;
                self.known[old_reads[at].index()].clone()
            };
            affine::read(rb, self.region(), &known, self.states, reads, &ty).map_err(bug)
        };
        let (chosen, next) = match method {
            Method::Exact | Method::Auto => match affine(rb)? {
                Some(system) => {
                    ("exact (matrix exponential; the system is linear)", self.exact(rb, &system, states, &ty))
                }
                None if method == Method::Exact => {
                    return Err(Diagnostic::error_nowhere(
                        "E0701",
                        format!("`solve exact` needs a linear system with constant coefficients, and that of {subject} is not"),
                    )
                    .with_hint("use `solve auto`, `solve exp_euler` or `solve rk4`"));
                }
                None if conditionally => {
                    ("exp_euler (each equation is linear in its own variable)", self.exp_euler(rb, states, reads, &ty))
                }
                None => ("rk4 (the system is not linear)", self.rk4(rb, states, reads, &ty)),
            },
            Method::ExpEuler if conditionally => ("exp_euler", self.exp_euler(rb, states, reads, &ty)),
            Method::ExpEuler => {
                return Err(Diagnostic::error_nowhere(
                    "E0701",
                    format!(
                        "`solve exp_euler` needs each equation to be linear in its own variable, and those of {subject} are not"
                    ),
                )
                .with_hint("use `solve rk4` or `solve euler`"));
            }
            Method::Euler => ("euler", self.euler(rb, states, reads, &ty)),
            Method::Rk4 => ("rk4", self.rk4(rb, states, reads, &ty)),
        };
        rb.module.choices.push(Choice { subject: format!("{subject}: solver"), text: chosen.to_string() });
        next.map_err(bug)
    }

    fn exact(
        &self,
        rb: &mut Rebuild,
        system: &[Affine],
        states: &[ValueId],
        ty: &TensorType,
    ) -> Result<Vec<ValueId>, OpError> {
        let n = self.states;
        let each = system.iter().flat_map(|a| &a.coef).flatten().any(|c| c.len().is_some());
        let elements = if each { count(ty) as usize } else { 1 };
        let mut p = vec![Vec::with_capacity(elements); n * n];
        let mut q = vec![Vec::with_capacity(elements); n * n];
        for e in 0..elements {
            let a: Vec<f64> =
                system.iter().flat_map(|x| &x.coef).map(|c| c.as_ref().map_or(0.0, |c| c.at(e))).collect();
            let (pe, qe) = expm::exp_and_integral(&a, n, self.h);
            for (to, x) in p.iter_mut().zip(pe).chain(q.iter_mut().zip(qe)) {
                to.push(x);
            }
        }
        let num = |v: &Vec<f64>| if each { Num::Each(v.clone().into()) } else { Num::One(v[0]) };
        let mut next = Vec::with_capacity(n);
        for k in 0..n {
            let mut constant = Num::One(0.0);
            for (j, a) in system.iter().enumerate() {
                if let Some(Rest::Known(b)) = &a.rest {
                    constant = constant.zip(&num(&q[k * n + j]).zip(b, |q, b| q * b), |x, y| x + y);
                }
            }
            let mut acc = if constant.is_zero() { None } else { Some(affine::number(rb, &constant, ty)?) };
            let known = (0..n).map(|j| (num(&p[k * n + j]), states[j]));
            let inputs = (0..n).filter_map(|j| match &system[j].rest {
                Some(Rest::Value(b)) => Some((num(&q[k * n + j]), *b)),
                _ => None,
            });
            for (factor, x) in known.chain(inputs.collect::<Vec<_>>()) {
                if factor.is_zero() {
                    continue;
                }
                let factor = affine::number(rb, &factor, ty)?;
                acc = Some(match acc {
                    Some(acc) => rb.op(Op::Fma, &[factor, x, acc])?,
                    None => rb.op(Op::Mul, &[factor, x])?,
                });
            }
            next.push(match acc {
                Some(v) if rb.module.graph.ty(v) == ty => v,
                Some(v) => {
                    let shape = ty.extents().unwrap_or_default();
                    rb.builder().broadcast(v, shape)?
                }
                None => self.zeros(rb, ty)?,
            });
        }
        Ok(next)
    }

    fn zeros(&self, rb: &mut Rebuild, ty: &TensorType) -> Result<ValueId, OpError> {
        let zero = affine::number(rb, &Num::One(0.0), ty)?;
        let shape = ty.extents().unwrap_or_default();
        rb.builder().broadcast(zero, shape)
    }

    fn scalar(&self, rb: &mut Rebuild, x: f64, ty: &TensorType) -> Result<ValueId, OpError> {
        affine::number(rb, &Num::One(x), ty)
    }

    /// The right-hand sides with these states.
    fn rhs(&self, rb: &mut Rebuild, states: &[ValueId], reads: &[ValueId]) -> Result<Vec<ValueId>, OpError> {
        let region = self.region();
        let mut map: Vec<Option<ValueId>> = vec![None; region.values.len()];
        for (p, v) in region.params.iter().zip(states.iter().chain(reads)) {
            map[p.index()] = Some(*v);
        }
        let at = |map: &[Option<ValueId>], v: ValueId| {
            map[v.index()].ok_or_else(|| OpError { op: "integrate".into(), message: format!("{v} is not defined") })
        };
        for node in &region.nodes {
            let args = node.args.iter().map(|a| at(&map, *a)).collect::<Result<Vec<_>, _>>()?;
            let results = rb.builder().push(node.op.clone(), args, node.regions.clone())?;
            for (old, new) in node.results.iter().zip(results) {
                map[old.index()] = Some(new);
            }
        }
        region.results.iter().map(|r| at(&map, *r)).collect()
    }

    fn euler(
        &self,
        rb: &mut Rebuild,
        states: &[ValueId],
        reads: &[ValueId],
        ty: &TensorType,
    ) -> Result<Vec<ValueId>, OpError> {
        let h = self.scalar(rb, self.h / f64::from(self.substeps), ty)?;
        let mut x = states.to_vec();
        for _ in 0..self.substeps {
            let f = self.rhs(rb, &x, reads)?;
            x = x.iter().zip(f).map(|(x, f)| rb.op(Op::Fma, &[h, f, *x])).collect::<Result<_, _>>()?;
        }
        Ok(x)
    }

    fn rk4(
        &self,
        rb: &mut Rebuild,
        states: &[ValueId],
        reads: &[ValueId],
        ty: &TensorType,
    ) -> Result<Vec<ValueId>, OpError> {
        let step = self.h / f64::from(self.substeps);
        let (full, half) = (self.scalar(rb, step, ty)?, self.scalar(rb, step / 2.0, ty)?);
        let (two, sixth) = (self.scalar(rb, 2.0, ty)?, self.scalar(rb, step / 6.0, ty)?);
        let mut x = states.to_vec();
        for _ in 0..self.substeps {
            let at = |rb: &mut Rebuild, h: ValueId, k: &[ValueId]| -> Result<Vec<ValueId>, OpError> {
                x.iter().zip(k).map(|(x, k)| rb.op(Op::Fma, &[h, *k, *x])).collect()
            };
            let k1 = self.rhs(rb, &x, reads)?;
            let x2 = at(rb, half, &k1)?;
            let k2 = self.rhs(rb, &x2, reads)?;
            let x3 = at(rb, half, &k2)?;
            let k3 = self.rhs(rb, &x3, reads)?;
            let x4 = at(rb, full, &k3)?;
            let k4 = self.rhs(rb, &x4, reads)?;
            let mut next = Vec::with_capacity(x.len());
            for (j, xj) in x.iter().enumerate() {
                let s = rb.op(Op::Fma, &[two, k2[j], k1[j]])?;
                let s = rb.op(Op::Fma, &[two, k3[j], s])?;
                let s = rb.op(Op::Add, &[s, k4[j]])?;
                next.push(rb.op(Op::Fma, &[sixth, s, *xj])?);
            }
            x = next;
        }
        Ok(x)
    }

    fn exp_euler(
        &self,
        rb: &mut Rebuild,
        states: &[ValueId],
        reads: &[ValueId],
        ty: &TensorType,
    ) -> Result<Vec<ValueId>, OpError> {
        let h = self.scalar(rb, self.h, ty)?;
        let (one, zero) = (self.scalar(rb, 1.0, ty)?, self.scalar(rb, 0.0, ty)?);
        let mut next = Vec::with_capacity(states.len());
        for (k, x) in states.iter().enumerate() {
            let (a, b) = self.split(rb, k, states, reads)?;
            next.push(match (a, b) {
                (None, None) => *x,
                (None, Some(b)) => rb.op(Op::Fma, &[h, b, *x])?,
                (Some(a), b) => {
                    let ah = rb.op(Op::Mul, &[a, h])?;
                    let e = rb.op(Op::Exp, &[ah])?;
                    match b {
                        None => rb.op(Op::Mul, &[e, *x])?,
                        Some(b) => {
                            let still = rb.op(Op::Eq, &[a, zero])?;
                            let gain = rb.op(Op::Sub, &[e, one])?;
                            let gain = rb.op(Op::Div, &[gain, a])?;
                            let phi = rb.op(Op::Select, &[still, h, gain])?;
                            let drive = rb.op(Op::Mul, &[b, phi])?;
                            rb.op(Op::Fma, &[e, *x, drive])?
                        }
                    }
                }
            });
        }
        Ok(next)
    }

    /// Equation k as `a x + b` at the old state; a missing part is zero.
    fn split(
        &self,
        rb: &mut Rebuild,
        k: usize,
        states: &[ValueId],
        reads: &[ValueId],
    ) -> Result<(Option<ValueId>, Option<ValueId>), OpError> {
        type Parts = (Option<ValueId>, Option<ValueId>);
        let region = self.region();
        let ty = rb.module.graph.ty(states[0]).clone();
        let one = self.scalar(rb, 1.0, &ty)?;
        let zero = self.scalar(rb, 0.0, &ty)?;
        let mut parts: Vec<Parts> = vec![(None, None); region.values.len()];
        for (j, (p, v)) in region.params.iter().zip(states.iter().chain(reads)).enumerate() {
            parts[p.index()] = if j == k { (Some(one), None) } else { (None, Some(*v)) };
        }
        fn add(rb: &mut Rebuild, op: Op, x: Option<ValueId>, y: Option<ValueId>) -> Result<Option<ValueId>, OpError> {
            Ok(match (x, y, &op) {
                (None, None, _) => None,
                (Some(x), None, _) => Some(x),
                (None, Some(y), Op::Sub) => Some(rb.op(Op::Neg, &[y])?),
                (None, Some(y), _) => Some(y),
                (Some(x), Some(y), _) => Some(rb.op(op, &[x, y])?),
            })
        }
        fn mul(rb: &mut Rebuild, op: Op, x: Option<ValueId>, y: Option<ValueId>) -> Result<Option<ValueId>, OpError> {
            match (x, y) {
                (Some(x), Some(y)) => Ok(Some(rb.op(op, &[x, y])?)),
                _ => Ok(None),
            }
        }
        for node in &region.nodes {
            let p: Vec<Parts> = node.args.iter().map(|a| parts[a.index()]).collect();
            let result = if p.iter().all(|(a, _)| a.is_none()) {
                let operands: Vec<ValueId> = p.iter().map(|(_, b)| b.unwrap_or(zero)).collect();
                (None, Some(rb.op(node.op.clone(), &operands)?))
            } else {
                match (&node.op, p.as_slice()) {
                    (Op::Add | Op::Sub, [x, y]) => {
                        (add(rb, node.op.clone(), x.0, y.0)?, add(rb, node.op.clone(), x.1, y.1)?)
                    }
                    (Op::Neg, [x]) => (add(rb, Op::Sub, None, x.0)?, add(rb, Op::Sub, None, x.1)?),
                    (Op::Mul, [x, (None, y)]) => (mul(rb, Op::Mul, x.0, *y)?, mul(rb, Op::Mul, x.1, *y)?),
                    (Op::Mul, [(None, y), x]) => (mul(rb, Op::Mul, *y, x.0)?, mul(rb, Op::Mul, *y, x.1)?),
                    (Op::Div, [x, (None, y)]) => (mul(rb, Op::Div, x.0, *y)?, mul(rb, Op::Div, x.1, *y)?),
                    (Op::Fma, [x, (None, y), z] | [(None, y), x, z]) => {
                        let (a, b) = (mul(rb, Op::Mul, x.0, *y)?, mul(rb, Op::Mul, x.1, *y)?);
                        (add(rb, Op::Add, a, z.0)?, add(rb, Op::Add, b, z.1)?)
                    }
                    (Op::Select, [(None, c), x, y]) => {
                        let c = c.unwrap_or(zero);
                        let mut pick = |x: Option<ValueId>, y: Option<ValueId>| match (x, y) {
                            (None, None) => Ok(None),
                            (x, y) => rb.op(Op::Select, &[c, x.unwrap_or(zero), y.unwrap_or(zero)]).map(Some),
                        };
                        (pick(x.0, y.0)?, pick(x.1, y.1)?)
                    }
                    _ => {
                        return Err(OpError {
                            op: node.op.info().name.into(),
                            message: "is not linear in the equation's own variable".into(),
                        });
                    }
                }
            };
            for r in &node.results {
                parts[r.index()] = result;
            }
        }
        Ok(parts[region.results[k].index()])
    }
}
