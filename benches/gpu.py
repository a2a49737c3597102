"""Fills a folder with what a machine with a graphics processor needs, and runs models there: how right, how fast.

    python3 gpu.py fill FOLDER --nc NC [--runner NC2] [--peers BENCH] [--models DATA --suites RUN.PY] [--only NAME,..]
    python3 gpu.py run FOLDER|FOLDER.tar.xz [--nc NC] [--reps 7] [--budget 220] [--json FILE] [--only NAME,..]

`fill` needs a build of nc with the feature mlir and no device. It keeps the code of every model (`--kernel-cache`) and
copies what the models need, but large networks, which `run` makes anew from the same numbers. --peers (see run.py) adds
W1, W2, W4 and W5; --models a folder of trained models and recordings, and --suites the script that holds them to their
golden outputs; --runner a build of nc for the other machine, which needs no feature. FOLDER.tar.xz beside FOLDER is what
to carry.

`run` needs nothing but that, Python with numpy (and torch, for what stands beside it), and NVIDIA's driver. For each
model it prints
- how many numbers differ in any bit from what `--target cpu` computes there; a model with any makes it exit with 1
- the median time of a tick on the device, by the device's own clock, and by the wall's with inputs and results copied
- a floor: the time in which the bytes that a tick cannot but move are read and written at the bandwidth measured first:
  states both ways, and weights, where a tick reads all of them; where events decide, the rows of the events
- with torch: the same network, called tick by tick, and as a captured graph of many ticks
One model that fails does not stop the others, and nothing begins after --budget seconds.
"""
import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gpu_nets import EXAMPLES, PEER_FILES, PEERS, ROOT
from gpu_torch import beside

BEGIN = time.monotonic()

# Networks that are also timed with other numbers of blocks than the default.
SWEPT = ["cuba", "egru_lm", "motion", "w1_4000", "w1_40000", "w2_1", "w2_32", "w4", "w5"]


def say(text):
    print(f"[{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def call(command, timeout=None, env=None):
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, env=env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ..: {done.stderr.strip()[-600:]}")
    return done.stdout


def fill(a):
    os.makedirs(a.folder, exist_ok=True)
    cache = os.path.join(a.folder, "kernels")
    if a.runner:
        shutil.copy(a.runner, os.path.join(a.folder, "nc"))
        subprocess.run(["strip", os.path.join(a.folder, "nc")], check=False)
    peers = a.peers and os.path.abspath(a.peers)
    todo = dict(EXAMPLES)
    if peers:
        todo.update(PEERS)
        for f in PEER_FILES:
            to = os.path.join(a.folder, "peers", f)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(os.path.join(peers, f), to)
        os.makedirs(os.path.join(a.folder, "peers", "_lib"), exist_ok=True)
    facts_file = os.path.join(a.folder, "facts.json")
    facts = json.load(open(facts_file)) if os.path.exists(facts_file) else {}
    for name, make in todo.items():
        if a.only and name not in a.only:
            continue
        with tempfile.TemporaryDirectory() as tmp:
            try:
                job = make(peers, tmp)
                out = os.path.join(tmp, "out")
                command = [a.nc, "compile", job.model, *job.compiler, "--target", "gpu", "--samples", str(job.samples)]
                if "--max-memory" in job.runner:
                    command += ["--max-memory", "64G"]
                for blocks in a.blocks if name in SWEPT else []:
                    call([*command, "--blocks", blocks, "--kernel-cache", cache, "-o", out])
                told = call([*command, "--kernel-cache", cache, "-o", out])
                plan = json.load(open(os.path.join(out, "gpu.json")))
                size = lambda b: b["len"] * {"64": 8, "32": 4, "16": 2}.get(b["elem"][-2:], 1)
                of = lambda role: sum(size(b) for b in plan["buffers"] if b["role"] == role)
                facts[name] = {"state": of("state"), "const": of("const"), "blocks": plan["parts"],
                               "threads": plan["threads"], "kernels": len(plan["kernels"])}
                json.dump(facts, open(facts_file, "w"), indent=1)
                say(f"{name}: {told.splitlines()[0]}")
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
                say(f"{name} FAILED: {e}")
    env = {**os.environ, "NC_KERNEL_CACHE": os.path.abspath(cache)}
    if not a.only:
        for paths in ["tests/filetests"]:
            done = subprocess.run([a.nc, "test", "--target", "gpu-host", paths], cwd=ROOT, env=env,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            say(f"nc test --target gpu-host {paths}: {(done.stdout.strip().splitlines() or ['nothing'])[-1]}")
    if a.models and a.suites:
        models(a, env)
    archive = os.path.normpath(a.folder) + ".tar.xz"
    with tarfile.open(archive, "w:xz", preset=6) as tar:
        tar.add(a.folder, arcname="gpu")
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(a.folder) for f in files)
    say(f"{a.folder}: {total / 2**20:.1f} MiB, {archive}: {os.path.getsize(archive) / 2**20:.1f} MiB")


def models(a, env):
    """Copies trained models and recordings, and keeps the code of each by running them on this processor."""
    data = os.path.join(a.folder, "data")
    for suite in ("models", "recordings"):
        source = os.path.join(a.models, suite)
        if os.path.isdir(source):
            skip = shutil.ignore_patterns("eval*.npz", "_lib", *a.skip)
            shutil.copytree(source, os.path.join(data, suite), ignore=skip, dirs_exist_ok=True)
    shutil.copy(a.suites, os.path.join(a.folder, "suites.py"))
    for suite in ("recordings", "models"):
        command = [sys.executable, a.suites, "--nc", a.nc, "--suite", suite, "--data", os.path.join(data, suite),
                   "--target", "gpu-host", "--timeout", str(a.timeout)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in done.stdout.strip().splitlines():
            say(f"{suite}: {line}")


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
            x, y = np.atleast_1d(w[name]), np.atleast_1d(g[name])
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


class Runner:
    def __init__(self, a, bandwidth):
        self.a, self.bandwidth, self.rows = a, bandwidth, {}
        self.end = BEGIN + a.budget
        self.cache = os.path.join(a.folder, "kernels")
        path = os.path.join(a.folder, "facts.json")
        self.facts = json.load(open(path)) if os.path.exists(path) else {}

    def left(self):
        return self.end - time.monotonic()

    def prepare(self, name, make, folder):
        """Makes a network, and what this processor computes."""
        os.makedirs(folder)
        job = make(os.path.join(self.a.folder, "peers"), folder)
        want = os.path.join(folder, "want.npz")
        call([self.a.nc, "run", job.model, *job.compiler, *job.runner, "--output", want], max(self.left(), 1))
        return job, want

    def one(self, name, job, want, blocks=None):
        a, folder = self.a, os.path.dirname(want)
        got = os.path.join(folder, "got.npz")
        command = [a.nc, "run", job.model, *job.compiler, *job.runner, "--target", "gpu", "--kernel-cache", self.cache]
        command += ["--repeat", str(a.reps), "--timings", "json", "--output", got]
        if blocks:
            command += ["--blocks", blocks]
        t = json.loads(call(command, max(min(self.left(), a.each), 1)).strip().splitlines()[-1])
        bad, most = errors(want, got)
        ticks, fact = t["ticks"], dict(self.facts.get(name, {}))
        wall = statistics.median(t["seconds"]) / ticks
        device = statistics.median(t["device_seconds"]) / ticks if "device_seconds" in t else None
        least = None
        if self.bandwidth and fact:
            moved = 2 * fact["state"] * job.samples
            if job.events:
                with np.load(want) as z:
                    moved += job.events(z) / ticks
            elif job.dense:
                moved += fact["const"]
            least = moved / self.bandwidth
        row = {"differ": bad, "most": most, "ticks": ticks, "samples": job.samples, "device": device, "wall": wall,
               "floor": least, "compile": t["compile_seconds"], **fact}
        shown = device if device is not None else wall
        if blocks:
            name, row["blocks"], fact["blocks"] = f"  {blocks} blocks", int(blocks), int(blocks)
        line = f"{name:12} {bad} differ" + (f" (at most {most:g})" if bad else "")
        line += f", {shown * 1e6:9.3f} us per tick on the device, {wall * 1e6:9.3f} with copies"
        if job.samples > 1:
            line += f", {shown / job.samples * 1e9:.2f} ns per sample tick"
        line += f", floor {least * 1e6:.3f}" if least else ""
        say(line + f", {fact.get('blocks', '?')} blocks of {fact.get('threads', '?')}, {ticks} ticks")
        return row

    def tried(self, name, what):
        try:
            self.rows[name] = what()
        except Exception as e:  # noqa: BLE001 - whatever fails, the others are run
            self.rows[name] = {"failed": str(e) or type(e).__name__}
            say(f"{name:12} FAILED {self.rows[name]['failed']}")

    def models(self):
        a = self.a
        have_peers = os.path.isdir(os.path.join(a.folder, "peers"))
        todo = {**EXAMPLES, **(PEERS if have_peers else {})}
        todo = {n: m for n, m in todo.items() if not a.only or n in a.only}
        with tempfile.TemporaryDirectory() as tmp, ThreadPoolExecutor(4) as pool:
            # Made first and run last, since it takes long to make; the device is free for the others meanwhile.
            order = sorted(todo, key=lambda n: n != "w1_400000")
            ready = {n: pool.submit(self.prepare, n, todo[n], os.path.join(tmp, n)) for n in order}
            for name in sorted(todo, key=lambda n: n == "w1_400000"):
                try:
                    job, want = ready[name].result(timeout=max(self.left(), 1))
                    if self.left() <= 0:
                        raise RuntimeError("no time is left")
                    self.tried(name, lambda: self.one(name, job, want))
                    for blocks in a.blocks if name in SWEPT else []:
                        self.tried(f"{name} blocks {blocks}", lambda b=blocks: self.one(name, job, want, b))
                except Exception as e:  # noqa: BLE001 - whatever fails, the others are run
                    self.rows[name] = {"failed": str(e) or type(e).__name__}
                    say(f"{name:12} FAILED {self.rows[name]['failed']}")
            for f in ready.values():
                f.cancel()

    def tests(self):
        """The file tests and examples, and the suites."""
        a = self.a
        env = {**os.environ, "NC_KERNEL_CACHE": os.path.abspath(self.cache)}
        inner = sorted(os.listdir(os.path.join(ROOT, "tests/filetests")))
        folders = [d for d in (os.path.join("tests/filetests", d) for d in inner) if os.path.isdir(os.path.join(ROOT, d))]
        groups = {d: [a.nc, "test", "--target", "gpu", d] for d in folders}
        suites = os.path.join(a.folder, "suites.py")
        for suite in ("recordings", "models"):
            if os.path.exists(suites) and os.path.isdir(os.path.join(a.folder, "data", suite)):
                groups[suite] = [sys.executable, suites, "--nc", a.nc, "--suite", suite, "--data",
                                 os.path.join(a.folder, "data", suite), "--target", "gpu", "--jobs", "2"]

        def run(name):
            if self.left() <= 1:
                return name, None, "no time is left"
            try:
                done = subprocess.run(groups[name], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, timeout=min(self.left(), a.limit))
                return name, done.returncode, done.stdout
            except subprocess.TimeoutExpired as e:
                return name, None, f"not done in time\n{(e.stdout or b'').decode(errors='replace')}"

        with ThreadPoolExecutor(8) as pool:
            for name, code, out in pool.map(run, groups):
                lines = out.strip().splitlines() or ["nothing"]
                if code != 1 or "passed" in lines[-1]:
                    say(f"{name}: {lines[-1]}")
                bad = [line for line in lines if line.startswith(("FAIL", "       "))]
                for line in bad[:6]:
                    print(f"    {line[:160]}", flush=True)
                if code and "there are no tests" in out:
                    continue
                self.rows[f"test {name}"] = {"ok": code == 0, "said": lines[-1]}


def run(a):
    if os.path.isfile(a.folder):
        to = tempfile.mkdtemp()
        with tarfile.open(a.folder) as tar:
            tar.extractall(to)
        a.folder = os.path.join(to, "gpu")
    if a.nc is None:
        a.nc = os.path.join(a.folder, "nc")
    a.folder, a.nc = os.path.abspath(a.folder), os.path.abspath(a.nc)
    say(call([a.nc, "targets"]).strip().replace("\n", "\n    "))
    bandwidth = None
    try:
        bandwidth = Bandwidth().value
        say(f"bandwidth {bandwidth / 1e9:.0f} GB/s")
    except (OSError, RuntimeError) as e:
        say(f"bandwidth not measured: {e}")
    runner = Runner(a, bandwidth)
    steps = [runner.models]
    if not a.no_torch:
        steps.append(lambda: runner.rows.update(beside(a, runner, say)))
    if not a.no_tests:
        steps.append(runner.tests)
    for step in steps:
        try:
            step()
        except Exception as e:  # noqa: BLE001
            say(f"FAILED {type(e).__name__}: {e}")
        if a.json:
            with open(a.json, "w") as f:
                json.dump({"bandwidth": bandwidth, "models": runner.rows}, f, indent=1)
    table(runner.rows)
    wrong = [n for n, r in runner.rows.items() if r.get("differ") or "failed" in r or r.get("ok") is False]
    say(f"{len(wrong)} failed or differ: {', '.join(wrong)}" if wrong else "nothing failed, nothing differs")
    sys.exit(1 if wrong else 0)


def table(rows):
    us = lambda x: f"{x * 1e6:.2f}" if x else ""
    heads = ["model", "samples", "blocks x threads", "us per tick", "with copies", "ns per sample tick", "floor us",
             "torch, called", "torch, graph"]
    print(f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, r in rows.items():
        if "wall" not in r:
            continue
        t, per = rows.get(f"torch {name}", {}), r["device"] or r["wall"]
        cells = [name, r["samples"], f"{r.get('blocks')} x {r.get('threads')}", us(r["device"]), us(r["wall"]),
                 f"{per / r['samples'] * 1e9:.2f}", us(r["floor"]), us(t.get("called")), us(t.get("graph"))]
        print(f"| {' | '.join(map(str, cells))} |")
    print(flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["fill", "run"])
    p.add_argument("folder")
    p.add_argument("--nc", help="the program; for `run` the one of the folder by default")
    p.add_argument("--runner", help="a build of nc to put into the folder")
    p.add_argument("--peers", help="the folder of the peers' networks")
    p.add_argument("--models", help="a folder with `models` and `recordings`")
    p.add_argument("--suites", help="the script that runs these")
    p.add_argument("--skip", type=lambda s: s.split(","), default=[], help="trained models to leave out")
    p.add_argument("--timeout", type=float, default=300, help="seconds for a trained model while filling")
    p.add_argument("--only", type=lambda s: s.split(","))
    p.add_argument("--reps", type=int, default=7)
    p.add_argument("--budget", type=float, default=220, help="seconds after which nothing begins")
    p.add_argument("--each", type=float, default=30, help="seconds for one model")
    p.add_argument("--blocks", type=lambda s: s.split(","), default=[], help="numbers of blocks to try, for some models")
    p.add_argument("--limit", type=float, default=90, help="seconds for one folder of tests, or one suite")
    p.add_argument("--no-torch", action="store_true")
    p.add_argument("--no-tests", action="store_true")
    p.add_argument("--json")
    a = p.parse_args()
    if a.what == "fill":
        a.nc = os.path.abspath(a.nc or os.path.join(ROOT, "target", "release", "nc"))
        fill(a)
    else:
        run(a)


if __name__ == "__main__":
    main()
