//! Factorised reduction: ReLU, two 1x1 convolutions of stride 2 with half the filters each, the second on the map shifted
//! by one row and column; concat; BN. On a device all before BN is one operation.

use super::{Norms, Operation, Parts, State};
use crate::error::{Code, Error, Result};
use crate::nn::{BatchNorm, Bias, Builder, Conv2d, Map, Pass};
use crate::ops::mixed_node::Candidate;
use crate::ops::shape_rules::with_dim;
use crate::ops::{self, Conv2dParams, Convolved};
use crate::tape::Var;
use crate::tensor::Shape;

/// `skip_connect` at stride 2, and the first input of a cell that follows a reduction cell.
#[derive(Debug)]
pub struct FactorizedReduce {
    conv: [Conv2d; 2],
    /// Channels of each.
    half: usize,
    norm: BatchNorm,
}

impl FactorizedReduce {
    /// Declares one from `x` to `c_out` channels at half the size.
    ///
    /// # Errors
    /// `MT0105` when a side of the map or the number of channels is odd.
    pub fn new(
        b: &mut Builder,
        x: Map,
        c_out: usize,
        norms: Norms,
    ) -> Result<(FactorizedReduce, Map)> {
        let y = x.halved(b.here())?.channels(c_out);
        if !c_out.is_multiple_of(2) {
            let message = format!(
                "`{}`: a factorised reduction to {c_out} channels, which must be even",
                b.here()
            );
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("use a larger number of initial channels or a smaller partial_k"));
        }
        // The map is subsampled first: a pointwise convolution of stride 2 reads only those pixels.
        let half = x.halved(b.here())?;
        let plain = Conv2dParams::default();
        let (first, _) = Conv2d::new(b, "conv_1", half, c_out / 2, 1, plain, Bias::None)?;
        let (second, _) = Conv2d::new(b, "conv_2", half, c_out / 2, 1, plain, Bias::None)?;
        let op = FactorizedReduce {
            conv: [first, second],
            half: c_out / 2,
            norm: BatchNorm::new(b, "bn", y, norms.affine()),
        };
        Ok((op, y))
    }
}

impl FactorizedReduce {
    fn reduced(&self, p: &Pass, x: &State) -> Result<Var> {
        if let Some(x) = x.unrectified()? {
            let (n, _, h, w) = x.shape().nchw("factorised reduction")?;
            let y = Shape::from([n, self.half, h / 2, w / 2]);
            let w = self.conv.iter().map(|c| c.within(p, &y)).collect();
            let all = ops::pointwise_many(&[Convolved { x: x.clone(), w }])?;
            return Ok(all.into_iter().next().expect("a result"));
        }
        let a = self.conv[0].forward(p, &x.subsampled_relu(0)?)?;
        let b = self.conv[1].forward(p, &x.subsampled_relu(1)?)?;
        ops::concat(&[&a, &b])
    }
}

impl Operation for FactorizedReduce {
    fn forward(&self, p: &Pass, x: &State) -> Result<Var> {
        self.norm.forward(p, &self.reduced(p, x)?)
    }

    fn before_norm(
        &self,
        p: &Pass,
        x: &State,
        _inner: Option<&Var>,
    ) -> Result<Option<(Var, &BatchNorm)>> {
        Ok(Some((self.reduced(p, x)?, &self.norm)))
    }

    fn pointwise(&self) -> Option<(Vec<&Conv2d>, &BatchNorm)> {
        Some((self.conv.iter().collect(), &self.norm))
    }

    fn parts(&self, p: &Pass, y: &Shape) -> Option<Parts<'_>> {
        let y = with_dim(y, 1, y.dims()[1] / 2);
        Some(Parts {
            candidate: Candidate::Reduced,
            operands: self.conv.iter().map(|c| c.within(p, &y)).collect(),
            norms: vec![&self.norm],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Mode;
    use crate::rng::Rng;
    use crate::tape::{Cx, Path};
    use crate::tensor::{DType, Engine, Tensor};

    /// The result and the gradient of the map; alone, or the normalisation over a map of the result's size.
    fn run(path: Path, dtype: DType, whole: bool) -> [Tensor; 2] {
        let mut b = Builder::new();
        let map = Map::new(6, 4, 6);
        let (op, y) = FactorizedReduce::new(&mut b, map, 4, Norms::Derived).unwrap();
        let store = b.finish(3, DType::F32);
        let cx = Cx {
            path,
            ..Cx::default()
        };
        let p = Pass::new(&store, cx, Mode::WEIGHT_STEP);
        let mut r = Rng::new(2, &[]);
        let mut draw = |m: Map| {
            let v = (0..2 * m.numel()).map(|_| r.normal()).collect();
            let t = Tensor::from_f64([2, m.c, m.h, m.w], v).unwrap();
            p.tape.param(t.cast(dtype))
        };
        let x = draw(if whole { map } else { y });
        let by = draw(y);
        let y = match whole {
            true => op.forward(&p, &State::new(x.clone())).unwrap(),
            false => op.norm.forward(&p, &x).unwrap(),
        };
        let loss = ops::sum(&ops::mul(&y, &by).unwrap()).unwrap();
        let dx = p.tape.backward(&loss).unwrap().take(&x).unwrap();
        [y.value().detached(), dx.detached()]
    }

    #[test]
    fn on_a_device_it_is_one_operation_and_a_normalisation() {
        for (dtype, allowed) in [(DType::F32, 1e-5), (DType::Bf16, 3e-2)] {
            let e = Engine::emulated(1);
            let launches = |whole| {
                let before = e.counts().launches;
                run(Path::Device(e), dtype, whole);
                e.counts().launches - before
            };
            // One forward; back one for the map, one for both weights.
            assert_eq!(launches(true) - launches(false), 3);
            let want = run(Path::Fast, DType::F32, true);
            for (got, want) in run(Path::Device(e), dtype, true).iter().zip(want) {
                for (a, b) in got.to_f64().into_iter().zip(want.to_f64()) {
                    assert!((a - b).abs() <= allowed * (1.0 + b.abs()), "{a} {b}");
                }
            }
        }
    }
}
