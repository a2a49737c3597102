#!/usr/bin/env bash
# Builds nc, runs a network for one second of its time and draws it, compiles it for a SpiNNaker2 chip, runs it on the emulated
# chip and in the interpreter, compares every bit of the results, and writes the report. LLVM and MLIR 22, which make the
# code of the chip's cores, are installed by apt-get if they are missing.
#
#     examples/first.sh [MODEL.nd [TICKS]]
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-examples/cuba.nd}
ticks=${2:-100}

llvm=${MLIR_SYS_220_PREFIX:-/usr/lib/llvm-22}
if ! [ -e "$llvm/lib/libMLIR.so" ] || ! [ -e "$llvm/lib/libclang.so" ]; then
    echo "LLVM and MLIR 22 are not in $llvm; installing Debian's packages"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update
    "${as_root[@]}" apt-get install --yes --no-install-recommends libmlir-22-dev mlir-22-tools llvm-22-dev \
        libclang-22-dev lld-22 clang-22 libpolly-22-dev libzstd-dev zlib1g-dev
fi

cargo build --locked --release -p nc --features mlir
nc=${CARGO_TARGET_DIR:-target}/release/nc
name=$(basename "$model" .nd)
"$nc" run "$model" --duration 1s --plot "$name.svg"

results=$(mktemp -d)
trap 'rm -r "$results"' EXIT

"$nc" compile "$model" --target spinnaker2 --output "$name.bundle"
"$nc" run "$name.bundle" --steps "$ticks" --output "$results/chip.npz"
"$nc" run "$model" --steps "$ticks" --target interp --output "$results/interpreter.npz"
cmp "$results/chip.npz" "$results/interpreter.npz"
echo "equal to the bit: $(wc -c <"$results/chip.npz") bytes of results of $ticks ticks on the chip and in the interpreter"
echo "plot: $name.svg, report: $name.bundle/report.html"
