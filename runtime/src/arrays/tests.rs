//! What is written is read back, in every type and order; what is asked of a file in wrong ways is refused.

use super::*;
use half::{bf16, f16};
use proptest::prelude::*;
use std::path::PathBuf;

/// An `.npy` of the given header fields and data.
pub(super) fn npy_bytes(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut dict = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while (dict.len() + 11) % 64 != 0 {
        dict.push(' ');
    }
    dict.push('\n');
    let mut b = b"\x93NUMPY\x01\x00".to_vec();
    b.extend((dict.len() as u16).to_le_bytes());
    b.extend(dict.as_bytes());
    b.extend(data);
    b
}

/// A safetensors file of this header and data.
pub(super) fn safetensors_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    let mut b = (header.len() as u64).to_le_bytes().to_vec();
    b.extend(header.as_bytes());
    b.extend(data);
    b
}

pub(super) fn open(shown: &str, bytes: Vec<u8>) -> Result<ArrayFile, Diagnostic> {
    ArrayFile::from_bytes(shown, bytes, Limits::default())
}

/// The bytes of an `.npz` with these arrays.
pub(super) fn npz_bytes(arrays: &[(&str, Tensor)], deflate: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.npz");
    let mut w = NpzWriter::create(&target, NpzOptions { deflate }).unwrap();
    for (name, t) in arrays {
        w.write(name, t).unwrap();
    }
    w.finish().unwrap();
    std::fs::read(&target).unwrap()
}

fn temp(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join(name);
    (dir, target)
}

fn tensors() -> impl Strategy<Value = Tensor> {
    (prop::sample::select(DType::ALL.to_vec()), prop::collection::vec(0usize..5, 0..4)).prop_flat_map(
        |(dtype, shape)| {
            let n = shape.iter().product::<usize>() * dtype.size();
            prop::collection::vec(any::<u8>(), n).prop_map(move |mut bytes| {
                if dtype == DType::Bool {
                    bytes.iter_mut().for_each(|b| *b &= 1);
                }
                Tensor::from_bytes(dtype, shape.clone(), &bytes).unwrap()
            })
        },
    )
}

/// What `.npz` gives back: itself, or `f32` for `bf16`.
fn as_npz(t: &Tensor) -> Tensor {
    if t.dtype() == DType::BF16 {
        let wide = t.as_slice::<bf16>().iter().map(|x| x.to_f32()).collect();
        Tensor::from_vec::<f32>(t.shape().to_vec(), wide).unwrap()
    } else {
        t.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn npz_round_trip(
        arrays in prop::collection::btree_map("[a-zé][a-z0-9_.]{0,6}(/[a-z]{1,3})?", tensors(), 0..6),
        deflate: bool,
    ) {
        let arrays: Vec<(&str, Tensor)> = arrays.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let file = open("x.npz", npz_bytes(&arrays, deflate)).unwrap();
        prop_assert_eq!(file.format(), Format::Npz);
        prop_assert_eq!(file.arrays().len(), arrays.len());
        for (name, t) in &arrays {
            prop_assert_eq!(file.read(name).unwrap(), as_npz(t));
        }
    }

    #[test]
    fn frames_written_are_frames_read(t in tensors(), frames in 0usize..6, block in 1usize..4, deflate: bool) {
        let (_dir, target) = temp("a.npz");
        let mut w = NpzWriter::create(&target, NpzOptions { deflate }).unwrap();
        let id = w.stream("x", t.dtype(), t.shape()).unwrap();
        let other = w.stream("other", DType::Bool, &[]).unwrap();
        for _ in 0..frames {
            w.append_frame(id, &t).unwrap();
            w.append(other, 2, &[0, 1]).unwrap();
        }
        prop_assert_eq!(w.frames(other), 2 * frames);
        w.finish().unwrap();
        let file = ArrayFile::open(&target, Limits::default()).unwrap();
        let pairs = file.read("other").unwrap();
        prop_assert_eq!(pairs.shape(), &[2 * frames]);
        let t = as_npz(&t);
        let mut reader = file.frames("x").unwrap();
        prop_assert_eq!((reader.total(), reader.dtype()), (frames, t.dtype()));
        prop_assert_eq!(reader.frame_shape(), t.shape());
        let mut seen = 0;
        while let Some(b) = reader.next(block).unwrap() {
            let k = b.shape()[0];
            prop_assert!(k == block || seen + k == frames);
            seen += k;
            prop_assert_eq!(b.bytes(), t.bytes().repeat(k));
        }
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn column_major_is_the_transpose(shape in prop::collection::vec(1usize..5, 1..5)) {
        let n: usize = shape.iter().product();
        let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
        let data: Vec<u8> = (0..n as u16).flat_map(u16::to_be_bytes).collect();
        let bytes = npy_bytes("'>u2'", "True", &format!("({},)", extents.join(",")), &data);
        let t = open("x.npy", bytes).unwrap().read("x").unwrap();
        prop_assert_eq!(t.shape(), &shape[..]);
        for (k, v) in t.as_slice::<u16>().iter().enumerate() {
            let (mut rest, mut index) = (k, vec![0; shape.len()]);
            for (i, d) in shape.iter().enumerate().rev() {
                index[i] = rest % d;
                rest /= d;
            }
            let at = index.iter().zip(&shape).rev().fold(0, |at, (i, d)| at * d + i);
            prop_assert_eq!(*v as usize, at);
        }
    }

    #[test]
    fn safetensors_of_the_library_round_trip(t in tensors(), u in tensors()) {
        use ::safetensors::{Dtype, tensor::TensorView};
        let view = |t: &Tensor| {
            let dtype = match t.dtype() {
                DType::F64 => Dtype::F64,
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::BF16 => Dtype::BF16,
                DType::I64 => Dtype::I64,
                DType::I32 => Dtype::I32,
                DType::I16 => Dtype::I16,
                DType::I8 => Dtype::I8,
                DType::U64 => Dtype::U64,
                DType::U32 => Dtype::U32,
                DType::U16 => Dtype::U16,
                DType::U8 => Dtype::U8,
                DType::Bool => Dtype::BOOL,
            };
            (dtype, t.shape().to_vec(), t.bytes().to_vec())
        };
        let (a, b) = (view(&t), view(&u));
        let views = [
            ("a", TensorView::new(a.0, a.1, &a.2).unwrap()),
            ("b", TensorView::new(b.0, b.1, &b.2).unwrap()),
        ];
        let meta = Some([("format".to_owned(), "pt".to_owned())].into());
        let file = open("x.safetensors", ::safetensors::serialize(views, meta).unwrap()).unwrap();
        prop_assert_eq!(file.format(), Format::Safetensors);
        prop_assert_eq!(file.read("a").unwrap(), t);
        prop_assert_eq!(file.read("b").unwrap(), u);
    }
}

#[test]
fn npz_bytes_do_not_depend_on_when_they_are_written() {
    let t = [("a", Tensor::scalar_f32(f32::NAN)), ("b", Tensor::scalar_i64(-1))];
    let first = npz_bytes(&t, true);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(first, npz_bytes(&t, true));
}

#[test]
fn nan_bits_are_kept() {
    let bits: Vec<f32> = [0x7fc0_0001u32, 0xffc1_2345, 0x7f80_0001, 0x8000_0000].map(f32::from_bits).to_vec();
    let t = Tensor::from_vec(vec![4], bits).unwrap();
    let file = open("x.npz", npz_bytes(&[("x", t.clone())], true)).unwrap();
    assert_eq!(file.read("x").unwrap().bytes(), t.bytes());
}

#[test]
fn every_npy_type_and_byte_order() {
    let read = |descr: &str, data: &[u8]| {
        let size: usize = descr[2..].parse().unwrap();
        let bytes = npy_bytes(&format!("'{descr}'"), "False", &format!("({},)", data.len() / size), data);
        open("some/x.npy", bytes).unwrap().read("x").unwrap()
    };
    assert_eq!(read("<f8", &1.5f64.to_le_bytes()).as_slice::<f64>(), [1.5]);
    assert_eq!(read(">f8", &1.5f64.to_be_bytes()).as_slice::<f64>(), [1.5]);
    assert_eq!(read(">f4", &1.5f32.to_be_bytes()).as_slice::<f32>(), [1.5]);
    assert_eq!(read(">f2", &f16::from_f32(1.5).to_be_bytes()).as_slice::<f16>(), [f16::from_f32(1.5)]);
    assert_eq!(read(">i8", &(-2i64).to_be_bytes()).as_slice::<i64>(), [-2]);
    assert_eq!(read("=i4", &(-2i32).to_le_bytes()).as_slice::<i32>(), [-2]);
    assert_eq!(read(">i2", &(-2i16).to_be_bytes()).as_slice::<i16>(), [-2]);
    assert_eq!(read("|i1", &[0xFE]).as_slice::<i8>(), [-2]);
    assert_eq!(read("|u1", &[0xFE, 1]).as_slice::<u8>(), [254, 1]);
    assert_eq!(read("|b1", &[1, 0]), Tensor::from_bools(vec![2], &[true, false]).unwrap());
    assert_eq!(read("<u2", &[0xFF, 0xFF]).as_slice::<u16>(), [65535]);
    assert_eq!(read(">u4", &u32::MAX.to_be_bytes()).as_slice::<u32>(), [u32::MAX]);
    assert_eq!(read("<u8", &u64::MAX.to_le_bytes()).as_slice::<u64>(), [u64::MAX]);
    let long: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    assert!(read("<u4", &long).as_slice::<u32>().iter().copied().eq(0..100_000));
}

#[test]
fn lists_without_reading_and_names_what_is_missing() {
    let t = Tensor::zeros(DType::I16, vec![2, 3]);
    let file = open("in.npz", npz_bytes(&[("spikes", t), ("rate", Tensor::scalar_f32(1.0))], false)).unwrap();
    let listed: Vec<String> = file.arrays().iter().map(|i| format!("{} {}{:?}", i.name, i.dtype, i.shape)).collect();
    assert_eq!(listed, ["spikes i16[2, 3]", "rate f32[]"]);
    assert!(file.find("rate").is_some());
    assert!(file.find("rat").is_none());
    let d = file.read("spike").unwrap_err();
    assert_eq!(
        d.to_string(),
        r#"error[E0617]: in.npz: has no array "spike"; it has "spikes", "rate" (hint: did you mean "spikes"?)"#
    );
    assert_eq!(file.frames("rate").unwrap_err().code, "E0606");
    assert_eq!(file.read_all().unwrap().len(), 2);
}

#[test]
fn an_array_of_an_unread_type_stands_in_no_ones_way() {
    let header = r#"{"f8":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},"x":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#;
    let file = open("w.safetensors", safetensors_bytes(header, &[1, 2, 3])).unwrap();
    assert_eq!(file.read("x").unwrap().as_slice::<u8>(), [3]);
    assert_eq!(file.refused().map(|(n, d)| (n, d.code)).collect::<Vec<_>>(), [("f8", "E0604")]);
    assert!(file.read("f8").unwrap_err().message.contains("F8_E4M3"));
}

#[test]
fn limits_hold_and_frames_go_below_them() {
    let t = Tensor::from_vec(vec![8, 4], (0..32).collect::<Vec<i64>>()).unwrap();
    let limits = Limits { max_bytes: 64, max_arrays: 1, max_rank: 2 };
    let bytes = npz_bytes(&[("x", t.clone())], true);
    let file = ArrayFile::from_bytes("x.npz", bytes, limits).unwrap();
    assert_eq!(file.read("x").unwrap_err().code, "E0605");
    assert_eq!(file.read_all().unwrap_err().code, "E0605");
    let mut frames = file.frames("x").unwrap();
    assert_eq!(frames.next(3).unwrap_err().code, "E0605");
    let mut all = Vec::new();
    while let Some(b) = frames.next(2).unwrap() {
        all.extend_from_slice(b.as_slice::<i64>());
    }
    assert_eq!(all, t.as_slice::<i64>());
    let two = npz_bytes(&[("x", Tensor::scalar_f32(0.0)), ("y", Tensor::scalar_f32(0.0))], false);
    assert_eq!(ArrayFile::from_bytes("x.npz", two, limits).unwrap_err().code, "E0614");
    let deep = npz_bytes(&[("x", Tensor::zeros(DType::U8, vec![1, 1, 1]))], false);
    assert_eq!(ArrayFile::from_bytes("x.npz", deep, limits).unwrap_err().code, "E0606");
}

#[test]
fn the_writer_refuses_what_it_cannot_keep_and_goes_on() {
    let (_dir, target) = temp("a.npz");
    let mut w = NpzWriter::create(&target, NpzOptions::default()).unwrap();
    let x = w.stream("x", DType::F32, &[2]).unwrap();
    assert_eq!(w.stream("x", DType::F32, &[2]).unwrap_err().code, "E0613");
    assert_eq!(w.write("x", &Tensor::scalar_f32(0.0)).unwrap_err().code, "E0613");
    for name in ["", "../x", "a//b", "/x", "a\\b", "a\nb", &"n".repeat(1025)] {
        assert_eq!(w.write(name, &Tensor::scalar_f32(0.0)).unwrap_err().code, "E0612", "{name:?}");
    }
    assert_eq!(w.append(x, 1, &[0; 7]).unwrap_err().code, "E0633");
    assert_eq!(w.append(x, usize::MAX, &[0; 8]).unwrap_err().code, "E0633");
    assert_eq!(w.append_frame(x, &Tensor::scalar_f32(0.0)).unwrap_err().code, "E0633");
    assert_eq!(w.write("deep", &Tensor::zeros(DType::U8, vec![1; 65])).unwrap_err().code, "E0633");
    assert_eq!(w.stream("wide", DType::F32, &[usize::MAX, 2]).unwrap_err().code, "E0633");
    w.finish().unwrap();
    let file = ArrayFile::open(&target, Limits::default()).unwrap();
    assert_eq!(file.read("x").unwrap().shape(), [0, 2]);
}

#[test]
fn long_streams_pass_through_the_disk() {
    let (dir, target) = temp("a.npz");
    let mut w = NpzWriter::create(&target, NpzOptions::default()).unwrap();
    let (x, y) = (w.stream("x", DType::I32, &[1000]).unwrap(), w.stream("y", DType::I64, &[]).unwrap());
    for k in 0..300i32 {
        w.append_frame(x, &Tensor::from_vec(vec![1000], vec![k; 1000]).unwrap()).unwrap();
        w.append_frame(y, &Tensor::scalar_i64(k.into())).unwrap();
    }
    w.append(x, 100, &vec![7; 400_000]).unwrap();
    w.finish().unwrap();
    let file = ArrayFile::open(&target, Limits::default()).unwrap();
    let x = file.read("x").unwrap();
    assert_eq!(x.shape(), [400, 1000]);
    assert!(x.as_slice::<i32>()[..300_000].iter().enumerate().all(|(k, v)| *v as usize == k / 1000));
    assert!(x.bytes()[1_200_000..].iter().all(|b| *b == 7));
    assert!(file.read("y").unwrap().as_slice::<i64>().iter().copied().eq(0..300));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let (dir, target) = temp("a.npz");
    let mut w = NpzWriter::create(&target, NpzOptions::default()).unwrap();
    w.write("x", &Tensor::zeros(DType::F32, vec![100_000])).unwrap();
    let s = w.stream("s", DType::U8, &[300_000]).unwrap();
    w.append(s, 1, &vec![1; 300_000]).unwrap();
    drop(w);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: no /dev/full");
        return;
    }
    let mut w = NpzWriter::create(full, NpzOptions::default()).unwrap();
    w.write("x", &Tensor::zeros(DType::F32, vec![100_000])).unwrap();
    let d = w.finish().unwrap_err();
    assert_eq!(d.code, "E0631");
    assert!(d.message.starts_with("/dev/full: the disk is full"), "{d}");
}

#[test]
fn a_failed_spool_ends_the_writer() {
    let (_dir, target) = temp("gone/a.npz");
    std::fs::create_dir(target.parent().unwrap()).unwrap();
    let mut w = NpzWriter::create(&target, NpzOptions::default()).unwrap();
    let s = w.stream("s", DType::U8, &[300_000]).unwrap();
    std::fs::remove_dir_all(target.parent().unwrap()).unwrap();
    assert_eq!(w.append(s, 1, &vec![1; 300_000]).unwrap_err().code, "E0630");
    assert_eq!(w.append(s, 0, &[]).unwrap_err().code, "E0630");
    assert_eq!(w.finish().unwrap_err().code, "E0630");
    assert!(!target.exists());
}

#[test]
fn more_members_than_a_short_end_record_counts() {
    let (_dir, target) = temp("a.npz");
    let mut w = NpzWriter::create(&target, NpzOptions::default()).unwrap();
    for k in 0..65_600i64 {
        w.write(&k.to_string(), &Tensor::scalar_i64(k)).unwrap();
    }
    w.finish().unwrap();
    assert_eq!(ArrayFile::open(&target, Limits::default()).unwrap_err().code, "E0614");
    let file = ArrayFile::open(&target, Limits { max_arrays: 1 << 17, ..Limits::default() }).unwrap();
    assert_eq!(file.arrays().len(), 65_600);
    assert_eq!(file.read("65599").unwrap(), Tensor::scalar_i64(65_599));
}

#[test]
#[ignore = "writes 4 GiB"]
fn members_and_offsets_beyond_4_gib() {
    let (dir, target) = temp("a.npz");
    let n = (1 << 32) + 5;
    let mut w = NpzWriter::create(&target, NpzOptions::default()).unwrap();
    w.write("big", &Tensor::zeros(DType::Bool, vec![n])).unwrap();
    w.write("after", &Tensor::scalar_i64(7)).unwrap();
    w.finish().unwrap();
    let file = ArrayFile::open(&target, Limits::default()).unwrap();
    assert_eq!(file.find("big").unwrap().shape, [n]);
    assert_eq!(file.read("big").unwrap_err().code, "E0605");
    assert_eq!(file.read("after").unwrap(), Tensor::scalar_i64(7));
    let mut frames = file.frames("big").unwrap();
    let mut seen = 0;
    while let Some(b) = frames.next(1 << 24).unwrap() {
        seen += b.len();
    }
    assert_eq!(seen, n);
    let script = "import numpy as np; z = np.load('a.npz'); print(z['after'], z.zip.getinfo('big.npy').file_size)";
    if let Ok(o) = std::process::Command::new("python3").args(["-c", script]).current_dir(dir.path()).output()
        && o.status.success()
    {
        assert_eq!(String::from_utf8_lossy(&o.stdout).trim(), format!("7 {}", n + 128));
    }
}
