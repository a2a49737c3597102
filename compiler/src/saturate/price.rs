//! What a term costs besides its operands, in nanoseconds of a tick.
//!
//! Element-wise ops are fused into loops, so that one costs its share of registers; every product, copy and reduction is
//! a kernel of its own. Products cost what the cheapest of their representations does ([`crate::cost`]): a form that lets
//! a product run on events wins by that.

use super::analysis::{Facts, Known};
use super::language::Term;
use crate::cost::{Costs, Input, Product, Weights, Window, alternatives};
use egg::{EGraph, Id};
use nc_ir::graph::{Class, Op};
use nc_ir::types::DType;

/// Nanoseconds of one scalar operation on one element, in registers of four.
const OPERATION: f64 = 0.08;
/// What another name for the same elements costs: nothing but that there is one.
const NAME: f64 = 0.01;
/// Part of the cost of a product that is left when it is computed for all rows of a loop at once.
const ALL_ROWS: f64 = 0.4;

/// The prices on one machine.
pub struct Prices<'a> {
    /// The table of the machine.
    pub costs: &'a Costs,
    /// Weights that are known, by the class that they are: how many are not zero, and whether all are finite.
    pub weights: &'a dyn Fn(Id) -> Option<Weights>,
}

impl Prices<'_> {
    /// The cost of a term of a class.
    pub fn of(&self, egraph: &EGraph<Term, Facts>, class: Id, term: &Term) -> f64 {
        let (op, args) = match term {
            Term::Leaf(_) | Term::Number(..) => return 0.0,
            Term::Apply(op, args) => (op, args),
        };
        let Some(result) = &egraph[class].data else { return f64::MAX };
        // What is known now is computed now.
        if result.constant {
            return NAME * 0.01;
        }
        let known: Vec<&Known> = args.iter().filter_map(|a| egraph[*a].data.as_ref()).collect();
        if known.len() != args.len() {
            return f64::MAX;
        }
        let n = result.count() as f64;
        let copied = |n: f64| self.costs.kernel + n * self.costs.copy;
        match op.info().class {
            Class::Elementwise => n * operations(op) * OPERATION * width(result),
            Class::Data => match op {
                Op::Reshape { .. } => NAME,
                Op::Broadcast { .. } if known[0].count() == 1 => NAME,
                Op::Slice { start, stop, step } if is_piece(&known[0].extents(), start, stop, step) => NAME,
                Op::Transpose { .. } => self.costs.kernel + n * self.costs.transpose,
                _ => copied(n),
            },
            Class::Contraction => self.product(op, args, &known, result),
            Class::Reduction => match op {
                Op::Pool { size, .. } => {
                    self.costs.kernel + n * size.iter().map(|s| *s as f64).product::<f64>() * OPERATION * 2.0
                }
                _ => self.costs.kernel + known[0].count() as f64 * OPERATION * 2.0,
            },
            Class::Sequential => self.costs.kernel + known.iter().map(|k| k.count() as f64).sum::<f64>(),
            Class::Synaptic | Class::Control => f64::MAX,
        }
    }

    fn product(&self, op: &Op, args: &[Id], known: &[&Known], result: &Known) -> f64 {
        let (x, w) = (known[0], known[1]);
        let elem = if matches!(result.ty.dtype, DType::F64 | DType::I64 | DType::U64) { 8 } else { 4 };
        let listed = matches!(result.ty.dtype, DType::F32 | DType::F64) && x.activity < 1.0;
        let weights = (self.weights)(args[1]).unwrap_or(Weights::Any);
        let base = Product {
            outputs: 1,
            inputs: 1,
            rows: 1,
            elem,
            weights,
            input: if listed { Input::Graded } else { Input::Dense },
            activity: x.activity,
            finite: false,
            window: None,
        };
        let (ew, ex, ey) = (w.extents(), x.extents(), result.extents());
        let product = match op {
            Op::Linear => {
                let (outputs, inputs) = (ew[0], ew[1]);
                Product { outputs, inputs, rows: result.count() / outputs.max(1), ..base }
            }
            Op::Matmul => {
                let (outputs, inputs) = (ew[ew.len() - 1], ew[ew.len() - 2]);
                let weights = Weights::Any;
                Product { outputs, inputs, rows: result.count() / outputs.max(1), weights, input: Input::Dense, ..base }
            }
            Op::Conv { stride, pad, groups, .. } => {
                let axes = ew.len() - 2;
                let taps: u64 = ew[2..].iter().product();
                let positions = ey[ey.len() - axes..].iter().product();
                let groups = (*groups).max(1);
                let images: u64 = ex[..ex.len() - axes - 1].iter().product();
                let reach = taps as f64 / stride.iter().map(|s| *s as f64).product::<f64>().max(1.0);
                let inputs = ew[1] * ex[ex.len() - axes..].iter().product::<u64>();
                let padded = pad.iter().any(|p| *p > 0);
                let window = Some(Window { positions, reach, depth: ew[1] * taps, padded });
                Product { outputs: ew[0] / groups, inputs, rows: images * groups, window, ..base }
            }
            _ => return f64::MAX,
        };
        let ns = alternatives(&product, self.costs).first().map_or(f64::MAX, |a| a.ns);
        if x.scanned && w.constant { ns * ALL_ROWS } else { ns }
    }
}

/// Registers that an element takes, in those of a 32-bit number.
fn width(k: &Known) -> f64 {
    if k.ty.dtype.size() > 4 { 2.0 } else { 1.0 }
}

/// Scalar operations per element, roughly.
fn operations(op: &Op) -> f64 {
    match op {
        Op::Exp | Op::Expm1 | Op::Log | Op::Log1p | Op::Tanh | Op::Sigmoid | Op::Erf | Op::Random { .. } => 30.0,
        Op::Asin | Op::Acos | Op::Atan => 30.0,
        Op::Sin | Op::Cos | Op::Tan | Op::Pow => 100.0,
        Op::Div | Op::Sqrt | Op::Rem => 4.0,
        Op::Min | Op::Max => 3.0,
        // Two ways to say the same cost the same; a bit of difference makes one of them the common form.
        Op::Gt | Op::Ge => 1.01,
        Op::Neg | Op::Abs | Op::Not | Op::Cast { .. } => 0.9,
        _ => 1.0,
    }
}

/// True if the elements of a slice lie side by side.
fn is_piece(extents: &[u64], start: &[u64], stop: &[u64], step: &[u64]) -> bool {
    let taken: Vec<u64> = start.iter().zip(stop).map(|(a, b)| b.saturating_sub(*a)).collect();
    let first = (0..extents.len()).rev().find(|k| taken[*k] != extents[*k]).unwrap_or(0);
    step.iter().all(|s| *s == 1) && taken[..first].iter().all(|n| *n == 1)
}
