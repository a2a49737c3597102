"""Loads, compiles and runs a ResNet-50, and prints where the time goes and the most memory that was taken.

    python3 resnet50.py [--nc ../target/release/nc] [--model MODEL.onnx --input IN.npz] [--rounds 5]

Without --model, the network of the paper (He et al., 2016: 53 convolutions with batch normalisation, 25.6 million
parameters, one image of 224 by 224) is made here with random weights; that needs the Python package onnx. Times are those
of `nc run --time-passes`, the least of all rounds:

    loading    reading, decoding and importing the file
    passes     from the imported graph to kernels: folding, saturation, lowering, checks; packing is not counted here
    code       machine code
    packing    weights into the order in which the kernels read them
    inference  the first and only one

Exits with 1 if packing takes no longer than passes, or if more than 2 GiB were taken.
"""
import argparse
import os
import re
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
PACKING = "  of that, packing weights"
GROUPS = {
    "loading": ["read", "decode", "import"],
    "passes": [
        "fold", "solve", "fold again", "states", "saturate", "hoist", "tables", "fold last", "verify graph", "lower",
        "verify kernels", "plan",
    ],
    "code": ["machine code"],
    "packing": [PACKING, "place constants and state"],
    "inference": ["first step"],
}
LIMIT = 2 << 30


def network(path):
    """Writes the network with random weights, scaled so that activations stay of the size of one."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(50)
    nodes, weights, count = [], [], 0

    def constant(name, array):
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def layer(x, cin, cout, k, stride, relu):
        nonlocal count
        count += 1
        n = f"layer{count}"
        w = constant(n + ".w", rng.standard_normal((cout, cin, k, k)) * (2 / (cin * k * k)) ** 0.5)
        nodes.append(helper.make_node("Conv", [x, w], [n + ".c"], kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4))
        norm = [rng.uniform(0.5, 1, cout), rng.uniform(-0.1, 0.1, cout), rng.uniform(-0.1, 0.1, cout), rng.uniform(0.5, 1.5, cout)]
        names = [constant(f"{n}.n{k}", v) for k, v in enumerate(norm)]
        nodes.append(helper.make_node("BatchNormalization", [n + ".c", *names], [n]))
        if not relu:
            return n
        nodes.append(helper.make_node("Relu", [n], [n + ".r"]))
        return n + ".r"

    x = layer("x", 3, 64, 7, 2, True)
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    x, cin = "pool", 64
    for stage, blocks in enumerate([3, 4, 6, 3]):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = layer(x, cin, width, 1, 1, True)
            y = layer(y, width, width, 3, stride, True)
            y = layer(y, width, 4 * width, 1, 1, False)
            if block == 0:
                x = layer(x, cin, 4 * width, 1, stride, False)
            cin = 4 * width
            nodes.append(helper.make_node("Add", [x, y], [f"sum{stage}.{block}"]))
            nodes.append(helper.make_node("Relu", [f"sum{stage}.{block}"], [f"block{stage}.{block}"]))
            x = f"block{stage}.{block}"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    w, b = constant("w", rng.standard_normal((1000, cin)) * cin**-0.5), constant("b", rng.uniform(-0.1, 0.1, 1000))
    nodes.append(helper.make_node("Gemm", ["flat", w, b], ["y"], transB=1))
    port = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "resnet50", [port("x", [1, 3, 224, 224])], [port("y", [1, 1000])], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    return rng.standard_normal((1, 3, 224, 224)).astype(np.float32)


def run(command):
    """Times of the passes in milliseconds, and the most memory in bytes."""
    read, write = os.pipe()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 2), (os.POSIX_SPAWN_CLOSE, read)])
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(text)
    times = {}
    for ms, name in re.findall(r"^ *([0-9.]+) ms  (.*)$", text, re.M):
        times[name] = times.get(name, 0) + float(ms)
    times["lower"] -= times[PACKING]
    return times, usage.ru_maxrss * 1024


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--nc", default=os.path.join(HERE, "../target/release/nc"))
    ap.add_argument("--model")
    ap.add_argument("--input")
    ap.add_argument("--rounds", type=int, default=5)
    args = ap.parse_args()
    if bool(args.model) != bool(args.input):
        ap.error("--model and --input come together")
    with tempfile.TemporaryDirectory() as folder:
        model, source = args.model, args.input
        if not model:
            model, source = os.path.join(folder, "resnet50.onnx"), os.path.join(folder, "in.npz")
            np.savez(source, x=network(model))
        command = [args.nc, "run", model, "--input", source, "--output", os.path.join(folder, "out.npz"), "--time-passes"]
        rounds = [run(command) for _ in range(args.rounds)]
    known = {name for names in GROUPS.values() for name in names}
    new = [n for n in rounds[0][0] if n not in known and not n.startswith(" ") and n not in ("all passes", "everything")]
    if new:
        sys.exit(f"passes that this script does not know: {', '.join(new)}")
    least = {g: min(sum(t.get(n, 0) for n in names) for t, _ in rounds) for g, names in GROUPS.items()}
    for group, ms in least.items():
        print(f"{ms:10.1f} ms  {group}")
    for name in sorted(GROUPS["passes"], key=lambda n: -min(t.get(n, 0) for t, _ in rounds))[:3]:
        print(f"{min(t.get(name, 0) for t, _ in rounds):10.1f} ms    of passes: {name}")
    most = max(m for _, m in rounds)
    print(f"{most / 2**20:10.1f} MiB at most")
    faults = []
    if least["packing"] <= least["passes"]:
        faults.append("packing takes no longer than passes")
    if most >= LIMIT:
        faults.append("more than 2 GiB were taken")
    for f in faults:
        print(f)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
