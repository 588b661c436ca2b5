//! Single operations: rows of `benches/peers/ops.py`.

use burn_tensor::backend::AutodiffBackend;
use burn_tensor::{Distribution, Tensor, activation};
use serde_json::{Value, json};

use crate::Ops;
use crate::clock::time;
use crate::layers::{Map, Weights, average_pool, max_pool, norm};

const K: usize = 4;

/// A row: name, factor of the channels, the operation.
type Row<B> = (&'static str, usize, fn(&Weights<B>, &Tensor<B, 2>, Map<B>) -> Map<B>);

fn table<B: AutodiffBackend>() -> Vec<Row<B>> {
    vec![
        ("dw3 s1", 1, |w, _, x| w.depthwise(x, 3, 1, 1)),
        ("dw3 s2", 1, |w, _, x| w.depthwise(x, 3, 2, 1)),
        ("dw5 s1", 1, |w, _, x| w.depthwise(x, 5, 1, 1)),
        ("dw5 s2", 1, |w, _, x| w.depthwise(x, 5, 2, 1)),
        ("dw3 d2", 1, |w, _, x| w.depthwise(x, 3, 1, 2)),
        ("dw5 d2", 1, |w, _, x| w.depthwise(x, 5, 1, 2)),
        ("pw", 1, |w, _, x| {
            let c = x.dims()[1];
            w.conv(x, c, 1, 1)
        }),
        ("max3+bn", 1, |_, _, x| norm(max_pool(x, 3, 1, 1))),
        ("avg3+bn", 1, |_, _, x| norm(average_pool(x, 1))),
        ("mixed s1", K, |w, alpha, x| {
            w.mixed(x, &activation::softmax(alpha.clone(), 1), 1, K)
        }),
    ]
}

fn row<B: AutodiffBackend>(a: &Ops, r: &Row<B>, shape: [usize; 4]) -> Value {
    let device = B::Device::default();
    let normal = Distribution::Normal(0.0, 1.0);
    let sets = (24usize << 20).div_ceil(4 * shape.iter().product::<usize>()).clamp(1, 4);
    let inputs: Vec<Map<B>> = (0..sets).map(|_| Tensor::random(shape, normal, &device)).collect();
    let (w, alpha) = (Weights::new(device.clone()), Tensor::random([1, 8], normal, &device));
    let alpha: Tensor<B, 2> = alpha.require_grad();
    let run = |i: usize| {
        w.restart();
        let x = inputs[i].clone().require_grad();
        let y = (r.2)(&w, &alpha, x.clone());
        (x, y)
    };
    let dy: Map<B> = Tensor::random(run(0).1.dims(), normal, &device);
    let forward = time(a.iters, a.row_seconds, sets, |i| drop(run(i)));
    let both = time(a.iters, a.row_seconds, sets, |i| {
        let (x, y) = run(i);
        // burn goes back from a scalar only.
        let gradients = (y * dy.clone()).sum().backward();
        assert!(x.grad(&gradients).is_some());
    });
    json!({"op": r.0, "shape": shape, "sets": sets, "fwd_ms": forward[0], "fwd_bwd_ms": both[0], "cpu_ms": [forward[1], both[1]]})
}

pub fn run<B: AutodiffBackend>(a: &Ops) -> Value {
    let mut found = vec![];
    for &[n, c, h, w] in &a.shapes {
        for r in table::<B>() {
            if a.only.is_empty() || a.only.iter().any(|o| o == r.0) {
                found.push(row(a, &r, [n, c * r.1, h, w]));
            }
        }
    }
    json!({"rows": found})
}
