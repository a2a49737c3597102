"""Makes the weights and the input files of the examples: weights/* and data/*.

    python3 make_weights.py                                  # all but the readout of lsm.nd
    python3 make_weights.py --nc ../target/release/nc        # all
    python3 make_weights.py --nc ../target/release/nc lsm    # one of classifier, egru_lm, motion, lsm, learn

Needs numpy alone. Everything is made from fixed seeds. The classifier and the language model are trained here by gradient
descent through time with surrogate gradients; the kernels of the motion detector follow from geometry; the readout of the
liquid state machine is a ridge regression on what `nc` records from the reservoir.
"""
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import struct
import subprocess
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def save_safetensors(name, arrays):
    """Writes float32 arrays: the length of a JSON header, the header, the data."""
    header, data = {}, b""
    for key in sorted(arrays):
        a = np.ascontiguousarray(arrays[key], np.float32)
        header[key] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, "weights", name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def save_data(name, **arrays):
    """Writes an input file."""
    np.savez_compressed(os.path.join(HERE, "data", name), **arrays)


class Var:
    """A value that remembers how it was computed, for reverse-mode differentiation."""

    tape = []

    def __init__(self, value, back=None):
        self.value, self.grad = value, None
        self.back = back
        if back:
            Var.tape.append(self)

    def give(self, grad):
        """Adds to the gradient; an axis that was broadcast is summed."""
        while grad.ndim > self.value.ndim:
            grad = grad.sum(0)
        self.grad = grad if self.grad is None else self.grad + grad

    def __add__(self, o):
        return Var(self.value + o.value, lambda g: (self.give(g), o.give(g)))

    def __sub__(self, o):
        return Var(self.value - o.value, lambda g: (self.give(g), o.give(-g)))

    def __mul__(self, o):
        return Var(self.value * o.value, lambda g: (self.give(g * o.value), o.give(g * self.value)))

    def scaled(self, k):
        return Var(self.value * k, lambda g: self.give(g * k))

    def linear(self, w):
        """Rows times the transpose of w [out, in]."""
        return Var(self.value @ w.value.T, lambda g: (self.give(g @ w.value), w.give(g.T @ self.value)))

    def sigmoid(self):
        y = 1 / (1 + np.exp(-self.value))
        return Var(y, lambda g: self.give(g * y * (1 - y)))

    def tanh(self):
        y = np.tanh(self.value)
        return Var(y, lambda g: self.give(g * (1 - y * y)))

    def step(self):
        """1 above zero; backwards, a triangle around it."""
        slope = 0.7 * np.maximum(0, 1 - np.abs(self.value))
        return Var((self.value > 0).astype(self.value.dtype), lambda g: self.give(g * slope))

    def part(self, k, n):
        """The k-th of n equal parts of the last axis."""
        w = self.value.shape[1] // n
        cut = slice(k * w, (k + 1) * w)

        def back(g):
            whole = np.zeros_like(self.value)
            whole[:, cut] = g
            self.give(whole)

        return Var(self.value[:, cut], back)

    def rows(self, index):
        """Rows of a table."""

        def back(g):
            whole = np.zeros_like(self.value)
            np.add.at(whole, index, g)
            self.give(whole)

        return Var(self.value[index], back)

    def normalised(self, eps=1e-5):
        """Mean 0 and variance 1 along the last axis."""
        d = self.value - self.value.mean(-1, keepdims=True)
        s = np.sqrt((d * d).mean(-1, keepdims=True) + eps)
        y = d / s
        mean = lambda a: a.mean(-1, keepdims=True)
        return Var(y, lambda g: self.give((g - mean(g) - y * mean(g * y)) / s))


def cross_entropy(logits, labels):
    """The mean loss, and its gradient as the start of the way back."""
    top = logits.value - logits.value.max(1, keepdims=True)
    p = np.exp(top)
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    g = p.copy()
    g[rows, labels] -= 1
    logits.give(g / len(labels))
    return float(-np.log(p[rows, labels] + 1e-12).mean())


class Adam:
    """Gradient descent with momentum and scaling."""

    def __init__(self, params, rate):
        self.params, self.rate, self.t = params, rate, 0
        self.m = {k: 0.0 for k in params}
        self.v = {k: 0.0 for k in params}

    def go(self, rate=1.0):
        """One step along the gradients that the tape gives; empties the tape."""
        for node in reversed(Var.tape):
            if node.grad is not None:
                node.back(node.grad)
        Var.tape.clear()
        self.t += 1
        norm = np.sqrt(sum(float((p.grad**2).sum()) for p in self.params.values()))
        for k, p in self.params.items():
            g = p.grad * min(1.0, 1.0 / (norm + 1e-9))
            self.m[k] = 0.9 * self.m[k] + 0.1 * g
            self.v[k] = 0.99 * self.v[k] + 0.01 * g * g
            m, v = self.m[k] / (1 - 0.9**self.t), self.v[k] / (1 - 0.99**self.t)
            p.value -= self.rate * rate * m / (np.sqrt(v) + 1e-8)
            p.grad = None


# classifier.nd

DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up as (dy, dx)


def moving_bars(rng, labels, ticks=24, size=16):
    """Events [ticks, samples, polarity, y, x] of bars that move at constant speed around a torus."""
    x = np.zeros((ticks, len(labels), 2, size, size), bool)
    for b, c in enumerate(labels):
        dy, dx = DIRECTIONS[c]
        speed, start, width = rng.uniform(0.6, 1.0), rng.uniform(0, size), rng.integers(2, 5)
        along = np.arange(size)[None, :] if dx else np.arange(size)[:, None]
        frame = None
        for t in range(ticks + 1):
            at = start + (dx + dy) * speed * t
            now = np.broadcast_to(np.mod(along - np.floor(at), size) < width, (size, size))
            if frame is not None:
                x[t - 1, b] = now & ~frame, frame & ~now
            frame = now
    keep = rng.random(x.shape) < 0.85
    return x & keep | (rng.random(x.shape) < 0.01)


def oriented_kernels():
    """Two kernels for each direction: light going on in front of light going off."""
    k = np.zeros((8, 2, 5, 5))
    ys, xs = np.mgrid[-2:3, -2:3]
    for c, (dy, dx) in enumerate(DIRECTIONS):
        ahead = ys * dy + xs * dx
        for half, reach in enumerate((1.0, 2.0)):
            k[2 * c + half, 0] = np.where(np.abs(ahead) <= reach, ahead, 0)
            k[2 * c + half, 1] = -k[2 * c + half, 0]
    return 0.12 * k / np.abs(k).max(axis=(1, 2, 3), keepdims=True), np.full(8, -0.05)


def first_layer(x, kernels, bias):
    """Pooled spikes of h1, flat: [ticks, samples, 288]."""
    view = np.lib.stride_tricks.sliding_window_view(x.astype(np.float32), (5, 5), axis=(3, 4))
    i = np.einsum("tbpyxuv,kpuv->tbkyx", view, kernels, optimize=True) + bias[:, None, None]
    v = np.zeros(i.shape[1:])
    out = []
    for now in i:
        v = 0.9 * v + now
        s = v > 1
        v = v - s
        out.append(s.reshape(len(s), 8, 6, 2, 6, 2).sum((3, 5)).reshape(len(s), -1))
    return np.array(out, np.float32)


def classifier(_):
    rng = np.random.default_rng(1)
    kernels, bias = oriented_kernels()
    train, test = rng.integers(0, 4, 320), np.arange(80) % 4
    x_test = moving_bars(rng, test)
    f_train = first_layer(moving_bars(rng, train), kernels, bias)
    f_test = first_layer(x_test, kernels, bias)
    params = {
        "fc1.weight": Var(rng.normal(0, 0.05, (32, 288)).astype(np.float32)),
        "fc1.bias": Var(np.full(32, 0.02, np.float32)),
        "fc2.weight": Var(rng.normal(0, 0.2, (4, 32)).astype(np.float32)),
        "fc2.bias": Var(np.zeros(4, np.float32)),
    }

    def logits(features):
        n, one = features.shape[1], Var(np.float32(1))
        v, o, s = Var(np.zeros((n, 32), np.float32)), Var(np.zeros((n, 4), np.float32)), None
        for f in features:
            v = v.scaled(0.95) + (Var(f).linear(params["fc1.weight"]) + params["fc1.bias"])
            s = (v - one).step()
            v = v - s
            o = o.scaled(0.9) + (s.linear(params["fc2.weight"]) + params["fc2.bias"])
        return o

    adam = Adam(params, 0.004)
    for step in range(160):
        pick = rng.choice(len(train), 64, replace=False)
        loss = cross_entropy(logits(f_train[:, pick]), train[pick])
        adam.go()
        if step % 40 == 39:
            print(f"classifier: step {step + 1}, loss {loss:.3f}", flush=True)
    right = (logits(f_test).value.argmax(1) == test).mean()
    Var.tape.clear()
    print(f"classifier: {right:.1%} of {len(test)} test samples right")
    arrays = {k: p.value for k, p in params.items()}
    save_safetensors("classifier.safetensors", {**arrays, "conv1.weight": kernels, "conv1.bias": bias})
    save_data("classifier.npz", x=x_test[:, :8])


# egru_lm.nd

ALPHABET = "abcdefghijklmnopqrstuvwxyz ."


def story(rng, sentences):
    """Sentences of a small grammar."""
    nouns = "fox owl river child stone lantern wolf garden".split()
    adjectives = "red quiet small old bright".split()
    verbs = "sees follows hears finds leaves".split()
    out = []
    for _ in range(sentences):
        noun = lambda: rng.choice(["the", "a"]) + " " + (rng.choice(adjectives) + " " if rng.random() < 0.5 else "") + rng.choice(nouns)
        out.append(f"{noun()} {rng.choice(verbs)} {noun()}.")
    return " ".join(out)


def egru_lm(_):
    rng = np.random.default_rng(2)
    text = np.array([ALPHABET.index(c) for c in story(rng, 1500)])
    test = np.array([ALPHABET.index(c) for c in story(np.random.default_rng(3), 40)])
    vocab, d, n, batch, length = len(ALPHABET), 32, 64, 24, 40
    sizes = [(d, n), (n, d)]
    matrix = lambda o, i: Var((rng.normal(0, 1, (o, i)) / np.sqrt(i)).astype(np.float32))
    params = {"embed.weight": Var(rng.normal(0, 0.3, (vocab, d)).astype(np.float32))}
    params["norm.weight"], params["norm.bias"] = Var(np.ones(d, np.float32)), Var(np.zeros(d, np.float32))
    thetas = []
    for k, (i, o) in enumerate(sizes):
        params[f"rnn.{k}.w_ih"], params[f"rnn.{k}.w_hh"] = matrix(3 * o, i), matrix(3 * o, o)
        params[f"rnn.{k}.b"] = Var(np.zeros(3 * o, np.float32))
        thetas.append(rng.uniform(0.05, 0.3, o).astype(np.float32))

    def zero(b):
        return [(np.zeros((b, o), np.float32), np.zeros((b, o), np.float32)) for _, o in sizes]

    def forward(tokens, state):
        """Logits for each tick of tokens [ticks, samples], and the state after them."""
        one = Var(np.float32(1))
        cells = [(Var(c), Var(y)) for c, y in state]
        out, active = [], []
        for t in tokens:
            x = params["embed.weight"].rows(t)
            for k, (c, y) in enumerate(cells):
                a = x.linear(params[f"rnn.{k}.w_ih"]) + params[f"rnn.{k}.b"]
                h = y.linear(params[f"rnn.{k}.w_hh"])
                u = (a.part(0, 3) + h.part(0, 3)).sigmoid()
                r = (a.part(1, 3) + h.part(1, 3)).sigmoid()
                z = (a.part(2, 3) + r * h.part(2, 3)).tanh()
                cand = u * z + (one - u) * c
                theta = Var(thetas[k])
                fire = (cand - theta).step()
                x = fire * cand
                cells[k] = (cand - fire * theta, x)
                active.append(fire.value.mean())
            q = x.normalised() * params["norm.weight"] + params["norm.bias"]
            out.append(q.linear(params["embed.weight"]))
        return out, [(c.value, y.value) for c, y in cells], np.mean(active)

    def rows(tokens, b):
        return tokens[: len(tokens) // b * b].reshape(b, -1).T

    data, adam, state, at, steps = rows(text, batch), Adam(params, 0.006), zero(batch), 0, 600
    for step in range(steps):
        if at + length + 1 > len(data):
            at, state = 0, zero(batch)
        out, state, active = forward(data[at : at + length], state)
        losses = [cross_entropy(o, data[at + 1 + k]) for k, o in enumerate(out)]
        at += length
        adam.go(min(1.0, 2.0 * (1 - step / steps)))
        if step % 100 == 99:
            print(f"egru_lm: step {step + 1}, perplexity {np.exp(np.mean(losses)):.2f}, active {active:.2f}", flush=True)
    out, _, active = forward(test[:-1, None], zero(1))
    losses = [cross_entropy(o, test[k + 1 : k + 2]) for k, o in enumerate(out)]
    Var.tape.clear()
    print(f"egru_lm: test perplexity {np.exp(np.mean(losses)):.3f}, {active:.0%} of the units active")
    arrays = {k: p.value for k, p in params.items()}
    arrays.update({f"rnn.{k}.theta": t for k, t in enumerate(thetas)})
    save_safetensors("egru_lm.safetensors", arrays)
    save_data("egru_lm.npz", token=test[:400].astype(np.int64))


# motion.nd

def motion(_):
    size, k, ticks = 24, 5, 50
    kernel = np.full((4, 2, k, k), 1.5 / 18, np.float32)
    ys, xs = np.mgrid[0:k, 0:k]
    # Right, down, left, up: what passes a tap early must wait for what passes the last one.
    waits = (k - 1 - xs, k - 1 - ys, xs, ys)
    delay = np.stack([np.stack([w, w]) for w in waits]).astype(np.float32)
    np.savez(os.path.join(HERE, "weights", "motion.npz"), kernel=kernel, delay=delay)
    rng = np.random.default_rng(4)
    parts = []
    for dy, dx in DIRECTIONS:
        ev = np.zeros((ticks, 2, size, size), bool)
        for t in range(ticks):
            at = (size // 2 + (dx + dy) * t) % size
            for polarity, shift in ((0, 0), (1, -3 * (dx + dy))):
                line = (at + shift) % size
                if dx:
                    ev[t, polarity, 4:20, line] = True
                else:
                    ev[t, polarity, line, 4:20] = True
        parts.append(ev | (rng.random(ev.shape) < 0.002))
    save_data("motion.npz", ev=np.concatenate(parts))


# lsm.nd

def patterns(rng, labels, templates, ticks):
    """Each template with jittered, missing and additional spikes: [ticks, samples, 12]."""
    x = np.zeros((ticks, len(labels), 12), bool)
    for b, c in enumerate(labels):
        t, ch = np.nonzero(templates[c])
        keep = rng.random(len(t)) < 0.9
        t = np.clip(t + np.round(rng.normal(0, 6, len(t))).astype(int), 0, ticks - 1)
        x[t[keep], b, ch[keep]] = True
    return x | (rng.random(x.shape) < 0.002)


def lsm(nc):
    if nc is None:
        print("lsm: left out, because the readout is fitted to what the reservoir does: give --nc")
        return
    rng = np.random.default_rng(5)
    ticks, classes = 400, 4
    templates = rng.random((classes, ticks, 12)) < 0.02
    train, test = np.arange(240) % classes, np.arange(80) % classes
    x_train, x_test = patterns(rng, train, templates, ticks), patterns(rng, test, templates, ticks)
    weights = os.path.join(HERE, "weights", "lsm.npz")
    np.savez(weights, W=np.zeros((classes, 135), np.float32), b=np.zeros(classes, np.float32))

    def run(x):
        with tempfile.TemporaryDirectory() as tmp:
            source, result = os.path.join(tmp, "in.npz"), os.path.join(tmp, "out.npz")
            np.savez(source, u=x)
            subprocess.run([nc, "run", os.path.join(HERE, "lsm.nd"), "--input", source, "--output", result], check=True)
            with np.load(result) as z:
                return z["liquid"], z["probs"]

    liquid, _ = run(x_train)
    # Each of the last three recordings, 30 ms, is one row of the regression.
    rows = liquid[-3:].reshape(-1, 135).astype(np.float64)
    target = np.tile(np.eye(classes)[train], (3, 1)) * 2 - 1
    mean = rows.mean(0)
    centred = rows - mean
    w = np.linalg.solve(centred.T @ centred + 30 * np.eye(135), centred.T @ (target - target.mean(0)))
    gain = 4.0
    b = gain * (target.mean(0) - mean @ w)
    np.savez(weights, W=(gain * w.T).astype(np.float32), b=b.astype(np.float32))
    _, probs = run(x_test)
    right = (probs[-1].argmax(1) == test).mean()
    print(f"lsm: {right:.1%} of {len(test)} test samples right")
    save_data("lsm.npz", u=x_test[:, :4])


# learn.nd

def learn(_):
    rng = np.random.default_rng(6)
    ticks, inputs, together, dt = 20000, 100, 20, 1e-4
    u = rng.random((ticks, inputs)) < 10 * dt
    u[:, :together] = rng.random((ticks, together)) < 2 * dt
    for t in np.nonzero(rng.random(ticks) < 8 * dt)[0]:
        for k in np.nonzero(rng.random(together) < 0.9)[0]:
            u[min(ticks - 1, t + int(rng.integers(0, 30))), k] = True
    save_data("learn.npz", u=u)


MAKERS = {"classifier": classifier, "egru_lm": egru_lm, "motion": motion, "lsm": lsm, "learn": learn}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nc", help="the compiler, for what is fitted to recordings")
    p.add_argument("what", nargs="*", help=", ".join(MAKERS))
    a = p.parse_args()
    for name in a.what or MAKERS:
        if name not in MAKERS:
            raise SystemExit(f"{name} is none of {', '.join(MAKERS)}")
        MAKERS[name](a.nc)


if __name__ == "__main__":
    main()
