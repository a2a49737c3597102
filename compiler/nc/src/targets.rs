//! `nc targets`: what this build and this machine can run models on.

use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use std::fmt::Write;

/// The list, as text.
pub fn describe() -> String {
    let mut out = String::new();
    let cpu = match host() {
        Ok(()) => format!("machine code for this processor ({})", std::env::consts::ARCH),
        Err(why) => format!("not on this machine: {why}"),
    };
    let _ = writeln!(out, "cpu      {cpu}");
    let llvm = match nc_mlir::AVAILABLE {
        true => "machine code for this processor, through MLIR and LLVM",
        false => "not in this build, which was made without the feature mlir",
    };
    let _ = writeln!(out, "llvm     {llvm}");
    let gpu = match (nc_mlir::AVAILABLE, crate::gpu::device()) {
        (_, Err(e)) => format!("not on this machine: {}", e.message),
        (false, Ok(name)) => {
            format!("{name}; this build, without the feature mlir, runs bundles and kept kernels on it")
        }
        (true, Ok(name)) => name,
    };
    let _ = writeln!(out, "gpu      {gpu}");
    let _ =
        writeln!(out, "interp   the reference interpreter: every model, slowly; the meaning the others are held to");
    let _ = writeln!(out, "\nthis machine\n  system    {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let _ = writeln!(out, "  features  {}", features().join(" "));
    let threads = std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |n| n.to_string());
    let _ = writeln!(out, "  threads   {threads}");
    out
}

/// Whether the code generator takes this machine.
fn host() -> Result<(), String> {
    let program = Program::new("probe", 1);
    let layout = Layout::of(&program).ok_or("an empty program has no layout")?;
    nc_cranelift::compile(&program, &layout, &nc_cranelift::Options::default()).map(|_| ()).map_err(|e| e.what)
}

/// Vector features that are there.
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
        }
        look!("sse4.2", "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512vl");
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_aarch64_feature_detected!($name) { found.push($name); })* };
        }
        look!("neon", "fp16", "dotprod", "sve", "sve2");
    }
    if found.is_empty() {
        found.push("none known");
    }
    found
}
