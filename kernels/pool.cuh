// What kernels of pools share that take 16 bytes at a time: windows of K x K at stride S with a ring of P values, (K, S, P) being
// (3, 1, 1), (3, 2, 1) or (2, 2, 0). Rows are of w = S wo values, wo a multiple of PACK. A thread takes a strip of rows; what windows
// share it keeps in registers.
#pragma once
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

// Values of x that V outputs read of a row, and rows that ROWS rows of outputs read.
template <typename W, int V> constexpr int POOL_LINE = W::LEFT + W::S * V + W::RIGHT;
template <typename W> constexpr int POOL_IN = W::S * (W::ROWS - 1) + W::K;

// Of windows of 3 x 3: one over the taps of output row `o` that lie inside of `h` rows, with all three columns and with two.
struct Share {
    float whole, cut;
};
template <int S> __device__ inline Share share_of(int o, int h) {
    int rows = 3 - (o == 0) - (o * S + 1 == h);
    return Share{rows == 3 ? 1.0f / 9.0f : rows == 2 ? 1.0f / 6.0f : 1.0f / 3.0f, rows == 3 ? 1.0f / 6.0f : rows == 2 ? 0.25f : 0.5f};
}

// Of a row that is read: the largest of K neighbours for each of the outputs from ox on, and which it is, two bits each.
template <typename W, int V>
__device__ __forceinline__ void largest_of_row(const float (&v)[POOL_LINE<W, V>], int ox, int wo, float (&largest)[V], int &which) {
    UNROLL
    for (int j = 0; j < V; j++) {
        float best = 0.0f;
        int tap = -1;
        UNROLL
        for (int kx = 0; kx < W::K; kx++) {
            bool left = j == 0 && kx < W::P && ox == 0, right = j == V - 1 && kx == W::K - 1 && W::RIGHT && ox + V == wo;
            float u = v[W::S * j + kx];
            if (!left && !right && (tap < 0 || u > best || u != u)) best = u, tap = kx;
        }
        largest[j] = best;
        which |= tap << 2 * j;
    }
}

// Row k of a strip from `top` on, of x: the largest value of each window and its tap, ky K + kx: the first of equals in row order; NaN wins.
template <typename W, int V>
__device__ __forceinline__ void largest_of_windows(const float (&largest)[POOL_IN<W>][V], const int (&which)[POOL_IN<W>], int k, int top,
                                                   int h, float (&best)[V], int (&tap)[V]) {
    UNROLL
    for (int j = 0; j < V; j++) tap[j] = -1;
    UNROLL
    for (int ky = 0; ky < W::K; ky++) {
        int r = W::S * k + ky, iy = top + r;
        if (iy < 0 || iy >= h) continue;
        UNROLL
        for (int j = 0; j < V; j++) {
            float u = largest[r][j];
            if (tap[j] < 0 || u > best[j] || u != u) best[j] = u, tap[j] = ky * W::K + (which[r] >> 2 * j & 3);
        }
    }
}

// Of a row that is read: the sums of K neighbours; values outside of the map are 0.
template <typename W, int V> __device__ __forceinline__ void sums_of_row(const float (&v)[POOL_LINE<W, V>], float (&sums)[V]) {
    UNROLL
    for (int j = 0; j < V; j++) {
        sums[j] = 0.0f;
        UNROLL
        for (int kx = 0; kx < W::K; kx++) sums[j] += v[W::S * j + kx];
    }
}

// Row k of a strip from row oy of the outputs on: the mean of each window over the taps inside of the map.
template <typename W, int V>
__device__ __forceinline__ void means_of_windows(const float (&sums)[POOL_IN<W>][V], int k, int oy, int ox, const PoolRows &s,
                                                 float (&out)[V]) {
    Share share = share_of<W::S>(oy + k, s.h);
    UNROLL
    for (int j = 0; j < V; j++) {
        out[j] = 0.0f;
        UNROLL
        for (int ky = 0; ky < W::K; ky++) out[j] += sums[W::S * k + ky][j];
        bool cut = (j == 0 && ox == 0) || (W::RIGHT && j == V - 1 && ox + V == s.wo);
        out[j] *= cut ? share.cut : share.whole;
    }
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

// Gradients of a row of outputs, and the taps that they go to.
template <typename W, typename T> struct PoolLine {
    static constexpr int N = W::BEFORE + PACK<T> + W::AFTER;
    float v[N];
    int taps[N];
};

template <typename W, typename T>
__device__ __forceinline__ void load_taps(const unsigned char *taps, long long row, int ox, int wo, PoolLine<W, T> &l) {
    constexpr int V = PACK<T>;
    if (W::BEFORE) l.taps[0] = ox > 0 ? taps[row + ox - 1] : -1;
    load_bytes<V>(taps + row + ox, l.taps + W::BEFORE);
    if (W::AFTER) l.taps[W::BEFORE + V] = ox + V < wo ? taps[row + ox + V] : -1;
}

// The gradients of the windows whose largest value stood in a row that they meet by their tap row ky.
template <typename W, typename T>
__device__ __forceinline__ void add_where_largest(const PoolLine<W, T> &l, int ky, float (&sums)[W::S * PACK<T>]) {
    UNROLL
    for (int i = 0; i < W::S * PACK<T>; i++)
        UNROLL
        for (int q = -W::BEFORE; q <= W::AFTER; q++) {
            int kx = i % W::S + W::P - W::S * q, at = i / W::S + W::BEFORE + q;
            if (kx >= 0 && kx < W::K && l.taps[at] == ky * W::K + kx) sums[i] += l.v[at];
        }
}

// Of the gradients `v` of row oy of the outputs: what each value of a row that they meet gets of their means.
template <typename W, int V>
__device__ __forceinline__ void shares_of_row(float (&v)[W::BEFORE + V + W::AFTER], int oy, int ox, const PoolRows &s,
                                              float (&out)[W::S * V]) {
    Share share = share_of<W::S>(oy, s.h);
    UNROLL
    for (int i = 0; i < W::BEFORE + V + W::AFTER; i++) {
        bool cut = (i == W::BEFORE && ox == 0) || (W::RIGHT && i == W::BEFORE + V - 1 && ox + V == s.wo);
        v[i] *= cut ? share.cut : share.whole;
    }
    UNROLL
    for (int i = 0; i < W::S * V; i++) {
        out[i] = 0.0f;
        UNROLL
        for (int q = -W::BEFORE; q <= W::AFTER; q++) {
            int kx = i % W::S + W::P - W::S * q;
            if (kx >= 0 && kx < W::K) out[i] += v[i / W::S + W::BEFORE + q];
        }
    }
}
