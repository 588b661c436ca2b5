// Gradients of the convolutions' weights of a search node, of every half in one launch: partial sums by block of tiles, which
// node_gradients of node_grads.cu adds in order.
//
//     pointwise[o][i] = <dz[o], t[i]>,  t = depthwise(r)          r: what the half convolves, rectified
//     depthwise[i][tap] = <dt[i], r[i] at the tap>,  dt = pointwise^T dz
//
// t, dz and dt are computed again, of a tile of 256 pixels: dz by a thread a pixel, 16 channels o at a time. dz of a last half comes from dy
// and the sums of node_sums, of a first half of two from the gradient at the inner ReLU and the sums of node_last.
#include "node_back.cuh"

// Rows of a strip; pixels of a tile, two strips of a channel.
constexpr int NODE_SHORT = 4, NODE_PIXELS = NODE_THREADS, NODE_STRIPS = NODE_PIXELS / (WARP_SIZE * NODE_SHORT);

#define NODE_WEIGHTS_OF(T, GIVEN, REF)                                                                                              \
    GIVEN List<const T, NODE_MAPS> REF z, GIVEN List<const float, NODE_WEIGHTS> REF w, GIVEN List<const T, NODE_MAPS> REF g,        \
        GIVEN List<const T, NODE_EDGES> REF x, const T *dy, const float *stats, const float *alpha, const float *beta,              \
        const float *part, const float *inner, float *sums, const int *units, const int *edges, const int *halves, int chunks,      \
        int slots, int inner_chunks, int total, NODE_TILES, float eps

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

// What lies in the shared memory of a block; as `weights` of mixed_node/device/backward/parameters.rs counts it. `r`: the group's
// channels with what is around them; `t` (16, pixels): theirs behind the depthwise convolution; `dz` (16, pixels), later dt; `norm` (16, 4): how the
// input is normalised; sums of a block: `products`, 16 x 16 of a thread each for each 16 channels o, and `filters` of a strip.
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

template <typename T, int K, int D>
__device__ __forceinline__ void node_weights_tiles(const T *input, int channels, const T *g, long long of_image, long long step,
                                                   const T *z, const NodeWeightsShared &s, float *sums, NodeGroup group,
                                                   const NodeMaps &m) {
    typedef NodeHalf<K, D> Half;
    const long long plane = m.plane();
    const int wide = node_wide(m), tiles = node_tiles(m), items = group.count * NODE_STRIPS;
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile at = node_tile(m, tile);
        node_fill<Half::PAD>(input + at.image * (long long)channels * plane, s.r, m, at, group.from, group.count, [&](int c, float v) {
            const float4 norm = load4(s.norm + (c - group.from) * 4);
            return fmaxf(((v - norm.x) - norm.y) * norm.z, 0.0f);
        });
        __syncthreads();
        for (int item = warp; item < items; item += NODE_WARPS) {
            const NodeStrip p = node_strip(item, NODE_STRIPS, NODE_SHORT, m);
            const float *taps = s.taps + p.channel * Half::TAPS;
            float filter[Half::TAPS], acc[NODE_SHORT];
            UNROLL for (int i = 0; i < Half::TAPS; i++) filter[i] = taps[i];
            UNROLL for (int o = 0; o < NODE_SHORT; o++) acc[o] = 0.0f;
            Half::template strip<NODE_SHORT>(s.r + Half::at(p.channel, p.row, p.column, m), wide,
                                             [&](int o, int tap, float v) { acc[o] = fmaf(filter[tap], v, acc[o]); });
            UNROLL for (int o = 0; o < NODE_SHORT; o++) s.t[p.channel * NODE_PIXELS + (p.row + o) * m.tw + p.column] = acc[o];
        }
        // A thread a pixel: dz of 16 channels at a time, and dt of the group's.
        const int pixel = threadIdx.x, y = at.y + pixel / m.tw, x = at.x + pixel % m.tw;
        const bool there = y < m.h && x < m.w;
        const long long in = there ? (long long)y * m.w + x : 0;
        const T *gradient = g + at.image * of_image + in, *value = z + at.image * (long long)m.a * plane + in;
        float dt[NODE_GROUP];
        UNROLL for (int j = 0; j < NODE_GROUP; j++) dt[j] = 0.0f;
        for (int first = 0; first < m.a; first += NODE_GROUP) {
            const int outputs = min(NODE_GROUP, m.a - first);
            for (int o = 0; o < outputs; o++) {
                const int c = first + o;
                const float *slope = s.slopes + c * NODE_SLOPE;
                const float d = node_through(load4(slope), slope[4], to_float(gradient[c * step]), to_float(value[c * plane]));
                s.dz[o * NODE_PIXELS + pixel] = there ? d : 0.0f;
                node_add_row(dt, s.rows + c * NODE_GROUP, there ? d : 0.0f, group.count);
            }
            for (int o = outputs; o % 4 != 0; o++) s.dz[o * NODE_PIXELS + pixel] = 0.0f;
            __syncthreads();
            node_multiply(s.dz, s.t, s.products + first / NODE_GROUP * NODE_THREADS, node_products(outputs, group.count));
            __syncthreads();
        }
        UNROLL for (int j = 0; j < NODE_GROUP; j++)
            if (j < group.count) s.dz[j * NODE_PIXELS + pixel] = dt[j];
        __syncthreads();
        for (int item = warp; item < items; item += NODE_WARPS) {
            const NodeStrip p = node_strip(item, NODE_STRIPS, NODE_SHORT, m);
            constexpr int N = Half::TAPS > 16 ? 32 : 16;
            float d[NODE_SHORT], v[N];
            UNROLL for (int o = 0; o < NODE_SHORT; o++) d[o] = s.dz[p.channel * NODE_PIXELS + (p.row + o) * m.tw + p.column];
            UNROLL for (int i = 0; i < N; i++) v[i] = 0.0f;
            Half::template strip<NODE_SHORT>(s.r + Half::at(p.channel, p.row, p.column, m), wide,
                                             [&](int o, int tap, float r) { v[tap] = fmaf(d[o], r, v[tap]); });
            float sum = node_scatter<N>(v);
            if (N == 16) sum += __shfl_xor_sync(FULL_WARP, sum, 16);
            s.filters[item * WARP_SIZE + lane] += sum;
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < group.count * Half::TAPS; i += NODE_THREADS) {
        float sum = 0.0f;
        for (int strip = 0; strip < NODE_STRIPS; strip++) sum += s.filters[(i / Half::TAPS * NODE_STRIPS + strip) * WARP_SIZE + i % Half::TAPS];
        sums[group.from * Half::TAPS + i] = sum;
    }
    sums += m.a * Half::TAPS;
    for (int i = threadIdx.x; i < m.a * group.count; i += NODE_THREADS) {
        const int o = i / group.count, j = i % group.count, first = o / NODE_GROUP * NODE_GROUP;
        const NodeProducts p = node_products(min(NODE_GROUP, m.a - first), group.count);
        const int block = (o - first) / 4 * p.across + j / 4, value = o % 4 * 4 + j % 4;
        float sum = 0.0f;
        for (int piece = 0; piece < p.parts; piece++)
            sum += s.products[first / NODE_GROUP * NODE_THREADS + (piece * p.blocks + block) * 16 + value];
        sums[o * m.a + group.from + j] = sum;
    }
}

// sums (blocks, total): of each half its depthwise and its pointwise weights'. Grid: (blocks of tiles, groups of channels, halves).
template <typename T> __device__ __forceinline__ void node_weights(NODE_WEIGHTS_OF(T, const, &), float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeGroup group = node_group(blockIdx.y, a);
    const int *row = halves + blockIdx.z * NODE_HALF;
    const int index = row[0], half = row[1];
    const NodeUnit u = node_unit(units, index);
    const NodeEdge e = node_edge(edges, u.edge);
    const NodeWeightsShared s(shared, a);
    const bool last = half == u.maps - 1;
    const float weight = alpha[u.alpha] * beta[e.beta];
    for (int c = threadIdx.x / WARP_SIZE; c < a; c += NODE_WARPS) {
        float *slope = s.slopes + c * NODE_SLOPE;
        if (last) node_last_slope(slope, u, index, c, stats, part, chunks, slots, weight, a, k, eps);
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
    for (int i = threadIdx.x; i < (a + NODE_GROUP - 1) / NODE_GROUP * NODE_THREADS; i += NODE_THREADS) s.products[i] = 0.0f;
    for (int i = threadIdx.x; i < NODE_GROUP * NODE_STRIPS * WARP_SIZE; i += NODE_THREADS) s.filters[i] = 0.0f;
    for (int j = group.count; j % 4 != 0; j++) s.t[j * NODE_PIXELS + threadIdx.x] = 0.0f;
    __syncthreads();
    const long long plane = m.plane();
    const T *input = half == 0 ? x.at[u.edge] : z.at[u.map], *value = z.at[u.map + half], *from = last ? dy : g.at[u.map];
    const int channels = half == 0 ? e.channels : a;
    const long long step = last ? k * plane : plane, of_image = a * step;
    float *to = sums + (long long)blockIdx.x * total + row[2];
    if (u.kind == NODE_SEP3) node_weights_tiles<T, 3, 1>(input, channels, from, of_image, step, value, s, to, group, m);
    else if (u.kind == NODE_SEP5) node_weights_tiles<T, 5, 1>(input, channels, from, of_image, step, value, s, to, group, m);
    else if (u.kind == NODE_DIL3) node_weights_tiles<T, 3, 2>(input, channels, from, of_image, step, value, s, to, group, m);
    else node_weights_tiles<T, 5, 2>(input, channels, from, of_image, step, value, s, to, group, m);
}

#define NODE_WEIGHTS_ARGUMENTS                                                                                                           \
    z, w, g, x, dy, stats, alpha, beta, part, inner, sums, units, edges, halves, chunks, slots, inner_chunks, total, n, a, k, h, wd, th, \
        tw, eps

extern "C" __global__ void node_weights_f32(NODE_WEIGHTS_OF(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_weights<float>(NODE_WEIGHTS_ARGUMENTS, shared);
}
extern "C" __global__ void node_weights_bf16(NODE_WEIGHTS_OF(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    node_weights<bf16>(NODE_WEIGHTS_ARGUMENTS, shared);
}
