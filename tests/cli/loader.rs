//! `mtnas bench loader`: every stage of made-up scenes, from the files and from a packed cache.

use super::arch::json;
use super::{err, mtnas, out};

#[test]
fn every_stage_from_files_and_from_a_packed_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (scenes, packs) = (path("scenes"), path("packs"));
    let size = ["--size", "48x64", "--train", "6", "--val", "2"];
    mtnas(&[&["data", "synth", &scenes][..], &size].concat());
    let kitti = format!("{scenes}/kitti");
    let short = ["--seconds", "0.01", "--threads", "2", "--batch", "3"];
    let more = ["--input", "32x64", "--packed", &packs, "--step-ms", "0,5"];
    let all = [&["bench", "loader", &kitti][..], &short, &more].concat();

    let v = json(&mtnas(&[&all[..], &["--json"]].concat()));
    assert_eq!((&v["batch"], &v["threads"]), (&3.into(), &2.into()));
    let set = &v["sets"][0];
    assert_eq!(set["input"], serde_json::json!([32, 64]));
    let measured = set["measured"].as_array().unwrap();
    let from: Vec<_> = measured
        .iter()
        .map(|m| m["from"].as_str().unwrap())
        .collect();
    assert_eq!(from, ["files", "packed cache"]);
    for m in measured {
        let stages = m["stages"].as_object().unwrap();
        for name in ["load", "resize", "colours", "labels"] {
            let ms = &stages[name]["ms"];
            let [low, median, high] = ["p10", "median", "p90"].map(|k| ms[k].as_f64().unwrap());
            assert!(
                0.0 <= low && low <= median && median <= high,
                "{name}: {ms}"
            );
            assert!(ms["n"].as_u64().unwrap() >= 3);
        }
        // A packed sample is no picture file.
        assert_eq!(stages.contains_key("decode"), m["from"] == "files");
        assert!(m["one_thread"]["images_per_s"].as_f64().unwrap() > 0.0);
        assert!(m["loader"]["images_per_s"].as_f64().unwrap() > 0.0);
        let steps = m["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 2);
        for s in steps {
            assert!((0.0..=1.0).contains(&s["waits"].as_f64().unwrap()), "{s}");
        }
    }
    assert_eq!(std::fs::read_dir(&packs).unwrap().count(), 1);

    let o = mtnas(&all);
    let text = out(&o);
    for part in [
        "from the files",
        "from the packed",
        "one thread",
        "loader, 2",
        "waits",
    ] {
        assert!(text.contains(part), "{part}: {text}{}", err(&o));
    }
}

#[test]
fn every_data_set_of_a_configuration_with_its_targets() {
    let dir = tempfile::tempdir().unwrap();
    let scenes = dir.path().join("scenes").to_str().unwrap().to_string();
    let few = ["--train", "4", "--val", "2"];
    mtnas(&[&["data", "synth", &scenes][..], &few].concat());
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/demo.toml");
    let text = std::fs::read_to_string(demo).unwrap();
    let config = dir.path().join("c.toml");
    std::fs::write(&config, text.replace("demo/data", &scenes)).unwrap();
    let config = config.to_str().unwrap();
    let v = json(&mtnas(&[
        "bench",
        "loader",
        config,
        "--seconds",
        "0",
        "--batch",
        "2",
        "--json",
    ]));
    let sets = v["sets"].as_array().unwrap();
    let facts = |k: &str| sets.iter().map(|s| s[k].clone()).collect::<Vec<_>>();
    assert_eq!(facts("name"), ["cityscapes", "kitti", "objects"]);
    let sizes = [[96, 160], [96, 160], [32, 32]].map(|s| serde_json::json!(s));
    assert_eq!(facts("input"), sizes);
    for (set, targets) in sets.iter().zip([true, true, false]) {
        let stages = set["measured"][0]["stages"].as_object().unwrap();
        assert_eq!(stages.contains_key("targets"), targets, "{set}");
    }
}

#[test]
fn bad_arguments_are_usage_errors() {
    for bad in [
        &["--seconds", "-1"][..],
        &["--step-ms", "5,nan"],
        &["--batch", "0"],
    ] {
        let o = mtnas(&[&["bench", "loader", "tests"][..], bad].concat());
        assert_eq!(o.status.code(), Some(2), "{bad:?}: {}", err(&o));
    }
}
