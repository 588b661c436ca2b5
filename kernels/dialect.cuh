// The words that kernels use beside CUDA's own. nvcc and the emulator's C++ compiler read the same files; README.md has the rules.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
typedef __nv_bfloat16 bf16;
// An array in shared memory, the same for all threads of a block: `SHARED(float, tile, 256);` then `tile[i]`.
#define SHARED(type, name, count) __shared__ type name[count]
// Shared memory of as many bytes as the launch gives, which may be more than the 48 KiB of static arrays; once in a kernel.
#define DYNAMIC_SHARED(type, name)                          \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type *name = reinterpret_cast<type *>(name##_bytes)
// Before a loop that nvcc is to unroll.
#define UNROLL _Pragma("unroll")
// Pointers handed over by value, `const __grid_constant__ List<const float, 8> x`, then `x.at[i]`: N arguments of a launch that follow each
// other. Those that a launch has no use for are null. All parameters of a kernel together: 4,096 bytes at most.
template <typename T, int N> struct List { T *at[N]; };
#else
#include "emulated.h"
#define UNROLL
#endif

// Four values at once; `p` must be aligned to 16 bytes.
__device__ inline float4 load4(const float *p) {
#ifndef __CUDACC__
    emu_vector(p, 16, 0);
#endif
    return *(const float4 *)p;
}
__device__ inline void store4(float *p, float4 v) {
#ifndef __CUDACC__
    emu_vector(p, 16, 1);
#endif
    *(float4 *)p = v;
}

// The same of bf16, as floats; `p` must be aligned to 8 bytes.
__device__ inline float4 load4(const bf16 *p) {
#ifndef __CUDACC__
    emu_vector(p, 8, 0);
#endif
    const uint2 q = *(const uint2 *)p;
    return float4{__uint_as_float(q.x << 16), __uint_as_float(q.x & 0xffff0000u), __uint_as_float(q.y << 16),
                  __uint_as_float(q.y & 0xffff0000u)};
}
// Two floats rounded to bf16, the first in the lower half.
__device__ inline unsigned bf16_pair(float low, float high) {
    return (unsigned)__bfloat16_as_ushort(__float2bfloat16(low)) | (unsigned)__bfloat16_as_ushort(__float2bfloat16(high)) << 16;
}
__device__ inline void store4(bf16 *p, float4 v) {
#ifndef __CUDACC__
    emu_vector(p, 8, 1);
#endif
    *(uint2 *)p = uint2{bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
}
// 16 bytes at once, as floats: four f32 or eight bf16.
__device__ inline void load16(const float *p, float (&v)[4]) {
    const float4 q = load4(p);
    v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
}
__device__ inline void load16(const bf16 *p, float (&v)[8]) {
#ifndef __CUDACC__
    emu_vector(p, 16, 0);
#endif
    const uint4 q = *(const uint4 *)p;
    const unsigned words[4] = {q.x, q.y, q.z, q.w};
    for (int i = 0; i < 4; i++) v[2 * i] = __uint_as_float(words[i] << 16), v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
}

constexpr int WARP_SIZE = 32;
constexpr unsigned FULL_WARP = 0xffffffffu;

// Index of this thread among all threads of a one-dimensional launch, and their number.
__device__ inline long long global_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long global_size() { return (long long)gridDim.x * blockDim.x; }

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(bf16 v) { return __bfloat162float(v); }
template <typename T> __device__ inline T from_float(float v);
template <> __device__ inline float from_float<float>(float v) { return v; }
template <> __device__ inline bf16 from_float<bf16>(float v) { return __float2bfloat16(v); }

// Sum over the lanes of a warp, in every lane; the order is that of the butterfly.
__device__ inline float warp_sum(float v) {
    for (int d = WARP_SIZE / 2; d > 0; d /= 2) v += __shfl_xor_sync(FULL_WARP, v, d);
    return v;
}
