//! A depthwise convolution that keeps or halves the size of the map and the pointwise one behind it, over one image's channels.

use super::Candidate;
use super::plan::{Plan, Unit};
use crate::backend::host::depthwise::{self, Geometry, Layout};
use crate::backend::host::gemm::{gemm, gemm_bt};
use crate::backend::host::{Float, products};
use crate::tensor::{Buffer, Tensor};

/// Layouts of a depthwise convolution and, at stride 1, of its input gradient.
pub struct Half {
    forward: Layout,
    flipped: Option<Layout>,
    taps: usize,
    a: usize,
    /// Values of a channel, of the input and of the output.
    inside: usize,
    plane: usize,
    /// Where the channels of an image of outputs begin.
    channels: Vec<usize>,
}

/// A half's weights of one type, and what the way back makes of them.
pub struct Weights<'a, T> {
    /// `(a, K K)`.
    depthwise: &'a [T],
    /// `(a, a)`.
    pointwise: &'a [T],
    back: Option<Back<T>>,
}

/// A half's weights for the way back.
struct Back<T> {
    /// Filters turned around.
    flipped: Vec<T>,
    /// The pointwise weight transposed, `(a, a)`.
    transposed: Vec<T>,
    /// The same as [`products::product`] reads it.
    packed: Vec<T>,
}

/// Memory of one thread.
pub struct Scratch<T> {
    /// Every channel of the rectified input with zeros around it.
    padded: Vec<T>,
    out: Vec<T>,
    rows: Vec<T>,
    /// At stride 1 every channel of the depthwise convolution's gradient with zeros around it; else a channel of the input's.
    back: Vec<T>,
    back_out: Vec<T>,
    /// The depthwise convolution's output, or its gradient: written whole before it is read.
    between: Buffer,
}

/// Gradients of both weights, in the order of the operands.
pub type Gradients<T> = [Vec<T>; 2];

impl Half {
    /// That of a candidate, with the stride of its first or only half, or 1.
    pub fn of(candidate: Candidate, stride: usize, p: &Plan) -> Option<Half> {
        let (k, dilation) = candidate.kernel()?;
        let g = Geometry {
            h: p.h * stride,
            w: p.w * stride,
            ho: p.h,
            wo: p.w,
            k,
            stride,
            padding: dilation * (k / 2),
            dilation,
        };
        Some(Half {
            forward: Layout::new(g),
            flipped: depthwise::flipped(&g).map(Layout::new),
            taps: k * k,
            a: p.a,
            inside: g.h * g.w,
            plane: p.plane,
            channels: (0..p.a).map(|c| c * p.plane).collect(),
        })
    }

    /// For the way there, or back.
    pub fn scratch<T: Float>(&self, back: bool) -> Scratch<T> {
        let zeros = |n| vec![T::ZERO; n];
        let for_back = |n| zeros(if back { n } else { 0 });
        let (padded, out) = match &self.flipped {
            Some(l) => (self.a * l.scratch_len, l.out_len),
            None => (self.forward.scratch_len, 0),
        };
        Scratch {
            padded: zeros(self.a * self.forward.scratch_len),
            out: zeros(self.forward.out_len),
            rows: for_back(self.forward.out_len),
            back: for_back(padded),
            back_out: for_back(out),
            between: Buffer::scratch(T::DTYPE, self.a * self.plane),
        }
    }

    pub fn zeros<T: Float>(&self) -> Gradients<T> {
        [self.taps, self.a].map(|n| vec![T::ZERO; self.a * n])
    }

    /// Takes `max(a x + b, 0)` of an image's channels as the input; `affine` gives a and b of a channel.
    pub fn load<T: Float>(&self, x: &[T], affine: impl Fn(usize) -> (T, T), s: &mut Scratch<T>) {
        let planes = s.padded.chunks_mut(self.forward.scratch_len);
        for (c, (x, padded)) in x.chunks(self.inside).zip(planes).enumerate() {
            let (a, b) = affine(c);
            depthwise::pad_rectified(&self.forward, x, a, b, padded);
        }
    }

    fn depthwise<T: Float>(&self, w: &[T], s: &mut Scratch<T>) {
        let planes = s.padded.chunks(self.forward.scratch_len);
        let planes = planes.zip(s.between.values_mut::<T>().chunks_mut(self.plane));
        for ((x, y), w) in planes.zip(w.chunks(self.taps)) {
            depthwise::from_padded(&self.forward, x, w, &mut s.out, y);
        }
    }

    /// `z = pointwise(depthwise(input))`.
    pub fn forward<T: Float>(&self, w: &Weights<T>, s: &mut Scratch<T>, z: &mut [T]) {
        let (a, plane) = (self.a, self.plane);
        self.depthwise(w.depthwise, s);
        gemm(a, a, plane, w.pointwise, a, 1, s.between.values(), z, false);
    }

    /// The gradient of the input, and the weights' gradients added where wanted.
    pub fn backward<T: Float>(
        &self,
        dz: &[T],
        w: &Weights<T>,
        mut grads: Option<&mut Gradients<T>>,
        s: &mut Scratch<T>,
        dr: &mut [T],
    ) {
        let (a, plane, padded_len) = (self.a, self.plane, self.forward.scratch_len);
        let back = w.back.as_ref().expect("weights for the way back");
        if let Some(g) = &mut grads {
            self.depthwise(w.depthwise, s);
            gemm_bt(a, a, plane, dz, s.between.values(), &mut g[1]);
        }
        // The gradient between the two convolutions goes straight between zeros, where there are kernels that go on from there.
        let flipped = self.flipped.as_ref();
        let inside = flipped.zip(flipped.and_then(depthwise::inside::<T>));
        if let Some((l, (first, rows))) = inside {
            let (packed, to) = (&back.packed, &mut s.back[first..]);
            let at = &self.channels;
            let done = products::product(a, packed, at, dz, &rows, to, l.scratch_len, false);
            assert!(done, "there is a kernel where `inside` says so");
        } else {
            gemm(
                a,
                a,
                plane,
                &back.transposed,
                a,
                1,
                dz,
                s.between.values_mut(),
                false,
            );
        }
        for c in 0..a {
            let padded = &s.padded[c * padded_len..][..padded_len];
            let dr = &mut dr[c * self.inside..][..self.inside];
            let mut dw = grads
                .as_mut()
                .map(|g| &mut g[0][c * self.taps..][..self.taps]);
            let dt = &s.between.values::<T>()[c * plane..][..plane];
            let Some(l) = flipped else {
                let dt = depthwise::padded_rows(&self.forward, dt, &mut s.rows);
                if let Some(dw) = &mut dw {
                    depthwise::weight_gradient(&self.forward, dt, padded, dw);
                }
                s.back.fill(T::ZERO);
                let taps = &w.depthwise[c * self.taps..][..self.taps];
                depthwise::scatter(&self.forward, dt, taps, &mut s.back);
                depthwise::unpad_plane(&self.forward, &s.back, dr);
                continue;
            };
            let to = &mut s.back[c * l.scratch_len..][..l.scratch_len];
            match (inside, &mut dw) {
                (Some(_), None) => {}
                (Some(_), Some(dw)) => {
                    depthwise::weight_gradient_inside(&self.forward, l, to, padded, dw);
                }
                (None, dw) => {
                    depthwise::pad_plane(l, dt, to);
                    if let Some(dw) = dw {
                        let dt = depthwise::padded_rows(&self.forward, dt, &mut s.rows);
                        depthwise::weight_gradient(&self.forward, dt, padded, dw);
                    }
                }
            }
            let taps = &back.flipped[c * self.taps..][..self.taps];
            depthwise::from_padded(l, to, taps, &mut s.back_out, dr);
        }
    }
}

impl<'a, T: Float> Weights<'a, T> {
    /// The weights of half 0 or 1 of a candidate; `back` prepares the way back.
    pub fn of(x: &[&'a Tensor], unit: &Unit, half: usize, a: usize, back: bool) -> Self {
        let first = unit.own + 2 * half;
        let (depthwise, pointwise) = (x[first].data::<T>(), x[first + 1].data::<T>());
        let back = back.then(|| {
            let taps = depthwise.len() / a.max(1);
            let flipped = depthwise.chunks(taps.max(1)).flat_map(|t| t.iter().rev());
            let transposed = (0..a * a).map(|i| pointwise[i % a * a + i / a]);
            let mut packed = vec![];
            products::pack(a, a, pointwise, [1, a], &mut packed);
            Back {
                flipped: flipped.copied().collect(),
                transposed: transposed.collect(),
                packed,
            }
        });
        Weights {
            depthwise,
            pointwise,
            back,
        }
    }
}
