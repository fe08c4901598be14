//! Charts of real and generated values, as SVG: histograms, and the burstiness of starts.

use anyhow::anyhow;
use fidelity::{Burstiness, ContinuousField};
use plotters::prelude::*;

/// Width and height in CSS pixels: the width fits the screen of a phone.
const SIZE: (u32, u32) = (420, 250);
/// Colour of real values. It differs from [`GENERATED`] in lightness too, for readers who do not
/// distinguish red and green.
const REAL: RGBColor = RGBColor(110, 118, 129);
/// Colour of generated values.
const GENERATED: RGBColor = RGBColor(227, 98, 9);

/// Draws the histograms of a field.
///
/// # Errors
/// If plotters cannot draw them.
pub(super) fn svg(field: &ContinuousField) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw(&mut svg, field).map_err(|error| anyhow!("{}: {error}", field.name))?;
    Ok(svg)
}

type Outcome = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws the histogram of a field into `svg`.
fn draw(svg: &mut String, field: &ContinuousField) -> Outcome {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let histogram = &field.histogram;
    let most = histogram.real.iter().chain(&histogram.generated).copied().fold(1e-9, f64::max);
    let (low, high) = (field.range.low, field.range.high.max(field.range.low + 1e-6));
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(26)
        .y_label_area_size(44)
        .build_cartesian_2d(low..high, 0.0..most * 1.05)?;
    let is_time = field.unit == fidelity::FieldUnit::Decades;
    let tick_label = |x: &f64| if is_time { time(*x) } else { number(*x) };
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(5)
        .y_labels(4)
        .x_label_formatter(&tick_label)
        .y_label_formatter(&|y: &f64| format!("{:.0} %", y * 100.0))
        .label_style(("sans-serif", 13))
        .draw()?;
    let width = (high - low) / histogram.real.len().max(1) as f64;
    let outline = |shares: &[f64]| -> Vec<(f64, f64)> {
        let step = |(i, &share): (usize, &f64)| {
            [(low + width * i as f64, share), (low + width * (i + 1) as f64, share)]
        };
        shares.iter().enumerate().flat_map(step).collect()
    };
    chart.draw_series(AreaSeries::new(outline(&histogram.real), 0.0, REAL.mix(0.35)))?;
    chart.draw_series(LineSeries::new(outline(&histogram.real), REAL.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(outline(&histogram.generated), GENERATED.stroke_width(2)))?;
    area.present()
}

/// Draws the curves of burstiness: the index of dispersion by the width of the bins. Real traces
/// with Poisson starts are a thin line.
///
/// # Errors
/// If plotters cannot draw them.
pub(super) fn burstiness(found: &Burstiness) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw_curves(&mut svg, found).map_err(|error| anyhow!("burstiness: {error}"))?;
    Ok(svg)
}

/// Draws the curves of burstiness into `svg`.
fn draw_curves(svg: &mut String, found: &Burstiness) -> Outcome {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let curves =
        [(&found.poisson, REAL, 1), (&found.real, REAL, 3), (&found.generated, GENERATED, 2)];
    let values = || curves.iter().flat_map(|(curve, ..)| curve.iter().flatten().copied());
    let (low, high) = (values().fold(0.5, f64::min).max(0.01), values().fold(2.0, f64::max));
    let scales = &found.scales_s;
    let (first, last) =
        (scales.first().copied().unwrap_or(0.01), scales.last().copied().unwrap_or(100.0));
    let mut chart =
        ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(44)
            .build_cartesian_2d((first..last * 1.01).log_scale(), (low..high * 1.1).log_scale())?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(5)
        .y_labels(4)
        .x_label_formatter(&|s: &f64| time((s * 1e6 + 1.0).log10()))
        .y_label_formatter(&|y: &f64| format!("{y:.1}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    for (curve, colour, width) in curves {
        let points = scales.iter().zip(curve).filter_map(|(x, y)| Some((*x, (*y)?.max(low))));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(width)).point_size(width))?;
    }
    area.present()
}

/// Formats a time given as `log10` of microseconds + 1.
fn time(decades: f64) -> String {
    let us = 10_f64.powf(decades) - 1.0;
    match us {
        us if us < 0.95 => "0".to_owned(),
        us if us < 999.5 => format!("{us:.0} us"),
        us if us < 999.5e3 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

/// Formats a count given as `log10` of the count + 1.
fn number(decades: f64) -> String {
    let n = 10_f64.powf(decades) - 1.0;
    match n {
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 999.5e3 => format!("{:.0}k", n / 1e3),
        n => format!("{:.0}M", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_in_words() {
        let at = |x: f64| (x + 1.0).log10();
        assert_eq!([0.0, 7.0, 2_400.0, 61e6].map(|us| time(at(us))), ["0", "7 us", "2 ms", "61 s"]);
        assert_eq!([0.0, 12.0, 4_000.0, 3e6].map(|n| number(at(n))), ["0", "12", "4k", "3M"]);
    }
}
