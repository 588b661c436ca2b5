// Convolution as a gather, dense, grouped or pointwise, any square kernel, and its input gradient, which is the same with strides exchanged
// (so the transposed convolution is here too):
//     y[n, g M + m, p] = bias[g M + m] + sum_{tap} sum_{c < C} w[m, c, tap] x[n, g C + c, source(p, tap)],
// values outside the map are 0. A product of matrices for each tap, weights by pixels, by FFMA in f32. See conv.cuh.
#include "conv.cuh"

// `a` and `b` hold a slice of BK channels of the weights and of the source pixels of BN outputs. Blocks of BM / TM * BN / TN threads, TM x TN
// outputs each. Grid: (tiles of outputs, tiles of channels x groups x classes), or fewer.
template <typename T, int BM, int BN, int TM, int TN, int ROWS = NO_ROWS, bool NORM = false>
__device__ void conv_gather(const T *x, const float *w, const float *second, const float *bias, T *y, float *a, float *b, Gather s,
                            int has_bias, const T *mask, const T *plus, bool rectify, float *part = nullptr) {
    // LANES neighbours have the same channels.
    constexpr int THREADS = BM / TM * (BN / TN), LDA = BM + 4, LANES = BN / TN;
    static_assert(!NORM || (LANES <= WARP_SIZE && TN == 4), "statistics of a channel are merged within a warp, four values at a time");
    // The weights that this thread loads: channel wr of the source, rows wm, wm + W_STEP, ...
    constexpr int W_STEP = THREADS / BK;
    const int tid = threadIdx.x, tx = tid % (BN / TN), ty = tid / (BN / TN), wr = tid % BK, wm = tid / BK;
    const long long to_depth = s.weight(0, 0, 1, 0), to_row = W_STEP * s.weight(0, 1, 0, 0);
    const int step = s.transposed ? s.stride : 1, reach = s.transposed ? 1 : s.stride;
    const int row_tiles = (s.rows + BM - 1) / BM;
    const long long plane = (long long)s.h * s.w, units = (long long)step * step * s.groups * row_tiles;
    // Columns of `b` are pixels in a row: 16 bytes at a time.
    const bool flat = ROWS != ROWS_READ && s.k == 1 && s.stride == 1 && s.padding == 0 && plane % 4 == 0;
    // From a channel of the source to the next, from a pixel to the next.
    const long long to_channel = ROWS == ROWS_READ ? 1 : plane, to_pixel = ROWS == ROWS_READ ? s.depth : 1;
    for (long long unit = blockIdx.y; unit < units; unit += gridDim.y) {
        const int row0 = (int)(unit % row_tiles) * BM, group = (int)(unit / row_tiles % s.groups);
        const int cy = (int)(unit / row_tiles / s.groups / step), cx = (int)(unit / row_tiles / s.groups % step);
        // The outputs of this class: none where the map is smaller than the step.
        const int mh = (s.ho - cy + step - 1) / step, mw = (s.wo - cx + step - 1) / step;
        const long long some = (long long)mh * mw, columns = s.images * some;
        NormTally<TM> tally = {};
        float about[TM];
        for (long long col0 = (long long)blockIdx.x * BN; col0 < columns; col0 += (long long)gridDim.x * BN) {
            float acc[TM][TN];
            for (int i = 0; i < TM; i++)
                for (int j = 0; j < TN; j++) acc[i][j] = 0.0f;
            // This thread's column of the loads, the first of its rows, and how far they are apart. Beyond the last column, pixels of the first
            // image: their sums are not stored.
            constexpr int FOURS = BN / 4, FOUR_STEP = THREADS / FOURS, STEP = THREADS / BN, CELLS = BM * BK / THREADS;
            const int lane = flat ? tid % FOURS * 4 : tid % BN, first = flat ? tid / FOURS : tid / BN;
            const long long col = col0 + lane, in = col < columns ? col / some : 0;
            const int at = (int)(col % some), i0 = at / mw, j0 = at % mw;
            const T *image = x + (ROWS == ROWS_READ ? in * s.image : (in * s.from + (long long)group * s.depth) * plane);
            for (int ky = 0; ky < s.k; ky++) {
                int off_y = ky * s.dilation - s.padding;
                if (s.transposed) {
                    if ((cy - off_y) % s.stride != 0) continue;
                    off_y = (cy - off_y) / s.stride;
                }
                for (int kx = 0; kx < s.k; kx++) {
                    int off_x = kx * s.dilation - s.padding;
                    if (s.transposed) {
                        if ((cx - off_x) % s.stride != 0) continue;
                        off_x = (cx - off_x) / s.stride;
                    }
                    const int iy = i0 * reach + off_y, ix = j0 * reach + off_x;
                    const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                    if (s.pair && ky != kx) continue;
                    const T *source = image + (s.pair ? ky * s.depth * plane : 0) + (inside ? ((long long)iy * s.w + ix) * to_pixel : 0);
                    const float *filter = (s.pair && ky ? second : w) + s.weight(group, row0 + wm, wr, ky * s.k + kx);
                    for (int c0 = 0; c0 < s.depth; c0 += BK) {
                        const int count = min(BK, s.depth - c0);
                        // All loads first, so that they are under way together.
                        float weights[CELLS];
                        UNROLL
                        for (int i = 0; i < CELLS; i++)
                            weights[i] = wr < count && row0 + wm + i * W_STEP < s.rows ? filter[c0 * to_depth + i * to_row] : 0.0f;
                        if (flat) {
                            constexpr int MINE = BK / FOUR_STEP;
                            float4 v[MINE];
                            UNROLL
                            for (int i = 0; i < MINE; i++) {
                                const int r = first + i * FOUR_STEP;
                                v[i] = float4{};
                                if (r < count) v[i] = rectified(load4(source + (c0 + r) * plane), rectify);
                            }
                            UNROLL
                            for (int i = 0; i < MINE; i++) store4(b + (first + i * FOUR_STEP) * BN + lane, v[i]);
                        } else {
                            constexpr int MINE = BK / STEP;
                            float v[MINE];
                            UNROLL
                            for (int i = 0; i < MINE; i++) {
                                const int r = first + i * STEP;
                                v[i] = inside && r < count ? rectified(to_float(source[(c0 + r) * to_channel]), rectify) : 0.0f;
                            }
                            UNROLL
                            for (int i = 0; i < MINE; i++) b[(first + i * STEP) * BN + lane] = v[i];
                        }
                        UNROLL
                        for (int i = 0; i < CELLS; i++) a[wr * LDA + wm + i * W_STEP] = weights[i];
                        __syncthreads();
                        multiply<TM, TN>(a + ty * TM, LDA, b + tx * TN, BN, count, acc);
                        __syncthreads();
                    }
                }
            }
            const long long out = (long long)s.ho * s.wo, mine = col0 + tx * TN;
            if constexpr (NORM) {
                float v[TM][TN];
                for (int i = 0; i < TM; i++)
                    for (int j = 0; j < TN; j++) v[i][j] = to_float(from_float<T>(acc[i][j]));
                if (col0 == (long long)blockIdx.x * BN)
                    for (int i = 0; i < TM; i++) about[i] = __shfl_sync(FULL_WARP, v[i][0], tid % WARP_SIZE / LANES * LANES);
                if (mine < columns) norm_tally(tally, v, about, columns - mine < TN ? (int)(columns - mine) : TN);
            }
            if (ROWS != ROWS_WRITTEN && step == 1 && out % 4 == 0 && mine < columns) {
                const long long n = mine / out, p = mine % out;
                for (int i = 0; i < TM; i++) {
                    const int m = row0 + ty * TM + i;
                    if (m >= s.rows) break;
                    const long long channel = (long long)group * s.rows + m;
                    const float shift = has_bias ? bias[channel] : 0.0f;
                    const long long to = (n * s.to + channel) * out + p;
                    float4 v = {acc[i][0] + shift, acc[i][1] + shift, acc[i][2] + shift, acc[i][3] + shift};
                    if (mask) v = masked(v, load4(mask + to));
                    if (plus) v = sum4(v, load4(plus + to));
                    store4(y + to, v);
                }
            } else {
                for (int j = 0; j < TN; j++) {
                    if (mine + j >= columns) break;
                    const long long n = (mine + j) / some, p = (mine + j) % some;
                    const long long pixel = (cy + p / mw * step) * s.wo + cx + p % mw * step;
                    for (int i = 0; i < TM; i++) {
                        const int m = row0 + ty * TM + i;
                        if (m >= s.rows) break;
                        const long long channel = (long long)group * s.rows + m;
                        const long long to = ROWS == ROWS_WRITTEN ? n * s.image + pixel * s.rows + m : (n * s.to + channel) * out + pixel;
                        float v = acc[i][j] + (has_bias ? bias[channel] : 0.0f);
                        if (mask) v = masked(v, to_float(mask[to]));
                        if (plus) v += to_float(plus[to]);
                        y[to] = from_float<T>(v);
                    }
                }
            }
        }
        if constexpr (NORM)
            for (int i = 0; i < TM; i++) {
                const Moments w = norm_lanes<LANES>(Moments{tally.n, tally.mean[i], tally.m2[i]});
                const long long m = row0 + ty * TM + i;
                if (tx == 0 && m < s.rows) store4(part + (m * gridDim.x + blockIdx.x) * 4, float4{w.n, about[i], w.mean, w.m2});
            }
    }
}

#define GATHER(T)                                                                                                                  \
    const T *x, const float *w, const float *bias, T *y, int has_bias, int images, int groups, int rows, int depth, int h, int wd, \
        int ho, int wo, int k, int stride, int padding, int dilation, int transposed
#define RUN(T, BM, BN, TM, TN)                                                                              \
    SHARED(float, a, BK * (BM + 4));                                                                        \
    SHARED(float, b, BK *BN);                                                                               \
    Gather s{images, groups, rows, depth, h, wd, ho, wo, k, stride, padding, dilation, transposed, groups * depth, groups * rows, 0, 0}; \
    conv_gather<T, BM, BN, TM, TN>(x, w, w, bias, y, a, b, s, has_bias, (const T *)nullptr, (const T *)nullptr, false)

// 128 threads; `narrow` for up to 16 channels.
extern "C" __global__ void conv_gather_f32(GATHER(float)) { RUN(float, 64, 64, 8, 4); }
extern "C" __global__ void conv_gather_narrow_f32(GATHER(float)) { RUN(float, 16, 128, 4, 4); }

// 1x1 convolutions of rectified maps side by side, as many as the grid is deep; or, if `transposed`, input gradients of these maps, `second` the
// weights of the second half where a map's every second pixel was read, `mask` the maps; `plus`, where there is one, is added.
#define MANY(T)                                                                                                                       \
    const __grid_constant__ List<const T, MANY_UNITS> x, const __grid_constant__ List<const float, MANY_UNITS> w,                     \
        const __grid_constant__ List<const float, MANY_UNITS> second, const __grid_constant__ List<const T, MANY_UNITS> mask,         \
        const __grid_constant__ List<const T, MANY_UNITS> plus, const __grid_constant__ List<T, MANY_UNITS> y, int transposed, MANY_SIZES
#define RUN_MANY(T, BM, BN, TM, TN)                                                                                   \
    SHARED(float, a, BK * (BM + 4));                                                                                  \
    SHARED(float, b, BK *BN);                                                                                         \
    const Gather s = transposed ? many_backward(MANY_NUMBERS) : many_forward(MANY_NUMBERS);                           \
    const int z = blockIdx.z;                                                                                         \
    conv_gather<T, BM, BN, TM, TN>(x.at[z], w.at[z], second.at[z], w.at[z], y.at[z], a, b, s, 0, mask.at[z], plus.at[z], !transposed)

extern "C" __global__ void conv_many_f32(MANY(float)) { RUN_MANY(float, 64, 64, 8, 4); }
extern "C" __global__ void conv_many_narrow_f32(MANY(float)) { RUN_MANY(float, 16, 128, 4, 4); }

// The same convolutions with the statistics of their results (conv.cuh).
#define MANY_NORM(T)                                                                                                                  \
    const __grid_constant__ List<const T, MANY_UNITS> x, const __grid_constant__ List<const float, MANY_UNITS> w,                     \
        const __grid_constant__ List<T, MANY_UNITS> y, const __grid_constant__ List<float, MANY_UNITS> part, MANY_SIZES
#define RUN_MANY_NORM(T, BM, BN, TM, TN)                                                                                              \
    SHARED(float, a, BK * (BM + 4));                                                                                                  \
    SHARED(float, b, BK *BN);                                                                                                         \
    const int z = blockIdx.z;                                                                                                         \
    conv_gather<T, BM, BN, TM, TN, NO_ROWS, true>(x.at[z], w.at[z], w.at[z], w.at[z], y.at[z], a, b, many_forward(MANY_NUMBERS), 0,   \
                                                  (const T *)nullptr, (const T *)nullptr, true, part.at[z])

extern "C" __global__ void conv_many_norm_f32(MANY_NORM(float)) { RUN_MANY_NORM(float, 64, 64, 8, 4); }
extern "C" __global__ void conv_many_norm_narrow_f32(MANY_NORM(float)) { RUN_MANY_NORM(float, 16, 128, 4, 4); }

// Convolutions of rectified maps of one size side by side, as many as the grid is deep; or, if `transposed`, input gradients of these maps, `mask`;
// `plus`, where there is one, is added.
#define RECTIFIED(T)                                                                                                                   \
    const __grid_constant__ List<const T, RECTIFIED_UNITS> x, const __grid_constant__ List<const float, RECTIFIED_UNITS> w,            \
        const __grid_constant__ List<const T, RECTIFIED_UNITS> mask, const __grid_constant__ List<const T, RECTIFIED_UNITS> plus,      \
        const __grid_constant__ List<T, RECTIFIED_UNITS> y, int transposed, RECTIFIED_SIZES
#define RUN_RECTIFIED(T, BM, BN, TM, TN)                                                                                               \
    SHARED(float, a, BK * (BM + 4));                                                                                                   \
    SHARED(float, b, BK *BN);                                                                                                          \
    const Gather s = plain_gather(RECTIFIED_NUMBERS, transposed, 0);                                                                   \
    const int z = blockIdx.z;                                                                                                          \
    conv_gather<T, BM, BN, TM, TN>(x.at[z], w.at[z], w.at[z], w.at[z], y.at[z], a, b, s, 0, mask.at[z], plus.at[z], !transposed)

extern "C" __global__ void conv_rectified_f32(RECTIFIED(float)) { RUN_RECTIFIED(float, 64, 64, 8, 4); }
extern "C" __global__ void conv_rectified_narrow_f32(RECTIFIED(float)) { RUN_RECTIFIED(float, 16, 128, 4, 4); }

// Heads: convolutions of maps side by side, as many as the grid is deep, to rows (conv.cuh); and the gradients of their maps, to each of which
// `plus` is added where there is one.
#define HEADS(T)                                                                                                                            \
    const __grid_constant__ List<const T, HEAD_LEVELS> x, const __grid_constant__ List<const float, HEAD_LEVELS> w,                         \
        const __grid_constant__ List<const float, HEAD_LEVELS> bias, const __grid_constant__ List<const T, HEAD_LEVELS> plus,               \
        const __grid_constant__ List<T, HEAD_LEVELS> y, HEAD_SIZES
#define RUN_HEADS(T, BM, BN, TM, TN, ROWS)                                                                                  \
    SHARED(float, a, BK * (BM + 4));                                                                                        \
    SHARED(float, b, BK *BN);                                                                                               \
    const Gather s = head_gather(numbers, images, image, k, padding, dilation, ROWS == ROWS_READ);                          \
    const int z = blockIdx.z;                                                                                               \
    conv_gather<T, BM, BN, TM, TN, ROWS>(x.at[z], w.at[z], w.at[z], bias.at[z], y.at[z], a, b, s, bias.at[z] != nullptr,    \
                                         (const T *)nullptr, plus.at[z], false)

extern "C" __global__ void conv_heads_f32(HEADS(float)) { RUN_HEADS(float, 64, 64, 8, 4, ROWS_WRITTEN); }
extern "C" __global__ void conv_heads_narrow_f32(HEADS(float)) { RUN_HEADS(float, 16, 128, 4, 4, ROWS_WRITTEN); }
extern "C" __global__ void conv_heads_bwd_x_f32(HEADS(float)) { RUN_HEADS(float, 64, 64, 8, 4, ROWS_READ); }
