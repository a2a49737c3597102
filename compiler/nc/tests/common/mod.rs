//! Running the program on files in a folder of its own.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use nc_ir::Tensor;
use nc_runtime::arrays::{ArrayFile, Limits, NpzOptions, NpzWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Leaky integrators that spike, `n` of them.
pub const LIF: &str = "\
neuron Lif {
  param beta: real = 0.875
  input i: real
  state v: real = 0
  next v = beta * v + i
  threshold v > 1
  reset { v -= 1 }
}

net Steps(n: int) {
  input i: real[n]
  pop P: Lif[n]
  P.i <- i
  output spikes = P.spike
  output v = P.v
  probe P.v every 3
}
";

/// A folder and the program.
pub struct Place {
    /// The folder.
    pub dir: tempfile::TempDir,
}

/// What a run of the program gave.
pub struct Ran {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Expects success.
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Expects an error of the user's with this code.
    pub fn fails(self, code: &str) -> Ran {
        assert_eq!(self.code, Some(1), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(self.err.contains(&format!("[{code}]")), "{code} is not in\n{}", self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(o: Output) -> Ran {
        Ran {
            code: o.status.code(),
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            err: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

impl Place {
    /// An empty folder.
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().expect("a folder for temporary files") }
    }

    /// A folder with a model.
    pub fn with(model: &str) -> Place {
        let p = Place::new();
        p.write("m.nd", model);
        p
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("a file can be written");
    }

    /// The program in this folder, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_nc"));
        c.current_dir(self.dir.path()).args(args).env_remove("NO_COLOR");
        c
    }

    /// Runs the program.
    pub fn nc(&self, args: &[&str]) -> Ran {
        self.command(args).output().expect("the program starts").into()
    }

    /// Writes an .npz file.
    pub fn npz(&self, name: &str, arrays: &[(&str, Tensor)]) {
        let mut w = NpzWriter::create(&self.path(name), NpzOptions::default()).expect("a file can be written");
        for (n, t) in arrays {
            w.write(n, t).expect("an array can be written");
        }
        w.finish().expect("a file can be written");
    }

    /// Reads an array of an .npz file.
    pub fn array(&self, file: &str, name: &str) -> Tensor {
        ArrayFile::open(&self.path(file), Limits::default()).and_then(|f| f.read(name)).expect("an array")
    }

    /// Names of the files, sorted.
    pub fn files(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

/// Names of the files of a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut v: Vec<String> = std::fs::read_dir(dir)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    v.sort();
    v
}

/// Input current of any tick, sample and cell.
pub fn current(t: usize, sample: usize, k: usize) -> f32 {
    ((t * 7 + sample * 5 + k * 3) % 8) as f32 / 8.0
}

/// `[ticks, n]`, or `[ticks, samples, n]`.
pub fn currents(ticks: usize, samples: Option<usize>, n: usize) -> Tensor {
    let mut v = Vec::new();
    for t in 0..ticks {
        for b in 0..samples.unwrap_or(1) {
            v.extend((0..n).map(|k| current(t, b, k)));
        }
    }
    let shape = std::iter::once(ticks).chain(samples).chain([n]).collect();
    Tensor::from_vec(shape, v).expect("as many as the shape has")
}

/// [`LIF`] in plain Rust: spikes and potentials, tick by tick. All numbers are small binary fractions for a while, and
/// every operation is the one the model writes.
pub fn lif(ticks: usize, sample: usize, n: usize) -> (Vec<u8>, Vec<f32>) {
    let mut v = vec![0f32; n];
    let (mut spikes, mut trace) = (Vec::new(), Vec::new());
    for t in 0..ticks {
        for (k, v) in v.iter_mut().enumerate() {
            *v = 0.875 * *v + current(t, sample, k);
            let fire = *v > 1.0;
            if fire {
                *v -= 1.0;
            }
            spikes.push(u8::from(fire));
            trace.push(*v);
        }
    }
    (spikes, trace)
}
