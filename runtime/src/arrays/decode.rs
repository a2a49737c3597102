//! Elements as they stand in files, and their conversion to tensors.

use super::stream::Stream;
use crate::fail::{Place, byte_size};
use nc_ir::diag::Diagnostic;
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;

/// How the elements of an array stand in the file.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Element type.
    pub dtype: DType,
    pub big_endian: bool,
    /// First index fastest.
    pub fortran: bool,
    pub shape: Vec<usize>,
}

impl Layout {
    /// Bytes in the file.
    pub fn file_bytes(&self) -> Option<u64> {
        byte_size(&self.shape, self.dtype.size()).map(|n| n as u64)
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
pub(super) fn fill(stream: &mut Stream, dtype: DType, big_endian: bool, out: &mut [u8]) -> Result<(), Diagnostic> {
    stream.fill(out)?;
    if big_endian && dtype.size() > 1 {
        out.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    if dtype == DType::Bool
        && let Some(k) = out.iter().position(|b| *b > 1)
    {
        let text = format!("element {k} of a bool array is the byte {}, expected 0 or 1", out[k]);
        return Err(stream.place.error("E0618", text));
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
