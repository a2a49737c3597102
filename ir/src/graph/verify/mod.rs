//! The verifier: numbered constraints that every module satisfies between passes.
//!
//! A violation is a mistake of a frontend or a pass, never of a user. Each rule has a test that breaks it and nothing else.

mod module;

#[cfg(test)]
mod tests;

use super::infer::{MAX_RANK, infer};
use super::{Class, Graph, Module, Op, Pools, ValueId};
use crate::types::TensorType;
use std::fmt;

/// Deepest nesting of regions.
pub const MAX_REGION_DEPTH: usize = 32;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {
        /// A constraint on modules.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $doc])+ $name),* }

        impl Rule {
            /// Every rule, in order.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The number, for example `G001`.
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$name => stringify!($name)),* }
            }

            /// The constraint in words.
            pub const fn doc(self) -> &'static str {
                match self { $(Rule::$name => concat!($($doc),+)),* }
            }
        }
    };
}

rules! {
    /// Parameters, operands and results of a graph are among its values.
    G001;
    /// A value is defined before it is used.
    G002;
    /// Every value is defined exactly once, by a parameter or a node.
    G003;
    /// Every op fits its operands, attributes and regions.
    G004;
    /// A node's results have the types that its op infers.
    G005;
    /// A type has at most 16 dimensions and, where its extents are known, a size that memory can be addressed with.
    G006;
    /// Regions nest at most 32 deep.
    G007;
    /// A per-event region (`deliver`, `pre`, `post`) holds element-wise ops on scalars, scalar constants and `tick`.
    G008;
    /// Synapses, delay lines and differential equations stand in the step function, not in regions.
    G009;
    /// The parameters of the step function are exactly the values of the inputs and the states, each once.
    G010;
    /// The step function has no results of its own; outputs, states, probes and delay lines name its values.
    G011;
    /// A state's next value has the state's type.
    G012;
    /// A state's initial value is a constant of the state's type, or a scalar of its element type.
    G013;
    /// A delay line holds at least one tick of its source, whose type it repeats.
    G014;
    /// A probe is recorded every 1 or more ticks.
    G015;
    /// Names of inputs, of outputs, of states and of probes are not empty and not used twice among their kind.
    G016;
    /// The time step is a positive, finite number of seconds.
    G017;
    /// Source and target ranges of a connectivity lie within its lengths, which are below 2^32.
    G018;
    /// A connectivity names constants of the type and size that its rule asks for.
    G019;
    /// Regions of a connectivity take (i: `i64`, j: `i64[n]`) with a named n and give one row of the type asked for.
    G020;
    /// The delays of a projection lie within the depth of its delay line, and those of 0 ticks find `now`.
    G021;
    /// Inputs and states that are said to be mostly zero exist.
    G022;
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A violated constraint: a mistake in `nc`, not in the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierError {
    /// Which constraint.
    pub rule: Rule,
    /// Where: a node and the regions around it, or a part of the module.
    pub place: String,
    /// What was found.
    pub message: String,
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.rule, self.place, self.message)
    }
}

impl std::error::Error for VerifierError {}

/// Checks every rule; gives the first violation in program order.
///
/// # Errors
/// The first violated rule.
pub fn verify(module: &Module) -> Result<(), VerifierError> {
    module::verify(module)
}

fn fail<T>(rule: Rule, place: &str, message: impl Into<String>) -> Result<T, VerifierError> {
    Err(VerifierError { rule, place: place.to_string(), message: message.into() })
}

/// What a graph may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything.
    Step,
    /// No synapses, delay lines or differential equations.
    Body,
    /// Element-wise scalar code.
    PerEvent,
}

fn check_type(ty: &TensorType, place: &str) -> Result<(), VerifierError> {
    if ty.rank() > MAX_RANK {
        return fail(Rule::G006, place, format!("`{ty}` has {} dimensions", ty.rank()));
    }
    if ty.extents().is_some() && ty.bytes().is_none_or(|n| n > isize::MAX as u64) {
        return fail(Rule::G006, place, format!("`{ty}` is too large"));
    }
    Ok(())
}

/// Checks one graph and its regions; `around` says where it stands.
fn graph(g: &Graph, pools: Pools<'_>, kind: Kind, around: &str, depth: usize) -> Result<(), VerifierError> {
    if depth > MAX_REGION_DEPTH {
        return fail(Rule::G007, around, format!("regions nest more than {MAX_REGION_DEPTH} deep"));
    }
    let mut defined = vec![false; g.values.len()];
    let mut define = |v: ValueId, place: &str| match defined.get_mut(v.index()) {
        None => fail(Rule::G001, place, format!("{v} is not a value of the graph")),
        Some(true) => fail(Rule::G003, place, format!("{v} is defined a second time")),
        Some(slot) => {
            *slot = true;
            Ok(())
        }
    };
    // Single definitions first, so that a use before the definition is told from a use of an undefined value.
    for p in &g.params {
        define(*p, around)?;
    }
    let place_of = |k: usize| format!("{around}, node {k} `{}`", g.nodes[k].op.info().name);
    for (k, node) in g.nodes.iter().enumerate() {
        for r in &node.results {
            define(*r, &place_of(k))?;
        }
    }
    if let Some(k) = defined.iter().position(|d| !d) {
        return fail(Rule::G003, around, format!("{} is never defined", ValueId(k as u32)));
    }
    for v in &g.values {
        check_type(&v.ty, around)?;
    }
    let mut seen = vec![false; g.values.len()];
    for p in &g.params {
        seen[p.index()] = true;
    }
    for (k, node) in g.nodes.iter().enumerate() {
        let place = place_of(k);
        for a in &node.args {
            match seen.get(a.index()) {
                None => return fail(Rule::G001, &place, format!("operand {a} is not a value of the graph")),
                Some(false) => return fail(Rule::G002, &place, format!("operand {a} is used before it is defined")),
                Some(true) => {}
            }
        }
        allowed(g, k, kind, pools, &place)?;
        let types = match infer(&node.op, &node.args, &node.regions, g, pools) {
            Ok(types) => types,
            Err(message) => return fail(Rule::G004, &place, message),
        };
        let found: Vec<&TensorType> = node.results.iter().map(|r| g.ty(*r)).collect();
        if found != types.iter().collect::<Vec<_>>() {
            let text = |ts: &[&TensorType]| ts.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
            let (found, expected) = (text(&found), text(&types.iter().collect::<Vec<_>>()));
            return fail(Rule::G005, &place, format!("the results are ({found}), the op gives ({expected})"));
        }
        for (region, name) in node.regions.iter().zip(node.op.info().regions) {
            let inner = match node.op.info().class {
                Class::Synaptic => Kind::PerEvent,
                Class::Elementwise
                | Class::Data
                | Class::Contraction
                | Class::Reduction
                | Class::Sequential
                | Class::Control => Kind::Body,
            };
            graph(region, pools, inner, &format!("{place}, region `{name}`"), depth + 1)?;
        }
        for r in &node.results {
            seen[r.index()] = true;
        }
    }
    match g.results.iter().find(|r| r.index() >= g.values.len()) {
        Some(r) => fail(Rule::G001, around, format!("result {r} is not a value of the graph")),
        None => Ok(()),
    }
}

/// Whether a graph of this kind may hold node `k`.
fn allowed(g: &Graph, k: usize, kind: Kind, pools: Pools<'_>, place: &str) -> Result<(), VerifierError> {
    let node = &g.nodes[k];
    let at_step_only = match &node.op {
        Op::Delayed { .. } | Op::Integrate { .. } => true,
        op => op.info().class == Class::Synaptic,
    };
    match kind {
        Kind::Step => Ok(()),
        Kind::Body | Kind::PerEvent if at_step_only => {
            fail(Rule::G009, place, format!("`{}` stands in a region", node.op.info().name))
        }
        Kind::Body => Ok(()),
        Kind::PerEvent => {
            let scalar_const = match &node.op {
                Op::Const { id } => pools.consts.get(id.index()).is_some_and(|c| c.data.shape().is_empty()),
                Op::Tick => true,
                _ => false,
            };
            let scalars = node.args.iter().all(|a| g.ty(*a).rank() == 0);
            match scalar_const || (node.op.info().class == Class::Elementwise && scalars) {
                true => Ok(()),
                false => fail(Rule::G008, place, format!("`{}` is not element-wise on scalars", node.op)),
            }
        }
    }
}
