//! Shapes: what each node takes and gives.

use crate::flat::Flat;
use crate::flat::remark;
use crate::model::Node;
use crate::primitive::Kind;
use crate::tree::{Array, Value};
use nc_ir::{Diagnostic, Severity};

/// Extents without the axes of ticks and samples.
pub type Shape = Vec<usize>;

/// Shapes of all nodes.
#[derive(Debug)]
pub struct Shapes {
    /// What each node takes.
    pub takes: Vec<Shape>,
    /// What each node gives.
    pub gives: Vec<Shape>,
}

/// Geometry of a convolution or pooling: as the op of the graph takes it.
#[derive(Debug)]
pub struct Window {
    /// Steps along each axis.
    pub stride: Vec<u64>,
    /// Zeros before, then after, each axis.
    pub pad: Vec<u64>,
    /// Distance of the elements of a window.
    pub dilation: Vec<u64>,
    /// Extents of the window.
    pub size: Vec<u64>,
    /// Groups of channels.
    pub groups: u64,
}

/// Infers all shapes from the inputs on.
///
/// # Errors
/// E0935 for shapes that disagree, E0941 for windows that do not fit, E0931 for values larger than `max_bytes`.
pub fn infer(flat: &Flat, repair: bool, max_bytes: u64, said: &mut Vec<Diagnostic>) -> Result<Shapes, Diagnostic> {
    let n = flat.nodes.len();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (a, b) in &flat.edges {
        next[*a].push(*b);
    }
    let mut takes: Vec<Option<Shape>> = vec![None; n];
    let mut gives: Vec<Option<Shape>> = vec![None; n];
    let mut ready: Vec<usize> = Vec::new();
    let mut fed = vec![false; n];
    flat.edges.iter().for_each(|(_, b)| fed[*b] = true);
    for (k, (_, node)) in flat.nodes.iter().enumerate() {
        if node.kind == Kind::Input && flat.outer[k] || !fed[k] {
            takes[k] = declared(node);
            if takes[k].is_some() {
                ready.push(k);
            }
        }
    }
    // Circles that nothing leads into begin where a node says what it takes.
    let mut spare = 0;
    loop {
        let Some(k) = ready.pop() else {
            while spare < n && (takes[spare].is_some() || declared(&flat.nodes[spare].1).is_none()) {
                spare += 1;
            }
            if spare == n {
                break;
            }
            takes[spare] = declared(&flat.nodes[spare].1);
            ready.push(spare);
            continue;
        };
        let (name, node) = &flat.nodes[k];
        let Some(shape) = takes[k].clone() else { continue };
        let out = gives_of(node, &shape).map_err(|(code, what)| {
            let d = Diagnostic::error_nowhere(code, format!("node `{name}` ({}): {what}", node.kind));
            match declared(node) {
                Some(want) if want != shape && count(&want) == count(&shape) => {
                    d.with_hint(format!("--repair reshapes {shape:?} to {want:?}"))
                }
                _ => d,
            }
        })?;
        if count(&out).is_none_or(|n| n.saturating_mul(4) > max_bytes) {
            return Err(Diagnostic::error_nowhere(
                "E0931",
                format!("node `{name}` gives {out:?} numbers, more than the memory limit of {max_bytes} bytes"),
            ));
        }
        for to in &next[k] {
            if takes[*to].is_some() {
                continue;
            }
            let (other, node) = &flat.nodes[*to];
            let mut shape = out.clone();
            if repair
                && gives_of(node, &shape).is_err()
                && let Some(want) = declared(node)
                && want != shape
                && count(&want) == count(&shape)
            {
                let text = format!("`{name}` gives {shape:?}, `{other}` takes {want:?}: it was reshaped");
                said.push(remark(Severity::Warning, "W0943", text));
                shape = want;
            }
            takes[*to] = Some(shape);
            ready.push(*to);
        }
        gives[k] = Some(out);
    }
    for (a, b) in &flat.edges {
        let (Some(out), Some(want)) = (&gives[*a], &takes[*b]) else { continue };
        if out != want && !(repair && count(out) == count(want)) {
            let (from, to) = (&flat.nodes[*a].0, &flat.nodes[*b].0);
            let d = Diagnostic::error_nowhere("E0935", format!("`{from}` gives {out:?}, and `{to}` takes {want:?}"));
            return Err(match count(out) == count(want) {
                true => d.with_hint("--repair reshapes it"),
                false => d,
            });
        }
    }
    let all = |list: Vec<Option<Shape>>| -> Result<Vec<Shape>, Diagnostic> {
        (list.into_iter().enumerate())
            .map(|(k, s)| {
                s.ok_or_else(|| {
                    let (name, node) = &flat.nodes[k];
                    Diagnostic::error_nowhere(
                        "E0935",
                        format!("nothing says what shape node `{name}` ({}) takes: no input leads to it", node.kind),
                    )
                })
            })
            .collect()
    };
    Ok(Shapes { takes: all(takes)?, gives: all(gives)? })
}

/// Number of elements.
pub fn count(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64))
}

/// The parameter that tells the shape of an element-wise node: the one with the most elements.
fn widest(node: &Node) -> Option<&Array> {
    node.kind.row().params.iter().filter_map(|p| node.array(p.name)).max_by_key(|a| a.len())
}

/// The shape that a node says it takes, if it does.
pub fn declared(node: &Node) -> Option<Shape> {
    let extents = |name: &str| -> Option<Shape> {
        node.array(name)?.ints()?.into_iter().map(|n| usize::try_from(n).ok()).collect()
    };
    match node.kind {
        Kind::Input | Kind::Output => extents("shape"),
        Kind::Affine | Kind::Linear => {
            let w = &node.array("weight")?.shape;
            let (columns, batch) = (w.last()?, w.get(..w.len().checked_sub(2)?)?);
            Some(batch.iter().chain([columns]).copied().collect())
        }
        Kind::Conv1d | Kind::Conv2d => {
            let channels = node.array("weight")?.shape.get(1)?.checked_mul(*extents("groups")?.first()?)?;
            let spatial = if node.kind == Kind::Conv1d { 1 } else { 2 };
            let input = extents("input_shape").filter(|s| s.len() == spatial)?;
            Some([channels].into_iter().chain(input).collect())
        }
        Kind::Flatten => extents("input_type"),
        Kind::SumPool2d | Kind::AvgPool2d | Kind::NIRGraph => None,
        _ => Some(widest(node)?.shape.clone()).filter(|s| !s.is_empty()),
    }
}

type Misfit = (&'static str, String);

fn misfit(what: String) -> Misfit {
    ("E0935", what)
}

/// What a node gives for what it takes.
fn gives_of(node: &Node, x: &[usize]) -> Result<Shape, Misfit> {
    if x.contains(&0) {
        return Err(misfit(format!("the shape {x:?} has no elements")));
    }
    if x.len() > 8 {
        return Err(misfit(format!("the shape {x:?} has more than 8 axes")));
    }
    match node.kind {
        Kind::Input | Kind::Output => match declared(node) {
            Some(s) if s != x => Err(misfit(format!("its shape is {s:?}, and it gets {x:?}"))),
            // An output that was added for a loose end takes what it gets.
            Some(_) | None => Ok(x.to_vec()),
        },
        Kind::Affine | Kind::Linear => linear(node, x),
        Kind::Conv1d | Kind::Conv2d => {
            let w = &node.array("weight").ok_or_else(|| misfit("no weight".to_owned()))?.shape;
            let spatial = if node.kind == Kind::Conv1d { 1 } else { 2 };
            if w.len() != spatial + 2 {
                return Err(("E0941", format!("the weight has the shape {w:?}, and should have {} axes", spatial + 2)));
            }
            let window = window(node, x)?;
            let groups = window.groups as usize;
            if x[0] != w[1].saturating_mul(groups) || w[0] % groups != 0 {
                return Err(misfit(format!(
                    "the weight {w:?} in {groups} groups takes {} channels, and gets {x:?}",
                    w[1].saturating_mul(groups)
                )));
            }
            if let Some(b) = node.array("bias")
                && b.shape != [w[0]]
                && b.len() != 1
            {
                return Err(misfit(format!("the bias has the shape {:?}, and there are {} channels", b.shape, w[0])));
            }
            slid(&window, w[0], x)
        }
        Kind::SumPool2d | Kind::AvgPool2d => slid(&window(node, x)?, x[0], x),
        Kind::Flatten => {
            let (start, end) = flat_axes(node, x.len())
                .ok_or_else(|| misfit(format!("start_dim and end_dim are not axes of {x:?}")))?;
            let middle = x[start..=end].iter().product();
            Ok(x[..start].iter().copied().chain([middle]).chain(x[end + 1..].iter().copied()).collect())
        }
        Kind::NIRGraph => Ok(x.to_vec()),
        _ => {
            for p in node.kind.row().params {
                let Some(a) = node.array(p.name) else { continue };
                if a.len() != 1 && !x.starts_with(&a.shape) {
                    return Err(misfit(format!("`{}` has the shape {:?}, and the input {x:?}", p.name, a.shape)));
                }
            }
            Ok(x.to_vec())
        }
    }
}

fn linear(node: &Node, x: &[usize]) -> Result<Shape, Misfit> {
    let w = &node.array("weight").ok_or_else(|| misfit("no weight".to_owned()))?.shape;
    let Some(batch) = w.len().checked_sub(2) else {
        return Err(misfit(format!("the weight has the shape {w:?}, and should have two axes or more")));
    };
    let (rows, columns) = (w[batch], w[batch + 1]);
    if rows == 0 || columns == 0 {
        return Err(misfit(format!("the weight has the shape {w:?}, which has no elements")));
    }
    let fits = x.last() == Some(&columns) && (batch == 0 || x[..x.len() - 1] == w[..batch]);
    if !fits {
        let want: Shape = w[..batch].iter().chain([&columns]).copied().collect();
        return Err(misfit(format!("the weight {w:?} takes {want:?}, and gets {x:?}")));
    }
    let out: Shape = x[..x.len() - 1].iter().copied().chain([rows]).collect();
    if let Some(b) = node.array("bias")
        && b.len() != 1
        && !out.ends_with(&b.shape)
    {
        return Err(misfit(format!("the bias has the shape {:?}, and the result {out:?}", b.shape)));
    }
    Ok(out)
}

/// The axes that a Flatten joins, first and last.
pub fn flat_axes(node: &Node, rank: usize) -> Option<(usize, usize)> {
    let axis = |name: &str| -> Option<usize> {
        let k = *node.array(name)?.ints()?.first()?;
        let k = if k < 0 { k.checked_add(rank as i64)? } else { k };
        usize::try_from(k).ok().filter(|k| *k < rank)
    };
    let (start, end) = (axis("start_dim")?, axis("end_dim")?);
    (start <= end).then_some((start, end))
}

/// The window of a convolution or pooling over an input.
pub fn window(node: &Node, x: &[usize]) -> Result<Window, Misfit> {
    let bad = |what: String| ("E0941", what);
    let spatial = if node.kind == Kind::Conv1d { 1 } else { 2 };
    if x.len() != spatial + 1 {
        return Err(bad(format!("it takes channels and {spatial} spatial axes, and gets {x:?}")));
    }
    let numbers = |name: &str| -> Result<Vec<u64>, Misfit> {
        let list = node.array(name).and_then(Array::ints).unwrap_or_default();
        let list: Option<Vec<u64>> = list.into_iter().map(|n| u64::try_from(n).ok().filter(|n| *n < 1 << 31)).collect();
        match list {
            Some(l) if l.len() == spatial => Ok(l),
            Some(l) if l.len() == 1 => Ok(vec![l[0]; spatial]),
            _ => Err(bad(format!("`{name}` should be one number, or {spatial}"))),
        }
    };
    let conv = matches!(node.kind, Kind::Conv1d | Kind::Conv2d);
    let size: Vec<u64> = match conv {
        true => node.array("weight").map(|w| w.shape[2..].iter().map(|n| *n as u64).collect()).unwrap_or_default(),
        false => numbers("kernel_size")?,
    };
    let stride = numbers("stride")?;
    let dilation = if conv { numbers("dilation")? } else { vec![1; spatial] };
    let groups = match conv {
        true => node.array("groups").and_then(Array::ints).and_then(|g| u64::try_from(*g.first()?).ok()).unwrap_or(0),
        false => 1,
    };
    if size.iter().chain(&stride).chain(&dilation).chain([&groups]).any(|n| *n == 0) {
        return Err(bad("kernel, stride, dilation and groups are at least 1".to_owned()));
    }
    let reach = |k: usize| dilation[k].saturating_mul(size[k] - 1);
    let pad: Vec<u64> = match node.params.get("padding") {
        Some(Value::Text(t)) if t == "same" => {
            if stride.iter().any(|s| *s != 1) {
                return Err(bad("padding `same` goes with a stride of 1".to_owned()));
            }
            (0..spatial).map(|k| reach(k) / 2).chain((0..spatial).map(|k| reach(k) - reach(k) / 2)).collect()
        }
        Some(Value::Text(_)) => vec![0; 2 * spatial],
        _ => [numbers("padding")?, numbers("padding")?].concat(),
    };
    Ok(Window { stride, pad, dilation, size, groups })
}

fn slid(w: &Window, channels: usize, x: &[usize]) -> Result<Shape, Misfit> {
    let spatial = w.size.len();
    let mut out = vec![channels];
    for k in 0..spatial {
        let reach = w.dilation[k].saturating_mul(w.size[k] - 1);
        let padded = (x[k + 1] as u64).saturating_add(w.pad[k]).saturating_add(w.pad[spatial + k]);
        let free = padded.checked_sub(reach.saturating_add(1)).ok_or_else(|| {
            ("E0941", format!("a window over {} elements does not fit into {padded}", reach.saturating_add(1)))
        })?;
        out.push((free / w.stride[k] + 1) as usize);
    }
    Ok(out)
}
