//! Keys of data sets that would change nothing where they stand.

use super::*;

const MIXED: &str = include_str!("../../../../configs/mtnas-mixed.toml");
const NYU: &str = include_str!("../../../../configs/nyuv2-three-tasks.toml");

fn with(text: &str, changes: &[&str]) -> Result<Config, Error> {
    let changes: Vec<Override> = changes
        .iter()
        .map(|c| Override::parse(c).unwrap())
        .collect();
    Config::from_toml_with(text, "dir/a.toml", &changes)
}

/// The last of the changes is refused, by the name of its key and with a remedy; the others are not.
fn refused(text: &str, changes: &[&str], words: &str) {
    let (last, before) = changes.split_last().unwrap();
    with(text, before).unwrap_or_else(|e| panic!("{before:?}: {}", e.render()));
    let e = with(text, changes).expect_err(last);
    assert_eq!(e.code(), Code::ConfigValue, "{last}");
    let shown = e.render();
    let key = last.split('=').next().unwrap();
    assert!(
        shown.contains(&format!("`{key}`")) && shown.contains(words) && shown.contains("remove it"),
        "{last}: {shown}"
    );
}

fn taken(text: &str, changes: &[&str]) {
    with(text, changes).unwrap_or_else(|e| panic!("{changes:?}: {}", e.render()));
}

#[test]
fn encoded_normals_want_normals() {
    for set in ["nyu-classes", "nyu-depth"] {
        let change = format!("data.{set}.normal_space=encoded");
        refused(NYU, &[&change], "no normals");
    }
    refused(MIXED, &["data.bdd.normal_space=encoded"], "no normals");
    taken(NYU, &["data.nyu-normals.normal_space=encoded"]);
    // The default, and a set of all that its format has, which no task uses.
    taken(NYU, &["data.nyu-depth.normal_space=\"true\""]);
    let all = |format: &str| {
        let set = format!("data.all={{ format = \"{format}\", root = \"data/all\" }}");
        (set, "data.all.normal_space=encoded")
    };
    for format in ["nyuv2-lists", "nyuv2-json", "nyuv2-npy", "taskonomy"] {
        let (set, change) = all(format);
        taken(NYU, &[&set, change]);
    }
    for format in ["cityscapes-npy", "cityscapes", "kitti"] {
        let (set, change) = all(format);
        refused(NYU, &[&set, change], "no normals");
    }
}

#[test]
fn divided_depth_wants_depth() {
    refused(NYU, &["data.nyu-normals.divide_depth=true"], "no depth");
    refused(MIXED, &["data.cityscapes.divide_depth=true"], "no depth");
    taken(NYU, &["data.nyu-depth.divide_depth=true"]);
    taken(NYU, &["data.nyu-normals.divide_depth=false"]);
    let change = "data.all.divide_depth=true";
    for format in ["nyuv2-json", "nyuv2-npy", "cityscapes-npy", "taskonomy"] {
        let set = format!("data.all={{ format = \"{format}\", root = \"data/all\" }}");
        taken(NYU, &[&set, change]);
    }
    let set = "data.all={ format = \"nyuv2-lists\", root = \"data/all\" }";
    refused(NYU, &[set, change], "no depth");
}

#[test]
fn uncertain_pixels_are_those_of_taskonomy() {
    refused(
        NYU,
        &["data.nyu-classes.ignore_uncertain=true"],
        "uncertain",
    );
    taken(NYU, &["data.nyu-classes.ignore_uncertain=false"]);
    let change = "data.tasks.ignore_uncertain=true";
    for (targets, fits) in [
        ("[]", true),
        ("[\"segmentation\"]", true),
        ("[\"edges\"]", false),
    ] {
        let set = format!(
            "data.tasks={{ format = \"taskonomy\", root = \"data/t\", targets = {targets} }}"
        );
        match fits {
            true => taken(NYU, &[&set, change]),
            false => refused(NYU, &[&set, change], "uncertain"),
        }
    }
}

#[test]
fn keys_of_mixed_sets_want_one() {
    for (key, value, default) in [
        ("held_out", "500", "0"),
        ("seed", "7", "0"),
        ("cycles", "car", "exclude"),
        ("take", "{ bdd = 5 }", "{}"),
        ("take_val", "{ bdd = 5 }", "{}"),
    ] {
        let set = |set: &str, value: &str| format!("data.{set}.mixed.{key}={value}");
        refused(MIXED, &[&set("bdd", value)], "not mixed");
        taken(MIXED, &[&set("bdd", default)]);
        taken(MIXED, &[&set("mixed-boxes", value)]);
    }
    let e = with(MIXED, &["data.mixed-boxes.mixed.take={ wamo = 5 }"]).unwrap_err();
    assert!(e.render().contains("\"wamo\" is not a source"), "{e}");
}

#[test]
fn cycles_want_the_classes_of_the_paper() {
    let cars = "data.mixed-boxes.mixed.cycles=car";
    taken(MIXED, &["data.mixed-boxes.classes=[]", cars]);
    let own = "data.mixed-boxes.classes=[\"car\", \"person\", \"sign\"]";
    refused(MIXED, &[own, cars], "`classes` and `merge`");
    let maps = "data.mixed-maps.mixed.cycles=car";
    refused(MIXED, &[maps], "`classes` and `merge`");
}
