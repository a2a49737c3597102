"""Writes the models and arrays of the tests in this folder.

    python3 expected.py

All numbers are small binary fractions and activations are Relu or a comparison, so that every sum is exact in single
precision: numpy's results are the only ones there are. Needs numpy and onnx.
"""
import os

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

HERE = os.path.dirname(os.path.abspath(__file__))
F = np.float32
rng = np.random.default_rng(7)


def fractions(*shape):
    return (rng.integers(-4, 5, shape) / 4).astype(F)


def write(name, nodes, inputs, outputs, constants):
    kind = lambda pair: helper.make_tensor_value_info(pair[0], TensorProto.FLOAT, pair[1])
    init = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, name, [kind(p) for p in inputs], [kind(p) for p in outputs], init)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, os.path.join(HERE, name + ".onnx"))


def layers():
    """Two RNN layers with a product between them, batch first; the mean of the second, and its last state."""
    T, B, I, H, K = 6, 2, 3, 2, 2
    w1, r1, b1 = fractions(1, H, I), fractions(1, H, H), fractions(1, 2 * H)
    m, w2, r2 = fractions(H, K), fractions(1, H, K), fractions(1, H, H)
    h0 = fractions(B, 1, H)
    rnn = dict(hidden_size=H, layout=1, activations=["Relu"])
    nodes = [
        helper.make_node("RNN", ["x", "w1", "r1", "b1", "", "h0"], ["y1", ""], "first", **rnn),
        helper.make_node("Squeeze", ["y1", "two"], ["s1"]),
        helper.make_node("MatMul", ["s1", "m"], ["p"]),
        helper.make_node("RNN", ["p", "w2", "r2"], ["y2", "last"], "second", **rnn),
        helper.make_node("Squeeze", ["y2", "two"], ["y"]),
        helper.make_node("ReduceSum", ["y", "one"], ["sum"], keepdims=0),
    ]
    constants = dict(w1=w1, r1=r1, b1=b1, m=m, w2=w2, r2=r2, h0=h0, one=np.array([1]), two=np.array([2]))
    out = [("y", ["B", "T", H]), ("sum", ["B", H]), ("last", ["B", 1, H])]
    write("layers", nodes, [("x", [B, "T", I])], out, constants)
    x = fractions(T, B, I)
    a, b, total = h0[:, 0], np.zeros((B, H), F), np.zeros((B, H), F)
    ys, sums = [], []
    for t in range(T):
        a = np.maximum(x[t] @ w1[0].T + a @ r1[0].T + b1[0, :H] + b1[0, H:], 0)
        b = np.maximum(a @ m @ w2[0].T + b @ r2[0].T, 0)
        total = total + b
        ys.append(b)
        sums.append(total)
    np.savez(os.path.join(HERE, "layers_in.npz"), x=x)
    ys, sums = np.stack(ys), np.stack(sums)
    np.savez(os.path.join(HERE, "layers_out.npz"), y=ys, sum=sums, last=ys[:, :, None])


def neurons():
    """A Scan of neurons that subtract their threshold, along axis 1, and a product of their spikes."""
    N, K = 4, 3
    w = fractions(N, K)
    float_ = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["v", "half"], ["kept"]),
            helper.make_node("Add", ["kept", "xt"], ["m"]),
            helper.make_node("Greater", ["m", "theta"], ["over"]),
            helper.make_node("Cast", ["over"], ["s"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["m", "s"], ["next"]),
        ],
        "step",
        [float_("v", [N]), float_("xt", [N])],
        [float_("next", [N]), float_("s", [N])],
    )
    nodes = [
        helper.make_node(
            "Scan", ["v0", "x"], ["v", "spikes"], "neurons",
            body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1],
        ),
        helper.make_node("Transpose", ["spikes"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["turned", "w"], ["y"]),
    ]
    constants = dict(v0=np.zeros(N, F), half=F(0.5), theta=F(1), w=w)
    write("neurons", nodes, [("x", [N, "T"])], [("spikes", [N, "T"]), ("y", ["T", K]), ("v", [N])], constants)
    x = np.abs(fractions(8, N)) + F(0.25)
    v, spikes, vs = np.zeros(N, F), [], []
    for t in range(len(x)):
        v = v * F(0.5) + x[t]
        s = (v > 1).astype(F)
        v = v - s
        spikes.append(s)
        vs.append(v)
    spikes = np.stack(spikes)
    np.savez(os.path.join(HERE, "neurons_in.npz"), x=x)
    np.savez(os.path.join(HERE, "neurons_out.npz"), spikes=spikes, y=spikes @ w, v=np.stack(vs))


def refused():
    """A layer in both directions."""
    nodes = [helper.make_node("RNN", ["x", "w", "r"], ["y"], "both", hidden_size=1, direction="bidirectional")]
    constants = dict(w=np.ones((2, 1, 1), F), r=np.ones((2, 1, 1), F))
    write("both", nodes, [("x", ["T", 1, 1])], [("y", ["T", 2, 1, 1])], constants)


layers()
neurons()
refused()
