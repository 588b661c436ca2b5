//! Noise on a lattice: hashed values, smoothed, summed over octaves.

/// A value in [0, 1) for a lattice point and a seed.
pub fn hash(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x8da6_b343)
        ^ (y as u32).wrapping_mul(0xd816_3841)
        ^ seed.wrapping_mul(0xcb1a_b31f);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    ((h ^ (h >> 15)) >> 8) as f32 / (1 << 24) as f32
}

/// Smooth noise in [0, 1), one cell a unit.
pub fn smooth(x: f32, y: f32, seed: u32) -> f32 {
    let (xi, yi) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (ease(x - xi), ease(y - yi));
    let (xi, yi) = (xi as i32, yi as i32);
    let row = |y: i32| {
        let (a, b) = (hash(xi, y, seed), hash(xi.wrapping_add(1), y, seed));
        a + (b - a) * fx
    };
    let (a, b) = (row(yi), row(yi.wrapping_add(1)));
    a + (b - a) * fy
}

/// Two octaves of [`smooth`], in [0, 1).
pub fn cloudy(x: f32, y: f32, seed: u32) -> f32 {
    (smooth(x, y, seed) * 2.0 + smooth(x * 2.1, y * 2.1, seed ^ 0x55)) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spread_and_smooth() {
        let n = 10_000;
        let mean = (0..n).map(|i| hash(i % 100, i / 100, 7)).sum::<f32>() / n as f32;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        for i in 0..n {
            let (x, y) = (i as f32 * 0.37 - 900.0, i as f32 * 0.11);
            let v = cloudy(x, y, 3);
            assert!((0.0..1.0).contains(&v));
            assert!((smooth(x, y, 3) - smooth(x + 0.01, y, 3)).abs() < 0.03);
        }
    }
}
