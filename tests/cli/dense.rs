//! Data sets with a target for every pixel, from the command line.

use std::path::Path;

use super::arch::json;
use super::{err, mtnas, out};

const SETS: &str = "tests/data/dense";

#[test]
fn published_forms_are_checked_counted_and_shown() {
    let o = mtnas(&["data", "check", SETS]);
    assert_eq!(o.status.code(), Some(0), "{}", out(&o));
    assert!(
        out(&o).contains("19 pictures in") && out(&o).contains(": 0 defects"),
        "{}",
        out(&o)
    );
    let o = mtnas(&["data", "stats", "tests/data/dense/nyuv2-json"]);
    assert!(
        out(&o).contains("depth            known in 95.8 % of pixels  0.5 to 4.5"),
        "{}",
        out(&o)
    );
    let dir = tempfile::tempdir().unwrap();
    let sheet = dir.path().join("sheet.png");
    let o = mtnas(&[
        "data",
        "preview",
        "tests/data/dense/taskonomy",
        "-o",
        sheet.to_str().unwrap(),
    ]);
    assert!(o.status.success() && sheet.is_file(), "{}", out(&o));
}

/// A configuration with a task for each (kind, format, name of the training split), each over a set of its one target.
fn config(home: &Path, tasks: &[(&str, &str, &str)], rest: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(SETS);
    let mut text = format!("version = 1\n[input]\nsize = [32, 64]\n[log]\nimages = 1\n{rest}");
    for (kind, format, val) in tasks {
        let task = if *kind == "segmentation" { "seg" } else { kind };
        let folder = root.join(format);
        text += &format!(
            "[data.{kind}-set]\nformat = \"{format}\"\nroot = \"{}\"\nval = \"{val}\"\ntargets = [\"{kind}\"]\naugment = [\"flip\", \"zoom-crop\"]\n\
             [tasks.{task}]\nkind = \"{kind}\"\ndata = \"{kind}-set\"\n",
            folder.display()
        );
    }
    let path = home.join("tiny.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// Classes, depth and normals of NYUv2 under one hand-made network: trained, judged, held against single tasks, asked.
#[test]
fn depth_and_normals_are_learned_beside_classes() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_string();
    let tasks = ["segmentation", "depth", "normals"].map(|k| (k, "nyuv2-npy", "val"));
    let rest = "[model]\nframe = \"mtl-resnet18\"\n[finetune]\niters = 1\nbatch = 2\nalternate = \"accumulate\"\n";
    let config = config(home.path(), &tasks, rest);
    let run = at("run");
    let o = mtnas(&["train", &config, "--run", &run, "--threads", "1"]);
    assert!(o.status.success(), "{}", err(&o));
    let said = out(&o);
    assert!(
        said.contains("depth  (1 images)") && said.contains("mean angle (true space)"),
        "{said}"
    );
    let eval = json(&mtnas(&["eval", &run, "--json", "--threads", "1"]));
    let figure = |task: &str, i: usize| eval["values"][task]["figures"][i].clone();
    assert_eq!(figure("depth", 0)["name"], "abs (pixels)");
    assert_eq!(figure("depth", 0)["higher"], false);
    assert_eq!(figure("normals", 1)["name"], "median angle (true space)");
    assert_eq!(eval["segmentation"]["images"], 1);
    // A baseline whose every figure is known: depth half as good, the others the same.
    let base = home.path().join("base/final");
    std::fs::create_dir_all(&base).unwrap();
    let mut single = eval.clone();
    for (task, factor) in [("depth", 2.0), ("normals", 1.0)] {
        for f in single["values"][task]["figures"].as_array_mut().unwrap() {
            let own = if f["higher"] == true {
                1.0 / factor
            } else {
                factor
            };
            f["value"] = (f["value"].as_f64().unwrap() * own).into();
        }
    }
    std::fs::write(base.join("metrics.json"), single.to_string()).unwrap();
    let base = at("base");
    let line = ["eval", &run, "--baseline", &base, "--threads", "1"];
    let o = mtnas(&line);
    let of = |task: &str| eval["values"][task]["figures"].as_array().unwrap();
    let mut figures = of("depth").iter().chain(of("normals"));
    let none = |f: &serde_json::Value| f["compared"] == true && f["value"] == 0.0;
    if figures.any(none) {
        let said = err(&o);
        assert!(said.contains("has no value to compare with"), "{said}");
    } else {
        // abs and rel halved: +50 % each; three shares doubled: +100 % each.
        let said = out(&o);
        assert!(
            said.contains("depth +80.00 %") && said.contains("delta_m"),
            "{said}"
        );
    }
    let page = std::fs::read_to_string(Path::new(&run).join("report.html")).unwrap();
    assert!(page.contains("Values of pixels") && page.contains("within 1.25^2"));
    let picture = "tests/data/dense/nyuv2-json/image/0.png";
    let line = ["predict", &run, picture, "-o", &at("said"), "--format"];
    let o = mtnas(&[&line[..], &["overlay,npy", "--threads", "1"]].concat());
    assert!(o.status.success(), "{}", err(&o));
    let values = home.path().join("said/values");
    let depth = std::fs::read(values.join("0-depth.npy")).unwrap();
    assert!(depth.starts_with(b"\x93NUMPY") && depth.len() % 64 == 4 * 24 % 64);
    let header = String::from_utf8_lossy(&depth[10..128]).into_owned();
    assert!(header.contains("'shape': (1, 4, 6)"), "{header}");
    assert!(values.join("0-normals.png").is_file() && values.join("0-normals.npy").is_file());
    assert!(home.path().join("said/0.png").is_file());
}

/// Cells are searched under depth, keypoints and edges of Taskonomy.
#[test]
fn cells_are_searched_for_tasks_of_values() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_string();
    let tasks = ["depth", "keypoints", "edges"].map(|k| (k, "taskonomy", "test"));
    let rest = "[model]\nframe = \"mtnas-release\"\nchannels = 16\ncells = 4\nreductions = [1, 2, 3]\nnodes = 2\nbranches = \"hand-crafted\"\n\
        [search]\nmethod = \"pc-darts\"\nbatch = 1\niters = { backbone = 3 }\n[finetune]\niters = 1\nbatch = 1\n";
    let config = config(home.path(), &tasks, rest);
    let run = at("run");
    let o = mtnas(&["search", &config, "--run", &run, "--threads", "1"]);
    assert!(o.status.success(), "{}", err(&o));
    let metrics = std::fs::read_to_string(Path::new(&run).join("metrics.jsonl")).unwrap();
    for task in ["depth", "keypoints", "edges"] {
        assert!(metrics.contains(&format!("\"task\":\"{task}\"")), "{task}");
        assert!(
            out(&o).contains(&format!("{task}  (1 images)")),
            "{}",
            out(&o)
        );
    }
    let cost = json(&mtnas(&["arch", "cost", &run, "--json"]));
    assert!(cost["params"].as_u64() > Some(0));
}
