// The second halves of the separable convolutions into a node on the way back: from dy to the gradient at their inner ReLU.
//
//     dz = what dy becomes through the last normalisation     (slopes from node_sums)
//     g = depthwise^T(pointwise^T(dz)) where the inner normalisation's value is positive
//
// g is stored; of it and of g (z - mean) the sums are taken that the inner normalisation asks for.
#include "node_back.cuh"

#define NODE_LAST(T, GIVEN, REF)                                                                                                      \
    GIVEN List<const float, NODE_WEIGHTS> REF w, GIVEN List<const T, NODE_GRADS> REF d, const T *z, T *g, const float *stats,         \
        const float *alpha, const float *beta, const float *part, float *inner, const int *units, const int *edges,                   \
        const int *doubles, int chunks, int slots, NODE_TILES, float eps

// The tiles of a block. z: the last map; `before`: that behind whose normalisation the second half begins, the cell's map `map`; `dy`: the
// node's gradient, images `image` values apart.
template <typename T, int K>
__device__ __forceinline__ void node_last_tiles(const T *z, const T *before, T *g, const T *dy, long long image,
                                                const float *stats, int map,
                                                const float *slopes, const float *rows, const float *taps, float *sums, float *dt,
                                                NodeGroup group, int k, const NodeMaps &m, float eps) {
    typedef NodeHalf<K, 1> Half;
    const long long plane = m.plane();
    const int tiles = node_tiles(m), strips = node_strips(m, NODE_ROWS);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile t = node_tile(m, tile);
        const long long active = t.image * (long long)m.a * plane;
        Half::behind(dt, rows, slopes, dy + t.image * image, k * plane, z + active, group, t, m);
        __syncthreads();
        for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
            const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
            const int c = group.from + p.channel, x = t.x + p.column;
            const NodeNorm norm = node_known(stats, map, m.a, c);
            const float inverse = 1.0f / sqrtf(norm.var + eps);
            float acc[NODE_ROWS], sum = 0.0f, dot = 0.0f;
            Half::turned(dt, taps, p.channel, p.row, p.column, m, acc);
            UNROLL for (int o = 0; o < NODE_ROWS; o++) {
                const int y = t.y + p.row + o;
                if (y >= m.h || x >= m.w) continue;
                const long long at = active + c * plane + (long long)y * m.w + x;
                const float centred = (to_float(before[at]) - norm.mean) - norm.rest;
                // As it is stored: what is normalised later has these sums.
                const T kept = from_float<T>(centred * inverse > 0.0f ? acc[o] : 0.0f);
                g[at] = kept;
                sum += to_float(kept), dot = fmaf(to_float(kept), centred, dot);
            }
            sum = warp_sum(sum), dot = warp_sum(dot);
            if (threadIdx.x % WARP_SIZE == 0) sums[item * 2] += sum, sums[item * 2 + 1] += dot;
        }
        __syncthreads();
    }
}

// g (asides, n, a, h, w); inner (asides, blocks, a, 2). Grid: (blocks of tiles, groups of channels, units with two maps).
template <typename T> __device__ __forceinline__ void node_last(NODE_LAST(T, const, &), float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeGroup group = node_group(blockIdx.y, a);
    const NodeUnit u = node_unit(units, doubles[blockIdx.z]);
    const NodeEdge e = node_edge(edges, u.edge);
    float *slopes = shared, *rows = slopes + a * NODE_SLOPE, *taps = rows + a * NODE_GROUP;
    float *sums = taps + NODE_GROUP * 25, *dt = sums + NODE_GROUP * 4;
    const float weight = alpha[u.alpha] * beta[e.beta];
    for (int channel = threadIdx.x / WARP_SIZE; channel < a; channel += NODE_WARPS)
        node_last_slope(slopes + channel * NODE_SLOPE, u, e, channel, stats, part, chunks, slots, weight, a, k, eps);
    node_weights_load(w.at[u.weight + 2], w.at[u.weight + 3], taps, rows, a, group, u.kind == NODE_SEP3 ? 9 : 25);
    for (int i = threadIdx.x; i < NODE_GROUP * 4; i += NODE_THREADS) sums[i] = 0.0f;
    __syncthreads();
    const T *before = z + u.map * m.values(), *last = before + m.values(), *dy = node_gradient(d, e, m.plane());
    T *to = g + u.aside * m.values();
    const long long image = e.grad_channels * m.plane();
    if (u.kind == NODE_SEP3) node_last_tiles<T, 3>(last, before, to, dy, image, stats, u.map, slopes, rows, taps, sums, dt, group, k, m, eps);
    else node_last_tiles<T, 5>(last, before, to, dy, image, stats, u.map, slopes, rows, taps, sums, dt, group, k, m, eps);
    const int strips = node_strips(m, NODE_ROWS);
    for (int i = threadIdx.x; i < group.count * 2; i += NODE_THREADS) {
        float sum = 0.0f;
        for (int strip = 0; strip < strips; strip++) sum += sums[(i / 2 * strips + strip) * 2 + i % 2];
        inner[(((long long)u.aside * gridDim.x + blockIdx.x) * a + group.from) * 2 + i] = sum;
    }
}

#define NODE_LAST_ARGUMENTS w, d, z, g, stats, alpha, beta, part, inner, units, edges, doubles, chunks, slots, n, a, k, h, wd, th, tw, eps

extern "C" __global__ void node_last_f32(NODE_LAST(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_last<float>(NODE_LAST_ARGUMENTS, shared);
}
extern "C" __global__ void node_last_bf16(NODE_LAST(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_last<bf16>(NODE_LAST_ARGUMENTS, shared);
}
