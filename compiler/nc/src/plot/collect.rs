//! What is kept of a run to draw it.

use nc_ir::{DType, Tensor};
use nc_runtime::run::{Face, Port};

/// Most columns of a raster or trace: one for each pixel of the figure's width.
pub const COLUMNS: usize = 1000;

/// Most rows of a raster.
pub const ROWS: usize = 320;

/// Most bins of a rate.
const BINS: usize = 200;

/// Most elements of an array that are drawn as traces.
const TRACES: usize = 6;

/// Most results that are drawn.
const PANELS: usize = 8;

/// The drawn part of a result.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Name of the result.
    pub name: String,
    /// Number of its elements.
    pub cells: usize,
    /// What was kept.
    pub content: Content,
}

/// What is kept of a result.
#[derive(Clone, Debug)]
pub enum Content {
    /// Truth values.
    Spikes {
        /// Columns of the raster.
        columns: usize,
        /// Rows of the raster.
        rows: usize,
        /// Whether there was a spike, row by row.
        marks: Vec<bool>,
        /// Spikes of each bin of time.
        bins: Vec<u64>,
        /// Spikes in all.
        total: u64,
    },
    /// Numbers.
    Traces {
        /// For each drawn element, the least and greatest value in each column that has one.
        lines: Vec<Vec<Option<(f64, f64)>>>,
    },
}

/// Keeps what is drawn.
#[derive(Clone, Debug)]
pub struct Collector {
    /// First tick.
    pub first: u64,
    /// Number of ticks.
    pub ticks: u64,
    /// Number of samples, of which the first is drawn.
    pub samples: usize,
    ports: Vec<Port>,
    panels: Vec<Option<Panel>>,
    left_out: Vec<String>,
}

impl Collector {
    /// Prepares for a run of `ticks` ticks from `first` on. Arrays without elements are not drawn, and of more than
    /// [`PANELS`] the first.
    pub fn new(face: &Face, first: u64, ticks: u64, samples: usize) -> Collector {
        let ports: Vec<Port> = face.results().cloned().collect();
        let (mut panels, mut left_out, mut drawn) = (Vec::new(), Vec::new(), 0);
        for p in &ports {
            let cells = p.shape.iter().product::<usize>();
            let columns = usize::try_from(ticks).unwrap_or(usize::MAX).clamp(1, COLUMNS);
            if cells == 0 {
                panels.push(None);
                continue;
            }
            if drawn == PANELS {
                left_out.push(p.name.clone());
                panels.push(None);
                continue;
            }
            drawn += 1;
            let content = if p.dtype == DType::Bool {
                let rows = cells.min(ROWS);
                let bins = vec![0; columns.min(BINS)];
                Content::Spikes { columns, rows, marks: vec![false; rows * columns], bins, total: 0 }
            } else {
                Content::Traces { lines: vec![vec![None; columns]; cells.min(TRACES)] }
            };
            panels.push(Some(Panel { name: p.name.clone(), cells, content }));
        }
        Collector { first, ticks, samples, ports, panels, left_out }
    }

    /// The panels, in the order of the results.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.panels.iter().flatten()
    }

    /// Names of the results for which there is no room.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Takes `count` frames `[count, samples, ..]` of result `k`, recorded in ticks from `first` on.
    pub fn take(&mut self, k: usize, first: u64, count: u64, samples: usize, bytes: &[u8]) {
        let (Some(port), Some(Some(panel))) = (self.ports.get(k), self.panels.get_mut(k)) else { return };
        let frame = panel.cells * port.dtype.size();
        let start = first.next_multiple_of(port.every.max(1));
        for t in 0..count {
            let tick = start + t * port.every.max(1);
            let since = tick.saturating_sub(self.first);
            let at = t as usize * samples * frame;
            let Some(own) = bytes.get(at..at + frame) else { return };
            panel.content.add(since, self.ticks.max(1), panel.cells, port.dtype, own);
        }
    }
}

/// Which of `n` equal parts of `ticks` a tick lies in.
fn part(tick: u64, ticks: u64, n: usize) -> usize {
    ((u128::from(tick) * n as u128 / u128::from(ticks)) as usize).min(n - 1)
}

impl Content {
    fn add(&mut self, tick: u64, ticks: u64, cells: usize, dtype: DType, frame: &[u8]) {
        match self {
            Content::Spikes { columns, rows, marks, bins, total } => {
                let (column, bin) = (part(tick, ticks, *columns), part(tick, ticks, bins.len()));
                let mut spikes = 0;
                for (cell, _) in frame.iter().enumerate().filter(|(_, b)| **b != 0) {
                    marks[cell * *rows / cells * *columns + column] = true;
                    spikes += 1;
                }
                bins[bin] += spikes;
                *total += spikes;
            }
            Content::Traces { lines } => {
                let size = dtype.size();
                for (line, value) in lines.iter_mut().zip(frame.chunks_exact(size)) {
                    let Some(x) = Tensor::from_bytes(dtype, Vec::new(), value).map(|t| t.get_f64(0)) else { continue };
                    if x.is_finite() {
                        let column = part(tick, ticks, line.len());
                        let (lo, hi) = line[column].unwrap_or((x, x));
                        line[column] = Some((lo.min(x), hi.max(x)));
                    }
                }
            }
        }
    }
}
