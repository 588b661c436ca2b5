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
    let config = demo(dir.path());
    let v = json(&mtnas(&[
        "bench",
        "loader",
        &config,
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

/// Made-up scenes and the demo's configuration over them.
fn demo(dir: &std::path::Path) -> String {
    let scenes = dir.join("scenes").to_str().unwrap().to_string();
    let few = ["--train", "4", "--val", "2"];
    mtnas(&[&["data", "synth", &scenes][..], &few].concat());
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/demo.toml");
    let text = std::fs::read_to_string(demo).unwrap();
    let config = dir.join("c.toml");
    std::fs::write(&config, text.replace("demo/data", &scenes)).unwrap();
    config.to_str().unwrap().into()
}

#[test]
fn without_a_step_one_of_100_ms_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let config = demo(dir.path());
    let o = mtnas(&["bench", "loader", &config, "--seconds", "0", "--batch", "2"]);
    assert!(
        out(&o).contains("a step of 100 ms waits"),
        "{}{}",
        out(&o),
        err(&o)
    );
}

#[test]
fn unreadable_samples_are_left_out_if_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = demo(dir.path());
    let images = dir.path().join("scenes/kitti/training/image_2");
    // Some of them are of the held-out split, the others of the training split.
    let mut all: Vec<_> = std::fs::read_dir(&images)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    all.sort();
    std::fs::write(&all[0], "no picture").unwrap();
    let short = [
        "bench",
        "loader",
        &config,
        "--seconds",
        "0",
        "--batch",
        "2",
        "--step-ms",
        "0",
    ];
    let o = mtnas(&short);
    assert_eq!(o.status.code(), Some(65), "{}", err(&o));
    let skip = [
        "-s",
        "data.kitti.on_corrupt=skip",
        "-s",
        "data.kitti.max_corrupt=0.5",
    ];
    let o = mtnas(&[&short[..], &skip, &["--json"]].concat());
    let v = json(&o);
    let sets = v["sets"].as_array().unwrap();
    let kitti = sets.iter().find(|s| s["name"] == "kitti").unwrap();
    let stages = kitti["measured"][0]["stages"].as_object().unwrap();
    assert!(
        stages.contains_key("decode") && stages.contains_key("load"),
        "{kitti}"
    );
    // All of them: an error, and no endless search for one.
    all.iter()
        .for_each(|p| std::fs::write(p, "no picture").unwrap());
    let o = mtnas(&[&short[..], &skip].concat());
    assert_eq!(o.status.code(), Some(65), "{}", err(&o));
}

/// A search that waits for another program's packing: a signal stops it, and says how to go on.
#[cfg(unix)]
#[test]
fn a_signal_stops_a_search_that_packs() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let config = demo(dir.path());
    let packs = dir.path().join("packs");
    let packed = format!("data.kitti.packed={}", packs.to_str().unwrap());
    let run = dir.path().join("run");
    let bench = [
        "bench",
        "loader",
        &config,
        "--seconds",
        "0",
        "--batch",
        "2",
        "--step-ms",
        "0",
    ];
    let o = mtnas(&[&bench[..], &["-s", &packed]].concat());
    let pack = std::fs::read_dir(&packs).unwrap().next();
    let pack = pack
        .unwrap_or_else(|| panic!("{}", err(&o)))
        .unwrap()
        .path();
    std::fs::remove_file(&pack).unwrap();
    let other = std::fs::File::create(pack.with_extension("pack.part")).unwrap();
    other.lock().unwrap();
    let mut search = Command::new(env!("CARGO_BIN_EXE_mtnas"))
        .args(["search", &config, "-s", &packed, "--run"])
        .arg(&run)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(search.stderr.take().unwrap()).lines();
    let mut said: Vec<String> = vec![];
    let waits = lines.by_ref().map(Result::unwrap).any(|line| {
        said.push(line);
        said.last().unwrap().contains("waiting for the program")
    });
    assert!(waits, "{said:?}");
    let id = search.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    said.extend(lines.map(Result::unwrap));
    assert_eq!(search.wait().unwrap().code(), Some(75), "{said:?}");
    assert!(said.iter().any(|l| l.contains("mtnas resume")), "{said:?}");
    let record = std::fs::read_to_string(run.join("run.json")).unwrap();
    assert!(record.contains("\"interrupted\""), "{record}");
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
