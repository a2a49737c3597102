//! Equality saturation of the element-wise part of the step function.
//!
//! Everything else (contractions, reductions, deliveries, inputs, states, constants) is a leaf, so that the e-graph sees
//! pure scalar algebra only. The [`rules`] are exact; the cheapest form of each value is taken, by the number of scalar
//! operations that it needs.

mod extract;
mod language;
pub mod rules;

pub use language::Term;

use crate::pipeline::{Level, Options};
use crate::rebuild::Rebuild;
use crate::{Errors, rebuild};
use egg::{Analysis, DidMerge, EGraph, Id, Runner, SimpleScheduler};
use extract::Cheapest;
use nc_ir::Diagnostic;
use nc_ir::graph::{Class, Module, Op, ValueId};
use nc_ir::types::{DType, TensorType};
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Rounds of rewriting: as deep as the deepest chain of rules that helps each other.
const ROUNDS: usize = 4;

/// The type of every class; `None` for terms that the op table does not admit.
#[derive(Clone, Debug, Default)]
pub struct Types {
    leaves: Vec<TensorType>,
}

impl Analysis<Term> for Types {
    type Data = Option<TensorType>;

    fn make(egraph: &mut EGraph<Term, Self>, term: &Term, _id: Id) -> Self::Data {
        match term {
            Term::Leaf(v) => egraph.analysis.leaves.get(v.index()).cloned(),
            Term::Apply(op, args) => {
                let types: Option<Vec<TensorType>> = args.iter().map(|a| egraph[*a].data.clone()).collect();
                let types = types?;
                let dtypes: Vec<DType> = types.iter().map(|t| t.dtype).collect();
                let shape = types.iter().find(|t| t.rank() > 0).or(types.first())?.shape.clone();
                Some(TensorType { dtype: result_dtype(op, &dtypes), shape })
            }
        }
    }

    fn merge(&mut self, a: &mut Self::Data, b: Self::Data) -> DidMerge {
        if a.is_none() && b.is_some() {
            *a = b;
            DidMerge(true, false)
        } else {
            DidMerge(false, false)
        }
    }
}

/// Element type of an element-wise op's result.
pub(crate) fn result_dtype(op: &Op, args: &[DType]) -> DType {
    match op {
        Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => DType::Bool,
        Op::Cast { to } | Op::Bitcast { to } => *to,
        Op::Random { .. } => DType::F32,
        Op::Select => args.get(1).copied().unwrap_or(DType::F32),
        _ => args.first().copied().unwrap_or(DType::F32),
    }
}

/// Scalar operations per element that a term takes besides its operands, roughly.
fn operations(term: &Term) -> f64 {
    match term {
        Term::Leaf(_) => 0.0,
        Term::Apply(op, _) => match op {
            Op::Exp | Op::Expm1 | Op::Log | Op::Log1p | Op::Tanh | Op::Sigmoid | Op::Erf | Op::Random { .. } => 30.0,
            Op::Asin | Op::Acos | Op::Atan => 30.0,
            Op::Sin | Op::Cos | Op::Tan | Op::Pow => 100.0,
            Op::Div | Op::Sqrt | Op::Rem => 4.0,
            Op::Min | Op::Max => 3.0,
            // `gt` and `lt` cost the same; a bit of difference makes one of them the common form.
            Op::Gt | Op::Ge => 1.01,
            _ => 1.0,
        },
    }
}

/// Saturates and takes the cheapest form of every value that is needed, in the step function and in the bodies of its
/// `cond`, `scan` and `repeat`.
///
/// # Errors
/// `E0799`: the rewritten graph is ill-typed, a bug.
pub fn run(module: &mut Module, options: &Options) -> Result<(), Errors> {
    rebuild::each_body(module, &mut |body| run(body, options))?;
    let eligible = |op: &Op| op.info().class == Class::Elementwise;
    if !module.graph.nodes.iter().any(|n| eligible(&n.op)) {
        return Ok(());
    }
    let rules = rules::rewrites().map_err(bug)?;
    let types = Types { leaves: module.graph.values.iter().map(|v| v.ty.clone()).collect() };
    let mut egraph = EGraph::new(types);
    let mut class: Vec<Option<Id>> = vec![None; module.graph.values.len()];
    let leaf = |egraph: &mut EGraph<Term, Types>, class: &mut Vec<Option<Id>>, v: ValueId| -> Id {
        *class[v.index()].get_or_insert_with(|| egraph.add(Term::Leaf(v)))
    };
    for node in &module.graph.nodes {
        if eligible(&node.op) {
            let args = node.args.iter().map(|a| leaf(&mut egraph, &mut class, *a)).collect();
            class[node.results[0].index()] = Some(egraph.add(Term::Apply(node.op.clone(), args)));
        }
    }
    let runner = Runner::default()
        .with_egraph(egraph)
        .with_scheduler(SimpleScheduler)
        .with_iter_limit(if options.level < Level::O2 { ROUNDS / 2 } else { ROUNDS })
        .with_node_limit(20 * module.graph.nodes.len() + 1000)
        // Rounds and nodes bound the work; a clock would make the result depend on the machine.
        .with_time_limit(Duration::from_secs(3600))
        .run(&rules);
    let egraph = runner.egraph;
    let cheapest = Cheapest::of(&egraph, operations);
    let mut names: FxHashMap<Id, String> = FxHashMap::default();
    for (v, c) in class.iter().enumerate() {
        let name = &module.graph.values[v].name;
        if let (Some(c), false) = (c, name.is_empty()) {
            names.entry(egraph.find(*c)).or_insert_with(|| name.clone());
        }
    }
    let mut rb = Rebuild::new(std::mem::take(module));
    let mut writer = Writer { egraph: &egraph, cheapest, names, done: FxHashMap::default() };
    let result = (|| {
        for node in std::mem::take(&mut rb.old.nodes) {
            if eligible(&node.op) {
                continue;
            }
            for a in &node.args {
                writer.value(&mut rb, &class, *a)?;
            }
            rb.copy(&node);
        }
        let roots: Vec<ValueId> = rebuild::roots(&rb.module).collect();
        roots.into_iter().try_for_each(|r| writer.value(&mut rb, &class, r))
    })();
    result.map_err(bug)?;
    *module = rb.finish();
    Ok(())
}

fn bug(text: String) -> Errors {
    vec![
        Diagnostic::error_nowhere("E0799", format!("saturation: {text}"))
            .with_hint("this is a bug of nc: please report the model"),
    ]
}

/// Writes the chosen terms to the new graph, each once.
struct Writer<'e> {
    egraph: &'e EGraph<Term, Types>,
    cheapest: Cheapest<'e>,
    names: FxHashMap<Id, String>,
    done: FxHashMap<Id, ValueId>,
}

impl Writer<'_> {
    /// Makes sure that an old value has its new one.
    fn value(&mut self, rb: &mut Rebuild, class: &[Option<Id>], old: ValueId) -> Result<(), String> {
        let Some(c) = class[old.index()] else {
            return Ok(());
        };
        let new = self.class(rb, c)?;
        rb.replace(old, new);
        Ok(())
    }

    /// The new value of a class. Works off a stack of its own: chains of terms can be long.
    fn class(&mut self, rb: &mut Rebuild, root: Id) -> Result<ValueId, String> {
        let mut stack = vec![self.egraph.find(root)];
        while let Some(c) = stack.last().copied() {
            if self.done.contains_key(&c) {
                stack.pop();
                continue;
            }
            let term = self.cheapest.term(c).ok_or("a class has no term without a cycle")?;
            let value = match term {
                Term::Leaf(v) => rb.value(*v),
                Term::Apply(op, args) => {
                    let args: Vec<Id> = args.iter().map(|a| self.egraph.find(*a)).collect();
                    let missing: Vec<Id> = args.iter().copied().filter(|a| !self.done.contains_key(a)).collect();
                    if !missing.is_empty() {
                        stack.extend(missing);
                        continue;
                    }
                    let args: Vec<ValueId> = args.iter().map(|a| self.done[a]).collect();
                    let v = rb.op(op.clone(), &args).map_err(|e| e.to_string())?;
                    if let Some(name) = self.names.get(&c) {
                        rb.builder().name(v, name);
                    }
                    v
                }
            };
            self.done.insert(c, value);
            stack.pop();
        }
        self.done.get(&self.egraph.find(root)).copied().ok_or_else(|| "a class was not written".to_string())
    }
}
