"""Writes seed files of the fuzz targets over bytes. Needs numpy, and onnx for models of sequences.

    python3 seeds.py
"""
import io
import json
import os
import struct
import zlib

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds")


def put(target, name, data):
    with open(os.path.join(HERE, target, name), "wb") as f:
        f.write(data)


def npz():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name, save in [("stored.npz", np.savez), ("deflated.npz", np.savez_compressed)]:
        b = io.BytesIO()
        save(b, a=a, spikes=a > 2, i=np.arange(3), s=np.float64(2))
        put("npz", name, b.getvalue())
    for k, x in enumerate([a, np.asfortranarray(a), a.astype(">f8"), np.float16(1), np.zeros((0, 4), np.uint16)]):
        b = io.BytesIO()
        np.save(b, x)
        put("npz", f"{k}.npy", b.getvalue())


def safetensors():
    head = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "h": {"dtype": "BF16", "shape": [2], "data_offsets": [24, 28]},
        "e": {"dtype": "I64", "shape": [0], "data_offsets": [28, 28]},
    }
    text = json.dumps(head).encode()
    put("safetensors", "three", struct.pack("<Q", len(text)) + text + bytes(28))
    # Without the length, which the target puts before it.
    put("safetensors", "header", text + b"\n"[:0] + bytes(28))
    put("safetensors", "empty", struct.pack("<Q", 2) + b"{}")


def checkpoint():
    def entry(name, tag, shape, data):
        head = struct.pack("<IHHQ", len(name), tag, len(shape), len(data)) + name + b"".join(struct.pack("<Q", d) for d in shape)
        return head + struct.pack("<I", zlib.crc32(head)) + data + struct.pack("<I", zlib.crc32(data))

    for name, entries in [
        ("none", []),
        ("two", [entry(b"state/P.v", 2, [3], bytes(12)), entry(b"line/P.spike", 10, [2, 3], b"\1\0\0\0\1\1")]),
    ]:
        body = b"".join(entries)
        head = b"\x89NCSTATE" + struct.pack("<IIQ", 1, len(entries), 7) + bytes(32) + struct.pack("<Q", 68 + len(body) + 4)
        whole = head + struct.pack("<I", zlib.crc32(head)) + body
        put("checkpoint", name, whole + struct.pack("<I", zlib.crc32(whole)))


def sequences():
    """Models of sequences: small enough to be changed at any place, and of the forms that are run step by step."""
    from onnx import TensorProto, helper, numpy_helper

    def model(name, nodes, inputs, outputs, constants):
        port = lambda p: helper.make_tensor_value_info(p[0], TensorProto.FLOAT, p[1])
        init = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
        g = helper.make_graph(nodes, "g", [port(p) for p in inputs], [port(p) for p in outputs], init)
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        put("onnx", name, m.SerializeToString())

    w = lambda *shape: (np.arange(np.prod(shape)).reshape(shape) % 5 / 4 - 0.5).astype(np.float32)
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "", "", "h0"], ["y4", "h"], hidden_size=2, layout=1),
        helper.make_node("Squeeze", ["y4", "two"], ["y"]),
        helper.make_node("ReduceMean", ["y"], ["m"], axes=[1], keepdims=0),
        helper.make_node("CumSum", ["y", "one"], ["c"]),
    ]
    constants = dict(w=w(1, 6, 1), r=w(1, 6, 2), two=np.array([2]), one=np.array(1))
    outputs = [("y", [1, 3, 2]), ("h", [1, 1, 2]), ("m", [1, 2]), ("c", [1, 3, 2])]
    model("gru.onnx", nodes, [("x", [1, 3, 1]), ("h0", [1, 1, 2])], outputs, constants)
    port = lambda n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [2])
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "xt"], ["n"]),
            helper.make_node("Greater", ["n", "k"], ["z"]),
            helper.make_node("Cast", ["z"], ["s"], to=1),
            helper.make_node("Sub", ["n", "s"], ["o"]),
        ],
        "b", [port("v"), port("xt")], [port("o"), port("s")],
    )
    nodes = [
        helper.make_node("Scan", ["v0", "x"], ["v", "s"], body=body, num_scan_inputs=1, scan_input_axes=[1]),
        helper.make_node("Reshape", ["s", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["g"]),
        helper.make_node("Gather", ["s", "last"], ["e"]),
    ]
    constants = dict(k=np.float32(1), w=w(1, 2), flat=np.array([-1, 1]), last=np.array([-1]))
    outputs = [("v", [2]), ("s", [4, 2]), ("g", [8, 2]), ("e", [1, 2])]
    model("scan.onnx", nodes, [("v0", [2]), ("x", [2, 4])], outputs, constants)


npz()
safetensors()
checkpoint()
sequences()
