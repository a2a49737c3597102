"""Writes files that hdf5-pure's writer does not make. Needs h5py and numpy.

    python3 make.py
"""
import os

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = h5py.string_dtype()


def make(name, scale, libver="latest", text=TEXT):
    with h5py.File(os.path.join(HERE, name), "w", libver=libver) as f:
        g = f.create_group("node")
        g.create_dataset("type", data=b"NIRGraph" if text is None else "NIRGraph", dtype=text)
        edges = [["in", "x"], ["x", "out"]]
        g.create_dataset("edges", data=np.array(edges, dtype="S3") if text is None else np.array(edges, dtype=object), dtype=text)
        nodes = g.create_group("nodes")
        for n, kind in (("in", "Input"), ("x", "Scale"), ("out", "Output")):
            node = nodes.create_group(n)
            node.create_dataset("type", data=kind.encode() if text is None else kind, dtype=text)
            if kind != "Scale":
                node.create_dataset("shape", data=np.array([2]))
        scale(f, nodes["x"])


def virtual(f, x):
    layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "scale", shape=(2,))
    x.create_virtual_dataset("scale", layout)


plain = lambda f, x: x.create_dataset("scale", data=np.float32([1, 2]))


def circle(f, x):
    plain(f, x)
    x["metadata"] = f["node"]


def soft(f, x):
    f.create_dataset("kept", data=np.float32([1, 2]))
    x["scale"] = h5py.SoftLink("/kept")


def external(f, x):
    x["scale"] = h5py.ExternalLink("../../../etc/passwd", "/scale")


make("circle.nir", circle)
make("soft.nir", soft)
make("external.nir", external)
make("virtual.nir", virtual)
make("compound.nir", lambda f, x: x.create_dataset("scale", data=np.zeros(2, [("a", "f4"), ("b", "i2")])))
make("big_endian.nir", lambda f, x: x.create_dataset("scale", data=np.array([1, 2], ">f8")))
make("fixed_text.nir", plain, text=None)
