// What kernels of batch normalisation share: statistics, y and gradients of maps (N, C, H, W). y = gamma (x - mean) / sqrt(var + eps) +
// beta, optionally rectified.
//
// Statistics: a thread takes deviations from the first value of the channel, sixteen at a time by two passes over registers, and merges
// them by Chan's rule (Chan, Golub, LeVeque 1979); threads, blocks and devices are merged by the same rule in a fixed order. The mean is
// kept as two floats, `mean` and `rest`, and x - mean is taken in two steps: a mean a thousand times the deviation costs no digits.
//
// Grids are (channels, chunks): block (c, k) has the values k 256 ..., a multiple of `chunks` blocks apart, of channel c. Blocks of 256.
#pragma once
#include "norm.cuh"

constexpr int NORM_THREADS = 256, NORM_WARPS = NORM_THREADS / WARP_SIZE;
// Values that are merged at a time.
constexpr int NORM_GROUP = 16;
// What is rectified, added up: y; the map before it is normalised.
enum NormRelu { NORM_BEHIND = 1, NORM_BEFORE = 2 };

// V values of the map, rectified where they are normalised so.
template <int V, typename T> __device__ inline void norm_load(const T *x, float *v, int relu) {
    load_values<V>(x, v);
    if (relu & NORM_BEFORE) UNROLL for (int k = 0; k < V; k++) v[k] = v[k] <= 0.0f ? 0.0f : v[k];
}
// The first value of channel c, from which deviations are taken.
template <typename T> __device__ inline float norm_first(const T *x, long long plane, int c, int relu) {
    float v;
    norm_load<1>(x + c * plane, &v, relu);
    return v;
}

// Moments of K values merged into `w`.
template <int K> __device__ inline void norm_include(Moments &w, const float *v) {
    float sum = 0.0f, m2 = 0.0f;
    UNROLL for (int k = 0; k < K; k++) sum += v[k];
    float mean = sum * (1.0f / K);
    UNROLL for (int k = 0; k < K; k++) {
        float d = v[k] - mean;
        m2 = fmaf(d, d, m2);
    }
    w = norm_merged(w, Moments{(float)K, mean, m2});
}

// Where a thread stands among the values of a channel, V at a time; no division after the first.
template <int V> struct NormWalk {
    long long i, n, step, image, at, images_a_step, at_a_step, plane, stride, base;

    __device__ inline NormWalk(long long images, int channels, long long values) {
        plane = values / V;
        n = images * plane;
        step = (long long)gridDim.y * NORM_THREADS;
        i = (long long)blockIdx.y * NORM_THREADS + threadIdx.x;
        image = quotient(i, plane), at = i - image * plane;
        images_a_step = quotient(step, plane), at_a_step = step - images_a_step * plane;
        stride = channels * values, base = blockIdx.x * values;
    }
    // Index of the value, and on to the next.
    __device__ inline long long next() {
        long long index = image * stride + base + at * V;
        i += step, image += images_a_step, at += at_a_step;
        if (at >= plane) at -= plane, image++;
        return index;
    }
};

template <typename T, int V> __device__ inline Moments norm_count(const T *x, int relu, long long images, int channels, long long plane) {
    constexpr int U = NORM_GROUP / V;
    float shift = norm_first(x, plane, blockIdx.x, relu);
    Moments w = {0.0f, 0.0f, 0.0f};
    NormWalk<V> walk(images, channels, plane);
    while (walk.i + (U - 1) * walk.step < walk.n) {
        float v[NORM_GROUP];
        UNROLL for (int u = 0; u < U; u++) norm_load<V>(x + walk.next(), v + u * V, relu);
        UNROLL for (int k = 0; k < NORM_GROUP; k++) v[k] -= shift;
        norm_include<NORM_GROUP>(w, v);
    }
    while (walk.i < walk.n) {
        float v[V];
        norm_load<V>(x + walk.next(), v, relu);
        UNROLL for (int k = 0; k < V; k++) v[k] -= shift;
        norm_include<V>(w, v);
    }
    return w;
}

// part (chunks, C, 3): count, mean of the deviations from the first value, sum of squares about that mean; of `images` images from
// `first` on.
template <typename T>
__device__ void norm_stats(const T *x, float *part, float *warps, int relu, long long first, long long images, int channels, long long plane) {
    x += first * channels * plane;
    bool packs = plane % PACK<T> == 0;
    Moments w = packs ? norm_count<T, PACK<T>>(x, relu, images, channels, plane) : norm_count<T, 1>(x, relu, images, channels, plane);
    w = norm_warp(w);
    if (threadIdx.x % WARP_SIZE == 0) {
        float *mine = warps + threadIdx.x / WARP_SIZE * 3;
        mine[0] = w.n, mine[1] = w.mean, mine[2] = w.m2;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int k = 1; k < NORM_WARPS; k++) w = norm_merged(w, Moments{warps[k * 3], warps[k * 3 + 1], warps[k * 3 + 2]});
        float *mine = part + ((long long)blockIdx.y * channels + blockIdx.x) * 3;
        mine[0] = w.n, mine[1] = w.mean, mine[2] = w.m2;
    }
}

__device__ inline void norm_scale(NormChannel &s, const float *gamma, const float *beta, int c, int affine, float eps) {
    s.a = (affine ? gamma[c] : 1.0f) / sqrtf(s.var + eps);
    s.b = affine ? beta[c] : 0.0f;
}

__device__ inline float norm_value(const NormChannel &s, float x) { return fmaf((x - s.mean) - s.rest, s.a, s.b); }

template <typename T, int V>
__device__ inline void norm_write(const T *x, T *y, const NormChannel &s, int relu, long long images, int channels, long long plane) {
    NormWalk<V> walk(images, channels, plane);
    while (walk.i < walk.n) {
        long long at = walk.next();
        float v[V];
        norm_load<V>(x + at, v, relu);
        UNROLL for (int k = 0; k < V; k++) {
            v[k] = norm_value(s, v[k]);
            if ((relu & NORM_BEHIND) && v[k] <= 0.0f) v[k] = 0.0f;
        }
        store_values<V>(y + at, v);
    }
}

template <typename T>
__device__ void norm_write_all(const T *x, T *y, const NormChannel &s, int relu, long long images, int channels, long long plane) {
    if (plane % PACK<T> == 0) norm_write<T, PACK<T>>(x, y, s, relu, images, channels, plane);
    else norm_write<T, 1>(x, y, s, relu, images, channels, plane);
}

// y, and mean, var (C) and rest (2, C): the low part of the mean, the count; of channels with these moments of the deviations from a shift.
template <typename T>
__device__ void norm_fwd_about(const T *x, float shift, Moments w, const float *gamma, const float *beta, T *y, float *mean, float *var,
                               float *rest, long long images, int channels, long long plane, int affine, int relu, float eps) {
    int c = blockIdx.x;
    NormChannel s;
    norm_centre(s, shift, w.mean);
    s.var = w.m2 / w.n;
    norm_scale(s, gamma, beta, c, affine, eps);
    if (blockIdx.y == 0 && threadIdx.x == 0) mean[c] = s.mean, var[c] = s.var, rest[c] = s.rest, rest[channels + c] = w.n;
    norm_write_all(x, y, s, relu, images, channels, plane);
}

// The same from the partial statistics.
template <typename T>
__device__ void norm_fwd(const T *x, const float *part, const float *gamma, const float *beta, T *y, float *mean, float *var,
                         float *rest, int chunks, long long images, int channels, long long plane, int affine, int relu,
                         float eps) {
    int c = blockIdx.x;
    Moments w = norm_chunks(part, chunks, channels, c);
    norm_fwd_about(x, norm_first(x, plane, c, relu), w, gamma, beta, y, mean, var, rest, images, channels, plane, affine, relu, eps);
}

__device__ inline NormChannel norm_known(const float *mean, const float *var, const float *rest, int c, int batch) {
    NormChannel s;
    s.mean = mean[c], s.var = var[c], s.rest = batch ? rest[c] : 0.0f;
    return s;
}

// y with known statistics; `rest` counts where they are of a batch.
template <typename T>
__device__ void norm_apply(const T *x, const float *mean, const float *var, const float *rest, const float *gamma, const float *beta,
                           T *y, long long images, int channels, long long plane, int affine, int relu, int batch, float eps) {
    NormChannel s = norm_known(mean, var, rest, blockIdx.x, batch);
    norm_scale(s, gamma, beta, blockIdx.x, affine, eps);
    norm_write_all(x, y, s, relu, images, channels, plane);
}

// dy where the output is live.
__device__ inline float norm_live(const NormChannel &s, float x, float dy, int relu) {
    return (relu & NORM_BEHIND) && norm_value(s, x) <= 0.0f ? 0.0f : dy;
}

template <typename T, int V>
__device__ inline void norm_gradient_sums(const T *x, const T *dy, const NormChannel &s, int relu, long long images, int channels,
                                          long long plane, float &sum, float &dot) {
    NormWalk<V> walk(images, channels, plane);
    while (walk.i < walk.n) {
        long long at = walk.next();
        float v[V], g[V];
        norm_load<V>(x + at, v, relu), load_values<V>(dy + at, g);
        UNROLL for (int k = 0; k < V; k++) {
            g[k] = norm_live(s, v[k], g[k], relu);
            sum += g[k];
            dot = fmaf(g[k], (v[k] - s.mean) - s.rest, dot);
        }
    }
}

// part (chunks, C, 2): sum of dy, sum of dy (x - mean).
template <typename T>
__device__ void norm_bwd_sums(const T *x, const T *dy, const float *mean, const float *var, const float *rest, const float *gamma,
                              const float *beta, float *part, float *warps, long long first, long long images, int channels,
                              long long plane, int affine, int relu, int batch, float eps) {
    x += first * channels * plane, dy += first * channels * plane;
    NormChannel s = norm_known(mean, var, rest, blockIdx.x, batch);
    norm_scale(s, gamma, beta, blockIdx.x, affine, eps);
    float sum = 0.0f, dot = 0.0f;
    if (plane % PACK<T> == 0) norm_gradient_sums<T, PACK<T>>(x, dy, s, relu, images, channels, plane, sum, dot);
    else norm_gradient_sums<T, 1>(x, dy, s, relu, images, channels, plane, sum, dot);
    sum = block_sum(sum, warps), dot = block_sum(dot, warps);
    if (threadIdx.x == 0) {
        float *mine = part + ((long long)blockIdx.y * channels + blockIdx.x) * 2;
        mine[0] = sum, mine[1] = dot;
    }
}

template <typename T, int V>
__device__ inline void norm_write_dx(const T *x, const T *dy, T *dx, const NormChannel &s, float sum, float dot, int relu,
                                     long long images, int channels, long long plane) {
    NormWalk<V> walk(images, channels, plane);
    while (walk.i < walk.n) {
        long long at = walk.next();
        float v[V], g[V];
        norm_load<V>(x + at, v, relu), load_values<V>(dy + at, g);
        UNROLL for (int k = 0; k < V; k++) {
            g[k] = s.a * (norm_live(s, v[k], g[k], relu) - sum - ((v[k] - s.mean) - s.rest) * dot);
            if ((relu & NORM_BEFORE) && v[k] <= 0.0f) g[k] = 0.0f;
        }
        store_values<V>(dx + at, g);
    }
}

constexpr int NORM_DX = 1, NORM_DGAMMA = 2, NORM_DBETA = 4;

// dx = a (dy - sum / M - (x - mean) dot / (M (var + eps))), a dy where the statistics are given; dgamma = dot / sqrt(var + eps),
// dbeta = sum; `want` says which, the others are not touched. `part` may be of chunks or of devices.
template <typename T>
__device__ void norm_bwd_x(const T *x, const T *dy, const float *mean, const float *var, const float *rest, const float *part,
                           const float *gamma, const float *beta, T *dx, float *dgamma, float *dbeta, int chunks, long long images,
                           int channels, long long plane, int affine, int relu, int batch, int want, float eps) {
    int c = blockIdx.x;
    NormChannel s = norm_known(mean, var, rest, c, batch);
    norm_scale(s, gamma, beta, c, affine, eps);
    float sum = 0.0f, dot = 0.0f;
    for (int k = threadIdx.x % WARP_SIZE; k < chunks; k += WARP_SIZE) {
        const float *p = part + ((long long)k * channels + c) * 2;
        sum += p[0], dot += p[1];
    }
    sum = warp_sum(sum), dot = warp_sum(dot);
    float inverse = 1.0f / sqrtf(s.var + eps);
    if (blockIdx.y == 0 && threadIdx.x == 0) {
        if (want & NORM_DGAMMA) dgamma[c] = dot * inverse;
        if (want & NORM_DBETA) dbeta[c] = sum;
    }
    if (!(want & NORM_DX)) return;
    float count = batch ? rest[channels + c] : 1.0f;
    sum = batch ? sum / count : 0.0f, dot = batch ? dot * inverse * inverse / count : 0.0f;
    if (plane % PACK<T> == 0) norm_write_dx<T, PACK<T>>(x, dy, dx, s, sum, dot, relu, images, channels, plane);
    else norm_write_dx<T, 1>(x, dy, dx, s, sum, dot, relu, images, channels, plane);
}
