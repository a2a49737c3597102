//! Files that are damaged, hostile or merely wrong: each gives an error with its code, in bounded time and memory.

use hdf5_pure::{FileBuilder, GroupBuilder};
use nc_nir::tree::Array;
use nc_nir::{Discretisation, Limits, Options};

const LIMITS: Limits = Limits { max_bytes: 64 << 20 };

/// What reading and lowering make of bytes: the code of the error, or `ok`, and its text.
fn verdict(bytes: &[u8]) -> (String, String) {
    let options = Options { dt: Some(1e-3), limits: LIMITS, ..Options::default() };
    let made = nc_nir::read(bytes.to_vec(), LIMITS).and_then(|f| nc_nir::lower(&f, "m", &options));
    match made {
        Ok(_) => ("ok".to_owned(), String::new()),
        Err(d) => (d.code.to_owned(), d.to_string()),
    }
}

fn text(g: &mut GroupBuilder, name: &str, value: &str) {
    g.create_dataset(name).with_vlen_strings(&[value]).with_shape(&[]);
}

/// A file of one graph. `nodes` fills the group of nodes, edges are pairs.
fn file(edges: &[&str], nodes: impl FnOnce(&mut GroupBuilder)) -> Vec<u8> {
    let mut f = FileBuilder::new();
    f.create_dataset("version").with_vlen_strings(&["1.0.8"]).with_shape(&[]);
    let mut node = f.create_group("node");
    text(&mut node, "type", "NIRGraph");
    node.create_dataset("edges").with_vlen_strings(edges).with_shape(&[edges.len() as u64 / 2, 2]);
    let mut group = node.create_group("nodes");
    nodes(&mut group);
    node.add_group(group.finish());
    f.add_group(node.finish());
    f.finish().expect("a file")
}

fn node(to: &mut GroupBuilder, name: &str, kind: &str, fill: impl FnOnce(&mut GroupBuilder)) {
    let mut g = to.create_group(name);
    text(&mut g, "type", kind);
    fill(&mut g);
    to.add_group(g.finish());
}

fn shape(g: &mut GroupBuilder, extents: &[i64]) {
    g.create_dataset("shape").with_i64_data(extents).with_shape(&[extents.len() as u64]);
}

fn floats(g: &mut GroupBuilder, name: &str, data: &[f32], extents: &[u64]) {
    g.create_dataset(name).with_f32_data(data).with_shape(extents);
}

/// Input, one node, output.
fn chain(extents: &[i64], kind: &str, fill: impl FnOnce(&mut GroupBuilder)) -> Vec<u8> {
    file(&["in", "x", "x", "out"], |g| {
        node(g, "in", "Input", |g| shape(g, extents));
        node(g, "x", kind, fill);
        node(g, "out", "Output", |g| shape(g, extents));
    })
}

fn lif(g: &mut GroupBuilder, tau: f32) {
    for (name, x) in [("tau", tau), ("r", 1.0), ("v_leak", 0.0), ("v_threshold", 1.0)] {
        floats(g, name, &[x, x], &[2]);
    }
}

fn good() -> Vec<u8> {
    chain(&[2], "LIF", |g| lif(g, 0.01))
}

#[test]
fn a_good_file_is_taken() {
    assert_eq!(verdict(&good()).0, "ok", "{}", verdict(&good()).1);
}

#[test]
fn what_is_no_file_is_refused() {
    let foreign: [&[u8]; 4] = [b"", b"\x89HDF\r\n\x1a\n", b"neuron Lif {}", &[0xff; 4096]];
    for bytes in foreign {
        assert_eq!(verdict(bytes).0, "E0930", "{bytes:?}");
    }
    let mut padded = vec![0; 1 << 16];
    padded[512..520].copy_from_slice(b"\x89HDF\r\n\x1a\n");
    assert_eq!(verdict(&padded).0, "E0930");
}

#[test]
fn every_truncation_is_refused() {
    let whole = good();
    for end in (0..whole.len()).step_by(7) {
        let (code, text) = verdict(&whole[..end]);
        assert!(code.starts_with("E093"), "cut at {end}: {code} {text}");
    }
}

#[test]
fn no_changed_byte_is_fatal() {
    let whole = good();
    for at in 0..whole.len() {
        for value in [whole[at] ^ 1, 0xff] {
            let mut bytes = whole.clone();
            if bytes[at] != value {
                bytes[at] = value;
                // Some bytes do not matter; the others give an error. Neither panics, hangs or takes much memory.
                let _ = verdict(&bytes);
            }
        }
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    let whole = chain(&[2], "Scale", |g| floats(g, "scale", &[1.0; 12345], &[12345]));
    let extent = 12345u64.to_le_bytes();
    let places: Vec<usize> = (0..whole.len() - 8).filter(|k| whole[*k..*k + 8] == extent).collect();
    assert!(!places.is_empty(), "the extent is in the file");
    for huge in [1u64 << 33, 1 << 40, 1 << 62, u64::MAX] {
        let mut bytes = whole.clone();
        for k in &places {
            bytes[*k..*k + 8].copy_from_slice(&huge.to_le_bytes());
        }
        let (code, text) = verdict(&bytes);
        assert!(code == "E0930" || code == "E0931", "{huge}: {code} {text}");
    }
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let zeros = vec![0f32; 32 << 20];
    let bytes = chain(&[2], "Scale", |g| {
        let n = zeros.len() as u64;
        g.create_dataset("scale").with_f32_data(&zeros).with_shape(&[n]).with_chunks(&[n]).with_deflate(9);
    });
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    let (code, text) = verdict(&bytes);
    assert!(code == "E0931" && text.contains("memory limit"), "{code} {text}");
}

#[test]
fn nesting_is_bounded() {
    fn nest(to: &mut GroupBuilder, depth: usize) {
        node(to, "g", "NIRGraph", |g| {
            g.create_dataset("edges").with_f64_data(&[]).with_shape(&[0]);
            let mut inner = g.create_group("nodes");
            if depth > 0 {
                nest(&mut inner, depth - 1);
            }
            g.add_group(inner.finish());
        });
    }
    let (code, text) = verdict(&file(&["a", "b"], |g| nest(g, 20)));
    assert!(code == "E0931" && text.contains("nested"), "{code} {text}");
    fn deep(to: &mut GroupBuilder, depth: usize) {
        let mut g = to.create_group("metadata");
        if depth > 0 {
            deep(&mut g, depth - 1);
        }
        to.add_group(g.finish());
    }
    let (code, text) = verdict(&file(&["a", "b"], |g| deep(g, 80)));
    assert!(code == "E0931" && text.contains("nested"), "{code} {text}");
}

#[test]
fn wrong_nodes_are_named() {
    let empty = |_: &mut GroupBuilder| {};
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("E0932", chain(&[2], "LIFF", empty), "did you mean `LIF`"),
        ("E0932", chain(&[2], "../../etc", empty), "`x`"),
        ("E0933", chain(&[2], "LIF", |g| floats(g, "tau", &[1.0; 2], &[2])), "needs the parameter `r`"),
        ("E0933", chain(&[2], "Scale", |g| text(g, "scale", "two")), "should be numbers"),
        (
            "E0933",
            chain(&[2], "Threshold", |g| {
                floats(g, "threshold", &[1.0; 2], &[2]);
                floats(g, "treshold", &[1.0; 2], &[2]);
            }),
            "did you mean `threshold`",
        ),
        ("E0933", chain(&[2], "LIF", |g| lif(g, 0.0)), "`tau` is not positive"),
        ("E0933", chain(&[2], "LIF", |g| lif(g, f32::NAN)), "`tau` is not finite"),
        ("E0933", chain(&[2], "Delay", |g| floats(g, "delay", &[1e30; 2], &[2])), "delay"),
        ("E0933", chain(&[2], "Delay", |g| floats(g, "delay", &[-1.0; 2], &[2])), "delay"),
        ("E0935", chain(&[2], "Scale", |g| floats(g, "scale", &[1.0; 3], &[3])), "[3]"),
        ("E0935", chain(&[0], "Scale", |g| floats(g, "scale", &[1.0], &[1])), "no elements"),
        ("E0935", chain(&[-1], "Scale", |g| floats(g, "scale", &[1.0], &[1])), "shape"),
        ("E0931", chain(&[1 << 20, 1 << 20], "Scale", |g| floats(g, "scale", &[1.0], &[1])), "memory limit"),
        ("E0931", chain(&[1 << 31, 1 << 31, 1 << 31], "Scale", |g| floats(g, "scale", &[1.0], &[1])), "memory limit"),
        ("E0935", chain(&[2], "Linear", |g| floats(g, "weight", &[1.0; 2], &[2])), "two axes"),
        ("E0935", chain(&[2], "Linear", |g| floats(g, "weight", &[1.0; 6], &[2, 3])), "takes [3]"),
        ("E0935", chain(&[2], "Linear", |g| floats(g, "weight", &[], &[0, 2])), "no elements"),
    ];
    for (k, (code, bytes, part)) in cases.into_iter().enumerate() {
        let (found, text) = verdict(&bytes);
        assert!(found == code && text.contains(part), "case {k}: expected {code} with {part:?}, found {found} {text}");
    }
}

#[test]
fn wrong_windows_are_named() {
    let conv = |stride: i64, padding: i64, groups: i64, kernel: u64| {
        chain(&[1, 4, 4], "Conv2d", move |g| {
            let n = kernel * kernel;
            floats(g, "weight", &vec![1.0; n as usize], &[1, 1, kernel, kernel]);
            for (name, x) in [("stride", stride), ("padding", padding), ("dilation", 1), ("groups", groups)] {
                g.create_dataset(name).with_i64_data(&[x, x]).with_shape(&[2]);
            }
        })
    };
    assert_eq!(verdict(&conv(1, 1, 1, 3)).0, "ok", "{}", verdict(&conv(1, 1, 1, 3)).1);
    for bytes in [conv(0, 1, 1, 3), conv(1, 0, 1, 5), conv(1, -1, 1, 3), conv(1, 1, 0, 3), conv(1, 1 << 40, 1, 3)] {
        let (code, text) = verdict(&bytes);
        assert_eq!(code, "E0941", "{text}");
    }
    let (code, text) = verdict(&conv(1, 1 << 30, 1, 3));
    assert_eq!(code, "E0931", "{text}");
}

#[test]
fn wrong_edges_are_named() {
    let scale = |g: &mut GroupBuilder, name: &str| node(g, name, "Scale", |g| floats(g, "scale", &[1.0], &[1]));
    let nodes = |g: &mut GroupBuilder| {
        node(g, "in", "Input", |g| shape(g, &[2]));
        scale(g, "a");
        scale(g, "b");
        node(g, "out", "Output", |g| shape(g, &[2]));
    };
    for (code, edges, part) in [
        ("E0934", vec!["in", "a", "a", "outt"], "did you mean `out`"),
        ("E0934", vec!["in", "a/../b", "a", "out"], "`a/../b`"),
        ("E0936", vec!["in", "a", "a", "b", "b", "a", "b", "out"], "`a`"),
        ("E0936", vec!["in", "a", "a", "a", "a", "out"], "circle"),
        ("E0930", vec![], ""),
    ] {
        let (found, text) = verdict(&file(&edges, nodes));
        // A graph without edges has loose nodes, and is taken with inputs and outputs of their own.
        let code = if edges.is_empty() { found.as_str() } else { code };
        assert!(found == code && text.contains(part), "{edges:?}: {found} {text}");
    }
    let mut f = FileBuilder::new();
    let mut g = f.create_group("node");
    text(&mut g, "type", "NIRGraph");
    g.create_dataset("edges").with_vlen_strings(&["a", "b", "c"]).with_shape(&[1, 3]);
    g.create_group("nodes");
    f.add_group(g.finish());
    assert_eq!(verdict(&f.finish().expect("a file")).0, "E0933");
}

#[test]
fn repair_says_what_it_took() {
    let bytes = file(&["in", "x", "x", "outptu"], |g| {
        node(g, "in", "Input", |g| shape(g, &[1, 2]));
        node(g, "x", "LIF", |g| lif(g, 0.01));
        node(g, "output", "Output", |g| shape(g, &[2]));
    });
    let options = Options { dt: Some(1e-3), repair: true, ..Options::default() };
    let file = nc_nir::read(bytes, LIMITS).expect("it can be read");
    let (module, said) = nc_nir::lower(&file, "m", &options).unwrap_or_else(|d| panic!("{d}"));
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|t| t.contains("W0943") && t.contains("`output` was taken")), "{said:?}");
    assert!(said.iter().any(|t| t.contains("W0943") && t.contains("reshaped")), "{said:?}");
    assert_eq!(module.outputs.len(), 1);
}

#[test]
fn what_a_preset_cannot_do_is_refused() {
    let bytes = chain(&[2], "LIF", |g| {
        for (name, x) in [("tau", 0.01), ("r", 1.0), ("v_leak", 0.5), ("v_threshold", 1.0)] {
            floats(g, name, &[x, x], &[2]);
        }
    });
    let file = nc_nir::read(bytes, LIMITS).expect("it can be read");
    let with = |dt, text: &str, probe: Option<&str>| {
        let discretisation = Discretisation::parse(text).expect("a discretisation");
        let probes = probe.map(str::to_owned).into_iter().collect();
        let options = Options { dt, discretisation, probes, ..Options::default() };
        nc_nir::lower(&file, "m", &options).map(|_| ()).map_err(|d| d.code)
    };
    assert_eq!(with(Some(1e-3), "lava-fixed", None), Err("E0937"));
    assert_eq!(with(None, "euler", None), Err("E0938"));
    assert_eq!(with(Some(-1.0), "euler", None), Err("E0938"));
    assert_eq!(with(Some(1e-3), "euler", Some("y")), Err("E0940"));
    assert_eq!(with(Some(1e-3), "euler", Some("x.v")), Ok(()));
}

#[test]
fn links_and_layouts_of_other_writers() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    for (name, code) in [
        ("circle.nir", "E0931"),
        // Links to names are not followed, within a file or out of it.
        ("external.nir", "E0933"),
        ("virtual.nir", "E0930"),
        ("compound.nir", "E0930"),
        ("big_endian.nir", "ok"),
        ("fixed_text.nir", "ok"),
        ("soft.nir", "E0933"),
    ] {
        let bytes = std::fs::read(format!("{dir}/{name}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (found, text) = verdict(&bytes);
        assert_eq!(found, code, "{name}: {text}");
    }
}

#[test]
fn what_is_written_is_what_was_read() {
    let file = nc_nir::read(good(), LIMITS).expect("it can be read");
    let again = nc_nir::read(nc_nir::write(&file).expect("it can be written"), LIMITS).expect("and read again");
    assert_eq!(file, again);
    let array = Array::from_f32(vec![2, 2], &[f32::NAN, -0.0, f32::MIN_POSITIVE / 2.0, 1.5]).expect("an array");
    let node = nc_nir::model::Node::new(nc_nir::primitive::Kind::Linear).with("weight", array);
    let file = nc_nir::File { version: "1.0.8".to_owned(), root: node };
    let again = nc_nir::read(nc_nir::write(&file).expect("it can be written"), LIMITS).expect("and read again");
    assert_eq!(file, again);
}
