// Products of matrices on the tensor cores: the only file with PTX. Every instruction has a twin in ordinary C++ with the same contract for each
// lane, which the emulated device runs. Sums are f32; the order within an instruction is the hardware's own, the twin adds in the order of k.
#pragma once
#include "dialect.cuh"

// mma.sync.m16n8k16: d (16 x 8, f32) += a (16 x 16, bf16) b (16 x 8, bf16), one warp, all lanes. With g = lane / 4, t = lane % 4 lane holds
//     a[0] (g, 2t..2t+1)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..)   (row, columns): two values a word, the first low;
//     b[0] (2t..2t+1, g)  b[1] (2t + 8.., g)                                              (rows, column);
//     d[0..1] (g, 2t..2t+1)  d[2..3] (g + 8, 2t..2t+1).
#ifdef __CUDACC__
__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
// The matrices of a warp, put together from the fragments of its lanes; not memory that a kernel sees, so its accesses are not checked.
struct EmuMatrices {
    float a[16][16], b[8][16]; // b by columns
};
static EmuMatrices emu_matrices[WARP_SIZE];

#define EMU_TWIN static __attribute__((no_sanitize("thread", "undefined"), noinline))
EMU_TWIN void emu_mma_give(int thread, const unsigned *a, const unsigned *b) {
    EmuMatrices &m = emu_matrices[thread / WARP_SIZE];
    const int g = thread % WARP_SIZE / 4, t = thread % 4;
    for (int i = 0; i < 6; i++) {
        float *to = i < 4 ? &m.a[g + i % 2 * 8][2 * t + i / 2 * 8] : &m.b[g][2 * t + (i - 4) * 8];
        const unsigned word = i < 4 ? a[i] : b[i - 4], bits[2] = {word << 16, word & 0xffff0000u};
        __builtin_memcpy(to, bits, sizeof bits);
    }
}
// Products of two bf16 have 16 bits, so in the range of f32 they are exact: each step rounds once, as a fused one.
EMU_TWIN void emu_mma_sum(int thread, float *d) {
    const EmuMatrices &m = emu_matrices[thread / WARP_SIZE];
    const int g = thread % WARP_SIZE / 4, t = thread % 4;
    for (int i = 0; i < 4; i++) {
        const float *a = m.a[g + i / 2 * 8], *b = m.b[2 * t + i % 2];
        float sum = d[i];
        for (int k = 0; k < 16; k++) sum += a[k] * b[k];
        d[i] = sum;
    }
}
__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emu_mma_give(threadIdx.x, a, b);
    __syncwarp();
    emu_mma_sum(threadIdx.x, d);
    __syncwarp();
}
#endif

// Two words of `rows` (each row `pitch` words of two values along k) as the fragment a, of rows 0..15; k from word 0 on. A pitch of 12 or 20
// words keeps the lanes in different banks.
__device__ inline void fragment_a(unsigned (&a)[4], const unsigned *rows, int pitch) {
    const unsigned *at = rows + threadIdx.x % WARP_SIZE / 4 * pitch + threadIdx.x % 4;
    a[0] = at[0], a[1] = at[8 * pitch], a[2] = at[4], a[3] = at[8 * pitch + 4];
}
// The fragment b of words [k / 2][column], `pitch` apart: 8 more than a multiple of 32 keeps the lanes in different banks.
__device__ inline void fragment_b_across(unsigned (&b)[2], const unsigned *words, int pitch) {
    const unsigned *at = words + threadIdx.x % 4 * pitch + threadIdx.x % WARP_SIZE / 4;
    b[0] = at[0], b[1] = at[4 * pitch];
}

// Four words at once: eight bf16 of memory, or words of shared memory; `p` must be aligned to 16 bytes.
__device__ inline uint4 load_words(const bf16 *p) {
#ifndef __CUDACC__
    emu_vector(p, 16, 0);
#endif
    return *(const uint4 *)p;
}
__device__ inline void store_words(unsigned *p, uint4 v) {
#ifndef __CUDACC__
    emu_vector(p, 16, 1);
#endif
    *(uint4 *)p = v;
}
// A word of the lower, or upper, halves of two words.
__device__ inline unsigned low_halves(unsigned u, unsigned v) { return (u & 0xffffu) | v << 16; }
__device__ inline unsigned high_halves(unsigned u, unsigned v) { return u >> 16 | (v & 0xffff0000u); }

// Words of three bf16 parts of two floats, whose sums are the floats exactly (24 = 3 x 8 bits; parts below 2^-126 may vanish).
__device__ inline void split3(float low, float high, unsigned (&parts)[3]) {
    for (int i = 0; i < 3; i++) {
        parts[i] = bf16_pair(low, high);
        low -= __uint_as_float(parts[i] << 16), high -= __uint_as_float(parts[i] & 0xffff0000u);
    }
}

// max(v, 0) of pairs of bf16, where asked for: by their signs.
__device__ inline unsigned rectified(unsigned v, bool asked) { return asked ? v & ~((v >> 15 & 0x10001u) * 0xffffu) : v; }
__device__ inline uint4 rectified(uint4 v, bool asked) {
    return uint4{rectified(v.x, asked), rectified(v.y, asked), rectified(v.z, asked), rectified(v.w, asked)};
}
