//! Networks made by hand as a user meets them: counted, trained from weights of elsewhere, judged, asked.

use std::collections::BTreeMap;
use std::path::Path;

use mtnas::export::safetensors::{TensorFile, write};
use mtnas::model::Network;
use mtnas::model::preset::Preset;
use mtnas::tensor::{DType, Tensor};

use super::arch::{first_file, json};
use super::{err, mtnas, out};

/// The table of docs/networks.md.
#[test]
fn networks_made_by_hand_are_counted_by_name() {
    for (name, params, gflops) in [
        ("resnet18", 11_689_512u64, 3.627),
        ("resnet34", 21_797_672, 7.326),
        ("resnet50", 25_557_032, 8.174),
        ("vgg16", 138_365_992, 30.693),
        ("vgg16-deeplab", 21_519_400, 49.665),
        ("mobilenet-v2", 3_504_872, 0.599),
        ("mtl-resnet18", 14_385_184, 13.648),
        ("ssd-resnet18", 14_379_824, 13.480),
        ("fcn-resnet18", 11_355_248, 12.137),
    ] {
        let v = json(&mtnas(&["arch", "cost", name, "--json"]));
        assert_eq!(v["params"], params, "{name}");
        let g = v["gflops"].as_f64().unwrap();
        assert!((g - gflops).abs() < 6e-4, "{name} {g}");
        assert!(v["cells"].is_null());
    }
    let text = out(&mtnas(&["arch", "cost", "ssd-resnet18"]));
    assert!(
        text.contains("13.480 GFLOPs") && text.contains("no cells"),
        "{text}"
    );
    let text = out(&mtnas(&["arch", "cost", "FCN-ResNet18", "--classes", "16"]));
    assert!(text.contains("12.137 GFLOPs"), "{text}");
    for (line, words) in [
        (&["resnet18", "--channels", "8"][..], "no cells"),
        (
            &["resnet18", "--classes", "3,4"],
            "one number for each head",
        ),
        (&["mtl-resnet18", "--input", "300x512"], "multiples of 32"),
        (&["resnet18", "-s", "model.cells=3"], "--input"),
    ] {
        let e = err(&mtnas(&[&["arch", "cost"], line].concat()));
        assert!(e.contains(words), "{line:?}: {e}");
    }
}

fn config(home: &Path, synth: [usize; 2]) -> String {
    let data = home.join("data");
    let synth = mtnas::data::synth::SynthConfig {
        size: synth,
        train: 2,
        val: 1,
        folder_train: 2,
        folder_val: 1,
        folder_size: 32,
        ..Default::default()
    };
    mtnas::data::synth::generate(&data, &synth).unwrap();
    let text = format!(
        "version = 1\n[input]\nsize = [32, 64]\n[tasks.det]\nkind = \"detection\"\ndata = \"kitti\"\n\
         [tasks.seg]\nkind = \"segmentation\"\ndata = \"cityscapes\"\n\
         [data.kitti]\nformat = \"kitti\"\nroot = \"{0}/kitti\"\n[data.cityscapes]\nformat = \"cityscapes\"\nroot = \"{0}/cityscapes\"\n\
         [model]\ndet_levels = 4\n\
         [finetune]\niters = 1\nbatch = 1\nalternate = \"accumulate\"\n[log]\nimages = 1\n",
        data.display()
    );
    let path = home.join("tiny.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// A step of the baseline from the weights of a ResNet, then its data set is taken away.
#[test]
fn the_baseline_is_trained_from_a_resnet_and_asked() {
    let home = tempfile::tempdir().unwrap();
    let config = config(home.path(), [64, 96]);
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_string();
    // Names as torchvision's, values that tell whether they were taken: no step moves a weight by so much.
    let spec = Preset::hand("resnet18").unwrap().supernet();
    let mut tensors = BTreeMap::new();
    for (name, shape) in Network::tensors(&spec).unwrap() {
        let v = if name.ends_with("running_var") {
            1.0
        } else {
            0.01
        };
        tensors.insert(name, Tensor::full(shape, DType::F32, v));
    }
    tensors.insert(
        "bn1.num_batches_tracked".into(),
        Tensor::from_i32([1], vec![7]).unwrap(),
    );
    let file = |tensors: &BTreeMap<String, Tensor>, name: &str| {
        let tensors = tensors.clone();
        let metadata = BTreeMap::new();
        write(at(name), &TensorFile { tensors, metadata }).unwrap();
    };
    file(&tensors, "resnet18.safetensors");
    tensors.remove("layer2.0.downsample.0.weight");
    file(&tensors, "less.safetensors");
    let train = |arch: &str, weights: Option<&str>, run: &str| {
        let (weights, run) = (weights.map(&at), at(run));
        let mut line = vec![
            "train",
            &config,
            "--arch",
            arch,
            "--run",
            &run,
            "--threads",
            "1",
        ];
        line.extend(weights.iter().flat_map(|w| ["--weights", w.as_str()]));
        mtnas(&line)
    };
    let e = err(&train("mtl-resnet18", Some("less.safetensors"), "less"));
    assert!(
        e.contains("missing: trunk.layer2.0.downsample.0.weight (128, 64, 1, 1)")
            && e.contains("less.safetensors"),
        "{e}"
    );
    let o = train("mtl-resnet18", Some("resnet18.safetensors"), "run");
    let said = err(&o);
    assert!(o.status.success(), "{said}");
    assert!(
        said.contains("trunk alone") && said.contains("classifier"),
        "{said}"
    );
    let run = at("run");
    assert!(!Path::new(&run).join("final/genotype.txt").exists());
    let weights =
        mtnas::search::model_file::read_store(&Path::new(&run).join("final/model.safetensors"));
    let weights = weights.unwrap().weights;
    let first = weights.get(weights.find("trunk.layer3.0.conv1.weight").unwrap());
    assert!(first.to_f64().iter().all(|v| (v - 0.01).abs() < 0.005));
    // Counted, judged on the held-out data, and asked without any.
    let cost = json(&mtnas(&["arch", "cost", &run, "--json"]));
    assert_eq!(cost["frame"], "mtl-resnet18");
    let eval = json(&mtnas(&["eval", &run, "--json", "--threads", "1"]));
    assert!(eval["detection"]["images"] == 1 && eval["segmentation"].is_object());
    let e = err(&mtnas(&["arch", "convert", &run]));
    assert!(e.contains("without cells"), "{e}");
    let picture = at("street.png");
    std::fs::copy(
        first_file(&home.path().join("data/kitti/training/image_2")),
        &picture,
    )
    .unwrap();
    std::fs::rename(home.path().join("data"), home.path().join("away")).unwrap();
    let drawn = at("out");
    let o = mtnas(&["predict", &run, &picture, "-o", &drawn, "--threads", "1"]);
    assert!(o.status.success(), "{}", err(&o));
    assert!(Path::new(&drawn).join("street.png").exists());
    let page = std::fs::read_to_string(Path::new(&run).join("report.html")).unwrap();
    assert!(page.contains("mtl-resnet18"));
    // With one task SSD or FCN; a frame that does not serve the tasks is refused.
    std::fs::rename(home.path().join("away"), home.path().join("data")).unwrap();
    let o = train("fcn-resnet18", None, "fcn");
    assert!(o.status.success(), "{}", err(&o));
    let fcn = json(&mtnas(&["arch", "cost", &at("fcn"), "--json"]));
    assert!(fcn["params"].as_u64() < cost["params"].as_u64());
    let e = err(&train("resnet50", None, "no"));
    assert!(e.contains("model.frame"), "{e}");
    let e = err(&train("resnet19", None, "no"));
    assert!(e.contains("resnet18"), "{e}");
}
