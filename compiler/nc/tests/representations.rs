//! Profiles of activity, tables of costs and pinned representations, from the command line.

mod common;

use common::{Place, Ran};
use nc_ir::Tensor;

/// A layer whose input is mostly zero, which the text does not say.
const LAYER: &str = "\
net Layer {
  file f = \"w.npz\"
  param W: real[96, 128] = f[\"w\"]
  input x: real[128]
  output y = linear(x, W)
}
";

fn layer() -> Place {
    let p = Place::with(LAYER);
    let w: Vec<f32> = (0..96 * 128).map(|k| if k % 7 == 0 { 0.0 } else { (k * 7 % 31) as f32 / 31.0 - 0.4 }).collect();
    p.npz("w.npz", &[("w", Tensor::from_vec(vec![96, 128], w).unwrap())]);
    let x: Vec<f32> = (0..10 * 128).map(|k| if k % 64 == 3 { 0.5 } else { 0.0 }).collect();
    p.npz("in.npz", &[("x", Tensor::from_vec(vec![10, 128], x).unwrap())]);
    p
}

/// The first block of a kind in the page on the optimiser.
fn block(kind: &str, after: &str) -> String {
    let page = include_str!("../../../docs/optimiser.md");
    let rest = page.split_once(after).map_or("", |(_, rest)| rest);
    let block = rest.split_once(&format!("```{kind}\n")).and_then(|(_, b)| b.split_once("```"));
    block.map(|(text, _)| text.to_owned()).unwrap_or_default()
}

#[test]
fn what_was_decided_for_a_model_is_explained() {
    let p = Place::with(&block("nd", "## Reading"));
    let said = p.nc(&["explain", "m.nd"]).ok().out;
    assert_eq!(said, block("text", "prints what was found"));
    assert!(!p.nc(&["explain", "m.nd", "-O0"]).ok().out.contains("linear-shared"));
    p.npz("in.npz", &[("x", Tensor::from_vec(vec![3, 16], vec![1.0f32; 48]).unwrap())]);
    let said = p.nc(&["explain", "m.nd", "--input", "in.npz"]).ok().out;
    assert!(said.contains("kernels over 3 ticks, the fastest of"), "{said}");
    assert!(said.contains(" us x 3 "), "{said}");
    p.nc(&["explain", "m.nd", "--report", "m.html"]).ok();
    let page = std::fs::read_to_string(p.path("m.html")).unwrap();
    assert!(page.contains("%3: product 16 -&gt; 16, dense"), "{page}");
    let drawn = |what: &str| page.split_once(what).and_then(|(_, p)| p.split_once("</svg>")).map_or("", |p| p.0);
    let products = |what: &str| drawn(what).matches(">linear<").count();
    assert_eq!((products("as it was written"), products("as it is now")), (2, 1), "{page}");
    p.nc(&["explain", "m.nd", "--report", "nowhere/m.html"]).fails("E0630");
}

#[test]
fn a_profile_is_kept_beside_the_model_and_decides() {
    let p = layer();
    let plain = p.nc(&["check", "m.nd"]).ok().out;
    assert!(plain.contains("y: dense; activity of x 100.0 %, nothing known"), "{plain}");
    let said = p.nc(&["profile", "m.nd", "--input", "in.npz"]).ok().out;
    assert_eq!(said, "y: 1.56 % of x are not zero\nwritten to m.nd.profile.json\n");
    let kept = std::fs::read_to_string(p.path("m.nd.profile.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["products"]["y"]["nonzero"], 20);
    assert_eq!(kept["products"]["y"]["elements"], 1280);
    let used = p.nc(&["check", "m.nd"]).ok();
    assert!(used.out.contains("y: events; activity of x 1.6 %, measured"), "{}", used.out);
    assert!(used.err.contains("activity of 1 products from m.nd.profile.json"), "{}", used.err);
    assert!(p.nc(&["check", "m.nd", "--no-profile"]).ok().out.contains("y: dense"));
    let run = |extra: &[&str], out: &str| {
        p.nc(&[&["run", "m.nd", "--input", "in.npz", "--output", out], extra].concat()).ok();
        p.array(out, "y")
    };
    let want = run(&["--target", "interp"], "a.npz");
    assert_eq!(run(&[], "b.npz").bytes(), want.bytes());
    assert_eq!(run(&["--force", "y=dense", "--threads", "2"], "c.npz").bytes(), want.bytes());
}

#[test]
fn a_profile_of_another_model_is_ignored_with_a_warning() {
    let p = layer();
    p.nc(&["profile", "m.nd", "--input", "in.npz"]).ok();
    p.write("m.nd", LAYER.replace("linear(x, W)", "2 * linear(x, W)"));
    let stale = p.nc(&["check", "m.nd"]).ok();
    assert!(stale.err.contains("warning[W0827]"), "{}", stale.err);
    assert!(stale.out.contains("dense"), "{}", stale.out);
    // One that is named has to be one.
    p.nc(&["check", "m.nd", "--profile", "w.npz"]).fails("E0825");
    p.nc(&["check", "m.nd", "--profile", "none.json"]).fails("E0825");
    p.write("m.nd.profile.json", "{}");
    assert!(p.nc(&["check", "m.nd"]).ok().err.contains("warning[W0827]"));
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let p = layer();
    p.nc(&["check", "m.nd", "--costs", "w.npz"]).fails("E0826");
    p.nc(&["run", "m.nd", "--input", "in.npz", "--force", "z=events"]).fails("E0705");
    p.nc(&["run", "m.nd", "--input", "in.npz", "--force", "y=sparse"]).ok();
    let plain = Place::with("net Plain {\n  input x: real[4]\n  output y = x + 1\n}\n");
    plain.npz("in.npz", &[("x", Tensor::from_vec(vec![2, 4], vec![0.0f32; 8]).unwrap())]);
    plain.nc(&["profile", "m.nd", "--input", "in.npz"]).fails("E0828");
}

#[test]
fn a_table_needs_a_folder() {
    let p = layer();
    let mut nc = p.command(&["bench", "--calibrate"]);
    nc.env_remove("HOME").env_remove("XDG_CACHE_HOME");
    Ran::from(nc.output().expect("the program starts")).fails("E0829");
}
