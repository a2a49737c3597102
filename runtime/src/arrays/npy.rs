//! The header of an `.npy` array: strict reading and canonical writing.
//!
//! Format: NumPy Enhancement Proposal 1 and the documentation of `numpy.lib.format`, versions 1.0, 2.0 and 3.0.

use super::decode::Layout;
use super::stream::Stream;
use crate::fail::byte_size;
use nc_ir::diag::Diagnostic;
use nc_ir::types::DType;

/// First bytes of every `.npy`.
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest dictionary that is read, in bytes.
const MAX_HEADER: u32 = 1 << 16;

/// Reads the header at the start of `stream`, which is left at the first element. The inner error is an element type
/// that is not read, in an otherwise good header.
///
/// # Errors
/// E0602, E0603, E0606, E0607 and those of [`Stream::fill`].
pub(super) fn read_header(stream: &mut Stream, max_rank: usize) -> Result<Result<Layout, Diagnostic>, Diagnostic> {
    let bad = |stream: &Stream, text: String| stream.place.error("E0603", text);
    let mut start = [0; 8];
    if stream.left() < 10 {
        return Err(stream.place.error("E0602", format!("has {} bytes, too few for an npy header", stream.left())));
    }
    stream.fill(&mut start)?;
    if &start[..6] != MAGIC {
        return Err(bad(stream, "does not start with the npy magic bytes".to_owned()));
    }
    let version = (start[6], start[7]);
    let length = match version {
        (1, 0) => {
            let mut b = [0; 2];
            stream.fill(&mut b)?;
            u32::from(u16::from_le_bytes(b))
        }
        (2 | 3, 0) => {
            let mut b = [0; 4];
            if stream.left() < 4 {
                return Err(stream.place.error("E0602", "ends inside the npy header"));
            }
            stream.fill(&mut b)?;
            u32::from_le_bytes(b)
        }
        (major, minor) => {
            return Err(bad(stream, format!("npy version {major}.{minor}, expected 1.0, 2.0 or 3.0")));
        }
    };
    if length > MAX_HEADER {
        return Err(bad(stream, format!("npy header of {length} bytes, at most {MAX_HEADER} are read")));
    }
    if u64::from(length) > stream.left() {
        return Err(stream
            .place
            .error("E0602", format!("npy header of {length} bytes declared, {} bytes are there", stream.left())));
    }
    let mut text = vec![0; length as usize];
    stream.fill(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| bad(stream, "the npy header is not UTF-8".to_owned()))?;
    let header = Parser { rest: text }.header().map_err(|e| bad(stream, format!("npy header: {e}")))?;

    if header.shape.len() > max_rank {
        return Err(stream
            .place
            .error("E0606", format!("has {} dimensions, at most {max_rank} are read", header.shape.len())));
    }
    let (dtype, big_endian) = match header.descr {
        Descr::Plain(d) => match element(&d) {
            Ok(e) => e,
            Err(what) => return Ok(Err(stream.place.error("E0604", what))),
        },
        Descr::Record => {
            return Ok(Err(stream.place.error("E0604", "has structured records for elements, which are not read")));
        }
    };
    if byte_size(&header.shape, dtype.size()).is_none() {
        return Err(stream
            .place
            .error("E0606", format!("shape {:?} has more elements than fit in memory", header.shape)));
    }
    let layout = Layout { dtype, big_endian, fortran: header.fortran && header.shape.len() > 1, shape: header.shape };
    let expected = layout.file_bytes().unwrap_or(u64::MAX);
    if expected != stream.left() {
        let code = if expected > stream.left() && stream.place.array.is_none() { "E0602" } else { "E0607" };
        return Err(stream.place.error(
            code,
            format!("{}{:?} takes {expected} bytes, {} follow the header", layout.dtype, layout.shape, stream.left()),
        ));
    }
    Ok(Ok(layout))
}

/// Element type and byte order that a type string such as `<f4` names, or why it is not read.
fn element(descr: &str) -> Result<(DType, bool), String> {
    let unread = |what: &str| Err(format!("has element type {descr:?} ({what}), which is not read"));
    let mut chars = descr.chars();
    let order = chars.next();
    let (kind, size) = match order {
        Some('<' | '>' | '|' | '=') => (chars.next(), chars.as_str()),
        _ => (order, chars.as_str()),
    };
    let dtype = match (kind, size) {
        (Some('f'), "8") => DType::F64,
        (Some('f'), "4") => DType::F32,
        (Some('f'), "2") => DType::F16,
        (Some('i'), "8") => DType::I64,
        (Some('i'), "4") => DType::I32,
        (Some('i'), "2") => DType::I16,
        (Some('i'), "1") => DType::I8,
        (Some('u'), "1") => DType::U8,
        (Some('u'), "2") => DType::U16,
        (Some('u'), "4") => DType::U32,
        (Some('u'), "8") => DType::U64,
        (Some('b'), "1") => DType::Bool,
        (Some('f'), _) => return unread("float of another size"),
        (Some('c'), _) => return unread("complex"),
        (Some('O'), _) => return unread("Python object"),
        (Some('S' | 'a'), _) => return unread("byte string"),
        (Some('U'), _) => return unread("string"),
        (Some('M'), _) => return unread("date"),
        (Some('m'), _) => return unread("time span"),
        (Some('V'), _) => return unread("raw bytes; bfloat16 is read from safetensors"),
        _ => return unread("unknown"),
    };
    match (order, dtype.size()) {
        (Some('<' | '='), _) | (Some('|'), 1) => Ok((dtype, false)),
        (Some('>'), _) => Ok((dtype, true)),
        _ => unread("byte order not given"),
    }
}

enum Descr {
    Plain(String),
    Record,
}

struct Header {
    descr: Descr,
    fortran: bool,
    shape: Vec<usize>,
}

/// The part of Python's literals that npy headers use.
struct Parser<'a> {
    rest: &'a str,
}

/// More dimensions than any array library writes; the limit of the caller is checked later.
const MAX_DIMS: usize = 64;

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn accept(&mut self, token: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(format!("expected {token:?}, found {}", self.found())) }
    }

    fn found(&self) -> String {
        let s: String = self.rest.chars().take(12).collect();
        if s.is_empty() { "the end".to_owned() } else { format!("{s:?}") }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        self.space();
        let quote = match self.rest.chars().next() {
            Some(q @ ('\'' | '"')) => q,
            _ => return Err(format!("expected a string, found {}", self.found())),
        };
        let body = &self.rest[1..];
        let end = body.find([quote, '\\', '\n']).filter(|e| body[*e..].starts_with(quote));
        match end {
            Some(e) => {
                self.rest = &body[e + 1..];
                Ok(&body[..e])
            }
            None => Err("a string without end or with an escape".to_owned()),
        }
    }

    fn extent(&mut self) -> Result<usize, String> {
        self.space();
        let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = self.rest.split_at(digits);
        if number.is_empty() {
            return Err(format!("expected an extent (a number from 0 up), found {}", self.found()));
        }
        self.rest = rest;
        number.parse().map_err(|_| format!("extent {number:.24} is too large"))
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut shape = Vec::new();
        while !self.accept(")") {
            if shape.len() == MAX_DIMS {
                return Err(format!("more than {MAX_DIMS} dimensions"));
            }
            shape.push(self.extent()?);
            if !self.accept(",") {
                if shape.len() == 1 {
                    return Err(format!("expected \",\" after the only extent, found {}", self.found()));
                }
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }

    /// Skips a bracketed list: the fields of a record type. Strings in it may hold brackets.
    fn skip_list(&mut self) -> Result<(), String> {
        let mut depth = 0usize;
        loop {
            self.space();
            match self.rest.chars().next() {
                Some('\'' | '"') => {
                    self.string()?;
                    continue;
                }
                Some('[' | '(') => depth += 1,
                Some(']' | ')') => depth = depth.saturating_sub(1),
                Some(_) => {}
                None => return Err("a list without end".to_owned()),
            }
            let mut chars = self.rest.chars();
            chars.next();
            self.rest = chars.as_str();
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn header(mut self) -> Result<Header, String> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.accept("}") {
            let key = self.string()?;
            self.expect(":")?;
            let again = match key {
                "descr" => {
                    self.space();
                    let d = if self.rest.starts_with(['[', '(']) {
                        self.skip_list()?;
                        Descr::Record
                    } else {
                        Descr::Plain(self.string()?.chars().take(32).collect())
                    };
                    descr.replace(d).is_some()
                }
                "fortran_order" => {
                    let value = self.accept("True");
                    if !value {
                        self.expect("False")?;
                    }
                    fortran.replace(value).is_some()
                }
                "shape" => shape.replace(self.shape()?).is_some(),
                other => return Err(format!("unknown key {:?}", other.chars().take(32).collect::<String>())),
            };
            if again {
                return Err(format!("key {key:?} given twice"));
            }
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        self.space();
        if !self.rest.is_empty() {
            return Err(format!("{} after the dictionary", self.found()));
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Header { descr, fortran, shape }),
            (None, ..) => Err("no 'descr'".to_owned()),
            (_, None, _) => Err("no 'fortran_order'".to_owned()),
            (.., None) => Err("no 'shape'".to_owned()),
        }
    }
}

/// The header of a row-major array; `bf16` has no name in npy and is written as `f32`.
pub(super) fn write_header(dtype: DType, shape: &[usize]) -> Vec<u8> {
    let descr = match dtype {
        DType::F64 => "<f8",
        DType::F32 | DType::BF16 => "<f4",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::I16 => "<i2",
        DType::I8 => "|i1",
        DType::U64 => "<u8",
        DType::U32 => "<u4",
        DType::U16 => "<u2",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut dict =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    // The data start at a multiple of 64 bytes; the dictionary ends in a newline.
    let unpadded = MAGIC.len() + 4 + dict.len() + 1;
    dict.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    dict.push('\n');
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    // At most 64 dimensions of 20 digits: far below the 65535 bytes of version 1.0.
    header.extend((dict.len() as u16).to_le_bytes());
    header.extend(dict.as_bytes());
    header
}
