// The last launch of a node of a search cell: last normalisations, weighted sum of candidates and edges, bypassing channels, shuffle.
//     y[i, lands(c)] = sum_u alpha_u beta_u norm_u(z_u[i, c])            for c < a,
//     y[i, lands(c)] = sum_e beta_e by_e[i, start_e + c - a]             for the others.
// The statistics of the last maps are merged in the prologue and noted by the first chunk.
//
// Grid: (channels in the order of the concatenation, chunks of the values of a channel); blocks of NODE_THREADS.
#include "node.cuh"

// A term of a channel's sum: scale ((x - mean) - rest), its images `image` values apart.
template <typename T> struct NodeTerm {
    const T *x;
    long long image;
    float scale, mean, rest;

    // Value by value: it lies in shared memory.
    __device__ inline void set(const T *from, long long apart, float by, float m, float r) {
        x = from, image = apart, scale = by, mean = m, rest = r;
    }
};

template <int V, typename T>
__device__ __forceinline__ void node_sums(const NodeTerm<T> *terms, int count, T *y, long long image, int n, long long values) {
    const long long plane = values / V, all = n * plane, step = (long long)gridDim.y * NODE_THREADS;
    for (long long i = (long long)blockIdx.y * NODE_THREADS + threadIdx.x; i < all; i += step) {
        const long long of = quotient(i, plane), at = (i - of * plane) * V;
        float sum[V];
        UNROLL
        for (int j = 0; j < V; j++) sum[j] = 0.0f;
#ifdef __CUDACC__
#pragma unroll 4
#endif
        for (int k = 0; k < count; k++) {
            const NodeTerm<T> &t = terms[k];
            const float scale = t.scale, mean = t.mean, rest = t.rest;
            float v[V];
            load_values<V>(t.x + of * t.image + at, v);
            UNROLL
            for (int j = 0; j < V; j++) sum[j] = fmaf(scale, (v[j] - mean) - rest, sum[j]);
        }
        store_values<V>(y + of * image + at, sum);
    }
}

// The node's candidates are `count` from `unit` on, its edges `arriving` from `edge` on; y, at its first channel, has images of `channels`.
template <typename T>
__device__ __forceinline__ void node_sum(const List<const T, NODE_SOURCES> &x, const T *z, const float *alpha, const float *beta,
                                         const int *units, const int *edges, const float *part, float *stats, T *y, NodeTerm<T> *terms,
                                         const NodeMaps &m, int k, int unit, int count, int edge, int arriving, int channels, int chunks,
                                         float eps) {
    const int c = blockIdx.x, lane = threadIdx.x % WARP_SIZE, a = m.a;
    const bool mixed = c < a;
    const long long plane = m.plane();
    for (int i = threadIdx.x / WARP_SIZE; mixed && i < count; i += NODE_WARPS) {
        const NodeUnit u = node_unit(units, unit + i);
        const NodeEdge e = node_edge(edges, u.edge);
        const float weight = alpha[u.alpha] * beta[e.beta];
        if (u.maps == 0) {
            if (lane == 0) terms[i].set(x.at[e.source] + (e.from + c) * plane, e.channels * plane, weight, 0.0f, 0.0f);
        } else {
            const int last = u.map + u.maps - 1;
            const NodeNorm s = node_merged(part, last, chunks, a, c);
            if (lane == 0) terms[i].set(z + last * m.values() + c * plane, a * plane, weight / sqrtf(s.var + eps), s.mean, s.rest);
            if (blockIdx.y == 0 && lane == 0) node_note(stats, last, a, c, s);
        }
    }
    for (int i = threadIdx.x; !mixed && i < arriving; i += NODE_THREADS) {
        const NodeEdge e = node_edge(edges, edge + i);
        terms[i].set(x.at[e.by] + (e.start + c - a) * plane, e.rest * plane, beta[e.beta], 0.0f, 0.0f);
    }
    __syncthreads();
    const int terms_of = mixed ? count : arriving;
    const long long image = channels * plane;
    y += node_lands(c, a, k) * plane;
    if (plane % PACK<T> == 0) node_sums<PACK<T>>(terms, terms_of, y, image, m.n, plane);
    else node_sums<1>(terms, terms_of, y, image, m.n, plane);
}

// `first`: the node's first channel in y.
#define SUM(T)                                                                                                                        \
    NODE_LIST(const T, NODE_SOURCES, x), const T *z, const float *alpha, const float *beta, const int *units, const int *edges,       \
        const float *part, float *stats, T *y, int n, int a, int h, int w, int k, int unit, int count, int edge, int arriving,        \
        int first, int channels, int chunks, float eps
#define RUN(T)                            \
    SHARED(NodeTerm<T>, terms, NODE_UNITS); \
    const NodeMaps m = {n, a, h, w, 0, 0}; \
    const long long before = first * m.plane(); \
    node_sum(x, z, alpha, beta, units, edges, part, stats, y + before, terms, m, k, unit, count, edge, arriving, \
             channels, chunks, eps)

extern "C" __global__ void node_sum_f32(SUM(float)) { RUN(float); }
extern "C" __global__ void node_sum_bf16(SUM(bf16)) { RUN(bf16); }
