#!/usr/bin/env bash
# Runs the kernels of the examples and of the models of the file tests, compiled for one Arm core, on Unicorn, on the
# simulator and in the interpreters of kernels and graphs: 20 ticks of random inputs each, equal to the bit.
#
#     tests/unicorn/models.sh NC
#
# NC is a built `nc`; this crate needs LLVM and cmake. Models that are refused, or whose extents are open, are left out.
set -euo pipefail
nc=$(realpath "${1:?the program nc}")
cd "$(dirname "$0")"
root=../..
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernels=()
left=0
while read -r model; do
    name=$(echo "${model#"$root"/}" | tr '/.' '__')
    more=()
    case $model in
    *.nir) more=(--dt 1e-4) ;;
    esac
    # The text of a graph and of kernels is named after the model.
    if "$nc" compile "$model" "${more[@]}" --emit solved,kernels --output "$work/$name" >/dev/null 2>&1; then
        kernels+=("$(ls "$work/$name"/*.kernels)")
    else
        left=$((left + 1))
    fi
done < <(find "$root/examples" "$root/tests/filetests" \( -name '*.nd' -o -name '*.nir' -o -name '*.onnx' \) \
    -not -path '*/refused/*' -not -path '*/models/*' | sort)
echo "${#kernels[@]} models, $left left out"
# A test of nothing is none.
[ "${#kernels[@]}" -ge 40 ]
cargo run --quiet --release --features llvm --bin programs -- 0 0 "${kernels[@]}"
