//! What `mtnas plan` says of memory against what a run takes; where branches are searched with the backbone, so that all cells are known
//! before.

use std::collections::BTreeMap;
use std::path::Path;

use mtnas::data::synth::{SynthConfig, generate};
use serde_json::Value;

use super::{err, mtnas, out};

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
nodes = 2
[search]
batch = 4
memory = "balanced"
iters = { presearch = 2, backbone = 4 }
warmup_fraction = 0.0
[search.presearch]
data = "objects"
size = [32, 32]
batch = 6
warmup_fraction = 0.0
[search.ablation]
co_search = true
[finetune]
iters = 2
batch = 3
[eval]
limit = 2
[log]
every = 1
images = 0
"#;

/// The most bytes by stage that `timing.jsonl` tells.
fn measured(run: &Path) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(run.join("timing.jsonl")).unwrap();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let most: &mut f64 = all
            .entry(line["stage"].as_str().unwrap().into())
            .or_default();
        *most = most.max(line["memory"].as_f64().unwrap_or(0.0));
    }
    all
}

#[test]
fn a_plan_is_near_what_a_run_takes() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let synth = SynthConfig {
        size: [64, 96],
        train: 16,
        val: 4,
        folder_train: 12,
        folder_val: 2,
        folder_size: 32,
        ..SynthConfig::default()
    };
    generate(&data, &synth).unwrap();
    let (file, run) = (home.path().join("small.toml"), home.path().join("run"));
    std::fs::write(&file, CONFIG.replace("DATA", &data.display().to_string())).unwrap();
    let file = file.display().to_string();
    let cpu = ["--device", "cpu", "--threads", "1", "--quiet"];
    let search = ["search", &file, "--run", &run.display().to_string()];
    let o = mtnas(&[&search[..], &cpu[..]].concat());
    assert!(o.status.success(), "{}", err(&o));
    let measured = measured(&run);
    let o = mtnas(&[&["plan", &file, "--json"][..], &cpu[..]].concat());
    assert!(o.status.success(), "{}", err(&o));
    let planned: Vec<Value> = serde_json::from_str(&out(&o)).unwrap();
    let mut stages = 0;
    for (stage, most) in measured
        .iter()
        .filter(|m| *m.1 > 0.0 && !m.0.starts_with("5"))
    {
        let of = planned.iter().filter(|f| f["stage"] == stage.as_str());
        let plan = of
            .map(|f| f["memory"].as_f64().unwrap())
            .fold(0.0, f64::max);
        let off = plan / most - 1.0;
        assert!(
            off.abs() < 0.05,
            "{stage}: {plan} planned, {most} measured, {off:+.3}"
        );
        stages += 1;
    }
    assert_eq!(stages, 2, "{measured:?}");
    for f in planned.iter().filter(|f| f["stage"] != "5-finetune") {
        let of = |i: usize| f["memories"][i]["bytes"].as_u64().unwrap();
        assert_eq!(f["memories"][1]["memory"], "balanced");
        assert_eq!(of(1), f["memory"].as_u64().unwrap());
        assert!(of(0) > of(1) && of(1) > of(2), "{f}");
    }
}
