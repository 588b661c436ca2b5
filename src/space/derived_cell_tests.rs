use super::*;
use crate::nn::Mode;
use crate::tape::Cx;
use crate::tensor::{DType, Tensor};

fn run(drop_path: DropPath, mode: Mode) -> Vec<f64> {
    // Poolings of a constant map are that constant; the second node is the identity of the first input, twice.
    let cell = [
        (Primitive::MaxPool3, 0),
        (Primitive::AvgPool3, 1),
        (Primitive::Skip, 0),
        (Primitive::Skip, 0),
    ];
    let mut b = Builder::new();
    let map = Map::new(2, 3, 3);
    let (body, out) = DerivedBody::new(&mut b, map, false, &cell, &[3, 2], drop_path).unwrap();
    assert_eq!(out, map);
    let store = b.finish(0, DType::F64);
    let p = Pass::new(&store, Cx::default(), mode);
    let x = [1.0, 10.0].map(|v| p.tape.leaf(Tensor::full([64, 2, 3, 3], DType::F64, v)));
    let nodes = body.forward(&p, x).unwrap();
    // The order of the genotype's concat: node 3 first.
    assert!(
        nodes[0].value().to_f64().iter().all(|v| *v == 2.0),
        "identities are never dropped"
    );
    nodes[1]
        .value()
        .to_f64()
        .chunks(18)
        .map(|image| image[0])
        .collect()
}

#[test]
fn drop_path_scales_whole_operations_of_a_sample() {
    let mode = Mode {
        drop_path: 0.5,
        ..Mode::WEIGHT_STEP
    };
    let images = run(DropPath::Active, mode);
    for v in [0.0, 2.0, 20.0, 22.0] {
        let n = images.iter().filter(|i| **i == v).count();
        assert!((4..=32).contains(&n), "{v}: {n} of 64");
    }
    let still = [
        run(DropPath::Never, mode),
        run(DropPath::Active, Mode::WEIGHT_STEP),
        run(
            DropPath::Active,
            Mode {
                training: false,
                ..mode
            },
        ),
    ];
    assert!(still.iter().flatten().all(|v| *v == 11.0));
}

#[test]
fn zero_and_strides() {
    let mut b = Builder::new();
    let cell = [
        (Primitive::Zero, 0),
        (Primitive::MaxPool3, 1),
        (Primitive::Zero, 2),
        (Primitive::Skip, 2),
    ];
    let (body, out) = DerivedBody::new(
        &mut b,
        Map::new(2, 5, 4),
        true,
        &cell,
        &[2, 3],
        DropPath::Active,
    )
    .unwrap();
    assert_eq!(out, Map::new(2, 3, 2));
    let store = b.finish(0, DType::F32);
    let p = Pass::new(&store, Cx::default(), Mode::EVAL);
    let x = [1.0, 2.0].map(|v| p.tape.leaf(Tensor::full([1, 2, 5, 4], DType::F32, v)));
    for node in body.forward(&p, x).unwrap() {
        assert_eq!(node.dims(), [1, 2, 3, 2]);
        assert!(node.value().to_f64().iter().all(|v| *v == 2.0));
    }
}
