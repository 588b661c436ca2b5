// Cross entropy and smooth L1. A loss is summed in two stages: two numbers a block, then one block over those (`*_finish`); its
// gradient kernels read the gradient of the loss, and what the sum was divided by, in device memory.
#include "reduce.cuh"

// Parameters of cross entropy; `w` is read when `weighted`.
struct Entropy {
    const float *w;
    int weighted, ignore, ignores, len;
    float smoothing;
    __device__ float weight(int c) const { return weighted ? w[c] : 1.0f; }
};

// lse[i] = ln sum_c e^x; part[b], part[blocks + b]: sums of l_i and of w[t_i] (src/ops/cross_entropy.rs) over positions that are not
// ignored. A target outside the classes makes the loss NaN.
template <typename T>
__device__ void cross_entropy(const T *x, const int *t, Entropy p, float *lse, float *part, long long inner, long long positions,
                              float *tile) {
    float loss = 0.0f, weight = 0.0f;
    for (long long i = global_index(); i < positions; i += global_size()) {
        const T *z = x + i / inner * p.len * inner + i % inner;
        float m = -INFINITY, s = 0.0f;
        for (int c = 0; c < p.len; c++) m = fmaxf(m, to_float(z[c * inner]));
        for (int c = 0; c < p.len; c++) s += expf(to_float(z[c * inner]) - m);
        float all = m + logf(s);
        lse[i] = all;
        int k = t[i];
        if (p.ignores && k == p.ignore) continue;
        if (k < 0 || k >= p.len) {
            loss = NAN;
            continue;
        }
        loss += (1.0f - p.smoothing) * p.weight(k) * (all - to_float(z[k * inner]));
        weight += p.weight(k);
        if (p.smoothing > 0.0f) {
            float smooth = 0.0f;
            for (int c = 0; c < p.len; c++) smooth += p.weight(c) * (all - to_float(z[c * inner]));
            loss += p.smoothing / p.len * smooth;
        }
    }
    loss = block_sum(loss, tile);
    if (threadIdx.x == 0) part[blockIdx.x] = loss;
    weight = block_sum(weight, tile);
    if (threadIdx.x == 0) part[gridDim.x + blockIdx.x] = weight;
}

// y = loss / den; den is `fixed`, or where that is 0 the summed weight, 1 in place of 0. One block.
extern "C" __global__ void cross_entropy_finish(const float *part, float *y, float *den, int parts, float fixed) {
    SHARED(double, tile, WARP_SIZE);
    double loss = parts_sum(part, parts, tile), weight = parts_sum(part + parts, parts, tile);
    if (threadIdx.x == 0) {
        double d = fixed > 0.0f ? (double)fixed : weight;
        if (d == 0.0) d = 1.0;
        y[0] = (float)(loss / d);
        den[0] = (float)d;
    }
}

// dx = ((1 - e) w_t (p - [c = t]) + e / C (p sum w - w_c)) dy / den, p = e^(x - lse); 0 where ignored. `total` is the sum of w.
template <typename T>
__device__ void cross_entropy_bwd(const T *x, const int *t, Entropy p, const float *lse, const float *dy, const float *den, T *dx,
                                  long long inner, long long positions, float total) {
    float g = dy[0] / den[0], e = p.smoothing / p.len;
    for (long long i = global_index(); i < positions; i += global_size()) {
        long long at = i / inner * p.len * inner + i % inner;
        int k = t[i];
        if (p.ignores && k == p.ignore) {
            for (int c = 0; c < p.len; c++) dx[at + c * inner] = from_float<T>(0.0f);
            continue;
        }
        float hard = k < 0 || k >= p.len ? NAN : (1.0f - p.smoothing) * p.weight(k), all = lse[i];
        for (int c = 0; c < p.len; c++) {
            float q = expf(to_float(x[at + c * inner]) - all);
            float d = hard * (q - (c == k ? 1.0f : 0.0f)) + e * (q * total - p.weight(c));
            dx[at + c * inner] = from_float<T>(g * d);
        }
    }
}

extern "C" __global__ void cross_entropy_f32(const float *x, const int *t, const float *w, float *lse, float *part, int weighted,
                                             int ignore, int ignores, float smoothing, int len, long long inner,
                                             long long positions) {
    SHARED(float, tile, WARP_SIZE);
    cross_entropy(x, t, Entropy{w, weighted, ignore, ignores, len, smoothing}, lse, part, inner, positions, tile);
}
extern "C" __global__ void cross_entropy_bf16(const bf16 *x, const int *t, const float *w, float *lse, float *part, int weighted,
                                              int ignore, int ignores, float smoothing, int len, long long inner,
                                              long long positions) {
    SHARED(float, tile, WARP_SIZE);
    cross_entropy(x, t, Entropy{w, weighted, ignore, ignores, len, smoothing}, lse, part, inner, positions, tile);
}
extern "C" __global__ void cross_entropy_bwd_f32(const float *x, const int *t, const float *w, const float *lse, const float *dy,
                                                 const float *den, float *dx, int weighted, int ignore, int ignores, float smoothing,
                                                 int len, long long inner, long long positions, float total) {
    Entropy p{w, weighted, ignore, ignores, len, smoothing};
    cross_entropy_bwd(x, t, p, lse, dy, den, dx, inner, positions, total);
}
extern "C" __global__ void cross_entropy_bwd_bf16(const bf16 *x, const int *t, const float *w, const float *lse, const float *dy,
                                                  const float *den, bf16 *dx, int weighted, int ignore, int ignores, float smoothing,
                                                  int len, long long inner, long long positions, float total) {
    Entropy p{w, weighted, ignore, ignores, len, smoothing};
    cross_entropy_bwd(x, t, p, lse, dy, den, dx, inner, positions, total);
}

// Smooth L1 of a difference and its slope, turning linear at b.
__device__ inline float smooth_value(float d, float b) { return fabsf(d) < b ? 0.5f * d * d / b : fabsf(d) - 0.5f * b; }
__device__ inline float smooth_slope(float d, float b) { return fabsf(d) < b ? d / b : d > 0.0f ? 1.0f : -1.0f; }

// part[b] = sum of m l(x - t).
extern "C" __global__ void smooth_l1_f32(const float *x, const float *t, const float *m, float *part, float beta, long long n) {
    SHARED(float, tile, WARP_SIZE);
    float sum = 0.0f;
    for (long long i = global_index(); i < n; i += global_size()) sum += m[i] * smooth_value(x[i] - t[i], beta);
    sum = block_sum(sum, tile);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

// d = factor dy m s(x - t), the gradient of x or, with a negative factor, of t.
extern "C" __global__ void smooth_l1_bwd_f32(const float *x, const float *t, const float *m, const float *dy, float *d, float beta,
                                             float factor, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) d[i] = m[i] * smooth_slope(x[i] - t[i], beta) * (dy[0] * factor);
}

// dm = factor dy l(x - t).
extern "C" __global__ void smooth_l1_bwd_weight_f32(const float *x, const float *t, const float *dy, float *dm, float beta,
                                                    float factor, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) dm[i] = smooth_value(x[i] - t[i], beta) * (dy[0] * factor);
}
