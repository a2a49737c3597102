//! From a model graph to a NIR file.
//!
//! The graph's states are read as neurons (`cells`), their numbers as parameters (`params`), everything between them
//! as connections (`nodes`). A step in discrete time needs the knobs in which the file is to be read: the ones that the
//! caller names, or the first of a few that give the step back to the bit (`same`). A differential equation is what
//! NIR holds; there the knobs only say which simulator comes nearest to the model's solver.

mod cells;
mod equation;
mod late;
mod nodes;
mod params;
mod same;
mod values;

use crate::model::{File, Graph, Node};
use crate::preset::Discretisation;
use crate::primitive::Kind;
use cells::Law;
use nc_ir::Diagnostic;
use nc_ir::graph::{Method, Module, Op};
use values::View;

/// Knobs that are tried if none are named: those that leave out nothing that a file says.
const CANDIDATES: &[&str] = &[
    "euler",
    "euler,form=decay",
    "euler,form=divide",
    "euler,order=membrane-first",
    "euler,form=decay,order=membrane-first",
    "euler,decay=exp,gain=1-exp",
    "euler,decay=exp,gain=1-exp,order=membrane-first",
    "exact",
];

/// How a file is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Seconds per tick of a net without a clock.
    pub dt: Option<f64>,
    /// The knobs in which the file will be read.
    pub discretisation: Option<Discretisation>,
    /// Leave out what NIR cannot hold, and say so.
    pub lossy: bool,
}

/// A file and how to read it.
#[derive(Clone, Debug)]
pub struct Raised {
    /// The file.
    pub file: File,
    /// The knobs.
    pub discretisation: Discretisation,
    /// Seconds per tick.
    pub dt: Option<f64>,
    /// True if the file, read with these knobs, is the same step to the bit.
    pub same: bool,
    /// What was left out.
    pub left_out: Vec<String>,
}

/// What was left out, or is to be refused.
#[derive(Debug, Default)]
pub(crate) struct Left {
    lossy: bool,
    out: Vec<String>,
    refused: Option<Diagnostic>,
}

impl Left {
    fn want(&mut self, what: String, why: &str) {
        if !self.lossy && self.refused.is_none() {
            self.refused = Some(cannot(what.clone(), &format!("{why}; --lossy leaves it out")));
        }
        if !self.out.contains(&what) {
            self.out.push(what);
        }
    }
}

pub(crate) fn cannot(what: String, hint: &str) -> Diagnostic {
    Diagnostic::error_nowhere("E0947", format!("NIR cannot hold {what}")).with_hint(hint)
}

/// Makes a file of a module whose constants are folded.
///
/// # Errors
/// E0947 for what NIR cannot hold, E0938 for a net without a tick that has neurons, E0936 for circles that NIR closes
/// later than the model does.
pub fn raise(module: &Module, options: &Options) -> Result<Raised, Diagnostic> {
    let view = View::new(module);
    let dt = module.dt.map(|dt| dt.0).or(options.dt);
    let mut left = Left { lossy: options.lossy, ..Left::default() };
    let cells = cells::find(&view, &mut left)?;
    let rates: Vec<&Op> =
        (module.graph.nodes.iter().map(|n| &n.op)).filter(|op| matches!(op, Op::Integrate { .. })).collect();
    let candidates: Vec<Discretisation> = match (&options.discretisation, rates.first()) {
        (Some(d), _) => vec![d.clone()],
        (None, Some(Op::Integrate { method, .. })) if cells.iter().any(|c| matches!(c.law, Law::Rate(..))) => {
            let text = match method {
                Method::Euler => "euler,if=dt",
                Method::ExpEuler => "nengo,reset=v_reset,order=membrane-first,if=dt",
                Method::Exact | Method::Auto | Method::Rk4 => "exact,if=dt",
            };
            vec![Discretisation::parse(text)?]
        }
        _ => CANDIDATES.iter().map(|c| Discretisation::parse(c)).collect::<Result<_, _>>()?,
    };
    for p in &module.probes {
        left.want(format!("the probe `{}`", p.name), "a file has no probes: `nc run --probe` records them");
    }
    let mut first: Option<Result<Raised, Diagnostic>> = None;
    for d in candidates {
        let mut seen = Left { lossy: left.lossy, out: left.out.clone(), refused: left.refused.clone() };
        let made = one(module, &view, &cells, &d, dt, &mut seen);
        match made {
            Ok(r) if r.same => return Ok(r),
            made => {
                if !matches!(first, Some(Ok(_))) && (made.is_ok() || first.is_none()) {
                    first = Some(made);
                }
            }
        }
    }
    first.unwrap_or_else(|| Err(cannot("this net".to_owned(), "it has no outputs")))
}

fn one(
    module: &Module,
    view: &View<'_>,
    cells: &[cells::Cell],
    d: &Discretisation,
    dt: Option<f64>,
    left: &mut Left,
) -> Result<Raised, Diagnostic> {
    let mut nodes = nodes::Nodes::new(view, cells, d, dt, left);
    nodes.run()?;
    let labels: Vec<same::Label> = (nodes.neurons.iter())
        .map(|(cell, (at, current))| same::Label { node: nodes.nodes[*at].0.clone(), cell: *cell, current: *current })
        .collect();
    let (list, edges) = late::settle(std::mem::take(&mut nodes.nodes), std::mem::take(&mut nodes.edges), d, dt)?;
    if let Some(d) = left.refused.take() {
        return Err(d);
    }
    let mut graph = Graph::default();
    let names: Vec<String> = list.iter().map(|(n, _)| n.clone()).collect();
    for e in edges {
        if !names[e.0].is_empty() && !names[e.1].is_empty() {
            graph.edges.push((names[e.0].clone(), names[e.1].clone()));
        }
    }
    graph.nodes = list.into_iter().filter(|(n, _)| !n.is_empty()).collect();
    if !graph.nodes.iter().any(|(_, n)| n.kind == Kind::Output) {
        return Err(cannot("a net without outputs".to_owned(), "give it one"));
    }
    graph.nodes.sort_by(|a, b| a.0.cmp(&b.0));
    let root = Node { graph: Some(graph), ..Node::new(Kind::NIRGraph) };
    let file = File { version: crate::VERSION.to_owned(), root };
    let same = same::same(module, view, cells, &labels, &file, d, dt);
    Ok(Raised { file, discretisation: d.clone(), dt, same, left_out: left.out.clone() })
}
