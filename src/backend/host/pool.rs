//! Pooling of one plane through the padded scratch of [`super::depthwise`].

use super::depthwise::{Geometry, pad_plane, pad_rows, unpad_plane};
use super::lanes::V;
use super::{Float, LANES, simd};

/// Kind of pool; padding never counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Largest value; the first of equals in row order takes the gradient. NaN wins.
    Max,
    /// Mean over the taps inside the map.
    Average,
}

/// Taps of an output row or column that lie inside the map.
fn inside(size: usize, out: usize, g: &Geometry) -> Vec<usize> {
    let hits = |o: usize| {
        (0..g.k)
            .filter(|t| {
                (o * g.stride + t)
                    .checked_sub(g.padding)
                    .is_some_and(|i| i < size)
            })
            .count()
    };
    (0..out).map(hits).collect()
}

/// `1 / number of taps inside the map`, for each output.
pub fn inverse_counts<T: Float>(g: &Geometry) -> Vec<T> {
    let (rows, cols) = (inside(g.h, g.ho, g), inside(g.w, g.wo, g));
    rows.iter()
        .flat_map(|r| cols.iter().map(move |c| T::c(1.0 / (r * c) as f64)))
        .collect()
}

simd! {
    fn max_rows[T](g: &Geometry, s: &[T], y: &mut [T]) {
        let row_len = g.columns() * g.stride;
        for oy in 0..g.ho {
            let mut ox = 0;
            while ox < g.wo {
                let mut m = V::splat(T::NEG_INF);
                for ky in 0..g.k {
                    let row = &s[(oy * g.stride + ky) * row_len..][..row_len];
                    for kx in 0..g.k {
                        let v = V::load(&row[g.tap(kx) + ox..]);
                        for l in 0..LANES {
                            m.0[l] = if v.0[l] > m.0[l] || v.0[l] != v.0[l] { v.0[l] } else { m.0[l] };
                        }
                    }
                }
                let n = LANES.min(g.wo - ox);
                y[oy * g.wo + ox..][..n].copy_from_slice(&m.0[..n]);
                ox += LANES;
            }
        }
    }
}

simd! {
    fn sum_rows[T](g: &Geometry, s: &[T], inv: &[T], y: &mut [T]) {
        let row_len = g.columns() * g.stride;
        for oy in 0..g.ho {
            let mut ox = 0;
            while ox < g.wo {
                let mut m = V::splat(T::ZERO);
                for ky in 0..g.k {
                    let row = &s[(oy * g.stride + ky) * row_len..][..row_len];
                    for kx in 0..g.k {
                        m = m.add(V::load(&row[g.tap(kx) + ox..]));
                    }
                }
                let n = LANES.min(g.wo - ox);
                let at = oy * g.wo + ox;
                for l in 0..n {
                    y[at + l] = m.0[l] * inv[at + l];
                }
                ox += LANES;
            }
        }
    }
}

simd! {
    /// Gives each output's gradient to the first tap that equals its maximum; adds into the scratch `d`.
    fn max_scatter[T](g: &Geometry, s: &[T], dy: &[T], d: &mut [T]) {
        let row_len = g.columns() * g.stride;
        let ds = g.wo.next_multiple_of(LANES);
        for oy in 0..g.ho {
            let mut ox = 0;
            while ox < g.wo {
                let mut m = V::splat(T::NEG_INF);
                for ky in 0..g.k {
                    for kx in 0..g.k {
                        let at = (oy * g.stride + ky) * row_len + g.tap(kx) + ox;
                        let v = V::load(&s[at..]);
                        for l in 0..LANES {
                            m.0[l] = if v.0[l] > m.0[l] { v.0[l] } else { m.0[l] };
                        }
                    }
                }
                // What is still to be given; the padded tail of a row has none.
                let mut left = V::load(&dy[oy * ds + ox..]);
                for ky in 0..g.k {
                    for kx in 0..g.k {
                        let at = (oy * g.stride + ky) * row_len + g.tap(kx) + ox;
                        let v = V::load(&s[at..]);
                        let mut t = V::load(&d[at..]);
                        for l in 0..LANES {
                            let hit = v.0[l] == m.0[l];
                            t.0[l] += if hit { left.0[l] } else { T::ZERO };
                            left.0[l] = if hit { T::ZERO } else { left.0[l] };
                        }
                        t.store(&mut d[at..]);
                    }
                }
                ox += LANES;
            }
        }
    }
}

simd! {
    fn sum_scatter[T](g: &Geometry, dy: &[T], d: &mut [T]) {
        let row_len = g.columns() * g.stride;
        let ds = g.wo.next_multiple_of(LANES);
        for oy in 0..g.ho {
            for ky in 0..g.k {
                for kx in 0..g.k {
                    let base = (oy * g.stride + ky) * row_len + g.tap(kx);
                    let mut ox = 0;
                    while ox < ds {
                        V::load(&d[base + ox..]).add(V::load(&dy[oy * ds + ox..])).store(&mut d[base + ox..]);
                        ox += LANES;
                    }
                }
            }
        }
    }
}

/// Reusable memory of one thread.
pub struct Scratch<T> {
    x: Vec<T>,
    d: Vec<T>,
    rows: Vec<T>,
}

impl<T: Float> Scratch<T> {
    /// For planes of `g`.
    pub fn new(kind: Kind, g: &Geometry) -> Scratch<T> {
        let fill = if kind == Kind::Max {
            T::NEG_INF
        } else {
            T::ZERO
        };
        Scratch {
            x: vec![fill; g.scratch_len()],
            d: Vec::new(),
            rows: Vec::new(),
        }
    }
}

/// Pools one plane; `inv` is [`inverse_counts`] for the average.
pub fn forward<T: Float>(
    kind: Kind,
    g: &Geometry,
    x: &[T],
    inv: &[T],
    s: &mut Scratch<T>,
    y: &mut [T],
) {
    pad_plane(g, x, &mut s.x);
    match kind {
        Kind::Max => max_rows(g, &s.x, y),
        Kind::Average => sum_rows(g, &s.x, inv, y),
    }
}

/// Gradient of one plane.
pub fn backward<T: Float>(
    kind: Kind,
    g: &Geometry,
    x: &[T],
    dy: &[T],
    inv: &[T],
    s: &mut Scratch<T>,
    dx: &mut [T],
) {
    s.d.clear();
    s.d.resize(g.scratch_len(), T::ZERO);
    s.rows.clear();
    s.rows.resize(g.padded_out_len(), T::ZERO);
    pad_rows(g, dy, &mut s.rows);
    match kind {
        Kind::Max => {
            pad_plane(g, x, &mut s.x);
            max_scatter(g, &s.x, &s.rows, &mut s.d);
        }
        Kind::Average => {
            let ds = g.wo.next_multiple_of(LANES);
            for oy in 0..g.ho {
                for ox in 0..g.wo {
                    s.rows[oy * ds + ox] *= inv[oy * g.wo + ox];
                }
            }
            sum_scatter(g, &s.rows, &mut s.d);
        }
    }
    unpad_plane(g, &s.d, dx);
}
