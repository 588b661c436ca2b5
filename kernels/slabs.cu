// Sums of parts of maps: gradients of a value that several operations read, and concatenations. y is (images, channels, plane); a term is
// a map (images, held, plane) of which `count` channels from `from` on are added to those of y from `to` on; a row of `rows` has these four
// numbers in the order to, count, from, held. The terms of a value are added in their order, in f32, what no term reaches is 0; a value
// with one term is copied, bit for bit. More terms than a launch takes come in several, which hand on what they have in f32.
#include "vector.cuh"

constexpr int SLABS = 16, SLAB_ROW = 4;

template <typename T, int V, typename O>
__device__ __forceinline__ void sum_slabs_values(const List<const T, SLABS> &x, const int *rows, const float *before, O *y, int terms,
                                                 int add, int channels, long long plane, long long n) {
    for (long long i = global_index() * V; i < n; i += global_size() * V) {
        long long p = quotient(i, plane), image = quotient(p, channels), at = i - p * plane;
        int c = (int)(p - image * channels);
        float acc[V], v[V];
        UNROLL for (int j = 0; j < V; j++) acc[j] = 0.0f;
        if (add) load_sums<V>(before + i, acc);
        bool some = add;
        UNROLL for (int k = 0; k < SLABS; k++)
            if (k < terms) {
                const int *row = rows + k * SLAB_ROW;
                int d = c - row[0];
                if (d >= 0 && d < row[1]) {
                    load_values<V>(x.at[k] + (image * row[3] + row[2] + d) * plane + at, v);
                    UNROLL for (int j = 0; j < V; j++) acc[j] = some ? acc[j] + v[j] : v[j];
                    some = true;
                }
            }
        store_sums<V>(y + i, acc);
    }
}

// n = images channels plane values, after `before` with `add`.
template <typename T, typename O>
__device__ __forceinline__ void sum_slabs(const List<const T, SLABS> &x, const int *rows, const float *before, O *y, int terms, int add,
                                          int channels, long long plane, long long n) {
    if (plane % PACK<T> == 0) sum_slabs_values<T, PACK<T>>(x, rows, before, y, terms, add, channels, plane, n);
    else sum_slabs_values<T, 1>(x, rows, before, y, terms, add, channels, plane, n);
}

extern "C" __global__ void sum_slabs_f32(const __grid_constant__ List<const float, SLABS> x, const int *rows, const float *before, float *y, int terms,
                                 int add, int channels, long long plane, long long n) {
    sum_slabs(x, rows, before, y, terms, add, channels, plane, n);
}
extern "C" __global__ void sum_slabs_bf16(const __grid_constant__ List<const bf16, SLABS> x, const int *rows, const float *before, bf16 *y, int terms,
                                 int add, int channels, long long plane, long long n) {
    sum_slabs(x, rows, before, y, terms, add, channels, plane, n);
}
extern "C" __global__ void sum_slabs_bf16_f32(const __grid_constant__ List<const bf16, SLABS> x, const int *rows, const float *before, float *y, int terms,
                                 int add, int channels, long long plane, long long n) {
    sum_slabs(x, rows, before, y, terms, add, channels, plane, n);
}
