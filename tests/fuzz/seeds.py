"""Writes the seed files of the fuzz targets over bytes. Needs numpy.

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


npz()
safetensors()
checkpoint()
