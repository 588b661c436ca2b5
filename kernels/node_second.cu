// The second launch of the states that a search cell has at a time: the second halves of separable convolutions on the edges out of them. The statistics of the first halves are
// merged in the prologue and noted by the first chunk; normalisation and ReLU happen on the load.
//
// Grid: (candidates of `work`, chunks of the tiles), the chunks of node_first; blocks of NODE_THREADS; dynamic shared memory as
// NodeShared has it.
#include "node_half.cuh"

template <typename T>
__device__ __forceinline__ void node_second(const List<const float, NODE_WEIGHTS> &weights, T *z, const int *units, const int *work,
                                            float *part, float *stats, float *shared, const NodeMaps &m, int group, float eps) {
    const NodeUnit u = node_unit(units, work[blockIdx.x]);
    const int chunk = blockIdx.y, chunks = gridDim.y, ap = node_padded(m.a);
    const NodeShared s(shared, m, group, 1);
    for (int c = threadIdx.x / WARP_SIZE; c < m.a; c += NODE_WARPS) {
        const NodeNorm norm = node_merged(part, u.map, chunks, m.a, c);
        if (threadIdx.x % WARP_SIZE != 0) continue;
        s.norm[c] = norm.mean, s.norm[ap + c] = norm.rest, s.norm[2 * ap + c] = 1.0f / sqrtf(norm.var + eps);
        if (chunk == 0) node_note(stats, u.map, m.a, c, norm);
    }
    __syncthreads();
    const float *mean = s.norm, *rest = s.norm + ap, *inverse = s.norm + 2 * ap;
    T *from = z + u.map * m.values();
    node_half<1>(u.kind, (const T *)from, m.a * m.plane(), weights.at[u.weight + 2], weights.at[u.weight + 3], from + m.values(),
                 node_part(part, u.map + 1, chunk, chunks, m.a), s, m, group, chunk, chunks, [&](int c, float v) {
                     v = ((v - mean[c]) - rest[c]) * inverse[c];
                     return v > 0.0f ? v : 0.0f;
                 });
}

#define SECOND(T)                                                                                                                  \
    NODE_LIST(const float, NODE_WEIGHTS, weights), T *z, const int *units, const int *work, float *part, float *stats, int n, int a, \
        int h, int w, int th, int tw, int group, float eps

extern "C" __global__ void node_second_f32(SECOND(float)) {
    DYNAMIC_SHARED(float, shared);
    node_second(weights, z, units, work, part, stats, shared, NodeMaps{n, a, h, w, th, tw}, group, eps);
}
extern "C" __global__ void node_second_bf16(SECOND(bf16)) {
    DYNAMIC_SHARED(float, shared);
    node_second(weights, z, units, work, part, stats, shared, NodeMaps{n, a, h, w, th, tw}, group, eps);
}
