#!/usr/bin/env bash
# Everything that must hold before a change is taken: shape, lints, documents, licences, tests.
# What cannot run here (no rustfmt, no clippy, no cargo-deny, no numpy, no reference data) is skipped by name.
set -euo pipefail
cd "$(dirname "$0")/.."

# One profile for everything: optimised, with overflow checks and assertions, and each dependency compiled once.
profile=(--profile ci)
# The grammar is generated in true LALR(1) mode, in which every conflict is an error.
export LALRPOP_LANE_TABLE=disabled
skipped=()

step() {
    printf '\n== %s\n' "$1"
}

step "dependencies"
# All of them, those of other systems too: the tests of the house read what each is, without a network.
cargo fetch --locked

step "shape of the sources"
if cargo fmt --version >/dev/null 2>&1; then
    cargo fmt --all --check
else
    skipped+=("cargo fmt: not installed (rustup component add rustfmt)")
fi

step "lints"
if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy --locked "${profile[@]}" --workspace --all-targets -- -D warnings
else
    skipped+=("cargo clippy: not installed (rustup component add clippy)")
fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked "${profile[@]}" --workspace --no-deps

step "licences and sources of dependencies"
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --locked check licenses bans sources
else
    skipped+=("cargo deny: not installed (the test licences:: checks licences and sources without it)")
fi

step "tests"
cargo test --locked "${profile[@]}" --workspace --no-fail-fast

if [ ${#skipped[@]} -gt 0 ]; then
    printf '\nskipped: %s\n' "${skipped[@]}"
fi
printf '\nall checks passed\n'
