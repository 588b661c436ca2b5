// Enlarging maps (planes, h, w): nearest neighbour by a whole factor, bilinear to any size (ho, wo). One thread an element.
#include "vector.cuh"

// y[p, i, j] = x[p, i / factor, j / factor], and `plus` where there is one.
template <typename T> __device__ void nearest(const T *x, const T *plus, T *y, long long planes, int h, int w, int factor) {
    over_map(planes, h * factor, w * factor, [&](long long p, int i, int j) {
        const long long at = (p * h * factor + i) * w * factor + j;
        const T v = x[(p * h + i / factor) * w + j / factor];
        y[at] = plus ? from_float<T>(to_float(v) + to_float(plus[at])) : v;
    });
}

template <typename T> __device__ void nearest_bwd(const T *dy, T *dx, long long planes, int h, int w, int factor) {
    over_map(planes, h, w, [&](long long p, int i, int j) {
        float sum = 0.0f;
        for (int a = 0; a < factor; a++)
            for (int b = 0; b < factor; b++)
                sum += to_float(dy[((p * h + i) * factor + a) * w * factor + (long long)j * factor + b]);
        dx[(p * h + i) * w + j] = from_float<T>(sum);
    });
}

// An axis of `size` values read at `out` positions: position i reads s x[lo] + t x[hi], at num(i) / den, an exact fraction. Both shares
// are rounded once: 1 - t would carry the rounding of t into a share that may be much smaller.
struct Axis {
    int size, out, corners;

    __device__ inline int den() const { return corners ? max(out - 1, 1) : 2 * out; }
    __device__ inline int num(int i) const { return corners ? i * (size - 1) : max((2 * i + 1) * size - out, 0); }
    __device__ inline void tap(int i, int &lo, int &hi, float &s, float &t) const {
        int n = num(i), d = den(), at = n / d;
        lo = min(at, size - 1), hi = min(lo + 1, size - 1);
        int past = n - lo * d;
        s = (float)(d - past) / (float)d, t = (float)past / (float)d;
    }
    // Share of value `at` in position i.
    __device__ inline float share(int i, int at) const {
        int lo, hi;
        float s, t;
        tap(i, lo, hi, s, t);
        return (lo == at ? s : 0.0f) + (hi == at ? t : 0.0f);
    }
    // Positions from..to (without it) that may read value `at`: those between its neighbours.
    __device__ inline int from(int at) const {
        int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size - 1 : 2 * size;
        return n > 0 ? n / d : 0;
    }
    __device__ inline int to(int at) const {
        if (at == size - 1) return out;
        int n = corners ? (at + 1) * den() : (at + 1) * den() + out - size, d = corners ? size - 1 : 2 * size;
        return min(max(n, 0) / d + 1, out);
    }
};

template <typename T> __device__ void bilinear(const T *x, T *y, long long planes, Axis rows, Axis cols) {
    over_map(planes, rows.out, cols.out, [&](long long p, int i, int j) {
        int top, bottom, left, right;
        float up, down, near, far;
        rows.tap(i, top, bottom, up, down), cols.tap(j, left, right, near, far);
        const T *a = x + (p * rows.size + top) * cols.size, *b = x + (p * rows.size + bottom) * cols.size;
        float above = near * to_float(a[left]) + far * to_float(a[right]);
        float below = near * to_float(b[left]) + far * to_float(b[right]);
        y[(p * rows.out + i) * cols.out + j] = from_float<T>(up * above + down * below);
    });
}

// dx: the shares of all positions that read this value, row by row.
template <typename T> __device__ void bilinear_bwd(const T *dy, T *dx, long long planes, Axis rows, Axis cols) {
    over_map(planes, rows.size, cols.size, [&](long long p, int y, int x) {
        float sum = 0.0f;
        for (int i = rows.from(y); i < rows.to(y); i++) {
            float s = rows.share(i, y), line = 0.0f;
            const T *g = dy + (p * rows.out + i) * cols.out;
            for (int j = cols.from(x); j < cols.to(x); j++) line = fmaf(cols.share(j, x), to_float(g[j]), line);
            sum = fmaf(s, line, sum);
        }
        dx[(p * rows.size + y) * cols.size + x] = from_float<T>(sum);
    });
}

extern "C" __global__ void nearest_f32(const float *x, const float *plus, float *y, int adds, long long planes, int h, int w, int factor) {
    nearest(x, adds ? plus : nullptr, y, planes, h, w, factor);
}
extern "C" __global__ void nearest_bf16(const bf16 *x, const bf16 *plus, bf16 *y, int adds, long long planes, int h, int w, int factor) {
    nearest(x, adds ? plus : nullptr, y, planes, h, w, factor);
}
extern "C" __global__ void nearest_bwd_f32(const float *dy, float *dx, long long planes, int h, int w, int factor) {
    nearest_bwd(dy, dx, planes, h, w, factor);
}
extern "C" __global__ void nearest_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w, int factor) {
    nearest_bwd(dy, dx, planes, h, w, factor);
}
extern "C" __global__ void bilinear_f32(const float *x, float *y, long long planes, int h, int w, int ho, int wo, int corners) {
    bilinear(x, y, planes, Axis{h, ho, corners}, Axis{w, wo, corners});
}
extern "C" __global__ void bilinear_bf16(const bf16 *x, bf16 *y, long long planes, int h, int w, int ho, int wo, int corners) {
    bilinear(x, y, planes, Axis{h, ho, corners}, Axis{w, wo, corners});
}
extern "C" __global__ void bilinear_bwd_f32(const float *dy, float *dx, long long planes, int h, int w, int ho, int wo, int corners) {
    bilinear_bwd(dy, dx, planes, Axis{h, ho, corners}, Axis{w, wo, corners});
}
extern "C" __global__ void bilinear_bwd_bf16(const bf16 *dy, bf16 *dx, long long planes, int h, int w, int ho, int wo, int corners) {
    bilinear_bwd(dy, dx, planes, Axis{h, ho, corners}, Axis{w, wo, corners});
}
