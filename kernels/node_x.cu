// The gradients of a search node's states, in one launch: of an edge everything that reaches its state, added in the order of the
// candidates and written once.
//
//     active channels: where x > 0, depthwise^T(pointwise^T(dz)) of dilated convolutions and of the first halves of separable ones; the
//         share of skip-connects
//     the others: beta dy
//
// and of pooled maps what dy becomes through their normalisation. dz of a dilated convolution comes from dy and the sums of node_sums, of a
// first half from the gradient at the inner ReLU and the sums of node_last. Edges that are mixed already get beta dy; of those that halve
// the map node_halved_x.cu has the state's. What is not wanted has no place to go.
#include "node_back.cuh"

#define NODE_X(T, GIVEN, REF)                                                                                                        \
    GIVEN List<const T, NODE_MAPS> REF z, GIVEN List<const float, NODE_WEIGHTS> REF w, GIVEN List<const T, NODE_MAPS> REF g,         \
        GIVEN List<const T, NODE_EDGES> REF x, const T *dy, GIVEN List<T, NODE_EDGES> REF dx, GIVEN List<T, NODE_EDGES> REF dby,     \
        GIVEN List<T, NODE_MAPS> REF dz, const float *stats, const float *alpha, const float *beta, const float *part,               \
        const float *inner, const int *units, const int *edges, int chunks, int slots, int inner_chunks, NODE_TILES, float eps

// Calls f(at) for the values of the tile that lie in the map, V at a time; `at` within the channel.
template <int V, typename F> __device__ __forceinline__ void node_over(const NodeTile &t, const NodeMaps &m, F f) {
    const int packs = m.tw / V;
    for (int i = threadIdx.x; i < packs * m.th; i += NODE_THREADS) {
        const int y = t.y + i / packs, x = t.x + i % packs * V;
        if (y < m.h && x < m.w) f((long long)y * m.w + x);
    }
}

// to = factor from.
template <typename T>
__device__ __forceinline__ void node_scaled(T *to, const T *from, float factor, const NodeTile &t, const NodeMaps &m) {
    if (m.w % PACK<T> == 0)
        node_over<PACK<T>>(t, m, [&](long long at) {
            float v[PACK<T>];
            load_pack(from + at, v);
            UNROLL for (int j = 0; j < PACK<T>; j++) v[j] *= factor;
            store_pack(to + at, v);
        });
    else node_over<1>(t, m, [&](long long at) { to[at] = from_float<T>(factor * to_float(from[at])); });
}

// to = what `from` becomes through the normalisation of z.
template <typename T>
__device__ __forceinline__ void node_passed(T *to, const T *from, const T *z, const float *slope, const NodeTile &t, const NodeMaps &m) {
    const float4 of = load4(slope);
    const float rest = slope[4];
    if (m.w % PACK<T> == 0)
        node_over<PACK<T>>(t, m, [&](long long at) {
            float v[PACK<T>], value[PACK<T>];
            load_pack(from + at, v), load_pack(z + at, value);
            UNROLL for (int j = 0; j < PACK<T>; j++) v[j] = node_through(of, rest, v[j], value[j]);
            store_pack(to + at, v);
        });
    else node_over<1>(t, m, [&](long long at) { to[at] = from_float<T>(node_through(of, rest, to_float(from[at]), to_float(z[at]))); });
}

// Adds what one half sends to its input to `sums` (group, tile), where a lane's strips are its own.
template <typename T, int K, int D>
__device__ __forceinline__ void node_x_half(float *sums, float *dt, const float *rows, const float *taps, const float *slopes, const T *g,
                                            long long step, const T *z, NodeGroup group, const NodeTile &t, const NodeMaps &m) {
    typedef NodeHalf<K, D> Half;
    const int strips = node_strips(m, NODE_ROWS);
    Half::behind(dt, rows, slopes, g, step, z, group, t, m);
    __syncthreads();
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
        float acc[NODE_ROWS], *to = sums + p.channel * m.tw * m.th + p.row * m.tw + p.column;
        Half::turned(dt, taps, p.channel, p.row, p.column, m, acc);
        UNROLL for (int o = 0; o < NODE_ROWS; o++) to[o * m.tw] += acc[o];
    }
}

// The active channels of the tile.
template <typename T>
__device__ __forceinline__ void node_x_write(T *dx, const T *x, const T *dy, const float *sums, float skip, int channels, int k, NodeGroup group,
                                             const NodeTile &t, const NodeMaps &m) {
    const long long plane = m.plane();
    const int strips = node_strips(m, NODE_ROWS);
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
        const int c = group.from + p.channel, column = t.x + p.column;
        const float *from = sums + p.channel * m.tw * m.th + p.row * m.tw + p.column;
        const long long in = (t.image * (long long)channels + c) * plane, of = (t.image * (long long)m.a + c) * k * plane;
        UNROLL for (int o = 0; o < NODE_ROWS; o++) {
            const int y = t.y + p.row + o;
            if (y >= m.h || column >= m.w) continue;
            const long long at = (long long)y * m.w + column;
            const float through = to_float(x[in + at]) > 0.0f ? from[o * m.tw] : 0.0f;
            dx[in + at] = from_float<T>(fmaf(skip, to_float(dy[of + at]), through));
        }
    }
}

// What reaches the active channels of an edge's state on a tile: `sums` is zeroed and filled.
template <typename T>
__device__ __forceinline__ void node_x_active(const List<const T, NODE_MAPS> &z, const List<const float, NODE_WEIGHTS> &w,
                                              const List<const T, NODE_MAPS> &g, const T *dy, const int *units, const NodeEdge &e,
                                              const float *slopes, float *rows, float *taps, float *sums, float *dt, NodeGroup group,
                                              int k, const NodeTile &t, const NodeMaps &m) {
    const long long plane = m.plane(), active = t.image * (long long)m.a * plane;
    const int strips = node_strips(m, NODE_ROWS);
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
        UNROLL for (int o = 0; o < NODE_ROWS; o++) sums[p.channel * m.tw * m.th + (p.row + o) * m.tw + p.column] = 0.0f;
    }
    for (int i = e.first; i < e.end; i++, slopes += m.a * NODE_SLOPE) {
        const NodeUnit u = node_unit(units, i);
        if (u.kind < NODE_SEP3) continue;
        const bool twice = u.maps == 2;
        const T *value = z.at[u.map] + active, *from = twice ? g.at[u.map] + active : dy + k * active;
        const long long step = twice ? plane : k * plane;
        __syncthreads();
        node_weights_load(w.at[u.weight], w.at[u.weight + 1], taps, rows, m.a, group, u.kind == NODE_SEP3 || u.kind == NODE_DIL3 ? 9 : 25);
        __syncthreads();
        if (u.kind == NODE_SEP3) node_x_half<T, 3, 1>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
        else if (u.kind == NODE_SEP5) node_x_half<T, 5, 1>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
        else if (u.kind == NODE_DIL3) node_x_half<T, 3, 2>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
        else node_x_half<T, 5, 2>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
    }
}

// Grid: (blocks of tiles, groups of channels, edges).
template <typename T> __device__ __forceinline__ void node_x(NODE_X(T, const, &), float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeEdge e = node_edge(edges, blockIdx.z);
    const NodeGroup group = node_group(blockIdx.y, a);
    const long long plane = m.plane();
    const int tiles = node_tiles(m), channels = a * k;
    const bool mixed = e.first == e.end, apart = mixed || e.stride > 1;
    T *to = dx.at[blockIdx.z], *rest = apart ? dby.at[blockIdx.z] : to;
    // Of the operand that bypasses, where it is another one, the gradient begins with its first channel that does.
    const int before = apart ? a : 0;
    float *slopes = shared, *rows = slopes + (e.end - e.first) * a * NODE_SLOPE, *taps = rows + a * NODE_GROUP;
    float *sums = taps + NODE_GROUP * 25, *dt = sums + min(NODE_GROUP, a) * tw * th;
    const float by_edge = beta[e.beta];
    float skip = 0.0f, *mine = slopes;
    for (int i = e.first; i < e.end; i++, mine += a * NODE_SLOPE) {
        const NodeUnit u = node_unit(units, i);
        const float weight = alpha[u.alpha] * by_edge;
        if (!to && u.kind != NODE_POOLED) continue;
        if (u.kind == NODE_SKIP) skip += weight;
        // Warps go on where the candidate before left off.
        for (int c = (threadIdx.x / WARP_SIZE + (NODE_WARPS - 1) * (i - e.first) * a) % NODE_WARPS; c < a; c += NODE_WARPS) {
            float *slope = mine + c * NODE_SLOPE;
            if (u.maps == 1) node_last_slope(slope, u, i, c, stats, part, chunks, slots, weight, a, k, eps);
            if (u.maps == 2) node_inner_slope(slope, u, c, stats, inner, inner_chunks, a, eps);
        }
    }
    __syncthreads();
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile t = node_tile(m, tile);
        const T *of_image = dy + t.image * (long long)channels * plane;
        if (to && !mixed) {
            node_x_active(z, w, g, dy, units, e, slopes, rows, taps, sums, dt, group, k, t, m);
            node_x_write(to, x.at[blockIdx.z], dy, sums, skip, channels, k, group, t, m);
        }
        for (int c = group.from; to && mixed && c < group.from + group.count; c++)
            node_scaled(to + (t.image * (long long)a + c) * plane, of_image + c * k * plane, by_edge, t, m);
        for (int c = a + blockIdx.y; rest && c < channels; c += gridDim.y)
            node_scaled(rest + (t.image * (long long)(channels - before) + c - before) * plane, of_image + node_lands(c, a, k) * plane,
                        by_edge, t, m);
        const float *slope = slopes + group.from * NODE_SLOPE;
        for (int i = e.first; i < e.end; i++, slope += a * NODE_SLOPE) {
            const NodeUnit u = node_unit(units, i);
            if (u.kind != NODE_POOLED || !dz.at[u.map]) continue;
            for (int c = 0; c < group.count; c++) {
                const long long at = (t.image * (long long)a + group.from + c) * plane;
                node_passed(dz.at[u.map] + at, of_image + (group.from + c) * k * plane, z.at[u.map] + at, slope + c * NODE_SLOPE, t, m);
            }
        }
    }
}

#define NODE_X_ARGUMENTS                                                                                                            \
    z, w, g, x, dy, dx, dby, dz, stats, alpha, beta, part, inner, units, edges, chunks, slots, inner_chunks, n, a, k, h, wd, th, tw, \
        eps

extern "C" __global__ void node_x_f32(NODE_X(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_x<float>(NODE_X_ARGUMENTS, shared);
}
extern "C" __global__ void node_x_bf16(NODE_X(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_x<bf16>(NODE_X_ARGUMENTS, shared);
}
