//! Pooling of one plane: 3x3 maxima at stride 1 by [`super::max3`], the rest through the padded scratch of [`super::depthwise`].

use super::depthwise::{self, Layout};
use super::{Float, max3};

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
    /// Of the gradient, where it is a sum over windows of `dy`: of averages at stride 1.
    flipped: Option<Layout>,
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
            flipped: depthwise::flipped(&g)
                .filter(|_| kind == Kind::Average)
                .map(Layout::new),
            layout,
            inverse,
            ones: vec![T::ONE; g.k * g.k],
        }
    }

    /// Windows that [`max3`] knows.
    fn is_max3(&self) -> bool {
        let g = &self.layout.g;
        self.kind == Kind::Max && (g.k, g.stride, g.padding, g.dilation) == (3, 1, 1, 1)
    }

    /// Memory of one thread.
    pub fn scratch(&self) -> Scratch<T> {
        let fill = if self.kind == Kind::Max {
            T::NEG_INF
        } else {
            T::ZERO
        };
        let l = &self.layout;
        if self.is_max3() {
            return Scratch {
                x: vec![],
                d: vec![],
                rows: vec![],
                max3: Some(max3::Scratch::new(l.g.h, l.g.w)),
            };
        }
        let back = self.flipped.as_ref().unwrap_or(l);
        Scratch {
            x: vec![fill; l.scratch_len],
            d: vec![T::ZERO; back.scratch_len],
            rows: vec![T::ZERO; l.out_len.max(back.out_len)],
            max3: None,
        }
    }

    /// Pools one plane.
    pub fn forward(&self, x: &[T], s: &mut Scratch<T>, y: &mut [T]) {
        let l = &self.layout;
        if let Some(s) = &mut s.max3 {
            return max3::forward(x, s, y);
        }
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
        if let Some(s) = &mut s.max3 {
            return max3::backward(x, dy, s, dx);
        }
        if let Some(back) = &self.flipped {
            depthwise::pad_product(back, dy, &self.inverse, &mut s.d);
            return depthwise::from_padded(back, &s.d, &self.ones, &mut s.rows, dx);
        }
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
    max3: Option<max3::Scratch<T>>,
}
