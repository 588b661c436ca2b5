//! AP of every class under every protocol, and precision over recall.

use super::super::chart::{Chart, Series};
use super::super::records::*;
use super::super::run::Run;
use super::losses::figure;
use super::{Bars, Figure, download, field, missing, percent};
use maud::{Markup, html};

/// The section.
pub fn section(run: &Run) -> Markup {
    let Some((which, d)) = run
        .result()
        .and_then(|e| e.detection.as_ref().map(|d| (e.which, d)))
    else {
        return missing("Detection results");
    };
    let random = run
        .eval(Which::Random)
        .and_then(|e| e.detection.as_ref())
        .filter(|r| r.classes == d.classes);
    let main = |d: &DetectionEval| d.protocols.get(&d.main).map(|p| p.ap.clone());
    let bars = Bars {
        names: d.classes.clone(),
        colour: "k-searched",
        main: main(d).unwrap_or_default(),
        other: random.and_then(main),
        labels: (which.name(), "random"),
    };
    let mut csv = format!(
        "class,{}{}\n",
        which.name(),
        if random.is_some() { ",random" } else { "" }
    );
    for (i, class) in d.classes.iter().enumerate() {
        let of = |list: &[Option<f64>]| {
            list.get(i)
                .copied()
                .flatten()
                .map_or(String::new(), |v| v.to_string())
        };
        let other = bars
            .other
            .as_ref()
            .map_or(String::new(), |o| format!(",{}", of(o)));
        csv += &format!("{},{}{other}\n", field(class), of(&bars.main));
    }
    html! {
        p { (d.images) " held-out images, " (d.objects.iter().sum::<usize>()) " objects that count." }
        (Figure { title: &format!("AP by class, {} (%)", d.main), note: "", csv: Some(("ap-by-class", csv)), body: bars.markup() }.markup())
        (table(d, random, which))
        (more(d, random, which))
        div.grid {
            (curves(d, which.name()))
            @if let Some(r) = random { (curves(r, "random")) }
        }
    }
}

fn table(d: &DetectionEval, random: Option<&DetectionEval>, which: Which) -> Markup {
    let main_first = d
        .protocols
        .iter()
        .filter(|p| *p.0 == d.main)
        .chain(d.protocols.iter().filter(|p| *p.0 != d.main));
    let columns: Vec<(&str, &str, &ProtocolResult)> = main_first
        .flat_map(|(name, p)| {
            let other = random
                .and_then(|r| r.protocols.get(name))
                .map(|r| (name.as_str(), "random", r));
            std::iter::once((name.as_str(), which.name(), p)).chain(other)
        })
        .collect();
    let mut csv = String::from("class,objects");
    for (name, who, _) in &columns {
        csv += &format!(",{}", field(&format!("{name} {who}")));
    }
    csv.push('\n');
    for (i, class) in d.classes.iter().enumerate() {
        csv += &format!("{},{}", field(class), d.objects[i]);
        for c in &columns {
            csv += &format!(
                ",{}",
                c.2.ap
                    .get(i)
                    .copied()
                    .flatten()
                    .map_or(String::new(), |v| v.to_string())
            );
        }
        csv.push('\n');
    }
    html! {
        div.scroll {
            table {
                thead {
                    tr { th { "class" } th { "objects" } @for (name, who, _) in &columns { th { (name) br; (who) } } }
                }
                tbody {
                    @for (i, class) in d.classes.iter().enumerate() {
                        tr { td { (class) } td { (d.objects[i]) } @for c in &columns { td { (percent(c.2.ap.get(i).copied().flatten())) } } }
                    }
                    tr.total { td { "mean (mAP)" } td { (d.objects.iter().sum::<usize>()) } @for c in &columns { td { (percent(c.2.mean)) } } }
                }
            }
        }
        p.muted { "AP in %. " (protocols(d)) }
        p { (download("average-precision", &csv)) }
    }
}

/// What the protocol ids stand for.
fn protocols(d: &DetectionEval) -> String {
    let known = [
        (
            "voc10",
            "voc10: IoU \u{2265} 0.5, area under the whole envelope",
        ),
        ("voc07", "voc07: IoU \u{2265} 0.5, 11 recall points"),
        (
            "coco",
            "coco: mean over IoU 0.50 to 0.95, 101 recall points",
        ),
        (
            "mtnas-2020",
            "mtnas-2020: IoU > 0.5 with the +1 pixel convention, scores > 0.005",
        ),
        (
            "kitti-r40",
            "kitti-r40: moderate objects at the pictures' own size, IoU > 0.7 for cars, > 0.5 for others, 40 recall points",
        ),
        ("kitti-r11", "kitti-r11: the same with 11 recall points"),
    ];
    let named: Vec<&str> = known
        .iter()
        .filter(|k| d.protocols.contains_key(k.0))
        .map(|k| k.1)
        .collect();
    named.join("; ")
}

fn more(d: &DetectionEval, random: Option<&DetectionEval>, which: Which) -> Markup {
    let rows: Vec<(String, f64, Option<f64>)> = (d.protocols.iter())
        .flat_map(|(name, p)| {
            let other = random.and_then(|r| r.protocols.get(name));
            p.more.iter().map(move |(k, v)| {
                (
                    format!("{name} {k}"),
                    *v,
                    other.and_then(|o| o.more.get(k)).copied(),
                )
            })
        })
        .collect();
    html! {
        @if !rows.is_empty() {
            div.scroll {
                table {
                    thead { tr { th { "further figures (%)" } th { (which.name()) } @if random.is_some() { th { "random" } } } }
                    tbody { @for (name, a, b) in &rows { tr { td { (name) } td { (percent(Some(*a))) } @if random.is_some() { td { (percent(*b)) } } } } }
                }
            }
        }
    }
}

fn curves(d: &DetectionEval, who: &str) -> Markup {
    let series = d.curves.iter().map(|c| {
        let ap = d.protocols.get(&d.main).and_then(|p| p.ap[c.class]);
        let points = c
            .recall
            .iter()
            .copied()
            .zip(c.precision.iter().copied())
            .collect();
        Series {
            name: format!("{} (AP {})", d.classes[c.class], percent(ap)),
            colour: format!("q{}", c.class % 8),
            points,
            ..Series::default()
        }
    });
    let chart = Chart {
        label: format!("precision over recall of the {who} network"),
        x: "recall".into(),
        y: "precision".into(),
        series: series.collect(),
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.02)),
        ..Chart::default()
    };
    figure(
        &format!("Precision and recall, {who} network"),
        &d.main,
        &format!("pr-{who}"),
        &chart,
    )
}
