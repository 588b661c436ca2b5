// Pooling of maps (planes, H, W) over k x k windows; what lies outside of the map takes no part. One thread an element, walks of
// vector.cuh.
#include "vector.cuh"

struct PoolSizes {
    int h, w, ho, wo, k, stride, padding;
    // Output rows (or columns) from..to whose window holds input row (or column) `at`, of `out`.
    __device__ inline int from(int at) const {
        int t = at + padding - k + stride;
        return t > 0 ? t / stride : 0;
    }
    __device__ inline int to(int at, int out) const { return min((at + padding) / stride, out - 1); }
    // Rows (or columns) of the window of output `o` that lie inside of `size`.
    __device__ inline int inside(int o, int size) const {
        int lo = o * stride - padding, hi = lo + k;
        return min(hi, size) - max(lo, 0);
    }
};

// The largest value of each window and its tap, ky k + kx: the first of equals in row order; NaN wins.
template <typename T> __device__ void max_pool(const T *x, T *y, unsigned char *taps, long long planes, PoolSizes s) {
    over_map(planes, s.ho, s.wo, [&](long long p, int oy, int ox) {
        const T *plane = x + p * s.h * s.w;
        float best = 0.0f;
        int tap = -1;
        for (int ky = 0; ky < s.k; ky++) {
            int iy = oy * s.stride + ky - s.padding;
            if (iy < 0 || iy >= s.h) continue;
            for (int kx = 0; kx < s.k; kx++) {
                int ix = ox * s.stride + kx - s.padding;
                if (ix < 0 || ix >= s.w) continue;
                float v = to_float(plane[(long long)iy * s.w + ix]);
                if (tap < 0 || v > best || v != v) best = v, tap = ky * s.k + kx;
            }
        }
        long long at = (p * s.ho + oy) * s.wo + ox;
        y[at] = from_float<T>(best);
        taps[at] = (unsigned char)tap;
    });
}

// dx: the gradients of the windows whose largest value stood here, in row order.
template <typename T> __device__ void max_pool_bwd(const T *dy, const unsigned char *taps, T *dx, long long planes, PoolSizes s) {
    over_map(planes, s.h, s.w, [&](long long p, int iy, int ix) {
        float sum = 0.0f;
        for (int oy = s.from(iy); oy <= s.to(iy, s.ho); oy++)
            for (int ox = s.from(ix); ox <= s.to(ix, s.wo); ox++) {
                int tap = (iy + s.padding - oy * s.stride) * s.k + ix + s.padding - ox * s.stride;
                long long at = (p * s.ho + oy) * s.wo + ox;
                if (taps[at] == tap) sum += to_float(dy[at]);
            }
        dx[(p * s.h + iy) * s.w + ix] = from_float<T>(sum);
    });
}

// The mean over the taps inside of the map.
template <typename T> __device__ void avg_pool(const T *x, T *y, long long planes, PoolSizes s) {
    over_map(planes, s.ho, s.wo, [&](long long p, int oy, int ox) {
        const T *plane = x + p * s.h * s.w;
        float sum = 0.0f;
        for (int ky = 0; ky < s.k; ky++) {
            int iy = oy * s.stride + ky - s.padding;
            if (iy < 0 || iy >= s.h) continue;
            for (int kx = 0; kx < s.k; kx++) {
                int ix = ox * s.stride + kx - s.padding;
                if (ix >= 0 && ix < s.w) sum += to_float(plane[(long long)iy * s.w + ix]);
            }
        }
        y[(p * s.ho + oy) * s.wo + ox] = from_float<T>(sum / (float)(s.inside(oy, s.h) * s.inside(ox, s.w)));
    });
}

template <typename T> __device__ void avg_pool_bwd(const T *dy, T *dx, long long planes, PoolSizes s) {
    over_map(planes, s.h, s.w, [&](long long p, int iy, int ix) {
        float sum = 0.0f;
        for (int oy = s.from(iy); oy <= s.to(iy, s.ho); oy++)
            for (int ox = s.from(ix); ox <= s.to(ix, s.wo); ox++)
                sum += to_float(dy[(p * s.ho + oy) * s.wo + ox]) / (float)(s.inside(oy, s.h) * s.inside(ox, s.w));
        dx[(p * s.h + iy) * s.w + ix] = from_float<T>(sum);
    });
}

extern "C" __global__ void max_pool_f32(const float *x, float *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo,
                                        int k, int stride, int padding) {
    max_pool(x, y, taps, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void max_pool_bf16(const bf16 *x, bf16 *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo,
                                         int k, int stride, int padding) {
    max_pool(x, y, taps, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void max_pool_bwd_f32(const float *dy, const unsigned char *taps, float *dx, long long planes, int h, int w,
                                            int ho, int wo, int k, int stride, int padding) {
    max_pool_bwd(dy, taps, dx, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void max_pool_bwd_bf16(const bf16 *dy, const unsigned char *taps, bf16 *dx, long long planes, int h, int w,
                                             int ho, int wo, int k, int stride, int padding) {
    max_pool_bwd(dy, taps, dx, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void avg_pool_f32(const float *x, float *y, long long planes, int h, int w, int ho, int wo, int k, int stride,
                                        int padding) {
    avg_pool(x, y, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void avg_pool_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w, int ho, int wo, int k, int stride,
                                         int padding) {
    avg_pool(x, y, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void avg_pool_bwd_f32(const float *dy, float *dx, long long planes, int h, int w, int ho, int wo, int k,
                                            int stride, int padding) {
    avg_pool_bwd(dy, dx, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}
extern "C" __global__ void avg_pool_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w, int ho, int wo, int k,
                                             int stride, int padding) {
    avg_pool_bwd(dy, dx, planes, PoolSizes{h, w, ho, wo, k, stride, padding});
}

// y (planes): the mean of each plane; a warp a plane (blocks of whole warps), `wide`: a block of 256 a plane.
template <typename T, int V> __device__ inline float global_avg_sum(const T *x, int first, int step, long long plane) {
    float sum = 0.0f;
    for (long long i = first; i < plane / V; i += step) {
        float v[V];
        load_values<V>(x + i * V, v);
        UNROLL for (int k = 0; k < V; k++) sum += v[k];
    }
    return sum;
}

template <typename T> __device__ void global_avg_pool(const T *x, T *y, float *warps, long long planes, long long plane, int wide) {
    int lane = threadIdx.x % WARP_SIZE, warp = threadIdx.x / WARP_SIZE, per_block = blockDim.x / WARP_SIZE;
    bool packs = plane % PACK<T> == 0;
    int first = wide ? threadIdx.x : lane, step = wide ? blockDim.x : WARP_SIZE;
    long long p = wide ? blockIdx.x : (long long)blockIdx.x * per_block + warp;
    if (p < planes) {
        const T *from = x + p * plane;
        float sum = packs ? global_avg_sum<T, PACK<T>>(from, first, step, plane) : global_avg_sum<T, 1>(from, first, step, plane);
        sum = warp_sum(sum);
        if (lane == 0) warps[warp] = sum;
    }
    __syncthreads();
    if (wide ? threadIdx.x == 0 : lane == 0 && p < planes) {
        float sum = warps[warp];
        for (int i = 1; wide && i < per_block; i++) sum += warps[i];
        y[p] = from_float<T>(sum / (float)plane);
    }
}

template <typename T, int V> __device__ inline void global_avg_share(const T *dy, T *dx, long long plane, long long n) {
    float inverse = 1.0f / (float)plane, v[V];
    for (long long i = global_index() * V; i < n; i += global_size() * V) {
        float g = to_float(dy[quotient(i, plane)]) * inverse;
        UNROLL for (int k = 0; k < V; k++) v[k] = g;
        store_values<V>(dx + i, v);
    }
}

template <typename T> __device__ void global_avg_pool_bwd(const T *dy, T *dx, long long plane, long long n) {
    if (plane % PACK<T> == 0) global_avg_share<T, PACK<T>>(dy, dx, plane, n);
    else global_avg_share<T, 1>(dy, dx, plane, n);
}

extern "C" __global__ void global_avg_pool_f32(const float *x, float *y, long long planes, long long plane, int wide) {
    SHARED(float, warps, 8);
    global_avg_pool(x, y, warps, planes, plane, wide);
}
extern "C" __global__ void global_avg_pool_bf16(const bf16 *x, bf16 *y, long long planes, long long plane, int wide) {
    SHARED(float, warps, 8);
    global_avg_pool(x, y, warps, planes, plane, wide);
}
extern "C" __global__ void global_avg_pool_bwd_f32(const float *dy, float *dx, long long plane, long long n) {
    global_avg_pool_bwd(dy, dx, plane, n);
}
extern "C" __global__ void global_avg_pool_bwd_bf16(const bf16 *dy, bf16 *dx, long long plane, long long n) {
    global_avg_pool_bwd(dy, dx, plane, n);
}
