//! Damaged files of a run, and those that a configuration names.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::checkpoint::{Checkpoint, Store};
use super::config::Config;
use super::given::{drawn, given};
use super::model_file::{self, read_store};
use super::networks::{Parts, network_genotype};
use super::pipeline::Benches;
use super::run_dir::RunDir;
use super::stage_record::read_stage;
use crate::data::synth::{SynthConfig, generate};
use crate::error::Result;
use crate::export::safetensors::{self, TensorFile};
use crate::model::{Cells, Network};
use crate::mutation::{CASES, MANY, Target, run_all};
use crate::report::records::{RunRecord, StageRecord, to_file};
use crate::space::published;
use crate::tensor::Tensor;

const CONFIG: &str = r#"
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
root = "DATA/kitti"
[data.cityscapes]
format = "cityscapes"
root = "DATA/cityscapes"
[data.objects]
format = "image-folder"
root = "DATA/folder"
[model]
frame = "mtnas-release"
channels = 16
cells = 4
reductions = [1, 2, 3]
det_levels = 4
nodes = 1
[search.presearch]
data = "objects"
size = [32, 32]
"#;

const fn target(name: &'static str, file: &'static str, read: fn(&Path) -> Result<()>) -> Target {
    Target {
        name,
        file,
        mend: None,
        read,
    }
}

fn configuration(path: &Path) -> Result<()> {
    let c = Config::load(path, &[])?;
    assert_eq!(Config::from_toml(&c.to_toml(), "again").unwrap(), c);
    Ok(())
}

fn genotype_of(root: &Path, part: &str) -> Result<()> {
    let mut c = Config::default();
    let g = &mut c.search.genotypes;
    let path = root.join("genotype.txt").to_string_lossy().into_owned();
    (g.backbone, g.det, g.seg) = (path.clone(), path.clone(), path);
    given(&c, part).map(drop)
}

/// Loaded by its step, and as the only one that a resumed run could take.
fn checkpoint(root: &Path) -> Result<()> {
    let store = Store::new(root.join("checkpoints"), 3);
    let latest = store.load_latest().map(drop);
    assert_eq!(store.load(2).is_ok(), latest.is_ok());
    latest
}

/// Signs a manifest anew, so that damage gets past its checksum.
fn sign(bytes: &mut Vec<u8>) {
    if let Some(end) = bytes.iter().position(|&b| b == b'\n') {
        bytes.truncate(end + 1);
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum.iter().flat_map(|b| format!("{b:02x}").into_bytes()));
        bytes.push(b'\n');
    }
}

fn resumed(root: &Path) -> Result<()> {
    let run = root.join("run");
    RunDir::config_of(&run)?;
    RunDir::resume(&run, &[]).map(drop)
}

fn model(root: &Path) -> Result<()> {
    let run = root.join("run");
    model_file::open(&run, RunDir::config_of(&run)?).map(drop)
}

const CONFIGS: [Target; 3] = [
    target("demo.toml", "demo.toml", |r| {
        configuration(&r.join("demo.toml"))
    }),
    target("mtnas-paper.toml", "mtnas-paper.toml", |r| {
        configuration(&r.join("mtnas-paper.toml"))
    }),
    target("cifar-pc-darts.toml", "cifar-pc-darts.toml", |r| {
        configuration(&r.join("cifar-pc-darts.toml"))
    }),
];

fn configs(root: &Path) {
    for (name, text) in [
        ("demo", include_str!("../../configs/demo.toml")),
        (
            "mtnas-paper",
            include_str!("../../configs/mtnas-paper.toml"),
        ),
        (
            "cifar-pc-darts",
            include_str!("../../configs/cifar-pc-darts.toml"),
        ),
    ] {
        std::fs::write(root.join(format!("{name}.toml")), text).unwrap();
    }
}

const FILES: [Target; 6] = [
    target("given backbone", "genotype.txt", |r| {
        genotype_of(r, "backbone")
    }),
    target("given branch", "genotype.txt", |r| genotype_of(r, "seg")),
    target("stage record", "stage.json", |r| {
        read_stage(&r.join("stage.json")).map(drop)
    }),
    target("checkpoint", "checkpoints/000000002-", checkpoint),
    target("manifest", "checkpoints/000000002.json", checkpoint),
    Target {
        name: "signed manifest",
        file: "checkpoints/000000002.json",
        mend: Some(sign),
        read: checkpoint,
    },
];

fn files(root: &Path) {
    let write = |name: &str, text: String| std::fs::write(root.join(name), text).unwrap();
    write("genotype.txt", published::mtnas().to_string());
    let text = |name: &str| published::by_name(name).unwrap().to_string();
    let record = StageRecord {
        stage: "4-backbone".into(),
        steps: 40,
        planned: 40,
        stopped: "budget".into(),
        genotypes: BTreeMap::from([
            ("backbone".into(), text("PDARTS")),
            ("det".into(), text("DARTS_V1")),
        ]),
    };
    write("stage.json", to_file(&record));
    let mut c = Checkpoint {
        state: json!({"stage": "1-branch-det", "lr": 0.1}),
        ..Default::default()
    };
    let numbers: Vec<f32> = (0..48).map(|i| i as f32 / 7.0).collect();
    let tensor = Tensor::from_f32([4, 3, 2, 2], numbers).unwrap();
    c.tensors.insert("w.stem".into(), tensor);
    let steps = Tensor::from_i32([1], vec![2]).unwrap();
    c.tensors.insert("count".into(), steps);
    Store::new(root.join("checkpoints"), 3).save(2, &c).unwrap();
}

/// Each of these opens a whole run.
const RUN: [Target; 5] = [
    target("run.toml", "run/run.toml", resumed),
    target("run.json", "run/run.json", resumed),
    target("final genotype", "run/final/genotype.txt", model),
    target("final weights", "run/final/model.safetensors", model),
    target("weights alone", "run/final/model.safetensors", |r| {
        read_store(&r.join("run/final/model.safetensors")).map(drop)
    }),
];

/// A run that is finished, with the values that its network began with.
fn run(root: &Path) {
    let data = SynthConfig {
        size: [48, 64],
        train: 1,
        val: 1,
        folder_train: 1,
        folder_val: 1,
        ..Default::default()
    };
    generate(&root.join("data"), &data).unwrap();
    let text = CONFIG.replace("DATA", &root.join("data").to_string_lossy());
    let config = Config::from_toml(&text, "config").unwrap();
    let record = RunRecord {
        instruction_set: "avx2".into(),
        ..Default::default()
    };
    drop(RunDir::create(root.join("run"), &config, record).unwrap());
    let cells = |part| Cells::Derived(drawn(&config, part));
    let parts = Parts {
        backbone: cells("backbone"),
        det: cells("det"),
        seg: cells("seg"),
    };
    let benches = Benches::open(&config).unwrap();
    let spec = benches.spec(&config, &parts).unwrap();
    let dtype = super::workbench::parameter_dtype(config.run.precision);
    let (_, store) = Network::build(&spec, 0, dtype).unwrap();
    let tensors = [&store.weights, &store.buffers]
        .into_iter()
        .flat_map(|set| set.iter())
        .map(|(_, name, t)| (name.to_string(), t.clone()))
        .collect();
    let dir = root.join("run/final");
    std::fs::create_dir(&dir).unwrap();
    let genotype = network_genotype(&parts).unwrap().to_string();
    std::fs::write(dir.join("genotype.txt"), genotype).unwrap();
    let file = TensorFile {
        tensors,
        metadata: BTreeMap::new(),
    };
    safetensors::write(dir.join("model.safetensors"), &file).unwrap();
    std::fs::write(dir.join("metrics.json"), "{}").unwrap();
}

#[test]
fn damaged_configurations_are_refused_by_name() {
    run_all(&CONFIGS, CASES, configs);
}

#[test]
fn damaged_genotypes_and_checkpoints_are_refused_by_name() {
    run_all(&FILES, CASES, files);
}

#[test]
fn damaged_runs_are_refused_by_name() {
    run_all(&RUN, CASES / 4, run);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_configurations() {
    run_all(&CONFIGS, MANY, configs);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_genotypes_and_checkpoints() {
    run_all(&FILES, MANY, files);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_runs() {
    run_all(&RUN, MANY, run);
}
