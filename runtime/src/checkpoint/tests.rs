//! Round trips, and every single damage found with the code that names it.

use super::*;
use proptest::prelude::*;

fn sample() -> Checkpoint {
    Checkpoint {
        model_hash: [7; 32],
        tick: 12_345,
        entries: vec![
            ("pop.v".to_owned(), Tensor::from_vec(vec![3], vec![1.0f32, f32::from_bits(0x7fc0_1234), -0.0]).unwrap()),
            ("spikes".to_owned(), Tensor::from_bools(vec![2, 1], &[true, false]).unwrap()),
            ("empty".to_owned(), Tensor::zeros(DType::I64, vec![0, 4])),
        ],
    }
}

fn load(bytes: &[u8]) -> Result<Checkpoint, Diagnostic> {
    Checkpoint::from_bytes(bytes, Limits::default(), None)
}

/// Sets both checksums that cover the header, and the last one.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let header = crc32fast::hash(&bytes[..64]);
    bytes[64..68].copy_from_slice(&header.to_le_bytes());
    let n = bytes.len() - 4;
    let whole = crc32fast::hash(&bytes[..n]);
    bytes[n..].copy_from_slice(&whole.to_le_bytes());
    bytes
}

/// A checkpoint of one entry with the head and data given, all checksums right.
fn with_entry(name: &[u8], tag: u16, extents: &[u64], data: &[u8]) -> Vec<u8> {
    let mut bytes = Checkpoint { entries: Vec::new(), ..sample() }.to_bytes().unwrap();
    bytes.truncate(68);
    bytes[12..16].copy_from_slice(&1u32.to_le_bytes());
    let mut head = (name.len() as u32).to_le_bytes().to_vec();
    head.extend(tag.to_le_bytes());
    head.extend((extents.len() as u16).to_le_bytes());
    head.extend((data.len() as u64).to_le_bytes());
    head.extend(name);
    extents.iter().for_each(|e| head.extend(e.to_le_bytes()));
    bytes.extend(&head);
    bytes.extend(crc32fast::hash(&head).to_le_bytes());
    bytes.extend(data);
    bytes.extend(crc32fast::hash(data).to_le_bytes());
    bytes.extend([0; 4]);
    let n = bytes.len() as u64;
    bytes[56..64].copy_from_slice(&n.to_le_bytes());
    resealed(bytes)
}

#[track_caller]
fn refuses(bytes: &[u8], code: &str, part: &str) {
    let d = load(bytes).unwrap_err();
    assert_eq!(d.code, code, "{d}");
    assert!(d.message.contains(part), "{d}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn round_trip(
        model_hash: [u8; 32],
        tick: u64,
        entries in prop::collection::btree_map(
            "[a-zé][a-z0-9_./]{0,3}[a-z]",
            (prop::sample::select(DType::ALL.to_vec()), prop::collection::vec(0usize..4, 0..4), any::<u8>()),
            0..6,
        ),
    ) {
        let value = |(dtype, shape, fill): (DType, Vec<usize>, u8)| {
            let mut t = Tensor::zeros(dtype, shape);
            t.bytes_mut().fill(if dtype == DType::Bool { fill & 1 } else { fill });
            t
        };
        let entries = entries.into_iter().filter(|(n, _)| name_fault(n).is_none()).map(|(n, t)| (n, value(t))).collect();
        let c = Checkpoint { model_hash, tick, entries };
        let bytes = c.to_bytes().unwrap();
        prop_assert_eq!(Checkpoint::from_bytes(&bytes, Limits::default(), Some(&model_hash)).unwrap(), c);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn sealed_edits_never_panic(at in 12usize..100, with in prop::collection::vec(any::<u8>(), 1..9)) {
        let mut bytes = sample().to_bytes().unwrap();
        bytes[at..at + with.len()].copy_from_slice(&with);
        if let Err(d) = load(&resealed(bytes)) {
            prop_assert!(d.code.starts_with("E064"));
        }
    }
}

#[test]
fn saved_is_loaded_and_replaces_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.ckpt");
    std::fs::write(&path, b"older").unwrap();
    let c = sample();
    c.save(&path).unwrap();
    let loaded = Checkpoint::load(&path, Limits::default(), Some(&c.model_hash)).unwrap();
    assert_eq!(loaded, c);
    assert_eq!(loaded.get("pop.v").unwrap().bytes()[4..8], 0x7fc0_1234u32.to_le_bytes());
    assert!(loaded.get("pop").is_none());
    assert_eq!(std::fs::read(&path).unwrap(), c.to_bytes().unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(Checkpoint::load(&dir.path().join("no"), Limits::default(), None).unwrap_err().code, "E0600");
    assert_eq!(Checkpoint::load(dir.path(), Limits::default(), None).unwrap_err().code, "E0600");
    assert_eq!(c.save(dir.path()).unwrap_err().code, "E0632");
}

#[test]
fn the_layout_of_version_1_stays() {
    let c = Checkpoint {
        model_hash: [1; 32],
        tick: 2,
        entries: vec![("v".to_owned(), Tensor::from_vec(vec![1], vec![1.0f32]).unwrap())],
    };
    let hex: String = c.to_bytes().unwrap().iter().map(|b| format!("{b:02x}")).collect();
    expect_test::expect!["894e4353544154450100000001000000020000000000000001010101010101010101010101010101010101010101010101010101010101016d00000000000000dacf282b01000000020001000400000000000000760100000000000000aa8279430000803f6a6aa1acd439ef75"].assert_eq(&hex);
}

#[test]
fn truncated_at_every_byte() {
    let bytes = sample().to_bytes().unwrap();
    refuses(&[], "E0640", "mark");
    for n in 1..bytes.len() {
        let d = load(&bytes[..n]).unwrap_err();
        assert_eq!(d.code, "E0642", "{n}: {d}");
    }
    let mut longer = bytes;
    longer.push(0);
    refuses(&longer, "E0642", "declares");
}

#[test]
fn every_bit_flipped() {
    let bytes = sample().to_bytes().unwrap();
    for k in 0..bytes.len() {
        for bit in 0..8 {
            let mut b = bytes.clone();
            b[k] ^= 1 << bit;
            let expected = match k {
                0..8 => "E0640",
                8..12 => "E0641",
                _ => "E0643",
            };
            let d = load(&b).unwrap_err();
            assert_eq!(d.code, expected, "byte {k} bit {bit}: {d}");
        }
    }
}

#[test]
fn another_model_is_told_before_anything_else() {
    let bytes = sample().to_bytes().unwrap();
    let d = Checkpoint::from_bytes(&bytes, Limits::default(), Some(&[8; 32])).unwrap_err();
    assert_eq!(d.code, "E0644");
    assert!(d.message.contains("070707070707") && d.message.contains("080808080808"), "{d}");
}

#[test]
fn sealed_lies_are_refused() {
    let mut b = sample().to_bytes().unwrap();
    b[8] = 2;
    refuses(&resealed(b), "E0641", "version 2");
    let mut b = sample().to_bytes().unwrap();
    b[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    refuses(&resealed(b), "E0646", "4294967295 entries");
    let mut b = sample().to_bytes().unwrap();
    b[12] = 2;
    refuses(&resealed(b), "E0643", "whole");
    let mut b = sample().to_bytes().unwrap();
    b[12] = 4;
    refuses(&resealed(b), "E0642", "head of entry 3");

    assert_eq!(load(&with_entry(b"v", 9, &[2], &[1, 2])).unwrap().entries.len(), 1);
    refuses(&with_entry(b"v", 14, &[2], &[1, 2]), "E0645", "type number 14");
    refuses(&with_entry(b"v", 9, &[3], &[1, 2]), "E0645", "2 bytes");
    refuses(&with_entry(b"v", 9, &[u64::MAX, u64::MAX], &[1, 2]), "E0645", "2 bytes");
    refuses(&with_entry(b"v", 9, &[0, u64::MAX, u64::MAX], &[]), "E0645", "0 bytes");
    refuses(&with_entry(b"v", 9, &[1; 17], &[1]), "E0646", "17 dimensions");
    refuses(&with_entry(b"v", 10, &[2], &[1, 2]), "E0645", "bool");
    refuses(&with_entry(b"\xFF", 9, &[], &[1]), "E0645", "UTF-8");
    refuses(&with_entry(b"", 9, &[], &[1]), "E0645", "empty");
    refuses(&with_entry(b"../v", 9, &[], &[1]), "E0645", "path");
    refuses(&with_entry(&[b'n'; 2000], 9, &[], &[1]), "E0646", "2000");
    // A head whose data would be 16 EiB.
    let mut b = with_entry(b"v", 9, &[2], &[1, 2]);
    b[76..84].copy_from_slice(&u64::MAX.to_le_bytes());
    refuses(&resealed(b), "E0643", "head of entry 0");
    let small = Limits { max_bytes: 1, ..Limits::default() };
    assert_eq!(Checkpoint::from_bytes(&with_entry(b"v", 9, &[2], &[1, 2]), small, None).unwrap_err().code, "E0646");
}

#[test]
fn names_are_checked_when_saving() {
    let mut c = sample();
    c.entries.push(("pop.v".to_owned(), Tensor::scalar_f32(0.0)));
    assert_eq!(c.to_bytes().unwrap_err().code, "E0613");
    c.entries.pop();
    c.entries.push(("a\nb".to_owned(), Tensor::scalar_f32(0.0)));
    assert_eq!(c.to_bytes().unwrap_err().code, "E0612");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: no /dev/full");
        return;
    }
    assert_eq!(sample().save(Path::new("/dev/full")).unwrap_err().code, "E0631");
}
