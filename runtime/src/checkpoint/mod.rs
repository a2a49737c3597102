//! The state of a run in a file: saved atomically, checked completely when it is loaded.
//!
//! Version 1, little-endian throughout:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic, `89 4e 43 53 54 41 54 45` |
//! | 4 | version, 1 |
//! | 4 | number of entries |
//! | 8 | tick |
//! | 32 | fingerprint of the model |
//! | 8 | length of the file |
//! | 4 | CRC-32 of the 64 bytes before |
//!
//! then for each entry
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the name |
//! | 2 | element type: 1 f64, 2 f32, 3 f16, 4 bf16, 5 i64, 6 i32, 7 i16, 8 i8, 9 u8, 10 bool |
//! | 2 | number of dimensions |
//! | 8 | length of the data |
//! | name, 8 per extent | |
//! | 4 | CRC-32 of the entry so far |
//! | data | row-major, `bool` as 0 and 1 |
//! | 4 | CRC-32 of the data |
//!
//! and at the end the CRC-32 of everything before it.

use crate::arrays::Limits;
use crate::atomic::AtomicFile;
use crate::fail::{MAX_NAME, Place, byte_size, name_fault};
use nc_ir::diag::Diagnostic;
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

#[cfg(test)]
mod tests;

const MAGIC: [u8; 8] = *b"\x89NCSTATE";
const VERSION: u32 = 1;

/// Bytes before the first entry.
const HEADER: usize = 68;

/// Everything that a run needs to go on: one tensor per state, delay line and generator, under its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Fingerprint of the model the state belongs to.
    pub model_hash: [u8; 32],
    /// Steps done since the start of the run.
    pub tick: u64,
    /// Name and value of each part of the state; names are unique.
    pub entries: Vec<(String, Tensor)>,
}

impl Checkpoint {
    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// Writes the checkpoint to a file, which appears complete or not at all.
    ///
    /// # Errors
    /// E0612 or E0613 for the name of an entry, E0630 to E0632 for the file.
    pub fn save(&self, target: &Path) -> Result<(), Diagnostic> {
        let place = Place::file(&target.display().to_string());
        self.check_names(&place)?;
        let mut out = BufWriter::with_capacity(1 << 16, AtomicFile::create(target)?);
        self.encode(&mut out).map_err(|e| place.writing(&e))?;
        match out.into_inner() {
            Ok(file) => file.commit(),
            Err(e) => Err(place.writing(e.error())),
        }
    }

    /// The bytes of the file that [`Checkpoint::save`] writes.
    ///
    /// # Errors
    /// E0612 or E0613 for the name of an entry.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Diagnostic> {
        let place = Place::file("checkpoint");
        self.check_names(&place)?;
        let mut out = Vec::new();
        self.encode(&mut out).map_err(|e| place.writing(&e))?;
        Ok(out)
    }

    /// Reads a checkpoint. With `model`, one of another model is refused before its data are read.
    ///
    /// # Errors
    /// E0600 if the file cannot be read, E0640 if it is no checkpoint, E0641 of another version, E0642 cut short or too
    /// long, E0643 damaged, E0644 of another model, E0645 malformed, E0646 beyond the limits (`max_bytes` holds for the
    /// sum of the entries), E0619.
    pub fn load(path: &Path, limits: Limits, model: Option<&[u8; 32]>) -> Result<Checkpoint, Diagnostic> {
        let place = Place::file(&path.display().to_string());
        let opened = |e: io::Error| place.error("E0600", format!("cannot be opened: {e}"));
        if !std::fs::metadata(path).map_err(opened)?.is_file() {
            return Err(place.error("E0600", "is no regular file"));
        }
        let file = File::open(path).map_err(opened)?;
        let length = file.metadata().map_err(|e| place.reading(&e))?.len();
        Decoder::new(BufReader::with_capacity(1 << 16, file), length, place, limits).decode(model)
    }

    /// As [`Checkpoint::load`], from bytes in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn from_bytes(bytes: &[u8], limits: Limits, model: Option<&[u8; 32]>) -> Result<Checkpoint, Diagnostic> {
        Decoder::new(bytes, bytes.len() as u64, Place::file("checkpoint"), limits).decode(model)
    }

    fn check_names(&self, place: &Place) -> Result<(), Diagnostic> {
        let mut seen = HashSet::new();
        for (name, _) in &self.entries {
            if let Some(what) = name_fault(name) {
                return Err(place.error("E0612", format!("the entry name {name:?} {what}")));
            }
            if !seen.insert(name) {
                return Err(place.array(name).error("E0613", "stands twice in the checkpoint"));
            }
        }
        Ok(())
    }

    fn encode(&self, to: &mut impl Write) -> io::Result<()> {
        let entry_bytes =
            |(name, t): &(String, Tensor)| (16 + name.len() + 8 * t.shape().len() + 8 + t.bytes().len()) as u64;
        let length = HEADER as u64 + self.entries.iter().map(entry_bytes).sum::<u64>() + 4;
        let mut whole = crc32fast::Hasher::new();
        let mut put = |bytes: &[u8]| {
            whole.update(bytes);
            to.write_all(bytes)
        };
        let mut head = Vec::with_capacity(HEADER);
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(count(self.entries.len())?.to_le_bytes());
        head.extend(self.tick.to_le_bytes());
        head.extend(self.model_hash);
        head.extend(length.to_le_bytes());
        head.extend(crc32fast::hash(&head).to_le_bytes());
        put(&head)?;
        for (name, tensor) in &self.entries {
            let mut head = Vec::new();
            head.extend(count(name.len())?.to_le_bytes());
            head.extend(tag(tensor.dtype()).to_le_bytes());
            let rank = u16::try_from(tensor.shape().len()).map_err(io::Error::other)?;
            head.extend(rank.to_le_bytes());
            head.extend((tensor.bytes().len() as u64).to_le_bytes());
            head.extend(name.as_bytes());
            for d in tensor.shape() {
                head.extend((*d as u64).to_le_bytes());
            }
            head.extend(crc32fast::hash(&head).to_le_bytes());
            put(&head)?;
            put(tensor.bytes())?;
            put(&crc32fast::hash(tensor.bytes()).to_le_bytes())?;
        }
        let sum = whole.finalize();
        to.write_all(&sum.to_le_bytes())
    }
}

fn count(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(io::Error::other)
}

/// The number of an element type in the file.
fn tag(dtype: DType) -> u16 {
    match dtype {
        DType::F64 => 1,
        DType::F32 => 2,
        DType::F16 => 3,
        DType::BF16 => 4,
        DType::I64 => 5,
        DType::I32 => 6,
        DType::I16 => 7,
        DType::I8 => 8,
        DType::U8 => 9,
        DType::Bool => 10,
        DType::U64 => 11,
        DType::U32 => 12,
        DType::U16 => 13,
    }
}

struct Decoder<R> {
    from: R,
    /// Bytes of the file that are not read yet.
    left: u64,
    length: u64,
    whole: crc32fast::Hasher,
    place: Place,
    limits: Limits,
}

impl<R: Read> Decoder<R> {
    fn new(from: R, length: u64, place: Place, limits: Limits) -> Decoder<R> {
        Decoder { from, left: length, length, whole: crc32fast::Hasher::new(), place, limits }
    }

    fn bytes(&mut self, buffer: &mut [u8], what: &str) -> Result<(), Diagnostic> {
        if buffer.len() as u64 > self.left {
            return Err(self.place.error("E0642", format!("the checkpoint ends inside {what}")));
        }
        self.from.read_exact(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.place.error("E0642", format!("the checkpoint ends inside {what}")),
            _ => self.place.reading(&e),
        })?;
        self.left -= buffer.len() as u64;
        self.whole.update(buffer);
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Diagnostic> {
        let mut b = [0; N];
        self.bytes(&mut b, what)?;
        Ok(b)
    }

    fn damaged(&self, what: &str) -> Diagnostic {
        self.place.error("E0643", format!("the checksum of {what} does not match: the checkpoint is damaged"))
    }

    fn decode(mut self, model: Option<&[u8; 32]>) -> Result<Checkpoint, Diagnostic> {
        let header = "its header";
        let known = (self.length as usize).min(MAGIC.len());
        let mut magic = [0; 8];
        self.bytes(&mut magic[..known], header)?;
        if magic[..known] != MAGIC[..known] || known == 0 {
            return Err(self.place.error("E0640", "is no checkpoint: it does not start with the mark of one"));
        }
        if known < MAGIC.len() {
            return Err(self.place.error("E0642", "the checkpoint ends inside its header"));
        }
        let version: [u8; 4] = self.array(header)?;
        if version != VERSION.to_le_bytes() {
            let found = u32::from_le_bytes(version);
            return Err(self.place.error("E0641", format!("is a checkpoint of version {found}, {VERSION} is read")));
        }
        let entries: [u8; 4] = self.array(header)?;
        let tick: [u8; 8] = self.array(header)?;
        let model_hash: [u8; 32] = self.array(header)?;
        let length: [u8; 8] = self.array(header)?;
        let found = self.whole.clone().finalize();
        if self.array(header)? != found.to_le_bytes() {
            return Err(self.damaged(header));
        }
        let declared = u64::from_le_bytes(length);
        if declared != self.length {
            return Err(self
                .place
                .error("E0642", format!("the checkpoint has {} bytes, its header declares {declared}", self.length)));
        }
        if let Some(model) = model
            && *model != model_hash
        {
            return Err(self
                .place
                .error("E0644", format!("belongs to model {}, this is model {}", short(&model_hash), short(model)))
                .with_hint("restore it into the model that saved it"));
        }
        let entries = u32::from_le_bytes(entries) as usize;
        if entries > self.limits.max_arrays {
            return Err(self
                .place
                .error("E0646", format!("declares {entries} entries, at most {} are read", self.limits.max_arrays)));
        }
        let mut checkpoint = Checkpoint { model_hash, tick: u64::from_le_bytes(tick), entries: Vec::new() };
        let mut budget = self.limits.max_bytes;
        for k in 0..entries {
            checkpoint.entries.push(self.entry(k, &mut budget)?);
        }
        let found = self.whole.clone().finalize();
        if self.array("its last checksum")? != found.to_le_bytes() {
            return Err(self.damaged("the whole"));
        }
        if self.left > 0 {
            return Err(self.place.error("E0645", format!("has {} bytes after its end", self.left)));
        }
        let place = self.place;
        checkpoint.check_names(&place).map_err(|d| Diagnostic { code: "E0645", ..d })?;
        Ok(checkpoint)
    }

    fn entry(&mut self, k: usize, budget: &mut u64) -> Result<(String, Tensor), Diagnostic> {
        let what = format!("the head of entry {k}");
        let head: [u8; 16] = self.array(&what)?;
        let [n0, n1, n2, n3, t0, t1, r0, r1, data @ ..] = head;
        let name_length = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        let (tag_found, rank) = (u16::from_le_bytes([t0, t1]), usize::from(u16::from_le_bytes([r0, r1])));
        let data = u64::from_le_bytes(data);
        // A length damaged beyond the file is damage, not a reason to read on.
        let Some(rest) = (rank as u64 * 8 + 8).checked_add(name_length as u64).and_then(|n| n.checked_add(data)) else {
            return Err(self.damaged(&what));
        };
        if rest > self.left {
            return Err(self.damaged(&what));
        }
        if name_length > MAX_NAME || rank > self.limits.max_rank {
            return Err(self.place.error(
                "E0646",
                format!(
                    "entry {k} has {rank} dimensions and a name of {name_length} bytes, at most {} and {MAX_NAME} are read",
                    self.limits.max_rank
                ),
            ));
        }
        let mut described = head.to_vec();
        described.resize(16 + name_length + 8 * rank, 0);
        self.bytes(&mut described[16..], &what)?;
        if self.array(&what)? != crc32fast::hash(&described).to_le_bytes() {
            return Err(self.damaged(&what));
        }
        let (name, extents) = described[16..].split_at(name_length);
        let name = std::str::from_utf8(name)
            .map_err(|_| self.place.error("E0645", format!("the name of entry {k} is not UTF-8")))?
            .to_owned();
        let place = self.place.array(&name);
        let dtype = DType::ALL
            .into_iter()
            .find(|d| tag(*d) == tag_found)
            .ok_or_else(|| place.error("E0645", format!("element type number {tag_found} is unknown")))?;
        let extents = extents.as_chunks::<8>().0.iter();
        let shape: Option<Vec<usize>> = extents.map(|d| usize::try_from(u64::from_le_bytes(*d)).ok()).collect();
        let shape = shape.filter(|s| byte_size(s, dtype.size()).map(|n| n as u64) == Some(data)).ok_or_else(|| {
            place.error("E0645", format!("{data} bytes of data do not match its element type and shape"))
        })?;
        *budget = budget.checked_sub(data).ok_or_else(|| {
            place.error("E0646", format!("the checkpoint has more than {} bytes of data", self.limits.max_bytes))
        })?;
        let mut tensor = crate::arrays::zeros(&place, dtype, &shape)?;
        self.bytes(tensor.bytes_mut(), "its data")?;
        if self.array("its data")? != crc32fast::hash(tensor.bytes()).to_le_bytes() {
            return Err(self.damaged(&format!("entry {name:?}")));
        }
        if dtype == DType::Bool && tensor.bytes().iter().any(|b| *b > 1) {
            return Err(place.error("E0645", "a bool is neither 0 nor 1"));
        }
        Ok((name, tensor))
    }
}

/// The first bytes of a fingerprint, for messages.
fn short(hash: &[u8; 32]) -> String {
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}
