//! Lexer, parser and formatter of `.nd`: they take any text, and formatting is idempotent and keeps the tree.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parsed = nc_nd::parse(text, 0);
    let mut at = 0;
    for t in &parsed.tokens {
        assert!(t.start >= at && t.end > t.start, "tokens overlap");
        assert!(!t.text(text).is_empty(), "a token cuts a character");
        at = t.end;
    }
    for d in &parsed.diagnostics {
        if let Some(s) = d.span {
            assert!(s.start <= s.end && s.end as usize <= text.len(), "a span beyond the text: {d:?}");
        }
    }
    match nc_nd::format(text) {
        Ok(once) => {
            let twice = nc_nd::format(&once).expect("formatted text is well formed");
            assert_eq!(once, twice, "formatting is not idempotent");
        }
        Err(diagnostics) => assert!(!diagnostics.is_empty(), "a refusal without a reason"),
    }
});
