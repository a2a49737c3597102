//! Models on the emulated chip, from the command line. What needs machine code for its cores needs the feature `mlir`.

mod common;

use common::{LIF, Place};

/// A model with a layer of weights, so that there is something to split.
#[cfg(feature = "mlir")]
const NET: &str = "\
neuron Lif {
  param beta: real = 0.875
  input i: real
  state v: real = 0
  next v = beta * v + i
  threshold v > 1
  reset { v -= 1 }
}

net Two {
  param W: real[12, 20] = 0.125
  input x: spike[20]
  pop P: Lif[12]
  pop Q: Lif[12]
  P.i <- linear(x, W)
  connect P -> Q.i { rule = one_to_one; weight = 1.5; delay = 2 }
  output p = P.spike
  output q = Q.spike
  output v = Q.v
}
";

#[test]
fn a_machine_that_is_not_there_is_refused() {
    let p = Place::with(LIF);
    let map = |more: &[&str]| {
        let mut args =
            vec!["compile", "m.nd", "--dim", "n=4", "--target", "spinnaker2", "--emit", "map", "--output", "o"];
        args.extend(more);
        p.nc(&args)
    };
    map(&[]).ok();
    let e = map(&["--machine", "nowhere"]).fails("E0859").err;
    assert!(e.contains("spinnaker2-board48"), "{e}");
    let e = map(&["--dead", "0:400"]).fails("E0859").err;
    assert!(e.contains("has no core 0:400"), "{e}");
    let e = map(&["--performance", "warp"]).fails("E0859").err;
    assert!(e.contains("has no performance level warp"), "{e}");
    p.write("wrong.toml", "name = 3\n");
    map(&["--machine", "wrong.toml"]).fails("E0859");
}

/// A population, and a block of settings behind it.
fn with_block(settings: &str) -> Place {
    Place::with(&format!(
        "neuron Lif {{
  input i: real
  state v: real = 0
  next v = 0.875 * v + i
  threshold v > 1
  reset {{ v -= 1 }}
}}
net One {{
  clock 1 ms
  input x: real[40]
  pop P: Lif[40]
  P.i <- x
  output s = P.spike
}}
target spinnaker2 {{
  {settings}
}}
"
    ))
}

fn mapped(p: &Place, more: &[&str]) -> String {
    p.nc(&[&["compile", "m.nd", "--target", "spinnaker2", "--emit", "map", "--output", "o"][..], more].concat()).ok();
    std::fs::read_to_string(p.path("o/m.map")).expect("a map")
}

#[test]
fn a_target_block_sets_what_the_command_line_leaves_open() {
    let pieces = |map: &str| map.lines().filter(|l| l.contains(" slot 1 P.")).count();
    let p = with_block("machine = \"small\"; pieces = 2; placement = 7; activity = 0.5; tick = 40 ms; dead = \"0:1\"");
    let map = mapped(&p, &[]);
    assert!(map.starts_with("machine small: ") && pieces(&map) == 2, "{map}");
    assert!(!map.contains("\n  0:1 "), "{map}");
    let map = mapped(&p, &["--machine", "spinnaker2", "--pieces", "5"]);
    assert!(map.starts_with("machine spinnaker2: ") && pieces(&map) == 5, "{map}");
    let map = mapped(&with_block("P.neurons_per_core = 9"), &[]);
    assert_eq!(pieces(&map), 5, "{map}");
    let map = mapped(&with_block("P.neurons_per_core = 9"), &["--neurons-per-core", "P=20"]);
    assert_eq!(pieces(&map), 2, "{map}");
    // A machine of the user lies beside the model.
    let p = with_block("machine = \"mine.toml\"");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../backends/spinnaker2/machines/small.toml");
    let text = std::fs::read_to_string(root).expect("a machine").replace("name = \"small\"", "name = \"mine\"");
    p.write("mine.toml", &text);
    assert!(mapped(&p, &[]).starts_with("machine mine: "));
}

#[test]
fn a_setting_that_cannot_be_is_refused_by_name() {
    for (settings, code, said) in [
        ("machines = \"small\"", "E0208", "did you mean `machine`?"),
        ("Q.neurons_per_core = 4", "E0201", "did you mean `P`?"),
        ("P.v.store = fix(16, 8)", "E0208", "`spinnaker2` has no setting `P.v.store`"),
        ("machine = 4", "E0862", "`machine` is the name of a machine"),
        ("performance = true", "E0862", "the name of a performance level"),
        ("pieces = 0", "E0862", "`pieces` is a whole number from 1 to 100000"),
        ("P.neurons_per_core = 0.5", "E0862", "`P.neurons_per_core` is a whole number above 0"),
        ("placement = -1", "E0862", "not negative"),
        ("activity = 1.5", "E0862", "a share above 0 and at most 1"),
        ("tick = 2", "E0862", "a length of time such as 2 ms"),
        ("tick = -2 ms", "E0862", "a length of time such as 2 ms"),
        ("dead = \"0\"", "E0862", "each CHIP:CORE"),
        ("pieces = 2; pieces = 3", "E0862", "`pieces`: it is set twice"),
        ("pipeline = 1", "E0862", "`pipeline` is true or false"),
    ] {
        // Whatever is done with the model.
        let e = with_block(settings).nc(&["check", "m.nd"]).fails(code).err;
        assert!(e.contains(said), "{settings}: {e}");
    }
    let block = with_block("machine = \"nowhere\"");
    block.nc(&["check", "m.nd"]).ok();
    let map = ["compile", "m.nd", "--target", "spinnaker2", "--emit", "map", "--output", "o"];
    block.nc(&map).fails("E0859");
    let e = with_block("").nc(&[&map[..], &["--neurons-per-core", "O=4"]].concat()).fails("E0864").err;
    assert!(e.contains("`O` cannot have at most 4 neurons on a core: the model has no such population"), "{e}");
    let images = "neuron Kept {
  input i: real
  state y: real = 0
  next y = i
}
net Images {
  input x: real[2, 8, 8]
  pop P: Kept[2, 8, 8]
  P.i <- x
  output y = P.y
}
";
    let e = Place::with(images).nc(&[&map[..], &["--neurons-per-core", "P=32"]].concat()).fails("E0864").err;
    assert!(e.contains("it is split by rows, and one has 64 of them"), "{e}");
}

#[test]
fn a_folder_that_is_no_bundle_is_refused() {
    let p = Place::new();
    std::fs::create_dir(p.path("b")).expect("a folder");
    let e = p.nc(&["view", "b"]).fails("E0857").err;
    assert!(e.contains("manifest.json"), "{e}");
    p.write("b/manifest.json", "{\"format\": 1}");
    p.nc(&["view", "b"]).fails("E0857");
    p.nc(&["run", "b", "--steps", "1"]).fails("E0857");
}

#[cfg(feature = "mlir")]
mod with_code {
    use super::*;
    use nc_ir::Tensor;
    use serde_json::Value;
    use std::io::Write;

    fn net() -> Place {
        let p = Place::with(NET);
        let x: Vec<bool> = (0..40 * 20).map(|k| (k * 7 + k / 20) % 5 == 0).collect();
        p.npz("in.npz", &[("x", Tensor::from_bools(vec![40, 20], &x).expect("as many"))]);
        p
    }

    /// Changes the manifest of a bundle.
    fn edit(p: &Place, change: impl FnOnce(&mut Value)) {
        let path = p.path("b/manifest.json");
        let mut m: Value = serde_json::from_slice(&std::fs::read(&path).expect("a manifest")).expect("JSON");
        change(&mut m);
        std::fs::write(path, m.to_string()).expect("a file can be written");
    }

    #[test]
    fn runs_are_those_of_the_interpreter() {
        let p = net();
        let run = |target: &str, more: &[&str]| {
            let mut args = vec!["run", "m.nd", "--input", "in.npz", "--output", "out.npz", "--target", target];
            args.extend(more);
            p.nc(&args).ok();
            ["p", "q", "v"].map(|name| p.array("out.npz", name))
        };
        let expected = run("interp", &[]);
        assert!(expected[1].bytes().contains(&1), "the second layer is silent: the test sees nothing");
        for more in [&[][..], &["--pieces", "5", "--placement", "3"], &["--dead", "0:0", "--threads", "2"]] {
            assert_eq!(expected, run("spinnaker2", more), "{more:?}");
        }
    }

    #[test]
    fn a_bundle_is_written_shown_and_run() {
        let p = net();
        let compile = ["compile", "m.nd", "--target", "spinnaker2", "--output", "b"];
        p.nc(&[&compile[..], &["--pieces", "6"]].concat()).ok();
        let many = common::names(&p.path("b"));
        p.nc(&compile).ok();
        let few = common::names(&p.path("b"));
        // What the first bundle had and the second has not is gone.
        assert!(few.len() < many.len(), "{few:?}");
        std::fs::remove_file(p.path("b/report.html")).expect("a report");
        let shown = p.nc(&["view", "b"]).ok().out;
        assert!(shown.contains("report.html") && p.path("b/report.html").is_file(), "{shown}");
        p.nc(&["run", "m.nd", "--input", "in.npz", "--output", "a.npz", "--target", "interp"]).ok();
        p.nc(&["run", "b", "--input", "in.npz", "--output", "c.npz"]).ok();
        assert_eq!(p.array("a.npz", "v"), p.array("c.npz", "v"));
        p.nc(&["run", "b", "--input", "in.npz", "--checkpoint", "state"]).fails("E0860");
        std::fs::remove_file(p.path("b").join(few.iter().find(|n| n.ends_with(".elf")).expect("an image")))
            .expect("gone");
        p.nc(&["run", "b", "--input", "in.npz"]).fails("E0857");
    }

    #[test]
    fn a_retimed_model_says_how_late_it_is() {
        let p =
            Place::with(&format!("{NET}\ntarget spinnaker2 {{\n  pipeline = true\n}}\n").replace("; delay = 2", ""));
        let x: Vec<bool> = (0..40 * 20).map(|k| (k * 7 + k / 20) % 5 == 0).collect();
        p.npz("in.npz", &[("x", Tensor::from_bools(vec![40, 20], &x).expect("as many"))]);
        let said = p.nc(&["compile", "m.nd", "--target", "spinnaker2", "--pieces", "2", "--output", "b"]).ok().out;
        let late = "later than in the model, and zero before: q by 1 tick, v by 1 tick";
        assert!(said.contains(late), "{said}");
        let page = std::fs::read_to_string(p.path("b/report.html")).expect("a report");
        assert!(page.contains(late), "{page}");
        assert!(p.nc(&["run", "b", "--input", "in.npz"]).ok().out.contains(late));
        p.nc(&["run", "b", "--input", "in.npz", "--output", "late.npz"]).ok();
        p.nc(&["run", "m.nd", "--input", "in.npz", "--output", "a.npz", "--target", "interp"]).ok();
        let bytes = |file: &str, name: &str| p.array(file, name).bytes().to_vec();
        assert_eq!(bytes("a.npz", "p"), bytes("late.npz", "p"));
        let (now, late) = (bytes("a.npz", "v"), bytes("late.npz", "v"));
        assert!(now.iter().any(|b| *b != 0) && late[..48].iter().all(|b| *b == 0) && late[48..] == now[..39 * 48]);
        let run =
            ["run", "m.nd", "--input", "in.npz", "--output", "c.npz", "--target", "spinnaker2", "--pipeline=false"];
        p.nc(&run).ok();
        assert_eq!(bytes("a.npz", "v"), bytes("c.npz", "v"));
    }

    #[test]
    fn a_profile_beside_the_model_sizes_slots() {
        let p = net();
        let compile = ["compile", "m.nd", "--target", "spinnaker2", "--output", "b"];
        assert!(!p.nc(&compile).ok().out.contains("profile"));
        p.nc(&["profile", "m.nd", "--input", "in.npz"]).ok();
        let said = p.nc(&compile).ok().out;
        assert!(said.contains("of 1 values that a profile knows 4 times as much as measured"), "{said}");
        p.nc(&["run", "b", "--input", "in.npz"]).ok();
        for more in [&["--no-profile"][..], &["--activity", "0.5"]] {
            assert!(!p.nc(&[&compile[..], more].concat()).ok().out.contains("profile knows"), "{more:?}");
        }
    }

    #[test]
    fn an_output_that_no_core_sends_is_no_frame_of_zeros() {
        let p = net();
        p.nc(&["compile", "m.nd", "--target", "spinnaker2", "--output", "b"]).ok();
        edit(&p, |m| m["outputs"][0]["stream"] = Value::Null);
        let e = p.nc(&["run", "b", "--input", "in.npz"]).fails("E0857").err;
        assert!(e.contains("no core sends the output"), "{e}");
    }

    #[test]
    fn what_does_not_end_in_its_slot_ends_the_run() {
        let p = net();
        p.nc(&["compile", "m.nd", "--target", "spinnaker2", "--output", "b"]).ok();
        edit(&p, |m| m["slots"][1]["compute_cycles"] = 16.into());
        let e = p.nc(&["run", "b", "--input", "in.npz"]).fails("E0856").err;
        assert!(e.contains("is still computing when slot level 1 ends"), "{e}");
    }

    #[test]
    fn a_full_ring_ends_the_run() {
        let p = net();
        p.nc(&["compile", "m.nd", "--target", "spinnaker2", "--output", "b"]).ok();
        edit(&p, |m| {
            for core in m["cores"].as_array_mut().expect("cores") {
                core["fifo"]["entries"] = 1.into();
            }
        });
        let e = p.nc(&["run", "b", "--input", "in.npz"]).fails("E0856").err;
        assert!(e.contains("find the ring of"), "{e}");
    }

    /// Spikes that a chip gave for a network of the NIR paper (Pedersen et al., 2024), with weights of 8 bits.
    #[test]
    fn a_recording_of_a_chip_is_reproduced() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let shared = std::env::var_os("NC_SHARED").map_or_else(|| root.join("../shared"), std::path::PathBuf::from);
        let data = shared.join("data/recordings/braille");
        if !data.is_dir() {
            // Not `eprintln!`, which the test harness keeps to itself.
            let text = format!("skipped: a_recording_of_a_chip_is_reproduced: nothing in {}", data.display());
            let _ = writeln!(std::io::stderr(), "{text}");
            return;
        }
        let p = Place::new();
        let file = |name: &str| data.join(name).display().to_string();
        let (model, input) = (file("noBias_subtract.nir"), file("in.npz"));
        for more in [&[][..], &["--pieces", "4", "--placement", "2"]] {
            let run = ["run", &model, "--dt", "1e-4", "--discretise", "spinnaker2,reset=subtract", "--input", &input];
            let rest = ["--output", "out.npz", "--probe", "lif1.lif", "--target", "spinnaker2"];
            p.nc(&[&run[..], &rest, more].concat()).ok();
            let recorded = nc_runtime::arrays::ArrayFile::open(
                &data.join("s2_noBias_subtract.npz"),
                nc_runtime::arrays::Limits::default(),
            )
            .and_then(|f| f.read("spikes"))
            .expect("a recording");
            let ours = p.array("out.npz", "lif1.lif");
            assert_eq!(recorded.shape(), [256, 40]);
            let differ = (0..recorded.len()).filter(|k| {
                let size = recorded.dtype().size();
                let theirs = recorded.bytes()[k * size..(k + 1) * size].iter().any(|x| *x != 0);
                theirs != (ours.bytes()[*k] != 0)
            });
            assert_eq!(differ.count(), 0, "{more:?}");
            assert_eq!(ours.bytes().iter().filter(|x| **x != 0).count(), 119);
        }
    }
}
