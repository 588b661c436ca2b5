// Enlarging maps (planes, h, w) to (planes, F h, F w) for the factors 2 and 4, as resample.cu does, 16 bytes of the larger map at a time
// where its rows, and of the smaller one in a backward, are a multiple of those. What rows share stays in registers.
#include "strips.cuh"

struct EnlargeSizes {
    long long planes;
    int h, w;
};

// N values, of 4 or 8 bytes together, at once; `p` must be aligned to those.
template <int N, typename T> __device__ inline void load_some(const T *p, float *v) {
#ifdef __CUDACC__
    const Bytes<N *(int)sizeof(T)> b = *(const Bytes<N *(int)sizeof(T)> *)p;
#pragma unroll
    for (int i = 0; i < N; i++)
        if constexpr (sizeof(T) == 4) v[i] = __uint_as_float(b.words[i]);
        else v[i] = __uint_as_float(i % 2 ? b.words[i / 2] & 0xffff0000u : b.words[i / 2] << 16);
#else
    emu_vector(p, N * sizeof(T), 0);
    for (int i = 0; i < N; i++) v[i] = to_float(p[i]);
#endif
}

// y[p, i, j] = x[p, i / F, j / F], and `plus` where there is one.
template <int F, typename T> __device__ void enlarge_nearest(const T *x, const T *plus, T *y, EnlargeSizes s) {
    constexpr int V = PACK<T>, M = V / F;
    over_strips<1, V>(s.planes, s.h, s.w * F / V, [&](long long p, int i, int, int j) {
        float v[M], out[V];
        load_some<M>(x + (p * s.h + i) * s.w + j / F, v);
        UNROLL
        for (int k = 0; k < V; k++) out[k] = v[k / F];
        UNROLL
        for (int a = 0; a < F; a++) {
            const long long at = ((p * s.h + i) * F + a) * s.w * F + j;
            float sum[V];
            if (plus) load_pack(plus + at, sum);
            UNROLL
            for (int k = 0; k < V; k++) sum[k] = plus ? sum[k] + out[k] : out[k];
            store_pack(y + at, sum);
        }
    });
}

template <int F, typename T> __device__ void enlarge_nearest_bwd(const T *dy, T *dx, EnlargeSizes s) {
    constexpr int V = PACK<T>;
    over_strips<1, V>(s.planes, s.h, s.w / V, [&](long long p, int i, int, int j) {
        float sums[V];
        UNROLL
        for (int k = 0; k < V; k++) sums[k] = 0.0f;
        UNROLL
        for (int a = 0; a < F; a++)
            UNROLL
            for (int b = 0; b < F; b++) {
                float v[V];
                load_pack(dy + ((p * s.h + i) * F + a) * s.w * F + j * F + b * V, v);
                UNROLL
                for (int k = 0; k < V; k++) sums[(b * V + k) / F] += v[k];
            }
        store_pack(dx + (p * s.h + i) * s.w + j, sums);
    });
}

// Output F a + b lies between values a - 1 and a where b < F / 2, else between a and a + 1; the share of the later one, exact. Beyond the
// map the last value stands, so both shares are its.
template <int F> __device__ constexpr float later_share(int b) { return (float)(2 * b + 1 + (b < F / 2 ? F : -F)) / (float)(2 * F); }

// Rows that a thread takes of the smaller map: each is read once, as are its neighbours.
constexpr int ENLARGE_ROWS = 2;

template <int F, typename T> __device__ void enlarge_bilinear(const T *x, T *y, EnlargeSizes s) {
    constexpr int V = PACK<T>, M = V / F, R = ENLARGE_ROWS;
    over_strips<R, V>(s.planes, s.h, s.w * F / V, [&](long long p, int i, int rows, int j) {
        float lines[R + 2][V];
        UNROLL
        for (int r = 0; r < R + 2; r++) {
            const T *row = x + (p * s.h + min(max(i + r - 1, 0), s.h - 1)) * s.w;
            float v[M + 2];
            v[0] = to_float(row[max(j / F - 1, 0)]);
            load_some<M>(row + j / F, v + 1);
            v[M + 1] = to_float(row[min(j / F + M, s.w - 1)]);
            UNROLL
            for (int k = 0; k < V; k++) {
                int before = k / F + (k % F < F / 2 ? 0 : 1);
                float t = later_share<F>(k % F);
                lines[r][k] = (1.0f - t) * v[before] + t * v[before + 1];
            }
        }
        UNROLL
        for (int r = 0; r < R * F; r++) {
            if (r >= rows * F) continue;
            int before = r / F + (r % F < F / 2 ? 0 : 1);
            float t = later_share<F>(r % F), out[V];
            UNROLL
            for (int k = 0; k < V; k++) out[k] = (1.0f - t) * lines[before][k] + t * lines[before + 1][k];
            store_pack(y + ((p * s.h + i) * F + r) * s.w * F + j, out);
        }
    });
}

// Share of value `at` of `size` in output F at + o, for o from -F / 2 to before F + F / 2.
template <int F> __device__ inline float enlarge_share(int o, int at, int size) {
    if ((at == 0 && o < F / 2) || (at == size - 1 && o >= F / 2)) return 1.0f;
    return (float)(o < F / 2 ? 2 * o + 1 + F : 3 * F - 2 * o - 1) / (float)(2 * F);
}

// dx: the shares of all outputs that read this value, row by row.
template <int F, typename T> __device__ void enlarge_bilinear_bwd(const T *dy, T *dx, EnlargeSizes s) {
    constexpr int V = PACK<T>, R = ENLARGE_ROWS, SIDE = F / 2;
    over_strips<R, V>(s.planes, s.h, s.w / V, [&](long long p, int i, int rows, int j) {
        float sums[R][V];
        UNROLL
        for (int k = 0; k < R * V; k++) sums[k / V][k % V] = 0.0f;
        UNROLL
        for (int r = -SIDE; r < R * F + SIDE; r++) {
            int at = i * F + r;
            if (at < 0 || at >= s.h * F) continue;
            const T *row = dy + (p * s.h * F + at) * s.w * F;
            float v[SIDE + F * V + SIDE];
            UNROLL
            for (int k = 0; k < SIDE; k++) {
                v[k] = j > 0 ? to_float(row[j * F - SIDE + k]) : 0.0f;
                v[SIDE + F * V + k] = j + V < s.w ? to_float(row[(j + V) * F + k]) : 0.0f;
            }
            UNROLL
            for (int k = 0; k < F; k++) load_pack(row + j * F + k * V, v + SIDE + k * V);
            UNROLL
            for (int c = 0; c < V; c++) {
                float line = 0.0f;
                UNROLL
                for (int o = 0; o < 2 * F; o++) line = fmaf(enlarge_share<F>(o - SIDE, j + c, s.w), v[c * F + o], line);
                UNROLL
                for (int k = 0; k < R; k++)
                    if (r - k * F >= -SIDE && r - k * F < F + SIDE) sums[k][c] = fmaf(enlarge_share<F>(r - k * F, i + k, s.h), line, sums[k][c]);
            }
        }
        UNROLL
        for (int k = 0; k < R; k++)
            if (k < rows) store_pack(dx + (p * s.h + i + k) * s.w + j, sums[k]);
    });
}

extern "C" __global__ void nearest2_f32(const float *x, const float *plus, float *y, int adds, long long planes, int h, int w) {
    enlarge_nearest<2>(x, adds ? plus : nullptr, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest2_bf16(const bf16 *x, const bf16 *plus, bf16 *y, int adds, long long planes, int h, int w) {
    enlarge_nearest<2>(x, adds ? plus : nullptr, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest2_bwd_f32(const float *dy, float *dx, long long planes, int h, int w) {
    enlarge_nearest_bwd<2>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest2_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w) {
    enlarge_nearest_bwd<2>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest4_f32(const float *x, const float *plus, float *y, int adds, long long planes, int h, int w) {
    enlarge_nearest<4>(x, adds ? plus : nullptr, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest4_bf16(const bf16 *x, const bf16 *plus, bf16 *y, int adds, long long planes, int h, int w) {
    enlarge_nearest<4>(x, adds ? plus : nullptr, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest4_bwd_f32(const float *dy, float *dx, long long planes, int h, int w) {
    enlarge_nearest_bwd<4>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void nearest4_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w) {
    enlarge_nearest_bwd<4>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear2_f32(const float *x, float *y, long long planes, int h, int w) {
    enlarge_bilinear<2>(x, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear2_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w) {
    enlarge_bilinear<2>(x, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear2_bwd_f32(const float *dy, float *dx, long long planes, int h, int w) {
    enlarge_bilinear_bwd<2>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear2_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w) {
    enlarge_bilinear_bwd<2>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear4_f32(const float *x, float *y, long long planes, int h, int w) {
    enlarge_bilinear<4>(x, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear4_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w) {
    enlarge_bilinear<4>(x, y, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear4_bwd_f32(const float *dy, float *dx, long long planes, int h, int w) {
    enlarge_bilinear_bwd<4>(dy, dx, EnlargeSizes{planes, h, w});
}
extern "C" __global__ void bilinear4_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w) {
    enlarge_bilinear_bwd<4>(dy, dx, EnlargeSizes{planes, h, w});
}
