//! A factorised reduction over one image's channels: rectified, every second row and column to the first half of the channels, those
//! between them to the second.

use super::plan::{Plan, Unit};
use crate::backend::host::Float;
use crate::backend::host::gemm::{gemm, gemm_bt};
use crate::tensor::Tensor;

/// Sizes of one.
pub struct Reduce {
    a: usize,
    /// Values of a channel and of a row of the input, and of the output.
    inside: usize,
    width: usize,
    plane: usize,
}

/// Both weights `(a / 2, a)` and, for the way back, their transposes.
pub struct Weights<'a, T> {
    own: [&'a [T]; 2],
    back: Option<[Vec<T>; 2]>,
}

/// Memory of one thread: the pixels of each half, `(a, plane)`, and their gradient.
pub struct Scratch<T> {
    taken: [Vec<T>; 2],
    back: Vec<T>,
}

impl Reduce {
    /// That of a plan.
    pub fn of(p: &Plan) -> Reduce {
        Reduce {
            a: p.a,
            inside: 4 * p.plane,
            width: 2 * p.w,
            plane: p.plane,
        }
    }

    /// For the way there, or back.
    pub fn scratch<T: Float>(&self, back: bool) -> Scratch<T> {
        let map = || vec![T::ZERO; self.a * self.plane];
        Scratch {
            taken: [map(), map()],
            back: if back { map() } else { vec![] },
        }
    }

    /// Gradients of the weights before anything is added.
    pub fn zeros<T: Float>(&self) -> [Vec<T>; 2] {
        [0, 1].map(|_| vec![T::ZERO; self.a / 2 * self.a])
    }

    /// The pixels of half `at` of the input `x`, in order, with those of the `(a, plane)` map that they become.
    fn each(&self, at: usize, mut f: impl FnMut(usize, usize)) {
        let wide = self.width / 2;
        for row in 0..self.a * self.plane / wide.max(1) {
            // Rows of the input run through all channels.
            let from = (2 * row + at) * self.width + at;
            for column in 0..wide {
                f(row * wide + column, from + 2 * column);
            }
        }
    }

    /// Takes `max(x, 0)` of an image's channels as the input.
    pub fn load<T: Float>(&self, x: &[T], s: &mut Scratch<T>) {
        for (at, taken) in s.taken.iter_mut().enumerate() {
            self.each(at, |to, from| {
                let v = x[from];
                taken[to] = if v <= T::ZERO { T::ZERO } else { v };
            });
        }
    }

    /// The map before normalisation.
    pub fn forward<T: Float>(&self, w: &Weights<T>, s: &Scratch<T>, z: &mut [T]) {
        let half = self.a / 2 * self.plane;
        for ((w, x), z) in w.own.iter().zip(&s.taken).zip(z.chunks_mut(half.max(1))) {
            gemm(self.a / 2, self.a, self.plane, w, self.a, 1, x, z, false);
        }
    }

    /// The gradient of the rectified input, and the weights' gradients added where wanted.
    pub fn backward<T: Float>(
        &self,
        dz: &[T],
        w: &Weights<T>,
        mut grads: Option<&mut [Vec<T>; 2]>,
        s: &mut Scratch<T>,
        dr: &mut [T],
    ) {
        let (a, half) = (self.a, self.a / 2);
        let back = w.back.as_ref().expect("weights for the way back");
        dr[..a * self.inside].fill(T::ZERO);
        for (at, dz) in dz.chunks((half * self.plane).max(1)).enumerate() {
            if let Some(g) = &mut grads {
                gemm_bt(half, a, self.plane, dz, &s.taken[at], &mut g[at]);
            }
            gemm(
                a,
                half,
                self.plane,
                &back[at],
                half,
                1,
                dz,
                &mut s.back,
                false,
            );
            self.each(at, |from, to| dr[to] = s.back[from]);
        }
    }
}

impl<'a, T: Float> Weights<'a, T> {
    /// The weights of a candidate; `back` prepares the way back.
    pub fn of(x: &[&'a Tensor], unit: &Unit, a: usize, back: bool) -> Self {
        let own = [0, 1].map(|i| x[unit.own + i].data::<T>());
        let half = a / 2;
        let transposed = |w: &[T]| (0..a * half).map(|i| w[i % half * a + i / half]).collect();
        Weights {
            own,
            back: back.then(|| own.map(transposed)),
        }
    }
}
