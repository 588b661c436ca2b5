// A batch as network input from 8-bit pictures (src/data/input.rs, the specification): a window of each resampled, mirrored, its colours
// distorted, normalised, a hole cut out; label maps by the nearest pixel. The bits are those of the host: resampling is in whole numbers
// with the weights of the crate that the host resizes with (vertically first, rounded to 8 bits in between), colours in f32 without
// products that are joined with sums.
//
// A row of `table` describes an image, FEED_ROW words: whole numbers, f64 or, in the low half, f32.
#include "exact.cuh"
#include "reduce.cuh"

typedef unsigned char u8;

constexpr int FEED_ROW = 32;
// AT: address of the picture, interleaved R G B, or 0: FROM is where it begins in `bytes`; LABELS: where its label map begins, counted
// from the picture; WHOSE: the row whose label map is this image's. X, Y: an axis each. HOLE: rows from, to, columns from, to.
enum FeedWord { AT, FROM, LABELS, WHOSE, WIDTH, HEIGHT, FLIP, X = 7, Y = 13, HOLE = 19, STEPS = 23, BRIGHTNESS, CONTRAST, SATURATION, HUE, ORDER,
                BORDER };
// An axis: network pixels D0 to D1 show the picture; the first begins at LEFT, a pixel is SCALE wide (0: one, LEFT is whole: nothing to
// resample); for the nearest pixel START and network pixels a pixel, SHARE.
enum FeedAxis { D0, D1, LEFT, SCALE, START, SHARE };
// Steps of the distortion that are taken; whether the border has a colour.
enum FeedStep { LIGHTER = 1, CONTRASTED = 2, CONTRAST_FIRST = 4, COLOURED = 8, REORDERED = 16, BORDERED = 32 };

__device__ inline double as_double(const long long *word) { return *(const double *)word; }
__device__ inline float as_float(const long long *word) { return *(const float *)word; }

// What a network pixel is made of: TAP_HEAD numbers, then `most` weights, of 2^precision together. They lie `side` apart, so that
// neighbours read neighbours.
enum Tap { FIRST, COUNT, PRECISION, TAP_HEAD };

constexpr int TAP_THREADS = 128, LABEL_NONE = 255;

struct Reach {
    int first, last;
    double center, sum, top;
};
__device__ inline double tap_weight(int x, double center, double by) {
    double d = fabs(mul_rn(x - center, by));
    return d < 1.0 ? 1.0 - d : 0.0;
}
__device__ inline Reach tap_reach(int d, int source, double left, double scale, double wide, double by) {
    double center = left + mul_rn(d + 0.5, scale);
    Reach r{(int)fmax(floor(center - wide), 0.0), (int)fmin(ceil(center + wide), (double)source), center - 0.5, 0.0, 0.0};
    for (int x = r.first; x < r.last; x++) {
        double w = tap_weight(x, r.center, by);
        r.sum += w;
        r.top = fmax(r.top, w);
    }
    return r;
}

// taps (images, 2, most + TAP_HEAD, side): of columns, then of rows. A triangle filter, as wide as a network pixel where that is more than
// a picture's. The precision is the same for a whole axis: the largest weight must fit 16 bits. A block an axis.
extern "C" __global__ void feed_taps(const long long *table, int *taps, int side, int most) {
    SHARED(double, tops, TAP_THREADS);
    const long long *row = table + (long long)(blockIdx.x / 2) * FEED_ROW, *axis = row + (blockIdx.x % 2 ? Y : X);
    int source = (int)row[blockIdx.x % 2 ? HEIGHT : WIDTH], n = (int)(axis[D1] - axis[D0]), t = threadIdx.x;
    double left = as_double(axis + LEFT), scale = as_double(axis + SCALE), wide = fmax(scale, 1.0), by = 1.0 / wide, top = 0.0;
    bool whole = scale == 0.0;
    if (!whole)
        for (int d = t; d < n; d += blockDim.x) {
            Reach r = tap_reach(d, source, left, scale, wide, by);
            top = fmax(top, r.top / r.sum);
        }
    tops[t] = top;
    for (int d = blockDim.x / 2; d > 0; d /= 2) {
        __syncthreads();
        if (t < d) tops[t] = fmax(tops[t], tops[t + d]);
    }
    __syncthreads();
    int precision = 0;
    for (int p = 0; p < 22; p++) {
        precision = p;
        if (whole || round(mul_rn(tops[0], (double)(1 << (p + 1)))) >= 32768.0) break;
    }
    if (whole) precision = 1;
    int *own = taps + (long long)blockIdx.x * (most + TAP_HEAD) * side;
    for (int d = t; d < n; d += blockDim.x) {
        int *at = own + d;
        at[(long long)PRECISION * side] = precision;
        if (whole) {
            at[(long long)FIRST * side] = (int)left + d;
            at[(long long)COUNT * side] = 1;
            at[(long long)TAP_HEAD * side] = 1 << precision;
            continue;
        }
        Reach r = tap_reach(d, source, left, scale, wide, by);
        at[(long long)FIRST * side] = r.first;
        at[(long long)COUNT * side] = r.last - r.first;
        for (int x = r.first; x < r.last; x++) {
            double share = tap_weight(x, r.center, by) / r.sum;
            at[(long long)(TAP_HEAD + x - r.first) * side] = (int)round(mul_rn(share, (double)(1 << precision)));
        }
    }
}

__device__ inline int eight_bits(int sum, int precision) { return min(sum >> precision, 255); }

// The network pixel whose columns are `tx` and whose rows are `ty`.
__device__ inline void feed_resample(const u8 *picture, int width, const int *tx, const int *ty, int side, float (&p)[3]) {
    int columns = tx[(long long)COUNT * side], rows = ty[(long long)COUNT * side], px = tx[(long long)PRECISION * side],
        py = ty[(long long)PRECISION * side];
    long long line = 3 * (long long)width;
    const u8 *at = picture + ty[(long long)FIRST * side] * line + 3 * (long long)tx[(long long)FIRST * side];
    int sum[3] = {1 << (px - 1), 1 << (px - 1), 1 << (px - 1)};
    for (int i = 0; i < columns; i++) {
        int column[3] = {1 << (py - 1), 1 << (py - 1), 1 << (py - 1)};
        for (int j = 0; j < rows; j++) {
            const u8 *q = at + j * line + 3 * i;
            int w = ty[(long long)(TAP_HEAD + j) * side];
            UNROLL for (int c = 0; c < 3; c++) column[c] += w * q[c];
        }
        int w = tx[(long long)(TAP_HEAD + i) * side];
        UNROLL for (int c = 0; c < 3; c++) sum[c] += w * eight_bits(column[c], py);
    }
    UNROLL for (int c = 0; c < 3; c++) p[c] = (float)eight_bits(sum[c], px);
}

__device__ inline float within(float v, float top) { return v < 0.0f ? 0.0f : v > top ? top : v; }
// v modulo `by`, for -by <= v < 2 by.
__device__ inline float wrapped(float v, float by) {
    if (v >= by) v -= by;
    return v < 0.0f ? v + by : v;
}

// Saturation and hue of one pixel (src/data/photometric.rs).
__device__ inline void feed_colour(float (&p)[3], float saturation, float hue) {
    float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(r, g), b), d = top - fminf(fminf(r, g), b), h = 0.0f, s = 0.0f;
    if (d > 0.0f) {
        h = top == r ? (g - b) / d : top == g ? (b - r) / d + 2.0f : (r - g) / d + 4.0f;
        h = wrapped(mul_rn(h, 60.0f), 360.0f);
        s = d / top;
    }
    h = wrapped(h + hue, 360.0f);
    s = fminf(mul_rn(s, saturation), 1.0f);
    UNROLL for (int c = 0; c < 3; c++) {
        float k = wrapped((float)(5 - 2 * c) + h / 60.0f, 6.0f);
        p[c] = top - mul_rn(mul_rn(top, s), within(fminf(k, 4.0f - k), 1.0f));
    }
}

__device__ inline void feed_contrast(float (&p)[3], float by) {
    UNROLL for (int c = 0; c < 3; c++) p[c] = within(mul_rn(p[c], by), 255.0f);
}

// The distortion of SSD, on values of 0 to 255.
__device__ inline void feed_distort(float (&p)[3], const long long *row) {
    int steps = (int)row[STEPS];
    if (steps & LIGHTER) UNROLL for (int c = 0; c < 3; c++) p[c] = within(p[c] + as_float(row + BRIGHTNESS), 255.0f);
    if ((steps & CONTRASTED) && (steps & CONTRAST_FIRST)) feed_contrast(p, as_float(row + CONTRAST));
    if (steps & COLOURED) feed_colour(p, as_float(row + SATURATION), as_float(row + HUE));
    if ((steps & CONTRASTED) && !(steps & CONTRAST_FIRST)) feed_contrast(p, as_float(row + CONTRAST));
    if (steps & REORDERED) {
        int order = (int)row[ORDER];
        float q[3] = {p[0], p[1], p[2]};
        UNROLL for (int c = 0; c < 3; c++) {
            int from = order >> (2 * c) & 3;
            p[c] = from == 0 ? q[0] : from == 1 ? q[1] : q[2];
        }
    }
}

__device__ inline const u8 *feed_picture(const long long *row, const u8 *bytes) {
    return row[AT] != 0 ? (const u8 *)row[AT] : bytes + row[FROM];
}

// out (images, 3, height, width) = (value / 255 - mean) / std. A pixel a thread, an image a row of blocks.
template <typename T>
__device__ void feed_images(const long long *table, const u8 *bytes, const int *taps, T *out, const float (&mean)[3], const float (&std)[3],
                            int images, int height, int width, int side, int most) {
    long long plane = (long long)height * width, own = (long long)(most + TAP_HEAD) * side;
    for (int image = blockIdx.y; image < images; image += gridDim.y) {
        const long long *row = table + (long long)image * FEED_ROW, *ax = row + X, *ay = row + Y;
        for (long long i = global_index(); i < plane; i += global_size()) {
            int y = (int)(i / width), x = (int)(i - (long long)y * width), d = row[FLIP] != 0 ? width - 1 - x : x, steps = (int)row[STEPS];
            bool shown = d >= ax[D0] && d < ax[D1] && y >= ay[D0] && y < ay[D1], coloured = shown || (steps & BORDERED);
            float p[3];
            p[0] = p[1] = p[2] = as_float(row + BORDER);
            if (shown) {
                const int *tx = taps + 2 * image * own + (d - ax[D0]), *ty = taps + (2 * image + 1) * own + (y - ay[D0]);
                feed_resample(feed_picture(row, bytes), (int)row[WIDTH], tx, ty, side, p);
                feed_distort(p, row);
            }
            if (y >= row[HOLE] && y < row[HOLE + 1] && x >= row[HOLE + 2] && x < row[HOLE + 3]) coloured = false;
            UNROLL for (int c = 0; c < 3; c++) {
                float v = coloured ? (p[c] / 255.0f - mean[c]) / std[c] : 0.0f;
                out[((long long)image * 3 + c) * plane + i] = from_float<T>(v);
            }
        }
    }
}
extern "C" __global__ void feed_images_f32(const long long *table, const unsigned char *bytes, const int *taps, float *out, float mean_r,
                                           float mean_g, float mean_b, float std_r, float std_g, float std_b, int images, int height,
                                           int width, int side, int most) {
    const float mean[3] = {mean_r, mean_g, mean_b}, std[3] = {std_r, std_g, std_b};
    feed_images(table, bytes, taps, out, mean, std, images, height, width, side, most);
}
extern "C" __global__ void feed_images_bf16(const long long *table, const unsigned char *bytes, const int *taps, bf16 *out, float mean_r,
                                            float mean_g, float mean_b, float std_r, float std_g, float std_b, int images, int height,
                                            int width, int side, int most) {
    const float mean[3] = {mean_r, mean_g, mean_b}, std[3] = {std_r, std_g, std_b};
    feed_images(table, bytes, taps, out, mean, std, images, height, width, side, most);
}

// The pixel of a picture's axis of `source` pixels under the middle of network pixel `d`.
__device__ inline long long feed_nearest(const long long *axis, int d, long long source) {
    long long s = (long long)(as_double(axis + START) + (d - axis[D0] + 0.5) / as_double(axis + SHARE));
    return s < source - 1 ? s : source - 1;
}

// out (images, height, width): class ids; 255 where no picture is. As feed_images.
extern "C" __global__ void feed_labels(const long long *table, const unsigned char *bytes, int *out, int images, int height, int width) {
    long long plane = (long long)height * width;
    for (int image = blockIdx.y; image < images; image += gridDim.y) {
        const long long *row = table + table[(long long)image * FEED_ROW + WHOSE] * FEED_ROW, *ax = row + X, *ay = row + Y;
        for (long long i = global_index(); i < plane; i += global_size()) {
            int y = (int)(i / width), x = (int)(i - (long long)y * width), d = row[FLIP] != 0 ? width - 1 - x : x, id = LABEL_NONE;
            if (d >= ax[D0] && d < ax[D1] && y >= ay[D0] && y < ay[D1]) {
                const u8 *labels = feed_picture(row, bytes) + row[LABELS];
                id = labels[feed_nearest(ay, y, row[HEIGHT]) * row[WIDTH] + feed_nearest(ax, d, row[WIDTH])];
            }
            out[(long long)image * plane + i] = id;
        }
    }
}
