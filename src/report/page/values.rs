//! Depth, normals, keypoints and edges: every figure of every evaluated network.

use super::super::records::*;
use super::super::run::Run;
use super::{download, field};
use crate::metrics::{Figure, Unit};
use maud::{Markup, html};

/// The section; `None` for a run without such a task.
pub fn section(run: &Run) -> Option<Markup> {
    let result = run.result().filter(|e| !e.values.is_empty())?;
    Some(html! {
        @for (task, eval) in &result.values { (table(run, task, eval)) }
    })
}

/// A figure of a network by its name.
fn figure<'a>(e: &'a EvalRecord, task: &str, name: &str) -> Option<&'a Figure> {
    e.values.get(task)?.figures.iter().find(|f| f.name == name)
}

/// What numbers without their units are, for the file.
fn unit(u: Unit) -> &'static str {
    match u {
        Unit::Share => "share of 1",
        Unit::Degrees => "degrees",
        Unit::Plain => "",
    }
}

/// A row for each figure, a column for each network.
fn table(run: &Run, task: &str, eval: &ValuesEval) -> Markup {
    let with = |e: &&EvalRecord| e.values.contains_key(task);
    let networks: Vec<&EvalRecord> = run.evals.iter().filter(with).collect();
    let cell = |e: &EvalRecord, name: &str| {
        figure(e, task, name).map_or("\u{2013}".to_string(), |f| f.text())
    };
    let number = |e: &EvalRecord, name: &str| {
        let value = figure(e, task, name).and_then(|f| f.value);
        value.map_or(String::new(), |v| v.to_string())
    };
    let mut csv = String::from("figure,unit");
    networks
        .iter()
        .for_each(|e| csv += &format!(",{}", e.which.name()));
    csv += "\n";
    for f in &eval.figures {
        csv += &format!("{},{}", field(&f.name), unit(f.unit));
        networks
            .iter()
            .for_each(|e| csv += &format!(",{}", number(e, &f.name)));
        csv += "\n";
    }
    let size = eval
        .size
        .map_or("each at its own size".to_string(), |[h, w]| {
            format!("compared at {h} \u{d7} {w} pixels")
        });
    html! {
        h3 { (task) }
        p { (eval.images) " held-out images, " (size) "." }
        div.scroll {
            table.tight {
                thead { tr { th { "figure" } @for e in &networks { th { (e.which.name()) } } } }
                tbody {
                    @for f in &eval.figures {
                        tr { td { (f.name) } @for e in &networks { td { (cell(e, &f.name)) } } }
                    }
                }
            }
        }
        p { (download(task, &csv)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fabricate::eval;
    use std::path::Path;

    fn with_depth(which: Which, abs: Option<f64>) -> EvalRecord {
        let mut e = eval(which, 0.5);
        let depth = ValuesEval {
            images: 7,
            size: Some([64, 96]),
            figures: vec![
                Figure::error("abs (pixels)", abs, Unit::Plain),
                Figure::share("within 1.25", Some(0.125)),
            ],
        };
        e.values.insert("depth".into(), depth);
        e
    }

    #[test]
    fn every_figure_of_every_network_and_the_changes() {
        let mut run = Run {
            evals: vec![
                with_depth(Which::Searched, Some(0.25)),
                with_depth(Which::Random, None),
            ],
            ..Run::default()
        };
        let html = section(&run).unwrap().into_string();
        for words in [
            "<td>abs (pixels)</td><td>0.2500</td><td>-</td>",
            "12.5 %",
            "7 held-out images",
            "64 \u{d7} 96",
            // The file has the numbers themselves.
            "within%201.25,share%20of%201,0.125,0.125",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
        run.compare(&[with_depth(Which::Searched, Some(0.5))])
            .unwrap();
        let page = crate::report::render(&run);
        assert!(
            page.contains("\u{394}m") && page.contains("depth +25.00 %"),
            "{page}"
        );
        assert_eq!(
            run.result().unwrap().delta.as_ref().unwrap().tasks["seg"],
            0.0
        );
        run.evals.clear();
        assert!(section(&run).is_none());
        let e = run.compare(&[]).unwrap_err();
        assert_eq!(e.code(), crate::Code::NotFound);
        assert!(
            e.place()
                .unwrap()
                .ends_with(Path::new("final/metrics.json").to_str().unwrap())
        );
    }
}
