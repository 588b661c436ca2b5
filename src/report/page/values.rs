//! Depth, normals, keypoints and edges: every figure of every evaluated network.

use super::super::records::*;
use super::super::run::Run;
use super::{download, field};
use maud::{Markup, html};

/// The section; `None` for a run without such a task.
pub fn section(run: &Run) -> Option<Markup> {
    let result = run.result().filter(|e| !e.values.is_empty())?;
    Some(html! {
        @for (task, eval) in &result.values { (table(run, task, eval)) }
        @if let Some(d) = &result.delta { (changes(d)) }
    })
}

/// A row for each figure, a column for each network.
fn table(run: &Run, task: &str, eval: &ValuesEval) -> Markup {
    let with = |e: &&EvalRecord| e.values.contains_key(task);
    let networks: Vec<&EvalRecord> = run.evals.iter().filter(with).collect();
    let cell = |e: &EvalRecord, name: &str| {
        let figures = e.values.get(task).map(|v| &v.figures);
        let found = figures.and_then(|all| all.iter().find(|f| f.name == name));
        found.map_or("\u{2013}".to_string(), |f| f.text())
    };
    let mut csv = String::from("figure");
    networks
        .iter()
        .for_each(|e| csv += &format!(",{}", e.which.name()));
    csv += "\n";
    for f in &eval.figures {
        csv += &field(&f.name);
        networks
            .iter()
            .for_each(|e| csv += &format!(",{}", field(&cell(e, &f.name))));
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

/// Relative changes against networks of one task each.
fn changes(d: &DeltaEval) -> Markup {
    let mean = d
        .mean
        .map_or("\u{2013}".to_string(), |v| format!("{v:+.2} %"));
    html! {
        p {
            b { "Against networks of one task each: " } "\u{394}m " (mean)
            @for (task, v) in &d.tasks { ", " (task) " " (format!("{v:+.2} %")) }
            "."
        }
    }
}
