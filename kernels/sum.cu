// Weighted sum of up to sixteen maps: y = sum_k w[w_k] x_k, and its gradients. More maps take several launches, which hand on their sums in
// f32, so that a sum in bf16 is rounded once.
//
// Operand k may have more channels than y: it is read from `skip_k` values on in each image, which has row + skip_k. A `row` that is the
// whole tensor is right where no operand skips.
#include "vector.cuh"

constexpr int SUM_TERMS = 16, SUM_THREADS = 256, SUM_WARPS = SUM_THREADS / WARP_SIZE;

template <typename T> struct SumTerm {
    const T *x;
    T *dx;
    int weight;
    long long skip;
};

// Terms beyond the last repeat the first.
template <typename T> __device__ __forceinline__ bool sum_packs(const SumTerm<T> (&t)[SUM_TERMS], long long row, long long n) {
    long long all = row | n;
    UNROLL for (int k = 0; k < SUM_TERMS; k++) all |= t[k].skip;
    return all % PACK<T> == 0;
}

template <typename T, int V, typename O>
__device__ __forceinline__ void weighted_sum_values(const SumTerm<T> (&t)[SUM_TERMS], const float *w, const float *before, O *y,
                                                    int terms, int add, long long row, long long n) {
    float weight[SUM_TERMS];
    UNROLL for (int k = 0; k < SUM_TERMS; k++) weight[k] = w[t[k].weight];
    for (long long i = global_index() * V; i < n; i += global_size() * V) {
        long long images = quotient(i, row) + 1;
        float acc[V], v[V];
        UNROLL for (int j = 0; j < V; j++) acc[j] = 0.0f;
        if (add) load_sums<V>(before + i, acc);
        UNROLL for (int k = 0; k < SUM_TERMS; k++)
            if (k < terms) {
                load_values<V>(t[k].x + i + images * t[k].skip, v);
                UNROLL for (int j = 0; j < V; j++) acc[j] = fmaf(weight[k], v[j], acc[j]);
            }
        store_sums<V>(y + i, acc);
    }
}

// y = sum, or before + sum with `add`; n values.
template <typename T, typename O>
__device__ __forceinline__ void weighted_sum(const SumTerm<T> (&t)[SUM_TERMS], const float *w, const float *before, O *y, int terms,
                                             int add, long long row, long long n) {
    if (sum_packs(t, row, n)) weighted_sum_values<T, PACK<T>>(t, w, before, y, terms, add, row, n);
    else weighted_sum_values<T, 1>(t, w, before, y, terms, add, row, n);
}

template <typename T, int V>
__device__ __forceinline__ void weighted_sum_bwd_values(const SumTerm<T> (&t)[SUM_TERMS], const float *w, const T *dy,
                                                        float (&dot)[SUM_TERMS], int terms, int want, int dots, long long row,
                                                        long long n) {
    float weight[SUM_TERMS];
    UNROLL for (int k = 0; k < SUM_TERMS; k++) weight[k] = w[t[k].weight];
    for (long long i = global_index() * V; i < n; i += global_size() * V) {
        long long images = quotient(i, row) + 1;
        float g[V], v[V];
        load_values<V>(dy + i, g);
        UNROLL for (int k = 0; k < SUM_TERMS; k++)
            if (k < terms) {
                if (dots) {
                    load_values<V>(t[k].x + i + images * t[k].skip, v);
                    UNROLL for (int j = 0; j < V; j++) dot[k] = fmaf(g[j], v[j], dot[k]);
                }
                if (want >> k & 1) {
                    UNROLL for (int j = 0; j < V; j++) v[j] = weight[k] * g[j];
                    store_values<V>(t[k].dx + i, v);
                }
            }
    }
}

// dx_k = w[w_k] dy where bit k of `want` is set, as large as dy. With `dots`, part (blocks, terms): <dy, x_k>. Blocks of 256.
template <typename T>
__device__ __forceinline__ void weighted_sum_bwd(const SumTerm<T> (&t)[SUM_TERMS], const float *w, const T *dy, float *part,
                                                 float *warps, int terms, int want, int dots, long long row, long long n) {
    float dot[SUM_TERMS];
    UNROLL for (int k = 0; k < SUM_TERMS; k++) dot[k] = 0.0f;
    if (sum_packs(t, row, n)) weighted_sum_bwd_values<T, PACK<T>>(t, w, dy, dot, terms, want, dots, row, n);
    else weighted_sum_bwd_values<T, 1>(t, w, dy, dot, terms, want, dots, row, n);
    if (!dots) return;
    UNROLL for (int k = 0; k < SUM_TERMS; k++)
        if (k < terms) {
            float s = warp_sum(dot[k]);
            if (threadIdx.x % WARP_SIZE == 0) warps[k * SUM_WARPS + threadIdx.x / WARP_SIZE] = s;
        }
    __syncthreads();
    if ((int)threadIdx.x < terms) {
        float s = 0.0f;
        for (int i = 0; i < SUM_WARPS; i++) s += warps[threadIdx.x * SUM_WARPS + i];
        part[(long long)blockIdx.x * terms + threadIdx.x] = s;
    }
}
#define SUM_X(T) \
    const T *x0, const T *x1, const T *x2, const T *x3, const T *x4, const T *x5, const T *x6, const T *x7, const T *x8, \
    const T *x9, const T *x10, const T *x11, const T *x12, const T *x13, const T *x14, const T *x15
#define SUM_DX(T) \
    T *dx0, T *dx1, T *dx2, T *dx3, T *dx4, T *dx5, T *dx6, T *dx7, T *dx8, T *dx9, T *dx10, T *dx11, T *dx12, T *dx13, T *dx14, \
    T *dx15
#define SUM_WEIGHTS \
    int w0, int w1, int w2, int w3, int w4, int w5, int w6, int w7, int w8, int w9, int w10, int w11, int w12, int w13, int w14, \
    int w15
#define SUM_SKIPS \
    long long s0, long long s1, long long s2, long long s3, long long s4, long long s5, long long s6, long long s7, long long s8, \
    long long s9, long long s10, long long s11, long long s12, long long s13, long long s14, long long s15
#define SUM_TERMS_READ \
    { {x0, nullptr, w0, s0}, {x1, nullptr, w1, s1}, {x2, nullptr, w2, s2}, {x3, nullptr, w3, s3}, {x4, nullptr, w4, s4}, {x5, \
      nullptr, w5, s5}, {x6, nullptr, w6, s6}, {x7, nullptr, w7, s7}, {x8, nullptr, w8, s8}, {x9, nullptr, w9, s9}, {x10, nullptr, \
      w10, s10}, {x11, nullptr, w11, s11}, {x12, nullptr, w12, s12}, {x13, nullptr, w13, s13}, {x14, nullptr, w14, s14}, {x15, \
      nullptr, w15, s15} }
#define SUM_TERMS_ALL \
    { {x0, dx0, w0, s0}, {x1, dx1, w1, s1}, {x2, dx2, w2, s2}, {x3, dx3, w3, s3}, {x4, dx4, w4, s4}, {x5, dx5, w5, s5}, {x6, dx6, \
      w6, s6}, {x7, dx7, w7, s7}, {x8, dx8, w8, s8}, {x9, dx9, w9, s9}, {x10, dx10, w10, s10}, {x11, dx11, w11, s11}, {x12, dx12, \
      w12, s12}, {x13, dx13, w13, s13}, {x14, dx14, w14, s14}, {x15, dx15, w15, s15} }

extern "C" __global__ void weighted_sum_f32(SUM_X(float), const float *w, const float *before, float *y, SUM_WEIGHTS, SUM_SKIPS,
                                 int terms, int add, long long row, long long n) {
    SumTerm<float> t[SUM_TERMS] = SUM_TERMS_READ;
    weighted_sum(t, w, before, y, terms, add, row, n);
}
extern "C" __global__ void weighted_sum_bwd_f32(SUM_X(float), const float *w, const float *dy, SUM_DX(float), float *part, SUM_WEIGHTS,
                                     SUM_SKIPS, int terms, int want, int dots, long long row, long long n) {
    SHARED(float, warps, SUM_TERMS *SUM_WARPS);
    SumTerm<float> t[SUM_TERMS] = SUM_TERMS_ALL;
    weighted_sum_bwd(t, w, dy, part, warps, terms, want, dots, row, n);
}

extern "C" __global__ void weighted_sum_bf16(SUM_X(bf16), const float *w, const float *before, bf16 *y, SUM_WEIGHTS, SUM_SKIPS,
                                 int terms, int add, long long row, long long n) {
    SumTerm<bf16> t[SUM_TERMS] = SUM_TERMS_READ;
    weighted_sum(t, w, before, y, terms, add, row, n);
}
extern "C" __global__ void weighted_sum_bf16_f32(SUM_X(bf16), const float *w, const float *before, float *y, SUM_WEIGHTS, SUM_SKIPS,
                                 int terms, int add, long long row, long long n) {
    SumTerm<bf16> t[SUM_TERMS] = SUM_TERMS_READ;
    weighted_sum(t, w, before, y, terms, add, row, n);
}
extern "C" __global__ void weighted_sum_bwd_bf16(SUM_X(bf16), const float *w, const bf16 *dy, SUM_DX(bf16), float *part, SUM_WEIGHTS,
                                     SUM_SKIPS, int terms, int want, int dots, long long row, long long n) {
    SHARED(float, warps, SUM_TERMS *SUM_WARPS);
    SumTerm<bf16> t[SUM_TERMS] = SUM_TERMS_ALL;
    weighted_sum_bwd(t, w, dy, part, warps, terms, want, dots, row, n);
}

// dw[j], one block of 256 each: the dots of the terms with weight j over all blocks; added to what is there with `add`.
extern "C" __global__ void weighted_sum_dots_f32(const float *part, float *dw, SUM_WEIGHTS, int terms, int blocks, int add) {
    SHARED(float, warps, SUM_WARPS);
    int weight[SUM_TERMS] = {w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15};
    float sum = 0.0f;
    UNROLL for (int k = 0; k < SUM_TERMS; k++)
        if (k < terms && weight[k] == (int)blockIdx.x)
            for (int b = threadIdx.x; b < blocks; b += SUM_THREADS) sum += part[(long long)b * terms + k];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) dw[blockIdx.x] = add ? dw[blockIdx.x] + sum : sum;
}
