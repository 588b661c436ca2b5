//! Counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011).
//!
//! A stream is a pure function of its key: (seed, path of words). There is no hidden position, so a resumed run draws
//! the same numbers as an uninterrupted one, for any number of threads.

/// A stream of random numbers, keyed by a seed and a path such as (stage, step, sample, op).
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    counter: u64,
    stream: u64,
    buffer: [u32; 4],
    left: usize,
}

fn mix(a: u64, b: u64) -> u64 {
    // SplitMix64 finaliser over the combination: distinct paths give unrelated streams.
    let mut z = a.rotate_left(23)
        ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stable 64-bit hash of a name (FNV-1a), to key a stream by words.
pub fn word(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ b as u64).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the streams of the paths `path` + two more words have in common: their number is `mix` of this and those words. Kernels finish
/// it: one word for the operation, one for each piece of a tensor.
pub fn prefix(path: &[u64]) -> u64 {
    path.iter()
        .fold(path.len() as u64 + 2, |h, &word| mix(h, word))
}

impl Rng {
    /// The stream of `seed` and `path`.
    pub fn new(seed: u64, path: &[u64]) -> Self {
        let stream = path.iter().fold(path.len() as u64, |h, &p| mix(h, p));
        Rng {
            key: [seed as u32, (seed >> 32) as u32],
            counter: 0,
            stream,
            buffer: [0; 4],
            left: 0,
        }
    }

    fn refill(&mut self) {
        let mut c = [
            self.counter as u32,
            (self.counter >> 32) as u32,
            self.stream as u32,
            (self.stream >> 32) as u32,
        ];
        let mut k = self.key;
        for _ in 0..10 {
            let p0 = 0xD251_1F53u64 * c[0] as u64;
            let p1 = 0xCD9E_8D57u64 * c[2] as u64;
            c = [
                (p1 >> 32) as u32 ^ c[1] ^ k[0],
                p1 as u32,
                (p0 >> 32) as u32 ^ c[3] ^ k[1],
                p0 as u32,
            ];
            k = [
                k[0].wrapping_add(0x9E37_79B9),
                k[1].wrapping_add(0xBB67_AE85),
            ];
        }
        self.buffer = c;
        self.counter += 1;
        self.left = 4;
    }

    /// 32 random bits.
    pub fn u32(&mut self) -> u32 {
        if self.left == 0 {
            self.refill();
        }
        self.left -= 1;
        self.buffer[self.left]
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        (self.u32() as u64) << 32 | self.u32() as u64
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn f64(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn f32(&mut self) -> f32 {
        (self.u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [lo, hi).
    pub fn range(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.f64()
    }

    /// Uniform integer in 0..n; 0 for n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.u64() as u128 * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn coin(&mut self, p: f64) -> bool {
        self.f64() < p
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.f64();
        let v = self.f64();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A random permutation of 0..n (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut p: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            p.swap(i, self.below(i + 1));
        }
        p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_known_answer() {
        // Random123 kat_vectors: philox4x32-10, counter 0, key 0.
        let mut r = Rng {
            key: [0, 0],
            counter: 0,
            stream: 0,
            buffer: [0; 4],
            left: 0,
        };
        r.refill();
        assert_eq!(
            r.buffer,
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
    }

    #[test]
    fn paths_give_distinct_streams() {
        let a: Vec<u32> = {
            let mut r = Rng::new(1, &[1, 2]);
            (0..4).map(|_| r.u32()).collect()
        };
        let b: Vec<u32> = {
            let mut r = Rng::new(1, &[2, 1]);
            (0..4).map(|_| r.u32()).collect()
        };
        assert_ne!(a, b);
    }

    #[test]
    fn a_prefix_and_a_word_are_a_path() {
        for word in [0, 7, u64::MAX] {
            let whole = Rng::new(3, &[5, 6, word]);
            assert_eq!(mix(mix(prefix(&[5]), 6), word), whole.stream);
        }
    }

    #[test]
    fn moments() {
        let mut r = Rng::new(7, &[]);
        let v: Vec<f64> = (0..20_000).map(|_| r.normal()).collect();
        let m = v.iter().sum::<f64>() / v.len() as f64;
        let s = v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / v.len() as f64;
        assert!(m.abs() < 0.03 && (s - 1.0).abs() < 0.05, "{m} {s}");
    }
}
