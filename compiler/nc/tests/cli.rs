//! The command line: exit codes, messages, bad models, formatting, compiling, testing.

mod common;

use common::{LIF, Place, currents};
use nc_ir::Tensor;

#[test]
fn exit_codes_tell_whose_fault_it_is() {
    let p = Place::new();
    assert_eq!(p.nc(&[]).code, Some(2));
    assert_eq!(p.nc(&["walk"]).code, Some(2));
    assert_eq!(p.nc(&["run"]).code, Some(2));
    assert_eq!(p.nc(&["run", "m.nd", "--dim", "n"]).code, Some(2));
    assert_eq!(p.nc(&["run", "m.nd", "--threads", "0"]).code, Some(2));
    assert_eq!(p.nc(&["run", "m.nd", "--steps", "1", "--duration", "1s"]).code, Some(2));
    p.nc(&["run", "m.nd"]).fails("E0800");
    let ran = p.nc(&["internal-panic"]);
    assert_eq!(ran.code, Some(70));
    assert!(ran.err.contains("fault of nc") && ran.err.contains("Please report"), "{}", ran.err);
    assert!(p.nc(&["--version"]).ok().out.starts_with("nc "));
    assert!(p.nc(&["--help"]).ok().out.contains("Exit codes"));
}

#[test]
fn help_manual_and_completions_come_from_one_definition() {
    let p = Place::new();
    let man = p.nc(&["man"]).ok().out;
    assert!(man.contains(".TH") && man.contains("NC RUN") && man.contains("max\\-memory"), "{man}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(p.nc(&["completions", shell]).ok().out.contains("checkpoint"), "{shell}");
    }
    assert!(!p.nc(&["--help"]).ok().out.contains("internal-panic"));
}

#[test]
fn codes_are_explained() {
    let p = Place::new();
    let all = p.nc(&["explain"]).ok().out;
    assert!(all.lines().count() > 60, "{all}");
    assert!(p.nc(&["explain", "e0810"]).ok().out.starts_with("E0810: an input is missing\n\n"));
    p.nc(&["explain", "E9999"]).fails("E0845");
}

#[test]
fn targets_are_listed() {
    let out = Place::new().nc(&["targets"]).ok().out;
    assert!(out.contains("cpu") && out.contains("interp") && out.contains("features"), "{out}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    let p = Place::new();
    let mut child = p.command(&["explain"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Runs `check` and gives the codes and places of the errors.
fn errors(p: &Place, file: &str, more: &[&str]) -> Vec<(String, u64, u64)> {
    let ran = p.nc(&[&["check", file, "--message-format", "json"][..], more].concat());
    assert_eq!(ran.code, Some(1), "stdout:\n{}\nstderr:\n{}", ran.out, ran.err);
    ran.err
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap_or_else(|e| panic!("{e} in {l}")))
        .filter(|m| m["severity"] == "error")
        .map(|m| {
            let at = |key: &str| m["place"][key].as_u64().unwrap_or(0);
            (m["code"].as_str().unwrap_or_default().to_owned(), at("line"), at("column"))
        })
        .collect()
}

#[test]
fn bad_models_get_an_error_with_code_and_place() {
    let net = |body: &str| format!("net A {{\n{body}\n}}\n");
    let weights =
        |body: &str| net(&format!("  file f = \"w.npz\"\n  input x: real[2]\n{body}\n  output y = linear(x, W)"));
    let bad_unit = "neuron N {\n  state v: mV = 1 ms\n  v' = -v / 10 ms\n}\nnet A {\n  clock 1 ms\n  pop P: N[1]\n  output y = P.v\n}\n";
    let cycle = "neuron N {\n  input i: real\n  state v: real = 0\n  next v = i\n  output y = v\n}\n\
                 net A {\n  pop P: N[1]\n  pop Q: N[1]\n  P.i <- Q.y\n  Q.i <- P.y\n  output o = P.y\n}\n";
    let cases: Vec<(&str, String)> = vec![
        ("a slip of syntax", net("  output y = = 1")),
        ("an unknown name", net("  output y = x")),
        ("a missing file of weights", weights("  param W: real[3, 2] = f[\"W\"]").replace("w.npz", "none.npz")),
        ("a misnamed array", weights("  param W: real[3, 2] = f[\"V\"]")),
        ("weights of another shape", weights("  param W: real[4, 2] = f[\"W\"]")),
        ("weights that are not finite", weights("  param W: real[3, 2] = f[\"bad\"]")),
        ("units that do not fit", bad_unit.to_owned()),
        ("a cycle without delay", cycle.to_owned()),
        ("deep nesting", net(&format!("  output y = {}1{}", "(".repeat(100_000), ")".repeat(100_000)))),
        ("a very long line", net(&format!("  output y = {}", "1 + ".repeat(2_500_000)))),
        ("a text that ends too early", net("  output y = 1").trim_end_matches("}\n").to_owned()),
        ("a missing dimension", LIF.to_owned()),
        ("weights that are cut off", weights("  param W: real[3, 2] = f[\"W\"]").replace("w.npz", "cut.npz")),
        ("weights cut off elsewhere", weights("  param W: real[3, 2] = f[\"W\"]").replace("w.npz", "cut.safetensors")),
        ("a missing import", format!("import \"none.nd\"\n{}", net("  output y = 1"))),
    ];
    for (what, text) in cases {
        let p = Place::with(&text);
        p.npz(
            "w.npz",
            &[
                ("W", Tensor::from_vec(vec![3, 2], vec![1f32; 6]).unwrap()),
                ("bad", Tensor::from_vec(vec![3, 2], vec![1.0, f32::NAN, 1.0, 1.0, 1.0, 1.0]).unwrap()),
            ],
        );
        let whole = std::fs::read(p.path("w.npz")).unwrap();
        p.write("cut.npz", &whole[..whole.len() - 40]);
        let header = br#"{"W":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#;
        p.write("cut.safetensors", [&(header.len() as u64).to_le_bytes()[..], header, &[0; 20]].concat());
        let found = errors(&p, "m.nd", &[]);
        assert!(!found.is_empty(), "{what}");
        assert!(found[0].0.starts_with("E0") && found[0].1 > 0, "{what}: {found:?}");
        let human = p.nc(&["check", "m.nd"]);
        assert!(human.err.contains("m.nd:"), "{what}: {}", human.err);
        assert!(human.err.len() < 100_000, "{what}: {} bytes of messages", human.err.len());
    }
}

#[test]
fn a_cycle_is_printed() {
    let cycle = "neuron N {\n  input i: real\n  state v: real = 0\n  next v = i\n  output y = v\n}\n\
                 net A {\n  pop P: N[1]\n  pop Q: N[1]\n  P.i <- Q.y\n  Q.i <- P.y\n  output o = P.y\n}\n";
    let err = Place::with(cycle).nc(&["check", "m.nd"]).err;
    assert!(err.contains("P.") && err.contains("Q.") && err.contains("->"), "{err}");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let p = Place::new();
    p.write("latin.nd", b"net A {\n  # caf\xe9\n}\n");
    assert!(p.nc(&["check", "latin.nd"]).fails("E0801").err.contains("line 2"));
    p.write("m.txt", "net A {}");
    p.nc(&["check", "m.txt"]).fails("E0802");
    p.nc(&["check", "."]).fails("E0800");
    p.write("bad.graph", "module {");
    p.nc(&["run", "bad.graph", "--steps", "1"]).fails("E0804");
    assert_eq!(p.nc(&["check", "/dev/zero"]).code, Some(1));
}

#[test]
fn a_missing_dimension_is_asked_for() {
    let p = Place::with(LIF);
    let err = p.nc(&["check", "m.nd"]).err;
    assert!(err.contains("`n`") && err.contains("--dim"), "{err}");
    assert_eq!(p.nc(&["check", "m.nd", "--dim", "n=3", "--dim", "k=1"]).code, Some(1));
    assert_eq!(p.nc(&["check", "m.nd", "--dim", "n=-3"]).code, Some(1));
}

#[test]
fn check_shows_what_was_chosen() {
    let p = Place::with(LIF);
    let out = p.nc(&["check", "m.nd", "--dim", "n=3"]).ok().out;
    for part in [
        "Steps: no clock",
        "input   i: f32[3]",
        "output  spikes: bool[3]",
        "probe   P.v: f32[3], every 3 ticks",
        "state: 12 bytes",
        "compiled for cpu",
    ] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
    // Probes are looked at before a run.
    let out = p.nc(&["check", "m.nd", "--dim", "n=3", "--probe", "P.spike"]).ok().out;
    assert!(out.contains("probe   P.spike: bool[3]\n"), "{out}");
    assert!(!p.nc(&["check", "m.nd", "--dim", "n=3", "--probe", "P.spikes"]).err.is_empty());
    let nir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/filetests/nir/whole.nir");
    let args = ["check", nir, "--dt", "1e-3", "--discretise", "lava-fixed", "--probe"];
    let out = p.nc(&[&args[..], &["cuba.v"]].concat()).ok().out;
    assert!(out.contains("probe   cuba.v: "), "{out}");
    p.nc(&[&args[..], &["cubb.v"]].concat()).fails("E0940");
    let model = "neuron N {\n  state v: mV = 0 mV\n  state g: mV = 0 mV\n  on hit(w: mV) { g += w }\n  v' = (g - v) / (9 ms)\n  \
                 g' = -g / (5 ms)\n}\nnet A {\n  clock 1 ms\n  input x: spike[2]\n  pop P: N[2]\n  \
                 connect x -> P.hit { rule = one_to_one; weight = 1 mV; delay = 0 ms }\n  output v = P.v\n}\n";
    let out = Place::with(model).nc(&["check", "m.nd"]).ok().out;
    assert!(out.contains("P: solver") && out.contains("exact"), "{out}");
    // A file of neurons is checked without a net, and nothing is said of what a net would do.
    let library = Place::with(&model[..model.find("net").unwrap()].replace("on hit(w: mV) { g += w }", "input i: mV"));
    let err = library.nc(&["check", "m.nd"]).fails("E0530").err;
    assert!(!err.contains("W0201"), "{err}");
}

#[test]
fn formatting_keeps_what_is_well_formed_and_never_touches_what_is_broken() {
    let p = Place::new();
    p.write("a.nd", "net A{\n output   y=1\n}\n");
    p.nc(&["fmt", "--check", "a.nd"]).fails("E0844");
    p.nc(&["fmt", "a.nd"]).ok();
    p.nc(&["fmt", "--check", "a.nd"]).ok();
    let once = std::fs::read(p.path("a.nd")).unwrap();
    p.nc(&["fmt", "a.nd"]).ok();
    assert_eq!(std::fs::read(p.path("a.nd")).unwrap(), once);
    p.write("b.nd", "net A { output = }");
    assert_eq!(p.nc(&["fmt", "b.nd", "a.nd"]).code, Some(1));
    assert_eq!(std::fs::read(p.path("b.nd")).unwrap(), b"net A { output = }");
}

#[test]
fn every_stage_can_be_written_out() {
    let p = Place::with(LIF);
    p.nc(&[
        "compile",
        "m.nd",
        "--dim",
        "n=3",
        "-o",
        "out",
        "--emit",
        "graph,solved,saturated,kernels,clif,asm",
        "--emit",
        "obj",
        "--time-passes",
    ])
    .ok();
    let names = common::names(&p.path("out"));
    let all = ["m.asm", "m.clif", "m.graph", "m.h", "m.kernels", "m.o", "m.saturated.graph", "m.solved.graph"];
    assert_eq!(names, all);
    let header = std::fs::read_to_string(p.path("out/m.h")).unwrap();
    for part in ["#define M_ARENA_BYTES", "#define M_I 0", "#define M_STATE_P_V", "void m_run("] {
        assert!(header.contains(part), "{part:?} is not in\n{header}");
    }
    // A model that fails leaves what was there.
    let old = std::fs::read(p.path("out/m.o")).unwrap();
    p.write("m.nd", "net A { output y = x }");
    assert_eq!(p.nc(&["compile", "m.nd", "-o", "out"]).code, Some(1));
    assert_eq!(std::fs::read(p.path("out/m.o")).unwrap(), old);
    assert_eq!(common::names(&p.path("out")), names);
}

#[test]
fn a_target_writes_what_it_has() {
    let p = Place::with(LIF);
    let emit = |target: &str, what: &str| {
        p.nc(&["compile", "m.nd", "--dim", "n=3", "-o", "out", "--target", target, "--emit", what])
    };
    assert!(emit("cpu", "mlir").fails("E0861").err.contains("clif"));
    assert!(emit("llvm", "clif").fails("E0861").err.contains("mlir"));
    emit("llvm", "graph,kernels").ok();
    let run = ["run", "m.nd", "--dim", "n=3", "--input", "in.npz", "--output", "a.npz", "--target"];
    p.npz("in.npz", &[("i", currents(20, None, 3))]);
    if cfg!(feature = "mlir") {
        emit("llvm", "mlir,llvm,asm").ok();
        let text = |name: &str| String::from_utf8(std::fs::read(p.path(name)).unwrap()).unwrap();
        assert!(text("out/m.mlir").contains("scf.for") && text("out/m.ll").contains("define void @nc_run"));
        assert!(text("out/m.asm").contains("nc_run:"));
        let one = |target: &str| {
            p.nc(&[&run[..], &[target]].concat()).ok();
            p.array("a.npz", "v")
        };
        assert_eq!(one("llvm"), one("interp"));
        p.write("t.nd", tested(""));
        let out = p.nc(&["test", "t.nd", "--target", "llvm"]).ok().out;
        assert!(out.contains("[llvm]"), "{out}");
    } else {
        assert!(emit("llvm", "mlir").fails("E0840").err.contains("--features mlir"));
        assert!(p.nc(&[&run[..], &["llvm"]].concat()).fails("E0840").err.contains("--features mlir"));
    }
}

#[test]
fn the_text_of_a_graph_runs_as_the_model_does() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(20, None, 3))]);
    p.nc(&["compile", "m.nd", "--dim", "n=3", "-o", ".", "--emit", "graph"]).ok();
    p.nc(&["run", "m.nd", "--dim", "n=3", "--input", "in.npz", "--output", "a.npz"]).ok();
    p.nc(&["run", "m.graph", "--input", "in.npz", "--output", "b.npz"]).ok();
    assert_eq!(p.array("a.npz", "v"), p.array("b.npz", "v"));
}

#[cfg(unix)]
#[test]
fn an_object_links_from_c() {
    let p = Place::new();
    if std::process::Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: no C compiler");
        return;
    }
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/c");
    for file in ["lif.nd", "step.c"] {
        std::fs::copy(example.join(file), p.path(file)).unwrap();
    }
    p.nc(&["compile", "lif.nd", "-o", "."]).ok();
    let cc = std::process::Command::new("cc")
        .current_dir(p.dir.path())
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "step.c", "lif.o", "-o", "step"])
        .output()
        .unwrap();
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    let out = std::process::Command::new(p.path("step")).output().unwrap();
    assert!(out.status.success());
    // The same current as step.c gives: (k + 1) / 8.
    let values: Vec<f32> = (0..24).flat_map(|_| (0..4).map(|k| (k + 1) as f32 / 8.0)).collect();
    p.npz("in.npz", &[("i", Tensor::from_vec(vec![24, 4], values).unwrap())]);
    p.nc(&["run", "lif.nd", "--input", "in.npz", "--output", "out.npz", "--target", "interp"]).ok();
    let spikes = p.array("out.npz", "spikes");
    let row = |k: usize| (0..24).map(|t| if spikes.bytes()[t * 4 + k] == 1 { '1' } else { '.' }).collect::<String>();
    let expected: Vec<String> = (0..4).map(row).collect();
    assert!(expected.iter().any(|r| r.contains('1')));
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim_end(), expected.join("\n"));
}

/// [`LIF`] with a test in its first comments.
fn tested(lines: &str) -> String {
    format!("# test: a few ticks\n# dim n = 2\n# input i = [[1, 0], [0.25, 0.5], [0.5, 0.5], [0, 0.5]]\n{lines}\n{LIF}")
}

#[test]
fn a_test_passes_on_every_target() {
    let p = Place::with(&tested("# targets = interp, cpu, kernels\n# threads = 1, 2\n# output spikes = \".1..|...1\""));
    let ran = p.nc(&["test", "m.nd", "--junit", "r.xml"]);
    assert!(ran.out.ends_with("5 passed, 0 failed\n"), "{}", ran.out);
    assert_eq!(ran.code, Some(0));
    assert!(std::fs::read_to_string(p.path("r.xml")).unwrap().contains("tests=\"5\" failures=\"0\""));
    assert!(p.nc(&["test", ".", "--target", "interp"]).ok().out.ends_with("1 passed, 0 failed\n"));
}

#[test]
fn a_failure_shows_the_first_divergence_and_bless_mends_it() {
    let p = Place::with(&tested("# output spikes = \".1..|....\"\n# output v = ?"));
    let ran = p.nc(&["test", "m.nd"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("step 3, spikes[1]: expected 0, found 1"), "{}", ran.out);
    assert!(ran.out.contains("0 passed, 2 failed"), "{}", ran.out);
    let blessed = p.nc(&["test", "m.nd", "--bless"]);
    assert!(
        blessed.out.contains("step 3, spikes[1]") && blessed.err.contains("blessed"),
        "{}\n{}",
        blessed.out,
        blessed.err
    );
    let text = std::fs::read_to_string(p.path("m.nd")).unwrap();
    assert!(text.contains("# output spikes = \".1..|...1\"\n# output v = [[1.0, 0.0], "), "{text}");
    assert!(text.ends_with(LIF));
    assert!(p.nc(&["test", "m.nd"]).ok().out.contains("2 passed, 0 failed"));
}

#[test]
fn a_test_file_names_its_model_and_arrays() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(12, None, 2))]);
    p.write(
        "m.test",
        "model = \"m.nd\"\n\ntest golden\n  dim n = 2\n  input = \"in.npz\"\n  output = \"out.npz\"\n\n\
                       test agreement\n  dim n = 40\n  steps = 100\n  input i = uniform(lo = 0, hi = 1, seed = 4)\n",
    );
    let ran = p.nc(&["test", "m.test"]);
    assert!(ran.code == Some(1) && ran.out.contains("out.npz is missing"), "{}", ran.out);
    p.nc(&["test", "m.test", "--bless"]);
    assert!(p.nc(&["test", "m.test"]).ok().out.ends_with("4 passed, 0 failed\n"));
    let mut v = p.array("out.npz", "v");
    v.as_mut_slice::<f32>()[5] += 0.5;
    p.npz("out.npz", &[("v", v)]);
    let ran = p.nc(&["test", "m.test"]);
    assert!(ran.out.contains("step 2, v[1]: expected"), "{}", ran.out);
}

#[test]
fn expected_diagnostics_are_tests_too() {
    let p = Place::new();
    p.write("a.nd", "# test\n# expect = E0203 at 4:14\nnet A {\n  output y = x\n}\n");
    let found = errors(&p, "a.nd", &[]);
    let (code, line, column) = &found[0];
    p.write("a.nd", format!("# test\n# expect = {code} at {line}:{column}\nnet A {{\n  output y = x\n}}\n"));
    p.nc(&["test", "a.nd"]).ok();
    p.write("a.nd", format!("# test\n# expect = {code} at {line}:1\nnet A {{\n  output y = x\n}}\n"));
    let ran = p.nc(&["test", "a.nd"]);
    assert!(ran.code == Some(1) && ran.out.contains("did not come") && ran.out.contains("not expected"), "{}", ran.out);
}

#[test]
fn tests_that_cannot_be_read_or_are_not_there_fail() {
    let p = Place::with(LIF);
    p.nc(&["test", "m.nd"]).fails("E0843");
    p.write("x.test", "model = \"m.nd\"\ntest a\nstep = 3\n");
    let ran = p.nc(&["test", "x.test"]);
    assert!(ran.code == Some(1) && ran.out.contains("did you mean `steps`"), "{}", ran.out);
    p.nc(&["test", "none"]).fails("E0800");
}
