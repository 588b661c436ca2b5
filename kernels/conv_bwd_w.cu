// Weight gradient of a convolution, dense, grouped or pointwise: a product of matrices whose sum runs over all pixels of all images,
//     dw[g M + m, c, tap] = sum_{n, p} dy[n, g M + m, p] x[n, g C + c, p stride + tap dilation - padding].
// The pixels are cut into chunks; each block sums one chunk for a tile of dw, `part` is (chunks, dw), sum_chunks adds them in order: the
// order of every sum is fixed, no atomics.
#include "conv.cuh"

// Blocks of 128 threads. WARPS 1: all threads share every slice of pixels; 4: each warp takes a quarter of a slice and the warps' sums are
// added at the end. Grid: (tiles of dw x groups, chunks) or fewer; `a`, `b`: BK pixels of BM channels of dy, of BN pairs (c, tap). `bias`, where
// dy are rows and it is asked for: (chunks, rows), sums of dy.
template <int BM, int BN, int TM, int TN, int WARPS, bool ROWS = false>
__device__ void conv_bwd_w(const float *x, const float *dy, float *part, float *bias, float *a, float *b, int *table, int chunks,
                           long long chunk, Sizes s, bool rectify) {
    constexpr int LDA = BM + 4, LDB = BN + 4, THREADS = 128, MINE = BK / WARPS;
    static_assert(BM / TM * (BN / TN) * WARPS == THREADS, "a tile is shared out among the threads");
    const int tid = threadIdx.x, slice = WARPS == 1 ? 0 : tid / WARP_SIZE, cell = tid % (THREADS / WARPS);
    const int tx = cell % (BN / TN), ty = cell / (BN / TN), taps = s.k * s.k;
    const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;
    const long long in = (long long)s.h * s.w, out = (long long)s.ho * s.wo, all = s.images * out;
    const long long units = (long long)s.groups * row_tiles * pair_tiles, size = (long long)s.groups * s.rows * pairs;
    // Four pixels at a time: of dy; of x too where a pair is a channel.
    const bool whole = !ROWS && out % 4 == 0, flat = whole && taps == 1 && s.stride == 1 && s.padding == 0;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const int pair0 = (int)(unit % pair_tiles) * BN, row0 = (int)(unit / pair_tiles % row_tiles) * BM;
        const long long group = unit / pair_tiles / row_tiles;
        // Channel, row and column of each pair; the last tile's reads of them lie before its last barrier.
        for (int j = tid; j < BN; j += THREADS) {
            const int pair = pair0 + j, tap = pair % taps;
            table[j] = pair / taps, table[BN + j] = tap / s.k * s.dilation, table[2 * BN + j] = tap % s.k * s.dilation;
        }
        __syncthreads();
        for (int part_of = blockIdx.y; part_of < chunks; part_of += gridDim.y) {
            float acc[TM][TN];
            for (int i = 0; i < TM; i++)
                for (int j = 0; j < TN; j++) acc[i][j] = 0.0f;
            float of_bias = 0.0f;
            const long long begin = part_of * chunk, end = min(begin + chunk, all);
            for (long long k0 = begin; k0 < end; k0 += BK) {
                // Lanes along the pixels, so that loads are of neighbours: four of a row at once, or one.
                constexpr int FOURS = BK / 4, FOUR_STEP = THREADS / FOURS, STEP = THREADS / BK;
                const int lane = tid % BK, at = tid % FOURS * 4;
                const long long one = k0 + lane, four = k0 + at;
                if (whole) {
                    const float *from = dy + (four / out * s.to + group * s.rows) * out + four % out;
                    UNROLL
                    for (int m = tid / FOURS; m < BM; m += FOUR_STEP) {
                        float v[4] = {};
                        if (four < end && row0 + m < s.rows) load16(from + (row0 + m) * out, v);
                        UNROLL
                        for (int i = 0; i < 4; i++) a[(at + i) * LDA + m] = v[i];
                    }
                } else {
                    const float *from = dy + (ROWS ? one / out * s.image + one % out * s.rows : (one / out * s.to + group * s.rows) * out + one % out);
                    UNROLL
                    for (int m = tid / BK; m < BM; m += STEP) a[lane * LDA + m] = one < end && row0 + m < s.rows ? from[(row0 + m) * (ROWS ? 1 : out)] : 0.0f;
                }
                if (flat) {
                    const float *from = x + (four / out * s.groups + group) * s.depth * in + four % out;
                    UNROLL
                    for (int j = tid / FOURS; j < BN; j += FOUR_STEP) {
                        float v[4] = {};
                        if (four < end && pair0 + j < pairs) load16(from + (pair0 + j) * in, v);
                        UNROLL
                        for (int i = 0; i < 4; i++) b[(at + i) * LDB + j] = rectified(v[i], rectify);
                    }
                } else {
                    const float *from = x + (one / out * s.groups + group) * s.depth * in;
                    const int p = (int)(one % out), iy0 = p / s.wo * s.stride - s.padding, ix0 = p % s.wo * s.stride - s.padding;
                    UNROLL
                    for (int j = tid / BK; j < BN; j += STEP) {
                        const int iy = iy0 + table[BN + j], ix = ix0 + table[2 * BN + j];
                        const bool inside = one < end && pair0 + j < pairs && iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                        b[lane * LDB + j] = inside ? rectified(from[table[j] * in + (long long)iy * s.w + ix], rectify) : 0.0f;
                    }
                }
                __syncthreads();
                const int count = (int)min((long long)BK, end - k0);
                if (WARPS == 1) multiply<TM, TN>(a + ty * TM, LDA, b + tx * TN, LDB, count, acc);
                else
                    for (int r = slice * MINE; r < slice * MINE + MINE; r++)
                        multiply_one<TM, TN>(a + r * LDA + ty * TM, b + r * LDB + tx * TN, acc);
                // Once for all pairs.
                if (ROWS && bias && pair0 == 0 && tid < BM)
                    for (int r = 0; r < count; r++) of_bias += a[r * LDA + tid];
                __syncthreads();
            }
            // The sums of the warps, the first one's first.
            for (int turn = 1; turn < WARPS; turn++) {
                for (int i = 0; i < TM; i++)
                    for (int j = 0; j < TN; j++)
                        if (slice == turn) b[(ty * TM + i) * BN + tx * TN + j] = acc[i][j];
                __syncthreads();
                for (int i = 0; i < TM; i++)
                    for (int j = 0; j < TN; j++)
                        if (slice == 0) acc[i][j] += b[(ty * TM + i) * BN + tx * TN + j];
                __syncthreads();
            }
            for (int i = 0; i < TM; i++)
                for (int j = 0; j < TN; j++) {
                    const int m = row0 + ty * TM + i, pair = pair0 + tx * TN + j;
                    if (slice == 0 && m < s.rows && pair < pairs) part[part_of * size + (group * s.rows + m) * pairs + pair] = acc[i][j];
                }
            if (ROWS && bias && pair0 == 0 && tid < BM && row0 + tid < s.rows) bias[(long long)part_of * s.rows + row0 + tid] = of_bias;
        }
    }
}

#define BWD_W                                                                                                                   \
    const float *x, const float *dy, float *part, int chunks, long long chunk, int images, int groups, int rows, int depth, int h, int wd, \
        int ho, int wo, int k, int stride, int padding, int dilation
#define RUN(BM, BN, TM, TN, WARPS)                                                                              \
    SHARED(float, a, BK * (BM + 4));                                                                               \
    SHARED(float, b, BK * (BN + 4));                                                                               \
    SHARED(int, table, 3 * BN);                                                                                    \
    conv_bwd_w<BM, BN, TM, TN, WARPS>(x, dy, part, nullptr, a, b, table, chunks, chunk,                                  \
                                         Sizes{images, groups, rows, depth, h, wd, ho, wo, k, stride, padding, dilation, groups * rows, 0}, false)

// `narrow` for up to 16 channels of dy in a group.
extern "C" __global__ void conv_bwd_w_f32(BWD_W) { RUN(64, 64, 8, 4, 1); }
extern "C" __global__ void conv_bwd_w_narrow_f32(BWD_W) { RUN(16, 32, 4, 4, 4); }

// Gradients of the weights of 1x1 convolutions of rectified maps side by side, as many as the grid is deep: all over the same pixels, in the same chunks.
#define MANY                                                                                                                            \
    const __grid_constant__ List<const float, MANY_UNITS> x, const __grid_constant__ List<const float, MANY_UNITS> dy,                     \
        const __grid_constant__ List<float, MANY_UNITS> part, int chunks, long long chunk, MANY_SIZES
#define RUN_MANY(BM, BN, TM, TN, WARPS)                                                                             \
    SHARED(float, a, BK * (BM + 4));                                                                                \
    SHARED(float, b, BK * (BN + 4));                                                                                \
    SHARED(int, table, 3 * BN);                                                                                     \
    const int z = blockIdx.z;                                                                                       \
    conv_bwd_w<BM, BN, TM, TN, WARPS>(x.at[z], dy.at[z], part.at[z], nullptr, a, b, table, chunks, chunk, many_weights(MANY_NUMBERS), true)

extern "C" __global__ void conv_many_bwd_w_f32(MANY) { RUN_MANY(64, 64, 8, 4, 1); }
extern "C" __global__ void conv_many_bwd_w_narrow_f32(MANY) { RUN_MANY(16, 32, 4, 4, 4); }

// Gradients of the weights of convolutions of rectified maps, as conv_rectified of conv_gather.cu has them: all over the same pixels, in the same
// chunks.
#define RECTIFIED                                                                                                                               \
    const __grid_constant__ List<const float, RECTIFIED_UNITS> x, const __grid_constant__ List<const float, RECTIFIED_UNITS> dy,                \
        const __grid_constant__ List<float, RECTIFIED_UNITS> part, int chunks, long long chunk, RECTIFIED_SIZES
#define RUN_RECTIFIED(BM, BN, TM, TN, WARPS)                                                                                                    \
    SHARED(float, a, BK * (BM + 4));                                                                                                            \
    SHARED(float, b, BK * (BN + 4));                                                                                                            \
    SHARED(int, table, 3 * BN);                                                                                                                 \
    const int z = blockIdx.z;                                                                                                                   \
    conv_bwd_w<BM, BN, TM, TN, WARPS>(x.at[z], dy.at[z], part.at[z], nullptr, a, b, table, chunks, chunk, plain_weights(RECTIFIED_NUMBERS, 0), true)

extern "C" __global__ void conv_rectified_bwd_w_f32(RECTIFIED) { RUN_RECTIFIED(64, 64, 8, 4, 1); }
extern "C" __global__ void conv_rectified_bwd_w_narrow_f32(RECTIFIED) { RUN_RECTIFIED(16, 32, 4, 4, 4); }

// Gradients of weights and biases of heads, as conv_heads of conv_gather.cu has them.
#define HEADS                                                                                                                               \
    const __grid_constant__ List<const float, HEAD_LEVELS> x, const __grid_constant__ List<const float, HEAD_LEVELS> dy,                    \
        const __grid_constant__ List<float, HEAD_LEVELS> part, const __grid_constant__ List<float, HEAD_LEVELS> bias, HEAD_SIZES
#define RUN_HEADS(BM, BN, TM, TN, WARPS)                                                                                    \
    SHARED(float, a, BK * (BM + 4));                                                                                        \
    SHARED(float, b, BK * (BN + 4));                                                                                        \
    SHARED(int, table, 3 * BN);                                                                                             \
    const int z = blockIdx.z, chunks = numbers[z * HEAD_NUMBERS + 4], chunk = numbers[z * HEAD_NUMBERS + 5];                \
    conv_bwd_w<BM, BN, TM, TN, WARPS, true>(x.at[z], dy.at[z], part.at[z], bias.at[z], a, b, table, chunks, chunk,          \
                                            head_weights(numbers, images, image, k, padding, dilation), false)

extern "C" __global__ void conv_heads_bwd_w_f32(HEADS) { RUN_HEADS(64, 64, 8, 4, 1); }
extern "C" __global__ void conv_heads_bwd_w_narrow_f32(HEADS) { RUN_HEADS(16, 32, 4, 4, 4); }
