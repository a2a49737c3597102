//! The op table: one row for each operator of ONNX, a file for each family.
//!
//! To add an operator, write its function and its row in the family's `ROWS`. The function reads operands and attributes
//! through [`Call`] and gives the results; what it does not read is refused. From the rows come the dispatch, the
//! refusals, and docs/onnx.md.

pub mod absent;
mod activation;
mod attention;
mod basic;
mod control;
mod conv;
mod elementwise;
mod index;
mod linear_attention;
mod loops;
mod loss;
mod matmul;
mod norm;
mod pool;
mod quant;
mod recurrent;
mod reduce;
mod resize;
mod scatter;
mod shape;
mod signal;
mod softmax;
mod tensor;
mod vision;

use crate::import::{Call, Results};
use nc_ir::DType;
use nc_ir::diag;

/// One operator.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its domain; empty for the standard's own.
    pub domain: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The versions of it that the function handles: every version of the standard from the first of these on.
    pub since: &'static [i64],
    /// Element types that the first operand may have.
    pub types: Types,
    /// What of the operator is refused, for the page of operators; empty if nothing is.
    pub refused: &'static str,
    /// Writes the operator.
    pub import: fn(&mut Call<'_, '_>) -> Results,
}

/// A row of the standard's own domain.
const fn row(
    name: &'static str,
    since: &'static [i64],
    types: Types,
    refused: &'static str,
    import: fn(&mut Call<'_, '_>) -> Results,
) -> Row {
    Row { domain: "", name, since, types, refused, import }
}

/// A set of element types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Types {
    /// Every element type.
    Any,
    /// Floats and integers.
    Number,
    /// Floats.
    Float,
    /// Integers.
    Int,
    /// Integers and truth values.
    Logic,
    /// Truth values.
    Bool,
    /// These.
    These(&'static [DType]),
}

impl Types {
    /// True if the set has this type.
    pub fn has(self, d: DType) -> bool {
        match self {
            Types::Any => true,
            Types::Number => d != DType::Bool,
            Types::Float => d.is_float(),
            Types::Int => d.is_int(),
            Types::Logic => d.is_int() || d == DType::Bool,
            Types::Bool => d == DType::Bool,
            Types::These(list) => list.contains(&d),
        }
    }

    /// The set in words.
    pub fn words(self) -> String {
        match self {
            Types::Any => "any".to_owned(),
            Types::Number => "numbers".to_owned(),
            Types::Float => "floats".to_owned(),
            Types::Int => "integers".to_owned(),
            Types::Logic => "integers, bool".to_owned(),
            Types::Bool => "bool".to_owned(),
            Types::These(list) => list.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "),
        }
    }
}

/// The families: title and rows.
pub const FAMILIES: &[(&str, &[Row])] = &[
    ("Element by element", elementwise::ROWS),
    ("Activations", activation::ROWS),
    ("Shapes", shape::ROWS),
    ("Gather and selection", index::ROWS),
    ("Scatter and sorting", scatter::ROWS),
    ("Reductions", reduce::ROWS),
    ("Softmax", softmax::ROWS),
    ("Matrix products", matmul::ROWS),
    ("Convolution", conv::ROWS),
    ("Pooling", pool::ROWS),
    ("Normalisation", norm::ROWS),
    ("Attention", attention::ROWS),
    ("Linear attention", linear_attention::ROWS),
    ("Quantisation", quant::ROWS),
    ("Images", vision::ROWS),
    ("Resizing", resize::ROWS),
    ("Signals", signal::ROWS),
    ("Losses", loss::ROWS),
    ("Rarer ops on tensors", tensor::ROWS),
    ("Recurrent layers", recurrent::ROWS),
    ("Loops", loops::ROWS),
    ("Control", control::ROWS),
];

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().flat_map(|(_, rows)| rows.iter())
}

/// The row of an operator.
pub(crate) fn find(domain: &str, name: &str) -> Option<&'static Row> {
    rows().find(|r| r.domain == domain && r.name == name)
}

/// The operator with the most similar name.
pub(crate) fn nearest(domain: &str, name: &str) -> Option<&'static str> {
    diag::nearest(name, rows().filter(|r| r.domain == domain).map(|r| r.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique_and_versions_ascend() {
        let mut seen = std::collections::HashSet::new();
        for r in rows() {
            assert!(seen.insert((r.domain, r.name)), "{} has two rows", r.name);
            assert!(r.since.is_sorted() && !r.since.is_empty(), "{}", r.name);
        }
    }

    #[test]
    fn an_operator_has_a_row_or_a_reason_and_not_both() {
        for r in rows() {
            assert_eq!(absent::why(r.domain, r.name), None, "{}", r.name);
        }
    }
}
