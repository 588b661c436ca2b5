// The pools of pool.cu for windows that a search uses, 16 bytes at a time: K x K at stride S with a ring of P values, (K, S, P) being
// (3, 1, 1), (3, 2, 1) or (2, 2, 0). Rows are of w = S wo values, wo a multiple of PACK. A thread takes a strip of rows; what windows
// share it keeps in registers.
#include "strips.cuh"

struct PoolRows {
    long long planes;
    int h, w, ho, wo;
};

template <int K_, int S_, int P_> struct PoolWindow {
    static constexpr int K = K_, S = S_, P = P_;
    // Values that V outputs read before and behind S V of x; S V of dx meet outputs before and behind V the other way about.
    static constexpr int LEFT = P, RIGHT = K - P - S, BEFORE = RIGHT, AFTER = LEFT;
    // Rows of y that a thread takes, and of dy.
    static constexpr int ROWS = S == 1 ? 4 : 2, ROWS_BWD = S == 1 ? 4 : 1;
};

// Of windows of 3 x 3: one over the taps of output row `o` that lie inside of `h` rows, with all three columns and with two.
struct Share {
    float whole, cut;
};
template <int S> __device__ inline Share share_of(int o, int h) {
    int rows = 3 - (o == 0) - (o * S + 1 == h);
    return Share{rows == 3 ? 1.0f / 9.0f : rows == 2 ? 1.0f / 6.0f : 1.0f / 3.0f, rows == 3 ? 1.0f / 6.0f : rows == 2 ? 0.25f : 0.5f};
}

// The largest value of each window and its tap, ky K + kx: the first of equals in row order; NaN wins.
template <typename W, typename T> __device__ void max_strips(const T *x, T *y, unsigned char *taps, PoolRows s) {
    constexpr int V = PACK<T>, IN = W::S * (W::ROWS - 1) + W::K;
    over_strips<W::ROWS, V>(s.planes, s.ho, s.wo / V, [&](long long p, int oy, int rows, int ox) {
        // Of each row that is read: the largest of K neighbours, and which it is, two bits each.
        float largest[IN][V];
        int which[IN];
        UNROLL
        for (int r = 0; r < IN; r++) {
            int iy = oy * W::S - W::P + r;
            which[r] = 0;
            if (iy < 0 || iy >= s.h) continue;
            float v[W::LEFT + W::S * V + W::RIGHT];
            load_line<W::LEFT, W::S * V, W::RIGHT>(x + (p * s.h + iy) * s.w, ox * W::S, s.w, 0.0f, v);
            UNROLL
            for (int j = 0; j < V; j++) {
                float best = 0.0f;
                int tap = -1;
                UNROLL
                for (int kx = 0; kx < W::K; kx++) {
                    bool left = j == 0 && kx < W::P && ox == 0, right = j == V - 1 && kx == W::K - 1 && W::RIGHT && ox + V == s.wo;
                    float u = v[W::S * j + kx];
                    if (!left && !right && (tap < 0 || u > best || u != u)) best = u, tap = kx;
                }
                largest[r][j] = best;
                which[r] |= tap << 2 * j;
            }
        }
        UNROLL
        for (int k = 0; k < W::ROWS; k++) {
            if (k >= rows) continue;
            float best[V];
            int tap[V];
            UNROLL
            for (int j = 0; j < V; j++) tap[j] = -1;
            UNROLL
            for (int ky = 0; ky < W::K; ky++) {
                int r = W::S * k + ky, iy = oy * W::S - W::P + r;
                if (iy < 0 || iy >= s.h) continue;
                UNROLL
                for (int j = 0; j < V; j++) {
                    float u = largest[r][j];
                    if (tap[j] < 0 || u > best[j] || u != u) best[j] = u, tap[j] = ky * W::K + (which[r] >> 2 * j & 3);
                }
            }
            long long at = (p * s.ho + oy + k) * s.wo + ox;
            store_pack(y + at, best);
            store_bytes<V>(taps + at, tap);
        }
    });
}

// The mean over the taps inside of the map.
template <typename W, typename T> __device__ void avg_strips(const T *x, T *y, PoolRows s) {
    constexpr int V = PACK<T>, IN = W::S * (W::ROWS - 1) + W::K;
    over_strips<W::ROWS, V>(s.planes, s.ho, s.wo / V, [&](long long p, int oy, int rows, int ox) {
        float sums[IN][V];
        UNROLL
        for (int r = 0; r < IN; r++) {
            int iy = oy * W::S - W::P + r;
            float v[W::LEFT + W::S * V + W::RIGHT] = {};
            if (iy >= 0 && iy < s.h) load_line<W::LEFT, W::S * V, W::RIGHT>(x + (p * s.h + iy) * s.w, ox * W::S, s.w, 0.0f, v);
            UNROLL
            for (int j = 0; j < V; j++) {
                sums[r][j] = 0.0f;
                UNROLL
                for (int kx = 0; kx < W::K; kx++) sums[r][j] += v[W::S * j + kx];
            }
        }
        UNROLL
        for (int k = 0; k < W::ROWS; k++) {
            if (k >= rows) continue;
            Share share = share_of<W::S>(oy + k, s.h);
            float out[V];
            UNROLL
            for (int j = 0; j < V; j++) {
                out[j] = 0.0f;
                UNROLL
                for (int ky = 0; ky < W::K; ky++) out[j] += sums[W::S * k + ky][j];
                bool cut = (j == 0 && ox == 0) || (W::RIGHT && j == V - 1 && ox + V == s.wo);
                out[j] *= cut ? share.cut : share.whole;
            }
            store_pack(y + (p * s.ho + oy + k) * s.wo + ox, out);
        }
    });
}

// The strips of dx: rows S oy and on of S V columns from S ox on. Calls add(row, oy', ox, to, ky) for every row of dy that takes part,
// in order, and every row `to` of the strip's that it meets by its tap row ky.
template <typename W, typename T, typename Load, typename Add>
__device__ void pool_strips_bwd(T *dx, PoolRows s, Load load, Add add) {
    constexpr int V = PACK<T>, R = W::ROWS_BWD;
    over_strips<R, V>(s.planes, (s.h + W::S - 1) / W::S, s.wo / V, [&](long long p, int oy, int rows, int ox) {
        float sums[W::S * R][W::S * V];
        UNROLL
        for (int i = 0; i < W::S * R * W::S * V; i++) sums[i / (W::S * V)][i % (W::S * V)] = 0.0f;
        UNROLL
        for (int q = -W::BEFORE; q < R + W::AFTER; q++) {
            if (oy + q < 0 || oy + q >= s.ho) continue;
            auto line = load(p, oy + q, ox);
            UNROLL
            for (int k = 0; k < W::S * R; k++) {
                int ky = k + W::P - W::S * q;
                if (ky >= 0 && ky < W::K) add(line, ky, sums[k]);
            }
        }
        UNROLL
        for (int k = 0; k < W::S * R; k++) {
            int iy = oy * W::S + k;
            if (k >= W::S * rows || iy >= s.h) continue;
            UNROLL
            for (int i = 0; i < W::S; i++) store_pack(dx + (p * s.h + iy) * s.w + ox * W::S + i * V, sums[k] + i * V);
        }
    });
}

template <typename W, typename T> struct PoolLine {
    static constexpr int N = W::BEFORE + PACK<T> + W::AFTER;
    float v[N];
    int taps[N];
};

// dx: the gradients of the windows whose largest value stood here, in row order.
template <typename W, typename T> __device__ void max_strips_bwd(const T *dy, const unsigned char *taps, T *dx, PoolRows s) {
    constexpr int V = PACK<T>;
    auto load = [&](long long p, int oy, int ox) {
        PoolLine<W, T> l;
        long long row = (p * s.ho + oy) * s.wo;
        load_line<W::BEFORE, V, W::AFTER>(dy + row, ox, s.wo, 0.0f, l.v);
        if (W::BEFORE) l.taps[0] = ox > 0 ? taps[row + ox - 1] : -1;
        load_bytes<V>(taps + row + ox, l.taps + W::BEFORE);
        if (W::AFTER) l.taps[W::BEFORE + V] = ox + V < s.wo ? taps[row + ox + V] : -1;
        return l;
    };
    pool_strips_bwd<W>(dx, s, load, [](const PoolLine<W, T> &l, int ky, float (&sums)[W::S * V]) {
        UNROLL
        for (int i = 0; i < W::S * V; i++)
            UNROLL
            for (int q = -W::BEFORE; q <= W::AFTER; q++) {
                int kx = i % W::S + W::P - W::S * q, at = i / W::S + W::BEFORE + q;
                if (kx >= 0 && kx < W::K && l.taps[at] == ky * W::K + kx) sums[i] += l.v[at];
            }
    });
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
        Share share = share_of<W::S>(oy, s.h);
        UNROLL
        for (int i = 0; i < W::BEFORE + V + W::AFTER; i++) {
            bool cut = (i == W::BEFORE && ox == 0) || (W::RIGHT && i == W::BEFORE + V - 1 && ox + V == s.wo);
            v[i] *= cut ? share.cut : share.whole;
        }
        Sums l;
        UNROLL
        for (int i = 0; i < W::S * V; i++) {
            l.v[i] = 0.0f;
            UNROLL
            for (int q = -W::BEFORE; q <= W::AFTER; q++) {
                int kx = i % W::S + W::P - W::S * q;
                if (kx >= 0 && kx < W::K) l.v[i] += v[i / W::S + W::BEFORE + q];
            }
        }
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
