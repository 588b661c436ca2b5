// What both launches share that give gradients of a search cell's states: node_x.cu at the nodes' size, node_halved_x.cu at twice the sides.
// A state's arms are the edges out of it. What reaches it is added in their order and written once.
#pragma once
#include "node_back.cuh"

#define NODE_ARMS_OF(T, GIVEN, REF)                                                                                                   \
    GIVEN List<const float, NODE_WEIGHTS> REF w, GIVEN List<const T, NODE_SOURCES> REF x, GIVEN List<const T, NODE_GRADS> REF d,      \
        GIVEN List<T, NODE_OUTS> REF dx, const T *z, const T *g, const unsigned char *taken, const float *stats, const float *alpha,  \
        const float *beta, const float *part, const float *inner, const int *units, const int *edges, const int *states,              \
        const int *arms, const int *wanted, int chunks, int slots, int inner_chunks, NODE_TILES, float eps
#define NODE_ARMS_ARGUMENTS                                                                                                             \
    w, x, d, dx, z, g, taken, stats, alpha, beta, part, inner, units, edges, states, arms, wanted, chunks, slots, inner_chunks, n, a, k, \
        h, wd, th, tw, eps

// Row of the table of states: which source it is, its first channel there, channels of that source; its gradient: which of those that are
// asked for, the first channel there, channels of that one; whether the cell's gradient (the first of `d`, laid out as the state) reaches
// it too; first of its arms and end of them in their table.
constexpr int NODE_STATE = 9;
struct NodeState {
    int source, from, channels, out, out_from, out_channels, outer, first, end;
};
__device__ inline NodeState node_state(const int *states, int s) {
    const int *r = states + s * NODE_STATE;
    return NodeState{r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8]};
}

// An arm as a block keeps it in shared memory: its node's gradient and how far its images are apart, beta, the weight of its skip-connects,
// its first candidate's place among the slopes, its poolings (-1: none).
template <typename T> struct NodeArm {
    const T *dy;
    long long image;
    float beta, skip;
    int edge, unit, pools[2];
};
constexpr int NODE_ARMS = NODE_EDGES;

// The arms of a state, and the slopes of all their candidates, (candidates, a), in shared memory. Ends with a barrier.
template <typename T>
__device__ __forceinline__ void node_arms(const List<const T, NODE_GRADS> &d, const float *stats, const float *alpha, const float *beta,
                                          const float *part, const float *inner, const int *units, const int *edges, const int *arms,
                                          int chunks, int slots, int inner_chunks, const NodeMaps &m, int k, float eps,
                                          const NodeState &s, NodeArm<T> *mine, float *slopes) {
    const int a = m.a;
    int at = 0;
    for (int i = s.first; i < s.end; i++) {
        const NodeEdge e = node_edge(edges, arms[i]);
        float skip = 0.0f;
        int largest = -1, means = -1;
        for (int j = e.first; j < e.end; j++, at++) {
            const NodeUnit u = node_unit(units, j);
            const float weight = alpha[u.alpha] * beta[e.beta];
            if (u.kind == NODE_SKIP) skip += weight;
            if (u.kind == NODE_MAX) largest = j;
            if (u.kind == NODE_MEAN) means = j;
            // Warps go on where the candidate before left off.
            for (int c = (threadIdx.x / WARP_SIZE + (NODE_WARPS - 1) * at * a) % NODE_WARPS; c < a; c += NODE_WARPS) {
                float *slope = slopes + (at * a + c) * NODE_SLOPE;
                if (u.maps == 1) node_last_slope(slope, u, e, c, stats, part, chunks, slots, weight, a, k, eps);
                if (u.maps == 2) node_inner_slope(slope, u, c, stats, inner, inner_chunks, a, eps);
            }
        }
        if (threadIdx.x == 0) {
            NodeArm<T> &arm = mine[i - s.first];
            arm.dy = node_gradient(d, e, m.plane()), arm.image = e.grad_channels * m.plane();
            arm.beta = beta[e.beta], arm.skip = skip, arm.edge = arms[i], arm.unit = at - (e.end - e.first);
            arm.pools[0] = largest, arm.pools[1] = means;
        }
    }
    __syncthreads();
}

// Candidates on the arms of a state.
__device__ inline int node_arm_units(const int *edges, const int *arms, const NodeState &s) {
    int all = 0;
    for (int i = s.first; i < s.end; i++) {
        const NodeEdge e = node_edge(edges, arms[i]);
        all += e.end - e.first;
    }
    return all;
}

// Whether an arm has a pooling of a kind: 0 the largest values, 1 the means.
template <typename T> __device__ inline bool node_arms_pool(const NodeArm<T> *arms, int count, int kind) {
    for (int i = 0; i < count; i++)
        if (arms[i].pools[kind] >= 0) return true;
    return false;
}

// What becomes of the nodes' gradients through the normalisations of the poolings of a kind, added over the arms; of means each divided by
// the taps inside of the map: of the group's channels on the tile and one pixel around it, as NodeHalf<3, 1> lays them out; zero outside of
// the map. S: sides of the state over those of the node.
template <int S, typename T>
__device__ __forceinline__ void node_pools_behind(float *dt, const NodeArm<T> *arms, int count, int kind, const float *slopes, const T *z,
                                                  const int *units, const int *edges, NodeGroup group, int k, const NodeTile &t,
                                                  const NodeMaps &m) {
    const int across = m.tw + 2, high = m.th + 2, all = across * high, wide = node_wide(m);
    const long long plane = m.plane();
    for (int i = threadIdx.x; i < all * group.count; i += NODE_THREADS) {
        const int c = i / all, in = i - c * all, r = in / across, column = in - r * across;
        const int y = t.y - 1 + r, x = t.x - 1 + column, channel = group.from + c;
        float sum = 0.0f;
        if (y >= 0 && y < m.h && x >= 0 && x < m.w) {
            const long long at = (long long)y * m.w + x;
            for (int j = 0; j < count; j++) {
                const int index = arms[j].pools[kind];
                if (index < 0) continue;
                const int place = arms[j].unit + index - node_edge(edges, arms[j].edge).first;
                const float *slope = slopes + (place * m.a + channel) * NODE_SLOPE;
                const T *value = z + node_unit(units, index).map * m.values() + (t.image * (long long)m.a + channel) * plane;
                const float dy = to_float(arms[j].dy[t.image * arms[j].image + channel * k * plane + at]);
                sum += node_through(load4(slope), slope[4], dy, to_float(value[at]));
            }
            if (kind == 1) {
                const int rows = min(S * y + 1, S * m.h - 1) - max(S * y - 1, 0) + 1;
                const int columns = min(S * x + 1, S * m.w - 1) - max(S * x - 1, 0) + 1;
                sum /= (float)(rows * columns);
            }
        }
        dt[(c * high + r) * wide + NODE_MARGIN - 1 + column] = sum;
    }
}

// What pixel (y, x) of the output, at (row, column) of the tile, hands to the state's pixel that is its tap (ky, kx), of `channel` of the
// group: `taken` of the image's channel.
__device__ __forceinline__ float node_pool_tap(const float *dt, const unsigned char *taken, int kind, int channel, int row, int column, int y,
                                               int x, int ky, int kx, const NodeMaps &m) {
    if (y < 0 || y >= m.h || x < 0 || x >= m.w) return 0.0f;
    if (kind == 0 && taken[(long long)y * m.w + x] != ky * 3 + kx) return 0.0f;
    return dt[(channel * (m.th + 2) + row + 1) * node_wide(m) + NODE_MARGIN + column];
}

// Calls f(at) for the values of the tile that lie in the map, V at a time; `at` within the channel.
template <int V, typename F> __device__ __forceinline__ void node_over(const NodeTile &t, const NodeMaps &m, F f) {
    const int packs = m.tw / V;
    for (int i = threadIdx.x; i < packs * m.th; i += NODE_THREADS) {
        const int y = t.y + i / packs, x = t.x + i % packs * V;
        if (y < m.h && x < m.w) f((long long)y * m.w + x);
    }
}

// What bypasses on the tile: to = sum over the arms of beta dy of channel `lands`, and `outer` where it is there.
template <int V, typename T>
__device__ __forceinline__ void node_bypassed(T *to, const T *outer, const NodeArm<T> *arms, int count, int lands, const NodeTile &t,
                                              const NodeMaps &m) {
    node_over<V>(t, m, [&](long long at) {
        float sum[V], v[V];
        UNROLL for (int j = 0; j < V; j++) sum[j] = 0.0f;
        if (outer) load_values<V>(outer + at, sum);
        for (int i = 0; i < count; i++) {
            load_values<V>(arms[i].dy + t.image * arms[i].image + lands * m.plane() + at, v);
            UNROLL for (int j = 0; j < V; j++) sum[j] = fmaf(arms[i].beta, v[j], sum[j]);
        }
        store_values<V>(to + at, sum);
    });
}
