"""Runs the trained models of a data folder and compares with the results stored there.

    python3 check.py --nc ../../target/release/nc --data MODELS [--only digits_snn,egru_lm,hd_delay,lsm_digits]

Each folder of MODELS holds `weights.safetensors`, inputs, stored results and a `card.json`. Sizes are read from the weights
and given to `nc` with `--dim`, so folders of other sizes can be checked too. Needs numpy alone. Exits with 1 if a result is
not what its card promises:

- digits_snn, lsm_digits: every spike of every sample that is not marked unstable, and the accuracy;
- egru_lm: logits within 1e-4 of the largest logit, and the perplexity to 4 digits;
- hd_delay: the accuracy; the number of differing spikes is shown.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def shapes(path):
    """The shape of every array in a safetensors file."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
    return {k: v["shape"] for k, v in header.items() if k != "__metadata__"}


class Case:
    """One folder of data and a temporary folder with models and weights side by side."""

    def __init__(self, args, name, tmp):
        self.nc, self.target, self.name, self.tmp = args.nc, args.target, name, tmp
        self.dir = os.path.join(args.data, name)
        self.ok = True
        for f in os.listdir(HERE):
            if f.endswith(".nd"):
                shutil.copy(os.path.join(HERE, f), tmp)
        w = os.path.join(tmp, "weights.safetensors")
        if os.path.lexists(w):
            os.remove(w)
        os.symlink(os.path.abspath(os.path.join(self.dir, "weights.safetensors")), w)
        self.shapes = shapes(w)
        with open(os.path.join(self.dir, "card.json")) as f:
            self.card = json.load(f)

    def load(self, name):
        """The arrays of a file of the folder."""
        return np.load(os.path.join(self.dir, name))

    def run(self, model, inputs, dims, params=None):
        """Runs a model on arrays [ticks, samples, ..]; the outputs by name."""
        with open(os.path.join(self.tmp, model)) as f:
            text = f.read()
        for name, value in (params or {}).items():
            at = text.index(f"param {name}: real = ")
            end = at + len(f"param {name}: real = ")
            stop = min(text.index(c, end) for c in " \n" if c in text[end:])
            text = text[:end] + repr(float(value)) + text[stop:]
        with open(os.path.join(self.tmp, model), "w") as f:
            f.write(text)
        x, y = os.path.join(self.tmp, "in.npz"), os.path.join(self.tmp, "out.npz")
        np.savez(x, **inputs)
        sizes = [s for k, v in dims.items() for s in ("--dim", f"{k}={v}")]
        command = [self.nc, "run", os.path.join(self.tmp, model), "--input", x, "--output", y, "--target", self.target]
        subprocess.run(command + sizes, check=True)
        return np.load(y)

    def expect(self, what, good, detail):
        """Prints a line and remembers a failure."""
        print(f"{self.name:12} {'ok  ' if good else 'FAIL'} {what}: {detail}", flush=True)
        self.ok = self.ok and bool(good)

    def spikes(self, what, got, want, stable):
        """Compares spikes [ticks, samples, ..] on the stable samples."""
        differ = int((got[:, stable] != want[:, stable].astype(bool)).sum())
        rest = int((got[:, ~stable] != want[:, ~stable].astype(bool)).sum())
        self.expect(what, differ == 0, f"{differ} of {want[:, stable].size} differ; {rest} on {int((~stable).sum())} unstable samples")

    def accuracy(self, right, want):
        """Compares a share of right answers with the card."""
        mean = float(np.mean(right))
        self.expect("accuracy", abs(mean - want) < 1e-6, f"{mean:.6f} of {len(right)}, card {want:.6f}")


def digits(c):
    """A feed-forward network; two or three layers of weights."""
    layers = sum(k.startswith("fc.") and k.endswith(".weight") for k in c.shapes)
    model = {2: "digits_snn.nd", 3: "digits_snn3.nd"}[layers]
    hidden = ["hidden"] if layers == 2 else [f"n{k + 1}" for k in range(layers - 1)]
    dims = {"inputs": c.shapes["fc.0.weight"][1]}
    dims.update({name: c.shapes[f"fc.{k}.weight"][0] for k, name in enumerate(hidden)})
    dims["classes"] = c.shapes[f"fc.{layers - 1}.weight"][0]
    out = c.run(model, {"x": c.load("in.npz")["x_seq"] != 0}, dims)
    want, stable = c.load("out.npz"), ~c.load("labels.npz")["unstable_sample"]
    c.spikes("spikes", out["spikes"], want["spikes_seq"], stable)
    for k in range(layers - 1):
        c.spikes(f"hidden{k}", out[f"hidden{k}"], want[f"hidden{k}_seq"], stable)
    e = c.load("eval.npz")
    counts = c.run(model, {"x": e["x_seq"] != 0}, dims)["spikes"].sum(0)
    c.accuracy(counts.argmax(1) == e["labels"], c.card["accuracy"]["torch_f32_first500_eval_npz"])


def egru(c):
    """A language model."""
    layers = sum(k.startswith("ls.") and k.endswith(".W") for k in c.shapes)
    model = {2: "egru_lm.nd", 3: "egru_lm3.nd"}[layers]
    vocab, embed = c.shapes["emb.weight"]
    dims = {"vocab": vocab, "embed": embed, "hidden": c.shapes["ls.0.U"][0]}
    out = c.run(model, {"token": c.load("in.npz")["token_seq"].astype(np.int64)}, dims)
    want, stable = c.load("out.npz"), ~c.load("labels.npz")["unstable_sample"]
    scale = np.abs(want["logits_seq"]).max()
    worst = np.abs(out["logits"] - want["logits_seq"])[:, stable].max() / scale
    c.expect("logits", worst < 1e-4, f"at most {worst:.2e} of the largest logit from the stored ones")
    for k in range(1, layers + 1):
        flips = int(((out[f"y{k}"] != 0) != (want[f"y{k}_next_seq"] != 0))[:, stable].sum())
        c.expect(f"events of layer {k}", flips == 0, f"{flips} of {want[f'y{k}_next_seq'][:, stable].size} differ")
    tokens, streams = c.load("eval_text.npz")["tokens"], 16
    length = len(tokens) // streams
    x = np.ascontiguousarray(tokens[: streams * length].reshape(streams, length).T)
    logits = c.run(model, {"token": x[:-1].astype(np.int64)}, dims)["logits"].astype(np.float64)
    top = logits.max(-1, keepdims=True)
    logp = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    ppl = float(np.exp(-np.take_along_axis(logp, x[1:, :, None], -1).mean()))
    card = c.card["perplexity"]["test_20k"]
    c.expect("perplexity", f"{ppl:.4g}" == f"{card:.4g}", f"{ppl:.6f}, card {card:.6f}")


def delays(c):
    """Motion direction by a convolution with delays."""
    maps, _, depth, k, _ = c.shapes["w"]
    x = c.load("in.npz")["x_seq"] != 0
    classes = c.shapes["out.weight"][0]
    dims = {"size": x.shape[-1], "delays": depth, "maps": maps, "k": k, "classes": classes}
    want, stable = c.load("out.npz"), ~c.load("labels.npz")["unstable_sample"]
    e = c.load("eval.npz")
    models = [("hd_delay.nd", dims)]
    if depth == 6:
        models.append(("hd_delay_taps.nd", {k: v for k, v in dims.items() if k != "delays"}))
    for model, dims in models:
        out = c.run(model, {"x": x}, dims)
        c.spikes(f"{model} spikes", out["spikes"], want["spikes_seq"], stable)
        worst = np.abs(out["logits"] - want["logits_seq"])[:, stable].max()
        c.expect(f"{model} logits", worst < 1e-3, f"at most {worst:.2e} from the stored ones")
        logits = c.run(model, {"x": e["x_seq"] != 0}, dims)["logits"][-1]
        c.accuracy(logits.argmax(1) == e["labels"], c.card["accuracy"]["torch_f32_eval_npz"])


def liquid(c):
    """A reservoir with a readout at the last step."""
    dims = {"inputs": c.shapes["Win"][0], "n": c.shapes["Win"][1], "classes": c.shapes["out.weight"][0]}
    lam = {"lam": c.card["config"]["lam"]}
    out = c.run("lsm_digits.nd", {"x": c.load("in.npz")["x_seq"] != 0}, dims, lam)
    want, stable = c.load("out.npz"), ~c.load("labels.npz")["unstable_sample"]
    c.spikes("spikes", out["spikes"], want["spk_next_seq"], stable)
    worst = np.abs(out["logits"] - want["logits_seq"])[:, stable].max()
    c.expect("logits", worst < 1e-3, f"at most {worst:.2e} from the stored ones")
    e = c.load("eval.npz")
    logits = c.run("lsm_digits.nd", {"x": e["x_seq"] != 0}, dims, lam)["logits"][-1]
    c.accuracy(logits.argmax(1) == e["labels"], c.card["accuracy"]["torch_f32_eval_npz"])


CASES = {"digits_snn": digits, "egru_lm": egru, "hd_delay": delays, "lsm_digits": liquid}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "..", "target", "release", "nc"))
    p.add_argument("--data", required=True)
    p.add_argument("--target", default="cpu")
    p.add_argument("--only", default=",".join(CASES))
    a = p.parse_args()
    good = True
    for name in a.only.split(","):
        # A folder may carry a suffix, as in digits_snn_big.
        kind = max((k for k in CASES if name.startswith(k)), key=len, default=None)
        if kind is None:
            raise SystemExit(f"{name} is none of {', '.join(CASES)}")
        with tempfile.TemporaryDirectory() as tmp:
            c = Case(a, name, tmp)
            try:
                CASES[kind](c)
            except subprocess.CalledProcessError as e:
                c.expect("run", False, f"nc ended with {e.returncode}")
            good = good and c.ok
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
