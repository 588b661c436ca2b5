// Loss of the SSD head (src/ops/multibox.rs): smooth L1 over positive priors, cross entropy over marked ones.
#include "reduce.cuh"

// part[b], part[blocks + b]: location and class terms of block b; lse[i] = ln sum_c e^z of marked priors, else 0. One prior a thread.
template <typename T>
__device__ void multibox(const T *loc, const T *conf, const int *labels, const float *offsets, const int *used, float *lse,
                         float *part, long long priors, int values, int classes, float *tile) {
    float place = 0.0f, kind = 0.0f;
    for (long long i = global_index(); i < priors; i += global_size()) {
        int t = labels[i];
        if (t > 0) {
            for (int k = 0; k < 4; k++) {
                float d = fabsf(to_float(loc[i * values + k]) - offsets[4 * i + k]);
                place += d < 1.0f ? 0.5f * d * d : d - 0.5f;
            }
        }
        float all = 0.0f;
        if (used[i]) {
            const T *z = conf + i * classes;
            float m = -INFINITY, s = 0.0f;
            for (int c = 0; c < classes; c++) m = fmaxf(m, to_float(z[c]));
            for (int c = 0; c < classes; c++) s += expf(to_float(z[c]) - m);
            all = m + logf(s);
            kind += t < 0 || t >= classes ? NAN : all - to_float(z[t]);
        }
        lse[i] = all;
    }
    place = block_sum(place, tile);
    if (threadIdx.x == 0) part[blockIdx.x] = place;
    kind = block_sum(kind, tile);
    if (threadIdx.x == 0) part[gridDim.x + blockIdx.x] = kind;
}
extern "C" __global__ void multibox_f32(const float *loc, const float *conf, const int *labels, const float *offsets, const int *used,
                                        float *lse, float *part, long long priors, int values, int classes) {
    SHARED(float, tile, WARP_SIZE);
    multibox(loc, conf, labels, offsets, used, lse, part, priors, values, classes, tile);
}
extern "C" __global__ void multibox_bf16(const bf16 *loc, const bf16 *conf, const int *labels, const float *offsets, const int *used,
                                         float *lse, float *part, long long priors, int values, int classes) {
    SHARED(float, tile, WARP_SIZE);
    multibox(loc, conf, labels, offsets, used, lse, part, priors, values, classes, tile);
}

// den = max(positives, 1), what the sum is divided by.
extern "C" __global__ void multibox_denominator(const int *positives, float *den) {
    if (global_index() == 0) den[0] = (float)(positives[0] > 1 ? positives[0] : 1);
}

// y = (location + class) / den; the terms by themselves. One block.
extern "C" __global__ void multibox_finish(const float *part, float *y, float *location, float *classes, const float *den,
                                           int parts) {
    SHARED(double, tile, WARP_SIZE);
    double place = parts_sum(part, parts, tile), kind = parts_sum(part + parts, parts, tile);
    if (threadIdx.x == 0) {
        y[0] = (float)((place + kind) / den[0]);
        location[0] = (float)(place / den[0]);
        classes[0] = (float)(kind / den[0]);
    }
}

// d[i, k] = slope of (loc - offset) times dy / den for positive priors and k < 4, else 0: of the location values (`width` of a row),
// or with sign -1 and width 4 of the offsets. One value a thread.
template <typename T, typename D>
__device__ void multibox_bwd_loc(const T *loc, const int *labels, const float *offsets, const float *dy, D *d, const float *den, float sign, int values,
                                 int width, long long n) {
    float g = sign * dy[0] / den[0];
    for (long long j = global_index(); j < n; j += global_size()) {
        long long i = j / width;
        int k = (int)(j % width);
        float v = 0.0f;
        if (k < 4 && labels[i] > 0) {
            float x = to_float(loc[i * values + k]) - offsets[4 * i + k];
            v = (fabsf(x) < 1.0f ? x : x > 0.0f ? 1.0f : -1.0f) * g;
        }
        d[j] = from_float<D>(v);
    }
}
extern "C" __global__ void multibox_bwd_loc_f32(const float *loc, const int *labels, const float *offsets, const float *dy, float *d,
                                                const float *den, float sign, int values, int width, long long n) {
    multibox_bwd_loc(loc, labels, offsets, dy, d, den, sign, values, width, n);
}
extern "C" __global__ void multibox_bwd_loc_bf16(const bf16 *loc, const int *labels, const float *offsets, const float *dy, bf16 *d,
                                                 const float *den, float sign, int values, int width, long long n) {
    multibox_bwd_loc(loc, labels, offsets, dy, d, den, sign, values, width, n);
}
extern "C" __global__ void multibox_bwd_offset_bf16(const bf16 *loc, const int *labels, const float *offsets, const float *dy,
                                                    float *d, const float *den, float sign, int values, int width, long long n) {
    multibox_bwd_loc(loc, labels, offsets, dy, d, den, sign, values, width, n);
}

// dz = (e^(z - lse) - [c = t]) dy / den of marked priors, else 0. One value a thread.
template <typename T>
__device__ void multibox_bwd_conf(const T *conf, const int *labels, const int *used, const float *lse, const float *dy, T *d, const float *den,
                                  int classes, long long n) {
    float g = dy[0] / den[0];
    for (long long j = global_index(); j < n; j += global_size()) {
        long long i = j / classes;
        float v = 0.0f;
        if (used[i]) v = (expf(to_float(conf[j]) - lse[i]) - (j % classes == labels[i] ? 1.0f : 0.0f)) * g;
        d[j] = from_float<T>(v);
    }
}
extern "C" __global__ void multibox_bwd_conf_f32(const float *conf, const int *labels, const int *used, const float *lse,
                                                 const float *dy, float *d, const float *den, int classes, long long n) {
    multibox_bwd_conf(conf, labels, used, lse, dy, d, den, classes, n);
}
extern "C" __global__ void multibox_bwd_conf_bf16(const bf16 *conf, const int *labels, const int *used, const float *lse,
                                                  const float *dy, bf16 *d, const float *den, int classes, long long n) {
    multibox_bwd_conf(conf, labels, used, lse, dy, d, den, classes, n);
}

// y = z, but `low` where a prior is background and its image labels no such class (src/ops/leave_out.rs). One value a thread.
template <typename T>
__device__ void leave_out(const T *z, const int *labels, const int *labelled, T *y, float low, int priors, int classes, long long n) {
    for (long long j = global_index(); j < n; j += global_size()) {
        long long i = j / classes;
        bool out = labels[i] == 0 && labelled[i / priors * classes + j % classes] == 0;
        y[j] = out ? from_float<T>(low) : z[j];
    }
}
extern "C" __global__ void leave_out_f32(const float *z, const int *labels, const int *labelled, float *y, float low, int priors,
                                         int classes, long long n) {
    leave_out(z, labels, labelled, y, low, priors, classes, n);
}
extern "C" __global__ void leave_out_bf16(const bf16 *z, const int *labels, const int *labelled, bf16 *y, float low, int priors,
                                          int classes, long long n) {
    leave_out(z, labels, labelled, y, low, priors, classes, n);
}
