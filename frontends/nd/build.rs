//! Generates the parser from the grammar.

fn main() {
    println!("cargo::rerun-if-env-changed=LALRPOP_LANE_TABLE");
    if let Err(error) = lalrpop::Configuration::new().use_cargo_dir_conventions().emit_rerun_directives(true).process()
    {
        println!("cargo::error=the grammar was not accepted: {error}");
        std::process::exit(1);
    }
}
