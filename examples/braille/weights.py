"""Reads the weights of a Braille network from a NIR file into safetensors, which the models beside this script load.

    python3 weights.py bias_zero.nir noBias_subtract.nir --out DIR

Needs numpy and h5py. Time constants are written in milliseconds; a constant that is the same for a whole layer, as all of
them are here, becomes one number. Biases are written where the file has them.
"""
import argparse
import json
import os
import struct

import h5py
import numpy as np


def save_safetensors(path, arrays):
    """Writes float32 arrays: the length of a JSON header, the header, the data."""
    header, data = {}, b""
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name], np.float32)
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def shared(values):
    """The one value that a layer shares."""
    values = np.unique(values)
    if len(values) != 1:
        raise SystemExit(f"a layer has several time constants: {values}")
    return values


def read(path):
    """The arrays of a NIR file under the names that the models use."""
    nodes = h5py.File(path)["node/nodes"]
    out = {}
    for node, name in (("fc1", "fc1"), ("lif1.w_rec", "w_rec"), ("fc2", "fc2")):
        for part in ("weight", "bias"):
            if part in nodes[node]:
                out[f"{name}.{part}"] = nodes[node][part][()]
    for node, name in (("lif1.lif", "lif1"), ("lif2", "lif2")):
        for tau in ("tau_syn", "tau_mem"):
            out[f"{name}.{tau}"] = 1e3 * shared(nodes[node][tau][()])
        # The models have unit gains: w_in = tau_syn / dt and r = tau_mem / dt, with dt = 0.1 ms.
        for gain, tau in (("w_in", "tau_syn"), ("r", "tau_mem")):
            if not np.allclose(nodes[node][gain][()], 1e4 * nodes[node][tau][()], rtol=1e-5):
                raise SystemExit(f"{path}: {node}.{gain} is not {tau} / dt")
        if not np.all(nodes[node]["v_threshold"][()] == 1) or np.any(nodes[node]["v_leak"][()] != 0):
            raise SystemExit(f"{path}: {node} has another threshold than 1 or another leak than 0")
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("nir", nargs="+")
    p.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    a = p.parse_args()
    for path in a.nir:
        name = os.path.splitext(os.path.basename(path))[0] + ".safetensors"
        save_safetensors(os.path.join(a.out, name), read(path))
        print(os.path.join(a.out, name))


if __name__ == "__main__":
    main()
