//! Losses, learning rates and gradient norms of every stage.

use super::super::chart::{Chart, Series};
use super::super::records::*;
use super::super::run::Run;
use super::super::svg::short;
use super::cost::expected;
use super::{Figure, field, missing, raw};
use maud::{Markup, html};

/// Rows of a table that one line of a chart takes; of longer logs every n-th record is in the page.
const ROWS: usize = 1000;

/// A chart with its legend and table; a note if there is nothing to draw.
pub fn figure(title: &str, note: &str, name: &str, chart: &Chart) -> Markup {
    if chart.is_empty() {
        return Figure {
            title,
            note,
            csv: None,
            body: missing("Data"),
        }
        .markup();
    }
    let mut csv = format!("series,{},{}\n", field(&chart.x), field(&chart.y));
    let mut stride = 1;
    for s in &chart.series {
        let every = s.points.len().div_ceil(ROWS).max(1);
        stride = stride.max(every);
        let last = s.points.len().saturating_sub(1);
        for (_, (x, y)) in s
            .points
            .iter()
            .enumerate()
            .filter(|(i, _)| i % every == 0 || *i == last)
        {
            csv += &format!("{},{x},{y}\n", field(&s.name));
        }
    }
    let thin = format!(
        "{note}{}table: one record in {stride}",
        if note.is_empty() { "" } else { "; " }
    );
    let note = if stride > 1 { &thin } else { note };
    Figure {
        title,
        note,
        csv: Some((name, csv)),
        body: html! { (raw(chart.legend())) (raw(chart.svg())) },
    }
    .markup()
}

/// The section.
pub fn section(run: &Run) -> Markup {
    let stages: Vec<String> = run
        .stage_names()
        .into_iter()
        .filter(|s| run.metrics.iter().any(|m| &m.stage == s))
        .collect();
    if stages.is_empty() {
        return missing("Losses");
    }
    html! {
        p { "Solid: weight steps. Dashed: architecture steps, on the other half of the data. Bold: running mean. Triangles: rollbacks and warnings." }
        @for stage in &stages { (block(run, stage)) }
    }
}

fn colour(task: &str) -> &str {
    match task {
        "det" | "seg" | "cls" => task,
        "depth" => "q3",
        "normals" => "q4",
        "keypoints" => "q5",
        "edges" => "q6",
        _ => "q7",
    }
}

fn task_name(task: &str) -> &str {
    match task {
        "det" => "detection",
        "seg" => "segmentation",
        "cls" => "classification",
        other => other,
    }
}

/// One series for every task and phase that has values.
fn series(
    records: &[&MetricRecord],
    value: impl Fn(&MetricRecord) -> Option<f64>,
    smooth: bool,
) -> Vec<Series> {
    let mut keys: Vec<(String, Phase)> = records
        .iter()
        .map(|m| (m.task.clone(), m.kind))
        .filter(|k| k.1 != Phase::Eval)
        .collect();
    keys.sort();
    keys.dedup();
    let one = |(task, kind): (String, Phase)| {
        let of = records.iter().filter(|m| m.task == task && m.kind == kind);
        let points: Vec<(f64, f64)> = of
            .filter_map(|m| value(m).map(|v| (m.step as f64, v)))
            .collect();
        let phase = if kind == Phase::Arch {
            "architecture"
        } else {
            "weights"
        };
        Series {
            name: format!("{}, {phase}", task_name(&task)),
            colour: colour(&task).into(),
            dashed: kind == Phase::Arch,
            smooth,
            points,
        }
    };
    keys.into_iter()
        .map(one)
        .filter(|s| !s.points.is_empty())
        .collect()
}

fn block(run: &Run, stage: &str) -> Markup {
    let records: Vec<&MetricRecord> = run.metrics.iter().filter(|m| m.stage == stage).collect();
    let marks: Vec<(f64, String)> = (run.events.iter())
        .filter(|e| e.stage == stage && (e.event == "rollback" || e.event == "warning"))
        .map(|e| {
            (
                e.step as f64,
                format!("step {}: {}\n{}", e.step, e.event, wrapped(&e.message)),
            )
        })
        .collect();
    let chart =
        |what: &str, y: &str, series: Vec<Series>, log: bool, marks: &[(f64, String)]| Chart {
            label: format!("{what} of stage {stage}"),
            x: "step".into(),
            y: y.into(),
            series,
            marks: marks.to_vec(),
            log_if_wide: log,
            ..Chart::default()
        };
    let loss = chart(
        "losses",
        "loss",
        series(&records, |m| Some(m.loss), true),
        true,
        &marks,
    );
    let lr = chart(
        "learning rate",
        "learning rate of the weights",
        rate(&records, Phase::Train),
        false,
        &[],
    );
    let arch_rate = rate(&records, Phase::Arch);
    let moves = arch_rate
        .iter()
        .flat_map(|s| &s.points)
        .any(|p| p.1 != arch_rate[0].points[0].1);
    let constant = arch_rate.first().map_or(String::new(), |s| {
        format!("architecture: constant {}", short(s.points[0].1))
    });
    let arch_lr = chart(
        "learning rate",
        "learning rate of the architecture",
        if moves { arch_rate } else { vec![] },
        false,
        &[],
    );
    let norm = chart(
        "gradient norms",
        "gradient norm before clipping",
        series(&records, |m| m.grad_norm, true),
        true,
        &[],
    );
    let over = "expected cost of the searched operations";
    let cost = chart("expected cost", over, expected(&records), false, &[]);
    let parts = chart("terms of the losses", "loss", parts(&records), true, &[]);
    let scores = chart(
        "results on held-out data",
        "result (%)",
        scores(&records),
        false,
        &[],
    );
    let bad = records.iter().filter(|m| !m.loss.is_finite()).count();
    html! {
        h3 { (stage) }
        @if bad > 0 { p.muted { "Records with a loss that is not finite: " (bad) ". The curve is open there." } }
        div.grid {
            (figure("Loss", "", &format!("loss-{stage}"), &loss))
            @if !lr.is_empty() { (figure("Learning rate", if moves { "" } else { &constant }, &format!("lr-{stage}"), &lr)) }
            @if !arch_lr.is_empty() { (figure("Learning rate of the architecture", "", &format!("lr-arch-{stage}"), &arch_lr)) }
            @if !parts.is_empty() { (figure("Terms of the loss", "weight steps", &format!("terms-{stage}"), &parts)) }
            @if !norm.is_empty() { (figure("Gradient norm", "", &format!("gradient-{stage}"), &norm)) }
            @if !cost.is_empty() { (figure("Expected cost", "of the searched operations: what search.constraint weighs", &format!("cost-{stage}"), &cost)) }
            @if !scores.is_empty() { (figure("Held-out results", "", &format!("heldout-{stage}"), &scores)) }
        }
    }
}

/// The learning rate of one phase over the steps: one for all tasks.
fn rate(records: &[&MetricRecord], kind: Phase) -> Vec<Series> {
    let mut points: Vec<(f64, f64)> = records
        .iter()
        .filter(|m| m.kind == kind)
        .filter_map(|m| m.lr.map(|v| (m.step as f64, v)))
        .collect();
    points.dedup();
    let dashed = kind == Phase::Arch;
    if points.is_empty() {
        vec![]
    } else {
        vec![Series {
            name: "learning rate".into(),
            colour: "q7".into(),
            dashed,
            points,
            smooth: false,
        }]
    }
}

/// Lines of at most 60 characters, for a tip.
pub fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut line = 0;
    for word in text.split_whitespace() {
        if line > 0 && line + word.chars().count() > 60 {
            out.push('\n');
            line = 0;
        } else if line > 0 {
            out.push(' ');
        }
        out.push_str(word);
        line += word.chars().count() + 1;
    }
    out
}

fn parts(records: &[&MetricRecord]) -> Vec<Series> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for m in records.iter().filter(|m| m.kind == Phase::Train) {
        for part in m.parts.keys() {
            if !names.contains(&(&m.task, part)) {
                names.push((&m.task, part));
            }
        }
    }
    let one = |(i, (task, part)): (usize, (&str, &str))| {
        let of = records
            .iter()
            .filter(|m| m.kind == Phase::Train && m.task == task);
        let points = of
            .filter_map(|m| m.parts.get(part).map(|v| (m.step as f64, *v)))
            .collect();
        Series {
            name: format!("{}: {part}", task_name(task)),
            colour: format!("q{}", i % 8),
            smooth: true,
            points,
            ..Series::default()
        }
    };
    names.into_iter().enumerate().map(one).collect()
}

fn scores(records: &[&MetricRecord]) -> Vec<Series> {
    let mut names: Vec<&str> = records
        .iter()
        .flat_map(|m| m.scores.keys().map(String::as_str))
        .collect();
    names.sort();
    names.dedup();
    let one = |(i, name): (usize, &str)| {
        let points = records
            .iter()
            .filter_map(|m| m.scores.get(name).map(|v| (m.step as f64, 100.0 * v)))
            .collect();
        Series {
            name: name.into(),
            colour: format!("q{}", i % 8),
            points,
            ..Series::default()
        }
    };
    names.into_iter().enumerate().map(one).collect()
}
