// What both launches share that give gradients of the convolutions' weights of a search cell: node_weights.cu at stride 1,
// node_halved_weights.cu at stride 2. Partial sums by block of tiles of 256 pixels, a thread a pixel, which node_gradients of node_grads.cu
// adds in order.
//
//     pointwise[o][i] = <dz[o], t[i]>,  t = depthwise(r)          r: what the half convolves, rectified
//     depthwise[i][tap] = <dt[i], r[i] at the tap>,  dt = pointwise^T dz
#pragma once
#include "node_back.cuh"

// Pixels of a tile, two strips of a channel.
constexpr int NODE_PIXELS = NODE_THREADS, NODE_STRIPS = NODE_PIXELS / (WARP_SIZE * NODE_SHORT);

// What both take.
#define NODE_WEIGHTS_OF(T, GIVEN, REF)                                                                                              \
    GIVEN List<const float, NODE_WEIGHTS> REF w, GIVEN List<const T, NODE_SOURCES> REF x, GIVEN List<const T, NODE_GRADS> REF d,    \
        const T *z, const T *aside, const float *stats, const float *alpha, const float *beta, const float *part,                   \
        const float *inner, float *sums, const int *units, const int *edges, const int *halves, int chunks, int slots,              \
        int inner_chunks, int total, NODE_TILES, float eps
#define NODE_WEIGHTS_ARGUMENTS                                                                                                            \
    w, x, d, z, aside, stats, alpha, beta, part, inner, sums, units, edges, halves, chunks, slots, inner_chunks, total, n, a, k, h, wd, th, \
        tw, eps

// Halves what each lane holds, H values from here and H from the lane that differs in bit H, until one is left.
template <int H, int N> __device__ __forceinline__ void node_fold(float (&v)[N]) {
    const bool upper = threadIdx.x & H;
    UNROLL for (int i = 0; i < H; i++) {
        const float give = upper ? v[i] : v[i + H], keep = upper ? v[i + H] : v[i];
        v[i] = keep + __shfl_xor_sync(FULL_WARP, give, H);
    }
    if constexpr (H > 1) node_fold<H / 2>(v);
}
// Sums over groups of N lanes, a power of two: lane l has that of v[l % N].
template <int N> __device__ __forceinline__ float node_scatter(float (&v)[N]) {
    node_fold<N / 2>(v);
    return v[0];
}

// What lies in the shared memory of a block; as `weights_of` of mixed_cell/device/backward/parameters.rs counts it.
// `r`: the group's channels with what is around them; `t` (16, pixels): theirs behind the depthwise convolution; `dz` (16, pixels), later dt;
// `norm` (16, 4): how the input is normalised; sums of a block: `products`, 16 x 16 of a thread each for each 16 channels o, and `filters` of
// a strip.
struct NodeWeightsShared {
    float *slopes, *rows, *taps, *norm, *products, *filters, *t, *dz, *r;

    __device__ inline NodeWeightsShared(float *all, int a) {
        slopes = all, rows = slopes + a * NODE_SLOPE, taps = rows + a * NODE_GROUP, norm = taps + NODE_GROUP * 25;
        products = norm + NODE_GROUP * 4, filters = products + (a + NODE_GROUP - 1) / NODE_GROUP * NODE_THREADS;
        t = filters + NODE_GROUP * NODE_STRIPS * WARP_SIZE, dz = t + min(NODE_GROUP, (a + 3) / 4 * 4) * NODE_PIXELS;
        r = dz + min(NODE_GROUP, (a + 3) / 4 * 4) * NODE_PIXELS;
    }
};

// How 16 x 16 products or fewer are shared out: a half of a warp has 4 x 4 of them over a part of the pixels.
struct NodeProducts {
    int across, blocks, parts;
};
__device__ inline NodeProducts node_products(int outputs, int inputs) {
    const int across = (inputs + 3) / 4, blocks = across * ((outputs + 3) / 4);
    int parts = 1;
    while (2 * parts * blocks <= NODE_GROUP) parts *= 2;
    return NodeProducts{across, blocks, parts};
}

// products += <dz[o], t[i]> over the pixels of a tile.
__device__ __forceinline__ void node_multiply(const float *dz, const float *t, float *products, NodeProducts p) {
    const int mine = threadIdx.x / NODE_GROUP, lane = threadIdx.x % NODE_GROUP, block = mine % p.blocks, piece = mine / p.blocks;
    const int fours = NODE_PIXELS / 4 / p.parts;
    const float *left = dz + block / p.across * 4 * NODE_PIXELS, *right = t + block % p.across * 4 * NODE_PIXELS;
    float v[16];
    UNROLL for (int i = 0; i < 16; i++) v[i] = 0.0f;
    if (piece < p.parts)
        for (int q = piece * fours + lane; q < (piece + 1) * fours; q += NODE_GROUP) {
            float4 b[4];
            UNROLL for (int i = 0; i < 4; i++) b[i] = load4(right + i * NODE_PIXELS + 4 * q);
            UNROLL for (int o = 0; o < 4; o++) {
                const float4 d = load4(left + o * NODE_PIXELS + 4 * q);
                UNROLL for (int i = 0; i < 4; i++)
                    v[o * 4 + i] += fmaf(d.x, b[i].x, d.y * b[i].y) + fmaf(d.z, b[i].z, d.w * b[i].w);
            }
        }
    products[threadIdx.x] += node_scatter<16>(v);
}

// Zero sums, and zeros in what is read of `t` beyond the group's channels.
__device__ inline void node_weights_start(const NodeWeightsShared &s, int a, NodeGroup group) {
    for (int i = threadIdx.x; i < (a + NODE_GROUP - 1) / NODE_GROUP * NODE_THREADS; i += NODE_THREADS) s.products[i] = 0.0f;
    for (int i = threadIdx.x; i < NODE_GROUP * NODE_STRIPS * WARP_SIZE; i += NODE_THREADS) s.filters[i] = 0.0f;
    for (int j = group.count; j % 4 != 0; j++) s.t[j * NODE_PIXELS + threadIdx.x] = 0.0f;
}

// Gradients of pointwise weights of `outputs` channels o from `from` on, of a tile: products += <dz[o], t[i]>, 16 channels o at a time. `g`
// and `z` of the tile's image, channels `step` and a plane apart. dt = pointwise^T dz of the thread's pixel where BACK. Begins and ends
// with a barrier, where there is a channel.
template <bool BACK, typename T>
__device__ __forceinline__ void node_weights_products(const T *g, long long step, const T *z, const NodeWeightsShared &s, NodeGroup group,
                                                      const NodeTile &at, const NodeMaps &m, int from, int outputs, float (&dt)[NODE_GROUP]) {
    const int pixel = threadIdx.x, y = at.y + pixel / m.tw, x = at.x + pixel % m.tw;
    const bool there = y < m.h && x < m.w;
    const long long in = there ? (long long)y * m.w + x : 0, plane = m.plane();
    for (int first = 0; first < outputs; first += NODE_GROUP) {
        const int count = min(NODE_GROUP, outputs - first);
        for (int o = 0; o < count; o++) {
            const int c = from + first + o;
            const float *slope = s.slopes + c * NODE_SLOPE;
            const float d = node_through(load4(slope), slope[4], to_float(g[in + c * step]), to_float(z[in + c * plane]));
            s.dz[o * NODE_PIXELS + pixel] = there ? d : 0.0f;
            if (BACK) node_add_row(dt, s.rows + c * NODE_GROUP, there ? d : 0.0f, group.count);
        }
        for (int o = count; o % 4 != 0; o++) s.dz[o * NODE_PIXELS + pixel] = 0.0f;
        __syncthreads();
        node_multiply(s.dz, s.t, s.products + first / NODE_GROUP * NODE_THREADS, node_products(count, group.count));
        __syncthreads();
    }
}

// What a tile adds to the sums of a depthwise and a pointwise weight, `r` being loaded: each(strip, f) calls f(o, tap, v) for every value v of
// r that a tap joins with row o of a strip. `g` and `z` as above. Ends with a barrier.
template <int TAPS, typename T, typename E>
__device__ __forceinline__ void node_weights_tile(const T *g, long long step, const T *z, const NodeWeightsShared &s, NodeGroup group,
                                                  const NodeTile &at, const NodeMaps &m, E each) {
    constexpr int N = TAPS > 16 ? 32 : 16;
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE, items = group.count * NODE_STRIPS;
    for (int item = warp; item < items; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, NODE_STRIPS, NODE_SHORT, m);
        const float *taps = s.taps + p.channel * TAPS;
        float filter[TAPS], acc[NODE_SHORT];
        UNROLL for (int i = 0; i < TAPS; i++) filter[i] = taps[i];
        UNROLL for (int o = 0; o < NODE_SHORT; o++) acc[o] = 0.0f;
        each(p, [&](int o, int tap, float v) { acc[o] = fmaf(filter[tap], v, acc[o]); });
        UNROLL for (int o = 0; o < NODE_SHORT; o++) s.t[p.channel * NODE_PIXELS + (p.row + o) * m.tw + p.column] = acc[o];
    }
    float dt[NODE_GROUP];
    UNROLL for (int j = 0; j < NODE_GROUP; j++) dt[j] = 0.0f;
    node_weights_products<true>(g, step, z, s, group, at, m, 0, m.a, dt);
    UNROLL for (int j = 0; j < NODE_GROUP; j++)
        if (j < group.count) s.dz[j * NODE_PIXELS + threadIdx.x] = dt[j];
    __syncthreads();
    for (int item = warp; item < items; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, NODE_STRIPS, NODE_SHORT, m);
        float d[NODE_SHORT], v[N];
        UNROLL for (int o = 0; o < NODE_SHORT; o++) d[o] = s.dz[p.channel * NODE_PIXELS + (p.row + o) * m.tw + p.column];
        UNROLL for (int i = 0; i < N; i++) v[i] = 0.0f;
        each(p, [&](int o, int tap, float r) { v[tap] = fmaf(d[o], r, v[tap]); });
        float sum = node_scatter<N>(v);
        if (N == 16) sum += __shfl_xor_sync(FULL_WARP, sum, 16);
        s.filters[item * WARP_SIZE + lane] += sum;
    }
    __syncthreads();
}

// The block's sums to where they belong: filters (a, taps), pointwise weights (outputs, a). After a barrier.
__device__ inline void node_weights_filters(float *sums, const NodeWeightsShared &s, NodeGroup group, int taps) {
    for (int i = threadIdx.x; i < group.count * taps; i += NODE_THREADS) {
        float sum = 0.0f;
        for (int strip = 0; strip < NODE_STRIPS; strip++) sum += s.filters[(i / taps * NODE_STRIPS + strip) * WARP_SIZE + i % taps];
        sums[group.from * taps + i] = sum;
    }
}
__device__ inline void node_weights_pointwise(float *sums, const NodeWeightsShared &s, NodeGroup group, int a, int outputs) {
    for (int i = threadIdx.x; i < outputs * group.count; i += NODE_THREADS) {
        const int o = i / group.count, j = i % group.count, first = o / NODE_GROUP * NODE_GROUP;
        const NodeProducts p = node_products(min(NODE_GROUP, outputs - first), group.count);
        const int block = (o - first) / 4 * p.across + j / 4, value = o % 4 * 4 + j % 4;
        float sum = 0.0f;
        for (int piece = 0; piece < p.parts; piece++)
            sum += s.products[first / NODE_GROUP * NODE_THREADS + (piece * p.blocks + block) * 16 + value];
        sums[o * a + group.from + j] = sum;
    }
}
