//! Plain code compiled for every instruction set, where the compiler finds the vectors itself.

#[cfg(target_arch = "x86_64")]
use super::{Isa, isa};

/// A piece of code that [`widest`] runs. `run` and all that it calls are to be `#[inline(always)]`: what is not inlined is not compiled
/// anew. Only additions, products and the like: their bits are the same on every instruction set.
pub trait Plain {
    /// What it gives.
    type Out;
    /// Runs it.
    fn run(self) -> Self::Out;
}

/// Runs `code` as it was compiled for the widest instruction set of this machine.
#[allow(unsafe_code)]
pub fn widest<P: Plain>(code: P) -> P::Out {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")]
        fn avx512<P: Plain>(code: P) -> P::Out {
            code.run()
        }
        #[target_feature(enable = "avx2,fma,bmi2")]
        fn avx2<P: Plain>(code: P) -> P::Out {
            code.run()
        }
        match isa() {
            // SAFETY: isa() found these features on this machine.
            Isa::Avx512 => return unsafe { avx512(code) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(code) },
            Isa::Baseline => {}
        }
    }
    code.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum<'a>(&'a [f32]);

    impl Plain for Sum<'_> {
        type Out = f32;
        #[inline(always)]
        fn run(self) -> f32 {
            self.0.iter().sum()
        }
    }

    #[test]
    fn the_code_is_run() {
        let values: Vec<f32> = (0..1000).map(|i| 1.0 / (i + 1) as f32).collect();
        let want: f32 = values.iter().sum();
        assert_eq!(widest(Sum(&values)).to_bits(), want.to_bits());
    }
}
