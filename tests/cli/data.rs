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
