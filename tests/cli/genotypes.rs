//! `mtnas arch diff`, `mutate` and the forms of `convert`; files of `mtnas predict`.

use std::path::Path;

use super::{err, mtnas, out};

fn json(line: &[&str]) -> serde_json::Value {
    let o = mtnas(line);
    serde_json::from_slice(&o.stdout).unwrap_or_else(|e| panic!("{e}: {}", err(&o)))
}

#[test]
fn differences_are_told_edge_by_edge() {
    let o = mtnas(&["arch", "diff", "PDARTS", "DD3"]);
    assert_eq!(o.status.code(), Some(1), "{}", err(&o));
    let expected = "backbone, normal cell, node 0:  - skip_connect(c[k-2])  + sep_conv_3x3(c[k-2])\n\
                    backbone, reduction cell, node 2:  - max_pool_3x3(c[k-2])  + avg_pool_3x3(c[k-2])\n\
                    backbone: 2 of 16 edges differ\n";
    assert_eq!(out(&o), expected);
    let v = json(&["arch", "diff", "PDARTS", "DD3", "--json"]);
    assert_eq!(
        (&v["same"], &v["parts"][0]["differ"]),
        (&false.into(), &2.into())
    );
    assert_eq!(v["parts"][0]["nodes"][1]["added"][0][0], "avg_pool_3x3");
    // Branches that one lacks; names for the same.
    let o = mtnas(&["arch", "diff", "MTNAS", "MTNAS_backbone"]);
    assert!(o.status.code() == Some(1) && out(&o).contains("det: in the first genotype alone"));
    let o = mtnas(&["arch", "diff", "PC_DARTS", "PC_DARTS_cifar"]);
    assert_eq!((o.status.code(), out(&o).as_str()), (Some(0), "the same\n"));
    assert_eq!(
        mtnas(&["arch", "diff", "PDARTS", "PDARST"]).status.code(),
        Some(65)
    );
}

#[test]
fn mutations_change_as_many_edges_as_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("next.txt");
    let path = path.to_str().unwrap();
    for (part, seed) in [("det", "1"), ("seg", "2"), ("backbone", "3")] {
        let o = mtnas(&["arch", "mutate", "MTNAS", "--part", part, "--seed", seed]);
        assert!(
            o.status.success() && err(&o).lines().count() == 1,
            "{}",
            err(&o)
        );
        assert!(err(&o).starts_with(&format!("{part}, ")), "{}", err(&o));
        std::fs::write(path, out(&o)).unwrap();
        let v = json(&["arch", "diff", "MTNAS", path, "--json"]);
        for p in v["parts"].as_array().unwrap() {
            assert_eq!(p["differ"], u64::from(p["part"] == part), "{v}");
        }
        let again = mtnas(&[
            "arch", "mutate", "MTNAS", "--part", part, "--seed", seed, "-q",
        ]);
        assert_eq!((out(&again), err(&again).as_str()), (out(&o), ""));
    }
    let o = mtnas(&["arch", "mutate", "PDARTS", "--count", "5"]);
    assert_eq!(err(&o).lines().count(), 5);
    let o = mtnas(&["arch", "mutate", "PDARTS", "--part", "det"]);
    assert!(
        o.status.code() == Some(2) && err(&o).contains("MTNAS"),
        "{}",
        err(&o)
    );
}

#[test]
fn cells_are_converted_to_drawings() {
    let svg = out(&mtnas(&["arch", "convert", "MTNAS", "--to", "svg"]));
    assert!(svg.starts_with("<svg ") && svg.contains("seg, reduction cell"));
    let dot = out(&mtnas(&["arch", "convert", "PDARTS", "--to", "dot"]));
    assert!(
        dot.starts_with("digraph") && dot.matches(" -> ").count() == 2 * (8 + 4),
        "{dot}"
    );
}

/// `configs/cifar-eval.toml` at a small size: the auxiliary head is trained and delivered, and no part of what evaluates.
#[test]
fn a_published_genotype_is_evaluated_as_its_paper_does() {
    let cost = json(&["arch", "cost", "configs/cifar-eval.toml", "--json"]);
    assert_eq!(
        (&cost["params"], &cost["params_aux"]),
        (&3_634_678.into(), &476_426.into())
    );
    let cost = json(&[
        "arch",
        "cost",
        "configs/imagenet-eval.toml",
        "--classes",
        "1000",
        "--json",
    ]);
    assert_eq!(cost["params_aux"], 1_260_776);
    let home = tempfile::tempdir().unwrap();
    let records: Vec<u8> = (0..6u32)
        .flat_map(|i| {
            std::iter::once(i as u8).chain((0..3072).map(move |p| (p * (i + 3) / 7) as u8))
        })
        .collect();
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        std::fs::write(home.path().join(name), &records).unwrap();
    }
    let root = format!("data.cifar.root=\"{}\"", home.path().display());
    let run = home.path().join("run");
    let run = run.to_str().unwrap();
    let mut line = vec![
        "train",
        "configs/cifar-eval.toml",
        "--run",
        run,
        "-q",
        "--threads",
        "1",
    ];
    for key in [
        root.as_str(),
        "model.channels=4",
        "model.cells=3",
        "finetune.iters=2",
        "finetune.batch=2",
        "log.images=0",
    ] {
        line.extend(["-s", key]);
    }
    let o = mtnas(&line);
    assert!(o.status.success(), "{}", err(&o));
    let weights = std::fs::read(Path::new(run).join("final/model.safetensors")).unwrap();
    let name = b"auxiliary_head.classifier.weight";
    assert!(weights.windows(name.len()).any(|w| w == name));
    let v = json(&["eval", run, "--json", "--threads", "1"]);
    assert!(v["classification"].is_object(), "{v}");
    // An auxiliary head over another map.
    let o = mtnas(&[
        "config",
        "check",
        "configs/cifar-eval.toml",
        "-s",
        "input.size=[64,64]",
    ]);
    assert!(
        o.status.code() == Some(78) && err(&o).contains("auxiliary"),
        "{}",
        err(&o)
    );
}

/// What other programs read of the predictions of a network with both heads; a score of 0 lets every box through.
pub fn files_of_predictions(run: &str, picture: &Path, home: &Path) {
    let to = home.join("formats");
    let (picture, directory) = (picture.to_str().unwrap(), to.to_str().unwrap());
    let line = [
        "predict",
        run,
        picture,
        "-o",
        directory,
        "--threads",
        "1",
        "--score",
        "0",
        "--json",
        "--format",
        "overlay,coco,kitti,voc,png",
    ];
    let rows = json(&line);
    let objects = rows[0]["objects"].as_array().unwrap();
    assert!(!objects.is_empty() && to.join("street.png").is_file());
    let read = |name: &str| std::fs::read_to_string(to.join(name)).unwrap();
    let coco: serde_json::Value = serde_json::from_str(&read("coco.json")).unwrap();
    let meaning: serde_json::Value = serde_json::from_str(&read("coco-images.json")).unwrap();
    assert_eq!(meaning["images"][0]["file_name"], "street.png");
    let rows_of_coco = coco.as_array().unwrap();
    assert_eq!(rows_of_coco.len(), objects.len());
    let near = |a: f64, b: f64| (a - b).abs() < 0.01;
    let (mut in_voc, kitti) = (0, read("kitti/street.txt"));
    let classes = meaning["categories"].as_array().unwrap();
    for c in classes {
        let name = c["name"].as_str().unwrap();
        in_voc += read(&format!("voc/comp4_det_test_{name}.txt"))
            .lines()
            .count();
    }
    assert_eq!(
        (in_voc, kitti.lines().count()),
        (objects.len(), objects.len())
    );
    for ((row, object), line) in rows_of_coco.iter().zip(objects).zip(kitti.lines()) {
        let class = &classes[row["category_id"].as_u64().unwrap() as usize - 1];
        assert_eq!(
            (&class["name"], &row["image_id"]),
            (&object["class"], &1.into())
        );
        let corner = |i: usize| object["box"][i].as_f64().unwrap();
        let bbox = |i: usize| row["bbox"][i].as_f64().unwrap();
        assert!(near(bbox(0), corner(0)) && near(bbox(1) + bbox(3), corner(3)));
        let back = mtnas::data::kitti_label::KittiObject::parse(line).unwrap();
        assert!(near(back.bbox.x2.into(), corner(2)) && back.kind != "Misc");
        assert!(near(
            back.score.unwrap().into(),
            object["score"].as_f64().unwrap()
        ));
    }
    let labels = mtnas::data::image_file::read_labels(&to.join("labels/street.png")).unwrap();
    let image = mtnas::data::image_file::read_image(Path::new(picture)).unwrap();
    assert_eq!((labels.height, labels.width), (image.height, image.width));
    let o = mtnas(&["predict", run, picture, picture, "-o", directory]);
    assert!(
        o.status.code() == Some(2) && err(&o).contains("named street"),
        "{}",
        err(&o)
    );
}
