#!/usr/bin/env python3
"""Runs trained models on two targets and counts the numbers that differ in any bit.

    bits.py --nc NC --models DIR [--target gpu] [--against cpu] [--only REGEX] [--first N]

DIR has folders with a `card.json` that names models and inputs. With --first only so many frames of long inputs of `.nir`
models are taken. The device of the target gpu is named by NC_GPU_DEVICE. Needs numpy. Ends with 1 if anything differs.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def load(path):
    with np.load(path) as all_:
        return {k: all_[k] for k in all_.files}


def cases(folder):
    """Model, input and options of all that a card names."""
    card = json.loads((folder / "card.json").read_text())
    for o in card.get("onnx", {}).values():
        yield folder / o["model"], folder / o["input"], []
    nir = card.get("nir") or (card if "onnx" not in card else None)
    if nir and (folder / "nir_in.npz").exists():
        yield folder / "model.nir", folder / "nir_in.npz", ["--dt", str(nir["dt"])]


def ran(nc, model, inputs, target, options, to):
    command = [nc, "run", str(model), "--input", str(inputs), "--output", str(to), "--target", target, *options]
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return None, lines[-1] if lines else f"it ended with {done.returncode}"
    return load(to), time.monotonic() - begun


def differing(want, got):
    """How many numbers differ in any bit; any NaN is as good as another."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return max(want.size, got.size, 1)
    size = want.dtype.itemsize
    rows = [np.frombuffer(x.tobytes(), np.uint8).reshape(-1, size) for x in (want, got)]
    other = (rows[0] != rows[1]).any(axis=1)
    if want.dtype.kind == "f":
        other &= ~(np.isnan(want) & np.isnan(got)).ravel()
    return int(other.sum())


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--nc", required=True)
    a.add_argument("--models", required=True, type=Path)
    a.add_argument("--target", default="gpu")
    a.add_argument("--against", default="cpu")
    a.add_argument("--only", default="")
    a.add_argument("--first", type=int)
    args = a.parse_args()
    failed = numbers = count = 0
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for card in sorted(args.models.glob("*/card.json")):
            for model, inputs, options in cases(card.parent):
                name = f"{card.parent.name}/{model.name} {inputs.name}"
                if not re.search(args.only, name):
                    continue
                if args.first and model.suffix == ".nir":
                    few = {k: v[: args.first] for k, v in load(inputs).items()}
                    inputs = work / "few.npz"
                    np.savez(inputs, **few)
                want, _ = ran(args.nc, model, inputs, args.against, options, work / "want.npz")
                got, took = ran(args.nc, model, inputs, args.target, options, work / "got.npz")
                count += 1
                if want is None or got is None:
                    failed += 1
                    print(f"{name}: {took}", flush=True)
                    continue
                same = want.keys() == got.keys()
                bad = sum(differing(want[k], got[k]) for k in (want if same else ()))
                n = sum(v.size for v in want.values())
                numbers += n
                failed += bad > 0 or not same
                print(f"{name}: {bad} of {n} numbers differ, {took:.1f} s", flush=True)
    print(f"{count} models, {numbers} numbers, {failed} differ or failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
