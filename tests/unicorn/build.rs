//! With the feature `llvm`: lets the programs find the library of MLIR where the build found it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(libraries) = std::env::var("DEP_NC_MLIR_NATIVE_LIBRARIES") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    }
}
