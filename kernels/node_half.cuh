// One half of a convolution of a node: activation on the load, depthwise, pointwise, the map before the normalisation and its statistics,
// in one pass over a tile that does not leave the processor.
#pragma once
#include "node.cuh"

// Output channels that a thread takes at a time, and all of them padded to that.
constexpr int NODE_OUTPUTS = 4;
__device__ inline int node_padded(int a) { return (a + NODE_OUTPUTS - 1) / NODE_OUTPUTS * NODE_OUTPUTS; }

// What lies in the shared memory of a block, in this order; `group` channels go through `in` at a time. As `Tiling::bytes` of
// src/ops/mixed_node/device/mod.rs counts it.
struct NodeShared {
    float *in, *t, *pointwise, *shift, *norm, *warps, *depthwise;

    __device__ inline NodeShared(float *all, const NodeMaps &m, int group) {
        const int ap = node_padded(m.a);
        in = all;
        t = in + group * (m.th + 2 * NODE_MARGIN) * node_wide(m);
        pointwise = t + m.a * m.th * m.tw;
        shift = pointwise + m.a * ap;
        norm = shift + ap;
        warps = norm + 3 * ap;
        depthwise = warps + 2 * 3 * NODE_OUTPUTS * NODE_WARPS;
    }
};

// Moments of deviations from `shift`, of CO channels with one count.
template <int CO> struct NodeTally {
    float n, mean[CO], m2[CO];
};
// The first `valid` of four values of each channel.
template <int CO>
__device__ __forceinline__ void node_include(NodeTally<CO> &w, const float (&v)[CO][4], const float *shift, int valid) {
    const float n = w.n + valid, share = valid / n, inverse = 1.0f / valid;
    UNROLL
    for (int o = 0; o < CO; o++) {
        float d[4], sum = 0.0f, m2 = 0.0f;
        UNROLL
        for (int j = 0; j < 4; j++) {
            d[j] = j < valid ? v[o][j] - shift[o] : 0.0f;
            sum += d[j];
        }
        const float mean = sum * inverse, delta = mean - w.mean[o];
        UNROLL
        for (int j = 0; j < 4; j++) {
            d[j] = j < valid ? d[j] - mean : 0.0f;
            m2 = fmaf(d[j], d[j], m2);
        }
        w.mean[o] = fmaf(delta, share, w.mean[o]);
        w.m2[o] += m2 + delta * delta * (w.n * share);
    }
    w.n = n;
}

// First tile of a chunk.
__device__ inline int node_first_tile(int tiles, int chunk, int chunks) { return (int)((long long)tiles * chunk / chunks); }

// The half over the tiles of a chunk. x: the input, `image` values from one image to the next, of which f makes the depthwise
// convolution's input (node_fill); z: the map; `part`, (a, 4): its partial statistics (node_merged).
// A warp takes SLOTS groups of output channels, NODE_WARPS groups apart.
template <int SLOTS, typename T, typename F>
__device__ __forceinline__ void node_half_of(int kind, const T *x, long long image, const float *depthwise, const float *pointwise, T *z,
                                             float *part, const NodeShared &s, const NodeMaps &m, int group, int chunk, int chunks, F f) {
    constexpr int CO = NODE_OUTPUTS;
    const int ap = node_padded(m.a), pixels = m.th * m.tw, tiles = m.n * m.down() * m.across();
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    // Groups of output channels, each with as many warps as there are for all of them.
    const int groups = ap / CO, each = groups < NODE_WARPS ? NODE_WARPS / groups : 1, to = warp / each * CO;
    const bool whole = m.w % 4 == 0;
    const unsigned fours = m.tw / 4;
    const int first = node_first_tile(tiles, chunk, chunks), end = node_first_tile(tiles, chunk + 1, chunks);
    NodeTally<CO> tally[SLOTS];
    UNROLL
    for (int k = 0; k < SLOTS; k++) {
        tally[k].n = 0.0f;
        UNROLL
        for (int o = 0; o < CO; o++) tally[k].mean[o] = tally[k].m2[o] = 0.0f;
    }

    node_weight(pointwise, s.pointwise, m.a, ap, false);
    node_by_kind(kind, [&](auto taps) {
        constexpr int COUNT = decltype(taps)::SIDE * decltype(taps)::SIDE;
        for (int i = threadIdx.x; i < m.a * COUNT; i += NODE_THREADS) s.depthwise[i] = depthwise[i];
    });
    for (int tile = first; tile < end; tile++) {
        const NodeTile t = node_tile(m, tile);
        node_by_kind(kind, [&](auto taps) {
            using Taps = decltype(taps);
            for (int c = 0; c < m.a; c += group) {
                const int count = min(group, m.a - c);
                node_fill<Taps::PAD>(x + image * t.image, s.in, m, t, c, count, f);
                __syncthreads();
                node_depthwise<Taps::SIDE, Taps::DILATION>(s.in, s.depthwise + c * Taps::SIDE * Taps::SIDE, s.t + c * pixels, m, count);
                __syncthreads();
            }
        });
        if (tile == first) {
            // Any value of the channel will do: that of the first pixel.
            if ((int)threadIdx.x < ap) {
                float v = 0.0f;
                for (int c = 0; c < m.a; c++) v = fmaf(s.pointwise[c * ap + threadIdx.x], s.t[c * pixels], v);
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
                UNROLL
                for (int o = 0; o < CO; o++) {
                    // As they are stored: what is normalised later has these statistics.
                    UNROLL
                    for (int j = 0; j < 4; j++) v[o][j] = to_float(from_float<T>(v[o][j]));
                    if (out + o < m.a) node_store(z + (((long long)t.image * m.a + out + o) * m.h + iy) * m.w + ix, ix, m.w, whole, v[o]);
                }
                node_include<CO>(tally[k], v, s.shift + out, min(4, m.w - ix));
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

template <typename T, typename F>
__device__ __forceinline__ void node_half(int kind, const T *x, long long image, const float *depthwise, const float *pointwise, T *z,
                                          float *part, const NodeShared &s, const NodeMaps &m, int group, int chunk, int chunks, F f) {
    if (m.a > NODE_OUTPUTS * NODE_WARPS) node_half_of<2>(kind, x, image, depthwise, pointwise, z, part, s, m, group, chunk, chunks, f);
    else node_half_of<1>(kind, x, image, depthwise, pointwise, z, part, s, m, group, chunk, chunks, f);
}

// The partial statistics of map `map` by chunk `chunk`.
__device__ inline float *node_part(float *part, int map, int chunk, int chunks, int a) {
    return part + ((long long)map * chunks + chunk) * a * 4;
}
