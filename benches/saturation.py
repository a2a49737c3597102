"""Times the passes, saturation above all, on a network of 50 layers, a recurrent one of 24 and ten populations of neurons.

    python3 saturation.py [--nc ../target/release/nc] [--rounds 3]

Each model is compiled a few times to its saturated graph; of each pass the fastest time counts. Exits with 1 if saturation
takes 2 s or more, a compilation 1 GiB or more beside the weights, or if two compilations give different graphs. Needs the
packages numpy and onnx.
"""
import argparse
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def resnet(path):
    """ResNet-50 (He et al. 2016) with batch normalisation, as exporters write it, for one image of 224 x 224."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    nodes, weights = [], []

    def constant(array, name):
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(x, inputs, outputs, size, stride, name, relu=True):
        w = constant(rng.standard_normal((outputs, inputs, size, size)) * (2 / (inputs * size * size)) ** 0.5, name + ".w")
        pad = size // 2
        nodes.append(helper.make_node("Conv", [x, w], [name], name, pads=[pad] * 4, strides=[stride] * 2))
        norm = [constant(rng.random(outputs) + 0.5, f"{name}.{k}") for k in ("scale", "shift", "mean", "var")]
        nodes.append(helper.make_node("BatchNormalization", [name, *norm], [name + ".n"], name + ".n"))
        if relu:
            nodes.append(helper.make_node("Relu", [name + ".n"], [name + ".r"], name + ".r"))
        return name + (".r" if relu else ".n")

    x = conv("x", 3, 64, 7, 2, "stem")
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    x, width = "pool", 64
    for stage, (blocks, inner) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for block in range(blocks):
            name, stride = f"s{stage}b{block}", 2 if block == 0 and stage > 0 else 1
            y = conv(x, width, inner, 1, 1, name + "a")
            y = conv(y, inner, inner, 3, stride, name + "b")
            y = conv(y, inner, 4 * inner, 1, 1, name + "c", relu=False)
            short = x if block > 0 else conv(x, width, 4 * inner, 1, stride, name + "d", relu=False)
            nodes.append(helper.make_node("Add", [y, short], [name + ".s"], name + ".s"))
            nodes.append(helper.make_node("Relu", [name + ".s"], [name], name))
            x, width = name, 4 * inner
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"], "mean"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], "flat"))
    last = [constant(rng.standard_normal((1000, width)) * 0.02, "fc.w"), constant(np.zeros(1000), "fc.b")]
    nodes.append(helper.make_node("Gemm", ["flat", *last], ["y"], "fc", transB=1))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "resnet50", [info("x", TensorProto.FLOAT, [1, 3, 224, 224])], [info("y", TensorProto.FLOAT, [1, 1000])], weights
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def recurrent(path, layers=24, hidden=64, steps=16):
    """So many LSTM layers with a residual path and a layer norm each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(2)
    nodes, weights, x = [], [], "x"
    for n in range(layers):
        for name, shape in (("w", (1, 4 * hidden, hidden)), ("r", (1, 4 * hidden, hidden)), ("b", (1, 8 * hidden))):
            array = rng.standard_normal(shape).astype(np.float32) * 0.1
            weights.append(numpy_helper.from_array(array, f"{name}{n}"))
        weights.append(numpy_helper.from_array(np.ones(hidden, np.float32), f"g{n}"))
        nodes.append(helper.make_node("LSTM", [x, f"w{n}", f"r{n}", f"b{n}"], [f"h{n}"], f"lstm{n}", hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"h{n}", "axes"], [f"q{n}"], f"squeeze{n}"))
        nodes.append(helper.make_node("Add", [f"q{n}", x], [f"a{n}"], f"add{n}"))
        nodes.append(helper.make_node("LayerNormalization", [f"a{n}", f"g{n}"], [f"n{n}"], f"norm{n}"))
        x = f"n{n}"
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    nodes.append(helper.make_node("Identity", [x], ["y"], "last"))
    info = helper.make_tensor_value_info
    shape = [steps, 1, hidden]
    graph = helper.make_graph(
        nodes, "recurrent", [info("x", TensorProto.FLOAT, shape)], [info("y", TensorProto.FLOAT, shape)], weights
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


NEURON = """
neuron Lif {
  param tau_m: ms = 20 ms
  param tau_e: ms = 5 ms
  param tau_i: ms = 10 ms
  param th: mV = 10 mV
  state v: mV = 0 mV
  state ge: mV = 0 mV
  state gi: mV = 0 mV
  on exc(w: mV) { ge += w }
  on inh(w: mV) { gi += w }
  v' = (ge + gi - v) / tau_m
  ge' = -ge / tau_e
  gi' = -gi / tau_i
  threshold v > th
  reset { v = 0 mV }
  refractory 2 ms
  solve exact
}
"""


def populations(path, count=10, n=1000):
    """So many populations of leaky neurons: each excites the next one, inhibits itself and the one after that."""
    lines = [NEURON, "net Populations {", "  clock 0.1 ms", "  seed 7", f"  input x: real[{n}]"]
    for k in range(count):
        lines.append(f"  pop P{k}: Lif[{n}] {{ v = uniform(0 mV, 9 mV) }}")
    for k in range(count):
        rule = "rule = random(p = 0.01); "
        lines.append(f"  connect P{k} -> P{(k + 1) % count}.exc {{ {rule}weight = 1.5 mV; delay = 1 ms }}")
        lines.append(f"  connect P{k} -> P{k}.inh {{ {rule}weight = -4 mV; delay = 0.5 ms }}")
        lines.append(f"  connect P{k} -> P{(k + 2) % count}.inh {{ {rule}weight = -1 mV; delay = 2 ms }}")
    lines += [f"  output s{k} = P{k}.spike" for k in range(count)]
    with open(path, "w") as f:
        f.write("\n".join([*lines, "}", ""]))


def compiled(nc, model, folder):
    """Seconds by pass, the most memory that was resident in bytes, and a hash of the saturated graph."""
    command = [nc, "compile", model, "--emit", "saturated", "--time-passes", "-o", folder]
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = p.communicate()
    if p.returncode:
        raise SystemExit(f"{model}: {err}")
    times = {n: float(t) for t, n in re.findall(r"^ *([0-9.]+) ms  (\S.*)$", out + err, re.M)}
    (graph,) = [f for f in os.listdir(folder) if f.endswith(".saturated.graph")]
    with open(os.path.join(folder, graph), "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    os.remove(os.path.join(folder, graph))
    return times, digest


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", default=os.path.join(HERE, "..", "target", "release", "nc"))
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as tmp:
        for name, file, make in (
            ("ten populations", "populations.nd", populations),
            ("24 recurrent layers", "recurrent.onnx", recurrent),
            ("50 layers", "resnet50.onnx", resnet),
        ):
            model = os.path.join(tmp, file)
            make(model)
            runs = [compiled(a.nc, model, tmp) for _ in range(a.rounds)]
            best = {k: min(r[0][k] for r in runs) for k in runs[0][0]}
            # Memory of the largest child so far: models stand in the order of their sizes.
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            weights = os.path.getsize(model) / 2**20
            same = len({r[1] for r in runs}) == 1
            fine = best["saturate"] < 2000 and memory - weights < 1024 and same
            good = good and fine
            print(
                f"{name:20} saturation {best['saturate']:8.1f} ms, all passes {best['all passes']:8.1f} ms, at most "
                f"{memory:6.0f} MiB with {weights:.0f} MiB of weights, {'the same graph' if same else 'ANOTHER GRAPH'} "
                f"{a.rounds} times{'' if fine else '  TOO MUCH'}"
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
