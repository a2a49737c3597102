//! The model's inputs and constants: which are parameters, which are known, and what their extents are.

use super::emit::Value;
use super::{Importer, names};
use crate::proto::{Extent, GraphProto, TensorProto, ValueInfoProto, type_proto};
use crate::{Stop, codes, tensor};
use nc_ir::diag::nearest;
use nc_ir::graph::{MAX_RANK, Port};
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use std::collections::{BTreeMap, HashSet};

fn extent(message: String) -> Diagnostic {
    Diagnostic::error_nowhere(codes::EXTENT, message)
}

/// Declared extents; `None` for one without number and name.
type Shape<'m> = Vec<Option<&'m Extent>>;

/// The declared type of an input: element type and, if there is a shape, its extents.
fn declared<'m>(info: &'m ValueInfoProto, kind: &str) -> Result<(DType, Option<Shape<'m>>), Diagnostic> {
    let name = info.name.as_deref().unwrap_or("");
    let refuse = |what: &str| Diagnostic::error_nowhere(codes::UNSUPPORTED, format!("the {kind} `{name}` {what}"));
    let of = |what: &str| refuse(&format!("is {what}, which is not supported"));
    match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::Tensor(t)) => {
            let dtype =
                tensor::element_type(t.elem_type.unwrap_or(0)).map_err(|m| refuse(&format!("is refused: {m}")))?;
            Ok((dtype, t.shape.as_ref().map(|s| s.dim.iter().map(|d| d.value.as_ref()).collect())))
        }
        Some(type_proto::Value::Sequence(_)) => Err(of("a sequence")),
        Some(type_proto::Value::Map(_)) => Err(of("a map")),
        Some(type_proto::Value::Opaque(_)) => Err(of("opaque")),
        Some(type_proto::Value::Sparse(_)) => Err(of("a sparse tensor")),
        Some(type_proto::Value::Optional(_)) => Err(of("optional")),
        None => Err(refuse("has no type, without which it cannot be compiled")),
    }
}

impl<'m> Importer<'m> {
    /// Declares the inputs and constants of the model.
    pub(super) fn inputs(&mut self, graph: &'m GraphProto) -> Result<(), Stop> {
        let defaults: HashSet<&str> = graph.initializer.iter().filter_map(|t| t.name.as_deref()).collect();
        let mut dims = self.options.dims.clone();
        let mut used = HashSet::new();
        // Extents first: a name may be bound by a later input.
        for info in &graph.input {
            self.bind_extents(info, &mut dims, &mut used)?;
        }
        if let Some(name) = self.options.dims.keys().find(|n| !used.contains(n.as_str())) {
            let d = extent(format!("no input of the model has an extent named `{name}`"));
            return Err(match nearest(name, used.iter().copied()) {
                Some(near) => d.with_hint(format!("did you mean `{near}`?")),
                None => d.with_hint("--dim gives named extents of inputs a value"),
            }
            .into());
        }
        let mut replaced = HashSet::new();
        for info in &graph.input {
            let name = info.name.as_deref().unwrap_or("");
            if name.is_empty() {
                return Err(names("an input has no name".to_owned()).into());
            }
            if defaults.contains(name) && !self.is_given(name) {
                continue;
            }
            replaced.insert(name);
            let (dtype, shape) = declared(info, "input")?;
            if let Some(t) = self.options.values.get(name) {
                let t = as_bfloat16(dtype, t.clone());
                self.check_value(name, dtype, shape.as_deref(), t.dtype(), t.shape())?;
                self.bind(name, Some(Value::known(t, "")))?;
                continue;
            }
            let shape = self.extents_of(name, shape, &dims)?;
            if shape.len() > MAX_RANK {
                let text = format!(
                    "the input `{name}` has {} dimensions, more than {MAX_RANK}, which is not supported",
                    shape.len()
                );
                return Err(Diagnostic::error_nowhere(codes::UNSUPPORTED, text).into());
            }
            let extents: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
            let ty = TensorType::new(dtype, shape);
            if !tensor::countable(&extents) || ty.bytes().is_none_or(|n| n > self.options.max_memory) {
                let text =
                    format!("the input `{name}` is {ty}, which cannot be held in {} bytes", self.options.max_memory);
                return Err(Diagnostic::error_nowhere(codes::BOUND, text).with_hint("raise --max-memory").into());
            }
            let value = self.frames[0].graph.add_param(ty, name);
            self.module.inputs.push(Port { name: name.to_owned(), value });
            self.bind(name, Some(Value::Graph { frame: 0, id: value }))?;
        }
        if let Some(sparse) = graph.sparse_initializer.first() {
            return Err(sparse_refused(sparse.values.as_ref()).into());
        }
        for t in graph.initializer.iter().filter(|t| !t.name.as_deref().is_some_and(|n| replaced.contains(n))) {
            self.initializer(t)?;
        }
        Ok(())
    }

    /// Declares the constants of a nested graph.
    pub(super) fn initializers(&mut self, graph: &'m GraphProto) -> Result<(), Stop> {
        if let Some(sparse) = graph.sparse_initializer.first() {
            return Err(sparse_refused(sparse.values.as_ref()).into());
        }
        graph.initializer.iter().try_for_each(|t| self.initializer(t))
    }

    fn initializer(&mut self, t: &'m TensorProto) -> Result<(), Stop> {
        let name = t.name.as_deref().unwrap_or("");
        if name.is_empty() {
            return Err(names("an initializer has no name".to_owned()).into());
        }
        let data = tensor::tensor(t, &format!("initializer `{name}`"), &mut *self.loader, self.options.max_memory)?;
        Ok(self.bind(name, Some(Value::known(data, name)))?)
    }

    fn is_given(&self, name: &str) -> bool {
        self.options.inputs.contains_key(name) || self.options.values.contains_key(name)
    }

    /// Shape of what the model will run on, if it is known.
    fn given_shape(&self, name: &str) -> Option<&[usize]> {
        match self.options.values.get(name) {
            Some(t) => Some(t.shape()),
            None => self.options.inputs.get(name).map(|(_, s)| s.as_slice()),
        }
    }

    /// Takes the named extents of an input from its array.
    fn bind_extents(
        &self,
        info: &'m ValueInfoProto,
        dims: &mut BTreeMap<String, u64>,
        used: &mut HashSet<&'m str>,
    ) -> Result<(), Diagnostic> {
        let name = info.name.as_deref().unwrap_or("");
        let Some(type_proto::Value::Tensor(t)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Ok(());
        };
        let Some(shape) = &t.shape else { return Ok(()) };
        let given = self.given_shape(name);
        if let Some(given) = given.filter(|g| g.len() != shape.dim.len()) {
            let n = shape.dim.len();
            return Err(extent(format!("the input `{name}` has {n} dimensions, its array has the shape {given:?}")));
        }
        for (k, d) in shape.dim.iter().enumerate() {
            let Some(Extent::Param(p)) = d.value.as_ref() else { continue };
            if p.is_empty() {
                continue;
            }
            used.insert(p);
            let Some(n) = given.map(|g| g[k] as u64) else { continue };
            match dims.insert(p.clone(), n) {
                Some(before) if before != n => {
                    return Err(extent(format!(
                        "axis {k} of the input `{name}` is the extent `{p}`, which is {before}; its array has {n}"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The extents of an input as numbers.
    fn extents_of(
        &self,
        name: &str,
        shape: Option<Shape<'m>>,
        dims: &BTreeMap<String, u64>,
    ) -> Result<Vec<u64>, Diagnostic> {
        let given = self.given_shape(name);
        let Some(shape) = shape else {
            return given.map(|g| g.iter().map(|n| *n as u64).collect()).ok_or_else(|| {
                extent(format!("the input `{name}` has no shape"))
                    .with_hint("run the model on arrays, whose shapes decide")
            });
        };
        let of = |(k, d): (usize, Option<&Extent>)| match d {
            Some(Extent::Value(n)) => u64::try_from(*n).map_err(|_| {
                extent(format!("axis {k} of the input `{name}` has the extent {n}, which cannot be"))
                    .with_hint("an extent that only a run decides has a name")
            }),
            Some(Extent::Param(p)) if !p.is_empty() => match dims.get(p) {
                Some(n) => Ok(*n),
                None => Err(extent(format!("axis {k} of the input `{name}` has the extent `{p}`, which is not known"))
                    .with_hint(format!("give it with --dim {p}=N"))),
            },
            _ => given.map(|g| g[k] as u64).ok_or_else(|| {
                extent(format!("axis {k} of the input `{name}` has an extent without a name, which is not known"))
                    .with_hint("run the model on arrays, whose shapes decide")
            }),
        };
        shape.into_iter().enumerate().map(of).collect()
    }

    /// A value that is bound as a constant has the declared type.
    fn check_value(
        &self,
        name: &str,
        dtype: DType,
        shape: Option<&[Option<&Extent>]>,
        given: DType,
        extents: &[usize],
    ) -> Result<(), Diagnostic> {
        if dtype != given {
            return Err(extent(format!("the input `{name}` is {dtype}, the value that is given for it is {given}")));
        }
        let fits = shape.is_none_or(|s| {
            s.iter().zip(extents).all(|(d, n)| !matches!(d, Some(Extent::Value(v)) if *v != *n as i64))
        });
        match fits {
            true => Ok(()),
            false => Err(extent(format!("the input `{name}` has another shape than the array {extents:?}"))),
        }
    }

    /// An output has the element type and rank that the model declares for it. Some exporters declare the last states of
    /// recurrent layers with an axis of extent 1 too many: axes of extent 1 do not count where ranks differ.
    pub(super) fn check_declared(&self, info: &'m ValueInfoProto, value: &Value) -> Result<(), Diagnostic> {
        if info.r#type.as_ref().and_then(|t| t.value.as_ref()).is_none() {
            return Ok(());
        }
        let (dtype, shape) = declared(info, "output")?;
        let (got, own) = (self.dtype_of(value), self.shape_of(value));
        if got == dtype && shape.is_none_or(|s| s.len() == own.len() || same_but_ones(&s, &own)) {
            return Ok(());
        }
        let name = info.name.as_deref().unwrap_or("");
        Err(Diagnostic::error_nowhere(
            codes::NODE,
            format!("the output `{name}` is declared as another type than {got}{own:?}, which its node gives"),
        ))
    }
}

/// True if declared extents are those of a shape once axes of extent 1 are left out; a name stands for any extent.
fn same_but_ones(declared: &[Option<&Extent>], shape: &[usize]) -> bool {
    let declared: Vec<_> = declared.iter().filter(|d| !matches!(d, Some(Extent::Value(1)))).collect();
    let shape: Vec<_> = shape.iter().filter(|n| **n != 1).collect();
    let fits = |(d, n): (&&Option<&Extent>, &&usize)| !matches!(d, Some(Extent::Value(v)) if *v != **n as i64);
    declared.len() == shape.len() && declared.iter().zip(&shape).all(fits)
}

/// The bits of a bfloat16, for which numpy has no type, as numbers of that type.
fn as_bfloat16(dtype: DType, t: Tensor) -> Tensor {
    match dtype == DType::BF16 && t.dtype() == DType::U16 {
        true => Tensor::from_bytes(dtype, t.shape().to_vec(), t.bytes()).unwrap_or(t),
        false => t,
    }
}

fn sparse_refused(values: Option<&TensorProto>) -> Diagnostic {
    let name = values.and_then(|v| v.name.as_deref()).unwrap_or("");
    Diagnostic::error_nowhere(codes::UNSUPPORTED, format!("initializer `{name}`: sparse tensors are not supported"))
}
