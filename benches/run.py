"""Times nc beside hand-written C on the same networks, one thread, and prints the ratios.

    python3 run.py --peers BENCH [--nc ../target/release/nc] [--only w1_4000,w1_40000,w2,w5] [--rounds 5] [--reps 11]

BENCH is a folder with `w1_cuba`, `w2_dense_snn` and `w5_egru`, each with a `net.py` (seeded weights, connectivity, inputs)
and a `run_native_c.py` that prints one JSON line with the median `seconds` of a run. Needs numpy and gcc.

Contenders take turns, so that a busy machine slows both. The ratio is that of the best medians over the rounds; the range
is that of the ratios of single rounds. Times are those of the ticks alone: inputs, weights and state are in memory.
"""
import argparse
import importlib.util
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def save_safetensors(path, arrays):
    """Writes float32 arrays: the length of a JSON header, the header, the data."""
    header, at = {}, 0
    arrays = {k: np.ascontiguousarray(a, np.float32) for k, a in arrays.items()}
    for name, a in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in arrays.values():
            f.write(a.tobytes())


def peer(folder):
    """The module `net.py` of a peer's folder."""
    path = os.path.join(folder, "net.py")
    spec = importlib.util.spec_from_file_location("net_" + os.path.basename(folder), path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    spec.loader.exec_module(module)
    sys.path.remove(folder)
    return module


class Work:
    """A prepared workload: how nc and the peer are called, and how their counts are compared."""

    def __init__(self, model, nc, c, folder, check, tolerance):
        self.model, self.nc, self.c, self.folder = model, nc, c, folder
        self.check, self.tolerance = check, tolerance


def w1(n):
    def prepare(peers, tmp):
        folder = os.path.join(peers, "w1_cuba")
        net = peer(folder).net(n)
        pairs = np.stack([net["pre"], net["post"]], 1).astype(np.int64)
        exc = pairs[:, 0] < net["ne"]
        np.savez(os.path.join(tmp, "w1_cuba.npz"), exc=pairs[exc], inh=pairs[~exc], v0=net["v0"].astype(np.float32))
        # A chaotic network: rounding that differs changes single spikes, and the counts by a few per cent.
        return Work(
            "w1_cuba.nd",
            ["--dim", f"n={n}", "--duration", "1s"],
            ["--model", "cuba", "--n", str(n)],
            folder,
            lambda z, c: ([int(z["spikes"].astype(np.int64).sum())], [c["spikes"]]),
            0.03,
        )

    return prepare


def w2(peers, tmp):
    folder = os.path.join(peers, "w2_dense_snn")
    m = peer(folder)
    save_safetensors(os.path.join(tmp, "w2_dense_snn.safetensors"), {f"w{k + 1}": w.T for k, w in enumerate(m.weights())})
    source = os.path.join(tmp, "w2.npz")
    np.savez(source, x=m.inputs(1)[:, 0] != 0)
    counts = lambda z, c: ([int(z[f"spikes{k}"].sum()) for k in (1, 2, 3)], c["spikes"])
    return Work("w2_dense_snn.nd", ["--input", source], ["--batch", "1"], folder, counts, 0.0)


def w5(peers, tmp):
    folder = os.path.join(peers, "w5_egru")
    m = peer(folder)
    arrays = {}
    for k, (wx, wh, b) in enumerate(m.weights()):
        arrays[f"{k}.wx"], arrays[f"{k}.b"] = wx.T, b
        arrays[f"{k}.whg"], arrays[f"{k}.whz"] = wh[:, : 2 * m.H].T, wh[:, 2 * m.H :].T
    save_safetensors(os.path.join(tmp, "w5_egru.safetensors"), arrays)
    source = os.path.join(tmp, "w5.npz")
    np.savez(source, x=m.inputs())
    events = lambda z, c: ([int(sum(z[f"events{k}"].sum() for k in (1, 2, 3)))], [c["events"]])
    return Work("w5_egru.nd", ["--dim", f"n={m.H}", "--input", source], [], folder, events, 0.001)


WORK = {"w1_4000": w1(4000), "w1_40000": w1(40000), "w2": w2, "w5": w5}


def place(w, folder):
    """Writes the model of a workload to a folder, with what it needs."""
    text = open(os.path.join(HERE, w.model)).read()
    path = os.path.join(folder, w.model)
    with open(path, "w") as f:
        f.write(text.replace("../examples/cuba.nd", "cuba.nd"))
    shutil.copy(os.path.join(HERE, "..", "examples", "cuba.nd"), folder)
    return path


def last_json(command):
    """The last line that a command prints, as JSON."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(name, a):
    with tempfile.TemporaryDirectory() as tmp:
        os.environ["BENCH_CACHE"] = os.path.join(tmp, "cache")
        w = WORK[name](os.path.abspath(a.peers), tmp)
        model = place(w, tmp)
        # The peers build into a folder beside themselves: work on a copy.
        copy = os.path.join(tmp, "peers", os.path.basename(w.folder))
        shutil.copytree(w.folder, copy)
        shutil.copytree(os.path.join(a.peers, "_lib"), os.path.join(tmp, "peers", "_lib"))
        for root, folders, files in os.walk(os.path.join(tmp, "peers")):
            for entry in folders + files:
                os.chmod(os.path.join(root, entry), 0o755)
        os.makedirs(os.path.join(copy, ".cache"), exist_ok=True)
        out = os.path.join(tmp, "out.npz")
        nc = [a.nc, "run", model, *w.nc, "--threads", "1", "--output", out]
        nc += ["--repeat", str(a.reps), "--timings", "json"]
        c = [sys.executable, os.path.join(copy, "run_native_c.py"), *w.c, "--reps", str(a.reps)]
        if a.cpu is not None:
            nc = ["taskset", "-c", str(a.cpu), *nc]
            os.environ["CPU"] = str(a.cpu)
        ours, theirs, lows = [], [], []
        for _ in range(a.rounds):
            t = last_json(nc)
            ours.append(statistics.median(t["seconds"]))
            d = last_json(c)
            theirs.append(d["seconds"])
            lows.append((min(t["seconds"]), d["sec_min"]))
        got, want = w.check(np.load(out), d["check"])
        same = all(abs(g - v) <= w.tolerance * v for g, v in zip(got, want))
        ratios = [x / y for x, y in zip(ours, theirs)]
        least = min(x for x, _ in lows) / min(y for _, y in lows)
        print(
            f"{name:9} nc {1e3 * min(ours):9.3f} ms   C {1e3 * min(theirs):9.3f} ms   "
            f"ratio {min(ours) / min(theirs):5.2f} [{min(ratios):.2f} .. {max(ratios):.2f}], of the fastest runs {least:.2f}   "
            f"counts {got} {'agree with' if same else 'DIFFER from'} {want}",
            flush=True,
        )
        return same


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peers", required=True)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "target", "release", "nc"))
    p.add_argument("--only", default=",".join(WORK))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--reps", type=int, default=11)
    p.add_argument("--cpu", type=int, help="pin both to this core")
    a = p.parse_args()
    unknown = [n for n in a.only.split(",") if n not in WORK]
    if unknown:
        raise SystemExit(f"{unknown[0]} is none of {', '.join(WORK)}")
    return 0 if all([measure(name, a) for name in a.only.split(",")]) else 1


if __name__ == "__main__":
    sys.exit(main())
