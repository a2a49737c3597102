//! Names of functions.

use crate::error::Unsupported;
use nc_ir::kernel::Kernel;

/// The symbol of kernel `n`.
pub(crate) fn kernel(prefix: &str, n: usize, kernel: &Kernel) -> String {
    let name: String = kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(40).collect();
    format!("{prefix}_k{n}_{name}")
}

/// Refuses a prefix that is no C identifier.
pub(crate) fn check(prefix: &str) -> Result<(), Unsupported> {
    let mut chars = prefix.chars();
    let head = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !head || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let what = format!("the symbol prefix `{prefix}`");
        return Err(Unsupported::new(what, "use letters, digits and `_`, no digit first"));
    }
    Ok(())
}
