// Weighted cosine distance of vectors (src/ops/cosine.rs): the loss of surface normals. A thread takes a position; the elements of its
// vectors are `inner` apart. Positions of weight 0 are not looked at.
#include "reduce.cuh"

// Shorter vectors count as of this length.
constexpr float SHORTEST = 1e-8f;

// Two vectors: their lengths, whether that of the first is its own, the cosine between them.
struct VectorPair {
    float a, b, cosine;
    bool own;
};

__device__ inline VectorPair vector_pair(const float *x, const float *t, int len, long long inner) {
    float xx = 0.0f, tt = 0.0f, xt = 0.0f;
    for (int c = 0; c < len; c++) {
        float p = x[c * inner], q = t[c * inner];
        xx += p * p;
        tt += q * q;
        xt += p * q;
    }
    float a = fmaxf(sqrtf(xx), SHORTEST), b = fmaxf(sqrtf(tt), SHORTEST);
    return VectorPair{a, b, xt / a / b, a > SHORTEST};
}

// part[b] = sum of m (1 - cosine).
extern "C" __global__ void cosine_f32(const float *x, const float *t, const float *m, float *part, int len, long long inner,
                                      long long positions) {
    SHARED(float, tile, WARP_SIZE);
    float sum = 0.0f;
    for (long long i = global_index(); i < positions; i += global_size()) {
        if (m[i] == 0.0f) continue;
        long long at = i / inner * len * inner + i % inner;
        sum += m[i] * (1.0f - vector_pair(x + at, t + at, len, inner).cosine);
    }
    sum = block_sum(sum, tile);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

// d = factor dy m (t / |t| - cosine x / |x|) / |x|, the gradient of x; with the two exchanged that of t.
extern "C" __global__ void cosine_bwd_f32(const float *x, const float *t, const float *m, const float *dy, float *d, float factor,
                                          int len, long long inner, long long positions) {
    for (long long i = global_index(); i < positions; i += global_size()) {
        long long at = i / inner * len * inner + i % inner;
        if (m[i] == 0.0f) {
            for (int c = 0; c < len; c++) d[at + c * inner] = 0.0f;
            continue;
        }
        VectorPair v = vector_pair(x + at, t + at, len, inner);
        float g = m[i] * (dy[0] * factor) / v.a, along = v.own ? v.cosine / v.a : 0.0f;
        for (int c = 0; c < len; c++) d[at + c * inner] = g * (t[at + c * inner] / v.b - along * x[at + c * inner]);
    }
}

// dm = factor dy (1 - cosine).
extern "C" __global__ void cosine_bwd_weight_f32(const float *x, const float *t, const float *dy, float *dm, float factor, int len,
                                                 long long inner, long long positions) {
    for (long long i = global_index(); i < positions; i += global_size()) {
        long long at = i / inner * len * inner + i % inner;
        dm[i] = (1.0f - vector_pair(x + at, t + at, len, inner).cosine) * (dy[0] * factor);
    }
}
