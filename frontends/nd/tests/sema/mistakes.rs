//! Each mistake has its code and place; beside it stands the same text without the mistake, which has neither.

use crate::support::{Memory, f32s, said, said_with};
use nc_ir::Tensor;
use nc_nd::sema::{Options, TargetSpec};

/// The mistake gives exactly this; the corrected text gives nothing.
fn pair(text: &str, wrong: &str, right: &str, want: &str) {
    let whole = |part: &str| text.replace("<>", part);
    let bad = said(&whole(wrong));
    assert_eq!(bad.trim_end(), want, "in\n{}", whole(wrong));
    assert_eq!(said(&whole(right)), "", "in\n{}", whole(right));
}

/// Every line begins with one of these: code and place.
fn codes(said: &str) -> Vec<String> {
    said.lines().map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

const NET: &str = "net N { input x: real[3]\n output y = <> }";

#[test]
fn names() {
    pair(NET, "xx + x", "x + x", "E0201 2:13 `xx` is not declared (did you mean `x`?)");
    pair(NET, "tanhh(x)", "tanh(x)", "E0206 2:13 there is no function `tanhh` (did you mean `tanh`?)");
    pair(
        "net N { <>\n output y = k }",
        "const k = 1; const k = 2",
        "const k = 1",
        "E0202 1:28 `k` is declared twice (give one of them another name)",
    );
    pair("const a = <>\nconst b = a\nnet N { output y = a }", "b", "1", "E0203 2:11 `a` is defined by itself");
    pair(
        "fn f(x: real) -> real = <>\nnet N { input x: real\n output y = f(x) }",
        "f(x)",
        "x",
        "E0203 1:25 the function `f` calls itself",
    );
    pair(NET, "linear(x)", "sum(x)", "E0207 2:13 `linear` needs the argument `w` (it takes x, w, b)");
    pair(
        NET,
        "softmax(x, axes = 0)",
        "softmax(x, axis = 0)",
        "E0207 2:24 `softmax` has no argument `axes` (did you mean `axis`?)",
    );
}

#[test]
fn units() {
    let text = "net N { clock 1 ms\n param a: mV = 1 mV\n output y = <> }";
    pair(text, "a + 1", "a + 1 V", "E0301 3:13 `+` of mV and real (give the plain number a unit: `1 mV`)");
    pair(text, "a + 1 ms", "a * 1 ms", "E0301 3:13 `+` of mV and ms");
    pair(text, "exp(a)", "exp(a / 1 mV)", "E0301 3:17 `exp` takes a plain number (divide by the unit: `/ (1 mV)`)");
    pair(text, "a + 1 mVV", "a + 1 mV", "E0302 3:19 `mVV` is not a unit (did you mean `mV`?)");
    pair("net N { param a: <> = 1 mV\n output y = a }", "mS", "V", "E0301 1:23 `a` should be in nS");
}

#[test]
fn derivatives_are_per_time() {
    let text = "neuron A { param tau: ms = 2 ms\n state v: mV = 0 mV\n v' = <> }\nnet N { clock 1 ms\n pop P: A[2]\n output v = P.v }";
    pair(text, "-v", "-v / tau", "E0301 3:7 the derivative of `v` should be in mV/ms");
    pair(
        text,
        "-v / tau + 1",
        "-v / tau + 1 mV / 1 ms",
        "E0301 3:7 `+` of mV/ms and real (give the plain number a unit: `1 mV/ms`)",
    );
}

#[test]
fn shapes() {
    let text = "net N { input x: real[3]\n param W: real[2, 3] = 1\n param b: real[2] = 0\n output y = <> }";
    pair(text, "x + b", "linear(x, W) + b", "E0401 4:13 the shapes of real[3] and real[2] differ");
    pair(
        text,
        "linear(b, W)",
        "linear(x, W, b)",
        "E0401 4:20 `linear` takes 3 inputs, but 2 are given (the weights are [out, in]; `transpose(..)` them)",
    );
    pair(text, "x[3]", "x[2]", "E0402 4:15 the index 3 is out of range");
    pair(text, "x[1:5]", "x[1:3]", "E0402 4:15 the range 1:5 does not fit");
    pair(text, "sum(x, axes = 1)", "sum(x, axes = 0)", "E0401 4:27 there is no axis 1");
    pair(
        "net N { input x: real[<>]\n output y = sum(x) }",
        "4000000000 * 4000000000",
        "4",
        "E0304 1:23 the whole number is too large",
    );
    pair(
        "net N { input x: real[<>]\n output y = sum(x) }",
        "4000000000, 4000000000",
        "4, 4",
        "E0403 1:18 a tensor of shape [4000000000, 4000000000] is too large",
    );
}

#[test]
fn whole_numbers() {
    let text = "net N(n: int = 10) { const k: int = <>\n output y = k }";
    pair(text, "n / 4", "n / 5", "E0304 1:37 10 / 4 is not a whole number (write `10.0 / 4` for a real quotient)");
    pair(text, "2.5", "2", "E0303 1:37 this constant should be a whole number");
}

#[test]
fn parameters_of_the_net() {
    let text = "net N(n: int) { input x: real[n]\n output y = sum(x) }";
    let said_of = |dims: &[(&str, i64)]| {
        let dims = dims.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        said_with(text, &mut Memory::default(), &Options { dims, ..Options::default() })
    };
    assert_eq!(
        said_of(&[]),
        "E0531 1:7 the parameter `n` of `N` has no value (give it on the command line: `--dim n=N`)\n"
    );
    assert_eq!(said_of(&[("n", 3), ("m", 1)]), "E0531 - `N` has no parameter `m` (did you mean `--dim n=..`?)\n");
    assert_eq!(said_of(&[("n", 3)]), "");
    assert_eq!(said_of(&[("n", -3)]), "E0401 1:31 an extent of -3\n");
}

const CONNECT: &str = "neuron A { param k: real = 1
 state v: real = 0
 on hit(w: real) { v += w }
 threshold v > k
 reset { v = 0 } }
net N { clock 0.1 ms
 input x: spike[4]
 pop P: A[6]
 connect <>
 output s = P.spike }";

#[test]
fn connections() {
    let good = "x -> P.hit { rule = all(); weight = 1; delay = 0.1 ms }";
    let check = |bad: &str, want: &str| pair(CONNECT, bad, good, want);
    check(
        "x -> P.hit { rule = all(); weigth = 1 }",
        "E0208 9:37 `connect` has no key `weigth` (did you mean `weight`?)",
    );
    check("x -> P.hit { rule = al(); weight = 1 }", "E0540 9:30 there is no rule `al` (did you mean `all`?)");
    check("x -> P.hat { rule = all(); weight = 1 }", "E0537 9:17 `A` has no port `hat` (did you mean `hit`?)");
    check("x -> Q.hit { rule = all(); weight = 1 }", "E0201 9:15 `Q` is not declared (did you mean `P`?)");
    check("x -> P { rule = all(); weight = 1 }", "E0537 9:15 say which port of `P` (its ports are hit)");
    check(
        "x -> P.hit { rule = all() }",
        "E0541 9:2 this connection has no `weight` (write for example `weight = 1 real`)",
    );
    check(
        "x -> P.hit { weight = 1 }",
        "E0539 9:2 this connection has no `rule` (write for example `rule = all()` or `rule = random(p = 0.1)`)",
    );
    check("x -> P.hit { rule = all(); weight = 1 mV }", "E0301 9:46 the weight should be a plain number");
    check(
        "x -> P.hit { rule = all(); weight = 1; delay = 0.25 ms }",
        "E0536 9:57 a delay of 0.25 ms is not a multiple of the clock's 0.1 ms (the nearest choices are 0.2 ms and 0.3 ms)",
    );
    check(
        "x -> P.hit { rule = all(); weight = 1; delay = 2 }",
        "E0301 9:57 the delay should be in ms (write a unit: `2 ms`)",
    );
    check("x -> P.hit { rule = one_to_one(); weight = 1 }", "E0540 9:30 `one_to_one` of 4 sources and 6 targets");
    check("x -> P.hit { rule = random(p = 1.5); weight = 1 }", "E0540 9:41 a probability lies between 0 and 1");
    check("x -> P.hit { rule = fixed_in(5); weight = 1 }", "E0540 9:39 `fixed_in` of 5 among 4 sources");
    check("x[2:9] -> P.hit { rule = all(); weight = 1 }", "E0402 9:12 the range 2:9 does not fit");
    check("x -> P.hit { rule = where(pre.v > 0); weight = 1 }", "E0201 9:40 `pre` is not a population and has no `v`");
    check("x -> P.hit { rule = where(post.v > 0); weight = 1 }", "E0201 9:41 `A` has no param `v` (did you mean `k`?)");
    check(
        "P -> P.hit { rule = all(); weight = sum(P.spike) }",
        "E0535 9:52 a cycle without delay: P -> P (give one connection on the cycle a delay of at least one tick, or read a `state`)",
    );
}

#[test]
fn a_zero_delay_cycle_is_printed() {
    let text = "neuron A { state v: real = 0\n on hit(w: real) { v += w }\n threshold v > 1 }
net N { clock 1 ms
 pop P: A[2]
 pop Q: A[2]
 pop R: A[2]
 connect P -> Q.hit { rule = all(); weight = 1; delay = 1 ms }
 connect P -> Q.hit { rule = all(); weight = 1 }
 connect Q -> R.hit { rule = all(); weight = 1 }
 connect R -> P.hit { rule = all(); weight = 1; delay = <> }
 output s = P.spike }";
    pair(
        text,
        "0 ms",
        "1 ms",
        "E0535 9:10 a cycle without delay: P -> Q -> R -> P (give one connection on the cycle a delay of at least one tick, or read a `state`)",
    );
    let lets = "net N { input x: real\n let a = b + x\n let b = <>\n output y = b }";
    pair(
        lets,
        "a",
        "x",
        "E0535 3:10 a cycle without delay: a -> b -> a (give one connection on the cycle a delay of at least one tick, or read a `state`)",
    );
}

#[test]
fn neurons() {
    let text = "neuron A { state v: real = 0\n next v = v + 1\n <> }\nnet N { pop P: A[2]\n output v = P.v }";
    let ok = "threshold v > 3";
    pair(text, "threshold v", ok, "E0303 3:12 a truth value is expected here (compare it with something: `x > 0`)");
    pair(text, "next v = 2", ok, "E0202 3:2 `v` has two equations");
    pair(text, "next u = 2", ok, "E0201 3:7 `u` is not a state (did you mean `v`?)");
    pair(text, "reset { v = 0 }", ok, "E0538 3:2 `reset` and `refractory` need a `threshold`");
    pair(text, "threshold v > 3\n reset { k = 0 }", ok, "E0201 4:10 there is no state `k` (did you mean `v`?)");
    pair(text, "pop Q: A[3]", ok, "E0204 3:2 `pop` belongs in a net");
    pair(
        text,
        "threshold v > 3\n refractory 1 ms",
        ok,
        "E0533 4:13 a refractory period needs a clock or a whole number of ticks (add `clock 1 ms` to the net, or write a whole number)",
    );
    pair(text, "on hit(w: real) { u += w }", ok, "E0201 3:20 there is no state `u` (did you mean `v`?)");
    pair(
        text,
        "on hit(w: real) { v += w * uniform(0, 1) }",
        ok,
        "E0204 3:29 `uniform` draws when the network is built (use `noise(sigma)` for noise in every tick)",
    );
    let text =
        "neuron A { state v: real = 0\n v' = -v / 2 ms\n <> }\nnet N { clock 1 ms\n pop P: A[2]\n output v = P.v }";
    pair(text, "solve exakt", "solve exact", "E0201 3:8 there is no solver `exakt` (did you mean `exact`?)");
}

#[test]
fn populations() {
    let text = "neuron A { param k: mV\n state v: real = 0\n next v = v * (k / 1 mV) }\nnet N { pop P: A[2] { <> }\n output v = P.v }";
    pair(text, "k = 1", "k = 1 mV", "E0301 4:27 `P.k` should be in mV (write a unit: `1 mV`)");
    pair(text, "k = 1 mV; j = 2", "k = 1 mV", "E0208 4:33 `A` has no param or state `j` (did you mean `k`?)");
    pair(text, "", "k = uniform(0 mV, 1 mV)", "E0532 4:13 the param `P.k` has no value (write `pop .. { k = .. }`)");
}

#[test]
fn equations_need_a_clock() {
    let text = "neuron A { state v: real = 0\n v' = -v / 2 ms }\nnet N { <>\n pop P: A[2]\n output v = P.v }";
    pair(
        text,
        "",
        "clock 1 ms",
        "E0533 4:6 `A` has equations but the net has no clock (add `clock 0.1 ms` to the net)",
    );
}

#[test]
fn synapse_models() {
    let text = "synapse S { state x: real = 1\n state y: real = 1\n param tau: ms = 1 ms\n x' = <>\n on pre { emit x } }
neuron A { state v: real = 0\n on hit(w: real) { v += w } }
net N { clock 1 ms\n input u: spike[2]\n pop P: A[2]\n connect u -> P.hit { rule = all(); model = S }\n output v = P.v }";
    let ok = "-x / tau";
    let bad = |body: &str, why: &str| {
        let want = format!(
            "E0542 4:7 `x` of a synapse cannot be brought up to date at events: {why} (move other dynamics into the neuron)"
        );
        pair(text, body, ok, &want);
    };
    bad("-x * x / tau", "it is not linear");
    bad("(y - x) / tau", "it depends on `y`");
    pair(text, "-x", ok, "E0301 4:7 the derivative of `x` should be in kHz");
}

#[test]
fn arrays() {
    let memory = || {
        Memory::default()
            .array("f", "good", f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
            .array("f", "nan", f32s(&[2, 2], &[1.0, 2.0, f32::NAN, 4.0]))
            .array("f", "wide", f32s(&[3, 2], &[1.0; 6]))
            .array("f", "ints", Tensor::from_vec(vec![2, 2], vec![1i64, 2, 3, 4]).unwrap())
    };
    let text = |e: &str| format!("net N {{ file f = \"f\"\n param W: real[2, 2] = {e}\n output y = sum(W) }}");
    let check = |e: &str| said_with(&text(e), &mut memory(), &Options::default());
    assert_eq!(check("f[\"good\"]"), "");
    assert_eq!(check("f[\"ints\"]"), "");
    assert_eq!(check("f[\"godd\"]"), "E0210 2:26 `f` has no array `godd` (did you mean `good`?)\n");
    assert_eq!(check("f[\"nan\"]"), "E0404 2:24 the array `nan` of f holds NaN at [1, 0]\n");
    assert_eq!(check("f[\"wide\"]"), "E0401 2:24 the array `wide` of f has shape [3, 2], but [2, 2] is declared\n");
    let missing =
        "net N { file f = \"g\"\n param W: real[2] = f[\"a\"]\n param V: real[2] = f[\"a\"]\n output y = sum(W) }";
    assert_eq!(codes(&said_with(missing, &mut memory(), &Options::default())), ["E0610 2:23"]);
}

#[test]
fn one_mistake_gives_one_message() {
    let text = "net N { input x: real[3]\n let a = x + nonsense\n let b = a * 2\n let c = tanh(b) + a\n output y: real[3] = c }";
    assert_eq!(codes(&said(text)), ["E0201 2:14"]);
}

#[test]
fn many_mistakes_give_many_messages() {
    let text =
        "net N { input x: real[3]\n let a = x + nonsense\n let b = x + 1 mV\n output y: real[4] = x\n output z = a }";
    assert_eq!(codes(&said(text)), ["E0201 2:14", "E0301 3:10", "E0401 4:22"]);
}

#[test]
fn outputs_are_checked() {
    let text = "net N { input x: real[3]\n output y: <> = x }";
    pair(text, "mV[3]", "real[3]", "E0301 2:20 the output `y` should be in mV");
    pair(text, "real[4]", "real[3]", "E0401 2:22 the output `y` has shape [3], but [4] is expected");
}

#[test]
fn inputs_that_nothing_drives() {
    let text =
        "neuron A { input i: real\n state v: real = 0\n next v = i }\nnet N { pop P: A[2]\n <>\n output v = P.v }";
    pair(text, "", "P.i <- 1", "W0201 4:13 nothing drives `P.i`: it is zero");
}

#[test]
fn delays_of_files_are_rounded_with_a_note() {
    let mut memory = Memory::default().array("f", "d", f32s(&[2], &[1.2, 2.0]));
    let text = "neuron A { state v: real = 0\n on hit(w: real) { v += w } }
net N { clock 1 ms\n file f = \"f\"\n input x: spike[2]\n pop P: A[2]\n connect x -> P.hit { rule = one_to_one(); weight = 1; delay = f[\"d\"] }\n output v = P.v }";
    let said = said_with(text, &mut memory, &Options::default());
    assert_eq!(said, "N0201 7:64 delays are rounded to the grid of 1 ms, by at most 0.2 ms\n");
}

#[test]
fn neurons_that_no_net_uses_are_checked() {
    let text = "neuron A { state v: mV = 0 mV\n v' = <> }\nnet N { input x: real\n output y = x }";
    pair(text, "v", "v / 1 ms", "E0301 2:7 the derivative of `v` should be in mV/ms");
}

#[test]
fn imports() {
    let net = "import \"a.nd\"\nnet N { input x: real\n output y = f(x) + k }";
    let check = |files: &[(&str, &str)]| {
        let mut memory = Memory::default();
        for (p, t) in files {
            memory = memory.source(p, t);
        }
        said_with(net, &mut memory, &Options::default())
    };
    let b = "import \"a.nd\"\nconst k = 2";
    let a = "import \"b.nd\"\nfn f(x: real) -> real = x * k";
    assert_eq!(check(&[("a.nd", a), ("b.nd", b)]), "", "cycles and diamonds are fine");
    assert_eq!(codes(&check(&[("a.nd", "fn f(x: real) -> real = x * k")])), ["E0201 3:20", "E0201 file"]);
    assert_eq!(codes(&check(&[("a.nd", a)])), ["E0201 3:20", "E0610 file", "E0201 file"]);
    assert_eq!(codes(&check(&[])), ["E0610 1:8", "E0206 3:13", "E0201 3:20"]);
}

#[test]
fn targets() {
    let spec = TargetSpec { name: "cpu".into(), keys: vec!["*.threads".into(), "weights.memory".into()] };
    let options = Options { targets: vec![spec], ..Options::default() };
    let text = |e: &str| format!("net N {{ input x: real\n let h1 = x\n output y = h1 }}\ntarget cpu {{ {e} }}");
    let check = |e: &str| said_with(&text(e), &mut Memory::default(), &options);
    assert_eq!(check("h1.threads = 4; weights.memory = \"sram\""), "");
    assert_eq!(check("h1.thread = 4"), "E0208 4:14 `cpu` has no setting `h1.thread` (did you mean `threads`?)\n");
    assert_eq!(check("h2.threads = 4"), "E0201 4:14 `N` has no `h2` (did you mean `h1`?)\n");
    assert_eq!(check("weights.memory = 2 ms"), "");
    let bad = check("weights.memory = 2 mV");
    assert!(bad.contains("a setting is a number, a length of time"), "{bad}");
    assert_eq!(
        said_with(&text("").replace("cpu", "gpu"), &mut Memory::default(), &options),
        "N0202 4:8 this build reads no settings for a backend `gpu` (did you mean `cpu`?)\n"
    );
}

#[test]
fn hostile_texts_end_in_time() {
    let mut doubling = String::from("fn f0(x: real) -> real = x + x\n");
    for k in 1..40 {
        doubling += &format!("fn f{k}(x: real) -> real = f{}(x) + f{}(x)\n", k - 1, k - 1);
    }
    doubling += "net N { input x: real\n output y = f14(x) }";
    assert_eq!(said(&doubling), "");
    let deep: String = (0..3000).map(|k| format!("let a{k} = a{} + 1\n", k + 1)).collect();
    let said_of = said(&format!("net N {{ input x: real\n output y = a0\n {deep}\n let a3000 = x }}"));
    assert!(said_of.contains("E0403"), "{said_of}");
    let own = "net N { sub a: N\n input x: real\n output y = x }";
    assert_eq!(codes(&said(own))[0], "E0403 1:16");
}

#[test]
fn numbers_must_fit() {
    pair(NET, "x + 1e300", "x + 1e30", "E0404 2:17 1e300 does not fit in 32 bits");
    pair(
        "net N { param a: <> = 1 s\n output y = a }",
        "s^-110",
        "s",
        "E0301 1:18 the exponent of this unit is out of range",
    );
}

#[test]
fn storage() {
    let text = "net N { param W: real[2] <> = 1\n output y = W }";
    pair(text, "@i9", "@i8", "E0305 1:27 `@i9` is not a storage (did you mean `@i8`?)");
    pair(text, "@i8(axis = 1)", "@i8(axis = 0)", "E0401 1:30 there is no axis 1");
    pair(text, "@f16(axis = 0)", "@f16", "E0305 1:27 `@f16` takes neither `axis` nor `scale`");
    pair(text, "@f64", "@bf16", "E0305 1:27 `@f64` is not supported: `real` is computed in 32 bits");
    pair(
        text,
        "@fix(16)",
        "@fix(16, 8)",
        "E0305 1:27 `@fix` takes two whole numbers: all bits, and bits after the point",
    );
    let text = "net N { input x: real\n state s: real <> = 0\n next s = s + x\n output y = s }";
    pair(
        text,
        "@i8",
        "@i8(scale = 0.1)",
        "E0305 2:8 the integer storage of a state needs one scale (write `@i8(scale = 0.01)` or `@fix(16, 8)`)",
    );
}

#[test]
fn nets_that_nothing_uses_are_checked() {
    let text =
        "net Unused(n: int = 3) { file f = \"none\"\n param W: real[n] = f[\"w\"]\n input x: real[n]\n output y = <> }
net N { input x: real\n output y = x }";
    pair(text, "x + 1 mV", "x + W", "E0301 4:13 `+` of real and mV (give the plain number a unit: `1 mV`)");
}

#[test]
fn misplaced_items() {
    let text = "net N { input x: real\n <>\n output y = x }";
    pair(text, "threshold x > 1", "", "E0204 2:2 `threshold` belongs in a neuron");
    pair(
        text,
        "let u = uniform(0, 1)",
        "",
        "E0204 2:10 `uniform` draws when the network is built (use `noise(sigma)` for noise in every tick)",
    );
    pair(
        text,
        "state s: real = x\n next s = s",
        "state s: real = 1\n next s = s",
        "E0212 2:18 the initial value of `s` must be known when the network is built",
    );
}

#[test]
fn probes() {
    let text = "net N { clock 0.1 ms\n input x: real\n output y = x\n probe x every <> }";
    pair(
        text,
        "0.25 ms",
        "0.2 ms",
        "E0536 4:16 the period of a probe of 0.25 ms is not a multiple of the clock's 0.1 ms (the nearest choices are 0.2 ms and 0.3 ms)",
    );
    let options = Options { probes: vec!["z".into(), "y".into()], ..Options::default() };
    let said = said_with(&text.replace("<>", "1 ms"), &mut Memory::default(), &options);
    assert_eq!(said, "E0201 - there is nothing called `z` to probe in `z` (did you mean `x`?)\n");
}
