//! Where results go: the output file, the counts for the summary, the plot.

use crate::driver::Form;
use crate::plot::Collector;
use nc_ir::{DType, Diagnostic, Tensor};
use nc_onnx::Along;
use nc_runtime::arrays::{NpzOptions, NpzWriter, StreamId};
use nc_runtime::run::{Face, Frames, Port, Sink};
use std::path::Path;

/// Takes every result to wherever it is wanted.
pub struct Outputs {
    ports: Vec<Port>,
    writer: Option<(NpzWriter, Layout)>,
    /// Spikes of each result, for those of truth values.
    spikes: Vec<u64>,
    /// Frames of each result.
    frames: Vec<u64>,
    samples: u64,
    /// What is drawn.
    pub plot: Option<Collector>,
}

/// How results stand in the output file.
enum Layout {
    /// Along a leading axis of ticks.
    Streams(Vec<StreamId>),
    /// As they are: there is one tick.
    Whole,
    /// The frames of each result so far, and how they make its array.
    Steps(Vec<(Vec<u8>, Steps)>),
}

/// How the frames of a result make its array.
enum Steps {
    /// Steps of sequences.
    Along(Along),
    /// The last one is the array.
    Last,
    /// Along a leading axis of ticks.
    Leading,
}

impl Outputs {
    /// Prepares the output file, if there is one. `samples` is the length of the axis of samples, if there is one.
    ///
    /// # Errors
    /// What the file refuses; E0613 if two results have one name.
    pub fn new(
        face: &Face,
        form: &Form,
        path: Option<&Path>,
        samples: Option<usize>,
        compress: bool,
        plot: Option<Collector>,
    ) -> Result<Outputs, Diagnostic> {
        let ports: Vec<Port> = face.results().cloned().collect();
        let writer = match path {
            None => None,
            Some(path) => {
                let mut writer = NpzWriter::create(path, NpzOptions { deflate: compress })?;
                let layout = match form {
                    Form::Once { .. } => Layout::Whole,
                    Form::Sequence { outputs, .. } => {
                        let of = |a: &Option<Along>| a.clone().map_or(Steps::Last, Steps::Along);
                        let probes = std::iter::repeat_with(|| Steps::Leading);
                        let all = outputs.iter().map(of).chain(probes).take(ports.len());
                        Layout::Steps(all.map(|s| (Vec::new(), s)).collect())
                    }
                    Form::Ticks => {
                        let mut streams = Vec::with_capacity(ports.len());
                        for p in &ports {
                            let frame: Vec<usize> = samples.into_iter().chain(p.shape.iter().copied()).collect();
                            streams.push(writer.stream(&p.name, p.dtype, &frame)?);
                        }
                        Layout::Streams(streams)
                    }
                };
                Some((writer, layout))
            }
        };
        let (spikes, frames) = (vec![0; ports.len()], vec![0; ports.len()]);
        Ok(Outputs { ports, writer, spikes, frames, samples: samples.unwrap_or(1) as u64, plot })
    }

    /// Puts the output file in its place.
    ///
    /// # Errors
    /// What the file refuses.
    pub fn finish(&mut self) -> Result<(), Diagnostic> {
        let Some((mut writer, layout)) = self.writer.take() else { return Ok(()) };
        if let Layout::Steps(all) = layout {
            for (k, (frames, steps)) in all.into_iter().enumerate() {
                let (port, n) = (&self.ports[k], self.frames[k] as usize);
                let (shape, bytes) = match steps {
                    Steps::Last => (port.shape.clone(), frames),
                    Steps::Leading => (std::iter::once(n).chain(port.shape.iter().copied()).collect(), frames),
                    Steps::Along(along) => (along.shape(n), whole(&frames, &along, n, port.dtype.size())),
                };
                writer.write(&port.name, &array(port, shape, &bytes)?)?;
            }
        }
        writer.finish()
    }

    /// A line on each result of truth values: spikes and mean rate, with `dt` seconds per tick if time is known.
    pub fn summary(&self, dt: Option<f64>) -> String {
        let mut out = String::new();
        for (k, port) in self.ports.iter().enumerate().filter(|(_, p)| p.dtype == DType::Bool) {
            let cells = port.shape.iter().product::<usize>() as f64 * self.samples as f64;
            let frames = self.frames[k] as f64;
            let each = if cells * frames > 0.0 { self.spikes[k] as f64 / (cells * frames) } else { 0.0 };
            let rate = match dt {
                Some(dt) => format!("{:.4} Hz", each / dt),
                None => format!("{each:.6} per tick"),
            };
            out.push_str(&format!("{}: {} spikes, mean rate {rate}\n", port.name, self.spikes[k]));
        }
        out
    }
}

/// The array of a result.
fn array(port: &Port, shape: Vec<usize>, bytes: &[u8]) -> Result<Tensor, Diagnostic> {
    // numpy has no bfloat16: its bits are written, as they are read.
    let dtype = if port.dtype == DType::BF16 { DType::U16 } else { port.dtype };
    Tensor::from_bytes(dtype, shape, bytes)
        .ok_or_else(|| Diagnostic::error_nowhere("E0653", format!("{:?} came in another size", port.name)))
}

/// The bytes of an array of `n` steps from its frames.
fn whole(frames: &[u8], along: &Along, n: usize, size: usize) -> Vec<u8> {
    let (sequences, elements) = along.blocks();
    let block = elements * size;
    if sequences == 1 || block == 0 {
        return frames.to_vec();
    }
    let mut out = Vec::with_capacity(frames.len());
    for p in 0..sequences {
        for t in 0..n {
            out.extend_from_slice(&frames[(t * sequences + p) * block..][..block]);
        }
    }
    out
}

impl Sink for Outputs {
    fn take(&mut self, first: u64, ticks: u64, results: &[Frames]) -> Result<(), Diagnostic> {
        for (k, (port, frames)) in self.ports.iter().zip(results).enumerate() {
            let count = port.frames_in(first, ticks);
            self.frames[k] += count;
            if port.dtype == DType::Bool {
                self.spikes[k] += frames.bytes().iter().map(|b| u64::from(*b)).sum::<u64>();
            }
            match &mut self.writer {
                Some((writer, Layout::Streams(streams))) => {
                    writer.append(streams[k], count as usize, frames.bytes())?
                }
                Some((writer, Layout::Whole)) => {
                    writer.write(&port.name, &array(port, port.shape.clone(), frames.bytes())?)?;
                }
                Some((_, Layout::Steps(all))) => {
                    let (kept, steps) = &mut all[k];
                    let mut bytes = frames.bytes();
                    if matches!(steps, Steps::Last) && count > 0 {
                        kept.clear();
                        bytes = &bytes[bytes.len() - bytes.len() / count as usize..];
                    }
                    kept.extend_from_slice(bytes);
                }
                None => {}
            }
            if let Some(plot) = &mut self.plot {
                plot.take(k, first, count, self.samples as usize, frames.bytes());
            }
        }
        Ok(())
    }
}
