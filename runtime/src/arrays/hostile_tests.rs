//! Files that lie, end early or are damaged: each is refused with a code, and no lie is believed for an allocation.

use super::tests::{npy_bytes, npz_bytes, open, safetensors_bytes};
use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn several_edits_never_panic(
        which in 0usize..4,
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..9)), 1..5),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = good_files().swap_remove(which).1;
        for (at, with) in edits {
            let at = at.index(bytes.len());
            let end = (at + with.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Err(d) = read_all(bytes) {
            prop_assert!(d.code.starts_with("E06"));
        }
    }
}

/// Opens the bytes and reads everything in them.
fn read_all(bytes: Vec<u8>) -> Result<Vec<(String, Tensor)>, Diagnostic> {
    let file = ArrayFile::from_bytes("h.bin", bytes, Limits { max_bytes: 1 << 20, ..Limits::default() })?;
    let mut refused: Vec<Diagnostic> = file.refused().map(|(_, d)| d.clone()).collect();
    match refused.pop() {
        Some(d) => Err(d),
        None => file.read_all(),
    }
}

#[track_caller]
fn refuses(bytes: Vec<u8>, code: &str, part: &str) {
    let d = read_all(bytes).unwrap_err();
    assert_eq!(d.code, code, "{d}");
    assert!(d.message.contains(part), "{d}");
    assert!(d.message.starts_with("h.bin: "), "{d}");
    assert!(d.message.len() < 800, "{} bytes", d.message.len());
}

fn sample() -> Vec<(&'static str, Tensor)> {
    let x = Tensor::from_vec(vec![2, 3], vec![1.0f32, -2.0, f32::NAN, 4.0, 5.0, 6.0]).unwrap();
    vec![("x", x), ("flag", Tensor::from_bools(vec![3], &[true, false, true]).unwrap())]
}

const TENSORS: &str = r#"{"a":{"dtype":"I16","shape":[2],"data_offsets":[0,4]},"__metadata__":{"k":"v"},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[4,6]}}"#;

fn good_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("npy", npy_bytes("'<f4'", "False", "(2,)", &[0; 8])),
        ("npz stored", npz_bytes(&sample(), false)),
        ("npz deflated", npz_bytes(&sample(), true)),
        ("safetensors", safetensors_bytes(TENSORS, &[1, 2, 3, 4, 0, 1])),
    ]
}

#[test]
fn truncated_at_every_byte() {
    for (kind, bytes) in good_files() {
        read_all(bytes.clone()).unwrap();
        for n in 0..bytes.len() {
            let d = read_all(bytes[..n].to_vec()).expect_err(kind);
            assert!(d.code.starts_with("E06"), "{d}");
        }
    }
}

#[test]
fn every_byte_flipped_never_panics_and_npz_data_never_change() {
    for (kind, bytes) in good_files() {
        let good = read_all(bytes.clone()).unwrap();
        for k in 0..bytes.len() {
            for mask in [1, 0x80, 0xFF] {
                let mut b = bytes.clone();
                b[k] ^= mask;
                // What is still accepted has a checksum over header and data, so at most a name or a date was hit.
                if let Ok(read) = read_all(b)
                    && kind.starts_with("npz")
                {
                    for ((_, a), (_, b)) in read.iter().zip(&good) {
                        assert_eq!(a, b, "{kind} byte {k} mask {mask}");
                    }
                }
            }
        }
    }
}

#[test]
fn appended_bytes_are_refused() {
    for (kind, mut bytes) in good_files() {
        bytes.push(0);
        let code = read_all(bytes).expect_err(kind).code;
        let expected = match kind {
            "npy" => "E0607",
            "safetensors" => "E0616",
            _ => "E0602",
        };
        assert_eq!(code, expected, "{kind}");
    }
}

#[test]
fn files_of_no_known_kind() {
    refuses(Vec::new(), "E0601", "empty");
    refuses(b"time,rate\n1,2\n".to_vec(), "E0601", "first bytes");
    refuses(vec![0xFF; 100], "E0601", "first bytes");
    let d = ArrayFile::open(Path::new("/no/such/file.npz"), Limits::default()).unwrap_err();
    assert_eq!(d.code, "E0600");
    let dir = tempfile::tempdir().unwrap();
    let d = ArrayFile::open(dir.path(), Limits::default()).unwrap_err();
    assert!(d.code == "E0600" && d.message.contains("directory"), "{d}");
    #[cfg(unix)]
    assert_eq!(ArrayFile::open(Path::new("/dev/zero"), Limits::default()).unwrap_err().code, "E0600");
}

#[test]
fn npy_headers_that_lie() {
    let npy = |shape: &str| npy_bytes("'<f8'", "False", shape, &[0; 16]);
    read_all(npy("(2,)")).unwrap();
    refuses(npy("(3,)"), "E0602", "f64[3] takes 24 bytes, 16 follow");
    refuses(npy("(1,)"), "E0607", "takes 8 bytes, 16 follow");
    refuses(npy("(-2,)"), "E0603", "extent");
    refuses(npy("(2)"), "E0603", "expected \",\"");
    refuses(npy("(2.0,)"), "E0603", "expected");
    refuses(npy("2,"), "E0603", "expected \"(\"");
    refuses(npy("(99999999999999999999999999,)"), "E0603", "too large");
    refuses(npy("(4294967296, 4294967296, 16)"), "E0606", "more elements");
    refuses(npy("(0, 9223372036854775807, 9)"), "E0606", "more elements");
    refuses(npy("(1152921504606846976,)"), "E0606", "more elements");
    refuses(npy("(1000000000000,)"), "E0602", "8000000000000 bytes");
    refuses(npy(&format!("({})", "1,".repeat(17))), "E0606", "17 dimensions");
    refuses(npy(&format!("({})", "1,".repeat(65))), "E0603", "dimensions");
    refuses(npy("(2,), 'shape': (2,)"), "E0603", "given twice");
    refuses(npy("(2,), 'more': 1"), "E0603", "unknown key");
    refuses(npy("(2,)} {"), "E0603", "after the dictionary");
}

#[test]
fn npy_headers_that_are_malformed() {
    let raw = |version: [u8; 2], length: &[u8], rest: &[u8]| {
        let mut b = b"\x93NUMPY".to_vec();
        b.extend(version);
        b.extend(length);
        b.extend(rest);
        b
    };
    refuses(raw([9, 0], &[0, 0], &[]), "E0603", "version 9.0");
    refuses(raw([1, 0], &[255, 255], b"{"), "E0602", "65535 bytes declared");
    refuses(raw([2, 0], &[255, 255, 255, 255], b"{"), "E0603", "4294967295 bytes");
    refuses(raw([2, 0], &[1], &[]), "E0602", "");
    refuses(raw([1, 0], &[4, 0], &[0xC3, 0x28, 0, 0]), "E0603", "UTF-8");
    refuses(raw([1, 0], &[2, 0], b"{}"), "E0603", "no 'descr'");
    refuses(raw([1, 0], &[3, 0], b"{'a"), "E0603", "without end");
    let nested = format!("{{'descr': {}", "[".repeat(60_000));
    refuses(raw([1, 0], &(nested.len() as u16).to_le_bytes(), nested.as_bytes()), "E0603", "without end");
    let v3 = "{'descr': '|u1', 'fortran_order': False, 'shape': (), }\n";
    let mut good = raw([3, 0], &(v3.len() as u32).to_le_bytes(), v3.as_bytes());
    good.push(9);
    assert_eq!(read_all(good).unwrap()[0].1.as_slice::<u8>(), [9]);
}

#[test]
fn element_types_are_refused_by_name() {
    let npy = |descr: &str| npy_bytes(descr, "False", "(1,)", &[0; 16]);
    refuses(npy("'|O'"), "E0604", "Python object");
    refuses(npy("'<c16'"), "E0604", "complex");
    refuses(npy("'<U4'"), "E0604", "string");
    refuses(npy("'|S16'"), "E0604", "byte string");
    refuses(npy("'|V2'"), "E0604", "bfloat16");
    refuses(npy("'<M8[ns]'"), "E0604", "date");
    refuses(npy("'<m8[ns]'"), "E0604", "time span");
    refuses(npy("'<f16'"), "E0604", "<f16");
    refuses(npy("'|i4'"), "E0604", "byte order");
    refuses(npy("'i4'"), "E0604", "byte order");
    refuses(npy("''"), "E0604", "unknown");
    refuses(npy("[('a', '<f4', (2,)), ('b]', '<i4')]"), "E0604", "records");
    refuses(npy("'<é'"), "E0604", "unknown");
}

#[test]
fn values_that_do_not_fit() {
    refuses(npy_bytes("'|b1'", "False", "(2,)", &[1, 2]), "E0618", "element 1 of a bool array is the byte 2");
}

#[test]
fn safetensors_headers_that_lie() {
    let st = |header: &str| safetensors_bytes(header, &[0; 8]);
    let one = |dtype: &str, shape: &str, offsets: &str| {
        st(&format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#))
    };
    read_all(one("F32", "[2]", "[0,8]")).unwrap();
    refuses(one("F32", "[3]", "[0,8]"), "E0607", "takes 12 bytes, its data offsets span 8");
    refuses(one("F32", "[2]", "[0,12]"), "E0602", "offset 12");
    refuses(one("F32", "[1]", "[4,8]"), "E0616", "gap");
    refuses(one("F32", "[1]", "[0,4]"), "E0616", "8 bytes of data");
    refuses(one("F32", "[2]", "[8,0]"), "E0616", "backwards");
    refuses(one("F32", "[2]", "[0,18446744073709551615]"), "E0602", "offset 18446744073709551615");
    refuses(one("F32", "[-2]", "[0,8]"), "E0615", "-2");
    refuses(one("F32", "[4294967296,4294967296,4]", "[0,8]"), "E0606", "more elements");
    refuses(one("F32", "[0,18446744073709551615,3]", "[0,8]"), "E0606", "more elements");
    refuses(one("F32", &format!("[{}1]", "1,".repeat(16)), "[0,8]"), "E0606", "17 dimensions");
    refuses(one("F32", &format!("[{}1]", "1,".repeat(99)), "[0,8]"), "E0615", "64 extents");
    refuses(one("C64", "[1]", "[0,8]"), "E0604", "C64");
    let two = |b: &str| {
        st(&format!(
            r#"{{"x":{{"dtype":"U8","shape":[6],"data_offsets":[0,6]}},{b}:{{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}}}"#
        ))
    };
    refuses(two("\"y\""), "E0616", "overlap");
    let twice =
        r#"{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"x":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#;
    refuses(st(twice), "E0613", "twice");
    refuses(two(r#""../y""#), "E0612", "path");
    refuses(two(r#""a\u0000b""#), "E0612", "control");
    refuses(two(r#""""#), "E0612", "empty");
    refuses(st(r#"{"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"more":1}}"#), "E0615", "unknown field");
    refuses(st(r#"{"x":{"dtype":"U8","shape":[8]}}"#), "E0615", "data_offsets");
    refuses(st(r#"{"x":3}"#), "E0615", "line 1");
    refuses(st("{} trailing"), "E0615", "trailing");
    refuses(st(&format!("{{\"x\":{}", "[".repeat(100_000))), "E0615", "");
    refuses(st(&format!("{{\"__metadata__\":{}", "[".repeat(100_000))), "E0615", "");
    let mut huge = st("{}");
    huge[..8].copy_from_slice(&99_999_999u64.to_le_bytes());
    refuses(huge.clone(), "E0602", "99999999");
    huge[..8].copy_from_slice(&100_000_001u64.to_le_bytes());
    refuses(huge, "E0601", "");
    let many: Vec<String> =
        (0..70_000).map(|k| format!(r#""t{k}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    refuses(safetensors_bytes(&format!("{{{}}}", many.join(",")), &[]), "E0614", "65536");
}

/// Where the central record and the local header of the only member are, and its name's length.
fn single(deflate: bool, data: &Tensor) -> (Vec<u8>, usize) {
    let bytes = npz_bytes(&[("x", data.clone())], deflate);
    let end = bytes.len() - 22;
    let directory = u32::from_le_bytes(bytes[end + 16..end + 20].try_into().unwrap()) as usize;
    assert_eq!(bytes[directory..directory + 4], zip::CENTRAL.to_le_bytes());
    (bytes, directory)
}

fn patched(mut bytes: Vec<u8>, patches: &[(usize, &[u8])]) -> Vec<u8> {
    for (at, with) in patches {
        bytes[*at..at + with.len()].copy_from_slice(with);
    }
    bytes
}

#[test]
fn zip_directories_that_lie() {
    let (good, d) = single(false, &Tensor::zeros(DType::U8, vec![100]));
    read_all(good.clone()).unwrap();
    let end = good.len() - 22;
    let with = |patches: &[(usize, &[u8])]| patched(good.clone(), patches);
    let huge = 0xFFFF_FFF0u32.to_le_bytes();
    // Sizes: stored 20, unpacked 24; the local header keeps its own in the Zip64 field.
    refuses(with(&[(d + 24, &huge)]), "E0608", "declares 4294967280");
    refuses(with(&[(d + 20, &huge), (d + 24, &huge)]), "E0608", "outside");
    // All ones send the reader to a Zip64 field that the record does not have: the number itself is meant.
    refuses(with(&[(d + 20, &[0xFF; 8])]), "E0608", "outside");
    refuses(with(&[(d + 8, &[1])]), "E0609", "encrypted");
    refuses(with(&[(d + 10, &[14])]), "E0609", "method 14 (lzma)");
    refuses(with(&[(d + 10, &[77])]), "E0609", "method 77");
    refuses(with(&[(d + 10, &[8])]), "E0608", "compression method differs");
    refuses(with(&[(d + 16, &[0xAA; 4])]), "E0608", "checksum differs");
    refuses(with(&[(d + 42, &[1])]), "E0608", "place differs");
    refuses(with(&[(d + 42, &huge)]), "E0608", "outside");
    refuses(with(&[(d + 34, &[1])]), "E0609", "volume");
    refuses(with(&[(d + 46, b"y")]), "E0608", "name differs");
    refuses(with(&[(d + 46, &[0xFF])]), "E0612", "UTF-8");
    refuses(with(&[(d + 28, &[0xFF, 0xFF])]), "E0612", "65535");
    refuses(with(&[(d + 30, &[0xFF, 0xFF])]), "E0608", "ends inside");
    refuses(with(&[(d, &[0])]), "E0608", "contradicts");
    // The end record: members 8 and 10, size 12, start 16.
    refuses(with(&[(end + 10, &[2])]), "E0609", "volumes");
    refuses(with(&[(end + 8, &[2, 0, 2, 0])]), "E0608", "too small");
    refuses(with(&[(end + 8, &[0xFF, 0xFE, 0xFF, 0xFE])]), "E0608", "too small");
    refuses(with(&[(end + 8, &[0, 0, 0, 0])]), "E0608", "after its last");
    refuses(with(&[(end + 12, &huge)]), "E0608", "outside");
    refuses(with(&[(end + 16, &huge)]), "E0608", "outside");
    refuses(with(&[(end + 4, &[1])]), "E0609", "volumes");
    // Damage to the data is found by the checksum.
    refuses(with(&[(d - 1, &[1])]), "E0610", "archive records");
}

#[test]
fn zip_bombs_stop_at_the_declared_size() {
    let (good, d) = single(true, &Tensor::zeros(DType::U8, vec![1_000_000]));
    assert!(good.len() < 4000);
    read_all(good.clone()).unwrap();
    let with = |patches: &[(usize, &[u8])]| patched(good.clone(), patches);
    // 4 GiB claimed of a member of 1 kB.
    refuses(with(&[(d + 24, &0xFFFF_FFF0u32.to_le_bytes())]), "E0611", "cannot hold");
    // The local header's Zip64 field is not consulted: the directory rules.
    let real = u32::from_le_bytes(good[d + 24..d + 28].try_into().unwrap());
    refuses(with(&[(d + 24, &(real - 1).to_le_bytes())]), "E0607", "takes 1000000 bytes");
    refuses(with(&[(d + 24, &(real + 1).to_le_bytes())]), "E0607", "takes 1000000 bytes");
    // An npy header that agrees with a larger claim: unpacking runs dry instead.
    let header = good[..d].len();
    assert!(header > 0);
    let limits = Limits { max_bytes: 1000, ..Limits::default() };
    let file = ArrayFile::from_bytes("h.bin", good.clone(), limits).unwrap();
    assert_eq!(file.read("x").unwrap_err().code, "E0605");
    // The deflate stream itself damaged.
    let stream = 30 + 5 + 20;
    refuses(with(&[(stream, &[0xFF])]), "E0611", "damaged");
}

#[test]
fn a_deflate_stream_of_another_length_than_declared() {
    use std::io::Write;
    // A member built by hand: npy of `claimed` bytes, packed data of `real`.
    let member = |claimed: usize, real: usize| {
        let header = npy_bytes("'|u1'", "False", &format!("({claimed},)"), &[]);
        let mut plain = header.clone();
        plain.extend(vec![0; real]);
        let mut e = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(&plain).unwrap();
        let packed = e.finish().unwrap();
        let crc = crc32fast::hash(&plain);
        let unpacked = (header.len() + claimed) as u32;
        zip_of(&[("x.npy", 8, crc, &packed, unpacked)])
    };
    assert_eq!(read_all(member(5000, 5000)).unwrap()[0].1.len(), 5000);
    refuses(member(5000, 4999), "E0611", "fewer");
    refuses(member(5000, 5001), "E0611", "another size");
    refuses(member(5000, 900_000), "E0611", "another size");
}

/// An archive of members given as name, method, checksum, bytes in the file and declared size.
fn zip_of(members: &[(&str, u16, u32, &[u8], u32)]) -> Vec<u8> {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for (name, method, crc, packed, unpacked) in members {
        let at = body.len() as u32;
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0, 0, 0x21, 0]);
        common.extend(crc.to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend(unpacked.to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        body.extend(zip::LOCAL.to_le_bytes());
        body.extend(&common);
        body.extend(name.as_bytes());
        body.extend(*packed);
        directory.extend(zip::CENTRAL.to_le_bytes());
        directory.extend([20, 0]);
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = body.len() as u32;
    body.extend(&directory);
    body.extend(zip::END.to_le_bytes());
    body.extend([0; 4]);
    body.extend([(members.len() as u16).to_le_bytes(), (members.len() as u16).to_le_bytes()].concat());
    body.extend((directory.len() as u32).to_le_bytes());
    body.extend(start.to_le_bytes());
    body.extend([0, 0]);
    body
}

#[test]
fn zip_members_with_bad_names() {
    let npy = npy_bytes("'|u1'", "False", "()", &[1]);
    let crc = crc32fast::hash(&npy);
    let named = |names: &[&str]| {
        let members: Vec<_> = names.iter().map(|n| (*n, 0, crc, &npy[..], npy.len() as u32)).collect();
        zip_of(&members)
    };
    assert_eq!(read_all(named(&["a.npy", "b/c.npy"])).unwrap().len(), 2);
    refuses(named(&["a.npy", "a.npy"]), "E0613", "twice");
    refuses(named(&["../a.npy"]), "E0612", "path");
    refuses(named(&["/etc/passwd.npy"]), "E0612", "path");
    refuses(named(&["a\\b.npy"]), "E0612", "backslash");
    refuses(named(&["a\u{1b}[2J.npy"]), "E0612", "control");
    refuses(named(&[".npy"]), "E0612", "empty");
    let long = format!("{}.npy", "n".repeat(1025));
    refuses(named(&[&long]), "E0612", "1029");
    let file = open("h.bin", named(&["readme.txt", "a.npy", "sub/"])).unwrap();
    assert_eq!(file.arrays().len(), 1);
    assert_eq!(file.refused().map(|(n, _)| n).collect::<Vec<_>>(), ["readme.txt", "sub/"]);
    assert_eq!(file.read("readme.txt").unwrap_err().code, "E0604");
}

#[test]
fn zip_members_that_share_bytes() {
    let npy = npy_bytes("'|u1'", "False", "()", &[1]);
    let crc = crc32fast::hash(&npy);
    let mut bytes = zip_of(&[("a.npy", 0, crc, &npy, npy.len() as u32), ("a.npy", 0, crc, &npy, npy.len() as u32)]);
    // The second record points at the first member.
    let end = bytes.len() - 22;
    bytes[end - 5 - 4..end - 5].fill(0);
    refuses(bytes, "E0608", "share bytes");
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    std::fs::write(&path, npy_bytes("'<f4'", "False", "(100000,)", &[0; 400_000])).unwrap();
    let file = ArrayFile::open(&path, Limits::default()).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert_eq!(file.read("x").unwrap_err().code, "E0602");
}

#[test]
fn damage_in_frames_is_found_at_the_last() {
    let (mut bytes, d) = single(false, &Tensor::zeros(DType::U8, vec![10]));
    bytes[d - 1] ^= 1;
    let file = open("h.bin", bytes).unwrap();
    let mut frames = file.frames("x").unwrap();
    assert!(frames.next(9).unwrap().is_some());
    assert_eq!(frames.next(9).unwrap_err().code, "E0610");
}

/// An end record that begins before the first place where one fits.
#[test]
fn an_end_record_in_too_few_bytes_is_cut_short() {
    for n in 4..22 {
        let mut bytes = b"PK\x05\x06PK\x03\x04/,\xFF\xF8\0\0@\xEBN\0\0\0\0\0".to_vec();
        bytes.truncate(n);
        assert_eq!(read_all(bytes).unwrap_err().code, "E0602", "{n} bytes");
    }
}
