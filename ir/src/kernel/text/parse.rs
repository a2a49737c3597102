//! Reading, by recursive descent with one token of lookahead.

use super::ParseError;
use super::lex::{At, Lexer, Token};
use super::print::implied_vals;
use crate::kernel::program::{
    Block, BufId, Buffer, Carried, Element, EventBody, EventList, Index, Kernel, ListId, Parallel, Program, Role, Step,
    Stmt, Trips, Val,
};
use crate::kernel::scalar::{Scalar, ScalarOp, ScalarType};
use crate::kernel::verify::{MAX_DEPTH, MAX_STEP_DEPTH};
use crate::tensor::Tensor;
use crate::types::DType;
use half::{bf16, f16};
use std::str::FromStr;

type Parsed<T> = Result<T, ParseError>;

pub(super) fn program(text: &str, max_bytes: u64) -> Parsed<Program> {
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let mut p = Parser { lexer, token, at, last_line: 1, bytes_left: max_bytes };
    p.word("program")?;
    let name = p.string()?;
    p.word("parts")?;
    let mut program = Program::new(name, p.number()?);
    loop {
        match p.token {
            Token::End => return Ok(program),
            Token::Word("buffer") => {
                p.next()?;
                p.numbered('b', program.buffers.len())?;
                program.buffers.push(p.buffer()?);
            }
            Token::Word("list") => {
                p.next()?;
                p.numbered('l', program.lists.len())?;
                program.lists.push(p.list()?);
            }
            Token::Word("kernel" | "loop" | "if") => program.steps.push(p.step(0)?),
            _ => return p.expected("`buffer`, `list`, `kernel`, `loop` or `if`"),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    at: At,
    /// Line of the token before.
    last_line: u32,
    /// What repeated elements may still take.
    bytes_left: u64,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Parsed<Token<'a>> {
        let (token, at) = self.lexer.next()?;
        self.last_line = self.at.line;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        self.at.error(format!("expected {what}, found {}", self.token))
    }

    /// Takes the token if it is this mark.
    fn eat(&mut self, mark: char) -> Parsed<bool> {
        let there = self.token == Token::Mark(mark);
        if there {
            self.next()?;
        }
        Ok(there)
    }

    fn mark(&mut self, mark: char) -> Parsed<()> {
        if self.eat(mark)? { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }

    fn eat_word(&mut self, word: &str) -> Parsed<bool> {
        let there = self.token == Token::Word(word);
        if there {
            self.next()?;
        }
        Ok(there)
    }

    fn word(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word)? { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    fn string(&mut self) -> Parsed<String> {
        match &mut self.token {
            Token::Text(s) => {
                let s = std::mem::take(s);
                self.next()?;
                Ok(s)
            }
            _ => self.expected("a string"),
        }
    }

    /// An unsigned number.
    fn number<T: FromStr>(&mut self) -> Parsed<T> {
        let Token::Number(digits) = self.token else { return self.expected("a number") };
        match digits.parse() {
            Ok(n) => {
                self.next()?;
                Ok(n)
            }
            Err(_) => self.at.error(format!("{} is not a number of this kind", self.token)),
        }
    }

    /// An integer with an optional sign.
    fn int<T: TryFrom<i128>>(&mut self) -> Parsed<T> {
        let at = self.at;
        let negative = self.eat('-')?;
        let Token::Number(digits) = self.token else { return self.expected("an integer") };
        let n = digits.parse::<i128>().ok().and_then(|n| T::try_from(if negative { -n } else { n }).ok());
        match n {
            Some(n) => {
                self.next()?;
                Ok(n)
            }
            None => at.error(format!("{} is not an integer that fits", self.token)),
        }
    }

    /// The number of a value, buffer or list.
    fn entity(&mut self, prefix: char, what: &str) -> Parsed<u32> {
        let id = match self.token {
            Token::Word(w) => w.strip_prefix(prefix).filter(|d| d.bytes().all(|b| b.is_ascii_digit())),
            _ => None,
        };
        match id.and_then(|d| d.parse().ok()) {
            Some(id) => {
                self.next()?;
                Ok(id)
            }
            None => self.expected(what),
        }
    }

    fn val(&mut self) -> Parsed<Val> {
        self.entity('v', "a value").map(Val)
    }

    fn vals(&mut self) -> Parsed<Vec<Val>> {
        let mut vals = vec![self.val()?];
        while self.eat(',')? {
            vals.push(self.val()?);
        }
        Ok(vals)
    }

    fn numbered(&mut self, prefix: char, expected: usize) -> Parsed<()> {
        let at = self.at;
        let id = self.entity(prefix, &format!("`{prefix}{expected}`"))?;
        if id as usize == expected {
            Ok(())
        } else {
            at.error(format!("expected `{prefix}{expected}`, found `{prefix}{id}`"))
        }
    }

    fn dtype(&mut self) -> Parsed<DType> {
        let Token::Word(w) = self.token else { return self.expected("an element type") };
        match DType::from_name(w) {
            Some(d) => {
                self.next()?;
                Ok(d)
            }
            None => self.expected("an element type"),
        }
    }

    fn buffer(&mut self) -> Parsed<Buffer> {
        let name = self.string()?;
        let elem = self.dtype()?;
        self.mark('[')?;
        let len = self.number()?;
        self.mark(']')?;
        let at = self.at;
        let role = match self.next()? {
            Token::Word("const") => Role::Const(self.tensor()?),
            Token::Word("state") => Role::State(self.tensor()?),
            Token::Word("temp") => Role::Temp,
            Token::Word("input") => Role::Input,
            Token::Word("output") => Role::Output,
            Token::Word("probe") => {
                self.word("every")?;
                Role::Probe { every: self.number()? }
            }
            other => return at.error(format!("expected what the buffer is for, found {other}")),
        };
        Ok(Buffer { name, elem, len, role })
    }

    fn tensor(&mut self) -> Parsed<Tensor> {
        let at = self.at;
        let elem = self.dtype()?;
        self.mark('[')?;
        let mut shape: Vec<usize> = Vec::new();
        while !self.eat(']')? {
            if !shape.is_empty() {
                self.mark(',')?;
            }
            shape.push(self.number()?);
        }
        let Some(size) = shape.iter().try_fold(elem.size(), |n, d| n.checked_mul(*d)) else {
            return at.error("the size of the data overflows");
        };
        let mut bytes = Vec::new();
        if self.eat_word("splat")? {
            match self.bytes_left.checked_sub(size as u64) {
                Some(left) => self.bytes_left = left,
                None => return at.error(format!("{size} bytes of data are more than allowed")),
            }
            self.element(elem, &mut bytes)?;
            bytes = bytes.repeat(size / elem.size());
        } else {
            self.mark('{')?;
            while !self.eat('}')? {
                if !bytes.is_empty() {
                    self.mark(',')?;
                }
                self.element(elem, &mut bytes)?;
            }
        }
        let given = bytes.len() / elem.size();
        match Tensor::from_bytes(elem, shape, &bytes) {
            Some(t) => Ok(t),
            None => at.error(format!("{given} elements do not fill the shape")),
        }
    }

    /// Appends one element's bytes.
    fn element(&mut self, elem: DType, bytes: &mut Vec<u8>) -> Parsed<()> {
        match elem {
            DType::F64 => bytes.extend(self.f64()?.to_le_bytes()),
            DType::F32 => bytes.extend(self.f32()?.to_le_bytes()),
            DType::F16 => bytes.extend(self.narrow(f16::from_bits, f16::from_f32, f16::to_f32)?.to_le_bytes()),
            DType::BF16 => bytes.extend(self.narrow(bf16::from_bits, bf16::from_f32, bf16::to_f32)?.to_le_bytes()),
            DType::I64 => bytes.extend(self.int::<i64>()?.to_le_bytes()),
            DType::I32 => bytes.extend(self.int::<i32>()?.to_le_bytes()),
            DType::I16 => bytes.extend(self.int::<i16>()?.to_le_bytes()),
            DType::I8 => bytes.extend(self.int::<i8>()?.to_le_bytes()),
            DType::U64 => bytes.extend(self.int::<u64>()?.to_le_bytes()),
            DType::U32 => bytes.extend(self.int::<u32>()?.to_le_bytes()),
            DType::U16 => bytes.extend(self.int::<u16>()?.to_le_bytes()),
            DType::U8 => bytes.push(self.int::<u8>()?),
            DType::Bool => bytes.push(self.truth()?.into()),
        }
        Ok(())
    }

    fn truth(&mut self) -> Parsed<bool> {
        let truth = self.token == Token::Word("true");
        if truth || self.token == Token::Word("false") {
            self.next()?;
            return Ok(truth);
        }
        self.expected("`true` or `false`")
    }

    /// The bits of a NaN if one is written here.
    fn nan(&mut self) -> Parsed<Option<(u64, At)>> {
        if !self.eat_word("nan")? {
            return Ok(None);
        }
        self.mark(':')?;
        let at = self.at;
        let bits = match self.token {
            Token::Number(n) => n.strip_prefix("0x").and_then(|d| u64::from_str_radix(d, 16).ok()),
            _ => None,
        };
        match bits {
            Some(bits) => {
                self.next()?;
                Ok(Some((bits, at)))
            }
            None => self.expected("the bits of a NaN"),
        }
    }

    /// A float that is not NaN, read as `F`.
    fn finite<F: FromStr>(&mut self, infinity: F, negated: fn(F) -> F, is_finite: fn(&F) -> bool) -> Parsed<F> {
        let negative = self.eat('-')?;
        let x = if self.eat_word("inf")? {
            infinity
        } else {
            let Token::Number(digits) = self.token else { return self.expected("a float") };
            match digits.parse::<F>() {
                Ok(x) if is_finite(&x) => {
                    self.next()?;
                    x
                }
                Ok(_) | Err(_) => return self.at.error(format!("{} is not a float that fits", self.token)),
            }
        };
        Ok(if negative { negated(x) } else { x })
    }

    fn f64(&mut self) -> Parsed<f64> {
        match self.nan()? {
            Some((bits, _)) if f64::from_bits(bits).is_nan() => Ok(f64::from_bits(bits)),
            Some((_, at)) => at.error("these are not the bits of a NaN"),
            None => self.finite(f64::INFINITY, |x| -x, |x| x.is_finite()),
        }
    }

    fn f32(&mut self) -> Parsed<f32> {
        match self.nan()? {
            Some((bits, at)) => match u32::try_from(bits).map(f32::from_bits) {
                Ok(x) if x.is_nan() => Ok(x),
                Ok(_) | Err(_) => at.error("these are not the bits of a NaN"),
            },
            None => self.finite(f32::INFINITY, |x| -x, |x| x.is_finite()),
        }
    }

    /// A 16-bit float.
    fn narrow<F: Copy>(&mut self, from_bits: fn(u16) -> F, from: fn(f32) -> F, to: fn(F) -> f32) -> Parsed<F> {
        let start = self.at;
        match self.nan()? {
            Some((bits, at)) => match u16::try_from(bits).map(from_bits) {
                Ok(x) if to(x).is_nan() => Ok(x),
                Ok(_) | Err(_) => at.error("these are not the bits of a NaN"),
            },
            None => {
                let wide = self.finite(f32::INFINITY, |x| -x, |x| x.is_finite())?;
                let x = from(wide);
                if wide.is_finite() && !to(x).is_finite() {
                    return start.error("the float does not fit 16 bits");
                }
                Ok(x)
            }
        }
    }

    fn list(&mut self) -> Parsed<EventList> {
        let name = self.string()?;
        self.word("len")?;
        let len = self.number()?;
        self.word("slots")?;
        let slots = self.number()?;
        self.word("align")?;
        Ok(EventList { name, len, slots, align: self.number()? })
    }

    fn step(&mut self, depth: usize) -> Parsed<Step> {
        if depth > MAX_STEP_DEPTH {
            return self.at.error(format!("steps nest more than {MAX_STEP_DEPTH} deep"));
        }
        if self.eat_word("kernel")? {
            return Ok(Step::Kernel(self.kernel()?));
        }
        if self.eat_word("loop")? {
            let trips = match self.token {
                Token::Word(_) => Trips::Read(self.element_of_buffer()?),
                _ => Trips::Known(self.number()?),
            };
            let condition = if self.eat_word("while")? { Some(self.element_of_buffer()?) } else { None };
            return Ok(Step::Loop { trips, condition, body: self.steps(depth)? });
        }
        self.word("if")?;
        let condition = self.element_of_buffer()?;
        let then_steps = self.steps(depth)?;
        let else_steps = if self.eat_word("else")? { self.steps(depth)? } else { Vec::new() };
        Ok(Step::If { condition, then_steps, else_steps })
    }

    /// Steps in braces.
    fn steps(&mut self, depth: usize) -> Parsed<Vec<Step>> {
        self.mark('{')?;
        let mut steps = Vec::new();
        while !self.eat('}')? {
            steps.push(self.step(depth + 1)?);
        }
        Ok(steps)
    }

    fn element_of_buffer(&mut self) -> Parsed<Element> {
        let buf = BufId(self.entity('b', "a buffer")?);
        self.mark('[')?;
        let at = self.number()?;
        self.mark(']')?;
        Ok(Element { buf, at })
    }

    fn kernel(&mut self) -> Parsed<Kernel> {
        let name = self.string()?;
        let parallel = if self.eat_word("serial")? {
            None
        } else {
            self.word("parallel")?;
            let len = self.number()?;
            self.word("align")?;
            Some(Parallel { len, align: self.number()? })
        };
        let every = if self.eat_word("every")? { self.number()? } else { 1 };
        let mut iterations = Vec::new();
        if self.eat_word("iterations")? {
            self.mark('(')?;
            iterations = self.vals()?;
            self.mark(')')?;
        }
        let vals = if self.eat_word("vals")? { Some(self.number()?) } else { None };
        let body = self.block(1)?;
        let vals = vals.unwrap_or_else(|| implied_vals(&iterations, &body));
        Ok(Kernel { name, parallel, every, iterations, vals, body })
    }

    /// A block in braces.
    fn block(&mut self, depth: usize) -> Parsed<Block> {
        let (block, _) = self.yielding(depth, false)?;
        Ok(block)
    }

    /// A block in braces, and what it yields at its end if it must.
    fn yielding(&mut self, depth: usize, yields: bool) -> Parsed<(Block, Vec<Val>)> {
        if depth > MAX_DEPTH {
            return self.at.error(format!("blocks nest more than {MAX_DEPTH} deep"));
        }
        self.mark('{')?;
        let mut stmts = Vec::new();
        let mut yielded = Vec::new();
        loop {
            if yields && self.eat_word("yield")? {
                yielded = self.vals()?;
                self.mark('}')?;
                break;
            }
            if self.token == Token::Mark('}') {
                if yields {
                    return self.expected("`yield`");
                }
                self.next()?;
                break;
            }
            stmts.push(self.stmt(depth)?);
        }
        Ok((Block { stmts }, yielded))
    }

    fn stmt(&mut self, depth: usize) -> Parsed<Stmt> {
        let Token::Word(word) = self.token else { return self.expected("a statement") };
        match word {
            "store" => {
                self.next()?;
                let (buf, index) = self.access()?;
                self.mark(',')?;
                Ok(Stmt::Store { buf, index, value: self.val()? })
            }
            "for" | "for.vector" => self.for_loop(Vec::new(), depth),
            "events" => self.events(depth),
            "clear" => {
                self.next()?;
                let (list, slot) = self.slot()?;
                Ok(Stmt::Clear { list, slot })
            }
            "push" => {
                self.next()?;
                let (list, slot) = self.slot()?;
                self.mark(',')?;
                let index = self.val()?;
                self.word("if")?;
                Ok(Stmt::Push { list, slot, cond: self.val()?, index })
            }
            "if" => {
                self.next()?;
                let cond = self.val()?;
                let then_body = self.block(depth + 1)?;
                let else_body = if self.eat_word("else")? { self.block(depth + 1)? } else { Block::default() };
                Ok(Stmt::If { cond, then_body, else_body })
            }
            _ => self.definition(depth),
        }
    }

    fn definition(&mut self, depth: usize) -> Parsed<Stmt> {
        let at = self.at;
        let results = match self.entity('v', "a statement") {
            Ok(v) if self.eat(',')? => {
                let mut all = vec![Val(v)];
                all.extend(self.vals()?);
                all
            }
            Ok(v) => vec![Val(v)],
            Err(e) => return Err(e),
        };
        self.mark('=')?;
        let Token::Word(word) = self.token else { return self.expected("an operation") };
        if matches!(word, "for" | "for.vector") {
            return self.for_loop(results, depth);
        }
        let [dst] = results[..] else { return at.error("only a loop defines several values") };
        if word == "load" {
            self.next()?;
            let (buf, index) = self.access()?;
            return Ok(Stmt::Load { dst, buf, index });
        }
        if let Some(ty) = word.strip_prefix("const.").and_then(ScalarType::from_name) {
            self.next()?;
            let value = match ty {
                ScalarType::F32 => Scalar::F32(self.f32()?),
                ScalarType::F64 => Scalar::F64(self.f64()?),
                ScalarType::I32 => Scalar::I32(self.int()?),
                ScalarType::I64 => Scalar::I64(self.int()?),
                ScalarType::Bool => Scalar::Bool(self.truth()?),
            };
            return Ok(Stmt::Const { dst, value });
        }
        let Some(op) = ScalarOp::from_name(word) else { return self.expected("an operation") };
        self.next()?;
        // Operands stand on the operation's line, so that a missing one is not taken from the next statement.
        let operands = self.at.line == self.last_line && matches!(self.token, Token::Word(w) if w.starts_with('v'));
        let args = if operands { self.vals()? } else { Vec::new() };
        Ok(Stmt::Op { dst, op, args })
    }

    fn for_loop(&mut self, results: Vec<Val>, depth: usize) -> Parsed<Stmt> {
        let at = self.at;
        let vector = self.next()? == Token::Word("for.vector");
        let var = self.val()?;
        self.word("in")?;
        let lo = self.val()?;
        if self.token != Token::Range {
            return self.expected("`..`");
        }
        self.next()?;
        let hi = self.val()?;
        let mut pairs = Vec::new();
        if self.eat_word("carry")? {
            self.mark('(')?;
            loop {
                let param = self.val()?;
                self.mark('=')?;
                pairs.push((param, self.val()?));
                if !self.eat(',')? {
                    break;
                }
            }
            self.mark(')')?;
        }
        let (body, yielded) = self.yielding(depth + 1, !pairs.is_empty())?;
        if pairs.len() != results.len() || pairs.len() != yielded.len() {
            let (n, r, y) = (pairs.len(), results.len(), yielded.len());
            return at.error(format!("the loop carries {n} values, yields {y} and defines {r}"));
        }
        let carried = (pairs.into_iter().zip(yielded).zip(results))
            .map(|(((param, init), next), result)| Carried { param, init, next, result })
            .collect();
        Ok(Stmt::For { var, lo, hi, vector, carried, body })
    }

    fn events(&mut self, depth: usize) -> Parsed<Stmt> {
        self.next()?;
        let (list, slot) = self.slot()?;
        self.mark('{')?;
        let wide = if self.eat_word("wide")? { Some(self.event_body(depth)?) } else { None };
        self.word("one")?;
        let one = self.event_body(depth)?;
        self.mark('}')?;
        Ok(Stmt::Events { list, slot, wide, one })
    }

    fn event_body(&mut self, depth: usize) -> Parsed<EventBody> {
        self.mark('(')?;
        let vars = if self.token == Token::Mark(')') { Vec::new() } else { self.vals()? };
        self.mark(')')?;
        Ok(EventBody { vars, body: self.block(depth + 1)? })
    }

    fn slot(&mut self) -> Parsed<(ListId, Val)> {
        let list = ListId(self.entity('l', "a list")?);
        self.mark('[')?;
        let slot = self.val()?;
        self.mark(']')?;
        Ok((list, slot))
    }

    fn access(&mut self) -> Parsed<(BufId, Index)> {
        let buf = BufId(self.entity('b', "a buffer")?);
        self.mark('[')?;
        let mut index = Index::default();
        loop {
            if !matches!(self.token, Token::Word(_)) {
                index.offset = self.int()?;
                break;
            }
            let v = self.val()?;
            let coefficient = if self.eat('*')? { self.int()? } else { 1 };
            index.terms.push((v, coefficient));
            if self.token == Token::Mark('-') {
                index.offset = self.int()?;
                break;
            }
            if !self.eat('+')? {
                break;
            }
        }
        self.mark(']')?;
        Ok((buf, index))
    }
}
