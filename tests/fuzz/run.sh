#!/usr/bin/env bash
# Runs one fuzz target on a stable toolchain: tests/fuzz/run.sh TARGET SECONDS [SEED_FOLDER..]
#
# Coverage comes from LLVM's sancov pass, which stable rustc can run; libFuzzer is built from C++ by its crate, so a C++
# compiler is needed. A crash leaves its input in tests/fuzz/artifacts/TARGET.
set -euo pipefail

cd "$(dirname "$0")"
if [ $# -lt 2 ]; then
    echo "usage: tests/fuzz/run.sh TARGET SECONDS [SEED_FOLDER..]" >&2
    echo "targets: $(cd targets && ls | sed 's/\.rs$//' | tr '\n' ' ')" >&2
    exit 2
fi
target=$1
seconds=$2
shift 2
[ -f "targets/$target.rs" ] || { echo "there is no target $target" >&2; exit 2; }

host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz"

# With --target the flags do not reach build scripts and procedural macros, which are not linked with libFuzzer.
env "CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUSTFLAGS=$flags" \
    cargo build --release --target "$host" --bin "$target"
[ "$seconds" = 0 ] && exit 0

mkdir -p "corpus/$target" "artifacts/$target"
seeds=()
case $target in
    nd_*) dictionary=nd.dict; seeds=(../../examples ../../frontends/nd/tests/data ../filetests) ;;
    graph_text) dictionary=graph.dict; seeds=(seeds/graph_text) ;;
    kernel_text) dictionary=kernel.dict; seeds=(seeds/kernel_text) ;;
    *) dictionary=; seeds=("seeds/$target") ;;
esac
# libFuzzer takes files of one level, and large weights slow it down.
for folder in "${seeds[@]}" "$@"; do
    [ -d "$folder" ] || continue
    find "$folder" -type f -size -64k \( -name '*.nd' -o -path '*seeds*' \) -print0 |
        while IFS= read -r -d '' f; do cp "$f" "corpus/$target/$(sha1sum "$f" | cut -c1-20)"; done
done
options=(-max_total_time="$seconds" -rss_limit_mb=1024 -malloc_limit_mb=1024 -timeout=10 -max_len=16384)
options+=(-artifact_prefix="artifacts/$target/" -print_final_stats=1)
[ -n "$dictionary" ] && [ -f "$dictionary" ] && options+=(-dict="$dictionary")
exec "$CARGO_TARGET_DIR/$host/release/$target" "${options[@]}" "corpus/$target"
