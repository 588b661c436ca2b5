//! Head outputs to one row for each prior: maps `(N, A w, H, W)`, one of each level, to `(N, P, w)`, of an image the levels one after the
//! other, P the sum of their H W A, anchors innermost: of a level `y[n, (i W + j) A + a, k] = x[n, a w + k, i, j]`. The gradient goes the
//! way back.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::backend::host::{by_float, rearrange};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with the length of a row.
#[derive(Debug, Clone)]
pub struct ToRows {
    /// Values of a row; divides the channels.
    pub width: usize,
}

/// One row of `width` values for every anchor at every position of every level: rows outer, columns, anchors inner.
///
/// # Errors
/// [`crate::Code::Shape`] unless all `x` are `(N, C, H, W)` with C a multiple of `width`; for no operand.
pub fn to_rows(x: &[&Var], width: usize) -> Result<Var> {
    match x.first() {
        Some(first) => first.tape().apply(ToRows { width }, x),
        None => Err(refuse("to_rows", "no operand")),
    }
}

/// Values of an image's maps, and where each map's begin among those of all.
fn places(x: &[Shape]) -> (usize, Vec<usize>) {
    let mut first = vec![];
    let total = x.iter().fold(0, |at, s| {
        first.push(at);
        at + s.dims()[1..].iter().product::<usize>()
    });
    (total, first)
}

/// Channels of a map and values of a channel.
fn sizes(s: &Shape) -> [usize; 2] {
    let d = s.dims();
    [d[1], d[2] * d[3]]
}

impl Reference for ToRows {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let mut y = Arr::zeros(self.infer(&shapes).expect("operands that fit"));
        each(&shapes, |m, from, to| y.data[to] = x[m].data[from]);
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let mut dx: Vec<Arr<S>> = x.iter().map(|x| Arr::zeros(x.shape)).collect();
        each(&shapes, |m, from, to| dx[m].data[from] = dy.data[to]);
        dx.into_iter().map(Some).collect()
    }
}

/// Calls `f(map, value of the map, value of the rows)` for every value.
fn each(x: &[Shape], mut f: impl FnMut(usize, usize, usize)) {
    let (total, first) = places(x);
    for (m, s) in x.iter().enumerate() {
        let [c, plane] = sizes(s);
        for i in 0..s.dims()[0] {
            for ch in 0..c {
                for p in 0..plane {
                    f(
                        m,
                        (i * c + ch) * plane + p,
                        i * total + first[m] + p * c + ch,
                    );
                }
            }
        }
    }
}

/// Side of the tile that a block turns, and maps of a launch at most: as in `kernels/maps.cu`.
const TILE: usize = 32;
const MAPS: usize = 16;

/// Launches for as many maps at a time as fit; `pointers` are theirs, `rows` those of all.
fn turned(
    e: Engine,
    kernel: Kernel,
    x: &[Shape],
    pointers: &[Arg],
    rows: Arg,
    back: bool,
) -> Result<()> {
    let (total, first) = places(x);
    let images = x[0].dims()[0];
    for (i, maps) in x.chunks(MAPS).enumerate() {
        let (mut table, mut tiles) = (vec![], 0);
        for (s, first) in maps.iter().zip(&first[i * MAPS..]) {
            let [c, plane] = sizes(s);
            table.extend([c, plane, *first].map(|v| v as i32));
            tiles += images * c.div_ceil(TILE) * plane.div_ceil(TILE);
        }
        if tiles == 0 {
            continue;
        }
        let own = &pointers[i * MAPS..][..maps.len()];
        let list = on_device::list(own, MAPS, own[0]);
        let table = e.constant(&table)?;
        let mut args = if back { vec![rows] } else { vec![] };
        args.extend(list);
        args.extend((!back).then_some(rows));
        args.extend([
            table.arg(),
            on_device::int(maps.len()),
            on_device::int(images),
        ]);
        args.push(on_device::long(total));
        let launch = Launch::new([tiles.min(1 << 30) as u32, 1, 1], [TILE as u32, 8, 1]);
        e.launch(kernel, launch, &args)?;
    }
    Ok(())
}

impl Op for ToRows {
    fn name(&self) -> &'static str {
        "to_rows"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (images, ..) = x[0].nchw(self.name())?;
        let mut rows = 0;
        for s in x {
            let (n, c, h, w) = s.nchw(self.name())?;
            if self.width == 0 || !c.is_multiple_of(self.width) {
                let text = format!("channels of {s} are not rows of {}", self.width);
                return Err(refuse(self.name(), text));
            }
            if n != images {
                return Err(refuse(self.name(), format!("{s} beside {}", x[0])));
            }
            rows += c / self.width * h * w;
        }
        Ok(Shape::from([images, rows, self.width]))
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let shape = self.infer(&shapes)?;
        let (total, first) = places(&shapes);
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        by_float!(x[0].dtype(), T => {
            let x: Vec<&[T]> = x.iter().map(|x| x.data::<T>()).collect();
            for_pieces(y.values_mut::<T>(), total, shape.numel(), |i, y| {
                for ((x, s), first) in x.iter().zip(&shapes).zip(&first) {
                    let [c, plane] = sizes(s);
                    let of = c * plane;
                    rearrange::transpose(&x[i * of..][..of], c, plane, &mut y[*first..][..of]);
                }
            });
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (total, first) = places(b.shapes);
        let of = |((s, first), &need): ((&Shape, usize), &bool)| {
            let [c, plane] = sizes(s);
            let len = if need { s.numel() } else { 0 };
            let mut dx = Buffer::scratch(b.dy.dtype(), len);
            by_float!(b.dy.dtype(), T => {
                let dy = b.dy.data::<T>();
                for_pieces(dx.values_mut::<T>(), c * plane, len, |i, dx| {
                    let dy = &dy[i * total + first..][..c * plane];
                    rearrange::transpose(dy, plane, c, dx);
                });
            });
            need.then(|| Grad::Whole(Tensor::from_buffer(*s, dx)))
        };
        Ok(b.shapes.iter().zip(first).zip(b.need).map(of).collect())
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let width = self.width;
        let rows = |&x: &Id| {
            let [images, values] = [
                g.shape(x).dims()[0],
                g.shape(x).dims()[1..].iter().product(),
            ];
            let shape = Shape::from([images, values / width, width]);
            g.node(Kind::ToRows { width }, &[x], shape)
        };
        let levels: Vec<Id> = x.iter().map(rows).collect();
        match levels[..] {
            [one] => Some(one),
            _ => Some(g.node(Kind::Concat, &levels, y)),
        }
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let dtype = x[0].dtype();
        let kernel = on_device::pick(dtype, k::TO_ROWS_F32, k::TO_ROWS_BF16);
        let (Some(kernel), true) = (kernel, on_device::one_type(x)) else {
            return Ok(None);
        };
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let mut y = Tensor::scratch_on(e, self.infer(&shapes)?, dtype)?;
        let pointers = x.iter().map(|x| x.arg(e)).collect::<Result<Vec<_>>>()?;
        turned(e, kernel, &shapes, &pointers, y.arg_out(e)?, false)?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let dtype = b.dy.dtype();
        let kernel = on_device::pick(dtype, k::TO_ROWS_BWD_F32, k::TO_ROWS_BWD_BF16);
        let Some(kernel) = kernel else {
            return Ok(None);
        };
        let none = on_device::untouched(b.dy.arg(e)?).null();
        let (mut all, mut pointers) = (vec![], vec![]);
        for (s, &need) in b.shapes.iter().zip(b.need) {
            let make = || Tensor::scratch_on(e, *s, dtype);
            let mut dx = need.then(make).transpose()?;
            pointers.push(dx.as_mut().map_or(Ok(none), |t| t.arg_out(e))?);
            all.push(dx.map(Grad::Whole));
        }
        turned(e, kernel, b.shapes, &pointers, b.dy.arg(e)?, true)?;
        Ok(Some(all))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "to_rows",
    case: |g| {
        let mut s = g.map_shape();
        let (mut anchors, width) = (g.int(1, 6), g.int(1, 6));
        if g.rng.coin(0.25) {
            // More than a tile of 32 each way.
            anchors = 33usize.div_ceil(width) + g.int(0, 3);
            s = [s[0], 0, 5, g.int(7, 9)];
        }
        let mut x = vec![g.normal([s[0], anchors * width, s[2], s[3]])];
        for _ in 0..g.int(0, 2) {
            let more = [g.int(1, 3) * width, g.int(1, 5), g.int(1, 5)];
            x.push(g.normal([s[0], more[0], more[1], more[2]]));
        }
        Case {
            op: Arc::new(ToRows { width }),
            x,
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(ToRows { width: 6 }),
                shapes: vec![[1, 16, 2, 2].into()],
                expect: "channels of (1, 16, 2, 2) are not rows of 6",
            },
            Refusal {
                op: Arc::new(ToRows { width: 6 }),
                shapes: vec![[1, 12, 2, 2].into(), [2, 12, 1, 1].into()],
                expect: "(2, 12, 1, 1) beside (1, 12, 2, 2)",
            },
            Refusal {
                op: Arc::new(ToRows { width: 6 }),
                shapes: vec![[1, 12].into()],
                expect: "expected (N, C, H, W), got (1, 12)",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "not brought back to planes",
            spoil: |c, dy, g| {
                let Ok(wrong) = dy.reshape(*c.x[0].shape()) else {
                    return false;
                };
                let differs = g[0].as_ref() != Some(&wrong);
                g[0] = Some(wrong);
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
    fn anchors_are_innermost() {
        let tape = Tape::new(Cx::default());
        // Value = 10 * channel + position; two anchors of two values on a 1x3 map.
        let v = (0..12).map(|i| (10 * (i / 3) + i % 3) as f32).collect();
        let x = tape.leaf(Tensor::from_f32([1, 4, 1, 3], v).unwrap());
        let y = to_rows(&[&x], 2).unwrap();
        assert_eq!(y.dims(), [1, 6, 2]);
        assert_eq!(&y.value().f32s()[..6], &[0., 10., 20., 30., 1., 11.]);
    }

    #[test]
    fn levels_follow_each_other_within_an_image() {
        let tape = Tape::new(Cx::default());
        let of = |shape: [usize; 4], first: usize| {
            let n: usize = shape.iter().product();
            let v = (first..first + n).map(|v| v as f32).collect();
            tape.leaf(Tensor::from_f32(shape, v).unwrap())
        };
        let (a, b) = (of([2, 2, 1, 2], 0), of([2, 2, 1, 1], 100));
        let y = to_rows(&[&a, &b], 2).unwrap();
        assert_eq!(y.dims(), [2, 3, 2]);
        let (first, second) = ([0., 2., 1., 3., 100., 101.], [4., 6., 5., 7., 102., 103.]);
        assert_eq!(y.value().f32s(), [first, second].concat());
    }
}
