//! Arrays from `.npy`, `.npz` and `.safetensors` files, and to `.npz` files.
//!
//! [`ArrayFile`] lists what a file has without reading the data, reads one array at a time, or streams one in frames
//! along its first axis. [`NpzWriter`] writes whole arrays and arrays that grow by frames. Both take memory in
//! proportion to what they hold at a time, never to what a file claims.

mod decode;
mod npy;
mod npz;
mod safetensors;
mod source;
mod stream;
mod zip;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

pub use npz::{NpzOptions, NpzWriter, StreamId};

use crate::fail::{Place, byte_size, name_fault};
use decode::Layout;
use nc_ir::diag::{Diagnostic, nearest};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use source::Source;
use std::collections::HashMap;
use std::path::Path;
use stream::{Extent, Stream};

/// Bounds on what a file may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most bytes that one array (or one block of frames) may take in memory. While a column-major array is read, it is
    /// in memory twice.
    pub max_bytes: u64,
    /// Most arrays in a file.
    pub max_arrays: usize,
    /// Most dimensions of an array.
    pub max_rank: usize,
}

impl Default for Limits {
    /// 4 GiB, 65,536 arrays, 16 dimensions.
    fn default() -> Limits {
        Limits { max_bytes: 4 << 30, max_arrays: 1 << 16, max_rank: 16 }
    }
}

/// The formats that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One array, named after the file.
    Npy,
    /// A zip archive of `.npy` members.
    Npz,
    /// A safetensors file.
    Safetensors,
}

/// An array in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArrayInfo {
    /// Its name; in `.npz` without the `.npy` of the member.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

/// An array that was found, with its place in the file.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// The layout, or why the element type is not read.
    layout: Result<Layout, Diagnostic>,
    extent: Extent,
    /// Bytes of the extent before the first element.
    header: u64,
}

/// An open file of arrays. Cheap to clone; clones read independently.
#[derive(Clone, Debug)]
pub struct ArrayFile {
    source: Source,
    place: Place,
    limits: Limits,
    format: Format,
    entries: Vec<Entry>,
    infos: Vec<ArrayInfo>,
    /// Array name to position in `entries`, and in `infos` if it can be read.
    index: HashMap<String, (usize, Option<usize>)>,
}

impl ArrayFile {
    /// Opens a file and lists its arrays. The format is told by the content.
    ///
    /// # Errors
    /// E0600 to E0616: a file that cannot be read, is cut short, or contradicts itself. Arrays whose element type is not
    /// read are no error here, see [`ArrayFile::refused`].
    pub fn open(path: &Path, limits: Limits) -> Result<ArrayFile, Diagnostic> {
        let place = Place::file(&path.display().to_string());
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let source = Source::open(path, &place)?;
        ArrayFile::list(source, place, &stem, limits)
    }

    /// As [`ArrayFile::open`], over bytes in memory; `shown` names them in messages.
    ///
    /// # Errors
    /// As [`ArrayFile::open`].
    pub fn from_bytes(shown: &str, bytes: Vec<u8>, limits: Limits) -> Result<ArrayFile, Diagnostic> {
        let stem = Path::new(shown).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        ArrayFile::list(Source::bytes(bytes), Place::file(shown), &stem, limits)
    }

    fn list(source: Source, place: Place, stem: &str, limits: Limits) -> Result<ArrayFile, Diagnostic> {
        let head = source.peek(0, 9).map_err(|e| place.reading(&e))?;
        let (format, entries) = match recognise(&head) {
            Some(Format::Npy) => {
                let name = if name_fault(stem).is_none() { stem } else { "array" };
                let extent =
                    Extent { start: 0, stored: source.len(), unpacked: source.len(), deflated: false, crc: None };
                (Format::Npy, vec![npy_entry(&source, extent, name, place.clone(), limits)?])
            }
            Some(Format::Npz) => {
                let mut entries = Vec::new();
                for member in zip::members(&source, &place, &limits)? {
                    let of_member = place.array(&member.name);
                    match zip::array_name(&member.name, &place)? {
                        Some(name) => {
                            let place = place.array(name);
                            entries.push(npy_entry(&source, member.extent, name, place, limits)?);
                        }
                        None => entries.push(Entry {
                            layout: Err(of_member.error("E0604", "is not an .npy array")),
                            name: member.name,
                            extent: member.extent,
                            header: 0,
                        }),
                    }
                }
                (Format::Npz, entries)
            }
            Some(Format::Safetensors) => (Format::Safetensors, safetensors::entries(&source, &place, &limits)?),
            None if source.len() == 0 => {
                return Err(place.error("E0601", "is empty; .npy, .npz or .safetensors was expected"));
            }
            None => {
                return Err(
                    place.error("E0601", "is no .npy, .npz or .safetensors file: its first bytes are of another kind")
                );
            }
        };
        let mut index = HashMap::with_capacity(entries.len());
        let mut infos = Vec::new();
        for (k, e) in entries.iter().enumerate() {
            let readable = e.layout.as_ref().ok().map(|l| {
                infos.push(ArrayInfo { name: e.name.clone(), dtype: l.dtype, shape: l.shape.clone() });
                infos.len() - 1
            });
            if index.insert(e.name.clone(), (k, readable)).is_some() {
                return Err(place.array(&e.name).error("E0613", "stands twice in the file"));
            }
        }
        Ok(ArrayFile { source, place, limits, format, entries, infos, index })
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The arrays that can be read, in the order of the file.
    pub fn arrays(&self) -> &[ArrayInfo] {
        &self.infos
    }

    /// The array of this name, if there is one that can be read.
    pub fn find(&self, name: &str) -> Option<&ArrayInfo> {
        self.index.get(name).and_then(|(_, k)| self.infos.get((*k)?))
    }

    /// Names of the members that cannot be read, with the reason (E0604).
    pub fn refused(&self) -> impl Iterator<Item = (&str, &Diagnostic)> {
        self.entries.iter().filter_map(|e| e.layout.as_ref().err().map(|d| (e.name.as_str(), d)))
    }

    fn entry(&self, name: &str) -> Result<(&Entry, &Layout), Diagnostic> {
        let Some(entry) = self.index.get(name).and_then(|(k, _)| self.entries.get(*k)) else {
            let d = self.place.error("E0617", format!("has no array {name:?}; it has {}", self.listing()));
            return Err(match nearest(name, self.infos.iter().map(|i| i.name.as_str())) {
                Some(n) => d.with_hint(format!("did you mean {n:?}?")),
                None => d,
            });
        };
        match &entry.layout {
            Ok(layout) => Ok((entry, layout)),
            Err(d) => Err(d.clone()),
        }
    }

    /// The names in the file for a message, at most eight of them.
    fn listing(&self) -> String {
        if self.infos.is_empty() {
            return "none".to_owned();
        }
        let mut names: Vec<String> = self.infos.iter().take(8).map(|i| format!("{:?}", i.name)).collect();
        if self.infos.len() > 8 {
            names.push(format!("{} more", self.infos.len() - 8));
        }
        names.join(", ")
    }

    /// Reads one array, row-major.
    ///
    /// # Errors
    /// E0617 if there is none of this name, E0604 if its element type is not read, E0605 if it is larger than the limit,
    /// E0619, and what is wrong with its data (E0600, E0602, E0607, E0610, E0611, E0618).
    pub fn read(&self, name: &str) -> Result<Tensor, Diagnostic> {
        let (entry, layout) = self.entry(name)?;
        let place = self.place.array(name);
        let mut out = decode::allocate(&place, layout.dtype, &layout.shape, self.limits.max_bytes)?;
        let mut stream = self.stream(entry, place.clone())?;
        decode::fill(&mut stream, layout.dtype, layout.big_endian, out.bytes_mut())?;
        stream.finish()?;
        if layout.fortran { decode::row_major(&place, &out, self.limits.max_bytes) } else { Ok(out) }
    }

    /// Reads every array that can be read. The limit on bytes holds for their sum.
    ///
    /// # Errors
    /// As [`ArrayFile::read`].
    pub fn read_all(&self) -> Result<Vec<(String, Tensor)>, Diagnostic> {
        let total = self.infos.iter().try_fold(0u64, |n, i| n.checked_add(byte_size(&i.shape, i.dtype.size())? as u64));
        if total.is_none_or(|n| n > self.limits.max_bytes) {
            return Err(self
                .place
                .error("E0605", format!("the arrays take more than {} bytes in all", self.limits.max_bytes)));
        }
        self.infos.iter().map(|i| Ok((i.name.clone(), self.read(&i.name)?))).collect()
    }

    /// Streams one array along its first axis, so that it may be larger than memory and than the limit. (A column-major
    /// array is read whole.)
    ///
    /// # Errors
    /// As [`ArrayFile::read`]; E0606 for an array without axes.
    pub fn frames(&self, name: &str) -> Result<FrameReader, Diagnostic> {
        let (entry, layout) = self.entry(name)?;
        let place = self.place.array(name);
        let Some((&total, frame)) = layout.shape.split_first() else {
            return Err(place.error("E0606", "is a scalar, an array with a leading axis was expected"));
        };
        let kind = if layout.fortran {
            Frames::Whole(self.read(name)?)
        } else {
            Frames::Stream(Some(Box::new(self.stream(entry, place.clone())?)))
        };
        Ok(FrameReader {
            kind,
            layout: layout.clone(),
            frame: frame.to_vec(),
            total,
            next: 0,
            limit: self.limits.max_bytes,
            place,
        })
    }

    /// The bytes of an array, its header passed.
    fn stream(&self, entry: &Entry, place: Place) -> Result<Stream, Diagnostic> {
        let mut stream = Stream::new(&self.source, entry.extent, place);
        let mut left = entry.header;
        let mut skipped = [0; 256];
        while left > 0 {
            let n = left.min(skipped.len() as u64);
            stream.fill(&mut skipped[..n as usize])?;
            left -= n;
        }
        Ok(stream)
    }
}

/// One array read block by block along its first axis, see [`ArrayFile::frames`].
#[derive(Debug)]
pub struct FrameReader {
    kind: Frames,
    layout: Layout,
    frame: Vec<usize>,
    total: usize,
    next: usize,
    limit: u64,
    place: Place,
}

#[derive(Debug)]
enum Frames {
    /// `None` once its end was checked.
    Stream(Option<Box<Stream>>),
    Whole(Tensor),
}

impl FrameReader {
    /// Element type of the frames.
    pub fn dtype(&self) -> DType {
        self.layout.dtype
    }

    /// Shape of one frame.
    pub fn frame_shape(&self) -> &[usize] {
        &self.frame
    }

    /// Frames in the array.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The next frames, at most `most`, as one tensor with their number as first extent; `None` after the last.
    ///
    /// The checksum of a zip member is known to match only when the last frame has been given.
    ///
    /// # Errors
    /// E0605 if so many frames take more than the limit, and what is wrong with the data as for [`ArrayFile::read`].
    pub fn next(&mut self, most: usize) -> Result<Option<Tensor>, Diagnostic> {
        let count = most.min(self.total - self.next);
        if count == 0 && (most == 0 || self.total > 0) {
            return Ok(None);
        }
        let mut shape = vec![count];
        shape.extend(&self.frame);
        let mut out = decode::allocate(&self.place, self.dtype(), &shape, self.limit)?;
        let bytes = out.bytes().len();
        let last = self.next + count == self.total;
        match &mut self.kind {
            Frames::Stream(None) => return Ok(None),
            Frames::Stream(Some(stream)) => {
                decode::fill(stream, self.layout.dtype, self.layout.big_endian, out.bytes_mut())?;
            }
            Frames::Whole(t) => {
                let start = self.next * (bytes / count.max(1));
                out.bytes_mut().copy_from_slice(&t.bytes()[start..start + bytes]);
            }
        }
        if let (true, Frames::Stream(stream)) = (last, &mut self.kind)
            && let Some(stream) = stream.take()
        {
            stream.finish()?;
        }
        self.next += count;
        Ok(if count == 0 { None } else { Some(out) })
    }
}

/// The entry of one `.npy`, its header read.
fn npy_entry(source: &Source, extent: Extent, name: &str, place: Place, limits: Limits) -> Result<Entry, Diagnostic> {
    let mut stream = Stream::new(source, extent, place);
    let layout = npy::read_header(&mut stream, limits.max_rank)?;
    Ok(Entry { name: name.to_owned(), layout, extent, header: extent.unpacked - stream.left() })
}

/// The format that starts with these bytes.
fn recognise(head: &[u8]) -> Option<Format> {
    if head.starts_with(npy::MAGIC) {
        return Some(Format::Npy);
    }
    // Before zip: a header length can have the bytes of a zip signature.
    if let Some((length, rest)) = head.split_first_chunk::<8>()
        && (rest.first() == Some(&b'{') || u64::from_le_bytes(*length) == 0)
        && u64::from_le_bytes(*length) <= safetensors::MAX_HEADER
    {
        return Some(Format::Safetensors);
    }
    let zip = head.starts_with(&zip::LOCAL.to_le_bytes()) || head.starts_with(&zip::END.to_le_bytes());
    zip.then_some(Format::Npz)
}

/// # Errors
/// E0612.
fn check_name(name: &str, place: &Place) -> Result<(), Diagnostic> {
    match name_fault(name) {
        Some(what) => {
            let shown: String = name.chars().take(40).collect();
            Err(place.error("E0612", format!("the array name {shown:?} {what}")))
        }
        None => Ok(()),
    }
}

/// Zeros without a limit other than the system's; the size was checked against what is there.
///
/// # Errors
/// E0606, E0619.
pub(crate) fn zeros(place: &Place, dtype: DType, shape: &[usize]) -> Result<Tensor, Diagnostic> {
    decode::allocate(place, dtype, shape, u64::MAX)
}
