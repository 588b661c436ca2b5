// The first launch of the states that a search cell has at a time, both inputs or one node: of every candidate of every edge out of them
// that has a convolution ReLU, depthwise, pointwise and the partial statistics of the result; of their poolings the map, the taps of the
// largest values and the partial statistics. Edges that halve the map have the stride in the depthwise convolution and in the pooling, or
// a factorised reduction; what bypasses them is pooled, windows of 2 x 2 at stride 2.
//
// Grid: (candidates of `work`, chunks of the tiles); blocks of NODE_THREADS; dynamic shared memory as NodeShared has it.
#include "node_half.cuh"
#include "pool.cuh"

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

// Windows of 3 x 3 with a ring of one, a row of them a thread.
template <int S> struct NodeWindow : PoolWindow<3, S, 1> {
    static constexpr int ROWS = 1;
};

// V values of a pooled plane from row y and column ox on, as they are stored, and the taps of the largest values. `x`: the plane, S times
// the size.
template <int S, int V, typename T>
__device__ __forceinline__ void node_windows(bool largest, const T *x, int y, int ox, const NodeMaps &m, float (&v)[V], int (&tap)[V]) {
    typedef NodeWindow<S> W;
    constexpr int LINE = POOL_LINE<W, V>;
    const int h = m.h * S, w = m.w * S, top = y * S - 1;
    float best[3][V], sums[3][V];
    int which[3];
    UNROLL
    for (int r = 0; r < 3; r++) {
        const int iy = top + r;
        which[r] = 0;
        float line[LINE] = {};
        if (iy >= 0 && iy < h) {
            const T *row = x + (long long)iy * w;
            if constexpr (V == 1) {
                UNROLL
                for (int i = 0; i < LINE; i++) {
                    const int ix = ox * S - W::LEFT + i;
                    if (ix >= 0 && ix < w) line[i] = to_float(row[ix]);
                }
            } else load_line<W::LEFT, S * V, W::RIGHT>(row, ox * S, w, 0.0f, line);
            if (largest) largest_of_row<W, V>(line, ox, m.w, best[r], which[r]);
        }
        if (!largest) sums_of_row<W, V>(line, sums[r]);
    }
    if (largest) largest_of_windows<W, V>(best, which, 0, top, h, v, tap);
    else means_of_windows<W, V>(sums, 0, y, ox, PoolRows{0, h, w, m.h, m.w}, v);
    UNROLL
    for (int j = 0; j < V; j++) v[j] = to_float(from_float<T>(v[j]));
}

// A pooling: its map z, the taps of the largest values, and the partial statistics `part`, (a, 4), of the values of every channel that are
// the chunk's: V at a time, a run of whole channels' planes. x: the state, S times the size, `image` values from one image to the next.
template <int S, int V, typename T>
__device__ __forceinline__ void node_pool(bool largest, const T *x, long long image, T *z, unsigned char *taps, float *part, float *warps,
                                          const NodeMaps &m, int chunk, int chunks) {
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    // Warps of a channel: a divisor of all of them.
    const int each = m.a < NODE_WARPS ? NODE_WARPS / m.a : 1, packs = m.w / V;
    const long long plane = m.plane() / V, all = m.n * plane, begin = all * chunk / chunks, end = all * (chunk + 1) / chunks;
    for (int first = 0; first < m.a; first += NODE_WARPS) {
        const int c = first + warp / each;
        const bool works = c < m.a;
        const auto pooled = [&](long long i, float (&v)[V], int (&tap)[V]) {
            const long long of = quotient(i, plane);
            const int at = (int)(i - of * plane), y = at / packs, ox = (at - y * packs) * V;
            node_windows<S, V>(largest, x + of * image + (works ? c : 0) * m.plane() * (S * S), y, ox, m, v, tap);
        };
        // The first value of the chunk.
        float v[V];
        int tap[V];
        pooled(begin, v, tap);
        const float shift = v[0];
        Moments w = {0.0f, 0.0f, 0.0f};
        for (long long i = begin + warp % each * WARP_SIZE + lane; works && i < end; i += each * WARP_SIZE) {
            pooled(i, v, tap);
            const long long of = quotient(i, plane), at = (of * m.a + c) * m.plane() + (i - of * plane) * V;
            store_values<V>(z + at, v);
            if (largest) {
                if constexpr (V == 1) taps[at] = (unsigned char)tap[0];
                else store_bytes<V>(taps + at, tap);
            }
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

// The largest values of windows of 2 x 2 of the channels from the a-th on of a state of `channels`, (n, channels - a, h, w).
template <int V, typename T>
__device__ __forceinline__ void node_rest(const T *x, T *by, const NodeMaps &m, int channels, int chunk, int chunks) {
    const int rest = channels - m.a, packs = m.w / V;
    const long long plane = m.plane() / V, image = rest * plane, all = m.n * image, end = all * (chunk + 1) / chunks;
    for (long long i = all * chunk / chunks + threadIdx.x; i < end; i += NODE_THREADS) {
        const long long of = quotient(i, image), c = quotient(i - of * image, plane);
        const int at = (int)(i - of * image - c * plane), y = at / packs, ox = (at - y * packs) * V;
        const T *window = x + ((of * channels + m.a + c) * m.h + y) * 4 * m.w + 2 * ox;
        float rows[2][2 * V], v[V];
        UNROLL
        for (int r = 0; r < 2; r++) {
            load_values<V>(window + r * 2 * m.w, rows[r]);
            load_values<V>(window + r * 2 * m.w + V, rows[r] + V);
        }
        UNROLL
        for (int j = 0; j < V; j++) {
            int tap;
            v[j] = node_largest(rows[0][2 * j], rows[0][2 * j + 1], rows[1][2 * j], rows[1][2 * j + 1], tap);
        }
        store_values<V>(by + i * V, v);
    }
}

// S: sides of the states over those of the nodes. Work behind the candidates is what bypasses the inputs, to `by`, (2, n, channels - a, h, w).
template <int S, typename T>
__device__ __forceinline__ void node_first(const List<const float, NODE_WEIGHTS> &weights, const List<const T, NODE_SOURCES> &x, T *z,
                                           T *by, unsigned char *taps, const int *units, const int *edges, const int *work, float *part,
                                           float *shared, const NodeMaps &m, int group, int candidates, int channels) {
    if (S == 2 && work[blockIdx.x] >= candidates) {
        const int input = work[blockIdx.x] - candidates;
        T *to = by + input * (m.n * (channels - m.a) * m.plane());
        if (m.w % PACK<T> == 0) node_rest<PACK<T>>(x.at[input], to, m, channels, blockIdx.y, gridDim.y);
        else node_rest<1>(x.at[input], to, m, channels, blockIdx.y, gridDim.y);
        return;
    }
    const NodeUnit u = node_unit(units, work[blockIdx.x]);
    const NodeEdge e = node_edge(edges, u.edge);
    const NodeShared s(shared, m, group, S);
    const int chunk = blockIdx.y, chunks = gridDim.y;
    const long long plane = m.plane() * (S * S), image = e.channels * plane;
    const T *state = x.at[e.source] + e.from * plane;
    T *to = z + u.map * m.values();
    float *mine = node_part(part, u.map, chunk, chunks, m.a);
    if (node_pools(u.kind)) {
        const bool largest = u.kind == NODE_MAX;
        unsigned char *own = largest ? taps + u.aside * m.values() : nullptr;
        if (m.w % PACK<T> == 0) node_pool<S, PACK<T>>(largest, state, image, to, own, mine, s.warps, m, chunk, chunks);
        else node_pool<S, 1>(largest, state, image, to, own, mine, s.warps, m, chunk, chunks);
    } else {
        const auto rectified = [](int, float v) { return v > 0.0f ? v : 0.0f; };
        node_half<S>(u.kind, state, image, weights.at[u.weight], weights.at[u.weight + 1], to, mine, s, m, group, chunk, chunks, rectified);
    }
}

#define FIRST(T)                                                                                                                      \
    NODE_LIST(const float, NODE_WEIGHTS, weights), NODE_LIST(const T, NODE_SOURCES, x), T *z, T *by, unsigned char *taps,            \
        const int *units, const int *edges, const int *work, float *part, int n, int a, int h, int w, int th, int tw, int group,      \
        int candidates, int channels

#define RUN(S)                     \
    DYNAMIC_SHARED(float, shared); \
    node_first<S>(weights, x, z, by, taps, units, edges, work, part, shared, NodeMaps{n, a, h, w, th, tw}, group, candidates, channels)

extern "C" __global__ void node_first_f32(FIRST(float)) { RUN(1); }
extern "C" __global__ void node_first_bf16(FIRST(bf16)) { RUN(1); }
extern "C" __global__ void node_first_halved_f32(FIRST(float)) { RUN(2); }
extern "C" __global__ void node_first_halved_bf16(FIRST(bf16)) { RUN(2); }
