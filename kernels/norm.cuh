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

// Moments of a thread, of deviations from a shift: of CO channels with one count.
template <int CO> struct NormTally {
    float n, mean[CO], m2[CO];
};
// The first `valid` of four values of each channel.
template <int CO>
__device__ __forceinline__ void norm_tally(NormTally<CO> &w, const float (&v)[CO][4], const float *shift, int valid) {
    const float n = w.n + valid, share = valid / n, inverse = 1.0f / valid;
    UNROLL
    for (int o = 0; o < CO; o++) {
        float d[4], sum = 0.0f, m2 = 0.0f;
        UNROLL
        for (int j = 0; j < 4; j++) {
            d[j] = j < valid ? v[o][j] - shift[o] : 0.0f;
            sum += d[j];
        }
        const float mean = sum * inverse, delta = mean - w.mean[o];
        UNROLL
        for (int j = 0; j < 4; j++) {
            d[j] = j < valid ? d[j] - mean : 0.0f;
            m2 = fmaf(d[j], d[j], m2);
        }
        w.mean[o] = fmaf(delta, share, w.mean[o]);
        w.m2[o] += m2 + delta * delta * (w.n * share);
    }
    w.n = n;
}

// Partial statistics of a channel about shifts of their own, four floats each: count, shift, mean of the deviations from the shift, sum of
// squares about the mean; none is empty. Those of `chunks`, `stride` floats apart, merged about the first shift, in every lane of every warp.
__device__ inline Moments norm_shifted(const float *part, int chunks, long long stride) {
    const float shift = part[1];
    Moments w = {0.0f, 0.0f, 0.0f};
    for (int k = threadIdx.x % WARP_SIZE; k < chunks; k += WARP_SIZE) {
        const float4 q = load4(part + k * stride);
        w = norm_merged(w, Moments{q.x, (q.y - shift) + q.z, q.w});
    }
    w = norm_warp(w);
    return Moments{__shfl_sync(FULL_WARP, w.n, 0), __shfl_sync(FULL_WARP, w.mean, 0), __shfl_sync(FULL_WARP, w.m2, 0)};
}

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
