"""Carries compiled models to a machine with a graphics processor, runs them there and says how right and how fast they are.

    python3 gpu.py pack FOLDER --nc NC [--peers BENCH] [--only NAME,..]     # where nc has the feature mlir; no device
    python3 gpu.py run FOLDER --nc NC [--reps 11] [--json FILE]             # where a device is; any build of nc

`pack` writes a folder for each model: the bundle for sm_80 and sm_90, the input, and what the processor computes with
`--target cpu`. With --peers (see run.py) these are the networks w1, w2 and w5; models of ../examples come without. `run`
needs nothing but the folder, nc and NVIDIA's driver. For each model it prints

- errors: bits that differ from what was packed, and the largest difference; a model with any makes it exit with 1
- the median time of a tick, input and state on the device, launches included
- a floor: the time in which the device copies the states that a tick reads and writes (for w2 and w5 the weights, too), at
  the bandwidth that is measured first, by copies on the device
- with torch: the time of a tick of w2's layers as plain calls, and as a captured graph

Nothing of `run` beyond the refusal without a driver has been tried yet: there was no device where it was written.
"""
import argparse
import ctypes
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

# Name, model, arguments of the compiler, arguments of a run, whether every tick reads all weights.
EXAMPLES = [("cuba", "examples/cuba.nd", [], ["--steps", "2000"], False)] + [
    (name, f"examples/{name}.nd", [], ["--input", os.path.join(ROOT, "examples", "data", f"{name}.npz")], False)
    for name in ("classifier", "egru_lm", "learn", "lsm", "motion")
]


def bench():
    """The module run.py."""
    spec = importlib.util.spec_from_file_location("bench_run", os.path.join(HERE, "run.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(command):
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def workload(name, peers, tmp):
    """A network of run.py: its model in `tmp`, arguments of the compiler and of a run."""
    run = bench()
    os.environ["BENCH_CACHE"] = os.path.join(tmp, "cache")
    w = run.w1(int(name.split("_")[1]))(peers, tmp) if name.startswith("w1_") else run.WORK[name](peers, tmp)
    text = open(os.path.join(HERE, w.model)).read()
    with open(os.path.join(tmp, w.model), "w") as f:
        f.write(text.replace("../examples/cuba.nd", "cuba.nd"))
    shutil.copy(os.path.join(ROOT, "examples", "cuba.nd"), tmp)
    compiler, runner, rest = [], [], list(w.nc)
    while rest:
        flag, value = rest.pop(0), rest.pop(0)
        (compiler if flag == "--dim" else runner).extend([flag, value])
    return os.path.join(tmp, w.model), compiler, runner, name in ("w2", "w5")


def pack(a):
    todo = [(n, os.path.join(ROOT, m), c, r, d) for n, m, c, r, d in EXAMPLES]
    with tempfile.TemporaryDirectory() as tmp:
        if a.peers:
            for name in ["w1_40000", "w1_400000", "w2", "w5"]:
                if not a.only or name in a.only:
                    folder = os.path.join(tmp, name)
                    os.makedirs(folder)
                    todo.append((name, *workload(name, os.path.abspath(a.peers), folder)))
        for name, model, compiler, runner, dense in todo:
            if a.only and name not in a.only:
                continue
            out = os.path.join(a.folder, name)
            os.makedirs(out, exist_ok=True)
            print(name, call([a.nc, "compile", model, *compiler, "--target", "gpu", "-o", out]).splitlines()[0])
            runner = list(runner)
            if "--input" in runner:
                at = runner.index("--input") + 1
                shutil.copy(runner[at], os.path.join(out, "in.npz"))
                call([a.nc, "run", model, *compiler, *runner, "--output", os.path.join(out, "want.npz")])
                runner[at] = "in.npz"
            else:
                call([a.nc, "run", model, *compiler, *runner, "--output", os.path.join(out, "want.npz")])
            with open(os.path.join(out, "run.json"), "w") as f:
                json.dump({"run": runner, "dense": dense}, f)


class Bandwidth:
    """Bytes per second that the first device reads and writes, by copies on the device."""

    def __init__(self):
        cuda = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()

        def check(code, call):
            if code:
                raise RuntimeError(f"{call}: error {code}")

        check(cuda.cuInit(0), "cuInit")
        check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
        check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
        check(cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")
        n, rounds = 1 << 30, 20
        a, b = ctypes.c_uint64(), ctypes.c_uint64()
        for p in (a, b):
            check(cuda.cuMemAlloc_v2(ctypes.byref(p), ctypes.c_size_t(n)), "cuMemAlloc")
        best = float("inf")
        for _ in range(5):
            check(cuda.cuCtxSynchronize(), "cuCtxSynchronize")
            start = time.perf_counter()
            for _ in range(rounds):
                check(cuda.cuMemcpyDtoD_v2(a, b, ctypes.c_size_t(n)), "cuMemcpyDtoD")
            check(cuda.cuCtxSynchronize(), "cuCtxSynchronize")
            best = min(best, time.perf_counter() - start)
        for p in (a, b):
            cuda.cuMemFree_v2(p)
        cuda.cuDevicePrimaryCtxRelease_v2(device)
        self.value = 2 * n * rounds / best


def errors(want, got):
    """Numbers that differ in any bit, and the largest difference."""
    bad, most = 0, 0.0
    with np.load(want) as w, np.load(got) as g:
        for name in w.files:
            x, y = w[name], g[name]
            if x.shape != y.shape or x.dtype != y.dtype:
                raise RuntimeError(f"{name} is {y.dtype}{y.shape}, not {x.dtype}{x.shape}")
            kind = f"u{x.dtype.itemsize}"
            differ = x.view(kind) != y.view(kind)
            if x.dtype.kind == "f":
                differ &= ~(np.isnan(x) & np.isnan(y))
            bad += int(differ.sum())
            if differ.any():
                most = max(most, float(np.nanmax(np.abs(x.astype(np.float64) - y.astype(np.float64)))))
    return bad, most


def floor(plan, dense):
    """Bytes that a tick reads and writes at least."""
    size = {"f64": 8, "i64": 8, "u64": 8, "f32": 4, "i32": 4, "u32": 4, "f16": 2, "bf16": 2, "i16": 2, "u16": 2}
    of = lambda role: sum(b["len"] * size.get(b["elem"], 1) for b in plan["buffers"] if b["role"] == role)
    return 2 * of("state") + (of("const") if dense else 0)


def beside(batch):
    """Seconds of a tick of layers as in w2, by torch: plain calls, and a captured graph; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    sizes, dev = [784, 512, 512, 10], "cuda"
    ws = [torch.randn(o, i, device=dev) * 0.05 for i, o in zip(sizes, sizes[1:])]
    vs = [torch.zeros(batch, o, device=dev) for o in sizes[1:]]
    x = (torch.rand(batch, sizes[0], device=dev) < 0.1).float()

    def tick():
        y = x
        for w, v in zip(ws, vs):
            v.mul_(0.9).add_(y @ w.T)
            y = (v > 1).float()
            v.sub_(y)
        return y

    def timed(f, ticks=1000):
        for _ in range(20):
            f()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(ticks):
            f()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / ticks

    with torch.no_grad():
        eager = timed(tick)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            tick()
        return {"eager": eager, "graph": timed(graph.replay)}


def run(a):
    names = sorted(n for n in os.listdir(a.folder) if os.path.exists(os.path.join(a.folder, n, "run.json")))
    if not names:
        sys.exit(f"{a.folder} has no packed models")
    try:
        bandwidth = Bandwidth().value
        print(f"bandwidth {bandwidth / 1e9:.0f} GB/s")
    except (OSError, RuntimeError) as e:
        bandwidth = None
        print(f"bandwidth not measured: {e}")
    rows, failed = {}, False
    for name in names:
        folder = os.path.join(a.folder, name)
        with open(os.path.join(folder, "run.json")) as f:
            how = json.load(f)
        with open(os.path.join(folder, "gpu.json")) as f:
            plan = json.load(f)
        options = [os.path.join(folder, x) if x == "in.npz" else x for x in how["run"]]
        command = [a.nc, "run", folder, *options, "--max-memory", "64G"]
        try:
            with tempfile.TemporaryDirectory() as tmp:
                out = os.path.join(tmp, "out.npz")
                call([*command, "--output", out])
                bad, most = errors(os.path.join(folder, "want.npz"), out)
            t = json.loads(call([*command, "--repeat", str(a.reps), "--timings", "json"]).strip().splitlines()[-1])
        except RuntimeError as e:
            print(f"{name:12} FAILED {e}")
            failed = True
            continue
        tick = statistics.median(t["seconds"]) / t["ticks"]
        least = floor(plan, how["dense"]) / bandwidth if bandwidth else None
        rows[name] = {"differ": bad, "most": most, "tick": tick, "floor": least, "launches": len(plan["kernels"])}
        failed |= bad > 0
        line = f"{name:12} {bad} differ (at most {most:g}), {tick * 1e6:.2f} us per tick, {len(plan['kernels'])} kernels"
        print(line + (f", floor {least * 1e6:.2f} us" if least else ""))
    rows["torch w2"] = beside(1)
    if rows["torch w2"]:
        print("torch, w2    " + ", ".join(f"{k} {v * 1e6:.2f} us per tick" for k, v in rows["torch w2"].items()))
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"bandwidth": bandwidth, "models": rows}, f, indent=1)
    sys.exit(1 if failed else 0)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["pack", "run"])
    p.add_argument("folder")
    p.add_argument("--nc", default=os.path.join(ROOT, "target", "release", "nc"))
    p.add_argument("--peers")
    p.add_argument("--only", type=lambda s: s.split(","))
    p.add_argument("--reps", type=int, default=11)
    p.add_argument("--json")
    a = p.parse_args()
    pack(a) if a.what == "pack" else run(a)


if __name__ == "__main__":
    main()
