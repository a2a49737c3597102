"""How well neurons are distributed over cores: a table of eight networks, three ways of filling cores.

    cargo build --release -p nc && cargo build --release -p nc-spinnaker2 --example mapping
    python3 benches/mapping.py --nc target/release/nc --mapping target/release/examples/mapping --data MODELS

MODELS is the folder of trained models that has `nirpaper_braille_noBias` and `dvs_conv_snn`; without it these two are left
out. `--only REGEX` picks networks, `--seed N` other starts. Needs numpy. A packet is a copy of a spike that comes to a
core other than its own, when every neuron and every input spikes once; hops are weighted as placement does. Exits with 1
if the geometric means are not at least 30 % and 10 % below the two baselines.
"""
import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
METHODS = ["sequential", "edges", "connectivity"]
SIDE, REACH, ASTRAY = 316, 2, 0.05


def small_world(path):
    """A torus whose neurons are connected with their neighbours, one synapse in twenty with any neuron instead."""
    rng = np.random.default_rng(1)
    i = np.arange(SIDE * SIDE)
    offsets = [(dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1) if (dy, dx) != (0, 0)]
    to = np.stack([(i // SIDE + dy) % SIDE * SIDE + (i + dx - i // SIDE * SIDE) % SIDE for dy, dx in offsets], axis=1)
    anywhere = rng.random(to.shape) < ASTRAY
    to[anywhere] = rng.integers(0, SIDE * SIDE, anywhere.sum())
    to.sort(axis=1)
    np.savez(path, pairs=np.stack([np.repeat(i, to.shape[1]), to.ravel()], axis=1).astype(np.int64))


def networks(args, tmp):
    """Name and model of each network; models are solved graphs, or the sheet that the example makes."""
    own = os.path.join(tmp, "mapping.nd")
    with open(os.path.join(ROOT, "benches", "mapping.nd")) as f, open(own, "w") as g:
        g.write(f.read())
    small_world(os.path.join(tmp, "mapping_small_world.npz"))
    sources = [
        ("Braille", args.data and [os.path.join(args.data, "nirpaper_braille_noBias", "model.nir"), "--dt", "0.0001"]),
        ("layered", [own, "--net", "Layered"]),
        ("CUBA", [os.path.join(ROOT, "examples", "cuba.nd")]),
        ("DVS conv", args.data and [os.path.join(args.data, "dvs_conv_snn", "model.nir"), "--dt", "0.001"]),
        ("random", [own, "--net", "Random"]),
        ("conv", [own, "--net", "Conv"]),
        ("small-world", [own, "--net", "SmallWorld"]),
    ]
    for name, source in sources:
        if source and re.search(args.only, name):
            out = os.path.join(tmp, name.replace(" ", "_"))
            command = [args.nc, "compile", *source, "--target", "spinnaker2", "--emit", "solved", "--output", out]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (graph,) = os.listdir(out)
            yield name, os.path.join(out, graph)
    if re.search(args.only, "sheet"):
        yield "sheet", "sheet:1000:100:5"


def run(args, model, method):
    """What the example says, with seconds of a processor and the most memory in MB."""
    p = subprocess.Popen([args.mapping, model, method, "--seed", str(args.seed)], stdout=subprocess.PIPE, text=True)
    text = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status != 0:
        raise SystemExit(f"{model} {method}: failed")
    found = json.loads(text)
    return found | {"seconds": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nc", default=os.path.join(ROOT, "target/release/nc"))
    parser.add_argument("--mapping", default=os.path.join(ROOT, "target/release/examples/mapping"))
    parser.add_argument("--data")
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logs = {key: [0.0, 0.0] for key in ("packets", "hops")}
    count = 0
    print("| network | neurons | synapses | cores | packets: in order | edge cut | ours | of in order | of edge cut "
          "| hops: in order | edge cut | ours | s | MB |")
    print("|" + "---|" * 14)
    with tempfile.TemporaryDirectory() as tmp:
        for name, model in networks(args, tmp):
            a, b, c = (run(args, model, m) for m in METHODS)
            ratios = [c["packets"] / a["packets"], c["packets"] / b["packets"]]
            for key, sums in logs.items():
                sums[0] += math.log(c[key] / a[key])
                sums[1] += math.log(c[key] / b[key])
            count += 1
            cores = " / ".join(str(x["cores"]) for x in (a, b, c))
            print(f"| {name} | {c['neurons']:,} | {c['synapses']:,} | {cores} | {a['packets']:,} | {b['packets']:,} "
                  f"| {c['packets']:,} | {ratios[0]:.2f} | {ratios[1]:.2f} | {a['hops']:,} | {b['hops']:,} | {c['hops']:,} "
                  f"| {c['seconds']:.1f} | {c['megabytes']:.0f} |", flush=True)
    means = {key: [math.exp(s / count) for s in sums] for key, sums in logs.items()}
    for key, (order, edges) in means.items():
        print(f"{key}, geometric means: {order:.3f} of those in order, {edges:.3f} of the edge cut's")
    good = means["packets"][0] <= 0.7 and means["packets"][1] <= 0.9
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
