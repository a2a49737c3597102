//! The printer.

use super::READABLE;
use crate::graph::connect::{Connectivity, Rule, SynapseDelay, SynapseWeight};
use crate::graph::{AttrValue, Constant, Graph, Module, Node, ValueId};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, TensorType};
use std::fmt::Write;

/// The text of a module; [`super::parse()`] reads it back to an equal one.
pub fn print(m: &Module) -> String {
    Printer { out: String::new(), indent: 0, elide: false }.module(m)
}

/// The text of a module for people: of long constants only the first elements. Does not read back.
pub fn print_elided(m: &Module) -> String {
    Printer { out: String::new(), indent: 0, elide: true }.module(m)
}

/// The text of one graph, for messages and tests.
pub fn print_graph(g: &Graph) -> String {
    let mut p = Printer { out: String::new(), indent: 0, elide: false };
    p.graph(g);
    p.out
}

struct Printer {
    out: String,
    indent: usize,
    elide: bool,
}

/// Writing to a `String` cannot fail.
macro_rules! put {
    ($p:expr, $($arg:tt)*) => {
        let _ = write!($p.out, $($arg)*);
    };
}

/// A name in quotes, with escapes.
fn quoted(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name after what it names, or nothing.
fn suffix(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" {}", quoted(name)) }
}

fn is_word(s: &str) -> bool {
    let mut chars = s.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn type_text(ty: &TensorType) -> String {
    if ty.shape.is_empty() {
        return ty.dtype.to_string();
    }
    let dims: Vec<String> = ty
        .shape
        .iter()
        .map(|d| match d {
            Dim::Sym(s) if !is_word(s) => quoted(s),
            d => d.to_string(),
        })
        .collect();
    format!("{}[{}]", ty.dtype, dims.join(", "))
}

fn ids(v: &[ValueId]) -> String {
    v.iter().map(ValueId::to_string).collect::<Vec<_>>().join(", ")
}

impl Printer {
    fn line(&mut self, text: impl AsRef<str>) {
        put!(self, "{:1$}", "", 2 * self.indent);
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn module(mut self, m: &Module) -> String {
        self.line(format!("module {} {{", quoted(&m.name)));
        self.indent += 1;
        if let Some(dt) = m.dt {
            self.line(format!("dt = {}", AttrValue::Real(dt)));
        }
        self.line(format!("seed = {}", m.seed));
        for (k, c) in m.consts.iter().enumerate() {
            self.constant(k, c);
        }
        for (k, l) in m.lines.iter().enumerate() {
            let (name, ty) = (suffix(&l.name), type_text(&l.ty));
            self.line(format!("line line{k}{name}: {ty}, source = {}, depth = {}", l.source, l.depth));
        }
        for (k, c) in m.conns.iter().enumerate() {
            self.connectivity(k, c);
        }
        self.line("graph {");
        self.block(&m.graph, !m.graph.results.is_empty());
        self.line("}");
        for p in &m.inputs {
            self.line(format!("input {} = {}", quoted(&p.name), p.value));
        }
        for p in &m.outputs {
            self.line(format!("output {} = {}", quoted(&p.name), p.value));
        }
        for s in &m.states {
            self.line(format!("state {}: read = {}, next = {}, init = {}", quoted(&s.name), s.read, s.next, s.init));
        }
        for p in &m.probes {
            self.line(format!("probe {} = {} every {}", quoted(&p.name), p.value, p.every));
        }
        for name in &m.sparse {
            self.line(format!("sparse {}", quoted(name)));
        }
        for c in &m.choices {
            self.line(format!("choice {} {}", quoted(&c.subject), quoted(&c.text)));
        }
        self.indent -= 1;
        self.line("}");
        self.out
    }

    fn constant(&mut self, k: usize, c: &Constant) {
        let head = format!("const c{k}{}: {} = ", suffix(&c.name), type_text(&c.data.ty()));
        let data = if self.elide {
            let shown: Vec<String> = (0..c.data.len().min(8)).map(|k| element(&c.data, k)).collect();
            let more = if c.data.len() > 8 { ", ..." } else { "" };
            format!("[{}{more}]", shown.join(", "))
        } else {
            data_text(&c.data)
        };
        self.line(head + &data);
    }

    fn connectivity(&mut self, k: usize, c: &Connectivity) {
        self.line(format!("conn conn{k}{} {{", suffix(&c.name)));
        self.indent += 1;
        self.line(format!("pre = {}..{} of {}", c.pre.start, c.pre.end, c.pre_len));
        self.line(format!("post = {}..{} of {}", c.post.start, c.post.end, c.post_len));
        match &c.rule {
            Rule::All => self.line("rule = all"),
            Rule::OneToOne => self.line("rule = one_to_one"),
            Rule::Random { p, stream } => {
                self.line(format!("rule = random(p = {}, stream = {stream})", AttrValue::Real(*p)));
            }
            Rule::Predicate(g) => self.row_region("rule = predicate {", g),
            Rule::FixedIn { k, stream } => self.line(format!("rule = fixed_in(k = {k}, stream = {stream})")),
            Rule::FixedOut { k, stream } => self.line(format!("rule = fixed_out(k = {k}, stream = {stream})")),
            Rule::Conv2d { input, output, size, stride, pad } => self.line(format!(
                "rule = conv2d(input = {input:?}, output = {output:?}, size = {size:?}, stride = {stride:?}, pad = {pad:?})"
            )),
            Rule::Table { pre, post } => self.line(format!("rule = table(pre = {pre}, post = {post})")),
        }
        match &c.weight {
            SynapseWeight::Scalar(id) => self.line(format!("weight = scalar {id}")),
            SynapseWeight::PerSynapse(id) => self.line(format!("weight = per_synapse {id}")),
            SynapseWeight::Kernel(id) => self.line(format!("weight = kernel {id}")),
            SynapseWeight::Region(g) => self.row_region("weight = region {", g),
            SynapseWeight::Matrix { data, pre_major } => {
                self.line(format!("weight = {} {data}", if *pre_major { "pre_major" } else { "post_major" }));
            }
        }
        match &c.delay {
            SynapseDelay::Ticks(d) => self.line(format!("delay = ticks {d}")),
            SynapseDelay::PerSynapse(id) => self.line(format!("delay = per_synapse {id}")),
            SynapseDelay::Kernel(id) => self.line(format!("delay = kernel {id}")),
            SynapseDelay::Region { body, max } => self.row_region(&format!("delay = region max {max} {{"), body),
        }
        self.indent -= 1;
        self.line("}");
    }

    fn row_region(&mut self, head: &str, g: &Graph) {
        self.line(head);
        self.block(g, true);
        self.line("}");
    }

    fn graph(&mut self, g: &Graph) {
        self.line("graph {");
        self.block(g, true);
        self.line("}");
    }

    /// What stands between the braces of a graph.
    fn block(&mut self, g: &Graph, give: bool) {
        self.indent += 1;
        let define = |v: &ValueId| match g.values.get(v.index()) {
            Some(value) => format!("{v}{}: {}", suffix(&value.name), type_text(&value.ty)),
            None => format!("{v}: ?"),
        };
        for p in &g.params {
            self.line(format!("param {}", define(p)));
        }
        for n in &g.nodes {
            let results: Vec<String> = n.results.iter().map(define).collect();
            self.node(n, &results.join(", "));
        }
        if give {
            self.line(format!("give ({})", ids(&g.results)));
        }
        self.indent -= 1;
    }

    fn node(&mut self, n: &Node, results: &str) {
        let head = if results.is_empty() { String::new() } else { format!("{results} = ") };
        let text = format!("{head}{}({})", n.op, ids(&n.args));
        let mut regions = n.regions.iter().zip(n.op.info().regions).peekable();
        match regions.peek() {
            None => self.line(text),
            Some((_, name)) => self.line(format!("{text} {name} {{")),
        }
        while let Some((g, _)) = regions.next() {
            self.block(g, true);
            match regions.peek() {
                None => self.line("}"),
                Some((_, name)) => self.line(format!("}} {name} {{")),
            }
        }
    }
}

fn element(t: &Tensor, k: usize) -> String {
    match t.dtype() {
        DType::F64 => format!("{:?}", t.as_slice::<f64>()[k]),
        DType::F32 => format!("{:?}", t.as_slice::<f32>()[k]),
        DType::F16 => format!("{:?}", t.as_slice::<half::f16>()[k].to_f32()),
        DType::BF16 => format!("{:?}", t.as_slice::<half::bf16>()[k].to_f32()),
        DType::I64 => t.as_slice::<i64>()[k].to_string(),
        DType::I32 => t.as_slice::<i32>()[k].to_string(),
        DType::I16 => t.as_slice::<i16>()[k].to_string(),
        DType::I8 => t.as_slice::<i8>()[k].to_string(),
        DType::U64 => t.as_slice::<u64>()[k].to_string(),
        DType::U32 => t.as_slice::<u32>()[k].to_string(),
        DType::U16 => t.as_slice::<u16>()[k].to_string(),
        DType::U8 => t.as_slice::<u8>()[k].to_string(),
        DType::Bool => (t.bytes()[k] != 0).to_string(),
    }
}

/// A list, where every element reads back from its number; else bytes.
fn data_text(t: &Tensor) -> String {
    let exact = match t.dtype() {
        d if d.is_float() => (0..t.len().min(READABLE)).all(|k| !t.get_f64(k).is_nan()),
        DType::Bool => t.bytes().iter().all(|b| *b < 2),
        _ => true,
    };
    if exact && t.len() <= READABLE {
        let items: Vec<String> = (0..t.len()).map(|k| element(t, k)).collect();
        return format!("[{}]", items.join(", "));
    }
    let mut out = String::with_capacity(2 * t.bytes().len() + 3);
    out.push_str("x\"");
    for b in t.bytes() {
        for digit in [b >> 4, b & 15] {
            out.push(char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
        }
    }
    out.push('"');
    out
}
