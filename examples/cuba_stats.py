"""Compares the statistics of cuba.nd with those of the same model in Brian2, over several seeds.

    python3 cuba_stats.py --nc ../target/release/nc [--seeds 10] [--seconds 2] [--codegen cython]

Needs numpy and brian2. Each seed draws another network and other initial voltages. For each run, the first 0.2 s are left
out; then the mean rate over all neurons is taken, and the coefficient of variation of the intervals between spikes, as the
mean over the neurons with at least 5 intervals. Prints a table in Markdown, and exits with 1 if the mean of nc lies outside
of the range of the seeds of Brian2 in one of the two.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
DT = 1e-4
DROP = 0.2


def statistics(ticks, cells, n, seconds):
    """Mean rate in Hz and mean coefficient of variation, from spikes (tick, cell)."""
    late = ticks >= round(DROP / DT)
    ticks, cells = ticks[late], cells[late]
    rate = len(ticks) / n / (seconds - DROP)
    order = np.lexsort((ticks, cells))
    ticks, cells = ticks[order].astype(float), cells[order]
    gap, same = np.diff(ticks), np.diff(cells) == 0
    gap, cell = gap[same], cells[1:][same]
    count = np.bincount(cell, minlength=n)
    mean = np.bincount(cell, gap, n) / np.maximum(count, 1)
    square = np.bincount(cell, (gap - mean[cell]) ** 2, n) / np.maximum(count - 1, 1)
    many = count >= 5
    return rate, float(np.mean(np.sqrt(square[many]) / mean[many]))


def run_nc(nc, n, seconds, seed):
    """One run of cuba.nd with another seed."""
    with open(os.path.join(HERE, "cuba.nd")) as f:
        text = f.read()
    if "seed 42" not in text:
        raise SystemExit("cuba.nd has another seed than 42")
    with tempfile.TemporaryDirectory() as tmp:
        model, out = os.path.join(tmp, "cuba.nd"), os.path.join(tmp, "out.npz")
        with open(model, "w") as f:
            f.write(text.replace("seed 42", f"seed {seed}"))
        command = [nc, "run", model, "--dim", f"n={n}", "--duration", f"{seconds}s", "--no-model-probes", "--output", out]
        subprocess.run(command, check=True)
        with np.load(out) as z:
            return statistics(*np.nonzero(z["spikes"]), n, seconds)


def run_brian(n, seconds, seed, codegen):
    """One run of the same model in Brian2."""
    import brian2 as b

    b.prefs.codegen.target = codegen
    b.BrianLogger.suppress_hierarchy("brian2")
    b.start_scope()
    b.seed(seed)
    b.defaultclock.dt = DT * b.second
    names = dict(tau_m=20 * b.ms, tau_e=5 * b.ms, tau_i=10 * b.ms, E_L=-49 * b.mV, V_th=-50 * b.mV, V_r=-60 * b.mV)
    equations = """dv/dt = (ge + gi - (v - E_L)) / tau_m : volt (unless refractory)
                   dge/dt = -ge / tau_e : volt
                   dgi/dt = -gi / tau_i : volt"""
    cells = b.NeuronGroup(
        n, equations, threshold="v > V_th", reset="v = V_r", refractory=5 * b.ms, method="exact", namespace=names
    )
    cells.v = "-60 * mV + 10 * mV * rand()"
    ends = n * 4 // 5
    exc = b.Synapses(cells[:ends], cells, on_pre="ge += 1.62 * mV", delay=0.1 * b.ms)
    inh = b.Synapses(cells[ends:], cells, on_pre="gi += -9 * mV", delay=0.1 * b.ms)
    exc.connect(p=0.02)
    inh.connect(p=0.02)
    monitor = b.SpikeMonitor(cells)
    b.Network(cells, exc, inh, monitor).run(seconds * b.second)
    ticks = np.round(np.asarray(monitor.t / b.second) / DT).astype(int)
    return statistics(ticks, np.asarray(monitor.i), n, seconds)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "target", "release", "nc"))
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--n", type=int, default=4000)
    p.add_argument("--codegen", default="cython", choices=["cython", "numpy"])
    a = p.parse_args()
    runs = {"Brian2": [], "nc": []}
    for seed in range(1, a.seeds + 1):
        runs["nc"].append(run_nc(a.nc, a.n, a.seconds, seed))
        runs["Brian2"].append(run_brian(a.n, a.seconds, seed, a.codegen))
        print(f"seed {seed}: " + ", ".join(f"{k} {v[-1][0]:.4f} Hz, CV {v[-1][1]:.4f}" for k, v in runs.items()), file=sys.stderr, flush=True)
    print("| | seeds | rate: mean (sd) [range], Hz | CV: mean (sd) [range] |\n|---|---|---|---|")
    good = True
    for name, values in runs.items():
        cells = [f"{c.mean():.3f} ({c.std(ddof=1):.3f}) [{c.min():.3f} .. {c.max():.3f}]" for c in np.array(values).T]
        print(f"| {name} | {len(values)} | " + " | ".join(cells) + " |")
    for ours, theirs in zip(np.array(runs["nc"]).T, np.array(runs["Brian2"]).T):
        good = good and theirs.min() <= ours.mean() <= theirs.max()
    print("nc lies within the range of the seeds of Brian2" if good else "nc lies OUTSIDE of the range of the seeds of Brian2")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
