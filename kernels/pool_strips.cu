// The pools of pool.cu for windows that a search uses, 16 bytes at a time (pool.cuh).
#include "pool.cuh"

template <typename W, typename T> __device__ void max_strips(const T *x, T *y, unsigned char *taps, PoolRows s) {
    constexpr int V = PACK<T>, IN = POOL_IN<W>;
    over_strips<W::ROWS, V>(s.planes, s.ho, s.wo / V, [&](long long p, int oy, int rows, int ox) {
        float largest[IN][V];
        int which[IN], top = oy * W::S - W::P;
        UNROLL
        for (int r = 0; r < IN; r++) {
            int iy = top + r;
            which[r] = 0;
            if (iy < 0 || iy >= s.h) continue;
            float v[POOL_LINE<W, V>];
            load_line<W::LEFT, W::S * V, W::RIGHT>(x + (p * s.h + iy) * s.w, ox * W::S, s.w, 0.0f, v);
            largest_of_row<W, V>(v, ox, s.wo, largest[r], which[r]);
        }
        UNROLL
        for (int k = 0; k < W::ROWS; k++) {
            if (k >= rows) continue;
            float best[V];
            int tap[V];
            largest_of_windows<W, V>(largest, which, k, top, s.h, best, tap);
            long long at = (p * s.ho + oy + k) * s.wo + ox;
            store_pack(y + at, best);
            store_bytes<V>(taps + at, tap);
        }
    });
}

template <typename W, typename T> __device__ void avg_strips(const T *x, T *y, PoolRows s) {
    constexpr int V = PACK<T>, IN = POOL_IN<W>;
    over_strips<W::ROWS, V>(s.planes, s.ho, s.wo / V, [&](long long p, int oy, int rows, int ox) {
        float sums[IN][V];
        UNROLL
        for (int r = 0; r < IN; r++) {
            int iy = oy * W::S - W::P + r;
            float v[POOL_LINE<W, V>] = {};
            if (iy >= 0 && iy < s.h) load_line<W::LEFT, W::S * V, W::RIGHT>(x + (p * s.h + iy) * s.w, ox * W::S, s.w, 0.0f, v);
            sums_of_row<W, V>(v, sums[r]);
        }
        UNROLL
        for (int k = 0; k < W::ROWS; k++) {
            if (k >= rows) continue;
            float out[V];
            means_of_windows<W, V>(sums, k, oy, ox, s, out);
            store_pack(y + (p * s.ho + oy + k) * s.wo + ox, out);
        }
    });
}

// dx: the gradients of the windows whose largest value stood here, in row order.
template <typename W, typename T> __device__ void max_strips_bwd(const T *dy, const unsigned char *taps, T *dx, PoolRows s) {
    constexpr int V = PACK<T>;
    auto load = [&](long long p, int oy, int ox) {
        PoolLine<W, T> l;
        long long row = (p * s.ho + oy) * s.wo;
        load_line<W::BEFORE, V, W::AFTER>(dy + row, ox, s.wo, 0.0f, l.v);
        load_taps(taps, row, ox, s.wo, l);
        return l;
    };
    pool_strips_bwd<W>(dx, s, load,
                       [](const PoolLine<W, T> &l, int ky, float (&sums)[W::S * V]) { add_where_largest(l, ky, sums); });
}

// dx: a share of the gradient of each window that the value is in.
template <typename W, typename T> __device__ void avg_strips_bwd(const T *dy, T *dx, PoolRows s) {
    constexpr int V = PACK<T>;
    struct Sums {
        float v[W::S * V];
    };
    auto load = [&](long long p, int oy, int ox) {
        float v[W::BEFORE + V + W::AFTER];
        load_line<W::BEFORE, V, W::AFTER>(dy + (p * s.ho + oy) * s.wo, ox, s.wo, 0.0f, v);
        Sums l;
        shares_of_row<W, V>(v, oy, ox, s, l.v);
        return l;
    };
    pool_strips_bwd<W>(dx, s, load, [](const Sums &l, int, float (&sums)[W::S * V]) {
        UNROLL
        for (int i = 0; i < W::S * V; i++) sums[i] += l.v[i];
    });
}

using Pool3 = PoolWindow<3, 1, 1>;
using Pool3Half = PoolWindow<3, 2, 1>;
using Pool2Half = PoolWindow<2, 2, 0>;

extern "C" __global__ void max_pool3_s1_f32(const float *x, float *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo) {
    max_strips<Pool3>(x, y, taps, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s1_bf16(const bf16 *x, bf16 *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo) {
    max_strips<Pool3>(x, y, taps, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s1_bwd_f32(const float *dy, const unsigned char *taps, float *dx, long long planes, int h, int w,
                                      int ho, int wo) {
    max_strips_bwd<Pool3>(dy, taps, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s1_bwd_bf16(const bf16 *dy, const unsigned char *taps, bf16 *dx, long long planes, int h, int w,
                                      int ho, int wo) {
    max_strips_bwd<Pool3>(dy, taps, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s2_f32(const float *x, float *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo) {
    max_strips<Pool3Half>(x, y, taps, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s2_bf16(const bf16 *x, bf16 *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo) {
    max_strips<Pool3Half>(x, y, taps, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s2_bwd_f32(const float *dy, const unsigned char *taps, float *dx, long long planes, int h, int w,
                                      int ho, int wo) {
    max_strips_bwd<Pool3Half>(dy, taps, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool3_s2_bwd_bf16(const bf16 *dy, const unsigned char *taps, bf16 *dx, long long planes, int h, int w,
                                      int ho, int wo) {
    max_strips_bwd<Pool3Half>(dy, taps, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool2_s2_f32(const float *x, float *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo) {
    max_strips<Pool2Half>(x, y, taps, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool2_s2_bf16(const bf16 *x, bf16 *y, unsigned char *taps, long long planes, int h, int w, int ho, int wo) {
    max_strips<Pool2Half>(x, y, taps, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool2_s2_bwd_f32(const float *dy, const unsigned char *taps, float *dx, long long planes, int h, int w,
                                      int ho, int wo) {
    max_strips_bwd<Pool2Half>(dy, taps, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void max_pool2_s2_bwd_bf16(const bf16 *dy, const unsigned char *taps, bf16 *dx, long long planes, int h, int w,
                                      int ho, int wo) {
    max_strips_bwd<Pool2Half>(dy, taps, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s1_f32(const float *x, float *y, long long planes, int h, int w, int ho, int wo) {
    avg_strips<Pool3>(x, y, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s1_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w, int ho, int wo) {
    avg_strips<Pool3>(x, y, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s1_bwd_f32(const float *dy, float *dx, long long planes, int h, int w, int ho, int wo) {
    avg_strips_bwd<Pool3>(dy, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s1_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w, int ho, int wo) {
    avg_strips_bwd<Pool3>(dy, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s2_f32(const float *x, float *y, long long planes, int h, int w, int ho, int wo) {
    avg_strips<Pool3Half>(x, y, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s2_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w, int ho, int wo) {
    avg_strips<Pool3Half>(x, y, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s2_bwd_f32(const float *dy, float *dx, long long planes, int h, int w, int ho, int wo) {
    avg_strips_bwd<Pool3Half>(dy, dx, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void avg_pool3_s2_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w, int ho, int wo) {
    avg_strips_bwd<Pool3Half>(dy, dx, PoolRows{planes, h, w, ho, wo});
}
