//! The constraint inside architecture steps: on the processor and as a recorded step of a device.

use std::path::PathBuf;

use super::*;
use crate::model::config::{Frame, FrameConfig};
use crate::model::{Cells, NetworkSpec};
use crate::nn::Mode;
use crate::optim::config::AdamConfig;
use crate::search::bilevel::Learner;
use crate::search::config::Files;
use crate::search::graphs::{Graphs, Step};
use crate::search::phase::{Phase, Update};
use crate::space::{ArchOptions, Candidates, PRIMITIVES, Primitive};
use crate::tape::{Cx, Path};
use crate::tensor::{DType, Engine};

const GOOD: [Primitive; 2] = [Primitive::SepConv3, Primitive::SepConv5];
const STEPS: u64 = 80;

/// A classifier of cells whose architecture starts uniform.
fn network(edge_norm: bool) -> (Network, Store) {
    let frame = FrameConfig {
        frame: Frame::Classification,
        channels: 4,
        cells: 3,
        partial_k: 1,
        nodes: 2,
        edge_norm,
        ..FrameConfig::default()
    };
    let names = ["max_pool_3x3", "sep_conv_3x3", "sep_conv_5x5"];
    let some = Candidates::named(5, &names).unwrap();
    let options = ArchOptions {
        normal: some.clone(),
        reduce: some,
        ..ArchOptions::new(2, edge_norm)
    };
    let cells = Cells::Search {
        group: "backbone".into(),
        options,
    };
    let spec = NetworkSpec {
        classes: Some(3),
        ..NetworkSpec::new(&frame, 16, 16, cells)
    };
    let (net, mut store) = Network::build(&spec, 1, DType::F32).unwrap();
    let all: Vec<_> = store
        .arch
        .iter()
        .map(|(id, _, t)| (id, *t.shape()))
        .collect();
    for (id, shape) in all {
        store.arch.set(id, Tensor::zeros(shape, DType::F32));
    }
    (net, store)
}

/// A loss that plants the answer: on every edge the two good operations compute the target, all others nothing. Which of the two it is
/// makes no difference.
fn planted(net: &Network, p: &Pass, inputs: &[Tensor]) -> Result<Loss> {
    let mixture = net.groups()[0].mixture(p)?;
    let mut total = None;
    for reduction in [false, true] {
        let alpha = &mixture.cell(reduction).alpha;
        let edges = alpha.dims()[0];
        let (target, x) = (
            p.tape.leaf(inputs[0].clone()),
            p.tape.leaf(inputs[0].clone()),
        );
        for edge in 0..edges {
            let pick = GOOD.map(|op| edge * PRIMITIVES + op.index());
            let y = ops::weighted_sum(&[&x, &x], alpha, &pick)?;
            let off = ops::add(&y, &ops::scale(&target, -1.0)?)?;
            let one = ops::mean(&ops::mul(&off, &off)?)?;
            total = Some(match total {
                None => one,
                Some(sum) => ops::add(&sum, &one)?,
            });
        }
    }
    let (total, parts) = (total.expect("edges"), vec![]);
    Ok(Loss { total, parts })
}

/// `dear` costs ten times what everything else does.
fn constraint(net: &Network, dear: Primitive, weight: f64, target: f64) -> Constraint {
    let of = |place: &Place| Ok(if place.primitive == dear { 10.0 } else { 1.0 });
    Constraint {
        cost: ExpectedCost::new(net, of).unwrap(),
        metric: CostMetric::Macs,
        weight,
        target,
        source: String::new(),
        measured: String::new(),
    }
}

struct Found {
    learner: Learner,
    replays: u64,
    /// Expected cost over that of the uniform architecture.
    share: f64,
}

impl Found {
    /// Alpha of an operation on every edge of both cells.
    fn alpha(&self, op: Primitive) -> Vec<f64> {
        let of = |t: &Tensor| {
            let v = t.to_f64();
            v.chunks(PRIMITIVES)
                .map(|e| e[op.index()])
                .collect::<Vec<_>>()
        };
        let all = self.learner.store.arch.iter();
        all.filter(|(_, _, t)| t.dims().len() == 2)
            .flat_map(|(_, _, t)| of(t))
            .collect()
    }
}

fn search(
    path: Path,
    edge_norm: bool,
    steps: u64,
    c: Option<&dyn Fn(&Network) -> Constraint>,
) -> Found {
    let (net, store) = network(edge_norm);
    let c = c.map(|make| make(&net));
    let mut learner = Learner::new(store);
    let mut graphs = Graphs::new(false);
    let alpha = AdamConfig {
        lr: 0.1,
        weight_decay: 0.0,
        ..AdamConfig::default()
    };
    let x = (0..48).map(|i| (i as f32).sin()).collect();
    let inputs = [Tensor::from_f32([2, 3, 2, 4], x).unwrap()];
    for step in 0..steps {
        let phase = Phase {
            cx: Cx {
                path,
                ..Cx::default()
            },
            mode: Mode::ARCH_STEP,
            key: [1, 0, step],
            update: Update::Arch(&alpha),
            lr: alpha.lr,
        };
        let one = Step {
            of: &[],
            inputs: &inputs,
            loss: &|p, x| {
                let loss = planted(&net, p, x)?;
                match &c {
                    Some(c) => c.add(&net, p, loss),
                    None => Ok(loss),
                }
            },
            varies: None,
        };
        graphs.step(&mut learner, &phase, &one).unwrap();
    }
    let share = c.map_or(1.0, |c| c.at(&net, &learner.store).unwrap() / c.uniform());
    Found {
        learner,
        replays: graphs.replays(),
        share,
    }
}

#[test]
fn of_two_equally_good_operations_the_cheap_one_wins() {
    for edge_norm in [false, true] {
        let free = search(Path::Fast, edge_norm, STEPS, None);
        let [a, b] = GOOD.map(|op| free.alpha(op));
        assert_eq!(a, b, "without a constraint there is no preference");
        for (cheap, dear) in [(GOOD[0], GOOD[1]), (GOOD[1], GOOD[0])] {
            let make = |net: &Network| constraint(net, dear, 3.0, 0.0);
            let found = search(Path::Fast, edge_norm, STEPS, Some(&make));
            let genotype = {
                let (net, _) = network(edge_norm);
                net.groups()[0]
                    .genotype(&found.learner.store, None)
                    .unwrap()
            };
            for (op, _) in genotype.normal.iter().chain(&genotype.reduce) {
                assert_eq!(*op, cheap, "{genotype}");
            }
            let gap = found.alpha(cheap).into_iter().zip(found.alpha(dear));
            assert!(
                gap.clone().all(|(c, d)| c > d + 1.0),
                "{:?}",
                gap.collect::<Vec<_>>()
            );
            // The cost that is left is that of the cheap one alone, 1 of the mean (10 + 1 + 1) / 3.
            assert!(found.share < 0.4, "{}", found.share);
        }
    }
}

#[test]
fn nothing_is_charged_below_the_target() {
    let run = |target: f64| {
        let make = |net: &Network| constraint(net, GOOD[1], 1.0, target);
        search(Path::Fast, true, STEPS, Some(&make))
    };
    let loose = run(20.0);
    assert_eq!(loose.alpha(GOOD[0]), loose.alpha(GOOD[1]));
    let (tight, all) = (run(1.1), run(0.0));
    assert!(tight.share <= 1.15, "{}", tight.share);
    assert!(
        all.share < tight.share - 0.2,
        "{} {}",
        all.share,
        tight.share
    );
}

#[test]
fn a_weight_of_nothing_is_no_constraint() {
    let (net, _) = network(true);
    let mut c = Config::default();
    assert!(Constraint::open(&c, &net).unwrap().is_none());
    c.search.constraint.weight = 0.5;
    let open = Constraint::open(&c, &net).unwrap().unwrap();
    assert_eq!((open.unit().as_str(), open.source()), ("MACs", ""));
    assert!(open.uniform() > 0.0);
    assert!(check_source("", Some(&open)).is_ok() && check_source("", None).is_ok());
    let e = check_source("abc", Some(&open)).unwrap_err();
    assert_eq!(e.code(), Code::ConfigChanged);
}

/// The penalty is launches only: a step is recorded and replayed, nothing is computed by the host, and it goes where the processor goes.
#[test]
fn a_recorded_step_of_a_device_is_charged_too() {
    let e = Engine::emulated(1);
    for (edge_norm, target) in [(false, 0.5), (true, 0.0)] {
        let make = |net: &Network| constraint(net, GOOD[0], 0.7, target);
        let on = search(Path::Device(e), edge_norm, 6, Some(&make));
        let by_host = search(Path::Fast, edge_norm, 6, Some(&make));
        assert!(on.replays > 0);
        let none: Vec<&str> = e.fallbacks().into_keys().collect();
        assert!(none.is_empty(), "{none:?}");
        for op in Primitive::ALL {
            for (a, b) in on.alpha(*op).into_iter().zip(by_host.alpha(*op)) {
                assert!((a - b).abs() < 1e-4, "{op}: {a} {b}");
            }
        }
        assert!((on.share - by_host.share).abs() < 1e-4);
    }
}

fn latencies(places: &[Place]) -> String {
    let row = |p: &Place| {
        format!(
            r#"{{"primitive": "{}", "channels": {}, "height": {}, "width": {}, "stride": {}, "batch": 2, "us": {}}}"#,
            p.primitive,
            p.x.c,
            p.x.h,
            p.x.w,
            p.stride,
            1.0 + p.primitive.index() as f64
        )
    };
    let rows: Vec<String> = places.iter().map(row).collect();
    let rows = rows.join(",\n");
    format!(r#"{{"device": "cpu", "threads": 1, "dtype": "f32", "rows": [{rows}]}}"#)
}

#[test]
fn measured_latencies_of_every_stage_are_asked_for_before_it_runs() {
    let text = include_str!("../../configs/mtnas-paper.toml");
    let mut c = Config::from_toml(text, "mtnas-paper.toml").unwrap();
    let home = tempfile::tempdir().unwrap();
    let file: PathBuf = home.path().join("table.json");
    let k = &mut c.search.constraint;
    (k.metric, k.weight, k.batch) = (CostMetric::Latency, 0.1, 2);
    k.table = Files(vec![file.clone()]);
    assert_eq!(check(&c).unwrap_err().code(), Code::NotFound);
    std::fs::write(&file, latencies(&[])).unwrap();
    let e = check(&c).unwrap_err();
    assert_eq!(e.code(), Code::ConfigValue);
    // Of the pre-search, of the backbone search, of the branches.
    let text = e.render();
    for shape in [
        "32x56x56 stride 1",
        "32x80x128 stride 1",
        "8x80x128 stride 1",
    ] {
        assert!(text.contains(shape), "{shape}: {text}");
    }
    let mut all = vec![];
    for p in stages(&c).unwrap() {
        all.extend(searched_places(&Network::plan(&p.spec).unwrap()));
    }
    all.sort();
    all.dedup();
    std::fs::write(&file, latencies(&all)).unwrap();
    check(&c).unwrap();
    let spec = &stages(&c).unwrap()[2].spec;
    let net = Network::plan(spec).unwrap();
    let open = Constraint::open(&c, &net).unwrap().unwrap();
    assert_eq!(
        (open.unit().as_str(), open.source().len()),
        ("us on cpu, 1 threads, f32", 64)
    );
    // One too few.
    let dear = all
        .iter()
        .position(|p| p.primitive == Primitive::DilConv5)
        .unwrap();
    let gone = all.remove(dear);
    std::fs::write(&file, latencies(&all)).unwrap();
    let text = check(&c).unwrap_err().render();
    assert!(text.contains("1 operations of this search"), "{text}");
    assert!(
        text.contains(&format!("{} stride {}: dil_conv_5x5", gone.x, gone.stride)),
        "{text}"
    );
    c.search.constraint.weight = 0.0;
    check(&c).unwrap();
}
