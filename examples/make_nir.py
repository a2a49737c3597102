"""Writes pair.nir: two neurons that inhibit each other, so that only one of them fires at a time.

    python3 make_nir.py

Needs h5py and numpy.
"""
import os

import h5py
import numpy as np

TEXT = h5py.string_dtype()
f = lambda *a: np.array(a, np.float32)
nodes = {
    "input": {"type": "Input", "shape": np.array([2])},
    "drive": {"type": "Affine", "weight": 0.3 * np.eye(2, dtype=np.float32), "bias": f(1.1, 1.1)},
    "pair": {"type": "LIF", "tau": f(0.02, 0.02), "r": f(1, 1), "v_leak": f(0, 0), "v_threshold": f(1, 1), "v_reset": f(0, 0)},
    "inhibit": {"type": "Linear", "weight": np.array([[0, -25], [-25, 0]], np.float32)},
    "output": {"type": "Output", "shape": np.array([2])},
}
edges = [("input", "drive"), ("drive", "pair"), ("inhibit", "pair"), ("pair", "inhibit"), ("pair", "output")]

with h5py.File(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pair.nir"), "w", libver="latest") as file:
    file.create_dataset("version", data="1.0.8", dtype=TEXT)
    node = file.create_group("node")
    node.create_dataset("type", data="NIRGraph", dtype=TEXT)
    node.create_dataset("edges", data=np.array(edges, dtype=object), dtype=TEXT)
    for name, params in nodes.items():
        group = node.require_group("nodes").create_group(name)
        for key, value in params.items():
            group.create_dataset(key, data=value, dtype=TEXT if isinstance(value, str) else None)
