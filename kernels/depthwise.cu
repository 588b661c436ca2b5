// Depthwise convolution of planes, (N, C, H, W) with one K x K filter a channel:
//     y[n, c, oy, ox] = sum_{ky, kx} w[c, ky, kx] x[n, c, oy stride + ky dilation - padding, ox stride + kx dilation - padding],
// values outside the map are 0. K is 3 or 5, stride and dilation 1 or 2, accumulation in f32. Blocks of 256 threads.
#include "dialect.cuh"

constexpr int TILE_W = 32, TILE_H = 8;
constexpr int THREADS = TILE_W * TILE_H;
// The input of a tile at stride 2, dilation 2, K 5.
constexpr int SPAN = ((TILE_W - 1) * 2 + 9) * ((TILE_H - 1) * 2 + 9);

struct Sizes {
    int channels, h, w, ho, wo, stride, padding, dilation;
};

// Grid (tiles in x, tiles in y, planes or fewer); the input of a tile goes through shared memory once.
template <typename T, int K> __device__ void depthwise(const T *x, const T *w, T *y, float *tile, int planes, Sizes s) {
    int tx = threadIdx.x % TILE_W, ty = threadIdx.x / TILE_W;
    int span_w = (TILE_W - 1) * s.stride + (K - 1) * s.dilation + 1;
    int span_h = (TILE_H - 1) * s.stride + (K - 1) * s.dilation + 1;
    int ox = blockIdx.x * TILE_W + tx, oy = blockIdx.y * TILE_H + ty;
    int left = blockIdx.x * TILE_W * s.stride - s.padding, top = blockIdx.y * TILE_H * s.stride - s.padding;
    for (int p = blockIdx.z; p < planes; p += gridDim.z) {
        const T *plane = x + (long long)p * s.h * s.w;
        for (int i = threadIdx.x; i < span_w * span_h; i += THREADS) {
            int iy = top + i / span_w, ix = left + i % span_w;
            bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
            tile[i] = inside ? to_float(plane[(long long)iy * s.w + ix]) : 0.0f;
        }
        __syncthreads();
        if (ox < s.wo && oy < s.ho) {
            const T *taps = w + (long long)(p % s.channels) * K * K;
            float acc = 0.0f;
            for (int ky = 0; ky < K; ky++)
                for (int kx = 0; kx < K; kx++) {
                    int at = (ty * s.stride + ky * s.dilation) * span_w + tx * s.stride + kx * s.dilation;
                    acc = fmaf(to_float(taps[ky * K + kx]), tile[at], acc);
                }
            y[((long long)p * s.ho + oy) * s.wo + ox] = from_float<T>(acc);
        }
        __syncthreads();
    }
}

// dx, one value a thread: every output that read it, in the order of the taps.
template <typename T, int K> __device__ void depthwise_bwd_x(const T *dy, const T *w, T *dx, long long n, Sizes s) {
    for (long long i = global_index(); i < n; i += global_size()) {
        int ix = (int)(i % s.w), iy = (int)(i / s.w % s.h);
        long long p = i / ((long long)s.w * s.h);
        const T *taps = w + p % s.channels * K * K;
        const T *plane = dy + p * s.ho * s.wo;
        float acc = 0.0f;
        for (int ky = 0; ky < K; ky++) {
            int y = iy + s.padding - ky * s.dilation;
            if (y < 0 || y % s.stride != 0 || y / s.stride >= s.ho) continue;
            for (int kx = 0; kx < K; kx++) {
                int x = ix + s.padding - kx * s.dilation;
                if (x < 0 || x % s.stride != 0 || x / s.stride >= s.wo) continue;
                acc = fmaf(to_float(taps[ky * K + kx]), to_float(plane[(long long)(y / s.stride) * s.wo + x / s.stride]), acc);
            }
        }
        dx[i] = from_float<T>(acc);
    }
}

// Partial sums of dw: block (c, chunk) sums the outputs of channel c whose index over (n, oy, ox) is `chunk` modulo `chunks` in units of a
// block; `part` is (chunks, C, K K). No atomics: the order of every sum is fixed.
template <typename T, int K>
__device__ void depthwise_bwd_w(const T *x, const T *dy, float *part, float *warps, int images, Sizes s) {
    int c = blockIdx.x, chunk = blockIdx.y, chunks = gridDim.y;
    long long plane = (long long)s.ho * s.wo, all = images * plane;
    float acc[K * K];
    for (int k = 0; k < K * K; k++) acc[k] = 0.0f;
    for (long long i = (long long)chunk * THREADS + threadIdx.x; i < all; i += (long long)chunks * THREADS) {
        int ox = (int)(i % s.wo), oy = (int)(i / s.wo % s.ho);
        long long p = i / plane * s.channels + c;
        float g = to_float(dy[p * plane + (long long)oy * s.wo + ox]);
        for (int ky = 0; ky < K; ky++) {
            int iy = oy * s.stride + ky * s.dilation - s.padding;
            for (int kx = 0; kx < K; kx++) {
                int ix = ox * s.stride + kx * s.dilation - s.padding;
                bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                if (inside) acc[ky * K + kx] = fmaf(g, to_float(x[(p * s.h + iy) * s.w + ix]), acc[ky * K + kx]);
            }
        }
    }
    for (int k = 0; k < K * K; k++) {
        float v = warp_sum(acc[k]);
        if (threadIdx.x % WARP_SIZE == 0) warps[k * (THREADS / WARP_SIZE) + threadIdx.x / WARP_SIZE] = v;
    }
    __syncthreads();
    for (int k = threadIdx.x; k < K * K; k += THREADS) {
        float v = 0.0f;
        for (int i = 0; i < THREADS / WARP_SIZE; i++) v += warps[k * (THREADS / WARP_SIZE) + i];
        part[((long long)chunk * s.channels + c) * K * K + k] = v;
    }
}

#define DEPTHWISE(T, K) \
    SHARED(float, tile, SPAN);                                                                                         \
    depthwise<T, K>(x, w, y, tile, planes, Sizes{channels, h, wd, ho, wo, stride, padding, dilation})

extern "C" __global__ void depthwise3_f32(const float *x, const float *w, float *y, int planes, int channels, int h, int wd,
                                          int ho, int wo, int stride, int padding, int dilation) {
    DEPTHWISE(float, 3);
}
extern "C" __global__ void depthwise5_f32(const float *x, const float *w, float *y, int planes, int channels, int h, int wd,
                                          int ho, int wo, int stride, int padding, int dilation) {
    DEPTHWISE(float, 5);
}
extern "C" __global__ void depthwise3_bf16(const bf16 *x, const bf16 *w, bf16 *y, int planes, int channels, int h, int wd,
                                           int ho, int wo, int stride, int padding, int dilation) {
    DEPTHWISE(bf16, 3);
}
extern "C" __global__ void depthwise5_bf16(const bf16 *x, const bf16 *w, bf16 *y, int planes, int channels, int h, int wd,
                                           int ho, int wo, int stride, int padding, int dilation) {
    DEPTHWISE(bf16, 5);
}

extern "C" __global__ void depthwise3_bwd_x_f32(const float *dy, const float *w, float *dx, long long n, int channels, int h,
                                                int wd, int ho, int wo, int stride, int padding, int dilation) {
    depthwise_bwd_x<float, 3>(dy, w, dx, n, Sizes{channels, h, wd, ho, wo, stride, padding, dilation});
}
extern "C" __global__ void depthwise5_bwd_x_f32(const float *dy, const float *w, float *dx, long long n, int channels, int h,
                                                int wd, int ho, int wo, int stride, int padding, int dilation) {
    depthwise_bwd_x<float, 5>(dy, w, dx, n, Sizes{channels, h, wd, ho, wo, stride, padding, dilation});
}
extern "C" __global__ void depthwise3_bwd_w_f32(const float *x, const float *dy, float *part, int images, int channels, int h,
                                                int wd, int ho, int wo, int stride, int padding, int dilation) {
    SHARED(float, warps, 9 * (THREADS / WARP_SIZE));
    depthwise_bwd_w<float, 3>(x, dy, part, warps, images, Sizes{channels, h, wd, ho, wo, stride, padding, dilation});
}
extern "C" __global__ void depthwise5_bwd_w_f32(const float *x, const float *dy, float *part, int images, int channels, int h,
                                                int wd, int ho, int wo, int stride, int padding, int dilation) {
    SHARED(float, warps, 25 * (THREADS / WARP_SIZE));
    depthwise_bwd_w<float, 5>(x, dy, part, warps, images, Sizes{channels, h, wd, ho, wo, stride, padding, dilation});
}

// dw from the partial sums, chunk by chunk in order; one value a thread.
extern "C" __global__ void sum_chunks_f32(const float *part, float *dw, int chunks, int n) {
    for (long long i = global_index(); i < n; i += global_size()) {
        float v = 0.0f;
        for (int c = 0; c < chunks; c++) v += part[(long long)c * n + i];
        dw[i] = v;
    }
}
