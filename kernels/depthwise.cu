// Depthwise convolution of planes, (N, C, H, W) with one K x K filter a channel, and its gradients:
//     y[n, c, oy, ox] = sum_{ky, kx} w[c, ky, kx] x[n, c, oy S + ky D - P, ox S + kx D - P],
// values outside the map are 0. K is 3 or 5, stride S and dilation D are 1 or 2, padding P = (K / 2) D: the others are in conv_gather.cu.
// Maps are T, weights f32, sums f32.
//
// A tile of the input, with its halo, goes through shared memory once, as f32, in rows of whole 16-byte vectors; a thread computes ROWS x 4
// outputs from it, reading vectors of 16 bytes. A block has `tx` threads along a row, `ty` along a column, for `planes` planes at a time (small
// maps), so its tile is 4 tx by ROWS ty outputs of each; tx ty planes <= 256.
#include "dialect.cuh"

// Floats of a tile at most; the launch chooses tx, ty and planes so that they fit.
constexpr int TILE = 6400;
constexpr int MOST_WARPS = 8;

struct Plane {
    int count, channels, h, w, ho, wo;
};
struct Layout {
    int tx, ty, planes;
};

template <typename T, int K, int D, int S> struct Depthwise {
    static constexpr int VECTOR = 16 / (int)sizeof(T), PAD = K / 2 * D, ROWS = S == 1 ? 4 : 2;
    // Columns of the tile left of the first output's own, in whole vectors; the column that the first tap of output 0 reads.
    static constexpr int LEFT = (PAD + VECTOR - 1) / VECTOR * VECTOR, SHIFT = LEFT - PAD, FIRST = SHIFT / 4 * 4;
    // Groups of four columns, and rows, that the outputs of a thread read.
    static constexpr int FOURS = (SHIFT - FIRST + 3 * S + (K - 1) * D + 1 + 3) / 4, REACH = (ROWS - 1) * S + (K - 1) * D + 1;

    static __device__ int width(Layout l) {
        return ((l.tx - 1) * 4 * S + FIRST + FOURS * 4 + VECTOR - 1) / VECTOR * VECTOR;
    }
    static __device__ int height(Layout l) { return (l.ty * ROWS - 1) * S + (K - 1) * D + 1; }

    // Fills the tile from `planes` planes, `plane`, `plane` + `step`, ..., those below `end`; its corner is output (oy, ox).
    static __device__ void fill(const T *x, float *tile, long long plane, long long step, long long end, int oy, int ox, Plane s, Layout l) {
        const unsigned wide = width(l) / VECTOR, high = height(l), threads = blockDim.x, all = wide * high * l.planes;
        const int top = oy * S - PAD, left = ox * S - LEFT;
        const bool whole = s.w % VECTOR == 0;
        // Vector `column` of row r of a plane; a step is `rows` rows and `columns` vectors on.
        unsigned column = threadIdx.x % wide, r = threadIdx.x / wide;
        const unsigned columns = threads % wide, rows = threads / wide;
        for (unsigned i = threadIdx.x; i < all; i += threads) {
            for (; r >= high; r -= high) plane += step;
            const int iy = top + (int)r, ix = left + (int)column * VECTOR;
            const bool there = plane < end && iy >= 0 && iy < s.h;
            const T *from = x + (there ? (plane * s.h + iy) * s.w : 0);
            float v[VECTOR];
            UNROLL
            for (int j = 0; j < VECTOR; j++) v[j] = 0.0f;
            if (whole) {
                if (there && ix >= 0 && ix < s.w) load16(from + ix, v);
            } else {
                for (int j = 0; j < VECTOR; j++)
                    if (there && ix + j >= 0 && ix + j < s.w) v[j] = to_float(from[ix + j]);
            }
            UNROLL
            for (int j = 0; j < VECTOR; j += 4) store4(tile + i * VECTOR + j, float4{v[j], v[j + 1], v[j + 2], v[j + 3]});
            column += columns, r += rows;
            if (column >= wide) column -= wide, r++;
        }
    }

    // Calls f(o, j, ky, kx, value) for every product of output (o, j) of this thread, `at` being the tile's corner of this thread.
    template <typename F> static __device__ __forceinline__ void each(const float *at, int width, F f) {
        UNROLL
        for (int r = 0; r < REACH; r++) {
            float v[FOURS * 4];
            UNROLL
            for (int i = 0; i < FOURS; i++) {
                const float4 q = load4(at + r * width + 4 * i);
                v[4 * i] = q.x, v[4 * i + 1] = q.y, v[4 * i + 2] = q.z, v[4 * i + 3] = q.w;
            }
            UNROLL
            for (int o = 0; o < ROWS; o++) {
                if (r < o * S || (r - o * S) % D != 0 || (r - o * S) / D >= K) continue;
                UNROLL
                for (int kx = 0; kx < K; kx++)
                    UNROLL
                    for (int j = 0; j < 4; j++) f(o, j, (r - o * S) / D, kx, v[SHIFT - FIRST + j * S + kx * D]);
            }
        }
    }

    // Grid: tiles across and down a plane, groups of planes, or fewer. With `flip` the filter is turned by 180 degrees: the input gradient at
    // stride 1.
    static __device__ void forward(const T *x, const float *w, T *y, float *tile, int flip, Plane s, Layout l) {
        for (long long first = (long long)blockIdx.z * l.planes; first < s.count; first += (long long)gridDim.z * l.planes)
            for (int oy0 = blockIdx.y * ROWS * l.ty; oy0 < s.ho; oy0 += gridDim.y * ROWS * l.ty)
                for (int ox0 = blockIdx.x * 4 * l.tx; ox0 < s.wo; ox0 += gridDim.x * 4 * l.tx) one(x, w, y, tile, flip, first, oy0, ox0, s, l);
    }

    // One tile of planes `first`, ...
    static __device__ __forceinline__ void one(const T *x, const float *w, T *y, float *tile, int flip, long long first, int oy0, int ox0, Plane s,
                                               Layout l) {
        const unsigned row = threadIdx.x / (unsigned)l.tx, tx = threadIdx.x % (unsigned)l.tx, mine = row / (unsigned)l.ty, ty = row % (unsigned)l.ty;
        const int wide = width(l), high = height(l);
        fill(x, tile, first, 1, s.count, oy0, ox0, s, l);
        __syncthreads();
        const long long plane = first + mine;
        const int oy = oy0 + ty * ROWS, ox = ox0 + tx * 4;
        if (plane < s.count && oy < s.ho && ox < s.wo) {
            const float *filter = w + (long long)((unsigned)plane % (unsigned)s.channels) * K * K;
            float taps[K * K], acc[ROWS][4];
            UNROLL
            for (int k = 0; k < K * K; k++) taps[k] = filter[k];
            UNROLL
            for (int k = 0; k < K * K / 2; k++) {
                const float u = taps[k], v = taps[K * K - 1 - k];
                taps[k] = flip ? v : u, taps[K * K - 1 - k] = flip ? u : v;
            }
            UNROLL
            for (int o = 0; o < ROWS; o++)
                UNROLL
                for (int j = 0; j < 4; j++) acc[o][j] = 0.0f;
            each(tile + (mine * high + ty * ROWS * S) * wide + tx * 4 * S + FIRST, wide,
                 [&](int o, int j, int ky, int kx, float v) { acc[o][j] = fmaf(taps[ky * K + kx], v, acc[o][j]); });
            UNROLL
            for (int o = 0; o < ROWS; o++) {
                if (oy + o >= s.ho) break;
                T *to = y + (plane * s.ho + oy + o) * s.wo + ox;
                if (s.wo % 4 == 0) store4(to, float4{acc[o][0], acc[o][1], acc[o][2], acc[o][3]});
                else
                    UNROLL
                    for (int j = 0; j < 4; j++)
                        if (ox + j < s.wo) to[j] = from_float<T>(acc[o][j]);
            }
        }
        __syncthreads();
    }

    // Partial sums of dw, `part` (chunks, C, K, K): block (c, chunk) sums `units` units of channel c, a unit being one tile of `planes` images;
    // sum_chunks adds them in order, so no atomics and the order of every sum is fixed. Whole warps of threads, some of them idle.
    static __device__ void bwd_w(const T *x, const T *dy, float *part, float *tile, float *warps, int chunks, int units, Plane s, Layout l) {
        const unsigned row = threadIdx.x / (unsigned)l.tx, tx = threadIdx.x % (unsigned)l.tx, mine = row / (unsigned)l.ty, ty = row % (unsigned)l.ty;
        const unsigned across = (unsigned)(s.wo + 4 * l.tx - 1) / (4u * l.tx), cells = (unsigned)(s.ho + ROWS * l.ty - 1) / (ROWS * (unsigned)l.ty) * across;
        const int wide = width(l), high = height(l), images = s.count / s.channels;
        const unsigned all = (unsigned)(images + l.planes - 1) / (unsigned)l.planes * cells;
        for (int c = blockIdx.x; c < s.channels; c += gridDim.x)
            for (int chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) {
                float acc[K * K];
                UNROLL
                for (int k = 0; k < K * K; k++) acc[k] = 0.0f;
                const unsigned end = min(all, (chunk + 1u) * units);
                for (unsigned unit = (unsigned)chunk * units; unit < end; unit++) {
                    const long long first = (long long)(unit / cells) * l.planes * s.channels + c;
                    const int oy0 = unit % cells / across * ROWS * l.ty, ox0 = unit % cells % across * 4 * l.tx;
                    fill(x, tile, first, s.channels, s.count, oy0, ox0, s, l);
                    const long long plane = first + (long long)mine * s.channels;
                    const int oy = oy0 + ty * ROWS, ox = ox0 + tx * 4;
                    const bool there = mine < (unsigned)l.planes && plane < s.count && oy < s.ho && ox < s.wo;
                    float g[ROWS][4];
                    UNROLL
                    for (int o = 0; o < ROWS; o++) {
                        UNROLL
                        for (int j = 0; j < 4; j++) g[o][j] = 0.0f;
                        if (!there || oy + o >= s.ho) continue;
                        const T *from = dy + (plane * s.ho + oy + o) * s.wo + ox;
                        if (s.wo % 4 == 0) {
                            const float4 q = load4(from);
                            g[o][0] = q.x, g[o][1] = q.y, g[o][2] = q.z, g[o][3] = q.w;
                        } else {
                            UNROLL
                            for (int j = 0; j < 4; j++)
                                if (ox + j < s.wo) g[o][j] = to_float(from[j]);
                        }
                    }
                    __syncthreads();
                    if (there)
                        each(tile + (mine * high + ty * ROWS * S) * wide + tx * 4 * S + FIRST, wide,
                             [&](int o, int j, int ky, int kx, float v) { acc[ky * K + kx] = fmaf(g[o][j], v, acc[ky * K + kx]); });
                    __syncthreads();
                }
                const int count = blockDim.x / WARP_SIZE;
                UNROLL
                for (int k = 0; k < K * K; k++) {
                    const float v = warp_sum(acc[k]);
                    if (threadIdx.x % WARP_SIZE == 0) warps[k * MOST_WARPS + threadIdx.x / WARP_SIZE] = v;
                }
                __syncthreads();
                for (int k = threadIdx.x; k < K * K; k += blockDim.x) {
                    float v = 0.0f;
                    for (int i = 0; i < count; i++) v += warps[k * MOST_WARPS + i];
                    part[((long long)chunk * s.channels + c) * K * K + k] = v;
                }
                __syncthreads();
            }
    }

    // dx at stride 2; a thread computes 2 x 4 of them, so that which taps reach which value is known when this is compiled. `s` has the sizes
    // of the forward. Grid: (blocks of 256 over the groups of a plane, planes) or fewer.
    static __device__ void bwd_x(const T *dy, const float *w, T *dx, Plane s) {
        const int across = (s.w + 3) / 4, down = (s.h + 1) / 2;
        for (long long plane = blockIdx.y; plane < s.count; plane += gridDim.y) {
            const float *taps = w + plane % s.channels * K * K;
            const T *from = dy + plane * s.ho * s.wo;
            for (long long i = global_index(); i < (long long)across * down; i += global_size()) {
                const int iy0 = (int)(i / across) * 2, ix0 = (int)(i % across) * 4;
                UNROLL
                for (int a = 0; a < 2; a++) {
                    float acc[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                    UNROLL
                    for (int ky = 0; ky < K; ky++) {
                        // (iy + PAD - ky D) / 2 where that is whole.
                        if ((a + PAD + ky * D) % 2 != 0) continue;
                        const int oy = (iy0 + a + PAD - ky * D) / 2;
                        if (iy0 + a + PAD - ky * D < 0 || oy >= s.ho) continue;
                        UNROLL
                        for (int kx = 0; kx < K; kx++)
                            UNROLL
                            for (int j = 0; j < 4; j++) {
                                if ((j + PAD + kx * D) % 2 != 0) continue;
                                const int ox2 = ix0 + j + PAD - kx * D;
                                if (ox2 >= 0 && ox2 / 2 < s.wo)
                                    acc[j] = fmaf(taps[ky * K + kx], to_float(from[(long long)oy * s.wo + ox2 / 2]), acc[j]);
                            }
                    }
                    if (iy0 + a >= s.h) break;
                    T *to = dx + (plane * s.h + iy0 + a) * s.w + ix0;
                    if (s.w % 4 == 0) store4(to, float4{acc[0], acc[1], acc[2], acc[3]});
                    else
                        UNROLL
                        for (int j = 0; j < 4; j++)
                            if (ix0 + j < s.w) to[j] = from_float<T>(acc[j]);
                }
            }
        }
    }
};

#define PLANE int planes, int channels, int h, int wd, int ho, int wo
#define SIZES Plane{planes, channels, h, wd, ho, wo}
#define LAYOUT int tx, int ty, int at_once
#define FORWARD(T) const T *x, const float *w, T *y, int flip, PLANE, LAYOUT
#define RUN(T, K, D, S)        \
    SHARED(float, tile, TILE); \
    Depthwise<T, K, D, S>::forward(x, w, y, tile, flip, SIZES, Layout{tx, ty, at_once})
#define BWD_W(T) const T *x, const T *dy, float *part, int chunks, int units, PLANE, LAYOUT
#define RUN_BWD_W(T, K, D, S)                  \
    SHARED(float, tile, TILE);                 \
    SHARED(float, warps, K *K *MOST_WARPS);    \
    Depthwise<T, K, D, S>::bwd_w(x, dy, part, tile, warps, chunks, units, SIZES, Layout{tx, ty, at_once})
#define BWD_X(T) const T *dy, const float *w, T *dx, PLANE

// Names: K, dilation, stride.
extern "C" __global__ void depthwise3_d1_s1_f32(FORWARD(float)) { RUN(float, 3, 1, 1); }
extern "C" __global__ void depthwise3_d1_s2_f32(FORWARD(float)) { RUN(float, 3, 1, 2); }
extern "C" __global__ void depthwise3_d2_s1_f32(FORWARD(float)) { RUN(float, 3, 2, 1); }
extern "C" __global__ void depthwise3_d2_s2_f32(FORWARD(float)) { RUN(float, 3, 2, 2); }
extern "C" __global__ void depthwise5_d1_s1_f32(FORWARD(float)) { RUN(float, 5, 1, 1); }
extern "C" __global__ void depthwise5_d1_s2_f32(FORWARD(float)) { RUN(float, 5, 1, 2); }
extern "C" __global__ void depthwise5_d2_s1_f32(FORWARD(float)) { RUN(float, 5, 2, 1); }
extern "C" __global__ void depthwise5_d2_s2_f32(FORWARD(float)) { RUN(float, 5, 2, 2); }
extern "C" __global__ void depthwise3_d1_s1_bf16(FORWARD(bf16)) { RUN(bf16, 3, 1, 1); }
extern "C" __global__ void depthwise3_d1_s2_bf16(FORWARD(bf16)) { RUN(bf16, 3, 1, 2); }
extern "C" __global__ void depthwise3_d2_s1_bf16(FORWARD(bf16)) { RUN(bf16, 3, 2, 1); }
extern "C" __global__ void depthwise3_d2_s2_bf16(FORWARD(bf16)) { RUN(bf16, 3, 2, 2); }
extern "C" __global__ void depthwise5_d1_s1_bf16(FORWARD(bf16)) { RUN(bf16, 5, 1, 1); }
extern "C" __global__ void depthwise5_d1_s2_bf16(FORWARD(bf16)) { RUN(bf16, 5, 1, 2); }
extern "C" __global__ void depthwise5_d2_s1_bf16(FORWARD(bf16)) { RUN(bf16, 5, 2, 1); }
extern "C" __global__ void depthwise5_d2_s2_bf16(FORWARD(bf16)) { RUN(bf16, 5, 2, 2); }
extern "C" __global__ void depthwise3_d1_s1_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 3, 1, 1); }
extern "C" __global__ void depthwise3_d1_s2_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 3, 1, 2); }
extern "C" __global__ void depthwise3_d2_s1_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 3, 2, 1); }
extern "C" __global__ void depthwise3_d2_s2_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 3, 2, 2); }
extern "C" __global__ void depthwise5_d1_s1_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 5, 1, 1); }
extern "C" __global__ void depthwise5_d1_s2_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 5, 1, 2); }
extern "C" __global__ void depthwise5_d2_s1_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 5, 2, 1); }
extern "C" __global__ void depthwise5_d2_s2_bwd_w_f32(BWD_W(float)) { RUN_BWD_W(float, 5, 2, 2); }
extern "C" __global__ void depthwise3_d1_s1_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 3, 1, 1); }
extern "C" __global__ void depthwise3_d1_s2_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 3, 1, 2); }
extern "C" __global__ void depthwise3_d2_s1_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 3, 2, 1); }
extern "C" __global__ void depthwise3_d2_s2_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 3, 2, 2); }
extern "C" __global__ void depthwise5_d1_s1_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 5, 1, 1); }
extern "C" __global__ void depthwise5_d1_s2_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 5, 1, 2); }
extern "C" __global__ void depthwise5_d2_s1_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 5, 2, 1); }
extern "C" __global__ void depthwise5_d2_s2_bwd_w_bf16(BWD_W(bf16)) { RUN_BWD_W(bf16, 5, 2, 2); }
extern "C" __global__ void depthwise3_d1_s2_bwd_x_f32(BWD_X(float)) { Depthwise<float, 3, 1, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise3_d2_s2_bwd_x_f32(BWD_X(float)) { Depthwise<float, 3, 2, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise5_d1_s2_bwd_x_f32(BWD_X(float)) { Depthwise<float, 5, 1, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise5_d2_s2_bwd_x_f32(BWD_X(float)) { Depthwise<float, 5, 2, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise3_d1_s2_bwd_x_bf16(BWD_X(bf16)) { Depthwise<bf16, 3, 1, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise3_d2_s2_bwd_x_bf16(BWD_X(bf16)) { Depthwise<bf16, 3, 2, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise5_d1_s2_bwd_x_bf16(BWD_X(bf16)) { Depthwise<bf16, 5, 1, 2>::bwd_x(dy, w, dx, SIZES); }
extern "C" __global__ void depthwise5_d2_s2_bwd_x_bf16(BWD_X(bf16)) { Depthwise<bf16, 5, 2, 2>::bwd_x(dy, w, dx, SIZES); }
