// The gradients of the states of a search node's edges that halve the map, of their active channels, in one launch: everything that reaches
// a state added in the order of the candidates and written once.
//
//     where x > 0: depthwise^T(pointwise^T(dz)) of dilated convolutions and of the first halves of separable ones, at stride 2;
//         pointwise^T(dz) of reductions, the first half of dz to even rows and columns, the second to odd ones
//
// dz as in node_x.cu, which gives the gradients of pooled maps and of what bypasses.
#include "node_halved.cuh"

#define NODE_HALVED_X(T, GIVEN, REF)                                                                                              \
    GIVEN List<const T, NODE_MAPS> REF z, GIVEN List<const float, NODE_WEIGHTS> REF w, GIVEN List<const T, NODE_MAPS> REF g,      \
        GIVEN List<const T, NODE_EDGES> REF x, const T *dy, GIVEN List<T, NODE_EDGES> REF dx, const float *stats,                 \
        const float *alpha, const float *beta, const float *part, const float *inner, const int *units, const int *edges,         \
        const int *halved, int chunks, int slots, int inner_chunks, NODE_TILES, float eps

// Where the gradient of a candidate's first map comes from, channel o `step` o values on.
template <typename T> struct NodeBehind {
    const T *g, *z;
    long long step;
};

// Adds what a convolution sends to its input to `sums` (group, classes, tile), where a lane's strips are its own.
template <typename T, typename Half>
__device__ __forceinline__ void node_halved_half(Half, float *sums, float *dt, const float *rows, const float *taps, const float *slopes,
                                                 const NodeBehind<T> &from, NodeGroup group, const NodeTile &t, const NodeMaps &m) {
    typedef NodeHalf<2 * Half::RING + 1, 1> Around;
    const int pixels = m.tw * m.th, strips = node_strips(m, NODE_SHORT);
    Around::behind(dt, rows, slopes, from.g, from.step, from.z, group, t, m);
    __syncthreads();
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_SHORT, m);
        const float *of_channel = taps + p.channel * Half::TAPS;
        float filter[Half::TAPS], acc[Half::CLASSES][NODE_SHORT];
        UNROLL for (int i = 0; i < Half::TAPS; i++) filter[i] = of_channel[i];
        UNROLL for (int kind = 0; kind < Half::CLASSES; kind++)
            UNROLL for (int o = 0; o < NODE_SHORT; o++) acc[kind][o] = 0.0f;
        Half::template strip<NODE_SHORT, 1>(dt + Around::at(p.channel, p.row, p.column, m), node_wide(m), 0,
                                            [&](int o, int kind, int tap, float v) { acc[kind][o] = fmaf(filter[tap], v, acc[kind][o]); });
        float *to = sums + p.channel * 4 * pixels + p.row * m.tw + p.column;
        UNROLL for (int kind = 0; kind < Half::CLASSES; kind++)
            UNROLL for (int o = 0; o < NODE_SHORT; o++) to[kind * pixels + o * m.tw] += acc[kind][o];
    }
}

// The same of a reduction: a thread a pixel of the node's map. Barriers have to be around it.
template <typename T>
__device__ __forceinline__ void node_halved_reduced(float *sums, const float *rows, const float *slopes, const NodeBehind<T> &from,
                                                    NodeGroup group, const NodeTile &t, const NodeMaps &m) {
    const int pixels = m.tw * m.th, half = m.a / 2;
    const long long plane = m.plane();
    for (int i = threadIdx.x; i < pixels; i += NODE_THREADS) {
        const int y = t.y + i / m.tw, x = t.x + i % m.tw;
        if (y >= m.h || x >= m.w) continue;
        const T *gradient = from.g + (long long)y * m.w + x, *value = from.z + (long long)y * m.w + x;
        for (int odd = 0; odd < 2; odd++) {
            float acc[NODE_GROUP];
            UNROLL for (int j = 0; j < NODE_GROUP; j++) acc[j] = 0.0f;
            for (int o = odd * half; o < (odd + 1) * half; o++) {
                const float *slope = slopes + o * NODE_SLOPE;
                const float d = node_through(load4(slope), slope[4], to_float(gradient[o * from.step]), to_float(value[o * plane]));
                node_add_row(acc, rows + o * NODE_GROUP, d, group.count);
            }
            UNROLL for (int j = 0; j < NODE_GROUP; j++)
                if (j < group.count) sums[(j * 4 + odd * 3) * pixels + i] += acc[j];
        }
    }
}

// The tile of the state, rectified as it was: (n, reached, 2 h, 2 w) from (n, channels, 2 h, 2 w) and `sums`.
template <typename T>
__device__ __forceinline__ void node_halved_write(T *dx, const T *x, const float *sums, int channels, NodeGroup group, const NodeTile &t,
                                                  const NodeMaps &m) {
    const int pixels = m.tw * m.th;
    const unsigned wide = 2 * m.tw, of_channel = 4 * pixels;
    const long long inside = 4 * m.plane();
    const T *from = x + (t.image * (long long)channels + group.from) * inside;
    T *to = dx + (t.image * (long long)m.a + group.from) * inside;
    for (unsigned i = threadIdx.x; i < of_channel * group.count; i += NODE_THREADS) {
        const unsigned c = i / of_channel, in = i - c * of_channel, row = in / wide, column = in - row * wide;
        const int y = 2 * t.y + (int)row, left = 2 * t.x + (int)column;
        if (y >= 2 * m.h || left >= 2 * m.w) continue;
        const long long at = c * inside + (long long)y * (2 * m.w) + left;
        const float sum = sums[c * of_channel + (row % 2 * 2 + column % 2) * pixels + row / 2 * m.tw + column / 2];
        to[at] = from_float<T>(to_float(from[at]) > 0.0f ? sum : 0.0f);
    }
}

// Grid: (blocks of tiles of 256 pixels of the node's map, groups of channels, edges of `halved`).
template <typename T> __device__ __forceinline__ void node_halved_x(NODE_HALVED_X(T, const, &), float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const int edge = halved[blockIdx.z];
    const NodeEdge e = node_edge(edges, edge);
    const NodeGroup group = node_group(blockIdx.y, a);
    const long long plane = m.plane();
    const int tiles = node_tiles(m), all = group.count * 4 * tw * th, of_unit = a * NODE_SLOPE;
    float *slopes = shared, *rows = slopes + (e.end - e.first) * of_unit, *taps = rows + a * NODE_GROUP;
    float *sums = taps + NODE_GROUP * 25, *dt = sums + all;
    for (int i = e.first; i < e.end; i++) {
        const NodeUnit u = node_unit(units, i);
        float *mine = slopes + (i - e.first) * of_unit;
        if (u.kind == NODE_POOLED) continue;
        const float weight = alpha[u.alpha] * beta[e.beta];
        // Warps go on where the candidate before left off.
        for (int c = (threadIdx.x / WARP_SIZE + (NODE_WARPS - 1) * (i - e.first) * a) % NODE_WARPS; c < a; c += NODE_WARPS) {
            float *slope = mine + c * NODE_SLOPE;
            if (u.maps == 1) node_last_slope(slope, u, i, c, stats, part, chunks, slots, weight, a, k, eps);
            else node_inner_slope(slope, u, c, stats, inner, inner_chunks, a, eps);
        }
    }
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile t = node_tile(m, tile);
        const long long active = t.image * (long long)a * plane;
        for (int i = threadIdx.x; i < all; i += NODE_THREADS) sums[i] = 0.0f;
        for (int i = e.first; i < e.end; i++) {
            const NodeUnit u = node_unit(units, i);
            if (u.kind == NODE_POOLED) continue;
            const float *mine = slopes + (i - e.first) * of_unit;
            const bool twice = u.maps == 2, three = u.kind == NODE_SEP3 || u.kind == NODE_DIL3;
            const NodeBehind<T> from = {twice ? g.at[u.map] + active : dy + k * active, z.at[u.map] + active, twice ? plane : k * plane};
            __syncthreads();
            if (u.kind == NODE_REDUCED) node_reduced_load(w.at[u.weight], w.at[u.weight + 1], rows, a, group);
            else node_weights_load(w.at[u.weight], w.at[u.weight + 1], taps, rows, a, group, three ? 9 : 25);
            __syncthreads();
            if (u.kind == NODE_REDUCED) node_halved_reduced(sums, rows, mine, from, group, t, m);
            else
                node_halved_by_kind(u.kind, [&](auto half) { node_halved_half<T>(half, sums, dt, rows, taps, mine, from, group, t, m); });
        }
        __syncthreads();
        node_halved_write(dx.at[edge], x.at[edge], sums, e.channels, group, t, m);
        __syncthreads();
    }
}

#define NODE_HALVED_X_ARGUMENTS                                                                                                         \
    z, w, g, x, dy, dx, stats, alpha, beta, part, inner, units, edges, halved, chunks, slots, inner_chunks, n, a, k, h, wd, th, tw, eps

extern "C" __global__ void node_halved_x_f32(NODE_HALVED_X(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_halved_x<float>(NODE_HALVED_X_ARGUMENTS, shared);
}
extern "C" __global__ void node_halved_x_bf16(NODE_HALVED_X(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_halved_x<bf16>(NODE_HALVED_X_ARGUMENTS, shared);
}
