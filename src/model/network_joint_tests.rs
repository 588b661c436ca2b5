//! Heads together: the same bits as one by one, and what they share computed once.

use super::*;
use crate::model::preset::Preset;

/// Outputs of `tasks` in one pass, and the layers that ran.
fn joint(net: &Network, store: &Store, tasks: &[TaskKind]) -> (Vec<Vec<Tensor>>, Vec<String>) {
    let p = Pass::new(store, Cx::default(), Mode::EVAL);
    let [h, w] = [net.spec().height, net.spec().width];
    let x = p.tape.leaf(random([2, 3, h, w], 4, DType::F32));
    let all = net.forward_all(&p, &x, tasks, Mixing::Parameters).unwrap();
    let values = |o| vars(o).iter().map(|v| v.value().clone()).collect();
    let layers = p.layers().into_iter().map(|l| l.name).collect();
    (all.into_iter().map(values).collect(), layers)
}

#[test]
fn heads_together_are_heads_one_by_one_and_every_layer_runs_once() {
    let mut by_hand = Preset::hand("mtl-resnet18").unwrap();
    by_hand.size = [64, 64];
    by_hand.frame.det_levels = Some(5);
    let specs = [
        derived(&published::by_name("MTNAS_backbone").unwrap()),
        searched(Frame::MtnasRelease, 5),
        spec(
            Frame::MtnasPeer,
            Cells::Derived(published::by_name("DARTS_V2").unwrap()),
            4,
        ),
        by_hand.supernet(),
    ];
    for spec in specs {
        let (net, store) = Network::build(&spec, 1, DType::F32).unwrap();
        assert_eq!(net.tasks(), TASKS);
        let (both, mut ran) = joint(&net, &store, &TASKS);
        for (i, task) in TASKS.into_iter().enumerate() {
            let (alone, _) = joint(&net, &store, &[task]);
            assert_eq!(alone[0], both[i], "{task}");
        }
        let reversed = joint(&net, &store, &[TASKS[1], TASKS[0]]).0;
        assert_eq!([&reversed[1], &reversed[0]], [&both[0], &both[1]]);
        let declared = net.cost().layers().iter();
        let declared = declared.filter(|l| l.kind != LayerKind::Norm);
        let mut declared: Vec<String> = declared.map(|l| l.name.clone()).collect();
        ran.sort();
        declared.sort();
        assert_eq!(ran, declared);
    }
}

#[test]
fn a_head_that_is_not_there_is_refused() {
    let spec = derived(&published::by_name("DARTS_V2").unwrap());
    let (net, store) = Network::blank(&spec, DType::F32).unwrap();
    let p = Pass::new(&store, Cx::default(), Mode::EVAL);
    let x = p.tape.leaf(random([1, 3, 64, 64], 0, DType::F32));
    let tasks = [TaskKind::Segmentation, TaskKind::Classification];
    let e = net.forward_all(&p, &x, &tasks, Mixing::Parameters);
    let e = e.unwrap_err();
    assert_eq!(e.code(), Code::Argument);
    assert!(e.to_string().contains("no classification head"), "{e}");
    let none = net.forward_all(&p, &x, &[], Mixing::Parameters).unwrap();
    assert!(none.is_empty());
}
