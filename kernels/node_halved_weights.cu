// Gradients of the weights of a search cell's first halves on edges that halve the map, in one launch, as node_weights.cuh has them; of
// reductions t is what they take of the state, every second row and column rectified, and there is no filter.
#include "node_halved.cuh"
#include "node_weights.cuh"

// What a tap meets is kept as classes of the state's pixels: `r` is (channels, classes, tile with its ring).
template <typename T, typename Half>
__device__ __forceinline__ void node_halved_tiles(Half, const T *x, int channels, const T *g, long long of_image, long long step, const T *z,
                                                  const NodeWeightsShared &s, float *sums, NodeGroup group, const NodeMaps &m) {
    const long long plane = m.plane();
    const int wide = m.tw + 2 * Half::RING, high = m.th + 2 * Half::RING, all = wide * high, tiles = node_tiles(m);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile at = node_tile(m, tile);
        const T *state = x + (at.image * (long long)channels + group.from) * 4 * plane;
        for (int i = threadIdx.x; i < all * Half::SIDES; i += NODE_THREADS) {
            const int line = i / wide, column = i - line * wide, row = line / Half::SIDES, odd = line % Half::SIDES;
            const int y = at.y - Half::RING + row, left = at.x - Half::RING + column;
            const bool there = y >= 0 && y < m.h && left >= 0 && left < m.w;
            const T *from = state + (there ? (long long)(2 * y + odd) * (2 * m.w) + 2 * left : 0);
            for (int j = 0; j < group.count; j++)
                UNROLL for (int side = 0; side < Half::SIDES; side++) {
                    const float v = there ? to_float(from[j * 4 * plane + side]) : 0.0f;
                    s.r[(j * Half::CLASSES + odd * Half::SIDES + side) * all + row * wide + column] = v > 0.0f ? v : 0.0f;
                }
        }
        __syncthreads();
        node_weights_tile<Half::TAPS>(g + at.image * of_image, step, z + at.image * (long long)m.a * plane, s, group, at, m,
                                      [&](const NodeStrip &p, auto f) {
                                          const float *first = s.r + p.channel * Half::CLASSES * all + p.row * wide + p.column;
                                          Half::template strip<NODE_SHORT, -1>(first, wide, all,
                                                                               [&](int o, int, int tap, float v) { f(o, tap, v); });
                                      });
    }
    node_weights_filters(sums, s, group, Half::TAPS);
    node_weights_pointwise(sums + m.a * Half::TAPS, s, group, m.a, m.a);
}

// One weight of a reduction, that of even rows and columns or that of odd ones.
template <typename T>
__device__ __forceinline__ void node_halved_pixels(const T *x, int channels, const T *dy, long long of_image, long long step, const T *z,
                                                   const NodeWeightsShared &s, float *sums, NodeGroup group, int odd, const NodeMaps &m) {
    const long long plane = m.plane();
    const int tiles = node_tiles(m), outputs = m.a / 2;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile at = node_tile(m, tile);
        const int y = at.y + (int)threadIdx.x / m.tw, left = at.x + (int)threadIdx.x % m.tw;
        const bool there = y < m.h && left < m.w;
        const T *state = x + (at.image * (long long)channels + group.from) * 4 * plane;
        const T *from = state + (there ? (long long)(2 * y + odd) * (2 * m.w) + 2 * left + odd : 0);
        for (int j = 0; j < group.count; j++) {
            const float v = there ? to_float(from[j * 4 * plane]) : 0.0f;
            s.t[j * NODE_PIXELS + threadIdx.x] = v > 0.0f ? v : 0.0f;
        }
        float unused[NODE_GROUP];
        node_weights_products<false>(dy + at.image * of_image, step, z + at.image * (long long)m.a * plane, s, group, at, m, odd * outputs,
                                     outputs, unused);
    }
    node_weights_pointwise(sums, s, group, m.a, outputs);
}

// sums (blocks, total): of a convolution its depthwise and its pointwise weights', of a reduction those of the weight that the row names.
// Grid: (blocks of tiles, groups of channels, rows of `halves`).
template <typename T> __device__ __forceinline__ void node_halved_weights(NODE_WEIGHTS_OF(T, const, &), float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeGroup group = node_group(blockIdx.y, a);
    const int *row = halves + blockIdx.z * NODE_HALF;
    const NodeUnit u = node_unit(units, row[0]);
    const NodeEdge e = node_edge(edges, u.edge);
    const NodeWeightsShared s(shared, a);
    const bool last = u.maps == 1, three = u.kind == NODE_SEP3 || u.kind == NODE_DIL3;
    const float weight = alpha[u.alpha] * beta[e.beta];
    for (int c = threadIdx.x / WARP_SIZE; c < a; c += NODE_WARPS) {
        float *slope = s.slopes + c * NODE_SLOPE;
        if (last) node_last_slope(slope, u, e, c, stats, part, chunks, slots, weight, a, k, eps);
        else node_inner_slope(slope, u, c, stats, inner, inner_chunks, a, eps);
    }
    if (u.kind != NODE_REDUCED) node_weights_load(w.at[u.weight], w.at[u.weight + 1], s.taps, s.rows, a, group, three ? 9 : 25);
    node_weights_start(s, a, group);
    __syncthreads();
    const long long plane = m.plane();
    const T *state = x.at[e.source] + e.from * 4 * plane, *value = z + u.map * m.values();
    const T *from = last ? node_gradient(d, e, plane) : aside + u.aside * m.values();
    const long long step = last ? k * plane : plane, of_image = (last ? e.grad_channels : a) * plane;
    float *to = sums + (long long)blockIdx.x * total + row[2];
    if (u.kind == NODE_REDUCED) node_halved_pixels(state, e.channels, from, of_image, step, value, s, to, group, row[1], m);
    else
        node_halved_by_kind(u.kind, [&](auto half) {
            node_halved_tiles<T>(half, state, e.channels, from, of_image, step, value, s, to, group, m);
        });
}

extern "C" __global__ void node_halved_weights_f32(NODE_WEIGHTS_OF(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_halved_weights<float>(NODE_WEIGHTS_ARGUMENTS, shared);
}
extern "C" __global__ void node_halved_weights_bf16(NODE_WEIGHTS_OF(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_halved_weights<bf16>(NODE_WEIGHTS_ARGUMENTS, shared);
}
