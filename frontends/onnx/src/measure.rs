//! What a file would take once it is decoded, found by a walk over its bytes.
//!
//! A message of two bytes may become hundreds in memory, so that the size of a file says little. The walk follows the
//! fields that [`crate::proto`] declares, and takes no memory itself. It need not see that a file is broken: the decoder
//! does, and it never makes more of the bytes than what is counted here.

use crate::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use std::mem::size_of;

/// Most bytes of messages and their texts: twice what as many nodes as the importer takes need.
pub(crate) const MOST_STRUCTURE: u64 = 512 << 20;
/// Deepest nesting that is followed; the decoder refuses less.
const DEEPEST: usize = 128;
/// A vector that grows has room for twice its elements.
const GROWTH: u64 = 2;
/// A text beside its bytes: its place in a vector, and what an allocation takes at least.
const TEXT: u64 = GROWTH * size_of::<String>() as u64 + 16;

/// Bytes that decoding takes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Measure {
    /// Messages and texts.
    pub structure: u64,
    /// Numbers of tensors and attributes.
    pub numbers: u64,
}

/// What a declared field becomes.
#[derive(Clone, Copy)]
enum Field {
    Message(&'static Kind),
    /// A copy of the bytes.
    Text,
    /// Numbers of so many bytes each, one by one or packed.
    Varints(u64),
    /// Numbers of four bytes each.
    Four,
    /// Numbers of eight bytes each.
    Eight,
}

/// A kind of message: its bytes in memory, and those of its fields that take more.
struct Kind {
    size: usize,
    fields: &'static [(u64, Field)],
}

impl Kind {
    const fn of<T>(fields: &'static [(u64, Field)]) -> Kind {
        Kind { size: size_of::<T>(), fields }
    }
}

use Field::{Eight, Four, Message, Text, Varints};

static MODEL: Kind =
    Kind::of::<ModelProto>(&[(8, Message(&OPERATOR_SET)), (2, Text), (7, Message(&GRAPH)), (25, Message(&FUNCTION))]);
static OPERATOR_SET: Kind = Kind::of::<OperatorSetIdProto>(&[(1, Text)]);
static GRAPH: Kind = Kind::of::<GraphProto>(&[
    (1, Message(&NODE)),
    (2, Text),
    (5, Message(&TENSOR)),
    (15, Message(&SPARSE)),
    (11, Message(&VALUE)),
    (12, Message(&VALUE)),
]);
static NODE: Kind = Kind::of::<NodeProto>(&[
    (1, Text),
    (2, Text),
    (3, Text),
    (4, Text),
    (7, Text),
    (8, Text),
    (5, Message(&ATTRIBUTE)),
]);
static ATTRIBUTE: Kind = Kind::of::<AttributeProto>(&[
    (1, Text),
    (21, Text),
    (4, Text),
    (5, Message(&TENSOR)),
    (6, Message(&GRAPH)),
    (22, Message(&SPARSE)),
    (7, Four),
    (8, Varints(8)),
    (9, Text),
]);
static VALUE: Kind = Kind::of::<ValueInfoProto>(&[(1, Text), (2, Message(&TYPE))]);
static TYPE: Kind = Kind::of::<TypeProto>(&[(1, Message(&TENSOR_TYPE))]);
static TENSOR_TYPE: Kind = Kind::of::<type_proto::Tensor>(&[(2, Message(&SHAPE))]);
static SHAPE: Kind = Kind::of::<TensorShapeProto>(&[(1, Message(&DIMENSION))]);
static DIMENSION: Kind = Kind::of::<Dimension>(&[(2, Text)]);
static TENSOR: Kind = Kind::of::<TensorProto>(&[
    (1, Varints(8)),
    (4, Four),
    (5, Varints(4)),
    (7, Varints(8)),
    (8, Text),
    (13, Message(&ENTRY)),
    (10, Eight),
    (11, Varints(8)),
]);
static ENTRY: Kind = Kind::of::<StringStringEntryProto>(&[(1, Text), (2, Text)]);
static SPARSE: Kind = Kind::of::<SparseTensorProto>(&[(1, Message(&TENSOR))]);
static FUNCTION: Kind = Kind::of::<FunctionProto>(&[
    (1, Text),
    (4, Text),
    (5, Text),
    (6, Text),
    (11, Message(&ATTRIBUTE)),
    (7, Message(&NODE)),
    (9, Message(&OPERATOR_SET)),
    (10, Text),
    (13, Text),
]);

/// What decoding the bytes of a model takes at most. Ends early once there are more messages than may be.
pub(crate) fn measure(bytes: &[u8]) -> Measure {
    let mut m = Measure::default();
    m.message(&MODEL, bytes, 0);
    m
}

/// Splits a variable-length number off.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (k, b) in bytes.iter().enumerate().take(10) {
        value |= u64::from(b & 0x7f) << (7 * k);
        if *b < 0x80 {
            *bytes = &bytes[k + 1..];
            return Some(value);
        }
    }
    None
}

impl Measure {
    fn message(&mut self, kind: &Kind, mut bytes: &[u8], depth: usize) {
        self.structure = self.structure.saturating_add(GROWTH * kind.size as u64);
        while self.structure <= MOST_STRUCTURE
            && let Some(key) = varint(&mut bytes)
        {
            let field = kind.fields.iter().find(|(tag, _)| *tag == key >> 3).map(|(_, f)| *f);
            let fixed = |n: usize| bytes.get(n..);
            match key & 7 {
                0 => {
                    if varint(&mut bytes).is_none() {
                        return;
                    }
                    if let Some(Varints(size)) = field {
                        self.numbers(1, size);
                    }
                }
                1 | 5 => {
                    let (size, single) = if key & 7 == 1 { (8, Eight) } else { (4, Four) };
                    let Some(rest) = fixed(size) else { return };
                    bytes = rest;
                    match (field, single) {
                        (Some(Eight), Eight) | (Some(Four), Four) => self.numbers(1, size as u64),
                        _ => {}
                    }
                }
                2 => {
                    let Some(n) = varint(&mut bytes).and_then(|n| usize::try_from(n).ok()) else { return };
                    let Some((content, rest)) = bytes.split_at_checked(n) else { return };
                    bytes = rest;
                    self.content(field, content, depth);
                }
                // Groups, which no field is: what is in them is skipped by the decoder.
                3 | 4 => {}
                _ => return,
            }
        }
    }

    fn content(&mut self, field: Option<Field>, content: &[u8], depth: usize) {
        match field {
            Some(Message(kind)) if depth < DEEPEST => self.message(kind, content, depth + 1),
            Some(Message(_)) | None => {}
            Some(Text) => self.structure = self.structure.saturating_add(TEXT + content.len() as u64),
            Some(Varints(size)) => self.numbers(content.iter().filter(|b| **b < 0x80).count() as u64, size),
            Some(Four) => self.numbers(content.len() as u64 / 4, 4),
            Some(Eight) => self.numbers(content.len() as u64 / 8, 8),
        }
    }

    fn numbers(&mut self, count: u64, size: u64) {
        self.numbers = self.numbers.saturating_add(count.saturating_mul(GROWTH * size));
    }
}
