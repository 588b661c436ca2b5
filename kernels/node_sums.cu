// What the way back through a node of a search cell takes of dy first, in one launch: of each channel of the concatenation the sum of dy,
// and for each candidate sum dy (z - mean), which its last normalisation and the gradient of its weight both come from; where gradients of
// alpha or beta are wanted also <dy, x> of skip-connects and of what bypasses the candidates.
#include "node_back.cuh"

// Sums that a block takes at once: dy is read once for so many.
constexpr int NODE_TERMS = 8;

#define NODE_SUMS(T, GIVEN, REF)                                                                                                     \
    GIVEN List<const T, NODE_SOURCES> REF x, const T *z, const T *dy, const float *stats, float *part, const int *units,             \
        const int *edges, int unit, int unit_count, int edge, int edge_count, int base, int slots, int from, int of_image, int arch, \
        NODE_SIZES

// A map whose product with dy is summed: its channel in image 0, values from image to image; what is taken from it before.
template <typename T> struct NodeTerm {
    const T *x;
    long long step;
    float mean, rest;
};

template <typename T, int V>
__device__ __forceinline__ void node_sums_values(const NodeTerm<T> *terms, const T *dy, long long step, int live,
                                                 float (&dot)[NODE_TERMS], float &sum, long long images, long long plane) {
    const long long packs = plane / V, n = images * packs, stride = (long long)gridDim.y * NODE_THREADS;
    for (long long i = (long long)blockIdx.y * NODE_THREADS + threadIdx.x; i < n; i += stride) {
        const long long image = quotient(i, packs), at = (i - image * packs) * V;
        float g[V], v[V];
        load_values<V>(dy + image * step + at, g);
        UNROLL for (int j = 0; j < V; j++) sum += g[j];
        UNROLL for (int t = 0; t < NODE_TERMS; t++)
            if (live >> t & 1) {
                const NodeTerm<T> &term = terms[t];
                load_values<V>(term.x + image * term.step + at, v);
                UNROLL for (int j = 0; j < V; j++) dot[t] = fmaf(g[j], (v[j] - term.mean) - term.rest, dot[t]);
            }
    }
}

// Which map term `index` of a channel of the node is; false where there is none: candidates come first, then edges.
template <typename T>
__device__ __forceinline__ bool node_term(NodeTerm<T> &term, const List<const T, NODE_SOURCES> &x, const T *z, const float *stats,
                                          const int *units, const int *edges, int unit, int unit_count, int edge, int index, int arch,
                                          int channel, const NodeMaps &m) {
    const long long plane = m.plane();
    const int a = m.a;
    term.mean = 0.0f, term.rest = 0.0f;
    if (index >= unit_count) {
        const NodeEdge e = node_edge(edges, edge + index - unit_count);
        if (!arch || channel < a) return false;
        term.x = x.at[e.by] + (e.start + channel - a) * plane;
        term.step = e.rest * plane;
        return true;
    }
    const NodeUnit u = node_unit(units, unit + index);
    if (u.kind == NODE_SKIP) {
        const NodeEdge e = node_edge(edges, u.edge);
        if (!arch) return false;
        term.x = x.at[e.source] + (e.from + channel) * plane, term.step = e.channels * plane;
        return true;
    }
    const int map = u.map + u.maps - 1;
    const NodeNorm norm = node_known(stats, map, a, channel);
    term.x = z + map * m.values() + channel * plane, term.step = a * plane;
    term.mean = norm.mean, term.rest = norm.rest;
    return true;
}

// part (chunks, a k, slots): those of the node from `base` on, the sum of dy, candidates, edges; only sums that were asked for are written.
// The node's gradient lies from channel `from` on in dy, images of `of_image` channels. Grid: (channels, chunks, eights of terms).
template <typename T> __device__ __forceinline__ void node_sums(NODE_SUMS(T, const, &), NodeTerm<T> *terms, int *lives, float *warps) {
    const NodeMaps m = {n, a, h, wd, 0, 0};
    const long long plane = m.plane();
    const int channel = blockIdx.x, channels = a * k, all = unit_count + edge_count;
    // Of a bypassing channel only edges have terms.
    const int first = (channel < a ? 0 : unit_count) + blockIdx.z * NODE_TERMS;
    if (blockIdx.z > 0 && first >= all) return;
    if ((int)threadIdx.x < NODE_TERMS) {
        const int index = first + threadIdx.x;
        NodeTerm<T> mine;
        const bool there =
            index < all && node_term(mine, x, z, stats, units, edges, unit, unit_count, edge, index, arch, channel, m);
        lives[threadIdx.x] = there;
        if (there) terms[threadIdx.x] = mine;
    }
    __syncthreads();
    int live = 0;
    for (int t = 0; t < NODE_TERMS; t++) live |= lives[t] << t;
    float dot[NODE_TERMS], sum = 0.0f;
    UNROLL for (int t = 0; t < NODE_TERMS; t++) dot[t] = 0.0f;
    const T *gradient = dy + (from + node_lands(channel, a, k)) * plane;
    if (plane % PACK<T> == 0) node_sums_values<T, PACK<T>>(terms, gradient, of_image * plane, live, dot, sum, n, plane);
    else node_sums_values<T, 1>(terms, gradient, of_image * plane, live, dot, sum, n, plane);
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    sum = warp_sum(sum);
    if (lane == 0) warps[NODE_TERMS * NODE_WARPS + warp] = sum;
    UNROLL for (int t = 0; t < NODE_TERMS; t++) {
        const float v = warp_sum(dot[t]);
        if (lane == 0) warps[t * NODE_WARPS + warp] = v;
    }
    __syncthreads();
    const int t = threadIdx.x;
    const bool total = t == NODE_TERMS && blockIdx.z == 0;
    if (total || (t < NODE_TERMS && (live >> t & 1))) {
        float v = 0.0f;
        for (int i = 0; i < NODE_WARPS; i++) v += warps[t * NODE_WARPS + i];
        part[((long long)blockIdx.y * channels + channel) * slots + base + (total ? 0 : 1 + first + t)] = v;
    }
}

#define NODE_SUMS_ARGUMENTS \
    x, z, dy, stats, part, units, edges, unit, unit_count, edge, edge_count, base, slots, from, of_image, arch, n, a, k, h, wd

extern "C" __global__ void node_sums_f32(NODE_SUMS(float, NODE_GIVEN, )) {
    SHARED(NodeTerm<float>, terms, NODE_TERMS);
    SHARED(int, lives, NODE_TERMS);
    SHARED(float, warps, (NODE_TERMS + 1) * NODE_WARPS);
    node_sums<float>(NODE_SUMS_ARGUMENTS, terms, lives, warps);
}
extern "C" __global__ void node_sums_bf16(NODE_SUMS(bf16, NODE_GIVEN, )) {
    SHARED(NodeTerm<bf16>, terms, NODE_TERMS);
    SHARED(int, lives, NODE_TERMS);
    SHARED(float, warps, (NODE_TERMS + 1) * NODE_WARPS);
    node_sums<bf16>(NODE_SUMS_ARGUMENTS, terms, lives, warps);
}
