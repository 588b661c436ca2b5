// Copies that change the order of elements: parts of images (slices, concatenations), shuffled channels, every s-th pixel.
#include "vector.cuh"

// y[i, y_start ..][..part] = x[i, x_start ..][..part] of images of x_whole and y_whole values; n = images * part.
template <typename T, int V>
__device__ inline void copy_values(const T *x, T *y, long long part, long long x_whole, long long x_start, long long y_whole,
                                   long long y_start, long long n) {
    for (long long i = global_index() * V; i < n; i += global_size() * V) {
        long long image = quotient(i, part), at = i - image * part;
        float v[V];
        load_values<V>(x + image * x_whole + x_start + at, v);
        store_values<V>(y + image * y_whole + y_start + at, v);
    }
}
template <typename T>
__device__ void copy_part(const T *x, T *y, long long part, long long x_whole, long long x_start, long long y_whole,
                          long long y_start, long long n) {
    bool packs = (part | x_whole | x_start | y_whole | y_start) % PACK<T> == 0;
    if (packs) copy_values<T, PACK<T>>(x, y, part, x_whole, x_start, y_whole, y_start, n);
    else copy_values<T, 1>(x, y, part, x_whole, x_start, y_whole, y_start, n);
}

// Channel c of `some` (images, some_channels, plane) is channel (first + c) of `all` (images, channels, plane) before the channels of
// that were viewed as (groups, channels / groups) and transposed. Copies `some` into `all` or, `back`, out of it; n values of `some`.
template <typename T, int V>
__device__ inline void shuffle_values(const T *x, T *y, long long plane, int some_channels, int channels, int first, int groups,
                                      int back, long long n) {
    int each = channels / groups;
    for (long long i = global_index() * V; i < n; i += global_size() * V) {
        long long p = quotient(i, plane), image = quotient(p, some_channels);
        int c = first + (int)(p - image * some_channels);
        long long at = (image * channels + c % each * groups + c / each) * plane + (i - p * plane);
        float v[V];
        load_values<V>(x + (back ? at : i), v);
        store_values<V>(y + (back ? i : at), v);
    }
}
template <typename T>
__device__ void shuffle_channels(const T *x, T *y, long long plane, int some_channels, int channels, int first, int groups, int back,
                                 long long n) {
    if (plane % PACK<T> == 0) shuffle_values<T, PACK<T>>(x, y, plane, some_channels, channels, first, groups, back, n);
    else shuffle_values<T, 1>(x, y, plane, some_channels, channels, first, groups, back, n);
}

// y[p, i, j] = x[p, offset + stride i, offset + stride j].
template <typename T>
__device__ void subsample(const T *x, T *y, long long planes, int h, int w, int ho, int wo, int stride, int offset) {
    over_map(planes, ho, wo, [&](long long p, int i, int j) {
        y[(p * ho + i) * wo + j] = x[(p * h + offset + (long long)i * stride) * w + offset + j * stride];
    });
}

// dx: dy where a pixel was taken, else 0.
template <typename T>
__device__ void subsample_bwd(const T *dy, T *dx, long long planes, int h, int w, int ho, int wo, int stride, int offset) {
    over_map(planes, h, w, [&](long long p, int i, int j) {
        int oy = (i - offset) / stride, ox = (j - offset) / stride;
        bool taken = i >= offset && j >= offset && oy * stride == i - offset && ox * stride == j - offset;
        dx[(p * h + i) * w + j] = taken ? dy[(p * ho + oy) * wo + ox] : from_float<T>(0.0f);
    });
}

extern "C" __global__ void copy_part_f32(const float *x, float *y, long long part, long long x_whole, long long x_start,
                                         long long y_whole, long long y_start, long long n) {
    copy_part(x, y, part, x_whole, x_start, y_whole, y_start, n);
}
extern "C" __global__ void copy_part_bf16(const bf16 *x, bf16 *y, long long part, long long x_whole, long long x_start,
                                          long long y_whole, long long y_start, long long n) {
    copy_part(x, y, part, x_whole, x_start, y_whole, y_start, n);
}
extern "C" __global__ void shuffle_channels_f32(const float *x, float *y, long long plane, int some_channels, int channels, int first,
                                                int groups, int back, long long n) {
    shuffle_channels(x, y, plane, some_channels, channels, first, groups, back, n);
}
extern "C" __global__ void shuffle_channels_bf16(const bf16 *x, bf16 *y, long long plane, int some_channels, int channels, int first,
                                                 int groups, int back, long long n) {
    shuffle_channels(x, y, plane, some_channels, channels, first, groups, back, n);
}
extern "C" __global__ void subsample_f32(const float *x, float *y, long long planes, int h, int w, int ho, int wo, int stride,
                                         int offset) {
    subsample(x, y, planes, h, w, ho, wo, stride, offset);
}
extern "C" __global__ void subsample_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w, int ho, int wo, int stride,
                                          int offset) {
    subsample(x, y, planes, h, w, ho, wo, stride, offset);
}
extern "C" __global__ void subsample_bwd_f32(const float *dy, float *dx, long long planes, int h, int w, int ho, int wo, int stride,
                                             int offset) {
    subsample_bwd(dy, dx, planes, h, w, ho, wo, stride, offset);
}
extern "C" __global__ void subsample_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w, int ho, int wo, int stride,
                                              int offset) {
    subsample_bwd(dy, dx, planes, h, w, ho, wo, stride, offset);
}
