// Softmax over the middle dimension of (outer, len, inner), its logarithm and their gradients, max-stabilised. A line (one outer and
// one inner index) is taken by one thread, neighbours by neighbours, or, where lines are long and lie side by side, by one warp.
#include "reduce.cuh"

// A line and the lanes that share it.
struct Line {
    long long first, lines, step; // first line of this thread, number of lines, distance of two of its lines
    int lane, lanes;
};

// `lanes` is 1 or WARP_SIZE.
__device__ inline Line my_line(long long lines, int lanes) {
    return Line{global_index() / lanes, lines, global_size() / lanes, (int)(global_index() % lanes), lanes};
}

// A NaN may be left out: it is in the sum of powers.
__device__ inline float line_max(float v, int lanes) {
    if (lanes > 1)
        for (int d = WARP_SIZE / 2; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, d));
    return v;
}
__device__ inline float line_sum(float v, int lanes) { return lanes > 1 ? warp_sum(v) : v; }

// LOG: y = (x - m) - ln s, else y = e^(x - m) / s; m the maximum, s the sum of e^(x - m).
template <bool LOG, typename T> __device__ void softmax(const T *x, T *y, long long lines, int len, long long inner, int lanes) {
    Line l = my_line(lines, lanes);
    for (long long i = l.first; i < l.lines; i += l.step) {
        long long at = i / inner * len * inner + i % inner;
        float m = -INFINITY, s = 0.0f;
        for (int c = l.lane; c < len; c += l.lanes) m = fmaxf(m, to_float(x[at + c * inner]));
        m = line_max(m, lanes);
        for (int c = l.lane; c < len; c += l.lanes) s += expf(to_float(x[at + c * inner]) - m);
        s = line_sum(s, lanes);
        float by = LOG ? logf(s) : 1.0f / s;
        for (int c = l.lane; c < len; c += l.lanes) {
            float v = to_float(x[at + c * inner]) - m;
            y[at + c * inner] = from_float<T>(LOG ? v - by : expf(v) * by);
        }
    }
}

// LOG: dx = dy - e^y sum dy, else dx = y (dy - sum y dy).
template <bool LOG, typename T>
__device__ void softmax_bwd(const T *y, const T *dy, T *dx, long long lines, int len, long long inner, int lanes) {
    Line l = my_line(lines, lanes);
    for (long long i = l.first; i < l.lines; i += l.step) {
        long long at = i / inner * len * inner + i % inner;
        float s = 0.0f;
        for (int c = l.lane; c < len; c += l.lanes) {
            float g = to_float(dy[at + c * inner]);
            s += LOG ? g : to_float(y[at + c * inner]) * g;
        }
        s = line_sum(s, lanes);
        for (int c = l.lane; c < len; c += l.lanes) {
            float v = to_float(y[at + c * inner]), g = to_float(dy[at + c * inner]);
            dx[at + c * inner] = from_float<T>(LOG ? g - expf(v) * s : v * (g - s));
        }
    }
}

extern "C" __global__ void softmax_f32(const float *x, float *y, long long lines, int len, long long inner, int lanes) {
    softmax<false>(x, y, lines, len, inner, lanes);
}
extern "C" __global__ void softmax_bf16(const bf16 *x, bf16 *y, long long lines, int len, long long inner, int lanes) {
    softmax<false>(x, y, lines, len, inner, lanes);
}
extern "C" __global__ void log_softmax_f32(const float *x, float *y, long long lines, int len, long long inner, int lanes) {
    softmax<true>(x, y, lines, len, inner, lanes);
}
extern "C" __global__ void log_softmax_bf16(const bf16 *x, bf16 *y, long long lines, int len, long long inner, int lanes) {
    softmax<true>(x, y, lines, len, inner, lanes);
}
extern "C" __global__ void softmax_bwd_f32(const float *y, const float *dy, float *dx, long long lines, int len, long long inner,
                                           int lanes) {
    softmax_bwd<false>(y, dy, dx, lines, len, inner, lanes);
}
extern "C" __global__ void softmax_bwd_bf16(const bf16 *y, const bf16 *dy, bf16 *dx, long long lines, int len, long long inner,
                                            int lanes) {
    softmax_bwd<false>(y, dy, dx, lines, len, inner, lanes);
}
extern "C" __global__ void log_softmax_bwd_f32(const float *y, const float *dy, float *dx, long long lines, int len, long long inner,
                                               int lanes) {
    softmax_bwd<true>(y, dy, dx, lines, len, inner, lanes);
}
extern "C" __global__ void log_softmax_bwd_bf16(const bf16 *y, const bf16 *dy, bf16 *dx, long long lines, int len, long long inner,
                                                int lanes) {
    softmax_bwd<true>(y, dy, dx, lines, len, inner, lanes);
}

// Softmax over stretches of up to sixteen vectors, a thread a stretch. Row k of `table` has its vector, its first value and the one behind
// its last. Masks are added; of a vector without one `masks` is null.
constexpr int SOFTMAX_VECTORS = 16;

__device__ inline float masked(const float *x, const float *mask, int i) { return mask ? x[i] + mask[i] : x[i]; }

extern "C" __global__ void softmaxes_f32(const __grid_constant__ List<const float, SOFTMAX_VECTORS> x,
                                         const __grid_constant__ List<const float, SOFTMAX_VECTORS> masks, const int *table,
                                         const __grid_constant__ List<float, SOFTMAX_VECTORS> y, int stretches) {
    for (int k = (int)global_index(); k < stretches; k += (int)global_size()) {
        const int vector = table[3 * k], first = table[3 * k + 1], end = table[3 * k + 2];
        const float *from = x.at[vector], *mask = masks.at[vector];
        float *to = y.at[vector];
        float m = -INFINITY, s = 0.0f;
        for (int i = first; i < end; i++) m = fmaxf(m, masked(from, mask, i));
        for (int i = first; i < end; i++) s += expf(masked(from, mask, i) - m);
        const float by = 1.0f / s;
        for (int i = first; i < end; i++) to[i] = expf(masked(from, mask, i) - m) * by;
    }
}
extern "C" __global__ void softmaxes_bwd_f32(const __grid_constant__ List<const float, SOFTMAX_VECTORS> y,
                                             const __grid_constant__ List<const float, SOFTMAX_VECTORS> dy, const int *table,
                                             const __grid_constant__ List<float, SOFTMAX_VECTORS> dx, int stretches) {
    for (int k = (int)global_index(); k < stretches; k += (int)global_size()) {
        const int vector = table[3 * k], first = table[3 * k + 1], end = table[3 * k + 2];
        const float *v = y.at[vector], *g = dy.at[vector];
        float *to = dx.at[vector];
        float s = 0.0f;
        for (int i = first; i < end; i++) s += v[i] * g[i];
        for (int i = first; i < end; i++) to[i] = v[i] * (g[i] - s);
    }
}
