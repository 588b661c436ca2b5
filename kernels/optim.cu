// Optimisers over all parameters in one launch. A row of `table` describes a piece of one parameter, ROW words: address of the gradient,
// number of values, number of the parameter, and the addresses of up to three tensors that change. One block a row. A piece begins
// on a multiple of 16 bytes.
#include "exact.cuh"
#include "reduce.cuh"

constexpr int ROW = 6;

// part[b] = sum of g^2 over row b, in f64: no f32 overflows it, so that it is finite exactly when every value is.
extern "C" __global__ void optim_norm(const long long *table, double *part) {
    SHARED(double, tile, WARP_SIZE);
    const float *g = (const float *)table[(long long)blockIdx.x * ROW];
    int n = (int)table[(long long)blockIdx.x * ROW + 1], packs = n / 4;
    double sum = 0.0;
    for (int i = threadIdx.x; i < packs; i += blockDim.x) {
        float4 v = load4(g + 4 * i);
        sum += (double)v.x * v.x + (double)v.y * v.y + ((double)v.z * v.z + (double)v.w * v.w);
    }
    for (int i = 4 * packs + threadIdx.x; i < n; i += blockDim.x) sum += (double)g[i] * g[i];
    sum = block_sum(sum, tile);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

__device__ inline double all_parts(const double *part, int parts, double *tile) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x) sum += part[i];
    return block_sum(sum, tile);
}

// What a step tells: out[k] = the f32 at address scalars[k], k < n, the first of them the loss; out[n] = norm, the root of the sum of
// part. factor = min(1, clip / (norm + 1e-6)), 1 when clip is 0. Where the loss or the norm is not finite the step halts: factor is -1,
// and so is that of every later step until the host clears `halted`. One block.
extern "C" __global__ void optim_figures(const long long *scalars, const double *part, double *out, float *factor, int *halted, int n,
                                         int parts, float clip) {
    SHARED(double, tile, WARP_SIZE);
    for (int k = threadIdx.x; k < n; k += blockDim.x) out[k] = *(const float *)scalars[k];
    double sum = all_parts(part, parts, tile);
    if (threadIdx.x == 0) {
        double norm = sqrt(sum), by = clip / (norm + 1e-6), loss = n > 0 ? (double)*(const float *)scalars[0] : 0.0;
        out[n] = norm;
        // Not finite times 0 is NaN.
        if (!(norm * 0.0 + loss * 0.0 == 0.0)) halted[0] = 1;
        factor[0] = halted[0] ? -1.0f : clip > 0.0f && !(by > 1.0) ? (float)by : 1.0f;
    }
}

// b = momentum b + (factor g + decay w); w -= lr b: the roundings of the host's momentum_step.
__device__ inline void sgd_value(float g, float *b, float *w, float factor, float lr, float decay, float momentum) {
    *b = fmaf(momentum, *b, fmaf(decay, *w, factor * g));
    *w = fmaf(-lr, *b, *w);
}
extern "C" __global__ void sgd_step(const long long *table, const float *factor, const float *lr, float decay, float momentum) {
    const long long *row = table + (long long)blockIdx.x * ROW;
    const float *g = (const float *)row[0];
    float *b = (float *)row[3], *w = (float *)row[4], f = factor[0], rate = lr[0];
    int n = (int)row[1], packs = n / 4;
    if (f < 0.0f) return;
    for (int i = threadIdx.x; i < packs; i += blockDim.x) {
        float4 d = load4(g + 4 * i), u = load4(b + 4 * i), v = load4(w + 4 * i);
        sgd_value(d.x, &u.x, &v.x, f, rate, decay, momentum);
        sgd_value(d.y, &u.y, &v.y, f, rate, decay, momentum);
        sgd_value(d.z, &u.z, &v.z, f, rate, decay, momentum);
        sgd_value(d.w, &u.w, &v.w, f, rate, decay, momentum);
        store4(b + 4 * i, u);
        store4(w + 4 * i, v);
    }
    for (int i = 4 * packs + threadIdx.x; i < n; i += blockDim.x) {
        float u = b[i], v = w[i];
        sgd_value(g[i], &u, &v, f, rate, decay, momentum);
        b[i] = u;
        w[i] = v;
    }
}

// Adam with coupled decay. rates: for each parameter lr / (1 - b1^t) and sqrt(1 - b2^t). The products stay apart from the sums, as
// on the host.
extern "C" __global__ void adam_step(const long long *table, const float *factor, const float *rates, float decay, float b1, float c1,
                                     float b2, float c2, float eps) {
    const long long *row = table + (long long)blockIdx.x * ROW;
    const float *grad = (const float *)row[0];
    float *m = (float *)row[3], *v = (float *)row[4], *p = (float *)row[5];
    float f = factor[0], step = rates[2 * row[2]], root = rates[2 * row[2] + 1];
    if (f < 0.0f) return;
    for (int i = threadIdx.x; i < (int)row[1]; i += blockDim.x) {
        float g = mul_rn(grad[i], f) + mul_rn(decay, p[i]);
        float first = mul_rn(b1, m[i]) + mul_rn(c1, g), second = mul_rn(b2, v[i]) + mul_rn(mul_rn(c2, g), g);
        m[i] = first;
        v[i] = second;
        p[i] -= mul_rn(step, first) / (sqrtf(second) / root + eps);
    }
}

// Running statistics of all normalisations, in place, as norm_running_f32 computes those of one. A row of `table`: addresses of the
// batch's mean, variance and rest, of the running mean and variance, number of channels, momentum (an f32). One block a row.
constexpr int STATISTICS_ROW = 7;
extern "C" __global__ void optim_statistics(const long long *table, const float *factor) {
    const long long *row = table + (long long)blockIdx.x * STATISTICS_ROW;
    const float *mean = (const float *)row[0], *var = (const float *)row[1], *rest = (const float *)row[2];
    float *old_mean = (float *)row[3], *old_var = (float *)row[4], momentum = *(const float *)(row + 6);
    int n = (int)row[5];
    if (factor[0] < 0.0f) return;
    for (int c = threadIdx.x; c < n; c += blockDim.x) {
        float count = rest[n + c];
        float unbiased = var[c] * (count / (fmaxf(count, 2.0f) - 1.0f));
        old_mean[c] = fmaf(momentum, mean[c] - old_mean[c], old_mean[c]);
        old_var[c] = fmaf(momentum, unbiased - old_var[c], old_var[c]);
    }
}
