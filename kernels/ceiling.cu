// What a device can do at most, for the benchmark's shares: chains of fused multiply-adds, eight independent ones a thread.
#include "dialect.cuh"

extern "C" __global__ void ceiling_fma_f32(const float *x, float *y, int rounds, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) {
        float a = x[i], acc[8];
        for (int k = 0; k < 8; k++) acc[k] = a + (float)k;
        for (int r = 0; r < rounds; r++)
            for (int k = 0; k < 8; k++) acc[k] = fmaf(acc[k], a, 1.0f);
        float sum = 0.0f;
        for (int k = 0; k < 8; k++) sum += acc[k];
        y[i] = sum;
    }
}
