// Walks over maps in strips of rows, 16 bytes of each row and thread: what rows and neighbours share stays in registers.
#pragma once
#include "vector.cuh"

// Calls f(plane, y, rows, x) for the strips of this thread: rows y, y + 1, ... (as many as `rows`, ROWS or fewer at the end of a map) of
// the values from x = V k on; a row has `packs` times V values. Neighbours in x go to neighbouring threads.
template <int ROWS, int V, typename F> __device__ inline void over_strips(long long planes, int h, int packs, F f) {
    int strips = (h + ROWS - 1) / ROWS;
    long long all = planes * strips * packs;
    for (long long i = global_index(); i < all; i += global_size()) {
        long long row = quotient(i, packs), plane = quotient(row, strips);
        int y = (int)(row - plane * strips) * ROWS;
        f(plane, y, min(ROWS, h - y), (int)(i - row * packs) * V);
    }
}

// v: `LEFT` values before `x`, N from there on and `RIGHT` behind them (0 or 1 each) of a row of w values; `outside` where there are none.
template <int LEFT, int N, int RIGHT, typename T>
__device__ inline void load_line(const T *row, int x, int w, float outside, float (&v)[LEFT + N + RIGHT]) {
    if (LEFT) v[0] = x > 0 ? to_float(row[x - 1]) : outside;
    UNROLL
    for (int i = 0; i < N; i += PACK<T>) load_pack(row + x + i, v + LEFT + i);
    if (RIGHT) v[LEFT + N] = x + N < w ? to_float(row[x + N]) : outside;
}

#ifdef __CUDACC__
template <int N> struct alignas(N) Bytes {
    unsigned words[N / 4];
};
#endif
// Four or eight bytes at once; `p` must be aligned to as many.
template <int N> __device__ inline void load_bytes(const unsigned char *p, int *v) {
#ifdef __CUDACC__
    const Bytes<N> b = *(const Bytes<N> *)p;
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = b.words[i / 4] >> i % 4 * 8 & 255;
#else
    emu_vector(p, N, 0);
    for (int i = 0; i < N; i++) v[i] = p[i];
#endif
}
template <int N> __device__ inline void store_bytes(unsigned char *p, const int *v) {
#ifdef __CUDACC__
    Bytes<N> b = {};
#pragma unroll
    for (int i = 0; i < N; i++) b.words[i / 4] |= (unsigned)v[i] << i % 4 * 8;
    *(Bytes<N> *)p = b;
#else
    emu_vector(p, N, 1);
    for (int i = 0; i < N; i++) p[i] = (unsigned char)v[i];
#endif
}
