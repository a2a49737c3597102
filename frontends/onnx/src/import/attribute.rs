//! Attributes of a node. Each that is read is noted, so that one that nobody reads can be refused.

use super::call::{Call, Fault};
use crate::Stop;
use crate::proto::{AttributeProto, GraphProto, attribute_type as kind};
use crate::tensor;
use nc_ir::Tensor;
use std::cell::Cell;

/// An attribute, and whether it was read.
pub(super) type Attribute<'m> = (&'m str, &'m AttributeProto, Cell<bool>);

/// Words for the kinds of attributes.
fn words(kind: i32) -> &'static str {
    match kind {
        kind::FLOAT => "a real number",
        kind::INT => "a whole number",
        kind::STRING => "text",
        kind::TENSOR => "a tensor",
        kind::GRAPH => "a graph",
        kind::FLOATS => "real numbers",
        kind::INTS => "whole numbers",
        kind::STRINGS => "texts",
        _ => "of a kind that is not supported",
    }
}

/// The kind of an attribute. Files before IR version 2 have no such field: then it is the one that is set.
fn kind_of(a: &AttributeProto) -> i32 {
    match a.r#type {
        Some(t) if t != 0 => t,
        _ if a.f.is_some() => kind::FLOAT,
        _ if a.i.is_some() => kind::INT,
        _ if a.s.is_some() => kind::STRING,
        _ if a.t.is_some() => kind::TENSOR,
        _ if a.g.is_some() => kind::GRAPH,
        _ if !a.floats.is_empty() => kind::FLOATS,
        _ if !a.strings.is_empty() => kind::STRINGS,
        _ => kind::INTS,
    }
}

impl<'m> Call<'_, 'm> {
    /// The attribute, which is of the kind asked for.
    fn attribute(&self, name: &str, expected: i32) -> Result<Option<&'m AttributeProto>, Fault> {
        let Some((_, a, read)) = self.attributes.iter().find(|(n, _, _)| *n == name) else { return Ok(None) };
        read.set(true);
        let found = kind_of(a);
        match found == expected {
            true => Ok(Some(a)),
            false => {
                let (found, expected) = (words(found), words(expected));
                Err(Fault::Invalid(format!("the attribute `{name}` is {found}, {expected} was expected")))
            }
        }
    }

    /// True if the node has the attribute; it then counts as read.
    pub fn has(&self, name: &str) -> bool {
        let found = self.attributes.iter().find(|(n, _, _)| *n == name);
        found.inspect(|(_, _, read)| read.set(true)).is_some()
    }

    /// A whole number with its default.
    ///
    /// # Errors
    /// If the attribute is of another kind; so for all that follow.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, Fault> {
        Ok(self.int_opt(name)?.unwrap_or(default))
    }

    /// A whole number, if it is given.
    ///
    /// # Errors
    /// As [`Call::int`].
    pub fn int_opt(&self, name: &str) -> Result<Option<i64>, Fault> {
        Ok(self.attribute(name, kind::INT)?.map(|a| a.i.unwrap_or(0)))
    }

    /// A whole number that stands for a truth value.
    ///
    /// # Errors
    /// As [`Call::int`].
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Fault> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// A real number with its default.
    ///
    /// # Errors
    /// As [`Call::int`].
    pub fn float(&self, name: &str, default: f32) -> Result<f32, Fault> {
        Ok(self.float_opt(name)?.unwrap_or(default))
    }

    /// A real number, if it is given.
    ///
    /// # Errors
    /// As [`Call::int`].
    pub fn float_opt(&self, name: &str) -> Result<Option<f32>, Fault> {
        Ok(self.attribute(name, kind::FLOAT)?.map(|a| a.f.unwrap_or(0.0)))
    }

    /// Text with its default.
    ///
    /// # Errors
    /// As [`Call::int`]; if it is not UTF-8.
    pub fn text(&self, name: &str, default: &str) -> Result<String, Fault> {
        match self.attribute(name, kind::STRING)? {
            None => Ok(default.to_owned()),
            Some(a) => match std::str::from_utf8(a.s.as_deref().unwrap_or(&[])) {
                Ok(s) => Ok(s.to_owned()),
                Err(_) => Err(Fault::Invalid(format!("the attribute `{name}` is not UTF-8"))),
            },
        }
    }

    /// Whole numbers, if they are given.
    ///
    /// # Errors
    /// As [`Call::int`].
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        Ok(self.attribute(name, kind::INTS)?.map(|a| a.ints.clone()))
    }

    /// Real numbers, if they are given.
    ///
    /// # Errors
    /// As [`Call::int`].
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Fault> {
        Ok(self.attribute(name, kind::FLOATS)?.map(|a| a.floats.clone()))
    }

    /// Texts, if they are given.
    ///
    /// # Errors
    /// As [`Call::text`].
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(a) = self.attribute(name, kind::STRINGS)? else { return Ok(None) };
        let texts: Result<Vec<_>, _> = a.strings.iter().map(|s| std::str::from_utf8(s).map(str::to_owned)).collect();
        texts.map(Some).map_err(|_| Fault::Invalid(format!("the attribute `{name}` is not UTF-8")))
    }

    /// A tensor, if it is given.
    ///
    /// # Errors
    /// As [`Call::int`]; what is wrong with the tensor.
    pub fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, Fault> {
        let Some(a) = self.attribute(name, kind::TENSOR)? else { return Ok(None) };
        let Some(t) = a.t.as_deref() else {
            return Err(Fault::Invalid(format!("the attribute `{name}` has no tensor")));
        };
        let what = format!("{}, attribute `{name}`", super::node_name(self.node));
        let limit = self.importer.options.max_memory;
        let t = tensor::tensor(t, &what, &mut *self.importer.loader, limit).map_err(Stop::Wrong)?;
        Ok(Some(t))
    }

    /// A graph, which the node must have.
    ///
    /// # Errors
    /// As [`Call::int`]; if it is missing.
    pub fn graph(&self, name: &str) -> Result<&'m GraphProto, Fault> {
        let a = self.attribute(name, kind::GRAPH)?;
        a.and_then(|a| a.g.as_deref()).ok_or_else(|| Fault::Invalid(format!("the attribute `{name}` is missing")))
    }
}
