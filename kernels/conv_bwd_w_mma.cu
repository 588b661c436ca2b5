// conv_bwd_w.cu for bf16 maps, on the tensor cores: both operands are bf16, their products are exact in f32.
#include "conv.cuh"
#include "mma.cuh"

// Pixels of a slice, pairs (channel, tap) of a tile; words of a row of `a` and `b`.
constexpr int PIXELS = 32, BN = 64, THREADS = 128, PITCH = PIXELS / 2 + 4;

// fragment_a for b: rows 0..7.
__device__ inline void fragment_b(unsigned (&b)[2], const unsigned *rows, int pitch) {
    const unsigned *at = rows + threadIdx.x % WARP_SIZE / 4 * pitch + threadIdx.x % 4;
    b[0] = at[0], b[1] = at[4];
}

// As conv_bwd_w. BM channels of dy by 64 pairs a block, 128 threads. `a` and `b` hold rows of PIXELS values.
template <int BM, bool ROWS = false>
__device__ void conv_bwd_w_mma(const bf16 *x, const bf16 *dy, float *part, float *bias, unsigned *a, unsigned *b, int *table, int chunks,
                               long long chunk, Sizes s, bool rectify) {
    // Warps: WM down, WN across, MT x NT fragments each.
    constexpr int WM = BM / 32 > 0 ? BM / 32 : 1, WN = 4 / WM, MT = BM / 16 / WM, NT = BN / 8 / WN;
    const int tid = threadIdx.x, lane = tid % WARP_SIZE, warp = tid / WARP_SIZE, taps = s.k * s.k;
    const int down = warp / WN * MT * 16, across = warp % WN * NT * 8;
    const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;
    const long long in = (long long)s.h * s.w, out = (long long)s.ho * s.wo, all = s.images * out;
    const long long units = (long long)s.groups * row_tiles * pair_tiles, size = (long long)s.groups * s.rows * pairs;
    // Eight pixels at a time: of dy; of x too where a pair is a channel.
    const bool whole = !ROWS && out % 8 == 0, flat = whole && taps == 1 && s.stride == 1 && s.padding == 0;
    bf16 *const a_half = (bf16 *)a, *const b_half = (bf16 *)b;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const int pair0 = (int)(unit % pair_tiles) * BN, row0 = (int)(unit / pair_tiles % row_tiles) * BM;
        const long long group = unit / pair_tiles / row_tiles;
        // The last tile's reads of the table lie before its last barrier.
        for (int j = tid; j < BN; j += THREADS) {
            const int pair = pair0 + j, tap = pair % taps;
            table[j] = pair / taps, table[BN + j] = tap / s.k * s.dilation, table[2 * BN + j] = tap % s.k * s.dilation;
        }
        __syncthreads();
        for (int part_of = blockIdx.y; part_of < chunks; part_of += gridDim.y) {
            float acc[MT][NT][4];
            UNROLL
            for (int i = 0; i < MT * NT * 4; i++) acc[i / (NT * 4)][i / 4 % NT][i % 4] = 0.0f;
            float of_bias = 0.0f;
            const long long begin = part_of * chunk, end = min(begin + chunk, all);
            for (long long k0 = begin; k0 < end; k0 += PIXELS) {
                // One pixel a lane, or eight a thread.
                const long long one = k0 + lane, eight = k0 + tid % 4 * 8;
                constexpr int STEP = THREADS / 4;
                if (whole) {
                    const long long n = eight / out, p = eight % out;
                    const bf16 *from = dy + (n * s.to + group * s.rows) * out + p;
                    UNROLL
                    for (int m = tid / 4; m < (BM + STEP - 1) / STEP * STEP; m += STEP) {
                        uint4 v = {0, 0, 0, 0};
                        if (eight < end && row0 + m < s.rows) v = load_words(from + (row0 + m) * out);
                        if (m < BM) store_words(a + m * PITCH + tid % 4 * 4, v);
                    }
                } else {
                    const long long n = one / out, p = one % out;
                    const bf16 *from = dy + (ROWS ? n * s.image + p * s.rows : (n * s.to + group * s.rows) * out + p);
                    UNROLL
                    for (int m = warp; m < BM; m += THREADS / WARP_SIZE) {
                        const bool there = one < end && row0 + m < s.rows;
                        a_half[m * 2 * PITCH + lane] = there ? from[(row0 + m) * (ROWS ? 1 : out)] : from_float<bf16>(0.0f);
                    }
                }
                if (flat) {
                    const long long n = eight / out, p = eight % out;
                    const bf16 *from = x + (n * s.groups + group) * s.depth * in + p;
                    UNROLL
                    for (int j = tid / 4; j < BN; j += STEP) {
                        uint4 v = {0, 0, 0, 0};
                        if (eight < end && pair0 + j < pairs) v = rectified(load_words(from + (pair0 + j) * in), rectify);
                        store_words(b + j * PITCH + tid % 4 * 4, v);
                    }
                } else {
                    const int p = (int)(one % out), iy0 = p / s.wo * s.stride - s.padding, ix0 = p % s.wo * s.stride - s.padding;
                    const bf16 *from = x + (one / out * s.groups + group) * s.depth * in;
                    UNROLL
                    for (int j = warp; j < BN; j += THREADS / WARP_SIZE) {
                        const int iy = iy0 + table[BN + j], ix = ix0 + table[2 * BN + j];
                        const bool there = one < end && pair0 + j < pairs && iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                        const float v = there ? to_float(from[table[j] * in + (long long)iy * s.w + ix]) : 0.0f;
                        b_half[j * 2 * PITCH + lane] = from_float<bf16>(rectified(v, rectify));
                    }
                }
                __syncthreads();
                UNROLL
                for (int r = 0; r < PIXELS / 16; r++) {
                    unsigned fa[MT][4], fb[2];
                    UNROLL
                    for (int m = 0; m < MT; m++) fragment_a(fa[m], a + (down + m * 16) * PITCH + r * 8, PITCH);
                    UNROLL
                    for (int n = 0; n < NT; n++) {
                        if (pair0 + across + n * 8 >= pairs) break;
                        fragment_b(fb, b + (across + n * 8) * PITCH + r * 8, PITCH);
                        UNROLL
                        for (int m = 0; m < MT; m++) mma_bf16(acc[m][n], fa[m], fb);
                    }
                }
                // Once for all pairs; pixels beyond the chunk are 0.
                if (ROWS && bias && pair0 == 0 && tid < BM)
                    for (int r = 0; r < PIXELS; r++) of_bias += to_float(a_half[tid * 2 * PITCH + r]);
                __syncthreads();
            }
            const int g = lane / 4, t = lane % 4;
            UNROLL
            for (int m = 0; m < MT; m++)
                UNROLL
                for (int n = 0; n < NT; n++)
                    UNROLL
                    for (int i = 0; i < 4; i++) {
                        const int row = row0 + down + m * 16 + i / 2 * 8 + g, pair = pair0 + across + n * 8 + 2 * t + i % 2;
                        if (row < s.rows && pair < pairs) part[part_of * size + (group * s.rows + row) * pairs + pair] = acc[m][n][i];
                    }
            if (ROWS && bias && pair0 == 0 && tid < BM && row0 + tid < s.rows) bias[(long long)part_of * s.rows + row0 + tid] = of_bias;
        }
    }
}

#define BWD_W                                                                                                                        \
    const bf16 *x, const bf16 *dy, float *part, int chunks, long long chunk, int images, int groups, int rows, int depth, int h, int wd, \
        int ho, int wo, int k, int stride, int padding, int dilation
#define RUN(BM)                                                                          \
    SHARED(unsigned, a, BM *PITCH);                                                      \
    SHARED(unsigned, b, BN *PITCH);                                                      \
    SHARED(int, table, 3 * BN);                                                          \
    conv_bwd_w_mma<BM>(x, dy, part, nullptr, a, b, table, chunks, chunk,                          \
                       Sizes{images, groups, rows, depth, h, wd, ho, wo, k, stride, padding, dilation, groups * rows, 0}, false)

// `narrow` for up to 16 channels of dy in a group.
extern "C" __global__ void conv_bwd_w_bf16(BWD_W) { RUN(64); }
extern "C" __global__ void conv_bwd_w_narrow_bf16(BWD_W) { RUN(16); }

// Gradients of the weights of 1x1 convolutions of rectified maps side by side, as many as the grid is deep: all over the same pixels, in the same chunks.
#define MANY                                                                                                                            \
    const __grid_constant__ List<const bf16, MANY_UNITS> x, const __grid_constant__ List<const bf16, MANY_UNITS> dy,                     \
        const __grid_constant__ List<float, MANY_UNITS> part, int chunks, long long chunk, MANY_SIZES
#define RUN_MANY(BM)                                                                                                \
    SHARED(unsigned, a, BM *PITCH);                                                                                 \
    SHARED(unsigned, b, BN *PITCH);                                                                                 \
    SHARED(int, table, 3 * BN);                                                                                     \
    const int z = blockIdx.z;                                                                                       \
    conv_bwd_w_mma<BM>(x.at[z], dy.at[z], part.at[z], nullptr, a, b, table, chunks, chunk, many_weights(MANY_NUMBERS), true)

extern "C" __global__ void conv_many_bwd_w_bf16(MANY) { RUN_MANY(64); }
extern "C" __global__ void conv_many_bwd_w_narrow_bf16(MANY) { RUN_MANY(16); }

// As conv_rectified_bwd_w_f32.
#define RECTIFIED                                                                                                                      \
    const __grid_constant__ List<const bf16, RECTIFIED_UNITS> x, const __grid_constant__ List<const bf16, RECTIFIED_UNITS> dy,         \
        const __grid_constant__ List<float, RECTIFIED_UNITS> part, int chunks, long long chunk, RECTIFIED_SIZES
#define RUN_RECTIFIED(BM)                                                                                                              \
    SHARED(unsigned, a, BM *PITCH);                                                                                                    \
    SHARED(unsigned, b, BN *PITCH);                                                                                                    \
    SHARED(int, table, 3 * BN);                                                                                                        \
    const int z = blockIdx.z;                                                                                                          \
    conv_bwd_w_mma<BM>(x.at[z], dy.at[z], part.at[z], nullptr, a, b, table, chunks, chunk, plain_weights(RECTIFIED_NUMBERS, 0), true)

extern "C" __global__ void conv_rectified_bwd_w_bf16(RECTIFIED) { RUN_RECTIFIED(64); }
extern "C" __global__ void conv_rectified_bwd_w_narrow_bf16(RECTIFIED) { RUN_RECTIFIED(16); }

// As conv_heads_bwd_w_f32.
#define HEADS                                                                                                                               \
    const __grid_constant__ List<const bf16, HEAD_LEVELS> x, const __grid_constant__ List<const bf16, HEAD_LEVELS> dy,                      \
        const __grid_constant__ List<float, HEAD_LEVELS> part, const __grid_constant__ List<float, HEAD_LEVELS> bias, HEAD_SIZES
#define RUN_HEADS(BM)                                                                                                       \
    SHARED(unsigned, a, BM *PITCH);                                                                                         \
    SHARED(unsigned, b, BN *PITCH);                                                                                         \
    SHARED(int, table, 3 * BN);                                                                                             \
    const int z = blockIdx.z, chunks = numbers[z * HEAD_NUMBERS + 4], chunk = numbers[z * HEAD_NUMBERS + 5];                \
    conv_bwd_w_mma<BM, true>(x.at[z], dy.at[z], part.at[z], bias.at[z], a, b, table, chunks, chunk,                         \
                             head_weights(numbers, images, image, k, padding, dilation), false)

extern "C" __global__ void conv_heads_bwd_w_bf16(HEADS) { RUN_HEADS(64); }
extern "C" __global__ void conv_heads_bwd_w_narrow_bf16(HEADS) { RUN_HEADS(16); }
