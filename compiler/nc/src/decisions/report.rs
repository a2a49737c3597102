//! What was decided as a page of HTML: the text of `nc explain`, and each graph drawn as it was written and as it is now.

use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::Point;
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;
use nc_ir::graph::{Graph, Module, Op, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Most nodes of a graph that is drawn: of a larger one nothing could be read.
const MOST: usize = 120;

const STYLE: &str = "body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 96em; padding: 0 1em; color: #222 }
pre { background: #f6f6f4; padding: 1em; overflow-x: auto; font-size: 13px }
.pair { display: flex; gap: 2em; align-items: flex-start; flex-wrap: wrap }
.pair > div { flex: 1 1 30em; overflow-x: auto }
table { border-collapse: collapse } td, th { padding: 0.1em 1em 0.1em 0; text-align: left } td + td { text-align: right }
svg { max-width: 100%; height: auto }";

/// The page. `before` is the model as it was written, `after` what its kernels are made from.
pub fn page(title: &str, text: &str, before: &Module, after: &Module) -> String {
    let mut out = String::new();
    let title = escaped(title);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n<style>\n{STYLE}\n</style>\n\
         <h1>{title}</h1>\n<pre>{}</pre>\n",
        escaped(text)
    );
    let (before, after) = (graphs(before), graphs(after));
    for n in 0..before.len().max(after.len()) {
        let name = before.get(n).or(after.get(n)).map_or("", |g| g.0.as_str());
        let _ = write!(out, "<h2>{}</h2>\n<div class=\"pair\">", escaped(name));
        for (what, graph) in [("as it was written", before.get(n)), ("as it is now", after.get(n))] {
            let _ = write!(out, "\n<div><h3>{what}</h3>");
            match graph {
                Some((_, graph, results)) => out.push_str(&drawn(graph, results)),
                None => out.push_str("<p>It is not there.</p>"),
            }
            out.push_str("</div>");
        }
        out.push_str("\n</div>\n");
    }
    out.push_str("</html>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Values that leave a graph, with their names outside.
type Results = Vec<(String, ValueId)>;

/// The step function and the bodies in it, outer ones first.
fn graphs(module: &Module) -> Vec<(String, &Graph, Results)> {
    let mut results: Results = module.outputs.iter().map(|p| (p.name.clone(), p.value)).collect();
    results.extend(module.states.iter().map(|s| (format!("{} next", s.name), s.next)));
    let mut all = vec![("step function".to_owned(), &module.graph, results)];
    bodies(&module.graph, &mut all);
    all
}

fn bodies<'m>(graph: &'m Graph, all: &mut Vec<(String, &'m Graph, Results)>) {
    for n in &graph.nodes {
        for region in &n.regions {
            let results = region.results.iter().enumerate().map(|(k, v)| (format!("result {k}"), *v)).collect();
            all.push((format!("body of {}", n.op.info().name), region, results));
            bodies(region, all);
        }
    }
}

/// How often each op stands in a graph.
fn counts(graph: &Graph) -> String {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for n in graph.nodes.iter().filter(|n| !matches!(n.op, Op::Const { .. })) {
        *by_name.entry(n.op.info().name).or_default() += 1;
    }
    let rows = by_name.iter().map(|(name, n)| format!("<tr><td>{name}</td><td>{n}</td></tr>"));
    format!("<table>{}</table>", rows.collect::<String>())
}

/// A drawing, or a table of the ops where there are too many.
fn drawn(graph: &Graph, results: &Results) -> String {
    let shown: Vec<_> = graph.nodes.iter().filter(|n| !matches!(n.op, Op::Const { .. })).collect();
    if shown.is_empty() || shown.len() + graph.params.len() + results.len() > MOST {
        return format!("<p>{} ops</p>{}", shown.len(), counts(graph));
    }
    let mut picture = VisualGraph::new(Orientation::TopToBottom);
    let mut node = |lines: String, fill: &str| {
        let longest = lines.lines().map(|l| l.chars().count()).max().unwrap_or(1);
        let size = Point::new(14.0 + 8.0 * longest as f64, 12.0 + 18.0 * lines.lines().count() as f64);
        let shape = ShapeKind::new_box(&lines);
        let style = StyleAttr::new(Color::fast("#444444"), 1, Some(Color::fast(fill)), 0, 13);
        picture.add_node(Element::create(shape, style, Orientation::TopToBottom, size))
    };
    let label = |what: &str, v: ValueId| {
        let value = &graph.values[v.index()];
        let name: String = value.name.chars().take(28).collect();
        if name.is_empty() || name == what {
            format!("{what}\n{}", value.ty)
        } else {
            format!("{what} {name}\n{}", value.ty)
        }
    };
    let mut from: BTreeMap<usize, _> = BTreeMap::new();
    for p in &graph.params {
        let used = shown.iter().any(|n| n.args.contains(p)) || results.iter().any(|r| r.1 == *p);
        if used {
            from.insert(p.index(), node(label("", *p).trim_start().to_owned(), "#e8f0e4"));
        }
    }
    let mut edges = BTreeSet::new();
    let mut handles = Vec::new();
    for n in &shown {
        let Some(first) = n.results.first() else { continue };
        let fill = match n.op {
            Op::Linear | Op::Matmul | Op::Conv { .. } => "#f6dcc8",
            _ if !n.regions.is_empty() => "#dfe6f5",
            _ => "#ffffff",
        };
        let handle = node(label(n.op.info().name, *first), fill);
        handles.push((n, handle));
        for r in &n.results {
            from.insert(r.index(), handle);
        }
    }
    for (n, handle) in &handles {
        for a in &n.args {
            if let Some(source) = from.get(&a.index()) {
                edges.insert((*source, *handle));
            }
        }
    }
    for (name, v) in results {
        let Some(source) = from.get(&v.index()) else { continue };
        let handle = node(name.chars().take(32).collect(), "#f3efd6");
        edges.insert((*source, handle));
    }
    for (a, b) in edges {
        picture.add_edge(Arrow::simple(""), a, b);
    }
    let mut svg = SVGWriter::new();
    picture.do_it(false, false, false, &mut svg);
    let text = svg.finalize();
    // An XML declaration has no place inside a page.
    text.find("<svg").map_or(String::new(), |at| text[at..].to_owned())
}
