//! Mutants that no case can tell from the kernel, each with the reason. A survivor that is not here fails the tests.

/// A mutant by the text of its line.
pub struct Survivor {
    /// Name of the file.
    pub file: &'static str,
    /// The line of the kernel.
    pub before: &'static str,
    /// The line of the mutant.
    pub after: &'static str,
    /// Why both compute the same.
    pub why: &'static str,
}

const COMMUTES: &str = "a sum of two numbers is the same in either order";

/// All of them.
pub const SURVIVORS: &[Survivor] = &[
    Survivor {
        file: "depthwise.cu",
        before: "return ((l.tx - 1) * 4 * S + FIRST + FOURS * 4 + VECTOR - 1) / VECTOR * VECTOR;",
        after: "return ((l.tx - 1) * 4 * S + FIRST + FOURS * 4 + VECTOR - 0) / VECTOR * VECTOR;",
        why: "rows of a tile longer than they need be",
    },
    Survivor {
        file: "depthwise.cu",
        before: "const unsigned all = (unsigned)(images + l.planes - 1) / (unsigned)l.planes * cells;",
        after: "const unsigned all = (unsigned)(images + l.planes - 0) / (unsigned)l.planes * cells;",
        why: "units of images that there are none of, which add nothing",
    },
    Survivor {
        file: "elementwise.cu",
        before: "extern \"C\" __global__ void add_f32(const float *a, const float *b, float *y, long long n) { add(a, b, y, n); }",
        after: "extern \"C\" __global__ void add_f32(const float *a, const float *b, float *y, long long n) { add(b, a, y, n); }",
        why: COMMUTES,
    },
    Survivor {
        file: "elementwise.cu",
        before: "extern \"C\" __global__ void add_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { add(a, b, y, n); }",
        after: "extern \"C\" __global__ void add_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { add(b, a, y, n); }",
        why: COMMUTES,
    },
];
