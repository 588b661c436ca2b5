//! IoU of every class and the confusion matrix.

use super::super::records::*;
use super::super::run::Run;
use super::super::svg::Svg;
use super::{Bars, Figure, field, missing, percent, raw};
use maud::{Markup, html};

/// The section.
pub fn section(run: &Run) -> Markup {
    let Some((which, s)) = run
        .result()
        .and_then(|e| e.segmentation.as_ref().map(|s| (e.which, s)))
    else {
        return missing("Segmentation results");
    };
    let random = run
        .eval(Which::Random)
        .and_then(|e| e.segmentation.as_ref())
        .filter(|r| r.classes == s.classes);
    let bars = Bars {
        names: s.classes.clone(),
        colour: "k-searched",
        main: s.iou.clone(),
        other: random.map(|r| r.iou.clone()),
        labels: (which.name(), "random"),
    };
    let mut csv = format!(
        "class,{}{}\n",
        which.name(),
        if random.is_some() { ",random" } else { "" }
    );
    for (i, class) in s.classes.iter().enumerate() {
        let show = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
        csv += &format!(
            "{},{}{}\n",
            field(class),
            show(s.iou[i]),
            random.map_or(String::new(), |r| format!(",{}", show(r.iou[i])))
        );
    }
    let size = s.size.map_or("each at its own size".to_string(), |[h, w]| {
        format!("compared at {h} \u{d7} {w} pixels")
    });
    let means: Vec<String> = s
        .miou
        .iter()
        .map(|(rule, v)| format!("{rule}: {}", percent(Some(*v))))
        .collect();
    let more: Vec<String> = s
        .more
        .iter()
        .map(|f| format!("{} {}", f.name, f.text()))
        .collect();
    html! {
        p { (s.images) " held-out images, " (size) ". mIoU by averaging rule (%): " (means.join(", ")) ". Pixel accuracy " (percent(Some(s.pixel_accuracy))) " %." @if !more.is_empty() { " Further figures: " (more.join(", ")) "." } }
        div.flow {
            div.grow { (Figure { title: "IoU by class (%)", note: "", csv: Some(("iou", csv)), body: bars.markup() }.markup()) }
            @if s.confusion.is_empty() { (missing("Confusion matrix")) } @else { (matrix(s)) }
        }
    }
}

fn matrix(s: &SegmentationEval) -> Markup {
    let n = s.classes.len();
    let longest = s
        .classes
        .iter()
        .map(|c| c.chars().count())
        .max()
        .unwrap_or(0) as f64;
    let (cell, left) = (if n > 12 { 34.0 } else { 44.0 }, 26.0 + 7.2 * longest);
    let top = 26.0 + 5.2 * longest;
    let mut svg = Svg::new();
    let mut csv = format!(
        "truth,{}\n",
        s.classes
            .iter()
            .map(|c| field(c))
            .collect::<Vec<_>>()
            .join(",")
    );
    svg.text(
        left + n as f64 * cell / 2.0,
        12.0,
        "ax middle title",
        "predicted class (% of the class's pixels)",
    );
    svg.element(
        "text",
        &[
            ("class", &"ax middle title"),
            (
                "transform",
                &format!("translate(12 {}) rotate(-90)", top + n as f64 * cell / 2.0),
            ),
        ],
        Some("true class"),
    );
    for (t, row) in s.confusion.iter().enumerate() {
        let total: u64 = row.iter().fold(0, |a, b| a.saturating_add(*b));
        let y = top + t as f64 * cell;
        svg.text(left - 6.0, y + cell / 2.0 + 4.0, "ax end", &s.classes[t]);
        let at = format!(
            "translate({} {}) rotate(-45)",
            left + (t as f64 + 0.45) * cell,
            top - 6.0
        );
        svg.element(
            "text",
            &[("class", &"ax start"), ("transform", &at)],
            Some(&s.classes[t]),
        );
        for (p, &pixels) in row.iter().enumerate() {
            let part = if total == 0 {
                0.0
            } else {
                pixels as f64 / total as f64
            };
            let tip = format!(
                "true {}, predicted {}\n{:.2} % ({pixels} pixels)",
                s.classes[t],
                s.classes[p],
                100.0 * part
            );
            let x = left + p as f64 * cell;
            svg.open(&[
                ("data-tip", &tip),
                ("class", &if part > 0.55 { "ink" } else { "" }),
            ]);
            svg.rect(
                [x, y, cell - 2.0, cell - 2.0],
                "cellbox",
                &[
                    ("fill-opacity", &format!("{:.2}", part.sqrt() * 0.9)),
                    ("rx", &2),
                ],
            );
            if part >= 0.005 {
                let text = if part >= 0.0995 {
                    format!("{:.0}", 100.0 * part)
                } else {
                    format!("{:.1}", 100.0 * part)
                };
                svg.text(
                    x + cell / 2.0 - 1.0,
                    y + cell / 2.0 + 3.0,
                    "value middle",
                    &text,
                );
            }
            svg.close();
        }
        csv += &format!(
            "{},{}\n",
            field(&s.classes[t]),
            row.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
        );
    }
    let (width, height) = (left + n as f64 * cell + 60.0, top + n as f64 * cell + 4.0);
    let style = format!("min-width:{:.0}px", (width * 0.75).min(width));
    let picture = svg.finish(
        width,
        height,
        "heat",
        "confusion matrix, rows are the true classes",
        &[("style", &style)],
    );
    Figure {
        title: "Confusion matrix",
        note: "rows sum to 100; less than 0.5 is blank",
        csv: Some(("confusion", csv)),
        body: html! { div.scroll { (raw(picture)) } },
    }
    .markup()
}
