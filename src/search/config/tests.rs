//! Tests over whole configuration files.

use super::*;
use crate::error::{Code, Error};
use crate::settings::{Describe, Key};
use proptest::prelude::*;

mod data_page;
mod unused;

pub(super) const FILES: [(&str, &str); 11] = [
    ("demo", include_str!("../../../configs/demo.toml")),
    (
        "driving-small",
        include_str!("../../../configs/driving-small.toml"),
    ),
    (
        "mtnas-paper",
        include_str!("../../../configs/mtnas-paper.toml"),
    ),
    (
        "mtl-resnet18-release",
        include_str!("../../../configs/mtl-resnet18-release.toml"),
    ),
    (
        "mtl-resnet18-paper",
        include_str!("../../../configs/mtl-resnet18-paper.toml"),
    ),
    (
        "cifar-pc-darts",
        include_str!("../../../configs/cifar-pc-darts.toml"),
    ),
    (
        "cifar-darts",
        include_str!("../../../configs/cifar-darts.toml"),
    ),
    (
        "cifar-eval",
        include_str!("../../../configs/cifar-eval.toml"),
    ),
    (
        "imagenet-eval",
        include_str!("../../../configs/imagenet-eval.toml"),
    ),
    (
        "mtnas-mixed",
        include_str!("../../../configs/mtnas-mixed.toml"),
    ),
    (
        "nyuv2-three-tasks",
        include_str!("../../../configs/nyuv2-three-tasks.toml"),
    ),
];

fn read(text: &str) -> Result<Config, Error> {
    Config::from_toml(text, "dir/a.toml")
}

#[test]
fn every_shipped_file_is_valid_and_prints_to_itself() {
    let on_disk = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/configs")).unwrap();
    assert_eq!(
        on_disk.count(),
        FILES.len(),
        "a file of configs/ is not tested"
    );
    for (name, text) in FILES {
        let c = read(text).unwrap_or_else(|e| panic!("{name}: {}", e.render()));
        assert_eq!(read(&c.to_toml()).unwrap(), c, "{name}");
        assert_eq!(c.clone().resolved(), c);
    }
}

#[test]
fn defaults_print_and_parse_to_themselves() {
    let text = Config::default().to_toml();
    assert_eq!(
        toml::from_str::<Config>(&text).unwrap(),
        Config::default(),
        "{text}"
    );
    assert_eq!(Config::default(), toml::from_str("").unwrap());
}

/// Slips in the tables of tasks of values.
#[test]
fn tasks_of_values_are_checked() {
    let (_, good) = FILES[10];
    let refused = |changes: &[(&str, &str)], words: &str| {
        let change = |text: String, (from, to): &(&str, &str)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        };
        let text = changes.iter().fold(good.to_string(), change);
        let e = read(&text).unwrap_err().render();
        assert!(e.contains(words), "{changes:?}: {e}");
    };
    let depth = "[tasks.depth.values]";
    refused(&[("[tasks.normals]", "[tasks.norm]")], "tasks.norm");
    let other = "targets = [\"normals\"]";
    refused(&[("targets = [\"depth\"]", other)], "no labels for depth");
    refused(&[(other, "")], "set its `targets` to [\"normals\"]");
    refused(&[(depth, "[tasks.seg.values]")], "tasks.seg.values");
    let angles = "angles = \"true\"";
    refused(&[("average = \"batch-means\"", angles)], "have no angles");
    let other = "[tasks.depth.segmentation]";
    refused(&[(depth, other)], "the task is of kind depth");
    let table = format!("[tasks.normals.values]\n{angles}\n[model]\n");
    let encoded = [
        ("= \"true\"", "= \"encoded\""),
        ("[model]\n", table.as_str()),
    ];
    refused(&encoded, "no angles between surfaces");
}

#[test]
fn every_key_is_documented() {
    fn walk(keys: &[Key], path: &str) {
        for k in keys {
            assert!(!k.doc.is_empty(), "{path}{} has no documentation", k.name);
            walk(&k.keys, &format!("{path}{}.", k.name));
        }
    }
    walk(&Config::keys(), "");
}

/// Slips of a user: what to replace in `demo.toml`, and what the answer must say.
const SLIPS: &[(&str, &str, Code, &str, &str)] = &[
    (
        "channels = 16",
        "chanels = 16",
        Code::UnknownKey,
        "`model.chanels`",
        "`channels`",
    ),
    (
        "[finetune]",
        "[finetunes]",
        Code::UnknownKey,
        "`finetunes`",
        "`finetune`",
    ),
    (
        "kind = \"detection\"",
        "kind = \"detektion\"",
        Code::ConfigValue,
        "`tasks.det.kind`",
        "\"detection\"",
    ),
    (
        "channels = 16",
        "channels = \"16\"",
        Code::ConfigValue,
        "`model.channels`",
        "expected an integer",
    ),
    (
        "channels = 16",
        "channels = 24",
        Code::ConfigValue,
        "`model.channels`",
        "multiple of 16",
    ),
    (
        "size = [96, 160]",
        "size = [96, 160, 3]",
        Code::ConfigValue,
        "`input.size`",
        "expected 2 values",
    ),
    (
        "size = [96, 160]",
        "size = [96]",
        Code::ConfigValue,
        "`input.size`",
        "2",
    ),
    (
        "size = [96, 160]",
        "size = [100, 160]",
        Code::NetworkDoesNotFit,
        "backbone cell 1",
        "multiples of 32",
    ),
    (
        "size = [96, 160]",
        "size = [-96, 160]",
        Code::ConfigValue,
        "`input.size`",
        "at least 0",
    ),
    (
        "det_levels = 4",
        "det_levels = 6",
        Code::NetworkDoesNotFit,
        "detection cell 0",
        "det_levels = 4",
    ),
    (
        "det_levels = 4",
        "det_levels = 9",
        Code::ConfigValue,
        "`model.det_levels`",
        "4 to 7",
    ),
    (
        "reductions = [1, 2, 4]",
        "reductions = [1, 2, 9]",
        Code::ConfigValue,
        "`model.reductions`",
        "rising",
    ),
    (
        "data = \"kitti\"",
        "data = \"kity\"",
        Code::ConfigValue,
        "`tasks.det.data`",
        "\"kitti\"",
    ),
    (
        "data = \"kitti\"",
        "data = \"objects\"",
        Code::ConfigValue,
        "`tasks.det.data`",
        "no labels",
    ),
    (
        "data = \"kitti\"\n",
        "\n",
        Code::ConfigValue,
        "`tasks.det` has no `data`",
        "data = ...",
    ),
    (
        "[tasks.det",
        "[tasks.boxes",
        Code::ConfigValue,
        "`tasks.boxes`",
        "rename the table",
    ),
    (
        "min_sizes = [10, 20, 36, 60]",
        "min_sizes = [10, 20]",
        Code::ConfigValue,
        "priors.min_sizes",
        "4 detection levels",
    ),
    (
        "max_sizes = [20, ",
        "max_sizes = [1, ",
        Code::ConfigValue,
        "priors.max_sizes",
        "rise",
    ),
    (
        "batch = 8\niters",
        "batch = 0\niters",
        Code::ConfigValue,
        "`search.batch`",
        "1 to",
    ),
    (
        "lr = 0.05",
        "lr = nan",
        Code::ConfigValue,
        "`finetune.weights.lr`",
        "(0, inf)",
    ),
    (
        "lr = 0.05",
        "lr = -1",
        Code::ConfigValue,
        "`finetune.weights.lr`",
        "(0, inf)",
    ),
    (
        "data = \"objects\"\n",
        "data = \"cityscapes\"\n",
        Code::ConfigValue,
        "`search.presearch.data`",
        "no image classes",
    ),
    (
        "every = 100",
        "every = 0",
        Code::ConfigValue,
        "`checkpoint.every`",
        "1 to",
    ),
    (
        "augment = [\"flip\"]",
        "augment = [\"ssd-crop\", \"pad-crop\"]",
        Code::ConfigValue,
        "augment` names two crops",
        "keep one of them",
    ),
    (
        "format = \"kitti\"",
        "format = \"kitti\"\ncentre = 0.9",
        Code::ConfigValue,
        "`data.kitti.centre`",
        "data sets of classes",
    ),
    (
        "[data.kitti]\n",
        "[data.kitti]\nmixed = { sources = [\"objects\"] }\n",
        Code::ConfigValue,
        "`data.kitti.mixed.sources`",
        "only for it",
    ),
    (
        "[data.kitti]\nformat = \"kitti\"",
        "[data.kitti]\nmixed = { sources = [\"citiscapes\"] }\nformat = \"mixed\"",
        Code::ConfigValue,
        "there is no data set \"citiscapes\"",
        "\"cityscapes\"",
    ),
    (
        "[data.kitti]\nformat = \"kitti\"",
        "[data.kitti]\nmixed = { sources = [\"kitti\"] }\nformat = \"mixed\"",
        Code::ConfigValue,
        "`data.kitti.mixed.sources`",
        "mix boxes with boxes",
    ),
    (
        "version = 1",
        "version = 2",
        Code::ConfigValue,
        "`version`",
        "(1)",
    ),
    (
        "batch = 4\nweights",
        "batch = 4\nbatch = 4\nweights",
        Code::ConfigSyntax,
        "duplicate key",
        "batch",
    ),
    (
        "[model]",
        "[model",
        Code::ConfigSyntax,
        "unclosed table",
        "]",
    ),
];

#[test]
fn slips_are_answered_with_place_and_remedy() {
    let demo = FILES[0].1;
    for (old, new, code, what, remedy) in SLIPS {
        assert!(demo.contains(old), "{old:?} is not in demo.toml");
        let text = demo.replace(old, new);
        let e = read(&text).expect_err(new);
        let shown = e.render();
        assert_eq!(e.code(), *code, "{shown}");
        assert!(
            shown.contains(what) && shown.contains(remedy),
            "{new:?}: {shown}"
        );
        assert!(e.place().unwrap().starts_with("dir/a.toml:"), "{shown}");
        assert!(shown.contains('^'), "{shown}");
    }
}

#[test]
fn a_snippet_looks_like_the_compilers() {
    let e = read("[search]\nalpha = { learnig_rate = 6e-4 }\n").unwrap_err();
    let want = "\
error[MT0103]: unknown key `search.alpha.learnig_rate`
  --> dir/a.toml:2:11
  |
2 | alpha = { learnig_rate = 6e-4 }
  |           ^^^^^^^^^^^^ not a key of `search.alpha`
   = help: a key with a similar name exists: `lr`
";
    assert_eq!(e.render(), want);
}

#[test]
fn a_wrong_choice_is_named_with_the_nearest() {
    let text = FILES[0]
        .1
        .replace("[search]\n", "[search]\nmemory = \"smal\"\n");
    let shown = read(&text).unwrap_err().render();
    for part in ["no choice \"smal\"", "similar name exists: \"small\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let text = text.replace("smal", "small");
    assert_eq!(
        read(&text).unwrap().search.memory,
        crate::model::Memory::Small
    );
}

#[test]
fn a_default_that_does_not_fit_says_so() {
    let text = FILES[0].1.replace("channels = 16\n", "partial_k = 5\n");
    let shown = read(&text).unwrap_err().render();
    assert!(
        shown.contains("its default stands") || shown.contains("model"),
        "{shown}"
    );
}

#[test]
fn several_faults_come_at_once() {
    let text = FILES[0]
        .1
        .replace("batch = 8", "batch = 0")
        .replace("batch = 4", "batch = 0")
        .replace("every = 100", "every = 0");
    let shown = read(&text).unwrap_err().render();
    assert!(
        shown.contains("also `finetune.batch`") && shown.contains("also `checkpoint.every`"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn resolved_configurations_print_to_themselves(
        seed in 0..=i64::MAX as u64,
        lr in 1e-300f64..1e300,
        betas in [0.0f64..1.0, 0.0f64..1.0],
        size in [1usize..=128, 1usize..=128],
        name in "[a-zA-Z0-9_-]{1,12}",
        root in any::<String>(),
        classes in proptest::collection::btree_set(any::<String>(), 0..4),
    ) {
        let mut c = read(FILES[0].1).unwrap();
        c.run.seed = seed;
        c.search.alpha.lr = lr;
        c.search.alpha.betas = betas;
        c.input.size = size.map(|s| 32 * s);
        let mut set = c.data["kitti"].clone();
        set.root = format!("/{root}").into();
        set.classes = classes.into_iter().collect();
        c.data.insert(name, set);
        let text = c.to_toml();
        let again = read(&text);
        prop_assert!(again.is_ok() || !c.problems().is_empty(), "{:?}\n{}", again, text);
        if let Ok(again) = again {
            prop_assert_eq!(again, c);
        }
    }
}
