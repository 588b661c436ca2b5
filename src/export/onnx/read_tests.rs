use prost::Message;

use super::*;
use crate::export::onnx::{Batch, Options, to_onnx, write::model};
use crate::mutation::{CASES, MANY, Target, run_all};
use crate::portable::{Graph, Kind};
use crate::tensor::{Shape, Tensor};

/// A convolution, rectified, in rows.
fn graph() -> Graph {
    let mut g = Graph::default();
    let s = Shape::from([1, 4, 3, 3]);
    let x = g.input("image", s);
    let w = (0..16).map(|i| i as f32 * 0.1).collect();
    let w = g.parameter("head.weight", &Tensor::from_f32([4, 4, 1, 1], w).unwrap());
    let kind = Kind::Conv {
        stride: 1,
        padding: 0,
        dilation: 1,
        groups: 1,
    };
    let y = g.node(kind, &[x, w], s);
    let y = g.node(Kind::Relu, &[y], s);
    let y = g.node(Kind::ToRows { width: 2 }, &[y], Shape::from([1, 18, 2]));
    g.output("loc", y);
    g
}

fn options<'a>() -> Options<'a> {
    Options {
        batch: Batch::Open,
        metadata: vec![("format".into(), "mtnas".into())],
        input_doc: "An image.".into(),
        decoding: None,
    }
}

#[test]
fn what_is_written_reads_back_and_names_are_those_of_layers() {
    let bytes = to_onnx(&graph(), &options());
    let m = parse(&bytes).unwrap();
    assert_eq!(m, model(&graph(), &options()));
    let g = m.graph.unwrap();
    let nodes: Vec<(&str, &str)> = g.node.iter().map(|n| (n.op_type(), n.name())).collect();
    let wanted = [
        ("Conv", "head"),
        ("Relu", "head.relu"),
        ("Transpose", "loc.turned"),
        ("Reshape", "loc"),
    ];
    assert_eq!(nodes, wanted);
    assert_eq!(g.input[0].name(), "image");
    // Lists of integers are not packed, as version 2 of the language writes them: key 8 of type 0, for each stride.
    let strides = g.node[0].attribute[4].encode_to_vec();
    assert_eq!(strides.windows(2).filter(|w| *w == [8 << 3, 1]).count(), 2);
}

#[test]
fn a_graph_that_does_not_hold_together_is_refused() {
    let spoilt = |spoil: fn(&mut GraphProto)| {
        let mut m = model(&graph(), &options());
        spoil(m.graph.as_mut().unwrap());
        check(&m).unwrap_err().message().to_string()
    };
    let e = spoilt(|g| g.node.swap(0, 1));
    assert_eq!(
        e,
        "Relu `head.relu` reads `head`, which is not defined before"
    );
    let e = spoilt(|g| g.node[1].output[0] = "head".into());
    assert!(e.contains("`head` is defined twice"), "{e}");
    let e = spoilt(|g| g.initializer[0].dims[0] = 5);
    assert!(e.contains("`head.weight` [5, 4, 1, 1] has 64 bytes"), "{e}");
    let e = spoilt(|g| g.initializer[0].dims[0] = -4);
    assert!(e.contains("has the sizes [-4, 4, 1, 1]"), "{e}");
    let e = spoilt(|g| drop(g.node.pop()));
    assert_eq!(e, "the output `loc` is not computed");
    let e = spoilt(|g| g.input[0].r#type = None);
    assert!(e.contains("`image` has no type"), "{e}");
    let mut m = model(&graph(), &options());
    m.opset_import[0].version = Some(18);
    assert!(
        check(&m)
            .unwrap_err()
            .message()
            .contains("version 18, expected 17")
    );
}

fn valid(root: &Path) {
    std::fs::write(root.join("m.onnx"), to_onnx(&graph(), &options())).unwrap();
}

fn mutation(cases: u64) {
    let target = Target {
        name: "onnx",
        file: "m.onnx",
        mend: None,
        read: |root| read(&root.join("m.onnx")).map(drop),
    };
    run_all(&[target], cases, valid);
}

#[test]
fn mutation_is_refused_by_name() {
    mutation(CASES);
}

#[test]
#[ignore = "10,000 damaged files"]
fn mutation_ten_thousand_times() {
    mutation(MANY);
}
