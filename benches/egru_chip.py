"""Writes weights and inputs for egru_chip.nd: random, with the sizes and the share of pruned weights of the published model.

    python3 benches/egru_chip.py FOLDER [--pruned 0.95] [--active 0.1] [--tokens 20] [--last 1350]

Thresholds are set, unit by unit, so that a share `active` of the units speaks at a token: a NumPy run of the network finds them.
Then, with `nc` built with the feature mlir:

    nc run FOLDER/egru_chip.nd --target spinnaker2 --activity 0.6 --input FOLDER/in.npz --output FOLDER/out.npz
"""
import argparse
import os
import shutil

import numpy as np

EMBED, UNITS, LAYERS = 750, 1350, 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("folder")
    p.add_argument("--pruned", type=float, default=0.95)
    p.add_argument("--active", type=float, default=0.1)
    p.add_argument("--tokens", type=int, default=20)
    p.add_argument("--last", type=int, default=UNITS, help="units of the last layer; then run with --dim last=N")
    a = p.parse_args()
    os.makedirs(a.folder, exist_ok=True)
    r = np.random.default_rng(2312)

    def weights(rows, columns):
        w = r.normal(size=(rows, columns)) * np.sqrt(3.0 / ((1 - a.pruned) * columns))
        return np.where(r.random(w.shape) < a.pruned, 0, w).astype(np.float32)

    x = r.normal(size=(a.tokens, EMBED)).astype(np.float32)
    arrays, inputs = {}, np.concatenate([r.normal(size=(40, EMBED)), x])
    for k in range(LAYERS):
        n = a.last if k == LAYERS - 1 else UNITS
        w, u = weights(3 * n, inputs.shape[1]), weights(3 * n, n)
        b = np.zeros(3 * n, np.float32)
        thr = np.full(n, 0.3)
        for _ in range(4):
            # A run, then thresholds that let so many candidates pass.
            c, y, cands, out = np.zeros(n), np.zeros(n), [], []
            for xt in inputs:
                xz, xr, xg = np.split(w @ xt, 3)
                az, ar, ag = np.split(u @ y, 3)
                z = sigmoid(xz + az)
                cand = z * c + (1 - z) * np.tanh(xg + sigmoid(xr + ar) * ag)
                event = cand > thr
                c, y = cand - thr * event, cand * event
                cands.append(cand)
                out.append(y)
            thr = np.maximum(np.quantile(np.array(cands[5:]), 1 - a.active, axis=0), 0.01)
        out = np.array(out)
        print(f"layer {k + 1}: {np.mean(out[40:] != 0):.3f} of the units speak at a token")
        arrays.update({f"W{k}": w, f"U{k}": u, f"b{k}": b, f"bu{k}": b, f"thr{k}": thr.astype(np.float32)})
        inputs = out
    np.savez(os.path.join(a.folder, "egru_chip.npz"), **arrays)
    np.savez(os.path.join(a.folder, "in.npz"), x=x)
    here = os.path.dirname(os.path.abspath(__file__))
    shutil.copy(os.path.join(here, "egru_chip.nd"), a.folder)


if __name__ == "__main__":
    main()
