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

// A tile of 32 x 32 of `from` (rows, cols), transposed, to `to` (cols, rows); blocks of (32, 8).
constexpr int TILE = 32, TILE_ROWS = 8;
template <typename T> __device__ void turn(const T *from, T *to, int rows, int cols, int r0, int c0, T *tile) {
    int col = c0 + threadIdx.x, row = r0 + threadIdx.x;
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
        if (r0 + k < rows && col < cols) tile[k * (TILE + 1) + threadIdx.x] = from[(long long)(r0 + k) * cols + col];
    __syncthreads();
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
        if (c0 + k < cols && row < rows) to[(long long)(c0 + k) * rows + row] = tile[threadIdx.x * (TILE + 1) + k];
    __syncthreads();
}

// Rows of the maps of an image one after the other, (images, total): of a map (c, plane) first[m] and on as (plane, c). Calls
// f(map, image, c, plane, first, position, channel) for each tile of the maps; table of each map: c, plane, first.
constexpr int ROWS_MAPS = 16;
template <typename F> __device__ void over_rows(const int *maps, int count, int images, F f) {
    long long before = 0, b = blockIdx.x;
    for (int m = 0; m < count; m++) {
        const int c = maps[3 * m], plane = maps[3 * m + 1];
        const int down = (c + TILE - 1) / TILE, across = (plane + TILE - 1) / TILE;
        const long long tiles = (long long)images * down * across;
        for (; b < before + tiles; b += gridDim.x) {
            const long long at = b - before, image = at / ((long long)down * across), in = at - image * down * across;
            f(m, image, c, plane, maps[3 * m + 2], (int)(in % across) * TILE, (int)(in / across) * TILE);
        }
        before += tiles;
    }
}
template <typename T>
__device__ void to_rows(const List<const T, ROWS_MAPS> &x, T *y, const int *maps, int count, int images, long long total, T *tile) {
    over_rows(maps, count, images, [&](int m, long long image, int c, int plane, int first, int position, int channel) {
        turn(x.at[m] + image * c * plane, y + image * total + first, c, plane, channel, position, tile);
    });
}
template <typename T>
__device__ void to_rows_bwd(const T *dy, const List<T, ROWS_MAPS> &dx, const int *maps, int count, int images, long long total, T *tile) {
    over_rows(maps, count, images, [&](int m, long long image, int c, int plane, int first, int position, int channel) {
        if (dx.at[m]) turn(dy + image * total + first, dx.at[m] + image * c * plane, plane, c, position, channel, tile);
    });
}
extern "C" __global__ void to_rows_f32(const __grid_constant__ List<const float, ROWS_MAPS> x, float *y, const int *maps, int count, int images,
                                       long long total) {
    SHARED(float, tile, TILE * (TILE + 1));
    to_rows(x, y, maps, count, images, total, tile);
}
extern "C" __global__ void to_rows_bf16(const __grid_constant__ List<const bf16, ROWS_MAPS> x, bf16 *y, const int *maps, int count, int images,
                                        long long total) {
    SHARED(bf16, tile, TILE * (TILE + 1));
    to_rows(x, y, maps, count, images, total, tile);
}
extern "C" __global__ void to_rows_bwd_f32(const float *dy, const __grid_constant__ List<float, ROWS_MAPS> dx, const int *maps, int count,
                                           int images, long long total) {
    SHARED(float, tile, TILE * (TILE + 1));
    to_rows_bwd(dy, dx, maps, count, images, total, tile);
}
extern "C" __global__ void to_rows_bwd_bf16(const bf16 *dy, const __grid_constant__ List<bf16, ROWS_MAPS> dx, const int *maps, int count,
                                            int images, long long total) {
    SHARED(bf16, tile, TILE * (TILE + 1));
    to_rows_bwd(dy, dx, maps, count, images, total, tile);
}
