//! Candles as a picture: the closes as a line, and from the lowest to the highest of each candle a light band.
//!
//! Separate because it is pure, and the one place where a price becomes a float: a pixel is coarser than any digit
//! that is lost, and no number goes from here to where prices are read. Where a candle is missing the line is broken:
//! a gap in what was heard is never drawn as a price.

mod axis;

use std::io;

use chrono::{DateTime, Utc};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use self::axis::{PriceAxis, TimeAxis};
use crate::history::{Candle, Interval};

type DrawError = DrawingAreaErrorKind<io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<TimeAxis, PriceAxis>>;

const BACKGROUND: RGBColor = WHITE;
const GRID: RGBColor = RGBColor(229, 231, 235);
const AXIS: RGBColor = RGBColor(156, 163, 175);
const TEXT: RGBColor = RGBColor(31, 41, 55);
const FAINT_TEXT: RGBColor = RGBColor(107, 114, 128);
const CLOSE: RGBColor = RGBColor(29, 78, 216);

/// How much of the line's colour the band has: light enough that the grid is seen through it.
const BAND_OPACITY: f64 = 0.18;

const FONT: &str = "sans-serif";
const LABEL_SIZE: u32 = 12;

/// Room around everything.
const MARGIN: u32 = 12;

/// Pixels of one character of a label, rounded up.
const CHARACTER: u32 = 7;

/// Least pixels from one label to the next, along the time axis and along the price axis.
const LABEL_STEP: (u32, u32) = (84, 44);

/// Least width of the labels of prices: half of a label of the time axis stands below them.
const LEAST_PRICE_WIDTH: u32 = 28;

/// Pixels from one candle to the next below which the line is drawn thin, so that its bends stay apart.
const DENSE: i64 = 2;

/// What a picture shows.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    /// What stands above it.
    pub(super) title: String,
    /// In the order of time.
    pub(super) candles: &'a [Candle],
    /// Their length.
    pub(super) interval: Interval,
    /// Where the time axis begins.
    pub(super) from: DateTime<Utc>,
    /// Where it ends.
    pub(super) to: DateTime<Utc>,
    /// Width and height in pixels.
    pub(super) size: (u32, u32),
}

impl Chart<'_> {
    /// The picture as SVG.
    ///
    /// # Errors
    /// What plotters says; writing into a text leaves it little to say.
    pub(super) fn svg(&self) -> Result<String, DrawError> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, self.size).into_drawing_area();
        root.fill(&BACKGROUND)?;
        let plot_area = self.draw_title(&root)?;
        self.draw_plot(&plot_area)?;
        root.present()?;
        drop((root, plot_area));
        Ok(svg)
    }

    /// The title, and below it the span where there is room. What is left is for the plot.
    fn draw_title<'a>(&self, root: &Area<'a>) -> Result<Area<'a>, DrawError> {
        let (width, height) = self.size;
        let is_small = width < 360 || height < 200;
        let title_size = if is_small { 13 } else { 18 };
        let left = pixels(MARGIN);
        root.draw_text(&self.title, &text(title_size, TEXT), (left, pixels(MARGIN) - 2))?;
        let mut top = MARGIN + title_size + 4;
        if !is_small {
            let form = "%Y-%m-%d %H:%M";
            let span = format!("{} – {} UTC", self.from.format(form), self.to.format(form));
            root.draw_text(&span, &text(LABEL_SIZE, FAINT_TEXT), (left, pixels(top)))?;
            top += LABEL_SIZE + 8;
        }
        Ok(root.split_vertically(top).1)
    }

    fn draw_plot(&self, area: &Area<'_>) -> Result<(), DrawError> {
        let (width, height) = area.dim_in_pixel();
        let prices = PriceAxis::around(self.candles, (height / LABEL_STEP.1).max(2));
        let price_width = (prices.longest_label() * CHARACTER + MARGIN).max(LEAST_PRICE_WIDTH);
        let times = TimeAxis::new(self.from, self.to, width.saturating_sub(price_width) / LABEL_STEP.0);
        let mut plot = ChartBuilder::on(area)
            .margin_right(MARGIN + 8)
            .margin_bottom(MARGIN / 2)
            .x_label_area_size(LABEL_SIZE + 12)
            .y_label_area_size(price_width)
            .build_cartesian_2d(times.clone(), prices.clone())?;
        let labels = text(LABEL_SIZE, FAINT_TEXT);
        let (time_label, price_label) = (|at: &_| times.label(at), |price: &_| prices.label(*price));
        let mut mesh = plot.configure_mesh();
        mesh.bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(AXIS)
            .label_style(labels)
            .x_label_formatter(&time_label)
            .y_label_formatter(&price_label);
        mesh.draw()?;
        if self.candles.is_empty() {
            return draw_nothing(&plot);
        }
        for run in runs(self.candles, self.interval) {
            self.draw_run(&mut plot, run)?;
        }
        Ok(())
    }

    /// Width of the line in pixels.
    fn line_width(&self) -> u32 {
        let num_intervals = (self.to - self.from).num_seconds() / self.interval.length().num_seconds();
        if num_intervals * DENSE > i64::from(self.size.0) { 1 } else { 2 }
    }

    /// Candles that follow one another without a gap.
    fn draw_run(&self, plot: &mut Plot<'_, '_>, run: &[Candle]) -> Result<(), DrawError> {
        // A candle stands where its interval has its middle.
        let half = self.interval.length() / 2;
        let point = |candle: &Candle, value: Decimal| (candle.starts_at + half, price(value));
        let band = CLOSE.mix(BAND_OPACITY);
        if let [alone] = run {
            let whisker = vec![point(alone, alone.low), point(alone, alone.high)];
            plot.draw_series([PathElement::new(whisker, band.stroke_width(3))])?;
            plot.draw_series([Circle::new(point(alone, alone.close), 2, CLOSE.filled())])?;
            return Ok(());
        }
        let highs = run.iter().map(|candle| point(candle, candle.high));
        let lows = run.iter().rev().map(|candle| point(candle, candle.low));
        plot.draw_series([Polygon::new(highs.chain(lows).collect::<Vec<_>>(), band)])?;
        let closes = run.iter().map(|candle| point(candle, candle.close));
        plot.draw_series(LineSeries::new(closes, CLOSE.stroke_width(self.line_width())))?;
        Ok(())
    }
}

fn draw_nothing(plot: &Plot<'_, '_>) -> Result<(), DrawError> {
    let area = plot.plotting_area().strip_coord_spec();
    let (width, height) = area.dim_in_pixel();
    let style = text(18, FAINT_TEXT).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw_text("no data", &style, (pixels(width / 2), pixels(height / 2)))
}

/// The candles in groups within which each begins where the one before it ends.
fn runs(candles: &[Candle], interval: Interval) -> impl Iterator<Item = &[Candle]> {
    candles.chunk_by(move |one, next| next.starts_at - one.starts_at == interval.length())
}

fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color)
}

/// A price as a float, which is precise enough for a pixel.
fn price(value: Decimal) -> f64 {
    value.to_f64().unwrap_or_default()
}

fn pixels(length: u32) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn candle(minute: i64, low: i64, close: i64, high: i64) -> Candle {
        let [open, low, close, high] = [close, low, close, high].map(|cents| Decimal::new(cents, 2));
        Candle { starts_at: start() + TimeDelta::minutes(minute), open, high, low, close, num_quotes: 7 }
    }

    fn start() -> DateTime<Utc> {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn svg(candles: &[Candle], size: (u32, u32)) -> String {
        let to = start() + TimeDelta::hours(1);
        let title = "BTC-USDT · <kraken> & \"co\"".to_owned();
        Chart { title, candles, interval: Interval::Minute, from: start(), to, size }.svg().unwrap()
    }

    fn count(svg: &str, element: &str) -> usize {
        svg.matches(&format!("<{element} ")).count()
    }

    #[test]
    fn the_line_is_broken_where_a_candle_is_missing() {
        let whole: Vec<Candle> = (0..30).map(|minute| candle(minute, 100, 105 + minute % 3, 110)).collect();
        // A line per grid line and axis comes with every plot; a run adds a line and a band, a candle alone a dot.
        let counts = |candles: &[Candle]| {
            let svg = svg(candles, (960, 420));
            (count(&svg, "polyline"), count(&svg, "polygon"), count(&svg, "circle"))
        };
        let (lines, bands, dots) = counts(&whole);
        assert_eq!((bands, dots), (1, 0));
        let without = |gone: &[i64]| {
            let is_gone = |candle: &&Candle| {
                gone.iter().any(|at| candle.starts_at == start() + TimeDelta::minutes(*at))
            };
            whole.iter().filter(|candle| !is_gone(candle)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(counts(&without(&[10])), (lines + 1, 2, 0));
        assert_eq!(counts(&without(&[10, 20])), (lines + 2, 3, 0));
        assert_eq!(counts(&without(&[10, 12])), (lines + 2, 2, 1));
    }

    #[test]
    fn a_picture_without_candles_says_so() {
        for size in [(200, 100), (960, 420), (4000, 3000)] {
            assert!(svg(&[], size).contains("no data"), "{size:?}");
            assert!(!svg(&[candle(0, 100, 100, 100)], size).contains("no data"), "{size:?}");
        }
    }

    #[test]
    fn texts_in_a_picture_are_escaped() {
        let svg = svg(&[candle(0, 1, 2, 3)], (960, 420));
        assert!(svg.contains("&lt;kraken&gt; &amp; &quot;co&quot;") && !svg.contains("<kraken>"), "{svg}");
    }

    #[test]
    fn no_prices_and_no_size_are_too_odd_to_be_drawn() {
        let huge = Candle { high: Decimal::MAX, ..candle(0, 100, 100, 100) };
        let tiny = Candle { low: Decimal::new(1, 28), high: Decimal::new(1, 28), ..candle(0, 0, 0, 0) };
        let outside = candle(-500, 100, 100, 100);
        for candles in
            [vec![huge], vec![tiny], vec![candle(0, 0, 0, 0)], vec![candle(0, -5, -4, -3)], vec![outside]]
        {
            for size in [(200, 100), (4000, 100), (200, 3000), (4000, 3000)] {
                let svg = svg(&candles, size);
                assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{size:?}: {svg}");
            }
        }
    }
}
