// Partial statistics as convolutions leave them.
#pragma once
#include "norm.cuh"

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
