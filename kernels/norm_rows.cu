// Batch normalisation of the rows (N, P, V) of up to eight levels by their own statistics, with scale and shift: what norm.cu computes of
// maps (N, C, H, W), of them as `to_rows` leaves them. Of an image the levels stand one behind the other; of a level the value of channel c
// at pixel p is at first + p C + c. The statistics of a level are (4, C): mean, variance, low part of the mean, count.
//
// A block has `width` channels of a level and some of its pixels: thread t the channel t % width of every pixel whose number is t / width
// modulo the groups, 256 / width. So neighbours read neighbours, whatever C is. The groups of a block are merged in shared memory, then
// its chunks by every block of the second launch, in an order that only the sizes decide; grid.y cuts the chunks of that launch once more.
#include "norm_maps.cuh"

constexpr int NORM_LEVELS = 8;
// Values that a thread has under way at a time where it writes, or reads two tensors.
constexpr int NORM_AHEAD = 8;

// Row of the table of levels: first value within an image; channels; pixels; channels of a block; first block in grid.x; chunks; where its
// sums begin in `part`.
constexpr int NORM_LEVEL = 7;

// Where a thread stands: its channel, and the pixels of the batch, of which it takes every `step`-th; no division after the first.
struct NormRows {
    int level, channels, width, chunks, chunk, channel, group, groups;
    long long sums, i, n, step, plane, image, at, images_a_step, at_a_step, total, base;

    // `total` values of an image.
    __device__ inline NormRows(const int *levels, int count, long long images, long long total) : total(total) {
        level = 0;
        while (level + 1 < count && (int)blockIdx.x >= levels[(level + 1) * NORM_LEVEL + 4]) level++;
        const int *of = levels + level * NORM_LEVEL;
        channels = of[1], plane = of[2], width = of[3], chunks = of[5], sums = of[6];
        const int block = blockIdx.x - of[4];
        chunk = block % chunks;
        channel = block / chunks * width + threadIdx.x % width;
        group = threadIdx.x / width, groups = NORM_THREADS / width;
        // Threads beyond the last group or channel have no pixel, but reach every barrier.
        n = group < groups && channel < channels ? images * plane : 0;
        step = (long long)chunks * gridDim.y * groups;
        i = ((long long)chunk * gridDim.y + blockIdx.y) * groups + group;
        image = quotient(i, plane), at = i - image * plane;
        images_a_step = quotient(step, plane), at_a_step = step - images_a_step * plane;
        base = of[0] + channel;
    }
    // Index of the value, and on to the next.
    __device__ inline long long next() {
        long long index = image * total + base + at * channels;
        i += step, image += images_a_step, at += at_a_step;
        if (at >= plane) at -= plane, image++;
        return index;
    }
    // Whether it speaks for its channel, of a block or of them all.
    __device__ inline bool speaks() const { return group == 0 && n > 0; }
    __device__ inline bool speaks_for_all() const { return speaks() && chunk == 0 && blockIdx.y == 0; }
    // Index in `part` of its channel in chunk k.
    __device__ inline long long row(int k) const { return sums + (long long)k * channels + channel; }
};

// Calls f(indices) for the values of a thread, K at a time, then one at a time.
template <int K, typename F> __device__ inline void over_values(NormRows &r, F f) {
    while (r.i + (K - 1) * r.step < r.n) {
        long long at[K];
        UNROLL for (int k = 0; k < K; k++) at[k] = r.next();
        f(at);
    }
    while (r.i < r.n) {
        long long at[1] = {r.next()};
        f(at);
    }
}

// What a thread has of a channel merged with the other groups of the block, in every thread of the channel; `tile` has three floats a
// thread.
__device__ inline Moments norm_groups(const NormRows &r, Moments w, float *tile) {
    const int t = threadIdx.x;
    float *n = tile, *mean = tile + NORM_THREADS, *m2 = tile + 2 * NORM_THREADS;
    n[t] = w.n, mean[t] = w.mean, m2[t] = w.m2;
    __syncthreads();
    for (int left = r.groups; left > 1; left = (left + 1) / 2) {
        const int half = (left + 1) / 2, other = t + half * r.width;
        if (r.group < left - half) {
            w = norm_merged(w, Moments{n[other], mean[other], m2[other]});
            n[t] = w.n, mean[t] = w.mean, m2[t] = w.m2;
        }
        __syncthreads();
    }
    const int first = t % r.width;
    return Moments{n[first], mean[first], m2[first]};
}

// Sum of dy, sum of dy (x - mean).
struct NormSums {
    float sum, dot;
};

// As of moments; `tile` has two floats a thread.
__device__ inline NormSums norm_groups(const NormRows &r, NormSums s, float *tile) {
    const int t = threadIdx.x;
    float *sum = tile, *dot = tile + NORM_THREADS;
    sum[t] = s.sum, dot[t] = s.dot;
    __syncthreads();
    for (int left = r.groups; left > 1; left = (left + 1) / 2) {
        const int half = (left + 1) / 2, other = t + half * r.width;
        if (r.group < left - half) sum[t] += sum[other], dot[t] += dot[other];
        __syncthreads();
    }
    const int first = t % r.width;
    return NormSums{sum[first], dot[first]};
}

template <typename T, int K>
__device__ inline void norm_rows_include(const T *x, float shift, Moments &w, const long long (&at)[K]) {
    float v[K];
    UNROLL for (int k = 0; k < K; k++) v[k] = to_float(x[at[k]]);
    UNROLL for (int k = 0; k < K; k++) v[k] -= shift;
    norm_include<K>(w, v);
}

// part (chunks, C, 3) of each level: count, mean of the deviations from the channel's first value, sum of squares about that mean.
template <typename T>
__device__ void norm_rows_stats(const T *x, float *part, const int *levels, int count, long long images, long long total, float *tile) {
    NormRows r(levels, count, images, total);
    const float shift = r.n > 0 ? to_float(x[r.base]) : 0.0f;
    Moments w = {0.0f, 0.0f, 0.0f};
    over_values<NORM_GROUP>(r, [&](const auto &at) { norm_rows_include(x, shift, w, at); });
    w = norm_groups(r, w, tile);
    if (r.speaks()) {
        float *mine = part + r.row(r.chunk) * 3;
        mine[0] = w.n, mine[1] = w.mean, mine[2] = w.m2;
    }
}

template <typename T, int K>
__device__ inline void norm_rows_put(const T *x, T *y, const NormChannel &s, const long long (&at)[K]) {
    float v[K];
    UNROLL for (int k = 0; k < K; k++) v[k] = to_float(x[at[k]]);
    UNROLL for (int k = 0; k < K; k++) y[at[k]] = from_float<T>(norm_value(s, v[k]));
}

// y, and the statistics of each level, from the chunks of norm_rows_stats.
template <typename T>
__device__ void norm_rows_fwd(const T *x, const float *part, const List<const float, NORM_LEVELS> &gamma,
                              const List<const float, NORM_LEVELS> &beta, T *y, const List<float, NORM_LEVELS> &stats, const int *levels,
                              int count, long long images, long long total, float eps, float *tile) {
    NormRows r(levels, count, images, total);
    Moments w = {0.0f, 0.0f, 0.0f};
    for (int k = r.group; r.n > 0 && k < r.chunks; k += r.groups) {
        const float *p = part + r.row(k) * 3;
        w = norm_merged(w, Moments{p[0], p[1], p[2]});
    }
    w = norm_groups(r, w, tile);
    if (r.n == 0) return;
    NormChannel s;
    norm_centre(s, to_float(x[r.base]), w.mean);
    s.var = w.m2 / w.n;
    norm_scale(s, gamma.at[r.level], beta.at[r.level], r.channel, 1, eps);
    if (r.speaks_for_all()) {
        float *to = stats.at[r.level] + r.channel;
        to[0] = s.mean, to[r.channels] = s.var, to[2 * r.channels] = s.rest, to[3 * r.channels] = w.n;
    }
    over_values<NORM_AHEAD>(r, [&](const auto &at) { norm_rows_put(x, y, s, at); });
}

// The statistics of a thread's channel.
__device__ inline NormChannel norm_rows_known(const NormRows &r, const List<const float, NORM_LEVELS> &stats) {
    const float *of = stats.at[r.level] + r.channel;
    NormChannel s;
    s.mean = of[0], s.var = of[r.channels], s.rest = of[2 * r.channels];
    return s;
}

template <typename T, int K>
__device__ inline void norm_rows_add(const T *x, const T *dy, const NormChannel &s, NormSums &w, const long long (&at)[K]) {
    float v[K], g[K];
    UNROLL for (int k = 0; k < K; k++) v[k] = to_float(x[at[k]]), g[k] = to_float(dy[at[k]]);
    UNROLL for (int k = 0; k < K; k++) {
        w.sum += g[k];
        w.dot = fmaf(g[k], (v[k] - s.mean) - s.rest, w.dot);
    }
}

// part (chunks, C, 2) of each level: sum of dy, sum of dy (x - mean).
template <typename T>
__device__ void norm_rows_bwd_sums(const T *x, const T *dy, const List<const float, NORM_LEVELS> &stats, float *part, const int *levels,
                                   int count, long long images, long long total, float *tile) {
    NormRows r(levels, count, images, total);
    NormSums w = {0.0f, 0.0f};
    if (r.n > 0) {
        const NormChannel s = norm_rows_known(r, stats);
        over_values<NORM_AHEAD>(r, [&](const auto &at) { norm_rows_add(x, dy, s, w, at); });
    }
    w = norm_groups(r, w, tile);
    if (r.speaks()) {
        float *mine = part + r.row(r.chunk) * 2;
        mine[0] = w.sum, mine[1] = w.dot;
    }
}

template <typename T, int K>
__device__ inline void norm_rows_put_dx(const T *x, const T *dy, T *dx, const NormChannel &s, const NormSums &w, const long long (&at)[K]) {
    float v[K], g[K];
    UNROLL for (int k = 0; k < K; k++) v[k] = to_float(x[at[k]]), g[k] = to_float(dy[at[k]]);
    UNROLL for (int k = 0; k < K; k++) dx[at[k]] = from_float<T>(s.a * (g[k] - w.sum - ((v[k] - s.mean) - s.rest) * w.dot));
}

// dx = gamma / sqrt(var + eps) (dy - sum / M - (x - mean) dot / (M (var + eps))) where `want`, M the count; dgamma = dot / sqrt(var + eps)
// and dbeta = sum of each level whose pointer is not null; from the chunks of norm_rows_bwd_sums.
template <typename T>
__device__ void norm_rows_bwd_x(const T *x, const T *dy, const List<const float, NORM_LEVELS> &stats, const float *part,
                                const List<const float, NORM_LEVELS> &gamma, T *dx, const List<float, NORM_LEVELS> &dgamma,
                                const List<float, NORM_LEVELS> &dbeta, const int *levels, int count, long long images, long long total,
                                int want, float eps, float *tile) {
    NormRows r(levels, count, images, total);
    NormSums w = {0.0f, 0.0f};
    for (int k = r.group; r.n > 0 && k < r.chunks; k += r.groups) {
        const float *p = part + r.row(k) * 2;
        w.sum += p[0], w.dot += p[1];
    }
    w = norm_groups(r, w, tile);
    if (r.n == 0) return;
    NormChannel s = norm_rows_known(r, stats);
    const float inverse = 1.0f / sqrtf(s.var + eps);
    if (r.speaks_for_all()) {
        if (dgamma.at[r.level]) dgamma.at[r.level][r.channel] = w.dot * inverse;
        if (dbeta.at[r.level]) dbeta.at[r.level][r.channel] = w.sum;
    }
    if (!want) return;
    const float values = (float)r.n;
    s.a = gamma.at[r.level][r.channel] * inverse;
    w.sum /= values, w.dot = w.dot * inverse * inverse / values;
    over_values<NORM_AHEAD>(r, [&](const auto &at) { norm_rows_put_dx(x, dy, dx, s, w, at); });
}

extern "C" __global__ void norm_rows_stats_f32(const float *x, float *part, const int *levels, int count, long long images,
                                               long long total) {
    SHARED(float, tile, 3 * NORM_THREADS);
    norm_rows_stats(x, part, levels, count, images, total, tile);
}
extern "C" __global__ void norm_rows_stats_bf16(const bf16 *x, float *part, const int *levels, int count, long long images,
                                                long long total) {
    SHARED(float, tile, 3 * NORM_THREADS);
    norm_rows_stats(x, part, levels, count, images, total, tile);
}
extern "C" __global__ void norm_rows_fwd_f32(const float *x, const float *part,
                                             const __grid_constant__ List<const float, NORM_LEVELS> gamma,
                                             const __grid_constant__ List<const float, NORM_LEVELS> beta, float *y,
                                             const __grid_constant__ List<float, NORM_LEVELS> stats, const int *levels, int count,
                                             long long images, long long total, float eps) {
    SHARED(float, tile, 3 * NORM_THREADS);
    norm_rows_fwd(x, part, gamma, beta, y, stats, levels, count, images, total, eps, tile);
}
extern "C" __global__ void norm_rows_fwd_bf16(const bf16 *x, const float *part,
                                              const __grid_constant__ List<const float, NORM_LEVELS> gamma,
                                              const __grid_constant__ List<const float, NORM_LEVELS> beta, bf16 *y,
                                              const __grid_constant__ List<float, NORM_LEVELS> stats, const int *levels, int count,
                                              long long images, long long total, float eps) {
    SHARED(float, tile, 3 * NORM_THREADS);
    norm_rows_fwd(x, part, gamma, beta, y, stats, levels, count, images, total, eps, tile);
}
extern "C" __global__ void norm_rows_bwd_sums_f32(const float *x, const float *dy,
                                                  const __grid_constant__ List<const float, NORM_LEVELS> stats, float *part,
                                                  const int *levels, int count, long long images, long long total) {
    SHARED(float, tile, 2 * NORM_THREADS);
    norm_rows_bwd_sums(x, dy, stats, part, levels, count, images, total, tile);
}
extern "C" __global__ void norm_rows_bwd_sums_bf16(const bf16 *x, const bf16 *dy,
                                                   const __grid_constant__ List<const float, NORM_LEVELS> stats, float *part,
                                                   const int *levels, int count, long long images, long long total) {
    SHARED(float, tile, 2 * NORM_THREADS);
    norm_rows_bwd_sums(x, dy, stats, part, levels, count, images, total, tile);
}
extern "C" __global__ void norm_rows_bwd_x_f32(const float *x, const float *dy,
                                               const __grid_constant__ List<const float, NORM_LEVELS> stats,
                                               const float *part, const __grid_constant__ List<const float, NORM_LEVELS> gamma, float *dx,
                                               const __grid_constant__ List<float, NORM_LEVELS> dgamma,
                                               const __grid_constant__ List<float, NORM_LEVELS> dbeta, const int *levels, int count,
                                               long long images, long long total, int want, float eps) {
    SHARED(float, tile, 2 * NORM_THREADS);
    norm_rows_bwd_x(x, dy, stats, part, gamma, dx, dgamma, dbeta, levels, count, images, total, want, eps, tile);
}
extern "C" __global__ void norm_rows_bwd_x_bf16(const bf16 *x, const bf16 *dy,
                                                const __grid_constant__ List<const float, NORM_LEVELS> stats,
                                                const float *part, const __grid_constant__ List<const float, NORM_LEVELS> gamma, bf16 *dx,
                                                const __grid_constant__ List<float, NORM_LEVELS> dgamma,
                                                const __grid_constant__ List<float, NORM_LEVELS> dbeta, const int *levels, int count,
                                                long long images, long long total, int want, float eps) {
    SHARED(float, tile, 2 * NORM_THREADS);
    norm_rows_bwd_x(x, dy, stats, part, gamma, dx, dgamma, dbeta, levels, count, images, total, want, eps, tile);
}
