//! Element types as they stand in files, and their conversion to the element types of tensors.

use super::stream::Stream;
use crate::fail::{Place, byte_size};
use nc_ir::diag::Diagnostic;
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// An element type of a file that has a [`DType`] which holds all of its values, `u64` up to the largest `i64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    /// Stored as in memory.
    Same(DType),
    /// Read as `i32`.
    U16,
    /// Read as `i64`.
    U32,
    /// Read as `i64`, refused above its largest value.
    U64,
}

impl Stored {
    /// The element type in memory.
    pub fn dtype(self) -> DType {
        match self {
            Stored::Same(d) => d,
            Stored::U16 => DType::I32,
            Stored::U32 | Stored::U64 => DType::I64,
        }
    }

    /// Bytes of one element in the file.
    pub fn size(self) -> usize {
        match self {
            Stored::Same(d) => d.size(),
            Stored::U16 => 2,
            Stored::U32 => 4,
            Stored::U64 => 8,
        }
    }

    /// The name of the type in the file.
    pub fn name(self) -> &'static str {
        match self {
            Stored::Same(d) => d.name(),
            Stored::U16 => "u16",
            Stored::U32 => "u32",
            Stored::U64 => "u64",
        }
    }
}

/// How the elements of an array stand in the file.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub stored: Stored,
    pub big_endian: bool,
    /// First index fastest.
    pub fortran: bool,
    pub shape: Vec<usize>,
}

impl Layout {
    /// Bytes in the file.
    pub fn file_bytes(&self) -> Option<u64> {
        byte_size(&self.shape, self.stored.size()).map(|n| n as u64)
    }
}

/// Zeros, if the limit and the system allow.
///
/// # Errors
/// E0605 above `limit` bytes, E0606 if the size overflows, E0619 if the system refuses.
pub(super) fn allocate(place: &Place, dtype: DType, shape: &[usize], limit: u64) -> Result<Tensor, Diagnostic> {
    let bytes = byte_size(shape, dtype.size())
        .ok_or_else(|| place.error("E0606", format!("shape {shape:?} has more elements than fit in memory")))?;
    if bytes as u64 > limit {
        return Err(place
            .error("E0605", format!("{dtype}{shape:?} takes {bytes} bytes, the limit on one array is {limit}"))
            .with_hint("raise the limit, or read it in frames"));
    }
    // A tensor cannot report a refused allocation: ask for the same size first.
    let mut trial: Vec<u64> = Vec::new();
    trial
        .try_reserve_exact(bytes.div_ceil(8))
        .map_err(|_| place.error("E0619", format!("the system did not give the {bytes} bytes for {dtype}{shape:?}")))?;
    drop(trial);
    Ok(Tensor::zeros(dtype, shape.to_vec()))
}

/// Reads as many elements as `out` holds.
pub(super) fn fill(stream: &mut Stream, stored: Stored, big_endian: bool, out: &mut [u8]) -> Result<(), Diagnostic> {
    match stored {
        Stored::Same(dtype) => {
            stream.fill(out)?;
            if big_endian && dtype.size() > 1 {
                out.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
            }
            match (dtype, out.iter().position(|b| *b > 1)) {
                (DType::Bool, Some(k)) => Err(stream
                    .place
                    .error("E0618", format!("element {k} of a bool array is the byte {}, expected 0 or 1", out[k]))),
                _ => Ok(()),
            }
        }
        Stored::U16 => widen::<2, 4>(stream, big_endian, out, |b| Ok(i32::from(u16::from_le_bytes(b)).to_le_bytes())),
        Stored::U32 => widen::<4, 8>(stream, big_endian, out, |b| Ok(i64::from(u32::from_le_bytes(b)).to_le_bytes())),
        Stored::U64 => widen::<8, 8>(stream, big_endian, out, |b| {
            let v = u64::from_le_bytes(b);
            i64::try_from(v).map(i64::to_le_bytes).map_err(|_| v)
        }),
    }
}

/// Reads elements of `A` bytes and stores them as elements of `B`; a value that does not fit is given back as the error.
fn widen<const A: usize, const B: usize>(
    stream: &mut Stream,
    big_endian: bool,
    out: &mut [u8],
    convert: impl Fn([u8; A]) -> Result<[u8; B], u64>,
) -> Result<(), Diagnostic> {
    const CHUNK: usize = 8192;
    let mut buffer = [0u8; CHUNK];
    for out in out.chunks_mut(CHUNK / A * B) {
        let raw = &mut buffer[..out.len() / B * A];
        stream.fill(raw)?;
        for (raw, out) in raw.as_chunks::<A>().0.iter().zip(out.as_chunks_mut::<B>().0) {
            let mut raw = *raw;
            if big_endian {
                raw.reverse();
            }
            *out = convert(raw)
                .map_err(|v| stream.place.error("E0618", format!("the value {v} is above the largest i64")))?;
        }
    }
    Ok(())
}

/// The row-major form of column-major data: `data` has the elements of `shape` with the first index fastest.
pub(super) fn row_major(place: &Place, data: &Tensor, limit: u64) -> Result<Tensor, Diagnostic> {
    let mut out = allocate(place, data.dtype(), data.shape(), limit)?;
    let (size, shape) = (data.dtype().size(), data.shape().to_vec());
    let Some((&inner, outer)) = shape.split_last() else { return Ok(data.clone()) };
    if out.is_empty() {
        return Ok(out);
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = size;
    for d in &shape {
        strides.push(stride);
        stride *= d;
    }
    let inner_stride = stride / inner;
    let source = data.bytes();
    let mut index = vec![0usize; outer.len()];
    let mut base = 0;
    for row in out.bytes_mut().chunks_exact_mut(inner * size) {
        for (k, element) in row.chunks_exact_mut(size).enumerate() {
            let at = base + k * inner_stride;
            element.copy_from_slice(&source[at..at + size]);
        }
        for k in (0..outer.len()).rev() {
            index[k] += 1;
            base += strides[k];
            if index[k] < outer[k] {
                break;
            }
            base -= index[k] * strides[k];
            index[k] = 0;
        }
    }
    Ok(out)
}
