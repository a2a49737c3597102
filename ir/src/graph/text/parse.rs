//! The reader: recursive descent over [`super::lex`].

use super::TextError;
use super::lex::{Lexer, Token};
use crate::graph::connect::{Connectivity, Rule, SynapseDelay, SynapseWeight};
use crate::graph::verify::MAX_REGION_DEPTH;
use crate::graph::{
    AttrValue, Choice, ConnId, ConstId, Constant, DelayLine, Graph, LineId, Module, Node, Op, Port, Probe, Real, State,
    Value, ValueId,
};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, TensorType};

/// Reads a module.
///
/// # Errors
/// The first place where the text is malformed.
pub fn parse(text: &str) -> Result<Module, TextError> {
    let mut lexer = Lexer::new(text);
    let (token, start, end) = lexer.next()?;
    let mut p = Parser { lexer, token, start, end, depth: 0 };
    let module = p.module()?;
    match p.token {
        Token::End => Ok(module),
        _ => p.expected("the end of the text"),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next, and where it stands.
    token: Token,
    start: usize,
    end: usize,
    depth: usize,
}

type Parsed<T> = Result<T, TextError>;

impl Parser<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(self.lexer.error(self.start, self.end, message.into()))
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        self.fail(format!("found {}, expected {what}", self.token.words()))
    }

    fn advance(&mut self) -> Parsed<Token> {
        let (token, start, end) = self.lexer.next()?;
        (self.start, self.end) = (start, end);
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn at(&self, mark: &str) -> bool {
        matches!(&self.token, Token::Mark(m) if *m == mark)
    }

    fn eat(&mut self, mark: &str) -> Parsed<bool> {
        let found = self.at(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn mark(&mut self, mark: &str) -> Parsed<()> {
        match self.eat(mark)? {
            true => Ok(()),
            false => self.expected(&format!("`{mark}`")),
        }
    }

    fn eat_word(&mut self, word: &str) -> Parsed<bool> {
        let found = matches!(&self.token, Token::Word(w) if w == word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn word(&mut self, word: &str) -> Parsed<()> {
        match self.eat_word(word)? {
            true => Ok(()),
            false => self.expected(&format!("`{word}`")),
        }
    }

    fn any_word(&mut self, what: &str) -> Parsed<String> {
        match &self.token {
            Token::Word(w) => {
                let w = w.clone();
                self.advance()?;
                Ok(w)
            }
            _ => self.expected(what),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        match &self.token {
            Token::Str(_) => match self.advance()? {
                Token::Str(s) => Ok(s),
                _ => Ok(String::new()),
            },
            _ => self.expected("a name in quotes"),
        }
    }

    fn optional_name(&mut self) -> Parsed<String> {
        if matches!(self.token, Token::Str(_)) { self.string() } else { Ok(String::new()) }
    }

    fn int<T: TryFrom<i128>>(&mut self) -> Parsed<T> {
        match self.token {
            Token::Int(x) => match T::try_from(x) {
                Ok(v) => {
                    self.advance()?;
                    Ok(v)
                }
                Err(_) => self.fail(format!("{x} is out of range here")),
            },
            _ => self.expected("an integer"),
        }
    }

    fn value(&mut self) -> Parsed<ValueId> {
        match self.token {
            Token::Value(v) => {
                self.advance()?;
                Ok(ValueId(v))
            }
            _ => self.expected("a value such as `%0`"),
        }
    }

    /// A word made of `prefix` and a number, such as `c3`.
    fn id(&mut self, prefix: &str) -> Parsed<u32> {
        let id = match &self.token {
            Token::Word(w) => numbered(w, prefix),
            _ => None,
        };
        match id {
            Some(id) => {
                self.advance()?;
                Ok(id)
            }
            None => self.expected(&format!("`{prefix}` and a number")),
        }
    }

    fn const_id(&mut self) -> Parsed<ConstId> {
        self.id("c").map(ConstId)
    }

    /// The next entry of a pool, which must carry the next number.
    fn next_id(&mut self, prefix: &str, count: usize) -> Parsed<()> {
        let (start, end) = (self.start, self.end);
        let id = self.id(prefix)?;
        match id as usize == count {
            true => Ok(()),
            false => Err(self.lexer.error(start, end, format!("found `{prefix}{id}`, expected `{prefix}{count}`"))),
        }
    }

    fn separated<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut all = Vec::new();
        if self.eat(close)? {
            return Ok(all);
        }
        loop {
            all.push(item(self)?);
            if self.eat(close)? {
                return Ok(all);
            }
            self.mark(",")?;
        }
    }

    fn module(&mut self) -> Parsed<Module> {
        self.word("module")?;
        let mut m = Module { name: self.string()?, ..Module::default() };
        self.mark("{")?;
        let mut has_graph = false;
        while !self.eat("}")? {
            let (start, end) = (self.start, self.end);
            let item = self.any_word("an item of a module or `}`")?;
            match item.as_str() {
                "dt" => {
                    self.mark("=")?;
                    m.dt = Some(Real(self.real()?));
                }
                "seed" => {
                    self.mark("=")?;
                    m.seed = self.int()?;
                }
                "const" => {
                    self.next_id("c", m.consts.len())?;
                    let name = self.optional_name()?;
                    self.mark(":")?;
                    let ty = self.ty()?;
                    self.mark("=")?;
                    m.consts.push(Constant { name, data: self.data(&ty)? });
                }
                "line" => {
                    self.next_id("line", m.lines.len())?;
                    let name = self.optional_name()?;
                    self.mark(":")?;
                    let ty = self.ty()?;
                    self.mark(",")?;
                    let source = self.field("source", Self::value)?;
                    self.mark(",")?;
                    let depth = self.field("depth", Self::int)?;
                    m.lines.push(DelayLine { name, source, ty, depth });
                }
                "conn" => {
                    self.next_id("conn", m.conns.len())?;
                    let c = self.connectivity()?;
                    m.conns.push(c);
                }
                "graph" if has_graph => {
                    return Err(self.lexer.error(start, end, "a module has one graph".to_string()));
                }
                "graph" => {
                    has_graph = true;
                    m.graph = self.graph()?;
                }
                "input" | "output" => {
                    let name = self.string()?;
                    self.mark("=")?;
                    let port = Port { name, value: self.value()? };
                    if item == "input" { &mut m.inputs } else { &mut m.outputs }.push(port);
                }
                "state" => {
                    let name = self.string()?;
                    self.mark(":")?;
                    let read = self.field("read", Self::value)?;
                    self.mark(",")?;
                    let next = self.field("next", Self::value)?;
                    self.mark(",")?;
                    let init = self.field("init", Self::const_id)?;
                    m.states.push(State { name, read, next, init });
                }
                "probe" => {
                    let name = self.string()?;
                    self.mark("=")?;
                    let value = self.value()?;
                    self.word("every")?;
                    m.probes.push(Probe { name, value, every: self.int()? });
                }
                "sparse" => {
                    let name = self.string()?;
                    m.sparse.push(name);
                }
                "choice" => {
                    let (subject, text) = (self.string()?, self.string()?);
                    m.choices.push(Choice { subject, text });
                }
                _ => return Err(self.lexer.error(start, end, format!("`{item}` is not an item of a module"))),
            }
        }
        Ok(m)
    }

    fn field<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.word(name)?;
        self.mark("=")?;
        read(self)
    }

    fn real(&mut self) -> Parsed<f64> {
        match self.attr_value()? {
            AttrValue::Real(Real(x)) => Ok(x),
            AttrValue::Int(x) => Ok(x as f64),
            _ => self.fail("expected a number"),
        }
    }

    fn ty(&mut self) -> Parsed<TensorType> {
        let (start, end) = (self.start, self.end);
        let word = self.any_word("an element type")?;
        let Some(dtype) = DType::from_name(&word) else {
            return Err(self.lexer.error(start, end, format!("`{word}` is not an element type")));
        };
        let shape = match self.eat("[")? {
            true => self.separated("]", |p| match &p.token {
                Token::Str(_) => p.string().map(Dim::Sym),
                Token::Word(_) => p.any_word("an extent").map(Dim::Sym),
                _ => p.int().map(Dim::Const),
            })?,
            false => Vec::new(),
        };
        Ok(TensorType { dtype, shape })
    }

    fn data(&mut self, ty: &TensorType) -> Parsed<Tensor> {
        let (start, end) = (self.start, self.end);
        let extents = ty.extents().unwrap_or_default();
        let shape: Option<Vec<usize>> = extents.iter().map(|n| usize::try_from(*n).ok()).collect();
        let Some(shape) = shape.filter(|s| s.len() == ty.rank()) else {
            return self.fail("a constant needs extents that are numbers");
        };
        let bytes = match &self.token {
            Token::Bytes(_) => match self.advance()? {
                Token::Bytes(b) => b,
                _ => Vec::new(),
            },
            _ => {
                self.mark("[")?;
                let mut bytes = Vec::new();
                self.separated("]", |p| p.element(ty.dtype, &mut bytes))?;
                bytes
            }
        };
        Tensor::from_bytes(ty.dtype, shape, &bytes).ok_or_else(|| {
            let found = bytes.len() / ty.dtype.size();
            self.lexer.error(start, end, format!("{found} elements do not fill {ty}"))
        })
    }

    fn element(&mut self, dtype: DType, out: &mut Vec<u8>) -> Parsed<()> {
        if self.at("...") {
            return self.fail("this text was printed without its long constants and cannot be read back");
        }
        macro_rules! int {
            ($t:ty) => {
                out.extend_from_slice(&self.int::<$t>()?.to_le_bytes())
            };
        }
        match dtype {
            DType::I64 => int!(i64),
            DType::I32 => int!(i32),
            DType::I16 => int!(i16),
            DType::I8 => int!(i8),
            DType::U64 => int!(u64),
            DType::U32 => int!(u32),
            DType::U16 => int!(u16),
            DType::U8 => int!(u8),
            DType::Bool if self.eat_word("true")? => out.push(1),
            DType::Bool if self.eat_word("false")? => out.push(0),
            DType::Bool => return self.expected("`true` or `false`"),
            DType::F64 => out.extend_from_slice(&self.real()?.to_le_bytes()),
            // The shortest text of an f32 is not always read as the same number by way of f64; see `narrow`.
            DType::F32 => out.extend_from_slice(&self.narrow()?.to_le_bytes()),
            DType::F16 => out.extend_from_slice(&half::f16::from_f32(self.narrow()?).to_le_bytes()),
            DType::BF16 => out.extend_from_slice(&half::bf16::from_f32(self.narrow()?).to_le_bytes()),
        }
        Ok(())
    }

    /// A number read as f32 at once, so that it is rounded once.
    fn narrow(&mut self) -> Parsed<f32> {
        match self.lexer.slice(self.start, self.end).parse::<f32>() {
            Ok(x) if !x.is_nan() => {
                self.advance()?;
                Ok(x)
            }
            _ => self.expected("a number"),
        }
    }

    fn range(&mut self, name: &str) -> Parsed<(std::ops::Range<u64>, u64)> {
        self.word(name)?;
        self.mark("=")?;
        let start = self.int()?;
        self.mark("..")?;
        let end = self.int()?;
        self.word("of")?;
        Ok((start..end, self.int()?))
    }

    /// `name = [..]` of a fixed length.
    fn extents<const N: usize>(&mut self, name: &str) -> Parsed<[u64; N]> {
        self.word(name)?;
        self.mark("=")?;
        self.mark("[")?;
        let list = self.separated("]", Self::int::<u64>)?;
        <[u64; N]>::try_from(list).or_else(|l| self.fail(format!("`{name}` has {} entries, expected {N}", l.len())))
    }

    fn connectivity(&mut self) -> Parsed<Connectivity> {
        let name = self.optional_name()?;
        self.mark("{")?;
        let (pre, pre_len) = self.range("pre")?;
        let (post, post_len) = self.range("post")?;
        self.word("rule")?;
        self.mark("=")?;
        let rule = self.rule()?;
        self.word("weight")?;
        self.mark("=")?;
        let weight = match self.any_word("how weights are given")?.as_str() {
            "scalar" => SynapseWeight::Scalar(self.const_id()?),
            "per_synapse" => SynapseWeight::PerSynapse(self.const_id()?),
            "kernel" => SynapseWeight::Kernel(self.const_id()?),
            "pre_major" => SynapseWeight::Matrix { data: self.const_id()?, pre_major: true },
            "post_major" => SynapseWeight::Matrix { data: self.const_id()?, pre_major: false },
            "region" => SynapseWeight::Region(self.graph()?),
            other => return self.fail(format!("weights are not given by `{other}`")),
        };
        self.word("delay")?;
        self.mark("=")?;
        let delay = match self.any_word("how delays are given")?.as_str() {
            "ticks" => SynapseDelay::Ticks(self.int()?),
            "per_synapse" => SynapseDelay::PerSynapse(self.const_id()?),
            "kernel" => SynapseDelay::Kernel(self.const_id()?),
            "region" => {
                self.word("max")?;
                let max = self.int()?;
                SynapseDelay::Region { body: self.graph()?, max }
            }
            other => return self.fail(format!("delays are not given by `{other}`")),
        };
        self.mark("}")?;
        Ok(Connectivity { name, pre_len, post_len, pre, post, rule, weight, delay })
    }

    fn rule(&mut self) -> Parsed<Rule> {
        let (start, end) = (self.start, self.end);
        let word = self.any_word("a rule")?;
        match word.as_str() {
            "all" => return Ok(Rule::All),
            "one_to_one" => return Ok(Rule::OneToOne),
            "predicate" => return Ok(Rule::Predicate(self.graph()?)),
            _ => self.mark("(")?,
        }
        let rule = match word.as_str() {
            "random" => {
                let p = Real(self.field("p", Self::real)?);
                self.mark(",")?;
                Rule::Random { p, stream: self.field("stream", Self::int)? }
            }
            "fixed_in" | "fixed_out" => {
                let k = self.field("k", Self::int)?;
                self.mark(",")?;
                let stream = self.field("stream", Self::int)?;
                if word == "fixed_in" { Rule::FixedIn { k, stream } } else { Rule::FixedOut { k, stream } }
            }
            "conv2d" => {
                let input = self.extents("input")?;
                self.mark(",")?;
                let output = self.extents("output")?;
                self.mark(",")?;
                let size = self.extents("size")?;
                self.mark(",")?;
                let stride = self.extents("stride")?;
                self.mark(",")?;
                Rule::Conv2d { input, output, size, stride, pad: self.extents("pad")? }
            }
            "table" => {
                let pre = self.field("pre", Self::const_id)?;
                self.mark(",")?;
                Rule::Table { pre, post: self.field("post", Self::const_id)? }
            }
            _ => return Err(self.lexer.error(start, end, format!("`{word}` is not a rule"))),
        };
        self.mark(")")?;
        Ok(rule)
    }

    /// `{ .. }`.
    fn graph(&mut self) -> Parsed<Graph> {
        if self.depth > MAX_REGION_DEPTH {
            return self.fail(format!("regions nest more than {MAX_REGION_DEPTH} deep"));
        }
        self.depth += 1;
        let (start, end) = (self.start, self.end);
        self.mark("{")?;
        let mut g = Graph::default();
        let mut values: Vec<(ValueId, Value)> = Vec::new();
        while !self.at("}") {
            if self.eat_word("param")? {
                let (id, value) = self.definition()?;
                g.params.push(id);
                values.push((id, value));
            } else if self.eat_word("give")? {
                self.mark("(")?;
                g.results = self.separated(")", Self::value)?;
                break;
            } else {
                let node = self.node(&mut values)?;
                g.nodes.push(node);
            }
        }
        self.mark("}")?;
        values.sort_by_key(|(id, _)| *id);
        for (k, (id, value)) in values.into_iter().enumerate() {
            if id.index() != k {
                let what =
                    if id.index() < k { format!("{id} is defined twice") } else { format!("%{k} is not defined") };
                return Err(self.lexer.error(start, end, format!("in the graph that begins here, {what}")));
            }
            g.values.push(value);
        }
        self.depth -= 1;
        Ok(g)
    }

    /// `%3 "name": f32[2]`.
    fn definition(&mut self) -> Parsed<(ValueId, Value)> {
        let id = self.value()?;
        let name = self.optional_name()?;
        self.mark(":")?;
        Ok((id, Value { ty: self.ty()?, name }))
    }

    fn node(&mut self, values: &mut Vec<(ValueId, Value)>) -> Parsed<Node> {
        let mut results = Vec::new();
        if matches!(self.token, Token::Value(_)) {
            loop {
                let (id, value) = self.definition()?;
                results.push(id);
                values.push((id, value));
                if !self.eat(",")? {
                    break;
                }
            }
            self.mark("=")?;
        }
        let (start, end) = (self.start, self.end);
        let name = self.any_word("an op")?;
        let mut attrs: Vec<(String, AttrValue)> = Vec::new();
        if self.eat("{")? {
            attrs = self.separated("}", |p| {
                let key = p.any_word("an attribute")?;
                p.mark("=")?;
                Ok((key, p.attr_value()?))
            })?;
        }
        let repeated = attrs.iter().enumerate().find(|(k, (key, _))| attrs[..*k].iter().any(|(other, _)| other == key));
        let op = match repeated {
            Some((_, (key, _))) => Err(format!("`{key}` is given twice")),
            None => Op::from_parts(&name, &attrs),
        };
        let op = op.map_err(|message| self.lexer.error(start, end, message))?;
        self.mark("(")?;
        let args = self.separated(")", Self::value)?;
        let mut regions = Vec::new();
        for region in op.info().regions {
            self.word(region)?;
            regions.push(self.graph()?);
        }
        Ok(Node { op, args, regions, results })
    }

    fn attr_value(&mut self) -> Parsed<AttrValue> {
        let value = match &self.token {
            Token::Int(x) => AttrValue::Int(*x),
            Token::Real(x) => AttrValue::Real(Real(*x)),
            Token::Mark("[") => {
                self.advance()?;
                return self.separated("]", Self::int::<i128>).map(AttrValue::Ints);
            }
            Token::Word(w) => match w.as_str() {
                "true" => AttrValue::Bool(true),
                "false" => AttrValue::Bool(false),
                "none" => AttrValue::None,
                "inf" => AttrValue::Real(Real(f64::INFINITY)),
                "nan" => {
                    self.advance()?;
                    self.mark("(")?;
                    let bits = self.int()?;
                    self.mark(")")?;
                    return Ok(AttrValue::Real(Real(f64::from_bits(bits))));
                }
                w => match (numbered(w, "c"), numbered(w, "conn"), numbered(w, "line")) {
                    (Some(id), _, _) => AttrValue::Const(ConstId(id)),
                    (_, Some(id), _) => AttrValue::Conn(ConnId(id)),
                    (_, _, Some(id)) => AttrValue::Line(LineId(id)),
                    _ => AttrValue::Word(w.to_string()),
                },
            },
            _ => return self.expected("the value of an attribute"),
        };
        self.advance()?;
        Ok(value)
    }
}

/// The number in a word made of `prefix` and a number.
fn numbered(word: &str, prefix: &str) -> Option<u32> {
    let digits = word.strip_prefix(prefix)?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}
