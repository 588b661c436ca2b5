// Hard-negative mining (src/task/mining.rs, the specification).
#include "detect_select.cuh"

// loss[i] = ln sum_c e^z - z_0, the cross entropy of the background class.
template <typename T> __device__ void background_loss(const T *conf, float *loss, int classes, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) {
        const T *z = conf + i * classes;
        float m = -INFINITY, s = 0.0f;
        for (int c = 0; c < classes; c++) {
            float v = to_float(z[c]);
            m = v > m ? v : m;
        }
        for (int c = 0; c < classes; c++) s += expf(to_float(z[c]) - m);
        loss[i] = m + logf(s) - to_float(z[0]);
    }
}
extern "C" __global__ void detect_background_f32(const float *conf, float *loss, int classes, long long n) {
    background_loss(conf, loss, classes, n);
}
extern "C" __global__ void detect_background_bf16(const bf16 *conf, float *loss, int classes, long long n) {
    background_loss(conf, loss, classes, n);
}

// used = 1 for positives and for ratio times as many negatives, rounded down, of the largest loss. One image a block.
extern "C" __global__ void detect_mine(const float *loss, const int *labels, const double *ratio, int *used, int priors) {
    SHARED(int, bins, BINS);
    SHARED(int, state, 4);
    SHARED(int, warps, WARP_SIZE);
    loss += (long long)blockIdx.x * priors;
    labels += (long long)blockIdx.x * priors;
    used += (long long)blockIdx.x * priors;
    if (threadIdx.x < 2) state[2 + threadIdx.x] = 0;
    __syncthreads();
    int positives = 0, negatives = 0;
    for (int i = threadIdx.x; i < priors; i += blockDim.x) {
        positives += labels[i] > 0;
        negatives += labels[i] == 0;
    }
    atomicAdd(&state[2], positives);
    atomicAdd(&state[3], negatives);
    __syncthreads();
    long long asked = (long long)mul_rn((double)state[2], ratio[0]);
    int wanted = (int)(asked < state[3] ? asked : state[3]);
    auto key = [=](int i, unsigned *k) {
        *k = order_key(loss[i]);
        return labels[i] == 0;
    };
    Cut cut = radix_select(key, priors, wanted, bins, state);
    each_chosen(key, cut, priors, warps, [=](int i, bool chosen) { used[i] = labels[i] > 0 || chosen; });
}
