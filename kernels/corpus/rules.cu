// Partial masks, shared memory static and dynamic, atomics, undefined arithmetic: right kernels, and ones with one fault each.
#include "dialect.cuh"

constexpr int LANES = 32;
constexpr unsigned LOW = 0x0000ffffu, HIGH = 0xffff0000u;

// Right: each half of a warp sums its own lanes, the upper half twice as often.
extern "C" __global__ void good_partial_masks(const float *x, float *y) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 16) {
        for (int d = 8; d > 0; d /= 2) v += __shfl_xor_sync(LOW, v, d);
    } else {
        for (int r = 0; r < 2; r++)
            for (int d = 8; d > 0; d /= 2) v += __shfl_xor_sync(HIGH, v, d);
    }
    y[threadIdx.x] = v;
}
// Right: the barrier of half a warp orders the accesses of that half.
extern "C" __global__ void good_partial_barrier(const float *x, float *y) {
    SHARED(float, tile, LANES);
    if (threadIdx.x < 16) {
        tile[threadIdx.x] = x[threadIdx.x];
        __syncwarp(LOW);
        y[threadIdx.x] = tile[15 - threadIdx.x];
    }
}
// The same barrier, but half of the neighbours are not in it.
extern "C" __global__ void barrier_of_the_other_half(const float *x, float *y) {
    SHARED(float, tile, LANES);
    tile[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x < 16) __syncwarp(LOW);
    else __syncwarp(HIGH);
    y[threadIdx.x] = tile[LANES - 1 - threadIdx.x];
}
extern "C" __global__ void different_masks(float *y) {
    y[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 16 ? FULL_WARP : LOW, 1.0f, 1);
}
// Blocks of fewer threads than the mask names.
extern "C" __global__ void mask_beyond_the_block(float *y) { y[threadIdx.x] = warp_sum(1.0f); }
// A shuffle hands over a value; it does not order memory.
extern "C" __global__ void shuffle_for_a_barrier(const float *x, float *y) {
    SHARED(float, tile, LANES);
    tile[threadIdx.x] = x[threadIdx.x];
    float one = __shfl_xor_sync(FULL_WARP, 1.0f, 1);
    y[threadIdx.x] = tile[LANES - 1 - threadIdx.x] * one;
}
// Two arrays side by side: the index beyond the first must not fall into the second.
extern "C" __global__ void shared_beyond_the_end(float *y) {
    SHARED(float, first, LANES);
    SHARED(float, second, LANES);
    first[threadIdx.x] = 1.0f;
    second[threadIdx.x] = 2.0f;
    __syncthreads();
    const float *p = first;
    y[threadIdx.x] = p[threadIdx.x + 1];
}
extern "C" __global__ void shared_before_the_start(float *y) {
    SHARED(float, tile, LANES);
    float *p = tile;
    p[(int)threadIdx.x - 1] = 1.0f;
    y[threadIdx.x] = 1.0f;
}
// Right: a row of n floats reversed through dynamic shared memory.
extern "C" __global__ void good_dynamic_shared(const float *x, float *y, int n) {
    DYNAMIC_SHARED(float, row);
    for (int i = threadIdx.x; i < n; i += blockDim.x) row[i] = x[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = row[n - 1 - i];
}
extern "C" __global__ void stale_dynamic_shared(float *y) {
    DYNAMIC_SHARED(float, row);
    if (blockIdx.x == 0) row[threadIdx.x] = 1.0f;
    __syncthreads();
    y[blockIdx.x * blockDim.x + threadIdx.x] = row[threadIdx.x];
}
// Static and dynamic shared memory together.
extern "C" __global__ void both_kinds_of_shared(float *y) {
    SHARED(float, tile, LANES);
    DYNAMIC_SHARED(float, row);
    tile[threadIdx.x] = row[threadIdx.x] = 1.0f;
    y[threadIdx.x] = tile[threadIdx.x] + row[threadIdx.x];
}
// Right: counts and extremes of a block in shared memory by atomics, between barriers.
extern "C" __global__ void good_shared_atomics(const int *x, int *y) {
    SHARED(int, s, 5);
    if (threadIdx.x < 5) s[threadIdx.x] = threadIdx.x == 1 ? 1 << 30 : 0;
    __syncthreads();
    atomicAdd(&s[0], x[threadIdx.x]);
    atomicMin(&s[1], x[threadIdx.x]);
    atomicMax(&s[2], x[threadIdx.x]);
    atomicOr(&s[3], x[threadIdx.x]);
    if (x[threadIdx.x] == 7) atomicExch(&s[4], 70);
    __syncthreads();
    if (threadIdx.x < 5) y[threadIdx.x] = s[threadIdx.x];
}
// Right: a lock-free maximum; the thread that loses tries again.
extern "C" __global__ void good_compare_and_swap(const int *x, int *y) {
    int old = atomicAdd(y, 0);
    while (old < x[threadIdx.x]) {
        int found = atomicCAS(y, old, x[threadIdx.x]);
        if (found == old) break;
        old = found;
    }
}
extern "C" __global__ void atomic_and_plain_write(int *y) {
    if (threadIdx.x % 2 == 0) atomicAdd(y, 1);
    else *y = 1;
}
extern "C" __global__ void atomic_and_plain_read(int *y, int *z) {
    atomicAdd(y, 1);
    z[threadIdx.x] = *y;
}
extern "C" __global__ void atomic_on_unwritten(int *y) { atomicAdd(y, 1); }
extern "C" __global__ void writes_its_input(const float *x) { const_cast<float *>(x)[threadIdx.x] = 1.0f; }
extern "C" __global__ void local_array_overrun(float *y, int n) {
    float acc[4] = {0.0f, 1.0f, 2.0f, 3.0f};
    for (int i = 0; i <= n; i++) acc[i] += y[threadIdx.x];
    y[threadIdx.x] = acc[n - 1];
}
extern "C" __global__ void index_product_overflow(const float *x, float *y, int n) {
    int i = (int)(threadIdx.x + 2) * n;
    y[threadIdx.x] = x[i < 0 ? 0 : i % 64];
}
extern "C" __global__ void division_by_zero(int *y, int n) { y[threadIdx.x] = 7 / n; }
extern "C" __global__ void never_ends(int *y, int n) {
    for (int i = 0; i < n; i += y[threadIdx.x] * 0) y[threadIdx.x] = 1;
}
// The result of a call, a struct, goes to memory.
__device__ bf16 half_of(float v) {
    float h = v / 2.0f;
    return from_float<bf16>(h > 1.0f ? h - 1.0f : h);
}
extern "C" __global__ void struct_result_outside(const float *x, bf16 *y) { y[threadIdx.x] = half_of(x[threadIdx.x]); }
// Right: a list of pointers by value, the last of them null and left alone.
extern "C" __global__ void good_list(const __grid_constant__ List<const float, 3> x, const __grid_constant__ List<float, 2> y, int n) {
    for (int k = 0; k < 2; k++) y.at[k][threadIdx.x] = x.at[k][threadIdx.x] + x.at[k + n][threadIdx.x];
}
