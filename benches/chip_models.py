"""Runs models on the emulated chip and in the interpreter, and compares every bit of every result.

    python3 benches/chip_models.py --nc target/release/nc [--data MODELS] [--only REGEX] [--ticks N] [--samples N]

Each model runs in two partitions, each placed in its own way: as few pieces as memory allows, and at least three pieces of
every layer with another placement. `examples/` come with their inputs; MODELS is a folder of trained models with one
folder each (`model.nir`, `model.onnx`, `step.onnx`, `weights.safetensors`, inputs as `.npz`). ONNX models run one sample at
a time (`--dim B=1`), those of sequences with `--stream`. The interpreter runs them whole. Needs numpy, and an `nc` built with the feature mlir. Exits with 1 if a bit differs or a model is
refused.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAYS = [[], ["--pieces", "3", "--placement", "2"]]
# What one chip is too small for.
BOARD = ["spikegpt_tiny", "ctm_tiny/unrolled", "ctm_tiny/model"]
# What is no sequence: its steps all see the same input, and their number is an input too, which becomes a constant.
WHOLE = ["ctm_tiny"]


def dt(card):
    """The length of a tick in a card, wherever it stands."""
    if isinstance(card, dict):
        if "dt" in card:
            return card["dt"]
        found = [x for x in map(dt, card.values()) if x is not None]
        return found[0] if found else None
    return None


def examples():
    """The examples of the repository with their inputs."""
    here = os.path.join(ROOT, "examples")
    yield "cuba.nd", [os.path.join(here, "cuba.nd"), "--steps", "40"], None
    for name in ["classifier", "egru_lm", "motion", "lsm", "learn"]:
        yield f"{name}.nd", [os.path.join(here, f"{name}.nd")], os.path.join(here, "data", f"{name}.npz")


def trained(data, tmp):
    """The models of a folder."""
    for name in sorted(os.listdir(data)):
        folder = os.path.join(data, name)
        card = os.path.join(folder, "card.json")
        if not os.path.exists(card):
            continue
        with open(card) as f:
            card = json.load(f)
        if os.path.exists(os.path.join(folder, "model.nir")):
            args = [os.path.join(folder, "model.nir")]
            args += ["--dt", repr(dt(card))] if dt(card) is not None else []
            yield f"{name}/model.nir", args, os.path.join(folder, "nir_in.npz")
        for step in ["step.onnx", "features.onnx", "unrolled.onnx"]:
            path = os.path.join(folder, step)
            if os.path.exists(path):
                yield f"{name}/{step}", [path, "--dim", "B=1"], path.replace(".onnx", "_in.npz")
        path = os.path.join(folder, "model.onnx")
        if os.path.exists(path):
            args = [path]
            if name in WHOLE:
                bind = os.path.join(tmp, f"{name}.npz")
                np.savez(bind, **{k: x for k, x in np.load(os.path.join(folder, "in.npz")).items() if x.shape == ()})
                args += ["--dim", "B=1", "--bind", bind]
            yield f"{name}/model.onnx", args, os.path.join(folder, "in.npz")
        for model in sorted(os.listdir(os.path.join(ROOT, "examples", "models"))):
            if model.endswith(".nd") and model.startswith(name) and not model.endswith("3.nd"):
                to = os.path.join(tmp, name)
                os.makedirs(to, exist_ok=True)
                for f in os.listdir(os.path.join(ROOT, "examples", "models")):
                    if f.endswith(".nd"):
                        shutil.copy(os.path.join(ROOT, "examples", "models", f), to)
                link = os.path.join(to, "weights.safetensors")
                if not os.path.lexists(link):
                    os.symlink(os.path.join(folder, "weights.safetensors"), link)
                yield f"{name}/{model}", [os.path.join(to, model)], os.path.join(folder, "in.npz")


def shortened(path, args, to, is_step):
    """The first ticks and samples of the inputs, with the names and types that a model of its own takes."""
    arrays = dict(np.load(path))
    out = {}
    for name, x in arrays.items():
        if name.startswith("_") or x.shape == ():
            continue
        if path.endswith("in.npz") and is_step == "model":
            # Sequences are [ticks, samples, ..], states [samples, ..], those of GRU and LSTM [1, samples, ..].
            sequence = name == "x" or name.endswith("_seq")
            x = x[: args.ticks, :1] if sequence else x[:, :1] if name in ("h0", "c0") else x[:1]
        elif is_step:
            x = x[:1]
        else:
            x = x[: args.ticks]
            x = x[:, : args.samples] if path.endswith("_in.npz") or "models" in path else x
        out[name] = x
    np.savez(to, **out)


def native(model, path, to, args):
    """Inputs of a model in .nd: one sequence, under the name that it has there."""
    x = np.load(path)
    if "token_seq" in x:
        np.savez(to, token=x["token_seq"][: args.ticks, : args.samples].astype(np.int64))
    else:
        np.savez(to, x=x["x_seq"][: args.ticks, : args.samples] != 0)


def run(args, model, extra, inputs, output):
    command = [args.nc, "run", *model, "--output", output, *extra]
    command += ["--input", inputs] if inputs else []
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, time.time() - start


def same(a, b):
    """Where two results differ."""
    if sorted(a) != sorted(b):
        return "other arrays"
    for name in a:
        x, y = a[name], b[name]
        if x.shape != y.shape or x.dtype != y.dtype or x.tobytes() != y.tobytes():
            return f"{name} differs"
    return None


def kind(name):
    """What an ONNX model is: of a step, or of a sequence."""
    return "model" if name.endswith("model.onnx") else "step" if name.endswith(".onnx") else None


def case(args, name, model, inputs, tmp):
    short = os.path.join(tmp, "in.npz")
    if inputs:
        if name.endswith(".nd") and "/" in name:
            native(name, inputs, short, args)
        else:
            shortened(inputs, args, short, kind(name))
    expected = os.path.join(tmp, "expected.npz")
    code, text, _ = run(args, model, ["--target", "interp"], inputs and short, expected)
    if code != 0:
        return [(name, "-", "the interpreter refuses it: " + first(text))]
    rows = []
    stream = ["--stream"] if kind(name) == "model" and name.split("/")[0] not in WHOLE else []
    for way in WAYS:
        if any(name.startswith(b) for b in BOARD):
            way = [*way, "--machine", "spinnaker2-board48"]
        got = os.path.join(tmp, "got.npz")
        code, text, seconds = run(args, model, ["--target", "spinnaker2", *way, *stream], inputs and short, got)
        if code != 0:
            rows.append((name, " ".join(way), "refused: " + first(text)))
            continue
        wrong = same(dict(np.load(expected)), dict(np.load(got)))
        tick = re.search(r"level \w+\): (.*? per tick)", text)
        figures = f"{tick.group(1) if tick else '?'}, {seconds:.1f} s"
        rows.append((name, " ".join(way), wrong or f"equal; {figures}"))
    return rows


def first(text):
    lines = [line for line in text.splitlines() if line.startswith("error")]
    return lines[0] if lines else text[-200:]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--nc", required=True)
    p.add_argument("--data")
    p.add_argument("--only", default="")
    p.add_argument("--ticks", type=int, default=12)
    p.add_argument("--samples", type=int, default=2)
    args = p.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        cases = list(examples()) + (list(trained(args.data, tmp)) if args.data else [])
        for name, model, inputs in cases:
            if not re.search(args.only, name):
                continue
            for row in case(args, name, model, inputs, tmp):
                good = row[2].startswith("equal")
                bad += not good
                print(f"{'ok  ' if good else 'FAIL'} {row[0]:32} {row[1]:28} {row[2]}", flush=True)
    print(f"{bad} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
