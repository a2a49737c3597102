//! Prints the tables of docs/onnx.md.

fn main() {
    print!("{}", nc_onnx::support::page());
}
