// Words for results that must be those of the host, bit by bit.
#pragma once
#include "dialect.cuh"

// Products that no compiler joins with a sum. Bits that are set; bits of a float.
#ifdef __CUDACC__
__device__ inline float mul_rn(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double mul_rn(double a, double b) { return __dmul_rn(a, b); }
__device__ inline int bits_set(unsigned v) { return __popc(v); }
__device__ inline unsigned bits_of(float v) { return __float_as_uint(v); }
#else
inline int bits_set(unsigned v) { return __builtin_popcount(v); }
inline unsigned bits_of(float v) {
    unsigned u;
    __builtin_memcpy(&u, &v, sizeof u);
    return u;
}
template <typename T> inline T mul_rn(T a, T b) { return a * b; }
#endif
