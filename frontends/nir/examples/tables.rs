//! Prints the tables of `docs/nir.md`: knobs and presets, then primitives.

fn main() {
    println!("{}", nc_nir::preset::markdown());
    println!("{}", nc_nir::primitive::markdown());
}
