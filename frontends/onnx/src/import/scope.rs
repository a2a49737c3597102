//! Names: what a node can see.

use super::emit::Value;
use super::{Importer, names, node_name};
use crate::proto::{AttributeProto, NodeProto};
use nc_ir::Diagnostic;
use nc_ir::diag::nearest;
use rustc_hash::FxHashMap;

/// Versions of operator sets by domain.
pub(super) type Versions<'m> = FxHashMap<&'m str, i64>;

/// A set of names.
pub(super) struct Scope<'m> {
    /// Values by name; `None` for an operand of a function that was left out.
    pub names: FxHashMap<&'m str, Option<Value>>,
    /// Set for the model and for functions, which do not see the names around them.
    body: Option<Body<'m>>,
}

/// What a model or function brings along.
struct Body<'m> {
    versions: Versions<'m>,
    /// Attributes of the call.
    attributes: FxHashMap<&'m str, &'m AttributeProto>,
}

impl<'m> Scope<'m> {
    pub fn of_model(versions: Versions<'m>) -> Scope<'m> {
        Scope::of_function(versions, FxHashMap::default())
    }

    pub fn of_function(versions: Versions<'m>, attributes: FxHashMap<&'m str, &'m AttributeProto>) -> Scope<'m> {
        Scope { names: FxHashMap::default(), body: Some(Body { versions, attributes }) }
    }

    pub fn of_graph() -> Scope<'m> {
        Scope { names: FxHashMap::default(), body: None }
    }
}

impl<'m> Importer<'m> {
    /// The scopes that the innermost one sees, itself first.
    fn visible(&self) -> impl Iterator<Item = &Scope<'m>> {
        let mut last = false;
        self.scopes.iter().rev().take_while(move |s| !std::mem::replace(&mut last, s.body.is_some()))
    }

    /// The value of a name, `Some(None)` for an operand that was left out, `None` for an unknown name.
    pub(super) fn lookup(&self, name: &str) -> Option<Option<Value>> {
        self.visible().find_map(|s| s.names.get(name)).cloned()
    }

    /// Gives a value a name in the innermost scope.
    ///
    /// # Errors
    /// E1005 if the scope has this name.
    pub(super) fn bind(&mut self, name: &'m str, value: Option<Value>) -> Result<(), Diagnostic> {
        match self.scopes.last_mut().map(|s| s.names.insert(name, value)) {
            Some(None) => Ok(()),
            _ => Err(names(format!("the value `{name}` is given twice"))),
        }
    }

    /// The version of an operator set.
    pub(super) fn version(&self, domain: &str) -> Option<i64> {
        self.visible().last()?.body.as_ref()?.versions.get(domain).copied()
    }

    /// The attributes of a node; in a function, references stand for the attributes of the call. One that refers to an
    /// attribute which the call leaves out is left out.
    pub(super) fn attributes(&self, node: &'m NodeProto) -> Vec<(&'m str, &'m AttributeProto)> {
        let body = self.visible().last().and_then(|s| s.body.as_ref());
        let resolve = |a: &'m AttributeProto| match a.ref_attr_name.as_deref().unwrap_or("") {
            "" => Some(a),
            other => body.and_then(|b| b.attributes.get(other).copied()),
        };
        node.attribute.iter().filter_map(|a| Some((a.name.as_deref().unwrap_or(""), resolve(a)?))).collect()
    }

    /// What to say of a name that nothing has.
    pub(super) fn unknown_value(&self, node: &NodeProto, name: &str) -> Diagnostic {
        let d = names(format!("{}: its operand `{name}` is not given a value before it is used", node_name(node)));
        match nearest(name, self.visible().flat_map(|s| s.names.keys().copied())) {
            Some(near) => d.with_hint(format!("did you mean `{near}`?")),
            None => d.with_hint("nodes must be in topological order, and free of cycles"),
        }
    }
}
