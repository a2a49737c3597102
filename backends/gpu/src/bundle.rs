//! Bundles: a plan with the code and the first contents of memory, as files.

use crate::plan::Plan;
use nc_ir::Diagnostic;

/// The file of the plan.
pub const MANIFEST: &str = "gpu.json";
/// The file of the arena before the first tick.
pub const ARENA: &str = "arena.bin";
/// The file of the constant pool.
pub const CONSTS: &str = "consts.bin";

/// A plan, and what it names.
#[derive(Clone, PartialEq, Debug)]
pub struct Bundle {
    /// The plan.
    pub plan: Plan,
    /// The arena before the first tick.
    pub arena: Vec<u8>,
    /// The constant pool.
    pub consts: Vec<u8>,
    /// The code of each of [`Plan::binaries`].
    pub code: Vec<String>,
}

impl Bundle {
    /// The files with their names.
    ///
    /// # Errors
    /// E0872 for a plan that JSON cannot hold.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>, Diagnostic> {
        let mut all = vec![(ARENA.to_owned(), self.arena.clone()), (CONSTS.to_owned(), self.consts.clone())];
        all.extend(self.plan.binaries.iter().zip(&self.code).map(|(b, c)| (b.file.clone(), c.clone().into_bytes())));
        let text = serde_json::to_string_pretty(&self.plan)
            .map_err(|e| Diagnostic::error_nowhere("E0872", format!("{MANIFEST} is not written: {e}")))?;
        all.push((MANIFEST.to_owned(), format!("{text}\n").into_bytes()));
        Ok(all)
    }

    /// Reads a bundle; `file` gives the content of a file by its name, at most so many bytes of it.
    ///
    /// # Errors
    /// E0872, and what `file` refuses.
    pub fn read(file: impl Fn(&str, u64) -> Result<Vec<u8>, Diagnostic>) -> Result<Bundle, Diagnostic> {
        let wrong = |e: String| {
            Diagnostic::error_nowhere("E0872", format!("the bundle cannot be used: {e}"))
                .with_hint("write it anew with `nc compile MODEL --target gpu -o DIR`")
        };
        let text = file(MANIFEST, 256 << 20)?;
        let plan: Plan = serde_json::from_slice(&text).map_err(|e| wrong(format!("{MANIFEST}: {e}")))?;
        plan.check().map_err(|e| wrong(format!("{MANIFEST}: {e}")))?;
        let arena = file(ARENA, plan.arena_bytes)?;
        let consts = file(CONSTS, plan.const_bytes)?;
        let mut code = Vec::new();
        for b in &plan.binaries {
            // Names only, so that a manifest cannot reach outside its folder.
            if b.file.contains(['/', '\\']) || b.file.starts_with('.') {
                return Err(wrong(format!("{:?} is no name of a file", b.file)));
            }
            let text = String::from_utf8(file(&b.file, 256 << 20)?);
            code.push(text.map_err(|e| wrong(format!("{}: {e}", b.file)))?);
        }
        plan.memory(&arena, &consts).map_err(wrong)?;
        Ok(Bundle { plan, arena, consts, code })
    }
}
