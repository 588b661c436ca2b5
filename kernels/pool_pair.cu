// Both poolings of a search cell in one pass, 16 bytes at a time: the largest value and the mean of windows of 3 x 3 at stride 1 or 2 with
// a ring of one, of the first `active` of the `held` channels of x; planes = images active. Sizes as in pool.cuh.
#include "pool.cuh"

// Gradients of each that are added while they are read.
constexpr int POOL_TERMS = 8;

// Two rows a thread: what both poolings keep of four fits the registers.
template <int S> struct PairWindow : PoolWindow<3, S, 1> {
    static constexpr int ROWS = 2, ROWS_BWD = 2 / S;
};

template <typename W, typename T>
__device__ void pool_pair(const T *x, T *largest_y, T *mean_y, unsigned char *taps, int active, int held, PoolRows s) {
    constexpr int V = PACK<T>, IN = POOL_IN<W>;
    over_strips<W::ROWS, V>(s.planes, s.ho, s.wo / V, [&](long long p, int oy, int rows, int ox) {
        long long image = quotient(p, active), plane = image * held + (p - image * active);
        float largest[IN][V], sums[IN][V];
        int which[IN], top = oy * W::S - W::P;
        UNROLL
        for (int r = 0; r < IN; r++) {
            int iy = top + r;
            which[r] = 0;
            float v[POOL_LINE<W, V>] = {};
            if (iy >= 0 && iy < s.h) {
                load_line<W::LEFT, W::S * V, W::RIGHT>(x + (plane * s.h + iy) * s.w, ox * W::S, s.w, 0.0f, v);
                largest_of_row<W, V>(v, ox, s.wo, largest[r], which[r]);
            }
            sums_of_row<W, V>(v, sums[r]);
        }
        UNROLL
        for (int k = 0; k < W::ROWS; k++) {
            if (k >= rows) continue;
            float best[V], mean[V];
            int tap[V];
            largest_of_windows<W, V>(largest, which, k, top, s.h, best, tap);
            means_of_windows<W, V>(sums, k, oy, ox, s, mean);
            long long at = (p * s.ho + oy + k) * s.wo + ox;
            store_pack(largest_y + at, best);
            store_pack(mean_y + at, mean);
            store_bytes<V>(taps + at, tap);
        }
    });
}

// A line of the sum of `terms` gradients.
template <int LEFT, int N, int RIGHT, typename T>
__device__ __forceinline__ void load_sum(const List<const T, POOL_TERMS> &d, int terms, long long row, int ox, int wo,
                                         float (&v)[LEFT + N + RIGHT]) {
    UNROLL
    for (int i = 0; i < LEFT + N + RIGHT; i++) v[i] = 0.0f;
    for (int k = 0; k < terms; k++) {
        float u[LEFT + N + RIGHT];
        load_line<LEFT, N, RIGHT>(d.at[k] + row, ox, wo, 0.0f, u);
        UNROLL
        for (int i = 0; i < LEFT + N + RIGHT; i++) v[i] += u[i];
    }
}

// dx, `active` channels an image: what both hand back. Without a gradient of the largest values their taps are not read.
template <typename W, typename T>
__device__ void pool_pair_bwd(const List<const T, POOL_TERMS> &largest, const List<const T, POOL_TERMS> &mean, const unsigned char *taps,
                              T *dx, int largest_terms, int mean_terms, PoolRows s) {
    constexpr int V = PACK<T>;
    struct Line {
        PoolLine<W, T> largest;
        float shares[W::S * V];
    };
    auto load = [&](long long p, int oy, int ox) {
        Line l;
        long long row = (p * s.ho + oy) * s.wo;
        load_sum<W::BEFORE, V, W::AFTER>(largest, largest_terms, row, ox, s.wo, l.largest.v);
        if (largest_terms > 0) load_taps(taps, row, ox, s.wo, l.largest);
        float v[W::BEFORE + V + W::AFTER];
        load_sum<W::BEFORE, V, W::AFTER>(mean, mean_terms, row, ox, s.wo, v);
        shares_of_row<W, V>(v, oy, ox, s, l.shares);
        return l;
    };
    pool_strips_bwd<W>(dx, s, load, [&](const Line &l, int ky, float (&sums)[W::S * V]) {
        if (largest_terms > 0) add_where_largest(l.largest, ky, sums);
        UNROLL
        for (int i = 0; i < W::S * V; i++) sums[i] += l.shares[i];
    });
}
extern "C" __global__ void pool_pair_s1_f32(const float *x, float *largest, float *mean, unsigned char *taps, int active, int held,
                                     long long planes, int h, int w, int ho, int wo) {
    pool_pair<PairWindow<1>>(x, largest, mean, taps, active, held, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s1_bwd_f32(const __grid_constant__ List<const float, POOL_TERMS> largest,
                                         const __grid_constant__ List<const float, POOL_TERMS> mean, const unsigned char *taps, float *dx,
                                         int largest_terms, int mean_terms, long long planes, int h, int w, int ho, int wo) {
    pool_pair_bwd<PairWindow<1>>(largest, mean, taps, dx, largest_terms, mean_terms, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s1_bf16(const bf16 *x, bf16 *largest, bf16 *mean, unsigned char *taps, int active, int held,
                                     long long planes, int h, int w, int ho, int wo) {
    pool_pair<PairWindow<1>>(x, largest, mean, taps, active, held, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s1_bwd_bf16(const __grid_constant__ List<const bf16, POOL_TERMS> largest,
                                         const __grid_constant__ List<const bf16, POOL_TERMS> mean, const unsigned char *taps, bf16 *dx,
                                         int largest_terms, int mean_terms, long long planes, int h, int w, int ho, int wo) {
    pool_pair_bwd<PairWindow<1>>(largest, mean, taps, dx, largest_terms, mean_terms, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s2_f32(const float *x, float *largest, float *mean, unsigned char *taps, int active, int held,
                                     long long planes, int h, int w, int ho, int wo) {
    pool_pair<PairWindow<2>>(x, largest, mean, taps, active, held, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s2_bwd_f32(const __grid_constant__ List<const float, POOL_TERMS> largest,
                                         const __grid_constant__ List<const float, POOL_TERMS> mean, const unsigned char *taps, float *dx,
                                         int largest_terms, int mean_terms, long long planes, int h, int w, int ho, int wo) {
    pool_pair_bwd<PairWindow<2>>(largest, mean, taps, dx, largest_terms, mean_terms, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s2_bf16(const bf16 *x, bf16 *largest, bf16 *mean, unsigned char *taps, int active, int held,
                                     long long planes, int h, int w, int ho, int wo) {
    pool_pair<PairWindow<2>>(x, largest, mean, taps, active, held, PoolRows{planes, h, w, ho, wo});
}
extern "C" __global__ void pool_pair_s2_bwd_bf16(const __grid_constant__ List<const bf16, POOL_TERMS> largest,
                                         const __grid_constant__ List<const bf16, POOL_TERMS> mean, const unsigned char *taps, bf16 *dx,
                                         int largest_terms, int mean_terms, long long planes, int h, int w, int ho, int wo) {
    pool_pair_bwd<PairWindow<2>>(largest, mean, taps, dx, largest_terms, mean_terms, PoolRows{planes, h, w, ho, wo});
}
