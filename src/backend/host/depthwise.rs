//! Depthwise convolution of one plane, any stride and dilation, over the scratch of [`super::planes`].

// Only NaN differs from itself.
#![allow(clippy::eq_op)]

use super::by_hand::{self, Grid};
use super::lanes::V;
pub use super::planes::*;
use super::products::Runs;
use super::{Float, LANES, simd};

simd! {
    /// `y[o] = sum over taps of w * s`, into a padded output. `KK` taps; 0 takes any number.
    fn correlate<const KK: usize>[T](l: &Layout, s: &[T], w: &[T], y: &mut [T]) {
        l.check(s, y, w.len());
        let taps: &[usize] = if KK == 0 { &l.taps } else { &l.taps[..KK] };
        let w: &[T] = if KK == 0 { w } else { &w[..KK] };
        for r in 0..l.runs {
            let (base, out) = (r * l.run_in, r * l.run_out);
            let mut o = 0;
            while o + 2 * LANES <= l.run_len {
                let (mut a, mut b) = (V::splat(T::ZERO), V::splat(T::ZERO));
                for t in 0..taps.len() {
                    let (at, wv) = (base + o + taps[t], V::splat(w[t]));
                    a = a.fma(V::at(s, at), wv);
                    b = b.fma(V::at(s, at + LANES), wv);
                }
                a.put(y, out + o);
                b.put(y, out + o + LANES);
                o += 2 * LANES;
            }
            while o < l.run_len {
                let mut a = V::splat(T::ZERO);
                for t in 0..taps.len() {
                    a = a.fma(V::at(s, base + o + taps[t]), V::splat(w[t]));
                }
                a.put(y, out + o);
                o += LANES;
            }
        }
    }
}

simd! {
    /// `s += w * dy` at every tap: the gradient of the padded input, for strides above 1. `dy` is a padded output.
    pub fn scatter[T](l: &Layout, dy: &[T], w: &[T], s: &mut [T]) {
        l.check(s, dy, w.len());
        for r in 0..l.runs {
            for (t, &tap) in l.taps.iter().enumerate() {
                let (base, wv) = (r * l.run_in + tap, V::splat(w[t]));
                let mut o = 0;
                while o < l.run_len {
                    V::at(s, base + o).fma(V::at(dy, r * l.run_out + o), wv).put(s, base + o);
                    o += LANES;
                }
            }
        }
    }
}

simd! {
    /// `dw[t] += sum dy * s` for `G` taps, whose accumulators stay in registers; `dy` is a padded output with zeros
    /// between rows.
    fn weight_gradient_taps<const G: usize>[T](l: &Layout, first: usize, dy: &[T], s: &[T], dw: &mut [T]) {
        let mut at = [0; G];
        at.copy_from_slice(&l.taps[first..first + G]);
        let mut acc = [V::splat(T::ZERO); G];
        for r in 0..l.runs {
            let (base, out) = (r * l.run_in, r * l.run_out);
            let mut o = 0;
            while o < l.run_len {
                let d = V::at(dy, out + o);
                for t in 0..G {
                    acc[t] = acc[t].fma(d, V::at(s, base + o + at[t]));
                }
                o += LANES;
            }
        }
        for t in 0..G {
            dw[first + t] += acc[t].sum();
        }
    }
}

/// Where a product writes a plane into the scratch of this layout, between its zeros: the first element, and the rows. `None` where the
/// kernels that go on from there do not take this layout.
pub fn inside<T: Float>(l: &Layout) -> Option<(usize, Runs)> {
    let g = &l.g;
    let by_hand = by_hand::applies::<T>() && by_hand::side(l.taps.len()).is_some();
    l.grid().filter(|_| by_hand).map(|grid| {
        let runs = Runs {
            runs: g.h,
            len: g.w,
            b_step: g.w,
            c_step: grid.in_row,
        };
        (g.padding * (grid.in_row + 1), runs)
    })
}

/// [`weight_gradient`] where the output gradient lies in the scratch `back` of the layout `flipped`, which [`inside`] takes, as it does
/// `l`.
pub fn weight_gradient_inside<T: Float>(
    l: &Layout,
    flipped: &Layout,
    back: &[T],
    s: &[T],
    dw: &mut [T],
) {
    let rows = flipped.grid().zip(inside::<T>(flipped));
    let (grid, rows) = l.grid().zip(rows).expect("layouts that go row by row");
    let grid = Grid {
        out_row: rows.0.in_row,
        ..grid
    };
    let done = by_hand::weight_gradient(&grid, &back[rows.1.0..], s, dw);
    assert!(done, "there is a kernel where `inside` says so");
}

/// `dw += ` the gradient of one plane, from its padded scratch and its padded output gradient.
pub fn weight_gradient<T: Float>(l: &Layout, dy: &[T], s: &[T], dw: &mut [T]) {
    l.check(s, dy, dw.len());
    if l.grid()
        .is_some_and(|g| by_hand::weight_gradient(&g, dy, s, dw))
    {
        return;
    }
    let mut t = 0;
    while t < dw.len() {
        // Groups of five and four: 25 taps are 5 fives, 9 are a five and a four.
        t += match dw.len() - t {
            n if n >= 5 => {
                weight_gradient_taps::<T, 5>(l, t, dy, s, dw);
                5
            }
            4 => {
                weight_gradient_taps::<T, 4>(l, t, dy, s, dw);
                4
            }
            _ => {
                weight_gradient_taps::<T, 1>(l, t, dy, s, dw);
                1
            }
        };
    }
}

/// `y = w * x` for one plane; `s` and `out` are scratches of the layout's lengths, `s` zero at first.
pub fn forward<T: Float>(l: &Layout, x: &[T], w: &[T], s: &mut [T], out: &mut [T], y: &mut [T]) {
    pad_plane(l, x, s);
    from_padded(l, s, w, out, y);
}

/// [`forward`] of a plane that is in its scratch already.
pub fn from_padded<T: Float>(l: &Layout, s: &[T], w: &[T], out: &mut [T], y: &mut [T]) {
    let direct = l.direct();
    let into: &mut [T] = if direct { &mut *y } else { &mut *out };
    let done = l.grid().is_some_and(|g| by_hand::correlate(&g, s, w, into));
    match w.len() {
        _ if done => {}
        9 => correlate::<T, 9>(l, s, w, into),
        25 => correlate::<T, 25>(l, s, w, into),
        _ => correlate::<T, 0>(l, s, w, into),
    }
    if !direct {
        take_rows(l, out, y);
    }
}

simd! {
    /// `y[o] = max over taps of s` (NaN wins), into a padded output.
    pub fn max_taps[T](l: &Layout, s: &[T], y: &mut [T]) {
        l.check(s, y, l.taps.len());
        for r in 0..l.runs {
            let mut o = 0;
            while o < l.run_len {
                let mut m = V::splat(T::NEG_INF);
                for &t in &l.taps {
                    let v = V::at(s, r * l.run_in + o + t);
                    for i in 0..LANES {
                        m.0[i] = if v.0[i] > m.0[i] || v.0[i] != v.0[i] { v.0[i] } else { m.0[i] };
                    }
                }
                m.put(y, r * l.run_out + o);
                o += LANES;
            }
        }
    }
}

simd! {
    /// Gives each output's gradient to the first tap (in row order) that equals its maximum; adds into the scratch `d`.
    pub fn max_scatter[T](l: &Layout, s: &[T], dy: &[T], d: &mut [T]) {
        l.check(s, dy, l.taps.len());
        l.check(d, dy, l.taps.len());
        for r in 0..l.runs {
            let mut o = 0;
            while o < l.run_len {
                let base = r * l.run_in + o;
                let mut m = V::splat(T::NEG_INF);
                for &t in &l.taps {
                    let v = V::at(s, base + t);
                    for i in 0..LANES {
                        m.0[i] = if v.0[i] > m.0[i] { v.0[i] } else { m.0[i] };
                    }
                }
                // What is still to be given; outputs between rows have none.
                let mut left = V::at(dy, r * l.run_out + o);
                for &t in &l.taps {
                    let v = V::at(s, base + t);
                    let mut g = V::at(d, base + t);
                    for i in 0..LANES {
                        let hit = v.0[i] == m.0[i];
                        g.0[i] += if hit { left.0[i] } else { T::ZERO };
                        left.0[i] = if hit { T::ZERO } else { left.0[i] };
                    }
                    g.put(d, base + t);
                }
                o += LANES;
            }
        }
    }
}
