//! `mtnas data`: conversions, statistics and previews as a user meets them.

use super::arch::json;
use super::{err, mtnas, out};

#[test]
fn a_made_up_set_is_checked_counted_shown_and_converted() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let scenes = at("scenes");
    let line = ["data", "synth", &scenes, "--train", "6", "--val", "2"];
    assert!(mtnas(&line).status.success());
    let (kitti, streets) = (at("scenes/kitti"), at("scenes/cityscapes"));
    let good = |line: &[&str]| {
        let o = mtnas(line);
        assert!(o.status.success(), "{line:?}: {}", err(&o));
        out(&o)
    };

    let v = json(&mtnas(&["data", "stats", &scenes, "--json"]));
    let sets = v.as_array().unwrap();
    let named = |name: &str| sets.iter().find(|s| s["name"] == name).unwrap();
    let car = &named("kitti/train")["classes"][0];
    let share = &named("cityscapes/train")["classes"][0]["share"];
    assert_eq!(car["name"], "car");
    let areas: Vec<u64> = serde_json::from_value(car["areas"].clone()).unwrap();
    assert_eq!(Some(areas.iter().sum()), car["count"].as_u64());
    assert!(share.as_f64().unwrap() > 0.05, "road: {share}");
    let text = good(&["data", "stats", &kitti]);
    assert!(text.contains("widths") && text.contains("small"), "{text}");

    let page = at("sheet.html");
    good(&["data", "preview", &kitti, "-o", &page, "--count", "3"]);
    let text = std::fs::read_to_string(&page).unwrap();
    assert_eq!(text.matches("<figure>").count(), 3);
    assert!(text.contains("3 of 6 samples") && text.contains("cyclist"));
    good(&["data", "preview", &streets, "-o", &page]);
    assert!(
        std::fs::read_to_string(&page)
            .unwrap()
            .contains("vegetation")
    );

    let coco = at("coco");
    let line = ["data", "convert", &kitti, &coco, "--to", "coco"];
    let text = good(&[&line[..], &["--images", "link"]].concat());
    assert!(text.contains("8 pictures"), "{text}");
    assert!(
        home.path()
            .join("coco/annotations/instances_val.json")
            .is_file()
    );
    // Not twice, and never into the data set.
    let again = mtnas(&line);
    assert_eq!(again.status.code(), Some(73), "{}", err(&again));
    let inside = at("scenes/kitti/voc");
    let o = mtnas(&["data", "convert", &kitti, &inside, "--to", "voc"]);
    assert!(o.status.code() == Some(73) && err(&o).contains("outside the data set"));
    // Of several sets the target's kind chooses; two of one kind must be told apart.
    let text = good(&["data", "convert", &scenes, &at("voc"), "--to", "voc"]);
    assert!(text.contains("8 pictures"), "{text}");
    let two = home.path().join("two");
    std::fs::create_dir(&two).unwrap();
    for (name, set) in [("a", &kitti), ("b", &coco)] {
        std::os::unix::fs::symlink(set, two.join(name)).unwrap();
    }
    let o = mtnas(&["data", "convert", &at("two"), &at("x"), "--to", "voc"]);
    assert!(
        o.status.code() == Some(2) && err(&o).contains("one of them"),
        "{}",
        err(&o)
    );

    let same = at("same");
    good(&["data", "convert", &kitti, &same, "--to", "kitti"]);
    // As many defects as before: a class that so few scenes do not show.
    let defects = |dir: &str| {
        let text = out(&mtnas(&["data", "check", dir, "--json"]));
        let v: serde_json::Value = serde_json::from_str(&text).unwrap();
        v["defects"].as_array().unwrap().len()
    };
    assert_eq!(defects(&same), defects(&kitti));
    let ids = at("ids");
    let line = ["data", "convert", &streets, &ids, "--to", "train-ids"];
    let v = json(&mtnas(&[&line[..], &["--json"]].concat()));
    assert_eq!((&v["pictures"], &v["labels"]), (&8.into(), &8.into()));
}

/// Made-up scenes twice, and a configuration with a mixed set of both; its folder.
fn mixed() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, seed) in [("a", "1"), ("b", "2")] {
        let dir = home.path().join(name).display().to_string();
        let few = ["--size", "48x64", "--train", "6", "--val", "2"];
        let line = [&["data", "synth", &dir, "--seed", seed][..], &few].concat();
        assert!(mtnas(&line).status.success());
    }
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/demo.toml");
    let here = home.path().display();
    let text = std::fs::read_to_string(demo).unwrap();
    let text = text.replace("demo/data", &format!("{here}/a"));
    let more = format!(
        "[data.more]\nformat = \"kitti\"\nroot = \"{here}/b/kitti\"\n\
         [data.boxes]\nformat = \"mixed\"\nroot = \"{here}/lists\"\nclasses = [\"vehicle\", \"walker\"]\n\
         merge = {{ car = \"vehicle\", pedestrian = \"walker\", cyclist = \"walker\" }}\n\
         [data.boxes.mixed]\nsources = [\"kitti\", \"more\"]\ntake = {{ kitti = 3 }}\nheld_out = 1\n"
    );
    std::fs::write(home.path().join("c.toml"), text + &more).unwrap();
    home
}

/// What `data check --json` prints, whatever it finds.
fn report(line: &[&str]) -> serde_json::Value {
    let o = mtnas(&[&["data", "check", "--json"], line].concat());
    serde_json::from_str(&out(&o)).unwrap_or_else(|e| panic!("{e}: {}", err(&o)))
}

#[test]
fn a_mixed_set_of_a_configuration_is_checked_and_counted() {
    let home = mixed();
    let at = |name: &str| home.path().join(name).display().to_string();
    let config = at("c.toml");
    // Sources are read as parts of the mixed set, once.
    let v = report(&[&config]);
    let mut want = ["a/cityscapes", "a/folder", "a/kitti", "b/kitti"].map(at);
    let mut sets: Vec<String> = serde_json::from_value(v["sets"].clone()).unwrap();
    want.sort();
    sets.sort();
    assert_eq!(sets, want);
    let v = report(&[&config, "--only", "boxes"]);
    assert_eq!(v["images"], 16);
    let v = report(&[&config, "--only", "boxes,kitti"]);
    assert_eq!(v["images"], 16);
    let v = report(&[&config, "--only", "kitti"]);
    assert_eq!(v["images"], 8);
    std::fs::create_dir(at("lists")).unwrap();
    std::fs::write(at("lists/val.txt"), "kitti/000000\nmore/none\n").unwrap();
    let o = mtnas(&["data", "check", &config, "--only", "boxes"]);
    assert_eq!(o.status.code(), Some(1), "{}", err(&o));
    let line = "lists/val.txt:2: no source has the sample \"more/none\"";
    assert!(out(&o).contains(line), "{}", out(&o));
    std::fs::remove_dir_all(at("lists")).unwrap();

    let counted = |more: &[&str]| {
        json(&mtnas(
            &[&["data", "stats", &config, "--json"], more].concat(),
        ))
    };
    let boxes = ["--only", "boxes"];
    let v = counted(&boxes);
    assert_eq!(v.as_array().unwrap().len(), 1);
    assert_eq!(v[0]["name"], "boxes (mixed/train)");
    assert_eq!(v[0]["samples"], 3 + 6 - 1);
    let names: Vec<_> = v[0]["classes"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2);
    assert_eq!(
        (&names[0]["name"], &names[1]["name"]),
        (&"vehicle".into(), &"walker".into())
    );
    for (split, samples) in [("val", 4), ("held-out", 1)] {
        let v = counted(&[&boxes[..], &["--split", split]].concat());
        assert_eq!(v[0]["samples"], samples, "{split}");
    }
    let v = counted(&["--only", "boxes", "-s", "data.boxes.mixed.take.kitti=2"]);
    assert_eq!(v[0]["samples"], 2 + 6 - 1);
    let v = counted(&[]);
    let all: Vec<&str> = v
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all[2].starts_with("kitti (kitti/train"), "{all:?}");
}

#[test]
fn a_mixed_set_of_a_configuration_is_shown_and_converted() {
    let home = mixed();
    let at = |name: &str| home.path().join(name).display().to_string();
    let config = at("c.toml");
    let page = at("sheet.html");
    let o = mtnas(&[
        "data",
        "preview",
        &config,
        "--only",
        "kitti,boxes",
        "-o",
        &page,
        "--count",
        "3",
    ]);
    assert!(o.status.success(), "{}", err(&o));
    let text = std::fs::read_to_string(at("sheet-boxes.html")).unwrap();
    assert!(text.contains("3 of 8 samples") && text.contains("walker"));
    assert!(text.contains("boxes (mixed/train)"));
    let text = std::fs::read_to_string(at("sheet-kitti.html")).unwrap();
    assert!(text.contains("3 of 6 samples") && text.contains("pedestrian"));
    let o = mtnas(&[
        "data", "preview", &config, "--only", "boxes", "-o", &page, "--split", "val",
    ]);
    assert!(o.status.success(), "{}", err(&o));
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.contains("4 of 4 samples"));

    let convert = |to: &str, form: &str, more: &[&str]| {
        let to = at(to);
        mtnas(&[&["data", "convert", &config, &to, "--to", form][..], more].concat())
    };
    let o = convert("coco", "coco", &[]);
    assert_eq!(o.status.code(), Some(2), "{}", err(&o));
    assert!(
        err(&o).contains("--only: boxes, kitti, more"),
        "{}",
        err(&o)
    );
    let o = convert("coco", "coco", &["--only", "boxes"]);
    assert!(o.status.success(), "{}", err(&o));
    assert!(out(&o).contains("12 pictures"), "{}", out(&o));
    let text = std::fs::read_to_string(at("coco/annotations/instances_train.json")).unwrap();
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(v["images"].as_array().unwrap().len(), 8);
    let classes = v["categories"].as_array().unwrap().iter();
    assert!(classes.map(|c| &c["name"]).eq(["vehicle", "walker"].iter()));
    // One set has label maps.
    let o = convert("ids", "train-ids", &[]);
    assert!(o.status.success(), "{}", err(&o));
    // A folder of a source is a folder of the set.
    let o = convert("b/kitti/coco", "coco", &["--only", "boxes"]);
    assert!(
        o.status.code() == Some(73) && err(&o).contains("outside the data set"),
        "{}",
        err(&o)
    );
    let o = mtnas(&["data", "preview", &config, "-o", &at("b/kitti/sheet.png")]);
    assert_eq!(o.status.code(), Some(73), "{}", err(&o));
    assert!(!home.path().join("b/kitti/coco").exists());
    assert!(!home.path().join("b/kitti/sheet-more.png").exists());
}

#[test]
fn wrong_names_are_told_with_the_right_ones() {
    let home = mixed();
    let at = |name: &str| home.path().join(name).display().to_string();
    let (config, sheet) = (at("c.toml"), at("sheet.png"));
    for (command, more) in [
        ("check", &[][..]),
        ("stats", &[]),
        ("preview", &["-o", &sheet]),
        ("convert", &[&sheet, "--to", "coco"]),
    ] {
        let refused = |target: &str, only: &str| {
            let o = mtnas(&[&["data", command, target], more, &["--only", only]].concat());
            assert_eq!(o.status.code(), Some(2), "{command}: {}", err(&o));
            err(&o)
        };
        let e = refused(&config, "boxs");
        assert!(
            e.contains("\"boxs\"") && e.contains("did you mean \"boxes\""),
            "{e}"
        );
        let e = refused(&config, "kitti,zzz");
        assert!(e.contains("boxes, cityscapes, kitti, more, objects"), "{e}");
        let e = refused(&at("a/kitti"), "kitti");
        assert!(e.contains("of a configuration"), "{e}");
        let o = mtnas(&[&["data", command, &at("d.toml")], more].concat());
        assert!(
            o.status.code() == Some(66) && err(&o).contains("d.toml"),
            "{}",
            err(&o)
        );
    }
    assert!(!home.path().join("sheet.png").exists());
}

/// `preview` writes into the working folder unless it is told otherwise, which may be a data set.
#[test]
fn a_sheet_is_never_drawn_into_a_data_set() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let scenes = at("scenes").display().to_string();
    let few = ["--size", "48x64", "--train", "2", "--val", "1"];
    assert!(
        mtnas(&[&["data", "synth", &scenes][..], &few].concat())
            .status
            .success()
    );
    let names = |dir: &str| {
        let entries = std::fs::read_dir(at(dir)).unwrap();
        let mut all: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        all.sort();
        all
    };
    let before = names("scenes/kitti");
    let preview = |folder: &str, set: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_mtnas"))
            .args(["data", "preview", set])
            .current_dir(at(folder))
            .output()
            .unwrap()
    };
    for (folder, set) in [
        ("scenes/kitti", "."),
        ("scenes/kitti/training", ".."),
        ("scenes/kitti", "../../scenes"),
    ] {
        let o = preview(folder, set);
        assert_eq!(o.status.code(), Some(73), "{}", err(&o));
        assert!(err(&o).contains("outside the data set"), "{}", err(&o));
    }
    assert_eq!(names("scenes/kitti"), before);
    assert_eq!(names("scenes/kitti/training").len(), 2);
    // Beside it is right.
    let o = preview("scenes", "kitti");
    assert!(o.status.success(), "{}", err(&o));
    assert!(at("scenes/preview.png").is_file());
}
