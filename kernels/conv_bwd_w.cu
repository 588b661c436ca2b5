// Weight gradient of a convolution, dense, grouped or pointwise: a product of matrices whose sum runs over all pixels of all images,
//     dw[g M + m, c, tap] = sum_{n, p} dy[n, g M + m, p] x[n, g C + c, p stride + tap dilation - padding].
// The pixels are cut into chunks; each block sums one chunk for a tile of dw, `part` is (chunks, dw), sum_chunks adds them in order: the
// order of every sum is fixed, no atomics.
#include "conv.cuh"

// Blocks of 128 threads. WARPS 1: all threads share every slice of pixels; 4: each warp takes a quarter of a slice and the warps' sums are
// added at the end. Grid: (tiles of dw x groups, chunks) or fewer; `a`, `b`: BK pixels of BM channels of dy, of BN pairs (c, tap).
template <typename T, int BM, int BN, int TM, int TN, int WARPS>
__device__ void conv_bwd_w(const T *x, const T *dy, float *part, float *a, float *b, int *table, int chunks, long long chunk, Sizes s) {
    constexpr int LDA = BM + 4, LDB = BN + 4, THREADS = 128, MINE = BK / WARPS;
    static_assert(BM / TM * (BN / TN) * WARPS == THREADS, "a tile is shared out among the threads");
    const int tid = threadIdx.x, slice = WARPS == 1 ? 0 : tid / WARP_SIZE, cell = tid % (THREADS / WARPS);
    const int tx = cell % (BN / TN), ty = cell / (BN / TN), taps = s.k * s.k;
    const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;
    const long long in = (long long)s.h * s.w, out = (long long)s.ho * s.wo, all = s.images * out;
    const long long units = (long long)s.groups * row_tiles * pair_tiles, size = (long long)s.groups * s.rows * pairs;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const int pair0 = (int)(unit % pair_tiles) * BN, row0 = (int)(unit / pair_tiles % row_tiles) * BM;
        const long long group = unit / pair_tiles / row_tiles;
        // Channel, row and column of each pair.
        for (int j = tid; j < BN; j += THREADS) {
            const int pair = min(pair0 + j, pairs - 1), tap = pair % taps;
            table[j] = pair / taps, table[BN + j] = tap / s.k * s.dilation, table[2 * BN + j] = tap % s.k * s.dilation;
        }
        __syncthreads();
        for (int part_of = blockIdx.y; part_of < chunks; part_of += gridDim.y) {
            float acc[TM][TN];
            for (int i = 0; i < TM; i++)
                for (int j = 0; j < TN; j++) acc[i][j] = 0.0f;
            const long long begin = part_of * chunk, end = min(begin + chunk, all);
            for (long long k0 = begin; k0 < end; k0 += BK) {
                // Lanes along the pixels, so that loads are of neighbours.
                const int lane = tid % BK;
                const long long pixel = k0 + lane, n = pixel / out;
                const bool there = pixel < end;
                const int p = (int)(pixel % out), iy0 = p / s.wo * s.stride - s.padding, ix0 = p % s.wo * s.stride - s.padding;
                const T *dys = dy + (n * s.groups + group) * s.rows * out + p, *xs = x + (n * s.groups + group) * s.depth * in;
                constexpr int STEP = THREADS / BK;
                float u[BM / STEP], v[BN / STEP];
                UNROLL
                for (int i = 0; i < BM / STEP; i++) {
                    const int m = row0 + tid / BK + i * STEP;
                    u[i] = there && m < s.rows ? to_float(dys[m * out]) : 0.0f;
                }
                UNROLL
                for (int i = 0; i < BN / STEP; i++) {
                    const int j = tid / BK + i * STEP, iy = iy0 + table[BN + j], ix = ix0 + table[2 * BN + j];
                    const bool inside = there && pair0 + j < pairs && iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                    v[i] = inside ? to_float(xs[table[j] * in + (long long)iy * s.w + ix]) : 0.0f;
                }
                UNROLL
                for (int i = 0; i < BM / STEP; i++) a[lane * LDA + tid / BK + i * STEP] = u[i];
                UNROLL
                for (int i = 0; i < BN / STEP; i++) b[lane * LDB + tid / BK + i * STEP] = v[i];
                __syncthreads();
                const int count = (int)min((long long)BK, end - k0);
                if (WARPS == 1) multiply<TM, TN>(a + ty * TM, LDA, b + tx * TN, LDB, count, acc);
                else
                    for (int r = slice * MINE; r < slice * MINE + MINE; r++)
                        multiply_one<TM, TN>(a + r * LDA + ty * TM, b + r * LDB + tx * TN, acc);
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
        }
        __syncthreads();
    }
}

#define BWD_W(T)                                                                                                                   \
    const T *x, const T *dy, float *part, int chunks, long long chunk, int images, int groups, int rows, int depth, int h, int wd, \
        int ho, int wo, int k, int stride, int padding, int dilation
#define RUN(T, BM, BN, TM, TN, WARPS)                                                                              \
    SHARED(float, a, BK * (BM + 4));                                                                               \
    SHARED(float, b, BK * (BN + 4));                                                                               \
    SHARED(int, table, 3 * BN);                                                                                    \
    conv_bwd_w<T, BM, BN, TM, TN, WARPS>(x, dy, part, a, b, table, chunks, chunk,                                  \
                                         Sizes{images, groups, rows, depth, h, wd, ho, wo, k, stride, padding, dilation})

// `narrow` for up to 16 channels of dy in a group.
extern "C" __global__ void conv_bwd_w_f32(BWD_W(float)) { RUN(float, 64, 64, 8, 4, 1); }
extern "C" __global__ void conv_bwd_w_narrow_f32(BWD_W(float)) { RUN(float, 16, 32, 4, 4, 4); }
