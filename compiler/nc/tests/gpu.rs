//! Graphics processors: what is refused without one, what is in a bundle, the kernels run on this processor and assembled.

mod common;

use common::{LIF, Place, Ran, currents, names};
use sha2::Digest;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model whose inputs decide which kernels run.
const CHOICE: &str = "module \"Choice\" {
  seed = 0
  const c0: f32 = [0.0]
  graph {
    param %0 \"x\": f32[2000]
    param %1 \"first\": bool
    %2: f32[2000] = cond(%1, %0) then_body {
      param %0: f32[2000]
      %1: f32[2000] = neg(%0)
      give (%1)
    } else_body {
      param %0: f32[2000]
      %1: f32[2000] = sqrt(%0)
      give (%1)
    }
  }
  input \"x\" = %0
  input \"first\" = %1
  output \"y\" = %2
}
";

fn emit(p: &Place, what: &str) -> Ran {
    p.nc(&["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "--emit", what, "-o", "out"])
}

fn run(p: &Place, target: &str, more: &[&str]) -> Ran {
    let all = ["run", "m.nd", "--dim", "n=40", "--input", "in.npz", "--target", target];
    p.nc(&[&all[..], more].concat())
}

fn lif() -> Place {
    let p = Place::with(LIF);
    p.npz("in.npz", &[("i", currents(20, None, 40))]);
    p
}

fn text_of(p: &Place, file: &str) -> String {
    std::fs::read_to_string(p.path(file)).expect("a text")
}

/// Whether the machine of the test has a driver and a device.
fn has_device() -> bool {
    Place::new().nc(&["targets"]).ok().out.lines().any(|l| l.starts_with("gpu") && !l.contains("not on this machine"))
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let p = lif();
    assert!(emit(&p, "clif").fails("E0861").err.contains("ptx"));
    let gpu = |more: &[&str]| {
        let all = ["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "-o", "out"];
        p.nc(&[&all[..], more].concat())
    };
    let e = gpu(&["--arch", "vulkan", "--emit", "llvm"]).fails("E0861").err;
    assert!(e.contains("the way to Vulkan") && e.contains("spirv"), "{e}");
    // Blocks that run what values decide wait for each other, which they cannot through Vulkan.
    p.write("c.graph", CHOICE);
    for more in [["--arch", "vulkan"], ["--emit", "spirv"]] {
        let all = ["compile", "c.graph", "--target", "gpu", "-o", "out", "--blocks", "3"];
        let e = p.nc(&[&all[..], &more].concat()).fails("E0873").err;
        assert!(e.contains("the 3 blocks") && e.contains("take --blocks 1"), "{e}");
    }
    assert!(p.nc(&["compile", "m.nd", "--emit", "ptx", "-o", "out"]).fails("E0861").err.contains("clif"));
    assert_eq!(p.nc(&["compile", "m.nd", "--target", "gpu", "--arch", "sm_10", "-o", "out"]).code, Some(2));
    if cfg!(feature = "mlir") {
        if !has_device() {
            let e = run(&p, "gpu", &[]).fails("E0870").err;
            assert!(e.contains("driver") && e.contains("Vulkan") && e.contains("gpu-host"), "{e}");
            // Software is named, not taken.
            assert_eq!(e.contains("llvmpipe"), e.contains("taken only by name"), "{e}");
            assert_eq!(e.contains("llvmpipe"), e.contains("NC_GPU_DEVICE"), "{e}");
        }
    } else {
        assert!(emit(&p, "ptx").fails("E0840").err.contains("--features mlir"));
        for target in ["gpu", "gpu-host"] {
            assert!(run(&p, target, &[]).fails("E0840").err.contains("--features mlir"));
        }
    }
    if cfg!(feature = "mlir") {
        let e = run(&p, "gpu", &["--device", "no such device"]).fails("E0870").err;
        assert!(e.contains("Vulkan"), "{e}");
    }
    assert!(!p.path("out").exists());
}

#[test]
fn broken_bundles_are_refused() {
    let p = lif();
    std::fs::create_dir(p.path("b")).expect("a folder");
    p.write("b/gpu.json", "{\"version\": 1}");
    assert!(p.nc(&["run", "b", "--input", "in.npz"]).fails("E0872").err.contains("gpu.json"));
    assert!(p.nc(&["run", "b", "--input", "in.npz", "--dim", "n=3"]).fails("E0806").err.contains("compiled"));
}

#[test]
fn a_bundle_has_all_that_a_host_needs() {
    if !cfg!(feature = "mlir") {
        return;
    }
    let p = lif();
    let said = emit(&p, "ptx,mlir,llvm,kernels").ok().out;
    assert!(said.contains("kernels for sm_80, sm_90, vulkan, vulkan-fused,"), "{said}");
    let all = ["arena.bin", "consts.bin", "gpu.json", "kernels.sm_80.ptx", "kernels.sm_90.ptx"];
    let vulkan = ["kernels.vulkan-fused.spv", "kernels.vulkan.spv"];
    let also = ["m.kernels", "m.mlir", "m.nvvm.mlir", "m.sm_80.ll", "m.sm_90.ll"];
    let proof = ["proof.vulkan-fused.spv", "proof.vulkan.spv"];
    assert_eq!(names(&p.path("out")), [&all[..], &vulkan[..], &also[..], &proof[..]].concat());
    let text = |name: &str| std::fs::read_to_string(p.path("out").join(name)).expect("a text");
    let plan: nc_gpu::Plan = serde_json::from_str(&text("gpu.json")).expect("a plan");
    plan.check().expect("a plan that holds");
    assert_eq!((plan.inputs[0].name.as_str(), plan.outputs.len(), plan.probes[0].every), ("i", 2, 3));
    assert_eq!(plan.states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["P.v"]);
    let ptx = text("kernels.sm_90.ptx");
    assert!(ptx.contains(&format!(".entry {}(", plan.symbol)), "{}", plan.symbol);
    assert_eq!((plan.parts, plan.kernels.is_empty()), (1, false));
    assert!(
        ptx.contains(".target sm_90") && text("m.mlir").contains("gpu.func") && text("m.sm_80.ll").contains("nvptx")
    );
    if !has_device() {
        p.nc(&["run", "out", "--input", "in.npz"]).fails("E0870");
    }
    p.nc(&["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "--arch", "sm_80", "-o", "one"]).ok();
    assert_eq!(names(&p.path("one")), ["arena.bin", "consts.bin", "gpu.json", "kernels.sm_80.ptx"]);
    // Several blocks run in phases through Vulkan, but not where values decide what they run.
    p.nc(&["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "--blocks", "2", "-o", "two"]).ok();
    assert_eq!(names(&p.path("two")), [&all[..], &vulkan[..], &proof[..]].concat());
    let plan: nc_gpu::Plan = serde_json::from_str(&text_of(&p, "two/gpu.json")).expect("a plan");
    assert!(plan.course.is_some_and(|c| c.entries[0] == "nc_phase0"));
    p.write("c.graph", CHOICE);
    p.nc(&["compile", "c.graph", "--target", "gpu", "--blocks", "2", "-o", "choice"]).ok();
    assert_eq!(names(&p.path("choice")), all);
    p.nc(&["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "--emit", "spirv", "-o", "way"]).ok();
    assert_eq!(names(&p.path("way")), ["m.spirv.mlir", "m.spv"]);
    let written = |name: &str| std::fs::read(p.path(name)).expect("a file");
    assert_eq!(written("way/m.spv"), written("out/kernels.vulkan.spv"));
    assert!(String::from_utf8(written("way/m.spirv.mlir")).expect("text").contains("spirv.EntryPoint"));
}

/// A build without the feature mlir takes what is kept and refuses what is broken; a build with it makes both anew.
#[test]
fn kept_code_is_taken_and_what_is_broken_is_not() {
    let p = lif();
    let compile = |out: &str, more: &[&str]| {
        let all = ["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "--arch", "sm_80", "--kernel-cache", "kept"];
        p.nc(&[&all[..], &["-o", out], more].concat())
    };
    let code = |out: &str| std::fs::read_to_string(p.path(out).join("kernels.sm_80.ptx")).expect("code");
    let name = if cfg!(feature = "mlir") {
        compile("first", &[]).ok();
        names(&p.path("kept")).remove(0)
    } else {
        let e = compile("first", &[]).fails("E0875").err;
        // Before a device is looked for, and here as well as when a bundle is written.
        let run = run(&p, "gpu", &["--kernel-cache", "kept"]).fails("E0875").err;
        assert!(run.contains("`nc compile MODEL --target gpu --kernel-cache DIR"), "{run}");
        let quoted = e.split("is kept as kept/").nth(1).and_then(|r| r.split(',').next()).expect("a file");
        std::fs::create_dir(p.path("kept")).expect("a folder");
        quoted.to_owned()
    };
    let file = p.path("kept").join(&name);
    assert!(name.ends_with(".sm_80.ptx") && name.len() == 64 + ".sm_80.ptx".len(), "{name}");
    let text = "// another's code\n";
    let sum: String = sha2::Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(&file, format!("// nc kernels {sum}\n{text}")).expect("written");
    compile("second", &[]).ok();
    assert_eq!(code("second"), text);
    // Other code for other blocks.
    let third = compile("third", &["--blocks", "3"]);
    if cfg!(feature = "mlir") {
        third.ok();
        assert_ne!(code("third"), text);
    } else {
        third.fails("E0875");
    }
    std::fs::write(&file, format!("// nc kernels {sum}\n{text} ")).expect("written");
    if cfg!(feature = "mlir") {
        compile("fourth", &[]).ok();
        assert_eq!(code("fourth"), code("first"));
        // Filled by a run on this processor, too: for all architectures, with the proof of devices of Vulkan.
        run(&p, "gpu-host", &["--kernel-cache", "filled"]).ok();
        assert_eq!(names(&p.path("filled")).len(), 6);
    } else {
        assert!(compile("fourth", &[]).fails("E0874").err.contains(&name));
        run(&p, "gpu", &["--kernel-cache", "kept"]).fails("E0874");
    }
}

#[test]
fn threads_on_this_processor_give_what_the_interpreter_gives() {
    if !cfg!(feature = "mlir") {
        return;
    }
    let p = lif();
    let one = |target: &str, more: &[&str]| {
        let file = format!("{target}.npz");
        run(&p, target, &[&["--output", file.as_str()], more].concat()).ok();
        ["spikes", "v", "P.v"].map(|n| p.array(&file, n))
    };
    let want = one("interp", &[]);
    assert_eq!(one("gpu-host", &[]), want);
    // State leaves the device and comes back.
    run(&p, "gpu-host", &["--steps", "7", "--checkpoint", "c"]).ok();
    p.npz("rest.npz", &[("i", currents(20, None, 40))]);
    run(&p, "gpu-host", &["--resume", "c", "--steps", "5", "--output", "a.npz"]).ok();
    run(&p, "interp", &["--resume", "c", "--steps", "5", "--output", "b.npz"]).ok();
    assert_eq!(p.array("a.npz", "v"), p.array("b.npz", "v"));
    // Samples in one launch, each with a state of its own; more of them than teams run at a time.
    p.npz("in.npz", &[("i", currents(20, Some(5), 40))]);
    let want = one("interp", &[]);
    for blocks in ["1", "3"] {
        assert_eq!(one("gpu-host", &["--blocks", blocks]), want, "{blocks} blocks");
    }
    run(&p, "gpu-host", &["--steps", "7", "--checkpoint", "c"]).ok();
    run(&p, "gpu-host", &["--resume", "c", "--steps", "5", "--output", "a.npz"]).ok();
    run(&p, "interp", &["--resume", "c", "--steps", "5", "--output", "b.npz"]).ok();
    assert_eq!(p.array("a.npz", "v"), p.array("b.npz", "v"));
    let timed = run(&p, "gpu-host", &["--repeat", "2", "--timings", "json"]).ok().out;
    assert!(timed.contains("\"samples\":5"), "{timed}");
}

/// Mesa's software device through Vulkan, or the one that NC_GPU_DEVICE names; without one, or without code to run on it,
/// a test is skipped by its name.
fn through_vulkan(test: &str) -> Option<String> {
    let name = std::env::var("NC_GPU_DEVICE").unwrap_or_else(|_| "llvmpipe".to_owned());
    let there = nc_gpu::Vulkan::open(Some(&name)).map(drop).map_err(|e| e.message);
    let has_code = if cfg!(feature = "mlir") { Ok(()) } else { Err("this build makes no code".to_owned()) };
    match has_code.and(there) {
        Ok(()) => Some(name),
        Err(e) => {
            eprintln!("skipped: {test}: {e}");
            None
        }
    }
}

#[test]
fn a_device_of_vulkan_gives_what_the_interpreter_gives() {
    let Some(device) = through_vulkan("a_device_of_vulkan_gives_what_the_interpreter_gives") else { return };
    let p = lif();
    let of = |target: &str, more: &[&str]| {
        let file = format!("{target}.npz");
        let ran = run(&p, target, &[&["--output", file.as_str()], more].concat()).ok();
        (["spikes", "v", "P.v"].map(|n| p.array(&file, n)), ran.err)
    };
    let named = ["--device", &device];
    for samples in [None, Some(5)] {
        p.npz("in.npz", &[("i", currents(20, samples, 40))]);
        let want = of("interp", &[]).0;
        for blocks in ["1", "3"] {
            let (got, said) = of("gpu", &["--device", &device, "--blocks", blocks]);
            assert_eq!(got, want, "{blocks} blocks");
            assert!(said.contains("running on") && said.contains("(vulkan 1."), "{said}");
        }
        // State leaves the device and comes back.
        run(&p, "gpu", &["--steps", "7", "--checkpoint", "c", "--device", &device]).ok();
        run(&p, "gpu", &["--resume", "c", "--steps", "5", "--output", "a.npz", "--device", &device]).ok();
        run(&p, "interp", &["--resume", "c", "--steps", "5", "--output", "b.npz"]).ok();
        assert_eq!(p.array("a.npz", "v"), p.array("b.npz", "v"));
    }
    let timed = run(&p, "gpu", &["--repeat", "2", "--timings", "json", "--device", &device]).ok().out;
    assert!(timed.contains("device_seconds"), "{timed}");
    // A bundle, by a build that needs nothing but the driver; the proof of another version is not believed.
    p.nc(&["compile", "m.nd", "--dim", "n=40", "--target", "gpu", "--arch", "vulkan", "-o", "b"]).ok();
    let bundle = |more: &[&str]| p.nc(&[&["run", "b", "--input", "in.npz", "--output", "b.npz"], more].concat());
    bundle(&named).ok();
    assert_eq!(p.array("b.npz", "v"), of("interp", &[]).0[1]);
    let manifest = text_of(&p, "b/gpu.json");
    let (head, rest) = manifest.split_once("\"program\": \"").expect("the proof's program");
    let other = if rest.starts_with('0') { '1' } else { '0' };
    p.write("b/gpu.json", format!("{head}\"program\": \"{other}{}", &rest[1..]));
    assert!(bundle(&named).fails("E0872").err.contains("another version's proof"));
}

/// File tests whose results are the interpreter's.
#[test]
fn file_tests_pass_through_vulkan() {
    let Some(device) = through_vulkan("file_tests_pass_through_vulkan") else { return };
    let nets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/filetests/nets").display().to_string();
    let said = Place::new().nc(&["test", "--target", "gpu", "--device", &device, &nets]).ok().out;
    assert!(said.contains(" passed, 0 failed"), "{said}");
}

/// Registers, and bytes of spills of it and its functions, of each entry of a file of PTX.
fn assembled(ptxas: &str, ptx: &Path, arch: &str) -> Vec<(String, u32, u32)> {
    let to = ptx.with_extension("cubin");
    let out = Command::new(ptxas).args([&format!("-arch={arch}"), "-v"]).arg(ptx).arg("-o").arg(to).output();
    let out = out.expect("ptxas runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{}: {said}", ptx.display());
    let number = |line: &str, before: &str| -> u32 {
        let head = line.split(before).next().unwrap_or_default();
        head.split_whitespace().last().and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let (mut all, mut name, mut spilled) = (Vec::new(), String::new(), 0);
    for line in said.lines() {
        if let Some(n) = line.split("Compiling entry function '").nth(1) {
            name = n.split('\'').next().unwrap_or_default().to_owned();
        } else if line.contains("bytes spill stores") {
            spilled += number(line, " bytes spill stores") + number(line, " bytes spill loads");
        } else if line.contains(" registers") {
            all.push((name.clone(), number(line, " registers"), 0));
        }
    }
    // Functions are told of after the entry that calls them.
    all.iter_mut().for_each(|(_, _, s)| *s = spilled);
    all
}

/// Files of models below a folder.
fn models(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for e in entries {
        let path = e.expect("an entry").path();
        if path.is_dir() {
            models(&path, found);
        } else if path.extension().is_some_and(|e| ["nd", "nir", "onnx"].iter().any(|x| e == *x)) {
            found.push(path);
        }
    }
}

/// Blocks of the page that stand behind `<!-- file: NAME -->` are those files, of the page's model; `UPDATE_EXPECT=1` writes
/// them anew.
#[test]
fn the_page_shows_what_is_written() {
    if !cfg!(feature = "mlir") {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gpu.md");
    let old = std::fs::read_to_string(&page).expect("the page");
    let model = old.split("```nd\n").nth(1).and_then(|r| r.split("```").next()).expect("a model");
    let p = Place::with(model);
    let emit = "saturated,kernels,mlir,llvm,ptx,spirv";
    p.nc(&["compile", "m.nd", "--target", "gpu", "--arch", "sm_80", "--emit", emit, "-o", "out"]).ok();
    let mut parts = old.split("<!-- file: ");
    let mut new = parts.next().unwrap_or_default().to_owned();
    let mut count = 0;
    for part in parts {
        let (name, rest) = part.split_once(" -->\n").expect("the end of the comment");
        let (fence, rest) = rest.split_once('\n').expect("a fence");
        let (_, rest) = rest.split_once("```\n").expect("the end of the block");
        let text = std::fs::read_to_string(p.path("out").join(name)).expect("a file of the bundle");
        new.push_str(&format!("<!-- file: {name} -->\n{fence}\n{}\n```\n{rest}", text.trim_end()));
        count += 1;
    }
    assert!(count >= 7, "{count} stages");
    if new != old && std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&page, new).expect("the page can be written");
    } else {
        assert_eq!(new, old, "docs/gpu.md is out of date: run with UPDATE_EXPECT=1");
    }
}

/// Every example, every model of the file tests that is not there to be refused, and every trained model of the reference
/// data (where those are) assembles for both architectures, and no kernel spills.
#[test]
fn kernels_of_every_model_assemble_without_spills() {
    let Some(ptxas) = std::env::var("NC_PTXAS").ok().filter(|_| cfg!(feature = "mlir")) else {
        eprintln!(
            "skipped: kernels_of_every_model_assemble_without_spills: NC_PTXAS does not name the assembler of PTX"
        );
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut all, p) = (Vec::new(), Place::new());
    models(&root.join("examples"), &mut all);
    models(&root.join("tests/filetests"), &mut all);
    all.retain(|m| !m.components().any(|c| c.as_os_str() == "refused"));
    let data = std::env::var("NC_SHARED").map_or_else(|_| root.join("../shared"), PathBuf::from);
    models(&data.join("data/models"), &mut all);
    all.sort();
    let (mut kernels, mut most, mut spills, mut left_out) = (0, 0, Vec::new(), Vec::new());
    for (n, model) in all.iter().enumerate() {
        let file = model.display().to_string();
        let text = std::fs::read_to_string(model).unwrap_or_default();
        let dims: Vec<String> = (text.lines().filter_map(|l| l.strip_prefix("# dim ")))
            .flat_map(|d| ["--dim".to_owned(), d.replace(' ', "")])
            .collect();
        let out = format!("b{n}");
        let mut args = vec!["compile", &file, "--target", "gpu", "-o", &out];
        args.extend(dims.iter().map(String::as_str));
        let mut ran = p.nc(&args);
        if ran.code != Some(0) && file.ends_with(".nir") {
            ran = p.nc(&[&args[..], &["--dt", "0.001"]].concat());
        }
        // Extents of inputs: any that differ.
        let mut open: Vec<String> = Vec::new();
        while ran.err.contains("[E1008]") && open.len() < 8 {
            let name = ran.err.split("has the extent `").nth(1).and_then(|r| r.split('`').next());
            let n = 4 + 2 * open.len();
            open.extend(["--dim".to_owned(), format!("{}={n}", name.unwrap_or_default())]);
            ran = p.nc(&args.iter().copied().chain(open.iter().map(String::as_str)).collect::<Vec<_>>());
        }
        if ran.code != Some(0) {
            // Shapes that depend on values of inputs, what the importer has no row for, files that only others import, weights
            // that are made by a script.
            let line = ran.err.lines().next().unwrap_or_default().to_owned();
            let bare = line.contains("E0530") || line.contains("E0600");
            assert!(ran.code == Some(1) && (!file.ends_with(".nd") || bare), "{file}: {}", ran.err);
            left_out.push(format!("{file}: {line}"));
            continue;
        }
        for arch in ["sm_80", "sm_90"] {
            let ptx = p.path(&out).join(format!("kernels.{arch}.ptx"));
            for (name, registers, spilled) in assembled(&ptxas, &ptx, arch) {
                kernels += 1;
                most = most.max(registers);
                if spilled > 0 {
                    spills.push(format!("{file} {arch} {name}: {registers} registers, {spilled} bytes spilled"));
                }
            }
        }
    }
    println!("{} models, {} left out, {kernels} programs, at most {most} registers", all.len(), left_out.len());
    left_out.iter().for_each(|l| println!("left out: {l}"));
    assert!(all.len() - left_out.len() > 50, "{} of {} models compile", all.len() - left_out.len(), all.len());
    assert!(spills.is_empty(), "{}", spills.join("\n"));
}
