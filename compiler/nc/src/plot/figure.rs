//! The figure: axes and text by the plotting library, marks of rasters as one path.

use super::Kind;
use super::collect::{Collector, Content, Panel};
use nc_ir::Diagnostic;
use nc_runtime::atomic::AtomicFile;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Once;

/// Width of the figure, in pixels of a vector file. A bitmap has [`DENSITY`] times as many.
const WIDTH: u32 = 1000;

/// Pixels of a bitmap for each of a vector file.
const DENSITY: u32 = 2;

/// Heights of the kinds of panels.
const RASTER: u32 = 340;
const RATE: u32 = 130;
const TRACE: u32 = 190;

/// Room for the title, and for the labels of the time axis.
const HEAD: u32 = 44;
const FOOT: u32 = 42;

const INK: RGBColor = RGBColor(0x22, 0x26, 0x2e);
const FAINT: RGBColor = RGBColor(0x7a, 0x81, 0x8c);
const GRID: RGBColor = RGBColor(0xe6, 0xe8, 0xec);

/// Colours that people with colour blindness can tell apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x8f, 0x6b),
    RGBColor(0xb1, 0x4a, 0x8c),
    RGBColor(0x8a, 0x6d, 0x00),
    RGBColor(0x3f, 0x3f, 0x46),
];

/// A mark of a raster in pixels: left, top, width, height.
type Mark = (f64, f64, f64, f64);

/// The marks of each raster with their colour.
type Rasters = Vec<(RGBColor, Vec<Mark>)>;

/// One strip of the figure.
enum Strip<'a> {
    Raster(&'a Panel),
    Rate(&'a Panel),
    Traces(&'a Panel),
}

impl Strip<'_> {
    fn height(&self) -> u32 {
        match self {
            Strip::Raster(p) => (60 + 14 * p.cells as u32).clamp(90, RASTER),
            Strip::Rate(_) => RATE,
            Strip::Traces(_) => TRACE,
        }
    }
}

/// Draws the figure into a file, which appears complete or not at all. `dt` is the length of a tick in seconds.
///
/// # Errors
/// E0831 if it cannot be drawn, E0630 to E0632 if it cannot be written.
pub fn draw(collector: &Collector, kind: Kind, path: &Path, title: &str, dt: Option<f64>) -> Result<(), Diagnostic> {
    let bytes = render(collector, kind, title, dt)?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(&bytes).map_err(|e| file.failure(&e))?;
    file.commit()
}

/// The bytes of the figure's file.
///
/// # Errors
/// E0831.
pub fn render(collector: &Collector, kind: Kind, title: &str, dt: Option<f64>) -> Result<Vec<u8>, Diagnostic> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        // The font is part of the program; it is registered once for each style and cannot be refused but as a bug, which
        // shows as text that cannot be drawn below.
        let _ = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
        let _ = register_font("sans-serif", FontStyle::Bold, dejavu::sans::bold());
    });
    let mut strips = Vec::new();
    for panel in collector.panels() {
        match panel.content {
            Content::Spikes { .. } => {
                strips.push(Strip::Raster(panel));
                if panel.cells > 1 {
                    strips.push(Strip::Rate(panel));
                }
            }
            Content::Traces { .. } => strips.push(Strip::Traces(panel)),
        }
    }
    let height = HEAD + FOOT + strips.iter().map(Strip::height).sum::<u32>();
    let figure = Figure { collector, title, dt, strips };
    match kind {
        Kind::Svg => {
            let mut text = String::new();
            let marks = {
                let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
                let marks = figure.paint(&root, 1).map_err(undrawn)?;
                root.present().map_err(undrawn)?;
                marks
            };
            let end = text.rfind("</svg>").unwrap_or(text.len());
            let mut paths = String::new();
            for (colour, marks) in &marks {
                path_of(&mut paths, *colour, marks);
            }
            text.insert_str(end, &paths);
            Ok(text.into_bytes())
        }
        Kind::Png => {
            let (w, h) = (WIDTH * DENSITY, height * DENSITY);
            let mut pixels = vec![0xff; w as usize * h as usize * 3];
            {
                let root = BitMapBackend::with_buffer(&mut pixels, (w, h)).into_drawing_area();
                let marks = figure.paint(&root, DENSITY).map_err(undrawn)?;
                for (colour, marks) in &marks {
                    for (x, y, width, height) in marks {
                        let corner = (x.round() as i32, y.round() as i32);
                        let other = ((x + width).round() as i32 - 1, (y + height).round() as i32 - 1);
                        let other = (other.0.max(corner.0), other.1.max(corner.1));
                        root.draw(&Rectangle::new([corner, other], colour.filled())).map_err(undrawn)?;
                    }
                }
                root.present().map_err(undrawn)?;
            }
            encode(&pixels, w, h)
        }
    }
}

fn undrawn(e: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error_nowhere("E0831", format!("the plot cannot be drawn: {e}"))
}

/// A PNG file of RGB pixels.
fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, Diagnostic> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(undrawn)?;
    writer.write_image_data(pixels).map_err(undrawn)?;
    writer.finish().map_err(undrawn)?;
    Ok(out)
}

/// Marks as one filled path, each relative to the one before, in tenths of pixels.
fn path_of(out: &mut String, colour: RGBColor, marks: &[Mark]) {
    let RGBColor(r, g, b) = colour;
    let tenths = |x: f64| (x * 10.0).round() as i64;
    let _ = write!(out, "<path transform=\"scale(.1)\" fill=\"#{r:02x}{g:02x}{b:02x}\" d=\"");
    let mut at = (0, 0);
    for (k, (x, y, w, h)) in marks.iter().enumerate() {
        let (x, y, w, h) = (tenths(*x), tenths(*y), tenths(*w).max(1), tenths(*h).max(1));
        let (dx, dy) = (x - at.0, y - at.1);
        // A closed subpath ends where it began, from where the next move counts.
        let _ = write!(out, "{}{dx} {dy}h{w}v{h}h-{w}z", if k == 0 { 'M' } else { 'm' });
        at = (x, y);
    }
    out.push_str("\"/>\n");
}

struct Figure<'a> {
    collector: &'a Collector,
    title: &'a str,
    dt: Option<f64>,
    strips: Vec<Strip<'a>>,
}

impl Figure<'_> {
    /// Time of a tick on the axis: milliseconds, or ticks without a clock.
    fn time(&self, tick: f64) -> f64 {
        tick * self.dt.map_or(1.0, |dt| dt * 1e3)
    }

    fn span(&self) -> Range<f64> {
        let (first, ticks) = (self.collector.first as f64, self.collector.ticks.max(1) as f64);
        self.time(first)..self.time(first + ticks)
    }

    /// Draws everything but the marks of rasters, which are given back.
    fn paint<B: DrawingBackend>(
        &self,
        root: &DrawingArea<B, Shift>,
        density: u32,
    ) -> Result<Rasters, DrawingAreaErrorKind<B::ErrorType>> {
        let px = |n: u32| (n * density) as i32;
        root.fill(&WHITE)?;
        let title = ("sans-serif", px(17), FontStyle::Bold).into_font().color(&INK);
        let wide = root.estimate_text_size(self.title, &title)?.0 as i32;
        root.draw(&Text::new(self.title.to_owned(), (px(14), px(13)), title))?;
        if self.collector.samples > 1 {
            let small = ("sans-serif", px(12)).into_font().color(&FAINT);
            let which = format!("the first of {} samples", grouped(self.collector.samples as u64));
            root.draw(&Text::new(which, (px(14 + 12) + wide, px(18)), small))?;
        }
        let mut marks = Vec::new();
        let (mut top, last) = (HEAD, self.strips.len().saturating_sub(1));
        for (k, strip) in self.strips.iter().enumerate() {
            let foot = if k == last { FOOT } else { 0 };
            let height = strip.height() + foot;
            let area = root.clone().shrink((0, px(top)), (px(WIDTH), px(height)));
            let colour = COLOURS[self.colour_of(strip) % COLOURS.len()];
            match strip {
                Strip::Raster(p) => marks.push((colour, self.raster(&area, p, foot, density)?)),
                Strip::Rate(p) => self.rate(&area, p, foot, density, colour)?,
                Strip::Traces(p) => self.traces(&area, p, foot, density)?,
            }
            top += height;
        }
        if self.strips.is_empty() {
            let text = ("sans-serif", px(13)).into_font().color(&FAINT);
            root.draw(&Text::new("nothing was recorded".to_owned(), (px(14), px(HEAD)), text))?;
        }
        Ok(marks)
    }

    /// Panels of spikes take the colours in turn; a rate has the colour of its raster.
    fn colour_of(&self, strip: &Strip<'_>) -> usize {
        let name = match strip {
            Strip::Raster(p) | Strip::Rate(p) | Strip::Traces(p) => &p.name,
        };
        let rasters = self.strips.iter().filter_map(|s| if let Strip::Raster(p) = s { Some(&p.name) } else { None });
        rasters.into_iter().position(|n| n == name).unwrap_or(0)
    }

    /// Axes of a strip with its name, and the area they span.
    fn axes<'b, B: DrawingBackend + 'b>(
        &self,
        area: &DrawingArea<B, Shift>,
        heading: (&str, &str),
        y: (Range<f64>, &str, usize),
        foot: u32,
        density: u32,
    ) -> Result<Axes<'b, B>, DrawingAreaErrorKind<B::ErrorType>> {
        let px = |n: u32| (n * density) as i32;
        let small = ("sans-serif", px(12)).into_font().color(&FAINT);
        let name = ("sans-serif", px(13)).into_font().color(&INK);
        let wide = area.estimate_text_size(heading.0, &name)?.0 as i32;
        area.draw(&Text::new(heading.0.to_owned(), (px(66), px(4)), name))?;
        area.draw(&Text::new(heading.1.to_owned(), (px(66 + 12) + wide, px(5)), small.clone()))?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(px(26))
            .margin_right(px(22))
            .margin_bottom(px(if foot > 0 { 4 } else { 8 }))
            .margin_left(px(10))
            .set_label_area_size(LabelAreaPosition::Left, px(56))
            .set_label_area_size(LabelAreaPosition::Bottom, if foot > 0 { px(FOOT) } else { 0 })
            .build_cartesian_2d(self.span(), y.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_labels(11)
            .y_labels(y.2)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .x_desc(if self.dt.is_some() { "time (ms)" } else { "tick" })
            .y_desc(y.1)
            .label_style(small.clone())
            .x_label_style(small.clone())
            .axis_desc_style(small)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT)
            .set_all_tick_mark_size(px(3))
            .draw()?;
        Ok(chart)
    }

    fn raster<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        panel: &Panel,
        foot: u32,
        density: u32,
    ) -> Result<Vec<Mark>, DrawingAreaErrorKind<B::ErrorType>> {
        let Content::Spikes { columns, rows, marks, total, .. } = &panel.content else { return Ok(Vec::new()) };
        let about = format!("{} cells, {} spikes", grouped(panel.cells as u64), grouped(*total));
        let y = (0.0..panel.cells as f64, "cell", 5.min(panel.cells + 1));
        let chart = self.axes(area, (&panel.name, &about), y, foot, density)?;
        let (left, bottom) = chart.backend_coord(&(self.span().start, 0.0));
        let (right, top) = chart.backend_coord(&(self.span().end, panel.cells as f64));
        let sx = f64::from(right - left) / *columns as f64;
        let sy = f64::from(bottom - top) / *rows as f64;
        let least = 1.6 * f64::from(density);
        let height = (0.84 * sy).max(least);
        let mut out = Vec::new();
        for row in 0..*rows {
            let y = f64::from(bottom) - (row as f64 + 0.5) * sy - height / 2.0;
            let cells = &marks[row * columns..(row + 1) * columns];
            let mut column = 0;
            while column < *columns {
                if !cells[column] {
                    column += 1;
                    continue;
                }
                // Columns narrower than a mark run together; wider ones keep their spikes apart.
                let run = if sx < 2.0 * least { cells[column..].iter().take_while(|m| **m).count() } else { 1 };
                let width = (run as f64 * sx).min(if run == 1 { 2.0 * least } else { f64::MAX }).max(least);
                let x = f64::from(left) + column as f64 * sx;
                out.push((x.min(f64::from(right) - width), y, width, height));
                column += run;
            }
        }
        Ok(out)
    }

    fn rate<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        panel: &Panel,
        foot: u32,
        density: u32,
        colour: RGBColor,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let Content::Spikes { bins, .. } = &panel.content else { return Ok(()) };
        let (first, ticks) = (self.collector.first as f64, self.collector.ticks.max(1) as f64);
        let each = ticks / bins.len() as f64;
        let scale = 1.0 / (panel.cells as f64 * each * self.dt.unwrap_or(1.0));
        let rates: Vec<f64> = bins.iter().map(|n| *n as f64 * scale).collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let unit = if self.dt.is_some() { "Hz" } else { "per tick" };
        let y = (0.0..if most > 0.0 { most * 1.1 } else { 1.0 }, unit, 4);
        let about = format!("mean {} {unit}", number(mean));
        let mut chart = self.axes(area, ("rate", &about), y, foot, density)?;
        let mut steps = Vec::with_capacity(2 * rates.len());
        for (k, r) in rates.iter().enumerate() {
            steps.push((self.time(first + k as f64 * each), *r));
            steps.push((self.time(first + (k + 1) as f64 * each), *r));
        }
        let (start, end) = (self.time(first), self.time(first + ticks));
        let area: Vec<(f64, f64)> =
            std::iter::once((start, 0.0)).chain(steps.iter().copied()).chain([(end, 0.0)]).collect();
        chart.draw_series(std::iter::once(Polygon::new(area, colour.mix(0.18))))?;
        chart.draw_series(LineSeries::new(steps, colour.stroke_width(density)))?;
        Ok(())
    }

    fn traces<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        panel: &Panel,
        foot: u32,
        density: u32,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let Content::Traces { lines } = &panel.content else { return Ok(()) };
        let values = || lines.iter().flatten().flatten();
        let lo = values().map(|v| v.0).fold(f64::INFINITY, f64::min);
        let hi = values().map(|v| v.1).fold(f64::NEG_INFINITY, f64::max);
        let (lo, hi) = if lo > hi { (0.0, 1.0) } else { (lo, hi) };
        let room = if hi > lo { 0.06 * (hi - lo) } else { lo.abs().max(1.0) * 0.1 };
        let about = match (panel.cells, lines.len()) {
            (1, _) => String::new(),
            (n, k) if k < n => format!("the first {k} of {} elements", grouped(n as u64)),
            (n, _) => format!("{n} elements"),
        };
        let mut chart = self.axes(area, (&panel.name, &about), (lo - room..hi + room, "", 5), foot, density)?;
        let (first, ticks) = (self.collector.first as f64, self.collector.ticks.max(1) as f64);
        for (k, line) in lines.iter().enumerate() {
            let colour = COLOURS[k % COLOURS.len()];
            let mut points = Vec::with_capacity(2 * line.len());
            for (column, value) in line.iter().enumerate() {
                let Some((lo, hi)) = value else { continue };
                let x = self.time(first + (column as f64 + 0.5) * ticks / line.len() as f64);
                // From where the line comes: up or down first.
                let up = points.last().is_none_or(|(_, y): &(f64, f64)| (y - lo).abs() <= (y - hi).abs());
                points.push((x, if up { *lo } else { *hi }));
                if hi > lo {
                    points.push((x, if up { *hi } else { *lo }));
                }
            }
            chart.draw_series(LineSeries::new(points, colour.stroke_width(density)))?;
        }
        Ok(())
    }
}

/// Axes over numbers.
type Axes<'b, B> =
    ChartContext<'b, B, Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>>;

/// A number with as many digits as a label needs.
fn number(x: f64) -> String {
    let size = x.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{x:.2e}");
    }
    let digits = if size >= 100.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        4
    };
    let text = format!("{x:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" || text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

/// A count with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (k, c) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
