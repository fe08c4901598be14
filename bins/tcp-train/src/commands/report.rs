//! training.html: the curves of a run, as one self-contained page.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use minijinja::{AutoEscape, Environment, context};
use plotters::prelude::*;

use super::folder::{self, REPORT};
use super::metrics::{self, MetricsLine};
use super::summary::TrainSummary;
use crate::fields::field_names;

/// Largest number of points of a curve: more cannot be told apart at the size of a chart.
const POINTS: usize = 200;
/// Width and height of a chart, in SVG units. A phone scales them to about half a pixel each.
const SIZE: (u32, u32) = (720, 440);
/// Colors of the curves of a chart, in order; the palette repeats after the last.
const COLORS: [RGBColor; 12] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
    RGBColor(0, 0, 0),
    RGBColor(120, 170, 90),
];

/// Named curve of a chart.
struct Curve {
    name: String,
    /// Steps and values, at most [`POINTS`].
    points: Vec<(f64, f64)>,
}

/// Writes the report of the run in `folder`, from its metrics and its summary.
pub(crate) fn write(folder: &Path, summary: &TrainSummary) -> anyhow::Result<()> {
    let lines = metrics::read_lines(folder);
    let charts = [
        chart(
            "Loss, nats per token",
            &["loss", "validation_loss"].map(|name| curve(&lines, name, name)),
        ),
        chart(
            "Bits per packet",
            &["bits_per_packet", "validation_bits_per_packet"].map(|n| curve(&lines, n, n)),
        ),
        chart("Validation: bits per packet, by field", &field_curves(&lines, "validation_fields")),
        chart("Training: bits per packet, by field", &field_curves(&lines, "training_fields")),
        chart("Learning rate", &[curve(&lines, "learning_rate", "learning rate")]),
        chart("Norm of the gradient", &[curve(&lines, "gradient_norm", "norm")]),
    ];
    let charts: Vec<String> =
        charts.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template(REPORT, include_str!("report.html")).context(REPORT)?;
    let page = environment.get_template(REPORT).context(REPORT)?;
    let text = page
        .render(context! { charts, summary => summary.to_string(), fields => field_table(&lines) })
        .context(REPORT)?;
    folder::write_atomic(&folder.join(REPORT), |temporary| {
        fs::write(temporary, text).with_context(|| temporary.display().to_string())
    })
}

/// Returns the rows of the table of fields: name, training and validation bits per packet, both as
/// of the last validation.
fn field_table(lines: &[MetricsLine]) -> Vec<(String, String, String)> {
    let last = |table: &str, field: &str| {
        let value =
            lines.iter().rev().find_map(|line| line.values.get(table)?.get(field)?.as_f64());
        value.map_or_else(String::new, |bits| format!("{bits:.3}"))
    };
    let row = |field: &str| {
        (field.to_owned(), last("training_fields", field), last("validation_fields", field))
    };
    field_names().into_iter().map(row).collect()
}

/// Returns a curve for each field from a table of the metrics, in bits per packet.
fn field_curves(lines: &[MetricsLine], table: &str) -> Vec<Curve> {
    let of = |field: &str| {
        let value = |line: &MetricsLine| {
            Some((line.step as f64, line.values.get(table)?.get(field)?.as_f64()?))
        };
        Curve {
            name: field.to_owned(),
            points: downsample(&lines.iter().filter_map(value).collect::<Vec<_>>()),
        }
    };
    field_names().into_iter().map(of).collect()
}

/// Returns the curve of a value of the metrics.
fn curve(lines: &[MetricsLine], value: &str, name: &str) -> Curve {
    let points: Vec<(f64, f64)> =
        lines.iter().filter_map(|l| Some((l.step as f64, l.get(value)?))).collect();
    Curve { name: name.replace('_', " "), points: downsample(&points) }
}

/// Averages groups of neighbouring points so that at most [`POINTS`] are left.
fn downsample(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS).max(1);
    let mean = |some: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        some.iter().map(of).sum::<f64>() / some.len() as f64
    };
    points.chunks(group).map(|some| (mean(some, |p| p.0), mean(some, |p| p.1))).collect()
}

/// Draws a chart as SVG; returns `None` if no curve has a finite value.
fn chart(title: &str, curves: &[Curve]) -> anyhow::Result<Option<String>> {
    let finite = |p: &&(f64, f64)| p.1.is_finite();
    let all: Vec<(f64, f64)> =
        curves.iter().flat_map(|c| c.points.iter().filter(finite)).copied().collect();
    if all.is_empty() {
        return Ok(None);
    }
    let range = |of: fn(&(f64, f64)) -> f64| {
        all.iter()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
    let margin = ((y1 - y0) * 0.05).max(y1.abs() * 1e-3).max(1e-12);
    let mut svg = String::new();
    draw(&mut svg, title, curves, (x0..x1.max(x0 + 1.0), y0 - margin..y1 + margin))
        .map_err(|error| anyhow!("{REPORT}: {title}: {error}"))?;
    Ok(Some(svg))
}

/// Result of drawing into a string, with the error type of plotters.
type Outcome = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws the curves of a chart over the given ranges, with a legend if there are several.
fn draw(
    svg: &mut String,
    title: &str,
    curves: &[Curve],
    (x, y): (std::ops::Range<f64>, std::ops::Range<f64>),
) -> Outcome {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 26))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    let label =
        |x: &f64| if x.abs() >= 1000.0 { format!("{}k", x / 1000.0) } else { format!("{x}") };
    let value =
        |y: &f64| if y.abs() < 0.01 && *y != 0.0 { format!("{y:.0e}") } else { format!("{y:.2}") };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .y_labels(8)
        .x_label_formatter(&label)
        .y_label_formatter(&value)
        .label_style(("sans-serif", 18))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS.into_iter().cycle()) {
        if curve.points.is_empty() {
            continue;
        }
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .label_font(("sans-serif", 16))
            .draw()?;
    }
    area.present()
}
