#!/usr/bin/env bash
# Everything that must hold before a change is taken: shape, lints, documents, licences, tests.
# What cannot run here (no rustfmt, no clippy, no cargo-deny, no numpy, no reference data, no LLVM) is skipped by name.
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

step "through LLVM"
llvm=${MLIR_SYS_220_PREFIX:-/usr/lib/llvm-22}
if [ -e "$llvm/lib/libMLIR.so" ] && [ -e "$llvm/lib/libclang.so" ]; then
    cargo clippy --locked "${profile[@]}" -p nc-mlir --features llvm --all-targets -- -D warnings
    cargo test --locked "${profile[@]}" -p nc-mlir --features llvm --no-fail-fast
    cargo clippy --locked "${profile[@]}" -p nc --features mlir --all-targets -- -D warnings
    cargo test --locked "${profile[@]}" -p nc --features mlir --no-fail-fast --test cli --test gpu --test chip
    # All models of the file tests, through LLVM, and as the threads of a graphics processor.
    cargo run --locked "${profile[@]}" -p nc --features mlir -- test --target llvm,gpu-host tests/filetests examples
    # The same through Vulkan, on Mesa's software device.
    if compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' >/dev/null; then
        cargo run --locked "${profile[@]}" -p nc --features mlir -- \
            test --target gpu --device llvmpipe tests/filetests examples
    else
        skipped+=("kernels through Vulkan: Mesa's software device is not here (Debian's mesa-vulkan-drivers, libvulkan1)")
    fi
    if ! command -v "${NC_SPIRV_VAL:-spirv-val}" >/dev/null; then
        skipped+=("checking SPIR-V: there is no spirv-val, nor does NC_SPIRV_VAL name one (Debian's spirv-tools)")
    fi
    if [ -z "${NC_PTXAS:-}" ]; then
        skipped+=("assembling PTX: NC_PTXAS does not name a ptxas (it comes in the PyPI package nvidia-cuda-nvcc-cu12)")
    fi
else
    skipped+=("the backend through LLVM: LLVM and MLIR 22 are not in $llvm (README.md says which packages they are)")
fi

if [ ${#skipped[@]} -gt 0 ]; then
    printf '\nskipped: %s\n' "${skipped[@]}"
fi
printf '\nall checks passed\n'
