//! What `mtnas bench loader` measured, as lines and as JSON.

use serde_json::{Value, json};

use super::loader::{Measured, Subject};
use super::net::percentile;
use crate::search::step_timing::median;

/// Images a second of one thread.
fn one_thread(m: &Measured) -> f64 {
    1e3 * m.whole.len() as f64 / m.whole.iter().sum::<f64>()
}

fn spread(ms: &[f64]) -> Value {
    json!({"median": median(ms), "p10": percentile(ms, 0.1), "p90": percentile(ms, 0.9), "n": ms.len()})
}

/// All figures of a data set, as JSON; `cpu_ms` is null where the system does not tell.
pub(super) fn figures(s: &Subject, batch: u16, threads: usize, all: &[Measured]) -> Value {
    let one = |m: &Measured| {
        let stages: serde_json::Map<String, Value> = (m.stages.iter())
            .map(|s| (s.name.into(), json!({"ms": spread(&s.ms)})))
            .collect();
        let waits: Vec<Value> = (m.waits.iter())
            .map(|(ms, share)| json!({"step_ms": ms, "waits": share}))
            .collect();
        json!({
            "from": m.from, "stages": stages,
            "one_thread": {"ms": spread(&m.whole), "cpu_ms": m.whole_cpu, "images_per_s": one_thread(m)},
            "loader": {"threads": threads, "images_per_s": m.rate},
            "steps": waits,
        })
    };
    json!({
        "name": s.name, "input": s.size, "augment": s.data.augment, "batch": batch,
        "measured": all.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The same in lines.
pub(super) fn table(s: &Subject, batch: u16, threads: usize, all: &[Measured]) -> String {
    let changes: Vec<&str> = s.data.augment.iter().map(|c| c.name()).collect();
    let [h, w] = s.size;
    let name = &s.name;
    let mut t = format!(
        "{name}: to {h}x{w}, batches of {batch}, {}\n",
        changes.join(" ")
    );
    for m in all {
        let line = |name: &str, ms: &[f64], rate: f64| {
            let ends = format!("{:.2}..{:.2}", percentile(ms, 0.1), percentile(ms, 0.9));
            format!("  {name:19} {:9.3} {ends:>15} {rate:10.1}\n", median(ms))
        };
        let title = format!("from the {}", m.from);
        t += &format!(
            "{title:21} {:>9} {:>15} {:>10}\n",
            "ms/image", "p10..p90", "images/s"
        );
        for s in &m.stages {
            let mean = s.ms.iter().sum::<f64>() / s.ms.len() as f64;
            t += &line(s.name, &s.ms, 1e3 / mean);
        }
        t += &line("one thread", &m.whole, one_thread(m));
        let name = format!("loader, {threads}");
        t += &format!(
            "  {name:19} {:9.3} {:>15} {:10.1}\n",
            1e3 / m.rate,
            "",
            m.rate
        );
        for (ms, share) in &m.waits {
            t += &format!(
                "  a step of {ms} ms waits {:.1} % of the time\n",
                100.0 * share
            );
        }
    }
    if let [files, packed] = all {
        let times = one_thread(packed) / one_thread(files);
        t += &format!("the packed cache is {times:.1} times as fast on one thread\n");
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::loader_stages::Stage;

    #[test]
    fn what_the_system_does_not_tell_is_null() {
        let of = |cpu| {
            let stage = Stage {
                name: "load",
                ms: vec![1.0, 2.0, 3.0],
            };
            let m = Measured {
                from: "files",
                stages: vec![stage],
                whole: vec![4.0; 3],
                whole_cpu: cpu,
                rate: 250.0,
                waits: vec![(100.0, 0.25)],
            };
            let v = figures(&Subject::default(), 4, 1, &[m]);
            v["measured"][0]["one_thread"]["cpu_ms"].clone()
        };
        assert_eq!((of(None), of(Some(1.5))), (Value::Null, 1.5.into()));
    }
}
