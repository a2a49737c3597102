//! Bundles on disk.

use nc_gpu::bundle::{Bundle, MANIFEST};
use nc_ir::Diagnostic;
use std::io::Read;
use std::path::Path;

/// True for a folder that holds a manifest.
pub fn is_bundle(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

/// Reads a bundle that takes at most so much memory.
///
/// # Errors
/// E0872; E0650 for more memory.
pub fn read(path: &Path, max_memory: u64) -> Result<Bundle, Diagnostic> {
    Bundle::read(|name, most| {
        let at = path.join(name);
        let unread = |e: &dyn std::fmt::Display| {
            Diagnostic::error_nowhere("E0872", format!("{} cannot be read: {e}", at.display()))
                .with_hint("write the bundle anew with `nc compile MODEL --target gpu -o DIR`")
        };
        if most > max_memory {
            let text = format!("{} is said to have {most} bytes, {max_memory} are allowed", at.display());
            return Err(Diagnostic::error_nowhere("E0650", text).with_hint("raise --max-memory"));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&at).map_err(|e| unread(&e))?;
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| unread(&e))?;
        if bytes.len() as u64 > most {
            return Err(unread(&format!("it has more than {most} bytes")));
        }
        Ok(bytes)
    })
}
