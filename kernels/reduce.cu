// Sums over all elements in two stages: one partial sum a block, then one block over those. The number of blocks follows from the
// length alone, so the order of the additions, and the bits, are the same on every device and in every run.
#include "reduce.cuh"

// part[b] = sum of what block b strides over.
template <typename T> __device__ void reduce(const T *x, float *part, long long n, float *tile) {
    float sum = 0.0f, v[PACK<T>];
    long long packs = n / PACK<T>;
    for (long long i = global_index(); i < packs; i += global_size()) {
        load_pack(x + i * PACK<T>, v);
        for (int k = 0; k < PACK<T>; k++) sum += v[k];
    }
    for (long long i = packs * PACK<T> + global_index(); i < n; i += global_size()) sum += to_float(x[i]);
    sum = block_sum(sum, tile);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

extern "C" __global__ void reduce_f32(const float *x, float *part, long long n) {
    SHARED(float, tile, WARP_SIZE);
    reduce(x, part, n, tile);
}
extern "C" __global__ void reduce_bf16(const bf16 *x, float *part, long long n) {
    SHARED(float, tile, WARP_SIZE);
    reduce(x, part, n, tile);
}

// y = factor * sum of part; one block.
extern "C" __global__ void reduce_finish(const float *part, float *y, int parts, float factor) {
    SHARED(double, tile, WARP_SIZE);
    double sum = parts_sum(part, parts, tile);
    if (threadIdx.x == 0) y[0] = (float)(sum * factor);
}

// dx = factor * dy everywhere, 16 bytes at a time.
extern "C" __global__ void reduce_bwd_f32(const float *dy, float *dx, float factor, long long n) {
    float g = dy[0] * factor, v[PACK<float>];
    for (int k = 0; k < PACK<float>; k++) v[k] = g;
    long long packs = n / PACK<float>;
    for (long long i = global_index(); i < packs; i += global_size()) store_pack(dx + i * PACK<float>, v);
    for (long long i = packs * PACK<float> + global_index(); i < n; i += global_size()) dx[i] = g;
}

// The rows of a matrix times s: dx = s[r] dy, ds[r] = sum of dy x over the row. One block a row, 16 bytes at a time where rows allow it.
template <typename T>
__device__ void scale_rows_bwd(const T *x, const float *s, const T *dy, T *dx, float *ds, long long rows, long long row,
                               float *tile) {
    long long packs = row % PACK<T> == 0 ? row / PACK<T> : 0;
    for (long long r = blockIdx.x; r < rows; r += gridDim.x) {
        float sum = 0.0f, by = s[r], v[PACK<T>], g[PACK<T>];
        for (long long k = threadIdx.x; k < packs; k += blockDim.x) {
            long long at = r * row + k * PACK<T>;
            load_pack(x + at, v), load_pack(dy + at, g);
            UNROLL for (int i = 0; i < PACK<T>; i++) sum += g[i] * v[i], g[i] *= by;
            store_pack(dx + at, g);
        }
        for (long long k = packs * PACK<T> + threadIdx.x; k < row; k += blockDim.x) {
            float one = to_float(dy[r * row + k]);
            sum += one * to_float(x[r * row + k]);
            dx[r * row + k] = from_float<T>(by * one);
        }
        sum = block_sum(sum, tile);
        if (threadIdx.x == 0) ds[r] = sum;
    }
}
extern "C" __global__ void scale_rows_bwd_f32(const float *x, const float *s, const float *dy, float *dx, float *ds, long long rows,
                                              long long row) {
    SHARED(float, tile, WARP_SIZE);
    scale_rows_bwd(x, s, dy, dx, ds, rows, row, tile);
}
extern "C" __global__ void scale_rows_bwd_bf16(const bf16 *x, const float *s, const bf16 *dy, bf16 *dx, float *ds, long long rows,
                                               long long row) {
    SHARED(float, tile, WARP_SIZE);
    scale_rows_bwd(x, s, dy, dx, ds, rows, row, tile);
}
