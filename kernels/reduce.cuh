// Sums in a fixed order, and 16 bytes at a time. What the kernels of losses, reductions and optimisers share.
#pragma once
#include "dialect.cuh"

// Values of 16 bytes.
template <typename T> constexpr int PACK = 16 / (int)sizeof(T);
static_assert(PACK<float> == 4, "16 bytes: emulated loads would let more pass");

// PACK values at once; `p` must be aligned to 16 bytes.
template <typename T> __device__ inline void load_pack(const T *p, float *v) {
#ifdef __CUDACC__
    int4 raw = *(const int4 *)p;
    const T *t = (const T *)&raw;
#pragma unroll
    for (int i = 0; i < PACK<T>; i++) v[i] = to_float(t[i]);
#else
    emu_vector(p, 16, 0);
    for (int i = 0; i < PACK<T>; i++) v[i] = to_float(p[i]);
#endif
}
template <typename T> __device__ inline void store_pack(T *p, const float *v) {
#ifdef __CUDACC__
    int4 raw;
    T *t = (T *)&raw;
#pragma unroll
    for (int i = 0; i < PACK<T>; i++) t[i] = from_float<T>(v[i]);
    *(int4 *)p = raw;
#else
    emu_vector(p, 16, 1);
    for (int i = 0; i < PACK<T>; i++) p[i] = from_float<T>(v[i]);
#endif
}

// Sum over the lanes of a warp, in every lane.
template <typename T> __device__ inline T lanes_sum(T v) {
    for (int d = WARP_SIZE / 2; d > 0; d /= 2) v += __shfl_xor_sync(FULL_WARP, v, d);
    return v;
}

// Sum over the threads of a block of whole warps, in thread 0 (others: undefined). `tile` has one element for each warp; all
// threads call.
template <typename T> __device__ inline T block_sum(T v, T *tile) {
    v = lanes_sum(v);
    unsigned warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    __syncthreads(); // an earlier sum may still be read
    if (lane == 0) tile[warp] = v;
    __syncthreads();
    if (warp == 0) v = lanes_sum(lane < blockDim.x / WARP_SIZE ? tile[lane] : (T)0);
    return v;
}

// Sum of `n` partial sums over the threads of one block, as block_sum, in f64: the last few additions cost nothing.
__device__ inline double parts_sum(const float *part, int n, double *tile) {
    double v = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) v += part[i];
    return block_sum(v, tile);
}
