//! Summarises the sources, and with the feature `llvm` lets the linker find MLIR's C interface.
//!
//! Distributions ship MLIR as one shared library, but its C interface only as many small archives. What stands here for the
//! one library of that name is a linker script that names them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MLIR_SYS_220_PREFIX");
    println!("cargo::rerun-if-changed=src");
    let mut files = Vec::new();
    match collect(Path::new("src"), &mut files) {
        Ok(()) => println!("cargo::rustc-env=NC_MLIR_SOURCES={:016x}", summary(&files)),
        Err(e) => println!("cargo::error=src: {e}"),
    }
    if env::var_os("CARGO_FEATURE_LLVM").is_none() {
        return;
    }
    if let Err(what) = script() {
        println!("cargo::error={what}");
    }
}

/// The source files and their contents, in an order of their own.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> std::io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for e in entries {
        match e.file_type()?.is_dir() {
            true => collect(&e.path(), files)?,
            false => files.push((e.path(), fs::read(e.path())?)),
        }
    }
    Ok(())
}

/// FNV-1a of names and contents: tells versions apart that meet by accident, not by intent.
fn summary(files: &[(PathBuf, Vec<u8>)]) -> u64 {
    let bytes = files.iter().flat_map(|(name, content)| {
        name.to_string_lossy().into_owned().into_bytes().into_iter().chain(content.iter().copied())
    });
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
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
