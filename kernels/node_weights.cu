// Gradients of the convolutions' weights of a search cell at stride 1, of every half in one launch, as node_weights.cuh has them.
//
// t, dz and dt are computed again, of a tile of 256 pixels: dz by a thread a pixel, 16 channels o at a time. dz of a last half comes from dy
// and the sums of node_sums, of a first half of two from the gradient at the inner ReLU and the sums of node_last.
#include "node_weights.cuh"

template <typename T, int K, int D>
__device__ __forceinline__ void node_weights_tiles(const T *input, int channels, const T *g, long long of_image, long long step,
                                                   const T *z, const NodeWeightsShared &s, float *sums, NodeGroup group,
                                                   const NodeMaps &m) {
    typedef NodeHalf<K, D> Half;
    const long long plane = m.plane();
    const int wide = node_wide(m), tiles = node_tiles(m);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile at = node_tile(m, tile);
        node_fill<Half::PAD>(input + at.image * (long long)channels * plane, s.r, m, at, group.from, group.count, [&](int c, float v) {
            const float4 norm = load4(s.norm + (c - group.from) * 4);
            return fmaxf(((v - norm.x) - norm.y) * norm.z, 0.0f);
        });
        __syncthreads();
        node_weights_tile<Half::TAPS>(g + at.image * of_image, step, z + at.image * (long long)m.a * plane, s, group, at, m,
                                      [&](const NodeStrip &p, auto f) {
                                          Half::template strip<NODE_SHORT>(s.r + Half::at(p.channel, p.row, p.column, m), wide, f);
                                      });
    }
    node_weights_filters(sums, s, group, Half::TAPS);
    node_weights_pointwise(sums + m.a * Half::TAPS, s, group, m.a, m.a);
}

// sums (blocks, total): of each half its depthwise and its pointwise weights'. Grid: (blocks of tiles, groups of channels, halves).
template <typename T> __device__ __forceinline__ void node_weights(NODE_WEIGHTS_OF(T, const, &), float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeGroup group = node_group(blockIdx.y, a);
    const int *row = halves + blockIdx.z * NODE_HALF;
    const int half = row[1];
    const NodeUnit u = node_unit(units, row[0]);
    const NodeEdge e = node_edge(edges, u.edge);
    const NodeWeightsShared s(shared, a);
    const bool last = half == u.maps - 1;
    const float weight = alpha[u.alpha] * beta[e.beta];
    for (int c = threadIdx.x / WARP_SIZE; c < a; c += NODE_WARPS) {
        float *slope = s.slopes + c * NODE_SLOPE;
        if (last) node_last_slope(slope, u, e, c, stats, part, chunks, slots, weight, a, k, eps);
        else node_inner_slope(slope, u, c, stats, inner, inner_chunks, a, eps);
    }
    const bool three = u.kind == NODE_SEP3 || u.kind == NODE_DIL3;
    node_weights_load(w.at[u.weight + 2 * half], w.at[u.weight + 2 * half + 1], s.taps, s.rows, a, group, three ? 9 : 25);
    if ((int)threadIdx.x < group.count) {
        float4 norm = {0.0f, 0.0f, 1.0f, 0.0f};
        if (half == 1) {
            const NodeNorm of = node_known(stats, u.map, a, group.from + threadIdx.x);
            norm = float4{of.mean, of.rest, 1.0f / sqrtf(of.var + eps), 0.0f};
        }
        store4(s.norm + threadIdx.x * 4, norm);
    }
    node_weights_start(s, a, group);
    __syncthreads();
    const long long plane = m.plane();
    const T *before = z + u.map * m.values(), *input = half == 0 ? x.at[e.source] + e.from * plane : before;
    const T *value = before + half * m.values(), *from = last ? node_gradient(d, e, plane) : aside + u.aside * m.values();
    const int channels = half == 0 ? e.channels : a;
    const long long step = last ? k * plane : plane, of_image = (last ? e.grad_channels : a) * plane;
    float *to = sums + (long long)blockIdx.x * total + row[2];
    if (u.kind == NODE_SEP3) node_weights_tiles<T, 3, 1>(input, channels, from, of_image, step, value, s, to, group, m);
    else if (u.kind == NODE_SEP5) node_weights_tiles<T, 5, 1>(input, channels, from, of_image, step, value, s, to, group, m);
    else if (u.kind == NODE_DIL3) node_weights_tiles<T, 3, 2>(input, channels, from, of_image, step, value, s, to, group, m);
    else node_weights_tiles<T, 5, 2>(input, channels, from, of_image, step, value, s, to, group, m);
}

extern "C" __global__ void node_weights_f32(NODE_WEIGHTS_OF(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_weights<float>(NODE_WEIGHTS_ARGUMENTS, shared);
}
extern "C" __global__ void node_weights_bf16(NODE_WEIGHTS_OF(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_weights<bf16>(NODE_WEIGHTS_ARGUMENTS, shared);
}
