//! How long every stage took and why it ended.

use super::super::run::Run;
use super::{download, duration, field, missing};
use maud::{Markup, html};

fn why(stopped: &str) -> &str {
    match stopped {
        "budget" => "all planned steps done",
        "stable" => "derived cell stayed the same",
        "skips" => "too many skip-connects",
        "done" => "done",
        other => other,
    }
}

/// The table of stages.
pub fn stages(run: &Run) -> Markup {
    let names = run.stage_names();
    if names.is_empty() {
        return missing("Stages");
    }
    let seconds: Vec<Option<f64>> = names.iter().map(|n| run.seconds(n)).collect();
    let total: f64 = seconds.iter().flatten().sum();
    let longest = seconds.iter().flatten().copied().fold(1e-9, f64::max);
    let rate = |name: &str| {
        let rates: Vec<f64> = run
            .timing
            .iter()
            .filter(|t| t.stage == name)
            .filter_map(|t| t.images_per_s)
            .filter(|r| r.is_finite())
            .collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    };
    let mut csv = String::from("stage,steps,planned,ended_because,seconds,images_per_second\n");
    let rows: Vec<Markup> = names
        .iter()
        .zip(&seconds)
        .map(|(name, time)| {
            let record = run.stages.iter().find(|s| &s.stage == name);
            let steps = record.map(|r| (r.steps, r.planned)).or_else(|| {
                let last = run.metrics.iter().filter(|m| &m.stage == name).map(|m| (m.step, m.steps)).max();
                last.filter(|l| l.1 > 0)
            });
            let stopped = record.map_or("\u{2013}", |r| why(&r.stopped));
            let (done, planned) = steps.map_or((String::new(), String::new()), |s| (s.0.to_string(), s.1.to_string()));
            csv += &format!("{name},{done},{planned},{},{},{}\n", field(stopped), time.map_or(String::new(), |t| format!("{t:.1}")), rate(name).map_or(String::new(), |r| format!("{r:.1}")));
            html! {
                tr {
                    td { (name) }
                    td { @match steps { Some((a, b)) => { (a) " of " (b) } None => "\u{2013}" } }
                    td.l { (stopped) }
                    td { (rate(name).map_or("\u{2013}".to_string(), |r| format!("{r:.1}"))) }
                    td { (time.map_or("not recorded".to_string(), duration)) }
                    td.l style="min-width:9rem" { @if let Some(t) = time { span.bar style=(format!("width:{:.1}%", 100.0 * t / longest)) {} } }
                }
            }
        })
        .collect();
    html! {
        div.scroll {
            table {
                thead { tr { th { "stage" } th { "steps" } th.l { "ended because" } th { "images / s" } th { "time" } th {} } }
                tbody {
                    @for row in &rows { (row) }
                    tr.total { td { "all" } td {} td {} td {} td { (if total > 0.0 { duration(total) } else { "not recorded".into() }) } td {} }
                }
            }
        }
        p { (download("stages", &csv)) }
    }
}
