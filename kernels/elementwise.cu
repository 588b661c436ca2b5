// y = max(x, 0) and its gradient; y = a + b. One value a thread, any length.
#include "dialect.cuh"

template <typename T> __device__ void relu(const T *x, T *y, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) {
        float v = to_float(x[i]);
        y[i] = v <= 0.0f ? from_float<T>(0.0f) : x[i];
    }
}

template <typename T> __device__ void relu_bwd(const T *y, const T *dy, T *dx, long long n) {
    for (long long i = global_index(); i < n; i += global_size())
        dx[i] = to_float(y[i]) > 0.0f ? dy[i] : from_float<T>(0.0f);
}

template <typename T> __device__ void add(const T *a, const T *b, T *y, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) y[i] = from_float<T>(to_float(a[i]) + to_float(b[i]));
}

extern "C" __global__ void relu_f32(const float *x, float *y, long long n) { relu(x, y, n); }
extern "C" __global__ void relu_bf16(const bf16 *x, bf16 *y, long long n) { relu(x, y, n); }
extern "C" __global__ void relu_bwd_f32(const float *y, const float *dy, float *dx, long long n) { relu_bwd(y, dy, dx, n); }
extern "C" __global__ void relu_bwd_bf16(const bf16 *y, const bf16 *dy, bf16 *dx, long long n) { relu_bwd(y, dy, dx, n); }
extern "C" __global__ void add_f32(const float *a, const float *b, float *y, long long n) { add(a, b, y, n); }
extern "C" __global__ void add_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { add(a, b, y, n); }
