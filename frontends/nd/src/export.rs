//! From a model graph back to text: `.nd` that computes the same values to the bit.
//!
//! The text is one net without neurons: states with `next`, values with `let`, arrays from a file beside it. What the
//! language has no word for (an op, an element type, regions, synapses) is refused by name. What the net is to hold on
//! to, an array of the host under its name, may need another name where that is no name of the language.

use crate::sema::is_function;
use crate::token::is_keyword;
use nc_ir::graph::{Class, ConstId, Graph, LineId, Module, Node, Op, PoolKind, ReduceKind, ValueId};
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use std::collections::{BTreeSet, HashMap};

/// Deepest nesting of an expression before it gets a name.
const MAX_DEPTH: u32 = 3;
/// Longest expression before it gets a name.
const MAX_TEXT: usize = 90;
/// Most elements of a constant that is repeated to a shape.
const MAX_REPEATED: u64 = 1 << 24;

/// Code, title and page of everything that writing a text can say.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0550",
        "the language cannot say this",
        "A model is to be written as .nd, and has something that the language has no word for: an op, a type of numbers, a \
         loop, synapses. The message names it. A .graph file holds every model.",
    ),
    (
        "N0550",
        "an array of the host has another name",
        "A model was written as .nd. One of its inputs, outputs or probes has a name that cannot stand in the language, \
         such as a keyword or a name with a dot, and got another one.",
    ),
];

/// A text and what belongs to it.
#[derive(Clone, Debug)]
pub struct Export {
    /// The model.
    pub text: String,
    /// Arrays that the text takes from its file, by name. Empty if it takes none and names no file.
    pub arrays: Vec<(String, Tensor)>,
    /// Inputs, outputs and probes whose names are none in the language: before and after.
    pub renamed: Vec<(String, String)>,
}

/// Writes a module as text that takes its arrays from `file`.
///
/// # Errors
/// E0550 for what the language cannot say; the message names it.
pub fn export(module: &Module, file: &str) -> Result<Export, Diagnostic> {
    if let Some(v) = module.graph.values.iter().find(|v| v.ty.extents().is_none()) {
        return Err(refused(format!("extents that are not known, as of `{}: {}`", v.name, v.ty)));
    }
    let mut e = Exporter::new(module);
    e.ports();
    e.states()?;
    e.probed_params();
    let graph = &module.graph;
    for (at, node) in graph.nodes.iter().enumerate() {
        e.node(at, node)?;
    }
    e.finish(file)
}

fn refused(what: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error_nowhere("E0550", format!("the language has no word for {what}"))
        .with_hint("a .graph file holds every model")
}

/// How tightly an expression binds, loosest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    If,
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Sign,
    Atom,
}

/// What stands for a value.
#[derive(Clone, Debug)]
struct Term {
    text: String,
    level: Level,
    depth: u32,
    /// A number of the text, which the language computes with in double precision.
    literal: bool,
}

impl Term {
    fn atom(text: String) -> Term {
        Term { text, level: Level::Atom, depth: 0, literal: false }
    }

    fn at_least(&self, level: Level) -> String {
        if self.level < level { format!("({})", self.text) } else { self.text.clone() }
    }
}

struct Exporter<'a> {
    m: &'a Module,
    graph: &'a Graph,
    uses: Vec<u32>,
    /// Nodes that take each value, by their places.
    users: Vec<Vec<usize>>,
    /// Values that something beside the nodes reads.
    seen: Vec<bool>,
    /// Values that are constants.
    known: Vec<Option<ConstId>>,
    terms: Vec<Option<Term>>,
    taken: BTreeSet<String>,
    /// Names that are kept for values that the host knows.
    kept: HashMap<ValueId, String>,
    arrays: Vec<(String, Tensor)>,
    params: Vec<String>,
    inputs: Vec<String>,
    body: Vec<String>,
    ends: Vec<String>,
    states: Vec<(String, ValueId)>,
    renamed: Vec<(String, String)>,
    outputs: Vec<(String, ValueId)>,
    probes: Vec<(String, u64)>,
    /// States that hold what is defined later than it is read.
    sources: HashMap<ValueId, String>,
    number: bool,
}

impl<'a> Exporter<'a> {
    fn new(m: &'a Module) -> Exporter<'a> {
        let graph = &m.graph;
        let mut uses = vec![0u32; graph.values.len()];
        let mut used = |v: ValueId, n: u32| uses[v.index()] = uses[v.index()].saturating_add(n);
        graph.nodes.iter().flat_map(|n| &n.args).for_each(|v| used(*v, 1));
        m.states.iter().for_each(|s| used(s.next, 1));
        m.outputs.iter().for_each(|o| used(o.value, 1));
        // These are named.
        m.probes.iter().for_each(|p| used(p.value, 2));
        m.lines.iter().for_each(|l| used(l.source, 2));
        let (mut users, mut seen, mut known) =
            (vec![Vec::new(); uses.len()], vec![false; uses.len()], vec![None; uses.len()]);
        for (at, n) in graph.nodes.iter().enumerate() {
            n.args.iter().for_each(|v| users[v.index()].push(at));
            if let Op::Const { id } = n.op {
                known[n.results[0].index()] = Some(id);
            }
        }
        let outside = m.states.iter().map(|s| s.next).chain(m.outputs.iter().map(|o| o.value));
        let inside = m.lines.iter().map(|l| l.source).chain(m.probes.iter().map(|p| p.value));
        outside.chain(inside).for_each(|v| seen[v.index()] = true);
        let terms = vec![None; graph.values.len()];
        let taken = ["f", "number"].map(str::to_owned).into();
        Exporter {
            m,
            graph,
            uses,
            users,
            seen,
            known,
            terms,
            taken,
            kept: HashMap::new(),
            arrays: Vec::new(),
            params: Vec::new(),
            inputs: Vec::new(),
            body: Vec::new(),
            ends: Vec::new(),
            states: Vec::new(),
            renamed: Vec::new(),
            outputs: Vec::new(),
            probes: Vec::new(),
            sources: HashMap::new(),
            number: false,
        }
    }

    /// A name of the language that is near to `name` and not taken.
    fn name(&mut self, name: &str) -> String {
        let mut out: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        if !out.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            out.insert(0, 'v');
        }
        if is_keyword(&out) || is_function(&out) {
            out.push('_');
        }
        let base = out.clone();
        let mut k = 2;
        while !self.taken.insert(out.clone()) {
            out = format!("{base}_{k}");
            k += 1;
        }
        out
    }

    fn port(&mut self, name: &str) -> String {
        let new = self.name(name);
        if new != name {
            self.renamed.push((name.to_owned(), new.clone()));
        }
        new
    }

    /// Names of what the host knows come first, so that they can be kept.
    fn ports(&mut self) {
        for i in &self.m.inputs {
            let name = self.port(&i.name);
            self.terms[i.value.index()] = Some(Term::atom(name));
        }
        for o in &self.m.outputs {
            let name = self.port(&o.name);
            self.outputs.push((name, o.value));
        }
        for p in &self.m.probes {
            let name = match self.kept.get(&p.value) {
                Some(n) => n.clone(),
                None => self.port(&p.name),
            };
            self.kept.insert(p.value, name.clone());
            self.probes.push((name, p.every));
        }
    }

    fn declared(&self, ty: &TensorType, what: &str) -> Result<String, Diagnostic> {
        let elem = match ty.dtype {
            DType::F32 => "real",
            DType::I64 => "int",
            DType::Bool => "bool",
            other => return Err(refused(format!("{what}, which is {other}"))),
        };
        Ok(format!("{elem}{}", extents(&ty.extents().unwrap_or_default())))
    }

    fn states(&mut self) -> Result<(), Diagnostic> {
        for i in &self.m.inputs {
            let ty = self.graph.ty(i.value).clone();
            let Some(Term { text, .. }) = self.terms[i.value.index()].clone() else { continue };
            let ty = self.declared(&ty, &format!("the input `{}`", i.name))?;
            self.inputs.push(format!("input {text}: {ty}"));
        }
        for s in &self.m.states {
            let name = self.name(&s.name);
            let ty = self.declared(&self.graph.ty(s.read).clone(), &format!("the state `{}`", s.name))?;
            let data = &self.m.consts[s.init.index()].data;
            let init = match self.literal(data) {
                Some(text) => text,
                None => self.array(&format!("{}.init", s.name), data)?.text,
            };
            self.body.push(format!("state {name}: {ty} = {init}"));
            self.terms[s.read.index()] = Some(Term::atom(name.clone()));
            self.states.push((name, s.next));
        }
        Ok(())
    }

    /// Probes of inputs and states, which have names of their own.
    fn probed_params(&mut self) {
        for v in &self.graph.params {
            if let (Some(name), Some(term)) = (self.kept.get(v), &self.terms[v.index()])
                && *name != term.text
            {
                self.body.push(format!("let {name} = {}", term.text));
            }
        }
    }

    /// A scalar that reads back to the same bits.
    fn literal(&self, t: &Tensor) -> Option<String> {
        if !t.shape().is_empty() {
            return None;
        }
        match t.dtype() {
            DType::F32 => {
                let x = t.as_slice::<f32>()[0];
                let short = format!("{x:?}");
                let same = |s: &str| s.parse::<f64>().is_ok_and(|y| (y as f32).to_bits() == x.to_bits());
                match x.is_finite() {
                    true if same(&short) => Some(short),
                    true => Some(format!("{:?}", f64::from(x))),
                    false => None,
                }
            }
            // The least whole number is a sign and a number that is too large.
            DType::I64 => t.get_int(0).filter(|x| *x != i128::from(i64::MIN)).map(|x| x.to_string()),
            DType::Bool => Some(if t.get_f64(0) == 0.0 { "false" } else { "true" }.to_owned()),
            _ => None,
        }
    }

    /// A parameter that is read from the file.
    fn array(&mut self, name: &str, t: &Tensor) -> Result<Term, Diagnostic> {
        let finite = !t.dtype().is_float() || (0..t.len()).all(|k| t.get_f64(k).is_finite());
        if !finite {
            return Err(refused(format!("the array `{name}`, which has elements that are not finite")));
        }
        if t.is_empty() {
            return Err(refused(format!("the array `{name}`, which has no elements")));
        }
        let ty = self.declared(&t.ty(), &format!("the array `{name}`"))?;
        let word = self.name(if name.is_empty() { "c" } else { name });
        self.params.push(format!("param {word}: {ty} = f[\"{word}\"]"));
        self.arrays.push((word.clone(), t.clone()));
        Ok(Term::atom(word))
    }

    fn constant(&mut self, name: &str, t: &Tensor) -> Result<Term, Diagnostic> {
        match self.literal(t) {
            Some(text) => {
                let level = if text.starts_with('-') { Level::Sign } else { Level::Atom };
                Ok(Term { text, level, depth: 0, literal: true })
            }
            None => self.array(name, t),
        }
    }

    fn term(&self, v: ValueId) -> Result<Term, Diagnostic> {
        self.terms[v.index()].clone().ok_or_else(|| refused(format!("`{}`", self.graph.name_of(v))))
    }

    /// A term that is computed with in single precision: numbers of the text are put into the file.
    fn single(&mut self, v: ValueId) -> Result<Term, Diagnostic> {
        let t = self.term(v)?;
        if !t.literal {
            return Ok(t);
        }
        let data = match self.graph.ty(v).dtype {
            DType::F32 => t.text.parse::<f64>().ok().map(|x| Tensor::scalar_f32(x as f32)),
            DType::I64 => t.text.parse::<i64>().ok().map(Tensor::scalar_i64),
            _ => Tensor::from_bools(Vec::new(), &[t.text == "true"]),
        };
        match data {
            Some(data) => self.array("", &data),
            None => Ok(t),
        }
    }

    fn node(&mut self, at: usize, node: &Node) -> Result<(), Diagnostic> {
        let [result] = node.results[..] else { return Err(self.unknown(at, node)) };
        let ty = self.graph.ty(result).clone();
        let said = self.graph.values[result.index()].name.clone();
        let term = match &node.op {
            Op::Const { id } => {
                let c = &self.m.consts[id.index()];
                self.constant(if said.is_empty() { &c.name } else { &said }, &c.data)?
            }
            Op::Broadcast { shape } => self.broadcast(at, node, result, shape)?,
            Op::Tick => {
                // `next` takes effect after the tick, so that this counts from 0.
                let count = self.name("count");
                self.body.push(format!("state {count}: int = 0"));
                self.ends.push(format!("next {count} = {count} + 1"));
                Term::atom(count)
            }
            _ => {
                // Two numbers of the text would be combined in double precision, and so would one that a known condition
                // selects.
                let all = node.args.iter().all(|a| matches!(self.term(*a), Ok(t) if t.literal));
                let chosen = matches!(node.op, Op::Select) && self.known[node.args[0].index()].is_some();
                let args: Vec<Term> = match all || chosen || matches!(node.op, Op::Pow) {
                    true => node.args.iter().map(|a| self.single(*a)).collect::<Result<_, _>>()?,
                    false => node.args.iter().map(|a| self.term(*a)).collect::<Result<_, _>>()?,
                };
                self.declared(&ty, &format!("the result of `{}`", node.op.info().name))?;
                self.expression(at, node, &args)?
            }
        };
        let keep = self.kept.contains_key(&result);
        let line = self.m.lines.iter().position(|l| l.source == result);
        // The language computes with numbers of the text in double precision, under whatever name.
        let named = keep || line.is_some();
        let term = match term.literal && named {
            true => {
                self.terms[result.index()] = Some(term);
                self.single(result)?
            }
            false => term,
        };
        let short = term.depth <= MAX_DEPTH && term.text.len() <= MAX_TEXT;
        let plain = term.literal || term.level == Level::Atom && term.depth == 0;
        let term = if !named && (plain || (self.uses[result.index()] <= 1 && said.is_empty() && short)) {
            term
        } else {
            let name = match self.kept.get(&result) {
                Some(n) => n.clone(),
                None => self.name(if said.is_empty() { "t" } else { &said }),
            };
            self.body.push(format!("let {name} = {}", term.text));
            Term::atom(name)
        };
        self.terms[result.index()] = Some(term);
        Ok(())
    }

    fn unknown(&self, at: usize, node: &Node) -> Diagnostic {
        let name = node.results.first().map_or_else(|| format!("node {at}"), |v| self.graph.name_of(*v));
        let hint = match node.op {
            Op::Integrate { .. } => {
                "differential equations stand in neurons of a .nd model: convert it with its equations solved"
            }
            _ => "a .graph file holds every model",
        };
        Diagnostic::error_nowhere(
            "E0550",
            format!("the language has no word for the op `{}` (`{name}`)", node.op.info().name),
        )
        .with_hint(hint)
    }

    /// Element by element, a scalar serves every element; elsewhere a constant is repeated in the file.
    fn broadcast(&mut self, at: usize, node: &Node, result: ValueId, shape: &[u64]) -> Result<Term, Diagnostic> {
        let x = node.args[0];
        let transparent = |n: &Node| {
            n.op.info().class == Class::Elementwise
                && n.args.iter().any(|a| *a != result && self.graph.ty(*a).extents().unwrap_or_default() == shape)
        };
        let seen = self.seen[result.index()];
        let scalar = self.graph.ty(x).extents().unwrap_or_default().is_empty();
        if scalar && !seen && self.users[result.index()].iter().all(|n| transparent(&self.graph.nodes[*n])) {
            return self.term(x);
        }
        if self.graph.ty(x).extents().as_deref() == Some(shape) {
            return self.term(x);
        }
        let count = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_REPEATED);
        let (true, Some(count)) = (scalar, count) else { return Err(self.unknown(at, node)) };
        let m = self.m;
        let graph = self.graph;
        let id = self.known[x.index()];
        let mut repeated = |name: &str, one: &Tensor| {
            let bytes = one.bytes().repeat(count as usize);
            let shape = shape.iter().map(|d| *d as usize).collect();
            Tensor::from_bytes(one.dtype(), shape, &bytes).map(|t| self.array(name, &t))
        };
        let dtype = graph.ty(x).dtype;
        if let Some(id) = id {
            let c = &m.consts[id.index()];
            return repeated(&c.name, &c.data).unwrap_or_else(|| Err(self.unknown(at, node)));
        }
        // A product with ones has the bits of its operand.
        let one = match dtype {
            DType::F32 => Tensor::scalar_f32(1.0),
            DType::I64 => Tensor::scalar_i64(1),
            _ => Tensor::from_bools(Vec::new(), &[true]).unwrap_or_else(|| Tensor::scalar_f32(1.0)),
        };
        let Some(ones) = repeated("ones", &one) else { return Err(self.unknown(at, node)) };
        let (x, ones) = (self.term(x)?, ones?.text);
        let (text, level) = match dtype {
            DType::Bool => (format!("{} and {ones}", x.at_least(Level::And)), Level::And),
            _ => (format!("{} * {ones}", x.at_least(Level::Product)), Level::Product),
        };
        Ok(Term { text, level, depth: x.depth + 1, literal: false })
    }

    fn expression(&mut self, at: usize, node: &Node, args: &[Term]) -> Result<Term, Diagnostic> {
        let depth = 1 + args.iter().map(|a| a.depth).max().unwrap_or(0);
        let made = |level: Level, text: String| Ok(Term { text, level, depth, literal: false });
        let call = |name: &str, more: &[String]| {
            let list: Vec<String> = args.iter().map(|a| a.text.clone()).chain(more.iter().cloned()).collect();
            Ok(Term { text: format!("{name}({})", list.join(", ")), level: Level::Atom, depth, literal: false })
        };
        let infix = |op: &str, level: Level| {
            // Operators group to the left, and comparisons not at all.
            let (left, right) = (args[0].at_least(level), &args[1]);
            let left = if level == Level::Compare { args[0].at_least(Level::Sum) } else { left };
            let right = if right.level <= level { format!("({})", right.text) } else { right.text.clone() };
            Ok(Term { text: format!("{left} {op} {right}"), level, depth, literal: false })
        };
        let of = |k: usize| self.graph.ty(node.args[k]);
        let float = |k: usize| of(k).dtype == DType::F32;
        let boolean = |k: usize| of(k).dtype == DType::Bool;
        let shape = self.graph.ty(node.results[0]).extents().unwrap_or_default();
        let list = |v: &[u64]| format!("[{}]", v.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
        match &node.op {
            Op::Add if !boolean(0) => infix("+", Level::Sum),
            Op::Sub if !boolean(0) => infix("-", Level::Sum),
            Op::Mul if !boolean(0) => infix("*", Level::Product),
            Op::Div if float(0) => infix("/", Level::Product),
            Op::Rem if float(0) => infix("%", Level::Product),
            Op::Pow => call("pow", &[]),
            Op::Min if !boolean(0) => call("min", &[]),
            Op::Max if !boolean(0) => call("max", &[]),
            Op::Neg => made(Level::Sign, format!("-{}", args[0].at_least(Level::Atom))),
            Op::Eq => infix("==", Level::Compare),
            Op::Ne => infix("!=", Level::Compare),
            Op::Lt => infix("<", Level::Compare),
            Op::Le => infix("<=", Level::Compare),
            Op::Gt => infix(">", Level::Compare),
            Op::Ge => infix(">=", Level::Compare),
            Op::And if boolean(0) => infix("and", Level::And),
            Op::Or if boolean(0) => infix("or", Level::Or),
            Op::Xor if boolean(0) => infix("!=", Level::Compare),
            Op::Not if boolean(0) => made(Level::Not, format!("not {}", args[0].at_least(Level::Not))),
            Op::Select => {
                let [c, a, b] = args else { return Err(self.unknown(at, node)) };
                let (c, a) = (c.at_least(Level::Or), a.at_least(Level::Or));
                made(Level::If, format!("if {c} then {a} else {}", b.at_least(Level::Or)))
            }
            Op::Abs if !boolean(0) => call("abs", &[]),
            Op::Sqrt | Op::Exp | Op::Log | Op::Tanh | Op::Sigmoid | Op::Erf | Op::Sin | Op::Cos => {
                call(node.op.info().name, &[])
            }
            Op::Floor | Op::Ceil | Op::Round | Op::Trunc if float(0) => call(node.op.info().name, &[]),
            Op::Cast { to: DType::F32 } if boolean(0) || of(0).dtype == DType::I64 => {
                self.number = true;
                call("number", &[])
            }
            // The language multiplies real numbers.
            Op::Linear if float(0) => call("linear", &[]),
            Op::Matmul if float(0) => call("matmul", &[]),
            Op::Reshape { shape } => call("reshape", &[list(shape)]),
            Op::Transpose { perm } => {
                let perm: Vec<u64> = perm.iter().map(|k| *k as u64).collect();
                call("transpose", &[list(&perm)])
            }
            Op::Concat { axis } => call("concat", &[format!("axis = {axis}")]),
            Op::Slice { start, stop, step } if step.iter().all(|s| *s == 1) && !start.is_empty() => {
                let parts: Vec<String> = start.iter().zip(stop).map(|(a, b)| format!("{a}:{b}")).collect();
                made(Level::Atom, format!("{}[{}]", args[0].at_least(Level::Atom), parts.join(", ")))
            }
            Op::Gather { axis: 0 } if float(0) && of(1).dtype == DType::I64 => {
                made(Level::Atom, format!("embedding({}, {})", args[1].text, args[0].text))
            }
            Op::Argmax { axis, keep: false, last: false } if float(0) => call("argmax", &[axis.to_string()]),
            // No axes are all of them, in the language.
            Op::Reduce { kind, axes, keep } if float(0) && !axes.is_empty() => {
                let name = match kind {
                    ReduceKind::Sum => "sum",
                    ReduceKind::Mean => "mean",
                    ReduceKind::Max => "max",
                    ReduceKind::Min => "min",
                    _ => return Err(self.unknown(at, node)),
                };
                let axes: Vec<u64> = axes.iter().map(|k| *k as u64).collect();
                let text = format!("{name}({}, axes = {})", args[0].text, list(&axes));
                made(Level::Atom, if *keep { format!("reshape({text}, {})", list(&shape)) } else { text })
            }
            Op::Conv { stride, pad, dilation, groups } if float(0) => {
                let Some(pads) = symmetric(pad) else { return Err(self.unknown(at, node)) };
                let groups = format!("groups = {groups}");
                let lists = |wide: bool| {
                    let two = |v: &[u64], fill: u64| if wide { list(&[fill, v[0]]) } else { list(v) };
                    let (s, p, d) = (two(stride, 1), two(&pads, 0), two(dilation, 1));
                    [format!("stride = {s}"), format!("pad = {p}"), format!("dilation = {d}"), groups.clone()]
                };
                let name = |a: &Term| a.text.clone();
                match (&of(0).extents().unwrap_or_default()[..], &of(1).extents().unwrap_or_default()[..]) {
                    ([_, _, _], [_, _, _, _]) => {
                        let bias = args.get(2).map(|b| format!(", {}", b.text)).unwrap_or_default();
                        let text = format!(
                            "conv2d({}, {}{bias}, {})",
                            name(&args[0]),
                            name(&args[1]),
                            lists(false).join(", ")
                        );
                        made(Level::Atom, text)
                    }
                    // One spatial axis is two of which the first has the extent 1; the order of the sums is the same.
                    ([c, n], [o, i, k]) => {
                        let x = format!("reshape({}, {})", args[0].text, list(&[*c, 1, *n]));
                        let w = format!("reshape({}, {})", args[1].text, list(&[*o, *i, 1, *k]));
                        let bias = args.get(2).map(|b| format!(", {}", b.text)).unwrap_or_default();
                        let conv = format!("conv2d({x}, {w}{bias}, {})", lists(true).join(", "));
                        made(Level::Atom, format!("reshape({conv}, {})", list(&shape)))
                    }
                    _ => Err(self.unknown(at, node)),
                }
            }
            Op::Pool { kind, size, stride, pad, dilation } if float(0) && dilation.iter().all(|d| *d == 1) => {
                let name = match kind {
                    PoolKind::Sum => "sum_pool",
                    PoolKind::Avg => "avg_pool",
                    PoolKind::Max => "max_pool",
                    _ => return Err(self.unknown(at, node)),
                };
                match (symmetric(pad), of(0).extents().unwrap_or_default().len(), size.len()) {
                    (Some(pad), 3, 2) => call(name, &[list(size), list(stride), list(&pad)]),
                    _ => Err(self.unknown(at, node)),
                }
            }
            Op::Delayed { line, ticks } => self.past(*line, *ticks),
            _ => Err(self.unknown(at, node)),
        }
    }

    /// What a line remembers of `ticks` ago. A value that is defined later is read from a state, which is a tick old.
    fn past(&mut self, line: LineId, ticks: u32) -> Result<Term, Diagnostic> {
        let l = &self.m.lines[line.index()];
        let known = match self.sources.get(&l.source) {
            Some(state) => Err(state.clone()),
            None => self.terms[l.source.index()].clone().map(|t| t.text).ok_or_else(String::new),
        };
        let (source, ticks) = match known {
            Ok(text) => (text, ticks),
            Err(mut state) => {
                if state.is_empty() {
                    state = self.name(&format!("{}_before", if l.name.is_empty() { "value" } else { &l.name }));
                    let ty = self.declared(&l.ty, &format!("what `{}` was", l.name))?;
                    let zero = match l.ty.dtype {
                        DType::Bool => "false",
                        DType::I64 => "0",
                        _ => "0.0",
                    };
                    self.body.push(format!("state {state}: {ty} = {zero}"));
                    self.states.push((state.clone(), l.source));
                    self.sources.insert(l.source, state.clone());
                }
                (state, ticks - 1)
            }
        };
        Ok(match ticks {
            0 => Term::atom(source),
            _ => Term { depth: 1, ..Term::atom(format!("delay({source}, {})", self.ticks(u64::from(ticks)))) },
        })
    }

    /// The length of a tick as the language writes it.
    fn tick(&self) -> Option<String> {
        let dt = self.m.dt?.0;
        let ms = dt * 1e3;
        // A power of ten less in the number, if it reads back to the same length.
        Some(if ms / 1e3 == dt && (1e-3..1e6).contains(&ms) { format!("{ms} ms") } else { format!("{dt:?} s") })
    }

    /// A duration of whole ticks.
    fn ticks(&self, n: u64) -> String {
        match self.tick() {
            None => n.to_string(),
            Some(tick) if n == 1 => tick,
            Some(tick) => format!("{n} * {tick}"),
        }
    }

    fn finish(mut self, file: &str) -> Result<Export, Diagnostic> {
        let mut text = String::new();
        let mut ends = std::mem::take(&mut self.ends);
        for (name, next) in std::mem::take(&mut self.states) {
            ends.push(format!("next {name} = {}", self.term(next)?.text));
        }
        for (name, value) in std::mem::take(&mut self.outputs) {
            ends.push(format!("output {name} = {}", self.term(value)?.text));
        }
        for (name, every) in &self.probes {
            let every = if *every == 1 { String::new() } else { format!(" every {}", self.ticks(*every)) };
            ends.push(format!("probe {name}{every}"));
        }
        if self.number {
            text.push_str("# Truth values and whole numbers as real numbers.\nfn number(x: real) -> real = x\n\n");
        }
        let name = self.name(if self.m.name.is_empty() { "Model" } else { &self.m.name });
        text.push_str(&format!("net {name} {{\n"));
        let clock = self.tick().map(|t| format!("clock {t}"));
        let file = (!self.arrays.is_empty()).then(|| format!("file f = {file:?}"));
        let blocks = [clock.into_iter().chain(file).collect(), self.params, self.inputs, self.body, ends];
        let blocks: Vec<String> = blocks.iter().filter(|b| !b.is_empty()).map(|b| b.join("\n")).collect();
        text.push_str(&blocks.join("\n\n"));
        text.push_str("\n}\n");
        let text = crate::format(&text).map_err(|d| {
            let said = d.first().map_or("", |d| &d.message);
            Diagnostic::error_nowhere("E0799", format!("the text that was made does not parse: {said}"))
        })?;
        Ok(Export { text, arrays: self.arrays, renamed: self.renamed })
    }
}

fn extents(shape: &[u64]) -> String {
    match shape {
        [] => String::new(),
        s => format!("[{}]", s.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Padding that is the same before and after each axis.
fn symmetric(pad: &[u64]) -> Option<Vec<u64>> {
    let (before, after) = pad.split_at(pad.len() / 2);
    (before == after).then(|| before.to_vec())
}
