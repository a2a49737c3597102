"""Writes the array files of the file tests, and prints the expected values that are not obvious from a model.

    python3 expected.py

Everything is computed here in double precision from the textbook equations, without nc. Needs numpy.
"""
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def show(name, rows):
    print(name, "=", "[" + ", ".join(("[" + ", ".join(f"{x:.9g}" for x in r) + "]") if isinstance(r, (list, tuple)) else f"{r:.9g}" for r in rows) + "]")


def solvers():
    # solvers/exact_decay.nd: v' = -v / (2 ms), dt = 1 ms, from 1.
    show("exact_decay v", [math.exp(-n / 2) for n in range(1, 6)])
    # solvers/exact_alpha.nd: g' = -g / tau, v' = (g - v) / tau with one tau = 4 ms: v = t / tau exp(-t / tau).
    show("exact_alpha v", [n / 4 * math.exp(-n / 4) for n in range(1, 6)])
    # solvers/exact_drive.nd: v' = (i - v) / (2 ms), i constant over a tick.
    v, rows = 0.0, []
    for i in [1, 1, 0, 3, 0]:
        v = i + (v - i) * math.exp(-0.5)
        rows.append(v)
    show("exact_drive v", rows)
    # solvers/exp_euler.nd: g' = -g / (2 ms), v' = (2 - v) g / (1 ms); each exactly, the other held.
    g, v, rows = 0.5, 0.0, []
    for _ in range(5):
        g, v = g * math.exp(-0.5), 2 + (v - 2) * math.exp(-g)
        rows.append(v)
    show("exp_euler v", rows)

    def rk4(f, x, h):
        k1 = f(x)
        k2 = f(x + h / 2 * k1)
        k3 = f(x + h / 2 * k2)
        k4 = f(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    # solvers/rk4.nd: x' = (1 - x^2) / (2 ms) (its solution is tanh(t / 2)), one step and four steps per tick.
    for n in (1, 4):
        x, rows = 0.0, []
        for _ in range(5):
            for _ in range(n):
                x = rk4(lambda x: (1 - x * x) / 2, x, 1 / n)
            rows.append(x)
        show(f"rk4 x, {n} steps", rows)


def plasticity():
    # plasticity/traces.nd: traces decay with tau = 10 ms, dt = 1 ms; presynaptic spikes arrive after 1 ms.
    spikes_in = [1, 0, 0, 1, 0, 1, 1, 0, 0, 0]
    w, x, y, v, rows, out = 0.5, 0.0, 0.0, 0.0, [], ""
    last = 0
    for t in range(len(spikes_in)):
        def bring():
            nonlocal x, y, last
            f = math.exp(-(t - last) / 10)
            x, y, last = x * f, y * f, t
        if t > 0 and spikes_in[t - 1]:
            bring()
            v += w
            x += 1
            w = max(0, w - 0.1 * y)
        fired = v > 0.9
        if fired:
            v = 0
            bring()
            y += 1
            w = min(1, w + 0.2 * x)
        out += "1" if fired else "."
        rows.append([w])
    show("traces w", rows)
    print("traces spikes =", out)


def functions():
    x = [-2.0, -0.5, 0.25, 3.0]
    for name, f in [
        ("exp", math.exp),
        ("tanh", math.tanh),
        ("sigmoid", lambda a: 1 / (1 + math.exp(-a))),
        ("erf", math.erf),
        ("sin", math.sin),
        ("cos", math.cos),
        ("gelu", lambda a: a / 2 * (1 + math.erf(a / math.sqrt(2)))),
        ("log of abs", lambda a: math.log(abs(a))),
        ("sqrt of abs", lambda a: math.sqrt(abs(a))),
        ("pow 1.5 of abs", lambda a: abs(a) ** 1.5),
    ]:
        show(name, [f(a) for a in x])
    e = [math.exp(a) for a in x]
    show("softmax", [a / sum(e) for a in e])
    show("log_softmax", [a - math.log(sum(e)) for a in x])
    m = sum(x) / 4
    s = math.sqrt(sum((a - m) ** 2 for a in x) / 4 + 1e-5)
    show("layernorm", [(a - m) / s for a in x])
    q = math.sqrt(sum(a * a for a in x) / 4 + 1e-6)
    show("rmsnorm", [a / q for a in x])
    # functions/expscan.nd: tau = 4 ticks.
    y, rows = 0.0, []
    for a in [1, 0, 0, 2, 0]:
        y = math.exp(-0.25) * y + a
        rows.append(y)
    show("expscan", rows)


def arrays():
    kernel = np.array([[[[1, 2], [4, 8]]], [[[0.5, 0], [0, -1]]]], np.float32)
    delay = np.array([[[[0, 1], [2, 3]]], [[[1, 1], [1, 1]]]], np.float32)
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3) * 10
    table = np.array([[2, 0], [0, 1], [2, 1], [0, 1]], np.int64)
    rows = np.array([1, 2, 4, 8], np.float32)
    ticks = np.array([0, 1, 2, 1], np.float32)
    np.savez(os.path.join(HERE, "connections", "tensors.npz"),
             kernel=kernel, delay=delay, matrix=matrix, table=table, rows=rows, ticks=ticks)
    bad = matrix.copy()
    bad[1, 2] = np.nan
    np.savez(os.path.join(HERE, "refused", "bad.npz"), nan=bad, matrix=matrix)


if __name__ == "__main__":
    arrays()
    solvers()
    plasticity()
    functions()
