//! Line charts as SVG: axes with units, a legend, vertical marks, and the points for the pointer to read.

use super::svg::{Svg, escape, log_ticks, short, ticks, xy};
use super::thin::{running_mean, thinned};
use std::fmt::Write;

/// Drawing size of a chart in pixels; the page scales it to its column.
pub const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 42.0;
/// Lines with more points than this get a running mean drawn over them.
const NOISY: usize = 45;

/// One line.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Colour: the suffix of a class `k-...` of the style sheet.
    pub colour: String,
    /// Dashed.
    pub dashed: bool,
    /// Whether a running mean may be drawn over a noisy line.
    pub smooth: bool,
    /// Points with rising x; values that are not finite break the line.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// What it shows, for those who do not see it.
    pub label: String,
    /// Title of the x axis with its unit.
    pub x: String,
    /// Title of the y axis with its unit.
    pub y: String,
    /// The lines.
    pub series: Vec<Series>,
    /// Vertical marks: place and what happened there.
    pub marks: Vec<(f64, String)>,
    /// Limits of y; from the data if none.
    pub y_range: Option<(f64, f64)>,
    /// Limits of x; from the data if none.
    pub x_range: Option<(f64, f64)>,
    /// A horizontal reference line with its name.
    pub reference: Option<(f64, String)>,
    /// Logarithmic y, if all values are positive and span more than a factor of 20.
    pub log_if_wide: bool,
}

struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    log: bool,
}

impl Frame {
    fn px(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let f = |v: f64| if self.log { v.ln() } else { v };
        let part = (f(y) - f(self.y.0)) / (f(self.y.1) - f(self.y.0));
        TOP + (1.0 - part.clamp(-0.5, 1.5)) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart {
    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        !self
            .series
            .iter()
            .any(|s| s.points.iter().any(|p| p.0.is_finite() && p.1.is_finite()))
    }

    fn frame(&self) -> Frame {
        let all = || {
            self.series
                .iter()
                .flat_map(|s| &s.points)
                .filter(|p| p.0.is_finite() && p.1.is_finite())
        };
        let span = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| {
                (lo.min(v), hi.max(v))
            })
        };
        let widen = |(lo, hi): (f64, f64)| {
            if hi > lo {
                (lo, hi)
            } else {
                (lo - 0.5, hi + 0.5)
            }
        };
        let x = widen(
            self.x_range
                .unwrap_or_else(|| span(&mut all().map(|p| p.0))),
        );
        let (lo, hi) = span(&mut all().map(|p| p.1));
        let log = self.log_if_wide && lo > 0.0 && hi / lo > 20.0;
        let y = match self.y_range {
            Some(range) => range,
            None if log => (lo / 1.1, hi * 1.1),
            None => {
                let (lo, hi) = if lo >= 0.0 && lo < 0.6 * hi {
                    (0.0, hi)
                } else {
                    (lo, hi)
                };
                let pad = (hi - lo) * 0.06;
                (if lo == 0.0 { 0.0 } else { lo - pad }, hi + pad)
            }
        };
        Frame {
            x,
            y: widen(y),
            log,
        }
    }

    /// The drawing; an empty string if there is nothing to draw.
    pub fn svg(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let frame = self.frame();
        let mut svg = Svg::new();
        self.axes(&mut svg, &frame);
        for (x, what) in &self.marks {
            let px = frame.px(*x);
            if (LEFT..=WIDTH - RIGHT).contains(&px) {
                svg.open(&[("class", &"mark"), ("data-tip", what)]);
                svg.line([px, TOP, px, HEIGHT - BOTTOM], "markline");
                svg.path(&format!("M{} {TOP}l-4 -7h8z", xy(px)), "markhead", &[]);
                svg.close();
            }
        }
        if let Some((y, name)) = &self.reference {
            let py = frame.py(*y);
            svg.line([LEFT, py, WIDTH - RIGHT, py], "reference");
            svg.text(WIDTH - RIGHT - 2.0, py - 4.0, "ax end", name);
        }
        let mut data = String::from("[");
        for (i, s) in self.series.iter().enumerate() {
            let noisy = s.smooth && s.points.len() > NOISY;
            let thin = thinned(&s.points);
            let class = format!(
                "line k-{}{}{}",
                s.colour,
                if s.dashed { " dash" } else { "" },
                if noisy { " raw" } else { "" }
            );
            svg.path(&outline(&thin, &frame), &class, &[]);
            if noisy {
                let class = format!("line k-{}{}", s.colour, if s.dashed { " dash" } else { "" });
                svg.path(
                    &outline(&thinned(&running_mean(&s.points)), &frame),
                    &class,
                    &[],
                );
            }
            if thin.len() == 1 && thin[0].1.is_finite() {
                let (x, y) = (xy(frame.px(thin[0].0)), xy(frame.py(thin[0].1)));
                svg.element(
                    "circle",
                    &[
                        ("cx", &x),
                        ("cy", &y),
                        ("r", &3.5),
                        ("class", &format!("dot k-{}", s.colour)),
                    ],
                    None,
                );
            }
            write!(
                data,
                "{}[{},{:?},[",
                if i == 0 { "" } else { "," },
                quoted(&s.name),
                s.colour
            )
            .expect("a String takes all text");
            for (j, p) in thin.iter().filter(|p| p.1.is_finite()).enumerate() {
                let comma = if j == 0 { "" } else { "," };
                write!(
                    data,
                    "{comma}{:.0},{:.0},{},{}",
                    frame.px(p.0),
                    frame.py(p.1),
                    short(p.0),
                    short(p.1)
                )
                .expect("a String takes all text");
            }
            data.push_str("]]");
        }
        data.push(']');
        let x_name = self.x.split(" (").next().unwrap_or(&self.x);
        svg.finish(
            WIDTH,
            HEIGHT,
            "chart",
            &self.label,
            &[("data-series", &data), ("data-x", &x_name)],
        )
    }

    fn axes(&self, svg: &mut Svg, frame: &Frame) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let marks = if frame.log {
            log_ticks(frame.y.0, frame.y.1)
        } else {
            ticks(frame.y.0, frame.y.1, 5)
        };
        for t in marks {
            let py = frame.py(t);
            svg.line([LEFT, py, right, py], "grid");
            svg.text(LEFT - 6.0, py + 4.0, "ax end", &short(t));
        }
        for t in ticks(frame.x.0, frame.x.1, 5) {
            let px = frame.px(t);
            svg.line([px, bottom, px, bottom + 4.0], "axis");
            let class = if px > right - 12.0 {
                "ax end"
            } else {
                "ax middle"
            };
            svg.text(px.min(right), bottom + 18.0, class, &short(t));
        }
        svg.line([LEFT, bottom, right, bottom], "axis");
        svg.text(
            (LEFT + right) / 2.0,
            HEIGHT - 6.0,
            "ax middle title",
            &self.x,
        );
        let log = if frame.log { ", log scale" } else { "" };
        svg.text(6.0, 14.0, "ax start title", &format!("{}{log}", self.y));
    }

    /// The legend as HTML; empty for a single line.
    pub fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let mut out = String::from("<ul class=\"legend\">");
        for s in &self.series {
            let dash = if s.dashed { " dash" } else { "" };
            let swatch = format!(
                "<svg class=\"swatch\" viewBox=\"0 0 26 8\" aria-hidden=\"true\"><path d=\"M1 4h24\" class=\"line k-{}{dash}\"/></svg>",
                s.colour
            );
            write!(out, "<li>{swatch}{}</li>", escape(&s.name)).expect("a String takes all text");
        }
        out.push_str("</ul>");
        out
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always a JSON string")
}

fn outline(points: &[(f64, f64)], frame: &Frame) -> String {
    let mut d = String::new();
    let mut pen = 'M';
    for &(x, y) in points {
        if !(x.is_finite() && y.is_finite()) {
            pen = 'M';
            continue;
        }
        write!(d, "{pen}{} {}", xy(frame.px(x)), xy(frame.py(y))).expect("a String takes all text");
        pen = 'L';
    }
    d
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
