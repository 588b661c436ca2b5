// Counts, means and sums of squares that are merged, and the mean in two floats: what kernels of normalisation share.
#pragma once
#include "vector.cuh"

struct Moments {
    float n, mean, m2;
};

__device__ inline Moments norm_merged(Moments a, Moments b) {
    float n = a.n + b.n;
    if (n == 0.0f) return a;
    float delta = b.mean - a.mean, share = b.n / n;
    return Moments{n, fmaf(delta, share, a.mean), a.m2 + b.m2 + delta * delta * (a.n * share)};
}

__device__ inline Moments norm_lane(Moments w, int d) {
    return Moments{__shfl_xor_sync(FULL_WARP, w.n, d), __shfl_xor_sync(FULL_WARP, w.mean, d),
                   __shfl_xor_sync(FULL_WARP, w.m2, d)};
}

// All of LANES neighbouring lanes merged; what counts is the first one's.
template <int LANES> __device__ inline Moments norm_lanes(Moments w) {
    for (int d = LANES / 2; d > 0; d /= 2) w = norm_merged(w, norm_lane(w, d));
    return w;
}
// All of a warp merged; what counts is lane 0's.
__device__ inline Moments norm_warp(Moments w) { return norm_lanes<WARP_SIZE>(w); }

// The chunks of channel c merged, in every lane of every warp.
__device__ inline Moments norm_chunks(const float *part, int chunks, int channels, int c) {
    Moments w = {0.0f, 0.0f, 0.0f};
    for (int k = threadIdx.x % WARP_SIZE; k < chunks; k += WARP_SIZE) {
        const float *p = part + ((long long)k * channels + c) * 3;
        w = norm_merged(w, Moments{p[0], p[1], p[2]});
    }
    w = norm_warp(w);
    return Moments{__shfl_sync(FULL_WARP, w.n, 0), __shfl_sync(FULL_WARP, w.mean, 0), __shfl_sync(FULL_WARP, w.m2, 0)};
}

// mean + rest = shift + offset, the sum in two floats; y = a ((x - mean) - rest) + b.
struct NormChannel {
    float mean, rest, var, a, b;
};

__device__ inline void norm_centre(NormChannel &s, float shift, float offset) {
    s.mean = shift + offset;
    float back = s.mean - shift;
    s.rest = (shift - (s.mean - back)) + (offset - back);
}
