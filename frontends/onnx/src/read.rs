//! From bytes to the messages of a model.

use crate::codes;
use crate::measure::{MOST_STRUCTURE, measure};
use crate::proto::ModelProto;
use nc_ir::Diagnostic;
use prost::Message;
use prost::bytes::Bytes;

/// IR versions that are read.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;

/// Decodes a model. The tensors' raw data stay slices of `bytes`; what else is taken is counted before it is.
///
/// # Errors
/// E1001 for bytes that are no model, E1002 for an IR version that is not supported, E1009 for messages and texts of more
/// than 512 MiB in memory, or numbers of more than `max_memory` bytes.
pub fn read(bytes: Vec<u8>, max_memory: u64) -> Result<ModelProto, Diagnostic> {
    let malformed = |m: String| Diagnostic::error_nowhere(codes::MALFORMED, m);
    if bytes.is_empty() {
        return Err(malformed("the file is empty, an ONNX model was expected".to_owned()));
    }
    let size = measure(&bytes);
    let beyond = |m: String| Diagnostic::error_nowhere(codes::BOUND, m);
    if size.structure > MOST_STRUCTURE {
        let most = MOST_STRUCTURE >> 20;
        return Err(beyond(format!("the file cannot be read: its nodes and names would take more than {most} MiB")));
    }
    if size.numbers > max_memory {
        let text =
            format!("the file cannot be read: its numbers would take {} bytes, {max_memory} are allowed", size.numbers);
        return Err(beyond(text).with_hint("raise --max-memory"));
    }
    let model = ModelProto::decode(Bytes::from(bytes))
        .map_err(|e| malformed(format!("the file cannot be read as an ONNX model: {e}")))?;
    let Some(version) = model.ir_version else {
        return Err(malformed("the file cannot be read as an ONNX model: it has no IR version".to_owned()));
    };
    if model.graph.is_none() {
        return Err(malformed("the file cannot be read as an ONNX model: it has no graph".to_owned()));
    }
    if !IR_VERSIONS.contains(&version) {
        let (first, last) = (IR_VERSIONS.start(), IR_VERSIONS.end());
        return Err(Diagnostic::error_nowhere(
            codes::VERSION,
            format!("IR version {version} is not supported: versions {first} to {last} are"),
        ));
    }
    Ok(model)
}
