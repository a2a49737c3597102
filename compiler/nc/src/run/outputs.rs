//! Where results go: the output file, the counts for the summary, the plot.

use crate::driver::Form;
use crate::plot::Collector;
use nc_ir::{DType, Diagnostic, Tensor};
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
        self.writer.take().map_or(Ok(()), |(w, _)| w.finish())
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
                    // numpy has no bfloat16: its bits are written, as they are read.
                    let dtype = if port.dtype == DType::BF16 { DType::U16 } else { port.dtype };
                    let whole = Tensor::from_bytes(dtype, port.shape.clone(), frames.bytes());
                    let whole = whole.ok_or_else(|| {
                        Diagnostic::error_nowhere("E0653", format!("{:?} came in another size", port.name))
                    })?;
                    writer.write(&port.name, &whole)?;
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
