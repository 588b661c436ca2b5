// CUDA's words for an ordinary C++ compiler. The host side of the emulator (src/backend/emulated) supplies every emu_*
// function; memory accesses reach it through the calls that -fsanitize=thread puts before them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

// Inlined, whatever the optimisation: the compiler does not report the store of a call's result to memory, only that of a value.
#define __device__ __attribute__((always_inline))
#define __noinline__
#define EMU_INLINE __attribute__((always_inline)) inline
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__
// Not inlined into the trampoline, whose own accesses are not checked.
#define __global__ __attribute__((noinline))
#define EMU_UNCHECKED __attribute__((no_sanitize("thread"), noinline))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };

extern "C" {
uint3 emu_thread_idx();
uint3 emu_block_idx();
uint3 emu_block_dim();
uint3 emu_grid_dim();
// The block barrier; `line` of `file` waits.
void emu_barrier(const char *file, int line);
// A warp operation: `kind` as below, the value and what it reads from (lane, offset or mask bits); returns the result.
uint64_t emu_warp(int kind, unsigned mask, uint64_t bits, int lane, const char *file, int line);
// Says that an atomic operation on `size` bytes follows.
void emu_atomic(const void *p, size_t size);
// Says that `size` bytes are moved at once, `write` or read; they must be aligned to that size.
void emu_vector(const void *p, size_t size, int write);
// Says where a shared array of this kernel lies.
void emu_shared(const void *p, size_t size, const char *name, int line);
// The dynamic shared memory of the block.
void *emu_dynamic(const char *name);
}

#define threadIdx (emu_thread_idx())
#define blockIdx (emu_block_idx())
#define blockDim (emu_block_dim())
#define gridDim (emu_grid_dim())
#define __syncthreads() emu_barrier(__FILE__, __LINE__)

// A shared array between zones that nothing may touch, lest an index beyond its end fall into the next array.
template <typename T, size_t N> struct EmuShared {
    alignas(16) unsigned char before[256];
    alignas(16) T values[N];
    alignas(16) unsigned char after[256];
};
#define SHARED(type, name, count)                      \
    static EmuShared<type, count> emu_zoned_##name;    \
    auto &name = emu_zoned_##name.values;              \
    emu_shared(name, sizeof name, #name, __LINE__)
#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(emu_dynamic(#name))

enum EmuWarp { EMU_SHFL, EMU_SHFL_XOR, EMU_SHFL_DOWN, EMU_SHFL_UP, EMU_BALLOT, EMU_ALL, EMU_ANY, EMU_SYNC };

template <typename T> EMU_INLINE T emu_exchange(int kind, unsigned mask, T v, int lane, const char *file, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a shuffle moves up to 8 plain bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &v, sizeof v);
    bits = emu_warp(kind, mask, bits, lane, file, line);
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
}

#define __shfl_sync(mask, v, lane) emu_exchange(EMU_SHFL, mask, v, lane, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, v, lane) emu_exchange(EMU_SHFL_XOR, mask, v, lane, __FILE__, __LINE__)
#define __shfl_down_sync(mask, v, lane) emu_exchange(EMU_SHFL_DOWN, mask, v, lane, __FILE__, __LINE__)
#define __shfl_up_sync(mask, v, lane) emu_exchange(EMU_SHFL_UP, mask, v, lane, __FILE__, __LINE__)
#define __ballot_sync(mask, p) ((unsigned)emu_warp(EMU_BALLOT, mask, (p) != 0, 0, __FILE__, __LINE__))
#define __all_sync(mask, p) ((int)emu_warp(EMU_ALL, mask, (p) != 0, 0, __FILE__, __LINE__))
#define __any_sync(mask, p) ((int)emu_warp(EMU_ANY, mask, (p) != 0, 0, __FILE__, __LINE__))
#define EMU_SYNCWARP(mask, ...) ((void)emu_warp(EMU_SYNC, mask, 0, 0, __FILE__, __LINE__))
#define __syncwarp(...) EMU_SYNCWARP(__VA_ARGS__ __VA_OPT__(,) 0xffffffffu)

template <typename T> EMU_UNCHECKED T emu_atomic_add(T *p, T v) {
    emu_atomic(p, sizeof(T));
    T old = *p;
    *p = old + v;
    return old;
}
template <typename T> EMU_UNCHECKED T emu_atomic_max(T *p, T v) {
    emu_atomic(p, sizeof(T));
    T old = *p;
    if (old < v) *p = v;
    return old;
}
template <typename T> EMU_UNCHECKED T emu_atomic_min(T *p, T v) {
    emu_atomic(p, sizeof(T));
    T old = *p;
    if (v < old) *p = v;
    return old;
}
template <typename T> EMU_UNCHECKED T emu_atomic_or(T *p, T v) {
    emu_atomic(p, sizeof(T));
    T old = *p;
    *p = old | v;
    return old;
}
template <typename T> EMU_UNCHECKED T emu_atomic_exchange(T *p, T compare, T v, bool always) {
    emu_atomic(p, sizeof(T));
    T old = *p;
    if (always || old == compare) *p = v;
    return old;
}
inline float atomicAdd(float *p, float v) { return emu_atomic_add(p, v); }
inline int atomicAdd(int *p, int v) { return emu_atomic_add(p, v); }
inline unsigned atomicAdd(unsigned *p, unsigned v) { return emu_atomic_add(p, v); }
inline int atomicMax(int *p, int v) { return emu_atomic_max(p, v); }
inline unsigned atomicMax(unsigned *p, unsigned v) { return emu_atomic_max(p, v); }
inline int atomicMin(int *p, int v) { return emu_atomic_min(p, v); }
inline unsigned atomicMin(unsigned *p, unsigned v) { return emu_atomic_min(p, v); }
inline int atomicOr(int *p, int v) { return emu_atomic_or(p, v); }
inline unsigned atomicOr(unsigned *p, unsigned v) { return emu_atomic_or(p, v); }
inline int atomicExch(int *p, int v) { return emu_atomic_exchange(p, v, v, true); }
inline unsigned atomicExch(unsigned *p, unsigned v) { return emu_atomic_exchange(p, v, v, true); }
inline int atomicCAS(int *p, int compare, int v) { return emu_atomic_exchange(p, compare, v, false); }
inline unsigned atomicCAS(unsigned *p, unsigned compare, unsigned v) { return emu_atomic_exchange(p, compare, v, false); }

template <typename T> EMU_INLINE T __ldg(const T *p) { return *p; }
EMU_INLINE float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
template <typename T> EMU_INLINE T min(T a, T b) { return b < a ? b : a; }
template <typename T> EMU_INLINE T max(T a, T b) { return a < b ? b : a; }

// bfloat16 as storage: conversion rounds to nearest, ties to even.
struct bf16 { uint16_t bits; };
EMU_INLINE float __bfloat162float(bf16 v) {
    uint32_t u = (uint32_t)v.bits << 16;
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}
EMU_INLINE bf16 __float2bfloat16(float f) {
    uint32_t u;
    __builtin_memcpy(&u, &f, 4);
    if (f != f) return bf16{(uint16_t)((u >> 16) | 0x40)};
    u += 0x7fff + ((u >> 16) & 1);
    return bf16{(uint16_t)(u >> 16)};
}
EMU_INLINE unsigned short __bfloat16_as_ushort(bf16 v) { return v.bits; }
EMU_INLINE float __uint_as_float(unsigned u) {
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}

// Pointers handed over by value; see dialect.cuh.
template <typename T, int N> struct List { T *at[N]; };

// What the launcher learns of a kernel: a letter for each parameter (`i` read, `o` written: pointers; `v`: value), the
// element type, the size of a value, and how many arguments make the parameter up: those of a list follow each other.
template <typename T> constexpr char emu_letter() {
    if constexpr (std::is_same_v<T, float>) return 'f';
    else if constexpr (std::is_same_v<T, bf16>) return 'h';
    else if constexpr (std::is_same_v<T, double>) return 'd';
    else if constexpr (std::is_same_v<T, int>) return 'i';
    else if constexpr (std::is_same_v<T, unsigned>) return 'u';
    else if constexpr (std::is_same_v<T, long long>) return 'l';
    else if constexpr (std::is_same_v<T, unsigned char>) return 'b';
    else return '?';
}
struct EmuParameter { char role, type; unsigned size, count; };
template <typename P> struct EmuList { static constexpr unsigned count = 0; };
template <typename T, int N> struct EmuList<List<T, N>> { using Pointer = T *; static constexpr unsigned count = N; };
template <typename P> constexpr EmuParameter emu_parameter() {
    using E = std::remove_const_t<std::remove_pointer_t<P>>;
    if constexpr (EmuList<P>::count > 0) {
        EmuParameter one = emu_parameter<typename EmuList<P>::Pointer>();
        return {one.role, one.type, one.size, EmuList<P>::count};
    } else if constexpr (std::is_pointer_v<P>)
        return {std::is_const_v<std::remove_pointer_t<P>> ? 'i' : 'o', emu_letter<E>(), (unsigned)sizeof(E), 1};
    else return {'v', emu_letter<E>(), (unsigned)sizeof(E), 1};
}
template <auto K> struct EmuKernel;
template <typename... P, void (*K)(P...)> struct EmuKernel<K> {
    static constexpr EmuParameter parameters[sizeof...(P) + 1] = {emu_parameter<P>()..., {0, 0, 0, 0}};
    template <size_t... I> EMU_UNCHECKED static void call(void *const *a, std::index_sequence<I...>) {
        K(*static_cast<std::remove_const_t<P> *>(a[I])...);
    }
    EMU_UNCHECKED static void run(void *const *a) { call(a, std::index_sequence_for<P...>{}); }
};
struct EmuEntry { const char *name; void (*run)(void *const *); const EmuParameter *parameters; size_t count; };
#define EMU_ENTRY(k) {#k, &EmuKernel<k>::run, EmuKernel<k>::parameters, sizeof(EmuKernel<k>::parameters) / sizeof(EmuParameter) - 1}
