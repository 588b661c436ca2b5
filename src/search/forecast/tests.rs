//! What is forecast against what is measured.

use std::collections::BTreeMap;

use super::*;
use crate::data::config::InputOn;
use crate::model::config::Frame;
use crate::search::beside_floor::BesideFloor;
use crate::search::learner_io;
use crate::search::networks::presearch;
use crate::tape::{Cx, Path};
use crate::tensor::{Engine, Tensor};

fn demo() -> (Config, Heads) {
    let mut c = Config::from_toml(include_str!("../../../configs/demo.toml"), "demo.toml").unwrap();
    c.input.size = [64, 96];
    c.search.presearch.size = [32, 32];
    let heads = Heads {
        det: Some(3),
        seg: Some(8),
        ..Heads::default()
    };
    (c, heads)
}

#[test]
fn a_gpu_is_planned_for_by_counting() {
    let (c, heads) = demo();
    let gpu = |memory| {
        Where::Gpu(Gpu {
            memory,
            bandwidth: 1e12,
            launch: 2e-6,
        })
    };
    let mut by_host = c.clone();
    by_host.loader.input_on = InputOn::Host;
    let images_up = forecast(&by_host, &heads, Some(4), gpu(64 << 30)).unwrap();
    let all = forecast(&c, &heads, Some(4), gpu(64 << 30)).unwrap();
    let stages: Vec<&str> = all.iter().map(|f| f.stage).collect();
    assert!(
        stages.contains(&"1-branch-det") && stages.contains(&"5-finetune"),
        "{stages:?}"
    );
    for (f, whole) in all.iter().zip(&images_up) {
        assert!(
            f.launches.unwrap() > 100 && f.traffic.unwrap() > 1 << 20,
            "{f:?}"
        );
        assert!(f.memory > 1 << 20 && f.seconds > 0.0, "{f:?}");
        // Losses, their parts and the norms come back, nothing else; every operation has kernels.
        assert!(f.fetched.unwrap() <= 256, "{f:?}");
        assert!(f.by_host.is_empty(), "{f:?}");
        // A step stands beside its floor where all of its cells are mixed.
        assert_eq!(f.floor.is_some(), f.stage == "4-backbone", "{f:?}");
        let beside = |b: BesideFloor| b.traffic > 0.5 && b.share > 0.01 && b.share < 1.0;
        assert!(f.floor.is_none_or(beside), "{f:?}");
        // Kernel by kernel it is the same step.
        let sum = |of: fn(&KernelWork) -> u64| f.kernels.iter().map(of).sum::<u64>();
        assert_eq!(Some(sum(|k| k.launches)), f.launches);
        assert_eq!(Some(sum(|k| k.read + k.written)), f.traffic);
        assert!(f.kernels.windows(2).all(|p| p[0].launches >= p[1].launches));
        // What goes up is little of each image, or little more than the images; every phase is a graph.
        let phases = 1 + u64::from(f.stage != "5-finetune");
        let pixels = match f.stage {
            "3-presearch" => 32 * 32,
            _ => 64 * 96,
        };
        let images = phases * 3 * 4 * (f.batch * pixels) as u64;
        let up = whole.uploaded.unwrap();
        assert!(up >= images && up < images + images / 2, "{f:?} {images}");
        let rows = phases * (256 * f.batch) as u64;
        assert!(f.uploaded.unwrap() + images <= up + rows, "{f:?} {images}");
        let made = |k: &&KernelWork| k.kernel == "feed_images_f32";
        let work = f.kernels.iter().find(made).unwrap();
        assert_eq!((work.launches, work.written), (phases, images));
        assert!(whole.kernels.iter().all(|k| !made(&k)));
        assert_eq!((f.resident, whole.resident), (Some(32 << 30), None));
        assert_eq!(f.graphs, Some(phases), "{f:?}");
        chosen_and_others(f);
    }
    let e = forecast(&c, &heads, Some(4), gpu(4 << 20)).unwrap_err();
    assert_eq!(e.code(), Code::OutOfMemory);
    let text = e.render();
    assert!(text.contains("largest holders"), "{text}");
    // A device on which the first stage fits if its cells recompute.
    let m = &all[0].memories;
    let fits = |m: &MemoryOf| m.bytes.unwrap();
    assert!(fits(&m[0]) > fits(&m[2]) + (1 << 20), "{m:?}");
    let between = (fits(&m[0]) + fits(&m[2])) / 2;
    let e = forecast(&c, &heads, Some(4), gpu(between)).unwrap_err();
    assert_eq!(e.code(), Code::OutOfMemory);
    let text = e.render();
    assert!(text.contains("with search.memory = \"small\""), "{text}");
}

#[test]
fn a_constraint_is_a_few_launches_of_a_recorded_step() {
    let (mut c, heads) = demo();
    c.search.ablation.presearch = false;
    c.search.ablation.co_search = true;
    let mut charged = c.clone();
    charged.search.constraint.weight = 0.5;
    let gpu = Gpu {
        memory: 64 << 30,
        bandwidth: 1e12,
        launch: 2e-6,
    };
    let [plain, charged] =
        [&c, &charged].map(|c| forecast(c, &heads, Some(4), Where::Gpu(gpu)).unwrap());
    for (a, b) in plain.iter().zip(&charged) {
        let more = b.launches.unwrap() - a.launches.unwrap();
        assert_eq!(more == 0, a.stage == "5-finetune", "{}: {more}", a.stage);
        assert!(more <= 48, "{}: {more}", a.stage);
        assert_eq!((b.graphs, &b.by_host), (a.graphs, &a.by_host), "{b:?}");
        // What it costs is among the parts of the loss that come back; nothing goes up but where that part lies, once.
        assert!(b.uploaded.unwrap() <= a.uploaded.unwrap() + 8, "{b:?}");
        assert!(b.fetched.unwrap() <= a.fetched.unwrap() + 8, "{b:?}");
    }
}

#[test]
fn figures_are_extended_in_a_straight_line() {
    assert_eq!(extend([(1, 3.0), (2, 5.0)], 4), 9.0);
    assert_eq!(extend([(2, 3.0), (4, 5.0)], 8), 9.0);
    assert_eq!(extend([(1, 3.0), (2, 2.9)], 4), 3.0);
    assert_eq!(extend([(1, 3.0), (1, 3.0)], 1), 3.0);
}

#[test]
fn heads_name_their_tasks() {
    let (c, heads) = demo();
    let s = finetuned(&c, &heads).unwrap().spec;
    assert_eq!(tasks(&s), [TaskKind::Detection, TaskKind::Segmentation]);
    assert_eq!(
        budget(&c, "5-finetune"),
        (c.finetune.batch, c.finetune.iters)
    );
}

/// What is said of each choice of what search cells keep.
fn chosen_and_others(f: &Forecast) {
    if f.stage == "5-finetune" {
        assert!(f.memories.is_empty(), "{f:?}");
        return;
    }
    let [fast, balanced, small] = &f.memories[..] else {
        panic!("{f:?}");
    };
    assert_eq!(fast.bytes, Some(f.memory));
    assert_eq!((fast.recomputed, small.recomputed), (0, small.cells));
    assert!(0 < balanced.recomputed && balanced.recomputed < small.cells);
    assert!(small.bytes < fast.bytes, "{f:?}");
    assert!(balanced.bytes <= fast.bytes && small.bytes <= balanced.bytes);
}

/// A classifier of two search cells, one of which halves its map, over small images.
fn classifier() -> Config {
    let (mut c, _) = demo();
    c.model.frame = Frame::Classification;
    (c.model.channels, c.model.cells, c.model.nodes) = (8, 2, 1);
    c.model.reductions = Some(vec![1]);
    c.search.presearch.size = [8, 16];
    c
}

/// Steps of the classifier: its state after them.
fn steps(w: &Workload, path: Path) -> BTreeMap<String, Tensor> {
    let cx = Cx {
        path,
        ..Cx::default()
    };
    // On a device the third is replayed.
    let (mut state, mut left) = (BTreeMap::new(), 3);
    w.run(cx, 2, left, |learner, _| {
        left -= 1;
        if left == 0 {
            state = learner_io::tensors(learner);
        }
        Ok(())
    })
    .unwrap();
    state
}

/// Runs of every choice end in the same bits, and need what was planned.
#[test]
fn what_is_recomputed_changes_memory_alone() {
    let c = classifier();
    let workload = |memory: Memory| {
        let mut spec = presearch(&c, Some(3)).unwrap();
        spec.memory = memory;
        Workload {
            config: &c,
            spec,
            kind: TaskKind::Classification,
            searches: true,
            tasks: 1,
            held: 0,
        }
    };
    let fast = workload(Memory::Fast);
    let host = steps(&fast, Path::Fast);
    assert!(host.len() > 50);
    let others = [Memory::Balanced, Memory::Small].map(|m| steps(&workload(m), Path::Fast));
    assert!(others.iter().all(|state| *state == host));
    let mut peaks = vec![];
    let mut on_device = None;
    for memory in [Memory::Fast, Memory::Small] {
        let w = workload(memory);
        let e = Engine::emulated(1);
        let state = steps(&w, Path::Device(e));
        let first = on_device.get_or_insert_with(|| state.clone());
        assert!(state == *first, "{memory} on a device");
        let measured = e.counts().peak as f64;
        let gpu = Gpu {
            memory: 1 << 30,
            bandwidth: 1e12,
            launch: 2e-6,
        };
        let mut f = Forecast::new(&w, "3-presearch", 2, 4);
        w.count(gpu, 2, &mut f).unwrap();
        let planned = f.memory as f64;
        assert!(
            (planned / measured - 1.0).abs() < 0.05,
            "{memory}: {planned} planned, {measured}"
        );
        peaks.push(f.memory);
    }
    assert!(peaks[0] > peaks[1], "{peaks:?}");
}
