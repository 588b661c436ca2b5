// What the kernels of convolutions share: sizes, the product of two tiles.
#pragma once
#include "norm_tally.cuh"

// Channels, or pixels, of a slice of the sum.
constexpr int BK = 16;

// A gather over the taps of a k x k kernel. Forward (`transposed` 0): output (i, j) reads the source at (i, j) stride + tap dilation - padding;
// `rows` and `depth` are the output's and the source's channels of a group, weights (groups rows, depth, k, k).
// Transposed: the source at ((i, j) + padding - tap dilation) / stride, where that is whole; weights (groups depth, rows, k, k). Outputs
// that agree modulo the stride have their taps in common and are taken together: a class.
struct Gather {
    int images, groups, rows, depth, h, w, ho, wo, k, stride, padding, dilation, transposed;
    // Channels of an image of the source and of the result, which may have more than are read or written.
    int from, to;
    // Transposed, of two 1x1 kernels whose results lie one behind the other in the source, the second over the map from row and column 1 on:
    // the taps on the diagonal of a 2x2 kernel, each with weights of its own.
    int pair;
    // Values of an image of the rows, where there are rows.
    long long image;

    // Index of a weight; `m` and `c` count within the group.
    __device__ long long weight(int group, int m, int c, int tap) const {
        const long long outer = transposed ? (long long)group * depth + c : (long long)group * rows + m;
        return (transposed ? outer * rows + m : outer * depth + c) * (pair ? 1 : k * k) + (pair ? 0 : tap);
    }
};

// max(v, 0) where asked for; the gradient behind it.
__device__ inline float rectified(float v, bool asked) { return asked && v <= 0.0f ? 0.0f : v; }
__device__ inline float4 rectified(float4 v, bool asked) {
    return float4{rectified(v.x, asked), rectified(v.y, asked), rectified(v.z, asked), rectified(v.w, asked)};
}
__device__ inline float masked(float v, float x) { return x > 0.0f ? v : 0.0f; }
__device__ inline float4 masked(float4 v, float4 x) { return float4{masked(v.x, x.x), masked(v.y, x.y), masked(v.z, x.z), masked(v.w, x.w)}; }
__device__ inline float4 sum4(float4 a, float4 b) { return float4{a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w}; }

// 1x1 convolutions of a launch (`UNITS` of src/ops/pointwise_many/device.rs) and what a unit is: all pixels of its map, every second from the
// first on, or from row and column 1 on.
constexpr int MANY_UNITS = 4;
enum ManyPixels { ALL_PIXELS, EVEN_PIXELS, ODD_PIXELS };
#define MANY_SIZES int images, int channels, int ho, int wo, int depth0, int depth1, int depth2, int depth3, int pixels0, int pixels1, int pixels2, int pixels3
#define MANY_NUMBERS images, channels, ho, wo, many_of(depth0, depth1, depth2, depth3), many_of(pixels0, pixels1, pixels2, pixels3)
__device__ inline int many_of(int a, int b, int c, int d) {
    const int z = blockIdx.z;
    return z == 0 ? a : z == 1 ? b : z == 2 ? c : d;
}
// The forward of a unit: of `channels` channels of the result all, or half of them.
__device__ inline Gather many_forward(int images, int channels, int ho, int wo, int depth, int pixels) {
    const int step = pixels == ALL_PIXELS ? 1 : 2;
    return Gather{images, 1, channels / step, depth, ho * step, wo * step, ho, wo, 1, step, pixels == ODD_PIXELS ? -1 : 0, 1, 0, depth, channels, 0, 0};
}

// Statistics of what the forward writes (`NORM`): of each channel and block in x, `part` (channels, blocks, 4) as norm_shifted has them. They are of
// the values as stored; deviations are taken from one of these, and merged by Chan's rule, over the tiles of a thread, lanes and warps.

// The input gradient of a map: where every second pixel was read, of both halves.
__device__ inline Gather many_backward(int images, int channels, int ho, int wo, int depth, int pixels) {
    const int step = pixels == ALL_PIXELS ? 1 : 2;
    return Gather{images, 1, depth, channels / step, ho, wo, ho * step, wo * step, step, step, 0, 1, 1, channels, depth, step == 2, 0};
}

// A convolution as its forward has it; `rows` and `depth` are channels of a group of y and of x, `to` those of an image of y.
struct Sizes {
    int images, groups, rows, depth, h, w, ho, wo, k, stride, padding, dilation, to;
    long long image;
};
__device__ inline Sizes many_weights(int images, int channels, int ho, int wo, int depth, int pixels) {
    const int step = pixels == ALL_PIXELS ? 1 : 2;
    return Sizes{images, 1, channels / step, depth, ho * step, wo * step, ho, wo, 1, step, pixels == ODD_PIXELS ? -1 : 0, 1, channels, 0};
}

// A convolution of stride 1 and one group over maps (depth, h, w); its gather, also the other way, and the sizes of its weight gradient.
#define PLAIN_SIZES int images, int rows, int depth, int h, int w, int k, int padding, int dilation
__device__ inline Gather plain_gather(PLAIN_SIZES, bool transposed, long long image) {
    const int more = 2 * padding - (k - 1) * dilation, ho = h + more, wo = w + more;
    if (transposed) return Gather{images, 1, depth, rows, ho, wo, h, w, k, 1, padding, dilation, 1, rows, depth, 0, image};
    return Gather{images, 1, rows, depth, h, w, ho, wo, k, 1, padding, dilation, 0, depth, rows, 0, image};
}
__device__ inline Sizes plain_weights(PLAIN_SIZES, long long image) {
    const int more = 2 * padding - (k - 1) * dilation;
    return Sizes{images, 1, rows, depth, h, w, h + more, w + more, k, 1, padding, dilation, rows, image};
}

// Convolutions of rectified maps of one size side by side (`UNITS` of src/ops/rectified_convs), each to `channels` channels.
constexpr int RECTIFIED_UNITS = 2;
#define RECTIFIED_SIZES int images, int channels, int depth0, int depth1, int h, int wd, int k, int padding, int dilation
#define RECTIFIED_NUMBERS images, channels, blockIdx.z == 0 ? depth0 : depth1, h, wd, k, padding, dilation

// Convolutions of maps of any size side by side (`LEVELS` of src/ops/head_rows/device.rs), whose results are rows: of an image those of one level
// after those of another, pixel by pixel, the channels of a pixel side by side. Which of a gather's maps are rows:
constexpr int HEAD_LEVELS = 8;
enum Rows { NO_ROWS, ROWS_WRITTEN, ROWS_READ };
// Of each level the channels of its result, those of its map, height and width of this, chunks of a sum over the pixels and their length.
constexpr int HEAD_NUMBERS = 6;
#define HEAD_SIZES const int *numbers, int images, long long image, int k, int padding, int dilation
__device__ inline Gather head_gather(HEAD_SIZES, bool transposed) {
    const int *of = numbers + blockIdx.z * HEAD_NUMBERS;
    return plain_gather(images, of[0], of[1], of[2], of[3], k, padding, dilation, transposed, image);
}
__device__ inline Sizes head_weights(HEAD_SIZES) {
    const int *of = numbers + blockIdx.z * HEAD_NUMBERS;
    return plain_weights(images, of[0], of[1], of[2], of[3], k, padding, dilation, image);
}

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
