//! Charts as small SVG files: lines and bars, with logarithmic axes where figures differ by powers of ten.

use anyhow::anyhow;
use ci_measure::number::real;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// The size of a chart.
const SIZE: (u32, u32) = (720, 360);
/// The font of all words.
const FONT: (&str, u32) = ("sans-serif", 14);
/// The lines' colours: apart also for those who see fewer, in black and white by lightness.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(64, 176, 166),
    RGBColor(225, 150, 0),
    RGBColor(93, 58, 155),
    RGBColor(90, 90, 90),
];

/// A line: its name and its points.
pub(super) type Line = (String, Vec<(f64, f64)>);

/// What stands around a chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    /// Evenly, from zero.
    Even,
    /// By powers of ten.
    Powers,
}

/// Lines over numbers.
pub(super) fn lines(frame: Frame<'_>, [x, y]: [Axis; 2], lines: &[Line]) -> anyhow::Result<String> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (xs, ys) = (
        range(points().map(|point| point.0), x),
        range(points().map(|point| point.1), y),
    );
    match (x, y) {
        (Axis::Even, Axis::Even) => drawn(frame, xs, ys, lines),
        (Axis::Even, Axis::Powers) => drawn(frame, xs, ys.log_scale(), lines),
        (Axis::Powers, Axis::Even) => drawn(frame, xs.log_scale(), ys, lines),
        (Axis::Powers, Axis::Powers) => drawn(frame, xs.log_scale(), ys.log_scale(), lines),
    }
}

fn drawn<X, Y>(frame: Frame<'_>, x: X, y: Y, lines: &[Line]) -> anyhow::Result<String>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(frame.title, ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(RGBColor(245, 245, 245))
            .x_desc(frame.x)
            .y_desc(frame.y)
            .x_label_formatter(&|value| label(*value))
            .y_label_formatter(&|value| label(*value))
            .label_style(FONT)
            .draw()
            .map_err(failed)?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(failed)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font(FONT)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Bars beside each other, on a logarithmic axis, each with its value written on it.
pub(super) fn bars(
    frame: Frame<'_>,
    bars: &[(String, f64)],
    shown: fn(f64) -> String,
) -> anyhow::Result<String> {
    let row = 26;
    let height = 90 + row * u32::try_from(bars.len())?;
    let values = range(bars.iter().map(|(_, value)| *value), Axis::Powers);
    let end = real(bars.len());
    let low = values.start;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(frame.title, ("sans-serif", 17))
            .margin(10)
            .margin_right(70)
            .x_label_area_size(40)
            .y_label_area_size(230)
            .build_cartesian_2d(values.log_scale(), 0.0..end)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(RGBColor(245, 245, 245))
            .x_desc(frame.x)
            .x_label_formatter(&|value| label(*value))
            .y_labels(0)
            .label_style(FONT)
            .draw()
            .map_err(failed)?;
        for (at, (name, value)) in bars.iter().enumerate() {
            let top = end - real(at);
            let colour = COLOURS[0].mix(if name.contains("runner") { 1.0 } else { 0.45 });
            let bar = Rectangle::new([(low, top - 0.15), (value.max(low), top - 0.85)], colour.filled());
            chart.draw_series([bar]).map_err(failed)?;
            let beside = Text::new(shown(*value), (value.max(low) * 1.06, top - 0.32), FONT);
            chart.draw_series([beside]).map_err(failed)?;
            let (x, y) = chart.backend_coord(&(low, top - 0.5));
            let style = FONT
                .into_text_style(&area)
                .pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Right,
                    plotters::style::text_anchor::VPos::Center,
                ));
            area.draw_text(name, &style, (x - 6, y)).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The values that an axis shows.
fn range(values: impl Iterator<Item = f64>, axis: Axis) -> std::ops::Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values.filter(|value| axis == Axis::Even || *value > 0.0) {
        low = low.min(value);
        high = high.max(value);
    }
    match axis {
        _ if !low.is_finite() => 0.1..1.0,
        Axis::Even => 0.0..(high * 1.1).max(1.0),
        Axis::Powers => 10_f64.powf(low.log10().floor()).min(low / 1.2)..high * 1.6,
    }
}

/// A number at an axis.
fn label(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", value / 1e6),
        size if size >= 1e3 => format!("{}k", value / 1e3),
        size if size >= 0.01 || size == 0.0 => format!("{}", (value * 1e3).round() / 1e3),
        _ => format!("{value:e}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn failed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("cannot draw a chart: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'_> = Frame {
        title: "A chart",
        x: "x",
        y: "y",
    };

    #[test]
    fn a_chart_has_its_words_and_is_small() {
        let line = ("runner".to_owned(), vec![(1.0, 5.0), (10.0, 0.5), (100.0, 50.0)]);
        for axes in [[Axis::Even, Axis::Even], [Axis::Powers, Axis::Powers]] {
            let svg = lines(FRAME, axes, std::slice::from_ref(&line)).expect("drawn");
            assert!(svg.contains("A chart") && svg.contains("runner"));
            assert!(svg.len() < 40_000, "{}", svg.len());
        }
        let several = [("runner".to_owned(), 2.0), ("store".to_owned(), 2_000.0)];
        let svg = bars(FRAME, &several, |value| format!("<{value}>")).expect("drawn");
        assert!(svg.contains("store") && svg.contains("2000"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_no_failure() {
        assert!(lines(FRAME, [Axis::Powers, Axis::Powers], &[]).is_ok());
        assert!(bars(FRAME, &[], |value| value.to_string()).is_ok());
    }
}
