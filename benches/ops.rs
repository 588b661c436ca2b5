//! Times single operations, forward and forward + backward, on one thread: `cargo bench --bench ops`.

use std::time::Instant;

use mtnas::ops::{self, BatchNormParams, Conv2dParams};
use mtnas::rng::Rng;
use mtnas::tape::{Cx, Tape, Var};
use mtnas::tensor::{DType, Shape, Tensor};

fn random(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut r = Rng::new(seed, &[]);
    let v = (0..shape.numel()).map(|_| r.normal() as f32).collect();
    Tensor::from_f32(shape, v).expect("sizes agree")
}

/// Median milliseconds of forward and of forward + backward.
fn time(
    x: &Tensor,
    w: &[Tensor],
    f: impl Fn(&Var, &[Var]) -> mtnas::Result<Var>,
) -> mtnas::Result<(f64, f64)> {
    let (mut fwd, mut both) = (vec![], vec![]);
    let dy = {
        let tape = Tape::new(Cx::default());
        let ws: Vec<Var> = w.iter().map(|t| tape.leaf(t.clone())).collect();
        random(*f(&tape.leaf(x.clone()), &ws)?.shape(), 9)
    };
    let start = Instant::now();
    while fwd.len() < 5 || start.elapsed().as_secs_f64() < 0.3 {
        let tape = Tape::new(Cx::default());
        let xv = tape.param(x.clone());
        let ws: Vec<Var> = w.iter().map(|t| tape.param(t.clone())).collect();
        let t = Instant::now();
        let y = f(&xv, &ws)?;
        fwd.push(t.elapsed().as_secs_f64() * 1e3);
        tape.backward_from(&y, dy.clone())?;
        both.push(t.elapsed().as_secs_f64() * 1e3);
    }
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    Ok((median(fwd), median(both)))
}

fn main() -> mtnas::Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("first use of the pool");
    println!(
        "{:12} {:>14} {:>9} {:>9}",
        "op", "shape", "fwd ms", "f+b ms"
    );
    for [n, c, h, w] in [
        [8, 4, 80, 128],
        [16, 4, 32, 32],
        [16, 8, 16, 16],
        [16, 16, 8, 8],
        [8, 16, 20, 32],
        [8, 32, 40, 64],
    ] {
        let x = random([n, c, h, w], 1);
        let show = |name: &str, r: (f64, f64)| {
            println!(
                "{name:12} {:>14} {:9.3} {:9.3}",
                format!("{n}x{c}x{h}x{w}"),
                r.0,
                r.1
            )
        };
        for (name, k, d, s) in [
            ("dw3", 3, 1, 1),
            ("dw5", 5, 1, 1),
            ("dw3 d2", 3, 2, 1),
            ("dw5 d2", 5, 2, 1),
            ("dw5 s2", 5, 1, 2),
        ] {
            let p = Conv2dParams {
                stride: s,
                padding: d * (k - 1) / 2,
                dilation: d,
                groups: c,
            };
            show(
                name,
                time(&x, &[random([c, 1, k, k], 2)], |x, w| {
                    ops::conv2d(x, &w[0], None, p)
                })?,
            );
        }
        let p = Conv2dParams::default();
        show(
            "pw",
            time(&x, &[random([c, c, 1, 1], 2)], |x, w| {
                ops::conv2d(x, &w[0], None, p)
            })?,
        );
        let p = Conv2dParams { padding: 1, ..p };
        show(
            "conv3",
            time(&x, &[random([c, c, 3, 3], 2)], |x, w| {
                ops::conv2d(x, &w[0], None, p)
            })?,
        );
        let bn = BatchNormParams {
            eps: 1e-5,
            relu: false,
        };
        show(
            "bn",
            time(&x, &[], |x, _| Ok(ops::batch_norm(x, None, bn)?.0))?,
        );
        show("relu", time(&x, &[], |x, _| ops::relu(x))?);
        show("max3", time(&x, &[], |x, _| ops::max_pool(x, 3, 1, 1))?);
        show("avg3", time(&x, &[], |x, _| ops::avg_pool(x, 3, 1, 1))?);
    }
    let _ = DType::F32;
    Ok(())
}
