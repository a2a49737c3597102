//! HDF5 files as [`Group`]s, within limits.
//!
//! The format is read and written by `hdf5-pure`. What a file declares is checked here before anything of that size is
//! taken: a dataset can hold at most what the bytes of the file can decode to, and all of them together at most the limit
//! of the caller. The crate is not trusted to be free of panics on hostile files: [`guarded`] turns one into an error.

use crate::Limits;
use crate::tree::{Array, Elem, Group, Value};
use hdf5_pure::{
    Dataset, Datatype, DatatypeByteOrder, EnumTypeBuilder, FileBuilder, FloatingPointLayout, Layout,
    VlenStringReadOptions,
};
use nc_ir::Diagnostic;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Deepest nesting of groups: a NIR graph takes three levels.
const MAX_DEPTH: usize = 64;
/// Most groups and datasets.
const MAX_OBJECTS: usize = 1 << 17;
/// Most bytes of texts.
const MAX_TEXT: usize = 16 << 20;
/// Most bytes that one byte of a file decodes to with the filters that are read (deflate: 1032).
const MAX_EXPANSION: u64 = 1032;
/// Filters that are read: deflate, shuffle, checksum, LZF.
const FILTERS: [u16; 4] = [1, 2, 3, 32000];

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// True on a thread that reads a file of a user right now: a panic is then the file's fault, and caught. A panic hook that
/// ends the process must let it pass.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// Runs code of the HDF5 crate; a panic in it is an error that says the file is damaged.
fn guarded<T>(f: impl FnOnce() -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(false);
    result.unwrap_or_else(|_| Err(damaged("its structure contradicts itself")))
}

fn damaged(why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error_nowhere("E0930", format!("the file cannot be read as HDF5: {why}"))
        .with_hint("NIR files are HDF5 files as Python's nir.write makes them; is this one complete?")
}

fn excess(what: String) -> Diagnostic {
    Diagnostic::error_nowhere("E0931", what)
}

/// Reads a whole file.
///
/// # Errors
/// E0930 for bytes that are no HDF5 file, or a damaged one, or that use what is not read; E0931 beyond a limit.
pub fn read(bytes: Vec<u8>, limits: Limits) -> Result<Group, Diagnostic> {
    if !bytes.starts_with(b"\x89HDF\r\n\x1a\n") && !hdf5_pure::is_hdf5_bytes(&bytes) {
        return Err(damaged("it does not begin with the signature of HDF5"));
    }
    guarded(|| {
        let size = bytes.len() as u64;
        let file = hdf5_pure::File::from_bytes(bytes).map_err(damaged)?;
        let most = size.saturating_mul(MAX_EXPANSION).saturating_add(1 << 16);
        let mut reader = Reader { left: limits.max_bytes.saturating_sub(size), most, objects: 0, text: 0, limits };
        reader.group(&file.root(), "", 0)
    })
}

struct Reader {
    /// Bytes that may still be taken.
    left: u64,
    /// Bytes that one dataset can have at most, given the size of the file.
    most: u64,
    objects: usize,
    text: usize,
    limits: Limits,
}

impl Reader {
    fn group(&mut self, group: &hdf5_pure::Group, path: &str, depth: usize) -> Result<Group, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(excess(format!(
                "the groups of the file are nested more than {MAX_DEPTH} deep, or in a circle"
            )));
        }
        let mut found = Group::default();
        for (name, dataset) in group.iter_datasets().map_err(damaged)? {
            self.count()?;
            let path = format!("{path}/{name}");
            let value = self.dataset(&dataset, &path)?;
            found.0.push((name, value));
        }
        for (name, group) in group.iter_groups().map_err(damaged)? {
            self.count()?;
            let path = format!("{path}/{name}");
            found.0.push((name, Value::Group(self.group(&group, &path, depth + 1)?)));
        }
        // One order for all files: that of the names, as the format keeps them.
        found.0.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = found.0.windows(2).find(|p| p[0].0 == p[1].0) {
            return Err(damaged(format!("{path}/{} is there twice", pair[0].0)));
        }
        Ok(found)
    }

    fn count(&mut self) -> Result<(), Diagnostic> {
        self.objects += 1;
        match self.objects > MAX_OBJECTS {
            true => Err(excess(format!("the file has more than {MAX_OBJECTS} groups and datasets"))),
            false => Ok(()),
        }
    }

    /// Takes bytes off what is left.
    fn take(&mut self, bytes: u64, path: &str) -> Result<(), Diagnostic> {
        if bytes > self.most {
            return Err(damaged(format!("{path} declares {bytes} bytes, more than the file can hold")));
        }
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            excess(format!("{path} with {bytes} bytes exceeds the memory limit of {} bytes", self.limits.max_bytes))
                .with_hint("raise --max-memory if the file is meant to be that large")
        })?;
        Ok(())
    }

    fn dataset(&mut self, d: &Dataset, path: &str) -> Result<Value, Diagnostic> {
        let at = |e: hdf5_pure::Error| damaged(format!("{path}: {e}"));
        let shape = d.shape().map_err(at)?;
        let ty = d.datatype().map_err(at)?;
        if shape.len() > 32 {
            return Err(damaged(format!("{path} has {} dimensions", shape.len())));
        }
        let overflow = || damaged(format!("{path} declares the extents {shape:?}, more than the file can hold"));
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(overflow)?;
        let size = d.element_size().map_err(at)?;
        let bytes = elements.checked_mul(size).ok_or_else(overflow)?;
        self.take(bytes, path)?;
        if let Some(f) = d.filters().iter().find(|f| !FILTERS.contains(f)) {
            return Err(damaged(format!("{path} uses the filter {f}, which is not supported"))
                .with_hint("write the file with gzip compression, or none"));
        }
        match d.layout().map_err(at)? {
            Layout::Virtual => return Err(damaged(format!("{path} is a virtual dataset, which is not supported"))),
            Layout::Chunked { chunk_shape, .. } => {
                let chunk = chunk_shape.iter().try_fold(size, |n, d| n.checked_mul(*d)).ok_or_else(overflow)?;
                // A chunk may be larger than what is in it, but no writer makes it larger by much.
                if chunk > self.most || chunk > bytes.saturating_mul(2).saturating_add(1 << 20) {
                    return Err(damaged(format!("{path} is cut into chunks of {chunk} bytes")));
                }
                self.take(chunk, path)?;
            }
            Layout::Compact { .. } | Layout::Contiguous { .. } => {}
            _ => return Err(damaged(format!("{path} is laid out in a way that is not supported"))),
        }
        let shape: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
        let value = match &ty {
            Datatype::String { .. } | Datatype::VariableLength { is_string: true, .. } => {
                let list = self.texts(d, &ty, elements, path)?;
                match (shape.is_empty(), list.len()) {
                    (true, 1) => Value::Text(list.into_iter().next().unwrap_or_default()),
                    _ => Value::Texts(shape, list),
                }
            }
            _ => {
                let (elem, swap) = elem_of(&ty).ok_or_else(|| {
                    damaged(format!("{path} has elements of a type that NIR does not use: {}", shown(&ty)))
                })?;
                let mut bytes = d.read_raw().map_err(at)?;
                if swap {
                    bytes.chunks_exact_mut(elem.size()).for_each(<[u8]>::reverse);
                }
                Value::Array(Array { elem, shape, bytes })
            }
        };
        let (held, extents) = match &value {
            Value::Array(a) => (a.len(), &a.shape),
            Value::Texts(shape, list) => (list.len(), shape),
            Value::Text(_) | Value::Group(_) => return Ok(value),
        };
        match held == extents.iter().product::<usize>() {
            true => Ok(value),
            false => Err(damaged(format!("{path} has {held} elements, and the extents {extents:?}"))),
        }
    }

    fn texts(&mut self, d: &Dataset, ty: &Datatype, elements: u64, path: &str) -> Result<Vec<String>, Diagnostic> {
        let at = |e: hdf5_pure::Error| damaged(format!("{path}: {e}"));
        let room = MAX_TEXT.saturating_sub(self.text);
        if elements > (room / size_of::<String>()) as u64 {
            return Err(excess(format!("{path} has {elements} texts, which is too many")));
        }
        let list = match ty {
            Datatype::VariableLength { .. } => {
                let options = VlenStringReadOptions::new().with_max_elements(room).with_max_payload_bytes(room);
                d.read_vlen_strings(options).map_err(at)?
            }
            _ => d.read_string().map_err(at)?,
        };
        self.text += list.iter().map(|t| t.len() + size_of::<String>()).sum::<usize>();
        match self.text > MAX_TEXT {
            true => Err(excess(format!("the texts of the file take more than {MAX_TEXT} bytes"))),
            false => Ok(list),
        }
    }
}

/// The element type, and whether its bytes are the other way round.
fn elem_of(ty: &Datatype) -> Option<(Elem, bool)> {
    let order = |o: &DatatypeByteOrder| match o {
        DatatypeByteOrder::LittleEndian => Some(false),
        DatatypeByteOrder::BigEndian => Some(true),
        DatatypeByteOrder::Vax => None,
    };
    match ty {
        Datatype::FixedPoint { size, byte_order, layout } => {
            if layout.bit_offset != 0 || u32::from(layout.bit_precision) != size.checked_mul(8)? {
                return None;
            }
            let elem = match (size, layout.signed) {
                (1, true) => Elem::I8,
                (2, true) => Elem::I16,
                (4, true) => Elem::I32,
                (8, true) => Elem::I64,
                (1, false) => Elem::U8,
                (2, false) => Elem::U16,
                (4, false) => Elem::U32,
                (8, false) => Elem::U64,
                _ => return None,
            };
            Some((elem, order(byte_order)?))
        }
        Datatype::FloatingPoint { size, byte_order, layout } => {
            let elem = match size {
                2 if *layout == BINARY16 => Elem::F16,
                4 if *layout == FloatingPointLayout::IEEE754_BINARY32 => Elem::F32,
                8 if *layout == FloatingPointLayout::IEEE754_BINARY64 => Elem::F64,
                _ => return None,
            };
            Some((elem, order(byte_order)?))
        }
        // h5py keeps truth values as an enumeration of FALSE and TRUE.
        Datatype::Enumeration { size: 1, members, .. } if members.len() == 2 => Some((Elem::Bool, false)),
        _ => None,
    }
}

const BINARY16: FloatingPointLayout = FloatingPointLayout {
    bit_offset: 0,
    bit_precision: 16,
    exponent_location: 10,
    exponent_size: 5,
    mantissa_location: 0,
    mantissa_size: 10,
    exponent_bias: 15,
};

fn shown(ty: &Datatype) -> String {
    let text = format!("{ty:?}");
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// Writes a file: arrays compressed with gzip, as Python's nir writes them.
///
/// # Errors
/// E0946 if the file cannot be made.
pub fn write(root: &Group) -> Result<Vec<u8>, Diagnostic> {
    let unwritten = |e: String| Diagnostic::error_nowhere("E0946", format!("the NIR file cannot be written: {e}"));
    let mut file = FileBuilder::new();
    for (name, value) in &root.0 {
        match value {
            Value::Group(g) => {
                let mut group = file.create_group(name);
                fill(&mut group, g, 0).map_err(unwritten)?;
                file.add_group(group.finish());
            }
            other => dataset(file.create_dataset(name), other),
        }
    }
    file.finish().map_err(|e| unwritten(e.to_string()))
}

fn fill(to: &mut hdf5_pure::GroupBuilder, from: &Group, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("groups would be nested more than {MAX_DEPTH} deep"));
    }
    for (name, value) in &from.0 {
        if name.is_empty() || name == "." || name.contains('/') {
            return Err(format!("{name:?} cannot be a name in an HDF5 file"));
        }
        match value {
            Value::Group(g) => {
                let mut group = to.create_group(name);
                fill(&mut group, g, depth + 1)?;
                to.add_group(group.finish());
            }
            other => dataset(to.create_dataset(name), other),
        }
    }
    Ok(())
}

fn dataset(to: &mut hdf5_pure::DatasetBuilder, value: &Value) {
    match value {
        Value::Text(t) => {
            to.with_vlen_strings(&[t]).with_shape(&[]);
        }
        Value::Texts(shape, list) => {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            to.with_vlen_strings(&list).with_shape(&extents(shape));
        }
        Value::Array(a) => {
            let shape = extents(&a.shape);
            to.with_raw_data(type_of(a.elem), a.bytes.clone(), a.len() as u64).with_shape(&shape);
            if !shape.is_empty() && !a.is_empty() {
                to.with_chunks(&shape).with_deflate(4);
            }
        }
        Value::Group(_) => {}
    }
}

fn extents(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|n| *n as u64).collect()
}

fn type_of(elem: Elem) -> Datatype {
    match elem {
        Elem::F16 => Datatype::FloatingPoint { size: 2, byte_order: DatatypeByteOrder::LittleEndian, layout: BINARY16 },
        Elem::F32 => hdf5_pure::make_f32_type(),
        Elem::F64 => hdf5_pure::make_f64_type(),
        Elem::I8 => hdf5_pure::make_i8_type(),
        Elem::I16 => hdf5_pure::make_i16_type(),
        Elem::I32 => hdf5_pure::make_i32_type(),
        Elem::I64 => hdf5_pure::make_i64_type(),
        Elem::U8 => hdf5_pure::make_u8_type(),
        Elem::U16 => hdf5_pure::make_u16_type(),
        Elem::U32 => hdf5_pure::make_u32_type(),
        Elem::U64 => hdf5_pure::make_u64_type(),
        Elem::Bool => {
            let base = hdf5_pure::make_i8_type();
            let built =
                EnumTypeBuilder::with_base(base.clone()).raw_value("FALSE", &[0]).raw_value("TRUE", &[1]).build();
            // Two members of one byte always fit.
            built.unwrap_or(base)
        }
    }
}
