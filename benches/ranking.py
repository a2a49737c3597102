"""Holds predicted costs of representations against measured ones.

    python3 ranking.py [--nc ../target/release/nc] [--costs FILE] [--rounds 3] [--reps 7] [--only TEXT]

For products of many shapes, densities of weights and activities of inputs, every representation is pinned in turn and
timed. A pair of representations of one product whose times differ by more than 20 % counts as right if the predicted
times stand in the same order. Exits with 1 if fewer than 90 % are.
"""
import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def cases():
    """(name, rows, inputs, outputs, density of the weights, activity, spike or real, window)."""
    out = []
    for n, density, activity in itertools.product((64, 256, 1024), (0.02, 0.1, 0.5, 1.0), (0.02, 0.1, 0.3, 1.0)):
        kind = "spike" if activity < 0.2 else "real"
        out.append((f"{n}x{n} weights {density} active {activity}", 1, n, n, density, activity, kind, None))
    for rows, m, density, activity in itertools.product((8, 32), (10, 256), (0.1, 1.0), (0.05, 0.3)):
        name = f"{rows} rows 256x{m} weights {density} active {activity}"
        out.append((name, rows, 256, m, density, activity, "real", None))
    # Weights in blocks of so many outputs and inputs on the diagonal.
    for rows, n, block in itertools.product((1, 8, 32), (256, 1024), (32, 64, 256)):
        out.append((f"{rows} rows {n}x{n} in blocks of {block}", rows, n, n, -block, 1.0, "real", None))
    for channels, taps, stride, activity in itertools.product((4, 16, 32), (3, 5), (1, 2), (0.02, 0.1, 0.3)):
        name = f"window {taps} of 4 -> {channels} by {stride} active {activity}"
        out.append((name, 1, 4, channels, 1.0, activity, "real", (32, taps, stride)))
    return out


def write(folder, case):
    """The model and the input of a case."""
    _, rows, k, m, density, activity, kind, window = case
    rng = np.random.default_rng(3)
    shape = (m, k) if window is None else (m, k, window[1], window[1])
    w = rng.standard_normal(shape).astype(np.float32)
    if density < 0:
        w[np.arange(m)[:, None] // -density != np.arange(k)[None, :] // -density] = 0
    else:
        w[rng.random(shape) >= density] = 0
    np.savez(os.path.join(folder, "w.npz"), w=w)
    frame = [k] if window is None else [k, window[0], window[0]]
    frame = ([rows] if rows > 1 else []) + frame
    sizes = ", ".join(map(str, frame))
    call = "linear(x, W)" if window is None else f"conv2d(x, W, stride = {window[2]})"
    model = os.path.join(folder, "model.nd")
    with open(model, "w") as f:
        f.write(
            f"net Case {{\n  file f = \"w.npz\"\n  param W: real[{', '.join(map(str, shape))}] = f[\"w\"]\n"
            f"  input x: {kind}[{sizes}]\n  output y = {call}\n}}\n"
        )
    x = rng.random([30] + frame)
    on = x < activity
    x = on if kind == "spike" else np.where(on, rng.standard_normal(x.shape), 0).astype(np.float32)
    source = os.path.join(folder, "x.npz")
    np.savez(source, x=x)
    return model, source


def run(nc, args):
    done = subprocess.run([nc, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"nc {' '.join(args)}:\n{done.stderr}")
    return done.stdout


def predicted(a, model, profile):
    """The name of the only product, and what `nc check` predicts for it."""
    text = run(a.nc, ["check", model, "--profile", profile, *a.costs])
    at = text.split("predicted times\n", 1)
    if len(at) < 2:
        return None, {}
    name, line = re.match(r"  (.*?): \S+.*\n    (.*)", at[1]).groups()
    return name, {r: float(us) for r, us in re.findall(r"(\S+) ([0-9.]+) us", line)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "target", "release", "nc"))
    p.add_argument("--costs")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--reps", type=int, default=7)
    p.add_argument("--only", default="")
    a = p.parse_args()
    a.costs = ["--costs", a.costs] if a.costs else []
    right = pairs = 0
    lost = []
    for case in cases():
        if a.only not in case[0]:
            continue
        with tempfile.TemporaryDirectory() as tmp:
            model, source = write(tmp, case)
            profile = os.path.join(tmp, "profile.json")
            run(a.nc, ["profile", model, "--input", source, "-o", profile])
            name, guess = predicted(a, model, profile)
            times = {}
            for _ in range(a.rounds):
                for r in guess:
                    args = ["run", model, "--input", source, "--no-profile", "--force", f"{name}={r}"]
                    t = json.loads(run(a.nc, [*args, "--repeat", str(a.reps), "--timings", "json"]).splitlines()[-1])
                    us = min(t["seconds"]) / t["ticks"] * 1e6
                    times[r] = min(times.get(r, us), us)
        wrong = []
        for x, y in itertools.combinations(guess, 2):
            slow, fast = max(times[x], times[y]), min(times[x], times[y])
            if slow > 1.2 * fast:
                pairs += 1
                if (guess[x] < guess[y]) == (times[x] < times[y]):
                    right += 1
                else:
                    wrong.append(f"{x}/{y}")
        shown = "  ".join(f"{r} {guess[r]:.2f}:{times[r]:.2f}" for r in guess)
        if guess:
            best, chosen = min(times.values()), times[min(guess, key=guess.get)]
            lost.append(chosen / best)
        print(f"{case[0]:44} {shown}{'   WRONG ' + ' '.join(wrong) if wrong else ''}", flush=True)
    share = right / max(pairs, 1)
    print(f"{right} of {pairs} pairs that differ by over 20 % are in the right order: {100 * share:.1f} %")
    print(f"what is chosen takes {np.mean(lost):.3f} times the time of the best, at most {max(lost):.2f} times")
    return 0 if share >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
