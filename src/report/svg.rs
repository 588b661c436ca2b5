//! A small writer of SVG. Colours come from classes and style variables, so one drawing serves light, dark and print.

use std::fmt::{Display, Write};

/// A drawing under construction, in pixels.
#[derive(Debug, Default)]
pub struct Svg {
    body: String,
}

/// `text` with the characters that mean something in XML replaced; control characters become spaces.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate: two decimals at most, no trailing zeros.
pub fn xy(v: f64) -> String {
    let v = if v.is_finite() {
        (v * 100.0).round() / 100.0
    } else {
        0.0
    };
    if v == 0.0 { "0".into() } else { format!("{v}") }
}

impl Svg {
    /// An empty drawing.
    pub fn new() -> Self {
        Svg::default()
    }

    /// Adds an element with attributes and text content; attribute values and text are escaped.
    pub fn element(
        &mut self,
        name: &str,
        attributes: &[(&str, &dyn Display)],
        text: Option<&str>,
    ) -> &mut Self {
        write!(self.body, "<{name}").expect("a String takes all text");
        for (key, value) in attributes {
            write!(self.body, " {key}=\"{}\"", escape(&value.to_string()))
                .expect("a String takes all text");
        }
        match text {
            Some(t) => {
                write!(self.body, ">{}</{name}>", escape(t)).expect("a String takes all text")
            }
            None => self.body.push_str("/>"),
        }
        self
    }

    /// Opens a group; [`Svg::close`] ends it.
    pub fn open(&mut self, attributes: &[(&str, &dyn Display)]) -> &mut Self {
        self.element("g", attributes, None);
        self.body.truncate(self.body.len() - 2);
        self.body.push('>');
        self
    }

    /// Ends a group.
    pub fn close(&mut self) -> &mut Self {
        self.body.push_str("</g>");
        self
    }

    /// A straight line.
    pub fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) -> &mut Self {
        self.element(
            "line",
            &[
                ("x1", &xy(x1)),
                ("y1", &xy(y1)),
                ("x2", &xy(x2)),
                ("y2", &xy(y2)),
                ("class", &class),
            ],
            None,
        )
    }

    /// A rectangle given by corner and size, with more attributes.
    pub fn rect(
        &mut self,
        [x, y, w, h]: [f64; 4],
        class: &str,
        more: &[(&str, &dyn Display)],
    ) -> &mut Self {
        let (x, y, w, h) = (xy(x), xy(y), xy(w.max(0.0)), xy(h.max(0.0)));
        let mut all: Vec<(&str, &dyn Display)> = vec![
            ("x", &x),
            ("y", &y),
            ("width", &w),
            ("height", &h),
            ("class", &class),
        ];
        all.extend_from_slice(more);
        self.element("rect", &all, None)
    }

    /// A path.
    pub fn path(&mut self, d: &str, class: &str, more: &[(&str, &dyn Display)]) -> &mut Self {
        let mut all: Vec<(&str, &dyn Display)> = vec![("d", &d), ("class", &class)];
        all.extend_from_slice(more);
        self.element("path", &all, None)
    }

    /// Text; the anchor (`start`, `middle`, `end`) is part of `class`.
    pub fn text(&mut self, x: f64, y: f64, class: &str, text: &str) -> &mut Self {
        self.element(
            "text",
            &[("x", &xy(x)), ("y", &xy(y)), ("class", &class)],
            Some(text),
        )
    }

    /// Text with an index below the line, as `element` writes it; not every viewer knows `baseline-shift`.
    pub fn indexed(&mut self, x: f64, y: f64, class: &str, [text, index]: [&str; 2]) -> &mut Self {
        let inner = format!(
            "{}<tspan dy=\"3.5\" class=\"index\">{}</tspan>",
            escape(text),
            escape(index)
        );
        let (x, y) = (xy(x), xy(y));
        let head: [(&str, &dyn Display); 3] = [("x", &x), ("y", &y), ("class", &class)];
        self.element("text", &head, None);
        self.body.truncate(self.body.len() - 2);
        write!(self.body, ">{inner}</text>").expect("a String takes all text");
        self
    }

    /// The whole drawing. `label` says what it shows to those who do not see it.
    pub fn finish(
        &self,
        width: f64,
        height: f64,
        class: &str,
        label: &str,
        more: &[(&str, &dyn Display)],
    ) -> String {
        let mut head = Svg::new();
        let view = format!("0 0 {} {}", xy(width), xy(height));
        let (w, h) = (xy(width), xy(height));
        let mut all: Vec<(&str, &dyn Display)> = vec![
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("viewBox", &view),
            ("width", &w),
            ("height", &h),
            ("class", &class),
            ("role", &"img"),
            ("aria-label", &label),
        ];
        all.extend_from_slice(more);
        head.element("svg", &all, None);
        format!("{}>{}</svg>", &head.body[..head.body.len() - 2], self.body)
    }
}

/// Round values that cover `lo..=hi`, about `wanted` of them, both ends inside.
pub fn ticks(lo: f64, hi: f64, wanted: usize) -> Vec<f64> {
    if !(lo.is_finite() && hi.is_finite()) || hi <= lo {
        return vec![];
    }
    let raw = (hi - lo) / wanted.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|s| *s >= raw * 0.999)
        .unwrap_or(10.0 * power);
    if step == 0.0 || !step.is_finite() {
        return vec![];
    }
    let first = (lo / step - 1e-9).ceil();
    (0..)
        .map(|i| (first + i as f64) * step)
        .take_while(|t| *t <= hi + step * 1e-9)
        .take(100)
        .collect()
}

/// Powers of ten in `lo..=hi`, with 2 and 5 between when there are few.
pub fn log_ticks(lo: f64, hi: f64) -> Vec<f64> {
    if !(lo > 0.0 && hi.is_finite()) || hi <= lo {
        return vec![];
    }
    let decades = (lo.log10().floor() as i32)..=(hi.log10().ceil() as i32);
    let stride = ((hi / lo).log10() / 6.0).ceil().max(1.0) as i32;
    let between: &[f64] = if (hi / lo).log10() > 2.5 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    decades
        .filter(|d| d.rem_euclid(stride) == 0)
        .flat_map(|d| between.iter().map(move |m| m * 10f64.powi(d)))
        .filter(|t| *t >= lo * 0.999 && *t <= hi * 1.001)
        .collect()
}

/// A number for an axis or a table: about four digits, no exponent where a plain number is short.
pub fn short(v: f64) -> String {
    let a = v.abs();
    let trimmed = |s: String| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s,
    };
    match a {
        _ if !v.is_finite() => {
            if v.is_nan() {
                "NaN".into()
            } else {
                format!("{}\u{221e}", if v < 0.0 { "-" } else { "" })
            }
        }
        0.0 => "0".into(),
        a if !(1e-4..1e7).contains(&a) => {
            let text = format!("{v:.2e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", trimmed(mantissa.to_string()))
        }
        a if a >= 1000.0 => trimmed(format!("{v:.0}")),
        a if a >= 10.0 => trimmed(format!("{v:.2}")),
        a if a >= 0.1 => trimmed(format!("{v:.3}")),
        _ => trimmed(format!("{v:.5}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            ticks(0.0, 1.0, 5),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(ticks(0.0, 400.0, 4), [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(log_ticks(0.5, 20.0), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        for (lo, hi) in [
            (f64::NAN, 1.0),
            (1.0, 1.0),
            (0.0, f64::INFINITY),
            (0.0, f64::MIN_POSITIVE),
        ] {
            assert!(ticks(lo, hi, 5).len() <= 100 && log_ticks(lo, hi).len() <= 100);
        }
    }

    proptest::proptest! {
        #[test]
        fn ticks_never_hang(lo in proptest::num::f64::ANY, span in proptest::num::f64::ANY, n in 0usize..20) {
            let list = ticks(lo, lo + span, n);
            proptest::prop_assert!(list.len() <= 100);
            proptest::prop_assert!(log_ticks(lo, lo + span).len() <= 2000);
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [
            0.0,
            1.0,
            0.25,
            1234.0,
            6e-4,
            3e-7,
            12_345_678.0,
            -0.5,
            99.5,
            f64::NAN,
        ]
        .map(short);
        assert_eq!(
            shown,
            [
                "0", "1", "0.25", "1234", "0.0006", "3e-7", "1.23e7", "-0.5", "99.5", "NaN"
            ]
        );
    }

    #[test]
    fn markup_is_escaped() {
        let mut s = Svg::new();
        s.text(1.0, 2.0, "a", "<b> & \"c\"");
        s.indexed(1.0, 2.0, "a", ["c", "<k"]);
        let whole = s.finish(10.0, 10.0, "x", "a < b", &[]);
        assert!(
            whole.contains("&lt;b&gt; &amp; &quot;c&quot;")
                && whole.contains("aria-label=\"a &lt; b\""),
            "{whole}"
        );
        let index = "y=\"2\" class=\"a\">c<tspan dy=\"3.5\" class=\"index\">&lt;k</tspan></text>";
        assert!(
            whole.ends_with("</svg>") && whole.contains(index),
            "{whole}"
        );
    }
}
