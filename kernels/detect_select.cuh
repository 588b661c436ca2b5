// Radix select over the values of one block's list: the `wanted` largest, ties to the lowest index.
#pragma once
#include "exact.cuh"
#include "reduce.cuh"

// Larger for larger values; a NaN above all, both zeros the same.
__device__ inline unsigned order_key(float v) {
    if (v != v) return 0xffffffffu;
    unsigned u = bits_of(v == 0.0f ? 0.0f : v);
    return u >> 31 ? ~u : u | 0x80000000u;
}

// What is chosen: keys above `key`, and the first `ties` with that key.
struct Cut {
    unsigned key;
    int ties;
};

constexpr int BINS = 256;

// `key(i, &k)` gives the key of value i and says whether it takes part; `wanted`, 0 or more, is not more than there are. `bins` has BINS
// words, `state` two. All threads of the block call.
template <typename Key> __device__ Cut radix_select(Key key, int n, int wanted, int *bins, int *state) {
    Cut cut{0, wanted};
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int b = threadIdx.x; b < BINS; b += blockDim.x) bins[b] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < n; i += blockDim.x) {
            unsigned k;
            if (key(i, &k) && (shift == 24 || k >> (shift + 8) == cut.key >> (shift + 8))) atomicAdd(&bins[k >> shift & 255], 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int b = BINS - 1, left = cut.ties;
            while (left > bins[b]) left -= bins[b--];
            state[0] = b;
            state[1] = left;
        }
        __syncthreads();
        cut.key |= (unsigned)state[0] << shift;
        cut.ties = state[1];
    }
    return cut;
}

// Calls `done(i, chosen)` for every value, in steps of the block: `warps` has a word for each warp.
template <typename Key, typename Done> __device__ void each_chosen(Key key, Cut cut, int n, int *warps, Done done) {
    int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE, seen = 0;
    for (int from = 0; from < n; from += blockDim.x) {
        int i = from + threadIdx.x;
        unsigned k;
        bool part = i < n && key(i, &k), tie = part && k == cut.key;
        unsigned ties = __ballot_sync(FULL_WARP, tie);
        __syncthreads(); // counts of the step before are read
        if (lane == 0) warps[warp] = bits_set(ties);
        __syncthreads();
        int rank = seen + bits_set(ties & ((1u << lane) - 1));
        for (int w = 0; w < (int)blockDim.x / WARP_SIZE; w++) {
            if (w < warp) rank += warps[w];
            seen += warps[w];
        }
        if (i < n) done(i, part && (k > cut.key || (tie && rank < cut.ties)));
    }
}
