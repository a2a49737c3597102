"""Times models at -O2 against -O0, both in one run, and prints the ratios.

    python3 levels.py [--nc ../target/release/nc] [--models FOLDER] [--peers BENCH] [--rounds 5] [--reps 5] [--profile]
                      [MODEL=INPUT ..]

FOLDER holds folders of a model each: `model.onnx` with `in.npz`, and `model.nir` with `nir_in.npz`, where there are such.
BENCH is the folder that `run.py` takes: the networks of the benches beside this script are timed. A pair MODEL=INPUT names
one more model. Without any of these, products that this script makes are timed: dense, pruned and spiking
ones. With --profile, each model is profiled first, on the same input. Levels take turns, so that a busy machine slows
both; what counts is the fastest run of each. The results of both levels are compared to the bit. Exits with 1 if a
model is slower than 1.05 times its time at -O0 or differs.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
import run as benches

HERE = os.path.dirname(os.path.abspath(__file__))


def layer(folder, name, n, density, activity, kind):
    """A model of one product n x n: `kind` says whether its input is `spike` or `real`."""
    rng = np.random.default_rng(7)
    w = rng.standard_normal((n, n)).astype(np.float32)
    w[rng.random((n, n)) >= density] = 0
    np.savez(os.path.join(folder, name + ".weights.npz"), w=w)
    with open(os.path.join(folder, name + ".nd"), "w") as f:
        f.write(
            f"net Layer(n: int = {n}) {{\n  file f = \"{name}.weights.npz\"\n  param W: real[n, n] = f[\"w\"]\n"
            f"  input x: {kind}[n]\n  output y = linear(x, W)\n}}\n"
        )
    x = rng.random((20, n))
    on = x < activity
    x = on if kind == "spike" else np.where(on, rng.standard_normal((20, n)), 0).astype(np.float32)
    np.savez(os.path.join(folder, name + ".npz"), x=x)
    return os.path.join(folder, name + ".nd"), os.path.join(folder, name + ".npz")


def made(folder):
    """Models that this script makes."""
    todo = [
        ("dense_1024", 1024, 1.0, 1.0, "real"),
        ("pruned_1024", 1024, 0.1, 1.0, "real"),
        ("pruned_4096", 4096, 0.1, 1.0, "real"),
        ("spiking_1024", 1024, 1.0, 0.05, "spike"),
        ("pruned_spiking_1024", 1024, 0.05, 0.1, "spike"),
    ]
    return [(name, *layer(folder, name, n, d, a, kind)) for name, n, d, a, kind in todo]


def found(folder):
    """The models of a folder of models."""
    out = []
    for name in sorted(os.listdir(folder)):
        for model, source in (("model.onnx", "in.npz"), ("model.nir", "nir_in.npz")):
            paths = [os.path.join(folder, name, p) for p in (model, source)]
            if all(os.path.exists(p) for p in paths):
                out.append((f"{name} {model.split('.')[1]}", *paths))
    return out


def benched(peers, folder):
    """The networks of the benches, with what nc is told about them."""
    out = []
    for name, prepare in benches.WORK.items():
        own = os.path.join(folder, name)
        os.makedirs(own)
        os.environ["BENCH_CACHE"] = os.path.join(own, "cache")
        w = prepare(os.path.abspath(peers), own)
        out.append((name, benches.place(w, own), None, w.nc))
    return out


def sample(source, folder, model):
    """The first sample of an input with a batch axis, for a model that runs one at a time."""
    if not model.endswith((".nir", ".nd")):
        return source
    z = np.load(source)
    arrays = {k: z[k] for k in z if not k.startswith("_")}
    first = os.path.join(folder, "first.npz")
    np.savez(first, **{k: a[:, 0] if a.ndim > 2 else a for k, a in arrays.items()})
    return first


def processor_time(nc, args, reps):
    """Seconds of processor time of one run: what more runs take, divided by their number."""
    used = []
    for n in (1, 1 + reps):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(nc, [*args, "--repeat", str(n), "--timings", "json"])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # The clock of processor time is no finer than this.
    return max(used[1] - used[0], 1e-4) / reps


def run(nc, args):
    done = subprocess.run([nc, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[0] if said else f"exit code {done.returncode}")
    return done.stdout


def measure(a, name, model, source, more=()):
    with tempfile.TemporaryDirectory() as tmp:
        extra = ["--no-profile"]
        # A .nir file has no tick; a `card.json` beside it may say which one it was made for.
        card = os.path.join(os.path.dirname(model), "card.json")
        tick = []
        if model.endswith(".nir") and os.path.exists(card):
            dt = json.load(open(card)).get("nir", {}).get("dt")
            tick = ["--dt", str(dt)] if dt else []
        given = ["--input", source] if source else list(more)
        try:
            try:
                run(a.nc, ["run", model, *tick, *given, "-O0", *extra, "--repeat", "1", "--timings", "json"])
            except RuntimeError:
                if not source:
                    raise
                given = ["--input", sample(source, tmp, model)]
            if a.profile:
                kept = os.path.join(tmp, "profile.json")
                run(a.nc, ["profile", model, *tick, *given, "-o", kept])
                extra = ["--profile", kept]
            best, out = {}, {}
            for turn in range(a.rounds):
                for level in ("0", "2"):
                    known = extra if level == "2" else ["--no-profile"]
                    args = ["run", model, *tick, *given, "-O" + level, *known]
                    if turn == 0:
                        out[level] = os.path.join(tmp, level + ".npz")
                        run(a.nc, [*args, "--output", out[level]])
                    if a.processor_time:
                        t = processor_time(a.nc, args, a.reps)
                    else:
                        text = run(a.nc, [*args, "--repeat", str(a.reps), "--timings", "json"])
                        t = min(json.loads(text.strip().splitlines()[-1])["seconds"])
                    best[level] = min(best.get(level, t), t)
        except RuntimeError as e:
            print(f"{name:28} not timed: {e}", flush=True)
            return True
        zero, two = (np.load(out[k]) for k in ("0", "2"))
        same = all(np.array_equal(zero[k], two[k], equal_nan=zero[k].dtype.kind == "f") for k in zero)
        ratio = best["2"] / best["0"]
        good = same and ratio <= 1.05
        note = "" if good else ("  SLOWER" if same else "  DIFFERS")
        print(
            f"{name:28} -O0 {1e3 * best['0']:10.3f} ms   -O2 {1e3 * best['2']:10.3f} ms   "
            f"ratio {ratio:5.2f}   {1 / ratio:6.2f} times as fast{note}",
            flush=True,
        )
        return good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "target", "release", "nc"))
    p.add_argument("--models")
    p.add_argument("--peers", help="the folder that run.py takes: times the networks of the benches")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--reps", type=int, default=5)
    p.add_argument("--profile", action="store_true")
    p.add_argument("--processor-time", action="store_true", help="time that other programs have no part in")
    p.add_argument("--only", default="", help="names that contain this")
    p.add_argument("pairs", nargs="*")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        work = found(a.models) if a.models else []
        work += benched(a.peers, tmp) if a.peers else []
        work += [(os.path.basename(m), m, i) for m, i in (pair.split("=", 1) for pair in a.pairs)]
        work = work or made(tmp)
        return 0 if all([measure(a, *w) for w in work if a.only in w[0]]) else 1


if __name__ == "__main__":
    sys.exit(main())
