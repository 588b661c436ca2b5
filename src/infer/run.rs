//! A program with memory for so many images.

use std::time::Instant;

use super::Program;
use super::conv::{self, Scratch};
use super::other;
use super::step::{Operand, Step, V};
use crate::backend::host::depthwise::{Geometry, Layout};
use crate::backend::host::pool::{Kind as PoolKind, Plan};
use crate::backend::host::{rearrange, resample, tiles};
use crate::backend::threads::for_pieces;
use crate::error::{Code, Error, Result};
use crate::portable::Window;
use crate::tensor::{Buffer, DType, Tensor};

/// Elements a thread takes at a time of what goes value by value.
const PIECE: usize = 1 << 14;

/// A program with its arena. Runs of one session write the same memory.
pub struct Session<'a> {
    of: Batch<'a>,
    arena: Buffer,
    scratch: Scratch,
}

/// A program for so many images.
#[derive(Clone, Copy)]
struct Batch<'a> {
    program: &'a Program,
    images: usize,
}

/// The image and the arena but for what is being written.
struct Around<'a> {
    given: &'a [f32],
    before: &'a [f32],
    after: &'a [f32],
    /// Where `after` begins.
    from: usize,
}

impl<'a> Session<'a> {
    /// Memory for runs of `images` images.
    pub fn new(program: &'a Program, images: usize) -> Session<'a> {
        Session {
            of: Batch { program, images },
            arena: Buffer::scratch(DType::F32, program.memory.arena * images),
            scratch: Scratch::default(),
        }
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len() * size_of::<f32>()
    }

    /// Bytes that steps used beside the arena so far, those of threads left out: a few rows each.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.bytes()
    }

    /// Computes all outputs of images `(N, 3, H, W)`, f32.
    ///
    /// # Errors
    /// `Shape` for images of another size or number; those of operations without a step of their own.
    pub fn run(&mut self, images: &Tensor) -> Result<()> {
        self.run_with(images, |_, _| {})
    }

    /// As [`Session::run`]; tells `done` each step's number and seconds.
    ///
    /// # Errors
    /// As there.
    pub fn run_with(&mut self, images: &Tensor, mut done: impl FnMut(usize, f64)) -> Result<()> {
        let Batch {
            program,
            images: count,
        } = self.of;
        let want = [&[count], &program.values[0].dims[..]].concat();
        if images.dims() != want || images.dtype() != DType::F32 {
            let what = format!("a session for {want:?} in f32 was given {images:?}");
            return Err(Error::new(Code::Shape, what));
        }
        let given = images.data::<f32>();
        for (t, step) in program.steps.iter().enumerate() {
            let start = Instant::now();
            for image in 0..count {
                let made = self.of.at(step.makes(), image);
                let (before, rest) = self.arena.values_mut::<f32>().split_at_mut(made.start);
                let (y, after) = rest.split_at_mut(made.len());
                let around = Around {
                    given,
                    before,
                    after,
                    from: made.end,
                };
                (self.of).write(step, image, &around, y, &mut self.scratch)?;
            }
            done(t, start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Output `i` of the last run, in the order of [`Program::outputs`].
    ///
    /// # Errors
    /// None: there are as many values as its shape holds.
    pub fn output(&self, i: usize) -> Result<Tensor> {
        let v = self.of.program.outputs[i].1;
        let mut all = vec![];
        for image in 0..self.of.images {
            all.extend_from_slice(&self.arena.values::<f32>()[self.of.at(v, image)]);
        }
        let dims = [&[self.of.images], &self.of.program.values[v].dims[..]].concat();
        Tensor::from_f32(&dims[..], all)
    }
}

impl Batch<'_> {
    /// Where an image of a value that is not the given one lies.
    fn at(&self, v: V, image: usize) -> std::ops::Range<usize> {
        let p = self.program;
        let (root, offset) = p.memory.root[v];
        let from = p.memory.place[root] * self.images + image * p.values[root].len() + offset;
        from..from + p.values[v].len()
    }

    fn read<'b>(&self, v: V, image: usize, around: &Around<'b>) -> &'b [f32] {
        let (root, offset) = self.program.memory.root[v];
        if root == 0 {
            let values = &self.program.values;
            return &around.given[image * values[0].len() + offset..][..values[v].len()];
        }
        let r = self.at(v, image);
        match r.start < around.from {
            true => &around.before[r],
            false => &around.after[r.start - around.from..r.end - around.from],
        }
    }

    fn write(
        &self,
        step: &Step,
        image: usize,
        around: &Around,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let read = |v: V| self.read(v, image, around);
        let dims = |v: V| -> [usize; 3] {
            let d = &self.program.values[v].dims;
            [d[0], d[1], d[2]]
        };
        match step {
            Step::Conv(c) => {
                let in_place = c.plus.is_some_and(|p| {
                    self.at(p, image) == self.at(c.y, image) && self.program.memory.root[p].0 != 0
                });
                let plus = c.plus.filter(|_| !in_place).map(read);
                let x = read(c.x);
                let image = conv::Image {
                    x,
                    plus,
                    in_place,
                    y,
                };
                conv::run(c, image, scratch);
            }
            &Step::Add { x: [a, b], act, .. } => {
                let (a, b) = (read(a), read(b));
                for_pieces(y, PIECE, a.len(), |i, y| {
                    let r = i * PIECE..i * PIECE + y.len();
                    tiles::sum(act.code(), &a[r.clone()], &b[r], y);
                });
            }
            &Step::Copy { x, rectify, .. } => {
                let x = read(x);
                for_pieces(y, PIECE, x.len(), |i, y| {
                    tiles::copy(rectify, &x[i * PIECE..][..y.len()], y);
                });
            }
            &Step::Pool {
                x, kind, window, ..
            } => pool(kind, window, read(x), dims(x), dims(step.makes()), y),
            &Step::Subsample {
                x,
                rectify,
                stride,
                offset,
                ..
            } => {
                let [_, h, w] = dims(x);
                let [_, ho, wo] = dims(step.makes());
                let x = read(x);
                for_pieces(y, ho * wo, x.len(), |c, y| {
                    let rows = x[c * h * w..][..h * w]
                        .chunks(w)
                        .skip(offset)
                        .step_by(stride);
                    for (x, y) in rows.zip(y.chunks_mut(wo)) {
                        let taken = x[offset..].iter().step_by(stride);
                        y.iter_mut().zip(taken).for_each(|(y, &v)| *y = v);
                        if rectify {
                            y.iter_mut()
                                .for_each(|y| *y = if *y <= 0.0 { 0.0 } else { *y });
                        }
                    }
                });
            }
            &Step::Nearest {
                x, factor, plus, ..
            } => {
                let [_, h, w] = dims(x);
                let (x, plus) = (read(x), plus.map(read));
                let size = h * w * factor * factor;
                for_pieces(y, size, y_work(x, factor), |c, y| {
                    let x = &x[c * h * w..][..h * w];
                    match plus {
                        Some(p) => tiles::twice_plus(x, w, &p[c * size..][..size], y),
                        None => resample::nearest(x, w, factor, y),
                    }
                });
            }
            &Step::Rows { x, .. } => {
                let [c, h, w] = dims(x);
                rearrange::transpose(read(x), c, h * w, y);
            }
            Step::Other { kind, x, .. } => {
                let operand = |o: &Operand| match o {
                    Operand::Stored(t) => Ok(t.clone()),
                    Operand::Value(v) => {
                        let dims = [&[1], &self.program.values[*v].dims[..]].concat();
                        Tensor::from_f32(&dims[..], read(*v).to_vec())
                    }
                };
                let x = x.iter().map(operand).collect::<Result<Vec<_>>>()?;
                let made = other::compute(kind, &x, &self.program.values[step.makes()].dims)?;
                y.copy_from_slice(made.data::<f32>());
            }
        }
        Ok(())
    }
}

fn y_work(x: &[f32], factor: usize) -> usize {
    x.len() * factor * factor
}

fn pool(
    kind: PoolKind,
    window: Window,
    x: &[f32],
    [_, h, w]: [usize; 3],
    [_, ho, wo]: [usize; 3],
    y: &mut [f32],
) {
    let Window { k, stride, padding } = window;
    let layout = Layout::new(Geometry {
        h,
        w,
        ho,
        wo,
        k,
        stride,
        padding,
        dilation: 1,
    });
    let plan = Plan::<f32>::new(kind, layout);
    // Channels that a thread handles with one scratch.
    const CHANNELS: usize = 16;
    for_pieces(y, CHANNELS * ho * wo, x.len() * k * k, |i, y| {
        let mut scratch = plan.scratch();
        for (c, y) in y.chunks_mut(ho * wo).enumerate() {
            plan.forward(&x[(i * CHANNELS + c) * h * w..][..h * w], &mut scratch, y);
        }
    });
}
