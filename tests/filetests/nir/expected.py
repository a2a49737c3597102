"""Writes the models and the expected arrays of the tests of NIR discretisations.

    python3 expected.py

Every preset is computed here in double precision from its rule, without nc. The net has a neuron with a current, a recurrent
connection with a bias, a leak and a reset potential, so that each knob changes what comes out; this is asserted, and so is
that no membrane comes so close to its threshold that rounding could decide. Needs numpy and h5py.
"""
import os

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
T, DT = 40, 1e-3
# A net for which the assertions below hold.
SEED, SEED_WHOLE = 9, 1
RNG = np.random.default_rng(SEED)
X = (RNG.random((T, 3)) < 0.45).astype(np.float32)


def write(name, nodes, edges):
    def put(group, items):
        for k, v in items.items():
            if isinstance(v, dict):
                put(group.create_group(k), v)
            elif isinstance(v, str):
                group.create_dataset(k, data=v, dtype=h5py.string_dtype())
            else:
                group.create_dataset(k, data=v)

    # The newest layout of HDF5: small files, and another one than what the reference data uses.
    with h5py.File(os.path.join(HERE, name), "w", libver="latest") as f:
        f.create_dataset("version", data="1.0.8", dtype=h5py.string_dtype())
        node = f.create_group("node")
        put(node, {"type": "NIRGraph", "nodes": nodes})
        node.create_dataset("edges", data=np.array(edges, dtype=object), dtype=h5py.string_dtype())


def net(rng, leak, reset):
    f = lambda *a: np.array(a, np.float32)
    w = lambda r, c, s: np.round(rng.normal(0, s, (r, c)), 3).astype(np.float32)
    nodes = {
        "input": {"type": "Input", "shape": np.array([3])},
        "w1": {"type": "Affine", "weight": w(4, 3, 0.9), "bias": f(0.11, -0.07, 0.05, 0.13)},
        "cuba": {
            "type": "CubaLIF", "tau_syn": f(3e-3, 4e-3, 5e-3, 6e-3), "tau_mem": f(5e-3, 8e-3, 1e-2, 7e-3),
            "r": f(2.6, 3.1, 2.9, 2.2), "w_in": f(1.5, 2.0, 2.5, 1.8), "v_leak": f(*leak), "v_threshold": f(0.9, 1.1, 1.0, 0.8),
            "v_reset": f(*reset),
        },
        "rec": {"type": "Affine", "weight": w(4, 4, 0.5), "bias": f(0.06, 0.09, -0.05, 0.08)},
        "w2": {"type": "Linear", "weight": w(2, 4, 1.1)},
        "lif": {"type": "LIF", "tau": f(4e-3, 6e-3), "r": f(2.0, 3.0), "v_leak": f(*leak[:2]), "v_threshold": f(0.35, 0.3), "v_reset": f(*reset[:2])},
        "if": {"type": "IF", "r": f(0.5, 0.4, 0.6, 0.7), "v_threshold": f(0.5, 0.7, 1.0, 0.9), "v_reset": f(*reset)},
        "output": {"type": "Output", "shape": np.array([2])},
        "counts": {"type": "Output", "shape": np.array([4])},
    }
    edges = [("input", "w1"), ("w1", "cuba"), ("rec", "cuba"), ("cuba", "rec"), ("cuba", "w2"), ("w2", "lif"), ("lif", "output"), ("w1", "if"), ("if", "counts")]
    return nodes, edges


BASE = dict(decay="euler", gain="dt/tau", order="synapse-first", reset="v_reset", compare=">", spikes="one", input_delay=0,
            recurrent_delay=1, recurrent_bias="always", bias="current", clamp=None, weights="float")
TRAINED = dict(BASE, reset="zero")
RULES = {
    "euler": BASE,
    "snntorch": TRAINED,
    "snntorch-subtract": dict(TRAINED, reset="subtract-late"),
    "norse": dict(TRAINED, recurrent_bias="after-first"),
    "sinabs": dict(BASE, decay="exp", reset="subtract", spikes="many"),
    "spikingjelly": dict(BASE, compare=">="),
    "lava-float": dict(TRAINED, input_delay=1),
    "spinnaker2": dict(TRAINED, input_delay=1, weights="trunc8", bias="membrane"),
    "spyx": dict(TRAINED, input_delay=1, reset="subtract"),
    "nengo": dict(BASE, decay="exp", gain="1-exp", reset="zero"),
    "rockpool": dict(BASE, decay="exp", reset="subtract", spikes="many"),
    "exact": dict(BASE, decay="exp", gain="1-exp", order="joint"),
}
SAID = {"snntorch-subtract": "snntorch,reset=subtract"}
OTHER = dict(decay=["exp", "euler"], gain=["1-exp", "dt/tau", "1"], order=["membrane-first", "synapse-first"],
             reset=["zero", "v_reset", "subtract", "subtract-late"], spikes=["many", "one"], input_delay=[2, 0], recurrent_delay=[2],
             recurrent_bias=["after-first", "never", "always"], bias=["membrane", "current"], clamp=[(-0.4, 0.95)],
             weights=["trunc8", "float"])


def simulate(nodes, k):
    """Spikes of the current-based layer, of the two others, and both membranes."""
    d = {n: {q: np.asarray(v, np.float64) for q, v in p.items() if q != "type"} for n, p in nodes.items()}
    c, lif, one = d["cuba"], d["lif"], d["if"]
    keep = lambda tau: 1 - DT / tau if k["decay"] == "euler" else np.exp(-DT / tau)
    take = lambda tau: {"dt/tau": DT / tau, "1-exp": 1 - np.exp(-DT / tau), "1": np.ones_like(tau)}[k["gain"]]
    w1, rec, w2, s1, s2, s3 = d["w1"]["weight"], d["rec"]["weight"], d["w2"]["weight"], 1.0, 1.0, 1.0
    v1 = w1
    if k["weights"] == "trunc8":
        m = max(np.abs(w1).max(), np.abs(rec).max())
        v1, w1, rec, s1 = np.trunc(w1 * 127 / np.abs(w1).max()), np.trunc(w1 * 127 / m), np.trunc(rec * 127 / m), 127 / m
        s3 = 127 / np.abs(d["w1"]["weight"]).max()
        s2, w2 = 127 / np.abs(w2).max(), np.trunc(w2 * 127 / np.abs(w2).max())
    b1, br, b3 = d["w1"]["bias"] * s1, d["rec"]["bias"] * s1, d["w1"]["bias"] * s3
    close = [np.inf]

    def fire(v, before, th, reset, s):
        q = 0.0
        if k["reset"] == "subtract-late":
            q = (before > th * s) * 1.0
            v = v - q * th * s
        if k["clamp"]:
            v = np.clip(v, *k["clamp"])
        if k["spikes"] == "many":
            z = np.maximum(np.floor(v / (th * s)), 0)
            close.append(np.abs(v / (th * s) - np.round(v / (th * s))).min())
        else:
            z = ((v > th * s) if k["compare"] == ">" else (v >= th * s)) * 1.0
            if not k["clamp"]:
                close.append(np.abs(v / s - th).min())
        if k["reset"] == "zero":
            v = np.where(z > 0, 0, v)
        elif k["reset"] == "v_reset":
            v = np.where(z > 0, reset * s, v)
        elif k["reset"] == "subtract":
            v = v - z * th * s
        else:
            v = v - (z - q) * th * s
        return z, v

    i, v, u, n = np.zeros(4), np.zeros(4), np.zeros(2), np.zeros(4)
    past = [np.zeros(4)] * 8
    out = dict(cuba=[], output=[], counts=[], v=[], u=[])
    for t in range(T):
        x = X[t - k["input_delay"]].astype(np.float64) if t >= k["input_delay"] else np.zeros(3)
        b = br * {"always": 1, "never": 0, "after-first": t > 0}[k["recurrent_bias"]]
        zr = past[k["recurrent_delay"] - 1]
        cur, extra = w1 @ x + rec @ zr, b1 + b
        if k["bias"] == "current":
            cur, extra = cur + extra, 0.0
        before, old = v, i
        if k["order"] == "joint":
            es, em = np.exp(-DT / c["tau_syn"]), np.exp(-DT / c["tau_mem"])
            # Both equations by many small steps of a classical method: slow, and independent of a closed form.
            ii, vv = i.copy(), v.copy()
            n_sub = 200
            h = DT / n_sub
            fi = lambda ii: (c["w_in"] * cur - ii) / c["tau_syn"]
            fv = lambda vv, ii: (c["v_leak"] - vv + c["r"] * ii) / c["tau_mem"]
            for _ in range(n_sub):
                k1, l1 = fi(ii), fv(vv, ii)
                k2, l2 = fi(ii + h / 2 * k1), fv(vv + h / 2 * l1, ii + h / 2 * k1)
                k3, l3 = fi(ii + h / 2 * k2), fv(vv + h / 2 * l2, ii + h / 2 * k2)
                k4, l4 = fi(ii + h * k3), fv(vv + h * l3, ii + h * k3)
                ii, vv = ii + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), vv + h / 6 * (l1 + 2 * l2 + 2 * l3 + l4)
            i, v = ii, vv
            del es, em
        else:
            i = keep(c["tau_syn"]) * i + take(c["tau_syn"]) * c["w_in"] * cur
            given = i if k["order"] == "synapse-first" else old
            v = keep(c["tau_mem"]) * v + take(c["tau_mem"]) * c["r"] * (given + c["w_in"] * extra)
            v = v + (1 - keep(c["tau_mem"])) * c["v_leak"] * s1
        z, v = fire(v, before, c["v_threshold"], c["v_reset"], s1)
        past = [z] + past[:-1]
        y = w2 @ z
        before = u
        u = keep(lif["tau"]) * u + take(lif["tau"]) * lif["r"] * y + (1 - keep(lif["tau"])) * lif["v_leak"] * s2
        zl, u = fire(u, before, lif["v_threshold"], lif["v_reset"], s2)
        before = n
        n = n + one["r"] * (v1 @ x + b3)
        zi, n = fire(n, before, one["v_threshold"], one["v_reset"], s3)
        for name, a in (("cuba", z), ("output", zl), ("counts", zi), ("v", v), ("u", u)):
            out[name].append(np.array(a))
    return {n: np.stack(a) for n, a in out.items()}, min(close)


def lava(nodes):
    """The integers of Loihi: LIF as Lava computes it, CubaLIF as lava-dl does."""
    d = {n: {q: np.asarray(v, np.float64) for q, v in p.items() if q != "type"} for n, p in nodes.items()}
    c, lif, one = d["cuba"], d["lif"], d["if"]
    less = lambda x, keep: np.where(x < 0, -((np.abs(x) * keep) >> 12), (np.abs(x) * keep) >> 12)
    keep_dl = lambda tau: (4096 - np.rint(4096 * DT / tau)).astype(np.int64)
    keep_lava = lambda tau: (4096 - np.trunc(4096 * DT / tau)).astype(np.int64)
    i, v, u, n, zr = (np.zeros(q, np.int64) for q in (4, 4, 2, 4, 4))
    out = dict(cuba=[], output=[], counts=[], v=[], u=[])
    near = [1.0]

    def cut(x):
        near.append(np.abs(x - np.round(x)).min() if np.any(x) else 1.0)
        return np.trunc(x).astype(np.int64)

    for t in range(T):
        x = X[t].astype(np.float64)
        i = less(i, keep_dl(c["tau_syn"])) + cut(4096 * (DT / c["tau_syn"] * c["w_in"]) * (d["w1"]["weight"] @ x + d["w1"]["bias"] + d["rec"]["weight"] @ zr))
        # lava-dl takes nets in which this gain is 1, as in this one.
        assert np.all(np.float32(DT / c["tau_mem"] * c["r"]) == 1)
        v = less(v, keep_dl(c["tau_mem"])) + i
        z = v >= np.round(4096 * c["v_threshold"])
        v = np.where(z, 0, v)
        zr = z.astype(np.int64)
        u = less(u, keep_lava(lif["tau"])) + 64 * cut(256 * (DT / lif["tau"] * lif["r"]) * (d["w2"]["weight"] @ zr))
        zl = u > 64 * np.trunc(256 * lif["v_threshold"])
        u = np.where(zl, 0, u)
        n = n + 64 * cut(256 * one["r"] * (d["w1"]["weight"] @ x + d["w1"]["bias"]))
        zi = n > 64 * np.trunc(256 * one["v_threshold"])
        n = np.where(zi, 0, n)
        for name, a in (("cuba", z), ("output", zl), ("counts", zi), ("v", v), ("u", u)):
            out[name].append(np.array(a))
    return {n: np.stack(a) for n, a in out.items()}, min(near)


def save(name, out, many):
    ints = out["v"].dtype == np.int64
    kind = np.float32 if many else bool
    np.savez_compressed(os.path.join(HERE, name), cuba=out["cuba"].astype(kind), output=out["output"].astype(kind), counts=out["counts"].astype(kind),
                        **{n: out[q] if ints else out[q].astype(np.float32) for n, q in (("cuba.v", "v"), ("lif.v", "u"))})


def main():
    nodes, edges = net(RNG, (0.05, -0.03, 0.02, 0.04), (-0.1, 0.05, -0.05, -0.2))
    write("knobs.nir", nodes, edges)
    whole, _ = net(np.random.default_rng(SEED_WHOLE), (0, 0, 0, 0), (0, 0, 0, 0))
    whole["cuba"]["r"] = whole["cuba"]["tau_mem"].astype(np.float64) / DT
    whole["cuba"]["w_in"] = np.array([0.7, 0.9, 0.6, 0.5], np.float32)
    write("whole.nir", whole, edges)
    np.savez_compressed(os.path.join(HERE, "in.npz"), input=X)
    out, near = lava(whole)
    assert near > 1e-3, near
    assert all(out[q].any() for q in ("cuba", "output", "counts")), {q: out[q].sum(0) for q in ("cuba", "output", "counts")}
    save("lava-fixed.npz", out, False)
    tests = ['# Made by expected.py.', 'model = "knobs.nir"', ""]
    for name, k in RULES.items():
        out, close = simulate(nodes, k)
        assert close > 2e-5, (name, close)
        assert all(out[q].any() for q in ("cuba", "output", "counts")), (name, {q: out[q].sum(0) for q in ("cuba", "output", "counts")})
        for knob, values in OTHER.items():
            if k["order"] == "joint" and knob in ("decay", "gain", "bias"):
                continue
            for value in values:
                if k[knob] == value or (value == "subtract-late" and k["spikes"] == "many") or (value == "many" and k["reset"] == "subtract-late"):
                    continue
                other, _ = simulate(nodes, dict(k, **{knob: value}))
                assert any(not np.array_equal(out[q], other[q]) for q in ("cuba", "output", "counts", "v", "u")), (name, knob, value)
        save(f"{name}.npz", out, k["spikes"] == "many")
        tests += [f"test {name}", f"  dt = {DT}", f"  discretise = {SAID.get(name, name)}", '  input = "in.npz"',
                  f'  output = "{name}.npz"', "  probe cuba", "  probe cuba.v", "  probe lif.v", "  rtol = 1e-3", "  atol = 1e-4", ""]
    lines = ['# Made by expected.py.', 'model = "whole.nir"', "", "test lava-fixed", f"  dt = {DT}", "  discretise = lava-fixed",
             '  input = "in.npz"', '  output = "lava-fixed.npz"', "  probe cuba", "  probe cuba.v", "  probe lif.v", ""]
    for file, text in (("knobs.test", tests), ("whole.test", lines)):
        with open(os.path.join(HERE, file), "w") as f:
            f.write("\n".join(text))


if __name__ == "__main__":
    main()
