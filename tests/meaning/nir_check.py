"""Holds `nc` against Python's nir: what nc writes, nir reads, with the same arrays.

    python3 nir_check.py --nc NC [--data FOLDER] [--own FOLDER]

Takes every .nir file below FOLDER of --data, graphs made here with every primitive, nested and recurrent ones among them,
and every graph that the tests of nir itself make, which stand in `tests` below FOLDER of --own: the sources of nir as PyPI
has them. With FOLDER/recordings, the spikes recorded there are compared too. Needs numpy and nir. Exits with 0 if
everything agrees.
"""
import argparse
import importlib
import inspect
import json
import pathlib
import subprocess
import sys
import tempfile
import types
import warnings

import nir
import numpy as np


def graphs():
    f = lambda *shape: np.random.default_rng(sum(shape)).normal(1, 0.1, shape).astype(np.float32)
    tau = lambda *shape: np.abs(f(*shape)) * np.float32(1e-2)
    lif = lambda *s: nir.LIF(tau(*s), f(*s), 0 * f(*s), f(*s), 0 * f(*s))
    line = lambda *nodes: nir.NIRGraph.from_list(*nodes)
    yield "affine", line(nir.Affine(f(3, 2), f(3)), lif(3))
    yield "linear", line(nir.Linear(f(3, 2)), nir.LI(tau(3), f(3), 0 * f(3)))
    yield "cuba", line(nir.Linear(f(3, 2)), nir.CubaLIF(tau(3), tau(3) / 2, f(3), 0 * f(3), f(3), w_in=f(3)), nir.CubaLI(tau(3), tau(3), f(3), 0 * f(3)))
    yield "integrators", line(nir.IF(f(2), f(2)), nir.I(f(2)), nir.Threshold(f(2)), nir.Scale(f(2)), nir.Delay(tau(2)))
    one = nir.Conv1d(9, f(4, 2, 3), 2, 1, 1, 1, f(4))
    yield "conv1d", line(nir.Input(np.array([2, 9])), one, lif(4, 5))
    two = nir.Conv2d((8, 8), f(4, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1, f(4))
    pools = [nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))]
    flat = nir.Flatten({"input": np.array([4, 2, 2])}, start_dim=0, end_dim=-1)
    yield "conv2d", line(nir.Input(np.array([2, 8, 8])), two, lif(4, 8, 8), *pools, flat, nir.Affine(f(3, 16), f(3)), lif(3))
    same = nir.Conv2d((8, 8), f(4, 2, 3, 3), (1, 1), "same", (1, 1), 1, f(4))
    yield "same", line(nir.Input(np.array([2, 8, 8])), same, lif(4, 8, 8))
    io = dict(a=nir.Input(np.array([3])), z=nir.Output(np.array([3])))
    yield "recurrent", nir.NIRGraph(dict(io, **{"x.lif": lif(3), "x.w": nir.Linear(f(3, 3))}), [("a", "x.lif"), ("x.lif", "x.w"), ("x.w", "x.lif"), ("x.lif", "z")])
    inner = nir.NIRGraph(dict(input=nir.Input(np.array([3])), lif=lif(3), output=nir.Output(np.array([3]))), [("input", "lif"), ("lif", "output")])
    yield "nested", nir.NIRGraph(dict(io, sub=inner), [("a", "sub"), ("sub", "z")])
    noted = line(lif(2))
    noted.metadata = {"note": "kept", "numbers": np.arange(3)}
    yield "metadata", noted


def own_graphs(folder):
    """Every graph that a test of nir makes and that nir can write and read."""
    sys.path.insert(0, str(folder))
    try:
        import pytest  # noqa: F401
    except ImportError:
        anything = lambda *a, **k: lambda f: f
        mark = types.SimpleNamespace(skip=anything, skipif=anything, parametrize=anything)
        sys.modules["pytest"] = types.SimpleNamespace(mark=mark, raises=lambda *a, **k: tempfile.TemporaryDirectory())
    kept, before = [], nir.NIRGraph.__init__

    def init(self, *args, **kwargs):
        before(self, *args, **kwargs)
        kept.append(self)

    nir.NIRGraph.__init__ = init
    np.random.seed(1)
    for path in sorted((folder / "tests").glob("test_*.py")):
        module = importlib.import_module(f"tests.{path.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and not inspect.signature(test).parameters:
                first = len(kept)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        test()
                    except Exception:  # noqa: BLE001 - some are for other packages; what was made before is taken
                        pass
                yield from ((f"{path.stem}.{name}.{k}", g) for k, g in enumerate(kept[first:]))
    nir.NIRGraph.__init__ = before


def differ(a, b, at=""):
    """The first place at which two nested dictionaries differ."""
    if type(a) is not type(b):
        return f"{at}: {type(a).__name__} and {type(b).__name__}"
    if isinstance(a, dict):
        if sorted(a) != sorted(b):
            return f"{at}: {sorted(a)} and {sorted(b)}"
        return next((d for d in (differ(a[k], b[k], f"{at}/{k}") for k in a) if d), None)
    if isinstance(a, np.ndarray):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return None if same or (a.dtype == object and a.tolist() == b.tolist()) else f"{at}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
    return None if a == b or a != a else f"{at}: {a!r} and {b!r}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--nc", required=True)
    p.add_argument("--data", type=pathlib.Path)
    p.add_argument("--own", type=pathlib.Path)
    args = p.parse_args()
    faults, count = [], 0
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        files = sorted(args.data.rglob("*.nir")) if args.data else []
        made = []
        for name, g in graphs():
            nir.write(tmp / f"{name}.nir", g)
            made.append(tmp / f"{name}.nir")
        own = []
        for name, g in list(own_graphs(args.own)) if args.own else []:
            try:
                nir.write(tmp / f"own.{name}.nir", g)
                nir.read(tmp / f"own.{name}.nir")
            except Exception:  # noqa: BLE001 - a test of what nir refuses
                continue
            own.append(tmp / f"own.{name}.nir")
        if args.own:
            print(f"{len(own)} graphs of nir's own tests")
            if len(own) < 50:
                faults.append(f"only {len(own)} graphs in {args.own}")
        for file in files + made + own:
            count += 1
            out = tmp / "out.nir"
            done = subprocess.run([args.nc, "convert", str(file), str(out)], capture_output=True, text=True)
            if done.returncode:
                faults.append(f"{file}: {done.stderr.strip()}")
                continue
            a, b = (nir.read(f, type_check=False).to_dict() for f in (file, out))
            fault = differ(a, b) or (None if nir.serialization.read_version(file) == nir.serialization.read_version(out) else "version")
            if fault:
                faults.append(f"{file}: {fault}")
        for file in made:
            done = subprocess.run([args.nc, "check", str(file), "--dt", "1e-3"], capture_output=True, text=True)
            if done.returncode:
                faults.append(f"{file.name}: {done.stderr.strip()}")
        recordings = args.data / "recordings" if args.data else None
        if recordings and recordings.is_dir():
            for case in sum(json.loads((recordings / "manifest.json").read_text()).values(), []):
                count += 1
                out = tmp / "out.npz"
                words = ["run", recordings / case["model"], "--input", recordings / case["input"], "--output", out, "--dt", case["dt"],
                         "--discretise", case["discretise"], "--probe", case["probe"]]
                done = subprocess.run([args.nc, *map(str, words)], capture_output=True, text=True)
                if done.returncode:
                    faults.append(f"{case['name']}: {done.stderr.strip()}")
                    continue
                want = np.load(recordings / case["recording"])["spikes"]
                wrong = int((np.load(out)[case["probe"]].reshape(want.shape) != want).sum())
                if wrong:
                    faults.append(f"{case['name']}: {wrong} of {want.size} spikes differ")
    print("\n".join(faults))
    print(f"{count - len(faults)} of {count} agree")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
