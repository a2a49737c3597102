//! docs/onnx.md lists what the op table has.

#[test]
fn the_page_of_operators_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/onnx.md");
    let page = std::fs::read_to_string(path).expect("docs/onnx.md");
    let made = nc_onnx::support::page();
    let at = page.find("### ").expect("a heading");
    assert_eq!(&page[at..], made, "replace what follows with: cargo run -p nc-onnx --example op_support");
}
