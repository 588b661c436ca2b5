// First halves of candidates of edges that halve the map, on the way back: their depthwise convolution has stride 2.
//
// A pixel of the state is pixel (y, x) of the node's map and one of four classes, (row, column) odd or even: classes of the state's pixels
// are maps of the node's size, which taps of the filter meet at whole pixels beside (y, x). A filter of dilation 2 meets even rows and
// columns only.
#pragma once
#include "node_back.cuh"

template <int K, int D> struct NodeHalved {
    static constexpr int TAPS = K * K, PAD = K / 2 * D, SIDES = D == 1 ? 2 : 1, CLASSES = SIDES * SIDES;
    // Pixels of the node's map around a tile that the filter reaches.
    static constexpr int RING = D == 1 ? 1 : K / 2;

    // Whether a row or column of taps meets odd rows or columns of the state; how far behind such a pixel of its class the output lies: row
    // Y = 2 y + odd of the state meets output (Y + PAD - tap D) / 2 = y + behind.
    static __device__ __forceinline__ constexpr int odd(int tap) { return (tap * D + PAD) % 2; }
    static __device__ __forceinline__ constexpr int behind(int tap) { return (odd(tap) + PAD - tap * D) / 2; }

    // Calls f(o, kind, tap, v) for every value v of a strip of R rows with its ring that a tap joins with row o of class `kind`. `at`: the
    // strip's first row and column in a tile with its ring, of classes `apart`. TO = 1: v is of outputs, o of the state; -1: the reverse.
    template <int R, int TO, typename F> static __device__ __forceinline__ void strip(const float *at, int wide, int apart, F f) {
        UNROLL for (int r = 0; r < R + 2 * RING; r++)
            UNROLL for (int kind = 0; kind < CLASSES; kind++) {
                float v[2 * RING + 1];
                UNROLL for (int i = 0; i < 2 * RING + 1; i++) v[i] = at[kind * apart + r * wide + i];
                UNROLL for (int o = 0; o < R; o++)
                    UNROLL for (int ky = 0; ky < K; ky++) {
                        if (odd(ky) != kind / SIDES || TO * behind(ky) != r - o - RING) continue;
                        UNROLL for (int kx = 0; kx < K; kx++)
                            if (odd(kx) == kind % SIDES) f(o, kind, ky * K + kx, v[RING + TO * behind(kx)]);
                    }
            }
    }
};

// f(NodeHalved of a kind of convolution).
template <typename F> __device__ __forceinline__ void node_halved_by_kind(int kind, F f) {
    if (kind == NODE_SEP3) f(NodeHalved<3, 1>{});
    else if (kind == NODE_SEP5) f(NodeHalved<5, 1>{});
    else if (kind == NODE_DIL3) f(NodeHalved<3, 2>{});
    else if (kind == NODE_DIL5) f(NodeHalved<5, 2>{});
}

// Into shared memory: the columns of both pointwise weights (a / 2, a) of a reduction that are the group's, one below the other.
__device__ inline void node_reduced_load(const float *even, const float *odd, float *rows, int a, NodeGroup g) {
    const int half = a / 2;
    for (int i = threadIdx.x; i < a * NODE_GROUP; i += NODE_THREADS) {
        const int o = i / NODE_GROUP, j = i % NODE_GROUP;
        const float *from = o < half ? even + o * a : odd + (o - half) * a;
        rows[i] = j < g.count ? from[g.from + j] : 0.0f;
    }
}
