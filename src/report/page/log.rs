//! What happened on the way, and the configuration.

use super::super::records::EventRecord;
use super::super::run::Run;
use super::{download, field, missing};
use maud::{Markup, html};

/// Rows of events that are listed; of more, the warnings, rollbacks and the ends of the list.
const LISTED: usize = 300;

/// The table of events.
pub fn events(run: &Run) -> Markup {
    if run.events.is_empty() {
        return missing("Events");
    }
    let rows = rows(&run.events);
    let n = rows.len();
    let listed = || {
        rows.iter().enumerate().filter(|(i, r)| {
            n <= LISTED || *i < LISTED / 2 || *i + LISTED / 2 >= n || grave(&r.0.event)
        })
    };
    let mut csv = String::from("stage,step,event,code,message\n");
    for e in &run.events {
        csv += &format!(
            "{},{},{},{},{}\n",
            field(&e.stage),
            e.step,
            field(&e.event),
            e.code.as_deref().unwrap_or(""),
            field(&e.message)
        );
    }
    let count = run.events.iter().filter(|e| grave(&e.event)).count();
    let left_out = n - listed().take(2 * LISTED).count();
    html! {
        p { (run.events.len()) " events, " (count) " of them warnings or rollbacks." @if left_out > 0 { " The table leaves " (left_out) " rows out; the CSV has all." } }
        div.scroll {
            table {
                thead { tr { th { "stage" } th.l { "step" } th.l { "event" } th.l { "what happened" } } }
                tbody {
                    @for (_, (e, last, times)) in listed().take(2 * LISTED) {
                        tr {
                            td { (e.stage) }
                            td.l { (e.step) @if *times > 1 { " \u{2026} " (last) } }
                            td.l { @if grave(&e.event) { span.tag.warn { (e.event) } } @else { (e.event) } }
                            td.wrap { @if let Some(c) = &e.code { code { (c) } " " } (e.message) @if *times > 1 { span.muted { " (" (times) " times)" } } }
                        }
                    }
                }
            }
        }
        p { (download("events", &csv)) }
    }
}

fn grave(event: &str) -> bool {
    matches!(event, "rollback" | "warning" | "error")
}

/// Events, with runs of the same one in a stage taken together: the first, the step of the last, how many.
fn rows(events: &[EventRecord]) -> Vec<(&EventRecord, u64, usize)> {
    let mut rows: Vec<(&EventRecord, u64, usize)> = Vec::new();
    for e in events {
        match rows.last_mut() {
            Some((first, last, times))
                if (&first.stage, &first.event, &first.message)
                    == (&e.stage, &e.event, &e.message) =>
            {
                (*last, *times) = (e.step, *times + 1);
            }
            _ => rows.push((e, e.step, 1)),
        }
    }
    rows
}

/// The configuration as the run resolved it.
pub fn config(run: &Run) -> Markup {
    let Some(text) = &run.config else {
        return missing("Configuration");
    };
    html! { pre { code { @for line in text.lines() { (coloured(line)) "\n" } } } }
}

/// Comments are dimmed; a `#` inside a quoted text is none.
fn coloured(line: &str) -> Markup {
    let mut quote = None;
    let comment = line.char_indices().find(|(_, c)| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(*c),
            (Some(q), c) if q == *c => quote = None,
            _ => {}
        }
        quote.is_none() && *c == '#'
    });
    match comment {
        Some((at, _)) => html! { (line[..at]) span.muted { (line[at..]) } },
        None => html! { (line) },
    }
}
