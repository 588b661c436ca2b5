// Small ops: a tensor times a number, a tensor or one factor a row; the transposition behind rows of a head.
#include "reduce.cuh"

// y = c x and y = a b, 16 bytes at a time.
template <typename T> __device__ void scale(const T *x, T *y, float factor, long long n) {
    float v[PACK<T>];
    long long packs = n / PACK<T>;
    for (long long i = global_index(); i < packs; i += global_size()) {
        load_pack(x + i * PACK<T>, v);
        for (int k = 0; k < PACK<T>; k++) v[k] *= factor;
        store_pack(y + i * PACK<T>, v);
    }
    for (long long i = packs * PACK<T> + global_index(); i < n; i += global_size()) y[i] = from_float<T>(factor * to_float(x[i]));
}

template <typename T> __device__ void mul(const T *a, const T *b, T *y, long long n) {
    float u[PACK<T>], v[PACK<T>];
    long long packs = n / PACK<T>;
    for (long long i = global_index(); i < packs; i += global_size()) {
        load_pack(a + i * PACK<T>, u);
        load_pack(b + i * PACK<T>, v);
        for (int k = 0; k < PACK<T>; k++) v[k] *= u[k];
        store_pack(y + i * PACK<T>, v);
    }
    for (long long i = packs * PACK<T> + global_index(); i < n; i += global_size())
        y[i] = from_float<T>(to_float(a[i]) * to_float(b[i]));
}

// y[r, k] = s[r] x[r, k].
template <typename T> __device__ void scale_rows(const T *x, const float *s, T *y, long long row, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) y[i] = from_float<T>(s[i / row] * to_float(x[i]));
}

extern "C" __global__ void scale_f32(const float *x, float *y, float factor, long long n) { scale(x, y, factor, n); }
extern "C" __global__ void scale_bf16(const bf16 *x, bf16 *y, float factor, long long n) { scale(x, y, factor, n); }
extern "C" __global__ void mul_f32(const float *a, const float *b, float *y, long long n) { mul(a, b, y, n); }
extern "C" __global__ void mul_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { mul(a, b, y, n); }
extern "C" __global__ void scale_rows_f32(const float *x, const float *s, float *y, long long row, long long n) {
    scale_rows(x, s, y, row, n);
}
extern "C" __global__ void scale_rows_bf16(const bf16 *x, const float *s, bf16 *y, long long row, long long n) {
    scale_rows(x, s, y, row, n);
}

// Transposes each of `images` matrices (rows, cols) through a tile of 32x32; blocks of (32, 8), one tile each.
constexpr int TILE = 32, TILE_ROWS = 8;
template <typename T> __device__ void transpose(const T *x, T *y, long long images, int rows, int cols, T *tile) {
    int down = (rows + TILE - 1) / TILE, across = (cols + TILE - 1) / TILE;
    long long tiles = images * down * across;
    for (long long b = blockIdx.x; b < tiles; b += gridDim.x) {
        long long image = b / ((long long)down * across) * rows * cols;
        int r0 = (int)(b / across % down) * TILE, c0 = (int)(b % across) * TILE;
        int col = c0 + threadIdx.x, row = r0 + threadIdx.x;
        for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
            if (r0 + k < rows && col < cols) tile[k * (TILE + 1) + threadIdx.x] = x[image + (long long)(r0 + k) * cols + col];
        __syncthreads();
        for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
            if (c0 + k < cols && row < rows) y[image + (long long)(c0 + k) * rows + row] = tile[threadIdx.x * (TILE + 1) + k];
        __syncthreads();
    }
}
extern "C" __global__ void transpose_f32(const float *x, float *y, long long images, int rows, int cols) {
    SHARED(float, tile, TILE * (TILE + 1));
    transpose(x, y, images, rows, cols, tile);
}
extern "C" __global__ void transpose_bf16(const bf16 *x, bf16 *y, long long images, int rows, int cols) {
    SHARED(bf16, tile, TILE * (TILE + 1));
    transpose(x, y, images, rows, cols, tile);
}
