//! Pooling of one plane through the padded scratch of [`super::depthwise`].

use super::Float;
use super::depthwise::{self, Layout};

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
        let fill = if self.kind == Kind::Max {
            T::NEG_INF
        } else {
            T::ZERO
        };
        let l = &self.layout;
        Scratch {
            x: vec![fill; l.scratch_len],
            d: vec![T::ZERO; l.scratch_len],
            rows: vec![T::ZERO; l.out_len],
        }
    }

    /// Pools one plane.
    pub fn forward(&self, x: &[T], s: &mut Scratch<T>, y: &mut [T]) {
        let l = &self.layout;
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
pub struct Scratch<T> {
    x: Vec<T>,
    d: Vec<T>,
    rows: Vec<T>,
}
