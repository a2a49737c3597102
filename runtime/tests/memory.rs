//! Memory that hostile files can make the readers take. Alone in its binary: the peak is that of the whole process.
#![cfg(target_os = "linux")]

use nc_runtime::arrays::{ArrayFile, Limits};
use nc_runtime::checkpoint::Checkpoint;

fn npy(shape: &str, data: usize) -> Vec<u8> {
    let dict = format!("{{'descr': '<f8', 'fortran_order': True, 'shape': {shape}}}\n");
    let mut b = b"\x93NUMPY\x01\x00".to_vec();
    b.extend((dict.len() as u16).to_le_bytes());
    b.extend(dict.as_bytes());
    b.resize(b.len() + data, 0);
    b
}

fn safetensors(header: &str) -> Vec<u8> {
    let mut b = (header.len() as u64).to_le_bytes().to_vec();
    b.extend(header.as_bytes());
    b
}

/// The largest resident size so far, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn lies_under_the_default_limits_stay_small() {
    let refused = |name: &str, bytes: Vec<u8>| {
        let file = ArrayFile::from_bytes(name, bytes, Limits::default());
        assert!(file.and_then(|f| f.read_all()).is_err(), "{name}");
    };
    refused("short.npy", npy("(500000000,)", 100));
    refused("wide.npy", npy("(20000, 20000)", 100));
    refused("long.safetensors", {
        let mut b = safetensors("{}");
        b[..8].copy_from_slice(&99_000_000u64.to_le_bytes());
        b
    });
    let tensor = r#":{"dtype":"F64","shape":[500000000],"data_offsets":[0,4000000000]}"#;
    refused("claim.safetensors", safetensors(&format!("{{\"x\"{tensor}}}")));
    // 60 MB of header: more tensors than are read, then one list without end.
    let many: String =
        (0..1_000_000).map(|k| format!(r#""t{k}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"#)).collect();
    refused("many.safetensors", safetensors(&format!("{{{many}\"last\":0}}")));
    refused("list.safetensors", safetensors(&format!(r#"{{"x":{{"shape":[{}1]}}}}"#, "0,".repeat(20_000_000))));
    let mut checkpoint = Checkpoint { model_hash: [0; 32], tick: 0, entries: Vec::new() }.to_bytes().unwrap();
    checkpoint[12..16].fill(0xFF);
    assert!(Checkpoint::from_bytes(&checkpoint, Limits::default(), None).is_err());
    assert!(peak() < 512 << 10, "{} kB", peak());
}
