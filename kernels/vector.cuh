// One value or sixteen bytes at a time by one template, and walks over maps that need few divisions.
#pragma once
#include "reduce.cuh"

// V values from `p` on; V is 1, or PACK<T> where `p` is aligned to 16 bytes.
template <int V, typename T> __device__ inline void load_values(const T *p, float *v) {
    if constexpr (V == 1) v[0] = to_float(*p);
    else load_pack(p, v);
}
template <int V, typename T> __device__ inline void store_values(T *p, const float *v) {
    if constexpr (V == 1) *p = from_float<T>(v[0]);
    else store_pack(p, v);
}

// V values of f32, 16 bytes at a time, from `p` on and to it.
template <int V> __device__ __forceinline__ void load_sums(const float *p, float *v) {
    if constexpr (V == 1) v[0] = *p;
    else UNROLL for (int j = 0; j < V; j += 4) load_pack(p + j, v + j);
}
template <int V, typename O> __device__ __forceinline__ void store_sums(O *p, const float *v) {
    if constexpr (V == 1) *p = from_float<O>(v[0]);
    else UNROLL for (int j = 0; j < V; j += PACK<O>) store_pack(p + j, v + j);
}

// a / b for a >= 0, b > 0: by the short division where both fit, which costs a third.
__device__ inline long long quotient(long long a, long long b) {
    if (((a | b) >> 32) == 0) return (unsigned)a / (unsigned)b;
    return a / b;
}

// Rows that a thread takes one after the other; `on_device::over_maps` counts on it.
constexpr int MAP_ROWS = 4;

// Calls f(plane, y, x) for every element of (planes, h, w) that is this thread's: neighbours in x go to neighbouring threads, narrow
// maps put several rows into a block. The number of threads of a block is a power of two.
template <typename F> __device__ inline void over_map(long long planes, int h, int w, F f) {
    int tile = 1;
    while (tile < w && tile < (int)blockDim.x) tile *= 2;
    int x0 = threadIdx.x & (tile - 1), lines = blockDim.x / tile, line = threadIdx.x / tile;
    long long rows = planes * h;
    for (long long r = ((long long)blockIdx.x * lines + line) * MAP_ROWS; r < rows;
         r += (long long)gridDim.x * lines * MAP_ROWS) {
        long long plane = quotient(r, h);
        int y = (int)(r - plane * h);
        for (int k = 0; k < MAP_ROWS && r + k < rows; k++) {
            for (int x = x0; x < w; x += tile) f(plane, y, x);
            if (++y == h) y = 0, plane++;
        }
    }
}
