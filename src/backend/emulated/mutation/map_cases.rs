//! Cases of kernels that take maps in strips of rows: every stride, tails of strips, several packs of a row, fewer threads than strips.

use std::sync::Arc;

use super::cases::wrong;
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::gradcheck::{agree, pull};
use crate::ops::pool::{Kind, Pool};
use crate::ops::table::Case;
use crate::ops::upsample_add::UpsampleAdd;
use crate::ops::upsample_bilinear::UpsampleBilinear;
use crate::ops::upsample_nearest::UpsampleNearest;
use crate::rng::Rng;
use crate::tape::{Op, Path};
use crate::tensor::{DType, Engine, Shape, Tensor};

const POOLS: [(Kind, usize, usize, usize); 5] = [
    (Kind::Max, 3, 1, 1),
    (Kind::Average, 3, 1, 1),
    (Kind::Max, 3, 2, 1),
    (Kind::Average, 3, 2, 1),
    (Kind::Max, 2, 2, 0),
];

fn pool((kind, k, stride, padding): (Kind, usize, usize, usize)) -> Arc<dyn Op> {
    Arc::new(Pool {
        kind,
        k,
        stride,
        padding,
    })
}

/// All pools that strips take: first maps without ties, then with many, then with a value that is not a number.
pub fn pools(e: Engine) -> Result<()> {
    for (i, (h, packs)) in [(1, 1), (6, 3), (9, 2)].into_iter().enumerate() {
        for of in POOLS {
            for (dtype, pack) in [(DType::F32, 4), (DType::Bf16, 8)] {
                let shape = [2, 2, h.max(of.1 - 2 * of.3), of.2 * packs * pack];
                let n: usize = shape.iter().product();
                let mut r = Rng::new(13, &[i as u64]);
                let other = r.permutation(n);
                let v = other.iter().map(|&v| match i {
                    1 => (v % 3) as f64,
                    _ => v as f64 - n as f64 / 2.0,
                });
                let x = vec![Tensor::from_f64(shape, v.collect())?];
                agree(e, &Case { op: pool(of), x }, dtype, &mut r)?;
            }
        }
    }
    for of in POOLS {
        not_a_number(e, pool(of))?;
    }
    few_threads(e)
}

/// One value that is not a number: it is the result of every window that it stands in, and of no other.
fn not_a_number(e: Engine, op: Arc<dyn Op>) -> Result<()> {
    let shape = [1, 1, 6, 8];
    for at in [0, 2 * 8 + 3, 3 * 8 + 2] {
        let at_one = |nan: f64| {
            let mut v = vec![1.0; 48];
            v[at] = nan;
            Tensor::from_f64(shape, v)
        };
        let out = op.infer(&[Shape::from(shape)])?;
        let dy = Tensor::full(out, DType::F32, 1.0);
        let of = |x: Tensor, path| -> Result<Vec<f64>> {
            Ok(pull(&op, &[x.cast(DType::F32)], path, &dy)?.0.to_f64())
        };
        let got = of(at_one(f64::NAN)?, Path::Device(e))?;
        // A value so large tells which windows it stands in.
        let want = of(at_one(1e6)?, Path::Reference)?;
        if (got.iter().zip(&want)).any(|(g, w)| g.is_nan() != (*w > 1.0)) {
            let text = format!("{op:?} of a value that is not a number at {at}: {got:?}");
            return Err(wrong(text));
        }
    }
    Ok(())
}

/// A thread has several strips.
fn few_threads(e: Engine) -> Result<()> {
    let shape = Shape::from([3, 2, 8, 8]);
    let mut r = Rng::new(14, &[]);
    let v = (0..shape.numel()).map(|_| r.normal() as f32).collect();
    let x = [Tensor::from_f32(shape, v)?];
    let op = pool(POOLS[1]);
    let (y, dx) = pull(&op, &x, Path::Device(e), &x[0])?;
    let of = |kernel: Kernel| -> Result<Tensor> {
        let mut to = Tensor::scratch_on(e, shape, DType::F32)?;
        let sizes = [8, 8, 8, 8].map(Arg::I32);
        let args = [&[x[0].arg(e)?, to.arg_out(e)?, Arg::I64(6)][..], &sizes].concat();
        e.launch(kernel, Launch::new([2, 1, 1], [4, 1, 1]), &args)?;
        Ok(to)
    };
    let same = of(k::AVG_POOL3_S1_F32)? == y && dx[0] == Some(of(k::AVG_POOL3_S1_BWD_F32)?);
    match same {
        true => Ok(()),
        false => Err(wrong("few threads give other means".into())),
    }
}

/// Maps enlarged twofold and fourfold, one row and more, one pack of a row and more: nearest neighbour and bilinear.
pub fn enlarged(e: Engine) -> Result<()> {
    for (i, (h, w, factor)) in [(1, 8, 2), (5, 16, 2), (1, 8, 4), (4, 24, 4), (3, 4, 2)]
        .into_iter()
        .enumerate()
    {
        let nearest: Arc<dyn Op> = Arc::new(UpsampleNearest { factor });
        let added: Arc<dyn Op> = Arc::new(UpsampleAdd { factor });
        let bilinear: Arc<dyn Op> = Arc::new(UpsampleBilinear {
            height: factor * h,
            width: factor * w,
            align_corners: false,
        });
        for op in [nearest, added, bilinear] {
            for dtype in [DType::F32, DType::Bf16] {
                let mut r = Rng::new(15, &[i as u64]);
                let mut draw = |h: usize, w: usize| {
                    let v = (0..6 * h * w).map(|_| r.normal()).collect();
                    Tensor::from_f64([2, 3, h, w], v)
                };
                let mut x = vec![draw(h, w)?];
                if op.name() == "upsample_add" {
                    x.push(draw(factor * h, factor * w)?);
                }
                let op = op.clone();
                agree(e, &Case { op, x }, dtype, &mut r)?;
            }
        }
    }
    Ok(())
}
