//! `[search.constraint]`: searches that weigh what a network costs, as a user runs them.

use std::path::Path;
use std::process::Command;

use mtnas::data::synth::{SynthConfig, generate};
use serde_json::Value;

const CONFIG: &str = r#"
version = 1
[input]
size = [32, 32]
[tasks.cls]
kind = "classification"
data = "objects"
[data.objects]
format = "cifar10"
root = "data/cifar"
augment = ["flip"]
[model]
frame = "classification"
channels = 8
cells = 3
nodes = 2
[search]
method = "pc-darts"
batch = 4
warmup_fraction = 0.0
iters = { backbone = 6 }
alpha = { lr = 0.05, weight_decay = 0.0 }
[finetune]
iters = 1
batch = 4
[eval]
limit = 2
[log]
every = 1
images = 0
"#;

fn run(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let mut c = Command::new(env!("CARGO_BIN_EXE_mtnas"));
    let o = c.current_dir(dir).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&o.stderr).into_owned();
    (o.status.success(), text)
}

fn search(dir: &Path, name: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    let line = ["search", "c.toml", "--run", name, "--device", "cpu"];
    let more: Vec<&str> = more.iter().flat_map(|o| ["-s", o]).collect();
    let (ok, text) = run(
        dir,
        &[&line[..], &["--threads", "1", "--quiet"], &more].concat(),
    );
    if !ok {
        return Err(text);
    }
    let lines = std::fs::read_to_string(dir.join(name).join("metrics.jsonl")).unwrap();
    let all = lines.lines().map(|l| serde_json::from_str(l).unwrap());
    Ok(all.collect())
}

fn last_cost(records: &[Value]) -> f64 {
    let mut costs = records.iter().filter_map(|r| r["cost"].as_f64());
    costs.next_back().expect("an expected cost")
}

#[test]
fn a_search_weighs_what_its_operations_cost() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let synth = SynthConfig {
        train: 2,
        val: 1,
        folder_train: 4,
        folder_val: 2,
        folder_size: 32,
        size: [64, 96],
        cifar: true,
        ..SynthConfig::default()
    };
    generate(&dir.join("data"), &synth).unwrap();
    std::fs::write(dir.join("c.toml"), CONFIG).unwrap();

    // A weight of nothing is the search without the table, byte by byte.
    let plain = search(dir, "plain", &[]).unwrap();
    let nothing = search(dir, "nothing", &["search.constraint.weight=0.0"]).unwrap();
    assert_eq!(plain, nothing);
    for name in ["metrics.jsonl", "alpha.jsonl", "final/genotype.txt"] {
        let of = |run: &str| std::fs::read(dir.join(run).join(name)).unwrap();
        assert!(of("plain") == of("nothing"), "{name}");
    }
    assert!(plain.iter().all(|r| r["cost"].is_null()));

    // Multiply-adds: they fall while the search goes on, the penalty is a part of the loss, and the page shows it.
    let charged = search(dir, "charged", &["search.constraint.weight=5.0"]).unwrap();
    let costs: Vec<f64> = charged.iter().filter_map(|r| r["cost"].as_f64()).collect();
    assert_eq!(costs.len(), 6);
    assert!(costs.windows(2).all(|w| w[1] < w[0]), "{costs:?}");
    let arch: Vec<&Value> = charged.iter().filter(|r| r["kind"] == "arch").collect();
    let penalty = |r: &Value| r["parts"]["cost"].as_f64().unwrap();
    // The first step sees the first values: small ones around the uniform architecture, so nearly the whole weight.
    assert!((penalty(arch[0]) - 5.0).abs() < 0.1, "{}", penalty(arch[0]));
    assert!(penalty(arch[5]) < penalty(arch[0]));
    assert!(
        arch.iter()
            .all(|r| r["loss"].as_f64().unwrap() > penalty(r))
    );
    let page = std::fs::read_to_string(dir.join("charged/report.html")).unwrap();
    assert!(page.contains("expected cost of the searched operations"));

    // Latencies: without the table nothing runs, and what is missing is listed; with one the dear operations are left.
    let latency = [
        "search.constraint.weight=5.0",
        "search.constraint.metric=latency",
    ];
    let table = "search.constraint.table=table.json";
    let none = search(dir, "none", &latency).unwrap_err();
    assert!(none.contains("search.constraint.table"), "{none}");
    let empty = r#"{"device": "cpu", "threads": 1, "dtype": "f32", "rows": []}"#;
    std::fs::write(dir.join("table.json"), empty).unwrap();
    let missing = search(dir, "missing", &[&latency[..], &[table]].concat()).unwrap_err();
    assert!(
        missing.contains("8x32x32 stride 1: max_pool_3x3"),
        "{missing}"
    );
    assert!(missing.contains("mtnas bench net"), "{missing}");
    let mut rows = vec![];
    for line in missing.lines().filter(|l| l.contains(" stride ")) {
        let (_, line) = line.split_once("note: ").unwrap();
        let (shape, operations) = line.split_once(": ").unwrap();
        let (map, stride) = shape.split_once(" stride ").unwrap();
        let side: Vec<&str> = map.split('x').collect();
        for op in operations.split(", ") {
            let us = if op.contains("5x5") { 90 } else { 10 };
            rows.push(format!(
                r#"{{"primitive": "{op}", "channels": {}, "height": {}, "width": {}, "stride": {stride}, "batch": 1, "us": {us}}}"#,
                side[0], side[1], side[2]
            ));
        }
    }
    let full = empty.replace("[]", &format!("[{}]", rows.join(",")));
    std::fs::write(dir.join("table.json"), full).unwrap();
    let timed = search(dir, "timed", &[&latency[..], &[table]].concat()).unwrap();
    let first = timed.iter().find_map(|r| r["cost"].as_f64()).unwrap();
    assert!(last_cost(&timed) < 0.9 * first, "{first}");
}
