// What the backward kernels of a search cell share: how a gradient passes a normalisation, and the way back through a pointwise and a
// depthwise convolution.
//
// Channel c of concat(mixed, bypass) is channel node_lands(c) of dy: active channel o is channel o k. A block takes a group of at most 16
// of the a active channels on tiles of the map; sums are of a block's tiles, then of blocks in order.
#pragma once
#include "node.cuh"

// Channels of a group; floats of a channel's slope.
constexpr int NODE_GROUP = 16, NODE_SLOPE = 8;

// How entries take lists of pointers, and how templates hand them on.
#define NODE_GIVEN const __grid_constant__
#define NODE_SIZES int n, int a, int k, int h, int wd
#define NODE_TILES NODE_SIZES, int th, int tw
#define NODE_MAPS_READ NodeMaps{n, a, h, wd, th, tw}

// Row of the table of halves: candidate; 0 for the first half, 1 for the second, or the weight of a reduction; where its weights begin
// among the partial sums of all.
constexpr int NODE_HALF = 3;

__device__ inline int node_tiles(const NodeMaps &m) { return m.n * m.down() * m.across(); }

// Channels of the group that the block has, and how many.
struct NodeGroup {
    int from, count;
};
__device__ inline NodeGroup node_group(int group, int a) {
    return NodeGroup{group * NODE_GROUP, min(NODE_GROUP, a - group * NODE_GROUP)};
}

// The gradient of the node that an edge leads to: active channel o is channel o k from here on, images e.grad_channels planes apart.
template <typename T> __device__ __forceinline__ const T *node_gradient(const List<const T, NODE_GRADS> &d, const NodeEdge &e, long long plane) {
    return d.at[e.grad] + e.grad_from * plane;
}

// Sum over `chunks` values, `step` apart, by a warp: in every lane.
__device__ inline float node_chunks(const float *part, int chunks, long long step) {
    float sum = 0.0f;
    for (int i = threadIdx.x % WARP_SIZE; i < chunks; i += WARP_SIZE) sum += part[i * step];
    return warp_sum(sum);
}

// How a gradient passes the normalisation of a channel: dz = p (g - s - ((z - mean) - rest) q), from the sums of g and of
// g (z - mean).
__device__ inline void node_slope(float *slope, const float *stats, int map, int a, int c, float weight, float sum, float dot, float eps) {
    const NodeNorm norm = node_known(stats, map, a, c);
    const float inverse = 1.0f / sqrtf(norm.var + eps);
    slope[0] = weight * inverse, slope[1] = sum / norm.count, slope[2] = dot * inverse * inverse / norm.count;
    slope[3] = norm.mean, slope[4] = norm.rest;
}
// That of `at` and z, from four and one of a channel's five.
__device__ inline float node_through(float4 s, float rest, float g, float z) { return s.x * (g - s.y - ((z - s.w) - rest) * s.z); }

// Slope of channel c of the last normalisation of unit u, on edge e, by a warp: from the partial sums (chunks, a k, slots) of node_sums.
__device__ inline void node_last_slope(float *slope, const NodeUnit &u, const NodeEdge &e, int c, const float *stats, const float *part,
                                       int chunks, int slots, float weight, int a, int k, float eps) {
    const float *mine = part + (long long)c * slots;
    const long long step = (long long)a * k * slots;
    const float sum = node_chunks(mine + e.total, chunks, step), dot = node_chunks(mine + u.dot, chunks, step);
    if (threadIdx.x % WARP_SIZE == 0) node_slope(slope, stats, u.map + u.maps - 1, a, c, weight, sum, dot, eps);
}
// Slope of the inner normalisation of a separable convolution, by a warp: from the partial sums (asides, chunks, a, 2) of node_last.
__device__ inline void node_inner_slope(float *slope, const NodeUnit &u, int c, const float *stats, const float *inner, int chunks, int a,
                                        float eps) {
    const float *mine = inner + ((long long)u.aside * chunks * a + c) * 2;
    const float sum = node_chunks(mine, chunks, 2 * a), dot = node_chunks(mine + 1, chunks, 2 * a);
    if (threadIdx.x % WARP_SIZE == 0) node_slope(slope, stats, u.map, a, c, 1.0f, sum, dot, eps);
}

// Into shared memory: the columns of the pointwise weights (a, a) that are the group's, as (a, 16) with zeros, and its filters.
__device__ inline void node_weights_load(const float *depthwise, const float *pointwise, float *taps, float *rows, int a, NodeGroup g,
                                         int of_channel) {
    for (int i = threadIdx.x; i < a * NODE_GROUP; i += NODE_THREADS) {
        const int o = i / NODE_GROUP, j = i % NODE_GROUP;
        rows[i] = j < g.count ? pointwise[o * a + g.from + j] : 0.0f;
    }
    for (int i = threadIdx.x; i < g.count * of_channel; i += NODE_THREADS) taps[i] = depthwise[g.from * of_channel + i];
}

// acc += d row over the first `count` of sixteen, in whole fours.
__device__ __forceinline__ void node_add_row(float (&acc)[NODE_GROUP], const float *row, float d, int count) {
    UNROLL for (int q = 0; q < NODE_GROUP; q += 4)
        if (q < count) {
            const float4 v = load4(row + q);
            acc[q] = fmaf(v.x, d, acc[q]), acc[q + 1] = fmaf(v.y, d, acc[q + 1]);
            acc[q + 2] = fmaf(v.z, d, acc[q + 2]), acc[q + 3] = fmaf(v.w, d, acc[q + 3]);
        }
}

// Four values from p on, those of pixels from x on that lie in a row of w; `whole`: w is a multiple of 4.
template <typename T> __device__ __forceinline__ void node_load(const T *p, int x, int w, bool whole, float (&v)[4]) {
    if (whole) {
        const float4 q = load4(p);
        v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
    } else UNROLL for (int j = 0; j < 4; j++) v[j] = x + j < w ? to_float(p[j]) : 0.0f;
}

// A depthwise convolution K x K of dilation D that keeps the size. Tiles lie in shared memory with PAD rows more above and below and
// NODE_MARGIN columns more on either side.
template <int K, int D> struct NodeHalf {
    static constexpr int PAD = K / 2 * D, RING = 2 * PAD, TAPS = K * K;

    // Values of a tile of a channel with what is around it.
    static __device__ int size(const NodeMaps &m) { return (m.th + RING) * node_wide(m); }
    // Where the first tap of an output reads, in the tile of `channel`.
    static __device__ int at(int channel, int row, int column, const NodeMaps &m) {
        return channel * size(m) + row * node_wide(m) + column + NODE_MARGIN - PAD;
    }

    // The gradient behind the depthwise convolution, pointwise^T dz, of the group's channels on the tile and around it; zero outside of the
    // map. Channel o of dz comes from g + o `step` and z + o plane. A thread takes four pixels.
    template <typename T>
    static __device__ __forceinline__ void behind(float *dt, const float *rows, const float *slopes, const T *g, long long step,
                                                  const T *z, NodeGroup group, const NodeTile &t, const NodeMaps &m) {
        const int fours = node_wide(m) / 4, all = fours * (m.th + RING);
        const long long plane = m.plane();
        const bool whole = m.w % 4 == 0;
        for (int i = threadIdx.x; i < all; i += NODE_THREADS) {
            const int r = i / fours, y = t.y - PAD + r, x = t.x - NODE_MARGIN + (i - r * fours) * 4;
            float acc[NODE_GROUP][4];
            UNROLL for (int c = 0; c < NODE_GROUP; c++)
                UNROLL for (int j = 0; j < 4; j++) acc[c][j] = 0.0f;
            if (y >= 0 && y < m.h && x >= 0 && x < m.w) {
                const T *gradient = g + (long long)y * m.w + x, *value = z + (long long)y * m.w + x;
                for (int o = 0; o < m.a; o++) {
                    const float4 slope = load4(slopes + o * NODE_SLOPE);
                    const float rest = slopes[o * NODE_SLOPE + 4];
                    float d[4], v[4];
                    node_load(gradient + o * step, x, m.w, whole, d), node_load(value + o * plane, x, m.w, whole, v);
                    UNROLL for (int j = 0; j < 4; j++) d[j] = x + j < m.w ? node_through(slope, rest, d[j], v[j]) : 0.0f;
                    UNROLL for (int q = 0; q < NODE_GROUP; q += 4)
                        if (q < group.count) {
                            const float4 row = load4(rows + o * NODE_GROUP + q);
                            const float of[4] = {row.x, row.y, row.z, row.w};
                            UNROLL for (int c = 0; c < 4; c++)
                                UNROLL for (int j = 0; j < 4; j++) acc[q + c][j] = fmaf(of[c], d[j], acc[q + c][j]);
                        }
                }
            }
            UNROLL for (int c = 0; c < NODE_GROUP; c++)
                if (c < group.count) store4(dt + (c * all + i) * 4, float4{acc[c][0], acc[c][1], acc[c][2], acc[c][3]});
        }
    }

    // Calls f(o, tap, v) for every value v that row o of a strip of R rows meets with a tap of the filter; `at` is where the first tap of
    // its first row lies in the tile.
    template <int R, typename F> static __device__ __forceinline__ void strip(const float *at, int wide, F f) {
        UNROLL for (int r = 0; r < R + (K - 1) * D; r++) {
            float v[K];
            UNROLL for (int kx = 0; kx < K; kx++) v[kx] = at[r * wide + kx * D];
            UNROLL for (int o = 0; o < R; o++) {
                if (r < o || (r - o) % D != 0 || (r - o) / D >= K) continue;
                UNROLL for (int kx = 0; kx < K; kx++) f(o, (r - o) / D * K + kx, v[kx]);
            }
        }
    }

    // Rows of the input gradient from the tiles of `behind`: the filter turned by 180 degrees.
    template <int R> static __device__ __forceinline__ void turned(const float *dt, const float *taps, int channel, int row, int column,
                                                                  const NodeMaps &m, float (&acc)[R]) {
        float filter[TAPS];
        UNROLL for (int i = 0; i < TAPS; i++) filter[i] = taps[channel * TAPS + TAPS - 1 - i];
        UNROLL for (int o = 0; o < R; o++) acc[o] = 0.0f;
        strip<R>(dt + at(channel, row, column, m), node_wide(m),
                 [&](int o, int tap, float v) { acc[o] = fmaf(filter[tap], v, acc[o]); });
    }
};

// Rows of a strip that a lane computes on the way back to a map; a warp's lanes cover a row of the tile, and more strips where it is
// narrower than a warp.
constexpr int NODE_ROWS = 8;
// And where a lane has more to hold.
constexpr int NODE_SHORT = 4;

// Where a lane's strip lies in the tile: warps take (channel of the group, strip) in turn.
struct NodeStrip {
    int channel, row, column;
};
__device__ inline int node_strips(const NodeMaps &m, int rows) { return m.tw * m.th / (WARP_SIZE * rows); }
__device__ inline NodeStrip node_strip(int item, int strips, int rows, const NodeMaps &m) {
    const int lane = threadIdx.x % WARP_SIZE;
    return NodeStrip{item / strips, (item % strips * (WARP_SIZE / m.tw) + lane / m.tw) * rows, lane % m.tw};
}
