// The first launch of a node of a search cell: of every candidate of every edge that has a convolution ReLU, depthwise, pointwise and the
// partial statistics of the result; of pooled maps the partial statistics. Edges that halve the map have the stride in the depthwise
// convolution, or a factorised reduction.
//
// Grid: (candidates of `work`, chunks of the tiles); blocks of NODE_THREADS; dynamic shared memory as NodeShared has it.
#include "node_half.cuh"

// Moments of V deviations from `shift` merged into w.
template <int V> __device__ __forceinline__ void node_count(Moments &w, const float (&v)[V], float shift) {
    float sum = 0.0f, m2 = 0.0f, d[V];
    UNROLL
    for (int k = 0; k < V; k++) d[k] = v[k] - shift, sum += d[k];
    const float mean = sum * (1.0f / V);
    UNROLL
    for (int k = 0; k < V; k++) d[k] -= mean, m2 = fmaf(d[k], d[k], m2);
    w = norm_merged(w, Moments{(float)V, mean, m2});
}

// Partial statistics `part`, (a, 4), of the values of every channel of z that are chunk's: V at a time, a run of whole channels' planes.
template <int V, typename T>
__device__ __forceinline__ void node_pooled(const T *z, float *part, float *warps, const NodeMaps &m, int chunk, int chunks) {
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    // Warps of a channel: a divisor of all of them.
    const int each = m.a < NODE_WARPS ? NODE_WARPS / m.a : 1;
    const long long plane = m.plane() / V, all = m.n * plane, begin = all * chunk / chunks, end = all * (chunk + 1) / chunks;
    for (int first = 0; first < m.a; first += NODE_WARPS) {
        const int c = first + warp / each;
        const bool works = c < m.a;
        const T *x = z + (works ? c : 0) * m.plane();
        const long long step = m.a * m.plane();
        // The first value of the chunk.
        const float shift = to_float(x[quotient(begin, plane) * step + (begin - quotient(begin, plane) * plane) * V]);
        Moments w = {0.0f, 0.0f, 0.0f};
        for (long long i = begin + warp % each * WARP_SIZE + lane; works && i < end; i += each * WARP_SIZE) {
            const long long image = quotient(i, plane);
            float v[V];
            load_values<V>(x + image * step + (i - image * plane) * V, v);
            node_count<V>(w, v, shift);
        }
        w = norm_warp(w);
        if (lane == 0) warps[warp * 3] = w.n, warps[warp * 3 + 1] = w.mean, warps[warp * 3 + 2] = w.m2;
        __syncthreads();
        if (works && warp % each == 0 && lane == 0) {
            for (int i = 1; i < each; i++) {
                const float *p = warps + (warp + i) * 3;
                w = norm_merged(w, Moments{p[0], p[1], p[2]});
            }
            store4(part + c * 4, float4{w.n, shift, w.mean, w.m2});
        }
        __syncthreads();
    }
}

// HALVES: some edges halve the map; the others do without the registers that this takes.
template <bool HALVES, typename T>
__device__ __forceinline__ void node_first(const List<const float, NODE_WEIGHTS> &weights, const List<const T, NODE_EDGES> &x,
                                           const List<const T, NODE_MAPS> &pooled, const List<T, NODE_MAPS> &z, const int *units,
                                           const int *edges, const int *work, float *part, float *shared, const NodeMaps &m, int group) {
    const NodeUnit u = node_unit(units, work[blockIdx.x]);
    const int chunk = blockIdx.y, chunks = gridDim.y;
    const NodeShared s(shared, m, group, HALVES ? 2 : 1);
    float *mine = node_part(part, u.map, chunk, chunks, m.a);
    if (u.kind == NODE_POOLED) {
        if (m.plane() % PACK<T> == 0) node_pooled<PACK<T>>(pooled.at[u.map], mine, s.warps, m, chunk, chunks);
        else node_pooled<1>(pooled.at[u.map], mine, s.warps, m, chunk, chunks);
    } else {
        const NodeEdge e = node_edge(edges, u.edge);
        const auto rectified = [](int, float v) { return v > 0.0f ? v : 0.0f; };
        const float *first = weights.at[u.weight], *second = weights.at[u.weight + 1];
        const long long image = e.channels * m.plane() * e.stride * e.stride;
        if constexpr (HALVES)
            if (e.stride == 2) {
                node_half<2>(u.kind, x.at[u.edge], image, first, second, z.at[u.map], mine, s, m, group, chunk, chunks, rectified);
                return;
            }
        node_half<1>(u.kind, x.at[u.edge], image, first, second, z.at[u.map], mine, s, m, group, chunk, chunks, rectified);
    }
}

#define FIRST(T)                                                                                                                      \
    NODE_LIST(const float, NODE_WEIGHTS, weights), NODE_LIST(const T, NODE_EDGES, x), NODE_LIST(const T, NODE_MAPS, pooled),          \
        NODE_LIST(T, NODE_MAPS, z), const int *units, const int *edges, const int *work, float *part, int n, int a, int h, int w, int th, \
        int tw, int group

#define RUN(HALVES)                \
    DYNAMIC_SHARED(float, shared); \
    node_first<HALVES>(weights, x, pooled, z, units, edges, work, part, shared, NodeMaps{n, a, h, w, th, tw}, group)

extern "C" __global__ void node_first_f32(FIRST(float)) { RUN(false); }
extern "C" __global__ void node_first_bf16(FIRST(bf16)) { RUN(false); }
extern "C" __global__ void node_first_halved_f32(FIRST(float)) { RUN(true); }
extern "C" __global__ void node_first_halved_bf16(FIRST(bf16)) { RUN(true); }
