//! Nearest-neighbour enlargement added to a finer map: `y[.., i, j] = tap[.., i, j] + coarse[.., i / f, j / f]`, a step of a feature pyramid. On
//! a device one launch forward; back one for the coarse map alone, the gradient of the tap is `dy` itself.

use std::sync::Arc;

use super::add::Add;
use super::reference::{Arr, Reference};
use super::shape_rules::same;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use super::upsample_nearest::UpsampleNearest;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};

const NAME: &str = "upsample_add";

/// The op with its factor; operands the coarse map and the tap.
#[derive(Debug, Clone)]
pub struct UpsampleAdd {
    /// Enlargement of height and width, at least 1.
    pub factor: usize,
}

/// `coarse` `(N, C, H, W)` enlarged, plus `tap` `(N, C, H f, W f)`.
///
/// # Errors
/// Those of [`super::upsample_nearest()`]; [`crate::Code::Shape`] when the tap has another size.
pub fn upsample_add(coarse: &Var, tap: &Var, factor: usize) -> Result<Var> {
    (coarse.tape()).apply(UpsampleAdd { factor }, &[coarse, tap])
}

impl UpsampleAdd {
    fn enlargement(&self) -> UpsampleNearest {
        UpsampleNearest {
            factor: self.factor,
        }
    }

    /// With the gradient of the coarse map by `of`, from `b` as the enlargement is given it.
    fn pulled(
        &self,
        b: &Backward,
        of: impl FnOnce(&UpsampleNearest, &Backward) -> Result<Option<Vec<Option<Grad>>>>,
    ) -> Result<Option<Vec<Option<Grad>>>> {
        let mut coarse = None;
        if b.need[0] {
            let own = Backward {
                x: &[None],
                shapes: &b.shapes[..1],
                need: &[true],
                so_far: &[],
                ..*b
            };
            match of(&self.enlargement(), &own)? {
                Some(all) => coarse = all.into_iter().next().flatten(),
                None => return Ok(None),
            }
        }
        let tap = b.need[1].then(|| Grad::Whole(b.dy.clone()));
        Ok(Some(vec![coarse, tap]))
    }
}

impl Reference for UpsampleAdd {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        Add.fwd(&[self.enlargement().fwd(&x[..1]), x[1].clone()])
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut all = self.enlargement().bwd(&x[..1], dy);
        all.push(Some(dy.clone()));
        all
    }
}

impl Op for UpsampleAdd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let y = self.enlargement().infer(&x[..1])?;
        same(NAME, &y, &x[1])?;
        Ok(y)
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        let values = y.numel() as u64;
        Elementwise {
            add: values,
            upsample: values,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let coarse = self.enlargement().forward(&x[..1])?.y;
        Add.forward(&[coarse, x[1].clone()])
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let all = self.pulled(b, |op, b| op.backward(b).map(Some))?;
        Ok(all.expect("the host computes every type"))
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let enlarged = self.enlargement().portable(g, &x[..1], y)?;
        Some(g.node(Kind::Add, &[enlarged, x[1]], y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let y = self.enlargement().enlarged(e, &x[0], Some(&x[1]))?;
        Ok(y.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.pulled(b, |op, b| op.backward_device(e, b))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: NAME,
    case: |g| {
        let [n, c, h, w] = g.map_shape();
        // Rows that kernels take 16 bytes at a time, in half of them.
        let w = if g.rng.coin(0.5) {
            w.div_ceil(8) * 8
        } else {
            w
        };
        let (c, factor) = (c.min(7), g.pick(&[1, 2, 2, 3, 4]));
        Case {
            op: Arc::new(UpsampleAdd { factor }),
            x: vec![
                g.normal([n, c, h, w]),
                g.normal([n, c, h * factor, w * factor]),
            ],
        }
    },
    refusals: || {
        let refuse = |factor, coarse: &[usize], tap: &[usize], expect| Refusal {
            op: Arc::new(UpsampleAdd { factor }) as Arc<dyn Op>,
            shapes: vec![Shape::new(coarse), Shape::new(tap)],
            expect,
        };
        vec![
            refuse(2, &[2, 3], &[4, 6], "expected (N, C, H, W), got (2, 3)"),
            refuse(
                0,
                &[1, 1, 2, 2],
                &[1, 1, 2, 2],
                "the factor must be at least 1",
            ),
            refuse(
                2,
                &[1, 1, 2, 2],
                &[1, 1, 4, 5],
                "expected operands of one shape, got (1, 1, 4, 4) and (1, 1, 4, 5)",
            ),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dtap too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "dcoarse is dtap cut to its size",
            spoil: |c, dy, g| {
                let n = c.x[0].numel();
                let Some(dx) = g[0].as_mut().filter(|_| dy.numel() > n) else {
                    return false;
                };
                dx.data_mut::<f64>().copy_from_slice(&dy.f64s()[..n]);
                true
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::rng::Rng;
    use crate::tape::{Cx, Path, Tape};
    use crate::tensor::DType;

    /// Value and both gradients; with the launches that they took.
    fn run(path: Path, dtype: DType, [h, w]: [usize; 2], fused: bool) -> (Vec<Tensor>, u64) {
        let launched = || match path {
            Path::Device(e) => e.counts().launches,
            _ => 0,
        };
        let tape = Tape::new(Cx {
            path,
            ..Cx::default()
        });
        let mut r = Rng::new(3, &[w as u64]);
        let mut draw = |shape: [usize; 4]| {
            let v = (0..shape.iter().product()).map(|_| r.normal()).collect();
            tape.param(Tensor::from_f64(shape, v).unwrap().cast(dtype))
        };
        let (coarse, tap) = (draw([2, 3, h, w]), draw([2, 3, 2 * h, 2 * w]));
        let by = draw([2, 3, 2 * h, 2 * w]);
        let before = launched();
        let y = match fused {
            true => upsample_add(&coarse, &tap, 2).unwrap(),
            false => ops::add(&ops::upsample_nearest(&coarse, 2).unwrap(), &tap).unwrap(),
        };
        let mut grads = (tape.backward(&ops::sum(&ops::mul(&y, &by).unwrap()).unwrap())).unwrap();
        let launches = launched() - before;
        let mut all = vec![y.value().detached()];
        all.extend([&coarse, &tap].map(|v| grads.take(v).unwrap().detached()));
        (all, launches)
    }

    #[test]
    fn it_has_the_bits_of_both_operations_in_a_launch_less() {
        // Rows of whole packs, and others.
        for size in [[3, 8], [2, 5]] {
            for dtype in [DType::F32, DType::F64, DType::Bf16] {
                let of = |fused| run(Path::Fast, dtype, size, fused).0;
                assert_eq!(of(true), of(false), "{dtype:?}");
            }
            for dtype in [DType::F32, DType::Bf16] {
                let of = |fused| run(Path::Device(Engine::emulated(2)), dtype, size, fused);
                let ((one, launches), (both, more)) = (of(true), of(false));
                assert_eq!(one, both, "{dtype:?}");
                assert_eq!(launches + 1, more);
            }
        }
    }
}
