//! Binding of named extents.

use super::verify::verify;
use super::{Graph, Module};
use crate::diag::{Diagnostic, nearest};
use crate::types::{Dim, TensorType};
use std::collections::{BTreeMap, BTreeSet};

impl Module {
    /// The named extents of the step function and its delay lines that are not bound yet.
    pub fn dims(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut collect = |ty: &TensorType| {
            names.extend(ty.shape.iter().filter_map(|d| match d {
                Dim::Sym(name) => Some(name.clone()),
                Dim::Const(_) => None,
            }));
        };
        self.lines.iter().for_each(|l| collect(&l.ty));
        let mut work = vec![&self.graph];
        while let Some(g) = work.pop() {
            g.values.iter().for_each(|v| collect(&v.ty));
            work.extend(g.nodes.iter().flat_map(|n| &n.regions));
        }
        names
    }

    /// Replaces named extents by numbers, in the step function with its regions and in the delay lines. Names that `dims`
    /// does not list stay. The row length of a connectivity's regions is not such a name and is never bound.
    ///
    /// # Errors
    /// `E0521` if `dims` lists a name that the module does not have, or if an op does not fit with the numbers; the module
    /// is then as before.
    pub fn bind_dims(&mut self, dims: &BTreeMap<String, u64>) -> Result<(), Diagnostic> {
        let known = self.dims();
        if let Some(name) = dims.keys().find(|name| !known.contains(*name)) {
            let d = Diagnostic::error_nowhere("E0521", format!("`{}` has no extent named `{name}`", self.name));
            return Err(match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => d.with_hint(format!("did you mean `{near}`?")),
                None => d,
            });
        }
        let mut bound = self.clone();
        bound.lines.iter_mut().for_each(|l| bind(&mut l.ty, dims));
        let mut work = vec![&mut bound.graph];
        while let Some(Graph { values, nodes, .. }) = work.pop() {
            values.iter_mut().for_each(|v| bind(&mut v.ty, dims));
            work.extend(nodes.iter_mut().flat_map(|n| &mut n.regions));
        }
        verify(&bound)
            .map_err(|e| Diagnostic::error_nowhere("E0521", format!("the extents do not fit the model: {e}")))?;
        *self = bound;
        Ok(())
    }
}

fn bind(ty: &mut TensorType, dims: &BTreeMap<String, u64>) {
    for d in &mut ty.shape {
        if let Dim::Sym(name) = d
            && let Some(n) = dims.get(name)
        {
            *d = Dim::Const(*n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Port, Real};
    use crate::types::DType;

    fn symbolic() -> Module {
        let mut m = Module { name: "m".into(), dt: Some(Real(1e-3)), ..Module::default() };
        let ty = TensorType { dtype: DType::F32, shape: vec![Dim::Sym("n".into()), Dim::Const(3)] };
        let x = m.graph.add_param(ty, "x");
        m.inputs.push(Port { name: "x".into(), value: x });
        let y = m.builder().add(x, x).expect("types fit");
        m.outputs.push(Port { name: "y".into(), value: y });
        m
    }

    #[test]
    fn names_become_numbers() {
        let mut m = symbolic();
        assert_eq!(m.dims().into_iter().collect::<Vec<_>>(), ["n"]);
        m.bind_dims(&BTreeMap::from([("n".to_string(), 5)])).expect("known name");
        assert_eq!(m.graph.ty(m.outputs[0].value), &TensorType::new(DType::F32, [5, 3]));
        assert!(m.dims().is_empty());
    }

    #[test]
    fn unknown_names_are_refused() {
        let mut m = symbolic();
        let e = m.bind_dims(&BTreeMap::from([("m".to_string(), 5)])).expect_err("unknown name");
        assert_eq!((e.code, e.hint.as_deref()), ("E0521", Some("did you mean `n`?")));
        let e = m.bind_dims(&BTreeMap::from([("n".to_string(), u64::MAX)])).expect_err("too large");
        assert!(e.message.contains("G006"), "{e}");
        assert_eq!(m, symbolic());
    }
}
