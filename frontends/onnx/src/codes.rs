//! The error codes of this crate, one page of explanation each.

/// The bytes are no ONNX model.
pub const MALFORMED: &str = "E1001";
/// A version of the format or of an operator set.
pub const VERSION: &str = "E1002";
/// An operator that is not known, or not in this form.
pub const UNSUPPORTED: &str = "E1003";
/// A node that does not fit its operands.
pub const NODE: &str = "E1004";
/// Names that do not add up.
pub const NAMES: &str = "E1005";
/// Tensor data that do not add up.
pub const TENSOR: &str = "E1006";
/// External data.
pub const EXTERNAL: &str = "E1007";
/// An extent without a value.
pub const EXTENT: &str = "E1008";
/// A bound of the reader.
pub const BOUND: &str = "E1009";
/// A value that must be known.
pub const NEEDS: &str = "E1010";
/// A model that cannot run step by step.
pub const STREAM: &str = "E1011";

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        MALFORMED,
        "not an ONNX model",
        "The bytes of the file do not decode as the protobuf message of an ONNX model, or a part that every model has is \
         missing. The file is cut short, damaged, or of another kind.",
    ),
    (
        VERSION,
        "a version that is not supported",
        "Models of IR version 3 to 14 are read, with the operator sets 1 to 28 of the standard. Export the model again \
         for one of these.",
    ),
    (
        UNSUPPORTED,
        "an operator that is not supported",
        "The message names the node, its operator, domain and operator set, and what of it is not supported: the operator \
         as a whole, an attribute, or an element type. Nothing was run. docs/onnx.md lists what there is.",
    ),
    (
        NODE,
        "a node that does not fit its operands",
        "The operands or attributes of a node break a rule of its operator: shapes that do not broadcast, an axis that \
         does not exist, an operand that is missing. The message names the node.",
    ),
    (
        NAMES,
        "names that do not add up",
        "Each name of an ONNX graph is given once, before it is used. The message names a value that is given twice, or \
         used but never given; nodes that are not in topological order, or depend on each other in a circle, show as the \
         latter. A function that calls itself is refused for the same reason.",
    ),
    (
        TENSOR,
        "tensor data that do not add up",
        "A tensor's data have another length than its shape and element type ask for, an extent is negative, or the \
         element type is none that nc has.",
    ),
    (
        EXTERNAL,
        "external data that are refused",
        "The data of a tensor are in another file, which must lie in the model's folder or below: the path may not be \
         absolute, lead upwards, or leave the folder through a link. The message also names data that are shorter than \
         the tensor needs.",
    ),
    (
        EXTENT,
        "an extent without a value",
        "An input of the model has an extent that only a run decides. Give it with --dim NAME=N, or run the model on \
         arrays, whose shapes then decide.",
    ),
    (
        BOUND,
        "a model beyond the bounds of the reader",
        "Graphs nest at most 24 deep, functions at most 64, and a model has at most 262,144 nodes once its functions are \
         inlined. Its nodes, attributes and names take at most 512 MiB in memory, which is counted before they are \
         decoded. A tensor must fit in the memory that --max-memory allows.",
    ),
    (
        NEEDS,
        "a value that must be known",
        "The shape of a result depends on the value of an input, and nc compiles models of fixed shapes. `nc run` takes \
         that value from the arrays it is given and keeps it as a constant. The other commands take such values from \
         --bind FILE.npz.",
    ),
    (
        STREAM,
        "a model that cannot run one step at a time",
        "--stream runs a model of sequences one step a tick, and keeps what its RNN, GRU, LSTM and Scan nodes carry. Every \
         node then sees this step and what was kept of those before it. The message names a node that needs more: steps \
         yet to come (a reverse direction, a softmax or a convolution along the steps), steps that are gone, or a table \
         with one entry per step (positions, lengths of sequences). Sums, means, extremes and running sums along the \
         steps, and the last step, are taken. Without --stream the model runs on whole sequences.",
    ),
];
