// What the launches of a search cell share (src/ops/mixed_cell): capacities, tables, statistics, tiles.
//
// A cell has states: its two inputs, then its nodes. A node has edges, one from each state before it; an edge has candidates (`units`), a
// candidate a map before each of its normalisations. Poolings of a state have one map for all edges out of it. All maps of a cell lie in
// one tensor z (maps, n, a, h, w), `a` the channels that are mixed. Blocks of NODE_THREADS.
#pragma once
#include "norm_parts.cuh"
#include "norm_tally.cuh"

// Capacities, as src/ops/mixed_cell/device/mod.rs has them: candidates of the edges into a node, those edges, channels that are mixed, and
// pointers: to states and what bypasses, to weights, to gradients of nodes, to gradients that are asked for.
constexpr int NODE_UNITS = 64, NODE_EDGES = 8, NODE_CHANNELS = 64;
constexpr int NODE_SOURCES = 8, NODE_WEIGHTS = 192, NODE_GRADS = 2, NODE_OUTS = 3;
constexpr int NODE_THREADS = 256, NODE_WARPS = NODE_THREADS / WARP_SIZE;

// Pointers handed over by value.
#define NODE_LIST(type, count, name) const __grid_constant__ List<type, count> name

// Kinds of candidates.
constexpr int NODE_SKIP = 0, NODE_MAX = 1, NODE_SEP3 = 2, NODE_SEP5 = 3, NODE_DIL3 = 4, NODE_DIL5 = 5, NODE_REDUCED = 6, NODE_MEAN = 7;
__device__ inline bool node_pools(int kind) { return kind == NODE_MAX || kind == NODE_MEAN; }

// Row of the table of candidates: kind; edge; index in alpha; its first weight among the pointers to weights (depthwise, pointwise of each
// half; both pointwise ones of a reduction); its first map and how many it has; where <dy, z - mean> of its last map is among the sums of
// node_sums; of two maps, which gradient at an inner ReLU is its own, of a maximum, which taps.
constexpr int NODE_UNIT = 8;
struct NodeUnit {
    int kind, edge, alpha, weight, map, maps, dot, aside;
};
__device__ inline NodeUnit node_unit(const int *units, int u) {
    const int *r = units + u * NODE_UNIT;
    return NodeUnit{r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]};
}

// Row of the table of edges: index in beta; first candidate and end of them; the state: which source, its first channel there, channels of
// that source; what bypasses: which source, its first channel, channels of that source; sides of the state over those of the node; the
// gradient of the node: which of them, its first channel there, channels of that one; where the sum of dy of its node is among the sums of
// node_sums, and <dy, bypass> of the edge.
constexpr int NODE_EDGE = 15;
struct NodeEdge {
    int beta, first, end, source, from, channels, by, start, rest, stride, grad, grad_from, grad_channels, total, dot;
};
__device__ inline NodeEdge node_edge(const int *edges, int e) {
    const int *r = edges + e * NODE_EDGE;
    return NodeEdge{r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14]};
}

// Channel of the node that channel c of concat(mixed, bypass) becomes: channels = k a.
__device__ inline int node_lands(int c, int a, int k) { return c % a * k + c / a; }

// The largest of a window of 2 x 2 in row order, and which it is: the first of equals; NaN wins.
__device__ inline float node_largest(float a, float b, float c, float d, int &tap) {
    float best = a;
    tap = 0;
    if (b > best || b != b) best = b, tap = 1;
    if (c > best || c != c) best = c, tap = 2;
    if (d > best || d != d) best = d, tap = 3;
    return best;
}

// Statistics of a channel of a map; mean + rest is the mean in two floats.
struct NodeNorm {
    float mean, rest, var, count;
};

// Merges the chunks of channel c of a map, in every lane of the warp. part (maps, chunks, a, 4): as norm_shifted
// has them.
__device__ inline NodeNorm node_merged(const float *part, int map, int chunks, int a, int c) {
    const float *p = part + ((long long)map * chunks * a + c) * 4;
    const Moments w = norm_shifted(p, chunks, a * 4);
    NormChannel s;
    norm_centre(s, p[1], w.mean);
    return NodeNorm{s.mean, s.rest, w.m2 / w.n, w.n};
}

// stats (maps, 4, a): mean, biased variance, low part of the mean, count.
__device__ inline void node_note(float *stats, int map, int a, int c, const NodeNorm &s) {
    float *p = stats + map * 4 * a + c;
    p[0] = s.mean, p[a] = s.var, p[2 * a] = s.rest, p[3 * a] = s.count;
}
__device__ inline NodeNorm node_known(const float *stats, int map, int a, int c) {
    const float *p = stats + map * 4 * a + c;
    return NodeNorm{p[0], p[2 * a], p[a], p[3 * a]};
}

// Sizes of the maps, and tiles of th rows (even) of tw pixels (a multiple of 4).
struct NodeMaps {
    int n, a, h, w, th, tw;
    __device__ inline int across() const { return (w + tw - 1) / tw; }
    __device__ inline int down() const { return (h + th - 1) / th; }
    __device__ inline long long plane() const { return (long long)h * w; }
    // Values of a map of all images.
    __device__ inline long long values() const { return n * a * plane(); }
    // The maps, and their tiles, of `stride` times the sides.
    __device__ inline NodeMaps wider(int stride) const { return NodeMaps{n, a, h * stride, w * stride, th * stride, tw * stride}; }
};
// A tile: image, first row and first pixel.
struct NodeTile {
    int image, y, x;
};
__device__ inline NodeTile node_tile(const NodeMaps &m, int tile) {
    const int across = m.across(), down = m.down(), row = tile / across;
    return NodeTile{row / down, row % down * m.th, (tile - row * across) * m.tw};
}

// Columns of a tile in shared memory left of its first pixel, and right of its last: room for the widest reach.
constexpr int NODE_MARGIN = 4;
__device__ inline int node_wide(const NodeMaps &m) { return m.tw + 2 * NODE_MARGIN; }

// Fills `in`, (count, th + 2 PAD, tw + 2 NODE_MARGIN), from channels `first`, ... of the image whose first plane is `x`, around `t`.
// f(c, v) is what is stored of value v of channel c (of the image); outside of the map that is 0. A barrier has to follow.
template <int PAD, typename T, typename F>
__device__ __forceinline__ void node_fill(const T *x, float *in, const NodeMaps &m, const NodeTile &t, int first, int count, F f) {
    const unsigned wide = node_wide(m) / 4, high = m.th + 2 * PAD, all = wide * high * count;
    const unsigned columns = NODE_THREADS % wide, rows = NODE_THREADS / wide;
    const bool whole = m.w % 4 == 0;
    // Four values of row r of channel c; a step is `rows` rows and `columns` times four values on.
    unsigned column = threadIdx.x % wide, r = threadIdx.x / wide;
    int c = first;
    for (unsigned i = threadIdx.x; i < all; i += NODE_THREADS) {
        for (; r >= high; r -= high) c++;
        const int iy = t.y - PAD + (int)r, ix = t.x - NODE_MARGIN + (int)column * 4;
        float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
        if (iy >= 0 && iy < m.h) {
            const T *from = x + ((long long)c * m.h + iy) * m.w;
            if (whole) {
                if (ix >= 0 && ix < m.w) {
                    const float4 q = load4(from + ix);
                    v = float4{f(c, q.x), f(c, q.y), f(c, q.z), f(c, q.w)};
                }
            } else {
                if (ix >= 0 && ix < m.w) v.x = f(c, to_float(from[ix]));
                if (ix + 1 >= 0 && ix + 1 < m.w) v.y = f(c, to_float(from[ix + 1]));
                if (ix + 2 >= 0 && ix + 2 < m.w) v.z = f(c, to_float(from[ix + 2]));
                if (ix + 3 >= 0 && ix + 3 < m.w) v.w = f(c, to_float(from[ix + 3]));
            }
        }
        store4(in + i * 4, v);
        column += columns, r += rows;
        if (column >= wide) column -= wide, r++;
    }
}
