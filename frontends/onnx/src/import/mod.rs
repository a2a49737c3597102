//! The importer: scopes of names, nodes, functions and nested graphs.
//!
//! A *frame* is a graph that is written: the step function or a region. A *scope* is a set of names: of the model's
//! graph, of a nested graph, or of the body of a function. Several scopes can write to one frame (functions are
//! inlined; so is the branch of an `If` whose condition is known). A nested graph sees the names around it, a
//! function does not.

mod attribute;
mod call;
mod emit;
mod fold;
mod inputs;
mod scope;

pub use call::{Call, Fault, Region, Results};
pub(crate) use call::{invalid, unsupported};
pub use emit::Value;

use crate::codes;
use crate::ops;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use crate::{Loader, Options, Stop};
use emit::Frame;
use nc_ir::Diagnostic;
use nc_ir::graph::{Module, Port, ValueId};
use rustc_hash::FxHashMap;
use scope::{Scope, Versions};

/// Operator sets of the standard that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 1..=28;
/// Most nodes once functions are inlined.
const MAX_NODES: usize = 1 << 18;
/// Deepest nesting of functions.
const MAX_CALLS: usize = 64;
/// Deepest nesting of graphs. Each level may take a region, which nest at most 32 deep.
const MAX_GRAPHS: usize = 24;

/// A function's domain, name and overload.
type FunctionKey<'m> = (&'m str, &'m str, &'m str);

/// What is carried through an import.
pub(crate) struct Importer<'m> {
    options: &'m Options,
    loader: &'m mut dyn Loader,
    functions: FxHashMap<FunctionKey<'m>, &'m FunctionProto>,
    /// Everything but the graph, which is the first frame's.
    module: Module,
    frames: Vec<Frame>,
    scopes: Vec<Scope<'m>>,
    /// Functions that are being inlined.
    calls: Vec<FunctionKey<'m>>,
    /// Nodes seen so far.
    nodes: usize,
    /// Nested graphs that are being imported.
    depth: usize,
    /// See [`Traced`].
    origins: Vec<Origin>,
}

/// The values of the step function below a number, down to those of the origin before, came from one node.
struct Origin {
    below: u32,
    /// For messages.
    shown: String,
    /// The node's name, or that of its first result.
    short: String,
}

/// A module that knows which nodes its values came from.
pub(crate) struct Traced {
    pub module: Module,
    /// Most bytes that what is computed at once may take.
    pub max_memory: u64,
    origins: Vec<Origin>,
}

impl Traced {
    fn of(&self, value: Option<ValueId>) -> Option<&Origin> {
        let value = value?.0;
        self.origins.get(self.origins.partition_point(|o| o.below <= value))
    }

    /// The node that a value of the step function came from, for messages.
    pub fn origin(&self, value: Option<ValueId>) -> String {
        match (self.of(value), value) {
            (Some(o), _) => o.shown.clone(),
            (None, Some(v)) => format!("the node of `{}`", self.module.graph.name_of(v)),
            (None, None) => "a node".to_owned(),
        }
    }

    /// A name for what belongs to the node that a value of the step function came from.
    pub fn short(&self, value: Option<ValueId>) -> String {
        match (self.of(value), value) {
            (Some(o), _) if !o.short.is_empty() => o.short.clone(),
            (_, Some(v)) => self.module.graph.name_of(v),
            _ => "state".to_owned(),
        }
    }
}

/// See [`crate::import()`].
pub(crate) fn import(model: &ModelProto, options: &Options, loader: &mut dyn Loader) -> Result<Traced, Stop> {
    let Some(graph) = &model.graph else {
        return Err(Diagnostic::error_nowhere(codes::MALFORMED, "the model has no graph").into());
    };
    let mut functions = FxHashMap::default();
    for f in &model.functions {
        let key =
            (domain_of(f.domain.as_deref()), f.name.as_deref().unwrap_or(""), f.overload.as_deref().unwrap_or(""));
        if functions.insert(key, f).is_some() {
            return Err(names(format!("the function `{}` is given twice", key.1)).into());
        }
    }
    let mut it = Importer {
        options,
        loader,
        functions,
        module: Module { name: options.name.clone(), ..Module::default() },
        frames: vec![Frame::default()],
        scopes: vec![Scope::of_model(versions(&model.opset_import)?)],
        calls: Vec::new(),
        nodes: 0,
        depth: 0,
        origins: Vec::new(),
    };
    it.inputs(graph)?;
    it.nodes(&graph.node)?;
    it.outputs(graph)?;
    let Importer { mut module, mut frames, origins, .. } = it;
    module.graph = frames.pop().map(|f| f.graph).unwrap_or_default();
    nc_ir::graph::verify::verify(&module)
        .map_err(|e| Diagnostic::error_nowhere("E0501", format!("the module is not valid: {e}")))?;
    Ok(Traced { module, max_memory: options.max_memory, origins })
}

/// An error about names.
fn names(message: String) -> Diagnostic {
    Diagnostic::error_nowhere(codes::NAMES, message)
}

/// The standard's own domain has two names.
fn domain_of(domain: Option<&str>) -> &str {
    match domain {
        None | Some("ai.onnx") => "",
        Some(d) => d,
    }
}

/// The domain for messages.
fn shown_domain(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

/// The versions that a model or a function imports.
fn versions(list: &[OperatorSetIdProto]) -> Result<Versions<'_>, Diagnostic> {
    let mut out = Versions::default();
    for o in list {
        let (domain, version) = (domain_of(o.domain.as_deref()), o.version.unwrap_or(0));
        if domain.is_empty() && !OPSETS.contains(&version) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(Diagnostic::error_nowhere(
                codes::VERSION,
                format!("operator set {version} of ai.onnx is not supported: {first} to {last} are"),
            ));
        }
        let before = out.insert(domain, version);
        if before.is_some_and(|b| b != version) {
            return Err(names(format!("the operator set `{}` is imported in two versions", shown_domain(domain))));
        }
    }
    Ok(out)
}

/// How messages name a node.
fn node_name(node: &NodeProto) -> String {
    let op = node.op_type.as_deref().unwrap_or("");
    match (node.name.as_deref().unwrap_or(""), node.output.iter().find(|o| !o.is_empty())) {
        ("", Some(output)) => format!("node of `{output}` ({op})"),
        ("", None) => format!("a node ({op})"),
        (name, _) => format!("node `{name}` ({op})"),
    }
}

impl<'m> Importer<'m> {
    /// Imports nodes into the innermost scope.
    fn nodes(&mut self, nodes: &'m [NodeProto]) -> Result<(), Stop> {
        nodes.iter().try_for_each(|n| self.node(n))
    }

    fn node(&mut self, node: &'m NodeProto) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the model has more than {MAX_NODES} nodes, which cannot be compiled");
            return Err(Diagnostic::error_nowhere(codes::BOUND, message).into());
        }
        let mut operands = Vec::with_capacity(node.input.len());
        for name in &node.input {
            operands.push(match name.as_str() {
                "" => None,
                name => match self.lookup(name) {
                    Some(value) => value,
                    None => return Err(self.unknown_value(node, name).into()),
                },
            });
        }
        let (domain, op) = (domain_of(node.domain.as_deref()), node.op_type.as_deref().unwrap_or(""));
        let key = (domain, op, node.overload.as_deref().unwrap_or(""));
        let results = match self.functions.get(&key).copied() {
            Some(f) => self.function(node, key, f, operands)?,
            None => self.operator(node, domain, op, operands)?,
        };
        self.trace(node);
        self.define(node, results)
    }

    /// Keeps which values of the step function a node gave.
    fn trace(&mut self, node: &NodeProto) {
        let below = self.frames[0].graph.values.len() as u32;
        if self.frames.len() > 1 || self.origins.last().is_some_and(|o| o.below >= below) {
            return;
        }
        let named = [node.name.as_ref(), node.output.iter().find(|o| !o.is_empty())].into_iter().flatten();
        let short = named.map(String::as_str).find(|n| !n.is_empty()).unwrap_or("").to_owned();
        self.origins.push(Origin { below, shown: node_name(node), short });
    }

    /// Runs the row of the op table.
    fn operator(
        &mut self,
        node: &'m NodeProto,
        domain: &'m str,
        op: &str,
        operands: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Stop> {
        let refuse = |text: String| Diagnostic::error_nowhere(codes::UNSUPPORTED, text);
        let Some(version) = self.version(domain) else {
            return Err(refuse(format!(
                "{}: the domain `{}` is not supported, and the model imports no version of it",
                node_name(node),
                shown_domain(domain)
            ))
            .into());
        };
        let Some(row) = ops::find(domain, op) else {
            let text = format!(
                "{}: the operator {op} of {} {version} is not supported",
                node_name(node),
                shown_domain(domain)
            );
            let d = refuse(text);
            if let Some(why) = ops::absent::why(domain, op) {
                return Err(d.with_hint(why).into());
            }
            return Err(match ops::nearest(domain, op) {
                Some(near) => d.with_hint(format!("is {near} meant? docs/onnx.md lists what is supported")),
                None => d.with_hint("docs/onnx.md lists what is supported"),
            }
            .into());
        };
        let first = row.since.first().copied().unwrap_or(1);
        if version < first {
            return Err(refuse(format!(
                "{}: {op} of {} {version} is not supported: versions from {first} on are",
                node_name(node),
                shown_domain(domain)
            ))
            .into());
        }
        let attributes = self.attributes(node);
        let mut call = Call::new(self, node, version, operands, attributes);
        let done = call.check_first(row.types).and_then(|()| (row.import)(&mut call));
        let done = done.and_then(|values| call.check_all_read().map(|()| values));
        match done {
            Ok(values) => Ok(values.into_iter().map(Some).collect()),
            Err(fault) => Err(fault.stop(node)),
        }
    }

    /// Inlines a function.
    fn function(
        &mut self,
        node: &'m NodeProto,
        key: FunctionKey<'m>,
        f: &'m FunctionProto,
        operands: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Stop> {
        let wrong =
            |code, what: String| Stop::from(Diagnostic::error_nowhere(code, format!("{}: {what}", node_name(node))));
        if self.calls.contains(&key) {
            return Err(wrong(codes::NAMES, format!("the function {} cannot call itself", key.1)));
        }
        if self.calls.len() >= MAX_CALLS {
            return Err(wrong(codes::BOUND, format!("functions cannot call each other more than {MAX_CALLS} deep")));
        }
        if operands.len() > f.input.len() {
            return Err(wrong(
                codes::NODE,
                format!("{} operands are given, the function takes {}", operands.len(), f.input.len()),
            ));
        }
        let given = self.attributes(node);
        let known = |name: &str| {
            f.attribute.iter().any(|a| a == name) || f.attribute_proto.iter().any(|a| a.name.as_deref() == Some(name))
        };
        if let Some((name, _)) = given.iter().find(|(name, _)| !known(name)) {
            return Err(wrong(codes::UNSUPPORTED, format!("the attribute `{name}` is not supported by the function")));
        }
        let mut bound: FxHashMap<&'m str, &'m AttributeProto> = FxHashMap::default();
        for a in &f.attribute_proto {
            bound.insert(a.name.as_deref().unwrap_or(""), a);
        }
        bound.extend(given);
        let mut scope = Scope::of_function(versions(&f.opset_import)?, bound);
        let mut operands = operands.into_iter();
        for name in &f.input {
            scope.names.insert(name, operands.next().flatten());
        }
        self.calls.push(key);
        self.scopes.push(scope);
        self.nodes(&f.node)?;
        let mut results = Vec::with_capacity(f.output.len());
        for name in &f.output {
            match self.lookup(name) {
                Some(value) => results.push(value),
                None => {
                    return Err(wrong(codes::NAMES, format!("the function {} never gives its result `{name}`", key.1)));
                }
            }
        }
        self.scopes.pop();
        self.calls.pop();
        Ok(results)
    }

    /// Gives the results of a node their names.
    fn define(&mut self, node: &'m NodeProto, results: Vec<Option<Value>>) -> Result<(), Stop> {
        let mut results = results.into_iter();
        for (k, name) in node.output.iter().enumerate() {
            let value = results.next().flatten();
            if name.is_empty() {
                continue;
            }
            let Some(value) = value else {
                let text = format!("{}: its result {k}, `{name}`, is not supported", node_name(node));
                return Err(Diagnostic::error_nowhere(codes::UNSUPPORTED, text).into());
            };
            self.name_value(&value, name);
            self.bind(name, Some(value))
                .map_err(|d| Diagnostic { message: format!("{}: {}", node_name(node), d.message), ..d })?;
        }
        Ok(())
    }

    /// Imports a nested graph into the frame that is open. Its inputs are given by position. After an error the
    /// importer is as it was before, but for what was appended to the open frame.
    ///
    /// # Errors
    /// As for the import as a whole.
    fn nested(&mut self, graph: &'m GraphProto, inputs: Vec<Value>) -> Result<Vec<Value>, Stop> {
        let (scopes, frames, calls, depth) = (self.scopes.len(), self.frames.len(), self.calls.len(), self.depth);
        let done = self.nested_graph(graph, inputs);
        if done.is_err() {
            self.scopes.truncate(scopes);
            self.frames.truncate(frames);
            self.calls.truncate(calls);
            self.depth = depth;
        }
        done
    }

    fn nested_graph(&mut self, graph: &'m GraphProto, inputs: Vec<Value>) -> Result<Vec<Value>, Stop> {
        let name = graph.name.as_deref().unwrap_or("");
        if self.depth >= MAX_GRAPHS {
            let text = format!("the graph `{name}` cannot be compiled: graphs nest more than {MAX_GRAPHS} deep");
            return Err(Diagnostic::error_nowhere(codes::BOUND, text).into());
        }
        if graph.input.len() != inputs.len() {
            let text =
                format!("the graph `{name}` takes {} values, its node gives {}", graph.input.len(), inputs.len());
            return Err(Diagnostic::error_nowhere(codes::NODE, text).into());
        }
        self.depth += 1;
        self.scopes.push(Scope::of_graph());
        for (info, value) in graph.input.iter().zip(inputs) {
            let name = info.name.as_deref().unwrap_or("");
            self.name_value(&value, name);
            self.bind(name, Some(value))?;
        }
        self.initializers(graph)?;
        self.nodes(&graph.node)?;
        let mut results = Vec::with_capacity(graph.output.len());
        for info in &graph.output {
            results.push(self.result(info.name.as_deref().unwrap_or(""))?);
        }
        self.scopes.pop();
        self.depth -= 1;
        Ok(results)
    }

    /// The value of a graph's output.
    fn result(&self, name: &str) -> Result<Value, Diagnostic> {
        match self.lookup(name) {
            Some(Some(value)) => Ok(value),
            _ => Err(names(format!("the output `{name}` is never given a value"))),
        }
    }

    /// Declares the outputs of the model.
    fn outputs(&mut self, graph: &'m GraphProto) -> Result<(), Stop> {
        if graph.output.is_empty() {
            return Err(names("the graph has no outputs".to_owned()).into());
        }
        for info in &graph.output {
            let name = info.name.as_deref().unwrap_or("");
            if name.is_empty() || self.module.outputs.iter().any(|p| p.name == name) {
                return Err(names(format!("the output {name:?} has no name, or one that is given twice")).into());
            }
            let value = self.result(name)?;
            self.check_declared(info, &value)?;
            let value = self.materialise(&value);
            self.module.outputs.push(Port { name: name.to_owned(), value });
        }
        Ok(())
    }
}
