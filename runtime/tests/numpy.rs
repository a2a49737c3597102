//! Files exchanged with numpy. Skipped, saying so, where `python3` has no numpy.

use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use nc_runtime::arrays::{ArrayFile, Limits, NpzOptions, NpzWriter};
use std::path::Path;
use std::process::Command;

fn python(script: &str, dir: &Path) -> Option<String> {
    let has = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: python3 with numpy is not here");
        return None;
    }
    let out = Command::new("python3").arg("-c").arg(script).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

#[test]
fn numpy_reads_what_is_written() {
    for deflate in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut w = NpzWriter::create(&dir.path().join("a.npz"), NpzOptions { deflate }).unwrap();
        for dtype in DType::ALL {
            w.write(dtype.name(), &Tensor::zeros(dtype, vec![2, 3])).unwrap();
        }
        w.write("scalar", &Tensor::scalar_f32(1.5)).unwrap();
        w.write("groß/x", &Tensor::from_vec(vec![2], vec![-1i64, 1]).unwrap()).unwrap();
        let s = w.stream("frames", DType::F32, &[3]).unwrap();
        w.stream("none", DType::Bool, &[5]).unwrap();
        for k in 0..40_000 {
            w.append_frame(s, &Tensor::from_vec(vec![3], vec![k as f32; 3]).unwrap()).unwrap();
        }
        w.finish().unwrap();
        let script = "
import numpy as np, zipfile
assert zipfile.ZipFile('a.npz').testzip() is None
z = np.load('a.npz', allow_pickle=False)
for k in z.files:
    print(k, z[k].dtype.str, z[k].shape)
assert z['scalar'][()] == 1.5
assert (z['groß/x'] == [-1, 1]).all()
assert (z['frames'] == np.arange(40000)[:, None]).all()
";
        let Some(listed) = python(script, dir.path()) else { return };
        expect_test::expect![[r#"
            f64 <f8 (2, 3)
            f32 <f4 (2, 3)
            f16 <f2 (2, 3)
            bf16 <f4 (2, 3)
            i64 <i8 (2, 3)
            i32 <i4 (2, 3)
            i16 <i2 (2, 3)
            i8 |i1 (2, 3)
            u64 <u8 (2, 3)
            u32 <u4 (2, 3)
            u16 <u2 (2, 3)
            u8 |u1 (2, 3)
            bool |b1 (2, 3)
            scalar <f4 ()
            groß/x <i8 (2,)
            frames <f4 (40000, 3)
            none |b1 (0, 5)
        "#]]
        .assert_eq(&listed);
    }
}

#[test]
fn what_numpy_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
import numpy as np
a = {}
for d in ['<f8','>f8','<f4','>f4','<f2','>f2','<i8','>i8','<i4','>i4','<i2','>i2','i1','u1','<u2','>u2','<u4','>u4','<u8','>u8']:
    a['c_' + d.replace('<','l').replace('>','b')] = np.arange(24).reshape(2,3,4).astype(d)
    a['f_' + d.replace('<','l').replace('>','b')] = np.asfortranarray(np.arange(24).reshape(2,3,4).astype(d))
np.savez('stored.npz', **a)
np.savez_compressed('packed.npz', **a)
np.savez('odd.npz', np.float32(2), text=np.array(['a', 'b']), obj=np.array([None], dtype=object), z=np.zeros((0, 3)))
np.save('one.npy', np.array([True, False]))
";
    if python(script, dir.path()).is_none() {
        return;
    }
    for name in ["stored.npz", "packed.npz"] {
        let all = ArrayFile::open(&dir.path().join(name), Limits::default()).unwrap().read_all().unwrap();
        assert_eq!(all.len(), 40);
        for (name, t) in all {
            assert_eq!(t.shape(), [2, 3, 4], "{name}");
            assert!((0..24).all(|k| t.get_f64(k) == k as f64), "{name} {t:?}");
        }
    }
    let odd = ArrayFile::open(&dir.path().join("odd.npz"), Limits::default()).unwrap();
    assert_eq!(odd.read("arr_0").unwrap(), Tensor::scalar_f32(2.0));
    assert_eq!(odd.read("z").unwrap().shape(), [0, 3]);
    let refused: Vec<String> = odd.refused().map(|(_, d)| d.to_string()).collect();
    assert!(refused.len() == 2 && refused[0].contains("string") && refused[1].contains("object"), "{refused:?}");
    let one = ArrayFile::open(&dir.path().join("one.npy"), Limits::default()).unwrap();
    assert_eq!(one.read("one").unwrap(), Tensor::from_bools(vec![2], &[true, false]).unwrap());
}
