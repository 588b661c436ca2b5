//! Channel shuffle (Zhang et al. 2018, ShuffleNet): channels viewed as `(k, C / k)` and transposed,
//! `y[:, i k + g] = x[:, g C / k + i]`; eight channels in four groups come out as 0 2 4 6 1 3 5 7.

use std::sync::Arc;

use super::on_device::{int, long, over_packs, pick};
use super::reference::{Arr, Reference};
use super::shape_rules::{has_dim, refuse, split};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg};
use crate::backend::host::{by_float, rearrange::shuffled_from};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with its number of groups `k`.
#[derive(Debug, Clone)]
pub struct ChannelShuffle {
    /// Number of groups; divides the channels.
    pub groups: usize,
}

/// Shuffles the channels (dimension 1) of a tensor of rank 2 or more in `groups` groups.
///
/// # Errors
/// [`crate::Code::Shape`] when the channels are not a multiple of `groups`; [`Code::Argument`] for 0 groups.
pub fn channel_shuffle(x: &Var, groups: usize) -> Result<Var> {
    x.tape().apply(ChannelShuffle { groups }, &[x])
}

/// Copies planes: channel `c` of `y` is channel `from(c)` of `x`.
fn permute<T: Copy>(x: &[T], y: &mut [T], s: &Shape, from: impl Fn(usize) -> usize) {
    let v = split(s, 1);
    for n in 0..v.outer {
        for c in 0..v.len {
            let at = n * v.row() + c * v.inner;
            let src = n * v.row() + from(c) * v.inner;
            y[at..at + v.inner].copy_from_slice(&x[src..src + v.inner]);
        }
    }
}

impl ChannelShuffle {
    fn back(&self, channels: usize) -> usize {
        // The inverse of a transposition of (k, C / k) is the transposition of (C / k, k).
        channels / self.groups
    }
}

impl Reference for ChannelShuffle {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = x[0].clone();
        let c = x[0].dim(1);
        permute(&x[0].data, &mut y.data, &x[0].shape, |to| {
            shuffled_from(to, c, self.groups)
        });
        y
    }

    fn bwd<S: Scalar>(&self, _x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx = dy.clone();
        let c = dy.dim(1);
        permute(&dy.data, &mut dx.data, &dy.shape, |to| {
            shuffled_from(to, c, self.back(c))
        });
        vec![Some(dx)]
    }
}

fn fast(x: &Tensor, groups: usize) -> Tensor {
    let mut y = Buffer::scratch(x.dtype(), x.numel());
    let c = x.dims()[1];
    by_float!(x.dtype(), T => {
        permute(x.data::<T>(), y.values_mut::<T>(), x.shape(), |to| shuffled_from(to, c, groups));
    });
    Tensor::from_buffer(*x.shape(), y)
}

/// Channels of an operand among all the channels that are shuffled: what the kernel is told.
pub(super) struct Part {
    plane: usize,
    some_channels: usize,
    channels: usize,
    first: usize,
    groups: usize,
}

impl Part {
    /// The channels of `some` are those from `first` on of `channels`, before they are shuffled.
    pub fn of(some: &Shape, channels: usize, first: usize, groups: usize) -> Part {
        let v = split(some, 1);
        Part {
            plane: v.inner,
            some_channels: v.len,
            channels,
            first,
            groups,
        }
    }

    fn run(&self, e: Engine, x: &Tensor, y: Arg, n: usize, back: bool) -> Result<bool> {
        let kernel = pick(x.dtype(), k::SHUFFLE_CHANNELS_F32, k::SHUFFLE_CHANNELS_BF16);
        let Some(kernel) = kernel else {
            return Ok(false);
        };
        let args = [
            x.arg(e)?,
            y,
            long(self.plane),
            int(self.some_channels),
            int(self.channels),
            int(self.first),
            int(self.groups),
            int(usize::from(back)),
        ];
        over_packs(e, kernel, x.dtype(), n, &args)?;
        Ok(true)
    }

    /// Writes the operand into the shuffled whole; false when there is no kernel for the type.
    pub fn write(&self, e: Engine, x: &Tensor, y: &mut Tensor) -> Result<bool> {
        self.run(e, x, y.arg_out(e)?, x.numel(), false)
    }

    /// A new tensor of `shape`: the whole, written from the operand, or, `back`, the operand's part of the whole `x`.
    pub fn copy(&self, e: Engine, x: &Tensor, shape: Shape, back: bool) -> Result<Option<Tensor>> {
        let mut y = Tensor::scratch_on(e, shape, x.dtype())?;
        let done = self.run(e, x, y.arg_out(e)?, shape.numel(), back)?;
        Ok(done.then_some(y))
    }
}

impl Op for ChannelShuffle {
    fn name(&self) -> &'static str {
        "channel_shuffle"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        if self.groups == 0 {
            let text = "channel_shuffle: needs at least one group";
            return Err(Error::new(Code::Argument, text));
        }
        has_dim(self.name(), &x[0], 1)?;
        if !x[0].dims()[1].is_multiple_of(self.groups) {
            let text = format!("channels of {} are not a multiple of {}", x[0], self.groups);
            return Err(refuse(self.name(), text));
        }
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        Ok(fast(&x[0], self.groups).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dx = fast(b.dy, self.back(b.dy.dims()[1]).max(1));
        Ok(vec![Some(Grad::Whole(dx))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let groups = self.groups;
        (y.rank() == 4).then(|| g.node(Kind::ChannelShuffle { groups }, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let part = Part::of(x[0].shape(), x[0].dims()[1], 0, self.groups);
        Ok(part.copy(e, &x[0], *x[0].shape(), false)?.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let part = Part::of(&b.shapes[0], b.shapes[0].dims()[1], 0, self.groups);
        let dx = part.copy(e, b.dy, b.shapes[0], true)?;
        Ok(dx.map(|dx| vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "channel_shuffle",
    case: |g| {
        let s = g.map_shape();
        let groups = g.int(1, 4);
        let each = g.int(1, 5);
        Case {
            op: Arc::new(ChannelShuffle { groups }),
            x: vec![g.normal([s[0], groups * each, s[2], s[3]])],
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(ChannelShuffle { groups: 4 }),
                shapes: vec![[1, 6, 2, 2].into()],
                expect: "channels of (1, 6, 2, 2) are not a multiple of 4",
            },
            Refusal {
                op: Arc::new(ChannelShuffle { groups: 0 }),
                shapes: vec![[1, 6, 2, 2].into()],
                expect: "needs at least one group",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "not shuffled back",
            spoil: |_, dy, g| {
                let differs = g[0].as_ref() != Some(dy);
                g[0] = Some(dy.clone());
                differs
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Tape};

    #[test]
    fn eight_channels_in_four_groups() {
        let tape = Tape::new(Cx::default());
        let x = tape.leaf(Tensor::from_f32([1, 8], (0..8).map(|c| c as f32).collect()).unwrap());
        let y = channel_shuffle(&x, 4).unwrap();
        assert_eq!(y.value().f32s(), &[0., 2., 4., 6., 1., 3., 5., 7.]);
    }
}
