// The gradients of the states of a search cell that are of twice its nodes' sides, in one launch: everything that reaches a state added in
// the order of its arms and written once.
//
//     active channels: where x > 0, depthwise^T(pointwise^T(dz)) of dilated convolutions and of the first halves of separable ones, at stride 2;
//         pointwise^T(dz) of reductions, the first half of dz to even rows and columns, the second to odd ones
//         and what poolings hand back
//     the others: the sum of beta dy at the largest pixel of every window of 2 x 2, which is looked for again
//
// dz as in node_x.cu.
#include "node_arms.cuh"
#include "node_halved.cuh"

// Where the gradient of a candidate's first map comes from, channel o `step` o values on.
template <typename T> struct NodeBehind {
    const T *g, *z;
    long long step;
};

// Adds what a convolution sends to its input to `sums` (group, classes, tile), where a lane's strips are its own.
template <typename T, typename Half>
__device__ __forceinline__ void node_halved_half(Half, float *sums, float *dt, const float *rows, const float *taps, const float *slopes,
                                                 const NodeBehind<T> &from, NodeGroup group, const NodeTile &t, const NodeMaps &m) {
    typedef NodeHalf<2 * Half::RING + 1, 1> Around;
    const int pixels = m.tw * m.th, strips = node_strips(m, NODE_SHORT);
    Around::behind(dt, rows, slopes, from.g, from.step, from.z, group, t, m);
    __syncthreads();
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_SHORT, m);
        const float *of_channel = taps + p.channel * Half::TAPS;
        float filter[Half::TAPS], acc[Half::CLASSES][NODE_SHORT];
        UNROLL for (int i = 0; i < Half::TAPS; i++) filter[i] = of_channel[i];
        UNROLL for (int kind = 0; kind < Half::CLASSES; kind++)
            UNROLL for (int o = 0; o < NODE_SHORT; o++) acc[kind][o] = 0.0f;
        Half::template strip<NODE_SHORT, 1>(dt + Around::at(p.channel, p.row, p.column, m), node_wide(m), 0,
                                            [&](int o, int kind, int tap, float v) { acc[kind][o] = fmaf(filter[tap], v, acc[kind][o]); });
        float *to = sums + p.channel * 4 * pixels + p.row * m.tw + p.column;
        UNROLL for (int kind = 0; kind < Half::CLASSES; kind++)
            UNROLL for (int o = 0; o < NODE_SHORT; o++) to[kind * pixels + o * m.tw] += acc[kind][o];
    }
}

// The same of a reduction: a thread a pixel of the node's map. Barriers have to be around it.
template <typename T>
__device__ __forceinline__ void node_halved_reduced(float *sums, const float *rows, const float *slopes, const NodeBehind<T> &from,
                                                    NodeGroup group, const NodeTile &t, const NodeMaps &m) {
    const int pixels = m.tw * m.th, half = m.a / 2;
    const long long plane = m.plane();
    for (int i = threadIdx.x; i < pixels; i += NODE_THREADS) {
        const int y = t.y + i / m.tw, x = t.x + i % m.tw;
        if (y >= m.h || x >= m.w) continue;
        const T *gradient = from.g + (long long)y * m.w + x, *value = from.z + (long long)y * m.w + x;
        for (int odd = 0; odd < 2; odd++) {
            float acc[NODE_GROUP];
            UNROLL for (int j = 0; j < NODE_GROUP; j++) acc[j] = 0.0f;
            for (int o = odd * half; o < (odd + 1) * half; o++) {
                const float *slope = slopes + o * NODE_SLOPE;
                const float d = node_through(load4(slope), slope[4], to_float(gradient[o * from.step]), to_float(value[o * plane]));
                node_add_row(acc, rows + o * NODE_GROUP, d, group.count);
            }
            UNROLL for (int j = 0; j < NODE_GROUP; j++)
                if (j < group.count) sums[(j * 4 + odd * 3) * pixels + i] += acc[j];
        }
    }
}

// Calls f(c, row, column, sum) for every pixel of the state's tile and channel of the group, each by one thread.
template <typename F> __device__ __forceinline__ void node_halved_pixels(float *sums, NodeGroup group, const NodeTile &t, const NodeMaps &m, F f) {
    const int pixels = m.tw * m.th;
    const unsigned wide = 2 * m.tw, of_channel = 4 * pixels;
    for (unsigned i = threadIdx.x; i < of_channel * group.count; i += NODE_THREADS) {
        const unsigned c = i / of_channel, in = i - c * of_channel, row = in / wide, column = in - row * wide;
        if (2 * t.y + (int)row >= 2 * m.h || 2 * t.x + (int)column >= 2 * m.w) continue;
        f((int)c, (int)row, (int)column, sums[c * of_channel + (row % 2 * 2 + column % 2) * pixels + row / 2 * m.tw + column / 2]);
    }
}

// Adds what the candidates of an arm send to the tile.
template <typename T>
__device__ __forceinline__ void node_halved_arm(const List<const float, NODE_WEIGHTS> &w, const NodeArm<T> &arm, const T *z, const T *g,
                                                const int *units, const NodeEdge &e, const float *slopes, float *rows, float *taps,
                                                float *sums, float *dt, NodeGroup group, int k, const NodeTile &t, const NodeMaps &m) {
    const long long plane = m.plane(), active = t.image * (long long)m.a * plane;
    slopes += arm.unit * m.a * NODE_SLOPE;
    for (int i = e.first; i < e.end; i++, slopes += m.a * NODE_SLOPE) {
        const NodeUnit u = node_unit(units, i);
        if (node_pools(u.kind)) continue;
        const bool twice = u.maps == 2, three = u.kind == NODE_SEP3 || u.kind == NODE_DIL3;
        const NodeBehind<T> from = {twice ? g + u.aside * m.values() + active : arm.dy + t.image * arm.image,
                                    z + u.map * m.values() + active, twice ? plane : k * plane};
        __syncthreads();
        if (u.kind == NODE_REDUCED) node_reduced_load(w.at[u.weight], w.at[u.weight + 1], rows, m.a, group);
        else node_weights_load(w.at[u.weight], w.at[u.weight + 1], taps, rows, m.a, group, three ? 9 : 25);
        __syncthreads();
        if (u.kind == NODE_REDUCED) node_halved_reduced(sums, rows, slopes, from, group, t, m);
        else
            node_halved_by_kind(u.kind, [&](auto half) { node_halved_half<T>(half, sums, dt, rows, taps, slopes, from, group, t, m); });
    }
}

// What bypasses, of a channel: `state` and `to` of it, its gradient channel `lands` of the nodes'.
template <typename T>
__device__ __forceinline__ void node_halved_rest(T *to, const T *state, const NodeArm<T> *arms, int count, int lands, const NodeTile &t,
                                                 const NodeMaps &m) {
    node_over<1>(t, m, [&](long long at) {
        const int y = (int)quotient(at, m.w), x = (int)(at - (long long)y * m.w);
        const long long above = (4ll * y) * m.w + 2 * x, below = above + 2 * m.w;
        float sum = 0.0f;
        for (int i = 0; i < count; i++)
            sum = fmaf(arms[i].beta, to_float(arms[i].dy[t.image * arms[i].image + lands * m.plane() + at]), sum);
        int tap;
        node_largest(to_float(state[above]), to_float(state[above + 1]), to_float(state[below]), to_float(state[below + 1]), tap);
        to[above] = from_float<T>(tap == 0 ? sum : 0.0f), to[above + 1] = from_float<T>(tap == 1 ? sum : 0.0f);
        to[below] = from_float<T>(tap == 2 ? sum : 0.0f), to[below + 1] = from_float<T>(tap == 3 ? sum : 0.0f);
    });
}

// Grid: (blocks of tiles of 256 pixels of the nodes' map, groups of channels, states of `wanted`).
template <typename T> __device__ __forceinline__ void node_halved_x(NODE_ARMS_OF(T, const, &), NodeArm<T> *mine, float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeState s = node_state(states, wanted[blockIdx.z]);
    const NodeGroup group = node_group(blockIdx.y, a);
    const long long plane = m.plane(), inside = 4 * plane;
    const int tiles = node_tiles(m), all = group.count * 4 * tw * th, count = s.end - s.first, channels = a * k;
    float *slopes = shared, *rows = slopes + node_arm_units(edges, arms, s) * a * NODE_SLOPE, *taps = rows + a * NODE_GROUP;
    float *sums = taps + NODE_GROUP * 25, *dt = sums + all;
    node_arms(d, stats, alpha, beta, part, inner, units, edges, arms, chunks, slots, inner_chunks, m, k, eps, s, mine, slopes);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile t = node_tile(m, tile);
        const T *image = x.at[s.source] + (t.image * (long long)s.channels + s.from) * inside;
        T *of_image = dx.at[s.out] + (t.image * (long long)s.out_channels + s.out_from) * inside;
        for (int c = a + blockIdx.y; c < channels; c += gridDim.y)
            node_halved_rest(of_image + c * inside, image + c * inside, mine, count, node_lands(c, a, k), t, m);
        for (int i = threadIdx.x; i < all; i += NODE_THREADS) sums[i] = 0.0f;
        for (int i = 0; i < count; i++)
            node_halved_arm(w, mine[i], z, g, units, node_edge(edges, mine[i].edge), slopes, rows, taps, sums, dt, group, k, t, m);
        __syncthreads();
        const T *state = image + group.from * inside;
        T *to = of_image + group.from * inside;
        const auto at = [&](int c, int row, int column) { return c * inside + (2 * t.y + row) * (2ll * m.w) + 2 * t.x + column; };
        node_halved_pixels(sums, group, t, m, [&](int c, int row, int column, float &sum) {
            if (!(to_float(state[at(c, row, column)]) > 0.0f)) sum = 0.0f;
        });
        for (int kind = 0; kind < 2; kind++) {
            if (!node_arms_pool(mine, count, kind)) continue;
            __syncthreads();
            node_pools_behind<2>(dt, mine, count, kind, slopes, z, units, edges, group, k, t, m);
            __syncthreads();
            // All arms' have the same taps: those of the first.
            int first = 0;
            while (mine[first].pools[kind] < 0) first++;
            const NodeUnit u = node_unit(units, mine[first].pools[kind]);
            const unsigned char *of_map = kind == 0 ? taken + u.aside * m.values() + t.image * (long long)a * plane : taken;
            node_halved_pixels(sums, group, t, m, [&](int c, int row, int column, float &sum) {
                const unsigned char *own = of_map + (kind == 0 ? (group.from + c) * plane : 0);
                float back = 0.0f;
                // Odd rows and columns are taps of two windows.
                for (int dy = 0; dy <= row % 2; dy++)
                    for (int dx = 0; dx <= column % 2; dx++) {
                        const int r = row / 2 + dy, q = column / 2 + dx;
                        back += node_pool_tap(dt, own, kind, c, r, q, t.y + r, t.x + q, row - 2 * r + 1, column - 2 * q + 1, m);
                    }
                sum += back;
            });
        }
        node_halved_pixels(sums, group, t, m,
                           [&](int c, int row, int column, float &sum) { to[at(c, row, column)] = from_float<T>(sum); });
        __syncthreads();
    }
}

extern "C" __global__ void node_halved_x_f32(NODE_ARMS_OF(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    SHARED(NodeArm<float>, mine, NODE_ARMS);
    node_halved_x<float>(NODE_ARMS_ARGUMENTS, mine, shared);
}
extern "C" __global__ void node_halved_x_bf16(NODE_ARMS_OF(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    SHARED(NodeArm<bf16>, mine, NODE_ARMS);
    node_halved_x<bf16>(NODE_ARMS_ARGUMENTS, mine, shared);
}
