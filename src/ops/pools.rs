//! Both poolings of a search cell of the first channels of a map: windows of 3 x 3 with a ring of one, their maximum and their mean
//! over the taps inside the map (systems.md 2.1). On a device one launch forward and one backward; elsewhere the two ops of
//! [`super::pool`].

#[path = "pools_device.rs"]
mod device;

use std::sync::Arc;

use super::pool::{Kind, Pool};
use super::reference::{self, Arr, Reference};
use super::shape_rules::{refuse, with_dim};
use super::slice::Slice;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::host::elementwise::add_into;
use crate::dual::{Dual, Scalar};
use crate::error::Result;
use crate::rounding::Bounded;
use crate::tape::{Aside, Backward, Grad, Op, Output, Var};
use crate::tensor::{Engine, Shape, Tensor};

/// The op; operand `(N, C, H, W)`. Its result are the maxima; the means are the second of the pair that [`pools`] gives.
#[derive(Debug)]
pub struct Pools {
    /// How many channels are pooled.
    pub channels: usize,
    /// 1 or 2.
    pub stride: usize,
    means: Aside,
}

/// `[maxima, means]` of the windows of the first `channels` channels of `x`.
///
/// # Errors
/// [`crate::Code::Shape`] when there are fewer channels, or none is asked for; that of [`super::max_pool`] for a stride of 0.
pub fn pools(x: &Var, channels: usize, stride: usize) -> Result<[Var; 2]> {
    let op = Pools::new(channels, stride);
    let (y, _) = x.tape().apply_many(op, &[x], 2)?;
    Ok(y.try_into().expect("two results"))
}

impl Pools {
    /// The op for these.
    pub fn new(channels: usize, stride: usize) -> Pools {
        Pools {
            channels,
            stride,
            means: Aside::default(),
        }
    }

    fn pool(&self, kind: Kind) -> Pool {
        Pool {
            kind,
            k: 3,
            stride: self.stride,
            padding: 1,
        }
    }

    fn cut(&self, x: &Tensor) -> Result<Tensor> {
        let channels = self.channels;
        Ok(Slice { start: 0, channels }
            .forward(std::slice::from_ref(x))?
            .y)
    }

    /// By the ops of one pooling each.
    fn forward_by(
        &self,
        x: &[Tensor],
        pool: fn(&Pool, &[Tensor]) -> Result<Output>,
    ) -> Result<Output> {
        let x = [self.cut(&x[0])?];
        self.means.put(vec![pool(&self.pool(Kind::Average), &x)?.y]);
        pool(&self.pool(Kind::Max), &x)
    }

    /// As [`Pools::forward_by`].
    fn backward_by(
        &self,
        b: &Backward,
        pool: fn(&Pool, &Backward) -> Result<Vec<Option<Grad>>>,
    ) -> Result<Vec<Option<Grad>>> {
        let x = [Some(self.cut(b.input(0))?)];
        let shapes = [with_dim(&b.shapes[0], 1, self.channels)];
        let mut sum: Option<Tensor> = None;
        for (kind, terms) in [Kind::Max, Kind::Average].into_iter().zip(b.terms) {
            for dy in terms {
                let b = Backward {
                    x: &x,
                    shapes: &shapes,
                    y: None,
                    saved: &[],
                    dy,
                    terms: &[vec![dy.clone()]],
                    so_far: &[],
                    need: b.need,
                };
                if let Some(Some(Grad::Whole(dx))) = pool(&self.pool(kind), &b)?.pop() {
                    match &mut sum {
                        Some(sum) => add_into(sum, &dx),
                        None => sum = Some(dx),
                    }
                }
            }
        }
        Ok(vec![sum.map(|dx| self.grad(&b.shapes[0], dx))])
    }

    /// The gradient of the channels as one of the whole map.
    fn grad(&self, x: &Shape, dx: Tensor) -> Grad {
        match self.channels == x.dims()[1] {
            true => Grad::Whole(dx),
            false => Grad::Channels { start: 0, dx },
        }
    }
}

impl Reference for Pools {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let (start, channels) = (0, self.channels);
        self.pool(Kind::Max)
            .fwd(&[Slice { start, channels }.fwd(x)])
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let cut = Slice {
            start: 0,
            channels: self.channels,
        };
        let mut dx = self.pool(Kind::Max).bwd(&[cut.fwd(x)], dy);
        match dx.pop() {
            Some(Some(dx)) => cut.bwd(x, &dx),
            _ => vec![None],
        }
    }
}

impl Op for Pools {
    fn name(&self) -> &'static str {
        "pools"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (_, c, _, _) = x[0].nchw(self.name())?;
        if self.channels == 0 || self.channels > c {
            let text = format!("{} channels of {}", self.channels, x[0]);
            return Err(refuse(self.name(), text));
        }
        (self.pool(Kind::Max)).infer(&[with_dim(&x[0], 1, self.channels)])
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.forward_by(x, Pool::forward)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        self.backward_by(b, Pool::backward)
    }

    fn forward_reference(&self, x: &[Tensor]) -> Result<Output> {
        self.forward_by(x, Pool::forward_reference)
    }

    fn backward_reference(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        self.backward_by(b, Pool::backward_reference)
    }

    fn forward_dual(&self, x: &[(Shape, Vec<Dual>)]) -> Option<Vec<Dual>> {
        reference::forward_over(self, x)
    }

    fn forward_bounded(&self, x: &[(Shape, Vec<Bounded>)]) -> Option<Vec<Bounded>> {
        reference::forward_over(self, x)
    }

    fn backward_bounded(
        &self,
        x: &[(Shape, Vec<Bounded>)],
        dy: &(Shape, Vec<Bounded>),
    ) -> Option<Vec<Option<Vec<Bounded>>>> {
        reference::backward_over(self, x, dy)
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.means)
    }

    fn takes_terms(&self) -> bool {
        true
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        device::forward(self, e, &x[0])
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        device::backward(self, e, b)
    }
}

/// Registry entry: of the maxima; a test holds the pair against the ops that it is made of.
pub static ENTRY: Entry = Entry {
    name: "pools",
    case: |g| {
        let stride = g.int(1, 2);
        let (tall, packs) = if g.side > 9 { (g.side, 9) } else { (7, 2) };
        let w = match g.rng.coin(0.6) {
            true => 8 * stride * g.int(1, packs),
            false => g.int(1, 9),
        };
        let shape = [g.int(1, 2), g.int(1, 5), 1 + g.int(0, tall), w];
        let channels = g.int(1, shape[1]);
        Case {
            op: Arc::new(Pools::new(channels, stride)),
            x: vec![g.distinct(shape)],
        }
    },
    refusals: || {
        let refuse = |channels, stride, shape: &[usize], expect| Refusal {
            op: Arc::new(Pools::new(channels, stride)) as Arc<dyn Op>,
            shapes: vec![Shape::new(shape)],
            expect,
        };
        vec![
            refuse(3, 1, &[1, 2, 5, 5], "3 channels of (1, 2, 5, 5)"),
            refuse(0, 1, &[1, 2, 5, 5], "0 channels"),
            refuse(1, 0, &[1, 2, 5, 5], "stride 0"),
            refuse(1, 1, &[5, 5], "expected (N, C, H, W)"),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "gradient in the last channel too",
            spoil: |c, _, g| {
                let whole =
                    format!("{:?}", c.op).contains(&format!("channels: {},", c.x[0].dims()[1]));
                let [.., h, w] = *c.x[0].dims() else {
                    return false;
                };
                match &mut g[0] {
                    Some(t) if !whole => {
                        let all = t.data_mut::<f64>();
                        let last = all.len() - h * w;
                        all[last..].fill(1.0);
                        true
                    }
                    _ => false,
                }
            },
        },
    ],
};

#[cfg(test)]
#[path = "pools_tests.rs"]
pub(crate) mod tests;
