// The last launch of a node of a search cell: last normalisations, weighted sum of candidates and edges, bypassing channels, shuffle.
//     y[i, lands(c)] = sum_u alpha_u beta_u norm_u(z_u[i, c]) + sum of the edges that come mixed, beta_e x_e[i, c]    for c < a,
//     y[i, lands(c)] = sum_e beta_e rest_e[i, start_e + c - a]                                                        for the others.
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
constexpr int NODE_TERMS = NODE_UNITS + NODE_EDGES;

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

template <typename T>
__device__ __forceinline__ void node_sum(const List<const T, NODE_EDGES> &x, const List<const T, NODE_EDGES> &rest,
                                         const List<const T, NODE_MAPS> &z, const float *alpha, const float *beta, const int *units,
                                         const int *edges, const float *part, float *stats, T *y, NodeTerm<T> *terms, int n, int a, int k,
                                         long long plane, int count, int arriving, int chunks, float eps) {
    const int c = blockIdx.x, lane = threadIdx.x % WARP_SIZE;
    const bool mixed = c < a;
    for (int i = threadIdx.x / WARP_SIZE; mixed && i < count; i += NODE_WARPS) {
        const NodeUnit u = node_unit(units, i);
        const NodeEdge e = node_edge(edges, u.edge);
        const float weight = alpha[u.alpha] * beta[e.beta];
        if (u.maps == 0) {
            if (lane == 0) terms[i].set(x.at[u.edge] + c * plane, e.channels * plane, weight, 0.0f, 0.0f);
        } else {
            const int last = u.map + u.maps - 1;
            const NodeNorm s = node_merged(part, last, chunks, a, c);
            if (lane == 0) terms[i].set(z.at[last] + c * plane, a * plane, weight / sqrtf(s.var + eps), s.mean, s.rest);
            if (blockIdx.y == 0 && lane == 0) node_note(stats, last, a, c, s);
        }
    }
    // Of the edges all take part in a channel that bypasses; in a mixed one those without candidates, behind the candidates.
    int terms_of = mixed ? count : arriving;
    for (int i = 0; i < arriving; i++) {
        const NodeEdge e = node_edge(edges, i);
        if (mixed && e.first < e.end) continue;
        const int to = mixed ? terms_of++ : i;
        if (threadIdx.x != 0) continue;
        if (mixed) terms[to].set(x.at[i] + c * plane, e.channels * plane, beta[e.beta], 0.0f, 0.0f);
        else terms[to].set(rest.at[i] + (e.start + c - a) * plane, e.rest * plane, beta[e.beta], 0.0f, 0.0f);
    }
    __syncthreads();
    const long long image = (long long)a * k * plane;
    y += node_lands(c, a, k) * plane;
    if (plane % PACK<T> == 0) node_sums<PACK<T>>(terms, terms_of, y, image, n, plane);
    else node_sums<1>(terms, terms_of, y, image, n, plane);
}

#define SUM(T)                                                                                                                        \
    NODE_LIST(const T, NODE_EDGES, x), NODE_LIST(const T, NODE_EDGES, rest), NODE_LIST(const T, NODE_MAPS, z), const float *alpha,    \
        const float *beta, const int *units, const int *edges, const float *part, float *stats, T *y, int n, int a, int k,            \
        long long plane, int count, int arriving, int chunks, float eps

extern "C" __global__ void node_sum_f32(SUM(float)) {
    SHARED(NodeTerm<float>, terms, NODE_TERMS);
    node_sum(x, rest, z, alpha, beta, units, edges, part, stats, y, terms, n, a, k, plane, count, arriving, chunks, eps);
}
extern "C" __global__ void node_sum_bf16(SUM(bf16)) {
    SHARED(NodeTerm<bf16>, terms, NODE_TERMS);
    node_sum(x, rest, z, alpha, beta, units, edges, part, stats, y, terms, n, a, k, plane, count, arriving, chunks, eps);
}
