//! Differential equations of a model graph, as linear functions of states and of what is read.

use super::values::{Num, View};
use nc_ir::graph::{Node, Op, ValueId};

/// `x' = sum of coefficients times states + sum of gains times values + constant`, per millisecond.
#[derive(Clone, Debug)]
pub struct Row {
    /// A coefficient for each state of the system.
    pub states: Vec<Num>,
    /// Values that change, with their gains, in the order in which they were read.
    pub reads: Vec<(ValueId, Num)>,
    pub constant: Num,
}

#[derive(Clone)]
struct Linear(Vec<Num>);

impl Linear {
    fn zip(&self, o: &Linear, f: impl Fn(f64, f64) -> f64) -> Linear {
        Linear(self.0.iter().zip(&o.0).map(|(a, b)| a.zip(b, &f)).collect())
    }

    fn times(&self, c: &Num) -> Linear {
        Linear(self.0.iter().map(|a| a.zip(c, |x, y| x * y)).collect())
    }

    /// The constant, if nothing else is there; it stands last.
    fn known(&self) -> Option<&Num> {
        let (constant, rest) = self.0.split_last()?;
        rest.iter().all(|x| x.is(0.0)).then_some(constant)
    }
}

/// The rows of an `integrate`, or `None` if one is not linear.
pub fn rows(view: &View<'_>, node: &Node) -> Option<Vec<Row>> {
    let Op::Integrate { state_count, .. } = node.op else { return None };
    let body = node.regions.first()?;
    let width = node.args.len() + 1;
    let zeros = Linear(vec![Num::One(0.0); width]);
    let mut of: Vec<Option<Linear>> = vec![None; body.values.len()];
    for (k, (p, arg)) in body.params.iter().zip(&node.args).enumerate() {
        let mut l = zeros.clone();
        match view.known(*arg) {
            Some(c) if k >= state_count => l.0[width - 1] = c,
            _ => l.0[k] = Num::One(1.0),
        }
        of[p.index()] = Some(l);
    }
    for n in &body.nodes {
        let arg = |k: usize| of.get(n.args.get(k)?.index())?.clone();
        let made = match n.op {
            Op::Const { id } => {
                let t = &view.m.consts[id.index()].data;
                let mut l = zeros.clone();
                l.0[width - 1] = match t.len() {
                    1 => Num::One(t.get_f64(0)),
                    n => Num::Each((0..n).map(|k| t.get_f64(k)).collect()),
                };
                l
            }
            Op::Add => arg(0)?.zip(&arg(1)?, |a, b| a + b),
            Op::Sub => arg(0)?.zip(&arg(1)?, |a, b| a - b),
            Op::Neg => arg(0)?.times(&Num::One(-1.0)),
            Op::Mul => {
                let (a, b) = (arg(0)?, arg(1)?);
                match (a.known(), b.known()) {
                    (Some(c), _) => b.times(c),
                    (_, Some(c)) => a.times(c),
                    _ => return None,
                }
            }
            Op::Div => arg(0)?.times(&arg(1)?.known()?.map(|x| 1.0 / x)),
            Op::Broadcast { .. } => arg(0)?,
            _ => return None,
        };
        of[n.results.first()?.index()] = Some(made);
    }
    (body.results.iter())
        .map(|r| {
            let l = of[r.index()].clone()?;
            let reads = (state_count..width - 1).filter(|k| !l.0[*k].is(0.0));
            Some(Row {
                reads: reads.map(|k| (view.canon(node.args[k]), l.0[k].clone())).collect(),
                states: l.0[..state_count].to_vec(),
                constant: l.0[width - 1].clone(),
            })
        })
        .collect()
}
