//! Every method and ablation from the first step to the report, on a tiny data set: the run ends, its network can be measured
//! again, and the page shows it. What they find is a matter for long runs.

use std::path::Path;
use std::process::Command;

use mtnas::data::synth::{SynthConfig, generate};

const TWO_TASKS: &str = r#"
version = 1
[input]
size = [64, 96]
[tasks.det]
kind = "detection"
data = "kitti"
[tasks.seg]
kind = "segmentation"
data = "cityscapes"
[data.kitti]
format = "kitti"
root = "data/kitti"
augment = ["flip", "photometric", "ssd-crop"]
[data.cityscapes]
format = "cityscapes"
root = "data/cityscapes"
augment = ["flip"]
[data.objects]
format = "image-folder"
root = "data/folder"
[model]
frame = "mtnas-release"
channels = 16
cells = 4
reductions = [1, 2, 3]
det_levels = 4
nodes = 2
[search]
batch = 2
iters = { branch = 3, presearch = 3, backbone = 4 }
[search.presearch]
data = "objects"
size = [32, 32]
batch = 4
[finetune]
iters = 4
batch = 2
[eval]
limit = 2
[log]
every = 1
images = 1
"#;

const ONE_TASK: &str = r#"
version = 1
[input]
size = [32, 32]
[tasks.cls]
kind = "classification"
data = "objects"
[data.objects]
format = "cifar10"
root = "data/cifar"
augment = ["pad-crop", "flip"]
[model]
frame = "classification"
channels = 8
cells = 3
[search]
method = "pc-darts"
batch = 4
iters = { backbone = 4 }
[finetune]
iters = 3
batch = 4
[eval]
limit = 4
[log]
every = 1
images = 1
"#;

/// Name, configuration, overrides, stages that must have run.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "the paper's, with a random network beside it",
        TWO_TASKS,
        &["search.ablation.random_baseline=true"],
        &[
            "1-branch-det",
            "2-branch-seg",
            "3-presearch",
            "4-backbone",
            "5-finetune",
            "7-random",
        ],
    ),
    (
        "without branch search",
        TWO_TASKS,
        &["model.branches=hand-crafted"],
        &["3-presearch", "4-backbone", "5-finetune"],
    ),
    (
        "without pre-search, second order, every task in a step",
        TWO_TASKS,
        &[
            "search.ablation.presearch=false",
            "search.order=2",
            "search.alternate=accumulate",
        ],
        &["1-branch-det", "2-branch-seg", "4-backbone", "5-finetune"],
    ),
    (
        "without backbone search",
        TWO_TASKS,
        &["search.ablation.backbone_search=false"],
        &["1-branch-det", "2-branch-seg", "3-presearch", "5-finetune"],
    ),
    (
        "co-search, stored in bf16",
        TWO_TASKS,
        &[
            "search.ablation.co_search=true",
            "search.ablation.presearch=false",
            "search.constraint.weight=0.5",
            "search.constraint.target=0.9",
            "run.precision=bf16",
        ],
        &["4-backbone", "5-finetune"],
    ),
    (
        "the peer's frame in f64",
        TWO_TASKS,
        &[
            "model.frame=mtnas-peer",
            "model.det_levels=3",
            "run.precision=f64",
            "search.ablation.presearch=false",
        ],
        &["4-backbone", "5-finetune"],
    ),
    (
        "random search over two tasks",
        TWO_TASKS,
        &[
            "search.method=random",
            "search.random.candidates=3",
            "search.random.batches=1",
            "search.random.finalists=2",
        ],
        &["5-finetune"],
    ),
    ("PC-DARTS", ONE_TASK, &[], &["5-finetune"]),
    (
        "DARTS of second order",
        ONE_TASK,
        &[
            "search.method=darts",
            "search.order=2",
            "search.constraint.weight=0.5",
            "model.partial_k=1",
            "model.edge_norm=false",
        ],
        &["5-finetune"],
    ),
    (
        "DARTS+",
        ONE_TASK,
        &["search.method=darts+"],
        &["5-finetune"],
    ),
    (
        "P-DARTS",
        ONE_TASK,
        &[
            "search.method=p-darts",
            "search.p_darts.cells=[3, 4, 5]",
            "search.constraint.weight=0.5",
            "model.partial_k=1",
        ],
        &["5-finetune"],
    ),
    (
        "random search with one task",
        ONE_TASK,
        &[
            "search.method=random",
            "search.random.candidates=3",
            "search.random.batches=1",
            "search.random.finalists=2",
        ],
        &["5-finetune"],
    ),
];

fn mtnas(dir: &Path, arguments: &[&str]) -> String {
    let mut c = Command::new(env!("CARGO_BIN_EXE_mtnas"));
    let out = c.current_dir(dir).args(arguments).output();
    let out = out.expect("the binary runs");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "mtnas {arguments:?}:\n{text}");
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn every_method_runs_to_its_report() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let dir = home.path();
    let synth = SynthConfig {
        size: [64, 96],
        train: 8,
        val: 3,
        folder_train: 4,
        folder_val: 2,
        folder_size: 32,
        cifar: true,
        ..SynthConfig::default()
    };
    generate(&dir.join("data"), &synth).expect("a data set");
    for (i, (what, config, overrides, stages)) in CASES.iter().enumerate() {
        let (file, run) = (format!("{i}.toml"), format!("run-{i}"));
        std::fs::write(dir.join(&file), config).expect("a configuration");
        let mut arguments = vec!["search", &file, "--run", &run, "--quiet"];
        overrides.iter().for_each(|o| arguments.extend(["-s", o]));
        mtnas(dir, &arguments);
        let run_dir = dir.join(&run);
        for stage in *stages {
            assert!(
                run_dir.join("stages").join(stage).is_dir(),
                "{what}: no {stage}"
            );
        }
        let read = |p: &str| {
            std::fs::read_to_string(run_dir.join(p)).unwrap_or_else(|e| panic!("{what}: {p}: {e}"))
        };
        assert!(read("run.json").contains("\"done\""), "{what}");
        let page = read("report.html");
        for section in ["Searched cells", "Cost", "Configuration"] {
            assert!(page.contains(section), "{what}: no {section} on the page");
        }
        let two = *config == TWO_TASKS;
        let mut measured: serde_json::Value =
            serde_json::from_str(&mtnas(dir, &["eval", &run, "--json"])).expect("JSON");
        // The official figures of KITTI, which a run does not keep.
        for p in ["kitti-r40", "kitti-r11"].iter().filter(|_| two) {
            let protocols = measured["detection"]["protocols"].as_object_mut();
            assert!(protocols.expect("protocols").remove(*p).is_some(), "{what}");
        }
        let kept: serde_json::Value =
            serde_json::from_str(&read("final/metrics.json")).expect("JSON");
        assert_eq!(measured, kept, "{what}: measured again");
        let figures = ["detection", "segmentation", "classification"];
        let has = figures.map(|f| !measured[f].is_null());
        assert_eq!(has, [two, two, !two], "{what}");
    }
}

#[test]
fn an_untrained_network_scores_near_zero() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let dir = home.path();
    let synth = SynthConfig {
        size: [64, 96],
        train: 4,
        val: 12,
        folder_train: 0,
        folder_val: 0,
        ..SynthConfig::default()
    };
    generate(&dir.join("data"), &synth).expect("a data set");
    std::fs::write(dir.join("small.toml"), TWO_TASKS).expect("a configuration");
    let arguments =
        "train small.toml --genotype random --run run --quiet -s finetune.iters=0 -s eval.limit=0";
    mtnas(dir, &arguments.split_whitespace().collect::<Vec<_>>());
    let text = mtnas(dir, &["eval", "run", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let map = found["detection"]["protocols"]["voc10"]["mean"]
        .as_f64()
        .expect("mAP");
    let miou = &found["segmentation"]["miou"]["present-in-ground-truth"];
    let miou = miou.as_f64().expect("mIoU");
    assert!(
        map <= 0.02 && miou <= 0.10,
        "mAP {map:.3}, mIoU {miou:.3} without training"
    );
}

/// Records, architecture parameters and checkpoints of two runs are the same.
fn same_bits(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|run| {
        let mut files = vec![];
        for name in ["metrics.jsonl", "alpha.jsonl", "events.jsonl"] {
            files.push(run.join(name));
        }
        let mut folders = vec![run.join("stages")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "safetensors") {
                    files.push(path);
                }
            }
        }
        let read = |p: std::path::PathBuf| {
            let bytes = std::fs::read(&p).expect("a file of the run");
            (p.strip_prefix(run).expect("inside").to_path_buf(), bytes)
        };
        files
            .into_iter()
            .map(read)
            .collect::<std::collections::BTreeMap<_, _>>()
    });
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    assert!(a.len() > 3, "there are checkpoints");
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{} differs", name.display());
    }
}

/// First record of this kind of a stage: its loss.
fn loss(run: &Path, kind: &str) -> f64 {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("records");
    let records = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"));
    let mut of_kind = records.filter(|r| r["kind"] == kind);
    let first = of_kind.next().expect("a record of this kind");
    first["loss"].as_f64().expect("a loss")
}

/// Two steps of every stage with the kernels of the GPU, each access checked.
#[test]
fn every_stage_runs_on_the_emulated_device() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let dir = home.path();
    let synth = SynthConfig {
        size: [64, 96],
        train: 4,
        val: 2,
        folder_train: 4,
        folder_val: 2,
        folder_size: 32,
        ..SynthConfig::default()
    };
    generate(&dir.join("data"), &synth).expect("a data set");
    let config = TWO_TASKS.replace("size = [64, 96]", "size = [64, 64]");
    std::fs::write(dir.join("small.toml"), config).expect("a configuration");
    let settings = "-s search.iters.branch=2 -s search.iters.presearch=2 -s search.iters.backbone=2 \
        -s search.batch=1 -s search.presearch.batch=2 -s finetune.iters=2 -s finetune.batch=1 -s eval.limit=1 \
        -s eval.batch=1 -s eval.gap=false --quiet";
    for device in ["emulated", "cpu"] {
        let line = format!("search small.toml --run {device} --device {device} {settings}");
        mtnas(dir, &line.split_whitespace().collect::<Vec<_>>());
    }
    for kind in ["train", "arch"] {
        let [got, want] = ["emulated", "cpu"].map(|run| loss(&dir.join(run), kind));
        let off = (got - want).abs() / want.abs();
        assert!(off <= 1e-5, "{kind}: {got} on the device, {want} without");
    }
}

/// The smallest search with everything that a recorded step has to see to: drop path, checkpoints and records between which nobody waits.
const SMALLEST: &str = r#"
version = 1
[input]
size = [16, 16]
[tasks.cls]
kind = "classification"
data = "objects"
[data.objects]
format = "cifar10"
root = "data/cifar"
augment = ["pad-crop", "flip"]
[model]
frame = "classification"
channels = 8
cells = 1
nodes = 1
reductions = []
drop_path = 0.3
[search]
method = "pc-darts"
batch = 1
iters = { backbone = 7 }
[finetune]
iters = 5
batch = 1
[eval]
limit = 1
batch = 1
gap = false
[log]
every = 3
images = 0
[checkpoint]
every = 2
"#;

/// On a device a run whose steps are replayed ends in the bits of one whose steps are launched, of one that was killed and resumed, and of
/// those that get their pictures in other ways.
#[test]
fn runs_on_the_emulated_device_end_in_the_same_bits() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let dir = home.path();
    let synth = SynthConfig {
        folder_train: 4,
        folder_val: 2,
        folder_size: 32,
        train: 1,
        val: 1,
        cifar: true,
        ..SynthConfig::default()
    };
    generate(&dir.join("data"), &synth).expect("a data set");
    std::fs::write(dir.join("small.toml"), SMALLEST).expect("a configuration");
    let search = |run: &str, setting: &str| {
        let line = format!("search small.toml --run {run} --device emulated --quiet -s {setting}");
        let words = line.split_whitespace().map(String::from);
        words.collect::<Vec<_>>()
    };
    // Pictures stay on the device; all of them go up with every batch; readers make the images.
    let others = [
        ("launched", "run.graphs=off"),
        ("sent", "loader.resident=0.0"),
        ("read", "loader.input_on=host"),
    ];
    for (run, setting) in [("whole", "run.graphs=auto")].iter().chain(&others) {
        let words = search(run, setting);
        mtnas(dir, &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for (other, _) in others {
        same_bits(&dir.join("whole"), &dir.join(other));
    }
    let mut c = Command::new(env!("CARGO_BIN_EXE_mtnas"));
    let mut child = c
        .current_dir(dir)
        .args(search("killed", "run.graphs=auto"))
        .spawn()
        .expect("the binary runs");
    // In the middle of the search, after steps that were replayed and a checkpoint of them.
    let saved = dir.join("killed/stages/1-search/checkpoints");
    let count = || std::fs::read_dir(&saved).map_or(0, |all| all.count());
    while count() < 6 && child.try_wait().expect("a process").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().expect("killed before its end");
    child.wait().expect("a process");
    assert!(!dir.join("killed/report.html").exists(), "killed too late");
    mtnas(dir, &["resume", "killed", "--quiet"]);
    same_bits(&dir.join("whole"), &dir.join("killed"));
}
