//! A graph without graphs inside: names joined with dots, edges as numbers, ends that were missing.

use crate::model::{Graph, Node};
use crate::primitive::Kind;
use nc_ir::{Diagnostic, Severity};
use std::collections::HashMap;

/// A flattened graph.
#[derive(Debug)]
pub struct Flat {
    /// Names, joined with dots, and nodes; a `NIRGraph` is not among them.
    pub nodes: Vec<(String, Node)>,
    /// Edges in the order of the file, each once; an outer graph's before those of the graphs inside it.
    pub edges: Vec<(usize, usize)>,
    /// Nodes of the outermost graph, whose inputs and outputs are those of the model.
    pub outer: Vec<bool>,
}

/// A warning or note without a place.
pub fn remark(severity: Severity, code: &'static str, text: String) -> Diagnostic {
    Diagnostic { severity, ..Diagnostic::error_nowhere(code, text) }
}

/// Flattens a graph; with `repair`, edge ends that do not exist become the nearest that do.
///
/// # Errors
/// E0934 for such an end without `repair`, E0942 where it is not clear which input or output of a graph is meant.
pub fn flatten(graph: &Graph, repair: bool, said: &mut Vec<Diagnostic>) -> Result<Flat, Diagnostic> {
    let mut flat = Flat { nodes: Vec::new(), edges: Vec::new(), outer: Vec::new() };
    inline(graph, "", repair, &mut flat, said)?;
    let mut seen = std::collections::HashSet::new();
    flat.edges.retain(|e| seen.insert(*e));
    Ok(flat)
}

/// What an edge finds under a name.
#[derive(Clone, Copy)]
enum End {
    Node(usize),
    /// A graph: its inputs and outputs.
    Graph(Port, Port),
}

#[derive(Clone, Copy)]
enum Port {
    None,
    One(usize),
    Several,
}

impl Port {
    fn add(&mut self, n: usize) {
        *self = match self {
            Port::None => Port::One(n),
            Port::One(_) | Port::Several => Port::Several,
        };
    }
}

fn inline(
    graph: &Graph,
    prefix: &str,
    repair: bool,
    flat: &mut Flat,
    said: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut ends: HashMap<&str, End> = HashMap::new();
    let mut inner = Vec::new();
    for (name, node) in &graph.nodes {
        let path = format!("{prefix}{name}");
        match &node.graph {
            None => {
                ends.insert(name, End::Node(flat.nodes.len()));
                flat.outer.push(prefix.is_empty());
                flat.nodes.push((path, node.clone()));
            }
            Some(g) => inner.push((name, g, path)),
        }
    }
    let edges_at = flat.edges.len();
    for (name, g, path) in inner {
        let first = flat.nodes.len();
        inline(g, &format!("{path}."), repair, flat, said)?;
        let (mut input, mut output) = (Port::None, Port::None);
        // Its own ports, not those of graphs inside it: they stand first, before anything that is nested deeper.
        let own = g.nodes.iter().filter(|(_, n)| n.graph.is_none()).count();
        for k in first..first + own {
            match flat.nodes[k].1.kind {
                Kind::Input => input.add(k),
                Kind::Output => output.add(k),
                _ => {}
            }
        }
        ends.insert(name, End::Graph(input, output));
    }
    // Edges of this graph come before those of the graphs in it.
    let deeper = flat.edges.split_off(edges_at);
    for (from, to) in &graph.edges {
        let mut find = |from_side| end(graph, &ends, (from, to), from_side, prefix, repair, said);
        let edge = (find(true)?, find(false)?);
        flat.edges.push(edge);
    }
    flat.edges.extend(deeper);
    Ok(())
}

/// The node at one end of an edge.
fn end(
    graph: &Graph,
    ends: &HashMap<&str, End>,
    edge: (&str, &str),
    from: bool,
    prefix: &str,
    repair: bool,
    said: &mut Vec<Diagnostic>,
) -> Result<usize, Diagnostic> {
    let mut name = if from { edge.0 } else { edge.1 };
    if !ends.contains_key(name) {
        let taken = closest(graph, name, from);
        let side = if from { "from" } else { "to" };
        let text = format!("an edge leads {side} `{prefix}{name}`, which is no node of the graph");
        let Some(taken) = taken else { return Err(Diagnostic::error_nowhere("E0934", text)) };
        if !repair {
            return Err(Diagnostic::error_nowhere("E0934", text)
                .with_hint(format!("did you mean `{prefix}{taken}`? --repair takes it")));
        }
        said.push(remark(Severity::Warning, "W0943", format!("{text}; `{prefix}{taken}` was taken")));
        name = taken;
    }
    let unclear = |what: &str, count: &str| {
        let text = format!("the edge from `{}` to `{}` leads {what} a graph with {count}", edge.0, edge.1);
        Diagnostic::error_nowhere("E0942", text)
    };
    match (ends[name], from) {
        (End::Node(k), _) => Ok(k),
        (End::Graph(_, Port::One(k)), true) | (End::Graph(Port::One(k), _), false) => Ok(k),
        (End::Graph(_, Port::None), true) => Err(unclear("from", "no output")),
        (End::Graph(_, Port::Several), true) => Err(unclear("from", "several outputs")),
        (End::Graph(Port::None, _), false) => Err(unclear("to", "no input")),
        (End::Graph(Port::Several, _), false) => Err(unclear("to", "several inputs")),
    }
}

/// The node nearest to a name that does not exist: by edit distance, nodes that still lack an edge on that side first.
fn closest<'a>(graph: &'a Graph, name: &str, from: bool) -> Option<&'a str> {
    let short = |text: &str| text.chars().take(200).collect::<Vec<char>>();
    let wanted = short(name);
    (graph.nodes.iter())
        .filter(|(_, n)| !matches!((n.kind, from), (Kind::Output, true) | (Kind::Input, false)))
        .map(|(candidate, _)| {
            let used = graph.edges.iter().any(|(a, b)| if from { a == candidate } else { b == candidate });
            (distance(&wanted, &short(candidate)) + 2 * usize::from(used), candidate.as_str())
        })
        .min()
        .map(|(_, n)| n)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// In which order nodes are computed.
#[derive(Debug)]
pub struct Order {
    /// Nodes, each after those whose value of this tick it needs.
    pub nodes: Vec<usize>,
    /// For each edge: it carries the value of a tick before.
    pub cut: Vec<bool>,
    /// For each edge: it is part of a circle.
    pub circular: Vec<bool>,
}

/// Which edges carry the value of the tick before, and the order of the nodes without them.
///
/// In a circle these are the edges that leave a neuron or a delay. A circle without one has no meaning.
///
/// # Errors
/// E0936 with the circle.
pub fn order(flat: &Flat) -> Result<Order, Diagnostic> {
    let n = flat.nodes.len();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (e, (a, _)) in flat.edges.iter().enumerate() {
        next[*a].push(e);
    }
    let component = components(n, &next, &flat.edges);
    let cut: Vec<bool> = (flat.edges.iter())
        .map(|(a, b)| {
            let kind = flat.nodes[*a].1.kind;
            component[*a] == component[*b] && (kind.is_neuron() || kind == Kind::Delay)
        })
        .collect();
    let mut waiting = vec![0usize; n];
    for (e, (_, b)) in flat.edges.iter().enumerate() {
        waiting[*b] += usize::from(!cut[e]);
    }
    let mut order: Vec<usize> = (0..n).filter(|k| waiting[*k] == 0).collect();
    let mut at = 0;
    while at < order.len() {
        for e in &next[order[at]] {
            let to = flat.edges[*e].1;
            if !cut[*e] {
                waiting[to] -= 1;
                if waiting[to] == 0 {
                    order.push(to);
                }
            }
        }
        at += 1;
    }
    if order.len() < n {
        // Every node left waits for another one that is left: following them backwards ends in a circle.
        let mut path: Vec<usize> = Vec::new();
        let mut here = (0..n).find(|k| waiting[*k] > 0).unwrap_or(0);
        let mut visited = vec![false; n];
        while !std::mem::replace(&mut visited[here], true) {
            path.push(here);
            let before = (flat.edges.iter().enumerate()).find(|(e, (a, b))| *b == here && !cut[*e] && waiting[*a] > 0);
            here = before.map_or(here, |(_, (a, _))| *a);
        }
        let start = path.iter().position(|k| *k == here).unwrap_or(0);
        let names: Vec<String> =
            path[start..].iter().rev().take(8).map(|k| format!("`{}`", flat.nodes[*k].0)).collect();
        return Err(Diagnostic::error_nowhere(
            "E0936",
            format!("there is no neuron and no delay in the circle {}", names.join(" -> ")),
        ));
    }
    let circular = flat.edges.iter().map(|(a, b)| component[*a] == component[*b]).collect();
    Ok(Order { nodes: order, cut, circular })
}

/// A number for each node: nodes that reach each other have the same. Single nodes are alone even with an edge to
/// themselves, which is in the component all the same.
pub(crate) fn components(n: usize, next: &[Vec<usize>], edges: &[(usize, usize)]) -> Vec<usize> {
    let (mut index, mut low) = (vec![usize::MAX; n], vec![0; n]);
    let (mut component, mut stack, mut count) = (vec![usize::MAX; n], Vec::new(), 0);
    let mut clock = 0;
    for root in 0..n {
        if index[root] != usize::MAX {
            continue;
        }
        // Each frame: the node, and how many of its edges were followed.
        let mut frames = vec![(root, 0)];
        while let Some((node, followed)) = frames.last_mut() {
            let node = *node;
            if *followed == 0 {
                (index[node], low[node]) = (clock, clock);
                clock += 1;
                stack.push(node);
            }
            if let Some(e) = next[node].get(*followed) {
                *followed += 1;
                let to = edges[*e].1;
                if index[to] == usize::MAX {
                    frames.push((to, 0));
                } else if component[to] == usize::MAX {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            if low[node] == index[node] {
                while let Some(k) = stack.pop() {
                    component[k] = count;
                    if k == node {
                        break;
                    }
                }
                count += 1;
            }
            frames.pop();
            if let Some((parent, _)) = frames.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
        }
    }
    component
}
