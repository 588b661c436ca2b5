// Batch normalisation over several devices: what one device sends, and the merge of what all have sent. Running statistics.
//
// A device sends for each channel (count, mean, rest, M2), the mean in two floats, and gets that of every device; all merge in the order
// of the devices, so all have the same bits. A device without images sends zeros.
#include "norm.cuh"

// moments (.., C, 4) at `slot`: the chunks of `part` (chunks, C, 3) merged; the deviations in them are from the first value of the channel
// in image `first` of x. A warp a channel; no chunks: zeros, and x is not read.
template <typename T>
__device__ void norm_local(const T *x, const float *part, float *moments, int chunks, long long first, int channels, long long plane,
                           int slot) {
    int c = (int)(global_index() / WARP_SIZE);
    if (c >= channels) return;
    Moments w = norm_chunks(part, chunks, channels, c);
    NormChannel s = {};
    if (chunks > 0) norm_centre(s, to_float(x[(first * channels + c) * plane]), w.mean);
    if (threadIdx.x % WARP_SIZE == 0) {
        float *mine = moments + ((long long)slot * channels + c) * 4;
        mine[0] = w.n, mine[1] = s.mean, mine[2] = s.rest, mine[3] = w.m2;
    }
}

extern "C" __global__ void norm_local_f32(const float *x, const float *part, float *moments, int chunks, long long first,
                                          int channels, long long plane, int slot) {
    norm_local(x, part, moments, chunks, first, channels, plane, slot);
}
extern "C" __global__ void norm_local_bf16(const bf16 *x, const float *part, float *moments, int chunks, long long first,
                                           int channels, long long plane, int slot) {
    norm_local(x, part, moments, chunks, first, channels, plane, slot);
}

// mean, var (C) and rest (2, C), the low part of the mean and the count, from moments (devices, C, 4); n channels. Means are taken from
// that of the first device with a value, so that nothing is lost when they are large.
extern "C" __global__ void norm_merge_f32(const float *moments, float *mean, float *var, float *rest, int devices, long long n) {
    for (long long c = global_index(); c < n; c += global_size()) {
        Moments w = {0.0f, 0.0f, 0.0f};
        float shift = 0.0f;
        for (int d = 0; d < devices; d++) {
            const float *m = moments + (d * n + c) * 4;
            if (m[0] == 0.0f) continue;
            if (w.n == 0.0f) shift = m[1];
            w = norm_merged(w, Moments{m[0], (m[1] - shift) + m[2], m[3]});
        }
        NormChannel s;
        norm_centre(s, shift, w.mean);
        mean[c] = s.mean, var[c] = w.m2 / fmaxf(w.n, 1.0f), rest[c] = s.rest, rest[n + c] = w.n;
    }
}

// sums (.., n) at `slot`: the chunks of part (chunks, n), in order.
extern "C" __global__ void norm_local_sums_f32(const float *part, float *sums, int chunks, int slot, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) {
        float v = 0.0f;
        for (int k = 0; k < chunks; k++) v += part[k * n + i];
        sums[slot * n + i] = v;
    }
}

// new = old + momentum (batch - old) of the mean and of the variance; the batch's variance is made to have the divisor count - 1 first,
// where the count, rest[n + c], is more than one.
extern "C" __global__ void norm_running_f32(const float *mean, const float *var, const float *rest, const float *old_mean,
                                            const float *old_var, float *new_mean, float *new_var, float momentum, long long n) {
    for (long long c = global_index(); c < n; c += global_size()) {
        float count = rest[n + c];
        float unbiased = var[c] * (count / (fmaxf(count, 2.0f) - 1.0f));
        new_mean[c] = fmaf(momentum, mean[c] - old_mean[c], old_mean[c]);
        new_var[c] = fmaf(momentum, unbiased - old_var[c], old_var[c]);
    }
}
