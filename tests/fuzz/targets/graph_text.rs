//! The text form of the model graph: any text is taken; what is read prints, reads back equal, and can be verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_ir::graph::{text, verify};

fuzz_target!(|input: &str| {
    if let Ok(module) = text::parse(input) {
        let printed = text::print(&module);
        let again = text::parse(&printed).unwrap_or_else(|e| panic!("printed text is not read: {e}\n{printed}"));
        assert_eq!(printed, text::print(&again), "printing is not stable");
        let _ = verify::verify(&module);
    }
});
