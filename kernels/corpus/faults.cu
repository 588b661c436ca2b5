// Kernels with one planted fault each, and right ones beside them: what the emulator must tell apart. Not part of a release.
#include "dialect.cuh"

constexpr int BLOCK = 64;

// Right: neighbours through shared memory, a barrier on both sides.
extern "C" __global__ void good_reverse(const float *x, float *y, int n) {
    SHARED(float, tile, BLOCK);
    for (int start = 0; start < n; start += BLOCK) {
        tile[threadIdx.x] = x[start + threadIdx.x];
        __syncthreads();
        y[start + threadIdx.x] = tile[BLOCK - 1 - threadIdx.x];
        __syncthreads();
    }
}
extern "C" __global__ void no_barrier_before_read(const float *x, float *y) {
    SHARED(float, tile, BLOCK);
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[BLOCK - 1 - threadIdx.x];
}
extern "C" __global__ void no_barrier_after_read(const float *x, float *y, int n) {
    SHARED(float, tile, BLOCK);
    for (int start = 0; start < n; start += BLOCK) {
        tile[threadIdx.x] = x[start + threadIdx.x];
        __syncthreads();
        y[start + threadIdx.x] = tile[BLOCK - 1 - threadIdx.x];
    }
}
extern "C" __global__ void barrier_in_divergent_branch(float *y) {
    if (threadIdx.x < 8) {
        __syncthreads();
        y[threadIdx.x] = 1.0f;
    } else {
        __syncthreads();
        y[threadIdx.x] = 2.0f;
    }
}
extern "C" __global__ void barrier_skipped_by_return(float *y, int n) {
    if ((int)threadIdx.x >= n) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}
// Right: the sum of a warp, and of a block of whole warps.
extern "C" __global__ void good_block_sum(const float *x, float *y) {
    SHARED(float, part, BLOCK / WARP_SIZE);
    float s = warp_sum(x[threadIdx.x]);
    if (threadIdx.x % WARP_SIZE == 0) part[threadIdx.x / WARP_SIZE] = s;
    __syncthreads();
    float t = 0.0f;
    for (int i = 0; i < BLOCK / WARP_SIZE; i++) t += part[i];
    y[threadIdx.x] = t;
}
extern "C" __global__ void shuffle_with_dead_lane(float *y) {
    if (threadIdx.x == 5) return;
    y[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 1.0f, 1);
}
extern "C" __global__ void shuffle_without_own_lane(float *y) { y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.0f, 1); }
extern "C" __global__ void shuffle_from_outside_the_mask(float *y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_down_sync(0x0000ffffu, 1.0f, 8);
}
extern "C" __global__ void divergent_shuffles(float *y) {
    if (threadIdx.x < 16)
        y[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 1.0f, 1);
    else
        y[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 2.0f, 1);
}
extern "C" __global__ void shuffle_against_barrier(float *y) {
    if (threadIdx.x < 16)
        y[threadIdx.x] = __shfl_xor_sync(FULL_WARP, 1.0f, 1);
    else
        __syncthreads();
}
extern "C" __global__ void warp_synchronous(const float *x, float *y) {
    SHARED(float, part, WARP_SIZE);
    part[threadIdx.x] = x[threadIdx.x];
    for (int d = WARP_SIZE / 2; d > 0; d /= 2)
        if ((int)threadIdx.x < d) part[threadIdx.x] += part[threadIdx.x + d];
    if (threadIdx.x == 0) *y = part[0];
}
// Right: the same with the warp's own barrier.
extern "C" __global__ void good_warp_barrier(const float *x, float *y) {
    SHARED(float, part, WARP_SIZE);
    part[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    for (int d = WARP_SIZE / 2; d > 0; d /= 2) {
        float v = (int)threadIdx.x < d ? part[threadIdx.x + d] : 0.0f;
        __syncwarp();
        part[threadIdx.x] += v;
        __syncwarp();
    }
    if (threadIdx.x == 0) *y = part[0];
}
extern "C" __global__ void plain_sum_across_threads(float *y) { *y += 1.0f; }
extern "C" __global__ void plain_sum_across_blocks(float *y) {
    if (threadIdx.x == 0) *y += 1.0f;
}
extern "C" __global__ void good_atomic_sum(int *y) { atomicAdd(y, 1); }
extern "C" __global__ void two_blocks_write_one(float *y) {
    if (threadIdx.x == 0) *y = 1.0f;
}
extern "C" __global__ void order_of_float_atomics(const float *x, float *y) { atomicAdd(y, x[threadIdx.x]); }
extern "C" __global__ void tail_not_guarded(const float *x, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i] + n;
}
extern "C" __global__ void shared_tail_not_guarded(const float *x, float *y) {
    SHARED(float, tile, BLOCK / 2);
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}
extern "C" __global__ void halo_off_by_one(const float *x, float *y, int n) {
    int i = threadIdx.x;
    if (i < n) y[i] = x[i] + x[i + 1];
}
// `y` is `x` transposed, `h` rows of `w`; strides swapped.
extern "C" __global__ void swapped_sizes(const float *x, float *y, int h, int w) {
    int i = threadIdx.x / w, j = threadIdx.x % w;
    if (i < h) y[j * h + i] = x[i * h + j];
}
extern "C" __global__ void wrong_stride(const float *x, float *y, int n) {
    int i = threadIdx.x;
    if (i < n) y[i] = x[2 * i];
}
extern "C" __global__ void dilation_ignored_in_bound(const float *x, float *y, int n, int dilation) {
    int i = threadIdx.x;
    if (i + 2 < n) y[i] = x[i] + x[i + 2 * dilation];
}
extern "C" __global__ void unwritten_shared_read(float *y) {
    SHARED(float, tile, BLOCK);
    if (threadIdx.x < 8) tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}
extern "C" __global__ void unwritten_global_read(const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void stale_shared(float *y) {
    SHARED(float, tile, BLOCK);
    if (blockIdx.x == 0) tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[blockIdx.x * BLOCK + threadIdx.x] = tile[threadIdx.x];
}
extern "C" __global__ void odd_float4(const float *x, float *y) {
    float4 r = load4(x + 1 + 4 * threadIdx.x);
    y[threadIdx.x] = r.x + r.w;
}
extern "C" __global__ void index_overflow(const float *x, float *y, int n) {
    int i = (int)(threadIdx.x + 1) * n;  // beyond 32 bits for a large n
    y[threadIdx.x] = x[i];
}
extern "C" __global__ void too_much_shared(float *y) {
    SHARED(float, tile, 13000);
    tile[threadIdx.x] = 1.0f;
    y[threadIdx.x] = tile[threadIdx.x];
}
// Counts how often each thread comes here: a thread that has returned must not come back.
extern "C" __global__ void returned_threads(int *y, int n) {
    y[threadIdx.x] += 1;
    if ((int)threadIdx.x < n) return;
    __syncwarp(0xfffffffcu);
}
extern "C" __global__ void good_ballot(int *y) {
    unsigned b = __ballot_sync(FULL_WARP, threadIdx.x % 2 == 0);
    y[threadIdx.x] = (int)b + __any_sync(FULL_WARP, threadIdx.x == 3) + __all_sync(FULL_WARP, threadIdx.x < 40);
}
