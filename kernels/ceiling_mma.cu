// What the tensor cores do at most by `mma.sync`, for the benchmark's shares: chains of products of matrices from registers, eight
// independent ones a warp, nothing loaded in between.
#include "mma.cuh"

constexpr int CHAINS = 8;

struct Chain {
    unsigned b[2];
    float d[4];
};

// x and y: 32 values for each warp's turn, v being the lane's. Its word j of a holds (v, v + j), its word j of chain c's b (v + c, v - j);
// d += a b, `rounds` times in each chain. y: the sum of what the lane holds of all d. Blocks of whole warps.
extern "C" __global__ void ceiling_mma_bf16(const float *x, float *y, int rounds, long long warps) {
    const int lane = threadIdx.x % WARP_SIZE;
    for (long long w = global_index() / WARP_SIZE; w < warps; w += global_size() / WARP_SIZE) {
        const float v = x[w * WARP_SIZE + lane];
        unsigned a[4];
        Chain chain[CHAINS];
        UNROLL
        for (int j = 0; j < 4; j++) a[j] = bf16_pair(v, v + (float)j);
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            UNROLL
            for (int j = 0; j < 2; j++) chain[c].b[j] = bf16_pair(v + (float)c, v - (float)j);
            UNROLL
            for (int j = 0; j < 4; j++) chain[c].d[j] = 0.0f;
        }
        for (int r = 0; r < rounds; r++) {
            UNROLL
            for (int c = 0; c < CHAINS; c++) mma_bf16(chain[c].d, a, chain[c].b);
        }
        float sum = 0.0f;
        UNROLL
        for (int c = 0; c < CHAINS; c++) {
            UNROLL
            for (int j = 0; j < 4; j++) sum += chain[c].d[j];
        }
        y[w * WARP_SIZE + lane] = sum;
    }
}
