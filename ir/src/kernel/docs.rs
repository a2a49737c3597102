//! Reference tables of the kernel IR as Markdown, from the declarations themselves.

use super::program::loaded_type;
use super::scalar::{ScalarOp, ScalarType, Signature};
use super::verify::Constraint;
use crate::types::DType;

/// The whole reference page: operations, element types, constraints.
pub fn reference() -> String {
    format!(
        "# Kernel IR reference\n\n\
         Generated from the declarations; the meaning of each operation is `ScalarOp::eval`.\n\n\
         ## Scalar operations\n\n{}\n## Element types\n\n{}\n## Constraints\n\n{}",
        scalar_table(),
        element_table(),
        constraint_table()
    )
}

/// A table of the scalar operations: mnemonic, operands and result, meaning.
pub fn scalar_table() -> String {
    let rows = ScalarOp::ALL.iter().map(|op| [code(op.name()), code(&signature(op.signature())), op.doc().to_string()]);
    table(["Operation", "Types", "Result"], rows)
}

/// A table of the element types that memory holds and what they become in a register.
pub fn element_table() -> String {
    let rows = DType::ALL.iter().map(|d| [code(d.name()), d.size().to_string(), code(loaded_type(*d).name())]);
    table(["Element", "Bytes", "Loaded as"], rows)
}

/// A table of the constraints that the verifier checks.
pub fn constraint_table() -> String {
    let rows = Constraint::ALL.iter().map(|c| [c.code().to_string(), format!("{c:?}"), c.doc().to_string()]);
    table(["Number", "Name", "Demand"], rows)
}

fn signature(signature: Signature) -> String {
    let repeated = |n: u8| vec!["T"; n.into()].join(", ");
    let names = |types: &[ScalarType]| types.iter().map(|t| t.name()).collect::<Vec<&str>>().join(", ");
    let (float, int) = (names(&[ScalarType::F32, ScalarType::F64]), names(&[ScalarType::I32, ScalarType::I64]));
    match signature {
        Signature::Float(n) => format!("({}) -> T for T in {float}", repeated(n)),
        Signature::FloatCmp => format!("(T, T) -> bool for T in {float}"),
        Signature::Int(n) => format!("({}) -> T for T in {int}", repeated(n)),
        Signature::IntCmp => format!("(T, T) -> bool for T in {int}"),
        Signature::Logic(n) => format!("({}) -> T for T in bool, {int}", repeated(n)),
        Signature::Select => "(bool, T, T) -> T for any T".to_string(),
        Signature::Convert(from, to) => format!("({from}) -> {to}"),
    }
}

fn code(s: &str) -> String {
    format!("`{s}`")
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|c| c.trim().replace('|', "\\|")).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;

    #[test]
    fn the_reference_page_is_up_to_date() {
        expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernel-reference.md")].assert_eq(&reference());
    }

    #[test]
    fn every_operation_and_constraint_has_a_row() {
        assert_eq!(scalar_table().lines().count(), ScalarOp::ALL.len() + 2);
        assert_eq!(constraint_table().lines().count(), Constraint::ALL.len() + 2);
        assert!(
            scalar_table().contains("| `fma` | `(T, T, T) -> T for T in f32, f64` | `a * b + c` with one rounding. |")
        );
    }
}
