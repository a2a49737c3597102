use nc_nd::codes::CODES;

#[test]
fn codes_are_sorted_unique_and_explained() {
    for pair in CODES.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
    }
    for (code, title, page) in CODES {
        assert!(code.len() == 5 && code.starts_with("E0"), "{code}");
        assert!(!title.is_empty() && !title.ends_with('.'), "{code}");
        assert!(page.len() > 80, "{code} has no page");
    }
}

#[test]
fn every_code_has_a_text_that_gives_it() {
    let deep = format!("const x = {}1", "-".repeat(200));
    let long = format!("const x = [{}]", "1, ".repeat(40_000));
    let many = "import\n".repeat(200);
    let texts = [
        ("E0001", "const x = 1 $"),
        ("E0002", "import \"a"),
        ("E0003", "import \"a\\q\""),
        ("E0004", "const x = 99999999999999999999"),
        ("E0005", "const x = 1_000"),
        ("E0006", long.as_str()),
        ("E0007", deep.as_str()),
        ("E0008", "const x = a && b"),
        ("E0009", many.as_str()),
        ("E0101", "const x = 1 2"),
        ("E0102", "const state = 1"),
        ("E0103", "const x = (1"),
        ("E0104", "const x = 1)"),
        ("E0105", "neuron A\n{\n}"),
        ("E0106", "const x = 1\n+ 2"),
        ("E0107", "const x == 1"),
    ];
    for (code, text) in texts {
        let found: Vec<_> = nc_nd::parse(text, 0).diagnostics.iter().map(|d| d.code).collect();
        assert!(found.contains(&code), "{code}: {found:?}");
    }
    let codes: Vec<_> = CODES.iter().map(|c| c.0).collect();
    assert_eq!(codes, texts.map(|t| t.0));
}
