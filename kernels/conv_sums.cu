// Sums of two stages without atomics: chunks of a long sum, then the chunks in order. And the bias gradient.
#include "dialect.cuh"

constexpr int THREADS = 256, ACROSS = 32, DOWN = THREADS / ACROSS;

// Sums of a launch.
constexpr int SUMS = 64;

// y[i] = sum_c part[c, i] of each of gridDim.z sums; `sizes` has the chunks and the values of each. 32 values a block, 8 threads each: thread
// r adds chunks r, r + 8, ..., then the eight sums are added in order.
extern "C" __global__ void sum_chunks_f32(const __grid_constant__ List<const float, SUMS> parts,
                                          const __grid_constant__ List<float, SUMS> results, const int *sizes) {
    SHARED(float, sums, THREADS);
    const float *part = parts.at[blockIdx.z];
    float *y = results.at[blockIdx.z];
    const int chunks = sizes[2 * blockIdx.z], n = sizes[2 * blockIdx.z + 1];
    const int lane = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;
    for (int i0 = blockIdx.x * ACROSS; i0 < n; i0 += gridDim.x * ACROSS) {
        float v = 0.0f;
        for (int c = down; i0 + lane < n && c < chunks; c += DOWN) v += part[(long long)c * n + i0 + lane];
        sums[threadIdx.x] = v;
        __syncthreads();
        if (down == 0 && i0 + lane < n) {
            for (int r = 1; r < DOWN; r++) v += sums[r * ACROSS + lane];
            y[i0 + lane] = v;
        }
        __syncthreads();
    }
}

// part[chunk, c] = sum of dy[n, c, p] over the (n, p) of the chunk; grid (channels, chunks) or fewer. Chunks are multiples of 32.
template <typename T>
__device__ void channel_sums(const T *dy, float *part, float *warps, int images, int channels, long long plane, int chunks, long long chunk) {
    constexpr int PER = 16 / (int)sizeof(T);
    const long long all = images * plane;
    for (int c = blockIdx.x; c < channels; c += gridDim.x)
        for (int part_of = blockIdx.y; part_of < chunks; part_of += gridDim.y) {
            const long long begin = part_of * chunk, end = min(begin + chunk, all);
            float v = 0.0f;
            if (plane % PER == 0) {
                for (long long i = begin + threadIdx.x * PER; i < end; i += THREADS * PER) {
                    float some[PER];
                    load16(dy + (i / plane * channels + c) * plane + i % plane, some);
                    UNROLL
                    for (int k = 0; k < PER; k++) v += some[k];
                }
            } else {
                for (long long i = begin + threadIdx.x; i < end; i += THREADS) v += to_float(dy[(i / plane * channels + c) * plane + i % plane]);
            }
            v = warp_sum(v);
            if (threadIdx.x % WARP_SIZE == 0) warps[threadIdx.x / WARP_SIZE] = v;
            __syncthreads();
            if (threadIdx.x == 0) {
                for (int i = 1; i < THREADS / WARP_SIZE; i++) v += warps[i];
                part[(long long)part_of * channels + c] = v;
            }
            __syncthreads();
        }
}

extern "C" __global__ void channel_sums_f32(const float *dy, float *part, int images, int channels, long long plane, int chunks,
                                            long long chunk) {
    SHARED(float, warps, THREADS / WARP_SIZE);
    channel_sums(dy, part, warps, images, channels, plane, chunks, chunk);
}
extern "C" __global__ void channel_sums_bf16(const bf16 *dy, float *part, int images, int channels, long long plane, int chunks,
                                             long long chunk) {
    SHARED(float, warps, THREADS / WARP_SIZE);
    channel_sums(dy, part, warps, images, channels, plane, chunks, chunk);
}
