//! Pooling of one plane: 3x3 windows at stride 1 by [`super::max3`] and [`super::avg3`], the rest through the padded scratch of
//! [`super::depthwise`].

use super::depthwise::{self, Layout};
use super::{Float, avg3, max3};

/// Kind of pool; padding never counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Largest value; the first of equals in row order takes the gradient. NaN wins.
    Max,
    /// Mean over the taps inside the map.
    Average,
}

/// A pool's layout and the inverse number of taps inside the map, for each output.
pub struct Plan<T> {
    kind: Kind,
    layout: Layout,
    inverse: Vec<T>,
    ones: Vec<T>,
}

impl<T: Float> Plan<T> {
    /// For planes of this layout.
    pub fn new(kind: Kind, layout: Layout) -> Plan<T> {
        let g = layout.g;
        let inside = |size: usize, out: usize| -> Vec<usize> {
            let hit = |o: usize, t: &usize| {
                (o * g.stride + t)
                    .checked_sub(g.padding)
                    .is_some_and(|i| i < size)
            };
            (0..out)
                .map(|o| (0..g.k).filter(|t| hit(o, t)).count())
                .collect()
        };
        let (rows, cols) = (inside(g.h, g.ho), inside(g.w, g.wo));
        let inverse = rows
            .iter()
            .flat_map(|r| cols.iter().map(move |c| T::c(1.0 / (r * c) as f64)))
            .collect();
        Plan {
            kind,
            layout,
            inverse,
            ones: vec![T::ONE; g.k * g.k],
        }
    }

    /// Memory of one thread.
    pub fn scratch(&self) -> Scratch<T> {
        let (l, g) = (&self.layout, &self.layout.g);
        let near = (g.k, g.stride, g.padding, g.dilation) == (3, 1, 1, 1);
        match self.kind {
            Kind::Max if near => Scratch::Max3(max3::Scratch::new(g.h, g.w)),
            Kind::Average if near => Scratch::Avg3(avg3::Scratch::new(g.w)),
            kind => {
                let fill = match kind {
                    Kind::Max => T::NEG_INF,
                    Kind::Average => T::ZERO,
                };
                Scratch::Padded(Padded {
                    x: vec![fill; l.scratch_len],
                    d: vec![T::ZERO; l.scratch_len],
                    rows: vec![T::ZERO; l.out_len],
                })
            }
        }
    }

    /// Pools one plane.
    pub fn forward(&self, x: &[T], s: &mut Scratch<T>, y: &mut [T]) {
        let l = &self.layout;
        let s = match s {
            Scratch::Max3(s) => return max3::forward(x, s, y),
            Scratch::Avg3(s) => return avg3::forward(x, &self.inverse, s, y),
            Scratch::Padded(s) => s,
        };
        match self.kind {
            Kind::Max => {
                depthwise::pad_plane(l, x, &mut s.x);
                depthwise::max_taps(l, &s.x, &mut s.rows);
                depthwise::take_rows(l, &s.rows, y);
            }
            Kind::Average => {
                depthwise::forward(l, x, &self.ones, &mut s.x, &mut s.rows, y);
                for (y, &i) in y.iter_mut().zip(&self.inverse) {
                    *y *= i;
                }
            }
        }
    }

    /// Gradient of one plane; the average does not look at `x`.
    pub fn backward(&self, x: &[T], dy: &[T], s: &mut Scratch<T>, dx: &mut [T]) {
        let l = &self.layout;
        let s = match s {
            Scratch::Max3(s) => return max3::backward(x, dy, s, dx),
            Scratch::Avg3(s) => return avg3::backward(dy, &self.inverse, s, dx),
            Scratch::Padded(s) => s,
        };
        s.d.fill(T::ZERO);
        match self.kind {
            Kind::Max => {
                // The forward leaves maxima between the rows; gradients there must be zero.
                s.rows.fill(T::ZERO);
                depthwise::pad_rows(l, dy, &mut s.rows);
                depthwise::pad_plane(l, x, &mut s.x);
                depthwise::max_scatter(l, &s.x, &s.rows, &mut s.d);
            }
            Kind::Average => {
                for ((o, d), i) in s
                    .rows
                    .chunks_mut(l.out_stride)
                    .zip(dy.chunks(l.g.wo))
                    .zip(self.inverse.chunks(l.g.wo))
                {
                    for ((o, &d), &i) in o.iter_mut().zip(d).zip(i) {
                        *o = d * i;
                    }
                }
                depthwise::scatter(l, &s.rows, &self.ones, &mut s.d);
            }
        }
        depthwise::unpad_plane(l, &s.d, dx);
    }
}

/// Reusable memory of one thread, for forwards only or backwards only.
pub enum Scratch<T> {
    /// Of 3x3 maxima at stride 1.
    Max3(max3::Scratch<T>),
    /// Of 3x3 means at stride 1.
    Avg3(avg3::Scratch<T>),
    /// Of any other window.
    Padded(Padded<T>),
}

/// Planes with a ring around them.
pub struct Padded<T> {
    x: Vec<T>,
    d: Vec<T>,
    rows: Vec<T>,
}
