//! Tensors as ONNX stores them, to tensors of nc.

use crate::Loader;
use crate::codes;
use crate::proto::TensorProto;
use nc_ir::graph::MAX_RANK;
use nc_ir::{DType, Diagnostic, Tensor};

/// Names of ONNX's element types, by their number.
const NAMES: [&str; 29] = [
    "undefined",
    "float",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "double",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
    "float6e2m3",
    "float6e3m2",
];

/// The element type with this number, or a sentence that refuses it.
///
/// # Errors
/// The sentence.
pub fn element_type(number: i32) -> Result<DType, String> {
    Ok(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => {
            return Err(match usize::try_from(number).ok().and_then(|n| NAMES.get(n)) {
                Some(name) => format!("the element type {name} is not supported"),
                None => format!("the element type {number} is not supported: the standard has none of this number"),
            });
        }
    })
}

/// Extents as they stand in a file.
///
/// # Errors
/// A sentence on an extent that is negative, or on too many of them.
pub fn extents(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("it has {} dimensions; more than {MAX_RANK} are not supported", dims.len()));
    }
    let shape: Vec<usize> = dims
        .iter()
        .map(|d| usize::try_from(*d).map_err(|_| format!("the extent {d} cannot be")))
        .collect::<Result<_, _>>()?;
    match countable(&shape) {
        true => Ok(shape),
        false => Err(format!("its extents {dims:?} cannot be held in memory")),
    }
}

/// True if the extents that are not zero multiply to at most 2^60: then the product of any of them, in any order, fits.
pub fn countable(shape: &[usize]) -> bool {
    let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)));
    n.is_some_and(|n| n <= 1 << 60)
}

/// Reads a tensor. `what` names it in messages.
///
/// # Errors
/// E1006 for data that do not add up, E1007 for external data that are refused, E1009 beyond `max_bytes`.
pub fn tensor(t: &TensorProto, what: &str, loader: &mut dyn Loader, max_bytes: u64) -> Result<Tensor, Diagnostic> {
    let wrong = |message: String| Diagnostic::error_nowhere(codes::TENSOR, format!("{what}: {message}"));
    let dtype = element_type(t.data_type.unwrap_or(0)).map_err(wrong)?;
    let shape = extents(&t.dims).map_err(wrong)?;
    if t.segment.is_some() {
        return Err(wrong("tensors in segments are not supported".to_owned()));
    }
    let count = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
    let bytes = count.and_then(|n| n.checked_mul(dtype.size() as u64)).filter(|n| *n <= isize::MAX as u64);
    let (Some(count), Some(bytes)) = (count, bytes) else {
        return Err(wrong(format!("its extents {:?} cannot be held in memory", t.dims)));
    };
    if bytes > max_bytes {
        return Err(Diagnostic::error_nowhere(
            codes::BOUND,
            format!(
                "{what}: its extents {:?} take {bytes} bytes, which cannot be had: {max_bytes} are allowed",
                t.dims
            ),
        )
        .with_hint("raise --max-memory"));
    }
    let fit = |shape, data: &[u8]| {
        let d = || wrong(format!("{} bytes of data do not fit {dtype}{:?}, which takes {bytes}", data.len(), t.dims));
        Tensor::from_bytes(dtype, shape, data).ok_or_else(d)
    };
    if t.data_location == Some(1) {
        let place = place(t, bytes).map_err(wrong)?;
        let data = loader.external(what, &place.0, place.1, bytes)?;
        return checked(fit(shape, &data)?, &wrong);
    }
    if let Some(raw) = &t.raw_data {
        return checked(fit(shape, raw)?, &wrong);
    }
    // Typed fields: each list serves several element types.
    let stored = match dtype {
        DType::F32 => t.float_data.len(),
        DType::F64 => t.double_data.len(),
        DType::I64 => t.int64_data.len(),
        DType::U64 | DType::U32 => t.uint64_data.len(),
        _ => t.int32_data.len(),
    };
    if stored as u64 != count {
        return Err(wrong(format!("{stored} elements do not fit {dtype}{:?}, which has {count}", t.dims)));
    }
    let narrow = |value: i32| -> Option<[u8; 4]> {
        let fits = match dtype {
            DType::Bool => (0..=1).contains(&value),
            DType::U8 => (0..=255).contains(&value),
            DType::I8 => (-128..=127).contains(&value),
            DType::I16 => (-32768..=32767).contains(&value),
            DType::F16 | DType::BF16 | DType::U16 => (0..=65535).contains(&value),
            _ => true,
        };
        fits.then(|| value.to_le_bytes())
    };
    match dtype {
        DType::F32 => fit(shape, bytemuck::cast_slice(&t.float_data)),
        DType::F64 => fit(shape, bytemuck::cast_slice(&t.double_data)),
        DType::I64 => fit(shape, bytemuck::cast_slice(&t.int64_data)),
        DType::U64 => fit(shape, bytemuck::cast_slice(&t.uint64_data)),
        DType::U32 => {
            let list: Option<Vec<u32>> = t.uint64_data.iter().map(|n| u32::try_from(*n).ok()).collect();
            let list = list.ok_or_else(|| wrong(format!("a number is no {dtype}")))?;
            fit(shape, bytemuck::cast_slice(&list))
        }
        _ => {
            let mut data = Vec::with_capacity(bytes as usize);
            for value in &t.int32_data {
                let cell = narrow(*value).ok_or_else(|| wrong(format!("{value} is no {dtype}")))?;
                data.extend_from_slice(&cell[..dtype.size()]);
            }
            fit(shape, &data)
        }
    }
}

/// Truth values are 0 or 1, whatever the file says.
fn checked(t: Tensor, wrong: &dyn Fn(String) -> Diagnostic) -> Result<Tensor, Diagnostic> {
    match t.dtype() == DType::Bool && t.bytes().iter().any(|b| *b > 1) {
        true => Err(wrong("a truth value is neither 0 nor 1".to_owned())),
        false => Ok(t),
    }
}

/// File and offset of external data, whose length must be `bytes`.
fn place(t: &TensorProto, bytes: u64) -> Result<(String, u64), String> {
    let find = |key: &str| t.external_data.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.clone());
    let number = |key: &str| match find(key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(format!("its external data have the {key} {text:?}, which cannot be")),
        },
    };
    let location = find("location").ok_or("its external data have no location")?;
    let offset = number("offset")?.unwrap_or(0);
    match number("length")? {
        Some(n) if n != bytes => Err(format!("its external data have {n} bytes, its extents ask for {bytes}")),
        _ => Ok((location, offset)),
    }
}
