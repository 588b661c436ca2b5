// What the kernels of convolutions share: sizes, the product of two tiles.
#pragma once
#include "dialect.cuh"

// Channels, or pixels, of a slice of the sum.
constexpr int BK = 16;

// A gather over the taps of a k x k kernel. Forward (`transposed` 0): output (i, j) reads the source at (i, j) stride + tap dilation - padding;
// `rows` and `depth` are the output's and the source's channels of a group, weights (groups rows, depth, k, k).
// Transposed: the source at ((i, j) + padding - tap dilation) / stride, where that is whole; weights (groups depth, rows, k, k). Outputs
// that agree modulo the stride have their taps in common and are taken together: a class.
struct Gather {
    int images, groups, rows, depth, h, w, ho, wo, k, stride, padding, dilation, transposed;

    // Index of a weight; `m` and `c` count within the group.
    __device__ long long weight(int group, int m, int c, int tap) const {
        const long long outer = transposed ? (long long)group * depth + c : (long long)group * rows + m;
        return (transposed ? outer * rows + m : outer * depth + c) * k * k + tap;
    }
};

// A convolution as its forward has it; `rows` and `depth` are channels of a group of y and of x.
struct Sizes {
    int images, groups, rows, depth, h, w, ho, wo, k, stride, padding, dilation;
};

// acc[i][j] += sum_{r < count} a[r][i] b[r][j]; rows of `a` and `b` are lda and ldb apart and aligned to 16 bytes.
template <int TM, int TN>
__device__ inline void multiply_one(const float *a, const float *b, float (&acc)[TM][TN]) {
    float u[TM], v[TN];
    for (int i = 0; i < TM; i += 4) {
        float4 four = load4(a + i);
        u[i] = four.x, u[i + 1] = four.y, u[i + 2] = four.z, u[i + 3] = four.w;
    }
    for (int j = 0; j < TN; j += 4) {
        float4 four = load4(b + j);
        v[j] = four.x, v[j + 1] = four.y, v[j + 2] = four.z, v[j + 3] = four.w;
    }
    for (int i = 0; i < TM; i++)
        for (int j = 0; j < TN; j++) acc[i][j] = fmaf(u[i], v[j], acc[i][j]);
}
template <int TM, int TN>
__device__ inline void multiply(const float *a, int lda, const float *b, int ldb, int count, float (&acc)[TM][TN]) {
    if (count == BK) {
        UNROLL
        for (int r = 0; r < BK; r++) multiply_one<TM, TN>(a + r * lda, b + r * ldb, acc);
    } else {
        for (int r = 0; r < count; r++) multiply_one<TM, TN>(a + r * lda, b + r * ldb, acc);
    }
}
