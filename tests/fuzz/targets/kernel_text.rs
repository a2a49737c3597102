//! The text form of kernel programs: any text is taken; what is read prints, reads back equal, and can be verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_ir::kernel::{text, verify};

fuzz_target!(|input: &str| {
    if let Ok(program) = text::parse_with_limit(input, 1 << 20) {
        let printed = text::print(&program);
        let again = text::parse_with_limit(&printed, 1 << 20)
            .unwrap_or_else(|e| panic!("printed text is not read: {e}\n{printed}"));
        assert_eq!(printed, text::print(&again), "printing is not stable");
        let _ = verify::verify(&program);
    }
});
