// y = max(x, 0) and its gradient, one value a thread; y = a + b, 16 bytes a thread. Any length.
#include "reduce.cuh"

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
    float u[PACK<T>], v[PACK<T>];
    long long packs = n / PACK<T>;
    for (long long i = global_index(); i < packs; i += global_size()) {
        load_pack(a + i * PACK<T>, u);
        load_pack(b + i * PACK<T>, v);
        for (int k = 0; k < PACK<T>; k++) v[k] += u[k];
        store_pack(y + i * PACK<T>, v);
    }
    for (long long i = packs * PACK<T> + global_index(); i < n; i += global_size())
        y[i] = from_float<T>(to_float(a[i]) + to_float(b[i]));
}

extern "C" __global__ void relu_f32(const float *x, float *y, long long n) { relu(x, y, n); }
extern "C" __global__ void relu_bf16(const bf16 *x, bf16 *y, long long n) { relu(x, y, n); }
extern "C" __global__ void relu_bwd_f32(const float *y, const float *dy, float *dx, long long n) { relu_bwd(y, dy, dx, n); }
extern "C" __global__ void relu_bwd_bf16(const bf16 *y, const bf16 *dy, bf16 *dx, long long n) { relu_bwd(y, dy, dx, n); }
extern "C" __global__ void add_f32(const float *a, const float *b, float *y, long long n) { add(a, b, y, n); }
extern "C" __global__ void add_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { add(a, b, y, n); }

// Between storage types; y = x.
template <typename A, typename B> __device__ void cast(const A *x, B *y, long long n) {
    for (long long i = global_index(); i < n; i += global_size()) y[i] = from_float<B>(to_float(x[i]));
}

extern "C" __global__ void cast_f32_bf16(const float *x, bf16 *y, long long n) { cast(x, y, n); }
extern "C" __global__ void cast_bf16_f32(const bf16 *x, float *y, long long n) { cast(x, y, n); }
