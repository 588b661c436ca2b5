// The gradients of the states of a search cell that are of its nodes' size, in one launch for those that it has at a time: everything that
// reaches a state over its arms, added in their order and written once.
//
//     active channels: where x > 0, depthwise^T(pointwise^T(dz)) of dilated convolutions and of the first halves of separable ones; what
//         poolings hand back; the shares of skip-connects
//     the others: the sum of beta dy
//
// and the cell's own gradient where the state is a node. dz of a dilated convolution and of a pooling comes from dy and the sums of
// node_sums, of a first half from the gradient at the inner ReLU and the sums of node_last.
#include "node_arms.cuh"

// Adds what one half sends to its input to `sums` (group, tile), where a lane's strips are its own.
template <typename T, int K, int D>
__device__ __forceinline__ void node_x_half(float *sums, float *dt, const float *rows, const float *taps, const float *slopes, const T *g,
                                            long long step, const T *z, NodeGroup group, const NodeTile &t, const NodeMaps &m) {
    typedef NodeHalf<K, D> Half;
    const int strips = node_strips(m, NODE_ROWS);
    Half::behind(dt, rows, slopes, g, step, z, group, t, m);
    __syncthreads();
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
        float acc[NODE_ROWS], *to = sums + p.channel * m.tw * m.th + p.row * m.tw + p.column;
        Half::turned(dt, taps, p.channel, p.row, p.column, m, acc);
        UNROLL for (int o = 0; o < NODE_ROWS; o++) to[o * m.tw] += acc[o];
    }
}

// Calls f(strip, o, at, sum) for every pixel of the lane's strips, row o of a strip, `at` its place in the map.
template <typename F> __device__ __forceinline__ void node_x_strips(float *sums, NodeGroup group, const NodeTile &t, const NodeMaps &m, F f) {
    const int strips = node_strips(m, NODE_ROWS);
    for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
        const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
        float *of = sums + p.channel * m.tw * m.th + p.row * m.tw + p.column;
        for (int o = 0; o < NODE_ROWS; o++) {
            const int y = t.y + p.row + o, x = t.x + p.column;
            if (y < m.h && x < m.w) f(p, o, (long long)y * m.w + x, of[o * m.tw]);
        }
    }
}

// Adds what the convolutions of an arm send to the tile.
template <typename T>
__device__ __forceinline__ void node_x_arm(const List<const float, NODE_WEIGHTS> &w, const NodeArm<T> &arm, const T *z, const T *g,
                                           const int *units, const NodeEdge &e, const float *slopes, float *rows, float *taps,
                                           float *sums, float *dt, NodeGroup group, int k, const NodeTile &t, const NodeMaps &m) {
    const long long plane = m.plane(), active = t.image * (long long)m.a * plane;
    slopes += arm.unit * m.a * NODE_SLOPE;
    for (int i = e.first; i < e.end; i++, slopes += m.a * NODE_SLOPE) {
        const NodeUnit u = node_unit(units, i);
        if (u.kind < NODE_SEP3 || u.kind > NODE_DIL5) continue;
        const bool twice = u.maps == 2;
        const T *value = z + u.map * m.values() + active;
        const T *from = twice ? g + u.aside * m.values() + active : arm.dy + t.image * arm.image;
        const long long step = twice ? plane : k * plane;
        __syncthreads();
        node_weights_load(w.at[u.weight], w.at[u.weight + 1], taps, rows, m.a, group, u.kind == NODE_SEP3 || u.kind == NODE_DIL3 ? 9 : 25);
        __syncthreads();
        if (u.kind == NODE_SEP3) node_x_half<T, 3, 1>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
        else if (u.kind == NODE_SEP5) node_x_half<T, 5, 1>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
        else if (u.kind == NODE_DIL3) node_x_half<T, 3, 2>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
        else node_x_half<T, 5, 2>(sums, dt, rows, taps, slopes, from, step, value, group, t, m);
    }
}

// Grid: (blocks of tiles, groups of channels, states of `wanted`).
template <typename T> __device__ __forceinline__ void node_x(NODE_ARMS_OF(T, const, &), NodeArm<T> *mine, float *shared) {
    const NodeMaps m = NODE_MAPS_READ;
    const NodeState s = node_state(states, wanted[blockIdx.z]);
    const NodeGroup group = node_group(blockIdx.y, a);
    const long long plane = m.plane();
    const int tiles = node_tiles(m), channels = a * k, count = s.end - s.first;
    float *slopes = shared, *rows = slopes + node_arm_units(edges, arms, s) * a * NODE_SLOPE, *taps = rows + a * NODE_GROUP;
    float *sums = taps + NODE_GROUP * 25, *dt = sums + min(NODE_GROUP, a) * tw * th;
    node_arms(d, stats, alpha, beta, part, inner, units, edges, arms, chunks, slots, inner_chunks, m, k, eps, s, mine, slopes);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const NodeTile t = node_tile(m, tile);
        const T *state = x.at[s.source] + (t.image * (long long)s.channels + s.from) * plane;
        const T *outer = s.outer ? d.at[0] + (t.image * (long long)s.channels + s.from) * plane : nullptr;
        T *to = dx.at[s.out] + (t.image * (long long)s.out_channels + s.out_from) * plane;
        const int strips = node_strips(m, NODE_ROWS);
        for (int item = threadIdx.x / WARP_SIZE; item < group.count * strips; item += NODE_WARPS) {
            const NodeStrip p = node_strip(item, strips, NODE_ROWS, m);
            for (int o = 0; o < NODE_ROWS; o++) sums[p.channel * m.tw * m.th + (p.row + o) * m.tw + p.column] = 0.0f;
        }
        for (int i = 0; i < count; i++)
            node_x_arm(w, mine[i], z, g, units, node_edge(edges, mine[i].edge), slopes, rows, taps, sums, dt, group, k, t, m);
        node_x_strips(sums, group, t, m, [&](const NodeStrip &p, int, long long at, float &sum) {
            if (!(to_float(state[(group.from + p.channel) * plane + at]) > 0.0f)) sum = 0.0f;
        });
        for (int kind = 0; kind < 2; kind++) {
            if (!node_arms_pool(mine, count, kind)) continue;
            __syncthreads();
            node_pools_behind<1>(dt, mine, count, kind, slopes, z, units, edges, group, k, t, m);
            __syncthreads();
            // All arms' have the same taps: those of the first.
            int first = 0;
            while (mine[first].pools[kind] < 0) first++;
            const NodeUnit u = node_unit(units, mine[first].pools[kind]);
            const unsigned char *of_map = kind == 0 ? taken + u.aside * m.values() + t.image * (long long)a * plane : taken;
            node_x_strips(sums, group, t, m, [&](const NodeStrip &p, int o, long long, float &sum) {
                const int row = p.row + o, y = t.y + row, column = t.x + p.column;
                const unsigned char *own = of_map + (kind == 0 ? (group.from + p.channel) * plane : 0);
                float back = 0.0f;
                UNROLL for (int ky = 0; ky < 3; ky++)
                    UNROLL for (int kx = 0; kx < 3; kx++)
                        back += node_pool_tap(dt, own, kind, p.channel, row + 1 - ky, p.column + 1 - kx, y + 1 - ky, column + 1 - kx, ky, kx, m);
                sum += back;
            });
        }
        node_x_strips(sums, group, t, m, [&](const NodeStrip &p, int, long long at, float &sum) {
            const int c = group.from + p.channel;
            float v = sum + (outer ? to_float(outer[c * plane + at]) : 0.0f);
            for (int i = 0; i < count; i++)
                v = fmaf(mine[i].skip, to_float(mine[i].dy[t.image * mine[i].image + c * k * plane + at]), v);
            to[c * plane + at] = from_float<T>(v);
        });
        for (int c = a + blockIdx.y; c < channels; c += gridDim.y) {
            const T *more = outer ? outer + c * plane : nullptr;
            if (m.w % PACK<T> == 0) node_bypassed<PACK<T>>(to + c * plane, more, mine, count, node_lands(c, a, k), t, m);
            else node_bypassed<1>(to + c * plane, more, mine, count, node_lands(c, a, k), t, m);
        }
        __syncthreads();
    }
}

extern "C" __global__ void node_x_f32(NODE_ARMS_OF(float, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    SHARED(NodeArm<float>, mine, NODE_ARMS);
    node_x<float>(NODE_ARMS_ARGUMENTS, mine, shared);
}
extern "C" __global__ void node_x_bf16(NODE_ARMS_OF(bf16, NODE_GIVEN, )) {
    DYNAMIC_SHARED(float, shared);
    SHARED(NodeArm<bf16>, mine, NODE_ARMS);
    node_x<bf16>(NODE_ARMS_ARGUMENTS, mine, shared);
}
