//! The page of the documentation has the tables that the code is made from.

#[test]
fn the_page_has_the_tables_of_the_code() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/nir.md")).expect("docs/nir.md");
    for table in [nc_nir::preset::markdown(), nc_nir::primitive::markdown()] {
        assert!(
            page.contains(&table),
            "docs/nir.md is not up to date: `cargo run -p nc-nir --example tables` prints what it should have\n{table}"
        );
    }
}
