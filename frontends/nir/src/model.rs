//! A NIR graph in memory, as near to its file as can be: what is read is what is written.

use crate::primitive::{Holds, Kind};
use crate::tree::{Array, Group, Value};
use nc_ir::Diagnostic;
use nc_ir::diag::nearest;

/// Deepest nesting of graphs in graphs.
pub const MAX_GRAPHS: usize = 16;

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Version of NIR that wrote it; empty if the file does not say.
    pub version: String,
    /// The node of the file: a graph, in practice.
    pub root: Node,
}

/// A node with its parameters as they stand in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Which primitive.
    pub kind: Kind,
    /// Parameters, metadata included; without `type`, `nodes` and `edges`.
    pub params: Group,
    /// What is inside, for a graph.
    pub graph: Option<Graph>,
}

/// Nodes and edges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Graph {
    /// Nodes by name, in the order of the file.
    pub nodes: Vec<(String, Node)>,
    /// Edges, from and to, in the order of the file.
    pub edges: Vec<(String, String)>,
}

fn wrong(at: &str, what: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error_nowhere("E0933", format!("node `{at}`: {what}"))
}

impl Node {
    /// A node without parameters.
    pub fn new(kind: Kind) -> Node {
        Node { kind, params: Group::default(), graph: None }
    }

    /// Adds a parameter.
    pub fn with(mut self, name: &str, array: Array) -> Node {
        self.params.put(name, Value::Array(array));
        self
    }

    /// The array of a parameter, if it is there.
    pub fn array(&self, name: &str) -> Option<&Array> {
        match self.params.get(name) {
            Some(Value::Array(a)) => Some(a),
            _ => None,
        }
    }

    fn from_group(group: Group, at: &str, depth: usize) -> Result<Node, Diagnostic> {
        let shown = if at.is_empty() { "the outermost" } else { at };
        let Some(name) = group.text("type") else {
            return Err(wrong(shown, "has no `type`").with_hint("every node of a NIR file names its primitive there"));
        };
        let Some(kind) = Kind::from_name(name) else {
            let d =
                Diagnostic::error_nowhere("E0932", format!("node `{shown}`: the primitive `{name}` is not supported"));
            return Err(match nearest(name, crate::primitive::TABLE.iter().map(|p| p.name)) {
                Some(n) => d.with_hint(format!("did you mean `{n}`?")),
                None => d.with_hint("docs/nir.md lists the primitives of NIR 1.0"),
            });
        };
        let mut node = Node::new(kind);
        let mut edges = None;
        for (name, value) in group.0 {
            match (name.as_str(), value) {
                ("type", _) => {}
                ("nodes", Value::Group(inner)) if kind == Kind::NIRGraph => {
                    if depth >= MAX_GRAPHS {
                        return Err(Diagnostic::error_nowhere(
                            "E0931",
                            format!("graphs are nested more than {MAX_GRAPHS} deep"),
                        ));
                    }
                    let graph = node.graph.get_or_insert_default();
                    for (name, value) in inner.0 {
                        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                        let Value::Group(g) = value else {
                            return Err(wrong(&path, "is an array, and should be a group of parameters"));
                        };
                        graph.nodes.push((name, Node::from_group(g, &path, depth + 1)?));
                    }
                }
                ("edges", value) if kind == Kind::NIRGraph => edges = Some(value),
                (_, value) => node.params.put(&name, value),
            }
        }
        if kind == Kind::NIRGraph {
            let graph = node.graph.get_or_insert_default();
            graph.edges = match edges {
                // A graph without edges is kept as an array without elements.
                None | Some(Value::Group(_) | Value::Text(_)) => return Err(wrong(shown, "has no list of `edges`")),
                Some(Value::Array(a)) if a.is_empty() => Vec::new(),
                Some(Value::Texts(shape, list)) if shape == [list.len() / 2, 2] => {
                    let mut list = list.into_iter();
                    std::iter::from_fn(|| Some((list.next()?, list.next()?))).collect()
                }
                Some(Value::Texts(shape, _)) => {
                    return Err(wrong(shown, format!("`edges` has the extents {shape:?}, and should have [n, 2]")));
                }
                Some(Value::Array(a)) => return Err(wrong(shown, format!("`edges` is {a:?}, and should be texts"))),
            };
        }
        node.check(shown)?;
        Ok(node)
    }

    /// Checks parameters against the table of primitives.
    fn check(&self, at: &str) -> Result<(), Diagnostic> {
        let row = self.kind.row();
        for p in row.params {
            let found = match self.params.get(p.name) {
                None if p.required => {
                    let names = self.params.0.iter().map(|(n, _)| n.as_str());
                    let d = wrong(at, format!("{} needs the parameter `{}`", row.name, p.name));
                    return Err(match nearest(p.name, names) {
                        Some(n) => d.with_hint(format!("is it the one called `{n}`?")),
                        None => d,
                    });
                }
                None => continue,
                Some(v) => v,
            };
            let fits = match (p.holds, found) {
                (Holds::Reals, Value::Array(_)) => true,
                (Holds::Ints | Holds::Padding, Value::Array(a)) => a.ints().is_some(),
                (Holds::Padding, Value::Text(t)) => matches!(t.as_str(), "same" | "valid"),
                _ => false,
            };
            if !fits {
                let expected = match p.holds {
                    Holds::Reals => "numbers",
                    Holds::Ints => "whole numbers",
                    Holds::Padding => "whole numbers, or \"same\" or \"valid\"",
                };
                return Err(wrong(at, format!("`{}` is {}, and should be {expected}", p.name, shown(found))));
            }
        }
        for (name, _) in &self.params.0 {
            // Types stand in some older files beside the parameters that they follow from.
            let known = matches!(name.as_str(), "metadata" | "input_type" | "output_type");
            if !known && !row.params.iter().any(|p| p.name == name) {
                let d = wrong(at, format!("{} has no parameter `{name}`", row.name));
                return Err(match nearest(name, row.params.iter().map(|p| p.name)) {
                    Some(n) => d.with_hint(format!("did you mean `{n}`?")),
                    None => d,
                });
            }
        }
        Ok(())
    }

    fn to_group(&self) -> Group {
        let mut g = Group::default();
        if let Some(graph) = &self.graph {
            let list: Vec<String> = graph.edges.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
            let edges = match list.is_empty() {
                false => Value::Texts(vec![graph.edges.len(), 2], list),
                // As NumPy makes an array of an empty list.
                true => Value::Array(Array { elem: crate::tree::Elem::F64, shape: vec![0], bytes: Vec::new() }),
            };
            g.put("edges", edges);
            let nodes = graph.nodes.iter().map(|(name, n)| (name.clone(), Value::Group(n.to_group()))).collect();
            g.put("nodes", Value::Group(Group(nodes)));
        }
        g.0.extend(self.params.0.iter().cloned());
        g.put("type", Value::Text(self.kind.row().name.to_owned()));
        g.0.sort_by(|a, b| a.0.cmp(&b.0));
        g
    }
}

fn shown(v: &Value) -> String {
    match v {
        Value::Array(a) => format!("{a:?}"),
        Value::Text(t) => format!("the text {:?}", t.chars().take(40).collect::<String>()),
        Value::Texts(shape, _) => format!("texts{shape:?}"),
        Value::Group(_) => "a group".to_owned(),
    }
}

impl File {
    /// Gives nodes of the outermost graph other names, where `f` has one that no node has.
    pub fn rename(&mut self, f: impl Fn(&str) -> Option<String>) {
        let Some(graph) = &mut self.root.graph else { return };
        for k in 0..graph.nodes.len() {
            let before = graph.nodes[k].0.clone();
            let Some(after) = f(&before).filter(|n| graph.nodes.iter().all(|(m, _)| m != n)) else { continue };
            graph.nodes[k].0.clone_from(&after);
            let ends = graph.edges.iter_mut().flat_map(|(a, b)| [a, b]);
            ends.filter(|e| **e == before).for_each(|e| e.clone_from(&after));
        }
    }

    /// From the groups of an HDF5 file.
    ///
    /// # Errors
    /// E0930 for a file that has no `node`, E0932 for an unknown primitive, E0933 for parameters that do not fit, E0931 for
    /// graphs that are nested too deep.
    pub fn from_group(mut root: Group) -> Result<File, Diagnostic> {
        let version = root.text("version").unwrap_or_default().to_owned();
        let at = root.0.iter().position(|(n, v)| n == "node" && matches!(v, Value::Group(_)));
        let Some((_, Value::Group(node))) = at.map(|k| root.0.swap_remove(k)) else {
            return Err(Diagnostic::error_nowhere("E0930", "the file is HDF5, but not NIR: it has no group `node`")
                .with_hint("NIR files are made by nir.write of Python's nir"));
        };
        Ok(File { version, root: Node::from_group(node, "", 0)? })
    }

    /// As groups of an HDF5 file.
    pub fn to_group(&self) -> Group {
        let version = if self.version.is_empty() { crate::VERSION } else { &self.version };
        Group(vec![
            ("node".to_owned(), Value::Group(self.root.to_group())),
            ("version".to_owned(), Value::Text(version.to_owned())),
        ])
    }

    /// The outermost graph. A file of a single node is a graph of that node between an input and an output.
    pub fn graph(&self) -> Graph {
        if let Some(g) = &self.root.graph {
            return g.clone();
        }
        let name = self.root.kind.row().name.to_lowercase();
        Graph { nodes: vec![(name, self.root.clone())], edges: Vec::new() }
    }
}
