// The gradients of a search cell's parameters from partial sums, added in order: weights of convolutions (node_weights.cu), alpha and beta
// (node_sums.cu), in one launch.
#include "node_back.cuh"

// <dy, value of candidate u> over the active channels, in thread 0.
__device__ inline double node_along(const int *units, int u, const float *stats, const float *part, int chunks, int slots, int a, int k,
                                    float eps, double *warps) {
    const NodeUnit unit = node_unit(units, u);
    double sum = 0.0;
    for (int i = threadIdx.x; i < chunks * a; i += NODE_THREADS) {
        const int c = i % a;
        const double v = part[((long long)(i / a) * a * k + c) * slots + unit.dot];
        sum += unit.kind == NODE_SKIP ? v : v / sqrt((double)node_known(stats, unit.map + unit.maps - 1, a, c).var + eps);
    }
    return block_sum(sum, warps);
}

// dw: gradients by pointer to a weight, (a, K, K) and (a, a) in turn or both (a / 2, a) of a reduction, null where it is not wanted; sums
// (blocks, total) as node_weights.cu and node_halved_weights.cu write them, `halves` their tables. part (chunks, a k, slots) of node_sums.
// Grid: (blocks, halves and one more); of those without `arch` only the halves.
extern "C" __global__ void node_gradients_f32(NODE_GIVEN List<float, NODE_WEIGHTS> dw, const float *sums, const float *alpha,
                                              const float *beta, const float *stats, const float *part, float *dalpha, float *dbeta,
                                              const int *units, const int *edges, const int *halves, int half_count, int unit_count,
                                              int edge_count, int alphas, int betas, int chunks, int slots, int blocks, int total, int a,
                                              int k, float eps) {
    SHARED(double, warps, NODE_WARPS);
    if ((int)blockIdx.y < half_count) {
        const int *row = halves + blockIdx.y * NODE_HALF;
        const NodeUnit u = node_unit(units, row[0]);
        const bool reduced = u.kind == NODE_REDUCED, three = u.kind == NODE_SEP3 || u.kind == NODE_DIL3;
        const int of_filters = reduced ? 0 : a * (three ? 9 : 25), all = reduced ? a / 2 * a : of_filters + a * a;
        const int first = u.weight + (reduced ? row[1] : 2 * row[1]);
        float *filters = dw.at[first], *products = dw.at[reduced ? first : first + 1];
        for (int i = blockIdx.x * NODE_THREADS + threadIdx.x; i < all; i += gridDim.x * NODE_THREADS) {
            float sum = 0.0f;
            for (int block = 0; block < blocks; block++) sum += sums[(long long)block * total + row[2] + i];
            if (i < of_filters) {
                if (filters) filters[i] = sum;
            } else if (products) products[i - of_filters] = sum;
        }
        return;
    }
    for (int j = blockIdx.x; j < alphas + betas; j += gridDim.x) {
        double sum = 0.0;
        for (int u = 0; u < unit_count; u++) {
            const NodeUnit unit = node_unit(units, u);
            const int of_edge = node_edge(edges, unit.edge).beta;
            if (j < alphas ? unit.alpha != j : of_edge != j - alphas) continue;
            const double along = node_along(units, u, stats, part, chunks, slots, a, k, eps, warps);
            sum += along * (j < alphas ? beta[of_edge] : alpha[unit.alpha]);
        }
        for (int i = 0; i < edge_count && j >= alphas; i++) {
            const NodeEdge e = node_edge(edges, i);
            if (e.beta != j - alphas) continue;
            // What bypasses.
            const int channels = a * k - a;
            double own = 0.0;
            for (int p = threadIdx.x; p < chunks * channels; p += NODE_THREADS)
                own += part[((long long)(p / channels) * a * k + a + p % channels) * slots + e.dot];
            sum += block_sum(own, warps);
        }
        if (threadIdx.x == 0) {
            if (j < alphas) dalpha[j] = (float)sum;
            else dbeta[j - alphas] = (float)sum;
        }
    }
}
