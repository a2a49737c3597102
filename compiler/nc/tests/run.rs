//! `nc run`: arrays in, arrays out, on every target.

mod common;

use common::{LIF, Place, Ran, currents, lif};
use nc_ir::{DType, Tensor};

const TARGETS: [&str; 3] = ["cpu", "interp", "kernels"];

#[test]
fn every_target_computes_what_the_model_says() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(50, None, 6))]);
    let (spikes, trace) = lif(50, 0, 6);
    for target in TARGETS {
        for threads in ["1", "2"] {
            p.nc(&[
                "run",
                "m.nd",
                "--dim",
                "n=6",
                "--input",
                "in.npz",
                "--output",
                "out.npz",
                "--target",
                target,
                "--threads",
                threads,
            ])
            .ok();
            let s = p.array("out.npz", "spikes");
            assert_eq!((s.dtype(), s.shape()), (DType::Bool, &[50, 6][..]));
            assert_eq!(s.bytes(), spikes, "{target}");
            assert_eq!(p.array("out.npz", "v").as_slice::<f32>(), trace, "{target}");
            let probe = p.array("out.npz", "P.v");
            assert_eq!(probe.shape(), [17, 6]);
            let every: Vec<f32> = trace.chunks(6).step_by(3).flatten().copied().collect();
            assert_eq!(probe.as_slice::<f32>(), every, "{target}");
        }
    }
}

#[test]
fn an_axis_of_samples_runs_each_on_its_own() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(20, Some(5), 3))]);
    for target in TARGETS {
        for threads in ["1", "3"] {
            p.nc(&[
                "run",
                "m.nd",
                "--dim",
                "n=3",
                "--input",
                "in.npz",
                "--output",
                "out.npz",
                "--target",
                target,
                "--threads",
                threads,
            ])
            .ok();
            let v = p.array("out.npz", "v");
            assert_eq!(v.shape(), [20, 5, 3]);
            for sample in 0..5 {
                let own: Vec<f32> = v.as_slice::<f32>().chunks(3).skip(sample).step_by(5).flatten().copied().collect();
                assert_eq!(own, lif(20, sample, 3).1, "{target}, sample {sample}");
            }
        }
    }
}

#[test]
fn a_run_goes_on_from_a_checkpoint_on_any_target() {
    let p = Place::with(LIF);
    let whole = currents(1000, None, 4);
    let part = |from: usize, to: usize| {
        Tensor::from_vec(vec![to - from, 4], whole.as_slice::<f32>()[from * 4..to * 4].to_vec()).unwrap()
    };
    p.npz("whole.npz", &[("i", whole.clone())]);
    p.npz("a.npz", &[("i", part(0, 400))]);
    p.npz("b.npz", &[("i", part(400, 1000))]);
    p.nc(&["run", "m.nd", "--dim", "n=4", "--input", "whole.npz", "--output", "w.npz"]).ok();
    for (first, then) in [("cpu", "cpu"), ("cpu", "interp"), ("interp", "cpu"), ("kernels", "cpu")] {
        p.nc(&[
            "run",
            "m.nd",
            "--dim",
            "n=4",
            "--input",
            "a.npz",
            "--output",
            "1.npz",
            "--checkpoint",
            "c.state",
            "--target",
            first,
        ])
        .ok();
        p.nc(&[
            "run",
            "m.nd",
            "--dim",
            "n=4",
            "--input",
            "b.npz",
            "--output",
            "2.npz",
            "--resume",
            "c.state",
            "--target",
            then,
            "--threads",
            "2",
        ])
        .ok();
        for name in ["spikes", "v", "P.v"] {
            let joined = [p.array("1.npz", name).bytes(), p.array("2.npz", name).bytes()].concat();
            assert_eq!(joined, p.array("w.npz", name).bytes(), "{name}: {first}, then {then}");
        }
    }
    // The state belongs to the model and its dimensions.
    p.npz("five.npz", &[("i", currents(3, None, 5))]);
    p.nc(&["run", "m.nd", "--dim", "n=5", "--input", "five.npz", "--resume", "c.state"]).fails("E0644");
    p.write("other.nd", LIF.replace("0.875", "0.75"));
    p.nc(&["run", "other.nd", "--dim", "n=4", "--input", "b.npz", "--resume", "c.state"]).fails("E0644");
    p.write("comment.nd", format!("# The same, said differently.\n{LIF}"));
    p.nc(&["run", "comment.nd", "--dim", "n=4", "--input", "b.npz", "--resume", "c.state"]).ok();
    let mut bytes = std::fs::read(p.path("c.state")).unwrap();
    bytes.truncate(bytes.len() - 9);
    p.write("cut.state", &bytes);
    p.nc(&["run", "m.nd", "--dim", "n=4", "--input", "b.npz", "--resume", "cut.state"]).fails("E0642");
}

#[test]
fn a_batch_goes_on_from_a_checkpoint() {
    let p = Place::with(LIF);
    let whole = currents(30, Some(3), 2);
    let cut = |from: usize, to: usize| {
        Tensor::from_vec(vec![to - from, 3, 2], whole.as_slice::<f32>()[from * 6..to * 6].to_vec()).unwrap()
    };
    p.npz("a.npz", &[("i", cut(0, 10))]);
    p.npz("b.npz", &[("i", cut(10, 30))]);
    p.npz("w.npz", &[("i", whole.clone())]);
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "w.npz", "--output", "wo.npz", "--threads", "2"]).ok();
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "a.npz", "--output", "ao.npz", "--checkpoint", "c"]).ok();
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "b.npz", "--output", "bo.npz", "--resume", "c"]).ok();
    let joined = [p.array("ao.npz", "v").bytes(), p.array("bo.npz", "v").bytes()].concat();
    assert_eq!(joined, p.array("wo.npz", "v").bytes());
    p.npz("one.npz", &[("i", currents(5, None, 2))]);
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "one.npz", "--resume", "c"]).fails("E0651");
}

#[test]
fn steps_shorten_an_input_and_never_lengthen_it() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(10, None, 2))]);
    let base = ["run", "m.nd", "--dim", "n=2", "--input", "in.npz", "--output", "out.npz"];
    p.nc(&[&base[..], &["--steps", "4"]].concat()).ok();
    assert_eq!(p.array("out.npz", "v").shape(), [4, 2]);
    p.nc(&[&base[..], &["--steps", "0"]].concat()).ok();
    assert_eq!(p.array("out.npz", "v").shape(), [0, 2]);
    p.nc(&[&base[..], &["--steps", "11"]].concat()).fails("E0817");
    p.nc(&[&base[..], &["--duration", "1s"]].concat()).fails("E0817");
    assert_eq!(p.nc(&[&base[..], &["--duration", "1"]].concat()).code, Some(2));
}

const CLOCK: &str = "\
neuron Fast {
  param tau: ms = 10 ms
  param drive: real = 1.5
  state v: real = 0
  v' = (drive - v) / tau
  threshold v > 1
  reset { v = 0 }
  solve exact
}

net Tick {
  clock 1 ms
  pop P: Fast[3]
  output spikes = P.spike
}
";

#[test]
fn without_inputs_the_time_must_be_given() {
    let p = Place::with(CLOCK);
    p.nc(&["run", "m.nd"]).fails("E0817");
    p.nc(&["run", "m.nd", "--duration", "0.5ms"]).fails("E0817");
    p.nc(&["run", "m.nd", "--duration", "100ms", "--output", "a.npz"]).ok();
    p.nc(&["run", "m.nd", "--steps", "100", "--output", "b.npz", "--target", "interp"]).ok();
    let a = p.array("a.npz", "spikes");
    assert_eq!(a.shape(), [100, 3]);
    assert!(a.bytes().contains(&1), "the cells fire");
    assert_eq!(a, p.array("b.npz", "spikes"));
    let ran = p.nc(&["run", "m.nd", "--duration", "100ms"]).ok();
    for part in ["Tick: 100 ticks of 1 ms, 0.1 s in all", "spikes: ", "mean rate", "Hz", "as fast as real time"] {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    assert!(ran.err.is_empty(), "silent without a terminal: {}", ran.err);
}

#[test]
fn inputs_that_do_not_match_are_refused_by_name() {
    let two = LIF.replace("output spikes", "input s: spike[n]\n  output both = s\n  output spikes");
    let p = Place::with(&two);
    let i = || ("i", currents(4, None, 2));
    let s = |v: Vec<f64>| ("s", Tensor::from_vec(vec![4, 2], v).unwrap());
    let good = || s(vec![0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    let try_with = |arrays: &[(&str, Tensor)]| {
        p.npz("in.npz", arrays);
        p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "in.npz", "--output", "out.npz"])
    };
    assert!(try_with(&[i()]).fails("E0810").err.contains("\"s\" bool[T, 2]"));
    assert!(try_with(&[i(), good(), ("j", currents(4, None, 2))]).fails("E0811").err.contains("\"j\""));
    let ints = ("i", Tensor::from_vec(vec![4, 2], vec![0i32; 8]).unwrap());
    assert!(try_with(&[ints, good()]).fails("E0812").err.contains("is f32, the array is i32"));
    let wide = ("i", currents(4, None, 3));
    assert!(try_with(&[wide, good()]).fails("E0813").err.contains("[4, 3]"));
    let long = ("i", currents(5, None, 2));
    try_with(&[long, good()]).fails("E0814");
    let batch = ("i", currents(4, Some(2), 2));
    try_with(&[batch, good()]).fails("E0814");
    let half = s(vec![0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]);
    assert!(try_with(&[i(), half]).fails("E0815").err.contains("\"s\"[1, 1] is 0.5"));
    assert!(!p.path("out.npz").exists(), "nothing is written on failure");
    p.nc(&["run", "m.nd", "--dim", "n=2"]).fails("E0810");
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "none.npz"]).fails("E0600");
    p.write("text.npz", "no arrays");
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "text.npz"]).fails("E0601");
    try_with(&[i(), good()]).ok();
    let whole = std::fs::read(p.path("in.npz")).unwrap();
    p.write("cut.npz", &whole[..whole.len() / 2]);
    assert_eq!(p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "cut.npz"]).code, Some(1));

    let doubles = Tensor::from_vec(vec![4, 2], vec![0.1f64; 8]).unwrap();
    let ran = try_with(&[("i", doubles), good()]).ok();
    assert!(ran.err.contains("E0818") && ran.err.contains("rounded"), "{}", ran.err);
    for spikes in [
        Tensor::from_bools(vec![4, 2], &[false, true, false, false, true, true, false, false]).unwrap(),
        Tensor::from_vec(vec![4, 2], vec![0u8, 1, 0, 0, 1, 1, 0, 0]).unwrap(),
        Tensor::from_vec(vec![4, 2], vec![0i64, 1, 0, 0, 1, 1, 0, 0]).unwrap(),
    ] {
        try_with(&[i(), ("s", spikes)]).ok();
        assert_eq!(p.array("out.npz", "both").bytes(), [0, 1, 0, 0, 1, 1, 0, 0]);
    }
}

#[test]
fn params_and_the_seed_are_set_from_the_command_line() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(9, None, 2))]);
    let with = |more: &[&str], out: &str| {
        let base = ["run", "m.nd", "--dim", "n=2", "--input", "in.npz", "--output", out];
        p.nc(&[&base[..], more].concat())
    };
    with(&[], "a.npz").ok();
    with(&["--set", "P.beta=0.5"], "b.npz").ok();
    p.write("half.nd", LIF.replace("0.875", "0.5"));
    p.nc(&["run", "half.nd", "--dim", "n=2", "--input", "in.npz", "--output", "c.npz"]).ok();
    assert_eq!(p.array("b.npz", "v"), p.array("c.npz", "v"));
    assert_ne!(p.array("a.npz", "v"), p.array("b.npz", "v"));
    assert!(with(&["--set", "P.bta=0.5"], "d.npz").fails("E0208").err.contains("P.beta"));
    assert_eq!(with(&["--set", "P.beta=half"], "d.npz").code, Some(2));
    // A state goes on only with the values that it was computed with.
    with(&["--set", "P.beta=0.5", "--checkpoint", "c"], "d.npz").ok();
    assert_eq!(with(&["--resume", "c"], "d.npz").code, Some(1));
    with(&["--set", "P.beta=0.5", "--resume", "c"], "d.npz").ok();

    let drawn = |seed: &str| {
        format!(
            "net A {{\n  {seed}\n  input x: spike\n  state v: real[8] = uniform(0, 1)\n  next v = v\n  output y = v\n}}\n"
        )
    };
    p.write("seven.nd", drawn("seed 7"));
    p.write("none.nd", drawn(""));
    p.npz("x.npz", &[("x", Tensor::from_bools(vec![2], &[true, false]).unwrap())]);
    let run = |args: &[&str]| p.nc(&[&["run"], args, &["--input", "x.npz"]].concat()).ok();
    run(&["seven.nd", "--output", "a.npz"]);
    run(&["none.nd", "--seed", "7", "--output", "b.npz"]);
    run(&["seven.nd", "--seed", "8", "--output", "c.npz"]);
    assert_eq!(p.array("a.npz", "y"), p.array("b.npz", "y"));
    assert_ne!(p.array("a.npz", "y"), p.array("c.npz", "y"));

    p.nc(&["compile", "seven.nd", "-o", ".", "--emit", "graph"]).ok();
    p.nc(&["check", "seven.graph", "--seed", "8"]).fails("E0806");
    p.nc(&["check", "seven.graph", "--set", "v=1"]).fails("E0806");
}

#[test]
fn more_values_are_recorded_on_request() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(9, None, 2))]);
    let base = ["run", "m.nd", "--dim", "n=2", "--input", "in.npz", "--output", "out.npz"];
    p.nc(&[&base[..], &["--no-model-probes", "--probe", "P.spike"]].concat()).ok();
    assert_eq!(p.array("out.npz", "P.spike").bytes(), p.array("out.npz", "spikes").bytes());
    let ran = p.nc(&[&base[..], &["--probe", "P.w"]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("P.w") || ran.err.contains("`w`"), "{}", ran.err);
}

#[test]
fn plots_are_drawn_and_small() {
    let p = Place::with(CLOCK);
    p.nc(&["run", "m.nd", "--duration", "200ms", "--probe", "P.v", "--plot", "a.svg"]).ok();
    p.nc(&["run", "m.nd", "--duration", "200ms", "--plot", "a.png"]).ok();
    let svg = std::fs::read_to_string(p.path("a.svg")).unwrap();
    assert!(svg.contains("time (ms)") && svg.contains("P.v") && svg.len() < 2 << 20);
    assert!(std::fs::read(p.path("a.png")).unwrap().starts_with(b"\x89PNG"));
    p.nc(&["run", "m.nd", "--duration", "200ms", "--plot", "a.pdf"]).fails("E0830");
    assert_eq!(p.files(), ["a.png", "a.svg", "m.nd"]);
    // Of a batch the first sample is drawn, and the plot says so.
    assert!(!svg.contains("samples"));
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(9, Some(3), 2))]);
    p.nc(&["run", "m.nd", "--dim", "n=2", "--input", "in.npz", "--plot", "b.svg"]).ok();
    assert!(std::fs::read_to_string(p.path("b.svg")).unwrap().contains("the first of 3 samples"));
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    if !std::path::Path::new("/dev/full").exists() {
        eprintln!("skipped: no /dev/full");
        return;
    }
    let p = Place::with(CLOCK);
    for flag in ["--output", "--checkpoint"] {
        p.nc(&["run", "m.nd", "--steps", "10", flag, "/dev/full"]).fails("E0631");
    }
    assert_eq!(p.files(), ["m.nd"]);
    // A disk that fills up while a file is written, as a limit on the size of files shows it.
    let limited = |flag: &str, file: &str| {
        let command = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
        let nc = env!("CARGO_BIN_EXE_nc");
        let args = ["-c", command, nc, "run", "m.nd", "--steps", "100000", flag, file];
        Ran::from(std::process::Command::new("sh").args(args).current_dir(p.dir.path()).output().unwrap())
    };
    for (flag, file) in [("--output", "out.npz"), ("--plot", "out.svg"), ("--plot", "out.png")] {
        let ran = limited(flag, file);
        assert_eq!(ran.code, Some(1), "{flag} {file}: {}", ran.err);
        assert!(ran.err.contains("error[E063"), "{flag} {file}: {}", ran.err);
        assert_eq!(p.files(), ["m.nd"], "{flag} {file}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran: Ran = p.command(&["explain"]).stdout(full).output().unwrap().into();
    ran.fails("E0631");
    p.write("old.npz", "old");
    p.nc(&["run", "m.nd", "--output", "old.npz"]).fails("E0817");
    p.nc(&["run", "m.nd", "--steps", "3", "--output", "no/such/folder.npz"]).fails("E0630");
    p.nc(&["run", "m.nd", "--steps", "3", "--checkpoint", "."]).fails("E0632");
    assert_eq!(std::fs::read(p.path("old.npz")).unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_half_written_file() {
    let p = Place::with(CLOCK);
    let args =
        ["run", "m.nd", "--steps", "4000000000", "--target", "interp", "--output", "out.npz", "--checkpoint", "c"];
    let mut child = p.command(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // The temporary of the output shows that the run has begun.
    let start = std::time::Instant::now();
    while p.files().len() < 2 {
        assert!(start.elapsed().as_secs() < 60, "the run does not begin");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(p.files(), ["m.nd"]);
}

#[test]
fn times_of_passes_are_shown() {
    let p = Place::with(CLOCK);
    let ran = p.nc(&["run", "m.nd", "--steps", "5", "--time-passes"]).ok();
    for pass in ["parse", "lower", "machine code", "first step", "all passes"] {
        assert!(ran.err.contains(pass), "{pass} is not in\n{}", ran.err);
    }
}

#[test]
fn memory_over_the_limit_is_refused_before_it_is_taken() {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(2, None, 100_000))]);
    for (target, code) in [("cpu", "E0704"), ("kernels", "E0704"), ("interp", "E0504")] {
        let args =
            ["run", "m.nd", "--dim", "n=100000", "--input", "in.npz", "--max-memory", "256K", "--target", target];
        p.nc(&args).fails(code);
    }
}
