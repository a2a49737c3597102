//! With the feature `llvm`: lets the linker find MLIR's C interface.
//!
//! Distributions ship MLIR as one shared library, but its C interface only as many small archives. What stands here for the
//! one library of that name is a linker script that names them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MLIR_SYS_220_PREFIX");
    if env::var_os("CARGO_FEATURE_LLVM").is_none() {
        return;
    }
    if let Err(what) = script() {
        println!("cargo::error={what}");
    }
}

fn script() -> Result<(), String> {
    let prefix = env::var_os("MLIR_SYS_220_PREFIX").unwrap_or_else(|| "/usr/lib/llvm-22".into());
    let libraries = Path::new(&prefix).join("lib");
    let entries = fs::read_dir(&libraries)
        .map_err(|e| format!("the feature `llvm` needs LLVM and MLIR 22 in {}: {e}", libraries.display()))?;
    let mut archives: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| is_interface(p)).collect();
    archives.sort();
    if archives.is_empty() {
        return Err(format!("no libMLIRCAPI*.a in {}: install libmlir-22-dev", libraries.display()));
    }
    let mut text = String::from("GROUP (");
    for a in &archives {
        let _ = write!(text, " \"{}\"", a.display());
    }
    for shared in ["libMLIR.so", "libLLVM-22.so"] {
        let _ = write!(text, " \"{}\"", libraries.join(shared).display());
    }
    text.push_str(" )\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(out.join("libMLIR-C.so"), text).map_err(|e| format!("{}: {e}", out.display()))?;
    println!("cargo::rustc-link-search=native={}", out.display());
    // Tests of this crate find the library of MLIR there, and so do programs whose build script reads the metadata.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", libraries.display());
    println!("cargo::metadata=LIBRARIES={}", libraries.display());
    Ok(())
}

fn is_interface(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    name.starts_with("libMLIRCAPI") && path.extension().is_some_and(|e| e == "a")
}
