// conv_gather.cu for bf16 maps, on the tensor cores. Weights are f32 and enter exactly: each is the sum of three bf16 parts, so a product of
// tiles is three (README.md).
#include "conv.cuh"
#include "mma.cuh"

constexpr int BN = 128, PITCH_A = BK / 2 + 4, PITCH_B = BN + 8, PAIRS = BK / 2;

// BM channels by 128 outputs a block, four warps across and WM down, BM / WM x 32 outputs a warp. `a`: three parts of BM rows of BK weights;
// `b`: BK channels, in pairs, of the source pixels. Grid as of conv_gather.
template <int BM, int ROWS = NO_ROWS, bool NORM = false>
__device__ void conv_gather_mma(const bf16 *x, const float *w, const float *second, const float *bias, bf16 *y, unsigned *a, unsigned *b, Gather s,
                                int has_bias, const bf16 *mask, const bf16 *plus, bool rectify, float *part = nullptr, float *warps = nullptr) {
    constexpr int WM = BM / 32 > 0 ? BM / 32 : 1, THREADS = WM * BN, MT = BM / 16 / WM, NT = 4, CELLS = BM * PAIRS / THREADS;
    const int tid = threadIdx.x, lane = tid % WARP_SIZE, across = tid / WARP_SIZE % 4 * 32, down = tid / BN * MT * 16;
    const int taps = s.k * s.k, step = s.transposed ? s.stride : 1, reach = s.transposed ? 1 : s.stride;
    const int row_tiles = (s.rows + BM - 1) / BM;
    const long long plane = (long long)s.h * s.w, out = (long long)s.ho * s.wo, units = (long long)step * step * s.groups * row_tiles;
    // Columns of `b` are pixels in a row: 16 bytes at a time, a thread of the first four warps loads eight columns of two channels; otherwise one
    // column of some channels.
    const bool flat = ROWS != ROWS_READ && taps == 1 && s.stride == 1 && s.padding == 0 && plane % 8 == 0;
    // From a channel of the source to the next, from a pixel to the next.
    const long long to_channel = ROWS == ROWS_READ ? 1 : plane, to_pixel = ROWS == ROWS_READ ? s.depth : 1;
    const int column = flat ? tid % (BN / 8) * 8 : tid % BN, pair = flat ? tid / (BN / 8) : tid / BN * (PAIRS / WM);
    // The weights that this thread loads: channels 2 wr and 2 wr + 1 of the source, rows wm, wm + W_STEP, ...
    constexpr int W_STEP = THREADS / PAIRS;
    const int wr = tid % PAIRS, wm = tid / PAIRS;
    const long long to_depth = s.weight(0, 0, 1, 0), to_row = W_STEP * s.weight(0, 1, 0, 0);
    // The row of a tile and the columns that this lane has of a product.
    const int g = lane / 4, t = lane % 4;
    for (long long unit = blockIdx.y; unit < units; unit += gridDim.y) {
        const int row0 = (int)(unit % row_tiles) * BM, group = (int)(unit / row_tiles % s.groups);
        const int cy = (int)(unit / row_tiles / s.groups / step), cx = (int)(unit / row_tiles / s.groups % step);
        const int mh = (s.ho - cy + step - 1) / step, mw = (s.wo - cx + step - 1) / step;
        const long long some = (long long)mh * mw, columns = s.images * some;
        // Of rows g and g + 8 of each tile.
        NormTally<2 * MT> tally = {};
        float about[2 * MT];
        for (long long col0 = (long long)blockIdx.x * BN; col0 < columns; col0 += (long long)gridDim.x * BN) {
            float acc[MT][NT][4];
            UNROLL
            for (int i = 0; i < MT * NT * 4; i++) acc[i / (NT * 4)][i / 4 % NT][i % 4] = 0.0f;
            const long long col = col0 + column, in = col < columns ? col / some : 0;
            const int at = (int)(col % some), i0 = at / mw, j0 = at % mw;
            const bf16 *image = x + (ROWS == ROWS_READ ? in * s.image : (in * s.from + (long long)group * s.depth) * plane);
            for (int tap = 0; tap < taps; tap++) {
                const int half = s.pair ? tap / s.k : 0;
                if (s.pair && half != tap % s.k) continue;
                int off_y = tap / s.k * s.dilation - s.padding, off_x = tap % s.k * s.dilation - s.padding;
                if (s.transposed) {
                    if ((cy - off_y) % s.stride != 0 || (cx - off_x) % s.stride != 0) continue;
                    off_y = (cy - off_y) / s.stride, off_x = (cx - off_x) / s.stride;
                }
                const int iy = i0 * reach + off_y, ix = j0 * reach + off_x;
                const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                const bf16 *source = image + half * s.depth * plane + (inside ? ((long long)iy * s.w + ix) * to_pixel : 0);
                const float *filter = (half ? second : w) + s.weight(group, row0 + wm, 2 * wr, tap);
                for (int c0 = 0; c0 < s.depth; c0 += BK) {
                    const int count = min(BK, s.depth - c0);
                    // All loads first, so that they are under way together.
                    float weights[CELLS][2];
                    UNROLL
                    for (int i = 0; i < CELLS; i++) {
                        const bool there = row0 + wm + i * W_STEP < s.rows;
                        weights[i][0] = there && 2 * wr < count ? filter[c0 * to_depth + i * to_row] : 0.0f;
                        weights[i][1] = there && 2 * wr + 1 < count ? filter[(c0 + 1) * to_depth + i * to_row] : 0.0f;
                    }
                    if (flat) {
                        uint4 u = {0, 0, 0, 0}, v = {0, 0, 0, 0};
                        if (2 * pair < count) u = rectified(load_words(source + (c0 + 2 * pair) * plane), rectify);
                        if (2 * pair + 1 < count) v = rectified(load_words(source + (c0 + 2 * pair + 1) * plane), rectify);
                        unsigned *to = b + pair * PITCH_B + column;
                        if (pair < PAIRS) {
                            store_words(to, uint4{low_halves(u.x, v.x), high_halves(u.x, v.x), low_halves(u.y, v.y), high_halves(u.y, v.y)});
                            store_words(to + 4, uint4{low_halves(u.z, v.z), high_halves(u.z, v.z), low_halves(u.w, v.w), high_halves(u.w, v.w)});
                        }
                    } else {
                        unsigned words[PAIRS / WM];
                        UNROLL
                        for (int i = 0; i < PAIRS / WM; i++) {
                            const int r = 2 * (pair + i);
                            const bf16 *from = source + (c0 + r) * to_channel;
                            const unsigned u = inside && r < count ? __bfloat16_as_ushort(from[0]) : 0;
                            words[i] = rectified(u | (inside && r + 1 < count ? (unsigned)__bfloat16_as_ushort(from[to_channel]) << 16 : 0), rectify);
                        }
                        UNROLL
                        for (int i = 0; i < PAIRS / WM; i++) b[(pair + i) * PITCH_B + column] = words[i];
                    }
                    UNROLL
                    for (int i = 0; i < CELLS; i++) {
                        unsigned parts[3];
                        split3(weights[i][0], weights[i][1], parts);
                        UNROLL
                        for (int p = 0; p < 3; p++) a[(p * BM + wm + i * W_STEP) * PITCH_A + wr] = parts[p];
                    }
                    __syncthreads();
                    unsigned fb[NT][2];
                    UNROLL
                    for (int n = 0; n < NT; n++) fragment_b_across(fb[n], b + across + n * 8, PITCH_B);
                    UNROLL
                    for (int m = 0; m < MT; m++) {
                        if (row0 + down + m * 16 >= s.rows) break;
                        // The smallest parts first.
                        UNROLL
                        for (int p = 2; p >= 0; p--) {
                            unsigned fa[4];
                            fragment_a(fa, a + (p * BM + down + m * 16) * PITCH_A, PITCH_A);
                            UNROLL
                            for (int n = 0; n < NT; n++) mma_bf16(acc[m][n], fa, fb[n]);
                        }
                    }
                    __syncthreads();
                }
            }
            // Lanes t and t ^ 1 exchange halves of two tiles, so that each has four columns in a row: (row g or g + 8, tile pair, t).
            const bool whole = ROWS != ROWS_WRITTEN && step == 1 && out % 4 == 0;
            const long long to_row = ROWS == ROWS_WRITTEN ? 1 : out;
            if (NORM && col0 == (long long)blockIdx.x * BN)
                UNROLL
                for (int i = 0; i < 2 * MT; i++)
                    about[i] = to_float(from_float<bf16>(__shfl_sync(FULL_WARP, acc[i / 2][0][i % 2 * 2], g * 4)));
            UNROLL
            for (int n = 0; n < NT; n += 2) {
                const long long first = col0 + across + n * 8 + t % 2 * 8 + t / 2 * 4;
                float stored[2 * MT][4];
                // Where the four columns lie, but for the channel.
                long long to[4];
                UNROLL
                for (int j = 0; j < 4; j++) {
                    const long long at = whole ? first : first + j, inner = at % some;
                    const long long pixel = whole ? inner + j : (cy + inner / mw * step) * s.wo + cx + inner % mw * step;
                    to[j] = ROWS == ROWS_WRITTEN ? at / some * s.image + pixel * s.rows : at / some * s.to * out + pixel;
                }
                UNROLL
                for (int m = 0; m < MT; m++)
                    UNROLL
                    for (int half = 0; half < 2; half++) {
                        const float *even = acc[m][n] + 2 * half, *odd = acc[m][n + 1] + 2 * half;
                        float got[2], v[4];
                        UNROLL
                        for (int i = 0; i < 2; i++) got[i] = __shfl_xor_sync(FULL_WARP, t % 2 ? even[i] : odd[i], 1);
                        UNROLL
                        for (int i = 0; i < 2; i++) v[i] = t % 2 ? got[i] : even[i], v[2 + i] = t % 2 ? odd[i] : got[i];
                        if constexpr (NORM)
                            UNROLL
                            for (int i = 0; i < 4; i++) stored[2 * m + half][i] = to_float(from_float<bf16>(v[i]));
                        const int row = row0 + down + m * 16 + half * 8 + g;
                        if (row >= s.rows || first >= columns) continue;
                        const long long channel = (long long)group * s.rows + row;
                        const float shift = has_bias ? bias[channel] : 0.0f;
                        if (whole) {
                            const long long at = to[0] + channel * out;
                            float4 sum = {v[0] + shift, v[1] + shift, v[2] + shift, v[3] + shift};
                            if (mask) sum = masked(sum, load4(mask + at));
                            if (plus) sum = sum4(sum, load4(plus + at));
                            store4(y + at, sum);
                        } else
                            UNROLL
                            for (int j = 0; j < 4; j++) {
                                if (first + j >= columns) break;
                                const long long at = to[j] + channel * to_row;
                                float sum = v[j] + shift;
                                if (mask) sum = masked(sum, to_float(mask[at]));
                                if (plus) sum += to_float(plus[at]);
                                y[at] = from_float<bf16>(sum);
                            }
                    }
                if (NORM && first < columns) norm_tally(tally, stored, about, columns - first < 4 ? (int)(columns - first) : 4);
            }
        }
        if constexpr (NORM) {
            UNROLL
            for (int i = 0; i < 2 * MT; i++) {
                const Moments w = norm_lanes<4>(Moments{tally.n, tally.mean[i], tally.m2[i]});
                float *mine = warps + ((down + i / 2 * 16 + i % 2 * 8 + g) * 4 + across / 32) * 4;
                if (t == 0) store4(mine, float4{w.n, about[i], w.mean, w.m2});
            }
            __syncthreads();
            if (tid < BM && row0 + tid < s.rows) {
                // The first warp has values; others may have none.
                const float4 first = load4(warps + tid * 16);
                Moments w = {first.x, first.z, first.w};
                for (int k = 1; k < 4; k++) {
                    const float4 q = load4(warps + tid * 16 + k * 4);
                    w = norm_merged(w, Moments{q.x, (q.y - first.y) + q.z, q.w});
                }
                store4(part + ((long long)(row0 + tid) * gridDim.x + blockIdx.x) * 4, float4{w.n, first.y, w.mean, w.m2});
            }
        }
    }
}

#define GATHER                                                                                                                          \
    const bf16 *x, const float *w, const float *bias, bf16 *y, int has_bias, int images, int groups, int rows, int depth, int h, int wd, \
        int ho, int wo, int k, int stride, int padding, int dilation, int transposed
#define RUN(BM)                                                                                          \
    SHARED(unsigned, a, 3 * BM * PITCH_A);                                                               \
    SHARED(unsigned, b, PAIRS *PITCH_B);                                                                 \
    Gather s{images, groups, rows, depth, h, wd, ho, wo, k, stride, padding, dilation, transposed, groups * depth, groups * rows, 0, 0}; \
    conv_gather_mma<BM>(x, w, w, bias, y, a, b, s, has_bias, (const bf16 *)nullptr, (const bf16 *)nullptr, false)

// 256 threads; `narrow`, 128 threads, for up to 16 channels.
extern "C" __global__ void conv_gather_bf16(GATHER) { RUN(64); }
extern "C" __global__ void conv_gather_narrow_bf16(GATHER) { RUN(16); }

// As conv_many_f32.
#define MANY                                                                                                                            \
    const __grid_constant__ List<const bf16, MANY_UNITS> x, const __grid_constant__ List<const float, MANY_UNITS> w,                    \
        const __grid_constant__ List<const float, MANY_UNITS> second, const __grid_constant__ List<const bf16, MANY_UNITS> mask,        \
        const __grid_constant__ List<const bf16, MANY_UNITS> plus, const __grid_constant__ List<bf16, MANY_UNITS> y, int transposed, MANY_SIZES
#define RUN_MANY(BM)                                                                                                          \
    SHARED(unsigned, a, 3 * BM * PITCH_A);                                                                                    \
    SHARED(unsigned, b, PAIRS *PITCH_B);                                                                                      \
    const Gather s = transposed ? many_backward(MANY_NUMBERS) : many_forward(MANY_NUMBERS);                                   \
    const int z = blockIdx.z;                                                                                                 \
    conv_gather_mma<BM>(x.at[z], w.at[z], second.at[z], w.at[z], y.at[z], a, b, s, 0, mask.at[z], plus.at[z], !transposed)

extern "C" __global__ void conv_many_bf16(MANY) { RUN_MANY(64); }
extern "C" __global__ void conv_many_narrow_bf16(MANY) { RUN_MANY(16); }

// As conv_many_norm_f32. `warps`: of each row, of four warps.
#define MANY_NORM                                                                                                                       \
    const __grid_constant__ List<const bf16, MANY_UNITS> x, const __grid_constant__ List<const float, MANY_UNITS> w,                    \
        const __grid_constant__ List<bf16, MANY_UNITS> y, const __grid_constant__ List<float, MANY_UNITS> part, MANY_SIZES
#define RUN_MANY_NORM(BM)                                                                                                     \
    SHARED(unsigned, a, 3 * BM * PITCH_A);                                                                                    \
    SHARED(unsigned, b, PAIRS *PITCH_B);                                                                                      \
    SHARED(float, warps, BM * 16);                                                                                            \
    const int z = blockIdx.z;                                                                                                 \
    conv_gather_mma<BM, NO_ROWS, true>(x.at[z], w.at[z], w.at[z], w.at[z], y.at[z], a, b, many_forward(MANY_NUMBERS), 0,      \
                                       (const bf16 *)nullptr, (const bf16 *)nullptr, true, part.at[z], warps)

extern "C" __global__ void conv_many_norm_bf16(MANY_NORM) { RUN_MANY_NORM(64); }
extern "C" __global__ void conv_many_norm_narrow_bf16(MANY_NORM) { RUN_MANY_NORM(16); }

// As conv_rectified_f32.
#define RECTIFIED                                                                                                                      \
    const __grid_constant__ List<const bf16, RECTIFIED_UNITS> x, const __grid_constant__ List<const float, RECTIFIED_UNITS> w,         \
        const __grid_constant__ List<const bf16, RECTIFIED_UNITS> mask, const __grid_constant__ List<const bf16, RECTIFIED_UNITS> plus, \
        const __grid_constant__ List<bf16, RECTIFIED_UNITS> y, int transposed, RECTIFIED_SIZES
#define RUN_RECTIFIED(BM)                                                                                                              \
    SHARED(unsigned, a, 3 * BM * PITCH_A);                                                                                             \
    SHARED(unsigned, b, PAIRS *PITCH_B);                                                                                               \
    const Gather s = plain_gather(RECTIFIED_NUMBERS, transposed, 0);                                                                   \
    const int z = blockIdx.z;                                                                                                          \
    conv_gather_mma<BM>(x.at[z], w.at[z], w.at[z], w.at[z], y.at[z], a, b, s, 0, mask.at[z], plus.at[z], !transposed)

extern "C" __global__ void conv_rectified_bf16(RECTIFIED) { RUN_RECTIFIED(64); }
extern "C" __global__ void conv_rectified_narrow_bf16(RECTIFIED) { RUN_RECTIFIED(16); }

// As conv_heads_f32.
#define HEADS                                                                                                                               \
    const __grid_constant__ List<const bf16, HEAD_LEVELS> x, const __grid_constant__ List<const float, HEAD_LEVELS> w,                      \
        const __grid_constant__ List<const float, HEAD_LEVELS> bias, const __grid_constant__ List<const bf16, HEAD_LEVELS> plus,            \
        const __grid_constant__ List<bf16, HEAD_LEVELS> y, HEAD_SIZES
#define RUN_HEADS(BM, ROWS)                                                                                                 \
    SHARED(unsigned, a, 3 * BM * PITCH_A);                                                                                  \
    SHARED(unsigned, b, PAIRS *PITCH_B);                                                                                    \
    const Gather s = head_gather(numbers, images, image, k, padding, dilation, ROWS == ROWS_READ);                          \
    const int z = blockIdx.z;                                                                                               \
    conv_gather_mma<BM, ROWS>(x.at[z], w.at[z], w.at[z], bias.at[z], y.at[z], a, b, s, bias.at[z] != nullptr, (const bf16 *)nullptr, plus.at[z], false)

extern "C" __global__ void conv_heads_bf16(HEADS) { RUN_HEADS(64, ROWS_WRITTEN); }
extern "C" __global__ void conv_heads_narrow_bf16(HEADS) { RUN_HEADS(16, ROWS_WRITTEN); }
extern "C" __global__ void conv_heads_bwd_x_bf16(HEADS) { RUN_HEADS(64, ROWS_READ); }
