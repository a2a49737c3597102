"""The networks of gpu_nets.py by torch: called tick by tick, and as a captured graph of GRAPH ticks."""
import os
import statistics

import numpy as np

from gpu_nets import module_of, w1_net

# Ticks of a captured graph.
GRAPH = 50


def beside(a, runner, say):
    """Times of ticks of the same networks by torch."""
    try:
        import torch
    except ImportError:
        say("torch is not there")
        return {}
    if not torch.cuda.is_available():
        say("torch has no device")
        return {}
    say(f"torch {torch.__version__}, matmul precision {torch.get_float32_matmul_precision()}")
    torch.set_grad_enabled(False)
    peers, rows = os.path.join(a.folder, "peers"), {}
    nets = {f"w1_{n}": (lambda n=n: torch_w1(torch, n)) for n in (4000, 40000)}
    nets.update({f"w2_{b}": (lambda b=b: torch_w2(torch, peers, b)) for b in (1, 32, 1024)})
    nets.update({"w4": lambda: torch_w4(torch, peers), "w5": lambda: torch_w5(torch, peers)})
    nets["w1_400000"] = lambda: torch_w1(torch, 400000)
    for name, make in nets.items():
        if (a.only and name not in a.only) or not os.path.isdir(peers):
            continue
        if runner.left() <= 5:
            say(f"torch {name}: no time is left")
            continue
        row = rows[f"torch {name}"] = {}
        try:
            net = make()
            for form, tick in net.items():
                row.update(timed(torch, name, form, tick))
            best = [row[k] for k in row if k.endswith("graph") and k != "graph"]
            if best:
                row["graph"] = min(best)
            best = [row[k] for k in row if k.endswith("called") and k != "called"]
            if best:
                row["called"] = min(best)
        except Exception as e:  # noqa: BLE001
            row["wrong"] = f"{type(e).__name__}: {e}"
        shown = ", ".join(f"{k} {v * 1e6:.2f} us" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        say(f"torch {name:10} {shown}")
        torch.cuda.empty_cache()
    return rows


def timed(torch, name, form, tick):
    """Median seconds of a tick: called, and in a graph of GRAPH ticks. `tick` takes its number and keeps its own state;
    `tick.all` runs so many ticks in one call."""
    out, mark = {}, f"{form} " if form else ""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def measure(f, ticks, rounds):
        f()
        torch.cuda.synchronize()
        all = []
        for _ in range(rounds):
            events[0].record()
            f()
            events[1].record()
            torch.cuda.synchronize()
            all.append(events[0].elapsed_time(events[1]) * 1e-3 / ticks)
        return statistics.median(all)

    if getattr(tick, "all", None):
        return {mark + "called": measure(tick.all, tick.ticks, 7)}

    def ticks():
        for t in range(GRAPH):
            tick(t)

    out[mark + "called"] = measure(ticks, GRAPH, 5)
    if getattr(tick, "eager", False):
        return out
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            ticks()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            ticks()
        out[mark + "graph"] = measure(graph.replay, GRAPH, 7)
    except RuntimeError as e:
        out[mark + "no graph"] = str(e).splitlines()[0]
        torch.cuda.synchronize()
    if getattr(tick, "check", None):
        out.update({mark + k: v for k, v in tick.check().items()})
    return out


def torch_w1(torch, n):
    """CUBA: a decay each for the membrane and the two currents (exact), spikes delivered in the next tick. `list`: the
    indices of spikes, as many as there is room for, and additions to their targets. `rows`: the same without a bound,
    which a graph cannot hold. `matrix`: a sparse matrix times the vector of spikes, which reads every synapse."""
    pre, post, v0 = w1_net(n)
    dev, ne = "cuda", n * 4 // 5
    count = np.bincount(pre, minlength=n)
    start = np.concatenate([[0], np.cumsum(count)])
    width = int(count.max())
    padded = np.full((n + 1, width), n, np.int32)
    padded[pre, np.arange(len(pre)) - start[pre]] = post
    padded = torch.from_numpy(padded).to(dev)
    dt, tm, te, ti = 0.1, 20.0, 5.0, 10.0
    am, ae, ai = (float(np.exp(-dt / t)) for t in (tm, te, ti))
    be, bi = te / (tm - te) * (am - ae), ti / (tm - ti) * (am - ai)
    cap = max(n // 100, 64)
    numbers = torch.arange(n, device=dev)
    # Slots without a spike have some neuron's targets and no weight: additions of nothing do not meet in one place.
    slots = torch.arange(cap + 1, device=dev)
    # Excitatory and inhibitory targets one behind the other, with a place for what is padded.
    kind = torch.cat([torch.zeros(ne, dtype=torch.int32), torch.full((n - ne + 1,), n + 1, dtype=torch.int32)]).to(dev)
    weight = torch.cat([torch.full((ne,), 1.62), torch.full((n - ne,), -9.0), torch.zeros(1)]).to(dev)

    def state():
        z = torch.zeros(n, device=dev)
        return {"v": torch.from_numpy(v0).to(dev), "g": torch.zeros(2 * (n + 1), device=dev), "r": z.clone(),
                "s": torch.zeros(n, dtype=torch.bool, device=dev),
                "most": torch.zeros((), dtype=torch.int64, device=dev),
                "all": torch.zeros((), dtype=torch.int64, device=dev)}

    def neurons(q):
        ge, gi = q["g"][:n], q["g"][n + 1 : 2 * n + 1]
        v = -49.0 + (q["v"] + 49.0) * am + ge * be + gi * bi
        held = q["r"] > 0
        v = torch.where(held, q["v"], v)
        s = (v > -50.0) & ~held
        q["v"].copy_(torch.where(s, -60.0, v))
        q["r"].copy_(torch.where(s, 49.0, q["r"] - 1.0))
        q["s"].copy_(s)
        ge.mul_(ae)
        gi.mul_(ai)
        q["all"].add_(s.sum())

    q = state()

    def as_list(_):
        s = q["s"]
        at = torch.cumsum(s, 0)
        q["most"].copy_(torch.maximum(q["most"], at[-1]))
        slot = torch.where(s & (at <= cap), at - 1, cap)
        who = slots.scatter(0, slot, numbers)
        w = weight[who] * (slots < at[-1].clamp(max=cap))
        to = padded[who] + kind[who][:, None]
        q["g"].index_add_(0, to.view(-1), w[:, None].expand(-1, width).reshape(-1))
        neurons(q)

    as_list.check = lambda: {"most spikes": int(q["most"]), "room": cap, "spikes": int(q["all"])}
    p = state()

    def as_rows(_):
        who = p["s"].nonzero()[:, 0]
        to = padded[who] + kind[who][:, None]
        p["g"].index_add_(0, to.view(-1), weight[who][:, None].expand(-1, width).reshape(-1))
        neurons(p)

    as_rows.eager = True
    as_rows.check = None
    forms = {"list": as_list, "rows": as_rows}
    if n <= 40000:
        order = np.lexsort((pre, post))
        fro = torch.from_numpy(np.concatenate([[0], np.cumsum(np.bincount(post, minlength=n))])).to(dev)
        of = torch.from_numpy(pre[order].astype(np.int64)).to(dev)
        we = torch.from_numpy(np.where(pre[order] < ne, 1.62, 0.0).astype(np.float32)).to(dev)
        wi = torch.from_numpy(np.where(pre[order] < ne, 0.0, -9.0).astype(np.float32)).to(dev)
        me, mi = (torch.sparse_csr_tensor(fro, of, w, (n, n)) for w in (we, wi))
        m = state()

        def as_matrix(_):
            s = m["s"].float()
            m["g"][:n].add_(me @ s)
            m["g"][n + 1 : 2 * n + 1].add_(mi @ s)
            neurons(m)

        forms["matrix"] = as_matrix
    return forms


def torch_w2(torch, peers, batch):
    m = module_of(os.path.join(peers, "w2_dense_snn", "net.py"), "net_w2")
    ws = [torch.from_numpy(w).cuda() for w in m.weights()]
    x = torch.from_numpy(m.inputs(batch)).cuda()
    vs = [torch.zeros(batch, o, device="cuda") for o in m.SIZES[1:]]

    def tick(t):
        y = x[t]
        for w, v in zip(ws, vs):
            torch.addmm(v, y, w, beta=m.BETA, out=v)
            y = (v >= m.THR).float()
            v.sub_(y)

    return {"": tick}


def torch_w4(torch, peers):
    """`step`: one step a call, as `layer` by the library's layer. `sequence`: that layer on all steps at once, which knows
    all inputs before it begins."""
    m = module_of(os.path.join(peers, "w4_rnn_step", "net.py"), "net_w4")
    h = 512
    (w, r, b), = m.weights("lstm", h, 1)
    # iofc to ifgo.
    re = lambda a: np.concatenate([a.reshape(4, h, -1)[k] for k in (0, 2, 3, 1)])
    bias = b[0].reshape(2, -1)
    net = torch.nn.LSTM(h, h).cuda()
    for to, value in [("weight_ih_l0", re(w[0])), ("weight_hh_l0", re(r[0])), ("bias_ih_l0", re(bias[0])[:, 0]),
                      ("bias_hh_l0", re(bias[1])[:, 0])]:
        getattr(net, to).data.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    x = torch.from_numpy(m.inputs(h)).cuda()
    both = torch.cat([net.weight_ih_l0, net.weight_hh_l0], 1).T.contiguous()
    add = net.bias_ih_l0 + net.bias_hh_l0
    hc = [torch.zeros(1, h, device="cuda") for _ in range(2)]

    def step(t):
        i, f, g, o = torch.addmm(add, torch.cat([x[t], hc[0]], 1), both).chunk(4, 1)
        hc[1].mul_(torch.sigmoid(f)).addcmul_(torch.sigmoid(i), torch.tanh(g))
        torch.mul(torch.sigmoid(o), torch.tanh(hc[1]), out=hc[0])

    def cell(t):
        net(x[t : t + 1], (hc[0][None], hc[1][None]))

    def sequence(_):
        pass

    cell.eager = True
    sequence.all, sequence.ticks = (lambda: net(x)), len(x)
    return {"step": step, "layer": cell, "sequence": sequence}


def torch_w5(torch, peers):
    m = module_of(os.path.join(peers, "w5_egru", "net.py"), "net_w5")
    cuda = lambda a: torch.from_numpy(np.ascontiguousarray(a)).cuda()
    n = m.H
    ws = [(cuda(wx), cuda(wh[:, : 2 * n]), cuda(wh[:, 2 * n :]), cuda(b)) for wx, wh, b in m.weights()]
    x0 = cuda(m.inputs())
    c = [torch.zeros(1, n, device="cuda") for _ in range(m.L)]
    y = [torch.zeros(1, n, device="cuda") for _ in range(m.L)]

    def tick(t):
        x = x0[t % m.T : t % m.T + 1]
        for k, (wx, wh, wz, b) in enumerate(ws):
            q = torch.addmm(b, x, wx)
            g = torch.sigmoid(torch.addmm(q[:, : 2 * n], y[k], wh))
            u, r = g[:, :n], g[:, n:]
            z = torch.tanh(torch.addmm(q[:, 2 * n :], r * y[k], wz))
            c[k].copy_(torch.lerp(c[k], z, u) - y[k])
            torch.mul(c[k], c[k] > m.THETA, out=y[k])
            x = y[k]

    return {"": tick}
