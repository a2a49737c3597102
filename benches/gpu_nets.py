"""Networks that gpu.py times: models with their inputs, made from the same numbers wherever they are made."""
import functools
import importlib.util
import os
import shutil
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def module_of(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(path))
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


def mix(x):
    """SplitMix64: the same numbers with any version of numpy."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@functools.cache
def w1_net(n):
    """80 targets of each of `n` neurons, doubles dropped: rows of ascending targets. Also the voltages at the start."""
    with np.errstate(over="ignore"):
        draws = mix(np.arange(80 * n, dtype=np.uint64))
        post = ((draws >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int32).reshape(n, 80)
        v0 = -60.0 + 10.0 * (mix(np.arange(n, dtype=np.uint64) + np.uint64(1 << 40)) >> np.uint64(40)) / 2.0**24
    post.sort(axis=1)
    keep = np.ones(post.shape, bool)
    keep[:, 1:] = post[:, 1:] != post[:, :-1]
    pre = np.repeat(np.arange(n, dtype=np.int32), keep.sum(1))
    return pre, post[keep], v0.astype(np.float32)


class Job:
    """A model with its input, in a folder of its own."""

    def __init__(self, model, compiler=(), runner=(), samples=1, events=None, dense=True):
        self.model, self.compiler, self.runner, self.samples = model, list(compiler), list(runner), samples
        # Bytes of rows of weights in a run, from the results; whether a tick reads all weights where that is not known.
        self.events, self.dense = events, dense


def own(folder, name):
    """A model of this folder, with what it includes."""
    text = open(os.path.join(HERE, name)).read()
    with open(os.path.join(folder, name), "w") as f:
        f.write(text.replace("../examples/cuba.nd", "cuba.nd"))
    shutil.copy(os.path.join(ROOT, "examples", "cuba.nd"), folder)
    return os.path.join(folder, name)


def w1(n, ticks):
    def make(peers, folder):
        pre, post, v0 = w1_net(n)
        pairs = np.stack([pre, post], 1)
        exc = pre < n * 4 // 5
        np.savez(os.path.join(folder, "w1_cuba.npz"), exc=pairs[exc], inh=pairs[~exc], v0=v0)
        rows = lambda z: 80 * 4 * float(z["spikes"].astype(np.int64).sum())
        model = own(folder, "w1_cuba.nd")
        return Job(model, ["--dim", f"n={n}"], ["--steps", str(ticks), "--max-memory", "64G"], events=rows, dense=False)

    return make


def w2(batch):
    def make(peers, folder):
        m = module_of(os.path.join(peers, "w2_dense_snn", "net.py"), "net_w2")
        weights = {f"w{k + 1}": w.T for k, w in enumerate(m.weights())}
        run = module_of(os.path.join(HERE, "run.py"), "bench_run")
        run.save_safetensors(os.path.join(folder, "w2_dense_snn.safetensors"), weights)
        x = m.inputs(batch) != 0
        np.savez(os.path.join(folder, "in.npz"), x=x if batch > 1 else x[:, 0])
        most = 4 * sum(w.size for w in weights.values())

        def rows(z):
            # A row is read once for all samples at best, and all rows at most once in a tick.
            counts = [float(x.sum()), float(z["spikes1"].sum()), float(z["spikes2"].sum())]
            return min(sum(4 * c * w.shape[0] for c, w in zip(counts, weights.values())), most * len(x))

        return Job(own(folder, "w2_dense_snn.nd"), [], ["--input", os.path.join(folder, "in.npz")], batch, rows)

    return make


def w4(peers, folder):
    m = module_of(os.path.join(peers, "w4_rnn_step", "net.py"), "net_w4")
    path, states = m.onnx_model("lstm", 512, 1, m.T, os.path.join(folder, "lstm.onnx"))
    zeros = {s: np.zeros((1, 1, 512), np.float32) for s in states}
    np.savez(os.path.join(folder, "in.npz"), X=m.inputs(512))
    np.savez(os.path.join(folder, "first.npz"), **zeros)
    bind = ["--bind", os.path.join(folder, "first.npz")]
    return Job(path, ["--stream", *bind], ["--input", os.path.join(folder, "in.npz")])


def w5(peers, folder):
    m = module_of(os.path.join(peers, "w5_egru", "net.py"), "net_w5")
    arrays = {}
    for k, (wx, wh, b) in enumerate(m.weights()):
        arrays[f"{k}.wx"], arrays[f"{k}.b"] = wx.T, b
        arrays[f"{k}.whg"], arrays[f"{k}.whz"] = wh[:, : 2 * m.H].T, wh[:, 2 * m.H :].T
    run = module_of(os.path.join(HERE, "run.py"), "bench_run")
    run.save_safetensors(os.path.join(folder, "w5_egru.safetensors"), arrays)
    x = m.inputs()
    np.savez(os.path.join(folder, "in.npz"), x=x)

    def rows(z):
        n = [float(z[f"events{k}"].sum()) for k in (1, 2, 3)]
        return (np.count_nonzero(x) + 2 * (n[0] + n[1]) + n[2]) * 3 * m.H * 4

    return Job(own(folder, "w5_egru.nd"), ["--dim", f"n={m.H}"], ["--input", os.path.join(folder, "in.npz")], 1, rows)


def example(name):
    def make(peers, folder):
        model = os.path.join(ROOT, "examples", f"{name}.nd")
        if name == "cuba":
            return Job(model, [], ["--steps", "2000"], dense=False)
        return Job(model, [], ["--input", os.path.join(ROOT, "examples", "data", f"{name}.npz")])

    return make


EXAMPLES = {n: example(n) for n in ("cuba", "classifier", "egru_lm", "learn", "lsm", "motion")}
PEERS = {
    "w1_4000": w1(4000, 5000),
    "w1_40000": w1(40000, 2000),
    "w1_400000": w1(400000, 500),
    "w2_1": w2(1),
    "w2_32": w2(32),
    "w2_1024": w2(1024),
    "w4": w4,
    "w5": w5,
}
# What `run` of peers needs of their folder.
PEER_FILES = ["w2_dense_snn/net.py", "w4_rnn_step/net.py", "w5_egru/net.py"]
