//! The plots of a report, as SVG that takes its colours of text from the page.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::fmt::Write;

/// Colours that are told apart on dark and on light, also by most who see fewer of them: after
/// Okabe and Ito 2008.
pub(super) const COLOURS: [(u8, u8, u8); 7] = [
    (59, 143, 217),
    (230, 139, 0),
    (0, 168, 120),
    (213, 84, 30),
    (204, 121, 187),
    (140, 140, 60),
    (140, 130, 220),
];

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const SIZE: (u32, u32) = (620, 320);

/// What a plot shows.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
    /// One for each strategy, in the order of the colours.
    pub(super) lines: Vec<Line>,
}

/// An axis. Where it is logarithmic, `range` and the values are logarithms, and `label` knows.
pub(super) struct Axis<'a> {
    pub(super) title: &'a str,
    pub(super) range: (f64, f64),
    /// About how many labels.
    pub(super) labels: usize,
    pub(super) label: &'a dyn Fn(f64) -> String,
}

/// The values of one strategy.
#[derive(Default)]
pub(super) struct Line {
    pub(super) values: Vec<(f64, f64)>,
    /// From where to where the middle half of the rounds lies: x, lower, upper.
    pub(super) spread: Vec<(f64, f64, f64)>,
    /// A point at each value.
    pub(super) has_points: bool,
}

impl Plot<'_> {
    /// The plot as an `<svg>` element.
    pub(super) fn svg(&self) -> String {
        let mut text = String::new();
        // It fails only where its file cannot be written, and this is none.
        if self.draw(&mut text).is_err() {
            return String::new();
        }
        let label = escape(self.title);
        text.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1)
    }

    fn draw(&self, to: &mut String) -> Result<(), Box<dyn Error>> {
        let root = SVGBackend::with_string(to, SIZE).into_drawing_area();
        let middle = Pos::new(HPos::Center, VPos::Top);
        let title = ("sans-serif", 15).into_font().into_text_style(&root).pos(middle);
        root.draw(&Text::new(self.title.to_owned(), (SIZE.0 as i32 / 2, 6), title))?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_top(28)
            .margin_right(34)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(self.x.range.0..self.x.range.1, self.y.range.0..self.y.range.1)?;
        self.draw_axes(&mut chart)?;
        for (line, (r, g, b)) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            line.draw(&mut chart, RGBColor(*r, *g, *b))?;
        }
        root.present()?;
        Ok(())
    }

    fn draw_axes(&self, chart: &mut Chart<'_, '_>) -> Result<(), Box<dyn Error>> {
        let font = ("sans-serif", 13).into_font();
        let grey = RGBColor(128, 128, 128);
        chart
            .configure_mesh()
            .axis_style(grey)
            .bold_line_style(grey.mix(0.3))
            .light_line_style(grey.mix(0.0))
            .label_style(font.clone())
            .axis_desc_style(font)
            .x_labels(self.x.labels)
            .y_labels(self.y.labels)
            .x_label_formatter(&|value| (self.x.label)(*value))
            .y_label_formatter(&|value| (self.y.label)(*value))
            .x_desc(self.x.title)
            .y_desc(self.y.title)
            .draw()?;
        Ok(())
    }
}

impl Line {
    fn draw(&self, chart: &mut Chart<'_, '_>, colour: RGBColor) -> Result<(), Box<dyn Error>> {
        let stroke = colour.stroke_width(2);
        chart.draw_series(LineSeries::new(self.values.iter().copied(), stroke))?;
        let bar = |(x, low, high): &(f64, f64, f64)| {
            PathElement::new(vec![(*x, *low), (*x, *high)], colour.mix(0.6).stroke_width(5))
        };
        chart.draw_series(self.spread.iter().map(bar))?;
        let points = self.values.iter().filter(|_| self.has_points);
        chart.draw_series(points.map(|at| Circle::new(*at, 4, colour.filled())))?;
        Ok(())
    }
}

/// A text for HTML, within elements and within attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let _ = match character {
            '&' => escaped.write_str("&amp;"),
            '<' => escaped.write_str("&lt;"),
            '>' => escaped.write_str("&gt;"),
            '"' => escaped.write_str("&quot;"),
            other => escaped.write_char(other),
        };
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_lines_and_labels() {
        let line = Line {
            values: vec![(0.0, 1.0), (1.0, 3.0)],
            spread: vec![(0.0, 0.5, 1.5)],
            has_points: true,
        };
        let axis =
            |title| Axis { title, range: (0.0, 4.0), labels: 5, label: &|v| format!("<{v}>") };
        let plot = Plot { title: "a & b", x: axis("x"), y: axis("y"), lines: vec![line] };
        let svg = plot.svg();
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"a &amp; b\" "), "{svg}");
        assert!(svg.contains("#3B8FD9"), "{svg}");
        assert!(svg.contains("&lt;2&gt;"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
