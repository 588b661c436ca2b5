// Moments of values that a thread has in registers, four at a time: what convolutions gather of their results.
#pragma once
#include "norm.cuh"

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
