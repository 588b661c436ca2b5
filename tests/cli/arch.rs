//! `mtnas arch`, `train` and `predict` as a user meets them.

use std::path::Path;
use std::process::Output;

use super::{err, mtnas, out};

pub fn json(o: &Output) -> serde_json::Value {
    assert!(o.status.success(), "{}", err(o));
    serde_json::from_slice(&o.stdout).unwrap()
}

/// The digits of `benches/peers/README.md`, counted there by PyTorch programs, and of the published classifiers.
#[test]
fn architectures_cost_what_the_peers_count() {
    let rows: [(&[&str], u64, u64, u64); 5] = [
        (&["MTNAS"], 5_271_080_960, 0, 9_387_552),
        (
            &["supernet", "--network", "mtnas-release"],
            5_137_587_968,
            0,
            9_109_512,
        ),
        (
            &["supernet", "--network", "mtnas-peer"],
            1_148_718_080,
            0,
            1_004_144,
        ),
        (
            &["supernet", "--network", "cifar"],
            56_594_432,
            2_560,
            299_578,
        ),
        (&["configs/cifar-pc-darts.toml"], 56_594_432, 2_560, 299_578),
    ];
    for (target, conv, linear, params) in rows {
        let v = json(&mtnas(&[&["arch", "cost", "--json"], target].concat()));
        assert_eq!(v["conv_macs"], conv, "{target:?}");
        assert_eq!(v["macs"], conv + linear, "{target:?}");
        assert_eq!(v["params"], params, "{target:?}");
        assert_eq!(v["gflops"], 2.0 * conv as f64 / 1e9, "{target:?}");
        assert!(v.get("layers").is_none());
    }
    let v = json(&mtnas(&[
        "arch",
        "cost",
        "PC_DARTS_cifar",
        "--network",
        "imagenet",
        "--layers",
        "--json",
    ]));
    assert_eq!(
        (&v["params"], &v["params_aux"]),
        (&5_270_560.into(), &1_260_776.into())
    );
    let layers = v["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|l| l["params"].as_u64().unwrap()).sum();
    assert_eq!(sum, 5_270_560 + 1_260_776);
    // The published figure: 586.9 M, with the linear layer.
    let line = [
        "arch",
        "cost",
        "MTNAS_backbone",
        "--network",
        "cifar",
        "--json",
    ];
    let v = json(&mtnas(&line));
    assert_eq!(
        (&v["params"], &v["params_aux"]),
        (&3_793_654.into(), &476_426.into())
    );
    assert_eq!((v["macs"].as_f64().unwrap() / 1e5).round(), 5869.0);
    let v = json(&mtnas(&[
        "arch",
        "cost",
        "configs/mtnas-paper.toml",
        "--json",
    ]));
    let stages: Vec<&str> = v["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["network"].as_str().unwrap())
        .collect();
    assert_eq!(
        stages,
        ["1-branch-det", "2-branch-seg", "3-presearch", "4-backbone"]
    );
    let text = out(&mtnas(&["arch", "cost", "MTNAS"]));
    assert!(text.contains("5,271,080,960  10.542 GFLOPs"), "{text}");
}

/// Rows of systems.md 3.4, all of which are tests of `model::cost`: both kinds of branches, and the shallower sibling.
#[test]
fn backbones_in_the_frame_of_mtnas() {
    let gflops = |line: &[&str]| {
        let v = json(&mtnas(&[&["arch", "cost", "--json"], line].concat()));
        (v["gflops"].as_f64().unwrap() * 1e3).round() / 1e3
    };
    for (name, released, by_hand) in [
        ("DARTS_V1", 9.330, 9.858),
        ("PC_DARTS_image", 10.524, 11.053),
    ] {
        assert_eq!(gflops(&[name, "--branches", "released"]), released);
        assert_eq!(gflops(&[name, "--branches", "hand-crafted"]), by_hand);
        assert_eq!(gflops(&[name]), by_hand);
    }
    assert_eq!(gflops(&["MTNAS", "--branches", "hand-crafted"]), 11.070);
    let sibling = gflops(&["MTNAS", "--network", "mtnas-9g"]);
    assert_eq!((sibling * 1e2).round() / 1e2, 9.04);
    let keys = ["-s", "model.cells=11", "-s", "model.reductions=[3,6,9]"];
    assert_eq!(gflops(&[&["MTNAS"][..], &keys].concat()), sibling);
}

/// What is counted besides parameters and multiply-adds. The figures of normalisations and enlargements follow from the maps alone
/// (tests of `model::work`); rows of layers add up to them.
#[test]
fn work_on_values_and_memory_are_counted() {
    let v = json(&mtnas(&["arch", "cost", "MTNAS", "--layers", "--json"]));
    let number = |v: &serde_json::Value| v.as_u64().unwrap();
    assert_eq!(number(&v["params_heads"]), 2_051_760 + 560);
    let norms = v["layers"].as_array().unwrap().iter();
    let values = norms.filter(|l| l["kind"] == "norm").map(|l| {
        let side = |k: &str| number(&l["output"][k]);
        side("c") * side("h") * side("w")
    });
    assert_eq!(number(&v["bn_ops"]), 2 * values.sum::<u64>());
    let e = &v["elementwise"];
    let kinds = ["relu", "pool", "add", "upsample"].map(|k| number(&e[k]));
    assert!(kinds.iter().all(|&n| n > 0), "{e}");
    assert_eq!(number(&v["elementwise_ops"]), kinds.iter().sum::<u64>());
    let rows = v["elementwise_layers"].as_array().unwrap();
    let sum = |k: &str| rows.iter().map(|r| number(&r["work"][k])).sum::<u64>();
    assert_eq!(["relu", "pool", "add", "upsample"].map(sum), kinds);
    assert_eq!(sum("norm"), number(&v["bn_ops"]));
    for task in ["detection", "segmentation"] {
        let bytes = &v["activation_bytes"][task];
        let (f32, bf16) = (number(&bytes["f32"]), number(&bytes["bf16"]));
        assert!(bf16 < f32 && f32 <= 2 * bf16, "{task}: {bytes}");
    }
    let text = out(&mtnas(&["arch", "cost", "MTNAS"]));
    assert!(text.contains("bytes an image, detection"), "{text}");
    assert!(!text.contains("upsample_nearest  "), "{text}");
    let text = out(&mtnas(&["arch", "cost", "MTNAS", "--layers"]));
    assert!(text.contains("max_pool  "), "{text}");
}

#[test]
fn what_cannot_be_counted_is_refused() {
    for (line, status, words) in [
        (&["MTNAS", "-s", "search.batch=3"][..], 2, "model.cells=11"),
        (&["MTNAS", "-s", "model.cell=3"], 78, "`cells`"),
        (
            &["PDARTS", "--network", "cifar", "--branches", "released"],
            2,
            "mtnas-9g",
        ),
        (
            &["configs/demo.toml", "--branches", "released"],
            2,
            "model.branches",
        ),
        (
            &["configs/demo.toml", "--network", "cifar"],
            2,
            "model.frame",
        ),
        (&["MTNAS", "--classes", "4"], 2, "--classes 3,16"),
        (
            &["DARTS_V2", "--network", "cifar", "--classes", "4,5"],
            2,
            "--classes 10",
        ),
        (&["MTNAS", "--input", "320"], 2, "320x512"),
        (&["MTNAS", "--input", "320x500"], 78, "multiples of 32"),
        (
            &["supernet", "--network", "cifar", "--channels", "6"],
            78,
            "partial",
        ),
        (&["DARTS_V3"], 65, "did you mean"),
        (&["no/such.toml"], 66, "no/such.toml"),
        (&["src"], 66, "no run in"),
    ] {
        let o = mtnas(&[&["arch", "cost"], line].concat());
        let e = err(&o);
        assert!(
            o.status.code() == Some(status) && e.contains(words),
            "{line:?}: {e}"
        );
    }
}

#[test]
fn genotypes_are_shown_checked_converted_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let names = json(&mtnas(&["arch", "show", "--json"]));
    assert!(
        names.as_array().unwrap().len() == 9 && out(&mtnas(&["arch", "show"])).contains("PDARTS")
    );
    let text = out(&mtnas(&[
        "arch",
        "show",
        "DARTS_V2",
        "--svg",
        &path("v2.svg"),
    ]));
    assert!(
        text.contains("node 3 = skip_connect(c[k-2]) + dil_conv_3x3(node 0)"),
        "{text}"
    );
    assert!(
        std::fs::read_to_string(path("v2.svg"))
            .unwrap()
            .contains("backbone, reduction cell")
    );
    // Text to JSON and back, of one genotype and of a network.
    for name in ["DARTS_V2", "mtnas"] {
        let whole = out(&mtnas(&["arch", "convert", name]));
        let (json, back) = (path("g.json"), path("g.txt"));
        assert!(
            mtnas(&["arch", "convert", name, "--to", "json", "-o", &json])
                .status
                .success()
        );
        assert!(
            mtnas(&["arch", "convert", &json, "-o", &back])
                .status
                .success()
        );
        assert_eq!(std::fs::read_to_string(&back).unwrap(), whole);
        let o = mtnas(&["arch", "check", &json, &back]);
        assert!(
            o.status.success() && out(&o).matches(": good (backbone").count() == 2,
            "{}",
            err(&o)
        );
    }
    let bad = "# a note\nGenotype(normal=[('sep_conv_3x4', 0)])\n";
    std::fs::write(path("bad.txt"), bad).unwrap();
    let o = mtnas(&["arch", "check", &path("bad.txt")]);
    let e = err(&o);
    assert!(
        o.status.code() == Some(65) && e.contains("bad.txt:2:19"),
        "{e}"
    );
    let draw = |seed: &str| out(&mtnas(&["arch", "random", "--seed", seed]));
    assert_ne!(draw("1"), draw("2"));
    std::fs::write(path("random.txt"), draw("1")).unwrap();
    assert_eq!(
        out(&mtnas(&["arch", "convert", &path("random.txt")])),
        draw("1")
    );
}

/// One training step of a tiny random network, then its data set is taken away.
#[test]
fn a_run_predicts_without_its_data() {
    let home = tempfile::tempdir().unwrap();
    let (data, run) = (home.path().join("data"), home.path().join("run"));
    let synth = mtnas::data::synth::SynthConfig {
        size: [64, 96],
        train: 2,
        val: 1,
        folder_train: 1,
        folder_val: 1,
        folder_size: 32,
        ..Default::default()
    };
    mtnas::data::synth::generate(&data, &synth).unwrap();
    let text = format!(
        "version = 1\n[input]\nsize = [32, 64]\n[tasks.det]\nkind = \"detection\"\ndata = \"kitti\"\n\
         [tasks.seg]\nkind = \"segmentation\"\ndata = \"cityscapes\"\n\
         [data.kitti]\nformat = \"kitti\"\nroot = \"{0}/kitti\"\n[data.cityscapes]\nformat = \"cityscapes\"\nroot = \"{0}/cityscapes\"\n\
         [model]\nframe = \"mtnas-peer\"\nchannels = 8\ncells = 4\nnodes = 1\ndet_levels = 3\nfpn_width = 8\n\
         [search]\nablation = {{ presearch = false }}\n\
         [finetune]\niters = 1\nbatch = 1\n[log]\nimages = 0\n",
        data.display()
    );
    let (config, run) = (home.path().join("tiny.toml"), run.to_str().unwrap());
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let o = mtnas(&[
        "train",
        config,
        "--genotype",
        "random",
        "--run",
        run,
        "-q",
        "--threads",
        "1",
    ]);
    assert!(o.status.success(), "{}", err(&o));
    let file = |name: &str| std::fs::read_to_string(Path::new(run).join(name)).unwrap();
    assert!(file("final/classes.json").contains("\"pedestrian\""));
    let cost = json(&mtnas(&["arch", "cost", run, "--json"]));
    let delivered: serde_json::Value = serde_json::from_str(&file("final/cost.json")).unwrap();
    assert_eq!(cost["conv_macs"], delivered["conv_macs"]);
    // The random genotype of the seed was trained, and stands in the configuration of the run.
    let drawn = out(&mtnas(&["arch", "random", "--nodes", "1"]));
    assert_eq!(out(&mtnas(&["arch", "convert", run])), drawn);
    assert!(
        file("run.toml").contains(drawn.trim()) && !Path::new(run).join("stages/1-search").exists()
    );

    // Evaluation reads the held-out split alone.
    let train = data.join("kitti/ImageSets/train.txt");
    let list = std::fs::read(&train).unwrap();
    std::fs::remove_file(&train).unwrap();
    let o = mtnas(&["eval", run, "--json", "--threads", "1"]);
    let plain = json(&o);
    assert!(plain["detection"]["images"] == 1);
    // The official protocols of KITTI are printed beside those of the run, which keep the headline.
    let protocols = &plain["detection"]["protocols"];
    for name in ["kitti-r40", "kitti-r11", "voc10", "mtnas-2020", "coco"] {
        assert!(protocols[name].is_object(), "{name}: {protocols}");
    }
    assert_eq!(plain["detection"]["main"], "voc10");
    assert_eq!(plain["segmentation"]["size"], serde_json::json!([32, 64]));
    let line = ["eval", run, "--threads", "1", "--size", "own", "--protocol"];
    let own = json(&mtnas(&[&line[..], &["kitti-r11,coco", "--json"]].concat()));
    assert_eq!(own["detection"]["main"], "kitti-r11");
    assert_eq!(own["detection"]["protocols"].as_object().unwrap().len(), 2);
    assert!(own["segmentation"].get("size").is_none());
    // Pixels of the file, not of the network.
    let pixels = |v: &serde_json::Value| -> u64 {
        let rows: Vec<Vec<u64>> =
            serde_json::from_value(v["segmentation"]["confusion"].clone()).unwrap();
        rows.iter().flatten().sum()
    };
    assert!(pixels(&plain) <= 32 * 64 && pixels(&own) > 32 * 64);
    let o = mtnas(&[&line[..], &["kitti-r4"]].concat());
    assert!(
        o.status.code() == Some(2) && err(&o).contains("kitti-r40"),
        "{}",
        err(&o)
    );
    let text = out(&mtnas(&[&line[..], &["kitti-r40"]].concat()));
    assert!(
        text.contains("(kitti-r40, 1 images)")
            && text.contains("moderate")
            && text.contains("own size"),
        "{text}"
    );
    std::fs::write(&train, list).unwrap();

    let away = home.path().join("away");
    std::fs::rename(&data, &away).unwrap();
    let picture = home.path().join("street.png");
    std::fs::copy(first_file(&away.join("kitti/training/image_2")), &picture).unwrap();
    let drawn = home.path().join("out");
    let line = [
        "predict",
        run,
        picture.to_str().unwrap(),
        "-o",
        drawn.to_str().unwrap(),
        "--threads",
        "1",
    ];
    let predict = || {
        let o = mtnas(&line);
        assert!(o.status.success(), "{}", err(&o));
        std::fs::read(drawn.join("street.png")).unwrap()
    };
    let first = predict();
    super::genotypes::files_of_predictions(run, &picture, home.path());
    // It is exported without its data, too: three levels of 8 x 4, 4 x 2 and 2 x 1 positions, six priors each.
    let model = home.path().join("m.onnx");
    let line = [
        "export", run, "--to", "onnx", "--verify", "--decode", "--json",
    ];
    let o = mtnas(&[&line[..], &["-o", model.to_str().unwrap()]].concat());
    assert_eq!(json(&o)["outputs"]["conf"][0], 42 * 6, "{}", err(&o));
    // A run of an older version has no class names in `final`: those of the configuration serve.
    std::fs::remove_file(Path::new(run).join("final/classes.json")).unwrap();
    assert_eq!(predict(), first);
    assert_eq!(mtnas(&["eval", run]).status.code(), Some(66));
}

pub fn first_file(dir: &Path) -> std::path::PathBuf {
    let list = std::fs::read_dir(dir).unwrap().flatten();
    list.map(|e| e.path()).min().unwrap()
}
