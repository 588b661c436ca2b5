// One half of a convolution of a node: activation on the load, depthwise, pointwise, the map before the normalisation and its statistics,
// in one pass over a tile that does not leave the processor.
#pragma once
#include "node.cuh"

// Calls f(o, j, tap, v) for every product of the outputs (row o, pixel j) of 2 x 4, whose first is at row y and pixel x (a multiple of 4) of the
// tile; `in` is the tile of their channel, S times the size, with PAD = K / 2 D rows around it. `wide` is node_wide of that tile.
template <int K, int D, int S, typename F> __device__ __forceinline__ void node_each(const float *in, int wide, int y, int x, F f) {
    constexpr int PAD = K / 2 * D, REACH = (K - 1) * D + 1 + S, FOURS = (NODE_MARGIN - PAD + 3 * S + (K - 1) * D) / 4 + 1;
    UNROLL
    for (int r = 0; r < REACH; r++) {
        float v[4 * FOURS];
        UNROLL
        for (int i = 0; i < FOURS; i++) {
            const float4 q = load4(in + (y * S + r) * wide + x * S + 4 * i);
            v[4 * i] = q.x, v[4 * i + 1] = q.y, v[4 * i + 2] = q.z, v[4 * i + 3] = q.w;
        }
        UNROLL
        for (int o = 0; o < 2; o++) {
            if (r < o * S || (r - o * S) % D != 0 || (r - o * S) / D >= K) continue;
            UNROLL
            for (int kx = 0; kx < K; kx++)
                UNROLL
                for (int j = 0; j < 4; j++) f(o, j, (r - o * S) / D * K + kx, v[NODE_MARGIN - PAD + j * S + kx * D]);
        }
    }
}

// Depthwise convolution of stride S of the `count` channels in `in`, tiles of S times the size, to `out`, (count, th tw): taps
// (count, K K).
template <int K, int D, int S>
__device__ __forceinline__ void node_depthwise(const float *in, const float *taps, float *out, const NodeMaps &m, int count) {
    const unsigned fours = m.tw / 4, each = m.th / 2 * fours;
    const int wide = node_wide(m.wider(S)), size = (m.th * S + K / 2 * D * 2) * wide;
    for (unsigned i = threadIdx.x; i < each * count; i += NODE_THREADS) {
        const unsigned c = i / each, at = i - c * each, row = at / fours, y = row * 2, x = (at - row * fours) * 4;
        float w[K * K], acc[2][4];
        UNROLL
        for (int k = 0; k < K * K; k++) w[k] = taps[c * K * K + k];
        UNROLL
        for (int o = 0; o < 2; o++)
            UNROLL
            for (int j = 0; j < 4; j++) acc[o][j] = 0.0f;
        node_each<K, D, S>(in + c * size, wide, y, x, [&](int o, int j, int k, float v) { acc[o][j] = fmaf(w[k], v, acc[o][j]); });
        UNROLL
        for (int o = 0; o < 2; o++)
            store4(out + (c * m.th + y + o) * m.tw + x, float4{acc[o][0], acc[o][1], acc[o][2], acc[o][3]});
    }
}

// Size and dilation of a convolution, as a type.
template <int K, int D> struct NodeTaps {
    static constexpr int SIDE = K, DILATION = D, PAD = K / 2 * D;
};
// f(NodeTaps of a kind of convolution).
template <typename F> __device__ __forceinline__ void node_by_kind(int kind, F f) {
    if (kind == NODE_SEP3) f(NodeTaps<3, 1>{});
    else if (kind == NODE_SEP5) f(NodeTaps<5, 1>{});
    else if (kind == NODE_DIL3) f(NodeTaps<3, 2>{});
    else if (kind == NODE_DIL5) f(NodeTaps<5, 2>{});
}

// Products with a pointwise weight in shared memory, (a, ap), from input channel to output channel, ap a multiple of CO: for four pixels
// of `t`, (a, pixels), from `at` on, and CO output channels from `to` on.
template <int CO>
__device__ __forceinline__ void node_pointwise(const float *t, int pixels, int at, const float *weight, int a, int ap, int to,
                                               float (&acc)[CO][4]) {
    UNROLL
    for (int o = 0; o < CO; o++)
        UNROLL
        for (int j = 0; j < 4; j++) acc[o][j] = 0.0f;
    for (int c = 0; c < a; c++) {
        const float4 v = load4(t + c * pixels + at);
        UNROLL
        for (int o = 0; o < CO; o += 4) {
            const float4 q = load4(weight + c * ap + to + o);
            const float w[4] = {q.x, q.y, q.z, q.w};
            UNROLL
            for (int i = 0; i < 4; i++) {
                acc[o + i][0] = fmaf(w[i], v.x, acc[o + i][0]), acc[o + i][1] = fmaf(w[i], v.y, acc[o + i][1]);
                acc[o + i][2] = fmaf(w[i], v.z, acc[o + i][2]), acc[o + i][3] = fmaf(w[i], v.w, acc[o + i][3]);
            }
        }
    }
}

// Fills a pointwise weight in shared memory from (a, a), output channel first: zeros in output channels from a to ap.
__device__ inline void node_weight(const float *from, float *weight, int a, int ap) {
    for (int i = threadIdx.x; i < a * ap; i += NODE_THREADS) {
        const int in = i / ap, out = i - in * ap;
        weight[i] = out < a ? from[out * a + in] : 0.0f;
    }
}

// Four values to p where they are inside of a row of w: from pixel x on. `whole`: w is a multiple of 4.
template <typename T> __device__ __forceinline__ void node_store(T *p, int x, int w, bool whole, const float (&v)[4]) {
    if (whole) store4(p, float4{v[0], v[1], v[2], v[3]});
    else
        UNROLL
        for (int j = 0; j < 4; j++)
            if (x + j < w) p[j] = from_float<T>(v[j]);
}

// Output channels that a thread takes at a time, and all of them padded to that.
constexpr int NODE_OUTPUTS = 4;
__device__ inline int node_padded(int a) { return (a + NODE_OUTPUTS - 1) / NODE_OUTPUTS * NODE_OUTPUTS; }

// What lies in the shared memory of a block, in this order; `group` channels go through `in` at a time, of tiles of `stride` times the size.
// As `Tiling::bytes` of src/ops/mixed_node/device/forward.rs counts it.
struct NodeShared {
    float *in, *t, *pointwise, *shift, *norm, *warps, *depthwise;

    __device__ inline NodeShared(float *all, const NodeMaps &m, int group, int stride) {
        const int ap = node_padded(m.a);
        in = all;
        t = in + group * (m.th * stride + 2 * NODE_MARGIN) * node_wide(m.wider(stride));
        pointwise = t + stride * m.a * m.th * m.tw;
        shift = pointwise + m.a * ap;
        norm = shift + ap;
        warps = norm + 3 * ap;
        depthwise = warps + 2 * 3 * NODE_OUTPUTS * NODE_WARPS;
    }
};

// Fills a pointwise weight in shared memory, as node_weight, of a reduction: `even` (a / 2, a) makes the first half of the channels, `odd`
// the others.
__device__ inline void node_reduction(const float *even, const float *odd, float *weight, int a, int ap) {
    for (int i = threadIdx.x; i < a * ap; i += NODE_THREADS) {
        const int in = i / ap, out = i - in * ap, half = a / 2;
        weight[i] = out < half ? even[out * a + in] : out < a ? odd[(out - half) * a + in] : 0.0f;
    }
}

// The pixels of a tile that a reduction takes, rectified, (2, a, th tw): of every second row and column of the image whose first plane is
// `x`, and those between them.
template <typename T> __device__ __forceinline__ void node_taken(const T *x, float *t, const NodeMaps &m, const NodeTile &at) {
    const int pixels = m.th * m.tw, all = m.a * pixels;
    for (int i = threadIdx.x; i < 2 * all; i += NODE_THREADS) {
        const int odd = i / all, c = i % all / pixels, p = i % pixels, y = at.y + p / m.tw, column = at.x + p % m.tw;
        float v = 0.0f;
        if (y < m.h && column < m.w) v = to_float(x[((long long)c * 2 * m.h + 2 * y + odd) * 2 * m.w + 2 * column + odd]);
        t[i] = v > 0.0f ? v : 0.0f;
    }
}

// First tile of a chunk.
__device__ inline int node_first_tile(int tiles, int chunk, int chunks) { return (int)((long long)tiles * chunk / chunks); }

// The half over the tiles of a chunk. x: the input, S times the size, `image` values from one image to the next, of which f makes the
// depthwise convolution's input (node_fill); z: the map; `part`, (a, 4): its partial statistics (node_merged). At stride 2 the kind may be
// a reduction: `depthwise` is its weight of the even pixels then, `pointwise` that of the odd ones.
// A warp takes SLOTS groups of output channels, NODE_WARPS groups apart.
template <int SLOTS, int S, typename T, typename F>
__device__ __forceinline__ void node_half_of(int kind, const T *x, long long image, const float *depthwise, const float *pointwise, T *z,
                                             float *part, const NodeShared &s, const NodeMaps &m, int group, int chunk, int chunks, F f) {
    constexpr int CO = NODE_OUTPUTS;
    const int ap = node_padded(m.a), pixels = m.th * m.tw, tiles = m.n * m.down() * m.across();
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    // Groups of output channels, each with as many warps as there are for all of them.
    const int groups = ap / CO, each = groups < NODE_WARPS ? NODE_WARPS / groups : 1, to = warp / each * CO;
    const bool whole = m.w % 4 == 0, reduced = S == 2 && kind == NODE_REDUCED;
    const int half = m.a / 2, odd = m.a * pixels;
    const unsigned fours = m.tw / 4;
    const int first = node_first_tile(tiles, chunk, chunks), end = node_first_tile(tiles, chunk + 1, chunks);
    NormTally<CO> tally[SLOTS];
    UNROLL
    for (int k = 0; k < SLOTS; k++) {
        tally[k].n = 0.0f;
        UNROLL
        for (int o = 0; o < CO; o++) tally[k].mean[o] = tally[k].m2[o] = 0.0f;
    }

    if (reduced) node_reduction(depthwise, pointwise, s.pointwise, m.a, ap);
    else node_weight(pointwise, s.pointwise, m.a, ap);
    node_by_kind(kind, [&](auto taps) {
        constexpr int COUNT = decltype(taps)::SIDE * decltype(taps)::SIDE;
        for (int i = threadIdx.x; i < m.a * COUNT; i += NODE_THREADS) s.depthwise[i] = depthwise[i];
    });
    for (int tile = first; tile < end; tile++) {
        const NodeTile t = node_tile(m, tile);
        if (reduced) {
            __syncthreads(); // the tile before may still be read
            node_taken(x + image * t.image, s.t, m, t);
            __syncthreads();
        }
        node_by_kind(kind, [&](auto taps) {
            using Taps = decltype(taps);
            for (int c = 0; c < m.a; c += group) {
                const int count = min(group, m.a - c);
                node_fill<Taps::PAD>(x + image * t.image, s.in, m.wider(S), NodeTile{t.image, t.y * S, t.x * S}, c, count, f);
                __syncthreads();
                node_depthwise<Taps::SIDE, Taps::DILATION, S>(s.in, s.depthwise + c * Taps::SIDE * Taps::SIDE, s.t + c * pixels, m, count);
                __syncthreads();
            }
        });
        if (tile == first) {
            // Any value of the channel will do: that of the first pixel.
            if ((int)threadIdx.x < ap) {
                float v = 0.0f;
                const float *taken = s.t + (reduced && (int)threadIdx.x >= half ? odd : 0);
                for (int c = 0; c < m.a; c++) v = fmaf(s.pointwise[c * ap + threadIdx.x], taken[c * pixels], v);
                s.shift[threadIdx.x] = v;
            }
            __syncthreads();
        }
        UNROLL
        for (int k = 0; k < SLOTS; k++) {
            const int out = to + k * NODE_WARPS * CO;
            for (unsigned i = warp % each * WARP_SIZE + lane; out < ap && i < pixels / 4u; i += each * WARP_SIZE) {
                const unsigned row = i / fours;
                const int iy = t.y + (int)row, ix = t.x + (int)(i - row * fours) * 4;
                if (iy >= m.h || ix >= m.w) continue;
                float v[CO][4];
                node_pointwise<CO>(s.t, pixels, i * 4, s.pointwise, m.a, ap, out, v);
                if (reduced && out + CO > half) {
                    float between[CO][4];
                    node_pointwise<CO>(s.t + odd, pixels, i * 4, s.pointwise, m.a, ap, out, between);
                    UNROLL
                    for (int o = 0; o < CO; o++)
                        UNROLL
                        for (int j = 0; j < 4; j++) v[o][j] = out + o < half ? v[o][j] : between[o][j];
                }
                UNROLL
                for (int o = 0; o < CO; o++) {
                    // As they are stored: what is normalised later has these statistics.
                    UNROLL
                    for (int j = 0; j < 4; j++) v[o][j] = to_float(from_float<T>(v[o][j]));
                    if (out + o < m.a) node_store(z + (((long long)t.image * m.a + out + o) * m.h + iy) * m.w + ix, ix, m.w, whole, v[o]);
                }
                norm_tally<CO>(tally[k], v, s.shift + out, min(4, m.w - ix));
            }
        }
    }
    UNROLL
    for (int k = 0; k < SLOTS; k++)
        UNROLL
        for (int o = 0; o < CO; o++) {
            const Moments w = norm_warp(Moments{tally[k].n, tally[k].mean[o], tally[k].m2[o]});
            float *mine = s.warps + ((k * NODE_WARPS + warp) * CO + o) * 3;
            if (lane == 0) mine[0] = w.n, mine[1] = w.mean, mine[2] = w.m2;
        }
    __syncthreads();
    const int c = threadIdx.x;
    if (c < m.a) {
        Moments w = {0.0f, 0.0f, 0.0f};
        for (int i = 0; i < each; i++) {
            const float *p = s.warps + ((c / CO * each + i) * CO + c % CO) * 3;
            w = norm_merged(w, Moments{p[0], p[1], p[2]});
        }
        store4(part + c * 4, float4{w.n, s.shift[c], w.mean, w.m2});
    }
}

template <int S, typename T, typename F>
__device__ __forceinline__ void node_half(int kind, const T *x, long long image, const float *depthwise, const float *pointwise, T *z,
                                          float *part, const NodeShared &s, const NodeMaps &m, int group, int chunk, int chunks, F f) {
    if (m.a > NODE_OUTPUTS * NODE_WARPS) node_half_of<2, S>(kind, x, image, depthwise, pointwise, z, part, s, m, group, chunk, chunks, f);
    else node_half_of<1, S>(kind, x, image, depthwise, pointwise, z, part, s, m, group, chunk, chunks, f);
}

// The partial statistics of map `map` by chunk `chunk`.
__device__ inline float *node_part(float *part, int map, int chunk, int chunks, int a) {
    return part + ((long long)map * chunks + chunk) * a * 4;
}
