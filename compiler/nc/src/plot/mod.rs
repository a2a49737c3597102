//! Plots of a run: rasters and rates of spikes, traces of numbers, stacked in one figure.
//!
//! While a run streams by, [`Collector`] keeps what fits the width of the figure and no more, so that memory and the size
//! of a vector file do not grow with the run. Of a batch the first sample is drawn.

mod collect;
mod figure;

#[cfg(test)]
mod tests;

pub use collect::Collector;
pub use figure::draw;

use nc_ir::Diagnostic;
use std::path::Path;

/// The formats of plots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Vector graphics.
    Svg,
    /// A bitmap.
    Png,
}

/// The format that the name of a plot asks for.
///
/// # Errors
/// E0830 for other endings than .svg and .png.
pub fn kind_of(path: &Path) -> Result<Kind, Diagnostic> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("svg") => Ok(Kind::Svg),
        Some("png") => Ok(Kind::Png),
        _ => Err(Diagnostic::error_nowhere("E0830", format!("{} is neither an .svg nor a .png file", path.display()))
            .with_hint("name the plot NAME.svg or NAME.png")),
    }
}
