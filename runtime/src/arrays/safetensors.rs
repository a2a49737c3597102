//! The header of a safetensors file, read with bounds on everything it may repeat.
//!
//! Format: the README of the safetensors library. A length in 8 bytes, a JSON object, the data.

use super::decode::Layout;
use super::source::Source;
use super::stream::Extent;
use super::{Entry, Limits, check_name};
use crate::fail::{Place, byte_size};
use nc_ir::diag::Diagnostic;
use nc_ir::types::DType;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Longest header that is read, in bytes: the limit that the format itself states.
pub(super) const MAX_HEADER: u64 = 100_000_000;

/// What the header says of one tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    dtype: String,
    #[serde(deserialize_with = "shape")]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// A list of extents that stops at 64.
fn shape<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u64>, D::Error> {
    struct Shape;
    impl<'de> Visitor<'de> for Shape {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of at most 64 extents")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(d) = seq.next_element()? {
                if shape.len() == 64 {
                    return Err(A::Error::custom("more than 64 extents"));
                }
                shape.push(d);
            }
            Ok(shape)
        }
    }
    d.deserialize_seq(Shape)
}

/// The tensors in the order of the header; stops at the first beyond the limit, and says so.
struct Tensors {
    max: usize,
}

struct Listed {
    tensors: Vec<(String, Declared)>,
    too_many: bool,
}

impl<'de> DeserializeSeed<'de> for Tensors {
    type Value = Listed;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Listed, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensors {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut listed = Listed { tensors: Vec::new(), too_many: false };
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" || listed.tensors.len() == self.max {
                listed.too_many |= name != "__metadata__";
                map.next_value::<IgnoredAny>()?;
            } else {
                listed.tensors.push((name, map.next_value()?));
            }
        }
        Ok(listed)
    }
}

/// Lists the tensors in the order of their data.
///
/// # Errors
/// E0600, E0602, E0606, E0607, E0612, E0614 to E0616. An element type that is not read is an error of the entry.
pub(super) fn entries(source: &Source, place: &Place, limits: &Limits) -> Result<Vec<Entry>, Diagnostic> {
    let prefix = source.peek(0, 8).map_err(|e| place.reading(&e))?;
    let Ok(prefix) = <[u8; 8]>::try_from(prefix) else {
        return Err(place.error("E0602", "is too short for the length of a safetensors header"));
    };
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER {
        return Err(place.error(
            "E0615",
            format!("declares a safetensors header of {length} bytes, at most {MAX_HEADER} are read"),
        ));
    }
    let data = 8 + length;
    if data > source.len() {
        return Err(place.error(
            "E0602",
            format!("declares a safetensors header of {length} bytes, the file has {} in all", source.len()),
        ));
    }
    let text = source.peek(8, length).map_err(|e| place.reading(&e))?;
    let mut json = serde_json::Deserializer::from_slice(&text);
    let malformed = |e: serde_json::Error| place.error("E0615", format!("safetensors header: {e}"));
    let listed = Tensors { max: limits.max_arrays }.deserialize(&mut json).map_err(malformed)?;
    json.end().map_err(malformed)?;
    if listed.too_many {
        return Err(place.error("E0614", format!("declares more than the {} tensors that are read", limits.max_arrays)));
    }

    let mut ranges = Vec::with_capacity(listed.tensors.len());
    let mut entries = Vec::with_capacity(listed.tensors.len());
    for (name, declared) in listed.tensors {
        check_name(&name, place)?;
        let place = place.array(&name);
        let (begin, end) = declared.data_offsets;
        if begin > end {
            return Err(place.error("E0616", format!("has data offsets {begin} to {end}, which run backwards")));
        }
        let absolute = data.checked_add(end).filter(|e| *e <= source.len());
        if absolute.is_none() {
            return Err(place.error(
                "E0602",
                format!("has data up to offset {end}, the file has {} bytes of data", source.len() - data),
            ));
        }
        ranges.push((begin, end, name.clone()));
        let extent =
            Extent { start: data + begin, stored: end - begin, unpacked: end - begin, deflated: false, crc: None };
        entries.push(Entry { layout: layout(&declared, &place, limits)?, name, extent, header: 0 });
    }
    ranges.sort_unstable();
    let mut at = 0;
    for (begin, end, name) in &ranges {
        if *begin != at {
            let what = if *begin < at { "overlap those of" } else { "leave a gap after" };
            return Err(place
                .array(name)
                .error("E0616", format!("has data offsets {begin} to {end}, which {what} the tensor before ({at})")));
        }
        at = *end;
    }
    if at != source.len() - data {
        return Err(place.error(
            "E0616",
            format!("the tensors take {at} bytes, the file has {} bytes of data", source.len() - data),
        ));
    }
    entries.sort_by_key(|e| (e.extent.start, e.extent.stored));
    Ok(entries)
}

fn layout(declared: &Declared, place: &Place, limits: &Limits) -> Result<Result<Layout, Diagnostic>, Diagnostic> {
    if declared.shape.len() > limits.max_rank {
        return Err(place
            .error("E0606", format!("has {} dimensions, at most {} are read", declared.shape.len(), limits.max_rank)));
    }
    let dtype = match declared.dtype.as_str() {
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "I16" => DType::I16,
        "I8" => DType::I8,
        "U8" => DType::U8,
        "BOOL" => DType::Bool,
        "U16" => DType::U16,
        "U32" => DType::U32,
        "U64" => DType::U64,
        other => {
            let other: String = other.chars().take(32).collect();
            return Ok(Err(place.error("E0604", format!("has element type {other:?}, which is not read"))));
        }
    };
    let shape: Option<Vec<usize>> = declared.shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let shape = shape.filter(|s| byte_size(s, dtype.size()).is_some()).ok_or_else(|| {
        place.error("E0606", format!("shape {:?} has more elements than fit in memory", declared.shape))
    })?;
    let layout = Layout { dtype, big_endian: false, fortran: false, shape };
    let found = declared.data_offsets.1 - declared.data_offsets.0;
    match layout.file_bytes() {
        Some(n) if n == found => Ok(Ok(layout)),
        n => Err(place.error(
            "E0607",
            format!("{}{:?} takes {} bytes, its data offsets span {found}", dtype, declared.shape, n.unwrap_or(0)),
        )),
    }
}
